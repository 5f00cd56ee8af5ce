/* SPDX-License-Identifier: BSD-2-Clause */
/* The PC as a whole: what its firmware would do at power-on. */
#ifndef AMBER_DEV_PC_H
#define AMBER_DEV_PC_H

#include "hv/core/vm.h"

/*
 * Fills a machine at power-on: ACPI tables, memory map, the payload of its
 * configuration; sets the boot vCPU's state. For vm_boot_hook.
 */
int pc_boot(struct vm *vm, struct errmsg *e) MUST_CHECK;

#endif
