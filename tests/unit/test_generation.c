/* SPDX-License-Identifier: BSD-2-Clause */
/* Which restored machine goes on as it was, and which begins a new generation. */
#include "hv/snapshot/generation.c"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "hv/mm/mm.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/fake_store.h"

static const uint8_t machine[16] = "a machine", other[16] = "another";
static struct mem_disk disk;
static struct store *s;
static struct errmsg msg;

static void open_store(const char uuid[16])
{
	mem_disk_init(&disk, 1024, true);
	assert_int_equal(store_format(&disk.io, (const uint8_t *)uuid, &msg), OK);
	assert_int_equal(store_open(&disk.io, true, &s, &msg), OK);
}

static void close_store(void)
{
	store_close(s);
	mem_disk_free(&disk);
}

static int start(void **state)
{
	open_store("the first store");
	return 0;
}

static int end(void **state)
{
	close_store();
	assert_int_equal(fake_heap_outstanding(), 0);
	return 0;
}

/* A save that freezes, as far as the store is concerned. */
static struct generation freeze(const char *name)
{
	static uint8_t ram[4096];
	struct generation g;

	assert_int_equal(generation_next(s, machine, &g, &msg), OK);
	assert_int_equal(fake_freeze(s, name, 1, ram, sizeof(ram), machine, &msg), OK);
	return g;
}

static bool current(const struct generation *g)
{
	bool c;

	assert_int_equal(generation_current(s, g, &c, &msg), OK);
	return c;
}

static void goes_on_once(void **state)
{
	struct generation a = freeze("a"), b;

	assert_true(current(&a));
	store_close(s); /* power cut */
	assert_int_equal(store_open(&disk.io, true, &s, &msg), OK);
	assert_true(current(&a));
	assert_int_equal(store_thaw(s, machine, &msg), OK); /* restored, or started */
	assert_false(current(&a));
	b = freeze("b");
	assert_false(current(&a)); /* frozen again, but later */
	assert_true(current(&b));
	assert_int_equal(snap_delete(s, "b", &msg), OK);
	assert_false(current(&a));
}

static void live_snapshots_never_do(void **state)
{
	struct generation none = {.epoch = 0};

	assert_false(current(&none));
	(void)freeze("a");
	assert_false(current(&none));
	assert_int_equal(generation_fork(s, &none, &msg), OK);
}

static void copies_spoil_it(void **state)
{
	struct generation a = freeze("a");
	bool frozen;

	assert_int_equal(generation_fork(s, &a, &msg), OK);
	assert_false(current(&a));
	assert_int_equal(store_frozen_get(s, machine, &frozen, &msg), OK);
	assert_true(frozen); /* and waits all the same */
	assert_int_equal(generation_fork(s, &a, &msg), OK);
	assert_int_equal(store_freeze_anew(s, other, &msg), OK); /* lives: nothing to do */
	assert_int_equal(store_frozen_get(s, other, &frozen, &msg), OK);
	assert_false(frozen);
}

static void copies_of_old_ones_do_not(void **state)
{
	struct generation a = freeze("a"), b;

	assert_int_equal(store_thaw(s, machine, &msg), OK);
	b = freeze("b");
	assert_int_equal(generation_fork(s, &a, &msg), OK);
	assert_true(current(&b));
}

/* The same machine, frozen as often, on another host. */
static void elsewhere(void **state)
{
	struct generation a = freeze("a"), b;

	close_store();
	open_store("another store..");
	b = freeze("a");
	assert_int_equal(a.epoch, b.epoch);
	assert_false(current(&a));
	assert_true(current(&b));
}

/* In the store as frozen though it runs, by some failure before. */
static void in_doubt_it_does_not(void **state)
{
	struct generation a = freeze("a"), b = freeze("b");

	assert_true(current(&a));
	assert_false(current(&b));
}

static int read_back(void (*write)(struct state_writer *w), struct generation *out)
{
	struct state_writer w;
	void *fdt = NULL;
	size_t size;
	int err;

	sw_init(&w, heap_grow);
	sw_string(&w, "format", "x");
	write(&w);
	assert_int_equal(sw_encode(&w, &fdt, &size, &msg), OK);
	heap_free(w.buf);
	assert_int_equal(sr_check_tree(fdt, size, &msg), OK);
	err = generation_read(fdt, out, &msg);
	heap_free(fdt);
	return err;
}

static void write_good(struct state_writer *w)
{
	struct generation g = {.epoch = 0x123456789abcdef, .store = {1, 2}, .machine = {3, 4}};

	generation_write(w, &g);
}

static void write_none(struct state_writer *w)
{
}

static void write_even(struct state_writer *w)
{
	struct generation g = {.epoch = 2};

	generation_write(w, &g);
}

static void write_short(struct state_writer *w)
{
	sw_begin(w, "frozen");
	sw_bytes(w, "store", "x", 1);
	sw_end(w);
}

static void write_empty(struct state_writer *w)
{
	sw_begin(w, "frozen");
	sw_end(w);
}

static void in_the_tree(void **state)
{
	struct generation g;

	assert_int_equal(read_back(write_good, &g), OK);
	assert_int_equal(g.epoch, 0x123456789abcdef);
	assert_int_equal(g.store[1], 2);
	assert_int_equal(g.machine[0], 3);
	assert_int_equal(read_back(write_none, &g), OK);
	assert_int_equal(g.epoch, 0);
	assert_int_equal(read_back(write_even, &g), ERR_CORRUPT);
	assert_string_equal(msg.text, "record frozen: epoch: not that of a frozen machine");
	assert_int_equal(read_back(write_short, &g), ERR_CORRUPT);
	assert_string_equal(msg.text, "record frozen: store: 1 bytes instead of 16");
	assert_true(read_back(write_empty, &g) < 0);
}

int main(void)
{
#define IN_STORE(fn) cmocka_unit_test_setup_teardown(fn, start, end)
	const struct CMUnitTest tests[] = {
	    IN_STORE(goes_on_once),
	    IN_STORE(live_snapshots_never_do),
	    IN_STORE(copies_spoil_it),
	    IN_STORE(copies_of_old_ones_do_not),
	    IN_STORE(elsewhere),
	    IN_STORE(in_doubt_it_does_not),
	    IN_STORE(in_the_tree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
