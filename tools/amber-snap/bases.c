/* SPDX-License-Identifier: BSD-2-Clause */
/* Bases of disks, found and compared as the hypervisor does it. */
#include "tools/amber-snap/bases.h"

#include <stdlib.h>
#include <string.h>

#include "hv/block/guids.h"
#include "hv/lib/crc32c.h"
#include "tools/amber-snap/fat.h"

static const uint8_t guest_type[16] = GUID_GUEST_DISK_BYTES;

/* C12A7328-F81F-11D2-BA4B-00A0C93EC93B, the EFI system partition (UEFI specification 2.10, 5.3.3)
 */
static const uint8_t esp_type[16] = {
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};

static int read_partition(void *ctx, uint64_t off, void *buf, uint32_t len)
{
	const struct bases *b = ctx;

	return image_read_at(b->image, b->at + off, buf, len);
}

static int open_partition(
    struct bases *b, const struct vdisk_base *base, struct overlay_base *out, struct errmsg *e)
{
	uint64_t bytes, epoch;
	int err = image_partition(b->image, base->guid, guest_type, &b->at, &bytes);

	if (err)
		return err_set(e, err, "its base, partition '%s', is %s in %s", base->name,
		    err == ERR_NOENT ? "not" : "twice", b->image->path);
	if (bytes < base->size)
		return err_set(
		    e, ERR_STATE, "its base, partition '%s', is smaller now", base->name);
	err = store_epoch_get(b->store, base->guid, &epoch, e);
	if (!err && epoch != base->epoch)
		err = err_set(e, ERR_STATE,
		    "its base, partition '%s', has been written since (epoch %llu, it was %llu)",
		    base->name, (unsigned long long)epoch, (unsigned long long)base->epoch);
	out->read = read_partition;
	out->ctx = b;
	return err;
}

static int read_file(void *ctx, uint64_t off, void *buf, uint32_t len)
{
	memcpy(buf, ((const struct bases *)ctx)->file + off, len);
	return OK;
}

static int open_file(
    struct bases *b, const struct vdisk_base *base, struct overlay_base *out, struct errmsg *e)
{
	uint64_t at, bytes, size = 0;
	int err = image_partition(b->image, NULL, esp_type, &at, &bytes);

	bases_close(b);
	if (err)
		return err_set(e, err, "its base, file '%s': there %s EFI system partition in %s",
		    base->name, err == ERR_NOENT ? "is no" : "is more than one", b->image->path);
	err = fat_read(b->image, at, bytes, "amber", base->name, &b->file, &size, e);
	if (err)
		return err_prefix(e, err, "its base, file '%s' in the EFI system partition of %s",
		    base->name, b->image->path);
	if (size != base->size || crc32c(0, b->file, size) != base->crc)
		return err_set(e, ERR_STATE, "its base, file '%s', is another now", base->name);
	out->read = read_file;
	out->ctx = b;
	return OK;
}

int bases_open(void *ctx, const struct vdisk *v, struct overlay_base *out, struct errmsg *e)
{
	*out = (struct overlay_base){.size = v->base.size};
	return v->base.kind == VDISK_BASE_PARTITION ? open_partition(ctx, &v->base, out, e)
						    : open_file(ctx, &v->base, out, e);
}

void bases_close(struct bases *b)
{
	free(b->file);
	b->file = NULL;
}
