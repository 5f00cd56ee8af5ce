/* SPDX-License-Identifier: BSD-2-Clause */
/* The host's disks behind the devices of machines: finding them, and who may write them. */
#ifndef AMBER_DEV_DISK_BACKEND_H
#define AMBER_DEV_DISK_BACKEND_H

#include "hv/lib/error.h"

struct vm;
struct device;
struct blk_dev;
struct config_dev;

/*
 * The disk that a device's configuration names; one of the store is opened, and made first if there
 * is none and the configuration says how. A model sets dev->disk if the guest may write it. When
 * the machine is made; thread context, may wait. ERR_NOENT, ERR_INVAL (not a partition for guests),
 * and what the store says.
 */
int disk_backend_find(
    const struct config_dev *cfg, struct blk_dev **out, struct errmsg *e) MUST_CHECK;
/* The machine lets go of dev->disk. At destroy; harmless without one. */
void disk_backend_release(struct device *dev);

/*
 * A disk is written by one machine at a time. Makes vm the owner of all
 * disks that it may write; ERR_BUSY, naming disk and machine, and nothing is
 * changed, if one belongs to a machine that runs or is paused, other than vm
 * itself and 'instead' (which it will replace; may be NULL). At power-on and at
 * restore; the console's or the manager's thread.
 */
int disk_backend_claim(struct vm *vm, struct vm *instead, struct errmsg *e) MUST_CHECK;

/* Finds the device of a back end "store:NAME" for disk_backend_find(). NULL: there are no such
 * disks. */
extern int (*disk_backend_open_store)(
    const struct config_dev *cfg, struct blk_dev **out, struct errmsg *e);
/*
 * Called for each disk that the machine may write, from disk_backend_claim(): the
 * machine is about to start or to be restored. An error refuses that. NULL: nobody
 * wants to know.
 */
extern int (*disk_backend_claiming)(struct vm *vm, struct blk_dev *disk, struct errmsg *e);

#endif
