/* SPDX-License-Identifier: BSD-2-Clause */
/* Switching stacks between threads (context.asm). */
#ifndef AMBER_X86_CONTEXT_H
#define AMBER_X86_CONTEXT_H

#include "hv/lib/types.h"

/* Saves callee-saved registers, stores the stack pointer in *save, continues from load. Interrupts
 * off. */
void context_switch(void **save, void *load);
/* Prepares a new stack so that context_switch() to the result calls start(); which never returns.
 */
void *context_prepare(void *stack_top, void (*start)(void));

#endif
