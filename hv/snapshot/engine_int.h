/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by engine.c, save.c and restore.c. */
#ifndef AMBER_SNAPSHOT_ENGINE_INT_H
#define AMBER_SNAPSHOT_ENGINE_INT_H

#include "hv/snapshot/engine.h"

/* Returns err, with the snapshot's name before the message if it is not there yet. */
int engine_error(const char *name, int err, struct errmsg *e);
/* How often a disk's write epoch was raised since the start. Any context. */
uint64_t engine_epochs_raised(void);
/*
 * With the store locked: it is not closed and opened anew behind a user of it that lets go of the
 * lock between two steps. After a failure it refuses changes until the last one has released it.
 */
void engine_hold(void);
/* Without the lock, and with it. */
void engine_release(void);
void engine_let_go(void);
/* The store's lock, whether there is a store or not: for what it protects beside the store. Give it
 * back with engine_unlock(). */
void engine_lock_only(void);
/* A new identifier. */
void engine_make_id(uint8_t id[16]);

/* Does anybody wait for the store's lock? Any context. */
bool engine_is_wanted(void);
/* The store, if the calling thread holds it locked; else NULL. */
struct store *engine_store_if_mine(void);

#endif
