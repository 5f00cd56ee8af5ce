/* SPDX-License-Identifier: BSD-2-Clause */
/* The 8254 against its datasheet; times are exact counts of its clock. */
#include "hv/dev/i8254.c"

#include "tests/unit/fake/device_test.h"

static int start(void **state)
{
	device_test_start(1, "amber,i8254", NULL);
	return 0;
}

/* To the first nanosecond at which the clock has counted n in all. */
static void at_tick(uint64_t n)
{
	fake_time_set(vm, (n * 1000000000ULL + 1193181) / 1193182);
}

static void program(unsigned c, uint8_t mode, uint16_t count)
{
	out8(0x43, (uint8_t)(c << 6 | 0x30 | mode << 1));
	out8((uint16_t)(0x40 + c), (uint8_t)count);
	out8((uint16_t)(0x40 + c), (uint8_t)(count >> 8));
}

static uint16_t count_of(unsigned c)
{
	uint16_t v;

	out8(0x43, (uint8_t)(c << 6));
	v = in8((uint16_t)(0x40 + c));
	return (uint16_t)(v | in8((uint16_t)(0x40 + c)) << 8);
}

static uint8_t status_of(unsigned c)
{
	out8(0x43, (uint8_t)(0xe0 | 2 << c));
	return in8((uint16_t)(0x40 + c));
}

static unsigned edges(void)
{
	return fake_of(vm)->pic_edges[0];
}

static void mode0_terminal_count(void **state)
{
	program(0, 0, 1000);
	assert_int_equal(status_of(0) & 0xbf, 0x30);
	at_tick(500);
	assert_int_equal(count_of(0), 501); /* loaded with the first clock after the write */
	at_tick(1000);
	assert_int_equal(edges(), 0);
	at_tick(1001);
	assert_int_equal(edges(), 1);
	assert_true(fake_of(vm)->ioapic_level[2]);
	assert_int_equal(status_of(0) & 0x80, 0x80);
	at_tick(1002);
	assert_int_equal(count_of(0), 0xffff); /* it goes on counting */
	at_tick(200000);
	assert_int_equal(edges(), 1);
	program(0, 0, 50); /* writing a count takes the output down */
	assert_false(fake_of(vm)->pic_level[0]);
}

static void mode0_first_byte_stops(void **state)
{
	program(0, 0, 1000);
	out8(0x40, 0x10);
	at_tick(5000);
	assert_int_equal(edges(), 0);
	out8(0x40, 0x00);
	at_tick(5017);
	assert_int_equal(edges(), 1);
}

static void mode2_rate_generator(void **state)
{
	unsigned first;

	program(0, 2, 11932); /* Linux's 100 Hz */
	first = edges();      /* the output went high: that is an edge too */
	at_tick(11932);
	assert_int_equal(edges(), first);
	at_tick(11933);
	assert_int_equal(edges(), first + 1);
	at_tick(1 + 11932 * 100);
	assert_int_equal(edges(), first + 100);
	assert_int_equal(count_of(0), 11932);
	at_tick(1 + 11932 * 101 - 1);
	assert_int_equal(count_of(0), 1);
	assert_int_equal(status_of(0) & 0x80, 0); /* low for the last count */
}

static void periods_do_not_drift(void **state)
{
	unsigned first;

	program(0, 2, 1193); /* about 1 kHz, not a whole number of nanoseconds */
	first = edges();
	fake_time_set(vm, 3600 * SEC);
	assert_int_equal(edges() - first, (3600ULL * 1193182 - 1) / 1193);
}

static void late_wakeup_gives_one_edge(void **state)
{
	unsigned before;

	program(0, 2, 11932);
	at_tick(20000);
	before = edges();
	fake_time_jump(vm, 95 * MSEC);
	assert_int_equal(edges(), before + 1);
	at_tick(1 + 11932 * 12); /* and the phase is kept */
	assert_int_equal(edges(), before + 2);
}

static void tiny_period_does_not_storm(void **state)
{
	unsigned n = 0;

	program(0, 2, 2);
	while (vm_time(vm) < MSEC) {
		fake_time_set(vm, fake_time_next(vm));
		n++;
	}
	assert_in_range(n, 10, 60);
}

static void reload_waits_for_the_period(void **state)
{
	unsigned first;

	program(0, 2, 1000);
	first = edges();
	at_tick(500);
	out8(0x40, 0xf4); /* 500 */
	out8(0x40, 0x01);
	assert_int_equal(status_of(0) & 0x40, 0x40); /* null count: not loaded yet */
	at_tick(1001);
	assert_int_equal(edges(), first + 1);
	assert_int_equal(status_of(0) & 0x40, 0);
	at_tick(1501);
	assert_int_equal(edges(), first + 2);
	at_tick(2001);
	assert_int_equal(edges(), first + 3);
}

static void mode3_square_wave(void **state)
{
	program(2, 3, 10);
	out8(0x61, 0x01);
	for (unsigned i = 1; i <= 40; i++) {
		at_tick(i);
		assert_int_equal(!!(in8(0x61) & 0x20), (i - 1) % 10 < 5);
	}
	program(2, 3, 5); /* odd: high for three, low for two */
	for (unsigned i = 0; i < 20; i++) {
		at_tick(41 + i);
		assert_int_equal(!!(in8(0x61) & 0x20), i % 5 < 3);
	}
}

static void mode1_one_shot(void **state)
{
	program(2, 1, 100);
	assert_true(in8(0x61) & 0x20);
	at_tick(1000);
	out8(0x61, 0x01); /* the gate's edge triggers */
	at_tick(1001);
	assert_false(in8(0x61) & 0x20);
	at_tick(1050);
	out8(0x61, 0x00);
	out8(0x61, 0x01); /* again: it starts anew */
	at_tick(1150);
	assert_false(in8(0x61) & 0x20);
	at_tick(1151);
	assert_true(in8(0x61) & 0x20);
}

static void gate_holds_mode0(void **state)
{
	out8(0x61, 0x01);
	program(2, 0, 1000);
	at_tick(401);
	out8(0x61, 0x00);
	at_tick(5000);
	assert_int_equal(count_of(2), 600);
	out8(0x61, 0x01);
	at_tick(5599);
	assert_false(in8(0x61) & 0x20);
	at_tick(5600);
	assert_true(in8(0x61) & 0x20);
}

static void mode4_software_strobe(void **state)
{
	unsigned first;

	program(0, 4, 100); /* Linux's one-shot clock event */
	first = edges();
	at_tick(101);
	assert_int_equal(edges(), first);
	at_tick(102); /* low for one clock, then high */
	assert_int_equal(edges(), first + 1);
	at_tick(100000);
	assert_int_equal(edges(), first + 1);
	out8(0x40, 100);
	out8(0x40, 0);
	at_tick(100200);
	assert_int_equal(edges(), first + 2);
}

static void mode5_hardware_strobe(void **state)
{
	program(2, 5, 100);
	at_tick(500);
	assert_true(in8(0x61) & 0x20);
	out8(0x61, 0x01);
	at_tick(600);
	assert_true(in8(0x61) & 0x20);
	at_tick(601);
	assert_false(in8(0x61) & 0x20);
	at_tick(602);
	assert_true(in8(0x61) & 0x20);
}

static void bcd(void **state)
{
	out8(0x43, 0x31 | 2 << 1);
	out8(0x40, 0x00);
	out8(0x40, 0x10); /* 1000 */
	at_tick(1);
	assert_int_equal(count_of(0), 0x1000);
	at_tick(2);
	assert_int_equal(count_of(0), 0x0999);
	at_tick(1000);
	assert_int_equal(count_of(0), 0x0001);
}

static void latch_and_read_back(void **state)
{
	program(0, 2, 1000);
	program(1, 2, 50);
	at_tick(101);
	out8(0x43, 0x00); /* counter latch */
	at_tick(200);
	out8(0x43, 0x00); /* ignored: it is latched */
	assert_int_equal(in8(0x40), (900 & 0xff));
	assert_int_equal(in8(0x40), 900 >> 8);
	out8(0x43, 0xc6); /* read-back: status and count of 0 and 1 */
	at_tick(220);
	assert_int_equal(in8(0x40), 0xb4); /* status comes first */
	assert_int_equal(in8(0x40), 801 & 0xff);
	assert_int_equal(in8(0x40), 801 >> 8);
	assert_int_equal(in8(0x41), 0x34); /* its output was low: the last count */
	assert_int_equal(in8(0x41), 1);
	assert_int_equal(in8(0x41), 0);
}

static void single_byte_access(void **state)
{
	out8(0x43, 0x94); /* counter 2, low byte, mode 2 */
	out8(0x61, 0x01);
	out8(0x42, 100);
	at_tick(11);
	assert_int_equal(in8(0x42), 90);
	assert_int_equal(in8(0x42), 90);
	out8(0x43, 0xa4); /* high byte only */
	out8(0x42, 2);
	at_tick(11 + 12);
	assert_int_equal(in8(0x42), (512 - 11) >> 8);
}

static void port61(void **state)
{
	uint8_t first = in8(0x61) & 0x10;
	bool toggled = false;

	out8(0x61, 0xff);
	assert_int_equal(in8(0x61) & 0x0f, 0x0f);
	for (unsigned i = 0; i < 40; i++) {
		at_tick(i);
		toggled |= (in8(0x61) & 0x10) != first;
	}
	assert_true(toggled);
}

static void roundtrip(void **state)
{
	unsigned before;

	program(0, 2, 11932);
	program(2, 0, 30000);
	at_tick(5000);
	out8(0x40, 0x34);
	out8(0x43, 0x80);
	assert_roundtrip();
	before = edges();
	at_tick(11933);
	assert_int_equal(edges(), before + 1);
}

static void overdue_edge_survives(void **state)
{
	struct i8254_state s;
	unsigned before;

	program(0, 0, 1000);
	s = *(struct i8254_state *)dev->state;
	dev->model->reset(dev);
	before = edges();
	fake_time_advance(vm, SEC); /* later than the saved deadline */
	assert_int_equal(fake_device_load(dev, &s, NULL), OK);
	fake_time_advance(vm, 0);
	assert_int_equal(edges(), before + 1);
}

static void bad_state_is_refused(void **state)
{
	struct i8254_state good, s;

	program(0, 2, 1000);
	good = s = *(struct i8254_state *)dev->state;
	s.access[1] = 0;
	assert_refused(&s, "counter 1: access");
	s = good;
	s.count[0] = 0;
	assert_refused(&s, "counter 0: counts without");
	s = good;
	s.bcd[0] = 1;
	s.count[0] = 10001;
	assert_refused(&s, "above 10000");
	s = good;
	s.mode[2] = 6;
	assert_refused(&s, "mode");
	s = good;
	s.start[0] = BIT(60);
	assert_refused(&s, "start");
	s = good;
	s.activity[0] = IDLE;
	assert_refused(&s, "edge");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    DEVICE_TEST(mode0_terminal_count),
	    DEVICE_TEST(mode0_first_byte_stops),
	    DEVICE_TEST(mode2_rate_generator),
	    DEVICE_TEST(periods_do_not_drift),
	    DEVICE_TEST(late_wakeup_gives_one_edge),
	    DEVICE_TEST(tiny_period_does_not_storm),
	    DEVICE_TEST(reload_waits_for_the_period),
	    DEVICE_TEST(mode3_square_wave),
	    DEVICE_TEST(mode1_one_shot),
	    DEVICE_TEST(gate_holds_mode0),
	    DEVICE_TEST(mode4_software_strobe),
	    DEVICE_TEST(mode5_hardware_strobe),
	    DEVICE_TEST(bcd),
	    DEVICE_TEST(latch_and_read_back),
	    DEVICE_TEST(single_byte_access),
	    DEVICE_TEST(port61),
	    DEVICE_TEST(roundtrip),
	    DEVICE_TEST(overdue_edge_survives),
	    DEVICE_TEST(bad_state_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
