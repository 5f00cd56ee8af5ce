/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of i8254.c, by which it is included. */
#include "hv/core/device_regs.h"

static const struct reg_row i8254_rows[] = {
    {REG_AT(REG_PORT, 0x40, 1), .count = COUNTERS, .stride = 1, .name = "counter n",
	.section = "counter, read and write operations", .flags = REG_SPECIAL,
	.doc = "the count, or what was latched, in the bytes that the control word says",
	.test = "latch_and_read_back"},
    {REG_AT(REG_PORT, 0x43, 1), .name = "control word", .section = "control word format",
	.reset = 0xff, .flags = REG_WRITE_ONLY, .test = "mode2_rate_generator",
	.bits = REG_BITS({CW_BCD, "BCD", NULL},
	    {7 << CW_MODE_SHIFT, "M", "mode 0 to 5; 6 is 2 and 7 is 3"},
	    {3 << CW_ACCESS_SHIFT, "RW", "0 latches the count; 1 low byte, 2 high, 3 both"},
	    {3 << CW_COUNTER_SHIFT, "SC", "counter; 3 is the read-back command"})},
    {REG_AT(REG_PORT, 0x43, 1), .name = "read-back command", .section = "read-back command",
	.reset = 0xff, .flags = REG_WRITE_ONLY, .test = "latch_and_read_back",
	.bits = REG_BITS({7 * RB_COUNTER0, "CNT", "counters that it is for"},
	    {RB_STATUS, "STATUS", "0: latch the status"}, {RB_COUNT, "COUNT", "0: latch the count"},
	    {3 << CW_COUNTER_SHIFT, "SC", "3"})},
    {REG_AT(REG_PORT, 0x40, 1), .count = COUNTERS, .stride = 1, .name = "status byte n",
	.section = "read-back command", .reset = ACCESS_BOTH << CW_ACCESS_SHIFT,
	.flags = REG_READ_ONLY | REG_SHARED, .varies = STATUS_OUT,
	REG_AFTER(0x43, 1, CW_READ_BACK << CW_COUNTER_SHIFT | RB_COUNT | 0xe),
	.doc = "read once after a read-back command; undefined until the counter is programmed",
	.test = "latch_and_read_back",
	.bits = REG_BITS({CW_BCD, "BCD", NULL}, {7 << CW_MODE_SHIFT, "M", NULL},
	    {3 << CW_ACCESS_SHIFT, "RW", NULL}, {STATUS_NULL, "NULL COUNT", NULL},
	    {STATUS_OUT, "OUTPUT", NULL})},
    {REG_AT(REG_PORT, 0x61, 1), .name = "NMI_SC", .section = "ICH9, 13.7.1",
	.writable = P61_WRITABLE, .varies = P61_REFRESH | P61_OUT2, .test = "port61",
	.bits = REG_BITS({P61_GATE2, "TIM_CNT2_EN", "gate of counter 2"},
	    {P61_SPEAKER, "SPKR_DAT_EN", "kept: there is no speaker"},
	    {1 << 2, "PCI_SERR_EN", "kept: there is no SERR#"},
	    {1 << 3, "IOCHK_NMI_EN", "kept: there is no IOCHK#"},
	    {P61_REFRESH, "REF_TOGGLE", "changes every 15 us"},
	    {P61_OUT2, "TMR2_OUT_STS", "output of counter 2"},
	    {1 << 6, "IOCHK_NMI_STS", "never set"}, {1 << 7, "SERR#_NMI_STS", "never set"})},
    {0},
};

DEVICE_REGISTERS(i8254_registers) = {
    .model = "amber,i8254",
    .title = "interval timer, and the speaker's port",
    .sheet = "Intel 8254 Programmable Interval Timer, 231164-005; port 61h: ICH9 datasheet",
    .doc = "The addresses that alias these in the ICH9 (50h to 53h; 63h, 65h, 67h) are not "
	   "implemented. Counters 0 and 1 always count.",
    .tests = "test_i8254.c",
    .ranges = REG_RANGES({REG_PORT, 0x40, 4, 1}, {REG_PORT, 0x61, 1, 1}),
    .rows = i8254_rows,
};
