/* SPDX-License-Identifier: BSD-2-Clause */
/* All devices of a VM at once, for the VM's life cycle and for snapshots. */
#ifndef AMBER_CORE_DEVICE_SET_H
#define AMBER_CORE_DEVICE_SET_H

#include "hv/core/device.h"

/* Platform devices by class, then those of the manifest. On failure call devices_destroy(). */
int devices_create(struct vm *vm, struct errmsg *e) MUST_CHECK;
void devices_destroy(struct vm *vm);
/* In order of creation; vCPUs are parked. */
void devices_reset(struct vm *vm);
void devices_quiesce(struct vm *vm);
/* After devices_quiesce(): waits for the host's disks. */
void devices_drain(struct vm *vm);
void devices_resume(struct vm *vm);

#endif
