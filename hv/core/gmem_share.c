/* SPDX-License-Identifier: BSD-2-Clause */
/* RAM that several machines share until they write to it: clones of one snapshot. */
#include <string.h>
#include "hv/core/gmem_impl.h"

int gmem_supply_shared(struct vm *vm, gpa_t addr, hpa_t frame)
{
	struct gmem *m = vm->gmem;
	uint64_t chunk = gmem_chunk(m, addr.a);
	int err = OK;

	if (chunk == NO_CHUNK)
		return OK;
	mutex_lock(&m->lock);
	if (m->pending && bitmap_test(m->pending, chunk)) {
		if (!m->shared)
			m->shared = heap_zalloc(BITMAP_WORDS(m->nchunks) * 8);
		err = m->shared ? gmem_map_chunk(vm, chunk, frame) : ERR_NOMEM;
		if (!err) {
			bitmap_set(m->shared, chunk);
			bitmap_clear(m->pending, chunk);
		}
	}
	mutex_unlock(&m->lock);
	if (!err)
		gmem_changed(m);
	return err;
}

/*
 * The frame that others have too is left to them. No CPU may still read it through an old
 * translation when the first write goes to the new one: all flush before this returns.
 */
int gmem_unshare(struct vm *vm, uint64_t chunk)
{
	struct gmem *m = vm->gmem;
	gpa_t addr = gmem_chunk_addr(m, chunk);
	const void *old = gmem_chunk_data(m, chunk);
	hpa_t h, before = m->frame[chunk];
	int err;

	if (!m->shared || !bitmap_test(m->shared, chunk))
		return OK;
	h = gmem_frame_alloc(m->promised);
	if (!h.a)
		return ERR_NOMEM;
	memcpy(phys_to_virt(h), old, GMEM_CHUNK);
	npt_unmap(&vm->npt, addr, GMEM_CHUNK);
	err = gmem_map_chunk(vm, chunk, h);
	if (err) { /* the tables were there a moment ago: this cannot be for want of them */
		frames_free(h, CHUNK_ORDER);
		return gmem_map_chunk(vm, chunk, before) ? ERR_NOMEM : err;
	}
	bitmap_clear(m->shared, chunk);
	gmem_account_backed(m, 1);
	vcpu_flush_all(vm);
	return OK;
}
