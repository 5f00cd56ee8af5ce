/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Snapshots of what changed: each shows the whole memory of its moment, page for page, however
 * long its chain is, in what order its pieces came, and whatever becomes of those it is based on.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "hv/lib/bitmap.h"
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

static void open_fresh(uint64_t nblocks)
{
	mem_disk_init(&disk, nblocks, true);
	assert_int_equal(store_format(&disk.io, uuid, &e), OK);
	assert_int_equal(store_open(&disk.io, true, &s, &e), OK);
	seed = 4711;
}

static int setup(void **state)
{
	open_fresh(4096);
	tree = fake_tree(1, 200, &tree_size);
	return 0;
}

static int teardown(void **state)
{
	store_close(s);
	mem_disk_free(&disk);
	heap_free(tree);
	return fake_heap_outstanding();
}

static void reopen(void)
{
	store_close(s);
	assert_int_equal(store_open(&disk.io, true, &s, &e), OK);
}

static void check(void)
{
	struct store_check_result r;
	int err = store_check(s, &r, NULL, NULL, &e);

	if (err)
		print_error("%s\n", e.text);
	assert_int_equal(err, OK);
	assert_int_equal(r.orphans, 0);
}

static uint64_t free_blocks(void)
{
	struct store_stat st;

	assert_int_equal(store_commit(s, &e), OK);
	store_stat(s, &st);
	return st.free;
}

static uint32_t below(uint32_t n)
{
	return fake_random(&seed) % n;
}

/* --- saving -------------------------------------------------------------------------- */

static int begin(
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

static int put(struct snap_writer *w, const uint8_t *ram, const struct piece *p, unsigned n)
{
	int err = OK;

	for (unsigned i = 0; !err && i < n; i++)
		err = snap_writer_ram(w, gpa(p[i].at), ram + p[i].at, p[i].len, &e);
	return err;
}

/* A whole snapshot of these pieces of RAM. */
static int save(const char *name, const char *parent, bool replace, uint8_t id, const uint8_t *ram,
    const struct piece *p, unsigned n)
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

static int save_full(const char *name, bool replace, uint8_t id, const uint8_t *ram)
{
	struct piece p[CHUNKS];

	for (unsigned i = 0; i < CHUNKS; i++)
		p[i] = (struct piece){i * STORE_CHUNK, STORE_CHUNK};
	return save(name, NULL, replace, id, ram, p, CHUNKS);
}

static void shuffle(struct piece *p, unsigned n)
{
	for (unsigned i = n; i > 1; i--) {
		unsigned k = below(i);
		struct piece x = p[k];

		p[k] = p[i - 1];
		p[i - 1] = x;
	}
}

/* Changes random pages of RAM, and says which, in pieces that cross no chunk's end. */
static unsigned change(uint8_t *ram, struct piece p[PAGES])
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

static int on_range(void *ctx, uint64_t addr, uint64_t len, struct errmsg *err)
{
	struct ranges *r = ctx;

	if (addr < r->end || !len || addr + len > RAM)
		return err_set(err, ERR_RANGE, "0x%llx: out of order", (unsigned long long)addr);
	r->end = addr + len;
	r->sum += len;
	return OK;
}

/* In order with glances at random between, and by the index: all the same memory. */
static void compare_open(struct snap *sn, const uint8_t *ram)
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

static void compare(const char *name, const uint8_t *ram, unsigned levels)
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

/* --- the rules ----------------------------------------------------------------------- */

static uint8_t ram0[RAM], ram1[RAM];

static void fill(uint8_t *ram, uint64_t mark)
{
	fake_ram_fill(ram, RAM, mark);
}

static uint64_t ram_object(const char *name)
{
	struct snap_info info;
	struct store_key key;

	assert_int_equal(catalog_find(s, name, &key, &info, &e), OK);
	return info.ram_object;
}

static void test_child_shows_parent(void **state)
{
	struct piece p[] = {{0x3000, 0x1000}, {0x21000, 0x2000}, {0x24000, 0x1000}};
	struct store_object_info o;
	struct snap *sn;

	fill(ram0, 1);
	memcpy(ram1, ram0, RAM);
	memset(ram1 + 0x3000, 0x55, 0x1000);
	memset(ram1 + 0x21000, 0, 0x2000);
	memset(ram1 + 0x24000, 0x66, 0x1000);
	assert_int_equal(save_full("a", false, 1, ram0), OK);
	assert_int_equal(save("b", "a", false, 2, ram1, p, ARRAY_LEN(p)), OK);
	reopen();
	check();
	compare("a", ram0, 1);
	compare("b", ram1, 2);
	assert_int_equal(snap_open(s, "b", &sn, &e), OK);
	assert_int_equal(snap_info(sn)->parent[0], 1);
	/* what it added itself: the zeros count and take no room */
	assert_int_equal(snap_info(sn)->ram_chunks, 3);
	assert_int_equal(snap_info(sn)->ram_bytes, 0x4000);
	assert_int_equal(snap_info(sn)->stored_bytes, 0x2000);
	snap_close(sn);
	assert_int_equal(store_object_get(s, ram_object("b"), &o, &e), OK);
	assert_int_equal(o.parent, ram_object("a"));

	/* a new RAM object in the parent's place does not change what the child shows */
	assert_int_equal(save_full("a", true, 3, ram1), OK);
	check();
	compare("b", ram1, 2);
	/* and it may give way to its own child */
	memset(ram1 + 0x3000, 0x77, 0x1000);
	assert_int_equal(save("b", "b", true, 4, ram1, p, 1), OK);
	check();
	compare("b", ram1, 3);
}

static void test_refusals(void **state)
{
	struct piece all = {0, STORE_CHUNK}, inside = {0x3000, 0x1000}, odd = {0xfff, 2};
	struct snap_params p = {.name = "x", .vm = "guest", .memory = RAM / 2, .parent_name = "a"};
	struct snap_writer *w;
	struct snap *sn;
	char name[16], parent[16] = "a";

	fill(ram0, 1);
	assert_int_equal(save_full("a", false, 1, ram0), OK);
	assert_int_equal(save("x", "nobody", false, 2, ram0, &all, 1), ERR_NOENT);
	assert_string_equal(e.text, "snapshot 'x': parent 'nobody': not found");
	assert_int_equal(snap_writer_begin(s, &p, &w, &e), ERR_STATE);
	assert_string_equal(
	    e.text, "snapshot 'x': parent 'a': is of 640 KiB of memory instead of 320");
	/* written twice, in any way */
	assert_int_equal(begin(&w, "x", "a", false, 2), OK);
	assert_int_equal(put(w, ram0, &all, 1), OK);
	assert_int_equal(put(w, ram0, &all, 1), ERR_INVAL);
	assert_string_equal(e.text, "snapshot 'x': ram: chunk 0x0: written before");
	assert_int_equal(put(w, ram0, &inside, 1), ERR_INVAL);
	snap_writer_abort(w);
	assert_int_equal(begin(&w, "x", "a", false, 2), OK);
	assert_int_equal(put(w, ram0, &inside, 1), OK);
	assert_int_equal(put(w, ram0, &all, 1), ERR_INVAL);
	assert_int_equal(put(w, ram0, &odd, 1), OK); /* beside it */
	assert_int_equal(put(w, ram0, &odd, 1), ERR_INVAL);
	snap_writer_abort(w);
	check();
	/* the longest chain */
	for (unsigned i = 2; i <= STORE_CHAIN_MAX; i++) {
		str_format(name, sizeof(name), "n%u", i);
		ram0[i * 0x1000] ^= 1;
		assert_int_equal(save(name, parent, false, (uint8_t)i, ram0,
				     &(struct piece){i * 0x1000, 0x1000}, 1),
		    OK);
		memcpy(parent, name, sizeof(name));
	}
	assert_int_equal(save("x", parent, false, 99, ram0, &all, 1), ERR_RANGE);
	assert_non_null(strstr(e.text, "snapshot 'x': parent 'n32': object "));
	assert_non_null(strstr(e.text, ": has 32 levels, which are the most"));
	check();
	compare(parent, ram0, STORE_CHAIN_MAX);
	/* it is in use as long as it is open; what it is based on can go */
	assert_int_equal(snap_open(s, parent, &sn, &e), OK);
	assert_int_equal(snap_flatten(s, parent, NULL, NULL, &e), ERR_BUSY);
	assert_string_equal(e.text, "snapshot 'n32' is in use");
	assert_int_equal(snap_delete(s, "n31", &e), OK);
	assert_int_equal(snap_delete(s, "a", &e), OK);
	compare_open(sn, ram0);
	snap_close(sn);
	assert_int_equal(snap_flatten(s, parent, NULL, NULL, &e), OK);
	compare(parent, ram0, 1);
	assert_int_equal(snap_flatten(s, "nobody", NULL, NULL, &e), ERR_NOENT);
	assert_int_equal(save("x", parent, false, 99, ram0, &all, 1), OK);
	check();
}

/* The same pieces in another order make the same record. */
static void test_order_leaves_no_trace(void **state)
{
	struct piece p[PAGES];
	struct store_object_info a, b;
	unsigned n;

	fill(ram0, 1);
	assert_int_equal(save_full("a", false, 1, ram0), OK);
	n = change(ram0, p);
	shuffle(p, n);
	assert_int_equal(save("b", "a", false, 2, ram0, p, n), OK);
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = i + 1; k < n; k++)
			if (p[k].at < p[i].at) {
				struct piece x = p[i];

				p[i] = p[k];
				p[k] = x;
			}
	assert_int_equal(save("c", "a", false, 3, ram0, p, n), OK);
	assert_int_equal(store_object_get(s, ram_object("b"), &a, &e), OK);
	assert_int_equal(store_object_get(s, ram_object("c"), &b, &e), OK);
	assert_int_equal(a.extents, b.extents);
	assert_int_equal(a.raw, b.raw);
	assert_int_equal(a.size, b.size);
	assert_int_equal(a.index_crc, b.index_crc);
	check();
	compare("b", ram0, 2);
	compare("c", ram0, 2);
}

/* Chunks that newer levels hide whole are not read, and one that shows whole is read once. */
static void test_hidden_is_not_read(void **state)
{
	static uint8_t buf[STORE_CHUNK];
	struct piece all[CHUNKS];
	char name[16], parent[16] = "n0";
	struct snap *sn;
	uint64_t reads;
	uint32_t len;
	gpa_t addr;
	int err;

	for (unsigned i = 0; i < CHUNKS; i++)
		all[i] = (struct piece){i * STORE_CHUNK, STORE_CHUNK};
	for (size_t i = 0; i < RAM; i++)
		ram0[i] = (uint8_t)below(256);
	assert_int_equal(save_full("n0", false, 1, ram0), OK);
	for (unsigned i = 1; i < 8; i++) {
		str_format(name, sizeof(name), "n%u", i);
		for (unsigned k = 0; k < CHUNKS; k++)
			ram0[k * STORE_CHUNK + i]++;
		assert_int_equal(save(name, parent, false, (uint8_t)i, ram0, all, CHUNKS), OK);
		memcpy(parent, name, sizeof(name));
	}
	assert_int_equal(snap_open(s, "n7", &sn, &e), OK);
	assert_int_equal(snap_ram_check(sn, NULL, NULL, &e), OK); /* the index is in the cache */
	reads = disk.reads;
	while ((err = snap_ram_next(sn, &addr, buf, &len, &e)) == OK)
		;
	assert_int_equal(err, ERR_NOENT);
	assert_int_equal(disk.reads - reads, CHUNKS);
	assert_true(disk.max_in_flight > 4);
	reads = disk.reads;
	assert_int_equal(snap_ram_read(sn, gpa(0), buf, &e), OK);
	assert_int_equal(disk.reads - reads, 1);
	compare_open(sn, ram0);
	snap_close(sn);
}

/* Deleting in any order gives back what only the deleted one needed, and at the end all. */
static void test_deleting(void **state)
{
	struct piece p[4] = {
	    {0, STORE_CHUNK}, {STORE_CHUNK, 0x1000}, {0x30000, 0x8000}, {0x50000, 0}};
	uint64_t empty = free_blocks(), one;

	for (size_t i = 0; i < RAM; i++)
		ram0[i] = (uint8_t)below(256);
	assert_int_equal(save_full("a", false, 1, ram0), OK);
	one = free_blocks();
	memcpy(ram1, ram0, RAM);
	for (unsigned i = 0; i < 3; i++)
		memset(ram1 + p[i].at, (int)i * 3, 100);
	assert_int_equal(save("b", "a", false, 2, ram1, p, 3), OK);
	assert_int_equal(save("c", "b", false, 3, ram1, p, 0), OK);
	assert_int_equal(snap_delete(s, "b", &e), OK); /* in the middle */
	check();
	compare("c", ram1, 3);
	compare("a", ram0, 1);
	assert_int_equal(snap_delete(s, "a", &e), OK);
	check();
	compare("c", ram1, 3);
	assert_true(free_blocks() < one);
	assert_int_equal(snap_delete(s, "c", &e), OK);
	check();
	assert_int_equal(free_blocks(), empty);
}

/* --- flattening ---------------------------------------------------------------------- */

static void test_flatten_shares(void **state)
{
	struct piece p[] = {{0, STORE_CHUNK}, {0x20000, STORE_CHUNK}, {0x43000, 0x1000}};
	uint64_t before, writes;
	struct snap *sn;

	for (size_t i = 0; i < RAM; i++)
		ram0[i] = (uint8_t)below(256);
	assert_int_equal(save_full("a", false, 1, ram0), OK);
	memset(ram0, 1, STORE_CHUNK);
	memset(ram0 + 0x20000, 0, STORE_CHUNK);
	ram0[0x43000]++;
	assert_int_equal(save("b", "a", false, 2, ram0, p, 3), OK);
	before = free_blocks();
	writes = disk.writes;
	assert_int_equal(snap_flatten(s, "b", NULL, NULL, &e), OK);
	check();
	compare("b", ram0, 1);
	/* of ten chunks one was a mixture: 16 blocks, and the records */
	assert_true(before - free_blocks() <= 16 + 2);
	assert_true(disk.writes - writes < 30);
	assert_int_equal(snap_open(s, "b", &sn, &e), OK);
	assert_int_equal(snap_info(sn)->parent[0], 0);
	assert_int_equal(snap_info(sn)->ram_chunks, CHUNKS - 1); /* the zeros are a hole */
	assert_int_equal(snap_info(sn)->created, 2);
	snap_close(sn);
	/* either can go */
	assert_int_equal(snap_delete(s, "a", &e), OK);
	check();
	compare("b", ram0, 1);
	assert_int_equal(snap_flatten(s, "b", NULL, NULL, &e), OK); /* nothing to do */
	compare("b", ram0, 1);
	assert_int_equal(snap_delete(s, "b", &e), OK);
	check();
}

/* Blocks with as many references as can be counted are copied. */
static void test_flatten_copies_at_the_limit(void **state)
{
	struct piece p = {0, 0x1000};
	struct store_extent x;
	uint64_t before;
	uint32_t taken = 0;
	struct snap *sn;

	for (size_t i = 0; i < RAM; i++)
		ram0[i] = (uint8_t)below(256);
	assert_int_equal(save_full("a", false, 1, ram0), OK);
	ram0[5]++;
	assert_int_equal(save("b", "a", false, 2, ram0, &p, 1), OK);
	assert_int_equal(store_extent_next(s, ram_object("a"), STORE_CHUNK, &x, &e), OK);
	assert_int_equal(x.nruns, 1);
	x.nruns = 2; /* the second run fails: the first is given back each time */
	x.runs[1] = (struct store_run){x.runs[0].block + 1, 1};
	while (store_extent_share(s, &x, &e) == OK)
		taken++;
	assert_non_null(strstr(e.text, "too many references"));
	assert_int_equal(taken, (MAP_COUNT_MAX - 1) / 2);
	x.nruns = 1;
	assert_int_equal(store_extent_share(s, &x, &e), OK);
	assert_int_equal(store_extent_share(s, &x, &e), ERR_FULL);
	before = free_blocks();
	assert_int_equal(snap_flatten(s, "b", NULL, NULL, &e), OK);
	/* that chunk and the mixture; the block that changed is given back */
	assert_true(before - free_blocks() >= 2 * 16 - 1);
	compare("b", ram0, 1);
	store_extent_unalloc(s, &x);
	x.nruns = 2;
	while (taken--)
		store_extent_unalloc(s, &x);
	assert_int_equal(store_commit(s, &e), OK);
	check();
	assert_int_equal(snap_open(s, "b", &sn, &e), OK);
	assert_int_equal(snap_verify(sn, NULL, NULL, &e), OK);
	snap_close(sn);
}

static bool stop_half_way(void *ctx, uint64_t done, uint64_t total)
{
	return done < total / 2;
}

/* A chain to work on: full, two levels above it. */
static void make_chain(void)
{
	struct piece p[PAGES];

	fill(ram0, 1);
	assert_int_equal(save_full("a", false, 1, ram0), OK);
	assert_int_equal(save("b", "a", false, 2, ram0, p, change(ram0, p)), OK);
	assert_int_equal(save("c", "b", false, 3, ram0, p, change(ram0, p)), OK);
	memcpy(ram1, ram0, RAM);
}

static void test_flatten_in_the_middle(void **state)
{
	uint64_t before;

	make_chain();
	before = free_blocks();
	assert_int_equal(snap_flatten(s, "c", stop_half_way, NULL, &e), ERR_CANCELLED);
	assert_string_equal(e.text, "snapshot 'c': cancelled");
	check();
	assert_int_equal(free_blocks(), before);
	compare("c", ram1, 3);
	/* a level that others are based on stays for them */
	assert_int_equal(snap_flatten(s, "b", NULL, NULL, &e), OK);
	check();
	compare("c", ram1, 3);
	assert_int_equal(snap_delete(s, "a", &e), OK);
	assert_int_equal(snap_delete(s, "b", &e), OK);
	check();
	compare("c", ram1, 3);
	assert_int_equal(snap_flatten(s, "c", NULL, NULL, &e), OK);
	check();
	compare("c", ram1, 1);
}

/* The disk, and memory, fail anywhere in flattening or in saving: the old state or the new one. */
static void test_failures(void **state)
{
	struct piece p[PAGES];
	unsigned n, fails[2][2] = {{0}};
	uint64_t old;

	make_chain();
	n = change(ram0, p);
	old = fake_digest(s);
	for (unsigned what = 0; what < 4; what++) {
		for (int k = 0, err = ERR_IO; err; k++) {
			reopen();
			if (what % 2)
				fake_heap_fail_after(k);
			else
				disk.fail_after = k;
			if (what / 2)
				err = snap_flatten(s, "c", NULL, NULL, &e);
			else
				err = save("d", "c", false, 4, ram0, p, n);
			fake_heap_fail_after(-1);
			disk.fail_after = -1;
			if (!err)
				break;
			fails[what / 2][what % 2]++;
			assert_int_equal(err, what % 2 ? ERR_NOMEM : ERR_IO);
			reopen();
			check();
			if (what / 2 == 0 && snap_delete(s, "d", NULL) == OK)
				assert_false(what % 2); /* the last flush failed */
			assert_int_equal(fake_digest(s), old);
			if (what / 2) {
				struct snap *sn;

				assert_int_equal(snap_open(s, "c", &sn, &e), OK);
				if (snap_info(sn)->levels == 1)
					k = 1 << 20; /* the last flush failed: it is flat */
				snap_close(sn);
			}
		}
		if (what / 2)
			compare("c", ram1, 1);
		else
			assert_int_equal(snap_delete(s, "d", &e), OK);
	}
	assert_true(fails[0][0] > 10 && fails[0][1] > 10 && fails[1][0] > 10);
}

/* --- bad levels ---------------------------------------------------------------------- */

static void test_verify_names_the_level(void **state)
{
	struct piece p = {0x1000, 0x1000};
	struct store_extent x;
	uint64_t object;
	struct snap *sn;
	char want[128];

	for (size_t i = 0; i < RAM; i++)
		ram0[i] = (uint8_t)below(256);
	assert_int_equal(save_full("a", false, 1, ram0), OK);
	ram0[0x1000]++;
	assert_int_equal(save("b", "a", false, 2, ram0, &p, 1), OK);
	assert_int_equal(save("c", "b", false, 3, ram0, &p, 1), OK);
	object = ram_object("b");
	/* what c hides of b is bad: c can be read, but not all is well */
	assert_int_equal(store_extent_next(s, object, 0, &x, &e), OK);
	disk.data[x.runs[0].block * STORE_BLOCK] ^= 1;
	assert_int_equal(snap_open(s, "c", &sn, &e), OK);
	compare_open(sn, ram0);
	assert_int_equal(snap_verify(sn, NULL, NULL, &e), ERR_CORRUPT);
	str_format(want, sizeof(want),
	    "snapshot 'c': ram: object %llu, of snapshot 'b': chunk 0x1000: checksum wrong",
	    (unsigned long long)object);
	assert_memory_equal(e.text, want, strlen(want));
	snap_close(sn);
	assert_int_equal(snap_delete(s, "b", &e), OK);
	assert_int_equal(snap_open(s, "c", &sn, &e), OK);
	assert_int_equal(snap_verify(sn, NULL, NULL, &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, ", of a deleted snapshot: chunk 0x1000: "));
	snap_close(sn);
	/* what shows is bad: whoever reads it is told whose it is */
	object = ram_object("a");
	assert_int_equal(store_extent_next(s, object, STORE_CHUNK, &x, &e), OK);
	disk.data[x.runs[0].block * STORE_BLOCK] ^= 1;
	assert_int_equal(snap_open(s, "c", &sn, &e), OK);
	assert_int_equal(snap_ram_read(sn, gpa(STORE_CHUNK), ram1, &e), ERR_CORRUPT);
	str_format(want, sizeof(want), "snapshot 'c': ram: object %llu: chunk 0x10000: checksum",
	    (unsigned long long)object);
	assert_memory_equal(e.text, want, strlen(want));
	snap_close(sn);
}

static void lie(uint64_t id, const struct store_object_info *o)
{
	assert_int_equal(store_object_set(s, id, o, &e), OK);
}

static void expect_refused(const char *name, const char *text)
{
	struct snap *sn;
	int held = fake_heap_outstanding();

	assert_int_equal(snap_open(s, name, &sn, &e), ERR_CORRUPT);
	if (!strstr(e.text, text))
		print_error("'%s' instead of '%s'\n", e.text, text);
	assert_non_null(strstr(e.text, text));
	assert_int_equal(fake_heap_outstanding(), held);
}

/* Every parent that may not be is refused when the snapshot is opened. */
static void test_lying_parents(void **state)
{
	struct store_object_info a, b, c, o;
	struct snap_info info;
	struct store_key key;
	uint64_t ia, ib, ic, id;
	struct snap *sn;

	make_chain();
	ia = ram_object("a");
	ib = ram_object("b");
	ic = ram_object("c");
	assert_int_equal(store_object_get(s, ia, &a, &e), OK);
	assert_int_equal(store_object_get(s, ib, &b, &e), OK);
	assert_int_equal(store_object_get(s, ic, &c, &e), OK);
	assert_int_equal(catalog_find(s, "c", &key, &info, &e), OK);

	o = a; /* a circle needs a larger number somewhere */
	o.parent = ic;
	lie(ia, &o);
	expect_refused("c", "impossible parent, object ");
	o.parent = ia;
	lie(ia, &o);
	expect_refused("a", "impossible parent, object ");
	o.parent = OBJ_CATALOG;
	lie(ia, &o);
	expect_refused("b", "impossible parent, object 1");
	o = a;
	o.flags = 0;
	lie(ia, &o);
	expect_refused("c", "of the wrong kind, or not complete");
	lie(ia, &a);
	o = c;
	o.parent = info.state_object; /* smaller, and a state tree */
	lie(ic, &o);
	expect_refused("c", "of another kind");
	lie(ic, &c);
	assert_int_equal(store_object_get(s, info.state_object, &o, &e), OK);
	o.parent = OBJ_FIRST;
	lie(info.state_object, &o);
	expect_refused("c", "has a parent");
	o.parent = 0;
	lie(info.state_object, &o);
	/* a missing one */
	assert_int_equal(tree_delete(s, &(struct store_key){ia, REC_OBJECT, 0}, &e), OK);
	expect_refused("c", "missing");
	assert_int_equal(snap_delete(s, "c", &e), OK); /* can go all the same */
	assert_int_equal(snap_delete(s, "b", &e), OK);
	assert_int_equal(snap_delete(s, "a", &e), OK);

	/* one level too many */
	id = 0;
	fill(ram0, 3);
	assert_int_equal(save_full("z", false, 1, ram0), OK);
	id = ram_object("z");
	for (unsigned i = 1; i <= STORE_CHAIN_MAX; i++) {
		uint64_t up = id;

		assert_int_equal(store_object_create(s, KIND_RAM, &id, &e), OK);
		lie(id, &(struct store_object_info){
			    .kind = KIND_RAM, .flags = OBJ_COMPLETE, .parent = up, .links = 1});
	}
	assert_int_equal(catalog_find(s, "z", &key, &info, &e), OK);
	assert_int_equal(save("y", "z", false, 2, ram0, NULL, 0), OK);
	assert_int_equal(store_object_get(s, ram_object("y"), &o, &e), OK);
	assert_int_equal(snap_open(s, "y", &sn, &e), OK);
	snap_close(sn);
	ib = ram_object("y");
	o.parent = id; /* 32 above it and the full one */
	lie(ib, &o);
	expect_refused("y", "more than 32 levels");
}

/* --- copies -------------------------------------------------------------------------- */

static void test_copy_is_full(void **state)
{
	struct mem_disk d2;
	struct store_check_result r;
	struct store *mine = s, *other;
	struct store_stat st;
	struct snap *sn;
	uint64_t bytes, pieces;

	make_chain();
	mem_disk_init(&d2, 1024, true);
	assert_int_equal(store_format(&d2.io, uuid, &e), OK);
	assert_int_equal(store_open(&d2.io, true, &other, &e), OK);
	store_stat(other, &st);
	bytes = st.free;
	assert_int_equal(snap_open(s, "c", &sn, &e), OK);
	assert_int_equal(snap_copy(sn, other, "c", false, NULL, NULL, &e), OK);
	store_stat(other, &st);
	bytes -= st.free;
	s = other;
	assert_int_equal(store_check(s, &r, NULL, NULL, &e), OK);
	compare("c", ram1, 1);
	s = mine;
	/* the estimate holds, for all but the state and the records */
	{
		uint64_t used = bytes * STORE_BLOCK;

		assert_int_equal(snap_full_size(sn, &bytes, &pieces, &e), OK);
		assert_true(used <= bytes + 8 * STORE_BLOCK);
		assert_true(pieces >= r.extents - 1);
	}
	snap_close(sn);
	/* and back, beside the one that it was made of */
	assert_int_equal(snap_open(other, "c", &sn, &e), OK);
	assert_int_equal(snap_copy(sn, s, "again", false, NULL, NULL, &e), OK);
	assert_int_equal(snap_info(sn)->parent[0], 0);
	snap_close(sn);
	store_close(other);
	mem_disk_free(&d2);
	check();
	compare("again", ram1, 1);
	compare("c", ram1, 3);
}

/* --- what store_can_hold_pieces() promises -------------------------------------------- */

static void test_pieces_are_promised(void **state)
{
	enum { MOST = 1990 };
	static uint8_t page[STORE_BLOCK];
	static uint32_t order[MOST];

	for (unsigned sorted = 0; sorted < 2; sorted++) {
		struct snap_params p = {.name = "big", .vm = "guest", .parent_name = "base"};
		struct mem_disk own = disk;
		struct store *mine = s;
		struct snap_writer *w;
		uint32_t n;

		open_fresh(2048);
		for (unsigned i = 0; i < STORE_BLOCK; i++)
			page[i] = (uint8_t)below(256);
		assert_int_equal(fake_save(s, "base", 1, page, 0, 0, false, &e), OK);
		for (n = MOST; store_can_hold_pieces(s, (n + 1) * STORE_BLOCK, n + 1, sorted, &e);
		     n--)
			;
		assert_true(n > 1750 && n < MOST);
		for (unsigned i = 0; i < n; i++)
			order[i] = i;
		for (unsigned i = n; !sorted && i > 1; i--) {
			unsigned k = below(i);
			uint32_t x = order[k];

			order[k] = order[i - 1];
			order[i - 1] = x;
		}
		assert_int_equal(snap_writer_begin(s, &p, &w, &e), OK);
		assert_int_equal(snap_writer_state(w, tree, tree_size, &e), OK);
		for (unsigned i = 0; i < n; i++)
			assert_int_equal(snap_writer_ram(w, gpa(order[i] * 2ULL * STORE_BLOCK),
					     page, STORE_BLOCK, &e),
			    OK);
		assert_int_equal(snap_writer_commit(w, NULL, &e), OK);
		check();
		store_close(s);
		mem_disk_free(&disk);
		s = mine;
		disk = own;
	}
}

/* --- a random walk ------------------------------------------------------------------- */

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
	    cmocka_unit_test_setup_teardown(test_child_shows_parent, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_order_leaves_no_trace, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_hidden_is_not_read, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_deleting, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_flatten_shares, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_flatten_copies_at_the_limit, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_flatten_in_the_middle, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_verify_names_the_level, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_lying_parents, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_copy_is_full, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pieces_are_promised, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_random_walk, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_random_walk_without_room, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
