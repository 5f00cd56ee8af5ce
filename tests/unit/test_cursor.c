/* SPDX-License-Identifier: BSD-2-Clause */
/* The checked cursor: values, byte orders, and that nothing is read behind the end (I3). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "hv/lib/cursor.h"

static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static void test_values(void **state)
{
	struct cursor c;

	cursor_init(&c, bytes, sizeof(bytes));
	assert_int_equal(cursor_u8(&c), 1);
	assert_int_equal(cursor_le16(&c), 0x0302);
	assert_int_equal(cursor_le32(&c), 0x07060504);
	assert_int_equal(cursor_le64(&c), 0x0f0e0d0c0b0a0908);
	assert_int_equal(cursor_left(&c), 0);
	assert_true(cursor_ok(&c));
	assert_true(cursor_seek(&c, 0));
	assert_int_equal(cursor_be32(&c), 0x01020304);
	assert_int_equal(cursor_be64(&c), 0x05060708090a0b0c);
	assert_int_equal(cursor_left(&c), 3);
}

static void test_overrun_is_sticky(void **state)
{
	struct cursor c;

	for (size_t size = 0; size < 8; size++) {
		cursor_init(&c, bytes, size);
		assert_int_equal(cursor_le64(&c), 0);
		assert_false(cursor_ok(&c));
		assert_int_equal(cursor_left(&c), 0);
		assert_int_equal(cursor_u8(&c), 0);
		assert_null(cursor_take(&c, 0));
		assert_false(cursor_seek(&c, 0));
	}
}

static void test_bytes(void **state)
{
	struct cursor c;
	uint8_t out[20];

	cursor_init(&c, bytes, sizeof(bytes));
	assert_true(cursor_bytes(&c, out, 15));
	assert_memory_equal(out, bytes, 15);
	assert_true(cursor_bytes(&c, out, 0));
	cursor_seek(&c, 10);
	memset(out, 0xff, sizeof(out));
	assert_false(cursor_bytes(&c, out, 6));
	for (int i = 0; i < 6; i++)
		assert_int_equal(out[i], 0);
}

static void test_take(void **state)
{
	struct cursor c;

	cursor_init(&c, bytes, sizeof(bytes));
	assert_ptr_equal(cursor_take(&c, 15), bytes);
	assert_non_null(cursor_take(&c, 0));
	assert_null(cursor_take(&c, 1));
	cursor_init(&c, bytes, sizeof(bytes));
	cursor_u8(&c);
	assert_null(cursor_take(&c, SIZE_MAX));
	assert_false(cursor_ok(&c));
}

static void test_seek(void **state)
{
	struct cursor c;

	cursor_init(&c, bytes, sizeof(bytes));
	assert_true(cursor_seek(&c, 15));
	assert_false(cursor_seek(&c, 16));
	cursor_init(&c, bytes, sizeof(bytes));
	assert_false(cursor_seek(&c, UINT64_MAX));
	assert_false(cursor_ok(&c));
}

static void test_nothing(void **state)
{
	struct cursor c;

	cursor_init(&c, NULL, 0);
	assert_non_null(cursor_take(&c, 0));
	assert_int_equal(cursor_u8(&c), 0);
	assert_false(cursor_ok(&c));
}

static void test_stores(void **state)
{
	uint8_t b[9] = {0};

	put_le16(b + 1, 0x1234);
	assert_int_equal(get_le16(b + 1), 0x1234);
	assert_int_equal(b[1], 0x34);
	put_le32(b + 1, 0x12345678);
	assert_int_equal(get_le32(b + 1), 0x12345678);
	put_le64(b + 1, 0x123456789abcdef0);
	assert_int_equal(get_le64(b + 1), 0x123456789abcdef0);
	assert_int_equal(b[8], 0x12);
	put_be32(b + 1, 0x12345678);
	assert_int_equal(b[1], 0x12);
	assert_int_equal(get_be32(b + 1), 0x12345678);
	put_be64(b + 1, 0x123456789abcdef0);
	assert_int_equal(b[1], 0x12);
	assert_int_equal(get_be64(b + 1), 0x123456789abcdef0);
}

static void test_arithmetic(void **state)
{
	uint64_t v;

	assert_true(add_ok_u64(UINT64_MAX, 0, &v));
	assert_false(add_ok_u64(UINT64_MAX, 1, &v));
	assert_true(mul_ok_u64(1ULL << 32, (1ULL << 32) - 1, &v));
	assert_false(mul_ok_u64(1ULL << 32, 1ULL << 32, &v));
	assert_true(range_in(0, 0, 0));
	assert_true(range_in(10, 5, 15));
	assert_false(range_in(10, 6, 15));
	assert_false(range_in(16, 0, 15));
	assert_false(range_in(UINT64_MAX, 2, UINT64_MAX));
	assert_false(range_in(2, UINT64_MAX, UINT64_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_values),
	    cmocka_unit_test(test_overrun_is_sticky),
	    cmocka_unit_test(test_bytes),
	    cmocka_unit_test(test_take),
	    cmocka_unit_test(test_seek),
	    cmocka_unit_test(test_nothing),
	    cmocka_unit_test(test_stores),
	    cmocka_unit_test(test_arithmetic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
