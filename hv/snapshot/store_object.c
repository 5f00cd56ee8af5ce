/* SPDX-License-Identifier: BSD-2-Clause */
/* Objects and their extents as records of the tree; orphans, and how they go. */
#include <string.h>

#include "hv/lib/crc32c.h"
#include "hv/snapshot/snapshot.h"
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

int object_put(struct store *s, uint64_t id, const struct store_object_info *in, struct errmsg *e)
{
	struct store_key key = object_key(id);
	uint8_t rec[OB_BYTES];

	object_encode(in, rec);
	return tree_update(s, &key, rec, OB_BYTES, e);
}

int store_object_set(
    struct store *s, uint64_t id, const struct store_object_info *in, struct errmsg *e)
{
	int err = store_may_change(s, false, e);

	return err ? err : object_put(s, id, in, e);
}

/* --- references ---------------------------------------------------------------------- */

int object_is_orphan(struct store *s, uint64_t id, bool *orphan, struct errmsg *e)
{
	struct store_key key = orphan_key(id);
	const uint8_t *data;
	uint32_t len;
	int err = tree_get(s, &key, &data, &len, e);

	*orphan = err == OK;
	return err == ERR_NOENT ? OK : err;
}

/*
 * Here and in store_object_unlink(), the count of an orphan means nothing: so each of them is,
 * whatever fails, done or not done.
 */
int store_object_link(struct store *s, uint64_t id, struct errmsg *e)
{
	struct store_key okey = orphan_key(id);
	struct store_object_info o;
	bool orphan = false;
	int err = store_may_change(s, true, e);

	if (!err)
		err = store_object_get(s, id, &o, e);
	if (!err)
		err = object_is_orphan(s, id, &orphan, e);
	if (err)
		return err;
	if (!orphan && (o.links == 0 || o.links == UINT32_MAX))
		return err_set(e, ERR_CORRUPT, "object %llu: impossible count of references, %u",
		    (unsigned long long)id, o.links);
	o.links = orphan ? 1 : o.links + 1;
	err = object_put(s, id, &o, e);
	return err || !orphan ? err : tree_delete(s, &okey, e);
}

int store_object_unlink(struct store *s, uint64_t id, bool *orphan, struct errmsg *e)
{
	struct store_key okey = orphan_key(id);
	struct store_object_info o;
	int err;

	*orphan = false;
	err = store_may_change(s, true, e);
	if (!err)
		err = id < OBJ_FIRST ? ERR_NOENT : store_object_get(s, id, &o, e);
	if (err == ERR_NOENT) /* a damaged store: what referred to it can be deleted all the same */
		return OK;
	if (err)
		return err;
	if (o.links > 1) {
		o.links--;
		return object_put(s, id, &o, e);
	}
	err = tree_insert(s, &okey, NULL, 0, e);
	if (err == ERR_EXIST)
		err = OK;
	*orphan = err == OK;
	return err;
}

/* The parent as the record has it: 0 for one that no child may have. */
static uint64_t parent_of(uint64_t id, const struct store_object_info *o)
{
	return o->parent >= OBJ_FIRST && o->parent < id ? o->parent : 0;
}

int store_object_parent(struct store *s, uint64_t id, const struct store_object_info *o,
    struct store_object_info *out, struct errmsg *e)
{
	int err;

	if (o->parent == 0)
		return ERR_NOENT;
	if (!parent_of(id, o))
		return err_set(e, ERR_CORRUPT, "object %llu: impossible parent, object %llu",
		    (unsigned long long)id, (unsigned long long)o->parent);
	err = store_object_get(s, o->parent, out, e);
	if (err) /* that the parent is missing is not that there is none */
		return err_prefix(e, err == ERR_NOENT ? ERR_CORRUPT : err, "object %llu: parent",
		    (unsigned long long)id);
	if (out->kind != o->kind)
		return err_set(e, ERR_CORRUPT, "object %llu: parent, object %llu, of another kind",
		    (unsigned long long)id, (unsigned long long)o->parent);
	return OK;
}

int store_object_depth(struct store *s, uint64_t id, unsigned *depth, struct errmsg *e)
{
	struct store_object_info o, up;
	uint64_t at = id;
	int err = store_object_get(s, id, &o, e);

	for (*depth = 1; !err; ++*depth, at = o.parent, o = up) {
		err = store_object_parent(s, at, &o, &up, e);
		if (!err && *depth == STORE_CHAIN_MAX)
			return err_set(e, ERR_CORRUPT, "object %llu: more than %d levels",
			    (unsigned long long)id, STORE_CHAIN_MAX);
		if (err == ERR_NOENT)
			return OK;
	}
	return err;
}

int store_object_set_parent(struct store *s, uint64_t id, uint64_t parent, struct errmsg *e)
{
	struct store_object_info o, up;
	unsigned depth;
	bool orphan;
	int err = store_may_change(s, false, e);

	if (!err)
		err = store_object_get(s, id, &o, e);
	if (!err && o.parent)
		err = err_set(
		    e, ERR_STATE, "object %llu: has a parent already", (unsigned long long)id);
	o.parent = parent;
	if (!err)
		err = store_object_parent(s, id, &o, &up, e);
	if (!err)
		err = store_object_depth(s, parent, &depth, e);
	if (!err && depth >= STORE_CHAIN_MAX)
		err = err_set(e, ERR_RANGE, "object %llu: has %u levels, which are the most",
		    (unsigned long long)parent, depth);
	if (!err)
		err = store_object_link(s, parent, e);
	if (err)
		return err;
	s->incompat |= SBI_PARENTS;
	err = object_put(s, id, &o, e);
	if (err && store_object_unlink(s, parent, &orphan, NULL))
		s->dead = true;
	return err;
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
	if (x->stored_len > STORE_CHUNK || blocks != store_extent_blocks(x))
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

void store_count_extent(struct store_object_info *totals, const struct store_extent *x)
{
	totals->extents++;
	totals->raw += x->raw_len;
	totals->blocks += store_extent_blocks(x);
	totals->index_crc = store_index_crc(totals->index_crc, x);
}

int store_extent_alloc(struct store *s, struct store_extent *x, struct errmsg *e)
{
	uint32_t want = store_extent_blocks(x);
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

int store_extent_share(struct store *s, const struct store_extent *x, struct errmsg *e)
{
	int err = store_may_change(s, false, e);

	for (unsigned i = 0; !err && i < x->nruns; i++) {
		err = map_ref(s, x->runs[i].block, x->runs[i].count, e);
		if (err) {
			struct store_extent done = *x;

			done.nruns = (uint16_t)i;
			store_extent_unalloc(s, &done);
		}
	}
	return err;
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

/* Layers of disks that an object's removal made orphans: to be removed after it. */
struct orphaned {
	uint64_t id[SNAP_DISKS_MAX];
	unsigned n;
};

/* Lets go of the layer that a snapshot's disk record names, and removes the record. */
static int disk_record_remove(struct store *s, const struct store_key *key, const uint8_t *data,
    uint32_t len, struct orphaned *o, struct errmsg *e)
{
	uint64_t layer = len >= DK_NAME ? get_le64(data + DK_OVERLAY) : 0;
	bool orphan = false;
	int err = layer ? store_object_unlink(s, layer, &orphan, e) : OK;

	if (err)
		return err;
	err = tree_delete(s, key, e);
	if (err && layer) /* its count lacks one now */
		s->dead = true;
	if (!err && orphan && o->n < ARRAY_LEN(o->id)) /* else at the next opening */
		o->id[o->n++] = layer;
	return err;
}

/* Removes the first record of the object behind its REC_OBJECT; ERR_NOENT if none is left. */
static int remove_one(struct store *s, uint64_t id, struct orphaned *o, struct errmsg *e)
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
	if (key.type == REC_DISK)
		return disk_record_remove(s, &key, data, len, o, e);
	if (key.type == REC_DISK_CHUNK)
		return disk_chunk_remove(s, &key, data, len, e);
	if (key.type != REC_EXTENT)
		return tree_delete(s, &key, e);
	err = extent_decode(s, &key, data, len, &x, e);
	return err ? err : extent_remove(s, &key, &x, e);
}

/* Removes all records of the object but REC_OBJECT, in as many commits as that takes. */
static int remove_content(struct store *s, uint64_t id, struct orphaned *o, struct errmsg *e)
{
	int err;

	do {
		err = s->txn_allocs >= STORE_SLICE ? store_commit(s, e) : OK;
		if (!err)
			err = store_may_change(s, true, e);
		if (!err)
			err = remove_one(s, id, o, e);
	} while (!err);
	return err == ERR_NOENT ? OK : err;
}

/*
 * Removes the object's own record and its place among the orphans, and lets go of its parent:
 * *next is that if it has become an orphan, else 0. To be committed at once.
 */
static int remove_record(struct store *s, uint64_t id, uint64_t *next, struct errmsg *e)
{
	struct store_key okey = orphan_key(id), key = object_key(id);
	struct store_object_info o = {.parent = 0};
	const uint8_t *data;
	uint32_t len;
	bool orphan = false;
	uint64_t parent;
	int err = tree_get(s, &key, &data, &len, e);

	if (err && err != ERR_NOENT)
		return err;
	if (!err && object_decode(id, data, len, &o, NULL)) /* what cannot be read names nobody */
		o.parent = 0;
	parent = parent_of(id, &o);
	err = parent ? store_object_unlink(s, parent, &orphan, e) : OK;
	if (err)
		return err;
	*next = orphan ? parent : 0;
	err = tree_delete(s, &key, e);
	if (!err || err == ERR_NOENT)
		return tree_delete(s, &okey, e); /* an orphan without an object is harmless */
	if (parent)				 /* its count lacks one now */
		s->dead = true;
	return err;
}

/* Orphans as they are, a power cut does them no harm. */
static void await_reader(struct store *s, uint64_t id)
{
	for (unsigned i = 0; i < s->nawaited; i++)
		if (s->awaited[i] == id)
			return;
	if (s->nawaited < ARRAY_LEN(s->awaited))
		s->awaited[s->nawaited++] = id;
}

void orphans_retry(struct store *s)
{
	uint64_t ids[ARRAY_LEN(s->awaited)];
	unsigned n = s->nawaited;

	memcpy(ids, s->awaited, sizeof(ids));
	s->nawaited = 0;
	for (unsigned i = 0; i < n; i++)
		(void)store_object_delete(
		    s, ids[i], NULL); /* what is read still is awaited again */
}

/* The object and those of its parents that nothing else refers to, up to one that somebody reads.
 */
static int remove_chain(struct store *s, uint64_t id, struct orphaned *o, struct errmsg *e)
{
	uint64_t next;

	for (; id; id = next) { /* parents' numbers are smaller: it ends */
		int err;

		if (catalog_reads(s, id)) {
			await_reader(s, id);
			return OK;
		}
		err = remove_content(s, id, o, e);
		if (!err)
			err = remove_record(s, id, &next, e);
		if (!err)
			err = store_commit(s, e);
		if (err)
			return err;
	}
	return OK;
}

int store_object_delete(struct store *s, uint64_t id, struct errmsg *e)
{
	struct orphaned o = {.n = 0}, none;
	int err = remove_chain(s, id, &o, e);

	for (unsigned i = 0; !err && i < o.n; i++) {
		none.n = ARRAY_LEN(none.id); /* layers have no disk records */
		err = remove_chain(s, o.id[i], &none, e);
	}
	return err;
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
