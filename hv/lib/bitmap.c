/* SPDX-License-Identifier: BSD-2-Clause */
/* Searching, counting and filling bitmaps a word at a time. */
#include "hv/lib/bitmap.h"

/* The bits of word w that lie in [start, start + count). */
static uint64_t range_mask(size_t w, size_t start, size_t count)
{
	size_t lo = w * 64, end = start + count;
	uint64_t mask = ~0ULL;

	if (start > lo)
		mask <<= start - lo;
	if (end < lo + 64)
		mask &= BIT(end - lo) - 1;
	return mask;
}

void bitmap_set_range(uint64_t *map, size_t start, size_t count)
{
	if (!count)
		return;
	for (size_t w = start / 64; w <= (start + count - 1) / 64; w++)
		map[w] |= range_mask(w, start, count);
}

void bitmap_clear_range(uint64_t *map, size_t start, size_t count)
{
	if (!count)
		return;
	for (size_t w = start / 64; w <= (start + count - 1) / 64; w++)
		map[w] &= ~range_mask(w, start, count);
}

/* The first bit >= start that is set in (word ^ flip). */
static size_t next(const uint64_t *map, size_t size, size_t start, uint64_t flip)
{
	if (start >= size)
		return size;
	for (size_t w = start / 64; w < BITMAP_WORDS(size); w++) {
		uint64_t bits = map[w] ^ flip;

		if (w == start / 64)
			bits &= ~0ULL << (start % 64);
		if (bits)
			return MIN(w * 64 + (size_t)__builtin_ctzll(bits), size);
	}
	return size;
}

size_t bitmap_next_set(const uint64_t *map, size_t size, size_t start)
{
	return next(map, size, start, 0);
}

size_t bitmap_next_clear(const uint64_t *map, size_t size, size_t start)
{
	return next(map, size, start, ~0ULL);
}

/* Ones in a word. POPCNT is not in every x86-64, and libgcc's routine is not at hand. */
static unsigned ones(uint64_t v)
{
	v -= v >> 1 & 0x5555555555555555ULL;
	v = (v & 0x3333333333333333ULL) + (v >> 2 & 0x3333333333333333ULL);
	v = (v + (v >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return (unsigned)(v * 0x0101010101010101ULL >> 56);
}

size_t bitmap_count(const uint64_t *map, size_t size)
{
	size_t n = 0;

	for (size_t w = 0; w < BITMAP_WORDS(size); w++)
		n += ones(map[w] & range_mask(w, 0, size));
	return n;
}
