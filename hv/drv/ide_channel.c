/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An IDE channel and its two disks: requests to commands, completion, errors.
 *
 * The disks share their registers and know no queue: one command is in flight, the
 * other requests wait, and the disks take turns.
 *
 * A disk that reports an error of its own (a bad sector) fails that request, and
 * the next is issued. Anything else (a bus error, a transfer cut short, a
 * checksum error of the cable, a command that takes too long) leaves the channel
 * in doubt: it is reset, its disks are identified anew, and the request is tried
 * again, a few times.
 */
#include <string.h>

#include "hv/arch/x86/io.h"
#include "hv/arch/x86/tsc.h"
#include "hv/drv/ide.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

#define MS 1000000ULL /* ns */

#define COMMAND_TIMEOUT	 (30000 * MS)
#define SPIN_UP_TIMEOUT	 (31000 * MS) /* ATA/ATAPI-7, volume 2, section 11.2 */
#define IDENTIFY_TIMEOUT (5000 * MS)
#define MODE_TIMEOUT	 (1000 * MS)
#define DATA_TIMEOUT	 (10 * MS) /* from the end of BSY to DRQ, where there is no disk */
#define POLL_INTERVAL	 MS
#define DOUBT_INTERVAL	 (100 * MS) /* until interrupts are known to arrive */
#define WATCH_INTERVAL	 (5000 * MS)
#define STATUS_DELAY	 400 /* ns: the status is not valid before (section 11.3) */

enum {
	MAX_ATTEMPTS = 3, /* of a request that fails by the channel's fault */
	MAX_TIMEOUTS = 3, /* in a row, then the disk counts as dead */
	MAX_UNNOTICED = 3,
	READY_POLLS = 100, /* microseconds */
	SIGNATURE_ATAPI = 0xeb14,
	SIGNATURE_SATAPI = 0x9669,
};

static const char *const op_names[] = {
    [BLK_READ] = "read", [BLK_WRITE] = "write", [BLK_FLUSH] = "flush", [BLK_DISCARD] = "discard"};

static uint8_t reg_read(const struct ide_channel *c, enum ide_reg reg)
{
	return inb((uint16_t)(c->ports.command + reg));
}

static void reg_write(const struct ide_channel *c, enum ide_reg reg, uint8_t v)
{
	outb((uint16_t)(c->ports.command + reg), v);
}

/* The status without taking the interrupt back. */
static uint8_t alt_status(const struct ide_channel *c)
{
	return inb(c->ports.control);
}

/* What an unconnected bus reads as, with and without a pull-down on its bit 7. */
static bool floating(uint8_t status)
{
	return status == 0xff || status == 0x7f;
}

static uint8_t bm_status(const struct ide_channel *c)
{
	return inb((uint16_t)(c->ports.bm + BM_STATUS));
}

static void bm_command(const struct ide_channel *c, uint8_t v)
{
	outb((uint16_t)(c->ports.bm + BM_COMMAND), v);
}

static void bm_clear(const struct ide_ports *p)
{
	uint16_t port = (uint16_t)(p->bm + BM_STATUS);

	outb(port, (inb(port) & BM_UNIT_DMA) | BM_ERROR | BM_INTERRUPT);
}

void ide_channel_silence(const struct ide_ports *ports)
{
	outb(ports->control, IDE_CONTROL_NIEN);
	outb((uint16_t)(ports->bm + BM_COMMAND), 0);
	bm_clear(ports);
}

static unsigned unit_of(const struct ide_disk *d)
{
	return (unsigned)(d - d->channel->disk);
}

/* --- requests and commands: all under the channel's lock ------------------------------------- */

unsigned ide_prd_build(struct ide_prd *prd, const struct sg *sg, unsigned nsg)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nsg; i++) {
		uint32_t base = (uint32_t)sg[i].addr.a, left = sg[i].len;

		while (left > 0 && n < IDE_PRDS) {
			uint32_t len = MIN(left, IDE_PRD_BYTES - base % IDE_PRD_BYTES);

			/* a size of 64 KiB is written as 0 */
			prd[n++] = (struct ide_prd){.base = base, .size = len % IDE_PRD_BYTES};
			base += len;
			left -= len;
		}
	}
	if (n > 0)
		prd[n - 1].size |= IDE_PRD_LAST;
	return n;
}

/* How often a request has been tried; kept in the request. */
static unsigned attempts(const struct blk_req *r)
{
	return (unsigned)(uintptr_t)r->drv;
}

static enum ata_command command_of(const struct ide_disk *d, const struct blk_req *r)
{
	switch (r->op) {
	case BLK_READ:
		return d->id.lba48 ? ATA_READ_DMA_EXT : ATA_READ_DMA;
	case BLK_WRITE:
		return d->id.lba48 ? ATA_WRITE_DMA_EXT : ATA_WRITE_DMA;
	case BLK_DISCARD:
		return ATA_DATA_SET_MANAGEMENT;
	case BLK_FLUSH:
	default:
		return d->id.flush_ext ? ATA_FLUSH_CACHE_EXT : ATA_FLUSH_CACHE;
	}
}

/* Builds the registers and the regions of a request; the bus master's direction. */
static uint8_t command_build(struct ide_disk *d, const struct blk_req *r, struct ata_task *t)
{
	struct ide_dma *dma = d->channel->dma;

	if (r->op == BLK_DISCARD) {
		struct sg block = {.addr = virt_to_phys(dma->block), .len = SECTOR_SIZE};

		/* one block of ranges; the command's count is that of blocks */
		ata_task(t, command_of(d, r), unit_of(d), 0, 1);
		ata_trim_ranges(dma->block, r->lba, r->nsectors);
		ide_prd_build(dma->prd, &block, 1);
		return 0;
	}
	ata_task(t, command_of(d, r), unit_of(d), r->lba, r->nsectors);
	ide_prd_build(dma->prd, r->sg, r->nsg);
	return r->op == BLK_READ ? BM_TO_MEMORY : 0;
}

/* Selects a disk and gives it a command; false if it is busy with something else. */
static bool task_write(const struct ide_channel *c, const struct ata_task *t)
{
	unsigned polls = 0;

	reg_write(c, IDE_DEVICE, t->device);
	delay_ns(STATUS_DELAY);
	while (alt_status(c) & (ATA_BSY | ATA_DRQ)) {
		if (++polls == READY_POLLS)
			return false;
		delay_ns(1000);
	}
	if (t->ext) {
		reg_write(c, IDE_FEATURES, 0);
		reg_write(c, IDE_COUNT, t->count_exp);
		reg_write(c, IDE_LBA_LOW, t->lba_low_exp);
		reg_write(c, IDE_LBA_MID, t->lba_mid_exp);
		reg_write(c, IDE_LBA_HIGH, t->lba_high_exp);
	}
	reg_write(c, IDE_FEATURES, t->features);
	reg_write(c, IDE_COUNT, t->count);
	reg_write(c, IDE_LBA_LOW, t->lba_low);
	reg_write(c, IDE_LBA_MID, t->lba_mid);
	reg_write(c, IDE_LBA_HIGH, t->lba_high);
	reg_write(c, IDE_COMMAND, t->command);
	return true;
}

/* The order is that of section 3.1 of the bus-master interface. */
static void command_issue(struct ide_channel *c, struct ide_disk *d, struct blk_req *r)
{
	struct ata_task t;
	uint8_t direction = command_build(d, r, &t);

	c->busy = d;
	c->req = r;
	c->uses_dma = r->op != BLK_FLUSH;
	c->deadline = time_now() + COMMAND_TIMEOUT;
	c->irqs_before = __atomic_load_n(&c->irqs, __ATOMIC_RELAXED);
	if (c->uses_dma) {
		outl((uint16_t)(c->ports.bm + BM_TABLE), (uint32_t)virt_to_phys(c->dma->prd).a);
		bm_command(c, direction);
	}
	bm_clear(&c->ports);
	c->stuck = !task_write(c, &t);
	if (!c->stuck && c->uses_dma)
		bm_command(c, direction | BM_START);
	/* whoever looks next finds a valid status */
	delay_ns(STATUS_DELAY);
}

static void thread_wake(struct ide_channel *c)
{
	uint64_t f = spin_lock(&c->wake_lock);

	c->wake = true;
	waitq_wake_one(&c->wq);
	spin_unlock(&c->wake_lock, f);
}

static void timer_arm(struct ide_channel *c)
{
	uint64_t interval = WATCH_INTERVAL;

	if (c->polled)
		interval = POLL_INTERVAL;
	else if (c->unnoticed || !__atomic_load_n(&c->irqs, __ATOMIC_RELAXED))
		interval = DOUBT_INTERVAL;
	c->timer_armed = true;
	timer_set(&c->timer, time_now() + interval);
}

/* Issues what comes next, if the channel is free. */
static void issue_next(struct ide_channel *c)
{
	struct ide_disk *d = &c->disk[c->last ^ 1];

	if (c->recovering || c->busy)
		return;
	if (list_empty(&d->pending))
		d = &c->disk[c->last];
	if (list_empty(&d->pending))
		return;
	c->last = unit_of(d);
	command_issue(c, d, LIST_ENTRY(list_pop_front(&d->pending), struct blk_req, link));
	if (c->stuck)
		thread_wake(c);
	if (!c->timer_armed)
		timer_arm(c);
}

static void disk_submit(struct blk_dev *dev, struct blk_req *r)
{
	struct ide_disk *d = dev->drv;
	struct ide_channel *c = d->channel;
	uint64_t f = spin_lock(&c->lock);
	bool dead = d->dead;

	if (!dead) {
		list_push_back(&d->pending, &r->link);
		issue_next(c);
	}
	spin_unlock(&c->lock, f);
	if (dead)
		blk_complete(r, ERR_IO);
}

static const struct blk_ops disk_ops = {.submit = disk_submit};

/*
 * True if the command in flight has ended. The interrupt may be lost and some
 * controllers note it for transfers only, so a disk and a bus master that both
 * rest are an end as well.
 */
static bool command_ended(const struct ide_channel *c)
{
	uint8_t bm = bm_status(c), status = alt_status(c);

	if (status & ATA_BSY)
		return false;
	if (bm & BM_INTERRUPT)
		return true;
	return !(status & ATA_DRQ) && !(c->uses_dma && (bm & BM_ACTIVE));
}

/* Commands that end and nobody hears of it: then there is no interrupt, whatever was routed. */
static void notice_count(struct ide_channel *c)
{
	if (c->polled)
		return;
	c->unnoticed =
	    __atomic_load_n(&c->irqs, __ATOMIC_RELAXED) == c->irqs_before ? c->unnoticed + 1 : 0;
	if (c->unnoticed < MAX_UNNOTICED)
		return;
	log_warn("%s: no interrupts arrive: polled", c->name);
	c->polled = true;
	timer_arm(c);
}

enum outcome { RUNNING, DONE, DISK_ERROR, IN_DOUBT };

/* How the command in flight stands; stops the bus master if it has ended. */
static enum outcome command_look(struct ide_channel *c, struct ide_result *res)
{
	*res = (struct ide_result){.bm = bm_status(c)};
	if (c->stuck) {
		res->status = alt_status(c);
		return IN_DOUBT;
	}
	if (!command_ended(c)) {
		res->status = alt_status(c);
		res->timed_out = time_now() >= c->deadline;
		return res->timed_out ? IN_DOUBT : RUNNING;
	}
	notice_count(c);
	res->bm = bm_status(c);
	if (c->uses_dma)
		bm_command(c, 0);
	res->status = reg_read(c, IDE_STATUS);
	if (res->status & ATA_ERR)
		res->error = reg_read(c, IDE_ERROR);
	bm_clear(&c->ports);
	if ((res->bm & BM_ERROR) || (res->status & (ATA_BSY | ATA_DRQ)) ||
	    ((res->status & ATA_ERR) && (res->error & ATA_ERROR_ICRC)))
		return IN_DOUBT;
	if (res->status & (ATA_ERR | ATA_DF))
		return DISK_ERROR;
	/* the disk is content, but not all regions were used (section 3.2) */
	return c->uses_dma && (res->bm & BM_ACTIVE) ? IN_DOUBT : DONE;
}

/* --- reset and identification: thread context, nothing in flight, interrupts off ------------- */

/* Waits until bits of the status have a value; false after the time, or if nobody answers. */
static bool status_wait(const struct ide_channel *c, uint8_t mask, uint8_t value, uint64_t timeout)
{
	uint64_t deadline = time_now() + timeout, pause = MS / 50;

	for (;;) {
		uint8_t status = alt_status(c);

		if (status == 0xff)
			return false;
		if ((status & mask) == value)
			return true;
		if (time_now() >= deadline)
			return false;
		thread_sleep(pause);
		pause = MIN(2 * pause, 10 * MS);
	}
}

static void unit_select(const struct ide_channel *c, unsigned unit)
{
	struct ata_task t;

	ata_task(&t, ATA_IDENTIFY_DEVICE, unit, 0, 0);
	reg_write(c, IDE_DEVICE, t.device);
	delay_ns(STATUS_DELAY);
}

/* Resets both disks (ATA/ATAPI-7, volume 2, section 11.2: at least 5 us and 2 ms). */
static void channel_reset(const struct ide_channel *c)
{
	bm_command(c, 0);
	outb(c->ports.control, IDE_CONTROL_NIEN | IDE_CONTROL_SRST);
	delay_ns(10000);
	outb(c->ports.control, IDE_CONTROL_NIEN);
	thread_sleep(3 * MS);
	bm_clear(&c->ports);
}

/*
 * Gives an idle disk a command without DMA and waits for it to end: *status.
 * ERR_TIMEOUT, ERR_NOENT if the unit selected takes no commands.
 */
static int command_run(const struct ide_channel *c, const struct ata_task *t, uint64_t timeout,
    uint8_t *status, struct errmsg *e)
{
	if (!task_write(c, t))
		return err_set(e, ERR_TIMEOUT, "not ready, status %#x", alt_status(c));
	delay_ns(STATUS_DELAY);
	/* of a disk that is not there, the other one keeps the status at 0 */
	if (alt_status(c) == 0)
		return err_set(e, ERR_NOENT, "no disk");
	if (!status_wait(c, ATA_BSY, 0, timeout))
		return err_set(e, ERR_TIMEOUT, "command %#x: no answer, status %#x", t->command,
		    alt_status(c));
	*status = reg_read(c, IDE_STATUS);
	if (*status & (ATA_ERR | ATA_DF))
		return err_set(e, ERR_IO, "command %#x: status %#x, error %#x", t->command, *status,
		    reg_read(c, IDE_ERROR));
	return OK;
}

static int unit_identify(
    struct ide_channel *c, unsigned unit, struct ata_disk *out, struct errmsg *e)
{
	uint8_t *p = c->dma->block;
	struct ata_task t;
	uint8_t status;
	int err;

	ata_task(&t, ATA_IDENTIFY_DEVICE, unit, 0, 0);
	err = command_run(c, &t, IDENTIFY_TIMEOUT, &status, e);
	if (err)
		return err;
	if (!status_wait(c, ATA_BSY | ATA_DRQ, ATA_DRQ, DATA_TIMEOUT))
		return err_set(e, ERR_NOENT, "no disk");
	for (unsigned i = 0; i < SECTOR_SIZE; i += 2) {
		uint16_t v = inw((uint16_t)(c->ports.command + IDE_DATA));

		p[i] = (uint8_t)v;
		p[i + 1] = (uint8_t)(v >> 8);
	}
	if (!status_wait(c, ATA_BSY | ATA_DRQ, 0, MODE_TIMEOUT))
		return err_set(e, ERR_IO, "IDENTIFY DEVICE: does not end");
	return ata_identify_decode(p, out, e);
}

/*
 * Selects a transfer mode, unless it is selected already. The firmware has set
 * the controller's timing to what it selected; where it has not, the timing is the
 * slowest, which multiword mode 0 bears.
 */
static int mode_set(
    struct ide_channel *c, unsigned unit, struct ata_disk *id, uint8_t mode, struct errmsg *e)
{
	struct ata_task t;
	uint8_t status;
	int err;

	if (!id->dma)
		return err_set(e, ERR_UNSUPPORTED, "disk '%s' has no DMA", id->model);
	if (!mode)
		mode = ATA_MODE_MWDMA;
	if (id->dma_mode == mode)
		return OK;
	ata_task(&t, ATA_SET_FEATURES, unit, 0, mode);
	t.features = ATA_FEATURE_TRANSFER_MODE;
	err = command_run(c, &t, MODE_TIMEOUT, &status, e);
	if (err == OK)
		id->dma_mode = mode;
	return err;
}

/* --- error recovery: the channel's thread, recovering ------------------------------------------
 */

static bool worth_retrying(const struct ide_result *res, const struct blk_req *r)
{
	return attempts(r) + 1 < (res->timed_out ? 2 : MAX_ATTEMPTS);
}

/* Makes a disk work again after a reset: the same one. */
static int disk_revive(struct ide_disk *d, struct errmsg *e)
{
	struct ide_channel *c = d->channel;
	struct ata_disk id;
	int err;

	if (d->timeouts >= MAX_TIMEOUTS)
		return err_set(e, ERR_TIMEOUT, "%u timeouts in a row", d->timeouts);
	unit_select(c, unit_of(d));
	if (!status_wait(c, ATA_BSY | ATA_DRQ, 0, SPIN_UP_TIMEOUT))
		return err_set(e, ERR_TIMEOUT, "does not become ready, status %#x", alt_status(c));
	err = unit_identify(c, unit_of(d), &id, e);
	if (err)
		return err;
	if (strcmp(id.serial, d->id.serial) || id.nsectors != d->id.nsectors)
		return err_set(
		    e, ERR_IO, "another disk is there: '%s', serial '%s'", id.model, id.serial);
	return mode_set(c, unit_of(d), &id, d->id.dma_mode, e);
}

/* Completes every request of a list. No lock held. */
static void finish_all(struct list *l, int status)
{
	struct list *n;

	while ((n = list_pop_front(l)))
		blk_complete(LIST_ENTRY(n, struct blk_req, link), status);
}

static void fail_request(const struct ide_disk *d, struct blk_req *r, const struct ide_result *res)
{
	log_warn("%s: %s of %u sectors at %llu: %s (status %#x, error %#x, bus master %#x)",
	    d->dev.name, op_names[r->op], r->nsectors, (unsigned long long)r->lba,
	    res->timed_out ? "timed out" : "failed", res->status, res->error, res->bm);
	blk_complete(r, res->timed_out ? ERR_TIMEOUT : ERR_IO);
}

static void channel_recover(struct ide_channel *c, const struct ide_result *res)
{
	struct list failed = LIST_INIT(failed);
	struct ide_disk *d = c->busy;
	struct blk_req *r = c->req;
	bool retry = worth_retrying(res, r), dead[IDE_UNITS] = {false};
	uint64_t f;

	if (res->timed_out)
		d->timeouts++;
	channel_reset(c);
	for (unsigned i = 0; i < IDE_UNITS; i++) {
		struct errmsg e = {""};

		if (!c->disk[i].present || c->disk[i].dead)
			continue;
		dead[i] = disk_revive(&c->disk[i], &e) != OK;
		if (dead[i])
			log_error("%s: disk given up: %s", c->disk[i].dev.name, e.text);
	}

	f = spin_lock(&c->lock);
	if (retry) {
		r->drv = (void *)(uintptr_t)(attempts(r) + 1);
		list_push_front(&d->pending, &r->link);
	}
	for (unsigned i = 0; i < IDE_UNITS; i++) {
		struct list *n;

		if (!dead[i])
			continue;
		c->disk[i].dead = true;
		while ((n = list_pop_front(&c->disk[i].pending)))
			list_push_back(&failed, n);
	}
	c->busy = NULL;
	c->recovering = false;
	outb(c->ports.control, 0);
	issue_next(c);
	spin_unlock(&c->lock, f);
	if (!retry)
		fail_request(d, r, res);
	finish_all(&failed, ERR_IO);
}

/* --- interrupts and the thread -----------------------------------------------------------------
 */

void ide_channel_interrupt(void *arg)
{
	struct ide_channel *c = arg;

	/* takes the interrupt line back, should it be level-triggered; what the bus master noted
	 * stays */
	reg_read(c, IDE_STATUS);
	__atomic_fetch_add(&c->irqs, 1, __ATOMIC_RELAXED);
	thread_wake(c);
}

/* Interrupt context: polls, looks for lost interrupts and for commands that take too long. */
static void timer_fire(void *arg)
{
	struct ide_channel *c = arg;
	uint64_t f = spin_lock(&c->lock);

	if (c->busy && !c->recovering) {
		if (c->stuck || command_ended(c) || time_now() >= c->deadline)
			thread_wake(c);
		timer_arm(c);
	} else {
		c->timer_armed = false;
	}
	spin_unlock(&c->lock, f);
}

/* One round of the thread: finishes what is done, issues what waits, recovers. */
static void channel_service(struct ide_channel *c)
{
	enum outcome outcome = RUNNING;
	struct ide_result res;
	uint64_t f = spin_lock(&c->lock);
	struct ide_disk *d = c->busy;
	struct blk_req *r = c->req;

	if (d)
		outcome = command_look(c, &res);
	c->recovering = outcome == IN_DOUBT;
	if (outcome == DONE)
		d->timeouts = 0;
	if (outcome == DONE || outcome == DISK_ERROR)
		c->busy = NULL;
	issue_next(c);
	spin_unlock(&c->lock, f);
	if (outcome == DONE)
		blk_complete(r, OK);
	else if (outcome == DISK_ERROR)
		fail_request(d, r, &res);
	else if (outcome == IN_DOUBT)
		channel_recover(c, &res);
}

static NORETURN void channel_thread(void *arg)
{
	struct ide_channel *c = arg;

	for (;;) {
		uint64_t f = spin_lock(&c->wake_lock);

		while (!c->wake)
			f = waitq_wait(&c->wq, &c->wake_lock, f);
		c->wake = false;
		spin_unlock(&c->wake_lock, f);
		channel_service(c);
	}
}

/* --- start-up ----------------------------------------------------------------------------------
 */

/* True if somebody keeps what is written to the registers. Without a disk, no waiting follows. */
static bool unit_answers(const struct ide_channel *c, unsigned unit)
{
	uint8_t status;

	unit_select(c, unit);
	status = alt_status(c);
	if (floating(status))
		return false;
	if (status & ATA_BSY)
		return true;
	reg_write(c, IDE_COUNT, 0x55);
	reg_write(c, IDE_LBA_LOW, 0xaa);
	return reg_read(c, IDE_COUNT) == 0x55 && reg_read(c, IDE_LBA_LOW) == 0xaa;
}

/* Finds out what a unit is, after a reset; ERR_NOENT for what is no disk, or nothing. */
static int unit_probe(struct ide_channel *c, unsigned unit, struct errmsg *e)
{
	struct ata_disk *id = &c->disk[unit].id;
	unsigned signature;
	int err;

	unit_select(c, unit);
	if (!status_wait(c, ATA_BSY, 0, SPIN_UP_TIMEOUT))
		return err_set(e, ERR_TIMEOUT, "does not become ready, status %#x", alt_status(c));
	signature = reg_read(c, IDE_LBA_MID) | (unsigned)reg_read(c, IDE_LBA_HIGH) << 8;
	if (signature == SIGNATURE_ATAPI || signature == SIGNATURE_SATAPI) {
		log_info("%s: ATAPI device: not used", c->disk[unit].dev.name);
		return ERR_NOENT;
	}
	err = unit_identify(c, unit, id, e);
	return err ? err : mode_set(c, unit, id, id->dma_mode, e);
}

static void disk_describe(struct ide_disk *d)
{
	struct blk_dev *dev = &d->dev;

	dev->nsectors = d->id.nsectors;
	dev->max_sg = BLK_MAX_SG;
	dev->max_sectors = d->id.lba48 ? BLK_MAX_BYTES / SECTOR_SIZE : ATA_SECTORS_28;
	dev->has_flush = d->id.flush;
	dev->has_discard = d->id.trim;
	dev->max_discard = ATA_TRIM_RANGES * ATA_TRIM_RANGE_MAX;
	dev->dma_align = 2; /* section 1.2: bit 0 of base and size is 0 */
	dev->dma_max = UINT32_MAX;
	dev->ops = &disk_ops;
	dev->drv = d;
}

static unsigned find_disks(struct ide_channel *c)
{
	bool answers[IDE_UNITS];
	unsigned found = 0;

	for (unsigned unit = 0; unit < IDE_UNITS; unit++)
		answers[unit] = unit_answers(c, unit);
	if (!answers[0] && !answers[1])
		return 0;
	channel_reset(c);
	for (unsigned unit = 0; unit < IDE_UNITS; unit++) {
		struct ide_disk *d = &c->disk[unit];
		struct errmsg e = {""};
		int err = answers[unit] ? unit_probe(c, unit, &e) : ERR_NOENT;

		d->present = err == OK;
		if (d->present) {
			disk_describe(d);
			found++;
		} else if (err != ERR_NOENT) {
			log_warn("%s: %s", d->dev.name, e.text);
		}
	}
	return found;
}

int ide_channel_create(struct ide_channel *c, unsigned controller, unsigned index, struct errmsg *e)
{
	hpa_t dma = frames_alloc_low(0);
	unsigned found;

	if (!dma.a)
		return err_set(e, ERR_NOMEM, "%s: no memory below 4 GiB", c->name);
	c->dma = phys_to_virt(dma);
	spinlock_init(&c->lock, RANK_DRV);
	spinlock_init(&c->wake_lock, RANK_BLOCK_QUEUE);
	waitq_init(&c->wq);
	timer_init(&c->timer, timer_fire, c);
	for (unsigned unit = 0; unit < IDE_UNITS; unit++) {
		c->disk[unit].channel = c;
		list_init(&c->disk[unit].pending);
		str_format(c->disk[unit].dev.name, sizeof(c->disk[unit].dev.name), "ide%u.%u",
		    controller, index * IDE_UNITS + unit);
	}
	found = find_disks(c);
	if (!found)
		frames_free(dma, 0); /* the controller has never heard of it */
	return (int)found;
}

int ide_channel_start(struct ide_channel *c, bool polled, struct errmsg *e)
{
	c->polled = polled;
	if (!thread_create(c->name, channel_thread, c, 0, 256))
		return err_set(e, ERR_NOMEM, "%s: no memory for a thread", c->name);
	reg_read(c, IDE_STATUS);
	bm_clear(&c->ports);
	outb(c->ports.control, 0);
	for (unsigned unit = 0; unit < IDE_UNITS; unit++) {
		struct ide_disk *d = &c->disk[unit];
		int err;

		if (!d->present)
			continue;
		log_info("%s: '%s', serial '%s', %s mode %u%s", d->dev.name, d->id.model,
		    d->id.serial, d->id.dma_mode & ATA_MODE_UDMA ? "Ultra DMA" : "multiword DMA",
		    d->id.dma_mode & 7, d->id.lba48 ? "" : ", 28-bit addresses");
		err = blk_register(&d->dev);
		if (err)
			log_warn("%s: %s", d->dev.name, error_text(err));
	}
	return OK;
}
