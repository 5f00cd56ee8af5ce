/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * State between the VMCS (and, for what no VMCS holds, the CPU itself) and
 * vcpu->state, group by group (I1).
 */
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/vmx/vmx_impl.h"

/* --- segments ------------------------------------------------------------------- */

/*
 * Unusable becomes not present; of its attributes only SS.DPL means something
 * (SDM volume 3, 24.4.1). G follows from the limit, as on a CPU that keeps none.
 */
static uint16_t canonical_attr(unsigned n, uint32_t ar, uint32_t limit)
{
	if (ar & VMCS_AR_UNUSABLE)
		return n == SEG_SS ? ar & SEG_ATTR_DPL : 0;
	return (uint16_t)((ar & VMCS_AR_LOW) |
			  (ar >> VMCS_AR_HIGH_SHIFT & SEG_ATTR_MASK & ~(SEG_ATTR_G | VMCS_AR_LOW)) |
			  (limit > 0xfffff ? SEG_ATTR_G : 0));
}

static uint32_t vmcs_ar(uint16_t attr)
{
	return (attr & VMCS_AR_LOW) | (uint32_t)(attr & ~VMCS_AR_LOW) << VMCS_AR_HIGH_SHIFT |
	       (attr & SEG_ATTR_P ? 0 : VMCS_AR_UNUSABLE);
}

static void fetch_seg(struct vcpu_state *s, unsigned n)
{
	struct seg *g = &s->seg[n];
	uint32_t step = n * VMCS_SEG_STEP;

	g->base = vmread(VMCS_GUEST_ES_BASE + step);
	g->limit = (uint32_t)vmread(VMCS_GUEST_ES_LIMIT + step);
	g->sel = (uint16_t)vmread(VMCS_GUEST_ES_SEL + step);
	g->attr = canonical_attr(n, (uint32_t)vmread(VMCS_GUEST_ES_AR + step), g->limit);
}

static void commit_seg(const struct vcpu_state *s, unsigned n)
{
	const struct seg *g = &s->seg[n];
	uint32_t step = n * VMCS_SEG_STEP;

	vmwrite(VMCS_GUEST_ES_BASE + step, g->base);
	vmwrite(VMCS_GUEST_ES_LIMIT + step, g->limit);
	vmwrite(VMCS_GUEST_ES_SEL + step, g->sel);
	vmwrite(VMCS_GUEST_ES_AR + step, vmcs_ar(g->attr));
}

/* SS.DPL is the CPL (24.4.1). */
static void fetch_code(struct vcpu_state *s)
{
	fetch_seg(s, SEG_CS);
	fetch_seg(s, SEG_FS);
	fetch_seg(s, SEG_GS);
	s->cpl = (vmread(VMCS_GUEST_ES_AR + SEG_SS * VMCS_SEG_STEP) & SEG_ATTR_DPL) >>
		 SEG_ATTR_DPL_SHIFT;
}

static void fetch_data(struct vcpu_state *s)
{
	fetch_seg(s, SEG_ES);
	fetch_seg(s, SEG_SS);
	fetch_seg(s, SEG_DS);
	fetch_seg(s, SEG_LDTR);
	fetch_seg(s, SEG_TR);
	s->gdtr = (struct desc_table){
	    vmread(VMCS_GUEST_GDTR_BASE), (uint16_t)vmread(VMCS_GUEST_GDTR_LIMIT)};
	s->idtr = (struct desc_table){
	    vmread(VMCS_GUEST_IDTR_BASE), (uint16_t)vmread(VMCS_GUEST_IDTR_LIMIT)};
}

static void commit_segs(const struct vcpu_state *s)
{
	for (unsigned n = 0; n < SEG_COUNT; n++)
		commit_seg(s, n);
	vmwrite(VMCS_GUEST_GDTR_BASE, s->gdtr.base);
	vmwrite(VMCS_GUEST_GDTR_LIMIT, s->gdtr.limit);
	vmwrite(VMCS_GUEST_IDTR_BASE, s->idtr.base);
	vmwrite(VMCS_GUEST_IDTR_LIMIT, s->idtr.limit);
}

/* --- control registers -------------------------------------------------------------- */

static bool pae_paging(const struct vcpu_state *s)
{
	return (s->cr0 & CR0_PG) && (s->cr4 & CR4_PAE) && !(s->efer & EFER_LMA);
}

/*
 * What the guest cannot change without an exit is the state's: all of EFER, and
 * CR0 and CR4 but for the bits that the guest owns. CR2 is in the CPU.
 */
static void fetch_crs(struct vcpu_state *s)
{
	s->cr0 = (s->cr0 & ~VMX_CR0_GUEST_OWNED) | (vmread(VMCS_GUEST_CR0) & VMX_CR0_GUEST_OWNED);
	s->cr2 = read_cr2();
	s->cr3 = vmread(VMCS_GUEST_CR3);
	s->cr4 = (s->cr4 & ~VMX_CR4_GUEST_OWNED) | (vmread(VMCS_GUEST_CR4) & VMX_CR4_GUEST_OWNED);
	for (uint32_t i = 0; i < ARRAY_LEN(s->pdpte) && pae_paging(s); i++)
		s->pdpte[i] = vmread(VMCS_GUEST_PDPTE0 + 2 * i);
}

/*
 * SYSENTER and SYSEXIT are undefined in long mode where the guest's CPU is AMD's. A
 * selector of 0 makes them #GP, which exits (exit_gp_sysenter). Accesses of the MSR
 * exit too: the state's value is the truth.
 */
static void commit_sysenter_cs(const struct vcpu *v)
{
	const struct vcpu_state *s = &v->state;
	bool hidden = (v->vm->cpu_model->msr_sets & MSR_SET_AMD) && (s->efer & EFER_LMA);

	vmwrite(VMCS_GUEST_SYSENTER_CS, hidden ? 0 : s->sysenter_cs);
}

/*
 * NE and VMXE have to be set in VMX operation; a machine check is the host's even
 * if the guest wants none; CD and NW stay in the state only, for they would make
 * all guest memory uncached.
 */
static void commit_crs(struct vcpu *v)
{
	const struct vcpu_state *s = &v->state;
	bool long_mode = s->efer & EFER_LMA;

	vmwrite(VMCS_GUEST_CR0, (s->cr0 & ~((uint64_t)CR0_CD | CR0_NW)) | CR0_NE);
	vmwrite(VMCS_CR0_SHADOW, s->cr0);
	write_cr2(s->cr2);
	vmwrite(VMCS_GUEST_CR3, s->cr3);
	vmwrite(VMCS_GUEST_CR4, s->cr4 | vmx_features.cr4_fixed0 | CR4_MCE);
	vmwrite(VMCS_CR4_SHADOW, s->cr4);
	vmwrite(VMCS_GUEST_EFER, s->efer);
	if (long_mode != v->virt->long_mode) {
		v->virt->long_mode = long_mode;
		vmwrite(
		    VMCS_ENTRY_CTLS, (vmx_features.ctl[CTL_ENTRY] & ~(uint32_t)ENTRY_CTL_IA32E) |
					 (long_mode ? ENTRY_CTL_IA32E : 0));
		commit_sysenter_cs(v);
	}
	for (uint32_t i = 0; i < ARRAY_LEN(s->pdpte) && pae_paging(s); i++)
		vmwrite(VMCS_GUEST_PDPTE0 + 2 * i, s->pdpte[i]);
}

/* --- debug registers ------------------------------------------------------------- */

/* All accesses exit: DR0 to DR3 and DR6 are the state's. */
static void fetch_drs(struct vcpu_state *s)
{
	uint64_t pending = vmread(VMCS_GUEST_PENDING_DBG);

	s->dr7 = vmread(VMCS_GUEST_DR7);
	/* breakpoints that were met and are not enabled raise nothing (24.4.2) */
	s->pending_dbg = pending & (PENDING_DBG_BS | (pending & PENDING_DBG_ENABLED ? 0xf : 0));
}

/* Whether BS has to be pending is TF's to say while interrupts are inhibited (26.3.1.5). */
static void commit_drs(const struct vcpu_state *s)
{
	uint64_t pending = s->pending_dbg & 0xf;

	if (pending)
		pending |= PENDING_DBG_ENABLED;
	if ((s->rflags & RFLAGS_TF) &&
	    ((s->pending_dbg & PENDING_DBG_BS) || (s->sti_shadow | s->movss_shadow)))
		pending |= PENDING_DBG_BS;
	vmwrite(VMCS_GUEST_DR7, s->dr7);
	vmwrite(VMCS_GUEST_PENDING_DBG, pending);
}

/* --- MSRs ------------------------------------------------------------------------- */

static const struct {
	uint32_t msr;
	uint32_t offset;
} cpu_msrs[] = {
    {MSR_STAR, offsetof(struct vcpu_state, star)},
    {MSR_LSTAR, offsetof(struct vcpu_state, lstar)},
    {MSR_CSTAR, offsetof(struct vcpu_state, cstar)},
    {MSR_SFMASK, offsetof(struct vcpu_state, sfmask)},
    {MSR_KERNEL_GS_BASE, offsetof(struct vcpu_state, kernel_gs_base)},
};

static uint64_t *msr_home(struct vcpu_state *s, size_t i)
{
	return (uint64_t *)(void *)((char *)s + cpu_msrs[i].offset);
}

static void fetch_msrs(struct vcpu_state *s)
{
	for (size_t i = 0; i < ARRAY_LEN(cpu_msrs); i++)
		*msr_home(s, i) = rdmsr(cpu_msrs[i].msr);
}

static void commit_msrs(struct vcpu *v)
{
	struct vcpu_state *s = &v->state;

	for (size_t i = 0; i < ARRAY_LEN(cpu_msrs); i++)
		wrmsr(cpu_msrs[i].msr, *msr_home(s, i));
	commit_sysenter_cs(v);
	vmwrite(VMCS_GUEST_SYSENTER_ESP, s->sysenter_esp);
	vmwrite(VMCS_GUEST_SYSENTER_EIP, s->sysenter_eip);
	if (vmx_features.load_pat)
		vmwrite(VMCS_GUEST_PAT, s->pat);
}

/* --- both ways ---------------------------------------------------------------------- */

void vmx_fetch(struct vcpu *v, uint32_t groups)
{
	if (groups & VG_CODE)
		fetch_code(&v->state);
	if (groups & VG_DATA)
		fetch_data(&v->state);
	if (groups & VG_CRS)
		fetch_crs(&v->state);
	if (groups & VG_DRS)
		fetch_drs(&v->state);
	if (groups & VG_MSRS)
		fetch_msrs(&v->state);
}

void vmx_commit_dirty(struct vcpu *v)
{
	if (v->dirty & VG_SEGS)
		commit_segs(&v->state);
	if (v->dirty & VG_CRS)
		commit_crs(v);
	if (v->dirty & VG_DRS)
		commit_drs(&v->state);
	if (v->dirty & VG_MSRS)
		commit_msrs(v);
	v->dirty = 0;
}
