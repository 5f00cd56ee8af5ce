/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of i8042.c, by which it is included. */
#include "hv/core/device_regs.h"

#define COMMAND(number, command_name, test_name, text)                                             \
	{                                                                                          \
		REG_INDEX(REG_PORT, 0x60, 1, 0x64, 1, number),                                     \
		    .name = (command_name), .section = "commands",                                 \
		    .flags = REG_WRITE_ONLY | REG_SPECIAL, .doc = (text), .test = (test_name)      \
	}
#define KEYBOARD(number, command_name, text)                                                       \
	{                                                                                          \
		REG_INDEX(REG_PORT, 0x60, 1, 0x60, 1, number),                                     \
		    .name = (command_name), .section = "keyboard",                                 \
		    .flags = REG_WRITE_ONLY | REG_SPECIAL, .doc = (text),                          \
		    .test = "keyboard_answers"                                                     \
	}

static const struct reg_row i8042_rows[] = {
    {REG_AT(REG_PORT, 0x60, 1), .name = "output buffer", .section = "output buffer",
	.flags = REG_READ_ONLY | REG_SHARED,
	.doc = "takes the oldest byte; empty: the last one again", .test = "interrupt_per_byte"},
    {REG_AT(REG_PORT, 0x60, 1), .name = "input buffer", .section = "input buffer",
	.flags = REG_WRITE_ONLY | REG_SHARED | REG_SPECIAL,
	.doc = "what a command waits for, else a byte to the keyboard", .test = "keyboard_answers"},
    {REG_AT(REG_PORT, 0x64, 1), .name = "status register", .section = "status register",
	.reset = STATUS_UNLOCKED, .flags = REG_READ_ONLY | REG_SHARED, .test = "self_tests",
	.bits = REG_BITS({STATUS_OUTPUT_FULL, "output buffer full", NULL},
	    {1 << 1, "input buffer full", "never set: a byte is taken at once"},
	    {STATUS_SYSTEM, "system flag", "bit 2 of the command byte"},
	    {STATUS_COMMAND, "command/data", "the last write was to port 64h"},
	    {STATUS_UNLOCKED, "inhibit switch", "not locked"},
	    {1 << 5, "auxiliary output buffer full", "never set: there is no auxiliary device"},
	    {1 << 6, "general time-out", "never set"}, {1 << 7, "parity error", "never set"})},
    {REG_INDEX(REG_PORT, 0x60, 1, 0x64, 1, CMD_READ_RAM), .name = "command byte",
	.section = "command byte", .flags = REG_SPECIAL,
	.reset = CB_TRANSLATE | CB_AUX_OFF | CB_KEYBOARD_OFF,
	.doc = "read by 20h, written by 60h and a byte. 21h to 3Fh and 61h to 7Fh "
	       "are 31 bytes more",
	.test = "command_byte",
	.bits = REG_BITS({CB_KEYBOARD_IRQ, "enable keyboard interrupt", NULL},
	    {1 << 1, "enable auxiliary interrupt", "kept: there is no auxiliary device"},
	    {CB_SYSTEM, "system flag", NULL},
	    {CB_KEYBOARD_OFF, "disable keyboard", "kept: nobody types"},
	    {CB_AUX_OFF, "disable auxiliary device", NULL},
	    {CB_TRANSLATE, "keyboard translate", "seen in the keyboard's identification only"})},
    COMMAND(CMD_AUX_OFF, "disable auxiliary device", "no_auxiliary_port", NULL),
    COMMAND(CMD_AUX_ON, "enable auxiliary device", "no_auxiliary_port", NULL),
    COMMAND(CMD_AUX_TEST, "auxiliary interface test", "no_auxiliary_port", "answers 1: clock low"),
    COMMAND(CMD_SELF_TEST, "self-test", "self_tests", "answers 55h"),
    COMMAND(CMD_KEYBOARD_TEST, "keyboard interface test", "self_tests", "answers 0"),
    COMMAND(CMD_KEYBOARD_OFF, "disable keyboard", "command_byte", NULL),
    COMMAND(CMD_KEYBOARD_ON, "enable keyboard", "command_byte", NULL),
    COMMAND(CMD_READ_INPUT, "read input port", "every_command_is_survived", "answers 80h"),
    {REG_INDEX(REG_PORT, 0x60, 1, 0x64, 1, CMD_READ_OUTPUT), .name = "output port",
	.section = "output port", .flags = REG_SPECIAL, .reset = OUT_NOT_RESET | OUT_A20,
	.doc = "read by D0h, written by D1h and a byte", .test = "a20_gate",
	.bits = REG_BITS({OUT_NOT_RESET, "reset", "0 resets the machine"},
	    {OUT_A20, "A20", "not implemented: kept, address line 20 is never forced to 0"},
	    {OUT_KEYBOARD_FULL, "output buffer full", NULL})},
    COMMAND(CMD_WRITE_KEYBOARD_BUFFER, "write keyboard output buffer", "every_command_is_survived",
	"with a byte"),
    COMMAND(CMD_WRITE_AUX_BUFFER, "write auxiliary output buffer", "no_auxiliary_port",
	"with a byte; the same as D2h"),
    COMMAND(CMD_WRITE_AUX, "write to auxiliary device", "no_auxiliary_port",
	"not implemented: the byte goes to nobody, and is counted"),
    COMMAND(CMD_A20_OFF, "A20 off", "a20_gate", "kept in the output port"),
    COMMAND(CMD_A20_ON, "A20 on", "a20_gate", "kept in the output port"),
    COMMAND(CMD_READ_TEST, "read test inputs", "every_command_is_survived", "answers 0"),
    COMMAND(CMD_PULSE, "pulse output port", "reset_by_pulse",
	"to FFh: bit 0 clear resets the machine; the other bits do nothing"),
    KEYBOARD(KBD_SET_LEDS, "set LEDs", "with a byte; acknowledged"),
    KEYBOARD(KBD_ECHO, "echo", "answers EEh"),
    KEYBOARD(KBD_SCAN_CODE_SET, "select scan code set", "with a byte; 0 asks which"),
    KEYBOARD(KBD_IDENTIFY, "read ID", "answers ABh, 83h (41h if translated)"),
    KEYBOARD(KBD_SET_RATE, "set typematic rate", "with a byte; acknowledged"),
    KEYBOARD(KBD_ENABLE, "enable", "to FEh: acknowledged, without effect"),
    KEYBOARD(KBD_RESET, "reset", "answers AAh"),
    {0},
};

DEVICE_REGISTERS(i8042_registers) = {
    .model = "amber,i8042",
    .title = "keyboard controller, and a keyboard that nobody types on",
    .sheet = "IBM Personal System/2 Hardware Interface Technical Reference, keyboard and auxiliary "
	     "device controller",
    .doc = "Places in the table are the command's number: of the controller (port 64h), then of "
	   "the keyboard (port 60h, from EDh on). Other\ncommands are counted; the keyboard "
	   "acknowledges them.",
    .tests = "test_i8042.c",
    .rows = i8042_rows,
};
#undef COMMAND
#undef KEYBOARD
