/* SPDX-License-Identifier: BSD-2-Clause */
/* Exceptions of the hypervisor itself: gates, reports, the fix-up table. */
#ifndef AMBER_X86_TRAPS_H
#define AMBER_X86_TRAPS_H

#include "hv/lib/types.h"

/* What entry.asm pushes, lowest address first. */
struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
	uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss; /* pushed by the CPU */
};

/* Fills the IDT; once. Loads it on this CPU. */
void idt_init(void);
void idt_load(void);
/* Once, before interrupts are enabled. */
void traps_init(void);

/*
 * NMIs belong to this policy: a CPU that smp_stop_others() wants halts; anything
 * else is counted and logged. Machine checks are reported and halt the machine.
 */
uint64_t trap_nmi_count(void);
/* For back ends whose guests exit with an NMI: as if it had arrived through the gate. */
void trap_nmi(void);

#endif
