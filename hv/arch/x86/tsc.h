/* SPDX-License-Identifier: BSD-2-Clause */
/* The time-stamp counter as the host's clock. time_now() itself is declared in hv/core/thread.h. */
#ifndef AMBER_X86_TSC_H
#define AMBER_X86_TSC_H

#include "hv/arch/x86/cpu.h"
#include "hv/lib/types.h"

/*
 * Measures the TSC against the ACPI PM timer or the 8254 and starts the clock;
 * hint_hz (0: none) is used only if neither of them counts. Once, after acpi_init().
 */
void tsc_init(uint64_t hint_hz);
/* Hertz; after tsc_init(). */
uint64_t tsc_hz(void);

/* The TSC, corrected so that all CPUs agree. Any context. */
static inline uint64_t tsc_now(void)
{
	return rdtsc() + (uint64_t)this_cpu()->tsc_offset;
}

/* Conversions, exact to the clock's multiplier; ns since start <-> tsc_now(). Any context. */
uint64_t tsc_to_ns(uint64_t tsc);
uint64_t ns_to_tsc(uint64_t ns);
/* Busy-waits; also before the clock runs (then a coarse guess from the I/O port 0x80's speed). */
void delay_ns(uint64_t ns);

/* Agrees on one TSC between the boot CPU and a starting one; both call, with interrupts off. */
void tsc_sync_boot_cpu(void);
void tsc_sync_new_cpu(void);

#endif
