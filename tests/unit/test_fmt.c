/* SPDX-License-Identifier: BSD-2-Clause */
/* The formatter against the host's snprintf, parsing of numbers, and error messages. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "hv/lib/error.h"
#include "hv/lib/fmt.h"

/* The same call of both must give the same text and the same length. */
#define SAME(...)                                                                                  \
	do {                                                                                       \
		char mine_[256], theirs_[256];                                                     \
		int n_ = str_format(mine_, sizeof(mine_), __VA_ARGS__);                            \
		int m_ = snprintf(theirs_, sizeof(theirs_), __VA_ARGS__);                          \
                                                                                                   \
		assert_string_equal(mine_, theirs_);                                               \
		assert_int_equal(n_, m_);                                                          \
	} while (0)

static void test_integers(void **state)
{
	static const long values[] = {0, 1, -1, 9, 10, 255, -128, 65535, INT_MAX, INT_MIN, LONG_MAX,
	    LONG_MIN, 0x123456789abcdef};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		long v = values[i];

		SAME("%d|%i|%u|%x|%X|%o", (int)v, (int)v, (unsigned)v, (unsigned)v, (unsigned)v,
		    (unsigned)v);
		SAME("%ld|%lu|%lx|%lX|%lo", v, (unsigned long)v, (unsigned long)v, (unsigned long)v,
		    (unsigned long)v);
		SAME("%lld|%llu", (long long)v, (unsigned long long)v);
		SAME("%hd|%hu|%hhd|%hhu", (short)v, (unsigned short)v, (signed char)v,
		    (unsigned char)v);
		SAME("%zd|%zu|%jd|%td", (ssize_t)v, (size_t)v, (intmax_t)v, (ptrdiff_t)v);
		SAME("%5d|%-5d|%05d|%+d|% d", (int)v, (int)v, (int)v, (int)v, (int)v);
		SAME("%20lx|%-20lx|%020lx|%#lx|%#020lx|%#lX", v, v, v, v, v, v);
		SAME("%.3d|%8.3d|%-8.3d|%.0d", (int)v, (int)v, (int)v, (int)v);
		SAME("%#o|%#.3o|%#10x|%-#10x", (unsigned)v, (unsigned)v, (unsigned)v, (unsigned)v);
		SAME("%*d|%-*d|%.*d", 7, (int)v, 7, (int)v, 4, (int)v);
		SAME("%*d|%.*d", -7, (int)v, -1, (int)v);
	}
}

static void test_text(void **state)
{
	SAME("%s|%10s|%-10s|%.2s|%10.2s|%.*s", "word", "word", "word", "word", "word", 3, "word");
	SAME("%c|%3c|%-3c|%%", 'x', 'y', 'z');
	SAME("%p", (void *)0x1234);
	SAME("plain");
	SAME("%s", "");
}

static void test_null_string(void **state)
{
	char buf[16];
	const char *volatile none = NULL;

	str_format(buf, sizeof(buf), "%s", none);
	assert_string_equal(buf, "(null)");
}

/* A precision bounds what is read, not only what is printed. */
static void test_unterminated(void **state)
{
	char raw[4] = {'a', 'b', 'c', 'd'}, buf[16];

	assert_int_equal(str_format(buf, sizeof(buf), "%.4s", raw), 4);
	assert_string_equal(buf, "abcd");
}

static void test_bounds(void **state)
{
	char buf[8];

	for (size_t size = 0; size <= sizeof(buf); size++) {
		memset(buf, '#', sizeof(buf));
		assert_int_equal(str_format(buf, size, "%s%d", "abcdef", 123), 9);
		for (size_t i = size; i < sizeof(buf); i++)
			assert_int_equal(buf[i], '#');
		if (size) {
			assert_int_equal(strlen(buf), size - 1);
			assert_memory_equal(buf, "abcdef1", size - 1);
		}
	}
}

static void test_unknown_conversion(void **state)
{
	char buf[16];
	const char *volatile fmt = "%q|%";

	str_format(buf, sizeof(buf), fmt, 0); /* nothing takes the argument */
	assert_string_equal(buf, "%q|%");
}

static void test_copy(void **state)
{
	char buf[4];

	assert_true(str_copy(buf, sizeof(buf), "abc"));
	assert_string_equal(buf, "abc");
	assert_false(str_copy(buf, sizeof(buf), "abcd"));
	assert_string_equal(buf, "abc");
	assert_true(str_copy(buf, sizeof(buf), ""));
	assert_string_equal(buf, "");
	assert_false(str_copy(buf, 0, "abc"));
}

static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		bool suffix;
		int err;
		uint64_t value;
	} rows[] = {
	    {"0", false, OK, 0},
	    {"42", false, OK, 42},
	    {"0x2a", false, OK, 42},
	    {"0XfF", false, OK, 255},
	    {"18446744073709551615", false, OK, UINT64_MAX},
	    {"18446744073709551616", false, ERR_RANGE, 0},
	    {"0xffffffffffffffff", false, OK, UINT64_MAX},
	    {"0x10000000000000000", false, ERR_RANGE, 0},
	    {"", false, ERR_INVAL, 0},
	    {"0x", false, ERR_INVAL, 0},
	    {"-1", false, ERR_INVAL, 0},
	    {" 1", false, ERR_INVAL, 0},
	    {"1 ", false, ERR_INVAL, 0},
	    {"1K", false, ERR_INVAL, 0},
	    {"1K", true, OK, 1024},
	    {"3m", true, OK, 3 << 20},
	    {"2G", true, OK, 2ULL << 30},
	    {"1T", true, OK, 1ULL << 40},
	    {"0x10k", true, OK, 16384},
	    {"1KB", true, ERR_INVAL, 0},
	    {"K", true, ERR_INVAL, 0},
	    {"1Q", true, ERR_INVAL, 0},
	    {"16777216T", true, ERR_RANGE, 0},
	    {"ff", false, ERR_INVAL, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t v = 77;

		assert_int_equal(str_to_u64(rows[i].text, rows[i].suffix, &v), rows[i].err);
		assert_int_equal(v, rows[i].err ? 77 : rows[i].value);
	}
}

static void test_errors(void **state)
{
	struct errmsg e;

	assert_string_equal(error_text(ERR_CORRUPT), "damaged");
	assert_string_equal(error_text(-9999), "unknown error");
	assert_int_equal(err_set(&e, ERR_INVAL, "slot %d", 4), ERR_INVAL);
	assert_string_equal(e.text, "slot 4");
	assert_int_equal(err_prefix(&e, ERR_RANGE, "vm '%s'", "web"), ERR_RANGE);
	assert_string_equal(e.text, "vm 'web': slot 4");
	assert_int_equal(err_set(NULL, ERR_IO, "x"), ERR_IO);
	assert_int_equal(err_prefix(NULL, ERR_IO, "x"), ERR_IO);
	err_set(&e, ERR_IO, "%0300d", 1);
	assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
	err_prefix(&e, ERR_IO, "%0300d", 1);
	assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_integers),
	    cmocka_unit_test(test_text),
	    cmocka_unit_test(test_null_string),
	    cmocka_unit_test(test_unterminated),
	    cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_unknown_conversion),
	    cmocka_unit_test(test_copy),
	    cmocka_unit_test(test_numbers),
	    cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
