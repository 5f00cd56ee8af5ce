/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Timers in a VM's own time (I10). VM time is in nanoseconds, starts at 0 when
 * the machine is created, stands still while the VM is paused, and continues
 * across save and restore: deadlines in saved state stay valid as they are.
 */
#ifndef AMBER_CORE_VTIMER_H
#define AMBER_CORE_VTIMER_H

#include "hv/lib/list.h"
#include "hv/lib/types.h"

struct vm;

struct vtimer {
	struct list link; /* in the VM's list of armed timers, by deadline */
	struct vm *vm;
	uint64_t deadline; /* VM time */
	bool armed;
	void (*fn)(void *arg);
	void *arg;
};

/* Now, in VM time. Any context. */
uint64_t vm_time(const struct vm *vm);

/*
 * fn runs once, in interrupt context (spinlocks only, no guest memory), when
 * VM time reaches the deadline. It may run late, and may still run once after a
 * racing vtimer_cancel(): it must look at the device's state under the device's
 * lock and do nothing if there is nothing due.
 */
void vtimer_init(struct vtimer *t, struct vm *vm, void (*fn)(void *arg), void *arg);
void vtimer_set(struct vtimer *t, uint64_t deadline); /* re-arms if armed; any context */
void vtimer_cancel(struct vtimer *t);		      /* any context */

/* Guest wall clock: nanoseconds since 1970-01-01 UTC, from the host's clock. */
uint64_t wall_time(void);

#endif
