/* SPDX-License-Identifier: BSD-2-Clause */
/* What QEMU's emulated SVM (7.2) does otherwise than the manual says, and no CPU does. */
#ifndef AMBER_SVM_QEMU_H
#define AMBER_SVM_QEMU_H

#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/svm/svm_impl.h"

/* This CPU is QEMU's own, not KVM's. */
bool svm_qemu_is_here(void);

/*
 * It takes V_IRQ back at #VMEXIT in a word of flags that its other threads set bits in
 * meanwhile: now and then a bit gets lost, and with it an interrupt that the local APIC has,
 * until that APIC has cause to look again. A write of TPR is one; it stays 0. After each exit.
 */
static inline void svm_qemu_remember_irqs(void)
{
	if (svm_features.qemu)
		write_cr8(0);
}

/*
 * The back end's mend(). SYSENTER from compatibility mode, #UD on AMD's CPUs, leaves a code
 * segment that is of 64 and of 32 bits, which VMRUN refuses: it gets 64. A MOV to CR3 with
 * reserved bits in long mode ends with VMEXIT_INVALID: it gets #GP.
 */
bool svm_qemu_mend(struct vcpu *v, bool refused);

#endif
