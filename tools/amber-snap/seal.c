/* SPDX-License-Identifier: BSD-2-Clause */
/* Portable files: a store's blocks through Zstandard and frames, and back. */
#include "tools/amber-snap/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "hv/mm/mm.h"
#include "tools/amber-snap/seal_frames.h"

enum { PIECE = 1 << 18 }; /* bytes that go from layer to layer: blocks, whole */

int seal_init(struct errmsg *e)
{
	return sodium_init() < 0 ? err_set(e, ERR_UNSUPPORTED, "libsodium does not start") : OK;
}

bool seal_is(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char magic[8];
	bool is;

	if (fd < 0)
		return false;
	is = read(fd, magic, sizeof(magic)) == sizeof(magic) &&
	     memcmp(magic, SEAL_MAGIC, sizeof(magic)) == 0;
	close(fd);
	return is;
}

/* --- writing ------------------------------------------------------------------------- */

struct writer {
	struct frames frames;
	ZSTD_CCtx *zstd; /* NULL: not compressed */
	uint8_t in[PIECE], out[PIECE];
};

/* The content's next n bytes, which are in w->in. */
static int put_content(struct writer *w, size_t n, bool last)
{
	ZSTD_inBuffer in = {.src = w->in, .size = n};
	size_t left;
	int err;

	if (!w->zstd)
		return frames_put(&w->frames, w->in, n);
	do {
		ZSTD_outBuffer out = {.dst = w->out, .size = sizeof(w->out)};

		left =
		    ZSTD_compressStream2(w->zstd, &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
		if (ZSTD_isError(left))
			return err_set(w->frames.e, ERR_IO, "%s: zstd: %s", w->frames.path,
			    ZSTD_getErrorName(left));
		err = frames_put(&w->frames, w->out, out.pos);
	} while (!err && (last ? left : in.pos < in.size));
	return err;
}

static int put_store(struct writer *w, const struct store_io *from)
{
	uint32_t n;
	int err = OK;

	for (uint64_t at = 0; !err && at < from->nblocks; at += n) {
		n = (uint32_t)MIN((uint64_t)PIECE / STORE_BLOCK, from->nblocks - at);
		if (from->read(from->ctx, at, w->in, n))
			return err_set(w->frames.e, ERR_IO, "temporary file: cannot be read back");
		err = put_content(w, (size_t)n * STORE_BLOCK, at + n == from->nblocks);
	}
	return err ? err : frames_finish(&w->frames);
}

static int set_up_zstd(struct writer *w, uint64_t size)
{
	w->zstd = ZSTD_createCCtx();
	if (!w->zstd ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, SEAL_LEVEL)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_windowLog, SEAL_WINDOW_LOG)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_checksumFlag, 1)) ||
	    ZSTD_isError(ZSTD_CCtx_setPledgedSrcSize(w->zstd, size)))
		return err_set(w->frames.e, ERR_NOMEM, "zstd: out of memory");
	return OK;
}

static int write_to(struct writer *w, const struct store_io *from, bool compress,
    const struct secret *secret, struct errmsg *e)
{
	struct seal_header_fields h = {.size = from->nblocks * STORE_BLOCK};
	int err = OK;

	w->frames.e = e;
	if (compress) {
		h.flags |= SEAL_COMPRESSED;
		err = set_up_zstd(w, h.size);
	}
	if (secret) {
		h.flags |= SEAL_ENCRYPTED | (secret->passphrase ? SEAL_PASSPHRASE : 0);
		h.secret = *secret;
	}
	if (!err)
		err = frames_begin_writing(&w->frames, &h, e);
	secret_forget(&h.secret);
	if (!err)
		err = put_store(w, from);
	ZSTD_freeCCtx(w->zstd);
	return err;
}

int seal_write(const char *path, const struct store_io *from, bool compress,
    const struct secret *secret, struct errmsg *e)
{
	struct writer *w = heap_zalloc(sizeof(*w));
	int err;

	if (!w)
		return err_set(e, ERR_NOMEM, "out of memory");
	w->frames.path = path;
	w->frames.fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (w->frames.fd < 0) {
		err = err_set(
		    e, errno == EEXIST ? ERR_EXIST : ERR_IO, "%s: %s", path, strerror(errno));
	} else {
		err = write_to(w, from, compress, secret, e);
		if (close(w->frames.fd) && !err)
			err = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
		if (err)
			unlink(path);
	}
	sodium_memzero(w, sizeof(*w));
	heap_free(w);
	return err;
}

/* --- reading ------------------------------------------------------------------------- */

struct reader {
	struct frames frames;
	ZSTD_DCtx *zstd; /* NULL: not compressed */
	bool ended;	 /* the compressed stream has */
	struct scratch *to;
	uint64_t done;	    /* blocks of the content that are in *to */
	uint8_t out[PIECE]; /* content that is not */
	size_t n;
};

static int content_error(struct reader *r, const char *what)
{
	return err_set(r->frames.e, ERR_CORRUPT, "%s: %s", r->frames.path, what);
}

/* What has gathered, as far as it is whole blocks. */
static int flush(struct reader *r)
{
	uint32_t blocks = (uint32_t)(r->n / STORE_BLOCK);
	size_t bytes = (size_t)blocks * STORE_BLOCK;

	if (blocks > r->to->nblocks - r->done)
		return content_error(r, "more content than its header says");
	if (r->to->io.write(r->to, r->done, r->out, blocks))
		return err_set(r->frames.e, ERR_IO, "temporary file: %s", strerror(errno));
	r->done += blocks;
	r->n -= bytes;
	memmove(r->out, r->out + bytes, r->n);
	return OK;
}

static int take_plain(struct reader *r)
{
	const struct frames *f = &r->frames;
	size_t at = 0;
	int err = OK;

	while (!err && at < f->n) {
		size_t take = MIN(f->n - at, PIECE - r->n);

		memcpy(r->out + r->n, f->buf + at, take);
		r->n += take;
		at += take;
		err = flush(r);
	}
	return err;
}

static int take_compressed(struct reader *r)
{
	ZSTD_inBuffer in = {.src = r->frames.buf, .size = r->frames.n};
	int err = OK;
	bool more;

	do {
		ZSTD_outBuffer out = {.dst = r->out, .size = PIECE, .pos = r->n};
		size_t left;

		if (r->ended)
			return in.pos < in.size ? content_error(r, "goes on behind its content")
						: OK;
		left = ZSTD_decompressStream(r->zstd, &out, &in);
		if (ZSTD_isError(left))
			return content_error(r, ZSTD_getErrorName(left));
		r->ended = left == 0;
		r->n = out.pos;
		more = out.pos == out.size || in.pos < in.size;
		err = flush(r);
	} while (!err && more);
	return err;
}

static int take_all(struct reader *r)
{
	int err;

	while ((err = frames_next(&r->frames)) == OK) {
		err = r->zstd ? take_compressed(r) : take_plain(r);
		if (err)
			return err;
	}
	if (err != ERR_NOENT)
		return err;
	if (r->n || r->done != r->to->nblocks || (r->zstd && !r->ended))
		return content_error(r, "less content than its header says");
	return OK;
}

/* What no key can make good is found before anybody is asked for one. */
static int find_key(
    struct reader *r, struct seal_header_fields *h, const struct secret_source *source)
{
	struct errmsg *e = r->frames.e;
	int err;

	if (!(h->flags & SEAL_ENCRYPTED))
		return source->key_file || source->passphrase_file
			   ? err_set(e, ERR_INVAL, "%s: is not encrypted: anybody may have made it",
				 r->frames.path)
			   : OK;
	err = secret_find(&h->secret, source, e);
	return err ? err_prefix(e, err, "%s", r->frames.path) : OK;
}

static int read_content(struct reader *r, const struct seal_header_fields *h, struct errmsg *e)
{
	int err = frames_begin_reading(&r->frames, h);

	if (!err && (h->flags & SEAL_COMPRESSED)) {
		r->zstd = ZSTD_createDCtx();
		if (!r->zstd || ZSTD_isError(ZSTD_DCtx_setParameter(
				    r->zstd, ZSTD_d_windowLogMax, SEAL_WINDOW_LOG)))
			err = err_set(e, ERR_NOMEM, "zstd: out of memory");
	}
	if (!err)
		err = scratch_open(r->to, h->size, e);
	if (err)
		return err;
	err = take_all(r);
	if (err)
		scratch_close(r->to);
	return err;
}

int seal_read(
    const char *path, const struct secret_source *source, struct scratch *to, struct errmsg *e)
{
	struct reader *r = heap_zalloc(sizeof(*r));
	struct seal_header_fields h;
	int err;

	if (!r)
		return err_set(e, ERR_NOMEM, "out of memory");
	r->to = to;
	r->frames.path = path;
	r->frames.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (r->frames.fd < 0) {
		err = err_set(e, ERR_NOENT, "%s: %s", path, strerror(errno));
	} else {
		err = frames_read_header(&r->frames, &h, e);
		if (!err)
			err = find_key(r, &h, source);
		if (!err)
			err = read_content(r, &h, e);
		close(r->frames.fd);
		secret_forget(&h.secret);
	}
	ZSTD_freeDCtx(r->zstd);
	sodium_memzero(r, sizeof(*r));
	heap_free(r);
	return err;
}
