/* SPDX-License-Identifier: BSD-2-Clause */
/* Character devices: nothing that the guest wrote lately is lost, nothing typed is duplicated. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/core/chardev.h"
#include "hv/lib/error.h"
#include "tests/unit/fake/fake.h"

static struct chardev c;
static unsigned calls;

static void count_call(void *ctx)
{
	assert_ptr_equal(ctx, &calls);
	calls++;
}

static int start(void **state)
{
	calls = 0;
	return chardev_init(&c, "serial0");
}

static int end(void **state)
{
	chardev_destroy(&c);
	assert_int_equal(fake_heap_outstanding(), 0);
	return 0;
}

static void output_waits_for_a_reader(void **state)
{
	char buf[32] = "";

	chardev_guest_write(&c, "hello ", 6);
	chardev_guest_write(&c, "world", 5);
	assert_int_equal(chardev_read(&c, buf, 4), 4);
	assert_memory_equal(buf, "hell", 4);
	assert_int_equal(chardev_read(&c, buf, sizeof(buf)), 7);
	assert_memory_equal(buf, "o world", 7);
	assert_int_equal(chardev_read(&c, buf, sizeof(buf)), 0);
}

static void backlog_keeps_the_newest(void **state)
{
	static uint8_t block[CHARDEV_BACKLOG], back[CHARDEV_BACKLOG + 16];

	chardev_guest_write(&c, "old", 3);
	for (unsigned i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t)(i * 7);
	chardev_guest_write(&c, block, sizeof(block) - 1);
	assert_int_equal(chardev_read(&c, back, sizeof(back)), CHARDEV_BACKLOG);
	assert_int_equal(back[0], 'd');
	assert_memory_equal(back + 1, block, sizeof(block) - 1);
}

static void write_larger_than_the_backlog(void **state)
{
	static uint8_t block[3 * CHARDEV_BACKLOG + 5], back[CHARDEV_BACKLOG];

	for (unsigned i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t)(i / 255);
	chardev_guest_write(&c, block, sizeof(block));
	assert_int_equal(chardev_read(&c, back, sizeof(back)), CHARDEV_BACKLOG);
	assert_memory_equal(back, block + sizeof(block) - CHARDEV_BACKLOG, CHARDEV_BACKLOG);
}

static void reader_is_told(void **state)
{
	chardev_attach(&c, count_call, &calls);
	chardev_guest_write(&c, "x", 1);
	assert_int_equal(calls, 1);
	chardev_attach(&c, NULL, NULL);
	chardev_guest_write(&c, "y", 1);
	assert_int_equal(calls, 1);
}

static void input_goes_to_the_guest_in_order(void **state)
{
	char buf[8];

	c.input_ready = count_call;
	c.input_ctx = &calls;
	assert_int_equal(chardev_write(&c, "abc", 3), 3);
	assert_int_equal(calls, 1);
	assert_int_equal(chardev_guest_pending(&c), 3);
	assert_int_equal(chardev_guest_read(&c, buf, 2), 2);
	assert_memory_equal(buf, "ab", 2);
	assert_int_equal(chardev_guest_read(&c, buf, 8), 1);
	assert_int_equal(buf[0], 'c');
}

static void full_input_says_how_much_it_took(void **state)
{
	static uint8_t block[CHARDEV_INPUT + 100];
	uint32_t n = chardev_write(&c, block, sizeof(block));

	assert_int_equal(n, CHARDEV_INPUT);
	assert_int_equal(chardev_write(&c, block, 1), 0);
	assert_int_equal(chardev_guest_read(&c, block, 10), 10);
	assert_int_equal(chardev_write(&c, block, 100), 10);
}

static void no_memory_is_reported(void **state)
{
	struct chardev other;

	fake_heap_fail_after(0);
	assert_int_equal(chardev_init(&other, "serial1"), ERR_NOMEM);
	chardev_destroy(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(output_waits_for_a_reader, start, end),
	    cmocka_unit_test_setup_teardown(backlog_keeps_the_newest, start, end),
	    cmocka_unit_test_setup_teardown(write_larger_than_the_backlog, start, end),
	    cmocka_unit_test_setup_teardown(reader_is_told, start, end),
	    cmocka_unit_test_setup_teardown(input_goes_to_the_guest_in_order, start, end),
	    cmocka_unit_test_setup_teardown(full_input_says_how_much_it_took, start, end),
	    cmocka_unit_test_setup_teardown(no_memory_is_reported, start, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
