/* SPDX-License-Identifier: BSD-2-Clause */
/* Made-up kernels for the tests of the loaders: ELF files of 32 and of 64 bits, byte by byte. */
#ifndef AMBER_TESTS_BOOT_KERNEL_H
#define AMBER_TESTS_BOOT_KERNEL_H

#include <string.h>
#include "hv/lib/cursor.h"

/*
 * The file: ELF header, three program headers, headers of both versions of
 * Multiboot, a Xen note, text and data. It is linked KERNEL_HIGH above where it
 * is to be loaded.
 */
enum {
	KERNEL_MB1 = 0x200,
	KERNEL_MB2 = 0x240, /* KERNEL_MB2_TAGS bytes of tags behind the header, then an end tag */
	KERNEL_MB2_TAGS = 0x80,
	KERNEL_NOTE = 0x380,
	KERNEL_NOTE_SIZE = 56,
	KERNEL_TEXT = 0x1000,
	KERNEL_TEXT_SIZE = 0x1234,
	KERNEL_DATA = 0x3000,
	KERNEL_DATA_SIZE = 0x321,
	KERNEL_BSS = 0x5000, /* all of the data segment */
	KERNEL_SIZE = KERNEL_DATA + KERNEL_DATA_SIZE,
	KERNEL_LOAD = 0x100000, /* of the text */
	KERNEL_LOAD_DATA = 0x102000,
	KERNEL_ENTRY = KERNEL_LOAD + 0x20,
	KERNEL_HIGH = 0x40000000,
};

static inline void kernel_word(uint8_t **p, bool is_64, uint64_t v)
{
	if (is_64)
		put_le64(*p, v);
	else
		put_le32(*p, (uint32_t)v);
	*p += is_64 ? 8 : 4;
}

/* Where program header i lies in the file. */
static inline size_t kernel_phdr(bool is_64, unsigned i)
{
	return is_64 ? 64 + 56 * (size_t)i : 52 + 32 * (size_t)i;
}

static inline void kernel_segment(uint8_t *kernel, bool is_64, unsigned i, uint32_t type,
    uint64_t offset, uint64_t paddr, uint64_t filesz, uint64_t memsz)
{
	uint8_t *p = kernel + kernel_phdr(is_64, i);

	put_le32(p, type);
	p += is_64 ? 8 : 4;
	kernel_word(&p, is_64, offset);
	kernel_word(&p, is_64, paddr + KERNEL_HIGH);
	kernel_word(&p, is_64, paddr);
	kernel_word(&p, is_64, filesz);
	kernel_word(&p, is_64, memsz);
	p += is_64 ? 0 : 4;
	kernel_word(&p, is_64, 4);
}

static inline void kernel_header(uint8_t *kernel, bool is_64)
{
	uint8_t *p = kernel + 24;

	memcpy(kernel, "\177ELF", 4);
	kernel[4] = is_64 ? 2 : 1;
	kernel[5] = kernel[6] = 1;
	put_le16(kernel + 16, 2); /* ET_EXEC */
	put_le16(kernel + 18, is_64 ? 62 : 3);
	put_le32(kernel + 20, 1);
	kernel_word(&p, is_64, KERNEL_ENTRY + KERNEL_HIGH);
	kernel_word(&p, is_64, kernel_phdr(is_64, 0));
	kernel_word(&p, is_64, 0);
	put_le16(p + 4, is_64 ? 64 : 52);
	put_le16(p + 6, is_64 ? 56 : 32);
	put_le16(p + 8, 3);
}

static inline void kernel_multiboot1(uint8_t *kernel, uint32_t flags)
{
	put_le32(kernel + KERNEL_MB1, 0x1badb002);
	put_le32(kernel + KERNEL_MB1 + 4, flags);
	put_le32(kernel + KERNEL_MB1 + 8, -(0x1badb002 + flags));
}

/* n bytes of tags, with their padding, which lie there already; the end tag is put behind them. */
static inline void kernel_multiboot2(uint8_t *kernel, uint32_t n)
{
	uint8_t *p = kernel + KERNEL_MB2;

	put_le32(p, 0xe85250d6);
	put_le32(p + 4, 0);
	put_le32(p + 8, 16 + n + 8);
	put_le32(p + 12, -(0xe85250d6 + 16 + n + 8));
	put_le64(p + 16 + n, (uint64_t)8 << 32);
}

static inline void kernel_make(uint8_t kernel[KERNEL_SIZE], bool is_64)
{
	uint8_t *note = kernel + KERNEL_NOTE;

	memset(kernel, 0, KERNEL_TEXT);
	for (size_t i = KERNEL_TEXT; i < KERNEL_SIZE; i++)
		kernel[i] = (uint8_t)(i * 31 + (i >> 8));
	kernel_header(kernel, is_64);
	kernel_segment(
	    kernel, is_64, 0, 1, KERNEL_TEXT, KERNEL_LOAD, KERNEL_TEXT_SIZE, KERNEL_TEXT_SIZE);
	kernel_segment(
	    kernel, is_64, 1, 1, KERNEL_DATA, KERNEL_LOAD_DATA, KERNEL_DATA_SIZE, KERNEL_BSS);
	kernel_segment(kernel, is_64, 2, 4, KERNEL_NOTE, 0, KERNEL_NOTE_SIZE, KERNEL_NOTE_SIZE);
	kernel_multiboot1(kernel, 3);
	kernel_multiboot2(kernel, 0);
	put_le32(note, 4); /* another note first: "GNU", one byte */
	put_le32(note + 4, 1);
	put_le32(note + 8, 18);
	memcpy(note + 12, "GNU", 4);
	note += 20;
	put_le32(note, 4);
	put_le32(note + 4, 0); /* and one of Xen's, of another type and without contents */
	put_le32(note + 8, 5);
	memcpy(note + 12, "Xen", 4);
	note += 16;
	put_le32(note, 4);
	put_le32(note + 4, 4);
	put_le32(note + 8, 18);
	memcpy(note + 12, "Xen", 4);
	put_le32(note + 16, KERNEL_ENTRY);
}

#endif
