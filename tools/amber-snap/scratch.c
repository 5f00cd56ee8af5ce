/* SPDX-License-Identifier: BSD-2-Clause */
/* Temporary blocks that nobody else can read, neither now nor later. */
#define _GNU_SOURCE /* O_TMPFILE */
#include "tools/amber-snap/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "hv/lib/cursor.h"
#include "hv/mm/mm.h"

/* The same key stream never twice: the nonce is the block and how often it was written. */
static void cipher(const struct scratch *s, uint64_t block, uint8_t *out, const uint8_t *in)
{
	uint8_t nonce[crypto_stream_xchacha20_NONCEBYTES] = {0};

	put_le64(nonce, block);
	put_le32(nonce + 8, s->writes[block]);
	crypto_stream_xchacha20_xor(out, in, STORE_BLOCK, nonce, s->key);
}

static int io_read(void *ctx, uint64_t block, void *buf, uint32_t n)
{
	struct scratch *s = ctx;
	uint8_t *p = buf;

	if (!range_in(block, n, s->nblocks))
		return ERR_IO;
	for (; n; n--, block++, p += STORE_BLOCK) {
		if (!s->writes[block]) {
			memset(p, 0, STORE_BLOCK);
			continue;
		}
		if (pread(s->fd, p, STORE_BLOCK, (off_t)(block * STORE_BLOCK)) != STORE_BLOCK)
			return ERR_IO;
		cipher(s, block, p, p);
	}
	return OK;
}

static int io_write(void *ctx, uint64_t block, const void *buf, uint32_t n)
{
	static const uint8_t zeros[STORE_BLOCK];
	struct scratch *s = ctx;
	const uint8_t *p = buf;
	uint8_t noise[STORE_BLOCK];

	if (!range_in(block, n, s->nblocks))
		return ERR_IO;
	for (; n; n--, block++, p += STORE_BLOCK) {
		if (!s->writes[block] && memcmp(p, zeros, STORE_BLOCK) == 0)
			continue;
		if (s->writes[block] == UINT32_MAX)
			return ERR_IO;
		s->writes[block]++;
		cipher(s, block, noise, p);
		if (pwrite(s->fd, noise, STORE_BLOCK, (off_t)(block * STORE_BLOCK)) != STORE_BLOCK)
			return ERR_IO;
	}
	return OK;
}

/* What has no name and no key after the process needs to reach no disk. */
static int io_flush(void *ctx)
{
	return OK;
}

static int open_nameless(const char *folder)
{
	char name[PATH_MAX];
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd;
	/* a file system that cannot do it at once */
	snprintf(name, sizeof(name), "%s/amber-snap-XXXXXX", folder);
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		unlink(name);
	return fd;
}

static int check_room(const char *folder, uint64_t bytes, struct errmsg *e)
{
	struct statvfs v;

	if (statvfs(folder, &v))
		return err_set(e, ERR_IO, "%s: %s", folder, strerror(errno));
	if (bytes / v.f_frsize >= v.f_bavail)
		return err_set(e, ERR_NOSPACE,
		    "%s: %llu MiB are needed for a while, %llu are free; TMPDIR names another "
		    "place",
		    folder, (unsigned long long)(bytes / MIB),
		    (unsigned long long)((uint64_t)v.f_bavail * v.f_frsize / MIB));
	return OK;
}

int scratch_open(struct scratch *s, uint64_t bytes, struct errmsg *e)
{
	const char *folder = getenv("TMPDIR");
	int err;

	*s = (struct scratch){.fd = -1, .nblocks = bytes / STORE_BLOCK};
	if (!folder || !*folder)
		folder = "/var/tmp";
	err = check_room(folder, bytes, e);
	if (err)
		return err;
	s->writes = heap_zalloc(s->nblocks * sizeof(*s->writes));
	if (!s->writes)
		return err_set(e, ERR_NOMEM, "out of memory");
	s->fd = open_nameless(folder);
	if (s->fd < 0) {
		heap_free(s->writes);
		return err_set(e, ERR_IO, "%s: %s", folder, strerror(errno));
	}
	randombytes_buf(s->key, sizeof(s->key));
	s->io = (struct store_io){
	    .read = io_read, .write = io_write, .flush = io_flush, .nblocks = s->nblocks, .ctx = s};
	return OK;
}

void scratch_close(struct scratch *s)
{
	close(s->fd);
	heap_free(s->writes);
	sodium_memzero(s->key, sizeof(s->key));
}
