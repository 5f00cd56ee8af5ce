/* SPDX-License-Identifier: BSD-2-Clause */
/* The clock: how fast the TSC counts, its conversion to nanoseconds, agreement between CPUs. */
#include "hv/arch/x86/tsc.h"
#include "hv/arch/x86/acpi.h"
#include "hv/arch/x86/io.h"
#include "hv/lib/log.h"
#include "hv/lib/spinlock.h"

#define NS_PER_S       1000000000ULL
#define PM_TIMER_HZ    3579545ULL /* ACPI 6.5, 4.8.3.3 */
#define PIT_HZ	       1193182ULL
#define MEASURE_NS     15000000ULL
#define HINT_TOLERANCE 100 /* a stated rate within 1/100 of the measured one is the truth */

/* 8254 channel 2 and its gate (datasheet; port 61h of the ISA bus). */
enum {
	PIT_CHANNEL2 = 0x42,
	PIT_COMMAND = 0x43,
	PIT_CH2_MODE0_LOHI = 0xb0,
	PIT_LATCH_CH2 = 0x80,
	PORT_61 = 0x61,
	PORT_61_GATE2 = 1 << 0,
	PORT_61_SPEAKER = 1 << 1,
	PORT_POST = 0x80,
};

static uint64_t hz, base, mult; /* ns = (tsc - base) * mult >> 32 */
static uint16_t pm_port;

/* A counter to measure against. */
struct reference {
	const char *name;
	uint64_t hz, mask;
	void (*start)(void); /* NULL: counts by itself */
	uint64_t (*read)(void);
};

static uint64_t pm_timer_read(void)
{
	return inl(pm_port);
}

static void pit_start(void)
{
	outb(PORT_61, (inb(PORT_61) & ~PORT_61_SPEAKER) | PORT_61_GATE2);
	outb(PIT_COMMAND, PIT_CH2_MODE0_LOHI);
	outb(PIT_CHANNEL2, 0xff);
	outb(PIT_CHANNEL2, 0xff);
}

static uint64_t pit_read(void)
{
	uint64_t low;

	outb(PIT_COMMAND, PIT_LATCH_CH2);
	low = inb(PIT_CHANNEL2);
	return 0xffff - (low | (uint64_t)inb(PIT_CHANNEL2) << 8); /* it counts down */
}

struct sample {
	uint64_t tsc, ref;
};

/* TSC and reference at one moment: of a few tries the one that took the least time. */
static struct sample take_sample(const struct reference *r)
{
	struct sample best = {0, 0};
	uint64_t shortest = UINT64_MAX;

	for (int i = 0; i < 5; i++) {
		uint64_t before = rdtsc(), ref = r->read(), after = rdtsc();

		if (after - before < shortest) {
			shortest = after - before;
			best = (struct sample){before + (after - before) / 2, ref};
		}
	}
	return best;
}

/* The TSC's rate in hertz, or 0 if the reference stands still. */
static uint64_t measure_once(const struct reference *r)
{
	uint64_t want = MEASURE_NS * r->hz / NS_PER_S, ticks = 0;
	struct sample a, b;

	if (r->start)
		r->start();
	a = take_sample(r);
	for (uint32_t polls = 0; ticks < want; polls++) {
		if (polls > 1000000 || (polls > 10000 && !ticks))
			return 0;
		ticks = (r->read() - a.ref) & r->mask;
	}
	b = take_sample(r);
	ticks = (b.ref - a.ref) & r->mask;
	return (uint64_t)((b.tsc - a.tsc) * r->hz / ticks);
}

static uint64_t measure(const struct reference *r)
{
	uint64_t flags = irq_save();
	uint64_t x = measure_once(r), y = measure_once(r), z = measure_once(r);

	irq_restore(flags);
	return MAX(MIN(x, y), MIN(MAX(x, y), z)); /* the median */
}

/* The rate as the CPU states it (CPUID 15h), 0 if it does not. */
static uint64_t stated_rate(void)
{
	struct cpuid_regs r;

	if (host_cpu.max_leaf < 0x15)
		return 0;
	r = cpuid(0x15, 0);
	return r.eax && r.ebx && r.ecx ? (uint64_t)r.ecx * r.ebx / r.eax : 0;
}

static bool near(uint64_t a, uint64_t b)
{
	uint64_t d = a > b ? a - b : b - a;

	return d < b / HINT_TOLERANCE;
}

void tsc_init(uint64_t hint_hz)
{
	unsigned bits;
	const char *how = "the loader's measurement";
	struct reference refs[] = {
	    {"the ACPI PM timer", PM_TIMER_HZ, 0, NULL, pm_timer_read},
	    {"the 8254", PIT_HZ, 0xffff, pit_start, pit_read},
	};
	uint64_t rate = 0;

	pm_port = acpi_pm_timer_port(&bits);
	refs[0].mask = BIT(bits) - 1;
	for (size_t i = pm_port ? 0 : 1; i < ARRAY_LEN(refs) && !rate; i++) {
		rate = measure(&refs[i]);
		how = rate ? refs[i].name : how;
	}
	if (!rate)
		rate = hint_hz;
	if (stated_rate() && (!rate || near(stated_rate(), rate))) {
		rate = stated_rate();
		how = "CPUID";
	}
	if (rate < 1000000)
		panic("TSC: no clock to measure its rate against (PM timer, 8254)");
	base = rdtsc();
	mult = (NS_PER_S << 32) / rate;
	hz = rate;
	log_info(
	    "TSC: %lu kHz by %s%s", hz / 1000, how, host_cpu.invariant_tsc ? ", invariant" : "");
}

uint64_t tsc_hz(void)
{
	return hz;
}

uint64_t tsc_to_ns(uint64_t tsc)
{
	/* A hair before the start (CPUs agree to within a few ticks) is the start. */
	uint64_t d = (int64_t)(tsc - base) < 0 ? 0 : tsc - base;

	return (uint64_t)(((unsigned __int128)d * mult) >> 32);
}

/* The least TSC value at which tsc_to_ns() gives at least ns. */
uint64_t ns_to_tsc(uint64_t ns)
{
	uint64_t high = ns >> 32, low = ns << 32, quotient, rest;

	if (high >= mult) /* centuries away */
		return INT64_MAX;
	__asm__("divq %4" : "=a"(quotient), "=d"(rest) : "a"(low), "d"(high), "r"(mult) : "cc");
	return base + quotient + (rest != 0);
}

void delay_ns(uint64_t ns)
{
	uint64_t until;

	if (!hz) {
		for (uint64_t us = 0; us <= ns / 1000; us++)
			outb(PORT_POST, 0); /* about a microsecond on the ISA bus */
		return;
	}
	until = ns_to_tsc(tsc_to_ns(rdtsc()) + ns);
	while ((int64_t)(rdtsc() - until) < 0)
		cpu_pause();
}

/*
 * Agreement: the new CPU asks, the boot CPU answers with its TSC; of several
 * rounds the shortest gives the difference, to within half its duration.
 */
enum { SYNC_ROUNDS = 32 };
static struct {
	uint32_t asked, answered; /* round numbers */
	uint64_t tsc;
} sync;

void tsc_sync_boot_cpu(void)
{
	for (uint32_t round = 1; round <= SYNC_ROUNDS; round++) {
		while (__atomic_load_n(&sync.asked, __ATOMIC_ACQUIRE) != round)
			cpu_pause();
		sync.tsc = tsc_now();
		__atomic_store_n(&sync.answered, round, __ATOMIC_RELEASE);
	}
	while (__atomic_load_n(&sync.asked, __ATOMIC_ACQUIRE))
		cpu_pause();
	sync.answered = 0;
}

void tsc_sync_new_cpu(void)
{
	uint64_t shortest = UINT64_MAX;
	int64_t offset = 0;

	for (uint32_t round = 1; round <= SYNC_ROUNDS; round++) {
		uint64_t before = rdtsc(), after;

		__atomic_store_n(&sync.asked, round, __ATOMIC_RELEASE);
		while (__atomic_load_n(&sync.answered, __ATOMIC_ACQUIRE) != round)
			cpu_pause();
		after = rdtsc();
		if (after - before < shortest) {
			shortest = after - before;
			offset = (int64_t)(sync.tsc - (before + shortest / 2));
		}
	}
	__atomic_store_n(&sync.asked, 0, __ATOMIC_RELEASE);
	/* Less than the measurement's own error counts as agreement. */
	if ((uint64_t)(offset < 0 ? -offset : offset) > shortest) {
		this_cpu()->tsc_offset = offset;
		log_info("TSC: CPU %u is %ld ticks off, corrected", cpu_id(), -offset);
	}
}
