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

/* Without host memory there is nothing to fetch: the chunk is zeros, or is in a source still. */
static unsigned list(const struct gmem *m, const uint64_t *chunks, const uint64_t *but, gpa_t *out,
    unsigned n, unsigned max)
{
	for (uint64_t c = 0; n < max && (c = bitmap_next_set(chunks, m->nchunks, c)) < m->nchunks;
	     c++)
		if (m->frame[c].a && !(but && bitmap_test(but, c)))
			out[n++] = gmem_chunk_addr(m, c);
	return n;
}

/* Whether it is less than most of what the machine has. */
static bool tells(const struct gmem *m, const uint64_t *chunks)
{
	uint64_t have = 0, used = 0;

	for (uint64_t c = 0; c < m->nchunks; c++)
		if (m->frame[c].a) {
			have++;
			used += bitmap_test(chunks, c);
		}
	return used <= have / 2;
}

unsigned gmem_list_used(
    const struct gmem *m, const uint64_t *first, const uint64_t *second, gpa_t *out, unsigned max)
{
	unsigned n;

	if (!tells(m, first))
		return 0;
	n = list(m, first, NULL, out, 0, max);
	return tells(m, second) ? list(m, second, first, out, n, max) : n;
}
