/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of ioapic.c, by which it is included. */
#include "hv/core/device_regs.h"

#define INDEX(reg) REG_INDEX(REG_MEMORY, MEMMAP_IOAPIC + IOWIN, 4, MEMMAP_IOAPIC + IOREGSEL, 4, reg)

static const struct reg_row ioapic_rows[] = {
    {REG_AT(REG_MEMORY, MEMMAP_IOAPIC + IOREGSEL, 4), .name = "IOREGSEL", .section = "3.1.1",
	.writable = 0xff, .doc = "index; only the low byte is written"},
    {REG_AT(REG_MEMORY, MEMMAP_IOAPIC + IOWIN, 4), .name = "IOWIN", .section = "3.1.2",
	.flags = REG_SPECIAL, .doc = "data; writes of fewer than 4 bytes are ignored",
	.test = "registers"},
    {REG_AT(REG_MEMORY, MEMMAP_IOAPIC + IOEOI, 4), .name = "EOIR", .section = "ICH9, 13.5.4",
	.flags = REG_WRITE_ONLY, .doc = "ends the level interrupts of the vector that is written",
	.test = "eoi_register"},
    {INDEX(IOAPICID), .name = "IOAPICID", .section = "3.2.1", .writable = ID_MASK,
	.bits = REG_BITS({ID_MASK, "APIC ID", NULL},
	    {1 << 15, "scratchpad", "not implemented (ICH9, 13.5.5): reads 0"})},
    {INDEX(IOAPICVER), .name = "IOAPICVER", .section = "3.2.2", .flags = REG_READ_ONLY,
	.reset = VERSION_VALUE,
	.bits = REG_BITS({0xff, "version", "with an EOI register"},
	    {0xff << 16, "maximum redirection entry", NULL})},
    {INDEX(IOAPICARB), .name = "IOAPICARB", .section = "3.2.3", .flags = REG_READ_ONLY,
	.doc = "the ID; nobody arbitrates by it", .test = "registers"},
    {INDEX(IOREDTBL), .count = PINS, .stride = 2, .name = "IOREDTBLn, low", .section = "3.2.4",
	.reset = RTE_MASK, .writable = RTE_WRITABLE & 0xffffffff,
	.test = "level_pin_asks_until_it_falls",
	.bits = REG_BITS({RTE_VECTOR, "INTVEC", NULL}, {RTE_MODE, "DELMOD", "delivery mode"},
	    {RTE_LOGICAL, "DESTMOD", "logical destination"},
	    {RTE_STATUS, "DELIVS", "always idle: a message is delivered at once"},
	    {RTE_POLARITY, "INTPOL", "kept, no effect: inputs are as devices assert them"},
	    {RTE_REMOTE_IRR, "Remote IRR", "a level interrupt is being served"},
	    {RTE_LEVEL, "Trigger Mode", "level-triggered"}, {RTE_MASK, "Interrupt Mask", NULL})},
    {INDEX(IOREDTBL + 1), .count = PINS, .stride = 2, .name = "IOREDTBLn, high", .section = "3.2.4",
	.writable = RTE_WRITABLE >> 32, .test = "nmi_and_logical",
	.bits = REG_BITS({0xffU << (RTE_DEST_SHIFT - 32), "Destination Field", NULL})},
    {0},
};

DEVICE_REGISTERS(ioapic_registers) = {
    .model = "amber,ioapic",
    .title = "I/O APIC with 24 inputs",
    .sheet = "Intel 82093AA I/O Advanced Programmable Interrupt Controller, 290566-001; ICH9 "
	     "datasheet",
    .doc = "The extended destination ID of the ICH9 (bits 55:48) is not implemented.",
    .tests = "test_ioapic.c",
    .ranges = REG_RANGES({REG_MEMORY, MEMMAP_IOAPIC, WINDOW_SIZE, 4}),
    .rows = ioapic_rows,
};
#undef INDEX
