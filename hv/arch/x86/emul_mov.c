/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The short way for what drivers do to device memory nearly always: MOV and
 * MOVZX in 64-bit mode, with operand-size and REX prefixes and no others. What is
 * not of that kind, or could fault, is left to the emulator.
 */
#include "hv/arch/x86/emul_impl.h"

/* What an opcode does; 0: not one of ours. */
enum form {
	LOAD = 1 << 0,
	STORE = 1 << 1,
	BYTE = 1 << 2, /* the operand in memory has one byte, */
	WORD = 1 << 3, /* two, whatever the operand size */
	IMM = 1 << 4,
	ZERO = 1 << 5,	/* MOVZX */
	MOFFS = 1 << 6, /* rAX, and an address of eight bytes instead of ModRM */
};

static const uint8_t one_byte[256] = {
    [0x88] = STORE | BYTE,
    [0x89] = STORE,
    [0x8a] = LOAD | BYTE,
    [0x8b] = LOAD,
    [0xa0] = LOAD | BYTE | MOFFS,
    [0xa1] = LOAD | MOFFS,
    [0xa2] = STORE | BYTE | MOFFS,
    [0xa3] = STORE | MOFFS,
    [0xc6] = STORE | BYTE | IMM,
    [0xc7] = STORE | IMM,
};

static unsigned two_byte(uint8_t opcode)
{
	return opcode == 0xb6 ? LOAD | ZERO | BYTE : opcode == 0xb7 ? LOAD | ZERO | WORD : 0;
}

/*
 * The operand's address (volume 2, tables 2-2, 2-3 and 2-7). Advances *at over
 * SIB and displacement; an address that is relative to RIP lacks RIP.
 */
static inline uint64_t address(
    const uint64_t *gpr, const uint8_t **at, uint8_t modrm, uint8_t rex, bool *relative)
{
	unsigned mod = modrm >> 6, base = modrm & 7;
	const uint8_t *p = *at;
	uint64_t ea = 0;

	if (base == GPR_RSP) { /* a SIB byte follows */
		uint8_t sib = *p++;
		unsigned index = (sib >> 3 & 7u) | (rex & REX_X) << 2;

		if (index != GPR_RSP)
			ea = gpr[index] << (sib >> 6);
		base = sib & 7;
	} else if (mod == 0 && base == GPR_RBP) {
		*relative = true;
	}
	if (mod == 0 && base == GPR_RBP)
		mod = 2; /* a displacement of four bytes instead of the base */
	else
		ea += gpr[base | (rex & REX_B) << 3];
	if (mod == 1) {
		ea += (uint64_t)(int8_t)*p;
		p += 1;
	} else if (mod == 2) {
		ea += (uint64_t)(int32_t)load32(p);
		p += 4;
	}
	*at = p;
	return ea;
}

/* Advances *at over an immediate of at most four bytes, which is sign-extended. */
static uint64_t immediate(const uint8_t **at, unsigned size)
{
	const uint8_t *p = *at;

	*at += MIN(size, 4U);
	if (size == 1)
		return (uint64_t)(int8_t)*p;
	return size == 2 ? (uint64_t)(int16_t)load16(p) : (uint64_t)(int32_t)load32(p);
}

bool emul_mov_decode(
    const struct vcpu_state *s, const uint8_t insn[EMUL_MOV_BYTES], struct emul_mov *m)
{
	const uint8_t *p = insn;
	bool relative = false;
	unsigned form;

	m->reg_size = 4;
	m->rex = 0;
	if (*p == 0x66) {
		m->reg_size = 2;
		p++;
	}
	if ((*p & 0xf0) == 0x40) {
		m->rex = *p++;
		if (m->rex & REX_W)
			m->reg_size = 8;
	}
	form = *p == 0x0f ? two_byte(*++p) : one_byte[*p];
	if (!form)
		return false;
	p++;
	if (form & MOFFS) {
		m->reg = GPR_RAX;
		m->linear = load64(p);
		p += 8;
	} else {
		uint8_t modrm = *p++;

		if (modrm >> 6 == 3 || ((form & IMM) && (modrm >> 3 & 7)))
			return false;
		m->reg = (uint8_t)((modrm >> 3 & 7) | (m->rex & REX_R) << 1);
		m->linear = address(s->gpr, &p, modrm, m->rex, &relative);
	}
	m->size = form & BYTE ? 1 : form & WORD ? 2 : m->reg_size;
	if (!(form & ZERO))
		m->reg_size = m->size;
	m->write = form & STORE;
	if (form & IMM)
		m->value = immediate(&p, m->size);
	else if (m->write)
		m->value = gpr_read(s->gpr, m->rex, m->reg, m->size);
	m->len = (uint8_t)(p - insn);
	if (relative)
		m->linear += s->rip + m->len;
	return is_canonical(m->linear) && !(m->linear & (m->size - 1U));
}

void emul_mov_load(struct vcpu_state *s, const struct emul_mov *m, uint64_t value)
{
	gpr_write(s->gpr, m->rex, m->reg, m->reg_size, value & size_mask(m->size));
}
