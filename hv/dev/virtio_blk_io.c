/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtio block device's way to the host's disk and back: the guest's buffers
 * go into the host's scatter list as they are, or, where a controller could not
 * take them, through a bounce buffer. A request is done in parts that keep to
 * the limits of struct blk_req, one at a time.
 */
#include "hv/dev/virtio_blk_impl.h"

#include "hv/core/vm.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

/* What every host controller can do. */
enum { VBLK_BUFFER_ALIGN = 4 };

/* --- buffers -------------------------------------------------------------------- */

/*
 * May a buffer go to the host's controller as it is? Its pieces are cut at page
 * boundaries; each must be aligned and of a length that a controller can take.
 */
static bool seg_direct(const struct vring_seg *s)
{
	bool crosses = (s->addr.a & (PAGE_SIZE - 1)) + s->len > PAGE_SIZE;

	return s->addr.a % VBLK_BUFFER_ALIGN == 0 && s->len % SECTOR_SIZE == 0 &&
	       (s->addr.a % SECTOR_SIZE == 0 || !crosses);
}

void vblk_take_data(
    struct vblk_req *r, const struct vring_seg *seg, unsigned n, uint64_t off, uint64_t len)
{
	r->nseg = r->seg_index = 0;
	r->seg_off = 0;
	r->bounced = false;
	for (unsigned i = 0; i < n && len; i++) {
		uint32_t part;

		if (off >= seg[i].len) {
			off -= seg[i].len;
			continue;
		}
		part = (uint32_t)MIN(len, seg[i].len - off);
		r->seg[r->nseg] =
		    (struct vring_seg){.addr = gpa_add(seg[i].addr, off), .len = part};
		r->bounced |= !seg_direct(&r->seg[r->nseg]);
		r->nseg++;
		len -= part;
		off = 0;
	}
}

static void seg_advance(struct vblk_req *r, uint32_t n)
{
	r->seg_off += n;
	if (r->seg_off == r->seg[r->seg_index].len) {
		r->seg_index++;
		r->seg_off = 0;
	}
}

/* Copies bytes between the bounce buffer and the guest's buffers from the cursor on. */
static int bounce_copy(struct vblk_req *r, uint64_t bytes, bool to_guest)
{
	struct vm *vm = r->b->v.vm;
	uint8_t *p = r->b->bounce;

	while (bytes) {
		const struct vring_seg *s = &r->seg[r->seg_index];
		uint32_t n = (uint32_t)MIN(bytes, (uint64_t)(s->len - r->seg_off));
		gpa_t addr = gpa_add(s->addr, r->seg_off);
		int err = to_guest ? gmem_write(vm, addr, p, n) : gmem_read(vm, addr, p, n);

		if (err)
			return err;
		seg_advance(r, n);
		p += n;
		bytes -= n;
	}
	return OK;
}

/* Gives the bounce buffer to r; false: it has to wait, and is advanced later. */
static bool bounce_acquire(struct vblk_req *r)
{
	struct vblk *b = r->b;
	uint64_t flags = spin_lock(&b->slock);
	bool mine = !b->bounce_owner || b->bounce_owner == r;

	if (mine)
		b->bounce_owner = r;
	else
		list_push_back(&b->bounce_waiters, &r->link);
	spin_unlock(&b->slock, flags);
	return mine;
}

/* Passes it on; returns the next owner, which the caller advances. */
static struct vblk_req *bounce_release(struct vblk_req *r)
{
	struct vblk *b = r->b;
	struct vblk_req *next = NULL;
	struct list *n;
	uint64_t flags = spin_lock(&b->slock);

	if (b->bounce_owner == r) {
		n = list_pop_front(&b->bounce_waiters);
		next = n ? LIST_ENTRY(n, struct vblk_req, link) : NULL;
		b->bounce_owner = next;
	}
	spin_unlock(&b->slock, flags);
	return next;
}

/* --- one part ------------------------------------------------------------------- */

static void unmap_part(struct vblk_req *r)
{
	const struct sg *sg = r->sg;

	for (unsigned i = 0; i < r->nmaps; i++) {
		gmem_dma_unmap(r->b->v.vm, sg, r->map_count[i], r->op == BLK_READ);
		sg += r->map_count[i];
	}
	r->nmaps = r->nsg = 0;
}

/*
 * Maps up to len bytes at the cursor; *mapped says how many. A buffer in more
 * pieces than there is room for is cut to as many pages as there is room for,
 * since no piece is smaller than what it holds of a page.
 */
static int map_some(struct vblk_req *r, uint32_t len, uint32_t *mapped)
{
	gpa_t addr = gpa_add(r->seg[r->seg_index].addr, r->seg_off);
	unsigned count, room = BLK_MAX_SG - r->nsg;
	uint64_t fits = ALIGN_DOWN(room * PAGE_SIZE - (addr.a & (PAGE_SIZE - 1)), SECTOR_SIZE);
	struct vm *vm = r->b->v.vm;
	bool to_guest = r->op == BLK_READ;
	int err = gmem_dma_map(vm, addr, len, to_guest, r->sg + r->nsg, room, &count);

	if (err == ERR_FULL && fits && fits < len) {
		len = (uint32_t)fits;
		err = gmem_dma_map(vm, addr, len, to_guest, r->sg + r->nsg, room, &count);
	}
	if (err)
		return err;
	r->map_count[r->nmaps++] = (uint8_t)count;
	r->nsg += count;
	*mapped = len;
	return OK;
}

/* As much as fits into one request. */
static int prepare_direct(struct vblk_req *r, uint64_t *bytes)
{
	*bytes = 0;
	while (*bytes < MIN(r->left, BLK_MAX_BYTES) && r->nsg < BLK_MAX_SG) {
		uint64_t here = r->seg[r->seg_index].len - r->seg_off;
		uint32_t mapped;
		int err = map_some(r, (uint32_t)MIN(here, BLK_MAX_BYTES - *bytes), &mapped);

		if (err == ERR_FULL && *bytes)
			return OK;
		if (err)
			return err;
		seg_advance(r, mapped);
		*bytes += mapped;
	}
	return OK;
}

static int prepare_bounced(struct vblk_req *r, uint64_t *bytes)
{
	*bytes = MIN(r->left, (uint64_t)VBLK_BOUNCE_BYTES);
	r->sg[0] = (struct sg){.addr = virt_to_phys(r->b->bounce), .len = (uint32_t)*bytes};
	r->nsg = 1;
	return r->op == BLK_WRITE ? bounce_copy(r, *bytes, false) : OK;
}

static void vblk_done(struct blk_req *blk);

/* Fills r->blk; or ERR_RETRY, or another error if a buffer is not in RAM. */
static int prepare_part(struct vblk_req *r)
{
	uint64_t bytes = r->left;
	int err = OK;

	r->nsg = r->nmaps = 0;
	r->part_index = r->seg_index;
	r->part_off = r->seg_off;
	if (r->op == BLK_READ || r->op == BLK_WRITE)
		err = r->bounced ? prepare_bounced(r, &bytes) : prepare_direct(r, &bytes);
	if (err) {
		unmap_part(r);
		return err;
	}
	r->blk = (struct blk_req){
	    .op = r->op,
	    .sector = r->sector,
	    .nsectors = (uint32_t)(bytes / SECTOR_SIZE),
	    .sg = r->sg,
	    .nsg = r->nsg,
	    .done = vblk_done,
	    .ctx = r,
	};
	return OK;
}

/* The first, second, fourth, eighth... so that a dying disk does not fill the log. */
static void report_error(struct vblk_req *r, int err)
{
	struct vblk *b = r->b;
	uint64_t n = __atomic_add_fetch(&b->stat_host_errors, 1, __ATOMIC_RELAXED);

	if ((n & (n - 1)) == 0)
		log_warn("vm %s: %s: host disk %s: sector %llu: %s (error %llu)",
		    b->v.vm->config.name, b->v.dev->name, b->backend->name,
		    (unsigned long long)r->sector, error_text(err), (unsigned long long)n);
}

/* After a completed part: OK, ERR_RETRY, or an error that ends the request. */
static int part_done(struct vblk_req *r)
{
	uint64_t bytes = (uint64_t)r->blk.nsectors * SECTOR_SIZE;
	int err = r->blk.status;

	unmap_part(r);
	if (err)
		report_error(r, err);
	if (!err && r->op == BLK_READ && r->bounced)
		err = bounce_copy(r, bytes, true);
	if (err)
		return err;
	r->sector += r->blk.nsectors;
	r->left -= bytes;
	return OK;
}

/* --- the way of a request ------------------------------------------------------- */

void vblk_active_add(struct vblk *b, int n)
{
	uint64_t flags = spin_lock(&b->slock);

	b->active += (unsigned)n;
	spin_unlock(&b->slock, flags);
}

/* Begins a step; false: the device is held, and r is in todo. */
static bool step_begin(struct vblk_req *r)
{
	struct vblk *b = r->b;
	uint64_t flags = spin_lock(&b->slock);
	bool held = b->held;

	if (held)
		list_push_back(&b->todo, &r->link);
	else
		b->busy++;
	spin_unlock(&b->slock, flags);
	return !held;
}

static void step_end(struct vblk *b)
{
	uint64_t flags = spin_lock(&b->slock);

	/* Under the lock: once it is free, a waiting vblk_destroy() may take b away. */
	if (--b->busy == 0)
		waitq_wake_all(&b->idle);
	spin_unlock(&b->slock, flags);
}

/* Status byte and used entry, unless the ring broke meanwhile. OK or ERR_RETRY. v.lock held. */
static int finish_locked(struct vblk_req *r)
{
	struct vblk *b = r->b;
	struct vring *vr = &b->v.vq[0];
	uint16_t old_used = vr->st->used_idx;
	uint32_t written = r->status == VBLK_S_OK ? (uint32_t)r->written + 1 : 1;
	int err = OK;

	if (virtio_alive(&b->v)) {
		err = gmem_write(b->v.vm, r->status_addr, &r->status, 1);
		if (err)
			vr->error = "a status byte that is not in RAM";
		else
			err = vring_push(vr, r->head, written);
		if (err == ERR_RETRY)
			return err;
		if (err)
			virtio_broken(&b->v, 0);
		else
			virtio_signal(&b->v, 0, old_used);
	}
	b->stat_errors += r->status != VBLK_S_OK;
	return OK;
}

/* It is tried again, in the step that it has, when the machine goes on. */
static void put_aside(struct vblk_req *r)
{
	struct vblk *b = r->b;
	uint64_t flags = spin_lock(&b->slock);

	list_push_back(&b->stalled, &r->link);
	b->nstalled++;
	spin_unlock(&b->slock, flags);
}

/* Returns the one that got its bounce buffer and is to be advanced, if any. */
static struct vblk_req *finish(struct vblk_req *r)
{
	struct vblk *b = r->b;
	struct vblk_req *next = bounce_release(r);

	int err;

	mutex_lock(&b->v.lock);
	err = finish_locked(r);
	mutex_unlock(&b->v.lock);
	if (err)
		put_aside(r);
	else
		vblk_active_add(b, -1);
	return next;
}

/* Does the host's disk have it still? Then whoever completes it goes on; r is not ours any more. */
static bool submit_part(struct vblk_req *r)
{
	r->step = STEP_COMPLETED;
	__atomic_store_n(&r->phase, PHASE_SUBMITTING, __ATOMIC_RELEASE);
	blk_submit(r->b->backend, &r->blk);
	return __atomic_exchange_n(&r->phase, PHASE_SUBMITTED, __ATOMIC_ACQ_REL) != PHASE_DONE;
}

/* The part is done again when the machine goes on. Returns the next in the bounce buffer. */
static struct vblk_req *stall(struct vblk_req *r)
{
	struct vblk_req *next;

	unmap_part(r);
	next = bounce_release(r);
	r->seg_index = r->part_index;
	r->seg_off = r->part_off;
	r->step = STEP_SUBMIT;
	put_aside(r);
	return next;
}

/*
 * The host's disk has no room, and nothing has changed: the guest waits, paused, until the
 * operator has made some. Returns the next in the bounce buffer.
 */
static struct vblk_req *stall_no_space(struct vblk_req *r)
{
	struct vblk *b = r->b;
	struct vblk_req *next = stall(r);

	vm_hold(b->v.vm, DISP_NO_SPACE,
	    "disk '%s': no space left in the store; 'vm resume' goes on", b->backend->name);
	return next;
}

/* Returns the request to go on with, in its new step: r, the next in the bounce buffer, or none. */
static struct vblk_req *take_step(struct vblk_req *r)
{
	int err = OK;

	switch (r->step) {
	case STEP_COMPLETED:
		if (r->blk.status == ERR_NOSPACE)
			return stall_no_space(r);
		err = part_done(r);
		if (!err && r->left) {
			r->step = STEP_SUBMIT;
			return r;
		}
		break;
	case STEP_SUBMIT:
		if (r->bounced && !bounce_acquire(r))
			return NULL;
		err = prepare_part(r);
		if (!err)
			return submit_part(r) ? NULL : r;
		break;
	case STEP_FINISH:
		return finish(r);
	}
	if (err == ERR_RETRY)
		return stall(r);
	if (err)
		r->status = VBLK_S_IOERR;
	r->step = STEP_FINISH;
	return r;
}

/* A loop, not a recursion: a host disk may complete every part at once. */
void vblk_advance(struct vblk_req *r)
{
	struct vblk *b = r->b;

	while (r && step_begin(r)) {
		r = take_step(r);
		step_end(b); /* with r it may be gone */
	}
}

/*
 * The block device's thread, or blk_submit() itself, whose caller goes on. That thread takes no
 * step: the guest memory that one needs may have to come from this very disk, or wait for a save
 * that writes to it.
 */
static void vblk_done(struct blk_req *blk)
{
	struct vblk_req *r = blk->ctx;
	struct vblk *b = r->b;
	uint64_t flags;

	if (__atomic_exchange_n(&r->phase, PHASE_DONE, __ATOMIC_ACQ_REL) != PHASE_SUBMITTED)
		return;
	flags = spin_lock(&b->slock);
	list_push_back(&b->todo, &r->link);
	b->busy++; /* the worker may be at it at once, and b gone when r is finished */
	spin_unlock(&b->slock, flags);
	virtio_work_later(&b->v);
	step_end(b);
}
