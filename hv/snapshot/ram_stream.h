/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The content of an object as a stream of self-addressed chunks: each at most 64 KiB, within
 * one aligned 64 KiB, with its address, its encoding, and the CRC-32C of the blocks that it
 * takes on disk (padding included), verified before they are parsed. Chunks of zeros are
 * left out; the object's record counts those that are not, so none can be lost unseen.
 * Used for guest RAM (address: guest-physical) and for the state tree (address: offset).
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
	uint64_t end; /* of the last chunk: the next begins there or behind */
	struct store_object_info info;
	struct stream_slot slot[STORE_IO_DEPTH];
	unsigned next;
	void *lz4_state;
};

/* Makes a new object (an orphan). After an error, stream_abort() all the same. */
int stream_begin(
    struct stream_writer *w, struct store *s, uint32_t kind, struct errmsg *e) MUST_CHECK;
/*
 * Adds len bytes at addr, in ascending order. Returns when data may be changed again; the
 * write may still be in flight, and its error comes from a later call.
 */
int stream_put(struct stream_writer *w, uint64_t addr, const void *data, uint64_t len,
    struct errmsg *e) MUST_CHECK;
/* Waits for the writes and completes the object's record (not committed). */
int stream_finish(struct stream_writer *w, uint64_t size, struct errmsg *e) MUST_CHECK;
/* Waits for writes in flight and frees the memory; the object stays. Harmless twice. */
void stream_end(struct stream_writer *w);
/* stream_end() and removes the object, if there is one. */
void stream_abort(struct stream_writer *w);

/* --- reading ------------------------------------------------------------------------- */

struct stream_read_slot {
	uint8_t *buf;
	struct store_extent x;
	struct store_req req;
	bool in_flight; /* req is with the I/O */
};

struct stream_reader {
	struct store *store;
	uint64_t object;
	struct store_object_info info; /* as recorded */
	uint64_t next_offset;	       /* where to look for the next extent */
	bool at_end;
	struct store_object_info seen; /* counted while reading in order */
	struct stream_read_slot slot[STORE_IO_DEPTH];
	unsigned head, count; /* slots in use, oldest first */
	uint8_t *spare;	      /* for stream_read_chunk() */
};

/* Opens a complete object of this kind. After an error, stream_close() all the same. */
int stream_open(struct stream_reader *r, struct store *s, uint64_t object, uint32_t kind,
    struct errmsg *e) MUST_CHECK;
void stream_close(struct stream_reader *r);
/*
 * The next chunk in ascending order, verified and decoded into buf (STORE_CHUNK bytes), with
 * reads for the following ones under way. ERR_NOENT after the last one, when the totals agree
 * with the record; ERR_CORRUPT if they do not.
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
/* Walks the index only: every extent's fields, order and the totals; fn (may be NULL) sees each
 * range. */
int stream_check_index(struct stream_reader *r,
    int (*fn)(void *ctx, uint64_t addr, uint64_t len, struct errmsg *e), void *ctx,
    struct errmsg *e) MUST_CHECK;

#endif
