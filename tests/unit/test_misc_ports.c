/* SPDX-License-Identifier: BSD-2-Clause */
/* Ports 80h, 92h and EDh. */
#include "hv/dev/misc_ports.c"

#include "tests/unit/fake/device_test.h"

static int start(void **state)
{
	device_test_start(1, "amber,misc-ports", NULL);
	return 0;
}

static void delay_ports_keep_a_byte(void **state)
{
	out8(0x80, 0x42);
	out8(0xed, 0x17);
	assert_int_equal(in8(0x80), 0x42);
	assert_int_equal(in8(0xed), 0x17);
}

static void fast_reset_on_the_rising_edge(void **state)
{
	assert_int_equal(in8(0x92), 0x02); /* A20 is on */
	out8(0x92, 0xfe);
	assert_int_equal(in8(0x92), 0x02);
	assert_int_equal(fake_of(vm)->reset_requests, 0);
	out8(0x92, 0x01);
	assert_int_equal(fake_of(vm)->reset_requests, 1);
	out8(0x92, 0x03);
	assert_int_equal(fake_of(vm)->reset_requests, 1);
	out8(0x92, 0x02);
	out8(0x92, 0x03);
	assert_int_equal(fake_of(vm)->reset_requests, 2);
}

static void roundtrip(void **state)
{
	out8(0x80, 0x42);
	out8(0x92, 0x00);
	assert_roundtrip();
	assert_int_equal(in8(0x92), 0);
	dev->model->reset(dev);
	assert_int_equal(in8(0x92), 0x02);
}

static void bad_state_is_refused(void **state)
{
	struct misc_ports_state s = {.value = {0, 4, 0}};

	assert_refused(&s, "port 92h");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    DEVICE_TEST(delay_ports_keep_a_byte),
	    DEVICE_TEST(fast_reset_on_the_rising_edge),
	    DEVICE_TEST(roundtrip),
	    DEVICE_TEST(bad_state_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
