/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An AHCI port and its disk: requests to commands, completion, errors.
 *
 * Reads and writes are issued as they come, up to the queue's depth. FLUSH
 * CACHE EXT and TRIM are not queued commands, which must not mix with queued
 * ones: they wait until the queue has drained, and are issued alone.
 *
 * There is one answer to every error, be it a bad sector, a broken link or a
 * command that takes too long: the port is reset, and each request that was in
 * flight is tried again alone and not queued, so that the one to blame is the
 * one that fails again. READ LOG EXT would name it sooner, but not after link
 * errors and timeouts, nor on every disk; doing a request twice is harmless, since its
 * submitter still owns nothing but the wait. Errors are rare, so speed does not matter.
 */
#include <string.h>

#include "hv/arch/x86/io.h"
#include "hv/drv/ahci.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

#define MS 1000000ULL /* ns */

#define COMMAND_TIMEOUT	 (30000 * MS)
#define WATCH_INTERVAL	 (5000 * MS)
#define ENGINE_TIMEOUT	 (500 * MS) /* AHCI 1.3.1, section 10.4.2: PxCMD.CR clears within 500 ms */
#define LINK_TIMEOUT	 (1000 * MS)
#define SPIN_UP_TIMEOUT	 (30000 * MS)
#define IDENTIFY_TIMEOUT (5000 * MS)

enum {
	MAX_ATTEMPTS = 3, /* of a request that fails by the link's fault */
	MAX_TIMEOUTS = 3, /* in a row, then the disk counts as dead */
	RESET_ATTEMPTS = 3,
};

static const char *const op_names[] = {
    [BLK_READ] = "read", [BLK_WRITE] = "write", [BLK_FLUSH] = "flush", [BLK_DISCARD] = "discard"};

static uint32_t px_read(const struct ahci_port *p, enum ahci_port_reg reg)
{
	return mmio_read32(p->regs + reg);
}

static void px_write(const struct ahci_port *p, enum ahci_port_reg reg, uint32_t v)
{
	mmio_write32(p->regs + reg, v);
}

/* Waits until the bits of a register have a value; false after the time, or if the device is gone.
 */
static bool px_wait(
    volatile uint8_t *regs, enum ahci_port_reg reg, uint32_t mask, uint32_t value, uint64_t timeout)
{
	uint64_t deadline = time_now() + timeout, pause = MS / 50;

	for (;;) {
		uint32_t v = mmio_read32(regs + reg);

		if (v == ~0u)
			return false;
		if ((v & mask) == value)
			return true;
		if (time_now() >= deadline)
			return false;
		thread_sleep(pause);
		pause = MIN(2 * pause, 10 * MS);
	}
}

/* --- requests and commands: all under the port's lock ---------------------------------- */

/* How often a request has been tried; kept in the request. */
static unsigned attempts(const struct blk_req *r)
{
	return (unsigned)(uintptr_t)r->drv;
}

static bool must_be_alone(const struct blk_req *r)
{
	return r->op == BLK_FLUSH || r->op == BLK_DISCARD || attempts(r) > 0;
}

static enum ata_command command_of(const struct blk_req *r, bool queued)
{
	switch (r->op) {
	case BLK_READ:
		return queued ? ATA_READ_FPDMA_QUEUED : ATA_READ_DMA_EXT;
	case BLK_WRITE:
		return queued ? ATA_WRITE_FPDMA_QUEUED : ATA_WRITE_DMA_EXT;
	case BLK_DISCARD:
		return ATA_DATA_SET_MANAGEMENT;
	case BLK_FLUSH:
	default:
		return ATA_FLUSH_CACHE_EXT;
	}
}

static void prd_set(struct ahci_prd *prd, hpa_t addr, uint32_t len)
{
	*prd = (struct ahci_prd){
	    .dba = (uint32_t)addr.a, .dbau = (uint32_t)(addr.a >> 32), .dbc = len - 1};
}

static void header_set(struct ahci_port *p, unsigned slot, unsigned nprd, bool to_device)
{
	uint64_t table = virt_to_phys(&p->dma->table[slot]).a;

	p->dma->header[slot] =
	    (struct ahci_header){.flags = ATA_FIS_SIZE / 4 | (to_device ? AHCI_HEADER_WRITE : 0),
		.prdtl = (uint16_t)nprd,
		.ctba = (uint32_t)table,
		.ctbau = (uint32_t)(table >> 32)};
}

/* Writes the slot's command header and table for a request. */
static void command_build(struct ahci_port *p, unsigned slot, const struct blk_req *r, bool queued)
{
	struct ahci_table *t = &p->dma->table[slot];
	enum ata_command command = command_of(r, queued);

	if (r->op == BLK_DISCARD) {
		/* one block of ranges; the command's count is that of blocks */
		ata_fis(t->cfis, command, 0, 1, slot);
		ata_trim_ranges(p->dma->block, r->lba, r->nsectors);
		prd_set(&t->prd[0], virt_to_phys(p->dma->block), SECTOR_SIZE);
		header_set(p, slot, 1, true);
		return;
	}
	ata_fis(t->cfis, command, r->lba, r->nsectors, slot);
	for (unsigned i = 0; i < r->nsg; i++)
		prd_set(&t->prd[i], r->sg[i].addr, r->sg[i].len);
	header_set(p, slot, r->nsg, r->op == BLK_WRITE);
}

static void command_issue(struct ahci_port *p, unsigned slot, struct blk_req *r, bool alone)
{
	bool queued = p->ncq && !alone;
	uint32_t bit = 1u << slot;

	command_build(p, slot, r, queued);
	p->slot[slot] = (struct ahci_slot){.req = r, .deadline = time_now() + COMMAND_TIMEOUT};
	p->issued |= bit;
	p->alone = alone;
	/* what was built is in memory before the controller hears of it */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	if (queued)
		px_write(p, PX_SACT, bit);
	px_write(p, PX_CI, bit);
}

/* Issues what may be issued, in order. */
static void issue_pending(struct ahci_port *p)
{
	uint32_t all = (uint32_t)(BIT(p->depth) - 1);

	while (p->state == AHCI_READY && !list_empty(&p->pending)) {
		struct blk_req *r = LIST_ENTRY(p->pending.next, struct blk_req, link);
		bool alone = must_be_alone(r);

		if ((p->issued && (alone || p->alone)) || p->issued == all)
			break;
		list_remove(&r->link);
		command_issue(p, (unsigned)__builtin_ctz(~p->issued), r, alone);
	}
	if ((p->issued || !list_empty(&p->pending)) && !p->watching) {
		p->watching = true;
		timer_set(&p->watch, time_now() + WATCH_INTERVAL);
	}
}

static void port_submit(struct blk_dev *d, struct blk_req *r)
{
	struct ahci_port *p = d->drv;
	uint64_t f = spin_lock(&p->lock);
	bool dead = p->state == AHCI_DEAD;

	if (!dead) {
		list_push_back(&p->pending, &r->link);
		issue_pending(p);
	}
	spin_unlock(&p->lock, f);
	if (dead)
		blk_complete(r, ERR_IO);
}

static const struct blk_ops port_ops = {.submit = port_submit};

/* Moves the finished requests of the slots in mask to 'done'. */
static void collect(struct ahci_port *p, uint32_t mask, struct list *done)
{
	while (mask) {
		unsigned slot = (unsigned)__builtin_ctz(mask);

		mask &= mask - 1;
		p->issued &= ~(1u << slot);
		list_push_back(done, &p->slot[slot].req->link);
		p->slot[slot].req = NULL;
		p->timeouts = 0;
	}
}

/* True if a command in flight is past its time. */
static bool overdue(const struct ahci_port *p)
{
	uint64_t now = time_now();

	for (unsigned i = 0; i < p->depth; i++)
		if ((p->issued & 1u << i) && now >= p->slot[i].deadline)
			return true;
	return false;
}

/* Takes what the interrupt handler has noted. */
static uint32_t take_irq_status(struct ahci_port *p)
{
	uint64_t f = spin_lock(&p->wake_lock);
	uint32_t is = p->irq_status;

	p->irq_status = 0;
	spin_unlock(&p->wake_lock, f);
	return is;
}

/*
 * Moves finished requests to 'done'; true if something went wrong. The order of
 * the reads matters: a command that is found finished must have had its error
 * recorded before, and the handler moves bits from PxIS to irq_status.
 */
static bool port_look(struct ahci_port *p, struct list *done)
{
	uint32_t busy = px_read(p, PX_CI) | px_read(p, PX_SACT);
	uint32_t tfd = px_read(p, PX_TFD);
	uint32_t is = px_read(p, PX_IS);
	bool error;

	is |= take_irq_status(p);
	error = is & PX_IS_ERROR;
	/* QEMU before 8.1 reports a queued command's error in PxTFD only */
	if (p->issued && (tfd & ATA_ERR) && !(tfd & ATA_BSY))
		error = true;
	/*
	 * Of queued commands, only those that went well leave PxSACT. Of others, QEMU
	 * before 8.1 clears PxCI even for the one that failed.
	 */
	if (!error || (p->ncq && !p->alone))
		collect(p, p->issued & ~busy, done);
	p->timed_out = !error && overdue(p);
	p->error_tfd = tfd;
	p->error_is = is;
	return error || p->timed_out;
}

/* --- the port's engine and link: thread context, nothing issued --------------------------- */

void ahci_port_power_up(volatile uint8_t *regs)
{
	uint32_t cmd = mmio_read32(regs + PX_CMD) & ~(uint32_t)PX_CMD_ICC;

	mmio_write32(regs + PX_SCTL, PX_SCTL_IPM_NONE);
	mmio_write32(regs + PX_CMD, cmd | PX_CMD_SUD | PX_CMD_POD | PX_CMD_ICC_ACTIVE);
}

bool ahci_port_link(volatile uint8_t *regs)
{
	/* nothing there, or there but not yet talking */
	if ((mmio_read32(regs + PX_SSTS) & PX_SSTS_DET) == 0)
		return false;
	return px_wait(regs, PX_SSTS, PX_SSTS_DET, PX_SSTS_DET_UP, LINK_TIMEOUT);
}

/* Stops the command engine; false if it does not stop. */
static bool engine_stop(struct ahci_port *p)
{
	px_write(p, PX_CMD, px_read(p, PX_CMD) & ~(uint32_t)PX_CMD_ST);
	return px_wait(p->regs, PX_CMD, PX_CMD_CR, 0, ENGINE_TIMEOUT);
}

/* Stops it for good; false if the controller may still use the port's memory. */
static bool engine_stop_all(struct ahci_port *p)
{
	if (!engine_stop(p))
		return false;
	px_write(p, PX_CMD, px_read(p, PX_CMD) & ~(uint32_t)PX_CMD_FRE);
	return px_wait(p->regs, PX_CMD, PX_CMD_FR, 0, ENGINE_TIMEOUT);
}

/* Stops the engine, resets link and device (section 10.4.2), starts the engine. */
static int port_reset(struct ahci_port *p, struct errmsg *e)
{
	engine_stop(p); /* if it hangs, the reset frees it */
	px_write(p, PX_SCTL, PX_SCTL_IPM_NONE | PX_SCTL_DET_RESET);
	thread_sleep(2 * MS); /* at least 1 ms */
	px_write(p, PX_SCTL, PX_SCTL_IPM_NONE);
	if (!px_wait(p->regs, PX_SSTS, PX_SSTS_DET, PX_SSTS_DET_UP, LINK_TIMEOUT))
		return err_set(e, ERR_IO, "no link");
	/* the device's first FIS is taken only once PxSERR.DIAG.X is clear (section 3.3.12) */
	px_write(p, PX_SERR, ~0u);
	if (!px_wait(p->regs, PX_TFD, ATA_BSY | ATA_DRQ, 0, SPIN_UP_TIMEOUT))
		return err_set(e, ERR_TIMEOUT, "device does not become ready");
	px_write(p, PX_SERR, ~0u);
	px_write(p, PX_IS, ~0u);
	px_write(p, PX_CMD, px_read(p, PX_CMD) | PX_CMD_ST);
	return OK;
}

/* IDENTIFY DEVICE in slot 0, polled: port interrupts are off. */
static int port_identify(struct ahci_port *p, struct ata_disk *disk, struct errmsg *e)
{
	int err;

	memset(p->dma->block, 0, sizeof(p->dma->block));
	ata_fis(p->dma->table[0].cfis, ATA_IDENTIFY_DEVICE, 0, 0, 0);
	prd_set(&p->dma->table[0].prd[0], virt_to_phys(p->dma->block), SECTOR_SIZE);
	header_set(p, 0, 1, false);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	px_write(p, PX_CI, 1);
	if (!px_wait(p->regs, PX_CI, 1, 0, IDENTIFY_TIMEOUT))
		return err_set(e, ERR_TIMEOUT, "IDENTIFY DEVICE: no answer");
	if ((px_read(p, PX_TFD) & ATA_ERR) || (px_read(p, PX_IS) & PX_IS_ERROR))
		return err_set(
		    e, ERR_IO, "IDENTIFY DEVICE: error, task file %#x", px_read(p, PX_TFD));
	px_write(p, PX_IS, ~0u);
	err = ata_identify_decode(p->dma->block, disk, e);
	if (err == OK && !disk->lba48)
		return err_set(
		    e, ERR_UNSUPPORTED, "disk '%s' has no 48-bit addresses", disk->model);
	return err;
}

/* --- error recovery: the port's thread, state AHCI_RECOVERING ------------------------------ */

/* Decides on a request that was in flight: true if it is to be tried again. */
static bool worth_retrying(const struct ahci_port *p, const struct blk_req *r, bool was_alone)
{
	if (!was_alone)
		return true;
	return (p->error_is & PX_IS_LINK) && attempts(r) < MAX_ATTEMPTS;
}

/* Empties the slots: requests go back to the head of the queue, in order, or to 'failed'. */
static void requeue(struct ahci_port *p, struct list *failed)
{
	uint64_t f = spin_lock(&p->lock);
	struct list *head = p->pending.next;

	for (unsigned i = 0; i < p->depth; i++) {
		struct blk_req *r = p->slot[i].req;

		if (!(p->issued & 1u << i))
			continue;
		p->slot[i].req = NULL;
		if (worth_retrying(p, r, p->alone)) {
			r->drv = (void *)(uintptr_t)(attempts(r) + 1);
			list_insert_before(head, &r->link);
		} else {
			list_push_back(failed, &r->link);
		}
	}
	p->issued = 0;
	p->alone = false;
	spin_unlock(&p->lock, f);
}

/* Completes every request of a list. No lock held. */
static void finish_all(struct list *l, int status)
{
	struct list *n;

	while ((n = list_pop_front(l)))
		blk_complete(LIST_ENTRY(n, struct blk_req, link), status);
}

static void fail_requests(struct ahci_port *p, struct list *failed)
{
	struct list *n;

	while ((n = list_pop_front(failed))) {
		struct blk_req *r = LIST_ENTRY(n, struct blk_req, link);

		log_warn("%s: %s of %u sectors at %llu: %s (task file %#x, interrupt status %#x)",
		    p->dev.name, op_names[r->op], r->nsectors, (unsigned long long)r->lba,
		    p->timed_out ? "timed out" : "failed", p->error_tfd & 0xffff, p->error_is);
		blk_complete(r, p->timed_out ? ERR_TIMEOUT : ERR_IO);
	}
}

/* Makes the port work again, with the same disk on it. */
static int port_revive(struct ahci_port *p, struct errmsg *e)
{
	int err = ERR_IO;

	if (p->timed_out && ++p->timeouts >= MAX_TIMEOUTS)
		return err_set(e, ERR_TIMEOUT, "%u timeouts in a row", p->timeouts);
	for (unsigned i = 0; i < RESET_ATTEMPTS; i++) {
		struct ata_disk disk;

		err = port_reset(p, e);
		if (err == OK)
			err = port_identify(p, &disk, e);
		if (err)
			continue;
		if (strcmp(disk.serial, p->disk.serial) || disk.nsectors != p->disk.nsectors)
			return err_set(e, ERR_IO, "another disk was plugged in: '%s', serial '%s'",
			    disk.model, disk.serial);
		return OK;
	}
	return err;
}

static void interrupts_on(struct ahci_port *p)
{
	px_write(p, PX_IE, PX_IS_DONE | PX_IS_ERROR);
}

static void port_recover(struct ahci_port *p)
{
	struct list failed = LIST_INIT(failed);
	struct errmsg e = {""};
	uint64_t f;
	int err;

	px_write(p, PX_IE, 0);
	requeue(p, &failed);
	err = port_revive(p, &e);
	fail_requests(p, &failed);

	take_irq_status(p);
	f = spin_lock(&p->lock);
	p->state = err ? AHCI_DEAD : AHCI_READY;
	if (err == OK) {
		interrupts_on(p);
		issue_pending(p);
	} else {
		struct list *n;

		while ((n = list_pop_front(&p->pending)))
			list_push_back(&failed, n);
	}
	spin_unlock(&p->lock, f);
	if (err) {
		log_error("%s: disk given up: %s", p->dev.name, e.text);
		engine_stop_all(p);
		finish_all(&failed, ERR_IO);
	}
}

/* --- interrupts and the thread ---------------------------------------------------------- */

void ahci_port_interrupt(struct ahci_port *p)
{
	uint64_t f = spin_lock(&p->wake_lock);
	uint32_t is = px_read(p, PX_IS);

	if (is) {
		px_write(p, PX_IS, is);
		/* some stay set until the link is reset */
		if (is & PX_IS_ERROR)
			px_write(p, PX_IE, 0);
		p->irq_status |= is;
		waitq_wake_one(&p->wq);
	}
	spin_unlock(&p->wake_lock, f);
}

/* Interrupt context: has the thread look for commands that take too long or whose interrupt was
 * lost. */
static void watch_fire(void *arg)
{
	struct ahci_port *p = arg;
	uint64_t f = spin_lock(&p->lock);

	p->watching = p->state != AHCI_DEAD && (p->issued || !list_empty(&p->pending));
	if (p->watching) {
		uint64_t f2 = spin_lock(&p->wake_lock);

		p->check = true;
		waitq_wake_one(&p->wq);
		spin_unlock(&p->wake_lock, f2);
		timer_set(&p->watch, time_now() + WATCH_INTERVAL);
	}
	spin_unlock(&p->lock, f);
}

/* One round of the thread: finishes what is done, issues what waits, recovers. */
static void port_service(struct ahci_port *p)
{
	struct list done = LIST_INIT(done);
	uint64_t f = spin_lock(&p->lock);
	bool recover = false;

	if (p->state == AHCI_READY) {
		recover = port_look(p, &done);
		if (recover)
			p->state = AHCI_RECOVERING;
		else
			issue_pending(p);
	} else {
		take_irq_status(p); /* dead: nobody cares */
	}
	spin_unlock(&p->lock, f);
	finish_all(&done, OK);
	if (recover)
		port_recover(p);
}

static NORETURN void port_thread(void *arg)
{
	struct ahci_port *p = arg;

	for (;;) {
		uint64_t f = spin_lock(&p->wake_lock);

		while (!p->irq_status && !p->check)
			f = waitq_wait(&p->wq, &p->wake_lock, f);
		p->check = false;
		spin_unlock(&p->wake_lock, f);
		port_service(p);
	}
}

/* --- start-up ---------------------------------------------------------------------------- */

static void engine_setup(struct ahci_port *p)
{
	uint64_t list = virt_to_phys(p->dma->header).a, fis = virt_to_phys(p->dma->fis).a;

	px_write(p, PX_IE, 0);
	px_write(p, PX_CLB, (uint32_t)list);
	px_write(p, PX_CLBU, (uint32_t)(list >> 32));
	px_write(p, PX_FB, (uint32_t)fis);
	px_write(p, PX_FBU, (uint32_t)(fis >> 32));
	px_write(p, PX_SERR, ~0u);
	px_write(p, PX_CMD, px_read(p, PX_CMD) | PX_CMD_FRE);
}

static void device_describe(struct ahci_port *p, uint32_t cap)
{
	unsigned slots = ((cap & AHCI_CAP_NCS) >> 8) + 1;
	struct blk_dev *d = &p->dev;

	p->ncq = (cap & AHCI_CAP_SNCQ) && p->disk.queue_depth > 0;
	p->depth = p->ncq ? MIN(slots, p->disk.queue_depth) : slots;
	d->nsectors = p->disk.nsectors;
	d->max_sg = BLK_MAX_SG;
	d->max_sectors = BLK_MAX_BYTES / SECTOR_SIZE; /* so no piece exceeds 4 MiB */
	d->has_flush = p->disk.flush_ext;
	d->has_discard = p->disk.trim;
	d->max_discard = ATA_TRIM_RANGES * ATA_TRIM_RANGE_MAX;
	d->dma_align = 2; /* section 4.2.3.3: DBA and DBC */
	d->dma_max = cap & AHCI_CAP_S64A ? 0 : UINT32_MAX;
	d->ops = &port_ops;
	d->drv = p;
}

/* Finds out what is on the port; ERR_NOENT for something that is no disk. */
static int port_probe(struct ahci_port *p, struct errmsg *e)
{
	int err = port_reset(p, e);
	uint32_t sig;

	if (err)
		return err;
	sig = px_read(p, PX_SIG);
	if (sig != PX_SIG_ATA)
		return err_set(e, ERR_NOENT, "%s (signature %#x): not used",
		    sig == PX_SIG_ATAPI ? "ATAPI device"
		    : sig == PX_SIG_PM	? "port multiplier"
					: "unknown device",
		    sig);
	return port_identify(p, &p->disk, e);
}

int ahci_port_create(volatile uint8_t *regs, unsigned number, uint32_t cap, const char *name,
    struct ahci_port **out, struct errmsg *e)
{
	struct ahci_port *p = heap_zalloc(sizeof(*p));
	hpa_t dma =
	    cap & AHCI_CAP_S64A ? frames_alloc(AHCI_DMA_ORDER) : frames_alloc_low(AHCI_DMA_ORDER);
	int err;

	*out = NULL;
	if (!p || !dma.a) {
		heap_free(p);
		if (dma.a)
			frames_free(dma, AHCI_DMA_ORDER);
		return err_set(e, ERR_NOMEM, "%s: no memory for a port", name);
	}
	p->regs = regs;
	p->number = number;
	p->dma = phys_to_virt(dma);
	memset(p->dma, 0, sizeof(*p->dma));
	str_copy(p->dev.name, sizeof(p->dev.name), name);
	spinlock_init(&p->lock, RANK_DRV);
	spinlock_init(&p->wake_lock, RANK_BLOCK_QUEUE);
	list_init(&p->pending);
	waitq_init(&p->wq);
	timer_init(&p->watch, watch_fire, p);

	err = OK;
	if (!engine_stop_all(p))
		err = err_set(e, ERR_IO, "engine does not stop");
	if (err == OK) {
		engine_setup(p);
		err = port_probe(p, e);
	}
	if (err == OK) {
		device_describe(p, cap);
		*out = p;
		return OK;
	}
	/* memory that the controller may still write to is never used again */
	if (engine_stop_all(p))
		frames_free(dma, AHCI_DMA_ORDER);
	heap_free(p);
	if (err == ERR_NOENT) {
		log_info("%s: %s", name, e->text);
		return OK;
	}
	return err_prefix(e, err, "%s", name);
}

int ahci_port_start(struct ahci_port *p, struct errmsg *e)
{
	int err;

	if (!thread_create(p->dev.name, port_thread, p, 0, 256))
		return err_set(e, ERR_NOMEM, "%s: no memory for a thread", p->dev.name);
	interrupts_on(p);
	log_info("%s: '%s', serial '%s', %u commands at once%s", p->dev.name, p->disk.model,
	    p->disk.serial, p->depth, p->ncq ? ", queued" : "");
	err = blk_register(&p->dev);
	if (err)
		return err_set(e, err, "%s: %s", p->dev.name, error_text(err));
	return OK;
}
