/* SPDX-License-Identifier: BSD-2-Clause */
/* Making a TSC ratio. */
#include "hv/core/tsc_scale.h"

enum { NEAR_PARTS = 4000 /* 250 ppm */ };

void tsc_scale_init(struct tsc_scale *s, uint64_t guest_hz, uint64_t host_hz)
{
	uint64_t rest = guest_hz % host_hz;

	s->whole = guest_hz / host_hz;
	/* rest < host_hz: the quotient fits */
	__asm__("divq %2" : "=a"(s->fraction), "+d"(rest) : "rm"(host_hz), "a"(0ULL) : "cc");
}

bool tsc_rate_is_near(uint64_t guest_hz, uint64_t host_hz)
{
	uint64_t apart = guest_hz > host_hz ? guest_hz - host_hz : host_hz - guest_hz;

	return apart <= host_hz / NEAR_PARTS;
}
