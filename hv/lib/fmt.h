/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Formatting into a bounded buffer: %d %i %u %x %X %o %c %s %p %%, flags "-0 +#",
 * width and precision (also *), lengths hh h l ll z t j. No floating point.
 */
#ifndef AMBER_LIB_FMT_H
#define AMBER_LIB_FMT_H

#include <stdarg.h>
#include "hv/lib/types.h"

/* As snprintf: returns the length the whole text would have; always terminates if size > 0. */
int str_format(char *buf, size_t size, const char *fmt, ...) PRINTF_LIKE(3, 4);
int str_vformat(char *buf, size_t size, const char *fmt, va_list ap);

/* Copies src into dst[size], cut to fit, always terminated; returns true if it was whole. */
bool str_copy(char *dst, size_t size, const char *src);

/*
 * Parses a whole string as an unsigned number (decimal, or hexadecimal after
 * 0x); with an optional suffix K, M, G or T (powers of 1024) if suffix is true.
 * OK, ERR_INVAL for anything else in the string, ERR_RANGE on overflow.
 */
int str_to_u64(const char *s, bool suffix, uint64_t *out);

#endif
