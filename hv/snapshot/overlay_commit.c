/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk's layers go back into its base partition. Until all of it is on the medium the layers
 * stay and hide what is changed below them: so the disk shows the same at any moment, and a
 * power cut leaves nothing to do but to begin again.
 */
#include <string.h>

#include "hv/core/thread.h"
#include "hv/core/vm.h"
#include "hv/lib/fmt.h"
#include "hv/snapshot/engine.h"
#include "hv/snapshot/overlay_base.h"
#include "hv/snapshot/overlay_blk.h"

struct commit {
	struct blk_dev *dev, *partition;
	bool (*progress)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
};

/* Whether a snapshot has a disk over this partition. */
struct search {
	struct store *s;
	const uint8_t *guid;
	char snapshot[STORE_NAME_MAX + 1];
};

static void look_at(void *ctx, const struct snap_info *info, const struct errmsg *why)
{
	struct search *f = ctx;
	struct errmsg ignored;
	struct snap_disk d;
	struct snap *sn;

	(void)why;
	if (!info || f->snapshot[0] || snap_open(f->s, info->name, &sn, &ignored))
		return;
	for (unsigned i = 0; i < info->ndisks; i++)
		if (snap_disk(sn, i, &d, &ignored) == OK && d.overlay &&
		    memcmp(d.guid, f->guid, 16) == 0)
			str_copy(f->snapshot, sizeof(f->snapshot), info->name);
	snap_close(sn);
}

static bool in_use(const struct blk_dev *d)
{
	const struct vm *vm = d->owner;

	return vm && (vm->run_state == VM_RUNNING || vm->run_state == VM_PAUSED);
}

/* Nobody else builds on the partition. */
static int check_alone(struct store *s, const struct vdisk *v, struct errmsg *e)
{
	struct search f = {.s = s, .guid = v->base.guid};
	uint64_t at = 0;
	struct vdisk other;
	int err;

	while ((err = vdisk_next(s, &at, &other, e)) == OK)
		if (strcmp(other.name, v->name) != 0 && other.base.kind == VDISK_BASE_PARTITION &&
		    memcmp(other.base.guid, v->base.guid, 16) == 0)
			return err_set(e, ERR_BUSY, "disk '%s' has the same base", other.name);
	if (err == ERR_NOENT)
		err = snap_list(s, look_at, &f, e);
	if (!err && f.snapshot[0])
		err = err_set(e, ERR_BUSY, "snapshot '%s' has the same base", f.snapshot);
	return err;
}

/*
 * Checks, and raises the partition's epoch in the commit in which the disk's record follows it:
 * from then on every other user of the partition is told that it changed.
 */
static int begin(struct commit *c, struct store *s, const char *name, struct errmsg *e)
{
	struct overlay *disk;
	const struct vdisk *v;
	uint64_t epoch;
	int err = overlay_blk_open(s, name, &c->dev, e);

	if (err)
		return err;
	disk = overlay_blk_disk(c->dev);
	v = overlay_info(disk);
	if (v->base.kind != VDISK_BASE_PARTITION)
		return err_set(e, ERR_UNSUPPORTED, "its base is not a partition");
	c->partition = blk_find_guid(v->base.guid);
	if (!c->partition || c->partition->read_only)
		return err_set(
		    e, ERR_UNSUPPORTED, "partition '%s' cannot be written", v->base.name);
	if (in_use(c->dev) || in_use(c->partition))
		return err_set(e, ERR_BUSY, "it is in use by a machine");
	if (v->size > v->base.size)
		return err_set(e, ERR_RANGE, "it is larger than partition '%s'", v->base.name);
	err = check_alone(s, v, e);
	if (!err)
		err = overlay_set_base_epoch(disk, s, v->base.epoch + 1, e);
	return err ? err : store_epoch_bump(s, v->base.guid, &epoch, e);
}

static int write_piece(void *ctx, uint64_t off, const void *data, uint32_t len, struct errmsg *e)
{
	struct blk_dev *p = ctx;
	int err = blk_write(p, off / SECTOR_SIZE, data, len / SECTOR_SIZE);

	return err ? err_set(e, err, "writing partition '%s': %s", p->name, error_text(err)) : OK;
}

static int copy_step(struct commit *c, uint64_t *cursor, bool *done, struct errmsg *e)
{
	struct store *s = engine_lock(e);
	struct overlay *disk = s ? overlay_blk_disk(c->dev) : NULL;
	int err =
	    disk ? overlay_each(disk, s, cursor, done, write_piece, c->partition, e) : ERR_NOENT;

	if (!err && c->progress &&
	    !c->progress(c->ctx, MIN(*cursor * STORE_CHUNK, overlay_info(disk)->size),
		overlay_info(disk)->size))
		err = err_set(e, ERR_CANCELLED, "cancelled");
	if (s)
		engine_unlock();
	thread_yield();
	return err;
}

static int commit(struct commit *c, const char *name, struct errmsg *e)
{
	struct store *s = engine_lock(e);
	uint64_t cursor = 0;
	bool done = false;
	int err;

	if (!s)
		return ERR_NOENT;
	err = begin(c, s, name, e);
	engine_unlock();
	while (!err && !done)
		err = copy_step(c, &cursor, &done, e);
	if (!err)
		err = blk_flush(c->partition);
	if (err)
		return err;
	s = engine_lock(e);
	if (!s)
		return ERR_NOENT;
	err = overlay_restore(overlay_blk_disk(c->dev), s, 0, e);
	engine_unlock();
	return err;
}

int overlay_blk_commit(const char *name, bool (*progress)(void *ctx, uint64_t done, uint64_t total),
    void *ctx, struct errmsg *e)
{
	struct commit c = {.progress = progress, .ctx = ctx};
	int err = commit(&c, name, e);

	return err && strncmp(e->text, "disk '", 6) != 0 ? err_prefix(e, err, "disk '%s'", name)
							 : err;
}
