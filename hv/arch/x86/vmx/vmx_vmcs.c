/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fields of a VMCS that never change, and those that describe the CPU that
 * the vCPU's thread is on. SDM volume 3, 24.5 to 24.8.
 */
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/paging.h"
#include "hv/arch/x86/vmx/vmx_impl.h"

extern const char vmx_exit[]; /* vmx_entry.asm */

struct field_value {
	uint32_t field;
	uint64_t value;
};

/*
 * Exceptions that exit. #DB and #AC always: a guest could otherwise loop in
 * microcode (CVE-2015-5307, CVE-2015-8104). #UD for the other vendor's instructions,
 * #GP where SYSENTER must be one of them (docs/cpu-state.md). #MC is the host's.
 */
static uint64_t exiting_exceptions(const struct vcpu *v)
{
	return BIT(VEC_UD) | BIT(VEC_DB) | BIT(VEC_AC) | BIT(VEC_MC) |
	       (v->vm->cpu_model->msr_sets & MSR_SET_AMD ? BIT(VEC_GP) : 0);
}

static const struct field_value constants[] = {
    {VMCS_PF_ERROR_MASK, 0},
    {VMCS_PF_ERROR_MATCH, 0},
    {VMCS_CR3_TARGET_COUNT, 0},
    {VMCS_EXIT_MSR_STORE_COUNT, 0},
    {VMCS_EXIT_MSR_LOAD_COUNT, 0},
    {VMCS_ENTRY_MSR_LOAD_COUNT, 0},
    {VMCS_ENTRY_INTR_INFO, 0},
    {VMCS_LINK_POINTER, UINT64_MAX},
    {VMCS_GUEST_DEBUGCTL, 0},
    {VMCS_GUEST_INTERRUPTIBILITY, 0},
    {VMCS_GUEST_ACTIVITY, 0}, /* HLT and the wait for SIPI are the core's */
    {VMCS_GUEST_PENDING_DBG, 0},
    {VMCS_TSC_OFFSET, 0},
    {VMCS_CR0_MASK, ~VMX_CR0_GUEST_OWNED},
    {VMCS_CR4_MASK, ~VMX_CR4_GUEST_OWNED},
    /* the host's selectors are those of every CPU (cpu.h) */
    {VMCS_HOST_ES_SEL, SEL_NULL},
    {VMCS_HOST_CS_SEL, SEL_CODE},
    {VMCS_HOST_SS_SEL, SEL_DATA},
    {VMCS_HOST_DS_SEL, SEL_NULL},
    {VMCS_HOST_FS_SEL, SEL_NULL},
    {VMCS_HOST_GS_SEL, SEL_NULL},
    {VMCS_HOST_TR_SEL, SEL_TSS},
    {VMCS_HOST_SYSENTER_CS, 0},
    {VMCS_HOST_SYSENTER_ESP, 0},
    {VMCS_HOST_SYSENTER_EIP, 0},
    {VMCS_HOST_RIP, (uint64_t)vmx_exit},
};

/* Secondary controls that the guest's CPU model or the vCPU decides on. */
static uint32_t secondary_controls(const struct vcpu *v)
{
	uint32_t ctls = vmx_features.ctl[CTL_PROC2];

	if (!v->has_rdtscp)
		ctls &= ~(uint32_t)PROC2_RDTSCP;
	if (!cpu_model_has(v->vm->cpu_model, 7, 0, 1, 10)) /* EBX bit 10: INVPCID */
		ctls &= ~(uint32_t)PROC2_INVPCID;
	if (!v->virt->vpid)
		ctls &= ~(uint32_t)PROC2_VPID;
	return ctls;
}

void vmx_init_vmcs(struct vcpu *v)
{
	struct virt_vcpu *p = v->virt;
	uint32_t ctls2 = secondary_controls(v);

	for (size_t i = 0; i < ARRAY_LEN(constants); i++)
		vmwrite(constants[i].field, constants[i].value);
	p->proc_ctls = vmx_features.ctl[CTL_PROC] &
		       ~(uint32_t)(PROC_IRQ_WINDOW | PROC_NMI_WINDOW | PROC_RDTSC);
	vmwrite(VMCS_EXCEPTION_BITMAP, exiting_exceptions(v));
	vmwrite(VMCS_PIN_CTLS, vmx_features.ctl[CTL_PIN]);
	vmwrite(VMCS_PROC_CTLS, p->proc_ctls);
	vmwrite(VMCS_PROC_CTLS2, ctls2);
	vmwrite(VMCS_EXIT_CTLS, vmx_features.ctl[CTL_EXIT]);
	vmwrite(VMCS_ENTRY_CTLS, vmx_features.ctl[CTL_ENTRY] & ~(uint32_t)ENTRY_CTL_IA32E);
	vmwrite(VMCS_MSR_BITMAP, vmx_msr_bitmap.a);
	vmwrite(VMCS_EPTP,
	    v->vm->npt.root.a | EPTP_WB | EPTP_WALK_4 | (vmx_features.ept_ad ? EPTP_AD : 0));
	if (ctls2 & PROC2_TSC_SCALING)
		vmwrite(VMCS_TSC_MULTIPLIER, BIT(TSC_MULTIPLIER_SHIFT));
	if (ctls2 & PROC2_VPID)
		vmwrite(VMCS_VPID, p->vpid);
	if (vmx_features.load_pat)
		vmwrite(VMCS_HOST_PAT, rdmsr(MSR_PAT));
	vmwrite(VMCS_HOST_EFER, rdmsr(MSR_EFER));
}

static uint64_t idt_base(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} PACKED idtr;

	__asm__ volatile("sidt %0" : "=m"(idtr));
	return idtr.base;
}

void vmx_write_host_state(void)
{
	struct cpu *c = this_cpu();

	vmwrite(VMCS_HOST_CR0, read_cr0());
	vmwrite(VMCS_HOST_CR3, paging_cr3());
	vmwrite(VMCS_HOST_CR4, read_cr4());
	vmwrite(VMCS_HOST_FS_BASE, (uint64_t)c->fs_block);
	vmwrite(VMCS_HOST_GS_BASE, (uint64_t)c);
	vmwrite(VMCS_HOST_TR_BASE, (uint64_t)&c->tss);
	vmwrite(VMCS_HOST_GDTR_BASE, (uint64_t)c->gdt);
	vmwrite(VMCS_HOST_IDTR_BASE, idt_base());
}
