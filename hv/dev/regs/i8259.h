/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of i8259.c, by which it is included. */
#include "hv/core/device_regs.h"

/* Of the master and, 80h further, of the slave. */
#define PIC(reg) REG_AT(REG_PORT, 0x20 + (reg), 1), .count = CHIPS, .stride = 0x80

static const struct reg_row i8259_rows[] = {
    {PIC(0), .name = "ICW1", .section = "initialization command words; ICH9, 13.4.2",
	.flags = REG_WRITE_ONLY | REG_SHARED | REG_SPECIAL,
	.doc = "bit 4 set: starts the initialization", .test = "initialization_forgets",
	.bits = REG_BITS({ICW1_IC4, "IC4", "ICW4 follows"}, {ICW1_SNGL, "SNGL", "no ICW3 follows"},
	    {1 << 2, "ADI", "for the MCS-80; ignored"},
	    {1 << 3, "LTIM", "not implemented, as in the ICH9: see ELCR"}, {ICW1_INIT, "1", NULL},
	    {7 << 5, "A7-A5", "for the MCS-80; ignored"})},
    {PIC(1), .name = "ICW2", .section = "initialization command words; ICH9, 13.4.3",
	.flags = REG_WRITE_ONLY | REG_SHARED | REG_SPECIAL, .doc = "vector of input 0, after ICW1",
	.test = "fully_nested",
	.bits = REG_BITS({7, "A10-A8", "for the MCS-80; ignored"}, {0xf8, "T7-T3", NULL})},
    {PIC(1), .name = "ICW3", .section = "initialization command words; ICH9, 13.4.4",
	.flags = REG_WRITE_ONLY | REG_SHARED | REG_SPECIAL,
	.doc = "after ICW2; kept, no effect: the slave is at input 2", .test = "cascade"},
    {PIC(1), .name = "ICW4", .section = "initialization command words; ICH9, 13.4.6",
	.flags = REG_WRITE_ONLY | REG_SHARED | REG_SPECIAL, .doc = "after ICW3, if IC4 says so",
	.test = "automatic_eoi",
	.bits = REG_BITS({ICW4_UPM, "uPM", "8086 mode; not implemented: without it the MCS-80's"},
	    {ICW4_AEOI, "AEOI", "automatic end of interrupt"},
	    {3 << 2, "BUF, M/S", "buffered mode: ignored"},
	    {ICW4_SFNM, "SFNM", "special fully nested mode"})},
    {PIC(1), .name = "OCW1", .section = "operation control words; ICH9, 13.4.7", .writable = 0xff,
	.doc = "interrupt mask register", .test = "mask_register"},
    {PIC(0), .name = "OCW2", .section = "operation control words; ICH9, 13.4.8",
	.flags = REG_WRITE_ONLY | REG_SHARED | REG_SPECIAL, .doc = "bits 4 and 3 clear",
	.test = "specific_eoi",
	.bits = REG_BITS({OCW2_LEVEL, "L2-L0", "input"},
	    {7 << OCW2_COMMAND_SHIFT, "R, SL, EOI",
		"0 and 4 rotation in automatic mode off, on; 1 EOI; 2 nothing; 3 specific EOI; "
		"5, 7 with rotation; 6 set priority"})},
    {PIC(0), .name = "OCW3", .section = "operation control words; ICH9, 13.4.9",
	.flags = REG_WRITE_ONLY | REG_SHARED | REG_SPECIAL, .doc = "bit 4 clear, bit 3 set",
	.test = "special_mask_mode",
	.bits =
	    REG_BITS({OCW3_RIS, "RIS", "with RR: read the ISR, not the IRR"}, {OCW3_RR, "RR", NULL},
		{OCW3_POLL, "P", "the next read is a poll"}, {OCW3_ID, "1", NULL},
		{OCW3_SMM, "SMM", "special mask mode"}, {OCW3_ESMM, "ESMM", "SMM is meant"})},
    {PIC(0), .name = "IRR", .section = "reading the 8259A status",
	.flags = REG_READ_ONLY | REG_SHARED, .doc = "interrupt request register",
	.test = "edges_and_levels"},
    {REG_AT(REG_PORT, 0x20, 1), REG_AFTER(0x20, 1, OCW3_ID | OCW3_RR | OCW3_RIS), .name = "ISR",
	.section = "reading the 8259A status", .flags = REG_READ_ONLY | REG_SHARED,
	.doc = "in-service register, after OCW3 with RR and RIS; the slave's at A0h",
	.test = "fully_nested"},
    {REG_AT(REG_PORT, 0x20, 1), REG_AFTER(0x20, 1, OCW3_ID | OCW3_POLL), .name = "poll word",
	.section = "poll command", .reset = SPURIOUS_IR, .flags = REG_READ_ONLY | REG_SHARED,
	.doc = "after OCW3 with P, at either address of the chip; the slave's at A0h",
	.test = "poll_command",
	.bits = REG_BITS({7, "W2-W0", "the input; 7 if there is none"},
	    {1 << 7, "I", "there is one, and it is acknowledged"})},
    {REG_AT(REG_PORT, 0x4d0, 1), .name = "ELCR1", .section = "ICH9, 13.4.10",
	.writable = ELCR1_WRITABLE, .doc = "level-triggered inputs of the master: 3 to 7",
	.test = "edges_and_levels"},
    {REG_AT(REG_PORT, 0x4d1, 1), .name = "ELCR2", .section = "ICH9, 13.4.11",
	.writable = ELCR2_WRITABLE, .doc = "level-triggered inputs of the slave: 9 to 12, 14, 15",
	.test = "edges_and_levels"},
    {0},
};

DEVICE_REGISTERS(i8259_registers) = {
    .model = "amber,i8259",
    .title = "pair of interrupt controllers",
    .sheet = "Intel 8259A Programmable Interrupt Controller, 231468-003; ICH9 datasheet",
    .doc = "The addresses that alias the chips' in the ICH9 (24h, 28h, ...) are not implemented.",
    .tests = "test_i8259.c",
    .rows = i8259_rows,
};
#undef PIC
