/* SPDX-License-Identifier: BSD-2-Clause */
/* a * b / c with a 128-bit product, for conversions between clocks; needs no library division. */
#ifndef AMBER_LIB_MULDIV_H
#define AMBER_LIB_MULDIV_H

#include "hv/lib/types.h"

/* floor((a * b + add) / c), c > 0; UINT64_MAX if that does not fit. */
static inline uint64_t muldiv_add_u64(uint64_t a, uint64_t b, uint64_t add, uint64_t c)
{
	unsigned __int128 product = (unsigned __int128)a * b + add;
	uint64_t hi = (uint64_t)(product >> 64), lo = (uint64_t)product, quotient, remainder;

	if (hi >= c)
		return UINT64_MAX;
	__asm__("divq %4" : "=a"(quotient), "=d"(remainder) : "a"(lo), "d"(hi), "rm"(c) : "cc");
	return quotient;
}

/* floor(a * b / c) */
static inline uint64_t muldiv_u64(uint64_t a, uint64_t b, uint64_t c)
{
	return muldiv_add_u64(a, b, 0, c);
}

/* ceil(a * b / c) */
static inline uint64_t muldiv_up_u64(uint64_t a, uint64_t b, uint64_t c)
{
	return muldiv_add_u64(a, b, c - 1, c);
}

#endif
