/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Copies a snapshot from store to store, extent by extent as stored. An exported snapshot is a
 * store of its own in a file: there is no second format.
 */
#include <string.h>

#include "hv/lib/crc32c.h"
#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/snap_int.h"

struct copy {
	struct snap *from;
	struct store *to;
	struct snap_info info; /* of the new one */
	uint8_t *buf;
	bool (*progress)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
	uint64_t done;
};

static int read_extent(struct copy *c, const struct store_extent *x, struct errmsg *e)
{
	uint8_t *p = c->buf;

	for (unsigned i = 0; i < x->nruns; i++) {
		int err =
		    store_read_blocks(c->from->store, x->runs[i].block, p, x->runs[i].count, e);

		if (err)
			return err;
		p += (size_t)x->runs[i].count * STORE_BLOCK;
	}
	if (crc32c(0, c->buf, (size_t)(p - c->buf)) != x->crc && x->encoding != ENC_ZERO)
		return err_set(
		    e, ERR_CORRUPT, "chunk 0x%llx: checksum wrong", (unsigned long long)x->offset);
	return OK;
}

static int write_extent(struct copy *c, uint64_t object, struct store_extent *x, struct errmsg *e)
{
	const uint8_t *p = c->buf;
	int err = store_breathe(c->to, e);

	if (!err)
		err = store_extent_alloc(c->to, x, e);
	if (err)
		return err;
	err = store_extent_add(c->to, object, x, e);
	if (err) {
		store_extent_unalloc(c->to, x);
		return err;
	}
	for (unsigned i = 0; !err && i < x->nruns; i++) {
		err = store_write_blocks(c->to, x->runs[i].block, p, x->runs[i].count, e);
		p += (size_t)x->runs[i].count * STORE_BLOCK;
	}
	return err;
}

static int copy_object(struct copy *c, struct stream_reader *from, uint64_t *id, struct errmsg *e)
{
	struct store_object_info o = from->info;
	struct store_extent x;
	uint64_t at = 0;
	int err = store_object_create(c->to, o.kind, id, e);

	while (!err && (err = store_extent_next(from->store, from->object, at, &x, e)) == OK) {
		at = x.offset + x.raw_len;
		err = read_extent(c, &x, e);
		if (!err)
			err = write_extent(c, *id, &x, e);
		c->done += x.raw_len;
		if (!err && c->progress &&
		    !c->progress(c->ctx, c->done, c->info.ram_bytes + c->info.state_bytes))
			err = err_set(e, ERR_CANCELLED, "cancelled");
	}
	if (err != ERR_NOENT)
		return err;
	o.links = 0;
	return store_object_set(c->to, *id, &o, e);
}

static int copy_all(struct copy *c, bool replace, struct errmsg *e)
{
	struct snap_disk d;
	int err = stream_check_index(&c->from->state, NULL, NULL, e);

	if (!err)
		err = stream_check_index(&c->from->ram, NULL, NULL, e);
	if (!err)
		err = copy_object(c, &c->from->state, &c->info.state_object, e);
	for (unsigned i = 0; !err && i < c->info.ndisks; i++) {
		err = snap_disk(c->from, i, &d, e);
		if (!err && d.overlay)
			err = err_set(e, ERR_UNSUPPORTED, "disk '%s': has an overlay", d.name);
		if (!err)
			err = disk_record_add(c->to, c->info.state_object, i, &d, e);
	}
	if (!err)
		err = copy_object(c, &c->from->ram, &c->info.ram_object, e);
	return err ? err : catalog_publish(c->to, &c->info, replace, NULL, e);
}

int snap_copy(struct snap *from, struct store *to, const char *name, bool replace,
    bool (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx, struct errmsg *e)
{
	struct copy c = {
	    .from = from, .to = to, .info = from->info, .progress = progress, .ctx = ctx};
	struct store_key key;
	struct snap_info old;
	int err = snap_name_check(name, e);

	if (err)
		return err;
	c.info.state_object = c.info.ram_object = 0;
	str_copy(c.info.name, sizeof(c.info.name), name);
	err = catalog_find(to, name, &key, &old, e);
	if (!err && !replace)
		return err_set(e, ERR_EXIST, "snapshot '%s' exists already", name);
	if (err && err != ERR_NOENT)
		return err;
	err = store_can_hold(to, c.info.stored_bytes + c.info.state_bytes, e);
	c.buf = heap_alloc(STORE_CHUNK);
	if (!err && !c.buf)
		err = err_set(e, ERR_NOMEM, "out of memory");
	if (!err)
		err = copy_all(&c, replace, e);
	heap_free(c.buf);
	if (!err)
		return OK;
	if (c.info.state_object)
		store_object_delete(to, c.info.state_object, NULL);
	if (c.info.ram_object)
		store_object_delete(to, c.info.ram_object, NULL);
	return err_prefix(e, err, "snapshot '%s'", from->info.name);
}
