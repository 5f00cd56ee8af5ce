/* SPDX-License-Identifier: BSD-2-Clause */
/* A mark in RAM: copies of what was written since, and putting them back page by page. */
#include <string.h>
#include "hv/core/gmem_impl.h"

struct gmem_mark {
	hpa_t *copy; /* by chunk: its content at the mark; 0: not touched since */
	/* by chunk: pages that the next save is to look at, besides those written since the chunk
	 * was opened last */
	uint16_t *before;
	/* by chunk that has a copy: pages that changed since the mark, likewise */
	uint16_t *since;
	uint64_t *touched; /* numbers of chunks that have a copy, as they came */
	uint64_t ntouched;
};

int gmem_mark_keep(struct gmem *m, uint64_t chunk)
{
	struct gmem_mark *k = m->mark;
	hpa_t h;

	if (!k || k->copy[chunk].a)
		return OK;
	h = gmem_frame_alloc(false);
	if (!h.a)
		return ERR_NOMEM;
	memcpy(phys_to_virt(h), gmem_chunk_data(m, chunk), GMEM_CHUNK);
	k->copy[chunk] = h;
	k->touched[k->ntouched++] = chunk;
	return OK;
}

void gmem_mark_note(struct gmem *m, uint64_t chunk, uint16_t pages)
{
	struct gmem_mark *k = m->mark;

	if (!k) {
		__atomic_fetch_or(&m->written[chunk], pages, __ATOMIC_SEQ_CST);
		return;
	}
	k->before[chunk] |= pages;
	if (k->copy[chunk].a) /* closed by a save that failed: that was after the mark */
		k->since[chunk] |= pages;
}

uint16_t gmem_mark_saved(struct gmem *m, uint64_t chunk, uint16_t pages)
{
	struct gmem_mark *k = m->mark;
	uint16_t before;

	if (!k)
		return 0;
	before = k->before[chunk];
	k->before[chunk] = 0;
	if (k->copy[chunk].a)
		k->since[chunk] |= pages;
	return before;
}

void gmem_mark_free(struct gmem *m)
{
	struct gmem_mark *k = m->mark;

	if (!k)
		return;
	for (uint64_t c = 0; c < m->nchunks; c++) /* of interest to the next save still */
		if (k->before[c])
			__atomic_fetch_or(&m->written[c], k->before[c], __ATOMIC_SEQ_CST);
	for (uint64_t i = 0; i < k->ntouched; i++)
		frames_free(k->copy[k->touched[i]], CHUNK_ORDER);
	heap_free(k->copy);
	heap_free(k->before);
	heap_free(k->since);
	heap_free(k->touched);
	heap_free(k);
	m->mark = NULL;
}

static struct gmem_mark *mark_make(uint64_t nchunks)
{
	struct gmem_mark *k = heap_zalloc(sizeof(*k));

	if (!k)
		return NULL;
	k->copy = heap_zalloc(nchunks * sizeof(*k->copy));
	k->before = heap_zalloc(nchunks * sizeof(*k->before));
	k->since = heap_zalloc(nchunks * sizeof(*k->since));
	k->touched = heap_zalloc(nchunks * sizeof(*k->touched));
	if (k->copy && k->before && k->since && k->touched)
		return k;
	heap_free(k->copy);
	heap_free(k->before);
	heap_free(k->since);
	heap_free(k->touched);
	heap_free(k);
	return NULL;
}

int gmem_mark(struct vm *vm)
{
	struct gmem *m = vm->gmem;

	mutex_lock(&m->lock);
	gmem_mark_free(m);
	m->mark = mark_make(m->nchunks);
	if (m->mark) {
		/* All is closed, so that the first write to each piece is seen. */
		for (uint64_t w = 0; w < BITMAP_WORDS(m->nchunks); w++) {
			m->epoch.changed[w] |= m->epoch.open[w];
			m->epoch.open[w] = 0;
		}
		m->tracking = true;
		npt_protect(&vm->npt);
	}
	mutex_unlock(&m->lock);
	gmem_flush(vm);
	return m->mark ? OK : ERR_NOMEM;
}

bool gmem_marked(struct vm *vm)
{
	return vm->gmem->mark != NULL;
}

/* Lock held. */
static unsigned rewind_chunk(struct vm *vm, uint64_t chunk)
{
	struct gmem *m = vm->gmem;
	struct gmem_mark *k = m->mark;
	const uint8_t *from = phys_to_virt(k->copy[chunk]);
	uint8_t *to = gmem_chunk_data(m, chunk);
	uint16_t pages = gmem_take_pages(vm, chunk) | k->since[chunk];
	unsigned n = 0;

	if (bitmap_test(m->epoch.dma_done, chunk))
		pages = UINT16_MAX;
	for (unsigned i = 0; i < GMEM_CHUNK_PAGES; i++)
		if (pages >> i & 1) {
			memcpy(to + i * PAGE_SIZE, from + i * PAGE_SIZE, PAGE_SIZE);
			n++;
		}
	/* A save since the mark has seen something else there. */
	if (k->since[chunk]) {
		k->before[chunk] |= k->since[chunk];
		k->since[chunk] = 0;
		bitmap_set(m->epoch.changed, chunk);
	}
	return n;
}

uint64_t gmem_rewind(struct vm *vm)
{
	struct gmem *m = vm->gmem;
	uint64_t n = 0;

	mutex_lock(&m->lock);
	for (uint64_t i = 0; m->mark && i < m->mark->ntouched; i++)
		n += rewind_chunk(vm, m->mark->touched[i]);
	mutex_unlock(&m->lock);
	gmem_flush(vm); /* CPUs that have told that a page is dirty do not tell again */
	return n;
}

void gmem_unmark(struct vm *vm)
{
	struct gmem *m = vm->gmem;

	mutex_lock(&m->lock);
	gmem_mark_free(m);
	mutex_unlock(&m->lock);
}
