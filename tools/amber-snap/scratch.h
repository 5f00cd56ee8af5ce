/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A store's blocks in a file without a name, enciphered with a key that nobody but this process
 * has and that ends with it: what is left of it on a disk is noise.
 */
#ifndef AMBER_SNAP_SCRATCH_H
#define AMBER_SNAP_SCRATCH_H

#include "hv/snapshot/store.h"

struct scratch {
	int fd;
	uint64_t nblocks;
	uint32_t *writes; /* how often each block was written; 0: zeros */
	uint8_t key[32];
	struct store_io io;
};

/*
 * bytes: a multiple of STORE_BLOCK. In $TMPDIR, or /var/tmp; ERR_NOSPACE if that has not as much
 * room. After OK the caller owes scratch_close(); io points into s, which may not move.
 */
int scratch_open(struct scratch *s, uint64_t bytes, struct errmsg *e) MUST_CHECK;
void scratch_close(struct scratch *s);

#endif
