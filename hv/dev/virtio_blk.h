/* SPDX-License-Identifier: BSD-2-Clause */
/* What the snapshot engine wants to know of a guest's disk before it changes. */
#ifndef AMBER_DEV_VIRTIO_BLK_H
#define AMBER_DEV_VIRTIO_BLK_H

#include "hv/lib/error.h"

struct vm;
struct blk_dev;

/*
 * A partition is written by one machine at a time. Makes vm the owner of all
 * disks that it may write; ERR_BUSY, naming disk and machine, and nothing is
 * changed, if one belongs to a machine that runs or is paused, other than vm
 * itself and 'instead' (which it will replace; may be NULL). At power-on and at
 * restore; the console's or the manager's thread.
 */
int virtio_blk_claim(struct vm *vm, struct vm *instead, struct errmsg *e) MUST_CHECK;

/*
 * Called before the guest's first write or discard after the machine was
 * created, reset, paused (hence: saved) or restored, so that the disk's write
 * epoch can be raised and flushed first. A write that was under way when the
 * machine was saved, which a restore does again, is not a new one; the restored
 * machine's is. In the device's own thread, no lock of the device held; it may
 * wait for the disk, and only a drain waits for it. OK: the write goes on, and
 * the hook is not called again until the next of these events. An error: the
 * writes that waited fail, and the next one asks again. NULL: nobody wants to know.
 */
extern int (*virtio_blk_before_first_write)(struct vm *vm, struct blk_dev *backend);

/*
 * Finds the device of a back end "store:NAME", and makes that disk first if there
 * is none and the configuration says how. When the machine is made; thread
 * context, may wait. NULL: there are no such disks.
 */
struct config_dev;
extern int (*virtio_blk_open_store)(
    const struct config_dev *cfg, struct blk_dev **out, struct errmsg *e);
/*
 * Called for each disk that the machine may write, from virtio_blk_claim(): the
 * machine is about to start or to be restored. An error refuses that. NULL: nobody
 * wants to know.
 */
extern int (*virtio_blk_claiming)(struct vm *vm, struct blk_dev *backend, struct errmsg *e);

#endif
