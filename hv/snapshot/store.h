/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The store: a shadow-paged object store on the reserved partition, in a file, or in
 * a test's memory (design brief, section 6; docs/snapshot-format.md). One B+tree of
 * records, one map of reference counts; what is committed is never overwritten.
 *
 * Changes gather in memory and become durable together at store_commit(). Whatever
 * is begun and not finished (an object that is being written or deleted) is listed as
 * an orphan in the same commits, so that a commit is legal at any moment, and the next
 * opening for writing removes what a power cut left half done.
 *
 * No locks inside: the caller serialises all calls on one store (RANK_STORE). All may
 * sleep in the I/O. Nothing on the disk is trusted (I3).
 */
#ifndef AMBER_SNAPSHOT_STORE_H
#define AMBER_SNAPSHOT_STORE_H

#include "hv/lib/error.h"
#include "hv/lib/types.h"
#include "hv/snapshot/store_format.h"

/* --- what lies under a store --------------------------------------------------------- */

#define STORE_IO_DEPTH 8 /* requests that a stream keeps in flight */

/* A request in flight; it and its buffer belong to the I/O from submit to wait. */
struct store_req {
	bool write;
	uint64_t block;
	void *buf;
	uint32_t nblocks; /* at most STORE_CHUNK_BLOCKS */
	int status;
	void *io; /* the I/O's own */
};

struct store_io {
	int (*read)(void *ctx, uint64_t block, void *buf, uint32_t nblocks);
	int (*write)(void *ctx, uint64_t block, const void *buf, uint32_t nblocks);
	/* Everything written (and waited for) before is on the medium when this returns OK. */
	int (*flush)(void *ctx);
	/* Both or neither: without them, requests are done at once by read and write. */
	void (*submit)(void *ctx, struct store_req *r);
	int (*wait)(void *ctx, struct store_req *r); /* returns r->status */
	uint64_t nblocks;
	bool read_only;
	void *ctx;
};

/* --- a store ------------------------------------------------------------------------- */

struct store;

/* Makes an empty store over all of io. ERR_NOSPACE if it is too small. What was there is lost. */
int store_format(const struct store_io *io, const uint8_t uuid[16], struct errmsg *e) MUST_CHECK;

/*
 * Opens at the last commit. io is copied. ERR_NOENT: there is no store; ERR_CORRUPT,
 * ERR_UNSUPPORTED (a newer format), ERR_NOMEM, ERR_IO. For writing, orphans are removed.
 */
int store_open(
    const struct store_io *io, bool writable, struct store **out, struct errmsg *e) MUST_CHECK;
/* Forgets what is not committed, frees all; NULL is allowed. */
void store_close(struct store *s);

/*
 * Makes all changes so far durable: writes, flush, superblock, flush. If it fails before
 * the superblock is written, everything stands as before and may be tried again or
 * undone; after that the store refuses further changes and has to be opened anew.
 */
int store_commit(struct store *s, struct errmsg *e) MUST_CHECK;

struct store_stat {
	uint8_t uuid[16];
	uint32_t version;
	uint64_t generation;
	uint64_t nblocks;  /* of the store */
	uint64_t free;	   /* blocks with no reference, and none in the last commit */
	uint64_t reserved; /* of these, kept for deleting when the store is full */
	bool writable;
	char note[160]; /* what a person should know of; "" if nothing */
};
void store_stat(const struct store *s, struct store_stat *out);

/*
 * Takes all of io, which has become larger since the store was made, in one commit; *added: by so
 * many blocks, 0 if there are none. Commits what is uncommitted first. ERR_NOSPACE: the store is
 * as large as one may be (STORE_BLOCKS_MAX). After an error of the disk it has to be opened anew.
 */
int store_grow(struct store *s, uint64_t *added, struct errmsg *e) MUST_CHECK;

/*
 * OK if bytes more of data, incompressible in the worst case, in whole chunks in ascending order,
 * are certain to fit with their records; else ERR_NOSPACE with the sizes in the message. Ask before
 * pausing a guest.
 */
int store_can_hold(struct store *s, uint64_t bytes, struct errmsg *e) MUST_CHECK;
/*
 * The same for data in so many pieces, none across the end of a chunk, bytes being their sum, each
 * rounded up to whole blocks; if they do not come in ascending order, that takes more for records.
 */
int store_can_hold_pieces(
    struct store *s, uint64_t bytes, uint64_t pieces, bool in_order, struct errmsg *e) MUST_CHECK;

/* --- disk write epochs --------------------------------------------------------------- */

/* How often the partition may have been written directly; 0 if it never was. */
int store_epoch_get(
    struct store *s, const uint8_t guid[16], uint64_t *epoch, struct errmsg *e) MUST_CHECK;
/* Raises it by one and commits: on the medium when this returns OK. */
int store_epoch_bump(
    struct store *s, const uint8_t guid[16], uint64_t *epoch, struct errmsg *e) MUST_CHECK;

/*
 * A frozen machine has an odd epoch under its own UUID: raised by the commit of the snapshot
 * that it is frozen in (snap_params.freeze), and by store_thaw(), which commits, when it lives
 * again.
 */
int store_frozen_get(
    struct store *s, const uint8_t uuid[16], bool *frozen, struct errmsg *e) MUST_CHECK;
int store_thaw(struct store *s, const uint8_t uuid[16], struct errmsg *e) MUST_CHECK;
/* It stays frozen, if it is, with another epoch than any snapshot knows of. Commits. */
int store_freeze_anew(struct store *s, const uint8_t uuid[16], struct errmsg *e) MUST_CHECK;

/* --- objects: sparse byte arrays made of extents ------------------------------------- */

struct store_run {
	uint64_t block;
	uint32_t count;
};

/* A piece of an object, within one aligned STORE_CHUNK. */
struct store_extent {
	uint64_t offset; /* in the object */
	uint32_t raw_len, stored_len;
	uint32_t crc;
	uint8_t encoding; /* enum store_encoding */
	uint16_t nruns;
	struct store_run runs[STORE_CHUNK_BLOCKS];
};

struct store_object_info {
	uint32_t kind, flags;
	uint64_t size, extents, raw, blocks;
	uint32_t links, index_crc, content_crc;
	uint64_t parent;
};

/* A new, empty object, an orphan until something refers to it. */
int store_object_create(struct store *s, uint32_t kind, uint64_t *id, struct errmsg *e) MUST_CHECK;
int store_object_get(
    struct store *s, uint64_t id, struct store_object_info *out, struct errmsg *e) MUST_CHECK;
int store_object_set(
    struct store *s, uint64_t id, const struct store_object_info *in, struct errmsg *e) MUST_CHECK;
/*
 * Removes an orphan with all its extents, in several commits: after a power cut the next
 * opening goes on. The last of them lets go of its parent, which follows if nothing else refers
 * to it, and so on upwards. No write to the object may be in flight.
 */
int store_object_delete(struct store *s, uint64_t id, struct errmsg *e);

/*
 * References: each snapshot, child object or disk that names an object counts in its
 * store_object_info.links, and must take and drop the link in the commit in which its own
 * record comes and goes. Both are done whole or, after an error, not at all.
 */
/* The first link makes the object no orphan any more. ERR_NOENT; ERR_CORRUPT: the count lies. */
int store_object_link(struct store *s, uint64_t id, struct errmsg *e) MUST_CHECK;
/*
 * *orphan: it was the last; after the next commit store_object_delete() is due (or the next
 * opening does it). OK for an object that is missing: a damaged store's records can go too.
 */
int store_object_unlink(struct store *s, uint64_t id, bool *orphan, struct errmsg *e) MUST_CHECK;
/*
 * Holes of the new object id show its parent's content from now on; takes a link on the parent,
 * which store_object_delete(id) drops. The parent has a smaller number, is of the same kind, and
 * is not to change any more. ERR_RANGE: its chain has STORE_CHAIN_MAX objects already.
 */
int store_object_set_parent(
    struct store *s, uint64_t id, uint64_t parent, struct errmsg *e) MUST_CHECK;
/*
 * The parent's record, checked (number, presence, kind), of an object whose record is o.
 * ERR_NOENT (no message): there is none.
 */
int store_object_parent(struct store *s, uint64_t id, const struct store_object_info *o,
    struct store_object_info *out, struct errmsg *e) MUST_CHECK;
/* How many objects the chain from id upwards has, itself included: 1 to STORE_CHAIN_MAX. */
int store_object_depth(struct store *s, uint64_t id, unsigned *depth, struct errmsg *e) MUST_CHECK;

/* Blocks for stored_len bytes: fills nruns and runs. ERR_NOSPACE leaves nothing taken. */
int store_extent_alloc(struct store *s, struct store_extent *x, struct errmsg *e) MUST_CHECK;
/*
 * One reference more to each block of an extent that is recorded, for another record. ERR_FULL:
 * one of them has as many as can be counted. An error leaves nothing taken.
 */
int store_extent_share(struct store *s, const struct store_extent *x, struct errmsg *e) MUST_CHECK;
/* Gives back what these two took and no record mentions. */
void store_extent_unalloc(struct store *s, const struct store_extent *x);
/* Records the extent; its blocks were allocated. */
int store_extent_add(
    struct store *s, uint64_t id, const struct store_extent *x, struct errmsg *e) MUST_CHECK;
/* The first extent at or after offset: OK, ERR_NOENT, or an error. Its fields are checked. */
int store_extent_next(struct store *s, uint64_t id, uint64_t offset, struct store_extent *out,
    struct errmsg *e) MUST_CHECK;
/* Continues an index CRC (OB_INDEX_CRC) over one extent. */
uint32_t store_index_crc(uint32_t crc, const struct store_extent *x);
/* The blocks that an extent takes. */
static inline uint32_t store_extent_blocks(const struct store_extent *x)
{
	return (x->stored_len + STORE_BLOCK - 1) / STORE_BLOCK;
}
/* Counts an extent towards an object's totals, with the index CRC. */
void store_count_extent(struct store_object_info *totals, const struct store_extent *x);
/* Commits if so much has gathered in memory that it should be written. Between any two calls. */
int store_breathe(struct store *s, struct errmsg *e) MUST_CHECK;

/* --- block I/O for the data of extents ----------------------------------------------- */

int store_read_blocks(
    struct store *s, uint64_t block, void *buf, uint32_t n, struct errmsg *e) MUST_CHECK;
int store_write_blocks(
    struct store *s, uint64_t block, const void *buf, uint32_t n, struct errmsg *e) MUST_CHECK;
void store_submit(struct store *s, struct store_req *r);
int store_wait(struct store *s, struct store_req *r, struct errmsg *e);

/* --- checking ------------------------------------------------------------------------ */

struct store_check_result {
	uint64_t snapshots, objects, orphans, extents, data_blocks, meta_blocks, free_blocks;
	uint64_t shared_blocks; /* more would be taken if nothing were shared */
};
/*
 * Walks everything: every node's CRC and order, every object's totals, every reference
 * count, all free-space figures. Memory is bounded (half a MiB and the cache). The first fault
 * ends it with ERR_CORRUPT and a message. Not with uncommitted changes (ERR_STATE).
 * progress (may be NULL) is called now and then; if it returns false: ERR_CANCELLED.
 */
int store_check(struct store *s, struct store_check_result *out, bool (*progress)(void *ctx),
    void *ctx, struct errmsg *e) MUST_CHECK;

#endif
