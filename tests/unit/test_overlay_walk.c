/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk of the store over thousands of steps drawn at random, against a model that knows for each
 * sector what may be found: writes, partial writes, discards, flushes, snapshots, returns to
 * older ones, merging of layers, other users' commits. After each step the power fails somewhere
 * within it, with any subset of the 512-byte sectors written since the last flush of the medium:
 * then the store passes its check, what was flushed is there, every other sector is one of those
 * that were written since, and snapshots are what they were. Now and then the walk goes on from
 * there.
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
#include "hv/snapshot/overlay.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/fake_store.h"

enum {
	SECTOR = 512,
	SECTORS = 1237,	    /* of the disk */
	BASE_SECTORS = 503, /* of the partition below it */
	BLOCKS = 512,	    /* of the store: it gets full now and then */
	HISTORY = 12,	    /* contents of a sector between two flushes */
	SNAPS = 6,
	STEPS = 1000,
};

/* Contents are numbers: 0 the base's, odd ones zeros, others a pattern of number and sector. */
struct walk {
	uint64_t seed;
	struct mem_disk m;   /* records */
	struct mem_disk cut; /* what is found after the cut */
	uint8_t *durable;    /* everything up to the last flush of the medium */
	struct store *s;
	struct overlay *d;
	uint32_t next;
	unsigned taken_in; /* layers that went into the top */
	uint32_t now[SECTORS];
	uint32_t may[SECTORS][HISTORY]; /* what may be there after a cut, now[] included */
	uint8_t nmay[SECTORS];
	struct {
		bool used;
		char name[8];
		uint32_t is[SECTORS];
	} snap[SNAPS];
	bool merging;
	unsigned cuts, full, resumed, merges, restores, old_found;
};

#define OKAY(call)                                                                                 \
	do {                                                                                       \
		int okay_err = (call);                                                             \
                                                                                                   \
		if (okay_err)                                                                      \
			print_error("%s: %s\n", #call, e.text);                                    \
		assert_int_equal(okay_err, OK);                                                    \
	} while (0)

static uint32_t below(struct walk *w, uint32_t n)
{
	return fake_random(&w->seed) % n;
}

static void content(uint32_t sector, uint32_t number, uint8_t *out)
{
	uint32_t x = number * 2654435761u ^ sector * 40503u;

	if (number & 1 || (number == 0 && sector >= BASE_SECTORS)) {
		memset(out, 0, SECTOR);
		return;
	}
	for (unsigned i = 0; i < SECTOR; i += 4) {
		x = x * 1664525u + 1013904223u;
		memcpy(out + i, &x, 4);
	}
}

static int base_read(void *ctx, uint64_t off, void *buf, uint32_t len)
{
	assert_true(off + len <= (uint64_t)BASE_SECTORS * SECTOR);
	for (uint32_t i = 0; i < len; i += SECTOR)
		content((uint32_t)((off + i) / SECTOR), 0, (uint8_t *)buf + i);
	return OK;
}

static const struct overlay_base base = {
    .read = base_read, .size = (uint64_t)BASE_SECTORS * SECTOR};

/* --- the model ---------------------------------------------------------------------------- */

static void set(struct walk *w, uint32_t sector, uint32_t number)
{
	w->now[sector] = number;
	w->may[sector][w->nmay[sector]++] = number;
}

static void settle(struct walk *w)
{
	for (uint32_t i = 0; i < SECTORS; i++) {
		w->may[i][0] = w->now[i];
		w->nmay[i] = 1;
	}
}

static bool history_full(const struct walk *w)
{
	for (uint32_t i = 0; i < SECTORS; i++)
		if (w->nmay[i] >= HISTORY - 2)
			return true;
	return false;
}

static void read_disk(struct overlay *d, struct store *s, uint8_t *out)
{
	static uint8_t *buf;
	struct errmsg e = {.text = ""};

	if (!buf)
		buf = malloc(OVERLAY_MAX_BYTES);
	for (uint32_t at = 0, n; at < SECTORS * SECTOR; at += n) {
		n = MIN(SECTORS * SECTOR - at, (uint32_t)OVERLAY_MAX_BYTES);
		OKAY(overlay_read(d, s, at, buf, n, &e));
		memcpy(out + at, buf, n);
	}
}

static uint8_t image[SECTORS * SECTOR];

static void expect_exactly(struct overlay *d, struct store *s, const uint32_t *is)
{
	uint8_t want[SECTOR];

	read_disk(d, s, image);
	for (uint32_t i = 0; i < SECTORS; i++) {
		content(i, is[i], want);
		if (memcmp(image + i * SECTOR, want, SECTOR))
			fail_msg("sector %u is not content %u", i, is[i]);
	}
}

/* Takes over what was found, if it is allowed. */
static void expect_allowed(struct walk *w, struct overlay *d, struct store *s, bool adopt)
{
	uint8_t want[SECTOR];

	read_disk(d, s, image);
	for (uint32_t i = 0; i < SECTORS; i++) {
		unsigned k = w->nmay[i];
		bool found = false;

		while (!found && k-- > 0) {
			content(i, w->may[i][k], want);
			found = !memcmp(image + i * SECTOR, want, SECTOR);
		}
		if (!found)
			fail_msg("sector %u is none of %u contents", i, w->nmay[i]);
		w->old_found += w->may[i][k] != w->now[i];
		if (adopt)
			w->now[i] = w->may[i][k];
	}
	if (adopt)
		settle(w);
}

/* --- power cuts --------------------------------------------------------------------------- */

static void apply(uint8_t *disk, const struct fake_op *op, uint8_t mask)
{
	for (unsigned i = 0; i < 8; i++)
		if (mask >> i & 1)
			memcpy(disk + op->block * STORE_BLOCK + i * SECTOR, op->data + i * SECTOR,
			    SECTOR);
}

/* What was done to the medium up to the last flush before 'end' is there for good. */
static size_t settled_before(struct walk *w, size_t end)
{
	while (end > 0 && !w->m.ops[end - 1].flush)
		end--;
	return end;
}

static void make_cut(struct walk *w, size_t at)
{
	size_t settled = settled_before(w, at);
	unsigned mode = below(w, 4);

	memcpy(w->cut.data, w->durable, (size_t)BLOCKS * STORE_BLOCK);
	for (size_t i = 0; i < at; i++) {
		uint8_t mask = (uint8_t)fake_random(&w->seed);

		if (w->m.ops[i].flush)
			continue;
		if (i < settled || mode == 0)
			mask = 0xff;
		else if (mode == 1)
			mask = mask & 1 ? 0xff : 0;
		else if (mode == 2)
			mask = 0;
		apply(w->cut.data, &w->m.ops[i], mask);
	}
}

static void check_snapshot(struct walk *w, struct store *s, struct overlay *d, unsigned i)
{
	struct errmsg e = {.text = ""};
	struct snap_disk sd;
	struct snap *sn;
	int err = snap_open(s, w->snap[i].name, &sn, &e);

	if (err == ERR_NOENT)
		return; /* it is being saved, or deleted */
	OKAY(err);
	OKAY(snap_disk(sn, 0, &sd, &e));
	snap_close(sn);
	err = overlay_restore(d, s, sd.overlay, &e);
	if (err == ERR_NOSPACE)
		return;
	OKAY(err);
	expect_exactly(d, s, w->snap[i].is);
}

static void after_cut(struct walk *w, bool adopt)
{
	struct errmsg e = {.text = ""};
	struct store_check_result r;
	struct overlay *d;
	struct store *s;
	unsigned i = below(w, SNAPS);

	w->cuts++;
	OKAY(store_open(&w->cut.io, false, &s, &e));
	OKAY(store_check(s, &r, NULL, NULL, &e));
	store_close(s);
	OKAY(store_open(&w->cut.io, true, &s, &e));
	OKAY(store_check(s, &r, NULL, NULL, &e));
	assert_int_equal(r.orphans, 0);
	OKAY(overlay_open(s, "walk", &base, 16, &d, &e));
	expect_allowed(w, d, s, adopt);
	if (!adopt && w->snap[i].used && w->cuts % 3 == 0)
		check_snapshot(w, s, d, i);
	overlay_close(d);
	store_close(s);
}

/* Cuts somewhere behind operation 'from'; then what is settled is dropped from the record. */
static void try_cuts(struct walk *w, size_t from)
{
	size_t settled;

	make_cut(w, from + below(w, (uint32_t)(w->m.nops - from + 1)));
	after_cut(w, false);
	settled = settled_before(w, w->m.nops);
	for (size_t i = 0; i < settled; i++)
		if (!w->m.ops[i].flush)
			apply(w->durable, &w->m.ops[i], 0xff);
	for (size_t i = 0; i < settled; i++)
		free(w->m.ops[i].data);
	if (settled)
		memmove(w->m.ops, w->m.ops + settled, (w->m.nops - settled) * sizeof(*w->m.ops));
	w->m.nops -= settled;
}

static void open_disk(struct walk *w)
{
	struct errmsg e = {.text = ""};

	OKAY(store_open(&w->m.io, true, &w->s, &e));
	OKAY(overlay_open(w->s, "walk", &base, 16, &w->d, &e));
	w->merging = false;
}

/* The power fails here, and the walk goes on with what is found. */
static void cut_and_resume(struct walk *w)
{
	overlay_close(w->d);
	store_close(w->s);
	make_cut(w, w->m.nops);
	memcpy(w->m.data, w->cut.data, (size_t)BLOCKS * STORE_BLOCK);
	memcpy(w->durable, w->cut.data, (size_t)BLOCKS * STORE_BLOCK);
	after_cut(w, true);
	mem_disk_forget(&w->m);
	open_disk(w);
	expect_exactly(w->d, w->s, w->now);
	w->resumed++;
}

/* --- steps -------------------------------------------------------------------------------- */

/* The store is full: the oldest snapshot goes, or all that was written. */
static void make_room(struct walk *w)
{
	struct errmsg e = {.text = ""};

	w->full++;
	for (unsigned i = 0; i < SNAPS; i++) {
		if (!w->snap[i].used)
			continue;
		w->snap[i].used = false;
		OKAY(snap_delete(w->s, w->snap[i].name, &e));
		return;
	}
}

static void step_write(struct walk *w)
{
	static uint8_t *buf;
	struct errmsg e = {.text = ""};
	uint32_t n = below(w, 4) ? 1 + below(w, 40) : 1 + below(w, OVERLAY_MAX_BYTES / SECTOR);
	uint32_t at = below(w, SECTORS);
	int err;

	if (!buf)
		buf = malloc(OVERLAY_MAX_BYTES);
	if (below(w, 2)) { /* whole blocks */
		at &= ~7u;
		n = MAX(n & ~7u, 8U);
	}
	n = MIN(n, SECTORS - at);
	w->next += 2;
	for (uint32_t i = 0; i < n; i++)
		content(at + i, w->next, buf + i * SECTOR);
	/* a cut in the middle may show each block as it was or as it is */
	err = overlay_write(w->d, w->s, (uint64_t)at * SECTOR, buf, n * SECTOR, &e);
	if (err == ERR_NOSPACE) {
		expect_exactly(w->d, w->s, w->now);
		make_room(w);
		return;
	}
	OKAY(err);
	for (uint32_t i = 0; i < n; i++)
		set(w, at + i, w->next);
}

static void step_zero(struct walk *w)
{
	struct errmsg e = {.text = ""};
	uint32_t at = below(w, SECTORS), n = 1 + below(w, 400);
	uint64_t done;
	int err;

	n = MIN(n, SECTORS - at);
	err = overlay_zero(w->d, w->s, (uint64_t)at * SECTOR, (uint64_t)n * SECTOR, &done, &e);
	w->next += 2;
	for (uint32_t i = 0; i < done / SECTOR; i++)
		set(w, at + i, w->next | 1);
	if (err != ERR_NOSPACE)
		OKAY(err);
	else
		make_room(w);
}

static void step_flush(struct walk *w)
{
	struct errmsg e = {.text = ""};

	OKAY(overlay_flush(w->d, w->s, &e));
}

static void step_snapshot(struct walk *w)
{
	struct snap_params p = {.vm = "v", .memory = 4096};
	struct snap_disk sd = {.name = "store:walk"};
	struct errmsg e = {.text = ""};
	unsigned i = below(w, SNAPS);
	struct snap_writer *sw;
	size_t size;
	void *tree;
	int err;

	if (w->snap[i].used) {
		w->snap[i].used = false;
		OKAY(snap_delete(w->s, w->snap[i].name, &e));
		return;
	}
	str_format(w->snap[i].name, sizeof(w->snap[i].name), "s%u", i);
	p.name = w->snap[i].name;
	err = snap_writer_begin(w->s, &p, &sw, &e);
	if (err == ERR_NOSPACE) {
		make_room(w);
		return;
	}
	OKAY(err);
	tree = fake_tree(i, 50, &size);
	err = snap_writer_state(sw, tree, size, &e);
	heap_free(tree);
	if (!err)
		err = overlay_freeze(w->d, w->s, &sd.overlay, &e);
	if (!err)
		err = snap_writer_disk(sw, &sd, &e);
	if (err) {
		assert_true(err == ERR_NOSPACE || err == ERR_RANGE);
		snap_writer_abort(sw);
		make_room(w);
		return;
	}
	memcpy(w->snap[i].is, w->now, sizeof(w->now));
	w->snap[i].used = true;
	OKAY(snap_writer_commit(sw, NULL, &e));
}

static void step_restore(struct walk *w)
{
	struct errmsg e = {.text = ""};
	unsigned i = below(w, SNAPS);
	struct snap_disk sd;
	struct snap *sn;
	int err;

	if (!w->snap[i].used)
		return;
	OKAY(snap_open(w->s, w->snap[i].name, &sn, &e));
	OKAY(snap_disk(sn, 0, &sd, &e));
	snap_close(sn);
	err = overlay_restore(w->d, w->s, sd.overlay, &e);
	if (err == ERR_NOSPACE) {
		make_room(w);
		return;
	}
	OKAY(err);
	for (uint32_t k = 0; k < SECTORS; k++)
		set(w, k, w->snap[i].is[k]);
	w->merging = false;
	w->restores++;
}

static void step_merge(struct walk *w)
{
	struct errmsg e = {.text = ""};
	unsigned depth = overlay_depth(w->d);
	int err = overlay_flatten_step(w->d, w->s, &w->merging, &e);

	if (err == ERR_NOSPACE) {
		make_room(w);
		return;
	}
	if (err != ERR_EXIST)
		OKAY(err);
	w->taken_in += depth == 2 && overlay_depth(w->d) == 1;
	w->merges += overlay_depth(w->d) < depth;
}

static void step_commit(struct walk *w)
{
	struct errmsg e = {.text = ""};

	OKAY(store_commit(w->s, &e));
}

static void step_reopen(struct walk *w)
{
	struct errmsg e = {.text = ""};

	OKAY(store_commit(w->s, &e));
	overlay_close(w->d);
	store_close(w->s);
	open_disk(w);
}

static void (*const steps[])(struct walk *w) = {step_write, step_write, step_write, step_write,
    step_write, step_write, step_zero, step_flush, step_flush, step_commit, step_snapshot,
    step_snapshot, step_restore, step_merge, step_merge, step_merge, step_reopen};

static void one_step(struct walk *w)
{
	size_t from = w->m.nops;
	unsigned i = below(w, below(w, 2) ? 10 : ARRAY_LEN(steps));
	struct errmsg e = {.text = ""};
	struct store_check_result r;

	if (history_full(w))
		i = 7;
	steps[i](w);
	try_cuts(w, from);
	if (steps[i] == step_flush) {
		settle(w);
		make_cut(w, w->m.nops);
		after_cut(w, false);
	}
	if (below(w, 8) == 0) {
		OKAY(store_commit(w->s, &e));
		OKAY(store_check(w->s, &r, NULL, NULL, &e));
		expect_exactly(w->d, w->s, w->now);
	}
	if (below(w, 40) == 0)
		cut_and_resume(w);
}

static void walk(uint64_t seed, unsigned total[4])
{
	static struct walk w;
	struct vdisk v = {.name = "walk", .size = (uint64_t)SECTORS * SECTOR};
	struct errmsg e = {.text = ""};

	w = (struct walk){.seed = seed};
	mem_disk_init(&w.m, BLOCKS, true);
	mem_disk_init(&w.cut, BLOCKS, false);
	w.durable = malloc((size_t)BLOCKS * STORE_BLOCK);
	OKAY(store_format(&w.m.io, (const uint8_t *)"a walk over disk", &e));
	OKAY(store_open(&w.m.io, true, &w.s, &e));
	OKAY(vdisk_create(w.s, &v, &e));
	OKAY(overlay_open(w.s, "walk", &base, 16, &w.d, &e));
	memcpy(w.durable, w.m.data, (size_t)BLOCKS * STORE_BLOCK);
	settle(&w);
	w.m.record = true;
	for (unsigned i = 0; i < STEPS; i++)
		one_step(&w);
	print_message("seed %llu: %u cuts (%u sectors found older), %u resumed, %u times full, %u "
		      "merges, %u returns\n",
	    (unsigned long long)seed, w.cuts, w.old_found, w.resumed, w.full, w.merges, w.restores);
	assert_true(w.resumed > 3 && w.old_found > 100);
	total[0] += w.merges;
	total[1] += w.restores;
	total[2] += w.full;
	total[3] += w.taken_in;
	overlay_close(w.d);
	store_close(w.s);
	mem_disk_free(&w.m);
	mem_disk_free(&w.cut);
	free(w.durable);
	assert_int_equal(fake_heap_outstanding(), 0);
}

static void test_walk(void **state)
{
	const char *from = getenv("SEED");
	unsigned total[4] = {0};
	uint64_t seed = from ? strtoull(from, NULL, 10) : 1;

	for (unsigned i = 0; i < 4; i++)
		walk(seed + i, total);
	assert_true(total[0] > 10 && total[1] > 10 && total[2] > 10 && total[3] > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
