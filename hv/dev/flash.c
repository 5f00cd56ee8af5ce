/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A flash chip with the command set of Intel's 28F series (28F640J3 datasheet, chapters 8 to 11),
 * as firmware for virtual machines drives it: byte by byte, in blocks of 4 KiB.
 *
 * Its content is ROM (gmem_rom.h), which the guest reads without an exit as long as the chip shows
 * it, and which snapshots have with RAM. It also lies on a disk of the store, from which it is read
 * at power-on, and to which the worker writes what has changed once the guest is done with its
 * commands. What has not been written when the machine is saved is in the state as a range; it is
 * written after a restore, whatever the host did meanwhile: the disk was frozen before it.
 */
#include "hv/dev/flash.h"

#include "hv/block/block.h"
#include "hv/core/device.h"
#include "hv/core/gmem_rom.h"
#include "hv/core/iobus.h"
#include "hv/core/memmap.h"
#include "hv/dev/disk_backend.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

enum { FLASH_BLOCK = 4096, FLASH_WEIGHT = 128 };

enum flash_command {
	CMD_PROGRAM_ALT = 0x10,
	CMD_ERASE = 0x20,
	CMD_PROGRAM = 0x40,
	CMD_CLEAR_STATUS = 0x50,
	CMD_READ_STATUS = 0x70,
	CMD_READ_ID = 0x90,
	CMD_CONFIRM = 0xd0,
	CMD_READ_ARRAY = 0xff,
};
enum flash_status {
	SR_PROGRAM_ERROR = 1 << 4,
	SR_ERASE_ERROR = 1 << 5,
	SR_READY = 1 << 7,
	SR_SEQUENCE_ERROR = SR_PROGRAM_ERROR | SR_ERASE_ERROR,
	/* Not of the datasheet, where READY stays: OVMF takes a chip for flash memory only if its
	 * status reads 0 once it is cleared. */
	SR_CLEARED = 0,
};
enum flash_id { ID_MANUFACTURER = 0x89, ID_DEVICE = 0x17 }; /* Intel, 28F640 */

/* What reads show, and what the next write is. */
enum flash_mode {
	MODE_ARRAY,
	MODE_STATUS,
	MODE_ID,
	MODE_PROGRAM, /* the data is next; reads show the status, in this and the next */
	MODE_ERASE,   /* the confirmation is next */
	MODE_COUNT,
};

struct flash_state {
	uint64_t address; /* 0: the chip is nowhere, before the first power-on */
	uint64_t dirty_start, dirty_end;
	uint8_t mode, status;
};

static const struct state_field fields[] = {
    STATE_INT(struct flash_state, address, "address", UINT32_MAX,
	"guest-physical address of the chip; 0: it is nowhere"),
    STATE_INT(struct flash_state, mode, "mode", MODE_COUNT - 1,
	"0: reads show the content, 1: the status, 2: the identifier, 3: the next write is data to "
	"program, 4: the next write confirms an erase"),
    STATE_INT(struct flash_state, status, "status", 0xff, "status register"),
    STATE_INT(struct flash_state, dirty_start, "dirty-start", UINT32_MAX,
	"first byte of the chip that the disk may not have yet"),
    STATE_INT(
	struct flash_state, dirty_end, "dirty-end", UINT32_MAX, "byte behind the last of them"),
    STATE_END,
};

/* Of the worker. */
enum flash_work { WORK_IDLE, WORK_COPYING, WORK_WRITING };

struct flash {
	struct mutex lock; /* protects mode and status, and the order of commands */
	struct flash_state st;
	struct vm *vm;
	struct blk_dev *disk;
	uint64_t size;
	struct io_region region;
	uint8_t *buf; /* the worker's, of the chip's size; power-on's, while the worker is idle */
	struct thread *worker;
	/* protects all that follows, and the dirty range */
	struct spinlock wlock;
	struct waitq waitq; /* anything of it changed */
	enum flash_work work;
	bool wanted, held, stop;
	uint64_t changes; /* of the content */
};

/* --- to the disk ------------------------------------------------------------------------- */

static void note_dirty(struct flash *f, uint64_t start, uint64_t len)
{
	uint64_t flags = spin_lock(&f->wlock);
	struct flash_state *s = &f->st;
	bool clean = s->dirty_start == s->dirty_end;

	s->dirty_start = clean ? start : MIN(s->dirty_start, start);
	s->dirty_end = clean ? start + len : MAX(s->dirty_end, start + len);
	f->changes++;
	spin_unlock(&f->wlock, flags);
}

/* wlock held. */
static void change_work(struct flash *f, enum flash_work work)
{
	f->work = work;
	waitq_wake_all(&f->waitq);
}

static void want_write(struct flash *f)
{
	uint64_t flags = spin_lock(&f->wlock);

	f->wanted = f->st.dirty_start != f->st.dirty_end;
	waitq_wake_all(&f->waitq);
	spin_unlock(&f->wlock, flags);
}

/* The dirty range, in whole sectors, from guest memory to the disk. work is WORK_COPYING. */
static int write_back(struct flash *f, uint64_t start, uint64_t end)
{
	uint64_t flags;
	int err = gmem_rom_read(f->vm, gpa(f->st.address + start), f->buf, end - start);

	flags = spin_lock(&f->wlock);
	change_work(f, WORK_WRITING);
	spin_unlock(&f->wlock, flags);
	if (!err)
		err = blk_write(
		    f->disk, start / SECTOR_SIZE, f->buf, (uint32_t)((end - start) / SECTOR_SIZE));
	if (!err && f->disk->has_flush)
		err = blk_flush(f->disk);
	if (err && err != ERR_RETRY) /* the machine is being stopped; its memory comes back */
		log_warn("vm '%s': flash: disk '%s': %s", f->vm->config.name, f->disk->name,
		    error_text(err));
	return err;
}

/* One round; false: the worker is to end. */
static bool work_once(struct flash *f)
{
	uint64_t flags = spin_lock(&f->wlock), start, end, changes;
	int err;

	while (!f->stop && (!f->wanted || f->held))
		flags = waitq_wait(&f->waitq, &f->wlock, flags);
	if (f->stop) {
		spin_unlock(&f->wlock, flags);
		return false;
	}
	f->wanted = false;
	start = ALIGN_DOWN(f->st.dirty_start, (uint64_t)SECTOR_SIZE);
	end = ALIGN_UP(f->st.dirty_end, (uint64_t)SECTOR_SIZE);
	changes = f->changes;
	change_work(f, WORK_COPYING);
	spin_unlock(&f->wlock, flags);
	err = write_back(f, start, end);
	flags = spin_lock(&f->wlock);
	/* While it is held the state is not to change: it is all written again. */
	if (!err && !f->held && f->changes == changes)
		f->st.dirty_start = f->st.dirty_end = 0;
	else if (!err && f->changes != changes)
		f->wanted = true;
	change_work(f, WORK_IDLE);
	spin_unlock(&f->wlock, flags);
	return true;
}

static void worker_main(void *arg)
{
	while (work_once(arg))
		;
}

/* --- commands ---------------------------------------------------------------------------- */

static void set_mode(struct flash *f, enum flash_mode mode)
{
	bool was_hidden = f->st.mode != MODE_ARRAY, hide = mode != MODE_ARRAY;

	f->st.mode = (uint8_t)mode;
	if (hide == was_hidden)
		return;
	gmem_rom_hide(f->vm, gpa(f->st.address), hide ? f->size : 0);
	if (!hide)
		want_write(f);
}

/* Programming only clears bits (11.2). A failure is for lack of host memory. */
static void program(struct flash *f, uint64_t at, unsigned len, uint64_t value)
{
	uint64_t old = 0;
	int err = gmem_rom_read(f->vm, gpa(f->st.address + at), &old, len);

	value &= old;
	if (!err)
		err = gmem_rom_write(f->vm, gpa(f->st.address + at), &value, len);
	f->st.status |= SR_READY | (err ? SR_PROGRAM_ERROR : 0);
	if (!err)
		note_dirty(f, at, len);
}

static void erase(struct flash *f, uint64_t at)
{
	static const uint8_t ones[64] = {[0 ... 63] = 0xff};
	uint64_t start = ALIGN_DOWN(at, (uint64_t)FLASH_BLOCK);
	int err = OK;

	for (uint64_t off = 0; !err && off < FLASH_BLOCK; off += sizeof(ones))
		err = gmem_rom_write(f->vm, gpa(f->st.address + start + off), ones, sizeof(ones));
	f->st.status |= SR_READY | (err ? SR_ERASE_ERROR : 0);
	note_dirty(f, start, FLASH_BLOCK);
}

static void command(struct flash *f, uint8_t c)
{
	switch (c) {
	case CMD_PROGRAM:
	case CMD_PROGRAM_ALT:
		set_mode(f, MODE_PROGRAM);
		return;
	case CMD_ERASE:
		set_mode(f, MODE_ERASE);
		return;
	case CMD_CLEAR_STATUS:
		f->st.status = SR_CLEARED;
		set_mode(f, MODE_ARRAY);
		return;
	case CMD_READ_STATUS:
		set_mode(f, MODE_STATUS);
		return;
	case CMD_READ_ID:
		set_mode(f, MODE_ID);
		return;
	case CMD_READ_ARRAY:
		set_mode(f, MODE_ARRAY);
		return;
	}
	/* none of the chip's: the sequence of commands is wrong, unless nothing was begun */
	if (f->st.mode != MODE_ARRAY)
		f->st.status |= SR_SEQUENCE_ERROR;
	__atomic_fetch_add(&f->vm->stat_unhandled_io, 1, __ATOMIC_RELAXED);
}

static void flash_write(void *ctx, uint64_t offset, unsigned len, uint64_t value)
{
	struct flash *f = ctx;

	mutex_lock(&f->lock);
	switch (f->st.mode) {
	case MODE_PROGRAM:
		program(f, offset, len, value);
		set_mode(f, MODE_STATUS);
		break;
	case MODE_ERASE:
		if ((uint8_t)value == CMD_CONFIRM)
			erase(f, offset);
		else
			f->st.status |= SR_READY | SR_SEQUENCE_ERROR;
		set_mode(f, MODE_STATUS);
		break;
	default:
		command(f, (uint8_t)value);
	}
	mutex_unlock(&f->lock);
}

/* The content comes here only from instructions that had begun when the chip began to show it. */
static void flash_read(void *ctx, uint64_t offset, unsigned len, uint64_t *value)
{
	struct flash *f = ctx;

	mutex_lock(&f->lock);
	*value = f->st.status;
	if (f->st.mode == MODE_ID)
		*value = (offset & 1) == 0 ? ID_MANUFACTURER : ID_DEVICE;
	else if (f->st.mode == MODE_ARRAY &&
		 gmem_rom_read(f->vm, gpa(f->st.address + offset), value, len))
		*value = UINT64_MAX;
	mutex_unlock(&f->lock);
}

static const struct io_handler flash_ops = {.read = flash_read, .write = flash_write};

/* --- the model --------------------------------------------------------------------------- */

static int flash_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	struct flash *f = heap_zalloc(sizeof(*f));
	int err;

	if (!f)
		return err_set(e, ERR_NOMEM, "no memory");
	dev->priv = f;
	dev->state = &f->st;
	f->vm = dev->vm;
	mutex_init(&f->lock, RANK_DEV);
	spinlock_init(&f->wlock, RANK_DEV_SPIN);
	waitq_init(&f->waitq);
	err = disk_backend_find(cfg, &f->disk, e);
	if (err)
		return err;
	dev->disk = f->disk;
	f->size = f->disk->nsectors * SECTOR_SIZE;
	if (!f->size || f->size % FLASH_BLOCK || f->size > MEMMAP_ROM_SIZE)
		return err_set(e, ERR_INVAL,
		    "disk '%s' has %lu bytes: must be a multiple of 4 KiB, at most %llu MiB",
		    cfg->backend, f->size, MEMMAP_ROM_SIZE / MIB);
	f->region =
	    (struct io_region){.name = "flash", .size = f->size, .ops = &flash_ops, .ctx = f};
	f->buf = heap_alloc(f->size);
	if (f->buf)
		f->worker = thread_create("flash", worker_main, f, 0, FLASH_WEIGHT);
	return f->worker ? OK : err_set(e, ERR_NOMEM, "no memory");
}

static void flash_destroy(struct device *dev)
{
	struct flash *f = dev->priv;
	uint64_t flags;

	if (!f)
		return;
	flags = spin_lock(&f->wlock);
	f->stop = true;
	waitq_wake_all(&f->waitq);
	spin_unlock(&f->wlock, flags);
	if (f->worker)
		thread_join(f->worker);
	iobus_unmap_mmio(dev->vm, &f->region);
	disk_backend_release(dev);
	heap_free(f->buf);
	heap_free(f);
	dev->priv = dev->state = NULL;
}

static void flash_reset(struct device *dev)
{
	struct flash *f = dev->priv;

	f->st = (struct flash_state){.mode = MODE_ARRAY, .status = SR_READY};
	iobus_unmap_mmio(dev->vm, &f->region);
}

/* Waits for no disk: what the worker has copied it may go on writing. */
static void flash_quiesce(struct device *dev)
{
	struct flash *f = dev->priv;
	uint64_t flags = spin_lock(&f->wlock);

	f->held = true;
	while (f->work == WORK_COPYING)
		flags = waitq_wait(&f->waitq, &f->wlock, flags);
	spin_unlock(&f->wlock, flags);
}

/* All is on the disk, unless that fails. */
static void flash_drain(struct device *dev)
{
	struct flash *f = dev->priv;
	uint64_t flags = spin_lock(&f->wlock);

	f->held = false;
	f->wanted = f->st.dirty_start != f->st.dirty_end;
	waitq_wake_all(&f->waitq);
	while (f->wanted || f->work != WORK_IDLE)
		flags = waitq_wait(&f->waitq, &f->wlock, flags);
	f->held = true;
	spin_unlock(&f->wlock, flags);
}

static void flash_resume(struct device *dev)
{
	struct flash *f = dev->priv;
	uint64_t flags = spin_lock(&f->wlock);

	f->held = false;
	f->wanted = f->st.dirty_start != f->st.dirty_end;
	waitq_wake_all(&f->waitq);
	spin_unlock(&f->wlock, flags);
}

static int flash_check(const struct device *dev, const void *state, struct errmsg *e)
{
	const struct flash *f = dev->priv;
	const struct flash_state *s = state;

	if (s->address && (s->address < MEMMAP_ROM || s->address % PAGE_SIZE ||
			      s->address - MEMMAP_ROM > MEMMAP_ROM_SIZE - f->size))
		return err_set(e, ERR_RANGE, "address: 0x%lx is not in the ROM", s->address);
	if (!s->address && s->mode != MODE_ARRAY)
		return err_set(e, ERR_INVAL, "mode: %u of a chip that is nowhere", s->mode);
	if (s->dirty_start > s->dirty_end || s->dirty_end > f->size)
		return err_set(e, ERR_RANGE, "dirty-end: beyond the chip, or before dirty-start");
	return OK;
}

static void flash_loaded(struct device *dev)
{
	struct flash *f = dev->priv;

	iobus_unmap_mmio(dev->vm, &f->region);
	f->region.start = f->st.address;
	if (!f->st.address)
		return;
	if (iobus_map_mmio(dev->vm, &f->region) != OK)
		log_warn("vm '%s': flash: its addresses are taken", dev->vm->config.name);
	gmem_rom_hide(f->vm, gpa(f->st.address), f->st.mode == MODE_ARRAY ? 0 : f->size);
}

int flash_boot(struct vm *vm, uint64_t end, struct errmsg *e)
{
	struct device *dev = device_find(vm, "amber,flash");
	struct flash *f = dev ? dev->priv : NULL;
	int err;

	if (!f)
		return OK;
	if (f->size > end - MEMMAP_ROM)
		return err_set(e, ERR_NOSPACE, "device %s: %lu KiB do not fit below the firmware",
		    dev->name, (unsigned long)(f->size / KIB));
	f->st.address = end - f->size;
	err = blk_read(f->disk, 0, f->buf, (uint32_t)f->disk->nsectors);
	if (!err)
		err = gmem_rom_write(vm, gpa(f->st.address), f->buf, f->size);
	if (err)
		return err_set(
		    e, err, "device %s: disk '%s': %s", dev->name, f->disk->name, error_text(err));
	f->region.start = f->st.address;
	err = iobus_map_mmio(vm, &f->region);
	return err ? err_set(e, err, "device %s: its addresses are taken", dev->name) : OK;
}

DEVICE_MODEL(flash_model) = {
    .compatible = "amber,flash",
    .version = 1,
    .class = DEVCLASS_CONFIG,
    .doc = "flash chip (Intel 28F series) for the firmware's variables",
    .state_size = sizeof(struct flash_state),
    .fields = fields,
    .create = flash_create,
    .destroy = flash_destroy,
    .reset = flash_reset,
    .quiesce = flash_quiesce,
    .drain = flash_drain,
    .resume = flash_resume,
    .check = flash_check,
    .loaded = flash_loaded,
};
