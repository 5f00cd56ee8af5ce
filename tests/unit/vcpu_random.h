/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random vCPU states that a CPU could be in, of all modes, in canonical form
 * (docs/cpu-state.md); from a seed: AMBER_SEED, or a fixed one. It is printed.
 */
#ifndef AMBER_TESTS_VCPU_RANDOM_H
#define AMBER_TESTS_VCPU_RANDOM_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "hv/arch/x86/vcpu_state.h"

static uint64_t rnd_state;

static inline uint64_t rnd(void)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;
	return rnd_state * 0x2545f4914f6cdd1d;
}
static inline unsigned rnd_below(unsigned n)
{
	return (unsigned)(rnd() >> 33) % n;
}
static inline bool rnd_bit(void)
{
	return rnd() >> 63;
}
static inline void rnd_seed(void)
{
	const char *text = getenv("AMBER_SEED");

	rnd_state = text ? strtoull(text, NULL, 0) : 20260101;
	printf("seed %llu (AMBER_SEED)\n", (unsigned long long)rnd_state);
	rnd_state = rnd_state * 2 + 1;
}

enum rnd_mode {
	RND_REAL,
	RND_UNREAL, /* real mode behind protected mode: large limits */
	RND_PE,	    /* protected mode, and CS still real mode's */
	RND_V86,
	RND_PROT,  /* without paging */
	RND_PAGED, /* two levels */
	RND_PAE,
	RND_LONG_JUMP, /* long mode, and CS still real mode's */
	RND_COMPAT,
	RND_LONG,
	RND_MODES
};

/* What to leave out: what one of the back ends has no room for. */
enum rnd_limits { RND_NO_PENDING_DBG = 1, RND_NO_MOVSS_WITH_IF = 2 };

static inline uint64_t rnd_canonical(void)
{
	return (uint64_t)((int64_t)(rnd() << 16) >> 16);
}

static inline uint32_t rnd_limit(void)
{
	uint32_t limit = (uint32_t)rnd() & 0xfffff;

	return rnd_bit() ? limit : limit << 12 | 0xfff;
}

static inline void rnd_seg_common(struct seg *g, unsigned type, unsigned dpl)
{
	g->sel = (uint16_t)rnd();
	g->base = (uint32_t)rnd();
	g->limit = rnd_limit();
	g->attr = (uint16_t)(type | SEG_ATTR_S | dpl << SEG_ATTR_DPL_SHIFT | SEG_ATTR_P |
			     (rnd() & (SEG_ATTR_AVL | SEG_ATTR_DB)) |
			     (g->limit > 0xfffff ? SEG_ATTR_G : 0));
}

static inline void rnd_unusable(struct seg *g)
{
	g->sel &= 3;
	g->attr = 0;
}

static inline void rnd_code_seg(struct vcpu_state *s, enum rnd_mode mode)
{
	struct seg *cs = &s->seg[SEG_CS];
	bool conforming = rnd_bit();

	rnd_seg_common(cs, 9 | (rnd() & 2) | (conforming ? 4 : 0),
	    conforming ? rnd_below(s->cpl + 1u) : s->cpl);
	if (mode == RND_PE || mode == RND_LONG_JUMP || (mode <= RND_UNREAL && rnd_bit()))
		cs->attr = (uint16_t)((cs->attr & ~(SEG_ATTR_TYPE | SEG_ATTR_DPL)) | 3);
	if (mode == RND_LONG)
		cs->attr = (uint16_t)((cs->attr & ~SEG_ATTR_DB) | SEG_ATTR_L);
}

static inline void rnd_data_segs(struct vcpu_state *s)
{
	static const uint8_t types[] = {1, 3, 5, 7, 11, 15};
	struct seg *ss = &s->seg[SEG_SS];

	for (unsigned n = SEG_ES; n <= SEG_GS; n++) {
		if (n == SEG_CS || n == SEG_SS)
			continue;
		rnd_seg_common(&s->seg[n], types[rnd_below(6)], rnd_below(4));
		if (rnd_below(4) == 0)
			rnd_unusable(&s->seg[n]);
	}
	s->seg[SEG_FS].base = rnd_canonical();
	s->seg[SEG_GS].base = rnd_canonical();
	rnd_seg_common(ss, rnd_bit() ? 3 : 7, s->cpl);
	if (rnd_below(4) == 0) {
		rnd_unusable(ss);
		ss->attr = (uint16_t)(s->cpl << SEG_ATTR_DPL_SHIFT);
	}
}

static inline void rnd_v86_segs(struct vcpu_state *s)
{
	for (unsigned n = SEG_ES; n <= SEG_GS; n++) {
		uint16_t sel = (uint16_t)rnd();

		s->seg[n] = (struct seg){(uint64_t)sel << 4, 0xffff, sel, 0xf3};
	}
}

static inline void rnd_system_segs(struct vcpu_state *s, bool long_mode)
{
	struct seg *tr = &s->seg[SEG_TR], *ldtr = &s->seg[SEG_LDTR];

	rnd_seg_common(tr, long_mode || rnd_bit() ? 11 : 3, rnd_below(4));
	rnd_seg_common(ldtr, 2, rnd_below(4));
	tr->base = rnd_canonical();
	ldtr->base = rnd_canonical();
	tr->sel &= (uint16_t)~4U;
	ldtr->sel &= (uint16_t)~4U;
	tr->attr &= (uint16_t)~SEG_ATTR_S;
	ldtr->attr &= (uint16_t)~SEG_ATTR_S;
	if (rnd_bit())
		rnd_unusable(ldtr);
	s->gdtr = (struct desc_table){rnd_canonical(), (uint16_t)rnd()};
	s->idtr = (struct desc_table){rnd_canonical(), (uint16_t)rnd()};
}

static inline void rnd_controls(struct vcpu_state *s, enum rnd_mode mode)
{
	bool long_mode = mode >= RND_LONG_JUMP, paging = mode == RND_V86 || mode >= RND_PAGED;

	s->cr0 = CR0_ET | (rnd() & (CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM));
	if (rnd_bit())
		s->cr0 |= CR0_CD | (rnd() & CR0_NW);
	s->cr0 |= (mode >= RND_PE ? CR0_PE : 0) | (paging ? CR0_PG : 0);
	s->cr2 = rnd();
	s->cr3 = rnd() & (BIT(36) - 1);
	s->cr4 = rnd() & 0x3507ff & ~(uint64_t)CR4_PAE;
	if (mode == RND_PAE || long_mode || (!paging && rnd_bit()))
		s->cr4 |= CR4_PAE;
	if (long_mode && rnd_bit())
		s->cr4 |= CR4_PCIDE;
	s->efer = rnd() & (EFER_SCE | EFER_NXE);
	if (long_mode)
		s->efer |= EFER_LME | EFER_LMA;
	else if (!paging)
		s->efer |= rnd() & EFER_LME;
	if (mode == RND_PAE)
		for (unsigned i = 0; i < 4; i++)
			s->pdpte[i] =
			    rnd_bit() ? (rnd() & (BIT(36) - 1) & ~0x1e6ULL) | 1 : rnd() & ~1ULL;
}

static inline void rnd_debug(struct vcpu_state *s)
{
	for (unsigned i = 0; i < 4; i++)
		s->dr[i] = rnd();
	s->dr6 = 0xffff0ff0 | (rnd() & 0xe00f);
	s->dr7 = 0x400 | (rnd() & 0xffff2bff);
}

static inline uint64_t rnd_memory_types(const uint8_t *types, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 8; i++)
		v = v << 8 | types[rnd_below(n)];
	return v;
}

static inline void rnd_msrs(struct vcpu_state *s)
{
	static const uint8_t types[] = {0, 1, 4, 5, 6, 7};

	s->star = rnd();
	s->lstar = rnd_canonical();
	s->cstar = rnd_canonical();
	s->sfmask = (uint32_t)rnd();
	s->kernel_gs_base = rnd_canonical();
	s->sysenter_cs = rnd();
	s->sysenter_esp = rnd_canonical();
	s->sysenter_eip = rnd_canonical();
	s->pat = rnd_memory_types(types, 6);
	s->tsc_aux = (uint32_t)rnd();
	s->tsc_adjust = rnd();
	s->tsc_offset = rnd();
	s->mtrr_def_type = (rnd() & 0xc00) | types[rnd_below(5)];
	for (unsigned i = 0; i < ARRAY_LEN(s->mtrr_fixed); i++)
		s->mtrr_fixed[i] = rnd_memory_types(types, 5);
	for (unsigned i = 0; i < MTRR_VARIABLE; i++) {
		s->mtrr_base[i] = (rnd() & 0xffffff000) | types[rnd_below(5)];
		s->mtrr_mask[i] = rnd() & 0xffffff800;
	}
	s->kvm_wall_clock = rnd();
	s->kvm_system_time = rnd();
}

static inline void rnd_event(struct vcpu_state *s, struct event *ev, bool injected)
{
	static const uint8_t vectors[] = {0, 1, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 19};
	bool open = !s->sti_shadow && !s->movss_shadow;

	*ev = (struct event){EVENT_NONE};
	switch (rnd_below(8)) {
	case 0:
		ev->type = EVENT_EXCEPTION;
		ev->vector = vectors[rnd_below(sizeof(vectors))];
		ev->has_error = (s->cr0 & CR0_PE) && (0x27d00 >> ev->vector & 1);
		ev->error_code = ev->has_error ? rnd() & 0xffff : 0;
		break;
	case 1:
		if (injected && open && (s->rflags & RFLAGS_IF))
			*ev = (struct event){.type = EVENT_INTR, .vector = (uint8_t)rnd()};
		break;
	case 2:
		if (injected && open) {
			*ev = (struct event){.type = EVENT_NMI, .vector = VEC_NMI};
			s->nmi_blocked = 1;
		}
		break;
	default:
		break;
	}
}

static inline void rnd_events(struct vcpu_state *s, unsigned limits)
{
	bool interrupts = s->rflags & RFLAGS_IF;

	s->nmi_blocked = rnd_bit();
	if (rnd_below(4) == 0) {
		s->sti_shadow = interrupts && (rnd_bit() || (limits & RND_NO_MOVSS_WITH_IF));
		s->movss_shadow = !s->sti_shadow;
	}
	if (!(limits & RND_NO_PENDING_DBG) && rnd_below(4) == 0)
		s->pending_dbg = (rnd() & 0xf) | (s->rflags & RFLAGS_TF ? BIT(14) : 0);
	if ((s->rflags & RFLAGS_TF) && (s->sti_shadow || s->movss_shadow))
		s->pending_dbg |= BIT(14);
	rnd_event(s, &s->injected, true);
	if (s->injected.type == EVENT_NONE)
		rnd_event(s, &s->pending, false);
	s->activity = (uint8_t)rnd_below(4);
}

static inline void rnd_xstate(struct vcpu_state *s)
{
	static const uint8_t xcr0[] = {1, 3, 7};

	s->xcr0 = xcr0[rnd_below(3)];
	s->xstate_size = 832;
	for (unsigned i = 0; i < s->xstate_size; i++)
		s->xstate[i] = (uint8_t)rnd();
	s->xstate[26] = s->xstate[27] = 0; /* MXCSR has 16 bits */
	memset(s->xstate + 512, 0, 64);
	s->xstate[512] = (uint8_t)rnd_below(8);
}

/* A valid, canonical state. The local APIC stays as it was. */
static inline enum rnd_mode rnd_vcpu(struct vcpu_state *s, unsigned limits)
{
	enum rnd_mode mode = (enum rnd_mode)rnd_below(RND_MODES);
	struct vlapic_state apic = s->apic;

	memset(s, 0, sizeof(*s));
	s->apic = apic;
	s->misc_enable = 1;
	for (unsigned i = 0; i < GPR_COUNT; i++)
		s->gpr[i] = rnd();
	s->rip = mode == RND_LONG ? rnd_canonical() : (uint32_t)rnd();
	s->rflags = RFLAGS_FIXED | (rnd() & 0x3d7fd5);
	if (mode == RND_V86)
		s->rflags |= RFLAGS_VM;
	if (mode == RND_V86)
		s->cpl = 3;
	else if (mode > RND_V86 && mode != RND_LONG_JUMP)
		s->cpl = (uint8_t)rnd_below(4);
	if (mode == RND_V86) {
		rnd_v86_segs(s);
	} else {
		rnd_code_seg(s, mode);
		rnd_data_segs(s);
	}
	rnd_system_segs(s, mode >= RND_LONG_JUMP);
	rnd_controls(s, mode);
	rnd_debug(s);
	rnd_msrs(s);
	rnd_events(s, limits);
	rnd_xstate(s);
	return mode;
}

#endif
