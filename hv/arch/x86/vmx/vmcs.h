/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtual-machine control structure: field encodings (SDM volume 3,
 * appendix B), controls (24.6 to 24.8), exit reasons (appendix C) and the
 * formats of what an exit reports (25.2, 27.2).
 */
#ifndef AMBER_VMX_VMCS_H
#define AMBER_VMX_VMCS_H

#include "hv/lib/types.h"

/* In the order of the appendix: width, then type, then index. */
enum vmcs_field {
	/* 16 bits: control */
	VMCS_VPID = 0x0000,
	/* guest; the eight segments follow each other in the order of enum seg_reg */
	VMCS_GUEST_ES_SEL = 0x0800,
	/* host */
	VMCS_HOST_ES_SEL = 0x0c00,
	VMCS_HOST_CS_SEL = 0x0c02,
	VMCS_HOST_SS_SEL = 0x0c04,
	VMCS_HOST_DS_SEL = 0x0c06,
	VMCS_HOST_FS_SEL = 0x0c08,
	VMCS_HOST_GS_SEL = 0x0c0a,
	VMCS_HOST_TR_SEL = 0x0c0c,
	/* 64 bits: control */
	VMCS_MSR_BITMAP = 0x2004,
	VMCS_TSC_OFFSET = 0x2010,
	VMCS_EPTP = 0x201a,
	VMCS_TSC_MULTIPLIER = 0x2032,
	/* read-only */
	VMCS_GUEST_PHYS_ADDR = 0x2400,
	/* guest */
	VMCS_LINK_POINTER = 0x2800,
	VMCS_GUEST_DEBUGCTL = 0x2802,
	VMCS_GUEST_PAT = 0x2804,
	VMCS_GUEST_EFER = 0x2806,
	VMCS_GUEST_PDPTE0 = 0x280a,
	/* host */
	VMCS_HOST_PAT = 0x2c00,
	VMCS_HOST_EFER = 0x2c02,
	/* 32 bits: control */
	VMCS_PIN_CTLS = 0x4000,
	VMCS_PROC_CTLS = 0x4002,
	VMCS_EXCEPTION_BITMAP = 0x4004,
	VMCS_PF_ERROR_MASK = 0x4006,
	VMCS_PF_ERROR_MATCH = 0x4008,
	VMCS_CR3_TARGET_COUNT = 0x400a,
	VMCS_EXIT_CTLS = 0x400c,
	VMCS_EXIT_MSR_STORE_COUNT = 0x400e,
	VMCS_EXIT_MSR_LOAD_COUNT = 0x4010,
	VMCS_ENTRY_CTLS = 0x4012,
	VMCS_ENTRY_MSR_LOAD_COUNT = 0x4014,
	VMCS_ENTRY_INTR_INFO = 0x4016,
	VMCS_ENTRY_ERROR_CODE = 0x4018,
	VMCS_ENTRY_INSN_LEN = 0x401a,
	VMCS_PROC_CTLS2 = 0x401e,
	/* read-only */
	VMCS_INSN_ERROR = 0x4400,
	VMCS_EXIT_REASON = 0x4402,
	VMCS_EXIT_INTR_INFO = 0x4404,
	VMCS_EXIT_INTR_ERROR = 0x4406,
	VMCS_IDT_VECTORING_INFO = 0x4408,
	VMCS_IDT_VECTORING_ERROR = 0x440a,
	VMCS_EXIT_INSN_LEN = 0x440c,
	VMCS_EXIT_INSN_INFO = 0x440e,
	/* guest; the eight segments as above */
	VMCS_GUEST_ES_LIMIT = 0x4800,
	VMCS_GUEST_GDTR_LIMIT = 0x4810,
	VMCS_GUEST_IDTR_LIMIT = 0x4812,
	VMCS_GUEST_ES_AR = 0x4814,
	VMCS_GUEST_INTERRUPTIBILITY = 0x4824,
	VMCS_GUEST_ACTIVITY = 0x4826,
	VMCS_GUEST_SYSENTER_CS = 0x482a,
	/* host */
	VMCS_HOST_SYSENTER_CS = 0x4c00,
	/* natural width: control */
	VMCS_CR0_MASK = 0x6000,
	VMCS_CR4_MASK = 0x6002,
	VMCS_CR0_SHADOW = 0x6004,
	VMCS_CR4_SHADOW = 0x6006,
	/* read-only */
	VMCS_EXIT_QUALIFICATION = 0x6400,
	VMCS_GUEST_LINEAR_ADDR = 0x640a,
	/* guest; the eight segments as above */
	VMCS_GUEST_CR0 = 0x6800,
	VMCS_GUEST_CR3 = 0x6802,
	VMCS_GUEST_CR4 = 0x6804,
	VMCS_GUEST_ES_BASE = 0x6806,
	VMCS_GUEST_GDTR_BASE = 0x6816,
	VMCS_GUEST_IDTR_BASE = 0x6818,
	VMCS_GUEST_DR7 = 0x681a,
	VMCS_GUEST_RSP = 0x681c,
	VMCS_GUEST_RIP = 0x681e,
	VMCS_GUEST_RFLAGS = 0x6820,
	VMCS_GUEST_PENDING_DBG = 0x6822,
	VMCS_GUEST_SYSENTER_ESP = 0x6824,
	VMCS_GUEST_SYSENTER_EIP = 0x6826,
	/* host */
	VMCS_HOST_CR0 = 0x6c00,
	VMCS_HOST_CR3 = 0x6c02,
	VMCS_HOST_CR4 = 0x6c04,
	VMCS_HOST_FS_BASE = 0x6c06,
	VMCS_HOST_GS_BASE = 0x6c08,
	VMCS_HOST_TR_BASE = 0x6c0a,
	VMCS_HOST_GDTR_BASE = 0x6c0c,
	VMCS_HOST_IDTR_BASE = 0x6c0e,
	VMCS_HOST_SYSENTER_ESP = 0x6c10,
	VMCS_HOST_SYSENTER_EIP = 0x6c12,
	VMCS_HOST_RSP = 0x6c14,
	VMCS_HOST_RIP = 0x6c16
};

/* From one segment's field to the next one's. */
enum { VMCS_SEG_STEP = 2 };

/* The TSC multiplier has 48 bits behind the point (24.6.5). */
enum { TSC_MULTIPLIER_SHIFT = 48 };

/* Pin-based controls (24.6.1). */
enum pin_ctl {
	PIN_EXTERNAL_INTERRUPT = 1 << 0,
	PIN_NMI = 1 << 3,
	PIN_VIRTUAL_NMI = 1 << 5,
	PIN_PREEMPTION_TIMER = 1 << 6,
	PIN_POSTED_INTERRUPTS = 1 << 7
};

/* Primary processor-based controls (24.6.2). */
enum proc_ctl {
	PROC_IRQ_WINDOW = 1 << 2,
	PROC_TSC_OFFSET = 1 << 3,
	PROC_HLT = 1 << 7,
	PROC_INVLPG = 1 << 9,
	PROC_MWAIT = 1 << 10,
	PROC_RDPMC = 1 << 11,
	PROC_RDTSC = 1 << 12,
	PROC_CR3_LOAD = 1 << 15,
	PROC_CR3_STORE = 1 << 16,
	PROC_CR8_LOAD = 1 << 19,
	PROC_CR8_STORE = 1 << 20,
	PROC_TPR_SHADOW = 1 << 21,
	PROC_NMI_WINDOW = 1 << 22,
	PROC_MOV_DR = 1 << 23,
	PROC_IO = 1 << 24,
	PROC_MTF = 1 << 27,
	PROC_MSR_BITMAP = 1 << 28,
	PROC_MONITOR = 1 << 29,
	PROC_PAUSE = 1 << 30
};
#define PROC_SECONDARY (1U << 31)

/* Secondary processor-based controls. */
enum proc2_ctl {
	PROC2_APIC_ACCESS = 1 << 0,
	PROC2_EPT = 1 << 1,
	PROC2_RDTSCP = 1 << 3,
	PROC2_X2APIC = 1 << 4,
	PROC2_VPID = 1 << 5,
	PROC2_WBINVD = 1 << 6,
	PROC2_UNRESTRICTED = 1 << 7,
	PROC2_APIC_REGISTERS = 1 << 8,
	PROC2_VIRTUAL_INTERRUPTS = 1 << 9,
	PROC2_INVPCID = 1 << 12,
	PROC2_XSAVES = 1 << 20,
	PROC2_TSC_SCALING = 1 << 25
};

/* Exit controls (24.7.1). */
enum exit_ctl {
	EXIT_CTL_SAVE_DEBUG = 1 << 2,
	EXIT_CTL_HOST_64 = 1 << 9,
	EXIT_CTL_ACK_INTERRUPT = 1 << 15,
	EXIT_CTL_LOAD_PAT = 1 << 19,
	EXIT_CTL_LOAD_EFER = 1 << 21
};

/* Entry controls (24.8.1). */
enum entry_ctl {
	ENTRY_CTL_LOAD_DEBUG = 1 << 2,
	ENTRY_CTL_IA32E = 1 << 9,
	ENTRY_CTL_LOAD_PAT = 1 << 14,
	ENTRY_CTL_LOAD_EFER = 1 << 15
};

/* Access rights as in a descriptor's second word from bit 8 on, and one bit more (24.4.1). */
enum vmcs_ar {
	VMCS_AR_LOW = 0x00ff,	/* type, S, DPL, P */
	VMCS_AR_HIGH_SHIFT = 4, /* AVL, L, D/B, G: bits 8 to 11 of ours are 12 to 15 here */
	VMCS_AR_UNUSABLE = 1 << 16
};

/* Guest interruptibility state (24.4.2). */
enum interruptibility {
	BLOCKED_BY_STI = 1 << 0,
	BLOCKED_BY_MOV_SS = 1 << 1,
	BLOCKED_BY_SMI = 1 << 2,
	BLOCKED_BY_NMI = 1 << 3
};

/* Pending debug exceptions (24.4.2): B0 to B3 as in DR6, and these. */
enum pending_dbg { PENDING_DBG_ENABLED = 1 << 12, PENDING_DBG_BS = 1 << 14 };

/* Interruption information of entries, exits and vectoring (24.8.3, 24.9.2). */
enum intr_info {
	INTR_VECTOR = 0xff,
	INTR_TYPE_SHIFT = 8,
	INTR_TYPE_EXTERNAL = 0,
	INTR_TYPE_NMI = 2,
	INTR_TYPE_HW_EXCEPTION = 3,
	INTR_TYPE_SOFT_INT = 4,
	INTR_TYPE_PRIV_EXCEPTION = 5,
	INTR_TYPE_SOFT_EXCEPTION = 6,
	INTR_ERROR_VALID = 1 << 11,
	INTR_NMI_UNBLOCKED = 1 << 12 /* exits: by an IRET that then faulted (27.2.3) */
};
#define INTR_VALID (1U << 31)

/* Basic exit reasons (appendix C). */
enum vmx_exit_reason {
	VMX_EXIT_EXCEPTION = 0,
	VMX_EXIT_EXTERNAL_INTERRUPT = 1,
	VMX_EXIT_TRIPLE_FAULT = 2,
	VMX_EXIT_INIT = 3,
	VMX_EXIT_SIPI = 4,
	VMX_EXIT_IO_SMI = 5,
	VMX_EXIT_SMI = 6,
	VMX_EXIT_IRQ_WINDOW = 7,
	VMX_EXIT_NMI_WINDOW = 8,
	VMX_EXIT_TASK_SWITCH = 9,
	VMX_EXIT_CPUID = 10,
	VMX_EXIT_GETSEC = 11,
	VMX_EXIT_HLT = 12,
	VMX_EXIT_INVD = 13,
	VMX_EXIT_INVLPG = 14,
	VMX_EXIT_RDPMC = 15,
	VMX_EXIT_RDTSC = 16,
	VMX_EXIT_RSM = 17,
	VMX_EXIT_VMCALL = 18,
	VMX_EXIT_VMCLEAR = 19, /* the VMX instructions up to VMXON */
	VMX_EXIT_VMXON = 27,
	VMX_EXIT_CR = 28,
	VMX_EXIT_DR = 29,
	VMX_EXIT_IO = 30,
	VMX_EXIT_RDMSR = 31,
	VMX_EXIT_WRMSR = 32,
	VMX_EXIT_BAD_GUEST_STATE = 33,
	VMX_EXIT_BAD_MSR = 34,
	VMX_EXIT_MWAIT = 36,
	VMX_EXIT_MTF = 37,
	VMX_EXIT_MONITOR = 39,
	VMX_EXIT_PAUSE = 40,
	VMX_EXIT_ENTRY_MACHINE_CHECK = 41,
	VMX_EXIT_EPT_VIOLATION = 48,
	VMX_EXIT_EPT_MISCONFIG = 49,
	VMX_EXIT_INVEPT = 50,
	VMX_EXIT_RDTSCP = 51,
	VMX_EXIT_PREEMPTION_TIMER = 52,
	VMX_EXIT_INVVPID = 53,
	VMX_EXIT_WBINVD = 54,
	VMX_EXIT_XSETBV = 55,
	VMX_EXIT_INVPCID = 58,
	VMX_EXIT_VMFUNC = 59,
	VMX_EXIT_XSAVES = 63,
	VMX_EXIT_XRSTORS = 64
};
/* The reason field: the basic reason in 15:0, and bit 31 for an entry that failed. */
enum { VMX_EXIT_BASIC = 0xffff };
#define VMX_EXIT_ENTRY_FAILED (1U << 31)

/* Exit qualification of CR accesses (27.2.1, table 27-3). */
enum cr_qualification {
	QUAL_CR_NUMBER = 0xf,
	QUAL_CR_TYPE_SHIFT = 4,
	QUAL_CR_TYPE = 3 << 4,
	QUAL_CR_MOV_TO = 0,
	QUAL_CR_MOV_FROM = 1,
	QUAL_CR_CLTS = 2,
	QUAL_CR_LMSW = 3,
	QUAL_CR_GPR_SHIFT = 8
};
/* MOV DR (table 27-4). */
enum dr_qualification { QUAL_DR_NUMBER = 7, QUAL_DR_FROM = 1 << 4, QUAL_DR_GPR_SHIFT = 8 };
/* I/O instructions (table 27-5). */
enum io_qualification {
	QUAL_IO_SIZE = 7, /* less one */
	QUAL_IO_IN = 1 << 3,
	QUAL_IO_STRING = 1 << 4,
	QUAL_IO_REP = 1 << 5,
	QUAL_IO_PORT_SHIFT = 16
};
/* Task switches (table 27-6): the selector in 15:0; the sources in the order of enum task_source.
 */
enum task_qualification { QUAL_TASK_SOURCE_SHIFT = 30, QUAL_TASK_SOURCE = 3 };
/* EPT violations (table 27-7). */
enum ept_qualification {
	QUAL_EPT_READ = 1 << 0,
	QUAL_EPT_WRITE = 1 << 1,
	QUAL_EPT_EXEC = 1 << 2,
	QUAL_EPT_LINEAR_VALID = 1 << 7,
	QUAL_EPT_FINAL = 1 << 8, /* not an access of the guest's page walk */
	QUAL_EPT_NMI_UNBLOCKED = 1 << 12
};

/* IA32_VMX_BASIC (appendix A.1). */
enum vmx_basic { BASIC_REVISION = 0x7fffffff, BASIC_TYPE_SHIFT = 50, BASIC_TYPE_WB = 6 };
#define BASIC_TRUE_CTLS BIT(55)

/* IA32_VMX_EPT_VPID_CAP (appendix A.10). */
#define EPT_CAP_WALK_4	       BIT(6)
#define EPT_CAP_WB	       BIT(14)
#define EPT_CAP_2M	       BIT(16)
#define EPT_CAP_1G	       BIT(17)
#define EPT_CAP_INVEPT	       BIT(20)
#define EPT_CAP_AD	       BIT(21)
#define EPT_CAP_INVEPT_SINGLE  BIT(25)
#define EPT_CAP_INVEPT_ALL     BIT(26)
#define EPT_CAP_INVVPID	       BIT(32)
#define EPT_CAP_INVVPID_SINGLE BIT(41)
#define EPT_CAP_INVVPID_ALL    BIT(42)

/* EPT pointer (24.6.11). */
enum eptp { EPTP_WB = 6, EPTP_WALK_4 = 3 << 3, EPTP_AD = 1 << 6 };
/* EPT entries (29.3.2). */
enum ept_entry {
	EPT_READ = 1 << 0,
	EPT_WRITE = 1 << 1,
	EPT_EXEC = 1 << 2,
	EPT_TYPE_WB = 6 << 3,
	EPT_IGNORE_PAT = 1 << 6,
	EPT_LARGE = 1 << 7,
	EPT_ACCESSED = 1 << 8,
	EPT_DIRTY = 1 << 9
};

/* INVEPT and INVVPID types (volume 3, chapter 31). */
enum inv_type { INV_SINGLE = 1, INV_ALL = 2 };

#endif
