/* SPDX-License-Identifier: BSD-2-Clause */
/* Virtual ranges outside the direct map: device memory, and stacks with a guard page. */
#include <string.h>
#include "hv/mm/aspace.h"
#include "hv/lib/bitmap.h"
#include "hv/lib/log.h"
#include "hv/lib/spinlock.h"

/* A stack lies at the upper end of its slot; what is below stays unmapped. */
#define STACK_SLOT (64 * KIB)
enum { STACK_SLOTS = 4096, CACHE_SIZE = 16 };
#define CACHED_STACK (16 * KIB)

static struct spinlock lock = SPINLOCK_INIT(RANK_ASPACE);
static uint64_t next_device = DEVICE_MAP_BASE;
static uint64_t slot_used[BITMAP_WORDS(STACK_SLOTS)];
/* Freed stacks of the common size stay mapped for the next thread: no shootdown. */
static void *cache[CACHE_SIZE];
static unsigned cached;

void *map_device(hpa_t p, size_t size, enum map_flags flags)
{
	uint64_t start = ALIGN_DOWN(p.a, PAGE_SIZE), bytes, va, irq;
	unsigned prot = flags & MAP_RO ? ASPACE_R : ASPACE_W;

	if (!size || p.a + size < p.a)
		return NULL;
	bytes = ALIGN_UP(p.a + size, PAGE_SIZE) - start;
	if (flags & MAP_UNCACHED)
		prot |= ASPACE_UC;
	if (flags & MAP_WRITE_COMBINE)
		prot |= ASPACE_WC;

	irq = spin_lock(&lock);
	/* The same offset in a large page as the physical address, so that large pages fit. */
	va = bytes >= SIZE_2M ? ALIGN_UP(next_device, SIZE_2M) + start % SIZE_2M : next_device;
	if (bytes > STACK_MAP_BASE - va)
		va = 0;
	else
		next_device = va + bytes + PAGE_SIZE;
	spin_unlock(&lock, irq);
	if (!va || aspace_map(va, hpa(start), bytes, prot) != OK)
		return NULL;
	return (void *)(va + (p.a - start));
}

static int slot_take(void)
{
	uint64_t irq = spin_lock(&lock);
	size_t slot = bitmap_next_clear(slot_used, STACK_SLOTS, 0);

	if (slot < STACK_SLOTS)
		bitmap_set(slot_used, slot);
	spin_unlock(&lock, irq);
	return slot < STACK_SLOTS ? (int)slot : -1;
}

static void slot_give(int slot)
{
	uint64_t irq = spin_lock(&lock);

	bitmap_clear(slot_used, (size_t)slot);
	spin_unlock(&lock, irq);
}

static void *cache_take(void)
{
	uint64_t irq = spin_lock(&lock);
	void *top = cached ? cache[--cached] : NULL;

	spin_unlock(&lock, irq);
	return top;
}

static bool cache_give(void *top)
{
	uint64_t irq = spin_lock(&lock);
	bool fits = cached < CACHE_SIZE;

	if (fits)
		cache[cached++] = top;
	spin_unlock(&lock, irq);
	return fits;
}

/* Unmaps and frees the pages of [bottom, top). */
static void pages_release(uint64_t bottom, uint64_t top)
{
	hpa_t frames[STACK_SLOT / PAGE_SIZE];
	size_t n = (top - bottom) / PAGE_SIZE;

	for (size_t i = 0; i < n; i++)
		frames[i] = aspace_lookup(bottom + i * PAGE_SIZE);
	aspace_unmap(bottom, top - bottom); /* no CPU reaches the frames from here on */
	for (size_t i = 0; i < n; i++)
		frames_free(frames[i], 0);
}

void *stack_alloc(size_t size)
{
	uint64_t top, at;
	void *reuse = NULL;
	int slot;

	ASSERT(size && size % PAGE_SIZE == 0 && size < STACK_SLOT);
	if (size == CACHED_STACK)
		reuse = cache_take();
	if (reuse)
		return reuse;
	slot = slot_take();
	if (slot < 0)
		return NULL;
	top = STACK_MAP_BASE + ((uint64_t)slot + 1) * STACK_SLOT;
	for (at = top; at > top - size; at -= PAGE_SIZE) {
		hpa_t p = frames_alloc(0);

		if (p.a)
			memset(phys_to_virt(p), 0, PAGE_SIZE);
		if (p.a && aspace_map(at - PAGE_SIZE, p, PAGE_SIZE, ASPACE_W) == OK)
			continue;
		if (p.a)
			frames_free(p, 0);
		if (at < top)
			pages_release(at, top);
		slot_give(slot);
		return NULL;
	}
	return (void *)top;
}

void stack_free(void *top, size_t size)
{
	if (!top || (size == CACHED_STACK && cache_give(top)))
		return;
	pages_release((uint64_t)top - size, (uint64_t)top);
	slot_give((int)(((uint64_t)top - STACK_MAP_BASE) / STACK_SLOT - 1));
}
