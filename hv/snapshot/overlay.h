/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk of the store, open: its layers and what lies below them as one array of bytes.
 *
 * Writing: data go to new blocks, and only when they are there do the tree's records change, in
 * memory; a flush commits them. So a commit at any other moment, of whoever, shows each 4 KiB
 * either as it was or as it is: never half, never what was not written. What a layer held before
 * is given back; what others refer to stays.
 *
 * Reading: for each 64 KiB that is in use, one entry of a bounded table says where its
 * blocks are, through all layers; only filling an entry walks the layers.
 *
 * Nothing here knows of machines or block devices. The caller serialises all calls on one store
 * (RANK_STORE) and gives the store with each; all may sleep in the I/O.
 */
#ifndef AMBER_SNAPSHOT_OVERLAY_H
#define AMBER_SNAPSHOT_OVERLAY_H

#include "hv/snapshot/vdisk.h"

enum {
	OVERLAY_MAX_BYTES = 256 * 1024, /* of one read or write */
	OVERLAY_MAP_CHUNKS = 4096,	/* entries of the table that overlay_open() makes */
	OVERLAY_FLATTEN_DEPTH = 16,	/* from so many layers on, merging them is due */
};

/* What lies below the last layer. */
struct overlay_base {
	/* Bytes off to off + len of it, multiples of 512, inside size; buf is heap memory. */
	int (*read)(void *ctx, uint64_t off, void *buf, uint32_t len);
	void *ctx;
	uint64_t size; /* behind it: zeros. 0: nothing is there, read is not called */
};

struct overlay;

/*
 * Opens the disk of that name. The base is the caller's to find and to compare with the record
 * (vdisk_get()). map_chunks: entries of the table, 0 for the default. ERR_NOENT, ERR_CORRUPT,
 * ERR_NOMEM.
 */
int overlay_open(struct store *s, const char *name, const struct overlay_base *base,
    unsigned map_chunks, struct overlay **out, struct errmsg *e) MUST_CHECK;
void overlay_close(struct overlay *d); /* NULL is allowed; what is not committed is as it is */

/* What the disk's record says now. */
const struct vdisk *overlay_info(const struct overlay *d);
/* Layers, the one that is written included: 1 to STORE_CHAIN_MAX. */
unsigned overlay_depth(const struct overlay *d);

/*
 * off and len: multiples of 512, inside the disk, len 1 to OVERLAY_MAX_BYTES; buf: heap memory.
 * Reading: ERR_CORRUPT (a checksum: e names disk and offset), ERR_IO.
 * Writing: ERR_NOSPACE before anything has changed; after ERR_IO each block is as before or
 * as written.
 */
int overlay_read(struct overlay *d, struct store *s, uint64_t off, void *buf, uint32_t len,
    struct errmsg *e) MUST_CHECK;
int overlay_write(struct overlay *d, struct store *s, uint64_t off, const void *buf, uint32_t len,
    struct errmsg *e) MUST_CHECK;
/*
 * The range reads as zeros, and its blocks are given back. Any length; *done (<= len) says how far
 * it came, a few hundred chunks at a time, so that others have their turn. Blocks of 4 KiB in part
 * only are written with zeros. ERR_NOSPACE as for writing.
 */
int overlay_zero(struct overlay *d, struct store *s, uint64_t off, uint64_t len, uint64_t *done,
    struct errmsg *e) MUST_CHECK;
/* All that was written is on the medium when this returns OK: commits, unless somebody did since.
 */
int overlay_flush(struct overlay *d, struct store *s, struct errmsg *e) MUST_CHECK;

/*
 * The disk as it is at this moment becomes a layer that never changes again: *frozen, to be
 * linked by a snapshot in the same transaction. See vdisk_freeze().
 */
int overlay_freeze(
    struct overlay *d, struct store *s, uint64_t *frozen, struct errmsg *e) MUST_CHECK;
/* The disk's content becomes the frozen layer's (0: the base's); commits. */
int overlay_restore(
    struct overlay *d, struct store *s, uint64_t frozen, struct errmsg *e) MUST_CHECK;
/* The same without the commit, and not while merging: see vdisk_set_content(). */
int overlay_set_content(struct overlay *d, struct store *s, uint64_t frozen, uint64_t *orphan,
    struct errmsg *e) MUST_CHECK;

/*
 * Merges all layers below the top into one, sharing their blocks, and a single one that nothing
 * else needs into the top; a piece with each call, until *done. In between everything else may go
 * on. Not enough of it done is no harm: what is begun is an orphan, and goes at overlay_close(),
 * overlay_restore(), or the store's next opening.
 */
int overlay_flatten_step(
    struct overlay *d, struct store *s, bool *done, struct errmsg *e) MUST_CHECK;

/* Gives up a merge that is under way; commits. */
void overlay_flatten_abort(struct overlay *d, struct store *s);

/*
 * The disk has so many bytes (a multiple of 512). Less than before: what lies behind must be
 * gone, or force throws it away; else ERR_STATE. Commits.
 */
int overlay_resize(
    struct overlay *d, struct store *s, uint64_t size, bool force, struct errmsg *e) MUST_CHECK;
/*
 * Calls fn for what the layers hold from chunk *cursor on (begin with 0), in ascending order, in
 * pieces inside the disk of at most STORE_CHUNK bytes; a few MiB with each call, until *done. An
 * error of fn ends it. Without writes meanwhile.
 */
int overlay_each(struct overlay *d, struct store *s, uint64_t *cursor, bool *done,
    int (*fn)(void *ctx, uint64_t off, const void *data, uint32_t len, struct errmsg *e), void *ctx,
    struct errmsg *e) MUST_CHECK;
/* The base has this write epoch from now on, and what it shows is the same. Does not commit. */
int overlay_set_base_epoch(
    struct overlay *d, struct store *s, uint64_t epoch, struct errmsg *e) MUST_CHECK;

/*
 * The store was opened anew after an error, as s, and shows its last commit: OK if all that was
 * written to the disk is there. ERR_IO: writes are lost that were answered; every call fails
 * until overlay_forget_loss(), as when the machine starts again.
 */
int overlay_reattach(struct overlay *d, struct store *s, struct errmsg *e) MUST_CHECK;
void overlay_forget_loss(struct overlay *d);

#endif
