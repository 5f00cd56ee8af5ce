/* SPDX-License-Identifier: BSD-2-Clause */
/* Chunks into extents and back: zero elision, compression, checksums, requests in flight. */
#include "hv/snapshot/ram_stream.h"

#include <string.h>

#include "hv/lib/crc32c.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/compress.h"

static uint32_t blocks_of(const struct store_extent *x)
{
	return (uint32_t)(ALIGN_UP((uint64_t)x->stored_len, STORE_BLOCK) / STORE_BLOCK);
}

/* Counts an extent towards an object's totals. */
static void info_add(struct store_object_info *o, const struct store_extent *x)
{
	o->extents++;
	o->raw += x->raw_len;
	o->blocks += blocks_of(x);
	o->index_crc = store_index_crc(o->index_crc, x);
}

/* --- writing ------------------------------------------------------------------------- */

int stream_begin(struct stream_writer *w, struct store *s, uint32_t kind, struct errmsg *e)
{
	*w = (struct stream_writer){.store = s, .info = {.kind = kind}};
	w->lz4_state = heap_alloc(compress_state_size());
	for (unsigned i = 0; i < STORE_IO_DEPTH; i++)
		w->slot[i].buf = heap_alloc(STORE_CHUNK);
	for (unsigned i = 0; i < STORE_IO_DEPTH; i++)
		if (!w->lz4_state || !w->slot[i].buf)
			return err_set(e, ERR_NOMEM, "out of memory for the stream's buffers");
	return store_object_create(s, kind, &w->object, e);
}

static int slot_wait(struct stream_writer *w, struct stream_slot *slot, struct errmsg *e)
{
	if (!slot->busy)
		return OK;
	slot->busy = false;
	return store_wait(w->store, &slot->req, e);
}

static int wait_all(struct stream_writer *w, struct errmsg *e)
{
	int err = OK;

	for (unsigned i = 0; i < STORE_IO_DEPTH; i++) {
		int one = slot_wait(w, &w->slot[i], err ? NULL : e);

		if (!err)
			err = one;
	}
	return err;
}

void stream_end(struct stream_writer *w)
{
	if (!w->store)
		return;
	(void)wait_all(w, NULL);
	for (unsigned i = 0; i < STORE_IO_DEPTH; i++)
		heap_free(w->slot[i].buf);
	heap_free(w->lz4_state);
	w->store = NULL;
}

void stream_abort(struct stream_writer *w)
{
	struct store *s = w->store;

	stream_end(w);
	if (s && w->object)
		(void)store_object_delete(s, w->object, NULL); /* else at the next opening */
}

/* Encodes into buf: compressed if that saves a block, else as it is; padded with zeros. */
static void encode(struct stream_writer *w, struct store_extent *x, const void *data, uint8_t *buf)
{
	uint32_t whole = (uint32_t)ALIGN_UP((uint64_t)x->raw_len, STORE_BLOCK), n = 0;

	if (whole > STORE_BLOCK)
		n = compress_lz4(w->lz4_state, data, x->raw_len, buf, whole - STORE_BLOCK);
	x->encoding = n ? ENC_LZ4 : ENC_NONE;
	x->stored_len = n ? n : x->raw_len;
	if (!n)
		memcpy(buf, data, x->raw_len);
	memset(buf + x->stored_len, 0, blocks_of(x) * STORE_BLOCK - x->stored_len);
	x->crc = crc32c(0, buf, blocks_of(x) * STORE_BLOCK);
}

/* The usual single run goes in the background; the pieces of a scattered extent at once. */
static int write_runs(struct stream_writer *w, struct stream_slot *slot,
    const struct store_extent *x, struct errmsg *e)
{
	uint8_t *p = slot->buf;

	if (x->nruns == 1) {
		slot->req = (struct store_req){.write = true,
		    .block = x->runs[0].block,
		    .buf = p,
		    .nblocks = x->runs[0].count};
		slot->busy = true;
		store_submit(w->store, &slot->req);
		return OK;
	}
	for (unsigned i = 0; i < x->nruns; i++) {
		int err = store_write_blocks(w->store, x->runs[i].block, p, x->runs[i].count, e);

		if (err)
			return err;
		p += (size_t)x->runs[i].count * STORE_BLOCK;
	}
	return OK;
}

static int put_chunk(
    struct stream_writer *w, uint64_t addr, const void *data, uint32_t len, struct errmsg *e)
{
	struct stream_slot *slot = &w->slot[w->next];
	struct store_extent x = {.offset = addr, .raw_len = len};
	int err;

	if (all_zero(data, len))
		return OK;
	err = slot_wait(w, slot, e);
	if (!err)
		err = store_breathe(w->store, e);
	if (err)
		return err;
	encode(w, &x, data, slot->buf);
	err = store_extent_alloc(w->store, &x, e);
	if (err)
		return err;
	err = store_extent_add(w->store, w->object, &x, e);
	if (err) {
		store_extent_unalloc(w->store, &x);
		return err;
	}
	info_add(&w->info, &x);
	w->next = (w->next + 1) % STORE_IO_DEPTH;
	return write_runs(w, slot, &x, e);
}

int stream_put(
    struct stream_writer *w, uint64_t addr, const void *data, uint64_t len, struct errmsg *e)
{
	const uint8_t *p = data;

	if (addr < w->end || len > UINT64_MAX - STORE_CHUNK - addr)
		return err_set(
		    e, ERR_INVAL, "chunk 0x%llx: not in ascending order", (unsigned long long)addr);
	while (len) {
		uint32_t n = (uint32_t)MIN(len, STORE_CHUNK - addr % STORE_CHUNK);
		int err = put_chunk(w, addr, p, n, e);

		if (err)
			return err_prefix(e, err, "chunk 0x%llx", (unsigned long long)addr);
		addr += n;
		p += n;
		len -= n;
		w->end = addr;
	}
	return OK;
}

int stream_finish(struct stream_writer *w, uint64_t size, struct errmsg *e)
{
	int err = wait_all(w, e);

	if (err)
		return err;
	w->info.size = MAX(size, w->end);
	w->info.flags = OBJ_COMPLETE;
	return store_object_set(w->store, w->object, &w->info, e);
}

/* --- reading ------------------------------------------------------------------------- */

int stream_open(
    struct stream_reader *r, struct store *s, uint64_t object, uint32_t kind, struct errmsg *e)
{
	int err;

	*r = (struct stream_reader){.store = s, .object = object};
	err = store_object_get(s, object, &r->info, e);
	if (err)
		return err;
	if (r->info.kind != kind || !(r->info.flags & OBJ_COMPLETE))
		return err_set(e, ERR_CORRUPT, "object %llu: of the wrong kind, or not complete",
		    (unsigned long long)object);
	if (r->info.parent)
		return err_set(
		    e, ERR_UNSUPPORTED, "object %llu: needs a parent", (unsigned long long)object);
	return OK;
}

/* Buffers come with their first use: opening a snapshot to look at its record takes none. */
static int need_buffer(uint8_t **buf, struct errmsg *e)
{
	if (!*buf)
		*buf = heap_alloc(STORE_CHUNK);
	return *buf ? OK : err_set(e, ERR_NOMEM, "out of memory for the stream's buffers");
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
	for (unsigned i = 0; i < STORE_IO_DEPTH; i++)
		heap_free(r->slot[i].buf);
	heap_free(r->spare);
	r->store = NULL;
}

void stream_rewind(struct stream_reader *r)
{
	drop_reads(r);
	r->next_offset = 0;
	r->at_end = false;
	r->seen = (struct store_object_info){0};
}

/* Takes the next extent off the index; ERR_NOENT at the end. */
static int next_extent(struct stream_reader *r, struct store_extent *x, struct errmsg *e)
{
	int err =
	    r->at_end ? ERR_NOENT : store_extent_next(r->store, r->object, r->next_offset, x, e);

	if (err == ERR_NOENT)
		r->at_end = true;
	if (!err)
		r->next_offset = x->offset + x->raw_len; /* one that overlaps breaks the totals */
	return err;
}

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

static int check_totals(const struct stream_reader *r, struct errmsg *e)
{
	const struct store_object_info *a = &r->seen, *b = &r->info;

	if (a->extents != b->extents || a->raw != b->raw || a->blocks != b->blocks ||
	    a->index_crc != b->index_crc)
		return err_set(e, ERR_CORRUPT,
		    "object %llu: %llu chunks of %llu bytes, recorded are %llu of %llu",
		    (unsigned long long)r->object, (unsigned long long)a->extents,
		    (unsigned long long)a->raw, (unsigned long long)b->extents,
		    (unsigned long long)b->raw);
	return OK;
}

/* Checks the stored blocks, then decodes them. */
static int decode(const struct store_extent *x, const uint8_t *stored, void *out, struct errmsg *e)
{
	if (x->encoding == ENC_ZERO) {
		memset(out, 0, x->raw_len);
		return OK;
	}
	if (crc32c(0, stored, blocks_of(x) * STORE_BLOCK) != x->crc)
		return err_set(e, ERR_CORRUPT, "chunk 0x%llx: checksum wrong (block %llu)",
		    (unsigned long long)x->offset, (unsigned long long)x->runs[0].block);
	if (x->encoding == ENC_NONE)
		memcpy(out, stored, x->raw_len);
	else if (!decompress_lz4(stored, x->stored_len, out, x->raw_len))
		return err_set(e, ERR_CORRUPT, "chunk 0x%llx: does not decompress",
		    (unsigned long long)x->offset);
	return OK;
}

/* Keeps the reads of the following chunks under way. Errors of the index are kept for their turn.
 */
static int prefetch(struct stream_reader *r, struct errmsg *e)
{
	while (r->count < STORE_IO_DEPTH) {
		struct stream_read_slot *slot = &r->slot[(r->head + r->count) % STORE_IO_DEPTH];
		int err = need_buffer(&slot->buf, r->count ? NULL : e);

		if (!err)
			err = next_extent(r, &slot->x, r->count ? NULL : e);
		if (err == ERR_NOENT || (err && r->count))
			return OK; /* met again when its turn comes */
		if (err)
			return err;
		if (slot->x.nruns == 1) {
			slot->req = (struct store_req){.block = slot->x.runs[0].block,
			    .buf = slot->buf,
			    .nblocks = slot->x.runs[0].count};
			slot->in_flight = true;
			store_submit(r->store, &slot->req);
		}
		r->count++;
	}
	return OK;
}

int stream_next(struct stream_reader *r, uint64_t *addr, void *buf, uint32_t *len, struct errmsg *e)
{
	struct stream_read_slot *slot = &r->slot[r->head];
	int err = prefetch(r, e);

	if (err)
		return err;
	if (r->count == 0) {
		err = check_totals(r, e);
		return err ? err : ERR_NOENT;
	}
	if (slot->in_flight) {
		slot->in_flight = false;
		err = store_wait(r->store, &slot->req, e);
	} else {
		err = read_runs(r->store, &slot->x, slot->buf, e);
	}
	if (!err)
		err = decode(&slot->x, slot->buf, buf, e);
	if (err)
		return err;
	info_add(&r->seen, &slot->x);
	*addr = slot->x.offset;
	*len = slot->x.raw_len;
	r->head = (r->head + 1) % STORE_IO_DEPTH;
	r->count--;
	return OK;
}

int stream_read_chunk(
    struct stream_reader *r, uint64_t addr, void *buf, bool *present, struct errmsg *e)
{
	uint64_t base = ALIGN_DOWN(addr, (uint64_t)STORE_CHUNK), at = base;
	struct store_extent x;
	int err = need_buffer(&r->spare, e);

	if (err)
		return err;
	*present = false;
	memset(buf, 0, STORE_CHUNK);
	while ((err = store_extent_next(r->store, r->object, at, &x, e)) == OK) {
		if (x.offset - base >= STORE_CHUNK)
			return OK;
		err = read_runs(r->store, &x, r->spare, e);
		if (!err)
			err = decode(&x, r->spare, (uint8_t *)buf + (x.offset - base), e);
		if (err)
			return err;
		*present = true;
		at = x.offset + x.raw_len;
	}
	return err == ERR_NOENT ? OK : err;
}

int stream_check_index(struct stream_reader *r,
    int (*fn)(void *ctx, uint64_t addr, uint64_t len, struct errmsg *e), void *ctx,
    struct errmsg *e)
{
	struct store_extent x;
	int err;

	stream_rewind(r);
	while ((err = next_extent(r, &x, e)) == OK) {
		info_add(&r->seen, &x);
		if (fn)
			err = fn(ctx, x.offset, x.raw_len, e);
		if (err)
			break;
	}
	if (err == ERR_NOENT)
		err = check_totals(r, e);
	stream_rewind(r);
	return err;
}
