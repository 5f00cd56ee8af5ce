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
	uint8_t *mem; /* its memory, RIG_MEM bytes */
	uint64_t ran, skipped;
};

static unsigned gpr_count(const struct machine *m)
{
	return m->bits == 64 ? 16 : 8;
}

static void must(uc_err err)
{
	if (err)
		fail_msg("unicorn: %s", uc_strerror(err));
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
	must(uc_mem_map_ptr(m->uc, 0, RIG_MEM, UC_PROT_ALL, m->mem));
	for (unsigned n = 0; bits == 16 && n < 4; n++) {
		must(uc_reg_write(m->uc, regs[n], &selectors[n]));
		rig.s.seg[segs[n]].sel = selectors[n];
		rig.s.seg[segs[n]].base = selectors[n] * 16u;
	}
	for (unsigned n = RIG_DATA; n < RIG_MEM; n++)
		rig.mem[n] = (uint8_t)rnd(256);
	memcpy(m->mem, rig.mem, RIG_MEM);
}

static void machine_close(struct machine *m)
{
	uc_close(m->uc);
	free(m->mem);
}

/* Runs the instruction of len bytes at RIP from state s; returns Unicorn's error. */
static uc_err machine_run(
    struct machine *m, const struct vcpu_state *s, const uint8_t *code, unsigned len)
{
	const int *regs = m->bits == 64 ? uc_gpr : uc_gpr32;

	must(uc_mem_write(m->uc, s->rip, code, 16));
	must(uc_ctl_remove_cache(m->uc, s->rip, s->rip + 16));
	for (unsigned n = 0; n < gpr_count(m); n++)
		must(uc_reg_write(m->uc, regs[n], &s->gpr[n]));
	must(uc_reg_write(m->uc, UC_X86_REG_EFLAGS, &s->rflags));
	return uc_emu_start(m->uc, s->rip, s->rip + len, 0, 0);
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

/* Opcodes under test; 0x0fXX for two bytes. */
static const uint16_t opcodes[] = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x08, 0x09, 0x0a, 0x0b, 0x0c,
    0x0d, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x20, 0x21, 0x22,
    0x23, 0x24, 0x25, 0x28, 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x38,
    0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x40, 0x47, 0x48, 0x4f, 0x50, 0x54, 0x57, 0x58, 0x5c, 0x5f, 0x63,
    0x68, 0x6a, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d,
    0x8f, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae,
    0xaf, 0xb0, 0xb4, 0xb7, 0xb8, 0xbc, 0xbf, 0xc0, 0xc1, 0xc6, 0xc7, 0xd0, 0xd1, 0xd2, 0xd3, 0xf6,
    0xf7, 0xfe, 0xff, 0x0f1f, 0x0fa3, 0x0fab, 0x0fb0, 0x0fb1, 0x0fb3, 0x0fb6, 0x0fb7, 0x0fba,
    0x0fbb, 0x0fbe, 0x0fbf, 0x0fc0, 0x0fc1, 0x0fc3, 0x0fc7};

static bool is_string(unsigned op)
{
	return op >= 0xa4 && op <= 0xaf && op != 0xa8 && op != 0xa9;
}

static unsigned put_prefixes(const struct machine *m, unsigned op, uint8_t *p)
{
	static const uint8_t segs[] = {0x26, 0x36, 0x3e, 0x64};
	unsigned n = 0;

	if (chance(25))
		p[n++] = 0x66;
	if (chance(10))
		p[n++] = 0x67;
	if (chance(10))
		p[n++] = segs[rnd(4)];
	if (chance(is_string(op) ? 60 : 1))
		p[n++] = chance(50) ? 0xf2 : 0xf3;
	if (!is_string(op) && chance(10))
		p[n++] = 0xf0;
	if (m->bits == 64 && chance(50))
		p[n++] = (uint8_t)(0x40 | rnd(16));
	return n;
}

/* An instruction of which displacements are mostly small, so that they hit memory. */
static unsigned random_insn(const struct machine *m, uint8_t *p)
{
	unsigned op, n, tail;

	do
		op = opcodes[rnd(ARRAY_LEN(opcodes))];
	while (m->bits == 64 && (op & 0xf0) == 0x40); /* REX */
	n = put_prefixes(m, op, p);
	if (op > 0xff)
		p[n++] = 0x0f;
	p[n++] = (uint8_t)op;
	tail = n;
	for (unsigned k = n; k < 16; k++)
		p[k] = (uint8_t)rnd(256);
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

static void random_state(const struct machine *m, unsigned op)
{
	struct vcpu_state *s = &rig.s;

	for (unsigned n = 0; n < GPR_COUNT; n++)
		s->gpr[n] = chance(n == GPR_RAX || n == GPR_RCX || n == GPR_RDX ? 15 : 80)
				? random_pointer()
				: random_value();
	s->gpr[GPR_RSP] = random_pointer();
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
static void make_equal(unsigned op)
{
	struct vcpu_state *s = &rig.s;
	uint64_t at = s->gpr[GPR_RDI] % (RIG_MEM - 16);

	if (at < RIG_DATA || !chance(50))
		return;
	if (op == 0x0fc7) {
		memcpy(&s->gpr[GPR_RAX], rig.mem + at, 4);
		memcpy(&s->gpr[GPR_RDX], rig.mem + at + 4, 4);
	}
}

/* --- comparison ----------------------------------------------------------------- */

static uint64_t undefined_flags(const struct emul *e)
{
	unsigned op = e->opcode;

	if (e->map == MAP_0F)
		switch (op) {
		case 0xa3:
		case 0xab:
		case 0xb3:
		case 0xba:
		case 0xbb:
			return RFLAGS_OF | RFLAGS_SF | RFLAGS_AF | RFLAGS_PF;
		default:
			return 0;
		}
	switch (op) {
	case 0xd0:
	case 0xd1:
		return RFLAGS_AF;
	case 0xc0:
	case 0xc1:
	case 0xd2:
	case 0xd3: /* CF too, for SHL and SHR by more than the size */
		return RFLAGS_AF | RFLAGS_OF | ((e->modrm >> 3 & 7) >= 4 ? RFLAGS_CF : 0);
	case 0x08 ... 0x0d:
	case 0x20 ... 0x25:
	case 0x30 ... 0x35:
	case 0x84:
	case 0x85:
	case 0xa8:
	case 0xa9:
		return RFLAGS_AF;
	case 0x80 ... 0x83: {
		unsigned reg = e->modrm >> 3 & 7;

		return reg == 1 || reg == 4 || reg == 6 ? RFLAGS_AF : 0;
	}
	case 0xf6:
	case 0xf7:
		return (e->modrm >> 3 & 7) < 2 ? RFLAGS_AF : 0;
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

/* Unicorn's 32-bit CMPXCHG clears the upper halves of registers that a CPU leaves alone. */
static uint64_t register_mask(unsigned n)
{
	bool cmpxchg = rig.e.map == MAP_0F && (rig.e.opcode & 0xfe) == 0xb0;

	return cmpxchg && (n == GPR_RAX || n == rig.e.rm) ? 0xffffffff : ~0ULL;
}

static unsigned compare_state(struct machine *m)
{
	uint64_t mask = (ARITH | RFLAGS_DF) & ~undefined_flags(&rig.e);
	uint64_t flags = machine_flags(m);
	unsigned bad = 0;

	for (unsigned n = 0; n < gpr_count(m); n++) {
		uint64_t theirs = machine_reg(m, n);

		if (((rig.s.gpr[n] ^ theirs) & register_mask(n)) == 0)
			continue;
		printf("r%u: ours %llx, theirs %llx\n", n, (unsigned long long)rig.s.gpr[n],
		    (unsigned long long)theirs);
		bad++;
	}
	if ((rig.s.rflags ^ flags) & mask) {
		printf("flags: ours %llx, theirs %llx, differ in %llx\n",
		    (unsigned long long)rig.s.rflags, (unsigned long long)flags,
		    (unsigned long long)((rig.s.rflags ^ flags) & mask));
		bad++;
	}
	if (memcmp(rig.mem + RIG_DATA, m->mem + RIG_DATA, RIG_MEM - RIG_DATA)) {
		for (unsigned n = RIG_DATA; n < RIG_MEM; n++)
			if (rig.mem[n] != m->mem[n]) {
				printf("memory at %x: ours %02x, theirs %02x\n", n, rig.mem[n],
				    m->mem[n]);
				break;
			}
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
 * Not compared: what leaves our little machine, and where Unicorn is not to be
 * trusted. It does not check segment limits nor whether LOCK is allowed; does not
 * know TEST's second encoding (F6 and F7 /1); takes the flags of LOCK NEG from the
 * wrong operand; and refuses C6 and C7 with REX.R, which means nothing there.
 */
static bool must_skip(const struct vcpu_state *before, enum emul_result r, const uint8_t *code)
{
	const struct emul *e = &rig.e;

	if (r == EMUL_CONTINUE || r == EMUL_UNHANDLED || r == EMUL_EXCEPTION)
		return true;
	if (e->map == MAP_ONE_BYTE && (e->opcode & 0xfe) == 0xf6) {
		if ((e->modrm >> 3 & 7) == 1)
			return true;
		if ((e->modrm >> 3 & 7) == 3 && memchr(code, 0xf0, e->insn_len))
			return true;
	}
	if (e->map == MAP_ONE_BYTE && (e->opcode & 0xfe) == 0xc6 && e->reg)
		return true;
	return touched_other_than_data(before);
}

static unsigned one_case(struct machine *m)
{
	struct vcpu_state before;
	uint8_t code[16] = {0};
	unsigned op = random_insn(m, code);
	enum emul_result r;
	uc_err err;

	random_state(m, op);
	make_equal(op);
	memcpy(rig.mem + rig.s.rip, code, 16);
	before = rig.s;
	r = run_ours();
	if (must_skip(&before, r, code)) {
		rig_undo(&rig);
		m->skipped++;
		return 0;
	}
	if (getenv("AMBER_TRACE")) {
		print_case(m, &before, code);
		fflush(stdout);
	}
	err = machine_run(m, &before, code, rig.e.insn_len ? rig.e.insn_len : 1);
	m->ran++;
	if (err) {
		printf("theirs: %s\n", uc_strerror(err));
		print_case(m, &before, code);
		return 1;
	}
	if (!compare_state(m))
		return 0;
	print_case(m, &before, code);
	memcpy(m->mem, rig.mem, RIG_MEM);
	return 1;
}

static void agrees(unsigned bits)
{
	const char *env = getenv("AMBER_SEED");
	unsigned long cases = rig_cases(100000);
	struct machine m;
	unsigned bad = 0;

	seed = env ? strtoull(env, NULL, 0) : 0x5eed0000 + bits;
	printf("%u-bit: seed 0x%llx, %lu cases\n", bits, (unsigned long long)seed, cases);
	machine_open(&m, bits);
	for (unsigned long n = 0; n < cases && bad < 10; n++)
		bad += one_case(&m);
	printf("%llu compared, %llu not comparable\n", (unsigned long long)m.ran,
	    (unsigned long long)m.skipped);
	assert_int_equal(bad, 0);
	assert_true(m.ran > cases / 2);
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
