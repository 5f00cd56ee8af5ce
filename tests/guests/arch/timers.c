/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 8254 with port 61h (8254; ICH9, 13.3), the RTC's interrupts (MC146818), and all clocks
 * against one another: HPET, PM timer, 8254, local APIC timer, TSC.
 */
#include "arch.h"

enum {
	COUNTER0 = 0x40,
	COUNTER2 = 0x42,
	COMMAND = 0x43,
	PORT61 = 0x61,
	GATE = 1,
	OUT = 1 << 5,
	/* command: counter 2, low then high byte */
	SET2 = 0xb0,
	LATCH2 = 0x80,
	READBACK2 = 0xc8, /* status and count */
	STATUS_ONLY = 0x20,
	STATUS_NULL = 0x40,
	PM_TIMER = 0x608,
	IOAPIC = 0xfec00000,
	HPET = 0xfed00000,
	HPET_CONFIG = 0x10,
	HPET_COUNTER = 0xf0,
	HPET_MS = 100000, /* 100 MHz */
	VEC_PIT = 0x61,
	VEC_RTC = 0x62,
	RTC_A = 10,
	RTC_B = 11,
	RTC_C = 12,
	ALARM = 0x20,
	PERIODIC = 0x40,
	UPDATE = 0x10,
};

static uint64_t hpet(void)
{
	return *(volatile uint64_t *)(HPET + HPET_COUNTER);
}

static void wait_ms(unsigned ms)
{
	uint64_t start = hpet();

	while (hpet() - start < (uint64_t)ms * HPET_MS)
		pause();
}

static void set_gate2(bool on)
{
	outb(PORT61, on ? GATE : 0);
}

static bool out2(void)
{
	return inb(PORT61) & OUT;
}

static void set2(unsigned mode, unsigned count)
{
	outb(COMMAND, (uint8_t)(SET2 | mode << 1));
	outb(COUNTER2, (uint8_t)count);
	outb(COUNTER2, (uint8_t)(count >> 8));
}

static unsigned read2(void)
{
	unsigned low = inb(COUNTER2);

	return low | (unsigned)inb(COUNTER2) << 8;
}

static unsigned count2(void)
{
	outb(COMMAND, LATCH2);
	return read2();
}

static unsigned status2(void)
{
	outb(COMMAND, READBACK2 | STATUS_ONLY);
	return inb(COUNTER2);
}

static void test_modes(void)
{
	unsigned before, after;

	set_gate2(true);
	set2(0, 0xffff); /* 55 ms */
	check_eq("mode 0: low while it counts", out2(), false);
	check_eq("mode 0: status", status2() & 0x3f, 0x30);
	wait_ms(70);
	check_eq("mode 0: high after it", out2(), true);
	check_eq("mode 0: status after it", status2() & 0xbf, 0xb0);
	set2(0, 0xf000);
	set_gate2(false);
	before = count2();
	wait_ms(2);
	check_eq("mode 0: gate stops", count2(), before);
	set_gate2(true);
	wait_ms(2);
	check_in("mode 0: gate lets it go on", count2(), 0, before - 1000);
	outb(COMMAND, SET2);
	outb(COUNTER2, 0x10);
	check_eq("mode 0: half a count: no count yet", status2() & STATUS_NULL, STATUS_NULL);
	outb(COUNTER2, 0x10);

	set_gate2(false);
	set2(1, 0xffff);
	check_eq("mode 1: high before the trigger", out2(), true);
	wait_ms(1);
	set_gate2(true);
	check_eq("mode 1: low after the trigger", out2(), false);
	wait_ms(70);
	check_eq("mode 1: high after its time", out2(), true);
	set_gate2(false);
	check_eq("mode 1: gate's fall changes nothing", out2(), true);
	set_gate2(true);
	check_eq("mode 1: triggered again", out2(), false);

	set2(2, 1000);
	after = 0;
	for (unsigned i = 0; i < 200; i++) {
		before = count2();
		after = before > after ? before : after;
	}
	check_in("mode 2: counts down from its count", after, 2, 1000);
	set_gate2(false);
	check_eq("mode 2: high without gate", out2(), true);
	set_gate2(true);

	set2(3, 60000);
	check_eq("mode 3: status", status2() & 0x3f, 0x36);
	before = 0;
	for (unsigned i = 0; i < 50; i++)
		before |= count2();
	check_eq("mode 3: counts by two", before & 1, 0);
	before = after = 0;
	for (unsigned i = 0; i < 60; i++) {
		wait_ms(1);
		before += out2();
		after += !out2();
	}
	check_in("mode 3: half of the time high", before, 15, 45);

	set2(4, 12000);
	check_eq("mode 4: high while it counts", out2(), true);
	wait_ms(15);
	check_eq("mode 4: high after the strobe", out2(), true);
	check_in("mode 4: counts on", count2(), 0x8000, 0xffff);
	set_gate2(false);
	set2(5, 12000);
	set_gate2(true);
	check_in("mode 5: triggered by the gate", count2(), 1, 12000);
	check_eq("mode 5: high", out2(), true);
}

static void test_latches(void)
{
	unsigned first, second;

	set_gate2(true);
	set2(2, 0);
	wait_ms(1);
	outb(COMMAND, LATCH2);
	wait_ms(2);
	outb(COMMAND, LATCH2); /* ignored: the first is not read yet */
	first = read2();
	second = count2();
	check_in("latch holds", (uint16_t)(first - second), 1000, 60000);
	outb(COMMAND, READBACK2); /* both */
	check_eq("read-back: status first", inb(COUNTER2) & 0x3f, 0x34);
	first = read2();
	check_in("read-back: then the count", (uint16_t)(second - first), 0, 60000);
	outb(COMMAND, 0x90 | 2 << 1); /* low byte only */
	outb(COUNTER2, 100);
	check_eq("low byte only", status2() & 0x3f, 0x14);
	check_in("low byte only: count", inb(COUNTER2), 1, 100);
	outb(COMMAND, 0xb5); /* mode 2, BCD */
	outb(COUNTER2, 0x00);
	outb(COUNTER2, 0x10); /* 1000 */
	second = 0;
	for (unsigned i = 0; i < 100; i++) {
		first = count2();
		for (unsigned digit = 0; digit < 16; digit += 4)
			second |= (first >> digit & 0xf) > 9;
		second |= first > 0x1000;
	}
	check_eq("BCD", second, 0);
}

static void route(unsigned pin, uint32_t low)
{
	*(volatile uint32_t *)IOAPIC = 0x10 + 2 * pin;
	*(volatile uint32_t *)(IOAPIC + 0x10) = low;
}

/* Within so many percent. */
static void about(const char *name, uint64_t got, uint64_t want, unsigned percent)
{
	check_in(name, got, want - want * percent / 100, want + want * percent / 100);
}

/* All at one time: within 500 us, which a busy host may need some attempts for. */
struct sample {
	uint64_t hpet, tsc;
	uint32_t pm, apic;
	unsigned count;
};

static struct sample take(void)
{
	struct sample s;

	for (unsigned i = 0; i < 200; i++) {
		s.hpet = hpet();
		s.tsc = rdtsc();
		s.pm = inl(PM_TIMER);
		s.apic = apic_read(APIC_CURRENT);
		s.count = count2();
		if (hpet() - s.hpet < HPET_MS / 2)
			break;
	}
	return s;
}

static void test_clocks(void)
{
	struct sample a, b, c;
	uint64_t h, tsc_by_hpet;
	unsigned tries = 0;

	set_gate2(true);
	set2(2, 0);
	apic_write(APIC_DIVIDE, 0xb);
	apic_write(APIC_TIMER, MASKED);
	apic_write(APIC_INITIAL, 0xffffffff);
	do { /* the 8254 comes round each 55 ms */
		a = take();
		wait_ms(30);
		b = take();
	} while (b.hpet - a.hpet > 50UL * HPET_MS && ++tries < 20);
	about("8254 by the HPET", (a.count - b.count) & 0xffff,
	    (b.hpet - a.hpet) * 1193182 / 100000000, 5);
	wait_ms(200);
	c = take();
	h = c.hpet - a.hpet;
	about("PM timer by the HPET", (c.pm - a.pm) & 0xffffff, h * 3579545 / 100000000, 1);
	about("local APIC timer by the HPET", a.apic - c.apic, h * 10, 1);
	apic_write(APIC_INITIAL, 0);
	tsc_by_hpet = (c.tsc - a.tsc) * 1000 / h;
	wait_ms(200);
	b = take();
	about("TSC by the HPET, again", (b.tsc - c.tsc) * 1000 / (b.hpet - c.hpet), tsc_by_hpet, 1);
}

static void test_pit_interrupts(void)
{
	unsigned n;

	forget_irqs();
	outb(COMMAND, 0x34); /* counter 0, mode 2, 100 Hz */
	outb(COUNTER0, 11932 & 0xff);
	outb(COUNTER0, 11932 >> 8);
	route(2, VEC_PIT);
	sti();
	wait_ms(500);
	cli();
	n = irqs[0][VEC_PIT];
	check_in("8254 interrupts at 100 Hz in 500 ms", n, 10, 52);
	outb(COMMAND, 0x30); /* mode 0: once */
	forget_irqs();
	outb(COUNTER0, 0);
	outb(COUNTER0, 4);
	check("8254 interrupts in mode 0", wait_irqs(0, VEC_PIT, 1));
	wait_ms(5);
	let_irqs_in();
	check_eq("8254 interrupts in mode 0: once", irqs[0][VEC_PIT], 1);
	route(2, MASKED);
}

static uint8_t rtc_read(uint8_t reg)
{
	outb(0x70, reg);
	return inb(0x71);
}

static void rtc_write(uint8_t reg, uint8_t v)
{
	outb(0x70, reg);
	outb(0x71, v);
}

static void test_rtc(void)
{
	uint8_t b = rtc_read(RTC_B) & 0x07;
	uint64_t start;

	forget_irqs();
	rtc_write(RTC_A, 0x26); /* 1024 Hz */
	(void)rtc_read(RTC_C);
	route(8, VEC_RTC);
	rtc_write(RTC_B, b | PERIODIC);
	check("RTC: periodic", wait_irqs(0, VEC_RTC, 1));
	check_eq("RTC: flags", rtc_read(RTC_C) & 0xc0, 0xc0);
	wait_ms(5);
	let_irqs_in();
	rtc_write(RTC_B, b);
	(void)rtc_read(RTC_C);
	check_eq("RTC: reading ends it", rtc_read(RTC_C) & 0x80, 0);
	start = irqs[0][VEC_RTC];
	rtc_write(RTC_B, b | PERIODIC);
	wait_ms(5);
	let_irqs_in();
	check_eq("RTC: one until it is read", irqs[0][VEC_RTC], start + 1);
	rtc_write(RTC_B, b | UPDATE | ALARM);
	for (uint8_t reg = 1; reg <= 5; reg += 2)
		rtc_write(reg, 0xff); /* an alarm each second */
	(void)rtc_read(RTC_C);
	forget_irqs();
	start = hpet();
	while (!irqs[0][VEC_RTC] && hpet() - start < 3000UL * HPET_MS)
		let_irqs_in();
	check_eq("RTC: update and alarm", rtc_read(RTC_C) & 0xb0, 0xb0);
	rtc_write(RTC_B, b);
	route(8, MASKED);
}

void arch_main(void)
{
	apic_write(APIC_LINT0, MASKED);
	*(volatile uint64_t *)(HPET + HPET_CONFIG) = 1;
	test_modes();
	test_latches();
	test_clocks();
	test_pit_interrupts();
	test_rtc();
}
