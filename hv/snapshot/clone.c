/* SPDX-License-Identifier: BSD-2-Clause */
/* Clones: machines made of one snapshot, which share its memory until they diverge. */
#include <string.h>
#include "hv/core/gmem_track.h"
#include "hv/dev/virtio_blk.h"
#include "hv/dev/vmgenid.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/engine_int.h"
#include "hv/snapshot/generation.h"
#include "hv/snapshot/pager.h"
#include "hv/snapshot/ram_image.h"
#include "hv/snapshot/vm_tree.h"

struct clone {
	const char *snapshot, *as;
	unsigned count, flags;
	struct snap_info info;
	void *fdt; /* the state tree, once for all */
	size_t size;
	struct ram_image *image;
	struct generation frozen; /* the freezing that the snapshot is of */
};

/* "web-3", or "web" if it is to be the only one. */
static void name_clone(const struct clone *c, unsigned i, char *out, size_t size)
{
	if (c->count == 1)
		str_copy(out, size, c->as);
	else
		str_format(out, size, "%s-%u", c->as, i + 1);
}

static int check_names(const struct clone *c, struct errmsg *e)
{
	char name[2 * VM_NAME_MAX];

	for (unsigned i = 0; i < c->count; i++) {
		name_clone(c, i, name, sizeof(name));
		if (vm_find(name))
			return err_set(e, ERR_EXIST, "vm '%s' exists already", name);
	}
	return OK;
}

/* State and image, under the store's lock. */
static int open_image(struct clone *c, struct errmsg *e)
{
	struct store *s = engine_lock(e);
	struct snap *sn;
	int err;

	if (!s)
		return ERR_NOENT;
	err = snap_open(s, c->snapshot, &sn, e);
	if (!err) {
		c->info = *snap_info(sn);
		err = snap_state(sn, &c->fdt, &c->size, e);
		if (!err)
			err = generation_read(c->fdt, &c->frozen, e);
		if (err)
			snap_close(sn);
		else
			err = ram_image_make(sn, &c->image, e);
		if (!err)
			engine_hold();
	}
	engine_unlock();
	return err;
}

static void close_image(struct clone *c)
{
	struct errmsg ignored;

	heap_free(c->fdt);
	if (!c->image || !engine_lock(&ignored))
		return;
	ram_image_unref(c->image); /* the clones have their own references */
	engine_unlock();
	engine_release();
}

/* Two machines cannot write one disk. */
static int check_disks(const struct vm *vm, struct errmsg *e)
{
	for (uint32_t i = 0; i < vm->config.ndevs; i++) {
		const struct config_dev *d = &vm->config.devs[i];

		if (d->kind == CONFIG_VIRTIO_BLK && !d->read_only)
			return err_set(e, ERR_UNSUPPORTED,
			    "device %s: '%s' would be written by all clones", d->name, d->backend);
	}
	return OK;
}

static int start_pager(struct clone *c, struct vm *vm, struct errmsg *e)
{
	struct store *s = engine_lock(e);
	int err = s ? generation_fork(s, &c->frozen, e) : ERR_NOENT;

	if (!err)
		err = pager_start_shared(vm, c->image, e);
	if (s)
		engine_unlock();
	return err;
}

static int make_one(struct clone *c, const char *name, struct errmsg *e)
{
	struct vm_restore tree;
	struct vm *vm;
	int err = vm_tree_check(c->fdt, c->size, name, &tree, e);

	if (err)
		return err;
	vm = tree.vm;
	gmem_unpromise(vm);
	err = check_disks(vm, e);
	if (!err)
		err = virtio_blk_claim(vm, NULL, e);
	if (!err)
		err = start_pager(c, vm, e);
	if (err) {
		vm_tree_done(&tree, false);
		return err;
	}
	memcpy(vm->base_id, c->info.id, sizeof(vm->base_id));
	str_copy(vm->base_name, sizeof(vm->base_name), c->info.name);
	vm_tree_load(&tree);
	err = vmgenid_renew(vm, e);
	vm_tree_done(&tree, err == OK);
	if (err)
		return err;
	(void)vm_publish(vm);
	return c->flags & RESTORE_PAUSED ? OK : vm_resume(vm, e);
}

int engine_clone(const char *snapshot, const char *as, unsigned count, unsigned flags,
    unsigned *made, struct errmsg *e)
{
	struct clone c = {.snapshot = snapshot, .as = as, .count = count, .flags = flags};
	int err = snap_name_check(snapshot, e);
	char name[2 * VM_NAME_MAX];

	*made = 0;
	if (!err)
		err = check_names(&c, e);
	if (!err)
		err = open_image(&c, e);
	while (!err && *made < count) {
		name_clone(&c, *made, name, sizeof(name));
		err = make_one(&c, name, e);
		if (err)
			err_prefix(e, err, "vm '%s'", name);
		else
			++*made;
	}
	close_image(&c);
	return engine_error(snapshot, err, e);
}
