/* SPDX-License-Identifier: BSD-2-Clause */
/* A panic fails the test at once. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "hv/lib/log.h"

void panic(const char *fmt, ...)
{
	va_list ap;

	fputs("panic: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}
