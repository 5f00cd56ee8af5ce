/* SPDX-License-Identifier: BSD-2-Clause */
/* Running a guest on VMX: dropping translations, entry, and what every exit leaves. */
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/vmx/vmx_impl.h"

/*
 * Translations are tagged by VPID (linear ones) and by EPT pointer (guest-physical
 * ones, and combined with both); SDM volume 3, 29.4. Whoever calls wants both gone:
 * a mapping of guest memory was changed, the guest's paging mode was, or the vCPU
 * has come from another CPU.
 */
static void drop_translations(const struct vcpu *v)
{
	const struct virt_vcpu *p = v->virt;
	struct {
		uint64_t tag, address;
	} ept = {vmread(VMCS_EPTP), 0}, linear = {p->vpid, 0};
	uint64_t ept_type = vmx_features.invept_single ? INV_SINGLE : INV_ALL;
	uint64_t linear_type = vmx_features.invvpid_single ? INV_SINGLE : INV_ALL;

	__asm__ volatile("invept %0, %1" : : "m"(ept), "r"(ept_type) : "cc", "memory");
	/* without a VPID every entry drops the linear ones */
	if (p->vpid)
		__asm__ volatile("invvpid %0, %1"
				 :
				 : "m"(linear), "r"(linear_type)
				 : "cc", "memory");
}

void vmx_flush(struct vcpu *v)
{
	v->virt->stale = true;
}

/* DR0 to DR3 are not in the VMCS; all accesses exit, so they matter only with a breakpoint enabled.
 */
static inline void load_breakpoints(const struct vcpu *v)
{
	if (LIKELY(!(v->state.dr7 & 0xff)))
		return;
	write_dr0(v->state.dr[0]);
	write_dr1(v->state.dr[1]);
	write_dr2(v->state.dr[2]);
	write_dr3(v->state.dr[3]);
}

static inline uint32_t interruptibility(const struct vcpu_state *s)
{
	return (s->sti_shadow ? BLOCKED_BY_STI : 0) | (s->movss_shadow ? BLOCKED_BY_MOV_SS : 0) |
	       (s->nmi_blocked ? BLOCKED_BY_NMI : 0);
}

/* With TF set and interrupts inhibited, an entry wants the single step pending (26.3.1.5). */
static COLD void pend_single_step(void)
{
	vmwrite(VMCS_GUEST_PENDING_DBG, vmread(VMCS_GUEST_PENDING_DBG) | PENDING_DBG_BS);
}

static inline void before_entry(struct vcpu *v)
{
	struct virt_vcpu *p = v->virt;
	const struct vcpu_state *s = &v->state;
	uint32_t shadow = interruptibility(s);

	vmwrite(VMCS_GUEST_RIP, s->rip);
	vmwrite(VMCS_GUEST_RSP, s->gpr[GPR_RSP]);
	vmwrite(VMCS_GUEST_RFLAGS, s->rflags);
	if (shadow != p->shadow)
		vmwrite(VMCS_GUEST_INTERRUPTIBILITY, shadow);
	if (UNLIKELY(v->dirty))
		vmx_commit_dirty(v);
	if (UNLIKELY(s->rflags & RFLAGS_TF) && (shadow & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)))
		pend_single_step();
	if (UNLIKELY(p->stale)) {
		p->stale = false;
		drop_translations(v);
	}
	load_breakpoints(v);
}

/*
 * vmx_enter() keeps RBP and RSP only. That the vCPU comes back from it spares the
 * compiler from keeping anything else across.
 */
static inline struct vcpu *world_switch(struct vcpu *v, uint64_t *failed)
{
	uint64_t *gpr = v->state.gpr;
	uint64_t launched = v->virt->launched;

	__asm__ volatile(
	    "call vmx_enter"
	    : "=b"(gpr), "=a"(*failed), "+d"(launched)
	    : "S"(gpr)
	    : "rcx", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc", "memory");
	return CONTAINER_OF(gpr, struct vcpu, state.gpr);
}

static inline void after_exit(struct vcpu *v)
{
	struct virt_vcpu *p = v->virt;
	struct vcpu_state *s = &v->state;
	uint32_t shadow = (uint32_t)vmread(VMCS_GUEST_INTERRUPTIBILITY);
	uint32_t vectoring = (uint32_t)vmread(VMCS_IDT_VECTORING_INFO);

	p->launched = true;
	p->shadow = shadow;
	v->valid = VG_GPR;
	s->gpr[GPR_RSP] = vmread(VMCS_GUEST_RSP);
	s->rip = vmread(VMCS_GUEST_RIP);
	s->rflags = vmread(VMCS_GUEST_RFLAGS);
	s->sti_shadow = (shadow & BLOCKED_BY_STI) != 0;
	s->movss_shadow = (shadow & BLOCKED_BY_MOV_SS) != 0;
	s->nmi_blocked = (shadow & BLOCKED_BY_NMI) != 0;
	s->injected.type = EVENT_NONE;
	if (UNLIKELY(vectoring & INTR_VALID))
		vmx_collect_injected(v, vectoring);
}

/* VMLAUNCH or VMRESUME itself failed: nothing of the guest's state was loaded (26.2). */
static COLD void entry_failed(struct vm_exit *x)
{
	x->reason = EXIT_INVALID_STATE;
	x->insn_len = 0;
	x->raw[0] = VMX_EXIT_ENTRY_FAILED | vmread(VMCS_INSN_ERROR) << 32;
	x->raw[1] = x->raw[2] = 0;
}

void vmx_run(struct vcpu *v, struct vm_exit *x)
{
	uint64_t failed;

	before_entry(v);
	v = world_switch(v, &failed);
	if (UNLIKELY(failed)) {
		entry_failed(x);
		return;
	}
	after_exit(v);
	vmx_decode_exit(v, (uint32_t)vmread(VMCS_EXIT_REASON), x);
}
