/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine as a state tree, and back (design brief, section 6): everything
 * but RAM and disk contents. docs/snapshot-format.md describes the nodes.
 */
#ifndef AMBER_SNAPSHOT_VM_TREE_H
#define AMBER_SNAPSHOT_VM_TREE_H

#include "hv/core/vm.h"
#include "hv/lib/state.h"

#define VM_TREE_FORMAT	"amber,guest-state"
#define VM_TREE_VERSION 1

/* Copies the state of a quiesced VM (I7) into the writer; encode it when the guest runs again. */
void vm_tree_capture(struct vm *vm, struct state_writer *w);

/* A restore under way: the new machine, built aside, with everything decoded and checked. */
struct vm_restore {
	struct vm *vm;
	struct vcpu_state **vcpus; /* decoded, one a vCPU */
	void **devices;		   /* decoded, in the order of vm->devices */
	unsigned ndevices;
	uint64_t vm_time, tsc_hz, tsc_nominal_hz;
	uint64_t advance; /* by how much VM time jumps, ns */
};

/* How the machine that is built differs from the one that was saved. */
struct vm_tree_as {
	const char *name; /* NULL: the same */
	/* Changes the rest of its configuration before it is built; NULL: nothing. */
	int (*change)(struct vm_config *c, void *ctx, struct errmsg *e);
	void *ctx;
};

/*
 * Check (I6): of a tree as snap_state() gives it, whose structure is checked
 * already, the configuration, what the CPU model needs of this host, every record.
 * Builds the machine, stopped and parked, with empty RAM and promised memory.
 * On failure nothing is left behind, and the message names the record.
 */
int vm_tree_check(const void *fdt, const struct vm_tree_as *as, struct vm_restore *out,
    struct errmsg *e) MUST_CHECK;
/* Load: puts the checked state in place; cannot fail. The machine is then paused. */
void vm_tree_load(struct vm_restore *r);
/* Frees what vm_tree_check() decoded; with the machine too unless keep_vm. */
void vm_tree_done(struct vm_restore *r, bool keep_vm);

#endif
