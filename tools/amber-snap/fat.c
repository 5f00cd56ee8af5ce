/* SPDX-License-Identifier: BSD-2-Clause */
/* FAT volumes, for reading ("FAT32 File System Specification", version 1.03). */
#include "tools/amber-snap/fat.h"

#include <stdlib.h>
#include <string.h>

#include "hv/lib/cursor.h"

enum {
	ENTRY = 32,		    /* bytes of one of a folder's */
	FOLDER_MAX = 65536 * ENTRY, /* bytes of a folder */
	LONG_UNITS = 13,	    /* UTF-16 code units of a long name in an entry */
	LONG_MAX = 20 * LONG_UNITS, /* of a whole one */
	ATTR_VOLUME = 8,
	ATTR_FOLDER = 16,
	ATTR_LONG = 15,
};

struct fat {
	const struct image *im;
	uint64_t at, bytes;				     /* of the volume in the image */
	uint64_t table, table_bytes, root, root_bytes, data; /* in the volume */
	uint32_t cluster_bytes, clusters;
	uint32_t root_cluster; /* 32 bits: instead of root */
	unsigned bits;
};

static int volume_read(const struct fat *f, uint64_t at, void *buf, size_t n, struct errmsg *e)
{
	if (!range_in(at, n, f->bytes))
		return err_set(e, ERR_CORRUPT, "reaches behind the end of its volume");
	return image_read_at(f->im, f->at + at, buf, n) ? err_set(e, ERR_IO, "read error") : OK;
}

/* The fields of the first sector, which say where everything is. */
static const char *parse_head(struct fat *f, const uint8_t *p)
{
	uint32_t sector = get_le16(p + 11), per_cluster = p[13], reserved = get_le16(p + 14);
	uint32_t roots = get_le16(p + 17), total = get_le16(p + 19), table = get_le16(p + 22);
	uint64_t first;

	total = total ? total : get_le32(p + 32);
	table = table ? table : get_le32(p + 36);
	if (sector < 512 || sector > 4096 || (sector & (sector - 1)))
		return "impossible size of a sector";
	if (!per_cluster || (per_cluster & (per_cluster - 1)) || !reserved || !p[16] || !table)
		return "impossible layout";
	f->table = (uint64_t)reserved * sector;
	f->table_bytes = (uint64_t)table * sector;
	f->root = f->table + p[16] * f->table_bytes;
	f->root_bytes = (uint64_t)roots * ENTRY;
	first = (f->root + f->root_bytes + sector - 1) / sector;
	f->data = first * sector;
	if (total <= first || (uint64_t)total * sector > f->bytes)
		return "impossible size";
	f->cluster_bytes = per_cluster * sector;
	f->clusters = (uint32_t)((total - first) / per_cluster);
	/* volumes of 32 bits with fewer clusters than the specification wants are about */
	f->bits = !get_le16(p + 22) ? 32 : f->clusters < 4085 ? 12 : 16;
	f->root_cluster = f->bits == 32 ? get_le32(p + 44) & 0x0fffffff : 0;
	return NULL;
}

static bool is_cluster(const struct fat *f, uint32_t n)
{
	return n >= 2 && n - 2 < f->clusters;
}

/* The cluster behind n; 0 behind the last. */
static int next_cluster(const struct fat *f, uint32_t *n, struct errmsg *e)
{
	uint64_t at = f->bits == 12 ? *n + *n / 2 : (uint64_t)*n * (f->bits / 8);
	uint8_t raw[4] = {0};
	uint32_t next;
	int err;

	if (!range_in(at, f->bits == 32 ? 4 : 2, f->table_bytes))
		return err_set(e, ERR_CORRUPT, "table of clusters too short");
	err = volume_read(f, f->table + at, raw, f->bits == 32 ? 4 : 2, e);
	if (err)
		return err;
	next = get_le32(raw);
	if (f->bits == 12)
		next = *n & 1 ? next >> 4 : next & 0xfff;
	next &= 0x0fffffff;
	*n = next >= (0x0ffffff8 & ((1ULL << f->bits) - 1)) ? 0 : next;
	return *n && !is_cluster(f, *n) ? err_set(e, ERR_CORRUPT, "impossible cluster") : OK;
}

/* n bytes from a chain of clusters, or fewer if it ends before: *got. */
static int read_chain(const struct fat *f, uint32_t cluster, uint8_t *buf, uint64_t n,
    uint64_t *got, struct errmsg *e)
{
	int err = OK;

	*got = 0;
	if (cluster && !is_cluster(f, cluster))
		return err_set(e, ERR_CORRUPT, "impossible cluster");
	while (!err && cluster && *got < n) {
		uint64_t part = MIN(n - *got, (uint64_t)f->cluster_bytes);

		err = volume_read(
		    f, f->data + (uint64_t)(cluster - 2) * f->cluster_bytes, buf + *got, part, e);
		*got += part;
		if (!err)
			err = next_cluster(f, &cluster, e);
	}
	return err;
}

/* --- folders ------------------------------------------------------------------------- */

static bool same_char(uint16_t a, char b)
{
	uint16_t c = (uint8_t)b;

	if (a >= 'A' && a <= 'Z')
		a = (uint16_t)(a + 32);
	if (c >= 'A' && c <= 'Z')
		c = (uint16_t)(c + 32);
	return a == c;
}

static bool same_name(const uint16_t *units, const char *name)
{
	for (; *units && *name; units++, name++)
		if (!same_char(*units, *name))
			return false;
	return !*units && !*name;
}

/* "LINUX   DTB" as "LINUX.DTB". */
static void short_name(const uint8_t *entry, uint16_t out[LONG_MAX + 1])
{
	unsigned n = 0;

	for (unsigned i = 0; i < 8 && entry[i] != ' '; i++)
		out[n++] = entry[i];
	if (entry[8] != ' ')
		out[n++] = '.';
	for (unsigned i = 8; i < 11 && entry[i] != ' '; i++)
		out[n++] = entry[i];
	out[n] = 0;
}

static uint8_t short_sum(const uint8_t *entry)
{
	uint8_t sum = 0;

	for (unsigned i = 0; i < 11; i++)
		sum = (uint8_t)((sum << 7 | sum >> 1) + entry[i]);
	return sum;
}

/* A long name is in the entries before the short one, its last part first. */
struct long_name {
	uint16_t units[LONG_MAX + 1];
	uint8_t sum;
	unsigned wanted; /* the part that comes next; 0: it is whole */
	bool good;
};

static void take_part(struct long_name *l, const uint8_t *p)
{
	static const uint8_t places[LONG_UNITS] = {1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30};
	unsigned part = p[0] & 0x1f;

	if (p[0] & 0x40) {
		*l = (struct long_name){.sum = p[13], .wanted = part};
		l->good = part && part <= LONG_MAX / LONG_UNITS;
	}
	if (!l->good || part != l->wanted || p[13] != l->sum) {
		l->good = false;
		return;
	}
	l->wanted--;
	for (unsigned i = 0; i < LONG_UNITS; i++)
		l->units[l->wanted * LONG_UNITS + i] = get_le16(p + places[i]);
}

/* The entry with this name among n bytes of a folder, or NULL. */
static const uint8_t *find_entry(const uint8_t *p, uint64_t n, const char *name, bool folder)
{
	struct long_name l = {.good = false};
	uint16_t brief[LONG_MAX + 1];

	for (; n >= ENTRY && p[0]; p += ENTRY, n -= ENTRY) {
		if (p[0] != 0xe5 && (p[11] & 0x3f) == ATTR_LONG) {
			take_part(&l, p);
			continue;
		}
		if (p[0] != 0xe5 && !(p[11] & ATTR_VOLUME) && !(p[11] & ATTR_FOLDER) == !folder) {
			short_name(p, brief);
			if (same_name(brief, name) ||
			    (l.good && !l.wanted && l.sum == short_sum(p) &&
				same_name(l.units, name)))
				return p;
		}
		l.good = false;
	}
	return NULL;
}

/* In the folder that begins at the cluster, 0: the root. */
static int find(const struct fat *f, uint32_t cluster, const char *name, bool folder,
    uint32_t *first, uint32_t *size, struct errmsg *e)
{
	uint8_t *buf = malloc(FOLDER_MAX);
	const uint8_t *entry;
	uint64_t got = f->root_bytes;
	int err;

	if (!buf)
		return err_set(e, ERR_NOMEM, "out of memory");
	if (!cluster && f->bits != 32)
		err = volume_read(f, f->root, buf, f->root_bytes, e);
	else
		err = read_chain(f, cluster ? cluster : f->root_cluster, buf, FOLDER_MAX, &got, e);
	entry = err ? NULL : find_entry(buf, got, name, folder);
	if (entry) {
		*first = get_le16(entry + 26);
		if (f->bits == 32)
			*first |= (uint32_t)get_le16(entry + 20) << 16;
		*size = get_le32(entry + 28);
	} else if (!err) {
		err = err_set(e, ERR_NOENT, "'%s' is not there", name);
	}
	free(buf);
	return err;
}

int fat_read(const struct image *im, uint64_t at, uint64_t bytes, const char *folder,
    const char *name, uint8_t **data, uint64_t *size, struct errmsg *e)
{
	struct fat f = {.im = im, .at = at, .bytes = bytes};
	uint8_t head[512];
	uint32_t cluster = 0, n = 0;
	const char *why;
	int err = volume_read(&f, 0, head, sizeof(head), e);

	*data = NULL;
	if (err)
		return err;
	why = parse_head(&f, head);
	if (why)
		return err_set(e, ERR_CORRUPT, "no FAT volume: %s", why);
	err = find(&f, 0, folder, true, &cluster, &n, e);
	if (!err)
		err = find(&f, cluster, name, false, &cluster, &n, e);
	if (!err && n > bytes)
		err = err_set(e, ERR_CORRUPT, "'%s' is larger than its volume", name);
	if (err)
		return err;
	*data = malloc(n ? n : 1);
	err = *data ? read_chain(&f, cluster, *data, n, size, e)
		    : err_set(e, ERR_NOMEM, "out of memory");
	if (!err && *size != n)
		err = err_set(e, ERR_CORRUPT, "'%s' ends before its size", name);
	if (err) {
		free(*data);
		*data = NULL;
	}
	return err;
}
