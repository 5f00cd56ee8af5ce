/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of hpet.c, by which it is included. */
#include "hv/core/device_regs.h"

#define AT(reg)	   REG_AT(REG_MEMORY, MEMMAP_HPET + (reg), 8)
#define TIMER(reg) AT(HPET_TIMER0 + (reg)), .count = TIMERS, .stride = HPET_TIMER_STRIDE
#define CAPS	   (TN_PER_INT_CAP | TN_SIZE_CAP | TN_FSB_INT_DEL_CAP)

static const struct reg_row hpet_rows[] = {
    {AT(HPET_CAPABILITIES), .name = "GCAP_ID", .section = "2.3.4", .flags = REG_READ_ONLY,
	.reset = PERIOD_FS << 32 | HPET_ID,
	.bits = REG_BITS({0xff, "REV_ID", NULL}, {0x1f00, "NUM_TIM_CAP", "timers less one"},
	    {1 << 13, "COUNT_SIZE_CAP", "64 bits"}, {1 << 15, "LEG_RT_CAP", NULL},
	    {0xffff0000, "VENDOR_ID", NULL},
	    {0xffffffffULL << 32, "COUNTER_CLK_PERIOD", "femtoseconds: 100 MHz"})},
    {AT(HPET_CONFIG), .name = "GEN_CONF", .section = "2.3.5", .writable = CONFIG_WRITABLE,
	.test = "legacy_route",
	.bits = REG_BITS({ENABLE_CNF, "ENABLE_CNF", "the counter runs, timers may interrupt"},
	    {LEG_RT_CNF, "LEG_RT_CNF",
		"timers 0 and 1 have the lines of the 8254 and of the RTC"})},
    {AT(HPET_STATUS), .name = "GINTR_STA", .section = "2.3.6", .w1c = 0xff, .field = "status",
	.test = "level_status",
	.bits = REG_BITS({0xff, "Tn_INT_STS", "a bit for each level-triggered timer"})},
    {AT(HPET_COUNTER), .name = "MAIN_CNT", .section = "2.3.7", .writable = UINT64_MAX,
	.doc = "writable while it is halted", .test = "counter_starts_stops_and_is_set"},
    {TIMER(TIMER_CONFIG), .name = "TIMn_CONF", .section = "2.3.8",
	.reset = CAPS | (uint64_t)ROUTES << TN_INT_ROUTE_CAP_SHIFT,
	.writable = TN_KEPT & ~TN_VAL_SET_CNF & ~TN_INT_ROUTE_CNF, .varies = TN_INT_ROUTE_CNF,
	.test = "routes_that_are_offered",
	.bits = REG_BITS({TN_INT_TYPE_CNF, "Tn_INT_TYPE_CNF", "level-triggered"},
	    {TN_INT_ENB_CNF, "Tn_INT_ENB_CNF", NULL}, {TN_TYPE_CNF, "Tn_TYPE_CNF", "periodic"},
	    {TN_PER_INT_CAP, "Tn_PER_INT_CAP", NULL}, {TN_SIZE_CAP, "Tn_SIZE_CAP", "64 bits"},
	    {TN_VAL_SET_CNF, "Tn_VAL_SET_CNF", "write-only: see `periodic_with_two_writes`"},
	    {TN_32MODE_CNF, "Tn_32MODE_CNF", NULL},
	    {TN_INT_ROUTE_CNF, "Tn_INT_ROUTE_CNF", "keeps its value if the new one is not offered"},
	    {TN_FSB_EN_CNF, "Tn_FSB_EN_CNF", NULL},
	    {TN_FSB_INT_DEL_CAP, "Tn_FSB_INT_DEL_CAP", NULL},
	    {0xffffffffULL << TN_INT_ROUTE_CAP_SHIFT, "Tn_INT_ROUTE_CAP", "inputs 16 to 23"})},
    {TIMER(TIMER_COMPARATOR), .name = "TIMn_COMP", .section = "2.3.9", .reset = UINT64_MAX,
	.writable = UINT64_MAX, .doc = "32 bits in 32-bit mode; in periodic mode it moves on",
	.test = "periodic_with_one_write"},
    {TIMER(TIMER_FSB_ROUTE), .name = "TIMn_FSB_ROUTE", .section = "2.3.10", .writable = UINT64_MAX,
	.test = "messages",
	.bits = REG_BITS(
	    {0xffffffff, "Tn_FSB_INT_VAL", NULL}, {0xffffffffULL << 32, "Tn_FSB_INT_ADDR", NULL})},
    {0},
};

DEVICE_REGISTERS(hpet_registers) = {
    .model = "amber,hpet",
    .title = "high precision event timers",
    .sheet = "IA-PC HPET (High Precision Event Timers) Specification 1.0a, October 2004",
    .doc = "Registers take aligned accesses of 4 and 8 bytes (2.3.1).",
    .tests = "test_hpet.c",
    .ranges = REG_RANGES({REG_MEMORY, MEMMAP_HPET, HPET_SIZE, 8}),
    .rows = hpet_rows,
};
#undef AT
#undef TIMER
#undef CAPS
