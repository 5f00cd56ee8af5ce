/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hash table without chains: an entry lies in one of WINDOW places from that of its CRC on, and
 * whoever looks for it looks at all of them. An entry says which extent it is of; the rest is in
 * that extent's record. Object numbers are never given out twice and an extent's content never
 * changes, so an entry whose record has gone is simply dropped when it is met.
 */
#include "hv/snapshot/content_index.h"

#include "hv/mm/mm.h"
#include "hv/snapshot/store_int.h"

enum {
	CONTENT_MIN = 16 * 1024, /* shorter extents are hardly ever equal as a whole */
	WINDOW = 16,
	ALIKE_MAX = 4, /* entries of one CRC: copies, so that deleting one does not lose the rest */
	BITS_MIN = 10,
	BITS_MAX = 20, /* 16 MiB of entries */
};

struct entry {
	uint64_t object; /* 0: none */
	uint32_t page;	 /* the extent's offset / PAGE_SIZE */
	uint32_t crc;
};

struct content_index {
	unsigned bits; /* 2^bits places, and WINDOW - 1 more */
	uint32_t used;
	struct entry entry[];
};

static struct entry *window(struct content_index *ci, uint32_t crc)
{
	return &ci->entry[crc >> (32 - ci->bits)];
}

static bool worth_it(const struct store_extent *x)
{
	return x->raw_len >= CONTENT_MIN && x->encoding != ENC_ZERO;
}

void content_index_free(struct store *s)
{
	heap_free(s->contents);
	s->contents = NULL;
}

/* --- looking up ---------------------------------------------------------------------- */

/* The extent that the entry is of; drops an entry that has none any more. */
static bool entry_extent(struct store *s, struct entry *n, struct store_extent *x)
{
	uint64_t offset = (uint64_t)n->page * PAGE_SIZE;
	int err = store_extent_next(s, n->object, offset, x, NULL);

	if (err != ERR_NOENT && (err || x->offset == offset))
		return !err;
	n->object = 0;
	s->contents->used--;
	return false;
}

/* That what the object's extents name has been written, or (own) is known not to be. */
static bool may_read(struct store *s, uint64_t object, uint64_t own)
{
	struct store_object_info o;

	return object == own ||
	       (!store_object_get(s, object, &o, NULL) && (o.flags & OBJ_COMPLETE));
}

bool content_index_next(struct store *s, uint64_t own, const struct store_extent *x, unsigned *at,
    struct store_extent *found)
{
	struct entry *w;

	if (!s->contents || !worth_it(x))
		return false;
	w = window(s->contents, x->crc);
	while (*at < WINDOW) {
		struct entry *n = &w[(*at)++];

		if (n->object && n->crc == x->crc && entry_extent(s, n, found) &&
		    found->crc == x->crc && found->raw_len == x->raw_len &&
		    found->stored_len == x->stored_len && found->encoding == x->encoding &&
		    may_read(s, n->object, own))
			return true;
	}
	return false;
}

/* --- filling ------------------------------------------------------------------------- */

/*
 * Where the entry goes: in the place of the same object's entry of this CRC, or, if there are
 * enough of this CRC, of the last (the others are older, and one of them is left whichever end is
 * deleted first); else where nothing is, or in that of anything.
 */
static struct entry *place_for(struct content_index *ci, uint64_t object, uint32_t crc)
{
	struct entry *w = window(ci, crc), *empty = NULL, *alike = NULL;
	unsigned nalike = 0;

	for (unsigned i = 0; i < WINDOW; i++) {
		if (!w[i].object) {
			empty = empty ? empty : &w[i];
		} else if (w[i].crc == crc) {
			alike = &w[i];
			if (alike->object == object || ++nalike == ALIKE_MAX)
				return alike;
		}
	}
	return empty ? empty : alike ? alike : w;
}

void content_index_add(struct store *s, uint64_t object, const struct store_extent *x)
{
	struct entry *n;

	if (!s->contents || !worth_it(x) || x->offset % PAGE_SIZE ||
	    x->offset / PAGE_SIZE > UINT32_MAX)
		return;
	n = place_for(s->contents, object, x->crc);
	s->contents->used += n->object == 0;
	*n = (struct entry){object, (uint32_t)(x->offset / PAGE_SIZE), x->crc};
}

/* The first complete RAM object from *id on. ERR_NOENT: none. */
static int next_image(struct store *s, uint64_t *id, struct store_object_info *o)
{
	for (;;) {
		struct store_key key = {*id, REC_OBJECT, 0};
		const uint8_t *data;
		uint32_t len;
		int err;

		cache_trim(s);
		err = tree_seek(s, &key, &data, &len, NULL);
		if (err || key.object == UINT64_MAX)
			return err ? err : ERR_NOENT;
		if (key.type == REC_OBJECT && !object_decode(key.object, data, len, o, NULL) &&
		    o->kind == KIND_RAM && (o->flags & OBJ_COMPLETE)) {
			*id = key.object;
			return OK;
		}
		*id = key.object + 1;
	}
}

static void add_image(struct store *s, uint64_t id, uint64_t extents)
{
	struct store_extent x;
	uint64_t at = 0;

	while (extents-- && store_extent_next(s, id, at, &x, NULL) == OK) {
		content_index_add(s, id, &x);
		at = x.offset + x.raw_len;
	}
}

/* How many extents complete RAM objects say that they have, each no more than can be kept. */
static uint64_t count_extents(struct store *s)
{
	struct store_object_info o;
	uint64_t sum = 0;

	for (uint64_t id = OBJ_FIRST; next_image(s, &id, &o) == OK; id++)
		sum += MIN(o.extents, 1ULL << BITS_MAX);
	return sum;
}

/* It has room left, or as much as it may have. */
static bool will_do(const struct content_index *ci)
{
	return ci && (ci->bits == BITS_MAX || ci->used <= 1u << (ci->bits - 1));
}

void content_index_make(struct store *s)
{
	const uint64_t most = 3ULL << (BITS_MAX - 2); /* more would push each other out */
	struct store_object_info o;
	uint64_t sum, skip;
	unsigned bits = BITS_MIN;

	if (will_do(s->contents))
		return;
	content_index_free(s);
	sum = count_extents(s);
	skip = sum > most ? sum - most : 0;
	while (bits < BITS_MAX && 1ULL << bits < 4 * sum)
		bits++;
	s->contents = heap_zalloc(
	    sizeof(*s->contents) + ((1ULL << bits) + WINDOW - 1) * sizeof(struct entry));
	if (!s->contents)
		return;
	s->contents->bits = bits;
	for (uint64_t id = OBJ_FIRST; next_image(s, &id, &o) == OK; id++) {
		uint64_t n = MIN(o.extents, 1ULL << BITS_MAX);

		if (!skip)
			add_image(s, id, n);
		skip -= MIN(skip, n);
	}
}
