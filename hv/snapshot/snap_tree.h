/* SPDX-License-Identifier: BSD-2-Clause */
/* The snapshots of a store as a tree: each below the one that it holds the changes since. */
#ifndef AMBER_SNAPSHOT_SNAP_TREE_H
#define AMBER_SNAPSHOT_SNAP_TREE_H

#include "hv/snapshot/snapshot.h"

#define SNAP_NO_PARENT ((size_t)-1)

struct snap_entry {
	struct snap_info info;
	size_t parent; /* index of the entry; or SNAP_NO_PARENT: full, or the other is gone */
	bool based;    /* it has the id of a parent, there or gone */
	bool visited;  /* snap_tree_walk()'s own */
};

struct snap_tree {
	struct snap_entry *entry; /* the oldest first */
	size_t n, cap;
	size_t ndamaged;       /* records that cannot be read, and are not among the entries */
	struct errmsg damaged; /* the first of them: why */
	bool no_memory;	       /* snap_tree_get()'s own */
};

/*
 * Reads all records, with the store locked; the tree can be used without. ERR_NOMEM, ERR_IO and the
 * like. After an error too, snap_tree_free() is due.
 */
int snap_tree_get(struct store *s, struct snap_tree *t, struct errmsg *e) MUST_CHECK;
void snap_tree_free(struct snap_tree *t);
/*
 * Calls fn for every entry once, a parent before its children, who follow it at once; siblings and
 * roots the oldest first. depth: 0 for roots. Where ids lead round in a circle, one is taken for a
 * root.
 */
void snap_tree_walk(struct snap_tree *t,
    void (*fn)(void *ctx, const struct snap_entry *x, unsigned depth), void *ctx);

#endif
