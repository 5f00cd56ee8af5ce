/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arithmetic, logic, shifts and bit tests: results and flags from values alone.
 * Flags that the manual calls undefined are what falls out: the last step's
 * overflow after shifts, AF clear after logic, the rest of BT unchanged.
 */
#include "hv/arch/x86/emul_impl.h"

#define ARITH_FLAGS                                                                                \
	((uint64_t)(RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF))

static unsigned top_bit(const struct insn *i)
{
	return 8u * i->size - 1;
}

static uint64_t result_flags(const struct insn *i, uint64_t result)
{
	uint64_t f = 0;

	if (!(__builtin_popcount((unsigned)result & 0xff) & 1))
		f |= RFLAGS_PF;
	if (!result)
		f |= RFLAGS_ZF;
	if (result >> top_bit(i) & 1)
		f |= RFLAGS_SF;
	return f;
}

static void set_flags(struct insn *i, uint64_t mask, uint64_t value)
{
	i->rflags = (i->rflags & ~mask) | (value & mask);
}

/* half_carry: a word whose bit 4 is AF; carry and overflow: words whose top bit is the flag. */
static enum emul_result arith_result(
    struct insn *i, uint64_t result, uint64_t half_carry, uint64_t carry, uint64_t overflow)
{
	uint64_t f;

	i->result = result & size_mask(i->size);
	f = result_flags(i, i->result) | (half_carry & RFLAGS_AF);
	if (carry >> top_bit(i) & 1)
		f |= RFLAGS_CF;
	if (overflow >> top_bit(i) & 1)
		f |= RFLAGS_OF;
	set_flags(i, ARITH_FLAGS, f);
	return EMUL_OK;
}

static enum emul_result add(struct insn *i, uint64_t d, uint64_t s, uint64_t carry_in)
{
	uint64_t r = d + s + carry_in;

	return arith_result(i, r, d ^ s ^ r, (d & s) | ((d | s) & ~r), (d ^ r) & (s ^ r));
}

static enum emul_result sub(struct insn *i, uint64_t d, uint64_t s, uint64_t borrow_in)
{
	uint64_t r = d - s - borrow_in;

	return arith_result(i, r, d ^ s ^ r, (~d & s) | ((~d | s) & r), (d ^ s) & (d ^ r));
}

static enum emul_result logic(struct insn *i, uint64_t result)
{
	i->result = result & size_mask(i->size);
	set_flags(i, ARITH_FLAGS, result_flags(i, i->result));
	return EMUL_OK;
}

enum emul_result exec_add(struct insn *i)
{
	return add(i, i->dst, i->src, 0);
}

enum emul_result exec_adc(struct insn *i)
{
	return add(i, i->dst, i->src, i->rflags & RFLAGS_CF);
}

enum emul_result exec_sub(struct insn *i)
{
	return sub(i, i->dst, i->src, 0);
}

enum emul_result exec_sbb(struct insn *i)
{
	return sub(i, i->dst, i->src, i->rflags & RFLAGS_CF);
}

enum emul_result exec_and(struct insn *i)
{
	return logic(i, i->dst & i->src);
}

enum emul_result exec_or(struct insn *i)
{
	return logic(i, i->dst | i->src);
}

enum emul_result exec_xor(struct insn *i)
{
	return logic(i, i->dst ^ i->src);
}

/* INC and DEC leave the carry alone. */
enum emul_result exec_inc(struct insn *i)
{
	uint64_t carry = i->rflags & RFLAGS_CF;

	add(i, i->dst, 1, 0);
	set_flags(i, RFLAGS_CF, carry);
	return EMUL_OK;
}

enum emul_result exec_dec(struct insn *i)
{
	uint64_t carry = i->rflags & RFLAGS_CF;

	sub(i, i->dst, 1, 0);
	set_flags(i, RFLAGS_CF, carry);
	return EMUL_OK;
}

enum emul_result exec_not(struct insn *i)
{
	i->result = ~i->dst & size_mask(i->size);
	return EMUL_OK;
}

enum emul_result exec_neg(struct insn *i)
{
	return sub(i, 0, i->dst, 0);
}

enum emul_result exec_xadd(struct insn *i)
{
	i->out_reg = i->reg;
	i->out_value = i->dst;
	return add(i, i->dst, i->src, 0);
}

/*
 * The flags are those of CMP rAX, destination. Memory is written either way, with
 * what was there if the comparison fails; a register then keeps its upper half.
 */
enum emul_result exec_cmpxchg(struct insn *i)
{
	uint64_t acc = i->s->gpr[GPR_RAX] & size_mask(i->size);
	uint64_t dst = i->dst;

	sub(i, acc, dst, 0);
	i->out_reg = REG_NONE;
	i->result = i->src;
	if (acc == dst)
		return EMUL_OK;
	i->result = dst;
	i->out_reg = GPR_RAX;
	i->out_value = dst;
	if (!i->is_mem)
		i->flags &= ~(uint32_t)F_WRITE;
	return EMUL_OK;
}

/* --- shifts and rotates --------------------------------------------------------- */

static unsigned shift_count(const struct insn *i)
{
	return (unsigned)i->src & (i->size == 8 ? 0x3f : 0x1f);
}

/* A bit of a word that may be one beyond its top or bottom. */
static uint64_t bit_of(uint64_t v, unsigned n)
{
	return n < 64 ? v >> n & 1 : 0;
}

static void set_carry_overflow(struct insn *i, uint64_t carry, uint64_t overflow)
{
	set_flags(i, RFLAGS_CF | RFLAGS_OF, (carry ? RFLAGS_CF : 0) | (overflow ? RFLAGS_OF : 0));
}

static enum emul_result shift_result(
    struct insn *i, uint64_t result, uint64_t carry, uint64_t overflow)
{
	i->result = result & size_mask(i->size);
	set_flags(i, ARITH_FLAGS, result_flags(i, i->result));
	set_carry_overflow(i, carry, overflow);
	return EMUL_OK;
}

enum emul_result exec_shl(struct insn *i)
{
	unsigned n = shift_count(i), top = top_bit(i);
	uint64_t carry;

	i->result = i->dst;
	if (!n)
		return EMUL_OK;
	carry = n <= top + 1 ? bit_of(i->dst, top + 1 - n) : 0;
	return shift_result(i, i->dst << n, carry, carry ^ bit_of(i->dst << n, top));
}

enum emul_result exec_shr(struct insn *i)
{
	unsigned n = shift_count(i);

	i->result = i->dst;
	if (!n)
		return EMUL_OK;
	return shift_result(
	    i, i->dst >> n, bit_of(i->dst, n - 1), bit_of(i->dst >> (n - 1), top_bit(i)));
}

enum emul_result exec_sar(struct insn *i)
{
	unsigned n = shift_count(i), unused_bits = 63 - top_bit(i);
	int64_t v = (int64_t)(i->dst << unused_bits) >> unused_bits;

	i->result = i->dst;
	if (!n)
		return EMUL_OK;
	return shift_result(i, (uint64_t)(v >> n), (uint64_t)(v >> (n - 1)) & 1, 0);
}

enum emul_result exec_rol(struct insn *i)
{
	unsigned bits = 8u * i->size, n = shift_count(i) % bits;

	i->result = i->dst;
	if (n)
		i->result = (i->dst << n | i->dst >> (bits - n)) & size_mask(i->size);
	if (shift_count(i))
		set_carry_overflow(i, i->result & 1, (i->result & 1) ^ bit_of(i->result, bits - 1));
	return EMUL_OK;
}

enum emul_result exec_ror(struct insn *i)
{
	unsigned bits = 8u * i->size, n = shift_count(i) % bits;

	i->result = i->dst;
	if (n)
		i->result = (i->dst >> n | i->dst << (bits - n)) & size_mask(i->size);
	if (shift_count(i))
		set_carry_overflow(i, bit_of(i->result, bits - 1),
		    bit_of(i->result, bits - 1) ^ bit_of(i->result, bits - 2));
	return EMUL_OK;
}

/* Rotates through the carry by one bit at a time: at most 63 rounds, and rare. */
static uint64_t rotate_left_once(uint64_t v, unsigned bits, uint64_t *carry)
{
	uint64_t out = bit_of(v, bits - 1);

	v = v << 1 | *carry;
	*carry = out;
	return v;
}

enum emul_result exec_rcl(struct insn *i)
{
	unsigned bits = 8u * i->size, n = shift_count(i) % (bits + 1);
	uint64_t carry = i->rflags & RFLAGS_CF;

	i->result = i->dst;
	if (!n)
		return EMUL_OK;
	for (unsigned k = 0; k < n; k++)
		i->result = rotate_left_once(i->result, bits, &carry);
	i->result &= size_mask(i->size);
	set_carry_overflow(i, carry, carry ^ bit_of(i->result, bits - 1));
	return EMUL_OK;
}

/* To the right by n is to the left by the rest of the word and its carry. */
enum emul_result exec_rcr(struct insn *i)
{
	unsigned bits = 8u * i->size, n = shift_count(i) % (bits + 1);
	uint64_t carry = i->rflags & RFLAGS_CF;

	i->result = i->dst;
	if (!n)
		return EMUL_OK;
	for (unsigned k = n; k < bits + 1; k++)
		i->result = rotate_left_once(i->result, bits, &carry);
	i->result &= size_mask(i->size);
	set_carry_overflow(i, carry, bit_of(i->result, bits - 1) ^ bit_of(i->result, bits - 2));
	return EMUL_OK;
}

/* --- bit tests ------------------------------------------------------------------ */

static uint64_t test_bit(struct insn *i)
{
	uint64_t bit = 1ULL << (i->src & top_bit(i));

	set_flags(i, RFLAGS_CF, i->dst & bit ? RFLAGS_CF : 0);
	return bit;
}

enum emul_result exec_bt(struct insn *i)
{
	test_bit(i);
	return EMUL_OK;
}

enum emul_result exec_bts(struct insn *i)
{
	i->result = i->dst | test_bit(i);
	return EMUL_OK;
}

enum emul_result exec_btr(struct insn *i)
{
	i->result = i->dst & ~test_bit(i);
	return EMUL_OK;
}

enum emul_result exec_btc(struct insn *i)
{
	i->result = i->dst ^ test_bit(i);
	return EMUL_OK;
}
