/* SPDX-License-Identifier: BSD-2-Clause */
/* What a driver gets to see: requests in range, within its limits; and that the pieces come
 * together again. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "hv/block/block.h"
#include "hv/block/gpt.h"
#include "hv/lib/crc32c.h"
#include "hv/lib/cursor.h"
#include "hv/mm/mm.h"
#include "tests/unit/fake/fake.h"

enum { SECTORS = 16384, QUEUE = 64 };

/* A disk in memory that does requests at once or when told, and checks the limits it announced. */
struct fake_disk {
	struct blk_dev dev;
	uint8_t *data;
	bool hold;
	struct blk_req *held[QUEUE];
	unsigned nheld, submits;
	uint64_t fail_lba; /* UINT64_MAX: none */
	uint64_t discarded;
};

static void perform(struct fake_disk *k, struct blk_req *r)
{
	uint64_t at = r->lba * SECTOR_SIZE;

	if (k->fail_lba >= r->lba && k->fail_lba < r->lba + r->nsectors) {
		blk_complete(r, ERR_IO);
		return;
	}
	if (r->op == BLK_DISCARD)
		k->discarded += r->nsectors;
	if (r->op == BLK_READ || r->op == BLK_WRITE)
		for (unsigned i = 0; i < r->nsg; i++) {
			void *p = phys_to_virt(r->sg[i].addr);

			if (r->op == BLK_READ)
				memcpy(p, k->data + at, r->sg[i].len);
			else
				memcpy(k->data + at, p, r->sg[i].len);
			at += r->sg[i].len;
		}
	blk_complete(r, OK);
}

static void fake_submit(struct blk_dev *d, struct blk_req *r)
{
	struct fake_disk *k = d->drv;
	uint64_t bytes = 0;

	k->submits++;
	assert_null(r->drv);
	if (r->op != BLK_FLUSH)
		assert_true(range_in(r->lba, r->nsectors, d->nsectors));
	if (r->op == BLK_DISCARD && d->max_discard)
		assert_true(r->nsectors <= d->max_discard);
	if (r->op == BLK_READ || r->op == BLK_WRITE) {
		assert_in_range(r->nsectors, 1, d->max_sectors);
		assert_in_range(r->nsg, 1, d->max_sg);
		for (unsigned i = 0; i < r->nsg; i++) {
			bytes += r->sg[i].len;
			assert_int_not_equal(r->sg[i].len, 0);
			if (d->dma_align)
				assert_int_equal(
				    (r->sg[i].addr.a | r->sg[i].len) % d->dma_align, 0);
		}
		assert_int_equal(bytes, (uint64_t)r->nsectors * SECTOR_SIZE);
	}
	if (!k->hold) {
		perform(k, r);
		return;
	}
	assert_true(k->nheld < QUEUE);
	k->held[k->nheld++] = r;
}

static const struct blk_ops fake_ops = {.submit = fake_submit};
static struct fake_disk *disks[128];
static unsigned ndisks;

/* Devices stay registered for ever, so each test has its own. */
static struct fake_disk *disk_new(void)
{
	struct fake_disk *k = calloc(1, sizeof(*k));

	k->data = calloc(SECTORS, SECTOR_SIZE);
	k->fail_lba = UINT64_MAX;
	snprintf(k->dev.name, sizeof(k->dev.name), "fake%u", ndisks);
	disks[ndisks++] = k;
	k->dev.nsectors = SECTORS;
	k->dev.max_sg = BLK_MAX_SG;
	k->dev.max_sectors = BLK_MAX_BYTES / SECTOR_SIZE;
	k->dev.has_flush = k->dev.has_discard = true;
	k->dev.ops = &fake_ops;
	k->dev.drv = k;
	return k;
}

static unsigned done_count;
static int last_status;

static void done(struct blk_req *r)
{
	done_count++;
	last_status = r->status;
}

/* Submits and expects exactly one completion, at once. */
static int run(struct blk_dev *d, enum blk_op op, uint64_t sector, uint32_t n, const struct sg *sg,
    unsigned nsg)
{
	struct blk_req r = {
	    .op = op, .sector = sector, .nsectors = n, .sg = sg, .nsg = nsg, .done = done};
	unsigned before = done_count;

	list_init(&r.link);
	blk_submit(d, &r);
	assert_int_equal(done_count, before + 1);
	return last_status;
}

static int setup(void **state)
{
	srand(1);
	fake_heap_fail_after(-1);
	fake_log_clear();
	return 0;
}

static int teardown(void **state)
{
	assert_int_equal(fake_heap_outstanding(), 0);
	return 0;
}

static void bounds(void **state)
{
	struct fake_disk *k = disk_new();
	uint8_t *buf = calloc(8, SECTOR_SIZE);
	struct sg sg[2] = {{.addr = virt_to_phys(buf), .len = 8 * SECTOR_SIZE}};

	assert_int_equal(blk_add(&k->dev), OK);
	assert_int_equal(run(&k->dev, BLK_READ, SECTORS - 8, 8, sg, 1), OK);
	assert_int_equal(run(&k->dev, BLK_READ, SECTORS - 7, 8, sg, 1), ERR_RANGE);
	assert_int_equal(run(&k->dev, BLK_READ, UINT64_MAX, 8, sg, 1), ERR_RANGE);
	assert_int_equal(run(&k->dev, BLK_WRITE, UINT64_MAX - 3, 8, sg, 1), ERR_RANGE);
	assert_int_equal(run(&k->dev, BLK_READ, 0, 0, sg, 0), ERR_RANGE);
	assert_int_equal(run(&k->dev, BLK_READ, 0, 7, sg, 1), ERR_INVAL);
	assert_int_equal(run(&k->dev, BLK_READ, 0, 9, sg, 1), ERR_INVAL);
	assert_int_equal(run(&k->dev, BLK_READ, 0, 8, sg, 2), ERR_INVAL); /* an empty piece */
	sg[0].addr.a = UINT64_MAX - 5;
	assert_int_equal(run(&k->dev, BLK_READ, 0, 8, sg, 1), ERR_INVAL);
	assert_int_equal(run(&k->dev, (enum blk_op)17, 0, 8, sg, 1), ERR_INVAL);
	assert_int_equal(run(&k->dev, BLK_DISCARD, SECTORS, 1, NULL, 0), ERR_RANGE);
	assert_int_equal(k->submits, 1);
	assert_int_equal(k->dev.stat_errors, 10);
	assert_int_equal(k->dev.stat_reads, 1);
	assert_int_equal(blk_read(&k->dev, SECTORS - 1, buf, 2), ERR_RANGE);
	assert_int_equal(blk_read(&k->dev, UINT64_MAX, buf, 1), ERR_RANGE);
	free(buf);
}

static void kinds(void **state)
{
	struct fake_disk *k = disk_new();
	uint8_t *buf = calloc(1, SECTOR_SIZE);
	struct sg sg = {.addr = virt_to_phys(buf), .len = SECTOR_SIZE};

	k->dev.read_only = true;
	k->dev.has_discard = k->dev.has_flush = false;
	assert_int_equal(blk_add(&k->dev), OK);
	assert_int_equal(run(&k->dev, BLK_WRITE, 0, 1, &sg, 1), ERR_UNSUPPORTED);
	assert_int_equal(run(&k->dev, BLK_DISCARD, 0, 1, NULL, 0), ERR_UNSUPPORTED);
	assert_int_equal(run(&k->dev, BLK_FLUSH, 99, 99, NULL, 0), OK); /* holds nothing back */
	assert_int_equal(k->submits, 0);
	k->dev.has_flush = true;
	assert_int_equal(blk_flush(&k->dev), OK);
	assert_int_equal(k->submits, 1);
	assert_int_equal(k->dev.stat_flushes, 2);
	k->dev.read_only = false;
	k->dev.has_discard = true;
	k->dev.max_discard = 100;
	assert_int_equal(run(&k->dev, BLK_DISCARD, 0, 100, NULL, 0), OK);
	assert_int_equal(k->submits, 2);
	assert_int_equal(run(&k->dev, BLK_DISCARD, 5, 1001, NULL, 0), OK);
	assert_int_equal(k->submits, 2 + 11);
	assert_int_equal(k->discarded, 1101);
	free(buf);
}

static void registry(void **state)
{
	struct fake_disk *k = disk_new(), *twin = disk_new();
	unsigned n = 0;

	assert_int_equal(blk_add(&k->dev), OK);
	assert_int_equal(blk_add(&twin->dev), OK);
	assert_ptr_equal(blk_find(k->dev.name), &k->dev);
	assert_null(blk_find("nothing"));
	assert_null(blk_find(""));
	assert_null(blk_find("guid:nonsense"));
	while (blk_get(n))
		n++;
	assert_ptr_equal(blk_get(n - 1), &twin->dev);

	strcpy(twin->dev.label, "same");
	assert_ptr_equal(blk_find("same"), &twin->dev);
	strcpy(k->dev.label, "same");
	assert_null(blk_find("same"));
	assert_non_null(strstr(fake_log_text(), "'same' is fake"));

	k = disk_new();
	strcpy(k->dev.name, twin->dev.name);
	assert_int_equal(blk_add(&k->dev), ERR_EXIST);
	k = disk_new();
	k->dev.max_sg = 0;
	assert_int_equal(blk_add(&k->dev), ERR_INVAL);
	k->dev.max_sg = 1;
	k->dev.nsectors = UINT64_MAX;
	assert_int_equal(blk_add(&k->dev), ERR_INVAL);
	k->dev.nsectors = 1;
	k->dev.dma_align = 3;
	assert_int_equal(blk_add(&k->dev), ERR_INVAL);
	k->dev.dma_align = 0;
	memset(k->dev.name, 'x', sizeof(k->dev.name));
	assert_int_equal(blk_add(&k->dev), ERR_INVAL);
}

static void fill(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)rand();
}

/* Cuts [buf, buf + len) into n pieces of random multiples of 'unit' bytes. */
static unsigned cut(uint8_t *buf, size_t len, unsigned n, size_t unit, struct sg *sg)
{
	unsigned count = 0;

	while (len > 0) {
		size_t random = unit * (1 + (size_t)rand() % 40);
		size_t piece = count + 1 == n ? len : MIN(len, random);

		sg[count++] = (struct sg){.addr = virt_to_phys(buf), .len = (uint32_t)piece};
		buf += piece;
		len -= piece;
	}
	return count;
}

/* Writes and reads back through limits of all kinds; the data must arrive in its place. */
static void splitting(void **state)
{
	static const struct {
		uint32_t max_sg, max_sectors, align;
		size_t unit;
	} rows[] = {
	    {64, 2048, 0, 512},
	    {4, 2048, 0, 512},
	    {64, 3, 0, 512},
	    {1, 1, 0, 512},
	    {3, 8, 0, 100}, /* pieces smaller than a sector */
	    {1, 8, 0, 7},   /* ... which only a copy can join */
	    {64, 2048, 2, 7},
	    {8, 16, 4, 6},
	    {64, 2048, 512, 100},
	    {16, 64, 2, 1},
	};
	enum { MAX_PIECES = 3000, BYTES = 300 * SECTOR_SIZE };
	static struct sg sg[MAX_PIECES];
	uint8_t *out = malloc(BYTES + 1), *in = malloc(BYTES + 1);

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (unsigned odd = 0; odd < 2; odd++) {
			struct fake_disk *k = disk_new();
			uint64_t sector = (uint64_t)rand() % (SECTORS - 300);
			unsigned n;

			k->dev.max_sg = rows[i].max_sg;
			k->dev.max_sectors = rows[i].max_sectors;
			k->dev.dma_align = rows[i].align;
			fill(out, BYTES + 1);
			memset(in, 0, BYTES + 1);
			n = cut(out + odd, BYTES, MAX_PIECES, rows[i].unit, sg);
			assert_int_equal(run(&k->dev, BLK_WRITE, sector, 300, sg, n), OK);
			assert_memory_equal(k->data + sector * SECTOR_SIZE, out + odd, BYTES);
			n = cut(in + odd, BYTES, MAX_PIECES, rows[i].unit, sg);
			assert_int_equal(run(&k->dev, BLK_READ, sector, 300, sg, n), OK);
			assert_memory_equal(in + odd, out + odd, BYTES);
			assert_int_equal(k->dev.stat_reads, 1);
			assert_int_equal(k->dev.stat_writes, 1);
			assert_int_equal(fake_heap_outstanding(), 0);
		}
	free(out);
	free(in);
}

/* Parts complete later and in any order; errors stop the rest; one completion in any case. */
static void splitting_late(void **state)
{
	struct fake_disk *k = disk_new();
	uint8_t *buf = malloc(64 * SECTOR_SIZE);
	struct sg sg = {.addr = virt_to_phys(buf), .len = 64 * SECTOR_SIZE};

	k->dev.max_sectors = 4;
	for (int error = 0; error < 2; error++) {
		struct blk_req r = {
		    .op = BLK_WRITE, .nsectors = 64, .sg = &sg, .nsg = 1, .done = done};
		unsigned before = done_count, steps = 0;

		list_init(&r.link);
		fill(buf, 64 * SECTOR_SIZE);
		k->hold = true;
		k->fail_lba = error ? 20 : UINT64_MAX;
		k->submits = 0;
		blk_submit(&k->dev, &r);
		assert_int_equal(k->nheld, 4); /* bounded */
		while (k->nheld) {
			unsigned i = (unsigned)rand() % k->nheld;
			struct blk_req *q = k->held[i];

			assert_int_equal(done_count, before);
			k->held[i] = k->held[--k->nheld];
			perform(k, q);
			assert_true(++steps <= 16);
		}
		assert_int_equal(done_count, before + 1);
		assert_int_equal(last_status, error ? ERR_IO : OK);
		if (!error)
			assert_memory_equal(k->data, buf, 64 * SECTOR_SIZE);
	}
	assert_int_equal(k->dev.stat_errors, 1);
	free(buf);
}

static void splitting_without_memory(void **state)
{
	struct fake_disk *k = disk_new();
	uint8_t *buf = calloc(64, SECTOR_SIZE);
	struct sg sg = {.addr = virt_to_phys(buf), .len = 64 * SECTOR_SIZE};
	struct sg odd = {.addr = virt_to_phys(buf + 1), .len = 32 * SECTOR_SIZE};

	k->dev.max_sectors = 8;
	k->dev.dma_align = 2;
	fake_heap_fail_after(0);
	assert_int_equal(run(&k->dev, BLK_READ, 0, 64, &sg, 1), ERR_NOMEM);
	fake_heap_fail_after(1); /* the bounce buffer */
	assert_int_equal(run(&k->dev, BLK_READ, 0, 32, &odd, 1), ERR_NOMEM);
	assert_int_equal(run(&k->dev, BLK_READ, 0, 32, &odd, 1), OK);
	free(buf);
}

/* Devices that reach only low addresses get copies. */
static void dma_reach(void **state)
{
	struct fake_disk *k = disk_new();
	uint8_t *buf = malloc(8 * SECTOR_SIZE);
	struct sg sg = {.addr = virt_to_phys(buf), .len = 8 * SECTOR_SIZE};

	fill(buf, 8 * SECTOR_SIZE);
	k->dev.dma_max = sg.addr.a + 8 * SECTOR_SIZE - 1;
	assert_int_equal(run(&k->dev, BLK_WRITE, 0, 8, &sg, 1), OK);
	assert_int_equal(fake_heap_outstanding(), 0);
	k->dev.dma_max--;
	fake_heap_fail_after(1);
	assert_int_equal(run(&k->dev, BLK_WRITE, 0, 8, &sg, 1), ERR_NOMEM); /* it tried to copy */
	assert_int_equal(run(&k->dev, BLK_WRITE, 0, 8, &sg, 1), OK);
	assert_memory_equal(k->data, buf, 8 * SECTOR_SIZE);
	free(buf);
}

static void synchronous(void **state)
{
	enum { N = 5000 }; /* sectors: more than one request takes */
	struct fake_disk *k = disk_new();
	uint8_t *out = malloc(N * SECTOR_SIZE + 16), *in = malloc(N * SECTOR_SIZE + 16);

	fill(out, N * SECTOR_SIZE + 16);
	assert_int_equal(blk_write(&k->dev, 100, out + 16, N), OK);
	assert_memory_equal(k->data + 100 * SECTOR_SIZE, out + 16, N * SECTOR_SIZE);
	assert_int_equal(blk_read(&k->dev, 100, in + 3, N), OK);
	assert_memory_equal(in + 3, out + 16, N * SECTOR_SIZE);
	k->fail_lba = 100 + N - 1;
	assert_int_equal(blk_read(&k->dev, 100, in, N), ERR_IO);
	assert_int_equal(blk_read(&k->dev, 100, in, 0), OK);
	free(out);
	free(in);
}

static struct fake_disk *waiting_for;
static void complete_held(struct waitq *q)
{
	struct blk_req *r = waiting_for->held[--waiting_for->nheld];

	perform(waiting_for, r);
}

static void synchronous_waits(void **state)
{
	struct fake_disk *k = disk_new();
	uint8_t buf[SECTOR_SIZE];

	k->hold = true;
	k->data[5 * SECTOR_SIZE] = 77;
	waiting_for = k;
	fake_wait_hook = complete_held;
	assert_int_equal(blk_read(&k->dev, 5, buf, 1), OK);
	fake_wait_hook = NULL;
	assert_int_equal(buf[0], 77);
}

static void put_gpt(uint8_t *disk)
{
	uint8_t *h = disk + SECTOR_SIZE, *e = disk + 2 * SECTOR_SIZE;

	disk[446 + 4] = 0xee;
	put_le16(disk + 510, 0xaa55);
	for (unsigned i = 0; i < 2; i++) {
		memset(e + 128 * i, 0x10 + (int)i, 16);
		memset(e + 128 * i + 16, 0x20 + (int)i, 16);
		put_le64(e + 128 * i + 32, 100 + 100 * i);
		put_le64(e + 128 * i + 40, 199 + 100 * i);
		memcpy(e + 128 * i + 56, i ? "t\0w\0o\0" : "o\0n\0e\0", 6);
	}
	memcpy(h, "EFI PART", 8);
	put_le32(h + 8, 0x10000);
	put_le32(h + 12, 92);
	put_le64(h + 24, 1);
	put_le64(h + 32, SECTORS - 1);
	put_le64(h + 40, 34);
	put_le64(h + 48, SECTORS - 34);
	put_le64(h + 72, 2);
	put_le32(h + 80, 128);
	put_le32(h + 84, 128);
	put_le32(h + 88, crc32_ieee(0, e, 128 * 128));
	put_le32(h + 16, crc32_ieee(0, h, 92));
}

static void partitions(void **state)
{
	struct fake_disk *k = disk_new();
	char name[40];
	struct blk_dev *one, *two;
	uint8_t buf[SECTOR_SIZE] = {1, 2, 3};
	struct sg sg = {.addr = virt_to_phys(buf), .len = SECTOR_SIZE};

	put_gpt(k->data);
	k->dev.max_discard = 50;
	assert_int_equal(blk_register(&k->dev), OK);
	assert_non_null(strstr(fake_log_text(), "backup GPT"));
	one = blk_find("one");
	two = blk_find("guid:21212121-2121-2121-2121-212121212121");
	snprintf(name, sizeof(name), "%.36sp1", k->dev.name);
	assert_non_null(one);
	assert_non_null(two);
	assert_ptr_equal(one, blk_find(name));
	assert_string_equal(two->label, "two");
	assert_int_equal(two->type_guid[0], 0x11);
	assert_int_equal(one->nsectors, 100);

	assert_int_equal(blk_write(two, 7, buf, 1), OK);
	assert_memory_equal(k->data + 207 * SECTOR_SIZE, buf, SECTOR_SIZE);
	assert_int_equal(run(one, BLK_READ, 99, 1, &sg, 1), OK);
	assert_int_equal(run(one, BLK_READ, 100, 1, &sg, 1), ERR_RANGE);
	assert_int_equal(run(one, BLK_WRITE, UINT64_MAX - 99, 1, &sg, 1), ERR_RANGE);
	assert_int_equal(run(one, BLK_DISCARD, 0, 100, NULL, 0), OK);
	assert_int_equal(k->discarded, 100);
	assert_int_equal(blk_flush(one), OK);
	k->fail_lba = 150;
	assert_int_equal(run(one, BLK_READ, 50, 1, &sg, 1), ERR_IO);
	assert_int_equal(one->stat_errors, 3);
	assert_int_equal(k->dev.stat_errors, 3);
	assert_int_equal(one->stat_flushes, 1);

	/* these two stay for ever, as on the machine */
	heap_free(one);
	heap_free(two);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	    T(bounds), T(kinds), T(registry), T(splitting), T(splitting_late),
	    T(splitting_without_memory), T(dma_reach), T(synchronous), T(synchronous_waits),
	    T(partitions), /* last: frees what the registry still knows */
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
