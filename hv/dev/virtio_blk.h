/* SPDX-License-Identifier: BSD-2-Clause */
/* What the snapshot engine wants to know of a guest's disk before it changes. */
#ifndef AMBER_DEV_VIRTIO_BLK_H
#define AMBER_DEV_VIRTIO_BLK_H

#include "hv/lib/error.h"

struct vm;
struct blk_dev;

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

#endif
