/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page tables that the hypervisor is entered with: all writable and executable,
 * since they last only until it has built its own.
 */
#include "boot/efi/loader.h"

enum {
	PTE_P = 1 << 0,
	PTE_RW = 1 << 1,
	PTE_PS = 1 << 7,
	PTE_LINK = PTE_P | PTE_RW,
	PTE_LARGE = PTE_P | PTE_RW | PTE_PS,
	ENTRIES = 512,
};
#define PTE_ADDR  0x000ffffffffff000ULL
#define SIZE_2M	  (2ULL << 20)
#define SIZE_1G	  (1ULL << 30)
#define SIZE_512G (1ULL << 39)
#define LOW_END	  (4 * SIZE_1G)
#define PHYS_END  (1ULL << 47) /* lower half of four levels */

/* The table that an entry links to; made if there is none. NULL: out of memory. */
static uint64_t *descend(uint64_t *entry)
{
	if (!*entry) {
		uint64_t page = pages_alloc(PAGE_BYTES, UINT64_MAX);

		if (!page)
			return NULL;
		*entry = page | PTE_LINK;
	}
	return (uint64_t *)(*entry & PTE_ADDR);
}

static bool have_1g_pages(void)
{
	uint32_t a = 0x80000000, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	if (a < 0x80000001)
		return false;
	a = 0x80000001, c = 0;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return d & 1u << 26; /* Page1GB */
}

/* Maps the GiB that virt lies in, to phys rounded down alike; with a 1 GiB page if large. */
static bool map_gib(uint64_t *pml4, uint64_t virt, uint64_t phys, bool large)
{
	uint64_t *pdpt = descend(&pml4[virt / SIZE_512G % ENTRIES]), *pd;

	if (!pdpt)
		return false;
	pdpt += virt / SIZE_1G % ENTRIES;
	if (*pdpt)
		return true;
	if (large) {
		*pdpt = phys | PTE_LARGE;
		return true;
	}
	pd = descend(pdpt);
	for (unsigned i = 0; pd && i < ENTRIES; i++)
		pd[i] = (phys + i * SIZE_2M) | PTE_LARGE;
	return pd;
}

/*
 * Below 4 GiB always with 2 MiB pages: memory and devices alternate there, and a
 * page that spans memory types is asking for trouble (SDM volume 3, 12.11.9).
 */
static bool map_identity(uint64_t *pml4, const struct efi_map *m)
{
	bool large = have_1g_pages();

	for (uint64_t a = 0; a < LOW_END; a += SIZE_1G)
		if (!map_gib(pml4, a, a, false))
			return false;
	for (UINTN at = 0; at + m->desc_size <= m->size; at += m->desc_size) {
		const EFI_MEMORY_DESCRIPTOR *d = (const void *)((const uint8_t *)m->desc + at);
		uint64_t a = d->PhysicalStart / SIZE_1G * SIZE_1G;

		if (d->PhysicalStart >= PHYS_END || d->NumberOfPages > PHYS_END / PAGE_BYTES)
			continue;
		for (; a < d->PhysicalStart + d->NumberOfPages * PAGE_BYTES; a += SIZE_1G)
			if (!map_gib(pml4, a, a, large))
				return false;
	}
	return true;
}

uint64_t paging_build(const struct efi_map *m, uint64_t phys, uint64_t size)
{
	/* Below 4 GiB: CR3 is also loaded by CPUs that start in 32-bit code. */
	uint64_t *pml4 = (uint64_t *)pages_alloc(PAGE_BYTES, LOW_END - 1), *pdpt, *pd;

	if (!pml4 || !map_identity(pml4, m))
		return 0;
	pdpt = descend(&pml4[HV_IMAGE_BASE / SIZE_512G % ENTRIES]);
	if (!pdpt)
		return 0;
	pd = descend(&pdpt[HV_IMAGE_BASE / SIZE_1G % ENTRIES]);
	if (!pd)
		return 0;
	for (unsigned i = 0; i < ENTRIES && i * SIZE_2M < size; i++)
		pd[i] = (phys + i * SIZE_2M) | PTE_LARGE;
	return (uint64_t)pml4;
}
