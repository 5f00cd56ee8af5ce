/* SPDX-License-Identifier: BSD-2-Clause */
/* The store as a whole: its superblocks, formatting, opening, commits; disk write epochs. */
#include "hv/snapshot/store.h"

#include <string.h>

#include "hv/lib/crc32c.h"
#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/content_index.h"
#include "hv/snapshot/store_int.h"

/* --- I/O ----------------------------------------------------------------------------- */

static int io_error(int err, const char *what, uint64_t block, struct errmsg *e)
{
	return err_set(e, err, "store: %s block %llu (sector %llu): %s", what,
	    (unsigned long long)block, (unsigned long long)block * (STORE_BLOCK / 512),
	    error_text(err));
}

int store_read_blocks(struct store *s, uint64_t block, void *buf, uint32_t n, struct errmsg *e)
{
	int err = s->io.read(s->io.ctx, block, buf, n);

	return err ? io_error(err, "reading", block, e) : OK;
}

int store_write_blocks(
    struct store *s, uint64_t block, const void *buf, uint32_t n, struct errmsg *e)
{
	int err = s->io.write(s->io.ctx, block, buf, n);

	return err ? io_error(err, "writing", block, e) : OK;
}

void store_submit(struct store *s, struct store_req *r)
{
	if (s->io.submit)
		s->io.submit(s->io.ctx, r);
	else if (r->write)
		r->status = s->io.write(s->io.ctx, r->block, r->buf, r->nblocks);
	else
		r->status = s->io.read(s->io.ctx, r->block, r->buf, r->nblocks);
}

int store_wait(struct store *s, struct store_req *r, struct errmsg *e)
{
	int err = s->io.submit ? s->io.wait(s->io.ctx, r) : r->status;

	return err ? io_error(err, r->write ? "writing" : "reading", r->block, e) : OK;
}

static int store_flush(struct store *s, struct errmsg *e)
{
	int err = s->io.flush(s->io.ctx);

	return err ? err_set(e, err, "store: flushing: %s", error_text(err)) : OK;
}

/* --- superblocks --------------------------------------------------------------------- */

static void super_encode(const struct store *s, uint8_t *p)
{
	memset(p, 0, STORE_BLOCK);
	memcpy(p + SB_MAGIC, SB_MAGIC_TEXT, 8);
	put_le32(p + SB_VERSION, STORE_VERSION);
	put_le32(p + SB_BLOCK_SIZE, STORE_BLOCK);
	put_le64(p + SB_INCOMPAT, s->incompat);
	memcpy(p + SB_UUID, s->uuid, 16);
	put_le64(p + SB_NBLOCKS, s->nblocks);
	put_le64(p + SB_GENERATION, s->txn_gen);
	put_le64(p + SB_NEXT_OBJECT, s->next_object);
	put_le64(p + SB_FREE, s->map_root.free);
	put_le64(p + SB_TREE_PTR + PTR_BLOCK, s->root.block);
	put_le64(p + SB_TREE_PTR + PTR_GENERATION, s->root.gen);
	put_le32(p + SB_TREE_PTR + PTR_CRC, s->root.crc);
	put_le32(p + SB_TREE_LEVEL, s->root_level);
	put_le32(p + SB_MAP_LEVEL, s->map_level);
	put_le64(p + SB_MAP_GEN, s->map_root.gen);
	put_le32(p + SB_MAP_CRC, s->map_root.crc);
	put_le32(p + SB_MAP_SLOT, s->map_root.slot);
	put_le32(p + SB_CRC, crc32c(0, p, SB_CRC));
}

static bool super_has_magic(const uint8_t *p)
{
	return memcmp(p + SB_MAGIC, SB_MAGIC_TEXT, 8) == 0;
}

static bool super_valid(const uint8_t *p, unsigned slot)
{
	return super_has_magic(p) && get_le32(p + SB_CRC) == crc32c(0, p, SB_CRC) &&
	       get_le64(p + SB_GENERATION) % 2 == slot;
}

/* What the figures must be for the rest to be read safely. */
static const char *super_fault(struct store *s)
{
	if (s->nblocks < STORE_MIN_BLOCKS || s->nblocks > STORE_BLOCKS_MAX)
		return "impossible size";
	if (s->generation == 0 || s->generation > UINT64_MAX / 2)
		return "impossible generation";
	if (s->next_object < OBJ_FIRST || s->next_object > UINT64_MAX / 2)
		return "impossible object number";
	if (!map_run_ok(s, s->root.block, 1) || s->root.gen == 0 || s->root.gen > s->generation ||
	    s->root_level >= STORE_TREE_LEVELS)
		return "impossible root";
	if (s->map_root.gen == 0 || s->map_root.gen > s->generation || s->map_root.slot > 1 ||
	    s->map_root.free > map_initial_free(s))
		return "impossible reference map";
	return NULL;
}

/* From a superblock whose CRC is right; the values may lie all the same (I3). */
static int super_decode(struct store *s, const uint8_t *p, struct errmsg *e)
{
	uint32_t version = get_le32(p + SB_VERSION), level = get_le32(p + SB_MAP_LEVEL);
	uint64_t incompat = get_le64(p + SB_INCOMPAT), ro_compat = get_le64(p + SB_RO_COMPAT);
	const char *why;

	if (version != STORE_VERSION || incompat & ~(uint64_t)SBI_KNOWN)
		return err_set(e, ERR_UNSUPPORTED,
		    "store: format version %u, features 0x%llx: made by a newer release", version,
		    (unsigned long long)(incompat & ~(uint64_t)SBI_KNOWN));
	s->incompat = incompat;
	if (ro_compat) {
		s->writable = false;
		str_format(s->note, sizeof(s->note),
		    "features 0x%llx are of a newer release: opened for reading only",
		    (unsigned long long)ro_compat);
	}
	memcpy(s->uuid, p + SB_UUID, 16);
	s->nblocks = get_le64(p + SB_NBLOCKS);
	s->generation = get_le64(p + SB_GENERATION);
	s->txn_gen = s->generation + 1;
	s->next_object = get_le64(p + SB_NEXT_OBJECT);
	s->root = (struct store_ptr){.block = get_le64(p + SB_TREE_PTR + PTR_BLOCK),
	    .gen = get_le64(p + SB_TREE_PTR + PTR_GENERATION),
	    .crc = get_le32(p + SB_TREE_PTR + PTR_CRC)};
	s->root_level = get_le32(p + SB_TREE_LEVEL);
	s->map_root = (struct store_map_ptr){.gen = get_le64(p + SB_MAP_GEN),
	    .free = get_le64(p + SB_FREE),
	    .crc = get_le32(p + SB_MAP_CRC),
	    .slot = get_le32(p + SB_MAP_SLOT)};
	if (s->nblocks > STORE_HEAD_BLOCKS && s->nblocks <= STORE_BLOCKS_MAX)
		map_geometry(s);
	why = super_fault(s);
	if (!why && (get_le32(p + SB_BLOCK_SIZE) != STORE_BLOCK || level != s->map_level))
		why = "impossible geometry";
	if (why)
		return err_set(e, ERR_CORRUPT, "store: superblock: %s", why);
	if (s->nblocks > s->io.nblocks)
		return err_set(e, ERR_CORRUPT, "store: truncated: %llu of %llu blocks are there",
		    (unsigned long long)s->io.nblocks, (unsigned long long)s->nblocks);
	return OK;
}

/* --- formatting, opening, closing ---------------------------------------------------- */

static struct store *store_new(const struct store_io *io)
{
	struct store *s = heap_zalloc(sizeof(*s));

	if (s) {
		s->io = *io;
		list_init(&s->open_snaps);
		cache_init(s);
	}
	return s;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	(void)meta_wait(s, NULL);
	content_index_free(s);
	cache_free(s);
	heap_free(s);
}

/* Neither an old superblock nor half of a new store may be found after a power cut. */
static int wipe_supers(struct store *s, struct errmsg *e)
{
	uint8_t *zero = heap_zalloc(STORE_BLOCK);
	int err;

	if (!zero)
		return err_set(e, ERR_NOMEM, "store: out of memory");
	err = store_write_blocks(s, 0, zero, 1, e);
	if (!err)
		err = store_write_blocks(s, 1, zero, 1, e);
	heap_free(zero);
	return err ? err : store_flush(s, e);
}

int store_format(const struct store_io *io, const uint8_t uuid[16], struct errmsg *e)
{
	struct store *s;
	int err;

	if (io->nblocks < STORE_MIN_BLOCKS)
		return err_set(e, ERR_NOSPACE, "store: %llu KiB are too few, %u are needed",
		    (unsigned long long)io->nblocks * (STORE_BLOCK / 1024),
		    STORE_MIN_BLOCKS * (STORE_BLOCK / 1024));
	s = store_new(io);
	if (!s)
		return err_set(e, ERR_NOMEM, "store: out of memory");
	s->writable = true;
	memcpy(s->uuid, uuid, 16);
	s->nblocks = MIN(io->nblocks, STORE_BLOCKS_MAX);
	s->next_object = OBJ_FIRST;
	s->txn_gen = 1;
	map_geometry(s);
	s->map_root = (struct store_map_ptr){.free = map_initial_free(s), .slot = 1};
	err = wipe_supers(s, e);
	if (!err)
		err = tree_create(s, e);
	if (!err)
		err = store_commit(s, e);
	store_close(s);
	return err;
}

/* Chooses the newer of the two superblocks that is whole; buf holds both. */
static int super_choose(struct store *s, uint8_t *buf, const uint8_t **chosen, struct errmsg *e)
{
	const uint8_t *p[2] = {buf, buf + STORE_BLOCK};
	bool ok[2];
	unsigned newer;
	int err = store_read_blocks(s, 0, buf, 2, e);

	if (err)
		return err;
	for (unsigned i = 0; i < 2; i++) {
		ok[i] = super_valid(p[i], i);
		if (!ok[i] && super_has_magic(p[i]))
			str_format(s->note, sizeof(s->note),
			    "superblock %u is damaged; the other is used", i);
	}
	if (!ok[0] && !ok[1]) {
		if (super_has_magic(p[0]) || super_has_magic(p[1]))
			return err_set(e, ERR_CORRUPT, "store: no superblock is whole");
		return err_set(e, ERR_NOENT, "store: not formatted");
	}
	newer =
	    ok[1] && (!ok[0] || get_le64(p[1] + SB_GENERATION) > get_le64(p[0] + SB_GENERATION));
	*chosen = p[newer];
	return OK;
}

int store_open(const struct store_io *io, bool writable, struct store **out, struct errmsg *e)
{
	struct store *s = store_new(io);
	uint8_t *buf = heap_alloc(2 * STORE_BLOCK);
	const uint8_t *super = NULL;
	int err = OK;

	*out = NULL;
	if (!s || !buf)
		err = err_set(e, ERR_NOMEM, "store: out of memory");
	else if (io->nblocks < 2)
		err = err_set(e, ERR_NOENT, "store: not formatted");
	else if (writable && io->read_only)
		err = err_set(e, ERR_UNSUPPORTED, "store: the device is read-only");
	if (!err) {
		s->writable = writable;
		err = super_choose(s, buf, &super, e);
	}
	if (!err)
		err = super_decode(s, super, e);
	heap_free(buf);
	if (err) {
		store_close(s);
		return err;
	}
	s->opened_at = s->generation; /* removing orphans commits */
	if (s->writable && orphans_remove(s) && !s->note[0])
		str_copy(s->note, sizeof(s->note),
		    "remains of an interrupted operation could not be removed");
	*out = s;
	return OK;
}

void store_stat(const struct store *s, struct store_stat *out)
{
	*out = (struct store_stat){
	    .version = STORE_VERSION,
	    .generation = s->generation,
	    .nblocks = s->nblocks,
	    .free = map_available(s),
	    .reserved = STORE_RESERVE,
	    .writable = s->writable && !s->dead,
	};
	memcpy(out->uuid, s->uuid, 16);
	str_copy(out->note, sizeof(out->note), s->note);
}

/* --- changes ------------------------------------------------------------------------- */

int store_may_change(struct store *s, bool deleting, struct errmsg *e)
{
	cache_trim(s);
	if (s->dead)
		return err_set(
		    e, ERR_STATE, "store: closed to changes after an error; open it anew");
	if (!s->writable)
		return err_set(e, ERR_STATE, "store: opened for reading only");
	if (map_available(s) < (deleting ? STORE_SLICE : STORE_RESERVE - STORE_SLICE))
		return err_set(e, ERR_NOSPACE, "store: full");
	return OK;
}

int store_commit(struct store *s, struct errmsg *e)
{
	uint8_t *super;
	int err, waited;

	if (s->dead)
		return err_set(
		    e, ERR_STATE, "store: closed to changes after an error; open it anew");
	if (!s->changed)
		return OK;
	super = heap_alloc(STORE_BLOCK);
	if (!super)
		return err_set(e, ERR_NOMEM, "store: out of memory");
	err = tree_flush(s, e);
	if (!err)
		err = map_flush(s, e);
	waited = meta_wait(s, err ? NULL : e);
	if (!err)
		err = waited;
	if (!err)
		err = store_flush(s, e);
	if (err) {
		heap_free(super);
		return err;
	}
	/* From here on the medium may hold either generation: only success tells which. */
	super_encode(s, super);
	err = store_write_blocks(s, s->txn_gen % 2, super, 1, e);
	if (!err)
		err = store_flush(s, e);
	heap_free(super);
	if (err) {
		s->dead = true;
		return err;
	}
	map_committed(s);
	s->generation = s->txn_gen++;
	s->txn_allocs = 0;
	s->changed = false;
	cache_trim(s);
	return OK;
}

/*
 * The last commit knows nothing of the new blocks, and the map's nodes that change have another
 * place each: until the superblock is through, the store is as large as it was.
 */
int store_grow(struct store *s, uint64_t *added, struct errmsg *e)
{
	uint64_t nblocks = MIN(s->io.nblocks, STORE_BLOCKS_MAX);
	int err = store_may_change(s, true, e);

	*added = 0;
	/* a full store grows, too: nothing is allocated */
	if (err == ERR_NOSPACE)
		err = OK;
	if (!err)
		err = store_commit(s, e);
	if (err)
		return err;
	if (s->nblocks == STORE_BLOCKS_MAX && s->io.nblocks > nblocks)
		return err_set(e, ERR_NOSPACE, "store: has %llu TiB: no store may have more",
		    (unsigned long long)(STORE_BLOCKS_MAX * STORE_BLOCK >> 40));
	if (nblocks <= s->nblocks)
		return OK;
	nblocks -= s->nblocks;
	err = map_grow(s, s->nblocks + nblocks, e);
	if (err)
		return err;
	err = store_commit(s, e);
	if (err)
		s->dead = true; /* what is in memory has the new size */
	else
		*added = nblocks;
	return err;
}

int store_breathe(struct store *s, struct errmsg *e)
{
	cache_trim(s);
	return s->ndirty > CACHE_DIRTY_MAX ? store_commit(s, e) : OK;
}

/*
 * Records of the worst size (an extent in 16 runs) in leaves that ascending keys fill, with
 * the inner nodes above them and the paths that commits in between move.
 */
static uint64_t meta_bound(uint64_t bytes)
{
	uint64_t extents = bytes / STORE_CHUNK + 64;
	uint64_t per_leaf = NODE_ROOM / (SLOT_BYTES + EX_RUNS + 8 * STORE_CHUNK_BLOCKS);
	uint64_t leaves = extents / (per_leaf - 1) + 1;

	return leaves + leaves / 40 + 32;
}

/*
 * Records of pieces, each block in a run of its own. Ascending, they fill leaves but for less than
 * a record; in any other order leaves are divided, each half at least half full but for a record,
 * and each commit on the way holds on to the old copies of those that it moves.
 */
static uint64_t meta_bound_pieces(uint64_t bytes, uint64_t pieces, bool in_order)
{
	const uint64_t longest = SLOT_BYTES + EX_RUNS + 8 * STORE_CHUNK_BLOCKS;
	uint64_t data = pieces * (SLOT_BYTES + EX_RUNS) + bytes / STORE_BLOCK * 8;
	uint64_t leaves = data / ((in_order ? NODE_ROOM : NODE_ROOM / 2) - longest) + 1;
	uint64_t moved = in_order ? 0 : MIN(leaves, (uint64_t)CACHE_DIRTY_MAX);

	return leaves + leaves / 20 + moved + 32;
}

/* So many blocks, or the refusal with the sizes in it. */
static int can_take(struct store *s, uint64_t need, struct errmsg *e)
{
	int err = OK;

	if (!s->writable || s->dead)
		return store_may_change(s, false, e);
	/* blocks freed since the last commit count once they may be taken */
	if (map_available(s) < need && s->map_root.free >= need)
		err = store_commit(s, e);
	if (err || map_available(s) >= need)
		return err;
	return err_set(e, ERR_NOSPACE,
	    "store full: up to %llu MiB needed, %llu MiB of %llu MiB free",
	    (unsigned long long)(need * STORE_BLOCK + MIB - 1) / MIB,
	    (unsigned long long)(map_available(s) * STORE_BLOCK / MIB),
	    (unsigned long long)(s->nblocks * STORE_BLOCK / MIB));
}

int store_can_hold(struct store *s, uint64_t bytes, struct errmsg *e)
{
	return can_take(s, bytes / STORE_BLOCK + 1 + meta_bound(bytes) + STORE_RESERVE, e);
}

int store_can_hold_pieces(
    struct store *s, uint64_t bytes, uint64_t pieces, bool in_order, struct errmsg *e)
{
	uint64_t meta = meta_bound_pieces(bytes, pieces, in_order);

	return can_take(s, bytes / STORE_BLOCK + 1 + meta + STORE_RESERVE, e);
}

/* --- disk write epochs --------------------------------------------------------------- */

struct epoch_search {
	const uint8_t *guid;
	uint64_t epoch;
};

static int epoch_match(void *ctx, const uint8_t *data, uint32_t len, struct errmsg *e)
{
	struct epoch_search *f = ctx;

	if (len != EP_BYTES)
		return err_set(
		    e, ERR_CORRUPT, "store: epoch record: %u bytes instead of %u", len, EP_BYTES);
	if (memcmp(data + EP_GUID, f->guid, 16) != 0)
		return ERR_NOENT;
	f->epoch = get_le64(data + EP_EPOCH);
	return OK;
}

/* The record of a partition. ERR_NOENT: *key is where it would go. */
static int epoch_find(struct store *s, const uint8_t guid[16], struct store_key *key,
    uint64_t *epoch, struct errmsg *e)
{
	struct epoch_search f = {.guid = guid};
	uint64_t hash = get_le64(guid) ^ get_le64(guid + 8);
	int err;

	*key = (struct store_key){OBJ_EPOCHS, REC_EPOCH, hash & ~0xffULL};
	err = tree_find_hashed(s, key, epoch_match, &f, e);
	*epoch = f.epoch;
	return err;
}

int store_epoch_get(struct store *s, const uint8_t guid[16], uint64_t *epoch, struct errmsg *e)
{
	struct store_key key;
	int err;

	cache_trim(s);
	err = epoch_find(s, guid, &key, epoch, e);
	if (err == ERR_NOENT) {
		*epoch = 0;
		return OK;
	}
	return err;
}

/* Raises it by so many; durable with the next commit. */
static int epoch_raise(
    struct store *s, const uint8_t guid[16], uint64_t by, uint64_t *epoch, struct errmsg *e)
{
	uint8_t rec[EP_BYTES];
	struct store_key key;
	uint64_t now = 0;
	int err = epoch_find(s, guid, &key, &now, e);
	bool fresh = err == ERR_NOENT;

	if (err && !fresh)
		return err;
	*epoch = now + by;
	memcpy(rec + EP_GUID, guid, 16);
	put_le64(rec + EP_EPOCH, *epoch);
	return fresh ? tree_insert(s, &key, rec, EP_BYTES, e)
		     : tree_update(s, &key, rec, EP_BYTES, e);
}

int store_epoch_bump(struct store *s, const uint8_t guid[16], uint64_t *epoch, struct errmsg *e)
{
	int err = store_may_change(s, false, e);

	if (!err)
		err = epoch_raise(s, guid, 1, epoch, e);
	return err ? err : store_commit(s, e);
}

int store_frozen_get(struct store *s, const uint8_t uuid[16], bool *frozen, struct errmsg *e)
{
	uint64_t epoch;
	int err = store_epoch_get(s, uuid, &epoch, e);

	*frozen = !err && (epoch & 1);
	return err;
}

int store_freeze(struct store *s, const uint8_t uuid[16], struct errmsg *e)
{
	bool frozen;
	uint64_t epoch;
	int err = store_frozen_get(s, uuid, &frozen, e);

	return err || frozen ? err : epoch_raise(s, uuid, 1, &epoch, e);
}

int store_thaw(struct store *s, const uint8_t uuid[16], struct errmsg *e)
{
	bool frozen;
	uint64_t epoch;
	int err = store_frozen_get(s, uuid, &frozen, e);

	return err || !frozen ? err : store_epoch_bump(s, uuid, &epoch, e);
}

int store_freeze_anew(struct store *s, const uint8_t uuid[16], struct errmsg *e)
{
	bool frozen;
	uint64_t epoch;
	int err = store_frozen_get(s, uuid, &frozen, e);

	if (err || !frozen)
		return err;
	err = store_may_change(s, false, e);
	if (!err)
		err = epoch_raise(s, uuid, 2, &epoch, e); /* from odd to odd */
	return err ? err : store_commit(s, e);
}
