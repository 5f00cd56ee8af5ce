/* SPDX-License-Identifier: BSD-2-Clause */
/* The host's battery clock, and calendar arithmetic. */
#ifndef AMBER_X86_RTC_H
#define AMBER_X86_RTC_H

#include "hv/lib/types.h"

struct calendar {
	unsigned year, month, day, hour, minute, second; /* month and day from 1 */
};

/* Nanoseconds since 1970-01-01; false if a field is out of range (years 1970..2499). */
bool calendar_to_ns(const struct calendar *c, uint64_t *ns);
/* The CMOS clock, taken as UTC; false if its values make no sense. */
bool rtc_read(uint64_t *ns);

#endif
