/* SPDX-License-Identifier: BSD-2-Clause */
/* The log ring. The file is included: on the host a fake stands in for it elsewhere. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "hv/lib/log.c"

static uint64_t now_ns;
static char sunk[4096];
static size_t sunk_len;

static uint64_t clock_ns(void)
{
	return now_ns;
}

static void sink(const char *text, size_t len)
{
	assert_true(sunk_len + len < sizeof(sunk));
	memcpy(sunk + sunk_len, text, len);
	sunk_len += len;
	sunk[sunk_len] = 0;
}

static int start(void **state)
{
	written = 0;
	log_clock = NULL;
	log_console_sink = NULL;
	sunk_len = 0;
	sunk[0] = 0;
	return 0;
}

static void expect(uint64_t *seq, const char *text)
{
	char buf[512];
	size_t n = log_read(seq, buf, sizeof(buf));

	assert_int_equal(n, strlen(text));
	assert_memory_equal(buf, text, n);
}

static void test_lines(void **state)
{
	uint64_t seq = 0;

	log_info("one %d", 1);
	log_warn("two\n");
	expect(&seq, "one 1\nwarning: two\n");
	expect(&seq, "");
	log_error("three");
	log_debug("four");
	expect(&seq, "error: three\ndebug: four\n");
}

static void test_stamps(void **state)
{
	uint64_t seq = 0;

	log_clock = clock_ns;
	now_ns = 12345678999;
	log_info("x");
	expect(&seq, "[   12.345678] x\n");
}

static void test_sink(void **state)
{
	log_console_sink = sink;
	log_info("quiet");
	log_warn("loud");
	log_error("louder");
	assert_string_equal(sunk, "warning: loud\nerror: louder\n");
}

static void test_long_line_is_cut(void **state)
{
	uint64_t seq = 0;
	char buf[1000];
	size_t n;

	log_info("%0900d", 7);
	n = log_read(&seq, buf, sizeof(buf));
	assert_true(n <= LOG_LINE);
	assert_int_equal(buf[n - 1], '\n');
	assert_int_equal(buf[n - 2], '0');
}

static void test_read_in_pieces(void **state)
{
	uint64_t seq = 0;
	char buf[3];

	log_info("abcd");
	assert_int_equal(log_read(&seq, buf, 3), 3);
	assert_memory_equal(buf, "abc", 3);
	assert_int_equal(log_read(&seq, buf, 3), 2);
	assert_memory_equal(buf, "d\n", 2);
}

/* A reader that fell behind goes on at a whole line; what is lost is the oldest. */
static void test_overrun(void **state)
{
	static char buf[LOG_SIZE];
	uint64_t seq = 0;
	unsigned first;
	size_t n;

	for (int i = 0; i < 10000; i++)
		log_info("line %d of many that fill the ring", i);
	n = log_read(&seq, buf, sizeof(buf));
	assert_true(n > LOG_SIZE - LOG_LINE);
	assert_int_equal(buf[n - 1], '\n');
	assert_memory_equal(buf, "line ", 5);
	first = (unsigned)strtoul(buf + 5, NULL, 10);
	assert_true(first > 0 && first < 10000);
	assert_int_equal(log_read(&seq, buf, sizeof(buf)), 0);
	seq = UINT64_MAX; /* nonsense is the oldest line too */
	assert_true(log_read(&seq, buf, sizeof(buf)) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_lines, start),
	    cmocka_unit_test_setup(test_stamps, start),
	    cmocka_unit_test_setup(test_sink, start),
	    cmocka_unit_test_setup(test_long_line_is_cut, start),
	    cmocka_unit_test_setup(test_read_in_pieces, start),
	    cmocka_unit_test_setup(test_overrun, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
