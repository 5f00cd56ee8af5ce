/* SPDX-License-Identifier: BSD-2-Clause */
/* The TSC ratio: monotonic, and without drift against the exact quotient. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hv/core/tsc_scale.h"

#define YEAR_S 31557600ULL

static const uint64_t rates[] = {
    1000000, 100000000, 999999937, 1000000000, 1999999999, 2100000000, 3000000001, 5000000000};

static void a_year_does_not_drift(void **state)
{
	for (size_t g = 0; g < ARRAY_LEN(rates); g++) {
		for (size_t h = 0; h < ARRAY_LEN(rates); h++) {
			uint64_t host = rates[h] * YEAR_S;
			/* exactly a year of the guest's */
			uint64_t exact = rates[g] * YEAR_S;
			struct tsc_scale s;

			tsc_scale_init(&s, rates[g], rates[h]);
			assert_in_range(exact - tsc_scale(&s, host), 0, 1);
		}
	}
}

static void it_never_goes_back(void **state)
{
	struct tsc_scale s;

	for (size_t g = 0; g < ARRAY_LEN(rates); g++) {
		uint64_t host = 0x123456789abcULL, last = 0;

		tsc_scale_init(&s, rates[g], 2399987000);
		for (unsigned i = 0; i < 100000; i++) {
			uint64_t now = tsc_scale(&s, host);

			assert_true(now >= last);
			last = now;
			host += i % 7;
		}
	}
}

static void one_is_one(void **state)
{
	struct tsc_scale s;

	tsc_scale_init(&s, 2400000000, 2400000000);
	assert_int_equal(s.whole, 1);
	assert_int_equal(s.fraction, 0);
	assert_int_equal(tsc_scale(&s, UINT64_MAX), UINT64_MAX);
	tsc_scale_init(&s, 1200000000, 2400000000);
	assert_int_equal(tsc_scale(&s, 1001), 500);
	assert_int_equal(tsc_scale_difference(&s, 1000), 500);
	assert_int_equal((int64_t)tsc_scale_difference(&s, -1000), -500);
	assert_int_equal(tsc_scale_difference(&s, INT64_MIN), -(BIT(62)));
}

static void near_is_250_ppm(void **state)
{
	assert_true(tsc_rate_is_near(2000000000, 2000000000));
	assert_true(tsc_rate_is_near(2000500000, 2000000000));
	assert_true(tsc_rate_is_near(1999500000, 2000000000));
	assert_false(tsc_rate_is_near(2000500001, 2000000000));
	assert_false(tsc_rate_is_near(1999499999, 2000000000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_year_does_not_drift),
	    cmocka_unit_test(it_never_goes_back),
	    cmocka_unit_test(one_is_one),
	    cmocka_unit_test(near_is_250_ppm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
