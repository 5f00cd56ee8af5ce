/* SPDX-License-Identifier: BSD-2-Clause */
/* Disks of the store as block devices: the devices, their threads, their requests. */
#include "hv/snapshot/overlay_blk.h"

#include <string.h>

#include "hv/block/guids.h"
#include "hv/core/vm.h"
#include "hv/dev/disk_backend.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/engine.h"
#include "hv/snapshot/disk_object.h"
#include "hv/snapshot/engine_int.h"
#include "hv/snapshot/overlay_base.h"

/* What others get of the store between two batches, if they want it. A save takes it for 64 KiB at
 * a time; with each of a guest's flushes in between, which wait for the disk, it would never end.
 */
#define OTHERS_TURN_NS 2000000

enum {
	BATCH = 16, /* requests between two looks at who else wants the store */
	DISCARD_SECTORS = 16 * MIB / SECTOR_SIZE,
};

/* A device. The list of them is changed and walked with the store locked, and they never go. */
struct odev {
	struct list link;
	struct blk_dev dev;
	char name[VDISK_NAME_MAX + 1];
	struct overlay *disk; /* NULL: not open; with the store locked */
	uint8_t *buf;	      /* OVERLAY_MAX_BYTES; the thread's */
	bool told;	      /* an error is in the log already */
	/* protected by lock */
	struct spinlock lock;
	struct waitq waitq;
	struct list queue;
	struct waitq marked; /* who waits for a mark */
};

/* Beside the block layer's: an overlay_mark. */
#define OP_MARK ((enum blk_op)(BLK_DISCARD + 1))

static struct list odevs = LIST_INIT(odevs);

/* --- requests ------------------------------------------------------------------------ */

/* Copies between the request's pieces and the buffer. */
static void copy_pieces(const struct blk_req *r, uint8_t *buf, bool to_pieces)
{
	for (unsigned i = 0; i < r->nsg; i++) {
		void *p = phys_to_virt(r->sg[i].addr);

		if (to_pieces)
			memcpy(p, buf, r->sg[i].len);
		else
			memcpy(buf, p, r->sg[i].len);
		buf += r->sg[i].len;
	}
}

static int do_discard(struct odev *o, struct store *s, const struct blk_req *r, struct errmsg *e)
{
	uint64_t off = r->lba * SECTOR_SIZE, left = (uint64_t)r->nsectors * SECTOR_SIZE, done;
	int err = OK;

	for (; !err && left; off += done, left -= done)
		err = overlay_zero(o->disk, s, off, left, &done, e);
	return err;
}

/* The disk's thread has come to the mark. Store locked. */
static int freeze(struct odev *o, struct store *s, struct snap_disk *out, struct errmsg *e)
{
	const struct vdisk *v = overlay_info(o->disk);

	*out = (struct snap_disk){.epoch = v->base.epoch};
	memcpy(out->guid, v->base.guid, sizeof(out->guid));
	str_copy(out->name, sizeof(out->name), v->name);
	return overlay_freeze(o->disk, s, &out->overlay, e);
}

/* A flush is done by the commit that ends the batch. */
static int do_request(struct odev *o, struct store *s, struct blk_req *r, struct errmsg *e)
{
	uint64_t off = r->lba * SECTOR_SIZE;
	uint32_t len = r->nsectors * SECTOR_SIZE;
	int err;

	if (!o->disk)
		return err_set(e, ERR_NOENT, "disk '%s': not there any more", o->name);
	if (r->op == OP_MARK)
		return freeze(o, s, &CONTAINER_OF(r, struct overlay_mark, req)->rec, e);
	switch (r->op) {
	case BLK_READ:
		err = overlay_read(o->disk, s, off, o->buf, len, e);
		if (!err)
			copy_pieces(r, o->buf, true);
		return err;
	case BLK_WRITE:
		/* the guest may change its memory meanwhile: checksum and data are of the copy */
		copy_pieces(r, o->buf, false);
		return overlay_write(o->disk, s, off, o->buf, len, e);
	case BLK_DISCARD:
		return do_discard(o, s, r, e);
	case BLK_FLUSH:
		break;
	}
	return OK;
}

static void tell(struct odev *o, int err, const struct errmsg *e)
{
	if (!err || err == ERR_NOSPACE || o->told)
		return;
	o->told = true;
	log_error("%s (further errors of this disk are not reported)", e->text);
}

/* Up to BATCH requests off the queue; waits for the first. */
static unsigned take_batch(struct odev *o, struct blk_req *batch[BATCH])
{
	uint64_t flags = spin_lock(&o->lock);
	unsigned n = 0;

	while (list_empty(&o->queue))
		flags = waitq_wait(&o->waitq, &o->lock, flags);
	while (n < BATCH && !list_empty(&o->queue))
		batch[n++] = LIST_ENTRY(list_pop_front(&o->queue), struct blk_req, link);
	spin_unlock(&o->lock, flags);
	return n;
}

/*
 * In the order of their submission, then one commit for all flushes. A flush is about the requests
 * that were finished before it was submitted: those are in an earlier batch. Returns whether others
 * have waited for the store.
 */
static bool carry_out(struct odev *o, struct blk_req *batch[BATCH], unsigned n, int status[BATCH])
{
	struct errmsg e = {.text = ""};
	struct store *s = engine_lock(&e);
	bool flush = false, wanted;
	int err = OK;

	for (unsigned i = 0; i < n; i++) {
		status[i] = s ? do_request(o, s, batch[i], &e) : ERR_IO;
		if (batch[i]->op == OP_MARK)
			CONTAINER_OF(batch[i], struct overlay_mark, req)->e = e;
		else
			tell(o, status[i], &e);
		flush |= batch[i]->op == BLK_FLUSH;
	}
	if (!s)
		return false;
	if (flush)
		err = o->disk ? overlay_flush(o->disk, s, &e) : ERR_NOENT;
	tell(o, err, &e);
	for (unsigned i = 0; i < n; i++)
		if (batch[i]->op == BLK_FLUSH)
			status[i] = err;
	wanted = engine_is_wanted();
	engine_unlock(); /* which opens the store again if that error left it unusable */
	return wanted;
}

/* One batch: for the thread, and for tests. */
static void serve(struct odev *o)
{
	struct blk_req *batch[BATCH];
	int status[BATCH];
	unsigned n = take_batch(o, batch);
	bool wanted = carry_out(o, batch, n, status);

	for (unsigned i = 0; i < n; i++) {
		if (batch[i]->op == OP_MARK) {
			batch[i]->status = status[i];
			batch[i]->done(batch[i]);
		} else {
			blk_complete(batch[i], status[i]);
		}
	}
	if (wanted)
		thread_sleep(OTHERS_TURN_NS);
}

static void thread_main(void *arg)
{
	for (;;)
		serve(arg);
}

static void odev_submit(struct blk_dev *d, struct blk_req *r)
{
	struct odev *o = d->drv;
	uint64_t flags = spin_lock(&o->lock);

	list_push_back(&o->queue, &r->link);
	waitq_wake_one(&o->waitq);
	spin_unlock(&o->lock, flags);
}

static const struct blk_ops odev_ops = {.submit = odev_submit};

bool overlay_blk_is(const struct blk_dev *d)
{
	return d->ops == &odev_ops;
}

/* --- devices ------------------------------------------------------------------------- */

static struct odev *odev_find(const char *name)
{
	struct list *pos;

	LIST_FOREACH(pos, &odevs)
	if (strcmp(LIST_ENTRY(pos, struct odev, link)->name, name) == 0)
		return LIST_ENTRY(pos, struct odev, link);
	return NULL;
}

static int odev_register(struct odev *o, const struct vdisk *v, struct errmsg *e)
{
	static const uint8_t type[16] = GUID_GUEST_DISK_BYTES;
	struct blk_dev *d = &o->dev;
	int err;

	str_copy(o->name, sizeof(o->name), v->name);
	str_format(d->name, sizeof(d->name), CONFIG_STORE_PREFIX "%s", v->name);
	str_copy(d->label, sizeof(d->label), d->name);
	memcpy(d->type_guid, type, sizeof(type));
	d->nsectors = v->size / SECTOR_SIZE;
	d->max_sg = BLK_MAX_SG;
	d->max_sectors = OVERLAY_MAX_BYTES / SECTOR_SIZE;
	d->max_discard = DISCARD_SECTORS;
	d->has_flush = d->has_discard = d->discard_zeroes = true;
	d->ops = &odev_ops;
	d->drv = o;
	spinlock_init(&o->lock, RANK_BLOCK_QUEUE);
	waitq_init(&o->waitq);
	waitq_init(&o->marked);
	list_init(&o->queue);
	list_init(&d->link);
	err = blk_add(d);
	if (err)
		return err_set(e, err, "block device '%s': %s", d->name, error_text(err));
	if (!thread_create(d->name, thread_main, o, 0, 128))
		return err_set(e, ERR_NOMEM, "disk '%s': out of memory", v->name);
	return OK;
}

/* A new device, known to the block layer from now on. */
static struct odev *odev_new(const struct vdisk *v, struct errmsg *e)
{
	struct odev *o = heap_zalloc(sizeof(*o));

	if (o)
		o->buf = heap_alloc(OVERLAY_MAX_BYTES);
	if (!o || !o->buf) {
		heap_free(o);
		err_set(e, ERR_NOMEM, "disk '%s': out of memory", v->name);
		return NULL;
	}
	if (odev_register(o, v, e)) {
		if (!list_empty(&o->dev.link))
			return NULL; /* without a thread, but known: it is never freed */
		heap_free(o->buf);
		heap_free(o);
		return NULL;
	}
	list_push_back(&odevs, &o->link);
	return o;
}

int overlay_blk_open(struct store *s, const char *name, struct blk_dev **out, struct errmsg *e)
{
	struct overlay_base base;
	struct vdisk v;
	struct odev *o = odev_find(name);
	int err;

	*out = o ? &o->dev : NULL;
	if (o && o->disk)
		return OK;
	err = vdisk_get(s, name, &v, e);
	if (!err)
		err = overlay_base_open(s, &v, &base, e);
	if (err)
		return err;
	if (!o)
		o = odev_new(&v, e);
	if (!o)
		return ERR_NOMEM;
	*out = &o->dev;
	o->told = false;
	err = overlay_open(s, name, &base, 0, &o->disk, e);
	overlay_blk_resized(&o->dev);
	return err;
}

int overlay_blk_create(
    struct store *s, const char *name, const char *base, uint64_t size, struct errmsg *e)
{
	struct vdisk v = {.size = size};
	int err = vdisk_name_check(name, e);

	if (err)
		return err;
	str_copy(v.name, sizeof(v.name), name);
	if (base && base[0])
		err = overlay_base_describe(s, base, &v.base, e);
	if (err)
		return err_prefix(e, err, "disk '%s'", name);
	if (!v.size)
		v.size = v.base.size;
	if (!v.size)
		return err_set(e, ERR_INVAL, "disk '%s': neither a size nor a base", name);
	return vdisk_create(s, &v, e);
}

struct overlay *overlay_blk_disk(struct blk_dev *d)
{
	return overlay_blk_is(d) ? ((struct odev *)d->drv)->disk : NULL;
}

void overlay_blk_resized(struct blk_dev *d)
{
	struct overlay *disk = overlay_blk_disk(d);

	if (disk)
		d->nsectors = overlay_info(disk)->size / SECTOR_SIZE;
}

void overlay_blk_forget(struct blk_dev *d)
{
	struct odev *o = d->drv;

	overlay_close(o->disk);
	o->disk = NULL;
}

/* --- for the engine ------------------------------------------------------------------ */

static void mark_done(struct blk_req *r)
{
	struct overlay_mark *m = CONTAINER_OF(r, struct overlay_mark, req);
	struct odev *o = r->dev->drv;
	uint64_t flags = spin_lock(&o->lock);

	m->done = true;
	waitq_wake_all(&o->marked);
	spin_unlock(&o->lock, flags);
}

void overlay_blk_mark(struct blk_dev *d, struct overlay_mark *m)
{
	m->set = true;
	m->done = false;
	m->req = (struct blk_req){.op = OP_MARK, .done = mark_done, .dev = d};
	list_init(&m->req.link);
	odev_submit(d, &m->req);
}

int overlay_blk_marked(struct overlay_mark *m, struct snap_disk *out, struct errmsg *e)
{
	struct odev *o;
	uint64_t flags;

	if (!m->set)
		return OK;
	o = m->req.dev->drv;
	flags = spin_lock(&o->lock);
	while (!m->done)
		flags = waitq_wait(&o->marked, &o->lock, flags);
	spin_unlock(&o->lock, flags);
	m->set = false;
	*out = m->rec;
	*e = m->e;
	return m->req.status;
}

int overlay_blk_prepare(struct blk_dev *d, struct errmsg *e)
{
	struct odev *o = d->drv;
	bool done = false;
	int err = OK;

	while (!err && !done) {
		struct store *s = engine_lock(e);

		if (!s)
			return ERR_NOENT;
		done = !o->disk || overlay_depth(o->disk) < OVERLAY_FLATTEN_DEPTH;
		if (!done)
			err = overlay_flatten_step(o->disk, s, &done, e);
		engine_unlock();
		thread_yield();
	}
	return err;
}

int overlay_blk_check(struct store *s, const struct snap_disk *rec, struct errmsg *e)
{
	const struct vdisk *v;
	struct blk_dev *d;
	int err = overlay_blk_open(s, rec->name, &d, e);

	if (err)
		return err;
	v = overlay_info(overlay_blk_disk(d));
	if (memcmp(v->base.guid, rec->guid, sizeof(rec->guid)) != 0)
		return err_set(e, ERR_STATE, "disk '%s': has another base now", rec->name);
	if (v->base.epoch != rec->epoch)
		return err_set(e, ERR_STATE,
		    "disk '%s': its base has been written since (epoch %llu, the snapshot has "
		    "%llu)",
		    rec->name, (unsigned long long)v->base.epoch, (unsigned long long)rec->epoch);
	return OK;
}

int overlay_blk_clone(
    struct store *s, const struct snap_disk *rec, const char *name, struct errmsg *e)
{
	struct vdisk v;
	int err = overlay_blk_check(s, rec, e);

	if (!err)
		err = vdisk_get(s, rec->name, &v, e);
	if (!err)
		err = vdisk_name_check(name, e);
	if (err)
		return err;
	str_copy(v.name, sizeof(v.name), name);
	return vdisk_create_over(s, &v, rec->overlay, e);
}

/* In the running transaction; *changed says that it has something of this. */
static int set_contents(struct store *s, struct overlay *const *disk, const struct snap_disk *rec,
    unsigned n, uint64_t *orphan, bool *changed, struct errmsg *e)
{
	int err = disk_make_room(s, n, 3 * n, e); /* so that none fails behind another */

	for (unsigned i = 0; !err && i < n; i++) {
		err = overlay_set_content(disk[i], s, rec[i].overlay, &orphan[i], e);
		*changed |= !err;
	}
	return err;
}

int overlay_blk_restore(struct store *s, const struct snap_disk *rec, unsigned n, struct errmsg *e)
{
	uint64_t orphan[SNAP_DISKS_MAX] = {0};
	struct overlay *disk[SNAP_DISKS_MAX];
	bool changed = false;
	int err = n > SNAP_DISKS_MAX ? err_set(e, ERR_INVAL, "too many disks") : OK;

	for (unsigned i = 0; !err && i < n; i++) {
		struct blk_dev *d;

		err = overlay_blk_open(s, rec[i].name, &d, e);
		if (err)
			break;
		disk[i] = overlay_blk_disk(d);
		overlay_flatten_abort(disk[i], s); /* which commits: before anything changes */
	}
	if (!err)
		err = set_contents(s, disk, rec, n, orphan, &changed, e);
	if (!err)
		err = store_commit(s, e);
	if (err && changed)
		store_give_up(s); /* opened again, the store shows the disks as they were */
	for (unsigned i = 0; !err && i < n; i++)
		if (orphan[i]) /* room that cannot be regained now is at the next opening */
			(void)store_object_delete(s, orphan[i], NULL);
	return err;
}

void overlay_blk_reattach(struct store *s)
{
	struct errmsg e;
	struct list *pos;

	LIST_FOREACH(pos, &odevs)
	{
		struct odev *o = LIST_ENTRY(pos, struct odev, link);

		if (!o->disk || overlay_reattach(o->disk, s, &e) == OK)
			continue;
		log_error("%s", e.text);
		if (o->dev.owner)
			vm_fail(
			    (struct vm *)(uintptr_t)o->dev.owner, DISP_DISK_ERROR, "%s", e.text);
	}
}

/* --- hooks of the machines' disks ---------------------------------------------------- */

/* The store, which the calling thread may have locked already: a restore builds machines so. */
static struct store *lock_unless_mine(bool *locked, struct errmsg *e)
{
	struct store *s = engine_store_if_mine();

	*locked = !s;
	return s ? s : engine_lock(e);
}

static int open_for_machine(const struct config_dev *cfg, struct blk_dev **out, struct errmsg *e)
{
	const char *name = cfg->backend + sizeof(CONFIG_STORE_PREFIX) - 1;
	struct vdisk v;
	bool locked;
	struct store *s = lock_unless_mine(&locked, e);
	int err;

	if (!s)
		return ERR_NOENT;
	err = vdisk_get(s, name, &v, e);
	if (err == ERR_NOENT && (cfg->base[0] || cfg->disk_size)) {
		err = overlay_blk_create(s, name, cfg->base, cfg->disk_size, e);
		if (!err)
			log_info("disk '%s': made, as the manifest says", name);
	}
	if (!err)
		err = overlay_blk_open(s, name, out, e);
	if (locked)
		engine_unlock();
	return err;
}

/* A machine starts: a partition that disks of the store build on is not for it to write. */
static int claiming(struct vm *vm, struct blk_dev *backend, struct errmsg *e)
{
	char name[VDISK_NAME_MAX + 1];
	struct errmsg ignored;
	bool locked;
	struct store *s = lock_unless_mine(&locked, &ignored);
	int err = OK;

	if (!s)
		return OK; /* no store, no disks in it */
	if (overlay_blk_is(backend)) {
		struct overlay *disk = overlay_blk_disk(backend);

		if (disk)
			overlay_forget_loss(disk); /* as after a power cut */
		else
			err = err_set(e, ERR_NOENT, "there is no disk '%s'", backend->name);
	} else {
		err = vdisk_on_partition(s, backend->part_guid, name, e);
		if (!err && name[0])
			err = err_set(e, ERR_BUSY,
			    "partition '%s' is the base of disk '%s' and must not change",
			    backend->label, name);
	}
	if (locked)
		engine_unlock();
	return err;
}

void overlay_blk_init(void)
{
	disk_backend_open_store = open_for_machine;
	disk_backend_claiming = claiming;
}
