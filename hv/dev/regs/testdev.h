/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of testdev.c, by which it is included. */
#include "hv/core/device_regs.h"

static const struct reg_row testdev_rows[] = {
    {REG_AT(REG_PORT, 0xe0, 1), .count = LATCH_BYTES, .stride = 1, .name = "latch", .section = "-",
	.writable = 0xff, .doc = "in any width", .test = "the_latch_keeps_bytes"},
    {REG_AT(REG_PORT, 0xe4, 1), .count = 4, .stride = 1, .name = "flush", .section = "-",
	.reset = 0xff, .flags = REG_WRITE_ONLY,
	.doc = "a page whose mapping is to be forgotten; there is nothing to forget"},
    {REG_AT(REG_PORT, 0xe8, 1), .count = LATCH_BYTES, .stride = 1, .name = "latch, again",
	.section = "-", .writable = 0xff, .test = "the_latch_keeps_bytes"},
    {REG_AT(REG_PORT, 0x2000, 1), .count = GSI_COUNT, .stride = 1, .name = "line", .section = "-",
	.reset = 0xff, .flags = REG_WRITE_ONLY,
	.doc = "0 lowers the interrupt line, anything else raises it",
	.test = "lines_follow_their_bytes"},
    {REG_AT(REG_MEMORY, MEMORY_AT, 8), .name = "memory", .section = "-", .writable = UINT64_MAX,
	.doc = "64 KiB that keep what is written, in any width",
	.test = "memory_keeps_what_is_written"},
    {0},
};

DEVICE_REGISTERS(testdev_registers) = {
    .model = "amber,testdev",
    .title = "what test kernels need and no PC has",
    .sheet = "kvm-unit-tests, and QEMU, hw/misc/pc-testdev.c",
    .tests = "test_testdev.c",
    .rows = testdev_rows,
};
