/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of mc146818.c, by which it is included. */
#include "hv/core/device_regs.h"

#define RTC(reg) REG_INDEX(REG_PORT, 0x71, 1, 0x70, 1, reg)
/* The running clock: what is written is not what is read later. */
#define TIME(reg, register_name, test_name)                                                        \
	{                                                                                          \
		RTC(reg), .name = (register_name), .section = "time, calendar and alarm",          \
			  .flags = REG_SPECIAL, .test = (test_name)                                \
	}
#define ALARM(reg, register_name)                                                                  \
	{                                                                                          \
		RTC(reg), .name = (register_name), .section = "time, calendar and alarm",          \
			  .writable = 0xff, .doc = "C0h to FFh: any", .test = "alarm_wildcards"    \
	}
#define RAM(reg, bytes)                                                                            \
	{                                                                                          \
		RTC(reg), .count = (bytes), .stride = 1, .name = "RAM", .section = "ICH9, 13.6.1", \
			  .writable = 0xff                                                         \
	}
/* RAM that firmware fills in: here it is so at power-on. */
#define SIZE(reg, bytes, what)                                                                     \
	{                                                                                          \
		RTC(reg), .count = (bytes), .stride = 1, .name = "RAM", .section = "-",            \
			  .writable = 0xff, .varies = 0xff, .doc = (what),                         \
			  .test = "firmware_finds_memory_sizes"                                    \
	}

static const struct reg_row mc146818_rows[] = {
    {REG_AT(REG_PORT, 0x70, 1), .name = "RTC_INDEX", .section = "ICH9, 13.6.1", .reset = 0xff,
	.flags = REG_WRITE_ONLY,
	.bits = REG_BITS({0x7f, "index", NULL},
	    {0x80, "NMI_EN", "not implemented: kept, there is no NMI to mask"})},
    {REG_AT(REG_PORT, 0x71, 1), .name = "RTC_TARGET", .section = "ICH9, 13.6.1",
	.flags = REG_SPECIAL, .doc = "data", .test = "memory"},
    TIME(RTC_SECONDS, "seconds", "time_of_day_bcd"),
    ALARM(RTC_SECONDS_ALARM, "seconds alarm"),
    TIME(RTC_MINUTES, "minutes", "time_of_day_bcd"),
    ALARM(RTC_MINUTES_ALARM, "minutes alarm"),
    TIME(RTC_HOURS, "hours", "binary_and_twelve_hours"),
    ALARM(RTC_HOURS_ALARM, "hours alarm"),
    TIME(RTC_DAY_OF_WEEK, "day of the week", "calendar"),
    TIME(RTC_DAY, "day of the month", "calendar"),
    TIME(RTC_MONTH, "month", "calendar"),
    TIME(RTC_YEAR, "year", "calendar"),
    {RTC(RTC_A), .name = "register A", .section = "register A", .reset = A_DIVIDER_32K | 6,
	.writable = A_RATE | A_DIVIDER, .varies = A_UIP, .doc = "a reset leaves it",
	.test = "update_in_progress",
	.bits = REG_BITS({A_RATE, "RS3-RS0", "period of the periodic interrupt"},
	    {A_DIVIDER, "DV2-DV0",
		"2 runs the clock, 6 and 7 stop it; not implemented: others, "
		"for crystals that a PC has not, run it without periodic interrupt"},
	    {A_UIP, "UIP", "update in progress"})},
    {RTC(RTC_B), .name = "register B", .section = "register B", .reset = B_24H,
	.writable = 0xff & ~B_UIE, .varies = B_UIE, .doc = "a reset clears PIE, AIE, UIE and SQWE",
	.test = "update_ended_interrupt",
	.bits = REG_BITS({B_DSE, "DSE", "not implemented: kept, no daylight savings time"},
	    {B_24H, "24/12", NULL}, {B_BINARY, "DM", "binary, not BCD"},
	    {B_SQWE, "SQWE", "not implemented: kept, there is no SQW pin"},
	    {B_UIE, "UIE", "rw, but SET clears it"}, {B_AIE, "AIE", NULL}, {B_PIE, "PIE", NULL},
	    {B_SET, "SET", "stops the clock"})},
    {RTC(RTC_C), .name = "register C", .section = "register C", .flags = REG_READ_ONLY,
	.rc = C_FLAGS, .field = "regs", .element = RTC_C, .test = "periodic_interrupt",
	.bits = REG_BITS({C_UF, "UF", NULL}, {C_AF, "AF", NULL}, {C_PF, "PF", NULL},
	    {C_IRQF, "IRQF", "a flag whose interrupt is enabled is set"})},
    {RTC(RTC_D), .name = "register D", .section = "register D", .flags = REG_READ_ONLY,
	.reset = D_VRT,
	.bits = REG_BITS({0x3f, "date alarm", "not implemented (ICH9, 13.6.2.4): reads 0"},
	    {D_VRT, "VRT", "the battery is good"})},
    RAM(0x0e, 7),
    SIZE(CMOS_BASE_MEMORY, 2, "KiB of memory below 640 KiB"),
    SIZE(CMOS_EXTENDED_MEMORY, 2, "KiB of memory above 1 MiB, FFFFh at most"),
    RAM(0x19, 23),
    SIZE(CMOS_EXTENDED_MEMORY2, 2, "the same again"),
    TIME(RTC_CENTURY, "century", "calendar"),
    RAM(0x33, 1),
    SIZE(CMOS_MEMORY_16M, 2, "64 KiB of memory between 16 MiB and 4 GiB"),
    RAM(0x36, 37),
    SIZE(CMOS_MEMORY_4G, 3, "64 KiB of memory above 4 GiB"),
    RAM(0x5e, 34),
    {0},
};

DEVICE_REGISTERS(mc146818_registers) = {
    .model = "amber,mc146818",
    .title = "real-time clock with 128 bytes of memory",
    .sheet = "Motorola MC146818A Real-Time Clock plus RAM, 1988; ICH9 datasheet",
    .doc = "The upper bank of the ICH9's memory (ports 72h and 73h) is not implemented.",
    .tests = "test_mc146818.c",
    .ranges = REG_RANGES({REG_PORT, 0x70, 2, 1}),
    .rows = mc146818_rows,
};
#undef RTC
#undef TIME
#undef ALARM
#undef RAM
#undef SIZE
