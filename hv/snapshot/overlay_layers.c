/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the blocks of an open disk are: its layers, and the table over all of them. */
#include "hv/snapshot/overlay_int.h"

#include <string.h>

#include "hv/lib/fmt.h"

void layers_forget(struct overlay *d)
{
	for (unsigned i = 0; i < d->sets * OVERLAY_WAYS; i++)
		d->map[i].chunk = UINT64_MAX;
}

int layers_load(struct overlay *d, struct store *s, struct errmsg *e)
{
	struct store_object_info o, up;
	uint64_t id = d->v.top;
	int err = disk_object_get(s, id, &o, e);

	d->nlayers = 0;
	layers_forget(d);
	while (!err) {
		if (d->nlayers == STORE_CHAIN_MAX)
			return err_set(e, ERR_CORRUPT, "more than %d layers", STORE_CHAIN_MAX);
		d->layer[d->nlayers++] = (struct layer){.id = id};
		err = store_object_parent(s, id, &o, &up, e);
		id = o.parent;
		o = up;
	}
	return err == ERR_NOENT && d->nlayers ? OK : err;
}

/* What the layer holds of the chunk. */
static int layer_get(
    struct store *s, struct layer *l, uint64_t chunk, struct disk_chunk *out, struct errmsg *e)
{
	uint64_t at = chunk;
	int err;

	*out = (struct disk_chunk){.data = 0};
	if (chunk >= l->gap_lo && chunk < l->gap_hi)
		return OK;
	err = disk_chunk_next(s, l->id, &at, out, e);
	if (err == OK && at == chunk)
		return OK;
	*out = (struct disk_chunk){.data = 0};
	if (err && err != ERR_NOENT)
		return err;
	l->gap_lo = chunk;
	l->gap_hi = err == OK ? at : DISK_CHUNKS_MAX;
	return OK;
}

int layers_resolve(struct overlay *d, struct store *s, unsigned first, uint64_t chunk,
    struct disk_chunk *out, struct errmsg *e)
{
	*out = (struct disk_chunk){.data = 0};
	for (unsigned n = first; n < d->nlayers; n++) {
		uint16_t known = out->data | out->zero;
		struct disk_chunk c;
		int err;

		if (known == 0xffff)
			return OK;
		err = layer_get(s, &d->layer[n], chunk, &c, e);
		if (err)
			return err;
		out->zero |= c.zero & (uint16_t)~known;
		for (unsigned i = 0; i < STORE_CHUNK_BLOCKS; i++) {
			if (!((c.data & ~known) >> i & 1))
				continue;
			out->data |= (uint16_t)(1u << i);
			out->block[i] = c.block[i];
			out->crc[i] = c.crc[i];
		}
	}
	return OK;
}

int layers_next(
    struct overlay *d, struct store *s, unsigned first, uint64_t *chunk, struct errmsg *e)
{
	uint64_t best = DISK_CHUNKS_MAX;
	struct disk_chunk c;

	for (unsigned n = first; n < d->nlayers; n++) {
		uint64_t at = *chunk;
		int err = disk_chunk_next(s, d->layer[n].id, &at, &c, e);

		if (err && err != ERR_NOENT)
			return err;
		if (!err)
			best = MIN(best, at);
	}
	*chunk = best;
	return best == DISK_CHUNKS_MAX ? ERR_NOENT : OK;
}

int layers_lookup(
    struct overlay *d, struct store *s, uint64_t chunk, struct disk_chunk **out, struct errmsg *e)
{
	struct map_entry *set = d->map + chunk % d->sets * OVERLAY_WAYS, *oldest = set;
	int err;

	for (unsigned i = 0; i < OVERLAY_WAYS; i++) {
		struct map_entry *m = &set[i];

		if (m->chunk == chunk) {
			m->used = ++d->clock;
			*out = &m->at;
			return OK;
		}
		if (oldest->chunk != UINT64_MAX &&
		    (m->chunk == UINT64_MAX || m->used < oldest->used))
			oldest = m;
	}
	oldest->chunk = UINT64_MAX;
	err = layers_resolve(d, s, 0, chunk, &oldest->at, e);
	if (err)
		return err;
	oldest->chunk = chunk;
	oldest->used = ++d->clock;
	*out = &oldest->at;
	return OK;
}

void layers_top_changed(struct overlay *d, uint64_t chunk)
{
	struct layer *top = &d->layer[0];

	if (chunk >= top->gap_lo && chunk < top->gap_hi)
		top->gap_lo = top->gap_hi = 0;
}
