/* SPDX-License-Identifier: BSD-2-Clause */
/* The checked cursor over untrusted bytes, and loads and stores of either byte order. */
#include "hv/lib/cursor.h"
#include <string.h>

void cursor_init(struct cursor *c, const void *data, size_t size)
{
	*c = (struct cursor){.base = data ? data : (const void *)"", .size = data ? size : 0};
}

bool cursor_ok(const struct cursor *c)
{
	return !c->failed;
}

size_t cursor_left(const struct cursor *c)
{
	return c->failed ? 0 : c->size - c->pos;
}

const void *cursor_take(struct cursor *c, size_t n)
{
	const uint8_t *p;

	if (c->failed || n > c->size - c->pos) {
		c->failed = true;
		return NULL;
	}
	p = c->base + c->pos;
	c->pos += n;
	return p;
}

bool cursor_bytes(struct cursor *c, void *dst, size_t n)
{
	const void *p = cursor_take(c, n);

	if (n && p)
		memcpy(dst, p, n);
	else if (n)
		memset(dst, 0, n);
	return !c->failed;
}

bool cursor_seek(struct cursor *c, uint64_t pos)
{
	if (c->failed || pos > c->size) {
		c->failed = true;
		return false;
	}
	c->pos = (size_t)pos;
	return true;
}

uint8_t cursor_u8(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 1);

	return p ? *p : 0;
}

uint16_t cursor_le16(struct cursor *c)
{
	const void *p = cursor_take(c, 2);

	return p ? get_le16(p) : 0;
}

uint32_t cursor_le32(struct cursor *c)
{
	const void *p = cursor_take(c, 4);

	return p ? get_le32(p) : 0;
}

uint64_t cursor_le64(struct cursor *c)
{
	const void *p = cursor_take(c, 8);

	return p ? get_le64(p) : 0;
}

uint32_t cursor_be32(struct cursor *c)
{
	const void *p = cursor_take(c, 4);

	return p ? get_be32(p) : 0;
}

uint64_t cursor_be64(struct cursor *c)
{
	const void *p = cursor_take(c, 8);

	return p ? get_be64(p) : 0;
}

/*
 * x86 is little-endian and loads from any alignment: a fixed-size memcpy
 * compiles to one MOV and keeps the language's aliasing rules.
 */
void put_le16(void *p, uint16_t v)
{
	memcpy(p, &v, sizeof(v));
}

void put_le32(void *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

void put_le64(void *p, uint64_t v)
{
	memcpy(p, &v, sizeof(v));
}

uint16_t get_le16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

uint32_t get_le32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

uint64_t get_le64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

void put_be32(void *p, uint32_t v)
{
	put_le32(p, __builtin_bswap32(v));
}

void put_be64(void *p, uint64_t v)
{
	put_le64(p, __builtin_bswap64(v));
}

uint32_t get_be32(const void *p)
{
	return __builtin_bswap32(get_le32(p));
}

uint64_t get_be64(const void *p)
{
	return __builtin_bswap64(get_le64(p));
}

bool add_ok_u64(uint64_t a, uint64_t b, uint64_t *sum)
{
	return !__builtin_add_overflow(a, b, sum);
}

bool mul_ok_u64(uint64_t a, uint64_t b, uint64_t *product)
{
	return !__builtin_mul_overflow(a, b, product);
}

bool range_in(uint64_t start, uint64_t len, uint64_t limit)
{
	return start <= limit && len <= limit - start;
}
