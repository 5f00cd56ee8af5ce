/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A chain of objects into one that needs no parent, in the same store or in another. What shows
 * whole goes as it is stored; only chunks in which levels cover each other in part are made anew.
 */
#include <string.h>

#include "hv/lib/bitmap.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/ram_stream.h"

/* What shows of one chunk. */
struct pieces {
	bool busy;
	uint64_t number;
	bool mixed; /* some of it is cut, or they are too many: to be put together */
	unsigned n; /* others than zeros, in x, in no order */
	struct store_extent x[STORE_CHUNK_BLOCKS];
	uint64_t map[STORE_CHUNK / 64]; /* the bytes that are there */
};

static void pieces_begin(struct pieces *p, uint64_t number)
{
	p->busy = true;
	p->number = number;
	p->mixed = false;
	p->n = 0;
	memset(p->map, 0, sizeof(p->map));
}

static void pieces_add(struct pieces *p, const struct store_extent *x, bool cut)
{
	bitmap_set_range(p->map, x->offset % STORE_CHUNK, x->raw_len);
	if (cut || p->n == STORE_CHUNK_BLOCKS)
		p->mixed = true;
	else if (x->encoding != ENC_ZERO) /* with nothing behind it, a hole says the same */
		p->x[p->n++] = *x;
}

/* Ascending order keeps the writer on its fast path. */
static void pieces_sort(struct pieces *p)
{
	for (unsigned i = 1; i < p->n; i++) {
		struct store_extent x = p->x[i];
		unsigned k = i;

		for (; k && p->x[k - 1].offset > x.offset; k--)
			p->x[k] = p->x[k - 1];
		p->x[k] = x;
	}
}

/*
 * Calls on() for each chunk in which something shows, in ascending order; on() may read chunks
 * with stream_read_chunk().
 */
static int each_chunk(struct stream_reader *r, struct pieces *p,
    int (*on)(void *ctx, struct pieces *p, struct errmsg *e), void *ctx, struct errmsg *e)
{
	struct store_extent x;
	bool cut;
	int err = OK, walk;

	stream_rewind(r);
	p->busy = false;
	do {
		walk = stream_next_extent(r, &x, &cut, e);
		if (walk && walk != ERR_NOENT)
			return walk;
		if (p->busy && (walk || p->number != x.offset / STORE_CHUNK)) {
			pieces_sort(p);
			err = on(ctx, p, e);
			p->busy = false;
		}
		if (!walk && !p->busy)
			pieces_begin(p, x.offset / STORE_CHUNK);
		if (!walk)
			pieces_add(p, &x, cut);
	} while (!err && !walk);
	stream_rewind(r);
	return err;
}

/* --- into another object ------------------------------------------------------------- */

struct flatten {
	struct stream_reader *r;
	struct stream_writer *w;
	uint8_t *buf;
	bool (*progress)(void *ctx, uint64_t done);
	void *ctx;
};

/* An extent as it is: shared if it can be, else its blocks copied. */
static int put_whole(struct flatten *f, const struct store_extent *x, struct errmsg *e)
{
	int err = f->r->store == f->w->store ? stream_put_shared(f->w, x, e) : ERR_FULL;

	if (err != ERR_FULL)
		return err;
	err = stream_read_stored(f->r, x, f->buf, e);
	return err ? err : stream_put_stored(f->w, x, f->buf, e);
}

static int put_mixed(struct flatten *f, struct pieces *p, struct errmsg *e)
{
	uint64_t base = p->number * STORE_CHUNK;
	size_t from = 0, to;
	bool present;
	int err = stream_read_chunk(f->r, base, f->buf, &present, e);

	while (!err && (from = bitmap_next_set(p->map, STORE_CHUNK, from)) < STORE_CHUNK) {
		to = bitmap_next_clear(p->map, STORE_CHUNK, from);
		err = stream_put(f->w, base + from, f->buf + from, to - from, e);
		from = to;
	}
	return err;
}

static int flatten_chunk(void *ctx, struct pieces *p, struct errmsg *e)
{
	struct flatten *f = ctx;
	uint64_t done = 0;
	int err = p->mixed ? put_mixed(f, p, e) : OK;

	for (unsigned i = 0; !err && !p->mixed && i < p->n; i++)
		err = put_whole(f, &p->x[i], e);
	for (unsigned i = 0; i < f->r->nlevels; i++)
		done += f->r->level[i].seen.raw;
	if (!err && f->progress && !f->progress(f->ctx, done))
		err = err_set(e, ERR_CANCELLED, "cancelled");
	return err;
}

int stream_flatten(struct stream_reader *r, struct stream_writer *w,
    bool (*progress)(void *ctx, uint64_t done), void *ctx, struct errmsg *e)
{
	struct flatten f = {.r = r, .w = w, .progress = progress, .ctx = ctx};
	struct pieces *p = heap_alloc(sizeof(*p));
	uint64_t size = 0;
	int err;

	f.buf = heap_alloc(STORE_CHUNK);
	err = f.buf && p ? each_chunk(r, p, flatten_chunk, &f, e)
			 : err_set(e, ERR_NOMEM, "out of memory");
	heap_free(f.buf);
	heap_free(p);
	for (unsigned i = 0; i < r->nlevels; i++)
		size = MAX(size, r->level[i].info.size);
	return err ? err : stream_finish(w, size, e);
}

/* --- how much that is ---------------------------------------------------------------- */

struct flat_size {
	uint64_t blocks, pieces;
};

static int size_chunk(void *ctx, struct pieces *p, struct errmsg *e)
{
	struct flat_size *f = ctx;
	size_t from = 0, to;

	for (unsigned i = 0; !p->mixed && i < p->n; i++) {
		f->blocks += store_extent_blocks(&p->x[i]);
		f->pieces++;
	}
	while (p->mixed && (from = bitmap_next_set(p->map, STORE_CHUNK, from)) < STORE_CHUNK) {
		to = bitmap_next_clear(p->map, STORE_CHUNK, from);
		f->blocks += (to - from + STORE_BLOCK - 1) / STORE_BLOCK;
		f->pieces++;
		from = to;
	}
	return OK;
}

int stream_flat_size(struct stream_reader *r, uint64_t *bytes, uint64_t *pieces, struct errmsg *e)
{
	struct pieces *p = heap_alloc(sizeof(*p));
	struct flat_size f = {0};
	int err = p ? each_chunk(r, p, size_chunk, &f, e) : err_set(e, ERR_NOMEM, "out of memory");

	heap_free(p);
	*bytes = f.blocks * STORE_BLOCK;
	*pieces = f.pieces;
	return err;
}
