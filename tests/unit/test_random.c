/* SPDX-License-Identifier: BSD-2-Clause */
/* The generator: its cipher against RFC 8439, and that it does not repeat itself. */
#include "hv/core/random.c"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

struct host_cpu host_cpu; /* no RDRAND: the clocks of the fakes, which stand still */

/* 2.3.2 */
static void cipher(void **state)
{
	static const uint32_t rest[4] = {1, 0x09000000, 0x4a000000, 0};
	static const uint32_t expected[BLOCK_WORDS] = {0xe4e7f110, 0x15593bd1, 0x1fdd0f50,
	    0xc47120a3, 0xc7f4d1c7, 0x0368c033, 0x9aaa2204, 0x4e6cd4c3, 0x466482d2, 0x09aa9f07,
	    0x05d7c214, 0xa2028bd9, 0xd19c12b5, 0xb94e16de, 0xe883d0cb, 0x4e3c50a2};
	uint32_t key[KEY_WORDS], out[BLOCK_WORDS];

	for (unsigned i = 0; i < sizeof(key); i++)
		((uint8_t *)key)[i] = (uint8_t)i;
	chacha20(key, rest, out);
	assert_memory_equal(out, expected, sizeof(expected));
}

static void never_the_same(void **state)
{
	uint8_t a[100], b[100], key[sizeof(pool.key)];

	random_bytes(a, sizeof(a));
	memcpy(key, pool.key, sizeof(key));
	random_bytes(b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
	assert_memory_not_equal(a, a + 32, 32); /* pieces of one call */
	assert_memory_not_equal(key, pool.key, sizeof(key));
	for (unsigned i = 0; i + 16 <= sizeof(b); i++) /* the key is not among what is given */
		assert_memory_not_equal(b + i, pool.key, 16);
}

static void as_many_as_asked_for(void **state)
{
	uint8_t a[70] = {0};

	random_bytes(a, 0);
	random_bytes(a + 1, 1);
	assert_int_equal(a[0], 0);
	assert_int_equal(a[2], 0);
	random_bytes(a, 65);
	for (unsigned i = 65; i < sizeof(a); i++)
		assert_int_equal(a[i], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(cipher),
	    cmocka_unit_test(never_the_same),
	    cmocka_unit_test(as_many_as_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
