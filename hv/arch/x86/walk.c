/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest page walker: from a linear to a guest-physical address as the CPU
 * does it (SDM volume 3, chapter 4).
 *
 * Entries are read without a lock while other vCPUs change them. Permissions are
 * judged on the values read; the accessed and dirty bits are then set by compare
 * and exchange, and a value that has changed meanwhile starts the walk anew.
 */
#include "hv/arch/x86/emul.h"
#include "hv/lib/error.h"

enum pte_bit {
	PTE_P = 1 << 0,
	PTE_W = 1 << 1,
	PTE_U = 1 << 2,
	PTE_A = 1 << 5,
	PTE_D = 1 << 6,
	PTE_PS = 1 << 7
};
#define PTE_NX	     BIT(63)
#define PTE_ADDR     0x000ffffffffff000ULL
#define PTE_HIGH_PAE 0x7ff0000000000000ULL /* bits 62:52, reserved with PAE paging only */

enum { WALK_LEVELS = 4, WALK_TRIES = 8 };

/* The levels below the root of one paging mode. */
struct paging {
	uint8_t top_shift;  /* of the linear address, at the root */
	uint8_t index_bits; /* per level */
	uint8_t width;	    /* bytes of an entry */
};

static const struct paging paging_32bit = {22, 10, 4};
static const struct paging paging_pae = {21, 9, 8}; /* below the PDPTEs, which are registers */
static const struct paging paging_4level = {39, 9, 8};

/* What a walk gathers on its way down. */
struct path {
	const struct vcpu_state *s;
	const struct emul_ops *ops;
	void *ctx;
	uint64_t linear;
	unsigned access;
	unsigned depth; /* entries used */
	gpa_t addr[WALK_LEVELS];
	uint64_t entry[WALK_LEVELS];
	uint64_t all, any; /* all entries, combined by AND and by OR */
};

/*
 * The functions that take a struct paging are compiled once per mode, with the
 * mode's numbers as constants: a walk is on the path of every emulated access.
 */
#define PER_MODE static inline __attribute__((always_inline))

static bool nx_enabled(const struct vcpu_state *s)
{
	return (s->efer & EFER_NXE) && (s->cr4 & CR4_PAE);
}

static enum walk_result walk_fault(const struct path *p, uint32_t cause, struct walk *out)
{
	uint32_t error = cause;

	if (p->access & ACCESS_WRITE)
		error |= PF_W;
	if (p->access & ACCESS_USER)
		error |= PF_U;
	/* I/D is reported only if something can make a fetch special (SDM volume 3, 4.7). */
	if ((p->access & ACCESS_EXEC) && (nx_enabled(p->s) || (p->s->cr4 & CR4_SMEP)))
		error |= PF_I;
	out->error_code = error;
	return WALK_FAULT;
}

/* True if the entry at this level maps a page and not a table. */
PER_MODE bool is_leaf(
    const struct path *p, const struct paging *mode, unsigned shift, uint64_t entry)
{
	if (shift == 12)
		return true;
	if (!(entry & PTE_PS))
		return false;
	if (mode == &paging_32bit)
		return p->s->cr4 & CR4_PSE;
	return shift <= 30;
}

/*
 * Bits that must be zero on every level (SDM volume 3, tables 4-4 to 4-19). The
 * width of physical addresses is not known here: bits between it and bit 51 go
 * unchecked, and the access fails at the guest-physical address instead.
 */
PER_MODE uint64_t reserved_everywhere(const struct path *p, const struct paging *mode)
{
	uint64_t mask = 0;

	if (mode == &paging_32bit)
		return 0;
	if (!nx_enabled(p->s))
		mask |= PTE_NX;
	if (mode == &paging_pae)
		mask |= PTE_HIGH_PAE;
	return mask;
}

/* Those of an entry that maps a large page. */
PER_MODE uint64_t reserved_in_large(const struct paging *mode, unsigned shift)
{
	if (mode == &paging_32bit)
		return BIT(21);
	return (BIT(shift) - 1) & ~(BIT(13) - 1);
}

PER_MODE uint64_t page_base(const struct paging *mode, unsigned shift, uint64_t entry)
{
	if (mode == &paging_32bit && shift == 22) /* PSE-36: bits 20:13 are address bits 39:32 */
		return (entry & 0xffc00000) | (entry >> 13 & 0xff) << 32;
	return entry & PTE_ADDR & ~(BIT(shift) - 1);
}

/* Supervisor accesses to user pages: SMEP and SMAP (SDM volume 3, 4.6.1). */
static bool supervisor_may_use(const struct path *p)
{
	const struct vcpu_state *s = p->s;

	if (p->access & ACCESS_EXEC)
		return !(s->cr4 & CR4_SMEP);
	if (!(s->cr4 & CR4_SMAP))
		return true;
	return (s->rflags & RFLAGS_AC) && !(p->access & ACCESS_IMPLICIT_SUPERVISOR);
}

static bool permitted(const struct path *p)
{
	bool user_page = p->all & PTE_U;

	if ((p->access & ACCESS_EXEC) && (p->any & PTE_NX))
		return false;
	if (p->access & ACCESS_USER)
		return user_page && (!(p->access & ACCESS_WRITE) || (p->all & PTE_W));
	if ((p->access & ACCESS_WRITE) && !(p->all & PTE_W) && (p->s->cr0 & CR0_WP))
		return false;
	return !user_page || supervisor_may_use(p);
}

/* Sets accessed and dirty bits from the root down. *changed: an entry is no longer what it was. */
static enum walk_result mark_used(const struct path *p, unsigned width, bool *changed)
{
	for (unsigned n = 0; n < p->depth; n++) {
		uint64_t old = p->entry[n];
		uint64_t desired = old | PTE_A;
		int err;

		if (n + 1 == p->depth && (p->access & ACCESS_WRITE))
			desired |= PTE_D;
		if (desired == old)
			continue;
		err = p->ops->cmpxchg(p->ctx, p->addr[n], &old, &desired, width);
		if (err == ERR_RETRY)
			return WALK_RETRY;
		if (err == OK && old != p->entry[n]) {
			*changed = true;
			return WALK_RETRY;
		}
		/* Another error: tables in memory that cannot be written, such as a ROM. They stay
		 * as they are. */
	}
	return WALK_OK;
}

/* Rights, then accessed and dirty bits, which mostly are set already. leaf: the last entry. */
static inline enum walk_result finish(
    const struct path *p, uint64_t leaf, unsigned width, struct walk *out, bool *changed)
{
	if (UNLIKELY(!p->ops->cmpxchg))
		return WALK_OK;
	if (UNLIKELY(!permitted(p)))
		return walk_fault(p, PF_P, out);
	if (LIKELY(p->all & PTE_A) && (!(p->access & ACCESS_WRITE) || (leaf & PTE_D)))
		return WALK_OK;
	return mark_used(p, width, changed);
}

/* One pass from the table at 'table' down; *changed tells to try again. */
PER_MODE enum walk_result walk_down(
    struct path *p, const struct paging *mode, uint64_t table, struct walk *out, bool *changed)
{
	uint64_t reserved = reserved_everywhere(p, mode), all = ~0ULL, any = 0;
	unsigned shift = mode->top_shift, depth = 0;

	/* Unrolled, so that every shift and mask is a constant. */
#pragma GCC unroll 4
	for (; depth < WALK_LEVELS; shift -= mode->index_bits) {
		uint64_t index = p->linear >> shift & (BIT(mode->index_bits) - 1);
		uint64_t entry = 0;
		gpa_t addr = gpa(table + index * mode->width);
		int err = p->ops->read(p->ctx, addr, &entry, mode->width);

		if (UNLIKELY(err == ERR_RETRY))
			return WALK_RETRY;
		if (UNLIKELY(err != OK || !(entry & PTE_P)))
			return walk_fault(p, 0, out);
		if (UNLIKELY((entry & reserved) || (shift == 39 && (entry & PTE_PS))))
			return walk_fault(p, PF_P | PF_RSVD, out);
		all &= entry;
		any |= entry;
		p->addr[depth] = addr;
		p->entry[depth++] = entry;
		table = entry & PTE_ADDR;
		if (!is_leaf(p, mode, shift, entry))
			continue;
		if (shift != 12 && (entry & reserved_in_large(mode, shift)))
			return walk_fault(p, PF_P | PF_RSVD, out);
		out->page_size = BIT(shift);
		out->gpa = gpa(page_base(mode, shift, entry) | (p->linear & (BIT(shift) - 1)));
		p->depth = depth;
		p->all = all;
		p->any = any;
		return finish(p, entry, mode->width, out, changed);
	}
	return WALK_RETRY; /* not reached: the last level is a leaf */
}

/* Passes until the tables stand still; not for ever. */
PER_MODE enum walk_result walk_mode(
    struct path *p, const struct paging *mode, uint64_t table, struct walk *out)
{
	for (unsigned tries = 0; tries < WALK_TRIES; tries++) {
		bool changed = false;
		enum walk_result r = walk_down(p, mode, table, out, &changed);

		if (LIKELY(!changed))
			return r;
	}
	return WALK_RETRY;
}

/* PDPTEs carry no rights; their reserved bits were checked when they were loaded. */
static enum walk_result walk_pae(struct path *p, struct walk *out)
{
	uint64_t pdpte = p->s->pdpte[p->linear >> 30 & 3];

	if (!(pdpte & PTE_P))
		return walk_fault(p, 0, out);
	return walk_mode(p, &paging_pae, pdpte & PTE_ADDR, out);
}

enum walk_result guest_walk(const struct vcpu_state *s, const struct emul_ops *ops, void *ctx,
    uint64_t linear, unsigned access, struct walk *out)
{
	struct path p;

	if (!(s->cr0 & CR0_PG)) {
		out->gpa = gpa((uint32_t)linear);
		out->page_size = PAGE_SIZE;
		return WALK_OK;
	}
	p.s = s;
	p.ops = ops;
	p.ctx = ctx;
	p.linear = linear;
	p.access = access;
	if (LIKELY(s->efer & EFER_LMA))
		return walk_mode(&p, &paging_4level, s->cr3 & PTE_ADDR, out);
	p.linear = (uint32_t)linear;
	if (s->cr4 & CR4_PAE)
		return walk_pae(&p, out);
	return walk_mode(&p, &paging_32bit, s->cr3 & 0xfffff000, out);
}
