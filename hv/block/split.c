/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Splitting of block requests. A fixed number of child requests walks through
 * the parent's list; each takes the next part when it has finished the last, so
 * that memory is bounded whatever the parent's size.
 */
#include <string.h>

#include "hv/block/split.h"
#include "hv/lib/spinlock.h"
#include "hv/mm/mm.h"

enum {
	SPLIT_CHILDREN = 4,
	BOUNCE_ORDER = 4,
	BOUNCE_BYTES = (1 << BOUNCE_ORDER) * (int)PAGE_SIZE,
};

struct split;

struct split_child {
	struct blk_req req;
	struct split *owner;
	bool busy;
	bool copied;	 /* this part goes through the bounce buffer */
	uint64_t offset; /* of this part in the parent's data, in bytes */
	hpa_t bounce;	 /* 2^BOUNCE_ORDER frames; 0: none yet */
	struct sg sg[BLK_MAX_SG];
};

struct split {
	struct spinlock lock; /* busy marks, status, pumping */
	struct blk_dev *root;
	struct blk_req *r;
	int status;	/* the first error */
	bool pumping;	/* somebody is in split_pump(): everybody else leaves it to him */
	uint32_t next;	/* sectors handed to children */
	unsigned piece; /* where the next part starts: a piece of r->sg and a place in it */
	uint32_t piece_off;
	struct split_child child[SPLIT_CHILDREN];
};

static bool piece_direct(const struct blk_dev *root, uint64_t addr, uint32_t len)
{
	if (root->dma_align > 1 && ((addr | len) & (root->dma_align - 1)))
		return false;
	return !root->dma_max || addr + (len - 1) <= root->dma_max;
}

static uint32_t sectors_max(const struct blk_dev *root, enum blk_op op)
{
	if (op == BLK_DISCARD)
		return root->max_discard ? root->max_discard : UINT32_MAX;
	return root->max_sectors;
}

bool split_unneeded(const struct blk_dev *root, const struct blk_req *r)
{
	if (r->op == BLK_FLUSH)
		return true;
	if (r->nsectors > sectors_max(root, r->op))
		return false;
	if (r->op == BLK_DISCARD)
		return true;
	if (r->nsg > root->max_sg)
		return false;
	for (unsigned i = 0; i < r->nsg; i++)
		if (!piece_direct(root, r->sg[i].addr.a, r->sg[i].len))
			return false;
	return true;
}

/* Moves the place where the next part starts. */
static void advance(struct split *s, uint64_t bytes)
{
	while (bytes > 0) {
		uint32_t left = s->r->sg[s->piece].len - s->piece_off;

		if (bytes < left) {
			s->piece_off += (uint32_t)bytes;
			return;
		}
		bytes -= left;
		s->piece++;
		s->piece_off = 0;
	}
}

/* Cuts the list of the child back to whole sectors; returns the bytes that remain. */
static uint64_t trim(struct blk_req *q, struct sg *sg, uint64_t bytes)
{
	uint64_t excess = bytes % SECTOR_SIZE;

	bytes -= excess;
	while (excess > 0) {
		struct sg *last = &sg[q->nsg - 1];

		if (last->len > excess) {
			last->len -= (uint32_t)excess;
			break;
		}
		excess -= last->len;
		q->nsg--;
	}
	return bytes;
}

/* Gives the child as many of the next pieces as the device takes directly; returns bytes, maybe 0.
 */
static uint64_t gather(const struct split *s, struct split_child *c, uint64_t limit)
{
	const struct blk_req *r = s->r;
	unsigned max_sg = MIN(s->root->max_sg, (uint32_t)BLK_MAX_SG);
	uint32_t off = s->piece_off;
	uint64_t bytes = 0;

	c->req.nsg = 0;
	for (unsigned i = s->piece; i < r->nsg && c->req.nsg < max_sg && bytes < limit; i++) {
		uint64_t addr = r->sg[i].addr.a + off;
		uint32_t len = (uint32_t)MIN((uint64_t)(r->sg[i].len - off), limit - bytes);

		if (!piece_direct(s->root, addr, len))
			break;
		c->sg[c->req.nsg++] = (struct sg){.addr = hpa(addr), .len = len};
		bytes += len;
		off = 0;
	}
	return trim(&c->req, c->sg, bytes);
}

/* Copies len bytes between the bounce buffer and the parent's pieces, from a place given. */
static void copy_pieces(
    const struct blk_req *r, uint64_t offset, uint8_t *buf, uint64_t len, bool to_buf)
{
	for (unsigned i = 0; i < r->nsg && len > 0; i++) {
		uint64_t n = r->sg[i].len;
		uint8_t *p;

		if (offset >= n) {
			offset -= n;
			continue;
		}
		n = MIN(n - offset, len);
		p = (uint8_t *)phys_to_virt(r->sg[i].addr) + offset;
		memcpy(to_buf ? buf : p, to_buf ? p : buf, n);
		offset = 0;
		buf += n;
		len -= n;
	}
}

/* Lets the child's part go through its bounce buffer; returns bytes, 0 without memory. */
static uint64_t bounce(const struct split *s, struct split_child *c, uint64_t limit)
{
	limit = MIN(limit, (uint64_t)BOUNCE_BYTES);
	if (!c->bounce.a)
		c->bounce =
		    s->root->dma_max ? frames_alloc_low(BOUNCE_ORDER) : frames_alloc(BOUNCE_ORDER);
	if (!c->bounce.a)
		return 0;
	if (s->r->op == BLK_WRITE)
		copy_pieces(s->r, c->offset, phys_to_virt(c->bounce), limit, true);
	c->copied = true;
	c->sg[0] = (struct sg){.addr = c->bounce, .len = (uint32_t)limit};
	c->req.nsg = 1;
	return limit;
}

/* Gives the idle child the next part. ERR_NOMEM: no memory for a bounce buffer. */
static int prepare(struct split *s, struct split_child *c)
{
	const struct blk_req *r = s->r;
	uint32_t sectors = MIN(r->nsectors - s->next, sectors_max(s->root, r->op));

	c->copied = false;
	c->offset = (uint64_t)s->next * SECTOR_SIZE;
	c->req.nsg = 0;
	if (r->op != BLK_DISCARD) {
		uint64_t limit = (uint64_t)sectors * SECTOR_SIZE;
		uint64_t bytes = gather(s, c, limit);

		if (bytes == 0)
			bytes = bounce(s, c, limit);
		if (bytes == 0)
			return ERR_NOMEM;
		advance(s, bytes);
		sectors = (uint32_t)(bytes / SECTOR_SIZE);
	}
	c->req.op = r->op;
	c->req.lba = c->req.sector = r->lba + s->next;
	c->req.nsectors = sectors;
	c->req.drv = NULL;
	c->req.status = OK;
	s->next += sectors;
	return OK;
}

static struct split_child *idle_child(struct split *s)
{
	for (unsigned i = 0; i < SPLIT_CHILDREN; i++)
		if (!s->child[i].busy)
			return &s->child[i];
	return NULL;
}

static bool all_idle(const struct split *s)
{
	for (unsigned i = 0; i < SPLIT_CHILDREN; i++)
		if (s->child[i].busy)
			return false;
	return true;
}

static void split_finish(struct split *s)
{
	struct blk_req *r = s->r;
	int status = s->status;

	for (unsigned i = 0; i < SPLIT_CHILDREN; i++)
		if (s->child[i].bounce.a)
			frames_free(s->child[i].bounce, BOUNCE_ORDER);
	heap_free(s);
	blk_complete(r, status);
}

/*
 * Marks a child idle (NULL at the start), then hands out parts while there are
 * parts and idle children. A child may finish inside its submission, on this
 * stack, or on another CPU: then it only marks itself idle, and this loop,
 * which decides under the lock that nothing is left to do, goes round again. So
 * the stack does not grow with the request's size, and who finds everything
 * idle and handed out is the last to touch s.
 */
static void split_pump(struct split *s, struct split_child *done)
{
	uint64_t f = spin_lock(&s->lock);
	bool finished;

	if (done) {
		done->busy = false;
		if (s->status == OK)
			s->status = done->req.status;
	}
	if (s->pumping) {
		spin_unlock(&s->lock, f);
		return;
	}
	s->pumping = true;
	while (s->status == OK && s->next < s->r->nsectors) {
		struct split_child *c = idle_child(s);
		int err;

		if (!c)
			break;
		c->busy = true;
		spin_unlock(&s->lock, f);
		err = prepare(s, c);
		if (err == OK)
			s->root->ops->submit(s->root, &c->req);
		f = spin_lock(&s->lock);
		if (err) {
			c->busy = false;
			s->status = s->status ? s->status : err;
		}
	}
	finished = all_idle(s) && (s->status || s->next == s->r->nsectors);
	s->pumping = false;
	spin_unlock(&s->lock, f);
	if (finished)
		split_finish(s);
}

static void child_done(struct blk_req *q)
{
	struct split_child *c = CONTAINER_OF(q, struct split_child, req);

	if (c->copied && q->op == BLK_READ && q->status == OK)
		copy_pieces(c->owner->r, c->offset, phys_to_virt(c->bounce), c->sg[0].len, false);
	split_pump(c->owner, c);
}

void split_submit(struct blk_dev *root, struct blk_req *r)
{
	struct split *s = heap_zalloc(sizeof(*s));

	if (!s) {
		blk_complete(r, ERR_NOMEM);
		return;
	}
	spinlock_init(&s->lock, RANK_BLOCK_QUEUE);
	s->root = root;
	s->r = r;
	for (unsigned i = 0; i < SPLIT_CHILDREN; i++) {
		struct split_child *c = &s->child[i];

		c->owner = s;
		c->req.sg = c->sg;
		c->req.done = child_done;
		list_init(&c->req.link);
	}
	split_pump(s, NULL);
}
