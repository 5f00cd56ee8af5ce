/* SPDX-License-Identifier: BSD-2-Clause */
/* Bytes that are never the same again, and are the same in each run. */
#include "hv/core/random.h"

void random_bytes(void *p, size_t n)
{
	static uint64_t state;
	uint8_t *to = p;

	while (n--) {
		state = state * 6364136223846793005ULL + 1442695040888963407ULL;
		*to++ = (uint8_t)(state >> 56);
	}
}
