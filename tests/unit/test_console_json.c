/* SPDX-License-Identifier: BSD-2-Clause */
/* The JSON writer, and answers as text or as exactly one line of JSON. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "hv/console/output.h"
#include "hv/console/progress.h"
#include "tests/unit/fake/fake.h"

static char said[8192];

static void say(void *ctx, const char *text, size_t len)
{
	assert_true(strlen(said) + len < sizeof(said));
	strncat(said, text, len);
}

static int setup(void **state)
{
	said[0] = 0;
	return 0;
}

static int teardown(void **state)
{
	assert_int_equal(fake_heap_outstanding(), 0);
	return 0;
}

static void test_structure(void **state)
{
	struct json j;

	json_init(&j, true);
	json_object(&j, NULL);
	json_string(&j, "name", "web");
	json_array(&j, "list");
	json_number(&j, NULL, 1);
	json_number(&j, NULL, UINT64_MAX);
	json_object(&j, NULL);
	json_close(&j);
	json_array(&j, NULL);
	json_close(&j);
	json_close(&j);
	json_bool(&j, "yes", true);
	json_bool(&j, "no", false);
	json_null(&j, "none");
	json_close(&j);
	json_close(&j); /* one too many is harmless */
	assert_false(j.failed);
	say(NULL, j.buf, j.len);
	assert_string_equal(said, "{\"name\":\"web\",\"list\":[1,18446744073709551615,{},[]],"
				  "\"yes\":true,\"no\":false,\"none\":null}");
	json_free(&j);
}

static void test_escapes(void **state)
{
	struct json j;

	json_init(&j, true);
	json_text(&j, NULL, "a\"b\\c\n\x01\x7f\xe4\0z", 11);
	say(NULL, j.buf, j.len);
	assert_string_equal(said, "\"a\\\"b\\\\c\\u000a\\u0001\\u007f\\u00e4\\u0000z\"");
	json_free(&j);
}

static void test_limits(void **state)
{
	static char big[100000];
	struct json j;

	json_init(&j, true);
	for (int i = 0; i < JSON_DEPTH + 1; i++)
		json_array(&j, NULL);
	assert_true(j.failed);
	json_free(&j);
	json_init(&j, true);
	memset(big, 'x', sizeof(big) - 1);
	for (int i = 0; i < 100 && !j.failed; i++)
		json_string(&j, NULL, big);
	assert_true(j.failed);
	assert_true(j.len <= JSON_MAX);
	json_free(&j);
	json_init(&j, false);
	json_string(&j, "x", "y");
	assert_null(j.buf);
}

static void answer(struct console_out *o)
{
	out_print(o, "%s\n", "text");
	json_number(&o->json, "n", 7);
}

static void test_text_answer(void **state)
{
	struct console_out o;

	out_begin(&o, false, say, NULL);
	answer(&o);
	out_end(&o);
	assert_string_equal(said, "text\n");
}

static void test_json_answer(void **state)
{
	struct console_out o;

	out_begin(&o, true, say, NULL);
	answer(&o);
	out_end(&o);
	assert_string_equal(said, "{\"ok\":true,\"n\":7}\n");
}

static void test_failures(void **state)
{
	struct console_out o;

	out_begin(&o, false, say, NULL);
	answer(&o);
	assert_int_equal(out_fail(&o, ERR_NOENT, "no vm '%s'", "web"), ERR_NOENT);
	out_fail(&o, ERR_IO, "a second message");
	out_end(&o);
	assert_string_equal(said, "text\nerror: no vm 'web'\n");
	said[0] = 0;
	out_begin(&o, true, say, NULL);
	answer(&o);
	json_array(&o.json, "half"); /* left open: nothing of it is seen */
	out_fail(&o, ERR_NOENT, "no vm \"%s\"", "web");
	out_end(&o);
	assert_string_equal(said, "{\"ok\":false,\"error\":\"no vm \\\"web\\\"\"}\n");
}

static void test_unclosed(void **state)
{
	struct console_out o;

	out_begin(&o, true, say, NULL);
	json_array(&o.json, "list");
	json_object(&o.json, NULL);
	out_end(&o);
	assert_string_equal(said, "{\"ok\":true,\"list\":[{}]}\n");
}

static void test_no_memory(void **state)
{
	struct console_out o;

	fake_heap_fail_after(0);
	out_begin(&o, true, say, NULL);
	answer(&o);
	out_end(&o);
	fake_heap_fail_after(-1);
	assert_string_equal(said, "{\"ok\":false,\"error\":\"out of memory\"}\n");
}

static void test_sizes(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} rows[] = {{0, "0 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {1536, "1.5 KiB"},
	    {268435456, "256.0 MiB"}, {MIB * 1023 + 1048575, "1023.9 MiB"},
	    {5 * GIB / 2, "2.5 GiB"}, {UINT64_MAX, "15.9 EiB"}};
	char buf[24];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(size_text(rows[i].bytes, buf, sizeof(buf)), rows[i].text);
}

static void test_progress(void **state)
{
	struct console_out o;
	struct progress p;

	fake_host_time = 1000000000;
	out_begin(&o, false, say, NULL);
	progress_start(&p, &o, "saving", 100 * MIB);
	progress_update(&p, 10 * MIB);
	assert_string_equal(said, ""); /* too early */
	fake_host_time += 1000000000;
	progress_update(&p, 50 * MIB);
	assert_string_equal(
	    said, "\rsaving [###############...............]  50% 50.0 MiB/s, 1 s left\x1b[K");
	said[0] = 0;
	progress_update(&p, 51 * MIB); /* too soon */
	assert_string_equal(said, "");
	fake_host_time += 1000000000;
	progress_update(&p, UINT64_MAX);
	assert_string_equal(
	    said, "\rsaving [##############################] 100% 50.0 MiB/s, 0 s left\x1b[K");
	said[0] = 0;
	progress_end(&p);
	assert_string_equal(said, "\r\x1b[K");
	out_end(&o);
}

static void test_progress_extremes(void **state)
{
	struct console_out o;
	struct progress p;

	fake_host_time = 0;
	out_begin(&o, false, say, NULL);
	progress_start(&p, &o, "x", 0); /* nothing to do */
	fake_host_time = 200000000;
	progress_update(&p, 0);
	assert_non_null(strstr(said, "100%"));
	progress_start(&p, &o, "x", UINT64_MAX);
	fake_host_time += 200000000;
	progress_update(&p, UINT64_MAX / 2);
	assert_non_null(strstr(said, "49%"));
	out_end(&o);
	said[0] = 0;
	out_begin(&o, true, say, NULL);
	progress_start(&p, &o, "x", 10);
	fake_host_time += 200000000;
	progress_update(&p, 5);
	progress_end(&p);
	assert_string_equal(said, "");
	out_end(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_structure, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_escapes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_text_answer, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_json_answer, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_unclosed, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_progress, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_progress_extremes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
