/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest memory for the emulator: segmentation, alignment, paging, and the access itself. */
#include <string.h>
#include "hv/arch/x86/emul_impl.h"

/* Segment types (volume 3, table 3-1). */
enum seg_type { TYPE_CODE = 8, TYPE_EXPAND_DOWN = 4, TYPE_WRITABLE = 2, TYPE_READABLE = 2 };

static bool seg_permits(const struct insn *i, const struct seg *g, unsigned access)
{
	/* Real and virtual-8086 mode check limits only. */
	if (!(i->s->cr0 & CR0_PE) || (i->s->rflags & RFLAGS_VM))
		return true;
	if (!(g->attr & SEG_ATTR_P))
		return false;
	if (access & ACCESS_WRITE)
		return (g->attr & (TYPE_CODE | TYPE_WRITABLE)) == TYPE_WRITABLE;
	return (g->attr & (TYPE_CODE | TYPE_READABLE)) != TYPE_CODE;
}

static bool within_limit(const struct seg *g, uint64_t offset, uint64_t len)
{
	uint64_t last = offset + len - 1;
	uint64_t top = g->attr & SEG_ATTR_DB ? 0xffffffff : 0xffff;

	if ((g->attr & (TYPE_CODE | TYPE_EXPAND_DOWN)) == TYPE_EXPAND_DOWN)
		return offset > g->limit && last <= top;
	return last <= g->limit;
}

unsigned seg_linear(const struct insn *i, unsigned seg, uint64_t offset, uint64_t len,
    unsigned access, uint64_t *linear)
{
	const struct seg *g = &i->s->seg[seg];
	unsigned vector = seg == SEG_SS ? VEC_SS : VEC_GP;

	if (i->mode == MODE_64) {
		*linear = offset + (seg >= SEG_FS ? g->base : 0);
		return is_canonical(*linear) && is_canonical(*linear + len - 1) ? 0 : vector;
	}
	*linear = (uint32_t)(g->base + offset);
	return seg_permits(i, g, access) && within_limit(g, offset, len) ? 0 : vector;
}

bool misaligned(const struct insn *i, uint64_t linear, unsigned size)
{
	const struct vcpu_state *s = i->s;

	return size <= 8 && !(size & (size - 1)) && (linear & (size - 1)) && s->cpl == 3 &&
	       (s->cr0 & CR0_AM) && (s->rflags & RFLAGS_AC);
}

static inline enum emul_result walk_piece(
    struct insn *i, uint64_t linear, unsigned access, gpa_t *out)
{
	struct walk w;

	switch (guest_walk(i->s, i->e->ops, i->e->ctx, linear, access, &w)) {
	case WALK_OK:
		*out = w.gpa;
		return EMUL_OK;
	case WALK_RETRY:
		return EMUL_RETRY;
	default:
		i->e->cr2 = linear;
		return raise(i, VEC_PF, w.error_code);
	}
}

enum emul_result linear_span(
    struct insn *i, uint64_t linear, unsigned len, unsigned access, struct span *out)
{
	uint64_t room = PAGE_SIZE - (linear & (PAGE_SIZE - 1));
	uint64_t second = linear + room;
	enum emul_result r;

	if (i->s->cpl == 3 && !(access & ACCESS_IMPLICIT_SUPERVISOR))
		access |= ACCESS_USER;
	out->len[0] = (uint8_t)MIN(len, room);
	out->len[1] = (uint8_t)(len - out->len[0]);
	r = walk_piece(i, linear, access, &out->gpa[0]);
	if (r != EMUL_OK || LIKELY(!out->len[1]))
		return r;
	if (i->mode != MODE_64 && linear <= UINT32_MAX) /* segments wrap at 4 GiB */
		second = (uint32_t)second;
	return walk_piece(i, second, access, &out->gpa[1]);
}

/* Segmentation and alignment, which come before paging. */
static inline enum emul_result operand_linear(
    struct insn *i, unsigned seg, uint64_t offset, unsigned len, unsigned access, uint64_t *linear)
{
	unsigned vector = seg_linear(i, seg, offset, len, access, linear);

	if (UNLIKELY(vector))
		return raise(i, vector, 0);
	if (UNLIKELY(misaligned(i, *linear, len)))
		return raise(i, VEC_AC, 0);
	return EMUL_OK;
}

enum emul_result mem_span(
    struct insn *i, unsigned seg, uint64_t offset, unsigned len, unsigned access, struct span *out)
{
	uint64_t linear;
	enum emul_result r = operand_linear(i, seg, offset, len, access, &linear);

	return r == EMUL_OK ? linear_span(i, linear, len, access, out) : r;
}

/* What hardware has just translated for this access need not be walked again. */
static bool fault_is_here(const struct insn *i, uint64_t linear, unsigned len, unsigned access)
{
	uint64_t in_page = linear & (PAGE_SIZE - 1);

	return i->fault_known && in_page == (i->fault.a & (PAGE_SIZE - 1)) &&
	       in_page + len <= PAGE_SIZE && (i->fault_write || !(access & ACCESS_WRITE));
}

enum emul_result operand_span(struct insn *i, unsigned len, unsigned access)
{
	uint64_t linear;
	enum emul_result r = operand_linear(i, i->seg, i->ea, len, access, &linear);

	if (UNLIKELY(r != EMUL_OK))
		return r;
	if (!fault_is_here(i, linear, len, access))
		return linear_span(i, linear, len, access, &i->span);
	i->span.gpa[0] = i->fault;
	i->span.len[0] = (uint8_t)len;
	i->span.len[1] = 0;
	return EMUL_OK;
}

static enum emul_result read_piece(struct insn *i, gpa_t addr, uint8_t *buf, unsigned len)
{
	int err = i->e->ops->read(i->e->ctx, addr, buf, len);

	if (LIKELY(err == OK))
		return EMUL_OK;
	if (err == ERR_RETRY)
		return EMUL_RETRY;
	memset(buf, 0xff, len);
	return EMUL_OK;
}

enum emul_result mem_read(struct insn *i, const struct span *m, void *buf)
{
	enum emul_result r = read_piece(i, m->gpa[0], buf, m->len[0]);

	if (LIKELY(!m->len[1]) || r != EMUL_OK)
		return r;
	return read_piece(i, m->gpa[1], (uint8_t *)buf + m->len[0], m->len[1]);
}

enum emul_result mem_probe(struct insn *i, const struct span *m, bool write, bool *ram)
{
	const struct emul_ops *ops = i->e->ops;

	*ram = ops->probe;
	for (unsigned n = 0; n < 2 && *ram && m->len[n]; n++) {
		int err = ops->probe(i->e->ctx, m->gpa[n], m->len[n], write);

		if (err == ERR_RETRY)
			return EMUL_RETRY;
		*ram = err == OK;
	}
	return EMUL_OK;
}

enum emul_result mem_write(struct insn *i, const struct span *m, const void *buf)
{
	const struct emul_ops *ops = i->e->ops;
	bool ram;

	if (LIKELY(!m->len[1]))
		return ops->write(i->e->ctx, m->gpa[0], buf, m->len[0]) == ERR_RETRY ? EMUL_RETRY
										     : EMUL_OK;
	/* Both pages are made ready before either is written. */
	if (mem_probe(i, m, true, &ram) != EMUL_OK ||
	    ops->write(i->e->ctx, m->gpa[0], buf, m->len[0]) == ERR_RETRY ||
	    ops->write(i->e->ctx, m->gpa[1], (const uint8_t *)buf + m->len[0], m->len[1]) ==
		ERR_RETRY)
		return EMUL_RETRY;
	return EMUL_OK;
}

/* A locked access that crosses a page is not atomic against other vCPUs: nothing can hold two
 * pages. */
static enum emul_result split_cmpxchg(
    struct insn *i, const struct span *m, uint8_t *old, const void *desired)
{
	unsigned len = m->len[0] + m->len[1];
	uint8_t now[16];
	enum emul_result r = mem_read(i, m, now);

	if (r != EMUL_OK)
		return r;
	if (memcmp(now, old, len)) {
		memcpy(old, now, len);
		return EMUL_OK;
	}
	return mem_write(i, m, desired);
}

enum emul_result mem_cmpxchg(struct insn *i, const struct span *m, void *old, const void *desired)
{
	int err;

	if (m->len[1])
		return split_cmpxchg(i, m, old, desired);
	err = i->e->ops->cmpxchg(i->e->ctx, m->gpa[0], old, desired, m->len[0]);
	if (err == ERR_RETRY)
		return EMUL_RETRY;
	return err == OK ? EMUL_OK : mem_write(i, m, desired);
}
