/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The HPET against its specification: registers, the sequences of section 2.3.9, delivery, and a
 * comparison with a model that really counts every tick, under random programming.
 */
#include "hv/dev/hpet.c"

#include "tests/unit/fake/device_test.h"

enum { ONE_SHOT = TN_INT_ENB_CNF, PERIODIC = TN_INT_ENB_CNF | TN_TYPE_CNF, LEVEL = 1 << 1 };

static const struct config_dev config = {
    .kind = CONFIG_HPET, .name = "hpet", .model = "amber,hpet"};

static int start(void **state)
{
	device_test_start(1, "amber,hpet", &config);
	fake_lapics_enable(vm);
	return 0;
}

static uint64_t rd(unsigned reg)
{
	return fake_mmio_read(vm, MEMMAP_HPET + reg, 8);
}

static uint32_t rd32(unsigned reg)
{
	return (uint32_t)fake_mmio_read(vm, MEMMAP_HPET + reg, 4);
}

static void wr(unsigned reg, uint64_t v)
{
	fake_mmio_write(vm, MEMMAP_HPET + reg, 8, v);
}

static void wr32(unsigned reg, uint32_t v)
{
	fake_mmio_write(vm, MEMMAP_HPET + reg, 4, v);
}

static unsigned timer(unsigned n, unsigned reg)
{
	return HPET_TIMER0 + n * HPET_TIMER_STRIDE + reg;
}

static unsigned route(unsigned gsi)
{
	return gsi << TN_INT_ROUTE_SHIFT;
}

static void configure(unsigned n, unsigned v)
{
	wr32(timer(n, TIMER_CONFIG), v);
}

static void compare(unsigned n, uint64_t v)
{
	wr(timer(n, TIMER_COMPARATOR), v);
}

/* To a tick of VM time. */
static void at_tick(uint64_t n)
{
	fake_time_set(vm, n * 10);
}

static unsigned edges(unsigned pin)
{
	return fake_of(vm)->ioapic_edges[pin];
}

static bool level(unsigned pin)
{
	return fake_of(vm)->ioapic_level[pin];
}

/* --- registers -------------------------------------------------------------------- */

static void values_after_reset(void **state)
{
	assert_int_equal(rd(HPET_CAPABILITIES), 0x009896808086a701);
	assert_int_equal(rd(HPET_CONFIG), 0);
	assert_int_equal(rd(HPET_STATUS), 0);
	assert_int_equal(rd(HPET_COUNTER), 0);
	for (unsigned n = 0; n < 8; n++) {
		assert_int_equal(rd(0x100 + 0x20 * n), 0x00ff000000008030);
		assert_int_equal(rd(0x108 + 0x20 * n), UINT64_MAX);
		assert_int_equal(rd(0x110 + 0x20 * n), 0);
		assert_int_equal(rd(0x118 + 0x20 * n), 0);
	}
	for (unsigned reg = 0; reg < HPET_SIZE; reg += 8)
		if ((reg > 0x20 && reg < 0xf0) || (reg & ~0x20) == 8 || reg == 0xf8 || reg >= 0x200)
			assert_int_equal(rd(reg), 0);
	assert_false(fake_mmio_claimed(vm, MEMMAP_HPET + 0x400));
}

static void reserved_and_read_only_bits(void **state)
{
	for (unsigned reg = 0; reg < HPET_SIZE; reg += 8)
		wr(reg, reg == HPET_CONFIG ? ~1ULL : UINT64_MAX);
	assert_int_equal(rd(HPET_CAPABILITIES), 0x009896808086a701);
	assert_int_equal(rd(HPET_CONFIG), 2);
	assert_int_equal(rd(HPET_STATUS), 0);
	assert_int_equal(rd(HPET_COUNTER), UINT64_MAX);
	for (unsigned n = 0; n < 8; n++) {
		/* input 31 is not offered: the route stays; "value set" reads as 0 */
		assert_int_equal(rd(timer(n, TIMER_CONFIG)), 0x00ff00000000c13e);
		assert_int_equal(rd(timer(n, TIMER_FSB_ROUTE)), UINT64_MAX);
		assert_int_equal(rd(timer(n, 0x18)), 0);
	}
	for (unsigned reg = 0x200; reg < HPET_SIZE; reg += 8)
		assert_int_equal(rd(reg), 0);
	assert_roundtrip();
}

static void routes_that_are_offered(void **state)
{
	uint32_t offered = rd32(timer(3, TIMER_CONFIG) + 4);

	configure(3, route(20));
	for (unsigned gsi = 0; gsi < 32; gsi++) {
		configure(3, route(gsi));
		if (offered >> gsi & 1) {
			assert_int_equal(rd32(timer(3, TIMER_CONFIG)) >> 9 & 31, gsi);
			configure(3, route(20));
		} else {
			assert_int_equal(rd32(timer(3, TIMER_CONFIG)) >> 9 & 31, 20);
		}
	}
}

static void halves(void **state)
{
	wr32(HPET_COUNTER + 4, 0x12345678);
	wr32(HPET_COUNTER, 0x9abcdef0);
	assert_int_equal(rd(HPET_COUNTER), 0x123456789abcdef0);
	assert_int_equal(rd32(HPET_COUNTER), 0x9abcdef0);
	assert_int_equal(rd32(HPET_COUNTER + 4), 0x12345678);
	assert_int_equal(rd32(HPET_CAPABILITIES + 4), 10000000);
	wr32(timer(1, TIMER_FSB_ROUTE) + 4, 0xfee00000);
	wr32(timer(1, TIMER_FSB_ROUTE), 0x41);
	assert_int_equal(rd(timer(1, TIMER_FSB_ROUTE)), 0xfee0000000000041);
	wr32(timer(1, TIMER_COMPARATOR) + 4, 7);
	assert_int_equal(rd(timer(1, TIMER_COMPARATOR)), 0x7ffffffff);
	wr32(timer(1, TIMER_CONFIG) + 4, 0xffffffff); /* read-only */
	assert_int_equal(rd(timer(1, TIMER_CONFIG)), 0x00ff000000008030);
}

static void improper_accesses_are_counted(void **state)
{
	static const struct {
		unsigned offset, len;
		bool proper;
	} rows[] = {
	    {0x0f0, 8, true},
	    {0x0f0, 4, true},
	    {0x0f4, 4, true},
	    {0x0f4, 8, false},
	    {0x0f1, 4, false},
	    {0x0f2, 4, false},
	    {0x0f0, 1, false},
	    {0x0f0, 2, false},
	    {0x0f0, 3, false},
	    {0x0f0, 7, false},
	    {0x1f4, 4, true},
	};
	uint64_t count = vm->stat_unhandled_io;

	wr(HPET_COUNTER, 42);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t ones = UINT64_MAX >> (64 - 8 * rows[i].len);
		uint64_t v = fake_mmio_read(vm, MEMMAP_HPET + rows[i].offset, rows[i].len);

		if (rows[i].proper)
			assert_int_not_equal(v, ones);
		else
			assert_int_equal(v, ones);
		count += !rows[i].proper;
		assert_int_equal(vm->stat_unhandled_io, count);
		if (rows[i].proper)
			continue;
		fake_mmio_write(vm, MEMMAP_HPET + rows[i].offset, rows[i].len, 0);
		assert_int_equal(vm->stat_unhandled_io, ++count);
		assert_int_equal(rd(HPET_COUNTER), 42);
	}
}

static void counter_starts_stops_and_is_set(void **state)
{
	at_tick(100);
	assert_int_equal(rd(HPET_COUNTER), 0);
	wr(HPET_CONFIG, ENABLE_CNF);
	at_tick(150);
	assert_int_equal(rd(HPET_COUNTER), 50);
	wr(HPET_COUNTER, 7); /* not while it runs */
	assert_int_equal(rd(HPET_COUNTER), 50);
	fake_time_set(vm, 1509); /* not yet the next */
	assert_int_equal(rd(HPET_COUNTER), 50);
	wr(HPET_CONFIG, 0);
	at_tick(1000);
	assert_int_equal(rd(HPET_COUNTER), 50);
	wr(HPET_COUNTER, UINT64_MAX - 9);
	wr(HPET_CONFIG, ENABLE_CNF);
	wr(HPET_CONFIG, ENABLE_CNF); /* again: no change */
	at_tick(1015);
	assert_int_equal(rd(HPET_COUNTER), 5);
	assert_int_equal(fake_time_next(vm), UINT64_MAX); /* and no timer for all that */
}

/* --- timers ----------------------------------------------------------------------- */

static void one_shot(void **state)
{
	configure(2, ONE_SHOT | route(20));
	compare(2, 1000);
	wr(HPET_CONFIG, ENABLE_CNF);
	assert_int_equal(fake_time_next(vm), 10000);
	at_tick(999);
	assert_int_equal(edges(20), 0);
	at_tick(1000);
	assert_int_equal(edges(20), 1);
	assert_false(level(20)); /* an edge: others may use the line */
	assert_int_equal(rd(timer(2, TIMER_COMPARATOR)), 1000);
	assert_int_equal(rd(HPET_STATUS), 0);
	at_tick(1000000);
	assert_int_equal(edges(20), 1);
	compare(2, 1000000); /* that it has: only after it wraps */
	compare(3, 5);
	at_tick(2000000);
	assert_int_equal(edges(20), 1);
	compare(2, 2000001);
	at_tick(2000001);
	assert_int_equal(edges(20), 2);
}

static void disabled_timers_keep_silent(void **state)
{
	configure(2, route(20));
	compare(2, 1000);
	configure(3, LEVEL | route(21));
	compare(3, 1000);
	wr(HPET_CONFIG, ENABLE_CNF);
	assert_int_equal(fake_time_next(vm), UINT64_MAX);
	at_tick(2000);
	assert_int_equal(edges(20), 0);
	assert_int_equal(rd(HPET_STATUS), 8); /* but it says so */
	assert_int_equal(edges(21), 0);
	configure(2, ONE_SHOT | route(20));
	compare(2, 3000);
	wr(HPET_CONFIG, 0); /* nothing matches while it stands */
	at_tick(5000);
	assert_int_equal(edges(20), 0);
	wr(HPET_CONFIG, ENABLE_CNF);
	at_tick(5999);
	assert_int_equal(edges(20), 0);
	at_tick(6000);
	assert_int_equal(edges(20), 1);
}

/* Section 2.3.9.2.2: one write sets accumulator and period. */
static void periodic_with_one_write(void **state)
{
	wr(HPET_CONFIG, 0);
	wr(HPET_COUNTER, 0);
	configure(0, PERIODIC | TN_VAL_SET_CNF | route(16));
	compare(0, 20000);
	wr(HPET_CONFIG, ENABLE_CNF);
	at_tick(19999);
	assert_int_equal(edges(16), 0);
	for (unsigned i = 1; i <= 50; i++) {
		at_tick(20000 * i);
		assert_int_equal(edges(16), i);
		assert_int_equal(rd(timer(0, TIMER_COMPARATOR)), 20000 * (i + 1));
	}
}

/* As Linux does it: the accumulator first, then the period, while the counter runs. */
static void periodic_with_two_writes(void **state)
{
	wr(HPET_CONFIG, ENABLE_CNF);
	at_tick(123456);
	configure(0, PERIODIC | TN_VAL_SET_CNF | TN_32MODE_CNF | route(16));
	wr32(timer(0, TIMER_COMPARATOR), 123456 + 50000);
	wr32(timer(0, TIMER_COMPARATOR), 40000);
	assert_int_equal(rd(timer(0, TIMER_COMPARATOR)), 173456);
	at_tick(173455);
	assert_int_equal(edges(16), 0);
	at_tick(173456 + 40000 * 10);
	assert_int_equal(edges(16), 11);
	/* the period alone: from the next match on */
	wr32(timer(0, TIMER_COMPARATOR), 100000);
	assert_int_equal(rd(timer(0, TIMER_COMPARATOR)), 173456 + 40000 * 11);
	at_tick(173456 + 40000 * 11);
	assert_int_equal(rd(timer(0, TIMER_COMPARATOR)), 173456 + 40000 * 11 + 100000);
}

/* Section 2.3.9.2.2: two halves, each with its own permission. */
static void periodic_in_halves(void **state)
{
	configure(4, PERIODIC | TN_VAL_SET_CNF | route(17));
	wr32(timer(4, TIMER_COMPARATOR), 0x8888);
	configure(4, PERIODIC | TN_VAL_SET_CNF | route(17));
	wr32(timer(4, TIMER_COMPARATOR) + 4, 1);
	assert_int_equal(rd(timer(4, TIMER_COMPARATOR)), 0x100008888);
	wr32(timer(4, TIMER_COMPARATOR) + 4, 0); /* the period only */
	assert_int_equal(rd(timer(4, TIMER_COMPARATOR)), 0x100008888);
	wr(HPET_COUNTER, 0x100008000);
	wr(HPET_CONFIG, ENABLE_CNF);
	at_tick(0x888);
	assert_int_equal(edges(17), 1);
	assert_int_equal(rd(timer(4, TIMER_COMPARATOR)), 0x100008888 + 0x8888);
}

static void late_wakeup_gives_one_interrupt(void **state)
{
	configure(5, PERIODIC | TN_VAL_SET_CNF | route(22));
	compare(5, 20000);
	wr(HPET_CONFIG, ENABLE_CNF);
	fake_time_jump(vm, 20000 * 10 * 95 + 70); /* 95 periods and 7 ticks */
	assert_int_equal(edges(22), 1);
	assert_int_equal(rd(timer(5, TIMER_COMPARATOR)), 20000 * 96);
	at_tick(20000 * 96); /* and the phase is kept */
	assert_int_equal(edges(22), 2);
}

static void short_periods_do_not_storm(void **state)
{
	static const uint64_t periods[] = {1, 2, 7, 100, 1999, 2000, 3000, 0};
	unsigned n = 0;

	for (unsigned i = 0; i < 8; i++) {
		configure(i, PERIODIC | TN_VAL_SET_CNF | route(16 + i));
		compare(i, periods[i]);
	}
	wr(HPET_CONFIG, ENABLE_CNF);
	while (vm_time(vm) < MSEC) {
		fake_time_set(vm, fake_time_next(vm));
		n++;
	}
	assert_in_range(n, 10, 100);
	for (unsigned i = 0; i < 7; i++)
		assert_in_range(edges(16 + i), 10, n);
	assert_int_equal(edges(23), 0); /* a period of 0 at 0: not before the counter wraps */
}

static void a_sea_of_one_shots_far_away(void **state)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 8; i++) {
		configure(i, ONE_SHOT | route(16));
		compare(i, UINT64_MAX - i);
	}
	wr(HPET_CONFIG, ENABLE_CNF);
	while (vm_time(vm) < 3600 * 24 * SEC && n < 1000) {
		fake_time_set(vm, fake_time_next(vm));
		n++;
	}
	assert_true(n < 20);
	assert_int_equal(edges(16), 0);
	compare(0, 0x123456789abcdef); /* 26 years: looked at now and then, and not missed */
	fake_time_set(vm, 0x123456789abcdef * 10 - 10);
	assert_int_equal(edges(16), 0);
	fake_time_advance(vm, 10);
	assert_int_equal(edges(16), 1);
}

static void wraps_in_32_bit_mode(void **state)
{
	uint64_t wrap = 1ULL << 32;

	compare(1, 0x7ffffffffULL);
	configure(1, ONE_SHOT | TN_32MODE_CNF | route(18));
	assert_int_equal(rd(timer(1, TIMER_COMPARATOR)), 0xffffffff); /* the upper half is 0 */
	wr32(timer(1, TIMER_COMPARATOR) + 4, 5);
	assert_int_equal(rd(timer(1, TIMER_COMPARATOR)), 0xffffffff);
	compare(1, 1000);
	wr(HPET_COUNTER, 5 * wrap - 500);
	wr(HPET_CONFIG, ENABLE_CNF);
	at_tick(1499);
	assert_int_equal(edges(18), 0);
	at_tick(1500);
	assert_int_equal(edges(18), 1);
	assert_int_equal(rd(HPET_COUNTER), 5 * wrap + 1000); /* that has 64 bits */
	compare(1, 999);				     /* just gone: once round */
	at_tick(1498 + wrap);
	assert_int_equal(edges(18), 1);
	at_tick(1499 + wrap);
	assert_int_equal(edges(18), 2);
	at_tick(1499 + 2 * wrap);
	assert_int_equal(edges(18), 3);
}

static void periodic_over_the_wrap(void **state)
{
	uint64_t wrap = 1ULL << 32;

	wr(HPET_COUNTER, wrap - 30000);
	configure(6, PERIODIC | TN_VAL_SET_CNF | TN_32MODE_CNF | route(19));
	compare(6, wrap - 10000);
	compare(6, 25000);
	wr(HPET_CONFIG, ENABLE_CNF);
	at_tick(20000);
	assert_int_equal(edges(19), 1);
	assert_int_equal(rd(timer(6, TIMER_COMPARATOR)), 15000);
	at_tick(44999);
	assert_int_equal(edges(19), 1);
	at_tick(45000);
	assert_int_equal(edges(19), 2);
	assert_int_equal(rd(timer(6, TIMER_COMPARATOR)), 40000);
}

/* --- delivery --------------------------------------------------------------------- */

static void level_status(void **state)
{
	configure(3, ONE_SHOT | LEVEL | route(21));
	compare(3, 1000);
	wr(HPET_CONFIG, ENABLE_CNF);
	at_tick(1000);
	assert_true(level(21));
	assert_int_equal(rd(HPET_STATUS), 8);
	wr32(HPET_STATUS, 0); /* zeros do nothing, nor do others' ones */
	wr32(HPET_STATUS, 0xf7);
	wr32(HPET_STATUS + 4, 8);
	assert_true(level(21));
	configure(3, LEVEL | route(21)); /* not enabled: no interrupt, the status stays */
	assert_false(level(21));
	assert_int_equal(rd(HPET_STATUS), 8);
	configure(3, ONE_SHOT | LEVEL | route(21));
	assert_true(level(21));
	wr(HPET_CONFIG, 0); /* the same for all (2.3.5) */
	assert_false(level(21));
	assert_int_equal(rd(HPET_STATUS), 8);
	wr(HPET_CONFIG, ENABLE_CNF);
	assert_true(level(21));
	wr32(HPET_STATUS, 8);
	assert_false(level(21));
	assert_int_equal(edges(21), 3);
}

static void level_stays_over_many_matches(void **state)
{
	configure(3, PERIODIC | LEVEL | TN_VAL_SET_CNF | route(21));
	compare(3, 20000);
	wr(HPET_CONFIG, ENABLE_CNF);
	at_tick(100000);
	assert_true(level(21));
	assert_int_equal(edges(21), 1);
	assert_int_equal(fake_time_next(vm), UINT64_MAX); /* nobody has to be told again */
	wr(HPET_STATUS, 8);
	assert_false(level(21));
	at_tick(119999);
	assert_false(level(21));
	at_tick(120000);
	assert_true(level(21));
}

static void a_line_is_shared(void **state)
{
	irq_line_set(vm, 20, true);
	configure(2, ONE_SHOT | LEVEL | route(20));
	compare(2, 1000);
	configure(3, ONE_SHOT | LEVEL | route(20));
	compare(3, 2000);
	wr(HPET_CONFIG, ENABLE_CNF);
	at_tick(1000);
	irq_line_set(vm, 20, false); /* one lets go, the other holds */
	assert_true(level(20));
	at_tick(2000);
	wr(HPET_STATUS, 4);
	assert_true(level(20));
	irq_line_set(vm, 20, true);
	wr(HPET_STATUS, 8);
	assert_true(level(20));
	irq_line_set(vm, 20, false);
	assert_false(level(20));
	assert_int_equal(edges(20), 1);
}

static void legacy_route(void **state)
{
	struct fake_vm *f = fake_of(vm);

	irq_line_set(vm, 0, true); /* the 8254's output is high */
	irq_line_set(vm, 8, false);
	configure(0, PERIODIC | TN_VAL_SET_CNF | TN_FSB_EN_CNF | route(23));
	compare(0, 20000);
	configure(1, ONE_SHOT | LEVEL | route(23));
	compare(1, 50000);
	configure(2, ONE_SHOT | route(22));
	compare(2, 50000);
	wr(HPET_CONFIG, ENABLE_CNF | LEG_RT_CNF);
	assert_false(f->pic_level[0]);
	assert_false(level(2));
	f->pic_edges[0] = f->pic_edges[8] = f->ioapic_edges[2] = 0;
	for (unsigned i = 0; i < 3; i++) { /* their owners are not heard */
		irq_line_set(vm, 0, false);
		irq_line_set(vm, 0, true);
		irq_line_set(vm, 8, true);
	}
	assert_int_equal(f->pic_edges[0] + f->pic_edges[8], 0);
	at_tick(20000);
	assert_int_equal(f->pic_edges[0], 1);
	assert_int_equal(edges(2), 1);
	assert_true(f->pic_level[0]); /* until the next: an 8259 wants it */
	at_tick(60000);
	assert_int_equal(f->pic_edges[0], 3);
	assert_int_equal(edges(2), 3);
	assert_int_equal(f->pic_edges[8], 1);
	assert_true(level(8));
	wr(HPET_STATUS, 2);
	assert_false(level(8));
	assert_int_equal(edges(23), 0); /* neither route nor FSB count for these two */
	assert_int_equal(edges(22), 1);
	irq_line_set(vm, 0, false);
	assert_true(f->pic_level[0]);
	wr(HPET_CONFIG, ENABLE_CNF); /* given back: as their owners have them */
	assert_false(f->pic_level[0]);
	assert_true(f->pic_level[8]);
	at_tick(80000); /* and timer 0 goes where it says itself: a message to address 0 */
	assert_int_equal(f->pic_edges[0], 3);
	irq_line_set(vm, 0, true);
	assert_true(f->pic_level[0]);
}

static void messages(void **state)
{
	configure(7, PERIODIC | TN_VAL_SET_CNF | TN_FSB_EN_CNF | route(16));
	compare(7, 20000);
	wr(timer(7, TIMER_FSB_ROUTE), 0xfee0000000000051);
	wr(HPET_CONFIG, ENABLE_CNF);
	at_tick(19999);
	assert_int_equal(fake_lapic_take(vm, 0), -1);
	for (unsigned i = 1; i < 5; i++) {
		at_tick(20000 * i);
		assert_int_equal(fake_lapic_take(vm, 0), 0x51);
	}
	assert_int_equal(edges(16), 0);
	wr32(timer(7, TIMER_FSB_ROUTE) + 4, 0x12345678); /* no interrupt lives there */
	at_tick(20000 * 6);
	assert_int_equal(fake_lapic_take(vm, 0), -1);
	wr(timer(7, TIMER_FSB_ROUTE), 0xfee0000000000052);
	configure(7, PERIODIC | LEVEL | TN_FSB_EN_CNF | route(16));
	at_tick(20000 * 7);
	assert_int_equal(fake_lapic_take(vm, 0), 0x52);
	assert_false(level(16));
	assert_int_equal(rd(HPET_STATUS), 0x80);
	at_tick(20000 * 8); /* each match sends, whatever the status says */
	assert_int_equal(fake_lapic_take(vm, 0), 0x52);
}

/* --- state ------------------------------------------------------------------------ */

static void roundtrip(void **state)
{
	configure(0, PERIODIC | TN_VAL_SET_CNF);
	compare(0, 20000);
	configure(3, ONE_SHOT | LEVEL | TN_32MODE_CNF | route(21));
	compare(3, 500);
	wr(HPET_CONFIG, ENABLE_CNF | LEG_RT_CNF);
	at_tick(30000);
	assert_roundtrip();
	assert_int_equal(fake_of(vm)->pic_edges[0], 1); /* no new edge by that */
	assert_int_equal(edges(21), 1);
	at_tick(39999);
	assert_int_equal(fake_of(vm)->pic_edges[0], 1);
	at_tick(40000);
	assert_int_equal(fake_of(vm)->pic_edges[0], 2);
	assert_int_equal(rd(HPET_COUNTER), 40000);
}

/* In a machine made anew, whose 8254 resumes before: its line is the HPET's from the load on. */
static void restored_lines_have_no_edges(void **state)
{
	struct hpet_state s;

	configure(0, PERIODIC | TN_VAL_SET_CNF);
	compare(0, 20000);
	wr(HPET_CONFIG, ENABLE_CNF | LEG_RT_CNF);
	irq_line_set(vm, 0, true);
	at_tick(20000);
	s = *(struct hpet_state *)dev->state;
	fake_device_destroy(dev);
	dev = fake_device_create(vm, "amber,hpet", &config, NULL);
	fake_of(vm)->pic_level[0] = true; /* the controllers come with their own state */
	fake_of(vm)->ioapic_level[2] = true;
	memset(fake_of(vm)->pic_edges, 0, sizeof(fake_of(vm)->pic_edges));
	*(struct hpet_state *)dev->state = s;
	dev->model->loaded(dev);
	irq_line_set(vm, 0, false);
	irq_line_set(vm, 0, true);
	dev->model->resume(dev);
	assert_int_equal(fake_of(vm)->pic_edges[0], 0);
	at_tick(40000);
	assert_int_equal(fake_of(vm)->pic_edges[0], 1);
}

static void overdue_match_survives(void **state)
{
	struct hpet_state s;

	configure(2, ONE_SHOT | route(20));
	compare(2, 1000);
	wr(HPET_CONFIG, ENABLE_CNF);
	s = *(struct hpet_state *)dev->state;
	dev->model->reset(dev);
	assert_int_equal(rd(HPET_CONFIG), 0);
	fake_time_advance(vm, SEC); /* later than the saved deadline */
	assert_int_equal(edges(20), 0);
	assert_int_equal(fake_device_load(dev, &s, NULL), OK);
	assert_int_equal(edges(20), 1);
	assert_int_equal(rd(HPET_COUNTER), 100000000);
}

static void bad_state_is_refused(void **state)
{
	struct hpet_state good, s;

	configure(1, ONE_SHOT | TN_32MODE_CNF);
	compare(1, 20);
	wr(HPET_CONFIG, ENABLE_CNF | LEG_RT_CNF);
	at_tick(20);
	good = s = *(struct hpet_state *)dev->state;
	assert_int_equal(s.held, 2);
	s.config = 4;
	assert_refused(&s, "config");
	s = good;
	s.since = TICK_MAX + 1;
	assert_refused(&s, "since");
	s = good;
	s.timer_config[7] = 1;
	assert_refused(&s, "timer 7: reserved bits");
	s = good;
	s.timer_config[6] = (uint16_t)route(15);
	assert_refused(&s, "timer 6: no route to input 15");
	s = good;
	s.timer_config[5] = TN_VAL_SET_CNF;
	assert_refused(&s, "timer 5: value set in one-shot mode");
	s = good;
	s.comparator[1] = BIT(32);
	assert_refused(&s, "timer 1: more than 32 bits");
	s = good;
	s.period[1] = BIT(63);
	assert_refused(&s, "timer 1: more than 32 bits");
	s = good;
	s.status = 4;
	assert_refused(&s, "status: timer 2 is edge-triggered");
	s = good;
	s.held = 1;
	assert_refused(&s, "held: not");
	s = good;
	s.config = ENABLE_CNF;
	assert_refused(&s, "held: not");
	assert_int_equal(fake_device_check(dev, &good, NULL), OK);
}

static void there_is_one(void **state)
{
	struct errmsg e = {""};

	assert_null(fake_device_create(vm, "amber,hpet", &config, &e));
	assert_non_null(strstr(e.text, "hpet: registers at 0xfed00000"));
	irq_line_set(vm, 20, true); /* the first one's lines are still shared */
	assert_true(vm->lines_shared);
	fake_heap_fail_after(0);
	assert_null(fake_device_create(vm, "amber,hpet", &config, &e));
	fake_heap_fail_after(-1);
}

/* --- a model that counts ------------------------------------------------------------ */

/* Registers as the specification describes them, one tick after the other. */
static struct model {
	uint64_t counter, comparator[8], period[8];
	uint32_t config[8];
	bool enabled, legacy, status[8], matched[8], line[24];
} model;

static bool model_on(unsigned n)
{
	return model.enabled && (model.config[n] & 4);
}

static int model_gsi(unsigned n)
{
	if (n < 2 && model.legacy)
		return n ? 8 : 0;
	if (model.config[n] & 1 << 14 || (model.config[n] >> 9 & 31) < 16)
		return -1;
	return (int)(model.config[n] >> 9 & 31);
}

static void model_tick(void)
{
	if (!model.enabled)
		return;
	model.counter++;
	for (unsigned n = 0; n < 8; n++) {
		bool half = model.config[n] & 1 << 8;

		if (half ? (uint32_t)model.counter != model.comparator[n]
			 : model.counter != model.comparator[n])
			continue;
		if (model.config[n] & 2)
			model.status[n] = true;
		if (model_on(n))
			model.matched[n] = true;
		if (model.config[n] & 8)
			model.comparator[n] += model.period[n];
		if (half)
			model.comparator[n] &= 0xffffffff;
	}
}

static uint64_t seed;

static unsigned dice(unsigned sides)
{
	seed = seed * 6364136223846793005 + 1442695040888963407;
	return (unsigned)(seed >> 33) % sides;
}

/* Values around which something may happen soon. */
static uint64_t some_value(void)
{
	switch (dice(4)) {
	case 0:
		return dice(50);
	case 1:
		return model.counter + dice(600);
	case 2:
		return model.counter - dice(600);
	default:
		return 1ULL << 32 | dice(3000);
	}
}

static void random_config(unsigned n)
{
	uint32_t v = (uint32_t)dice(1 << 15) & ~(31u << 9);

	v |= (16 + dice(8)) << 9;
	configure(n, v);
	model.config[n] = v & 0x7f4e;
	if (!(v & 8))
		model.config[n] &= ~0x40u;
	if (v & 0x100) {
		model.comparator[n] &= 0xffffffff;
		model.period[n] &= 0xffffffff;
	}
	if (!(v & 2))
		model.status[n] = false;
}

static void random_comparator(unsigned n)
{
	uint64_t v = some_value(), covered = UINT64_MAX;
	unsigned at = timer(n, TIMER_COMPARATOR);

	switch (dice(3)) {
	case 0:
		covered = 0xffffffff;
		wr32(at, (uint32_t)v);
		break;
	case 1:
		covered <<= 32;
		wr32(at + 4, (uint32_t)(v >> 32));
		break;
	default:
		wr(at, v);
	}
	if (!(model.config[n] & 8) || (model.config[n] & 0x40))
		model.comparator[n] = (model.comparator[n] & ~covered) | (v & covered);
	model.period[n] = (model.period[n] & ~covered) | (v & covered);
	if (model.config[n] & 0x100) {
		model.comparator[n] &= 0xffffffff;
		model.period[n] &= 0xffffffff;
	}
	model.config[n] &= ~0x40u;
}

static void random_general(void)
{
	unsigned v = dice(4) ? dice(4) | 1 : dice(4);

	wr(HPET_CONFIG, v);
	model.enabled = v & 1;
	model.legacy = v & 2;
	if (model.enabled || dice(2))
		return;
	model.counter = dice(2) ? (1ULL << 32) - dice(2000) : 0 - (uint64_t)dice(2000);
	wr(HPET_COUNTER, model.counter);
}

static void random_status(void)
{
	unsigned v = dice(256);

	wr32(HPET_STATUS, v);
	for (unsigned n = 0; n < 8; n++)
		if (v >> n & 1)
			model.status[n] = false;
}

/* The state goes through a snapshot into a device that was reset. */
static void random_restore(void)
{
	struct hpet_state s;
	struct errmsg e = {""};

	dev->model->quiesce(dev);
	s = *(struct hpet_state *)dev->state;
	dev->model->reset(dev);
	if (fake_device_load(dev, &s, &e) != OK)
		fail_msg("load: %s", e.text);
}

static void check_model(void)
{
	bool line[24] = {false}, edge[24] = {false};
	unsigned status = 0;

	assert_int_equal(rd(HPET_COUNTER), model.counter);
	for (unsigned n = 0; n < 8; n++) {
		int gsi = model_gsi(n);

		assert_int_equal(rd(timer(n, TIMER_COMPARATOR)), model.comparator[n]);
		assert_int_equal(rd32(timer(n, TIMER_CONFIG)) & 0x7f4e, model.config[n] & ~0x40u);
		status |= (unsigned)model.status[n] << n;
		if (gsi >= 0 && (model.config[n] & 2) && model.status[n] && model_on(n))
			line[gsi] = true;
		if (gsi >= 0 && !(model.config[n] & 2) && model.matched[n])
			edge[gsi] = true;
	}
	assert_int_equal(rd(HPET_STATUS), status);
	for (unsigned gsi = 0; gsi < 24; gsi++) {
		unsigned pin = gsi ? gsi : 2;

		if (gsi >= 16)
			assert_int_equal(level(pin), line[gsi]);
		else if (line[gsi])
			assert_true(level(pin));
		if (edge[gsi])
			assert_true(edges(pin) > 0);
		else if (!line[gsi] && gsi >= 16)
			assert_int_equal(edges(pin), 0);
	}
}

static void step(uint64_t ticks)
{
	memset(fake_of(vm)->ioapic_edges, 0, sizeof(fake_of(vm)->ioapic_edges));
	memset(model.matched, 0, sizeof(model.matched));
	for (uint64_t i = 0; i < ticks; i++)
		model_tick();
	if (dice(3))
		fake_time_set(vm, vm_time(vm) + ticks * 10);
	else
		fake_time_jump(vm, ticks * 10);
	if (!dice(5)) {
		random_restore();
		for (unsigned n = 0; n < 8; n++) /* lines fell with the reset and rose again */
			if (model.config[n] & 2)
				model.matched[n] = false;
	}
	check_model();
}

static void random_run(void)
{
	dev->model->reset(dev);
	memset(&model, 0, sizeof(model));
	memset(model.comparator, 0xff, sizeof(model.comparator));
	memset(model.period, 0xff, sizeof(model.period));
	for (unsigned i = 0; i < 300; i++) {
		switch (dice(8)) {
		case 0:
			random_general();
			break;
		case 1:
			random_status();
			break;
		case 2:
		case 3:
			random_config(dice(8));
			break;
		default:
			random_comparator(dice(8));
		}
		step(dice(3) ? dice(40) : dice(700));
	}
}

static void random_programming_against_the_model(void **state)
{
	for (unsigned i = 0; i < 100; i++) {
		seed = i;
		random_run();
	}
}

/* Any register, any value, any time: it ends, its state is one that it accepts, its rate is bound.
 */
static void hostile_programming(void **state)
{
	seed = 4711;
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t v = ((uint64_t)dice(1 << 30) << 34) ^ dice(1 << 30);
		unsigned reg = dice(HPET_TIMER0 + 8 * HPET_TIMER_STRIDE), fired = 0;
		uint64_t until;

		if (dice(2))
			v &= 0x7fff;
		fake_mmio_write(vm, MEMMAP_HPET + reg, 1u << dice(4), v);
		if (dice(4) == 0)
			wr(HPET_CONFIG, v | ENABLE_CNF);
		if (dice(20) == 0)
			fake_time_jump(vm, ((uint64_t)dice(1 << 30)) << dice(12));
		until = vm_time(vm) + MSEC;
		while (fake_time_next(vm) <= until && fired++ < 1000)
			fake_time_set(vm, fake_time_next(vm));
		assert_true(fired < 120);
		fake_time_set(vm, until);
		if (dice(50) == 0)
			assert_roundtrip();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    DEVICE_TEST(values_after_reset),
	    DEVICE_TEST(reserved_and_read_only_bits),
	    DEVICE_TEST(routes_that_are_offered),
	    DEVICE_TEST(halves),
	    DEVICE_TEST(improper_accesses_are_counted),
	    DEVICE_TEST(counter_starts_stops_and_is_set),
	    DEVICE_TEST(one_shot),
	    DEVICE_TEST(disabled_timers_keep_silent),
	    DEVICE_TEST(periodic_with_one_write),
	    DEVICE_TEST(periodic_with_two_writes),
	    DEVICE_TEST(periodic_in_halves),
	    DEVICE_TEST(late_wakeup_gives_one_interrupt),
	    DEVICE_TEST(short_periods_do_not_storm),
	    DEVICE_TEST(a_sea_of_one_shots_far_away),
	    DEVICE_TEST(wraps_in_32_bit_mode),
	    DEVICE_TEST(periodic_over_the_wrap),
	    DEVICE_TEST(level_status),
	    DEVICE_TEST(level_stays_over_many_matches),
	    DEVICE_TEST(a_line_is_shared),
	    DEVICE_TEST(legacy_route),
	    DEVICE_TEST(messages),
	    DEVICE_TEST(roundtrip),
	    DEVICE_TEST(restored_lines_have_no_edges),
	    DEVICE_TEST(overdue_match_survives),
	    DEVICE_TEST(bad_state_is_refused),
	    DEVICE_TEST(there_is_one),
	    DEVICE_TEST(random_programming_against_the_model),
	    DEVICE_TEST(hostile_programming),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
