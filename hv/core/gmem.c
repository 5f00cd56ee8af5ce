/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory (I2). RAM is backed by 2 MiB pieces of host memory: low RAM
 * below the PCI hole, the rest from 4 GiB on.
 */
#include "hv/core/gmem.h"

#include <string.h>
#include "hv/core/memmap.h"
#include "hv/core/vm.h"
#include "hv/mm/mm.h"

#define CHUNK_ORDER 9 /* 2 MiB */
#define CHUNK_SIZE  SIZE_2M

struct region {
	uint64_t start, size;
	hpa_t *chunks;
};

struct gmem {
	struct region region[GMEM_MAX_RANGES];
	unsigned nregions;
};

/* Host address of guest RAM; *len is cut to what follows contiguously. NULL: not RAM. */
static void *locate(const struct gmem *m, uint64_t addr, uint64_t *len)
{
	for (unsigned i = 0; i < m->nregions; i++) {
		const struct region *r = &m->region[i];
		uint64_t off = addr - r->start; /* wraps to huge below start */

		if (off < r->size) {
			uint64_t in_chunk = off & (CHUNK_SIZE - 1);

			*len = MIN(*len, CHUNK_SIZE - in_chunk);
			return (uint8_t *)phys_to_virt(r->chunks[off / CHUNK_SIZE]) + in_chunk;
		}
	}
	return NULL;
}

/* True if every byte of the range is RAM. */
static bool all_ram(const struct gmem *m, uint64_t addr, uint64_t len)
{
	for (unsigned i = 0; i < m->nregions; i++) {
		const struct region *r = &m->region[i];
		uint64_t off = addr - r->start;

		if (off < r->size)
			return len <= r->size - off;
	}
	return false;
}

int gmem_read(struct vm *vm, gpa_t addr, void *buf, uint64_t len)
{
	uint8_t *out = buf;

	if (!all_ram(vm->gmem, addr.a, len))
		return ERR_FAULT;
	while (len) {
		uint64_t n = len;
		const void *p = locate(vm->gmem, addr.a, &n);

		memcpy(out, p, n);
		out += n;
		addr.a += n;
		len -= n;
	}
	return OK;
}

int gmem_write(struct vm *vm, gpa_t addr, const void *buf, uint64_t len)
{
	const uint8_t *in = buf;

	if (!all_ram(vm->gmem, addr.a, len))
		return ERR_FAULT;
	while (len) {
		uint64_t n = len;
		void *p = locate(vm->gmem, addr.a, &n);

		memcpy(p, in, n);
		in += n;
		addr.a += n;
		len -= n;
	}
	return OK;
}

int gmem_zero(struct vm *vm, gpa_t addr, uint64_t len)
{
	if (!all_ram(vm->gmem, addr.a, len))
		return ERR_FAULT;
	while (len) {
		uint64_t n = len;
		void *p = locate(vm->gmem, addr.a, &n);

		memset(p, 0, n);
		addr.a += n;
		len -= n;
	}
	return OK;
}

int gmem_read_u16(struct vm *vm, gpa_t addr, uint16_t *v)
{
	uint64_t n = 2;
	uint16_t *p = locate(vm->gmem, addr.a, &n);

	if (!p || n != 2)
		return gmem_read(vm, addr, v, 2);
	*v = __atomic_load_n(p, __ATOMIC_ACQUIRE);
	return OK;
}

int gmem_write_u16(struct vm *vm, gpa_t addr, uint16_t v)
{
	uint64_t n = 2;
	uint16_t *p = locate(vm->gmem, addr.a, &n);

	if (!p || n != 2)
		return gmem_write(vm, addr, &v, 2);
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
	return OK;
}

static void cmpxchg16(void *p, uint64_t old[2], const uint64_t desired[2])
{
	__asm__ volatile("lock cmpxchg16b %0"
			 : "+m"(*(uint64_t(*)[2])p), "+a"(old[0]), "+d"(old[1])
			 : "b"(desired[0]), "c"(desired[1])
			 : "cc");
}

#define CMPXCHG(type)                                                                              \
	__atomic_compare_exchange_n((type *)p, (type *)old, *(const type *)desired, false,         \
	    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

int gmem_cmpxchg(struct vm *vm, gpa_t addr, void *old, const void *desired, unsigned len)
{
	uint64_t n = len;
	void *p = locate(vm->gmem, addr.a, &n);

	if (!p || n != len)
		return ERR_FAULT;
	switch (len) {
	case 1:
		CMPXCHG(uint8_t);
		return OK;
	case 2:
		CMPXCHG(uint16_t);
		return OK;
	case 4:
		CMPXCHG(uint32_t);
		return OK;
	case 8:
		CMPXCHG(uint64_t);
		return OK;
	case 16:
		if (addr.a & 15) /* the emulator raises #GP before it comes here */
			return ERR_FAULT;
		cmpxchg16(p, old, desired);
		return OK;
	default:
		return ERR_INVAL;
	}
}

int gmem_dma_map(struct vm *vm, gpa_t addr, uint64_t len, bool device_writes, struct sg *sg,
    unsigned max, unsigned *count)
{
	unsigned used = 0;

	(void)device_writes; /* the pages become dirty here once there is a dirty set */
	if (!all_ram(vm->gmem, addr.a, len))
		return ERR_FAULT;
	while (len) {
		uint64_t n = len;
		void *p = locate(vm->gmem, addr.a, &n);
		hpa_t h = virt_to_phys(p);

		if (used && sg[used - 1].addr.a + sg[used - 1].len == h.a &&
		    sg[used - 1].len + n <= UINT32_MAX) {
			sg[used - 1].len += (uint32_t)n;
		} else {
			if (used == max)
				return ERR_FULL;
			sg[used++] = (struct sg){h, (uint32_t)n};
		}
		addr.a += n;
		len -= n;
	}
	*count = used;
	return OK;
}

void gmem_dma_unmap(struct vm *vm, const struct sg *sg, unsigned count, bool device_wrote)
{
	(void)vm;
	(void)sg;
	(void)count;
	(void)device_wrote;
}

static int region_create(struct vm *vm, struct region *r, uint64_t start, uint64_t size)
{
	uint64_t n = size / CHUNK_SIZE;

	r->chunks = heap_zalloc(n * sizeof(*r->chunks));
	if (!r->chunks)
		return ERR_NOMEM;
	r->start = start;
	r->size = size;
	vm->gmem->nregions++;
	for (uint64_t i = 0; i < n; i++) {
		int err;

		r->chunks[i] = frames_alloc(CHUNK_ORDER);
		if (!r->chunks[i].a)
			return ERR_NOMEM;
		memset(phys_to_virt(r->chunks[i]), 0, CHUNK_SIZE);
		err = npt_map(&vm->npt, gpa(start + i * CHUNK_SIZE), r->chunks[i], CHUNK_SIZE,
		    NPT_R | NPT_W | NPT_X);
		if (err)
			return err;
	}
	return OK;
}

int gmem_create(struct vm *vm, uint64_t size, struct errmsg *e)
{
	uint64_t low = MIN(size, (uint64_t)MEMMAP_LOW_RAM_MAX);
	int err;

	if (size / PAGE_SIZE > frames_free_count())
		return err_set(e, ERR_NOMEM, "%llu MiB of guest memory wanted, %llu MiB free",
		    (unsigned long long)(size / MIB),
		    (unsigned long long)(frames_free_count() * PAGE_SIZE / MIB));
	vm->gmem = heap_zalloc(sizeof(*vm->gmem));
	if (!vm->gmem)
		return err_set(e, ERR_NOMEM, "out of memory");
	err = region_create(vm, &vm->gmem->region[0], 0, low);
	if (!err && size > low)
		err = region_create(vm, &vm->gmem->region[1], MEMMAP_HIGH_RAM, size - low);
	if (err)
		return err_set(e, err, "no memory for the guest's RAM in pieces of 2 MiB");
	return OK;
}

void gmem_destroy(struct vm *vm)
{
	struct gmem *m = vm->gmem;

	if (!m)
		return;
	for (unsigned i = 0; i < m->nregions; i++) {
		struct region *r = &m->region[i];

		for (uint64_t c = 0; c < r->size / CHUNK_SIZE; c++)
			if (r->chunks[c].a)
				frames_free(r->chunks[c], CHUNK_ORDER);
		heap_free(r->chunks);
	}
	heap_free(m);
	vm->gmem = NULL;
}

unsigned gmem_ranges(struct vm *vm, struct gmem_range out[GMEM_MAX_RANGES])
{
	for (unsigned i = 0; i < vm->gmem->nregions; i++)
		out[i] = (struct gmem_range){vm->gmem->region[i].start, vm->gmem->region[i].size};
	return vm->gmem->nregions;
}

const void *gmem_peek(struct vm *vm, gpa_t addr, uint64_t *len)
{
	*len = UINT64_MAX;
	return locate(vm->gmem, addr.a, len);
}
