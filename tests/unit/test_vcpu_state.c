/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Promises: a snapshot carries every field of a vCPU's state; power-on values
 * are the manual's; a state that no CPU can have is refused by its field's name.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "hv/arch/x86/xstate.h"
#include "tests/unit/vcpu_codec.h"

static struct vcpu_state s;

/* --- the codec ------------------------------------------------------------------ */

static void put(struct vcpu_state *st, const struct state_field *f, unsigned n, uint64_t v)
{
	memcpy((uint8_t *)st + f->offset + (size_t)n * f->width, &v, f->width);
}

/* Every element in turn, in large arrays every 29th, gets a value that nothing else has. */
static void every_element_survives(void **state)
{
	struct vcpu_state base = {0}, out;
	struct errmsg e;

	(void)state;
	for (const struct state_field *f = vcpu_state_fields; f->name; f++) {
		unsigned step = f->count > 100 ? 29 : 1;

		for (unsigned n = 0; n < f->count; n += step) {
			s = base;
			put(&s, f, n, f->max);
			assert_memory_not_equal(&s, &base, sizeof(s));
			e.text[0] = 0;
			if (vcpu_round_trip(&s, &out, &e) != OK)
				fail_msg("%s: %s", f->name, e.text);
			if (memcmp(&s, &out, sizeof(s)))
				fail_msg("%s: element %u is lost", f->name, n);
		}
	}
}

/* All at once, random: nothing is mixed up. */
static void random_state_survives(void **state)
{
	struct vcpu_state out;
	struct errmsg e;
	uint64_t x = 88172645463325252ULL;

	(void)state;
	memset(&s, 0, sizeof(s));
	for (const struct state_field *f = vcpu_state_fields; f->name; f++)
		for (unsigned n = 0; n < f->count; n++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			put(&s, f, n, f->max == STATE_ANY ? x : x % (f->max + 1));
		}
	assert_int_equal(vcpu_round_trip(&s, &out, &e), OK);
	assert_memory_equal(&s, &out, sizeof(s));
}

/* What no field covers must look like padding: shorter than the alignment that it leads to. */
static void expect_padding(size_t start_at, size_t end)
{
	bool before_xstate = end == offsetof(struct vcpu_state, xstate) || end == sizeof(s);
	size_t align = before_xstate ? 64 : end % 8 == 0 ? 8 : 4;

	if (end % align || end - start_at >= align)
		fail_msg("bytes %zu to %zu of struct vcpu_state have no field", start_at, end);
}

static void fields_cover_the_struct(void **state)
{
	static uint8_t covered[sizeof(struct vcpu_state)];
	size_t last = 0;

	(void)state;
	for (const struct state_field *f = vcpu_state_fields; f->name; f++)
		for (size_t n = 0; n < (size_t)f->width * f->count; n++)
			if (covered[f->offset + n]++)
				fail_msg("%s: overlaps another field", f->name);
	for (size_t n = 0; n < sizeof(s); n++) {
		if (!covered[n])
			continue;
		if (n > last)
			expect_padding(last, n);
		last = n + 1;
	}
	if (last < sizeof(s))
		expect_padding(last, sizeof(s));
}

static void values_above_the_maximum_are_refused(void **state)
{
	struct vcpu_state out;
	struct errmsg e;

	(void)state;
	vcpu_state_reset(&s, 0, true);
	s.cpl = 4;
	assert_int_not_equal(vcpu_round_trip(&s, &out, &e), OK);
	assert_non_null(strstr(e.text, "cpl"));
}

/* --- power-on ------------------------------------------------------------------- */

static void reset_values(void **state)
{
	struct errmsg e;

	(void)state;
	vcpu_state_reset(&s, 3, false);
	assert_int_equal(s.seg[SEG_CS].base + s.rip, 0xfffffff0);
	assert_int_equal(s.seg[SEG_CS].sel, 0xf000);
	assert_int_equal(s.cr0, 0x60000010);
	assert_int_equal(s.rflags, 2);
	assert_int_equal(s.activity, ACTIVITY_WAIT_SIPI);
	assert_int_equal(s.apic.regs[2], 3 << 24);
	assert_int_equal(s.apic.base_msr, 0xfee00800);
	assert_int_equal(vcpu_state_check(&s, &e), OK);
	vcpu_state_reset(&s, 0, true);
	assert_int_equal(s.activity, ACTIVITY_RUNNING);
	assert_int_equal(s.apic.base_msr, 0xfee00900);
	assert_int_equal(vcpu_state_check(&s, &e), OK);
	assert_int_equal(vcpu_state_check(&s, NULL), OK);
}

/* --- the check ------------------------------------------------------------------ */

enum start { REAL, V86, PROT, COMPAT, LONG };

static void start(enum start mode)
{
	vcpu_state_reset(&s, 0, true);
	if (mode == REAL)
		return;
	s.cr0 = CR0_PE | CR0_ET | CR0_PG;
	if (mode == V86) {
		s.rflags |= RFLAGS_VM;
		s.cpl = 3;
		for (unsigned n = SEG_ES; n <= SEG_GS; n++)
			s.seg[n] = (struct seg){
			    .base = 0x12340, .sel = 0x1234, .limit = 0xffff, .attr = 0xf3};
		return;
	}
	for (unsigned n = SEG_ES; n <= SEG_GS; n++)
		s.seg[n] = (struct seg){.limit = 0xffffffff, .sel = 0x10, .attr = 0xc93};
	s.seg[SEG_CS].attr = 0xc9b;
	if (mode == PROT)
		return;
	s.cr4 = CR4_PAE;
	s.efer = EFER_LME | EFER_LMA;
	if (mode == LONG) {
		s.seg[SEG_CS].attr = 0xa9b;
		s.rip = 0xffffffff81000000;
	}
}

#define XSTATE_BYTE(n, v) s.xstate[n] = (v)

/* name, starting mode, statement that spoils it, and what the message must begin with */
#define REFUSED(X)                                                                                 \
	X(PROT, s.rflags = 0, "rflags: bits clear")                                                \
	X(PROT, s.rflags |= 8, "rflags: reserved")                                                 \
	X(PROT, s.rflags |= BIT(22), "rflags: reserved")                                           \
	X(PROT, s.cr0 |= BIT(6), "cr0: reserved")                                                  \
	X(PROT, s.cr0 |= BIT(32), "cr0: reserved")                                                 \
	X(REAL, s.cr0 |= CR0_PG, "cr0: PG without PE")                                             \
	X(PROT, s.cr0 |= CR0_NW, "cr0: NW without CD")                                             \
	X(LONG, s.cr3 |= BIT(63), "cr3: reserved")                                                 \
	X(PROT, s.cr4 |= CR4_VMXE, "cr4: reserved")                                                \
	X(PROT, s.cr4 |= CR4_LA57, "cr4: reserved")                                                \
	X(PROT, s.cr4 |= CR4_PKE, "cr4: reserved")                                                 \
	X(PROT, s.cr4 |= CR4_PCIDE, "cr4: PCIDE")                                                  \
	X(LONG, s.cr4 = 0, "cr4: long mode without PAE")                                           \
	X(PROT, s.efer |= EFER_SVME, "efer: reserved")                                             \
	X(PROT, s.efer |= EFER_LMA, "efer: LMA")                                                   \
	X(LONG, s.efer &= ~(uint64_t)EFER_LMA, "efer: LMA")                                        \
	X(REAL, s.efer = EFER_LME | EFER_LMA, "efer: LMA")                                         \
	X(PROT, s.xcr0 = 0, "xcr0: bits clear")                                                    \
	X(PROT, s.xcr0 = 5, "xcr0: AVX without SSE")                                               \
	X(PROT, s.xcr0 = BIT(9) | 1, "xcr0: reserved")                                             \
	X(PROT, s.dr6 |= BIT(12), "dr6: reserved")                                                 \
	X(PROT, s.dr6 = 0, "dr6: bits clear")                                                      \
	X(PROT, s.dr7 |= BIT(14), "dr7: reserved")                                                 \
	X(PROT, s.dr7 = 0, "dr7: bits clear")                                                      \
	X(PROT, s.dr7 |= BIT(32), "dr7: reserved")                                                 \
	X(PROT, s.pending_dbg = BIT(4), "pending_dbg: reserved")                                   \
	X(PROT, s.xss = 1, "xss: reserved")                                                        \
	X(LONG, s.rflags |= RFLAGS_VM, "rflags: VM")                                               \
	X(REAL, s.rflags |= RFLAGS_VM, "rflags: VM")                                               \
	X(REAL, s.cpl = 3, "cpl: 3 in real mode")                                                  \
	X(V86, s.cpl = 0, "cpl: 0 in virtual-8086")                                                \
	X(V86, s.seg[SEG_DS].base++, "ds: base")                                                   \
	X(PROT, s.cpl = 4, "cpl: 4")                                                               \
	X(PROT, s.rip = BIT(32), "rip: ")                                                          \
	X(COMPAT, s.rip = BIT(32), "rip: ")                                                        \
	X(LONG, s.rip = BIT(47), "rip: ")                                                          \
	X(LONG, s.seg[SEG_FS].base = BIT(47), "fs-base: ")                                         \
	X(LONG, s.seg[SEG_TR].base = BIT(63), "tr-base: ")                                         \
	X(LONG, s.gdtr.base = BIT(47), "gdtr-base: ")                                              \
	X(LONG, s.idtr.base = BIT(47), "idtr-base: ")                                              \
	X(LONG, s.lstar = BIT(47), "lstar: ")                                                      \
	X(LONG, s.kernel_gs_base = BIT(47), "kernel-gs-base: ")                                    \
	X(LONG, s.sysenter_eip = BIT(47), "sysenter-eip: ")                                        \
	X(LONG, s.seg[SEG_DS].base = BIT(32), "ds-base: ")                                         \
	X(LONG, s.seg[SEG_CS].attr |= SEG_ATTR_DB, "cs-attr: L and D")                             \
	X(PROT, s.seg[SEG_CS].attr = 0xc92, "cs-attr: type 2")                                     \
	X(LONG, s.seg[SEG_CS].attr = 0xa93, "cs-attr: type 3")                                     \
	X(PROT, s.seg[SEG_CS].attr &= ~SEG_ATTR_P, "cs-attr: not present")                         \
	X(PROT, s.seg[SEG_CS].attr &= ~SEG_ATTR_S, "cs-attr: S bit")                               \
	X(PROT, s.seg[SEG_CS].attr |= SEG_ATTR_DPL, "cs-attr: DPL 3 at CPL 0")                     \
	X(PROT, s.seg[SEG_CS].attr = 0xcff, "cs-attr: DPL 3 at CPL 0")                             \
	X(PROT, s.seg[SEG_SS].attr |= SEG_ATTR_DPL, "ss-attr: DPL 3 at CPL 0")                     \
	X(PROT, s.seg[SEG_SS].attr = 0xc91, "ss-attr: not writable")                               \
	X(PROT, s.seg[SEG_SS].attr = 0xc9b, "ss-attr: not writable")                               \
	X(PROT, s.seg[SEG_DS].attr = 0xc99, "ds-attr: not readable")                               \
	X(PROT, s.seg[SEG_DS].limit = 0xffff0000, "ds-limit: ")                                    \
	X(REAL, s.seg[SEG_DS].limit = 0x100000, "ds-limit: ")                                      \
	X(PROT, s.seg[SEG_GS].attr |= BIT(12), "gs-attr: reserved")                                \
	X(PROT, s.seg[SEG_TR].attr = 0x89, "tr-attr: type 9")                                      \
	X(LONG, s.seg[SEG_TR].attr = 0x83, "tr-attr: type 3")                                      \
	X(PROT, s.seg[SEG_TR].attr = 0, "tr-attr: not present")                                    \
	X(PROT, s.seg[SEG_TR].attr |= SEG_ATTR_S, "tr-attr: S bit")                                \
	X(PROT, s.seg[SEG_LDTR].attr = 0x83, "ldtr-attr: type 3")                                  \
	X(PROT, s.pat = 2, "pat: ")                                                                \
	X(PROT, s.pat = 0x08ULL << 56, "pat: ")                                                    \
	X(PROT, s.mtrr_def_type = 7, "mtrr-def-type: ")                                            \
	X(PROT, s.mtrr_def_type = 0x1000, "mtrr_def_type: reserved")                               \
	X(PROT, s.mtrr_fixed[10] = 3ULL << 32, "mtrr-fixed: 10: ")                                 \
	X(PROT, s.mtrr_base[7] = 2, "mtrr-base: 7: ")                                              \
	X(PROT, s.mtrr_base[0] = 0x100, "mtrr-base: 0: ")                                          \
	X(PROT, s.mtrr_mask[1] = 0x400, "mtrr-mask: 1: ")                                          \
	X(PROT, s.xstate_size = 511, "xstate-size: ")                                              \
	X(PROT, s.xstate_size = XSTATE_MAX + 1, "xstate-size: ")                                   \
	X(PROT, XSTATE_BYTE(26, 1), "xstate: MXCSR")                                               \
	X(PROT, XSTATE_BYTE(512, 8), "xstate: XSTATE_BV")                                          \
	X(PROT, XSTATE_BYTE(527, 0x80), "xstate: XCOMP_BV")                                        \
	X(PROT, XSTATE_BYTE(575, 1), "xstate: header byte 575")                                    \
	X(PROT, s.pending.type = 5, "pending-type: ")                                              \
	X(PROT, (s.pending = (struct event){.type = EVENT_EXCEPTION, .vector = 32}),               \
	    "pending-vector: ")                                                                    \
	X(PROT, (s.pending = (struct event){.type = EVENT_EXCEPTION, .vector = VEC_NMI}),          \
	    "pending-vector: ")                                                                    \
	X(PROT, (s.injected = (struct event){.type = EVENT_EXCEPTION, .vector = VEC_PF}),          \
	    "injected-has-error: ")                                                                \
	X(REAL,                                                                                    \
	    (s.injected =                                                                          \
		    (struct event){.type = EVENT_EXCEPTION, .vector = VEC_GP, .has_error = 1}),    \
	    "injected-has-error: ")                                                                \
	X(PROT, (s.injected = (struct event){.type = EVENT_NMI, .vector = 3}),                     \
	    "injected-vector: ")                                                                   \
	X(PROT,                                                                                    \
	    (s.injected =                                                                          \
		    (struct event){.type = EVENT_EXCEPTION, .vector = VEC_UD, .insn_len = 2}),     \
	    "injected-insn-len: ")                                                                 \
	X(PROT, (s.injected = (struct event){.type = EVENT_EXCEPTION, .vector = 15}),              \
	    "injected-vector: ")                                                                   \
	X(PROT,                                                                                    \
	    (s.injected = (struct event){.type = EVENT_EXCEPTION,                                  \
		 .vector = VEC_GP,                                                                 \
		 .has_error = 1,                                                                   \
		 .error_code = 0x10000}),                                                          \
	    "injected-error-code: ")                                                               \
	X(PROT,                                                                                    \
	    (s.injected = (struct event){.type = EVENT_SOFT_INT, .vector = 128, .insn_len = 2}),   \
	    "injected-type: ")                                                                     \
	X(PROT, (s.injected = (struct event){.type = EVENT_INTR, .vector = 32}),                   \
	    "injected-type: ")                                                                     \
	X(PROT, (s.injected = (struct event){.type = EVENT_NMI, .vector = VEC_NMI});               \
	    s.movss_shadow = 1, "injected-type: ")                                                 \
	X(PROT, (s.pending = (struct event){.type = EVENT_NMI, .vector = VEC_NMI}),                \
	    "pending-type: ")                                                                      \
	X(PROT, s.sti_shadow = 1, "sti-shadow: ")                                                  \
	X(PROT, s.pending_dbg = BIT(14), "pending-dbg: ")                                          \
	X(PROT, s.pending_dbg = BIT(13), "pending_dbg: reserved")                                  \
	X(PROT, s.sfmask = BIT(32), "sfmask: reserved")                                            \
	X(PROT, s.spec_ctrl = 1, "spec_ctrl: reserved")                                            \
	X(PROT, s.debugctl = 1, "debugctl: reserved")                                              \
	X(PROT, s.misc_enable = 3, "misc_enable: reserved")                                        \
	X(PROT, s.seg[SEG_TR].sel = 4, "tr-sel: ")                                                 \
	X(PROT, s.seg[SEG_LDTR].sel = 0xc, "ldtr-sel: ")                                           \
	X(PROT, s.seg[SEG_DS].attr = 0xc92, "ds-attr: not accessed")                               \
	X(PROT, s.seg[SEG_SS].attr = 0xc92, "ss-attr: not writable")                               \
	X(PROT, s.seg[SEG_SS].attr = SEG_ATTR_DPL, "ss-attr: DPL 3 at CPL 0")                      \
	X(REAL, s.seg[SEG_DS].attr = 0x92, "ds-attr: not accessed")                                \
	X(REAL, s.seg[SEG_SS].attr = 0x9b, "ss-attr: not writable")                                \
	X(REAL, s.seg[SEG_CS].attr = 0x9a, "cs-attr: type 10")                                     \
	X(PROT, (s.seg[SEG_CS].attr = 0xc93, s.cpl = 3, s.seg[SEG_SS].attr |= SEG_ATTR_DPL),       \
	    "cs-attr: type 3")                                                                     \
	X(PROT, s.nmi_blocked = 2, "nmi-blocked: ")                                                \
	X(PROT, s.sti_shadow = s.movss_shadow = 1, "sti-shadow: ")                                 \
	X(PROT, s.activity = 4, "activity: ")                                                      \
	X(PROT, s.cr4 = CR4_PAE; s.pdpte[2] = 3, "pdpte: 2: ")

static void impossible_states_are_refused(void **state)
{
	struct errmsg e;

	(void)state;
#define CASE(mode, spoil, text_begin)                                                              \
	start(mode);                                                                               \
	assert_int_equal(vcpu_state_check(&s, &e), OK);                                            \
	spoil;                                                                                     \
	e.text[0] = 0;                                                                             \
	if (vcpu_state_check(&s, &e) != ERR_CORRUPT ||                                             \
	    strncmp(e.text, text_begin, strlen(text_begin)))                                       \
		fail_msg("%s: got '%s'", #spoil, e.text);
	REFUSED(CASE)
}

static void possible_states_pass(void **state)
{
	struct errmsg e = {{0}};

	(void)state;
	for (enum start m = REAL; m <= LONG; m++) {
		start(m);
		if (vcpu_state_check(&s, &e) != OK)
			fail_msg("mode %u: %s", m, e.text);
	}
	/* a null stack segment in 64-bit mode, conforming code, the type that real mode leaves in
	 * CS */
	start(LONG);
	s.seg[SEG_SS] = (struct seg){.sel = 0, .attr = 0};
	assert_int_equal(vcpu_state_check(&s, &e), OK);
	start(PROT);
	s.cpl = 3;
	s.seg[SEG_SS].attr |= SEG_ATTR_DPL;
	s.seg[SEG_CS].attr = 0xc9f;
	assert_int_equal(vcpu_state_check(&s, &e), OK);
	start(PROT);
	s.seg[SEG_CS].attr = 0x93;
	s.seg[SEG_CS].limit = 0xffff;
	assert_int_equal(vcpu_state_check(&s, &e), OK);
	/* an interrupt whose delivery an exit cut short, a single step held back by MOV SS */
	start(LONG);
	s.rflags |= RFLAGS_IF | RFLAGS_TF;
	s.injected = (struct event){.type = EVENT_INTR, .vector = 32};
	assert_int_equal(vcpu_state_check(&s, &e), OK);
	s.injected.type = EVENT_NONE;
	s.movss_shadow = 1;
	s.pending_dbg = BIT(14);
	assert_int_equal(vcpu_state_check(&s, &e), OK);
	/* long mode before the far jump, code still as in real mode */
	start(COMPAT);
	s.seg[SEG_CS] = (struct seg){.limit = 0xffff, .attr = 0x93};
	assert_int_equal(vcpu_state_check(&s, &e), OK);
	/* AVX state that outlives its enabling */
	start(LONG);
	s.xstate[512] = 7;
	assert_int_equal(vcpu_state_check(&s, &e), OK);
	/* an exception under delivery */
	s.injected = (struct event){.type = EVENT_EXCEPTION, .vector = VEC_PF, .has_error = 1};
	assert_int_equal(vcpu_state_check(&s, &e), OK);
}

/* Whatever a guest's LDMXCSR has taken, the area that was saved can be loaded. */
static void mended_mxcsr_passes(void **state)
{
	uint32_t before = 0xffffffff, after;
	struct errmsg e;

	(void)state;
	start(LONG);
	memcpy(s.xstate + 24, &before, sizeof(before));
	assert_int_equal(vcpu_state_check(&s, &e), ERR_CORRUPT);
	xstate_mend(s.xstate);
	assert_int_equal(vcpu_state_check(&s, &e), OK);
	memcpy(&after, s.xstate + 24, sizeof(after));
	assert_int_equal(after, 0xffff);
	assert_int_equal(s.xstate[28], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_element_survives),
	    cmocka_unit_test(random_state_survives),
	    cmocka_unit_test(fields_cover_the_struct),
	    cmocka_unit_test(values_above_the_maximum_are_refused),
	    cmocka_unit_test(reset_values),
	    cmocka_unit_test(impossible_states_are_refused),
	    cmocka_unit_test(possible_states_pass),
	    cmocka_unit_test(mended_mxcsr_passes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
