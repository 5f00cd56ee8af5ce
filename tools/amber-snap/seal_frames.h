/* SPDX-License-Identifier: BSD-2-Clause */
/* The frames of a portable file, and its header: the layer below compression. */
#ifndef AMBER_SNAP_SEAL_FRAMES_H
#define AMBER_SNAP_SEAL_FRAMES_H

#include <sodium.h>

#include "hv/lib/error.h"
#include "tools/amber-snap/seal_format.h"
#include "tools/amber-snap/secret.h"

struct seal_header_fields {
	uint32_t flags;	      /* enum seal_flag */
	uint64_t size;	      /* of the content */
	struct secret secret; /* if encrypted */
};

struct frames {
	const char *path;
	int fd;
	uint8_t header[SEAL_HEADER];
	bool encrypted;
	crypto_secretstream_xchacha20poly1305_state state; /* if encrypted */
	uint32_t crc;					   /* if not: over all so far */
	uint8_t buf[SEAL_FRAME];			   /* content of the frame at hand */
	size_t n;
	bool last; /* reading: it was the last */
	uint64_t number;
	struct errmsg *e;
};

/* Writes the header to f->fd, with path and fd set. Errors name the file. */
int frames_begin_writing(
    struct frames *f, const struct seal_header_fields *h, struct errmsg *e) MUST_CHECK;
int frames_put(struct frames *f, const void *data, size_t n) MUST_CHECK;
/* Writes what is left as the last frame, and waits for the disk. */
int frames_finish(struct frames *f) MUST_CHECK;

/* Reads and checks the header: form and limits, not yet that it is authentic. */
int frames_read_header(struct frames *f, struct seal_header_fields *h, struct errmsg *e) MUST_CHECK;
/* Begins with the key that was found meanwhile. */
int frames_begin_reading(struct frames *f, const struct seal_header_fields *h) MUST_CHECK;
/*
 * The next frame, authenticated, into f->buf and f->n; ERR_NOENT after the last. A file that ends
 * before its last frame, or goes on behind it, is ERR_CORRUPT.
 */
int frames_next(struct frames *f) MUST_CHECK;

#endif
