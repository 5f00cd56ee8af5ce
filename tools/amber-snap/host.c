/* SPDX-License-Identifier: BSD-2-Clause */
/* What the shared sources want from the hypervisor's floors, on a host: heap and log. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/lib/log.h"
#include "hv/mm/mm.h"

void *heap_alloc(size_t size)
{
	return malloc(size ? size : 1);
}

void *heap_zalloc(size_t size)
{
	return calloc(1, size ? size : 1);
}

void heap_free(void *p)
{
	free(p);
}

void *heap_grow(void *old, size_t old_size, size_t new_size)
{
	return realloc(old, new_size);
}

void log_print(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level < LOG_WARN)
		return;
	va_start(ap, fmt);
	fputs("amber-snap: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

void panic(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	abort();
}
