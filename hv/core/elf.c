/* SPDX-License-Identifier: BSD-2-Clause */
/* The ELF reader. Names are the specification's. */
#include "hv/core/elf.h"
#include <string.h>

enum elf_ident { EI_CLASS = 4, EI_DATA = 5, EI_VERSION = 6, EI_NIDENT = 16 };
enum { ELFCLASS32 = 1, ELFCLASS64 = 2, ELFDATA2LSB = 1, EV_CURRENT = 1 };
enum { ET_EXEC = 2, ET_DYN = 3, EM_386 = 3, EM_X86_64 = 62 };
enum { PT_LOAD = 1, PT_NOTE = 4 };
enum {
	PHDR32_SIZE = 32,
	PHDR64_SIZE = 56,
	PHDR_MAX = 64, /* far more than any kernel has */
};

struct phdr {
	uint32_t type;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

static uint64_t read_word(struct cursor *c, bool is_64)
{
	return is_64 ? cursor_le64(c) : cursor_le32(c);
}

static int check_ident(const struct cursor *file, bool *is_64, struct errmsg *e)
{
	struct cursor c = *file;
	uint8_t ident[EI_NIDENT];

	if (!cursor_bytes(&c, ident, sizeof(ident)) || memcmp(ident, "\177ELF", 4) != 0)
		return err_set(e, ERR_UNSUPPORTED, "not an ELF file");
	*is_64 = ident[EI_CLASS] == ELFCLASS64;
	if ((ident[EI_CLASS] != ELFCLASS32 && !*is_64) || ident[EI_DATA] != ELFDATA2LSB ||
	    ident[EI_VERSION] != EV_CURRENT)
		return err_set(
		    e, ERR_UNSUPPORTED, "ELF file of another class, byte order or version");
	return OK;
}

int elf_open(struct elf *f, const void *file, size_t size, struct errmsg *e)
{
	unsigned type, machine, entry_size;
	struct cursor c;
	int err;

	*f = (struct elf){.count = 0};
	cursor_init(&f->file, file, size);
	err = check_ident(&f->file, &f->is_64, e);
	if (err)
		return err;
	c = f->file;
	cursor_seek(&c, EI_NIDENT);
	type = cursor_le16(&c);
	machine = cursor_le16(&c);
	cursor_le32(&c); /* e_version */
	f->entry = read_word(&c, f->is_64);
	f->table = read_word(&c, f->is_64);
	read_word(&c, f->is_64); /* e_shoff */
	cursor_le32(&c);	 /* e_flags */
	cursor_le16(&c);	 /* e_ehsize */
	entry_size = cursor_le16(&c);
	f->count = cursor_le16(&c);
	if (!cursor_ok(&c))
		return err_set(e, ERR_CORRUPT, "ELF header cut off");
	if (machine != (f->is_64 ? EM_X86_64 : EM_386))
		return err_set(e, ERR_UNSUPPORTED, "ELF file for machine %u", machine);
	if (type != ET_EXEC && type != ET_DYN)
		return err_set(e, ERR_UNSUPPORTED, "ELF file of type %u: not an executable", type);
	if (!f->count || f->count > PHDR_MAX ||
	    entry_size != (f->is_64 ? PHDR64_SIZE : PHDR32_SIZE))
		return err_set(
		    e, ERR_CORRUPT, "%u ELF program headers of %u bytes", f->count, entry_size);
	if (!range_in(f->table, (uint64_t)f->count * entry_size, size))
		return err_set(e, ERR_CORRUPT, "ELF program headers behind the end of the file");
	return OK;
}

static struct phdr read_phdr(const struct elf *f, unsigned i)
{
	struct cursor c = f->file;
	struct phdr p = {.type = 0};

	cursor_seek(&c, f->table + (uint64_t)i * (f->is_64 ? PHDR64_SIZE : PHDR32_SIZE));
	p.type = cursor_le32(&c);
	if (f->is_64)
		cursor_le32(&c); /* p_flags */
	p.offset = read_word(&c, f->is_64);
	p.vaddr = read_word(&c, f->is_64);
	p.paddr = read_word(&c, f->is_64);
	p.filesz = read_word(&c, f->is_64);
	p.memsz = read_word(&c, f->is_64);
	if (!f->is_64)
		cursor_le32(&c); /* p_flags */
	p.align = read_word(&c, f->is_64);
	return p;
}

/* What the segment has in the file, or NULL. */
static const uint8_t *contents(const struct elf *f, const struct phdr *p)
{
	struct cursor c = f->file;

	cursor_seek(&c, p->offset);
	return cursor_take(&c, p->filesz);
}

int elf_load(const struct elf *f, struct boot_image *im, struct errmsg *e)
{
	unsigned before = im->count;

	for (unsigned i = 0; i < f->count; i++) {
		struct phdr p = read_phdr(f, i);
		struct boot_piece piece = {
		    .start = p.paddr, .size = p.memsz, .data_size = p.filesz};
		int err;

		if (p.type != PT_LOAD || !p.memsz)
			continue;
		if (p.filesz > p.memsz)
			return err_set(e, ERR_CORRUPT, "segment %u: 0x%lx bytes in 0x%lx of memory",
			    i, p.filesz, p.memsz);
		piece.data = p.filesz ? contents(f, &p) : NULL;
		if (p.filesz && !piece.data)
			return err_set(e, ERR_CORRUPT, "segment %u: behind the end of the file", i);
		err = boot_image_add(im, &piece, e);
		if (err)
			return err_prefix(e, err, "segment %u", i);
	}
	return im->count == before ? err_set(e, ERR_CORRUPT, "no segment to load") : OK;
}

uint64_t elf_entry(const struct elf *f)
{
	for (unsigned i = 0; i < f->count; i++) {
		struct phdr p = read_phdr(f, i);

		if (p.type == PT_LOAD && f->entry >= p.vaddr && f->entry - p.vaddr < p.filesz)
			return p.paddr + (f->entry - p.vaddr);
	}
	return f->entry;
}

/* The note in one segment. Name and contents are each padded to the segment's alignment. */
static const uint8_t *note_in(
    struct cursor c, size_t align, const char *owner, uint32_t type, size_t *size)
{
	while (cursor_left(&c)) {
		uint32_t name_size = cursor_le32(&c), data_size = cursor_le32(&c);
		uint32_t found = cursor_le32(&c);
		const char *name = cursor_take(&c, name_size);
		const uint8_t *data;

		if (!cursor_ok(&c))
			return NULL;
		cursor_seek(&c, ALIGN_UP((uint64_t)c.pos, align));
		data = cursor_take(&c, data_size);
		if (!cursor_ok(&c))
			return NULL;
		if (found == type && name_size == strlen(owner) + 1 &&
		    memcmp(name, owner, name_size) == 0) {
			*size = data_size;
			return data;
		}
		cursor_seek(
		    &c, ALIGN_UP((uint64_t)c.pos, align)); /* the last one's padding may lack */
		if (!cursor_ok(&c))
			return NULL;
	}
	return NULL;
}

const uint8_t *elf_note(const struct elf *f, const char *owner, uint32_t type, size_t *size)
{
	for (unsigned i = 0; i < f->count; i++) {
		struct phdr p = read_phdr(f, i);
		const uint8_t *data = p.type == PT_NOTE ? contents(f, &p) : NULL;
		const uint8_t *note;
		struct cursor c;

		if (!data)
			continue;
		cursor_init(&c, data, p.filesz);
		note = note_in(c, p.align == 8 ? 8 : 4, owner, type, size);
		if (note)
			return note;
	}
	return NULL;
}
