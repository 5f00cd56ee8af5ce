/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Promises of the instruction emulator about ports and string instructions: who
 * may use a port, what is checked before it is touched, what a repeat leaves
 * behind wherever it stops.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/test_emul_run.h"

/* --- ports ---------------------------------------------------------------------- */

static void in_and_out(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RAX) = 0x1122334455667788;
	*gpr(GPR_RDX) = 0xabc0;
	rig.port_value = 0xdeadbeef;
	CODE(0xe4, 0x71);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RAX), 0x11223344556677ef);
	assert_int_equal(rig.log[rig.logged - 1].addr, 0x71);
	CODE(0xed);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RAX), 0xdeadbef0);
	assert_int_equal(rig.log[rig.logged - 1].addr, 0xabc0);
	assert_int_equal(rig.log[rig.logged - 1].len, 4);
	CODE(0x66, 0xef);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.port_written, 0xbef0);
	CODE(0x48, 0xed); /* REX.W changes nothing */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.log[rig.logged - 1].len, 4);
	assert_int_equal(*gpr(GPR_RAX), 0xdeadbef1);
}

static void port_permission(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	rig.s.cpl = 3;
	rig.s.seg[SEG_TR] = (struct seg){.base = RIG_DATA, .limit = 0x68 + 0x10 - 1, .attr = 0x8b};
	rig.mem[RIG_DATA + 0x66] = 0x68;
	*gpr(GPR_RDX) = 0x17;
	CODE(0x66, 0xed);
	assert_int_equal(run(), EMUL_OK);
	rig.s.rip = RIG_CODE;
	rig.mem[RIG_DATA + 0x68 + 3] = 1; /* port 0x18: the second byte of the word */
	expect_exception(VEC_GP, true, 0);
	assert_int_equal(count(RIG_IN), 0);
	CODE(0xec);
	assert_int_equal(run(), EMUL_OK);
	rig.s.rip = RIG_CODE;
	*gpr(GPR_RDX) = 0x80; /* beyond the limit */
	expect_exception(VEC_GP, true, 0);
	rig.s.rflags |= RFLAGS_IOPL;
	assert_int_equal(run(), EMUL_OK);
}

static void string_io(void **state)
{
	static const uint8_t expected[] = {5, 0, 6, 0, 7, 0};

	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RDX) = 0x1f0;
	*gpr(GPR_RCX) = 3;
	*gpr(GPR_RDI) = RIG_DATA;
	rig.port_value = 5;
	CODE(0xf3, 0x66, 0x6d);
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.mem + RIG_DATA, expected, 6);
	assert_int_equal(*gpr(GPR_RCX), 0);
	assert_int_equal(*gpr(GPR_RDI), RIG_DATA + 6);
	assert_int_equal(count(RIG_IN), 3);
	assert_int_equal(count(RIG_WRITE), 1); /* RAM is written at once */
	*gpr(GPR_RSI) = RIG_DATA;
	*gpr(GPR_RCX) = 2;
	CODE(0xf3, 0x66, 0x6f);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(count(RIG_OUT), 2);
	assert_int_equal(rig.port_written, 6);
}

/* The buffer is checked before the port is read: what was read could not be given back. */
static void ins_faults_before_the_port(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RDI) = 0x40000000;
	CODE(0x6c);
	expect_exception(VEC_PF, true, PF_W);
	assert_int_equal(count(RIG_IN), 0);
	/* in the middle: what came before stands */
	*gpr(GPR_RDI) = 0x40000000 - 2;
	*gpr(GPR_RCX) = 5;
	CODE(0xf3, 0x6c);
	assert_int_equal(run(), EMUL_EXCEPTION);
	assert_int_equal(rig.e.event.vector, VEC_PF);
	assert_int_equal(rig.e.cr2, 0x40000000);
	assert_int_equal(*gpr(GPR_RCX), 3);
	assert_int_equal(*gpr(GPR_RDI), 0x40000000);
	assert_int_equal(count(RIG_IN), 2);
	assert_int_equal(rig.s.rip, RIG_CODE);
}

/* --- strings -------------------------------------------------------------------- */

static void fill_data(void)
{
	for (unsigned n = 0; n < 0x2000; n++)
		rig.mem[RIG_DATA + n] = (uint8_t)(n * 7);
}

static void string_to_device(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	fill_data();
	*gpr(GPR_RSI) = RIG_DATA;
	*gpr(GPR_RDI) = RIG_DEVICE;
	*gpr(GPR_RCX) = 20;
	CODE(0xf3, 0xa5);
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.device, rig.mem + RIG_DATA, 80);
	assert_int_equal(device_accesses(), 20); /* in the guest's width, one by one, in order */
	for (unsigned n = 0; n < 20; n++) {
		assert_int_equal(device_access(n)->addr, RIG_DEVICE + 4 * n);
		assert_int_equal(device_access(n)->len, 4);
	}
	/* from device to device */
	*gpr(GPR_RSI) = RIG_DEVICE;
	*gpr(GPR_RDI) = RIG_DEVICE + 0x100;
	*gpr(GPR_RCX) = 3;
	rig.s.rip = RIG_CODE;
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.device + 0x100, rig.device, 12);
	assert_int_equal(device_accesses(), 6);
}

static void repeat_is_interruptible(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RDI) = RIG_DATA;
	*gpr(GPR_RCX) = 150;
	*gpr(GPR_RAX) = 0x5a;
	CODE(0xf3, 0xaa);
	assert_int_equal(run(), EMUL_CONTINUE);
	assert_int_equal(*gpr(GPR_RCX), 86);
	assert_int_equal(*gpr(GPR_RDI), RIG_DATA + 64);
	assert_int_equal(rig.s.rip, RIG_CODE);
	assert_int_equal(count(RIG_WRITE), 1);
	assert_int_equal(run(), EMUL_CONTINUE);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RCX), 0);
	assert_int_equal(rig.mem[RIG_DATA + 149], 0x5a);
	assert_int_equal(rig.mem[RIG_DATA + 150], 0);
	assert_int_equal(rig.s.rip, RIG_CODE + 2);
}

/* An overlapping MOVS is a pattern fill: element by element whatever the chunks are. */
static void overlapping_movs(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	memcpy(rig.mem + RIG_DATA, "abc", 3);
	*gpr(GPR_RSI) = RIG_DATA;
	*gpr(GPR_RDI) = RIG_DATA + 3;
	*gpr(GPR_RCX) = 9;
	CODE(0xf3, 0xa4);
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.mem + RIG_DATA, "abcabcabcabc", 13);
}

static void strings_across_pages(void **state)
{
	(void)state;
	for (unsigned down = 0; down < 2; down++) {
		rig_init(&rig, 64);
		fill_data();
		*gpr(GPR_RSI) = RIG_DATA + 0xfdd + (down ? 14 * 4 : 0);
		*gpr(GPR_RDI) = RIG_DATA + 0x4fe1 + (down ? 14 * 4 : 0);
		*gpr(GPR_RCX) = 15;
		rig.s.rflags |= down ? RFLAGS_DF : 0;
		CODE(0xf3, 0xa5);
		assert_int_equal(run(), EMUL_OK);
		assert_memory_equal(rig.mem + RIG_DATA + 0x4fe1, rig.mem + RIG_DATA + 0xfdd, 60);
		assert_int_equal(rig.mem[RIG_DATA + 0x4fe0], 0);
		assert_int_equal(rig.mem[RIG_DATA + 0x4fe1 + 60], 0);
		assert_int_equal(*gpr(GPR_RCX), 0);
	}
}

/* The limit cuts in at the element that crosses it, with everything before it done. */
static void string_meets_the_limit(void **state)
{
	(void)state;
	rig_init(&rig, 32);
	rig.s.seg[SEG_ES] = (struct seg){.base = RIG_DATA, .limit = 0x12, .attr = 0x493};
	*gpr(GPR_RDI) = 0;
	*gpr(GPR_RCX) = 10;
	*gpr(GPR_RAX) = 0x01020304;
	CODE(0xf3, 0xab);
	assert_int_equal(run(), EMUL_EXCEPTION);
	assert_int_equal(rig.e.event.vector, VEC_GP);
	assert_int_equal(*gpr(GPR_RDI), 16);
	assert_int_equal(*gpr(GPR_RCX), 6);
	assert_int_equal(rig.mem[RIG_DATA + 15], 1);
	assert_int_equal(rig.mem[RIG_DATA + 16], 0);
}

static void scan_stops(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	memcpy(rig.mem + RIG_DATA, "hello", 6);
	*gpr(GPR_RDI) = RIG_DATA;
	*gpr(GPR_RCX) = ~0ULL;
	CODE(0xf2, 0xae); /* strlen */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RCX), ~0ULL - 6);
	assert_int_equal(*gpr(GPR_RDI), RIG_DATA + 6);
	assert_int_equal(rig.s.rflags & RFLAGS_ZF, RFLAGS_ZF);
	/* a device is not read beyond the element that decides */
	memcpy(rig.device, "\0\0\1", 3);
	*gpr(GPR_RDI) = RIG_DEVICE;
	*gpr(GPR_RCX) = 50;
	CODE(0xf3, 0xae);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(device_accesses(), 3);
	assert_int_equal(*gpr(GPR_RCX), 47);
	assert_int_equal(rig.s.rflags & RFLAGS_ZF, 0);
}

static void retry_in_a_repeat_keeps_progress(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RSI) = RIG_DEVICE;
	*gpr(GPR_RDI) = RIG_DATA;
	*gpr(GPR_RCX) = 10;
	memcpy(rig.device, "0123456789", 10);
	CODE(0xf3, 0xa4);
	assert_int_equal(run(), EMUL_OK); /* how many calls there are without */
	rig.retry_at = (int)rig.calls - 5;
	rig.s.rip = RIG_CODE;
	*gpr(GPR_RSI) = RIG_DEVICE;
	*gpr(GPR_RDI) = RIG_DATA + 0x100;
	*gpr(GPR_RCX) = 10;
	assert_int_equal(run(), EMUL_CONTINUE);
	assert_int_equal(*gpr(GPR_RCX), 4);
	assert_memory_equal(rig.mem + RIG_DATA + 0x100, "012345\0", 7);
	rig.retry_at = -1;
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.mem + RIG_DATA + 0x100, "0123456789\0", 11);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(in_and_out),
	    cmocka_unit_test(port_permission),
	    cmocka_unit_test(string_io),
	    cmocka_unit_test(ins_faults_before_the_port),
	    cmocka_unit_test(string_to_device),
	    cmocka_unit_test(repeat_is_interruptible),
	    cmocka_unit_test(overlapping_movs),
	    cmocka_unit_test(strings_across_pages),
	    cmocka_unit_test(string_meets_the_limit),
	    cmocka_unit_test(scan_stops),
	    cmocka_unit_test(retry_in_a_repeat_keeps_progress),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
