/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Freezing and thawing machines: the store of this host, saving a VM into it,
 * restoring one from it. Console threads only (THREAD_XSTATE: it compresses);
 * one at a time.
 */
#ifndef AMBER_SNAPSHOT_ENGINE_H
#define AMBER_SNAPSHOT_ENGINE_H

#include "hv/core/vm.h"
#include "hv/snapshot/snapshot.h"

/* done and total in bytes of RAM; false cancels. NULL is allowed everywhere. */
typedef bool (*engine_progress)(void *ctx, uint64_t done, uint64_t total);

/*
 * Finds the reserved partition and opens its store; makes an empty one on a
 * partition that has none. Without a partition, or with a damaged store, every
 * function below fails with that reason and guests run all the same. Once.
 */
void engine_init(void);

/* The store, locked, or NULL and the reason. Give it back with engine_unlock(). */
struct store *engine_lock(struct errmsg *e);
void engine_unlock(void);

enum save_flags {
	SAVE_POWEROFF = 1 << 0,
	SAVE_REPLACE = 1 << 1,
	SAVE_FULL = 1 << 2, /* all of RAM, also if only some of it has changed since the last one */
};

enum { SAVE_SLOTS_DEFAULT = 64 };

struct save_result {
	struct snap_info info;
	uint64_t bytes;	   /* in the store, state tree included */
	uint64_t pause_ns; /* how long the guest stood still; until now if it is frozen */
	uint64_t busy_ns;  /* what all CPUs did meanwhile, waiting left out: time_busy() */
};

/*
 * Saves a running or paused machine: what has changed since it was last saved or restored, if that
 * snapshot is still there, else all. A running one stands still for the moment of the snapshot and
 * goes on while it is written, or stays frozen (SAVE_POWEROFF). On failure nothing has changed.
 * slots: how many copies of 64 KiB may wait for the disk, 0: SAVE_SLOTS_DEFAULT; a guest that
 * outruns the disk by more waits.
 */
int engine_save(struct vm *vm, const char *name, unsigned flags, unsigned slots,
    engine_progress progress, void *ctx, struct save_result *out, struct errmsg *e) MUST_CHECK;

enum restore_flags {
	RESTORE_PAUSED = 1 << 0,  /* stays paused afterwards */
	RESTORE_ADVANCE = 1 << 1, /* VM time moves on by the wall time that passed since the save */
	RESTORE_EAGER = 1 << 2,	  /* all of RAM is read and checked before the machine runs */
};

struct restore_result {
	char vm[VM_NAME_MAX + 1];
	uint64_t bytes;		/* of RAM loaded before it ran */
	uint64_t first_insn_ns; /* from the call to the first vCPU that ran; 0 if paused */
	uint64_t busy_ns;	/* of it what all CPUs did, waiting left out: time_busy() */
};

/*
 * Restores a machine, as 'as' if not NULL, in place of the one of that name.
 * Everything is checked before that one is touched; on failure it goes on.
 */
int engine_restore(const char *name, const char *as, unsigned flags, engine_progress progress,
    void *ctx, struct restore_result *out, struct errmsg *e) MUST_CHECK;

/*
 * Makes count machines of one snapshot, called as-1, as-2 and so on (or as, if it is one), which
 * share its memory until they write to it. Their UUIDs come from their names. RESTORE_PAUSED or 0.
 * *made: how many there are, also after an error. Host memory is not promised to them.
 */
int engine_clone(const char *snapshot, const char *as, unsigned count, unsigned flags,
    unsigned *made, struct errmsg *e) MUST_CHECK;

/* True if the machine was saved with SAVE_POWEROFF and neither restored nor started since. */
bool engine_is_frozen(const struct vm_config *c);
/* It lives again: it will start at the next boot. */
int engine_clear_frozen(const struct vm_config *c, struct errmsg *e) MUST_CHECK;

#endif
