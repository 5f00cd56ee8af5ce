/* SPDX-License-Identifier: BSD-2-Clause */
/* The frames of a portable file: docs/snapshot-format.md, "Portable file". */
#include "tools/amber-snap/seal_frames.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "hv/lib/crc32c.h"
#include "hv/lib/cursor.h"
#include "hv/snapshot/store_format.h"

_Static_assert(SEAL_CIPHER_EXTRA == crypto_secretstream_xchacha20poly1305_ABYTES, "frame");
_Static_assert(TAG_MORE == crypto_secretstream_xchacha20poly1305_TAG_MESSAGE, "tag");
_Static_assert(TAG_LAST == crypto_secretstream_xchacha20poly1305_TAG_FINAL, "tag");
_Static_assert(SH_STREAM + crypto_secretstream_xchacha20poly1305_HEADERBYTES <= SH_CRC, "header");

enum { FRAME_MAX = SEAL_FRAME + SEAL_CIPHER_EXTRA };

/* --- writing ------------------------------------------------------------------------- */

static int write_all(struct frames *f, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t put = write(f->fd, p, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return err_set(f->e, errno == ENOSPC ? ERR_NOSPACE : ERR_IO, "%s: %s",
			    f->path, strerror(errno));
		p += put;
		n -= (size_t)put;
	}
	return OK;
}

int frames_begin_writing(struct frames *f, const struct seal_header_fields *h, struct errmsg *e)
{
	uint8_t *p = f->header;

	f->e = e;
	f->encrypted = h->flags & SEAL_ENCRYPTED;
	memcpy(p, SEAL_MAGIC, 8);
	put_le32(p + SH_VERSION, SEAL_VERSION);
	put_le32(p + SH_FLAGS, h->flags);
	put_le64(p + SH_SIZE, h->size);
	if (h->flags & SEAL_PASSPHRASE) {
		put_le32(p + SH_PASSES, h->secret.passes);
		put_le32(p + SH_KIB, h->secret.kib);
		memcpy(p + SH_SALT, h->secret.salt, SECRET_SALT);
	}
	if (f->encrypted)
		crypto_secretstream_xchacha20poly1305_init_push(
		    &f->state, p + SH_STREAM, h->secret.key);
	f->crc = crc32c(0, p, SH_CRC);
	put_le32(p + SH_CRC, f->crc);
	return write_all(f, p, SEAL_HEADER);
}

static int write_frame(struct frames *f, uint8_t tag)
{
	uint8_t frame[FRAME_MAX];
	size_t n = f->n;

	if (f->encrypted) {
		crypto_secretstream_xchacha20poly1305_push(
		    &f->state, frame, NULL, f->buf, n, f->header, SEAL_HEADER, tag);
		n += SEAL_CIPHER_EXTRA;
	} else {
		memcpy(frame, f->buf, n);
		frame[n++] = tag;
		f->crc = crc32c(f->crc, frame, n);
		put_le32(frame + n, f->crc);
		n += 4;
	}
	f->n = 0;
	return write_all(f, frame, n);
}

int frames_put(struct frames *f, const void *data, size_t n)
{
	const uint8_t *p = data;
	int err = OK;

	while (!err && n) {
		size_t take = MIN(n, SEAL_FRAME - f->n);

		/* a full one waits: it may be the last */
		if (take == 0) {
			err = write_frame(f, TAG_MORE);
			continue;
		}
		memcpy(f->buf + f->n, p, take);
		f->n += take;
		p += take;
		n -= take;
	}
	return err;
}

int frames_finish(struct frames *f)
{
	int err = write_frame(f, TAG_LAST);

	if (!err && fsync(f->fd) && errno != EINVAL)
		err = err_set(f->e, ERR_IO, "%s: %s", f->path, strerror(errno));
	return err;
}

/* --- reading ------------------------------------------------------------------------- */

/* Less than size only at the end of the file. */
static int read_all(struct frames *f, uint8_t *p, size_t size, size_t *n)
{
	*n = 0;
	while (*n < size) {
		ssize_t got = read(f->fd, p + *n, size - *n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_set(f->e, ERR_IO, "%s: %s", f->path, strerror(errno));
		if (got == 0)
			break;
		*n += (size_t)got;
	}
	return OK;
}

static int check_header(struct frames *f, struct seal_header_fields *h)
{
	const uint8_t *p = f->header;
	uint32_t version = get_le32(p + SH_VERSION);

	if (memcmp(p, SEAL_MAGIC, 8) != 0)
		return err_set(f->e, ERR_CORRUPT, "%s: not a portable file", f->path);
	if (version != SEAL_VERSION)
		return err_set(
		    f->e, ERR_UNSUPPORTED, "%s: portable file of version %u", f->path, version);
	f->crc = crc32c(0, p, SH_CRC);
	if (f->crc != get_le32(p + SH_CRC))
		return err_set(f->e, ERR_CORRUPT, "%s: damaged: header", f->path);
	if (h->flags & ~SEAL_FLAGS ||
	    ((h->flags & SEAL_PASSPHRASE) && !(h->flags & SEAL_ENCRYPTED)))
		return err_set(
		    f->e, ERR_UNSUPPORTED, "%s: portable file with flags 0x%x", f->path, h->flags);
	if (h->size % STORE_BLOCK || h->size > SEAL_SIZE_MAX ||
	    h->size / STORE_BLOCK < STORE_MIN_BLOCKS)
		return err_set(f->e, ERR_CORRUPT, "%s: a store of %llu bytes", f->path,
		    (unsigned long long)h->size);
	return OK;
}

int frames_read_header(struct frames *f, struct seal_header_fields *h, struct errmsg *e)
{
	const uint8_t *p = f->header;
	size_t n;
	int err;

	f->e = e;
	err = read_all(f, f->header, SEAL_HEADER, &n);
	if (!err && n < SEAL_HEADER)
		err = err_set(e, ERR_CORRUPT, "%s: truncated", f->path);
	if (err)
		return err;
	*h = (struct seal_header_fields){
	    .flags = get_le32(p + SH_FLAGS), .size = get_le64(p + SH_SIZE)};
	h->secret.passphrase = h->flags & SEAL_PASSPHRASE;
	h->secret.passes = get_le32(p + SH_PASSES);
	h->secret.kib = get_le32(p + SH_KIB);
	memcpy(h->secret.salt, p + SH_SALT, SECRET_SALT);
	f->encrypted = h->flags & SEAL_ENCRYPTED;
	return check_header(f, h);
}

int frames_begin_reading(struct frames *f, const struct seal_header_fields *h)
{
	if (f->encrypted && crypto_secretstream_xchacha20poly1305_init_pull(
				&f->state, f->header + SH_STREAM, h->secret.key))
		return err_set(f->e, ERR_CORRUPT, "%s: damaged: header", f->path);
	return OK;
}

/* True if the n bytes are the frame that has to come now; its content is then in f->buf. */
static bool open_frame(struct frames *f, const uint8_t *frame, size_t n, uint8_t *tag)
{
	if (f->encrypted) {
		if (n < SEAL_CIPHER_EXTRA ||
		    crypto_secretstream_xchacha20poly1305_pull(
			&f->state, f->buf, NULL, tag, frame, n, f->header, SEAL_HEADER))
			return false;
		f->n = n - SEAL_CIPHER_EXTRA;
	} else {
		if (n < SEAL_PLAIN_EXTRA)
			return false;
		f->crc = crc32c(f->crc, frame, n - 4);
		if (f->crc != get_le32(frame + n - 4))
			return false;
		f->n = n - SEAL_PLAIN_EXTRA;
		memcpy(f->buf, frame, f->n);
		*tag = frame[f->n];
	}
	return *tag == TAG_LAST || (*tag == TAG_MORE && f->n == SEAL_FRAME);
}

static int bad_frame(struct frames *f, bool short_one)
{
	if (f->encrypted && f->number == 0)
		return err_set(
		    f->e, ERR_CORRUPT, "%s: wrong key or passphrase, or damaged", f->path);
	return err_set(f->e, ERR_CORRUPT, "%s: damaged%s: frame %llu", f->path,
	    short_one ? " or truncated" : "", (unsigned long long)f->number);
}

int frames_next(struct frames *f)
{
	size_t extra = f->encrypted ? SEAL_CIPHER_EXTRA : SEAL_PLAIN_EXTRA, n;
	uint8_t frame[FRAME_MAX], tag;
	int err;

	if (f->last)
		return ERR_NOENT;
	err = read_all(f, frame, SEAL_FRAME + extra, &n);
	if (err)
		return err;
	if (n == 0)
		return err_set(f->e, ERR_CORRUPT, "%s: truncated", f->path);
	if (!open_frame(f, frame, n, &tag))
		return bad_frame(f, n < SEAL_FRAME + extra);
	f->number++;
	f->last = tag == TAG_LAST;
	if (f->last) {
		err = read_all(f, frame, 1, &n);
		if (!err && n)
			err = err_set(
			    f->e, ERR_CORRUPT, "%s: goes on behind its last frame", f->path);
	}
	return err;
}
