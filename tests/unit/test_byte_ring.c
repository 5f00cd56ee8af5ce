/* SPDX-License-Identifier: BSD-2-Clause */
/* The byte ring: order, fullness, wrapping of the counts, and one producer beside one consumer. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include "hv/lib/byte_ring.h"

static uint8_t buf[16];

static void test_fill_and_empty(void **state)
{
	struct byte_ring r;
	uint8_t out[32];

	byte_ring_init(&r, buf, sizeof(buf));
	assert_int_equal(byte_ring_get(&r, out, 1), 0);
	assert_int_equal(byte_ring_put(&r, "0123456789abcdefXYZ", 19), 16);
	assert_int_equal(byte_ring_free(&r), 0);
	assert_int_equal(byte_ring_put(&r, "x", 1), 0);
	assert_int_equal(byte_ring_get(&r, out, sizeof(out)), 16);
	assert_memory_equal(out, "0123456789abcdef", 16);
	assert_int_equal(byte_ring_used(&r), 0);
}

static void test_wraps(void **state)
{
	struct byte_ring r;
	uint8_t in[11], out[11];
	uint8_t v = 0;

	byte_ring_init(&r, buf, sizeof(buf));
	r.head = r.tail = UINT32_MAX - 20; /* the counts wrap on the way */
	for (int round = 0; round < 100; round++) {
		for (size_t i = 0; i < sizeof(in); i++)
			in[i] = v++;
		assert_int_equal(byte_ring_put(&r, in, sizeof(in)), sizeof(in));
		assert_int_equal(byte_ring_used(&r), sizeof(in));
		assert_int_equal(byte_ring_get(&r, out, sizeof(out)), sizeof(out));
		assert_memory_equal(in, out, sizeof(in));
	}
}

enum { STREAM = 200000 };

static void *producer(void *arg)
{
	for (uint32_t n = 0; n < STREAM;) {
		uint8_t b[5];

		for (uint32_t i = 0; i < 5; i++)
			b[i] = (uint8_t)((n + i) * 31);
		n += byte_ring_put(arg, b, MIN(5u, STREAM - n));
		sched_yield();
	}
	return NULL;
}

static void test_two_threads(void **state)
{
	struct byte_ring r;
	pthread_t t;
	uint32_t n = 0;

	byte_ring_init(&r, buf, sizeof(buf));
	assert_int_equal(pthread_create(&t, NULL, producer, &r), 0);
	while (n < STREAM) {
		uint8_t b[7];
		uint32_t got = byte_ring_get(&r, b, sizeof(b));

		for (uint32_t i = 0; i < got; i++, n++)
			assert_int_equal(b[i], (uint8_t)(n * 31));
		if (!got)
			sched_yield();
	}
	pthread_join(t, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_fill_and_empty),
	    cmocka_unit_test(test_wraps),
	    cmocka_unit_test(test_two_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
