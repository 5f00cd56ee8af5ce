/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Copies a snapshot from store to store, extent by extent as stored; what it took from parents
 * becomes its own. An exported snapshot is a store of its own in a file: there is no second format.
 * Within one store, the same makes a snapshot independent of its parents.
 */
#include <string.h>

#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/snap_int.h"

struct copy {
	struct snap *from;
	struct store *to;
	struct snap_info info; /* of the new one */
	struct stream_writer state, ram;
	bool (*progress)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
	uint64_t before, total; /* bytes */
};

static bool copy_progress(void *ctx, uint64_t done)
{
	struct copy *c = ctx;

	return !c->progress || c->progress(c->ctx, c->before + done, c->total);
}

static int copy_object(
    struct copy *c, struct stream_reader *from, struct stream_writer *w, struct errmsg *e)
{
	int err = stream_begin(w, c->to, from->info.kind, 0, e);

	w->info.content_crc = from->info.content_crc;
	return err ? err : stream_flatten(from, w, copy_progress, c, e);
}

static int copy_disks(struct copy *c, struct errmsg *e)
{
	struct snap_disk d;
	int err = OK;

	for (unsigned i = 0; !err && i < c->info.ndisks; i++) {
		err = snap_disk(c->from, i, &d, e);
		if (!err && d.overlay)
			err = err_set(e, ERR_UNSUPPORTED, "disk '%s': has an overlay", d.name);
		if (!err)
			err = disk_record_add(c->to, c->state.object, i, &d, e);
	}
	return err;
}

static uint64_t raw_bytes(const struct stream_reader *r)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < r->nlevels; i++)
		sum += r->level[i].info.raw;
	return sum;
}

/* The indexes are whole, and the target has room for what they hold. */
static int check_room(struct copy *c, struct errmsg *e)
{
	uint64_t state, state_pieces, ram, ram_pieces;
	int err = stream_flat_size(&c->from->state, &state, &state_pieces, e);

	if (!err)
		err = stream_flat_size(&c->from->ram, &ram, &ram_pieces, e);
	return err ? err
		   : store_can_hold_pieces(c->to, state + ram, state_pieces + ram_pieces, true, e);
}

static int copy_all(struct copy *c, bool replace, struct errmsg *e)
{
	int err = check_room(c, e);

	c->total = raw_bytes(&c->from->state) + raw_bytes(&c->from->ram);
	if (!err)
		err = copy_object(c, &c->from->state, &c->state, e);
	if (!err)
		err = copy_disks(c, e);
	if (!err)
		err = working_set_copy(c->from, c->to, c->state.object, e);
	c->before = raw_bytes(&c->from->state);
	if (!err)
		err = copy_object(c, &c->from->ram, &c->ram, e);
	if (err)
		return err;
	c->info.state_object = c->state.object;
	snap_set_ram(&c->info, &c->ram);
	return catalog_publish(c->to, &c->info, replace, NULL, e);
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
	str_copy(c.info.name, sizeof(c.info.name), name);
	err = catalog_find(to, name, &key, &old, e);
	if (!err && !replace)
		return err_set(e, ERR_EXIST, "snapshot '%s' exists already", name);
	if (err && err != ERR_NOENT)
		return err;
	err = copy_all(&c, replace, e);
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
