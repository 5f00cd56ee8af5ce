/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Instructions that one vendor's CPUs have and the other's refuse, made the same on
 * both: a guest's #UD is intercepted, and what the vendor string of its CPU model
 * promises is done here. SDM volume 2 and APM volume 3, "SYSCALL", "SYSRET", "SYSENTER".
 */
#include "hv/core/vcpu.h"

enum foreign { FOREIGN_NONE, FOREIGN_HYPERCALL, FOREIGN_SYSCALL, FOREIGN_SYSRET, FOREIGN_SYSENTER };

/* Second opcode bytes of the 0F map (SDM volume 2D, table A-3), and two ModRM bytes of group 7. */
enum opcode {
	OP_GROUP7 = 0x01,
	OP_SYSCALL = 0x05,
	OP_SYSRET = 0x07,
	OP_SYSENTER = 0x34,
	OP_SYSEXIT = 0x35,
	MODRM_VMCALL = 0xc1,
	MODRM_VMMCALL = 0xd9
};

/* Segment overrides and the size prefixes; *rep is told of F2, F3 and 66, which alter an opcode. */
static bool is_prefix(uint8_t b, bool in_64bit, bool *rep)
{
	switch (b) {
	case 0x66:
	case 0xf2:
	case 0xf3:
		*rep = true;
		return true;
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64:
	case 0x65:
	case 0x67:
		return true;
	default:
		return in_64bit && (b & 0xf0) == 0x40; /* REX */
	}
}

/* Which of them the n bytes are, and their length. LOCK is #UD with all of them. */
static enum foreign decode(const uint8_t *b, unsigned n, bool in_64bit, unsigned *len)
{
	bool altered = false;
	unsigned i = 0;

	while (i < n && is_prefix(b[i], in_64bit, &altered))
		i++;
	if (i + 2 > n || b[i] != 0x0f)
		return FOREIGN_NONE;
	*len = i + 2;
	switch (b[i + 1]) {
	case OP_SYSCALL:
		return FOREIGN_SYSCALL;
	case OP_SYSRET:
		return FOREIGN_SYSRET;
	case OP_SYSENTER:
	case OP_SYSEXIT:
		return FOREIGN_SYSENTER;
	case OP_GROUP7:
		*len = i + 3;
		if (i + 3 > n || altered || (b[i + 2] != MODRM_VMCALL && b[i + 2] != MODRM_VMMCALL))
			return FOREIGN_NONE;
		return FOREIGN_HYPERCALL;
	default:
		return FOREIGN_NONE;
	}
}

/* Flat segments as SYSCALL and SYSRET load them, without looking at a descriptor. */
enum flat_attr {
	FLAT_CODE = 0xb | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_G,
	FLAT_STACK = 0x3 | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_G | SEG_ATTR_DB
};

static void load_flat(struct vcpu *v, uint16_t cs, uint16_t ss, uint16_t code_size, uint8_t cpl)
{
	struct vcpu_state *s = &v->state;
	uint16_t dpl = (uint16_t)(cpl << SEG_ATTR_DPL_SHIFT);

	s->seg[SEG_CS] = (struct seg){
	    .limit = UINT32_MAX, .sel = cs, .attr = (uint16_t)(FLAT_CODE | code_size | dpl)};
	s->seg[SEG_SS] =
	    (struct seg){.limit = UINT32_MAX, .sel = ss, .attr = (uint16_t)(FLAT_STACK | dpl)};
	s->cpl = cpl;
	vcpu_changed(v, VG_SEGS);
}

static void arrive(struct vcpu *v, uint64_t rip, uint64_t rflags)
{
	struct vcpu_state *s = &v->state;

	s->rip = rip;
	s->rflags = (rflags & ~(uint64_t)(RFLAGS_RF | RFLAGS_VM)) | RFLAGS_FIXED;
	s->sti_shadow = s->movss_shadow = 0;
	if (s->rflags & RFLAGS_TF)
		vcpu_single_step(v);
}

static bool protected_mode(const struct vcpu_state *s)
{
	return (s->cr0 & CR0_PE) && !(s->rflags & RFLAGS_VM);
}

/* From compatibility mode to CSTAR, from legacy protected mode to STAR's EIP. */
static void do_syscall(struct vcpu *v, unsigned len)
{
	struct vcpu_state *s = &v->state;
	uint16_t cs = (uint16_t)(s->star >> 32), ss = (uint16_t)(cs + 8);
	uint64_t rflags = s->rflags;

	s->gpr[GPR_RCX] = (uint32_t)(s->rip + len);
	if (s->efer & EFER_LMA) {
		s->gpr[GPR_R11] = rflags & ~(uint64_t)RFLAGS_RF;
		load_flat(v, cs & 0xfffc, ss & 0xfffc, SEG_ATTR_L, 0);
		arrive(v, s->cstar, rflags & ~s->sfmask);
	} else {
		load_flat(v, cs & 0xfffc, ss & 0xfffc, SEG_ATTR_DB, 0);
		arrive(v, (uint32_t)s->star, rflags & ~(uint64_t)RFLAGS_IF);
	}
}

/* What RFLAGS can hold: SYSRET takes it from R11. */
#define RFLAGS_LOADABLE 0x3c7fd7ULL

/*
 * From compatibility or legacy mode at CPL 0 to 32-bit code. AMD leaves base, limit and
 * attributes of SS as they are; here they become flat, as kernels have them.
 */
static void do_sysret(struct vcpu *v)
{
	struct vcpu_state *s = &v->state;
	uint16_t cs = (uint16_t)(s->star >> 48) | 3, ss = (uint16_t)((s->star >> 48) + 8) | 3;
	uint64_t rflags = s->rflags | RFLAGS_IF;

	if (!protected_mode(s) || s->cpl != 0) {
		vcpu_gp(v);
		return;
	}
	if (s->efer & EFER_LMA)
		rflags = s->gpr[GPR_R11] & RFLAGS_LOADABLE;
	load_flat(v, cs, ss, SEG_ATTR_DB, 3);
	arrive(v, (uint32_t)s->gpr[GPR_RCX], rflags);
}

/* AMD's vendor string promises SYSCALL in every mode but real and virtual-8086. */
static bool has_syscall_here(const struct vcpu *v)
{
	const struct vcpu_state *s = &v->state;

	return (v->vm->cpu_model->msr_sets & MSR_SET_AMD) && (s->efer & EFER_SCE) &&
	       !vcpu_is_64bit(s) && protected_mode(s);
}

void exit_ud(struct vcpu *v, const struct vm_exit *x)
{
	unsigned len = 0, n;
	uint8_t insn[15];
	struct vm_exit call;

	n = vcpu_fetch_insn(v, insn);
	vcpu_need(v, VG_SEGS | VG_CRS | VG_MSRS);
	switch (decode(insn, n, vcpu_is_64bit(&v->state), &len)) {
	case FOREIGN_HYPERCALL:
		call = *x;
		call.reason = EXIT_HYPERCALL;
		call.insn_len = (uint8_t)len;
		exit_hypercall(v, &call);
		return;
	case FOREIGN_SYSCALL:
		if (!has_syscall_here(v))
			break;
		do_syscall(v, len);
		return;
	case FOREIGN_SYSRET:
		if (!has_syscall_here(v))
			break;
		do_sysret(v);
		return;
	default:
		break;
	}
	vcpu_ud(v);
}

bool exit_gp_sysenter(struct vcpu *v)
{
	unsigned len = 0, n;
	uint8_t insn[15];

	vcpu_need(v, VG_SEGS | VG_CRS);
	if (!(v->vm->cpu_model->msr_sets & MSR_SET_AMD) || !(v->state.efer & EFER_LMA))
		return false;
	n = vcpu_fetch_insn(v, insn);
	if (decode(insn, n, vcpu_is_64bit(&v->state), &len) != FOREIGN_SYSENTER)
		return false;
	vcpu_ud(v);
	return true;
}
