/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of lpc.c, by which it is included. */
#include "hv/dev/regs/pci_header.h"

#define PIRQ(off, nm, sect)                                                                        \
	{                                                                                          \
		REG_AT(REG_CONFIG, off, 1),                                                        \
		    .count = PCI_INTX_LINKS / 2, .stride = 1, .name = (nm), .section = (sect),     \
		    .reset = PIRQ_ROUT_DISABLE, .writable = PIRQ_ROUT_DISABLE | PIRQ_ROUT_IRQ,     \
		    .test = "routed_and_moved",                                                    \
		    .bits =                                                                        \
			REG_BITS({PIRQ_ROUT_IRQ, "IRQ Routing", "reserved values lead nowhere"},   \
			    {PIRQ_ROUT_DISABLE, "IRQEN", "0: routed to the 8259 pair"})            \
	}

static const struct reg_row lpc_rows[] = {
    PCI_IDENTITY_ROWS(0x8086, 0x2918, 0x060100, 2),
    PCI_COMMAND_ROW(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 0),
    PCI_STATUS_ROW(PCI_STATUS_DEVSEL_MEDIUM),
    PCI_ABSENT_ROWS,
    PCI_BARE_ROWS,
    {REG_AT(REG_CONFIG, LPC_PMBASE, 4), .name = "PMBASE", .section = "13.1", .flags = REG_READ_ONLY,
	.reset = 1,
	.doc =
	    "not implemented: bit 0 only; the power management block is at 600h and stays there, "
	    "also where firmware can write the register"},
    PIRQ(LPC_PIRQA_ROUT, "PIRQA_ROUT to PIRQD_ROUT", "13.1"),
    PIRQ(LPC_PIRQE_ROUT, "PIRQE_ROUT to PIRQH_ROUT", "13.1.18"),
    {0},
};

DEVICE_REGISTERS(lpc_registers) = {
    .model = "amber,lpc",
    .title = "LPC bridge, function 0:31.0",
    .sheet = "Intel I/O Controller Hub 9 (ICH9) Family Datasheet, 316972-004; PCI Local Bus "
	     "Specification 3.0",
    .doc = "Not implemented, reading 0: ACPI_CNTL, GPIOBASE, GPIO control, SIRQ_CNTL, the decode "
	   "ranges, power management\n(A0h to CFh), BIOS control, feature detection, and RCBA. The "
	   "enables of the command register are hardwired; in the ICH9\nSERR# and parity can be "
	   "written. Function 0:31.0 is not a multi-function device here.",
    .tests = "test_lpc.c",
    .ranges = REG_RANGES({REG_CONFIG, 0, PCI_CONFIG_SIZE, 1}),
    .rows = lpc_rows,
};

static const struct reg_row lpc_firmware_rows[] = {
    {REG_AT(REG_CONFIG, LPC_PMBASE, 4), .name = "PMBASE", .section = "13.1", .reset = 1,
	.writable = PMBASE_ADDRESS,
	.doc = "kept, and of no effect: firmware for a Q35 sets 600h, where the block is"},
    {REG_AT(REG_CONFIG, LPC_ACPI_CNTL, 1), .name = "ACPI_CNTL", .section = "13.1",
	.writable = ACPI_CNTL_WRITABLE,
	.doc = "kept: the block is always enabled, the SCI is IRQ 9",
	.bits = REG_BITS({7, "SCI_IRQ_SEL", NULL}, {0x80, "ACPI_EN", NULL})},
    {REG_AT(REG_CONFIG, LPC_RCBA, 4), .name = "RCBA", .section = "13.1", .writable = RCBA_WRITABLE,
	.doc = "kept; not implemented: the chipset configuration registers that it moves"},
    {0},
};

DEVICE_REGISTERS(lpc_firmware_registers) = {
    .model = "LPC bridge, what firmware sets up",
    .host = "amber,lpc",
    .firmware = true,
    .title = "more registers of the LPC bridge, in machines that firmware starts",
    .sheet = "Intel I/O Controller Hub 9 (ICH9) Family Datasheet, 316972-004",
    .tests = "test_lpc.c",
    .rows = lpc_firmware_rows,
};
#undef PIRQ
