/* SPDX-License-Identifier: BSD-2-Clause */
/* What the commands about snapshots show alike. */
#ifndef AMBER_CONSOLE_SNAP_SHOW_H
#define AMBER_CONSOLE_SNAP_SHOW_H

#include "hv/console/progress.h"
#include "hv/console/table.h"
#include "hv/snapshot/snap_tree.h"

/* The bar, and Ctrl-C, of a command that takes long. Start with the call and what it does. */
struct watch {
	struct console_call *call;
	struct progress bar;
	const char *what; /* "saving" */
	bool started;
};

/* For functions that report progress; ctx is the watch. False after Ctrl-C. */
bool watch_progress(void *ctx, uint64_t done, uint64_t total);
void watch_end(struct watch *w);

/* "8f3c...": 16 bytes in the usual text form; returns out. */
const char *snap_id_text(const uint8_t id[16], char out[37]);
enum { SNAP_TIME_SIZE = 32 };
/* "2026-11-21T09:15:00Z", of nanoseconds since 1970; returns out. */
const char *snap_time_text(uint64_t ns, char out[SNAP_TIME_SIZE]);
/* What a snapshot itself takes in the store. */
uint64_t snap_own_bytes(const struct snap_info *i);
/* The members that every snapshot has in JSON; x is an entry of t. */
void snap_show_json(struct json *j, const struct snap_tree *t, const struct snap_entry *x);
/*
 * All snapshots, with the store locked, and the one of this name, which is there: *x. After an
 * error too, snap_tree_free() is due.
 */
int snap_tree_find(struct store *s, const char *name, struct snap_tree *t,
    const struct snap_entry **x, struct errmsg *e) MUST_CHECK;

#endif
