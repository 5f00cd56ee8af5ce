/* SPDX-License-Identifier: BSD-2-Clause */
/* Bitmaps against an array of bools. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "hv/lib/bitmap.h"

enum { BITS = 200 };

static bool model[BITS];
static uint64_t map[BITMAP_WORDS(BITS)];

static void compare(void)
{
	size_t count = 0;

	for (size_t i = 0; i < BITS; i++) {
		assert_int_equal(bitmap_test(map, i), model[i]);
		count += model[i];
	}
	assert_int_equal(bitmap_count(map, BITS), count);
}

static void test_ranges(void **state)
{
	for (size_t start = 0; start < BITS; start += 7)
		for (size_t n = 0; start + n <= BITS; n++) {
			memset(model, 0, sizeof(model));
			memset(map, 0, sizeof(map));
			bitmap_set_range(map, start, n);
			memset(model + start, 1, n);
			compare();
			memset(model, 1, sizeof(model));
			memset(map, 0xff, sizeof(map));
			bitmap_clear_range(map, start, n);
			memset(model + start, 0, n);
			compare();
		}
}

static void test_search(void **state)
{
	memset(map, 0, sizeof(map));
	bitmap_set(map, 3);
	bitmap_set(map, 63);
	bitmap_set(map, 64);
	bitmap_set(map, 199);
	assert_int_equal(bitmap_next_set(map, BITS, 0), 3);
	assert_int_equal(bitmap_next_set(map, BITS, 4), 63);
	assert_int_equal(bitmap_next_set(map, BITS, 64), 64);
	assert_int_equal(bitmap_next_set(map, BITS, 65), 199);
	assert_int_equal(bitmap_next_set(map, 199, 65), 199);
	assert_int_equal(bitmap_next_set(map, 130, 65), 130);
	assert_int_equal(bitmap_next_set(map, BITS, 200), BITS);
	assert_int_equal(bitmap_next_set(map, BITS, 5000), BITS);
	assert_int_equal(bitmap_next_clear(map, BITS, 3), 4);
	assert_int_equal(bitmap_next_clear(map, BITS, 63), 65);
	memset(map, 0xff, sizeof(map));
	assert_int_equal(bitmap_next_clear(map, BITS, 0), BITS);
	assert_int_equal(bitmap_next_clear(map, 64, 0), 64);
}

static void test_count_ignores_the_rest(void **state)
{
	memset(map, 0xff, sizeof(map));
	for (size_t n = 0; n <= BITS; n++)
		assert_int_equal(bitmap_count(map, n), n);
}

static void test_atomic(void **state)
{
	memset(map, 0, sizeof(map));
	assert_false(bitmap_test_and_set_atomic(map, 70));
	assert_true(bitmap_test_and_set_atomic(map, 70));
	assert_true(bitmap_test_and_clear_atomic(map, 70));
	assert_false(bitmap_test_and_clear_atomic(map, 70));
	assert_int_equal(bitmap_count(map, BITS), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ranges),
	    cmocka_unit_test(test_search),
	    cmocka_unit_test(test_count_ignores_the_rest),
	    cmocka_unit_test(test_atomic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
