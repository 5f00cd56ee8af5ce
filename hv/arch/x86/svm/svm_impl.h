/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by the files of the SVM back end. */
#ifndef AMBER_SVM_IMPL_H
#define AMBER_SVM_IMPL_H

#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/svm/vmcb.h"
#include "hv/core/virt_ops.h"
#include "hv/core/vm.h"

/* The back end's part of a vCPU. Only the vCPU's own thread touches it. */
struct virt_vcpu {
	struct vmcb *vmcb;
	hpa_t vmcb_phys;
	struct svm_cpu *cpu;	  /* where the thread is, or was last */
	uint64_t asid_generation; /* of that CPU; 0: needs a new ASID */
	uint32_t clean;		  /* VMCB clean bits for the next entry */
	bool irq_window, nmi_window;
	bool virq;		 /* an interrupt is in the VMCB as a virtual one */
	uint64_t virq_rip;	 /* where the guest was when it was given */
	bool nmi_step;		 /* single-stepping over the IRET that ends an NMI */
	bool nmi_step_iret;	 /* IRET is intercepted to see an NMI handler's end */
	uint64_t nmi_step_flags; /* guest's RFLAGS.TF before */
};

/* What CPUID 8000000A offers (APM volume 3, E.4.9). */
struct svm_features {
	bool next_rip, decode_assist, flush_by_asid;
	bool qemu;	     /* see svm_qemu.h */
	uint32_t clean_mask; /* what may be announced as clean */
	uint32_t asids;
};
extern struct svm_features svm_features;

/* One per CPU. */
struct svm_cpu {
	hpa_t host_save; /* VM_HSAVE_PA */
	hpa_t host_vmcb; /* FS, GS, TR and the like, for VMLOAD after an exit */
	uint64_t asid_generation;
	uint32_t asid_next;
};
extern struct svm_cpu svm_cpus[];

extern hpa_t svm_iopm, svm_msrpm; /* all intercepted, but the MSRs of the switch list */

#define DR6_BS BIT(14) /* single step (APM volume 2, 13.1.1.3) */

/* VMRUN loads CR2, but not on Bochs (3.0): there the guest has the CPU's, which is the last
 * guest's. Whenever that changes or the VMCB's does. */
static inline void svm_load_cr2(const struct vmcb *c)
{
	write_cr2(c->cr2);
}

/* svm_state.c: between the VMCB and vcpu->state. */
void svm_fetch(struct vcpu *v, uint32_t groups);
void svm_commit_dirty(struct vcpu *v, struct vmcb *c);
/* Writes what is dirty, and RIP, RFLAGS, RSP, RAX and the shadow always. */
static inline void svm_commit(struct vcpu *v, struct vmcb *c)
{
	const struct vcpu_state *s = &v->state;

	c->rax = s->gpr[GPR_RAX];
	c->rsp = s->gpr[GPR_RSP];
	c->rip = s->rip;
	c->rflags = s->rflags;
	c->int_shadow = s->sti_shadow | s->movss_shadow; /* 0 or 1 both; SHADOW_INTERRUPT */
	if (UNLIKELY(v->dirty))
		svm_commit_dirty(v, c);
}
/* svm_event.c */
void svm_inject(struct vcpu *v, const struct event *ev);
void svm_want_irq_window(struct vcpu *v, bool on);
void svm_want_nmi_window(struct vcpu *v, bool on);
void svm_collect_injected(struct vcpu *v);
void svm_collect_virq(struct vcpu *v);
void svm_nmi_iret(struct vcpu *v);
void svm_nmi_arm(struct vcpu *v);
bool svm_nmi_stepped(struct vcpu *v);
/* svm_run.c */
void svm_run(struct vcpu *v, struct vm_exit *x);
void svm_flush(struct vcpu *v);
void svm_dump(struct vcpu *v);

#endif
