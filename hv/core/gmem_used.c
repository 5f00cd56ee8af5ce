/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a machine uses, as hardware's accessed bits tell. They are asked when a save begins and when
 * it has all, in between which every CPU flushes; a save's instant and its pause know nothing of
 * it. The hypervisor's own reads set none. Where EPT has no such bits, what was written has to do.
 */
#include "hv/core/gmem_impl.h"

/* Those of 2 MiB at once: a vCPU that wants the lock meanwhile does not wait for long. */
static uint32_t take_2m(struct vm *vm, gpa_t addr)
{
	uint32_t mask;

	mutex_lock(&vm->gmem->lock);
	mask = npt_take_accessed(&vm->npt, addr);
	mutex_unlock(&vm->gmem->lock);
	return mask;
}

void gmem_take_used(struct vm *vm, uint64_t *chunks)
{
	const struct gmem *m = vm->gmem;

	for (unsigned i = 0; i < m->nranges; i++) {
		const struct gmem_range *r = &m->range[i];

		/* a range begins at 2 MiB, though it may end within them */
		for (uint64_t at = 0; at < r->size; at += SIZE_2M) {
			uint32_t mask = take_2m(vm, gpa(r->start + at));

			for (unsigned k = 0; mask; k++, mask >>= 1)
				if ((mask & 1) && at + k * GMEM_CHUNK < r->size)
					bitmap_set(
					    chunks, gmem_chunk(m, r->start + at + k * GMEM_CHUNK));
		}
	}
}

bool gmem_used_tells(const struct gmem *m, const uint64_t *chunks)
{
	uint64_t have = m->backed + (m->shared ? bitmap_count(m->shared, m->nchunks) : 0);

	return bitmap_count(chunks, m->nchunks) <= have / 2;
}

enum { SETS = 3 };

/* A chunk that no earlier set has. */
static bool is_new(const uint64_t *const sets[SETS], unsigned set, uint64_t chunk)
{
	for (unsigned i = 0; i < set; i++)
		if (sets[i] && bitmap_test(sets[i], chunk))
			return false;
	return true;
}

unsigned gmem_list_used(
    struct gmem *m, uint64_t *now, const uint64_t *before, gpa_t *out, unsigned max)
{
	const uint64_t *sets[SETS] = {now, gmem_used_tells(m, before) ? before : NULL, m->recent};
	unsigned n = 0;

	if (!now || !gmem_used_tells(m, now)) {
		heap_free(now);
		return 0;
	}
	for (unsigned i = 0; i < SETS; i++)
		for (uint64_t c = 0; sets[i] && n < max; c++) {
			c = bitmap_next_set(sets[i], m->nchunks, c);
			if (c >= m->nchunks)
				break;
			/* without host memory it is zeros, or is in a source still */
			if (m->frame[c].a && is_new(sets, i, c))
				out[n++] = gmem_chunk_addr(m, c);
		}
	for (uint64_t w = 0; sets[1] && w < BITMAP_WORDS(m->nchunks); w++)
		now[w] |= before[w];
	heap_free(m->recent);
	m->recent = now;
	return n;
}
