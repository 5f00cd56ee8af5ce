/* SPDX-License-Identifier: BSD-2-Clause */
/* Partitions as block devices of their own. */
#ifndef AMBER_BLOCK_PARTITION_H
#define AMBER_BLOCK_PARTITION_H

#include "hv/block/block.h"

/*
 * Reads the GPT of a whole disk and adds a device for each partition; what is
 * wrong is logged, and leaves the disk without partitions. Thread context; waits.
 */
void partition_scan(struct blk_dev *disk);

#endif
