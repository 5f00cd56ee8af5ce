/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC: registers in memory (xAPIC) or as MSRs (x2APIC), and the one-shot timer. */
#include "hv/arch/x86/lapic.h"
#include "hv/arch/x86/acpi.h"
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/io.h"
#include "hv/arch/x86/irq.h"
#include "hv/arch/x86/tsc.h"
#include "hv/lib/log.h"
#include "hv/lib/spinlock.h"
#include "hv/mm/mm.h"

/* Register fields (SDM volume 3, 11.5.1 and 11.6.1). */
enum {
	SVR_ENABLE = 1 << 8,
	LVT_NMI = 4 << 8,
	LVT_MASKED = 1 << 16,
	LVT_TIMER_ONE_SHOT = 0 << 17,
	LVT_TIMER_PERIODIC = 1 << 17,
	LVT_TIMER_TSC_DEADLINE = 2 << 17,
	ICR_PENDING = 1 << 12,
	ICR_ASSERT = 1 << 14,
	ICR_SELF = 1 << 18,
	ICR_OTHERS = 3 << 18,
	TIMER_DIVIDE_BY_1 = 0xb,
	ISR_WORDS = 8,
};
/* Further ahead than the counter reaches: the interrupt then finds nothing due and arms again. */
#define ARM_LIMIT 1000000000000ULL
/*
 * QEMU's SVM may forget an interrupt (svm_qemu_remember_irqs()). There the timer is periodic: it
 * comes again after as long, and at least twenty times a second, with which whatever else was
 * forgotten is remembered. No shorter than REPEAT_LEAST: nobody could keep up with it.
 */
#define REPEAT	       50000000ULL
#define REPEAT_LEAST   5000ULL
#define APIC_BASE_ADDR 0x000ffffffffff000ULL

static bool x2;
static volatile uint8_t *regs;
static void (*timer_fn)(void);
static uint64_t timer_mult; /* timer ticks per ns, 32 fractional bits; unused with TSC deadline */

uint32_t lapic_read(enum lapic_reg reg)
{
	if (x2)
		return (uint32_t)rdmsr(MSR_X2APIC_FIRST + reg / 16);
	return mmio_read32(regs + reg);
}

static void lapic_write(enum lapic_reg reg, uint32_t v)
{
	if (x2)
		wrmsr(MSR_X2APIC_FIRST + reg / 16, v);
	else
		mmio_write32(regs + reg, v);
}

static bool repeats(void)
{
	return host_cpu.tcg && host_cpu.svm && !host_cpu.tsc_deadline;
}

static uint32_t timer_mode(void)
{
	return repeats() ? LVT_TIMER_PERIODIC : LVT_TIMER_ONE_SHOT;
}

uint32_t lapic_id(void)
{
	uint32_t id = lapic_read(LAPIC_ID);

	return x2 ? id : id >> 24;
}

void lapic_eoi(void)
{
	lapic_write(LAPIC_EOI, 0);
}

static void icr_wait(void)
{
	while (lapic_read(LAPIC_ICR) & ICR_PENDING)
		cpu_pause();
}

static void icr_write(uint32_t apic_id, uint32_t command)
{
	uint64_t flags;

	if (x2) {
		/* The MSR write is not serializing: what the receiver is to see, goes first. */
		__asm__ volatile("mfence; lfence" : : : "memory");
		wrmsr(MSR_X2APIC_ICR, (uint64_t)apic_id << 32 | command);
		return;
	}
	flags = irq_save();
	lapic_write(LAPIC_ICR_HIGH, apic_id << 24);
	lapic_write(LAPIC_ICR, command);
	icr_wait();
	irq_restore(flags);
}

void lapic_send(uint32_t apic_id, uint32_t command)
{
	icr_write(apic_id, command | ICR_ASSERT);
}

void lapic_send_others(uint32_t command)
{
	icr_write(0, command | ICR_ASSERT | ICR_OTHERS);
}

void lapic_send_self_from_nmi(uint8_t vector)
{
	/* With the shorthand the high half is not looked at: what was interrupted loses nothing. */
	if (x2) {
		wrmsr(MSR_X2APIC_ICR, vector | ICR_ASSERT | ICR_SELF);
		return;
	}
	icr_wait();
	lapic_write(LAPIC_ICR, vector | ICR_ASSERT | ICR_SELF);
	icr_wait();
}

static void on_error(void *arg)
{
	uint32_t esr;

	lapic_write(LAPIC_ESR, 0);
	esr = lapic_read(LAPIC_ESR);
	log_warn("local APIC error on CPU %u: ESR 0x%x", cpu_id(), esr);
}

static void on_timer(void *arg)
{
	if (repeats())
		lapic_timer_arm(UINT64_MAX); /* at the rate of no timer, unless there is one */
	if (timer_fn)
		timer_fn();
}

void lapic_init(void)
{
	uint64_t base = rdmsr(MSR_APIC_BASE);

	x2 = host_cpu.x2apic;
	if (!x2) {
		regs = map_device(hpa(base & APIC_BASE_ADDR), PAGE_SIZE, MAP_UNCACHED);
		if (!regs)
			panic("local APIC: cannot map its registers");
	}
	irq_vector_set(IRQ_VECTOR_TIMER, on_timer, NULL, "timer");
	irq_vector_set(IRQ_VECTOR_KICK, NULL, NULL, "kick");
	irq_vector_set(IRQ_VECTOR_ERROR, on_error, NULL, "local APIC error");
}

/* Interrupts that the firmware left in service would block all others of their class. */
static void clear_in_service(void)
{
	for (unsigned n = 0; n < 256; n++) {
		uint32_t any = 0;

		for (unsigned i = 0; i < ISR_WORDS; i++)
			any |= lapic_read(LAPIC_ISR + i * 0x10);
		if (!any)
			return;
		lapic_eoi();
	}
}

void lapic_init_cpu(void)
{
	uint64_t base = rdmsr(MSR_APIC_BASE);
	int nmi_lint = acpi_nmi_lint();

	/* x2 mode cannot be entered but from xAPIC mode (SDM volume 3, 11.12.5). */
	wrmsr(MSR_APIC_BASE, base | APIC_BASE_EN);
	if (x2)
		wrmsr(MSR_APIC_BASE, base | APIC_BASE_EN | APIC_BASE_EXTD);
	lapic_write(LAPIC_SVR, SVR_ENABLE | IRQ_VECTOR_SPURIOUS);
	lapic_write(LAPIC_TPR, 0);
	lapic_write(LAPIC_LVT_TIMER, LVT_MASKED | IRQ_VECTOR_TIMER);
	lapic_write(LAPIC_TIMER_INITIAL, 0);
	lapic_write(LAPIC_LVT_PERF, LVT_MASKED);
	lapic_write(LAPIC_LVT_LINT0, nmi_lint == 0 ? LVT_NMI : LVT_MASKED);
	lapic_write(LAPIC_LVT_LINT1, nmi_lint == 1 ? LVT_NMI : LVT_MASKED);
	lapic_write(LAPIC_ESR, 0);
	lapic_write(LAPIC_LVT_ERROR, IRQ_VECTOR_ERROR);
	clear_in_service();
	this_cpu()->apic_id = lapic_id();

	lapic_write(LAPIC_TIMER_DIVIDE, TIMER_DIVIDE_BY_1);
	if (host_cpu.tsc_deadline) {
		lapic_write(LAPIC_LVT_TIMER, LVT_TIMER_TSC_DEADLINE | IRQ_VECTOR_TIMER);
		/* Orders the mode change before the first deadline (SDM volume 3, 11.5.4.1). */
		__asm__ volatile("mfence" : : : "memory");
	} else {
		lapic_write(LAPIC_LVT_TIMER, timer_mode() | IRQ_VECTOR_TIMER);
	}
}

/* Ticks per ns (32 fractional bits) over some 5 ms. */
static uint64_t measure_timer(void)
{
	uint64_t flags = irq_save(), start, elapsed;
	uint32_t ticks;

	lapic_write(LAPIC_LVT_TIMER, LVT_MASKED | IRQ_VECTOR_TIMER);
	lapic_write(LAPIC_TIMER_INITIAL, UINT32_MAX);
	start = tsc_to_ns(tsc_now());
	delay_ns(5000000);
	ticks = UINT32_MAX - lapic_read(LAPIC_TIMER_CURRENT);
	elapsed = tsc_to_ns(tsc_now()) - start;
	lapic_write(LAPIC_TIMER_INITIAL, 0);
	lapic_write(LAPIC_LVT_TIMER, timer_mode() | IRQ_VECTOR_TIMER);
	irq_restore(flags);
	return ((uint64_t)ticks << 32) / elapsed;
}

void lapic_timer_calibrate(void)
{
	uint64_t a, b, c;

	if (host_cpu.tsc_deadline) {
		log_info("timer: TSC deadline");
		return;
	}
	a = measure_timer();
	b = measure_timer();
	c = measure_timer();
	timer_mult = MAX(MIN(a, b), MIN(MAX(a, b), c)); /* the median */
	if (!timer_mult)
		panic("local APIC: its timer does not count");
	log_info("timer: local APIC, %lu kHz", (timer_mult * 1000000) >> 32);
}

void lapic_timer_handler(void (*fn)(void))
{
	timer_fn = fn;
}

void lapic_timer_arm(uint64_t deadline)
{
	uint64_t now, ns, ticks;

	if (host_cpu.tsc_deadline) {
		uint64_t tsc = ns_to_tsc(deadline) - (uint64_t)this_cpu()->tsc_offset;

		wrmsr(MSR_TSC_DEADLINE, tsc ? tsc : 1); /* 0 would disarm */
		return;
	}
	now = tsc_to_ns(tsc_now());
	ns = deadline > now ? MIN(deadline - now, ARM_LIMIT) : 0;
	if (repeats())
		ns = MAX(MIN(ns, REPEAT), REPEAT_LEAST);
	ticks = (uint64_t)(((unsigned __int128)ns * timer_mult) >> 32) + 1;
	lapic_write(LAPIC_TIMER_INITIAL, (uint32_t)MIN(ticks, (uint64_t)UINT32_MAX));
}

void lapic_timer_stop(void)
{
	if (host_cpu.tsc_deadline)
		wrmsr(MSR_TSC_DEADLINE, 0);
	else
		lapic_write(LAPIC_TIMER_INITIAL, 0);
}
