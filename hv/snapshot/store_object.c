/* SPDX-License-Identifier: BSD-2-Clause */
/* Objects and their extents as records of the tree; orphans, and how they go. */
#include <string.h>

#include "hv/lib/crc32c.h"
#include "hv/snapshot/store_int.h"

static struct store_key orphan_key(uint64_t id)
{
	return (struct store_key){OBJ_ORPHANS, REC_ORPHAN, id};
}

static struct store_key object_key(uint64_t id)
{
	return (struct store_key){id, REC_OBJECT, 0};
}

/* --- objects ------------------------------------------------------------------------- */

static void object_encode(const struct store_object_info *o, uint8_t p[OB_BYTES])
{
	memset(p, 0, OB_BYTES);
	put_le32(p + OB_KIND, o->kind);
	put_le32(p + OB_FLAGS, o->flags);
	put_le64(p + OB_SIZE, o->size);
	put_le64(p + OB_EXTENTS, o->extents);
	put_le64(p + OB_RAW, o->raw);
	put_le64(p + OB_BLOCKS, o->blocks);
	put_le32(p + OB_LINKS, o->links);
	put_le32(p + OB_INDEX_CRC, o->index_crc);
	put_le32(p + OB_CONTENT_CRC, o->content_crc);
	put_le64(p + OB_PARENT, o->parent);
}

int object_decode(
    uint64_t id, const uint8_t *p, uint32_t len, struct store_object_info *o, struct errmsg *e)
{
	if (len != OB_BYTES)
		return err_set(e, ERR_CORRUPT, "object %llu: record of %u bytes instead of %u",
		    (unsigned long long)id, len, OB_BYTES);
	*o = (struct store_object_info){
	    .kind = get_le32(p + OB_KIND),
	    .flags = get_le32(p + OB_FLAGS),
	    .size = get_le64(p + OB_SIZE),
	    .extents = get_le64(p + OB_EXTENTS),
	    .raw = get_le64(p + OB_RAW),
	    .blocks = get_le64(p + OB_BLOCKS),
	    .links = get_le32(p + OB_LINKS),
	    .index_crc = get_le32(p + OB_INDEX_CRC),
	    .content_crc = get_le32(p + OB_CONTENT_CRC),
	    .parent = get_le64(p + OB_PARENT),
	};
	if (o->kind < KIND_STATE || o->kind > KIND_DISK || (o->flags & ~(uint32_t)OBJ_COMPLETE))
		return err_set(e, ERR_UNSUPPORTED, "object %llu: unknown kind %u, flags 0x%x",
		    (unsigned long long)id, o->kind, o->flags);
	return OK;
}

int store_object_create(struct store *s, uint32_t kind, uint64_t *id, struct errmsg *e)
{
	struct store_object_info o = {.kind = kind};
	struct store_key okey = orphan_key(s->next_object), key = object_key(s->next_object);
	uint8_t rec[OB_BYTES];
	int err = store_may_change(s, false, e);

	if (err)
		return err;
	object_encode(&o, rec);
	err = tree_insert(s, &okey, NULL, 0, e);
	if (err)
		return err;
	*id = s->next_object++; /* an orphan without an object is harmless */
	return tree_insert(s, &key, rec, OB_BYTES, e);
}

int store_object_get(struct store *s, uint64_t id, struct store_object_info *out, struct errmsg *e)
{
	struct store_key key = object_key(id);
	const uint8_t *data;
	uint32_t len;
	int err;

	cache_trim(s);
	err = tree_get(s, &key, &data, &len, e);
	if (err == ERR_NOENT)
		return err_set(e, err, "object %llu: missing", (unsigned long long)id);
	return err ? err : object_decode(id, data, len, out, e);
}

int store_object_set(
    struct store *s, uint64_t id, const struct store_object_info *in, struct errmsg *e)
{
	struct store_key key = object_key(id);
	uint8_t rec[OB_BYTES];
	int err = store_may_change(s, false, e);

	if (err)
		return err;
	object_encode(in, rec);
	return tree_update(s, &key, rec, OB_BYTES, e);
}

/* --- extents ------------------------------------------------------------------------- */

static const char *extent_fault(const struct store *s, const struct store_extent *x)
{
	uint32_t blocks = 0;

	if (x->raw_len == 0 || x->raw_len > STORE_CHUNK ||
	    x->offset % STORE_CHUNK + x->raw_len > STORE_CHUNK ||
	    x->offset > UINT64_MAX - STORE_CHUNK)
		return "impossible range";
	for (unsigned i = 0; i < x->nruns; i++) {
		if (!map_run_ok(s, x->runs[i].block, x->runs[i].count))
			return "blocks outside the store";
		blocks += x->runs[i].count;
	}
	if (x->encoding > ENC_ZERO)
		return "unknown encoding";
	if (x->stored_len > STORE_CHUNK ||
	    blocks != ALIGN_UP((uint64_t)x->stored_len, STORE_BLOCK) / STORE_BLOCK)
		return "length and blocks disagree";
	if (x->encoding == ENC_NONE  ? x->stored_len != x->raw_len
	    : x->encoding == ENC_LZ4 ? x->stored_len == 0
				     : x->stored_len != 0)
		return "length and encoding disagree";
	return NULL;
}

int extent_decode(const struct store *s, const struct store_key *k, const uint8_t *p, uint32_t len,
    struct store_extent *x, struct errmsg *e)
{
	const char *why = NULL;

	*x = (struct store_extent){.offset = k->offset};
	if (len < EX_RUNS) {
		why = "record too short";
	} else {
		x->raw_len = get_le32(p + EX_RAW_LEN);
		x->stored_len = get_le32(p + EX_STORED_LEN);
		x->crc = get_le32(p + EX_CRC);
		x->encoding = p[EX_ENCODING];
		x->nruns = get_le16(p + EX_NRUNS);
		if (p[EX_FLAGS])
			why = "unknown flags";
		else if (x->nruns > STORE_CHUNK_BLOCKS || len != EX_RUNS + 8u * x->nruns)
			why = "record of the wrong length";
	}
	for (unsigned i = 0; !why && i < x->nruns; i++) {
		uint64_t run = get_le64(p + EX_RUNS + 8 * i);

		x->runs[i] = (struct store_run){.block = run >> 16, .count = run & 0xffff};
	}
	if (!why)
		why = extent_fault(s, x);
	if (why)
		return err_set(e, ERR_CORRUPT, "object %llu: extent 0x%llx: %s",
		    (unsigned long long)k->object, (unsigned long long)k->offset, why);
	return OK;
}

/* The bytes 0 to 13 of the record, which do not depend on where the blocks lie. */
static void extent_head(const struct store_extent *x, uint8_t *p)
{
	put_le32(p + EX_RAW_LEN, x->raw_len);
	put_le32(p + EX_STORED_LEN, x->stored_len);
	put_le32(p + EX_CRC, x->crc);
	p[EX_ENCODING] = x->encoding;
	p[EX_FLAGS] = 0;
}

uint32_t store_index_crc(uint32_t crc, const struct store_extent *x)
{
	uint8_t p[8 + EX_NRUNS];

	put_le64(p, x->offset);
	extent_head(x, p + 8);
	return crc32c(crc, p, sizeof(p));
}

int store_extent_alloc(struct store *s, struct store_extent *x, struct errmsg *e)
{
	uint32_t want = (uint32_t)(ALIGN_UP((uint64_t)x->stored_len, STORE_BLOCK) / STORE_BLOCK);
	int err = store_may_change(s, false, e);

	x->nruns = 0;
	if (err)
		return err;
	if (map_available(s) < want + STORE_RESERVE)
		return err_set(e, ERR_NOSPACE, "store: full");
	while (want) {
		struct store_run *r = &x->runs[x->nruns];

		err = map_alloc(s, &s->data_goal, want, &r->block, &r->count, e);
		if (err) {
			store_extent_unalloc(s, x);
			x->nruns = 0;
			return err;
		}
		want -= r->count;
		x->nruns++;
	}
	return OK;
}

void store_extent_unalloc(struct store *s, const struct store_extent *x)
{
	for (unsigned i = 0; i < x->nruns; i++)
		if (map_unref(s, x->runs[i].block, x->runs[i].count, NULL))
			s->dead = true;
}

int store_extent_add(struct store *s, uint64_t id, const struct store_extent *x, struct errmsg *e)
{
	struct store_key key = {id, REC_EXTENT, x->offset};
	uint8_t rec[EX_RUNS + 8 * STORE_CHUNK_BLOCKS];
	const char *why = extent_fault(s, x);
	int err;

	if (why)
		return err_set(e, ERR_INVAL, "object %llu: extent 0x%llx: %s",
		    (unsigned long long)id, (unsigned long long)x->offset, why);
	extent_head(x, rec);
	put_le16(rec + EX_NRUNS, x->nruns);
	for (unsigned i = 0; i < x->nruns; i++)
		put_le64(rec + EX_RUNS + 8 * i, x->runs[i].block << 16 | x->runs[i].count);
	err = tree_insert(s, &key, rec, EX_RUNS + 8u * x->nruns, e);
	if (err == ERR_EXIST)
		return err_set(e, err, "object %llu: extent 0x%llx: written twice",
		    (unsigned long long)id, (unsigned long long)x->offset);
	return err;
}

int store_extent_next(
    struct store *s, uint64_t id, uint64_t offset, struct store_extent *out, struct errmsg *e)
{
	struct store_key key = {id, REC_EXTENT, offset};
	const uint8_t *data;
	uint32_t len;
	int err;

	cache_trim(s);
	err = tree_seek(s, &key, &data, &len, e);
	if (err)
		return err;
	if (key.object != id || key.type != REC_EXTENT)
		return ERR_NOENT;
	return extent_decode(s, &key, data, len, out, e);
}

/* --- removal ------------------------------------------------------------------------- */

/* Removes an extent's record and the references that it held. */
static int extent_remove(
    struct store *s, const struct store_key *k, const struct store_extent *x, struct errmsg *e)
{
	int err = OK;

	/* what can fail comes first: after that, record and references go together */
	for (unsigned i = 0; !err && i < x->nruns; i++)
		err = map_prepare_unref(s, x->runs[i].block, x->runs[i].count, e);
	if (!err)
		err = tree_delete(s, k, e);
	for (unsigned i = 0; !err && i < x->nruns; i++) {
		err = map_unref(s, x->runs[i].block, x->runs[i].count, e);
		if (err)
			s->dead = true;
	}
	return err;
}

/* Removes the first record of the object behind its REC_OBJECT; ERR_NOENT if none is left. */
static int remove_one(struct store *s, uint64_t id, struct errmsg *e)
{
	struct store_key key = {id, REC_OBJECT, 1};
	struct store_extent x;
	const uint8_t *data;
	uint32_t len;
	int err = tree_seek(s, &key, &data, &len, e);

	if (err)
		return err;
	if (key.object != id)
		return ERR_NOENT;
	if (key.type != REC_EXTENT)
		return tree_delete(s, &key, e);
	err = extent_decode(s, &key, data, len, &x, e);
	return err ? err : extent_remove(s, &key, &x, e);
}

int store_object_delete(struct store *s, uint64_t id, struct errmsg *e)
{
	struct store_key okey = orphan_key(id), key = object_key(id);
	int err;

	do {
		err = s->txn_allocs >= STORE_SLICE ? store_commit(s, e) : OK;
		if (!err)
			err = store_may_change(s, true, e);
		if (!err)
			err = remove_one(s, id, e);
	} while (!err);
	if (err != ERR_NOENT)
		return err;
	err = tree_delete(s, &key, e);
	if (!err || err == ERR_NOENT)
		err = tree_delete(s, &okey, e);
	return err ? err : store_commit(s, e);
}

/* At opening: what a power cut left half written or half deleted. One that resists is passed over.
 */
int orphans_remove(struct store *s)
{
	struct store_key key = orphan_key(0);
	const uint8_t *data;
	uint32_t len;
	int err, result = OK;

	while ((err = tree_seek(s, &key, &data, &len, NULL)) == OK) {
		if (key.object != OBJ_ORPHANS || key.type != REC_ORPHAN)
			return result;
		err =
		    key.offset < OBJ_FIRST ? ERR_CORRUPT : store_object_delete(s, key.offset, NULL);
		if (err)
			result = err;
		if (key.offset == UINT64_MAX)
			return result;
		key.offset++;
	}
	return err == ERR_NOENT ? result : err;
}
