/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM's clock: starting, stopping, and what is stored of it (I10). */
#ifndef AMBER_CORE_VCLOCK_H
#define AMBER_CORE_VCLOCK_H

#include "hv/core/vtimer.h"

/* Stopped at VM time 0. tsc_hz is the rate of the guest's TSC: vclock_set_rate(). */
void vclock_init(struct vm *vm, uint64_t tsc_hz);
/*
 * The rate of the guest's TSC, 1 MHz to 100 GHz, of a stopped clock. Within 250 ppm of
 * the host's the guest has the host's TSC; otherwise it is scaled, by hardware if it can.
 */
void vclock_set_rate(struct vm *vm, uint64_t tsc_hz);
/* The clock is stopped, or never ran: afterwards no timer touches the VM. Thread context. */
void vclock_destroy(struct vm *vm);
/* VM time runs on from where it stood; armed timers fire from now on. vCPUs are parked. */
void vclock_start(struct vm *vm);
/* VM time stands still. vCPUs are parked; afterwards no timer function runs. */
void vclock_stop(struct vm *vm);
/* Sets a stopped clock, at restore or reset. */
void vclock_set(struct vm *vm, uint64_t time);

/* The VM's TSC at a VM time: time * tsc_hz / 10^9, without overflow. */
uint64_t vclock_tsc_at(const struct vm *vm, uint64_t time);
/* The VM's TSC now. */
uint64_t vclock_tsc(const struct vm *vm);
/* What to add to this CPU's TSC, scaled, to get the VM's. The clock is running; no switch of CPUs
 * in between. */
uint64_t vclock_tsc_offset(const struct vm *vm);

#endif
