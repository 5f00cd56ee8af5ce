/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of misc_ports.c, by which it is included. */
#include "hv/core/device_regs.h"

static const struct reg_row misc_ports_rows[] = {
    {REG_AT(REG_PORT, 0x80, 1), .name = "POST", .section = "-", .writable = 0xff,
	.doc = "progress of firmware; nobody shows it", .test = "delay_ports_keep_a_byte"},
    {REG_AT(REG_PORT, 0x92, 1), .name = "PORT92", .section = "13.7.3", .reset = P92_A20,
	.writable = P92_WRITABLE, .test = "fast_reset_on_the_rising_edge",
	.bits = REG_BITS({P92_RESET, "INIT_NOW", "setting it resets the machine"},
	    {P92_A20, "ALT_A20_GATE",
		"not implemented: kept, address line 20 is never forced to 0"})},
    {REG_AT(REG_PORT, 0xed, 1), .name = "DELAY", .section = "-", .writable = 0xff,
	.doc = "no chip's register: software writes here to pass time"},
    {0},
};

DEVICE_REGISTERS(misc_ports_registers) = {
    .model = "amber,misc-ports",
    .title = "ports 80h, 92h and EDh",
    .sheet = "Intel I/O Controller Hub 9 (ICH9) Family Datasheet, 316972-004",
    .doc = "Of the DMA controller's page registers, between which port 80h lies, nothing is "
	   "implemented.",
    .tests = "test_misc_ports.c",
    .rows = misc_ports_rows,
};
