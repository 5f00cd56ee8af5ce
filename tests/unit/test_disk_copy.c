/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Snapshots with disks in the store from store to store: random layers against a model of the
 * disk's content, over no base, over a base that stays behind and over one that comes along; what
 * is refused; power cuts at any moment, errors of the disk at any operation; and all room comes
 * back when snapshot and disk are deleted.
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
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/fake_store.h"

enum {
	SECTOR = 512,
	SECTORS = 2301, /* not of whole blocks */
	SIZE = SECTORS * SECTOR,
	BASE = 1003 * SECTOR,
	BLOCKS = 4096,
	RAM = 40000,
	SNAPS = 5,
};

#define OKAY(call)                                                                                 \
	do {                                                                                       \
		int okay_err = (call);                                                             \
                                                                                                   \
		if (okay_err)                                                                      \
			print_error("%s: %s\n", #call, e.text);                                    \
		assert_int_equal(okay_err, OK);                                                    \
	} while (0)

static struct errmsg e;
static uint64_t seed;
static uint8_t ram[RAM];
static uint8_t base_data[BASE]; /* some of its blocks are zeros */
static const uint8_t guid[16] = "partition below";

static uint32_t below(uint32_t n)
{
	return fake_random(&seed) % n;
}

/* --- bases ---------------------------------------------------------------------------------- */

static int base_read(void *ctx, uint64_t off, void *buf, uint32_t len)
{
	assert_true(off % SECTOR == 0 && len % SECTOR == 0 && len && off + len <= BASE);
	memcpy(buf, base_data + off, len);
	return OK;
}

static const struct overlay_base below_it = {.read = base_read, .size = BASE}, nothing = {0};
static int bases_error;

static int bases_open(
    void *ctx, const struct vdisk *v, struct overlay_base *out, struct errmsg *why)
{
	assert_string_equal(v->base.name, "below");
	assert_int_equal(v->base.size, BASE);
	*out = below_it;
	return bases_error ? err_set(why, bases_error, "not to be had") : OK;
}

static const struct snap_bases bases = {.open = bases_open};

static struct vdisk a_disk(enum vdisk_base_kind kind)
{
	struct vdisk v = {.name = "data", .size = SIZE, .base = {.kind = kind}};

	if (kind == VDISK_BASE_NONE)
		return v;
	v.base.size = BASE;
	str_copy(v.base.name, sizeof(v.base.name), "below");
	if (kind == VDISK_BASE_PAYLOAD)
		v.base.crc = 4711;
	else
		memcpy(v.base.guid, guid, 16);
	return v;
}

/* --- a machine with a disk, and what it must hold --------------------------------------------- */

struct machine {
	struct mem_disk m;
	struct store *s;
	struct overlay *d;
	struct vdisk v;
	uint8_t now[SIZE];
	uint8_t at[SNAPS][SIZE]; /* when the snapshot s0, s1 ... was taken */
};

static void machine_init(struct machine *x, enum vdisk_base_kind kind)
{
	memset(x->now, 0, SIZE);
	if (kind != VDISK_BASE_NONE)
		memcpy(x->now, base_data, BASE);
	x->v = a_disk(kind);
	mem_disk_init(&x->m, BLOCKS, true);
	OKAY(store_format(&x->m.io, (const uint8_t *)"where it was.  !", &e));
	OKAY(store_open(&x->m.io, true, &x->s, &e));
	OKAY(vdisk_create(x->s, &x->v, &e));
	OKAY(overlay_open(
	    x->s, "data", kind == VDISK_BASE_NONE ? &nothing : &below_it, 0, &x->d, &e));
}

static void machine_free(struct machine *x)
{
	overlay_close(x->d);
	store_close(x->s);
	mem_disk_free(&x->m);
}

/* Random writes, some of zeros, and discards. */
static void machine_works(struct machine *x, unsigned steps)
{
	uint8_t *buf = heap_alloc(OVERLAY_MAX_BYTES);

	while (steps--) {
		uint32_t at = below(SECTORS), n = 1 + below(below(4) ? 30 : 400);
		uint64_t done;

		if (below(2)) {
			at &= ~7u;
			n = MAX(n & ~7u, 8U);
		}
		n = MIN(n, SECTORS - at) * SECTOR;
		at *= SECTOR;
		if (below(5) == 0) {
			OKAY(overlay_zero(x->d, x->s, at, n, &done, &e));
			memset(x->now + at, 0, done);
			continue;
		}
		for (uint32_t i = 0; i < n; i += 4)
			*(uint32_t *)(buf + i) = fake_random(&seed);
		if (below(4) == 0)
			memset(buf, 0, n);
		OKAY(overlay_write(x->d, x->s, at, buf, n, &e));
		memcpy(x->now + at, buf, n);
	}
	heap_free(buf);
}

static void machine_save(struct machine *x, unsigned i)
{
	struct snap_params p = {.vm = "v", .memory = RAM, .id = {(uint8_t)i, 7}};
	struct snap_disk sd = {.name = "data", .epoch = x->v.base.epoch};
	struct snap_disk direct = {.name = "direct", .guid = {3}, .epoch = 5};
	struct snap_writer *w;
	char name[8];
	size_t size;
	void *tree = fake_tree(i, 300, &size);

	str_format(name, sizeof(name), "s%u", i);
	p.name = name;
	memcpy(sd.guid, x->v.base.guid, 16);
	OKAY(snap_writer_begin(x->s, &p, &w, &e));
	OKAY(snap_writer_state(w, tree, size, &e));
	OKAY(snap_writer_ram(w, gpa(0), ram, RAM, &e));
	OKAY(snap_writer_disk(w, &direct, &e));
	OKAY(overlay_freeze(x->d, x->s, &sd.overlay, &e));
	OKAY(snap_writer_disk(w, &sd, &e));
	OKAY(snap_writer_commit(w, NULL, &e));
	heap_free(tree);
	memcpy(x->at[i], x->now, SIZE);
}

/* All snapshots, with work between them; now and then layers are merged. */
static void machine_lives(struct machine *x, unsigned steps)
{
	bool done = false;

	for (unsigned i = 0; i < SNAPS; i++) {
		machine_works(x, below(2) ? steps : below(3));
		machine_save(x, i);
		if (below(3) == 0)
			while (!done)
				OKAY(overlay_flatten_step(x->d, x->s, &done, &e));
	}
	machine_works(x, 3);
	OKAY(store_commit(x->s, &e));
}

/* --- looking -------------------------------------------------------------------------------- */

static void check_sound(struct store *s)
{
	struct store_check_result r;

	OKAY(store_check(s, &r, NULL, NULL, &e));
	assert_int_equal(r.orphans, 0);
}

static uint64_t free_blocks(struct store *s)
{
	struct store_stat st;

	OKAY(store_commit(s, &e));
	store_stat(s, &st);
	return st.free;
}

static void expect_content(
    struct store *s, uint64_t frozen, const struct overlay_base *base, const uint8_t *want)
{
	uint8_t *buf = heap_alloc(OVERLAY_MAX_BYTES);
	struct overlay *d;

	OKAY(overlay_open(s, "data", base, 16, &d, &e));
	if (frozen)
		OKAY(overlay_restore(d, s, frozen, &e));
	for (uint32_t at = 0, n; at < SIZE; at += n) {
		n = MIN(SIZE - at, (uint32_t)OVERLAY_MAX_BYTES);
		OKAY(overlay_read(d, s, at, buf, n, &e));
		assert_memory_equal(buf, want + at, n);
	}
	overlay_close(d);
	heap_free(buf);
}

/* The disk's record in the snapshot; the other one is as it was. */
static struct snap_disk disk_of(struct store *s, const char *name)
{
	struct snap_disk d, direct;
	struct snap *sn;

	OKAY(snap_open(s, name, &sn, &e));
	OKAY(snap_verify(sn, NULL, NULL, &e));
	assert_int_equal(snap_info(sn)->ndisks, 2);
	OKAY(snap_disk(sn, 0, &direct, &e));
	OKAY(snap_disk(sn, 1, &d, &e));
	snap_close(sn);
	assert_true(direct.overlay == 0 && direct.epoch == 5 && direct.guid[0] == 3);
	assert_string_equal(d.name, "data");
	return d;
}

/* A layer without parent that holds no block of zeros; zeros are said only over a base. */
static void expect_one_layer(struct store *s, uint64_t layer, uint64_t base_size)
{
	static uint8_t block[STORE_BLOCK], zeros[STORE_BLOCK];
	struct store_object_info o;
	struct disk_chunk c;

	OKAY(disk_object_get(s, layer, &o, &e));
	assert_true(o.parent == 0 && (o.flags & 1));
	for (uint64_t at = 0; disk_chunk_next(s, layer, &at, &c, &e) == OK; at++)
		for (unsigned i = 0; i < STORE_CHUNK_BLOCKS; i++) {
			uint64_t off = at * STORE_CHUNK + i * STORE_BLOCK;

			assert_true(!((c.data | c.zero) >> i & 1) || off < SIZE);
			if (c.zero >> i & 1)
				assert_true(off < base_size);
			if (!(c.data >> i & 1))
				continue;
			OKAY(store_read_blocks(s, c.block[i], block, 1, &e));
			assert_memory_not_equal(block, zeros, STORE_BLOCK);
		}
}

static int copy(struct store *from, const char *name, struct store *to, const char *as,
    const struct snap_bases *with)
{
	struct snap *sn;
	int err;

	OKAY(snap_open(from, name, &sn, &e));
	err = snap_copy(sn, to, &(struct snap_copy_params){.name = as, .bases = with}, &e);
	snap_close(sn);
	return err;
}

static void fresh(struct mem_disk *m, uint64_t blocks, struct store **s)
{
	mem_disk_init(m, blocks, true);
	OKAY(store_format(&m->io, (const uint8_t *)"where it goes to", &e));
	OKAY(store_open(&m->io, true, s, &e));
}

static int setup(void **state)
{
	seed = 11;
	fake_ram_fill(ram, RAM, 3);
	for (unsigned i = 0; i < BASE; i++)
		base_data[i] = i / STORE_BLOCK % 7 == 3 ? 0 : (uint8_t)fake_random(&seed);
	return 0;
}

/* --- there and back ------------------------------------------------------------------------- */

/* Out of the machine into a file of its own, and into another machine's store. */
static void there_and_back(struct machine *x, unsigned i, bool with)
{
	bool kept = x->v.base.kind != VDISK_BASE_NONE && !with;
	const struct overlay_base *base = kept ? &below_it : &nothing;
	uint64_t bytes, pieces, before, left;
	struct mem_disk file, other;
	struct store *f, *o;
	struct snap_disk d;
	struct snap *sn;
	struct vdisk v;
	char name[8];

	str_format(name, sizeof(name), "s%u", i);
	fresh(&file, 2048, &f);
	fresh(&other, 2048, &o);
	before = free_blocks(f);
	OKAY(snap_open(x->s, name, &sn, &e));
	OKAY(snap_copy_size(sn, with ? &bases : NULL, &bytes, &pieces, &e));
	snap_close(sn);
	OKAY(copy(x->s, name, f, name, with ? &bases : NULL));
	check_sound(f);
	left = free_blocks(f);
	assert_true((before - left) * STORE_BLOCK <= bytes + pieces * 64 + 32 * STORE_BLOCK);
	d = disk_of(f, name);
	expect_one_layer(f, d.overlay, kept ? BASE : 0);
	expect_content(f, 0, base, x->at[i]);
	before = free_blocks(o);
	OKAY(copy(f, name, o, "again", NULL));
	check_sound(o);
	d = disk_of(o, "again");
	OKAY(vdisk_get(o, "data", &v, &e));
	assert_int_equal(v.size, SIZE);
	assert_int_equal(v.base.kind, kept ? x->v.base.kind : VDISK_BASE_NONE);
	assert_memory_equal(v.base.guid, d.guid, 16);
	assert_int_equal(v.base.epoch, d.epoch);
	assert_string_equal(v.base.name, kept ? "below" : "");
	expect_one_layer(o, d.overlay, kept ? BASE : 0);
	expect_content(o, 0, base, x->at[i]);
	expect_content(o, d.overlay, base, x->at[i]);
	/* the disk alone, then nothing */
	OKAY(snap_delete(o, "again", &e));
	check_sound(o);
	expect_content(o, 0, base, x->at[i]);
	OKAY(vdisk_delete(o, "data", &e));
	check_sound(o);
	assert_int_equal(free_blocks(o), before);
	store_close(f);
	store_close(o);
	mem_disk_free(&file);
	mem_disk_free(&other);
}

static void test_there_and_back(void **state)
{
	static struct machine x;

	for (unsigned run = 0; run < 6; run++) {
		machine_init(&x, (enum vdisk_base_kind)(run % 3));
		machine_lives(&x, 25);
		for (unsigned i = 0; i < SNAPS; i++) {
			there_and_back(&x, i, false);
			there_and_back(&x, i, true);
		}
		check_sound(x.s);
		machine_free(&x);
	}
	assert_int_equal(fake_heap_outstanding(), 0);
}

/* What lies behind the end of a disk that was made smaller does not come along. */
static void test_resized(void **state)
{
	static struct machine x;
	struct mem_disk file;
	struct store *f;
	struct overlay *d;
	struct vdisk v;
	uint8_t *buf = heap_alloc(SIZE);

	for (unsigned larger = 0; larger < 2; larger++) {
		uint64_t size = larger ? SIZE + 300 * SECTOR : SIZE - 70 * SECTOR;

		machine_init(&x, VDISK_BASE_NONE);
		machine_works(&x, 100);
		machine_save(&x, 0);
		OKAY(overlay_resize(x.d, x.s, size, true, &e));
		fresh(&file, 2048, &f);
		OKAY(copy(x.s, "s0", f, "s0", NULL));
		OKAY(vdisk_get(f, "data", &v, &e));
		assert_int_equal(v.size, size);
		OKAY(overlay_open(f, "data", &nothing, 16, &d, &e));
		for (uint64_t at = 0; at < MIN(size, (uint64_t)SIZE); at += SECTOR) {
			OKAY(overlay_read(d, f, at, buf, SECTOR, &e));
			assert_memory_equal(buf, x.at[0] + at, SECTOR);
		}
		overlay_close(d);
		check_sound(f);
		store_close(f);
		mem_disk_free(&file);
		machine_free(&x);
	}
	heap_free(buf);
	assert_int_equal(fake_heap_outstanding(), 0);
}

/* --- what the other store has already ------------------------------------------------------- */

/* The disk that is there stays as it is; two snapshots of it come one after the other. */
static void test_disk_that_is_there(void **state)
{
	static struct machine x;
	struct mem_disk other;
	struct store *o;
	struct snap_disk d;
	uint64_t before;

	machine_init(&x, VDISK_BASE_PARTITION);
	machine_lives(&x, 10);
	fresh(&other, BLOCKS, &o);
	before = free_blocks(o);
	OKAY(copy(x.s, "s4", o, "s4", NULL));
	OKAY(copy(x.s, "s1", o, "s1", NULL));
	check_sound(o);
	expect_content(o, 0, &below_it, x.at[4]);
	d = disk_of(o, "s1");
	expect_content(o, d.overlay, &below_it, x.at[1]);
	d = disk_of(o, "s4");
	expect_content(o, d.overlay, &below_it, x.at[4]);
	assert_int_equal(copy(x.s, "s1", o, "s1", NULL), ERR_EXIST);
	/* into the store that it is of */
	OKAY(copy(x.s, "s2", x.s, "copy", NULL));
	check_sound(x.s);
	d = disk_of(x.s, "copy");
	overlay_close(x.d);
	expect_content(x.s, 0, &below_it, x.now);
	expect_content(x.s, d.overlay, &below_it, x.at[2]);
	OKAY(overlay_open(x.s, "data", &below_it, 0, &x.d, &e));
	OKAY(snap_delete(o, "s1", &e));
	OKAY(vdisk_delete(o, "data", &e));
	OKAY(snap_delete(o, "s4", &e));
	check_sound(o);
	assert_int_equal(free_blocks(o), before);
	store_close(o);
	mem_disk_free(&other);
	machine_free(&x);
	assert_int_equal(fake_heap_outstanding(), 0);
}

static void refused(struct machine *x, const struct vdisk *there, const struct snap_bases *with,
    int want, const char *why)
{
	struct vdisk v = *there;
	struct mem_disk other;
	struct store *o;
	uint64_t before;
	int err;

	fresh(&other, 2048, &o);
	OKAY(vdisk_create(o, &v, &e));
	before = free_blocks(o);
	err = copy(x->s, "s0", o, "s0", with);
	if (err != want || !strstr(e.text, why))
		print_error("%d instead of %d: %s\n", err, want, e.text);
	assert_int_equal(err, want);
	assert_non_null(strstr(e.text, why));
	check_sound(o);
	assert_int_equal(free_blocks(o), before);
	store_close(o);
	mem_disk_free(&other);
}

static void test_refused(void **state)
{
	static const char exists[] = "snapshot 's0': disk 'data': exists already, with ";
	static struct machine x;
	struct vdisk v, none = a_disk(VDISK_BASE_NONE);

	machine_init(&x, VDISK_BASE_PARTITION);
	machine_works(&x, 20);
	machine_save(&x, 0);
	for (unsigned i = 0; i < 6; i++) {
		v = a_disk(VDISK_BASE_PARTITION);
		if (i == 0)
			v.base.epoch++;
		else if (i == 1)
			v.base.guid[3] ^= 1;
		else if (i == 2)
			v.base.size -= SECTOR;
		else if (i == 3)
			v = none;
		else if (i == 4)
			v = a_disk(VDISK_BASE_PAYLOAD);
		else
			v.size -= SECTOR;
		refused(&x, &v, NULL, ERR_EXIST, exists);
	}
	refused(&x, &x.v, &bases, ERR_EXIST, exists);
	none.size -= SECTOR;
	refused(&x, &none, &bases, ERR_EXIST, "with 1177600 bytes instead of 1178112");
	bases_error = ERR_STATE;
	refused(&x, &none, &bases, ERR_STATE, "snapshot 's0': disk 'data': not to be had");
	bases_error = OK;
	/* the base was written back, or the disk is gone, or another */
	OKAY(overlay_set_base_epoch(x.d, x.s, 9, &e));
	none.size = SIZE;
	refused(&x, &none, NULL, ERR_STATE, "disk 'data': has another base now");
	overlay_close(x.d);
	x.d = NULL;
	OKAY(vdisk_delete(x.s, "data", &e));
	refused(&x, &none, NULL, ERR_NOENT, "disk 'data': not there any more: what lies below");
	machine_free(&x);
	assert_int_equal(fake_heap_outstanding(), 0);
}

/* --- errors on the way ---------------------------------------------------------------------- */

static bool cancel(void *ctx, uint64_t done, uint64_t total)
{
	uint64_t *at = ctx;

	assert_true(done <= total);
	return (*at)-- > 0;
}

/* Stops at every call of progress: nothing is left, and the store can be used. */
static void test_cancelled(void **state)
{
	static struct machine x;
	struct snap_copy_params p = {.name = "s0", .progress = cancel};
	struct mem_disk other;
	struct store *o;
	struct snap *sn;
	uint64_t before;
	int err = ERR_CANCELLED;

	machine_init(&x, VDISK_BASE_NONE);
	machine_works(&x, 60);
	machine_save(&x, 0);
	fresh(&other, 2048, &o);
	before = free_blocks(o);
	OKAY(snap_open(x.s, "s0", &sn, &e));
	for (uint64_t n = 0; err; n++) {
		uint64_t left = n;

		p.ctx = &left;
		err = snap_copy(sn, o, &p, &e);
		check_sound(o);
		if (!err)
			assert_true(n > 10);
		else
			assert_true(err == ERR_CANCELLED && free_blocks(o) == before);
	}
	snap_close(sn);
	expect_content(o, 0, &nothing, x.at[0]);
	store_close(o);
	mem_disk_free(&other);
	machine_free(&x);
	assert_int_equal(fake_heap_outstanding(), 0);
}

/* Takes so many blocks of the store. */
static void put_ballast(struct store *s, unsigned blocks)
{
	struct vdisk v = {.name = "ballast", .size = 512 * STORE_BLOCK};
	uint8_t *buf = heap_alloc(STORE_BLOCK);
	struct overlay *d;

	memset(buf, 'b', STORE_BLOCK);
	OKAY(vdisk_create(s, &v, &e));
	OKAY(overlay_open(s, "ballast", &nothing, 16, &d, &e));
	for (unsigned i = 0; i < blocks; i++)
		OKAY(overlay_write(d, s, (uint64_t)i * STORE_BLOCK, buf, STORE_BLOCK, &e));
	overlay_close(d);
	heap_free(buf);
}

/* A store that is full to every degree: it is refused at once, or it fits. */
static void test_full(void **state)
{
	static struct machine x;
	unsigned fits = 0, full = 0;

	machine_init(&x, VDISK_BASE_PARTITION);
	machine_works(&x, 60);
	machine_save(&x, 0);
	for (unsigned blocks = 0; blocks < 200; blocks += 5) {
		struct mem_disk other;
		struct store *o;
		uint64_t before;
		int err;

		fresh(&other, 512, &o);
		put_ballast(o, blocks);
		before = free_blocks(o);
		err = copy(x.s, "s0", o, "s0", &bases);
		check_sound(o);
		fits += !err;
		full += err == ERR_NOSPACE;
		if (err)
			assert_true(err == ERR_NOSPACE && free_blocks(o) == before);
		else
			expect_content(o, 0, &nothing, x.at[0]);
		store_close(o);
		mem_disk_free(&other);
	}
	print_message("%u times it fitted, %u times not\n", fits, full);
	assert_true(fits > 3 && full > 3);
	machine_free(&x);
	assert_int_equal(fake_heap_outstanding(), 0);
}

/* A block of the disk that has changed in the source is told of, and nothing comes of it. */
static void test_bad_block(void **state)
{
	static struct machine x;
	struct vdisk other = {.name = "other", .size = SIZE};
	struct disk_chunk c;
	struct snap_disk d;
	uint64_t at = 0;

	machine_init(&x, VDISK_BASE_NONE);
	machine_works(&x, 60);
	machine_save(&x, 0);
	d = disk_of(x.s, "s0");
	do
		OKAY(disk_chunk_next(x.s, d.overlay, &at, &c, &e));
	while (!(c.data >> 5 & 1) && ++at);
	x.m.data[c.block[5] * STORE_BLOCK + 77] ^= 1;
	refused(&x, &other, NULL, ERR_CORRUPT, "snapshot 's0': disk 'data': block ");
	machine_free(&x);
	assert_int_equal(fake_heap_outstanding(), 0);
}

/* After an error of the target's disk at any operation it is found as before or with all of it. */
static void test_io_errors(void **state)
{
	static struct machine x;
	unsigned failed = 0;
	int err = ERR_IO;

	machine_init(&x, VDISK_BASE_NONE);
	machine_works(&x, 100);
	machine_save(&x, 0);
	for (int n = 0; err; n++) {
		struct mem_disk other;
		struct store *o;
		struct snap *sn;

		fresh(&other, 1024, &o);
		other.fail_after = n;
		err = copy(x.s, "s0", o, "s0", NULL);
		failed += err != OK;
		store_close(o);
		other.fail_after = -1;
		OKAY(store_open(&other.io, true, &o, &e));
		check_sound(o);
		if (snap_open(o, "s0", &sn, &e) == OK) {
			snap_close(sn);
			expect_content(o, disk_of(o, "s0").overlay, &nothing, x.at[0]);
		} else {
			struct vdisk v;

			assert_int_not_equal(err, OK);
			assert_int_equal(vdisk_get(o, "data", &v, &e), ERR_NOENT);
		}
		store_close(o);
		mem_disk_free(&other);
	}
	print_message("an error at each of %u operations\n", failed);
	assert_true(failed > 20);
	machine_free(&x);
	assert_int_equal(fake_heap_outstanding(), 0);
}

/* --- power cuts ----------------------------------------------------------------------------- */

struct cuts {
	struct mem_disk cut;
	const uint8_t *want;
	uint64_t before; /* free blocks */
	unsigned old, new;
};

static void after_cut(struct cuts *k)
{
	struct store_check_result r;
	struct store *s;
	struct snap *sn;
	struct vdisk v;

	OKAY(store_open(&k->cut.io, false, &s, &e));
	OKAY(store_check(s, &r, NULL, NULL, &e));
	store_close(s);
	OKAY(store_open(&k->cut.io, true, &s, &e));
	check_sound(s);
	if (snap_open(s, "s0", &sn, &e) == OK) {
		snap_close(sn);
		expect_content(s, disk_of(s, "s0").overlay, &nothing, k->want);
		k->new ++;
	} else {
		assert_int_equal(vdisk_get(s, "data", &v, &e), ERR_NOENT);
		assert_int_equal(free_blocks(s), k->before);
		k->old++;
	}
	store_close(s);
}

/* The import up to operation 'end'; of what was written since the last flush any sector may be. */
static void make_cut(struct cuts *k, const uint8_t *start, const struct mem_disk *m, size_t end)
{
	size_t settled = end;

	while (settled && !m->ops[settled - 1].flush)
		settled--;
	memcpy(k->cut.data, start, (size_t)BLOCKS * STORE_BLOCK);
	for (size_t i = 0; i < end; i++) {
		uint8_t mask = i < settled ? 0xff : (uint8_t)fake_random(&seed);

		for (unsigned n = 0; !m->ops[i].flush && n < 8; n++)
			if (mask >> n & 1)
				memcpy(k->cut.data + m->ops[i].block * STORE_BLOCK + n * SECTOR,
				    m->ops[i].data + n * SECTOR, SECTOR);
	}
	after_cut(k);
}

/* As a large disk's copy does: what there is of it becomes durable on the way. */
static bool commit_some(void *ctx, uint64_t done, uint64_t total)
{
	if (below(3) == 0)
		OKAY(store_commit(ctx, &e));
	return true;
}

static void test_power_cut(void **state)
{
	static struct machine x;
	struct snap_copy_params p = {.name = "s0", .bases = &bases, .progress = commit_some};
	struct cuts k = {.want = x.at[0]};
	struct snap *sn;
	uint8_t *start = malloc((size_t)BLOCKS * STORE_BLOCK);
	struct mem_disk other;
	struct store *o;

	machine_init(&x, VDISK_BASE_PAYLOAD);
	machine_works(&x, 60);
	machine_save(&x, 0);
	fresh(&other, BLOCKS, &o);
	mem_disk_init(&k.cut, BLOCKS, false);
	k.before = free_blocks(o);
	memcpy(start, other.data, (size_t)BLOCKS * STORE_BLOCK);
	other.record = true;
	p.ctx = o;
	OKAY(snap_open(x.s, "s0", &sn, &e));
	OKAY(snap_copy(sn, o, &p, &e));
	snap_close(sn);
	for (size_t end = 0; end <= other.nops; end += end + 40 < other.nops ? 1 + below(4) : 1)
		make_cut(&k, start, &other, end);
	print_message("%zu operations, %u cuts found nothing, %u all\n", other.nops, k.old, k.new);
	assert_true(k.old > 50 && k.new);
	store_close(o);
	mem_disk_free(&other);
	mem_disk_free(&k.cut);
	free(start);
	machine_free(&x);
	assert_int_equal(fake_heap_outstanding(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_there_and_back),
	    cmocka_unit_test(test_resized),
	    cmocka_unit_test(test_disk_that_is_there),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_cancelled),
	    cmocka_unit_test(test_full),
	    cmocka_unit_test(test_bad_block),
	    cmocka_unit_test(test_io_errors),
	    cmocka_unit_test(test_power_cut),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
