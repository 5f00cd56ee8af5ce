/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The physical CPU: per-CPU block, privileged registers and instructions, and
 * what this machine's CPUs can do. Nothing here knows of threads but by pointer.
 */
#ifndef AMBER_X86_CPU_H
#define AMBER_X86_CPU_H

#include "hv/arch/x86/cpuid_regs.h"
#include "hv/arch/x86/msr.h"
#include "hv/lib/error.h"
#include "hv/lib/types.h"

enum { MAX_CPUS = 64 };

/* Selectors in every CPU's GDT; the order is fixed in gdt.c. */
enum host_selector { SEL_NULL = 0x00, SEL_CODE = 0x08, SEL_DATA = 0x10, SEL_TSS = 0x18 };
enum { GDT_ENTRIES = 5 }; /* the TSS descriptor takes two */

/* Stack-table slots (IST) of the gates (design brief, section 5). */
enum ist_slot { IST_DF = 1, IST_NMI, IST_MC, IST_DB, IST_IRQ, IST_EXCEPTION, IST_COUNT = 6 };

/* 64-bit task state (SDM volume 3, figure 8-11). */
struct tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3, iomap_base;
} PACKED;
_Static_assert(sizeof(struct tss) == 104, "SDM volume 3, figure 8-11");

struct thread;
struct smp_call_node;

/*
 * One per CPU; GS base points at it for ever, FS base at fs_block. The offsets
 * of the first members are known to assembly (checked in cpu.c).
 */
struct cpu {
	struct cpu *self;	/* %gs:0 */
	uint32_t id;		/* %gs:8; index into the table of CPUs */
	uint32_t apic_id;	/* %gs:12 */
	struct thread *current; /* %gs:16 */
	uint32_t need_resched;	/* %gs:24; atomic: the running thread should call thread_yield() */
	uint32_t irq_depth;	/* %gs:28; > 0 in an interrupt handler */
	uint64_t fs_block[6];	/* %gs:32; FS base; the stack-protector canary is at %fs:0x28 */
	bool online;
	int64_t tsc_offset;	     /* added to RDTSC gives the time that all CPUs agree on */
	struct smp_call_node *calls; /* smp.c */
	struct tss tss __attribute__((aligned(16)));
	uint64_t gdt[GDT_ENTRIES] __attribute__((aligned(16)));
	void *boot_stack_top; /* the stack of the CPU's idle thread */
	uint64_t stat_irqs, stat_ipis;
} __attribute__((aligned(64)));

/* The block of this CPU. A thread may continue on another CPU after any function that may switch.
 */
static inline struct cpu *this_cpu(void)
{
	struct cpu *c;

	__asm__ volatile("movq %%gs:0, %0" : "=r"(c));
	return c;
}
static inline unsigned cpu_id(void)
{
	uint32_t id;

	__asm__ volatile("movl %%gs:8, %0" : "=r"(id));
	return id;
}
/* True if the running thread should call thread_yield(). */
static inline bool cpu_need_resched(void)
{
	uint32_t need;

	__asm__ volatile("movl %%gs:24, %0" : "=r"(need));
	return need != 0;
}
/* True in an interrupt or exception handler. */
static inline bool in_interrupt(void)
{
	return this_cpu()->irq_depth != 0;
}

/* CPU number id (0..MAX_CPUS-1). Valid for every id; look at ->online. */
struct cpu *cpu_by_id(unsigned id);
/* How many CPUs run; they have the numbers 0..cpus_online()-1. */
unsigned cpus_online(void);
/* A CPU's number from its APIC ID; -1 if none has it. */
int cpu_by_apic_id(uint32_t apic_id);

static inline struct cpuid_regs cpuid(uint32_t leaf, uint32_t sub)
{
	struct cpuid_regs r;

	__asm__ volatile("cpuid"
			 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
			 : "a"(leaf), "c"(sub));
	return r;
}

/*
 * An instruction that may fault, and where to go on if it does: at the label
 * 'to', with all registers as they were (fix-up table, traps.c).
 */
#define EX_TABLE(from, to)                                                                         \
	".pushsection fault_fixups, \"a\"\n\t.balign 8\n\t.quad " #from ", " #to                   \
	"\n\t.popsection\n\t"

#ifdef AMBER_HOST /* unit tests: tests/unit/fake/fake_cpu.c has the registers */
uint64_t rdmsr(uint32_t msr);
void wrmsr(uint32_t msr, uint64_t v);
#else
static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
	return (uint64_t)hi << 32 | lo;
}
static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr"
			 :
			 : "a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(msr)
			 : "memory");
}
#endif
/* False, and *v = 0, if the register does not exist. */
static inline bool rdmsr_safe(uint32_t msr, uint64_t *v)
{
	uint32_t lo = 0, hi = 0;
	uint8_t ok = 0;

	__asm__ volatile("1:\trdmsr\n\tmovb $1, %2\n2:\n\t" EX_TABLE(1b, 2b)
			 : "+a"(lo), "+d"(hi), "+&q"(ok)
			 : "c"(msr)
			 : "memory");
	*v = (uint64_t)hi << 32 | lo;
	return ok;
}
/* False if the register does not exist or refuses the value. */
static inline bool wrmsr_safe(uint32_t msr, uint64_t v)
{
	uint8_t ok = 0;

	__asm__ volatile("1:\twrmsr\n\tmovb $1, %0\n2:\n\t" EX_TABLE(1b, 2b)
			 : "+&q"(ok)
			 : "a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(msr)
			 : "memory");
	return ok;
}

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (uint64_t)hi << 32 | lo;
}

#ifdef AMBER_HOST
#define CPU_REG_ACCESS(reg)                                                                        \
	uint64_t read_##reg(void);                                                                 \
	void write_##reg(uint64_t v);
#else
#define CPU_REG_ACCESS(reg)                                                                        \
	static inline uint64_t read_##reg(void)                                                    \
	{                                                                                          \
		uint64_t v;                                                                        \
                                                                                                   \
		__asm__ volatile("movq %%" #reg ", %0" : "=r"(v) : : "memory");                    \
		return v;                                                                          \
	}                                                                                          \
	static inline void write_##reg(uint64_t v)                                                 \
	{                                                                                          \
		__asm__ volatile("movq %0, %%" #reg : : "r"(v) : "memory");                        \
	}
#endif
/* clang-format off */
CPU_REG_ACCESS(cr0)
CPU_REG_ACCESS(cr2)
CPU_REG_ACCESS(cr3)
CPU_REG_ACCESS(cr4)
CPU_REG_ACCESS(cr8)
CPU_REG_ACCESS(dr0)
CPU_REG_ACCESS(dr1)
CPU_REG_ACCESS(dr2)
CPU_REG_ACCESS(dr3)
CPU_REG_ACCESS(dr6)
CPU_REG_ACCESS(dr7)
/* clang-format on */
#undef CPU_REG_ACCESS

/* Only with CR4.OSXSAVE set, which is so if host_cpu.xsave. */
static inline uint64_t xgetbv(uint32_t index)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(index));
	return (uint64_t)hi << 32 | lo;
}
static inline void xsetbv(uint32_t index, uint64_t v)
{
	__asm__ volatile("xsetbv"
			 :
			 : "a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(index)
			 : "memory");
}

static inline void cpu_pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}
static inline void irq_enable(void)
{
	__asm__ volatile("sti" : : : "memory");
}
static inline void irq_disable(void)
{
	__asm__ volatile("cli" : : : "memory");
}
static inline bool irqs_enabled(void)
{
	uint64_t flags;

	__asm__ volatile("pushfq; popq %0" : "=r"(flags) : : "memory");
	return flags & 0x200; /* RFLAGS.IF */
}
/* Enables interrupts and halts; none can slip in between (STI's shadow). */
static inline void irq_enable_and_halt(void)
{
	__asm__ volatile("sti; hlt" : : : "memory");
}
/* Stops this CPU for good. */
static inline NORETURN void cpu_halt_forever(void)
{
	for (;;)
		__asm__ volatile("cli; hlt" : : : "memory");
}
static inline void invlpg(const void *va)
{
	__asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

enum cpu_vendor { VENDOR_OTHER, VENDOR_INTEL, VENDOR_AMD };

/* What the boot CPU can do; the others are checked to be no worse (smp.c). */
struct host_cpu {
	enum cpu_vendor vendor; /* Hygon counts as AMD */
	char vendor_id[13], brand[49];
	uint32_t max_leaf, max_ext_leaf;
	uint32_t signature; /* CPUID 1 EAX */
	uint8_t phys_bits;
	bool nx, page_1g, pge, smep, smap, umip, pat;
	bool xsave, x2apic, tsc_deadline, invariant_tsc, rdrand;
	bool svm, vmx;	 /* announced by CPUID; whether usable is the back end's to find out */
	bool hypervisor; /* runs under another one (CPUID 1 ECX bit 31) */
	bool tcg;	 /* that is QEMU, which emulates the CPU by itself, without KVM */
};
extern struct host_cpu host_cpu;

/* Counts c as running; it has entered the scheduler's world or is about to (smp.c, main.c). */
void cpu_set_online(struct cpu *c);

/* Fills host_cpu. Once, on the boot CPU, first of all. */
void cpu_identify(void);
/*
 * The ladder of requirements: OK, or ERR_UNSUPPORTED and a sentence that names
 * the first thing that is missing. After cpu_identify().
 */
int cpu_check_requirements(struct errmsg *e);
/* Sets CR0, CR4, EFER, PAT, XCR0 of this CPU the way the hypervisor wants them. */
void cpu_init_control(void);

/* GDT and TSS of a CPU (gdt.c): fills them; loads them on this CPU, with GS and FS base. */
void gdt_init(struct cpu *c);
void gdt_load(struct cpu *c);
/* Gives c guarded stacks for all gates; ERR_NOMEM. After mm_init(). */
int gdt_alloc_ist(struct cpu *c);

#endif
