/* SPDX-License-Identifier: BSD-2-Clause */
/* The firmware's memory map: taken, and translated to the hypervisor's. */
#include "boot/efi/loader.h"

/* Descriptors that the map may grow by between its first and its last reading. */
enum { MAP_SLACK = 64 };

EFI_STATUS map_prepare(struct efi_map *m)
{
	EFI_STATUS s;

	m->size = 0;
	s = bs->GetMemoryMap(&m->size, NULL, &m->key, &m->desc_size, &m->desc_version);
	if (s != EFI_BUFFER_TOO_SMALL)
		return s == EFI_SUCCESS ? EFI_LOAD_ERROR : s;
	m->capacity = m->size + MAP_SLACK * m->desc_size;
	m->desc = (EFI_MEMORY_DESCRIPTOR *)pages_alloc(m->capacity, UINT64_MAX);
	return m->desc ? map_take(m) : EFI_OUT_OF_RESOURCES;
}

EFI_STATUS map_take(struct efi_map *m)
{
	m->size = m->capacity;
	return bs->GetMemoryMap(&m->size, m->desc, &m->key, &m->desc_size, &m->desc_version);
}

/*
 * Boot-services memory is free once they have ended, and so is the loader's own
 * code: it jumps before the hypervisor hands out a frame. All that outlives the
 * loader was allocated as LoaderData.
 */
static uint32_t convert_type(const EFI_MEMORY_DESCRIPTOR *d)
{
	switch (d->Type) {
	case EfiLoaderCode:
	case EfiBootServicesCode:
	case EfiBootServicesData:
	case EfiConventionalMemory:
		return d->Attribute & EFI_MEMORY_WB ? BOOT_MEM_USABLE : BOOT_MEM_RESERVED;
	case EfiLoaderData:
		return BOOT_MEM_LOADER;
	case EfiRuntimeServicesCode:
		return BOOT_MEM_RUNTIME_CODE;
	case EfiRuntimeServicesData:
		return BOOT_MEM_RUNTIME_DATA;
	case EfiACPIReclaimMemory:
	case EfiACPIMemoryNVS:
		return BOOT_MEM_ACPI;
	case EfiMemoryMappedIO:
	case EfiMemoryMappedIOPortSpace:
		return BOOT_MEM_MMIO;
	default: /* unusable memory, PAL code, persistent memory, what is not known yet */
		return BOOT_MEM_RESERVED;
	}
}

static void add(struct boot_info *bi, struct boot_mem e)
{
	struct boot_mem *last = bi->nmem ? &bi->mem[bi->nmem - 1] : NULL;

	if (!e.size)
		return;
	/* Most maps come sorted: joined here already, the table holds more than it has rows. */
	if (last && last->type == e.type && last->attr == e.attr &&
	    last->start + last->size == e.start)
		last->size += e.size;
	else if (bi->nmem < BOOT_MAX_MEM)
		bi->mem[bi->nmem++] = e;
	else
		complain(bi, "memory map: too many ranges, some memory is not used", NULL);
}

static void sort(struct boot_info *bi)
{
	for (uint32_t i = 1; i < bi->nmem; i++) {
		struct boot_mem e = bi->mem[i];
		uint32_t j = i;

		for (; j > 0 && bi->mem[j - 1].start > e.start; j--)
			bi->mem[j] = bi->mem[j - 1];
		bi->mem[j] = e;
	}
}

/* Attributes matter where the firmware's runtime code will want its own mapping. */
static bool mergeable(const struct boot_mem *a, const struct boot_mem *b)
{
	bool runtime = a->type == BOOT_MEM_RUNTIME_CODE || a->type == BOOT_MEM_RUNTIME_DATA;

	return a->type == b->type && a->start + a->size == b->start &&
	       (!runtime || a->attr == b->attr);
}

/*
 * No firmware may report overlapping ranges. Should one do it, memory that is used
 * for two purposes is not usable: what overlaps is cut off u. The ranges of other
 * types are sorted.
 */
static void cut(const struct boot_info *bi, struct boot_mem *u)
{
	uint64_t start = u->start, end = u->start + u->size;

	for (uint32_t i = 0; i < bi->nmem; i++) {
		const struct boot_mem *m = &bi->mem[i];

		if (m->type == BOOT_MEM_USABLE || m->start + m->size <= start)
			continue;
		if (m->start > start) {
			end = m->start < end ? m->start : end;
			break;
		}
		start = m->start + m->size;
	}
	u->start = start;
	u->size = end > start ? end - start : 0;
}

/* Adds a range behind those stored: joined to its neighbour, less what is there already. */
static void append(struct boot_info *bi, struct boot_mem e)
{
	struct boot_mem *last = bi->nmem ? &bi->mem[bi->nmem - 1] : NULL;
	uint64_t end = last ? last->start + last->size : 0;

	if (e.start < end) {
		if (e.start + e.size <= end)
			return;
		e.size -= end - e.start;
		e.start = end;
	}
	if (last && mergeable(last, &e)) {
		last->size += e.size;
		last->attr &= e.attr;
	} else if (e.size) {
		bi->mem[bi->nmem++] = e;
	}
}

static void tidy(struct boot_info *bi)
{
	uint32_t n = bi->nmem;

	for (uint32_t i = 0; i < n; i++)
		if (bi->mem[i].type == BOOT_MEM_USABLE)
			cut(bi, &bi->mem[i]);
	sort(bi);
	bi->nmem = 0;
	for (uint32_t i = 0; i < n; i++)
		append(bi, bi->mem[i]);
}

void map_convert(const struct efi_map *m, struct boot_info *bi)
{
	uint64_t last_page = UINT64_MAX / PAGE_BYTES;

	bi->nmem = 0;
	for (UINTN at = 0; at + m->desc_size <= m->size; at += m->desc_size) {
		const EFI_MEMORY_DESCRIPTOR *d = (const void *)((const uint8_t *)m->desc + at);
		uint64_t start = d->PhysicalStart, pages = d->NumberOfPages;
		uint32_t type = convert_type(d), attr = (uint32_t)d->Attribute;

		if (start % PAGE_BYTES || pages > last_page - start / PAGE_BYTES) {
			complain(bi, "memory map: the firmware reports an impossible range", NULL);
			continue;
		}
		/* Page 0: null pointers, and real-mode tables of some firmware. */
		if (start == 0 && pages && type == BOOT_MEM_USABLE) {
			add(bi, (struct boot_mem){0, PAGE_BYTES, BOOT_MEM_RESERVED, attr});
			start += PAGE_BYTES;
			pages--;
		}
		add(bi, (struct boot_mem){start, pages * PAGE_BYTES, type, attr});
	}
	sort(bi);
	tidy(bi);
}
