/* SPDX-License-Identifier: BSD-2-Clause */
/* A snapshot's disk into one layer of another store, chunk by chunk. */
#include "hv/snapshot/disk_copy.h"

#include <string.h>

#include "hv/lib/crc32c.h"
#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/compress.h"
#include "hv/snapshot/overlay_int.h"

/* --- opening ------------------------------------------------------------------------- */

/* The record's layer is one that never changes. */
static int load_chain(struct disk_copy *c, const struct snap_disk *d, struct errmsg *e)
{
	struct store_object_info o;
	int err = disk_object_get(c->from, d->overlay, &o, e);

	if (!err && !(o.flags & OBJ_COMPLETE))
		err = err_set(
		    e, ERR_CORRUPT, "object %llu: not frozen", (unsigned long long)d->overlay);
	if (err)
		return err;
	c->chain = heap_zalloc(sizeof(*c->chain));
	c->buf = heap_alloc(STORE_CHUNK);
	if (!c->chain || !c->buf)
		return err_set(e, ERR_NOMEM, "out of memory");
	c->chain->v.top = d->overlay;
	return layers_load(c->chain, c->from, e);
}

int disk_copy_open(struct disk_copy *c, struct store *from, const struct snap_disk *d,
    const struct snap_bases *bases, struct errmsg *e)
{
	int err;

	*c = (struct disk_copy){.from = from};
	err = vdisk_get(from, d->name, &c->v, e);
	if (err == ERR_NOENT)
		return err_set(e, err,
		    "disk '%s': not there any more: what lies below its layers is not known",
		    d->name);
	if (err)
		return err;
	if (memcmp(c->v.base.guid, d->guid, sizeof(d->guid)) != 0 || c->v.base.epoch != d->epoch)
		return err_set(e, ERR_STATE, "disk '%s': has another base now", d->name);
	if (c->v.base.kind == VDISK_BASE_NONE)
		c->v.base = (struct vdisk_base){.kind = VDISK_BASE_NONE};
	err = load_chain(c, d, e);
	if (!err && bases && c->v.base.kind != VDISK_BASE_NONE) {
		err = bases->open(bases->ctx, &c->v, &c->base, e);
		c->v.base = (struct vdisk_base){.kind = VDISK_BASE_NONE};
	}
	c->base.size = MIN(c->base.size, c->v.size);
	return err ? err_prefix(e, err, "disk '%s'", d->name) : OK;
}

void disk_copy_close(struct disk_copy *c)
{
	heap_free(c->chain);
	heap_free(c->buf);
	c->chain = NULL;
	c->buf = NULL;
}

/* --- what the disk shows ------------------------------------------------------------- */

/* The next chunk at or behind *chunk of which there may be something to store. ERR_NOENT. */
static int next_chunk(struct disk_copy *c, uint64_t *chunk, struct errmsg *e)
{
	int err = OK;

	if (*chunk * STORE_CHUNK >= c->base.size)
		err = layers_next(c->chain, c->from, 0, chunk, e);
	if (!err && *chunk * STORE_CHUNK >= c->v.size)
		err = ERR_NOENT; /* nobody sees what lies behind the end */
	return err;
}

/* Bits of the chunk's blocks that begin before the byte 'end' of the disk. */
static uint16_t before(uint64_t chunk, uint64_t end)
{
	uint64_t at = chunk * STORE_CHUNK;

	if (end <= at)
		return 0;
	if (end - at >= STORE_CHUNK)
		return 0xffff;
	return (uint16_t)((1u << ((end - at + STORE_BLOCK - 1) / STORE_BLOCK)) - 1);
}

/* What the layers hold of the chunk, inside the disk. */
static int resolve(struct disk_copy *c, uint64_t chunk, struct disk_chunk *out, struct errmsg *e)
{
	uint16_t inside = before(chunk, c->v.size);
	int err = layers_resolve(c->chain, c->from, 0, chunk, out, e);

	out->data &= inside;
	out->zero &= inside;
	return err;
}

/* The blocks that layers hold, into c->buf, those in a row with one request. */
static int read_layers(struct disk_copy *c, const struct disk_chunk *x, struct errmsg *e)
{
	for (unsigned i = 0, n; i < STORE_CHUNK_BLOCKS; i += n) {
		int err;

		n = 1;
		if (!(x->data >> i & 1))
			continue;
		while (i + n < STORE_CHUNK_BLOCKS && (x->data >> (i + n) & 1) &&
		       x->block[i + n] == x->block[i] + n)
			n++;
		err = store_read_blocks(c->from, x->block[i], c->buf + i * STORE_BLOCK, n, e);
		for (unsigned k = i; !err && k < i + n; k++)
			if (crc32c(0, c->buf + k * STORE_BLOCK, STORE_BLOCK) != x->crc[k])
				err = err_set(e, ERR_CORRUPT, "block %llu: checksum wrong",
				    (unsigned long long)x->block[k]);
		if (err)
			return err;
	}
	return OK;
}

/* The blocks that only the base holds, into c->buf; behind its end they are zeros. */
static int read_base(struct disk_copy *c, uint64_t chunk, struct disk_chunk *x, struct errmsg *e)
{
	uint16_t mask = before(chunk, c->base.size) & (uint16_t) ~(x->data | x->zero);

	for (unsigned i = 0, n; i < STORE_CHUNK_BLOCKS; i += n) {
		uint64_t off = chunk * STORE_CHUNK + i * STORE_BLOCK;
		uint8_t *p = c->buf + i * STORE_BLOCK;
		uint32_t len;
		int err;

		n = 1;
		if (!(mask >> i & 1))
			continue;
		while (i + n < STORE_CHUNK_BLOCKS && (mask >> (i + n) & 1))
			n++;
		len = (uint32_t)MIN(c->base.size - off, (uint64_t)n * STORE_BLOCK);
		memset(p + len, 0, n * STORE_BLOCK - len);
		err = c->base.read(c->base.ctx, off, p, len);
		if (err)
			return err_set(e, err, "base: offset %llu: %s", (unsigned long long)off,
			    error_text(err));
		for (unsigned k = i; k < i + n; k++)
			x->crc[k] = crc32c(0, c->buf + k * STORE_BLOCK, STORE_BLOCK);
	}
	x->data |= mask;
	return OK;
}

/* All that is to be stored of the chunk; the blocks' content is in c->buf. */
static int content(struct disk_copy *c, uint64_t chunk, struct disk_chunk *out, struct errmsg *e)
{
	int err = resolve(c, chunk, out, e);

	if (!err)
		err = read_layers(c, out, e);
	if (!err && c->base.size)
		err = read_base(c, chunk, out, e);
	for (unsigned i = 0; !err && i < STORE_CHUNK_BLOCKS; i++) {
		uint16_t bit = (uint16_t)(1u << i);

		if (!(out->data & bit) || !all_zero(c->buf + i * STORE_BLOCK, STORE_BLOCK))
			continue;
		out->data &= (uint16_t)~bit;
		out->zero |= bit;
	}
	/* with nothing below, zeros need no saying */
	out->zero &= before(chunk, c->v.base.size);
	return err;
}

int disk_copy_measure(struct disk_copy *c, struct disk_copy_size *out, struct errmsg *e)
{
	struct disk_chunk x;
	uint64_t chunk = 0;
	int err;

	*out = (struct disk_copy_size){.blocks = 0};
	while ((err = next_chunk(c, &chunk, e)) == OK) {
		err = c->base.size ? content(c, chunk, &x, e) : resolve(c, chunk, &x, e);
		if (err)
			break;
		for (unsigned i = 0; i < STORE_CHUNK_BLOCKS; i++)
			out->blocks += x.data >> i & 1;
		out->chunks += (x.data | x.zero) != 0;
		out->bytes += STORE_CHUNK;
		chunk++;
	}
	return err == ERR_NOENT ? OK : err_prefix(e, err, "disk '%s'", c->v.name);
}

/* --- the new layer ------------------------------------------------------------------- */

static unsigned pack(uint8_t *buf, struct disk_chunk *x)
{
	unsigned n = 0;

	for (unsigned i = 0; i < STORE_CHUNK_BLOCKS; i++) {
		if (!(x->data >> i & 1))
			continue;
		if (i != n)
			memcpy(buf + n * STORE_BLOCK, buf + i * STORE_BLOCK, STORE_BLOCK);
		n++;
	}
	return n;
}

/* Writes n blocks and tells the chunk's bits where they are. */
static int write_blocks(struct disk_copy *c, struct store *to, const struct store_extent *at,
    struct disk_chunk *x, struct errmsg *e)
{
	const uint8_t *from = c->buf;
	unsigned i = 0;

	for (unsigned r = 0; r < at->nruns; r++) {
		int err = store_write_blocks(to, at->runs[r].block, from, at->runs[r].count, e);

		if (err)
			return err;
		from += (size_t)at->runs[r].count * STORE_BLOCK;
		for (unsigned k = 0; k < at->runs[r].count; i++)
			if (x->data >> i & 1)
				x->block[i] = at->runs[r].block + k++;
	}
	return OK;
}

static int put_chunk(struct disk_copy *c, struct store *to, uint64_t layer, uint64_t chunk,
    struct disk_chunk *x, struct errmsg *e)
{
	unsigned n = pack(c->buf, x);
	struct store_extent at = {.stored_len = n * STORE_BLOCK};
	int err = disk_make_room(to, n, 1, e);

	if (!err && n)
		err = store_extent_alloc(to, &at, e);
	if (err)
		return err;
	err = write_blocks(c, to, &at, x, e);
	if (!err)
		err = disk_chunk_set(to, layer, chunk, x, e);
	if (err)
		store_extent_unalloc(to, &at);
	return err ? err : store_breathe(to, e);
}

static int put_all(struct disk_copy *c, struct store *to, uint64_t layer,
    bool (*progress)(void *ctx, uint64_t done), void *ctx, struct errmsg *e)
{
	uint64_t chunk = 0, done = 0;
	struct disk_chunk x;
	int err;

	while ((err = next_chunk(c, &chunk, e)) == OK) {
		err = content(c, chunk, &x, e);
		if (!err && (x.data | x.zero))
			err = put_chunk(c, to, layer, chunk, &x, e);
		done += STORE_CHUNK;
		if (!err && progress && !progress(ctx, done))
			err = err_set(e, ERR_CANCELLED, "cancelled");
		if (err)
			return err;
		chunk++;
	}
	return err == ERR_NOENT ? OK : err;
}

static int finish(struct store *to, uint64_t layer, struct errmsg *e)
{
	struct store_object_info o;
	int err = disk_object_get(to, layer, &o, e);

	o.flags |= OBJ_COMPLETE;
	return err ? err : store_object_set(to, layer, &o, e);
}

int disk_copy_layer(struct disk_copy *c, struct store *to, uint64_t *layer,
    bool (*progress)(void *ctx, uint64_t done), void *ctx, struct errmsg *e)
{
	int err = disk_make_room(to, 1, 1, e);

	*layer = 0;
	if (!err)
		err = disk_object_create(to, 0, c->v.size, layer, e);
	if (!err)
		err = put_all(c, to, *layer, progress, ctx, e);
	if (!err)
		err = finish(to, *layer, e);
	if (!err)
		return OK;
	if (*layer)
		(void)store_object_delete(to, *layer, NULL); /* else at the next opening */
	*layer = 0;
	return err_prefix(e, err, "disk '%s'", c->v.name);
}
