/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Marks: a moment of a machine that is kept in RAM, to go back to as often as wanted. Going back
 * costs what was changed since. Each takes the VM's mutex; thread context; may wait.
 */
#ifndef AMBER_CORE_VM_MARK_H
#define AMBER_CORE_VM_MARK_H

#include "hv/core/vm.h"

/* What a mark has to do with disks that the machine writes. The machine is quiesced, its requests
 * are finished. */
struct vm_mark_disks {
	/* *state is the mark's until drop(). ERR_UNSUPPORTED: one of them could not be taken back.
	 */
	int (*mark)(struct vm *vm, void **state, struct errmsg *e);
	/* All or none of them is as it was at the mark; as often as wanted. ERR_BUSY: another
	 * machine, which runs or is paused, has one of them by now. */
	int (*rewind)(struct vm *vm, void *state, struct errmsg *e);
	void (*drop)(void *state);
};
/* Set once at start; NULL: a machine that writes a disk cannot be marked. */
extern const struct vm_mark_disks *vm_mark_disks;

/*
 * Marks a running or paused machine as it is now; an earlier mark is gone. ERR_STATE,
 * ERR_UNSUPPORTED (a disk that it writes could not be taken back), ERR_NOMEM: then there is none.
 */
int vm_mark(struct vm *vm, struct errmsg *e) MUST_CHECK;

struct rewind_result {
	uint64_t pages; /* of RAM that were put back */
	uint64_t ns;	/* that the machine stood still */
};
/*
 * Throws a machine back to its mark, whatever has become of it since: a running one runs on from
 * there, one that was stopped by its own fault runs again, a paused one stays paused. ERR_STATE:
 * there is no mark (a reset, start or restore forgets it).
 */
int vm_rewind(struct vm *vm, struct rewind_result *out, struct errmsg *e) MUST_CHECK;
/* Forgets the mark. ERR_STATE: there is none. */
int vm_unmark(struct vm *vm, struct errmsg *e) MUST_CHECK;
/* With the VM's mutex, or nobody else knowing of it. Harmless without a mark. */
void vm_mark_free(struct vm *vm);

#endif
