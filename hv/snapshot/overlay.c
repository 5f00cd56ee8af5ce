/* SPDX-License-Identifier: BSD-2-Clause */
/* A disk of the store, open: reading, writing, giving back, flushing. */
#include "hv/snapshot/overlay_int.h"

#include <string.h>

#include "hv/lib/crc32c.h"
#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"

/* --- opening and closing ------------------------------------------------------------- */

int overlay_error(const struct overlay *d, int err, struct errmsg *e)
{
	return err ? err_prefix(e, err, "disk '%s'", d->v.name) : OK;
}

int overlay_open(struct store *s, const char *name, const struct overlay_base *base,
    unsigned map_chunks, struct overlay **out, struct errmsg *e)
{
	struct overlay *d = heap_zalloc(sizeof(*d));
	int err;

	*out = NULL;
	if (!d)
		return err_set(e, ERR_NOMEM, "disk '%s': out of memory", name);
	d->base = *base;
	d->sets = MAX((map_chunks ? map_chunks : OVERLAY_MAP_CHUNKS) / OVERLAY_WAYS, 1U);
	d->map = heap_alloc(d->sets * OVERLAY_WAYS * sizeof(*d->map));
	d->bounce = heap_alloc(OVERLAY_MAX_BLOCKS * STORE_BLOCK);
	err = d->map && d->bounce ? vdisk_get(s, name, &d->v, e)
				  : err_set(e, ERR_NOMEM, "disk '%s': out of memory", name);
	if (!err)
		err = overlay_error(d, layers_load(d, s, e), e);
	if (err) {
		overlay_close(d);
		return err;
	}
	*out = d;
	return OK;
}

void overlay_close(struct overlay *d)
{
	if (!d)
		return;
	heap_free(d->map);
	heap_free(d->bounce);
	heap_free(d);
}

const struct vdisk *overlay_info(const struct overlay *d)
{
	return &d->v;
}

unsigned overlay_depth(const struct overlay *d)
{
	return d->nlayers;
}

int overlay_usable(const struct overlay *d, struct errmsg *e)
{
	return d->lost ? err_set(e, ERR_IO, "writes were lost with an error of the store") : OK;
}

void overlay_dirty(struct overlay *d, const struct store *s)
{
	d->dirty_gen = s->txn_gen;
}

int overlay_reattach(struct overlay *d, struct store *s, struct errmsg *e)
{
	int err;

	d->merged = 0; /* it was an orphan, and is gone */
	if (d->dirty_gen > s->opened_at)
		d->lost = true;
	d->dirty_gen = 0;
	err = vdisk_get(s, d->v.name, &d->v, e);
	if (!err)
		err = overlay_error(d, layers_load(d, s, e), e);
	if (err)
		d->lost = true;
	return err ? err : overlay_error(d, overlay_usable(d, e), e);
}

void overlay_forget_loss(struct overlay *d)
{
	d->lost = false;
}

/* OK if the range is one that a request may have. */
static int check_range(
    const struct overlay *d, uint64_t off, uint64_t len, uint64_t max, struct errmsg *e)
{
	if (len == 0 || len > max || off % 512 || len % 512 || !range_in(off, len, d->v.size))
		return err_set(e, ERR_RANGE, "bytes %llu at %llu", (unsigned long long)len,
		    (unsigned long long)off);
	return overlay_usable(d, e);
}

/* --- requests in flight -------------------------------------------------------------- */

static int io_wait(struct overlay *d, struct store *s, unsigned i, struct errmsg *e)
{
	if (!d->io_busy[i])
		return OK;
	d->io_busy[i] = false;
	return store_wait(s, &d->io[i], e);
}

static int io_wait_all(struct overlay *d, struct store *s, struct errmsg *e)
{
	int err = OK;

	for (unsigned i = 0; i < STORE_IO_DEPTH; i++) {
		int one = io_wait(d, s, i, err ? NULL : e);

		if (!err)
			err = one;
	}
	return err;
}

static int io_start(struct overlay *d, struct store *s, bool write, uint64_t block, void *buf,
    uint32_t n, struct errmsg *e)
{
	unsigned i = d->io_next;
	int err = io_wait(d, s, i, e);

	if (err)
		return err;
	d->io[i] = (struct store_req){.write = write, .block = block, .buf = buf, .nblocks = n};
	d->io_busy[i] = true;
	d->io_next = (i + 1) % STORE_IO_DEPTH;
	store_submit(s, &d->io[i]);
	return OK;
}

/* --- reading ------------------------------------------------------------------------- */

static int find_places(
    struct overlay *d, struct store *s, uint64_t first, uint32_t count, struct errmsg *e)
{
	struct disk_chunk *at = NULL;

	for (uint32_t k = 0; k < count; k++) {
		uint64_t block = first + k;
		unsigned i = block % STORE_CHUNK_BLOCKS;
		struct place *p = &d->place[k];

		if (k == 0 || i == 0) {
			int err = layers_lookup(d, s, block / STORE_CHUNK_BLOCKS, &at, e);

			if (err)
				return err;
		}
		*p = (struct place){.kind = AT_BASE};
		if (at->zero >> i & 1)
			p->kind = AT_ZERO;
		else if (at->data >> i & 1)
			*p = (struct place){
			    .kind = AT_DATA, .block = at->block[i], .crc = at->crc[i]};
	}
	return OK;
}

/* How many blocks from k on lie one behind the other, and can be had in one request. */
static uint32_t run_length(const struct overlay *d, uint32_t k, uint32_t count)
{
	const struct place *p = &d->place[k];
	uint32_t n = 1;

	while (k + n < count && n < STORE_CHUNK_BLOCKS && p[n].kind == p->kind &&
	       (p->kind != AT_DATA || p[n].block == p->block + n))
		n++;
	return n;
}

static int read_base(
    struct overlay *d, uint64_t first, uint32_t count, uint8_t *buf, struct errmsg *e)
{
	uint64_t off = first * STORE_BLOCK, len = (uint64_t)count * STORE_BLOCK;
	uint64_t there = off < d->base.size ? MIN(len, d->base.size - off) : 0;
	int err = there ? d->base.read(d->base.ctx, off, buf, (uint32_t)there) : OK;

	memset(buf + there, 0, len - there);
	return err ? err_set(e, err, "reading the base at %llu: %s", (unsigned long long)off,
			 error_text(err))
		   : OK;
}

/* Reads what the places say; the data are not checked yet. */
static int start_reads(struct overlay *d, struct store *s, uint64_t first, uint32_t count,
    uint8_t *buf, struct errmsg *e)
{
	int err = OK;

	for (uint32_t k = 0, n; !err && k < count; k += n) {
		uint8_t *p = buf + (size_t)k * STORE_BLOCK;

		n = run_length(d, k, count);
		if (d->place[k].kind == AT_DATA)
			err = io_start(d, s, false, d->place[k].block, p, n, e);
		else if (d->place[k].kind == AT_BASE)
			err = read_base(d, first + k, n, p, e);
		else
			memset(p, 0, (size_t)n * STORE_BLOCK);
	}
	return err;
}

int overlay_read_blocks(struct overlay *d, struct store *s, uint64_t first, uint32_t count,
    uint8_t *buf, struct errmsg *e)
{
	int err = find_places(d, s, first, count, e), waited;

	if (!err)
		err = start_reads(d, s, first, count, buf, e);
	waited = io_wait_all(d, s, err ? NULL : e);
	if (!err)
		err = waited;
	for (uint32_t k = 0; !err && k < count; k++)
		if (d->place[k].kind == AT_DATA &&
		    crc32c(0, buf + (size_t)k * STORE_BLOCK, STORE_BLOCK) != d->place[k].crc)
			err = err_set(e, ERR_CORRUPT, "offset %llu: checksum wrong (block %llu)",
			    (unsigned long long)(first + k) * STORE_BLOCK,
			    (unsigned long long)d->place[k].block);
	return err;
}

int overlay_read(
    struct overlay *d, struct store *s, uint64_t off, void *buf, uint32_t len, struct errmsg *e)
{
	uint64_t first = off / STORE_BLOCK;
	uint32_t count = (uint32_t)((off + len - 1) / STORE_BLOCK - first + 1);
	bool whole = off % STORE_BLOCK == 0 && len % STORE_BLOCK == 0;
	int err = check_range(d, off, len, OVERLAY_MAX_BYTES, e);

	if (!err)
		err = overlay_read_blocks(d, s, first, count, whole ? buf : d->bounce, e);
	if (err)
		return overlay_error(d, err, e);
	if (!whole)
		memcpy(buf, d->bounce + off % STORE_BLOCK, len);
	return OK;
}

/* --- writing ------------------------------------------------------------------------- */

/* The blocks of the request that lie in its c-th chunk. */
struct span {
	uint64_t chunk;
	unsigned first; /* within the chunk */
	unsigned count;
	uint32_t before; /* blocks of the request in front of them */
};

static struct span span_of(uint64_t first, uint32_t count, unsigned c)
{
	uint64_t chunk = first / STORE_CHUNK_BLOCKS + c;
	uint64_t from = MAX(first, chunk * STORE_CHUNK_BLOCKS);
	uint64_t to = MIN(first + count, (chunk + 1) * STORE_CHUNK_BLOCKS);

	return (struct span){chunk, (unsigned)(from % STORE_CHUNK_BLOCKS), (unsigned)(to - from),
	    (uint32_t)(from - first)};
}

static unsigned chunks_of(uint64_t first, uint32_t count)
{
	return (
	    unsigned)((first + count - 1) / STORE_CHUNK_BLOCKS - first / STORE_CHUNK_BLOCKS + 1);
}

/* Takes blocks for all chunks of the request and starts writing; *done of them have blocks. */
static int start_writes(struct overlay *d, struct store *s, uint64_t first, uint32_t count,
    const uint8_t *buf, unsigned *done, struct errmsg *e)
{
	for (*done = 0; *done < chunks_of(first, count); ++*done) {
		struct span sp = span_of(first, count, *done);
		struct store_extent *x = &d->fresh[*done];
		uint8_t *p = (uint8_t *)(uintptr_t)buf + (size_t)sp.before * STORE_BLOCK;
		int err;

		*x = (struct store_extent){.stored_len = sp.count * STORE_BLOCK};
		err = store_extent_alloc(s, x, e);
		for (unsigned i = 0; !err && i < x->nruns; i++) {
			err = io_start(d, s, true, x->runs[i].block, p, x->runs[i].count, e);
			p += (size_t)x->runs[i].count * STORE_BLOCK;
		}
		if (err) {
			*done += x->nruns != 0;
			return err;
		}
	}
	return OK;
}

/* The new blocks of a span take the place of what the top holds there. */
static int record_span(struct overlay *d, struct store *s, const struct span *sp,
    const struct store_extent *x, const uint8_t *buf, struct errmsg *e)
{
	struct disk_chunk own, *at;
	unsigned n = 0;
	int err = disk_chunk_get(s, d->layer[0].id, sp->chunk, &own, e);

	/* the entry has what is below, too: looked up before, it is only brought up to date */
	if (!err)
		err = layers_lookup(d, s, sp->chunk, &at, e);
	if (err)
		return err;
	for (unsigned r = 0; r < x->nruns; r++) {
		for (uint32_t b = 0; b < x->runs[r].count; b++, n++) {
			unsigned i = sp->first + n;

			own.data |= (uint16_t)(1u << i);
			own.zero &= (uint16_t) ~(1u << i);
			own.block[i] = x->runs[r].block + b;
			own.crc[i] =
			    crc32c(0, buf + (size_t)(sp->before + n) * STORE_BLOCK, STORE_BLOCK);
		}
	}
	err = disk_chunk_set(s, d->layer[0].id, sp->chunk, &own, e);
	if (err)
		return err;
	at->data |= own.data;
	at->zero &= (uint16_t)~own.data;
	for (unsigned i = sp->first; i < sp->first + sp->count; i++) {
		at->block[i] = own.block[i];
		at->crc[i] = own.crc[i];
	}
	layers_top_changed(d, sp->chunk);
	overlay_dirty(d, s);
	return OK;
}

/* Whole blocks: all places are found before the first block is taken. */
static int write_blocks(struct overlay *d, struct store *s, uint64_t first, uint32_t count,
    const uint8_t *buf, struct errmsg *e)
{
	unsigned chunks = chunks_of(first, count), started, c = 0;
	int err = disk_make_room(s, count, chunks, e), waited;

	if (err)
		return err;
	err = start_writes(d, s, first, count, buf, &started, e);
	waited = io_wait_all(d, s, err ? NULL : e);
	if (!err)
		err = waited;
	for (; !err && c < chunks; c++) {
		struct span sp = span_of(first, count, c);

		err = record_span(d, s, &sp, &d->fresh[c], buf, e);
		if (err)
			break;
	}
	for (; err && c < started; c++) /* what no record mentions */
		store_extent_unalloc(s, &d->fresh[c]);
	return err ? err : store_breathe(s, e);
}

int overlay_write(struct overlay *d, struct store *s, uint64_t off, const void *buf, uint32_t len,
    struct errmsg *e)
{
	uint64_t first = off / STORE_BLOCK, last = (off + len - 1) / STORE_BLOCK;
	uint32_t count = (uint32_t)(last - first + 1);
	const uint8_t *from = buf;
	int err = check_range(d, off, len, OVERLAY_MAX_BYTES, e);

	if (!err && (off % STORE_BLOCK || len % STORE_BLOCK)) {
		uint8_t *tail = d->bounce + (size_t)(count - 1) * STORE_BLOCK;

		from = d->bounce;
		err = overlay_read_blocks(d, s, first, 1, d->bounce, e);
		if (!err && count > 1)
			err = overlay_read_blocks(d, s, last, 1, tail, e);
		if (!err)
			memcpy(d->bounce + off % STORE_BLOCK, buf, len);
	}
	if (!err)
		err = write_blocks(d, s, first, count, from, e);
	return overlay_error(d, err, e);
}

int overlay_flush(struct overlay *d, struct store *s, struct errmsg *e)
{
	int err = overlay_usable(d, e);

	if (!err && d->dirty_gen > s->generation)
		err = store_commit(s, e);
	return overlay_error(d, err, e);
}

/* --- giving back --------------------------------------------------------------------- */

enum { ZERO_CHUNKS = 256 }; /* in one call */

/* Of a chunk: the blocks of mask read as zeros from now on. */
static int zero_chunk(
    struct overlay *d, struct store *s, uint64_t chunk, uint16_t mask, struct errmsg *e)
{
	/* the layer below may go into the top, and its zeros with it: then the top says its own */
	bool taking_in = d->merged == d->layer[0].id;
	struct disk_chunk own, below, *at;
	uint16_t hide = 0, old;
	int err = disk_chunk_get(s, d->layer[0].id, chunk, &own, e);

	if (!err)
		err = layers_resolve(d, s, 1, chunk, &below, e);
	if (!err)
		err = layers_lookup(d, s, chunk, &at, e);
	if (err)
		return err;
	for (unsigned i = 0; i < STORE_CHUNK_BLOCKS; i++) {
		bool base = (chunk * STORE_CHUNK_BLOCKS + i) * STORE_BLOCK < d->base.size;

		/* something would show that is not zeros */
		if ((below.data >> i & 1) || (base && (taking_in || !(below.zero >> i & 1))))
			hide |= (uint16_t)(1u << i);
	}
	old = own.zero;
	if ((own.data & mask) == 0 && (old & mask) == (hide & mask))
		return OK;
	own.data &= (uint16_t)~mask;
	own.zero = (uint16_t)((own.zero & ~mask) | (hide & mask));
	err = disk_make_room(s, 0, 1, e);
	if (!err)
		err = disk_chunk_set(s, d->layer[0].id, chunk, &own, e);
	if (err)
		return err;
	at->data &= (uint16_t)~mask;
	/* behind the base a block in no mask reads as zeros, too */
	at->zero = (uint16_t)((at->zero & ~mask) | (mask & (own.zero | below.zero)));
	layers_top_changed(d, chunk);
	overlay_dirty(d, s);
	return OK;
}

/* Zeros in a part of a block, unless it reads as zeros already. */
static int zero_part(
    struct overlay *d, struct store *s, uint64_t off, uint32_t len, struct errmsg *e)
{
	uint64_t block = off / STORE_BLOCK;
	int err = overlay_read_blocks(d, s, block, 1, d->bounce, e);

	if (err || d->place[0].kind == AT_ZERO)
		return err;
	memset(d->bounce + off % STORE_BLOCK, 0, len);
	return write_blocks(d, s, block, 1, d->bounce, e);
}

/* Whole blocks at the beginning of the range, inside one chunk: their number; 0: there are none. */
static unsigned whole_blocks(uint64_t at, uint64_t end)
{
	uint64_t first = at / STORE_BLOCK, next = (first / STORE_CHUNK_BLOCKS + 1);

	if (at % STORE_BLOCK)
		return 0;
	return (unsigned)(MIN(end / STORE_BLOCK, next * STORE_CHUNK_BLOCKS) - first);
}

/* Behind the base, what no layer holds is zeros already: *at moves on to where one does, or end. */
static int skip_nothing(
    struct overlay *d, struct store *s, uint64_t *at, uint64_t end, struct errmsg *e)
{
	uint64_t chunk = *at / STORE_CHUNK;
	int err = *at < d->base.size ? OK : layers_next(d, s, 0, &chunk, e);

	if (err == ERR_NOENT)
		*at = end;
	else if (!err)
		*at = MIN(MAX(*at, chunk * STORE_CHUNK), end);
	return err == ERR_NOENT ? OK : err;
}

static int zero_some(
    struct overlay *d, struct store *s, uint64_t *at, uint64_t end, struct errmsg *e)
{
	unsigned i = *at / STORE_BLOCK % STORE_CHUNK_BLOCKS, n = whole_blocks(*at, end);
	uint64_t to = MIN(end, (*at / STORE_BLOCK + 1) * STORE_BLOCK);
	int err;

	if (!n) {
		err = zero_part(d, s, *at, (uint32_t)(to - *at), e);
	} else {
		to = *at + (uint64_t)n * STORE_BLOCK;
		err = zero_chunk(d, s, *at / STORE_CHUNK, (uint16_t)(((1u << n) - 1) << i), e);
		if (!err)
			err = store_breathe(s, e);
	}
	if (!err)
		*at = to;
	return err;
}

int overlay_zero(struct overlay *d, struct store *s, uint64_t off, uint64_t len, uint64_t *done,
    struct errmsg *e)
{
	uint64_t at = off;
	int err = check_range(d, off, len, UINT64_MAX, e);

	for (unsigned n = 0; !err && n < ZERO_CHUNKS && at < off + len; n++) {
		err = skip_nothing(d, s, &at, off + len, e);
		if (!err && at < off + len)
			err = zero_some(d, s, &at, off + len, e);
	}
	*done = at - off;
	return overlay_error(d, err, e);
}
