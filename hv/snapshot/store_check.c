/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Checks a whole store: the tree's records against each other, and the reference map against
 * the tree. References are counted for one window of blocks at a time, so that a store of any
 * size is checked in the same memory, in as many walks as there are windows.
 */
#include <string.h>

#include "hv/mm/mm.h"
#include "hv/lib/fmt.h"
#include "hv/snapshot/disk_object.h"
#include "hv/snapshot/snap_int.h"
#include "hv/snapshot/vdisk.h"

enum { WINDOW_GROUPS = 128 }; /* a quarter of a million blocks: 504 KiB of counts */

struct check {
	struct store *s;
	struct store_check_result *res;
	bool (*progress)(void *ctx);
	void *ctx;
	unsigned ticks;
	/* the window */
	uint64_t first, end; /* blocks */
	uint16_t *refs;
	bool records; /* the first walk checks the records too */
	/* the object whose records are passing */
	uint64_t object;
	struct store_object_info info, seen;
	uint64_t extent_end;
	bool has_object, orphan;
	uint64_t refs_made; /* references to objects: the sum over them of id_mix(), less what the
			       objects' records say */
};

static int count_refs(struct check *c, uint64_t block, uint64_t count, struct errmsg *e)
{
	for (uint64_t b = MAX(block, c->first); b < MIN(block + count, c->end); b++)
		if (c->refs[b - c->first]++ == MAP_COUNT_MAX)
			return err_set(e, ERR_CORRUPT, "store: block %llu: too many references",
			    (unsigned long long)b);
	return OK;
}

static int tick(struct check *c, struct errmsg *e)
{
	if (c->progress && c->ticks++ % 64 == 0 && !c->progress(c->ctx))
		return err_set(e, ERR_CANCELLED, "cancelled");
	return OK;
}

static int on_node(void *ctx, uint64_t block, struct errmsg *e)
{
	struct check *c = ctx;
	int err = tick(c, e);

	if (c->records)
		c->res->meta_blocks++;
	return err ? err : count_refs(c, block, 1, e);
}

/* --- records ------------------------------------------------------------------------- */

/* The object that just passed: its totals, if it is complete, and that somebody knows of it. */
static int object_done(struct check *c, struct errmsg *e)
{
	const struct store_object_info *a = &c->info, *b = &c->seen;

	if (!c->has_object)
		return OK;
	c->has_object = false;
	/* the totals of a layer of a disk are always those of its records */
	if (((a->flags & OBJ_COMPLETE) || a->kind == KIND_DISK) && !c->orphan &&
	    (a->extents != b->extents || a->raw != b->raw || a->blocks != b->blocks ||
		a->index_crc != b->index_crc || a->size < c->extent_end))
		return err_set(e, ERR_CORRUPT, "object %llu: extents and record disagree",
		    (unsigned long long)c->object);
	if (!c->orphan && a->links == 0)
		return err_set(e, ERR_CORRUPT, "object %llu: nobody refers to it",
		    (unsigned long long)c->object);
	return OK;
}

/*
 * Sums of these stand for the references to all objects at once: a count that is wrong shows, and
 * two do not make up for each other but by chance, one in 2^64.
 */
static uint64_t id_mix(uint64_t id)
{
	id = (id ^ id >> 32) * 0x9e3779b97f4a7c15ULL;
	id = (id ^ id >> 29) * 0xbf58476d1ce4e5b9ULL;
	return (id ^ id >> 32) | 1;
}

/* The parent of the object that begins to pass: there, of its kind, not too far up, no orphan. */
static int check_parent(struct check *c, struct errmsg *e)
{
	struct store_object_info up;
	bool orphan = false;
	unsigned depth;
	int err = store_object_parent(c->s, c->object, &c->info, &up, e);

	if (err == ERR_NOENT)
		return OK;
	c->refs_made += id_mix(c->info.parent); /* an orphan's too, until it has gone */
	if (!err)
		err = store_object_depth(c->s, c->object, &depth, e);
	if (!err)
		err = object_is_orphan(c->s, c->info.parent, &orphan, e);
	if (err)
		return err;
	if (c->info.kind == KIND_STATE)
		return err_set(e, ERR_CORRUPT, "object %llu: has a parent, being a state tree",
		    (unsigned long long)c->object);
	if (!(c->s->incompat & SBI_PARENTS))
		return err_set(e, ERR_CORRUPT, "object %llu: has a parent, in a store without",
		    (unsigned long long)c->object);
	if (orphan || (c->info.kind == KIND_RAM && !(up.flags & OBJ_COMPLETE)))
		return err_set(e, ERR_CORRUPT, "object %llu: parent, object %llu, not complete",
		    (unsigned long long)c->object, (unsigned long long)c->info.parent);
	return OK;
}

static int on_object(
    struct check *c, const struct store_key *k, const uint8_t *data, uint32_t len, struct errmsg *e)
{
	int err;

	if (k->offset)
		return err_set(
		    e, ERR_CORRUPT, "object %llu: second record", (unsigned long long)k->object);
	if (k->object >= c->s->next_object)
		return err_set(e, ERR_CORRUPT, "object %llu: number not given out yet",
		    (unsigned long long)k->object);
	c->res->objects++;
	c->object = k->object;
	c->has_object = true;
	c->seen = (struct store_object_info){0};
	c->extent_end = 0;
	err = object_decode(k->object, data, len, &c->info, e);
	if (!err)
		err = object_is_orphan(c->s, k->object, &c->orphan, e);
	if (!err && !c->orphan)
		c->refs_made -= c->info.links * id_mix(k->object);
	return err ? err : check_parent(c, e);
}

static int on_extent(
    struct check *c, const struct store_key *k, const uint8_t *data, uint32_t len, struct errmsg *e)
{
	struct store_extent x;
	int err = extent_decode(c->s, k, data, len, &x, e);

	for (unsigned i = 0; !err && i < x.nruns; i++)
		err = count_refs(c, x.runs[i].block, x.runs[i].count, e);
	if (err || !c->records)
		return err;
	if (!c->has_object || c->object != k->object)
		return err_set(e, ERR_CORRUPT, "object %llu: extents without a record",
		    (unsigned long long)k->object);
	if (x.offset < c->extent_end)
		return err_set(e, ERR_CORRUPT, "object %llu: extent 0x%llx: overlaps",
		    (unsigned long long)k->object, (unsigned long long)x.offset);
	c->extent_end = x.offset + x.raw_len;
	store_count_extent(&c->seen, &x);
	c->res->extents++;
	return OK;
}

/* What a layer of a disk holds of a chunk. */
static int on_disk_chunk(
    struct check *c, const struct store_key *k, const uint8_t *data, uint32_t len, struct errmsg *e)
{
	struct disk_chunk x;
	int err = disk_chunk_decode(c->s, k, data, len, &x, e);

	for (unsigned i = 0; !err && i < STORE_CHUNK_BLOCKS; i++)
		if (x.data >> i & 1)
			err = count_refs(c, x.block[i], 1, e);
	if (err || !c->records)
		return err;
	if (!c->has_object || c->object != k->object || c->info.kind != KIND_DISK)
		return err_set(e, ERR_CORRUPT, "object %llu: chunks of a disk that is none",
		    (unsigned long long)k->object);
	for (unsigned i = 0; i < STORE_CHUNK_BLOCKS; i++) {
		bool has = x.data >> i & 1;

		if (!has && !(x.zero >> i & 1))
			continue;
		c->extent_end = k->offset + (i + 1) * STORE_BLOCK;
		c->seen.raw += STORE_BLOCK;
		c->seen.blocks += has;
	}
	c->seen.extents++;
	c->res->extents++;
	return OK;
}

/* An object that something other than a snapshot's record names: there, a layer, and no orphan. */
static int check_layer(struct check *c, const char *what, uint64_t id, struct errmsg *e)
{
	struct store_object_info o = {.kind = 0};
	bool orphan = false;
	int err = id < OBJ_FIRST ? ERR_NOENT : store_object_get(c->s, id, &o, NULL);

	if (!err)
		err = object_is_orphan(c->s, id, &orphan, e);
	if (err && err != ERR_NOENT)
		return err;
	if (err || orphan || o.kind != KIND_DISK)
		return err_set(e, ERR_CORRUPT, "%s: object %llu: missing or wrong", what,
		    (unsigned long long)id);
	c->refs_made += id_mix(id);
	return OK;
}

static int on_vdisk(struct check *c, const uint8_t *data, uint32_t len, struct errmsg *e)
{
	struct vdisk v;
	char what[VDISK_NAME_MAX + 16];
	int err = vdisk_decode(data, len, &v, e);

	if (err)
		return err;
	str_format(what, sizeof(what), "disk '%s'", v.name);
	return check_layer(c, what, v.top, e);
}

/* A disk of a snapshot. */
static int on_disk(
    struct check *c, const struct store_key *k, const uint8_t *data, struct errmsg *e)
{
	uint64_t layer = get_le64(data + DK_OVERLAY);
	char what[48];

	if (!layer)
		return OK;
	str_format(what, sizeof(what), "object %llu: disk %llu", (unsigned long long)k->object,
	    (unsigned long long)k->offset);
	return check_layer(c, what, layer, e);
}

/* A snapshot's objects: there, complete, of the right kind, and not orphans. */
static int on_snapshot(struct check *c, const uint8_t *data, uint32_t len, struct errmsg *e)
{
	struct snap_info info;
	struct store_object_info o;
	int err = catalog_decode(data, len, &info, e);

	if (err)
		return err;
	c->res->snapshots++;
	c->refs_made += id_mix(info.state_object) + id_mix(info.ram_object);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t id = i ? info.ram_object : info.state_object;
		struct store_key k = {id, REC_OBJECT, 0};
		bool orphan = false;

		err = id < OBJ_FIRST ? ERR_NOENT : tree_get(c->s, &k, &data, &len, e);
		if (!err)
			err = object_decode(id, data, len, &o, e);
		if (!err)
			err = object_is_orphan(c->s, id, &orphan, e);
		if (err && err != ERR_NOENT)
			return err;
		if (err || orphan || o.kind != (i ? KIND_RAM : KIND_STATE) ||
		    !(o.flags & OBJ_COMPLETE))
			return err_set(e, ERR_CORRUPT,
			    "snapshot '%s': object %llu: missing or wrong", info.name,
			    (unsigned long long)id);
	}
	return OK;
}

static int on_item(
    void *ctx, const struct store_key *k, const uint8_t *data, uint32_t len, struct errmsg *e)
{
	struct check *c = ctx;
	int err;

	if (k->type == REC_EXTENT && k->object >= OBJ_FIRST)
		return on_extent(c, k, data, len, e);
	if (k->type == REC_DISK_CHUNK && k->object >= OBJ_FIRST)
		return on_disk_chunk(c, k, data, len, e);
	if (!c->records)
		return OK;
	if (k->object != c->object) {
		err = object_done(c, e);
		if (err)
			return err;
	}
	if (k->object == OBJ_CATALOG && k->type == REC_SNAPSHOT)
		return on_snapshot(c, data, len, e);
	if (k->object == OBJ_ORPHANS && k->type == REC_ORPHAN && len == 0) {
		c->res->orphans++;
		return OK;
	}
	if (k->object == OBJ_EPOCHS && k->type == REC_EPOCH && len == EP_BYTES)
		return OK;
	if (k->object >= OBJ_FIRST && k->type == REC_OBJECT)
		return on_object(c, k, data, len, e);
	if (k->object >= OBJ_FIRST && k->type == REC_DISK && len >= DK_NAME)
		return on_disk(c, k, data, e);
	if (k->object == OBJ_DISKS && k->type == REC_VDISK)
		return on_vdisk(c, data, len, e);
	if (k->type >= REC_OPTIONAL)
		return OK;
	return err_set(e, ERR_CORRUPT, "store: record of unknown type %u in object %llu", k->type,
	    (unsigned long long)k->object);
}

/* --- which reference is wrong ------------------------------------------------------- */

/* A sum as refs_made, over the objects with numbers from lo to below hi. */
struct blame {
	struct store *s;
	uint64_t lo, hi, sum;
	uint64_t made, recorded; /* plain counts, of use when only one is left */
};

static void blame_ref(struct blame *b, uint64_t id)
{
	if (id < b->lo || id >= b->hi)
		return;
	b->sum += id_mix(id);
	b->made++;
}

static int blame_item(
    void *ctx, const struct store_key *k, const uint8_t *data, uint32_t len, struct errmsg *e)
{
	struct blame *b = ctx;
	struct store_object_info o;
	struct snap_info info;
	bool orphan = false;
	int err = OK;

	if (k->object == OBJ_CATALOG && k->type == REC_SNAPSHOT) {
		err = catalog_decode(data, len, &info, e);
		if (err)
			return err;
		blame_ref(b, info.state_object);
		blame_ref(b, info.ram_object);
	} else if (k->object >= OBJ_FIRST && k->type == REC_OBJECT) {
		err = object_decode(k->object, data, len, &o, e);
		if (!err)
			err = object_is_orphan(b->s, k->object, &orphan, e);
		if (err)
			return err;
		if (o.parent)
			blame_ref(b, o.parent);
		if (!orphan && k->object >= b->lo && k->object < b->hi) {
			b->sum -= o.links * id_mix(k->object);
			b->recorded += o.links;
		}
	}
	return err;
}

/* The sums are wrong: halves the objects until one is left that is. A walk for each halving. */
static int blame_object(struct store *s, struct errmsg *e)
{
	struct blame b = {.s = s};
	const struct tree_visitor v = {.item = blame_item, .ctx = &b};
	uint64_t lo = 0, hi = s->next_object;

	for (bool last = false; !last;) {
		uint64_t mid = lo + (hi - lo + 1) / 2;
		int err;

		last = hi - lo == 1;
		b = (struct blame){.s = s, .lo = lo, .hi = mid};
		err = tree_walk(s, &v, e);
		if (err)
			return err;
		if (b.sum)
			hi = mid;
		else
			lo = mid;
	}
	return err_set(e, ERR_CORRUPT, "object %llu: %llu references, its record says %llu",
	    (unsigned long long)b.lo, (unsigned long long)b.made, (unsigned long long)b.recorded);
}

/* --- the map ------------------------------------------------------------------------- */

static int check_group(struct check *c, uint64_t group, struct errmsg *e)
{
	uint64_t first = map_group_first(group);
	uint32_t fixed = map_group_fixed(group), blocks = map_group_blocks(c->s, group);
	const uint8_t *counts;
	int err = tick(c, e);

	cache_trim(c->s);
	if (!err)
		err = map_group(c->s, group, &counts, e);
	for (uint32_t i = 0; !err && i < blocks; i++) {
		uint16_t have = get_le16(counts + 2 * i),
			 want = i < fixed ? 1 : c->refs[first + i - c->first];

		if (have != want)
			return err_set(e, ERR_CORRUPT,
			    "store: block %llu: %u references, the map says %u",
			    (unsigned long long)first + i, want, have);
		if (i >= fixed && want) {
			c->res->data_blocks++;
			c->res->shared_blocks += want - 1u;
		}
		c->res->free_blocks += want == 0;
	}
	return err;
}

static int check_window(struct check *c, uint64_t group, struct errmsg *e)
{
	const struct tree_visitor v = {.node = on_node, .item = on_item, .ctx = c};
	uint64_t last = MIN(group + WINDOW_GROUPS, c->s->ngroups);
	int err;

	c->first = map_group_first(group);
	c->end = map_group_first(last);
	memset(c->refs, 0, (c->end - c->first) * sizeof(*c->refs));
	err = tree_walk(c->s, &v, e);
	if (!err && c->records)
		err = object_done(c, e);
	if (!err && c->records && c->refs_made)
		err = blame_object(c->s, e);
	c->records = false;
	for (; !err && group < last; group++)
		err = check_group(c, group, e);
	return err;
}

int store_check(struct store *s, struct store_check_result *out, bool (*progress)(void *ctx),
    void *ctx, struct errmsg *e)
{
	uint64_t window = MIN((uint64_t)WINDOW_GROUPS, s->ngroups) * MAP_LEAF_COUNTS;
	struct check c = {.s = s, .res = out, .progress = progress, .ctx = ctx, .records = true};
	int err = OK;

	*out = (struct store_check_result){0};
	if (s->changed)
		return err_set(e, ERR_STATE, "store: has changes that are not committed");
	cache_drop_clean(s);
	c.refs = heap_alloc(window * sizeof(*c.refs));
	if (!c.refs)
		return err_set(e, ERR_NOMEM, "out of memory");
	for (uint64_t g = 0; !err && g < s->ngroups; g += WINDOW_GROUPS)
		err = check_window(&c, g, e);
	heap_free(c.refs);
	out->data_blocks -= MIN(out->data_blocks, out->meta_blocks);
	if (!err && out->free_blocks != s->map_root.free)
		err =
		    err_set(e, ERR_CORRUPT, "store: %llu blocks are free, the superblock says %llu",
			(unsigned long long)out->free_blocks, (unsigned long long)s->map_root.free);
	return err;
}
