/* SPDX-License-Identifier: BSD-2-Clause */
/* The register of debug_exit.c, by which it is included. */
#include "hv/core/device_regs.h"

static const struct reg_row debug_exit_rows[] = {
    {REG_AT(REG_PORT, 0xf4, 4), .name = "exit code", .section = "-", .flags = REG_WRITE_ONLY,
	.doc = "ends the machine, with 1, 2 or 4 bytes",
	.test = "a_write_of_any_width_ends_the_machine"},
    {0},
};

DEVICE_REGISTERS(debug_exit_registers) = {
    .model = "amber,debug-exit",
    .title = "a port that ends the machine",
    .sheet = "QEMU, hw/misc/debugexit.c (isa-debug-exit)",
    .doc = "The manifest says which ports; the usual ones are in the table.",
    .tests = "test_debug_exit.c",
    .rows = debug_exit_rows,
};
