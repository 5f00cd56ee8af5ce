/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The power fails at any moment: every write and flush of a sequence of operations is recorded;
 * then the disk is rebuilt as it may be found after a cut behind any of them. What was flushed is
 * there; of what was written since, any subset of the 512-byte sectors may be. Whatever it is,
 * the store opens with exactly what was there before the running operation or after it, passes
 * its check, and passes it again after the opening for writing has tidied up.
 *
 * Windows of up to EXHAUSTIVE block writes between two flushes are replayed in every subset;
 * larger ones in every prefix, every single loss, every single survivor, and SAMPLES drawn subsets;
 * all of them in drawn subsets of sectors too.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/fake/fake_store.h"

enum { BLOCKS = 512, EXHAUSTIVE = 8, SAMPLES = 40, TORN = 20, SECTOR = 512 };

static const uint8_t uuid[16] = "power cut";

struct replay {
	struct mem_disk d;   /* records */
	struct mem_disk cut; /* what is found after the cut */
	uint8_t *durable;    /* everything flushed so far */
	uint64_t before, after;
	unsigned points, seen_before, seen_after, reopened;
	uint64_t seed;
};

static void reopen_cut(struct replay *r, bool writable)
{
	struct store_check_result res;
	struct errmsg e = {.text = ""};
	struct store *s;
	uint64_t digest;
	int err = store_open(&r->cut.io, writable, &s, &e);

	if (!err)
		err = store_check(s, &res, NULL, NULL, &e);
	if (err)
		print_error("cut point %u: %s\n", r->points, e.text);
	assert_int_equal(err, OK);
	if (writable)
		assert_int_equal(res.orphans, 0);
	digest = fake_digest(s);
	assert_true(digest == r->before || digest == r->after);
	r->seen_before += digest == r->before;
	r->seen_after += digest == r->after;
	store_close(s);
}

/* Applies the sectors of one write that the mask names. */
static void apply(uint8_t *disk, const struct fake_op *op, uint8_t mask)
{
	for (unsigned i = 0; i < 8; i++)
		if (mask >> i & 1)
			memcpy(disk + op->block * STORE_BLOCK + i * SECTOR, op->data + i * SECTOR,
			    SECTOR);
}

/* One way to be cut: of the n writes behind the last flush, those sectors that masks name are
 * there. */
static void try_cut(struct replay *r, const struct fake_op *ops, size_t n, const uint8_t *masks)
{
	memcpy(r->cut.data, r->durable, (size_t)BLOCKS * STORE_BLOCK);
	for (size_t i = 0; i < n; i++)
		apply(r->cut.data, &ops[i], masks[i]);
	r->points++;
	reopen_cut(r, false);
	if (r->points % 5 == 0) { /* tidying up is slower */
		r->reopened++;
		reopen_cut(r, true);
	}
}

static void try_window(struct replay *r, const struct fake_op *ops, size_t n)
{
	uint8_t *masks = malloc(n + 1);

	if (n <= EXHAUSTIVE) {
		for (unsigned set = 0; set < 1u << n; set++) {
			for (size_t i = 0; i < n; i++)
				masks[i] = set >> i & 1 ? 0xff : 0;
			try_cut(r, ops, n, masks);
		}
	} else {
		for (size_t k = 0; k <= n; k++) {
			memset(masks, 0xff, k);
			memset(masks + k, 0, n - k);
			try_cut(r, ops, n, masks); /* the first k */
			if (k == n)
				break;
			memset(masks, 0xff, n);
			masks[k] = 0;
			try_cut(r, ops, n, masks); /* all but one */
			memset(masks, 0, n);
			masks[k] = 0xff;
			try_cut(r, ops, n, masks); /* only one */
		}
		for (unsigned t = 0; t < SAMPLES; t++) {
			for (size_t i = 0; i < n; i++)
				masks[i] = fake_random(&r->seed) & 1 ? 0xff : 0;
			try_cut(r, ops, n, masks);
		}
	}
	for (unsigned t = 0; n && t < TORN; t++) {
		for (size_t i = 0; i < n; i++)
			masks[i] = (uint8_t)fake_random(&r->seed);
		try_cut(r, ops, n, masks);
	}
	free(masks);
}

/* Replays what one operation did to the disk. */
static void try_operation(struct replay *r)
{
	size_t start = 0;

	for (size_t i = 0; i <= r->d.nops; i++) {
		if (i < r->d.nops && !r->d.ops[i].flush)
			continue;
		try_window(r, r->d.ops + start, i - start);
		for (size_t k = start; k < i; k++)
			apply(r->durable, &r->d.ops[k], 0xff);
		start = i + 1;
	}
	/* it returned: what it did is durable, whatever comes */
	assert_int_equal(r->d.nops == 0 || r->d.ops[r->d.nops - 1].flush, true);
	r->before = r->after;
	try_cut(r, NULL, 0, NULL);
	mem_disk_forget(&r->d);
}

enum step_kind { SAVE, REPLACE, CHILD, FLATTEN, FREEZE, FORK, THAW, DELETE, BUMP, ABORT, REOPEN };

static const char *parent_name; /* for CHILD and ABORT */

static struct store *step(struct replay *r, struct store *s, enum step_kind kind, const char *name,
    uint32_t mark, size_t bytes)
{
	static uint8_t ram[1 << 20];
	struct errmsg e = {.text = ""};
	uint8_t guid[16] = {9, 0}, machine[16] = {9, 1};
	uint64_t epoch;
	bool frozen;
	int err = OK;

	fake_ram_fill(ram, bytes, mark);
	switch (kind) {
	case SAVE:
	case REPLACE:
		err = fake_save(s, name, mark, ram, bytes, 0x1000 * mark, kind == REPLACE, &e);
		break;
	case CHILD:
		err = fake_save_child(s, name, parent_name, mark, ram, bytes, true, &e);
		break;
	case FLATTEN:
		err = snap_flatten(s, name, NULL, NULL, &e);
		break;
	case FREEZE: /* with the snapshot, or not at all */
		err = fake_freeze(s, name, mark, ram, bytes, machine, &e);
		break;
	case FORK: /* frozen before and after, at any time */
		err = store_freeze_anew(s, machine, &e);
		break;
	case THAW:
		err = store_thaw(s, machine, &e);
		break;
	case DELETE:
		err = snap_delete(s, name, &e);
		break;
	case BUMP:
		err = store_epoch_bump(s, guid, &epoch, &e);
		break;
	case ABORT: { /* with a commit of somebody else in the middle */
		struct snap_params p = {
		    .name = name, .vm = "v", .memory = bytes, .parent_name = parent_name};
		struct snap_writer *w;

		assert_int_equal(snap_writer_begin(s, &p, &w, &e), OK);
		assert_int_equal(snap_writer_ram(w, gpa(0), ram, bytes, &e), OK);
		assert_int_equal(store_commit(s, &e), OK);
		snap_writer_abort(w);
		break;
	}
	case REOPEN:
		store_close(s);
		err = store_open(&r->d.io, true, &s, &e);
		break;
	}
	if (err)
		print_error("%s\n", e.text);
	assert_int_equal(err, OK);
	if (kind == FREEZE || kind == FORK || kind == THAW) {
		assert_int_equal(store_frozen_get(s, machine, &frozen, &e), OK);
		assert_int_equal(frozen, kind != THAW);
	}
	r->after = fake_digest(s);
	try_operation(r);
	return s;
}

static struct store *begin(struct replay *r)
{
	struct errmsg e;
	struct store *s;

	parent_name = NULL;
	mem_disk_init(&r->d, BLOCKS, true);
	mem_disk_init(&r->cut, BLOCKS, false);
	r->durable = calloc(BLOCKS, STORE_BLOCK);
	assert_int_equal(store_format(&r->d.io, uuid, &e), OK);
	memcpy(r->durable, r->d.data, (size_t)BLOCKS * STORE_BLOCK);
	assert_int_equal(store_open(&r->d.io, true, &s, &e), OK);
	r->before = fake_digest(s);
	r->d.record = true;
	return s;
}

static void end(struct replay *r, struct store *s)
{
	print_message("%u cut points, %u with the old state, %u with the new, %u tidied up\n",
	    r->points, r->seen_before, r->seen_after, r->reopened);
	store_close(s);
	mem_disk_free(&r->d);
	mem_disk_free(&r->cut);
	free(r->durable);
}

static struct store *child(struct replay *r, struct store *s, const char *name, const char *parent,
    uint32_t mark, size_t bytes)
{
	parent_name = parent;
	s = step(r, s, CHILD, name, mark, bytes);
	parent_name = NULL;
	return s;
}

/*
 * Chains: begun on a snapshot and broken off, built, taken apart from either end and in the middle,
 * made flat. What a snapshot shows does not change by what happens to the others.
 */
static void test_powercut_chain(void **state)
{
	struct replay r = {.seed = 78};
	struct store *s = begin(&r);
	enum { SIZE = 200000 };

	s = step(&r, s, SAVE, "a", 1, SIZE);
	s = child(&r, s, "b", "a", 2, SIZE);
	s = child(&r, s, "c", "b", 3, SIZE);
	parent_name = "c";
	s = step(&r, s, ABORT, "x", 4, SIZE);
	parent_name = NULL;
	s = step(&r, s, DELETE, "b", 0, 0);  /* its RAM stays */
	s = child(&r, s, "c", "c", 5, SIZE); /* in its parent's place */
	s = child(&r, s, "d", "c", 6, SIZE);
	s = step(&r, s, FLATTEN, "c", 0, 0); /* d goes on with what c had */
	s = step(&r, s, REOPEN, NULL, 0, 0);
	s = step(&r, s, DELETE, "a", 0, 0);
	s = step(&r, s, DELETE, "c", 0, 0); /* blocks shared with what is under d */
	s = child(&r, s, "e", "d", 7, SIZE);
	s = step(&r, s, FLATTEN, "e", 0, 0);
	s = step(&r, s, DELETE, "d", 0, 0); /* five levels go, one after the other */
	s = step(&r, s, REPLACE, "e", 8, 5000);
	s = step(&r, s, DELETE, "e", 0, 0);
	assert_true(r.points > 2000);
	end(&r, s);
}

/* Snapshots of the same content, and of half of it, that come and go: nothing is lent out early or
 * given back late. */
static void test_powercut_shared(void **state)
{
	struct replay r = {.seed = 79};
	struct store *s = begin(&r);
	struct store_check_result res;
	struct errmsg e;
	enum { SIZE = 200000 };

	s = step(&r, s, SAVE, "a", 1, SIZE);
	s = step(&r, s, SAVE, "b", 1, SIZE);
	s = step(&r, s, ABORT, "x", 1, SIZE);
	assert_int_equal(store_check(s, &res, NULL, NULL, &e), OK);
	assert_true(res.shared_blocks > SIZE / STORE_BLOCK / 2);
	s = step(&r, s, DELETE, "a", 0, 0);
	s = step(&r, s, SAVE, "c", 1, SIZE / 2);
	s = step(&r, s, REPLACE, "b", 2, SIZE); /* the blocks that it had go to c alone */
	s = step(&r, s, REOPEN, NULL, 0, 0);
	s = step(&r, s, SAVE, "a", 1, SIZE);
	s = step(&r, s, REPLACE, "a", 1, SIZE); /* with its own */
	assert_int_equal(store_check(s, &res, NULL, NULL, &e), OK);
	assert_true(res.shared_blocks); /* the chunk that c has whole */
	s = child(&r, s, "d", "a", 3, SIZE);
	s = step(&r, s, FLATTEN, "d", 0, 0);
	s = step(&r, s, SAVE, "e", 2, SIZE);
	s = step(&r, s, DELETE, "b", 0, 0);
	s = step(&r, s, DELETE, "a", 0, 0);
	s = step(&r, s, DELETE, "c", 0, 0);
	s = step(&r, s, DELETE, "d", 0, 0);
	s = step(&r, s, DELETE, "e", 0, 0);
	assert_int_equal(store_check(s, &res, NULL, NULL, &e), OK);
	assert_int_equal(res.shared_blocks, 0);
	assert_true(r.points > 2000);
	end(&r, s);
}

static void test_powercut(void **state)
{
	struct replay r = {.seed = 77};
	struct store *s = begin(&r);

	s = step(&r, s, SAVE, "a", 1, 90000);
	s = step(&r, s, BUMP, NULL, 0, 0);
	s = step(&r, s, SAVE, "b", 2, 300000);
	s = step(&r, s, BUMP, NULL, 0, 0);
	s = step(&r, s, REPLACE, "a", 3, 200000);
	s = step(&r, s, DELETE, "b", 0, 0);
	s = step(&r, s, ABORT, "c", 4, 300000);
	s = step(&r, s, REOPEN, NULL, 0, 0);
	s = step(&r, s, SAVE, "d", 5, 700000);
	s = step(&r, s, REPLACE, "d", 6, 4000);
	s = step(&r, s, DELETE, "a", 0, 0);
	s = step(&r, s, BUMP, NULL, 0, 0);
	s = step(&r, s, DELETE, "d", 0, 0);
	s = step(&r, s, FREEZE, "f", 7, 90000);
	s = step(&r, s, THAW, NULL, 0, 0);
	s = step(&r, s, FREEZE, "g", 8, 20000);
	s = step(&r, s, FORK, NULL, 0, 0);
	assert_true(r.points > 2000);
	end(&r, s);
}

/* Formatting over an old store: afterwards there is the old one, none, or the new one, never a
 * mixture. */
static void test_powercut_format(void **state)
{
	static uint8_t ram[50000];
	struct replay r = {.seed = 5};
	struct errmsg e;
	struct store *s;
	uint64_t full, empty;
	unsigned none = 0, was = 0, now = 0;

	mem_disk_init(&r.d, BLOCKS, false);
	mem_disk_init(&r.cut, BLOCKS, false);
	r.durable = calloc(BLOCKS, STORE_BLOCK);
	assert_int_equal(store_format(&r.d.io, uuid, &e), OK);
	assert_int_equal(store_open(&r.d.io, true, &s, &e), OK);
	empty = fake_digest(s);
	fake_ram_fill(ram, sizeof(ram), 1);
	assert_int_equal(fake_save(s, "old", 1, ram, sizeof(ram), 0, false, &e), OK);
	full = fake_digest(s);
	store_close(s);
	memcpy(r.durable, r.d.data, (size_t)BLOCKS * STORE_BLOCK);
	r.d.record = true;
	assert_int_equal(store_format(&r.d.io, (const uint8_t *)"another uuid 16", &e), OK);

	for (size_t i = 0, start = 0; i <= r.d.nops; i++) {
		if (i < r.d.nops && !r.d.ops[i].flush)
			continue;
		for (unsigned set = 0; set < 1u << (i - start); set++) {
			int err;

			memcpy(r.cut.data, r.durable, (size_t)BLOCKS * STORE_BLOCK);
			for (size_t k = start; k < i; k++)
				apply(r.cut.data, &r.d.ops[k], set >> (k - start) & 1 ? 0xff : 0);
			err = store_open(&r.cut.io, true, &s, &e);
			assert_true(err == OK || err == ERR_NOENT);
			none += err == ERR_NOENT;
			if (err)
				continue;
			/* the superblock before the last may have outlived the last one */
			if (fake_digest(s) == full)
				was++;
			else
				now += fake_digest(s) == empty;
			store_close(s);
		}
		for (size_t k = start; k < i; k++)
			apply(r.durable, &r.d.ops[k], 0xff);
		start = i + 1;
	}
	assert_true(none && was && now);
	mem_disk_free(&r.d);
	mem_disk_free(&r.cut);
	free(r.durable);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_powercut),
	    cmocka_unit_test(test_powercut_chain),
	    cmocka_unit_test(test_powercut_shared),
	    cmocka_unit_test(test_powercut_format),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
