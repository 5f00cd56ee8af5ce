/* SPDX-License-Identifier: BSD-2-Clause */
/* Loads of segment registers: MOV, LDS and its kin, LTR, and the far JMP (volume 3, 5.5 to 5.8). */
#include <string.h>
#include "hv/arch/x86/emul_impl.h"

enum {
	TYPE_CODE = 8,
	TYPE_CONFORMING = 4,
	TYPE_WRITABLE = 2,
	TYPE_READABLE = 2,
	TYPE_ACCESSED = 1,
	/* of a task state segment, which is a system segment: */
	TYPE_TSS_16 = 1,
	TYPE_TSS = 9,
	TYPE_BUSY = 2
};
enum { SEL_RPL = 3, SEL_LDT = 4, SEL_ERROR = 0xfffc /* as an error code */ };

static bool protection(const struct vcpu_state *s)
{
	return (s->cr0 & CR0_PE) && !(s->rflags & RFLAGS_VM);
}

static unsigned dpl(const struct seg *g)
{
	return (g->attr & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT;
}

/* The descriptor, whose place is translated as well. */
static enum emul_result read_descriptor(
    struct insn *i, uint16_t sel, unsigned access, struct span *m, uint64_t *descriptor)
{
	const struct vcpu_state *s = i->s;
	const struct seg *ldt = &s->seg[SEG_LDTR];
	bool local = sel & SEL_LDT;
	uint64_t limit = local ? ldt->limit : s->gdtr.limit;
	uint64_t linear = (local ? ldt->base : s->gdtr.base) + (sel & 0xfff8);
	enum emul_result r;

	if ((local && !(ldt->attr & SEG_ATTR_P)) || (sel | 7U) > limit)
		return raise(i, VEC_GP, sel & SEL_ERROR);
	if (!(s->efer & EFER_LMA))
		linear = (uint32_t)linear;
	r = linear_span(i, linear, 8, access | ACCESS_IMPLICIT_SUPERVISOR, m);
	return r == EMUL_OK ? mem_read(i, m, descriptor) : r;
}

/* The vector to raise for a data segment, or 0. */
static unsigned check_data(const struct insn *i, unsigned seg, const struct seg *g)
{
	unsigned type = g->attr & SEG_ATTR_TYPE, rpl = g->sel & SEL_RPL, cpl = i->s->cpl;
	bool conforming = (type & TYPE_CODE) && (type & TYPE_CONFORMING);

	if (!(g->attr & SEG_ATTR_S))
		return VEC_GP;
	if (seg == SEG_SS) {
		if (rpl != cpl || dpl(g) != cpl ||
		    (type & (TYPE_CODE | TYPE_WRITABLE)) != TYPE_WRITABLE)
			return VEC_GP;
		return g->attr & SEG_ATTR_P ? 0 : VEC_SS;
	}
	if ((type & (TYPE_CODE | TYPE_READABLE)) == TYPE_CODE ||
	    (!conforming && (rpl > dpl(g) || cpl > dpl(g))))
		return VEC_GP;
	return g->attr & SEG_ATTR_P ? 0 : VEC_NP;
}

/* For a near-like jump into another code segment; nothing of more privilege. */
static unsigned check_code(const struct insn *i, const struct seg *g)
{
	unsigned rpl = g->sel & SEL_RPL, cpl = i->s->cpl;
	bool conforming = g->attr & TYPE_CONFORMING;

	if (conforming ? dpl(g) > cpl : rpl > cpl || dpl(g) != cpl)
		return VEC_GP;
	if ((i->s->efer & EFER_LMA) && (g->attr & SEG_ATTR_L) && (g->attr & SEG_ATTR_DB))
		return VEC_GP;
	return g->attr & SEG_ATTR_P ? 0 : VEC_NP;
}

/* Sets a bit of the type, accessed or busy, in a descriptor that has been judged. */
static enum emul_result mark(struct insn *i, uint64_t descriptor, uint16_t type_bit, struct seg *g)
{
	uint64_t seen = descriptor, desired = descriptor | (uint64_t)type_bit << 40;
	struct span m;
	enum emul_result r;

	if (g->attr & type_bit)
		return EMUL_OK;
	r = read_descriptor(i, g->sel, ACCESS_WRITE, &m, &seen);
	if (r == EMUL_OK && seen != descriptor)
		return EMUL_RETRY;
	if (r == EMUL_OK)
		r = mem_cmpxchg(i, &m, &seen, &desired);
	if (r == EMUL_OK && seen != descriptor)
		return EMUL_RETRY;
	g->attr |= type_bit;
	return r;
}

/* What a null selector makes of a data segment; the stack may have one in 64-bit mode. */
static enum emul_result load_null(struct insn *i, unsigned seg, struct seg *g)
{
	unsigned cpl = i->s->cpl;

	if (seg == SEG_SS && (i->mode != MODE_64 || cpl == 3 || (g->sel & SEL_RPL) != cpl))
		return raise(i, VEC_GP, 0);
	g->attr = seg == SEG_SS ? (uint16_t)(cpl << SEG_ATTR_DPL_SHIFT) : 0;
	return EMUL_OK;
}

/* Makes *g, which is the register's content so far, that of a data segment. */
static enum emul_result load_data(struct insn *i, unsigned seg, uint16_t sel, struct seg *g)
{
	uint64_t descriptor = 0;
	struct span m;
	enum emul_result r;
	unsigned vector;

	g->sel = sel;
	if (!protection(i->s)) {
		g->base = (uint64_t)sel << 4;
		return EMUL_OK;
	}
	if (!(sel & ~SEL_RPL))
		return load_null(i, seg, g);
	r = read_descriptor(i, sel, ACCESS_READ, &m, &descriptor);
	if (r != EMUL_OK)
		return r;
	*g = seg_from_descriptor(sel, descriptor);
	vector = check_data(i, seg, g);
	return vector ? raise(i, vector, sel & SEL_ERROR) : mark(i, descriptor, TYPE_ACCESSED, g);
}

static void commit_segment(struct insn *i, unsigned seg, const struct seg *g)
{
	i->s->seg[seg] = *g;
	i->e->segments_changed = true;
	i->movss = seg == SEG_SS;
}

/* MOV Sreg, m: never CS. */
enum emul_result exec_mov_to_seg(struct insn *i)
{
	unsigned seg = i->modrm >> 3 & 7;
	struct seg g = i->s->seg[seg <= SEG_GS ? seg : SEG_DS];
	enum emul_result r;
	uint16_t sel;

	if (seg == SEG_CS || seg > SEG_GS)
		return raise(i, VEC_UD, 0);
	if (!i->is_mem)
		return EMUL_UNHANDLED;
	r = operand_span(i, sizeof(sel), ACCESS_READ);
	if (r == EMUL_OK)
		r = mem_read(i, &i->span, &sel);
	if (r == EMUL_OK)
		r = load_data(i, seg, sel, &g);
	if (r == EMUL_OK)
		commit_segment(i, seg, &g);
	return r;
}

/* The vector to raise for a task state segment, or 0; high: the descriptor's second half. */
static unsigned check_tss(const struct insn *i, const struct seg *g, uint64_t high)
{
	unsigned type = g->attr & (SEG_ATTR_S | SEG_ATTR_TYPE);
	bool long_mode = i->s->efer & EFER_LMA;

	if (type != TYPE_TSS && (long_mode || type != TYPE_TSS_16))
		return VEC_GP;
	if (high >> 40 & 0x1f) /* a type of its own: it is no second half */
		return VEC_GP;
	if (!(g->attr & SEG_ATTR_P))
		return VEC_NP;
	return is_canonical(g->base) ? 0 : VEC_GP;
}

/* Makes *g that of an available task state segment, and that busy. */
static enum emul_result load_tss(struct insn *i, uint16_t sel, struct seg *g)
{
	bool long_mode = i->s->efer & EFER_LMA;
	uint64_t low = 0, high = 0;
	struct span m;
	enum emul_result r;
	unsigned vector;

	if (!(sel & ~SEL_RPL) || (sel & SEL_LDT) ||
	    (long_mode && (sel | 7U) + 8 > i->s->gdtr.limit))
		return raise(i, VEC_GP, sel & SEL_ERROR);
	r = read_descriptor(i, sel, ACCESS_READ, &m, &low);
	if (r == EMUL_OK && long_mode)
		r = read_descriptor(i, sel + 8, ACCESS_READ, &m, &high);
	if (r != EMUL_OK)
		return r;
	*g = seg_from_descriptor(sel, low);
	g->base |= high << 32;
	vector = check_tss(i, g, high);
	return vector ? raise(i, vector, sel & SEL_ERROR) : mark(i, low, TYPE_BUSY, g);
}

/* LTR m. */
enum emul_result exec_ltr(struct insn *i)
{
	struct seg g = {0};
	enum emul_result r;
	uint16_t sel;

	if (!protection(i->s))
		return raise(i, VEC_UD, 0);
	if (i->s->cpl != 0)
		return raise(i, VEC_GP, 0);
	r = operand_span(i, sizeof(sel), ACCESS_READ);
	if (r == EMUL_OK)
		r = mem_read(i, &i->span, &sel);
	if (r == EMUL_OK)
		r = load_tss(i, sel, &g);
	if (r == EMUL_OK)
		commit_segment(i, SEG_TR, &g);
	return r;
}

/* A far pointer in memory: the offset, then the selector. */
static enum emul_result read_pointer(struct insn *i, uint64_t *offset, uint16_t *sel)
{
	uint8_t pointer[10];
	enum emul_result r = operand_span(i, i->opsize + 2U, ACCESS_READ);

	if (r == EMUL_OK)
		r = mem_read(i, &i->span, pointer);
	if (r != EMUL_OK)
		return r;
	*offset = 0;
	memcpy(offset, pointer, i->opsize);
	*sel = load16(pointer + i->opsize);
	return EMUL_OK;
}

/* LES, LDS (C4, C5), LSS, LFS, LGS (0F B2, B4, B5). */
enum emul_result exec_load_pointer(struct insn *i)
{
	unsigned seg = i->map == MAP_0F ? i->opcode & 7u : i->opcode == 0xc4 ? SEG_ES : SEG_DS;
	struct seg g = i->s->seg[seg];
	uint64_t offset;
	uint16_t sel;
	enum emul_result r = read_pointer(i, &offset, &sel);

	if (r == EMUL_OK)
		r = load_data(i, seg, sel, &g);
	if (r != EMUL_OK)
		return r;
	commit_segment(i, seg, &g);
	i->movss = false; /* LSS casts no shadow */
	reg_write(i, i->reg, i->opsize, offset);
	return EMUL_OK;
}

static bool target_exists(const struct insn *i, const struct seg *g, uint64_t offset)
{
	if ((i->s->efer & EFER_LMA) && (g->attr & SEG_ATTR_L))
		return is_canonical(offset);
	return offset <= g->limit;
}

static enum emul_result load_code(struct insn *i, uint16_t sel, uint64_t offset, struct seg *g)
{
	uint64_t descriptor = 0;
	struct span m;
	enum emul_result r;
	unsigned vector;

	if (!protection(i->s)) {
		g->sel = sel;
		g->base = (uint64_t)sel << 4;
		return target_exists(i, g, offset) ? EMUL_OK : raise(i, VEC_GP, 0);
	}
	if (!(sel & ~SEL_RPL))
		return raise(i, VEC_GP, 0);
	r = read_descriptor(i, sel, ACCESS_READ, &m, &descriptor);
	if (r != EMUL_OK)
		return r;
	*g = seg_from_descriptor(sel, descriptor);
	if ((g->attr & (SEG_ATTR_S | TYPE_CODE)) != (SEG_ATTR_S | TYPE_CODE))
		return g->attr & SEG_ATTR_S ? raise(i, VEC_GP, sel & SEL_ERROR) : EMUL_UNHANDLED;
	vector = check_code(i, g);
	if (vector)
		return raise(i, vector, sel & SEL_ERROR);
	return target_exists(i, g, offset) ? mark(i, descriptor, TYPE_ACCESSED, g)
					   : raise(i, VEC_GP, 0);
}

/* JMP m16:16, m16:32, m16:64 to code; gates and tasks are not for us. */
enum emul_result exec_jmp_far(struct insn *i)
{
	struct seg g = i->s->seg[SEG_CS];
	uint64_t offset;
	uint16_t sel;
	enum emul_result r = read_pointer(i, &offset, &sel);

	if (r == EMUL_OK)
		r = load_code(i, sel, offset, &g);
	if (r != EMUL_OK)
		return r;
	if (protection(i->s))
		g.sel = (uint16_t)((g.sel & ~SEL_RPL) | i->s->cpl);
	commit_segment(i, SEG_CS, &g);
	i->next = offset;
	return EMUL_OK;
}
