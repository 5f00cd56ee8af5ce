/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Disks in the store: what was written is read, through any number of layers; what was flushed
 * outlives a power cut at any moment; a frozen layer never changes; room that is given back is
 * free; and the store's own check finds no fault at any time.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/disk_object.h"
#include "hv/snapshot/overlay.h"
#include "hv/snapshot/store_int.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/fake_store.h"

static const uint8_t uuid[16] = "store of disks..";

enum { SECTOR = 512, DISK = 3 * 1024 * 1024 + 512 * 5, BASE = 1024 * 1024 + 512 * 3 };

/* --- helpers --------------------------------------------------------------------------- */

#define OKAY(call)                                                                                 \
	do {                                                                                       \
		int okay_err = (call);                                                             \
                                                                                                   \
		if (okay_err)                                                                      \
			print_error("%s: %s\n", #call, e.text);                                    \
		assert_int_equal(okay_err, OK);                                                    \
	} while (0)

static uint8_t base_data[BASE];

static int base_read(void *ctx, uint64_t off, void *buf, uint32_t len)
{
	unsigned *reads = ctx;

	assert_true(off + len <= BASE && off % SECTOR == 0 && len % SECTOR == 0);
	if (reads)
		++*reads;
	memcpy(buf, base_data + off, len);
	return OK;
}

static const struct overlay_base with_base = {.read = base_read, .size = BASE};
static const struct overlay_base no_base = {.size = 0};

static void fill_base(void)
{
	uint64_t seed = 99;

	for (size_t i = 0; i < BASE; i++)
		base_data[i] = (uint8_t)fake_random(&seed);
}

static void check_store(struct store *s, struct store_check_result *out)
{
	struct store_check_result own;
	struct errmsg e = {.text = ""};

	OKAY(store_commit(s, &e));
	OKAY(store_check(s, out ? out : &own, NULL, NULL, &e));
}

static struct store *fresh(struct mem_disk *m, uint64_t nblocks)
{
	struct errmsg e = {.text = ""};
	struct store *s;

	mem_disk_init(m, nblocks, true);
	OKAY(store_format(&m->io, uuid, &e));
	OKAY(store_open(&m->io, true, &s, &e));
	return s;
}

static struct overlay *make(
    struct store *s, const char *name, uint64_t size, const struct overlay_base *b)
{
	struct errmsg e = {.text = ""};
	struct vdisk v = {.size = size};
	struct overlay *d;

	str_copy(v.name, sizeof(v.name), name);
	OKAY(vdisk_create(s, &v, &e));
	OKAY(overlay_open(s, name, b, 8, &d, &e));
	return d;
}

/* The whole disk, as a guest would read it. */
static void read_all(struct overlay *d, struct store *s, uint8_t *out)
{
	struct errmsg e = {.text = ""};
	uint64_t size = overlay_info(d)->size;
	uint8_t *buf = malloc(OVERLAY_MAX_BYTES);

	for (uint64_t at = 0; at < size;) {
		uint32_t n = (uint32_t)MIN(size - at, (uint64_t)OVERLAY_MAX_BYTES);

		OKAY(overlay_read(d, s, at, buf, n, &e));
		memcpy(out + at, buf, n);
		at += n;
	}
	free(buf);
}

static void expect(struct overlay *d, struct store *s, const uint8_t *model)
{
	uint64_t size = overlay_info(d)->size;
	uint8_t *got = malloc(size);

	read_all(d, s, got);
	for (uint64_t i = 0; i < size; i += SECTOR)
		if (memcmp(got + i, model + i, SECTOR))
			fail_msg("sector %llu differs", (unsigned long long)(i / SECTOR));
	free(got);
}

static uint64_t free_blocks(struct store *s)
{
	struct store_stat st;
	struct errmsg e;

	assert_int_equal(store_commit(s, &e), OK);
	store_stat(s, &st);
	return st.free;
}

/* --- one thing at a time ------------------------------------------------------------------ */

static void test_write_and_read(void **state)
{
	static uint8_t model[DISK], buf[OVERLAY_MAX_BYTES];
	struct errmsg e = {.text = ""};
	struct mem_disk m;
	struct store *s = fresh(&m, 4096);
	struct overlay *d = make(s, "one", DISK, &no_base);
	struct vdisk v = {.size = DISK, .name = "one"};

	expect(d, s, model); /* zeros */
	assert_int_equal(vdisk_create(s, &v, &e), ERR_EXIST);
	memset(buf, 0xa5, sizeof(buf));
	OKAY(overlay_write(d, s, 512, buf, 512, &e));
	memset(model + 512, 0xa5, 512);
	OKAY(overlay_write(d, s, 65536 - 1024, buf, 65536 * 3, &e));
	memset(model + 65536 - 1024, 0xa5, 65536 * 3);
	OKAY(overlay_write(d, s, DISK - 512, buf, 512, &e));
	memset(model + DISK - 512, 0xa5, 512);
	expect(d, s, model);
	assert_int_equal(overlay_write(d, s, DISK, buf, 512, &e), ERR_RANGE);
	assert_int_equal(overlay_write(d, s, DISK - 512, buf, 1024, &e), ERR_RANGE);
	assert_int_equal(overlay_write(d, s, 100, buf, 512, &e), ERR_RANGE);
	assert_int_equal(overlay_read(d, s, 0, buf, 0, &e), ERR_RANGE);
	OKAY(overlay_flush(d, s, &e));
	check_store(s, NULL);
	overlay_close(d);
	store_close(s);
	OKAY(store_open(&m.io, true, &s, &e));
	OKAY(overlay_open(s, "one", &no_base, 0, &d, &e));
	expect(d, s, model);
	overlay_close(d);
	assert_int_equal(overlay_open(s, "two", &no_base, 0, &d, &e), ERR_NOENT);
	assert_string_equal(e.text, "disk 'two': not found");
	store_close(s);
	mem_disk_free(&m);
	assert_int_equal(fake_heap_outstanding(), 0);
}

/* A flush that has nothing to make durable costs nothing; one commit serves all disks. */
static void test_group_commit(void **state)
{
	static uint8_t buf[4096] = {1};
	struct errmsg e = {.text = ""};
	struct mem_disk m;
	struct store *s = fresh(&m, 4096);
	struct overlay *a = make(s, "a", DISK, &no_base), *b = make(s, "b", DISK, &no_base);
	uint64_t flushes;

	OKAY(overlay_write(a, s, 0, buf, 4096, &e));
	OKAY(overlay_write(b, s, 0, buf, 4096, &e));
	flushes = m.flushes;
	OKAY(overlay_flush(a, s, &e));
	assert_int_equal(m.flushes, flushes + 2); /* data and nodes, then the superblock */
	OKAY(overlay_flush(b, s, &e));
	OKAY(overlay_flush(a, s, &e));
	assert_int_equal(m.flushes, flushes + 2);
	overlay_close(a);
	overlay_close(b);
	store_close(s);
	mem_disk_free(&m);
}

/* Layers: a frozen one keeps its content, and thirty of them cost a read no more than one. */
static void test_layers(void **state)
{
	static uint8_t model[DISK], old[4][DISK], buf[4096];
	struct errmsg e = {.text = ""};
	uint64_t frozen[40], reads;
	bool done = false;
	struct mem_disk m;
	struct store *s = fresh(&m, 8192);
	struct overlay *d;
	unsigned n;

	fill_base();
	memcpy(model, base_data, BASE);
	d = make(s, "deep", DISK, &with_base);
	expect(d, s, model);
	for (n = 0; n < STORE_CHAIN_MAX - 1; n++) {
		memset(buf, (int)n + 1, sizeof(buf));
		OKAY(overlay_write(d, s, n * 8192, buf, 4096, &e));
		memcpy(model + n * 8192, buf, 4096);
		if (n < 4)
			memcpy(old[n], model, DISK);
		OKAY(overlay_freeze(d, s, &frozen[n], &e));
		OKAY(store_object_link(s, frozen[n], &e)); /* as a snapshot does */
		assert_int_equal(overlay_depth(d), n + 2);
	}
	/* nothing written since: the same layer again */
	OKAY(overlay_freeze(d, s, &frozen[n], &e));
	assert_int_equal(frozen[n], frozen[n - 1]);
	OKAY(overlay_write(d, s, 0, buf, 4096, &e));
	memcpy(model, buf, 4096);
	assert_int_equal(overlay_freeze(d, s, &frozen[n], &e), ERR_RANGE);
	expect(d, s, model);
	/* the table knows where it is: a read is one read */
	OKAY(overlay_read(d, s, 8192, buf, 4096, &e));
	reads = m.reads;
	for (unsigned i = 0; i < 10; i++)
		OKAY(overlay_read(d, s, 8192, buf, 4096, &e));
	assert_int_equal(m.reads, reads + 10);

	while (!done)
		OKAY(overlay_flatten_step(d, s, &done, &e));
	assert_int_equal(overlay_depth(d), 2);
	expect(d, s, model);
	OKAY(overlay_freeze(d, s, &frozen[n], &e));
	OKAY(store_object_link(s, frozen[n], &e));
	/* back to each of the old ones */
	for (unsigned i = 0; i < 4; i++) {
		OKAY(overlay_restore(d, s, frozen[i], &e));
		expect(d, s, old[i]);
		memset(buf, 0xee, sizeof(buf));
		OKAY(overlay_write(d, s, 0, buf, 4096, &e));
	}
	OKAY(overlay_restore(d, s, frozen[n], &e));
	expect(d, s, model);
	OKAY(overlay_restore(d, s, 0, &e));
	memset(model, 0, DISK);
	memcpy(model, base_data, BASE);
	expect(d, s, model);
	overlay_close(d);
	store_close(s);
	mem_disk_free(&m);
	assert_int_equal(fake_heap_outstanding(), 0);
}

/* The layer of a snapshot that has gone is taken into the top, and what the top hides is given
 * back.
 */
static void test_take_in(void **state)
{
	static uint8_t model[DISK], buf[65536];
	struct errmsg e = {.text = ""};
	struct store_check_result r;
	uint64_t frozen, done_bytes, full;
	unsigned steps = 0;
	bool done = false, orphan;
	struct mem_disk m;
	struct store *s = fresh(&m, 4096);
	struct overlay *d;

	fill_base();
	memcpy(model, base_data, BASE);
	d = make(s, "t", DISK, &with_base);
	memset(buf, 1, sizeof(buf));
	for (unsigned i = 0; i < 20; i++)
		OKAY(overlay_write(d, s, i * 131072, buf, sizeof(buf), &e));
	OKAY(overlay_freeze(d, s, &frozen, &e));
	OKAY(store_object_link(s, frozen, &e));
	OKAY(overlay_flatten_step(d, s, &done, &e));
	assert_true(done && overlay_depth(d) == 2); /* a snapshot needs it */
	full = free_blocks(s);
	memset(buf, 2, sizeof(buf));
	for (unsigned i = 0; i < 20; i++)
		memset(model + i * 131072, i < 15 ? 2 : 1, sizeof(buf));
	for (unsigned i = 0; i < 15; i++)
		OKAY(overlay_write(d, s, i * 131072, buf, sizeof(buf), &e));
	OKAY(overlay_zero(d, s, 15 * 131072, 65536, &done_bytes, &e));
	memset(model + 15 * 131072, 0, 65536);
	OKAY(store_object_unlink(s, frozen, &orphan, &e)); /* the snapshot goes */
	assert_false(orphan);
	done = false;
	while (!done) {
		OKAY(overlay_flatten_step(d, s, &done, &e));
		expect(d, s, model);
		if (steps++ != 0)
			continue;
		overlay_close(d); /* in the middle of it: nothing shows that did not before */
		OKAY(overlay_open(s, "t", &with_base, 8, &d, &e));
		expect(d, s, model);
	}
	assert_true(steps > 2);
	assert_int_equal(overlay_depth(d), 1);
	expect(d, s, model);
	check_store(s, &r);
	assert_int_equal(r.objects, 1);
	assert_true(free_blocks(s) >= full); /* what was overwritten is free */
	overlay_close(d);
	store_close(s);
	mem_disk_free(&m);
}

/* What is discarded reads as zeros, also where something lies below, and its room is free. */
static void test_zero(void **state)
{
	static uint8_t model[DISK], buf[OVERLAY_MAX_BYTES];
	struct errmsg e = {.text = ""};
	struct store_object_info o;
	uint64_t before, frozen, done;
	struct mem_disk m;
	struct store *s = fresh(&m, 4096);
	struct overlay *d;

	fill_base();
	memcpy(model, base_data, BASE);
	d = make(s, "z", DISK, &with_base);
	before = free_blocks(s);
	memset(buf, 7, sizeof(buf));
	for (uint64_t at = 2 * MIB; at < 3 * MIB; at += OVERLAY_MAX_BYTES)
		OKAY(overlay_write(d, s, at, buf, OVERLAY_MAX_BYTES, &e));
	assert_true(free_blocks(s) + 256 <= before);
	for (uint64_t at = 2 * MIB; at < 3 * MIB; at += done)
		OKAY(overlay_zero(d, s, at, 3 * MIB - at, &done, &e));
	assert_in_range(free_blocks(s), before - 2, before + 2);
	OKAY(disk_object_get(s, overlay_info(d)->top, &o, &e));
	assert_int_equal(o.extents, 0); /* nothing to hide there */
	/* over the base, odd at both ends */
	OKAY(overlay_zero(d, s, 4096 * 3 + 512, 65536 * 2 + 1024, &done, &e));
	assert_int_equal(done, 65536 * 2 + 1024);
	memset(model + 4096 * 3 + 512, 0, 65536 * 2 + 1024);
	expect(d, s, model);
	OKAY(overlay_zero(d, s, 0, DISK, &done, &e));
	memset(model, 0, DISK);
	expect(d, s, model);
	check_store(s, NULL);
	/* where there is nothing it takes no time, however much it is */
	OKAY(overlay_resize(d, s, 1ULL << 50, false, &e));
	OKAY(overlay_write(d, s, 1ULL << 45, buf, 4096, &e));
	OKAY(overlay_zero(d, s, 4 * MIB, (1ULL << 50) - 4 * MIB, &done, &e));
	assert_int_equal(done, (1ULL << 50) - 4 * MIB);
	OKAY(overlay_read(d, s, 1ULL << 45, buf, 4096, &e));
	assert_int_equal(buf[0], 0);
	memset(buf, 7, sizeof(buf));
	OKAY(overlay_resize(d, s, DISK, false, &e));
	OKAY(overlay_freeze(d, s, &frozen, &e));
	OKAY(overlay_write(d, s, 0, buf, 4096, &e));
	OKAY(overlay_zero(d, s, 0, 4096, &done, &e)); /* zeros below: nothing to hide either */
	OKAY(disk_object_get(s, overlay_info(d)->top, &o, &e));
	assert_int_equal(o.extents, 0);
	expect(d, s, model);
	check_store(s, NULL);
	overlay_close(d);
	store_close(s);
	mem_disk_free(&m);
}

/* Full: the write fails, nothing has changed, discarding still works and makes room. */
static void test_full(void **state)
{
	static uint8_t model[DISK], buf[65536];
	struct errmsg e = {.text = ""};
	uint64_t done, seed = 4, at;
	struct mem_disk m;
	struct store *s = fresh(&m, STORE_MIN_BLOCKS + 100);
	struct overlay *d = make(s, "f", DISK, &no_base);
	unsigned full = 0;

	for (unsigned i = 0; i < 600; i++) {
		int err;

		at = fake_random(&seed) % (DISK / 65536) * 65536;
		for (unsigned k = 0; k < sizeof(buf); k++)
			buf[k] = (uint8_t)fake_random(&seed);
		err = overlay_write(d, s, at, buf, sizeof(buf), &e);
		if (!err) {
			memcpy(model + at, buf, sizeof(buf));
			continue;
		}
		assert_int_equal(err, ERR_NOSPACE);
		full++;
		expect(d, s, model);
		OKAY(overlay_zero(d, s, at, sizeof(buf), &done, &e));
		memset(model + at, 0, sizeof(buf));
		OKAY(overlay_zero(d, s, 0, sizeof(buf), &done, &e));
		memset(model, 0, sizeof(buf));
	}
	assert_true(full > 10);
	expect(d, s, model);
	check_store(s, NULL);
	overlay_close(d);
	store_close(s);
	mem_disk_free(&m);
}

/* A block that rots is an error with its place, and only it. */
static void test_checksum(void **state)
{
	static uint8_t buf[65536];
	struct errmsg e = {.text = ""};
	struct disk_chunk c;
	struct mem_disk m;
	struct store *s = fresh(&m, 4096);
	struct overlay *d = make(s, "c", DISK, &no_base);

	memset(buf, 1, sizeof(buf));
	OKAY(overlay_write(d, s, 65536, buf, sizeof(buf), &e));
	OKAY(disk_chunk_get(s, overlay_info(d)->top, 1, &c, &e));
	m.data[c.block[3] * STORE_BLOCK + 77] ^= 1;
	assert_int_equal(overlay_read(d, s, 65536, buf, sizeof(buf), &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "disk 'c': offset 77824: checksum wrong"));
	OKAY(overlay_read(d, s, 65536, buf, 4096, &e));
	/* not laundered by a write of a part of it */
	assert_int_equal(overlay_write(d, s, 65536 + 3 * 4096, buf, 512, &e), ERR_CORRUPT);
	OKAY(overlay_write(d, s, 65536 + 3 * 4096, buf, 4096, &e));
	OKAY(overlay_read(d, s, 65536, buf, sizeof(buf), &e));
	overlay_close(d);
	store_close(s);
	mem_disk_free(&m);
}

/* After an error of the store: a disk that lost answered writes says so until it may forget. */
static void test_reattach(void **state)
{
	static uint8_t buf[4096] = {1}, got[4096];
	struct errmsg e = {.text = ""};
	struct mem_disk m;
	struct store *s = fresh(&m, 4096);
	struct overlay *d = make(s, "r", DISK, &no_base);

	OKAY(overlay_write(d, s, 0, buf, 4096, &e));
	OKAY(overlay_flush(d, s, &e));
	store_close(s);
	OKAY(store_open(&m.io, true, &s, &e));
	OKAY(overlay_reattach(d, s, &e)); /* nothing lost */
	buf[0] = 2;
	OKAY(overlay_write(d, s, 0, buf, 4096, &e));
	store_close(s);
	OKAY(store_open(&m.io, true, &s, &e));
	assert_int_equal(overlay_reattach(d, s, &e), ERR_IO);
	assert_int_equal(overlay_read(d, s, 0, got, 4096, &e), ERR_IO);
	assert_int_equal(overlay_flush(d, s, &e), ERR_IO);
	overlay_forget_loss(d);
	OKAY(overlay_read(d, s, 0, got, 4096, &e));
	assert_int_equal(got[0], 1);
	overlay_close(d);
	store_close(s);
	mem_disk_free(&m);
}

/* The opening removes what a snapshot that was being saved has left, and commits that: the loss is
 * no smaller. */
static void test_reattach_behind_orphans(void **state)
{
	static uint8_t buf[4096] = {1}, got[4096];
	struct errmsg e = {.text = ""};
	struct mem_disk m;
	struct store *s = fresh(&m, 4096);
	struct overlay *d = make(s, "r", DISK, &no_base);
	struct store_check_result r;
	uint64_t orphan;

	OKAY(store_object_create(s, KIND_RAM, &orphan, &e));
	OKAY(store_commit(s, &e));
	OKAY(overlay_write(d, s, 0, buf, 4096, &e));
	store_close(s);
	OKAY(store_open(&m.io, true, &s, &e));
	check_store(s, &r);
	assert_int_equal(r.orphans, 0);
	assert_int_equal(overlay_reattach(d, s, &e), ERR_IO);
	assert_int_equal(overlay_read(d, s, 0, got, 4096, &e), ERR_IO);
	overlay_close(d);
	store_close(s);
	mem_disk_free(&m);
}

static void test_resize(void **state)
{
	static uint8_t buf[4096] = {1}, got[4096], zero[4096];
	struct errmsg e = {.text = ""};
	struct mem_disk m;
	struct store *s = fresh(&m, 4096);
	struct overlay *d = make(s, "g", MIB, &no_base);

	OKAY(overlay_resize(d, s, 2 * MIB, false, &e));
	OKAY(overlay_write(d, s, 2 * MIB - 4096, buf, 4096, &e));
	assert_int_equal(overlay_resize(d, s, MIB, false, &e), ERR_STATE);
	assert_int_equal(overlay_resize(d, s, 100, false, &e), ERR_INVAL);
	OKAY(overlay_resize(d, s, MIB, true, &e));
	assert_int_equal(overlay_read(d, s, 2 * MIB - 4096, got, 4096, &e), ERR_RANGE);
	OKAY(overlay_resize(d, s, 2 * MIB, false, &e));
	OKAY(overlay_read(d, s, 2 * MIB - 4096, got, 4096, &e));
	assert_memory_equal(got, zero, 4096);
	check_store(s, NULL);
	overlay_close(d);
	store_close(s);
	mem_disk_free(&m);
}

/*
 * A layer from when the disk was larger is merged, into the top if no snapshot needs it, else with
 * another into one of their own.
 */
static void merge_after_shrinking(bool into_top)
{
	static uint8_t buf[65536] = {1};
	struct errmsg e = {.text = ""};
	bool done = false, orphan;
	struct mem_disk m;
	struct store *s = fresh(&m, 4096);
	struct overlay *d = make(s, "g", 2 * MIB, &no_base);
	uint64_t frozen, other;

	OKAY(overlay_write(d, s, 2 * MIB - sizeof(buf), buf, sizeof(buf), &e));
	OKAY(overlay_freeze(d, s, &frozen, &e));
	OKAY(store_object_link(s, frozen, &e));
	OKAY(overlay_resize(d, s, MIB, true, &e));
	OKAY(overlay_restore(d, s, frozen, &e));
	if (!into_top) {
		OKAY(overlay_write(d, s, 0, buf, sizeof(buf), &e));
		OKAY(overlay_freeze(d, s, &other, &e));
	}
	OKAY(store_object_unlink(s, frozen, &orphan, &e));
	assert_false(orphan);
	while (!done) {
		OKAY(overlay_flatten_step(d, s, &done, &e));
		check_store(s, NULL);
	}
	assert_int_equal(overlay_depth(d), into_top ? 1 : 2);
	overlay_close(d);
	store_close(s);
	mem_disk_free(&m);
}

static void test_merge_after_shrinking(void **state)
{
	merge_after_shrinking(true);
	merge_after_shrinking(false);
}

/* The list of disks, and that deleting one gives everything back. */
static void test_list_and_delete(void **state)
{
	static uint8_t buf[65536];
	struct errmsg e = {.text = ""};
	struct store_check_result r;
	struct vdisk v = {.size = MIB, .name = "p"};
	char name[VDISK_NAME_MAX + 1];
	uint64_t before, at = 0, frozen;
	struct mem_disk m;
	struct store *s = fresh(&m, 4096);
	struct overlay *d;
	unsigned n = 0;

	before = free_blocks(s);
	assert_int_equal(vdisk_name_check("-x", &e), ERR_INVAL);
	assert_int_equal(vdisk_name_check("", &e), ERR_INVAL);
	assert_int_equal(vdisk_name_check("a b", &e), ERR_INVAL);
	v.base = (struct vdisk_base){
	    .kind = VDISK_BASE_PARTITION, .guid = {5}, .epoch = 3, .size = MIB, .name = "label"};
	OKAY(vdisk_create(s, &v, &e));
	d = make(s, "q", MIB, &no_base);
	for (unsigned i = 0; i < 4; i++) {
		OKAY(overlay_write(d, s, 65536 * i, buf, sizeof(buf), &e));
		OKAY(overlay_freeze(d, s, &frozen, &e));
	}
	overlay_close(d);
	while (vdisk_next(s, &at, &v, &e) == OK)
		n++;
	assert_int_equal(n, 2);
	OKAY(vdisk_get(s, "p", &v, &e));
	assert_int_equal(v.base.epoch, 3);
	assert_string_equal(v.base.name, "label");
	OKAY(vdisk_on_partition(s, (uint8_t[16]){5}, name, &e));
	assert_string_equal(name, "p");
	OKAY(vdisk_on_partition(s, (uint8_t[16]){6}, name, &e));
	assert_string_equal(name, "");
	OKAY(vdisk_delete(s, "q", &e));
	OKAY(vdisk_delete(s, "p", &e));
	assert_int_equal(vdisk_delete(s, "p", &e), ERR_NOENT);
	check_store(s, &r);
	assert_int_equal(r.objects, 0);
	assert_int_equal(free_blocks(s), before);
	store_close(s);
	mem_disk_free(&m);
	assert_int_equal(fake_heap_outstanding(), 0);
}

/* A snapshot holds the layer that it names, and lets go of it with its own end. */
static void test_snapshot_holds_layer(void **state)
{
	static uint8_t model[MIB], buf[65536];
	struct snap_params p = {.name = "s", .vm = "v", .memory = 4096};
	struct errmsg e = {.text = ""};
	struct snap_disk sd = {.name = "store:h"};
	struct store_check_result r;
	struct snap_writer *w;
	struct disk_chunk c;
	struct snap *sn;
	struct mem_disk m;
	struct store *s = fresh(&m, 4096);
	uint64_t before = free_blocks(s);
	struct overlay *d = make(s, "h", MIB, &no_base);
	size_t size;
	void *tree = fake_tree(1, 100, &size);

	memset(buf, 3, sizeof(buf));
	OKAY(overlay_write(d, s, 0, buf, sizeof(buf), &e));
	memcpy(model, buf, sizeof(buf));
	OKAY(snap_writer_begin(s, &p, &w, &e));
	OKAY(snap_writer_state(w, tree, size, &e));
	OKAY(overlay_freeze(d, s, &sd.overlay, &e));
	OKAY(snap_writer_disk(w, &sd, &e));
	OKAY(store_commit(s, &e)); /* of somebody else, in the middle */
	OKAY(snap_writer_commit(w, NULL, &e));
	check_store(s, NULL);
	memset(buf, 4, sizeof(buf));
	OKAY(overlay_write(d, s, 0, buf, sizeof(buf), &e));
	OKAY(snap_open(s, "s", &sn, &e));
	OKAY(snap_disk(sn, 0, &sd, &e));
	snap_close(sn);
	OKAY(overlay_restore(d, s, sd.overlay, &e));
	expect(d, s, model);
	check_store(s, NULL);
	/* a block that rots is found with the snapshot, though the disk does not show it */
	OKAY(disk_chunk_get(s, sd.overlay, 0, &c, &e));
	OKAY(snap_open(s, "s", &sn, &e));
	OKAY(snap_verify(sn, NULL, NULL, &e));
	m.data[c.block[2] * STORE_BLOCK] ^= 1;
	assert_int_equal(snap_verify(sn, NULL, NULL, &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "snapshot 's': disk 'store:h': object"));
	m.data[c.block[2] * STORE_BLOCK] ^= 1;
	snap_close(sn);
	/* one that is given up lets go, too */
	p.name = "t";
	OKAY(snap_writer_begin(s, &p, &w, &e));
	OKAY(overlay_freeze(d, s, &sd.overlay, &e));
	OKAY(snap_writer_disk(w, &sd, &e));
	snap_writer_abort(w);
	check_store(s, NULL);
	/* the disk goes first, the snapshot's layer stays; then it goes with the snapshot */
	overlay_close(d);
	OKAY(vdisk_delete(s, "h", &e));
	check_store(s, &r);
	assert_int_equal(r.objects, 3);
	OKAY(snap_delete(s, "s", &e));
	check_store(s, &r);
	assert_int_equal(r.objects, 0);
	assert_int_equal(free_blocks(s), before);
	heap_free(tree);
	store_close(s);
	mem_disk_free(&m);
	assert_int_equal(fake_heap_outstanding(), 0);
}

/* The check sees references that are not there, and records that cannot be. */
static void test_check(void **state)
{
	static uint8_t buf[4096] = {1};
	struct errmsg e = {.text = ""};
	struct store_object_info o;
	struct store_check_result r;
	struct disk_chunk c;
	uint64_t ram, top;
	struct vdisk v;
	struct mem_disk m;
	struct store *s = fresh(&m, 4096);
	struct overlay *d = make(s, "k", MIB, &no_base);

	OKAY(overlay_write(d, s, 0, buf, 4096, &e));
	overlay_close(d);
	check_store(s, NULL);
	OKAY(vdisk_get(s, "k", &v, &e));
	top = v.top;
	/* totals, also of the layer that is written */
	OKAY(disk_object_get(s, top, &o, &e));
	o.blocks++;
	OKAY(store_object_set(s, top, &o, &e));
	OKAY(store_commit(s, &e));
	assert_int_equal(store_check(s, &r, NULL, NULL, &e), ERR_CORRUPT);
	o.blocks--;
	o.links++; /* that nobody holds */
	OKAY(store_object_set(s, top, &o, &e));
	OKAY(store_commit(s, &e));
	assert_int_equal(store_check(s, &r, NULL, NULL, &e), ERR_CORRUPT);
	o.links--;
	OKAY(store_object_set(s, top, &o, &e));
	check_store(s, NULL);
	/* a disk whose top is something else, or nothing */
	OKAY(store_object_create(s, KIND_RAM, &ram, &e));
	v.top = ram;
	OKAY(vdisk_put(s, &v, &e));
	OKAY(store_commit(s, &e));
	assert_int_equal(store_check(s, &r, NULL, NULL, &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "disk 'k': object"));
	assert_int_equal(overlay_open(s, "k", &no_base, 0, &d, &e), ERR_CORRUPT);
	v.top = 999;
	OKAY(vdisk_put(s, &v, &e));
	assert_int_equal(overlay_open(s, "k", &no_base, 0, &d, &e), ERR_NOENT);
	v.top = top;
	OKAY(vdisk_put(s, &v, &e));
	OKAY(store_object_delete(s, ram, &e));
	check_store(s, NULL);
	/* a block that is stored and zeros at once */
	OKAY(disk_chunk_get(s, top, 0, &c, &e));
	c.zero = c.data;
	OKAY(disk_chunk_set(s, top, 0, &c, &e));
	OKAY(store_commit(s, &e));
	assert_int_equal(store_check(s, &r, NULL, NULL, &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "disk chunk 0x0: impossible masks"));
	store_close(s);
	mem_disk_free(&m);
	assert_int_equal(fake_heap_outstanding(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_write_and_read),
	    cmocka_unit_test(test_group_commit),
	    cmocka_unit_test(test_layers),
	    cmocka_unit_test(test_take_in),
	    cmocka_unit_test(test_zero),
	    cmocka_unit_test(test_full),
	    cmocka_unit_test(test_checksum),
	    cmocka_unit_test(test_reattach),
	    cmocka_unit_test(test_reattach_behind_orphans),
	    cmocka_unit_test(test_resize),
	    cmocka_unit_test(test_merge_after_shrinking),
	    cmocka_unit_test(test_list_and_delete),
	    cmocka_unit_test(test_snapshot_holds_layer),
	    cmocka_unit_test(test_check),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
