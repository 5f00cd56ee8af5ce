/* SPDX-License-Identifier: BSD-2-Clause */
/* State between the VMCB and vcpu->state, group by group (I1). */
#include <string.h>
#include "hv/arch/x86/svm/svm_impl.h"

/* In the order of enum seg_reg. */
static struct vmcb_seg *vmcb_seg(struct vmcb *c, enum seg_reg i)
{
	struct vmcb_seg *const at[SEG_COUNT] = {
	    &c->es, &c->cs, &c->ss, &c->ds, &c->fs, &c->gs, &c->ldtr, &c->tr};

	return at[i];
}

static void fetch_segs(struct vcpu_state *s, struct vmcb *c)
{
	for (enum seg_reg i = 0; i < SEG_COUNT; i++) {
		const struct vmcb_seg *h = vmcb_seg(c, i);

		s->seg[i] = (struct seg){h->base, h->limit, h->sel, h->attr & SEG_ATTR_MASK};
	}
	/* A loaded task register is busy; emulated SVM keeps the type that LTR found. */
	s->seg[SEG_TR].attr |= 2;
	s->gdtr = (struct desc_table){c->gdtr.base, (uint16_t)c->gdtr.limit};
	s->idtr = (struct desc_table){c->idtr.base, (uint16_t)c->idtr.limit};
	s->cpl = c->cpl;
	/* Hardware keeps CPL apart and need not keep SS.DPL (APM volume 2, 15.5.1); they are one
	 * here. */
	s->seg[SEG_SS].attr =
	    (uint16_t)((s->seg[SEG_SS].attr & ~SEG_ATTR_DPL) | s->cpl << SEG_ATTR_DPL_SHIFT);
}

static void commit_segs(const struct vcpu_state *s, struct vmcb *c)
{
	for (enum seg_reg i = 0; i < SEG_COUNT; i++) {
		const struct seg *g = &s->seg[i];

		*vmcb_seg(c, i) = (struct vmcb_seg){g->sel, g->attr, g->limit, g->base};
	}
	c->gdtr = (struct vmcb_seg){0, 0, s->gdtr.limit, s->gdtr.base};
	c->idtr = (struct vmcb_seg){0, 0, s->idtr.limit, s->idtr.base};
	c->cpl = s->cpl;
}

static void commit_crs(const struct vcpu_state *s, struct vmcb *c)
{
	/* CD and NW stay in the state only: they would make all guest memory uncached. */
	c->cr0 = s->cr0 & ~((uint64_t)CR0_CD | CR0_NW);
	c->cr2 = s->cr2;
	c->cr3 = s->cr3;
	c->cr4 = s->cr4;
	c->efer = s->efer | EFER_SVME;
}

/* CD and NW are not the VMCB's to tell: writes of CR0 are intercepted. */
static void fetch_crs(struct vcpu_state *s, const struct vmcb *c)
{
	const uint64_t shadowed = (uint64_t)CR0_CD | CR0_NW;

	s->cr0 = (s->cr0 & shadowed) | (c->cr0 & ~shadowed);
	s->cr2 = c->cr2;
	s->cr3 = c->cr3;
	s->cr4 = c->cr4;
	s->efer = c->efer & ~(uint64_t)EFER_SVME;
}

static void fetch_msrs(struct vcpu_state *s, const struct vmcb *c)
{
	s->star = c->star;
	s->lstar = c->lstar;
	s->cstar = c->cstar;
	s->sfmask = c->sfmask;
	s->kernel_gs_base = c->kernel_gs_base;
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

void svm_fetch(struct vcpu *v, uint32_t groups)
{
	struct vmcb *c = v->virt->vmcb;

	if (groups & VG_SEGS)
		fetch_segs(&v->state, c);
	if (groups & VG_CRS)
		fetch_crs(&v->state, c);
	if (groups & VG_DRS) {
		v->state.dr6 = c->dr6;
		v->state.dr7 = c->dr7;
	}
	if (groups & VG_MSRS)
		fetch_msrs(&v->state, c);
}

/* Writes what is dirty, and RIP, RFLAGS, RSP, RAX and the shadow always. */
void svm_commit(struct vcpu *v)
{
	struct vcpu_state *s = &v->state;
	struct vmcb *c = v->virt->vmcb;

	c->rax = s->gpr[GPR_RAX];
	c->rsp = s->gpr[GPR_RSP];
	c->rip = s->rip;
	c->rflags = s->rflags;
	c->int_shadow = s->sti_shadow | s->movss_shadow ? SHADOW_INTERRUPT : 0;
	if (LIKELY(!v->dirty))
		return;
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

bool svm_code_address(struct vcpu *v, uint64_t *linear, uint64_t *cr3)
{
	const struct vmcb *c = v->virt->vmcb;

	*linear = c->rip;
	*cr3 = c->cr3;
	return (c->efer & EFER_LMA) && (c->cs.attr & SEG_ATTR_L);
}
