/* SPDX-License-Identifier: BSD-2-Clause */
/* What the store's own files share: cache, reference map, tree. Not for anybody else. */
#ifndef AMBER_SNAPSHOT_STORE_INT_H
#define AMBER_SNAPSHOT_STORE_INT_H

#include "hv/lib/bitmap.h"
#include "hv/lib/cursor.h"
#include "hv/lib/list.h"
#include "hv/snapshot/store.h"

enum {
	CACHE_BUCKETS = 256,
	CACHE_CLEAN_MAX = 256,	/* clean nodes kept between operations: 1 MiB */
	CACHE_DIRTY_MAX = 1024, /* above, store_breathe() commits: 4 MiB */
	STORE_RESERVE = 64,	/* blocks that only deleting may use */
	STORE_SLICE = 16,	/* metadata blocks that deleting takes between commits */
};

/*
 * A metadata block in memory. A tree node is known by its block; a map node by its level and
 * index, since it alternates between two blocks. Nodes go away only in cache_trim(), which
 * runs between operations: pointers to nodes are good within one.
 */
struct node {
	struct list hash, lru;
	uint64_t id; /* block number, or MAP_ID() */
	uint8_t level;
	bool dirty;
	uint16_t pins; /* cache_trim() keeps a pinned node */
	uint8_t slot;  /* map: the slot that holds the committed copy */
	uint64_t
	    gen; /* the generation it was, or will be, written in; 0: a map node as formatted */
	uint32_t crc;	/* of the committed copy, or of the last written */
	uint64_t *busy; /* dirty map leaf: which blocks the last commit refers to */
	uint8_t *buf;	/* STORE_BLOCK bytes */
};
#define MAP_ID(level, index) (BIT(63) | (uint64_t)(level) << 56 | (index))

struct store_ptr {
	uint64_t block, gen;
	uint32_t crc;
};

struct store_map_ptr {
	uint64_t gen, free;
	uint32_t crc, slot;
};

struct store_key {
	uint64_t object;
	uint32_t type;
	uint64_t offset;
};

struct store {
	struct store_io io;
	bool writable;
	bool dead; /* a failed commit or a half-done change: no more changes */
	char note[160];
	/* the superblock */
	uint8_t uuid[16];
	uint64_t generation; /* of the last commit */
	uint64_t opened_at;  /* the one that was found when it was opened */
	uint64_t nblocks, ngroups;
	uint64_t next_object;
	uint64_t incompat; /* enum store_incompat */
	struct store_ptr root;
	uint32_t root_level;
	uint32_t map_level;
	struct store_map_ptr map_root;
	/* the running transaction */
	uint64_t txn_gen;      /* generation + 1 */
	uint64_t pending_free; /* free now, but the last commit refers to them */
	uint64_t txn_allocs;   /* metadata blocks taken since the last commit */
	bool changed;
	uint64_t data_goal, meta_goal;	/* where to look for free blocks next */
	struct list open_snaps;		/* snapshot.c: snapshots being read */
	struct content_index *contents; /* content_index.c; NULL: not made */
	/* orphans that wait for their last reader; who finds no room waits for the next opening */
	uint64_t awaited[64];
	unsigned nawaited;
	/* the cache */
	struct list bucket[CACHE_BUCKETS];
	struct list lru; /* clean and dirty; the least recently used first */
	unsigned nnodes, ndirty;
	/* metadata writes in flight during a commit */
	struct store_req wr[STORE_IO_DEPTH];
	bool wr_busy[STORE_IO_DEPTH];
	unsigned wr_next;
};

/* catalog.c: whether an open snapshot reads the object. */
bool catalog_reads(struct store *s, uint64_t id);
/* store_object.c: removes those of the awaited orphans that nobody reads any more. */
void orphans_retry(struct store *s);

/* store_cache.c */
void cache_init(struct store *s);
void cache_free(struct store *s);
struct node *cache_find(struct store *s, uint64_t id);
/* The same without counting as a use: the order of the LRU list stays. */
struct node *cache_peek(struct store *s, uint64_t id);
/* A new node with zeroed content; NULL when out of memory. */
struct node *cache_add(struct store *s, uint64_t id, unsigned level);
void cache_drop(struct store *s, struct node *n);
void cache_rename(struct store *s, struct node *n, uint64_t id);
void cache_set_dirty(struct store *s, struct node *n);
void cache_set_clean(struct store *s, struct node *n);
/* Drops clean nodes above the limit. No pointer to an unpinned node survives. */
void cache_trim(struct store *s);
/* Drops all clean nodes, so that checking sees the disk. */
void cache_drop_clean(struct store *s);
uint32_t block_crc(const uint8_t *buf);
/* Reads a block and checks its header and CRC against what the pointer says. */
int block_load(struct store *s, uint64_t block, enum store_block_type type, unsigned level,
    uint64_t index, uint64_t gen, uint32_t crc, uint8_t *buf, struct errmsg *e);
void block_header(struct store *s, uint8_t *buf, enum store_block_type type, unsigned level,
    uint64_t index, uint64_t block);
/* Seals (CRC) and writes a node's buffer; several may be in flight until meta_wait(). */
int meta_write(struct store *s, struct node *n, uint64_t block, struct errmsg *e);
int meta_wait(struct store *s, struct errmsg *e);

/* store_refmap.c */
void map_geometry(struct store *s); /* ngroups, map_level from nblocks */
uint64_t map_initial_free(const struct store *s);
/* A run of blocks that a pointer on disk may name: inside, and not the map's own. */
bool map_run_ok(const struct store *s, uint64_t block, uint64_t count);
/* Up to want blocks in one run: *got of them, at least one. ERR_NOSPACE. */
int map_alloc(struct store *s, uint64_t *goal, uint32_t want, uint64_t *block, uint32_t *got,
    struct errmsg *e);
/* One reference more to each block of the run. ERR_FULL: one has as many as can be counted. */
int map_ref(struct store *s, uint64_t block, uint32_t count, struct errmsg *e);
/* Whether all blocks of the run are referenced; loads what map_unref() then needs. */
int map_prepare_unref(struct store *s, uint64_t block, uint32_t count, struct errmsg *e);
int map_unref(struct store *s, uint64_t block, uint32_t count, struct errmsg *e);
/* The counts of a group: MAP_LEAF_COUNTS little-endian u16. */
int map_group(struct store *s, uint64_t group, const uint8_t **counts, struct errmsg *e);
uint64_t map_group_first(uint64_t group);
uint32_t map_group_blocks(const struct store *s, uint64_t group);
uint32_t map_group_fixed(uint64_t group); /* leading blocks that hold the map itself */
/*
 * The store has so many blocks from now on, which are more than before; durable with the next
 * commit. Nothing is uncommitted. An error changes nothing.
 */
int map_grow(struct store *s, uint64_t nblocks, struct errmsg *e);
int map_flush(struct store *s, struct errmsg *e);
void map_committed(struct store *s);
/* Blocks that may be taken now. */
static inline uint64_t map_available(const struct store *s)
{
	return s->map_root.free - s->pending_free;
}

/* store_tree.c */
int key_cmp(const struct store_key *a, const struct store_key *b);
/* An empty tree. */
int tree_create(struct store *s, struct errmsg *e);
/* The first item with a key >= *key: *key becomes its key; data (in the cache) is good until the
 * next change or trim. ERR_NOENT at the end. */
int tree_seek(
    struct store *s, struct store_key *key, const uint8_t **data, uint32_t *len, struct errmsg *e);
/* The item with this key, or ERR_NOENT. */
int tree_get(struct store *s, const struct store_key *key, const uint8_t **data, uint32_t *len,
    struct errmsg *e);
/*
 * Records found by a hash: the low byte of the offset tells apart those whose hash is the same.
 * match: OK (this one), ERR_NOENT (another), or an error that ends the search. OK: *key is the
 * record's; ERR_NOENT: *key is where it would go. On entry the low byte is 0.
 */
int tree_find_hashed(struct store *s, struct store_key *key,
    int (*match)(void *ctx, const uint8_t *data, uint32_t len, struct errmsg *e), void *ctx,
    struct errmsg *e);
/* ERR_EXIST if the key is there. */
int tree_insert(
    struct store *s, const struct store_key *key, const void *data, uint32_t len, struct errmsg *e);
/* Replaces the data of an item by as many bytes. */
int tree_update(
    struct store *s, const struct store_key *key, const void *data, uint32_t len, struct errmsg *e);
int tree_delete(struct store *s, const struct store_key *key, struct errmsg *e);
int tree_flush(struct store *s, struct errmsg *e);
/* Calls for every node, parents first, and for every item of every leaf, in order. */
struct tree_visitor {
	int (*node)(void *ctx, uint64_t block, struct errmsg *e);
	int (*item)(void *ctx, const struct store_key *k, const uint8_t *data, uint32_t len,
	    struct errmsg *e);
	void *ctx;
};
int tree_walk(struct store *s, const struct tree_visitor *v, struct errmsg *e);

/* store_object.c */
int extent_decode(const struct store *s, const struct store_key *k, const uint8_t *data,
    uint32_t len, struct store_extent *out, struct errmsg *e);
int object_decode(uint64_t id, const uint8_t *data, uint32_t len, struct store_object_info *out,
    struct errmsg *e);
/* Whether the object is listed as begun or half deleted. */
int object_is_orphan(struct store *s, uint64_t id, bool *orphan, struct errmsg *e);
/* Overwrites the record, in one change of the tree. */
int object_put(struct store *s, uint64_t id, const struct store_object_info *in, struct errmsg *e);
int orphans_remove(struct store *s);

/* disk_object.c, vdisk.c: records of disks; the values are checked, what they name is not looked
 * at. */
struct disk_chunk;
struct vdisk;
int disk_chunk_decode(const struct store *s, const struct store_key *k, const uint8_t *data,
    uint32_t len, struct disk_chunk *out, struct errmsg *e);
/* Removes the record of a chunk and the references that it held. */
int disk_chunk_remove(struct store *s, const struct store_key *k, const uint8_t *data, uint32_t len,
    struct errmsg *e);
int vdisk_decode(const uint8_t *data, uint32_t len, struct vdisk *out, struct errmsg *e);

/* store.c: may the running change go on? ERR_STATE (read-only, dead), ERR_NOSPACE (reserve). */
int store_may_change(struct store *s, bool deleting, struct errmsg *e);

/* store.c: that machine is frozen as soon as the next commit is durable. */
int store_freeze(struct store *s, const uint8_t uuid[16], struct errmsg *e) MUST_CHECK;

#endif
