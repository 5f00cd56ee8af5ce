/* SPDX-License-Identifier: BSD-2-Clause */
/* Glue to Debian's liblz4. */
#include "hv/snapshot/compress.h"

#include <lz4.h>
#include <string.h>

size_t compress_state_size(void)
{
	return (size_t)LZ4_sizeofState();
}

/*
 * Counts the bytes of a sample: 16 of each 1,024. The sum of the squares of n such counts is n +
 * n(n - 1)/256 on average if all values are as likely, with a deviation of n/256 times the root of
 * 512; 23 equal bytes in 1,024 more than that, or a sample that repeats itself, go beyond six
 * deviations.
 */
bool compress_worthwhile(const void *src, uint32_t len)
{
	enum { EVERY = 1024, SAMPLE = 16, FEWEST = 16384 };
	const uint32_t n = len / EVERY * SAMPLE;
	const uint8_t *p = src;
	uint16_t count[256] = {0};
	uint32_t sum = 0;

	if (len < FEWEST || n > UINT16_MAX)
		return true;
	for (uint32_t at = 0; at + EVERY <= len; at += EVERY)
		for (uint32_t i = 0; i < SAMPLE; i++)
			count[p[at + i]]++;
	for (unsigned i = 0; i < 256; i++)
		sum += (uint32_t)count[i] * count[i];
	return sum > n + n * (n - 1) / 256 + n * 6 * 23 / 256;
}

uint32_t compress_lz4(void *state, const void *src, uint32_t len, void *dst, uint32_t cap)
{
	int n = LZ4_compress_fast_extState(state, src, dst, (int)len, (int)cap, 1);

	return n > 0 ? (uint32_t)n : 0;
}

bool decompress_lz4(const void *src, uint32_t src_len, void *dst, uint32_t len)
{
	return LZ4_decompress_safe(src, dst, (int)src_len, (int)len) == (int)len;
}

bool all_zero(const void *p, size_t len)
{
	const uint8_t *b = p;

	for (; len && (uintptr_t)b % 8; b++, len--)
		if (*b)
			return false;
	for (; len >= 64; b += 64, len -= 64) {
		const uint64_t *w = (const void *)b;

		if (w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7])
			return false;
	}
	for (; len; b++, len--)
		if (*b)
			return false;
	return true;
}
