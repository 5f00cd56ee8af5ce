/* SPDX-License-Identifier: BSD-2-Clause */
/* The CPUs: tables, traps from which they go on, the watch that they keep over each other. */
#include "torture.h"

enum {
	PM_TIMER = 0x608,
	PM_HZ = 3579545,
	KICK_AFTER = PM_HZ / 30,   /* an NMI for who does nothing */
	RESTART_AFTER = PM_HZ / 8, /* INIT for other CPUs than the first */
	DESPAIR_AFTER = PM_HZ * 4, /* which ends the machine */
	DEBUG_EXIT = 0xf4,
	STUCK = 0x57,
	WATCH_NS = 2000000,
	REST_MAX_MS = 2000,
	STORM = 100,  /* interrupts while one thing is done */
	LOW = 0x8e00, /* as guard.asm has it */
	LOW_CODE = 0x8000,
	REAL_CODE = 0x10000,
	IDT32 = 0x7000,
	CR0_BASE = 0x33,
	CR4_BASE = 0x620,
	MSR_APIC_BASE = 0x1b,
	MSR_PAT = 0x277
};
#define MSR_EFER  0xc0000080
#define CR0_PG_WP 0x80010000UL

struct cpu cpus[MAX_CPUS];
unsigned ncpus = 1, rest_us;
unsigned plain;

/* --- random numbers --- */

/* splitmix64: each CPU has a stream of its own. */
uint64_t rnd(struct cpu *c)
{
	uint64_t z = c->rng += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

uint64_t odd_value(struct cpu *c)
{
	static const uint64_t some[] = {0, 1, ~0UL, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
	    0x00007fffffffffff, 0x0000800000000000, 0xffff800000000000, 1UL << 63,
	    0xffffffff80000000};

	switch (below(c, 6)) {
	case 0:
		return some[below(c, sizeof(some) / 8)];
	case 1:
		return 1UL << below(c, 64);
	case 2:
		return below(c, 256);
	case 3:
		return (uint32_t)rnd(c);
	case 4:
		return place(c);
	default:
		return rnd(c);
	}
}

uint64_t play(struct cpu *c)
{
	unsigned whose = once_in(c, 8) ? below(c, ncpus) : c->index;
	uint64_t base = PLAY + (uint64_t)whose * PLAY_SIZE + 0x40000, at = below(c, 0x80000);

	if (once_in(c, 3))
		at = (at | (PAGE - 1)) - below(c, 8);
	return base + at;
}

uint64_t place(struct cpu *c)
{
	switch (below(c, 12)) {
	case 0:
	case 1:
	case 2:
		return play(c);
	case 3: /* nobody's, above RAM */
		return RAM_END + (rnd(c) & 0x7ffffff);
	case 4:
		return (4ULL << 30) + (rnd(c) & 0x7fffffff);
	case 5:
		return (64ULL << 30) - 1 - below(c, 1 << 20);
	case 6:
		return WINDOW + (rnd(c) & 0x3fffffff);
	case 7: /* the first page of it has a table of its own */
		return WINDOW + (rnd(c) & 0x1fffff);
	case 8: /* somewhere in the hole */
		return 0xb0000000 + rnd(c) % 0x4fffffff;
	default:
		return devices_place(c);
	}
}

uint64_t quiet_place(struct cpu *c)
{
	uint64_t at;

	do {
		at = place(c);
	} while (at >= 0xfec00000 && at < 0xff000000 && !once_in(c, 64));
	return at;
}

/* --- tables --- */

#define TABLE __attribute__((aligned(4096)))

static uint64_t gdt[GDT_SIZE / 8] TABLE;
/* with a bitmap: what ends the machine is not for programs */
enum { TSS_BYTES = 104, TSS_SIZE = TSS_BYTES + 8192 + 1 };
static uint8_t tss[MAX_CPUS][TSS_SIZE] TABLE, tss32[MAX_CPUS][TSS_SIZE] TABLE;
/* GiB 0 twice: all writable, and as programs see it; 3; one for all of nobody's */
static uint64_t pd_low[2][512] TABLE, pd_device[2][512] TABLE, pd_high[3][512] TABLE;
static uint64_t pml4[MAX_CPUS][2][512] TABLE, pdpt[MAX_CPUS][2][512] TABLE;
static uint64_t junk[MAX_CPUS][2][512] TABLE;

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80 };
#define NX (1UL << 63)

static uint64_t addr(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

/* Only RAM can be executed: a machine that executes device memory is stopped. */
static void map_gib(uint64_t pd[512], uint64_t base)
{
	for (unsigned i = 0; i < 512; i++) {
		pd[i] = (base + (uint64_t)i * LARGE) | P | W | U | A | D | PS;
		if (base + (uint64_t)i * LARGE >= RAM_END)
			pd[i] |= NX;
	}
}

static void build_paging(void)
{
	for (unsigned s = 0; s < 2; s++) {
		map_gib(pd_low[s], 0);
		for (unsigned i = 0; i < PLAY / LARGE; i++)
			pd_low[s][i] &= ~(uint64_t)(s && i != STACKS / LARGE ? U | W : U);
		map_gib(pd_device[s], (2 + s) * (1UL << 30));
	}
	for (unsigned i = 0; i < 2; i++)
		map_gib(pd_high[i], (4 + i) * (1UL << 30));
	map_gib(pd_high[2], 63UL << 30);
	for (unsigned n = 0; n < MAX_CPUS; n++) {
		for (unsigned s = 0; s < 2; s++) {
			uint64_t *t = pdpt[n][s];

			pml4[n][s][0] = addr(t) | P | W | U | A;
			t[0] = addr(pd_low[s]) | P | W | U | A;
			t[2] = addr(pd_device[0]) | P | W | U | A;
			t[3] = addr(pd_device[1]) | P | W | U | A;
			t[4] = addr(pd_high[0]) | P | W | U | A;
			t[5] = addr(pd_high[1]) | P | W | U | A;
			t[63] = addr(pd_high[2]) | P | W | U | A;
			t[WINDOW >> 30] = addr(junk[n][0]) | P | W | U | A;
		}
		junk[n][0][0] = addr(junk[n][1]) | P | W | U | A;
	}
}

uint64_t cpu_root(const struct cpu *c, bool sandbox)
{
	return addr(pml4[c->index][sandbox]);
}

uint64_t *cpu_junk(const struct cpu *c, unsigned level)
{
	return junk[c->index][level == 1];
}

static void build_bitmap(uint8_t *t)
{
	*(uint16_t *)(void *)(t + 102) = TSS_BYTES;
	for (unsigned port = 0; port < 0x10000; port++)
		if (port_ends((uint16_t)port, 1))
			t[TSS_BYTES + port / 8] |= (uint8_t)(1 << port % 8);
	t[TSS_SIZE - 1] = 0xff;
}

static void build_gdt(void)
{
	static const uint64_t fixed[] = {0, 0x00cf93000000ffff, 0x00af9b000000ffff,
	    0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff};

	for (unsigned i = 0; i < sizeof(fixed) / 8; i++)
		gdt[i] = fixed[i];
	/* of 16 bits: the first 64 KiB of the first CPU's memory */
	gdt[SEL_USER16 / 8] = 0xffff | (uint64_t)PLAY << 16 | 0xfbUL << 40;
	gdt[SEL_USER16_DATA / 8] = 0xffff | (uint64_t)PLAY << 16 | 0xf3UL << 40;
	/* no code beyond RAM; no data below PLAY, where the kernel is */
	gdt[SEL_TRIP_CODE / 8] =
	    0x00c0fb0000000000 | ((RAM_END - PLAY) / PAGE - 1) | (uint64_t)PLAY << 16;
	gdt[SEL_TRIP_DATA / 8] =
	    0x00cff30000000000 | ((0x100000 - PLAY / PAGE - 1) & 0xffff) | (uint64_t)PLAY << 16;
	gdt[SEL_USER32 / 8] = 0x00c0fb0000000000 | (RAM_END / PAGE - 1);
	gdt[SEL_CODE32 / 8] = 0x00cf9b000000ffff;
	gdt[SEL_CODE16 / 8] = 0x00009b000000ffff;
	for (unsigned n = 0; n < MAX_CPUS; n++) {
		uint64_t *ist = (uint64_t *)(void *)(tss[n] + 36);
		uint64_t top = STACKS + (uint64_t)(n + 1) * STACK_SIZE;

		/* the fourth quarter is its own stack; a vector without the error code that its
		 * stub expects leaves the frame 8 bytes higher */
		for (unsigned i = 0; i < 3; i++)
			__builtin_memcpy(
			    ist + i, &(uint64_t){top - (i + 1) * (STACK_SIZE / 4) - 64}, 8);
		__builtin_memcpy(tss[n] + 4, ist, 8);
		build_bitmap(tss[n]);
		build_bitmap(tss32[n]);
		gdt[SEL_TSS / 8 + 2 * n + 1] = 0;
		*(uint32_t *)(void *)(tss32[n] + 4) = 0x6000;
		*(uint32_t *)(void *)(tss32[n] + 8) = SEL_DATA;
	}
}

/* LTR makes it busy. */
static void free_tss(unsigned n)
{
	uint64_t a = addr(tss[n]), b = addr(tss32[n]);

	gdt[SEL_TSS / 8 + 2 * n] = (TSS_SIZE - 1) | a << 16 | 0x89UL << 40;
	gdt[SEL_TSS32 / 8 + n] = (TSS_SIZE - 1) | b << 16 | 0x89UL << 40;
}

struct table {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

static struct table idtr;

/* traps_init() has made the gates: each gets a stack, and some are for programs too. */
static void build_idt(void)
{
	uint8_t *gate;

	__asm__ volatile("sidt %0" : "=m"(idtr));
	gate = (uint8_t *)(uintptr_t)idtr.base;
	for (unsigned i = 0; i < 256; i++, gate += 16) {
		gate[4] = i == 2 ? 2 : i == 8 || i == 18 ? 3 : 1;
		if (i == 3 || i == 4 || i == 0x80)
			gate[5] |= 0x60;
	}
}

static void load_tables(struct cpu *c)
{
	struct table g = {sizeof(gdt) - 1, addr(gdt)};

	free_tss(c->index);
	__asm__ volatile("lgdt %0; lidt %1" : : "m"(g), "m"(idtr));
	__asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%ss" : : "r"(SEL_DATA));
	__asm__ volatile("mov %0, %%fs; mov %0, %%gs; lldt %w0" : : "r"(0));
	__asm__ volatile("ltr %w0" : : "r"(SEL_TSS + 16 * c->index));
}

void cpu_load(struct cpu *c)
{
	load_tables(c); /* first: an NMI may come */
	wrmsr(MSR_EFER, 0xd01);
	WRITE_REG(cr3, cpu_root(c, false));
	WRITE_REG(cr0, CR0_PG_WP | CR0_BASE);
	WRITE_REG(cr4, CR4_BASE);
}

/* --- local APIC --- */

void apic_write(struct cpu *c, unsigned reg, uint32_t value)
{
	if (c->x2apic)
		wrmsr(0x800 + reg, value);
	else
		*(volatile uint32_t *)(uintptr_t)(0xfee00000UL + reg * 16) = value;
}

static uint32_t apic_read(struct cpu *c, unsigned reg)
{
	if (c->x2apic)
		return (uint32_t)rdmsr(0x800 + reg);
	return *(volatile uint32_t *)(uintptr_t)(0xfee00000UL + reg * 16);
}

void apic_icr(struct cpu *c, uint32_t dest, uint32_t low)
{
	if (c->x2apic) {
		wrmsr(0x830, (uint64_t)dest << 32 | low);
	} else {
		apic_write(c, 0x31, dest << 24);
		apic_write(c, 0x30, low);
	}
}

/* It may be off, elsewhere, or in the other mode. */
static void find_apic(struct cpu *c)
{
	uint64_t base = rdmsr(MSR_APIC_BASE), want = 0xfee00800UL | (c->index ? 0 : 0x100);

	if ((base & ~0x400UL) != want) {
		if (base & 0x400)
			wrmsr(MSR_APIC_BASE, want & ~0x800UL);
		wrmsr(MSR_APIC_BASE, want);
		base = want;
	}
	c->x2apic = base & 0x400;
}

static void settle_apic(struct cpu *c)
{
	find_apic(c);
	apic_write(c, 0x0f, 0x100 | VEC_SPURIOUS);
	apic_write(c, 0x08, 0);
	for (unsigned i = 0; i < 16; i++)
		apic_write(c, 0x0b, 0);
	apic_write(c, 0x28, 0);
	apic_write(c, 0x3e, 0xb);
	apic_write(c, 0x32, VEC_WATCH | 1 << 17);
	apic_write(c, 0x38, WATCH_NS);
	apic_write(c, 0x35, 1 << 16);
	apic_write(c, 0x36, 4 << 8);
	(void)apic_read(c, 0x02);
}

void cpu_settle(struct cpu *c)
{
	WRITE_REG(dr7, 0x400);
	WRITE_REG(dr6, 0xffff0ff0);
	WRITE_REG(cr8, 0);
	wrmsr(MSR_EFER, 0xd01);
	wrmsr(MSR_PAT, 0x0007040600070406);
	settle_apic(c);
}

/* --- traps --- */

static void abandon(struct cpu *c, struct trap_frame *f)
{
	f->rip = addr(guard_resume);
	f->rsp = c->resume_rsp;
	f->cs = SEL_CODE;
	f->ss = SEL_DATA;
	f->rflags = 2;
	c->armed = false;
	c->given_up++;
}

/* An exception where none can be: the kernel has been hurt, and begins again. */
static void begin_again(struct cpu *c, struct trap_frame *f)
{
	if (c->wild++ < 4)
		print("torture: cpu %u: trap %lu error 0x%lx rip 0x%lx cr2 0x%lx\n", c->index,
		    f->vector, f->error, f->rip, READ_REG(cr2));
	f->rip = addr(cpu_main);
	f->rdi = addr(c);
	f->rsp = STACKS + (uint64_t)(c->index + 1) * STACK_SIZE - 64 - 8;
	f->cs = SEL_CODE;
	f->ss = SEL_DATA;
	f->rflags = 2;
}

/* What was interrupted may be a program, which is not to write the kernel. */
static void go_on(struct cpu *c, uint64_t cr3)
{
	if (cr3 == cpu_root(c, true))
		WRITE_REG(cr3, cr3);
}

static void on_trap(struct trap_frame *f)
{
	unsigned n = (unsigned)(((uintptr_t)f - STACKS) / STACK_SIZE);
	struct cpu *c = &cpus[n < MAX_CPUS ? n : 0];
	struct table g = {sizeof(gdt) - 1, addr(gdt)};
	uint64_t cr3 = READ_REG(cr3);

	WRITE_REG(cr3, cpu_root(c, false));
	WRITE_REG(cr0, CR0_PG_WP | CR0_BASE);
	WRITE_REG(cr4, CR4_BASE);
	WRITE_REG(dr7, 0x400);
	__asm__ volatile("lgdt %0; lidt %1" : : "m"(g), "m"(idtr));
	if (f->vector >= 32 || f->vector == 2) {
		c->interrupts++;
		if (f->vector == VEC_WATCH || f->vector == 2)
			c->ticks++;
		if (++c->storm > STORM) { /* nothing else is done any more */
			c->storm = 0;
			devices_quiet();
			settle_apic(c);
		}
		if (f->vector != 2 && f->vector != VEC_SPURIOUS) {
			find_apic(c);
			apic_write(c, 0x0b, 0);
		}
		if (!c->armed || c->ticks < c->budget) {
			go_on(c, cr3);
			return;
		}
	} else {
		c->traps++;
		if (f->vector == 1 && c->steps) {
			c->steps--;
			go_on(c, cr3);
			return;
		}
	}
	if (c->armed)
		abandon(c, f);
	else if (f->vector < 32 && f->vector != 2)
		begin_again(c, f);
}

void guarded(struct cpu *c, void (*fn)(struct cpu *c), unsigned budget)
{
	c->ticks = c->storm = c->steps = 0;
	c->budget = budget;
	c->armed = true;
	guard_call(c, fn);
	c->armed = false;
	__asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(SEL_DATA));
	__asm__ volatile("mov %0, %%fs; mov %0, %%gs" : : "r"(0));
	__asm__ volatile("cld; sti");
}

/* --- starting and watching each other --- */

uint32_t pm_timer(void)
{
	return inl(PM_TIMER) & 0xffffff;
}

/* What the code below 1 MiB is told; programs there may have changed it. */
static void prepare_low(struct cpu *c, unsigned other, enum trip trip)
{
	extern const uint8_t trampoline_real_trap[], trampoline_protected_trap[];
	uint32_t real = (uint32_t)(LOW_CODE + (trampoline_real_trap - trampoline));
	uint32_t protect = (uint32_t)(LOW_CODE + (trampoline_protected_trap - trampoline));
	volatile uint32_t *low = (volatile uint32_t *)LOW, *ivt = (volatile uint32_t *)0;
	volatile uint32_t *idt = (volatile uint32_t *)IDT32;

	__asm__("" : "+r"(ivt));
	for (unsigned i = 0; i < (unsigned)(trampoline_end - trampoline); i++)
		((volatile uint8_t *)LOW_CODE)[i] = trampoline[i];
	for (unsigned i = 0; i < 256; i++) {
		ivt[i] = real;
		idt[2 * i] = (uint32_t)SEL_CODE32 << 16 | (protect & 0xffff);
		idt[2 * i + 1] = (protect & 0xffff0000) | (i < 16 ? 0xee00 : 0x8e00);
	}
	low[0] = trip;
	low[1] = (uint32_t)cpu_root(&cpus[other], false);
	low[4] = (sizeof(gdt) - 1) | (uint32_t)(addr(gdt) << 16);
	low[5] = (uint32_t)(addr(gdt) >> 16);
	low[6] = 0x7ff | (uint32_t)IDT32 << 16;
	low[7] = 0;
	low[8] = SEL_TSS32;
	low[32] = 0xfff | (uint32_t)(idtr.base << 16);
	low[33] = (uint32_t)(idtr.base >> 16);
	for (unsigned i = 0; i < 8; i++)
		low[10 + i] = (uint32_t)odd_value(c);
	/* IRETD's: a program of 32 bits in its own memory, or one of 16 below 1 MiB */
	low[18] = trip == TRIP_V86 ? 0 : other * PLAY_SIZE;
	low[19] = trip == TRIP_V86 ? REAL_CODE >> 4 : SEL_TRIP_CODE;
	low[20] = 2 | (trip == TRIP_V86 && once_in(c, 2) ? 0x3000 : 0) |
		  (trip == TRIP_V86 ? 1 << 17 : 0) | (once_in(c, 2) ? 1 << 9 : 0);
	low[21] = trip == TRIP_V86 ? 0xfff0 : (uint32_t)play(c) - PLAY;
	low[22] = trip == TRIP_V86 ? 0x2000 : SEL_TRIP_DATA;
	for (unsigned i = 23; i < 27; i++)
		low[i] =
		    trip == TRIP_V86 ? below(c, 2) ? 0x3000 : below(c, 0x10000) : SEL_TRIP_DATA;
	low[30] = (uint32_t)REAL_CODE << 12 | (once_in(c, 8) ? 0xfffe : 0);
	if (trip == TRIP_LONG)
		return;
	for (unsigned i = 0; i < 0x1000; i += 8)
		*(volatile uint64_t *)(uintptr_t)(REAL_CODE + i) = rnd(c);
	for (unsigned i = 0; i < 64; i += 8)
		*(volatile uint64_t *)(uintptr_t)(PLAY + other * PLAY_SIZE + i) = rnd(c);
}

static void ap_entry(uint64_t index)
{
	struct cpu *c = &cpus[index < MAX_CPUS ? index : 1];

	c->starts++;
	cpu_load(c);
	cpu_main(c);
}

void cpu_restart(struct cpu *c, unsigned other, enum trip trip)
{
	uint32_t start = pm_timer();

	free_tss(other);
	apic_icr(c, other, 0x4500);
	prepare_low(c, other, trip);
	*(volatile uint64_t *)(LOW + 8) = addr(ap_entry);
	while (((pm_timer() - start) & 0xffffff) < 36)
		; /* 10 us */
	apic_icr(c, other, 0x4600 | LOW_CODE >> 12);
}

void cpu_start_others(void)
{
	find_apic(&cpus[0]);
	for (unsigned i = 1; i < ncpus; i++) {
		uint32_t start = pm_timer();

		cpu_restart(&cpus[0], i, TRIP_LONG);
		while (!cpus[i].starts && ((pm_timer() - start) & 0xffffff) < PM_HZ)
			__asm__ volatile("pause");
		print("torture: cpu %u %s\n", i, cpus[i].starts ? "is here" : "DOES NOT COME");
	}
}

/* Who has done nothing for a while is woken, then begun anew. */
static void watch(struct cpu *c)
{
	uint32_t now = pm_timer();

	for (unsigned i = 0; i < ncpus; i++) {
		uint64_t beats = cpus[i].beats;
		uint32_t since = (now - c->seen_at[i]) & 0xffffff;
		uint32_t patience = cpus[i].resting ? REST_MAX_MS * (PM_HZ / 1000) : 0;

		if (i == c->index)
			continue;
		if (beats != c->seen[i] || !c->seen_at[i]) {
			c->seen[i] = beats;
			c->seen_at[i] = now ? now : 1;
		} else if (since > DESPAIR_AFTER && i == 0) {
			print("torture: cpu 0 is stuck\n");
			outb(DEBUG_EXIT, STUCK);
		} else if (since > RESTART_AFTER + patience && i) {
			c->kicks++;
			cpu_restart(c, i, TRIP_LONG);
			c->seen_at[i] = now ? now : 1;
		} else if (since > KICK_AFTER + patience) {
			c->kicks++;
			apic_icr(c, i, 0x4400);
		}
	}
}

/* --- what a CPU does all day --- */

static const struct action *pick(struct cpu *c)
{
	static const struct {
		const struct action *list;
		const unsigned *count;
	} lists[] = {{cpu_actions, &cpu_actions_count}, {device_actions, &device_actions_count},
	    {code_actions, &code_actions_count}};
	unsigned total = 0, n;

	for (unsigned l = 0; l < 3; l++)
		for (unsigned i = 0; i < *lists[l].count; i++)
			total += lists[l].list[i].weight;
	n = below(c, total);
	for (unsigned l = 0;; l++) {
		for (unsigned i = 0; i < *lists[l].count; i++) {
			if (n < lists[l].list[i].weight)
				return &lists[l].list[i];
			n -= lists[l].list[i].weight;
		}
	}
}

/* A timer of a real machine's kind, of which there is one a CPU: the watchdog's stands still. */
static void rest(struct cpu *c)
{
	c->resting = true;
	__asm__ volatile("cli"); /* it must not come before the HLT */
	apic_write(c, 0x32, VEC_WATCH);
	apic_write(c, 0x38, 1000 + below(c, 2 * rest_us) * 1000);
	__asm__ volatile("sti; hlt");
}

static const char *const class_names[CLASSES] = {"port", "string", "mmio", "msr", "cpuid", "call",
    "regs", "code", "paging", "ipi", "trip", "apic", "time", "pci", "queue", "fw-cfg", "chip",
    "rest"};

static void heartbeat(struct cpu *c)
{
	static uint32_t last;
	static unsigned count;
	uint64_t sum[7] = {0};

	if (c->index || ((pm_timer() - last) & 0xffffff) < PM_HZ)
		return;
	last = pm_timer();
	for (unsigned i = 0; i < ncpus; i++) {
		const struct cpu *o = &cpus[i];

		sum[0] += o->traps;
		sum[1] += o->interrupts;
		sum[2] += o->given_up;
		sum[3] += o->wild;
		sum[4] += o->starts;
		sum[5] += o->kicks;
	}
	print("\ntorture: beat %u", ++count);
	for (unsigned k = 0; k < CLASSES; k++) {
		uint64_t n = 0;

		for (unsigned i = 0; i < ncpus; i++)
			n += cpus[i].done[k];
		print(" %s %lu", class_names[k], n);
	}
	print(" traps %lu interrupts %lu given-up %lu wild %lu starts %lu kicks %lu end\n", sum[0],
	    sum[1], sum[2], sum[3], sum[4], sum[5]);
}

void cpu_main(struct cpu *c)
{
	c->armed = c->resting = false;
	for (;;) {
		guarded(c, cpu_settle, 2);
		if (c->index == 0) {
			guarded(c, devices_settle, 4);
			guarded(c, heartbeat, 1000);
		}
		guarded(c, watch, 4);
		for (unsigned i = 0; i < 24; i++) {
			const struct action *a = pick(c);

			c->beats++;
			c->done[a->class]++;
			guarded(c, a->fn, 2);
		}
		guarded(c, cpu_settle, 2);
		c->done[DO_REST]++;
		guarded(c, rest, 1000);
		c->resting = false;
		c->beats++;
	}
}

void cpus_init(void)
{
	for (unsigned i = 0; i < 256; i++)
		trap_handler[i] = on_trap;
	build_paging();
	build_gdt();
	build_idt();
	for (unsigned i = 0; i < MAX_CPUS; i++)
		cpus[i].index = i;
	cpu_load(&cpus[0]);
}
