/* SPDX-License-Identifier: BSD-2-Clause */
/* The last words: panic() itself is declared in hv/lib/log.h. */
#ifndef AMBER_X86_PANIC_H
#define AMBER_X86_PANIC_H

#include "hv/arch/x86/traps.h"
#include "hv/lib/types.h"

/* True once a panic has begun: locks may be held by stopped CPUs, output must poll. */
bool panic_in_progress(void);
/* True in a CPU that smp_stop_others() means: NMI handlers halt then. */
bool panic_stop_requested(void);
/* True if an address lies in the unmapped page below a stack. */
bool panic_is_guard_page(uint64_t addr);
/*
 * The start cannot go on for a reason that is no fault of the program: prints
 * the sentence, no backtrace, and halts all CPUs.
 */
NORETURN void panic_refuse(const char *sentence);
/* A panic about an exception: message, registers, backtrace of the frame's code. */
NORETURN void panic_trap(const struct trap_frame *f, const char *what);

/* The function that contains a code address and the offset in it; NULL if unknown (backtrace.c). */
const char *ksym_lookup(uint64_t addr, uint64_t *offset);
/* Prints the return addresses found by following frame pointers from rbp, through print. */
void backtrace(uint64_t rip, uint64_t rbp, void (*print)(const char *text));

#endif
