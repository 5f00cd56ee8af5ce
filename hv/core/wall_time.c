/* SPDX-License-Identifier: BSD-2-Clause */
/* The wall clock: read from the machine once, then carried on by the host clock. */
#include "hv/core/wall_time.h"
#include "hv/arch/x86/efi_rt.h"
#include "hv/arch/x86/rtc.h"
#include "hv/core/thread.h"
#include "hv/core/vtimer.h"
#include "hv/lib/log.h"

static uint64_t at_start; /* wall time when host time was 0 */

void wall_time_init(void)
{
	const char *source = "firmware";
	uint64_t ns = 0;

	if (!efi_rt_time(&ns)) {
		source = "CMOS clock";
		if (!rtc_read(&ns)) {
			log_warn("wall clock: neither firmware nor CMOS know the time");
			return;
		}
	}
	at_start = ns - time_now();
	log_info("wall clock: %lu s since 1970, from the %s", ns / 1000000000, source);
}

uint64_t wall_time(void)
{
	return at_start + time_now();
}
