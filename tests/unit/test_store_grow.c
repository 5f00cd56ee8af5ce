/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A store whose partition has become larger takes the rest: what is in it stays, all new blocks
 * can be used and come back, the reference map adds up at every size and rises by levels; and at
 * a power cut at any moment the store has the old size or the new one, whole.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "hv/snapshot/snap_int.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/fake_store.h"

static const uint8_t uuid[16] = "a growing store.";

/* Blocks of one level's map: 168^level groups and the head. */
#define LEVEL(groups) (STORE_HEAD_BLOCKS + (uint64_t)(groups)*MAP_LEAF_COUNTS)
enum { F = MAP_FANOUT };

/* --- a disk of any size: blocks are there once they are written ----------------------- */

enum { BUCKETS = 4096 };

struct block {
	struct block *next;
	uint64_t number;
	uint8_t data[STORE_BLOCK];
};

struct disk {
	struct block *bucket[BUCKETS];
	struct store_io io;
	int fail_after; /* -1: never */
	bool record;
	struct fake_op op[64]; /* writes and flushes since 'record' */
	uint8_t *before[64];   /* what the writes replaced */
	unsigned nops;
};

static struct block *block_at(struct disk *d, uint64_t number, bool make)
{
	struct block **head = &d->bucket[(number * 0x9e3779b97f4a7c15ULL) >> 52], *b = *head;

	while (b && b->number != number)
		b = b->next;
	if (!b && make) {
		b = calloc(1, sizeof(*b));
		b->number = number;
		b->next = *head;
		*head = b;
	}
	return b;
}

static bool failing(struct disk *d)
{
	return d->fail_after == 0 || (d->fail_after > 0 && --d->fail_after == 0);
}

static int disk_read(void *ctx, uint64_t block, void *buf, uint32_t n)
{
	struct disk *d = ctx;

	assert_true(block + n <= d->io.nblocks);
	if (failing(d))
		return ERR_IO;
	for (uint32_t i = 0; i < n; i++) {
		struct block *b = block_at(d, block + i, false);

		if (b)
			memcpy((uint8_t *)buf + i * STORE_BLOCK, b->data, STORE_BLOCK);
		else
			memset((uint8_t *)buf + i * STORE_BLOCK, 0xee, STORE_BLOCK);
	}
	return OK;
}

static void record(struct disk *d, uint64_t block, const uint8_t *data)
{
	struct fake_op *op = &d->op[d->nops];

	if (!d->record)
		return;
	assert_true(d->nops++ < ARRAY_LEN(d->op));
	*op = (struct fake_op){.flush = !data, .block = block};
	if (!data)
		return;
	op->data = malloc(STORE_BLOCK);
	memcpy(op->data, data, STORE_BLOCK);
	d->before[d->nops - 1] = malloc(STORE_BLOCK);
	memcpy(d->before[d->nops - 1], block_at(d, block, true)->data, STORE_BLOCK);
}

static int disk_write(void *ctx, uint64_t block, const void *buf, uint32_t n)
{
	struct disk *d = ctx;

	assert_true(block + n <= d->io.nblocks);
	if (failing(d))
		return ERR_IO;
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *from = (const uint8_t *)buf + i * STORE_BLOCK;

		record(d, block + i, from);
		memcpy(block_at(d, block + i, true)->data, from, STORE_BLOCK);
	}
	return OK;
}

static int disk_flush(void *ctx)
{
	if (failing(ctx))
		return ERR_IO;
	record(ctx, 0, NULL);
	return OK;
}

static struct disk *disk_new(uint64_t nblocks)
{
	struct disk *d = calloc(1, sizeof(*d));

	d->fail_after = -1;
	d->io = (struct store_io){.read = disk_read,
	    .write = disk_write,
	    .flush = disk_flush,
	    .nblocks = nblocks,
	    .ctx = d};
	return d;
}

static void disk_forget(struct disk *d)
{
	for (unsigned i = 0; i < d->nops; i++) {
		free(d->op[i].data);
		if (!d->op[i].flush)
			free(d->before[i]);
	}
	d->nops = 0;
}

static void disk_free(struct disk *d)
{
	for (unsigned i = 0; i < BUCKETS; i++) {
		while (d->bucket[i]) {
			struct block *b = d->bucket[i];

			d->bucket[i] = b->next;
			free(b);
		}
	}
	disk_forget(d);
	free(d);
}

/* --- stores --------------------------------------------------------------------------- */

static struct store *open_store(struct disk *d)
{
	struct errmsg e = {.text = ""};
	struct store *s;
	int err = store_open(&d->io, true, &s, &e);

	if (err)
		print_error("%s\n", e.text);
	assert_int_equal(err, OK);
	return s;
}

static struct store *fresh(struct disk **d, uint64_t nblocks)
{
	struct errmsg e;

	*d = disk_new(nblocks);
	assert_int_equal(store_format(&(*d)->io, uuid, &e), OK);
	return open_store(*d);
}

static struct store *reopen(struct disk *d, struct store *s)
{
	store_close(s);
	return open_store(d);
}

/* A walk over all groups: for stores that are not too large. */
static void check(struct store *s)
{
	struct store_check_result r;
	struct errmsg e = {.text = ""};
	int err = store_check(s, &r, NULL, NULL, &e);

	if (err)
		print_error("%llu blocks: %s\n", (unsigned long long)s->nblocks, e.text);
	assert_int_equal(err, OK);
}

/* After the disk has become larger. */
static struct store *grow(struct disk *d, struct store *s, uint64_t nblocks)
{
	struct errmsg e = {.text = ""};
	uint64_t added, was = s->nblocks;
	int err;

	d->io.nblocks = nblocks;
	s = reopen(d, s);
	assert_int_equal(s->nblocks, was);
	err = store_grow(s, &added, &e);
	if (err)
		print_error("%s\n", e.text);
	assert_int_equal(err, OK);
	assert_int_equal(added, nblocks - was);
	assert_int_equal(s->nblocks, nblocks);
	return s;
}

static void save(struct store *s, const char *name, uint32_t mark, size_t bytes)
{
	static uint8_t ram[400 << 10];
	struct errmsg e = {.text = ""};
	int err;

	assert_true(bytes <= sizeof(ram));
	fake_ram_fill(ram, bytes, mark);
	err = fake_save(s, name, mark, ram, bytes, 0, true, &e);
	if (err)
		print_error("%s\n", e.text);
	assert_int_equal(err, OK);
}

/* All is gone again, and what is free is what a store of this size has when it is made. */
static void empty(struct store *s, const char *const *names, unsigned n)
{
	struct errmsg e;

	for (unsigned i = 0; i < n; i++)
		assert_int_equal(snap_delete(s, names[i], &e), OK);
	assert_int_equal(store_commit(s, &e), OK);
	assert_int_equal(map_available(s), map_initial_free(s) - 1);
}

/* --- tests ---------------------------------------------------------------------------- */

/* Step by step over everything that the map's geometry has: ends of groups, of nodes, of levels. */
static void test_steps(void **state)
{
	static const uint64_t sizes[] = {512, 513, 600, LEVEL(1) - 1, LEVEL(1), LEVEL(1) + 1,
	    LEVEL(1) + MAP_GROUP_MIN - 1, LEVEL(1) + MAP_GROUP_MIN, LEVEL(2) + 5, LEVEL(7) + 100,
	    LEVEL(F) - 1, LEVEL(F), LEVEL(F) + MAP_GROUP_MIN - 1, LEVEL(F) + MAP_GROUP_MIN,
	    LEVEL(2 * F), LEVEL(2 * F) + 1000, LEVEL(F * F) - 7, LEVEL(F * F) + 100,
	    LEVEL(F * F + F + 1) + 100, LEVEL((uint64_t)F * F * F), LEVEL((uint64_t)F * F * F) + 50,
	    STORE_BLOCKS_MAX};
	struct disk *d;
	struct store *s = fresh(&d, sizes[0]);
	char names[ARRAY_LEN(sizes)][16];
	const char *list[ARRAY_LEN(sizes)];
	struct errmsg e;
	uint64_t added;

	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		uint64_t digest = fake_digest(s);

		if (i)
			s = grow(d, s, sizes[i]);
		assert_int_equal(fake_digest(s), digest);
		s = reopen(d, s);
		assert_int_equal(s->nblocks, sizes[i]);
		assert_int_equal(fake_digest(s), digest);
		/* into what is new, up to its last block */
		s->data_goal = sizes[i] > 2000 ? sizes[i] - 40 : 0;
		snprintf(names[i], sizeof(names[i]), "s%u", i);
		list[i] = names[i];
		save(s, names[i], i, i ? 100000 : 5000);
		if (s->ngroups < 3 * F)
			check(s);
	}
	assert_int_equal(s->map_level, MAP_LEVELS_MAX);
	d->io.nblocks++;
	s = reopen(d, s);
	assert_int_equal(store_grow(s, &added, &e), ERR_NOSPACE);
	assert_non_null(strstr(e.text, "store: has 4096 TiB: no store may have more"));
	empty(s, list, ARRAY_LEN(sizes));
	store_close(s);
	disk_free(d);
	assert_int_equal(fake_heap_outstanding(), 0);
}

static uint64_t draw(uint64_t *seed, uint64_t n)
{
	return ((uint64_t)fake_random(seed) << 31 | fake_random(seed)) % n;
}

/* Sizes by chance; snapshots come and go between the steps, and the old ones stay readable. */
static void test_random_steps(void **state)
{
	static const char *const names[] = {"a", "b", "c", "d"};
	uint64_t seed = 4711;

	for (unsigned run = 0; run < 60; run++) {
		uint64_t size = STORE_MIN_BLOCKS + draw(&seed, 4000), digest;
		struct disk *d;
		struct store *s = fresh(&d, size);

		for (unsigned i = 0; i < 4; i++)
			save(s, names[i], run + i, 3000);
		for (unsigned i = 0; i < 12; i++) {
			struct errmsg e;

			/* a little, some groups, some nodes, some levels; not beyond what there may
			 * be */
			size += 1 + draw(&seed, 40ULL << 7 * (fake_random(&seed) % (run % 4 + 1)));
			digest = fake_digest(s);
			s = grow(d, s, size);
			assert_int_equal(fake_digest(s), digest);
			s->data_goal = draw(&seed, size);
			s->meta_goal = draw(&seed, size);
			save(s, names[fake_random(&seed) % 4], run + i, draw(&seed, 300000));
			if (fake_random(&seed) % 2) {
				assert_int_equal(snap_delete(s, "d", &e), OK);
				save(s, "d", i, 20000);
			}
			if (s->ngroups < 400)
				check(s);
		}
		empty(s, names, 4);
		store_close(s);
		disk_free(d);
	}
	assert_int_equal(fake_heap_outstanding(), 0);
}

/* Full to the last block, it still grows; with changes that wait; and when there is nothing to do.
 */
static void test_full_and_busy(void **state)
{
	static uint8_t ram[900 << 10];
	struct errmsg e = {.text = ""};
	struct disk *d;
	struct store *s = fresh(&d, 512);
	struct snap_params p = {.name = "half", .vm = "v", .memory = sizeof(ram)};
	struct snap_writer *w;
	uint64_t added = 1, block, seed = 3;
	uint32_t got;

	assert_int_equal(store_grow(s, &added, &e), OK);
	assert_int_equal(added, 0);
	for (size_t i = 0; i < sizeof(ram); i++)
		ram[i] = (uint8_t)fake_random(&seed);
	assert_int_equal(snap_writer_begin(s, &p, &w, &e), OK);
	assert_int_equal(snap_writer_ram(w, gpa(0), ram, sizeof(ram) / 2, &e), OK);
	s->io.nblocks = d->io.nblocks = 700;
	assert_int_equal(store_grow(s, &added, &e), OK);
	assert_int_equal(added, 188);
	assert_int_equal(snap_writer_ram(w, gpa(sizeof(ram) / 2), ram, sizeof(ram) / 2, &e), OK);
	snap_writer_abort(w);
	check(s);
	while (map_available(s)) {
		block = 0;
		assert_int_equal(map_alloc(s, &block, 1000, &added, &got, &e), OK);
	}
	s->io.nblocks = d->io.nblocks = 9000;
	assert_int_equal(store_grow(s, &added, &e), OK);
	assert_int_equal(added, 8300);
	assert_int_equal(map_available(s), 9000 - 700 - 4 * 2);
	store_close(s);
	assert_int_equal(store_open(&d->io, false, &s, &e), OK);
	s->io.nblocks = d->io.nblocks = 9100;
	assert_int_equal(store_grow(s, &added, &e), ERR_STATE);
	store_close(s);
	disk_free(d);
}

/* Sizes between which the power is cut: within a group, into a tail, and over one to three levels.
 */
static const uint64_t jumps[][2] = {{512, 600}, {LEVEL(1) - 5, LEVEL(1) + 10},
    {LEVEL(1) + 10, LEVEL(3) + 500}, {LEVEL(F) - 9, LEVEL(F) + 900}, {3000, LEVEL(F) + 900},
    {3000, LEVEL(F *F) + 900}, {LEVEL(F * F), LEVEL((uint64_t)F *F *F) + 900},
    {3000, STORE_BLOCKS_MAX}};

struct cut {
	struct disk *d;
	uint64_t old_size, new_size, digest, used;
	unsigned points, seen_old, seen_new;
};

static void look(struct cut *c)
{
	struct store *s = open_store(c->d);

	c->points++;
	c->seen_old += s->nblocks == c->old_size;
	c->seen_new += s->nblocks == c->new_size;
	assert_int_equal(c->seen_old + c->seen_new, c->points);
	assert_int_equal(fake_digest(s), c->digest);
	assert_int_equal(map_initial_free(s) - map_available(s), c->used);
	if (s->ngroups < 3 * F)
		check(s);
	store_close(s);
}

/* The disk with the sectors of the n-th write that sectors[n] names, the others as they were. */
static void set_disk(struct disk *d, const uint8_t *sectors)
{
	for (unsigned k = 0; k < d->nops; k++) {
		uint8_t *to = d->op[k].flush ? NULL : block_at(d, d->op[k].block, true)->data;

		for (unsigned i = 0; to && i < 8; i++)
			memcpy(to + i * 512,
			    (sectors[k] >> i & 1 ? d->op[k].data : d->before[k]) + i * 512, 512);
	}
}

/* Of the writes first..end-1 any may be there, and any part of one; those before are. */
static void cut_window(struct cut *c, unsigned first, unsigned end, uint64_t *seed)
{
	uint8_t sectors[64] = {0};
	unsigned n = end - first;

	assert_true(n < 8);
	memset(sectors, 0xff, first);
	for (unsigned set = 0; set < (1u << n) + 30; set++) {
		for (unsigned i = 0; i < n; i++)
			sectors[first + i] = set >= 1u << n ? (uint8_t)fake_random(seed)
					     : set >> i & 1 ? 0xff
							    : 0;
		set_disk(c->d, sectors);
		look(c);
	}
}

static void test_power_cut(void **state)
{
	uint64_t seed = 1;

	for (unsigned i = 0; i < ARRAY_LEN(jumps); i++) {
		struct cut c = {.old_size = jumps[i][0], .new_size = jumps[i][1]};
		struct store *s = fresh(&c.d, c.old_size);
		unsigned start = 0;

		save(s, "a", i, 200000);
		s->data_goal = c.old_size - 30;
		save(s, "b", i + 1, 100000);
		c.digest = fake_digest(s);
		s = reopen(c.d, s);
		c.used = map_initial_free(s) - map_available(s);
		c.d->record = true;
		s = grow(c.d, s, c.new_size);
		c.d->record = false;
		store_close(s);
		assert_true(c.d->nops >= 4 && c.d->op[c.d->nops - 1].flush);
		for (unsigned k = 0; k < c.d->nops; k++) {
			if (!c.d->op[k].flush)
				continue;
			cut_window(&c, start, k, &seed);
			start = k + 1;
		}
		assert_true(c.seen_old && c.seen_new);
		print_message("%llu to %llu: %u cut points\n", (unsigned long long)c.old_size,
		    (unsigned long long)c.new_size, c.points);
		disk_free(c.d);
	}
	assert_int_equal(fake_heap_outstanding(), 0);
}

/* The disk fails at any operation, or memory at any allocation: the old store or the new one. */
static void fail_everywhere(bool memory)
{
	for (unsigned i = 0; i < ARRAY_LEN(jumps); i++) {
		struct disk *d;
		struct store *s = fresh(&d, jumps[i][0]);
		struct errmsg e = {.text = ""};
		uint64_t digest, added, have;
		int err = ERR_IO, n;

		save(s, "a", i, 100000);
		digest = fake_digest(s);
		d->io.nblocks = jumps[i][1];
		for (n = 0; err; n++) {
			s = reopen(d, s);
			if (s->nblocks == jumps[i][1])
				break; /* only the last flush had failed */
			if (memory)
				fake_heap_fail_after(n);
			else
				d->fail_after = n + 1;
			err = store_grow(s, &added, &e);
			fake_heap_fail_after(-1);
			d->fail_after = -1;
			have = err ? jumps[i][0] : jumps[i][1];
			assert_int_equal(added, have - jumps[i][0]);
			if (err)
				assert_int_equal(err, memory ? ERR_NOMEM : ERR_IO);
			if (err && !s->dead) /* it goes on as it was */
				assert_int_equal(s->nblocks, have);
			if (!s->dead)
				assert_int_equal(fake_digest(s), digest);
		}
		assert_true(n > 3);
		s = reopen(d, s);
		assert_int_equal(s->nblocks, jumps[i][1]);
		assert_int_equal(fake_digest(s), digest);
		if (s->ngroups < 3 * F)
			check(s);
		store_close(s);
		disk_free(d);
	}
	assert_int_equal(fake_heap_outstanding(), 0);
}

static void test_io_errors(void **state)
{
	fail_everywhere(false);
}

static void test_no_memory(void **state)
{
	fail_everywhere(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_steps),
	    cmocka_unit_test(test_random_steps),
	    cmocka_unit_test(test_full_and_busy),
	    cmocka_unit_test(test_power_cut),
	    cmocka_unit_test(test_io_errors),
	    cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
