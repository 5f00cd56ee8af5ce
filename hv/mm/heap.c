/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The heap: blocks up to 2 KiB come from slabs of one size class each, larger
 * ones are whole frames. Debug builds fill free memory and the slack behind a
 * block with patterns and check them, so that a write after the end or after
 * the free is found at the next allocation or free.
 */
#include "hv/mm/frames.h"
#include <string.h>
#include "hv/lib/list.h"
#include "hv/lib/log.h"
#include "hv/lib/spinlock.h"

enum { SLAB_ORDER = 2, SLAB_HEAD = 64, CLASS_COUNT = 12 };
#define SLAB_SIZE (PAGE_SIZE << SLAB_ORDER)

/* Multiples of 64 from 64 on: with SLAB_HEAD that keeps such blocks 64-byte aligned. */
static const uint16_t class_size[CLASS_COUNT] = {
    16, 32, 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048};

/* At the start of each slab; slabs are aligned to their size. */
struct slab {
	struct list link; /* in its class's list while it has free blocks */
	void *free;	  /* chain of freed blocks, each pointing to the next */
	uint16_t class, used;
	uint16_t fresh; /* blocks never handed out start at this index */
	uint16_t blocks;
};
_Static_assert(sizeof(struct slab) <= SLAB_HEAD, "slab head");

static struct spinlock lock = SPINLOCK_INIT(RANK_HEAP);
static struct list partial[CLASS_COUNT];
static uint64_t used_bytes; /* atomic */

#ifdef AMBER_DEBUG
enum { PATTERN_FREE = 0xa5, PATTERN_SLACK = 0xb5, GUARD = 16 };
#define GUARD_MAGIC 0x9e3779b97f4a7c15ULL
/* In the last bytes of a slab block: the size asked for, and a check word. */
struct guard {
	uint64_t size, check;
};

static bool all_bytes(const uint8_t *p, size_t n, uint8_t v)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != v)
			return false;
	return true;
}

static struct guard *guard_of(void *p, size_t block)
{
	return (struct guard *)((uint8_t *)p + block - GUARD);
}

static void debug_on_alloc(void *p, size_t block, size_t size, bool reused)
{
	struct guard *g = guard_of(p, block);

	/* The first word of a free block is the chain's. */
	if (reused && !all_bytes((uint8_t *)p + 8, block - 8, PATTERN_FREE))
		panic("heap: block %p of %zu bytes was written after it had been freed", p, block);
	memset((uint8_t *)p + size, PATTERN_SLACK, block - GUARD - size);
	g->size = size;
	g->check = (size + (uint64_t)p) ^ GUARD_MAGIC;
}

static void debug_on_free(void *p, size_t block)
{
	struct guard *g = guard_of(p, block);

	if (all_bytes((uint8_t *)p + 8, block - 8, PATTERN_FREE))
		panic("heap: block %p of %zu bytes freed twice", p, block);
	if (g->check != ((g->size + (uint64_t)p) ^ GUARD_MAGIC) || g->size > block - GUARD ||
	    !all_bytes((uint8_t *)p + g->size, block - GUARD - g->size, PATTERN_SLACK))
		panic("heap: block %p of %zu bytes was written past its end", p, block);
	memset(p, PATTERN_FREE, block);
}
#else
enum { PATTERN_FREE = 0, GUARD = 0 };
static void debug_on_alloc(void *p, size_t block, size_t size, bool reused)
{
}
static void debug_on_free(void *p, size_t block)
{
}
#endif

void heap_init(void)
{
	for (unsigned c = 0; c < CLASS_COUNT; c++)
		list_init(&partial[c]);
}

static struct slab *slab_create(unsigned class)
{
	hpa_t p = frames_alloc(SLAB_ORDER);
	struct slab *s;

	if (!p.a)
		return NULL;
	frame_set_tag(p, 1 << SLAB_ORDER, FRAME_TAG_SLAB);
	s = phys_to_virt(p);
	/* Wholly overwritten: an emulator may still hold translations of code that the firmware had
	 * here. */
	memset(s, 0, PAGE_SIZE << SLAB_ORDER);
	*s = (struct slab){.class = (uint16_t) class,
	    .blocks = (uint16_t)((SLAB_SIZE - SLAB_HEAD) / class_size[class])};
	list_push_front(&partial[class], &s->link);
	return s;
}

/* Takes one block of a slab that has some. Lock held. */
static void *slab_take(struct slab *s, bool *reused)
{
	void *p = s->free;

	*reused = p != NULL;
	if (p)
		s->free = *(void **)p;
	else
		p = (uint8_t *)s + SLAB_HEAD + (size_t)s->fresh++ * class_size[s->class];
	s->used++;
	if (s->used == s->blocks)
		list_remove(&s->link);
	return p;
}

static void *small_alloc(unsigned class, size_t size)
{
	bool reused = false;
	uint64_t flags = spin_lock(&lock);
	struct slab *s;
	void *p = NULL;

	if (list_empty(&partial[class]))
		s = slab_create(class);
	else
		s = LIST_ENTRY(partial[class].next, struct slab, link);
	if (s) {
		p = slab_take(s, &reused);
		__atomic_fetch_add(&used_bytes, class_size[class], __ATOMIC_RELAXED);
	}
	spin_unlock(&lock, flags);
	if (p)
		debug_on_alloc(p, class_size[class], size, reused);
	return p;
}

static void small_free(void *p)
{
	struct slab *s = (struct slab *)ALIGN_DOWN((uint64_t)p, SLAB_SIZE);
	size_t block = class_size[s->class], at = (size_t)((uint8_t *)p - (uint8_t *)s);
	uint64_t flags;

	if (UNLIKELY(at < SLAB_HEAD || (at - SLAB_HEAD) % block))
		panic("heap: %p is not the start of a block", p);
	debug_on_free(p, block);
	flags = spin_lock(&lock);
	*(void **)p = s->free;
	s->free = p;
	__atomic_fetch_sub(&used_bytes, block, __ATOMIC_RELAXED);
	if (s->used-- == s->blocks)
		list_push_front(&partial[s->class], &s->link);
	/* An empty slab goes back unless it is the only one left with free blocks. */
	if (!s->used &&
	    (s->link.next != &partial[s->class] || s->link.prev != &partial[s->class])) {
		list_remove(&s->link);
		frame_set_tag(virt_to_phys(s), 1 << SLAB_ORDER, FRAME_TAG_NONE);
		frames_free(virt_to_phys(s), SLAB_ORDER);
	}
	spin_unlock(&lock, flags);
}

static void *large_alloc(size_t size)
{
	uint64_t n = ALIGN_UP(size, PAGE_SIZE) >> PAGE_SHIFT;
	hpa_t p = frames_alloc_exact(n);

	if (!p.a)
		return NULL;
	frame_set_tag(p, 1, FRAME_TAG_BLOCK);
	frame_set_tag(hpa_add(p, PAGE_SIZE), n - 1, FRAME_TAG_BLOCK_MORE);
	__atomic_fetch_add(&used_bytes, n << PAGE_SHIFT, __ATOMIC_RELAXED);
	return phys_to_virt(p);
}

static void large_free(void *v, hpa_t p)
{
	uint64_t n = 1;

	if (UNLIKELY(p.a % PAGE_SIZE))
		panic("heap: %p is not the start of a block", v);
	while (frame_tag(hpa_add(p, n << PAGE_SHIFT)) == FRAME_TAG_BLOCK_MORE)
		n++;
	frame_set_tag(p, n, FRAME_TAG_NONE);
	if (PATTERN_FREE)
		memset(v, PATTERN_FREE, MIN(n << PAGE_SHIFT, 64 * KIB));
	__atomic_fetch_sub(&used_bytes, n << PAGE_SHIFT, __ATOMIC_RELAXED);
	frames_free_exact(p, n);
}

void *heap_alloc(size_t size)
{
	if (size + GUARD <= class_size[CLASS_COUNT - 1])
		for (unsigned c = 0; c < CLASS_COUNT; c++)
			if (size + GUARD <= class_size[c])
				return small_alloc(c, size);
	if (size > PAGE_SIZE << FRAME_MAX_ORDER)
		return NULL;
	return large_alloc(size);
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
	hpa_t phys;

	if (!p)
		return;
	phys = virt_to_phys(p);
	switch (frame_tag(phys)) {
	case FRAME_TAG_SLAB:
		small_free(p);
		break;
	case FRAME_TAG_BLOCK:
		large_free(p, phys);
		break;
	default:
		panic("heap: %p is not a block of the heap", p);
	}
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
	return __atomic_load_n(&used_bytes, __ATOMIC_RELAXED);
}
