/* SPDX-License-Identifier: BSD-2-Clause */
/* The channel driver against a channel with two disks in software: regions, queueing, both address
 * widths, what is not there, and every kind of error. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "hv/lib/cursor.h"
#include "hv/mm/mm.h"
#include "tests/unit/fake/fake.h"

/* The channel's ports are the fake's, below. */
#define AMBER_X86_IO_H
#define AMBER_X86_TSC_H
static uint8_t inb(uint16_t port);
static uint16_t inw(uint16_t port);
static void outb(uint16_t port, uint8_t v);
static void outl(uint16_t port, uint32_t v);
static void delay_ns(uint64_t ns);

/* included, not linked: with the replacements above */
#include "hv/drv/ata.c"
#include "hv/drv/ide_channel.c"

enum { DISK_SECTORS = 4096, COMMAND = 0x1f0, CONTROL = 0x3f6, BM = 0xc000 };

/* --- the fake channel and its disks ------------------------------------------------------------
 */

struct unit {
	bool present, atapi;
	uint8_t *data;
	uint8_t identify[512];
	uint8_t status, error, mode;
	unsigned commands, flushes, trimmed, modes_set;
};

static struct {
	struct unit unit[2];
	uint8_t empty; /* what the status reads as when there is no disk at all */
	uint8_t reg[8], upper[8];
	uint8_t control, bm_command, bm_status;
	uint32_t bm_table;
	unsigned identify_at; /* bytes read of IDENTIFY's data */
	uint8_t command;      /* in flight: that of the unit selected; 0: none */
	bool irq;
	bool no_irq;	     /* the line leads nowhere */
	bool hold;	     /* commands wait for fake_run() */
	bool stuck;	     /* transfers never end */
	uint64_t bad_lba;    /* UINT64_MAX: none */
	unsigned crc_errors; /* how many commands more fail so */
	unsigned bus_errors; /* likewise */
	unsigned cut_short;  /* likewise */
	bool forgets;	     /* a reset changes the transfer mode */
	unsigned resets;
	uint8_t log[512]; /* the units served, in order */
	unsigned logged;
} hw;

static struct ide_channel *chan;

static unsigned selected(void)
{
	return hw.reg[IDE_DEVICE] >> 4 & 1;
}

static struct unit *sel(void)
{
	return &hw.unit[selected()];
}

static uint8_t status_now(void)
{
	if (!hw.unit[0].present && !hw.unit[1].present)
		return hw.empty;
	return sel()->present ? sel()->status : 0;
}

static void command_end(uint8_t status, uint8_t error)
{
	sel()->status = status;
	sel()->error = error;
	hw.command = 0;
	if (hw.control & IDE_CONTROL_NIEN)
		return;
	hw.bm_status |= BM_INTERRUPT;
	hw.irq = !hw.no_irq;
}

static bool is_transfer(uint8_t command)
{
	return command == ATA_READ_DMA || command == ATA_READ_DMA_EXT || command == ATA_WRITE_DMA ||
	       command == ATA_WRITE_DMA_EXT || command == ATA_DATA_SET_MANAGEMENT;
}

/* Buffers lie below 4 GiB, so that the low half of an address is all of it. */
static uint8_t *memory(uint32_t base)
{
	if (base == (uint32_t)(uintptr_t)chan->dma->block)
		return chan->dma->block;
	return (uint8_t *)(uintptr_t)base;
}

static void transfer_data(uint8_t *disk, uint32_t bytes, bool write)
{
	const struct ide_prd *prd = chan->dma->prd;
	uint32_t left = bytes;

	assert_int_equal(hw.bm_table, (uint32_t)(uintptr_t)prd);
	assert_int_equal(!!(hw.bm_command & BM_TO_MEMORY), !write);
	for (;; prd++) {
		uint32_t len = prd->size & 0xffff ? prd->size & 0xffff : 0x10000;

		assert_int_equal(prd->base & 1, 0);
		assert_int_equal(len & 1, 0);
		assert_int_equal(prd->base >> 16, (prd->base + len - 1) >> 16);
		assert_true(len <= left);
		if (write)
			memcpy(disk, memory(prd->base), len);
		else
			memcpy(memory(prd->base), disk, len);
		disk += len;
		left -= len;
		if (prd->size & IDE_PRD_LAST)
			break;
	}
	assert_int_equal(left, 0);
}

/* One of the counters of errors to come. */
static bool take(unsigned *count)
{
	return *count && (*count)--;
}

static void execute(void)
{
	uint8_t c = hw.command, block[SECTOR_SIZE];
	const uint8_t *r = hw.reg, *u = hw.upper;
	bool ext = is_ext((enum ata_command)c), write = c != ATA_READ_DMA && c != ATA_READ_DMA_EXT;
	uint64_t lba = r[3] | r[4] << 8 | r[5] << 16;
	uint32_t n = r[2];

	if (ext) {
		lba |= (uint64_t)u[3] << 24 | (uint64_t)u[4] << 32 | (uint64_t)u[5] << 40;
		n |= (uint32_t)u[2] << 8;
	} else {
		lba |= (uint64_t)(r[6] & 0xf) << 24;
		n = n ? n : 256;
	}
	if (c == ATA_DATA_SET_MANAGEMENT) {
		assert_int_equal(r[1], 1);
		transfer_data(block, SECTOR_SIZE, true);
		for (unsigned i = 0; i < 64; i++)
			sel()->trimmed += (unsigned)(get_le64(block + 8 * i) >> 48);
	} else if (hw.bad_lba >= lba && hw.bad_lba < lba + n) {
		command_end(0x51, 0x40);
		return;
	} else if (take(&hw.crc_errors)) {
		command_end(0x51, 0x84);
		return;
	} else if (take(&hw.bus_errors)) {
		hw.bm_status |= BM_ERROR;
	} else if (!take(&hw.cut_short)) {
		assert_true(range_in(lba, n, DISK_SECTORS));
		transfer_data(sel()->data + lba * SECTOR_SIZE, n * SECTOR_SIZE, write);
		hw.bm_status &= (uint8_t)~BM_ACTIVE;
	}
	if (c == ATA_DATA_SET_MANAGEMENT)
		hw.bm_status &= (uint8_t)~BM_ACTIVE;
	command_end(0x50, 0);
}

/* Does what is in flight. */
static void fake_run(void)
{
	if (!hw.command || hw.stuck)
		return;
	if (!is_transfer(hw.command))
		command_end(0x50, 0);
	else if (hw.bm_status & BM_ACTIVE)
		execute();
}

static void command_start(uint8_t c)
{
	struct unit *u = sel();

	if (!u->present)
		return;
	assert_int_equal(hw.command, 0);
	assert_int_equal(u->status & (ATA_BSY | ATA_DRQ), 0);
	assert_int_equal(hw.reg[IDE_DEVICE] & 0xe0, 0xe0);
	u->commands++;
	hw.command = c;
	switch (c) {
	case ATA_IDENTIFY_DEVICE:
		hw.identify_at = 0;
		put_le16(u->identify + 2 * ID_UDMA, (uint16_t)(0x3f | 1u << (u->mode & 7) << 8));
		command_end(0x58, 0);
		break;
	case ATA_SET_FEATURES:
		assert_int_equal(hw.reg[1], 3);
		u->mode = hw.reg[2];
		u->modes_set++;
		command_end(0x50, 0);
		break;
	case ATA_FLUSH_CACHE:
	case ATA_FLUSH_CACHE_EXT:
		u->flushes++;
		u->status = 0xd0;
		hw.log[hw.logged++ % sizeof(hw.log)] = (uint8_t)selected();
		break;
	default:
		assert_true(is_transfer(c));
		assert_int_equal(hw.bm_status & (BM_ACTIVE | BM_INTERRUPT | BM_ERROR), 0);
		u->status = 0x58;
		hw.log[hw.logged++ % sizeof(hw.log)] = (uint8_t)selected();
	}
	if (!hw.hold)
		fake_run();
}

static void reset_done(void)
{
	hw.resets++;
	hw.command = 0;
	hw.reg[IDE_DEVICE] = 0;
	for (unsigned i = 0; i < 2; i++) {
		hw.unit[i].status = 0x50;
		if (hw.forgets)
			hw.unit[i].mode = 0x40;
	}
}

static uint8_t inb(uint16_t port)
{
	if (port == BM + BM_STATUS)
		return hw.bm_status;
	if (port == CONTROL)
		return status_now();
	assert_true(port > COMMAND && port < COMMAND + 8);
	if (!hw.unit[0].present && !hw.unit[1].present)
		return hw.empty;
	switch (port - COMMAND) {
	case IDE_STATUS:
		hw.irq = false;
		return status_now();
	case IDE_ERROR:
		return sel()->error;
	case IDE_LBA_MID:
		return sel()->atapi ? 0x14 : hw.reg[4];
	case IDE_LBA_HIGH:
		return sel()->atapi ? 0xeb : hw.reg[5];
	default:
		return hw.reg[port - COMMAND];
	}
}

static uint16_t inw(uint16_t port)
{
	uint16_t v = get_le16(sel()->identify + hw.identify_at);

	assert_int_equal(port, COMMAND);
	assert_true(sel()->status & ATA_DRQ);
	hw.identify_at += 2;
	if (hw.identify_at == 512)
		sel()->status = 0x50;
	return v;
}

static void outb(uint16_t port, uint8_t v)
{
	if (port == BM + BM_COMMAND) {
		hw.bm_command = v;
		if (!(v & BM_START)) {
			hw.bm_status &= (uint8_t)~BM_ACTIVE;
			return;
		}
		hw.bm_status |= BM_ACTIVE;
		if (!hw.hold)
			fake_run();
	} else if (port == BM + BM_STATUS) {
		hw.bm_status &= (uint8_t) ~(v & (BM_INTERRUPT | BM_ERROR));
	} else if (port == CONTROL) {
		if ((hw.control & IDE_CONTROL_SRST) && !(v & IDE_CONTROL_SRST))
			reset_done();
		hw.control = v;
	} else {
		assert_true(port > COMMAND && port < COMMAND + 8);
		hw.upper[port - COMMAND] = hw.reg[port - COMMAND];
		hw.reg[port - COMMAND] = v;
		if (port == COMMAND + IDE_COMMAND)
			command_start(v);
	}
}

static void outl(uint16_t port, uint32_t v)
{
	assert_int_equal(port, BM + BM_TABLE);
	assert_int_equal(v & 3, 0);
	hw.bm_table = v;
}

static void delay_ns(uint64_t ns)
{
	fake_host_time += ns;
}

/* --- a channel under test ------------------------------------------------------------------------
 */

static void put_word(unsigned unit, unsigned index, uint16_t v)
{
	put_le16(hw.unit[unit].identify + 2 * index, v);
}

static void put_string(unsigned unit, unsigned index, const char *s, unsigned nwords)
{
	for (unsigned i = 0; i < 2 * nwords; i++)
		hw.unit[unit].identify[2 * index + (i ^ 1)] = i < strlen(s) ? (uint8_t)s[i] : ' ';
}

static int setup(void **state)
{
	memset(&hw, 0, sizeof(hw));
	hw.bad_lba = UINT64_MAX;
	for (unsigned i = 0; i < 2; i++) {
		hw.unit[i].present = true;
		hw.unit[i].status = 0x50;
		hw.unit[i].mode = 0x45;
		hw.unit[i].data = calloc(DISK_SECTORS, SECTOR_SIZE);
		put_string(i, ID_SERIAL, i ? "S1" : "S0", 10);
		put_string(i, ID_MODEL, "FAKE DISK", 20);
		put_word(i, ID_CAPABILITIES, BIT(8) | BIT(9));
		put_word(i, ID_VALID, BIT(2));
		put_word(i, ID_SECTORS_28, DISK_SECTORS);
		put_word(i, ID_FEATURES_1, BIT(5));
		put_word(i, ID_FEATURES_2, 0x4000 | BIT(10) | BIT(12) | BIT(13));
		put_word(i, ID_SECTORS_48, DISK_SECTORS);
		put_word(i, ID_DATA_SET, 1);
	}
	fake_log_clear();
	fake_host_time = 0;
	chan = NULL;
	return 0;
}

static int teardown(void **state)
{
	if (chan && (chan->disk[0].present || chan->disk[1].present))
		frames_free(virt_to_phys(chan->dma), 0);
	heap_free(chan);
	free(hw.unit[0].data);
	free(hw.unit[1].data);
	assert_int_equal(fake_heap_outstanding(), 0);
	return 0;
}

/* The number of disks found. */
static int create(void)
{
	struct errmsg e = {""};
	int found;

	chan = heap_zalloc(sizeof(*chan));
	str_copy(chan->name, sizeof(chan->name), "ide0/0");
	chan->ports = (struct ide_ports){COMMAND, CONTROL, BM};
	ide_channel_silence(&chan->ports);
	found = ide_channel_create(chan, 0, 0, &e);
	/* as ide_channel_start(), which would read the partition tables */
	inb(COMMAND + IDE_STATUS);
	bm_clear(&chan->ports);
	outb(CONTROL, 0);
	hw.resets = 0;
	return found;
}

/* What the interrupt and the thread do until nothing more happens. */
static void settle(void)
{
	for (unsigned i = 0; i < 2000; i++) {
		fake_run();
		if (hw.irq) {
			ide_channel_interrupt(chan);
			assert_false(hw.irq);
		}
		if (!chan->wake)
			return;
		chan->wake = false;
		channel_service(chan);
	}
	fail_msg("does not settle");
}

static void fire_timer(void)
{
	assert_int_equal(chan->timer.cpu, 0);
	chan->timer.cpu = -1;
	fake_host_time = MAX(fake_host_time, chan->timer.deadline);
	chan->timer.fn(chan->timer.arg);
	settle();
}

enum { N = 60, BUF = 256 * SECTOR_SIZE };
static struct blk_req req[N];
static struct sg sg[N];
static uint8_t *low; /* N buffers below 4 GiB, on no boundary in particular */
static unsigned finished, order[N];

static uint8_t *buf(unsigned i)
{
	return low + (size_t)i * BUF + 0x1234;
}

static void done(struct blk_req *r)
{
	order[finished++] = (unsigned)(r - req);
}

/* To the driver itself: the block layer would copy what is not below 4 GiB, and here nothing is. */
static void submit(unsigned i, unsigned unit, enum blk_op op, uint64_t sector, uint32_t n)
{
	struct blk_dev *d = &chan->disk[unit].dev;

	if (op != BLK_DISCARD)
		memset(buf(i), (int)i + 1, (size_t)n * SECTOR_SIZE);
	sg[i] = (struct sg){.addr = virt_to_phys(buf(i)), .len = n * SECTOR_SIZE};
	req[i] = (struct blk_req){.op = op,
	    .sector = sector,
	    .lba = sector,
	    .nsectors = n,
	    .sg = &sg[i],
	    .nsg = op == BLK_READ || op == BLK_WRITE,
	    .status = 1,
	    .done = done,
	    .dev = d};
	list_init(&req[i].link);
	d->ops->submit(d, &req[i]);
}

static int group_setup(void **state)
{
	low = mmap(NULL, (size_t)(N + 1) * BUF, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	return low == MAP_FAILED ? -1 : 0;
}

static int test_setup(void **state)
{
	finished = 0;
	return setup(state);
}

static void regions(void **state)
{
	struct ide_prd prd[IDE_PRDS + 1];
	struct sg one[2] = {{.addr = hpa(0x1fffe), .len = 4},
	    {.addr = hpa(0x30000), .len = 0x20000}},
		  many[BLK_MAX_SG];
	unsigned n;

	assert_int_equal(ide_prd_build(prd, one, 2), 4);
	assert_int_equal(prd[0].base, 0x1fffe);
	assert_int_equal(prd[0].size, 2);
	assert_int_equal(prd[1].base, 0x20000);
	assert_int_equal(prd[1].size, 2);
	assert_int_equal(prd[2].base, 0x30000);
	assert_int_equal(prd[2].size, 0); /* 64 KiB */
	assert_int_equal(prd[3].base, 0x40000);
	assert_int_equal(prd[3].size, IDE_PRD_LAST);
	one[0] = (struct sg){.addr = hpa(0xffff0000), .len = 0x10000}; /* the last below 4 GiB */
	assert_int_equal(ide_prd_build(prd, one, 1), 1);
	assert_int_equal(prd[0].base, 0xffff0000);

	/* the worst within the limits: no piece starts or ends on a boundary */
	for (unsigned i = 0; i < BLK_MAX_SG; i++)
		many[i] = (struct sg){
		    .addr = hpa(i * 0x100000 + 0xfffe), .len = BLK_MAX_BYTES / BLK_MAX_SG};
	n = ide_prd_build(prd, many, BLK_MAX_SG);
	assert_int_equal(n, 2 * BLK_MAX_SG);
	assert_true(n <= IDE_PRDS);
	many[0] = (struct sg){.addr = hpa(0xfffe), .len = BLK_MAX_BYTES - 63 * 4};
	for (unsigned i = 1; i < BLK_MAX_SG; i++)
		many[i].len = 4;
	n = ide_prd_build(prd, many, BLK_MAX_SG);
	assert_true(n > 2 * BLK_MAX_SG && n <= IDE_PRDS);
	for (unsigned i = 0, bytes = 0; i < n; i++) {
		uint32_t len = prd[i].size & 0xffff ? prd[i].size & 0xffff : 0x10000;

		assert_int_equal(prd[i].base >> 16, (prd[i].base + len - 1) >> 16);
		assert_int_equal(!!(prd[i].size & IDE_PRD_LAST), i == n - 1);
		bytes += len;
		if (i == n - 1)
			assert_int_equal(bytes, BLK_MAX_BYTES);
	}
}

static void tasks(void **state)
{
	struct ata_task t;

	ata_task(&t, ATA_READ_DMA_EXT, 1, 0x123456789abcULL, 0x1234);
	assert_true(t.ext);
	assert_int_equal(t.device, 0xf0);
	assert_int_equal(t.count, 0x34);
	assert_int_equal(t.count_exp, 0x12);
	assert_int_equal(t.lba_low, 0xbc);
	assert_int_equal(t.lba_mid, 0x9a);
	assert_int_equal(t.lba_high, 0x78);
	assert_int_equal(t.lba_low_exp, 0x56);
	assert_int_equal(t.lba_mid_exp, 0x34);
	assert_int_equal(t.lba_high_exp, 0x12);
	ata_task(&t, ATA_WRITE_DMA, 0, 0xabcdef1, 256);
	assert_false(t.ext);
	assert_int_equal(t.device, 0xea);
	assert_int_equal(t.count, 0);
	assert_int_equal(t.lba_high, 0xbc);
}

static void identification(void **state)
{
	put_word(1, ID_FEATURES_2, 0x4000 | BIT(12)); /* an older disk */
	assert_int_equal(create(), 2);
	for (unsigned i = 0; i < 2; i++) {
		const struct ide_disk *d = &chan->disk[i];

		assert_string_equal(d->id.model, "FAKE DISK");
		assert_string_equal(d->id.serial, i ? "S1" : "S0");
		assert_int_equal(d->dev.nsectors, DISK_SECTORS);
		assert_true(d->dev.has_flush);
		assert_int_equal(d->id.lba48, !i);
		assert_int_equal(d->dev.has_discard, !i);
		assert_int_equal(d->dev.max_sectors, i ? 256 : 2048);
		assert_int_equal(d->dev.dma_max, UINT32_MAX);
	}
	assert_string_equal(chan->disk[0].dev.name, "ide0.0");
	assert_string_equal(chan->disk[1].dev.name, "ide0.1");
}

static void no_dma(void **state)
{
	put_word(0, ID_CAPABILITIES, BIT(9));
	assert_int_equal(create(), 1);
	assert_false(chan->disk[0].present);
	assert_non_null(strstr(fake_log_text(), "ide0.0: disk 'FAKE DISK' has no DMA"));
}

static void not_there(void **state)
{
	static const uint8_t empty[] = {0xff, 0x7f, 0x00};

	for (unsigned i = 0; i < ARRAY_LEN(empty); i++) {
		hw.unit[0].present = hw.unit[1].present = false;
		hw.empty = empty[i];
		fake_host_time = 0;
		assert_int_equal(create(), 0);
		assert_true(fake_host_time < MS); /* nobody was waited for */
		heap_free(chan);
		chan = NULL;
	}
	assert_string_equal(fake_log_text(), "");
}

/* Each alone, beside nothing and beside a CD-ROM. */
static void one_disk(void **state)
{
	for (unsigned kind = 0; kind < 4; kind++) {
		unsigned disk = kind & 1;

		hw.unit[disk].present = true;
		hw.unit[disk].atapi = false;
		hw.unit[!disk].present = kind & 2;
		hw.unit[!disk].atapi = true;
		hw.unit[!disk].commands = 0;
		assert_int_equal(create(), 1);
		assert_true(chan->disk[disk].present);
		submit(0, disk, BLK_WRITE, 5, 1);
		settle();
		assert_int_equal(finished, 1);
		assert_int_equal(hw.unit[disk].data[5 * SECTOR_SIZE], 1);
		assert_int_equal(hw.unit[!disk].commands, 0);
		finished = 0;
		if (kind == 3)
			break;
		frames_free(virt_to_phys(chan->dma), 0);
		heap_free(chan);
	}
	assert_non_null(strstr(fake_log_text(), "ATAPI device: not used"));
	assert_null(strstr(fake_log_text(), "status"));
}

static void both_disks(void **state)
{
	put_word(1, ID_FEATURES_2, 0x4000 | BIT(12));
	create();
	hw.hold = true;
	for (unsigned i = 0; i < N; i++)
		submit(i, i >= N / 2, BLK_WRITE, 32 * i, i % 3 ? 31 : 256);
	settle();
	assert_int_equal(finished, N);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(req[i].status, OK);
	/* in turns, each in order */
	for (unsigned i = 1; i < hw.logged; i++)
		assert_int_equal(hw.log[i], !hw.log[i - 1]);
	for (unsigned i = 2; i < N; i++)
		assert_int_equal(order[i], order[i - 2] + 1);
	finished = 0;
	for (unsigned i = 0; i < N; i++) {
		unsigned unit = i >= N / 2;

		assert_int_equal(hw.unit[unit].data[32 * i * SECTOR_SIZE + 77], i + 1);
		submit(0, unit, BLK_READ, 32 * i, 31);
		settle();
		assert_int_equal(buf(0)[31 * SECTOR_SIZE - 1], i + 1);
		finished = 0;
	}
	assert_int_equal(hw.resets, 0);
	assert_false(chan->polled);
}

static void flush_and_trim(void **state)
{
	put_word(1, ID_FEATURES_2, 0x4000 | BIT(12));
	create();
	submit(0, 0, BLK_WRITE, 0, 1);
	submit(1, 0, BLK_FLUSH, 0, 0);
	submit(2, 0, BLK_DISCARD, 100, 70000);
	submit(3, 1, BLK_FLUSH, 0, 0);
	settle();
	assert_int_equal(finished, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(req[i].status, OK);
	assert_int_equal(hw.unit[0].flushes, 1);
	assert_int_equal(hw.unit[1].flushes, 1);
	assert_int_equal(hw.unit[0].trimmed, 70000);
	assert_int_equal(hw.resets, 0);
}

/* Only its request fails; no reset. */
static void bad_sector(void **state)
{
	create();
	hw.hold = true;
	hw.bad_lba = 8 * 17 + 3;
	for (unsigned i = 0; i < N; i++)
		submit(i, 0, BLK_WRITE, 8 * i, 8);
	settle();
	assert_int_equal(finished, N);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(req[i].status, i == 17 ? ERR_IO : OK);
	assert_int_equal(hw.resets, 0);
	assert_int_equal(chan->disk[0].dev.stat_errors, 1);
	assert_non_null(strstr(
	    fake_log_text(), "ide0.0: write of 8 sectors at 136: failed (status 0x51, error 0x40"));
}

static void retried(void **state)
{
	static unsigned *const counters[] = {&hw.crc_errors, &hw.bus_errors, &hw.cut_short};

	create();
	hw.forgets = true;
	for (unsigned i = 0; i < ARRAY_LEN(counters); i++) {
		finished = 0;
		hw.resets = 0;
		*counters[i] = 2;
		submit(0, 0, BLK_WRITE, i, 1);
		submit(1, 1, BLK_WRITE, i, 1);
		settle();
		assert_int_equal(finished, 2);
		assert_int_equal(req[0].status, OK);
		assert_int_equal(req[1].status, OK);
		assert_int_equal(hw.resets, 2);
		assert_int_equal(hw.unit[0].data[i * SECTOR_SIZE], 1);
		assert_int_equal(hw.unit[0].mode, 0x45); /* as before the reset */
		assert_true(hw.unit[0].modes_set > 0);

		finished = 0;
		*counters[i] = 100; /* not for ever */
		submit(0, 0, BLK_READ, 0, 1);
		settle();
		assert_int_equal(finished, 1);
		assert_int_equal(req[0].status, ERR_IO);
		assert_int_equal(*counters[i], 97);
		*counters[i] = 0;
		assert_false(chan->disk[0].dead);
	}
}

static void lost_interrupts(void **state)
{
	create();
	hw.no_irq = true;
	for (unsigned i = 0; i < 3; i++) {
		assert_false(chan->polled);
		finished = 0;
		submit(0, 0, BLK_READ, 0, 1);
		settle();
		assert_int_equal(finished, 0);
		fire_timer();
		assert_int_equal(finished, 1);
		assert_int_equal(req[0].status, OK);
	}
	assert_true(chan->polled);
	assert_true(fake_host_time <= 1000 * MS);
	assert_non_null(strstr(fake_log_text(), "ide0/0: no interrupts arrive: polled"));
	fire_timer(); /* nothing in flight: not armed again */
	assert_int_equal(chan->timer.cpu, -1);
	finished = 0;
	submit(0, 0, BLK_FLUSH, 0, 0);
	assert_true(chan->timer.deadline <= fake_host_time + MS);
	fake_run();
	fire_timer();
	assert_int_equal(finished, 1);
}

/* Fires the timer until n requests are finished. */
static void wait_for(unsigned n)
{
	for (unsigned i = 0; i < 5000 && finished < n; i++)
		fire_timer();
	assert_int_equal(finished, n);
}

static void timeouts(void **state)
{
	create();
	hw.stuck = true;
	submit(0, 0, BLK_READ, 0, 1);
	wait_for(1);
	assert_int_equal(req[0].status, ERR_TIMEOUT);
	assert_int_equal(hw.resets, 2); /* tried twice */
	assert_false(chan->disk[0].dead);
	assert_non_null(strstr(fake_log_text(), "read of 1 sectors at 0: timed out (status 0x58"));
	/* a third time in a row is one too many; the other disk goes on */
	submit(1, 0, BLK_READ, 0, 1);
	submit(2, 0, BLK_READ, 0, 1);
	submit(3, 1, BLK_FLUSH, 0, 0);
	while (!chan->disk[0].dead)
		fire_timer();
	hw.stuck = false;
	settle();
	assert_int_equal(finished, 4);
	assert_int_equal(req[1].status, ERR_IO);
	assert_int_equal(req[2].status, ERR_IO);
	assert_int_equal(req[3].status, OK);
	assert_non_null(strstr(fake_log_text(), "ide0.0: disk given up: 3 timeouts in a row"));
	submit(4, 0, BLK_READ, 0, 1);
	assert_int_equal(finished, 5);
	assert_int_equal(req[4].status, ERR_IO);
}

static void another_disk(void **state)
{
	create();
	put_string(0, ID_SERIAL, "S7", 10);
	hw.crc_errors = 1;
	submit(0, 0, BLK_WRITE, 0, 1);
	settle();
	assert_int_equal(finished, 1);
	assert_int_equal(req[0].status, ERR_IO);
	assert_int_equal(hw.unit[0].data[0], 0); /* nothing was written to it */
	assert_non_null(strstr(
	    fake_log_text(), "disk given up: another disk is there: 'FAKE DISK', serial 'S7'"));
}

static void unplugged(void **state)
{
	create();
	hw.hold = true;
	submit(0, 0, BLK_READ, 0, 1);
	submit(1, 1, BLK_READ, 0, 1);
	submit(2, 0, BLK_READ, 0, 1);
	hw.unit[0].present = hw.unit[1].present = false;
	hw.command = 0;
	hw.empty = 0xff;
	wait_for(3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(req[i].status, ERR_IO);
	assert_true(chan->disk[0].dead && chan->disk[1].dead);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, test_setup, teardown)
	    T(regions),
	    T(tasks),
	    T(identification),
	    T(no_dma),
	    T(not_there),
	    T(one_disk),
	    T(both_disks),
	    T(flush_and_trim),
	    T(bad_sector),
	    T(retried),
	    T(lost_interrupts),
	    T(timeouts),
	    T(another_disk),
	    T(unplugged),
	};

	return cmocka_run_group_tests(tests, group_setup, NULL);
}
