/* SPDX-License-Identifier: BSD-2-Clause */
/* The store's metadata blocks in memory, and their way from and to the disk. */
#include <string.h>

#include "hv/lib/crc32c.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/store_int.h"

void cache_init(struct store *s)
{
	for (unsigned i = 0; i < CACHE_BUCKETS; i++)
		list_init(&s->bucket[i]);
	list_init(&s->lru);
}

static struct list *bucket_of(struct store *s, uint64_t id)
{
	return &s->bucket[(id * 0x9e3779b97f4a7c15ULL) >> 56];
}

struct node *cache_peek(struct store *s, uint64_t id)
{
	struct list *head = bucket_of(s, id), *l;

	LIST_FOREACH(l, head)
	{
		struct node *n = LIST_ENTRY(l, struct node, hash);

		if (n->id == id)
			return n;
	}
	return NULL;
}

struct node *cache_find(struct store *s, uint64_t id)
{
	struct node *n = cache_peek(s, id);

	if (n) {
		list_remove(&n->lru);
		list_push_back(&s->lru, &n->lru);
	}
	return n;
}

struct node *cache_add(struct store *s, uint64_t id, unsigned level)
{
	struct node *n = heap_zalloc(sizeof(*n));

	if (!n)
		return NULL;
	n->buf = heap_zalloc(STORE_BLOCK);
	if (!n->buf) {
		heap_free(n);
		return NULL;
	}
	n->id = id;
	n->level = (uint8_t)level;
	list_push_back(bucket_of(s, id), &n->hash);
	list_push_back(&s->lru, &n->lru);
	s->nnodes++;
	return n;
}

void cache_drop(struct store *s, struct node *n)
{
	cache_set_clean(s, n);
	list_remove(&n->hash);
	list_remove(&n->lru);
	s->nnodes--;
	heap_free(n->buf);
	heap_free(n);
}

void cache_rename(struct store *s, struct node *n, uint64_t id)
{
	list_remove(&n->hash);
	n->id = id;
	list_push_back(bucket_of(s, id), &n->hash);
}

void cache_set_dirty(struct store *s, struct node *n)
{
	s->changed = true;
	if (n->dirty)
		return;
	n->dirty = true;
	s->ndirty++;
}

void cache_set_clean(struct store *s, struct node *n)
{
	heap_free(n->busy);
	n->busy = NULL;
	if (!n->dirty)
		return;
	n->dirty = false;
	s->ndirty--;
}

void cache_trim(struct store *s)
{
	struct list *l, *tmp;

	LIST_FOREACH_SAFE(l, tmp, &s->lru)
	{
		struct node *n = LIST_ENTRY(l, struct node, lru);

		if (s->nnodes - s->ndirty <= CACHE_CLEAN_MAX)
			return;
		if (!n->dirty && !n->pins)
			cache_drop(s, n);
	}
}

void cache_drop_clean(struct store *s)
{
	struct list *l, *tmp;

	LIST_FOREACH_SAFE(l, tmp, &s->lru)
	{
		struct node *n = LIST_ENTRY(l, struct node, lru);

		if (!n->dirty && !n->pins)
			cache_drop(s, n);
	}
}

void cache_free(struct store *s)
{
	while (!list_empty(&s->lru))
		cache_drop(s, LIST_ENTRY(s->lru.next, struct node, lru));
}

uint32_t block_crc(const uint8_t *buf)
{
	static const uint8_t zero[4];
	uint32_t crc = crc32c(0, buf, MH_CRC);

	crc = crc32c(crc, zero, sizeof(zero));
	return crc32c(crc, buf + MH_BYTES, STORE_BLOCK - MH_BYTES);
}

static const char *type_name(enum store_block_type type)
{
	return type == BLOCK_TREE ? "tree node" : "reference map";
}

int block_load(struct store *s, uint64_t block, enum store_block_type type, unsigned level,
    uint64_t index, uint64_t gen, uint32_t crc, uint8_t *buf, struct errmsg *e)
{
	const char *why = NULL;
	int err = store_read_blocks(s, block, buf, 1, e);

	if (err)
		return err;
	if (get_le32(buf + MH_CRC) != block_crc(buf))
		why = "checksum wrong";
	else if (get_le32(buf + MH_MAGIC) != MH_MAGIC_VALUE || memcmp(buf + MH_UUID, s->uuid, 16))
		why = "not a block of this store";
	else if (get_le64(buf + MH_BLOCK) != block)
		why = "written for another place";
	else if (get_le64(buf + MH_GENERATION) != gen || get_le32(buf + MH_CRC) != crc)
		why = "not the version that was committed";
	else if (get_le16(buf + MH_TYPE) != type || get_le16(buf + MH_LEVEL) != level ||
		 get_le64(buf + MH_INDEX) != index)
		why = "of the wrong kind";
	if (why)
		return err_set(e, ERR_CORRUPT, "store: %s at block %llu: %s", type_name(type),
		    (unsigned long long)block, why);
	return OK;
}

void block_header(struct store *s, uint8_t *buf, enum store_block_type type, unsigned level,
    uint64_t index, uint64_t block)
{
	put_le32(buf + MH_MAGIC, MH_MAGIC_VALUE);
	put_le16(buf + MH_TYPE, (uint16_t)type);
	put_le16(buf + MH_LEVEL, (uint16_t)level);
	put_le64(buf + MH_BLOCK, block);
	put_le64(buf + MH_GENERATION, s->txn_gen);
	memcpy(buf + MH_UUID, s->uuid, 16);
	put_le64(buf + MH_INDEX, index);
}

static int meta_wait_one(struct store *s, unsigned i, struct errmsg *e)
{
	if (!s->wr_busy[i])
		return OK;
	s->wr_busy[i] = false;
	return store_wait(s, &s->wr[i], e);
}

int meta_write(struct store *s, struct node *n, uint64_t block, struct errmsg *e)
{
	unsigned i = s->wr_next;
	int err = meta_wait_one(s, i, e);

	if (err)
		return err;
	n->crc = block_crc(n->buf);
	put_le32(n->buf + MH_CRC, n->crc);
	s->wr[i] = (struct store_req){.write = true, .block = block, .buf = n->buf, .nblocks = 1};
	s->wr_busy[i] = true;
	s->wr_next = (i + 1) % STORE_IO_DEPTH;
	store_submit(s, &s->wr[i]);
	return OK;
}

int meta_wait(struct store *s, struct errmsg *e)
{
	int err = OK;

	for (unsigned i = 0; i < STORE_IO_DEPTH; i++) {
		int one = meta_wait_one(s, i, err ? NULL : e);

		if (!err)
			err = one;
	}
	return err;
}
