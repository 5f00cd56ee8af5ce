/* SPDX-License-Identifier: BSD-2-Clause */
/* Copy before write, and which pages have changed (gmem_track.h tells how). */
#include <string.h>
#include "hv/core/gmem_impl.h"

/* A copy on its way to the writer. */
struct slot {
	struct list link;
	uint64_t chunk;
	uint16_t pages;
	uint8_t *data;
};

struct gmem_save {
	bool full, armed;
	bool still; /* the guest does not run: what is handed out need not be copied */
	struct gmem_epoch
	    epoch;	    /* before arming: the next one, empty; afterwards: the one that ended */
	uint64_t *captured; /* by chunk: its content is safe, or handed out */
	uint64_t *used;	    /* by chunk: was used before the save; they are handed out first */
	bool choosy;	    /* the cursor passes over used chunks only: the others come later */
	uint64_t cursor;    /* all chunks below are captured, or of no interest */
	struct slot *slots;
	unsigned nslots;
	struct list free, ready;
	struct slot own;     /* the writer's */
	struct slot *handed; /* NULL or what gmem_save_next() gave last */
};

int gmem_epoch_make(struct gmem_epoch *e, uint64_t nchunks)
{
	uint64_t bytes = BITMAP_WORDS(nchunks) * 8;

	e->open = heap_zalloc(bytes);
	e->changed = heap_zalloc(bytes);
	e->dma_done = heap_zalloc(bytes);
	return e->open && e->changed && e->dma_done ? OK : ERR_NOMEM;
}

void gmem_epoch_free(struct gmem_epoch *e)
{
	heap_free(e->open);
	heap_free(e->changed);
	heap_free(e->dma_done);
}

static bool epoch_has(const struct gmem_epoch *e, uint64_t chunk)
{
	return bitmap_test(e->open, chunk) || bitmap_test(e->changed, chunk) ||
	       bitmap_test(e->dma_done, chunk);
}

/* The first chunk from start on that the epoch has, or n. */
static uint64_t epoch_next(const struct gmem_epoch *e, uint64_t n, uint64_t start)
{
	uint64_t a = bitmap_next_set(e->open, n, start), b = bitmap_next_set(e->changed, n, start),
		 c = bitmap_next_set(e->dma_done, n, start);

	return MIN(a, MIN(b, c));
}

void gmem_flush(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nvcpus; i++)
		vcpu_request(vm->vcpus[i], VCPU_REQ_TLB);
}

/* --- opening ---------------------------------------------------------------------------- */

/* The save is to see the chunk, and has not yet. */
static bool is_wanted(const struct gmem_save *s, uint64_t chunk)
{
	if (!s || !s->armed || bitmap_test(s->captured, chunk))
		return false;
	return s->full || epoch_has(&s->epoch, chunk);
}

uint16_t gmem_take_pages(struct vm *vm, uint64_t chunk)
{
	struct gmem *m = vm->gmem;
	uint16_t pages = m->written[chunk];

	m->written[chunk] = 0;
	pages |= (uint16_t)npt_take_dirty(&vm->npt, gmem_chunk_addr(m, chunk), GMEM_CHUNK_PAGES);
	return pages;
}

static void capture(struct vm *vm, struct gmem_save *s, uint64_t chunk, struct slot *to)
{
	uint16_t pages = gmem_take_pages(vm, chunk);

	if (bitmap_test(s->epoch.dma_done, chunk))
		pages = UINT16_MAX;
	pages |= gmem_mark_saved(vm->gmem, chunk, pages);
	if (s->full)
		pages = UINT16_MAX;
	to->chunk = chunk;
	to->pages = pages;
	bitmap_set(s->captured, chunk);
}

static int copy_for_save(struct vm *vm, struct gmem_save *s, uint64_t chunk)
{
	struct list *l = list_pop_front(&s->free);
	struct slot *slot;

	if (!l)
		return ERR_BUSY;
	slot = LIST_ENTRY(l, struct slot, link);
	memcpy(slot->data, gmem_chunk_data(vm->gmem, chunk), GMEM_CHUNK);
	capture(vm, s, chunk, slot);
	list_push_back(&s->ready, &slot->link);
	return OK;
}

int gmem_open_chunk(struct vm *vm, uint64_t chunk)
{
	struct gmem *m = vm->gmem;
	int err = OK;

	if (is_wanted(m->save, chunk)) {
		err = copy_for_save(vm, m->save, chunk);
	} else if (!bitmap_test(m->epoch.open, chunk)) {
		uint16_t pages = gmem_take_pages(vm, chunk);

		/* if not, they are of an epoch that nobody asks about any more */
		if (bitmap_test(m->epoch.changed, chunk))
			gmem_mark_note(m, chunk, pages);
	}
	if (!err)
		err = gmem_mark_keep(m, chunk);
	if (!err)
		err = gmem_unshare(vm, chunk);
	if (!err)
		err = npt_open(&vm->npt, gmem_chunk_addr(m, chunk), GMEM_CHUNK);
	if (!err)
		(void)bitmap_test_and_set_atomic(m->epoch.open, chunk);
	return err;
}

/* --- a save ----------------------------------------------------------------------------- */

static void save_free(struct gmem_save *s)
{
	if (!s)
		return;
	for (unsigned i = 0; s->slots && i < s->nslots; i++)
		if (s->slots[i].data)
			frames_free(virt_to_phys(s->slots[i].data), CHUNK_ORDER);
	if (s->own.data)
		frames_free(virt_to_phys(s->own.data), CHUNK_ORDER);
	heap_free(s->slots);
	gmem_epoch_free(&s->epoch);
	heap_free(s->captured);
	heap_free(s->used);
	heap_free(s);
}

static int slot_make(struct slot *slot)
{
	hpa_t h = gmem_frame_alloc(false);

	list_init(&slot->link);
	slot->data = h.a ? phys_to_virt(h) : NULL;
	return h.a ? OK : ERR_NOMEM;
}

/* All that arming and capturing need: they take no memory. */
static int save_make(struct gmem_save *s, uint64_t nchunks)
{
	int err = gmem_epoch_make(&s->epoch, nchunks);

	list_init(&s->free);
	list_init(&s->ready);
	s->captured = heap_zalloc(BITMAP_WORDS(nchunks) * 8);
	s->used = heap_zalloc(BITMAP_WORDS(nchunks) * 8);
	s->slots = heap_zalloc(s->nslots * sizeof(*s->slots));
	if (err || !s->captured || !s->used || !s->slots || slot_make(&s->own))
		return ERR_NOMEM;
	for (unsigned i = 0; !err && i < s->nslots; i++) {
		err = slot_make(&s->slots[i]);
		if (!err)
			list_push_back(&s->free, &s->slots[i].link);
	}
	return err;
}

int gmem_save_begin(struct vm *vm, bool full, unsigned slots, struct errmsg *e)
{
	struct gmem *m = vm->gmem;
	struct gmem_save *s = heap_zalloc(sizeof(*s));

	ASSERT(!m->save && slots >= 1 && slots <= GMEM_SLOTS_MAX);
	if (s) {
		s->full = full || !m->has_base;
		s->nslots = slots;
	}
	if (!s || save_make(s, m->nchunks)) {
		save_free(s);
		return err_set(e, ERR_NOMEM, "no memory for the copies that a save needs (%u KiB)",
		    slots * (unsigned)(GMEM_CHUNK / KIB));
	}
	gmem_take_used(vm, s->used);
	mutex_lock(&m->lock);
	s->choosy = gmem_used_tells(m, s->used);
	m->save = s;
	mutex_unlock(&m->lock);
	return OK;
}

void gmem_save_observe(struct vm *vm)
{
	gmem_flush(vm);
}

bool gmem_watched(struct vm *vm)
{
	return vm->gmem->has_base;
}

void gmem_save_arm(struct vm *vm, bool still)
{
	struct gmem *m = vm->gmem;
	struct gmem_save *s = m->save;
	struct gmem_epoch ended;

	/* Quiesced: nobody holds the lock for longer than it takes. */
	mutex_lock(&m->lock);
	ended = m->epoch;
	m->epoch = s->epoch;
	s->epoch = ended;
	s->armed = true;
	s->still = still;
	m->tracking = true;
	npt_protect(&vm->npt);
	mutex_unlock(&m->lock);
	gmem_flush(vm);
}

/* The next chunk from the cursor on that the save has not seen, or NO_CHUNK. Lock held. */
static uint64_t next_from_cursor(const struct gmem *m, struct gmem_save *s)
{
	while (s->cursor < m->nchunks) {
		uint64_t c = s->cursor;

		if (s->choosy)
			c = bitmap_next_set(s->used, m->nchunks, c);
		else if (!s->full)
			c = epoch_next(&s->epoch, m->nchunks, c);
		if (c >= m->nchunks)
			break;
		s->cursor = c;
		if (is_wanted(s, c) &&
		    (m->frame[c].a || (m->pending && bitmap_test(m->pending, c))))
			return c;
		s->cursor++;
	}
	return NO_CHUNK;
}

static uint64_t next_wanted(const struct gmem *m, struct gmem_save *s)
{
	uint64_t chunk = next_from_cursor(m, s);

	if (chunk != NO_CHUNK || !s->choosy)
		return chunk;
	s->choosy = false;
	s->cursor = 0;
	return next_from_cursor(m, s);
}

static void hand_out(struct vm *vm, struct gmem_save *s, struct slot *slot, struct gmem_piece *p)
{
	s->handed = slot == &s->own ? NULL : slot;
	*p = (struct gmem_piece){
	    .addr = gmem_chunk_addr(vm->gmem, slot->chunk),
	    .data = slot->data,
	    .pages = slot->pages,
	};
}

/* Straight from guest memory. Lock held. */
static void read_chunk(struct vm *vm, struct gmem_save *s, uint64_t chunk, struct gmem_piece *p)
{
	const void *data = gmem_chunk_data(vm->gmem, chunk);

	capture(vm, s, chunk, &s->own);
	if (!s->still)
		memcpy(s->own.data, data, GMEM_CHUNK);
	hand_out(vm, s, &s->own, p);
	if (s->still)
		p->data = data;
}

/* Lock held. OK, ERR_NOENT, or ERR_BUSY: chunk *absent has to be fetched first. */
static int take_next(struct vm *vm, struct gmem_save *s, struct gmem_piece *p, uint64_t *absent)
{
	struct gmem *m = vm->gmem;
	struct list *l;
	uint64_t chunk;

	if (s->handed)
		list_push_back(&s->free, &s->handed->link);
	s->handed = NULL;
	l = list_pop_front(&s->ready);
	if (l) {
		hand_out(vm, s, LIST_ENTRY(l, struct slot, link), p);
		return OK;
	}
	chunk = next_wanted(m, s);
	if (chunk == NO_CHUNK)
		return ERR_NOENT;
	if (!m->frame[chunk].a) {
		*absent = chunk;
		return ERR_BUSY;
	}
	read_chunk(vm, s, chunk, p);
	return OK;
}

int gmem_save_next(struct vm *vm, struct gmem_piece *p)
{
	struct gmem *m = vm->gmem;
	uint64_t absent;
	bool freed;
	int err;

	for (;;) {
		mutex_lock(&m->lock);
		freed = m->save->handed != NULL;
		err = take_next(vm, m->save, p, &absent);
		mutex_unlock(&m->lock);
		if (freed)
			gmem_changed(m);
		if (err != ERR_BUSY)
			return err;
		err = gmem_fetch(vm, absent);
		if (err)
			return err;
	}
}

/* All that an epoch has, too. */
static void add_epoch(const struct gmem *m, uint64_t *chunks, const struct gmem_epoch *e)
{
	for (uint64_t c = 0; (c = epoch_next(e, m->nchunks, c)) < m->nchunks; c++)
		bitmap_set(chunks, c);
}

unsigned gmem_save_used(struct vm *vm, gpa_t *out, unsigned max)
{
	struct gmem *m = vm->gmem;
	uint64_t *now = heap_zalloc(BITMAP_WORDS(m->nchunks) * 8);
	struct gmem_save *s;
	unsigned n = 0;

	if (!now)
		return 0;
	gmem_take_used(vm, now);
	gmem_flush(vm);
	mutex_lock(&m->lock);
	s = m->save;
	add_epoch(m, now, &m->epoch);
	add_epoch(m, s->used, &s->epoch);
	n = gmem_list_used(m, now, s->used, out, max);
	mutex_unlock(&m->lock);
	return n;
}

/* What the epoch that ended had changed counts as changed in this one. Lock held. */
static void take_back(struct gmem *m, const struct gmem_epoch *ended)
{
	for (uint64_t c = 0; (c = epoch_next(ended, m->nchunks, c)) < m->nchunks; c++) {
		gmem_mark_note(m, c, UINT16_MAX);
		if (bitmap_test(ended->dma_done, c))
			(void)bitmap_test_and_set_atomic(m->epoch.dma_done, c);
		bitmap_set(m->epoch.changed, c);
	}
}

void gmem_save_end(struct vm *vm, bool ok)
{
	struct gmem *m = vm->gmem;
	struct gmem_save *s;

	mutex_lock(&m->lock);
	s = m->save;
	m->save = NULL;
	if (s && s->armed && !ok)
		take_back(m, &s->epoch);
	m->has_base |= s && s->armed && ok && m->tracking;
	mutex_unlock(&m->lock);
	save_free(s);
	gmem_changed(m);
}

uint64_t gmem_save_size(struct vm *vm)
{
	struct gmem *m = vm->gmem;
	uint64_t n;

	mutex_lock(&m->lock);
	n = m->has_base ? 0 : m->backed;
	for (uint64_t c = 0; m->has_base && (c = epoch_next(&m->epoch, m->nchunks, c)) < m->nchunks;
	     c++)
		n++;
	mutex_unlock(&m->lock);
	return n << CHUNK_SHIFT;
}

void gmem_watch(struct vm *vm)
{
	struct gmem *m = vm->gmem;

	mutex_lock(&m->lock);
	m->tracking = m->has_base = true;
	memset(m->epoch.open, 0, BITMAP_WORDS(m->nchunks) * 8);
	memset(m->epoch.changed, 0, BITMAP_WORDS(m->nchunks) * 8);
	memset(m->epoch.dma_done, 0, BITMAP_WORDS(m->nchunks) * 8);
	npt_protect(&vm->npt);
	mutex_unlock(&m->lock);
	gmem_flush(vm);
}

void gmem_track_destroy(struct gmem *m)
{
	save_free(m->save);
	m->save = NULL;
	heap_free(m->recent);
	m->recent = NULL;
	gmem_mark_free(m);
}
