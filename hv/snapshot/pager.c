/* SPDX-License-Identifier: BSD-2-Clause */
/* The thread that brings RAM in from a snapshot. */
#include "hv/snapshot/pager.h"

#include <string.h>
#include "hv/core/gmem_track.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/compress.h"
#include "hv/snapshot/engine_int.h"
#include "hv/snapshot/ram_image.h"

/* Pieces that are waited for: at most one by each vCPU and a few by devices; who finds no room asks
 * again with the next change. */
enum { WANTED_MAX = 64, PAGER_WEIGHT = 256 };
#define NO_MEMORY_NS  10000000	/* until it is tried again */
#define START_NS      100000000 /* at most, before what nobody wants is fetched */
#define START_STEP_NS 1000000

struct pager {
	struct vm *vm;
	struct snap *snap;	 /* NULL for a clone */
	struct ram_image *image; /* of a clone, else NULL */
	struct thread *thread;
	struct gmem_source source;
	uint8_t *buf;		    /* STORE_CHUNK bytes */
	gpa_t *set;		    /* the working set, as long as it is being fetched, else NULL */
	unsigned nset, next, ahead; /* of it: pieces, those that are there, those asked for */
	gpa_t cursor;		    /* all below has been supplied or lost */
	bool in_order;		    /* snap_ram_next() goes on where cursor is */
	struct spinlock lock;	    /* protects what follows */
	struct waitq waitq;	    /* for something wanted */
	gpa_t wanted[WANTED_MAX];
	unsigned nwanted;
	bool stop;
};

static void want(void *ctx, gpa_t addr)
{
	struct pager *p = ctx;
	uint64_t flags = spin_lock(&p->lock);
	bool known = p->nwanted == WANTED_MAX;

	for (unsigned i = 0; i < p->nwanted; i++)
		known |= p->wanted[i].a == addr.a;
	if (!known)
		p->wanted[p->nwanted++] = addr;
	waitq_wake_all(&p->waitq);
	spin_unlock(&p->lock, flags);
}

/* The one that has waited longest. */
static bool take_wanted(struct pager *p, gpa_t *addr)
{
	uint64_t flags = spin_lock(&p->lock);
	bool any = p->nwanted > 0;

	if (any) {
		*addr = p->wanted[0];
		p->nwanted--;
		memmove(p->wanted, p->wanted + 1, p->nwanted * sizeof(p->wanted[0]));
	}
	spin_unlock(&p->lock, flags);
	return any;
}

static bool stopped(struct pager *p)
{
	return __atomic_load_n(&p->stop, __ATOMIC_ACQUIRE);
}

/* --- pieces ------------------------------------------------------------------------------ */

static void lose(struct pager *p, gpa_t addr, const char *why)
{
	log_error("vm '%s': %s", p->vm->config.name, why);
	gmem_lose(p->vm, addr, why);
}

/* A clone's piece: the image's frame. */
static int share(struct pager *p, gpa_t addr, struct errmsg *e)
{
	struct store *s = engine_lock(e);
	hpa_t frame = hpa(0);
	int err = s ? ram_image_get(p->image, addr, &frame, e) : ERR_NOENT;

	if (s)
		engine_unlock();
	if (err)
		return err;
	return frame.a ? gmem_supply_shared(p->vm, addr, frame) : gmem_supply(p->vm, addr, NULL);
}

static int read_own(struct pager *p, gpa_t addr, struct errmsg *e)
{
	struct store *s = engine_lock(e);
	int err = s ? snap_ram_read(p->snap, addr, p->buf, e) : ERR_NOENT;

	if (s)
		engine_unlock();
	if (err)
		return err;
	return gmem_supply(p->vm, addr, all_zero(p->buf, STORE_CHUNK) ? NULL : p->buf);
}

/*
 * One piece, wherever it is. A bad one stops the guest when it is touched, not the machine.
 * ERR_NOMEM: there may be host memory later.
 */
static int fetch(struct pager *p, gpa_t addr)
{
	struct errmsg e;
	int err;

	(void)err_set(&e, ERR_IO, "RAM at 0x%llx cannot be mapped", (unsigned long long)addr.a);
	err = p->image ? share(p, addr, &e) : read_own(p, addr, &e);
	if (err && err != ERR_NOMEM)
		lose(p, addr, e.text);
	return err == ERR_NOMEM ? err : OK;
}

/* Zeros need no host memory before somebody touches them: this cannot fail. */
static void supply_zeros(struct pager *p, uint64_t end)
{
	while (p->cursor.a < end && gmem_missing(p->vm, &p->cursor) && p->cursor.a < end) {
		if (gmem_supply(p->vm, p->cursor, NULL))
			return;
		p->cursor.a += GMEM_CHUNK;
	}
	p->cursor.a = MAX(p->cursor.a, end);
}

/*
 * The next piece in the order in which the snapshot has them, read ahead; what lies before it is
 * zero. ERR_NOENT: that was all. Any other error: the rest has to be fetched one by one.
 */
static int next_in_order(struct pager *p)
{
	struct errmsg e;
	struct store *s = engine_lock(&e);
	uint32_t len = 0;
	gpa_t addr, chunk;
	int err = s ? snap_ram_next(p->snap, &addr, p->buf, &len, &e) : ERR_IO;

	if (s)
		engine_unlock();
	if (err == ERR_NOENT)
		supply_zeros(p, UINT64_MAX);
	else if (err)
		log_error("vm '%s': %s", p->vm->config.name, e.text);
	if (err)
		return err;
	chunk = gpa(ALIGN_DOWN(addr.a, (uint64_t)GMEM_CHUNK));
	supply_zeros(p, chunk.a);
	p->cursor.a = MAX(p->cursor.a, chunk.a + GMEM_CHUNK);
	return len == GMEM_CHUNK ? gmem_supply(p->vm, addr, p->buf) : fetch(p, chunk);
}

/* The next piece that is missing; without host memory for it, later. */
static void fetch_next(struct pager *p)
{
	if (fetch(p, p->cursor) == OK)
		p->cursor.a += GMEM_CHUNK;
	else
		thread_sleep(NO_MEMORY_NS);
}

/* --- the working set --------------------------------------------------------------------- */

static bool is_ram(struct pager *p, gpa_t addr)
{
	struct gmem_range r[GMEM_MAX_RANGES];
	unsigned n = gmem_ranges(p->vm, r);

	for (unsigned i = 0; i < n; i++)
		if (addr.a >= r[i].start && addr.a - r[i].start < r[i].size)
			return true;
	return false;
}

static int read_set(struct pager *p, struct errmsg *e)
{
	struct store *s = engine_lock(e);
	int err = s ? OK : ERR_NOENT;

	if (!err)
		err = p->image ? ram_image_set(p->image, p->set, &p->nset, e)
			       : snap_set(p->snap, p->set, &p->nset, e);
	if (s)
		engine_unlock();
	for (unsigned i = 0; !err && i < p->nset; i++)
		if (!is_ram(p, p->set[i]))
			err = err_set(e, ERR_CORRUPT, "working set: 0x%llx is not RAM",
			    (unsigned long long)p->set[i].a);
	return err;
}

static void drop_set(struct pager *p)
{
	heap_free(p->set);
	p->set = NULL;
	p->nset = 0;
}

/* A list that cannot be is not used, and does no other harm. */
static void load_set(struct pager *p)
{
	struct errmsg e;

	p->set = heap_alloc(SNAP_SET_MAX * sizeof(*p->set));
	if (p->set && read_set(p, &e)) {
		log_warn("vm '%s': %s; ignored", p->vm->config.name, e.text);
		drop_set(p);
	}
}

static bool is_missing(struct pager *p, gpa_t addr)
{
	gpa_t at = addr;

	return gmem_missing(p->vm, &at) && at.a == addr.a;
}

/* Keeps the reads of the pieces behind the next one under way. */
static void read_ahead(struct pager *p)
{
	struct errmsg e;
	struct store *s = engine_lock(&e);

	p->ahead = MAX(p->ahead, p->next);
	for (; s && p->ahead < p->nset; p->ahead++) {
		gpa_t addr = p->set[p->ahead];

		if (is_missing(p, addr) &&
		    !(p->image ? ram_image_ahead(p->image, addr) : snap_ram_ahead(p->snap, addr)))
			break;
	}
	if (s)
		engine_unlock();
}

/* The next piece of the working set; false if there is none left. */
static bool step_set(struct pager *p)
{
	if (!p->set)
		return false;
	while (p->next < p->nset) {
		gpa_t addr = p->set[p->next];

		if (is_missing(p, addr)) {
			read_ahead(p);
			if (fetch(p, addr) == OK)
				p->next++;
			else
				thread_sleep(NO_MEMORY_NS);
			return true;
		}
		p->next++;
	}
	if (p->nset)
		log_info("vm '%s': its working set is there, %u KiB", p->vm->config.name,
		    p->nset * (STORE_CHUNK / 1024));
	drop_set(p);
	return false;
}

static bool serve(struct pager *p)
{
	gpa_t addr;

	if (!take_wanted(p, &addr))
		return false;
	if (fetch(p, addr) == ERR_NOMEM)
		gmem_starve(p->vm, addr);
	return true;
}

/* False: nothing is missing any more, but what is lost. */
static bool step(struct pager *p)
{
	if (serve(p) || step_set(p))
		return true;
	if (p->in_order) {
		int err = next_in_order(p);

		p->in_order = err == OK;
		if (err && err != ERR_NOENT)
			p->cursor.a = 0; /* once more, piece by piece */
		return true;
	}
	if (!gmem_missing(p->vm, &p->cursor))
		return false;
	fetch_next(p);
	return true;
}

/* Until something is wanted, or for a moment. */
static void wait_for_want(struct pager *p)
{
	uint64_t deadline = time_now() + START_STEP_NS, flags = spin_lock(&p->lock);
	bool late = false;

	while (!p->nwanted && !late)
		flags = waitq_wait_until(&p->waitq, &p->lock, flags, deadline, &late);
	spin_unlock(&p->lock, flags);
}

/* What nobody asks for does not take the CPU from the machine on its way to its first instruction.
 */
static void let_it_start(struct pager *p)
{
	uint64_t end = time_now() + START_NS;

	while (!stopped(p) && time_now() < end &&
	       !__atomic_load_n(&p->vm->resumed_at, __ATOMIC_ACQUIRE))
		if (!serve(p))
			wait_for_want(p);
}

/* A clone's image is given back when the machine is gone: it runs on the image's frames. */
static void pager_main(void *arg)
{
	struct pager *p = arg;
	struct errmsg e;

	let_it_start(p);
	load_set(p);
	while (!stopped(p) && step(p))
		thread_yield();
	drop_set(p);
	if (!stopped(p) && !gmem_lost(p->vm)) {
		gmem_detach(p->vm);
		log_info("vm '%s': all of its memory is there", p->vm->config.name);
	}
	if (p->snap && engine_lock(&e)) {
		snap_close(p->snap);
		engine_unlock();
	}
	if (p->snap)
		engine_release();
	thread_exit();
}

/* --- beginning and end --------------------------------------------------------------------- */

static void pager_free(struct pager *p)
{
	if (p->image) { /* its frames are given back without a store, too */
		engine_lock_only();
		ram_image_unref(p->image);
		engine_unlock();
	}
	heap_free(p->buf);
	heap_free(p);
}

/* The machine stands still for good: nobody waits for anything. */
static void release(void *ctx)
{
	struct pager *p = ctx;

	__atomic_store_n(&p->stop, true, __ATOMIC_RELEASE);
	if (p->thread)
		thread_join(p->thread);
	pager_free(p);
}

/* Freed with the VM from here on, also after a failure. */
static int begin(struct pager *p, struct vm *vm, struct errmsg *e)
{
	char name[32];

	p->vm = vm;
	p->source = (struct gmem_source){want, release, p};
	spinlock_init(&p->lock, RANK_VCPU);
	waitq_init(&p->waitq);
	gmem_watch(vm);
	if (gmem_attach(vm, &p->source, e))
		return ERR_NOMEM;
	str_format(name, sizeof(name), "pager/%s", vm->config.name);
	p->thread = thread_create(name, pager_main, p, THREAD_XSTATE, PAGER_WEIGHT);
	return p->thread ? OK : err_set(e, ERR_NOMEM, "out of memory");
}

int pager_start(struct vm *vm, struct snap *sn, struct errmsg *e)
{
	struct pager *p = heap_zalloc(sizeof(*p));
	int err;

	if (p)
		p->buf = heap_alloc(STORE_CHUNK);
	if (!p || !p->buf) {
		heap_free(p);
		snap_close(sn);
		return err_set(e, ERR_NOMEM, "out of memory");
	}
	p->snap = sn;
	p->in_order = true;
	engine_hold();
	err = begin(p, vm, e);
	if (err) {
		p->snap = NULL;
		snap_close(sn);
		engine_let_go();
	}
	return err;
}

int pager_start_shared(struct vm *vm, struct ram_image *image, struct errmsg *e)
{
	struct pager *p = heap_zalloc(sizeof(*p));

	if (!p)
		return err_set(e, ERR_NOMEM, "out of memory");
	ram_image_ref(image);
	p->image = image;
	return begin(p, vm, e);
}
