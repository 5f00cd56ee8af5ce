/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC of the host, in xAPIC or x2APIC mode, and its timer. */
#ifndef AMBER_X86_LAPIC_H
#define AMBER_X86_LAPIC_H

#include "hv/lib/types.h"

/* Registers by xAPIC offset (SDM volume 3, table 11-1). */
enum lapic_reg {
	LAPIC_ID = 0x020,
	LAPIC_VERSION = 0x030,
	LAPIC_TPR = 0x080,
	LAPIC_EOI = 0x0b0,
	LAPIC_LDR = 0x0d0,
	LAPIC_DFR = 0x0e0,
	LAPIC_SVR = 0x0f0,
	LAPIC_ISR = 0x100,
	LAPIC_IRR = 0x200,
	LAPIC_ESR = 0x280,
	LAPIC_LVT_CMCI = 0x2f0,
	LAPIC_ICR = 0x300,
	LAPIC_ICR_HIGH = 0x310,
	LAPIC_LVT_TIMER = 0x320,
	LAPIC_LVT_THERMAL = 0x330,
	LAPIC_LVT_PERF = 0x340,
	LAPIC_LVT_LINT0 = 0x350,
	LAPIC_LVT_LINT1 = 0x360,
	LAPIC_LVT_ERROR = 0x370,
	LAPIC_TIMER_INITIAL = 0x380,
	LAPIC_TIMER_CURRENT = 0x390,
	LAPIC_TIMER_DIVIDE = 0x3e0,
};

/* Chooses the mode and maps the registers: once, on the boot CPU, after mm_init(). */
void lapic_init(void);
/* Enables the local APIC of this CPU. */
void lapic_init_cpu(void);
uint32_t lapic_id(void);
void lapic_eoi(void);
uint32_t lapic_read(enum lapic_reg reg);
/* ICR delivery: command bits 0..19 as in the manual, destination an APIC ID. Waits until sent. */
void lapic_send(uint32_t apic_id, uint32_t command);
/* The same to all CPUs but this one. */
void lapic_send_others(uint32_t command);

/* A fixed interrupt to this CPU, legal inside an NMI handler. */
void lapic_send_self_from_nmi(uint8_t vector);

/* Measures the timer's rate against the TSC. Once, after tsc_init(). */
void lapic_timer_calibrate(void);
/* fn runs in interrupt context when the time is up. */
void lapic_timer_handler(void (*fn)(void));
/* One shot on this CPU at host time deadline (ns, time_now()'s clock); early by nothing, late by
 * little. */
void lapic_timer_arm(uint64_t deadline);
void lapic_timer_stop(void);

#endif
