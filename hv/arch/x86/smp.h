/* SPDX-License-Identifier: BSD-2-Clause */
/* Starting the other CPUs, and having them do things. */
#ifndef AMBER_X86_SMP_H
#define AMBER_X86_SMP_H

#include "hv/lib/types.h"

/*
 * Starts all CPUs that the MADT names (without one: whoever answers). Each calls
 * prepare(), counts as online from then on, and calls loop(), which never
 * returns; both with interrupts off, on its own stack. A CPU that does not come
 * up is reported and left out. Once, on the boot CPU.
 */
void smp_start(void (*prepare)(void), void (*loop)(void));

/*
 * Runs fn(arg) on a CPU in interrupt context and waits until it has returned.
 * Interrupts must be on (two CPUs may call each other), no spinlock held. On
 * this CPU itself: called directly with interrupts off.
 */
void smp_call(unsigned cpu, void (*fn)(void *arg), void *arg);
/* The same on every online CPU, this one included, one after another. */
void smp_call_all(void (*fn)(void *arg), void *arg);

/* Stops every other CPU for good (NMI): panics, reset. Any context. */
void smp_stop_others(void);

#endif
