/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Repairs the checksums of a damaged store, leaves first: extents, objects, tree nodes, map
 * nodes, superblocks. It trusts the image as little as the store does.
 */
#include <stdlib.h>
#include <string.h>

#include "hv/lib/crc32c.h"
#include "hv/lib/cursor.h"
#include "tests/unit/fake/fake_store.h"

struct reseal {
	uint8_t *image;
	uint64_t nblocks;
	uint8_t *seen; /* per block: a node is sealed once */
	/* the object whose extents pass */
	uint64_t object;
	uint8_t *object_rec;
	uint32_t index_crc, content_crc;
	bool plain; /* all extents so far are stored as they are */
};

static uint8_t *block_at(struct reseal *r, uint64_t block)
{
	return block < r->nblocks ? r->image + block * STORE_BLOCK : NULL;
}

static uint32_t seal(uint8_t *p)
{
	uint32_t crc;

	put_le32(p + MH_CRC, 0);
	crc = crc32c(0, p, STORE_BLOCK);
	put_le32(p + MH_CRC, crc);
	return crc;
}

static void extent(struct reseal *r, uint64_t offset, uint8_t *p, uint32_t len)
{
	uint32_t nruns = get_le16(p + EX_NRUNS), crc = 0, left = get_le32(p + EX_RAW_LEN);
	uint8_t head[8 + EX_NRUNS];

	if (len != EX_RUNS + 8 * nruns)
		return;
	r->plain &= p[EX_ENCODING] == ENC_NONE;
	for (uint32_t i = 0; i < nruns; i++) {
		uint64_t run = get_le64(p + EX_RUNS + 8 * i);

		for (uint64_t b = run >> 16; b < (run >> 16) + (run & 0xffff); b++) {
			const uint8_t *data = block_at(r, b);
			uint32_t n = MIN(left, (uint32_t)STORE_BLOCK);

			if (!data)
				return;
			crc = crc32c(crc, data, STORE_BLOCK);
			r->content_crc = crc32c(r->content_crc, data, n);
			left -= n;
		}
	}
	put_le32(p + EX_CRC, crc);
	put_le64(head, offset);
	memcpy(head + 8, p, EX_NRUNS);
	r->index_crc = crc32c(r->index_crc, head, sizeof(head));
	if (r->object_rec) {
		put_le32(r->object_rec + OB_INDEX_CRC, r->index_crc);
		if (get_le32(r->object_rec + OB_KIND) == KIND_STATE && r->plain)
			put_le32(r->object_rec + OB_CONTENT_CRC, r->content_crc);
	}
}

static void leaf_item(struct reseal *r, const uint8_t *slot, uint8_t *data, uint32_t len)
{
	uint64_t object = get_le64(slot + SLOT_OBJECT);
	uint32_t type = get_le32(slot + SLOT_TYPE);

	if (object != r->object) {
		r->object = object;
		r->object_rec = NULL;
		r->index_crc = r->content_crc = 0;
		r->plain = true;
	}
	if (type == REC_OBJECT && len == OB_BYTES)
		r->object_rec = data;
	else if (type == REC_EXTENT && len >= EX_RUNS)
		extent(r, get_le64(slot + SLOT_OFFSET), data, len);
}

/*
 * Objects whose records lie in another leaf than their extents: the tree is walked twice, first
 * for the content, then for the seals.
 */
static uint32_t tree_node(struct reseal *r, uint64_t block, unsigned depth, bool seals)
{
	uint8_t *p = block_at(r, block);
	uint32_t items;

	if (!p || depth > STORE_TREE_LEVELS || r->seen[block])
		return p ? get_le32(p + MH_CRC) : 0;
	r->seen[block] = 1;
	items = MIN(get_le32(p + MH_ITEMS), (uint32_t)(NODE_ROOM / SLOT_BYTES));
	for (uint32_t i = 0; i < items; i++) {
		uint8_t *slot = p + MH_BYTES + i * SLOT_BYTES;
		uint32_t off = get_le16(slot + SLOT_DATA_OFF), len = get_le16(slot + SLOT_DATA_LEN);

		if (off + len > STORE_BLOCK)
			continue;
		if (get_le16(p + MH_LEVEL) == 0) {
			if (!seals)
				leaf_item(r, slot, p + off, len);
		} else if (len == PTR_BYTES) {
			uint32_t crc =
			    tree_node(r, get_le64(p + off + PTR_BLOCK), depth + 1, seals);

			if (seals)
				put_le32(p + off + PTR_CRC, crc);
		}
	}
	return seals ? seal(p) : 0;
}

/* Map nodes in a test's small store: one inner node over a few groups. */
static uint32_t map_root(struct reseal *r, uint32_t slot)
{
	uint8_t *root = block_at(r, STORE_HEAD_BLOCKS + 2 + (slot & 1));

	for (uint64_t g = 0; root && g < MAP_FANOUT; g++) {
		uint8_t *entry = root + MH_BYTES + g * MAP_ENTRY_BYTES;
		uint8_t *leaf = block_at(
		    r, STORE_HEAD_BLOCKS + g * MAP_LEAF_COUNTS + (get_le32(entry + MAP_SLOT) & 1));

		if (leaf && get_le64(entry + MAP_GEN))
			put_le32(entry + MAP_CRC, seal(leaf));
	}
	return root ? seal(root) : 0;
}

void fake_reseal(uint8_t *image, uint64_t nblocks)
{
	struct reseal r = {.image = image, .nblocks = nblocks};

	r.seen = calloc(nblocks, 1);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *sb = image + i * STORE_BLOCK;
		uint64_t root = get_le64(sb + SB_TREE_PTR + PTR_BLOCK);

		/* of the two, the older has been overtaken: it is sealed for its own sake only */
		memset(r.seen, 0, nblocks);
		r.object = 0;
		tree_node(&r, root, 0, false);
		memset(r.seen, 0, nblocks);
		put_le32(sb + SB_TREE_PTR + PTR_CRC, tree_node(&r, root, 0, true));
		put_le32(sb + SB_MAP_CRC, map_root(&r, get_le32(sb + SB_MAP_SLOT)));
		put_le32(sb + SB_CRC, crc32c(0, sb, SB_CRC));
	}
	free(r.seen);
}
