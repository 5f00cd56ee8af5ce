/* SPDX-License-Identifier: BSD-2-Clause */
/* What is done to an open disk as a whole: freezing, restoring, merging layers, resizing. */
#include "hv/snapshot/overlay_int.h"

#include <string.h>

#include "hv/lib/crc32c.h"
#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"

/* --- freezing and restoring ---------------------------------------------------------- */

int overlay_freeze(struct overlay *d, struct store *s, uint64_t *frozen, struct errmsg *e)
{
	uint64_t top = d->v.top;
	int err = overlay_usable(d, e);

	if (err)
		return overlay_error(d, err, e);
	err = vdisk_freeze(s, &d->v, frozen, e);
	if (err || d->v.top == top)
		return err;
	/* the table says where things are, and they stay there */
	if (d->merged == top)
		d->merged = 0; /* it does not change any more; what it has taken in is no harm */
	memmove(d->layer + 1, d->layer, d->nlayers * sizeof(d->layer[0]));
	d->nlayers++;
	d->layer[0] = (struct layer){.id = d->v.top, .gap_lo = 0, .gap_hi = DISK_CHUNKS_MAX};
	overlay_dirty(d, s);
	return OK;
}

void overlay_flatten_abort(struct overlay *d, struct store *s)
{
	if (d->merged && d->merged != d->layer[0].id)
		(void)store_object_delete(s, d->merged, NULL); /* else at the next opening */
	d->merged = 0;
}

int overlay_set_content(
    struct overlay *d, struct store *s, uint64_t frozen, uint64_t *orphan, struct errmsg *e)
{
	int err = vdisk_set_content(s, &d->v, frozen, orphan, e);

	if (err)
		return err;
	d->lost = false; /* whatever was lost is not wanted any more */
	overlay_dirty(d, s);
	return overlay_error(d, layers_load(d, s, e), e);
}

int overlay_restore(struct overlay *d, struct store *s, uint64_t frozen, struct errmsg *e)
{
	uint64_t orphan;
	int err;

	overlay_flatten_abort(d, s);
	err = overlay_set_content(d, s, frozen, &orphan, e);
	if (!err)
		err = overlay_error(d, store_commit(s, e), e);
	/* Room that cannot be regained now is at the next opening. */
	if (!err && orphan)
		(void)store_object_delete(s, orphan, NULL);
	return err;
}

/* --- merging ------------------------------------------------------------------------- */

/* Merging gives room back in the end: it may use what is kept for deleting. */
enum { MERGE_CHUNKS = 8 }; /* in one step */

/* The layer with this number, or nlayers. */
static unsigned layer_index(const struct overlay *d, uint64_t id)
{
	unsigned n = 0;

	while (n < d->nlayers && d->layer[n].id != id)
		n++;
	return n;
}

/* Whether the one layer below the top is there for the top alone. */
static int below_is_mine(struct overlay *d, struct store *s, bool *mine, struct errmsg *e)
{
	struct store_object_info o;
	int err = disk_object_get(s, d->layer[1].id, &o, e);

	*mine = !err && o.links == 1;
	return err;
}

/*
 * How large the layer has to be that takes in those from layer 'first' on: they may hold something
 * behind the disk's end, if that was once further out.
 */
static int merged_size(
    struct overlay *d, struct store *s, unsigned first, uint64_t *size, struct errmsg *e)
{
	struct store_object_info o;
	int err = OK;

	*size = d->v.size;
	for (unsigned i = first; !err && i < d->nlayers; i++) {
		err = disk_object_get(s, d->layer[i].id, &o, e);
		if (!err)
			*size = MAX(*size, o.size);
	}
	return err;
}

/* The top takes in the layer below it. */
static int merge_into_top(struct overlay *d, struct store *s, uint64_t size, struct errmsg *e)
{
	struct store_object_info o;
	int err = disk_object_get(s, d->layer[0].id, &o, e);

	if (err)
		return err;
	d->merged = d->layer[0].id;
	o.size = MAX(o.size, ALIGN_UP(size, (uint64_t)STORE_BLOCK));
	return object_put(s, d->merged, &o, e);
}

/*
 * Several layers below the top become one. A single one that no snapshot needs goes into the top:
 * what it holds and the top hides is given back.
 */
static int merge_begin(struct overlay *d, struct store *s, bool *done, struct errmsg *e)
{
	bool mine = false;
	uint64_t size = 0;
	int err = d->nlayers == 2 ? below_is_mine(d, s, &mine, e) : OK;

	*done = !err && d->nlayers <= 2 && !mine;
	if (err || *done)
		return err;
	err = merged_size(d, s, 1, &size, e);
	if (!err)
		err = disk_make_room(s, 0, 2, e);
	if (!err && mine)
		err = merge_into_top(d, s, size, e);
	else if (!err)
		err = disk_object_create_below(s, d->layer[0].id, size, &d->merged, e);
	if (err) {
		d->merged = 0;
		return err;
	}
	d->merge_from = d->layer[1].id;
	d->merge_next = 0;
	return OK;
}

/* A block that has as many references as can be counted is copied instead. */
static int share_block(
    struct overlay *d, struct store *s, uint64_t *block, uint32_t crc, struct errmsg *e)
{
	struct store_extent x = {.stored_len = STORE_BLOCK};
	int err = map_ref(s, *block, 1, e);

	if (err != ERR_FULL)
		return err;
	err = store_read_blocks(s, *block, d->bounce, 1, e);
	if (!err && crc32c(0, d->bounce, STORE_BLOCK) != crc)
		err = err_set(
		    e, ERR_CORRUPT, "block %llu: checksum wrong", (unsigned long long)*block);
	if (!err)
		err = store_extent_alloc(s, &x, e);
	if (err)
		return err;
	*block = x.runs[0].block;
	err = store_write_blocks(s, *block, d->bounce, 1, e);
	if (err)
		store_extent_unalloc(s, &x);
	return err;
}

static int merge_chunk(
    struct overlay *d, struct store *s, unsigned first, uint64_t chunk, struct errmsg *e)
{
	struct disk_chunk own, c;
	uint16_t held = 0;
	int err = disk_chunk_get(s, d->merged, chunk, &own, e); /* the top has some already */

	if (!err)
		err = layers_resolve(d, s, first, chunk, &c, e);
	if (!err)
		err = disk_make_room(s, 0, 1, e);
	if (err)
		return err;
	/* nothing will lie below a new layer but the base: behind that, zeros need no saying */
	for (unsigned i = 0; first && i < STORE_CHUNK_BLOCKS; i++)
		if ((chunk * STORE_CHUNK_BLOCKS + i) * STORE_BLOCK >= d->base.size)
			c.zero &= (uint16_t) ~(1u << i);
	for (unsigned i = 0; !err && i < STORE_CHUNK_BLOCKS; i++) {
		if (!((c.data & ~own.data) >> i & 1))
			continue;
		err = share_block(d, s, &c.block[i], c.crc[i], e);
		held |= err ? 0 : (uint16_t)(1u << i);
	}
	if (!err)
		err = disk_chunk_set(s, d->merged, chunk, &c, e);
	for (unsigned i = 0; err && i < STORE_CHUNK_BLOCKS; i++)
		if ((held >> i & 1) && map_unref(s, c.block[i], 1, NULL))
			s->dead = true;
	return err;
}

/* The layer below the top has gone into it. */
static int merge_drop(struct overlay *d, struct store *s, struct errmsg *e)
{
	uint64_t old = d->merge_from;
	struct store_object_info o;
	bool orphan = false;
	int err = disk_make_room(s, 0, 1, e);

	if (!err)
		err = disk_object_get(s, d->merged, &o, e);
	if (err)
		return err;
	o.parent = 0;
	err = object_put(s, d->merged, &o, e);
	if (!err)
		err = store_object_unlink(s, old, &orphan, e);
	if (!err)
		err = store_commit(s, e);
	if (err) {
		s->dead = true;
		return err;
	}
	d->merged = 0;
	d->nlayers = 1;
	d->layer[0].gap_lo = d->layer[0].gap_hi = 0;
	layers_forget(d); /* what says 'zeros' may be the base's now, and copies have moved */
	if (orphan)
		(void)store_object_delete(s, old, NULL); /* else at the next opening */
	return OK;
}

/* The merged layer takes the place of those that it stands for, below the layer at child. */
static int merge_switch(struct overlay *d, struct store *s, unsigned child, struct errmsg *e)
{
	uint64_t id = d->layer[child].id, old = d->merge_from;
	struct store_object_info o;
	bool orphan = false;
	int err = disk_make_room(s, 0, 2, e);

	if (!err)
		err = disk_object_get(s, d->merged, &o, e);
	if (err)
		return err;
	o.flags |= OBJ_COMPLETE;
	err = object_put(s, d->merged, &o, e);
	if (!err)
		err = store_object_link(s, d->merged, e);
	if (!err)
		err = disk_object_get(s, id, &o, e);
	o.parent = d->merged;
	if (!err)
		err = object_put(s, id, &o, e);
	if (!err)
		err = store_object_unlink(s, old, &orphan, e);
	if (!err)
		err = store_commit(s, e);
	if (err) {
		s->dead = true;
		return err;
	}
	d->layer[child + 1] = (struct layer){.id = d->merged};
	d->nlayers = child + 2;
	d->merged = 0;
	if (orphan)
		(void)store_object_delete(s, old, NULL); /* else at the next opening */
	return OK;
}

int overlay_flatten_step(struct overlay *d, struct store *s, bool *done, struct errmsg *e)
{
	bool into_top;
	unsigned from;
	int err = overlay_usable(d, e);

	*done = false;
	if (!err && !d->merged) {
		err = merge_begin(d, s, done, e);
		if (err || *done)
			return overlay_error(d, err, e);
	}
	into_top = d->merged == d->layer[0].id;
	from = layer_index(d, d->merge_from);
	for (unsigned i = 0; !err && i < MERGE_CHUNKS; i++) {
		err = layers_next(d, s, from, &d->merge_next, e);
		if (!err)
			err = merge_chunk(d, s, into_top ? 0 : from, d->merge_next++, e);
		if (!err)
			err = store_breathe(s, e);
	}
	if (err == ERR_NOENT) {
		err = into_top ? merge_drop(d, s, e) : merge_switch(d, s, from - 1, e);
		*done = err == OK;
	}
	if (into_top && !err)
		overlay_dirty(d, s);
	if (err)
		overlay_flatten_abort(d, s);
	return overlay_error(d, err, e);
}

/* --- resizing ------------------------------------------------------------------------ */

/* Whether the layers hold something of the bytes from size on. */
static int holds_behind(
    struct overlay *d, struct store *s, uint64_t size, bool *holds, struct errmsg *e)
{
	uint64_t chunk = size / STORE_CHUNK;
	struct disk_chunk c;
	int err;

	*holds = false;
	while ((err = layers_next(d, s, 0, &chunk, e)) == OK) {
		err = layers_resolve(d, s, 0, chunk, &c, e);
		if (err)
			return err;
		for (unsigned i = 0; i < STORE_CHUNK_BLOCKS; i++)
			if ((c.data >> i & 1) &&
			    (chunk * STORE_CHUNK_BLOCKS + i) * STORE_BLOCK >= size) {
				*holds = true;
				return OK;
			}
		chunk++;
	}
	return err == ERR_NOENT ? OK : err;
}

/* What lies behind the new end is zeros from now on, should the disk grow again. */
static int cut_off(struct overlay *d, struct store *s, uint64_t size, struct errmsg *e)
{
	for (uint64_t at = size, done; at < d->v.size; at += done) {
		int err = overlay_zero(d, s, at, d->v.size - at, &done, e);

		if (err)
			return err;
	}
	return OK;
}

int overlay_resize(struct overlay *d, struct store *s, uint64_t size, bool force, struct errmsg *e)
{
	struct vdisk v = d->v;
	struct store_object_info o;
	bool holds = false;
	int err = overlay_usable(d, e);

	if (!err && (size == 0 || size % 512 || size > DISK_CHUNKS_MAX * STORE_CHUNK))
		err = err_set(e, ERR_INVAL, "impossible size");
	if (!err && size < v.size)
		err = holds_behind(d, s, size, &holds, e);
	if (!err && holds && !force)
		err = err_set(e, ERR_STATE, "holds data behind %llu", (unsigned long long)size);
	if (err)
		return overlay_error(d, err, e);
	if (size < v.size) {
		err = cut_off(d, s, size, e);
		if (err)
			return err;
	}
	v.size = size;
	err = disk_object_get(s, v.top, &o, e);
	o.size = MAX(o.size, ALIGN_UP(size, (uint64_t)STORE_BLOCK));
	if (!err)
		err = store_object_set(s, v.top, &o, e);
	if (!err)
		err = vdisk_put(s, &v, e);
	if (!err)
		err = store_commit(s, e);
	if (err)
		return overlay_error(d, err, e);
	d->v = v;
	return OK;
}

/* --- everything in it ---------------------------------------------------------------- */

/* The blocks of a chunk that the layers hold, piece by piece. */
static int each_in_chunk(struct overlay *d, struct store *s, uint64_t chunk, uint8_t *buf,
    int (*fn)(void *ctx, uint64_t off, const void *data, uint32_t len, struct errmsg *e), void *ctx,
    struct errmsg *e)
{
	struct disk_chunk c;
	uint16_t mask;
	int err = layers_resolve(d, s, 0, chunk, &c, e);

	mask = c.data | c.zero;
	for (unsigned i = 0, n; !err && i < STORE_CHUNK_BLOCKS; i += n) {
		uint64_t block = chunk * STORE_CHUNK_BLOCKS + i, off = block * STORE_BLOCK;

		n = 1;
		if (!(mask >> i & 1) || off >= d->v.size)
			continue;
		while (i + n < STORE_CHUNK_BLOCKS && (mask >> (i + n) & 1))
			n++;
		err = overlay_read_blocks(d, s, block, n, buf, e);
		if (!err)
			err = fn(ctx, off, buf,
			    (uint32_t)MIN((uint64_t)n * STORE_BLOCK, d->v.size - off), e);
	}
	return err;
}

int overlay_each(struct overlay *d, struct store *s, uint64_t *cursor, bool *done,
    int (*fn)(void *ctx, uint64_t off, const void *data, uint32_t len, struct errmsg *e), void *ctx,
    struct errmsg *e)
{
	uint8_t *buf = heap_alloc(STORE_CHUNK);
	int err = buf ? overlay_usable(d, e) : err_set(e, ERR_NOMEM, "out of memory");

	for (unsigned i = 0; !err && i < MERGE_CHUNKS; i++) {
		err = layers_next(d, s, 0, cursor, e);
		if (!err)
			err = each_in_chunk(d, s, (*cursor)++, buf, fn, ctx, e);
	}
	heap_free(buf);
	*done = err == ERR_NOENT;
	return overlay_error(d, *done ? OK : err, e);
}

int overlay_set_base_epoch(struct overlay *d, struct store *s, uint64_t epoch, struct errmsg *e)
{
	struct vdisk v = d->v;
	int err;

	v.base.epoch = epoch;
	err = vdisk_put(s, &v, e);
	if (!err)
		d->v = v;
	return overlay_error(d, err, e);
}
