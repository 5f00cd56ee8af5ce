/* SPDX-License-Identifier: BSD-2-Clause */
/* The log as one buffer that a test can search. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hv/lib/log.h"
#include "tests/unit/fake/fake.h"

static char text[65536];
static size_t used;

void (*log_console_sink)(const char *s, size_t len);
uint64_t (*log_clock)(void);

void log_print(enum log_level level, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text + used, sizeof(text) - used, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	used = MIN(used + (size_t)n, sizeof(text) - 2);
	text[used++] = '\n';
	text[used] = '\0';
}

size_t log_read(uint64_t *seq, char *buf, size_t size)
{
	size_t n = *seq < used ? MIN(used - *seq, size) : 0;

	memcpy(buf, text + *seq, n);
	*seq += n;
	return n;
}

const char *fake_log_text(void)
{
	return text;
}

void fake_log_clear(void)
{
	used = 0;
	text[0] = '\0';
}
