/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Promises of SSE, AVX and MMX moves that comparison with a CPU (test_emul_cpu.c)
 * does not show: device memory, whether the guest has turned the registers on,
 * faults before any change, and that the registers are asked for.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "hv/arch/x86/xstate.h"
#include "tests/unit/test_emul_run.h"

enum { AREA_FSW = 2, AREA_MM = 32, AREA_XMM = 160, AREA_YMM = 576, DEVICE_OFFSET = 0x40 };

static unsigned asked;

static void count_asking(void *ctx)
{
	(void)ctx;
	asked++;
}

/* A CPU on which all is turned on, with different bytes in every register. */
static void vector_rig(unsigned bits)
{
	rig_init(&rig, bits);
	rig.s.cr4 |= CR4_OSFXSR | CR4_OSXSAVE;
	rig.s.xcr0 = XSTATE_X87 | XSTATE_SSE | XSTATE_AVX;
	rig.ops.vectors = count_asking;
	asked = 0;
	for (unsigned n = 0; n < 16 * 16; n++) {
		rig.s.xstate[AREA_XMM + n] = (uint8_t)(n + 1);
		rig.s.xstate[AREA_YMM + n] = (uint8_t)~n;
	}
	rig.s.xstate[XSAVE_HEADER] = XSTATE_SSE | XSTATE_AVX;
	*gpr(GPR_RBX) = RIG_DEVICE + DEVICE_OFFSET;
	for (unsigned n = 0; n < sizeof(rig.device); n++)
		rig.device[n] = (uint8_t)(n * 7);
}

static const uint8_t *device(void)
{
	return rig.device + DEVICE_OFFSET;
}

static void stores_to_a_device(void **state)
{
	(void)state;
	vector_rig(64);
	CODE(0x66, 0x0f, 0x7f, 0x0b); /* movdqa %xmm1, (%rbx) */
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(device(), rig.s.xstate + AREA_XMM + 16, 16);
	assert_int_equal(device_access(0)->what, RIG_WRITE);
	assert_int_equal(device_access(0)->len, 16);
	assert_int_equal(device_accesses(), 1);
	assert_int_equal(asked, 1);
	CODE(0xc5, 0xfe, 0x7f, 0x13); /* vmovdqu %ymm2, (%rbx) */
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(device(), rig.s.xstate + AREA_XMM + 32, 16);
	assert_memory_equal(device() + 16, rig.s.xstate + AREA_YMM + 32, 16);
	assert_int_equal(device_access(0)->len, 32);
	CODE(0x0f, 0x17, 0x1b); /* movhps %xmm3, (%rbx) */
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(device(), rig.s.xstate + AREA_XMM + 48 + 8, 8);
	assert_int_equal(device_access(0)->len, 8);
}

static void loads_from_a_device(void **state)
{
	static uint8_t upper[16];

	(void)state;
	vector_rig(64);
	memcpy(upper, rig.s.xstate + AREA_YMM, 16);
	CODE(0xf3, 0x0f, 0x6f, 0x03); /* movdqu (%rbx), %xmm0: the upper half stays */
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.s.xstate + AREA_XMM, device(), 16);
	assert_memory_equal(rig.s.xstate + AREA_YMM, upper, 16);
	memset(upper, 0, 16);
	CODE(0xc5, 0xfa, 0x6f, 0x03, 0x90); /* vmovdqu (%rbx), %xmm0: it does not */
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.s.xstate + AREA_XMM, device(), 16);
	assert_memory_equal(rig.s.xstate + AREA_YMM, upper, 16);
	CODE(0xc4, 0xe2, 0x7d, 0x58, 0x03); /* vpbroadcastd (%rbx), %ymm0 */
	assert_int_equal(run(), EMUL_OK);
	for (unsigned n = 0; n < 16; n += 4) {
		assert_memory_equal(rig.s.xstate + AREA_XMM + n, device(), 4);
		assert_memory_equal(rig.s.xstate + AREA_YMM + n, device(), 4);
	}
	assert_int_equal(device_access(0)->len, 4);
}

/* In 32-bit mode the bits for R, X, B and vvvv[3] have no meaning or belong to LES. */
static void outside_64_bit_mode(void **state)
{
	(void)state;
	vector_rig(32);
	CODE(0xc5, 0xfe, 0x6f, 0x0b);
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.s.xstate + AREA_XMM + 16, device(), 16);
	CODE(0xc4, 0xc1, 0xfa, 0x7e, 0x0b); /* vmovq (%ebx), %xmm1 with B and W */
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.s.xstate + AREA_XMM + 16, device(), 8);
	CODE(0xc4, 0xe1, 0xf9, 0x6e, 0x0b); /* vmovd: W does not make it eight bytes here */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(device_access(0)->len, 4);
	CODE(0x66, 0x0f, 0x6e, 0x0b, 0x90);
	assert_int_equal(run(), EMUL_OK);
	/* real mode has SSE and no AVX */
	vector_rig(16);
	rig_segment(&rig.s, SEG_DS, RIG_DATA, 0x93);
	*gpr(GPR_RBX) = 0x20;
	CODE(0x0f, 0x10, 0x0f);
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.s.xstate + AREA_XMM + 16, rig.mem + RIG_DATA + 0x20, 16);
	CODE(0xc5, 0xf8, 0x10, 0xcf);
	assert_int_equal(run(), EMUL_UNHANDLED);
	CODE(0xc4, 0xe2, 0x79, 0x18, 0x0f); /* a memory operand: past what LES could be */
	expect_exception(VEC_UD, false, 0);
}

struct control {
	uint64_t cr0, cr4, xcr0; /* bits to be changed */
	int sse, avx, mmx;	 /* the vector, -1: none */
};

static void turned_off(void **state)
{
	static const struct control controls[] = {
	    {CR0_EM, 0, 0, VEC_UD, -1, VEC_UD},
	    {CR0_TS, 0, 0, VEC_NM, VEC_NM, VEC_NM},
	    {CR0_EM | CR0_TS, 0, 0, VEC_UD, VEC_NM, VEC_UD},
	    {0, CR4_OSFXSR, 0, VEC_UD, -1, -1},
	    {CR0_TS, CR4_OSFXSR, 0, VEC_UD, VEC_NM, VEC_NM},
	    {0, CR4_OSXSAVE, 0, -1, VEC_UD, -1},
	    {CR0_TS, CR4_OSXSAVE, 0, VEC_NM, VEC_UD, VEC_NM},
	    {0, 0, XSTATE_AVX, -1, VEC_UD, -1},
	};
	static const uint8_t codes[3][5] = {
	    {0x0f, 0x10, 0x03}, {0xc5, 0xf8, 0x10, 0x03}, {0x0f, 0x6f, 0x03}};

	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(controls); n++)
		for (unsigned k = 0; k < 3; k++) {
			const struct control *c = &controls[n];
			int vector = k == 0 ? c->sse : k == 1 ? c->avx : c->mmx;

			vector_rig(64);
			*gpr(GPR_RBX) = 0x40000000; /* a page fault comes after it */
			rig.s.cr0 ^= c->cr0;
			rig.s.cr4 ^= c->cr4;
			rig.s.xcr0 ^= c->xcr0;
			rig_code(&rig, codes[k], 5);
			if (vector < 0)
				expect_exception(VEC_PF, true, 0);
			else
				expect_exception((unsigned)vector, false, 0);
		}
}

static void faults(void **state)
{
	(void)state;
	vector_rig(64);
	*gpr(GPR_RBX) = RIG_DEVICE + 8;
	CODE(0x0f, 0x29, 0x03); /* movaps */
	expect_exception(VEC_GP, true, 0);
	CODE(0xc5, 0xfc, 0x29, 0x03); /* vmovaps of 32 bytes */
	*gpr(GPR_RBX) = RIG_DEVICE + 16;
	expect_exception(VEC_GP, true, 0);
	*gpr(GPR_RBX) = BIT(47) - 8;
	CODE(0x0f, 0x11, 0x03); /* movups */
	expect_exception(VEC_GP, true, 0);
	CODE(0x0f, 0x11, 0x04, 0x24); /* through the stack segment */
	*gpr(GPR_RSP) = BIT(47);
	expect_exception(VEC_SS, true, 0);
	/* the second page is not there: nothing is written to the first */
	*gpr(GPR_RBX) = 0x3ffffff8;
	CODE(0x0f, 0x11, 0x03, 0x90);
	expect_exception(VEC_PF, true, PF_W);
	assert_int_equal(rig.e.cr2, 0x40000000);
	assert_int_equal(count(RIG_WRITE), 0);
	/* scalars can be misaligned in the sense of CR0.AM, vectors are not checked */
	rig.s.cpl = 3;
	rig.s.cr0 |= CR0_AM;
	rig.s.rflags |= RFLAGS_AC;
	*gpr(GPR_RBX) = RIG_DEVICE + 2;
	CODE(0xf2, 0x0f, 0x10, 0x03);
	expect_exception(VEC_AC, true, 0);
	CODE(0x0f, 0x10, 0x03, 0x90);
	assert_int_equal(run(), EMUL_OK);
	CODE(0xf0, 0x0f, 0x10, 0x03); /* LOCK */
	expect_exception(VEC_UD, false, 0);
}

static void crosses_pages(void **state)
{
	(void)state;
	vector_rig(64);
	*gpr(GPR_RBX) = RIG_DATA + 0xff5;
	CODE(0xc5, 0xfe, 0x7f, 0x0b);
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.mem + RIG_DATA + 0xff5, rig.s.xstate + AREA_XMM + 16, 16);
	assert_memory_equal(rig.mem + RIG_DATA + 0x1005, rig.s.xstate + AREA_YMM + 16, 16);
	CODE(0xc5, 0xfe, 0x6f, 0x13, 0x90);
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.s.xstate + AREA_XMM + 32, rig.s.xstate + AREA_XMM + 16, 16);
	assert_memory_equal(rig.s.xstate + AREA_YMM + 32, rig.s.xstate + AREA_YMM + 16, 16);
}

static void retries(void **state)
{
	static const uint8_t codes[][5] = {{0x0f, 0x10, 0x03}, {0x0f, 0x11, 0x03},
	    {0xc5, 0xfe, 0x6f, 0x03}, {0xc5, 0xfe, 0x7f, 0x03}, {0x0f, 0x6f, 0x03},
	    {0x0f, 0x7f, 0x03}, {0x0f, 0x16, 0x03}};
	static struct vcpu_state before;
	enum emul_result r;

	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(codes); n++)
		for (int at = 0;; at++) {
			vector_rig(64);
			*gpr(GPR_RBX) = RIG_DATA + 0xffe;
			rig_code(&rig, codes[n], 5);
			rig.retry_at = at;
			before = rig.s;
			r = run();
			if (r == EMUL_OK)
				break;
			assert_int_equal(r, EMUL_RETRY);
			assert_memory_equal(&before, &rig.s, sizeof(before));
		}
}

static void x87_exception_pending(void **state)
{
	(void)state;
	vector_rig(64);
	rig.s.xstate[XSAVE_HEADER] |= XSTATE_X87;
	rig.s.xstate[AREA_FSW] = 0x81; /* ES and IE */
	CODE(0x0f, 0x6f, 0x03);
	expect_exception(VEC_MF, false, 0);
	CODE(0x0f, 0x10, 0x03); /* SSE does not care */
	assert_int_equal(run(), EMUL_OK);
}

/* EVEX, XOP, arithmetic, and forms without memory are not executed. */
static void not_executed(void **state)
{
	static const uint8_t codes[][6] = {
	    {0x62, 0xf1, 0x7e, 0x48, 0x6f, 0x03}, /* VMOVDQU32 */
	    {0x0f, 0x58, 0x03},			  /* ADDPS */
	    {0xc5, 0xf8, 0x58, 0x03},		  /* VADDPS */
	    {0x0f, 0x28, 0xc1},			  /* MOVAPS %xmm1, %xmm0 */
	    {0xc5, 0xf8, 0x28, 0xc1},		  /* VMOVAPS */
	    {0x0f, 0xf7, 0xc1},			  /* MASKMOVQ */
	    {0xc4, 0xe2, 0x79, 0x2c, 0x03},	  /* VMASKMOVPS */
	};

	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(codes); n++) {
		vector_rig(64);
		rig_code(&rig, codes[n], 6);
		assert_int_equal(run(), EMUL_UNHANDLED);
		assert_int_equal(asked, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(stores_to_a_device),
	    cmocka_unit_test(loads_from_a_device),
	    cmocka_unit_test(outside_64_bit_mode),
	    cmocka_unit_test(turned_off),
	    cmocka_unit_test(faults),
	    cmocka_unit_test(crosses_pages),
	    cmocka_unit_test(retries),
	    cmocka_unit_test(x87_exception_pending),
	    cmocka_unit_test(not_executed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
