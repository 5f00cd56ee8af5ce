/* SPDX-License-Identifier: BSD-2-Clause */
/* Disks of the host, as devices of machines find and own them. */
#include "hv/dev/disk_backend.h"

#include <string.h>
#include "hv/block/block.h"
#include "hv/block/guids.h"
#include "hv/core/device.h"
#include "hv/core/vm.h"

int (*disk_backend_open_store)(
    const struct config_dev *cfg, struct blk_dev **out, struct errmsg *e);
int (*disk_backend_claiming)(struct vm *vm, struct blk_dev *disk, struct errmsg *e);

/* In use by a machine that could still write: a stopped or frozen one does not. */
static const struct vm *claimed_by_other(
    const struct blk_dev *disk, const struct vm *vm, const struct vm *instead)
{
	const struct vm *owner = disk->owner;

	if (!owner || owner == vm || owner == instead)
		return NULL;
	return owner->run_state == VM_RUNNING || owner->run_state == VM_PAUSED ? owner : NULL;
}

int disk_backend_claim(struct vm *vm, struct vm *instead, struct errmsg *e)
{
	struct list *pos;

	LIST_FOREACH(pos, &vm->devices)
	{
		const struct device *d = LIST_ENTRY(pos, struct device, link);
		const struct vm *other;

		if (!d->disk)
			continue;
		other = claimed_by_other(d->disk, vm, instead);
		if (other)
			return err_set(e, ERR_BUSY, "device %s: disk '%s' is in use by vm '%s'",
			    d->name, d->disk->label, other->config.name);
		if (disk_backend_claiming) {
			int err = disk_backend_claiming(vm, d->disk, e);

			if (err)
				return err_prefix(e, err, "device %s", d->name);
		}
	}
	LIST_FOREACH(pos, &vm->devices)
	{
		const struct device *d = LIST_ENTRY(pos, struct device, link);

		if (d->disk)
			d->disk->owner = vm;
	}
	return OK;
}

void disk_backend_release(struct device *dev)
{
	if (dev->disk && dev->disk->owner == dev->vm)
		dev->disk->owner = NULL;
	dev->disk = NULL;
}

/* Only partitions that somebody made for guests: not the store, not the boot volume, not a whole
 * disk. */
static bool is_guest_disk(const struct blk_dev *d)
{
	static const uint8_t type[16] = GUID_GUEST_DISK_BYTES;

	return memcmp(d->type_guid, type, sizeof(type)) == 0;
}

/* Disks of the store are opened on demand; others are there. */
int disk_backend_find(const struct config_dev *cfg, struct blk_dev **out, struct errmsg *e)
{
	if (strncmp(cfg->backend, CONFIG_STORE_PREFIX, sizeof(CONFIG_STORE_PREFIX) - 1) == 0 &&
	    disk_backend_open_store)
		return disk_backend_open_store(cfg, out, e);
	*out = blk_find(cfg->backend);
	if (!*out)
		return err_set(e, ERR_NOENT, "there is no disk or partition '%s'", cfg->backend);
	if (!is_guest_disk(*out))
		return err_set(e, ERR_INVAL, "'%s' is not a partition for guests (type %s)",
		    cfg->backend, GUID_GUEST_DISK_TEXT);
	return OK;
}
