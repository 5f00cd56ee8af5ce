/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Multiboot Specification 0.6.96. The kernel is an ELF file of 32 or 64 bits,
 * or anything with the address fields; either way it is entered in 32-bit
 * protected mode. What it is told is what QEMU's -kernel tells: the command line
 * begins with the file's name. A module's string is what the manifest says.
 */
#include "hv/core/boot_multiboot.h"
#include <string.h>
#include "hv/core/elf.h"
#include "hv/lib/cursor.h"
#include "hv/lib/fmt.h"

#define MULTIBOOT_HEADER_MAGIC	   0x1badb002u
#define MULTIBOOT_BOOTLOADER_MAGIC 0x2badb002u
enum {
	MULTIBOOT_SEARCH = 8192,
	HEADER_SIZE = 12,	 /* magic, flags, checksum */
	HEADER_ADDRESS_SIZE = 32 /* with header_addr to entry_addr */
};

/* Flags of the header. Bits 0 to 15 are requirements. */
enum multiboot_header_flag {
	MULTIBOOT_PAGE_ALIGN = 1 << 0,	/* always done */
	MULTIBOOT_MEMORY_INFO = 1 << 1, /* the same */
	MULTIBOOT_VIDEO_MODE = 1 << 2,	/* a wish: it is told that there is no video */
	MULTIBOOT_AOUT_KLUDGE = 1 << 16,
};
#define MULTIBOOT_UNDERSTOOD 0xffff0007u

/* Boot information: offsets, and its flags. */
enum multiboot_info {
	MBI_FLAGS = 0,
	MBI_MEM_LOWER = 4, /* KiB */
	MBI_MEM_UPPER = 8,
	MBI_CMDLINE = 16,
	MBI_MODS_COUNT = 20,
	MBI_MODS_ADDR = 24,
	MBI_MMAP_LENGTH = 44,
	MBI_MMAP_ADDR = 48,
	MBI_BOOT_LOADER_NAME = 64,
	MBI_SIZE = 116,
};
enum multiboot_info_flag {
	MULTIBOOT_INFO_MEMORY = 1 << 0,
	MULTIBOOT_INFO_CMDLINE = 1 << 2,
	MULTIBOOT_INFO_MODS = 1 << 3,
	MULTIBOOT_INFO_MEM_MAP = 1 << 6,
	MULTIBOOT_INFO_BOOT_LOADER_NAME = 1 << 9,
};
enum {
	MOD_SIZE = 16, /* mod_start, mod_end, string, reserved */
	MMAP_SIZE = 24 /* size of the rest: 20; base_addr, length, type */
};

struct header {
	uint64_t offset; /* in the file */
	uint32_t flags, entry_addr;
	struct multiboot_address address;
};

static int find_header(const struct boot_input *in, struct header *h, struct errmsg *e)
{
	struct cursor c;

	cursor_init(&c, in->kernel, MIN(in->kernel_size, (size_t)MULTIBOOT_SEARCH));
	for (uint64_t at = 0; at + HEADER_SIZE <= c.size; at += 4) {
		cursor_seek(&c, at);
		if (cursor_le32(&c) != MULTIBOOT_HEADER_MAGIC)
			continue;
		h->offset = at;
		h->flags = cursor_le32(&c);
		if (MULTIBOOT_HEADER_MAGIC + h->flags + cursor_le32(&c) != 0)
			continue; /* the checksum */
		if (h->flags & ~MULTIBOOT_UNDERSTOOD)
			return err_set(e, ERR_UNSUPPORTED,
			    "Multiboot header demands what is not known: flags 0x%x", h->flags);
		if (!(h->flags & MULTIBOOT_AOUT_KLUDGE))
			return OK;
		h->address.header_addr = cursor_le32(&c);
		h->address.load_addr = cursor_le32(&c);
		h->address.load_end_addr = cursor_le32(&c);
		h->address.bss_end_addr = cursor_le32(&c);
		h->entry_addr = cursor_le32(&c);
		return cursor_ok(&c) ? OK : err_set(e, ERR_CORRUPT, "Multiboot header cut off");
	}
	return err_set(e, ERR_UNSUPPORTED, "no Multiboot header in its first 8 KiB");
}

int multiboot_load_flat(
    struct boot_image *im, uint64_t header, const struct multiboot_address *a, struct errmsg *e)
{
	struct cursor c;
	uint64_t skip = (uint64_t)a->header_addr - a->load_addr; /* from load_addr to the header */
	struct boot_piece p = {.start = a->load_addr};

	if (a->header_addr < a->load_addr || skip > header)
		return err_set(e, ERR_CORRUPT,
		    "its header at 0x%x is loaded with the file's beginning at 0x%x",
		    a->header_addr, a->load_addr);
	cursor_init(&c, im->in->kernel, im->in->kernel_size);
	cursor_seek(&c, header - skip);
	if (a->load_end_addr && a->load_end_addr < a->load_addr)
		return err_set(e, ERR_CORRUPT, "it is loaded from 0x%x to 0x%x", a->load_addr,
		    a->load_end_addr);
	p.data_size = a->load_end_addr ? a->load_end_addr - a->load_addr : cursor_left(&c);
	p.data = cursor_take(&c, p.data_size);
	if (!p.data)
		return err_set(e, ERR_CORRUPT, "file ends before what its header promises");
	p.size = p.data_size;
	if (a->bss_end_addr)
		p.size = (uint64_t)a->bss_end_addr - a->load_addr;
	if ((a->bss_end_addr && a->bss_end_addr < a->load_addr) || p.size < p.data_size)
		return err_set(
		    e, ERR_CORRUPT, "its bss ends at 0x%x, before what is loaded", a->bss_end_addr);
	return boot_image_add(im, &p, e);
}

/* The kernel's own parts, and where it begins. */
static int load_kernel(struct boot_image *im, uint64_t *entry, struct errmsg *e)
{
	struct header h = {.flags = 0};
	struct elf f;
	int err = find_header(im->in, &h, e);

	if (!err && (h.flags & MULTIBOOT_AOUT_KLUDGE)) {
		*entry = h.entry_addr;
		err = multiboot_load_flat(im, h.offset, &h.address, e);
	} else if (!err) {
		err = elf_open(&f, im->in->kernel, im->in->kernel_size, e);
		if (!err)
			err = elf_load(&f, im, e);
		if (!err)
			*entry = elf_entry(&f);
	}
	return err ? err : boot_image_check_entry(im, *entry, e);
}

static uint32_t put_modules(const struct boot_image *im, struct boot_info_page *info)
{
	const struct boot_input *in = im->in;
	uint8_t *mods = boot_info_take(info, (size_t)in->module_count * MOD_SIZE);

	for (unsigned i = 0; mods && i < in->module_count; i++) {
		uint8_t *mod = mods + (size_t)i * MOD_SIZE;

		put_le32(mod, (uint32_t)im->module[i]);
		put_le32(mod + 4, (uint32_t)(im->module[i] + in->modules[i].size));
		put_le32(mod + 8, boot_info_text(info, in->modules[i].string));
	}
	return boot_info_addr(info, mods);
}

static uint32_t put_map(const struct boot_input *in, struct boot_info_page *info)
{
	uint8_t *map = boot_info_take(info, (size_t)in->map_count * MMAP_SIZE);

	for (unsigned i = 0; map && i < in->map_count; i++) {
		uint8_t *entry = map + (size_t)i * MMAP_SIZE;

		put_le32(entry, MMAP_SIZE - 4);
		put_le64(entry + 4, in->map[i].start);
		put_le64(entry + 12, in->map[i].size);
		put_le32(entry + 20, in->map[i].type);
	}
	return boot_info_addr(info, map);
}

static uint32_t put_command_line(const struct boot_input *in, struct boot_info_page *info)
{
	size_t name = strlen(in->kernel_name), line = strlen(in->cmdline);
	char *text = (char *)boot_info_take(info, name + line + 2);

	if (!text)
		return 0;
	memcpy(text, in->kernel_name, name);
	if (line) {
		text[name] = ' ';
		memcpy(text + name + 1, in->cmdline, line);
	}
	return boot_info_addr(info, (uint8_t *)text);
}

static void put_info(struct vm *vm, const struct boot_image *im, struct boot_info_page *info)
{
	const struct boot_input *in = im->in;
	uint32_t lower, upper;
	uint8_t *mbi = boot_info_take(info, MBI_SIZE); /* the first: cannot fail */

	boot_basic_memory(in, &lower, &upper);
	put_le32(mbi + MBI_FLAGS, MULTIBOOT_INFO_MEMORY | MULTIBOOT_INFO_CMDLINE |
				      MULTIBOOT_INFO_MODS | MULTIBOOT_INFO_MEM_MAP |
				      MULTIBOOT_INFO_BOOT_LOADER_NAME);
	put_le32(mbi + MBI_MEM_LOWER, lower);
	put_le32(mbi + MBI_MEM_UPPER, upper);
	put_le32(mbi + MBI_CMDLINE, put_command_line(in, info));
	if (in->module_count) {
		put_le32(mbi + MBI_MODS_COUNT, in->module_count);
		put_le32(mbi + MBI_MODS_ADDR, put_modules(im, info));
	}
	put_le32(mbi + MBI_MMAP_LENGTH, in->map_count * MMAP_SIZE);
	put_le32(mbi + MBI_MMAP_ADDR, put_map(in, info));
	put_le32(mbi + MBI_BOOT_LOADER_NAME, boot_info_text(info, MULTIBOOT_LOADER_NAME));
}

int boot_multiboot_load(
    struct vm *vm, const struct boot_input *in, struct vcpu_state *bsp, struct errmsg *e)
{
	return boot_image_start_32(
	    vm, in, load_kernel, put_info, MULTIBOOT_BOOTLOADER_MAGIC, bsp, e);
}
