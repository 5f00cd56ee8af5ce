/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Snapshots of what changed: each shows the whole memory of its moment, page for page, however
 * long its chain is, in what order its pieces came, and whatever becomes of those it is based on.
 */
#include "tests/unit/snapshot_chain.h"

/* --- the rules ----------------------------------------------------------------------- */

static uint8_t ram0[RAM], ram1[RAM];

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
	struct snap_writer *w;

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
	/* what is based on a deleted one is the last that needs it, also if it never gets ready */
	assert_int_equal(save_full("a", false, 1, ram0), OK);
	assert_int_equal(begin(&w, "b", "a", false, 2), OK);
	assert_int_equal(put(w, ram1, p, 3), OK);
	assert_int_equal(snap_delete(s, "a", &e), OK);
	assert_true(free_blocks() < one);
	snap_writer_abort(w);
	check();
	assert_int_equal(free_blocks(), empty);
}

/* Pieces of any bytes, many to a chunk, in a chain of the greatest length; then flat, then copied.
 */
static void test_odd_pieces(void **state)
{
	static struct piece p[400];
	char name[16], parent[16] = "n1";
	struct mem_disk d2;
	struct store *mine, *other;
	struct snap *sn;
	int held;

	store_close(s);
	mem_disk_free(&disk);
	open_fresh(16384);
	fill(ram0, 1);
	memset(ram0 + RAM - STORE_CHUNK, 0, STORE_CHUNK); /* a hole to the end of the chain */
	assert_int_equal(save_full("n1", false, 1, ram0), OK);
	for (unsigned level = 2; level <= STORE_CHAIN_MAX; level++) {
		unsigned n = 0, step = 1 + below(level % 4 ? 9000 : 700);

		for (uint32_t at = below(step); at < RAM - STORE_CHUNK && n < ARRAY_LEN(p);) {
			uint32_t len = MIN(1 + below(step), STORE_CHUNK - at % STORE_CHUNK);

			memset(ram0 + at, below(3) ? (int)below(256) : 0, len);
			if (below(2))
				ram0[at] ^= (uint8_t)below(256);
			p[n++] = (struct piece){at, len};
			at += len + below(step * (level % 3 ? 20 : 1));
		}
		shuffle(p, n);
		str_format(name, sizeof(name), "n%u", level);
		assert_int_equal(save(name, parent, false, (uint8_t)level, ram0, p, n), OK);
		memcpy(parent, name, sizeof(name));
		compare(name, ram0, level);
	}
	check();
	/* a reader's memory does not grow with what it reads: levels and buffers, and the cache */
	assert_int_equal(store_commit(s, &e), OK);
	held = fake_heap_outstanding() - 2 * (int)s->nnodes;
	assert_int_equal(snap_open(s, name, &sn, &e), OK);
	compare_open(sn, ram0);
	assert_true(fake_heap_outstanding() - 2 * (int)s->nnodes - held <= 2 + 6 + STORE_IO_DEPTH);

	mem_disk_init(&d2, 2048, true);
	assert_int_equal(store_format(&d2.io, uuid, &e), OK);
	assert_int_equal(store_open(&d2.io, true, &other, &e), OK);
	assert_int_equal(snap_copy(sn, other, &(struct snap_copy_params){.name = "copy"}, &e), OK);
	mine = s;
	s = other;
	compare("copy", ram0, 1);
	check();
	s = mine;
	store_close(other);
	mem_disk_free(&d2);

	snap_close(sn);
	assert_int_equal(snap_flatten(s, name, NULL, NULL, &e), OK);
	compare(name, ram0, 1);
	check();
	for (unsigned level = 1; level < STORE_CHAIN_MAX; level++) {
		str_format(name, sizeof(name), "n%u", level);
		assert_int_equal(snap_delete(s, name, &e), OK);
	}
	check();
	compare("n32", ram0, 1);
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
	assert_int_equal(snap_copy(sn, other, &(struct snap_copy_params){.name = "c"}, &e), OK);
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
	assert_int_equal(snap_copy(sn, s, &(struct snap_copy_params){.name = "again"}, &e), OK);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_child_shows_parent, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_order_leaves_no_trace, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_hidden_is_not_read, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_deleting, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_odd_pieces, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_flatten_shares, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_flatten_copies_at_the_limit, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_flatten_in_the_middle, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_verify_names_the_level, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_lying_parents, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_copy_is_full, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pieces_are_promised, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
