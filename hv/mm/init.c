/* SPDX-License-Identifier: BSD-2-Clause */
/* From the loader's memory map to a running frame allocator and heap. */
#include "hv/mm/aspace.h"
#include "hv/mm/frames.h"
#include <string.h>
#include "hv/lib/log.h"

extern const char hv_image_start[];

static const struct boot_info *info;
static uint64_t image_phys, image_size;

/*
 * Until the allocator runs, frames are taken from the start of the largest
 * usable piece below 4 GiB: the loader's page tables reach it one to one.
 */
static uint64_t early_start, early_next, early_end;

static bool usable(const struct boot_mem *m, uint64_t *start, uint64_t *end)
{
	/* The first MiB stays alone: firmware data, AP start-up, legacy holes. */
	*start = ALIGN_UP(MAX(m->start, MIB), PAGE_SIZE);
	*end = ALIGN_DOWN(m->start + m->size, PAGE_SIZE);
	return m->type == BOOT_MEM_USABLE && *start < *end;
}

static void early_init(const struct boot_info *bi)
{
	for (uint32_t i = 0; i < bi->nmem; i++) {
		uint64_t start, end;

		if (!usable(&bi->mem[i], &start, &end))
			continue;
		end = MIN(end, 4 * GIB);
		if (start < end && end - start > early_end - early_start) {
			early_start = start;
			early_end = end;
		}
	}
	early_next = early_start;
}

static hpa_t early_alloc_pages(uint64_t n)
{
	hpa_t p = hpa(early_next);

	if (n > (early_end - early_next) / PAGE_SIZE)
		panic("memory: no usable piece below 4 GiB is large enough to start with");
	early_next += n * PAGE_SIZE;
	return p;
}

static hpa_t early_alloc(void)
{
	hpa_t p = early_alloc_pages(1);

	memset((void *)p.a, 0, PAGE_SIZE);
	return p;
}

static void frames_start(void)
{
	uint64_t top = 0, start, end;
	hpa_t tags;

	for (uint32_t i = 0; i < info->nmem; i++)
		if (usable(&info->mem[i], &start, &end))
			top = MAX(top, end);
	tags = early_alloc_pages(ALIGN_UP(top >> PAGE_SHIFT, PAGE_SIZE) >> PAGE_SHIFT);
	memset(phys_to_virt(tags), 0, top >> PAGE_SHIFT);
	frames_init(phys_to_virt(tags), top >> PAGE_SHIFT);

	for (uint32_t i = 0; i < info->nmem; i++) {
		if (!usable(&info->mem[i], &start, &end))
			continue;
		if (start == early_start)
			start = early_next;
		if (start < end)
			frames_add(start, end);
	}
}

void mm_init(const struct boot_info *bi)
{
	image_phys = bi->image_phys;
	image_size = bi->image_size;
	early_init(bi);
	aspace_init(bi, early_alloc);
	info = phys_to_virt(hpa((uint64_t)bi));
	frames_start();
	heap_init();
}

const struct boot_info *boot_info(void)
{
	return info;
}

hpa_t virt_to_phys(const void *v)
{
	uint64_t a = (uint64_t)v;

	if (a >= HV_IMAGE_BASE && a - HV_IMAGE_BASE < image_size)
		return hpa(a - HV_IMAGE_BASE + image_phys);
	ASSERT(a >= DIRECT_MAP_BASE && a < DEVICE_MAP_BASE);
	return hpa(a - DIRECT_MAP_BASE);
}

static bool is_ram(uint32_t type)
{
	return type >= BOOT_MEM_USABLE && type <= BOOT_MEM_ACPI;
}

bool phys_in_direct_map(hpa_t p, uint64_t size)
{
	uint64_t at = p.a, end = p.a + size;

	if (end < at)
		return false;
	/* mem[] is sorted: neighbouring pieces of RAM carry the range on. */
	for (uint32_t i = 0; i < info->nmem && at < end; i++) {
		const struct boot_mem *m = &info->mem[i];

		if (is_ram(m->type) && m->start <= at && at - m->start < m->size)
			at = m->start + m->size;
	}
	return at >= end;
}
