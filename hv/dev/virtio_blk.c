/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtio block device (virtio 1.2, section 5.2) on a block device of the
 * host: the model, and the acceptance of requests.
 *
 * A request is taken from the ring in the thread that notified, and submitted
 * there; the device's worker goes on with it. There is one for each descriptor that can be a head,
 * so that nothing is allocated on the way and none waits for another.
 */
#include "hv/dev/virtio_blk.h"

#include <string.h>
#include "hv/core/vm.h"
#include "hv/dev/disk_backend.h"
#include "hv/dev/virtio_blk_impl.h"
#include "hv/lib/cursor.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

int (*virtio_blk_before_first_write)(struct vm *vm, struct blk_dev *backend);

/* Feature bits, 5.2.3 */
#define VIRTIO_BLK_F_SIZE_MAX	  BIT(1)
#define VIRTIO_BLK_F_SEG_MAX	  BIT(2)
#define VIRTIO_BLK_F_RO		  BIT(5)
#define VIRTIO_BLK_F_BLK_SIZE	  BIT(6)
#define VIRTIO_BLK_F_FLUSH	  BIT(9)
#define VIRTIO_BLK_F_DISCARD	  BIT(13)
#define VIRTIO_BLK_F_WRITE_ZEROES BIT(14)

/* struct virtio_blk_config, 5.2.4 */
enum vblk_config {
	VBLK_CONFIG_CAPACITY = 0,
	VBLK_CONFIG_SIZE_MAX = 8,
	VBLK_CONFIG_SEG_MAX = 12,
	VBLK_CONFIG_BLK_SIZE = 20,
	VBLK_CONFIG_MAX_DISCARD_SECTORS = 36,
	VBLK_CONFIG_MAX_DISCARD_SEG = 40,
	VBLK_CONFIG_DISCARD_SECTOR_ALIGNMENT = 44,
	VBLK_CONFIG_MAX_WRITE_ZEROES_SECTORS = 48,
	VBLK_CONFIG_MAX_WRITE_ZEROES_SEG = 52,
	VBLK_CONFIG_WRITE_ZEROES_MAY_UNMAP = 56,
};
/* struct virtio_blk_req, 5.2.6 */
enum vblk_type {
	VBLK_T_IN = 0,
	VBLK_T_OUT = 1,
	VBLK_T_FLUSH = 4,
	VBLK_T_GET_ID = 8,
	VBLK_T_DISCARD = 11,
	VBLK_T_WRITE_ZEROES = 13,
};
enum vblk_header { HEADER_TYPE = 0, HEADER_SECTOR = 8, HEADER_SIZE = 16 };
/* struct virtio_blk_discard_write_zeroes */
enum vblk_discard {
	DISCARD_SECTOR = 0,
	DISCARD_NUM_SECTORS = 8,
	DISCARD_FLAGS = 12,
	DISCARD_SIZE = 16,
	DISCARD_FLAG_UNMAP = 1,
};
enum { VBLK_DISCARD_MAX = 1 << 22 }; /* sectors */

static struct vblk *vblk_of(struct virtio_dev *v)
{
	return CONTAINER_OF(v, struct vblk, v);
}

static bool is_write(const struct vblk_req *r)
{
	return r->op == BLK_WRITE || r->op == BLK_DISCARD;
}

/* --- accepting ------------------------------------------------------------------ */

/* Verdict of a handler: a status for the guest at once, the request is under way, or is to be taken
 * again later. */
enum { VBLK_UNDER_WAY = -1, VBLK_RETRY = -2 };

/* What an error of an access to guest memory means for the request. */
static int verdict_of(int err)
{
	return err == ERR_RETRY ? VBLK_RETRY : err ? VBLK_S_IOERR : VBLK_S_OK;
}

static int accept_transfer(struct vblk_req *r, const struct vring_chain *c, uint64_t sector)
{
	struct vblk *b = r->b;

	if (r->op == BLK_WRITE)
		vblk_take_data(r, c->seg, c->nread, HEADER_SIZE, c->read_len - HEADER_SIZE);
	else
		vblk_take_data(r, c->seg + c->nread, c->nwrite, 0, c->write_len - 1);
	r->sector = sector;
	r->left = r->op == BLK_WRITE ? c->read_len - HEADER_SIZE : c->write_len - 1;
	r->written = r->op == BLK_WRITE ? 0 : r->left;
	if (r->op == BLK_WRITE && b->read_only)
		return VBLK_S_IOERR;
	/* SIZE_MAX and SEG_MAX together bound a request, and with it the wait for it. */
	if (r->left == 0 || r->left % SECTOR_SIZE ||
	    r->left > (uint64_t)VBLK_SIZE_MAX * VBLK_SEG_MAX ||
	    !range_in(sector, r->left / SECTOR_SIZE, b->st.capacity))
		return VBLK_S_IOERR;
	return VBLK_UNDER_WAY;
}

/* Offered always, so that a guest can move to a host whose disk has no cache to flush. */
static int accept_flush(struct vblk_req *r, const struct vring_chain *c, uint64_t sector)
{
	return r->b->backend->has_flush ? VBLK_UNDER_WAY : VBLK_S_OK;
}

static int accept_get_id(struct vblk_req *r, const struct vring_chain *c, uint64_t sector)
{
	struct vblk *b = r->b;

	r->written = VBLK_ID_BYTES;
	if (c->write_len < VBLK_ID_BYTES + 1)
		return VBLK_S_IOERR;
	return verdict_of(vring_scatter(&b->v.vq[0], c, 0, b->id, VBLK_ID_BYTES));
}

/* The range of a discard; flags: those that the request may have. */
static int accept_range(
    struct vblk_req *r, const struct vring_chain *c, uint64_t feature, uint32_t flags)
{
	struct vblk *b = r->b;
	uint8_t range[DISCARD_SIZE];
	uint32_t sectors;
	int err;

	if (!(b->st.virtio.driver_features & feature))
		return VBLK_S_UNSUPP;
	if (b->read_only || c->read_len != HEADER_SIZE + DISCARD_SIZE)
		return VBLK_S_IOERR;
	err = vring_gather(&b->v.vq[0], c, HEADER_SIZE, range, sizeof(range));
	if (err)
		return verdict_of(err);
	if (get_le32(range + DISCARD_FLAGS) & ~flags)
		return VBLK_S_UNSUPP;
	r->sector = get_le64(range + DISCARD_SECTOR);
	sectors = get_le32(range + DISCARD_NUM_SECTORS);
	if (!sectors || sectors > VBLK_DISCARD_MAX || !range_in(r->sector, sectors, b->st.capacity))
		return VBLK_S_IOERR;
	r->left = (uint64_t)sectors * SECTOR_SIZE;
	return b->backend->has_discard ? VBLK_UNDER_WAY : VBLK_S_OK;
}

/* A hint: where the host's disk cannot do it, as after a restore elsewhere, nothing is done.
 * 5.2.6.2: no flag is for DISCARD. */
static int accept_discard(struct vblk_req *r, const struct vring_chain *c, uint64_t sector)
{
	return accept_range(r, c, VIRTIO_BLK_F_DISCARD, 0);
}

/* Offered only where what was discarded reads as zeros, with or without leave to unmap. */
static int accept_write_zeroes(struct vblk_req *r, const struct vring_chain *c, uint64_t sector)
{
	return accept_range(r, c, VIRTIO_BLK_F_WRITE_ZEROES, DISCARD_FLAG_UNMAP);
}

static const struct vblk_handler {
	uint32_t type;
	enum blk_op op; /* if it goes to the host's disk */
	int (*accept)(struct vblk_req *r, const struct vring_chain *c, uint64_t sector);
} vblk_handlers[] = {
    {VBLK_T_IN, BLK_READ, accept_transfer},
    {VBLK_T_OUT, BLK_WRITE, accept_transfer},
    {VBLK_T_FLUSH, BLK_FLUSH, accept_flush},
    {VBLK_T_GET_ID, BLK_FLUSH, accept_get_id},
    {VBLK_T_DISCARD, BLK_DISCARD, accept_discard},
    {VBLK_T_WRITE_ZEROES, BLK_DISCARD, accept_write_zeroes},
};

/* The last byte that the device may write (5.2.6.4). */
static gpa_t status_address(const struct vring_chain *c)
{
	const struct vring_seg *last = &c->seg[c->nread + c->nwrite - 1];

	return gpa_add(last->addr, last->len - 1);
}

/* All but the arrays, which are large and filled as needed. */
static void request_init(struct vblk_req *r, struct vblk *b, const struct vring_chain *c)
{
	r->b = b;
	r->step = STEP_SUBMIT;
	r->head = c->head;
	r->status = VBLK_S_OK;
	r->status_addr = status_address(c);
	r->sector = r->left = r->written = 0;
	r->bounced = false;
	r->nseg = r->seg_index = r->seg_off = 0;
	r->nsg = r->nmaps = 0;
}

static void enlist(struct vblk *b, struct vblk_req *r)
{
	vblk_active_add(b, 1);
	list_push_back(is_write(r) && b->epoch != EPOCH_RAISED ? &b->gated : &b->ready, &r->link);
}

static int accept_by_type(struct vblk_req *r, const struct vring_chain *c, const uint8_t *header)
{
	uint32_t type = get_le32(header + HEADER_TYPE);

	for (unsigned i = 0; i < ARRAY_LEN(vblk_handlers); i++) {
		if (vblk_handlers[i].type != type)
			continue;
		r->op = vblk_handlers[i].op;
		return vblk_handlers[i].accept(r, c, get_le64(header + HEADER_SECTOR));
	}
	return VBLK_S_UNSUPP;
}

/* v.lock held. */
static int64_t vblk_accept(struct virtio_dev *v, unsigned q, struct vring_chain *c)
{
	struct vblk *b = vblk_of(v);
	struct vblk_req *r = &b->req[c->head];
	uint8_t header[HEADER_SIZE], status;
	int verdict, err = ERR_CORRUPT;

	if (c->read_len >= HEADER_SIZE && c->write_len >= 1)
		err = vring_gather(&v->vq[q], c, 0, header, sizeof(header));
	if (err) {
		v->vq[q].error = "a request without header or status byte";
		return virtio_failed(err);
	}
	request_init(r, b, c);
	verdict = accept_by_type(r, c, header);
	if (verdict == VBLK_UNDER_WAY) {
		enlist(b, r);
		return VIRTIO_PENDING;
	}
	if (verdict == VBLK_RETRY)
		return VIRTIO_RETRY;
	status = (uint8_t)verdict;
	err = gmem_write(v->vm, r->status_addr, &status, 1);
	if (err) {
		v->vq[q].error = "a status byte that is not in RAM";
		return virtio_failed(err);
	}
	b->stat_errors += status != VBLK_S_OK;
	return status == VBLK_S_OK ? (int64_t)r->written + 1 : 1;
}

/* --- submitting ----------------------------------------------------------------- */

/* Moves all of from to the end of to. */
static void splice(struct list *to, struct list *from)
{
	struct list *n;

	while ((n = list_pop_front(from)))
		list_push_back(to, n);
}

static void advance_all(struct list *batch)
{
	struct list *n;

	while ((n = list_pop_front(batch)))
		vblk_advance(LIST_ENTRY(n, struct vblk_req, link));
}

static void fail_all(struct list *batch)
{
	struct list *pos;

	LIST_FOREACH(pos, batch)
	{
		struct vblk_req *r = LIST_ENTRY(pos, struct vblk_req, link);

		r->status = VBLK_S_IOERR;
		r->step = STEP_FINISH;
	}
}

/*
 * The gated requests go on, or fail, as the hook says. In the worker, since the
 * hook waits for a disk: a vCPU that did would have to be waited for by a live
 * save. If the machine was saved meanwhile, the epoch that was raised may be the
 * one that the snapshot has: the worker asks again. No lock held.
 */
static void raise_epoch(struct vblk *b)
{
	int (*hook)(struct vm *, struct blk_dev *) = virtio_blk_before_first_write;
	int err = hook ? hook(b->v.vm, b->backend) : OK;
	struct list batch;
	bool stale;

	list_init(&batch);
	if (err)
		log_warn("vm %s: %s: no write before the disk's epoch is raised: %s",
		    b->v.vm->config.name, b->v.dev->name, error_text(err));
	mutex_lock(&b->v.lock);
	stale = b->epoch != EPOCH_RAISING;
	if (!stale) {
		b->epoch = err ? EPOCH_ARMED : EPOCH_RAISED;
		splice(&batch, &b->gated);
	}
	mutex_unlock(&b->v.lock);
	if (err)
		fail_all(&batch);
	advance_all(&batch);
	if (stale)
		virtio_work_later(&b->v);
}

/* Do writes wait for a hook that nobody has called yet? v.lock held. */
static bool wants_epoch(const struct vblk *b)
{
	return b->epoch == EPOCH_ARMED && !list_empty(&b->gated);
}

/* Requests that a loaded state lists as in flight are done (again) first. v.lock held. */
static void replay(struct vblk *b)
{
	struct virtio_dev *v = &b->v;
	struct vring *vr = &v->vq[0];
	uint16_t old_used = vr->st->used_idx;

	while (virtio_running(v, 0)) {
		uint16_t head = (uint16_t)bitmap_next_set(b->replay, VRING_MAX_SIZE, 0);
		int64_t written;
		int err;

		if (head == VRING_MAX_SIZE)
			break;
		err = vring_fetch(vr, head, &v->chain);
		written = err ? virtio_failed(err) : vblk_accept(v, 0, &v->chain);
		if (written >= 0) {
			err = vring_push(vr, head, (uint32_t)written);
			written = err ? virtio_failed(err) : written;
		}
		if (written == VIRTIO_RETRY)
			break; /* the machine is being stopped; with resume it comes here again */
		bitmap_clear(b->replay, head);
		if (written == VIRTIO_BROKEN)
			virtio_broken(v, 0);
	}
	virtio_signal(v, 0, old_used);
}

static void vblk_notify(struct virtio_dev *v, unsigned q)
{
	struct vblk *b = vblk_of(v);
	struct list batch;

	list_init(&batch);
	mutex_lock(&v->lock);
	replay(b);
	virtio_process(v, q, NULL, vblk_accept);
	splice(&batch, &b->ready);
	if (wants_epoch(b))
		virtio_work_later(v);
	mutex_unlock(&v->lock);
	advance_all(&batch);
}

/* What the host's disk has completed, and what was kept while the device was held. */
static void go_on(struct vblk *b)
{
	struct list batch;
	uint64_t flags;

	list_init(&batch);
	flags = spin_lock(&b->slock);
	if (!b->held)
		splice(&batch, &b->todo);
	spin_unlock(&b->slock, flags);
	advance_all(&batch);
}

static void vblk_work(struct virtio_dev *v)
{
	struct vblk *b = vblk_of(v);
	bool raise;

	mutex_lock(&v->lock);
	raise = wants_epoch(b);
	if (raise)
		b->epoch = EPOCH_RAISING;
	mutex_unlock(&v->lock);
	go_on(b);
	vblk_notify(v, 0);
	if (raise)
		raise_epoch(b);
}

/* Requests take no step from the return until release(). No lock held. */
static void hold(struct vblk *b)
{
	uint64_t flags = spin_lock(&b->slock);

	b->held = true;
	while (b->busy) /* not for the host's disk, at most for guest memory */
		flags = waitq_wait(&b->idle, &b->slock, flags);
	spin_unlock(&b->slock, flags);
}

/* What was kept goes on, in the worker: the caller's thread may be the one that frees what a step
 * waits for. No lock held. */
static void release(struct vblk *b)
{
	uint64_t flags = spin_lock(&b->slock);
	bool work = !list_empty(&b->todo);

	b->held = false;
	spin_unlock(&b->slock, flags);
	if (work)
		virtio_work_later(&b->v);
}

/* Those that wait for the machine to go on are let go of. No lock held. */
static void drop_stalled(struct vblk *b)
{
	uint64_t flags = spin_lock(&b->slock);

	list_init(&b->stalled);
	b->active -= b->nstalled;
	b->nstalled = 0;
	spin_unlock(&b->slock, flags);
}

/* They are tried again with the next release(). No lock held. */
static void retry_stalled(struct vblk *b)
{
	uint64_t flags = spin_lock(&b->slock);

	splice(&b->todo, &b->stalled);
	b->nstalled = 0;
	spin_unlock(&b->slock, flags);
}

/* Waits for all that the host is at work on. */
static void finish_all(struct vblk *b)
{
	struct virtio_dev *v = &b->v;
	uint64_t flags;

	release(b);
	mutex_lock(&v->lock);
	if (wants_epoch(b)) /* left over by a save */
		virtio_work_later(v);
	mutex_unlock(&v->lock);
	flags = spin_lock(&b->slock);
	while (b->active != b->nstalled || b->busy)
		flags = waitq_wait(&b->idle, &b->slock, flags);
	spin_unlock(&b->slock, flags);
}

/* The driver's reset, and the end. */
static void vblk_drain(struct virtio_dev *v)
{
	finish_all(vblk_of(v));
	drop_stalled(vblk_of(v));
}

/* v.lock held. */
static void vblk_forget(struct virtio_dev *v)
{
	struct vblk *b = vblk_of(v);

	memset(b->replay, 0, sizeof(b->replay));
}

static const struct virtio_ops vblk_ops = {
    .notify = vblk_notify,
    .drain = vblk_drain,
    .reset = vblk_forget,
    .work = vblk_work,
};

/* --- the model
 * ------------------------------------------------------------------------------------ */

static void fill_config(struct vblk *b)
{
	memset(b->config, 0, sizeof(b->config));
	put_le64(b->config + VBLK_CONFIG_CAPACITY, b->st.capacity);
	put_le32(b->config + VBLK_CONFIG_SIZE_MAX, VBLK_SIZE_MAX);
	put_le32(b->config + VBLK_CONFIG_SEG_MAX, VBLK_SEG_MAX);
	put_le32(b->config + VBLK_CONFIG_BLK_SIZE, SECTOR_SIZE);
	put_le32(b->config + VBLK_CONFIG_MAX_DISCARD_SECTORS, VBLK_DISCARD_MAX);
	put_le32(b->config + VBLK_CONFIG_MAX_DISCARD_SEG, 1);
	put_le32(b->config + VBLK_CONFIG_DISCARD_SECTOR_ALIGNMENT, 1);
	put_le32(b->config + VBLK_CONFIG_MAX_WRITE_ZEROES_SECTORS, VBLK_DISCARD_MAX);
	put_le32(b->config + VBLK_CONFIG_MAX_WRITE_ZEROES_SEG, 1);
	b->config[VBLK_CONFIG_WRITE_ZEROES_MAY_UNMAP] = 1;
}

static int vblk_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	static const uint16_t queue_size[] = {VBLK_QUEUE_SIZE};
	struct blk_dev *backend;
	struct virtio_desc desc = {
	    .id = VIRTIO_ID_BLOCK,
	    .class_code = 0x010000, /* mass storage, SCSI: what drivers have come to expect */
	    .features = VIRTIO_BLK_F_SIZE_MAX | VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_BLK_SIZE |
			VIRTIO_BLK_F_FLUSH,
	    .accepts = VIRTIO_BLK_F_RO | VIRTIO_BLK_F_DISCARD,
	    .config_len = VBLK_CONFIG_SIZE,
	    .nqueues = 1,
	    .queue_size = queue_size,
	};
	struct vblk *b;
	int err = disk_backend_find(cfg, &backend, e);

	if (err)
		return err;
	b = heap_zalloc(sizeof(*b));
	dev->priv = b;
	if (!b)
		return err_set(e, ERR_NOMEM, "no memory");
	b->bounce = heap_alloc(VBLK_BOUNCE_BYTES);
	if (!b->bounce)
		return err_set(e, ERR_NOMEM, "no memory");
	dev->state = &b->st;
	b->backend = backend;
	b->read_only = cfg->read_only || backend->read_only;
	dev->disk = b->read_only ? NULL : backend;
	b->st.capacity = backend->nsectors;
	memcpy(b->id, cfg->serial, strnlen(cfg->serial, VBLK_ID_BYTES));
	list_init(&b->ready);
	list_init(&b->gated);
	list_init(&b->bounce_waiters);
	list_init(&b->todo);
	list_init(&b->stalled);
	spinlock_init(&b->slock, RANK_DEV_SPIN);
	waitq_init(&b->idle);
	fill_config(b);
	desc.config = b->config;
	desc.features |= b->read_only ? VIRTIO_BLK_F_RO : 0;
	desc.features |= backend->has_discard && !b->read_only ? VIRTIO_BLK_F_DISCARD : 0;
	desc.features |= backend->discard_zeroes && !b->read_only ? VIRTIO_BLK_F_WRITE_ZEROES : 0;
	return virtio_create(&b->v, dev, cfg, &desc, &vblk_ops, &b->st.virtio, b->st.queue, e);
}

static void vblk_destroy(struct device *dev)
{
	struct vblk *b = dev->priv;

	if (!b)
		return;
	virtio_destroy(&b->v);
	disk_backend_release(dev);
	heap_free(b->bounce);
	heap_free(b);
	dev->priv = dev->state = NULL;
}

static void vblk_reset(struct device *dev)
{
	struct vblk *b = dev->priv;

	virtio_reset(&b->v);
	b->st.capacity = b->backend->nsectors;
	fill_config(b);
	mutex_lock(&b->v.lock);
	b->epoch = EPOCH_ARMED;
	mutex_unlock(&b->v.lock);
}

/*
 * Requests in flight stay so, in the state and at the host's disk. A restore does
 * them again, whether or not the host has done them meanwhile, and in any order:
 * the guest was told of none of them that it ended, those in flight at once
 * have no order among them, and a flush is about the writes that ended before
 * it was made available (5.2.6.2). A write puts down the same data again, since
 * its buffers are the device's until it ends; so it may also go on after the
 * save without raising the epoch, which later requests do.
 */
static void vblk_quiesce(struct device *dev)
{
	struct vblk *b = dev->priv;

	virtio_quiesce(&b->v);
	hold(b);
}

static void vblk_finish_all(struct device *dev)
{
	finish_all(dev->priv);
}

/*
 * The lock is free as long as the device is paused and held. Afterwards the worker may hold it and
 * wait for this thread, which then takes it no more.
 */
static void vblk_resume(struct device *dev)
{
	struct vblk *b = dev->priv;

	mutex_lock(&b->v.lock);
	b->epoch = EPOCH_ARMED;
	mutex_unlock(&b->v.lock);
	retry_stalled(b);
	virtio_resume(&b->v);
	release(b);
}

static int vblk_check(const struct device *dev, const void *state, struct errmsg *e)
{
	const struct vblk *b = dev->priv;
	const struct vblk_state *st = state;

	if (st->capacity > b->backend->nsectors)
		return err_set(e, ERR_RANGE,
		    "capacity: disk '%s' has %llu sectors, the guest's has %llu", b->backend->name,
		    (unsigned long long)b->backend->nsectors, (unsigned long long)st->capacity);
	return virtio_check(&b->v, &st->virtio, st->queue, e);
}

static void vblk_loaded(struct device *dev)
{
	struct vblk *b = dev->priv;

	virtio_loaded(&b->v);
	fill_config(b);
	memcpy(b->replay, b->st.queue[0].inflight, sizeof(b->replay));
}

static const struct state_field vblk_fields[] = {
    VIRTIO_STATE_FIELDS(struct vblk_state, virtio),
    VRING_STATE_FIELDS(struct vblk_state, queue[0], "queue0"),
    STATE_INT(struct vblk_state, capacity, "capacity", UINT64_MAX / SECTOR_SIZE,
	"size that the guest sees, in sectors of 512 bytes"),
    STATE_END,
};

DEVICE_MODEL(vblk_model) = {
    .compatible = "amber,virtio-blk",
    .version = 1,
    .class = DEVCLASS_CONFIG,
    .doc = "virtio 1.2 block device",
    .state_size = sizeof(struct vblk_state),
    .fields = vblk_fields,
    .create = vblk_create,
    .destroy = vblk_destroy,
    .reset = vblk_reset,
    .quiesce = vblk_quiesce,
    .drain = vblk_finish_all,
    .resume = vblk_resume,
    .check = vblk_check,
    .loaded = vblk_loaded,
};
