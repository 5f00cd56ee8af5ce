/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A 32-bit kernel that holds hardware task switches against the manual (SDM volume 3, chapter
 * 7): CALL, JMP, IRET, INT, interrupts, NMIs and exceptions through task gates; TSSs of 32 and 16
 * bits; CPL 3, virtual-8086 mode, CR3, PAE; and the faults on the way. It says what it finds as the
 * kernels in tests/guests/arch do. Runs under QEMU's -kernel, too, with -device
 * isa-debug-exit,iobase=0xf4,iosize=4.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { COM1 = 0x3f8, LSR = COM1 + 5, LSR_THRE = 0x20, DEBUG_EXIT = 0xf4 };
enum { DB = 1, NMI = 2, DF = 8, TS = 10, NP = 11, SS = 12, GP = 13, PF = 14 };
enum { IRQ = 0x40, SOFT = 0x80, SOFT_V86 = 0x81, VECTORS = 256 };
/* What each task has: a TSS, a stack, a descriptor. The first is the main task; VECTOR_TASKS are
 * entered by exceptions with an error code. */
enum task {
	MAIN,
	CALLED,
	JUMPED,
	EVENT,
	BROKEN,
	USER,
	V86,
	ON_DF,
	ON_TS,
	ON_NP,
	ON_SS,
	ON_GP,
	ON_PF,
	TASKS
};
enum {
	SEL_CODE = 0x08,
	SEL_DATA = 0x10,
	SEL_TASKS = 0x20,
	SEL_TSS16 = 0xc0,
	SEL_CODE16 = 0xc8, /* its code segment */
	SEL_STACK16 = 0xd0,
	SEL_LDT = 0xd8,
	SEL_USER_CODE = 0xe3,
	SEL_USER_DATA = 0xeb,
	SEL_ABSENT_CODE = 0xf0,
	SEL_ABSENT_DATA = 0xf8,
	SEL_READ_ONLY = 0x100,
	SEL_ABSENT_LDT = 0x108,
	SEL_FRESH = 0x110, /* data that nobody has accessed */
	SEL_ABSENT_TSS = 0x118,
	SEL_SMALL_TSS = 0x120,
	SEL_FAR_TSS = 0x128, /* on a page that is not there */
	SEL_UNALIGNED_TSS = 0x130,
	SEL_GATE = 0x138, /* a task gate */
	SEL_BEYOND = 0x400
};
enum { EFLAGS_IF = 0x200, EFLAGS_NT = 0x4000, EFLAGS_RF = 0x10000, EFLAGS_VM = 0x20000 };
enum { CR0_TS = 8, CR4_PSE = 0x10, CR4_PAE = 0x20 };
#define CR0_PG 0x80000000u
#define CR0_WP 0x00010000u
#define APIC   ((volatile uint32_t *)0xfee00000u)
enum {
	APIC_EOI = 0xb0 / 4,
	APIC_SVR = 0xf0 / 4,
	APIC_ISR = 0x100 / 4,
	APIC_ICR = 0x300 / 4,
	APIC_ICR2 = 0x310 / 4,
	ICR_NMI = 4 << 8,
	ICR_ASSERT = 1 << 14,
	ICR_SELF = 1 << 18
};
#define LOW_CODE 0x8000u
#define FAR_PAGE 0x01000000u /* differs by address space; not there in one */
#define FRAMES	 0x00800000u /* what is behind it, 4 MiB each; above the kernel */
#define ABSENT	 0x01400000u /* there in none */
#define TRAP_BIT 1u
#define DR6_BT	 0x8000u

struct tss {
	uint16_t link, link_high;
	uint32_t esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags;
	uint32_t eax, ecx, edx, ebx, esp, ebp, esi, edi;
	uint32_t es, cs, ss, ds, fs, gs, ldt;
	uint16_t trap, iomap;
};
struct tss16 {
	uint16_t link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags;
	uint16_t ax, cx, dx, bx, sp, bp, si, di, es, cs, ss, ds, ldt;
};
enum { STACK = 4096 };

uint64_t task_gdt[64] = {0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
volatile uint32_t tss16_seen[5], user_seen[3], debug_seen[3];
extern volatile uint32_t task_error;
extern const uint8_t v86_code[], v86_end[], try_call_end[];
void task_entry(void);
void task_entry_error(void);
void tss16_entry(void);
void user_entry(void);
void debug_handler(void);
void try_call(uint32_t sel);
void task_main(void);
void *memset(void *d, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);

static volatile struct tss tss[TASKS];
static volatile struct tss16 tss_16;
static uint8_t stacks[TASKS][STACK] __attribute__((aligned(16)));
static uint64_t idt[VECTORS];
static uint32_t pages[2][1024] __attribute__((aligned(4096)));
static uint64_t pae_top[2][4] __attribute__((aligned(32)));
static uint64_t pae_pages[2][4][512] __attribute__((aligned(4096)));
static uint8_t crossing[2 * 4096] __attribute__((aligned(4096))); /* a TSS on two pages */

/* What a task found when it was entered. */
static volatile struct seen {
	uint32_t times, eflags, tr, cr0, cr3, link, byte, dr7, nmis;
} seen;
/* What a fault's task found. */
static volatile struct caught {
	uint32_t vector, error, link, eip, eflags, cr2;
} caught;
static unsigned passed, failed;

/* --- output ------------------------------------------------------------------------------ */

void *memset(void *d, int c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile uint8_t *)d)[i] = (uint8_t)c;
	return d;
}

void *memcpy(void *d, const void *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile uint8_t *)d)[i] = ((const uint8_t *)s)[i];
	return d;
}

static void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static void put(const char *s)
{
	for (; *s; s++) {
		if (*s == '\n') {
			while (!(inb(LSR) & LSR_THRE))
				;
			outb(COM1, '\r');
		}
		while (!(inb(LSR) & LSR_THRE))
			;
		outb(COM1, (uint8_t)*s);
	}
}

static void put_number(uint32_t v, unsigned base)
{
	char buf[12];
	unsigned n = sizeof(buf) - 1;

	buf[n] = 0;
	do
		buf[--n] = "0123456789abcdef"[v % base];
	while (v /= base);
	put(buf + n);
}

static void check_eq(const char *name, uint32_t got, uint32_t want)
{
	put(got == want ? "ok " : "FAIL ");
	put(name);
	if (got != want) {
		put(": got 0x");
		put_number(got, 16);
		put(", want 0x");
		put_number(want, 16);
		failed++;
	} else {
		passed++;
	}
	put("\n");
}

static void finish(void)
{
	put("end: ");
	put_number(passed, 10);
	put(" ok, ");
	put_number(failed, 10);
	put(" failed\n");
	__asm__ volatile("outl %0, %1" : : "a"(failed), "Nd"((uint16_t)DEBUG_EXIT));
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* --- registers ------------------------------------------------------------------------------ */

#define READ(reg)                                                                                  \
	({                                                                                         \
		uint32_t v_;                                                                       \
		__asm__ volatile("mov %%" #reg ", %0" : "=r"(v_));                                 \
		v_;                                                                                \
	})
#define WRITE(reg, value) __asm__ volatile("mov %0, %%" #reg : : "r"((uint32_t)(value)) : "memory")

static uint32_t eflags(void)
{
	uint32_t v;

	__asm__ volatile("pushf; pop %0" : "=r"(v));
	return v;
}

static uint32_t task_register(void)
{
	uint32_t v = 0;

	__asm__ volatile("str %w0" : "+r"(v));
	return v;
}

/* Task switches change everything: whatever the compiler keeps in registers comes back from the
 * TSS. */
#define SWITCH(insn) __asm__ volatile(insn : : : "memory", "cc")

/* --- tables ------------------------------------------------------------------------------------
 */

static uint16_t sel_of(enum task n)
{
	return (uint16_t)(SEL_TASKS + 8 * n);
}

/* attr: the type byte, and the flags G, D in bits 15 and 14 */
static void set_descriptor(uint16_t sel, uint32_t base, uint32_t limit, uint32_t attr)
{
	task_gdt[sel / 8] = (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 |
			    (uint64_t)(attr & 0xff) << 40 | (uint64_t)(limit >> 16 & 0xf) << 48 |
			    (uint64_t)(attr >> 12 & 0xf) << 52 | (uint64_t)(base >> 24) << 56;
}

static uint8_t type_of(uint16_t sel)
{
	return (uint8_t)(*(volatile uint64_t *)&task_gdt[sel / 8] >> 40);
}

static void make_free(uint16_t sel)
{
	task_gdt[sel / 8] &= ~(2ULL << 40);
}

static void set_gate(unsigned vector, uint16_t sel)
{
	idt[vector] = (uint64_t)sel << 16 | 0xe5ULL << 40;
}

static void set_task(enum task n, uint32_t (*fn)(uint32_t), void (*entry)(void))
{
	memset((void *)&tss[n], 0, sizeof(tss[n]));
	tss[n].eip = (uint32_t)entry;
	tss[n].eflags = 2;
	tss[n].ebx = (uint32_t)fn;
	tss[n].edi = n;
	tss[n].esp = (uint32_t)stacks[n] + STACK;
	tss[n].cs = SEL_CODE;
	tss[n].es = tss[n].ss = tss[n].ds = tss[n].fs = tss[n].gs = SEL_DATA;
	tss[n].cr3 = READ(cr3);
	tss[n].iomap = sizeof(struct tss);
	set_descriptor(sel_of(n), (uint32_t)&tss[n], sizeof(struct tss) - 1, 0xe9);
}

/* --- tasks --------------------------------------------------------------------------------------
 */

static void look(uint32_t n)
{
	seen.eflags = eflags();
	seen.tr = task_register();
	seen.cr0 = READ(cr0);
	seen.cr3 = READ(cr3);
	seen.dr7 = READ(dr7);
	seen.link = tss[n].link;
	seen.byte = READ(cr0) & CR0_PG ? *(volatile uint8_t *)FAR_PAGE : 0;
	seen.times++;
	__asm__ volatile("clts");
}

static uint32_t go_back(uint32_t n)
{
	look(n);
	return 0;
}

static uint32_t jump_back(uint32_t n)
{
	look(n);
	return 1;
}

static void send_nmi(void)
{
	APIC[APIC_ICR2] = 0;
	APIC[APIC_ICR] = ICR_NMI | ICR_ASSERT | ICR_SELF;
	for (volatile unsigned i = 0; i < 1000; i++)
		;
}

/* An event's: ends it at the local APIC; sends the NMI that is blocked as long as this one is. */
static uint32_t on_event(uint32_t n)
{
	look(n);
	if (seen.nmis && seen.nmis-- == 2)
		send_nmi();
	if (APIC[APIC_ISR + 4 * (IRQ / 32)] >> IRQ % 32 & 1)
		APIC[APIC_EOI] = 0;
	return 0;
}

/*
 * A fault's: in the main task it goes on behind the switch. In another task, which it then was the
 * new one of, it goes on in the main task, which waits for that one.
 */
static uint32_t on_fault(uint32_t n)
{
	caught.vector = n == ON_DF ? DF : n - ON_TS + TS;
	caught.error = task_error;
	caught.link = tss[n].link;
	caught.cr2 = READ(cr2);
	if (tss[n].link == sel_of(MAIN)) {
		caught.eip = tss[MAIN].eip;
		caught.eflags = tss[MAIN].eflags;
		tss[MAIN].eip = (uint32_t)try_call_end;
	} else {
		caught.eip = tss[(tss[n].link - SEL_TASKS) / 8].eip;
		tss[MAIN].eip = (uint32_t)try_call_end;
		make_free(tss[n].link);
		tss[n].link = sel_of(MAIN);
	}
	return 0;
}

static void prepare(void)
{
	static const uint8_t faults[] = {DF, TS, NP, SS, GP, PF};

	set_task(CALLED, go_back, task_entry);
	set_task(JUMPED, jump_back, task_entry);
	set_task(EVENT, on_event, task_entry);
	set_task(BROKEN, go_back, task_entry);
	for (unsigned i = 0; i < sizeof(faults); i++) {
		set_task((enum task)(ON_DF + i), on_fault, task_entry_error);
		set_gate(faults[i], sel_of((enum task)(ON_DF + i)));
	}
	set_gate(SOFT, sel_of(EVENT));
	set_gate(SOFT_V86, sel_of(EVENT));
	set_gate(IRQ, sel_of(EVENT));
	set_gate(NMI, sel_of(EVENT));
	memset((void *)&seen, 0, sizeof(seen));
	memset((void *)&caught, 0, sizeof(caught));
}

/* --- instructions
 * --------------------------------------------------------------------------------- */

static void by_call(void)
{
	prepare();
	WRITE(dr7, 0x455);	   /* L0 to L3; the breakpoints are where nobody comes */
	tss[MAIN].es = 0xdead0000; /* upper halves are not written */
	try_call(sel_of(CALLED));
	check_eq("CALL: times", seen.times, 1);
	check_eq("CALL: TR", seen.tr, sel_of(CALLED));
	check_eq("CALL: back link", seen.link, sel_of(MAIN));
	check_eq("CALL: NT", seen.eflags & EFLAGS_NT, EFLAGS_NT);
	check_eq("CALL: TS", seen.cr0 & CR0_TS, CR0_TS);
	check_eq("CALL: DR7's local bits", seen.dr7, 0x400);
	check_eq("CALL: saved EIP", tss[MAIN].eip, (uint32_t)try_call_end);
	check_eq("CALL: saved NT", tss[MAIN].eflags & EFLAGS_NT, 0);
	check_eq("CALL: saved CS", tss[MAIN].cs & 0xffff, SEL_CODE);
	check_eq("CALL: saved ES", tss[MAIN].es, 0xdead0000 | SEL_DATA);
	check_eq("CALL: old busy", type_of(sel_of(MAIN)), 0xeb);
	check_eq("IRET: TR", task_register(), sel_of(MAIN));
	check_eq("IRET: TS", READ(cr0) & CR0_TS, CR0_TS);
	check_eq("IRET: NT", eflags() & EFLAGS_NT, 0);
	check_eq("IRET: saved NT", tss[CALLED].eflags & EFLAGS_NT, 0);
	check_eq("IRET: old not busy", type_of(sel_of(CALLED)), 0xe9);
	check_eq("IRET: EBX kept", tss[CALLED].ebx, (uint32_t)go_back);
	__asm__ volatile("clts");
	try_call(sel_of(CALLED));
	check_eq("CALL again: times", seen.times, 2);
	set_descriptor(SEL_GATE, 0, 0, 0xe5);
	task_gdt[SEL_GATE / 8] |= (uint64_t)sel_of(CALLED) << 16;
	try_call(SEL_GATE);
	check_eq("CALL of a task gate: TR", seen.tr, sel_of(CALLED));
	check_eq("CALL of a task gate: times", seen.times, 3);
}

static void by_jump(void)
{
	uint32_t kept = 0x12345678;

	prepare();
	__asm__ volatile("pusha; ljmp $0x30, $0; popa" : "+m"(kept) : : "memory");
	check_eq("JMP: TR", seen.tr, sel_of(JUMPED));
	check_eq("JMP: NT", seen.eflags & EFLAGS_NT, 0);
	check_eq("JMP: no back link", seen.link, 0);
	check_eq("JMP: TS", seen.cr0 & CR0_TS, CR0_TS);
	check_eq("JMP back: TR", task_register(), sel_of(MAIN));
	check_eq("JMP back: busy", type_of(sel_of(MAIN)), 0xeb);
	check_eq("JMP back: old not busy", type_of(sel_of(JUMPED)), 0xe9);
	check_eq("JMP back: memory", kept, 0x12345678);
	tss[JUMPED].trap = TRAP_BIT;
	tss[JUMPED].eip = (uint32_t)task_entry;
	tss[JUMPED].esp = (uint32_t)stacks[JUMPED] + STACK;
	__asm__ volatile("pusha; ljmp $0x30, $0; popa" : : : "memory");
	check_eq("T: DR6", debug_seen[0] & 0xe00f, DR6_BT);
	check_eq("T: TR", debug_seen[1] & 0xffff, sel_of(JUMPED));
	check_eq("T: EIP", debug_seen[2], (uint32_t)task_entry);
	check_eq("T: times", seen.times, 2);
}

/* --- events
 * ----------------------------------------------------------------------------------------- */

static void by_event(void)
{
	uint32_t after;

	prepare();
	__asm__ volatile("pusha; int $0x80; 771: popa; movl $771b, %0" : "=r"(after) : : "memory");
	check_eq("INT: times", seen.times, 1);
	check_eq("INT: back link", seen.link, sel_of(MAIN));
	check_eq("INT: saved EIP", tss[MAIN].eip, after);
	check_eq("INT: old not busy", type_of(sel_of(EVENT)), 0xe9);

	prepare();
	APIC[APIC_SVR] = 0x1ff;
	APIC[APIC_ICR2] = 0;
	APIC[APIC_ICR] = IRQ | ICR_ASSERT | ICR_SELF;
	__asm__ volatile("pusha; sti; nop; nop; nop; cli; popa" : : : "memory");
	for (unsigned i = 0; i < 1000 && !seen.times; i++)
		__asm__ volatile("pusha; sti; nop; nop; nop; cli; popa" : : : "memory");
	check_eq("interrupt: times", seen.times, 1);
	check_eq("interrupt: IF in its task", seen.eflags & EFLAGS_IF, 0);
	check_eq("interrupt: saved IF", tss[MAIN].eflags & EFLAGS_IF, EFLAGS_IF);
	check_eq("interrupt: NT", seen.eflags & EFLAGS_NT, EFLAGS_NT);

	prepare();
	seen.nmis = 2;
	__asm__ volatile("pusha" : : : "memory");
	send_nmi();
	__asm__ volatile("popa" : : : "memory");
	check_eq("NMI: blocked in its task", caught.vector, 0); /* else: the task is busy */
	check_eq("NMI: open behind IRET", seen.times, 2);
}

/* The main task's fault, whose handler goes on behind the instruction. */
static void by_exception(void)
{
	prepare();
	try_call(SEL_BEYOND); /* #GP of the instruction */
	check_eq("#GP: vector", caught.vector, GP);
	check_eq("#GP: error code", caught.error, SEL_BEYOND);
	check_eq("#GP: back link", caught.link, sel_of(MAIN));
	check_eq("#GP: saved EIP", caught.eip, (uint32_t)try_call_end - 6);
	check_eq("#GP: saved RF", caught.eflags & EFLAGS_RF, EFLAGS_RF);
	check_eq("#GP: stack", tss[ON_GP].esp, (uint32_t)stacks[ON_GP] + STACK);

	prepare();
	idt[GP] = 0; /* its gate is not there: #NP makes it a double fault */
	idt[NP] = 0;
	try_call(SEL_BEYOND);
	check_eq("#DF: vector", caught.vector, DF);
	check_eq("#DF: error code", caught.error, 0);
	check_eq("#DF: back link", caught.link, sel_of(MAIN));

	prepare();
	tss[ON_GP].ss = SEL_ABSENT_DATA; /* #SS in the task of #GP */
	try_call(SEL_BEYOND);
	check_eq("#GP's task fails: vector", caught.vector, DF);
	check_eq("#GP's task fails: back link", caught.link, sel_of(ON_GP));
}

/* --- faults
 * ------------------------------------------------------------------------------------------ */

enum field { CS, EIP, SS_, DS, ES, FS, GS, LDT, NO_FIELD };

static const struct broken {
	const char *name;
	enum field field;
	uint32_t value;
	uint32_t vector, error;
} broken[] = {
    {"LDT in the LDT", LDT, 4, TS, 4},
    {"LDT: data", LDT, SEL_DATA, TS, SEL_DATA},
    {"LDT: absent", LDT, SEL_ABSENT_LDT, TS, SEL_ABSENT_LDT},
    {"LDT: beyond the GDT", LDT, SEL_BEYOND, TS, SEL_BEYOND},
    {"CS: null", CS, 0, TS, 0},
    {"CS: data", CS, SEL_DATA, TS, SEL_DATA},
    {"CS: RPL", CS, SEL_CODE | 3, TS, SEL_CODE},
    {"CS: absent", CS, SEL_ABSENT_CODE, NP, SEL_ABSENT_CODE},
    {"CS: no LDT", CS, 0xc, TS, 0xc},
    {"SS: null", SS_, 0, TS, 0},
    {"SS: read-only", SS_, SEL_READ_ONLY, TS, SEL_READ_ONLY},
    {"SS: code", SS_, SEL_CODE, TS, SEL_CODE},
    {"SS: RPL", SS_, SEL_DATA | 3, TS, SEL_DATA},
    {"SS: DPL", SS_, SEL_USER_DATA, TS, SEL_USER_DATA & ~3},
    {"SS: absent", SS_, SEL_ABSENT_DATA, SS, SEL_ABSENT_DATA},
    {"DS: a TSS", DS, SEL_TASKS, TS, SEL_TASKS},
    {"DS: RPL", DS, SEL_DATA | 3, TS, SEL_DATA},
    {"ES: absent", ES, SEL_ABSENT_DATA, NP, SEL_ABSENT_DATA},
    {"FS: beyond the GDT", FS, SEL_BEYOND, TS, SEL_BEYOND},
    {"GS: LDT", GS, 4, TS, 4},
};

static volatile uint32_t *field_of(volatile struct tss *t, enum field f)
{
	switch (f) {
	case CS:
		return &t->cs;
	case SS_:
		return &t->ss;
	case DS:
		return &t->ds;
	case ES:
		return &t->es;
	case FS:
		return &t->fs;
	case GS:
		return &t->gs;
	case EIP:
		return &t->eip;
	default:
		return &t->ldt;
	}
}

static void check_faults(void)
{
	for (unsigned i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		const struct broken *b = &broken[i];

		prepare();
		*field_of(&tss[BROKEN], b->field) = b->value;
		try_call(sel_of(BROKEN));
		check_eq(b->name, caught.vector << 16 | caught.error, b->vector << 16 | b->error);
		check_eq("in the new task", caught.link, sel_of(BROKEN));
	}
	prepare();
	tss[BROKEN].eip = 0x20;
	tss[BROKEN].cs = SEL_CODE16;
	set_descriptor(SEL_CODE16, 0, 0x1f, 0x409b);
	try_call(sel_of(BROKEN));
	check_eq("EIP beyond CS: vector, error", caught.vector << 16 | caught.error, GP << 16);
	check_eq("EIP beyond CS: saved EIP", caught.eip, 0x20);
}

/* These leave the main task as it was. */
static void check_early_faults(void)
{
	static const struct {
		const char *name;
		uint32_t sel, vector, error;
	} cases[] = {
	    {"TSS: absent", SEL_ABSENT_TSS, NP, SEL_ABSENT_TSS},
	    {"TSS: too small", SEL_SMALL_TSS, TS, SEL_SMALL_TSS},
	    {"TSS: busy", SEL_TASKS, GP, SEL_TASKS},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		prepare();
		try_call(cases[i].sel);
		check_eq(cases[i].name, caught.vector << 16 | caught.error,
		    cases[i].vector << 16 | cases[i].error);
		check_eq("in the old task", caught.link, sel_of(MAIN));
	}
}

/* --- other tasks
 * --------------------------------------------------------------------------------------- */

static void small_task(void)
{
	prepare();
	memset((void *)&tss_16, 0, sizeof(tss_16));
	tss_16.flags = 2;
	tss_16.bx = 0x1234;
	tss_16.sp = 0x800;
	tss_16.cs = SEL_CODE16;
	tss_16.ss = SEL_STACK16;
	tss_16.ds = tss_16.es = SEL_DATA;
	set_descriptor(SEL_CODE16, (uint32_t)tss16_entry, 0xffff, 0x409b);
	set_descriptor(SEL_STACK16, (uint32_t)stacks[USER], 0xfff, 0x0093);
	set_descriptor(SEL_TSS16, (uint32_t)&tss_16, sizeof(tss_16) - 1, 0xe1);
	try_call(SEL_TSS16);
	check_eq("16 bits: TR", tss16_seen[1], SEL_TSS16);
	check_eq("16 bits: NT", tss16_seen[0] & EFLAGS_NT, EFLAGS_NT);
	check_eq("16 bits: BX", tss16_seen[2] & 0xffff, 0x1234);
	check_eq("16 bits: SP", tss16_seen[3] & 0xffff, 0x800);
	check_eq("16 bits: no FS", tss16_seen[4] & 0xffff, 0);
	check_eq("16 bits: back link", tss_16.link, sel_of(MAIN));
	check_eq("16 bits, IRET: saved BX", tss_16.bx, 0x5678);
	check_eq("16 bits, IRET: saved NT", tss_16.flags & EFLAGS_NT, 0);
	check_eq("16 bits, IRET: LDT kept", tss_16.ldt, 0);
	check_eq("16 bits, IRET: not busy", type_of(SEL_TSS16), 0xe1);
	check_eq("16 bits, IRET: TR", task_register(), sel_of(MAIN));
}

static void user_task(void)
{
	prepare();
	set_task(USER, NULL, user_entry);
	tss[USER].cs = SEL_USER_CODE;
	tss[USER].ss = tss[USER].ds = tss[USER].es = SEL_USER_DATA;
	tss[USER].fs = tss[USER].gs = 0;
	try_call(sel_of(USER));
	check_eq("CPL 3: CS", user_seen[0], SEL_USER_CODE);
	check_eq("CPL 3: SS", user_seen[1], SEL_USER_DATA);
	check_eq("CPL 3: NT", user_seen[2] & EFLAGS_NT, EFLAGS_NT);
	check_eq("CPL 3: back", task_register(), sel_of(MAIN));
}

/* Its INT, of IOPL 3, goes to a task, which goes on in the main one. */
static uint32_t on_v86(uint32_t n)
{
	look(n);
	make_free(tss[n].link);
	tss[n].link = sel_of(MAIN);
	return 0;
}

static void v86_task(void)
{
	prepare();
	memcpy((void *)LOW_CODE, v86_code, (size_t)(v86_end - v86_code));
	set_task(EVENT, on_v86, task_entry);
	set_task(V86, NULL, NULL);
	tss[V86].eip = 0;
	tss[V86].eflags = EFLAGS_VM | 0x3002;
	tss[V86].cs = LOW_CODE >> 4;
	tss[V86].ss = tss[V86].ds = tss[V86].es = tss[V86].fs = 0x900;
	tss[V86].gs = 0xf00d;
	tss[V86].esp = 0x100;
	try_call(sel_of(V86));
	check_eq("8086: link", seen.link, sel_of(V86));
	check_eq("8086: saved VM", tss[V86].eflags & EFLAGS_VM, EFLAGS_VM);
	check_eq("8086: saved IP", tss[V86].eip, 4);
	check_eq("8086: saved AX", tss[V86].eax & 0xffff, LOW_CODE >> 4);
	check_eq("8086: saved GS", tss[V86].gs & 0xffff, 0xf00d);
	check_eq("8086: VM is off behind it", seen.eflags & EFLAGS_VM, 0);
}

/* Segments of the task's own LDT, one of which nobody has accessed. */
static void own_ldt(void)
{
	static uint64_t ldt[2];

	prepare();
	ldt[1] = task_gdt[SEL_DATA / 8] & ~(1ULL << 40);
	set_descriptor(SEL_LDT, (uint32_t)ldt, sizeof(ldt) - 1, 0x82);
	tss[CALLED].ldt = SEL_LDT;
	tss[CALLED].fs = 0xc;
	try_call(sel_of(CALLED));
	check_eq("LDT: times", seen.times, 1);
	check_eq("LDT: accessed", (uint8_t)(*(volatile uint64_t *)&ldt[1] >> 40), 0x93);
	check_eq("LDT: saved FS", tss[CALLED].fs & 0xffff, 0xc);
}

/* --- paging
 * --------------------------------------------------------------------------------------------------
 */

static uint32_t frame_of(unsigned space)
{
	return FRAMES + space * 0x400000;
}

/* Two address spaces that differ in what is at FAR_PAGE. */
static void make_tables(void)
{
	for (unsigned space = 0; space < 2; space++) {
		for (unsigned i = 0; i < 1024; i++)
			pages[space][i] = i << 22 | 0x87;
		pages[space][FAR_PAGE >> 22] = frame_of(space) | 0x87;
		pages[space][ABSENT >> 22] = 0;
		for (unsigned i = 0; i < 4; i++) {
			pae_top[space][i] = (uint32_t)pae_pages[space][i] | 1;
			for (unsigned k = 0; k < 512; k++)
				pae_pages[space][i][k] = (uint64_t)i << 30 | k << 21 | 0x87;
		}
		pae_pages[space][0][FAR_PAGE >> 21] = frame_of(space) | 0x87;
		pae_pages[space][0][ABSENT >> 21] = 0;
		*(volatile uint8_t *)frame_of(space) = (uint8_t)(0xa0 + space);
	}
}

static void in_address_spaces(const char *what, uint32_t here, uint32_t there)
{
	make_tables();
	WRITE(cr3, here);
	WRITE(cr0, READ(cr0) | CR0_PG | CR0_WP);
	put(what);
	put("\n");
	tss[MAIN].cr3 = here;
	prepare();
	tss[CALLED].cr3 = there;
	*(volatile uint8_t *)FAR_PAGE;
	try_call(sel_of(CALLED));
	check_eq("CR3: in the task", seen.cr3, there);
	check_eq("CR3: what is there", seen.byte, 0xa1);
	check_eq("CR3: back", READ(cr3), here);
	check_eq("CR3: what is here", *(volatile uint8_t *)FAR_PAGE, 0xa0);
	check_eq("CR3: not saved", tss[CALLED].cr3, there);

	prepare();
	set_descriptor(SEL_FAR_TSS, ABSENT + 8, sizeof(struct tss) - 1, 0xe9);
	try_call(SEL_FAR_TSS);
	check_eq("TSS on no page: vector, error", caught.vector << 16 | caught.error, PF << 16);
	check_eq("TSS on no page: CR2's page", caught.cr2 & ~0xfffu, ABSENT);
	check_eq("TSS on no page: in the old task", caught.link, sel_of(MAIN));
	check_eq("TSS on no page: not busy", type_of(SEL_FAR_TSS), 0xe9);

	prepare();
	memcpy(crossing + 4096 - 0x3a, (const void *)&tss[CALLED], sizeof(struct tss));
	set_descriptor(
	    sel_of(CALLED), (uint32_t)crossing + 4096 - 0x3a, sizeof(struct tss) - 1, 0xe9);
	try_call(sel_of(CALLED));
	check_eq("TSS on two pages: times", seen.times, 1);
	check_eq("TSS on two pages: saved EBX",
	    *(volatile uint32_t *)(crossing + 4096 - 0x3a + offsetof(struct tss, ebx)),
	    (uint32_t)go_back);

	user_task();
	v86_task();
	WRITE(cr0, READ(cr0) & ~CR0_PG);
}

/* A reserved bit in a PDPTE of the new task: #GP in it, by the old tables. */
static void bad_pdpte(void)
{
	make_tables(); /* QEMU marks PDPTEs as accessed: a reserved bit */
	WRITE(cr0, READ(cr0) | CR0_PG);
	prepare();
	tss[BROKEN].cr3 = (uint32_t)pae_top[1];
	pae_top[1][3] |= 2;
	try_call(sel_of(BROKEN));
	check_eq("PDPTE: vector, error", caught.vector << 16 | caught.error, GP << 16);
	check_eq("PDPTE: in the new task", caught.link, sel_of(BROKEN));
	WRITE(cr0, READ(cr0) & ~CR0_PG);
}

static void set_up(void)
{
	struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) r = {sizeof(idt) - 1, (uint32_t)idt};

	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	set_descriptor(SEL_USER_CODE, 0, 0xfffff, 0xc0fb);
	set_descriptor(SEL_USER_DATA, 0, 0xfffff, 0xc0f3);
	set_descriptor(SEL_ABSENT_CODE, 0, 0xfffff, 0xc01b);
	set_descriptor(SEL_ABSENT_DATA, 0, 0xfffff, 0xc013);
	set_descriptor(SEL_READ_ONLY, 0, 0xfffff, 0xc091);
	set_descriptor(SEL_ABSENT_LDT, 0, 0xff, 0x02);
	set_descriptor(SEL_ABSENT_TSS, (uint32_t)&tss[CALLED], sizeof(struct tss) - 1, 0x69);
	set_descriptor(SEL_SMALL_TSS, (uint32_t)&tss[CALLED], sizeof(struct tss) - 2, 0xe9);
	set_task(MAIN, NULL, NULL);
	idt[DB] = ((uint32_t)debug_handler & 0xffff) | (uint64_t)SEL_CODE << 16 | 0x8eULL << 40 |
		  (uint64_t)((uint32_t)debug_handler >> 16) << 48;
	__asm__ volatile("lidt %0; ltr %w1" : : "m"(r), "r"(sel_of(MAIN)) : "memory");
}

void task_main(void)
{
	set_up();
	by_call();
	by_jump();
	by_event();
	by_exception();
	check_early_faults();
	check_faults();
	small_task();
	user_task();
	v86_task();
	own_ldt();
	WRITE(cr4, READ(cr4) | CR4_PSE);
	in_address_spaces("32-bit paging", (uint32_t)pages[0], (uint32_t)pages[1]);
	WRITE(cr4, READ(cr4) | CR4_PAE);
	in_address_spaces("PAE paging", (uint32_t)pae_top[0], (uint32_t)pae_top[1]);
	bad_pdpte();
	finish();
}
