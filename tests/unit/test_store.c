/* SPDX-License-Identifier: BSD-2-Clause */
/* The store: what was committed is there, exactly; full, damaged and failing disks harm nothing. */
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

static const uint8_t uuid[16] = "store under test";

static struct store *fresh(struct mem_disk *d, uint64_t nblocks)
{
	struct errmsg e = {.text = ""};
	struct store *s;

	mem_disk_init(d, nblocks, true);
	assert_int_equal(store_format(&d->io, uuid, &e), OK);
	assert_int_equal(store_open(&d->io, true, &s, &e), OK);
	return s;
}

static struct store *reopen(struct mem_disk *d, struct store *s)
{
	struct errmsg e = {.text = ""};

	store_close(s);
	assert_int_equal(store_open(&d->io, true, &s, &e), OK);
	return s;
}

static void check(struct store *s, struct store_check_result *r)
{
	struct store_check_result own;
	struct errmsg e = {.text = ""};
	int err = store_check(s, r ? r : &own, NULL, NULL, &e);

	if (err)
		print_error("%s\n", e.text);
	assert_int_equal(err, OK);
}

static void test_format_and_open(void **state)
{
	struct mem_disk d;
	struct store_check_result r;
	struct store_stat st;
	struct store *s = fresh(&d, 1024);
	struct errmsg e;

	check(s, &r);
	assert_int_equal(r.snapshots, 0);
	assert_int_equal(r.meta_blocks, 1);
	store_stat(s, &st);
	assert_int_equal(st.nblocks, 1024);
	assert_int_equal(st.free, r.free_blocks);
	assert_int_equal(st.generation, 1);
	assert_memory_equal(st.uuid, uuid, 16);
	store_close(s);

	/* a disk without a store, and one too small */
	memset(d.data, 0, 2 * STORE_BLOCK);
	assert_int_equal(store_open(&d.io, true, &s, &e), ERR_NOENT);
	d.io.nblocks = STORE_MIN_BLOCKS - 1;
	assert_int_equal(store_format(&d.io, uuid, &e), ERR_NOSPACE);
	mem_disk_free(&d);
	assert_int_equal(fake_heap_outstanding(), 0);
}

static void test_save_and_read(void **state)
{
	static uint8_t ram[700 * 1000], buf[STORE_CHUNK];
	struct mem_disk d;
	struct store *s = fresh(&d, 2048);
	struct errmsg e = {.text = ""};
	struct snap *sn;
	struct snap_disk disk;
	uint8_t *out = calloc(1, sizeof(ram));
	size_t size, want_size;
	void *fdt, *want = fake_tree(7, 307, &want_size);
	uint32_t len;
	gpa_t addr;
	int err;

	fake_ram_fill(ram, sizeof(ram), 1);
	assert_int_equal(fake_save(s, "one", 7, ram, sizeof(ram), 0x100000, false, &e), OK);
	s = reopen(&d, s);
	check(s, NULL);
	assert_int_equal(snap_open(s, "one", &sn, &e), OK);
	assert_string_equal(snap_info(sn)->vm, "guest");
	assert_int_equal(snap_info(sn)->created, 1007);
	assert_int_equal(snap_info(sn)->memory, sizeof(ram));
	assert_int_equal(snap_info(sn)->ndisks, 1);
	assert_int_equal(snap_disk(sn, 0, &disk, &e), OK);
	assert_string_equal(disk.name, "disk0");
	assert_int_equal(disk.epoch, 7);
	assert_int_equal(snap_state(sn, &fdt, &size, &e), OK);
	assert_int_equal(size, want_size);
	assert_memory_equal(fdt, want, size);
	heap_free(fdt);
	heap_free(want);
	while ((err = snap_ram_next(sn, &addr, buf, &len, &e)) == OK)
		memcpy(out + addr.a - 0x100000, buf, len);
	assert_int_equal(err, ERR_NOENT);
	assert_memory_equal(out, ram, sizeof(ram));
	/* at random */
	for (size_t at = 0; at < sizeof(ram); at += 33333) {
		uint64_t base = ALIGN_DOWN(at, (uint64_t)STORE_CHUNK);

		assert_int_equal(snap_ram_read(sn, gpa(0x100000 + at), buf, &e), OK);
		assert_memory_equal(buf, ram + base, MIN(STORE_CHUNK, sizeof(ram) - base));
	}
	assert_int_equal(snap_verify(sn, NULL, NULL, &e), OK);
	snap_close(sn);
	assert_true(d.max_in_flight > 4);

	assert_int_equal(fake_save(s, "one", 8, ram, 1000, 0, false, &e), ERR_EXIST);
	assert_string_equal(e.text, "snapshot 'one' exists already");
	assert_int_equal(fake_save(s, "one", 8, ram, 1000, 0, true, &e), OK);
	assert_int_equal(snap_delete(s, "one", &e), OK);
	assert_int_equal(snap_delete(s, "one", &e), ERR_NOENT);
	assert_int_equal(snap_open(s, "one", &sn, &e), ERR_NOENT);
	assert_string_equal(e.text, "snapshot 'one': not found");
	store_close(s);
	mem_disk_free(&d);
	free(out);
	assert_int_equal(fake_heap_outstanding(), 0);
}

/* What somebody reads can be deleted and replaced: it goes when the last reader closes it. */
static void test_delete_while_open(void **state)
{
	static uint8_t ram[20 * STORE_CHUNK], buf[STORE_CHUNK];
	struct mem_disk d;
	struct store *s;
	struct store_stat before, st;
	struct snap *first, *second, *gone;
	struct errmsg e;

	(void)state;
	for (size_t i = 0; i < sizeof(ram); i++)
		ram[i] = (uint8_t)(i * 7 >> 3);
	s = fresh(&d, 4096);
	store_stat(s, &before);
	assert_int_equal(fake_save(s, "one", 1, ram, sizeof(ram), 0, false, &e), OK);
	assert_int_equal(snap_open(s, "one", &first, &e), OK);
	assert_int_equal(snap_open(s, "one", &second, &e), OK);
	assert_int_equal(snap_delete(s, "one", &e), OK);
	assert_int_equal(snap_open(s, "one", &gone, &e), ERR_NOENT);
	assert_int_equal(fake_save(s, "one", 2, ram, 1000, 0, false, &e), OK);
	snap_close(first);
	for (size_t at = 0; at < sizeof(ram); at += STORE_CHUNK) {
		assert_int_equal(snap_ram_read(second, gpa(at), buf, &e), OK);
		assert_memory_equal(buf, ram + at, STORE_CHUNK);
	}
	/* by one that takes its name, too */
	assert_int_equal(snap_open(s, "one", &first, &e), OK);
	assert_int_equal(fake_save(s, "one", 3, ram, 2000, 0, true, &e), OK);
	assert_int_equal(snap_ram_read(first, gpa(0), buf, &e), OK);
	assert_memory_equal(buf, ram, 1000);
	check(s, NULL);
	snap_close(first);
	snap_close(second);
	assert_int_equal(snap_delete(s, "one", &e), OK);
	store_stat(s, &st);
	assert_int_equal(st.free, before.free);
	check(s, NULL);

	/* nor do those go that it is based on, in whatever order */
	assert_int_equal(fake_save(s, "a", 5, ram, sizeof(ram), 0, false, &e), OK);
	assert_int_equal(fake_save_child(s, "b", "a", 6, ram, sizeof(ram), false, &e), OK);
	assert_int_equal(snap_open(s, "a", &first, &e), OK);
	assert_int_equal(snap_delete(s, "a", &e), OK);
	assert_int_equal(snap_delete(s, "b", &e), OK);
	for (size_t at = 0; at < sizeof(ram); at += STORE_CHUNK) {
		assert_int_equal(snap_ram_read(first, gpa(at), buf, &e), OK);
		assert_memory_equal(buf, ram + at, STORE_CHUNK);
	}
	check(s, NULL);
	snap_close(first);
	store_stat(s, &st);
	assert_int_equal(st.free, before.free);
	check(s, NULL);

	/* a power cut before it is closed: the next opening gives the room back */
	assert_int_equal(fake_save(s, "one", 4, ram, sizeof(ram), 0, false, &e), OK);
	assert_int_equal(snap_open(s, "one", &first, &e), OK);
	assert_int_equal(snap_delete(s, "one", &e), OK);
	s->nawaited = 0;
	snap_close(first);
	s = reopen(&d, s);
	store_stat(s, &st);
	assert_int_equal(st.free, before.free);
	check(s, NULL);
	store_close(s);
	mem_disk_free(&d);
}

static void test_names(void **state)
{
	assert_int_equal(snap_name_check("web-3.old_1", NULL), OK);
	assert_int_equal(snap_name_check("", NULL), ERR_INVAL);
	assert_int_equal(snap_name_check("-a", NULL), ERR_INVAL);
	assert_int_equal(snap_name_check("a b", NULL), ERR_INVAL);
	assert_int_equal(snap_name_check("a/b", NULL), ERR_INVAL);
	assert_int_equal(
	    snap_name_check(
		"123456789012345678901234567890123456789012345678901234567890123", NULL),
	    OK);
	assert_int_equal(
	    snap_name_check(
		"1234567890123456789012345678901234567890123456789012345678901234", NULL),
	    ERR_INVAL);
}

static void test_epochs(void **state)
{
	struct mem_disk d;
	struct store *s = fresh(&d, 512);
	uint8_t a[16] = {1}, b[16] = {2}, c[16] = {0};
	uint64_t epoch;
	struct errmsg e;

	c[0] = 2; /* b and c collide: the same exclusive or */
	c[1] = 1;
	c[9] = 1;
	assert_int_equal(store_epoch_get(s, a, &epoch, &e), OK);
	assert_int_equal(epoch, 0);
	for (unsigned i = 1; i <= 300; i++) {
		assert_int_equal(store_epoch_bump(s, a, &epoch, &e), OK);
		assert_int_equal(epoch, i);
	}
	assert_int_equal(store_epoch_bump(s, b, &epoch, &e), OK);
	assert_int_equal(store_epoch_bump(s, c, &epoch, &e), OK);
	assert_int_equal(store_epoch_bump(s, c, &epoch, &e), OK);
	assert_int_equal(epoch, 2);
	s = reopen(&d, s);
	assert_int_equal(store_epoch_get(s, a, &epoch, &e), OK);
	assert_int_equal(epoch, 300);
	assert_int_equal(store_epoch_get(s, b, &epoch, &e), OK);
	assert_int_equal(epoch, 1);
	check(s, NULL);
	store_close(s);
	mem_disk_free(&d);
}

/* What store_can_hold() promises fits, to the last byte, also scattered over single free blocks. */
static void test_quota_is_a_promise(void **state)
{
	for (unsigned scattered = 0; scattered < 2; scattered++) {
		struct mem_disk d;
		struct store *s = fresh(&d, 3000);
		struct errmsg e = {.text = ""};
		struct store_stat st;
		uint64_t bytes, seed = 5;
		uint8_t *ram;

		if (scattered) { /* every other block taken: each save is one block of state, one of
				    RAM */
			uint8_t page[64] = {1};
			char name[16];

			for (unsigned i = 0; i < 500; i++) {
				str_format(name, sizeof(name), "s%u", i);
				assert_int_equal(fake_save(s, name, i, page, 64, 0, false, &e), OK);
			}
			for (unsigned i = 0; i < 500; i += 2) {
				str_format(name, sizeof(name), "s%u", i);
				assert_int_equal(snap_delete(s, name, &e), OK);
			}
		}
		store_stat(s, &st);
		for (bytes = st.free * STORE_BLOCK; store_can_hold(s, bytes, &e);
		     bytes -= STORE_BLOCK)
			;
		assert_true(bytes > st.free * STORE_BLOCK / 100 * (scattered ? 80 : 90));
		ram = malloc(bytes);
		for (uint64_t i = 0; i < bytes; i++)
			ram[i] = (uint8_t)fake_random(&seed);
		/* the state tree takes some of it */
		assert_int_equal(
		    fake_save(s, "big", 0, ram, bytes - 2 * STORE_BLOCK, 0, false, &e), OK);
		check(s, NULL);
		assert_int_equal(store_can_hold(s, 64 * MIB, &e), ERR_NOSPACE);
		assert_non_null(strstr(e.text, "store full: up to 65 MiB needed, "));
		free(ram);
		store_close(s);
		mem_disk_free(&d);
	}
}

/* A full store refuses cleanly, and deleting and counting epochs still work in it. */
static void test_full(void **state)
{
	static uint8_t ram[8 << 20];
	struct mem_disk d;
	struct store *s = fresh(&d, 1024);
	struct errmsg e = {.text = ""};
	struct store_check_result r;
	struct store_stat before, after;
	uint8_t guid[16] = {1};
	uint64_t epoch, seed = 3;

	for (size_t i = 0; i < sizeof(ram); i++)
		ram[i] = (uint8_t)fake_random(&seed);
	assert_int_equal(fake_save(s, "small", 1, ram, 500000, 0, false, &e), OK);
	store_stat(s, &before);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(
		    fake_save(s, "large", 1, ram, sizeof(ram), 0, false, &e), ERR_NOSPACE);
		assert_non_null(strstr(e.text, "snapshot 'large': ram: chunk 0x"));
		check(s, &r);
		assert_int_equal(r.snapshots, 1);
		store_stat(s, &after);
		assert_int_equal(after.free, before.free);
	}
	/* up to the brim, then delete */
	for (size_t n = 3 << 20; n > 0; n /= 2) {
		char name[16];

		str_format(name, sizeof(name), "fill%zu", n);
		(void)!fake_save(s, name, 1, ram, n, 0, false, &e);
	}
	check(s, NULL);
	(void)!store_epoch_bump(s, guid, &epoch, &e);
	assert_int_equal(snap_delete(s, "small", &e), OK);
	assert_int_equal(store_epoch_bump(s, guid, &epoch, &e), OK);
	check(s, NULL);
	store_close(s);
	mem_disk_free(&d);
}

/* Many records: the tree grows several levels and shrinks again. */
static void test_tree(void **state)
{
	enum { N = 6000 };
	static uint8_t present[N];
	struct mem_disk d;
	struct store *s = fresh(&d, 4096);
	struct errmsg e = {.text = ""};
	uint64_t seed = 42;
	unsigned deepest = 0;

	memset(present, 0, sizeof(present));
	for (unsigned step = 0; step < 60000; step++) {
		uint32_t i = fake_random(&seed) % N;
		bool grow = step < 20000 || (step < 40000 && fake_random(&seed) % 2);
		struct store_key k = {OBJ_FIRST + i % 3, REC_OPTIONAL + i % 2, i * 77777ULL};
		uint8_t data[400];
		uint32_t len = i % 400;
		int err;

		memset(data, (int)i, sizeof(data));
		err = grow ? tree_insert(s, &k, data, len, &e) : tree_delete(s, &k, &e);
		assert_int_equal(
		    err, grow ? (present[i] ? ERR_EXIST : OK) : (present[i] ? OK : ERR_NOENT));
		present[i] = grow;
		deepest = MAX(deepest, s->root_level);
		if (step % 500 == 499)
			assert_int_equal(store_commit(s, &e), OK);
	}
	assert_true(deepest >= 2);
	s = reopen(&d, s);
	for (uint32_t i = 0; i < N; i++) {
		struct store_key k = {OBJ_FIRST + i % 3, REC_OPTIONAL + i % 2, i * 77777ULL};
		const uint8_t *data;
		uint32_t len;
		int err = tree_get(s, &k, &data, &len, &e);

		assert_int_equal(err, present[i] ? OK : ERR_NOENT);
		if (present[i]) {
			assert_int_equal(len, i % 400);
			for (uint32_t b = 0; b < len; b++)
				assert_int_equal(data[b], (uint8_t)i);
			assert_int_equal(tree_delete(s, &k, &e), OK);
		}
	}
	assert_int_equal(store_commit(s, &e), OK);
	assert_int_equal(s->root_level, 0);
	check(s, NULL);
	store_close(s);
	mem_disk_free(&d);
}

/* Thousands of random saves, replacements and deletions against a model, over reopenings. */
static void test_random_walk(void **state)
{
	enum { NAMES = 24, STEPS = 3000 };
	static uint8_t ram[NAMES][400 << 10];
	struct model {
		uint32_t mark; /* 0: absent */
		size_t bytes;
	} model[NAMES] = {{0}};
	static uint8_t buf[STORE_CHUNK], out[400 << 10];
	struct mem_disk d;
	struct store *s = fresh(&d, 520);
	struct errmsg e = {.text = ""};
	uint64_t seed = 2024;
	unsigned full = 0, saved = 0;

	for (unsigned step = 1; step <= STEPS; step++) {
		unsigned i = fake_random(&seed) % NAMES;
		char name[8];
		int err;

		str_format(name, sizeof(name), "n%u", i);
		if (fake_random(&seed) % 4) {
			size_t n = fake_random(&seed) % (step % 3 ? 400u << 10 : 20000) + 1;
			static uint8_t fresh_ram[400 << 10];

			fake_ram_fill(fresh_ram, n, step);
			err = fake_save(s, name, step, fresh_ram, n, 0, true, &e);
			assert_true(err == OK || err == ERR_NOSPACE);
			full += err == ERR_NOSPACE;
			if (!err) {
				memcpy(ram[i], fresh_ram, n);
				model[i] = (struct model){step, n};
				saved++;
			}
		} else {
			err = snap_delete(s, name, &e);
			assert_int_equal(err, model[i].mark ? OK : ERR_NOENT);
			model[i].mark = 0;
		}
		if (step % 100 == 0)
			s = reopen(&d, s);
		if (step % 20 == 0)
			check(s, NULL);
		i = fake_random(&seed) % NAMES;
		str_format(name, sizeof(name), "n%u", i);
		if (model[i].mark) {
			struct snap *sn;
			uint32_t len;
			gpa_t addr;

			assert_int_equal(snap_open(s, name, &sn, &e), OK);
			assert_int_equal(snap_info(sn)->created, 1000 + model[i].mark);
			memset(out, 0, sizeof(out));
			while ((err = snap_ram_next(sn, &addr, buf, &len, &e)) == OK)
				memcpy(out + addr.a, buf, len);
			assert_int_equal(err, ERR_NOENT);
			assert_memory_equal(out, ram[i], model[i].bytes);
			snap_close(sn);
		}
	}
	print_message("%u saved, %u refused\n", saved, full);
	assert_true(full > 20);
	assert_true(saved > 1000);
	store_close(s);
	mem_disk_free(&d);
	assert_int_equal(fake_heap_outstanding(), 0);
}

/* The disk fails at any operation of a save: an error, and what was there before is there after. */
static void test_io_errors(void **state)
{
	static uint8_t ram[300 << 10];
	struct mem_disk d;
	struct store *s = fresh(&d, 1024);
	struct errmsg e = {.text = ""};
	uint64_t old, new;
	int n;

	fake_ram_fill(ram, sizeof(ram), 9);
	assert_int_equal(fake_save(s, "keep", 1, ram, 100000, 0, false, &e), OK);
	old = fake_digest(s);
	for (n = 0;; n++) {
		int err;

		s = reopen(&d, s);
		d.fail_after = n;
		err = fake_save(s, "new", 2, ram, sizeof(ram), 0, false, &e);
		d.fail_after = -1;
		if (!err)
			break;
		assert_int_equal(err, ERR_IO);
		assert_non_null(strstr(e.text, "store: "));
		s = reopen(&d, s);
		check(s, NULL);
		new = fake_digest(s);
		if (new != old) /* the last flush failed: the disk may hold it all the same */
			assert_int_equal(snap_delete(s, "new", &e), OK);
		assert_int_equal(fake_digest(s), old);
	}
	assert_true(n > 10);
	store_close(s);
	mem_disk_free(&d);
	assert_int_equal(fake_heap_outstanding(), 0);
}

/* Memory runs out at any allocation of a save. */
static void test_no_memory(void **state)
{
	static uint8_t ram[200 << 10];
	struct mem_disk d;
	struct store *s = fresh(&d, 1024);
	struct errmsg e = {.text = ""};
	uint64_t old;

	fake_ram_fill(ram, sizeof(ram), 9);
	assert_int_equal(fake_save(s, "keep", 1, ram, 100000, 0, false, &e), OK);
	old = fake_digest(s);
	for (int n = 0;; n++) {
		size_t size;
		void *tree = fake_tree(1, 100, &size);
		struct snap_params p = {.name = "new", .vm = "v"};
		struct snap_writer *w = NULL;
		int err;

		s = reopen(&d, s);
		fake_heap_fail_after(n);
		err = snap_writer_begin(s, &p, &w, &e);
		if (!err)
			err = snap_writer_state(w, tree, size, &e);
		if (!err)
			err = snap_writer_ram(w, gpa(0), ram, sizeof(ram), &e);
		if (!err)
			err = snap_writer_commit(w, NULL, &e);
		else
			snap_writer_abort(w);
		fake_heap_fail_after(-1);
		heap_free(tree);
		if (!err)
			break;
		assert_int_equal(err, ERR_NOMEM);
		s = reopen(&d, s);
		check(s, NULL);
		assert_int_equal(fake_digest(s), old);
	}
	store_close(s);
	mem_disk_free(&d);
	assert_int_equal(fake_heap_outstanding(), 0);
}

static void stop_name(void *ctx, const struct snap_info *info, const struct errmsg *why)
{
	uint64_t *last = ctx;

	assert_non_null(info);
	assert_true(info->created >= *last);
	*last = info->created;
}

static void test_list_is_sorted(void **state)
{
	struct mem_disk d;
	struct store *s = fresh(&d, 2048);
	struct errmsg e;
	uint8_t byte = 1;
	uint64_t last = 0;

	for (unsigned i = 0; i < 100; i++) {
		char name[16];

		str_format(name, sizeof(name), "s%u", i);
		assert_int_equal(fake_save(s, name, (i * 37) % 101, &byte, 1, 0, false, &e), OK);
	}
	assert_int_equal(snap_list(s, stop_name, &last, &e), OK);
	assert_int_equal(last, 1100);
	store_close(s);
	mem_disk_free(&d);
}

/* Export and import: into a store of its own and back under another name. */
static void test_copy(void **state)
{
	static uint8_t ram[300 << 10];
	struct mem_disk a, b;
	struct store *sa = fresh(&a, 1024), *sb = fresh(&b, 700);
	struct errmsg e = {.text = ""};
	struct snap *sn;
	uint64_t before;

	fake_ram_fill(ram, sizeof(ram), 4);
	assert_int_equal(fake_save(sa, "x", 5, ram, sizeof(ram), 0x7000, false, &e), OK);
	before = fake_digest(sa);
	assert_int_equal(snap_open(sa, "x", &sn, &e), OK);
	assert_int_equal(snap_copy(sn, sb, &(struct snap_copy_params){.name = "x"}, &e), OK);
	assert_int_equal(snap_copy(sn, sb, &(struct snap_copy_params){.name = "x"}, &e), ERR_EXIST);
	assert_int_equal(
	    snap_copy(sn, sb, &(struct snap_copy_params){.name = "x", .replace = true}, &e), OK);
	snap_close(sn);
	sb = reopen(&b, sb);
	check(sb, NULL);
	assert_int_equal(fake_digest(sb), before);
	assert_int_equal(snap_open(sb, "x", &sn, &e), OK);
	assert_int_equal(snap_copy(sn, sa, &(struct snap_copy_params){.name = "y"}, &e), OK);
	snap_close(sn);
	assert_int_equal(snap_delete(sa, "x", &e), OK);
	check(sa, NULL);
	assert_int_equal(snap_open(sa, "y", &sn, &e), OK);
	assert_int_equal(snap_verify(sn, NULL, NULL, &e), OK);
	snap_close(sn);
	store_close(sa);
	store_close(sb);
	mem_disk_free(&a);
	mem_disk_free(&b);
}

/* Save twice without running: the same content, chunk for chunk. */
static void test_deterministic(void **state)
{
	static uint8_t ram[300 << 10];
	struct mem_disk d;
	struct store *s = fresh(&d, 1024);
	struct errmsg e;
	struct snap *a, *b;
	struct store_object_info oa, ob;

	fake_ram_fill(ram, sizeof(ram), 4);
	assert_int_equal(fake_save(s, "a", 5, ram, sizeof(ram), 0, false, &e), OK);
	assert_int_equal(fake_save(s, "b", 5, ram, sizeof(ram), 0, false, &e), OK);
	assert_int_equal(snap_open(s, "a", &a, &e), OK);
	assert_int_equal(snap_open(s, "b", &b, &e), OK);
	assert_int_equal(store_object_get(s, snap_info(a)->ram_object, &oa, &e), OK);
	assert_int_equal(store_object_get(s, snap_info(b)->ram_object, &ob, &e), OK);
	assert_memory_equal(&oa, &ob, sizeof(oa));
	assert_int_equal(store_object_get(s, snap_info(a)->state_object, &oa, &e), OK);
	assert_int_equal(store_object_get(s, snap_info(b)->state_object, &ob, &e), OK);
	assert_memory_equal(&oa, &ob, sizeof(oa));
	snap_close(a);
	snap_close(b);
	store_close(s);
	mem_disk_free(&d);
}

/* A sparse terabyte: formatting and opening touch a handful of blocks, wherever data then goes. */
struct sparse {
	uint64_t block[4096];
	uint8_t data[4096][STORE_BLOCK];
	unsigned n, reads, writes;
};

static uint8_t *sparse_block(struct sparse *d, uint64_t block)
{
	for (unsigned i = 0; i < d->n; i++)
		if (d->block[i] == block)
			return d->data[i];
	assert_true(d->n < ARRAY_LEN(d->block));
	d->block[d->n] = block;
	return d->data[d->n++];
}
static int sparse_read(void *ctx, uint64_t block, void *buf, uint32_t n)
{
	((struct sparse *)ctx)->reads += n;
	for (uint32_t i = 0; i < n; i++)
		memcpy((uint8_t *)buf + i * STORE_BLOCK, sparse_block(ctx, block + i), STORE_BLOCK);
	return OK;
}
static int sparse_write(void *ctx, uint64_t block, const void *buf, uint32_t n)
{
	((struct sparse *)ctx)->writes += n;
	for (uint32_t i = 0; i < n; i++)
		memcpy(sparse_block(ctx, block + i), (const uint8_t *)buf + i * STORE_BLOCK,
		    STORE_BLOCK);
	return OK;
}
static int sparse_flush(void *ctx)
{
	return OK;
}

static void test_terabytes(void **state)
{
	static uint8_t ram[300 << 10];
	struct sparse *d = calloc(1, sizeof(*d));
	struct store_io io = {.read = sparse_read,
	    .write = sparse_write,
	    .flush = sparse_flush,
	    .nblocks = 3ULL << 30, /* 12 TiB */
	    .ctx = d};
	struct errmsg e = {.text = ""};
	struct store *s;
	uint64_t before;

	fake_ram_fill(ram, sizeof(ram), 4);
	assert_int_equal(store_format(&io, uuid, &e), OK);
	assert_true(d->writes < 16);
	d->reads = 0;
	assert_int_equal(store_open(&io, true, &s, &e), OK);
	assert_true(d->reads < 16);
	/* far out, in the last group and around a place where map nodes of several levels live */
	s->data_goal = io.nblocks - 20;
	assert_int_equal(fake_save(s, "end", 1, ram, sizeof(ram), 0, false, &e), OK);
	s->data_goal = map_group_first((uint64_t)MAP_FANOUT * MAP_FANOUT) - 30;
	assert_int_equal(fake_save(s, "mid", 2, ram, sizeof(ram), 0, false, &e), OK);
	before = fake_digest(s);
	store_close(s);
	assert_int_equal(store_open(&io, true, &s, &e), OK);
	assert_int_equal(fake_digest(s), before);
	assert_int_equal(snap_delete(s, "end", &e), OK);
	assert_int_equal(snap_delete(s, "mid", &e), OK);
	assert_int_equal(map_available(s), map_initial_free(s) - 1);
	store_close(s);
	free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_format_and_open),
	    cmocka_unit_test(test_save_and_read),
	    cmocka_unit_test(test_delete_while_open),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_epochs),
	    cmocka_unit_test(test_quota_is_a_promise),
	    cmocka_unit_test(test_full),
	    cmocka_unit_test(test_tree),
	    cmocka_unit_test(test_random_walk),
	    cmocka_unit_test(test_io_errors),
	    cmocka_unit_test(test_no_memory),
	    cmocka_unit_test(test_list_is_sorted),
	    cmocka_unit_test(test_copy),
	    cmocka_unit_test(test_deterministic),
	    cmocka_unit_test(test_terabytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
