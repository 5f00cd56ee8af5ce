/* SPDX-License-Identifier: BSD-2-Clause */
/* Layers of disks as records of the tree: one for each chunk, and the object's own over them. */
#include "hv/snapshot/disk_object.h"

#include <string.h>

#include "hv/lib/crc32c.h"
#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/store_int.h"

/* --- records ------------------------------------------------------------------------- */

static unsigned bits(uint32_t mask)
{
	unsigned n = 0;

	for (; mask; mask &= mask - 1)
		n++;
	return n;
}

static uint32_t chunk_len(const struct disk_chunk *c)
{
	return DC_BLOCKS + DC_BLOCK_BYTES * bits(c->data);
}

static void chunk_encode(const struct disk_chunk *c, uint8_t *p)
{
	put_le16(p + DC_DATA, c->data);
	put_le16(p + DC_ZERO, c->zero);
	p += DC_BLOCKS;
	for (unsigned i = 0; i < STORE_CHUNK_BLOCKS; i++) {
		if (!(c->data >> i & 1))
			continue;
		put_le64(p + DC_BLOCK, c->block[i]);
		put_le32(p + DC_CRC, c->crc[i]);
		p += DC_BLOCK_BYTES;
	}
}

static const char *chunk_fault(
    const struct store *s, const struct store_key *k, const struct disk_chunk *c)
{
	if (k->offset % STORE_CHUNK || k->offset / STORE_CHUNK >= DISK_CHUNKS_MAX)
		return "impossible offset";
	if ((c->data & c->zero) || !(c->data | c->zero))
		return "impossible masks";
	for (unsigned i = 0; i < STORE_CHUNK_BLOCKS; i++)
		if ((c->data >> i & 1) && !map_run_ok(s, c->block[i], 1))
			return "blocks outside the store";
	return NULL;
}

int disk_chunk_decode(const struct store *s, const struct store_key *k, const uint8_t *p,
    uint32_t len, struct disk_chunk *c, struct errmsg *e)
{
	const char *why = NULL;

	*c = (struct disk_chunk){.data = 0};
	if (len >= DC_BLOCKS) {
		c->data = get_le16(p + DC_DATA);
		c->zero = get_le16(p + DC_ZERO);
	}
	if (len < DC_BLOCKS || len != chunk_len(c))
		why = "record of the wrong length";
	p += DC_BLOCKS;
	for (unsigned i = 0; !why && i < STORE_CHUNK_BLOCKS; i++) {
		if (!(c->data >> i & 1))
			continue;
		c->block[i] = get_le64(p + DC_BLOCK);
		c->crc[i] = get_le32(p + DC_CRC);
		p += DC_BLOCK_BYTES;
	}
	if (!why)
		why = chunk_fault(s, k, c);
	if (why)
		return err_set(e, ERR_CORRUPT, "object %llu: disk chunk 0x%llx: %s",
		    (unsigned long long)k->object, (unsigned long long)k->offset, why);
	return OK;
}

static struct store_key chunk_key(uint64_t id, uint64_t index)
{
	return (struct store_key){id, REC_DISK_CHUNK, index * STORE_CHUNK};
}

int disk_chunk_next(
    struct store *s, uint64_t id, uint64_t *index, struct disk_chunk *out, struct errmsg *e)
{
	struct store_key key = chunk_key(id, *index);
	const uint8_t *data;
	uint32_t len;
	int err;

	if (*index >= DISK_CHUNKS_MAX)
		return ERR_NOENT;
	cache_trim(s);
	err = tree_seek(s, &key, &data, &len, e);
	if (err)
		return err;
	if (key.object != id || key.type != REC_DISK_CHUNK)
		return ERR_NOENT;
	*index = key.offset / STORE_CHUNK;
	return disk_chunk_decode(s, &key, data, len, out, e);
}

int disk_chunk_get(
    struct store *s, uint64_t id, uint64_t index, struct disk_chunk *out, struct errmsg *e)
{
	uint64_t at = index;
	int err = disk_chunk_next(s, id, &at, out, e);

	if (err == ERR_NOENT || (!err && at != index)) {
		*out = (struct disk_chunk){.data = 0};
		return OK;
	}
	return err;
}

/* --- objects ------------------------------------------------------------------------- */

int disk_object_get(struct store *s, uint64_t id, struct store_object_info *out, struct errmsg *e)
{
	int err = store_object_get(s, id, out, e);

	if (!err && out->kind != KIND_DISK)
		return err_set(
		    e, ERR_CORRUPT, "object %llu: not a layer of a disk", (unsigned long long)id);
	return err;
}

/* Gives a new object what all layers have. */
static int set_size(struct store *s, uint64_t id, uint64_t size, struct errmsg *e)
{
	struct store_object_info o = {
	    .kind = KIND_DISK, .size = ALIGN_UP(size, (uint64_t)STORE_BLOCK)};

	s->incompat |= SBI_DISKS;
	return store_object_set(s, id, &o, e);
}

int disk_object_create(
    struct store *s, uint64_t parent, uint64_t size, uint64_t *id, struct errmsg *e)
{
	int err;

	s->next_object++; /* see disk_object_create_below() */
	err = store_object_create(s, KIND_DISK, id, e);
	if (!err)
		err = set_size(s, *id, size, e);
	if (!err && parent)
		err = store_object_set_parent(s, *id, parent, e);
	return err;
}

int disk_object_create_below(
    struct store *s, uint64_t child, uint64_t size, uint64_t *id, struct errmsg *e)
{
	struct store_object_info o;
	uint64_t after = s->next_object;
	int err;

	*id = child - 1;
	if (child <= OBJ_FIRST)
		return err_set(e, ERR_EXIST, "object %llu: no number is free before it",
		    (unsigned long long)child);
	err = store_object_get(s, *id, &o, NULL);
	if (err != ERR_NOENT)
		return err_set(e, err ? err : ERR_EXIST, "object %llu: there already",
		    (unsigned long long)*id);
	/* the next number that is given out, once */
	s->next_object = *id;
	err = store_object_create(s, KIND_DISK, id, e);
	s->next_object = after;
	return err ? err : set_size(s, *id, size, e);
}

/* --- changes ------------------------------------------------------------------------- */

/* The blocks of old that c does not name in the same place. */
static uint16_t blocks_lost(const struct disk_chunk *old, const struct disk_chunk *c)
{
	uint16_t lost = 0;

	for (unsigned i = 0; i < STORE_CHUNK_BLOCKS; i++)
		if ((old->data >> i & 1) && !((c->data >> i & 1) && c->block[i] == old->block[i]))
			lost |= (uint16_t)(1u << i);
	return lost;
}

static int put_record(struct store *s, const struct store_key *key, const struct disk_chunk *old,
    const struct disk_chunk *c, struct errmsg *e)
{
	uint8_t rec[DC_BLOCKS + STORE_CHUNK_BLOCKS * DC_BLOCK_BYTES] = {0};
	bool was = old->data | old->zero, is = c->data | c->zero;
	int err = OK;

	chunk_encode(c, rec);
	if (was && is && chunk_len(old) == chunk_len(c))
		return tree_update(s, key, rec, chunk_len(c), e);
	if (was)
		err = tree_delete(s, key, e);
	return err || !is ? err : tree_insert(s, key, rec, chunk_len(c), e);
}

static void count_chunk(struct store_object_info *o, const struct disk_chunk *c, uint64_t sign)
{
	if (!(c->data | c->zero))
		return;
	o->extents += sign;
	o->raw += sign * STORE_BLOCK * bits(c->data | c->zero);
	o->blocks += sign * bits(c->data);
}

int disk_chunk_set(
    struct store *s, uint64_t id, uint64_t index, const struct disk_chunk *c, struct errmsg *e)
{
	struct store_key key = chunk_key(id, index);
	struct store_object_info o;
	struct disk_chunk old;
	uint16_t lost;
	int err = store_may_change(s, true, e); /* who writes has made room before */

	if (!err)
		err = disk_object_get(s, id, &o, e);
	if (!err)
		err = disk_chunk_get(s, id, index, &old, e);
	if (err)
		return err;
	/* what can fail comes first: from the record on, all changes or the store is closed */
	lost = blocks_lost(&old, c);
	for (unsigned i = 0; !err && i < STORE_CHUNK_BLOCKS; i++)
		if (lost >> i & 1)
			err = map_prepare_unref(s, old.block[i], 1, e);
	if (err)
		return err;
	count_chunk(&o, &old, UINT64_MAX);
	count_chunk(&o, c, 1);
	err = put_record(s, &key, &old, c, e);
	if (!err)
		err = object_put(s, id, &o, e);
	for (unsigned i = 0; !err && i < STORE_CHUNK_BLOCKS; i++)
		if (lost >> i & 1)
			err = map_unref(s, old.block[i], 1, e);
	if (err)
		s->dead = true;
	return err;
}

int disk_chunk_remove(struct store *s, const struct store_key *key, const uint8_t *data,
    uint32_t len, struct errmsg *e)
{
	struct disk_chunk old;
	int err = disk_chunk_decode(s, key, data, len, &old, e);

	for (unsigned i = 0; !err && i < STORE_CHUNK_BLOCKS; i++)
		if (old.data >> i & 1)
			err = map_prepare_unref(s, old.block[i], 1, e);
	if (!err)
		err = tree_delete(s, key, e);
	for (unsigned i = 0; !err && i < STORE_CHUNK_BLOCKS; i++) {
		if (!(old.data >> i & 1))
			continue;
		err = map_unref(s, old.block[i], 1, e);
		if (err)
			s->dead = true;
	}
	return err;
}

/* --- verifying ----------------------------------------------------------------------- */

static int verify_chunk(struct store *s, uint64_t id, uint64_t index, const struct disk_chunk *c,
    uint8_t *buf, struct errmsg *e)
{
	for (unsigned i = 0; i < STORE_CHUNK_BLOCKS; i++) {
		int err;

		if (!(c->data >> i & 1))
			continue;
		err = store_read_blocks(s, c->block[i], buf, 1, e);
		if (err)
			return err;
		if (crc32c(0, buf, STORE_BLOCK) != c->crc[i])
			return err_set(e, ERR_CORRUPT,
			    "object %llu: offset %llu: checksum wrong (block %llu)",
			    (unsigned long long)id,
			    (unsigned long long)index * STORE_CHUNK + i * STORE_BLOCK,
			    (unsigned long long)c->block[i]);
	}
	return OK;
}

static int verify_layer(struct store *s, uint64_t id, uint8_t *buf, struct errmsg *e)
{
	struct disk_chunk c;
	uint64_t index = 0;
	int err;

	while ((err = disk_chunk_next(s, id, &index, &c, e)) == OK) {
		err = verify_chunk(s, id, index++, &c, buf, e);
		if (err)
			return err;
	}
	return err == ERR_NOENT ? OK : err;
}

int disk_object_verify(struct store *s, uint64_t id, struct errmsg *e)
{
	uint8_t *buf = heap_alloc(STORE_BLOCK);
	struct store_object_info o, up;
	int err = buf ? disk_object_get(s, id, &o, e) : err_set(e, ERR_NOMEM, "out of memory");

	for (unsigned n = 0; !err && n < STORE_CHAIN_MAX; n++) { /* numbers fall: it ends */
		err = verify_layer(s, id, buf, e);
		if (!err)
			err = store_object_parent(s, id, &o, &up, e);
		id = o.parent;
		o = up;
		if (err == ERR_NOENT) {
			err = OK;
			break;
		}
	}
	heap_free(buf);
	return err;
}

/* --- room ---------------------------------------------------------------------------- */

/* For each chunk the paths to two records, and what dividing full nodes on one takes. */
static uint64_t nodes_for(const struct store *s, uint64_t chunks)
{
	return chunks * 3 * (s->root_level + 2);
}

int disk_make_room(struct store *s, uint64_t blocks, uint64_t chunks, struct errmsg *e)
{
	uint64_t need = blocks + nodes_for(s, chunks) + (blocks ? STORE_RESERVE : STORE_SLICE);
	int err = OK;

	if (map_available(s) < need && s->map_root.free >= need && s->pending_free)
		err = store_commit(s, e);
	if (!err && map_available(s) >= need)
		return store_may_change(s, blocks == 0, e);
	if (err)
		return err;
	return err_set(e, ERR_NOSPACE, "store full: %llu KiB of %llu MiB free",
	    (unsigned long long)(map_available(s) * STORE_BLOCK / 1024),
	    (unsigned long long)(s->nblocks * STORE_BLOCK / MIB));
}

void store_give_up(struct store *s)
{
	s->dead = true;
}
