/* SPDX-License-Identifier: BSD-2-Clause */
/* The heap and the frame allocator over malloc; ASan finds what leaks or strays. */
#include <stdlib.h>
#include <string.h>

#include "hv/lib/list.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"
#include "tests/unit/fake/fake.h"

static int fail_after = -1;
static int outstanding;

void fake_heap_fail_after(int n)
{
	fail_after = n;
}

int fake_heap_outstanding(void)
{
	return outstanding;
}

static bool must_fail(void)
{
	return fail_after >= 0 && fail_after-- == 0;
}

void *heap_alloc(size_t size)
{
	void *p;

	if (must_fail())
		return NULL;
	p = malloc(size ? size : 1);
	if (p) {
		memset(p, 0xa5, size);
		outstanding++;
	}
	return p;
}

void *heap_zalloc(size_t size)
{
	void *p = heap_alloc(size);

	if (p)
		memset(p, 0, size);
	return p;
}

void heap_free(void *p)
{
	outstanding -= p != NULL;
	free(p);
}

void *heap_grow(void *old, size_t old_size, size_t new_size)
{
	void *p = heap_alloc(new_size);

	if (!p)
		return NULL;
	if (old)
		memcpy(p, old, MIN(old_size, new_size));
	heap_free(old);
	return p;
}

uint64_t heap_used(void)
{
	return (uint64_t)outstanding;
}

/* Host-physical addresses are such that phys_to_virt() gives the pointer back. */
hpa_t virt_to_phys(const void *v)
{
	return hpa((uint64_t)(uintptr_t)v - DIRECT_MAP_BASE);
}

/* A block of frames: it may be given back in pieces. */
struct block {
	struct list link;
	uint8_t *base;
	uint64_t size, left;
};
static struct list blocks = LIST_INIT(blocks);

hpa_t frames_alloc(unsigned order)
{
	uint64_t size = PAGE_SIZE << order;
	struct block *b;
	void *p = must_fail() ? NULL : aligned_alloc(size, size);

	if (!p)
		return hpa(0);
	b = malloc(sizeof(*b));
	*b = (struct block){.base = p, .size = size, .left = size};
	list_push_front(&blocks, &b->link);
	outstanding++;
	return virt_to_phys(p);
}

hpa_t frames_alloc_low(unsigned order)
{
	return frames_alloc(order);
}

void frames_free(hpa_t p, unsigned order)
{
	uint8_t *at = phys_to_virt(p);
	struct list *l;

	LIST_FOREACH(l, &blocks)
	{
		struct block *b = LIST_ENTRY(l, struct block, link);

		if ((uint64_t)(at - b->base) >= b->size)
			continue;
		ASSERT(b->left >= PAGE_SIZE << order);
		memset(at, 0xdd, PAGE_SIZE << order);
		b->left -= PAGE_SIZE << order;
		if (b->left)
			return;
		list_remove(&b->link);
		free(b->base);
		free(b);
		outstanding--;
		return;
	}
	panic("frames_free of what was not allocated");
}

unsigned fake_frames_outstanding(void)
{
	struct list *l;
	unsigned n = 0;

	LIST_FOREACH(l, &blocks)
	n++;
	return n;
}

uint64_t frames_total(void)
{
	return 1 << 20;
}

uint64_t frames_free_count(void)
{
	return 1 << 19;
}
