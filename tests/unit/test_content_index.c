/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Equal chunks of snapshots that know nothing of each other are stored once, and what is not equal
 * byte for byte never is, whatever the index and the store's records make believe.
 */
#include "hv/lib/crc32c.h"
#include "hv/snapshot/content_index.h"
#include "hv/snapshot/store_int.h"
#include "tests/unit/snapshot_chain.h"

static uint8_t ram0[RAM], ram1[RAM];

static void random_bytes(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)below(256);
}

static struct store_check_result totals(void)
{
	struct store_check_result r = {0};

	assert_int_equal(store_commit(s, &e), OK);
	assert_int_equal(store_check(s, &r, NULL, NULL, &e), OK);
	assert_int_equal(r.orphans, 0);
	return r;
}

/* A save of all of RAM: how many of its blocks are new, how many it shares. */
struct cost {
	uint64_t blocks, shared, writes;
};

static struct cost save_cost(const char *name, const char *parent, uint8_t id, const uint8_t *ram,
    const struct piece *p, unsigned n)
{
	uint64_t before = totals().data_blocks;
	struct cost c = {.writes = disk.writes};
	struct snap_writer *w;
	struct snap_info info;

	assert_int_equal(begin(&w, name, parent, false, id), OK);
	assert_int_equal(put(w, ram, p, n), OK);
	assert_int_equal(snap_writer_commit(w, &info, &e), OK);
	c.writes = disk.writes - c.writes;
	c.shared = info.shared_bytes / STORE_BLOCK;
	c.blocks = totals().data_blocks - before - 1; /* the state tree has a block */
	assert_int_equal(c.blocks, info.stored_bytes / STORE_BLOCK - c.shared);
	return c;
}

static const struct piece whole = {0, RAM};

static struct cost save_all(const char *name, uint8_t id, const uint8_t *ram)
{
	return save_cost(name, NULL, id, ram, &whole, 1);
}

static void delete (const char *name)
{
	assert_int_equal(snap_delete(s, name, &e), OK);
}

static struct store_extent extent_of(const char *name, uint64_t at, uint64_t *object)
{
	struct snap_info info;
	struct store_key key;
	struct store_extent x;

	assert_int_equal(catalog_find(s, name, &key, &info, &e), OK);
	*object = info.ram_object;
	assert_int_equal(store_extent_next(s, info.ram_object, at, &x, &e), OK);
	assert_int_equal(x.offset, at);
	return x;
}

static void test_equal_is_stored_once(void **state)
{
	struct cost c;
	uint64_t all, empty = free_blocks();

	fill(ram0, 1);
	memcpy(ram1, ram0, RAM);
	ram1[3 * STORE_CHUNK + 77] ^= 1;
	c = save_all("a", 1, ram0);
	all = c.blocks;
	assert_int_equal(c.shared, 0);
	assert_true(all > 10);
	c = save_all("b", 2, ram0);
	assert_int_equal(c.blocks, 0);
	assert_int_equal(c.shared, all);
	assert_int_equal(totals().shared_blocks, all);
	assert_true(c.writes < 20); /* records only */
	reopen();		    /* found by what is on the disk */
	c = save_all("c", 3, ram1);
	assert_in_range(c.blocks, 1, STORE_CHUNK_BLOCKS); /* the chunk that differs */
	compare("a", ram0, 1);
	compare("b", ram0, 1);
	compare("c", ram1, 1);
	/* in any order they give back all that they took */
	delete ("a");
	compare("b", ram0, 1);
	compare("c", ram1, 1);
	delete ("c");
	reopen();
	compare("b", ram0, 1);
	delete ("b");
	assert_int_equal(totals().shared_blocks, 0);
	assert_int_equal(free_blocks(), empty);
}

/* Whoever of several goes, those that are left are found; when all have gone, nothing is. */
static void test_deletes(void **state)
{
	static const char *const order[][3] = {
	    {"a", "b", "c"}, {"c", "b", "a"}, {"b", "a", "c"}, {"c", "a", "b"}};
	uint64_t empty = free_blocks(), all;

	fill(ram0, 1);
	for (unsigned i = 1; i < 5; i++) /* one content in five places of each */
		memcpy(ram0 + i * STORE_CHUNK, ram0, STORE_CHUNK);
	for (unsigned i = 0; i < ARRAY_LEN(order); i++) {
		all = save_all("a", 1, ram0).blocks;
		assert_true(all);
		assert_int_equal(save_all("b", 2, ram0).blocks, 0);
		assert_int_equal(save_all("c", 3, ram0).blocks, 0);
		for (unsigned k = 0; k < 3; k++) {
			assert_int_equal(save_all("x", 9, ram0).blocks, 0);
			delete ("x");
			delete (order[i][k]);
		}
		assert_int_equal(free_blocks(), empty);
	}
	/* their blocks are other snapshots' now */
	for (size_t at = 0; at < RAM; at++)
		ram1[at] = (uint8_t)(ram0[at] + 1);
	assert_true(save_all("other", 4, ram1).blocks);
	assert_int_equal(save_all("a", 5, ram0).blocks, all);
	compare("a", ram0, 1);
	compare("other", ram1, 1);
}

/* A chain of ten saves and deletes, more than there are entries of one content. */
static void test_rotation(void **state)
{
	char name[8] = "n0";
	uint64_t all;

	fill(ram0, 1);
	all = save_all("n0", 1, ram0).blocks;
	for (unsigned i = 1; i < 30; i++) {
		str_format(name, sizeof(name), "n%u", i);
		assert_int_equal(save_all(name, (uint8_t)i, ram0).shared, all);
		if (i < 10)
			continue;
		str_format(name, sizeof(name), "n%u", i - 10);
		delete (name);
	}
	compare("n29", ram0, 1);
}

/* Copies within one save: not on the disk yet when the next comes. */
static void test_in_flight(void **state)
{
	struct piece p[] = {{STORE_CHUNK, RAM - STORE_CHUNK}, {0, STORE_CHUNK}};
	struct cost c;

	random_bytes(ram0, STORE_CHUNK);
	for (unsigned i = 1; i < CHUNKS; i++)
		memcpy(ram0 + i * STORE_CHUNK, ram0, STORE_CHUNK);
	ram0[5 * STORE_CHUNK]++; /* two contents, the last chunk comes first */
	c = save_cost("a", NULL, 1, ram0, p, 2);
	assert_int_equal(c.blocks, 2 * STORE_CHUNK_BLOCKS);
	assert_int_equal(c.shared, (CHUNKS - 2) * STORE_CHUNK_BLOCKS);
	compare("a", ram0, 1);
	reopen();
	compare("a", ram0, 1);
	delete ("a");
	totals();
}

/* What another save has begun may not be on the disk for long: it is not relied upon. */
static void test_two_at_a_time(void **state)
{
	struct snap_writer *w[2];
	struct snap_info info;

	random_bytes(ram0, RAM);
	assert_int_equal(begin(&w[0], "a", NULL, false, 1), OK);
	assert_int_equal(begin(&w[1], "b", NULL, false, 2), OK);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(put(w[i], ram0, &whole, 1), OK);
	snap_writer_abort(w[0]);
	assert_int_equal(snap_writer_commit(w[1], &info, &e), OK);
	assert_int_equal(info.shared_bytes, 0);
	compare("b", ram0, 1);
	assert_int_equal(save_all("c", 3, ram0).blocks, 0); /* that one is */
	totals();
}

/* After one that was broken off there is nothing to share, though its blocks held it. */
static void test_broken_off(void **state)
{
	struct snap_writer *w;
	uint64_t empty = free_blocks();

	random_bytes(ram0, RAM);
	random_bytes(ram1, RAM);
	assert_int_equal(begin(&w, "a", NULL, false, 1), OK);
	assert_int_equal(put(w, ram0, &whole, 1), OK);
	snap_writer_abort(w);
	assert_int_equal(free_blocks(), empty);
	assert_int_equal(save_all("b", 2, ram1).shared, 0);
	assert_int_equal(save_all("a", 1, ram0).shared, 0);
	compare("a", ram0, 1);
	compare("b", ram1, 1);
}

/* Other bytes of the same length and CRC. */
static void test_collision(void **state)
{
	uint64_t object;
	uint32_t tail;

	random_bytes(ram0, RAM);
	random_bytes(ram1, RAM);
	for (size_t at = 0; at < RAM; at += STORE_CHUNK) {
		const size_t n = STORE_CHUNK - 4;

		memcpy(&tail, ram0 + at + n, 4);
		tail ^= crc32c(0, ram0 + at, n) ^ crc32c(0, ram1 + at, n);
		memcpy(ram1 + at + n, &tail, 4);
		assert_int_equal(
		    crc32c(0, ram0 + at, STORE_CHUNK), crc32c(0, ram1 + at, STORE_CHUNK));
	}
	(void)save_all("a", 1, ram0);
	assert_int_equal(save_all("b", 2, ram1).shared, 0);
	assert_int_equal(extent_of("a", 0, &object).crc, extent_of("b", 0, &object).crc);
	compare("a", ram0, 1);
	compare("b", ram1, 1);
	/* nor do they hide each other */
	assert_int_equal(save_all("c", 3, ram0).blocks, 0);
	assert_int_equal(save_all("d", 4, ram1).blocks, 0);
	compare("c", ram0, 1);
	compare("d", ram1, 1);
	/* one behind the other in the same save, both on their way to the disk */
	for (size_t i = 0; i < STORE_CHUNK; i++) /* of a new CRC */
		ram0[i] ^= (uint8_t)i, ram1[i] ^= (uint8_t)i;
	memcpy(ram0 + STORE_CHUNK, ram1, STORE_CHUNK);
	assert_int_equal(crc32c(0, ram0, STORE_CHUNK), crc32c(0, ram1, STORE_CHUNK));
	assert_int_equal(save_all("e", 5, ram0).blocks, 2 * STORE_CHUNK_BLOCKS);
	compare("e", ram0, 1);
}

/* A copy that has gone bad on the disk is not taken for the good one. */
static void test_bad_copy(void **state)
{
	struct store_extent x;
	uint64_t object;
	struct snap *sn;

	random_bytes(ram0, RAM);
	(void)save_all("a", 1, ram0);
	x = extent_of("a", STORE_CHUNK, &object);
	disk.data[x.runs[0].block * STORE_BLOCK + 100] ^= 4;
	reopen();
	assert_int_equal(save_all("b", 2, ram0).blocks, STORE_CHUNK_BLOCKS);
	compare("b", ram0, 1);
	assert_int_equal(snap_open(s, "a", &sn, &e), OK);
	assert_int_equal(snap_verify(sn, NULL, NULL, &e), ERR_CORRUPT);
	snap_close(sn);
}

/* Blocks with as many references as can be counted: a second copy is made, and used from then on.
 */
static void test_at_the_limit(void **state)
{
	const struct piece p = {STORE_CHUNK, STORE_CHUNK};
	struct snap_info info;
	struct snap_writer *w;
	struct store_extent x;
	uint64_t object;
	unsigned taken = 0;

	random_bytes(ram0, RAM);
	(void)save_all("a", 1, ram0);
	x = extent_of("a", STORE_CHUNK, &object);
	while (store_extent_share(s, &x, &e) == OK)
		taken++;
	assert_int_equal(taken, MAP_COUNT_MAX - 1);
	for (unsigned i = 0; i < 3; i++) {
		char name[2] = {(char)('b' + i), 0};

		assert_int_equal(begin(&w, name, NULL, false, 2), OK);
		assert_int_equal(put(w, ram0, &p, 1), OK);
		assert_int_equal(snap_writer_commit(w, &info, &e), OK);
		assert_int_equal(info.shared_bytes, i ? STORE_CHUNK : 0);
	}
	while (taken--)
		store_extent_unalloc(s, &x);
	assert_int_equal(totals().shared_blocks, 2 * STORE_CHUNK_BLOCKS);
}

/* Changes are shared with those of a stranger, if they are long enough to be worth it. */
static void test_children(void **state)
{
	struct piece p[] = {{0x10000, 0x4000}, {0x20000, 0x3000}};
	struct cost c;

	random_bytes(ram0, RAM);
	random_bytes(ram1, RAM);
	(void)save_all("a", 1, ram0);
	(void)save_all("b", 2, ram1);
	random_bytes(ram0 + 0x10000, 0x4000);
	random_bytes(ram0 + 0x20000, 0x3000);
	memcpy(ram1 + 0x10000, ram0 + 0x10000, 0x4000);
	memcpy(ram1 + 0x20000, ram0 + 0x20000, 0x3000);
	c = save_cost("a1", "a", 3, ram0, p, 2);
	assert_int_equal(c.blocks, 7);
	c = save_cost("b1", "b", 4, ram1, p, 2);
	assert_int_equal(c.blocks, 3);
	assert_int_equal(c.shared, 4);
	compare("a1", ram0, 2);
	compare("b1", ram1, 2);
	assert_int_equal(snap_flatten(s, "b1", NULL, NULL, &e), OK);
	delete ("a");
	delete ("a1");
	delete ("b");
	compare("b1", ram1, 1);
	totals();
}

/* A copy out of another store. */
static void test_import(void **state)
{
	static const uint8_t other[16] = "another store";
	struct store *t;
	struct mem_disk d;
	struct snap *sn;
	uint64_t before;

	fill(ram0, 1);
	(void)save_all("a", 1, ram0);
	mem_disk_init(&d, 4096, true);
	assert_int_equal(store_format(&d.io, other, &e), OK);
	assert_int_equal(store_open(&d.io, true, &t, &e), OK);
	assert_int_equal(snap_open(s, "a", &sn, &e), OK);
	assert_int_equal(snap_copy(sn, t, &(struct snap_copy_params){.name = "exported"}, &e), OK);
	snap_close(sn);
	assert_int_equal(snap_open(t, "exported", &sn, &e), OK);
	before = totals().data_blocks;
	assert_int_equal(snap_copy(sn, s, &(struct snap_copy_params){.name = "back"}, &e), OK);
	snap_close(sn);
	assert_int_equal(totals().data_blocks, before + 1);
	delete ("a");
	compare("back", ram0, 1);
	store_close(t);
	mem_disk_free(&d);
}

/* More than the index first has room for. */
static void test_large(void **state)
{
	enum { N = 3000 };
	static uint8_t chunk[STORE_CHUNK];
	struct snap_params p = {.vm = "guest", .memory = (uint64_t)N * STORE_CHUNK};
	struct snap_writer *w;
	struct snap_info info;

	store_close(s);
	mem_disk_free(&disk);
	open_fresh(8192);
	for (unsigned round = 0; round < 3; round++) {
		p.name = (const char *[]){"a", "b", "c"}[round];
		assert_int_equal(snap_writer_begin(s, &p, &w, &e), OK);
		assert_int_equal(snap_writer_state(w, tree, tree_size, &e), OK);
		for (unsigned i = 0; i < N; i++) {
			put_le32(chunk, i + 1);
			assert_int_equal(snap_writer_ram(w, gpa((uint64_t)i * STORE_CHUNK), chunk,
					     STORE_CHUNK, &e),
			    OK);
		}
		assert_int_equal(snap_writer_commit(w, &info, &e), OK);
		assert_int_equal(info.ram_chunks, N);
		assert_int_equal(info.shared_bytes, round ? info.stored_bytes : 0);
	}
	totals();
}

/* Without memory for it there is no sharing, and no harm. */
static void test_no_memory(void **state)
{
	fill(ram0, 1);
	(void)save_all("a", 1, ram0);
	content_index_free(s);
	fake_heap_fail_after(0);
	content_index_make(s);
	fake_heap_fail_after(-1);
	assert_null(s->contents);
	content_index_make(s);
	assert_int_equal(save_all("b", 2, ram0).blocks, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_equal_is_stored_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_deletes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_rotation, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_in_flight, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_two_at_a_time, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_broken_off, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_collision, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bad_copy, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_at_the_limit, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_children, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_import, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_large, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
