/* SPDX-License-Identifier: BSD-2-Clause */
/* Snapshots of what changed in a small guest: saving them, and what they must show. */
#ifndef AMBER_TESTS_SNAPSHOT_CHAIN_H
#define AMBER_TESTS_SNAPSHOT_CHAIN_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/snap_int.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/fake_store.h"

enum { CHUNKS = 10, PAGES = CHUNKS * STORE_CHUNK_BLOCKS, RAM = PAGES * STORE_BLOCK };

static const uint8_t uuid[16] = "chain under test";

struct piece {
	uint32_t at, len; /* bytes */
};

static struct mem_disk disk;
static struct store *s;
static struct errmsg e;
static uint64_t seed;
static void *tree; /* every snapshot's state */
static size_t tree_size;

static inline void open_fresh(uint64_t nblocks)
{
	mem_disk_init(&disk, nblocks, true);
	assert_int_equal(store_format(&disk.io, uuid, &e), OK);
	assert_int_equal(store_open(&disk.io, true, &s, &e), OK);
	seed = 4711;
}

static inline int setup(void **state)
{
	open_fresh(4096);
	tree = fake_tree(1, 200, &tree_size);
	return 0;
}

static inline int teardown(void **state)
{
	store_close(s);
	mem_disk_free(&disk);
	heap_free(tree);
	return fake_heap_outstanding();
}

static inline void reopen(void)
{
	store_close(s);
	assert_int_equal(store_open(&disk.io, true, &s, &e), OK);
}

static inline void check(void)
{
	struct store_check_result r;
	int err = store_check(s, &r, NULL, NULL, &e);

	if (err)
		print_error("%s\n", e.text);
	assert_int_equal(err, OK);
	assert_int_equal(r.orphans, 0);
}

static inline uint64_t free_blocks(void)
{
	struct store_stat st;

	assert_int_equal(store_commit(s, &e), OK);
	store_stat(s, &st);
	return st.free;
}

static inline uint32_t below(uint32_t n)
{
	return fake_random(&seed) % n;
}

/* --- saving -------------------------------------------------------------------------- */

static inline int begin(
    struct snap_writer **w, const char *name, const char *parent, bool replace, uint8_t id)
{
	struct snap_params p = {.name = name,
	    .vm = "guest",
	    .id = {id, 1},
	    .created = id,
	    .memory = RAM,
	    .replace = replace,
	    .parent_name = parent};
	int err = snap_writer_begin(s, &p, w, &e);

	if (err)
		return err;
	err = snap_writer_state(*w, tree, tree_size, &e);
	if (err) {
		snap_writer_abort(*w);
		*w = NULL;
	}
	return err;
}

static inline int put(struct snap_writer *w, const uint8_t *ram, const struct piece *p, unsigned n)
{
	int err = OK;

	for (unsigned i = 0; !err && i < n; i++)
		err = snap_writer_ram(w, gpa(p[i].at), ram + p[i].at, p[i].len, &e);
	return err;
}

/* A whole snapshot of these pieces of RAM. */
static inline int save(const char *name, const char *parent, bool replace, uint8_t id,
    const uint8_t *ram, const struct piece *p, unsigned n)
{
	struct snap_writer *w;
	int err = begin(&w, name, parent, replace, id);

	if (err)
		return err;
	err = put(w, ram, p, n);
	if (err) {
		snap_writer_abort(w);
		return err;
	}
	return snap_writer_commit(w, NULL, &e);
}

static inline int save_full(const char *name, bool replace, uint8_t id, const uint8_t *ram)
{
	struct piece p[CHUNKS];

	for (unsigned i = 0; i < CHUNKS; i++)
		p[i] = (struct piece){i * STORE_CHUNK, STORE_CHUNK};
	return save(name, NULL, replace, id, ram, p, CHUNKS);
}

static inline void shuffle(struct piece *p, unsigned n)
{
	for (unsigned i = n; i > 1; i--) {
		unsigned k = below(i);
		struct piece x = p[k];

		p[k] = p[i - 1];
		p[i - 1] = x;
	}
}

static inline void fill(uint8_t *ram, uint64_t mark)
{
	fake_ram_fill(ram, RAM, mark);
}

/* Changes random pages of RAM, and says which, in pieces that cross no chunk's end. */
static inline unsigned change(uint8_t *ram, struct piece p[PAGES])
{
	unsigned n = 0, density = 1 + below(40);

	for (unsigned page = 0; page < PAGES; page++) {
		uint8_t *at = ram + page * STORE_BLOCK;
		bool joins = n && page % STORE_CHUNK_BLOCKS && below(4) &&
			     p[n - 1].at + p[n - 1].len == page * STORE_BLOCK;

		if (below(density) && !(joins && below(2)))
			continue;
		switch (below(4)) {
		case 0:
			memset(at, 0, STORE_BLOCK);
			break;
		case 1:
			memset(at, (int)below(256), STORE_BLOCK);
			break;
		case 2:
			at[below(STORE_BLOCK)] = (uint8_t)below(256);
			break;
		default:
			for (unsigned i = 0; i < STORE_BLOCK; i++)
				at[i] = (uint8_t)below(256);
		}
		if (joins)
			p[n - 1].len += STORE_BLOCK;
		else
			p[n++] = (struct piece){page * STORE_BLOCK, STORE_BLOCK};
	}
	if (below(3))
		shuffle(p, n);
	return n;
}

/* --- looking ------------------------------------------------------------------------- */

struct ranges {
	uint64_t end, sum;
};

static inline int on_range(void *ctx, uint64_t addr, uint64_t len, struct errmsg *err)
{
	struct ranges *r = ctx;

	if (addr < r->end || !len || addr + len > RAM)
		return err_set(err, ERR_RANGE, "0x%llx: out of order", (unsigned long long)addr);
	r->end = addr + len;
	r->sum += len;
	return OK;
}

/* In order with glances at random between, and by the index: all the same memory. */
static inline void compare_open(struct snap *sn, const uint8_t *ram)
{
	static uint8_t out[RAM], buf[STORE_CHUNK];
	struct ranges r = {0};
	uint64_t got = 0, end = 0;
	uint32_t len;
	gpa_t addr;
	int err = snap_ram_check(sn, on_range, &r, &e);

	if (err)
		print_error("%s\n", e.text);
	assert_int_equal(err, OK);
	memset(out, 0, sizeof(out));
	while ((err = snap_ram_next(sn, &addr, buf, &len, &e)) == OK) {
		assert_true(addr.a >= end && len && addr.a + len <= RAM);
		assert_true(addr.a / STORE_CHUNK == (addr.a + len - 1) / STORE_CHUNK);
		end = addr.a + len;
		got += len;
		memcpy(out + addr.a, buf, len);
		if (below(4) == 0) {
			uint64_t at = below(RAM);
			uint64_t base = ALIGN_DOWN(at, (uint64_t)STORE_CHUNK);

			assert_int_equal(snap_ram_read(sn, gpa(at), buf, &e), OK);
			assert_memory_equal(buf, ram + base, STORE_CHUNK);
		}
	}
	if (err != ERR_NOENT)
		print_error("%s\n", e.text);
	assert_int_equal(err, ERR_NOENT);
	assert_int_equal(snap_ram_next(sn, &addr, buf, &len, &e), ERR_NOENT);
	assert_memory_equal(out, ram, RAM);
	assert_int_equal(got, r.sum);
	assert_true(got <= snap_info(sn)->total_ram_bytes);
}

static inline void compare(const char *name, const uint8_t *ram, unsigned levels)
{
	struct snap *sn;
	int err = snap_open(s, name, &sn, &e);

	if (err)
		print_error("%s\n", e.text);
	assert_int_equal(err, OK);
	assert_int_equal(snap_info(sn)->levels, levels);
	compare_open(sn, ram);
	if (below(4) == 0)
		assert_int_equal(snap_verify(sn, NULL, NULL, &e), OK);
	snap_close(sn);
}

#endif
