/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Thousands of random steps with snapshots that are based on each other, against a plain copy of
 * the memory that each must show, page for page.
 */
#include "tests/unit/snapshot_chain.h"

enum { NAMES = 9 };

struct model {
	unsigned levels; /* 0: absent */
	uint8_t id, parent;
	uint8_t ram[RAM];
};

static struct model model[NAMES];
static uint8_t next_ram[RAM];
static unsigned counts[8];

static const char *name_of(unsigned i)
{
	static char text[4][8];
	static unsigned turn;

	turn = (turn + 1) % 4;
	str_format(text[turn], sizeof(text[turn]), "n%u", i);
	return text[turn];
}

static void walk_full(unsigned i, uint8_t id)
{
	int err;

	fill(next_ram, id + below(1000));
	err = save_full(name_of(i), true, id, next_ram);
	assert_true(err == OK || err == ERR_NOSPACE);
	counts[err != OK]++;
	if (err)
		return;
	model[i].levels = 1;
	model[i].id = id;
	model[i].parent = 0;
	memcpy(model[i].ram, next_ram, RAM);
}

static void walk_child(unsigned i, unsigned up, uint8_t id)
{
	static struct piece p[PAGES];
	unsigned n;
	int err;

	memcpy(next_ram, model[up].ram, RAM);
	n = change(next_ram, p);
	if (below(20) == 0) { /* begun, and not ended */
		struct snap_writer *w;

		err = begin(&w, name_of(i), name_of(up), true, id);
		if (!err) {
			(void)!put(w, next_ram, p, n / 2);
			snap_writer_abort(w);
		}
		return;
	}
	err = save(name_of(i), name_of(up), true, id, next_ram, p, n);
	if (model[up].levels == 0)
		assert_int_equal(err, ERR_NOENT);
	else if (model[up].levels == STORE_CHAIN_MAX)
		assert_int_equal(err, ERR_RANGE);
	else
		assert_true(err == OK || err == ERR_NOSPACE);
	counts[err == OK ? 2 : err == ERR_NOSPACE ? 1 : err == ERR_RANGE ? 3 : 4]++;
	if (err)
		return;
	model[i].levels = model[up].levels + 1;
	model[i].parent = model[up].id;
	model[i].id = id;
	memcpy(model[i].ram, next_ram, RAM);
}

static void walk_step(unsigned step)
{
	unsigned i = below(NAMES), up = below(NAMES), what = below(100);
	uint8_t id = (uint8_t)(step % 255 + 1);
	int err;

	if (what < 10) {
		walk_full(i, id);
	} else if (what < 70) {
		for (unsigned k = 0; k < 3 && !model[up].levels; k++)
			up = below(NAMES);
		for (unsigned k = 0; step % 64 < 32 && k < NAMES; k++) /* on top of the longest */
			if (model[k].levels > model[up].levels)
				up = k;
		walk_child(i, below(3) ? up : i, id);
	} else if (what < 80) {
		err = snap_delete(s, name_of(i), &e);
		assert_int_equal(err, model[i].levels ? OK : ERR_NOENT);
		model[i].levels = 0;
	} else if (what < 90) {
		err = snap_flatten(s, name_of(i), NULL, NULL, &e);
		if (err != ERR_NOSPACE)
			assert_int_equal(err, model[i].levels ? OK : ERR_NOENT);
		counts[err ? 6 : 5]++;
		if (!err) {
			if (model[i].levels > 1)
				model[i].parent = 0;
			model[i].levels = 1;
		}
	} else {
		reopen();
	}
}

static void walk(uint64_t nblocks, unsigned steps)
{
	uint64_t empty;

	memset(counts, 0, sizeof(counts));
	memset(model, 0, sizeof(model));
	empty = free_blocks();
	for (unsigned step = 1; step <= steps; step++) {
		unsigned i = below(NAMES);

		walk_step(step);
		if (step % 25 == 0)
			check();
		if (model[i].levels) {
			struct snap *sn;

			compare(name_of(i), model[i].ram, model[i].levels);
			assert_int_equal(snap_open(s, name_of(i), &sn, &e), OK);
			assert_int_equal(snap_info(sn)->id[0], model[i].id);
			assert_int_equal(snap_info(sn)->parent[0], model[i].parent);
			snap_close(sn);
		}
	}
	for (unsigned i = 0; i < NAMES; i++) {
		if (!model[i].levels)
			continue;
		compare(name_of(i), model[i].ram, model[i].levels);
		assert_int_equal(snap_delete(s, name_of(i), &e), OK);
		check();
	}
	assert_int_equal(free_blocks(), empty);
	print_message("%u full, %u without room, %u incremental, %u too deep, %u without parent, "
		      "%u flattened, %u not\n",
	    counts[0], counts[1], counts[2], counts[3], counts[4], counts[5], counts[6]);
}

static void test_random_walk(void **state)
{
	walk(4096, 3000);
	assert_true(counts[2] > 800 && counts[3] > 20 && counts[5] > 100);
}

/* In a store that is too small for it. */
static void test_random_walk_without_room(void **state)
{
	store_close(s);
	mem_disk_free(&disk);
	open_fresh(700);
	walk(700, 2000);
	assert_true(counts[1] > 50 && counts[2] > 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_random_walk, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_random_walk_without_room, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
