/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by the files of the VMX back end. */
#ifndef AMBER_VMX_IMPL_H
#define AMBER_VMX_IMPL_H

#include "hv/arch/x86/vmx/vmcs.h"
#include "hv/core/virt_ops.h"
#include "hv/core/vm.h"

/* The sets of controls, each with a capability MSR and a VMCS field. */
enum vmx_ctl_set { CTL_PIN, CTL_PROC, CTL_PROC2, CTL_EXIT, CTL_ENTRY, CTL_COUNT };

/* What the capability MSRs (SDM volume 3, appendix A) offer, and what of it is used. */
struct vmx_features {
	uint32_t revision;
	uint32_t ctl[CTL_COUNT]; /* values for the VMCS, less what depends on the guest */
	bool load_pat; /* PAT is switched; else guest memory is write-back whatever it says */
	bool ept_ad, invept_single, invvpid_single;
	uint64_t cr0_fixed0, cr4_fixed0; /* bits that are set in VMX operation */
};
extern struct vmx_features vmx_features;
extern struct npt_format vmx_npt_format; /* finished by the probe */

/* vmx_caps.c: fills vmx_features. OK, or ERR_UNSUPPORTED and what is missing; ERR_NOENT: no VMX at
 * all. */
int vmx_read_features(struct errmsg *e);

/* One per CPU. */
struct vmx_cpu {
	hpa_t vmxon;
};
extern struct vmx_cpu vmx_cpus[];

extern hpa_t vmx_msr_bitmap; /* all intercepted, but the MSRs of the switch lists */

/*
 * The back end's part of a vCPU. Only the vCPU's own thread touches it, and the
 * VMCS is current on its CPU from vcpu_load to vcpu_put.
 */
struct virt_vcpu {
	hpa_t vmcs;
	struct vmx_cpu *cpu; /* where the thread is, or was last */
	uint32_t proc_ctls;  /* as in the VMCS */
	uint32_t shadow;     /* interruptibility as in the VMCS */
	uint64_t tsc_offset;
	uint16_t vpid; /* 0: none */
	bool launched;
	bool initialized; /* the VMCS has its constant fields */
	bool stale;	  /* translations are to be dropped before the next entry */
	bool long_mode;	  /* the "IA-32e mode guest" control as in the VMCS */
};

#ifdef AMBER_HOST /* unit tests: tests/unit/fake/fake_vmx.c has a VMCS */
uint64_t vmread(uint32_t field);
void vmwrite(uint32_t field, uint64_t value);
#else
static inline uint64_t vmread(uint32_t field)
{
	uint64_t value;

	__asm__ volatile("vmread %1, %0" : "=r"(value) : "r"((uint64_t)field) : "cc");
	return value;
}
static inline void vmwrite(uint32_t field, uint64_t value)
{
	__asm__ volatile("vmwrite %1, %0" : : "r"((uint64_t)field), "r"(value) : "cc");
}
#endif

/*
 * CR0 and CR4 bits that the guest changes without an exit: nothing of the
 * hypervisor's depends on them, and the CPU drops its own translations. The
 * others are shadowed: what the guest reads is what it wrote.
 */
#define VMX_CR0_GUEST_OWNED ((uint64_t)(CR0_MP | CR0_EM | CR0_TS | CR0_WP | CR0_AM))
#define VMX_CR4_GUEST_OWNED ((uint64_t)(CR4_TSD | CR4_PGE))

/* vmx_vmcs.c: the constant fields of a fresh, current VMCS; those of the CPU it is on. */
void vmx_init_vmcs(struct vcpu *v);
void vmx_write_host_state(void);
/* vmx_state.c: between the VMCS and vcpu->state. */
void vmx_fetch(struct vcpu *v, uint32_t groups);
void vmx_commit_dirty(struct vcpu *v);
/* vmx_event.c */
void vmx_inject(struct vcpu *v, const struct event *ev);
void vmx_want_irq_window(struct vcpu *v, bool on);
void vmx_want_nmi_window(struct vcpu *v, bool on);
void vmx_want_rdtsc_exits(struct vcpu *v, bool on);
void vmx_collect_injected(struct vcpu *v, uint32_t info);
/* vmx_exit.c: tells the core why the guest stopped. */
void vmx_decode_exit(struct vcpu *v, uint32_t reason, struct vm_exit *x);
/* vmx_run.c */
void vmx_run(struct vcpu *v, struct vm_exit *x);
void vmx_flush(struct vcpu *v);
/* vmx_dump.c */
void vmx_dump(struct vcpu *v);

#endif
