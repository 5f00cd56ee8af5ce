/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A quiet guest that notices whatever another does to it: it fills memory, vector and debug
 * registers and MSRs with values of its own and compares them again and again, holds TSC and
 * PM timer against each other, and takes a timer interrupt every 10 ms. What is wrong it says
 * at once ("witness: BAD ..."); a byte on the serial line is answered by
 * "witness: pass N, N ticks, N ms, N bad".
 */
#include "guest.h"

enum {
	LSR = 0x3fd,
	COM1 = 0x3f8,
	PM_TIMER = 0x608,
	PM_KHZ = 3580, /* 3579.545 */
	BASE = 8 << 20,
	WORDS = (4 << 20) / 8,
	VEC_TIMER = 0x40,
	TICK_NS = 10000000,
	MSRS = 6,
	DRS = 4
};

static volatile uint64_t ticks;
static uint64_t bad;

static void on_timer(struct trap_frame *f)
{
	(void)f;
	ticks++;
	wrmsr(0x80b, 0);
}

static void complain(const char *what, uint64_t n, uint64_t want, uint64_t got)
{
	if (bad++ < 20)
		print("witness: BAD %s %lu: want 0x%lx, is 0x%lx\n", what, n, want, got);
}

static uint64_t value(uint64_t pass, uint64_t n)
{
	uint64_t v = pass * 0x9e3779b97f4a7c15 + n * 0xbf58476d1ce4e5b9;

	return v ^ v >> 31;
}

/* --- memory --- */

static void memory(uint64_t pass)
{
	volatile uint64_t *p = (volatile uint64_t *)BASE;

	for (unsigned i = 0; i < WORDS; i += 32) {
		if (pass > 1 && p[i] != value(pass - 1, i))
			complain("word", i, value(pass - 1, i), p[i]);
		p[i] = value(pass, i);
	}
}

/* --- registers --- */

static const uint32_t msrs[MSRS] = {
    0xc0000081, 0xc0000082, 0xc0000084, 0xc0000102, 0xc0000103, 0x277};

/* The upper bits as each register has them. */
static uint64_t msr_value(uint64_t pass, unsigned i)
{
	uint64_t v = value(pass, 1000 + i);

	if (msrs[i] == 0xc0000081)
		return v;
	if (msrs[i] == 0x277)
		return pass & 1 ? 0x0007040600070406 : 0x0007010600070406;
	if (msrs[i] == 0xc0000084 || msrs[i] == 0xc0000103)
		return (uint32_t)v;
	return v >> 18;
}

static uint64_t read_dr(unsigned i)
{
	uint64_t v;

	if (i == 0)
		__asm__ volatile("mov %%dr0, %0" : "=r"(v));
	else if (i == 1)
		__asm__ volatile("mov %%dr1, %0" : "=r"(v));
	else if (i == 2)
		__asm__ volatile("mov %%dr2, %0" : "=r"(v));
	else
		__asm__ volatile("mov %%dr3, %0" : "=r"(v));
	return v;
}

static uint64_t read_cr2(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr2, %0" : "=r"(v));
	return v;
}

static void load_registers(uint64_t pass)
{
	for (unsigned i = 0; i < MSRS; i++)
		wrmsr(msrs[i], msr_value(pass, i));
	__asm__ volatile(
	    "mov %0, %%dr0; mov %1, %%dr1; mov %2, %%dr2; mov %3, %%dr3"
	    :
	    : "r"(value(pass, 0)), "r"(value(pass, 1)), "r"(value(pass, 2)), "r"(value(pass, 3)));
	__asm__ volatile("mov %0, %%cr2" : : "r"(value(pass, 4)));
}

static void compare_registers(uint64_t pass)
{
	for (unsigned i = 0; i < MSRS; i++)
		if (rdmsr(msrs[i]) != msr_value(pass, i))
			complain("msr", msrs[i], msr_value(pass, i), rdmsr(msrs[i]));
	for (unsigned i = 0; i < DRS; i++)
		if (read_dr(i) != value(pass, i))
			complain("dr", i, value(pass, i), read_dr(i));
	if (read_cr2() != value(pass, 4))
		complain("cr2", 0, value(pass, 4), read_cr2());
}

static uint64_t vectors[32] __attribute__((aligned(16)));
static uint64_t found[32] __attribute__((aligned(16)));

#define XMM_ALL(X)                                                                                 \
	X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define XMM_LOAD(n) __asm__ volatile("movaps %0, %%xmm" #n : : "m"(*(__int128 *)(vectors + 2 * n)));
#define XMM_STORE(n)                                                                               \
	__asm__ volatile("movaps %%xmm" #n ", %0" : "=m"(*(__int128 *)(found + 2 * n)));

static void load_vectors(uint64_t pass)
{
	for (unsigned i = 0; i < 32; i++)
		vectors[i] = value(pass, 2000 + i);
	XMM_ALL(XMM_LOAD)
}

static void compare_vectors(void)
{
	XMM_ALL(XMM_STORE)
	for (unsigned i = 0; i < 32; i++)
		if (vectors[i] != found[i])
			complain("xmm", i / 2, vectors[i], found[i]);
}

/* --- clocks --- */

static uint64_t ms; /* by the PM timer; it is looked at often enough */

/* The TSC never goes back, and where two looks lie close together both clocks say the same. */
static void clocks(void)
{
	static uint64_t last_tsc, first_tsc, pm;
	static uint32_t last_pm;
	uint32_t now_pm = inl(PM_TIMER) & 0xffffff;
	uint64_t now = rdtsc();

	if (!first_tsc) {
		first_tsc = now;
	} else {
		if (now <= last_tsc)
			complain("tsc", pm, last_tsc, now);
		pm += (now_pm - last_pm) & 0xffffff;
		ms = pm / PM_KHZ;
	}
	last_tsc = now;
	last_pm = now_pm;
}

void guest_main(const uint8_t *params)
{
	uint64_t pass = 0;

	(void)params;
	traps_init();
	trap_handler[VEC_TIMER] = on_timer;
	x2apic_init();
	wrmsr(0x83e, 0xb);
	wrmsr(0x832, VEC_TIMER | 1 << 17);
	wrmsr(0x838, TICK_NS);
	__asm__ volatile("mov %0, %%cr4" : : "r"(0x620UL));
	__asm__ volatile("sti");
	print("witness: here\n");
	for (;;) {
		pass++;
		load_registers(pass);
		load_vectors(pass);
		memory(pass);
		clocks();
		/* the rest of the time it sleeps, with its registers full */
		for (unsigned i = 0; i < 4; i++)
			__asm__ volatile("hlt");
		clocks();
		compare_vectors();
		compare_registers(pass);
		if (inb(LSR) & 1) {
			(void)inb(COM1);
			print("witness: pass %lu, %lu ticks, %lu ms, %lu bad\n", pass,
			    (uint64_t)ticks, ms, bad);
		}
	}
}
