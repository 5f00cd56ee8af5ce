/* SPDX-License-Identifier: BSD-2-Clause */
/* The port driver against a port and a disk in software: queueing, barriers, and every kind of
 * error. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "hv/lib/cursor.h"
#include "hv/mm/mm.h"
#include "tests/unit/fake/fake.h"

/* The port's registers are the fake's, below. */
#define AMBER_X86_IO_H
static uint32_t mmio_read32(const volatile void *p);
static void mmio_write32(volatile void *p, uint32_t v);

/* included, not linked: with the replacements above */
#include "hv/drv/ahci_port.c"
#include "hv/drv/ata.c"

enum { DISK_SECTORS = 4096 };

/* --- the fake port and disk ------------------------------------------------------------------- */

static struct {
	uint32_t reg[AHCI_PORT_SIZE / 4];
	uint8_t *data;
	uint8_t identify[512];
	bool hold;	   /* commands wait for fake_run() */
	bool legacy_error; /* clears PxCI for a command that failed, as QEMU before 8.1 does */
	bool no_tfes;	   /* reports queued errors in PxTFD only, likewise */
	bool stuck;	   /* never answers */
	bool unplugged;
	uint64_t bad_lba;     /* UINT64_MAX: none */
	unsigned link_errors; /* how many commands more fail with an interface error */
	bool halted;	      /* after an error, until a reset */
	unsigned resets, flushes, queued, unqueued, trimmed, most_at_once;
} hw;

#define R(name) hw.reg[(name) / 4]

static const struct ahci_header *headers(void)
{
	return phys_to_virt(hpa((uint64_t)R(PX_CLBU) << 32 | R(PX_CLB)));
}

static void transfer_data(
    const struct ahci_header *h, const struct ahci_table *t, uint64_t lba, uint32_t n, bool write)
{
	uint64_t at = lba * SECTOR_SIZE, bytes = 0;

	assert_true(range_in(lba, n, DISK_SECTORS));
	assert_int_equal(!!(h->flags & AHCI_HEADER_WRITE), write);
	for (unsigned i = 0; i < h->prdtl; i++) {
		uint32_t len = (t->prd[i].dbc & 0x3fffff) + 1;
		uint8_t *p = phys_to_virt(hpa((uint64_t)t->prd[i].dbau << 32 | t->prd[i].dba));

		assert_int_equal(t->prd[i].dba & 1, 0);
		assert_int_equal(t->prd[i].dbc & 1, 1);
		if (write)
			memcpy(hw.data + at + bytes, p, len);
		else
			memcpy(p, hw.data + at + bytes, len);
		bytes += len;
	}
	assert_int_equal(bytes, (uint64_t)n * SECTOR_SIZE);
}

static void raise_error(unsigned slot, bool queued, uint32_t is)
{
	R(PX_TFD) = 0x4041; /* uncorrectable; error */
	if (!(queued && hw.no_tfes))
		R(PX_IS) |= is;
	R(PX_IS) |= queued ? PX_IS_SDBS : PX_IS_DHRS;
	if (hw.legacy_error && !queued)
		R(PX_CI) &= ~(1u << slot);
	hw.halted = true;
}

static void execute(unsigned slot)
{
	const struct ahci_header *h = &headers()[slot];
	const struct ahci_table *t = phys_to_virt(hpa((uint64_t)h->ctbau << 32 | h->ctba));
	const uint8_t *f = t->cfis;
	uint64_t lba = f[4] | f[5] << 8 | f[6] << 16 | (uint64_t)f[8] << 24 | (uint64_t)f[9] << 32;
	bool queued = f[2] == ATA_READ_FPDMA_QUEUED || f[2] == ATA_WRITE_FPDMA_QUEUED;
	uint32_t n = queued ? f[3] | (uint32_t)f[11] << 8 : f[12] | (uint32_t)f[13] << 8;
	uint32_t others = (R(PX_CI) | R(PX_SACT)) & ~(1u << slot);

	assert_int_equal(h->flags & 0x1f, 5);
	assert_int_equal(f[0], 0x27);
	assert_int_equal(f[1], 0x80);
	if (queued) {
		assert_int_equal(f[12] >> 3, slot);
		assert_true(R(PX_SACT) & 1u << slot);
	} else if (f[2] != ATA_READ_DMA_EXT && f[2] != ATA_WRITE_DMA_EXT) {
		assert_int_equal(others, 0); /* alone */
	}
	queued ? hw.queued++ : hw.unqueued++;
	if (f[2] == ATA_IDENTIFY_DEVICE) {
		memcpy(phys_to_virt(hpa((uint64_t)t->prd[0].dbau << 32 | t->prd[0].dba)),
		    hw.identify, 512);
	} else if (f[2] == ATA_FLUSH_CACHE_EXT) {
		assert_int_equal(h->prdtl, 0);
		hw.flushes++;
	} else if (f[2] == ATA_DATA_SET_MANAGEMENT) {
		const uint8_t *ranges =
		    phys_to_virt(hpa((uint64_t)t->prd[0].dbau << 32 | t->prd[0].dba));

		assert_int_equal(f[3], 1);
		assert_int_equal(n, 1);
		for (unsigned i = 0; i < 64; i++)
			hw.trimmed += (unsigned)(get_le64(ranges + 8 * i) >> 48);
	} else if (hw.link_errors) {
		hw.link_errors--;
		raise_error(slot, queued, PX_IS_IFS);
		return;
	} else if (hw.bad_lba >= lba && hw.bad_lba < lba + n) {
		raise_error(slot, queued, PX_IS_TFES);
		return;
	} else {
		transfer_data(
		    h, t, lba, n, f[2] == ATA_WRITE_FPDMA_QUEUED || f[2] == ATA_WRITE_DMA_EXT);
	}
	R(PX_CI) &= ~(1u << slot);
	R(PX_SACT) &= ~(1u << slot);
	R(PX_IS) |= queued ? PX_IS_SDBS : PX_IS_DHRS;
	R(PX_TFD) = 0x50;
}

/* Does everything that was issued, in random order if queued. */
static void fake_run(void)
{
	hw.most_at_once = MAX(hw.most_at_once, (unsigned)__builtin_popcount(R(PX_CI)));
	while (R(PX_CI) && !hw.halted && !hw.stuck && (R(PX_CMD) & PX_CMD_ST)) {
		unsigned slot = (unsigned)rand() % 32;

		if (R(PX_CI) & 1u << slot)
			execute(slot);
	}
}

/* IDENTIFY is polled: nobody else would run it. */
static bool is_identify(uint32_t issued)
{
	const struct ahci_header *h = &headers()[__builtin_ctz(issued)];
	const struct ahci_table *t = phys_to_virt(hpa((uint64_t)h->ctbau << 32 | h->ctba));

	return t->cfis[2] == ATA_IDENTIFY_DEVICE;
}

static void link_reset(void)
{
	hw.resets++;
	hw.halted = false;
	R(PX_CI) = R(PX_SACT) = 0;
	R(PX_TFD) = hw.unplugged ? 0x7f : 0x50;
	R(PX_SSTS) = hw.unplugged ? 0 : 0x113;
	R(PX_SIG) = PX_SIG_ATA;
	R(PX_IS) |= PX_IS_DHRS | PX_IS_PCS;
}

static uint32_t mmio_read32(const volatile void *p)
{
	size_t at = (size_t)((const volatile uint8_t *)p - (volatile uint8_t *)hw.reg);

	assert_true(at < sizeof(hw.reg) && at % 4 == 0);
	return hw.reg[at / 4];
}

static void mmio_write32(volatile void *p, uint32_t v)
{
	size_t at = (size_t)((volatile uint8_t *)p - (volatile uint8_t *)hw.reg);

	assert_true(at < sizeof(hw.reg) && at % 4 == 0);
	switch (at) {
	case PX_IS:
		R(PX_IS) &= ~v;
		break;
	case PX_SERR:
		R(PX_SERR) &= ~v;
		break;
	case PX_SACT:
		R(PX_SACT) |= v;
		break;
	case PX_CI:
		assert_true(R(PX_CMD) & PX_CMD_ST);
		assert_int_equal(R(PX_CI) & v, 0);
		R(PX_CI) |= v;
		if (!hw.hold || is_identify(v))
			fake_run();
		break;
	case PX_CMD:
		if ((R(PX_CMD) & PX_CMD_ST) && !(v & PX_CMD_ST))
			R(PX_CI) = R(PX_SACT) = 0;
		R(PX_CMD) = (v & ~(uint32_t)(PX_CMD_CR | PX_CMD_FR)) |
			    (v & PX_CMD_ST ? PX_CMD_CR : 0) | (v & PX_CMD_FRE ? PX_CMD_FR : 0);
		break;
	case PX_SCTL:
		if ((R(PX_SCTL) & PX_SCTL_DET) == 1 && (v & PX_SCTL_DET) == 0)
			link_reset();
		R(PX_SCTL) = v;
		break;
	default:
		hw.reg[at / 4] = v;
	}
}

/* --- a port under test ---------------------------------------------------------------------------
 */

static struct ahci_port *port;

static void put_word(unsigned index, uint16_t v)
{
	put_le16(hw.identify + 2 * index, v);
}

static void put_string(unsigned index, const char *s, unsigned nwords)
{
	for (unsigned i = 0; i < 2 * nwords; i++)
		hw.identify[2 * index + (i ^ 1)] = i < strlen(s) ? (uint8_t)s[i] : ' ';
}

static int setup(void **state)
{
	memset(&hw, 0, sizeof(hw));
	srand(1);
	hw.data = calloc(DISK_SECTORS, SECTOR_SIZE);
	hw.bad_lba = UINT64_MAX;
	hw.reg[PX_SSTS / 4] = 0x113;
	hw.reg[PX_TFD / 4] = 0x50;
	put_string(ID_SERIAL, "  S1", 10);
	put_string(ID_MODEL, "FAKE DISK", 20);
	put_word(ID_QUEUE_DEPTH, 31);
	put_word(ID_SATA, BIT(8));
	put_word(ID_FEATURES_1, BIT(5));
	put_word(ID_FEATURES_2, 0x4000 | BIT(10) | BIT(13));
	put_word(ID_SECTORS_48, DISK_SECTORS);
	put_word(ID_DATA_SET, 1);
	fake_log_clear();
	port = NULL;
	return 0;
}

static int teardown(void **state)
{
	if (port) {
		frames_free(virt_to_phys(port->dma), AHCI_DMA_ORDER);
		heap_free(port);
	}
	free(hw.data);
	assert_int_equal(fake_heap_outstanding(), 0);
	return 0;
}

static void create(uint32_t cap)
{
	struct errmsg e = {""};

	assert_int_equal(
	    ahci_port_create((volatile uint8_t *)hw.reg, 0, cap, "ahci0.0", &port, &e), OK);
	assert_non_null(port);
	interrupts_on(port);
	R(PX_IS) = 0;
	hw.resets = hw.queued = hw.unqueued = 0;
}

/* What the interrupt and the thread do until nothing more happens. */
static void settle(void)
{
	for (unsigned i = 0; i < 500; i++) {
		fake_run();
		if (R(PX_IS) & R(PX_IE))
			ahci_port_interrupt(port);
		if (!port->irq_status && !port->check)
			return;
		port->check = false;
		port_service(port);
	}
	fail_msg("does not settle");
}

static const uint32_t CAP_NCQ = AHCI_CAP_SNCQ | AHCI_CAP_S64A | 31 << 8;
static const uint32_t CAP_PLAIN = AHCI_CAP_S64A | 31 << 8;

enum { N = 100 };
static struct blk_req req[N];
static struct sg sg[N];
static uint8_t *buf[N];
static unsigned finished, order[N];

static void done(struct blk_req *r)
{
	order[finished++] = (unsigned)(r - req);
}

static void prepare(unsigned i, enum blk_op op, uint64_t sector, uint32_t n)
{
	free(buf[i]);
	buf[i] = aligned_alloc(16, (size_t)MAX(n, 1u) * SECTOR_SIZE);
	memset(buf[i], (int)i, (size_t)n * SECTOR_SIZE);
	sg[i] = (struct sg){.addr = virt_to_phys(buf[i]), .len = n * SECTOR_SIZE};
	req[i] = (struct blk_req){.op = op,
	    .sector = sector,
	    .nsectors = n,
	    .sg = &sg[i],
	    .nsg = op == BLK_READ || op == BLK_WRITE,
	    .status = 1,
	    .done = done};
	list_init(&req[i].link);
}

static void submit(unsigned i, enum blk_op op, uint64_t sector, uint32_t n)
{
	prepare(i, op, sector, n);
	blk_submit(&port->dev, &req[i]);
}

static void free_bufs(void)
{
	for (unsigned i = 0; i < N; i++) {
		free(buf[i]);
		buf[i] = NULL;
	}
	finished = 0;
}

static void identification(void **state)
{
	struct ata_disk d;
	struct errmsg e;

	create(CAP_NCQ);
	assert_string_equal(port->disk.model, "FAKE DISK");
	assert_string_equal(port->disk.serial, "S1");
	assert_true(port->ncq && port->depth == 32 && port->dev.has_flush && port->dev.has_discard);
	assert_int_equal(port->dev.nsectors, DISK_SECTORS);

	put_word(ID_SECTOR_SIZES, 0x5000);
	put_word(ID_LOGICAL_WORDS, 2048);
	assert_int_equal(ata_identify_decode(hw.identify, &d, &e), ERR_UNSUPPORTED);
	assert_non_null(strstr(e.text, "4096 bytes"));
	put_word(ID_LOGICAL_WORDS, 256);
	assert_int_equal(ata_identify_decode(hw.identify, &d, &e), OK);
	put_word(ID_FEATURES_2, 0x4000);
	assert_int_equal(ata_identify_decode(hw.identify, &d, &e), ERR_UNSUPPORTED);
	put_word(ID_FEATURES_2, 0xffff);
	assert_int_equal(ata_identify_decode(hw.identify, &d, &e), ERR_UNSUPPORTED);
	memset(hw.identify, 0xff, 512);
	assert_int_equal(ata_identify_decode(hw.identify, &d, &e), ERR_UNSUPPORTED);
}

static void not_a_disk(void **state)
{
	struct errmsg e = {""};

	hw.unplugged = true;
	assert_int_equal(
	    ahci_port_create((volatile uint8_t *)hw.reg, 0, CAP_NCQ, "x", &port, &e), ERR_IO);
	assert_string_equal(e.text, "x: no link");
	hw.unplugged = false;
	hw.stuck = true;
	assert_int_equal(
	    ahci_port_create((volatile uint8_t *)hw.reg, 0, CAP_NCQ, "x", &port, &e), ERR_TIMEOUT);
	assert_null(port);
}

static void queueing(void **state)
{
	for (unsigned ncq = 0; ncq < 2; ncq++) {
		create(ncq ? CAP_NCQ : CAP_PLAIN);
		hw.hold = true;
		hw.most_at_once = 0;
		for (unsigned i = 0; i < N; i++)
			submit(i, BLK_WRITE, 8 * i, 8);
		settle();
		assert_int_equal(finished, N);
		assert_int_equal(hw.most_at_once, 32);
		assert_int_equal(ncq ? hw.queued : hw.unqueued, N);
		for (unsigned i = 0; i < N; i++) {
			assert_int_equal(req[i].status, OK);
			assert_int_equal(hw.data[(8 * i + 7) * SECTOR_SIZE + 511], i);
		}
		finished = 0;
		hw.hold = false;
		submit(0, BLK_READ, 8 * 42, 3);
		settle();
		assert_int_equal(buf[0][1000], 42);
		free_bufs();
		assert_int_equal(hw.resets, 0);
		if (!ncq) {
			frames_free(virt_to_phys(port->dma), AHCI_DMA_ORDER);
			heap_free(port);
		}
	}
}

static void flush_waits(void **state)
{
	create(CAP_NCQ);
	hw.hold = true;
	submit(0, BLK_WRITE, 0, 1);
	submit(1, BLK_FLUSH, 0, 0);
	submit(2, BLK_WRITE, 1, 1);
	submit(3, BLK_DISCARD, 100, 70000 % DISK_SECTORS);
	submit(4, BLK_READ, 2, 1);
	assert_int_equal(__builtin_popcount(R(PX_CI)), 1);
	settle();
	assert_int_equal(finished, 5);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(order[i], i); /* each waited for the one before */
		assert_int_equal(req[i].status, OK);
	}
	assert_int_equal(hw.flushes, 1);
	assert_int_equal(hw.trimmed, 70000 % DISK_SECTORS);
	free_bufs();
}

static void trim_ranges(void **state)
{
	uint8_t block[512];

	ata_trim_ranges(block, 1000, 65535 + 5);
	assert_int_equal(get_le64(block), 1000 | 0xffffULL << 48);
	assert_int_equal(get_le64(block + 8), (1000 + 65535) | 5ULL << 48);
	assert_int_equal(get_le64(block + 16), 0);
}

/* One bad sector among many requests: only its request fails, and all others are done. */
static void bad_sector(void **state)
{
	for (unsigned kind = 0; kind < 6; kind++) {
		create(kind & 1 ? CAP_NCQ : CAP_PLAIN);
		hw.hold = true;
		hw.legacy_error = kind & 2;
		hw.no_tfes = kind & 4;
		hw.bad_lba = 8 * 17 + 3;
		for (unsigned i = 0; i < N; i++)
			submit(i, BLK_WRITE, 8 * i, 8);
		settle();
		assert_int_equal(finished, N);
		for (unsigned i = 0; i < N; i++) {
			assert_int_equal(req[i].status, i == 17 ? ERR_IO : OK);
			if (i != 17)
				assert_int_equal(hw.data[8 * i * SECTOR_SIZE], i);
		}
		assert_int_equal(hw.resets, 2);
		assert_int_equal(port->dev.stat_errors, 1);
		assert_non_null(strstr(fake_log_text(), "write of 8 sectors at 136: failed"));
		/* and goes on */
		hw.bad_lba = UINT64_MAX;
		finished = 0;
		submit(1, BLK_READ, 17, 1);
		settle();
		assert_int_equal(finished, 1);
		assert_int_equal(req[1].status, OK);
		free_bufs();
		fake_log_clear();
		if (kind < 5) {
			frames_free(virt_to_phys(port->dma), AHCI_DMA_ORDER);
			heap_free(port);
		}
	}
}

static void link_error(void **state)
{
	create(CAP_NCQ);
	hw.link_errors = 2; /* the first try, and the second alone */
	submit(0, BLK_READ, 0, 1);
	settle();
	assert_int_equal(finished, 1);
	assert_int_equal(req[0].status, OK);
	finished = 0;
	hw.link_errors = 10; /* not for ever */
	submit(0, BLK_READ, 0, 1);
	settle();
	assert_int_equal(finished, 1);
	assert_int_equal(req[0].status, ERR_IO);
	assert_int_equal(port->state, AHCI_READY);
	free_bufs();
}

static void fire_watch(void)
{
	assert_int_equal(port->watch.cpu, 0);
	port->watch.cpu = -1;
	fake_host_time = MAX(fake_host_time, port->watch.deadline);
	port->watch.fn(port->watch.arg);
	settle();
}

static void lost_interrupt(void **state)
{
	create(CAP_NCQ);
	submit(0, BLK_READ, 0, 1);
	R(PX_IS) = 0; /* nobody hears of it */
	settle();
	assert_int_equal(finished, 0);
	fire_watch();
	assert_int_equal(finished, 1);
	assert_int_equal(req[0].status, OK);
	fire_watch(); /* nothing in flight: not armed again */
	assert_int_equal(port->watch.cpu, -1);
	free_bufs();
}

static void timeouts(void **state)
{
	create(CAP_NCQ);
	hw.stuck = true;
	submit(0, BLK_READ, 0, 1);
	submit(1, BLK_READ, 1, 1);
	for (unsigned i = 0; i < 5; i++)
		fire_watch();
	assert_int_equal(finished, 0);
	fire_watch(); /* 30 s: reset; the disk is as stuck as before and does not even identify
			 itself */
	assert_int_equal(finished, 2);
	assert_int_equal(req[0].status, ERR_IO);
	assert_int_equal(port->state, AHCI_DEAD);
	assert_non_null(strstr(fake_log_text(), "disk given up: IDENTIFY DEVICE: no answer"));
	submit(2, BLK_READ, 0, 1);
	assert_int_equal(finished, 3);
	assert_int_equal(req[2].status, ERR_IO);
	free_bufs();
}

static void unplugged(void **state)
{
	create(CAP_NCQ);
	hw.hold = true;
	submit(0, BLK_READ, 0, 1);
	submit(1, BLK_FLUSH, 0, 0);
	hw.unplugged = true;
	R(PX_SSTS) = 0;
	R(PX_IS) |= PX_IS_PRCS;
	ahci_port_interrupt(port);
	port_service(port);
	assert_int_equal(finished, 2);
	assert_int_equal(req[1].status, ERR_IO);
	assert_int_equal(port->state, AHCI_DEAD);
	free_bufs();
}

static void another_disk(void **state)
{
	create(CAP_NCQ);
	hw.hold = true;
	submit(0, BLK_WRITE, 0, 1);
	put_string(ID_SERIAL, "S2", 10);
	R(PX_IS) |= PX_IS_PCS;
	ahci_port_interrupt(port);
	port_service(port);
	assert_int_equal(finished, 1);
	assert_int_equal(req[0].status, ERR_IO);
	assert_int_equal(hw.data[0], 0); /* nothing was written to it */
	assert_non_null(
	    strstr(fake_log_text(), "another disk was plugged in: 'FAKE DISK', serial 'S2'"));
	free_bufs();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	    T(identification),
	    T(not_a_disk),
	    T(queueing),
	    T(flush_waits),
	    T(trim_ranges),
	    T(bad_sector),
	    T(link_error),
	    T(lost_interrupt),
	    T(timeouts),
	    T(unplugged),
	    T(another_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
