/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A test kernel that says on COM1 how it was started and what it was given: the
 * loader's name and the command line, each module's size and checksum, the
 * memory map's RAM. A command line that ends with "wait" waits for a byte, one
 * with "test" looks for the test device. It ends its
 * machine with exit code 1 (Multiboot), 2 (Multiboot2) or 3 (PVH), 99 if
 * anything is not as the specifications demand.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { COM1 = 0x3f8, LSR = COM1 + 5, LSR_DATA = 1, LSR_THRE = 0x20, DEBUG_EXIT = 0xf4 };
enum { CODE_BAD = 99, BSS_WORDS = 16384 };

void boot_main(uint32_t eax, const uint8_t *info);

static volatile uint32_t bss[BSS_WORDS]; /* the loader has cleared it, or has not */
static const char *command_line = "";
static uint64_t ram;
static uint32_t map_entries;
static bool bad;

/* --- the serial line ------------------------------------------------------------------ */

static void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static void put_char(char c)
{
	while (!(inb(LSR) & LSR_THRE))
		;
	outb(COM1, (uint8_t)c);
}

static void put_text(const char *s)
{
	for (; *s; s++)
		put_char(*s);
}

static void put_number(uint32_t v)
{
	char buf[12];
	unsigned n = 0;

	do
		buf[n++] = (char)('0' + v % 10);
	while (v /= 10);
	while (n)
		put_char(buf[--n]);
}

/* A line of a text and a number. */
static void say(const char *what, uint32_t v)
{
	put_text(what);
	put_char(' ');
	put_number(v);
	put_text("\r\n");
}

static void say_text(const char *what, const char *text)
{
	put_text(what);
	put_text(" '");
	put_text(text);
	put_text("'\r\n");
}

static void complain(const char *what)
{
	put_text("BAD ");
	put_text(what);
	put_text("\r\n");
	bad = true;
}

/* --- what the three have in common ----------------------------------------------------- */

static uint32_t word(const void *p, size_t offset)
{
	return *(const uint32_t *)((const uint8_t *)p + offset);
}

static uint64_t quad(const void *p, size_t offset)
{
	return word(p, offset) | (uint64_t)word(p, offset + 4) << 32;
}

static const void *at(uint32_t addr)
{
	return (const void *)addr;
}

static void module(uint32_t start, uint32_t size, const char *name)
{
	const uint8_t *p = at(start);
	uint32_t sum = 0;

	if (start % 4096)
		complain("module: not on a page boundary");
	for (uint32_t i = 0; i < size; i++)
		sum = sum * 31 + p[i];
	say_text("module", name ? name : "");
	say("size", size);
	say("sum", sum);
}

static void map_entry(uint64_t start, uint64_t size, uint32_t type)
{
	map_entries++;
	if (type == 1)
		ram += size;
	if (!size || start + size < start || type < 1 || type > 5)
		complain("memory map");
}

static void rsdp(const char *p)
{
	static const char signature[8] = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '};
	uint8_t sum = 0;

	for (unsigned i = 0; i < sizeof(signature); i++)
		if (p[i] != signature[i])
			complain("RSDP: signature");
	for (unsigned i = 0; i < (p[15] ? 36 : 20); i++) /* by its revision */
		sum += (uint8_t)p[i];
	if (sum)
		complain("RSDP: checksum");
	put_text("rsdp\r\n");
}

static void memory(uint32_t lower, uint32_t upper)
{
	say("lower", lower);
	say("upper", upper);
}

/* --- the three ------------------------------------------------------------------------- */

static void multiboot(const uint8_t *info)
{
	uint32_t flags = word(info, 0);

	if ((flags & 0x4d) != 0x4d)
		complain("Multiboot: flags");
	memory(word(info, 4), word(info, 8));
	command_line = at(word(info, 16));
	for (uint32_t i = 0; i < word(info, 20); i++) {
		const uint8_t *m = at(word(info, 24) + 16 * i);

		module(word(m, 0), word(m, 4) - word(m, 0), at(word(m, 8)));
	}
	for (uint32_t pos = 0; pos < word(info, 44);) {
		const uint8_t *e = at(word(info, 48) + pos);

		map_entry(quad(e, 4), quad(e, 12), word(e, 20));
		pos += word(e, 0) + 4;
	}
	if (flags & 1 << 9)
		say_text("loader", at(word(info, 64)));
}

static void multiboot2_map(const uint8_t *tag)
{
	for (uint32_t pos = 16; pos < word(tag, 4); pos += word(tag, 8))
		map_entry(quad(tag, pos), quad(tag, pos + 8), word(tag, pos + 16));
}

static void multiboot2(const uint8_t *info)
{
	const uint8_t *tag = info + 8;

	for (; word(tag, 0) != 0; tag += (word(tag, 4) + 7) & ~7u) {
		switch (word(tag, 0)) {
		case 1:
			command_line = (const char *)tag + 8;
			break;
		case 2:
			say_text("loader", (const char *)tag + 8);
			break;
		case 3:
			module(word(tag, 8), word(tag, 12) - word(tag, 8), (const char *)tag + 16);
			break;
		case 4:
			memory(word(tag, 8), word(tag, 12));
			break;
		case 6:
			multiboot2_map(tag);
			break;
		case 15:
			rsdp((const char *)tag + 8);
			break;
		}
	}
	if (tag + 8 != info + word(info, 0))
		complain("Multiboot2: total_size");
}

static void pvh(const uint8_t *info)
{
	if (word(info, 4) < 1)
		complain("PVH: version");
	command_line = at(word(info, 24));
	for (uint32_t i = 0; i < word(info, 12); i++) {
		const uint8_t *m = at(word(info, 16) + 32 * i);

		module(word(m, 0), word(m, 8), at(word(m, 16)));
	}
	rsdp(at(word(info, 32)));
	for (uint32_t i = 0; i < word(info, 48); i++) {
		const uint8_t *e = at(word(info, 40) + 24 * i);

		map_entry(quad(e, 0), quad(e, 8), word(e, 16));
	}
}

/* The last four characters of the command line, as a number. */
static uint32_t order(void)
{
	const char *end = command_line;

	while (*end)
		end++;
	return end - command_line >= 4 ? word(end - 4, 0) : 0;
}

/* The registers of "amber,testdev": the latch, its device memory, and line 5 up to the 8259. */
static void testdev(void)
{
	volatile uint32_t *memory = (volatile uint32_t *)0xff000000u;
	uint8_t before, after;

	for (uint8_t i = 0; i < 4; i++)
		outb(0xe0 + i, 0x11 * i);
	for (uint8_t i = 0; i < 4; i++)
		if (inb(0xe8 + i) != 0x11 * i)
			complain("testdev: latch");
	memory[0x3fff] = 0x12345678;
	if (memory[0x3fff] != 0x12345678 || memory[0])
		complain("testdev: memory");
	outb(0x20, 0x0a); /* OCW3: IRR is read */
	outb(0x2005, 0);
	before = inb(0x20);
	outb(0x2005, 1);
	after = inb(0x20);
	if ((before ^ after) != 1 << 5)
		complain("testdev: line 5");
	put_text("testdev\r\n");
}

void boot_main(uint32_t eax, const uint8_t *info)
{
	uint8_t code = CODE_BAD;

	for (unsigned i = 0; i < BSS_WORDS; i++)
		if (bss[i]) {
			complain("bss: not zero");
			break;
		}
	if (eax == 0x2badb002) {
		put_text("started by Multiboot\r\n");
		code = 1;
		multiboot(info);
	} else if (eax == 0x36d76289) {
		put_text("started by Multiboot2\r\n");
		code = 2;
		multiboot2(info);
	} else if (word(info, 0) == 0x336ec578) {
		put_text("started by PVH\r\n");
		code = 3;
		pvh(info);
	} else {
		complain("magic number");
	}
	say_text("command line", command_line);
	say("map", map_entries);
	say("ram", (uint32_t)(ram >> 10));
	if (order() == 0x74736574) /* "test" */
		testdev();
	if (order() == 0x74696177) { /* "wait" */
		put_text("waiting\r\n");
		while (!(inb(LSR) & LSR_DATA))
			;
	}
	put_text("end\r\n");
	outb(DEBUG_EXIT, bad ? CODE_BAD : code);
	put_text("BAD still alive\r\n");
}
