/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Moves between memory and SSE, AVX and MMX registers. The registers are those of
 * the XSAVE area in the vCPU's state: hypervisor code itself uses general registers
 * only. Forms without memory are never emulated; EVEX is not.
 */
#include <string.h>
#include "hv/arch/x86/emul_impl.h"
#include "hv/arch/x86/xstate.h"

/* The XSAVE area, standard form (volume 1, 13.4; AVX's place is the same on every CPU). */
enum {
	AREA_FCW = 0,
	AREA_FSW = 2,
	AREA_FTW = 4,
	AREA_X87_END = 24, /* MXCSR, which is SSE's, then */
	AREA_MM = 32,	   /* eight registers at a distance of 16 bytes */
	AREA_XMM = 160,	   /* 16 registers, lower halves, */
	AREA_YMM = 576,	   /* and upper halves */
	HALF = 16,
	FCW_INIT = 0x37f,
	FSW_ES = 1 << 7,   /* an exception is pending */
	FSW_TOP = 7 << 11, /* the stack's top */
};

/* How many bytes of memory; positive: just as many. */
enum vector_size {
	SIZE_ALL = 0,  /* a whole register: 16 or 32 by VEX.L */
	SIZE_W = 128,  /* 4, or 8 with REX.W or VEX.W */
	SIZE_DUP = 129 /* 8, or 32 with VEX.L */
};

/* What becomes of what was read; STORE reads nothing. */
enum vector_kind {
	STORE,
	LOAD,	/* zeros behind it */
	INSERT, /* the rest from another operand */
	SPREAD, /* repeated to fill the register */
	EVEN4,	/* even elements of four bytes, each twice, */
	ODD4,	/* odd ones, */
	EVEN8	/* even elements of eight bytes */
};

enum vector_flag {
	MMX = 1 << 0,
	VEX_TOO = 1 << 1,  /* there is a VEX form as well */
	VEX_ONLY = 1 << 2, /* and no other */
	L0 = 1 << 3,	   /* VEX.L must be 0, */
	L1 = 1 << 4,	   /* 1 */
	W0 = 1 << 5,	   /* VEX.W must be 0 */
	HIGH = 1 << 6,	   /* the upper half of an XMM register */
	INDEX = 1 << 7	   /* the element that the immediate names */
};

/* Whether the address must be aligned. */
enum vector_align { ANY, ALIGNED, ALIGNED_SSE /* without VEX */ };

/* Mandatory prefixes: as many rows in one. */
enum { PP_NONE = 1, PP_66 = 2, PP_F3 = 4, PP_F2 = 8, PP_PS_PD = PP_NONE | PP_66 };

struct vector_row {
	uint8_t map; /* enum emul_map */
	uint8_t opcode;
	uint8_t prefixes;
	uint8_t kind; /* enum vector_kind */
	uint8_t size; /* enum vector_size */
	uint8_t align;
	uint8_t flags; /* enum vector_flag */
};

/* clang-format off */
static const struct vector_row vector_rows[] = {
	/* MOVUPS, MOVUPD, MOVSS, MOVSD */
	{MAP_0F, 0x10, PP_PS_PD, LOAD,  SIZE_ALL, ANY, VEX_TOO},
	{MAP_0F, 0x11, PP_PS_PD, STORE, SIZE_ALL, ANY, VEX_TOO},
	{MAP_0F, 0x10, PP_F3, LOAD,  4, ANY, VEX_TOO},
	{MAP_0F, 0x11, PP_F3, STORE, 4, ANY, VEX_TOO},
	{MAP_0F, 0x10, PP_F2, LOAD,  8, ANY, VEX_TOO},
	{MAP_0F, 0x11, PP_F2, STORE, 8, ANY, VEX_TOO},
	/* MOVLPS, MOVLPD, MOVHPS, MOVHPD */
	{MAP_0F, 0x12, PP_PS_PD, INSERT, 8, ANY, VEX_TOO | L0},
	{MAP_0F, 0x13, PP_PS_PD, STORE,  8, ANY, VEX_TOO | L0},
	{MAP_0F, 0x16, PP_PS_PD, INSERT, 8, ANY, VEX_TOO | L0 | HIGH},
	{MAP_0F, 0x17, PP_PS_PD, STORE,  8, ANY, VEX_TOO | L0 | HIGH},
	/* MOVSLDUP, MOVSHDUP, MOVDDUP */
	{MAP_0F, 0x12, PP_F3, EVEN4, SIZE_ALL, ALIGNED_SSE, VEX_TOO},
	{MAP_0F, 0x16, PP_F3, ODD4,  SIZE_ALL, ALIGNED_SSE, VEX_TOO},
	{MAP_0F, 0x12, PP_F2, EVEN8, SIZE_DUP, ANY, VEX_TOO},
	/* MOVAPS, MOVAPD, MOVNTPS, MOVNTPD */
	{MAP_0F, 0x28, PP_PS_PD, LOAD,  SIZE_ALL, ALIGNED, VEX_TOO},
	{MAP_0F, 0x29, PP_PS_PD, STORE, SIZE_ALL, ALIGNED, VEX_TOO},
	{MAP_0F, 0x2b, PP_PS_PD, STORE, SIZE_ALL, ALIGNED, VEX_TOO},
	/* MOVD, MOVQ */
	{MAP_0F, 0x6e, PP_NONE, LOAD,  SIZE_W, ANY, MMX},
	{MAP_0F, 0x7e, PP_NONE, STORE, SIZE_W, ANY, MMX},
	{MAP_0F, 0x6f, PP_NONE, LOAD,  8, ANY, MMX},
	{MAP_0F, 0x7f, PP_NONE, STORE, 8, ANY, MMX},
	{MAP_0F, 0x6e, PP_66, LOAD,  SIZE_W, ANY, VEX_TOO | L0},
	{MAP_0F, 0x7e, PP_66, STORE, SIZE_W, ANY, VEX_TOO | L0},
	{MAP_0F, 0x7e, PP_F3, LOAD,  8, ANY, VEX_TOO | L0},
	{MAP_0F, 0xd6, PP_66, STORE, 8, ANY, VEX_TOO | L0},
	/* MOVDQA, MOVDQU, LDDQU */
	{MAP_0F, 0x6f, PP_66, LOAD,  SIZE_ALL, ALIGNED, VEX_TOO},
	{MAP_0F, 0x7f, PP_66, STORE, SIZE_ALL, ALIGNED, VEX_TOO},
	{MAP_0F, 0x6f, PP_F3, LOAD,  SIZE_ALL, ANY, VEX_TOO},
	{MAP_0F, 0x7f, PP_F3, STORE, SIZE_ALL, ANY, VEX_TOO},
	{MAP_0F, 0xf0, PP_F2, LOAD,  SIZE_ALL, ANY, VEX_TOO},
	/* MOVNTQ, MOVNTDQ, MOVNTDQA */
	{MAP_0F,   0xe7, PP_NONE, STORE, 8, ANY, MMX},
	{MAP_0F,   0xe7, PP_66, STORE, SIZE_ALL, ALIGNED, VEX_TOO},
	{MAP_0F38, 0x2a, PP_66, LOAD,  SIZE_ALL, ALIGNED, VEX_TOO},
	/* PINSRW, PEXTRB, PEXTRW, PEXTRD and PEXTRQ, EXTRACTPS, PINSRB, PINSRD and PINSRQ */
	{MAP_0F,   0xc4, PP_66, INSERT, 2, ANY, VEX_TOO | L0 | INDEX},
	{MAP_0F3A, 0x14, PP_66, STORE,  1, ANY, VEX_TOO | L0 | INDEX},
	{MAP_0F3A, 0x15, PP_66, STORE,  2, ANY, VEX_TOO | L0 | INDEX},
	{MAP_0F3A, 0x16, PP_66, STORE,  SIZE_W, ANY, VEX_TOO | L0 | INDEX},
	{MAP_0F3A, 0x17, PP_66, STORE,  4, ANY, VEX_TOO | L0 | INDEX},
	{MAP_0F3A, 0x20, PP_66, INSERT, 1, ANY, VEX_TOO | L0 | INDEX},
	{MAP_0F3A, 0x22, PP_66, INSERT, SIZE_W, ANY, VEX_TOO | L0 | INDEX},
	/* VINSERTF128, VEXTRACTF128, VINSERTI128, VEXTRACTI128 */
	{MAP_0F3A, 0x18, PP_66, INSERT, 16, ANY, VEX_ONLY | L1 | W0 | INDEX},
	{MAP_0F3A, 0x19, PP_66, STORE,  16, ANY, VEX_ONLY | L1 | W0 | INDEX},
	{MAP_0F3A, 0x38, PP_66, INSERT, 16, ANY, VEX_ONLY | L1 | W0 | INDEX},
	{MAP_0F3A, 0x39, PP_66, STORE,  16, ANY, VEX_ONLY | L1 | W0 | INDEX},
	/* VBROADCASTSS, VBROADCASTSD, VBROADCASTF128 */
	{MAP_0F38, 0x18, PP_66, SPREAD, 4,  ANY, VEX_ONLY | W0},
	{MAP_0F38, 0x19, PP_66, SPREAD, 8,  ANY, VEX_ONLY | L1 | W0},
	{MAP_0F38, 0x1a, PP_66, SPREAD, 16, ANY, VEX_ONLY | L1 | W0},
	/* VPBROADCASTD, VPBROADCASTQ, VBROADCASTI128, VPBROADCASTB, VPBROADCASTW */
	{MAP_0F38, 0x58, PP_66, SPREAD, 4,  ANY, VEX_ONLY | W0},
	{MAP_0F38, 0x59, PP_66, SPREAD, 8,  ANY, VEX_ONLY | W0},
	{MAP_0F38, 0x5a, PP_66, SPREAD, 16, ANY, VEX_ONLY | L1 | W0},
	{MAP_0F38, 0x78, PP_66, SPREAD, 1,  ANY, VEX_ONLY | W0},
	{MAP_0F38, 0x79, PP_66, SPREAD, 2,  ANY, VEX_ONLY | W0},
};
/* clang-format on */

/* --- the XSAVE area --------------------------------------------------------------- */

static uint64_t *components_in_use(struct vcpu_state *s)
{
	return (uint64_t *)(void *)(s->xstate + XSAVE_HEADER);
}

/* A component that the header calls unused is in its initial state, whatever its place holds. */
static void get_half(struct vcpu_state *s, uint64_t component, unsigned offset, uint8_t out[HALF])
{
	if (*components_in_use(s) & component)
		memcpy(out, s->xstate + offset, HALF);
	else
		memset(out, 0, HALF);
}

/* Makes the place of a component, len bytes at 'offset', hold what the component is. */
static void use_component(struct vcpu_state *s, uint64_t component, unsigned offset, unsigned len)
{
	if (*components_in_use(s) & component)
		return;
	*components_in_use(s) |= component;
	memset(s->xstate + offset, 0, len);
}

static void get_ymm(struct vcpu_state *s, unsigned reg, uint8_t out[2 * HALF])
{
	get_half(s, XSTATE_SSE, AREA_XMM + reg * HALF, out);
	get_half(s, XSTATE_AVX, AREA_YMM + reg * HALF, out + HALF);
}

/* Without VEX, the upper half stays as it is. */
static void put_ymm(struct insn *i, unsigned reg, const uint8_t value[2 * HALF])
{
	struct vcpu_state *s = i->s;

	use_component(s, XSTATE_SSE, AREA_XMM, 16 * HALF);
	memcpy(s->xstate + AREA_XMM + reg * HALF, value, HALF);
	if (!i->vex_map)
		return;
	use_component(s, XSTATE_AVX, AREA_YMM, 16 * HALF);
	memcpy(s->xstate + AREA_YMM + reg * HALF, value + HALF, HALF);
}

static unsigned stack_top(const struct vcpu_state *s)
{
	return load16(s->xstate + AREA_FSW) >> 11 & 7;
}

/* The area has x87 registers by their distance from the stack's top, MMX has none. */
static uint8_t *mmx_register(struct vcpu_state *s, unsigned reg)
{
	return s->xstate + AREA_MM + ((reg - stack_top(s)) & 7) * HALF;
}

/* Every MMX instruction takes all registers, and lets the stack begin at 0 (volume 1, 9.5.1). */
static void begin_mmx(struct vcpu_state *s)
{
	uint8_t *area = s->xstate, registers[8][HALF];
	uint16_t word = FCW_INIT;

	if (!(*components_in_use(s) & XSTATE_X87)) {
		use_component(s, XSTATE_X87, AREA_MM, 8 * HALF);
		memset(area, 0, AREA_X87_END);
		memcpy(area + AREA_FCW, &word, sizeof(word));
	}
	for (unsigned n = 0; n < 8; n++)
		memcpy(registers[n], mmx_register(s, n), HALF);
	memcpy(area + AREA_MM, registers, sizeof(registers));
	word = load16(area + AREA_FSW) & ~FSW_TOP;
	memcpy(area + AREA_FSW, &word, sizeof(word));
	area[AREA_FTW] = 0xff;
}

static void get_mmx(struct vcpu_state *s, unsigned reg, uint8_t *value)
{
	if (*components_in_use(s) & XSTATE_X87)
		memcpy(value, mmx_register(s, reg & 7), 8);
	else
		memset(value, 0, 8);
}

/* What is written looks like a NaN to the x87 unit. */
static void put_mmx(struct vcpu_state *s, unsigned reg, const uint8_t *value)
{
	uint8_t *at;

	begin_mmx(s);
	at = mmx_register(s, reg & 7);
	memcpy(at, value, 8);
	memset(at + 8, 0xff, 2);
}

/* --- which instruction, and whether it is allowed ---------------------------------- */

static unsigned mandatory_prefix(const struct insn *i)
{
	if (i->vex_map)
		return 1u << i->vex_pp;
	if (i->rep)
		return i->rep == 0xf3 ? PP_F3 : PP_F2;
	return i->op66 ? PP_66 : PP_NONE;
}

static bool vex_form_exists(const struct insn *i, const struct vector_row *row)
{
	return (row->flags & (VEX_TOO | VEX_ONLY)) && !(i->vex_256 && (row->flags & L0)) &&
	       !(!i->vex_256 && (row->flags & L1)) && !((i->rex & REX_W) && (row->flags & W0)) &&
	       (row->kind == INSERT || !i->vex_reg);
}

static const struct vector_row *find_row(const struct insn *i)
{
	unsigned map = i->vex_map ? i->vex_map : i->map, prefix = mandatory_prefix(i);

	for (unsigned n = 0; n < ARRAY_LEN(vector_rows); n++) {
		const struct vector_row *row = &vector_rows[n];

		if (row->opcode == i->opcode && row->map == map && (row->prefixes & prefix))
			return row;
	}
	return NULL;
}

/* Of the CPU's state (volume 2, 2.4; volume 3, 2.5 and table 13-1). */
static enum emul_result check_enabled(struct insn *i, const struct vector_row *row)
{
	struct vcpu_state *s = i->s;
	const uint64_t avx = XSTATE_SSE | XSTATE_AVX;
	bool enabled;

	if (i->vex_map)
		enabled = (s->cr0 & CR0_PE) && !(s->rflags & RFLAGS_VM) && (s->cr4 & CR4_OSXSAVE) &&
			  (s->xcr0 & avx) == avx;
	else
		enabled = !(s->cr0 & CR0_EM) && ((row->flags & MMX) || (s->cr4 & CR4_OSFXSR));
	if (!enabled)
		return raise(i, VEC_UD, 0);
	if (s->cr0 & CR0_TS)
		return raise(i, VEC_NM, 0);
	if ((row->flags & MMX) && (*components_in_use(s) & XSTATE_X87) &&
	    (load16(s->xstate + AREA_FSW) & FSW_ES))
		return raise(i, VEC_MF, 0);
	return EMUL_OK;
}

/* --- execution -------------------------------------------------------------------- */

static unsigned memory_size(const struct insn *i, const struct vector_row *row)
{
	unsigned all = i->vex_256 ? 2 * HALF : HALF;

	switch (row->size) {
	case SIZE_ALL:
		return all;
	case SIZE_W:
		return (i->rex & REX_W) && i->mode == MODE_64 ? 8 : 4;
	case SIZE_DUP:
		return all == HALF ? 8 : all;
	default:
		return row->size;
	}
}

static enum emul_result locate(struct insn *i, const struct vector_row *row, unsigned size)
{
	bool aligned = row->align == ALIGNED || (row->align == ALIGNED_SSE && !i->vex_map);
	uint64_t linear;

	if (aligned) {
		unsigned access = row->kind == STORE ? ACCESS_WRITE : ACCESS_READ;
		unsigned vector = seg_linear(i, i->seg, i->ea, size, access, &linear);

		if (vector || (linear & (size - 1)))
			return raise(i, vector ? vector : VEC_GP, 0);
	}
	return operand_span(i, size, row->kind == STORE ? ACCESS_WRITE : ACCESS_READ);
}

/* Where in the register the operand in memory belongs. */
static unsigned position(const struct insn *i, const struct vector_row *row, unsigned size)
{
	unsigned index = row->flags & HIGH ? 1 : row->flags & INDEX ? (unsigned)i->imm : 0;

	return index * size & ((row->flags & L1 ? 2 * HALF : HALF) - 1);
}

static void repeat_elements(uint8_t *value, unsigned len, unsigned element, unsigned odd)
{
	for (unsigned n = 0; n < len; n += 2 * element) {
		uint8_t one[8];

		memcpy(one, value + n + odd * element, element);
		memcpy(value + n, one, element);
		memcpy(value + n + element, one, element);
	}
}

/* From what was read, in 'value' with zeros behind it, to what the register becomes. */
static void form_value(
    struct insn *i, const struct vector_row *row, unsigned size, uint8_t value[2 * HALF])
{
	unsigned all = i->vex_256 ? 2 * HALF : HALF;
	uint8_t part[HALF];

	switch (row->kind) {
	case INSERT:
		memcpy(part, value, size);
		get_ymm(i->s, i->vex_map ? i->vex_reg : i->reg, value);
		memcpy(value + position(i, row, size), part, size);
		memset(value + all, 0, 2 * HALF - all);
		break;
	case SPREAD:
		for (unsigned n = size; n < all; n++)
			value[n] = value[n - size];
		break;
	case EVEN4:
	case ODD4:
		repeat_elements(value, all, 4, row->kind == ODD4);
		break;
	case EVEN8:
		repeat_elements(value, all, 8, 0);
		break;
	default:
		break;
	}
}

static enum emul_result store(struct insn *i, const struct vector_row *row, unsigned size)
{
	uint8_t value[2 * HALF];
	enum emul_result r;

	if (row->flags & MMX)
		get_mmx(i->s, i->reg, value);
	else
		get_ymm(i->s, i->reg, value);
	r = mem_write(i, &i->span, value + position(i, row, size));
	if (r == EMUL_OK && (row->flags & MMX))
		begin_mmx(i->s);
	return r;
}

static enum emul_result load(struct insn *i, const struct vector_row *row, unsigned size)
{
	uint8_t value[2 * HALF] = {0};
	enum emul_result r = mem_read(i, &i->span, value);

	if (r != EMUL_OK)
		return r;
	if (row->flags & MMX) {
		put_mmx(i->s, i->reg, value);
		return EMUL_OK;
	}
	form_value(i, row, size, value);
	put_ymm(i, i->reg, value);
	return EMUL_OK;
}

enum emul_result exec_vector(struct insn *i)
{
	const struct vector_row *row = i->is_mem ? find_row(i) : NULL;
	unsigned size;
	enum emul_result r;

	if (!row)
		return EMUL_UNHANDLED;
	if (i->vex_map ? !vex_form_exists(i, row) : row->flags & VEX_ONLY)
		return raise(i, VEC_UD, 0);
	if (i->e->ops->vectors)
		i->e->ops->vectors(i->e->ctx);
	r = check_enabled(i, row);
	if (r != EMUL_OK)
		return r;
	size = memory_size(i, row);
	r = locate(i, row, size);
	if (r != EMUL_OK)
		return r;
	return row->kind == STORE ? store(i, row, size) : load(i, row, size);
}
