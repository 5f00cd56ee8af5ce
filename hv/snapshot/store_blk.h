/* SPDX-License-Identifier: BSD-2-Clause */
/* A store's I/O over a block device (the reserved partition): several requests in flight. */
#ifndef AMBER_SNAPSHOT_STORE_BLK_H
#define AMBER_SNAPSHOT_STORE_BLK_H

#include "hv/block/block.h"
#include "hv/snapshot/store.h"

/*
 * Fills *io for the device; OK or ERR_NOMEM. io->ctx owns memory until store_blk_destroy(), which
 * comes after the last store over it is closed. Thread context.
 */
int store_blk_io(struct blk_dev *d, struct store_io *io) MUST_CHECK;
void store_blk_destroy(struct store_io *io);

#endif
