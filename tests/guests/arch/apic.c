/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APIC against SDM volume 3, chapter 11 (APM volume 2, chapter 16): registers, both
 * modes and the ways between them, priorities, the timer, errors, and what CPUs send one another.
 */
#include "arch.h"

enum {
	ESR_SEND = 1 << 5,
	ESR_RECEIVED = 1 << 6,
	ESR_REGISTER = 1 << 7,
	CPUID_X2APIC = 1 << 21,
	CPUID_DEADLINE = 1 << 24,
	TIMER_PERIODIC = 1 << 17,
	TIMER_DEADLINE = 2 << 17,
	STORM = 200,
	VEC = 0x40,
};

static bool has(unsigned bit)
{
	uint32_t r[4];

	cpuid(1, 0, r);
	return r[2] & bit;
}

/* For names of checks that are made in both modes. */
static const char *in_mode(const char *xapic, const char *x2)
{
	return x2apic() ? x2 : xapic;
}
#define MODE(name) in_mode("xapic " name, "x2apic " name)

static uint32_t esr(void)
{
	apic_write(APIC_ESR, 0);
	return apic_read(APIC_ESR);
}

/* --- registers ----------------------------------------------------------------------------- */

/* 11.5.1, 11.6.2.2, 11.8.3.1, 11.9: what is written with all bits that can be, and what stays. */
static const struct {
	const char *name, *name2;
	unsigned reg;
	uint32_t write, stays;
	bool x2;	   /* exists there too */
	uint32_t reserved; /* bits that fault there */
} registers[] = {
    {"xapic TPR", "x2apic TPR", APIC_TPR, 0xffffffff, 0xff, true, 0xffffff00},
    {"xapic LDR", "", APIC_LDR, 0xffffffff, 0xff000000, false, 0},
    {"xapic DFR", "", APIC_DFR, 0x00000000, 0x0fffffff, false, 0},
    {"xapic DFR flat", "", APIC_DFR, 0xffffffff, 0xffffffff, false, 0},
    {"xapic ICR high", "", APIC_ICR2, 0xffffffff, 0xff000000, false, 0},
    {"xapic timer", "x2apic timer", APIC_TIMER, 0xfff9ffff, 0x100ff, true, 0xfff8ef00},
    {"xapic timer periodic", "x2apic timer periodic", APIC_TIMER, 0xfffbffff, 0x300ff, true,
	0xfff8ef00},
    {"xapic thermal", "x2apic thermal", APIC_THERMAL, 0xffffffff, 0x107ff, true, 0xfffee800},
    {"xapic performance", "x2apic performance", APIC_PMC, 0xffffffff, 0x107ff, true, 0xfffee800},
    {"xapic LINT0", "x2apic LINT0", APIC_LINT0, 0xffffffff, 0x1a7ff, true, 0xfffe0800},
    {"xapic LINT1", "x2apic LINT1", APIC_LINT1, 0xffffffff, 0x1a7ff, true, 0xfffe0800},
    {"xapic error", "x2apic error", APIC_ERROR, 0xffffffff, 0x100ff, true, 0xfffeef00},
    {"xapic CMCI", "x2apic CMCI", APIC_CMCI, 0xffffffff, 0x107ff, true, 0xfffee800},
    {"xapic divide", "x2apic divide", APIC_DIVIDE, 0xffffffff, 0xb, true, 0xfffffff4},
};
enum { REGISTERS = sizeof(registers) / sizeof(registers[0]) };

static unsigned lvts(void)
{
	return (apic_read(APIC_VERSION) >> 16 & 0xff) + 1;
}

static void test_registers(void)
{
	uint32_t version = apic_read(APIC_VERSION);

	check_in(MODE("version"), version & 0xff, 0x10, 0x15);
	check_in(MODE("LVT entries"), lvts(), 6, 7);
	for (unsigned i = 0; i < REGISTERS; i++) {
		unsigned reg = registers[i].reg;
		uint32_t was;

		if (x2apic() && !registers[i].x2)
			continue;
		if (reg == APIC_CMCI && lvts() < 7) {
			skip(MODE("CMCI"), "the version register tells of six entries");
			continue;
		}
		was = apic_read(reg);
		if (x2apic()) {
			unsigned vector = 0;

			for (unsigned bit = 0; bit < 32; bit++)
				if (registers[i].reserved >> bit & 1)
					vector |=
					    1u
					    << (try_wrmsr(MSR_X2APIC + reg / 16, 1u << bit) == GP)
					    << 8;
			check_eq(registers[i].name2, vector & 0xff, 0);
			for (unsigned bit = 0; bit < 32; bit++) {
				bool want = registers[i].reserved >> bit & 1;
				uint64_t got = want ? try_wrmsr(MSR_X2APIC + reg / 16, 1u << bit)
						    : (uint64_t)NOTHING;

				if (want && got != GP)
					check_eq(registers[i].name2, bit, 100);
			}
			apic_write(reg, registers[i].write & ~registers[i].reserved & ~0x5000u);
			check_eq(registers[i].name2, apic_read(reg), registers[i].stays);
		} else {
			apic_write(reg, registers[i].write);
			check_eq(registers[i].name, apic_read(reg), registers[i].stays);
		}
		apic_write(reg, was);
	}
	apic_write(APIC_TPR, 0);
}

/* 11.4.7.2: disabled by software, all LVT masks are set and stay so. */
static void test_software_disable(void)
{
	apic_write(APIC_ERROR, 0x55);
	apic_write(APIC_SVR, 0xff);
	check_eq(MODE("disabled: LVT masked"), apic_read(APIC_ERROR), 0x10055);
	apic_write(APIC_ERROR, 0x56);
	check_eq(MODE("disabled: mask stays"), apic_read(APIC_ERROR), 0x10056);
	forget_irqs();
	send_ipi(0, TO_SELF | VEC);
	apic_write(APIC_SVR, 0x1ff);
	let_irqs_in();
	check_eq(MODE("disabled: takes no interrupt"), irqs[0][VEC], 0);
	check_eq(MODE("enabled: mask stays"), apic_read(APIC_ERROR), 0x10056);
}

/* --- priorities -------------------------------------------------------------------------- */

static void nested(struct trap_frame *f)
{
	irq_log[irq_logged++] = (uint8_t)f->vector;
	if (f->vector == VEC) {
		check_eq(MODE("PPR is the class in service"), apic_read(APIC_PPR), VEC & 0xf0);
		check(MODE("ISR bit in service"), apic_bit(APIC_ISR, VEC));
		send_ipi(0, TO_SELF | (VEC + 1)); /* of the same class: later */
		send_ipi(0, TO_SELF | (VEC - 0x10));
		send_ipi(0, TO_SELF | (VEC + 0x10)); /* at once */
		let_irqs_in();
		irq_log[irq_logged++] = 0;
	}
	apic_write(APIC_EOI, 0);
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

static void test_priorities(void)
{
	static const unsigned vectors[] = {VEC - 0x10, VEC, VEC + 1, VEC + 0x10};
	void (*count)(struct trap_frame *) = trap_handler[VEC];
	uint64_t cr8;

	forget_irqs();
	send_ipi(0, TO_SELF | 0x31);
	send_ipi(0, TO_SELF | 0xd1);
	send_ipi(0, TO_SELF | 0x91);
	check(MODE("IRR bits wait"), apic_bit(APIC_IRR, 0x31) && apic_bit(APIC_IRR, 0x91));
	let_irqs_in();
	check(MODE("highest first"), logged((uint8_t[]){0xd1, 0x91, 0x31}, 3));
	check_eq(MODE("TMR bit of an edge"), apic_bit(APIC_TMR, 0x31), 0);

	forget_irqs();
	apic_write(APIC_TPR, 0x55);
	check_eq(MODE("PPR is the TPR"), apic_read(APIC_PPR), 0x55);
	__asm__ volatile("mov %%cr8, %0" : "=r"(cr8));
	check_eq(MODE("CR8 is the TPR's class"), cr8, 5);
	send_ipi(0, TO_SELF | 0x5f);
	send_ipi(0, TO_SELF | 0x60);
	let_irqs_in();
	check(MODE("TPR holds back its class"), logged((uint8_t[]){0x60}, 1));
	__asm__ volatile("mov %0, %%cr8" : : "r"(4UL));
	check_eq(MODE("CR8 sets the TPR"), apic_read(APIC_TPR), 0x40);
	let_irqs_in();
	check(MODE("TPR lets go"), logged((uint8_t[]){0x60, 0x5f}, 2));
	check_eq(MODE("CR8 of 16 faults"), TRY("mov %0, %%cr8", : : "r"(16UL)), GP);
	apic_write(APIC_TPR, 0);

	forget_irqs();
	for (unsigned i = 0; i < 4; i++)
		trap_handler[vectors[i]] = nested;
	send_ipi(0, TO_SELF | VEC);
	let_irqs_in();
	check(MODE("nesting"), logged((uint8_t[]){VEC, VEC + 0x10, 0, VEC + 1, VEC - 0x10}, 5));
	for (unsigned i = 0; i < 4; i++)
		trap_handler[vectors[i]] = count;
	apic_write(APIC_EOI, 0); /* of nothing */
	check_eq(MODE("PPR after all"), apic_read(APIC_PPR), 0);
	forget_irqs();
	send_ipi(0, TO_SELF | VEC);
	send_ipi(0, TO_SELF | VEC);
	let_irqs_in();
	check_eq(MODE("two of the same are one"), irqs[0][VEC], 1);
}

/* --- errors ---------------------------------------------------------------------------------- */

static void test_errors(void)
{
	uint32_t received = 0;

	(void)esr();
	apic_write(APIC_ERROR, 0xe0);
	forget_irqs();
	send_ipi(0, ASSERT | TO_SELF | 5);
	check(MODE("error interrupt"), wait_irqs(0, 0xe0, 1));
	check_eq(MODE("ESR needs a write"), apic_read(APIC_ESR) & ESR_SEND, 0);
	check_eq(MODE("ESR: illegal vector sent"), esr() & ESR_SEND, ESR_SEND);
	check_eq(MODE("ESR: cleared by the next write"), esr(), 0);
	if (!x2apic()) {
		forget_irqs();
		(void)apic_read(0x3a0);
		check(MODE("error interrupt of a register"), wait_irqs(0, 0xe0, 1));
		check_eq(MODE("ESR: illegal register"), esr(), ESR_REGISTER);
	}
	forget_irqs();
	apic_write(APIC_ERROR, 0x100e0);
	apic_write(APIC_TIMER, 5);
	apic_write(APIC_DIVIDE, 0xb);
	apic_write(APIC_INITIAL, 100);
	while (apic_read(APIC_CURRENT))
		pause();
	let_irqs_in();
	/* the count is computed; the event comes with the host's timer, a moment later */
	for (unsigned tries = 0; !received && tries < 1000000; tries++)
		received = esr();
	check_eq(MODE("ESR: illegal vector received"), received, ESR_RECEIVED);
	check_eq(MODE("error LVT masked"), irqs[0][0xe0], 0);
	apic_write(APIC_TIMER, MASKED);
}

/* --- timer ------------------------------------------------------------------------------------ */

static uint64_t ticks_of(unsigned divide)
{
	uint64_t t;

	apic_write(APIC_DIVIDE, divide);
	t = rdtsc();
	apic_write(APIC_INITIAL, 20000000);
	while (apic_read(APIC_CURRENT))
		pause();
	return rdtsc() - t;
}

static void test_timer(void)
{
	uint64_t by1, by4;
	unsigned first;

	apic_write(APIC_TIMER, 0x51);
	apic_write(APIC_DIVIDE, 0xb);
	forget_irqs();
	apic_write(APIC_INITIAL, 10000000);
	check_in(MODE("timer counts"), apic_read(APIC_CURRENT), 1, 10000000);
	check(MODE("one shot"), wait_irqs(0, 0x51, 1));
	check_eq(MODE("one shot ends at 0"), apic_read(APIC_CURRENT), 0);
	apic_write(APIC_TIMER, 0x51 | MASKED);
	by1 = ticks_of(0xb);
	by4 = ticks_of(1);
	check_in(MODE("divider of 4, in percent"), by4 * 100 / by1, 150, 1000);
	let_irqs_in();
	check_eq(MODE("one shot comes once, masked not at all"), irqs[0][0x51], 1);
	apic_write(APIC_DIVIDE, 0xb);
	forget_irqs();
	apic_write(APIC_TIMER, 0x52 | TIMER_PERIODIC);
	apic_write(APIC_INITIAL, 200000);
	check(MODE("periodic"), wait_irqs(0, 0x52, 5));
	check_in(MODE("periodic reloads"), apic_read(APIC_CURRENT), 1, 200000);
	apic_write(APIC_INITIAL, 0);
	let_irqs_in();
	first = irqs[0][0x52];
	check_eq(MODE("initial count of 0 stops"), apic_read(APIC_CURRENT), 0);
	for (unsigned i = 0; i < 2000; i++)
		pause();
	let_irqs_in();
	check_eq(MODE("stopped"), irqs[0][0x52], first);
}

static void test_deadline(void)
{
	uint64_t v;

	if (!has(CPUID_DEADLINE)) {
		skip(MODE("TSC deadline"), "CPUID does not tell of it");
		return;
	}
	apic_write(APIC_TIMER, 0x53);
	wrmsr(MSR_DEADLINE, rdtsc() + 1000000000);
	check_eq(MODE("deadline in another mode"), rdmsr(MSR_DEADLINE), 0);
	apic_write(APIC_INITIAL, 1000000000);
	apic_write(APIC_TIMER, 0x53 | TIMER_DEADLINE);
	check_eq(MODE("mode change stops the count"), apic_read(APIC_CURRENT), 0);
	apic_write(APIC_INITIAL, 1000);
	check_eq(MODE("no count in deadline mode"), apic_read(APIC_CURRENT), 0);
	forget_irqs();
	v = rdtsc() + 2000000;
	wrmsr(MSR_DEADLINE, v);
	check(MODE("deadline"), wait_irqs(0, 0x53, 1));
	check_in(MODE("deadline not too early"), rdtsc(), v, UINT64_MAX);
	check_eq(MODE("deadline reads 0 after it"), rdmsr(MSR_DEADLINE), 0);
	wrmsr(MSR_DEADLINE, 1);
	let_irqs_in();
	check_eq(MODE("deadline in the past"), irqs[0][0x53], 2);
	v = rdtsc() + (1UL << 40);
	wrmsr(MSR_DEADLINE, v);
	check_eq(MODE("deadline reads back"), rdmsr(MSR_DEADLINE), v);
	wrmsr(MSR_DEADLINE, 0);
	check_eq(MODE("deadline disarmed"), rdmsr(MSR_DEADLINE), 0);
	wrmsr(MSR_DEADLINE, v);
	apic_write(APIC_TIMER, 0x53);
	check_eq(MODE("mode change disarms"), rdmsr(MSR_DEADLINE), 0);
	let_irqs_in();
	check_eq(MODE("deadline count"), irqs[0][0x53], 2);
	apic_write(APIC_TIMER, MASKED);
	apic_write(APIC_INITIAL, 0);
}

/* --- destinations -------------------------------------------------------------------------- */

static void set_register(uint64_t arg)
{
	apic_write(arg >> 32, (uint32_t)arg);
}

static void set_on(unsigned cpu, unsigned reg, uint32_t v)
{
	if (cpu)
		on_cpu(cpu, set_register, (uint64_t)reg << 32 | v);
	else
		apic_write(reg, v);
}

/* The CPUs that had the vector, each once, as a mask; bit 31: one had it more than once. */
static uint32_t who(unsigned vector)
{
	uint32_t mask = 0;

	settle();
	for (unsigned c = 0; c < cpus; c++) {
		mask |= irqs[c][vector] ? 1u << c : 0;
		mask |= irqs[c][vector] > 1 ? 1u << 31 : 0;
	}
	return mask;
}

static uint32_t sent(uint32_t dest, uint32_t icr)
{
	forget_irqs();
	send_ipi(dest, ASSERT | icr);
	return who(icr & 0x700 ? icr & 0x700 & LOWEST ? icr & 0xff : NMI : icr & 0xff);
}

static uint32_t ids[CPUS_MAX];

static void learn_id(uint64_t cpu)
{
	ids[cpu] = x2apic() ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

/* In xAPIC mode the destinations of software; in x2APIC mode those that follow from the ID. */
static void test_logical_xapic(uint32_t all)
{
	for (unsigned c = 0; c < cpus; c++) {
		set_on(c, APIC_DFR, 0xffffffff);
		set_on(c, APIC_LDR, 1u << c << 24);
	}
	check_eq("xapic flat: one", sent(2, LOGICAL | VEC), 2);
	check_eq("xapic flat: two", sent(3, LOGICAL | VEC), 3);
	check_eq("xapic flat: nobody", sent(0x40, LOGICAL | VEC), 0);
	check_eq("xapic flat: all", sent(0xff, LOGICAL | VEC), all);
	for (unsigned c = 0; c < cpus; c++) {
		set_on(c, APIC_DFR, 0x0fffffff);
		set_on(c, APIC_LDR, ((c / 2) << 4 | 1u << c % 2) << 24);
	}
	check_eq("xapic cluster: one", sent(0x02, LOGICAL | VEC), 2);
	check_eq("xapic cluster: two", sent(0x03, LOGICAL | VEC), 3);
	check_eq("xapic cluster: other cluster", sent(0x13, LOGICAL | VEC), all & 0xc);
	check_eq("xapic cluster: nobody", sent(0x33, LOGICAL | VEC), 0);
	for (unsigned c = 0; c < cpus; c++) {
		set_on(c, APIC_DFR, 0xffffffff);
		set_on(c, APIC_LDR, 1u << c << 24);
	}
}

static void test_logical_x2(uint32_t all)
{
	check_eq("x2apic LDR follows from the ID", apic_read(APIC_LDR),
	    ids[0] >> 4 << 16 | 1u << (ids[0] & 15));
	check_eq("x2apic cluster: one", sent(1u << ids[1], LOGICAL | VEC), 2);
	check_eq("x2apic cluster: two", sent(1u << ids[0] | 1u << ids[1], LOGICAL | VEC), 3);
	check_eq("x2apic cluster: nobody", sent(0x20001, LOGICAL | VEC), 0);
	check_eq("x2apic logical broadcast", sent(0xffffffff, LOGICAL | VEC), all);
}

static void test_lowest(uint32_t all)
{
	uint32_t mask;

	mask = sent(all, LOGICAL | LOWEST | VEC);
	check(MODE("lowest priority: one of all"), mask && !(mask & (mask - 1)) && !(mask & ~all));
	for (unsigned c = 0; c < cpus; c++)
		set_on(c, APIC_TPR, c == 1 ? 0x10 : 0x30);
	check_eq(MODE("lowest priority: the least TPR"), sent(all, LOGICAL | LOWEST | VEC), 2);
	for (unsigned c = 0; c < cpus; c++)
		set_on(c, APIC_TPR, 0);
}

static void test_destinations(void)
{
	uint32_t all = (1u << cpus) - 1, everybody = x2apic() ? 0xffffffff : 0xff;

	learn_id(0);
	for (unsigned c = 1; c < cpus; c++)
		on_cpu(c, learn_id, c);
	for (unsigned c = 0; c < cpus; c++)
		check_eq(MODE("physical: one"), sent(ids[c], VEC), 1u << c);
	check_eq(MODE("physical: nobody"), sent(0x77, VEC), 0);
	check_eq(MODE("physical: all"), sent(everybody, VEC), all);
	check_eq(MODE("shorthand self"), sent(ids[1], TO_SELF | VEC), 1);
	check_eq(MODE("shorthand all"), sent(0, TO_ALL | VEC), all);
	check_eq(MODE("shorthand others"), sent(0, TO_OTHERS | VEC), all & ~1u);
	check_eq(MODE("NMI to one"), sent(ids[1], SEND_NMI), 2);
	check_eq(MODE("NMI to itself"), sent(ids[0], SEND_NMI), 1);
	check_eq(MODE("NMI to others"), sent(0, TO_OTHERS | SEND_NMI), all & ~1u);
	if (x2apic())
		test_logical_x2(all);
	else
		test_logical_xapic(all);
	test_lowest(all);
	set_on(1, APIC_SVR, 0xff);
	check_eq(MODE("a disabled one takes no interrupt"), sent(ids[1], VEC), 0);
	check_eq(MODE("a disabled one takes NMIs"), sent(ids[1], SEND_NMI), 2);
	set_on(1, APIC_SVR, 0x1ff);
}

/* --- INIT and SIPI ------------------------------------------------------------------------------
 */

static volatile unsigned beats;

static void beat(uint64_t arg)
{
	(void)arg;
	cli();
	for (;;) {
		beats++;
		pause();
	}
}

static void wait_a_moment(void)
{
	for (unsigned i = 0; i < 3000; i++)
		inb(0x80);
}

static void test_init(void)
{
	unsigned before;

	on_cpu_begin(1, beat, 0);
	while (!beats)
		pause();
	send_ipi(ids[1], ASSERT | SEND_SIPI | 0x99);
	before = beats;
	wait_a_moment();
	check(MODE("SIPI of a running one is ignored"), beats != before);
	send_ipi(ids[1], ASSERT | LEVEL | SEND_INIT);
	send_ipi(ids[1], LEVEL | SEND_INIT);
	wait_a_moment();
	before = beats;
	wait_a_moment();
	check_eq(MODE("INIT stops"), beats, before);
}

/* --- x2APIC mode and disabling -------------------------------------------------------------- */

static void test_base(void)
{
	uint64_t base = rdmsr(MSR_APIC_BASE);
	uint32_t version = apic_read(APIC_VERSION), r[4];

	check_eq("base after reset", base, 0xfee00900);
	check_eq("base: reserved bit", try_wrmsr(MSR_APIC_BASE, base | 1), GP);
	check_eq("base: address too high", try_wrmsr(MSR_APIC_BASE, base | 1UL << 52), GP);
	check_eq("base: x2APIC without enable",
	    try_wrmsr(MSR_APIC_BASE, (base & ~(uint64_t)BASE_EN) | BASE_X2), GP);
	wrmsr(MSR_APIC_BASE, (base & 0xfff) | 0xfed60000);
	apic_at = 0xfed60000;
	check_eq("base moved", apic_read(APIC_VERSION), version);
	forget_irqs();
	send_ipi(0, TO_SELF | VEC);
	let_irqs_in();
	check_eq("base moved: interrupts", irqs[0][VEC], 1);
	check("base moved: not where it was",
	    *(volatile uint32_t *)(0xfee00000 + APIC_VERSION) != version);
	wrmsr(MSR_APIC_BASE, base);
	apic_at = 0xfee00000;
	check_eq("base moved back", apic_read(APIC_VERSION), version);

	apic_write(APIC_LINT1, 0x400);
	wrmsr(MSR_APIC_BASE, base & ~(uint64_t)BASE_EN);
	cpuid(1, 0, r);
	check_eq("disabled: CPUID", r[3] >> 9 & 1, 0);
	check("disabled: no registers", apic_read(APIC_VERSION) != version);
	check_eq("disabled: not to x2APIC", try_wrmsr(MSR_APIC_BASE, base | BASE_X2), GP);
	wrmsr(MSR_APIC_BASE, base);
	cpuid(1, 0, r);
	check_eq("enabled: CPUID", r[3] >> 9 & 1, 1);
	check_eq("enabled: SVR as after reset", apic_read(APIC_SVR), 0xff);
	check_eq("enabled: LINT1 as after reset", apic_read(APIC_LINT1), 0x10000);
	apic_write(APIC_SVR, 0x1ff);
}

static void to_x2(uint64_t arg)
{
	(void)arg;
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | BASE_X2);
}

static const struct {
	const char *name;
	unsigned msr;
	bool write;
	uint64_t value;
} x2_faults[] = {
    {"x2apic: no DFR", 0x80e, false, 0},
    {"x2apic: no arbitration priority", 0x809, false, 0},
    {"x2apic: no ICR high", 0x831, false, 0},
    {"x2apic: no register 0", 0x800, false, 0},
    {"x2apic: no register 3FH behind the ICR", 0x8ff, false, 0},
    {"x2apic: EOI cannot be read", 0x80b, false, 0},
    {"x2apic: self IPI cannot be read", 0x83f, false, 0},
    {"x2apic: EOI of 1", 0x80b, true, 1},
    {"x2apic: ESR of 1", 0x828, true, 1},
    {"x2apic: ID is read-only", 0x802, true, 0},
    {"x2apic: version is read-only", 0x803, true, 0},
    {"x2apic: LDR is read-only", 0x80d, true, 0},
    {"x2apic: PPR is read-only", 0x80a, true, 0},
    {"x2apic: ISR is read-only", 0x810, true, 0},
    {"x2apic: current count is read-only", 0x839, true, 0},
    {"x2apic: TPR has 8 bits", 0x808, true, 0x100},
    {"x2apic: self IPI has 8 bits", 0x83f, true, 0x100},
    {"x2apic: SVR has no bit 13", 0x80f, true, 0x21ff},
    {"x2apic: upper half of the SVR", 0x80f, true, 1UL << 32},
    {"x2apic: ICR has no bit 16", 0x830, true, 0x10000},
    {"x2apic: ICR has no bit 20", 0x830, true, 0x100000},
};

static void test_x2_mode(void)
{
	uint64_t base, v;

	apic_write(APIC_TPR, 0x20);
	to_x2(0);
	base = rdmsr(MSR_APIC_BASE);
	check_eq("x2apic: on", base, 0xfee00d00);
	check_eq("x2apic: TPR kept", apic_read(APIC_TPR), 0x20);
	apic_write(APIC_TPR, 0);
	check_eq(
	    "x2apic: not back to xAPIC", try_wrmsr(MSR_APIC_BASE, base & ~(uint64_t)BASE_X2), GP);
	check("x2apic: no registers in memory",
	    *(volatile uint32_t *)(0xfee00000 + APIC_VERSION) != apic_read(APIC_VERSION));
	for (unsigned i = 0; i < sizeof(x2_faults) / sizeof(x2_faults[0]); i++)
		check_eq(x2_faults[i].name,
		    x2_faults[i].write ? try_wrmsr(x2_faults[i].msr, x2_faults[i].value)
				       : try_rdmsr(x2_faults[i].msr, &v),
		    GP);
	for (unsigned c = 1; c < cpus; c++)
		on_cpu(c, to_x2, 0);
	forget_irqs();
	wrmsr(MSR_X2APIC + APIC_SELF / 16, VEC);
	let_irqs_in();
	check_eq("x2apic self IPI", irqs[0][VEC], 1);
	(void)esr();
	wrmsr(MSR_X2APIC + APIC_SELF / 16, 5);
	check("x2apic self IPI of an illegal vector", esr() & (ESR_SEND | ESR_RECEIVED));
}

/* By way of disabling. */
static void test_x2_back(void)
{
	uint64_t base = rdmsr(MSR_APIC_BASE);

	wrmsr(MSR_APIC_BASE, base & ~(uint64_t)(BASE_EN | BASE_X2));
	check_eq("x2apic: disabled", rdmsr(MSR_APIC_BASE), 0xfee00100);
	check_eq("x2apic: disabled, no registers", TRY("rdmsr", : : "c"(0x802) : "eax", "edx"), GP);
	wrmsr(MSR_APIC_BASE, (base & ~(uint64_t)BASE_X2));
	check_eq("x2apic: to xAPIC by way of disabled", apic_read(APIC_ID), ids[0] << 24);
	check_eq("x2apic: flat model after it", apic_read(APIC_DFR), 0xffffffff);
	apic_write(APIC_SVR, 0x1ff);
	forget_irqs();
	send_ipi(0, TO_SELF | VEC);
	let_irqs_in();
	check_eq("x2apic: interrupts after it", irqs[0][VEC], 1);
}

/* --- storms -------------------------------------------------------------------------------------
 */

static volatile unsigned finished;

/* To every CPU, itself among them, again and again; each waits for its own to come back. */
static void storm(uint64_t cpu)
{
	unsigned vector = VEC + (unsigned)cpu;

	sti();
	for (unsigned n = 1; n <= STORM; n++) {
		send_ipi(0, ASSERT | TO_ALL | vector);
		for (unsigned c = 0; c < cpus; c++)
			while (irqs[c][vector] < n)
				pause();
	}
	__atomic_add_fetch(&finished, 1, __ATOMIC_SEQ_CST);
}

static void test_storm(void)
{
	unsigned wrong = 0;

	forget_irqs();
	finished = 0;
	for (unsigned c = 1; c < cpus; c++)
		on_cpu_begin(c, storm, c);
	storm(0);
	for (unsigned c = 1; c < cpus; c++)
		while (!on_cpu_end(c))
			;
	cli();
	check_eq(MODE("storm: all have ended"), finished, cpus);
	for (unsigned c = 0; c < cpus; c++)
		for (unsigned s = 0; s < cpus; s++)
			wrong += irqs[c][VEC + s] != STORM;
	check_eq(MODE("storm: each has come once"), wrong, 0);
	forget_irqs();
	for (unsigned n = 1; n <= STORM; n++) {
		send_ipi(ids[1], ASSERT | SEND_NMI);
		while (irqs[1][NMI] < n)
			pause();
	}
	check_eq(MODE("storm of NMIs"), irqs[1][NMI], STORM);
}

static void test_one_mode(void)
{
	test_registers();
	test_software_disable();
	test_priorities();
	test_errors();
	test_timer();
	test_deadline();
	test_destinations();
	test_storm();
}

void arch_main(void)
{
	test_base();
	apic_write(APIC_LINT0, MASKED);
	apic_write(APIC_LINT1, MASKED);
	check_in("CPUs", start_cpus(), 2, CPUS_MAX);
	test_one_mode();
	if (has(CPUID_X2APIC)) {
		test_x2_mode();
		test_one_mode();
	} else {
		skip("x2apic", "CPUID does not tell of it");
	}
	test_init();
	if (x2apic())
		test_x2_back();
}
