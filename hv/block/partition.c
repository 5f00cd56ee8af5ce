/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a partition table to devices. A partition has no driver of its own:
 * blk_submit() finds its disk through 'parent' and moves the sector by 'offset'.
 */
#include <string.h>

#include "hv/block/gpt.h"
#include "hv/block/partition.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

static int read_sectors(void *ctx, uint64_t lba, void *buf, uint32_t count)
{
	return blk_read(ctx, lba, buf, count);
}

static int partition_add(struct blk_dev *disk, const struct gpt_part *p)
{
	struct blk_dev *d = heap_zalloc(sizeof(*d));
	int err;

	if (!d)
		return ERR_NOMEM;
	str_format(d->name, sizeof(d->name), "%sp%u", disk->name, p->number);
	str_copy(d->label, sizeof(d->label), p->name);
	memcpy(d->type_guid, p->type, sizeof(d->type_guid));
	memcpy(d->part_guid, p->guid, sizeof(d->part_guid));
	d->parent = disk;
	d->offset = p->first;
	d->nsectors = p->last - p->first + 1;
	d->max_sg = disk->max_sg;
	d->max_sectors = disk->max_sectors;
	d->read_only = disk->read_only;
	d->has_flush = disk->has_flush;
	d->has_discard = disk->has_discard;
	err = blk_add(d);
	if (err)
		heap_free(d);
	return err;
}

void partition_scan(struct blk_dev *disk)
{
	struct errmsg e = {""};
	struct gpt gpt;
	int err = gpt_read(read_sectors, disk, disk->nsectors, &gpt, &e);

	if (err == ERR_NOENT) {
		log_info("%s: no partitions: %s", disk->name, e.text);
		return;
	}
	if (err) {
		log_error("%s: partitions not used: %s", disk->name, e.text);
		return;
	}
	if (gpt.warning.text[0])
		log_warn("%s: %s", disk->name, gpt.warning.text);
	for (unsigned i = 0; i < gpt.nparts; i++) {
		err = partition_add(disk, &gpt.parts[i]);
		if (err)
			log_error("%s: partition %u not used: %s", disk->name, gpt.parts[i].number,
			    error_text(err));
	}
	gpt_free(&gpt);
}
