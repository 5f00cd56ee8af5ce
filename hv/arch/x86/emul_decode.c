/* SPDX-License-Identifier: BSD-2-Clause */
/* The decoder: instruction bytes to a struct insn (SDM volume 2, chapter 2 and appendix A). */
#include <string.h>
#include "hv/arch/x86/emul_impl.h"

void insn_init(struct insn *i, struct emul *e)
{
	struct vcpu_state *s = e->state;

	i->e = e;
	i->s = s;
	if (vcpu_is_64bit(s))
		i->mode = MODE_64;
	else
		i->mode = s->seg[SEG_CS].attr & SEG_ATTR_DB ? MODE_32 : MODE_16;
	i->ip = i->mode == MODE_64 ? s->rip : (uint32_t)s->rip;
	i->have = MIN(e->insn_bytes, (uint8_t)INSN_MAX);
	if (i->have)
		memcpy(i->bytes, e->insn, INSN_MAX);
	i->pos = 0;
	i->seg_override = REG_NONE;
	i->rep = i->rex = 0;
	i->lock = i->op66 = i->addr67 = false;
	i->is_mem = i->rip_relative = i->vex_256 = i->movss = false;
	i->map = MAP_ONE_BYTE;
	i->modrm = i->reg = i->rm = i->vex_map = 0;
	i->dst_kind = i->src_kind = OPD_NONE;
	i->imm = 0;
	i->exec = NULL;
	i->out_reg = REG_NONE;
	i->fault_known = false;
	e->insn_len = 0;
	e->event.type = EVENT_NONE;
	e->segments_changed = false;
}

/* --- fetching ------------------------------------------------------------------- */

/* How many bytes from the instruction's first on the code segment allows, at most INSN_MAX. */
static unsigned fetch_limit(const struct insn *i)
{
	const struct seg *cs = &i->s->seg[SEG_CS];

	if (i->mode == MODE_64)
		return INSN_MAX;
	if (i->ip > cs->limit)
		return 0;
	return (unsigned)MIN(cs->limit - i->ip + 1, (uint64_t)INSN_MAX);
}

/* Reads on to the end of the page or of the longest instruction. */
static enum emul_result fetch_page(struct insn *i, unsigned limit)
{
	uint64_t linear = i->ip + i->have;
	struct span m;
	enum emul_result r;
	unsigned len;

	if (i->mode != MODE_64)
		linear = (uint32_t)(i->s->seg[SEG_CS].base + linear);
	else if (!is_canonical(linear))
		return raise(i, VEC_GP, 0);
	len = (unsigned)MIN(PAGE_SIZE - (linear & (PAGE_SIZE - 1)), (uint64_t)(limit - i->have));
	r = linear_span(i, linear, len, ACCESS_EXEC, &m);
	if (r == EMUL_OK)
		r = mem_read(i, &m, i->bytes + i->have);
	if (r == EMUL_OK)
		i->have += len;
	return r;
}

/*
 * Makes 'total' bytes of the instruction available. The next page is touched
 * only when the instruction reaches into it: else it could fault for nothing.
 */
static enum emul_result fetch(struct insn *i, unsigned total)
{
	unsigned limit = fetch_limit(i);

	if (total > limit)
		return raise(i, VEC_GP, 0);
	while (i->have < total) {
		enum emul_result r = fetch_page(i, limit);

		if (r != EMUL_OK)
			return r;
	}
	return EMUL_OK;
}

static inline enum emul_result need(struct insn *i, unsigned n)
{
	if (LIKELY(i->pos + n <= i->have))
		return EMUL_OK;
	return fetch(i, i->pos + n);
}

/* A little-endian number of n (1, 2, 4, 8) bytes, sign-extended. */
static inline enum emul_result next_number(struct insn *i, unsigned n, int64_t *out)
{
	enum emul_result r = need(i, n);
	const uint8_t *p = i->bytes + i->pos;

	if (UNLIKELY(r != EMUL_OK))
		return r;
	i->pos += n;
	switch (n) {
	case 1:
		*out = (int8_t)*p;
		break;
	case 2:
		*out = (int16_t)load16(p);
		break;
	case 4:
		*out = (int32_t)load32(p);
		break;
	default:
		*out = (int64_t)load64(p);
	}
	return EMUL_OK;
}

static inline enum emul_result next_byte(struct insn *i, uint8_t *out)
{
	enum emul_result r = need(i, 1);

	if (LIKELY(r == EMUL_OK))
		*out = i->bytes[i->pos++];
	return r;
}

static enum emul_result skip(struct insn *i, unsigned n)
{
	enum emul_result r = need(i, n);

	if (r == EMUL_OK)
		i->pos += n;
	return r;
}

/* --- prefixes ------------------------------------------------------------------- */

/* ES, CS, SS and DS mean nothing in 64-bit mode (volume 1, 3.4.2.1). */
static void override_segment(struct insn *i, uint8_t seg)
{
	if (i->mode != MODE_64 || seg >= SEG_FS)
		i->seg_override = seg;
}

/* Takes one prefix; false if b is none. A REX counts only right before the opcode. */
static bool take_prefix(struct insn *i, uint8_t b)
{
	uint8_t rex = 0;

	switch (b) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
		override_segment(i, b >> 3 & 3);
		break;
	case 0x64:
	case 0x65:
		override_segment(i, SEG_FS + (b & 1));
		break;
	case 0x66:
		i->op66 = true;
		break;
	case 0x67:
		i->addr67 = true;
		break;
	case 0xf0:
		i->lock = true;
		break;
	case 0xf2:
	case 0xf3:
		i->rep = b;
		break;
	default:
		if (i->mode != MODE_64 || (b & 0xf0) != 0x40)
			return false;
		rex = b;
	}
	i->rex = rex;
	return true;
}

static enum emul_result decode_prefixes(struct insn *i)
{
	enum emul_result r;

	do {
		r = next_byte(i, &i->opcode);
		if (UNLIKELY(r != EMUL_OK))
			return r;
	} while (take_prefix(i, i->opcode));
	return EMUL_OK;
}

static void decode_sizes(struct insn *i)
{
	bool other = i->op66;

	if (i->mode == MODE_64) {
		i->addrsize = i->addr67 ? 4 : 8;
		i->opsize = i->rex & REX_W ? 8 : other ? 2 : 4;
		return;
	}
	i->addrsize = (i->mode == MODE_32) != i->addr67 ? 4 : 2;
	i->opsize = (i->mode == MODE_32) != other ? 4 : 2;
}

/* --- ModRM, SIB, displacement (volume 2, 2.1.5) --------------------------------- */

static const struct {
	uint8_t base, index;
} ea16[8] = {
    {GPR_RBX, GPR_RSI},
    {GPR_RBX, GPR_RDI},
    {GPR_RBP, GPR_RSI},
    {GPR_RBP, GPR_RDI},
    {GPR_RSI, REG_NONE},
    {GPR_RDI, REG_NONE},
    {GPR_RBP, REG_NONE},
    {GPR_RBX, REG_NONE},
};

/* Returns how many bytes of displacement follow. */
static unsigned decode_ea16(struct insn *i)
{
	unsigned mod = i->modrm >> 6, rm = i->modrm & 7;

	i->scale = 0;
	if (mod == 0 && rm == 6) {
		i->base = i->index = REG_NONE;
		return 2;
	}
	i->base = ea16[rm].base;
	i->index = ea16[rm].index;
	return mod;
}

static enum emul_result decode_sib(struct insn *i, unsigned *disp_len)
{
	uint8_t sib;
	enum emul_result r = next_byte(i, &sib);

	if (UNLIKELY(r != EMUL_OK))
		return r;
	i->scale = sib >> 6;
	i->index = (uint8_t)((sib >> 3 & 7) | (i->rex & REX_X ? 8 : 0));
	if (i->index == GPR_RSP)
		i->index = REG_NONE;
	i->base = (uint8_t)((sib & 7) | (i->rex & REX_B ? 8 : 0));
	if ((sib & 7) == GPR_RBP && i->modrm >> 6 == 0) {
		i->base = REG_NONE;
		*disp_len = 4;
	}
	return EMUL_OK;
}

static enum emul_result decode_ea32(struct insn *i, unsigned *disp_len)
{
	static const uint8_t disp_of_mod[4] = {0, 1, 4, 0};
	unsigned mod = i->modrm >> 6, rm = i->modrm & 7;

	*disp_len = disp_of_mod[mod];
	if (rm == GPR_RSP)
		return decode_sib(i, disp_len);
	i->scale = 0;
	i->index = REG_NONE;
	i->base = i->rm;
	if (mod == 0 && rm == GPR_RBP) {
		i->base = REG_NONE;
		i->rip_relative = i->mode == MODE_64;
		*disp_len = 4;
	}
	return EMUL_OK;
}

static enum emul_result decode_modrm(struct insn *i)
{
	enum emul_result r = next_byte(i, &i->modrm);
	unsigned disp_len;

	if (UNLIKELY(r != EMUL_OK))
		return r;
	i->reg = (uint8_t)((i->modrm >> 3 & 7) | (i->rex & REX_R ? 8 : 0));
	i->rm = (uint8_t)((i->modrm & 7) | (i->rex & REX_B ? 8 : 0));
	if (i->modrm >> 6 == 3 || (i->flags & F_REGONLY))
		return EMUL_OK;
	i->is_mem = true;
	if (i->addrsize == 2)
		disp_len = decode_ea16(i);
	else {
		r = decode_ea32(i, &disp_len);
		if (UNLIKELY(r != EMUL_OK))
			return r;
	}
	i->seg = i->base == GPR_RSP || i->base == GPR_RBP ? SEG_SS : SEG_DS;
	if (i->seg_override != REG_NONE)
		i->seg = i->seg_override;
	i->disp = 0;
	return disp_len ? next_number(i, disp_len, &i->disp) : EMUL_OK;
}

/* --- immediates ----------------------------------------------------------------- */

static enum emul_result decode_imm(struct insn *i)
{
	unsigned z = i->opsize == 2 ? 2 : 4;
	int64_t v = 0, level = 0;
	enum emul_result r;

	switch (i->imm_kind) {
	case IMM_NONE:
		return EMUL_OK;
	case IMM_8:
		r = next_number(i, 1, &v);
		break;
	case IMM_16:
		r = next_number(i, 2, &v);
		break;
	case IMM_OP:
		r = next_number(i, i->flags & F_BYTE ? 1 : z, &v);
		break;
	case IMM_Z:
		r = next_number(i, z, &v);
		break;
	case IMM_V:
		r = next_number(i, i->opsize, &v);
		break;
	case IMM_REL: /* 66 makes no difference in 64-bit mode, as on Intel's CPUs */
		r = next_number(i, i->mode == MODE_64 ? 4 : z, &v);
		break;
	case IMM_MOFFS:
		r = next_number(i, i->addrsize, &v);
		break;
	case IMM_FAR:
		return skip(i, z + 2);
	case IMM_ENTER: /* the nesting level above the frame's size */
		r = next_number(i, 2, &v);
		if (r == EMUL_OK)
			r = next_number(i, 1, &level);
		v = (v & 0xffff) | (level & 0xff) << 16;
		break;
	default: /* IMM_8_8 */
		return skip(i, 2);
	}
	if (r == EMUL_OK)
		i->imm = (uint64_t)v;
	return r;
}

/* --- VEX; EVEX and XOP: only their lengths -------------------------------------- */

/* Which opcodes of a map have an immediate of one byte. */
static bool vector_has_imm8(unsigned map, uint8_t opcode)
{
	switch (map) {
	case 1:
		return (opcode & 0xfc) == 0x70
			   ? opcode != 0x77
			   : opcode == 0xc2 || (opcode >= 0xc4 && opcode <= 0xc6);
	case 3: /* 0F3A */
	case 8: /* XOP */
		return true;
	default:
		return false;
	}
}

/* The opcode after a VEX, EVEX or XOP prefix, and all that follows. */
static enum emul_result decode_vector_body(struct insn *i, unsigned map)
{
	enum emul_result r = next_byte(i, &i->opcode);

	if (r != EMUL_OK)
		return r;
	i->map = MAP_OTHER;
	i->flags = 0;
	if (map == 1 && i->opcode == 0x77) /* VZEROUPPER */
		return EMUL_OK;
	r = decode_modrm(i);
	if (r != EMUL_OK)
		return r;
	if (map == 10)
		return skip(i, 4);
	i->imm_kind = vector_has_imm8(map, i->opcode) ? IMM_8 : IMM_NONE;
	return decode_imm(i);
}

/*
 * The second and third byte of a VEX prefix (volume 2, 2.3.5). Bits that would name
 * registers which do not exist outside 64-bit mode mean nothing there.
 */
static void take_vex(struct insn *i, uint8_t p0, uint8_t p1)
{
	i->vex_map = p0 & 31;
	i->vex_pp = p1 & 3;
	i->vex_256 = p1 & 4;
	i->vex_reg = ~p1 >> 3 & (i->mode == MODE_64 ? 15 : 7);
	i->rex = p1 >> 4 & REX_W;
	if (i->mode == MODE_64)
		i->rex |= ~p0 >> 5 & (REX_R | REX_X | REX_B);
	i->exec = exec_vector;
}

/* Three or four prefix bytes, of which the first is behind us; the map is in the second. */
static enum emul_result decode_vector(struct insn *i, unsigned prefix_len)
{
	enum emul_result r = need(i, prefix_len - 1);
	uint8_t p0, p1;

	if (r != EMUL_OK)
		return r;
	if (i->rex || i->lock || i->rep || i->op66)
		return EMUL_UNHANDLED;
	p0 = i->bytes[i->pos];
	p1 = i->bytes[i->pos + prefix_len - 2];
	i->pos += prefix_len - 1;
	if (i->opcode == 0xc5) { /* one byte: only R is there for p0, and no W */
		p0 = (p0 & 0x80) | 0x61;
		p1 &= 0x7f;
	}
	if (i->opcode == 0xc4 || i->opcode == 0xc5)
		take_vex(i, p0, p1);
	return decode_vector_body(i, p0 & (i->opcode == 0x62 ? 7 : 31));
}

/*
 * C4, C5, 62 and 8F are prefixes where their older meaning has no encoding:
 * always in 64-bit mode, else with a register as the operand, but 8F with a
 * ModRM.reg that reaches into the map field. Returns the prefix's length, or 0.
 */
static enum emul_result vector_prefix(struct insn *i, unsigned *len)
{
	enum emul_result r;
	uint8_t next;
	bool legacy;

	*len = 0;
	if (i->opcode != 0xc4 && i->opcode != 0xc5 && i->opcode != 0x62 && i->opcode != 0x8f)
		return EMUL_OK;
	r = need(i, 1);
	if (r != EMUL_OK)
		return r;
	next = i->bytes[i->pos];
	if (i->opcode == 0x8f)
		legacy = (next & 0x1f) < 8;
	else
		legacy = i->mode != MODE_64 && next < 0xc0;
	if (!legacy)
		*len = i->opcode == 0x62 ? 4 : i->opcode == 0xc5 ? 2 : 3;
	return EMUL_OK;
}

/* --- opcodes -------------------------------------------------------------------- */

/* Finds the row; i->opcode becomes the last byte of the opcode. */
static enum emul_result decode_opcode(struct insn *i, const struct opcode **row)
{
	enum emul_result r;

	i->map = MAP_ONE_BYTE;
	*row = &opcodes_one_byte[i->opcode];
	if (i->opcode != 0x0f)
		return EMUL_OK;
	i->map = MAP_0F;
	r = next_byte(i, &i->opcode);
	if (r != EMUL_OK)
		return r;
	*row = &opcodes_0f[i->opcode];
	if (i->opcode != 0x38 && i->opcode != 0x3a)
		return EMUL_OK;
	i->map = i->opcode == 0x38 ? MAP_0F38 : MAP_0F3A;
	r = next_byte(i, &i->opcode);
	if (r != EMUL_OK)
		return r;
	*row = i->map == MAP_0F38 ? opcode_0f38(i->opcode) : &opcode_0f3a;
	return EMUL_OK;
}

static void take_row(struct insn *i, const struct opcode *row)
{
	i->flags = row->flags;
	i->imm_kind = row->imm;
	i->dst_kind = row->dst;
	i->src_kind = row->src;
	i->exec = row->exec;
}

static void take_group(struct insn *i, const struct opcode *row)
{
	i->flags |= row->flags;
	i->exec = row->exec;
	if (row->imm)
		i->imm_kind = row->imm;
	if (row->dst)
		i->dst_kind = row->dst;
	if (row->src)
		i->src_kind = row->src;
}

/* What prefixes and ModRM still change in the meaning of a row. */
static void refine(struct insn *i)
{
	if (LIKELY(!(i->flags & F_REFINE)))
		return;
	if ((i->flags & F_D64) && i->mode == MODE_64 && i->opsize == 4)
		i->opsize = 8;
	if ((i->flags & F_NEAR) && i->mode == MODE_64)
		i->opsize = 8;
	if ((i->flags & F_NO16) && i->opsize == 2)
		i->opsize = 4;
	if ((i->flags & F_EXTRQ) && (i->op66 || i->rep == 0xf2))
		i->imm_kind = IMM_8_8;
	/* The same opcode with other prefixes or another form is an instruction not in the table.
	 */
	if (((i->flags & F_MEM) && !i->is_mem) || ((i->flags & F_NOREP) && i->rep) ||
	    ((i->flags & F_NO66) && i->op66) || ((i->flags & F_ONLY64) && i->mode != MODE_64))
		i->exec = NULL;
}

static enum emul_result decode_legacy(struct insn *i)
{
	const struct opcode *row;
	enum emul_result r = decode_opcode(i, &row);

	if (UNLIKELY(r != EMUL_OK))
		return r;
	take_row(i, row);
	if (i->flags & F_MODRM) {
		r = decode_modrm(i);
		if (UNLIKELY(r != EMUL_OK))
			return r;
		if (row->group)
			take_group(i, &row->group[i->modrm >> 3 & 7]);
	}
	if ((i->flags & F_UD) || ((i->flags & F_NO64) && i->mode == MODE_64))
		return EMUL_UNHANDLED;
	refine(i);
	return decode_imm(i);
}

enum emul_result insn_decode(struct insn *i)
{
	struct emul *e = i->e;
	unsigned vector_len;
	enum emul_result r = decode_prefixes(i);

	if (UNLIKELY(r != EMUL_OK))
		return r;
	decode_sizes(i);
	r = vector_prefix(i, &vector_len);
	if (UNLIKELY(r != EMUL_OK))
		return r;
	r = vector_len ? decode_vector(i, vector_len) : decode_legacy(i);
	e->map = i->map;
	e->opcode = i->opcode;
	e->modrm = i->modrm;
	e->reg = i->reg;
	e->rm = i->rm;
	if (r == EMUL_OK)
		e->insn_len = i->pos;
	return r;
}
