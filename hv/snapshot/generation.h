/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether a machine made of a snapshot goes on as the one that was frozen in it, or begins a new
 * generation, because the one that it is of went on from there too, or may have.
 *
 * A machine goes on only if it was frozen in just this snapshot, in just this store, and has been
 * neither restored, cloned nor started since. Any doubt makes a new generation: that costs the
 * guest a few random bytes, the opposite may cost it its secrets.
 */
#ifndef AMBER_SNAPSHOT_GENERATION_H
#define AMBER_SNAPSHOT_GENERATION_H

#include "hv/lib/state.h"
#include "hv/snapshot/store.h"

/* The freezing that a snapshot is of; epoch 0: none, the machine went on. */
struct generation {
	uint8_t store[16], machine[16]; /* UUIDs */
	uint64_t epoch;			/* the machine's, from then on until it lives again */
};

/* What the freezing is going to be that the next commit may bring. The store is locked here and in
 * the functions below that take one. */
int generation_next(struct store *s, const uint8_t machine[16], struct generation *out,
    struct errmsg *e) MUST_CHECK;
/* Into a state tree, at its root, behind its properties. */
void generation_write(struct state_writer *w, const struct generation *g);
/* Out of a checked one; ERR_CORRUPT. */
int generation_read(const void *fdt, struct generation *out, struct errmsg *e) MUST_CHECK;
/* *current: the machine is still frozen in that snapshot. */
int generation_current(
    struct store *s, const struct generation *g, bool *current, struct errmsg *e) MUST_CHECK;
/* Another machine is made of the snapshot: the one that is frozen in it, if there is one, will
 * begin a new generation as well. Commits. */
int generation_fork(struct store *s, const struct generation *g, struct errmsg *e) MUST_CHECK;

#endif
