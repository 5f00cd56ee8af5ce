/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that lives by the HPET: five of its timers interrupt every 2 ms, each delivered in
 * another way, while the 8254 runs for nobody. It says "ready", and for each byte on the serial
 * line it looks for 100 ms or more whether all of them come, and whether the HPET, the PM timer and
 * the TSC agree, also since the start: "round N: A ok, B bad". Pauses and restores are to change
 * nothing.
 */
#include "guest.h"

enum {
	COM1 = 0x3f8,
	LSR = 0x3fd,
	PM_TIMER = 0x608,
	X2_EOI = 0x80b,
	PIT_COMMAND = 0x43,
	PIT_COUNTER0 = 0x40,
	/* registers */
	CAPABILITIES = 0x00,
	CONFIG = 0x10,
	STATUS = 0x20,
	COUNTER = 0xf0,
	TIMER0 = 0x100,
	COMPARATOR = 0x08,
	FSB_ROUTE = 0x10,
	ENABLE = 1,
	LEGACY = 2,
	/* a timer's */
	LEVEL = 1 << 1,
	INT_ENABLE = 1 << 2,
	PERIODIC = 1 << 3,
	VALUE_SET = 1 << 6,
	MODE32 = 1 << 8,
	FSB = 1 << 14,
	VEC = 0x60, /* of the first of the ways */
	WAYS = 5,
	PERIOD = 200000,  /* 2 ms */
	ROUND = 10000000, /* 100 ms */
	PATIENCE = 100,	  /* rounds */
	ENOUGH = 20,	  /* interrupts of each */
	PM_HZ = 3579545
};
#define HPET 0xfed00000UL
#define WRAP (1UL << 32)

/* The ways of an interrupt. */
static const struct way {
	const char *name;
	unsigned timer, config, gsi, pin; /* gsi 0: none in the configuration; pin 0: a message */
} ways[WAYS] = {
    {"legacy", 0, PERIODIC, 0, 2},
    {"edge", 2, PERIODIC | MODE32, 20, 20},
    {"level", 3, PERIODIC | LEVEL, 21, 21},
    {"message", 4, PERIODIC | FSB, 0, 0},
    {"one-shot", 5, FSB | MODE32, 0, 0},
};

struct sample {
	uint64_t hpet, tsc;
	uint32_t pm;
	unsigned count[WAYS];
};

static volatile unsigned count[WAYS];
static struct sample first;
static uint64_t tsc_per_round;
static unsigned ok, bad;

static uint64_t rd(unsigned reg)
{
	return *(volatile uint64_t *)(HPET + reg);
}

static void wr(unsigned reg, uint64_t v)
{
	*(volatile uint64_t *)(HPET + reg) = v;
}

static unsigned timer(const struct way *w)
{
	return TIMER0 + 0x20 * w->timer;
}

static void verdict(bool good, const char *what, uint64_t v, uint64_t low, uint64_t high)
{
	if (good)
		ok++;
	else
		print("BAD %s: %lu is not in %lu to %lu\n", what, v, low, high);
	bad += !good;
}

static void in_range(const char *what, uint64_t v, uint64_t low, uint64_t high)
{
	verdict(v >= low && v <= high, what, v, low, high);
}

/* As operating systems do: a moment that has gone by meanwhile would come with the next wrap. */
static void next_shot(const struct way *w)
{
	uint64_t at;

	do {
		at = rd(COUNTER) + PERIOD;
		wr(timer(w) + COMPARATOR, at);
	} while ((int64_t)(at - rd(COUNTER)) <= 0);
}

static void on_timer(struct trap_frame *f)
{
	const struct way *w = &ways[f->vector - VEC];

	count[f->vector - VEC]++;
	if (w->config & LEVEL)
		wr(STATUS, 1u << w->timer);
	if (!(w->config & PERIODIC))
		next_shot(w);
	wrmsr(X2_EOI, 0);
}

static void io_apic(uint32_t reg, uint32_t v)
{
	*(volatile uint32_t *)0xfec00000UL = reg;
	*(volatile uint32_t *)0xfec00010UL = v;
}

static void start_way(unsigned i)
{
	const struct way *w = &ways[i];
	unsigned config = w->config | w->gsi << 9 | INT_ENABLE;

	trap_handler[VEC + i] = on_timer;
	if (w->pin) {
		io_apic(0x10 + 2 * w->pin + 1, 0);
		io_apic(0x10 + 2 * w->pin, (VEC + i) | (w->config & LEVEL ? 1u << 15 : 0));
	}
	wr(timer(w) + FSB_ROUTE, 0xfee00000UL << 32 | (VEC + i));
	wr(timer(w), config | (config & PERIODIC ? VALUE_SET : 0));
	next_shot(w);
	if (config & PERIODIC)
		wr(timer(w) + COMPARATOR, PERIOD);
}

/* All clocks at one time: within 200 us, if that can be had. */
static void take(struct sample *s)
{
	for (unsigned try = 0; try < 1000; try++) {
		s->hpet = rd(COUNTER);
		s->tsc = rdtsc();
		s->pm = inl(PM_TIMER);
		for (unsigned i = 0; i < WAYS; i++)
			s->count[i] = count[i];
		if (rd(COUNTER) - s->hpet < 20000)
			return;
	}
}

/* Within 1 %. */
static void about(const char *what, uint64_t v, uint64_t want)
{
	in_range(what, v, want - want / 100, want + want / 100);
}

/* Never more often than every period; how much less is the host's affair, if it is busy. */
static void check_timers(const struct sample *a, const struct sample *b)
{
	for (unsigned i = 0; i < WAYS; i++) {
		const struct way *w = &ways[i];
		uint64_t mask = w->config & MODE32 ? WRAP - 1 : ~0UL, before, next, after;

		in_range(
		    w->name, b->count[i] - a->count[i], ENOUGH, (b->hpet - a->hpet) / PERIOD + 2);
		if (!(w->config & PERIODIC))
			continue;
		before = rd(COUNTER);
		next = rd(timer(w) + COMPARATOR);
		after = rd(COUNTER);
		in_range("next match", (next - before) & mask, 1, after - before + PERIOD);
	}
}

static bool all_came(const struct sample *since)
{
	for (unsigned i = 0; i < WAYS; i++)
		if (count[i] - since->count[i] < ENOUGH)
			return false;
	return true;
}

static void one_round(unsigned number)
{
	struct sample a, b;
	uint64_t d;

	ok = bad = 0;
	take(&a);
	while (rd(COUNTER) - a.hpet < (all_came(&a) ? ROUND : PATIENCE * ROUND))
		__asm__ volatile("hlt");
	take(&b);
	d = b.hpet - a.hpet;
	about("PM timer", (uint64_t)(b.pm - a.pm) * 100000000 / PM_HZ, d);
	if (!tsc_per_round) {
		tsc_per_round = (b.tsc - a.tsc) * 1000 / (d / (ROUND / 1000));
		first = a;
	}
	about("TSC", (b.tsc - a.tsc) * 1000 / (d / (ROUND / 1000)), tsc_per_round);
	about("TSC since the start", (b.tsc - first.tsc) / (tsc_per_round / 1000),
	    (b.hpet - first.hpet) / (ROUND / 1000));
	check_timers(&a, &b);
	print("round %u: %u ok, %u bad\n", number, ok, bad);
}

void guest_main(const uint8_t *params)
{
	(void)params;
	traps_init();
	x2apic_init();
	outb(PIT_COMMAND, 0x34); /* counter 0, mode 2: 10 kHz that nobody must see */
	outb(PIT_COUNTER0, 119);
	outb(PIT_COUNTER0, 0);
	print("capabilities 0x%lx\n", rd(CAPABILITIES));
	wr(COUNTER, 7 * WRAP - ROUND / 2); /* the first round goes over a wrap of 32 bits */
	for (unsigned i = 0; i < WAYS; i++)
		start_way(i);
	wr(CONFIG, ENABLE | LEGACY);
	print("ready\n");
	__asm__ volatile("sti");
	for (unsigned n = 1;; n++) {
		while (!(inb(LSR) & 1))
			__asm__ volatile("hlt");
		(void)inb(COM1);
		one_round(n);
	}
}
