/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Portable files: an exported store in one stream, compressed, encrypted, or both. Nothing of an
 * encrypted file is used before it is authenticated, and nothing of any before its end is seen.
 */
#ifndef AMBER_SNAP_SEAL_H
#define AMBER_SNAP_SEAL_H

#include "tools/amber-snap/scratch.h"
#include "tools/amber-snap/secret.h"

/* Once, before anything else of this header and of the two that it includes. */
int seal_init(struct errmsg *e) MUST_CHECK;
/* True if the file begins as a portable file does. */
bool seal_is(const char *path);
/*
 * Writes all blocks of from into a new file. secret (NULL: not encrypted) is from secret_make().
 * After an error there is no file; ERR_EXIST if there was one.
 */
int seal_write(const char *path, const struct store_io *from, bool compress,
    const struct secret *secret, struct errmsg *e) MUST_CHECK;
/*
 * Reads a whole file into *to, which it opens. ERR_INVAL if the source does not fit the file:
 * also if one is named and the file is not encrypted, which could be anybody's. After OK the
 * caller owes scratch_close().
 */
int seal_read(const char *path, const struct secret_source *source, struct scratch *to,
    struct errmsg *e) MUST_CHECK;

#endif
