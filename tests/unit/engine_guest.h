/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guests of the walk over the snapshot engine, and the model of what they must find. A guest
 * writes and reads pages, has the hypervisor write some, and has a disk: a device model that
 * stands in for virtio-blk and has the same duties: it records requests in flight, holds what the
 * host completes between quiesce and resume, does again what a loaded state lists, and pauses the
 * machine when the store is full.
 *
 * The model knows each byte, but for sectors of 512 bytes that are vague: a request is or was in
 * flight there, or writes that were not flushed may be lost.
 *
 * Included once by test_engine_walk.c.
 */
#ifndef AMBER_TESTS_ENGINE_GUEST_H
#define AMBER_TESTS_ENGINE_GUEST_H

#include "hv/dev/disk_backend.h"
#include "hv/dev/disk_backend.h"
#include "hv/dev/vmgenid.h"
#include "hv/snapshot/overlay_base.h"
#include "hv/snapshot/overlay_int.h"
#include "tests/unit/engine_host.h"

enum { SECTOR = SECTOR_SIZE, PAGE_SECTORS = PAGE_SIZE / SECTOR, REQS = 4, REQ_SG = 4 };

/* --- contents ------------------------------------------------------------------------ */

struct page {
	unsigned refs;
	uint8_t b[PAGE_SIZE];
};

/* RAM or a disk: pages that copies share, NULL: zeros. */
struct image {
	uint64_t size; /* a multiple of PAGE_SIZE; 0: there is none */
	struct page **page;
	uint8_t *vague; /* by sector */
};

static const uint8_t zeros[PAGE_SIZE];

static void page_unref(struct page *p)
{
	if (p && --p->refs == 0)
		free(p);
}

static void image_free(struct image *m)
{
	for (uint64_t i = 0; i < m->size / PAGE_SIZE; i++)
		page_unref(m->page[i]);
	free(m->page);
	free(m->vague);
	*m = (struct image){.size = 0};
}

static void image_make(struct image *m, uint64_t size)
{
	image_free(m);
	m->size = size;
	m->page = calloc(size / PAGE_SIZE, sizeof(*m->page));
	m->vague = calloc(1, size / SECTOR);
}

/* What from has not is zeros; what it has beyond to's size is left out. */
static void image_copy_sized(struct image *to, const struct image *from, uint64_t size)
{
	uint64_t n = MIN(size, from->size);
	struct image old = *to;

	*to = (struct image){.size = 0};
	image_make(to, size);
	if (n)
		memcpy(to->vague, from->vague, n / SECTOR);
	for (uint64_t i = 0; i < n / PAGE_SIZE; i++) {
		to->page[i] = from->page[i];
		if (to->page[i])
			to->page[i]->refs++;
	}
	image_free(&old);
}

static void image_copy(struct image *to, const struct image *from)
{
	image_copy_sized(to, from, from->size);
}

static const uint8_t *image_page(const struct image *m, uint64_t i)
{
	return m->page[i] ? m->page[i]->b : zeros;
}

static uint8_t *image_own(struct image *m, uint64_t i)
{
	struct page *p = m->page[i], *own;

	if (p && p->refs == 1)
		return p->b;
	own = malloc(sizeof(*own));
	own->refs = 1;
	memcpy(own->b, image_page(m, i), PAGE_SIZE);
	page_unref(p);
	m->page[i] = own;
	return own->b;
}

/* data == NULL: zeros. */
static void image_write(struct image *m, uint64_t off, const uint8_t *data, uint64_t len)
{
	ASSERT(off + len <= m->size);
	for (uint64_t s = ALIGN_UP(off, (uint64_t)SECTOR); s + SECTOR <= off + len; s += SECTOR)
		m->vague[s / SECTOR] = 0;
	for (uint64_t n; len; off += n, len -= n) {
		uint8_t *p = image_own(m, off / PAGE_SIZE) + off % PAGE_SIZE;

		n = MIN(len, PAGE_SIZE - off % PAGE_SIZE);
		if (data)
			memcpy(p, data, n);
		else
			memset(p, 0, n);
		data = data ? data + n : NULL;
	}
}

static void image_blur(struct image *m, uint64_t off, uint64_t len)
{
	memset(m->vague + off / SECTOR, 1, len / SECTOR);
}

/* found is what page i is: true if it may be. */
static bool image_allows(const struct image *m, uint64_t i, const uint8_t *found)
{
	const uint8_t *want = image_page(m, i);

	if (memcmp(want, found, PAGE_SIZE) == 0)
		return true;
	for (unsigned s = 0; s < PAGE_SECTORS; s++)
		if (!m->vague[i * PAGE_SECTORS + s] &&
		    memcmp(want + s * SECTOR, found + s * SECTOR, SECTOR) != 0)
			return false;
	return true;
}

/* --- disks --------------------------------------------------------------------------- */

enum { MODEL_DISKS = 24, DISK_MAX = 2 << 20, BASE_BYTES = 1 << 20 };

struct model_disk {
	bool used, based;
	char name[VDISK_NAME_MAX + 1];
	struct image now;
	uint64_t *written; /* by sector: when it was last, if no flush came since; 0: safe */
	unsigned switches; /* how often it was given another content as a whole */
	struct image cut;  /* what the power cut left */
	bool found;	   /* in the store, behind the cut */
};

struct content {
	struct model_disk *disk;
	struct image ram, on_disk;
};

static struct {
	struct model_disk disk[MODEL_DISKS];
	uint64_t seq;		    /* of writes to disks */
	const struct content *from; /* what is being restored or cloned */
	bool cloning;
	struct vm *capturing; /* its next quiescence is an instant */
	struct content instant;
	struct vm *rewinding;
	bool shaky; /* the partition fails now and then, or has failed: errors are no surprise */
	const uint8_t *base; /* what is on the partition below */
	uint64_t guest_ops, disk_ops, replays, stalls, lost;
} w;

static void content_free(struct content *c)
{
	image_free(&c->ram);
	image_free(&c->on_disk);
	c->disk = NULL;
}

static void content_copy(struct content *to, const struct content *from)
{
	to->disk = from->disk;
	image_copy(&to->ram, &from->ram);
	image_copy(&to->on_disk, &from->on_disk);
}

static struct model_disk *disk_named(const char *name)
{
	for (unsigned i = 0; i < MODEL_DISKS; i++)
		if (w.disk[i].used && strcmp(w.disk[i].name, name) == 0)
			return &w.disk[i];
	return NULL;
}

/* A new one, of zeros over its base. */
static struct model_disk *disk_make(const char *name, uint64_t size, bool based)
{
	struct model_disk *d = w.disk;

	while (d->used)
		d++;
	ASSERT(d < w.disk + MODEL_DISKS);
	*d = (struct model_disk){.used = true, .based = based};
	str_copy(d->name, sizeof(d->name), name);
	image_make(&d->now, size);
	d->written = calloc(DISK_MAX / SECTOR, sizeof(*d->written));
	if (based)
		image_write(&d->now, 0, w.base, BASE_BYTES);
	return d;
}

static void disk_drop(struct model_disk *d)
{
	image_free(&d->now);
	image_free(&d->cut);
	free(d->written);
	d->used = false;
}

/* It is what a snapshot or mark says from now on. */
static void disk_switch(struct model_disk *d, const struct image *to)
{
	image_copy_sized(&d->now, to, d->now.size);
	memset(d->written, 0, DISK_MAX / SECTOR * sizeof(*d->written));
	d->switches++;
}

static struct overlay *overlay_of(const struct model_disk *d)
{
	char name[64];
	struct blk_dev *b;

	str_format(name, sizeof(name), CONFIG_STORE_PREFIX "%s", d->name);
	b = blk_find(name);
	return b ? overlay_blk_disk(b) : NULL;
}

/* What was not flushed may be lost. */
static void blur_unsafe(const struct model_disk *d, struct image *m)
{
	for (uint64_t i = 0; i < m->size / SECTOR; i++)
		if (d->written[i])
			m->vague[i] = 1;
}

static bool disk_is_lost(struct model_disk *d)
{
	const struct overlay *o = overlay_of(d);

	if (!o || !o->lost)
		return false;
	blur_unsafe(d, &d->now);
	return true;
}

/* --- the device ---------------------------------------------------------------------- */

enum guest_op { OP_NONE, OP_READ, OP_WRITE, OP_DISCARD, OP_FLUSH };

struct guest_state {
	uint64_t capacity;
	uint64_t op[REQS], sector[REQS], count[REQS], addr[REQS];
};

struct guest_req {
	struct blk_req blk;
	struct guest *g;
	struct list link; /* in todo */
	struct sg sg[REQ_SG];
	unsigned nsg, index;
	uint64_t flushes; /* writes up to this one */
};

/* All in one thread at a time: no lock but where somebody waits. */
struct guest {
	struct guest_state st;
	struct vm *vm;
	struct blk_dev *backend;
	struct model_disk *disk;
	struct image ram;
	struct image pending; /* the disk's, as soon as the machine goes on */
	struct content mark;
	bool marked, held;
	bool redo[REQS];  /* in flight in the state, and not at the host */
	unsigned at_host; /* requests */
	struct list todo; /* done by the host while the device was held */
	struct spinlock lock;
	struct waitq idle;
	struct guest_req req[REQS];
};

static struct guest *guest_of(struct vm *vm)
{
	struct device *d = device_find(vm, "amber,virtio-blk");

	return d ? d->priv : NULL;
}

int (*virtio_blk_before_first_write)(struct vm *vm, struct blk_dev *backend);
int (*disk_backend_open_store)(
    const struct config_dev *cfg, struct blk_dev **out, struct errmsg *e);
int (*disk_backend_claiming)(struct vm *vm, struct blk_dev *backend, struct errmsg *e);

int disk_backend_claim(struct vm *vm, struct vm *instead, struct errmsg *e)
{
	struct guest *g = guest_of(vm);
	const struct vm *owner = g->backend->owner;
	int err;

	if (owner && owner != vm && owner != instead &&
	    (owner->run_state == VM_RUNNING || owner->run_state == VM_PAUSED))
		return err_set(e, ERR_BUSY, "in use by vm '%s'", owner->config.name);
	(void)disk_is_lost(g->disk); /* which is forgotten now */
	err = disk_backend_claiming(vm, g->backend, e);
	if (!err)
		g->backend->owner = vm;
	return err;
}

int vmgenid_renew(struct vm *vm, struct errmsg *e)
{
	struct guest *g = guest_of(vm);
	uint8_t id[16];
	int err;

	for (unsigned i = 0; i < sizeof(id); i++)
		id[i] = (uint8_t)fiber_below(256);
	err = gmem_write(vm, gpa(MEMMAP_VMGENID), id, sizeof(id));
	if (err)
		return err_set(e, err, "generation ID");
	image_write(&g->ram, MEMMAP_VMGENID, id, sizeof(id));
	return OK;
}

static void capture_instant(struct guest *g)
{
	w.instant.disk = g->disk;
	image_copy(&w.instant.ram, &g->ram);
	image_copy(&w.instant.on_disk, &g->disk->now);
}

/* What the host has read is in RAM, and was compared; what it has written is on the disk. */
static void finish_transfer(struct guest *g, struct guest_req *r, enum guest_op op)
{
	uint64_t off = g->st.sector[r->index] * SECTOR, at = g->st.addr[r->index];

	for (unsigned i = 0; i < r->nsg; i++) {
		const uint8_t *p = phys_to_virt(r->sg[i].addr);

		for (uint64_t n = 0; n < r->sg[i].len; n += SECTOR, off += SECTOR, at += SECTOR) {
			const uint8_t *is =
			    image_page(&g->disk->now, off / PAGE_SIZE) + off % PAGE_SIZE;

			if (op == OP_WRITE)
				image_write(&g->disk->now, off, p + n, SECTOR);
			else if (!g->disk->now.vague[off / SECTOR] && memcmp(is, p + n, SECTOR))
				walk_fail("vm '%s' reads sector %llu of disk '%s', which differs",
				    g->vm->config.name, (unsigned long long)(off / SECTOR),
				    g->disk->name);
			else
				image_write(&g->ram, at, p + n, SECTOR);
		}
	}
}

static void finish_well(struct guest *g, struct guest_req *r)
{
	unsigned k = r->index;
	enum guest_op op = (enum guest_op)g->st.op[k];
	uint64_t *written = g->disk->written;

	if (op == OP_READ || op == OP_WRITE)
		finish_transfer(g, r, op);
	if (op == OP_DISCARD)
		image_write(&g->disk->now, g->st.sector[k] * SECTOR, NULL, g->st.count[k] * SECTOR);
	if (op == OP_DISCARD || op == OP_WRITE)
		for (uint64_t i = 0; i < g->st.count[k]; i++)
			written[g->st.sector[k] + i] = ++w.seq;
	for (uint64_t i = 0; op == OP_FLUSH && i < DISK_MAX / SECTOR; i++)
		if (written[i] <= r->flushes)
			written[i] = 0;
}

/* Sectors of a request that failed stay vague. */
static void finish(struct guest_req *r)
{
	struct guest *g = r->g;
	int status = r->blk.status;

	if (status == OK)
		finish_well(g, r);
	else if (status != ERR_NOSPACE && !w.shaky)
		walk_fail("vm '%s': disk '%s': %s", g->vm->config.name, g->disk->name,
		    error_text(status));
	gmem_dma_unmap(g->vm, r->sg, r->nsg, g->st.op[r->index] == OP_READ);
	if (status == ERR_NOSPACE) {
		w.stalls++;
		g->redo[r->index] = true;
		vm_hold(g->vm, DISP_NO_SPACE, "the store is full");
		return;
	}
	if (g->st.op[r->index] != OP_FLUSH && status)
		(void)disk_is_lost(g->disk);
	g->st.op[r->index] = OP_NONE;
	w.disk_ops++;
}

static void req_done(struct blk_req *b)
{
	struct guest_req *r = CONTAINER_OF(b, struct guest_req, blk);
	struct guest *g = r->g;
	uint64_t flags;

	if (g->held)
		list_push_back(&g->todo, &r->link);
	else
		finish(r);
	flags = spin_lock(&g->lock);
	g->at_host--;
	waitq_wake_all(&g->idle);
	spin_unlock(&g->lock, flags);
}

static void finish_todo(struct guest *g)
{
	struct list *l;

	while ((l = list_pop_front(&g->todo)))
		finish(LIST_ENTRY(l, struct guest_req, link));
}

static const struct state_field guest_fields[] = {
    STATE_INT(struct guest_state, capacity, "capacity", STATE_ANY, "sectors"),
    STATE_ARRAY(struct guest_state, op, "op", REQS, OP_FLUSH, "in flight"),
    STATE_ARRAY(struct guest_state, sector, "sector", REQS, STATE_ANY, "first sector"),
    STATE_ARRAY(struct guest_state, count, "count", REQS, STATE_ANY, "sectors"),
    STATE_ARRAY(struct guest_state, addr, "addr", REQS, STATE_ANY, "guest-physical address"),
    STATE_END,
};

static struct model_disk *model_of(const struct config_dev *cfg, const struct blk_dev *b)
{
	const char *name = cfg->backend + sizeof(CONFIG_STORE_PREFIX) - 1;
	struct model_disk *d = disk_named(name);

	if (d)
		return d;
	d = disk_make(name, b->nsectors * SECTOR,
	    w.from && w.from->disk ? w.from->disk->based : cfg->base[0]);
	if (w.cloning)
		disk_switch(d, &w.from->on_disk);
	return d;
}

static int guest_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	struct blk_dev *b;
	int err = disk_backend_open_store(cfg, &b, e);
	struct guest *g;

	if (err)
		return err;
	dev->priv = g = heap_zalloc(sizeof(*g));
	dev->state = &g->st;
	g->vm = dev->vm;
	g->backend = b;
	g->disk = model_of(cfg, b);
	g->held = true;
	g->st.capacity = b->nsectors;
	image_make(&g->ram, WALK_MEMORY);
	list_init(&g->todo);
	spinlock_init(&g->lock, RANK_DEV_SPIN);
	waitq_init(&g->idle);
	return OK;
}

static void guest_destroy(struct device *dev)
{
	struct guest *g = dev->priv;

	if (!g)
		return;
	ASSERT(g->at_host == 0 && list_empty(&g->todo));
	if (g->backend->owner == dev->vm)
		g->backend->owner = NULL;
	image_free(&g->ram);
	image_free(&g->pending);
	content_free(&g->mark);
	heap_free(g);
}

/* Memory is cleared too. */
static void guest_reset(struct device *dev)
{
	struct guest *g = dev->priv;

	image_make(&g->ram, WALK_MEMORY);
	g->marked = false;
	memset(&g->st, 0, sizeof(g->st));
	memset(g->redo, 0, sizeof(g->redo));
	g->st.capacity = g->backend->nsectors;
}

static void guest_quiesce(struct device *dev)
{
	struct guest *g = dev->priv;

	g->held = true;
	if (w.capturing == dev->vm)
		capture_instant(g);
}

static void guest_drain(struct device *dev)
{
	struct guest *g = dev->priv;
	uint64_t flags = spin_lock(&g->lock);

	while (g->at_host)
		flags = waitq_wait(&g->idle, &g->lock, flags);
	spin_unlock(&g->lock, flags);
	finish_todo(g);
	if (w.capturing == dev->vm)
		capture_instant(g);
}

/* The machine that goes on is the one that the disk was given to. */
static void guest_settle(struct guest *g)
{
	if (g->pending.size)
		disk_switch(g->disk, &g->pending);
	image_free(&g->pending);
}

static void guest_resume(struct device *dev)
{
	struct guest *g = dev->priv;

	guest_settle(g);
	g->held = false;
	finish_todo(g);
}

static int guest_check(const struct device *dev, const void *state, struct errmsg *e)
{
	const struct guest *g = dev->priv;
	const struct guest_state *st = state;

	return st->capacity > g->backend->nsectors ? err_set(e, ERR_RANGE, "capacity") : OK;
}

static void guest_loaded(struct device *dev)
{
	struct guest *g = dev->priv;

	if (w.rewinding == dev->vm) {
		image_copy(&g->ram, &g->mark.ram);
		disk_switch(g->disk, &g->mark.on_disk);
	} else {
		image_copy(&g->ram, &w.from->ram);
		if (!w.cloning)
			image_copy(&g->pending, &w.from->on_disk);
	}
	for (unsigned i = 0; i < REQS; i++)
		g->redo[i] = g->st.op[i] != OP_NONE;
}

DEVICE_MODEL(guest_disk_model) = {
    .compatible = "amber,virtio-blk",
    .version = 1,
    .class = DEVCLASS_CONFIG,
    .doc = "a disk",
    .state_size = sizeof(struct guest_state),
    .fields = guest_fields,
    .create = guest_create,
    .destroy = guest_destroy,
    .reset = guest_reset,
    .quiesce = guest_quiesce,
    .drain = guest_drain,
    .resume = guest_resume,
    .check = guest_check,
    .loaded = guest_loaded,
};

/* --- the guest ----------------------------------------------------------------------- */

static bool overlaps(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
	return a < b + blen && b < a + alen;
}

/* Does a request in flight, other than k, use this RAM, or these sectors? */
static bool in_flight(const struct guest *g, unsigned k, uint64_t addr, uint64_t bytes,
    uint64_t sector, uint64_t count)
{
	for (unsigned i = 0; i < REQS; i++) {
		uint64_t op = g->st.op[i];

		if (i == k || op == OP_NONE)
			continue;
		if (op <= OP_WRITE && overlaps(addr, bytes, g->st.addr[i], g->st.count[i] * SECTOR))
			return true;
		if (op <= OP_DISCARD && overlaps(sector, count, g->st.sector[i], g->st.count[i]))
			return true;
	}
	return false;
}

/* Most of all goes to few pages, so that pieces meet again. */
static uint64_t some_page(void)
{
	unsigned where = fiber_below(100);

	return where < 60   ? fiber_below(96)
	       : where < 99 ? fiber_below(500)
			    : fiber_below(WALK_PAGES);
}

static void some_bytes(uint8_t *to, unsigned n)
{
	for (unsigned i = 0; i < n; i += 4) {
		uint32_t x = fake_random(&fiber_seed) * 2654435761u;

		memcpy(to + i, &x, MIN(n - i, 4U));
	}
}

static void guest_writes(struct vcpu *v, struct guest *g, bool whole)
{
	static uint8_t buf[PAGE_SIZE];
	uint64_t page = some_page();
	unsigned off = whole ? 0 : fiber_below(PAGE_SIZE - 64);
	unsigned len = whole ? (unsigned)PAGE_SIZE : 1 + fiber_below(64);
	uint8_t *p = guest_reach(v, page, true);

	if (!p || in_flight(g, REQS, page * PAGE_SIZE, PAGE_SIZE, 0, 0))
		return;
	if (whole && fiber_below(3) == 0)
		memset(buf, 0, len);
	else
		some_bytes(buf, len);
	memcpy(p + off, buf, len);
	image_write(&g->ram, page * PAGE_SIZE + off, buf, len);
}

static void guest_reads(struct vcpu *v, struct guest *g)
{
	uint64_t page = some_page();
	const uint8_t *p = guest_reach(v, page, false);

	if (p && !image_allows(&g->ram, page, p))
		walk_fail("vm '%s' reads page %llu, which differs", v->vm->config.name,
		    (unsigned long long)page);
}

/* As a device model or the emulator does. */
static void hypervisor_writes(struct vcpu *v, struct guest *g)
{
	uint64_t page = some_page(), addr = page * PAGE_SIZE + fiber_below(PAGE_SIZE - 128);
	unsigned len = 1 + fiber_below(128);
	uint8_t buf[128];

	if (gmem_prepare(v->vm, gpa(addr), len, true) ||
	    in_flight(g, REQS, page * PAGE_SIZE, PAGE_SIZE, 0, 0))
		return; /* nobody switches behind this */
	some_bytes(buf, len);
	if (fiber_below(4) == 0)
		memset(buf, 0, len);
	if (gmem_write(v->vm, gpa(addr), buf, len) == OK)
		image_write(&g->ram, addr, buf, len);
}

/* To the host; on failure the machine is being stopped, and it is taken again when it goes on. */
static void submit(struct guest *g, unsigned k)
{
	struct guest_req *r = &g->req[k];
	uint64_t bytes = g->st.count[k] * SECTOR;
	enum guest_op op = (enum guest_op)g->st.op[k];
	bool data = op == OP_READ || op == OP_WRITE;

	if (g->backend->owner != g->vm)
		walk_fail("vm '%s' uses disk '%s', which is another's", g->vm->config.name,
		    g->disk->name);
	*r = (struct guest_req){.g = g, .index = k, .flushes = w.seq};
	list_init(&r->link);
	g->redo[k] = false;
	if (data &&
	    gmem_dma_map(g->vm, gpa(g->st.addr[k]), bytes, op == OP_READ, r->sg, REQ_SG, &r->nsg)) {
		r->nsg = 0;
		g->redo[k] = true;
		return;
	}
	if (op == OP_READ)
		image_blur(&g->ram, g->st.addr[k], bytes);
	if (op == OP_WRITE || op == OP_DISCARD)
		image_blur(&g->disk->now, g->st.sector[k] * SECTOR, bytes);
	r->blk = (struct blk_req){.op = op == OP_READ	 ? BLK_READ
					: op == OP_WRITE ? BLK_WRITE
					: op == OP_FLUSH ? BLK_FLUSH
							 : BLK_DISCARD,
	    .sector = g->st.sector[k],
	    .nsectors = (uint32_t)g->st.count[k],
	    .sg = r->sg,
	    .nsg = r->nsg,
	    .done = req_done};
	list_init(&r->blk.link);
	g->at_host++;
	blk_submit(g->backend, &r->blk);
}

static void guest_requests(struct guest *g)
{
	uint64_t count = 1 + fiber_below(fiber_below(3) ? 24 : 120), sector, addr;
	uint64_t sectors = g->st.capacity;
	unsigned k = 0, what = fiber_below(20);

	while (k < REQS && g->st.op[k] != OP_NONE)
		k++;
	sector = fiber_below((uint32_t)(sectors - count));
	if (fiber_below(2))
		sector = ALIGN_DOWN(sector, (uint64_t)PAGE_SECTORS);
	addr = MIN(some_page(), (uint64_t)WALK_PAGES - 16) * PAGE_SIZE;
	if (k == REQS || in_flight(g, k, addr, count * SECTOR, sector, count))
		return;
	g->st.op[k] = what < 8 ? OP_READ : what < 16 ? OP_WRITE : what < 17 ? OP_DISCARD : OP_FLUSH;
	g->st.sector[k] = g->st.op[k] == OP_FLUSH ? 0 : sector;
	g->st.count[k] = g->st.op[k] == OP_FLUSH ? 0 : count;
	g->st.addr[k] = addr;
	submit(g, k);
}

static void guest_step(struct vcpu *v)
{
	struct guest *g = guest_of(v->vm);
	unsigned what = fiber_below(100);

	w.guest_ops++;
	for (unsigned k = 0; k < REQS; k++)
		if (g->redo[k]) {
			w.replays++;
			submit(g, k);
			return;
		}
	if (what < 40)
		guest_writes(v, g, false);
	else if (what < 46)
		guest_writes(v, g, true);
	else if (what < 64)
		guest_reads(v, g);
	else if (what < 74)
		hypervisor_writes(v, g);
	else if (what < 86)
		guest_requests(g);
	else
		thread_sleep(1000 + fiber_below(20000));
}

#endif
