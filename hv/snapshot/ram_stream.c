/* SPDX-License-Identifier: BSD-2-Clause */
/* Chunks into extents: zero elision, compression, checksums, requests in flight. */
#include "hv/snapshot/ram_stream.h"

#include <string.h>

#include "hv/lib/crc32c.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/compress.h"
#include "hv/snapshot/content_index.h"

/* The new object's parent: complete, and the chain not too long. */
static int take_parent(struct stream_writer *w, uint64_t parent, struct errmsg *e)
{
	struct store_object_info o;
	int err = store_object_get(w->store, parent, &o, e);

	if (!err && !(o.flags & OBJ_COMPLETE))
		err = err_set(
		    e, ERR_CORRUPT, "object %llu: not complete", (unsigned long long)parent);
	return err ? err : store_object_set_parent(w->store, w->object, parent, e);
}

int stream_begin(
    struct stream_writer *w, struct store *s, uint32_t kind, uint64_t parent, struct errmsg *e)
{
	int err;

	*w = (struct stream_writer){.store = s, .info = {.kind = kind}};
	w->lz4_state = heap_alloc(compress_state_size());
	for (unsigned i = 0; i < STORE_IO_DEPTH; i++)
		w->slot[i].buf = heap_alloc(STORE_CHUNK);
	for (unsigned i = 0; i < STORE_IO_DEPTH; i++)
		if (!w->lz4_state || !w->slot[i].buf)
			return err_set(e, ERR_NOMEM, "out of memory for the stream's buffers");
	if (kind == KIND_RAM)
		content_index_make(s);
	err = store_object_create(s, kind, &w->object, e);
	if (err || !parent)
		return err;
	w->info.parent = parent;
	return take_parent(w, parent, e);
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
	heap_free(w->spare);
	w->spare = NULL;
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

	if (whole > STORE_BLOCK && compress_worthwhile(data, x->raw_len))
		n = compress_lz4(w->lz4_state, data, x->raw_len, buf, whole - STORE_BLOCK);
	x->encoding = n ? ENC_LZ4 : ENC_NONE;
	x->stored_len = n ? n : x->raw_len;
	if (!n)
		memcpy(buf, data, x->raw_len);
	memset(buf + x->stored_len, 0, store_extent_blocks(x) * STORE_BLOCK - x->stored_len);
	x->crc = crc32c(0, buf, store_extent_blocks(x) * STORE_BLOCK);
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

/* That no byte of the range is in an extent of the object. */
static int check_unwritten(struct stream_writer *w, uint64_t addr, uint32_t len, struct errmsg *e)
{
	uint64_t at = ALIGN_DOWN(addr, (uint64_t)STORE_CHUNK);
	struct store_extent x;
	int err;

	while ((err = store_extent_next(w->store, w->object, at, &x, e)) == OK) {
		if (x.offset >= addr + len)
			return OK;
		at = x.offset + x.raw_len;
		if (at > addr)
			return err_set(e, ERR_INVAL, "written before");
	}
	return err == ERR_NOENT ? OK : err;
}

/* The slot for the next write, when the one before is out of it, and all is ready for a record. */
static int next_slot(struct stream_writer *w, uint64_t addr, uint32_t len,
    struct stream_slot **slot, struct errmsg *e)
{
	int err;

	*slot = &w->slot[w->next];
	err = slot_wait(w, *slot, e);
	if (!err)
		err = store_breathe(w->store, e);
	if (!err && addr < w->end)
		err = check_unwritten(w, addr, len, e);
	return err;
}

/* Records an extent whose blocks are taken; gives them back if that fails. */
static int add_extent(struct stream_writer *w, const struct store_extent *x, struct errmsg *e)
{
	int err = store_extent_add(w->store, w->object, x, e);

	if (err) {
		store_extent_unalloc(w->store, x);
		return err;
	}
	if (w->info.kind == KIND_RAM)
		content_index_add(w->store, w->object, x);
	store_count_extent(&w->info, x);
	w->scattered |= x->offset < w->end;
	w->end = MAX(w->end, x->offset + x->raw_len);
	return OK;
}

/* memcmp() of whole, aligned blocks in half of its instructions. */
static bool blocks_equal(const void *a, const void *b, size_t size)
{
	const uint64_t *x = a, *y = b;

	for (; size; size -= 64, x += 8, y += 8)
		if ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]) | (x[4] ^ y[4]) |
		    (x[5] ^ y[5]) | (x[6] ^ y[6]) | (x[7] ^ y[7]))
			return false;
	return true;
}

/* That the extent's blocks hold these bytes. One that cannot be read is not of use. */
static bool same_bytes(struct stream_writer *w, const struct store_extent *x, const uint8_t *blocks)
{
	size_t size = store_extent_blocks(x) * STORE_BLOCK;
	uint8_t *p;

	for (unsigned i = 0; i < STORE_IO_DEPTH; i++) /* not on the disk yet, perhaps */
		if (w->slot[i].busy && w->slot[i].req.block == x->runs[0].block)
			return blocks_equal(w->slot[i].buf, blocks, size);
	if (!w->spare)
		w->spare = heap_alloc(STORE_CHUNK);
	p = w->spare;
	for (unsigned i = 0; p && i < x->nruns; i++) {
		const struct store_run *r = &x->runs[i];

		if (store_read_blocks(w->store, r->block, p, r->count, NULL))
			return false;
		p += (size_t)r->count * STORE_BLOCK;
	}
	return p && blocks_equal(w->spare, blocks, size);
}

/*
 * Blocks for the extent, whose stored bytes are given: *shared: those of another extent, which
 * hold them already. Whatever is wrong with that one, this one can have blocks of its own.
 */
static int take_blocks(struct stream_writer *w, struct store_extent *x, const uint8_t *blocks,
    bool *shared, struct errmsg *e)
{
	struct store_extent found;
	unsigned at = 0;

	*shared = false;
	while (
	    w->info.kind == KIND_RAM && content_index_next(w->store, w->object, x, &at, &found)) {
		if (!same_bytes(w, &found, blocks) || store_extent_share(w->store, &found, NULL))
			continue;
		x->nruns = found.nruns;
		memcpy(x->runs, found.runs, sizeof(x->runs));
		*shared = true;
		return OK;
	}
	return store_extent_alloc(w->store, x, e);
}

/* Adds the extent whose stored bytes are in the slot's buffer, which is the next. */
static int put_encoded(
    struct stream_writer *w, struct store_extent *x, struct stream_slot *slot, struct errmsg *e)
{
	bool shared;
	int err = take_blocks(w, x, slot->buf, &shared, e);

	if (!err)
		err = add_extent(w, x, e);
	if (err)
		return err;
	if (shared) {
		w->shared += store_extent_blocks(x);
		return OK;
	}
	w->next = (w->next + 1) % STORE_IO_DEPTH;
	return write_runs(w, slot, x, e);
}

static int put_chunk(
    struct stream_writer *w, uint64_t addr, const void *data, uint32_t len, struct errmsg *e)
{
	struct store_extent x = {.offset = addr, .raw_len = len, .encoding = ENC_ZERO};
	bool zero = all_zero(data, len);
	struct stream_slot *slot;
	int err;

	if (zero && !w->info.parent)
		return OK;
	err = next_slot(w, addr, len, &slot, e);
	if (err)
		return err;
	if (zero)
		return add_extent(w, &x, e);
	encode(w, &x, data, slot->buf);
	return put_encoded(w, &x, slot, e);
}

int stream_put(
    struct stream_writer *w, uint64_t addr, const void *data, uint64_t len, struct errmsg *e)
{
	const uint8_t *p = data;

	if (addr > UINT64_MAX - STORE_CHUNK || len > UINT64_MAX - STORE_CHUNK - addr)
		return err_set(
		    e, ERR_INVAL, "chunk 0x%llx: impossible range", (unsigned long long)addr);
	while (len) {
		uint32_t n = (uint32_t)MIN(len, STORE_CHUNK - addr % STORE_CHUNK);
		int err = put_chunk(w, addr, p, n, e);

		if (err)
			return err_prefix(e, err, "chunk 0x%llx", (unsigned long long)addr);
		addr += n;
		p += n;
		len -= n;
		w->end = MAX(w->end, addr);
	}
	return OK;
}

int stream_put_stored(
    struct stream_writer *w, const struct store_extent *x, const void *blocks, struct errmsg *e)
{
	struct store_extent copy = *x;
	struct stream_slot *slot;
	int err = next_slot(w, x->offset, x->raw_len, &slot, e);

	if (!err) {
		memcpy(slot->buf, blocks, store_extent_blocks(x) * STORE_BLOCK);
		err = put_encoded(w, &copy, slot, e);
	}
	return err ? err_prefix(e, err, "chunk 0x%llx", (unsigned long long)x->offset) : OK;
}

int stream_put_shared(struct stream_writer *w, const struct store_extent *x, struct errmsg *e)
{
	struct stream_slot *slot;
	int err = next_slot(w, x->offset, x->raw_len, &slot, e);

	if (!err)
		err = store_extent_share(w->store, x, e);
	if (!err)
		err = add_extent(w, x, e);
	if (!err)
		w->shared += store_extent_blocks(x);
	return err ? err_prefix(e, err, "chunk 0x%llx", (unsigned long long)x->offset) : OK;
}

/* The index CRC is over the extents in ascending order, whatever order they came in. */
static int sort_index(struct stream_writer *w, struct errmsg *e)
{
	struct store_extent x;
	uint64_t at = 0;
	int err;

	w->info.index_crc = 0;
	while ((err = store_extent_next(w->store, w->object, at, &x, e)) == OK) {
		at = x.offset + x.raw_len;
		w->info.index_crc = store_index_crc(w->info.index_crc, &x);
	}
	if (err == ERR_NOENT)
		w->scattered = false;
	return err == ERR_NOENT ? OK : err;
}

int stream_finish(struct stream_writer *w, uint64_t size, struct errmsg *e)
{
	int err = wait_all(w, e);

	if (!err && w->scattered)
		err = sort_index(w, e);
	if (err)
		return err;
	w->info.size = MAX(size, w->end);
	w->info.flags = OBJ_COMPLETE;
	return store_object_set(w->store, w->object, &w->info, e);
}
