/* SPDX-License-Identifier: BSD-2-Clause */
/* State between the VMCB and vcpu->state, group by group (I1). */
#include <string.h>
#include "hv/arch/x86/svm/svm_impl.h"

/*
 * As VMX wants and gives it. Of a segment that is not present nothing else counts. The
 * accessed bit of one that was loaded is 1; hardware need not keep it, nor G, which
 * follows from the limit (APM volume 2, 15.5.1).
 */
static uint16_t canonical_attr(const struct vmcb_seg *h)
{
	if (!(h->attr & SEG_ATTR_P))
		return 0;
	return (uint16_t)((h->attr & SEG_ATTR_MASK & ~SEG_ATTR_G) | (h->attr & SEG_ATTR_S ? 1 : 0) |
			  (h->limit > 0xfffff ? SEG_ATTR_G : 0));
}

/*
 * A CPU refuses other addresses with #GP; QEMU's emulated SVM (7.2) takes them in WRMSR, LGDT and
 * LIDT. A machine that has one could never be restored.
 */
static uint64_t canonical(uint64_t a)
{
	return (uint64_t)((int64_t)(a << 16) >> 16);
}

static inline void fetch_seg(struct seg *g, const struct vmcb_seg *h)
{
	*g = (struct seg){h->base, h->limit, h->sel, canonical_attr(h)};
}

static inline void commit_seg(const struct seg *g, struct vmcb_seg *h)
{
	*h = (struct vmcb_seg){g->sel, g->attr, g->limit, g->base};
}

static void fetch_code(struct vcpu_state *s, const struct vmcb *c)
{
	fetch_seg(&s->seg[SEG_CS], &c->cs);
	fetch_seg(&s->seg[SEG_FS], &c->fs);
	fetch_seg(&s->seg[SEG_GS], &c->gs);
	s->seg[SEG_FS].base = canonical(s->seg[SEG_FS].base);
	s->seg[SEG_GS].base = canonical(s->seg[SEG_GS].base);
	s->cpl = c->cpl;
}

static void fetch_data(struct vcpu_state *s, const struct vmcb *c)
{
	fetch_seg(&s->seg[SEG_ES], &c->es);
	fetch_seg(&s->seg[SEG_SS], &c->ss);
	fetch_seg(&s->seg[SEG_DS], &c->ds);
	fetch_seg(&s->seg[SEG_LDTR], &c->ldtr);
	fetch_seg(&s->seg[SEG_TR], &c->tr);
	/* A loaded task register is busy; emulated SVM keeps the type that LTR found. */
	s->seg[SEG_TR].attr |= 2;
	s->gdtr = (struct desc_table){canonical(c->gdtr.base), (uint16_t)c->gdtr.limit};
	s->idtr = (struct desc_table){canonical(c->idtr.base), (uint16_t)c->idtr.limit};
	/* Hardware keeps CPL apart and need not keep SS.DPL (APM volume 2, 15.5.1); they are one
	 * here. */
	s->seg[SEG_SS].attr =
	    (uint16_t)((s->seg[SEG_SS].attr & ~SEG_ATTR_DPL) | c->cpl << SEG_ATTR_DPL_SHIFT);
}

static void commit_segs(const struct vcpu_state *s, struct vmcb *c)
{
	commit_seg(&s->seg[SEG_ES], &c->es);
	commit_seg(&s->seg[SEG_CS], &c->cs);
	commit_seg(&s->seg[SEG_SS], &c->ss);
	commit_seg(&s->seg[SEG_DS], &c->ds);
	commit_seg(&s->seg[SEG_FS], &c->fs);
	commit_seg(&s->seg[SEG_GS], &c->gs);
	commit_seg(&s->seg[SEG_LDTR], &c->ldtr);
	commit_seg(&s->seg[SEG_TR], &c->tr);
	c->gdtr = (struct vmcb_seg){0, 0, s->gdtr.limit, s->gdtr.base};
	c->idtr = (struct vmcb_seg){0, 0, s->idtr.limit, s->idtr.base};
	c->cpl = s->cpl;
}

#define SHADOWED_CR0 ((uint64_t)CR0_CD | CR0_NW)

static void commit_crs(const struct vcpu_state *s, struct vmcb *c)
{
	/* CD and NW stay in the state only: they would make all guest memory uncached (15.25.8).
	 * While one is set, reads exit to find it there. */
	c->cr0 = s->cr0 & ~SHADOWED_CR0;
	c->icpt_cr_read &= (uint16_t)~BIT(0);
	if (s->cr0 & SHADOWED_CR0)
		c->icpt_cr_read |= BIT(0);
	c->cr2 = s->cr2;
	svm_load_cr2(c);
	c->cr3 = s->cr3;
	c->cr4 = s->cr4;
	c->efer = s->efer | EFER_SVME;
	/*
	 * LME alone does nothing until paging is turned on, which exits. QEMU's emulated SVM (7.2)
	 * loads the host's CR0 before its CR4 and EFER: with LME and without PAE it would take CR0
	 * for a wrong one, keep the guest's, and leave the host without paging.
	 */
	if (!(s->efer & EFER_LMA))
		c->efer &= ~(uint64_t)EFER_LME;
}

/* CD, NW and LME are not the VMCB's to tell: writes of CR0 and EFER are intercepted. */
static void fetch_crs(struct vcpu_state *s, const struct vmcb *c)
{
	s->cr0 = (s->cr0 & SHADOWED_CR0) | (c->cr0 & ~SHADOWED_CR0);
	s->cr2 = c->cr2;
	s->cr3 = c->cr3;
	s->cr4 = c->cr4;
	s->efer = (s->efer & EFER_LME) | (c->efer & ~(uint64_t)(EFER_SVME | EFER_LME));
}

static void fetch_msrs(struct vcpu_state *s, const struct vmcb *c)
{
	s->star = c->star;
	s->lstar = canonical(c->lstar);
	s->cstar = canonical(c->cstar);
	s->sfmask = (uint32_t)c->sfmask; /* the upper half is nothing; Intel's WRMSR refuses it */
	s->kernel_gs_base = canonical(c->kernel_gs_base);
	s->sysenter_cs = c->sysenter_cs;
	s->sysenter_esp = c->sysenter_esp;
	s->sysenter_eip = c->sysenter_eip;
}

static void commit_msrs(const struct vcpu_state *s, struct vmcb *c)
{
	c->star = s->star;
	c->lstar = s->lstar;
	c->cstar = s->cstar;
	c->sfmask = s->sfmask;
	c->kernel_gs_base = s->kernel_gs_base;
	c->sysenter_cs = s->sysenter_cs;
	c->sysenter_esp = s->sysenter_esp;
	c->sysenter_eip = s->sysenter_eip;
	c->g_pat = s->pat;
	c->debugctl = 0; /* LBR virtualization is off: the host's would be used */
}

/*
 * What was pending has gone in or is lost: the VMCB has no room for it. A single step
 * that the shadow holds back is VMX's to have pending (SDM volume 3, 26.3.1.5).
 */
static void fetch_drs(struct vcpu_state *s, const struct vmcb *c)
{
	bool held_back = (s->rflags & RFLAGS_TF) && (s->sti_shadow | s->movss_shadow);

	s->dr6 = c->dr6;
	s->dr7 = c->dr7;
	s->pending_dbg = held_back ? DR6_BS : 0;
}

void svm_fetch(struct vcpu *v, uint32_t groups)
{
	const struct vmcb *c = v->virt->vmcb;

	if (groups & VG_CODE)
		fetch_code(&v->state, c);
	if (groups & VG_DATA)
		fetch_data(&v->state, c);
	if (groups & VG_CRS)
		fetch_crs(&v->state, c);
	if (groups & VG_DRS)
		fetch_drs(&v->state, c);
	if (groups & VG_MSRS)
		fetch_msrs(&v->state, c);
}

void svm_commit_dirty(struct vcpu *v, struct vmcb *c)
{
	const struct vcpu_state *s = &v->state;

	if (v->dirty & VG_SEGS) {
		commit_segs(s, c);
		v->virt->clean &= ~(uint32_t)(CLEAN_SEG | CLEAN_DT);
	}
	if (v->dirty & VG_CRS) {
		commit_crs(s, c);
		v->virt->clean &= ~(uint32_t)(CLEAN_CRX | CLEAN_CR2);
	}
	if (v->dirty & VG_DRS) {
		c->dr6 = s->dr6;
		c->dr7 = s->dr7;
		v->virt->clean &= ~(uint32_t)CLEAN_DRX;
	}
	if (v->dirty & VG_MSRS) {
		commit_msrs(s, c);
		v->virt->clean &= ~(uint32_t)CLEAN_NP; /* G_PAT */
	}
	v->dirty = 0;
}
