/* SPDX-License-Identifier: BSD-2-Clause */
/* Who is whose parent: for lists that people and programs read. */
#include "hv/snapshot/snap_tree.h"

#include <string.h>

#include "hv/mm/mm.h"

static void add(void *ctx, const struct snap_info *info, const struct errmsg *why)
{
	static const uint8_t none[16];
	struct snap_tree *t = ctx;

	if (!info) {
		if (t->ndamaged++ == 0)
			t->damaged = *why;
		return;
	}
	if (t->n == t->cap) {
		size_t more = t->cap ? t->cap * 2 : 16;
		void *p = heap_grow(t->entry, t->cap * sizeof(*t->entry), more * sizeof(*t->entry));

		if (!p) {
			t->no_memory = true;
			return;
		}
		t->entry = p;
		t->cap = more;
	}
	t->entry[t->n++] = (struct snap_entry){.info = *info,
	    .parent = SNAP_NO_PARENT,
	    .based = memcmp(info->parent, none, sizeof(none)) != 0};
}

/*
 * By the RAM that it is based on; if that is of a snapshot which was deleted, flattened or
 * replaced, by the id that was noted, of which there may be copies: then it is the oldest.
 */
static size_t find_parent(struct store *s, const struct snap_tree *t, size_t child)
{
	const struct snap_info *i = &t->entry[child].info;
	struct store_object_info o = {.parent = 0};
	size_t found = SNAP_NO_PARENT;
	struct errmsg e;

	if (store_object_get(s, i->ram_object, &o, &e))
		o.parent = 0;
	for (size_t k = t->n; k-- > 0;) {
		const struct snap_info *p = &t->entry[k].info;

		if (k != child && o.parent && p->ram_object == o.parent)
			return k;
		if (k != child && memcmp(p->id, i->parent, 16) == 0)
			found = k;
	}
	return found;
}

int snap_tree_get(struct store *s, struct snap_tree *t, struct errmsg *e)
{
	int err;

	*t = (struct snap_tree){.n = 0};
	err = snap_list(s, add, t, e);
	if (!err && t->no_memory)
		err = err_set(e, ERR_NOMEM, "out of memory");
	for (size_t i = 0; !err && i < t->n; i++)
		if (t->entry[i].based)
			t->entry[i].parent = find_parent(s, t, i);
	return err;
}

void snap_tree_free(struct snap_tree *t)
{
	heap_free(t->entry);
	*t = (struct snap_tree){.n = 0};
}

/* A root and all below it that were not visited. No recursion: records say how deep it goes. */
static void walk_from(struct snap_tree *t, size_t at,
    void (*fn)(void *ctx, const struct snap_entry *x, unsigned depth), void *ctx)
{
	unsigned depth = 0;

	for (;;) {
		struct snap_entry *x = &t->entry[at];
		size_t child = 0;

		if (!x->visited)
			fn(ctx, x, depth);
		x->visited = true;
		while (child < t->n && (t->entry[child].parent != at || t->entry[child].visited))
			child++;
		if (child < t->n) {
			at = child;
			depth++;
		} else if (depth-- == 0) {
			return;
		} else {
			at = x->parent;
		}
	}
}

void snap_tree_walk(struct snap_tree *t,
    void (*fn)(void *ctx, const struct snap_entry *x, unsigned depth), void *ctx)
{
	for (size_t i = 0; i < t->n; i++)
		t->entry[i].visited = false;
	for (size_t i = 0; i < t->n; i++)
		if (t->entry[i].parent == SNAP_NO_PARENT)
			walk_from(t, i, fn, ctx);
	for (size_t i = 0; i < t->n; i++) /* ids that lead round in a circle */
		if (!t->entry[i].visited)
			walk_from(t, i, fn, ctx);
}
