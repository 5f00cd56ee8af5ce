/* SPDX-License-Identifier: BSD-2-Clause */
/* The first frame on a new stack. */
#include "hv/arch/x86/context.h"

/* What context_switch() pops. */
struct saved_context {
	uint64_t r15, r14, r13, r12, rbx, rbp;
	uint64_t rip;
	uint64_t end; /* where start() would return to: nowhere, ends backtraces */
};

void *context_prepare(void *stack_top, void (*start)(void))
{
	/* start() finds RSP as after a call: 8 below a multiple of 16. */
	struct saved_context *c = (struct saved_context *)((uint8_t *)stack_top - sizeof(*c) - 8);

	*c = (struct saved_context){.rip = (uint64_t)start};
	return c;
}
