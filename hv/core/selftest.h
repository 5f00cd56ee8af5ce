/* SPDX-License-Identifier: BSD-2-Clause */
/* Stress tests of threads, timers and memory on the running machine; debug builds only. */
#ifndef AMBER_CORE_SELFTEST_H
#define AMBER_CORE_SELFTEST_H

#include "hv/lib/types.h"

/*
 * Runs "selftest NAME [COUNT]" if line is that; results through say(), the last
 * line "selftest: ok" or "selftest: FAILED". False: not such a command. From a
 * thread. A release build knows none.
 */
#ifdef AMBER_DEBUG
bool selftest_command(const char *line, void (*say)(const char *fmt, ...) PRINTF_LIKE(1, 2));
#else
static inline bool selftest_command(
    const char *line, void (*say)(const char *fmt, ...) PRINTF_LIKE(1, 2))
{
	(void)line;
	(void)say;
	return false;
}
#endif

#endif
