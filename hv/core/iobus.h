/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ports and device memory of a VM: who answers at an address. Handlers run in
 * the vCPU's thread with no lock held; they take their device's own.
 * Registration at create and when a BAR moves, under the VM's bus lock.
 */
#ifndef AMBER_CORE_IOBUS_H
#define AMBER_CORE_IOBUS_H

#include "hv/lib/error.h"
#include "hv/lib/types.h"

struct vm;

/* value holds len bytes (ports 1, 2, 4; memory 1..8), zero-extended; unclaimed reads give all ones.
 */
struct io_handler {
	void (*read)(void *ctx, uint64_t offset, unsigned len, uint64_t *value);
	void (*write)(void *ctx, uint64_t offset, unsigned len, uint64_t value);
};

struct io_region {
	const char *name; /* for messages and statistics */
	uint64_t start, size;
	const struct io_handler *ops;
	void *ctx;
	bool mapped;
};

/* ERR_EXIST if it overlaps another mapped region. The region struct stays the caller's. Any thread.
 */
int iobus_map_port(struct vm *vm, struct io_region *r) MUST_CHECK;
int iobus_map_mmio(struct vm *vm, struct io_region *r) MUST_CHECK;
void iobus_unmap_port(struct vm *vm, struct io_region *r);
void iobus_unmap_mmio(struct vm *vm, struct io_region *r);

#endif
