/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ratio of a guest's TSC rate to the host's, as a fixed-point number, and its
 * application: two multiplications, no division. Monotonic; a 64-bit fraction is off by
 * less than a tick after 2^64 host ticks, so that nothing drifts.
 */
#ifndef AMBER_CORE_TSC_SCALE_H
#define AMBER_CORE_TSC_SCALE_H

#include "hv/lib/types.h"

/* Guest ticks per host tick: whole + fraction / 2^64. */
struct tsc_scale {
	uint64_t whole, fraction;
};

/* guest_hz / host_hz, rounded down. host_hz > 0. */
void tsc_scale_init(struct tsc_scale *s, uint64_t guest_hz, uint64_t host_hz);

/* True if the rates are within 250 ppm: a guest is not scaled for that little. */
bool tsc_rate_is_near(uint64_t guest_hz, uint64_t host_hz);

/* floor(host * ratio), modulo 2^64. */
static inline uint64_t tsc_scale(const struct tsc_scale *s, uint64_t host)
{
	return host * s->whole + (uint64_t)((unsigned __int128)host * s->fraction >> 64);
}

/* The same for a difference of either sign, rounded towards zero. */
static inline uint64_t tsc_scale_difference(const struct tsc_scale *s, int64_t d)
{
	return d < 0 ? -tsc_scale(s, -(uint64_t)d) : tsc_scale(s, (uint64_t)d);
}

#endif
