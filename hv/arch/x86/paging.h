/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hypervisor's own page tables: four levels, W^X. The part that hv/mm calls
 * is declared in hv/mm/aspace.h; this is for the rest of arch/x86.
 */
#ifndef AMBER_X86_PAGING_H
#define AMBER_X86_PAGING_H

#include "hv/lib/types.h"

/* Page-table entry bits (SDM volume 3, 4.5), in the manual's order. */
enum pte_bit {
	PTE_P = 1 << 0,
	PTE_W = 1 << 1,
	PTE_U = 1 << 2,
	PTE_PWT = 1 << 3,
	PTE_PCD = 1 << 4,
	PTE_A = 1 << 5,
	PTE_D = 1 << 6,
	PTE_PS = 1 << 7,
	PTE_G = 1 << 8,
};
#define PTE_NX	 BIT(63)
#define PTE_ADDR 0x000ffffffffff000ULL

/* CR3 of the hypervisor. */
uint64_t paging_cr3(void);
/*
 * A new top-level table (below 4 GiB) that shares the hypervisor's upper half;
 * its lower half is the caller's to fill with paging_map(). 0: out of memory.
 */
uint64_t paging_new_root(void);
/* Maps [va, va + size) to pa in the table root, pages as large as alignment allows. OK or
 * ERR_NOMEM. */
int paging_map(uint64_t root, uint64_t va, uint64_t pa, uint64_t size, uint64_t pte_flags);
/* What a virtual address of the hypervisor maps to; false if nothing. Takes no lock. */
bool paging_lookup(uint64_t va, uint64_t *pa);

#endif
