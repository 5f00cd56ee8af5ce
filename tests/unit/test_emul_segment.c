/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Promises of loads of segment registers from memory: the selector's and the
 * descriptor's checks, each with its error code and without a change; the accessed bit; the
 * shadow after MOV SS; far JMP between modes.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/test_emul_run.h"

enum { GDT = 0x3000, LDT = 0x3800, SELECTOR = RIG_DATA + 0x100 };

/* Base 0x12345678, limit 0xabcde; attr as in struct seg. */
static void descriptor(unsigned table, unsigned sel, unsigned attr)
{
	uint64_t d = 0xbcdeULL | 0x345678ULL << 16 | 0x12ULL << 56 | 0xaULL << 48 |
		     (uint64_t)(attr & 0xff) << 40 | (uint64_t)(attr & 0xf00) << 44;

	memcpy(rig.mem + table + (sel & 0xfff8), &d, 8);
}

static void segment_rig(unsigned bits, uint16_t sel)
{
	rig_init(&rig, bits);
	rig.s.gdtr.base = GDT;
	rig.s.gdtr.limit = 0x7f;
	rig_segment(&rig.s, SEG_LDTR, LDT, 0x82);
	rig.s.seg[SEG_LDTR].limit = 0x7f;
	*gpr(GPR_RBX) = SELECTOR;
	memcpy(rig.mem + SELECTOR, &sel, 2);
}

static void loads_a_data_segment(void **state)
{
	const struct seg *ds = &rig.s.seg[SEG_DS], *es = &rig.s.seg[SEG_ES];

	(void)state;
	segment_rig(32, 0x10);
	descriptor(GDT, 0x10, 0xc92);
	CODE(0x8e, 0x1b); /* mov (%ebx), %ds */
	assert_int_equal(run(), EMUL_OK);
	assert_true(rig.e.segments_changed);
	assert_int_equal(ds->sel, 0x10);
	assert_int_equal(ds->base, 0x12345678);
	assert_int_equal(ds->limit, 0xabcdefff);
	assert_int_equal(ds->attr, 0xc93);
	assert_int_equal(rig.mem[GDT + 0x15], 0x93); /* accessed */
	assert_int_equal(rig.s.movss_shadow, 0);
	/* from the LDT, and with a pointer */
	segment_rig(32, 0);
	descriptor(LDT, 0x0c, 0x93);
	memcpy(rig.mem + SELECTOR, "\x78\x56\x34\x12\x0c\0", 6);
	CODE(0xc4, 0x0b); /* les (%ebx), %ecx */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RCX), 0x12345678);
	assert_int_equal(es->limit, 0xabcde);
	assert_int_equal(count(RIG_CMPXCHG), 0);
	/* real mode: only selector and base */
	segment_rig(16, 0x1234);
	rig_segment(&rig.s, SEG_DS, RIG_DATA, 0x93);
	*gpr(GPR_RBX) = 0x100;
	CODE(0x8e, 0x07); /* mov (%bx), %es */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(es->base, 0x12340);
	assert_int_equal(es->limit, 0xffff);
}

static void refuses_data_segments(void **state)
{
	static const struct {
		uint16_t sel, attr;
		uint8_t modrm, cpl, vector;
		uint16_t error;
	} cases[] = {
	    {0x13, 0xc93, 0x1b, 3, VEC_GP, 0x10}, /* DPL 0 */
	    {0x13, 0xc93, 0x1b, 0, VEC_GP, 0x10}, /* RPL above DPL */
	    {0x10, 0xc99, 0x1b, 0, VEC_GP, 0x10}, /* code that cannot be read */
	    {0x10, 0xc82, 0x1b, 0, VEC_GP, 0x10}, /* a system segment */
	    {0x10, 0xc13, 0x1b, 0, VEC_NP, 0x10},
	    {0x80, 0xc93, 0x1b, 0, VEC_GP, 0x80}, /* beyond the table */
	    {0x84, 0xc93, 0x1b, 0, VEC_GP, 0x84},
	    {0x10, 0xc13, 0x13, 0, VEC_SS, 0x10}, /* SS: */
	    {0x10, 0xcf3, 0x13, 0, VEC_GP, 0x10}, /* DPL 3 */
	    {0x11, 0xc93, 0x13, 0, VEC_GP, 0x10}, /* RPL 1 */
	    {0x10, 0xc91, 0x13, 0, VEC_GP, 0x10}, /* read-only */
	    {0x00, 0xc93, 0x13, 0, VEC_GP, 0},
	    {0x10, 0xc93, 0x0b, 0, VEC_UD, 0}, /* CS */
	    {0x10, 0xc93, 0x33, 0, VEC_UD, 0},
	};

	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(cases); n++) {
		segment_rig(32, cases[n].sel);
		descriptor(GDT, cases[n].sel, cases[n].attr);
		rig.s.cpl = cases[n].cpl;
		rig.mem[RIG_CODE] = 0x8e;
		rig.mem[RIG_CODE + 1] = cases[n].modrm;
		expect_exception(cases[n].vector, cases[n].vector != VEC_UD, cases[n].error);
		assert_int_equal(count(RIG_CMPXCHG) + count(RIG_WRITE), 0);
	}
	/* a table that is not mapped */
	segment_rig(64, 0x10);
	rig.s.gdtr.base = 0x40000000;
	rig.s.cpl = 3; /* the access is the CPU's own all the same */
	CODE(0x8e, 0x1b);
	expect_exception(VEC_PF, true, 0);
	assert_int_equal(rig.e.cr2, 0x40000010);
}

/* A task state segment: base 0x12345678, in long mode with more above it. */
static void loads_the_task_register(void **state)
{
	const struct seg *tr = &rig.s.seg[SEG_TR];
	uint64_t high = 0xffff8000;

	(void)state;
	segment_rig(32, 0x18);
	descriptor(GDT, 0x18, 0x089);
	CODE(0x0f, 0x00, 0x1b); /* ltr (%ebx) */
	assert_int_equal(run(), EMUL_OK);
	assert_true(rig.e.segments_changed);
	assert_int_equal(tr->sel, 0x18);
	assert_int_equal(tr->base, 0x12345678);
	assert_int_equal(tr->limit, 0xabcde);
	assert_int_equal(tr->attr, 0x08b);
	assert_int_equal(rig.mem[GDT + 0x1d], 0x8b); /* busy */
	assert_int_equal(rig.s.movss_shadow, 0);
	/* a busy one is not loaded again */
	rig.s.rip = RIG_CODE;
	expect_exception(VEC_GP, true, 0x18);
	segment_rig(64, 0x18);
	descriptor(GDT, 0x18, 0x089);
	memcpy(rig.mem + GDT + 0x20, &high, 8);
	CODE(0x0f, 0x00, 0x1b);
	assert_int_equal(run(), EMUL_OK);
	assert_true(tr->base == 0xffff800012345678);
	assert_int_equal(rig.mem[GDT + 0x1d], 0x8b);
}

static void refuses_task_registers(void **state)
{
	static const struct {
		uint16_t sel, attr;
		uint8_t bits, cpl;
		uint64_t high;
		uint8_t vector;
		uint16_t error;
	} cases[] = {
	    {0x18, 0x089, 32, 3, 0, VEC_GP, 0},
	    {0x03, 0x089, 32, 0, 0, VEC_GP, 0},	   /* null */
	    {0x1c, 0x089, 32, 0, 0, VEC_GP, 0x1c}, /* in the LDT */
	    {0x80, 0x089, 32, 0, 0, VEC_GP, 0x80}, /* beyond the table */
	    {0x78, 0x089, 64, 0, 0, VEC_GP, 0x78}, /* its second half is */
	    {0x18, 0x09b, 32, 0, 0, VEC_GP, 0x18}, /* code */
	    {0x18, 0x082, 32, 0, 0, VEC_GP, 0x18}, /* an LDT */
	    {0x18, 0x081, 64, 0, 0, VEC_GP, 0x18}, /* of 16 bits */
	    {0x18, 0x009, 32, 0, 0, VEC_NP, 0x18},
	    {0x18, 0x089, 64, 0, BIT(15), VEC_GP, 0x18}, /* not canonical */
	    {0x18, 0x089, 64, 0, BIT(43), VEC_GP, 0x18}, /* another descriptor */
	    {0x18, 0x089, 16, 0, 0, VEC_UD, 0},
	};

	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(cases); n++) {
		segment_rig(cases[n].bits, cases[n].sel);
		descriptor(GDT, cases[n].sel, cases[n].attr);
		memcpy(rig.mem + GDT + (cases[n].sel & 0xfff8) + 8, &cases[n].high, 8);
		rig.s.cpl = cases[n].cpl;
		CODE(0x0f, 0x00, 0x1b);
		expect_exception(cases[n].vector, cases[n].vector != VEC_UD, cases[n].error);
		assert_int_equal(count(RIG_CMPXCHG) + count(RIG_WRITE), 0);
	}
}

static void null_selectors(void **state)
{
	(void)state;
	segment_rig(64, 3);
	CODE(0x8e, 0x1b);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.s.seg[SEG_DS].sel, 3);
	assert_int_equal(rig.s.seg[SEG_DS].attr & SEG_ATTR_P, 0);
	segment_rig(64, 0);
	rig.s.rflags |= RFLAGS_TF;
	CODE(0x8e, 0x13); /* SS, in 64-bit mode: allowed, and no trap right after it */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.s.seg[SEG_SS].attr, 0);
	assert_int_equal(rig.s.movss_shadow, 1);
	assert_int_equal(rig.e.event.type, EVENT_NONE);
	segment_rig(64, 3);
	CODE(0x8e, 0x13); /* RPL is not CPL */
	expect_exception(VEC_GP, true, 0);
}

static void far_jumps(void **state)
{
	(void)state;
	segment_rig(64, 0);
	descriptor(GDT, 0x18, 0xc9a);
	descriptor(GDT, 0x20, 0xa9a);
	memcpy(rig.mem + SELECTOR, "\x78\x56\x34\x12\x18\0", 6);
	CODE(0xff, 0x2b); /* ljmp *(%rbx): into compatibility mode */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.s.rip, 0x12345678);
	assert_int_equal(rig.s.seg[SEG_CS].attr, 0xc9b);
	assert_int_equal(rig.s.seg[SEG_CS].base, 0x12345678);
	segment_rig(64, 0);
	descriptor(GDT, 0x20, 0xa9a);
	memcpy(rig.mem + SELECTOR, "\x78\x56\x34\x12\xff\x7f\0\0\x20\0", 10);
	CODE(0x48, 0xff, 0x2b); /* 64 bits */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.s.rip, 0x7fff12345678);
	rig.s.rip = RIG_CODE;
	rig.mem[SELECTOR + 6] = 1;
	expect_exception(VEC_GP, true, 0);
	rig.mem[SELECTOR + 8] = 0x23; /* RPL above CPL */
	expect_exception(VEC_GP, true, 0x20);
	descriptor(GDT, 0x20, 0xe9a); /* L and D */
	rig.mem[SELECTOR + 8] = 0x20;
	expect_exception(VEC_GP, true, 0x20);
	descriptor(GDT, 0x20, 0xa1a);
	expect_exception(VEC_NP, true, 0x20);
	descriptor(GDT, 0x20, 0x89); /* a task */
	assert_int_equal(run(), EMUL_UNHANDLED);
	/* beyond the limit: the descriptor is not even marked */
	segment_rig(32, 0);
	descriptor(GDT, 0x18, 0x49a);
	memcpy(rig.mem + SELECTOR, "\xdf\xbc\x0a\0\x18\0", 6);
	CODE(0xff, 0x2b);
	expect_exception(VEC_GP, true, 0);
	assert_int_equal(rig.mem[GDT + 0x1d], 0x9a);
	rig.mem[SELECTOR]--;
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.s.rip, 0xabcde);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(loads_a_data_segment),
	    cmocka_unit_test(refuses_data_segments),
	    cmocka_unit_test(loads_the_task_register),
	    cmocka_unit_test(refuses_task_registers),
	    cmocka_unit_test(null_selectors),
	    cmocka_unit_test(far_jumps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
