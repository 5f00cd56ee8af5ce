/* SPDX-License-Identifier: BSD-2-Clause */
/* Access to guest memory (I2). */
#include "hv/core/gmem.h"

#include <string.h>
#include "hv/core/gmem_impl.h"
#include "hv/core/gmem_rom.h"

/* Of whom, and what for. */
enum gmem_access {
	ACCESS_LOAD = 0,
	ACCESS_STORE = 1,
	ACCESS_ROM = 2, /* also what guests cannot reach */
};

/* True if every byte of the range is RAM, or every byte is ROM. */
static bool all_ram(const struct gmem *m, uint64_t addr, uint64_t len)
{
	for (unsigned i = 0; i < m->nranges; i++) {
		uint64_t off = addr - m->range[i].start;

		if (off < m->range[i].size)
			return len <= m->range[i].size - off;
	}
	return false;
}

/*
 * Host address of guest RAM, ready to be read or written; *len is cut to what follows in the same
 * chunk. *p is NULL if it is not RAM.
 */
static inline int reach(
    struct vm *vm, uint64_t addr, uint64_t *len, enum gmem_access how, uint8_t **p)
{
	struct gmem *m = vm->gmem;
	uint64_t chunk = gmem_chunk(m, addr), off = addr & (GMEM_CHUNK - 1);
	bool write = how & ACCESS_STORE;

	*p = NULL;
	if (UNLIKELY(chunk == NO_CHUNK) ||
	    (!(how & ACCESS_ROM) && gmem_denies(m, chunk, addr, write)))
		return ERR_FAULT;
	if (UNLIKELY(!gmem_is_ready(m, chunk, write))) {
		int err = gmem_get_ready(vm, chunk, write);

		if (err)
			return err;
	}
	*len = MIN(*len, GMEM_CHUNK - off);
	if (write)
		gmem_note_written(m, chunk, off, *len);
	*p = gmem_chunk_data(m, chunk) + off;
	return OK;
}

static inline __attribute__((always_inline)) int bytes_out(
    struct vm *vm, gpa_t addr, void *buf, uint64_t len, enum gmem_access how)
{
	uint8_t *out = buf, *p;

	if (!all_ram(vm->gmem, addr.a, len))
		return ERR_FAULT;
	while (len) {
		uint64_t n = len;
		int err = reach(vm, addr.a, &n, how, &p);

		if (err)
			return err;
		memcpy(out, p, n);
		out += n;
		addr.a += n;
		len -= n;
	}
	return OK;
}

int gmem_read(struct vm *vm, gpa_t addr, void *buf, uint64_t len)
{
	return bytes_out(vm, addr, buf, len, ACCESS_LOAD);
}

int gmem_rom_read(struct vm *vm, gpa_t addr, void *buf, uint64_t len)
{
	return bytes_out(vm, addr, buf, len, ACCESS_LOAD | ACCESS_ROM);
}

static inline __attribute__((always_inline)) int bytes_in(
    struct vm *vm, gpa_t addr, const void *buf, uint64_t len, enum gmem_access how)
{
	const uint8_t *in = buf;
	uint8_t *p;

	if (!all_ram(vm->gmem, addr.a, len))
		return ERR_FAULT;
	while (len) {
		uint64_t n = len;
		int err = reach(vm, addr.a, &n, how, &p);

		if (err)
			return err;
		memcpy(p, in, n);
		in += n;
		addr.a += n;
		len -= n;
	}
	return OK;
}

int gmem_write(struct vm *vm, gpa_t addr, const void *buf, uint64_t len)
{
	return bytes_in(vm, addr, buf, len, ACCESS_STORE);
}

int gmem_rom_write(struct vm *vm, gpa_t addr, const void *buf, uint64_t len)
{
	return bytes_in(vm, addr, buf, len, ACCESS_STORE | ACCESS_ROM);
}

int gmem_zero(struct vm *vm, gpa_t addr, uint64_t len)
{
	uint8_t *p;

	if (!all_ram(vm->gmem, addr.a, len))
		return ERR_FAULT;
	while (len) {
		uint64_t n = len;
		int err = reach(vm, addr.a, &n, ACCESS_STORE, &p);

		if (err)
			return err;
		memset(p, 0, n);
		addr.a += n;
		len -= n;
	}
	return OK;
}

int gmem_prepare(struct vm *vm, gpa_t addr, uint64_t len, bool write)
{
	uint8_t *p;

	if (!all_ram(vm->gmem, addr.a, len))
		return ERR_FAULT;
	while (len) {
		uint64_t n = len;
		int err = reach(vm, addr.a, &n, write ? ACCESS_STORE : ACCESS_LOAD, &p);

		if (err)
			return err;
		addr.a += n;
		len -= n;
	}
	return OK;
}

int gmem_read_u16(struct vm *vm, gpa_t addr, uint16_t *v)
{
	uint64_t n = 2;
	uint8_t *p;
	int err = reach(vm, addr.a, &n, ACCESS_LOAD, &p);

	if (err)
		return err;
	if (n != 2 || (addr.a & 1))
		return gmem_read(vm, addr, v, 2);
	*v = __atomic_load_n((uint16_t *)(void *)p, __ATOMIC_ACQUIRE);
	return OK;
}

int gmem_write_u16(struct vm *vm, gpa_t addr, uint16_t v)
{
	uint64_t n = 2;
	uint8_t *p;
	int err = reach(vm, addr.a, &n, ACCESS_STORE, &p);

	if (err)
		return err;
	if (n != 2 || (addr.a & 1))
		return gmem_write(vm, addr, &v, 2);
	__atomic_store_n((uint16_t *)(void *)p, v, __ATOMIC_RELEASE);
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
	__atomic_compare_exchange_n((type *)(void *)p, (type *)old, *(const type *)desired, false, \
	    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

int gmem_cmpxchg(struct vm *vm, gpa_t addr, void *old, const void *desired, unsigned len)
{
	uint64_t n = len;
	uint8_t *p;
	int err = reach(vm, addr.a, &n, ACCESS_STORE, &p);

	if (err)
		return err;
	if (n != len)
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

	if (!all_ram(vm->gmem, addr.a, len))
		return ERR_FAULT;
	while (len) {
		uint64_t n = len;
		uint8_t *p;
		int err = reach(vm, addr.a, &n, device_writes ? ACCESS_STORE : ACCESS_LOAD, &p);
		hpa_t h;

		if (err)
			return err;
		h = virt_to_phys(p);
		if (used && sg[used - 1].addr.a + sg[used - 1].len == h.a &&
		    sg[used - 1].len + n <= UINT32_MAX) {
			sg[used - 1].len += (uint32_t)n;
		} else {
			if (used == max)
				return ERR_FULL;
			sg[used++] = (struct sg){h, (uint32_t)n, addr};
		}
		addr.a += n;
		len -= n;
	}
	*count = used;
	return OK;
}

/*
 * What the device stored may have come after a save was armed: it belongs to the epoch in which it
 * is finished, whatever became of the note made at submission. (To the save itself such a buffer's
 * content is of no meaning: the request is recorded as being in flight.)
 */
void gmem_dma_unmap(struct vm *vm, const struct sg *sg, unsigned count, bool device_wrote)
{
	struct gmem *m = vm->gmem;

	if (!device_wrote || !m->tracking)
		return;
	for (unsigned i = 0; i < count; i++)
		for (uint64_t a = ALIGN_DOWN(sg[i].guest.a, (uint64_t)GMEM_CHUNK);
		     a < sg[i].guest.a + sg[i].len; a += GMEM_CHUNK)
			(void)bitmap_test_and_set_atomic(m->epoch.dma_done, gmem_chunk(m, a));
}

unsigned gmem_ranges(struct vm *vm, struct gmem_range out[GMEM_MAX_RANGES])
{
	for (unsigned i = 0; i < vm->gmem->nranges; i++)
		out[i] = vm->gmem->range[i];
	return vm->gmem->nranges;
}

const void *gmem_peek(struct vm *vm, gpa_t addr, uint64_t *len)
{
	const struct gmem *m = vm->gmem;
	uint64_t chunk = gmem_chunk(m, addr.a), off = addr.a & (GMEM_CHUNK - 1);

	*len = GMEM_CHUNK - off;
	if (chunk == NO_CHUNK || !gmem_is_ready(m, chunk, false))
		return NULL;
	return gmem_chunk_data(m, chunk) + off;
}
