/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Xen's x86/HVM direct boot ABI: an ELF file whose note says where it is entered
 * in 32-bit protected mode, with EBX at a struct hvm_start_info
 * (xen/include/public/arch-x86/hvm/start_info.h).
 */
#include "hv/core/boot_image.h"
#include "hv/core/elf.h"

#define XEN_HVM_START_MAGIC_VALUE 0x336ec578u
enum { XEN_ELFNOTE_PHYS32_ENTRY = 18 };

/* struct hvm_start_info, version 1. */
enum hvm_start_info {
	START_MAGIC = 0,
	START_VERSION = 4,
	START_NR_MODULES = 12,
	START_MODLIST_PADDR = 16,
	START_CMDLINE_PADDR = 24,
	START_RSDP_PADDR = 32,
	START_MEMMAP_PADDR = 40,
	START_MEMMAP_ENTRIES = 48,
	START_SIZE = 56,
};
enum {
	MODLIST_ENTRY = 32, /* paddr, size, cmdline_paddr, reserved: 64 bits each */
	MEMMAP_ENTRY = 24   /* addr, size; type, reserved: 32 bits each; types are E820's */
};

static int load_kernel(struct boot_image *im, uint64_t *entry, struct errmsg *e)
{
	const uint8_t *note;
	struct elf f;
	size_t size;
	int err = elf_open(&f, im->in->kernel, im->in->kernel_size, e);

	if (err)
		return err;
	note = elf_note(&f, "Xen", XEN_ELFNOTE_PHYS32_ENTRY, &size);
	if (!note)
		return err_set(e, ERR_UNSUPPORTED, "no ELF note with a PVH entry point");
	if (size != 4 && size != 8)
		return err_set(e, ERR_CORRUPT, "PVH entry point of %zu bytes", size);
	*entry = size == 4 ? get_le32(note) : get_le64(note);
	err = elf_load(&f, im, e);
	return err ? err : boot_image_check_entry(im, *entry, e);
}

static uint32_t put_modlist(const struct boot_image *im, struct boot_info_page *info)
{
	const struct boot_input *in = im->in;
	uint8_t *list = boot_info_take(info, (size_t)in->module_count * MODLIST_ENTRY);

	for (unsigned i = 0; list && i < in->module_count; i++) {
		uint8_t *mod = list + (size_t)i * MODLIST_ENTRY;

		put_le64(mod, im->module[i]);
		put_le64(mod + 8, in->modules[i].size);
		put_le64(mod + 16, boot_info_text(info, in->modules[i].string));
	}
	return boot_info_addr(info, list);
}

static uint32_t put_memmap(const struct boot_input *in, struct boot_info_page *info)
{
	uint8_t *map = boot_info_take(info, (size_t)in->map_count * MEMMAP_ENTRY);

	for (unsigned i = 0; map && i < in->map_count; i++) {
		uint8_t *entry = map + (size_t)i * MEMMAP_ENTRY;

		put_le64(entry, in->map[i].start);
		put_le64(entry + 8, in->map[i].size);
		put_le32(entry + 16, in->map[i].type);
	}
	return boot_info_addr(info, map);
}

static void put_info(struct vm *vm, const struct boot_image *im, struct boot_info_page *info)
{
	const struct boot_input *in = im->in;
	uint8_t *start = boot_info_take(info, START_SIZE); /* the first: cannot fail */

	put_le32(start + START_MAGIC, XEN_HVM_START_MAGIC_VALUE);
	put_le32(start + START_VERSION, 1);
	if (in->module_count) {
		put_le32(start + START_NR_MODULES, in->module_count);
		put_le64(start + START_MODLIST_PADDR, put_modlist(im, info));
	}
	put_le64(start + START_CMDLINE_PADDR, boot_info_text(info, in->cmdline));
	put_le64(start + START_RSDP_PADDR, in->rsdp);
	put_le64(start + START_MEMMAP_PADDR, put_memmap(in, info));
	put_le32(start + START_MEMMAP_ENTRIES, in->map_count);
}

int boot_pvh_load(
    struct vm *vm, const struct boot_input *in, struct vcpu_state *bsp, struct errmsg *e)
{
	return boot_image_start_32(vm, in, load_kernel, put_info, 0, bsp, e);
}
