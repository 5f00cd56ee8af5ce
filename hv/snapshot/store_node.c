/* SPDX-License-Identifier: BSD-2-Clause */
/* Items of a tree node: finding, putting, removing; and whether a node read from disk is one. */
#include "hv/snapshot/store_node.h"

int key_cmp(const struct store_key *a, const struct store_key *b)
{
	if (a->object != b->object)
		return a->object < b->object ? -1 : 1;
	if (a->type != b->type)
		return a->type < b->type ? -1 : 1;
	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	return 0;
}

uint32_t node_lower(const struct node *n, const struct store_key *k)
{
	uint32_t lo = 0, hi = node_items(n);

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		struct store_key m = key_at(n, mid);

		if (key_cmp(&m, k) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

uint32_t node_child(const struct node *n, const struct store_key *k)
{
	uint32_t i = node_lower(n, k);

	if (i < node_items(n)) {
		struct store_key at = key_at(n, i);

		if (key_cmp(&at, k) == 0)
			return i;
	}
	return i ? i - 1 : 0;
}

/* Moves the data of items i.. by delta bytes (the room is there) and their offsets with them. */
static void shift_data(struct node *n, uint32_t i, int32_t delta)
{
	uint32_t items = node_items(n), low = data_low(n);
	uint32_t high = i ? data_off(n, i - 1) : STORE_BLOCK;

	memmove(n->buf + (int32_t)low + delta, n->buf + low, high - low);
	for (; i < items; i++)
		put_le16(
		    slot_at(n, i) + SLOT_DATA_OFF, (uint16_t)((int32_t)data_off(n, i) + delta));
}

void item_insert(
    struct node *n, uint32_t i, const struct store_key *k, const void *data, uint32_t len)
{
	uint32_t items = node_items(n);
	uint32_t off = (i ? data_off(n, i - 1) : STORE_BLOCK) - len;

	shift_data(n, i, -(int32_t)len);
	memmove(slot_at(n, i + 1), slot_at(n, i), (items - i) * SLOT_BYTES);
	memset(slot_at(n, i), 0, SLOT_BYTES);
	put_le32(n->buf + MH_ITEMS, items + 1);
	set_key(n, i, k);
	put_le16(slot_at(n, i) + SLOT_DATA_OFF, (uint16_t)off);
	put_le16(slot_at(n, i) + SLOT_DATA_LEN, (uint16_t)len);
	if (len)
		memcpy(n->buf + off, data, len);
}

static void clear_gap(struct node *n)
{
	uint32_t end = MH_BYTES + node_items(n) * SLOT_BYTES;

	memset(n->buf + end, 0, data_low(n) - end);
}

void item_remove(struct node *n, uint32_t i)
{
	uint32_t items = node_items(n);

	shift_data(n, i + 1, (int32_t)data_len(n, i));
	memmove(slot_at(n, i), slot_at(n, i + 1), (items - i - 1) * SLOT_BYTES);
	put_le32(n->buf + MH_ITEMS, items - 1);
	clear_gap(n);
}

void items_cut(struct node *n, uint32_t keep)
{
	put_le32(n->buf + MH_ITEMS, keep);
	clear_gap(n);
}

void item_copy(struct node *to, uint32_t ti, const struct node *from, uint32_t fi)
{
	struct store_key k = key_at(from, fi);

	item_insert(to, ti, &k, data_at(from, fi), data_len(from, fi));
}

const char *node_fault(const struct store *s, const struct node *n, unsigned level)
{
	uint32_t items = node_items(n), low = STORE_BLOCK;

	if (items > NODE_ROOM / SLOT_BYTES)
		return "too many items";
	for (uint32_t i = 0; i < items; i++) {
		struct store_key k = key_at(n, i);

		if (data_len(n, i) > NODE_ITEM_MAX || data_len(n, i) > low)
			return "an item is too long";
		low -= data_len(n, i);
		if (data_off(n, i) != low || low < MH_BYTES + items * SLOT_BYTES)
			return "items overlap";
		if (i) {
			struct store_key before = key_at(n, i - 1);

			if (key_cmp(&before, &k) >= 0)
				return "keys out of order";
		}
		if (level) {
			struct store_ptr p;

			if (data_len(n, i) != PTR_BYTES)
				return "a pointer has the wrong length";
			p = ptr_at(n, i);
			if (!map_run_ok(s, p.block, 1) || p.gen == 0 || p.gen > s->generation)
				return "a pointer leads outside";
		}
	}
	return NULL;
}
