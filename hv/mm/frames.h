/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside hv/mm: the frame allocator as the heap and start-up see it. */
#ifndef AMBER_MM_FRAMES_H
#define AMBER_MM_FRAMES_H

#include "hv/mm/mm.h"

enum { FRAME_MAX_ORDER = 18 }; /* 1 GiB */

/*
 * One byte per frame. The allocator marks the first frame of each free block;
 * the tags of frames that are in use are the heap's, to find what an address
 * belongs to.
 */
enum frame_tag {
	FRAME_TAG_NONE = 0,
	FRAME_TAG_SLAB,	       /* any frame of a slab */
	FRAME_TAG_BLOCK,       /* first frame of a block larger than a slab holds */
	FRAME_TAG_BLOCK_MORE,  /* its other frames */
	FRAME_TAG_FREE = 0x80, /* + order */
};

/* tags: one zeroed byte for each frame below top (in frames). */
void frames_init(uint8_t *tags, uint64_t top);
/* Hands [start, end) (frame-aligned bytes) to the allocator; counts it in frames_total(). */
void frames_add(uint64_t start, uint64_t end);

/* n contiguous frames, n <= 1 << FRAME_MAX_ORDER; a.a = 0 on failure. Any context. */
hpa_t frames_alloc_exact(uint64_t n);
void frames_free_exact(hpa_t p, uint64_t n);

enum frame_tag frame_tag(hpa_t p);
/* Of n frames in use, from p on. */
void frame_set_tag(hpa_t p, uint64_t n, enum frame_tag tag);

/* Gives the heap's internals nothing to start with but this. */
void heap_init(void);

#endif
