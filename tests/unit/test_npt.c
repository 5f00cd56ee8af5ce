/* SPDX-License-Identifier: BSD-2-Clause */
/* The nested-paging builder, in both formats. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "hv/arch/x86/npt.h"
#include "hv/mm/mm.h"

/* As NPT and as EPT lay out their entries (APM volume 2, 15.25; SDM volume 3, 29.3.2). */
static const struct npt_format formats[] = {
    {.name = "NPT",
	.table = 7,
	.leaf = BIT(0) | BIT(2),
	.large = BIT(7),
	.write = BIT(1),
	.no_exec = BIT(63),
	.present = BIT(0),
	.accessed = BIT(5),
	.dirty = BIT(6),
	.may_write = NPT_MAY_WRITE,
	.max_level = 3},
    {.name = "EPT",
	.table = 7,
	.leaf = BIT(0) | 6 << 3,
	.large = BIT(7),
	.write = BIT(1),
	.exec = BIT(2),
	.present = 7,
	.accessed = BIT(8),
	.dirty = BIT(9),
	.may_write = NPT_MAY_WRITE,
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

enum { RW = NPT_R | NPT_W, CHUNK = 16 * PAGE_SIZE };

/* Protecting the root takes write permission from everything; opening gives it to one piece. */
static void opens_only_what_it_is_told(void **state)
{
	const struct npt_format *f = *state;

	assert_int_equal(npt_init(&n, f), OK);
	assert_int_equal(npt_map(&n, gpa(0), hpa(0), GIB + SIZE_2M, RW), OK);
	assert_int_equal(npt_map(&n, gpa(4 * GIB), hpa(4 * GIB), SIZE_2M, RW), OK);
	npt_protect(&n);
	expect(0, 0, NPT_R, GIB);
	expect(GIB, GIB, NPT_R, SIZE_2M);
	assert_int_equal(npt_open(&n, gpa(SIZE_2M + CHUNK), CHUNK), OK);
	expect(SIZE_2M + CHUNK - 1, SIZE_2M + CHUNK - 1, NPT_R, PAGE_SIZE);
	expect(SIZE_2M + CHUNK, SIZE_2M + CHUNK, RW, PAGE_SIZE);
	expect(SIZE_2M + 2 * CHUNK - 1, SIZE_2M + 2 * CHUNK - 1, RW, PAGE_SIZE);
	expect(SIZE_2M + 2 * CHUNK, SIZE_2M + 2 * CHUNK, NPT_R, PAGE_SIZE);
	expect(0, 0, NPT_R, SIZE_2M);
	expect(2 * SIZE_2M, 2 * SIZE_2M, NPT_R, SIZE_2M);
	expect(GIB, GIB, NPT_R, SIZE_2M);
	expect(4 * GIB, 4 * GIB, NPT_R, SIZE_2M);

	/* once more: what was open is not any longer, and nothing is split twice */
	npt_protect(&n);
	expect(SIZE_2M + CHUNK, SIZE_2M + CHUNK, NPT_R, PAGE_SIZE);
	assert_int_equal(npt_open(&n, gpa(4 * GIB), CHUNK), OK);
	expect(4 * GIB, 4 * GIB, RW, PAGE_SIZE);
	expect(SIZE_2M + CHUNK, SIZE_2M + CHUNK, NPT_R, PAGE_SIZE);
	assert_int_equal(npt_open(&n, gpa(SIZE_2M), CHUNK), OK);
	expect(SIZE_2M, SIZE_2M, RW, PAGE_SIZE);
	expect(SIZE_2M + CHUNK, SIZE_2M + CHUNK, NPT_R, PAGE_SIZE);
	npt_destroy(&n);
}

/* Pushing permission down does not make writable what never was. */
static void opens_nothing_that_is_read_only(void **state)
{
	const struct npt_format *f = *state;

	assert_int_equal(npt_init(&n, f), OK);
	assert_int_equal(npt_map(&n, gpa(0), hpa(0), CHUNK, NPT_R | NPT_X), OK);
	assert_int_equal(npt_map(&n, gpa(CHUNK), hpa(CHUNK), CHUNK, RW), OK);
	assert_int_equal(npt_map(&n, gpa(SIZE_2M), hpa(SIZE_2M), SIZE_2M, NPT_R), OK);
	npt_protect(&n);
	assert_int_equal(npt_open(&n, gpa(0), 2 * CHUNK), OK);
	expect(0, 0, NPT_R | NPT_X, PAGE_SIZE);
	expect(CHUNK, CHUNK, RW, PAGE_SIZE);
	assert_int_equal(npt_open(&n, gpa(SIZE_2M), CHUNK), OK);
	expect(SIZE_2M, SIZE_2M, NPT_R, SIZE_2M);
	assert_int_equal(npt_open(&n, gpa(GIB), CHUNK), OK);
	expect_nothing(GIB);
	npt_destroy(&n);
}

/* A piece mapped for watching is not writable before it is opened, whatever is above it. */
static void maps_to_be_watched(void **state)
{
	const struct npt_format *f = *state;

	assert_int_equal(npt_init(&n, f), OK);
	assert_int_equal(npt_map(&n, gpa(CHUNK), hpa(0), CHUNK, RW | NPT_TRACKED), OK);
	expect(CHUNK, 0, NPT_R, PAGE_SIZE);
	assert_int_equal(npt_open(&n, gpa(CHUNK), CHUNK), OK);
	expect(CHUNK, 0, RW, PAGE_SIZE);
	npt_destroy(&n);
}

/* As the hardware would, for a leaf of 4 KiB. */
static void write_page(uint64_t g)
{
	uint64_t *t = phys_to_virt(n.root);

	for (unsigned shift = 39; shift > 12; shift -= 9)
		t = phys_to_virt(hpa(t[g >> shift & 511] & 0x000ffffffffff000ULL));
	t[g >> 12 & 511] |= n.fmt->dirty;
}

static void tells_what_was_written(void **state)
{
	const struct npt_format *f = *state;
	struct npt_format none = *f;

	assert_int_equal(npt_init(&n, f), OK);
	assert_int_equal(npt_map(&n, gpa(0), hpa(0), SIZE_2M, RW), OK);
	assert_int_equal(npt_take_dirty(&n, gpa(0), 16), 0);
	assert_int_equal(npt_take_dirty(&n, gpa(GIB), 16), 0);
	npt_protect(&n);
	assert_int_equal(npt_open(&n, gpa(CHUNK), CHUNK), OK);
	assert_int_equal(npt_take_dirty(&n, gpa(CHUNK), 16), 0);
	write_page(CHUNK);
	write_page(CHUNK + 15 * PAGE_SIZE);
	write_page(2 * CHUNK);
	assert_int_equal(npt_take_dirty(&n, gpa(CHUNK), 16), 0x8001);
	assert_int_equal(npt_take_dirty(&n, gpa(CHUNK), 16), 0);
	assert_int_equal(npt_take_dirty(&n, gpa(CHUNK), 17), 0x10000);
	npt_destroy(&n);
	/* without the bits everything may have been written */
	none.dirty = 0;
	assert_int_equal(npt_init(&n, &none), OK);
	assert_int_equal(npt_take_dirty(&n, gpa(0), 16), 0xffff);
	npt_destroy(&n);
}

/* As a walk marks what it goes through. */
static void reach(uint64_t g)
{
	uint64_t *t = phys_to_virt(n.root);

	for (unsigned shift = 39;; shift -= 9) {
		uint64_t *e = &t[g >> shift & 511];

		*e |= n.fmt->accessed;
		if (shift == 12 || (*e & n.fmt->large))
			return;
		t = phys_to_virt(hpa(*e & 0x000ffffffffff000ULL));
	}
}

static void tells_what_was_reached(void **state)
{
	const struct npt_format *f = *state;
	struct npt_format none = *f;

	assert_int_equal(npt_init(&n, f), OK);
	assert_int_equal(npt_map(&n, gpa(0), hpa(0), SIZE_2M, RW), OK);
	assert_int_equal(npt_map(&n, gpa(SIZE_2M), hpa(SIZE_2M), SIZE_2M - PAGE_SIZE, RW), OK);
	assert_int_equal(npt_map(&n, gpa(GIB), hpa(GIB), GIB, RW), OK);
	assert_int_equal(npt_take_accessed(&n, gpa(0)), 0);
	assert_int_equal(npt_take_accessed(&n, gpa(SIZE_2M)), 0);
	assert_int_equal(npt_take_accessed(&n, gpa(GIB + SIZE_2M)), 0);
	assert_int_equal(npt_take_accessed(&n, gpa(4 * GIB)), 0);
	reach(SIZE_2M);
	reach(SIZE_2M + 2 * CHUNK - PAGE_SIZE);
	reach(SIZE_2M + 31 * CHUNK + 14 * PAGE_SIZE);
	assert_int_equal(npt_take_accessed(&n, gpa(0)), 0);
	assert_int_equal(npt_take_accessed(&n, gpa(SIZE_2M)), 0x80000003);
	assert_int_equal(npt_take_accessed(&n, gpa(SIZE_2M)), 0);
	/* leaves that are larger */
	reach(5 * CHUNK);
	assert_int_equal(npt_take_accessed(&n, gpa(0)), UINT32_MAX);
	assert_int_equal(npt_take_accessed(&n, gpa(0)), 0);
	reach(GIB);
	assert_int_equal(npt_take_accessed(&n, gpa(GIB + SIZE_2M)), UINT32_MAX);
	assert_int_equal(npt_take_accessed(&n, gpa(GIB)), UINT32_MAX);
	/* of one that is split, nothing is known but what is reached from then on */
	reach(5 * CHUNK);
	npt_protect(&n);
	assert_int_equal(npt_open(&n, gpa(7 * CHUNK), CHUNK), OK);
	reach(7 * CHUNK);
	assert_int_equal(npt_take_accessed(&n, gpa(0)), 1 << 7);
	expect(7 * CHUNK, 7 * CHUNK, RW, PAGE_SIZE); /* all else is as it was */
	expect(8 * CHUNK, 8 * CHUNK, NPT_R, PAGE_SIZE);
	npt_destroy(&n);
	none.accessed = 0;
	assert_int_equal(npt_init(&n, &none), OK);
	assert_int_equal(npt_map(&n, gpa(0), hpa(0), CHUNK, RW), OK);
	assert_int_equal(npt_take_accessed(&n, gpa(0)), 0);
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
	    FOR_FORMAT(opens_only_what_it_is_told, 0),
	    FOR_FORMAT(opens_only_what_it_is_told, 1),
	    FOR_FORMAT(opens_nothing_that_is_read_only, 0),
	    FOR_FORMAT(opens_nothing_that_is_read_only, 1),
	    FOR_FORMAT(maps_to_be_watched, 0),
	    FOR_FORMAT(maps_to_be_watched, 1),
	    FOR_FORMAT(tells_what_was_written, 0),
	    FOR_FORMAT(tells_what_was_written, 1),
	    FOR_FORMAT(tells_what_was_reached, 0),
	    FOR_FORMAT(tells_what_was_reached, 1),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
