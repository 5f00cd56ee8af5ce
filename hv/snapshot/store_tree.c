/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The store's copy-on-write B+tree. Changing an item moves the nodes on its path to
 * blocks of their own, once per transaction; each single step (move a node, split it,
 * put an item) leaves a whole tree, so that an error between two steps costs nothing.
 *
 * Every node's keys lie within the bounds that its parent's keys set, checked whenever
 * a node is reached: so no damaged tree can make a walk go round or down for ever, and
 * no block can be reached twice.
 */
#include <string.h>

#include "hv/snapshot/store_node.h"

static const struct store_key key_min = {0, 0, 0};

/* --- reaching nodes ------------------------------------------------------------------ */

/* A node on a path: where it was found and what its keys must keep to. */
struct place {
	struct node *n;
	uint32_t index;	     /* the item taken in it */
	struct store_key lo; /* keys >= lo */
	struct store_key hi; /* keys < hi, if has_hi */
	bool has_hi;
};

struct path {
	struct place at[STORE_TREE_LEVELS + 1]; /* at[0]: the root */
	unsigned depth;				/* of the leaf */
};

/* That the node's keys lie within what its place allows. */
static const char *place_fault(const struct place *p, unsigned level, bool is_root)
{
	uint32_t items = node_items(p->n);
	struct store_key first, last;

	if (items == 0) /* a leaf just split off is so until its item is put */
		return level == 0 && (is_root || p->n->dirty) ? NULL : "empty";
	first = key_at(p->n, 0);
	last = key_at(p->n, items - 1);
	if (key_cmp(&first, &p->lo) < 0 || (p->has_hi && key_cmp(&last, &p->hi) >= 0))
		return "keys outside the range of its place";
	return NULL;
}

/* Fills in place->n for the node that ptr names. */
static int reach(struct store *s, const struct store_ptr *ptr, unsigned level, bool is_root,
    struct place *place, struct errmsg *e)
{
	const char *why = NULL;
	struct node *n = cache_find(s, ptr->block);
	int err;

	if (n) {
		if (n->level != level || n->gen != ptr->gen || (!n->dirty && n->crc != ptr->crc))
			why = "reached twice";
	} else {
		n = cache_add(s, ptr->block, level);
		if (!n)
			return err_set(e, ERR_NOMEM, "store: out of memory");
		err =
		    block_load(s, ptr->block, BLOCK_TREE, level, 0, ptr->gen, ptr->crc, n->buf, e);
		n->gen = ptr->gen;
		n->crc = ptr->crc;
		if (!err)
			why = node_fault(s, n, level);
		if (err || why)
			cache_drop(s, n);
		if (err)
			return err;
	}
	place->n = n;
	if (!why)
		why = place_fault(place, level, is_root);
	if (why)
		return err_set(e, ERR_CORRUPT, "store: tree node at block %llu: %s",
		    (unsigned long long)ptr->block, why);
	return OK;
}

static int reach_root(struct store *s, struct place *p, struct errmsg *e)
{
	*p = (struct place){.lo = key_min};
	return reach(s, &s->root, s->root_level, true, p, e);
}

/*
 * The place of the child that parent->index names. The first child takes whatever
 * lies below its key down to the parent's own bound.
 */
static int reach_child(
    struct store *s, const struct place *parent, struct place *p, struct errmsg *e)
{
	struct store_ptr ptr = ptr_at(parent->n, parent->index);

	*p = (struct place){.lo = parent->index ? key_at(parent->n, parent->index) : parent->lo,
	    .hi = parent->hi,
	    .has_hi = parent->has_hi};
	if (parent->index + 1 < node_items(parent->n)) {
		p->hi = key_at(parent->n, parent->index + 1);
		p->has_hi = true;
	}
	return reach(s, &ptr, parent->n->level - 1u, false, p, e);
}

/* The path to the leaf in whose range k lies; at the leaf, index is lower(k). */
static int descend(struct store *s, const struct store_key *k, struct path *path, struct errmsg *e)
{
	int err = reach_root(s, &path->at[0], e);

	for (path->depth = 0; !err && path->at[path->depth].n->level; path->depth++) {
		struct place *p = &path->at[path->depth];

		p->index = node_child(p->n, k);
		err = reach_child(s, p, p + 1, e);
	}
	if (!err)
		path->at[path->depth].index = node_lower(path->at[path->depth].n, k);
	return err;
}

int tree_seek(
    struct store *s, struct store_key *key, const uint8_t **data, uint32_t *len, struct errmsg *e)
{
	for (;;) { /* the bound grows with each leaf, and ends at the last one */
		struct path path;
		struct place *leaf;
		int err = descend(s, key, &path, e);

		if (err)
			return err;
		leaf = &path.at[path.depth];
		if (leaf->index < node_items(leaf->n)) {
			*key = key_at(leaf->n, leaf->index);
			*data = data_at(leaf->n, leaf->index);
			*len = data_len(leaf->n, leaf->index);
			return OK;
		}
		if (!leaf->has_hi)
			return ERR_NOENT;
		*key = leaf->hi;
	}
}

int tree_get(struct store *s, const struct store_key *key, const uint8_t **data, uint32_t *len,
    struct errmsg *e)
{
	struct store_key k = *key;
	int err = tree_seek(s, &k, data, len, e);

	return !err && key_cmp(&k, key) != 0 ? ERR_NOENT : err;
}

int tree_find_hashed(struct store *s, struct store_key *key,
    int (*match)(void *ctx, const uint8_t *data, uint32_t len, struct errmsg *e), void *ctx,
    struct errmsg *e)
{
	const uint64_t end = key->offset | 0xff;
	struct store_key at = *key;
	const uint8_t *data;
	uint32_t len;
	int err;

	while ((err = tree_seek(s, &at, &data, &len, e)) == OK && at.object == key->object &&
	       at.type == key->type && at.offset <= end) {
		err = match(ctx, data, len, e);
		if (err != ERR_NOENT) {
			*key = at;
			return err;
		}
		if (at.offset == key->offset)
			key->offset++; /* the first that is free */
		if (at.offset++ == end)
			break;
	}
	if (err && err != ERR_NOENT)
		return err;
	return key->offset <= end && (key->offset & ~0xffULL) == (end & ~0xffULL)
		   ? ERR_NOENT
		   : err_set(e, ERR_FULL, "store: too many records of one hash");
}

/* --- copy on write ------------------------------------------------------------------- */

static int block_alloc(struct store *s, uint64_t *block, struct errmsg *e)
{
	uint32_t got;
	int err = map_alloc(s, &s->meta_goal, 1, block, &got, e);

	if (!err)
		s->txn_allocs++;
	return err;
}

static int node_new(struct store *s, unsigned level, struct node **out, struct errmsg *e)
{
	uint64_t block;
	int err = block_alloc(s, &block, e);

	if (err)
		return err;
	*out = cache_add(s, block, level);
	if (!*out) {
		(void)map_unref(s, block, 1, NULL);
		return err_set(e, ERR_NOMEM, "store: out of memory");
	}
	block_header(s, (*out)->buf, BLOCK_TREE, level, 0, block);
	(*out)->gen = s->txn_gen;
	cache_set_dirty(s, *out);
	return OK;
}

/* Gives the node's block back and forgets it. */
static int node_free(struct store *s, struct node *n, struct errmsg *e)
{
	int err = map_unref(s, n->id, 1, e);

	if (!err)
		cache_drop(s, n);
	return err;
}

/* Makes sure that the node belongs to this transaction; its parent (NULL: it is the root) does. */
static int node_own(struct store *s, const struct place *parent, struct node *n, struct errmsg *e)
{
	struct store_ptr ptr = {.gen = s->txn_gen};
	uint64_t old = n->id;
	int err;

	if (n->dirty)
		return OK;
	err = map_prepare_unref(s, old, 1, e);
	if (!err)
		err = block_alloc(s, &ptr.block, e);
	if (!err)
		err = map_unref(s, old, 1, e);
	if (err)
		return err;
	cache_rename(s, n, ptr.block);
	n->gen = s->txn_gen;
	block_header(s, n->buf, BLOCK_TREE, n->level, 0, ptr.block);
	cache_set_dirty(s, n);
	if (parent)
		ptr_encode(data_at(parent->n, parent->index), &ptr);
	else
		s->root = ptr;
	return OK;
}

/* descend() with every node of the path made this transaction's own. */
static int descend_own(
    struct store *s, const struct store_key *k, struct path *path, struct errmsg *e)
{
	int err = descend(s, k, path, e);

	for (unsigned d = 0; !err && d <= path->depth; d++)
		err = node_own(s, d ? &path->at[d - 1] : NULL, path->at[d].n, e);
	return err;
}

/* --- insertion ----------------------------------------------------------------------- */

/*
 * How many items stay in the left half when an item of len bytes is to go to place at:
 * the most even of the divisions in which everything fits; at == count goes right.
 * Keys that arrive in ascending order leave full nodes behind.
 */
static uint32_t split_point(const struct node *n, uint32_t at, uint32_t len)
{
	uint32_t items = node_items(n), left = 0, best = items, best_gap = UINT32_MAX;
	uint32_t all = node_used(n), mine = SLOT_BYTES + len;

	if (at == items)
		return items;
	for (uint32_t k = 0; k <= items; k++) {
		uint32_t l = left + (at < k ? mine : 0), r = all - left + (at < k ? 0 : mine);
		uint32_t gap = l > r ? l - r : r - l;

		if (l <= NODE_ROOM && r <= NODE_ROOM && gap < best_gap) {
			best = k;
			best_gap = gap;
		}
		if (k < items)
			left += SLOT_BYTES + data_len(n, k);
	}
	return best;
}

/*
 * Divides the node at parent->index: items from 'keep' on go to a new right sibling, whose
 * range begins with its first key, or with sep (if not NULL), which is to come before that.
 * The parent has room for one more pointer.
 */
static int split(struct store *s, struct place *parent, struct node *n, uint32_t keep,
    const struct store_key *sep, struct errmsg *e)
{
	uint32_t items = node_items(n);
	struct store_ptr ptr = {.gen = s->txn_gen};
	struct store_key first = sep ? *sep : key_at(n, keep);
	uint8_t raw[PTR_BYTES];
	struct node *right;
	int err = node_new(s, n->level, &right, e);

	if (err)
		return err;
	for (uint32_t i = keep; i < items; i++)
		item_copy(right, i - keep, n, i);
	items_cut(n, keep);
	ptr.block = right->id;
	ptr_encode(raw, &ptr);
	item_insert(parent->n, parent->index + 1, &first, raw, PTR_BYTES);
	return OK;
}

/* A new root above the old one, which is thereby a child that can be divided. */
static int grow_root(struct store *s, struct errmsg *e)
{
	uint8_t raw[PTR_BYTES];
	struct node *root;
	int err;

	if (s->root_level == STORE_TREE_LEVELS - 1)
		return err_set(e, ERR_FULL, "store: tree too deep");
	err = node_new(s, s->root_level + 1, &root, e);
	if (err)
		return err;
	ptr_encode(raw, &s->root);
	item_insert(root, 0, &key_min, raw, PTR_BYTES);
	s->root = (struct store_ptr){.block = root->id, .gen = s->txn_gen};
	s->root_level++;
	return OK;
}

/*
 * Divides the topmost node on the path that is too full to take what may come from below.
 * *done if there was none. Each division makes one more node fit, so it is called a few times.
 */
static int make_room(struct store *s, struct path *path, const struct store_key *key, uint32_t len,
    bool *done, struct errmsg *e)
{
	*done = false;
	for (unsigned d = 0; d <= path->depth; d++) {
		struct place *p = &path->at[d];
		bool leaf = d == path->depth;
		uint32_t need = leaf ? len : PTR_BYTES, at = leaf ? p->index : p->index + 1, keep;

		if (node_fits(p->n, need))
			continue;
		if (d == 0)
			return grow_root(s, e);
		keep = split_point(p->n, at, need);
		if (!leaf && keep == node_items(p->n))
			keep--; /* an inner node is never empty */
		return split(s, &path->at[d - 1], p->n, keep, leaf && keep == at ? key : NULL, e);
	}
	*done = true;
	return OK;
}

/* The leaf that the key goes to, this transaction's own and with room for it. */
static int leaf_for(
    struct store *s, const struct store_key *key, uint32_t len, struct place *out, struct errmsg *e)
{
	struct path path;
	bool done = false;
	int err;

	do {
		err = descend_own(s, key, &path, e);
		if (err)
			return err;
		*out = path.at[path.depth];
		if (out->index < node_items(out->n)) {
			struct store_key at = key_at(out->n, out->index);

			if (key_cmp(&at, key) == 0)
				return ERR_EXIST;
		}
		err = make_room(s, &path, key, len, &done, e);
	} while (!err && !done);
	return err;
}

int tree_insert(
    struct store *s, const struct store_key *key, const void *data, uint32_t len, struct errmsg *e)
{
	struct place leaf;
	int err;

	if (len > NODE_ITEM_MAX)
		return err_set(e, ERR_RANGE, "store: record of %u bytes is too long", len);
	err = leaf_for(s, key, len, &leaf, e);
	if (!err)
		item_insert(leaf.n, leaf.index, key, data, len);
	return err;
}

int tree_update(
    struct store *s, const struct store_key *key, const void *data, uint32_t len, struct errmsg *e)
{
	struct path path;
	struct place *leaf;
	struct store_key at;
	int err = descend_own(s, key, &path, e);

	if (err)
		return err;
	leaf = &path.at[path.depth];
	if (leaf->index == node_items(leaf->n))
		return ERR_NOENT;
	at = key_at(leaf->n, leaf->index);
	if (key_cmp(&at, key) != 0)
		return ERR_NOENT;
	if (data_len(leaf->n, leaf->index) != len)
		return err_set(e, ERR_INVAL, "store: record changes its length");
	memcpy(data_at(leaf->n, leaf->index), data, len);
	return OK;
}

/* --- deletion ------------------------------------------------------------------------ */

/*
 * Joins the thin node at parent->index with a neighbour if both fit in one. Failing to read or
 * to move the neighbour is no reason to fail the deletion: then the node stays thin.
 */
static void try_join(struct store *s, struct place *parent)
{
	struct place l = *parent, left, right;

	if (node_items(parent->n) < 2)
		return;
	if (l.index + 1 == node_items(parent->n))
		l.index--;
	if (reach_child(s, &l, &left, NULL))
		return;
	l.index++;
	if (reach_child(s, &l, &right, NULL))
		return;
	if (node_used(left.n) + node_used(right.n) > NODE_ROOM - NODE_ROOM / 8)
		return;
	l.index--;
	if (node_own(s, &l, left.n, NULL) || map_prepare_unref(s, right.n->id, 1, NULL))
		return;
	for (uint32_t i = 0, n = node_items(left.n); i < node_items(right.n); i++)
		item_copy(left.n, n + i, right.n, i);
	if (left.n
		->level) { /* what was a first child has a left neighbour now: its range is exact */
		struct store_key k = key_at(parent->n, l.index + 1);

		set_key(left.n, node_items(left.n) - node_items(right.n), &k);
	}
	item_remove(parent->n, l.index + 1);
	if (node_free(s, right.n, NULL))
		s->dead = true;
}

/* Inner nodes at the top with a single child give way to it; one with none becomes a leaf. */
static int shrink_root(struct store *s, struct errmsg *e)
{
	while (s->root_level) {
		struct node *root = cache_find(s, s->root.block);
		struct store_ptr child;
		int err;

		if (!root || !root->dirty || node_items(root) > 1)
			return OK;
		if (node_items(root) == 0) {
			root->level = 0;
			block_header(s, root->buf, BLOCK_TREE, 0, 0, root->id);
			s->root_level = 0;
			return OK;
		}
		child = ptr_at(root, 0);
		err = node_free(s, root, e);
		if (err)
			return err;
		s->root = child;
		s->root_level--;
	}
	return OK;
}

int tree_delete(struct store *s, const struct store_key *key, struct errmsg *e)
{
	struct path path;
	struct place *p;
	struct store_key at;
	int err = descend_own(s, key, &path, e);

	if (err)
		return err;
	p = &path.at[path.depth];
	if (p->index == node_items(p->n))
		return ERR_NOENT;
	at = key_at(p->n, p->index);
	if (key_cmp(&at, key) != 0)
		return ERR_NOENT;
	item_remove(p->n, p->index);
	for (unsigned d = path.depth; d > 0; d--) {
		struct place *parent = &path.at[d - 1];
		struct node *n = path.at[d].n;

		if (node_items(n) == 0) {
			err = node_free(s, n, e);
			if (err) {
				s->dead = true;
				return err;
			}
			item_remove(parent->n, parent->index);
		} else if (node_used(n) < NODE_ROOM / 4) {
			try_join(s, parent);
		}
	}
	err = shrink_root(s, e);
	if (err)
		s->dead = true;
	return err;
}

/* --- creation, commit, walking ------------------------------------------------------- */

int tree_create(struct store *s, struct errmsg *e)
{
	struct node *root;
	int err = node_new(s, 0, &root, e);

	if (!err)
		s->root = (struct store_ptr){.block = root->id, .gen = s->txn_gen};
	return err;
}

/* Children before parents, since a pointer carries the child's CRC. Depth: the tree's level. */
static int flush_node(struct store *s, struct node *n, struct errmsg *e)
{
	int err;

	for (uint32_t i = 0; n->level && i < node_items(n); i++) {
		struct store_ptr ptr = ptr_at(n, i);
		struct node *child;

		if (ptr.gen != s->txn_gen)
			continue;
		child = cache_peek(s, ptr.block);
		err = flush_node(s, child, e);
		if (err)
			return err;
		ptr.crc = child->crc;
		ptr_encode(data_at(n, i), &ptr);
	}
	return meta_write(s, n, n->id, e);
}

int tree_flush(struct store *s, struct errmsg *e)
{
	struct node *root;
	int err;

	if (s->root.gen != s->txn_gen)
		return OK;
	root = cache_peek(s, s->root.block);
	err = flush_node(s, root, e);
	s->root.crc = root->crc;
	return err;
}

static int walk_node(
    struct store *s, struct place *p, const struct tree_visitor *v, struct errmsg *e)
{
	int err = v->node ? v->node(v->ctx, p->n->id, e) : OK;

	p->n->pins++;
	for (p->index = 0; !err && p->index < node_items(p->n); p->index++) {
		if (p->n->level) {
			struct place child;

			err = reach_child(s, p, &child, e);
			if (!err)
				err = walk_node(s, &child, v, e);
		} else if (v->item) {
			struct store_key k = key_at(p->n, p->index);

			err = v->item(
			    v->ctx, &k, data_at(p->n, p->index), data_len(p->n, p->index), e);
		}
	}
	p->n->pins--;
	cache_trim(s);
	return err;
}

int tree_walk(struct store *s, const struct tree_visitor *v, struct errmsg *e)
{
	struct place root;
	int err = reach_root(s, &root, e);

	return err ? err : walk_node(s, &root, v, e);
}
