/* SPDX-License-Identifier: BSD-2-Clause */
/* What kernels that hold the machine against the manuals have in common. */
#include "arch.h"

enum { TRAMPOLINE = 0x8000, PATIENCE = 20000000, SETTLE_ROUNDS = 3 };

void arch_start(uint64_t info);
void arch_ap_start(void);
extern const uint8_t arch_trampoline[], arch_trampoline_end[];
extern volatile uint32_t arch_ap_count;
extern const uint64_t guest_stubs[256];
void *memcpy(void *d, const void *s, size_t n);

volatile struct caught caught;
volatile uint64_t resume_at, resume_sp;
struct tss arch_tss[CPUS_MAX];
struct gate arch_idt[256];
unsigned cpus = 1;
volatile uint64_t apic_at = 0xfee00000;
volatile unsigned irqs[CPUS_MAX][256];
volatile uint8_t irq_log[64];
volatile unsigned irq_logged;
volatile bool no_eoi;

static unsigned passed, failed;
static volatile struct mailbox {
	void (*fn)(uint64_t);
	uint64_t arg;
	uint32_t ready;
} mailbox[CPUS_MAX];

/* --- the test ------------------------------------------------------------------------- */

void check_in(const char *name, uint64_t got, uint64_t low, uint64_t high)
{
	if (got >= low && got <= high) {
		passed++;
		print("ok %s\n", name);
		return;
	}
	failed++;
	if (low == high)
		print("FAIL %s: got 0x%lx, want 0x%lx\n", name, got, low);
	else
		print("FAIL %s: got %lu, want %lu to %lu\n", name, got, low, high);
}

void check_eq(const char *name, uint64_t got, uint64_t want)
{
	check_in(name, got, want, want);
}

void check(const char *name, bool good)
{
	check_eq(name, good, true);
}

void skip(const char *name, const char *why)
{
	print("skip %s: %s\n", name, why);
}

const char *arch_command_line = "";

bool says(const char *word)
{
	const char *end = arch_command_line, *w = word;

	while (*end)
		end++;
	while (*w)
		w++;
	while (w > word && end > arch_command_line)
		if (*--w != *--end)
			return false;
	return w == word;
}

void finish(void)
{
	print("end: %u ok, %u failed\n", passed, failed);
	outl(DEBUG_EXIT, failed < 255 ? failed : 255);
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* --- faults ------------------------------------------------------------------------------ */

static void catch (struct trap_frame *f)
{
	uint64_t cr2, dr6;

	__asm__("mov %%cr2, %0; mov %%dr6, %1" : "=r"(cr2), "=r"(dr6));
	if (!resume_at) {
		print("FAIL no fault: got vector %lu, error 0x%lx, RIP 0x%lx, CR2 0x%lx\n",
		    f->vector, f->error, f->rip, cr2);
		failed++;
		finish();
	}
	caught.vector = f->vector;
	caught.error = f->error;
	caught.rip = f->rip;
	caught.cs = f->cs;
	caught.rflags = f->rflags;
	caught.rsp = f->rsp;
	caught.at = (uint64_t)f;
	caught.resume = resume_at;
	caught.cr2 = cr2;
	caught.dr6 = dr6;
	f->rip = resume_at;
	f->rsp = resume_sp;
	f->rflags = 2;
	if (f->cs != SEL_CODE64) {
		f->cs = SEL_CODE64;
		f->ss = SEL_DATA;
	}
}

uint64_t try_rdmsr(uint32_t msr, uint64_t *value)
{
	uint32_t lo = 0, hi = 0;
	uint64_t v = TRY("rdmsr", : "+a"(lo), "+d"(hi) : "c"(msr) : "memory");

	*value = (uint64_t)hi << 32 | lo;
	return v;
}

uint64_t try_wrmsr(uint32_t msr, uint64_t value)
{
	return TRY("wrmsr",
		   :
		   : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(msr)
		   : "memory");
}

/* --- CPUs ---------------------------------------------------------------------------------- */

unsigned cpu_index(void)
{
	uint16_t tr;

	__asm__("str %0" : "=r"(tr));
	return (tr - SEL_TSS) / 16u;
}

void set_gate(unsigned vector, uint64_t a, unsigned ist, unsigned type)
{
	arch_idt[vector] = (struct gate){(uint16_t)a, SEL_CODE64, (uint8_t)ist, (uint8_t)type,
	    (uint16_t)(a >> 16), (uint32_t)(a >> 32), 0};
}

static void load_tables(unsigned cpu)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) r = {sizeof(arch_idt) - 1, (uint64_t)arch_idt};
	uint64_t tss = (uint64_t)&arch_tss[cpu];
	unsigned n = SEL_TSS / 8 + 2 * cpu;

	arch_tss[cpu].iomap = sizeof(struct tss);
	arch_gdt[n] = (sizeof(struct tss) - 1) | (tss & 0xffffff) << 16 | 0x89ULL << 40 |
		      (tss >> 24 & 0xff) << 56;
	arch_gdt[n + 1] = tss >> 32;
	__asm__ volatile("ltr %0; lidt %1"
			 :
			 : "r"((uint16_t)(SEL_TSS + 16 * cpu)), "m"(r)
			 : "memory");
}

/* Does what the mailbox says, for ever. */
void arch_ap_start(void)
{
	static volatile uint32_t arrivals;
	unsigned cpu = __atomic_add_fetch(&arrivals, 1, __ATOMIC_SEQ_CST);

	if (cpu >= CPUS_MAX)
		for (;;)
			__asm__ volatile("cli; hlt");
	load_tables(cpu);
	/* the mode that the first CPU has; INIT keeps it */
	if (rdmsr(MSR_APIC_BASE) & BASE_X2)
		wrmsr(MSR_X2APIC + APIC_SVR / 16, 0x1ff);
	else
		*(volatile uint32_t *)(apic_at + APIC_SVR) = 0x1ff;
	mailbox[cpu].ready = 1;
	sti();
	for (;;) {
		void (*fn)(uint64_t) = mailbox[cpu].fn;

		if (fn) {
			fn(mailbox[cpu].arg);
			sti();
			mailbox[cpu].fn = NULL;
		}
		pause();
	}
}

static bool all_there(unsigned n)
{
	for (unsigned i = 1; i <= n; i++)
		if (!mailbox[i].ready)
			return false;
	return true;
}

/* They count themselves: when nobody has come for a while, all are there. */
unsigned start_cpus(void)
{
	uint32_t seen = 0;

	memcpy(
	    (void *)TRAMPOLINE, arch_trampoline, (size_t)(arch_trampoline_end - arch_trampoline));
	send_ipi(0, SEND_INIT | ASSERT | TO_OTHERS);
	for (unsigned i = 0; i < 2000; i++)
		inb(0x80);
	send_ipi(0, SEND_SIPI | ASSERT | TO_OTHERS | TRAMPOLINE >> 12);
	for (unsigned quiet = 0; quiet < 20000; quiet++) {
		inb(0x80);
		pause();
		if (arch_ap_count != seen) {
			seen = arch_ap_count;
			quiet = 0;
		}
	}
	while (!all_there(seen))
		pause();
	cpus = seen + 1;
	return cpus;
}

void on_cpu_begin(unsigned cpu, void (*fn)(uint64_t), uint64_t arg)
{
	mailbox[cpu].arg = arg;
	__atomic_store_n(&mailbox[cpu].fn, fn, __ATOMIC_SEQ_CST);
}

bool on_cpu_end(unsigned cpu)
{
	for (unsigned i = 0; mailbox[cpu].fn; i++) {
		if (i == PATIENCE)
			return false;
		pause();
	}
	return true;
}

void on_cpu(unsigned cpu, void (*fn)(uint64_t), uint64_t arg)
{
	on_cpu_begin(cpu, fn, arg);
	if (on_cpu_end(cpu))
		return;
	print("FAIL CPU %u does not answer: got nothing, want an answer\n", cpu);
	failed++;
	finish();
}

/* --- local APIC ------------------------------------------------------------------------------ */

bool x2apic(void)
{
	return rdmsr(MSR_APIC_BASE) & BASE_X2;
}

uint32_t apic_read(unsigned reg)
{
	if (x2apic())
		return (uint32_t)rdmsr(MSR_X2APIC + reg / 16);
	return *(volatile uint32_t *)(apic_at + reg);
}

void apic_write(unsigned reg, uint32_t v)
{
	if (x2apic())
		wrmsr(MSR_X2APIC + reg / 16, v);
	else
		*(volatile uint32_t *)(apic_at + reg) = v;
}

void send_ipi(uint32_t dest, uint32_t icr)
{
	if (x2apic()) {
		wrmsr(MSR_X2APIC + APIC_ICR / 16, (uint64_t)dest << 32 | icr);
		return;
	}
	apic_write(APIC_ICR2, dest << 24);
	apic_write(APIC_ICR, icr);
	while (apic_read(APIC_ICR) & 1 << 12)
		pause();
}

bool apic_bit(unsigned bank, unsigned vector)
{
	return apic_read(bank + vector / 32 * 16) >> (vector % 32) & 1;
}

/* --- interrupts --------------------------------------------------------------------------------
 */

static void count(struct trap_frame *f)
{
	unsigned cpu = cpu_index();

	if (cpu == 0 && irq_logged < sizeof(irq_log))
		irq_log[irq_logged++] = (uint8_t)f->vector;
	__atomic_add_fetch(&irqs[cpu][f->vector], 1, __ATOMIC_SEQ_CST);
	if (!no_eoi && f->vector >= 32 && f->vector != 0xff)
		apic_write(APIC_EOI, 0);
}

void forget_irqs(void)
{
	for (unsigned c = 0; c < CPUS_MAX; c++)
		for (unsigned v = 0; v < 256; v++)
			irqs[c][v] = 0;
	irq_logged = 0;
}

void let_irqs_in(void)
{
	sti();
	for (volatile unsigned i = 0; i < 50; i++)
		;
	cli();
}

bool wait_irqs(unsigned cpu, unsigned vector, unsigned n)
{
	unsigned i = 0;

	sti();
	while (irqs[cpu][vector] < n && ++i < PATIENCE)
		pause();
	cli();
	return irqs[cpu][vector] >= n;
}

static void nothing(uint64_t arg)
{
	(void)arg;
}

void settle(void)
{
	for (unsigned i = 0; i < SETTLE_ROUNDS; i++)
		for (unsigned c = 1; c < cpus; c++)
			on_cpu(c, nothing, 0);
	let_irqs_in();
}

/* Multiboot's information: flags, then from byte 16 on the command line, if bit 2 is set. */
void arch_start(uint64_t info)
{
	const uint32_t *words = (const uint32_t *)info;

	if (words[0] & 4)
		arch_command_line = (const char *)(uint64_t)words[4];
	for (unsigned v = 0; v < 256; v++) {
		set_gate(v, guest_stubs[v], 0, 0x8e);
		trap_handler[v] = v < 32 && v != NMI ? catch : count;
	}
	load_tables(0);
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	apic_write(APIC_SVR, 0x1ff);
	arch_main();
	finish();
}
