/* SPDX-License-Identifier: BSD-2-Clause */
/* The tree of snapshots: each once and below its parent, whatever the records' ids say. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "hv/lib/fmt.h"
#include "hv/snapshot/snap_tree.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/fake_store.h"

static char seen[256];

static void note(void *ctx, const struct snap_entry *x, unsigned depth)
{
	size_t n = strlen(seen);

	snprintf(seen + n, sizeof(seen) - n, "%s%u%s", n ? " " : "", depth, x->info.name);
}

static void expect_walk(struct snap_tree *t, const char *want)
{
	for (unsigned twice = 0; twice < 2; twice++) {
		seen[0] = '\0';
		snap_tree_walk(t, note, NULL);
		assert_string_equal(seen, want);
	}
}

/* A tree whose n-th entry, 'a' being the first, has parent[n], or '-'. */
static void expect_order(const char *parent, const char *want)
{
	struct snap_entry x[8] = {0};
	struct snap_tree t = {.entry = x, .n = strlen(parent)};

	for (size_t i = 0; i < t.n; i++) {
		x[i].info.name[0] = (char)('a' + i);
		x[i].parent = parent[i] == '-' ? SNAP_NO_PARENT : (size_t)(parent[i] - 'a');
	}
	expect_walk(&t, want);
}

static void test_walk(void **state)
{
	expect_order("", "");
	expect_order("--", "0a 0b");
	expect_order("-abca", "0a 1b 2c 3d 1e");
	expect_order("-a-ac", "0a 1b 1d 0c 1e");
	expect_order("c--", "0b 0c 1a"); /* a child that is older */
	expect_order("bcd-", "0d 1c 2b 3a");
}

/* Only who writes a store by hand makes such ids. */
static void test_circles(void **state)
{
	expect_order("a", "0a");
	expect_order("ba", "0a 1b");
	expect_order("-cdb", "0a 0b 1d 2c");
	expect_order("bad-c", "0d 1c 2e 0a 1b");
}

static void test_get(void **state)
{
	static uint8_t ram[100 << 10];
	struct errmsg e = {.text = ""};
	struct mem_disk d;
	struct snap_tree t;
	struct store *s;
	int err, n;

	mem_disk_init(&d, 1024, false);
	assert_int_equal(store_format(&d.io, (const uint8_t *)"a store of trees", &e), OK);
	assert_int_equal(store_open(&d.io, true, &s, &e), OK);
	fake_ram_fill(ram, sizeof(ram), 8);
	assert_int_equal(fake_save(s, "base", 1, ram, sizeof(ram), 0, false, &e), OK);
	assert_int_equal(fake_save_child(s, "mid", "base", 2, ram, sizeof(ram), false, &e), OK);
	assert_int_equal(fake_save(s, "other", 3, ram, sizeof(ram), 0, false, &e), OK);
	assert_int_equal(fake_save_child(s, "top", "mid", 4, ram, sizeof(ram), false, &e), OK);
	for (n = 0, err = ERR_NOMEM; err; n++) {
		fake_heap_fail_after(n);
		err = snap_tree_get(s, &t, &e);
		fake_heap_fail_after(-1);
		if (err)
			assert_int_equal(err, ERR_NOMEM);
		else
			expect_walk(&t, "0base 1mid 2top 0other");
		snap_tree_free(&t);
	}
	assert_true(n > 2);
	assert_int_equal(snap_delete(s, "mid", &e), OK);
	assert_int_equal(snap_tree_get(s, &t, &e), OK);
	expect_walk(&t, "0base 0other 0top");
	assert_true(t.entry[2].based && !t.entry[0].based);
	snap_tree_free(&t);
	store_close(s);
	mem_disk_free(&d);
	assert_int_equal(fake_heap_outstanding(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_walk),
	    cmocka_unit_test(test_circles),
	    cmocka_unit_test(test_get),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
