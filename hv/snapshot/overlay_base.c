/* SPDX-License-Identifier: BSD-2-Clause */
/* Bases of disks: partitions, which have a GUID and a write epoch, and payload files. */
#include "hv/snapshot/overlay_base.h"

#include <string.h>

#include "hv/block/guids.h"
#include "hv/core/payload.h"
#include "hv/core/vm.h"
#include "hv/lib/crc32c.h"
#include "hv/lib/fmt.h"

/* A record of a disk may have come with a file from elsewhere: it opens no other partition. */
static bool is_for_guests(const struct blk_dev *d)
{
	static const uint8_t type[16] = GUID_GUEST_DISK_BYTES, none[16];

	return memcmp(d->type_guid, type, 16) == 0 && memcmp(d->part_guid, none, 16) != 0;
}

static int describe_partition(
    struct store *s, const struct blk_dev *d, struct vdisk_base *out, struct errmsg *e)
{
	const struct vm *owner = d->owner;

	if (!is_for_guests(d))
		return err_set(e, ERR_INVAL, "'%s' is not a partition for guests", d->name);
	if (owner && (owner->run_state == VM_RUNNING || owner->run_state == VM_PAUSED))
		return err_set(e, ERR_BUSY, "partition '%s' is in use by vm '%s'", d->name,
		    owner->config.name);
	out->kind = VDISK_BASE_PARTITION;
	out->size = d->nsectors * SECTOR_SIZE;
	memcpy(out->guid, d->part_guid, 16);
	str_copy(out->name, sizeof(out->name), d->label[0] ? d->label : d->name);
	return store_epoch_get(s, d->part_guid, &out->epoch, e);
}

int overlay_base_describe(
    struct store *s, const char *name, struct vdisk_base *out, struct errmsg *e)
{
	struct blk_dev *d = blk_find(name);
	struct payload p;

	*out = (struct vdisk_base){.kind = VDISK_BASE_NONE};
	if (d)
		return describe_partition(s, d, out, e);
	if (!payload_find(name, &p))
		return err_set(e, ERR_NOENT, "there is no partition or payload file '%s'", name);
	if (p.size < SECTOR_SIZE || p.size % SECTOR_SIZE)
		return err_set(e, ERR_INVAL, "file '%s': not of whole sectors", name);
	out->kind = VDISK_BASE_PAYLOAD;
	out->size = p.size;
	out->crc = crc32c(0, p.data, p.size);
	str_copy(out->name, sizeof(out->name), p.name);
	return OK;
}

static int read_partition(void *ctx, uint64_t off, void *buf, uint32_t len)
{
	return blk_read(ctx, off / SECTOR_SIZE, buf, len / SECTOR_SIZE);
}

static int read_payload(void *ctx, uint64_t off, void *buf, uint32_t len)
{
	memcpy(buf, (const uint8_t *)ctx + off, len);
	return OK;
}

static int open_partition(
    struct store *s, const struct vdisk *v, struct overlay_base *out, struct errmsg *e)
{
	struct blk_dev *d = blk_find_guid(v->base.guid);
	uint64_t epoch;
	int err;

	if (!d || d->nsectors * SECTOR_SIZE < v->base.size)
		return err_set(e, ERR_NOENT, "disk '%s': its base '%s' is not here%s", v->name,
		    v->base.name, d ? " in full" : "");
	if (!is_for_guests(d))
		return err_set(e, ERR_INVAL,
		    "disk '%s': its base '%s' is not a partition for guests", v->name,
		    v->base.name);
	err = store_epoch_get(s, v->base.guid, &epoch, e);
	if (!err && epoch != v->base.epoch)
		err = err_set(e, ERR_STATE,
		    "disk '%s': its base '%s' has been written since (epoch %llu, it was %llu)",
		    v->name, v->base.name, (unsigned long long)epoch,
		    (unsigned long long)v->base.epoch);
	out->read = read_partition;
	out->ctx = d;
	return err;
}

static int open_payload(const struct vdisk *v, struct overlay_base *out, struct errmsg *e)
{
	struct payload p;

	if (!payload_find(v->base.name, &p))
		return err_set(e, ERR_NOENT, "disk '%s': its base, file '%s', is not here", v->name,
		    v->base.name);
	if (p.size != v->base.size || crc32c(0, p.data, p.size) != v->base.crc)
		return err_set(e, ERR_STATE, "disk '%s': its base, file '%s', is another now",
		    v->name, v->base.name);
	out->read = read_payload;
	out->ctx = (void *)(uintptr_t)p.data;
	return OK;
}

int overlay_base_open(
    struct store *s, const struct vdisk *v, struct overlay_base *out, struct errmsg *e)
{
	*out = (struct overlay_base){.size = v->base.size};
	switch (v->base.kind) {
	case VDISK_BASE_PARTITION:
		return open_partition(s, v, out, e);
	case VDISK_BASE_PAYLOAD:
		return open_payload(v, out, e);
	case VDISK_BASE_NONE:
		break;
	}
	out->size = 0;
	return OK;
}
