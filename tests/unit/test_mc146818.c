/* SPDX-License-Identifier: BSD-2-Clause */
/* The real-time clock against the MC146818A datasheet. */
#include "hv/dev/mc146818.c"

#include "tests/unit/fake/device_test.h"

#define WALL 1700000000ULL /* 2023-11-14 22:13:20 UTC, a Tuesday */

static int start(void **state)
{
	fake_wall_set(WALL * SEC);
	device_test_start(1, "amber,mc146818", NULL);
	return 0;
}

static uint8_t rd(uint8_t reg)
{
	out8(0x70, reg);
	return in8(0x71);
}

static void wr(uint8_t reg, uint8_t v)
{
	out8(0x70, reg);
	out8(0x71, v);
}

static bool line(void)
{
	return fake_of(vm)->pic_level[8];
}

static void assert_time(
    unsigned century, unsigned y, unsigned mo, unsigned d, unsigned h, unsigned mi, unsigned s)
{
	assert_int_equal(rd(0x32), century);
	assert_int_equal(rd(9), y);
	assert_int_equal(rd(8), mo);
	assert_int_equal(rd(7), d);
	assert_int_equal(rd(4), h);
	assert_int_equal(rd(2), mi);
	assert_int_equal(rd(0), s);
}

static void time_of_day_bcd(void **state)
{
	assert_time(0x20, 0x23, 0x11, 0x14, 0x22, 0x13, 0x20);
	assert_int_equal(rd(6), 3); /* Tuesday */
	assert_int_equal(rd(0x0d), 0x80);
	fake_time_advance(vm, 3600 * 2 * SEC);
	assert_time(0x20, 0x23, 0x11, 0x15, 0x00, 0x13, 0x20);
}

static void binary_and_twelve_hours(void **state)
{
	wr(0x0b, 0x06);
	assert_time(20, 23, 11, 14, 22, 13, 20);
	wr(0x0b, 0x04);
	assert_int_equal(rd(4), 0x80 | 10);
	wr(0x0b, 0x00);
	assert_int_equal(rd(4), 0x90);
	fake_wall_set((WALL + 2 * 3600) * SEC); /* after midnight */
	assert_int_equal(rd(4), 0x12);
	fake_wall_set((WALL + 14 * 3600) * SEC); /* after noon */
	assert_int_equal(rd(4), 0x92);
}

static void calendar(void **state)
{
	static const struct {
		uint64_t t;
		uint8_t century, y, mo, d, weekday;
	} cases[] = {
	    {0, 0x19, 0x70, 0x01, 0x01, 5},
	    {951782400, 0x20, 0x00, 0x02, 0x29, 3},
	    {951868800, 0x20, 0x00, 0x03, 0x01, 4},
	    {1709164800, 0x20, 0x24, 0x02, 0x29, 5},
	    {4107542400, 0x21, 0x00, 0x03, 0x01, 2}, /* 2100 is no leap year */
	    {4107456000, 0x21, 0x00, 0x02, 0x28, 1},
	};

	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		fake_wall_set(cases[i].t * SEC);
		assert_int_equal(rd(0x32), cases[i].century);
		assert_int_equal(rd(9), cases[i].y);
		assert_int_equal(rd(8), cases[i].mo);
		assert_int_equal(rd(7), cases[i].d);
		assert_int_equal(rd(6), cases[i].weekday);
	}
}

/* As an operating system sets it: SET, the registers, SET off. */
static void setting_the_time(void **state)
{
	wr(0x0b, 0x82);
	wr(0x32, 0x19);
	wr(9, 0x99);
	wr(8, 0x12);
	wr(7, 0x31);
	wr(4, 0x23);
	wr(2, 0x59);
	wr(0, 0x58);
	fake_time_advance(vm, 10 * SEC);
	assert_int_equal(rd(0), 0x58); /* it stands */
	wr(0x0b, 0x02);
	assert_time(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x58);
	fake_time_advance(vm, 2 * SEC);
	assert_time(0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00);
	dev->model->reset(dev); /* the battery keeps it */
	assert_int_equal(rd(9), 0x00);
}

static void setting_one_register_of_a_running_clock(void **state)
{
	wr(4, 0x08);
	assert_time(0x20, 0x23, 0x11, 0x14, 0x08, 0x13, 0x20);
	fake_time_advance(vm, SEC);
	assert_int_equal(rd(0), 0x21);
}

static void divider_reset_stops(void **state)
{
	wr(0x0a, 0x76);
	fake_time_advance(vm, 5 * SEC);
	assert_int_equal(rd(0), 0x20);
	wr(0x0a, 0x26);
	fake_time_advance(vm, SEC);
	assert_int_equal(rd(0), 0x21);
}

static void nonsense_is_survived(void **state)
{
	wr(0x0b, 0x82);
	for (unsigned reg = 0; reg < 10; reg++)
		wr((uint8_t)reg, 0xff);
	wr(0x32, 0xff);
	wr(0x0b, 0x02);
	for (unsigned reg = 0; reg < 0x80; reg++)
		rd((uint8_t)reg);
	assert_roundtrip();
}

static void update_in_progress(void **state)
{
	assert_int_equal(rd(0x0a), 0x26);
	fake_time_advance(vm, SEC - 2 * MSEC);
	assert_int_equal(rd(0x0a), 0xa6);
	fake_time_advance(vm, 2 * MSEC);
	assert_int_equal(rd(0x0a), 0x26);
	wr(0x0a, 0xff);
	assert_int_equal(rd(0x0a), 0x7f); /* read-only bit */
}

static void update_ended_interrupt(void **state)
{
	fake_time_advance(vm, 300 * MSEC);
	rd(0x0c);
	wr(0x0b, 0x12);
	assert_false(line());
	fake_time_advance(vm, 699 * MSEC);
	assert_false(line());
	fake_time_advance(vm, 1 * MSEC);
	assert_true(line());
	assert_int_equal(rd(0x0c) & ~C_PF, 0x90);
	assert_false(line());
	assert_int_equal(rd(0x0c), 0x00);
	wr(0x0b, 0x92); /* SET clears the enable */
	assert_int_equal(rd(0x0b), 0x82);
}

static void flags_without_interrupts_need_no_timer(void **state)
{
	rd(0x0c);
	assert_int_equal(fake_time_next(vm), UINT64_MAX);
	fake_time_advance(vm, SEC);
	assert_int_equal(rd(0x0c), 0x50); /* UF and PF, no IRQF */
	assert_false(line());
}

static void alarm_interrupt(void **state)
{
	wr(1, 0x25);
	wr(3, 0x13);
	wr(5, 0x22);
	rd(0x0c);
	wr(0x0b, 0x22);
	fake_time_advance(vm, 4 * SEC);
	assert_false(line());
	fake_time_advance(vm, SEC);
	assert_true(line());
	assert_int_equal(rd(0x0c) & 0xa0, 0xa0);
	fake_time_advance(vm, 86399 * SEC);
	assert_false(line());
	fake_time_advance(vm, SEC);
	assert_true(line());
}

static void alarm_wildcards(void **state)
{
	unsigned n = 0;

	wr(1, 0x00);
	wr(3, 0xff);
	wr(5, 0xc0); /* every minute */
	rd(0x0c);
	wr(0x0b, 0x22);
	for (unsigned i = 0; i < 600; i++) {
		fake_time_advance(vm, SEC);
		if (line()) {
			n++;
			rd(0x0c);
		}
	}
	assert_int_equal(n, 10);
}

static void periodic_interrupt(void **state)
{
	unsigned n = 0;

	wr(0x0a, 0x26); /* 1024 Hz */
	rd(0x0c);
	wr(0x0b, 0x42);
	while (vm_time(vm) < SEC && fake_time_next(vm) <= SEC) {
		fake_time_set(vm, fake_time_next(vm));
		assert_true(line());
		assert_int_equal(rd(0x0c) & 0xc0, 0xc0);
		n++;
	}
	assert_int_equal(n, 1024);
	fake_time_advance(vm, 500 * MSEC); /* nobody reads C: one interrupt */
	assert_int_equal(rd(0x0c) & 0xc0, 0xc0);
	assert_false(line());
}

static void memory(void **state)
{
	for (unsigned reg = 0x0e; reg < 0x80; reg++) {
		if (reg != 0x32)
			wr((uint8_t)reg, (uint8_t)(reg * 3));
	}
	dev->model->reset(dev);
	for (unsigned reg = 0x0e; reg < 0x80; reg++) {
		if (reg != 0x32)
			assert_int_equal(rd((uint8_t)reg), (uint8_t)(reg * 3));
	}
	assert_int_equal(rd(0x80 | 0x20), 0x60); /* bit 7 is the NMI mask */
	assert_int_equal(in8(0x70), 0xff);
}

static void firmware_finds_memory_sizes(void **state)
{
	assert_int_equal(rd(0x15) | rd(0x16) << 8, 640);
	assert_int_equal(rd(0x17) | rd(0x18) << 8, 15 * 1024);
	assert_int_equal(rd(0x34) | rd(0x35) << 8, 0);
}

static void roundtrip(void **state)
{
	wr(0x0b, 0x52);
	wr(4, 0x05);
	assert_roundtrip();
	assert_int_equal(rd(4), 0x05);
	fake_time_advance(vm, SEC);
	assert_true(line());
	assert_roundtrip();
	assert_true(line());
}

/* Restored much later, the clock shows the real time and gives one interrupt. */
static void restore_much_later(void **state)
{
	struct mc146818_state s;

	wr(0x0b, 0x12);
	rd(0x0c);
	s = *(struct mc146818_state *)dev->state;
	fake_wall_set((WALL + 100 * 86400) * SEC);
	assert_int_equal(fake_device_load(dev, &s, NULL), OK);
	assert_true(line());
	rd(0x0c);
	assert_false(line());
	assert_time(0x20, 0x24, 0x02, 0x22, 0x22, 0x13, 0x20);
	fake_wall_set((WALL - 86400) * SEC); /* and a clock that is behind goes on */
	assert_int_equal(fake_device_load(dev, &s, NULL), OK);
	fake_time_advance(vm, SEC);
	assert_true(line());
}

static void bad_state_is_refused(void **state)
{
	struct mc146818_state good = *(struct mc146818_state *)dev->state, s = good;

	s.regs[0x0a] |= 0x80;
	assert_refused(&s, "register A");
	s = good;
	s.regs[0x0c] = 1;
	assert_refused(&s, "register C");
	s = good;
	s.offset = BIT(62);
	assert_refused(&s, "offset");
	s = good;
	s.update_seen = BIT(63);
	assert_refused(&s, "update-seen");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    DEVICE_TEST(time_of_day_bcd),
	    DEVICE_TEST(binary_and_twelve_hours),
	    DEVICE_TEST(calendar),
	    DEVICE_TEST(setting_the_time),
	    DEVICE_TEST(setting_one_register_of_a_running_clock),
	    DEVICE_TEST(divider_reset_stops),
	    DEVICE_TEST(nonsense_is_survived),
	    DEVICE_TEST(update_in_progress),
	    DEVICE_TEST(update_ended_interrupt),
	    DEVICE_TEST(flags_without_interrupts_need_no_timer),
	    DEVICE_TEST(alarm_interrupt),
	    DEVICE_TEST(alarm_wildcards),
	    DEVICE_TEST(periodic_interrupt),
	    DEVICE_TEST(memory),
	    DEVICE_TEST(firmware_finds_memory_sizes),
	    DEVICE_TEST(roundtrip),
	    DEVICE_TEST(restore_much_later),
	    DEVICE_TEST(bad_state_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
