/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hypervisor's log: a ring of lines in memory that the console command
 * 'log' prints; lines of LOG_WARN and above also go to the console UART at once.
 * Callable from any context, interrupt handlers included.
 */
#ifndef AMBER_LIB_LOG_H
#define AMBER_LIB_LOG_H

#include "hv/lib/types.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_print(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_debug(...) log_print(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_print(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_print(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_print(LOG_ERROR, __VA_ARGS__)

/* Where immediate lines and panics go; NULL until a console exists. May be called with any lock
 * held. */
extern void (*log_console_sink)(const char *text, size_t len);
/* Nanoseconds since start for the time stamps; NULL: no stamps. */
extern uint64_t (*log_clock)(void);

/* Copies up to size bytes of the log, oldest first, from *seq on; advances *seq; returns bytes
 * copied. */
size_t log_read(uint64_t *seq, char *buf, size_t size);

/* Prints the message, CPU number, registers if in a trap, a backtrace; halts all CPUs. Never for
 * untrusted input (I4). */
void panic(const char *fmt, ...) PRINTF_LIKE(1, 2) NORETURN;
#define ASSERT(cond)                                                                               \
	do {                                                                                       \
		if (UNLIKELY(!(cond)))                                                             \
			panic("%s:%d: assertion failed: %s", __FILE__, __LINE__, #cond);           \
	} while (0)

#endif
