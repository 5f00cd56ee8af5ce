/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects of KIND_DISK: one layer of a disk. A record for each aligned 64 KiB of the disk
 * in which the layer holds something names its blocks of 4 KiB one by one, each with a
 * checksum of its own: so that a block is read, replaced or given back without touching
 * its neighbours. What a layer does not hold shows its parent's, and at the end the base's.
 *
 * As all of the store: the caller serialises (RANK_STORE), everything may sleep in the I/O.
 */
#ifndef AMBER_SNAPSHOT_DISK_OBJECT_H
#define AMBER_SNAPSHOT_DISK_OBJECT_H

#include "hv/snapshot/store.h"

/* What one layer holds of a chunk. A bit is set in at most one of the two masks. */
struct disk_chunk {
	uint16_t data; /* bit i: block i of the chunk is at block[i] */
	uint16_t zero; /* bit i: block i reads as zeros, whatever lies below */
	uint64_t block[STORE_CHUNK_BLOCKS];
	uint32_t crc[STORE_CHUNK_BLOCKS]; /* CRC-32C of the block */
};

/* Chunks of a disk of the greatest size; the number behind the last. */
#define DISK_CHUNKS_MAX (1ULL << 40)

/*
 * A new, empty layer over parent (0: none, else it gains a link): an orphan until somebody
 * links it. size in bytes. One number before it stays free: see disk_object_create_below().
 */
int disk_object_create(
    struct store *s, uint64_t parent, uint64_t size, uint64_t *id, struct errmsg *e) MUST_CHECK;
/*
 * A new, empty layer without parent whose number is the one left free before child's, so that
 * it may become child's parent, which a number greater than child's could not. ERR_EXIST if
 * it is taken: then what is below child is a single layer that was made so.
 */
int disk_object_create_below(
    struct store *s, uint64_t child, uint64_t size, uint64_t *id, struct errmsg *e) MUST_CHECK;
/* The object's record: ERR_NOENT, or ERR_CORRUPT if it is not a layer of a disk. */
int disk_object_get(
    struct store *s, uint64_t id, struct store_object_info *out, struct errmsg *e) MUST_CHECK;

/* What the layer holds of the chunk (bytes from index * STORE_CHUNK on): both masks 0 if nothing.
 */
int disk_chunk_get(struct store *s, uint64_t id, uint64_t index, struct disk_chunk *out,
    struct errmsg *e) MUST_CHECK;
/* The first chunk at or behind *index of which the layer holds something; ERR_NOENT (no message).
 */
int disk_chunk_next(struct store *s, uint64_t id, uint64_t *index, struct disk_chunk *out,
    struct errmsg *e) MUST_CHECK;
/*
 * Replaces what the layer holds of a chunk, and brings the object's totals up to date. The
 * references to blocks that it names anew were taken by the caller; those to blocks that it
 * does not name any more are given back. After an error all is as it was, or the store is
 * closed to changes.
 */
int disk_chunk_set(struct store *s, uint64_t id, uint64_t index, const struct disk_chunk *c,
    struct errmsg *e) MUST_CHECK;

/*
 * Reads what the layer and those below it hold, whether or not something hides it, and compares
 * all checksums. ERR_CORRUPT names the layer and the place.
 */
int disk_object_verify(struct store *s, uint64_t id, struct errmsg *e) MUST_CHECK;

/*
 * OK if blocks more of data in so many chunks are certain to fit with their records: commits if
 * what was freed since the last commit is needed. ERR_NOSPACE: nothing was changed.
 */
int disk_make_room(struct store *s, uint64_t blocks, uint64_t chunks, struct errmsg *e) MUST_CHECK;

/* What is not committed is given up: the store refuses changes from now on, until it is opened
 * anew. */
void store_give_up(struct store *s);

#endif
