/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Watching guest memory: the copy that a live save takes, and which pages have changed
 * since the last one.
 *
 * Time is cut into epochs. Arming a save ends one: write permission is taken from the root of
 * the nested tables, and the first write of anybody to a piece of 64 KiB opens that piece for the
 * epoch, after the piece was copied if the save still needs it (copy before write). The pieces
 * that an epoch has opened are what the next save has to look at; within a piece, hardware's
 * dirty bits and the hypervisor's own notes tell the pages.
 *
 * A save goes: gmem_save_begin() while the guest runs, gmem_save_arm() while it is quiesced,
 * gmem_save_next() until ERR_NOENT while it runs again, gmem_save_end(). One at a time for a VM.
 */
#ifndef AMBER_CORE_GMEM_TRACK_H
#define AMBER_CORE_GMEM_TRACK_H

#include "hv/core/gmem.h"

/* A piece of RAM as it was when the save was armed. */
struct gmem_piece {
	gpa_t addr;
	const void *data; /* GMEM_CHUNK bytes, until the next call */
	uint16_t pages;	  /* bit i: page i may differ from the last save; all ones in a full one */
};

/*
 * slots: how many copies may wait for the writer (64 KiB each), 1..GMEM_SLOTS_MAX; a vCPU that
 * needs one more waits. full: all of RAM, not only what has changed. ERR_NOMEM, and nothing has
 * begun.
 */
enum { GMEM_SLOTS_MAX = 4096 };
int gmem_save_begin(struct vm *vm, bool full, unsigned slots, struct errmsg *e) MUST_CHECK;
/* After it has begun: what the machine uses is seen from now on, not only from its arming on, with
 * which every CPU flushes in any case. For one that is to stand still then. */
void gmem_save_observe(struct vm *vm);
/* True if pages were watched since the last save that ended well, or since gmem_watch(). */
bool gmem_watched(struct vm *vm);
/*
 * The instant of the save. The VM is quiesced; its vCPUs are told to flush. Does not wait. still:
 * it remains quiesced until the save is ended, so that nothing has to be copied.
 */
void gmem_save_arm(struct vm *vm, bool still);
/*
 * The next piece: copies that wait first, then what was used since the save before, then the
 * others, both in ascending order; pieces that have never been touched are left out. ERR_NOENT
 * after the last. ERR_CORRUPT or ERR_NOMEM if RAM that is still in a source cannot be had; the
 * machine is not stopped for that.
 */
int gmem_save_next(struct vm *vm, struct gmem_piece *p) MUST_CHECK;
/*
 * The working set: pieces that the machine has used since gmem_save_begin() first, then those that
 * it had used between the save before, or its restore, and then, at last those that were told in
 * that save; each in ascending order, none twice, at most max. What would be most of all that there
 * is says nothing and is left out. Returns how many. A hint. To be asked once, when the last piece
 * has been handed out.
 */
unsigned gmem_save_used(struct vm *vm, gpa_t *out, unsigned max);
/*
 * Ends it, at any point. ok: it is durable, and what the next save compares with. If not, what had
 * changed counts as changed still.
 */
void gmem_save_end(struct vm *vm, bool ok);
/* Bytes of RAM that a save would have to look at now. */
uint64_t gmem_save_size(struct vm *vm);

/*
 * Begins an epoch with nothing changed: RAM is now what some snapshot says. The VM is quiesced or
 * has not run yet.
 */
void gmem_watch(struct vm *vm);

/* --- a mark ------------------------------------------------------------------------------ */

/*
 * RAM as it is now is what gmem_rewind() brings back, as often as asked: the first write to a piece
 * keeps a copy of it. Takes an earlier mark's place. The VM is quiesced, no DMA under way.
 * ERR_NOMEM, and the earlier mark is gone.
 */
int gmem_mark(struct vm *vm) MUST_CHECK;
bool gmem_marked(struct vm *vm);
/* Puts back the pages that changed since the mark; returns how many. As above, with a mark, and no
 * save under way. */
uint64_t gmem_rewind(struct vm *vm);
void gmem_unmark(struct vm *vm);

/* --- RAM that comes later -------------------------------------------------------------- */

/* Where pieces come from that are not there yet. */
struct gmem_source {
	/* Somebody waits for the piece at addr: gmem_supply() or gmem_lose() it soon. Does not
	 * wait. */
	void (*want)(void *ctx, gpa_t addr);
	/* RAM is reset or destroyed, nobody waits any more: the source is not used after this. May
	 * wait. */
	void (*release)(void *ctx);
	void *ctx;
};
/*
 * All of RAM lies in the source from now on. The VM has not run yet. src stays the caller's until
 * its release(), which comes also after a failure (ERR_NOMEM).
 */
int gmem_attach(struct vm *vm, const struct gmem_source *src, struct errmsg *e) MUST_CHECK;
/* GMEM_CHUNK bytes for the piece at addr; NULL: zeros. Not wanted any more: OK. ERR_NOMEM. */
int gmem_supply(struct vm *vm, gpa_t addr, const void *data) MUST_CHECK;
/*
 * The same with a frame of 64 KiB that stays the source's, until its release(): the machine reads
 * it, and gets one of its own with the first write. RAM is watched (gmem_watch()).
 */
int gmem_supply_shared(struct vm *vm, gpa_t addr, hpa_t frame) MUST_CHECK;
/* The piece cannot be had: the machine stops with the reason as soon as somebody touches it. */
void gmem_lose(struct vm *vm, gpa_t addr, const char *why);
/* There is no host memory for the piece at addr now: the machine that waits for it is paused. */
void gmem_starve(struct vm *vm, gpa_t addr);
/* The first piece at or behind *addr that is neither supplied nor lost; false if there is none. */
bool gmem_missing(struct vm *vm, gpa_t *addr);
/* True if a piece was lost. */
bool gmem_lost(struct vm *vm);
/* How a machine fares that runs before all of its RAM is there. */
struct gmem_paging {
	uint64_t waits, wait_ns; /* accesses that waited for a piece, since the machine was made */
	uint64_t missing;	 /* bytes that are in the source still */
};
void gmem_paging(struct vm *vm, struct gmem_paging *out);
/* What was never supplied is zero from now on; want() is not called any more. */
void gmem_detach(struct vm *vm);

#endif
