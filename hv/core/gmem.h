/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory: the one way to read and write it (I2). Every function may wait
 * and may fail: no spinlock held, no interrupt context. Reads copy: what was
 * read once does not change any more (I3).
 */
#ifndef AMBER_CORE_GMEM_H
#define AMBER_CORE_GMEM_H

#include "hv/lib/error.h"
#include "hv/lib/types.h"

struct vm;

/* OK, or ERR_FAULT if any byte is not RAM (nothing is copied then). */
int gmem_read(struct vm *vm, gpa_t addr, void *buf, uint64_t len) MUST_CHECK;
int gmem_write(struct vm *vm, gpa_t addr, const void *buf, uint64_t len) MUST_CHECK;
int gmem_zero(struct vm *vm, gpa_t addr, uint64_t len) MUST_CHECK;
/* Little-endian scalars with single-copy atomicity when naturally aligned (virtio ring indexes). */
int gmem_read_u16(struct vm *vm, gpa_t addr, uint16_t *v) MUST_CHECK;
int gmem_write_u16(struct vm *vm, gpa_t addr, uint16_t v) MUST_CHECK;
int gmem_cmpxchg(
    struct vm *vm, gpa_t addr, void *old, const void *desired, unsigned len) MUST_CHECK;

/* A piece of host memory for DMA. */
struct sg {
	hpa_t addr;
	uint32_t len;
};
/*
 * Announces host DMA at submission: the host-physical pieces of a guest range,
 * at most max; device_writes says that the device stores into it (marks it
 * dirty now). OK and *count, ERR_FAULT if not RAM, ERR_FULL if max is too small.
 */
int gmem_dma_map(struct vm *vm, gpa_t addr, uint64_t len, bool device_writes, struct sg *sg,
    unsigned max, unsigned *count) MUST_CHECK;
/* When the request is finished; each map has one unmap. */
void gmem_dma_unmap(struct vm *vm, const struct sg *sg, unsigned count, bool device_wrote);

/* --- for the core, loaders of snapshots and machine life cycle --------------- */

/* Backs size bytes of RAM with zeroed frames and maps them in the VM's nested tables. */
int gmem_create(struct vm *vm, uint64_t size, struct errmsg *e) MUST_CHECK;
void gmem_destroy(struct vm *vm);

/* A contiguous piece of guest-physical RAM. */
struct gmem_range {
	uint64_t start, size;
};
#define GMEM_MAX_RANGES 2
/* The RAM ranges in ascending order; returns their number. */
unsigned gmem_ranges(struct vm *vm, struct gmem_range out[GMEM_MAX_RANGES]);

/*
 * The host's view of guest RAM at addr, for snapshots of a quiesced VM (I7):
 * NULL if addr is not RAM. *len gets the bytes that follow contiguously.
 */
const void *gmem_peek(struct vm *vm, gpa_t addr, uint64_t *len);

#endif
