/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of guest memory. For hv/core/gmem*.c only. */
#ifndef AMBER_CORE_GMEM_IMPL_H
#define AMBER_CORE_GMEM_IMPL_H

#include "hv/core/gmem_track.h"
#include "hv/core/memmap.h"
#include "hv/core/thread.h"
#include "hv/core/vm.h"
#include "hv/lib/bitmap.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

enum { CHUNK_SHIFT = 16, CHUNK_ORDER = CHUNK_SHIFT - PAGE_SHIFT };
#define NO_CHUNK UINT64_MAX

struct gmem_save;
struct gmem_mark;

/* What was written since the last save, by chunk. */
struct gmem_epoch {
	uint64_t *open;	    /* may be written: was opened in this epoch */
	uint64_t *changed;  /* was open, and was closed again by a mark */
	uint64_t *dma_done; /* a device has stored there; atomic */
};

/* Pieces are numbered through all ranges: "chunk" is such a number. */
struct gmem {
	struct gmem_range range[GMEM_MAX_RANGES];
	unsigned nranges;
	uint64_t nchunks;
	uint64_t rom_first, rom_count; /* chunks that guests can only read */
	struct gmem_range hidden; /* addresses of ROM that they cannot even read (gmem_rom.h) */
	/*
	 * Protects all that follows. What the fast paths look at without it is set atomically, and
	 * taken back only while the VM is quiesced.
	 */
	struct mutex lock;
	hpa_t *frame;	   /* by chunk; 0: no host memory */
	uint16_t *written; /* by chunk: pages that the hypervisor wrote; atomic */
	uint64_t backed;   /* chunks with host memory of their own */
	bool promised;	   /* host memory for the others is */
	uint64_t *shared;  /* by chunk: the frame is an image's; NULL: none */
	/* the epoch (gmem_track.c) */
	bool tracking;
	bool has_base; /* the books tell what has changed since a save that ended well, or
			  gmem_watch() */
	struct gmem_epoch epoch;
	struct gmem_save *save;
	uint64_t *recent; /* by chunk: was used around the last save; NULL: nothing is known */
	struct gmem_mark *mark; /* gmem_mark.c */
	/* the source */
	uint64_t *pending; /* by chunk: lies in the source; NULL: nothing does */
	uint64_t *lost;
	uint64_t starved; /* the chunk that there was no memory for last, or NO_CHUNK */
	const struct gmem_source *source;
	char lost_reason[120];
	/* who waits for a piece or a slot */
	struct spinlock wait_lock;
	struct waitq waitq;
	uint64_t changes;	 /* protected by wait_lock */
	uint64_t waits, wait_ns; /* for the source; atomic */
};

/* The chunk that addr lies in, or NO_CHUNK. */
static inline uint64_t gmem_chunk(const struct gmem *m, uint64_t addr)
{
	uint64_t first = 0;

	for (unsigned i = 0; i < m->nranges; i++) {
		uint64_t off = addr - m->range[i].start; /* wraps to huge below start */

		if (off < m->range[i].size)
			return first + (off >> CHUNK_SHIFT);
		first += m->range[i].size >> CHUNK_SHIFT;
	}
	return NO_CHUNK;
}

static inline gpa_t gmem_chunk_addr(const struct gmem *m, uint64_t chunk)
{
	const struct gmem_range *r = m->range;
	uint64_t addr = chunk << CHUNK_SHIFT;

	for (; addr >= r->size && r < &m->range[m->nranges - 1]; r++)
		addr -= r->size;
	return gpa(r->start + addr);
}

static inline bool gmem_is_rom(const struct gmem *m, uint64_t chunk)
{
	return chunk - m->rom_first < m->rom_count;
}

/* An access by the guest, or on its behalf, that no memory answers. */
static inline bool gmem_denies(const struct gmem *m, uint64_t chunk, uint64_t addr, bool write)
{
	return UNLIKELY(gmem_is_rom(m, chunk)) &&
	       (write || addr - m->hidden.start < m->hidden.size);
}

static inline uint8_t *gmem_chunk_data(const struct gmem *m, uint64_t chunk)
{
	return phys_to_virt(m->frame[chunk]);
}

/* Nothing stands in the way of an access: no lock needed. */
static inline bool gmem_is_ready(const struct gmem *m, uint64_t chunk, bool write)
{
	if (!__atomic_load_n(&m->frame[chunk].a, __ATOMIC_ACQUIRE))
		return false;
	return !write || !m->tracking ||
	       (__atomic_load_n(&m->epoch.open[chunk / 64], __ATOMIC_ACQUIRE) >> (chunk % 64) & 1);
}

/* The hypervisor writes [off, off + len) of a chunk that is open. */
static inline void gmem_note_written(struct gmem *m, uint64_t chunk, uint64_t off, uint64_t len)
{
	unsigned first = (unsigned)(off >> PAGE_SHIFT),
		 last = (unsigned)((off + len - 1) >> PAGE_SHIFT);
	uint16_t mask = (uint16_t)((2U << last) - (1U << first));

	if (m->tracking && (m->written[chunk] & mask) != mask)
		__atomic_fetch_or(&m->written[chunk], mask, __ATOMIC_SEQ_CST);
}

/* gmem_back.c: counts chunks as taken (and not promised any more); promises, or takes back, the
 * rest. Lock held. */
void gmem_account_backed(struct gmem *m, uint64_t chunks);
void gmem_account_promise(struct gmem *m, bool promised);
/* Maps a frame, not yet writable if somebody watches, and notes it. Lock held. OK or ERR_NOMEM. */
int gmem_map_chunk(struct vm *vm, uint64_t chunk, hpa_t frame) MUST_CHECK;
/* gmem_rom.c: takes hidden pages of a chunk that has just been mapped out of the tables. Lock held.
 */
void gmem_rom_keep_hidden(struct vm *vm, uint64_t chunk);
/* gmem_share.c: the chunk gets a frame of its own, if it shares one. Lock held. OK or ERR_NOMEM. */
int gmem_unshare(struct vm *vm, uint64_t chunk) MUST_CHECK;
/* gmem_back.c: makes a chunk ready, waiting if need be. OK or ERR_RETRY. No lock held. */
int gmem_get_ready(struct vm *vm, uint64_t chunk, bool write) MUST_CHECK;
/* The same for who only wants to read what there is, without host memory for zeros, and takes no
 * action if it cannot be had: OK, ERR_CORRUPT, ERR_NOMEM. */
int gmem_fetch(struct vm *vm, uint64_t chunk) MUST_CHECK;
/* Host memory for a chunk that has none: zeros, or data. Lock held. OK or ERR_NOMEM. */
int gmem_back(struct vm *vm, uint64_t chunk, const void *data) MUST_CHECK;
/* Wakes all who wait in gmem_get_ready(). */
void gmem_changed(struct gmem *m);

/*
 * gmem_track.c: opens a backed chunk for writing, keeping its content for the save and the mark
 * that need it. Lock held. OK, ERR_NOMEM, or ERR_BUSY: no slot is free, wait for a change.
 */
int gmem_open_chunk(struct vm *vm, uint64_t chunk) MUST_CHECK;
/* Pages of a closed chunk that were written in the epoch in which it was open; asked once. */
uint16_t gmem_take_pages(struct vm *vm, uint64_t chunk);
/* Tells all vCPUs to flush. */
void gmem_flush(struct vm *vm);
int gmem_epoch_make(struct gmem_epoch *e, uint64_t nchunks) MUST_CHECK;
void gmem_epoch_free(struct gmem_epoch *e);
/* Frees what belongs to tracking, a mark too. */
void gmem_track_destroy(struct gmem *m);

/*
 * gmem_used.c: sets the bits of chunks that the vCPUs have reached since this was last called, as
 * far as hardware tells; at once, or it was flushed after that call. No lock held.
 */
void gmem_take_used(struct vm *vm, uint64_t *chunks);
/* Whether it is less than most of what the machine has. Lock held. */
bool gmem_used_tells(const struct gmem *m, const uint64_t *chunks);
/*
 * Those of now, then those of before, then those that this told last time; each once, at most max;
 * how many. Takes now over. Lock held.
 */
unsigned gmem_list_used(
    struct gmem *m, uint64_t *now, const uint64_t *before, gpa_t *out, unsigned max);

/* gmem_mark.c; all with the lock held, and harmless without a mark */
/* A backed chunk is about to be opened: keeps its content. OK or ERR_NOMEM. */
int gmem_mark_keep(struct gmem *m, uint64_t chunk) MUST_CHECK;
/* Pages of a chunk that had changed before it is opened now: whoever asks later is to know. */
void gmem_mark_note(struct gmem *m, uint64_t chunk, uint16_t pages);
/* A save sees these pages as changed since the mark; returns those that changed before it. */
uint16_t gmem_mark_saved(struct gmem *m, uint64_t chunk, uint16_t pages);
void gmem_mark_free(struct gmem *m);

#endif
