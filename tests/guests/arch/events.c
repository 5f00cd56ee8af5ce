/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Exceptions and interrupts against SDM volume 3, chapters 6 and 17 (APM volume 2, chapters 8 and
 * 13): error codes, exceptions in the delivery of events, shadows, NMIs, debug exceptions. With
 * "triple" on its command line it ends in a triple fault.
 */
#include "arch.h"

enum {
	VEC = 0x70,
	SOFT = 0x71,
	ERR_EXT = 1,
	ERR_IDT = 2,
	IST_GOOD = 1,
	IST_BAD = 2,
	GATE = 0x8e,
	ABSENT_GATE = 0x0e,
	USER_GATE = 0xee,
	DR6_BS = 1 << 14,
	DR6_BD = 1 << 13,
	DR7_GD = 1 << 13,
	CR4_DE = 1 << 3,
	FLAG_TF = 1 << 8,
	FLAG_IF = 1 << 9,
	FLAG_RF = 1 << 16,
	FLAG_AC = 1 << 18,
	PORT = 0xe0, /* the test device's bytes */
};
#define UNMAPPED     0x40000000UL
#define NONCANONICAL 0x8000000000000000UL
#define CR0_AM	     (1UL << 18)
#define CR0_WP	     (1UL << 16)
#define CR0_TS	     (1UL << 3)

extern const uint64_t guest_stubs[256];
static uint8_t good_stack[8192] __attribute__((aligned(16)));
static uint8_t page[3][4096] __attribute__((aligned(4096)));
static volatile uint64_t table[512] __attribute__((aligned(4096))); /* of the 2 MiB at UNMAPPED */

static void gate(unsigned vector, unsigned ist, unsigned type)
{
	set_gate(vector, guest_stubs[vector], ist, type);
}

/* Of the last fault that was caught. */
static void faulted(const char *name, uint64_t vector, uint64_t error)
{
	check_eq(name, caught.vector << 32 | caught.error, vector << 32 | error);
}

/* --- error codes ------------------------------------------------------------------------ */

static void test_errors(void)
{
	uint16_t absent = SEL_OWN;

	arch_gdt[SEL_OWN / 8] = 0x00cf13000000ffff; /* data, not present */
	TRY("xor %%edx, %%edx; mov $1, %%eax; divl %%edx", : : : "eax", "edx");
	faulted("#DE", DE, 0);
	check_eq("#DE: RIP is the instruction's", caught.resume - caught.rip, 2);
	check_eq("#DE: RF in the image", caught.rflags & FLAG_RF, FLAG_RF);
	TRY("int3", :);
	faulted("#BP", BP, 0);
	check_eq("#BP: RIP is behind it", caught.rip, caught.resume);
	TRY("ud2", :);
	faulted("#UD", UD, 0);
	check_eq("#UD: RIP is the instruction's", caught.resume - caught.rip, 2);
	check_eq("#UD: RF in the image", caught.rflags & FLAG_RF, FLAG_RF);
	write_cr0(read_cr0() | CR0_TS);
	TRY("fnop", :);
	faulted("#NM", NM, 0);
	__asm__ volatile("clts");
	TRY("mov %0, %%ds", : : "r"(0xfff8));
	faulted("#GP: selector behind the table", GP, 0xfff8);
	TRY("mov %0, %%ds", : : "r"(absent));
	faulted("#NP", NP, absent);
	TRY("mov %0, %%ss", : : "r"(absent));
	faulted("#SS: not present", SS, absent);
	TRY("mov %0, %%ss", : : "r"(0));
	faulted("null in SS at CPL 0 of 64-bit mode", NOTHING, caught.error);
	__asm__ volatile("mov %0, %%ss" : : "r"(SEL_DATA));
	TRY("mov (%0), %%eax", : : "r"(NONCANONICAL) : "eax");
	faulted("#GP: not canonical", GP, 0);
}

/* The stack pointer was not canonical: a handler on the same stack would fault again. */
static void test_stack_fault(void)
{
	gate(SS, IST_GOOD, GATE);
	gate(GP, IST_GOOD, GATE);
	TRY("mov %0, %%rsp; pop %%rax; mov resume_sp, %%rsp", : : "r"(NONCANONICAL) : "rax");
	faulted("#SS: stack not canonical", SS, 0);
	gate(SS, 0, GATE);
	gate(GP, 0, GATE);
}

/* 4.7: what a page fault says. The page tables for it are of 4 KiB pages. */
static void test_page_faults(void)
{
	volatile uint8_t *at = (volatile uint8_t *)UNMAPPED;

	TRY("movb (%0), %%al", : : "r"(at + 5) : "eax");
	faulted("#PF: read, not present", PF, 0);
	check_eq("#PF: CR2", caught.cr2, UNMAPPED + 5);
	check_eq("#PF: RF in the image", caught.rflags & FLAG_RF, FLAG_RF);
	TRY("movb %%al, (%0)", : : "r"(at + 0x1fff));
	faulted("#PF: write, not present", PF, 2);
	check_eq("#PF: CR2 of a write", caught.cr2, UNMAPPED + 0x1fff);
	arch_pd[1][0] = (uint64_t)table | 7;
	table[0] = (uint64_t)page[0] | 1; /* supervisor, read-only */
	table[1] = (uint64_t)page[1] | 3 | 1UL << 63;
	table[2] = (uint64_t)page[2] | 3 | 1UL << 51;
	flush_tlb();
	TRY("movb %%al, (%0)", : : "r"(at));
	faulted("write of a read-only page without WP", NOTHING, caught.error);
	write_cr0(read_cr0() | CR0_WP);
	TRY("movb %%al, (%0)", : : "r"(at));
	faulted("#PF: write, read-only", PF, 3);
	page[1][0] = 0xc3;
	TRY("call *%0", : : "r"(at + 4096) : "memory");
	faulted("#PF: fetch, no execution", PF, 0x11);
	check_eq("#PF: RIP of a fetch", caught.rip, UNMAPPED + 4096);
	TRY("movb (%0), %%al", : : "r"(at + 8192) : "eax");
	faulted("#PF: reserved bit", PF, 9);
	TRY("movb %%al, (%0)", : : "r"(at + 8192));
	faulted("#PF: reserved bit, write", PF, 11);
	TRY("mov (%0), %%eax", : : "r"(at + 8190) : "eax");
	faulted("#PF: over a page's end", PF, 9);
	check_eq("#PF: CR2 is in the second page", caught.cr2, UNMAPPED + 8192);
	check_eq("accessed", table[0] & 0x20, 0x20);
	check_eq("dirty by the write that went through", table[0] & 0x40, 0x40);
	table[0] = (uint64_t)page[0] | 3;
	__asm__ volatile("invlpg (%0)" : : "r"(at) : "memory");
	(void)*at;
	check_eq("accessed, not dirty", table[0] & 0x60, 0x20);
	*at = 1;
	check_eq("dirty", table[0] & 0x60, 0x60);
	write_cr0(read_cr0() & ~CR0_WP);
}

/* --- exceptions in the delivery of events (6.15, table 6-5) ------------------------------ */

static void test_delivery(void)
{
	gate(SOFT, 0, ABSENT_GATE);
	TRY("int $0x71", :);
	faulted("INT n, gate absent", NP, SOFT << 3 | ERR_IDT);
	gate(VEC, 0, ABSENT_GATE);
	send_ipi(0, TO_SELF | VEC);
	TRY("sti; nop; nop; cli", :);
	faulted("interrupt, gate absent", NP, VEC << 3 | ERR_IDT | ERR_EXT);
	cli();
	apic_write(APIC_EOI, 0);
	gate(VEC, 0, GATE);
	gate(UD, 0, ABSENT_GATE);
	TRY("ud2", :);
	faulted("#UD, gate absent", NP, UD << 3 | ERR_IDT | ERR_EXT);
	gate(UD, 0, GATE);
	arch_idt[SOFT].selector = 0;
	gate(SOFT, 0, GATE);
	arch_idt[SOFT].selector = 0;
	TRY("int $0x71", :);
	faulted("INT n, selector 0", GP, 0);
	arch_idt[SOFT].selector = SEL_DATA;
	TRY("int $0x71", :);
	faulted("INT n, not a code segment", GP, SEL_DATA);
	gate(SOFT, 0, GATE);

	gate(DE, 0, ABSENT_GATE);
	TRY("xor %%edx, %%edx; divl %%edx", : : : "eax", "edx");
	faulted("#DE, then #NP: #DF", DF, 0);
	gate(DE, 0, GATE);
	gate(PF, 0, ABSENT_GATE);
	TRY("movb (%0), %%al", : : "r"(UNMAPPED + 0x100000) : "eax");
	faulted("#PF, then #NP: #DF", DF, 0);
	check_eq("#PF, then #NP: CR2", caught.cr2, UNMAPPED + 0x100000);
	gate(GP, 0, ABSENT_GATE);
	TRY("mov (%0), %%eax", : : "r"(NONCANONICAL) : "eax");
	faulted("#GP, then #NP: #DF", DF, 0);
	gate(GP, 0, GATE);

	/* the stack is not there: by IST */
	gate(PF, 0, GATE);
	gate(UD, IST_BAD, GATE);
	gate(PF, IST_GOOD, GATE);
	TRY("ud2", :);
	faulted("#UD, then #PF", PF, 2);
	check_eq("#UD, then #PF: CR2", caught.cr2, UNMAPPED + 0x200000 - 8);
	check_in("on its IST stack", caught.at, (uint64_t)good_stack,
	    (uint64_t)good_stack + sizeof(good_stack));
	gate(UD, 0, GATE);
	gate(VEC, IST_BAD, GATE);
	send_ipi(0, TO_SELF | VEC);
	TRY("sti; nop; nop; cli", :);
	faulted("interrupt, then #PF", PF, 2);
	cli();
	apic_write(APIC_EOI, 0);
	gate(VEC, 0, GATE);
	gate(SOFT, IST_BAD, GATE);
	TRY("int $0x71", :);
	faulted("INT n, then #PF", PF, 2);
	gate(SOFT, 0, GATE);
	gate(DE, IST_BAD, GATE);
	TRY("xor %%edx, %%edx; divl %%edx", : : : "eax", "edx");
	faulted("#DE, then #PF", PF, 2);
	gate(DE, 0, GATE);
	gate(PF, IST_BAD, GATE);
	gate(DF, IST_GOOD, GATE);
	TRY("movb (%0), %%al", : : "r"(UNMAPPED + 0x100000) : "eax");
	faulted("#PF, then #PF: #DF", DF, 0);
	check_eq("#PF, then #PF: CR2 is the second's", caught.cr2, UNMAPPED + 0x200000 - 8);
	gate(PF, 0, GATE);
	gate(GP, IST_BAD, GATE);
	gate(PF, IST_GOOD, GATE);
	TRY("mov (%0), %%eax", : : "r"(NONCANONICAL) : "eax");
	faulted("#GP, then #PF", PF, 2);
	gate(GP, 0, GATE);
	gate(PF, 0, GATE);
}

/* --- user mode ------------------------------------------------------------------------------ */

static uint8_t kernel_stack[8192] __attribute__((aligned(16)));

static void user_faulted(const char *name, uint64_t vector, uint64_t error)
{
	faulted(name, vector, error);
	if (caught.cs != SEL_USER_CODE64)
		check_eq(name, caught.cs, SEL_USER_CODE64);
}

static void test_user(void)
{
	TRY_USER(0x2, "ud2", "i"(0));
	user_faulted("CPL 3: #UD", UD, 0);
	check_eq("CPL 3: stack from the TSS", caught.at, (uint64_t)kernel_stack + 8192 - 22 * 8);
	check_eq("CPL 3: RSP", caught.rsp, (uint64_t)user_stack_top);
	TRY_USER(0x2, "hlt", "i"(0));
	user_faulted("CPL 3: HLT", GP, 0);
	TRY_USER(0x2, "cli", "i"(0));
	user_faulted("CPL 3: CLI", GP, 0);
	TRY_USER(0x3002, "cli; sti; ud2", "i"(0));
	user_faulted("CPL 3, IOPL 3: CLI", UD, 0);
	TRY_USER(0x2, "mov %%cr0, %%rax", "i"(0));
	user_faulted("CPL 3: MOV from CR0", GP, 0);
	TRY_USER(0x2, "mov %%cr8, %%rax", "i"(0));
	user_faulted("CPL 3: MOV from CR8", GP, 0);
	TRY_USER(0x2, "mov %%rax, %%cr4", "i"(0));
	user_faulted("CPL 3: MOV to CR4", GP, 0);
	TRY_USER(0x2, "mov %%dr7, %%rax", "i"(0));
	user_faulted("CPL 3: MOV from DR7", GP, 0);
	TRY_USER(0x2, "mov $0x1b, %%ecx; rdmsr", "i"(0));
	user_faulted("CPL 3: RDMSR", GP, 0);
	TRY_USER(0x2, "mov $0x10, %%ecx; wrmsr", "i"(0));
	user_faulted("CPL 3: WRMSR", GP, 0);
	TRY_USER(0x2, "in $0xe0, %%al", "i"(0));
	user_faulted("CPL 3: IN", GP, 0);
	TRY_USER(0x3002, "in $0xe0, %%al; ud2", "i"(0));
	user_faulted("CPL 3, IOPL 3: IN", UD, 0);
	TRY_USER(0x2, "wbinvd", "i"(0));
	user_faulted("CPL 3: WBINVD", GP, 0);
	TRY_USER(0x2, "invlpg 0", "i"(0));
	user_faulted("CPL 3: INVLPG", GP, 0);
	TRY_USER(0x2, "clts", "i"(0));
	user_faulted("CPL 3: CLTS", GP, 0);
	TRY_USER(0x2, "lmsw %%ax", "i"(0));
	user_faulted("CPL 3: LMSW", GP, 0);
	TRY_USER(0x2, "int $0x71", "i"(0));
	user_faulted("CPL 3: INT n of a gate of CPL 0", GP, SOFT << 3 | ERR_IDT);
	TRY_USER(0x2, "int3", "i"(0));
	user_faulted("CPL 3: INT3 of a gate of CPL 0", GP, BP << 3 | ERR_IDT);
	gate(BP, 0, USER_GATE);
	TRY_USER(0x2, "int3", "i"(0));
	user_faulted("CPL 3: INT3", BP, 0);
	gate(BP, 0, GATE);
	TRY_USER(0x2, "cpuid; rdtsc; pause; ud2", "i"(0));
	user_faulted("CPL 3: CPUID, RDTSC", UD, 0);
	TRY_USER(0x2, "movb (%0), %%al", "r"(UNMAPPED + 0x1ff000));
	user_faulted("CPL 3: #PF: not present", PF, 4);
	TRY_USER(0x2, "movb (%0), %%al", "r"(UNMAPPED));
	user_faulted("CPL 3: #PF: of the supervisor", PF, 5);
	TRY_USER(0x2, "movb %%al, (%0)", "r"(UNMAPPED));
	user_faulted("CPL 3: #PF: write", PF, 7);
}

/* Alignment is checked at CPL 3 only. */
static void test_alignment(void)
{
	write_cr0(read_cr0() | CR0_AM);
	TRY_USER(0x40002, "mov user_stack_top - 15, %%eax", "i"(0));
	user_faulted("#AC", AC, 0);
	TRY_USER(0x2, "mov user_stack_top - 15, %%eax; ud2", "i"(0));
	user_faulted("no #AC without AC", UD, 0);
	write_cr0(read_cr0() & ~CR0_AM);
	TRY_USER(0x40002, "mov user_stack_top - 15, %%eax; ud2", "i"(0));
	user_faulted("no #AC without AM", UD, 0);
}

/* --- shadows and order --------------------------------------------------------------------- */

static uint64_t irq_rip;

static void on_irq(struct trap_frame *f)
{
	irq_rip = f->rip;
	irq_log[irq_logged++] = (uint8_t)f->vector;
	apic_write(APIC_EOI, 0);
}

static unsigned nmi_depth, nmi_deepest, nmis_to_send;

static void on_nmi(struct trap_frame *f)
{
	(void)f;
	irq_log[irq_logged++] = NMI;
	if (++nmi_depth > nmi_deepest)
		nmi_deepest = nmi_depth;
	for (; nmis_to_send; nmis_to_send--) {
		send_ipi(0, SEND_NMI | ASSERT);
		send_ipi(0, TO_SELF | VEC);
		for (volatile unsigned i = 0; i < 20; i++)
			inb(0x80);
	}
	nmi_depth--;
}

static bool logged(const uint8_t *want, unsigned n)
{
	if (irq_logged != n)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (irq_log[i] != want[i])
			return false;
	return true;
}

static void test_order(void)
{
	void (*count)(struct trap_frame *) = trap_handler[NMI];
	uint64_t behind;

	trap_handler[VEC] = on_irq;
	trap_handler[NMI] = on_nmi;
	forget_irqs();
	send_ipi(0, TO_SELF | VEC);
	__asm__ volatile("sti; cli; nop; nop" : : : "memory");
	check_eq("STI, CLI: nothing gets in", irq_logged, 0);
	__asm__ volatile("movq $1f, %0; sti; nop; 1: cli" : "=r"(behind) : : "memory");
	check_eq("STI: one instruction's shadow", irq_rip, behind);
	check_eq("STI: then the interrupt", irq_logged, 1);
	send_ipi(0, TO_SELF | VEC);
	__asm__ volatile("movq $1f, %0; pushf; orl $0x200, (%%rsp); popf; 1: nop; cli"
			 : "=r"(behind)
			 :
			 : "memory");
	check_eq("POPF: no shadow", irq_rip, behind);
	send_ipi(0, TO_SELF | VEC);
	__asm__ volatile("movq $1f, %0; sti; hlt; 1: cli" : "=r"(behind) : : "memory");
	check_eq("STI, HLT: woken behind it", irq_rip, behind);
	check_eq("STI, HLT: once", irq_logged, 3);
	__asm__ volatile("sti");
	send_ipi(0, TO_SELF | VEC);
	for (unsigned i = 0; i < 100 && irq_logged < 4; i++)
		pause();
	cli();
	check_eq("IF set: at once", irq_logged, 4);

	forget_irqs();
	nmis_to_send = 2;
	send_ipi(0, SEND_NMI | ASSERT);
	let_irqs_in();
	check_eq("NMIs are blocked until IRET", nmi_deepest, 1);
	check("NMIs that come meanwhile are one, and before interrupts",
	    logged((uint8_t[]){NMI, NMI, VEC}, 3));
	forget_irqs();
	send_ipi(0, TO_SELF | VEC);
	send_ipi(0, SEND_NMI | ASSERT);
	for (unsigned i = 0; i < 100 && !irq_logged; i++)
		inb(0x80);
	check("NMI with IF clear", logged((uint8_t[]){NMI}, 1));
	let_irqs_in();
	check("NMI, then the interrupt", logged((uint8_t[]){NMI, VEC}, 2));
	trap_handler[VEC] = trap_handler[0x72];
	trap_handler[NMI] = count;
}

/* --- debug ----------------------------------------------------------------------------------- */

uint64_t step_end;
static uint64_t step_rip, step_dr6;
static unsigned steps;

static void write_dr6(uint64_t v)
{
	__asm__ volatile("mov %0, %%dr6" : : "r"(v));
}

static uint64_t read_dr6(void)
{
	uint64_t v;

	__asm__ volatile("mov %%dr6, %0" : "=r"(v));
	return v;
}

static void write_dr7(uint64_t v)
{
	__asm__ volatile("mov %0, %%dr7" : : "r"(v));
}

static uint64_t read_dr7(void)
{
	uint64_t v;

	__asm__ volatile("mov %%dr7, %0" : "=r"(v));
	return v;
}

static void on_step(struct trap_frame *f)
{
	steps++;
	step_rip = f->rip;
	step_dr6 = read_dr6();
	write_dr6(0xffff0ff0);
	if (f->rip == step_end || steps > 100)
		f->rflags &= ~(uint64_t)FLAG_TF;
}

/* One #DB with BS, at the end of the instruction: the first that POPF's TF steps over. */
#define STEP(name, count, insn, rax, rbx, rcx, rdx)                                                \
	({                                                                                         \
		uint64_t a = (uint64_t)(rax), b = (uint64_t)(rbx), c = (rcx), d = (rdx);           \
		void *from = page[0], *to = page[1];                                               \
                                                                                                   \
		steps = 0;                                                                         \
		__asm__ volatile("movq $771f, step_end; pushf; orl $0x100, (%%rsp); popf\n\t" insn \
				 "\n771:\tnop; nop"                                                \
				 : "+a"(a), "+b"(b), "+c"(c), "+d"(d), "+S"(from), "+D"(to)        \
				 :                                                                 \
				 : "memory");                                                      \
		check_eq("step " name, (uint64_t)steps << 32 | step_dr6,                           \
		    (uint64_t)(count) << 32 | 0xffff0ff0 | DR6_BS);                                \
		if (step_rip != step_end)                                                          \
			check_eq("step's end: " name, step_rip, step_end);                         \
	})

static void test_steps(void)
{
	trap_handler[DB] = on_step;
	write_dr6(0xffff0ff0);
	STEP("NOP", 1, "nop", 0, 0, 0, 0);
	STEP("two NOPs", 2, "nop; nop", 0, 0, 0, 0);
	STEP("CPUID", 1, "cpuid", 1, 0, 0, 0);
	STEP("RDTSC", 1, "rdtsc", 0, 0, 0, 0);
	STEP("IN", 1, "in %%dx, %%al", 0, 0, 0, PORT);
	STEP("OUT", 1, "out %%al, %%dx", 0, 0, 0, PORT);
	STEP("INSB", 1, "insb", 0, 0, 0, PORT);
	STEP("OUTSB", 1, "outsb", 0, 0, 0, PORT);
	STEP("RDMSR", 1, "rdmsr", 0, 0, MSR_APIC_BASE, 0);
	STEP("RDMSR of the counter", 1, "rdmsr", 0, 0, 0x10, 0);
	STEP("WRMSR", 1, "wrmsr", 0, 0, 0x8b, 0);
	STEP("MOV to CR0", 1, "mov %%rbx, %%cr0", 0, read_cr0(), 0, 0);
	STEP("MOV to CR3", 1, "mov %%rbx, %%cr3", 0, arch_pml4, 0, 0);
	STEP("MOV to CR4", 1, "mov %%rbx, %%cr4", 0, read_cr4(), 0, 0);
	STEP("MOV to CR8", 1, "mov %%rbx, %%cr8", 0, 0, 0, 0);
	STEP("MOV from CR8", 1, "mov %%cr8, %%rbx", 0, 0, 0, 0);
	STEP("MOV from DR7", 1, "mov %%dr7, %%rbx", 0, 0, 0, 0);
	STEP("MOV to DR0", 1, "mov %%rbx, %%dr0", 0, 0, 0, 0);
	STEP("CLTS", 1, "clts", 0, 0, 0, 0);
	STEP("LMSW", 1, "lmsw %%bx", 0, read_cr0(), 0, 0);
	STEP("WBINVD", 1, "wbinvd", 0, 0, 0, 0);
	STEP("INVLPG", 1, "invlpg (%%rbx)", 0, page[0], 0, 0);
	STEP("PAUSE", 1, "pause", 0, 0, 0, 0);
	STEP("MOV from a device", 1, "mov (%%rbx), %%eax", 0, apic_at + APIC_VERSION, 0, 0);
	STEP("MOV to a device", 1, "movl $0, (%%rbx)", 0, apic_at + APIC_TPR, 0, 0);
	STEP("ADD to a device", 1, "addl $0, (%%rbx)", 0, apic_at + APIC_TPR, 0, 0);
	STEP("REP MOVSB", 3, "rep movsb", 0, 0, 3, 0);
	STEP("REP OUTSB", 3, "rep outsb", 0, 0, 3, PORT);
	STEP("MOV SS", 1, "mov %%ebx, %%ss; nop", 0, SEL_DATA, 0, 0);
	STEP("STI", 2, "sti; cli", 0, 0, 0, 0);
	STEP("PUSHF, POPF", 2, "pushf; popf", 0, 0, 0, 0);
	trap_handler[DB] = trap_handler[UD];
}

static void breakpoint(unsigned n, const volatile void *at, unsigned kind, unsigned len)
{
	if (n == 0)
		__asm__ volatile("mov %0, %%dr0" : : "r"(at));
	else
		__asm__ volatile("mov %0, %%dr1" : : "r"(at));
	write_dr7(2u << 2 * n | kind << (16 + 4 * n) | (len - 1) << (18 + 4 * n));
}

/* #DB behind the instruction (a trap) or at it (a fault), with these bits in DR6. */
static void debugged(const char *name, bool trap, uint64_t dr6)
{
	write_dr7(0);
	write_dr6(0xffff0ff0);
	check_eq(name, caught.vector << 32 | caught.dr6, (uint64_t)DB << 32 | 0xffff0ff0 | dr6);
	if (caught.vector == DB && (caught.rip == caught.resume) != trap)
		check_eq(name, caught.rip == caught.resume, trap);
}

enum { EXECUTE, WRITE, IO, READ_WRITE };

static void test_breakpoints(void)
{
	static volatile uint32_t word;
	static volatile uint16_t selector = SEL_DATA;
	uint64_t at;

	write_dr6(0xffff0ff0);
	breakpoint(0, &word, WRITE, 4);
	TRY("movl $1, %0", : "=m"(word));
	debugged("breakpoint: write", true, 1);
	check_eq("breakpoint: the write is done", word, 1);
	breakpoint(1, &word, READ_WRITE, 4);
	TRY("movl %0, %%eax", : : "m"(word) : "eax");
	debugged("breakpoint: read", true, 2);
	breakpoint(0, &word, WRITE, 4);
	TRY("movl %0, %%eax", : : "m"(word) : "eax");
	check_eq("breakpoint: a read is no write", caught.vector, NOTHING);
	breakpoint(0, (volatile uint8_t *)&word + 3, WRITE, 1);
	TRY("movb $1, %0", : "=m"(*(volatile uint8_t *)&word));
	check_eq("breakpoint: beside it", caught.vector, NOTHING);
	TRY("movl $1, %0", : "=m"(word));
	debugged("breakpoint: a part of it", true, 1);
	__asm__ volatile("movq $1f, %0; jmp 2f; 1: ret; 2:" : "=r"(at));
	breakpoint(0, (void *)at, EXECUTE, 1);
	TRY("call *%0", : : "r"(at) : "memory");
	check_eq("breakpoint: execution: at it", caught.rip, at);
	check_eq("breakpoint: execution: RF in the image", caught.rflags & FLAG_RF, FLAG_RF);
	debugged("breakpoint: execution", false, 1);
	write_cr4(read_cr4() | CR4_DE);
	breakpoint(0, (void *)PORT, IO, 1);
	TRY("outb %%al, $0xe0", :);
	debugged("breakpoint: OUT", true, 1);
	breakpoint(0, (void *)PORT, IO, 1);
	TRY("inb $0xe0, %%al", : : : "eax");
	debugged("breakpoint: IN", true, 1);
	write_cr4(read_cr4() & ~(uint64_t)CR4_DE);
	breakpoint(0, (void *)(apic_at + APIC_TPR), READ_WRITE, 4);
	TRY("movl (%0), %%eax", : : "r"(apic_at + APIC_TPR) : "eax");
	debugged("breakpoint: a device", true, 1);
	breakpoint(0, &selector, READ_WRITE, 2);
	TRY("mov %0, %%ss; nop", : : "m"(selector));
	debugged("breakpoint: of MOV SS, behind the next", true, 1);
	TRY(".byte 0xf1", :);
	check_eq("INT1", caught.vector << 32 | caught.dr6, (uint64_t)DB << 32 | 0xffff0ff0);
}

static void test_debug_registers(void)
{
	write_dr7(0);
	check_eq("DR7: bit 10", read_dr7(), 0x400);
	write_dr7(0xffffffff & ~(uint64_t)DR7_GD);
	check_eq("DR7: reserved bits", read_dr7() & 0xffffd000, 0xffff0000);
	write_dr7(0x400);
	write_dr6(0);
	check_eq("DR6: reserved bits", read_dr6(), 0xffff0ff0);
	write_dr6(0xffffffff);
	check_eq("DR6: bits that are kept", read_dr6() & 0xffffefff, 0xffffefff);
	write_dr6(0xffff0ff0);
	check_eq("DR6: upper half", TRY("mov %0, %%dr6", : : "r"(1UL << 32)), GP);
	check_eq("DR7: upper half", TRY("mov %0, %%dr7", : : "r"(1UL << 32)), GP);
	TRY("mov %%dr4, %%rax", : : : "rax");
	check_eq("DR4 is DR6", caught.vector, NOTHING);
	write_cr4(read_cr4() | CR4_DE);
	TRY("mov %%dr4, %%rax", : : : "rax");
	check_eq("DR4 with DE", caught.vector, UD);
	write_cr4(read_cr4() & ~(uint64_t)CR4_DE);
	write_dr7(DR7_GD);
	TRY("mov %%dr3, %%rax", : : : "rax");
	check_eq("general detect", caught.vector << 32 | caught.dr6,
	    (uint64_t)DB << 32 | 0xffff0ff0 | DR6_BD);
	check_eq("general detect is cleared", read_dr7() & DR7_GD, 0);
	write_dr6(0xffff0ff0);
}

static void triple_fault(void)
{
	gate(DF, IST_BAD, GATE);
	gate(PF, IST_BAD, GATE);
	print("end: 0 ok, 0 failed\n");
	*(volatile uint8_t *)UNMAPPED = 1;
}

void arch_main(void)
{
	arch_pd[1][0] = 0;
	flush_tlb();
	apic_write(APIC_LINT0, MASKED);
	apic_write(APIC_LINT1, MASKED);
	arch_tss[0].ist[IST_GOOD - 1] = (uint64_t)good_stack + sizeof(good_stack);
	arch_tss[0].ist[IST_BAD - 1] = UNMAPPED + 0x200000;
	arch_tss[0].rsp0 = (uint64_t)kernel_stack + sizeof(kernel_stack);
	if (says("triple"))
		triple_fault();
	test_errors();
	test_stack_fault();
	test_page_faults();
	test_delivery();
	test_user();
	test_alignment();
	test_order();
	test_debug_registers();
	if (says("nosteps"))
		return;
	test_steps();
	test_breakpoints();
}
