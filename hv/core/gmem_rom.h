/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory below 4 GiB that the guest executes and reads like RAM, and cannot write: its stores are
 * device memory's. A machine that firmware starts has it (gmem_create()); it is watched, saved and
 * shared as RAM is.
 *
 * Part of it can be hidden, while the flash chip that it stands for shows its status in place of
 * its content: then reads are device memory's, too.
 */
#ifndef AMBER_CORE_GMEM_ROM_H
#define AMBER_CORE_GMEM_ROM_H

#include "hv/core/gmem.h"

/* As gmem_read() and gmem_write(), of all RAM and ROM: for loaders and for the flash chip. */
int gmem_rom_read(struct vm *vm, gpa_t addr, void *buf, uint64_t len) MUST_CHECK;
int gmem_rom_write(struct vm *vm, gpa_t addr, const void *buf, uint64_t len) MUST_CHECK;

/*
 * Hides [addr, addr + size), whole pages of ROM, from the guest, and shows what was hidden before;
 * size 0: nothing is hidden any more. No CPU uses older translations when it returns. Thread
 * context, no spinlock held; may wait for vCPUs. A reset shows everything.
 */
void gmem_rom_hide(struct vm *vm, gpa_t addr, uint64_t size);

#endif
