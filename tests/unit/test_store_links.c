/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects that others refer to: an object stays while it has a link and goes with the last one,
 * with its parents behind it; chains end; the check finds every count and parent that is wrong.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "hv/lib/cursor.h"
#include "hv/lib/crc32c.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/store_int.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/fake_store.h"

static struct mem_disk disk;
static struct store *s;
static struct errmsg e;

static int setup(void **state)
{
	mem_disk_init(&disk, 1024, true);
	return store_format(&disk.io, (const uint8_t *)"store with links", &e) ||
	       store_open(&disk.io, true, &s, &e);
}

static int teardown(void **state)
{
	store_close(s);
	mem_disk_free(&disk);
	return fake_heap_outstanding();
}

static void reopen(void)
{
	store_close(s);
	assert_int_equal(store_open(&disk.io, true, &s, &e), OK);
}

static int check(struct store_check_result *out)
{
	struct store_check_result r;

	e.text[0] = '\0';
	return store_check(s, out ? out : &r, NULL, NULL, &e);
}

/* A complete object without content, an orphan; parent: 0 or its parent. */
static uint64_t object(uint32_t kind, uint64_t parent)
{
	struct store_object_info o;
	uint64_t id;

	assert_int_equal(store_object_create(s, kind, &id, &e), OK);
	if (parent)
		assert_int_equal(store_object_set_parent(s, id, parent, &e), OK);
	assert_int_equal(store_object_get(s, id, &o, &e), OK);
	o.flags = OBJ_COMPLETE;
	assert_int_equal(store_object_set(s, id, &o, &e), OK);
	return id;
}

static uint32_t links(uint64_t id)
{
	struct store_object_info o;

	assert_int_equal(store_object_get(s, id, &o, &e), OK);
	return o.links;
}

static bool exists(uint64_t id)
{
	struct store_object_info o;

	return store_object_get(s, id, &o, &e) == OK;
}

static uint64_t features(void)
{
	return get_le64(disk.data + s->generation % 2 * STORE_BLOCK + SB_INCOMPAT);
}

/* A base with some RAM and two children; each goes when nothing refers to it any more. */
static void test_last_link(void **state)
{
	struct store_check_result r;
	uint64_t base = object(KIND_RAM, 0), one, two;
	bool orphan;

	assert_int_equal(store_commit(s, &e), OK);
	assert_int_equal(features(), 0);
	one = object(KIND_RAM, base);
	two = object(KIND_RAM, base);
	assert_int_equal(links(base), 2);
	assert_int_equal(store_object_link(s, base, &e), OK);
	assert_int_equal(store_object_link(s, one, &e), OK);
	assert_int_equal(store_object_link(s, two, &e), OK);
	assert_int_equal(links(base), 3);
	assert_int_equal(links(one), 1);
	assert_int_equal(store_commit(s, &e), OK);
	assert_int_equal(features(), SBI_PARENTS);
	/* nothing holds them but this test, and the check sees that */
	assert_int_equal(check(&r), ERR_CORRUPT);
	assert_string_equal(e.text, "object 16: 2 references, its record says 3");

	assert_int_equal(store_object_unlink(s, base, &orphan, &e), OK);
	assert_false(orphan);
	assert_int_equal(store_object_unlink(s, one, &orphan, &e), OK);
	assert_true(orphan);
	assert_int_equal(store_commit(s, &e), OK);
	reopen(); /* as after a power cut: the orphan goes, its parent stays */
	assert_false(exists(one));
	assert_int_equal(links(base), 1);
	assert_int_equal(store_object_unlink(s, two, &orphan, &e), OK);
	assert_true(orphan);
	assert_int_equal(store_commit(s, &e), OK);
	assert_int_equal(store_object_delete(s, two, &e), OK);
	assert_false(exists(two));
	assert_false(exists(base));
	assert_int_equal(check(&r), OK);
	assert_int_equal(r.objects, 0);
	assert_int_equal(r.orphans, 0);
	reopen();
	assert_int_equal(features(), SBI_PARENTS); /* the bit stays */
}

/* A program that does not know a feature says which, and opens nothing. */
static void test_feature_is_refused_by_name(void **state)
{
	uint8_t *super = disk.data + s->generation % 2 * STORE_BLOCK;
	struct store *other;

	put_le64(super + SB_INCOMPAT, SBI_KNOWN | 1ULL << 40);
	put_le32(super + SB_CRC, crc32c(0, super, SB_CRC));
	assert_int_equal(store_open(&disk.io, false, &other, &e), ERR_UNSUPPORTED);
	assert_string_equal(
	    e.text, "store: format version 1, features 0x10000000000: made by a newer release");
	put_le64(super + SB_INCOMPAT, SBI_KNOWN);
	put_le32(super + SB_CRC, crc32c(0, super, SB_CRC));
	assert_int_equal(store_open(&disk.io, false, &other, &e), OK);
	store_close(other);
}

static void test_what_may_be_a_parent(void **state)
{
	uint64_t base = object(KIND_RAM, 0), id, tree = object(KIND_STATE, 0);
	unsigned depth;

	id = object(KIND_RAM, base);
	assert_int_equal(store_object_set_parent(s, id, base, &e), ERR_STATE);
	assert_int_equal(store_object_create(s, KIND_RAM, &id, &e), OK);
	assert_int_equal(store_object_set_parent(s, id, id, &e), ERR_CORRUPT);
	assert_int_equal(store_object_set_parent(s, id, id + 1, &e), ERR_CORRUPT);
	assert_int_equal(store_object_set_parent(s, id, OBJ_CATALOG, &e), ERR_CORRUPT);
	assert_int_equal(store_object_set_parent(s, id, tree, &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "of another kind"));
	for (unsigned n = 2; n <= STORE_CHAIN_MAX; n++) {
		assert_int_equal(store_object_set_parent(s, id, base, &e), OK);
		assert_int_equal(store_object_depth(s, id, &depth, &e), OK);
		assert_int_equal(depth, n);
		base = id;
		assert_int_equal(store_object_create(s, KIND_RAM, &id, &e), OK);
	}
	assert_int_equal(store_object_set_parent(s, id, base, &e), ERR_RANGE);
	assert_non_null(strstr(e.text, "has 32 levels, which are the most"));
	assert_int_equal(links(base), 0);
	/* a missing one */
	assert_int_equal(store_object_delete(s, base, &e), OK);
	assert_int_equal(store_object_set_parent(s, id, base, &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "missing"));
	assert_int_equal(store_object_link(s, base, &e), ERR_NOENT);
}

/* A chain of the greatest length goes from one end to the other, and all room comes back. */
static void test_long_chain_goes(void **state)
{
	uint64_t id = 0, free;
	struct store_stat st;
	unsigned depth;

	store_stat(s, &st);
	free = st.free;
	for (unsigned n = 0; n < STORE_CHAIN_MAX; n++)
		id = object(KIND_RAM, id);
	assert_int_equal(store_object_depth(s, id, &depth, &e), OK);
	assert_int_equal(depth, STORE_CHAIN_MAX);
	assert_int_equal(store_commit(s, &e), OK);
	assert_int_equal(store_object_delete(s, id, &e), OK);
	assert_int_equal(check(NULL), OK);
	store_stat(s, &st);
	assert_int_equal(st.free, free);
}

/* The disk fails anywhere in the deletion of a chain: the next opening ends it. */
static void test_deletion_resumes(void **state)
{
	struct store_check_result r;

	for (int n = 0;; n++) {
		uint64_t id = object(KIND_RAM, object(KIND_RAM, object(KIND_RAM, 0)));
		int err;

		assert_int_equal(store_commit(s, &e), OK);
		disk.fail_after = n;
		err = store_object_delete(s, id, &e);
		disk.fail_after = -1;
		reopen();
		assert_int_equal(check(&r), OK);
		assert_int_equal(r.objects, 0);
		if (!err)
			break;
		assert_int_equal(err, ERR_IO);
	}
}

/* Memory runs out anywhere in taking a parent: the link is there with the child, or neither. */
static void test_parent_without_memory(void **state)
{
	uint64_t base = object(KIND_RAM, 0), id;
	int err = ERR_NOMEM;

	assert_int_equal(store_object_link(s, base, &e), OK);
	for (int n = 0; err; n++) {
		assert_int_equal(store_object_create(s, KIND_RAM, &id, &e), OK);
		assert_int_equal(store_commit(s, &e), OK);
		cache_drop_clean(s);
		fake_heap_fail_after(n);
		err = store_object_set_parent(s, id, base, &e);
		fake_heap_fail_after(-1);
		assert_int_equal(links(base), err ? 1 : 2);
		assert_int_equal(store_object_delete(s, id, &e), OK);
		assert_int_equal(links(base), 1);
	}
}

/* Changes an object's record behind everybody's back. */
static void lie(uint64_t id, uint64_t parent, int more_links)
{
	struct store_object_info o;

	assert_int_equal(store_object_get(s, id, &o, &e), OK);
	o.parent = parent;
	o.links += (uint32_t)more_links;
	assert_int_equal(store_object_set(s, id, &o, &e), OK);
	assert_int_equal(store_commit(s, &e), OK);
}

static void expect_fault(const char *text)
{
	assert_int_equal(check(NULL), ERR_CORRUPT);
	if (!strstr(e.text, text))
		print_error("'%s' instead of '%s'\n", e.text, text);
	assert_non_null(strstr(e.text, text));
}

static void test_check_finds(void **state)
{
	uint64_t base = object(KIND_RAM, 0), tree = object(KIND_STATE, 0), id, other;
	struct store_key okey = {OBJ_ORPHANS, REC_ORPHAN, base};

	id = object(KIND_RAM, base); /* an orphan, as if being written: its link counts */
	assert_int_equal(store_commit(s, &e), OK);
	assert_int_equal(check(NULL), OK);

	/* its count means nothing yet, until somebody takes it for no orphan */
	lie(tree, 0, 1);
	assert_int_equal(check(NULL), OK);
	lie(base, 0, 1);
	expect_fault("object 16: 1 references, its record says 2");
	lie(base, 0, -1);
	lie(id, 0, 0);
	expect_fault("object 16: 0 references, its record says 1");
	lie(id, tree, 0);
	expect_fault("of another kind");
	lie(id, id, 0);
	expect_fault("impossible parent");
	lie(id, id + 1, 0);
	expect_fault("impossible parent");
	lie(id, OBJ_EPOCHS, 0);
	expect_fault("impossible parent");
	lie(id, base, 0);
	lie(base, id, 0); /* a circle */
	expect_fault("impossible parent");
	lie(base, 0, 0);
	assert_int_equal(check(NULL), OK);

	other = object(KIND_STATE, 0);
	lie(other, tree, 0);
	expect_fault("has a parent, being a state tree");
	lie(other, 0, 0);
	assert_int_equal(check(NULL), OK);
	assert_int_equal(tree_insert(s, &okey, NULL, 0, &e), OK);
	assert_int_equal(store_commit(s, &e), OK);
	expect_fault("not complete");
	assert_int_equal(tree_delete(s, &okey, &e), OK);
	s->incompat = 0;
	assert_int_equal(store_commit(s, &e), OK);
	expect_fault("has a parent, in a store without");
}

/* Two counts that are wrong do not make up for each other. */
static void test_counts_do_not_cancel_out(void **state)
{
	uint64_t a = object(KIND_RAM, 0), b = object(KIND_RAM, 0);

	(void)object(KIND_RAM, a);
	(void)object(KIND_RAM, a);
	(void)object(KIND_RAM, b);
	assert_int_equal(store_commit(s, &e), OK);
	assert_int_equal(check(NULL), OK);
	lie(a, 0, -1);
	lie(b, 0, 1);
	expect_fault("object 16: 2 references, its record says 1");
	lie(a, 0, 1);
	expect_fault("object 17: 1 references, its record says 2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_last_link, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_feature_is_refused_by_name, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_what_may_be_a_parent, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_long_chain_goes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_deletion_resumes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_parent_without_memory, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_check_finds, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_counts_do_not_cancel_out, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
