/* SPDX-License-Identifier: BSD-2-Clause */
/* Files and devices as a store's I/O. */
#define _GNU_SOURCE /* open file description locks */
#include "tools/amber-snap/image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/block/gpt.h"
#include "hv/block/guids.h"
#include "hv/lib/cursor.h"

enum { SECTOR = 512 };

int image_read_at(const struct image *im, uint64_t at, void *buf, size_t n)
{
	uint8_t *p = buf;

	if (!range_in(at, n, im->size))
		return ERR_IO;
	while (n) {
		ssize_t got = pread(im->fd, p, n, (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return ERR_IO;
		p += got;
		at += (size_t)got;
		n -= (size_t)got;
	}
	return OK;
}

static int write_at(const struct image *im, uint64_t at, const void *buf, size_t n)
{
	const uint8_t *p = buf;

	if (!range_in(at, n, im->size))
		return ERR_IO;
	while (n) {
		ssize_t put = pwrite(im->fd, p, n, (off_t)at);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return ERR_IO;
		p += put;
		at += (size_t)put;
		n -= (size_t)put;
	}
	return OK;
}

static int io_read(void *ctx, uint64_t block, void *buf, uint32_t n)
{
	const struct image *im = ctx;

	return image_read_at(im, im->offset + block * STORE_BLOCK, buf, (size_t)n * STORE_BLOCK);
}

static int io_write(void *ctx, uint64_t block, const void *buf, uint32_t n)
{
	const struct image *im = ctx;

	return write_at(im, im->offset + block * STORE_BLOCK, buf, (size_t)n * STORE_BLOCK);
}

static int io_flush(void *ctx)
{
	return fdatasync(((const struct image *)ctx)->fd) ? ERR_IO : OK;
}

static int gpt_read_sectors(void *ctx, uint64_t lba, void *buf, uint32_t count)
{
	return image_read_at(ctx, lba * SECTOR, buf, (size_t)count * SECTOR);
}

static void set_io(struct image *im, uint64_t bytes, bool writable)
{
	im->io = (struct store_io){
	    .read = io_read,
	    .write = io_write,
	    .flush = io_flush,
	    .nblocks = bytes / STORE_BLOCK,
	    .read_only = !writable,
	    .ctx = im,
	};
}

/* A partition of the store's type; there must be one only. */
static int find_partition(struct image *im, uint64_t *bytes, struct errmsg *e)
{
	static const uint8_t type[16] = GUID_STORE_BYTES;
	const struct gpt_part *found = NULL;
	struct gpt gpt;
	int err = gpt_read(gpt_read_sectors, im, im->size / SECTOR, &gpt, e);

	if (err)
		return err;
	for (unsigned i = 0; !err && i < gpt.nparts; i++) {
		if (memcmp(gpt.parts[i].type, type, sizeof(type)) != 0)
			continue;
		if (found)
			err = err_set(e, ERR_INVAL,
			    "partitions %u and %u are both stores: say --offset BYTES",
			    found->number, gpt.parts[i].number);
		found = &gpt.parts[i];
	}
	if (!err && !found)
		err = err_set(e, ERR_NOENT, "no partition of type %s", GUID_STORE_TEXT);
	if (!err) {
		im->offset = found->first * SECTOR;
		*bytes = (found->last - found->first + 1) * SECTOR;
	}
	gpt_free(&gpt);
	return err;
}

int image_partition(
    const struct image *im, const uint8_t *guid, const uint8_t *type, uint64_t *at, uint64_t *bytes)
{
	struct gpt gpt;
	int err = gpt_read(gpt_read_sectors, (void *)(uintptr_t)im, im->size / SECTOR, &gpt, NULL);

	if (err)
		return ERR_NOENT;
	err = ERR_NOENT;
	for (unsigned i = 0; i < gpt.nparts; i++) {
		const struct gpt_part *p = &gpt.parts[i];

		if ((guid && memcmp(p->guid, guid, 16)) || (type && memcmp(p->type, type, 16)))
			continue;
		*at = p->first * SECTOR;
		*bytes = (p->last - p->first + 1) * SECTOR;
		err = err == ERR_NOENT ? OK : ERR_EXIST;
	}
	gpt_free(&gpt);
	return err;
}

static bool has_magic(const struct image *im, uint64_t at)
{
	uint8_t magic[8];

	return image_read_at(im, at, magic, sizeof(magic)) == OK &&
	       memcmp(magic, SB_MAGIC_TEXT, sizeof(magic)) == 0;
}

static int find_store(
    struct image *im, uint64_t offset, bool bare_ok, uint64_t *bytes, struct errmsg *e)
{
	int err;

	if (offset != IMAGE_FIND) {
		if (offset >= im->size || offset % SECTOR)
			return err_set(
			    e, ERR_RANGE, "no store at offset %llu", (unsigned long long)offset);
		im->offset = offset;
		*bytes = im->size - offset;
		return OK;
	}
	im->bare = true;
	*bytes = im->size;
	if (has_magic(im, 0) || has_magic(im, STORE_BLOCK))
		return OK;
	err = find_partition(im, bytes, e);
	if (err == ERR_NOENT && bare_ok)
		return OK;
	im->bare = err != OK;
	return err;
}

/* Emulators lock the images that they write; so do we. */
static int lock_image(const struct image *im, struct errmsg *e)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(im->fd, F_OFD_SETLK, &fl) == 0 || errno == EINVAL)
		return OK;
	return err_set(e, ERR_BUSY, "%s: in use by another program", im->path);
}

int image_open(struct image *im, const char *path, enum image_mode mode, uint64_t offset,
    bool bare_ok, struct errmsg *e)
{
	uint64_t bytes = 0;
	off_t end;
	int err = OK;

	*im = (struct image){.path = path};
	im->fd = open(path, (mode == IMAGE_WRITE ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (im->fd < 0)
		return err_set(e, ERR_NOENT, "%s: %s", path, strerror(errno));
	end = lseek(im->fd, 0, SEEK_END);
	if (end < 0)
		err = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
	im->size = end < 0 ? 0 : (uint64_t)end;
	if (!err && mode == IMAGE_WRITE)
		err = lock_image(im, e);
	if (!err) {
		err = find_store(im, offset, bare_ok, &bytes, e);
		if (err)
			err_prefix(e, err, "%s", path);
	}
	if (err)
		image_close(im);
	else
		set_io(im, bytes, mode == IMAGE_WRITE);
	return err;
}

int image_create(struct image *im, const char *path, uint64_t size, struct errmsg *e)
{
	*im = (struct image){.path = path, .size = size, .bare = true};
	im->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (im->fd < 0)
		return err_set(
		    e, errno == EEXIST ? ERR_EXIST : ERR_IO, "%s: %s", path, strerror(errno));
	if (ftruncate(im->fd, (off_t)size)) {
		int err = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));

		image_close(im);
		unlink(path);
		return err;
	}
	set_io(im, size, true);
	return OK;
}

void image_close(struct image *im)
{
	if (im->fd >= 0)
		close(im->fd);
	im->fd = -1;
}
