/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What kernels that hold the machine against the manuals have in common: checks, faults that are
 * caught, CPUs, interrupts that are counted. They run under Amber as Multiboot kernels, and the
 * same under QEMU's -kernel with -device isa-debug-exit,iobase=0xf4,iosize=4 -device pc-testdev.
 */
#ifndef ARCH_H
#define ARCH_H

#include "guest.h"

enum { CPUS_MAX = 8, DEBUG_EXIT = 0xf4, NOTHING = 0x100 };
enum {
	SEL_CODE32 = 0x08,
	SEL_CODE64 = 0x10,
	SEL_DATA = 0x18,
	SEL_CODE16 = 0x20,
	SEL_DATA16 = 0x28,
	SEL_USER_DATA = 0x33,
	SEL_USER_CODE64 = 0x3b,
	SEL_USER_CODE32 = 0x43,
	SEL_OWN = 0x48, /* seven of the test's own */
	SEL_TSS = 0x80, /* one a CPU, 16 bytes each */
};
enum {
	DE = 0,
	DB = 1,
	NMI = 2,
	BP = 3,
	OF = 4,
	UD = 6,
	NM = 7,
	DF = 8,
	TS = 10,
	NP = 11,
	SS = 12,
	GP = 13,
	PF = 14,
	AC = 17
};

/* --- the test ------------------------------------------------------------------------- */

/* The kernel's own main, on the first CPU, interrupts off. */
void arch_main(void);
/* Behind the kernel's name; empty if there is none. */
extern const char *arch_command_line;
bool says(const char *word); /* it ends with the word */
/* Prints "ok NAME", or "FAIL NAME: got G, want W". */
void check_eq(const char *name, uint64_t got, uint64_t want);
void check(const char *name, bool good);
/* As check_eq(), for something between two limits. */
void check_in(const char *name, uint64_t got, uint64_t low, uint64_t high);
/* Prints "skip NAME: WHY"; where the machine has no such thing. */
void skip(const char *name, const char *why);
/* Ends the machine with the number of checks that failed. */
void finish(void) __attribute__((noreturn));

/* --- faults ---------------------------------------------------------------------------- */

/* The last one that was caught; vector NOTHING if there was none. */
extern volatile struct caught {
	uint64_t vector, error, rip, cs, rflags, rsp, cr2, dr6, at; /* at: the handler's stack */
	uint64_t resume;					    /* where the instruction ends */
} caught;
extern volatile uint64_t resume_at, resume_sp; /* where a fault goes on; 0: it ends the test */

/* An instruction that may fault: %[...] operands as for asm. Gives the vector or NOTHING. */
#define TRY(insn, ...)                                                                             \
	({                                                                                         \
		caught.vector = NOTHING;                                                           \
		__asm__ volatile("movq $771f, resume_at; mov %%rsp, resume_sp\n\t" insn            \
				 "\n771:\tmovq $0, resume_at" __VA_ARGS__);                        \
		caught.vector;                                                                     \
	})
/* The same at CPL 3 with these flags; it must fault. */
#define TRY_USER(flags, insn, ...)                                                                 \
	TRY("pushq $0x33; pushq $user_stack_top; pushq $" #flags                                   \
	    "; pushq $0x3b; pushq $772f; iretq\n772:\t" insn "\n\tud2",                            \
	    :                                                                                      \
	    : __VA_ARGS__                                                                          \
	    : "rax", "rbx", "rcx", "rdx", "memory")
extern uint8_t user_stack_top[];
/* A #GP is caught; *value is what was read. */
uint64_t try_rdmsr(uint32_t msr, uint64_t *value);
uint64_t try_wrmsr(uint32_t msr, uint64_t value);

/* --- CPUs ---------------------------------------------------------------------------------- */

struct tss {
	uint32_t reserved0;
	uint64_t rsp0, rsp1, rsp2, reserved1, ist[7], reserved2;
	uint16_t reserved3, iomap;
} __attribute__((packed));
extern struct tss arch_tss[CPUS_MAX];
extern uint64_t arch_gdt[64];
extern uint64_t arch_pml4[512], arch_pdpt[512], arch_pd[4][512];

struct gate {
	uint16_t offset0, selector;
	uint8_t ist, type;
	uint16_t offset1;
	uint32_t offset2, reserved;
};
extern struct gate arch_idt[256];
void set_gate(unsigned vector, uint64_t handler, unsigned ist, unsigned type);

unsigned cpu_index(void); /* 0: the first CPU */
/* INIT and SIPI to all other CPUs, until they are there; how many CPUs there are. */
unsigned start_cpus(void);
/* Waits until another CPU has run the function; it runs with interrupts on. */
void on_cpu(unsigned cpu, void (*fn)(uint64_t), uint64_t arg);
void on_cpu_begin(unsigned cpu, void (*fn)(uint64_t), uint64_t arg);
/* False if it has not ended after some time. */
bool on_cpu_end(unsigned cpu);
extern unsigned cpus;

/* --- local APIC, in either mode -------------------------------------------------------------- */

enum apic {
	APIC_ID = 0x20,
	APIC_VERSION = 0x30,
	APIC_TPR = 0x80,
	APIC_APR = 0x90,
	APIC_PPR = 0xa0,
	APIC_EOI = 0xb0,
	APIC_LDR = 0xd0,
	APIC_DFR = 0xe0,
	APIC_SVR = 0xf0,
	APIC_ISR = 0x100,
	APIC_TMR = 0x180,
	APIC_IRR = 0x200,
	APIC_ESR = 0x280,
	APIC_CMCI = 0x2f0,
	APIC_ICR = 0x300,
	APIC_ICR2 = 0x310,
	APIC_TIMER = 0x320,
	APIC_THERMAL = 0x330,
	APIC_PMC = 0x340,
	APIC_LINT0 = 0x350,
	APIC_LINT1 = 0x360,
	APIC_ERROR = 0x370,
	APIC_INITIAL = 0x380,
	APIC_CURRENT = 0x390,
	APIC_DIVIDE = 0x3e0,
	APIC_SELF = 0x3f0,
	MASKED = 0x10000,
};
enum {
	MSR_APIC_BASE = 0x1b,
	MSR_X2APIC = 0x800,
	MSR_DEADLINE = 0x6e0,
	BASE_BSP = 0x100,
	BASE_X2 = 0x400,
	BASE_EN = 0x800
};
/* ICR */
enum {
	LOWEST = 1 << 8,
	SEND_NMI = 4 << 8,
	SEND_INIT = 5 << 8,
	SEND_SIPI = 6 << 8,
	LOGICAL = 1 << 11,
	ASSERT = 1 << 14,
	LEVEL = 1 << 15,
	TO_SELF = 1 << 18,
	TO_ALL = 2 << 18,
	TO_OTHERS = 3 << 18,
};
extern volatile uint64_t apic_at; /* of the registers in memory */
bool x2apic(void);
uint32_t apic_read(unsigned reg);
void apic_write(unsigned reg, uint32_t v);
void send_ipi(uint32_t dest, uint32_t icr);
bool apic_bit(unsigned bank, unsigned vector);

/* --- interrupts --------------------------------------------------------------------------------
 */

/* By CPU and vector, from 32 on and NMIs; all are counted, ended at the local APIC, and logged. */
extern volatile unsigned irqs[CPUS_MAX][256];
extern volatile uint8_t irq_log[64]; /* the first CPU's, in order */
extern volatile unsigned irq_logged;
extern volatile bool no_eoi;
void forget_irqs(void);
/* Opens interrupts for a moment and closes them again. */
void let_irqs_in(void);
/* Waits until a CPU has had so many; false after some time. Interrupts are on meanwhile. */
bool wait_irqs(unsigned cpu, unsigned vector, unsigned count);
/* So that what is under way to other CPUs has arrived; interrupts are on meanwhile. */
void settle(void);

static inline void sti(void)
{
	__asm__ volatile("sti; nop" : : : "memory");
}
static inline void cli(void)
{
	__asm__ volatile("cli" : : : "memory");
}
static inline uint64_t read_cr0(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr0, %0" : "=r"(v));
	return v;
}
static inline void write_cr0(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr0" : : "r"(v) : "memory");
}
static inline uint64_t read_cr4(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr4, %0" : "=r"(v));
	return v;
}
static inline void write_cr4(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr4" : : "r"(v) : "memory");
}
static inline void write_cr3(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory");
}
static inline void flush_tlb(void)
{
	write_cr3((uint64_t)arch_pml4);
}
static inline void pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}

#endif
