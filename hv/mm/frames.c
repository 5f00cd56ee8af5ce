/* SPDX-License-Identifier: BSD-2-Clause */
/* Physical frames: a buddy allocator with two zones, below and above 4 GiB. */
#include "hv/mm/frames.h"
#include "hv/lib/list.h"
#include "hv/lib/log.h"
#include "hv/lib/spinlock.h"

enum zone { ZONE_LOW, ZONE_HIGH, ZONE_COUNT };
#define LOW_FRAMES ((4 * GIB) >> PAGE_SHIFT)

static struct spinlock lock = SPINLOCK_INIT(RANK_FRAMES);
/* A free block is linked through its own first bytes. */
static struct list free_blocks[ZONE_COUNT][FRAME_MAX_ORDER + 1];
static uint8_t *tags;
static uint64_t top; /* frames that tags covers */
static uint64_t total, available;

static struct list *block_node(uint64_t frame)
{
	return phys_to_virt(hpa(frame << PAGE_SHIFT));
}

static uint64_t node_frame(const struct list *n)
{
	return virt_to_phys(n).a >> PAGE_SHIFT;
}

static enum zone zone_of(uint64_t frame)
{
	return frame < LOW_FRAMES ? ZONE_LOW : ZONE_HIGH;
}

void frames_init(uint8_t *tag_array, uint64_t top_frame)
{
	for (unsigned z = 0; z < ZONE_COUNT; z++)
		for (unsigned o = 0; o <= FRAME_MAX_ORDER; o++)
			list_init(&free_blocks[z][o]);
	tags = tag_array;
	top = top_frame;
}

static void block_insert(uint64_t frame, unsigned order)
{
	tags[frame] = (uint8_t)(FRAME_TAG_FREE + order);
	list_push_front(&free_blocks[zone_of(frame)][order], block_node(frame));
}

static void block_remove(uint64_t frame)
{
	tags[frame] = FRAME_TAG_NONE;
	list_remove(block_node(frame));
}

/* The head of the free block that contains frame, or UINT64_MAX. */
static uint64_t free_block_around(uint64_t frame)
{
	for (unsigned o = 0; o <= FRAME_MAX_ORDER; o++) {
		uint64_t head = ALIGN_DOWN(frame, 1ULL << o);

		if (tags[head] >= FRAME_TAG_FREE + o)
			return head;
	}
	return UINT64_MAX;
}

/* Returns a block and joins it with its free buddies. Lock held. */
static void block_free(uint64_t frame, unsigned order)
{
	ASSERT(order <= FRAME_MAX_ORDER && frame % (1ULL << order) == 0);
	ASSERT(frame + (1ULL << order) <= top);
	if (UNLIKELY(free_block_around(frame) != UINT64_MAX))
		panic("frame 0x%lx freed twice", frame);
	available += 1ULL << order;
	while (order < FRAME_MAX_ORDER) {
		uint64_t buddy = frame ^ 1ULL << order;

		if (buddy >= top || tags[buddy] != FRAME_TAG_FREE + order)
			break;
		block_remove(buddy);
		frame = MIN(frame, buddy);
		order++;
	}
	block_insert(frame, order);
}

/* The largest blocks that start at frame and end within [frame, end). Lock held. */
static void range_free(uint64_t frame, uint64_t end)
{
	while (frame < end) {
		unsigned order = frame ? (unsigned)__builtin_ctzll(frame) : FRAME_MAX_ORDER;

		order = MIN(order, (unsigned)FRAME_MAX_ORDER);
		while (frame + (1ULL << order) > end)
			order--;
		block_free(frame, order);
		frame += 1ULL << order;
	}
}

void frames_add(uint64_t start, uint64_t end)
{
	uint64_t flags = spin_lock(&lock);

	range_free(start >> PAGE_SHIFT, end >> PAGE_SHIFT);
	total += (end - start) >> PAGE_SHIFT;
	spin_unlock(&lock, flags);
}

/* Takes a block out of a zone, splitting a larger one if need be; 0 if there is none. Lock held. */
static uint64_t zone_alloc(enum zone z, unsigned order)
{
	unsigned o = order;
	uint64_t frame;

	while (o <= FRAME_MAX_ORDER && list_empty(&free_blocks[z][o]))
		o++;
	if (o > FRAME_MAX_ORDER)
		return 0;
	frame = node_frame(free_blocks[z][o].next);
	block_remove(frame);
	while (o > order) {
		o--;
		block_insert(frame + (1ULL << o), o);
	}
	available -= 1ULL << order;
	return frame;
}

hpa_t frames_alloc(unsigned order)
{
	uint64_t flags, frame;

	if (order > FRAME_MAX_ORDER)
		return hpa(0);
	flags = spin_lock(&lock);
	frame = zone_alloc(ZONE_HIGH, order);
	if (!frame)
		frame = zone_alloc(ZONE_LOW, order);
	spin_unlock(&lock, flags);
	return hpa(frame << PAGE_SHIFT);
}

hpa_t frames_alloc_low(unsigned order)
{
	uint64_t flags, frame;

	if (order > FRAME_MAX_ORDER)
		return hpa(0);
	flags = spin_lock(&lock);
	frame = zone_alloc(ZONE_LOW, order);
	spin_unlock(&lock, flags);
	return hpa(frame << PAGE_SHIFT);
}

void frames_free(hpa_t p, unsigned order)
{
	uint64_t frame = p.a >> PAGE_SHIFT, flags = spin_lock(&lock);

	block_free(frame, order);
	spin_unlock(&lock, flags);
}

hpa_t frames_alloc_exact(uint64_t n)
{
	unsigned order = 0;
	uint64_t flags;
	hpa_t p;

	while (order <= FRAME_MAX_ORDER && 1ULL << order < n)
		order++;
	p = frames_alloc(order);
	if (p.a && 1ULL << order > n) {
		flags = spin_lock(&lock);
		range_free((p.a >> PAGE_SHIFT) + n, (p.a >> PAGE_SHIFT) + (1ULL << order));
		spin_unlock(&lock, flags);
	}
	return p;
}

void frames_free_exact(hpa_t p, uint64_t n)
{
	uint64_t frame = p.a >> PAGE_SHIFT, flags = spin_lock(&lock);

	range_free(frame, frame + n);
	spin_unlock(&lock, flags);
}

uint64_t frames_total(void)
{
	return total;
}

uint64_t frames_free_count(void)
{
	return __atomic_load_n(&available, __ATOMIC_RELAXED);
}

/* The tags of frames in use have one owner at a time, so that they need no lock. */
enum frame_tag frame_tag(hpa_t p)
{
	uint64_t frame = p.a >> PAGE_SHIFT;

	return frame < top ? tags[frame] : FRAME_TAG_NONE;
}

void frame_set_tag(hpa_t p, uint64_t n, enum frame_tag tag)
{
	for (uint64_t i = 0; i < n; i++)
		tags[(p.a >> PAGE_SHIFT) + i] = (uint8_t)tag;
}
