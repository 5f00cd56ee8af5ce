/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The content of an object as a stream of self-addressed chunks: each at most 64 KiB, within
 * one aligned 64 KiB, with its address, its encoding, and the CRC-32C of the blocks that it
 * takes on disk (padding included), verified before they are parsed. Chunks of zeros are
 * left out; the object's record counts those that are not, so none can be lost unseen.
 * Used for guest RAM (address: guest-physical) and for the state tree (address: offset).
 *
 * RAM may have a parent: then the object holds what changed since, zeros included, and what it
 * does not hold is the parent's. A reader sees the chain of them as one.
 *
 * Writers and readers compress: THREAD_XSTATE threads only. The caller serialises with
 * all other users of the store, and may let go between two calls.
 */
#ifndef AMBER_SNAPSHOT_RAM_STREAM_H
#define AMBER_SNAPSHOT_RAM_STREAM_H

#include "hv/snapshot/store.h"

/* --- writing ------------------------------------------------------------------------- */

/* A chunk on its way to the disk. */
struct stream_slot {
	uint8_t *buf; /* STORE_CHUNK bytes */
	struct store_req req;
	bool busy;
};

struct stream_writer {
	struct store *store;
	uint64_t object;
	uint64_t end;	 /* of the last byte so far: what lies behind it is new */
	bool scattered;	 /* not all extents came in ascending order */
	uint64_t shared; /* blocks of the extents that were in the store already */
	struct store_object_info info;
	struct stream_slot slot[STORE_IO_DEPTH];
	unsigned next;
	void *lz4_state;
	uint8_t *spare; /* STORE_CHUNK bytes, from their first use on: what is compared */
};

/*
 * Makes a new object (an orphan), with a complete parent or (0) without. ERR_RANGE: the parent's
 * chain is as long as may be. After an error, stream_abort() all the same.
 */
int stream_begin(struct stream_writer *w, struct store *s, uint32_t kind, uint64_t parent,
    struct errmsg *e) MUST_CHECK;
/*
 * Adds len bytes at addr, in any order, ascending being the fastest. Zeros are left out if there is
 * no parent, else recorded; RAM that the store has somewhere already is shared (content_index.h).
 * ERR_INVAL: some of it was written before. Returns when data may be changed again; the write may
 * still be in flight, and its error comes from a later call.
 */
int stream_put(struct stream_writer *w, uint64_t addr, const void *data, uint64_t len,
    struct errmsg *e) MUST_CHECK;
/* The same for an extent as it is stored elsewhere: blocks has its blocks, one after the other. */
int stream_put_stored(struct stream_writer *w, const struct store_extent *x, const void *blocks,
    struct errmsg *e) MUST_CHECK;
/*
 * Adds an extent of the same store without copying: its blocks are shared. ERR_FULL: one of them
 * is shared too often already, and nothing was done.
 */
int stream_put_shared(
    struct stream_writer *w, const struct store_extent *x, struct errmsg *e) MUST_CHECK;
/*
 * Waits for the writes and completes the object's record (not committed); walks the index if it
 * was written out of order.
 */
int stream_finish(struct stream_writer *w, uint64_t size, struct errmsg *e) MUST_CHECK;
/* Waits for writes in flight and frees the memory; the object stays. Harmless twice. */
void stream_end(struct stream_writer *w);
/* stream_end() and removes the object, if there is one. */
void stream_abort(struct stream_writer *w);

/* --- reading ------------------------------------------------------------------------- */

struct stream_read_slot {
	uint8_t *buf;
	unsigned level; /* whose extent it is */
	struct store_extent x;
	struct store_req req;
	bool in_flight; /* req is with the I/O */
};

/* One of the objects that are read as one. */
struct stream_level {
	uint64_t object;
	struct store_object_info info; /* as recorded */
	struct store_object_info seen; /* counted while reading in order */
	uint64_t next_offset;	       /* where to look for the next extent */
	bool has_next, at_end;
	struct store_extent next;
};

/* A chunk made from several extents: which of its bytes are there already. */
struct stream_chunk {
	uint64_t number;
	uint32_t given; /* by stream_next() */
	bool busy, whole;
	uint64_t map[STORE_CHUNK / 64];
	uint8_t buf[STORE_CHUNK];
};

struct stream_reader {
	struct store *store;
	uint64_t object;
	struct store_object_info info; /* as recorded */
	struct stream_level *level;    /* the object first, the one without parent last */
	unsigned nlevels;
	/* the walk through the index: the chunk that it is in, the level, and what newer ones hide
	 */
	bool in_chunk;
	uint64_t chunk;
	unsigned at;
	uint64_t *hidden; /* one bit a byte; if there are parents */
	/* what it found and stream_next() has not given out */
	struct stream_read_slot slot[STORE_IO_DEPTH];
	unsigned head, count;	     /* slots in use, oldest first */
	struct stream_chunk *merge;  /* for stream_next(); if there are parents */
	struct stream_chunk *random; /* for stream_read_chunk(); if there are parents */
	uint8_t *spare;		     /* for stream_read_chunk() */
	/* what stream_ahead() has asked for; those in flight, or read, and not used yet */
	struct stream_read_slot ahead[STORE_IO_DEPTH];
};

/*
 * Opens a complete object of this kind, RAM with all its parents: at most STORE_CHAIN_MAX objects,
 * and about 20 KiB for the longest chain. Each buffer comes with its first use: at most 0.8 MiB.
 * After an error, stream_close() all the same.
 */
int stream_open(struct stream_reader *r, struct store *s, uint64_t object, uint32_t kind,
    struct errmsg *e) MUST_CHECK;
/* The object alone: what it holds itself, its holes being holes. */
int stream_open_alone(struct stream_reader *r, struct store *s, uint64_t object, uint32_t kind,
    struct errmsg *e) MUST_CHECK;
void stream_close(struct stream_reader *r);
/*
 * The next piece of a chunk in ascending order, verified and decoded into buf (STORE_CHUNK bytes),
 * with reads for the following ones under way. ERR_NOENT after the last one, when the totals of
 * every level agree with its record; ERR_CORRUPT if they do not. May be called again after an
 * error, and then tries again.
 */
int stream_next(
    struct stream_reader *r, uint64_t *addr, void *buf, uint32_t *len, struct errmsg *e) MUST_CHECK;
/* Begins again at the start. */
void stream_rewind(struct stream_reader *r);
/*
 * All stored bytes of the aligned chunk that addr lies in, zeros elsewhere, into buf
 * (STORE_CHUNK bytes); *present: whether there were any. Does not disturb stream_next().
 */
int stream_read_chunk(
    struct stream_reader *r, uint64_t addr, void *buf, bool *present, struct errmsg *e) MUST_CHECK;
/*
 * Begins to read, from the newest level that has something of it, the chunk that addr lies in, for
 * a stream_read_chunk() to come. False: not now, so much is under way already. Errors are left to
 * that call.
 */
bool stream_ahead(struct stream_reader *r, uint64_t addr);
/*
 * Instead of stream_next(), without reading content: the next extent that shows, chunk by chunk
 * in ascending order, in a chunk the newest level's first; *cut: newer ones hide some of it. Those
 * that are hidden whole are counted and left out. ERR_NOENT at the end, the totals being right.
 */
int stream_next_extent(
    struct stream_reader *r, struct store_extent *x, bool *cut, struct errmsg *e) MUST_CHECK;
/*
 * Walks the index only: every extent's fields, order and the totals; fn (may be NULL) sees each
 * range, in ascending order.
 */
int stream_check_index(struct stream_reader *r,
    int (*fn)(void *ctx, uint64_t addr, uint64_t len, struct errmsg *e), void *ctx,
    struct errmsg *e) MUST_CHECK;
/* The blocks of an extent as they are stored, into buf (STORE_CHUNK bytes), the CRC verified. */
int stream_read_stored(
    struct stream_reader *r, const struct store_extent *x, void *buf, struct errmsg *e) MUST_CHECK;
/*
 * Everything that r shows into w, which has no parent, and finishes w. Extents go as they are
 * stored (shared, not copied, if both are of one store); a chunk that several levels had a part in
 * is made anew. progress (may be NULL) hears how many bytes of all levels it has passed; if it
 * returns false: ERR_CANCELLED.
 */
int stream_flatten(struct stream_reader *r, struct stream_writer *w,
    bool (*progress)(void *ctx, uint64_t done), void *ctx, struct errmsg *e) MUST_CHECK;
/* At most so many bytes are stored, in at most so many pieces, by stream_flatten() to elsewhere. */
int stream_flat_size(
    struct stream_reader *r, uint64_t *bytes, uint64_t *pieces, struct errmsg *e) MUST_CHECK;

#endif
