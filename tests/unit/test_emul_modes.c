/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Promises of the instruction emulator about instructions beyond moves and
 * arithmetic (branches through memory, division errors, system registers), and about
 * the modes that the executor of test_emul_diff.c does not have: 16-bit protected,
 * PAE, 32-bit paging, compatibility.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/test_emul_run.h"

static void put(uint64_t at, uint64_t value, unsigned len)
{
	memcpy(rig.mem + at, &value, len);
}

/* --- branches ---------------------------------------------------------------------- */

static void branches_through_a_device(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RBX) = RIG_DEVICE;
	memcpy(rig.device, "\x78\x56\x34\x12\0\0\0\0", 8);
	CODE(0xff, 0x23); /* jmp *(%rbx) */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.s.rip, 0x12345678);
	assert_int_equal(device_access(0)->len, 8);
	rig.s.rip = RIG_CODE;
	*gpr(GPR_RSP) = RIG_DATA + 0x100;
	CODE(0xff, 0x13, 0x90); /* call *(%rbx) */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.s.rip, 0x12345678);
	assert_int_equal(*gpr(GPR_RSP), RIG_DATA + 0xf8);
	assert_memory_equal(rig.mem + RIG_DATA + 0xf8, "\x02\x80\0\0\0\0\0\0", 8);
	/* a stack fault comes before the device is read, */
	rig.s.rip = RIG_CODE;
	*gpr(GPR_RSP) = 0x40000008;
	expect_exception(VEC_PF, true, PF_W);
	assert_int_equal(device_accesses(), 0);
	/* and a target that is not canonical before the stack is written */
	*gpr(GPR_RSP) = RIG_DATA + 0x100;
	rig.device[6] = 1;
	expect_exception(VEC_GP, true, 0);
	assert_int_equal(count(RIG_WRITE), 0);
	CODE(0xff, 0x23);
	expect_exception(VEC_GP, true, 0);
}

static void branches_in_16_and_32_bits(void **state)
{
	(void)state;
	rig_init(&rig, 32);
	*gpr(GPR_RBX) = RIG_DATA;
	put(RIG_DATA, 0x12345678, 4);
	CODE(0xff, 0x23);
	rig.s.seg[SEG_CS].limit = 0x12345677;
	expect_exception(VEC_GP, true, 0);
	rig.s.seg[SEG_CS].limit++;
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.s.rip, 0x12345678);
	rig.s.rip = RIG_CODE;
	CODE(0x66, 0xff, 0x13); /* call with 16-bit operands */
	*gpr(GPR_RSP) = RIG_DATA + 0x100;
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.s.rip, 0x5678);
	assert_int_equal(*gpr(GPR_RSP), RIG_DATA + 0xfe);
	assert_memory_equal(rig.mem + RIG_DATA + 0xfe, "\x03\x80", 2);
}

/* --- arithmetic -------------------------------------------------------------------- */

static void division_errors(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RBX) = RIG_DATA;
	CODE(0x48, 0xf7, 0x33); /* divq (%rbx) by 0 */
	expect_exception(VEC_DE, false, 0);
	put(RIG_DATA, 5, 8);
	*gpr(GPR_RDX) = 5; /* the quotient does not fit */
	expect_exception(VEC_DE, false, 0);
	*gpr(GPR_RDX) = 4;
	*gpr(GPR_RAX) = 7;
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RDX), (7 + 4 * 1) % 5); /* 2^64 leaves 1 */
	/* bytes: the quotient must fit with its sign */
	rig.s.rip = RIG_CODE;
	CODE(0xf6, 0x3b, 0x90);
	put(RIG_DATA, 0xff, 1);
	*gpr(GPR_RAX) = 0x81; /* 129 / -1 */
	expect_exception(VEC_DE, false, 0);
	*gpr(GPR_RAX) = 0xff80; /* -128 / -1 */
	expect_exception(VEC_DE, false, 0);
	*gpr(GPR_RAX) = 0xff81;
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RAX), 0x007f);
	rig.s.rip = RIG_CODE;
	put(RIG_DATA, 1, 1);
	*gpr(GPR_RAX) = 0xff80; /* -128 / 1 does fit */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RAX), 0x0080);
	/* a page fault comes first */
	rig.s.rip = RIG_CODE;
	*gpr(GPR_RBX) = 0x40000000;
	expect_exception(VEC_PF, true, 0);
}

/* One read of the device for each, of the right size. */
static void arithmetic_from_a_device(void **state)
{
	static const struct {
		uint8_t code[6], len;
		unsigned reg;
		uint64_t value;
	} cases[] = {
	    {{0x48, 0x0f, 0xaf, 0x03}, 8, GPR_RAX, 0x0a00000000000006}, /* imul (%rbx), %rax */
	    {{0x6b, 0x03, 0xfd}, 4, GPR_RAX, 0xfffffff7},		/* imul $-3, (%rbx), %eax */
	    {{0x0f, 0x44, 0x03}, 4, GPR_RAX, 2},			/* cmove: not taken */
	    {{0x0f, 0x45, 0x03}, 4, GPR_RAX, 3},
	    {{0x48, 0x0f, 0xbd, 0x03}, 8, GPR_RAX, 56}, /* bsr */
	    {{0x0f, 0xbc, 0x03}, 4, GPR_RAX, 0},
	    {{0xf3, 0x48, 0x0f, 0xb8, 0x03}, 8, GPR_RAX, 3}, /* popcnt */
	    {{0xf3, 0x0f, 0xbd, 0x03}, 4, GPR_RAX, 30},	     /* lzcnt */
	    {{0xf6, 0x23}, 1, GPR_RAX, 6},		     /* mulb */
	    {{0xd7}, 1, GPR_RAX, 0},			     /* xlat: one at 2 */
	};

	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(cases); n++) {
		rig_init(&rig, 64);
		*gpr(GPR_RBX) = RIG_DEVICE;
		*gpr(GPR_RAX) = 2;
		rig.device[0] = 3;
		rig.device[7] = 1;
		rig_code(&rig, cases[n].code, 6);
		if (cases[n].code[1] == 0x0f && cases[n].code[2] == 0xaf)
			rig.device[7] = 5;
		assert_int_equal(run(), EMUL_OK);
		assert_int_equal(*gpr(cases[n].reg), cases[n].value);
		assert_int_equal(device_accesses(), 1);
		assert_int_equal(device_access(0)->len, cases[n].len);
	}
	/* SETcc writes and does not read; SHLD does both */
	rig_init(&rig, 64);
	*gpr(GPR_RBX) = RIG_DEVICE;
	*gpr(GPR_RAX) = 0x80000000;
	CODE(0x0f, 0x95, 0x03);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.device[0], 1);
	assert_int_equal(device_accesses(), 1);
	CODE(0x0f, 0xa4, 0x03, 0x01); /* shld $1, %eax, (%rbx) */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.device[0], 3);
	assert_int_equal(device_accesses(), 2);
}

/* --- system registers -------------------------------------------------------------- */

static void system_registers(void **state)
{
	uint64_t value;

	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RBX) = RIG_DEVICE;
	rig.s.cr0 |= CR0_TS;
	rig.s.seg[SEG_TR].sel = 0x1234;
	CODE(0x48, 0x0f, 0x01, 0x23); /* smsw: two bytes whatever REX.W says */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.device[0], (uint8_t)rig.s.cr0);
	assert_int_equal(device_access(0)->len, 2);
	rig.s.cr0 |= CR0_CD;
	*gpr(GPR_RCX) = *gpr(GPR_RDX) = *gpr(GPR_RSI) = UINT64_MAX;
	CODE(0x66, 0x0f, 0x01, 0xe1); /* smsw cx */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RCX), 0xffffffffffff0000 | (uint16_t)rig.s.cr0);
	CODE(0x0f, 0x01, 0xe2); /* smsw edx: all that there is, as SMSW rsi has it */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RDX), rig.s.cr0);
	CODE(0x48, 0x0f, 0x01, 0xe6);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RSI), rig.s.cr0);
	CODE(0x0f, 0x00, 0x0b); /* str */
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.device, "\x34\x12", 2);
	rig.s.cpl = 3;
	rig.s.rip = RIG_CODE;
	assert_int_equal(run(), EMUL_OK);
	rig.s.rip = RIG_CODE;
	rig.s.cr4 |= CR4_UMIP;
	expect_exception(VEC_GP, true, 0);
	rig_init(&rig, 16);
	CODE(0x0f, 0x00, 0x0f); /* not in real mode */
	expect_exception(VEC_UD, false, 0);
	/* an operand for somebody else: LMSW */
	rig_init(&rig, 64);
	rig.e.insn_bytes = 0;
	*gpr(GPR_RBX) = RIG_DATA;
	put(RIG_DATA + 4, 0xfedcba, 3);
	CODE(0x0f, 0x01, 0x73, 0x04);
	assert_int_equal(emul_read_operand(&rig.e, 2, &value), EMUL_OK);
	assert_int_equal(value, 0xdcba);
	assert_int_equal(rig.s.rip, RIG_CODE);
	*gpr(GPR_RBX) = 0x40000000;
	assert_int_equal(emul_read_operand(&rig.e, 2, &value), EMUL_EXCEPTION);
	assert_int_equal(rig.e.cr2, 0x40000004);
	CODE(0x0f, 0x01, 0xf3);
	assert_int_equal(emul_read_operand(&rig.e, 2, &value), EMUL_UNHANDLED);
}

/* --- modes ------------------------------------------------------------------------- */

/* 16-bit code and stack in protected mode, segments with bases. */
static void protected_16_bit(void **state)
{
	(void)state;
	rig_init(&rig, 32);
	rig_segment(&rig.s, SEG_CS, 0, 0x9b);
	rig_segment(&rig.s, SEG_DS, RIG_DATA, 0x93);
	rig_segment(&rig.s, SEG_SS, RIG_DATA + 0x1000, 0x93);
	*gpr(GPR_RBX) = 0x10020; /* only BX counts */
	*gpr(GPR_RSI) = 1;
	*gpr(GPR_RAX) = 0x11223344;
	CODE(0x89, 0x00); /* mov %ax, (%bx, %si) */
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.mem + RIG_DATA + 0x21, "\x44\x33\0", 3);
	CODE(0x67, 0x66, 0x89, 0x44, 0x24, 0x04); /* mov %eax, 4(%esp) */
	*gpr(GPR_RSP) = 0x10;
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.mem + RIG_DATA + 0x1014, "\x44\x33\x22\x11", 4);
	CODE(0x67, 0x89, 0x03, 0x90); /* through EBX: above the limit */
	expect_exception(VEC_GP, true, 0);
	*gpr(GPR_RSP) = 0x10000;
	CODE(0x67, 0x89, 0x04, 0x24);
	expect_exception(VEC_SS, true, 0);
}

/* The error code and CR2 of a write in user mode, in each kind of paging. */
static void expect_user_fault(uint32_t address)
{
	rig.s.cpl = 3;
	*gpr(GPR_RBX) = address;
	CODE(0x89, 0x03);
	expect_exception(VEC_PF, true, PF_P | PF_W | PF_U);
	assert_int_equal(rig.e.cr2, address);
	rig.s.cpl = 0; /* CR0.WP is off */
	assert_int_equal(run(), EMUL_OK);
	rig.s.rip = RIG_CODE;
	rig.s.cr0 |= CR0_WP;
	expect_exception(VEC_PF, true, PF_P | PF_W);
}

static void paging_32_bit(void **state)
{
	(void)state;
	rig_init(&rig, 32);
	put(0x1000, 0xe7, 4);		     /* 4 MiB at 0 */
	put(0x1000 + 4, 0x2000 | 0x67, 4);   /* a table for the next */
	put(0x2000 + 4, RIG_DATA | 0x65, 4); /* its second page, read-only */
	rig.s.cr3 = 0x1000;
	rig.s.cr4 = CR4_PSE;
	rig.s.cr0 |= CR0_PG;
	*gpr(GPR_RAX) = 0x55667788;
	expect_user_fault(0x401234);
	assert_memory_equal(rig.mem + RIG_DATA + 0x234, "\x88\x77\x66\x55", 4);
}

static void paging_pae(void **state)
{
	(void)state;
	rig_init(&rig, 32);
	rig.s.pdpte[0] = 0x1001;
	put(0x1000, 0xe7, 8);		 /* 2 MiB at 0 */
	put(0x1008, 0x2000 | 0x67, 8);	 /* a table */
	put(0x2008, RIG_DATA | 0x65, 8); /* read-only */
	put(0x2010, BIT(63) | RIG_DATA | 0x67, 8);
	rig.s.cr4 = CR4_PAE;
	rig.s.efer = EFER_NXE;
	rig.s.cr0 |= CR0_PG;
	*gpr(GPR_RAX) = 0x55667788;
	expect_user_fault(0x201234);
	assert_memory_equal(rig.mem + RIG_DATA + 0x234, "\x88\x77\x66\x55", 4);
	rig.s.rip = 0x202000; /* a fetch from where nothing may be executed */
	expect_exception(VEC_PF, true, PF_P | PF_I);
	assert_int_equal(rig.e.cr2, 0x202000);
}

/* 32-bit code under four-level paging: addresses of 32 bits, which wrap; segments count. */
static void compatibility_mode(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	rig.s.seg[SEG_CS].attr = 0xc9b;
	*gpr(GPR_RBX) = 0xffffffff00000000 | RIG_DATA;
	*gpr(GPR_RAX) = 0xaabbccdd11223344;
	CODE(0x89, 0x83, 0x10, 0, 0, 0);
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.mem + RIG_DATA + 0x10, "\x44\x33\x22\x11\0", 5);
	CODE(0x48); /* dec %eax, not a prefix */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RAX), 0x11223343);
	CODE(0x89, 0x1d, 0x20, 0, 1, 0); /* not relative to EIP */
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.mem + RIG_DATA + 0x20, "\0\0\1\0", 4);
	rig.s.rip = RIG_CODE;
	rig.s.seg[SEG_DS].base = RIG_DATA;
	rig.s.seg[SEG_DS].limit = 0x100;
	*gpr(GPR_RBX) = 0xfe;
	CODE(0x89, 0x03, 0x90);
	expect_exception(VEC_GP, true, 0);
	*gpr(GPR_RBX) = 0xfd;
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.s.rip, RIG_CODE + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(branches_through_a_device),
	    cmocka_unit_test(branches_in_16_and_32_bits),
	    cmocka_unit_test(division_errors),
	    cmocka_unit_test(arithmetic_from_a_device),
	    cmocka_unit_test(system_registers),
	    cmocka_unit_test(protected_16_bit),
	    cmocka_unit_test(paging_32_bit),
	    cmocka_unit_test(paging_pae),
	    cmocka_unit_test(compatibility_mode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
