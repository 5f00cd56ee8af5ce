/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * LZ4 blocks, with all memory given by the caller. Only from threads that own an xstate
 * area (THREAD_XSTATE): the library uses vector registers.
 */
#ifndef AMBER_SNAPSHOT_COMPRESS_H
#define AMBER_SNAPSHOT_COMPRESS_H

#include "hv/lib/types.h"

/* Bytes of working memory for compress_lz4(), 8-byte aligned, content of no matter. */
size_t compress_state_size(void);
/*
 * False if len bytes look like what nothing compresses: encrypted, compressed, random. Looks at a
 * sample, which costs a tenth of trying it.
 */
bool compress_worthwhile(const void *src, uint32_t len);
/* Compresses len bytes into at most cap; returns the size, or 0 if that does not suffice. */
uint32_t compress_lz4(void *state, const void *src, uint32_t len, void *dst, uint32_t cap);
/* True if src is a block that decompresses to exactly len bytes; src may be anything (I3). */
bool decompress_lz4(const void *src, uint32_t src_len, void *dst, uint32_t len);
/* True if all len bytes are zero. */
bool all_zero(const void *p, size_t len);

#endif
