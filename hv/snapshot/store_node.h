/* SPDX-License-Identifier: BSD-2-Clause */
/* One node of the store's tree, as it lies in its block: slots in front, data at the back. */
#ifndef AMBER_SNAPSHOT_STORE_NODE_H
#define AMBER_SNAPSHOT_STORE_NODE_H

#include <string.h>

#include "hv/snapshot/store_int.h"

static inline uint32_t node_items(const struct node *n)
{
	return get_le32(n->buf + MH_ITEMS);
}

static inline uint8_t *slot_at(const struct node *n, uint32_t i)
{
	return n->buf + MH_BYTES + i * SLOT_BYTES;
}

static inline struct store_key key_at(const struct node *n, uint32_t i)
{
	const uint8_t *p = slot_at(n, i);

	return (struct store_key){.object = get_le64(p + SLOT_OBJECT),
	    .type = get_le32(p + SLOT_TYPE),
	    .offset = get_le64(p + SLOT_OFFSET)};
}

static inline void set_key(struct node *n, uint32_t i, const struct store_key *k)
{
	uint8_t *p = slot_at(n, i);

	put_le64(p + SLOT_OBJECT, k->object);
	put_le32(p + SLOT_TYPE, k->type);
	put_le64(p + SLOT_OFFSET, k->offset);
}

static inline uint32_t data_off(const struct node *n, uint32_t i)
{
	return get_le16(slot_at(n, i) + SLOT_DATA_OFF);
}

static inline uint32_t data_len(const struct node *n, uint32_t i)
{
	return get_le16(slot_at(n, i) + SLOT_DATA_LEN);
}

static inline uint8_t *data_at(const struct node *n, uint32_t i)
{
	return n->buf + data_off(n, i);
}

/* Where the data of the last item begin. */
static inline uint32_t data_low(const struct node *n)
{
	uint32_t items = node_items(n);

	return items ? data_off(n, items - 1) : STORE_BLOCK;
}

static inline uint32_t node_used(const struct node *n)
{
	return node_items(n) * SLOT_BYTES + STORE_BLOCK - data_low(n);
}

static inline bool node_fits(const struct node *n, uint32_t len)
{
	return node_used(n) + SLOT_BYTES + len <= NODE_ROOM;
}

static inline struct store_ptr ptr_at(const struct node *n, uint32_t i)
{
	const uint8_t *p = data_at(n, i);

	return (struct store_ptr){.block = get_le64(p + PTR_BLOCK),
	    .gen = get_le64(p + PTR_GENERATION),
	    .crc = get_le32(p + PTR_CRC)};
}

static inline void ptr_encode(uint8_t p[PTR_BYTES], const struct store_ptr *ptr)
{
	memset(p, 0, PTR_BYTES);
	put_le64(p + PTR_BLOCK, ptr->block);
	put_le64(p + PTR_GENERATION, ptr->gen);
	put_le32(p + PTR_CRC, ptr->crc);
}

/* The first item with a key >= k; the count if there is none. */
uint32_t node_lower(const struct node *n, const struct store_key *k);
/* Of an inner node: the child in whose range k lies. */
uint32_t node_child(const struct node *n, const struct store_key *k);
/* Puts an item at place i; the caller has seen that it fits. */
void item_insert(
    struct node *n, uint32_t i, const struct store_key *k, const void *data, uint32_t len);
void item_remove(struct node *n, uint32_t i);
/* Removes the items from place keep on. */
void items_cut(struct node *n, uint32_t keep);
/* Puts a copy of from's item fi at place ti. */
void item_copy(struct node *to, uint32_t ti, const struct node *from, uint32_t fi);
/*
 * What is wrong with the shape of a node just read from disk, or NULL: slots and data must lie
 * exactly as item_insert() lays them, keys ascend, pointers lead to where nodes may be.
 */
const char *node_fault(const struct store *s, const struct node *n, unsigned level);

#endif
