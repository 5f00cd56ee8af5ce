/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory: the one way to read and write it (I2). Every function may wait
 * and may fail: no spinlock held, no interrupt context. Reads copy: what was
 * read once does not change any more (I3).
 *
 * RAM comes in pieces of 64 KiB (GMEM_CHUNK), each of which has host memory of
 * its own, or none as long as nobody has touched it, or lies in a source still
 * (a snapshot). How pieces are watched for snapshots is in gmem_track.h.
 *
 * Errors of all that access guest memory: ERR_FAULT if any byte is not RAM, and
 * nothing was done; ERR_RETRY if a piece of RAM could not be had: the machine is
 * being stopped with the reason, and the access has to be made again if it goes on.
 */
#ifndef AMBER_CORE_GMEM_H
#define AMBER_CORE_GMEM_H

#include "hv/lib/error.h"
#include "hv/lib/types.h"

struct vm;

int gmem_read(struct vm *vm, gpa_t addr, void *buf, uint64_t len) MUST_CHECK;
int gmem_write(struct vm *vm, gpa_t addr, const void *buf, uint64_t len) MUST_CHECK;
int gmem_zero(struct vm *vm, gpa_t addr, uint64_t len) MUST_CHECK;
/* Little-endian scalars with single-copy atomicity when naturally aligned (virtio ring indexes). */
int gmem_read_u16(struct vm *vm, gpa_t addr, uint16_t *v) MUST_CHECK;
int gmem_write_u16(struct vm *vm, gpa_t addr, uint16_t v) MUST_CHECK;
int gmem_cmpxchg(
    struct vm *vm, gpa_t addr, void *old, const void *desired, unsigned len) MUST_CHECK;
/*
 * Makes a range ready to be read or written: what is done to it before the machine is next
 * quiesced cannot fail or wait any more.
 */
int gmem_prepare(struct vm *vm, gpa_t addr, uint64_t len, bool write) MUST_CHECK;

/* A piece of host memory for DMA, and where the guest has it. */
struct sg {
	hpa_t addr;
	uint32_t len;
	gpa_t guest;
};
/*
 * Announces host DMA at submission: the host-physical pieces of a guest range,
 * at most max; device_writes says that the device stores into it. OK and *count,
 * ERR_FULL if max is too small.
 */
int gmem_dma_map(struct vm *vm, gpa_t addr, uint64_t len, bool device_writes, struct sg *sg,
    unsigned max, unsigned *count) MUST_CHECK;
/* When the request is finished; each map has one unmap. Any context. */
void gmem_dma_unmap(struct vm *vm, const struct sg *sg, unsigned count, bool device_wrote);

/* --- for the core, loaders of snapshots and machine life cycle --------------- */

#define GMEM_CHUNK (64 * KIB)
enum { GMEM_CHUNK_PAGES = 16 };

/*
 * Guest RAM of size bytes, a multiple of 1 MiB, all zeros, and MEMMAP_ROM_SIZE of ROM, if there is
 * to be some (gmem_rom.h). Host memory for it is promised now, and taken when it is touched.
 */
int gmem_create(struct vm *vm, uint64_t size, bool rom, struct errmsg *e) MUST_CHECK;
void gmem_destroy(struct vm *vm);
/* All of it is zero again, and gives its host memory back. The machine is quiesced, no DMA is under
 * way; every vCPU is told to flush. */
void gmem_reset(struct vm *vm);

/* Promises host memory for what has none, if it is not promised; and takes the promise back: then
 * the machine takes what there is, and is paused if there is none. */
int gmem_promise(struct vm *vm, struct errmsg *e) MUST_CHECK;
void gmem_unpromise(struct vm *vm);

/* A contiguous piece of guest-physical RAM, or the ROM. */
struct gmem_range {
	uint64_t start, size;
};
#define GMEM_MAX_RANGES 3
/* RAM and ROM in ascending order; returns the number of ranges. */
unsigned gmem_ranges(struct vm *vm, struct gmem_range out[GMEM_MAX_RANGES]);

/*
 * The host's view of guest RAM at addr, to be read: NULL if addr is not RAM, or has no host
 * memory yet. *len gets the bytes that follow contiguously. Valid until the vCPU's next
 * VCPU_REQ_TLB.
 */
const void *gmem_peek(struct vm *vm, gpa_t addr, uint64_t *len);

enum gmem_fault { GMEM_NOT_RAM, GMEM_SERVED, GMEM_WAS_READY };
/*
 * A nested page fault at addr. NOT_RAM: nor ROM that is only read. SERVED: ready now; or it could
 * not be had and the machine is being stopped. WAS_READY: the CPU knew an older, stricter mapping:
 * flush the vCPU.
 */
enum gmem_fault gmem_fault(struct vm *vm, gpa_t addr, bool write);

/* 64 KiB, aligned, for guests' memory: a.a = 0 if that would eat into what the hypervisor needs,
 * or, unless it is promised, into what others were promised. */
hpa_t gmem_frame_alloc(bool promised);
/* Host memory in use by guests' RAM, and promised to them beyond that; in bytes. Any context. */
void gmem_totals(uint64_t *backed, uint64_t *promised);
/* The same for one machine. */
void gmem_stat(struct vm *vm, uint64_t *backed, uint64_t *promised);

#endif
