/* SPDX-License-Identifier: BSD-2-Clause */
/* The store's blocks as requests to a block device. */
#include "hv/snapshot/store_blk.h"

#include "hv/core/thread.h"
#include "hv/mm/mm.h"

enum { SECTORS_PER_BLOCK = STORE_BLOCK / SECTOR_SIZE };

/* A request on its way; kept for the next one when it is done. */
struct blk_slot {
	struct list link; /* on the free list */
	struct blk_req req;
	struct sg sg;
	struct store_blk *owner;
	bool done;
};

struct store_blk {
	struct blk_dev *dev;
	struct spinlock lock; /* protects done and the free list */
	struct waitq done;
	struct list free;
};

static int dev_read(void *ctx, uint64_t block, void *buf, uint32_t n)
{
	struct store_blk *b = ctx;

	return blk_read(b->dev, block * SECTORS_PER_BLOCK, buf, n * SECTORS_PER_BLOCK);
}

static int dev_write(void *ctx, uint64_t block, const void *buf, uint32_t n)
{
	struct store_blk *b = ctx;

	return blk_write(b->dev, block * SECTORS_PER_BLOCK, buf, n * SECTORS_PER_BLOCK);
}

static int dev_flush(void *ctx)
{
	return blk_flush(((struct store_blk *)ctx)->dev);
}

static void slot_done(struct blk_req *r)
{
	struct blk_slot *slot = r->ctx;
	struct store_blk *b = slot->owner;
	uint64_t f = spin_lock(&b->lock);

	slot->done = true;
	waitq_wake_all(&b->done); /* several threads may wait, each for its own */
	spin_unlock(&b->lock, f);
}

static struct blk_slot *slot_get(struct store_blk *b)
{
	uint64_t f = spin_lock(&b->lock);
	struct list *l = list_pop_front(&b->free);

	spin_unlock(&b->lock, f);
	return l ? LIST_ENTRY(l, struct blk_slot, link) : heap_alloc(sizeof(struct blk_slot));
}

/* Buffers are heap memory, contiguous in the direct map: one piece each. */
static void dev_submit(void *ctx, struct store_req *r)
{
	struct store_blk *b = ctx;
	struct blk_slot *slot = slot_get(b);

	r->io = slot;
	if (!slot) { /* no memory: then without overlap */
		r->status = r->write ? dev_write(b, r->block, r->buf, r->nblocks)
				     : dev_read(b, r->block, r->buf, r->nblocks);
		return;
	}
	*slot = (struct blk_slot){
	    .owner = b,
	    .sg = {.addr = virt_to_phys(r->buf), .len = r->nblocks * STORE_BLOCK},
	    .req =
		{
		    .op = r->write ? BLK_WRITE : BLK_READ,
		    .sector = r->block * SECTORS_PER_BLOCK,
		    .nsectors = r->nblocks * SECTORS_PER_BLOCK,
		    .nsg = 1,
		    .done = slot_done,
		},
	};
	list_init(&slot->link);
	list_init(&slot->req.link);
	slot->req.sg = &slot->sg;
	slot->req.ctx = slot;
	blk_submit(b->dev, &slot->req);
}

static int dev_wait(void *ctx, struct store_req *r)
{
	struct store_blk *b = ctx;
	struct blk_slot *slot = r->io;
	uint64_t f;

	if (!slot)
		return r->status;
	f = spin_lock(&b->lock);
	while (!slot->done)
		f = waitq_wait(&b->done, &b->lock, f);
	r->status = slot->req.status;
	r->io = NULL;
	list_push_front(&b->free, &slot->link);
	spin_unlock(&b->lock, f);
	return r->status;
}

int store_blk_io(struct blk_dev *d, struct store_io *io)
{
	struct store_blk *b = heap_zalloc(sizeof(*b));

	if (!b)
		return ERR_NOMEM;
	b->dev = d;
	spinlock_init(&b->lock, RANK_BLOCK_QUEUE);
	waitq_init(&b->done);
	list_init(&b->free);
	*io = (struct store_io){
	    .read = dev_read,
	    .write = dev_write,
	    .flush = dev_flush,
	    .submit = dev_submit,
	    .wait = dev_wait,
	    .nblocks = d->nsectors / SECTORS_PER_BLOCK,
	    .read_only = d->read_only,
	    .ctx = b,
	};
	return OK;
}

void store_blk_destroy(struct store_io *io)
{
	struct store_blk *b = io->ctx;
	struct list *l;

	while ((l = list_pop_front(&b->free)) != NULL)
		heap_free(LIST_ENTRY(l, struct blk_slot, link));
	heap_free(b);
	io->ctx = NULL;
}
