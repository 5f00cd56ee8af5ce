/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading ELF executables for x86, of 32 and of 64 bits (System V ABI, "Object
 * Files"). The file is not trusted: every offset in it is checked. Messages have
 * no prefix.
 */
#ifndef AMBER_CORE_ELF_H
#define AMBER_CORE_ELF_H

#include "hv/core/boot_image.h"
#include "hv/lib/cursor.h"

struct elf {
	struct cursor file;
	bool is_64;
	uint64_t entry; /* as the header says: virtual */
	uint64_t table; /* of program headers: offset in the file */
	unsigned count;
};

/* Looks at the header. *f refers to the file from then on. ERR_UNSUPPORTED, ERR_CORRUPT. */
int elf_open(struct elf *f, const void *file, size_t size, struct errmsg *e) MUST_CHECK;
/* Adds what is to be loaded to the image, by physical address. ERR_CORRUPT, ERR_NOSPACE. */
int elf_load(const struct elf *f, struct boot_image *im, struct errmsg *e) MUST_CHECK;
/* The physical address of the entry point: where the segment that has it by virtual address is
 * loaded; the header's value itself if none has. */
uint64_t elf_entry(const struct elf *f);
/* The first note of that owner and type: its contents, or NULL. */
const uint8_t *elf_note(const struct elf *f, const char *owner, uint32_t type, size_t *size);

#endif
