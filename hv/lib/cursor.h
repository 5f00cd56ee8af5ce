/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one reader of untrusted bytes (I3): every read is checked against the
 * end; after the first overrun the cursor is failed and every further read
 * gives zeros, so that a parser may check once at the end of a group.
 */
#ifndef AMBER_LIB_CURSOR_H
#define AMBER_LIB_CURSOR_H

#include "hv/lib/types.h"

struct cursor {
	const uint8_t *base;
	size_t size;
	size_t pos;
	bool failed;
};

void cursor_init(struct cursor *c, const void *data, size_t size);
bool cursor_ok(const struct cursor *c);
size_t cursor_left(const struct cursor *c);
/* Little-endian reads. */
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_le16(struct cursor *c);
uint32_t cursor_le32(struct cursor *c);
uint64_t cursor_le64(struct cursor *c);
/* Big-endian reads (flattened device trees). */
uint32_t cursor_be32(struct cursor *c);
uint64_t cursor_be64(struct cursor *c);
/* Copies n bytes out; zero-fills dst and fails the cursor on overrun. */
bool cursor_bytes(struct cursor *c, void *dst, size_t n);
/* A pointer to n bytes in place, or NULL and a failed cursor. */
const void *cursor_take(struct cursor *c, size_t n);
/* Moves to an absolute position <= size. */
bool cursor_seek(struct cursor *c, uint64_t pos);

/* Stores into a buffer of which the caller has checked the size. */
void put_le16(void *p, uint16_t v);
void put_le32(void *p, uint32_t v);
void put_le64(void *p, uint64_t v);
uint16_t get_le16(const void *p);
uint32_t get_le32(const void *p);
uint64_t get_le64(const void *p);
void put_be32(void *p, uint32_t v);
void put_be64(void *p, uint64_t v);
uint32_t get_be32(const void *p);
uint64_t get_be64(const void *p);

/* a + b and a * b; false on overflow. */
bool add_ok_u64(uint64_t a, uint64_t b, uint64_t *sum);
bool mul_ok_u64(uint64_t a, uint64_t b, uint64_t *product);
/* True if [start, start + len) lies within [0, limit) and does not wrap. */
bool range_in(uint64_t start, uint64_t len, uint64_t limit);

#endif
