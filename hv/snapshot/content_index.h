/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which extents of RAM a store has, by what is in their blocks: so that equal content of snapshots
 * that know nothing of each other is stored once. The index is in memory only, made from the
 * extents' own records (their CRC is of the stored blocks), and every answer is looked up in them
 * again: so it may be incomplete or out of date and does no harm.
 *
 * As with the store, the caller serialises all calls on one store.
 */
#ifndef AMBER_SNAPSHOT_CONTENT_INDEX_H
#define AMBER_SNAPSHOT_CONTENT_INDEX_H

#include "hv/snapshot/store.h"

/*
 * Makes the index of what complete RAM objects hold, the newest first if it is too much, unless
 * there is one that will do. Reads the tree, about 1 MiB for each GiB of RAM, and takes 1 to 2 MiB
 * for it, at most 16. Without memory, or where the tree is damaged, some of it or all is missing.
 */
void content_index_make(struct store *s);
void content_index_free(struct store *s);
/* The object's extent x, just recorded, may be found from now on if it is worth it. */
void content_index_add(struct store *s, uint64_t object, const struct store_extent *x);
/*
 * The next recorded extent whose blocks probably hold what those of x do (encoding, lengths and CRC
 * are the same; the bytes are for the caller to compare), from *at on, 0 to begin with. It is in a
 * complete object, so that its blocks are written, or in 'own'. False: no more.
 */
bool content_index_next(struct store *s, uint64_t own, const struct store_extent *x, unsigned *at,
    struct store_extent *found);

#endif
