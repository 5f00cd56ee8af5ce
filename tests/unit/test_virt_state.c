/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Promises: what a back end commits it fetches again, on VMX, on SVM and from one to
 * the other, for every state that a CPU could be in; and a state that passes the checks
 * never fails an entry to the guest nor faults in the hypervisor.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "hv/arch/x86/cpu_model.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/fake_virt.h"
#include "tests/unit/vcpu_random.h"

enum { CASES = 5000, MUTATIONS = 40000, MODEL_BITS = 36, HOST_BITS = 39 };

static struct cpu_model model = {
    .cr4_mask = UINT64_MAX,
    .efer_mask = UINT64_MAX,
    .xcr0_mask = 7,
    .xstate_size = 832,
    .phys_bits = MODEL_BITS,
};
static struct vm machine = {.cpu_model = &model};
static struct vcpu cpu = {.vm = &machine};
static struct vcpu_state before;

static const char *const mode_names[RND_MODES] = {"real", "unreal", "protected, before the jump",
    "virtual-8086", "protected", "paged", "PAE", "long, before the jump", "compatibility",
    "64-bit"};

static int check_all(const struct vcpu_state *s, struct errmsg *e)
{
	int err = vcpu_state_check(s, e);

	return err ? err : cpu_model_check_state(&model, s, e);
}

/* The first byte that differs, by the name of its row. */
static void expect_same(const char *what, unsigned n, enum rnd_mode mode)
{
	const uint8_t *was = (const uint8_t *)&before, *is = (const uint8_t *)&cpu.state;

	for (const struct state_field *f = vcpu_state_fields; f->name; f++)
		for (size_t i = f->offset; i < f->offset + (size_t)f->width * f->count; i++)
			if (was[i] != is[i])
				fail_msg("case %u (%s), %s: %s: byte %zu: 0x%02x became 0x%02x", n,
				    mode_names[mode], what, f->name, i - f->offset, was[i], is[i]);
}

typedef const char *(*pass_fn)(struct vcpu *v, unsigned phys_bits);

/* Events that were pending went in and came back as cut short in delivery. */
static void expect_pending_as_injected(void)
{
	if (before.injected.type == EVENT_NONE && before.pending.type != EVENT_NONE) {
		assert_memory_equal(&cpu.state.injected, &before.pending, sizeof(struct event));
		cpu.state.injected = before.injected;
	}
}

static void identity(const char *what, unsigned limits, const pass_fn *passes, unsigned count)
{
	struct errmsg e;

	rnd_seed();
	for (unsigned n = 0; n < CASES; n++) {
		enum rnd_mode mode = rnd_vcpu(&cpu.state, limits);

		machine.cpu_model = &model;
		model.msr_sets = rnd_bit() ? MSR_SET_COMMON | MSR_SET_AMD : MSR_SET_COMMON;
		before = cpu.state;
		if (check_all(&cpu.state, &e) != OK)
			fail_msg("case %u (%s): %s", n, mode_names[mode], e.text);
		for (unsigned i = 0; i < count; i++) {
			const char *broken = passes[i](&cpu, HOST_BITS);

			if (broken)
				fail_msg("case %u (%s), %s: entry fails: %s", n, mode_names[mode],
				    what, broken);
			expect_pending_as_injected();
			if (check_all(&cpu.state, &e) != OK)
				fail_msg("case %u (%s), %s: fetched: %s", n, mode_names[mode], what,
				    e.text);
		}
		expect_same(what, n, mode);
	}
}

static void vmx_keeps_all(void **state)
{
	const pass_fn passes[] = {fake_vmx_pass};

	(void)state;
	identity("VMX", 0, passes, 1);
}

/* Emulated SVM lets a guest load addresses that no CPU takes; its state must pass the checks. */
static void svm_gives_canonical_addresses(void **state)
{
	const uint64_t odd = 0x0008000000000000;
	struct vcpu_state *s = &cpu.state;
	uint64_t *const fields[] = {&s->lstar, &s->cstar, &s->kernel_gs_base, &s->gdtr.base,
	    &s->idtr.base, &s->seg[SEG_FS].base, &s->seg[SEG_GS].base};
	struct errmsg e;

	(void)state;
	rnd_seed();
	while (rnd_vcpu(s, RND_NO_PENDING_DBG | RND_NO_MOVSS_WITH_IF) != RND_MODES - 1)
		; /* 64-bit */
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		*fields[i] = odd | 0x1234;
		(void)fake_svm_pass(&cpu, HOST_BITS);
		assert_int_equal(*fields[i], 0x1234);
		assert_int_equal(vcpu_state_check(s, &e), OK);
	}
}

static void svm_keeps_all(void **state)
{
	const pass_fn passes[] = {fake_svm_pass};

	(void)state;
	identity("SVM", RND_NO_PENDING_DBG | RND_NO_MOVSS_WITH_IF, passes, 1);
}

static void journeys_keep_all(void **state)
{
	const pass_fn there[] = {fake_vmx_pass, fake_svm_pass, fake_vmx_pass};
	const pass_fn back[] = {fake_svm_pass, fake_vmx_pass, fake_svm_pass};

	(void)state;
	identity("VMX, SVM, VMX", RND_NO_PENDING_DBG | RND_NO_MOVSS_WITH_IF, there, 3);
	identity("SVM, VMX, SVM", RND_NO_PENDING_DBG | RND_NO_MOVSS_WITH_IF, back, 3);
}

/* XRSTOR's own rules for the standard form (SDM volume 1, 13.8), with all of 7 in XCR0. */
static bool xrstor_takes(const struct vcpu_state *s)
{
	static const uint8_t zero[16];
	uint64_t bv;
	uint32_t mxcsr;

	memcpy(&bv, s->xstate + 512, sizeof(bv));
	memcpy(&mxcsr, s->xstate + 24, sizeof(mxcsr));
	return !(bv & ~7ULL) && memcmp(s->xstate + 520, zero, 16) == 0 && !(mxcsr >> 16);
}

/* Another value for one element of one row, at random or one bit away. */
static void mutate(struct vcpu_state *s, const char **name)
{
	unsigned rows = 0, row, element;
	const struct state_field *f;
	uint64_t v = 0;

	for (f = vcpu_state_fields; f->name; f++)
		rows++;
	row = rnd_below(rows);
	f = &vcpu_state_fields[row];
	element = f->count > 100 ? 508 + rnd_below(72) : rnd_below(f->count);
	memcpy(&v, (uint8_t *)s + f->offset + (size_t)element * f->width, f->width);
	v = rnd_bit() ? v ^ BIT(rnd_below(8u * f->width)) : rnd() >> rnd_below(64);
	memcpy((uint8_t *)s + f->offset + (size_t)element * f->width, &v, f->width);
	*name = f->name;
}

/* The wrmsr() underneath asserts that the CPU takes the value. */
static void what_passes_enters(void **state)
{
	unsigned refused = 0, passed = 0;
	struct errmsg e;

	(void)state;
	rnd_seed();
	for (unsigned n = 0; n < MUTATIONS; n++) {
		enum rnd_mode mode = rnd_vcpu(&cpu.state, 0);
		const char *name, *broken;

		for (unsigned k = 1 + rnd_below(3); k; k--)
			mutate(&cpu.state, &name);
		if (check_all(&cpu.state, &e) != OK) {
			refused++;
			continue;
		}
		passed++;
		before = cpu.state;
		if (!xrstor_takes(&cpu.state))
			fail_msg("case %u (%s, %s): XRSTOR", n, mode_names[mode], name);
		broken = fake_vmx_pass(&cpu, HOST_BITS);
		if (broken)
			fail_msg(
			    "case %u (%s, %s): VM entry: %s", n, mode_names[mode], name, broken);
		cpu.state = before;
		broken = fake_svm_pass(&cpu, HOST_BITS);
		if (broken)
			fail_msg("case %u (%s, %s): VMRUN: %s", n, mode_names[mode], name, broken);
	}
	printf("%u refused, %u entered\n", refused, passed);
	assert_true(refused > MUTATIONS / 10 && passed > MUTATIONS / 10);
}

/* Rows of noise among valid ones: with so much of it there is always something impossible. */
static void noise_is_refused(void **state)
{
	struct errmsg e;

	(void)state;
	rnd_seed();
	for (unsigned n = 0; n < CASES; n++) {
		rnd_vcpu(&cpu.state, 0);
		for (size_t i = offsetof(struct vcpu_state, rflags);
		     i < offsetof(struct vcpu_state, apic); i++)
			((uint8_t *)&cpu.state)[i] = (uint8_t)rnd();
		assert_int_equal(check_all(&cpu.state, &e), ERR_CORRUPT);
	}
}

/* What is wrong in whatever mode: each is refused in each of thousands of states. */
#define NEVER(X)                                                                                   \
	X(s->rflags &= ~(uint64_t)RFLAGS_FIXED)                                                    \
	X(s->rflags |= BIT(22 + rnd_below(42)))                                                    \
	X(s->rflags |= BIT(15))                                                                    \
	X(s->cr0 |= BIT(32 + rnd_below(32)))                                                       \
	X(s->cr0 &= ~(uint64_t)CR0_ET)                                                             \
	X(s->cr0 = (s->cr0 & ~(uint64_t)CR0_PE) | CR0_PG)                                          \
	X(s->cr0 = (s->cr0 & ~(uint64_t)CR0_CD) | CR0_NW)                                          \
	X(s->cr3 |= BIT(MODEL_BITS + rnd_below(64 - MODEL_BITS)))                                  \
	X(s->cr4 |= CR4_VMXE)                                                                      \
	X(s->cr4 |= BIT(22 + rnd_below(42)))                                                       \
	X(s->efer |= EFER_SVME)                                                                    \
	X(s->efer |= BIT(13 + rnd_below(51)))                                                      \
	X(s->efer ^= EFER_LMA)                                                                     \
	X(s->dr6 |= BIT(32 + rnd_below(32)))                                                       \
	X(s->dr7 |= BIT(32 + rnd_below(32)))                                                       \
	X(s->dr7 &= ~0x400ULL)                                                                     \
	X(s->cpl = (uint8_t)(4 + rnd_below(252)))                                                  \
	X(s->cpl ^= 1)                                                                             \
	X(s->seg[SEG_CS].attr &= (uint16_t)~SEG_ATTR_P)                                            \
	X(s->seg[SEG_CS].attr &= (uint16_t)~SEG_ATTR_S)                                            \
	X(s->seg[SEG_CS].attr &= (uint16_t)~1U)                                                    \
	X(s->seg[SEG_CS].base |= BIT(32 + rnd_below(32)))                                          \
	X(s->seg[SEG_SS].attr ^= 1 << SEG_ATTR_DPL_SHIFT)                                          \
	X(s->seg[SEG_TR].attr &= (uint16_t)~SEG_ATTR_P)                                            \
	X(s->seg[SEG_TR].attr &= (uint16_t)~2U)                                                    \
	X(s->seg[SEG_TR].sel |= 4)                                                                 \
	X(s->seg[SEG_TR].base ^= BIT(47 + rnd_below(16)))                                          \
	X(s->seg[SEG_LDTR].attr = 0x83)                                                            \
	X(s->seg[SEG_FS].base ^= BIT(47 + rnd_below(16)))                                          \
	X(s->gdtr.base ^= BIT(47 + rnd_below(16)))                                                 \
	X(s->idtr.base ^= BIT(47 + rnd_below(16)))                                                 \
	X(s->lstar ^= BIT(47 + rnd_below(16)))                                                     \
	X(s->cstar ^= BIT(47 + rnd_below(16)))                                                     \
	X(s->kernel_gs_base ^= BIT(47 + rnd_below(16)))                                            \
	X(s->sysenter_esp ^= BIT(47 + rnd_below(16)))                                              \
	X(s->sysenter_eip ^= BIT(47 + rnd_below(16)))                                              \
	X(s->sfmask |= BIT(32 + rnd_below(32)))                                                    \
	X(s->pat = (s->pat & ~0xff00ULL) | 0x200)                                                  \
	X(s->pat |= 0x80)                                                                          \
	X(s->misc_enable = 2)                                                                      \
	X(s->spec_ctrl = 1)                                                                        \
	X(s->debugctl = 2)                                                                         \
	X(s->xss = 1)                                                                              \
	X(s->xcr0 = 5)                                                                             \
	X(s->xcr0 |= BIT(3 + rnd_below(61)))                                                       \
	X(s->sti_shadow = s->movss_shadow = 1)                                                     \
	X(s->nmi_blocked = 2)                                                                      \
	X(s->activity = 4)                                                                         \
	X(s->pending_dbg |= BIT(12))                                                               \
	X((s->pending_dbg |= BIT(14), s->rflags &= ~(uint64_t)RFLAGS_TF))                          \
	X((s->sti_shadow = 1, s->rflags &= ~(uint64_t)RFLAGS_IF))                                  \
	X(s->injected = ((struct event){.type = EVENT_SOFT_INT, .vector = 3, .insn_len = 2}))      \
	X(s->injected = ((struct event){.type = EVENT_NMI, .vector = 3}))                          \
	X(s->injected = ((struct event){.type = EVENT_EXCEPTION, .vector = 9}))                    \
	X(s->injected = ((struct event){.type = EVENT_EXCEPTION, .vector = 6, .insn_len = 1}))     \
	X((s->injected = (struct event){.type = EVENT_INTR, .vector = 32},                         \
	    s->rflags &= ~(uint64_t)RFLAGS_IF))                                                    \
	X((s->injected = (struct event){.type = EVENT_NMI, .vector = 2},                           \
	    s->movss_shadow = !s->sti_shadow))                                                     \
	X(s->pending = ((struct event){.type = EVENT_NMI, .vector = 2}))                           \
	X(s->xstate[27] = 1)                                                                       \
	X(s->xstate[512] |= 8)                                                                     \
	X(s->xstate[513 + rnd_below(63)] = 1)                                                      \
	X(s->xstate_size = 831)

static void impossible_is_refused(void **state)
{
	struct vcpu_state *s = &cpu.state;
	struct errmsg e;

	(void)state;
	rnd_seed();
#define TRY(spoil)                                                                                 \
	for (unsigned n = 0; n < CASES / 10; n++) {                                                \
		enum rnd_mode mode = rnd_vcpu(s, 0);                                               \
                                                                                                   \
		before = *s;                                                                       \
		spoil;                                                                             \
		if (memcmp(&before, s, sizeof(before)) && check_all(s, &e) != ERR_CORRUPT)         \
			fail_msg("case %u (%s): passes: %s", n, mode_names[mode], #spoil);         \
	}
	NEVER(TRY)
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(vmx_keeps_all),
	    cmocka_unit_test(svm_gives_canonical_addresses),
	    cmocka_unit_test(svm_keeps_all),
	    cmocka_unit_test(journeys_keep_all),
	    cmocka_unit_test(what_passes_enters),
	    cmocka_unit_test(noise_is_refused),
	    cmocka_unit_test(impossible_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
