/* SPDX-License-Identifier: BSD-2-Clause */
/* A good GPT is read, a damaged one falls back to its backup, nothing wrong is believed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "hv/block/block.h"
#include "hv/block/gpt.h"
#include "hv/lib/crc32c.h"
#include "hv/lib/cursor.h"
#include "tests/unit/fake/fake.h"

enum { SECTORS = 256, TABLE_SECTORS = 32, FIRST = 34, LAST = SECTORS - 34 };

static uint8_t disk[SECTORS * SECTOR_SIZE];
static uint64_t bad_first, bad_last; /* sectors that cannot be read; none if bad_last is 0 */

static int read_disk(void *ctx, uint64_t lba, void *buf, uint32_t count)
{
	assert_true(range_in(lba, count, SECTORS));
	if (bad_last && lba <= bad_last && lba + count > bad_first)
		return ERR_IO;
	memcpy(buf, disk + lba * SECTOR_SIZE, (size_t)count * SECTOR_SIZE);
	return OK;
}

static uint8_t *sector(uint64_t lba)
{
	return disk + lba * SECTOR_SIZE;
}

static void seal(uint64_t header)
{
	uint8_t *h = sector(header);

	put_le32(h + 88,
	    crc32_ieee(0, sector(get_le64(h + 72)), (size_t)get_le32(h + 80) * get_le32(h + 84)));
	put_le32(h + 16, 0);
	put_le32(h + 16, crc32_ieee(0, h, get_le32(h + 12)));
}

static void put_header(uint64_t my, uint64_t other, uint64_t table)
{
	uint8_t *h = sector(my);

	memcpy(h, "EFI PART", 8);
	put_le32(h + 8, 0x10000);
	put_le32(h + 12, 92);
	put_le64(h + 24, my);
	put_le64(h + 32, other);
	put_le64(h + 40, FIRST);
	put_le64(h + 48, LAST);
	memset(h + 56, 0xd1, 16);
	put_le64(h + 72, table);
	put_le32(h + 80, 128);
	put_le32(h + 84, 128);
	seal(my);
}

static uint8_t *entry(uint64_t table, unsigned i)
{
	return sector(table) + (size_t)i * 128;
}

static void put_entry(unsigned i, uint64_t first, uint64_t last, const char *name)
{
	static const uint64_t tables[] = {2, SECTORS - 33};

	for (unsigned t = 0; t < 2; t++) {
		uint8_t *e = entry(tables[t], i);

		memset(e, 0, 128);
		memset(e, 0x11, 16);
		memset(e + 16, 0x20 + (int)i, 16);
		put_le64(e + 32, first);
		put_le64(e + 40, last);
		put_le64(e + 48, 5);
		for (unsigned k = 0; name[k] && k < GPT_NAME_UNITS; k++)
			put_le16(e + 56 + 2 * k, (uint8_t)name[k]);
	}
}

static void seal_both(void)
{
	put_header(1, SECTORS - 1, 2);
	put_header(SECTORS - 1, 1, SECTORS - 33);
}

static int setup(void **state)
{
	memset(disk, 0, sizeof(disk));
	bad_first = bad_last = 0;
	disk[446 + 4] = 0xee;
	put_le16(disk + 510, 0xaa55);
	put_entry(0, FIRST, 99, "esp");
	put_entry(3, 100, LAST, "amber-store");
	seal_both();
	fake_heap_fail_after(-1);
	return 0;
}

static int teardown(void **state)
{
	assert_int_equal(fake_heap_outstanding(), 0);
	return 0;
}

static struct gpt gpt;
static struct errmsg err;

static int read_gpt(void)
{
	err.text[0] = '\0';
	return gpt_read(read_disk, NULL, SECTORS, &gpt, &err);
}

static void expect_good(bool from_backup, const char *warning)
{
	assert_int_equal(read_gpt(), OK);
	assert_int_equal(gpt.from_backup, from_backup);
	if (warning)
		assert_non_null(strstr(gpt.warning.text, warning));
	else
		assert_string_equal(gpt.warning.text, "");
	assert_int_equal(gpt.nparts, 2);
	assert_int_equal(gpt.parts[1].number, 4);
	assert_string_equal(gpt.parts[1].name, "amber-store");
	gpt_free(&gpt);
}

static void expect_bad(int code, const char *text)
{
	assert_int_equal(read_gpt(), code);
	if (!strstr(err.text, text))
		fail_msg("'%s' lacks '%s'", err.text, text);
}

static void good(void **state)
{
	assert_int_equal(read_gpt(), OK);
	assert_false(gpt.from_backup);
	assert_string_equal(gpt.warning.text, "");
	assert_int_equal(gpt.nparts, 2);
	assert_int_equal(gpt.disk_guid[3], 0xd1);
	assert_int_equal(gpt.parts[0].number, 1);
	assert_int_equal(gpt.parts[0].first, FIRST);
	assert_int_equal(gpt.parts[0].last, 99);
	assert_int_equal(gpt.parts[0].attr, 5);
	assert_int_equal(gpt.parts[0].type[0], 0x11);
	assert_int_equal(gpt.parts[0].guid[15], 0x20);
	assert_string_equal(gpt.parts[0].name, "esp");
	gpt_free(&gpt);
	expect_good(false, NULL);
}

static void no_gpt(void **state)
{
	memset(disk, 0, sizeof(disk));
	expect_bad(ERR_NOENT, "no GPT");
	assert_int_equal(gpt_read(read_disk, NULL, 2, &gpt, &err), ERR_NOENT);
	/* a protective record promises one */
	disk[446 + 4] = 0xee;
	put_le16(disk + 510, 0xaa55);
	expect_bad(ERR_CORRUPT, "no GPT signature");
}

static void mbr(void **state)
{
	disk[510] = 0; /* wiped */
	expect_good(false, "no protective MBR");
	put_le16(disk + 510, 0xaa55);
	disk[446 + 4] = 0x83; /* repartitioned by something that knows no GPT */
	expect_bad(ERR_NOENT, "MBR without a GPT");
}

static void backup_used(void **state)
{
	sector(1)[40] ^= 1; /* a flipped bit in the header */
	expect_good(true, "header CRC wrong");
	setup(NULL);
	entry(2, 3)[32] ^= 1; /* and in the table */
	expect_good(true, "table CRC wrong");
	setup(NULL);
	memset(sector(1), 0, SECTOR_SIZE);
	expect_good(true, "no GPT signature");
	setup(NULL);
	bad_first = 0;
	bad_last = 5;
	expect_good(true, "input/output error");
}

static void backup_watched(void **state)
{
	sector(SECTORS - 1)[0] ^= 1;
	expect_good(false, "backup GPT: no GPT signature");
	setup(NULL);
	put_le64(sector(1) + 32, 50);
	seal(1);
	expect_good(false, "does not lie behind");
}

static void grown_disk(void **state)
{
	/* the backup is where the header says, not in the last sector */
	memmove(sector(SECTORS - 10), sector(SECTORS - 1), SECTOR_SIZE);
	memset(sector(SECTORS - 1), 0, SECTOR_SIZE);
	put_le64(sector(1) + 32, SECTORS - 10);
	seal(1);
	expect_good(false, "says that it is at sector 255");
	put_entry(0, FIRST, 99, "esp");
	memmove(sector(SECTORS - 60), sector(2), TABLE_SECTORS * SECTOR_SIZE);
	put_entry(3, 100, SECTORS - 61, "amber-store");
	memmove(sector(SECTORS - 60), sector(2), TABLE_SECTORS * SECTOR_SIZE);
	put_header(SECTORS - 10, 1, SECTORS - 60);
	put_le64(sector(SECTORS - 10) + 48, SECTORS - 61);
	seal(SECTORS - 10);
	put_le64(sector(1) + 48, SECTORS - 61);
	seal(1);
	expect_good(false, NULL);
	entry(2, 3)[32] ^= 1;
	expect_good(true, "table CRC wrong");
}

static void both_bad(void **state)
{
	sector(1)[40] ^= 1;
	sector(SECTORS - 1)[40] ^= 1;
	expect_bad(ERR_CORRUPT, "header CRC wrong; backup: header CRC wrong");
	setup(NULL);
	bad_first = 0;
	bad_last = SECTORS;
	expect_bad(ERR_IO, "input/output error");
}

/* Each row damages both headers in a way that the CRC does not show. */
static void header_fields(void **state)
{
	static const struct {
		unsigned offset, bytes;
		uint64_t value;
		const char *text;
	} rows[] = {
	    {8, 4, 0x20000, "revision"},
	    {12, 4, 91, "header size"},
	    {12, 4, 513, "header size"},
	    {12, 4, 0xffffffff, "header size"},
	    {24, 8, 7, "header says that it is at sector 7"},
	    {40, 8, LAST + 1, "usable sectors"},
	    {40, 8, 1, "among the usable"},
	    {48, 8, SECTORS, "usable sectors"},
	    {48, 8, UINT64_MAX, "usable sectors"},
	    {72, 8, SECTORS - 31, "outside the disk"},
	    {72, 8, UINT64_MAX, "outside the disk"},
	    {72, 8, 1, "outside the disk"},
	    {72, 8, 40, "table lies among"},
	    {80, 4, 0, "0 entries"},
	    {80, 4, GPT_MAX_ENTRIES + 1, "entries"},
	    {80, 4, 0xffffffff, "entries"},
	    {84, 4, 0, "entry size 0"},
	    {84, 4, 129, "entry size 129"},
	    {84, 4, 64, "entry size 64"},
	    {84, 4, 8192, "entry size 8192"},
	    {84, 4, 0x80000000, "entry size"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		static const uint64_t headers[] = {1, SECTORS - 1};

		setup(NULL);
		for (unsigned k = 0; k < 2; k++) {
			uint8_t *h = sector(headers[k]);

			if (rows[i].bytes == 4)
				put_le32(h + rows[i].offset, (uint32_t)rows[i].value);
			else
				put_le64(h + rows[i].offset, rows[i].value);
			put_le32(h + 16, 0);
			put_le32(h + 16, crc32_ieee(0, h, MIN(get_le32(h + 12), 512u)));
		}
		expect_bad(ERR_CORRUPT, rows[i].text);
	}
}

static void entries(void **state)
{
	static const struct {
		uint64_t first, last;
		const char *text;
	} rows[] = {
	    {99, LAST, "partitions 1 and 4 overlap"},
	    {FIRST, FIRST, "overlap"},
	    {120, 119, "partition 4: sectors 120 to 119"},
	    {100, LAST + 1, "partition 4"},
	    {100, UINT64_MAX, "partition 4"},
	    {0, 10, "partition 4"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		setup(NULL);
		put_entry(3, rows[i].first, rows[i].last, "x");
		seal_both();
		expect_bad(ERR_CORRUPT, rows[i].text);
	}
	/* touching is not overlapping; one sector is a partition */
	setup(NULL);
	put_entry(3, 100, 100, "amber-store");
	seal_both();
	expect_good(false, NULL);
}

static void names(void **state)
{
	put_entry(0, FIRST, 99, "0123456789abcdef0123456789abcdef0123XX"); /* fills the field */
	seal_both();
	assert_int_equal(read_gpt(), OK);
	assert_string_equal(gpt.parts[0].name, "0123456789abcdef0123456789abcdef0123");
	gpt_free(&gpt);

	put_entry(0, FIRST, 99, "a");
	put_le16(entry(2, 0) + 58, 0x00e9);
	put_le16(entry(2, 0) + 60, 0x001b);
	seal(1);
	assert_int_equal(read_gpt(), OK);
	assert_string_equal(gpt.parts[0].name, "a??");
	gpt_free(&gpt);
}

static void memory(void **state)
{
	/* whichever allocation fails, nothing leaks and the answer is ERR_NOMEM or from the backup
	 */
	for (int n = 0; n < 6; n++) {
		int rc;

		fake_heap_fail_after(n);
		rc = read_gpt();
		fake_heap_fail_after(-1);
		if (rc == OK)
			gpt_free(&gpt);
		assert_int_equal(fake_heap_outstanding(), 0);
	}
}

static void every_byte(void **state)
{
	/* whatever byte of the metadata changes, the result is right or refused */
	for (size_t at = SECTOR_SIZE; at < 34 * SECTOR_SIZE; at += 7) {
		uint8_t old = disk[at];

		disk[at] ^= 0x40;
		assert_int_equal(read_gpt(), OK); /* the backup is whole */
		assert_int_equal(gpt.nparts, 2);
		assert_int_equal(gpt.parts[1].first, 100);
		gpt_free(&gpt);
		disk[at] = old;
	}
}

static void guids(void **state)
{
	static const uint8_t esp[16] = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b,
	    0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};
	char text[GUID_TEXT_SIZE];
	uint8_t back[16];

	guid_format(esp, text);
	assert_string_equal(text, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B");
	assert_int_equal(guid_parse("c12a7328-F81F-11d2-ba4b-00a0c93ec93b", back), OK);
	assert_memory_equal(back, esp, 16);
	assert_int_equal(guid_parse("", back), ERR_INVAL);
	assert_int_equal(guid_parse("c12a7328-F81F-11d2-ba4b-00a0c93ec93", back), ERR_INVAL);
	assert_int_equal(guid_parse("c12a7328-F81F-11d2-ba4b-00a0c93ec93bb", back), ERR_INVAL);
	assert_int_equal(guid_parse("c12a7328-F81F-11d2-ba4b+00a0c93ec93b", back), ERR_INVAL);
	assert_int_equal(guid_parse("c12a7328-F81F-11d2-ba4b-00a0c93ec9-b", back), ERR_INVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	    T(good),
	    T(no_gpt),
	    T(mbr),
	    T(backup_used),
	    T(backup_watched),
	    T(grown_disk),
	    T(both_bad),
	    T(header_fields),
	    T(entries),
	    T(names),
	    T(memory),
	    T(every_byte),
	    T(guids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
