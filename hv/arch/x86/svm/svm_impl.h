/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by the files of the SVM back end. */
#ifndef AMBER_SVM_IMPL_H
#define AMBER_SVM_IMPL_H

#include "hv/arch/x86/svm/vmcb.h"
#include "hv/core/virt_ops.h"
#include "hv/core/vm.h"

/* The back end's part of a vCPU. Only the vCPU's own thread touches it, flush_wanted apart. */
struct virt_vcpu {
	struct vmcb *vmcb;
	hpa_t vmcb_phys;
	uint64_t asid_generation; /* of the CPU in last_cpu; 0: needs a new ASID */
	unsigned last_cpu;
	uint32_t flush_wanted; /* atomic */
	uint32_t clean;	       /* VMCB clean bits for the next entry */
	bool irq_window, nmi_window;
	bool nmi_step;		 /* single-stepping over the IRET that ends an NMI */
	bool nmi_step_iret;	 /* IRET is intercepted to see an NMI handler's end */
	uint64_t nmi_step_flags; /* guest's RFLAGS.TF before */
};

/* What CPUID 8000000A offers (APM volume 3, E.4.9). */
struct svm_features {
	bool next_rip, decode_assist, flush_by_asid, clean_bits;
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

void svm_enter(uint64_t guest_vmcb, uint64_t *gpr, uint64_t host_vmcb);

/* svm_state.c: between the VMCB and vcpu->state. */
void svm_fetch(struct vcpu *v, uint32_t groups);
void svm_commit(struct vcpu *v);
/* svm_event.c */
void svm_inject(struct vcpu *v, const struct event *ev);
void svm_want_irq_window(struct vcpu *v, bool on);
void svm_want_nmi_window(struct vcpu *v, bool on);
void svm_collect_injected(struct vcpu *v);
bool svm_nmi_iret(struct vcpu *v);
bool svm_nmi_stepped(struct vcpu *v);
/* svm_run.c */
void svm_run(struct vcpu *v, struct vm_exit *x);
bool svm_code_address(struct vcpu *v, uint64_t *linear, uint64_t *cr3);
void svm_flush(struct vcpu *v);
void svm_dump(struct vcpu *v);

#endif
