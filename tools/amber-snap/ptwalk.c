/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest's page tables map (SDM volume 3, chapter 4). Unlike hv/arch/x86/walk.c, which
 * translates one address as a CPU does, with its faults, this goes through all of them and only
 * asks what is there.
 */
#include "tools/amber-snap/ptwalk.h"

#include <stdlib.h>

#include "hv/lib/bitmap.h"
#include "hv/lib/cursor.h"
#include "hv/mm/mm.h"

enum pte_bit { PTE_P = 1 << 0, PTE_PS = 1 << 7 };
#define PTE_ADDR 0x000ffffffffff000ULL

/* A paging mode: what each level's entries cover. */
struct mode {
	uint8_t width;	  /* bytes of an entry */
	uint8_t shift[4]; /* of the linear address, from the root; 0: no such level */
	uint8_t large;	  /* the greatest shift at which an entry may map a page */
};

static const struct mode mode_4level = {8, {39, 30, 21, 12}, 30};
static const struct mode mode_pae = {8, {21, 12}, 21}; /* the PDPTEs are registers */
static const struct mode mode_32bit = {4, {22, 12}, 22};

struct walk {
	const struct ptwalk_memory *m;
	const struct mode *mode;
	bool pse36; /* large pages are of the 32-bit kind */
	bool large; /* there are large pages */
	uint64_t *seen;
	struct mappings *out;
	unsigned cap;
	struct errmsg *e;
};

/* --- the list ------------------------------------------------------------------------ */

static int add(struct walk *w, uint64_t va, uint64_t pa, uint64_t len)
{
	struct mappings *o = w->out;
	struct mapping *last = o->n ? &o->range[o->n - 1] : NULL;

	if (last && last->va + last->len == va && last->pa + last->len == pa) {
		last->len += len;
		return OK;
	}
	if (o->n == PTWALK_MAX) {
		o->cut = true;
		return OK;
	}
	if (o->n == w->cap) {
		unsigned cap = w->cap ? w->cap * 2 : 256;
		void *more =
		    heap_grow(o->range, w->cap * sizeof(*o->range), cap * sizeof(*o->range));

		if (!more)
			return err_set(w->e, ERR_NOMEM, "out of memory");
		o->range = more;
		w->cap = cap;
	}
	o->range[o->n++] = (struct mapping){.va = va, .pa = pa, .len = len};
	return OK;
}

/* What is RAM of a page of any size. */
static int add_ram(struct walk *w, uint64_t va, uint64_t pa, uint64_t len)
{
	int err = OK;

	while (!err && len) {
		uint64_t at = pa, n = len;

		if (!w->m->clip(w->m->ctx, &at, &n))
			break;
		err = add(w, va + (at - pa), at, n);
		n += at - pa;
		va += n;
		pa += n;
		len -= n;
	}
	return err;
}

static int by_address(const void *a, const void *b)
{
	const struct mapping *x = a, *y = b;

	return x->va < y->va ? -1 : x->va > y->va;
}

/* --- the walk ------------------------------------------------------------------------ */

static uint64_t canonical(uint64_t va)
{
	return va & BIT(47) ? va | 0xffff000000000000ULL : va;
}

static bool is_leaf(const struct walk *w, unsigned shift, uint64_t entry)
{
	return shift == PAGE_SHIFT || (w->large && shift <= w->mode->large && (entry & PTE_PS));
}

static uint64_t leaf_base(const struct walk *w, unsigned shift, uint64_t entry)
{
	if (w->pse36 && shift == 22) /* bits 20:13 are address bits 39:32 */
		return (entry & 0xffc00000) | (entry >> 13 & 0xff) << 32;
	return entry & PTE_ADDR & ~(BIT(shift) - 1);
}

/* The depth is that of the mode: four levels at most. */
static int walk_table(struct walk *w, unsigned level, uint64_t table, uint64_t va)
{
	const struct mode *mode = w->mode;
	unsigned shift = mode->shift[level], n = (unsigned)(PAGE_SIZE / mode->width);
	uint8_t buf[PAGE_SIZE];
	uint64_t page = table >> PAGE_SHIFT;
	int err;

	if (page >= w->m->pages || bitmap_test(w->seen, page))
		return OK;
	err = w->m->read(w->m->ctx, table, buf);
	if (err)
		return err == ERR_NOENT ? OK : err_set(w->e, err, "page table cannot be read back");
	bitmap_set(w->seen, page);
	for (unsigned k = 0; !err && k < n; k++) {
		/* from the middle on: the kernel's half is what a full list must not lack */
		unsigned i = mode == &mode_4level && level == 0 ? k ^ n / 2 : k;
		const uint8_t *p = buf + (size_t)i * mode->width;
		uint64_t entry = mode->width == 8 ? get_le64(p) : get_le32(p);
		uint64_t here = va + ((uint64_t)i << shift);

		if (mode == &mode_4level)
			here = canonical(here);
		if (!(entry & PTE_P))
			continue;
		if (is_leaf(w, shift, entry))
			err = add_ram(w, here, leaf_base(w, shift, entry), BIT(shift));
		else
			err = walk_table(w, level + 1, entry & PTE_ADDR, here);
	}
	return err;
}

static int walk_all(struct walk *w, const struct vcpu_state *s)
{
	int err = OK;

	w->large = true;
	w->mode = &mode_4level;
	if (s->efer & EFER_LMA)
		return walk_table(w, 0, s->cr3 & PTE_ADDR, 0);
	if (s->cr4 & CR4_PAE) {
		w->mode = &mode_pae;
		for (unsigned i = 0; !err && i < ARRAY_LEN(s->pdpte); i++)
			if (s->pdpte[i] & PTE_P)
				err = walk_table(w, 0, s->pdpte[i] & PTE_ADDR, i * GIB);
		return err;
	}
	w->mode = &mode_32bit;
	w->pse36 = true;
	w->large = s->cr4 & CR4_PSE;
	return walk_table(w, 0, s->cr3 & 0xfffff000, 0);
}

int ptwalk(const struct vcpu_state *s, const struct ptwalk_memory *m, struct mappings *out,
    struct errmsg *e)
{
	struct walk w = {.m = m, .out = out, .e = e};
	int err;

	*out = (struct mappings){.range = NULL};
	if (!(s->cr0 & CR0_PG))
		return err_set(e, ERR_STATE, "paging is off");
	w.seen = heap_zalloc(BITMAP_WORDS(m->pages) * sizeof(*w.seen));
	if (!w.seen)
		return err_set(e, ERR_NOMEM, "out of memory");
	err = walk_all(&w, s);
	heap_free(w.seen);
	if (err) {
		heap_free(out->range);
		*out = (struct mappings){.range = NULL};
	} else if (out->n) {
		qsort(out->range, out->n, sizeof(*out->range), by_address);
	}
	return err;
}
