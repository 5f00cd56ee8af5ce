/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Measures exits from inside a guest. Under -icount the TSC counts instructions,
 * so a difference is what one iteration costs, the guest's and the hypervisor's
 * side together. Prints "bench NAME MEDIAN" lines, then "bench done".
 *
 * With the command line "loop" it does all of the operations in turn for ever,
 * for tests/qemu/profile.
 */
#include "guest.h"

enum {
	ROUNDS = 101,
	PM_TIMER = 0x608,
	UART_LSR = 0x3fd,
	PIT_COUNTER0 = 0x40,
	PIT_CONTROL = 0x43, /* 0: latch counter 0 */
	VECTOR = 0x60,
	CMD_LINE_PTR = 0x228,
	MSR_APIC_BASE = 0x1b,
	APIC_BASE_EN = 1 << 11,
	APIC_BASE_EXTD = 1 << 10,
	X2_EOI = 0x80b,
	X2_SELF_IPI = 0x83f,
	X2_LVT_TIMER = 0x832,
	TSC_DEADLINE = 0x6e0
};

#define XAPIC  ((volatile uint32_t *)0xfee00000UL)
#define IOAPIC ((volatile uint32_t *)0xfec00000UL)

#define HPET_COUNTER ((volatile uint64_t *)0xfed000f0UL)

static volatile unsigned taken;
static volatile uint64_t taken_at;

static void on_interrupt(struct trap_frame *f)
{
	(void)f;
	taken_at = rdtsc();
	taken++;
	wrmsr(X2_EOI, 0);
}

static void op_nothing(void)
{
}
static void op_cpuid(void)
{
	uint32_t r[4];

	cpuid(0, 0, r);
}
static void op_hypercall(void)
{
	uint64_t rax = 12345;

	__asm__ volatile("vmmcall" : "+a"(rax) : : "memory");
}
static void op_pm_timer(void)
{
	inl(PM_TIMER);
}
static void op_uart(void)
{
	inb(UART_LSR);
}
static void op_xapic_read(void)
{
	(void)XAPIC[0x80 / 4];
}
static void op_xapic_write(void)
{
	XAPIC[0x80 / 4] = 0;
}
static void op_ioapic(void)
{
	(void)IOAPIC[0x10 / 4];
}
static void op_x2apic_write(void)
{
	wrmsr(0x808, 0);
}
static void op_x2apic_read(void)
{
	rdmsr(0x808);
}
static void op_cr0(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr0, %0; btc $16, %0; mov %0, %%cr0; btc $16, %0; mov %0, %%cr0"
			 : "=&r"(v));
}
static void op_cr4(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr4, %0; btc $7, %0; mov %0, %%cr4; btc $7, %0; mov %0, %%cr4"
			 : "=&r"(v));
}
/* Latch, low byte, high byte. */
static void op_pit(void)
{
	outb(PIT_CONTROL, 0);
	inb(PIT_COUNTER0);
	inb(PIT_COUNTER0);
}
static void op_hpet(void)
{
	(void)*HPET_COUNTER;
}
static void op_self_ipi(void)
{
	unsigned before = taken;

	wrmsr(X2_SELF_IPI, VECTOR);
	while (taken == before)
		;
}
static void op_self_ipi_hlt(void)
{
	unsigned before = taken;

	__asm__ volatile("cli");
	wrmsr(X2_SELF_IPI, VECTOR);
	while (taken == before)
		__asm__ volatile("sti; hlt; cli");
	__asm__ volatile("sti");
}
static void op_deadline(void)
{
	unsigned before = taken;

	wrmsr(TSC_DEADLINE, rdtsc() + 1);
	while (taken == before)
		;
}

static const struct {
	const char *name;
	void (*op)(void);
	bool x2apic;
} ops[] = {
    {"nothing", op_nothing, false},
    {"cpuid", op_cpuid, false},
    {"hypercall", op_hypercall, false},
    {"pio", op_pm_timer, false},
    {"uart", op_uart, false},
    {"lapic_read", op_xapic_read, false},
    {"lapic_write", op_xapic_write, false},
    {"mmio", op_ioapic, false},
    {"pit", op_pit, false},
    {"hpet", op_hpet, false},
    {"cr0_wp_twice", op_cr0, false},
    {"cr4_pge_twice", op_cr4, false},
    {"x2apic_read", op_x2apic_read, true},
    {"x2apic_write", op_x2apic_write, true},
    {"ipi", op_self_ipi, true},
    {"hlt_wake", op_self_ipi_hlt, true},
    {"deadline", op_deadline, true},
};

static uint64_t median(uint64_t *t, unsigned n)
{
	for (unsigned i = 1; i < n; i++)
		for (unsigned j = i; j > 0 && t[j - 1] > t[j]; j--) {
			uint64_t x = t[j];

			t[j] = t[j - 1];
			t[j - 1] = x;
		}
	return t[n / 2];
}

static void enter_x2apic(void)
{
	x2apic_init();
	wrmsr(X2_LVT_TIMER, VECTOR | 2 << 17);
	__asm__ volatile("sti");
}

/* There is no way back but through disabling it (SDM volume 3, figure 11-27). */
static void enter_xapic(void)
{
	uint64_t base = rdmsr(MSR_APIC_BASE) & ~(uint64_t)(APIC_BASE_EN | APIC_BASE_EXTD);

	__asm__ volatile("cli");
	wrmsr(MSR_APIC_BASE, base);
	wrmsr(MSR_APIC_BASE, base | APIC_BASE_EN);
	XAPIC[0xf0 / 4] = 0x1ff;
}

static void loop(void)
{
	print("bench loops\n");
	for (;;) {
		enter_xapic();
		for (unsigned k = 0; k < sizeof(ops) / sizeof(ops[0]); k++) {
			if (ops[k].x2apic && !ops[k - 1].x2apic)
				enter_x2apic();
			for (unsigned i = 0; i < 3; i++)
				ops[k].op();
		}
	}
}

void guest_main(const uint8_t *params)
{
	static uint64_t t[ROUNDS];
	const char *cmdline = (const char *)(uintptr_t) * (const uint32_t *)(params + CMD_LINE_PTR);
	bool x2 = false;
	uint64_t base = 0;

	traps_init();
	trap_handler[VECTOR] = on_interrupt;
	if (cmdline && cmdline[0] == 'l')
		loop();
	XAPIC[0xf0 / 4] = 0x1ff;
	for (unsigned k = 0; k < sizeof(ops) / sizeof(ops[0]); k++) {
		uint64_t m;

		if (ops[k].x2apic && !x2) {
			enter_x2apic();
			x2 = true;
		}
		for (unsigned i = 0; i < ROUNDS; i++) {
			uint64_t start = rdtsc();

			ops[k].op();
			t[i] = rdtsc() - start;
		}
		m = median(t, ROUNDS);
		if (k == 0)
			base = m;
		print("bench %s %lu\n", ops[k].name, m - base);
	}
	print("bench done\n");
	poweroff();
}
