/* SPDX-License-Identifier: BSD-2-Clause */
/* What lies under guest memory: host frames, taken when somebody touches a piece; and the source
 * that pieces come from when a machine runs before all of it is there. */
#include <string.h>
#include "hv/core/gmem_impl.h"
#include "hv/lib/fmt.h"

#define ROM_PERM (NPT_R | NPT_X)
#define RAM_PERM (ROM_PERM | NPT_W)
enum { BIG_ORDER = 9, BIG_CHUNKS = SIZE_2M / GMEM_CHUNK };

/* Frames that guests do not get: the hypervisor's own needs, and tables for what guests have. */
enum { RESERVE = 16 * MIB / PAGE_SIZE };

/* Chunks of all machines; atomic. */
static uint64_t all_backed, all_promised;

void gmem_account_backed(struct gmem *m, uint64_t chunks)
{
	m->backed += chunks;
	__atomic_fetch_add(&all_backed, chunks, __ATOMIC_RELAXED);
	if (m->promised)
		__atomic_fetch_sub(&all_promised, chunks, __ATOMIC_RELAXED);
}

static void unaccount(struct gmem *m)
{
	__atomic_fetch_sub(&all_backed, m->backed, __ATOMIC_RELAXED);
	if (m->promised)
		__atomic_fetch_add(&all_promised, m->backed, __ATOMIC_RELAXED);
	m->backed = 0;
}

static hpa_t frame_alloc(unsigned order, bool promised)
{
	uint64_t taboo = RESERVE;

	if (!promised)
		taboo += __atomic_load_n(&all_promised, __ATOMIC_RELAXED) << CHUNK_ORDER;
	return frames_free_count() < taboo + (1ULL << order) ? hpa(0) : frames_alloc(order);
}

hpa_t gmem_frame_alloc(bool promised)
{
	return frame_alloc(CHUNK_ORDER, promised);
}

void gmem_totals(uint64_t *backed, uint64_t *promised)
{
	*backed = __atomic_load_n(&all_backed, __ATOMIC_RELAXED) << CHUNK_SHIFT;
	*promised = __atomic_load_n(&all_promised, __ATOMIC_RELAXED) << CHUNK_SHIFT;
}

void gmem_stat(struct vm *vm, uint64_t *backed, uint64_t *promised)
{
	uint64_t have = __atomic_load_n(&vm->gmem->backed, __ATOMIC_RELAXED);

	*backed = have << CHUNK_SHIFT;
	*promised = vm->gmem->promised ? (vm->gmem->nchunks - have) << CHUNK_SHIFT : 0;
}

/* --- making and unmaking ------------------------------------------------------------- */

/* Host memory that is neither taken nor promised must do for it. Lock held, or nobody else knows m.
 */
static int promise(struct gmem *m, struct errmsg *e)
{
	uint64_t rest = m->nchunks - m->backed, mine = rest << CHUNK_ORDER;
	uint64_t free = frames_free_count(), all;

	if (m->promised)
		return OK;
	all = __atomic_add_fetch(&all_promised, rest, __ATOMIC_SEQ_CST) << CHUNK_ORDER;
	m->promised = true;
	if (all + RESERVE <= free)
		return OK;
	m->promised = false;
	__atomic_fetch_sub(&all_promised, rest, __ATOMIC_SEQ_CST);
	all += RESERVE - mine;
	return err_set(e, ERR_NOMEM, "%llu MiB of guest memory wanted, %llu MiB free",
	    (unsigned long long)(mine * PAGE_SIZE / MIB),
	    (unsigned long long)((free - MIN(free, all)) * PAGE_SIZE / MIB));
}

int gmem_promise(struct vm *vm, struct errmsg *e)
{
	int err;

	mutex_lock(&vm->gmem->lock);
	err = promise(vm->gmem, e);
	mutex_unlock(&vm->gmem->lock);
	return err;
}

static void unpromise(struct gmem *m)
{
	if (m->promised)
		__atomic_fetch_sub(&all_promised, m->nchunks - m->backed, __ATOMIC_RELAXED);
	m->promised = false;
}

void gmem_unpromise(struct vm *vm)
{
	mutex_lock(&vm->gmem->lock);
	unpromise(vm->gmem);
	mutex_unlock(&vm->gmem->lock);
}

static int make_tables(struct gmem *m)
{
	m->frame = heap_zalloc(m->nchunks * sizeof(*m->frame));
	m->written = heap_zalloc(m->nchunks * sizeof(*m->written));
	if (!m->frame || !m->written)
		return ERR_NOMEM;
	return gmem_epoch_make(&m->epoch, m->nchunks);
}

static void free_tables(struct gmem *m)
{
	heap_free(m->frame);
	heap_free(m->written);
	gmem_epoch_free(&m->epoch);
	heap_free(m->pending);
	heap_free(m->lost);
	heap_free(m);
}

/* In ascending order. */
static void make_ranges(struct gmem *m, uint64_t size, bool rom)
{
	uint64_t low = MIN(size, (uint64_t)MEMMAP_LOW_RAM_MAX);

	m->range[m->nranges++] = (struct gmem_range){0, low};
	m->nchunks = low >> CHUNK_SHIFT;
	if (rom) {
		m->range[m->nranges++] = (struct gmem_range){MEMMAP_ROM, MEMMAP_ROM_SIZE};
		m->rom_first = m->nchunks;
		m->rom_count = MEMMAP_ROM_SIZE >> CHUNK_SHIFT;
		m->nchunks += m->rom_count;
	}
	if (size > low) {
		m->range[m->nranges++] = (struct gmem_range){MEMMAP_HIGH_RAM, size - low};
		m->nchunks += (size - low) >> CHUNK_SHIFT;
	}
}

int gmem_create(struct vm *vm, uint64_t size, bool rom, struct errmsg *e)
{
	struct gmem *m = heap_zalloc(sizeof(*m));
	int err;

	if (!m)
		return err_set(e, ERR_NOMEM, "out of memory");
	mutex_init(&m->lock, RANK_GMEM);
	spinlock_init(&m->wait_lock, RANK_VCPU);
	waitq_init(&m->waitq);
	make_ranges(m, size, rom);
	m->starved = NO_CHUNK;
	err = make_tables(m) ? err_set(e, ERR_NOMEM, "out of memory") : promise(m, e);
	if (err)
		free_tables(m);
	else
		vm->gmem = m;
	return err;
}

static void free_frames(struct gmem *m)
{
	for (uint64_t c = 0; c < m->nchunks; c++) {
		bool own = m->frame[c].a && !(m->shared && bitmap_test(m->shared, c));

		if (own)
			frames_free(m->frame[c], CHUNK_ORDER);
		m->frame[c] = hpa(0);
	}
	heap_free(m->shared);
	m->shared = NULL;
	unaccount(m);
}

/* What comes too late now is not wanted any more. Lock held. */
static void forget_pending(struct gmem *m)
{
	heap_free(m->pending);
	heap_free(m->lost);
	m->pending = m->lost = NULL;
}

static void release_source(struct vm *vm)
{
	const struct gmem_source *src = vm->gmem->source;

	vm->gmem->source = NULL;
	if (src)
		src->release(src->ctx);
	gmem_detach(vm);
}

void gmem_destroy(struct vm *vm)
{
	struct gmem *m = vm->gmem;

	if (!m)
		return;
	mutex_lock(&m->lock);
	gmem_track_destroy(m);
	forget_pending(m);
	free_frames(m);
	mutex_unlock(&m->lock);
	release_source(vm); /* last: shared frames are its */
	unpromise(m);
	free_tables(m);
	vm->gmem = NULL;
}

void gmem_reset(struct vm *vm)
{
	struct gmem *m = vm->gmem;

	mutex_lock(&m->lock);
	gmem_mark_free(m);
	npt_clear(&vm->npt);
	forget_pending(m);
	free_frames(m);
	m->tracking = m->has_base = false;
	m->hidden = (struct gmem_range){0};
	heap_free(m->recent);
	m->recent = NULL;
	memset(m->written, 0, m->nchunks * sizeof(*m->written));
	mutex_unlock(&m->lock);
	gmem_flush(vm);
	release_source(vm); /* last: shared frames are its */
}

/* --- backing ------------------------------------------------------------------------- */

/* The 2 MiB around a chunk at once, if they are whole RAM, untouched, and watched by nobody. */
static bool back_big(struct vm *vm, uint64_t chunk)
{
	struct gmem *m = vm->gmem;
	gpa_t at = gpa(ALIGN_DOWN(gmem_chunk_addr(m, chunk).a, (uint64_t)SIZE_2M));
	uint64_t first = gmem_chunk(m, at.a);
	hpa_t h;

	if (m->tracking || m->pending || gmem_is_rom(m, chunk) ||
	    gmem_chunk(m, at.a + SIZE_2M - 1) != first + BIG_CHUNKS - 1)
		return false;
	for (uint64_t c = first; c < first + BIG_CHUNKS; c++)
		if (m->frame[c].a)
			return false;
	h = frame_alloc(BIG_ORDER, m->promised);
	if (!h.a)
		return false;
	memset(phys_to_virt(h), 0, SIZE_2M);
	if (npt_map(&vm->npt, at, h, SIZE_2M, RAM_PERM)) {
		frames_free(h, BIG_ORDER);
		return false;
	}
	for (uint64_t i = 0; i < BIG_CHUNKS; i++)
		__atomic_store_n(&m->frame[first + i].a, h.a + i * GMEM_CHUNK, __ATOMIC_RELEASE);
	gmem_account_backed(m, BIG_CHUNKS);
	return true;
}

int gmem_map_chunk(struct vm *vm, uint64_t chunk, hpa_t frame)
{
	struct gmem *m = vm->gmem;
	gpa_t addr = gmem_chunk_addr(m, chunk);
	unsigned perm = gmem_is_rom(m, chunk) ? ROM_PERM : RAM_PERM;
	int err =
	    npt_map(&vm->npt, addr, frame, GMEM_CHUNK, perm | (m->tracking ? NPT_TRACKED : 0));

	if (err) {
		npt_unmap(&vm->npt, addr, GMEM_CHUNK);
		return err;
	}
	gmem_rom_keep_hidden(vm, chunk);
	__atomic_store_n(&m->frame[chunk].a, frame.a, __ATOMIC_RELEASE);
	return OK;
}

int gmem_back(struct vm *vm, uint64_t chunk, const void *data)
{
	struct gmem *m = vm->gmem;
	hpa_t h;
	int err;

	if (!data && back_big(vm, chunk))
		return OK;
	h = gmem_frame_alloc(m->promised);
	if (!h.a)
		return ERR_NOMEM;
	if (data)
		memcpy(phys_to_virt(h), data, GMEM_CHUNK);
	else
		memset(phys_to_virt(h), 0, GMEM_CHUNK);
	err = gmem_map_chunk(vm, chunk, h);
	if (err)
		frames_free(h, CHUNK_ORDER);
	else
		gmem_account_backed(m, 1);
	return err;
}

/* --- waiting ------------------------------------------------------------------------- */

void gmem_changed(struct gmem *m)
{
	uint64_t flags = spin_lock(&m->wait_lock);

	m->changes++;
	waitq_wake_all(&m->waitq);
	spin_unlock(&m->wait_lock, flags);
}

static uint64_t changes_so_far(struct gmem *m)
{
	return __atomic_load_n(&m->changes, __ATOMIC_SEQ_CST);
}

static void wait_for_change(struct gmem *m, uint64_t seen)
{
	uint64_t flags = spin_lock(&m->wait_lock);

	while (m->changes == seen)
		flags = waitq_wait(&m->waitq, &m->wait_lock, flags);
	spin_unlock(&m->wait_lock, flags);
}

/*
 * Asks the source for a chunk that is not there and waits; zeros need no host memory. first: who
 * asks has not waited for it yet, and what the source said before is not an answer: it says so
 * again as long as it wants for memory itself, also when nobody waits. Lock held.
 */
static int try_fetch(struct gmem *m, uint64_t chunk, bool first)
{
	if (!m->pending || !bitmap_test(m->pending, chunk))
		return OK;
	if (bitmap_test(m->lost, chunk))
		return ERR_CORRUPT;
	if (m->starved == chunk) {
		m->starved = NO_CHUNK;
		if (!first)
			return ERR_NOMEM;
	}
	m->source->want(m->source->ctx, gmem_chunk_addr(m, chunk));
	return ERR_BUSY;
}

/* OK, or ERR_BUSY: not yet; ERR_NOMEM; ERR_CORRUPT: lost. Lock held. */
static int try_ready(struct vm *vm, uint64_t chunk, bool write, bool first)
{
	struct gmem *m = vm->gmem;

	if (!m->frame[chunk].a) {
		int err = try_fetch(m, chunk, first);

		if (!err)
			err = gmem_back(vm, chunk, NULL);
		if (err)
			return err;
	}
	return write && m->tracking ? gmem_open_chunk(vm, chunk) : OK;
}

int gmem_fetch(struct vm *vm, uint64_t chunk)
{
	struct gmem *m = vm->gmem;
	int err;

	for (bool first = true;; first = false) {
		uint64_t seen = changes_so_far(m);

		mutex_lock(&m->lock);
		err = try_fetch(m, chunk, first);
		mutex_unlock(&m->lock);
		if (err != ERR_BUSY)
			return err;
		wait_for_change(m, seen);
	}
}

/* The same for who waits for the source, and counts. */
static void wait_for_source(struct gmem *m, uint64_t seen, bool first)
{
	uint64_t began = time_now();

	wait_for_change(m, seen);
	__atomic_fetch_add(&m->waits, first, __ATOMIC_RELAXED);
	__atomic_fetch_add(&m->wait_ns, time_now() - began, __ATOMIC_RELAXED);
}

int gmem_get_ready(struct vm *vm, uint64_t chunk, bool write)
{
	struct gmem *m = vm->gmem;

	for (bool first = true;; first = false) {
		uint64_t seen = changes_so_far(m);
		int err;

		mutex_lock(&m->lock);
		err = try_ready(vm, chunk, write, first);
		mutex_unlock(&m->lock);
		switch (err) {
		case OK:
			return OK;
		case ERR_BUSY:
			if (gmem_is_ready(m, chunk, false)) /* it lacks a slot of the save */
				wait_for_change(m, seen);
			else
				wait_for_source(m, seen, first);
			break;
		case ERR_CORRUPT:
			vm_fail(vm, DISP_ERROR, "RAM at 0x%llx: %s",
			    (unsigned long long)gmem_chunk_addr(m, chunk).a, m->lost_reason);
			return ERR_RETRY;
		default:
			vm_hold(vm, DISP_NO_MEMORY,
			    "no host memory for RAM at 0x%llx; resume when there is some",
			    (unsigned long long)gmem_chunk_addr(m, chunk).a);
			return ERR_RETRY;
		}
	}
}

enum gmem_fault gmem_fault(struct vm *vm, gpa_t addr, bool write)
{
	struct gmem *m = vm->gmem;
	uint64_t chunk = gmem_chunk(m, addr.a);
	int err = OK;

	if (chunk == NO_CHUNK || gmem_denies(m, chunk, addr.a, write))
		return GMEM_NOT_RAM;
	if (!gmem_is_ready(m, chunk, write)) {
		/* If it cannot be had the machine has been told to stop, and the vCPU sees that
		 * first. */
		err = gmem_get_ready(vm, chunk, write);
		(void)err;
		return GMEM_SERVED;
	}
	/* Open in the books, which is enough for the hypervisor; perhaps not yet in the tables. */
	if (write) {
		mutex_lock(&m->lock);
		err = npt_open(&vm->npt, gmem_chunk_addr(m, chunk), GMEM_CHUNK);
		mutex_unlock(&m->lock);
	}
	if (err)
		vm_hold(vm, DISP_NO_MEMORY, "no host memory for page tables");
	return GMEM_WAS_READY;
}

/* --- the source ---------------------------------------------------------------------- */

int gmem_attach(struct vm *vm, const struct gmem_source *src, struct errmsg *e)
{
	struct gmem *m = vm->gmem;
	uint64_t bytes = BITMAP_WORDS(m->nchunks) * 8;

	m->source = src;
	m->pending = heap_zalloc(bytes);
	m->lost = heap_zalloc(bytes);
	if (!m->pending || !m->lost)
		return err_set(e, ERR_NOMEM, "out of memory");
	bitmap_set_range(m->pending, 0, m->nchunks);
	return OK;
}

int gmem_supply(struct vm *vm, gpa_t addr, const void *data)
{
	struct gmem *m = vm->gmem;
	uint64_t chunk = gmem_chunk(m, addr.a);
	int err = OK;

	if (chunk == NO_CHUNK)
		return OK;
	mutex_lock(&m->lock);
	if (m->pending && bitmap_test(m->pending, chunk)) {
		/* zeros need no host memory before somebody touches them */
		if (data)
			err = gmem_back(vm, chunk, data);
		if (!err)
			bitmap_clear(m->pending, chunk);
	}
	mutex_unlock(&m->lock);
	if (!err)
		gmem_changed(m);
	return err;
}

void gmem_lose(struct vm *vm, gpa_t addr, const char *why)
{
	struct gmem *m = vm->gmem;
	uint64_t chunk = gmem_chunk(m, addr.a);

	if (chunk == NO_CHUNK)
		return;
	mutex_lock(&m->lock);
	if (m->pending && bitmap_test(m->pending, chunk)) {
		bitmap_set(m->lost, chunk);
		str_copy(m->lost_reason, sizeof(m->lost_reason), why);
	}
	mutex_unlock(&m->lock);
	gmem_changed(m);
}

void gmem_starve(struct vm *vm, gpa_t addr)
{
	struct gmem *m = vm->gmem;

	mutex_lock(&m->lock);
	m->starved = gmem_chunk(m, addr.a);
	mutex_unlock(&m->lock);
	gmem_changed(m);
}

/* The chunk at addr, or the first one behind it; NO_CHUNK if there is none. */
static uint64_t chunk_from(const struct gmem *m, uint64_t addr)
{
	for (unsigned i = 0; i < m->nranges; i++)
		if (addr < m->range[i].start + m->range[i].size)
			return gmem_chunk(m, MAX(addr, m->range[i].start));
	return NO_CHUNK;
}

bool gmem_missing(struct vm *vm, gpa_t *addr)
{
	struct gmem *m = vm->gmem;
	uint64_t chunk = chunk_from(m, addr->a);
	bool found = false;

	mutex_lock(&m->lock);
	if (m->pending && chunk != NO_CHUNK) {
		chunk = bitmap_next_set(m->pending, m->nchunks, chunk);
		while (chunk < m->nchunks && bitmap_test(m->lost, chunk))
			chunk = bitmap_next_set(m->pending, m->nchunks, chunk + 1);
		found = chunk < m->nchunks;
		if (found)
			*addr = gmem_chunk_addr(m, chunk);
	}
	mutex_unlock(&m->lock);
	return found;
}

bool gmem_lost(struct vm *vm)
{
	struct gmem *m = vm->gmem;
	bool any;

	mutex_lock(&m->lock);
	any = m->lost && bitmap_count(m->lost, m->nchunks) > 0;
	mutex_unlock(&m->lock);
	return any;
}

void gmem_paging(struct vm *vm, struct gmem_paging *out)
{
	struct gmem *m = vm->gmem;

	mutex_lock(&m->lock);
	*out = (struct gmem_paging){
	    .waits = __atomic_load_n(&m->waits, __ATOMIC_RELAXED),
	    .wait_ns = __atomic_load_n(&m->wait_ns, __ATOMIC_RELAXED),
	    .missing = m->pending ? bitmap_count(m->pending, m->nchunks) << CHUNK_SHIFT : 0,
	};
	mutex_unlock(&m->lock);
}

void gmem_detach(struct vm *vm)
{
	struct gmem *m = vm->gmem;

	mutex_lock(&m->lock);
	forget_pending(m);
	mutex_unlock(&m->lock);
	gmem_changed(m);
}
