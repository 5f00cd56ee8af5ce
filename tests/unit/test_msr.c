/* SPDX-License-Identifier: BSD-2-Clause */
/* Which MSRs a CPU model has: by its vendor string, never by the host. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hv/core/msr.c"
#include "hv/core/vclock.h"
#include "tests/unit/fake/fake.h"

const struct virt_ops *virt;
static int exception;

void vcpu_exception(struct vcpu *v, uint8_t vector, bool has_error, uint32_t error_code)
{
	exception = vector;
}

void vcpu_single_step(struct vcpu *v)
{
}

void vcpu_wrap_rip(struct vcpu *v)
{
}

void vcpu_skip(struct vcpu *v, const struct vm_exit *x)
{
}

bool code_cache_fill(struct code_cache *c, struct vm *m, uint64_t root, uint64_t linear)
{
	return false;
}

uint64_t vcpu_tsc(struct vcpu *v)
{
	return 0;
}

void vcpu_update_tsc(struct vcpu *v)
{
}

uint64_t vclock_tsc_at(const struct vm *m, uint64_t time)
{
	return 0;
}

static struct cpu_model model;
static struct vm *vm;

static struct vcpu *with(uint8_t sets)
{
	struct vcpu *v = vm->vcpus[0];

	model = (struct cpu_model){.msr_sets = sets,
	    .phys_bits = 36,
	    .efer_mask = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE};
	vm->cpu_model = &model;
	v->valid = VG_ALL;
	v->has_rdtscp = true;
	return v;
}

enum { PORTABLE = MSR_SET_COMMON | MSR_SET_AMD, INTEL = MSR_SET_COMMON | MSR_SET_INTEL };

/* True if RDMSR does not fault. */
static bool reads(uint8_t sets, uint32_t msr, uint64_t *value)
{
	struct vcpu *v = with(sets);

	v->state.gpr[GPR_RCX] = msr;
	v->state.gpr[GPR_RAX] = v->state.gpr[GPR_RDX] = 0;
	exception = -1;
	exit_rdmsr(v, &(struct vm_exit){.insn_len = 2});
	*value = v->state.gpr[GPR_RDX] << 32 | v->state.gpr[GPR_RAX];
	return exception == -1;
}

static bool writes(uint8_t sets, uint32_t msr, uint64_t value)
{
	struct vcpu *v = with(sets);

	v->state.gpr[GPR_RCX] = msr;
	v->state.gpr[GPR_RAX] = (uint32_t)value;
	v->state.gpr[GPR_RDX] = value >> 32;
	exception = -1;
	exit_wrmsr(v, &(struct vm_exit){.insn_len = 2});
	return exception == -1;
}

static void the_table_is_sorted(void **state)
{
	for (size_t i = 1; i < ARRAY_LEN(rows); i++) {
		assert_true(rows[i - 1].msr <= rows[i].msr);
		if (rows[i - 1].msr == rows[i].msr)
			assert_int_equal(rows[i - 1].sets & rows[i].sets, 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_ptr_equal(find(rows[i].msr, rows[i].sets), &rows[i]);
}

static void portable_models_have_neither_vendors_own(void **state)
{
	static const uint32_t none[] = {0x3a /* FEATURE_CONTROL */, MSR_SPEC_CTRL, MSR_PRED_CMD,
	    0xce /* PLATFORM_INFO */, 0xe7 /* MPERF */, 0xe8 /* APERF */, MSR_ARCH_CAPABILITIES,
	    MSR_FLUSH_CMD, MSR_TSX_CTRL, MSR_MISC_ENABLE, MSR_PLATFORM_ID, 0x480 /* VMX_BASIC */,
	    MSR_XSS, MSR_AMD_TSC_RATIO, MSR_AMD_VM_CR, MSR_AMD_VM_HSAVE, MSR_AMD_VIRT_SPEC,
	    0xc0010000 /* PERF_CTL0 */, 0xc0011020 /* LS_CFG */, 0xdead};
	uint64_t value;

	for (size_t i = 0; i < ARRAY_LEN(none); i++) {
		assert_false(reads(PORTABLE, none[i], &value));
		assert_false(writes(PORTABLE, none[i], 0));
	}
}

static void kernels_of_the_vendor_find_what_they_read(void **state)
{
	uint64_t value;

	assert_true(reads(PORTABLE, MSR_AMD_HWCR, &value));
	assert_int_equal(value, BIT(24));
	assert_true(reads(PORTABLE, MSR_AMD_DE_CFG, &value));
	assert_int_equal(value, BIT(1));
	assert_true(reads(PORTABLE, MSR_AMD_SYSCFG, &value));
	assert_int_equal(value, 0);
	assert_true(reads(PORTABLE, MSR_BIOS_SIGN_ID, &value));
	assert_int_equal(value, AMD_PATCH_LEVEL);
	assert_true(reads(INTEL, MSR_BIOS_SIGN_ID, &value));
	assert_int_equal(value, INTEL_PATCH_LEVEL);
	assert_true(reads(INTEL, MSR_MISC_ENABLE, &value));
	assert_false(reads(INTEL, MSR_AMD_HWCR, &value));
	assert_false(reads(INTEL, MSR_AMD_DE_CFG, &value));
}

static void sysenter_is_as_wide_as_the_vendors(void **state)
{
	uint64_t value;

	assert_true(writes(PORTABLE, MSR_SYSENTER_EIP, 0xffffffff81234567ULL));
	assert_true(reads(PORTABLE, MSR_SYSENTER_EIP, &value));
	assert_int_equal(value, 0x81234567);
	assert_true(writes(PORTABLE, MSR_SYSENTER_ESP, 0x8000000000000000ULL));
	assert_true(writes(INTEL, MSR_SYSENTER_EIP, 0xffffffff81234567ULL));
	assert_true(reads(INTEL, MSR_SYSENTER_EIP, &value));
	assert_int_equal(value, 0xffffffff81234567ULL);
	assert_false(writes(INTEL, MSR_SYSENTER_ESP, 0x8000000000000000ULL));
}

/* SVME is hidden; LMSLE, FFXSR and TCE are one vendor's. */
static void efer_has_what_both_have(void **state)
{
	for (unsigned bit = 12; bit < 64; bit++)
		assert_false(writes(PORTABLE, MSR_EFER, BIT(bit)));
}

static void tsc_aux_comes_with_rdtscp(void **state)
{
	struct vcpu *v = with(PORTABLE);
	uint64_t value;

	assert_int_equal(read_msr(v, MSR_TSC_AUX, &value), OK);
	v->has_rdtscp = false;
	assert_int_equal(read_msr(v, MSR_TSC_AUX, &value), ERR_INVAL);
	assert_int_equal(write_msr(v, MSR_TSC_AUX, 0), ERR_INVAL);
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
	    cmocka_unit_test(the_table_is_sorted),
	    cmocka_unit_test(portable_models_have_neither_vendors_own),
	    cmocka_unit_test(kernels_of_the_vendor_find_what_they_read),
	    cmocka_unit_test(sysenter_is_as_wide_as_the_vendors),
	    cmocka_unit_test(efer_has_what_both_have),
	    cmocka_unit_test(tsc_aux_comes_with_rdtscp),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
