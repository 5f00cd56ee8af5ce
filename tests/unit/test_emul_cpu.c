/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Promise: loads and stores of SSE, AVX and MMX registers, MOVBE, POPCNT, TZCNT and
 * LZCNT end as on the CPU that the test runs on, in the XSAVE area too, and are refused
 * as there: #UD for encodings that do not exist, #GP for what must be aligned. Unicorn
 * has no AVX and checks no alignment; so test_emul_diff.c does not show it.
 *
 * Skipped on a CPU without AVX2. AMBER_CASES and AMBER_SEED as in test_emul_diff.c.
 */
#include <cpuid.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <cmocka.h>
#include "tests/unit/test_emul.h"

enum {
	AREA = 832, /* x87, SSE and AVX state in XSAVE's standard form */
	AREA_FSW = 2,
	AREA_FTW = 4,
	AREA_MXCSR = 24,
	AREA_MM = 32,
	AREA_XMM = 160,
	AREA_XMM_END = 416,
	AREA_HEADER = 512,
	AREA_YMM = 576,
	X87 = 1,
	SSE = 2,
	AVX = 4,
	OPERANDS = 512,			      /* bytes of memory */
	DEFINED_FLAGS = RFLAGS_CF | RFLAGS_ZF /* TZCNT, LZCNT; POPCNT has more */
};

static struct rig rig;
static uint64_t seed;
static uint8_t *code_page, operands[OPERANDS] __attribute__((aligned(4096)));
static uint8_t area[AREA] __attribute__((aligned(64)));
static sigjmp_buf trap;

static uint64_t rnd(uint64_t n)
{
	return (rig_random(&seed) >> 16) % n;
}

/* --- the CPU ---------------------------------------------------------------------- */

static void on_signal(int number)
{
	siglongjmp(trap, number);
}

/* Runs the code page, which ends in RET, with RAX, RCX, RDX from gpr and RDI. */
static void run_page(uint64_t gpr[3], uint64_t rdi, uint64_t *flags)
{
	static uint8_t own[4096] __attribute__((aligned(64)));

	__asm__ volatile("lea -256(%%rsp), %%rsp\n"
			 "mov %[gpr], %%r8\n"
			 "mov $7, %%eax\n"
			 "xor %%edx, %%edx\n"
			 "xsave64 (%[own])\n"
			 "xrstor64 (%[area])\n"
			 "mov (%%r8), %%rax\n"
			 "mov 8(%%r8), %%rcx\n"
			 "mov 16(%%r8), %%rdx\n"
			 "push %[own]\n"
			 "push %[area]\n"
			 "push %%r8\n"
			 "push (%[flags])\n"
			 "popf\n"
			 "call *%[code]\n"
			 "pop %%r8\n"
			 "mov %%rax, (%%r8)\n"
			 "mov %%rcx, 8(%%r8)\n"
			 "mov %%rdx, 16(%%r8)\n"
			 "pop %%r10\n"
			 "pop %%r11\n"
			 "pushf\n"
			 "pop (%[flags])\n"
			 "mov $7, %%eax\n"
			 "xor %%edx, %%edx\n"
			 "xsave64 (%%r10)\n"
			 "xrstor64 (%%r11)\n"
			 "lea 256(%%rsp), %%rsp\n"
			 : "+D"(rdi)
			 : [own] "r"(own), [area] "r"(area), [gpr] "r"(gpr), [flags] "r"(flags),
			 [code] "r"(code_page)
			 : "rax", "rcx", "rdx", "r8", "r10", "r11", "cc", "memory");
}

/* The signal that stopped it, or 0. */
static int run_cpu(
    const uint8_t *code, unsigned len, uint64_t gpr[3], uint64_t rdi, uint64_t *flags)
{
	int number = sigsetjmp(trap, 1);

	if (number)
		return number;
	memcpy(code_page, code, len);
	code_page[len] = 0xc3;
	run_page(gpr, rdi, flags);
	return 0;
}

/* --- random instructions ---------------------------------------------------------- */

/* MOVs of every kind, and neighbours that are none. */
static const uint8_t opcodes[4][24] = {
    [1] = {0x10, 0x11, 0x12, 0x13, 0x16, 0x17, 0x28, 0x29, 0x2b, 0x6e, 0x6f, 0x7e, 0x7f, 0xc4, 0xd6,
	0xe7, 0xf0, 0xb8, 0xbc, 0xbd, 0x10, 0x11, 0x28, 0x6f},
    [2] = {0x18, 0x19, 0x1a, 0x2a, 0x58, 0x59, 0x5a, 0x78, 0x79, 0xf0, 0xf1, 0x18, 0x19, 0x1a, 0x2a,
	0x58, 0x59, 0x5a, 0x78, 0x79, 0xf0, 0xf1, 0x2a, 0x18},
    [3] = {0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x20, 0x22, 0x38, 0x39, 0x14, 0x15, 0x16, 0x17, 0x18,
	0x19, 0x20, 0x22, 0x38, 0x39, 0x18, 0x19, 0x38, 0x39},
};

/* With a memory operand disp8(%rdi), and a general register only of the first three. */
static unsigned random_insn(uint8_t *p)
{
	unsigned map = (unsigned)(rnd(4) ? 1 + rnd(3) : 1), op = opcodes[map][rnd(24)], n = 0;
	unsigned pp = (unsigned)rnd(4), wide = (unsigned)rnd(2), high = (unsigned)rnd(2);
	bool general = (map == 1 && (op & 0xf0) == 0xb0) || (map == 2 && op >= 0xf0);
	unsigned reg = general ? (unsigned)rnd(3) : (unsigned)rnd(8);

	if (general)
		high = 0;
	if (general || rnd(2)) {
		if (pp)
			p[n++] = "\x66\xf3\xf2"[pp - 1];
		p[n++] = (uint8_t)(0x40 | wide << 3 | high << 2);
		p[n++] = 0x0f;
		if (map > 1)
			p[n++] = map == 2 ? 0x38 : 0x3a;
	} else {
		unsigned vvvv = rnd(3) ? 15 : (unsigned)rnd(16);

		p[n++] = 0xc4;
		p[n++] = (uint8_t)(!high << 7 | 0x60 | map);
		p[n++] = (uint8_t)(wide << 7 | vvvv << 3 | rnd(2) << 2 | pp);
		if (map == 1 && !wide && rnd(2)) { /* the short form */
			p[0] = 0xc5;
			p[1] = (uint8_t)(!high << 7 | (p[2] & 0x7f));
			n = 2;
		}
	}
	p[n++] = (uint8_t)op;
	p[n++] = (uint8_t)(0x47 | reg << 3);
	p[n++] = (uint8_t)rnd(0x60);
	if (map == 3 || op == 0xc4)
		p[n++] = (uint8_t)rnd(256);
	return n;
}

/* A legal area: any registers, components used or not. */
static void random_area(uint8_t *a)
{
	static const uint32_t mxcsr = 0x1f80;
	static const uint16_t fcw = 0x37f;

	memset(a, 0, AREA);
	for (unsigned n = AREA_MM; n < AREA; n++)
		if (n < AREA_XMM_END || n >= AREA_YMM)
			a[n] = (uint8_t)rnd(256);
	for (unsigned n = 0; n < 8; n++) /* ten bytes of sixteen */
		memset(a + AREA_MM + n * 16 + 10, 0, 6);
	memcpy(a, &fcw, 2);
	a[AREA_FSW + 1] = (uint8_t)(rnd(8) << 3); /* TOP */
	a[AREA_FTW] = (uint8_t)rnd(256);
	memcpy(a + AREA_MXCSR, &mxcsr, 4);
	a[AREA_HEADER] = (uint8_t)(rnd(3) ? X87 | SSE | AVX : rnd(8));
}

/* --- comparison ------------------------------------------------------------------- */

/* Writes out what a component that is not used holds. */
static void normalize(uint8_t *a)
{
	unsigned used = a[AREA_HEADER];

	if (!(used & X87)) {
		memset(a, 0, AREA_MXCSR);
		a[0] = 0x7f;
		a[1] = 3;
		memset(a + AREA_MM, 0, AREA_XMM - AREA_MM);
	}
	if (!(used & SSE))
		memset(a + AREA_XMM, 0, AREA_XMM_END - AREA_XMM);
	if (!(used & AVX))
		memset(a + AREA_YMM, 0, AREA - AREA_YMM);
	a[AREA_HEADER] = 0;
	memset(a + 5, 0, AREA_MXCSR - 5); /* opcode and pointers of the x87 unit: not kept */
	memset(a + 28, 0, 4);		  /* MXCSR_MASK */
	memset(a + AREA_XMM_END, 0, AREA_HEADER - AREA_XMM_END);
}

static bool differs(const char *what, const uint8_t *ours, const uint8_t *theirs, unsigned len)
{
	for (unsigned n = 0; n < len; n++)
		if (ours[n] != theirs[n]) {
			printf(
			    "%s, byte %u: ours %02x, theirs %02x\n", what, n, ours[n], theirs[n]);
			return true;
		}
	return false;
}

static bool same_results(
    const uint64_t gpr[3], uint64_t flags, bool popcnt, const uint8_t *first_operand)
{
	uint64_t mask =
	    popcnt ? DEFINED_FLAGS | RFLAGS_OF | RFLAGS_SF | RFLAGS_AF | RFLAGS_PF : DEFINED_FLAGS;
	bool bad;

	normalize(rig.s.xstate);
	normalize(area);
	bad = differs("XSAVE area", rig.s.xstate, area, AREA);
	bad |= differs("memory", rig.mem + RIG_DATA, first_operand, OPERANDS);
	bad |= differs("RAX, RCX, RDX", (void *)rig.s.gpr, (const void *)gpr, 24);
	if ((rig.s.rflags ^ flags) & mask) {
		printf("flags: ours %llx, theirs %llx\n", (unsigned long long)rig.s.rflags,
		    (unsigned long long)flags);
		bad = true;
	}
	return !bad;
}

/* The signal that Linux makes of an exception. */
static int signal_of(enum emul_result r)
{
	if (r == EMUL_OK)
		return 0;
	return rig.e.event.vector == VEC_UD ? SIGILL : SIGSEGV;
}

/* BSF and BSR, which leave the register undefined for 0, are Unicorn's. */
static bool is_comparable(const uint8_t *code, enum emul_result r)
{
	if (r == EMUL_UNHANDLED)
		return false;
	return !(rig.e.map == MAP_0F && (rig.e.opcode & 0xfe) == 0xbc) || code[0] == 0xf3;
}

static bool one_case(unsigned long *ran, unsigned long *refused)
{
	uint64_t offset = 16 * rnd(8) + (rnd(3) ? 0 : rnd(32)), gpr[3], flags = RFLAGS_FIXED;
	uint8_t code[16] = {0};
	unsigned len = random_insn(code);
	enum emul_result r;
	int number;

	random_area(area);
	memcpy(rig.s.xstate, area, AREA);
	for (unsigned n = 0; n < OPERANDS; n++)
		operands[n] = (uint8_t)(rnd(8) ? rnd(256) : 0);
	if (!rnd(8))
		memset(operands, 0, OPERANDS);
	memcpy(rig.mem + RIG_DATA, operands, OPERANDS);
	for (unsigned n = 0; n < 3; n++)
		rig.s.gpr[n] = gpr[n] = rig_random(&seed);
	rig.s.gpr[GPR_RDI] = RIG_DATA + offset;
	rig.s.rip = RIG_CODE;
	rig.s.rflags = flags |= rig_random(&seed) & (RFLAGS_CF | RFLAGS_ZF | RFLAGS_SF);
	memcpy(rig.e.insn, code, 15);
	rig.e.insn_bytes = 15;
	rig.logged = 0;
	r = emulate(&rig.e);
	if (!is_comparable(code, r))
		return true;
	number = run_cpu(code, len, gpr, (uint64_t)(uintptr_t)operands + offset, &flags);
	++*(number ? refused : ran);
	if (number == signal_of(r) &&
	    (number || same_results(gpr, flags, rig.e.opcode == 0xb8, operands)))
		return true;
	printf("signal %d, ours %d, vector %u:", number, r, rig.e.event.vector);
	for (unsigned n = 0; n < len; n++)
		printf(" %02x", code[n]);
	printf(" offset %x area %x\n", (unsigned)offset, rig.s.xstate[AREA_HEADER]);
	return false;
}

static bool has_avx2(void)
{
	unsigned a, b, c, d;

	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_AVX2) || !(b & bit_BMI))
		return false;
	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_OSXSAVE) && (c & bit_MOVBE) &&
	       (c & bit_POPCNT) && __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & bit_LZCNT);
}

static void agrees_with_the_cpu(void **state)
{
	const char *env = getenv("AMBER_SEED");
	unsigned long cases = rig_cases(100000), ran = 0, refused = 0;
	unsigned bad = 0;

	(void)state;
	if (!has_avx2())
		skip();
	seed = env ? strtoull(env, NULL, 0) : 0x5eed0000;
	printf("seed 0x%llx, %lu cases\n", (unsigned long long)seed, cases);
	rig_init(&rig, 64);
	rig.s.cr4 |= CR4_OSFXSR | CR4_OSXSAVE;
	rig.s.xcr0 = X87 | SSE | AVX;
	code_page = mmap(
	    NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(code_page != MAP_FAILED);
	signal(SIGILL, on_signal);
	signal(SIGSEGV, on_signal);
	for (unsigned long n = 0; n < cases && bad < 10; n++)
		bad += !one_case(&ran, &refused);
	signal(SIGILL, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
	printf("%lu executed, %lu refused by both\n", ran, refused);
	assert_int_equal(bad, 0);
	assert_true(ran > cases / 5 && refused > cases / 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(agrees_with_the_cpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
