/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A snapshot's disk on its way to another store: the frozen layer and all below it become one
 * layer there, which needs no parent. If bases are given the disk's goes into it too, so that
 * nothing but the store is needed. Blocks of zeros are not stored.
 *
 * As all of the store: the caller serialises (RANK_STORE), everything may sleep in the I/O.
 */
#ifndef AMBER_SNAPSHOT_DISK_COPY_H
#define AMBER_SNAPSHOT_DISK_COPY_H

#include "hv/snapshot/overlay.h"
#include "hv/snapshot/snapshot.h"

struct disk_copy {
	struct store *from;
	struct vdisk v;		  /* as the other store is to have it, but for its top */
	struct overlay_base base; /* what goes below the layers; size 0: nothing */
	struct overlay *chain;	  /* the layers */
	uint8_t *buf;		  /* STORE_CHUNK */
};

struct disk_copy_size {
	uint64_t blocks, chunks; /* to be stored, at most */
	uint64_t bytes;		 /* to be looked at: what progress counts up to */
};

/*
 * Looks up the disk of the record d, which has a layer, and checks that it still has the base that
 * d names. bases: NULL, or where to find what is to be copied with it. ERR_NOENT: there is no disk
 * of that name any more, so nobody knows what lies below its layers; ERR_STATE: it has another
 * base. After an error disk_copy_close() all the same.
 */
int disk_copy_open(struct disk_copy *c, struct store *from, const struct snap_disk *d,
    const struct snap_bases *bases, struct errmsg *e) MUST_CHECK;
void disk_copy_close(struct disk_copy *c);
/* Walks the layers, and reads the base if that is copied too. */
int disk_copy_measure(struct disk_copy *c, struct disk_copy_size *out, struct errmsg *e) MUST_CHECK;
/*
 * The content as a new, frozen layer of another store: an orphan until somebody links it. Commits
 * on the way. ERR_CORRUPT (a checksum), ERR_NOSPACE, ERR_CANCELLED (progress, which may be NULL,
 * returned false): nothing is left of it.
 */
int disk_copy_layer(struct disk_copy *c, struct store *to, uint64_t *layer,
    bool (*progress)(void *ctx, uint64_t done), void *ctx, struct errmsg *e) MUST_CHECK;

#endif
