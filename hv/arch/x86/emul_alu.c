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

/* ZF tells that the source was zero; the destination is left alone then, by BSF and BSR. */
static enum emul_result scan(struct insn *i, bool count, uint64_t found, uint64_t when_zero)
{
	uint64_t zero_source = i->src ? 0 : RFLAGS_ZF;

	if (!count) {
		i->result = i->src ? found : i->dst;
		set_flags(i, RFLAGS_ZF, zero_source);
		return EMUL_OK;
	}
	i->result = i->src ? found : when_zero;
	set_flags(
	    i, RFLAGS_ZF | RFLAGS_CF, (zero_source ? RFLAGS_CF : 0) | (i->result ? 0 : RFLAGS_ZF));
	return EMUL_OK;
}

/* With F3: TZCNT, LZCNT. */
enum emul_result exec_bsf(struct insn *i)
{
	unsigned low = i->src ? (unsigned)__builtin_ctzll(i->src) : 0;

	return scan(i, i->rep == 0xf3, low, 8u * i->size);
}

enum emul_result exec_bsr(struct insn *i)
{
	unsigned high = i->src ? 63 - (unsigned)__builtin_clzll(i->src) : 0;
	bool count = i->rep == 0xf3;

	return scan(i, count, count ? top_bit(i) - high : high, 8u * i->size);
}

/* Not with F3: something else. */
enum emul_result exec_popcnt(struct insn *i)
{
	if (i->rep != 0xf3)
		return EMUL_UNHANDLED;
	i->result = 0;
	for (uint64_t rest = i->src; rest; rest &= rest - 1)
		i->result++;
	set_flags(i, ARITH_FLAGS, i->src ? 0 : RFLAGS_ZF);
	return EMUL_OK;
}

/* --- multiplication and division ------------------------------------------------ */

static int64_t sign_extend(uint64_t v, unsigned size)
{
	unsigned unused_bits = 64 - 8 * size;

	return (int64_t)(v << unused_bits) >> unused_bits;
}

/* rDX:rAX, or AX for bytes. */
static void put_double(struct insn *i, uint64_t low, uint64_t high)
{
	if (i->size == 1) {
		reg_write(i, GPR_RAX, 2, (low & 0xff) | high << 8);
		return;
	}
	reg_write(i, GPR_RAX, i->size, low);
	reg_write(i, GPR_RDX, i->size, high);
}

/* Carry and overflow: the upper half is more than an extension of the lower one. */
static void multiply(struct insn *i, uint64_t a, uint64_t b, bool is_signed, uint64_t *high)
{
	unsigned bits = 8u * i->size;
	__int128 wide = (__int128)sign_extend(a, i->size) * sign_extend(b, i->size);
	uint64_t extension;

	if (!is_signed)
		wide = (__int128)((unsigned __int128)a * b);
	i->result = (uint64_t)wide & size_mask(i->size);
	*high = (uint64_t)(wide >> bits) & size_mask(i->size);
	extension = is_signed && bit_of(i->result, top_bit(i)) ? size_mask(i->size) : 0;
	set_flags(i, ARITH_FLAGS, result_flags(i, i->result));
	set_carry_overflow(i, *high != extension, *high != extension);
}

/* F6 and F7: /4 MUL, /5 IMUL. */
enum emul_result exec_mul(struct insn *i)
{
	uint64_t high;

	multiply(i, reg_read(i, GPR_RAX, i->size), i->dst, i->modrm & 8, &high);
	put_double(i, i->result, high);
	return EMUL_OK;
}

enum emul_result exec_imul(struct insn *i)
{
	uint64_t high;

	multiply(i, i->dst, i->src, true, &high);
	return EMUL_OK;
}

enum emul_result exec_imul_imm(struct insn *i)
{
	uint64_t high;

	multiply(i, i->src, i->imm & size_mask(i->size), true, &high);
	return EMUL_OK;
}

/* high:low / divisor for high < divisor, so that the quotient fits: no library does it for us. */
static uint64_t divide(uint64_t high, uint64_t low, uint64_t divisor, uint64_t *remainder)
{
	uint64_t quotient;

	__asm__("divq %4"
		: "=a"(quotient), "=d"(*remainder)
		: "a"(low), "d"(high), "r"(divisor)
		: "cc");
	return quotient;
}

/* The dividend, extended to 128 bits, as high:low. */
static void dividend(const struct insn *i, bool is_signed, uint64_t *high, uint64_t *low)
{
	uint64_t upper = reg_read(i, GPR_RDX, i->size);

	*low = i->s->gpr[GPR_RAX];
	*high = upper;
	if (i->size == 8)
		return;
	if (i->size == 1)
		*low &= 0xffff;
	else
		*low = (*low & size_mask(i->size)) | upper << (8 * i->size);
	if (is_signed)
		*low = (uint64_t)sign_extend(*low, 2u * i->size);
	*high = is_signed && (int64_t)*low < 0 ? ~0ULL : 0;
}

/* F6 and F7: /6 DIV, /7 IDIV, by magnitudes; the remainder has the dividend's sign. */
enum emul_result exec_div(struct insn *i)
{
	bool is_signed = i->modrm & 8, negative, opposite;
	uint64_t divisor = is_signed ? (uint64_t)sign_extend(i->dst, i->size) : i->dst;
	uint64_t high, low, quotient, remainder, most;

	dividend(i, is_signed, &high, &low);
	negative = is_signed && (int64_t)high < 0;
	opposite = is_signed && negative != ((int64_t)divisor < 0);
	if (negative) {
		high = ~high + !low;
		low = -low;
	}
	if (is_signed && (int64_t)divisor < 0)
		divisor = -divisor;
	if (high >= divisor)
		return raise(i, VEC_DE, 0);
	quotient = divide(high, low, divisor, &remainder);
	most = size_mask(i->size);
	if (is_signed)
		most = (most >> 1) + opposite;
	if (quotient > most)
		return raise(i, VEC_DE, 0);
	put_double(i, (opposite ? -quotient : quotient) & size_mask(i->size),
	    (negative ? -remainder : remainder) & size_mask(i->size));
	return EMUL_OK;
}

/* --- double shifts, conditions -------------------------------------------------- */

/* The count is CL or an immediate. One beyond the operand's size has no defined result. */
static unsigned double_shift_count(const struct insn *i)
{
	uint64_t count = i->opcode & 1 ? i->s->gpr[GPR_RCX] : i->imm;

	return (unsigned)count & (i->size == 8 ? 0x3f : 0x1f);
}

enum emul_result exec_shld(struct insn *i)
{
	unsigned n = double_shift_count(i), bits = 8u * i->size;
	unsigned __int128 wide = (unsigned __int128)i->dst << bits | i->src;
	uint64_t result = (uint64_t)(wide << n >> bits) & size_mask(i->size);

	i->result = i->dst;
	if (!n)
		return EMUL_OK;
	return shift_result(
	    i, result, (uint64_t)(wide >> (2 * bits - n)) & 1, bit_of(result ^ i->dst, top_bit(i)));
}

enum emul_result exec_shrd(struct insn *i)
{
	unsigned n = double_shift_count(i), bits = 8u * i->size;
	unsigned __int128 wide = (unsigned __int128)i->src << bits | i->dst;
	uint64_t result = (uint64_t)(wide >> n) & size_mask(i->size);

	i->result = i->dst;
	if (!n)
		return EMUL_OK;
	return shift_result(
	    i, result, (uint64_t)(wide >> (n - 1)) & 1, bit_of(result ^ i->dst, top_bit(i)));
}

/* The condition in the low four bits of the opcode (volume 1, appendix B). */
static bool condition(const struct insn *i)
{
	static const uint16_t masks[8] = {RFLAGS_OF, RFLAGS_CF, RFLAGS_ZF, RFLAGS_CF | RFLAGS_ZF,
	    RFLAGS_SF, RFLAGS_PF, 0, RFLAGS_ZF};
	unsigned kind = i->opcode >> 1 & 7;
	bool met = i->rflags & masks[kind];

	if (kind >= 6) /* less: sign and overflow differ */
		met |= !(i->rflags & RFLAGS_SF) != !(i->rflags & RFLAGS_OF);
	return met != (i->opcode & 1);
}

enum emul_result exec_setcc(struct insn *i)
{
	i->result = condition(i);
	return EMUL_OK;
}

/* The source is read either way. */
enum emul_result exec_cmovcc(struct insn *i)
{
	i->result = condition(i) ? i->src : i->dst;
	return EMUL_OK;
}
