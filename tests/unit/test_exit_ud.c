/* SPDX-License-Identifier: BSD-2-Clause */
/* What one vendor's CPUs refuse and the model promises; RDTSC when it exits. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hv/core/exit_tsc.c"
#include "hv/core/exit_ud.c"
#include "tests/unit/fake/fake.h"

/* --- the rest of the core ---------------------------------------------------------- */

const struct virt_ops *virt;
static const uint8_t *code;
static unsigned code_len;
static int exception; /* -1: none */
static unsigned steps, hypercalls, hypercall_len;
static uint64_t tsc;

unsigned vcpu_fetch_insn(struct vcpu *v, uint8_t insn[15])
{
	memcpy(insn, code, code_len);
	return code_len;
}

void vcpu_exception(struct vcpu *v, uint8_t vector, bool has_error, uint32_t error_code)
{
	assert_int_equal(exception, -1);
	exception = vector;
}

void vcpu_single_step(struct vcpu *v)
{
	steps++;
}

void vcpu_wrap_rip(struct vcpu *v)
{
	v->state.rip = (uint32_t)v->state.rip;
}

void vcpu_skip(struct vcpu *v, const struct vm_exit *x)
{
	vcpu_skip_bytes(v, x->insn_len);
}

bool code_cache_fill(struct code_cache *c, struct vm *vm, uint64_t root, uint64_t linear)
{
	return false;
}

void exit_hypercall(struct vcpu *v, const struct vm_exit *x)
{
	hypercalls++;
	hypercall_len = x->insn_len;
}

uint64_t vcpu_tsc(struct vcpu *v)
{
	return tsc;
}

/* --- a vCPU in some mode ------------------------------------------------------------- */

enum mode { MODE_64, MODE_COMPAT, MODE_LEGACY, MODE_REAL };

static struct cpu_model model;
static struct vm *vm;

static struct vcpu *prepare(enum mode mode, unsigned cpl, const void *insn, unsigned len)
{
	struct vcpu *v = vm->vcpus[0];
	struct vcpu_state *s = &v->state;

	*s = (struct vcpu_state){.rip = 0x1000, .rflags = RFLAGS_FIXED | RFLAGS_IF};
	s->cpl = (uint8_t)cpl;
	if (mode != MODE_REAL)
		s->cr0 = CR0_PE | CR0_PG;
	s->efer = EFER_SCE;
	if (mode <= MODE_COMPAT)
		s->efer |= EFER_LME | EFER_LMA;
	s->seg[SEG_CS].attr = mode == MODE_64 ? SEG_ATTR_L : SEG_ATTR_DB;
	s->star = 0x0023001000005555ULL;
	s->lstar = 0xffffffff81000000ULL;
	s->cstar = 0xffffffff81000800ULL;
	s->sfmask = RFLAGS_IF | RFLAGS_TF | RFLAGS_DF;
	v->valid = VG_ALL;
	v->dirty = 0;
	v->has_rdtscp = true;
	vm->cpu_model = &model;
	model.msr_sets = MSR_SET_COMMON | MSR_SET_AMD;
	code = insn;
	code_len = len;
	exception = -1;
	steps = hypercalls = hypercall_len = 0;
	return v;
}
#define PREPARE(mode, cpl, bytes) prepare(mode, cpl, bytes, sizeof(bytes) - 1)

static const struct vm_exit ud = {.reason = EXIT_EXCEPTION, .exception = {.vector = VEC_UD}};

static void either_hypercall_is_one(void **state)
{
	static const char *const insns[] = {"\x0f\x01\xc1", "\x0f\x01\xd9", "\x2e\x0f\x01\xc1"};

	for (size_t i = 0; i < ARRAY_LEN(insns); i++) {
		for (unsigned mode = MODE_64; mode <= MODE_REAL; mode++) {
			struct vcpu *v = prepare(mode, 0, insns[i], (unsigned)strlen(insns[i]));

			model.msr_sets = MSR_SET_COMMON | (mode & 1 ? MSR_SET_INTEL : MSR_SET_AMD);
			exit_ud(v, &ud);
			assert_int_equal(hypercalls, 1);
			assert_int_equal(hypercall_len, strlen(insns[i]));
			assert_int_equal(exception, -1);
		}
	}
	/* another encoding space, or not there at all */
	exit_ud(PREPARE(MODE_64, 0, "\xf3\x0f\x01\xc1"), &ud);
	assert_int_equal(exception, VEC_UD);
	exit_ud(PREPARE(MODE_64, 0, "\x0f\x01"), &ud);
	assert_int_equal(exception, VEC_UD);
	exit_ud(PREPARE(MODE_64, 0, "\xf0\x0f\x01\xc1"), &ud);
	assert_int_equal(exception, VEC_UD);
	exit_ud(PREPARE(MODE_64, 0, "\x0f\x0b"), &ud);
	assert_int_equal(exception, VEC_UD);
	exit_ud(prepare(MODE_64, 0, "", 0), &ud);
	assert_int_equal(exception, VEC_UD);
	assert_int_equal(hypercalls, 0);
}

static void syscall_from_compatibility_mode(void **state)
{
	struct vcpu *v = PREPARE(MODE_COMPAT, 3, "\x0f\x05");
	struct vcpu_state *s = &v->state;

	s->rflags |= RFLAGS_DF | RFLAGS_RF | RFLAGS_CF;
	exit_ud(v, &ud);
	assert_int_equal(exception, -1);
	assert_int_equal(s->rip, s->cstar);
	assert_int_equal(s->gpr[GPR_RCX], 0x1002);
	assert_int_equal(s->gpr[GPR_R11], RFLAGS_FIXED | RFLAGS_IF | RFLAGS_DF | RFLAGS_CF);
	assert_int_equal(s->rflags, RFLAGS_FIXED | RFLAGS_CF);
	assert_int_equal(s->cpl, 0);
	assert_int_equal(s->seg[SEG_CS].sel, 0x10);
	assert_int_equal(s->seg[SEG_CS].attr, 0xa9b);
	assert_int_equal(s->seg[SEG_SS].sel, 0x18);
	assert_int_equal(s->seg[SEG_SS].attr, 0xc93);
	assert_int_equal(s->seg[SEG_SS].limit, UINT32_MAX);
	assert_true(v->dirty & VG_CODE);
	assert_true(v->dirty & VG_DATA);
	assert_int_equal(steps, 0); /* SFMASK took TF */
}

static void syscall_from_legacy_mode(void **state)
{
	struct vcpu *v = PREPARE(MODE_LEGACY, 3, "\x0f\x05");
	struct vcpu_state *s = &v->state;

	s->rflags |= RFLAGS_TF;
	exit_ud(v, &ud);
	assert_int_equal(s->rip, 0x5555);
	assert_int_equal(s->rflags, RFLAGS_FIXED | RFLAGS_TF);
	assert_int_equal(s->seg[SEG_CS].attr, 0xc9b);
	assert_int_equal(s->cpl, 0);
	assert_int_equal(s->gpr[GPR_R11], 0);
	assert_int_equal(steps, 1);
}

static void sysret_outside_64_bit_mode(void **state)
{
	struct vcpu *v = PREPARE(MODE_COMPAT, 0, "\x0f\x07");
	struct vcpu_state *s = &v->state;

	s->gpr[GPR_RCX] = 0xdeadbeef12345678ULL;
	s->gpr[GPR_R11] = RFLAGS_RF | RFLAGS_VM | RFLAGS_IF | RFLAGS_ZF | BIT(40);
	exit_ud(v, &ud);
	assert_int_equal(s->rip, 0x12345678);
	assert_int_equal(s->rflags, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_ZF);
	assert_int_equal(s->cpl, 3);
	assert_int_equal(s->seg[SEG_CS].sel, 0x23);
	assert_int_equal(s->seg[SEG_CS].attr, 0xcfb);
	assert_int_equal(s->seg[SEG_SS].sel, 0x2b);
	assert_int_equal(s->seg[SEG_SS].attr, 0xcf3);

	v = PREPARE(MODE_LEGACY, 0, "\x0f\x07");
	v->state.rflags = RFLAGS_FIXED;
	exit_ud(v, &ud);
	assert_int_equal(v->state.rflags, RFLAGS_FIXED | RFLAGS_IF);
	exit_ud(PREPARE(MODE_LEGACY, 3, "\x0f\x07"), &ud);
	assert_int_equal(exception, VEC_GP);
}

static void no_syscall_where_the_model_has_none(void **state)
{
	struct vcpu *v = PREPARE(MODE_COMPAT, 3, "\x0f\x05");

	v->state.efer &= ~(uint64_t)EFER_SCE;
	exit_ud(v, &ud);
	assert_int_equal(exception, VEC_UD);
	v = PREPARE(MODE_COMPAT, 3, "\x0f\x05");
	model.msr_sets = MSR_SET_COMMON | MSR_SET_INTEL;
	exit_ud(v, &ud);
	assert_int_equal(exception, VEC_UD);
	exit_ud(PREPARE(MODE_64, 3, "\x0f\x05"), &ud);
	assert_int_equal(exception, VEC_UD);
	exit_ud(PREPARE(MODE_REAL, 0, "\x0f\x05"), &ud);
	assert_int_equal(exception, VEC_UD);
	v = PREPARE(MODE_LEGACY, 3, "\x0f\x05");
	v->state.rflags |= RFLAGS_VM;
	exit_ud(v, &ud);
	assert_int_equal(exception, VEC_UD);
	exit_ud(PREPARE(MODE_64, 3, "\x0f\x34"), &ud);
	assert_int_equal(exception, VEC_UD);
}

static void sysenter_in_long_mode_is_undefined(void **state)
{
	struct vcpu *v = PREPARE(MODE_COMPAT, 3, "\x0f\x34");

	assert_true(exit_gp_sysenter(v));
	assert_int_equal(exception, VEC_UD);
	assert_true(exit_gp_sysenter(PREPARE(MODE_64, 0, "\x48\x0f\x35")));
	assert_int_equal(exception, VEC_UD);
	assert_false(exit_gp_sysenter(PREPARE(MODE_LEGACY, 3, "\x0f\x34")));
	assert_false(exit_gp_sysenter(PREPARE(MODE_64, 3, "\x0f\x32")));
	v = PREPARE(MODE_COMPAT, 3, "\x0f\x34");
	model.msr_sets = MSR_SET_COMMON | MSR_SET_INTEL;
	assert_false(exit_gp_sysenter(v));
	assert_int_equal(exception, -1);
}

static void rdtsc_heeds_tsd(void **state)
{
	const struct vm_exit x = {.reason = EXIT_RDTSC, .insn_len = 2};
	const struct vm_exit xp = {.reason = EXIT_RDTSCP, .insn_len = 3};
	struct vcpu *v = PREPARE(MODE_64, 3, "");

	tsc = 0x1122334455667788ULL;
	exit_rdtsc(v, &x);
	assert_int_equal(v->state.gpr[GPR_RAX], 0x55667788);
	assert_int_equal(v->state.gpr[GPR_RDX], 0x11223344);
	assert_int_equal(v->state.rip, 0x1002);
	v->state.tsc_aux = 7;
	exit_rdtscp(v, &xp);
	assert_int_equal(v->state.gpr[GPR_RCX], 7);
	assert_int_equal(v->state.rip, 0x1005);

	v = PREPARE(MODE_64, 3, "");
	v->state.cr4 = CR4_TSD;
	exit_rdtsc(v, &x);
	assert_int_equal(exception, VEC_GP);
	assert_int_equal(v->state.rip, 0x1000);
	v = PREPARE(MODE_64, 0, "");
	v->state.cr4 = CR4_TSD;
	exit_rdtscp(v, &xp);
	assert_int_equal(exception, -1);
	v = PREPARE(MODE_64, 3, "");
	v->state.cr4 = CR4_TSD;
	v->has_rdtscp = false;
	exit_rdtscp(v, &xp);
	assert_int_equal(exception, VEC_UD);
}

static int setup(void **state)
{
	vm = fake_vm_new(1, 0);
	return 0;
}

static int teardown(void **state)
{
	vm->cpu_model = NULL;
	fake_vm_free(vm);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(either_hypercall_is_one),
	    cmocka_unit_test(syscall_from_compatibility_mode),
	    cmocka_unit_test(syscall_from_legacy_mode),
	    cmocka_unit_test(sysret_outside_64_bit_mode),
	    cmocka_unit_test(no_syscall_where_the_model_has_none),
	    cmocka_unit_test(sysenter_in_long_mode_is_undefined),
	    cmocka_unit_test(rdtsc_heeds_tsd),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
