/* SPDX-License-Identifier: BSD-2-Clause */
/* The emulator's entry points: operands in, the handler of the opcode's row, results out. */
#include "hv/arch/x86/emul_impl.h"

#define DR6_BS BIT(14) /* single step (volume 3, 17.2.3) */

/* Exceptions that push an error code (volume 3, table 6-1). */
#define VECTORS_WITH_ERROR                                                                         \
	(BIT(VEC_DF) | BIT(VEC_TS) | BIT(VEC_NP) | BIT(VEC_SS) | BIT(VEC_GP) | BIT(VEC_PF) |       \
	    BIT(VEC_AC))

enum emul_result raise(struct insn *i, unsigned vector, uint32_t error_code)
{
	bool has_error = (VECTORS_WITH_ERROR >> vector & 1) && (i->s->cr0 & CR0_PE);

	i->e->event = (struct event){.type = EVENT_EXCEPTION,
	    .vector = (uint8_t)vector,
	    .has_error = has_error,
	    .error_code = has_error ? error_code : 0};
	return EMUL_EXCEPTION;
}

/* --- registers ------------------------------------------------------------------ */

uint64_t reg_read(const struct insn *i, unsigned reg, unsigned size)
{
	return gpr_read(i->s->gpr, i->rex, reg, size);
}

void reg_write(struct insn *i, unsigned reg, unsigned size, uint64_t value)
{
	gpr_write(i->s->gpr, i->rex, reg, size, value);
}

uint64_t effective_address(const struct insn *i)
{
	const uint64_t *gpr = i->s->gpr;
	uint64_t ea = (uint64_t)i->disp;

	if (i->base != REG_NONE)
		ea += gpr[i->base];
	if (i->index != REG_NONE)
		ea += gpr[i->index] << i->scale;
	if (i->rip_relative)
		ea += i->ip + i->pos;
	return ea & size_mask(i->addrsize);
}

/* --- operands ------------------------------------------------------------------- */

static bool kind_is_memory(const struct insn *i, unsigned kind)
{
	return kind == OPD_MOFFS || (kind == OPD_RM && i->is_mem);
}

static unsigned kind_register(const struct insn *i, unsigned kind)
{
	switch (kind) {
	case OPD_RM:
		return i->rm;
	case OPD_REG:
		return i->reg;
	case OPD_OPREG:
		return (i->opcode & 7u) | (i->rex & 1u) << 3;
	default:
		return GPR_RAX;
	}
}

static void operand_sizes(struct insn *i)
{
	i->size = i->flags & F_BYTE ? 1 : i->opsize;
	i->src_size = i->size;
	if (i->flags & F_SRC8)
		i->src_size = 1;
	else if (i->flags & F_SRC16)
		i->src_size = 2;
	else if (i->flags & F_SRC32)
		i->src_size = MIN(i->size, (uint8_t)4);
}

/*
 * A bit string in memory: the offset in the register is signed and selects the
 * word as well as the bit (volume 2, BT).
 */
static void move_by_bit_offset(struct insn *i)
{
	unsigned unused_bits = 64 - 8 * i->size;
	int64_t offset = (int64_t)(i->src << unused_bits) >> unused_bits;

	/* An arithmetic shift rounds down, as it must be. */
	i->ea += (uint64_t)((offset >> (i->size == 8 ? 6 : i->size == 4 ? 5 : 4)) * i->size);
	i->ea &= size_mask(i->addrsize);
}

static void locate_memory(struct insn *i)
{
	if (i->src_kind == OPD_MOFFS || i->dst_kind == OPD_MOFFS) {
		i->ea = i->imm & size_mask(i->addrsize);
		i->seg = i->seg_override != REG_NONE ? i->seg_override : SEG_DS;
	} else if (i->is_mem) {
		i->ea = effective_address(i);
	}
}

static enum emul_result load_source(struct insn *i)
{
	enum emul_result r;

	if (kind_is_memory(i, i->src_kind)) {
		r = operand_span(i, i->src_size, ACCESS_READ);
		if (r != EMUL_OK)
			return r;
		i->src = 0;
		return mem_read(i, &i->span, &i->src);
	}
	switch (i->src_kind) {
	case OPD_NONE:
		break;
	case OPD_IMM:
		i->src = i->imm & size_mask(i->size);
		break;
	case OPD_ONE:
		i->src = 1;
		break;
	case OPD_CL:
		i->src = i->s->gpr[GPR_RCX] & 0xff;
		break;
	default:
		i->src = reg_read(i, kind_register(i, i->src_kind), i->src_size);
	}
	return EMUL_OK;
}

static enum emul_result load_destination(struct insn *i)
{
	unsigned access = i->flags & F_WRITE ? ACCESS_WRITE : ACCESS_READ;
	enum emul_result r;

	if (!kind_is_memory(i, i->dst_kind)) {
		if (i->flags & F_READ)
			i->dst = reg_read(i, kind_register(i, i->dst_kind), i->size);
		return EMUL_OK;
	}
	r = operand_span(i, i->size, access);
	if (r != EMUL_OK || !(i->flags & F_READ))
		return r;
	i->dst = 0;
	return mem_read(i, &i->span, &i->dst);
}

/* Computes and stores until no other CPU came in between. */
static enum emul_result execute_atomic(struct insn *i)
{
	for (unsigned tries = 0; tries < ATOMIC_TRIES; tries++) {
		uint64_t seen = i->dst;
		enum emul_result r;

		i->rflags = i->s->rflags;
		r = i->exec(i);
		if (r == EMUL_OK)
			r = mem_cmpxchg(i, &i->span, &seen, &i->result);
		if (r != EMUL_OK || seen == i->dst)
			return r;
		i->dst = seen;
	}
	return EMUL_RETRY;
}

/* Everything that can fail is done; what remains goes into registers. */
static void commit_registers(struct insn *i)
{
	if (i->out_reg != REG_NONE)
		reg_write(i, i->out_reg, i->size, i->out_value);
	if ((i->flags & F_WRITE) && !kind_is_memory(i, i->dst_kind))
		reg_write(i, kind_register(i, i->dst_kind), i->size, i->result);
}

static enum emul_result execute_operands(struct insn *i)
{
	bool dst_in_memory = kind_is_memory(i, i->dst_kind);
	enum emul_result r = load_source(i);

	if (r == EMUL_OK && (i->flags & F_BITOFF) && i->is_mem)
		move_by_bit_offset(i);
	if (r == EMUL_OK)
		r = load_destination(i);
	if (r != EMUL_OK)
		return r;
	if (dst_in_memory && (i->lock || (i->flags & F_ATOMIC))) {
		r = execute_atomic(i);
	} else {
		r = i->exec(i);
		if (r == EMUL_OK && dst_in_memory && (i->flags & F_WRITE))
			r = mem_write(i, &i->span, &i->result);
	}
	if (r == EMUL_OK)
		commit_registers(i);
	return r;
}

static enum emul_result execute(struct insn *i)
{
	enum emul_result r;

	if (!i->exec)
		return EMUL_UNHANDLED;
	if (i->lock && !((i->flags & F_LOCK) && i->is_mem && i->dst_kind != OPD_REG))
		return raise(i, VEC_UD, 0);
	i->rflags = i->s->rflags;
	i->next = i->ip + i->pos;
	operand_sizes(i);
	locate_memory(i);
	if (i->dst_kind == OPD_NONE && i->src_kind == OPD_NONE)
		return i->exec(i);
	if (i->dst_kind != OPD_NONE)
		return execute_operands(i);
	/* Only a source: the handler does the rest. */
	r = load_source(i);
	return r == EMUL_OK ? i->exec(i) : r;
}

/* --- completion ----------------------------------------------------------------- */

/* The shadow of the previous instruction ends, and a single step traps (volume 3, 17.3.1.4). */
static void finish(struct insn *i)
{
	struct vcpu_state *s = i->s;

	s->sti_shadow = 0;
	s->movss_shadow = i->movss;
	if ((s->rflags & RFLAGS_TF) && !i->movss) {
		s->dr6 |= DR6_BS;
		raise(i, VEC_DB, 0);
	}
}

static enum emul_result run(struct insn *i)
{
	enum emul_result r = insn_decode(i);

	if (LIKELY(r == EMUL_OK))
		r = execute(i);
	if (LIKELY(r == EMUL_OK)) {
		i->s->rip = i->mode == MODE_64 ? i->next : (uint32_t)i->next;
		i->s->rflags = i->rflags & ~(uint64_t)RFLAGS_RF;
		finish(i);
	} else if (r == EMUL_CONTINUE) {
		finish(i);
	}
	return r;
}

enum emul_result emulate(struct emul *e)
{
	struct insn i;

	insn_init(&i, e);
	return run(&i);
}

enum emul_result emulate_mmio(struct emul *e, gpa_t fault, bool write)
{
	struct insn i;

	insn_init(&i, e);
	i.fault_known = true;
	i.fault = fault;
	i.fault_write = write;
	return run(&i);
}

unsigned emul_insn_length(struct emul *e)
{
	struct insn i;
	enum emul_result r;

	insn_init(&i, e);
	r = insn_decode(&i);
	if (r == EMUL_OK)
		return i.pos;
	if (r == EMUL_UNHANDLED)
		raise(&i, VEC_UD, 0);
	return 0;
}

enum emul_result emul_read_operand(struct emul *e, unsigned len, uint64_t *value)
{
	struct insn i;
	enum emul_result r;

	insn_init(&i, e);
	r = insn_decode(&i);
	if (r != EMUL_OK)
		return r;
	if (!i.is_mem)
		return EMUL_UNHANDLED;
	i.ea = effective_address(&i);
	r = operand_span(&i, len, ACCESS_READ);
	*value = 0;
	return r == EMUL_OK ? mem_read(&i, &i.span, value) : r;
}
