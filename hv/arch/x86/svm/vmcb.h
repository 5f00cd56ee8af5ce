/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtual machine control block: APM volume 2, appendix B, and section 15.9 for intercepts. */
#ifndef AMBER_SVM_VMCB_H
#define AMBER_SVM_VMCB_H

#include "hv/lib/types.h"

/* Intercept vector 3, offset 0x00c. */
enum vmcb_intercept3 {
	ICPT_INTR = 1 << 0,
	ICPT_NMI = 1 << 1,
	ICPT_SMI = 1 << 2,
	ICPT_INIT = 1 << 3,
	ICPT_VINTR = 1 << 4,
	ICPT_RDTSC = 1 << 14,
	ICPT_RDPMC = 1 << 15,
	ICPT_CPUID = 1 << 18,
	ICPT_RSM = 1 << 19,
	ICPT_IRET = 1 << 20,
	ICPT_INVD = 1 << 22,
	ICPT_PAUSE = 1 << 23,
	ICPT_HLT = 1 << 24,
	ICPT_INVLPGA = 1 << 26,
	ICPT_IOIO = 1 << 27,
	ICPT_MSR = 1 << 28,
	ICPT_FERR_FREEZE = 1 << 30,
};
#define ICPT_SHUTDOWN (1U << 31)

/* Intercept vector 4, offset 0x010. */
enum vmcb_intercept4 {
	ICPT_VMRUN = 1 << 0,
	ICPT_VMMCALL = 1 << 1,
	ICPT_VMLOAD = 1 << 2,
	ICPT_VMSAVE = 1 << 3,
	ICPT_STGI = 1 << 4,
	ICPT_CLGI = 1 << 5,
	ICPT_SKINIT = 1 << 6,
	ICPT_RDTSCP = 1 << 7,
	ICPT_ICEBP = 1 << 8,
	ICPT_WBINVD = 1 << 9,
	ICPT_MONITOR = 1 << 10,
	ICPT_MWAIT = 1 << 11,
	ICPT_MWAIT_ARMED = 1 << 12,
	ICPT_XSETBV = 1 << 13,
	ICPT_RDPRU = 1 << 14,
};

/* TLB control, offset 0x05c. */
enum vmcb_tlb_control { TLB_KEEP = 0, TLB_FLUSH_ALL = 1, TLB_FLUSH_ASID = 3 };

/* Virtual interrupt control, offset 0x060. */
#define VINTR_IRQ	   (1ULL << 8)
#define VINTR_PRIO_SHIFT   16
#define VINTR_IGNORE_TPR   (1ULL << 20)
#define VINTR_MASKING	   (1ULL << 24)
#define VINTR_VECTOR_SHIFT 32

/* Interrupt shadow, offset 0x068. */
#define SHADOW_INTERRUPT 1ULL

/* EVENTINJ and EXITINTINFO (15.20, 15.7.2): vector 7:0, type 10:8, error valid 11, valid 31, error
 * code 63:32. */
enum vmcb_event { VMCB_EVENT_TYPE_SHIFT = 8, VMCB_EVENT_ERROR_VALID = 1 << 11 };
#define VMCB_EVENT_VALID (1U << 31)

/* Clean bits, offset 0x0c0 (15.15.3). */
enum vmcb_clean {
	CLEAN_INTERCEPTS = 1 << 0,
	CLEAN_IOPM = 1 << 1,
	CLEAN_ASID = 1 << 2,
	CLEAN_TPR = 1 << 3,
	CLEAN_NP = 1 << 4,
	CLEAN_CRX = 1 << 5,
	CLEAN_DRX = 1 << 6,
	CLEAN_DT = 1 << 7,
	CLEAN_SEG = 1 << 8,
	CLEAN_CR2 = 1 << 9,
	CLEAN_LBR = 1 << 10,
	CLEAN_ALL = (1 << 11) - 1,
};

struct vmcb_seg {
	uint16_t sel, attr;
	uint32_t limit;
	uint64_t base;
};

struct vmcb {
	/* control area */
	uint16_t icpt_cr_read, icpt_cr_write; /* 000 */
	uint16_t icpt_dr_read, icpt_dr_write; /* 004 */
	uint32_t icpt_exceptions;	      /* 008 */
	uint32_t icpt3, icpt4, icpt5;	      /* 00c */
	uint8_t reserved1[0x3c - 0x18];
	uint16_t pause_threshold, pause_count; /* 03c */
	uint64_t iopm, msrpm;		       /* 040 */
	uint64_t tsc_offset;		       /* 050 */
	uint32_t asid;			       /* 058 */
	uint32_t tlb_control;		       /* 05c */
	uint64_t vintr;			       /* 060 */
	uint64_t int_shadow;		       /* 068 */
	uint64_t exit_code;		       /* 070 */
	uint64_t exit_info1, exit_info2;       /* 078 */
	uint64_t exit_int_info;		       /* 088 */
	uint64_t nested_ctl;		       /* 090 */
	uint8_t reserved2[0xa8 - 0x98];
	uint64_t event_inj;  /* 0a8 */
	uint64_t nested_cr3; /* 0b0 */
	uint64_t virt_ext;   /* 0b8 */
	uint32_t clean;	     /* 0c0 */
	uint32_t reserved3;
	uint64_t next_rip;  /* 0c8 */
	uint8_t insn_count; /* 0d0 */
	uint8_t insn[15];
	uint8_t reserved4[0x400 - 0xe0];
	/* state save area */
	struct vmcb_seg es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr; /* 400 */
	uint8_t reserved5[0x4cb - 0x4a0];
	uint8_t cpl; /* 4cb */
	uint32_t reserved6;
	uint64_t efer; /* 4d0 */
	uint8_t reserved7[0x548 - 0x4d8];
	uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip; /* 548 */
	uint8_t reserved8[0x5d8 - 0x580];
	uint64_t rsp; /* 5d8 */
	uint8_t reserved9[0x5f8 - 0x5e0];
	uint64_t rax;					       /* 5f8 */
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base;   /* 600 */
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip, cr2; /* 628 */
	uint8_t reserved10[0x668 - 0x648];
	uint64_t g_pat, debugctl, br_from, br_to, excp_from, excp_to; /* 668 */
	uint8_t reserved11[0x1000 - 0x698];
};

#define VMCB_AT(member, offset)                                                                    \
	_Static_assert(offsetof(struct vmcb, member) == (offset), "APM volume 2, appendix B")
VMCB_AT(iopm, 0x040);
VMCB_AT(asid, 0x058);
VMCB_AT(exit_code, 0x070);
VMCB_AT(event_inj, 0x0a8);
VMCB_AT(next_rip, 0x0c8);
VMCB_AT(es, 0x400);
VMCB_AT(cpl, 0x4cb);
VMCB_AT(efer, 0x4d0);
VMCB_AT(cr4, 0x548);
VMCB_AT(rip, 0x578);
VMCB_AT(rsp, 0x5d8);
VMCB_AT(rax, 0x5f8);
VMCB_AT(cr2, 0x640);
VMCB_AT(g_pat, 0x668);
_Static_assert(sizeof(struct vmcb) == 4096, "one page");

/* Exit codes: APM volume 2, appendix C. */
enum vmcb_exit {
	SVM_EXIT_CR_READ = 0x000,
	SVM_EXIT_CR_WRITE = 0x010,
	SVM_EXIT_DR_READ = 0x020,
	SVM_EXIT_DR_WRITE = 0x030,
	SVM_EXIT_EXCEPTION = 0x040,
	SVM_EXIT_INTR = 0x060,
	SVM_EXIT_NMI = 0x061,
	SVM_EXIT_SMI = 0x062,
	SVM_EXIT_INIT = 0x063,
	SVM_EXIT_VINTR = 0x064,
	SVM_EXIT_RDTSC = 0x06e,
	SVM_EXIT_RDPMC = 0x06f,
	SVM_EXIT_CPUID = 0x072,
	SVM_EXIT_RSM = 0x073,
	SVM_EXIT_IRET = 0x074,
	SVM_EXIT_INVD = 0x076,
	SVM_EXIT_PAUSE = 0x077,
	SVM_EXIT_HLT = 0x078,
	SVM_EXIT_INVLPGA = 0x07a,
	SVM_EXIT_IOIO = 0x07b,
	SVM_EXIT_MSR = 0x07c,
	SVM_EXIT_FERR_FREEZE = 0x07e,
	SVM_EXIT_SHUTDOWN = 0x07f,
	SVM_EXIT_VMRUN = 0x080,
	SVM_EXIT_VMMCALL = 0x081,
	SVM_EXIT_VMLOAD = 0x082,
	SVM_EXIT_VMSAVE = 0x083,
	SVM_EXIT_STGI = 0x084,
	SVM_EXIT_CLGI = 0x085,
	SVM_EXIT_SKINIT = 0x086,
	SVM_EXIT_RDTSCP = 0x087,
	SVM_EXIT_ICEBP = 0x088,
	SVM_EXIT_WBINVD = 0x089,
	SVM_EXIT_MONITOR = 0x08a,
	SVM_EXIT_MWAIT = 0x08b,
	SVM_EXIT_MWAIT_ARMED = 0x08c,
	SVM_EXIT_XSETBV = 0x08d,
	SVM_EXIT_RDPRU = 0x08e,
	SVM_EXIT_NPF = 0x400,
};
#define SVM_EXIT_INVALID 0xffffffffU /* compared in the low 32 bits */

/* EXITINFO1 of IOIO (15.10.2) and of a nested page fault (15.25.6). */
enum vmcb_ioio {
	IOIO_IN = 1 << 0,
	IOIO_STRING = 1 << 2,
	IOIO_REP = 1 << 3,
	IOIO_SIZE_SHIFT = 4,
	IOIO_PORT_SHIFT = 16
};
enum vmcb_npf { NPF_WRITE = 1 << 1, NPF_EXEC = 1 << 4 };
#define NPF_FINAL (1ULL << 32) /* of the final translation; bit 33: of the guest's page walk */

#endif
