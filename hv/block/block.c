/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The block layer: the registry of devices, the checks that every request
 * passes before a driver sees it, statistics, and synchronous helpers.
 */
#include <string.h>

#include "hv/block/block.h"
#include "hv/block/gpt.h"
#include "hv/block/partition.h"
#include "hv/block/split.h"
#include "hv/core/thread.h"
#include "hv/lib/cursor.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

/* Devices are never removed: a pointer from blk_find() stays good. */
static struct spinlock devices_lock = SPINLOCK_INIT(RANK_BLOCK_QUEUE);
static struct list devices = LIST_INIT(devices);

static void count(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* --- registry ------------------------------------------------------------------ */

/* What the rest of the layer relies on. */
static bool device_sound(const struct blk_dev *d)
{
	if (!d->name[0] || strnlen(d->name, sizeof(d->name)) == sizeof(d->name) ||
	    strnlen(d->label, sizeof(d->label)) == sizeof(d->label))
		return false;
	/* byte offsets fit into 64 bits */
	if (d->nsectors == 0 || d->nsectors > UINT64_MAX / SECTOR_SIZE)
		return false;
	if (d->parent)
		return range_in(d->offset, d->nsectors, d->parent->nsectors);
	if ((d->dma_align & (d->dma_align - 1)) || d->dma_align > SECTOR_SIZE)
		return false;
	return d->ops && d->ops->submit && d->max_sg > 0 && d->max_sectors > 0;
}

int blk_add(struct blk_dev *d)
{
	struct list *pos;
	uint64_t f;
	int err = OK;

	if (!device_sound(d))
		return ERR_INVAL;
	f = spin_lock(&devices_lock);
	LIST_FOREACH(pos, &devices)
	if (strcmp(LIST_ENTRY(pos, struct blk_dev, link)->name, d->name) == 0)
		err = ERR_EXIST;
	if (err == OK)
		list_push_back(&devices, &d->link);
	spin_unlock(&devices_lock, f);
	if (err)
		return err;
	log_info("block: %s: %llu MiB%s%s%s%s", d->name,
	    (unsigned long long)(d->nsectors / (MIB / SECTOR_SIZE)), d->label[0] ? ", '" : "",
	    d->label, d->label[0] ? "'" : "", d->read_only ? ", read-only" : "");
	return OK;
}

int blk_register(struct blk_dev *d)
{
	int err = blk_add(d);

	if (err == OK)
		partition_scan(d);
	return err;
}

struct blk_dev *blk_get(unsigned n)
{
	struct blk_dev *found = NULL;
	struct list *pos;
	uint64_t f = spin_lock(&devices_lock);

	LIST_FOREACH(pos, &devices)
	if (n-- == 0) {
		found = LIST_ENTRY(pos, struct blk_dev, link);
		break;
	}
	spin_unlock(&devices_lock, f);
	return found;
}

static bool match_name(const struct blk_dev *d, const void *name)
{
	return strcmp(d->name, name) == 0;
}

static bool match_label(const struct blk_dev *d, const void *label)
{
	return d->label[0] && strcmp(d->label, label) == 0;
}

static bool match_guid(const struct blk_dev *d, const void *guid)
{
	return d->parent && memcmp(d->part_guid, guid, sizeof(d->part_guid)) == 0;
}

/* The device that matches; *second is another that does, or NULL. */
static struct blk_dev *find_by(
    bool (*match)(const struct blk_dev *, const void *), const void *key, struct blk_dev **second)
{
	struct blk_dev *found = NULL;
	struct list *pos;
	uint64_t f = spin_lock(&devices_lock);

	*second = NULL;
	LIST_FOREACH(pos, &devices)
	{
		struct blk_dev *d = LIST_ENTRY(pos, struct blk_dev, link);

		if (!match(d, key))
			continue;
		if (found) {
			*second = d;
			break;
		}
		found = d;
	}
	spin_unlock(&devices_lock, f);
	return found;
}

struct blk_dev *blk_find(const char *name)
{
	struct blk_dev *d, *second = NULL;
	uint8_t guid[16];

	d = find_by(match_name, name, &second);
	if (!d)
		d = find_by(match_label, name, &second);
	if (!d && strncmp(name, "guid:", 5) == 0 && guid_parse(name + 5, guid) == OK)
		d = find_by(match_guid, guid, &second);
	if (second) {
		log_warn("block: '%s' is %s as well as %s: use the device's name", name, d->name,
		    second->name);
		return NULL;
	}
	return d;
}

struct blk_dev *blk_find_guid(const uint8_t guid[16])
{
	struct blk_dev *second, *d = find_by(match_guid, guid, &second);

	if (second)
		log_warn("block: partitions %s and %s have the same GUID", d->name, second->name);
	return second ? NULL : d;
}

/* --- requests ------------------------------------------------------------------- */

void blk_complete(struct blk_req *r, int status)
{
	r->status = status;
	if (status)
		for (struct blk_dev *d = r->dev; d; d = d->parent)
			count(&d->stat_errors);
	r->done(r);
}

/* OK if the pieces add up to the sectors asked for. */
static int check_pieces(const struct blk_req *r)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < r->nsg; i++) {
		uint64_t end;

		if (r->sg[i].len == 0 || !add_ok_u64(r->sg[i].addr.a, r->sg[i].len, &end) ||
		    !add_ok_u64(bytes, r->sg[i].len, &bytes))
			return ERR_INVAL;
	}
	return bytes == (uint64_t)r->nsectors * SECTOR_SIZE ? OK : ERR_INVAL;
}

static int check_request(const struct blk_dev *d, const struct blk_req *r)
{
	switch (r->op) {
	case BLK_FLUSH:
		return OK;
	case BLK_READ:
		break;
	case BLK_WRITE:
		if (d->read_only)
			return ERR_UNSUPPORTED;
		break;
	case BLK_DISCARD:
		if (d->read_only || !d->has_discard)
			return ERR_UNSUPPORTED;
		break;
	default:
		return ERR_INVAL;
	}
	if (r->nsectors == 0 || !range_in(r->sector, r->nsectors, d->nsectors))
		return ERR_RANGE;
	return r->op == BLK_DISCARD ? OK : check_pieces(r);
}

static void count_request(struct blk_dev *d, enum blk_op op)
{
	if (op == BLK_READ)
		count(&d->stat_reads);
	else if (op == BLK_WRITE)
		count(&d->stat_writes);
	else if (op == BLK_FLUSH)
		count(&d->stat_flushes);
}

void blk_submit(struct blk_dev *d, struct blk_req *r)
{
	int err = check_request(d, r);

	r->dev = d;
	r->drv = NULL;
	if (err) {
		blk_complete(r, err);
		return;
	}
	if (r->op == BLK_FLUSH)
		r->sector = r->nsectors = r->nsg = 0;
	count_request(d, r->op);
	r->lba = r->sector;
	while (d->parent) {
		r->lba += d->offset;
		d = d->parent;
		count_request(d, r->op);
	}
	if (r->op == BLK_FLUSH && !d->has_flush)
		blk_complete(r, OK); /* nothing is held back */
	else if (split_unneeded(d, r))
		d->ops->submit(d, r);
	else
		split_submit(d, r);
}

/* --- synchronous helpers ---------------------------------------------------------- */

struct sync {
	struct spinlock lock;
	struct waitq wq;
	bool done;
};

static void sync_done(struct blk_req *r)
{
	struct sync *s = r->ctx;
	uint64_t f = spin_lock(&s->lock);

	s->done = true;
	/* under the lock: once it is free, s may be gone */
	waitq_wake_one(&s->wq);
	spin_unlock(&s->lock, f);
}

static int submit_and_wait(struct blk_dev *d, struct blk_req *r)
{
	struct sync s = {.lock = SPINLOCK_INIT(RANK_BLOCK_QUEUE)};
	uint64_t f;

	waitq_init(&s.wq);
	list_init(&r->link);
	r->done = sync_done;
	r->ctx = &s;
	blk_submit(d, r);
	f = spin_lock(&s.lock);
	while (!s.done)
		f = waitq_wait(&s.wq, &s.lock, f);
	spin_unlock(&s.lock, f);
	return r->status;
}

/* The pieces of at most 'bytes' bytes at p, as many as fit; returns the bytes covered, whole
 * sectors. */
static uint64_t pieces_of(const uint8_t *p, uint64_t bytes, struct sg *sg, unsigned *nsg)
{
	uint64_t covered = 0, excess;
	unsigned n = 0;

	while (covered < bytes) {
		uint64_t in_page = PAGE_SIZE - ((uintptr_t)(p + covered) & (PAGE_SIZE - 1));
		uint32_t len = (uint32_t)MIN(in_page, bytes - covered);
		hpa_t addr = virt_to_phys(p + covered);

		if (n > 0 && sg[n - 1].addr.a + sg[n - 1].len == addr.a) {
			sg[n - 1].len += len;
		} else {
			if (n == BLK_MAX_SG)
				break;
			sg[n++] = (struct sg){.addr = addr, .len = len};
		}
		covered += len;
	}
	/* cut short in the middle of a sector only where the last piece is a whole page */
	excess = covered % SECTOR_SIZE;
	sg[n - 1].len -= (uint32_t)excess;
	*nsg = n;
	return covered - excess;
}

static int transfer(
    struct blk_dev *d, enum blk_op op, uint64_t sector, const void *buf, uint32_t nsectors)
{
	const uint8_t *p = buf;
	struct sg sg[BLK_MAX_SG];

	if (!range_in(sector, nsectors, d->nsectors))
		return ERR_RANGE;
	while (nsectors > 0) {
		struct blk_req r = {.op = op, .sector = sector, .sg = sg};
		uint64_t bytes = MIN((uint64_t)nsectors * SECTOR_SIZE, (uint64_t)BLK_MAX_BYTES);
		int err;

		bytes = pieces_of(p, bytes, sg, &r.nsg);
		r.nsectors = (uint32_t)(bytes / SECTOR_SIZE);
		err = submit_and_wait(d, &r);
		if (err)
			return err;
		p += bytes;
		sector += r.nsectors;
		nsectors -= r.nsectors;
	}
	return OK;
}

int blk_read(struct blk_dev *d, uint64_t sector, void *buf, uint32_t nsectors)
{
	return transfer(d, BLK_READ, sector, buf, nsectors);
}

int blk_write(struct blk_dev *d, uint64_t sector, const void *buf, uint32_t nsectors)
{
	return transfer(d, BLK_WRITE, sector, buf, nsectors);
}

int blk_flush(struct blk_dev *d)
{
	struct blk_req r = {.op = BLK_FLUSH};

	return submit_and_wait(d, &r);
}
