/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Extents into chunks: a chain of objects read as one. All levels' extents are walked together, in
 * ascending order of chunks, the newest level first in each; what newer ones hide whole is not
 * read. So a chain costs one look at each of its extents, however long it is.
 */
#include "hv/snapshot/ram_stream.h"

#include <string.h>

#include "hv/lib/bitmap.h"
#include "hv/lib/crc32c.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/compress.h"

/* --- opening ------------------------------------------------------------------------- */

static int check_level(
    uint64_t object, const struct store_object_info *o, uint32_t kind, struct errmsg *e)
{
	if (o->kind != kind || !(o->flags & OBJ_COMPLETE))
		return err_set(e, ERR_CORRUPT, "object %llu: of the wrong kind, or not complete",
		    (unsigned long long)object);
	if (o->parent && kind != KIND_RAM)
		return err_set(
		    e, ERR_CORRUPT, "object %llu: has a parent", (unsigned long long)object);
	return OK;
}

/* r->info is the object's own record; the others' are read. */
static int open_levels(struct stream_reader *r, unsigned n, struct errmsg *e)
{
	r->level = heap_zalloc(n * sizeof(*r->level));
	if (!r->level)
		return err_set(e, ERR_NOMEM, "out of memory for %u levels", n);
	r->level[0].object = r->object;
	r->level[0].info = r->info;
	for (r->nlevels = 1; r->nlevels < n; r->nlevels++) {
		struct stream_level *l = &r->level[r->nlevels - 1];
		int err = store_object_parent(r->store, l->object, &l->info, &l[1].info, e);

		if (!err)
			err = check_level(l->info.parent, &l[1].info, l->info.kind, e);
		if (err)
			return err;
		l[1].object = l->info.parent;
	}
	return OK;
}

static int open_chain(struct stream_reader *r, struct store *s, uint64_t object, uint32_t kind,
    bool alone, struct errmsg *e)
{
	unsigned n = 1;
	int err;

	*r = (struct stream_reader){.store = s, .object = object};
	err = store_object_get(s, object, &r->info, e);
	if (!err)
		err = check_level(object, &r->info, kind, e);
	if (!err && !alone)
		err = store_object_depth(s, object, &n, e);
	return err ? err : open_levels(r, n, e);
}

int stream_open(
    struct stream_reader *r, struct store *s, uint64_t object, uint32_t kind, struct errmsg *e)
{
	return open_chain(r, s, object, kind, false, e);
}

int stream_open_alone(
    struct stream_reader *r, struct store *s, uint64_t object, uint32_t kind, struct errmsg *e)
{
	return open_chain(r, s, object, kind, true, e);
}

/* Buffers come with their first use: opening a snapshot to look at its record takes none. */
static void *need(void *buf, size_t size, struct errmsg *e)
{
	if (!buf)
		buf = heap_alloc(size);
	if (!buf)
		err_set(e, ERR_NOMEM, "out of memory for the stream's buffers");
	return buf;
}

static int need_chunk(struct stream_chunk **c, struct errmsg *e)
{
	bool fresh = !*c;

	*c = need(*c, sizeof(**c), e);
	if (*c && fresh)
		(*c)->busy = false;
	return *c ? OK : ERR_NOMEM;
}

static void drop_reads(struct stream_reader *r)
{
	for (unsigned i = 0; i < STORE_IO_DEPTH; i++) {
		if (r->slot[i].in_flight)
			(void)store_wait(r->store, &r->slot[i].req, NULL);
		r->slot[i].in_flight = false;
	}
	r->head = r->count = 0;
}

void stream_close(struct stream_reader *r)
{
	if (!r->store)
		return;
	drop_reads(r);
	for (unsigned i = 0; i < STORE_IO_DEPTH; i++) {
		if (r->ahead[i].in_flight)
			(void)store_wait(r->store, &r->ahead[i].req, NULL);
		heap_free(r->ahead[i].buf);
		heap_free(r->slot[i].buf);
	}
	heap_free(r->level);
	heap_free(r->hidden);
	heap_free(r->merge);
	heap_free(r->random);
	heap_free(r->spare);
	r->store = NULL;
}

void stream_rewind(struct stream_reader *r)
{
	drop_reads(r);
	r->in_chunk = false;
	if (r->merge)
		r->merge->busy = false;
	for (unsigned i = 0; i < r->nlevels; i++) {
		struct stream_level *l = &r->level[i];

		l->next_offset = 0;
		l->has_next = l->at_end = false;
		l->seen = (struct store_object_info){0};
	}
}

/* --- the index ----------------------------------------------------------------------- */

/* Makes sure that l->next is the level's next extent; ERR_NOENT at its end. */
static int level_peek(struct stream_reader *r, struct stream_level *l, struct errmsg *e)
{
	int err;

	if (l->has_next)
		return OK;
	err = l->at_end ? ERR_NOENT
			: store_extent_next(r->store, l->object, l->next_offset, &l->next, e);
	l->at_end = err == ERR_NOENT;
	l->has_next = err == OK;
	return err;
}

static int check_totals(const struct stream_level *l, struct errmsg *e)
{
	const struct store_object_info *a = &l->seen, *b = &l->info;

	if (a->extents != b->extents || a->raw != b->raw || a->blocks != b->blocks ||
	    a->index_crc != b->index_crc)
		return err_set(e, ERR_CORRUPT,
		    "object %llu: %llu chunks of %llu bytes, recorded are %llu of %llu",
		    (unsigned long long)l->object, (unsigned long long)a->extents,
		    (unsigned long long)a->raw, (unsigned long long)b->extents,
		    (unsigned long long)b->raw);
	return OK;
}

/* To the first chunk that any level has something in; ERR_NOENT if none has and all agree. */
static int enter_chunk(struct stream_reader *r, struct errmsg *e)
{
	bool any = false;
	int err;

	for (unsigned i = 0; i < r->nlevels; i++) {
		struct stream_level *l = &r->level[i];

		err = level_peek(r, l, e);
		if (err && err != ERR_NOENT)
			return err;
		if (!err && (!any || l->next.offset / STORE_CHUNK < r->chunk))
			r->chunk = l->next.offset / STORE_CHUNK;
		any |= !err;
	}
	for (unsigned i = 0; !any && i < r->nlevels; i++) {
		err = check_totals(&r->level[i], e);
		if (err)
			return err;
	}
	if (!any)
		return ERR_NOENT;
	if (r->nlevels > 1) {
		r->hidden = need(r->hidden, STORE_CHUNK / 8, e);
		if (!r->hidden)
			return ERR_NOMEM;
		memset(r->hidden, 0, STORE_CHUNK / 8);
	}
	r->in_chunk = true;
	r->at = 0;
	return OK;
}

/* How much of an extent newer levels hide; marks it as hidden for those behind. */
enum shows { ALL, SOME, NONE };

static enum shows cover(uint64_t *map, const struct store_extent *x)
{
	size_t from = x->offset % STORE_CHUNK, to = from + x->raw_len;
	enum shows shows = bitmap_next_clear(map, to, from) == to ? NONE
			   : bitmap_next_set(map, to, from) == to ? ALL
								  : SOME;

	bitmap_set_range(map, from, x->raw_len);
	return shows;
}

/* The next extent that shows, and whose it is; ERR_NOENT at the end, the totals being right. */
static int next_extent(
    struct stream_reader *r, struct store_extent *x, unsigned *level, bool *cut, struct errmsg *e)
{
	for (;;) {
		struct stream_level *l;
		enum shows shows;
		int err = r->in_chunk ? OK : enter_chunk(r, e);

		if (err)
			return err;
		if (r->at == r->nlevels) {
			r->in_chunk = false;
			continue;
		}
		l = &r->level[r->at];
		err = level_peek(r, l, e);
		if (err && err != ERR_NOENT)
			return err;
		if (err || l->next.offset / STORE_CHUNK != r->chunk) {
			r->at++;
			continue;
		}
		/* one that overlaps its like is not met and breaks the totals */
		l->next_offset = l->next.offset + l->next.raw_len;
		l->has_next = false;
		store_count_extent(&l->seen, &l->next);
		shows = r->nlevels > 1 ? cover(r->hidden, &l->next) : ALL;
		if (shows == NONE)
			continue;
		*x = l->next;
		*level = r->at;
		*cut = shows == SOME;
		return OK;
	}
}

int stream_next_extent(struct stream_reader *r, struct store_extent *x, bool *cut, struct errmsg *e)
{
	unsigned level;

	return next_extent(r, x, &level, cut, e);
}

typedef int range_fn(void *ctx, uint64_t addr, uint64_t len, struct errmsg *e);

/* Tells of all ranges that are there in a chunk put together. */
static int tell_ranges(const struct stream_chunk *c, range_fn *fn, void *ctx, struct errmsg *e)
{
	size_t from = 0, to;
	int err = OK;

	while (!err && (from = bitmap_next_set(c->map, STORE_CHUNK, from)) < STORE_CHUNK) {
		to = bitmap_next_clear(c->map, STORE_CHUNK, from);
		err = fn(ctx, c->number * STORE_CHUNK + from, to - from, e);
		from = to;
	}
	return err;
}

static void begin_chunk(struct stream_chunk *c, uint64_t number)
{
	c->number = number;
	c->given = 0;
	c->whole = false;
	c->busy = true;
	memset(c->map, 0, sizeof(c->map));
}

static int check_merged(struct stream_reader *r, range_fn *fn, void *ctx, struct errmsg *e)
{
	struct stream_chunk *c;
	struct store_extent x;
	unsigned level;
	bool cut;
	int err = need_chunk(&r->merge, e), told = OK;

	c = r->merge;
	while (!err && !told && (err = next_extent(r, &x, &level, &cut, e)) == OK) {
		if (c->busy && c->number != x.offset / STORE_CHUNK) {
			told = tell_ranges(c, fn, ctx, e);
			c->busy = false;
		}
		if (!c->busy)
			begin_chunk(c, x.offset / STORE_CHUNK);
		bitmap_set_range(c->map, x.offset % STORE_CHUNK, x.raw_len);
	}
	if (err == ERR_NOENT && !told && c->busy)
		told = tell_ranges(c, fn, ctx, e);
	return told ? told : err;
}

int stream_check_index(struct stream_reader *r, range_fn *fn, void *ctx, struct errmsg *e)
{
	struct store_extent x;
	unsigned level;
	bool cut;
	int err = OK;

	stream_rewind(r);
	if (fn && r->nlevels > 1)
		err = check_merged(r, fn, ctx, e);
	while (!err && (err = next_extent(r, &x, &level, &cut, e)) == OK)
		if (fn)
			err = fn(ctx, x.offset, x.raw_len, e);
	stream_rewind(r);
	return err == ERR_NOENT ? OK : err;
}

/* --- content ------------------------------------------------------------------------- */

static int read_runs(struct store *s, const struct store_extent *x, uint8_t *buf, struct errmsg *e)
{
	for (unsigned i = 0; i < x->nruns; i++) {
		int err = store_read_blocks(s, x->runs[i].block, buf, x->runs[i].count, e);

		if (err)
			return err;
		buf += (size_t)x->runs[i].count * STORE_BLOCK;
	}
	return OK;
}

static int check_crc(const struct store_extent *x, const uint8_t *stored, struct errmsg *e)
{
	if (x->encoding != ENC_ZERO &&
	    crc32c(0, stored, (size_t)store_extent_blocks(x) * STORE_BLOCK) != x->crc)
		return err_set(e, ERR_CORRUPT, "chunk 0x%llx: checksum wrong (block %llu)",
		    (unsigned long long)x->offset, (unsigned long long)x->runs[0].block);
	return OK;
}

int stream_read_stored(
    struct stream_reader *r, const struct store_extent *x, void *buf, struct errmsg *e)
{
	int err = read_runs(r->store, x, buf, e);

	return err ? err : check_crc(x, buf, e);
}

/* Checks the stored blocks, then decodes them. */
static int decode(const struct store_extent *x, const uint8_t *stored, void *out, struct errmsg *e)
{
	int err = check_crc(x, stored, e);

	if (err)
		return err;
	if (x->encoding == ENC_ZERO)
		memset(out, 0, x->raw_len);
	else if (x->encoding == ENC_NONE)
		memcpy(out, stored, x->raw_len);
	else if (!decompress_lz4(stored, x->stored_len, out, x->raw_len))
		return err_set(e, ERR_CORRUPT, "chunk 0x%llx: does not decompress",
		    (unsigned long long)x->offset);
	return OK;
}

/* Whose fault an error is, if not the object's own. */
static int level_error(struct stream_reader *r, unsigned level, int err, struct errmsg *e)
{
	return err && level
		   ? err_prefix(e, err, "object %llu", (unsigned long long)r->level[level].object)
		   : err;
}

/* The slot's extent, which is in one run, into its buffer. */
static void submit(struct stream_reader *r, struct stream_read_slot *slot)
{
	slot->req = (struct store_req){
	    .block = slot->x.runs[0].block, .buf = slot->buf, .nblocks = slot->x.runs[0].count};
	slot->in_flight = true;
	store_submit(r->store, &slot->req);
}

/* Keeps the reads of the following chunks under way. Errors of the index are kept for their turn.
 */
static int prefetch(struct stream_reader *r, struct errmsg *e)
{
	while (r->count < STORE_IO_DEPTH) {
		struct stream_read_slot *slot = &r->slot[(r->head + r->count) % STORE_IO_DEPTH];
		struct errmsg *turn = r->count ? NULL : e;
		bool cut;
		int err;

		slot->buf = need(slot->buf, STORE_CHUNK, turn);
		err = slot->buf ? next_extent(r, &slot->x, &slot->level, &cut, turn) : ERR_NOMEM;
		if (err && r->count)
			return OK; /* met again when its turn comes */
		if (err)
			return err;
		if (slot->x.nruns == 1)
			submit(r, slot);
		r->count++;
	}
	return OK;
}

/* The content of the oldest slot, which is free then. */
static int take_slot(struct stream_reader *r, void *buf, struct errmsg *e)
{
	struct stream_read_slot *slot = &r->slot[r->head];
	int err;

	if (slot->in_flight) {
		slot->in_flight = false;
		err = store_wait(r->store, &slot->req, e);
	} else {
		err = read_runs(r->store, &slot->x, slot->buf, e);
	}
	if (!err)
		err = decode(&slot->x, slot->buf, buf, e);
	if (err)
		return level_error(r, slot->level, err, e);
	r->head = (r->head + 1) % STORE_IO_DEPTH;
	r->count--;
	return OK;
}

/* Puts an extent's content where no newer one is. */
static void lay_under(
    uint64_t *map, uint8_t *chunk, const struct store_extent *x, const uint8_t *data)
{
	size_t from = x->offset % STORE_CHUNK, to = from + x->raw_len;

	for (size_t i = from, n; (i = bitmap_next_clear(map, to, i)) < to; i += n) {
		n = bitmap_next_set(map, to, i) - i;
		memcpy(chunk + i, data + (i - from), n);
	}
	bitmap_set_range(map, from, x->raw_len);
}

/* Whether the oldest slot is all that shows of its chunk, and can be given out as it is. */
static bool is_alone(const struct stream_reader *r)
{
	uint64_t chunk = r->slot[r->head].x.offset / STORE_CHUNK;

	if (r->nlevels == 1)
		return true;
	if (r->count > 1)
		return r->slot[(r->head + 1) % STORE_IO_DEPTH].x.offset / STORE_CHUNK != chunk;
	return !r->in_chunk || r->chunk != chunk; /* an error keeps the walk from going on */
}

/* The next range of a chunk that is put together from several extents; begins one, or goes on. */
static int next_merged(
    struct stream_reader *r, uint64_t *addr, uint8_t *buf, uint32_t *len, struct errmsg *e)
{
	int err = need_chunk(&r->merge, e);
	struct stream_chunk *c = r->merge;
	size_t from;

	if (err)
		return err;
	if (!c->busy)
		begin_chunk(c, r->slot[r->head].x.offset / STORE_CHUNK);
	while (!c->whole) {
		struct store_extent x;

		err = prefetch(r, e);
		if (err && err != ERR_NOENT)
			return err;
		x = r->slot[r->head].x;
		if (err || x.offset / STORE_CHUNK != c->number) {
			c->whole = true;
			break;
		}
		err = take_slot(r, buf, e);
		if (err)
			return err;
		lay_under(c->map, c->buf, &x, buf);
	}
	from = bitmap_next_set(c->map, STORE_CHUNK, c->given);
	c->given = (uint32_t)bitmap_next_clear(c->map, STORE_CHUNK, from);
	*addr = c->number * STORE_CHUNK + from;
	*len = (uint32_t)(c->given - from);
	memcpy(buf, c->buf + from, *len);
	c->busy = bitmap_next_set(c->map, STORE_CHUNK, c->given) < STORE_CHUNK;
	return OK;
}

int stream_next(struct stream_reader *r, uint64_t *addr, void *buf, uint32_t *len, struct errmsg *e)
{
	const struct store_extent *x = &r->slot[r->head].x;
	int err;

	if (r->merge && r->merge->busy)
		return next_merged(r, addr, buf, len, e);
	err = prefetch(r, e);
	if (err)
		return err;
	if (!is_alone(r))
		return next_merged(r, addr, buf, len, e);
	*addr = x->offset;
	*len = x->raw_len;
	return take_slot(r, buf, e);
}

/* A slot without a request, with a buffer; NULL if there is none. */
static struct stream_read_slot *ahead_slot(struct stream_reader *r)
{
	for (unsigned i = 0; i < STORE_IO_DEPTH; i++)
		if (!r->ahead[i].in_flight) {
			r->ahead[i].buf = need(r->ahead[i].buf, STORE_CHUNK, NULL);
			return r->ahead[i].buf ? &r->ahead[i] : NULL;
		}
	return NULL;
}

static struct stream_read_slot *ahead_find(struct stream_reader *r, const struct store_extent *x)
{
	for (unsigned i = 0; x->nruns == 1 && i < STORE_IO_DEPTH; i++)
		if (r->ahead[i].in_flight && r->ahead[i].x.runs[0].block == x->runs[0].block &&
		    r->ahead[i].x.runs[0].count == x->runs[0].count)
			return &r->ahead[i];
	return NULL;
}

/*
 * Of the newest level that has any, all extents are read in the end: none is hidden. What older
 * ones show beside them is left to the reading.
 */
bool stream_ahead(struct stream_reader *r, uint64_t addr)
{
	uint64_t base = ALIGN_DOWN(addr, (uint64_t)STORE_CHUNK), at = base;
	struct store_extent x;

	for (unsigned i = 0; i < r->nlevels && at == base; i++)
		while (store_extent_next(r->store, r->level[i].object, at, &x, NULL) == OK &&
		       x.offset - base < STORE_CHUNK) {
			struct stream_read_slot *slot;

			at = x.offset + x.raw_len;
			if (x.nruns != 1 || ahead_find(r, &x))
				continue;
			slot = ahead_slot(r);
			if (!slot)
				return false;
			slot->x = x;
			submit(r, slot);
		}
	return true;
}

/* The stored bytes of an extent, which may be on their way already. */
static int read_stored(
    struct stream_reader *r, const struct store_extent *x, const uint8_t **p, struct errmsg *e)
{
	struct stream_read_slot *slot = ahead_find(r, x);

	if (slot) {
		slot->in_flight = false;
		*p = slot->buf;
		return store_wait(r->store, &slot->req, e);
	}
	*p = r->spare;
	return read_runs(r->store, x, r->spare, e);
}

/* One level's part of a chunk, under what is there already. */
static int read_level(
    struct stream_reader *r, unsigned level, uint64_t base, uint8_t *buf, struct errmsg *e)
{
	struct stream_chunk *c = r->random;
	const uint8_t *stored;
	uint64_t at = base;
	struct store_extent x;
	int err;

	while ((err = store_extent_next(r->store, r->level[level].object, at, &x, e)) == OK &&
	       x.offset - base < STORE_CHUNK) {
		size_t from = x.offset - base, to = from + x.raw_len;
		bool all = bitmap_next_set(c->map, to, from) == to;

		at = x.offset + x.raw_len;
		if (bitmap_next_clear(c->map, to, from) == to)
			continue;
		err = read_stored(r, &x, &stored, e);
		if (!err)
			err = decode(&x, stored, all ? buf + from : c->buf, e);
		if (err)
			return level_error(r, level, err, e);
		if (all)
			bitmap_set_range(c->map, from, x.raw_len);
		else
			lay_under(c->map, buf, &x, c->buf);
	}
	return err == ERR_NOENT ? OK : err;
}

int stream_read_chunk(
    struct stream_reader *r, uint64_t addr, void *buf, bool *present, struct errmsg *e)
{
	uint64_t base = ALIGN_DOWN(addr, (uint64_t)STORE_CHUNK);
	struct stream_chunk *c;
	int err = need_chunk(&r->random, e);

	*present = false;
	if (err)
		return err;
	r->spare = need(r->spare, STORE_CHUNK, e);
	if (!r->spare)
		return ERR_NOMEM;
	c = r->random;
	begin_chunk(c, base / STORE_CHUNK);
	memset(buf, 0, STORE_CHUNK);
	for (unsigned i = 0; !err && i < r->nlevels; i++) {
		err = read_level(r, i, base, buf, e);
		if (bitmap_next_clear(c->map, STORE_CHUNK, 0) == STORE_CHUNK)
			break;
	}
	*present = bitmap_next_set(c->map, STORE_CHUNK, 0) < STORE_CHUNK;
	return err;
}
