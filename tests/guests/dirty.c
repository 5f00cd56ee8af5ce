/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest to measure snapshots with. It writes one word of each page of all of its memory,
 * says "ready" and halts until a byte comes on the serial line:
 *   f  fills 64 MiB with what cannot be compressed: "filled"
 *   t  changes one page in 64 of those: "touched N pages"
 *   r  changes 45 of them, which makes 50 with its stack and data: the same
 *   g  all vCPUs change page after page of those until an s comes; a p asks how far they are:
 *      "changed N pages", N being the sum over all of them since the start
 * Its command line is the number of vCPUs to use (1 or 2).
 */
#include "guest.h"

enum {
	E820_COUNT = 0x1e8,
	CMD_LINE_PTR = 0x228,
	E820_TABLE = 0x2d0,
	E820_ENTRY = 20,
	COM1 = 0x3f8,
	COM1_IER = 0x3f9,
	LSR = 0x3fd,
	VEC_SERIAL = 0x61,
	X2_EOI = 0x80b,
	X2_ICR = 0x830,
	ICR_INIT = 5 << 8 | 1 << 14,
	ICR_STARTUP = 6 << 8 | 1 << 14,
	BASE = 16 << 20,
	PAGE = 4096,
	NPAGES = (64 << 20) / PAGE,
	STEP = 40503, /* odd: a walk over a power of two meets each page once */
	AP_CODE = 0x8000,
	AP_DATA = 0x8f00
};

static uint64_t tables[10][512] __attribute__((aligned(4096)));
static uint8_t ap_stack[4096] __attribute__((aligned(16)));
static volatile uint64_t changed[2];
static volatile bool stop, stopped;
static volatile unsigned bytes;
static unsigned cpus;

/* --- memory ------------------------------------------------------------------------------- */

/* One to one, the first 8 GiB. */
static void map_all(void)
{
	tables[0][0] = (uint64_t)tables[1] | 3;
	for (unsigned i = 0; i < 8; i++) {
		tables[1][i] = (uint64_t)tables[2 + i] | 3;
		for (unsigned n = 0; n < 512; n++)
			tables[2 + i][n] = ((uint64_t)i << 30 | (uint64_t)n << 21) | 0x83;
	}
	__asm__ volatile("mov %0, %%cr3" : : "r"(tables) : "memory");
}

static void touch_all(const uint8_t *params)
{
	for (unsigned i = 0; i < params[E820_COUNT]; i++) {
		const uint8_t *entry = params + E820_TABLE + i * E820_ENTRY;
		uint64_t start = *(const uint64_t *)entry, size = *(const uint64_t *)(entry + 8);

		if (*(const uint32_t *)(entry + 16) != 1)
			continue;
		for (uint64_t a = start; a < start + size; a += PAGE)
			if (a >= BASE)
				*(volatile uint64_t *)a = a * 0x9e3779b97f4a7c15;
	}
}

static uint64_t *page_at(unsigned i)
{
	return (uint64_t *)(uintptr_t)(BASE + (uint64_t)(i % NPAGES) * PAGE);
}

static void fill_all(void)
{
	uint64_t v = 88172645463325252;

	for (unsigned i = 0; i < NPAGES; i++)
		for (unsigned w = 0; w < 512; w++) {
			v ^= v << 13;
			v ^= v >> 7;
			v ^= v << 17;
			page_at(i)[w] = v;
		}
}

/* A word in each line of the cache. */
static void change(unsigned i)
{
	volatile uint64_t *p = page_at(i);

	for (unsigned w = 0; w < 512; w += 8)
		p[w] = p[w] * 0xbf58476d1ce4e5b9 + 1;
}

/* --- the other CPU ------------------------------------------------------------------------ */

extern const uint8_t ap_code[], ap_code_end[];
__asm__(".pushsection .rodata\n"
	".code16\n"
	"ap_code:\n"
	"	cli\n"
	"	xorw %ax, %ax\n"
	"	movw %ax, %ds\n"
	"	lgdtl 0x8f00\n"
	"	movl $0x20, %eax\n"
	"	movl %eax, %cr4\n"
	"	movl 0x8f10, %eax\n"
	"	movl %eax, %cr3\n"
	"	movl $0xc0000080, %ecx\n"
	"	rdmsr\n"
	"	orl $0x100, %eax\n"
	"	wrmsr\n"
	"	movl $0x80000011, %eax\n"
	"	movl %eax, %cr0\n"
	"	ljmpl $0x10, $(0x8000 + ap_long - ap_code)\n"
	".code64\n"
	"ap_long:\n"
	"	movl $0x18, %eax\n"
	"	movl %eax, %ds\n"
	"	movl %eax, %es\n"
	"	movl %eax, %ss\n"
	"	movq 0x8f18, %rsp\n"
	"	movq 0x8f20, %rax\n"
	"	call *%rax\n"
	"1:	hlt\n"
	"	jmp 1b\n"
	"ap_code_end:\n"
	".popsection\n");

static void ap_main(void)
{
	for (unsigned n = 1; !stop; n += 2) {
		change(n * STEP);
		changed[1]++;
	}
	stopped = true;
}

static void start_other_cpu(void)
{
	static const uint64_t gdt[4] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};
	volatile uint64_t *data = (volatile uint64_t *)AP_DATA;

	for (unsigned i = 0; i < (unsigned)(ap_code_end - ap_code); i++)
		((volatile uint8_t *)AP_CODE)[i] = ap_code[i];
	data[0] = (uint64_t)(uintptr_t)gdt << 16 | (sizeof(gdt) - 1);
	data[1] = 0;
	data[2] = (uint64_t)(uintptr_t)tables;
	data[3] = (uint64_t)(uintptr_t)(ap_stack + sizeof(ap_stack));
	data[4] = (uint64_t)(uintptr_t)ap_main;
	wrmsr(X2_ICR, 1UL << 32 | ICR_INIT);
	wrmsr(X2_ICR, 1UL << 32 | ICR_STARTUP | AP_CODE >> 12);
}

/* --- orders ------------------------------------------------------------------------------- */

static void on_serial(struct trap_frame *f)
{
	(void)f;
	bytes++;
	wrmsr(X2_EOI, 0);
}

static char poll_byte(void)
{
	return inb(LSR) & 1 ? (char)inb(COM1) : 0;
}

static char next_byte(void)
{
	char c;

	__asm__ volatile("cli");
	while (!(c = poll_byte()))
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	return c;
}

static void say_changed(void)
{
	print("changed %lu pages\n", changed[0] + changed[1]);
}

static void go(void)
{
	char c = 0;

	stop = stopped = false;
	if (cpus > 1)
		start_other_cpu();
	print("going\n");
	for (unsigned n = 0; c != 's'; n += 2) {
		change(n * STEP);
		changed[0]++;
		c = n % 128 ? 0 : poll_byte();
		if (c == 'p')
			say_changed();
	}
	stop = true;
	while (cpus > 1 && !stopped)
		__asm__ volatile("pause");
	say_changed();
}

static void touch_some(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		change(i * 64);
	print("touched %u pages\n", count);
}

static void io_apic(uint32_t reg, uint32_t v)
{
	*(volatile uint32_t *)0xfec00000UL = reg;
	*(volatile uint32_t *)0xfec00010UL = v;
}

void guest_main(const uint8_t *params)
{
	cpus =
	    *(const char *)(uintptr_t)(*(const uint32_t *)(params + CMD_LINE_PTR)) == '2' ? 2 : 1;
	traps_init();
	trap_handler[VEC_SERIAL] = on_serial;
	x2apic_init();
	io_apic(0x10 + 2 * 4 + 1, 0);
	io_apic(0x10 + 2 * 4, VEC_SERIAL);
	outb(COM1_IER, 1);
	map_all();
	touch_all(params);
	print("ready\n");
	for (;;) {
		switch (next_byte()) {
		case 'f':
			fill_all();
			print("filled\n");
			break;
		case 't':
			touch_some(NPAGES / 64);
			break;
		case 'r':
			touch_some(45);
			break;
		case 'g':
			go();
			break;
		default:
			break;
		}
	}
}
