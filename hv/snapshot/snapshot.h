/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Snapshots in a store: a named record that refers to a state tree, the RAM, and the disks'
 * identities. Knows nothing of VMs, vendors or devices.
 *
 * As with the store, the caller serialises all calls on one store (RANK_STORE), and may let
 * go between two of them. Saving and reading compress: THREAD_XSTATE threads only.
 */
#ifndef AMBER_SNAPSHOT_SNAPSHOT_H
#define AMBER_SNAPSHOT_SNAPSHOT_H

#include "hv/snapshot/store.h"

enum {
	SNAP_FORMAT = 1, /* version of the state tree's schema that is written now */
	SNAP_DISKS_MAX = 32,
	SNAP_SET_MAX = WS_PIECES_MAX, /* pieces of a working set */
};

struct snap_params {
	const char *name; /* 1..63 of [A-Za-z0-9._-], the first a letter or digit */
	const char *vm;	  /* 1..63 printable characters */
	uint8_t id[16];
	uint64_t created; /* nanoseconds since 1970 */
	uint64_t memory;  /* bytes of RAM */
	bool replace;	  /* a snapshot of this name gives way when the new one is whole */
	/*
	 * NULL: all of RAM is given to the writer. Else only what changed since this snapshot was
	 * taken (which may be the one that gives way), zeros included.
	 */
	const char *parent_name;
	/* UUID of the machine that is frozen as soon as the snapshot is there; NULL: none */
	const uint8_t *freeze;
};

struct snap_info {
	char name[STORE_NAME_MAX + 1], vm[STORE_NAME_MAX + 1];
	uint8_t id[16];
	uint8_t parent[16]; /* id of the snapshot that it holds the changes since; zeros: full */
	uint64_t created, memory;
	uint32_t format;
	unsigned ndisks;
	uint64_t state_bytes;
	/* of RAM, what this snapshot itself holds: all that is not zero, or what changed */
	uint64_t ram_chunks, ram_bytes;
	uint64_t stored_bytes; /* that these take in the store, shared with others or not */
	/* of one just saved only, else 0: of them what other snapshots, or it, had there already */
	uint64_t shared_bytes;
	uint64_t state_object, ram_object;
	/* of an open snapshot only, else 0: objects that RAM is read from, the most bytes that
	 * snap_ram_next() can give of them, and what they all take in the store */
	unsigned levels;
	uint64_t total_ram_bytes, total_stored_bytes;
};

struct snap_disk {
	uint8_t guid[16];	       /* the partition's */
	uint64_t epoch;		       /* its write epoch when the snapshot was taken */
	uint64_t overlay;	       /* object; 0: the partition is written directly */
	char name[STORE_NAME_MAX + 1]; /* the device's, for messages */
};

/* OK if the name may be given to a snapshot; ERR_INVAL with the reason. */
int snap_name_check(const char *name, struct errmsg *e) MUST_CHECK;

/* --- saving -------------------------------------------------------------------------- */

struct snap_writer;

/*
 * ERR_EXIST, unless p->replace, if the name is taken. With a parent: ERR_NOENT, ERR_STATE (it has
 * another size of memory), ERR_RANGE (its chain of parents is as long as may be): after the latter
 * two the caller saves a full one. The parent may be deleted or replaced from then on.
 * p is not needed afterwards.
 */
int snap_writer_begin(struct store *s, const struct snap_params *p, struct snap_writer **out,
    struct errmsg *e) MUST_CHECK;
/* The encoded state tree; once, at any time before the commit. */
int snap_writer_state(
    struct snap_writer *w, const void *tree, size_t size, struct errmsg *e) MUST_CHECK;
/*
 * RAM, best in aligned pieces of 64 KiB and in ascending order of address, but any piece and any
 * order will do; data may change afterwards. ERR_INVAL: some of it was given before.
 */
int snap_writer_ram(
    struct snap_writer *w, gpa_t addr, const void *data, uint64_t len, struct errmsg *e) MUST_CHECK;
int snap_writer_disk(struct snap_writer *w, const struct snap_disk *d, struct errmsg *e) MUST_CHECK;
/*
 * The working set: n pieces of 64 KiB, aligned, that are likely to be wanted first by who goes on
 * from the snapshot, the most useful first; at most SNAP_SET_MAX. Once, or never.
 */
int snap_writer_set(
    struct snap_writer *w, const gpa_t *addr, unsigned n, struct errmsg *e) MUST_CHECK;
/* What was written so far: bytes of RAM that were not zero, and what they take. */
void snap_writer_progress(const struct snap_writer *w, uint64_t *ram_bytes, uint64_t *stored_bytes);
/*
 * Makes the snapshot durable and visible, and the one it replaces vanish, in one step.
 * Frees w in any case; after an error it is as after snap_writer_abort(), but after an error of
 * the disk in the last step the store has to be opened anew, which shows the old or the new.
 * info may be NULL.
 */
int snap_writer_commit(struct snap_writer *w, struct snap_info *info, struct errmsg *e) MUST_CHECK;
/* Leaves the store as if the saving had not begun. NULL is allowed. */
void snap_writer_abort(struct snap_writer *w);

/* --- reading ------------------------------------------------------------------------- */

struct snap;

/* By name; the catalog record and both objects' records are checked. ERR_NOENT if there is none. */
int snap_open(struct store *s, const char *name, struct snap **out, struct errmsg *e) MUST_CHECK;
void snap_close(struct snap *sn); /* NULL is allowed */
const struct snap_info *snap_info(const struct snap *sn);
/* Disk i < ndisks. */
int snap_disk(struct snap *sn, unsigned i, struct snap_disk *out, struct errmsg *e) MUST_CHECK;
/*
 * The working set as snap_writer_set() got it, into addr, which has room for SNAP_SET_MAX (or is
 * NULL: only *n is wanted); *n is 0 if there is none. Addresses are aligned; whether the machine
 * has RAM there, and whether one occurs twice, is not looked at. ERR_CORRUPT: it is not a list; the
 * snapshot is none the worse for it.
 */
int snap_set(struct snap *sn, gpa_t *addr, unsigned *n, struct errmsg *e) MUST_CHECK;
/* The state tree: checksums and sr_check_tree() passed. The caller frees it with heap_free(). */
int snap_state(struct snap *sn, void **fdt, size_t *size, struct errmsg *e) MUST_CHECK;
/*
 * Walks the RAM index without reading RAM, parents' included: order, ranges, totals (I6: before
 * any load). fn sees every range that snap_ram_next() would give, in ascending order though perhaps
 * cut otherwise, and may refuse it (RAM where the machine has none).
 */
int snap_ram_check(struct snap *sn,
    int (*fn)(void *ctx, uint64_t addr, uint64_t len, struct errmsg *e), void *ctx,
    struct errmsg *e) MUST_CHECK;
/*
 * The next piece of RAM, within an aligned 64 KiB, in ascending order, verified, into buf (64 KiB),
 * parents' included and the newest content always; ERR_NOENT after the last, when all that the
 * records count were seen. What is never delivered is zero.
 */
int snap_ram_next(
    struct snap *sn, gpa_t *addr, void *buf, uint32_t *len, struct errmsg *e) MUST_CHECK;
/*
 * The aligned 64 KiB of RAM that addr lies in, verified: from the newest down to the level that
 * leaves nothing open. Does not disturb snap_ram_next().
 */
int snap_ram_read(struct snap *sn, gpa_t addr, void *buf, struct errmsg *e) MUST_CHECK;
/* Begins to read them for a snap_ram_read() to come; false: not now, enough is under way. */
bool snap_ram_ahead(struct snap *sn, gpa_t addr);
/*
 * What RAM takes in the store when it stands alone, at most, and in how many pieces
 * (store_can_hold_pieces()), as after snap_copy(). Walks the index.
 */
int snap_full_size(struct snap *sn, uint64_t *bytes, uint64_t *pieces, struct errmsg *e) MUST_CHECK;
/*
 * Reads and checks everything, parents' RAM included: the message names the one that is bad.
 * progress (may be NULL) hears how many of the records' RAM bytes are done; if it returns false:
 * ERR_CANCELLED.
 */
int snap_verify(struct snap *sn, bool (*progress)(void *ctx, uint64_t done, uint64_t total),
    void *ctx, struct errmsg *e) MUST_CHECK;

/* --- the catalog --------------------------------------------------------------------- */

/*
 * Calls fn for every snapshot, the oldest first; it must not change the store. A damaged record
 * does not hide the others: fn gets info == NULL and why.
 */
int snap_list(struct store *s,
    void (*fn)(void *ctx, const struct snap_info *info, const struct errmsg *why), void *ctx,
    struct errmsg *e) MUST_CHECK;
/*
 * ERR_NOENT. One that is open (also one that gives way to another) can be read until it is closed;
 * its RAM stays while other snapshots are based on it.
 */
int snap_delete(struct store *s, const char *name, struct errmsg *e) MUST_CHECK;
/*
 * Makes a snapshot a full one, which needs no parent: in one step at the end, its RAM shared with
 * the parents' where it can be and copied elsewhere. Nothing to do for one that is full. ERR_NOENT;
 * ERR_BUSY while it is open; ERR_NOSPACE; ERR_CANCELLED if progress (may be NULL; hears bytes of
 * all levels' records) returns false.
 */
int snap_flatten(struct store *s, const char *name,
    bool (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx,
    struct errmsg *e) MUST_CHECK;
struct vdisk;
struct overlay_base;

/* Where to find what lies below the disks of a snapshot that is copied. */
struct snap_bases {
	/* The base of the disk v, which has one: *out is good until the next call. */
	int (*open)(void *ctx, const struct vdisk *v, struct overlay_base *out, struct errmsg *e);
	void *ctx;
};

struct snap_copy_params {
	const char *name;		/* in the other store */
	bool replace;			/* as for saving */
	const struct snap_bases *bases; /* copied below the disks' layers; NULL: bases stay where
					   they are, and have to be there when it is restored */
	/* may be NULL; hears how far it is; if it returns false: ERR_CANCELLED */
	bool (*progress)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
};

/*
 * Copies a snapshot into another store (export, import), where it is a full one, chunks as they
 * are stored, every checksum verified on the way; id, times and the like come from the snapshot.
 * Its disks that are in the store come with it, each as one layer; a disk of that name that the
 * other store has stays as it is, any other is made, all in the commit in which the snapshot
 * appears. ERR_EXIST: the snapshot's name is taken, or a disk's by one that is smaller or has
 * another base; ERR_NOENT, ERR_STATE: a disk's base is not known any more; ERR_NOSPACE.
 */
int snap_copy(struct snap *from, struct store *to, const struct snap_copy_params *p,
    struct errmsg *e) MUST_CHECK;
/*
 * What the copy takes in the other store at most, and in how many pieces
 * (store_can_hold_pieces()). Walks all indexes, and reads the bases if there are any to copy.
 */
int snap_copy_size(struct snap *from, const struct snap_bases *bases, uint64_t *bytes,
    uint64_t *pieces, struct errmsg *e) MUST_CHECK;

#endif
