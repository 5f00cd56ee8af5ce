/* SPDX-License-Identifier: BSD-2-Clause */
/* The store within a file or block device: found by partition type, by its magic, or by offset. */
#ifndef AMBER_SNAP_IMAGE_H
#define AMBER_SNAP_IMAGE_H

#include "hv/snapshot/store.h"

struct image {
	const char *path;
	int fd;
	uint64_t size;	 /* of the file or device */
	uint64_t offset; /* of the store, in bytes */
	bool bare;	 /* the store is the whole file */
	struct store_io io;
};

enum image_mode {
	IMAGE_READ,
	IMAGE_WRITE, /* locked against other writers */
};

#define IMAGE_FIND UINT64_MAX /* offset: look for the store */

/*
 * Opens path and finds the store. bare_ok: a file without partitions and without a store is all
 * store (for formatting). Errors name the file. After OK the caller owes image_close().
 */
int image_open(struct image *im, const char *path, enum image_mode mode, uint64_t offset,
    bool bare_ok, struct errmsg *e);
/* Creates a file of this size that is to be a bare store; ERR_EXIST if it is there. */
int image_create(struct image *im, const char *path, uint64_t size, struct errmsg *e);
void image_close(struct image *im);

/* Bytes at to at + n - 1 of the whole file or device: OK, or ERR_IO. */
int image_read_at(const struct image *im, uint64_t at, void *buf, size_t n) MUST_CHECK;
/*
 * The partition with this GUID or of this type (NULL: any), in bytes. Without a message: ERR_NOENT
 * (there is none, or no table of partitions), ERR_EXIST (there are several).
 */
int image_partition(const struct image *im, const uint8_t *guid, const uint8_t *type, uint64_t *at,
    uint64_t *bytes) MUST_CHECK;

#endif
