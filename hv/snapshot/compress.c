/* SPDX-License-Identifier: BSD-2-Clause */
/* Glue to Debian's liblz4. */
#include "hv/snapshot/compress.h"

#include <lz4.h>
#include <string.h>

size_t compress_state_size(void)
{
	return (size_t)LZ4_sizeofState();
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
