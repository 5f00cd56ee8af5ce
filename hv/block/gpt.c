/* SPDX-License-Identifier: BSD-2-Clause */
/* The reader of GUID partition tables: headers, CRCs, ranges, overlaps, backup. */
#include <string.h>

#include "hv/block/block.h"
#include "hv/block/gpt.h"
#include "hv/lib/crc32c.h"
#include "hv/lib/cursor.h"
#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"

/* UEFI 2.10, section 5.3.2, table 5.5; offsets in the header */
enum gpt_header_offset {
	HDR_SIGNATURE = 0,
	HDR_REVISION = 8,
	HDR_SIZE = 12,
	HDR_CRC = 16,
	HDR_MY_LBA = 24,
};
#define GPT_SIGNATURE	 0x5452415020494645ULL /* "EFI PART" */
#define GPT_REVISION_1_0 0x00010000
#define GPT_HEADER_MIN	 92
#define GPT_ENTRY_MIN	 128

/* UEFI 2.10, section 5.2.3; the legacy partition records of the protective MBR */
enum mbr_offset { MBR_RECORDS = 446, MBR_RECORD_SIZE = 16, MBR_OS_TYPE = 4, MBR_SIGNATURE = 510 };
#define MBR_OS_TYPE_GPT 0xee

struct header {
	uint64_t my_lba, alternate_lba, first_usable, last_usable;
	uint8_t disk_guid[16];
	uint64_t entries_lba;
	uint32_t nentries, entry_size, entries_crc;
};

/* One disk being read. */
struct source {
	gpt_read_fn read;
	void *ctx;
	uint64_t nsectors;
};

enum mbr_kind { MBR_PROTECTIVE, MBR_LEGACY, MBR_NONE };

/*
 * A disk that was repartitioned by a tool that knows no GPT still carries the
 * old tables; only its MBR tells. So a legacy MBR with partitions wins over a
 * GPT, while a wiped or unreadable sector 0 does not matter.
 */
static enum mbr_kind mbr_classify(const uint8_t *sector)
{
	bool other = false;

	if (get_le16(sector + MBR_SIGNATURE) != 0xaa55)
		return MBR_NONE;
	for (unsigned i = 0; i < 4; i++) {
		uint8_t type = sector[MBR_RECORDS + i * MBR_RECORD_SIZE + MBR_OS_TYPE];

		if (type == MBR_OS_TYPE_GPT)
			return MBR_PROTECTIVE;
		other |= type != 0;
	}
	return other ? MBR_LEGACY : MBR_NONE;
}

static uint32_t table_sectors(const struct header *h)
{
	/* at most 1024 entries of 4096 bytes: fits easily */
	return (h->nentries * h->entry_size + SECTOR_SIZE - 1) / SECTOR_SIZE;
}

static int header_check_ranges(const struct source *s, const struct header *h, struct errmsg *e)
{
	uint32_t table = table_sectors(h);

	if (h->first_usable > h->last_usable || h->last_usable >= s->nsectors)
		return err_set(e, ERR_CORRUPT, "usable sectors %llu to %llu on a disk of %llu",
		    (unsigned long long)h->first_usable, (unsigned long long)h->last_usable,
		    (unsigned long long)s->nsectors);
	/* sectors 0 and 1 are the MBR's and the primary header's */
	if (h->first_usable < 2 || (h->my_lba >= h->first_usable && h->my_lba <= h->last_usable))
		return err_set(e, ERR_CORRUPT, "headers lie among the usable sectors");
	if (h->entries_lba < 2 || !range_in(h->entries_lba, table, s->nsectors))
		return err_set(e, ERR_CORRUPT, "table at sector %llu lies outside the disk",
		    (unsigned long long)h->entries_lba);
	if (h->entries_lba <= h->last_usable && h->entries_lba + table > h->first_usable)
		return err_set(e, ERR_CORRUPT, "table lies among the usable sectors");
	if (h->my_lba >= h->entries_lba && h->my_lba < h->entries_lba + table)
		return err_set(e, ERR_CORRUPT, "table overlaps its header");
	return OK;
}

/* Checks and decodes the header in sector; changes its CRC field. ERR_NOENT: there is none. */
static int header_parse(
    const struct source *s, uint64_t lba, uint8_t *sector, struct header *h, struct errmsg *e)
{
	struct cursor c;
	uint32_t size, crc;

	if (get_le64(sector + HDR_SIGNATURE) != GPT_SIGNATURE)
		return err_set(e, ERR_NOENT, "no GPT signature");
	if (get_le32(sector + HDR_REVISION) != GPT_REVISION_1_0)
		return err_set(
		    e, ERR_CORRUPT, "revision %#x, 1.0 expected", get_le32(sector + HDR_REVISION));
	size = get_le32(sector + HDR_SIZE);
	if (size < GPT_HEADER_MIN || size > SECTOR_SIZE)
		return err_set(e, ERR_CORRUPT, "header size %u, 92 to 512 expected", size);
	crc = get_le32(sector + HDR_CRC);
	put_le32(sector + HDR_CRC, 0);
	if (crc32_ieee(0, sector, size) != crc)
		return err_set(e, ERR_CORRUPT, "header CRC wrong");

	cursor_init(&c, sector, size);
	cursor_seek(&c, HDR_MY_LBA);
	h->my_lba = cursor_le64(&c);
	h->alternate_lba = cursor_le64(&c);
	h->first_usable = cursor_le64(&c);
	h->last_usable = cursor_le64(&c);
	cursor_bytes(&c, h->disk_guid, sizeof(h->disk_guid));
	h->entries_lba = cursor_le64(&c);
	h->nentries = cursor_le32(&c);
	h->entry_size = cursor_le32(&c);
	h->entries_crc = cursor_le32(&c);

	if (h->my_lba != lba)
		return err_set(e, ERR_CORRUPT, "header says that it is at sector %llu",
		    (unsigned long long)h->my_lba);
	if (h->nentries == 0 || h->nentries > GPT_MAX_ENTRIES)
		return err_set(
		    e, ERR_CORRUPT, "%u entries, 1 to %u expected", h->nentries, GPT_MAX_ENTRIES);
	/* 128 x 2^n */
	if (h->entry_size < GPT_ENTRY_MIN || h->entry_size > GPT_MAX_ENTRY ||
	    (h->entry_size & (h->entry_size - 1)))
		return err_set(e, ERR_CORRUPT, "entry size %u", h->entry_size);
	return header_check_ranges(s, h, e);
}

/* The ASCII of a UTF-16 name, which may fill its field without a NUL. */
static void name_decode(struct cursor *c, char name[GPT_NAME_UNITS + 1])
{
	unsigned n;

	for (n = 0; n < GPT_NAME_UNITS; n++) {
		uint16_t unit = cursor_le16(c);

		if (unit == 0)
			break;
		name[n] = unit >= 0x20 && unit < 0x7f ? (char)unit : '?';
	}
	name[n] = '\0';
}

/* Decodes one entry; false if it is unused. */
static bool entry_decode(const uint8_t *entry, struct gpt_part *p)
{
	static const uint8_t unused[16];
	struct cursor c;

	cursor_init(&c, entry, GPT_ENTRY_MIN);
	cursor_bytes(&c, p->type, sizeof(p->type));
	if (memcmp(p->type, unused, sizeof(unused)) == 0)
		return false;
	cursor_bytes(&c, p->guid, sizeof(p->guid));
	p->first = cursor_le64(&c);
	p->last = cursor_le64(&c);
	p->attr = cursor_le64(&c);
	name_decode(&c, p->name);
	return true;
}

static int parts_check(const struct header *h, const struct gpt *g, struct errmsg *e)
{
	for (unsigned i = 0; i < g->nparts; i++) {
		const struct gpt_part *p = &g->parts[i];

		if (p->first > p->last || p->first < h->first_usable || p->last > h->last_usable)
			return err_set(e, ERR_CORRUPT,
			    "partition %u: sectors %llu to %llu, usable are %llu to %llu",
			    p->number, (unsigned long long)p->first, (unsigned long long)p->last,
			    (unsigned long long)h->first_usable,
			    (unsigned long long)h->last_usable);
		for (unsigned k = 0; k < i; k++) {
			const struct gpt_part *q = &g->parts[k];

			if (p->first <= q->last && q->first <= p->last)
				return err_set(e, ERR_CORRUPT, "partitions %u and %u overlap",
				    q->number, p->number);
		}
	}
	return OK;
}

static int parts_decode(
    const struct header *h, const uint8_t *table, struct gpt *g, struct errmsg *e)
{
	struct gpt_part probe;
	unsigned n = 0;
	int err;

	for (uint32_t i = 0; i < h->nentries; i++)
		n += entry_decode(table + (size_t)i * h->entry_size, &probe);
	g->nparts = 0;
	g->parts = heap_zalloc(MAX(n, 1u) * sizeof(*g->parts));
	if (!g->parts)
		return err_set(e, ERR_NOMEM, "no memory for %u partitions", n);
	for (uint32_t i = 0; i < h->nentries; i++) {
		struct gpt_part *p = &g->parts[g->nparts];

		if (g->nparts == n || !entry_decode(table + (size_t)i * h->entry_size, p))
			continue;
		p->number = i + 1;
		g->nparts++;
	}
	memcpy(g->disk_guid, h->disk_guid, sizeof(g->disk_guid));
	err = parts_check(h, g, e);
	if (err)
		gpt_free(g);
	return err;
}

/* Reads and checks the table that a good header describes. */
static int table_load(
    const struct source *s, const struct header *h, struct gpt *g, struct errmsg *e)
{
	uint32_t sectors = table_sectors(h);
	uint8_t *table = heap_alloc((size_t)sectors * SECTOR_SIZE);
	int err;

	if (!table)
		return err_set(e, ERR_NOMEM, "no memory for a table of %u sectors", sectors);
	err = s->read(s->ctx, h->entries_lba, table, sectors);
	if (err)
		err_set(e, err, "table at sector %llu: %s", (unsigned long long)h->entries_lba,
		    error_text(err));
	else if (crc32_ieee(0, table, (size_t)h->nentries * h->entry_size) != h->entries_crc)
		err = err_set(e, ERR_CORRUPT, "table CRC wrong");
	else
		err = parts_decode(h, table, g, e);
	heap_free(table);
	return err;
}

/* Reads the header at lba; *h is valid if OK. */
static int header_load(const struct source *s, uint64_t lba, struct header *h, struct errmsg *e)
{
	uint8_t *sector = heap_alloc(SECTOR_SIZE);
	int err;

	if (!sector)
		return err_set(e, ERR_NOMEM, "no memory for a sector");
	err = s->read(s->ctx, lba, sector, 1);
	if (err)
		err_set(e, err, "sector %llu: %s", (unsigned long long)lba, error_text(err));
	else
		err = header_parse(s, lba, sector, h, e);
	heap_free(sector);
	return err;
}

static enum mbr_kind mbr_load(const struct source *s)
{
	uint8_t *sector = heap_alloc(SECTOR_SIZE);
	enum mbr_kind kind = MBR_NONE;

	if (sector && s->read(s->ctx, 0, sector, 1) == OK)
		kind = mbr_classify(sector);
	heap_free(sector);
	return kind;
}

/* After the primary was used: says so if its backup would not serve in an emergency. */
static void backup_inspect(const struct source *s, const struct header *primary, struct gpt *g)
{
	struct errmsg e;
	struct header h;

	if (primary->alternate_lba <= primary->last_usable || primary->alternate_lba >= s->nsectors)
		err_set(&g->warning, 0,
		    "backup GPT: sector %llu does not lie behind the partitions",
		    (unsigned long long)primary->alternate_lba);
	else if (header_load(s, primary->alternate_lba, &h, &e))
		err_set(&g->warning, 0, "backup GPT: %s", e.text);
}

int gpt_read(gpt_read_fn read, void *ctx, uint64_t nsectors, struct gpt *out, struct errmsg *e)
{
	struct source s = {.read = read, .ctx = ctx, .nsectors = nsectors};
	struct errmsg first = {""}, second = {""};
	struct header h;
	enum mbr_kind mbr;
	uint64_t backup;
	int err, err2;

	*out = (struct gpt){.parts = NULL};
	if (nsectors < 3)
		return err_set(e, ERR_NOENT, "disk of %llu sectors is too small for a GPT",
		    (unsigned long long)nsectors);
	mbr = mbr_load(&s);
	if (mbr == MBR_LEGACY)
		return err_set(e, ERR_NOENT, "disk has an MBR without a GPT record");

	backup = nsectors - 1;
	err = header_load(&s, 1, &h, &first);
	if (err == OK) {
		/* a disk image may have grown since: then the backup is not in the last sector */
		if (h.alternate_lba > h.last_usable && h.alternate_lba < nsectors)
			backup = h.alternate_lba;
		err = table_load(&s, &h, out, &first);
	}
	if (err == OK) {
		backup_inspect(&s, &h, out);
		if (mbr != MBR_PROTECTIVE && !out->warning.text[0])
			err_set(&out->warning, 0, "no protective MBR");
		return OK;
	}

	err2 = header_load(&s, backup, &h, &second);
	if (err2 == OK)
		err2 = table_load(&s, &h, out, &second);
	if (err2 == OK) {
		out->from_backup = true;
		err_set(&out->warning, 0, "primary GPT: %s; using the backup", first.text);
		return OK;
	}
	if (err == ERR_NOENT && err2 == ERR_NOENT && mbr == MBR_NONE)
		return err_set(e, ERR_NOENT, "no GPT");
	if (err == ERR_NOENT || err == ERR_CORRUPT)
		err = err2 == ERR_NOMEM ? err2 : ERR_CORRUPT;
	return err_set(e, err, "primary GPT: %s; backup: %s", first.text, second.text);
}

void gpt_free(struct gpt *g)
{
	heap_free(g->parts);
	g->parts = NULL;
	g->nparts = 0;
}

/* Where the bytes of a GUID stand in its text: the first three fields are little-endian. */
static const uint8_t guid_order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

/* True if a hyphen stands before the byte. */
static bool guid_hyphen(unsigned byte)
{
	return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void guid_format(const uint8_t guid[16], char text[GUID_TEXT_SIZE])
{
	char *p = text;

	for (unsigned i = 0; i < 16; i++) {
		if (guid_hyphen(i))
			*p++ = '-';
		str_format(p, 3, "%02X", guid[guid_order[i]]);
		p += 2;
	}
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int guid_parse(const char *text, uint8_t guid[16])
{
	if (strlen(text) != GUID_TEXT_SIZE - 1)
		return ERR_INVAL;
	for (unsigned i = 0; i < 16; i++) {
		int hi, lo;

		if (guid_hyphen(i) && *text++ != '-')
			return ERR_INVAL;
		hi = hex_digit(text[0]);
		lo = hex_digit(text[1]);
		if (hi < 0 || lo < 0)
			return ERR_INVAL;
		guid[guid_order[i]] = (uint8_t)(hi << 4 | lo);
		text += 2;
	}
	return OK;
}
