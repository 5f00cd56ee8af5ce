/* SPDX-License-Identifier: BSD-2-Clause */
/* Traffic of the CPU's own: registers, calls, memory, page tables, interrupts between CPUs. */
#include "torture.h"

enum {
	MSR_APIC_BASE = 0x1b,
	X2_ICR = 0x830,
	DEADLY = 20000 /* one in so many INITs for the first CPU */
};

/* --- device memory --- */

static void access(struct cpu *c, uint64_t at)
{
	volatile void *p = (volatile void *)(uintptr_t)at;
	uint64_t v = odd_value(c);

	/* no message of an interrupt controller is to be an INIT */
	if ((v & 0x700) == 0x500 && !once_in(c, DEADLY))
		v &= ~0x400UL;
	switch (below(c, 12)) {
	case 0:
		(void)*(volatile uint8_t *)p;
		break;
	case 1:
		(void)*(volatile uint16_t *)p;
		break;
	case 2:
	case 3:
		(void)*(volatile uint32_t *)p;
		break;
	case 4:
		(void)*(volatile uint64_t *)p;
		break;
	case 5:
		*(volatile uint8_t *)p = (uint8_t)v;
		break;
	case 6:
		*(volatile uint16_t *)p = (uint16_t)v;
		break;
	case 7:
	case 8:
		*(volatile uint32_t *)p = (uint32_t)v;
		break;
	case 9:
		*(volatile uint64_t *)p = v;
		break;
	case 10:
		__asm__ volatile("lock xaddl %k0, (%1)" : "+r"(v) : "r"(p) : "memory");
		break;
	default:
		__asm__ volatile("lock cmpxchgq %2, (%1)" : "+a"(v) : "r"(p), "r"(v) : "memory");
	}
}

static void mmio(struct cpu *c)
{
	for (unsigned i = 0; i < 8; i++) {
		uint64_t at = once_in(c, 3) ? place(c) : devices_place(c);

		if (once_in(c, 8))
			at = (at | (PAGE - 1)) - below(c, 8);
		access(c, at);
	}
}

/* From anywhere to anywhere, sixteen bytes and more. */
static void copy(struct cpu *c)
{
	uint64_t from = place(c), to = quiet_place(c), count = below(c, 64);

	if (once_in(c, 4))
		__asm__ volatile("std");
	switch (below(c, 4)) {
	case 0:
		__asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
		break;
	case 1:
		__asm__ volatile("rep movsq" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
		break;
	case 2:
		__asm__ volatile("repe cmpsl" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
		break;
	default:
		__asm__ volatile("rep stosl"
				 : "+D"(to), "+c"(count)
				 : "a"((uint32_t)from)
				 : "memory");
	}
}

/* --- MSRs, CPUID, calls --- */

static uint32_t some_msr(struct cpu *c)
{
	static const uint32_t known[] = {0x10, 0x17, 0x1b, 0x3a, 0x3b, 0x48, 0x49, 0x79, 0x8b, 0xc1,
	    0xfe, 0x10a, 0x10b, 0x122, 0x174, 0x175, 0x176, 0x179, 0x17a, 0x186, 0x1a0, 0x1d9,
	    0x200, 0x201, 0x20f, 0x250, 0x258, 0x26f, 0x277, 0x2ff, 0x38f, 0x480, 0x48b, 0x6e0,
	    0xda0, 0x4b564d00, 0x4b564d01, 0x40000000, 0xc0000080, 0xc0000081, 0xc0000082,
	    0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103, 0xc0000104,
	    0xc0010010, 0xc0010015, 0xc0010112, 0xc0010114, 0xc0010117, 0xc0010140, 0xc0011020,
	    0xc0011029};

	switch (below(c, 4)) {
	case 0:
		return (uint32_t)rnd(c) >> below(c, 32);
	case 1:
		return 0x800 + below(c, 0x100);
	default:
		return known[below(c, sizeof(known) / 4)];
	}
}

static void msrs(struct cpu *c)
{
	uint32_t msr = some_msr(c);
	uint64_t v = odd_value(c);

	if (once_in(c, 3)) {
		(void)rdmsr(msr);
		return;
	}
	/* the paravirtual clock is written to where they say */
	if ((msr & ~1U) == 0x4b564d00 || (msr & ~1U) == 0x10 + 2)
		v = play(c) | (v & 1);
	if (msr == X2_ICR && ((v >> 8 & 7) == 5 || (v >> 8 & 7) == 6))
		v &= ~0x700UL;
	if (msr != MSR_APIC_BASE && once_in(c, 2)) {
		v = rdmsr(msr); /* a bit more or less than there is */
		v ^= 1UL << below(c, 64);
		if (msr == X2_ICR)
			return;
	}
	wrmsr(msr, v);
}

static void cpuids(struct cpu *c)
{
	static const uint32_t bases[] = {0, 0x40000000, 0x80000000, 0x8fffffff, 0xc0000000};
	uint32_t r[4];

	for (unsigned i = 0; i < 8; i++)
		cpuid(once_in(c, 4) ? (uint32_t)odd_value(c) : bases[below(c, 5)] + below(c, 40),
		    once_in(c, 4) ? (uint32_t)odd_value(c) : below(c, 16), r);
}

static void calls(struct cpu *c)
{
	uint64_t a = odd_value(c), b = odd_value(c), d = odd_value(c), s = odd_value(c);

	switch (below(c, 4)) {
	case 0:
		__asm__ volatile("vmcall" : "+a"(a), "+b"(b), "+c"(d), "+d"(s) : : "memory");
		break;
	case 1:
		__asm__ volatile("vmmcall" : "+a"(a), "+b"(b), "+c"(d), "+d"(s) : : "memory");
		break;
	case 2:
		__asm__ volatile("rdpmc" : "=a"(a), "=d"(s) : "c"((uint32_t)d));
		break;
	default:
		__asm__ volatile(".byte 0x0f, 0x01, 0xf9" : "=a"(a), "=c"(d), "=d"(s)); /* RDTSCP */
	}
}

/* --- control, debug and other registers --- */

static void control(struct cpu *c)
{
	uint64_t bit = 1UL << below(c, 32), odd = odd_value(c);

	switch (below(c, 10)) {
	case 0: /* not PE, not PG */
		WRITE_REG(cr0, READ_REG(cr0) ^ (bit & 0x7ffffffe));
		break;
	case 1:
		WRITE_REG(cr0, odd);
		break;
	case 2: /* not PAE */
		WRITE_REG(cr4, READ_REG(cr4) ^ (bit & ~0x20UL));
		break;
	case 3:
		WRITE_REG(cr4, odd | 0x20);
		break;
	case 4:
		WRITE_REG(cr3, cpu_root(c, once_in(c, 2)) | (odd & 0xfff));
		break;
	case 5:
		WRITE_REG(cr3, cpu_root(c, false) | (odd & ~0xfffffffffffffUL));
		break;
	case 6:
		WRITE_REG(cr8, once_in(c, 2) ? below(c, 16) : odd);
		break;
	case 7:
		WRITE_REG(cr2, odd);
		(void)READ_REG(cr2);
		break;
	case 8:
		__asm__ volatile("lmsw %w0" : : "r"(odd | 1));
		__asm__ volatile("clts");
		break;
	default:
		WRITE_REG(cr4, READ_REG(cr4) | 1 << 18);
		__asm__ volatile("xsetbv"
				 :
				 : "a"((uint32_t)(once_in(c, 2) ? rnd(c) & 7 : odd)),
				 "d"((uint32_t)(once_in(c, 4) ? odd : 0)), "c"(below(c, 8) / 7));
	}
}

static void debug(struct cpu *c)
{
	uint64_t odd = odd_value(c), at = once_in(c, 2) ? place(c) : odd;

	WRITE_REG(dr0, at);
	WRITE_REG(dr1, play(c));
	WRITE_REG(dr2, at + 1);
	WRITE_REG(dr6, once_in(c, 4) ? odd : (uint32_t)odd);
	if (plain & PLAIN_STEPS)
		return;
	WRITE_REG(dr7, once_in(c, 4) ? odd : (uint32_t)odd & ~0x2000U);
	if (once_in(c, 4))
		WRITE_REG(dr4, odd);
	access(c, at);
	(void)READ_REG(dr6);
	c->steps = below(c, 8);
	__asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; nop; cpuid; nop"
			 :
			 :
			 : "eax", "ebx", "ecx", "edx", "memory");
}

static void segments(struct cpu *c)
{
	uint16_t sel = (uint16_t)(once_in(c, 2) ? below(c, GDT_SIZE) : rnd(c));
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) t = {(uint16_t)rnd(c), place(c)};
	uint32_t r = sel;

	/* a trap while there is no table or no stack would be the end */
	unsigned what = below(c, 8);

	if ((what == 3 || what == 5 || what == 6) && !once_in(c, 256))
		return;
	if ((plain & PLAIN_VECTORS) && sel < 4)
		return;
	switch (what) {
	case 0:
		__asm__ volatile("mov %0, %%ds" : : "r"((uint32_t)sel));
		break;
	case 1:
		__asm__ volatile("mov %0, %%fs" : : "r"((uint32_t)sel));
		break;
	case 2:
		__asm__ volatile("lldt %w0" : : "r"((uint32_t)sel));
		break;
	case 3:
		__asm__ volatile("ltr %w0" : : "r"((uint32_t)sel));
		break;
	case 4:
		__asm__ volatile("lar %1, %0; lsl %1, %0" : "=r"(r) : "r"((uint32_t)sel));
		break;
	case 5: /* taken back before anything can need it */
		__asm__ volatile(
		    "cli; sub $16, %%rsp; sgdt (%%rsp); lgdt %0; lgdt (%%rsp); add $16, %%rsp"
		    :
		    : "m"(t)
		    : "memory");
		break;
	case 6:
		__asm__ volatile(
		    "cli; sub $16, %%rsp; sidt (%%rsp); lidt %0; lidt (%%rsp); add $16, %%rsp"
		    :
		    : "m"(t)
		    : "memory");
		break;
	default:
		__asm__ volatile("swapgs; swapgs; verr %w0; verw %w0; str %0" : "+r"(r));
	}
}

static void caches(struct cpu *c)
{
	uint64_t at = place(c), v = 0;

	switch (below(c, 8)) {
	case 0:
		__asm__ volatile("wbinvd");
		break;
	case 1:
		__asm__ volatile("invd");
		break;
	case 2:
		__asm__ volatile("invlpg (%0)" : : "r"(once_in(c, 2) ? at : odd_value(c)));
		break;
	case 3:
		__asm__ volatile("clflush (%0)" : : "r"(at));
		break;
	case 4:
		__asm__ volatile("monitor" : : "a"(at), "c"(below(c, 2)), "d"(0));
		__asm__ volatile("mwait" : : "a"(below(c, 256)), "c"(below(c, 3)));
		break;
	case 5:
		__asm__ volatile("prefetcht0 (%0)" : : "r"(at));
		break;
	case 6: /* INVPCID */
		__asm__ volatile(".byte 0x66, 0x0f, 0x38, 0x82, 0x01"
				 :
				 : "a"(odd_value(c)), "c"(at));
		break;
	default:
		__asm__ volatile("rep; nop; pause; mfence" : "+r"(v));
	}
}

/* --- page tables: those of the window, in which nothing else is --- */

static uint64_t junk_entry(struct cpu *c, unsigned level)
{
	uint64_t at = place(c) & (level == 2 ? ~0x1fffffUL : ~0xfffUL);

	if (at < PLAY) /* rounded down to the kernel */
		at = PLAY;
	at |= rnd(c) & 0x17f;
	if (level == 2)
		at |= once_in(c, 8) ? 0 : 0x80; /* or device memory as a page table */
	if (once_in(c, 4))
		at |= 1UL << below(c, 64);
	if (once_in(c, 2))
		at |= 7;
	return at;
}

static void paging(struct cpu *c)
{
	volatile uint64_t *directory = cpu_junk(c, 2), *table = cpu_junk(c, 1);

	for (unsigned i = 0; i < 8; i++)
		directory[1 + below(c, 511)] = junk_entry(c, 2);
	for (unsigned i = 0; i < 8; i++)
		table[below(c, 512)] = junk_entry(c, 1);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t at = WINDOW + (rnd(c) & (once_in(c, 2) ? 0x1fffff : 0x3fffffff));

		__asm__ volatile("invlpg (%0)" : : "r"(at));
		access(c, at);
	}
}

/* --- interrupts between CPUs, APIC modes, other CPUs' starts --- */

static void ipi(struct cpu *c)
{
	static const uint32_t modes[] = {0, 0, 0, 0x100, 0x200, 0x300, 0x400, 0x700};

	for (unsigned i = 0; i < 4; i++) {
		uint32_t dest = once_in(c, 2) ? below(c, ncpus) : (uint32_t)rnd(c);
		uint32_t low = once_in(c, 8) ? (uint8_t)rnd(c) : 0x30 + below(c, 0xc0);

		low |= modes[below(c, 8)] | (uint32_t)(rnd(c) & 0xcc800);
		apic_icr(c, dest, low);
	}
	apic_write(c, 0x0d, (uint32_t)rnd(c)); /* logical destination: #GP in x2APIC mode */
	apic_write(c, 0x0e, (uint32_t)rnd(c));
}

static void trip(struct cpu *c)
{
	unsigned other = 1 + below(c, ncpus);

	if (other >= ncpus || other == c->index) {
		if (once_in(c, DEADLY))
			apic_icr(c, 0, 0x4500);
		return;
	}
	/* real mode has no other stack than the one that a program has just spoilt */
	cpu_restart(c, other,
	    once_in(c, 32)			      ? TRIP_REAL
	    : once_in(c, 3)			      ? TRIP_LONG
	    : (plain & PLAIN_NO_V86) || once_in(c, 2) ? TRIP_USER32
						      : TRIP_V86);
}

static void apic(struct cpu *c)
{
	uint64_t base = rdmsr(MSR_APIC_BASE), v = base & ~0xc00UL;

	switch (below(c, 8)) {
	case 0:
	case 1:
	case 2:
		wrmsr(MSR_APIC_BASE, base | 0xc00); /* x2APIC */
		break;
	case 3:
	case 4:
		wrmsr(MSR_APIC_BASE, v);
		wrmsr(MSR_APIC_BASE, v | 0x800);
		break;
	case 5:
		wrmsr(MSR_APIC_BASE, v | (uint64_t)below(c, 4) << 10);
		break;
	case 6: /* elsewhere */
		wrmsr(MSR_APIC_BASE, (base & 0xfff) | (place(c) & ~0xfffUL));
		access(c, place(c));
		break;
	default:
		c->x2apic = rdmsr(MSR_APIC_BASE) & 0x400;
		for (unsigned i = 0; i < 6; i++)
			apic_write(c, 0x32 + below(c, 6), (uint32_t)(rnd(c) & 0x717ff) & ~0x500U);
		apic_write(c, 0x3e, (uint32_t)rnd(c));
		apic_write(c, 0x38, (uint32_t)(odd_value(c) | 10000));
	}
}

static void time(struct cpu *c)
{
	__asm__ volatile("cli");
	switch (below(c, 5)) {
	case 0:
		wrmsr(0x10, odd_value(c));
		break;
	case 1:
		wrmsr(0x3b, odd_value(c));
		break;
	case 2: /* TSC deadline */
		apic_write(c, 0x32, 2 << 17 | VEC_WATCH);
		wrmsr(0x6e0, rdtsc() + below(c, 1000000));
		__asm__ volatile("sti; hlt");
		break;
	case 3:
		apic_write(c, 0x38, below(c, 1000));
		__asm__ volatile("sti; hlt");
		break;
	default:
		(void)rdtsc();
		(void)pm_timer();
	}
}

const struct action cpu_actions[] = {
    {mmio, 24, DO_MMIO},
    {copy, 10, DO_MMIO},
    {msrs, 20, DO_MSR},
    {cpuids, 6, DO_CPUID},
    {calls, 4, DO_CALL},
    {control, 8, DO_REGS},
    {debug, 4, DO_REGS},
    {segments, 5, DO_REGS},
    {caches, 5, DO_PAGING},
    {paging, 8, DO_PAGING},
    {ipi, 8, DO_IPI},
    {trip, 1, DO_TRIP},
    {apic, 4, DO_APIC},
    {time, 4, DO_TIME},
};
const unsigned cpu_actions_count = sizeof(cpu_actions) / sizeof(cpu_actions[0]);
