/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The disks of the store as block devices, "store:NAME": what lies below them, a thread
 * for each that carries out its requests, and what the engine and the console do with them
 * while a machine may have one.
 *
 * A device is registered when its disk is first opened, and stays, as all block devices do;
 * without its disk (deleted, damaged) its requests fail.
 */
#ifndef AMBER_SNAPSHOT_OVERLAY_BLK_H
#define AMBER_SNAPSHOT_OVERLAY_BLK_H

#include "hv/block/block.h"
#include "hv/core/vm_config.h"
#include "hv/snapshot/overlay.h"
#include "hv/snapshot/snapshot.h"

/* Sets the hooks through which machines find such disks; once, by engine_init(). */
void overlay_blk_init(void);

/* True if d is one of these. */
bool overlay_blk_is(const struct blk_dev *d);

/* --- with the store locked; s is what engine_lock() gave -------------------------------- */

/*
 * The device of the disk of that name, with the disk open. ERR_NOENT: no such disk, or its base is
 * not here; ERR_STATE: its base was written since.
 */
int overlay_blk_open(
    struct store *s, const char *name, struct blk_dev **out, struct errmsg *e) MUST_CHECK;
/*
 * Makes a disk. base: a partition or payload file, NULL or "": none. size in bytes, 0: the base's.
 * ERR_BUSY: the partition is written by a machine.
 */
int overlay_blk_create(struct store *s, const char *name, const char *base, uint64_t size,
    struct errmsg *e) MUST_CHECK;
/* The open disk behind the device, or NULL: for flattening, resizing and the like. */
struct overlay *overlay_blk_disk(struct blk_dev *d);
/* The disk is another size. */
void overlay_blk_resized(struct blk_dev *d);
/* Forgets the open disk: it was deleted, or is to be opened anew. */
void overlay_blk_forget(struct blk_dev *d);
/* That the snapshot's disk is here, and may be given to what it recorded. Opens it. */
int overlay_blk_check(struct store *s, const struct snap_disk *rec, struct errmsg *e) MUST_CHECK;
/*
 * Makes a disk of its own, with the content that the snapshot recorded and the base that the
 * recorded disk has: for a clone of the machine. Both share all blocks until one writes. ERR_EXIST.
 */
int overlay_blk_clone(
    struct store *s, const struct snap_disk *rec, const char *name, struct errmsg *e) MUST_CHECK;
/*
 * Gives all n disks the content that a snapshot recorded, in one commit: all or none of them has
 * it after a power cut. Each was checked by overlay_blk_check(). The machine that had them stands
 * still, its requests are finished. After an error the disks are as they were.
 */
int overlay_blk_restore(
    struct store *s, const struct snap_disk *rec, unsigned n, struct errmsg *e) MUST_CHECK;

/* The store was opened anew after an error. */
void overlay_blk_reattach(struct store *s);

/* --- the store NOT locked --------------------------------------------------------------- */

/*
 * The instant of a snapshot among a disk's requests. Zeroed before its use, and there until
 * overlay_blk_marked() has returned.
 */
struct overlay_mark {
	struct blk_req req; /* in the disk's queue */
	struct snap_disk rec;
	struct errmsg e;
	bool set, done;
};
/*
 * The machine stands still: what was finished before is in the snapshot, what is submitted from now
 * on is not, what is in flight may be (a restore does it again). Waits for nothing.
 */
void overlay_blk_mark(struct blk_dev *d, struct overlay_mark *m);
/*
 * Waits until the disk has come to the mark and is frozen there. out: what the snapshot records of
 * it, the layer in out->overlay, which snap_writer_disk() links. OK, doing nothing, for one that
 * was not set.
 */
int overlay_blk_marked(struct overlay_mark *m, struct snap_disk *out, struct errmsg *e) MUST_CHECK;
/*
 * Before a snapshot, while the machine still runs: merges layers if there are many, so that there
 * is room for one more. May take long.
 */
int overlay_blk_prepare(struct blk_dev *d, struct errmsg *e) MUST_CHECK;
/*
 * Writes what the layers hold into the base partition, and leaves the disk empty over it. No
 * machine has the disk or the partition, and nothing else depends on the partition (ERR_BUSY). Cut
 * off at any moment, it may be done again. progress (may be NULL) hears how
 * many bytes of the disk are passed; if it returns false: ERR_CANCELLED.
 */
int overlay_blk_commit(const char *name, bool (*progress)(void *ctx, uint64_t done, uint64_t total),
    void *ctx, struct errmsg *e) MUST_CHECK;

#endif
