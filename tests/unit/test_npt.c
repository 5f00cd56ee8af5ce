/* SPDX-License-Identifier: BSD-2-Clause */
/* The nested-paging builder, in both formats. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "hv/arch/x86/npt.h"

/* As NPT and as EPT lay out their entries (APM volume 2, 15.25; SDM volume 3, 29.3.2). */
static const struct npt_format formats[] = {
    {.name = "NPT",
	.table = 7,
	.leaf = BIT(0) | BIT(2),
	.large = BIT(7),
	.write = BIT(1),
	.no_exec = BIT(63),
	.present = BIT(0),
	.max_level = 3},
    {.name = "EPT",
	.table = 7,
	.leaf = BIT(0) | 6 << 3,
	.large = BIT(7),
	.write = BIT(1),
	.exec = BIT(2),
	.present = 7,
	.max_level = 3},
};

static struct npt n;

static void expect(uint64_t g, uint64_t h, unsigned perm, uint64_t leaf)
{
	uint64_t size;
	unsigned p;
	hpa_t at;

	assert_true(npt_lookup(&n, gpa(g), &at, &p, &size));
	assert_int_equal(at.a, h);
	assert_int_equal(p, perm);
	assert_int_equal(size, leaf);
}

static void expect_nothing(uint64_t g)
{
	uint64_t size;
	unsigned p;
	hpa_t at;

	assert_false(npt_lookup(&n, gpa(g), &at, &p, &size));
}

static void takes_the_largest_leaf(void **state)
{
	const struct npt_format *f = *state;

	assert_int_equal(npt_init(&n, f), OK);
	/* 1 GiB aligned both ways, then 2 MiB, then 4 KiB */
	assert_int_equal(
	    npt_map(&n, gpa(0), hpa(4 * GIB), GIB + SIZE_2M + PAGE_SIZE, NPT_R | NPT_W | NPT_X),
	    OK);
	expect(0x12345678 & ~3ULL, 4 * GIB + (0x12345678 & ~3ULL), NPT_R | NPT_W | NPT_X, GIB);
	expect(GIB + 5, 5 * GIB + 5, NPT_R | NPT_W | NPT_X, SIZE_2M);
	expect(GIB + SIZE_2M, 5 * GIB + SIZE_2M, NPT_R | NPT_W | NPT_X, PAGE_SIZE);
	expect_nothing(GIB + SIZE_2M + PAGE_SIZE);
	expect_nothing(1ULL << 47);
	expect_nothing(UINT64_MAX);
	npt_destroy(&n);
	assert_int_equal(n.tables, 1);
}

static void keeps_permissions_apart(void **state)
{
	const struct npt_format *f = *state;

	assert_int_equal(npt_init(&n, f), OK);
	assert_int_equal(npt_map(&n, gpa(0x1000), hpa(0x5000), PAGE_SIZE, NPT_R), OK);
	assert_int_equal(npt_map(&n, gpa(0x2000), hpa(0x6000), PAGE_SIZE, NPT_R | NPT_W), OK);
	assert_int_equal(npt_map(&n, gpa(0x3000), hpa(0x7000), PAGE_SIZE, NPT_R | NPT_X), OK);
	expect(0x1000, 0x5000, NPT_R, PAGE_SIZE);
	expect(0x2fff, 0x6fff, NPT_R | NPT_W, PAGE_SIZE);
	expect(0x3000, 0x7000, NPT_R | NPT_X, PAGE_SIZE);
	npt_destroy(&n);
}

static void refuses_to_map_twice(void **state)
{
	const struct npt_format *f = *state;

	assert_int_equal(npt_init(&n, f), OK);
	assert_int_equal(npt_map(&n, gpa(0), hpa(0), SIZE_2M, NPT_R), OK);
	assert_int_equal(npt_map(&n, gpa(0), hpa(0), SIZE_2M, NPT_R), ERR_EXIST);
	assert_int_equal(npt_map(&n, gpa(0x1000), hpa(0), PAGE_SIZE, NPT_R), ERR_EXIST);
	npt_destroy(&n);
}

static void unmaps_what_it_mapped(void **state)
{
	const struct npt_format *f = *state;

	assert_int_equal(npt_init(&n, f), OK);
	assert_int_equal(npt_map(&n, gpa(GIB), hpa(0), 2 * SIZE_2M + 3 * PAGE_SIZE, NPT_R), OK);
	npt_unmap(&n, gpa(GIB + SIZE_2M), SIZE_2M);
	expect(GIB, 0, NPT_R, SIZE_2M);
	expect_nothing(GIB + SIZE_2M);
	expect(GIB + 2 * SIZE_2M, 2 * SIZE_2M, NPT_R, PAGE_SIZE);
	npt_unmap(&n, gpa(0), 4 * GIB);
	expect_nothing(GIB);
	expect_nothing(GIB + 2 * SIZE_2M);
	assert_int_equal(npt_map(&n, gpa(GIB), hpa(0), PAGE_SIZE, NPT_R), OK);
	npt_destroy(&n);
}

#define FOR_FORMAT(fn, i)                                                                          \
	{                                                                                          \
#fn "/" #i, fn, NULL, NULL, (void *)(uintptr_t)&formats[i]                         \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    FOR_FORMAT(takes_the_largest_leaf, 0),
	    FOR_FORMAT(takes_the_largest_leaf, 1),
	    FOR_FORMAT(keeps_permissions_apart, 0),
	    FOR_FORMAT(keeps_permissions_apart, 1),
	    FOR_FORMAT(refuses_to_map_twice, 0),
	    FOR_FORMAT(refuses_to_map_twice, 1),
	    FOR_FORMAT(unmaps_what_it_mapped, 0),
	    FOR_FORMAT(unmaps_what_it_mapped, 1),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
