/* SPDX-License-Identifier: BSD-2-Clause */
/* The hypervisor's page tables: built once from the boot memory map, then grown page by page. */
#include "hv/arch/x86/paging.h"
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/smp.h"
#include <string.h>
#include "hv/lib/log.h"
#include "hv/lib/spinlock.h"
#include "hv/mm/aspace.h"

enum { LEVELS = 4, ENTRIES = 512, UPPER_HALF = 256 };

/* linker.ld; the guard page is entry.asm's */
extern const char hv_text_start[], hv_text_end[], hv_rodata_start[], hv_rodata_end[];
extern const char hv_data_start[], hv_bss_end[], boot_stack_guard[];

static struct spinlock lock = SPINLOCK_INIT(RANK_ASPACE);
static uint64_t root; /* the hypervisor's CR3 */

/* Until the first load of CR3, tables are reached one to one and come from early memory. */
static hpa_t (*early_alloc_page)(void);

static uint64_t *table_at(uint64_t entry)
{
	uint64_t p = entry & PTE_ADDR;

	return early_alloc_page ? (uint64_t *)p : phys_to_virt(hpa(p));
}

static uint64_t table_alloc(void)
{
	hpa_t p = early_alloc_page ? early_alloc_page() : frames_alloc_low(0);

	if (!p.a)
		p = frames_alloc(0);
	if (p.a)
		memset(table_at(p.a), 0, PAGE_SIZE);
	return p.a;
}

static unsigned index_at(uint64_t va, unsigned level)
{
	return va >> (PAGE_SHIFT + 9 * level) & (ENTRIES - 1);
}

/* The entry for va in the table of the level (0: 4 KiB), making tables on the way; NULL: no memory.
 */
static uint64_t *entry_for(uint64_t top, uint64_t va, unsigned level)
{
	uint64_t *t = table_at(top);

	for (unsigned l = LEVELS - 1; l > level; l--) {
		uint64_t *e = &t[index_at(va, l)];

		if (!(*e & PTE_P)) {
			uint64_t p = table_alloc();

			if (!p)
				return NULL;
			*e = p | PTE_P | PTE_W | PTE_A;
		}
		ASSERT(!(*e & PTE_PS));
		t = table_at(*e);
	}
	return &t[index_at(va, level)];
}

int paging_map(uint64_t top, uint64_t va, uint64_t pa, uint64_t size, uint64_t pte_flags)
{
	while (size) {
		unsigned level = 0;
		uint64_t page = PAGE_SIZE, *e;

		if (host_cpu.page_1g && (va | pa) % SIZE_1G == 0 && size >= SIZE_1G) {
			level = 2;
			page = SIZE_1G;
		} else if ((va | pa) % SIZE_2M == 0 && size >= SIZE_2M) {
			level = 1;
			page = SIZE_2M;
		}
		e = entry_for(top, va, level);
		if (!e)
			return ERR_NOMEM;
		__atomic_store_n(e, pa | pte_flags | PTE_P | PTE_A | PTE_D | (level ? PTE_PS : 0),
		    __ATOMIC_RELAXED);
		va += page;
		pa += page;
		size -= page;
	}
	return OK;
}

static void map_early(uint64_t va, uint64_t pa, uint64_t size, uint64_t flags)
{
	if (paging_map(root, va, pa, size, flags) != OK)
		panic("paging: out of memory at start-up");
}

/* RAM in the direct map; what the image must not write is not writable by this name either. */
static void map_ram(const struct boot_info *bi, uint64_t start, uint64_t end)
{
	uint64_t ro = bi->image_phys;
	uint64_t ro_end = ro + ((uint64_t)hv_rodata_end - (uint64_t)hv_text_start);

	if (start < ro && ro < end) {
		map_early(DIRECT_MAP_BASE + start, start, ro - start, PTE_W | PTE_NX);
		start = ro;
	}
	if (start >= ro && start < ro_end) {
		uint64_t part = MIN(end, ro_end);

		map_early(DIRECT_MAP_BASE + start, start, part - start, PTE_NX);
		start = part;
	}
	if (start < end)
		map_early(DIRECT_MAP_BASE + start, start, end - start, PTE_W | PTE_NX);
}

/* Neighbours in the sorted map are joined, for the sake of large pages. */
static void map_all_ram(const struct boot_info *bi)
{
	uint64_t start = 0, end = 0;

	for (uint32_t i = 0; i < bi->nmem; i++) {
		const struct boot_mem *m = &bi->mem[i];

		if (m->type < BOOT_MEM_USABLE || m->type > BOOT_MEM_ACPI || !m->size)
			continue;
		if (m->start != end) {
			map_ram(bi, start, end);
			start = m->start;
		}
		end = m->start + m->size;
	}
	map_ram(bi, start, end);
}

static void map_image(const struct boot_info *bi)
{
	const struct {
		const char *start, *end;
		uint64_t flags;
	} parts[] = {
	    {hv_text_start, hv_text_end, 0},
	    {hv_rodata_start, hv_rodata_end, PTE_NX},
	    {hv_data_start, boot_stack_guard, PTE_W | PTE_NX},
	    {boot_stack_guard + PAGE_SIZE, hv_bss_end, PTE_W | PTE_NX},
	};

	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		map_early((uint64_t)parts[i].start,
		    bi->image_phys + ((uint64_t)parts[i].start - HV_IMAGE_BASE),
		    (uint64_t)parts[i].end - (uint64_t)parts[i].start, parts[i].flags);
}

void aspace_init(const struct boot_info *bi, hpa_t (*early_alloc)(void))
{
	early_alloc_page = early_alloc;
	root = table_alloc();
	/* All upper tables exist from the start, so that copies of the top level never go stale. */
	for (unsigned i = UPPER_HALF; i < ENTRIES; i++)
		if (!entry_for(root, (uint64_t)i << 39, LEVELS - 2))
			panic("paging: out of memory at start-up");
	map_all_ram(bi);
	map_image(bi);
	write_cr3(root);
	early_alloc_page = NULL;
}

static uint64_t pte_flags_of(unsigned prot)
{
	uint64_t flags = PTE_NX;

	if (prot & ASPACE_W)
		flags |= PTE_W;
	if (prot & ASPACE_UC)
		flags |= PTE_PWT | PTE_PCD; /* PAT entry 3 (cpu.c) */
	else if (prot & ASPACE_WC)
		flags |= PTE_PWT; /* PAT entry 1 */
	return flags;
}

int aspace_map(uint64_t va, hpa_t p, uint64_t size, unsigned prot)
{
	uint64_t irq = spin_lock(&lock);
	int err = paging_map(root, va, p.a, size, pte_flags_of(prot));

	spin_unlock(&lock, irq);
	return err;
}

struct flush {
	uint64_t va, size;
};

static void flush_here(void *arg)
{
	const struct flush *f = arg;

	for (uint64_t at = 0; at < f->size; at += PAGE_SIZE)
		invlpg((const void *)(f->va + at));
}

void aspace_unmap(uint64_t va, uint64_t size)
{
	struct flush f = {va, size};
	uint64_t irq = spin_lock(&lock);

	for (uint64_t at = va; at < va + size; at += PAGE_SIZE) {
		uint64_t *e = entry_for(root, at, 0);

		ASSERT(e);
		__atomic_store_n(e, 0, __ATOMIC_RELAXED);
	}
	spin_unlock(&lock, irq);
	smp_call_all(flush_here, &f);
}

bool paging_lookup(uint64_t va, uint64_t *pa)
{
	uint64_t *t;

	if (!root || (va >> 47 != 0 && va >> 47 != 0x1ffff))
		return false;
	t = table_at(root);
	for (unsigned l = LEVELS; l-- > 0;) {
		uint64_t e = t[index_at(va, l)], size = PAGE_SIZE << 9 * l;

		if (!(e & PTE_P))
			return false;
		if (l == 0 || (e & PTE_PS)) {
			*pa = (e & PTE_ADDR & ~(size - 1)) + va % size;
			return true;
		}
		t = table_at(e);
	}
	return false;
}

hpa_t aspace_lookup(uint64_t va)
{
	uint64_t pa;

	return paging_lookup(va, &pa) ? hpa(pa) : hpa(0);
}

uint64_t paging_cr3(void)
{
	return root;
}

uint64_t paging_new_root(void)
{
	hpa_t p = frames_alloc_low(0);
	uint64_t *t;

	if (!p.a)
		return 0;
	t = phys_to_virt(p);
	memset(t, 0, PAGE_SIZE / 2);
	memcpy(t + UPPER_HALF, (uint64_t *)phys_to_virt(hpa(root)) + UPPER_HALF, PAGE_SIZE / 2);
	return p.a;
}
