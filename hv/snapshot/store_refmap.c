/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The reference map: a 16-bit count for every block, in a radix tree of fixed shape.
 * Each node of it has two fixed places on disk and alternates between them, so that
 * changing the map needs no allocation: that is what makes allocation end. A node that
 * was never written is as formatting would have made it, so formatting writes none.
 *
 * A block may be taken if its count is zero now and was zero at the last commit, whose
 * blocks must stay whole until the next one.
 */
#include <string.h>

#include "hv/mm/mm.h"
#include "hv/snapshot/store_int.h"

static const uint64_t level_groups[MAP_LEVELS_MAX + 1] = {
    1,
    MAP_FANOUT,
    (uint64_t)MAP_FANOUT *MAP_FANOUT,
    (uint64_t)MAP_FANOUT *MAP_FANOUT *MAP_FANOUT,
    (uint64_t)MAP_FANOUT *MAP_FANOUT *MAP_FANOUT *MAP_FANOUT,
};

void map_geometry(struct store *s)
{
	uint64_t n = s->nblocks - STORE_HEAD_BLOCKS;

	s->ngroups = n / MAP_LEAF_COUNTS + (n % MAP_LEAF_COUNTS >= MAP_GROUP_MIN);
	s->map_level = 1;
	while (level_groups[s->map_level] < s->ngroups)
		s->map_level++;
}

uint64_t map_group_first(uint64_t group)
{
	return STORE_HEAD_BLOCKS + group * MAP_LEAF_COUNTS;
}

uint32_t map_group_blocks(const struct store *s, uint64_t group)
{
	return (uint32_t)MIN(s->nblocks - map_group_first(group), (uint64_t)MAP_LEAF_COUNTS);
}

uint32_t map_group_fixed(uint64_t group)
{
	uint32_t n = 2;

	for (unsigned l = 1; l <= MAP_LEVELS_MAX && group % level_groups[l] == 0; l++)
		n += 2;
	return n;
}

/* Multiples of m in [a, b). */
static uint64_t multiples(uint64_t a, uint64_t b, uint64_t m)
{
	return (b + m - 1) / m - (a + m - 1) / m;
}

/* Free blocks at formatting below the node: all but the map's own. */
static uint64_t initial_free(const struct store *s, unsigned level, uint64_t index)
{
	uint64_t a = index * level_groups[level], b = MIN(a + level_groups[level], s->ngroups);
	uint64_t n;

	if (a >= b)
		return 0;
	n = (b - a - 1) * MAP_LEAF_COUNTS + map_group_blocks(s, b - 1);
	for (unsigned l = 0; l <= MAP_LEVELS_MAX; l++)
		n -= 2 * multiples(a, b, level_groups[l]);
	return n;
}

uint64_t map_initial_free(const struct store *s)
{
	return initial_free(s, s->map_level, 0);
}

bool map_run_ok(const struct store *s, uint64_t block, uint64_t count)
{
	uint64_t group, first;

	if (count == 0 || block < STORE_HEAD_BLOCKS || !range_in(block, count, s->nblocks))
		return false;
	group = (block - STORE_HEAD_BLOCKS) / MAP_LEAF_COUNTS;
	first = map_group_first(group);
	/* within one group, behind its map nodes: so no allocator would cross either */
	return group < s->ngroups && block >= first + map_group_fixed(group) &&
	       block + count <= first + MAP_LEAF_COUNTS;
}

static uint64_t node_block(unsigned level, uint64_t index, unsigned slot)
{
	return map_group_first(index * level_groups[level]) + 2 * level + slot;
}

static uint8_t *entry_of(struct node *parent, uint64_t index)
{
	return parent->buf + MH_BYTES + (index % MAP_FANOUT) * MAP_ENTRY_BYTES;
}

static struct store_map_ptr entry_get(const uint8_t *p)
{
	return (struct store_map_ptr){
	    .gen = get_le64(p + MAP_GEN),
	    .free = get_le64(p + MAP_FREE),
	    .crc = get_le32(p + MAP_CRC),
	    .slot = get_le32(p + MAP_SLOT),
	};
}

static void entry_put(uint8_t *p, const struct store_map_ptr *m)
{
	put_le64(p + MAP_GEN, m->gen);
	put_le64(p + MAP_FREE, m->free);
	put_le32(p + MAP_CRC, m->crc);
	put_le32(p + MAP_SLOT, m->slot);
}

static uint8_t *count_at(struct node *leaf, uint32_t i)
{
	return leaf->buf + MH_BYTES + 2 * i;
}

/* The content of a node that was never written. */
static void node_initial(struct store *s, struct node *n, unsigned level, uint64_t index)
{
	if (level == 0) {
		for (uint32_t i = 0; i < map_group_fixed(index); i++)
			put_le16(count_at(n, i), 1);
		return;
	}
	for (uint64_t i = 0; i < MAP_FANOUT; i++) {
		uint64_t child = index * MAP_FANOUT + i;
		struct store_map_ptr m = {.free = initial_free(s, level - 1, child)};

		entry_put(entry_of(n, child), &m);
	}
}

/* What the node says is free below it; UINT64_MAX if it contradicts itself. */
static uint64_t node_free(struct store *s, struct node *n, unsigned level, uint64_t index)
{
	uint64_t sum = 0;

	if (level == 0) {
		uint32_t blocks = map_group_blocks(s, index);

		for (uint32_t i = 0; i < MAP_LEAF_COUNTS; i++) {
			uint16_t c = get_le16(count_at(n, i));

			if (i >= blocks			 ? c != 0
			    : i < map_group_fixed(index) ? c != 1
							 : c > MAP_COUNT_MAX)
				return UINT64_MAX;
			sum += i < blocks && c == 0;
		}
		return sum;
	}
	for (uint64_t i = 0; i < MAP_FANOUT; i++) {
		uint64_t child = index * MAP_FANOUT + i;
		struct store_map_ptr m = entry_get(entry_of(n, child));

		if (m.slot > 1 || m.gen > s->generation ||
		    m.free > initial_free(s, level - 1, child))
			return UINT64_MAX;
		sum += m.free;
	}
	return sum;
}

static int map_node(
    struct store *s, unsigned level, uint64_t index, struct node **out, struct errmsg *e);

static int map_ptr(
    struct store *s, unsigned level, uint64_t index, struct store_map_ptr *m, struct errmsg *e)
{
	struct node *parent;
	int err;

	if (level == s->map_level) {
		*m = s->map_root;
		return OK;
	}
	err = map_node(s, level + 1, index / MAP_FANOUT, &parent, e);
	if (!err)
		*m = entry_get(entry_of(parent, index));
	return err;
}

/* A node from the cache, from disk, or as formatted. Recursion ends at MAP_LEVELS_MAX. */
static int map_node(
    struct store *s, unsigned level, uint64_t index, struct node **out, struct errmsg *e)
{
	struct node *n = *out = cache_find(s, MAP_ID(level, index));
	struct store_map_ptr m;
	int err;

	if (n)
		return OK;
	err = map_ptr(s, level, index, &m, e);
	if (err)
		return err;
	n = cache_add(s, MAP_ID(level, index), level);
	if (!n)
		return err_set(e, ERR_NOMEM, "store: out of memory");
	if (m.gen == 0) {
		node_initial(s, n, level, index);
		n->slot = 1; /* the first copy goes to slot 0 */
	} else {
		err = block_load(s, node_block(level, index, m.slot),
		    level ? BLOCK_MAP_INNER : BLOCK_MAP_LEAF, level, index, m.gen, m.crc, n->buf,
		    e);
		n->slot = (uint8_t)m.slot;
	}
	n->gen = m.gen;
	n->crc = m.crc;
	if (!err && node_free(s, n, level, index) != m.free)
		err = err_set(e, ERR_CORRUPT, "store: reference map at block %llu: does not add up",
		    (unsigned long long)node_block(level, index, m.slot));
	if (err) {
		cache_drop(s, n);
		return err;
	}
	*out = n;
	return OK;
}

/* The leaf of a group with all nodes above it, ready to be changed. */
static int map_leaf_dirty(struct store *s, uint64_t group, struct node **out, struct errmsg *e)
{
	struct node *leaf, *n;
	uint64_t index = group;
	int err = map_node(s, 0, group, &leaf, e);

	if (err)
		return err;
	*out = leaf;
	if (leaf->dirty)
		return OK;
	leaf->busy = heap_zalloc(BITMAP_WORDS(MAP_LEAF_COUNTS) * 8);
	if (!leaf->busy)
		return err_set(e, ERR_NOMEM, "store: out of memory");
	for (uint32_t i = 0; i < MAP_LEAF_COUNTS; i++)
		if (get_le16(count_at(leaf, i)))
			bitmap_set(leaf->busy, i);
	for (unsigned l = 1; l <= s->map_level; l++) {
		index /= MAP_FANOUT;
		err = map_node(s, l, index, &n, e);
		if (err) {
			heap_free(leaf->busy);
			leaf->busy = NULL;
			return err;
		}
		cache_set_dirty(s, n);
	}
	cache_set_dirty(s, leaf);
	return OK;
}

/* Adds delta to the free counts above a dirty leaf: all of them are in the cache. */
static void map_account(struct store *s, uint64_t group, int64_t delta)
{
	uint64_t index = group;

	for (unsigned l = 1; l <= s->map_level; l++, index /= MAP_FANOUT) {
		struct node *n = cache_find(s, MAP_ID(l, index / MAP_FANOUT));
		uint8_t *p = entry_of(n, index) + MAP_FREE;

		put_le64(p, get_le64(p) + (uint64_t)delta);
	}
	s->map_root.free += (uint64_t)delta;
}

/* --- allocation ---------------------------------------------------------------------- */

/* The first group >= *group below this node with a free block; false if there is none. */
static int find_group(
    struct store *s, unsigned level, uint64_t index, uint64_t *group, bool *found, struct errmsg *e)
{
	uint64_t first = index * MAP_FANOUT;
	struct node *n;
	int err = map_node(s, level, index, &n, e);

	*found = false;
	for (uint64_t i = 0; !err && i < MAP_FANOUT && !*found; i++) {
		uint64_t child = first + i, end = (child + 1) * level_groups[level - 1];

		if (end <= *group || entry_get(entry_of(n, child)).free == 0)
			continue;
		if (level == 1) {
			*group = child;
			*found = true;
			return OK;
		}
		err = find_group(s, level - 1, child, group, found, e);
	}
	return err;
}

static bool takeable(struct node *leaf, uint32_t i)
{
	return get_le16(count_at(leaf, i)) == 0 && !(leaf->busy && bitmap_test(leaf->busy, i));
}

/* The first takeable run in the group at or behind start: its length, 0 if there is none. */
static uint32_t find_run(
    struct node *leaf, uint32_t start, uint32_t blocks, uint32_t want, uint32_t *at)
{
	uint32_t i = start, n = 0;

	while (i < blocks && !takeable(leaf, i))
		i++;
	*at = i;
	while (i < blocks && n < want && takeable(leaf, i)) {
		i++;
		n++;
	}
	return n;
}

/* No node of the tree lies in the blocks: if one does, the map lies. */
static int check_uncached(struct store *s, uint64_t block, uint32_t count, struct errmsg *e)
{
	for (uint32_t i = 0; i < count; i++) {
		struct node *n = cache_find(s, block + i);

		if (n)
			return err_set(e, ERR_CORRUPT,
			    "store: reference map: block %llu is in use and called free",
			    (unsigned long long)block + i);
	}
	return OK;
}

int map_alloc(struct store *s, uint64_t *goal, uint32_t want, uint64_t *block, uint32_t *got,
    struct errmsg *e)
{
	uint64_t start =
	    *goal >= STORE_HEAD_BLOCKS ? (*goal - STORE_HEAD_BLOCKS) / MAP_LEAF_COUNTS : 0;
	uint64_t group, visited = 0;
	uint32_t at, from;
	struct node *leaf;
	int err;

	if (start >= s->ngroups)
		start = 0;
	group = start;
	from = *goal > map_group_first(group) ? (uint32_t)(*goal - map_group_first(group)) : 0;
	while (map_available(s) && visited <= s->ngroups + 1) {
		uint64_t before = group;
		bool found;

		err = find_group(s, s->map_level, 0, &group, &found, e);
		if (err)
			return err;
		if (!found) { /* from the start again */
			visited += s->ngroups - MIN(before, s->ngroups);
			if (before == 0)
				break;
			group = 0;
			from = 0;
			continue;
		}
		if (group != before)
			from = 0;
		visited += group - before + 1;
		err = map_node(s, 0, group, &leaf, e);
		if (err)
			return err;
		*got = find_run(leaf, from, map_group_blocks(s, group), want, &at);
		from = 0;
		if (*got == 0) {
			group++;
			continue;
		}
		*block = map_group_first(group) + at;
		err = check_uncached(s, *block, *got, e);
		if (!err)
			err = map_leaf_dirty(s, group, &leaf, e);
		if (err)
			return err;
		for (uint32_t i = 0; i < *got; i++)
			put_le16(count_at(leaf, at + i), 1);
		map_account(s, group, -(int64_t)*got);
		*goal = *block + *got;
		return OK;
	}
	return err_set(e, ERR_NOSPACE, "store: full");
}

/* --- sharing ------------------------------------------------------------------------- */

int map_ref(struct store *s, uint64_t block, uint32_t count, struct errmsg *e)
{
	uint64_t group = (block - STORE_HEAD_BLOCKS) / MAP_LEAF_COUNTS;
	uint32_t at = (uint32_t)(block - map_group_first(group));
	struct node *leaf;
	int err = map_prepare_unref(s, block, count, e);

	if (err)
		return err;
	err = map_leaf_dirty(s, group, &leaf, e);
	if (err)
		return err;
	for (uint32_t i = at; i < at + count; i++)
		if (get_le16(count_at(leaf, i)) == MAP_COUNT_MAX)
			return err_set(e, ERR_FULL, "store: block %llu: too many references",
			    (unsigned long long)block + i - at);
	for (uint32_t i = at; i < at + count; i++)
		put_le16(count_at(leaf, i), (uint16_t)(get_le16(count_at(leaf, i)) + 1));
	return OK;
}

/* --- releasing ----------------------------------------------------------------------- */

int map_prepare_unref(struct store *s, uint64_t block, uint32_t count, struct errmsg *e)
{
	uint64_t group = (block - STORE_HEAD_BLOCKS) / MAP_LEAF_COUNTS;
	uint32_t at = (uint32_t)(block - map_group_first(group));
	struct node *leaf;
	int err;

	if (!map_run_ok(s, block, count))
		return err_set(e, ERR_CORRUPT, "store: blocks %llu to %llu: outside the store",
		    (unsigned long long)block, (unsigned long long)(block + count - 1));
	err = map_leaf_dirty(s, group, &leaf, e);
	for (uint32_t i = 0; !err && i < count; i++)
		if (get_le16(count_at(leaf, at + i)) == 0)
			err = err_set(e, ERR_CORRUPT,
			    "store: reference map: block %llu is in use and called free",
			    (unsigned long long)block + i);
	return err;
}

int map_unref(struct store *s, uint64_t block, uint32_t count, struct errmsg *e)
{
	uint64_t group = (block - STORE_HEAD_BLOCKS) / MAP_LEAF_COUNTS;
	uint32_t at = (uint32_t)(block - map_group_first(group));
	struct node *leaf;
	int64_t freed = 0;
	int err = map_prepare_unref(s, block, count, e);

	if (err)
		return err;
	err = map_leaf_dirty(s, group, &leaf, e);
	if (err)
		return err;
	for (uint32_t i = at; i < at + count; i++) {
		uint16_t c = get_le16(count_at(leaf, i));

		put_le16(count_at(leaf, i), (uint16_t)(c - 1));
		if (c > 1)
			continue;
		freed++;
		if (bitmap_test(leaf->busy, i))
			s->pending_free++;
	}
	map_account(s, group, freed);
	return OK;
}

int map_group(struct store *s, uint64_t group, const uint8_t **counts, struct errmsg *e)
{
	struct node *leaf;
	int err = map_node(s, 0, group, &leaf, e);

	if (!err)
		*counts = leaf->buf + MH_BYTES;
	return err;
}

/* --- commit -------------------------------------------------------------------------- */

static int flush_node(struct store *s, struct node *n, struct errmsg *e)
{
	uint64_t index = n->id & ~(BIT(63) | 0x7fULL << 56);
	unsigned slot = n->slot ^ 1u;
	uint64_t block = node_block(n->level, index, slot);
	struct store_map_ptr m;
	int err;

	block_header(
	    s, n->buf, n->level ? BLOCK_MAP_INNER : BLOCK_MAP_LEAF, n->level, index, block);
	err = meta_write(s, n, block, e);
	if (err)
		return err;
	if (n->level == s->map_level) {
		s->map_root.gen = s->txn_gen;
		s->map_root.crc = n->crc;
		s->map_root.slot = slot;
	} else {
		struct node *parent = cache_peek(s, MAP_ID(n->level + 1, index / MAP_FANOUT));
		uint8_t *p = entry_of(parent, index);

		m = (struct store_map_ptr){
		    .gen = s->txn_gen, .free = get_le64(p + MAP_FREE), .crc = n->crc, .slot = slot};
		entry_put(p, &m);
	}
	return OK;
}

/* Writes the dirty nodes, lower levels first, each into the slot that the last commit does not use.
 */
int map_flush(struct store *s, struct errmsg *e)
{
	for (unsigned level = 0; level <= s->map_level; level++) {
		struct list *l, *tmp;

		LIST_FOREACH_SAFE(l, tmp, &s->lru)
		{
			struct node *n = LIST_ENTRY(l, struct node, lru);
			int err;

			if (!n->dirty || !(n->id & BIT(63)) || n->level != level)
				continue;
			err = flush_node(s, n, e);
			if (err)
				return err;
		}
	}
	return OK;
}

void map_committed(struct store *s)
{
	struct list *l;

	LIST_FOREACH(l, &s->lru)
	{
		struct node *n = LIST_ENTRY(l, struct node, lru);

		if (n->dirty && (n->id & BIT(63))) {
			n->slot ^= 1;
			n->gen = s->txn_gen;
		}
		cache_set_clean(s, n);
	}
	s->pending_free = 0;
}

/* --- growing ------------------------------------------------------------------------- */

/* The inner nodes around a group, up to the root. */
static int load_edge(
    struct store *s, uint64_t group, struct node *edge[MAP_LEVELS_MAX + 1], struct errmsg *e)
{
	for (unsigned l = 1; l <= s->map_level; l++) {
		int err;

		group /= MAP_FANOUT;
		err = map_node(s, l, group, &edge[l], e);
		if (err)
			return err;
	}
	return OK;
}

/* Nodes with nothing in them for the levels from..map_level: their places are there. */
static int add_roots(
    struct store *s, unsigned from, struct node *edge[MAP_LEVELS_MAX + 1], struct errmsg *e)
{
	for (unsigned l = from; l <= s->map_level; l++) {
		edge[l] = cache_add(s, MAP_ID(l, 0), l);
		if (edge[l]) {
			edge[l]->slot = 1; /* the first copy goes to slot 0 */
			continue;
		}
		while (--l >= from)
			cache_drop(s, edge[l]);
		return err_set(e, ERR_NOMEM, "store: out of memory");
	}
	return OK;
}

/* Adds to (sign 1) or takes from (-1) all free counts around a group what formatting would have
 * made of the store's present size. */
static void account_size(
    struct store *s, uint64_t group, struct node *const *edge, unsigned root, int sign)
{
	for (unsigned l = 1; l <= root; l++) {
		group /= MAP_FANOUT;
		for (uint64_t i = 0; i < MAP_FANOUT; i++) {
			uint64_t child = group * MAP_FANOUT + i;
			uint8_t *p = entry_of(edge[l], child) + MAP_FREE;

			put_le64(p, get_le64(p) + (uint64_t)sign * initial_free(s, l - 1, child));
		}
	}
	s->map_root.free += (uint64_t)sign * initial_free(s, root, 0);
}

static void set_size(struct store *s, uint64_t nblocks)
{
	s->nblocks = nblocks;
	map_geometry(s);
}

/*
 * All that is told about blocks behind the old end is in the nodes around the last group: what
 * was never written is as formatting would have made it, and so it is in the larger store. Only
 * these nodes' figures change, and if they are not enough, the root becomes the first child of a
 * new one.
 */
int map_grow(struct store *s, uint64_t nblocks, struct errmsg *e)
{
	struct node *edge[MAP_LEVELS_MAX + 1] = {NULL};
	uint64_t old = s->nblocks, last = s->ngroups - 1;
	unsigned root = s->map_level;
	int err = load_edge(s, last, edge, e);

	if (err)
		return err;
	set_size(s, nblocks);
	err = add_roots(s, root + 1, edge, e);
	set_size(s, old);
	if (err)
		return err;
	account_size(s, last, edge, root, -1);
	set_size(s, nblocks);
	account_size(s, last, edge, root, 1);
	for (unsigned l = 1; l <= s->map_level; l++) {
		cache_set_dirty(s, edge[l]);
		if (l <= root)
			continue;
		node_initial(s, edge[l], l, 0);
		entry_put(entry_of(edge[l], 0), &s->map_root);
		s->map_root =
		    (struct store_map_ptr){.free = node_free(s, edge[l], l, 0), .slot = 1};
	}
	return OK;
}
