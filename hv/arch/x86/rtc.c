/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads the MC146818's time of day. */
#include "hv/arch/x86/rtc.h"
#include <string.h>
#include "hv/arch/x86/io.h"
#include "hv/arch/x86/tsc.h"

/* MC146818A datasheet. */
enum {
	CMOS_INDEX = 0x70,
	CMOS_DATA = 0x71,
	RTC_SECONDS = 0,
	RTC_MINUTES = 2,
	RTC_HOURS = 4,
	RTC_DAY = 7,
	RTC_MONTH = 8,
	RTC_YEAR = 9,
	RTC_A = 10,
	RTC_B = 11,
	RTC_A_UIP = 1 << 7,
	RTC_B_24H = 1 << 1,
	RTC_B_BINARY = 1 << 2,
	RTC_PM = 1 << 7,
};

bool calendar_to_ns(const struct calendar *c, uint64_t *ns)
{
	static const uint16_t before_month[12] = {
	    0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
	unsigned leaps;
	uint64_t days;

	if (c->year < 1970 || c->year > 2499 || c->month < 1 || c->month > 12 || c->day < 1 ||
	    c->day > 31 || c->hour > 23 || c->minute > 59 || c->second > 60)
		return false;
	/* Leap years before this one, and this one itself after February. */
	leaps = c->month > 2 ? c->year : c->year - 1;
	leaps = leaps / 4 - leaps / 100 + leaps / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
	days = (c->year - 1970) * 365ULL + leaps + before_month[c->month - 1] + c->day - 1;
	*ns = (((days * 24 + c->hour) * 60 + c->minute) * 60 + c->second) * 1000000000ULL;
	return true;
}

static uint8_t cmos(uint8_t reg)
{
	outb(CMOS_INDEX, reg);
	return inb(CMOS_DATA);
}

static unsigned decode(uint8_t v, bool binary)
{
	return binary ? v : (v >> 4) * 10u + (v & 15);
}

static void read_once(struct calendar *c)
{
	uint8_t b = cmos(RTC_B), hours = cmos(RTC_HOURS);
	bool binary = b & RTC_B_BINARY;

	c->second = decode(cmos(RTC_SECONDS), binary);
	c->minute = decode(cmos(RTC_MINUTES), binary);
	if (b & RTC_B_24H)
		c->hour = decode(hours, binary);
	else
		c->hour = decode(hours & ~RTC_PM & 0xff, binary) % 12 + (hours & RTC_PM ? 12 : 0);
	c->day = decode(cmos(RTC_DAY), binary);
	c->month = decode(cmos(RTC_MONTH), binary);
	c->year = 2000 + decode(cmos(RTC_YEAR), binary);
}

bool rtc_read(uint64_t *ns)
{
	struct calendar a, b;

	/* No update under way, and twice the same: else a field may be half a second old. */
	for (int tries = 0; tries < 1000; tries++) {
		if (cmos(RTC_A) & RTC_A_UIP) {
			delay_ns(10000);
			continue;
		}
		read_once(&a);
		read_once(&b);
		if (!memcmp(&a, &b, sizeof(a)))
			return calendar_to_ns(&a, ns);
	}
	return false;
}
