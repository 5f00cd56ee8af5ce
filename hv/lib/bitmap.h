/* SPDX-License-Identifier: BSD-2-Clause */
/* Bitmaps of 64-bit words. Sizes in bits; indexes below size are the caller's duty. */
#ifndef AMBER_LIB_BITMAP_H
#define AMBER_LIB_BITMAP_H

#include "hv/lib/types.h"

#define BITMAP_WORDS(bits) (((bits) + 63) / 64)

static inline bool bitmap_test(const uint64_t *map, size_t i)
{
	return map[i / 64] >> (i % 64) & 1;
}
static inline void bitmap_set(uint64_t *map, size_t i)
{
	map[i / 64] |= BIT(i % 64);
}
static inline void bitmap_clear(uint64_t *map, size_t i)
{
	map[i / 64] &= ~BIT(i % 64);
}
/* Sets bit i atomically; returns its value before. */
static inline bool bitmap_test_and_set_atomic(uint64_t *map, size_t i)
{
	return __atomic_fetch_or(&map[i / 64], BIT(i % 64), __ATOMIC_SEQ_CST) >> (i % 64) & 1;
}
static inline bool bitmap_test_and_clear_atomic(uint64_t *map, size_t i)
{
	return __atomic_fetch_and(&map[i / 64], ~BIT(i % 64), __ATOMIC_SEQ_CST) >> (i % 64) & 1;
}
void bitmap_set_range(uint64_t *map, size_t start, size_t count);
void bitmap_clear_range(uint64_t *map, size_t start, size_t count);
/* The first bit >= start with the value asked for, or size if none. */
size_t bitmap_next_set(const uint64_t *map, size_t size, size_t start);
size_t bitmap_next_clear(const uint64_t *map, size_t size, size_t start);
size_t bitmap_count(const uint64_t *map, size_t size);

#endif
