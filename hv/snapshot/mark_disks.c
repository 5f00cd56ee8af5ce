/* SPDX-License-Identifier: BSD-2-Clause */
/* A mark freezes a layer of each disk; going back puts an empty layer over that one. */
#include "hv/snapshot/mark_disks.h"

#include <string.h>
#include "hv/core/vm_mark.h"
#include "hv/dev/disk_backend.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/engine_int.h"
#include "hv/snapshot/overlay_blk.h"

struct marked {
	unsigned n;
	struct snap_disk rec[SNAP_DISKS_MAX];
	const char *backend[SNAP_DISKS_MAX]; /* in the machine's configuration */
	uint64_t nsectors[SNAP_DISKS_MAX];
	struct overlay_mark mark; /* of one at a time */
};

static int mark_one(struct marked *k, const struct config_dev *d, struct errmsg *e)
{
	struct blk_dev *b = blk_find(d->backend);
	int err;

	if (!b || !overlay_blk_is(b))
		return err_set(e, ERR_UNSUPPORTED,
		    "device %s: writes '%s', which could not be taken back", d->name, d->backend);
	if (k->n == SNAP_DISKS_MAX)
		return err_set(e, ERR_RANGE, "more than %d disks", SNAP_DISKS_MAX);
	err = overlay_blk_prepare(b, e);
	if (err)
		return err;
	memset(&k->mark, 0, sizeof(k->mark));
	overlay_blk_mark(b, &k->mark);
	err = overlay_blk_marked(&k->mark, &k->rec[k->n], e);
	if (err)
		return err;
	k->backend[k->n] = d->backend;
	k->nsectors[k->n] = b->nsectors;
	k->n++;
	return OK;
}

static int mark(struct vm *vm, void **state, struct errmsg *e)
{
	struct marked *k = heap_zalloc(sizeof(*k));
	int err = OK;

	if (!k)
		return err_set(e, ERR_NOMEM, "out of memory");
	for (uint32_t i = 0; !err && i < vm->config.ndevs; i++)
		if (config_writes_disk(&vm->config.devs[i]))
			err = mark_one(k, &vm->config.devs[i], e);
	if (err)
		heap_free(k);
	else
		*state = k;
	return err;
}

/* A machine that was stopped may have lost its disks to another, which writes them now. */
static int own_again(struct vm *vm, struct errmsg *e)
{
	for (uint32_t i = 0; i < vm->config.ndevs; i++) {
		const struct config_dev *d = &vm->config.devs[i];
		const struct blk_dev *b = blk_find(d->backend);

		if (config_writes_disk(d) && b && b->owner != vm)
			return disk_backend_claim(vm, NULL, e);
	}
	return OK;
}

/* The guest knows the size that its disk had. */
static int check_size(const struct marked *k, unsigned i, struct errmsg *e)
{
	const struct blk_dev *b = blk_find(k->backend[i]);

	if (b && b->nsectors == k->nsectors[i])
		return OK;
	return err_set(e, ERR_STATE, "disk '%s' has been resized since", k->rec[i].name);
}

/* A layer may have been merged into another by many later saves: then there is no way back. */
static int rewind(struct vm *vm, void *state, struct errmsg *e)
{
	struct marked *k = state;
	struct store *s;
	int err = own_again(vm, e);

	if (err)
		return err;
	s = engine_lock(e);
	err = s ? OK : ERR_NOENT;
	for (unsigned i = 0; !err && i < k->n; i++) {
		err = overlay_blk_check(s, &k->rec[i], e);
		if (!err)
			err = check_size(k, i, e);
	}
	if (!err)
		err = overlay_blk_restore(s, k->rec, k->n, e);
	if (s)
		engine_unlock();
	return err;
}

static const struct vm_mark_disks ops = {.mark = mark, .rewind = rewind, .drop = heap_free};

void mark_disks_init(void)
{
	vm_mark_disks = &ops;
}
