/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of msix.c, by which it is included. */
#include "hv/core/device_regs.h"

/* As the table's test has it: the vectors of a console without a port name. */
enum { ROW_VECTORS = 3, ROW_CAP = PCI_CAPS_FIRST };
#define ENTRY(reg) REG_AT(REG_BAR1, reg, 4), .count = ROW_VECTORS, .stride = MSIX_ENTRY_SIZE

static const struct reg_row msix_rows[] = {
    {REG_AT(REG_CONFIG, ROW_CAP, 1), .name = "Capability ID", .section = "6.8.2.1",
	.flags = REG_READ_ONLY, .reset = PCI_CAP_MSIX},
    {REG_AT(REG_CONFIG, ROW_CAP + 1, 1), .name = "Next Pointer", .section = "6.8.2.2",
	.flags = REG_READ_ONLY, .reset = ROW_CAP + MSIX_CAP_LEN},
    {REG_AT(REG_CONFIG, ROW_CAP + MSIX_CAP_CONTROL, 2), .name = "Message Control",
	.section = "6.8.2.3", .reset = ROW_VECTORS - 1,
	.writable = MSIX_CONTROL_ENABLE | MSIX_CONTROL_FUNCTION_MASK,
	.test = "takes_the_place_of_intx",
	.bits = REG_BITS({0x7ff, "Table Size", "less one: each queue's vector, and one more"},
	    {MSIX_CONTROL_FUNCTION_MASK, "Function Mask", NULL},
	    {MSIX_CONTROL_ENABLE, "MSI-X Enable", NULL})},
    {REG_AT(REG_CONFIG, ROW_CAP + MSIX_CAP_TABLE, 4), .name = "Table Offset/BIR",
	.section = "6.8.2.4", .flags = REG_READ_ONLY, .reset = 1,
	.bits = REG_BITS({7, "Table BIR", NULL}, {~7U, "Table Offset", NULL})},
    {REG_AT(REG_CONFIG, ROW_CAP + MSIX_CAP_PBA, 4), .name = "PBA Offset/BIR", .section = "6.8.2.5",
	.flags = REG_READ_ONLY, .reset = MSIX_PBA_OFFSET | 1,
	.bits = REG_BITS({7, "PBA BIR", NULL}, {~7U, "PBA Offset", NULL})},
    {ENTRY(MSIX_ENTRY_ADDRESS), .name = "Message Address", .section = "6.8.2.7", .writable = ~3U,
	.test = "delivered"},
    {ENTRY(MSIX_ENTRY_ADDRESS + 4), .name = "Message Upper Address", .section = "6.8.2.8",
	.writable = ~0U},
    {ENTRY(MSIX_ENTRY_DATA), .name = "Message Data", .section = "6.8.2.6", .writable = ~0U,
	.test = "delivered"},
    {ENTRY(MSIX_ENTRY_CONTROL), .name = "Vector Control", .section = "6.8.2.9",
	.reset = MSIX_VECTOR_MASKED, .writable = MSIX_VECTOR_MASKED,
	.test = "masked_vector_stays_pending",
	.bits = REG_BITS({MSIX_VECTOR_MASKED, "Mask Bit", NULL})},
    {REG_AT(REG_BAR1, MSIX_PBA_OFFSET, 4), .count = 2, .stride = 4, .name = "Pending Bits",
	.section = "6.8.2.10", .flags = REG_READ_ONLY, .doc = "a bit for each vector",
	.test = "masked_vector_stays_pending"},
    {0},
};

DEVICE_REGISTERS(msix_registers) = {
    .model = "MSI-X",
    .host = "amber,virtio-console",
    .title = "message interrupts of a PCI function",
    .sheet = "PCI Local Bus Specification 3.0, 6.8.2",
    .doc = "Shown for a function with three vectors. The table takes aligned accesses of 4 and 8 "
	   "bytes.",
    .tests = "test_msix.c",
    .ranges = REG_RANGES({REG_BAR1, 0, MSIX_BAR_SIZE, 4}),
    .rows = msix_rows,
};
#undef ENTRY
