/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests that a driver cannot take as they are: too many pieces or sectors,
 * or pieces that its DMA cannot reach. They are done as several requests, with
 * a copy where needed.
 */
#ifndef AMBER_BLOCK_SPLIT_H
#define AMBER_BLOCK_SPLIT_H

#include "hv/block/block.h"

/* True if root's driver can take r (checked, pieces adding up) as it is. Any context. */
bool split_unneeded(const struct blk_dev *root, const struct blk_req *r);
/*
 * Does r, of which lba is set, in parts; completes it with the first error.
 * ERR_NOMEM if there is no memory for the parts. Thread context, no lock held.
 */
void split_submit(struct blk_dev *root, struct blk_req *r);

#endif
