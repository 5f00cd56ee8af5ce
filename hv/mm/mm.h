/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory of the hypervisor: physical frames, the heap, and its address space.
 *
 * Address space (hypervisor half only; nothing is mapped in the lower half
 * after start-up):
 *   0xffff800000000000  direct map of physical memory, read-write, no execute
 *   0xffffc00000000000  device memory and guarded stacks, mapped on demand
 *   0xffffffff80000000  the image: text r-x, rodata r--, data rw-
 */
#ifndef AMBER_MM_MM_H
#define AMBER_MM_MM_H

#include "hv/boot_info.h"
#include "hv/lib/error.h"
#include "hv/lib/types.h"

#define DIRECT_MAP_BASE 0xffff800000000000ULL

/* The hypervisor's own view of a RAM frame. Valid for all RAM in the boot memory map. */
static inline void *phys_to_virt(hpa_t p)
{
	return (void *)(p.a + DIRECT_MAP_BASE);
}
/* For direct-map and image addresses. */
hpa_t virt_to_phys(const void *v);

/* Takes over memory from the loader: frame allocator, heap, final page tables. Once, on the boot
 * CPU. */
void mm_init(const struct boot_info *bi);
/* The boot information at its direct-map address. After mm_init(). */
const struct boot_info *boot_info(void);
/* True if the direct map covers [p, p + size). After mm_init(). */
bool phys_in_direct_map(hpa_t p, uint64_t size);

/* 2^order contiguous frames, aligned to their size; a.a = 0 on failure. Not zeroed. Any context. */
hpa_t frames_alloc(unsigned order);
void frames_free(hpa_t p, unsigned order);
/* The same below 4 GiB, for devices that address only that much. */
hpa_t frames_alloc_low(unsigned order);
uint64_t frames_total(void); /* in frames */
uint64_t frames_free_count(void);

/*
 * 16-byte aligned, from 64 bytes on 64-byte aligned; NULL on failure. Any context.
 * Above 2 KiB: whole frames, page-aligned.
 */
void *heap_alloc(size_t size) MUST_CHECK;
void *heap_zalloc(size_t size) MUST_CHECK;
void heap_free(void *p); /* NULL is allowed */
/* For the state writer: grows a block; old stays valid on failure. */
void *heap_grow(void *old, size_t old_size, size_t new_size) MUST_CHECK;
uint64_t heap_used(void); /* bytes */

enum map_flags { MAP_UNCACHED = 1, MAP_WRITE_COMBINE = 2, MAP_RO = 4 };
/* Maps device memory; returns its virtual address or NULL. Never unmapped in practice. */
void *map_device(hpa_t p, size_t size, enum map_flags flags);
/* A stack of size bytes (at most 60 KiB) with an unmapped page below; returns its top, NULL on
 * failure. */
void *stack_alloc(size_t size);
void stack_free(void *top, size_t size);

#endif
