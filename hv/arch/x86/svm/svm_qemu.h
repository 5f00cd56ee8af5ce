/* SPDX-License-Identifier: BSD-2-Clause */
/* What QEMU's emulated SVM (7.2) does otherwise than the manual says, and no CPU does. */
#ifndef AMBER_SVM_QEMU_H
#define AMBER_SVM_QEMU_H

#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/svm/svm_impl.h"

/*
 * It sets V_IRQ at VMRUN, and takes it back at #VMEXIT, in a word of flags in which another of its
 * threads sets bits meanwhile; neither does it atomically. Now and then a bit gets lost: the other
 * thread's, and with it an interrupt that the local APIC has, until that has cause to look again.
 * A write of TPR is one; it stays 0. After each exit. (The timer is another: lapic.c. If V_IRQ is
 * the bit that is lost: svm_collect_virq().)
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
