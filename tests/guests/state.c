/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that knows what is in its CPU: fills every register and MSR with values made
 * of its command line's number, gets interrupts pending and in service, NMIs blocked
 * with one pending, a timer running, another CPU that waits for its SIPI; says "ready"
 * and spins on the serial line. Whatever was done to it meanwhile, after a byte it
 * compares all, prints "ok NAME" or "BAD NAME want got", and "state: N ok, N bad".
 * Then, once more, from HLT: "halted", a byte, and "woken: N ok, N bad".
 */
#include "guest.h"

enum {
	CMD_LINE_PTR = 0x228,
	COM1 = 0x3f8,
	COM1_IER = 0x3f9,
	VEC_TIMER = 0x48, /* below the TPR */
	VEC_LOW = 0x50,
	VEC_SERIAL = 0x58,
	VEC_OUTER = 0x60, /* in service while all is compared */
	VEC_HIGH = 0x70,
	NMI = 2,
	TPR = 0x40,
	X2_TPR = 0x808,
	X2_EOI = 0x80b,
	X2_ICR = 0x830,
	X2_SELF_IPI = 0x83f,
	X2_LVT_TIMER = 0x832,
	X2_TIMER_INITIAL = 0x838,
	X2_TIMER_DIVIDE = 0x83e,
	ICR_NMI = 4 << 8,
	ICR_STARTUP = 6 << 8,
	PERIODIC = 1 << 17,
	AP_CODE = 0x8000,
	AP_MARK = 0x8ff0
};

/* --- values and verdicts ---------------------------------------------------------------- */

static uint64_t number; /* of the command line: two guests have nothing in common */
static unsigned oks, bads;

/* The n-th of this guest's values. */
static uint64_t value(unsigned n)
{
	uint64_t v = (number + 1) * 0x9e3779b97f4a7c15 + n * 0xbf58476d1ce4e5b9;

	v ^= v >> 30;
	v *= 0x94d049bb133111eb;
	return v ^ v >> 27;
}

static uint64_t canonical(uint64_t v)
{
	return (uint64_t)((int64_t)(v << 17) >> 17);
}

static void verdict(const char *name, unsigned index, uint64_t want, uint64_t got)
{
	bool same = want == got;

	oks += same;
	bads += !same;
	if (same)
		print("ok %s %x\n", name, index);
	else
		print("BAD %s %x want 0x%lx got 0x%lx\n", name, index, want, got);
}

static void total(const char *what)
{
	print("%s: %u ok, %u bad\n", what, oks, bads);
	oks = bads = 0;
}

/* --- general registers: the spin ----------------------------------------------------------- */

/* In the order of the code below; RSP stays. */
struct regs {
	uint64_t rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, flags;
};
enum {
	REGS = sizeof(struct regs) / 8,
	DF = 1 << 10,
	AC = 1 << 18,
	ID = 1 << 21,
	KEPT_FLAGS = DF | AC | ID | 1 << 9
};

/*
 * Loads all of *load, says "ready", waits for a byte on the line, stores all to *store.
 * Nothing is touched while it waits but AL, DX and the arithmetic flags.
 */
void spin(const struct regs *load, struct regs *store);
__asm__("spin:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	push %rsi\n"
	"	pushq 120(%rdi); popfq\n"
	"	mov (%rdi), %rax; mov 8(%rdi), %rcx; mov 16(%rdi), %rdx; mov 24(%rdi), %rbx\n"
	"	mov 32(%rdi), %rbp; mov 40(%rdi), %rsi; mov 56(%rdi), %r8; mov 64(%rdi), %r9\n"
	"	mov 72(%rdi), %r10; mov 80(%rdi), %r11; mov 88(%rdi), %r12; mov 96(%rdi), %r13\n"
	"	mov 104(%rdi), %r14; mov 112(%rdi), %r15; mov 48(%rdi), %rdi\n"
	"	mov $0x3f8, %dx\n"
	"	mov $'r', %al; out %al, %dx; mov $'e', %al; out %al, %dx\n"
	"	mov $'a', %al; out %al, %dx; mov $'d', %al; out %al, %dx\n"
	"	mov $'y', %al; out %al, %dx; mov $13, %al; out %al, %dx\n"
	"	mov $10, %al; out %al, %dx\n"
	"	mov $0x3fd, %dx\n"
	"1:	in %dx, %al\n"
	"	test $1, %al\n"
	"	jz 1b\n"
	"	mov $0x3f8, %dx\n"
	"	in %dx, %al\n"
	"	push %rdi; mov 8(%rsp), %rdi\n"
	"	mov %rax, (%rdi); mov %rcx, 8(%rdi); mov %rdx, 16(%rdi); mov %rbx, 24(%rdi)\n"
	"	mov %rbp, 32(%rdi); mov %rsi, 40(%rdi); mov %r8, 56(%rdi); mov %r9, 64(%rdi)\n"
	"	mov %r10, 72(%rdi); mov %r11, 80(%rdi); mov %r12, 88(%rdi); mov %r13, 96(%rdi)\n"
	"	mov %r14, 104(%rdi); mov %r15, 112(%rdi)\n"
	"	popq 48(%rdi); pushfq; popq 120(%rdi)\n"
	"	pop %rsi\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	pushq $2; popfq\n"
	"	ret\n");

static void compare_regs(const struct regs *want, const struct regs *got)
{
	const uint64_t *w = &want->rax, *g = &got->rax;

	verdict("rax", 0, w[0] >> 8, g[0] >> 8);
	verdict("rcx", 0, w[1], g[1]);
	verdict("rdx", 0, w[2] >> 16, g[2] >> 16);
	for (unsigned i = 3; i < REGS - 1; i++)
		verdict("gpr", i, w[i], g[i]);
	verdict("rflags", 0, want->flags & KEPT_FLAGS, got->flags & KEPT_FLAGS);
}

/* --- control and debug registers, descriptor tables ------------------------------------------ */

#define READ(reg)                                                                                  \
	({                                                                                         \
		uint64_t r_;                                                                       \
		__asm__ volatile("mov %%" #reg ", %0" : "=r"(r_));                                 \
		r_;                                                                                \
	})
#define WRITE(reg, v) __asm__ volatile("mov %0, %%" #reg : : "r"((uint64_t)(v)) : "memory")

struct table {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

enum { SYSTEM_REGS = 22 };
static const char *const system_names[SYSTEM_REGS] = {"cr0", "cr2", "cr3", "cr4", "cr8", "dr0",
    "dr1", "dr2", "dr3", "dr6", "dr7", "gdtr-base", "gdtr-limit", "idtr-base", "idtr-limit", "ldtr",
    "tr", "cs-ss", "ds-es", "fs-gs", "xcr0", "ldtr-limit"};

static bool has_avx;

static uint64_t selectors(uint32_t high, uint32_t low)
{
	return (uint64_t)high << 16 | low;
}

#define SELECTOR(reg)                                                                              \
	({                                                                                         \
		uint32_t s_;                                                                       \
		__asm__ volatile("mov %%" #reg ", %0" : "=r"(s_));                                 \
		s_ & 0xffff;                                                                       \
	})

static uint64_t read_xcr0(void)
{
	uint32_t lo = 0, hi;

	if (has_avx)
		__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return lo;
}

static void read_system(uint64_t v[SYSTEM_REGS])
{
	struct table gdtr, idtr;
	uint64_t ldtr = 0, tr = 0, limit = 0;

	__asm__ volatile("sgdt %0; sidt %1" : "=m"(gdtr), "=m"(idtr));
	__asm__ volatile("sldt %0; str %1" : "=r"(ldtr), "=r"(tr));
	__asm__ volatile("lsl %1, %0" : "=r"(limit) : "r"(ldtr));
	v[0] = READ(cr0);
	v[1] = READ(cr2);
	v[2] = READ(cr3);
	v[3] = READ(cr4);
	v[4] = READ(cr8);
	v[5] = READ(dr0);
	v[6] = READ(dr1);
	v[7] = READ(dr2);
	v[8] = READ(dr3);
	v[9] = READ(dr6);
	v[10] = READ(dr7);
	v[11] = gdtr.base;
	v[12] = gdtr.limit;
	v[13] = idtr.base;
	v[14] = idtr.limit;
	v[15] = ldtr & 0xffff;
	v[16] = tr & 0xffff;
	v[17] = selectors(SELECTOR(cs), SELECTOR(ss));
	v[18] = selectors(SELECTOR(ds), SELECTOR(es));
	v[19] = selectors(SELECTOR(fs), SELECTOR(gs));
	v[20] = read_xcr0();
	v[21] = limit;
}

/* The IDT's gates name selector 10H; 64-bit data segments have no base of their own. */
static uint64_t gdt[12] = {0, 0x00cf93000000ffff, 0x00af9b000000ffff, 0x00cf93000000ffff,
    0x00cff3000000ffff, 0, 0, 0, 0, 0, 0, 0x00cf93000000ffff};
static uint8_t ldt[64], tss[128];

static void put_system_descriptor(uint64_t *d, const void *base, uint64_t limit, unsigned type)
{
	uint64_t b = (uint64_t)(uintptr_t)base;

	d[0] =
	    limit | (b & 0xffffff) << 16 | (uint64_t)(type | 0x80) << 40 | (b >> 24 & 0xff) << 56;
	d[1] = b >> 32;
}

static void load_tables(void)
{
	struct table r = {sizeof(gdt) - 1 - (number & 1) * 8, (uint64_t)(uintptr_t)gdt};

	put_system_descriptor(gdt + 5, ldt, sizeof(ldt) - 1 - (number & 7), 2);
	put_system_descriptor(gdt + 7, tss, sizeof(tss) - 1, 9);
	__asm__ volatile("lgdt %0" : : "m"(r));
	__asm__ volatile("mov %0, %%ss" : : "r"(0x18));
	__asm__ volatile("mov %0, %%ds; mov %1, %%es" : : "r"(0x08), "r"(number & 1 ? 0x20 : 0x18));
	__asm__ volatile("mov %0, %%fs; mov %1, %%gs" : : "r"(0x23), "r"(number & 1 ? 0 : 0x18));
	__asm__ volatile("lldt %w0; ltr %w1" : : "r"(0x28), "r"(0x38));
}

enum { CR0_FIXED = 1, CR0_AND = 1 << 1 | 1 << 5, CR0_WP = 1 << 16, CR0_AM = 1 << 18 };
#define CR0_CD (1UL << 30)
#define CR0_PG (1UL << 31)
enum { CR4_TSD = 4, CR4_DE = 8, CR4_PSE = 16, CR4_PAE = 32, CR4_PGE = 128, CR4_SSE = 3 << 9 };
enum { CR4_OSXSAVE = 1 << 18 };

static void load_control(void)
{
	uint64_t cr4 = CR4_PAE | CR4_SSE | CR4_DE | (number & 1 ? CR4_PSE : CR4_PGE | CR4_TSD);
	uint32_t r[4];

	cpuid(1, 0, r);
	has_avx = (r[2] >> 26 & 1) && (r[2] >> 28 & 1);
	WRITE(cr0, CR0_PG | CR0_FIXED | CR0_AND | (number & 1 ? CR0_WP : CR0_AM | CR0_CD));
	WRITE(cr4, cr4 | (has_avx ? CR4_OSXSAVE : 0));
	if (has_avx)
		__asm__ volatile("xsetbv" : : "a"(7), "d"(0), "c"(0));
}

/* Breakpoints that are enabled, and met by nobody: addresses of the other half. */
static void load_debug(void)
{
	WRITE(dr0, 0xffff900000000000 | value(10) >> 20);
	WRITE(dr1, 0xffff900000000000 | value(11) >> 20);
	WRITE(dr2, value(12));
	WRITE(dr3, value(13));
	WRITE(dr6, 0xffff0ff0 | (value(14) & 0xe00f));
	WRITE(dr7, 0x400 | 3 | (value(15) & 0xffff0000));
	WRITE(cr2, value(16));
}

/* --- MSRs --------------------------------------------------------------------------------------
 */

enum msr_value { WHOLE, LOW, CANONICAL, FIXED };

static const struct msr {
	uint32_t msr;
	enum msr_value kind;
	uint64_t fixed[2]; /* for even and odd numbers */
	const char *name;
} msrs[] = {
    {0x174, FIXED, {0x1230, 0x4560}, "sysenter-cs"},
    {0x175, LOW, {0}, "sysenter-esp"},
    {0x176, LOW, {0}, "sysenter-eip"},
    {0x200, FIXED, {0x80000006, 0xc0000000}, "mtrr-base0"},
    {0x201, FIXED, {0xfc0000800, 0xff0000800}, "mtrr-mask0"},
    {0x20e, FIXED, {0x10000001, 0x20000005}, "mtrr-base7"},
    {0x20f, FIXED, {0xff8000800, 0xfff000000}, "mtrr-mask7"},
    {0x250, FIXED, {0x0606060604040505, 0x0101010101010606}, "mtrr-64k"},
    {0x258, FIXED, {0x0606060604040506, 0x0101010101010605}, "mtrr-16k"},
    {0x26f, FIXED, {0x0505050505050505, 0x0000000000000006}, "mtrr-4k"},
    {0x277, FIXED, {0x0007010600070406, 0x0406050100070406}, "pat"},
    {0x2ff, FIXED, {0xc06, 0x806}, "mtrr-def-type"},
    {0x4b564d01, FIXED, {0x100000, 0x110000}, "kvm-system-time"}, /* off: bit 0 */
    {0xc0000080, FIXED, {0xd01, 0x501}, "efer"},
    {0xc0000081, WHOLE, {0}, "star"},
    {0xc0000082, CANONICAL, {0}, "lstar"},
    {0xc0000083, CANONICAL, {0}, "cstar"},
    {0xc0000084, LOW, {0}, "sfmask"},
    {0xc0000100, CANONICAL, {0}, "fs-base"},
    {0xc0000101, CANONICAL, {0}, "gs-base"},
    {0xc0000102, CANONICAL, {0}, "kernel-gs-base"},
    {0xc0000103, LOW, {0}, "tsc-aux"},
    {0x3b, FIXED, {0x123456, 0x654321}, "tsc-adjust"},
};
enum { MSRS = sizeof(msrs) / sizeof(msrs[0]) };

static uint64_t msr_value(unsigned i)
{
	uint64_t v = value(100 + i);

	switch (msrs[i].kind) {
	case LOW:
		return (uint32_t)v;
	case CANONICAL:
		return canonical(v);
	case FIXED:
		return msrs[i].fixed[number & 1];
	default:
		return v;
	}
}

/* The local APIC's, as found: x2APIC numbers. */
static const struct {
	uint16_t first, count;
} apic_msrs[] = {{0x802, 2}, {0x808, 1}, {0x80a, 1}, {0x80d, 1}, {0x80f, 25}, {0x830, 1},
    {0x832, 7}, {0x83e, 1}};
enum { APIC_MSRS = 39 };

static void read_apic(uint64_t v[APIC_MSRS])
{
	for (unsigned i = 0; i < sizeof(apic_msrs) / sizeof(apic_msrs[0]); i++)
		for (unsigned n = 0; n < apic_msrs[i].count; n++)
			*v++ = rdmsr(apic_msrs[i].first + n);
}

/* --- vector state
 * ---------------------------------------------------------------------------------- */

static uint8_t fx_want[512] __attribute__((aligned(64))), fx_got[512] __attribute__((aligned(64)));
static uint64_t ymm_want[64] __attribute__((aligned(64))), ymm_got[64] __attribute__((aligned(64)));

#define YMM_ALL(X)                                                                                 \
	X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define YMM_LOAD(n)                                                                                \
	__asm__ volatile("vmovdqu %0, %%ymm" #n : : "m"(*(const char(*)[32])(ymm_want + 4 * n)));
#define YMM_STORE(n)                                                                               \
	__asm__ volatile("vmovdqu %%ymm" #n ", %0" : "=m"(*(char(*)[32])(ymm_got + 4 * n)));

/* FXSAVE's layout (SDM volume 1, table 10-2). */
static void load_vectors(void)
{
	for (unsigned i = 0; i < 64; i++)
		ymm_want[i] = value(200 + i);
	*(uint16_t *)(fx_want + 0) = number & 1 ? 0x27f : 0xb7f;   /* FCW */
	*(uint16_t *)(fx_want + 2) = number & 1 ? 0x4800 : 0x2000; /* FSW: TOP */
	fx_want[4] = number & 1 ? 0x7f : 0xff;
	*(uint32_t *)(fx_want + 24) = number & 1 ? 0x1fa0 : 0x7f81; /* MXCSR */
	for (unsigned i = 0; i < 8; i++) {
		*(uint64_t *)(fx_want + 32 + 16 * i) = value(300 + i) | 1UL << 63;
		*(uint16_t *)(fx_want + 40 + 16 * i) = (uint16_t)(0x3f00 + value(320 + i) % 256);
	}
	for (unsigned i = 0; i < 16; i++) {
		*(uint64_t *)(fx_want + 160 + 16 * i) = ymm_want[4 * i];
		*(uint64_t *)(fx_want + 168 + 16 * i) = ymm_want[4 * i + 1];
	}
	__asm__ volatile("fxrstor64 %0" : : "m"(fx_want));
	if (has_avx) {
		YMM_ALL(YMM_LOAD)
	}
}

static void read_vectors(void)
{
	__asm__ volatile("fxsave64 %0" : "=m"(fx_got));
	if (has_avx) {
		YMM_ALL(YMM_STORE)
	}
}

static void compare_vectors(void)
{
	verdict("fcw-fsw", 0, *(uint32_t *)fx_want, *(uint32_t *)fx_got);
	verdict("ftw", 0, fx_want[4], fx_got[4]);
	verdict("mxcsr", 0, *(uint32_t *)(fx_want + 24), *(uint32_t *)(fx_got + 24));
	for (unsigned i = 0; i < 16; i++)
		verdict(i % 2 ? "st-high" : "st-low", i / 2,
		    *(uint64_t *)(fx_want + 32 + 8 * i) & (i % 2 ? 0xffff : ~0UL),
		    *(uint64_t *)(fx_got + 32 + 8 * i) & (i % 2 ? 0xffff : ~0UL));
	for (unsigned i = 0; i < 32; i++)
		verdict("xmm", i / 2, *(uint64_t *)(fx_want + 160 + 8 * i),
		    *(uint64_t *)(fx_got + 160 + 8 * i));
	for (unsigned i = 0; i < 64 && has_avx; i++)
		verdict("ymm", i / 4, ymm_want[i], ymm_got[i]);
}

/* --- interrupts
 * ---------------------------------------------------------------------------------------- */

static volatile unsigned nmis, taken[256], order_count;
static volatile uint8_t order[16];

static void take(struct trap_frame *f)
{
	taken[f->vector]++;
	if (order_count < sizeof(order))
		order[order_count++] = (uint8_t)f->vector;
	wrmsr(X2_EOI, 0);
}

/* In the first NMI's handler: interrupts off, NMIs blocked. */
static void fill_spin_compare(void)
{
	static uint64_t system_want[SYSTEM_REGS], system_got[SYSTEM_REGS];
	static uint64_t apic_want[APIC_MSRS], apic_got[APIC_MSRS], msr_got[MSRS];
	static struct regs want, got;
	uint64_t start, end;

	for (unsigned i = 0; i < REGS; i++)
		(&want.rax)[i] = value(i);
	want.flags = 2 | (number & 1 ? DF | ID : AC);
	for (unsigned i = 0; i < MSRS; i++)
		wrmsr(msrs[i].msr, msr_value(i));
	load_debug();
	read_system(system_want);
	read_apic(apic_want);
	start = rdtsc();
	load_vectors();
	spin(&want, &got);
	read_vectors();
	end = rdtsc();
	read_apic(apic_got);
	for (unsigned i = 0; i < MSRS; i++)
		msr_got[i] = rdmsr(msrs[i].msr);
	read_system(system_got);

	compare_regs(&want, &got);
	compare_vectors();
	for (unsigned i = 0; i < SYSTEM_REGS; i++)
		verdict(system_names[i], 0, system_want[i], system_got[i]);
	for (unsigned i = 0; i < MSRS; i++)
		verdict(msrs[i].name, 0, msr_value(i), msr_got[i]);
	for (unsigned i = 0; i < APIC_MSRS; i++)
		verdict("apic", i, apic_want[i], apic_got[i]);
	verdict("tsc-goes-on", 0, 1, end > start && end - start < 1UL << 41);
	verdict("nmi-blocked", 0, 1, nmis);
}

static void on_nmi(struct trap_frame *f)
{
	(void)f;
	if (++nmis != 1)
		return;
	wrmsr(X2_SELF_IPI, VEC_LOW);
	wrmsr(X2_SELF_IPI, VEC_HIGH);
	wrmsr(X2_ICR, ICR_NMI | 1 << 18); /* to this CPU itself */
	while (!(rdmsr(0x820 + VEC_TIMER / 32) >> VEC_TIMER % 32 & 1))
		; /* until the timer's first tick is pending */
	fill_spin_compare();
}

static void on_outer(struct trap_frame *f)
{
	wrmsr(X2_ICR, ICR_NMI | 1 << 18);
	while (nmis < 2)
		; /* the second comes as soon as the first one's handler is left */
	verdict("nmi-pending", 0, 2, nmis);
	take(f);
}

static void pause_ms(unsigned ms)
{
	unsigned ticks = taken[VEC_TIMER];

	while (taken[VEC_TIMER] - ticks < ms / 20)
		;
}

/* What was pending comes, in the order of its priority, the timer not before the TPR allows. */
static void compare_interrupts(void)
{
	static const uint8_t want[] = {VEC_OUTER, VEC_HIGH, VEC_LOW, VEC_TIMER};

	verdict("tpr-holds-back", 0, 0, taken[VEC_TIMER]);
	wrmsr(X2_TPR, 0);
	pause_ms(100);
	for (unsigned i = 0; i < sizeof(want); i++)
		verdict("order", i, want[i], order[i]);
	verdict("taken-once", 0, 3, taken[VEC_OUTER] + taken[VEC_HIGH] + taken[VEC_LOW]);
}

/* --- the other CPU
 * ---------------------------------------------------------------------------------------- */

/* mov ax,800h; mov ds,ax; mov byte [0ff0h],1; cli; hlt */
static const uint8_t ap_code[] = {
    0xb8, 0x00, 0x08, 0x8e, 0xd8, 0xc6, 0x06, 0xf0, 0x0f, 0x01, 0xfa, 0xf4};

static void start_other_cpu(void)
{
	volatile uint8_t *mark = (volatile uint8_t *)AP_MARK;

	verdict("waits-for-sipi", 0, 0, *mark);
	wrmsr(X2_ICR, 1UL << 32 | ICR_STARTUP | AP_CODE >> 12);
	for (unsigned i = 0; i < 50 && !*mark; i++)
		pause_ms(20);
	verdict("starts-by-sipi", 0, 1, *mark);
}

/* --- HLT
 * ----------------------------------------------------------------------------------------------------
 */

static volatile uint8_t byte;

static void on_serial(struct trap_frame *f)
{
	byte = inb(COM1);
	take(f);
}

static void io_apic(uint32_t reg, uint32_t v)
{
	*(volatile uint32_t *)0xfec00000UL = reg;
	*(volatile uint32_t *)0xfec00010UL = v;
}

static void halt_and_compare(void)
{
	wrmsr(X2_TIMER_INITIAL, 0);
	io_apic(0x10 + 2 * 4 + 1, 0);
	io_apic(0x10 + 2 * 4, VEC_SERIAL);
	outb(COM1_IER, 1);
	load_vectors();
	print("halted\n");
	__asm__ volatile("cli");
	while (!taken[VEC_SERIAL])
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	read_vectors();
	compare_vectors();
	verdict("woken-once", 0, 1, taken[VEC_SERIAL]);
	for (unsigned i = 0; i < MSRS; i++)
		verdict(msrs[i].name, 0, msr_value(i), rdmsr(msrs[i].msr));
	total("woken");
}

static uint64_t parse(const char *s)
{
	uint64_t n = 0;

	while (*s >= '0' && *s <= '9')
		n = n * 10 + (uint64_t)(*s++ - '0');
	return n;
}

void guest_main(const uint8_t *params)
{
	number = parse((const char *)(uintptr_t) * (const uint32_t *)(params + CMD_LINE_PTR));
	traps_init();
	load_tables();
	load_control();
	for (unsigned i = 0; i < sizeof(ap_code); i++)
		((volatile uint8_t *)AP_CODE)[i] = ap_code[i];
	*(volatile uint8_t *)AP_MARK = 0;
	trap_handler[NMI] = on_nmi;
	trap_handler[VEC_OUTER] = on_outer;
	trap_handler[VEC_TIMER] = trap_handler[VEC_LOW] = trap_handler[VEC_HIGH] = take;
	trap_handler[VEC_SERIAL] = on_serial;
	x2apic_init();
	wrmsr(X2_TPR, TPR);
	wrmsr(X2_TIMER_DIVIDE, 0xb); /* by 1: nanoseconds */
	wrmsr(X2_LVT_TIMER, VEC_TIMER | PERIODIC);
	wrmsr(X2_TIMER_INITIAL, 20000000);
	print("state %lu\n", number);
	__asm__ volatile("sti");
	wrmsr(X2_SELF_IPI, VEC_OUTER);
	while (!taken[VEC_LOW])
		;
	compare_interrupts();
	start_other_cpu();
	total("state");
	halt_and_compare();
	poweroff();
}
