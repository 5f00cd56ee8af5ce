/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What libraries that were compiled for a hosted system expect to find: just
 * the functions that the members we link of libfdt and LZ4 refer to.
 */
#include <stdlib.h>
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

void *malloc(size_t size)
{
	return heap_alloc(size);
}

void *calloc(size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		return NULL;
	return heap_zalloc(bytes);
}

void free(void *p)
{
	heap_free(p);
}

void abort(void)
{
	panic("a library called abort()");
}
