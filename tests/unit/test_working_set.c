/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The list of the RAM that is wanted first: what is written is read, what a disk may lie is not
 * believed, and programs that do not know it are not disturbed.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/mm/mm.h"
#include "hv/snapshot/snap_int.h"
#include "tests/unit/fake/fake_store.h"

enum { BLOCKS = 2600, RAM = 3 * STORE_CHUNK };

static struct mem_disk disk, other;
static struct store *s;
static struct errmsg e;
static gpa_t in[SNAP_SET_MAX + 1], out[SNAP_SET_MAX];

static int setup(void **state)
{
	(void)state;
	mem_disk_init(&disk, BLOCKS, true);
	assert_int_equal(store_format(&disk.io, (const uint8_t *)"working set, all", &e), OK);
	assert_int_equal(store_open(&disk.io, true, &s, &e), OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	store_close(s);
	mem_disk_free(&disk);
	return 0;
}

static void save(const char *name, unsigned n)
{
	static uint8_t ram[RAM];
	struct snap_params p = {.name = name, .vm = "guest", .memory = RAM, .replace = true};
	struct snap_writer *w;
	size_t size;
	void *tree = fake_tree(1, 100, &size);

	memset(ram, 5, sizeof(ram));
	assert_int_equal(snap_writer_begin(s, &p, &w, &e), OK);
	assert_int_equal(snap_writer_state(w, tree, size, &e), OK);
	assert_int_equal(snap_writer_ram(w, gpa(0), ram, RAM, &e), OK);
	assert_int_equal(snap_writer_set(w, in, n, &e), OK);
	assert_int_equal(snap_writer_commit(w, NULL, &e), OK);
	heap_free(tree);
}

static void check(struct store *st)
{
	struct store_check_result res;

	assert_int_equal(store_check(st, &res, NULL, NULL, &e), OK);
}

static int get(struct store *st, const char *name, gpa_t *to, unsigned *n)
{
	struct snap *sn;
	int err;

	assert_int_equal(snap_open(st, name, &sn, &e), OK);
	err = snap_set(sn, to, n, &e);
	assert_true(err || snap_verify(sn, NULL, NULL, &e) == OK);
	snap_close(sn);
	return err;
}

static void expect(struct store *st, const char *name, unsigned n)
{
	unsigned got = 12345;

	assert_int_equal(get(st, name, out, &got), OK);
	assert_int_equal(got, n);
	assert_memory_equal(out, in, n * sizeof(*in));
	assert_int_equal(get(st, name, NULL, &got), OK);
	assert_int_equal(got, n);
}

static uint64_t free_blocks(void)
{
	struct store_stat st;

	store_stat(s, &st);
	return st.free;
}

/* --- as it should be ---------------------------------------------------------------------- */

static void test_round_trip(void **state)
{
	uint64_t seed = 1, before;

	(void)state;
	save("a", 0);
	expect(s, "a", 0);
	before = free_blocks();
	/* any order, runs that go on and runs that do not, the highest address, one twice */
	for (unsigned i = 0; i < 1000; i++)
		in[i] = gpa(fake_random(&seed) % 4 ? in[i ? i - 1 : 0].a + STORE_CHUNK
						   : (uint64_t)fake_random(&seed) << 16);
	in[1000] = gpa(UINT64_MAX - 2 * STORE_CHUNK + 1);
	in[1001] = in[3];
	save("a", 1002);
	expect(s, "a", 1002);
	/* the most, in one run and in none */
	for (unsigned i = 0; i < SNAP_SET_MAX; i++)
		in[i] = gpa((uint64_t)i * STORE_CHUNK);
	save("a", SNAP_SET_MAX);
	expect(s, "a", SNAP_SET_MAX);
	for (unsigned i = 0; i < SNAP_SET_MAX; i++)
		in[i] = gpa((SNAP_SET_MAX - i) * 2ULL * STORE_CHUNK);
	save("a", SNAP_SET_MAX);
	expect(s, "a", SNAP_SET_MAX);
	store_close(s);
	assert_int_equal(store_open(&disk.io, true, &s, &e), OK);
	expect(s, "a", SNAP_SET_MAX);
	check(s);
	save("a", 0);
	assert_int_equal(free_blocks(), before); /* it goes with the snapshot */
	check(s);
}

static void test_refusals(void **state)
{
	struct snap_params p = {.name = "x", .vm = "guest", .memory = RAM};
	struct snap_writer *w;

	(void)state;
	assert_int_equal(snap_writer_begin(s, &p, &w, &e), OK);
	assert_int_equal(snap_writer_set(w, in, SNAP_SET_MAX + 1, &e), ERR_RANGE);
	assert_string_equal(e.text, "snapshot 'x': working set: 16385 pieces");
	in[0] = gpa(0x11000);
	assert_int_equal(snap_writer_set(w, in, 1, &e), ERR_INVAL);
	assert_string_equal(e.text, "snapshot 'x': working set: 0x11000: not aligned");
	snap_writer_abort(w);
}

/* An exported snapshot has its list, and one that is made full keeps it. */
static void test_copies(void **state)
{
	struct snap *sn;
	struct store *to;

	(void)state;
	for (unsigned i = 0; i < 400; i++)
		in[i] = gpa((400 - i) * 3ULL * STORE_CHUNK);
	save("a", 400);
	assert_int_equal(snap_flatten(s, "a", NULL, NULL, &e), OK);
	expect(s, "a", 400);
	mem_disk_init(&other, BLOCKS, false);
	assert_int_equal(store_format(&other.io, (const uint8_t *)"another store...", &e), OK);
	assert_int_equal(store_open(&other.io, true, &to, &e), OK);
	assert_int_equal(snap_open(s, "a", &sn, &e), OK);
	assert_int_equal(snap_copy(sn, to, &(struct snap_copy_params){.name = "b"}, &e), OK);
	snap_close(sn);
	expect(to, "b", 400);
	check(to);
	store_close(to);
	mem_disk_free(&other);
}

/* --- as it should not be ------------------------------------------------------------------ */

/* Record number i of the snapshot is these bytes now. */
static void put(unsigned i, const void *data, uint32_t len)
{
	struct store_key key = {.type = REC_WORKING_SET, .offset = i};
	struct snap_info info;
	struct store_key at;

	assert_int_equal(catalog_find(s, "a", &at, &info, &e), OK);
	key.object = info.state_object;
	(void)tree_delete(s, &key, &e);
	if (len)
		assert_int_equal(tree_insert(s, &key, data, len, &e), OK);
	assert_int_equal(store_commit(s, &e), OK);
}

static void expect_bad(const char *why)
{
	char text[100];
	struct snap *sn;
	struct store *to;
	unsigned n = 7;

	snprintf(text, sizeof(text), "snapshot 'a': working set: %s", why);
	assert_int_equal(get(s, "a", out, &n), ERR_CORRUPT);
	assert_string_equal(e.text, text);
	assert_int_equal(n, 0);
	/* the snapshot and the store are sound all the same, and a copy lacks the list only */
	assert_int_equal(snap_open(s, "a", &sn, &e), OK);
	assert_int_equal(snap_verify(sn, NULL, NULL, &e), OK);
	check(s);
	mem_disk_init(&other, BLOCKS, false);
	assert_int_equal(store_format(&other.io, (const uint8_t *)"another store...", &e), OK);
	assert_int_equal(store_open(&other.io, true, &to, &e), OK);
	assert_int_equal(snap_copy(sn, to, &(struct snap_copy_params){.name = "b"}, &e), OK);
	snap_close(sn);
	expect(to, "b", 0);
	store_close(to);
	mem_disk_free(&other);
}

static void test_hostile(void **state)
{
	static uint64_t rec[WS_ENTRIES + 1];
	unsigned n;

	(void)state;
	in[0] = gpa(0);
	save("a", 1);
	put(0, "1234567", 7);
	expect_bad("record of the wrong length");
	rec[0] = 0x10001;
	put(0, rec, sizeof(rec));
	expect_bad("record of the wrong length");
	rec[0] = 0x10000;
	put(0, rec, 8);
	expect_bad("empty run");
	rec[0] = ~0xffffULL | 1;
	put(0, rec, 8);
	assert_int_equal(get(s, "a", out, &n), ERR_CORRUPT);
	rec[0] = ~0x1ffffULL | 3;
	put(0, rec, 8);
	expect_bad("impossible address");
	rec[0] = 0xffff;
	put(0, rec, 8);
	expect_bad("too many pieces");
	for (unsigned i = 0; i < WS_ENTRIES; i++)
		rec[i] = 103; /* the same again and again: 16,480 */
	put(0, rec, 8 * (WS_PIECES_MAX / 103));
	assert_int_equal(get(s, "a", out, &n), OK);
	assert_int_equal(n, WS_PIECES_MAX / 103 * 103);
	put(0, rec, 8 * WS_ENTRIES);
	expect_bad("too many pieces");
	/* one that does not begin at 0, one with a gap */
	rec[0] = 1;
	put(0, NULL, 0);
	put(1, rec, 8);
	expect_bad("out of order");
	put(0, rec, 8);
	assert_int_equal(get(s, "a", out, &n), OK);
	put(3, rec, 8);
	expect_bad("out of order");
	put(3, NULL, 0);
	assert_int_equal(get(s, "a", out, &n), OK);
	assert_int_equal(n, 2);
	assert_int_equal(snap_delete(s, "a", &e), OK);
	check(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_copies, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
