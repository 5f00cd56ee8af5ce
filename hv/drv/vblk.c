/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Driver for virtio block devices of the host (virtio 1.2, modern PCI transport;
 * transitional devices in their modern mode): one queue, many requests in flight.
 *
 * Each slot owns its descriptors for good: with indirect descriptors one in the
 * ring and a table of its own, else a fixed stretch of the ring. So nothing is
 * allocated per request, and a slot's number is its first descriptor's place.
 */
#include <string.h>

#include "hv/arch/x86/io.h"
#include "hv/block/block.h"
#include "hv/core/thread.h"
#include "hv/drv/pci.h"
#include "hv/drv/virtio_blk_host.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

#define MS 1000000ULL /* ns */

enum {
	QUEUE_MAX = 256,
	SLOTS_MAX = 64,
	DIRECT_MAX_SG =
	    30, /* pieces per request without indirect descriptors: short chains, more of them */
	CHAIN_EXTRA = 2, /* header and status */
	/* the ring's frames: descriptors, then the available ring, then the used ring */
	RING_ORDER = 2,
	RING_AVAIL = 4096,
	RING_USED = 8192,
};
_Static_assert(QUEUE_MAX * sizeof(struct virtq_desc) <= RING_AVAIL, "ring layout");

/* What the device reads and writes for one request. */
struct vblk_slot_dma {
	struct virtio_blk_header header;
	struct virtio_blk_discard discard;
	uint8_t status;
	struct virtq_desc table[BLK_MAX_SG + CHAIN_EXTRA] __attribute__((aligned(16)));
};
enum { SLOTS_ORDER = 5 };
_Static_assert(
    sizeof(struct vblk_slot_dma) * SLOTS_MAX <= PAGE_SIZE << SLOTS_ORDER, "frames of slots");

struct vblk {
	struct blk_dev dev;
	const struct pci_dev *pci;
	volatile uint8_t *common, *config, *notify_base;
	volatile uint8_t *notify; /* of the queue */
	uint32_t notify_multiplier, notify_length;
	uint64_t features;
	unsigned queue_size, nslots;
	unsigned chain; /* descriptors of the ring per slot */
	struct pci_irq irq;

	struct virtq_desc *desc;
	volatile struct virtq_avail *avail;
	volatile struct virtq_used *used;
	struct vblk_slot_dma *slots;

	struct spinlock lock; /* requests and rings: down to dead */
	struct list pending;  /* requests that wait for a slot, oldest first */
	uint64_t busy;	      /* slots in flight */
	struct blk_req *req[SLOTS_MAX];
	uint16_t avail_idx, used_idx;
	bool dead; /* the device broke the protocol: requests fail at once */

	/* what wakes the thread; a lock of its own, so that the interrupt handler never waits long
	 */
	struct spinlock wake_lock;
	bool check;
	struct waitq wq;
};

static unsigned disks; /* found so far; drivers are probed one after another */

static bool has(const struct vblk *v, enum virtio_feature bit)
{
	return v->features >> bit & 1;
}

/* --- requests: all under the lock --------------------------------------------------------- */

static const uint32_t request_types[] = {
    [BLK_READ] = VIRTIO_BLK_T_IN,
    [BLK_WRITE] = VIRTIO_BLK_T_OUT,
    [BLK_FLUSH] = VIRTIO_BLK_T_FLUSH,
    [BLK_DISCARD] = VIRTIO_BLK_T_DISCARD,
};

static unsigned desc_put(
    struct virtq_desc *table, unsigned n, unsigned first, hpa_t addr, uint32_t len, uint16_t flags)
{
	table[n] = (struct virtq_desc){
	    .addr = addr.a, .len = len, .flags = flags, .next = (uint16_t)(first + n + 1)};
	return n + 1;
}

/* Writes the request's chain; 'first' is the index that the chain's first descriptor has. */
static unsigned chain_build(
    struct vblk_slot_dma *s, struct virtq_desc *table, unsigned first, const struct blk_req *r)
{
	uint16_t data = r->op == BLK_READ ? VIRTQ_NEXT | VIRTQ_WRITE : VIRTQ_NEXT;
	unsigned n = 0;

	n = desc_put(table, n, first, virt_to_phys(&s->header), sizeof(s->header), VIRTQ_NEXT);
	if (r->op == BLK_DISCARD)
		n = desc_put(table, n, first, virt_to_phys(&s->discard), sizeof(s->discard), data);
	for (unsigned i = 0; i < r->nsg; i++)
		n = desc_put(table, n, first, r->sg[i].addr, r->sg[i].len, data);
	return desc_put(table, n, first, virt_to_phys(&s->status), 1, VIRTQ_WRITE);
}

static void slot_fill(struct vblk *v, unsigned slot, const struct blk_req *r)
{
	struct vblk_slot_dma *s = &v->slots[slot];
	unsigned first = slot * v->chain;

	s->header = (struct virtio_blk_header){.type = request_types[r->op]};
	if (r->op == BLK_READ || r->op == BLK_WRITE)
		s->header.sector = r->lba;
	s->discard = (struct virtio_blk_discard){.sector = r->lba, .nsectors = r->nsectors};
	s->status = 0xff; /* not a result: shows a device that forgot to write it */
	if (has(v, VIRTIO_F_INDIRECT_DESC)) {
		unsigned n = chain_build(s, s->table, 0, r);

		v->desc[first] = (struct virtq_desc){.addr = virt_to_phys(s->table).a,
		    .len = n * (uint32_t)sizeof(struct virtq_desc),
		    .flags = VIRTQ_INDIRECT};
	} else {
		chain_build(s, &v->desc[first], first, r);
	}
}

/* Puts waiting requests into the ring; true if the device wants to be told, after unlocking. */
static bool issue_pending(struct vblk *v)
{
	uint64_t all = v->nslots == 64 ? UINT64_MAX : BIT(v->nslots) - 1;
	uint16_t before = v->avail_idx;

	while (v->busy != all && !list_empty(&v->pending)) {
		struct list *n = list_pop_front(&v->pending);
		unsigned slot = (unsigned)__builtin_ctzll(~v->busy);

		v->busy |= BIT(slot);
		v->req[slot] = LIST_ENTRY(n, struct blk_req, link);
		slot_fill(v, slot, v->req[slot]);
		v->avail->ring[v->avail_idx % v->queue_size] = (uint16_t)(slot * v->chain);
		v->avail_idx++;
	}
	if (v->avail_idx == before)
		return false;
	__atomic_store_n(&v->avail->idx, v->avail_idx, __ATOMIC_RELEASE);
	/* the index must be out before the flag is read (section 2.7.13.4.1) */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !(v->used->flags & VIRTQ_USED_NO_NOTIFY);
}

/* Not under the lock: under another hypervisor this is an exit, and may take long. */
static void notify(const struct vblk *v)
{
	mmio_write16(v->notify, 0);
}

static void vblk_submit(struct blk_dev *d, struct blk_req *r)
{
	struct vblk *v = d->drv;
	uint64_t f = spin_lock(&v->lock);
	bool dead = v->dead, tell = false;

	if (!dead) {
		list_push_back(&v->pending, &r->link);
		tell = issue_pending(v);
	}
	spin_unlock(&v->lock, f);
	if (tell)
		notify(v);
	if (dead)
		blk_complete(r, ERR_IO);
}

static const struct blk_ops vblk_ops = {.submit = vblk_submit};

static int result_of(const struct vblk_slot_dma *s)
{
	switch (*(const volatile uint8_t *)&s->status) {
	case VIRTIO_BLK_S_OK:
		return OK;
	case VIRTIO_BLK_S_UNSUPP:
		return ERR_UNSUPPORTED;
	default:
		return ERR_IO;
	}
}

/* Moves what the device has finished to 'done', with its status. */
static void collect(struct vblk *v, struct list *done)
{
	while (v->used_idx != __atomic_load_n(&v->used->idx, __ATOMIC_ACQUIRE)) {
		uint32_t id = v->used->ring[v->used_idx % v->queue_size].id;
		unsigned slot = id / v->chain;

		v->used_idx++;
		if (slot >= v->nslots || id % v->chain || !(v->busy & BIT(slot))) {
			log_error("%s: device finished request %u, which does not exist",
			    v->dev.name, id);
			v->dead = true;
			return;
		}
		v->busy &= ~BIT(slot);
		v->req[slot]->status = result_of(&v->slots[slot]);
		list_push_back(done, &v->req[slot]->link);
		v->req[slot] = NULL;
	}
}

/* Makes the device let go of all memory; false if it does not answer. */
static bool device_reset(struct vblk *v)
{
	uint64_t deadline = time_now() + 1000 * MS;

	mmio_write8(v->common + VIRTIO_STATUS, 0);
	/* the reset is done when 0 is read back (section 4.1.4.3.2) */
	while (mmio_read8(v->common + VIRTIO_STATUS) != 0) {
		if (time_now() >= deadline)
			return false;
		thread_sleep(MS);
	}
	return true;
}

/* After the device broke the protocol: stops it, then fails everything. */
static void give_up(struct vblk *v, struct list *done)
{
	struct list *n;
	uint64_t f;

	log_error("%s: disk given up", v->dev.name);
	if (!device_reset(v))
		pci_disable(v->pci);
	f = spin_lock(&v->lock);
	for (unsigned i = 0; i < v->nslots; i++) {
		if (!(v->busy & BIT(i)))
			continue;
		v->req[i]->status = ERR_IO;
		list_push_back(done, &v->req[i]->link);
	}
	v->busy = 0;
	while ((n = list_pop_front(&v->pending))) {
		LIST_ENTRY(n, struct blk_req, link)->status = ERR_IO;
		list_push_back(done, n);
	}
	spin_unlock(&v->lock, f);
}

/* --- interrupt and thread -------------------------------------------------------------------- */

/* Interrupt context; also called by a timer if there is no MSI-X. */
static void vblk_interrupt(void *arg)
{
	struct vblk *v = arg;
	uint64_t f = spin_lock(&v->wake_lock);

	/* a stale used_idx wakes the thread once too often, never too seldom */
	if (!v->dead && __atomic_load_n(&v->used_idx, __ATOMIC_RELAXED) != v->used->idx) {
		v->check = true;
		waitq_wake_one(&v->wq);
	}
	spin_unlock(&v->wake_lock, f);
}

static void finish(struct list *done)
{
	struct list *n;

	while ((n = list_pop_front(done))) {
		struct blk_req *r = LIST_ENTRY(n, struct blk_req, link);

		if (r->status)
			log_warn("%s: request of %u sectors at %llu: %s",
			    r->dev ? r->dev->name : "disk", r->nsectors, (unsigned long long)r->lba,
			    error_text(r->status));
		blk_complete(r, r->status);
	}
}

static NORETURN void vblk_thread(void *arg)
{
	struct vblk *v = arg;

	for (;;) {
		struct list done = LIST_INIT(done);
		bool broken, tell = false;
		uint64_t f = spin_lock(&v->wake_lock);

		while (!v->check)
			f = waitq_wait(&v->wq, &v->wake_lock, f);
		v->check = false;
		spin_unlock(&v->wake_lock, f);

		f = spin_lock(&v->lock);
		if (!v->dead)
			collect(v, &done);
		broken = v->dead;
		if (!broken)
			tell = issue_pending(v);
		spin_unlock(&v->lock, f);
		if (tell)
			notify(v);
		if (broken)
			give_up(v, &done);
		finish(&done);
		if (broken)
			thread_exit();
	}
}

/* --- start-up ----------------------------------------------------------------------------------
 */

/* Maps the structure that a virtio capability describes; at least min bytes, at most 4 KiB. */
static volatile uint8_t *cap_map(
    struct vblk *v, enum virtio_cap_type type, uint32_t min, unsigned *cap, struct errmsg *e)
{
	for (unsigned c = 0; (c = pci_find_cap(v->pci, PCI_CAP_VENDOR, c)) != 0;) {
		uint32_t length;

		if (pci_read8(v->pci, c + VIRTIO_CAP_TYPE) != type)
			continue;
		length = pci_read32(v->pci, c + VIRTIO_CAP_LENGTH);
		if (length < min) {
			err_set(e, ERR_INVAL, "capability %u has %u bytes, %u needed", type, length,
			    min);
			return NULL;
		}
		*cap = c;
		return pci_map_bar(v->pci, pci_read8(v->pci, c + VIRTIO_CAP_BAR),
		    pci_read32(v->pci, c + VIRTIO_CAP_OFFSET), length, e);
	}
	err_set(e, ERR_UNSUPPORTED, "capability %u is missing: a legacy device", type);
	return NULL;
}

static int map_registers(struct vblk *v, struct errmsg *e)
{
	unsigned cap;

	v->common = cap_map(v, VIRTIO_CAP_COMMON, VIRTIO_COMMON_SIZE, &cap, e);
	if (!v->common)
		return ERR_UNSUPPORTED;
	v->config = cap_map(v, VIRTIO_CAP_DEVICE, VIRTIO_BLK_CONFIG_SIZE, &cap, e);
	if (!v->config)
		return ERR_UNSUPPORTED;
	v->notify_base = cap_map(v, VIRTIO_CAP_NOTIFY, 2, &cap, e);
	if (!v->notify_base)
		return ERR_UNSUPPORTED;
	v->notify_multiplier = pci_read32(v->pci, cap + VIRTIO_CAP_NOTIFY_MULTIPLIER);
	v->notify_length = pci_read32(v->pci, cap + VIRTIO_CAP_LENGTH);
	return OK;
}

static void status_add(const struct vblk *v, enum virtio_status bit)
{
	mmio_write8(
	    v->common + VIRTIO_STATUS, mmio_read8(v->common + VIRTIO_STATUS) | (uint8_t)bit);
}

/* Agrees with the device on features (section 3.1.1). */
static int negotiate(struct vblk *v, struct errmsg *e)
{
	/* physical addresses are what a device behind no IOMMU uses, whether or not it says so */
	static const uint64_t wanted = BIT(VIRTIO_BLK_F_SIZE_MAX) | BIT(VIRTIO_BLK_F_SEG_MAX) |
				       BIT(VIRTIO_BLK_F_RO) | BIT(VIRTIO_BLK_F_FLUSH) |
				       BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_F_INDIRECT_DESC) |
				       BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_ACCESS_PLATFORM);

	for (unsigned half = 0; half < 2; half++) {
		mmio_write32(v->common + VIRTIO_DEVICE_FEATURE_SELECT, half);
		v->features |= (uint64_t)mmio_read32(v->common + VIRTIO_DEVICE_FEATURE)
			       << (32 * half);
	}
	v->features &= wanted;
	if (!has(v, VIRTIO_F_VERSION_1))
		return err_set(e, ERR_UNSUPPORTED, "device does not offer virtio 1");
	for (unsigned half = 0; half < 2; half++) {
		mmio_write32(v->common + VIRTIO_DRIVER_FEATURE_SELECT, half);
		mmio_write32(
		    v->common + VIRTIO_DRIVER_FEATURE, (uint32_t)(v->features >> (32 * half)));
	}
	status_add(v, VIRTIO_FEATURES_OK);
	if (!(mmio_read8(v->common + VIRTIO_STATUS) & VIRTIO_FEATURES_OK))
		return err_set(e, ERR_UNSUPPORTED, "device refuses the features %#llx",
		    (unsigned long long)v->features);
	return OK;
}

static uint64_t capacity(const struct vblk *v)
{
	uint64_t sectors = 0;

	/* again if it changed between the halves (section 2.5.1) */
	for (unsigned i = 0; i < 10; i++) {
		uint8_t generation = mmio_read8(v->common + VIRTIO_GENERATION);

		sectors = mmio_read32(v->config + VIRTIO_BLK_CAPACITY) |
			  (uint64_t)mmio_read32(v->config + VIRTIO_BLK_CAPACITY + 4) << 32;
		if (generation == mmio_read8(v->common + VIRTIO_GENERATION))
			break;
	}
	return sectors;
}

static int describe(struct vblk *v, struct errmsg *e)
{
	struct blk_dev *d = &v->dev;

	d->nsectors = capacity(v);
	d->read_only = has(v, VIRTIO_BLK_F_RO);
	d->has_flush = has(v, VIRTIO_BLK_F_FLUSH);
	d->has_discard = has(v, VIRTIO_BLK_F_DISCARD);
	d->max_discard = mmio_read32(v->config + VIRTIO_BLK_MAX_DISCARD);
	d->max_sectors = BLK_MAX_BYTES / SECTOR_SIZE;
	d->max_sg = BLK_MAX_SG;
	if (d->has_discard && d->max_discard == 0)
		d->has_discard = false;
	if (has(v, VIRTIO_BLK_F_SEG_MAX))
		d->max_sg = MIN(d->max_sg, MAX(mmio_read32(v->config + VIRTIO_BLK_SEG_MAX), 1u));
	if (has(v, VIRTIO_BLK_F_SIZE_MAX)) {
		/* a limit on a piece; holding whole requests to it does that */
		uint32_t size = mmio_read32(v->config + VIRTIO_BLK_SIZE_MAX);

		if (size < SECTOR_SIZE)
			return err_set(
			    e, ERR_UNSUPPORTED, "device takes pieces of only %u bytes", size);
		d->max_sectors = MIN(d->max_sectors, size / SECTOR_SIZE);
	}
	d->ops = &vblk_ops;
	d->drv = v;
	return OK;
}

static void write64(volatile uint8_t *reg, hpa_t addr)
{
	mmio_write32(reg, (uint32_t)addr.a);
	mmio_write32(reg + 4, (uint32_t)(addr.a >> 32));
}

/* Shares the queue out among slots, and tells the device where it is. */
static int queue_setup(struct vblk *v, hpa_t ring, hpa_t slots, struct errmsg *e)
{
	volatile uint8_t *c = v->common;
	unsigned size;

	mmio_write16(c + VIRTIO_QUEUE_SELECT, 0);
	size = mmio_read16(c + VIRTIO_QUEUE_SIZE);
	if (size < 4 || (size & (size - 1)))
		return err_set(e, ERR_UNSUPPORTED, "queue of %u descriptors", size);
	v->queue_size = MIN(size, (unsigned)QUEUE_MAX);
	v->chain = 1;
	/* no chain may be longer than the queue, not even an indirect one (section 2.7.5.3.1) */
	v->dev.max_sg = MIN(v->dev.max_sg, v->queue_size - CHAIN_EXTRA);
	if (!has(v, VIRTIO_F_INDIRECT_DESC)) {
		v->dev.max_sg = MIN(v->dev.max_sg, (uint32_t)DIRECT_MAX_SG);
		v->chain = v->dev.max_sg + CHAIN_EXTRA;
	}
	v->nslots = MIN(v->queue_size / v->chain, (unsigned)SLOTS_MAX);

	v->desc = phys_to_virt(ring);
	v->avail = phys_to_virt(hpa_add(ring, RING_AVAIL));
	v->used = phys_to_virt(hpa_add(ring, RING_USED));
	v->slots = phys_to_virt(slots);
	memset(phys_to_virt(ring), 0, PAGE_SIZE << RING_ORDER);
	memset(v->slots, 0, PAGE_SIZE << SLOTS_ORDER);

	mmio_write16(c + VIRTIO_QUEUE_SIZE, (uint16_t)v->queue_size);
	write64(c + VIRTIO_QUEUE_DESC, ring);
	write64(c + VIRTIO_QUEUE_DRIVER, hpa_add(ring, RING_AVAIL));
	write64(c + VIRTIO_QUEUE_DEVICE, hpa_add(ring, RING_USED));
	return OK;
}

/* Finds the register that is written to when there are new requests. */
static int notify_find(struct vblk *v, struct errmsg *e)
{
	uint64_t offset =
	    (uint64_t)mmio_read16(v->common + VIRTIO_QUEUE_NOTIFY_OFF) * v->notify_multiplier;

	if (offset + 2 > v->notify_length)
		return err_set(e, ERR_INVAL, "notification register lies outside its structure");
	v->notify = v->notify_base + offset;
	return OK;
}

/* Connects the interrupt; without MSI-X the device is polled. */
static int interrupt_setup(struct vblk *v, struct errmsg *e)
{
	int err = pci_irq_setup(v->pci, &v->irq, vblk_interrupt, v, v->dev.name);

	if (err)
		return err_set(e, err, "no interrupt vector");
	mmio_write16(v->common + VIRTIO_CONFIG_MSIX, VIRTIO_NO_VECTOR);
	if (v->irq.mode != PCI_IRQ_MSIX)
		return OK;
	mmio_write16(v->common + VIRTIO_QUEUE_MSIX, 0);
	if (mmio_read16(v->common + VIRTIO_QUEUE_MSIX) != 0)
		return err_set(e, ERR_IO, "device does not take its interrupt vector");
	return OK;
}

static int device_start(struct vblk *v, hpa_t ring, hpa_t slots, struct errmsg *e)
{
	int err = map_registers(v, e);

	if (err)
		return err;
	if (!device_reset(v))
		return err_set(e, ERR_TIMEOUT, "device does not come out of reset");
	status_add(v, VIRTIO_ACKNOWLEDGE);
	status_add(v, VIRTIO_DRIVER);
	err = negotiate(v, e);
	if (err == OK)
		err = describe(v, e);
	if (err == OK)
		err = queue_setup(v, ring, slots, e);
	if (err == OK)
		err = notify_find(v, e);
	if (err == OK)
		err = interrupt_setup(v, e);
	if (err == OK && !thread_create(v->dev.name, vblk_thread, v, 0, 256))
		err = err_set(e, ERR_NOMEM, "no memory for a thread");
	if (err)
		return err;
	mmio_write16(v->common + VIRTIO_QUEUE_ENABLE, 1);
	status_add(v, VIRTIO_DRIVER_OK);
	return OK;
}

/* Allocates a disk with its rings, or nothing. */
static struct vblk *vblk_alloc(hpa_t *ring, hpa_t *slots)
{
	struct vblk *v = heap_zalloc(sizeof(*v));

	*ring = frames_alloc(RING_ORDER);
	*slots = frames_alloc(SLOTS_ORDER);
	if (v && ring->a && slots->a)
		return v;
	heap_free(v);
	if (ring->a)
		frames_free(*ring, RING_ORDER);
	if (slots->a)
		frames_free(*slots, SLOTS_ORDER);
	return NULL;
}

/* Frees what nobody can reach any more: neither the device nor an interrupt. */
static void vblk_discard(struct vblk *v, hpa_t ring, hpa_t slots)
{
	bool silent = !v->common || device_reset(v);

	pci_disable(v->pci);
	if (!silent || v->irq.fn)
		return;
	frames_free(ring, RING_ORDER);
	frames_free(slots, SLOTS_ORDER);
	heap_free(v);
}

static int vblk_probe(struct pci_dev *d, struct errmsg *e)
{
	hpa_t ring, slots;
	struct vblk *v = vblk_alloc(&ring, &slots);
	int err;

	if (!v)
		return err_set(e, ERR_NOMEM, "no memory for a disk");
	v->pci = d;
	spinlock_init(&v->lock, RANK_DRV);
	spinlock_init(&v->wake_lock, RANK_BLOCK_QUEUE);
	list_init(&v->pending);
	waitq_init(&v->wq);
	str_format(v->dev.name, sizeof(v->dev.name), "vblk%u", disks);
	pci_enable(d);
	err = device_start(v, ring, slots, e);
	if (err) {
		vblk_discard(v, ring, slots);
		return err;
	}
	disks++;
	log_info("%s: virtio, %u requests at once%s", v->dev.name, v->nslots,
	    v->dev.read_only ? ", read-only" : "");
	err = blk_register(&v->dev);
	return err ? err_set(e, err, "%s: %s", v->dev.name, error_text(err)) : OK;
}

PCI_DRIVER(vblk_modern) = {.name = "virtio-blk",
    .vendor = VIRTIO_VENDOR,
    .device = VIRTIO_BLK_MODERN,
    .probe = vblk_probe};
PCI_DRIVER(vblk_transitional) = {.name = "virtio-blk",
    .vendor = VIRTIO_VENDOR,
    .device = VIRTIO_BLK_TRANSITIONAL,
    .probe = vblk_probe};
