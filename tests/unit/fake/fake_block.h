/* SPDX-License-Identifier: BSD-2-Clause */
/* A RAM disk under the real block layer, which holds, fails and counts requests as a test wishes.
 */
#ifndef AMBER_TESTS_FAKE_BLOCK_H
#define AMBER_TESTS_FAKE_BLOCK_H

#include "hv/block/block.h"

struct fake_disk {
	struct blk_dev dev;
	uint8_t *data;
	bool hold;				   /* keep requests until fake_disk_complete() */
	int fail;				   /* status of every request that is completed */
	unsigned reads, writes, flushes, discards; /* that reached the disk */
	unsigned max_pieces;			   /* longest scatter list seen */
	struct list held;
	unsigned nheld;
};

/*
 * Registers a disk of this name and size, or makes one of this name as new:
 * zeroed, not holding, not failing, no request held. At most 8 names.
 */
struct fake_disk *fake_disk_new(const char *name, uint64_t nsectors);
/* Carries out and completes the oldest request held; false if there is none. */
bool fake_disk_complete(struct fake_disk *d);

#endif
