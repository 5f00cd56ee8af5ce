/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that never stops writing its memory, and knows at each page what it must find
 * there: pass after pass over as many MiB as its command line says, in an order that
 * jumps about, each page is compared with what the last pass left and gets what this
 * pass leaves. A snapshot of which some pages are older or newer than others shows as
 * "TORN". One page in sixteen is written by the hypervisor too (INS). A byte on the serial
 * line: "pass N", and if it is a 'q', all is compared once more, "quiet: N pages, N bad",
 * and it stands still, polling the line, until the next byte.
 */
#include "guest.h"

enum {
	CMD_LINE_PTR = 0x228,
	COM1 = 0x3f8,
	LSR = 0x3fd,
	BASE = 16 << 20,
	PAGE = 4096,
	STEP = 2654435761u, /* odd: a walk over a power of two meets each page once */
	NVRAM_INDEX = 0x70,
	NVRAM_DATA = 0x71,
	NVRAM_CELL = 0x40,
	INS_OFFSET = 100
};

#define HIGH (4ULL << 30)

static unsigned npages, nlow, bad;

static volatile uint64_t *page_at(unsigned i)
{
	uint64_t at = i < nlow ? BASE + (uint64_t)i * PAGE : HIGH + (uint64_t)(i - nlow) * PAGE;

	return (volatile uint64_t *)(uintptr_t)at;
}

/* One to one from 4 GiB on, in pages of 2 MiB: the fifth entry of the loader's second table. */
static void map_high(void)
{
	static uint64_t directory[512] __attribute__((aligned(4096)));
	uint64_t cr3, *pml4, *pdpt;

	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	pml4 = (uint64_t *)(uintptr_t)(cr3 & ~0xfffULL);
	pdpt = (uint64_t *)(uintptr_t)(pml4[0] & 0x000ffffffffff000ULL);
	for (unsigned i = 0; i < 512; i++)
		directory[i] = (HIGH + ((uint64_t)i << 21)) | 0x83;
	pdpt[4] = (uint64_t)(uintptr_t)directory | 3;
	__asm__ volatile("mov %0, %%cr3" : : "r"(cr3) : "memory");
}

static uint64_t value(uint64_t pass, unsigned i, unsigned word)
{
	uint64_t v = (pass << 32) + i * 0x9e3779b97f4a7c15 + word;

	v ^= v >> 29;
	return v * 0xbf58476d1ce4e5b9;
}

static bool by_hypervisor(unsigned i)
{
	return i % 16 == 5;
}

static volatile uint8_t *ins_byte(unsigned i)
{
	return (volatile uint8_t *)page_at(i) + INS_OFFSET;
}

/* Eight words of a page, its first and its last among them. */
static void compare(unsigned i, uint64_t pass)
{
	for (unsigned w = 0; w < 8; w++) {
		uint64_t want = value(pass, i, w), got = page_at(i)[w * 73];

		if (want != got) {
			print("TORN page %u word %u: pass %lu wants %lx, is %lx\n", i, w, pass,
			    want, got);
			bad++;
			return;
		}
	}
	if (by_hypervisor(i) && *ins_byte(i) != (uint8_t)pass) {
		print("TORN page %u: pass %lu, INS left %x\n", i, pass, *ins_byte(i));
		bad++;
	}
}

static void fill(unsigned i, uint64_t pass)
{
	for (unsigned w = 0; w < 8; w++)
		page_at(i)[w * 73] = value(pass, i, w);
	if (by_hypervisor(i)) {
		void *to = (void *)(uintptr_t)ins_byte(i);

		outb(NVRAM_INDEX, NVRAM_CELL);
		__asm__ volatile("insb" : "+D"(to) : "d"((uint16_t)NVRAM_DATA) : "memory");
	}
}

static unsigned nth(unsigned n)
{
	return (unsigned)(n * STEP) & (npages - 1);
}

static bool byte_came(char *c)
{
	if (!(inb(LSR) & 1))
		return false;
	*c = (char)inb(COM1);
	return true;
}

/* All pages below the n-th of this pass have its values, the others those of the last. */
static void answer(char c, uint64_t pass, unsigned n)
{
	print("pass %lu\n", pass);
	if (c != 'q')
		return;
	for (unsigned k = 0; k < npages; k++)
		compare(nth(k), k < n ? pass : pass - 1);
	print("quiet: %u pages, %u bad\n", npages, bad);
	while (!byte_came(&c))
		__asm__ volatile("pause");
	print("going on\n");
}

void guest_main(const uint8_t *params)
{
	const char *s = (const char *)(uintptr_t) * (const uint32_t *)(params + CMD_LINE_PTR);
	unsigned mib = 0;
	char c;

	for (; *s >= '0' && *s <= '9'; s++)
		mib = mib * 10 + (unsigned)(*s - '0');
	for (npages = 256; npages * 2 <= mib * 256; npages *= 2)
		;
	nlow = npages;
	if (*s == ',') {
		map_high();
		npages *= 2;
	}
	traps_init();
	for (unsigned i = 0; i < npages; i++) {
		*ins_byte(i) = 0;
		for (unsigned w = 0; w < 8; w++)
			page_at(i)[w * 73] = value(0, i, w);
	}
	print("ready\n");
	for (uint64_t pass = 1;; pass++) {
		outb(NVRAM_INDEX, NVRAM_CELL);
		outb(NVRAM_DATA, (uint8_t)pass);
		for (unsigned n = 0; n < npages; n++) {
			compare(nth(n), pass - 1);
			fill(nth(n), pass);
			if (n % 64 == 0 && byte_came(&c))
				answer(c, pass, n + 1);
		}
	}
}
