/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of flash.c, by which it is included. */
#include "hv/core/device_regs.h"

#define COMMAND(code, nm, sect, what, by)                                                          \
	{                                                                                          \
		REG_AT(REG_MEMORY, 0, 1),                                                          \
		    .index = true, .select = (code), .name = (nm), .section = (sect),              \
		    .flags = REG_WRITE_ONLY | REG_SPECIAL, .doc = (what), .test = (by)             \
	}

static const struct reg_row flash_rows[] = {
    {REG_AT(REG_MEMORY, 0, 1), .name = "status register", .section = "4.4", .flags = REG_SPECIAL,
	.doc = "what reads anywhere in the chip show after a command that is not Read Array or "
	       "Read ID. Once cleared it is 0, READY too, until the next operation: OVMF knows "
	       "flash memory by that",
	.test = "is_detected",
	.bits = REG_BITS({SR_PROGRAM_ERROR, "SR4, program error", "and for a wrong sequence"},
	    {SR_ERASE_ERROR, "SR5, erase error", "likewise"}, {SR_READY, "SR7, ready", NULL})},
    {REG_AT(REG_MEMORY, 0, 1), .name = "identifier", .section = "4.2", .flags = REG_SPECIAL,
	.doc = "at even addresses 89h (Intel), at odd ones 17h (28F640)",
	.test = "identifies_itself"},
    COMMAND(CMD_READ_ARRAY, "Read Array", "4.1", "reads show the content, without an exit",
	"is_detected"),
    COMMAND(CMD_PROGRAM, "Program, 40h or 10h", "4.6",
	"the next write is the data, of its own width; only clears bits", "programs"),
    COMMAND(CMD_ERASE, "Block Erase", "4.5", "confirmed by D0h; the block has 4 KiB",
	"erases_one_block"),
    COMMAND(CMD_READ_STATUS, "Read Status Register", "4.4", NULL, "is_detected"),
    COMMAND(CMD_CLEAR_STATUS, "Clear Status Register", "4.4", "and reads show the content",
	"is_detected"),
    COMMAND(CMD_READ_ID, "Read Identifier", "4.2", NULL, "identifies_itself"),
    {0},
};

DEVICE_REGISTERS(flash_registers) = {
    .model = "amber,flash",
    .title = "flash chip for the firmware's variables, directly below its image",
    .sheet = "Intel StrataFlash Memory 28F128J3, 28F640J3, 28F320J3, 290667",
    .doc = "Not implemented: CFI query, buffered programming, suspend and resume, lock bits, the "
	   "protection register.",
    .tests = "test_flash.c",
    .rows = flash_rows,
};
#undef COMMAND
