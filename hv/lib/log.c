/* SPDX-License-Identifier: BSD-2-Clause */
/* The log ring: the newest LOG_SIZE bytes of text, addressed by a count that never wraps. */
#include "hv/lib/log.h"
#include <string.h>
#include "hv/lib/fmt.h"
#include "hv/lib/spinlock.h"

#define LOG_SIZE (64 * KIB)
#define LOG_LINE 256 /* longest line, its stamp and line end included */

void (*log_console_sink)(const char *text, size_t len);
uint64_t (*log_clock)(void);

static struct spinlock lock = SPINLOCK_INIT(RANK_LOG);
static char ring[LOG_SIZE];
static uint64_t written; /* bytes ever logged; byte n lies at ring[n % LOG_SIZE] */

static void ring_append(const char *text, size_t len)
{
	size_t at = written % LOG_SIZE;
	size_t first = MIN(len, LOG_SIZE - at);

	memcpy(ring + at, text, first);
	memcpy(ring, text + first, len - first);
	written += len;
}

/* "[   12.345678] " as far as there is a clock, and the level where it matters; returns the length.
 */
static size_t line_head(char *line, size_t size, enum log_level level)
{
	static const char *const names[] = {"debug: ", "", "warning: ", "error: "};
	uint64_t us = log_clock ? log_clock() / 1000 : 0;
	size_t n = 0;

	if (log_clock)
		n = (size_t)str_format(line, size, "[%5lu.%06lu] ", us / 1000000, us % 1000000);
	n += (size_t)str_format(
	    line + n, size - n, "%s", (unsigned)level < ARRAY_LEN(names) ? names[level] : "");
	return n;
}

void log_print(enum log_level level, const char *fmt, ...)
{
	char line[LOG_LINE];
	size_t n = line_head(line, sizeof(line), level);
	uint64_t flags;
	va_list ap;
	int body;

	va_start(ap, fmt);
	body = str_vformat(line + n, sizeof(line) - n - 1, fmt, ap); /* one byte for the line end */
	va_end(ap);
	n += MIN((size_t)body, sizeof(line) - n - 2);
	while (n && line[n - 1] == '\n')
		n--;
	line[n++] = '\n';

	flags = spin_lock(&lock);
	ring_append(line, n);
	spin_unlock(&lock, flags);
	if (level >= LOG_WARN && log_console_sink)
		log_console_sink(line, n);
}

/* The start of the oldest line that is whole; the byte before the ring's oldest is gone. */
static uint64_t oldest(void)
{
	uint64_t seq;

	if (written <= LOG_SIZE)
		return 0;
	seq = written - LOG_SIZE;
	while (seq < written && ring[seq++ % LOG_SIZE] != '\n')
		;
	return seq;
}

size_t log_read(uint64_t *seq, char *buf, size_t size)
{
	uint64_t flags = spin_lock(&lock);
	size_t n, at, first;

	if (written - *seq > LOG_SIZE || *seq > written)
		*seq = oldest();
	n = (size_t)MIN(written - *seq, (uint64_t)size);
	at = *seq % LOG_SIZE;
	first = MIN(n, LOG_SIZE - at);
	memcpy(buf, ring + at, first);
	memcpy(buf + first, ring, n - first);
	*seq += n;
	spin_unlock(&lock, flags);
	return n;
}
