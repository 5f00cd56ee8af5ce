/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The architectural state of a virtual CPU (I1): the truth, of which a VMCS or
 * VMCB is a cache. Vendor-neutral; nothing here describes the host.
 * docs/state-records.md lists every field.
 */
#ifndef AMBER_X86_VCPU_STATE_H
#define AMBER_X86_VCPU_STATE_H

#include "hv/lib/state.h"
#include "hv/lib/types.h"

/* In the order of the instruction encoding. */
enum gpr {
	GPR_RAX,
	GPR_RCX,
	GPR_RDX,
	GPR_RBX,
	GPR_RSP,
	GPR_RBP,
	GPR_RSI,
	GPR_RDI,
	GPR_R8,
	GPR_R9,
	GPR_R10,
	GPR_R11,
	GPR_R12,
	GPR_R13,
	GPR_R14,
	GPR_R15,
	GPR_COUNT
};

/* In the order of the instruction encoding, then the system segments. */
enum seg_reg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_COUNT };

/*
 * Attributes: bits 8..15 and 20..23 of the descriptor's second word, packed to
 * twelve bits. P = 0 stands for "unusable" (VMX) and "null" (SVM) alike.
 */
enum seg_attr {
	SEG_ATTR_TYPE = 0x00f,
	SEG_ATTR_S = 1 << 4,
	SEG_ATTR_DPL_SHIFT = 5,
	SEG_ATTR_DPL = 3 << 5,
	SEG_ATTR_P = 1 << 7,
	SEG_ATTR_AVL = 1 << 8,
	SEG_ATTR_L = 1 << 9,
	SEG_ATTR_DB = 1 << 10,
	SEG_ATTR_G = 1 << 11,
	SEG_ATTR_MASK = 0xfff
};

struct seg {
	uint64_t base;
	uint32_t limit; /* in bytes, expanded */
	uint16_t sel;
	uint16_t attr;
};

/* What a selector and the eight bytes of a descriptor make of a segment register. */
static inline struct seg seg_from_descriptor(uint16_t sel, uint64_t d)
{
	uint16_t attr = (uint16_t)((d >> 40 & 0xff) | (d >> 44 & 0xf00));
	uint32_t limit = (uint32_t)((d & 0xffff) | (d >> 32 & 0xf0000));

	return (struct seg){
	    .base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000),
	    .limit = attr & SEG_ATTR_G ? limit << 12 | 0xfff : limit,
	    .sel = sel,
	    .attr = attr,
	};
}

struct desc_table {
	uint64_t base;
	uint16_t limit;
};

/* What the CPU is doing between instructions. Values are stored: append only. */
enum vcpu_activity { ACTIVITY_RUNNING, ACTIVITY_HALTED, ACTIVITY_WAIT_SIPI, ACTIVITY_SHUTDOWN };

/* Events waiting to be delivered or cut short in delivery. Types as in VMCB EVENTINJ. */
enum event_type {
	EVENT_NONE = 0,
	EVENT_INTR = 1,
	EVENT_NMI = 2,
	EVENT_EXCEPTION = 3,
	EVENT_SOFT_INT = 4
};

struct event {
	uint8_t type; /* enum event_type */
	uint8_t vector;
	uint8_t has_error;
	uint8_t insn_len; /* software interrupts and exceptions: length to skip; 0: RIP is already
			     behind */
	uint32_t error_code;
};

/* Local APIC registers at xAPIC offset / 16 (SDM volume 3, table 11-1). */
#define VLAPIC_REGS 64
struct vlapic_state {
	uint32_t regs[VLAPIC_REGS];
	uint64_t base_msr;	 /* IA32_APIC_BASE */
	uint64_t tsc_deadline;	 /* IA32_TSC_DEADLINE, guest TSC; 0: disarmed */
	uint64_t timer_deadline; /* VM time in ns at which the count reaches 0; 0: stopped */
	uint64_t ldr_x2apic;	 /* unused in xAPIC mode */
	uint8_t nmi_pending;
	uint8_t init_pending;
	uint8_t sipi_pending;
	uint8_t sipi_vector;
};

#define MTRR_VARIABLE 8
#define XSTATE_MAX    2816 /* legacy, header, AVX, AVX-512 and PKRU in standard form */

struct vcpu_state {
	uint64_t gpr[GPR_COUNT];
	uint64_t rip;
	uint64_t rflags;
	struct seg seg[SEG_COUNT];
	struct desc_table gdtr, idtr;
	uint8_t cpl;

	uint64_t cr0, cr2, cr3, cr4;
	uint64_t xcr0;
	uint64_t dr[4], dr6, dr7;
	uint64_t pdpte[4]; /* PAE paging only: as loaded by the last MOV to CR3 */

	/* MSRs, in the order of the policy table */
	uint64_t efer;
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat;
	uint64_t tsc_aux;
	uint64_t tsc_adjust;
	uint64_t tsc_offset; /* guest TSC = VM TSC + tsc_offset (modulo 2^64) */
	uint64_t misc_enable;
	uint64_t spec_ctrl;
	uint64_t debugctl;
	uint64_t xss;
	uint64_t mtrr_def_type;
	uint64_t mtrr_fixed[11];
	uint64_t mtrr_base[MTRR_VARIABLE], mtrr_mask[MTRR_VARIABLE];
	uint64_t kvm_wall_clock, kvm_system_time; /* MSR 0x4b564d00, 0x4b564d01 */

	/* event state */
	struct event pending;  /* an exception decided on but not yet delivered */
	struct event injected; /* an event whose delivery an exit cut short */
	uint8_t nmi_blocked;   /* until IRET */
	uint8_t sti_shadow;    /* interrupts inhibited for one instruction by STI */
	uint8_t movss_shadow;  /* the same by MOV SS or POP SS */
	uint64_t pending_dbg;  /* DR6 bits of a pending #DB */
	uint8_t activity;      /* enum vcpu_activity */

	struct vlapic_state apic;

	uint32_t xstate_size; /* bytes used in xstate */
	uint8_t xstate[XSTATE_MAX] __attribute__((aligned(64)));
};

/* CR0, CR4, EFER, RFLAGS bits (SDM volume 3, 2.5; APM volume 2, 3.1). */
enum cr0_bit {
	CR0_PE = 1 << 0,
	CR0_MP = 1 << 1,
	CR0_EM = 1 << 2,
	CR0_TS = 1 << 3,
	CR0_ET = 1 << 4,
	CR0_NE = 1 << 5,
	CR0_WP = 1 << 16,
	CR0_AM = 1 << 18,
	CR0_NW = 1 << 29,
	CR0_CD = 1 << 30
};
#define CR0_PG (1ULL << 31)
enum cr4_bit {
	CR4_VME = 1 << 0,
	CR4_PVI = 1 << 1,
	CR4_TSD = 1 << 2,
	CR4_DE = 1 << 3,
	CR4_PSE = 1 << 4,
	CR4_PAE = 1 << 5,
	CR4_MCE = 1 << 6,
	CR4_PGE = 1 << 7,
	CR4_PCE = 1 << 8,
	CR4_OSFXSR = 1 << 9,
	CR4_OSXMMEXCPT = 1 << 10,
	CR4_UMIP = 1 << 11,
	CR4_LA57 = 1 << 12,
	CR4_VMXE = 1 << 13,
	CR4_SMXE = 1 << 14,
	CR4_FSGSBASE = 1 << 16,
	CR4_PCIDE = 1 << 17,
	CR4_OSXSAVE = 1 << 18,
	CR4_SMEP = 1 << 20,
	CR4_SMAP = 1 << 21,
	CR4_PKE = 1 << 22
};
enum efer_bit {
	EFER_SCE = 1 << 0,
	EFER_LME = 1 << 8,
	EFER_LMA = 1 << 10,
	EFER_NXE = 1 << 11,
	EFER_SVME = 1 << 12
};
enum rflags_bit {
	RFLAGS_CF = 1 << 0,
	RFLAGS_FIXED = 1 << 1,
	RFLAGS_PF = 1 << 2,
	RFLAGS_AF = 1 << 4,
	RFLAGS_ZF = 1 << 6,
	RFLAGS_SF = 1 << 7,
	RFLAGS_TF = 1 << 8,
	RFLAGS_IF = 1 << 9,
	RFLAGS_DF = 1 << 10,
	RFLAGS_OF = 1 << 11,
	RFLAGS_IOPL = 3 << 12,
	RFLAGS_NT = 1 << 14,
	RFLAGS_RF = 1 << 16,
	RFLAGS_VM = 1 << 17,
	RFLAGS_AC = 1 << 18,
	RFLAGS_VIF = 1 << 19,
	RFLAGS_VIP = 1 << 20,
	RFLAGS_ID = 1 << 21
};
/* Exception vectors (SDM volume 3, table 6-1). */
enum vector {
	VEC_DE = 0,
	VEC_DB = 1,
	VEC_NMI = 2,
	VEC_BP = 3,
	VEC_OF = 4,
	VEC_BR = 5,
	VEC_UD = 6,
	VEC_NM = 7,
	VEC_DF = 8,
	VEC_TS = 10,
	VEC_NP = 11,
	VEC_SS = 12,
	VEC_GP = 13,
	VEC_PF = 14,
	VEC_MF = 16,
	VEC_AC = 17,
	VEC_MC = 18,
	VEC_XM = 19
};
/* Page-fault error code (SDM volume 3, 4.7). */
enum pf_error { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16, PF_PK = 32 };

/* Everything that a snapshot carries of a vCPU, in one table. */
extern const struct state_field vcpu_state_fields[];

/* Power-on state (SDM volume 3, table 9-1); the boot CPU runs, the others wait for SIPI. */
void vcpu_state_reset(struct vcpu_state *s, unsigned apic_id, bool boot_cpu);

/*
 * Refuses a state that no CPU of our model could have: OK, or ERR_CORRUPT and
 * "<field>: <reason>". What passes can be loaded by hardware without a fault.
 * The local APIC is vlapic_check()'s; what depends on the CPU model
 * cpu_model_check_state()'s; MXCSR's bits are compared with the CPU's by whoever loads it.
 *
 * What the back ends owe to it: SS.DPL is the CPL, an unusable segment has P = 0, a
 * usable one is accessed, RFLAGS bit 1 and CR0.ET are set, EFER has neither SVME nor other
 * bits of the host, interrupts inhibited with IF = 0 are so by MOV SS.
 */
int vcpu_state_check(const struct vcpu_state *s, struct errmsg *e);

/* True for 64-bit mode (EFER.LMA and CS.L). */
static inline bool vcpu_is_64bit(const struct vcpu_state *s)
{
	return (s->efer & EFER_LMA) && (s->seg[SEG_CS].attr & SEG_ATTR_L);
}

#endif
