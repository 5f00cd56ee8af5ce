/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Promise: what the emulator executes ends as on an independent executor
 * (Unicorn): registers, flags that the manual defines, and memory, for random
 * instructions and states in 64, 32 and 16-bit mode.
 *
 * Seed and count are printed; AMBER_CASES and AMBER_SEED change them.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <unicorn/unicorn.h>
#include "tests/unit/test_emul.h"

#define ARITH (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

enum { CODE_SLOTS = 64, CODE_SLOT = 32, MAX_CONTINUE = 64 };

/* Unicorn leaks at its end. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

static struct rig rig;
static uint64_t seed;

static uint64_t rnd(uint64_t n)
{
	return (rig_random(&seed) >> 16) % n;
}

static bool chance(unsigned percent)
{
	return rnd(100) < percent;
}

/* --- the other executor --------------------------------------------------------- */

static const int uc_gpr[GPR_COUNT] = {UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDX,
    UC_X86_REG_RBX, UC_X86_REG_RSP, UC_X86_REG_RBP, UC_X86_REG_RSI, UC_X86_REG_RDI, UC_X86_REG_R8,
    UC_X86_REG_R9, UC_X86_REG_R10, UC_X86_REG_R11, UC_X86_REG_R12, UC_X86_REG_R13, UC_X86_REG_R14,
    UC_X86_REG_R15};
static const int uc_gpr32[8] = {UC_X86_REG_EAX, UC_X86_REG_ECX, UC_X86_REG_EDX, UC_X86_REG_EBX,
    UC_X86_REG_ESP, UC_X86_REG_EBP, UC_X86_REG_ESI, UC_X86_REG_EDI};

struct machine {
	unsigned bits;
	uc_engine *uc;
	uc_context *fresh; /* its state before it had any exception */
	uint8_t *mem;	   /* its memory, RIG_MEM bytes */
	int exception;	   /* that the last instruction raised; -1: none */
	uint64_t ran, skipped;
};

/* Where XSAVE keeps the registers of MMX and SSE in vcpu_state.xstate. */
enum { AREA_FTW = 4, AREA_MM = 32, AREA_XMM = 160, AREA_HEADER = 512, REG_BYTES = 16 };

static unsigned gpr_count(const struct machine *m)
{
	return m->bits == 64 ? 16 : 8;
}

static void must(uc_err err)
{
	if (err)
		fail_msg("unicorn: %s", uc_strerror(err));
}

static void interrupt_hook(uc_engine *uc, uint32_t number, void *data)
{
	struct machine *m = data;

	m->exception = (int)number;
	uc_emu_stop(uc);
}

static void machine_open(struct machine *m, unsigned bits)
{
	static const uint16_t selectors[4] = {0x1000, 0x1800, 0x1000, 0x2000};
	static const int regs[4] = {UC_X86_REG_DS, UC_X86_REG_ES, UC_X86_REG_SS, UC_X86_REG_FS};
	static const unsigned segs[4] = {SEG_DS, SEG_ES, SEG_SS, SEG_FS};

	memset(m, 0, sizeof(*m));
	m->bits = bits;
	m->mem = aligned_alloc(4096, RIG_MEM);
	assert_non_null(m->mem);
	rig_init(&rig, bits);
	must(uc_open(UC_ARCH_X86,
	    bits == 64	 ? UC_MODE_64
	    : bits == 32 ? UC_MODE_32
			 : UC_MODE_16,
	    &m->uc));
	must(uc_hook_add(
	    m->uc, &(uc_hook){0}, UC_HOOK_INTR, (void *)(uintptr_t)interrupt_hook, m, 1, 0));
	rig.s.cr4 |= CR4_OSFXSR;
	if (bits == 16) /* SMSW: there is no CR0.ET */
		rig.s.cr0 = 0;
	rig.s.xstate[AREA_HEADER] = 3; /* x87 and SSE are in use */
	must(uc_mem_map_ptr(m->uc, 0, RIG_MEM, UC_PROT_ALL, m->mem));
	for (unsigned n = 0; bits == 16 && n < 4; n++) {
		must(uc_reg_write(m->uc, regs[n], &selectors[n]));
		rig.s.seg[segs[n]].sel = selectors[n];
		rig.s.seg[segs[n]].base = selectors[n] * 16u;
	}
	for (unsigned n = RIG_DATA; n < RIG_MEM; n++)
		rig.mem[n] = (uint8_t)rnd(256);
	for (unsigned n = RIG_DATA; n < RIG_MEM; n += 24) /* canonical addresses, for branches */
		memset(rig.mem + n + 5, 0, 3);
	memcpy(m->mem, rig.mem, RIG_MEM);
	must(uc_context_alloc(m->uc, &m->fresh));
	must(uc_context_save(m->uc, m->fresh));
}

static void machine_close(struct machine *m)
{
	uc_context_free(m->fresh);
	uc_close(m->uc);
	free(m->mem);
}

static unsigned xmm_count(const struct machine *m)
{
	return m->bits == 64 ? 16 : 8;
}

static void put_vectors(struct machine *m, const struct vcpu_state *s)
{
	for (unsigned n = 0; n < xmm_count(m); n++)
		must(uc_reg_write(
		    m->uc, UC_X86_REG_XMM0 + (int)n, s->xstate + AREA_XMM + n * REG_BYTES));
	for (unsigned n = 0; n < 8; n++)
		must(uc_reg_write(
		    m->uc, UC_X86_REG_FP0 + (int)n, s->xstate + AREA_MM + n * REG_BYTES));
}

/*
 * Runs the instruction at RIP from state s up to the address where it ends or branches
 * to, of which nothing is looked at. Returns Unicorn's error.
 */
static uc_err machine_run(
    struct machine *m, const struct vcpu_state *s, const uint8_t *code, uint64_t until, bool once)
{
	const int *regs = m->bits == 64 ? uc_gpr : uc_gpr32;

	must(uc_mem_write(m->uc, s->rip, code, 16));
	must(uc_ctl_remove_cache(m->uc, s->rip, s->rip + 16));
	for (unsigned n = 0; n < gpr_count(m); n++)
		must(uc_reg_write(m->uc, regs[n], &s->gpr[n]));
	must(uc_reg_write(m->uc, UC_X86_REG_EFLAGS, &s->rflags));
	m->exception = -1;
	return uc_emu_start(m->uc, s->rip, until, 0, once);
}

static uint64_t machine_reg(struct machine *m, unsigned n)
{
	uint64_t v = 0;

	must(uc_reg_read(m->uc, m->bits == 64 ? uc_gpr[n] : uc_gpr32[n], &v));
	return m->bits == 64 ? v : (uint32_t)v;
}

static uint64_t machine_flags(struct machine *m)
{
	uint64_t v = 0;

	must(uc_reg_read(m->uc, UC_X86_REG_EFLAGS, &v));
	return v;
}

/* --- random instructions and states --------------------------------------------- */

/*
 * Opcodes under test, their bytes as one number: 0x0fXX, 0x0f38XX, and before them a
 * mandatory prefix.
 */
static const uint32_t opcodes[] = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x08, 0x09, 0x0a, 0x0b, 0x0c,
    0x0d, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x20, 0x21, 0x22,
    0x23, 0x24, 0x25, 0x28, 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x38,
    0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x40, 0x47, 0x48, 0x4f, 0x50, 0x54, 0x57, 0x58, 0x5c, 0x5f, 0x63,
    0x68, 0x69, 0x6a, 0x6b, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b,
    0x8c, 0x8d, 0x8f, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac,
    0xad, 0xae, 0xaf, 0xb0, 0xb4, 0xb7, 0xb8, 0xbc, 0xbf, 0xc0, 0xc1, 0xc2, 0xc3, 0xc6, 0xc7, 0xc8,
    0xc9, 0xd0, 0xd1, 0xd2, 0xd3, 0xd7, 0xf6, 0xf7, 0xf6, 0xf7, 0xfe, 0xff, 0xff, 0x0f00, 0x0f01,
    0x0f1f, 0x0f40, 0x0f41, 0x0f42, 0x0f43, 0x0f44, 0x0f45, 0x0f46, 0x0f47, 0x0f48, 0x0f49, 0x0f4a,
    0x0f4b, 0x0f4c, 0x0f4d, 0x0f4e, 0x0f4f, 0x0f90, 0x0f91, 0x0f92, 0x0f93, 0x0f94, 0x0f95, 0x0f96,
    0x0f97, 0x0f98, 0x0f99, 0x0f9a, 0x0f9b, 0x0f9c, 0x0f9d, 0x0f9e, 0x0f9f, 0x0fa3, 0x0fa4, 0x0fa5,
    0x0fab, 0x0fac, 0x0fad, 0x0faf, 0x0fb0, 0x0fb1, 0x0fb3, 0x0fb6, 0x0fb7, 0x0fba, 0x0fbb, 0x0fbc,
    0x0fbd, 0x0fbe, 0x0fbf, 0x0fc0, 0x0fc1, 0x0fc3, 0x0fc7, 0x0fc7, /* SSE, MMX: */ 0x0f10,
    0x660f10, 0xf30f10, 0xf20f10, 0x0f11, 0x660f11, 0xf30f11, 0xf20f11, 0x0f12, 0x660f12, 0xf30f12,
    0xf20f12, 0x0f13, 0x660f13, 0x0f16, 0x660f16, 0xf30f16, 0x0f17, 0x660f17, 0x0f28, 0x660f28,
    0x0f29, 0x660f29, 0x0f2b, 0x660f2b, 0x0f6e, 0x660f6e, 0x0f6f, 0x660f6f, 0xf30f6f, 0x0f7e,
    0x660f7e, 0xf30f7e, 0x0f7f, 0x660f7f, 0xf30f7f, 0x660fc4, 0x660fd6, 0x0fe7, 0x660fe7, 0xf20ff0,
    0x660f382a, 0x660f3a14, 0x660f3a15, 0x660f3a16, 0x660f3a17, 0x660f3a20, 0x660f3a22};

/* The last bytes of the opcode, without a mandatory prefix. */
static unsigned bare(uint32_t op)
{
	if (op > 0xffffff)
		return op & 0xffffff;
	return op > 0xffff && op >> 16 != 0x0f ? op & 0xffff : op;
}

static bool is_vector(uint32_t op)
{
	unsigned b = bare(op);

	return b > 0xffff
		   ? (b & 0xfff0) != 0x38f0
		   : b >= 0x0f00 && (memchr("\x10\x11\x12\x13\x16\x17\x28\x29\x2b\x6e\x6f\x7e"
					    "\x7f\xc4\xd6\xe7\xf0",
					 b & 0xff, 17) != NULL);
}

static bool is_string(uint32_t op)
{
	return op >= 0xa4 && op <= 0xaf && op != 0xa8 && op != 0xa9;
}

static unsigned put_prefixes(const struct machine *m, uint32_t op, uint8_t *p)
{
	static const uint8_t segs[] = {0x26, 0x36, 0x3e, 0x64};
	unsigned n = 0;

	if (chance(is_vector(op) ? 2 : 25))
		p[n++] = 0x66;
	if (chance(10))
		p[n++] = 0x67;
	if (chance(10))
		p[n++] = segs[rnd(4)];
	if (chance(is_string(op) ? 60 : 1))
		p[n++] = chance(50) ? 0xf2 : 0xf3;
	if (!is_string(op) && chance(is_vector(op) ? 1 : 10))
		p[n++] = 0xf0;
	if (op != bare(op))
		p[n++] = op > 0xffffff ? op >> 24 : op >> 16;
	if (m->bits == 64 && chance(50))
		p[n++] = (uint8_t)(0x40 | rnd(16));
	return n;
}

/* An instruction of which displacements are mostly small, so that they hit memory. */
static uint32_t random_insn(const struct machine *m, uint8_t *p)
{
	unsigned n, tail;
	uint32_t op;

	do
		op = opcodes[rnd(ARRAY_LEN(opcodes))];
	while (m->bits == 64 && (op & ~0xfu) == 0x40); /* REX */
	n = put_prefixes(m, op, p);
	if (bare(op) > 0xffff)
		p[n++] = (uint8_t)(bare(op) >> 16);
	if (bare(op) > 0xff)
		p[n++] = (uint8_t)(bare(op) >> 8);
	p[n++] = (uint8_t)op;
	tail = n;
	for (unsigned k = n; k < 16; k++)
		p[k] = (uint8_t)rnd(256);
	if (is_vector(op) && p[tail] >= 0xc0) /* registers are nothing for us */
		p[tail] ^= (uint8_t)((1 + rnd(3)) << 6);
	if (op == 0xff && (p[tail] & 0x38) == 0x28) /* a far JMP: PUSH in its place */
		p[tail] ^= 0x18;
	if (op == 0xc8) /* ENTER: not much, and no nesting */
		p[tail + 1] = p[tail + 2] = 0;
	if ((op & ~3u) == 0xa0) { /* MOV moffs */
		for (unsigned k = tail + 2; k < 16; k++)
			p[k] = 0;
		p[tail + 2] = (uint8_t)(1 + rnd(2));
	} else if (chance(60)) {
		if ((p[tail] & 7) == 4)
			tail++;
		p[tail + 3] = p[tail + 4] = 0;
	}
	return op;
}

static uint64_t random_value(void)
{
	static const uint64_t edges[] = {0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff,
	    0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff, 0x8000000000000000, ~0ULL};

	switch (rnd(4)) {
	case 0:
		return edges[rnd(ARRAY_LEN(edges))];
	case 1:
		return rnd(0x100);
	default:
		return rig_random(&seed);
	}
}

static uint64_t random_pointer(void)
{
	return RIG_DATA + 0x1000 + rnd(0x1e000);
}

static void random_state(const struct machine *m, uint32_t op)
{
	struct vcpu_state *s = &rig.s;

	for (unsigned n = 0; n < GPR_COUNT; n++)
		s->gpr[n] = chance(n == GPR_RAX || n == GPR_RCX || n == GPR_RDX ? 15 : 80)
				? random_pointer()
				: random_value();
	s->gpr[GPR_RSP] = random_pointer();
	if (is_vector(op))
		for (unsigned n = AREA_MM; n < AREA_XMM + 16 * REG_BYTES; n++)
			s->xstate[n] = (uint8_t)rnd(256);
	if (is_string(op))
		s->gpr[GPR_RCX] = rnd(100) | (chance(10) ? 0x10000 * rnd(3) : 0);
	if (m->bits < 64)
		for (unsigned n = 0; n < GPR_COUNT; n++)
			s->gpr[n] = (uint32_t)s->gpr[n];
	if (m->bits == 16)
		for (unsigned n = 0; n < GPR_COUNT; n++)
			s->gpr[n] &= chance(80) ? 0xffff : ~0ULL;
	s->rflags = RFLAGS_FIXED | (rig_random(&seed) & (ARITH | (chance(30) ? RFLAGS_DF : 0)));
	s->rip = RIG_CODE + rnd(CODE_SLOTS) * CODE_SLOT;
}

/* CMPXCHG8B and the comparing instructions are dull if they never find what they look for. */
static void make_equal(const struct machine *m, uint32_t op)
{
	struct vcpu_state *s = &rig.s;
	uint64_t at = s->gpr[GPR_RDI] % (RIG_MEM - 16);

	if (at < RIG_DATA || !chance(50))
		return;
	if (op == 0x0fc7) {
		unsigned half = m->bits < 64 || chance(50) ? 4 : 8;

		memcpy(&s->gpr[GPR_RAX], rig.mem + at, half);
		memcpy(&s->gpr[GPR_RDX], rig.mem + at + half, half);
	}
}

/* Quotients that fit are rare else. */
static void make_divisible(uint32_t op)
{
	if ((op & ~1u) == 0xf6 && chance(50))
		rig.s.gpr[GPR_RDX] = chance(50) ? 0 : (uint64_t)((int64_t)rig.s.gpr[GPR_RAX] >> 63);
}

/* --- what instructions leave undefined --------------------------------------------- */

static bool is_0f(unsigned opcode, unsigned mask)
{
	return rig.e.map == MAP_0F && (rig.e.opcode & mask) == opcode;
}

static bool is_group3(unsigned reg)
{
	return rig.e.map == MAP_ONE_BYTE && (rig.e.opcode & 0xfe) == 0xf6 &&
	       (rig.e.modrm >> 3 & 7) == reg;
}

static uint64_t undefined_flags_0f(unsigned op)
{
	switch (op) {
	case 0xa3:
	case 0xab:
	case 0xb3:
	case 0xba:
	case 0xbb:
		return RFLAGS_OF | RFLAGS_SF | RFLAGS_AF | RFLAGS_PF;
	case 0xa4:
	case 0xa5:
	case 0xac:
	case 0xad:
		return RFLAGS_OF | RFLAGS_AF;
	case 0xaf:
		return RFLAGS_SF | RFLAGS_ZF | RFLAGS_AF | RFLAGS_PF;
	case 0xbc: /* with F3 CF is defined */
	case 0xbd:
		return ARITH & ~(uint64_t)RFLAGS_ZF;
	default:
		return 0;
	}
}

static uint64_t undefined_flags(const struct emul *e)
{
	unsigned op = e->opcode, reg = e->modrm >> 3 & 7;

	if (e->map == MAP_0F)
		return undefined_flags_0f(op);
	switch (op) {
	case 0xd0:
	case 0xd1:
		return RFLAGS_AF;
	case 0xc0:
	case 0xc1:
	case 0xd2:
	case 0xd3: /* CF too, for SHL and SHR by more than the size */
		return RFLAGS_AF | RFLAGS_OF | (reg >= 4 ? RFLAGS_CF : 0);
	case 0x08 ... 0x0d:
	case 0x20 ... 0x25:
	case 0x30 ... 0x35:
	case 0x84:
	case 0x85:
	case 0xa8:
	case 0xa9:
		return RFLAGS_AF;
	case 0x69:
	case 0x6b:
		return RFLAGS_SF | RFLAGS_ZF | RFLAGS_AF | RFLAGS_PF;
	case 0x80 ... 0x83:
		return reg == 1 || reg == 4 || reg == 6 ? RFLAGS_AF : 0;
	case 0xf6:
	case 0xf7:
		if (reg >= 6)
			return ARITH;
		if (reg >= 4)
			return RFLAGS_SF | RFLAGS_ZF | RFLAGS_AF | RFLAGS_PF;
		return reg < 2 ? RFLAGS_AF : 0;
	default:
		return 0;
	}
}

static void print_case(
    const struct machine *m, const struct vcpu_state *before, const uint8_t *code)
{
	printf("%u-bit, code", m->bits);
	for (unsigned n = 0; n < 16; n++)
		printf(" %02x", code[n]);
	printf(" flags %llx rip %llx\n", (unsigned long long)before->rflags,
	    (unsigned long long)before->rip);
	for (unsigned n = 0; n < gpr_count(m); n++)
		printf("  r%u=%llx", n, (unsigned long long)before->gpr[n]);
	printf("\n");
}

/* --- what is not compared --------------------------------------------------------- */

/* One case: before, the bytes, and how ours ended. */
struct trial {
	const struct vcpu_state *before;
	const uint8_t *code;
	enum emul_result result;
	bool vector;
};

static bool has_prefix(const struct trial *t, uint8_t prefix)
{
	return memchr(t->code, prefix, rig.e.insn_len) != NULL;
}

static bool branches(const struct trial *t)
{
	unsigned reg = rig.e.modrm >> 3 & 7;

	(void)t;
	return rig.e.map == MAP_ONE_BYTE &&
	       ((rig.e.opcode == 0xff && (reg == 2 || reg == 4)) || (rig.e.opcode & 0xfe) == 0xc2);
}

static bool test_alias(const struct trial *t)
{
	(void)t;
	return is_group3(1);
}

static bool lock_neg(const struct trial *t)
{
	return is_group3(3) && has_prefix(t, 0xf0);
}

static bool mov_imm_rex_r(const struct trial *t)
{
	(void)t;
	return rig.e.map == MAP_ONE_BYTE && (rig.e.opcode & 0xfe) == 0xc6 && rig.e.reg;
}

/* At worst it takes a case too many: a prefix may also be a byte of something else. */
static bool two_mandatory(const struct trial *t)
{
	unsigned n = has_prefix(t, 0x66) + has_prefix(t, 0xf2) + has_prefix(t, 0xf3);

	return t->vector && n > 1;
}

static bool vector_in_16_bits(const struct trial *t)
{
	return t->vector && !(rig.s.seg[SEG_CS].attr & (SEG_ATTR_DB | SEG_ATTR_L));
}

static bool short_branch(const struct trial *t)
{
	return branches(t) && has_prefix(t, 0x66) && (rig.s.seg[SEG_CS].attr & SEG_ATTR_L);
}

static bool long_return(const struct trial *t)
{
	return rig.e.map == MAP_ONE_BYTE && rig.e.opcode == 0xc2 &&
	       t->code[rig.e.insn_len - 1] & 0x80;
}

static bool branch_to_itself(const struct trial *t)
{
	return branches(t) && rig.s.rip == t->before->rip;
}

static bool shift_rip_relative(const struct trial *t)
{
	return (is_0f(0xa4, 0xff) || is_0f(0xac, 0xff)) && (rig.e.modrm & 0xc7) == 5 &&
	       (rig.s.seg[SEG_CS].attr & SEG_ATTR_L) && t->result != EMUL_EXCEPTION;
}

static bool scan_zero(const struct trial *t)
{
	return is_0f(0xbc, 0xfe) && (rig.s.rflags & RFLAGS_ZF) && !has_prefix(t, 0xf3);
}

static bool double_shift_beyond(const struct trial *t)
{
	unsigned count =
	    rig.e.opcode & 1 ? (unsigned)t->before->gpr[GPR_RCX] : t->code[rig.e.insn_len - 1];

	return is_0f(0xa4, 0xf6) && (count & 31) > 16 &&
	       (has_prefix(t, 0x66) || !(rig.s.seg[SEG_CS].attr & (SEG_ATTR_DB | SEG_ATTR_L)));
}

/*
 * Every difference from Unicorn 2.0 that is known: either the manual leaves it open, or
 * Unicorn (QEMU 5.0) does not do what the manual says. Such cases are counted, not compared;
 * flags that the manual leaves undefined are in undefined_flags(), and what is masked in
 * registers in register_mask().
 */
static struct difference {
	bool (*is)(const struct trial *t);
	const char *why;
	uint64_t seen;
} differences[] = {
    {test_alias, "Unicorn refuses TEST's second encoding, F6 and F7 /1 (volume 2, table A-6)", 0},
    {lock_neg, "Unicorn takes the flags of LOCK NEG from the wrong operand", 0},
    {mov_imm_rex_r, "Unicorn refuses C6 and C7 with REX.R, which means nothing there", 0},
    {two_mandatory, "Unicorn has its own order of 66, F3 and F2 (volume 2, 2.1.1: one at most)", 0},
    {vector_in_16_bits, "Unicorn leaves CR4.OSFXSR off in 16-bit mode, and cannot be told", 0},
    {short_branch, "JMP, CALL with 66 in 64-bit mode: as on AMD's CPUs, ours as on Intel's", 0},
    {long_return, "Unicorn takes the immediate of RET for a signed number", 0},
    {branch_to_itself, "Unicorn ends before it begins if the end is where it begins", 0},
    {shift_rip_relative, "Unicorn forgets the immediate of SHLD, SHRD in RIP-relative addresses",
	0},
    {scan_zero, "BSF and BSR of 0: the destination is undefined (volume 2)", 0},
    {double_shift_beyond, "SHLD, SHRD of 16 bits by more than 16: undefined (volume 2)", 0},
};

/* Reads of page tables and of the instruction itself are no accesses of the instruction. */
static bool touched_other_than_data(const struct vcpu_state *before)
{
	for (unsigned n = 0; n < rig.logged; n++) {
		const struct rig_log *l = &rig.log[n];
		bool fetch = l->addr >= before->rip && l->addr + l->len <= before->rip + 16;
		bool table = l->addr == RIG_PML4 || l->addr == RIG_PDPT;

		if (l->what == RIG_READ && (fetch || table))
			continue;
		if (l->addr < RIG_DATA || l->addr >= RIG_MEM)
			return true;
	}
	return rig.outside;
}

/*
 * Not comparable: what leaves our little machine, what the emulator does not execute
 * (EMUL_UNHANDLED: register forms of vector moves and the like), and exceptions that
 * Unicorn, with no descriptor table, does not raise: limits, alignment and LOCK are
 * not checked there. #DE is.
 */
static bool must_skip(const struct trial *t)
{
	if (t->result == EMUL_CONTINUE || t->result == EMUL_UNHANDLED)
		return true;
	if (t->result == EMUL_EXCEPTION && rig.e.event.vector != VEC_DE)
		return true;
	for (unsigned n = 0; n < ARRAY_LEN(differences); n++)
		if (differences[n].is(t)) {
			differences[n].seen++;
			return true;
		}
	return touched_other_than_data(t->before);
}

/* --- comparison ----------------------------------------------------------------- */

/*
 * Unicorn's 32-bit CMPXCHG clears the upper halves of registers that a CPU leaves alone. Its SMSW
 * writes 16 bits of any register: the manual leaves open what is in the others (volume 2).
 */
static uint64_t register_mask(unsigned n)
{
	if (is_0f(0x01, 0xff) && (rig.e.reg & 7) == 4 && n == rig.e.rm)
		return 0xffff;
	return is_0f(0xb0, 0xfe) && (n == GPR_RAX || n == rig.e.rm) ? 0xffffffff : ~0ULL;
}

static unsigned compare_registers(struct machine *m)
{
	unsigned bad = 0;

	for (unsigned n = 0; n < gpr_count(m); n++) {
		uint64_t theirs = machine_reg(m, n);

		if (((rig.s.gpr[n] ^ theirs) & register_mask(n)) == 0)
			continue;
		printf("r%u: ours %llx, theirs %llx\n", n, (unsigned long long)rig.s.gpr[n],
		    (unsigned long long)theirs);
		bad++;
	}
	return bad;
}

static unsigned compare_flags(struct machine *m, uint64_t mask)
{
	uint64_t differ = (rig.s.rflags ^ machine_flags(m)) & mask;

	if (differ)
		printf("flags: ours %llx, differ in %llx\n", (unsigned long long)rig.s.rflags,
		    (unsigned long long)differ);
	return differ != 0;
}

static unsigned compare_memory(struct machine *m)
{
	if (!memcmp(rig.mem + RIG_DATA, m->mem + RIG_DATA, RIG_MEM - RIG_DATA))
		return 0;
	for (unsigned n = RIG_DATA; n < RIG_MEM; n++)
		if (rig.mem[n] != m->mem[n]) {
			printf("memory at %x: ours %02x, theirs %02x\n", n, rig.mem[n], m->mem[n]);
			break;
		}
	return 1;
}

static unsigned compare_vectors(struct machine *m)
{
	unsigned bad = 0;

	for (unsigned n = 0; n < xmm_count(m) + 8; n++) {
		bool mmx = n >= xmm_count(m);
		unsigned k = mmx ? n - xmm_count(m) : n, len = mmx ? 8 : REG_BYTES;
		const uint8_t *ours = rig.s.xstate + (mmx ? AREA_MM : AREA_XMM) + k * REG_BYTES;
		uint8_t theirs[REG_BYTES] = {0};

		must(uc_reg_read(m->uc, (mmx ? UC_X86_REG_FP0 : UC_X86_REG_XMM0) + (int)k, theirs));
		if (!memcmp(ours, theirs, len))
			continue;
		printf("%s%u differs\n", mmx ? "mm" : "xmm", k);
		bad++;
	}
	return bad;
}

static unsigned compare_state(struct machine *m, const struct trial *t, bool vectors)
{
	uint64_t flags = ARITH | RFLAGS_DF, rip = 0;
	unsigned bad;

	if (t->result == EMUL_OK)
		flags &= ~undefined_flags(&rig.e);
	bad = compare_registers(m) + compare_flags(m, flags) + compare_memory(m);
	if (vectors)
		bad += compare_vectors(m);
	must(uc_reg_read(m->uc, m->bits == 64 ? UC_X86_REG_RIP : UC_X86_REG_EIP, &rip));
	if (t->result == EMUL_OK && rip != rig.s.rip) {
		printf("rip: ours %llx, theirs %llx\n", (unsigned long long)rig.s.rip,
		    (unsigned long long)rip);
		bad++;
	}
	return bad;
}

/* Runs ours until the instruction is over. */
static enum emul_result run_ours(void)
{
	enum emul_result r = EMUL_CONTINUE;

	rig.logged = rig.outside = rig.calls = 0;
	for (unsigned n = 0; n < MAX_CONTINUE && r == EMUL_CONTINUE && rig.logged < RIG_LOG - 300;
	     n++) {
		rig.e.insn_bytes = 0;
		r = emulate(&rig.e);
	}
	return r;
}

static bool same_end(const struct machine *m, const struct trial *t, uc_err err)
{
	if (t->result == EMUL_EXCEPTION)
		return m->exception == rig.e.event.vector;
	if (branches(t) && err == UC_ERR_FETCH_UNMAPPED) /* it went there, and no further */
		return m->exception < 0;
	return err == UC_ERR_OK && m->exception < 0;
}

static unsigned one_case(struct machine *m)
{
	struct vcpu_state before;
	uint8_t code[16] = {0};
	uint32_t op = random_insn(m, code);
	struct trial t = {&before, code, EMUL_OK, is_vector(op)};
	uint64_t until;
	uc_err err;

	random_state(m, op);
	make_equal(m, op);
	make_divisible(op);
	memcpy(rig.mem + rig.s.rip, code, 16);
	before = rig.s;
	t.result = run_ours();
	if (must_skip(&t)) {
		rig_undo(&rig);
		m->skipped++;
		return 0;
	}
	if (getenv("AMBER_TRACE")) {
		print_case(m, &before, code);
		fflush(stdout);
	}
	if (m->exception >= 0) /* with no handler, the next would be a double fault */
		must(uc_context_restore(m->uc, m->fresh));
	if (is_vector(op))
		put_vectors(m, &before);
	until = branches(&t) ? rig.s.rip : before.rip + rig.e.insn_len;
	err = machine_run(m, &before, code, until, branches(&t));
	m->ran++;
	if (!same_end(m, &t, err))
		printf("theirs: %s, exception %d\n", uc_strerror(err), m->exception);
	else if (!compare_state(m, &t, is_vector(op)))
		return 0;
	print_case(m, &before, code);
	memcpy(m->mem, rig.mem, RIG_MEM);
	return 1;
}

static void agrees(unsigned bits)
{
	const char *env = getenv("AMBER_SEED");
	unsigned long cases = rig_cases(80000);
	struct machine m;
	unsigned bad = 0;

	seed = env ? strtoull(env, NULL, 0) : 0x5eed0000 + bits;
	printf("%u-bit: seed 0x%llx, %lu cases\n", bits, (unsigned long long)seed, cases);
	machine_open(&m, bits);
	for (unsigned long n = 0; n < cases && bad < 10; n++)
		bad += one_case(&m);
	printf("%llu compared, %llu not comparable\n", (unsigned long long)m.ran,
	    (unsigned long long)m.skipped);
	for (unsigned n = 0; n < ARRAY_LEN(differences); n++)
		printf("%9llu %s\n", (unsigned long long)differences[n].seen, differences[n].why);
	assert_int_equal(bad, 0);
	assert_true(m.ran > cases * 2 / 5);
	machine_close(&m);
}

static void agrees_64(void **state)
{
	(void)state;
	agrees(64);
}

static void agrees_32(void **state)
{
	(void)state;
	agrees(32);
}

static void agrees_16(void **state)
{
	(void)state;
	agrees(16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(agrees_64),
	    cmocka_unit_test(agrees_32),
	    cmocka_unit_test(agrees_16),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
