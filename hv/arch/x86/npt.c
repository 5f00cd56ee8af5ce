/* SPDX-License-Identifier: BSD-2-Clause */
/* Nested page tables: building, looking up, taking down. */
#include "hv/arch/x86/npt.h"

#include <string.h>
#include "hv/mm/mm.h"

#define LEVELS	  4
#define ENTRIES	  512
#define ADDR_MASK 0x000ffffffffff000ULL

static unsigned level_shift(unsigned level)
{
	return PAGE_SHIFT + 9 * (level - 1);
}

static uint64_t *table_at(uint64_t entry_or_root)
{
	return phys_to_virt(hpa(entry_or_root & ADDR_MASK));
}

static hpa_t table_new(struct npt *n)
{
	hpa_t t = frames_alloc(0);

	if (t.a) {
		memset(phys_to_virt(t), 0, PAGE_SIZE);
		n->tables++;
	}
	return t;
}

int npt_init(struct npt *n, const struct npt_format *fmt)
{
	*n = (struct npt){.fmt = fmt};
	n->root = table_new(n);
	return n->root.a ? OK : ERR_NOMEM;
}

/* Depth is at most four by construction: level only falls. */
static void free_tables(struct npt *n, uint64_t *table, unsigned level)
{
	for (unsigned i = 0; level > 1 && i < ENTRIES; i++) {
		uint64_t e = table[i];

		if (!(e & n->fmt->present) || (e & n->fmt->large))
			continue;
		free_tables(n, table_at(e), level - 1);
		frames_free(hpa(e & ADDR_MASK), 0);
		n->tables--;
	}
}

void npt_destroy(struct npt *n)
{
	if (!n->root.a)
		return;
	free_tables(n, table_at(n->root.a), LEVELS);
	frames_free(n->root, 0);
	n->root = hpa(0);
}

void npt_clear(struct npt *n)
{
	free_tables(n, table_at(n->root.a), LEVELS);
	memset(table_at(n->root.a), 0, PAGE_SIZE);
}

static uint64_t leaf_entry(const struct npt_format *f, hpa_t h, unsigned perm, unsigned level)
{
	return h.a | f->leaf | (perm & NPT_W ? f->may_write : 0) |
	       ((perm & (NPT_W | NPT_TRACKED)) == NPT_W ? f->write : 0) |
	       (perm & NPT_X ? f->exec : f->no_exec) | (level > 1 ? f->large : 0);
}

static int map_one(struct npt *n, gpa_t g, hpa_t h, unsigned perm, unsigned level)
{
	uint64_t *table = table_at(n->root.a);

	for (unsigned l = LEVELS; l > level; l--) {
		uint64_t *e = &table[g.a >> level_shift(l) & (ENTRIES - 1)];

		if (!(*e & n->fmt->present)) {
			hpa_t t = table_new(n);

			if (!t.a)
				return ERR_NOMEM;
			*e = t.a | n->fmt->table;
		} else if (*e & n->fmt->large) {
			return ERR_EXIST;
		}
		table = table_at(*e);
	}
	table += g.a >> level_shift(level) & (ENTRIES - 1);
	if (*table & n->fmt->present)
		return ERR_EXIST;
	*table = leaf_entry(n->fmt, h, perm, level);
	return OK;
}

int npt_map(struct npt *n, gpa_t g, hpa_t h, uint64_t size, unsigned perm)
{
	while (size) {
		unsigned level = MIN(n->fmt->max_level, 3U);
		uint64_t step;
		int err;

		while (level > 1 && (((g.a | h.a) & (BIT(level_shift(level)) - 1)) ||
					size < BIT(level_shift(level))))
			level--;
		step = BIT(level_shift(level));
		err = map_one(n, g, h, perm, level);
		if (err)
			return err;
		g.a += step;
		h.a += step;
		size -= MIN(size, step);
	}
	return OK;
}

/* The entry of the leaf that covers g, and its level; NULL if nothing is mapped. */
static uint64_t *find_leaf(const struct npt *n, gpa_t g, unsigned *level)
{
	uint64_t *table = table_at(n->root.a);

	if (g.a >> level_shift(LEVELS + 1))
		return NULL;
	for (unsigned l = LEVELS; l >= 1; l--) {
		uint64_t *e = &table[g.a >> level_shift(l) & (ENTRIES - 1)];

		*level = l;
		if (!(*e & n->fmt->present))
			return NULL;
		if (l == 1 || (*e & n->fmt->large))
			return e;
		table = table_at(*e);
	}
	return NULL;
}

void npt_unmap(struct npt *n, gpa_t g, uint64_t size)
{
	uint64_t end = g.a + size;

	while (g.a < end) {
		unsigned level = LEVELS;
		uint64_t *e = find_leaf(n, g, &level);

		if (e)
			*e = 0;
		/* an absent entry of a high level is skipped as a whole */
		g.a = ALIGN_DOWN(g.a, BIT(level_shift(level))) + BIT(level_shift(level));
	}
}

static bool path_writable(const struct npt *n, gpa_t g, unsigned leaf_level)
{
	const uint64_t *table = table_at(n->root.a);

	for (unsigned l = LEVELS; l > leaf_level; l--) {
		uint64_t e = table[g.a >> level_shift(l) & (ENTRIES - 1)];

		if (!(e & n->fmt->write))
			return false;
		table = table_at(e);
	}
	return true;
}

bool npt_lookup(const struct npt *n, gpa_t g, hpa_t *h, unsigned *perm, uint64_t *leaf_size)
{
	unsigned level;
	uint64_t *e = find_leaf(n, g, &level), size;

	if (!e)
		return false;
	size = BIT(level_shift(level));
	*h = hpa((*e & ADDR_MASK & ~(size - 1)) | (g.a & (size - 1)));
	*perm = NPT_R | ((*e & n->fmt->write) && path_writable(n, g, level) ? NPT_W : 0) |
		((*e & n->fmt->no_exec) || (*e & n->fmt->exec) != n->fmt->exec ? 0 : NPT_X);
	*leaf_size = size;
	return true;
}

/* --- watching writes ------------------------------------------------------------------ */

/* Other CPUs' walkers set accessed and dirty bits meanwhile: entries change atomically. */
static void set_bits(uint64_t *e, uint64_t bits)
{
	__atomic_fetch_or(e, bits, __ATOMIC_SEQ_CST);
}

static void clear_bits(uint64_t *e, uint64_t bits)
{
	__atomic_fetch_and(e, ~bits, __ATOMIC_SEQ_CST);
}

/* Tables whose entries have no write permission yet all have it by right. */
static void protect_table(const struct npt *n, uint64_t *table)
{
	for (unsigned i = 0; i < ENTRIES; i++)
		if (table[i] & n->fmt->write)
			clear_bits(&table[i], n->fmt->write);
}

void npt_protect(struct npt *n)
{
	protect_table(n, table_at(n->root.a));
}

/* A table of smaller leaves in the large one's place, none of which can be written yet, nor was. */
static int split(struct npt *n, uint64_t *e, unsigned level)
{
	uint64_t old = *e, step = BIT(level_shift(level - 1));
	uint64_t drop = n->fmt->large | n->fmt->write | n->fmt->accessed | n->fmt->dirty;
	uint64_t flags = old & ~ADDR_MASK & ~drop;
	uint64_t base = old & ADDR_MASK & ~(BIT(level_shift(level)) - 1);
	hpa_t t = table_new(n);
	uint64_t *table;

	if (!t.a)
		return ERR_NOMEM;
	table = table_at(t.a);
	for (unsigned i = 0; i < ENTRIES; i++)
		table[i] = (base + i * step) | flags | (level > 2 ? n->fmt->large : 0);
	__atomic_store_n(e, t.a | n->fmt->table, __ATOMIC_RELEASE);
	return OK;
}

/* Opens one entry on the way to a leaf: below it nothing is writable until it is opened too. */
static int open_step(struct npt *n, uint64_t *e, unsigned level)
{
	if (*e & n->fmt->large)
		return split(n, e, level);
	if (!(*e & n->fmt->write)) {
		protect_table(n, table_at(*e));
		set_bits(e, n->fmt->write);
	}
	return OK;
}

int npt_open(struct npt *n, gpa_t g, uint64_t size)
{
	uint64_t *table = table_at(n->root.a);

	for (unsigned l = LEVELS; l > 1; l--) {
		uint64_t *e = &table[g.a >> level_shift(l) & (ENTRIES - 1)];
		int err;

		if (!(*e & n->fmt->present))
			return OK;
		if ((*e & n->fmt->large) && (!(*e & n->fmt->may_write) || (*e & n->fmt->write)))
			return OK; /* never, or already */
		err = open_step(n, e, l);
		if (err)
			return err;
		table = table_at(*e);
	}
	for (uint64_t a = g.a; a < g.a + size; a += PAGE_SIZE) {
		uint64_t *e = &table[a >> PAGE_SHIFT & (ENTRIES - 1)];

		if (*e & n->fmt->may_write)
			set_bits(e, n->fmt->write);
	}
	return OK;
}

uint32_t npt_take_dirty(struct npt *n, gpa_t g, unsigned count)
{
	uint64_t dirty = n->fmt->dirty;
	uint32_t mask = 0, all = (uint32_t)(BIT(count) - 1);
	unsigned level;
	uint64_t *e = find_leaf(n, g, &level);

	if (!dirty)
		return all;
	if (!e)
		return 0;
	if (level > 1)
		return *e & dirty ? all : 0;
	for (unsigned i = 0; i < count; i++)
		if (e[i] & dirty) {
			mask |= 1U << i;
			clear_bits(&e[i], dirty);
		}
	return mask;
}

/* Pieces of 64 KiB in a table of leaves of 4 KiB. */
static uint32_t take_table(const struct npt *n, uint64_t *table)
{
	const unsigned pages = SIZE_2M / PAGE_SIZE / 32;
	uint32_t mask = 0;

	for (unsigned i = 0; i < ENTRIES; i++)
		if (table[i] & n->fmt->accessed) {
			mask |= 1U << (i / pages);
			clear_bits(&table[i], n->fmt->accessed);
		}
	return mask;
}

uint32_t npt_take_accessed(struct npt *n, gpa_t g)
{
	uint64_t *table = table_at(n->root.a), *e = table;

	for (unsigned l = LEVELS; l > 1; l--) {
		e = &table[g.a >> level_shift(l) & (ENTRIES - 1)];
		if (!(*e & n->fmt->present))
			return 0;
		if ((*e & n->fmt->large) && l > 2)
			return *e & n->fmt->accessed ? UINT32_MAX : 0;
		table = table_at(*e);
	}
	/* Nobody has been below an entry that nobody has been through: most tables are not read. */
	if (!(*e & n->fmt->accessed))
		return 0;
	clear_bits(e, n->fmt->accessed);
	return *e & n->fmt->large ? UINT32_MAX : take_table(n, table);
}
