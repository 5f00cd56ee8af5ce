/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Moves to and from control and debug registers, CLTS, LMSW, XSETBV: the checks
 * of SDM volume 2 "MOV" and volume 3, 2.5, and what follows from a change.
 */
#include <string.h>
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/emul.h"
#include "hv/arch/x86/xstate.h"
#include "hv/core/gmem.h"
#include "hv/core/vcpu.h"

/* What the instruction does, where hardware does not say: found in its bytes. */
struct cr_insn {
	enum { CR_MOV, CR_CLTS, CR_LMSW, CR_SMSW, CR_OTHER } kind;
	unsigned gpr;	/* CR_MOV */
	uint16_t value; /* CR_LMSW */
	unsigned len;
};

/* Opcodes of the 0F map (SDM volume 2, table A-3). */
enum {
	OP_GROUP7 = 0x01,
	OP_CLTS = 0x06,
	OP_MOV_CR_FIRST = 0x20,
	OP_MOV_CR_LAST = 0x23,
	SMSW = 4,
	LMSW = 6
};

/* MOV to or from a control or debug register in 64-bit mode with at most a REX prefix. */
static inline bool decode_plain(struct vcpu *v, struct cr_insn *out)
{
	unsigned left, len = 3, rex_b = 0;
	const uint8_t *code = code_at_rip(v, &left);
	uint32_t bytes;

	if (!code || left < sizeof(bytes))
		return false;
	memcpy(&bytes, code, sizeof(bytes));
	if ((bytes & 0xf0) == 0x40) {
		rex_b = bytes & 1;
		bytes >>= 8;
		len = 4;
	}
	if ((bytes & 0xfcff) != (OP_MOV_CR_FIRST << 8 | 0x0f))
		return false;
	*out = (struct cr_insn){.kind = CR_MOV, .gpr = (bytes >> 16 & 7) | rex_b << 3, .len = len};
	return true;
}

/* The operand of LMSW, whose ModRM byte is given. */
static bool lmsw_operand(struct vcpu *v, uint8_t modrm, struct cr_insn *in)
{
	uint64_t value = v->state.gpr[in->gpr];

	if (modrm < 0xc0 && !vcpu_read_operand(v, sizeof(in->value), &value))
		return false;
	in->value = (uint16_t)value;
	return true;
}

static COLD bool decode_any(struct vcpu *v, struct cr_insn *out)
{
	struct emul e;

	out->len = vcpu_decode_insn(v, &e);
	if (!out->len)
		return false;
	out->gpr = e.rm;
	out->kind = CR_OTHER;
	if (e.map != MAP_0F)
		return true;
	if (e.opcode == OP_GROUP7 && (e.modrm >> 3 & 7) == LMSW) {
		out->kind = CR_LMSW;
		return lmsw_operand(v, e.modrm, out);
	}
	if (e.opcode == OP_GROUP7 && (e.modrm >> 3 & 7) == SMSW)
		out->kind = CR_SMSW;
	else if (e.opcode == OP_CLTS)
		out->kind = CR_CLTS;
	else if (e.opcode >= OP_MOV_CR_FIRST && e.opcode <= OP_MOV_CR_LAST)
		out->kind = CR_MOV;
	return true;
}

/* False: the instruction or its operand could not be read, and the fault is queued. */
static inline bool decode(struct vcpu *v, const struct vm_exit *x, struct cr_insn *out)
{
	if (x->cr.has_gpr && x->insn_len) {
		*out = (struct cr_insn){.kind = CR_MOV, .gpr = x->cr.gpr, .len = x->insn_len};
		return true;
	}
	return (!x->insn_len && decode_plain(v, out)) || decode_any(v, out);
}

static uint64_t operand(struct vcpu *v, const struct cr_insn *in)
{
	uint64_t value = v->state.gpr[in->gpr];

	return vcpu_is_64bit(&v->state) ? value : (uint32_t)value;
}

bool vcpu_read_pdptes(struct vcpu *v, uint64_t cr3, uint64_t pdpte[4])
{
	uint64_t reserved = BIT(1) | BIT(2) | 0x1e0 | ~(BIT(v->vm->cpu_model->phys_bits) - 1);

	if (gmem_read(v->vm, gpa(cr3 & 0xffffffe0), pdpte, 4 * sizeof(pdpte[0])))
		return false;
	for (unsigned i = 0; i < 4; i++) {
		/* QEMU's emulated SVM (7.2) marks those that it walks through as accessed. */
		if (!virt->keeps_pdptes)
			pdpte[i] &= ~BIT(5);
		if ((pdpte[i] & 1) && (pdpte[i] & reserved))
			return false;
	}
	return true;
}

/* As MOV to CR3, CR0 and CR4 does it (SDM volume 3, 4.4.1). */
static bool load_pdptes(struct vcpu *v, uint64_t cr3)
{
	uint64_t pdpte[4];

	if (!vcpu_read_pdptes(v, cr3, pdpte))
		return false;
	memcpy(v->state.pdpte, pdpte, sizeof(pdpte));
	return true;
}

void vcpu_refresh_pdptes(struct vcpu *v)
{
	const struct vcpu_state *s = &v->state;

	if (virt->keeps_pdptes)
		return;
	vcpu_need(v, VG_CRS);
	/* entries that the guest has spoilt meanwhile: the last good ones stay */
	if (UNLIKELY(vcpu_pae_paging(s->cr0, s->cr4, s->efer)) && !load_pdptes(v, s->cr3))
		v->vm->stat_unhandled_insn++;
}

static bool set_cr0(struct vcpu *v, uint64_t value)
{
	struct vcpu_state *s = &v->state;
	const uint64_t known = CR0_PG | (uint64_t)(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET |
						   CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD);
	uint64_t old = s->cr0;

	if ((value >> 32) || ((value & CR0_NW) && !(value & CR0_CD)) ||
	    ((value & CR0_PG) && !(value & CR0_PE)))
		return false;
	value = (value & known) | CR0_ET; /* other bits are ignored */
	if ((value & CR0_PG) && !(old & CR0_PG)) {
		if (s->efer & EFER_LME) {
			if (!(s->cr4 & CR4_PAE) || (s->seg[SEG_CS].attr & SEG_ATTR_L))
				return false;
			s->efer |= EFER_LMA;
		}
	} else if (!(value & CR0_PG) && (old & CR0_PG)) {
		if (vcpu_is_64bit(s) || (s->cr4 & CR4_PCIDE))
			return false;
		s->efer &= ~(uint64_t)EFER_LMA;
	}
	if (((value ^ old) & (CR0_PG | CR0_CD | CR0_NW)) &&
	    vcpu_pae_paging(value, s->cr4, s->efer) && !load_pdptes(v, s->cr3))
		return false;
	s->cr0 = value;
	if ((value ^ old) & (CR0_PG | CR0_WP))
		virt->flush(v);
	return true;
}

static bool set_cr4(struct vcpu *v, uint64_t value)
{
	struct vcpu_state *s = &v->state;
	uint64_t old = s->cr4;
	const uint64_t paging = CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_PCIDE;

	if (value & ~v->vm->cpu_model->cr4_mask)
		return false;
	if ((s->efer & EFER_LMA) && !(value & CR4_PAE))
		return false;
	if ((value & CR4_PCIDE) && !(old & CR4_PCIDE) &&
	    (!(s->efer & EFER_LMA) || (s->cr3 & 0xfff)))
		return false;
	if (((value ^ old) & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) &&
	    vcpu_pae_paging(s->cr0, value, s->efer) && !load_pdptes(v, s->cr3))
		return false;
	s->cr4 = value;
	if ((value ^ old) & paging)
		virt->flush(v);
	return true;
}

static bool set_cr8(struct vcpu *v, uint64_t value)
{
	if (value > 15)
		return false;
	vlapic_set_tpr(&v->lapic, (uint8_t)(value << 4));
	return true;
}

static bool set_cr(struct vcpu *v, unsigned reg, uint64_t value)
{
	switch (reg) {
	case 0:
		return set_cr0(v, value);
	case 4:
		return set_cr4(v, value);
	case 8:
		return set_cr8(v, value);
	default:
		return false;
	}
}

/* LMSW sets PE, MP, EM and TS, and cannot clear PE (SDM volume 2A). */
static bool lmsw(struct vcpu *v, const struct cr_insn *in)
{
	uint64_t cr0 = v->state.cr0;

	return set_cr0(v, (cr0 & ~0xeULL) | (in->value & 0xf) | (cr0 & CR0_PE));
}

void exit_cr_write(struct vcpu *v, const struct vm_exit *x)
{
	struct vcpu_state *s = &v->state;
	struct cr_insn in;
	bool ok = false;

	vcpu_need(v, VG_CRS | VG_CODE);
	if (!decode(v, x, &in))
		return;
	if (in.kind == CR_OTHER || in.kind == CR_SMSW) {
		vcpu_ud(v);
		return;
	}
	if (in.kind == CR_CLTS)
		ok = set_cr0(v, s->cr0 & ~(uint64_t)CR0_TS);
	else if (in.kind == CR_LMSW)
		ok = lmsw(v, &in);
	else if (in.kind == CR_MOV)
		ok = set_cr(v, x->cr.reg, operand(v, &in));
	vcpu_changed(v, VG_CRS);
	if (ok)
		vcpu_skip_bytes(v, in.len);
	else
		vcpu_gp(v);
}

/* CR8; and CR0, also by SMSW, where the hardware's has not all bits of the guest's. */
void exit_cr_read(struct vcpu *v, const struct vm_exit *x)
{
	struct cr_insn in;

	vcpu_need(v, VG_CRS | VG_CODE);
	if (!decode(v, x, &in))
		return;
	if (x->cr.reg == 0 && in.kind == CR_SMSW) {
		vcpu_emulate(v);
		return;
	}
	if (in.kind != CR_MOV || (x->cr.reg != 8 && x->cr.reg != 0)) {
		vcpu_ud(v);
		return;
	}
	v->state.gpr[in.gpr] = x->cr.reg ? vlapic_tpr(&v->lapic) >> 4 : v->state.cr0;
	vcpu_skip_bytes(v, in.len);
}

/* DR4 and DR5 are DR6 and DR7 unless CR4.DE (SDM volume 3, 18.2.2). DR6, DR7 reserved
 * bits: 18.2.3, 18.2.4. */
#define DR6_FIXED 0xffff0ff0ULL
#define DR6_WRITE 0x0000e00fULL
#define DR7_FIXED 0x00000400ULL
#define DR7_WRITE 0xffff2bffULL

static uint64_t *dr_home(struct vcpu_state *s, unsigned reg)
{
	return reg < 4 ? &s->dr[reg] : reg == 6 ? &s->dr6 : &s->dr7;
}

void exit_dr(struct vcpu *v, const struct vm_exit *x)
{
	struct vcpu_state *s = &v->state;
	unsigned reg = x->cr.reg;
	struct cr_insn in;
	uint64_t value;

	vcpu_need(v, VG_ALL);
	if (!decode(v, x, &in))
		return;
	if (reg == 4 || reg == 5) {
		if (s->cr4 & CR4_DE)
			reg = 8;
		else
			reg += 2;
	}
	if (in.kind != CR_MOV || reg > 7) {
		vcpu_ud(v);
		return;
	}
	if (s->cpl != 0) { /* on VMX the exit comes before the CPU's own check (25.1.3) */
		vcpu_gp(v);
		return;
	}
	if (s->dr7 & BIT(13)) { /* GD: the access itself is a debug exception */
		s->dr6 |= BIT(13);
		s->dr7 &= ~BIT(13);
		vcpu_changed(v, VG_DRS);
		vcpu_exception(v, VEC_DB, false, 0);
		return;
	}
	if (!x->cr.write) {
		s->gpr[in.gpr] = *dr_home(s, reg);
		vcpu_skip_bytes(v, in.len);
		return;
	}
	value = operand(v, &in);
	if (reg >= 6) {
		if (value >> 32) {
			vcpu_gp(v);
			return;
		}
		value =
		    reg == 6 ? (value & DR6_WRITE) | DR6_FIXED : (value & DR7_WRITE) | DR7_FIXED;
	}
	*dr_home(s, reg) = value;
	vcpu_changed(v, VG_DRS);
	vcpu_skip_bytes(v, in.len);
}

/* SDM volume 2, "XSETBV": CPL 0, index 0, x87 always, AVX only with SSE. */
void exit_xsetbv(struct vcpu *v, const struct vm_exit *x)
{
	struct vcpu_state *s = &v->state;
	uint64_t value = s->gpr[GPR_RDX] << 32 | (uint32_t)s->gpr[GPR_RAX];

	vcpu_need(v, VG_SEGS | VG_CRS);
	if (!(s->cr4 & CR4_OSXSAVE)) {
		vcpu_ud(v);
		return;
	}
	if (s->cpl != 0 || (uint32_t)s->gpr[GPR_RCX] != 0 ||
	    (value & ~v->vm->cpu_model->xcr0_mask) || !(value & XSTATE_X87) ||
	    ((value & XSTATE_AVX) && !(value & XSTATE_SSE))) {
		vcpu_gp(v);
		return;
	}
	xsetbv(
	    0, value); /* the guest's is in the CPU; first, for a switch of threads reads it back */
	s->xcr0 = value;
	vcpu_skip_plain(v, x, INSN_XSETBV);
}
