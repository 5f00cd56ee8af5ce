/* SPDX-License-Identifier: BSD-2-Clause */
/* The RAM disk of the unit tests. Disks are never removed, like those of the machine. */
#include "hv/block/guids.h"
#include "tests/unit/fake/fake_block.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/lib/log.h"
#include "hv/mm/mm.h"
#include "tests/unit/fake/fake.h"

enum { FAKE_DISKS = 8 };
static struct fake_disk disks[FAKE_DISKS];

static void carry_out(struct fake_disk *d, struct blk_req *r)
{
	uint8_t *p = d->data + r->lba * SECTOR_SIZE;

	d->reads += r->op == BLK_READ;
	d->writes += r->op == BLK_WRITE;
	d->flushes += r->op == BLK_FLUSH;
	d->discards += r->op == BLK_DISCARD;
	d->max_pieces = MAX(d->max_pieces, r->nsg);
	if (d->fail)
		return;
	if (r->op == BLK_DISCARD)
		memset(p, 0, (size_t)r->nsectors * SECTOR_SIZE);
	for (unsigned i = 0; i < r->nsg; i++) {
		if (r->op == BLK_READ)
			memcpy(phys_to_virt(r->sg[i].addr), p, r->sg[i].len);
		else if (r->op == BLK_WRITE)
			memcpy(p, phys_to_virt(r->sg[i].addr), r->sg[i].len);
		p += r->sg[i].len;
	}
}

static void fake_submit(struct blk_dev *dev, struct blk_req *r)
{
	struct fake_disk *d = CONTAINER_OF(dev, struct fake_disk, dev);

	if (d->hold) {
		list_push_back(&d->held, &r->link);
		d->nheld++;
		return;
	}
	carry_out(d, r);
	blk_complete(r, d->fail);
}

static const struct blk_ops fake_ops = {.submit = fake_submit};

bool fake_disk_complete(struct fake_disk *d)
{
	struct list *n = list_pop_front(&d->held);
	struct blk_req *r = n ? LIST_ENTRY(n, struct blk_req, link) : NULL;

	if (!r)
		return false;
	d->nheld--;
	carry_out(d, r);
	blk_complete(r, d->fail);
	return true;
}

static struct fake_disk *disk_named(const char *name)
{
	for (unsigned i = 0; i < FAKE_DISKS; i++) {
		if (!disks[i].dev.name[0] || strcmp(disks[i].dev.name, name) == 0)
			return &disks[i];
	}
	panic("too many fake disks");
}

struct fake_disk *fake_disk_new(const char *name, uint64_t nsectors)
{
	static const uint8_t guest_type[16] = GUID_GUEST_DISK_BYTES;
	struct fake_disk *d = disk_named(name);
	bool known = d->dev.name[0] != 0;

	free(d->data);
	d->data = calloc(nsectors, SECTOR_SIZE);
	d->hold = false;
	d->fail = OK;
	d->reads = d->writes = d->flushes = d->discards = d->max_pieces = d->nheld = 0;
	list_init(&d->held);
	snprintf(d->dev.name, sizeof(d->dev.name), "%s", name);
	memcpy(d->dev.type_guid, guest_type, sizeof(guest_type));
	d->dev.owner = NULL;
	d->dev.nsectors = nsectors;
	d->dev.max_sg = BLK_MAX_SG;
	d->dev.max_sectors = BLK_MAX_BYTES / SECTOR_SIZE;
	d->dev.read_only = false;
	d->dev.has_flush = d->dev.has_discard = true;
	d->dev.ops = &fake_ops;
	if (!known)
		ASSERT(blk_add(&d->dev) == OK);
	return d;
}
