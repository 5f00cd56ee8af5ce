/* SPDX-License-Identifier: BSD-2-Clause */
/* Moves and exchanges, the stack, and instructions with operands of their own shape. */
#include <string.h>
#include "hv/arch/x86/emul_impl.h"

/* --- moves ---------------------------------------------------------------------- */

enum emul_result exec_mov(struct insn *i)
{
	i->result = i->src;
	return EMUL_OK;
}

enum emul_result exec_movsx(struct insn *i)
{
	unsigned unused_bits = 64 - 8 * i->src_size;

	i->result = (uint64_t)((int64_t)(i->src << unused_bits) >> unused_bits);
	return EMUL_OK;
}

enum emul_result exec_movbe(struct insn *i)
{
	i->result = __builtin_bswap64(i->src) >> (64 - 8 * i->size);
	return EMUL_OK;
}

enum emul_result exec_lea(struct insn *i)
{
	i->result = i->ea;
	return EMUL_OK;
}

enum emul_result exec_xchg(struct insn *i)
{
	i->result = i->src;
	i->out_reg = i->reg;
	i->out_value = i->dst;
	return EMUL_OK;
}

/* MOV r/m, Sreg: two bytes to memory, the whole operand size to a register. */
enum emul_result exec_mov_from_seg(struct insn *i)
{
	unsigned seg = i->modrm >> 3 & 7;
	enum emul_result r;

	if (seg > SEG_GS)
		return raise(i, VEC_UD, 0);
	if (!i->is_mem) {
		reg_write(i, i->rm, i->opsize, i->s->seg[seg].sel);
		return EMUL_OK;
	}
	r = mem_span(i, i->seg, i->ea, 2, ACCESS_WRITE, &i->span);
	return r == EMUL_OK ? mem_write(i, &i->span, &i->s->seg[seg].sel) : r;
}

/*
 * SLDT, STR and SMSW: two bytes to memory; SMSW: as much of CR0 as a register holds
 * (volume 2). What reaches memory of a device in user mode with UMIP is refused here as the
 * CPU refuses it elsewhere.
 */
enum emul_result exec_store_system(struct insn *i)
{
	const struct vcpu_state *s = i->s;
	bool smsw = i->opcode == 1;
	unsigned seg = i->modrm >> 3 & 1 ? SEG_TR : SEG_LDTR;
	uint16_t value = smsw ? (uint16_t)s->cr0 : s->seg[seg].sel;
	enum emul_result r;

	if (!smsw && (!(s->cr0 & CR0_PE) || (s->rflags & RFLAGS_VM)))
		return raise(i, VEC_UD, 0);
	if ((s->cr4 & CR4_UMIP) && s->cpl)
		return raise(i, VEC_GP, 0);
	if (!i->is_mem) {
		reg_write(i, i->rm, i->opsize, s->cr0);
		return EMUL_OK;
	}
	r = operand_span(i, sizeof(value), ACCESS_WRITE);
	return r == EMUL_OK ? mem_write(i, &i->span, &value) : r;
}

/* AL from a table at seg:rBX. */
enum emul_result exec_xlat(struct insn *i)
{
	enum emul_result r;
	uint8_t value;

	i->seg = i->seg_override != REG_NONE ? i->seg_override : SEG_DS;
	i->ea = (i->s->gpr[GPR_RBX] + (i->s->gpr[GPR_RAX] & 0xff)) & size_mask(i->addrsize);
	r = operand_span(i, 1, ACCESS_READ);
	if (r == EMUL_OK)
		r = mem_read(i, &i->span, &value);
	if (r == EMUL_OK)
		reg_write(i, GPR_RAX, 1, value);
	return r;
}

enum emul_result exec_nop(struct insn *i)
{
	(void)i;
	return EMUL_OK;
}

/* CLFLUSH, CLFLUSHOPT, CLWB: checked like a load of one byte (volume 2, CLFLUSH). */
enum emul_result exec_clflush(struct insn *i)
{
	return i->is_mem ? mem_span(i, i->seg, i->ea, 1, ACCESS_READ, &i->span) : EMUL_OK;
}

/* --- CMPXCHG8B, CMPXCHG16B ------------------------------------------------------ */

static void put_pair(uint8_t *buf, uint64_t low, uint64_t high, unsigned half)
{
	memcpy(buf, &low, half);
	memcpy(buf + half, &high, half);
}

static uint64_t get_half(const uint8_t *buf, unsigned half)
{
	uint64_t v = 0;

	memcpy(&v, buf, half);
	return v;
}

/* One attempt at the exchange; old holds what memory is thought to be, and then what it was. */
static enum emul_result exchange_pair(
    struct insn *i, uint8_t *old, const uint8_t *expected, const uint8_t *replacement)
{
	unsigned len = i->span.len[0] + i->span.len[1];
	/* A failed comparison writes back what was there: the bus cycle is always a write. */
	const uint8_t *desired = memcmp(old, expected, len) ? old : replacement;
	uint8_t copy[16];

	if (!i->lock)
		return mem_write(i, &i->span, desired);
	memcpy(copy, desired, len);
	return mem_cmpxchg(i, &i->span, old, copy);
}

enum emul_result exec_cmpxchg8b(struct insn *i)
{
	uint64_t *gpr = i->s->gpr;
	unsigned half = i->opsize == 8 ? 8 : 4;
	uint8_t old[16], seen[16], expected[16], replacement[16];
	enum emul_result r;

	/* The 16-byte form wants alignment whatever CR0.AM says (volume 2, CMPXCHG16B). */
	if (half == 8 && (i->ea + (i->seg >= SEG_FS ? i->s->seg[i->seg].base : 0)) & 15)
		return raise(i, VEC_GP, 0);
	r = mem_span(i, i->seg, i->ea, 2 * half, ACCESS_WRITE, &i->span);
	if (r == EMUL_OK)
		r = mem_read(i, &i->span, old);
	if (r != EMUL_OK)
		return r;
	put_pair(expected, gpr[GPR_RAX], gpr[GPR_RDX], half);
	put_pair(replacement, gpr[GPR_RBX], gpr[GPR_RCX], half);
	for (unsigned tries = 0;; tries++) {
		if (tries == ATOMIC_TRIES)
			return EMUL_RETRY;
		memcpy(seen, old, 2 * half);
		r = exchange_pair(i, old, expected, replacement);
		if (r != EMUL_OK)
			return r;
		if (!memcmp(seen, old, 2 * half))
			break;
	}
	i->rflags |= RFLAGS_ZF;
	if (!memcmp(old, expected, 2 * half))
		return EMUL_OK;
	i->rflags &= ~(uint64_t)RFLAGS_ZF;
	gpr[GPR_RAX] = get_half(old, half);
	gpr[GPR_RDX] = get_half(old + half, half);
	return EMUL_OK;
}

/* --- the stack ------------------------------------------------------------------ */

static unsigned stack_width(const struct insn *i)
{
	if (i->mode == MODE_64)
		return 8;
	return i->s->seg[SEG_SS].attr & SEG_ATTR_DB ? 4 : 2;
}

/* Where the stack pointer will be after moving by delta. */
static uint64_t stack_offset(const struct insn *i, int delta)
{
	return (i->s->gpr[GPR_RSP] + (uint64_t)(int64_t)delta) & size_mask(stack_width(i));
}

static void stack_move(struct insn *i, int delta)
{
	unsigned width = stack_width(i);
	uint64_t *rsp = &i->s->gpr[GPR_RSP];

	/* A 16-bit stack moves SP and leaves the rest of ESP alone. */
	*rsp = (*rsp & ~size_mask(width)) | stack_offset(i, delta);
}

/* PUSH of a register or an immediate, which is in i->src. */
enum emul_result exec_push(struct insn *i)
{
	enum emul_result r =
	    mem_span(i, SEG_SS, stack_offset(i, -i->size), i->size, ACCESS_WRITE, &i->span);

	if (r == EMUL_OK)
		r = mem_write(i, &i->span, &i->src);
	if (r == EMUL_OK)
		stack_move(i, -i->size);
	return r;
}

/* Takes a near branch to i->src, or refuses (volume 2, JMP). */
static enum emul_result branch(struct insn *i)
{
	if (i->mode == MODE_64 ? !is_canonical(i->src) : i->src > i->s->seg[SEG_CS].limit)
		return raise(i, VEC_GP, 0);
	i->next = i->src;
	return EMUL_OK;
}

enum emul_result exec_jmp_rm(struct insn *i)
{
	return branch(i);
}

/* PUSH m, and CALL m: both operands are translated before a device might be read. */
static enum emul_result push_memory(struct insn *i, bool call)
{
	struct span stack;
	uint64_t value = i->next;
	bool ram;
	enum emul_result r = mem_span(i, i->seg, i->ea, i->size, ACCESS_READ, &i->span);

	if (r == EMUL_OK)
		r = mem_span(i, SEG_SS, stack_offset(i, -i->size), i->size, ACCESS_WRITE, &stack);
	if (r == EMUL_OK)
		r = mem_probe(i, &stack, true, &ram);
	i->src = 0;
	if (r == EMUL_OK)
		r = mem_read(i, &i->span, &i->src);
	if (r == EMUL_OK && call)
		r = branch(i);
	if (r == EMUL_OK)
		r = mem_write(i, &stack, call ? &value : &i->src);
	if (r == EMUL_OK)
		stack_move(i, -i->size);
	return r;
}

enum emul_result exec_push_rm(struct insn *i)
{
	if (i->is_mem)
		return push_memory(i, false);
	i->src = reg_read(i, i->rm, i->size);
	return exec_push(i);
}

enum emul_result exec_call_rm(struct insn *i)
{
	return i->is_mem ? push_memory(i, true) : EMUL_UNHANDLED;
}

/* POP of a register: the new stack pointer first, so that POP rSP ends with what was popped. */
static enum emul_result pop_register(struct insn *i, unsigned reg)
{
	enum emul_result r =
	    mem_span(i, SEG_SS, stack_offset(i, 0), i->size, ACCESS_READ, &i->span);
	uint64_t value = 0;

	if (r == EMUL_OK)
		r = mem_read(i, &i->span, &value);
	if (r != EMUL_OK)
		return r;
	stack_move(i, i->size);
	reg_write(i, reg, i->size, value);
	return EMUL_OK;
}

enum emul_result exec_pop_reg(struct insn *i)
{
	return pop_register(i, (i->opcode & 7u) | (i->rex & 1u) << 3);
}

/* POP m: an address with rSP as its base uses rSP after the increment (volume 2, POP). */
enum emul_result exec_pop_rm(struct insn *i)
{
	struct span stack;
	uint64_t value = 0;
	bool ram;
	enum emul_result r;

	if (!i->is_mem)
		return pop_register(i, i->rm);
	if (i->base == GPR_RSP)
		i->ea = (i->ea + i->size) & size_mask(i->addrsize);
	r = mem_span(i, SEG_SS, stack_offset(i, 0), i->size, ACCESS_READ, &stack);
	if (r == EMUL_OK)
		r = mem_span(i, i->seg, i->ea, i->size, ACCESS_WRITE, &i->span);
	if (r == EMUL_OK)
		r = mem_probe(i, &i->span, true, &ram);
	if (r == EMUL_OK)
		r = mem_read(i, &stack, &value);
	if (r == EMUL_OK)
		r = mem_write(i, &i->span, &value);
	if (r == EMUL_OK)
		stack_move(i, i->size);
	return r;
}

/* RET, and RET n, which takes n more bytes off the stack; a near one. */
enum emul_result exec_ret(struct insn *i)
{
	int more = i->opcode == 0xc2 ? (uint16_t)i->imm : 0;
	enum emul_result r =
	    mem_span(i, SEG_SS, stack_offset(i, 0), i->size, ACCESS_READ, &i->span);

	i->src = 0;
	if (r == EMUL_OK)
		r = mem_read(i, &i->span, &i->src);
	if (r == EMUL_OK)
		r = branch(i);
	if (r == EMUL_OK)
		stack_move(i, i->size + more);
	return r;
}

enum emul_result exec_leave(struct insn *i)
{
	unsigned width = stack_width(i);
	uint64_t frame = i->s->gpr[GPR_RBP] & size_mask(width), value = 0;
	enum emul_result r = mem_span(i, SEG_SS, frame, i->size, ACCESS_READ, &i->span);

	if (r == EMUL_OK)
		r = mem_read(i, &i->span, &value);
	if (r != EMUL_OK)
		return r;
	reg_write(i, GPR_RSP, width, frame);
	stack_move(i, i->size);
	reg_write(i, GPR_RBP, i->size, value);
	return EMUL_OK;
}

/* ENTER without nesting. Where the stack ends up must be writable, too (volume 2, ENTER). */
enum emul_result exec_enter(struct insn *i)
{
	int room = i->size + (uint16_t)i->imm;
	uint64_t frame = stack_offset(i, -i->size), old = i->s->gpr[GPR_RBP];
	struct span end;
	enum emul_result r;

	if (i->imm >> 16 & 31)
		return EMUL_UNHANDLED;
	r = mem_span(i, SEG_SS, frame, i->size, ACCESS_WRITE, &i->span);
	if (r == EMUL_OK)
		r = mem_span(i, SEG_SS, stack_offset(i, -room), i->size, ACCESS_WRITE, &end);
	if (r == EMUL_OK)
		r = mem_write(i, &i->span, &old);
	if (r != EMUL_OK)
		return r;
	stack_move(i, -room);
	reg_write(i, GPR_RBP, stack_width(i), frame);
	return EMUL_OK;
}
