/* SPDX-License-Identifier: BSD-2-Clause */
/* The flash chip that firmware keeps its variables in. */
#ifndef AMBER_DEV_FLASH_H
#define AMBER_DEV_FLASH_H

#include "hv/core/vm.h"

/*
 * At power-on: the chip, if the machine has one, holds what its disk does, and ends at 'end',
 * where the firmware's code begins. The vCPUs are parked; may wait for the disk. ERR_NOSPACE (it
 * does not fit below), ERR_INVAL (no whole blocks), and the disk's errors.
 */
int flash_boot(struct vm *vm, uint64_t end, struct errmsg *e) MUST_CHECK;

#endif
