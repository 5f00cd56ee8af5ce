/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The paravirtual clock that KVM guests know: one page a vCPU in guest memory
 * that turns its TSC into nanoseconds, and a wall clock record. Layouts as in
 * the kernel's Documentation/virt/kvm/x86/msr.rst.
 */
#ifndef AMBER_CORE_PVCLOCK_H
#define AMBER_CORE_PVCLOCK_H

#include "hv/lib/types.h"

struct vcpu;

enum pvclock_msr { PVCLOCK_MSR_WALL = 0x4b564d00, PVCLOCK_MSR_SYSTEM = 0x4b564d01 };

/*
 * Writes the vCPU's time page, if it has one. stopped: tells the guest that it
 * was paused, so that its watchdogs forgive. By the vCPU's own thread.
 */
void pvclock_update(struct vcpu *v, bool stopped);

/* The two MSRs. ERR_INVAL: #GP. */
int pvclock_write_wall(struct vcpu *v, uint64_t value);
int pvclock_write_system(struct vcpu *v, uint64_t value);

/* ns = (tsc >> or << shift) * mul / 2^32: the pair for a TSC of hz. */
void pvclock_scale(uint64_t hz, uint32_t *mul, int8_t *shift);

#endif
