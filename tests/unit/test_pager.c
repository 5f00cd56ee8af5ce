/* SPDX-License-Identifier: BSD-2-Clause */
/* In what order a machine's RAM comes from its snapshot: real guest memory, a real store. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "hv/core/gmem.c"
#include "hv/core/gmem_back.c"
#include "hv/core/gmem_mark.c"
#include "hv/core/gmem_rom.c"
#include "hv/core/gmem_share.c"
#include "hv/core/gmem_track.c"
#include "hv/core/gmem_used.c"
#include "hv/snapshot/pager.c"
#include "hv/snapshot/snap_int.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/fake_store.h"

enum { BLOCKS = 2600, CHUNKS = 32, RAM = CHUNKS * GMEM_CHUNK, ZEROS_FROM = 28 };

static const struct npt_format format = {.name = "NPT",
    .table = 7,
    .leaf = BIT(0) | BIT(2),
    .large = BIT(7),
    .write = BIT(1),
    .no_exec = BIT(63),
    .present = BIT(0),
    .accessed = BIT(5),
    .dirty = BIT(6),
    .may_write = NPT_MAY_WRITE,
    .max_level = 2};

static struct mem_disk disk;
static struct store *store;
static struct vm *vm;
static struct pager *pager;
static struct errmsg e;
static bool locked, was_missing[CHUNKS];
static int holders;

/* --- the engine's part -------------------------------------------------------------------- */

void engine_lock_only(void)
{
	assert_false(locked);
	locked = true;
}

struct store *engine_lock(struct errmsg *why)
{
	(void)why;
	engine_lock_only();
	return store;
}

void engine_unlock(void)
{
	assert_true(locked);
	locked = false;
}

void engine_hold(void)
{
	holders++;
}

void engine_release(void)
{
	assert_false(locked);
	holders--;
}

void engine_let_go(void)
{
	holders--;
}

/* --- a machine that is restored ----------------------------------------------------------- */

static uint8_t content(uint64_t chunk)
{
	return chunk < ZEROS_FROM ? (uint8_t)(chunk + 1) : 0;
}

static void save(const gpa_t *set, unsigned n)
{
	static uint8_t ram[GMEM_CHUNK];
	struct snap_params p = {.name = "s", .vm = "fake", .memory = RAM};
	struct snap_writer *w;
	size_t size;
	void *tree = fake_tree(1, 100, &size);

	mem_disk_init(&disk, BLOCKS, true);
	assert_int_equal(store_format(&disk.io, (const uint8_t *)"what comes first", &e), OK);
	assert_int_equal(store_open(&disk.io, true, &store, &e), OK);
	assert_int_equal(snap_writer_begin(store, &p, &w, &e), OK);
	assert_int_equal(snap_writer_state(w, tree, size, &e), OK);
	for (uint64_t c = 0; c < CHUNKS; c++) {
		memset(ram, content(c), sizeof(ram));
		assert_int_equal(snap_writer_ram(w, gpa(c * GMEM_CHUNK), ram, GMEM_CHUNK, &e), OK);
	}
	assert_int_equal(snap_writer_set(w, set, n, &e), OK);
	assert_int_equal(snap_writer_commit(w, NULL, &e), OK);
	heap_free(tree);
}

/* The thread's own function is not run: the tests take its steps. */
static void restore(bool clone)
{
	struct ram_image *image;
	struct snap *sn;

	vm = fake_vm_new(1, 0);
	assert_int_equal(npt_init(&vm->npt, &format), OK);
	assert_int_equal(gmem_create(vm, RAM, false, &e), OK);
	assert_int_equal(snap_open(store, "s", &sn, &e), OK);
	if (clone) {
		assert_int_equal(ram_image_open(sn, false, &image, &e), OK);
		assert_int_equal(pager_start_shared(vm, image, &e), OK);
		ram_image_unref(image);
	} else {
		assert_int_equal(pager_start(vm, sn, &e), OK);
	}
	pager = vm->gmem->source->ctx;
	pager->thread->used = false;
	pager->thread = NULL;
	memset(was_missing, true, sizeof(was_missing));
	load_set(pager);
}

static void finish(bool clone)
{
	if (!clone) {
		snap_close(pager->snap);
		engine_release();
	}
	gmem_destroy(vm);
	npt_destroy(&vm->npt);
	fake_vm_free(vm);
	assert_int_equal(holders, 0);
	assert_false(locked);
	assert_int_equal(disk.in_flight, 0);
	store_close(store);
	mem_disk_free(&disk);
}

static void end(bool clone)
{
	uint8_t b;

	while (step(pager))
		;
	assert_null(pager->set);
	for (uint64_t c = 0; c < CHUNKS; c++) {
		gpa_t at = gpa(c * GMEM_CHUNK);

		assert_false(gmem_missing(vm, &at));
		assert_int_equal(gmem_read(vm, gpa(c * GMEM_CHUNK + 9), &b, 1), OK);
		assert_int_equal(b, content(c));
	}
	finish(clone);
}

/* One step, in which just this chunk comes; -1: none does. */
static void expect(int chunk)
{
	assert_true(step(pager));
	for (int c = 0; c < CHUNKS; c++) {
		gpa_t at = gpa((uint64_t)c * GMEM_CHUNK), first = at;
		bool missing = gmem_missing(vm, &at) && at.a == first.a;

		if (missing != (was_missing[c] && c != chunk))
			fail_msg("chunk %d is%s there when %d is to come", c, missing ? " not" : "",
			    chunk);
		was_missing[c] = missing;
	}
}

static gpa_t at(unsigned chunk)
{
	return gpa((uint64_t)chunk * GMEM_CHUNK);
}

/* Who waits is served first; then the set in its own order, nothing twice; then all else. */
static void test_order(void **state)
{
	bool clone = *state != NULL;
	const gpa_t set[] = {at(20), at(21), at(5), at(20), at(9), at(30), at(6)};

	save(set, ARRAY_LEN(set));
	restore(clone);
	want(pager, at(25));
	expect(25);
	expect(20);
	want(pager, at(9));
	want(pager, at(2));
	expect(9);
	expect(2);
	expect(21);
	expect(5);
	expect(30); /* zeros */
	expect(6);
	for (unsigned i = 0; i < 5; i++) /* a clone is not read in one stream */
		expect(
		    clone ? ((const int[]){0, 1, 3, 4, 7})[i] : ((const int[]){0, 1, -1, 3, 4})[i]);
	end(clone);
}

/* The disk has several requests at once, and each piece is read once. */
static void test_reads_ahead(void **state)
{
	gpa_t set[20];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(set); i++)
		set[i] = at(i * 7 % 20);
	save(set, ARRAY_LEN(set));
	restore(false);
	disk.max_in_flight = 0;
	expect(0);
	assert_int_equal(disk.max_in_flight, STORE_IO_DEPTH);
	disk.reads = 0;
	for (unsigned i = 1; i < ARRAY_LEN(set); i++) {
		if (i == 7) { /* one that is on its way already */
			want(pager, set[12]);
			expect((int)(set[12].a / GMEM_CHUNK));
		}
		if (i != 12)
			expect((int)(set[i].a / GMEM_CHUNK));
	}
	assert_int_equal(disk.reads, ARRAY_LEN(set) - 1);
	end(false);
}

/* A disk that fails: the piece is lost, and is not asked for again and again. */
static void test_failing_disk(void **state)
{
	const gpa_t set[] = {at(20), at(21), at(22)};
	uint8_t b;

	(void)state;
	save(set, ARRAY_LEN(set));
	restore(false);
	disk.fail_after = 1;
	expect(20);
	expect(21); /* lost counts as not missing */
	expect(22);
	disk.fail_after = -1;
	assert_true(gmem_lost(vm));
	assert_int_equal(gmem_read(vm, at(21), &b, 1), ERR_RETRY);
	assert_int_equal(fake_of(vm)->fails, 1);
	assert_int_equal(gmem_read(vm, at(20), &b, 1), OK);
	assert_int_equal(b, content(20));
	while (step(pager))
		;
	finish(false);
}

static void test_without_set(void **state)
{
	(void)state;
	save(NULL, 0);
	restore(false);
	want(pager, at(3));
	expect(3);
	expect(0);
	expect(1);
	end(false);
}

/* A list with a place where the machine has no RAM is not used at all, and said to be so. */
static void test_not_ram(void **state)
{
	const gpa_t set[] = {at(20), at(CHUNKS)};

	(void)state;
	save(set, ARRAY_LEN(set));
	restore(false);
	assert_null(pager->set);
	expect(0);
	expect(1);
	end(false);
}

/* The same for one that cannot be read, and without memory for it. */
static void test_unreadable(void **state)
{
	const gpa_t set[] = {at(20)};
	struct store_key key = {.type = REC_WORKING_SET};
	struct snap_info info;
	struct store_key k;

	(void)state;
	save(set, 1);
	assert_int_equal(catalog_find(store, "s", &k, &info, &e), OK);
	key.object = info.state_object;
	assert_int_equal(tree_delete(store, &key, &e), OK);
	assert_int_equal(tree_insert(store, &key, "not a list", 10, &e), OK);
	restore(false);
	assert_null(pager->set);
	expect(0);
	end(false);

	save(set, 1);
	restore(false);
	drop_set(pager);
	fake_heap_fail_after(0);
	load_set(pager);
	assert_null(pager->set);
	expect(0);
	end(false);
}

/* A machine that is reset meanwhile wants nothing more of the list. */
static void test_reset(void **state)
{
	const gpa_t set[] = {at(20), at(21)};

	(void)state;
	save(set, ARRAY_LEN(set));
	restore(false);
	expect(20);
	mutex_lock(&vm->gmem->lock);
	forget_pending(vm->gmem);
	mutex_unlock(&vm->gmem->lock);
	assert_true(step(pager));
	assert_null(pager->set);
	while (step(pager))
		;
	finish(false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_order),
	    cmocka_unit_test_prestate(test_order, (void *)(uintptr_t)&format),
	    cmocka_unit_test(test_reads_ahead),
	    cmocka_unit_test(test_failing_disk),
	    cmocka_unit_test(test_without_set),
	    cmocka_unit_test(test_not_ram),
	    cmocka_unit_test(test_unreadable),
	    cmocka_unit_test(test_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
