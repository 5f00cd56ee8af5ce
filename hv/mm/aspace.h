/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What hv/mm needs from the architecture: mapping pages in the hypervisor's
 * half of the address space. hv/arch/x86/paging.c implements it.
 */
#ifndef AMBER_MM_ASPACE_H
#define AMBER_MM_ASPACE_H

#include "hv/mm/mm.h"

#define DEVICE_MAP_BASE 0xffffc00000000000ULL /* map_device() grows upwards from here */
#define STACK_MAP_BASE	0xffffc80000000000ULL /* slots for stack_alloc() */

enum aspace_prot {
	ASPACE_R = 0, /* no execute in any case */
	ASPACE_W = 1 << 0,
	ASPACE_UC = 1 << 1,
	ASPACE_WC = 1 << 2,
};

/*
 * Builds the final page tables out of frames from early_alloc(), which returns
 * zeroed pages reachable at their physical address, and switches to them.
 */
void aspace_init(const struct boot_info *bi, hpa_t (*early_alloc)(void));
/* After aspace_init() page-table frames come from frames_alloc(). OK or ERR_NOMEM. */
int aspace_map(uint64_t va, hpa_t p, uint64_t size, unsigned prot);
/* Unmaps 4 KiB pages and makes every CPU forget them before it returns. Thread context, no
 * spinlock. */
void aspace_unmap(uint64_t va, uint64_t size);

/* What a mapped 4 KiB page of the device and stack area maps to. */
hpa_t aspace_lookup(uint64_t va);

#endif
