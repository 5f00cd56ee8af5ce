/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Copies a snapshot from store to store, extent by extent as stored; what it took from parents
 * becomes its own, and its disks come with it. An exported snapshot is a store of its own in a
 * file: there is no second format. Within one store, the same makes a snapshot's RAM independent
 * of its parents'.
 */
#include <string.h>

#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/disk_copy.h"
#include "hv/snapshot/disk_object.h"
#include "hv/snapshot/snap_int.h"

enum {
	/* of a disk's chunk: its record is longer than that of an extent */
	PIECES_OF_CHUNK = 3,
	/* beside its content a disk takes records and an empty top, and room to be sure of both */
	DISK_BLOCKS = 128,
};

/* A disk of the snapshot that comes with it. */
struct copied_disk {
	uint64_t layer; /* in the other store; 0: not there */
	struct vdisk v;
};

struct copy {
	struct snap *from;
	struct store *to;
	struct snap_info info; /* of the new one */
	struct stream_writer state, ram;
	const struct snap_bases *bases;
	struct copied_disk *disks; /* info.ndisks */
	bool (*progress)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
	uint64_t before, now, total; /* bytes */
};

/* What a copy takes, and what there is to look at for it. */
struct copy_size {
	uint64_t bytes, pieces, work;
};

static bool copy_progress(void *ctx, uint64_t done)
{
	struct copy *c = ctx;

	c->now = c->before + done;
	return !c->progress || c->progress(c->ctx, c->now, c->total);
}

static int copy_object(
    struct copy *c, struct stream_reader *from, struct stream_writer *w, struct errmsg *e)
{
	int err = stream_begin(w, c->to, from->info.kind, 0, e);

	w->info.content_crc = from->info.content_crc;
	return err ? err : stream_flatten(from, w, copy_progress, c, e);
}

static uint64_t raw_bytes(const struct stream_reader *r)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < r->nlevels; i++)
		sum += r->level[i].info.raw;
	return sum;
}

/* --- disks --------------------------------------------------------------------------- */

static bool same_base(const struct vdisk_base *a, const struct vdisk_base *b)
{
	if (a->kind != b->kind || a->kind == VDISK_BASE_NONE)
		return a->kind == b->kind;
	return a->size == b->size && a->crc == b->crc && a->epoch == b->epoch &&
	       memcmp(a->guid, b->guid, sizeof(a->guid)) == 0;
}

/* A disk of that name that is there is one that the layer may be put under: then it stays. */
static int check_there(struct store *to, const struct vdisk *v, bool *there, struct errmsg *e)
{
	struct vdisk have;
	int err = vdisk_get(to, v->name, &have, e);

	*there = !err;
	if (err)
		return err == ERR_NOENT ? OK : err;
	if (!same_base(&have.base, &v->base))
		return err_set(
		    e, ERR_EXIST, "disk '%s': exists already, with another base", v->name);
	if (have.size < v->size)
		return err_set(e, ERR_EXIST,
		    "disk '%s': exists already, with %llu bytes instead of %llu", v->name,
		    (unsigned long long)have.size, (unsigned long long)v->size);
	return OK;
}

/* Adds what the snapshot's disk i takes. to: NULL, or the store that is to take it. */
static int measure_disk(struct snap *from, unsigned i, const struct snap_bases *bases,
    struct store *to, struct copy_size *sum, struct errmsg *e)
{
	struct disk_copy_size size = {.blocks = 0};
	struct disk_copy dc;
	struct snap_disk d;
	bool there;
	int err = snap_disk(from, i, &d, e);

	if (err || !d.overlay)
		return err;
	err = disk_copy_open(&dc, from->store, &d, bases, e);
	if (!err && to)
		err = check_there(to, &dc.v, &there, e);
	if (!err)
		err = disk_copy_measure(&dc, &size, e);
	disk_copy_close(&dc);
	sum->bytes += (size.blocks + DISK_BLOCKS) * STORE_BLOCK;
	sum->pieces += size.chunks * PIECES_OF_CHUNK;
	sum->work += size.bytes;
	return err;
}

/* The indexes are whole, and what they hold takes so much. */
static int measure(struct snap *from, const struct snap_bases *bases, struct store *to,
    struct copy_size *sum, struct errmsg *e)
{
	uint64_t bytes, pieces;
	int err = stream_flat_size(&from->state, &sum->bytes, &sum->pieces, e);

	sum->work = raw_bytes(&from->state) + raw_bytes(&from->ram);
	if (!err)
		err = stream_flat_size(&from->ram, &bytes, &pieces, e);
	if (err)
		return err;
	sum->bytes += bytes;
	sum->pieces += pieces;
	for (unsigned i = 0; !err && i < from->info.ndisks; i++)
		err = measure_disk(from, i, bases, to, sum, e);
	return err;
}

int snap_copy_size(struct snap *from, const struct snap_bases *bases, uint64_t *bytes,
    uint64_t *pieces, struct errmsg *e)
{
	struct copy_size sum;
	int err = measure(from, bases, NULL, &sum, e);

	*bytes = sum.bytes;
	*pieces = sum.pieces;
	return err ? err_prefix(e, err, "snapshot '%s'", from->info.name) : OK;
}

/* The content of the record's disk becomes a layer of the other store, and the record names it. */
static int copy_layer(struct copy *c, struct copied_disk *to, struct snap_disk *d, struct errmsg *e)
{
	struct disk_copy dc;
	int err = disk_copy_open(&dc, c->from->store, d, c->bases, e);

	if (!err)
		err = disk_copy_layer(&dc, c->to, &to->layer, copy_progress, c, e);
	c->before = c->now;
	to->v = dc.v;
	disk_copy_close(&dc);
	d->overlay = to->layer;
	d->epoch = to->v.base.epoch;
	memcpy(d->guid, to->v.base.guid, sizeof(d->guid));
	return err;
}

static int copy_disk(struct copy *c, unsigned i, struct errmsg *e)
{
	struct snap_disk d;
	int err = snap_disk(c->from, i, &d, e);

	if (!err && d.overlay)
		err = copy_layer(c, &c->disks[i], &d, e);
	if (err)
		return err;
	err = disk_record_add(c->to, c->state.object, i, &d, e);
	if (err && d.overlay)
		(void)store_object_delete(c->to, d.overlay, NULL); /* else at the next opening */
	return err;
}

/* The disks that the other store has not, in the running transaction. */
static int make_disks(struct copy *c, bool *changed, struct errmsg *e)
{
	unsigned n = c->info.ndisks;
	int err = n ? disk_make_room(c->to, n, 3 * n, e) : OK; /* which may commit */

	for (unsigned i = 0; !err && i < n; i++) {
		struct copied_disk *d = &c->disks[i];
		bool there = true;

		if (d->layer)
			err = check_there(c->to, &d->v, &there, e);
		if (err || there)
			continue;
		*changed = true;
		err = vdisk_add_over(c->to, &d->v, d->layer, e);
	}
	return err;
}

/* --- the whole ----------------------------------------------------------------------- */

/* The state is a tree with the right checksum: it goes as it is stored, and must not be refused
 * only where it comes to. */
static int check_state(struct snap *from, struct errmsg *e)
{
	size_t size;
	void *fdt;
	int err = snap_state(from, &fdt, &size, e);

	if (!err)
		heap_free(fdt);
	stream_rewind(&from->state);
	return err;
}

/* The target has room for it. */
static int check_room(struct copy *c, struct errmsg *e)
{
	struct copy_size sum;
	int err = measure(c->from, c->bases, c->to, &sum, e);

	c->total = sum.work;
	return err ? err : store_can_hold_pieces(c->to, sum.bytes, sum.pieces, true, e);
}

/* The snapshot and the disks that it brings appear in one commit. */
static int publish(struct copy *c, bool replace, struct errmsg *e)
{
	bool changed = false;
	int err = make_disks(c, &changed, e);

	c->info.state_object = c->state.object;
	snap_set_ram(&c->info, &c->ram);
	if (!err)
		err = catalog_publish(c->to, &c->info, replace, NULL, e);
	if (err && changed)
		store_give_up(c->to); /* nobody may commit disks without their snapshot */
	return err;
}

static int copy_all(struct copy *c, bool replace, struct errmsg *e)
{
	int err = check_room(c, e);

	if (!err)
		err = copy_object(c, &c->from->state, &c->state, e);
	if (!err)
		err = working_set_copy(c->from, c->to, c->state.object, e);
	c->before = raw_bytes(&c->from->state);
	if (!err)
		err = copy_object(c, &c->from->ram, &c->ram, e);
	c->now = c->before += raw_bytes(&c->from->ram);
	for (unsigned i = 0; !err && i < c->info.ndisks; i++)
		err = copy_disk(c, i, e);
	return err ? err : publish(c, replace, e);
}

int snap_copy(
    struct snap *from, struct store *to, const struct snap_copy_params *p, struct errmsg *e)
{
	struct copy c = {.from = from,
	    .to = to,
	    .info = from->info,
	    .bases = p->bases,
	    .progress = p->progress,
	    .ctx = p->ctx};
	struct store_key key;
	struct snap_info old;
	int err = snap_name_check(p->name, e);

	if (err)
		return err;
	str_copy(c.info.name, sizeof(c.info.name), p->name);
	err = catalog_find(to, p->name, &key, &old, e);
	if (!err && !p->replace)
		return err_set(e, ERR_EXIST, "snapshot '%s' exists already", p->name);
	if (err == ERR_NOENT || !err)
		err = check_state(from, e);
	if (err)
		return err;
	c.disks = heap_zalloc(MAX(c.info.ndisks, 1U) * sizeof(*c.disks));
	err = c.disks ? copy_all(&c, p->replace, e) : err_set(e, ERR_NOMEM, "out of memory");
	heap_free(c.disks);
	if (err) {
		stream_abort(&c.state);
		stream_abort(&c.ram);
		return err_prefix(e, err, "snapshot '%s'", from->info.name);
	}
	stream_end(&c.state);
	stream_end(&c.ram);
	return OK;
}

/* The chain of c->from into c->ram, an object of its own in the same store. */
static int flatten(struct copy *c, struct errmsg *e)
{
	struct stream_reader *from = &c->from->ram;
	int err = stream_begin(&c->ram, c->to, KIND_RAM, 0, e);

	c->total = raw_bytes(from);
	if (!err)
		err = stream_flatten(from, &c->ram, copy_progress, c, e);
	if (!err)
		snap_set_ram(&c->info, &c->ram);
	return err;
}

/* That the snapshot is there and nobody reads it. */
static int check_idle(struct store *s, const char *name, struct errmsg *e)
{
	struct snap_info info;
	struct store_key key;
	int err = store_may_change(s, false, e);

	if (err)
		return err;
	err = catalog_find(s, name, &key, &info, e);
	if (err == ERR_NOENT)
		return err_set(e, err, "snapshot '%s': not found", name);
	if (!err && catalog_is_open(s, info.state_object))
		return err_set(e, ERR_BUSY, "snapshot '%s' is in use", name);
	return err;
}

int snap_flatten(struct store *s, const char *name,
    bool (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx, struct errmsg *e)
{
	struct copy c = {.to = s, .progress = progress, .ctx = ctx};
	uint64_t old;
	int err = check_idle(s, name, e);

	if (!err)
		err = snap_open(s, name, &c.from, e);
	if (err)
		return err;
	c.info = c.from->info;
	old = c.info.ram_object;
	if (c.info.levels == 1) {
		snap_close(c.from);
		return OK;
	}
	err = flatten(&c, e);
	snap_close(c.from);
	if (!err)
		err = catalog_change_ram(s, &c.info, old, e);
	if (err)
		stream_abort(&c.ram);
	else
		stream_end(&c.ram);
	return err ? err_prefix(e, err, "snapshot '%s'", name) : OK;
}
