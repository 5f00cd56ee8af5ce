/* SPDX-License-Identifier: BSD-2-Clause */
/* The keyboard controller: what operating systems probe, reset, A20. */
#include "hv/dev/i8042.c"

#include "tests/unit/fake/device_test.h"

static int start(void **state)
{
	device_test_start(1, "amber,i8042", NULL);
	return 0;
}

static void command(uint8_t v)
{
	out8(0x64, v);
}

static bool full(void)
{
	return in8(0x64) & 1;
}

static uint8_t answer(void)
{
	assert_true(full());
	return in8(0x60);
}

static bool line(void)
{
	return fake_of(vm)->pic_level[1];
}

static void self_tests(void **state)
{
	assert_false(full());
	command(0xaa);
	assert_int_equal(answer(), 0x55);
	assert_false(full());
	assert_true(in8(0x64) & 0x04); /* system flag */
	command(0xab);
	assert_int_equal(answer(), 0x00);
}

static void command_byte(void **state)
{
	command(0x60);
	assert_true(in8(0x64) & 0x08);
	out8(0x60, 0x47);
	assert_false(in8(0x64) & 0x08);
	command(0x20);
	assert_int_equal(answer(), 0x47);
	command(0xad);
	command(0x20);
	assert_int_equal(answer(), 0x57);
	command(0xae);
	command(0xa7);
	command(0x20);
	assert_int_equal(answer(), 0x67);
	command(0x7f); /* controller memory */
	out8(0x60, 0x99);
	command(0x3f);
	assert_int_equal(answer(), 0x99);
}

/* Linux looks for an auxiliary port with the loop command, then the interface test. */
static void no_auxiliary_port(void **state)
{
	command(0xd3);
	out8(0x60, 0x5a);
	assert_int_equal(in8(0x64) & 0x21, 0x01); /* not marked as auxiliary data */
	assert_int_equal(answer(), 0x5a);
	command(0xa9);
	assert_int_not_equal(answer(), 0x00);
	command(0xd4);
	out8(0x60, 0xff);
	assert_false(full());
}

static void keyboard_answers(void **state)
{
	out8(0x60, 0xff);
	assert_int_equal(answer(), 0xfa);
	assert_int_equal(answer(), 0xaa);
	out8(0x60, 0xf2);
	assert_int_equal(answer(), 0xfa);
	assert_int_equal(answer(), 0xab);
	assert_int_equal(answer(), 0x41); /* translated */
	out8(0x60, 0xed);
	assert_int_equal(answer(), 0xfa);
	out8(0x60, 0x07);
	assert_int_equal(answer(), 0xfa);
	out8(0x60, 0xee);
	assert_int_equal(answer(), 0xee);
	out8(0x60, 0xf0);
	answer();
	out8(0x60, 0x00);
	assert_int_equal(answer(), 0xfa);
	assert_int_equal(answer(), 0x02);
	assert_false(full());
}

static void interrupt_per_byte(void **state)
{
	unsigned before;

	command(0x60);
	out8(0x60, 0x41);
	before = fake_of(vm)->pic_edges[1];
	out8(0x60, 0xff);
	assert_true(line());
	in8(0x60);
	assert_true(line());
	in8(0x60);
	assert_false(line());
	assert_int_equal(fake_of(vm)->pic_edges[1], before + 2);
	command(0x60);
	out8(0x60, 0x40);
	out8(0x60, 0xff);
	assert_false(line());
}

static void reset_by_pulse(void **state)
{
	command(0xff); /* pulses nothing */
	assert_int_equal(fake_of(vm)->reset_requests, 0);
	command(0xfe);
	assert_int_equal(fake_of(vm)->reset_requests, 1);
	command(0xd1);
	out8(0x60, 0x02);
	assert_int_equal(fake_of(vm)->reset_requests, 2);
}

static void a20_gate(void **state)
{
	command(0xd0);
	assert_int_equal(answer(), 0x03);
	command(0xd1);
	out8(0x60, 0x01);
	command(0xd0);
	assert_int_equal(answer(), 0x01);
	command(0xdf);
	command(0xd0);
	assert_int_equal(answer(), 0x03);
	command(0xdd);
	command(0xd0);
	assert_int_equal(answer(), 0x01);
}

static void queue_does_not_overflow(void **state)
{
	for (unsigned i = 0; i < 100; i++)
		out8(0x60, 0xff);
	for (unsigned i = 0; i < 16; i++)
		answer();
	assert_false(full());
	assert_int_equal(in8(0x60), in8(0x60)); /* the last byte stays readable */
}

static void every_command_is_survived(void **state)
{
	for (unsigned i = 0; i < 256; i++) {
		command((uint8_t)i);
		out8(0x60, (uint8_t)i);
		out8(0x60, (uint8_t)(i * 7));
	}
	assert_roundtrip();
}

static void roundtrip(void **state)
{
	command(0x60);
	out8(0x60, 0x41);
	out8(0x60, 0xf2);
	command(0xd1);
	assert_roundtrip();
	assert_true(line());
	out8(0x60, 0x01);
	assert_int_equal(answer(), 0xfa);
	assert_int_equal(answer(), 0xab);
}

static void bad_state_is_refused(void **state)
{
	struct i8042_state good = *(struct i8042_state *)dev->state, s = good;

	s.queued = 17;
	assert_refused(&s, "queued");
	s = good;
	s.expect = 0xaa;
	assert_refused(&s, "expect");
	s = good;
	s.kbd_expect = 1;
	assert_refused(&s, "kbd-expect");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    DEVICE_TEST(self_tests),
	    DEVICE_TEST(command_byte),
	    DEVICE_TEST(no_auxiliary_port),
	    DEVICE_TEST(keyboard_answers),
	    DEVICE_TEST(interrupt_per_byte),
	    DEVICE_TEST(reset_by_pulse),
	    DEVICE_TEST(a20_gate),
	    DEVICE_TEST(queue_does_not_overflow),
	    DEVICE_TEST(every_command_is_survived),
	    DEVICE_TEST(roundtrip),
	    DEVICE_TEST(bad_state_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
