/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The vendor interface: what the core asks of VMX or SVM. Bound once at boot.
 * A back end knows nothing of devices, memory maps or policy; it moves state
 * between struct vcpu_state and the hardware, runs the guest, and reports why
 * it stopped in vendor-neutral terms.
 */
#ifndef AMBER_CORE_VIRT_OPS_H
#define AMBER_CORE_VIRT_OPS_H

#include "hv/arch/x86/vcpu_state.h"
#include "hv/lib/error.h"
#include "hv/lib/types.h"

struct vm;
struct vcpu;
struct tsc_scale;

/*
 * Parts of vcpu_state that are moved together. After an exit only GPR is valid
 * in vcpu->state; the rest is fetched when somebody asks (vcpu_need), and what
 * somebody changed (vcpu_changed) is written back at the next entry.
 */
enum vcpu_group {
	VG_GPR = 1 << 0,  /* general registers, RIP, RFLAGS, interrupt shadow: always valid */
	VG_CODE = 1 << 1, /* CS, FS, GS, CPL: all that 64-bit code has of segmentation */
	VG_DATA = 1 << 5, /* the other segments and the descriptor tables */
	VG_SEGS = VG_CODE | VG_DATA,
	VG_CRS = 1 << 2,  /* CR0, CR2, CR3, CR4, EFER, PDPTEs */
	VG_DRS = 1 << 3,  /* DR0-DR3, DR6, DR7 */
	VG_MSRS = 1 << 4, /* MSRs that the guest reads and writes without exits */
	VG_ALL = (1 << 6) - 1
};

/*
 * Why the guest stopped. The order is that of the statistics. X(name, text):
 * the text is shown by 'vm stats'.
 */
#define VM_EXIT_TABLE(X)                                                                           \
	X(EXIT_INTERRUPT, "host interrupt")                                                        \
	X(EXIT_NMI, "host NMI")                                                                    \
	X(EXIT_IRQ_WINDOW, "interrupt window")                                                     \
	X(EXIT_NMI_WINDOW, "NMI window")                                                           \
	X(EXIT_CPUID, "CPUID")                                                                     \
	X(EXIT_HLT, "HLT")                                                                         \
	X(EXIT_PAUSE, "PAUSE")                                                                     \
	X(EXIT_IO, "port I/O")                                                                     \
	X(EXIT_MMIO, "nested page fault")                                                          \
	X(EXIT_RDMSR, "RDMSR")                                                                     \
	X(EXIT_WRMSR, "WRMSR")                                                                     \
	X(EXIT_CR_READ, "CR read")                                                                 \
	X(EXIT_CR_WRITE, "CR write")                                                               \
	X(EXIT_DR, "DR access")                                                                    \
	X(EXIT_EXCEPTION, "exception")                                                             \
	X(EXIT_HYPERCALL, "hypercall")                                                             \
	X(EXIT_XSETBV, "XSETBV")                                                                   \
	X(EXIT_CACHE, "INVD or WBINVD")                                                            \
	X(EXIT_UNDEFINED, "instruction not offered")                                               \
	X(EXIT_RDPMC, "RDPMC")                                                                     \
	X(EXIT_RDTSC, "RDTSC")                                                                     \
	X(EXIT_RDTSCP, "RDTSCP")                                                                   \
	X(EXIT_TASK_SWITCH, "task switch")                                                         \
	X(EXIT_TRIPLE_FAULT, "shutdown")                                                           \
	X(EXIT_NOTHING, "handled by the back end")                                                 \
	X(EXIT_INVALID_STATE, "invalid guest state")                                               \
	X(EXIT_UNKNOWN, "unknown")

#define VM_EXIT_ENUM(name, text) name,
enum vm_exit_reason { VM_EXIT_TABLE(VM_EXIT_ENUM) EXIT_REASON_COUNT };
#undef VM_EXIT_ENUM

/* What asks for a hardware task switch; GATE: an event, INT n and its kin among them. */
enum task_source { TASK_CALL, TASK_IRET, TASK_JMP, TASK_GATE };

struct vm_exit {
	enum vm_exit_reason reason;
	uint8_t insn_len; /* 0: not known, decode it */
	union {
		struct {
			uint16_t port;
			uint8_t size; /* 1, 2, 4 */
			bool in, string, rep;
		} io;
		struct {
			uint64_t gpa;
			bool write, exec;
			bool data; /* the instruction's own access to data: gpa is its operand's */
		} mmio;
		struct {
			uint8_t reg;  /* CR or DR number */
			uint8_t gpr;  /* enum gpr, if has_gpr */
			bool has_gpr; /* false: emulate to find the operand */
			bool write;
		} cr;
		struct {
			uint8_t vector;
			bool has_error;
			uint32_t error_code;
			uint64_t info; /* CR2 for #PF, DR6 bits for #DB */
		} exception;
		/* RIP is at the instruction, whose length is known, if it was one; an event of
		 * another kind is state.injected. The new TSS's descriptor was good a moment ago.
		 */
		struct {
			uint16_t sel;	/* of the new TSS */
			uint8_t source; /* enum task_source */
			bool external;	/* an event that is not INT n, INT3 or INTO */
		} task;
		uint64_t raw[3]; /* EXIT_UNKNOWN, EXIT_INVALID_STATE: hardware's own fields */
	};
};

#define NO_CODE_ROOT UINT64_MAX

struct virt_ops {
	const char *name; /* "svm" or "vmx" */
	/* The ladder of requirements: OK; ERR_NOENT if the CPU is another vendor's;
	 * ERR_UNSUPPORTED and a sentence that names what is missing. */
	int (*probe)(struct errmsg *e);
	/* Turns virtualization on and off on the calling CPU. */
	int (*cpu_enable)(struct errmsg *e);
	void (*cpu_disable)(void);

	int (*vm_create)(struct vm *vm);
	void (*vm_destroy)(struct vm *vm);
	int (*vcpu_create)(struct vcpu *v);
	void (*vcpu_destroy)(struct vcpu *v);

	/* The vCPU thread came to this CPU (or came back), or leaves it. */
	void (*vcpu_load)(struct vcpu *v);
	void (*vcpu_put)(struct vcpu *v);

	/* Copies groups from the hardware's cache to vcpu->state. */
	void (*fetch)(struct vcpu *v, uint32_t groups);

	/*
	 * Events, for the next entry only. At most one inject per entry. The core
	 * keeps the order exception, NMI, interrupt and asks for windows.
	 */
	void (*inject)(struct vcpu *v, const struct event *ev);
	void (*want_irq_window)(struct vcpu *v, bool on);
	void (*want_nmi_window)(struct vcpu *v, bool on);

	/*
	 * Writes dirty groups, enters the guest, returns after the exit with
	 * interrupts still off; fills *x; state.injected holds an event that was
	 * cut short. If x->insn_len is 0, vcpu->code_root is CR3 in 64-bit mode, where
	 * RIP is a linear address and paging has four levels, and NO_CODE_ROOT in
	 * other modes. Called with interrupts off.
	 */
	void (*run)(struct vcpu *v, struct vm_exit *x);

	/*
	 * Puts right what this CPU does against its manual, or queues the fault that was due; NULL
	 * if there is nothing known. refused: after EXIT_INVALID_STATE, and true means that the
	 * guest goes on. Else the vCPU parks, and its state, all of it valid, may be saved next.
	 */
	bool (*mend)(struct vcpu *v, bool refused);

	/* The vCPU's nested translations are stale: drop them before its next entry. */
	void (*flush)(struct vcpu *v);
	/* The TSC offset to apply from the next entry on: guest TSC = host TSC + offset. */
	void (*set_tsc_offset)(struct vcpu *v, uint64_t offset);
	/*
	 * Scaling in hardware: guest TSC = host TSC * ratio + offset. fit_tsc_ratio
	 * rounds *s to what the hardware can do, false if that is out of its range;
	 * set_tsc_ratio applies such a ratio (also 1) from the next entry on. Both NULL:
	 * there is none, and RDTSC exits where it must be scaled.
	 */
	bool (*fit_tsc_ratio)(struct tsc_scale *s);
	void (*set_tsc_ratio)(struct vcpu *v, const struct tsc_scale *s);
	/* RDTSC and RDTSCP exit or not; RDTSCP always does (or is #UD) without v->has_rdtscp. */
	void (*want_rdtsc_exits)(struct vcpu *v, bool on);
	/* Prints the hardware's control structure, decoded, to the log. */
	void (*dump)(struct vcpu *v);
	/* The page-table format of nested paging; see hv/arch/x86/npt.h. */
	const struct npt_format *npt;
	/* In PAE paging the CPU keeps the PDPTEs that the last MOV to CR3 loaded; if not, each
	 * walk reads them from memory. */
	bool keeps_pdptes;
};

/* The bound back end; set by main before the first VM is made. */
extern const struct virt_ops *virt;

#endif
