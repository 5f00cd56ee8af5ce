/* SPDX-License-Identifier: BSD-2-Clause */
/* CRC-32C and CRC-32: published values; instruction and table give the same. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "hv/lib/crc32c.c"

static void test_check_values(void **state)
{
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32_ieee(0, "123456789", 9), 0xcbf43926);
	assert_int_equal(crc32c(0, "", 0), 0);
	assert_int_equal(crc32_ieee(0, "", 0), 0);
}

/* RFC 3720, appendix B.4. */
static void test_rfc3720(void **state)
{
	uint8_t b[32];

	memset(b, 0, sizeof(b));
	assert_int_equal(crc32c(0, b, sizeof(b)), 0x8a9136aa);
	memset(b, 0xff, sizeof(b));
	assert_int_equal(crc32c(0, b, sizeof(b)), 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		b[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, b, sizeof(b)), 0x46dd794e);
	for (int i = 0; i < 32; i++)
		b[i] = (uint8_t)(31 - i);
	assert_int_equal(crc32c(0, b, sizeof(b)), 0x113fdb5c);
}

static void test_both_ways_agree(void **state)
{
	static struct crc_table table;
	uint8_t b[300];

	for (size_t i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)(i * i + 3 * i);
	for (size_t start = 0; start < 9; start++)
		for (size_t n = 0; n + start <= sizeof(b); n++) {
			uint32_t sliced = ~crc_sliced(&table, POLY_CASTAGNOLI, ~7u, b + start, n);

			assert_int_equal(crc32c(7, b + start, n), sliced);
			if (cpu_has_crc32())
				assert_int_equal(~crc_instruction(~7u, b + start, n), sliced);
		}
}

static void test_continues(void **state)
{
	const char *text = "a self-addressed chunk";
	size_t n = strlen(text);

	for (size_t cut = 0; cut <= n; cut++) {
		assert_int_equal(
		    crc32c(crc32c(0, text, cut), text + cut, n - cut), crc32c(0, text, n));
		assert_int_equal(crc32_ieee(crc32_ieee(0, text, cut), text + cut, n - cut),
		    crc32_ieee(0, text, n));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_check_values),
	    cmocka_unit_test(test_rfc3720),
	    cmocka_unit_test(test_both_ways_agree),
	    cmocka_unit_test(test_continues),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
