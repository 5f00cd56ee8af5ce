/* SPDX-License-Identifier: BSD-2-Clause */
/* Fixed-width types, address types that cannot be mixed up, small helpers. */
#ifndef AMBER_LIB_TYPES_H
#define AMBER_LIB_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A guest-physical and a host-physical address are different types on purpose. */
typedef struct {
	uint64_t a;
} gpa_t;
typedef struct {
	uint64_t a;
} hpa_t;

static inline gpa_t gpa(uint64_t a)
{
	return (gpa_t){a};
}
static inline hpa_t hpa(uint64_t a)
{
	return (hpa_t){a};
}
static inline gpa_t gpa_add(gpa_t g, uint64_t n)
{
	return (gpa_t){g.a + n};
}
static inline hpa_t hpa_add(hpa_t h, uint64_t n)
{
	return (hpa_t){h.a + n};
}

#define KIB 1024ULL
#define MIB (1024ULL * KIB)
#define GIB (1024ULL * MIB)

#define PAGE_SHIFT 12
#define PAGE_SIZE  (1ULL << PAGE_SHIFT)
#define SIZE_2M	   (2 * MIB)
#define SIZE_1G	   GIB

#define ARRAY_LEN(a)			(sizeof(a) / sizeof((a)[0]))
#define BIT(n)				(1ULL << (n))
#define ALIGN_UP(x, a)			(((x) + ((a)-1)) & ~((a)-1))
#define ALIGN_DOWN(x, a)		((x) & ~((a)-1))
#define MIN(a, b)			((a) < (b) ? (a) : (b))
#define MAX(a, b)			((a) > (b) ? (a) : (b))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))
#define PACKED			__attribute__((packed))
#define MUST_CHECK		__attribute__((warn_unused_result))
#define UNUSED			__attribute__((unused))
#define NORETURN		__attribute__((noreturn))
/* A rare branch of a hot function, kept out of it with its variables, and what it has to save. */
#define COLD __attribute__((cold, noinline))
/*
 * For functions on the path of every exit whose only variables with an address
 * are scalars handed to a callee: nothing that an overrun could start from.
 */
#define NO_STACK_PROTECTOR __attribute__((no_stack_protector))
#define LIKELY(x)	   __builtin_expect(!!(x), 1)
#define UNLIKELY(x)	   __builtin_expect(!!(x), 0)

#endif
