/* SPDX-License-Identifier: BSD-2-Clause */
/* Clones: machines made of one snapshot, which share its memory until they diverge. */
#include <string.h>
#include "hv/core/gmem_track.h"
#include "hv/dev/disk_backend.h"
#include "hv/dev/vmgenid.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/engine_int.h"
#include "hv/snapshot/generation.h"
#include "hv/snapshot/overlay_blk.h"
#include "hv/snapshot/pager.h"
#include "hv/snapshot/ram_image.h"
#include "hv/snapshot/vdisk.h"
#include "hv/snapshot/vm_tree.h"

struct clone {
	const char *snapshot, *as;
	unsigned count, flags;
	struct snap_info info;
	void *fdt; /* the state tree, once for all */
	struct ram_image *image;
	struct snap_disk disks[SNAP_DISKS_MAX];
	/* of the machine that is being made */
	const char *name;
	char made[SNAP_DISKS_MAX][VDISK_NAME_MAX + 1]; /* disks that are its own */
	unsigned nmade;
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

static int read_disks(struct clone *c, struct snap *sn, struct errmsg *e)
{
	int err = OK;

	for (unsigned i = 0; !err && i < c->info.ndisks; i++)
		err = snap_disk(sn, i, &c->disks[i], e);
	return err;
}

/* Whether the machine in the state has ROM. */
static int has_rom(const void *fdt, bool *rom, struct errmsg *e)
{
	struct vm_config *config = heap_alloc(sizeof(*config)); /* too much for a stack */
	int err;

	if (!config)
		return err_set(e, ERR_NOMEM, "out of memory");
	err = vm_config_read(fdt, "/config", config, NULL, e);
	*rom = vm_config_has_firmware(config);
	heap_free(config);
	return err;
}

/* State and image, under the store's lock. */
static int open_image(struct clone *c, struct errmsg *e)
{
	struct store *s = engine_lock(e);
	struct snap *sn;
	bool rom = false;
	size_t size;
	int err;

	if (!s)
		return ERR_NOENT;
	err = snap_open(s, c->snapshot, &sn, e);
	if (!err) {
		c->info = *snap_info(sn);
		err = snap_state(sn, &c->fdt, &size, e);
		if (!err)
			err = generation_read(c->fdt, &c->frozen, e);
		if (!err)
			err = has_rom(c->fdt, &rom, e);
		if (!err)
			err = read_disks(c, sn, e);
		if (err)
			snap_close(sn);
		else
			err = ram_image_open(sn, rom, &c->image, e);
	}
	engine_unlock();
	return err;
}

static void close_image(struct clone *c)
{
	heap_free(c->fdt);
	if (!c->image)
		return;
	engine_lock_only();
	ram_image_unref(c->image); /* the clones have their own references */
	engine_unlock();
}

/* --- disks ------------------------------------------------------------------------------ */

static const struct snap_disk *recorded(const struct clone *c, const char *name)
{
	for (unsigned i = 0; i < c->info.ndisks; i++)
		if (c->disks[i].overlay && strcmp(c->disks[i].name, name) == 0)
			return &c->disks[i];
	return NULL;
}

/* A disk of its own, "data.web-3", with the content that the snapshot has of "data". */
static int clone_disk(struct clone *c, struct config_dev *d, struct errmsg *e)
{
	static const char prefix[] = CONFIG_STORE_PREFIX;
	const char *name = d->backend + sizeof(prefix) - 1;
	const struct snap_disk *rec;
	char own[2 * VDISK_NAME_MAX];
	struct store *s;
	int err;

	rec = strncmp(d->backend, prefix, sizeof(prefix) - 1) == 0 ? recorded(c, name) : NULL;
	if (!rec)
		return err_set(e, ERR_UNSUPPORTED, "device %s: '%s' would be written by all clones",
		    d->name, d->backend);
	str_format(own, sizeof(own), "%s.%s", name, c->name);
	s = engine_lock(e);
	if (!s)
		return ERR_NOENT;
	err = vdisk_name_check(own, e);
	if (!err)
		err = overlay_blk_clone(s, rec, own, e);
	engine_unlock();
	if (err)
		return err_prefix(e, err, "device %s: disk '%s'", d->name, own);
	str_copy(c->made[c->nmade++], VDISK_NAME_MAX + 1, own);
	str_format(d->backend, sizeof(d->backend), "%s%s", prefix, own);
	return OK;
}

/* For vm_tree_check(). */
static int give_disks(struct vm_config *config, void *ctx, struct errmsg *e)
{
	struct clone *c = ctx;
	int err = OK;

	for (uint32_t i = 0; !err && i < config->ndevs; i++)
		if (config_writes_disk(&config->devs[i]))
			err = clone_disk(c, &config->devs[i], e);
	return err;
}

/* Of a machine that came to nothing. */
static void take_back_disks(struct clone *c)
{
	struct errmsg e;
	struct store *s = c->nmade ? engine_lock(&e) : NULL;

	for (unsigned i = 0; s && i < c->nmade; i++) {
		struct blk_dev *d = NULL;

		if (overlay_blk_open(s, c->made[i], &d, &e) == OK)
			overlay_blk_forget(d);
		if (vdisk_delete(s, c->made[i], &e))
			log_error("disk '%s': %s", c->made[i], e.text);
	}
	if (s)
		engine_unlock();
}

/* --- one machine ------------------------------------------------------------------------ */

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

static int make_one(struct clone *c, const char *name, unsigned *made, struct errmsg *e)
{
	struct vm_tree_as as = {.name = name, .change = give_disks, .ctx = c};
	struct vm_restore tree;
	struct vm *vm;
	int err;

	c->name = name;
	c->nmade = 0;
	err = vm_tree_check(c->fdt, &as, &tree, e);
	vm = tree.vm;
	if (!err) {
		gmem_unpromise(vm);
		err = disk_backend_claim(vm, NULL, e);
		if (!err)
			err = start_pager(c, vm, e);
		if (!err) {
			vm_tree_load(&tree);
			err = vmgenid_renew(vm, e);
		}
		vm_tree_done(&tree, err == OK);
	}
	if (err) {
		take_back_disks(c);
		return err;
	}
	memcpy(vm->base_id, c->info.id, sizeof(vm->base_id));
	str_copy(vm->base_name, sizeof(vm->base_name), c->info.name);
	(void)vm_publish(vm);
	++*made;
	return c->flags & RESTORE_PAUSED ? OK : vm_resume(vm, e);
}

int engine_clone(const char *snapshot, const char *as, unsigned count, unsigned flags,
    unsigned *made, struct errmsg *e)
{
	static struct clone c; /* large; one command at a time */
	int err = snap_name_check(snapshot, e);
	char name[2 * VM_NAME_MAX];

	c = (struct clone){.snapshot = snapshot, .as = as, .count = count, .flags = flags};
	*made = 0;
	if (!err)
		err = check_names(&c, e);
	if (!err)
		err = open_image(&c, e);
	while (!err && *made < count) {
		name_clone(&c, *made, name, sizeof(name));
		err = make_one(&c, name, made, e);
		if (err)
			err_prefix(e, err, "vm '%s'", name);
	}
	close_image(&c);
	return engine_error(snapshot, err, e);
}
