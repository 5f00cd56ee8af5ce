/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who answers at a port or a device address. Ports have a direct table, device
 * memory a short sorted array. Readers take no lock: they retry when a writer
 * was at work in between (a sequence count, odd while it writes).
 */
#include "hv/core/iobus.h"

#include <string.h>
#include "hv/core/iobus_dispatch.h"
#include "hv/core/vm.h"
#include "hv/mm/mm.h"

#define MAX_REGIONS 192

struct region_set {
	unsigned count;
	struct io_region *by_start[MAX_REGIONS];
};

struct iobus {
	struct spinlock lock; /* protects changes of everything below */
	uint32_t seq;
	struct region_set mmio;
	unsigned nports;
	struct io_region *port_region[MAX_REGIONS];
	uint8_t port_index[65536]; /* 0: nobody; else index + 1 into port_region */
};

int iobus_create(struct vm *vm)
{
	vm->iobus = heap_zalloc(sizeof(*vm->iobus));
	if (!vm->iobus)
		return ERR_NOMEM;
	spinlock_init(&vm->iobus->lock, RANK_IOBUS);
	return OK;
}

void iobus_destroy(struct vm *vm)
{
	heap_free(vm->iobus);
	vm->iobus = NULL;
}

static uint64_t change_begin(struct iobus *b)
{
	uint64_t flags = spin_lock(&b->lock);

	__atomic_fetch_add(&b->seq, 1, __ATOMIC_SEQ_CST);
	return flags;
}

static void change_end(struct iobus *b, uint64_t flags)
{
	__atomic_fetch_add(&b->seq, 1, __ATOMIC_SEQ_CST);
	spin_unlock(&b->lock, flags);
}

static int port_slot(struct iobus *b)
{
	for (unsigned i = 0; i < MAX_REGIONS; i++)
		if (!b->port_region[i])
			return (int)i;
	return ERR_FULL;
}

int iobus_map_port(struct vm *vm, struct io_region *r)
{
	struct iobus *b = vm->iobus;
	uint64_t flags;
	int slot;

	if (r->size == 0 || r->start > 0xffff || r->size > 0x10000 - r->start)
		return ERR_RANGE;
	flags = change_begin(b);
	slot = port_slot(b);
	for (uint64_t p = r->start; slot >= 0 && p < r->start + r->size; p++)
		if (b->port_index[p])
			slot = ERR_EXIST;
	if (slot >= 0) {
		b->port_region[slot] = r;
		memset(&b->port_index[r->start], slot + 1, r->size);
		r->mapped = true;
	}
	change_end(b, flags);
	return slot < 0 ? slot : OK;
}

void iobus_unmap_port(struct vm *vm, struct io_region *r)
{
	struct iobus *b = vm->iobus;
	uint64_t flags;

	if (!r->mapped)
		return;
	flags = change_begin(b);
	b->port_region[b->port_index[r->start] - 1] = NULL;
	memset(&b->port_index[r->start], 0, r->size);
	r->mapped = false;
	change_end(b, flags);
}

int iobus_map_mmio(struct vm *vm, struct io_region *r)
{
	struct iobus *b = vm->iobus;
	struct region_set *s = &b->mmio;
	uint64_t flags, end;
	unsigned i = 0;
	int err = OK;

	if (r->size == 0 || __builtin_add_overflow(r->start, r->size, &end))
		return ERR_RANGE;
	flags = change_begin(b);
	while (i < s->count && s->by_start[i]->start < r->start)
		i++;
	if (s->count == MAX_REGIONS)
		err = ERR_FULL;
	else if ((i < s->count && s->by_start[i]->start < end) ||
		 (i > 0 && s->by_start[i - 1]->start + s->by_start[i - 1]->size > r->start))
		err = ERR_EXIST;
	if (!err) {
		memmove(
		    &s->by_start[i + 1], &s->by_start[i], (s->count - i) * sizeof(s->by_start[0]));
		s->by_start[i] = r;
		s->count++;
		r->mapped = true;
	}
	change_end(b, flags);
	return err;
}

void iobus_unmap_mmio(struct vm *vm, struct io_region *r)
{
	struct iobus *b = vm->iobus;
	struct region_set *s = &b->mmio;
	uint64_t flags;

	if (!r->mapped)
		return;
	flags = change_begin(b);
	for (unsigned i = 0; i < s->count; i++) {
		if (s->by_start[i] != r)
			continue;
		s->count--;
		memmove(
		    &s->by_start[i], &s->by_start[i + 1], (s->count - i) * sizeof(s->by_start[0]));
		break;
	}
	r->mapped = false;
	change_end(b, flags);
}

/* Binary search; the region that holds addr or NULL. A racing writer can only make it miss or hit
 * stale. */
static inline struct io_region *find_mmio(const struct region_set *s, uint64_t addr)
{
	unsigned lo = 0, hi = MIN(s->count, (unsigned)MAX_REGIONS);

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		struct io_region *r = s->by_start[mid];

		if (addr < r->start)
			hi = mid;
		else if (addr - r->start < r->size)
			return r;
		else
			lo = mid + 1;
	}
	return NULL;
}

/* What a lookup found, copied out so that a moving BAR cannot tear it. */
struct target {
	const struct io_handler *ops;
	void *ctx;
	uint64_t start;
};

static inline __attribute__((always_inline)) bool lookup(
    const struct iobus *b, bool port, uint64_t addr, unsigned len, struct target *t)
{
	const struct io_region *r;
	uint32_t seq;

	do {
		while ((seq = __atomic_load_n(&b->seq, __ATOMIC_ACQUIRE)) & 1)
			__builtin_ia32_pause();
		if (port) {
			uint8_t i = b->port_index[addr];

			r = i ? b->port_region[i - 1] : NULL;
		} else {
			r = find_mmio(&b->mmio, addr);
		}
		if (r && addr - r->start + len > r->size)
			r = NULL; /* an access across the end of a device: nobody answers */
		if (r)
			*t = (struct target){r->ops, r->ctx, r->start};
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	} while (UNLIKELY(__atomic_load_n(&b->seq, __ATOMIC_RELAXED) != seq));
	return r != NULL;
}

static COLD void unclaimed(struct vm *vm)
{
	__atomic_fetch_add(&vm->stat_unhandled_io, 1, __ATOMIC_RELAXED);
}

static uint64_t all_ones(unsigned len)
{
	return UINT64_MAX >> (64 - 8 * len);
}

static inline __attribute__((always_inline)) bool dispatch_read(
    struct vm *vm, bool port, uint64_t addr, unsigned len, uint64_t *value)
{
	struct target t;

	*value = all_ones(len);
	if (!lookup(vm->iobus, port, addr, len, &t)) {
		unclaimed(vm);
		return false;
	}
	t.ops->read(t.ctx, addr - t.start, len, value);
	*value &= all_ones(len);
	return true;
}

static inline __attribute__((always_inline)) bool dispatch_write(
    struct vm *vm, bool port, uint64_t addr, unsigned len, uint64_t value)
{
	struct target t;

	if (!lookup(vm->iobus, port, addr, len, &t)) {
		unclaimed(vm);
		return false;
	}
	t.ops->write(t.ctx, addr - t.start, len, value & all_ones(len));
	return true;
}

bool iobus_port_read(struct vm *vm, uint16_t port, unsigned len, uint64_t *value)
{
	return dispatch_read(vm, true, port, len, value);
}

bool iobus_port_write(struct vm *vm, uint16_t port, unsigned len, uint64_t value)
{
	return dispatch_write(vm, true, port, len, value);
}

bool iobus_mmio_read(struct vm *vm, gpa_t addr, unsigned len, uint64_t *value)
{
	return dispatch_read(vm, false, addr.a, len, value);
}

bool iobus_mmio_write(struct vm *vm, gpa_t addr, unsigned len, uint64_t value)
{
	return dispatch_write(vm, false, addr.a, len, value);
}
