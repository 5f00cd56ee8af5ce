/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory and string functions that the compiler and the freestanding
 * libraries expect. Bulk work is REP MOVSQ and REP STOSQ: eight bytes an
 * iteration on every CPU, and whole lines at a time where it is fast.
 */
#include <string.h>
#include "hv/lib/types.h"

/*
 * The loops below must not be recognised as, and compiled into, calls of the
 * very functions that they implement (gcc: -ftree-loop-distribute-patterns).
 */
#ifdef __clang__
#define NO_IDIOM __attribute__((no_builtin))
#else
#define NO_IDIOM __attribute__((optimize("no-tree-loop-distribute-patterns")))
#endif

/* Integers at unaligned addresses, exempt from the aliasing rules. */
typedef uint64_t __attribute__((may_alias, aligned(1))) word;
typedef uint32_t __attribute__((may_alias, aligned(1))) half;
typedef uint16_t __attribute__((may_alias, aligned(1))) quarter;

#define SMALL 32 /* bytes below which REP's start-up costs more than a loop */

/* n < 8. Two accesses that may overlap, both loaded before either is stored. */
static inline void copy_few(uint8_t *d, const uint8_t *s, size_t n)
{
	if (n >= 4) {
		uint32_t first = *(const half *)s, last = *(const half *)(s + n - 4);

		*(half *)d = first;
		*(half *)(d + n - 4) = last;
	} else if (n >= 2) {
		uint16_t first = *(const quarter *)s, last = *(const quarter *)(s + n - 2);

		*(quarter *)d = first;
		*(quarter *)(d + n - 2) = last;
	} else if (n) {
		*d = *s;
	}
}

/*
 * Copies upwards, which is right for overlaps too as long as dst is below src:
 * each word is read before it is overwritten. The last eight bytes are loaded
 * first and stored last, so that no rest is left.
 */
NO_IDIOM static inline void copy_up(uint8_t *d, const uint8_t *s, size_t n)
{
	uint64_t last;

	if (n < 8) {
		copy_few(d, s, n);
		return;
	}
	last = *(const word *)(s + n - 8);
	if (n < SMALL) {
		for (size_t i = 0; i + 8 < n; i += 8)
			*(word *)(d + i) = *(const word *)(s + i);
	} else {
		uint8_t *to = d;
		size_t words = n / 8;

		__asm__ volatile("rep movsq" : "+D"(to), "+S"(s), "+c"(words) : : "memory");
	}
	*(word *)(d + n - 8) = last;
}

NO_IDIOM void *memcpy(void *restrict dst, const void *restrict src, size_t n)
{
	copy_up(dst, src, n);
	return dst;
}

NO_IDIOM void *memmove(void *dst, const void *src, size_t n)
{
	uint8_t *d = dst;
	const uint8_t *s = src;

	if ((uintptr_t)d - (uintptr_t)s >= n) {
		copy_up(d, s, n);
		return dst;
	}
	for (; n >= 8; n -= 8)
		*(word *)(d + n - 8) = *(const word *)(s + n - 8);
	copy_few(d, s, n);
	return dst;
}

NO_IDIOM void *memset(void *dst, int c, size_t n)
{
	uint64_t pattern = (uint8_t)c * 0x0101010101010101ULL;
	uint8_t *d = dst;

	if (n < 8) {
		for (size_t i = 0; i < n; i++)
			d[i] = (uint8_t)c;
		return dst;
	}
	if (n < SMALL) {
		for (size_t i = 0; i + 8 < n; i += 8)
			*(word *)(d + i) = pattern;
	} else {
		uint8_t *to = d;
		size_t words = n / 8;

		__asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(pattern) : "memory");
	}
	*(word *)(d + n - 8) = pattern;
	return dst;
}

NO_IDIOM int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;

	for (; n >= 8 && *(const word *)x == *(const word *)y; n -= 8) {
		x += 8;
		y += 8;
	}
	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

NO_IDIOM void *memchr(const void *p, int c, size_t n)
{
	const uint8_t *s = p;

	for (; n; n--, s++)
		if (*s == (uint8_t)c)
			return (void *)(uintptr_t)s;
	return NULL;
}

NO_IDIOM size_t strlen(const char *s)
{
	const char *p = s;

	while (*p)
		p++;
	return (size_t)(p - s);
}

NO_IDIOM size_t strnlen(const char *s, size_t max)
{
	size_t n = 0;

	while (n < max && s[n])
		n++;
	return n;
}

NO_IDIOM int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return (uint8_t)*a - (uint8_t)*b;
}

NO_IDIOM int strncmp(const char *a, const char *b, size_t n)
{
	for (; n; n--, a++, b++)
		if (*a != *b || !*a)
			return (uint8_t)*a - (uint8_t)*b;
	return 0;
}

NO_IDIOM char *strchr(const char *s, int c)
{
	for (;; s++) {
		if (*s == (char)c)
			return (char *)(uintptr_t)s;
		if (!*s)
			return NULL;
	}
}

NO_IDIOM char *strrchr(const char *s, int c)
{
	const char *found = NULL;

	do {
		if (*s == (char)c)
			found = s;
	} while (*s++);
	return (char *)(uintptr_t)found;
}

size_t strcspn(const char *s, const char *reject)
{
	size_t n = 0;

	while (s[n] && !strchr(reject, s[n]))
		n++;
	return n;
}
