/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of an open disk share. Not for anybody else. */
#ifndef AMBER_SNAPSHOT_OVERLAY_INT_H
#define AMBER_SNAPSHOT_OVERLAY_INT_H

#include "hv/snapshot/disk_object.h"
#include "hv/snapshot/overlay.h"
#include "hv/snapshot/store_int.h"

enum {
	OVERLAY_WAYS = 4, /* places in the table where a chunk may be */
	/* a request that begins and ends within blocks has one more than its length says */
	OVERLAY_MAX_BLOCKS = OVERLAY_MAX_BYTES / STORE_BLOCK + 1,
	OVERLAY_MAX_CHUNKS = OVERLAY_MAX_BLOCKS / STORE_CHUNK_BLOCKS + 2,
};

/* Where the blocks of a chunk are, through all layers; those in neither mask are the base's. */
struct map_entry {
	uint64_t chunk; /* UINT64_MAX: the place is free */
	uint64_t used;	/* when it was last looked at */
	struct disk_chunk at;
};

struct layer {
	uint64_t id;
	/* it holds nothing of the chunks gap_lo to gap_hi - 1: found by looking for what comes next
	 */
	uint64_t gap_lo, gap_hi;
};

/* A block of the request under way. */
struct place {
	enum { AT_BASE, AT_ZERO, AT_DATA } kind;
	uint64_t block;
	uint32_t crc;
};

struct overlay {
	struct vdisk v;
	struct overlay_base base;
	struct layer layer[STORE_CHAIN_MAX + 1]; /* the top first */
	unsigned nlayers;
	/* the generation that makes all that was written durable; 0: nothing was written */
	uint64_t dirty_gen;
	bool lost; /* answered writes are gone: see overlay_reattach() */
	/* the table */
	struct map_entry *map;
	unsigned sets;
	uint64_t clock;
	/* the request under way */
	struct place place[OVERLAY_MAX_BLOCKS];
	struct store_extent fresh[OVERLAY_MAX_CHUNKS];
	struct store_req io[STORE_IO_DEPTH];
	bool io_busy[STORE_IO_DEPTH];
	unsigned io_next;
	uint8_t *bounce; /* OVERLAY_MAX_BLOCKS blocks: requests that are not of whole blocks */
	/* flattening: 0: not under way */
	uint64_t merged;     /* the new layer, or the top, which takes in the one below it */
	uint64_t merge_next; /* chunk */
	uint64_t merge_from; /* the topmost of the layers that it stands for */
};

/* overlay_layers.c */
/* Reads the layers' numbers, empties the table. */
int layers_load(struct overlay *d, struct store *s, struct errmsg *e);
void layers_forget(struct overlay *d);
/* The chunk's entry, good until the next call. */
int layers_lookup(
    struct overlay *d, struct store *s, uint64_t chunk, struct disk_chunk **out, struct errmsg *e);
/* What the layers from first on show of the chunk, past the table. */
int layers_resolve(struct overlay *d, struct store *s, unsigned first, uint64_t chunk,
    struct disk_chunk *out, struct errmsg *e);
/* The next chunk at or behind *chunk of which a layer from first on holds something. ERR_NOENT. */
int layers_next(
    struct overlay *d, struct store *s, unsigned first, uint64_t *chunk, struct errmsg *e);
/* The top was given something of the chunk. */
void layers_top_changed(struct overlay *d, uint64_t chunk);

/* overlay.c */
/* Whole blocks: count <= OVERLAY_MAX_BLOCKS. */
int overlay_read_blocks(struct overlay *d, struct store *s, uint64_t first, uint32_t count,
    uint8_t *buf, struct errmsg *e);
/* Puts the disk's name before the message. */
int overlay_error(const struct overlay *d, int err, struct errmsg *e);
/* ERR_IO if answered writes are lost. */
int overlay_usable(const struct overlay *d, struct errmsg *e);
/* The running transaction has something of this disk. */
void overlay_dirty(struct overlay *d, const struct store *s);

#endif
