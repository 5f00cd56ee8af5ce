/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that misbehaves in the way its command line says: triple-fault,
 * garbage, port-storm, msr-storm, mmio-storm, reserved-storm, halt. The hypervisor must live,
 * its console must answer, other guests must not notice.
 */
#include "guest.h"

enum { CMD_LINE_PTR = 0x228 };

static bool is(const char *cmdline, const char *word)
{
	while (*word)
		if (*cmdline++ != *word++)
			return false;
	return *cmdline == '\0' || *cmdline == ' ';
}

static uint64_t seed = 88172645463325252ULL;

static uint64_t next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Goes on behind an instruction of which all here are two bytes long. */
static void skip_two(struct trap_frame *f)
{
	f->rip += 2;
}

static void triple_fault(void)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none = {0, 0};

	__asm__ volatile("lidt %0; ud2" : : "m"(none));
}

static void garbage(void)
{
	static uint8_t code[4096] __attribute__((aligned(4096)));

	for (unsigned i = 0; i < sizeof(code); i++)
		code[i] = (uint8_t)next();
	((void (*)(void))(uintptr_t)code)();
}

/* All ports but those that would end the show: power, reset, keyboard controller, fast reset. */
static void port_storm(void)
{
	for (;;) {
		uint16_t port = (uint16_t)next();
		uint32_t value = (uint32_t)next();

		if ((port >= 0x600 && port < 0x640) || port == 0xcf9 || port == 0x64 ||
		    port == 0x92 || port == 0xcf8 || port == 0xcfc)
			continue;
		switch (next() % 6) {
		case 0:
			__asm__ volatile("outb %b0, %w1" : : "a"(value), "d"(port));
			break;
		case 1:
			__asm__ volatile("outw %w0, %w1" : : "a"(value), "d"(port));
			break;
		case 2:
			__asm__ volatile("outl %0, %w1" : : "a"(value), "d"(port));
			break;
		case 3:
			__asm__ volatile("inb %w1, %b0" : "=a"(value) : "d"(port));
			break;
		case 4:
			__asm__ volatile("inw %w1, %w0" : "=a"(value) : "d"(port));
			break;
		default:
			__asm__ volatile("inl %w1, %0" : "=a"(value) : "d"(port));
			break;
		}
	}
}

static void msr_storm(void)
{
	static const uint32_t bases[] = {0, 0x800, 0xc0000000, 0xc0010000, 0x4b564d00};

	for (;;) {
		uint32_t msr = bases[next() % 5] + (uint32_t)(next() % 0x400);

		/* those that the guest itself needs to go on */
		if (msr == 0xc0000080 || msr == 0x1b || (msr >= 0xc0000100 && msr <= 0xc0000102))
			continue;
		if (next() & 1)
			__asm__ volatile("rdmsr" : : "c"(msr) : "eax", "edx");
		else
			__asm__ volatile("wrmsr"
					 :
					 : "c"(msr), "a"((uint32_t)next()), "d"((uint32_t)next()));
	}
}

static void mmio_storm(void)
{
	for (;;) {
		uint64_t a = 0xb0000000 + next() % 0x4fffff00;
		volatile uint32_t *p = (volatile uint32_t *)(a & ~3UL);

		if (next() & 1)
			(void)*p;
		else
			*p = (uint32_t)next();
	}
}

/* What the devices of every machine have not: of each one thing. */
static void reserved_storm(void)
{
	uint8_t v;

	for (;;) {
		/* the 8254's control word and the RTC's index are write-only */
		__asm__ volatile("inb %w1, %b0" : "=a"(v) : "d"(0x43));
		__asm__ volatile("inb %w1, %b0" : "=a"(v) : "d"(0x70));
		/* the line status register is read-only; between the blocks of ACPI is nothing */
		__asm__ volatile("outb %b0, %w1" : : "a"(0), "d"(0x3fd));
		__asm__ volatile("inb %w1, %b0" : "=a"(v) : "d"(0x610));
		/* so is between the registers of the I/O APIC; nobody is at 510h */
		(void)*(volatile uint32_t *)0xfec00020UL;
		__asm__ volatile("inb %w1, %b0" : "=a"(v) : "d"(0x510));
	}
}

static void halt(void)
{
	__asm__ volatile("cli; hlt");
}

/* A breakpoint whose address is translated by tables that lie on a device: who looks for it there
 * finds the device, and looks for breakpoints. */
static void device_tables(void)
{
	enum { ENTRY = 256, P_W = 3 };
	uint64_t cr3, *pml4, dr7 = 3UL << 16 | 1;

	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	pml4 = (uint64_t *)(uintptr_t)(cr3 & ~0xfffUL);
	pml4[ENTRY] = 0xfee00000UL | P_W;
	__asm__ volatile("mov %0, %%dr0" : : "r"(0xffff800000000000UL));
	__asm__ volatile("mov %0, %%dr7" : : "r"(dr7));
	for (unsigned i = 0; i < 100; i++)
		(void)*(volatile uint32_t *)0xfee00020UL;
	halt();
}

static const struct {
	const char *word;
	void (*fn)(void);
} ways[] = {
    {"triple-fault", triple_fault},
    {"garbage", garbage},
    {"port-storm", port_storm},
    {"msr-storm", msr_storm},
    {"mmio-storm", mmio_storm},
    {"reserved-storm", reserved_storm},
    {"device-tables", device_tables},
    {"halt", halt},
};

void guest_main(const uint8_t *params)
{
	const char *cmdline = (const char *)(uintptr_t)(*(const uint32_t *)(params + CMD_LINE_PTR));

	traps_init();
	trap_handler[13] = skip_two;
	for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		if (is(cmdline, ways[i].word)) {
			print("hostile: %s\n", ways[i].word);
			ways[i].fn();
		}
	}
	print("hostile: '%s' is no way to misbehave\n", cmdline);
}
