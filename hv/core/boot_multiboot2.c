/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Multiboot2 Specification 2.0, for i386: header and boot information are lists
 * of tags. A header tag that is not known is skipped if it says that it is
 * optional, and refuses the kernel otherwise.
 */
#include <string.h>
#include "hv/core/boot_multiboot.h"
#include "hv/core/elf.h"
#include "hv/core/gmem.h"
#include "hv/lib/cursor.h"

#define MULTIBOOT2_HEADER_MAGIC	    0xe85250d6u
#define MULTIBOOT2_BOOTLOADER_MAGIC 0x36d76289u
enum {
	MULTIBOOT2_SEARCH = 32768,
	MULTIBOOT2_ALIGN = 8,
	MULTIBOOT2_ARCHITECTURE_I386 = 0,
	HEADER_SIZE = 16, /* magic, architecture, header_length, checksum */
	TAG_SIZE = 8,	  /* type and flags of 16 bits, size of 32; or type and size of 32 */
	HEADER_TAG_OPTIONAL = 1 << 0,
};

/* Types of tags in the boot information; those that are not here are of video, BIOS and EFI. */
enum multiboot2_tag {
	TAG_END = 0,
	TAG_CMDLINE = 1,
	TAG_BOOT_LOADER_NAME = 2,
	TAG_MODULE = 3,
	TAG_BASIC_MEMINFO = 4,
	TAG_MMAP = 6,
	TAG_ACPI_NEW = 15,
	TAG_LAST = 21, /* load base address: the last one that the specification has */
};
enum {
	MMAP_ENTRY = 24, /* base_addr, length; type, reserved of 32 bits */
	RSDP_SIZE = 36,	 /* ACPI 6.5, 5.2.5.3 */
};

struct header {
	uint64_t offset; /* in the file */
	bool has_address, has_entry;
	uint32_t entry_addr;
	struct multiboot_address address;
};

/* --- header tags -------------------------------------------------------------------- */

/* All that is asked for must be known, though it need not be there. */
static int take_request(struct header *h, struct cursor *c, bool optional, struct errmsg *e)
{
	while (cursor_left(c) >= 4) {
		uint32_t type = cursor_le32(c);

		if (type > TAG_LAST && !optional)
			return err_set(e, ERR_UNSUPPORTED,
			    "Multiboot2 header demands unknown information %u", type);
	}
	return OK;
}

static int take_address(struct header *h, struct cursor *c, bool optional, struct errmsg *e)
{
	struct multiboot_address *a = &h->address;

	h->has_address = true;
	a->header_addr = cursor_le32(c);
	a->load_addr = cursor_le32(c);
	a->load_end_addr = cursor_le32(c);
	a->bss_end_addr = cursor_le32(c);
	if (a->load_addr == UINT32_MAX) /* the file from its beginning */
		a->load_addr = a->header_addr - (uint32_t)h->offset;
	return OK;
}

static int take_entry(struct header *h, struct cursor *c, bool optional, struct errmsg *e)
{
	h->has_entry = true;
	h->entry_addr = cursor_le32(c);
	return OK;
}

/* Modules are on page boundaries always; the kernel is where it wants to be; and EFI tags are for
 * loaders that are started by EFI. */
static int take_nothing(struct header *h, struct cursor *c, bool optional, struct errmsg *e)
{
	return OK;
}

static const struct header_tag {
	uint32_t type, size; /* at least; bytes */
	int (*take)(struct header *h, struct cursor *c, bool optional, struct errmsg *e);
} header_tags[] = {
    {1, 8, take_request}, {2, 24, take_address}, {3, 12, take_entry},
    {6, 8, take_nothing},  /* module alignment */
    {7, 8, take_nothing},  /* EFI boot services */
    {8, 8, take_nothing},  /* EFI i386 entry address */
    {9, 8, take_nothing},  /* EFI amd64 entry address */
    {10, 8, take_nothing}, /* relocatable */
};

/* What follows type, flags and size of one tag. */
static int take_tag(
    struct header *h, uint32_t type, uint32_t flags, struct cursor *body, struct errmsg *e)
{
	bool optional = flags & HEADER_TAG_OPTIONAL;

	for (size_t i = 0; i < ARRAY_LEN(header_tags); i++) {
		const struct header_tag *t = &header_tags[i];

		if (t->type != type)
			continue;
		if (body->size + TAG_SIZE < t->size)
			return err_set(e, ERR_CORRUPT, "Multiboot2 header: tag %u too short", type);
		return t->take(h, body, optional, e);
	}
	if (optional)
		return OK;
	return err_set(
	    e, ERR_UNSUPPORTED, "Multiboot2 header demands what is not there: tag %u", type);
}

/* c: the header, from its magic to its end. */
static int take_tags(struct header *h, struct cursor *c, struct errmsg *e)
{
	cursor_seek(c, HEADER_SIZE);
	for (;;) {
		size_t start = c->pos;
		uint32_t type = cursor_le16(c), flags = cursor_le16(c), size = cursor_le32(c);
		struct cursor body;
		const void *p;
		int err;

		if (cursor_ok(c) && type == TAG_END)
			return OK;
		p = size >= TAG_SIZE ? cursor_take(c, size - TAG_SIZE) : NULL;
		if (!p)
			return err_set(e, ERR_CORRUPT,
			    "Multiboot2 header: damaged tag at its byte %zu", start);
		cursor_init(&body, p, size - TAG_SIZE);
		err = take_tag(h, type, flags, &body, e);
		if (err)
			return err;
		cursor_seek(c, ALIGN_UP(c->pos, MULTIBOOT2_ALIGN));
	}
}

static int find_header(const struct boot_input *in, struct header *h, struct errmsg *e)
{
	struct cursor c, tags;

	cursor_init(&c, in->kernel, MIN(in->kernel_size, (size_t)MULTIBOOT2_SEARCH));
	for (uint64_t at = 0; at + HEADER_SIZE <= c.size; at += MULTIBOOT2_ALIGN) {
		uint32_t architecture, length;

		cursor_seek(&c, at);
		if (cursor_le32(&c) != MULTIBOOT2_HEADER_MAGIC)
			continue;
		architecture = cursor_le32(&c);
		length = cursor_le32(&c);
		if (MULTIBOOT2_HEADER_MAGIC + architecture + length + cursor_le32(&c) != 0)
			continue; /* the checksum */
		if (architecture != MULTIBOOT2_ARCHITECTURE_I386)
			return err_set(e, ERR_UNSUPPORTED, "Multiboot2 header for architecture %u",
			    architecture);
		if (length < HEADER_SIZE || !range_in(at, length, c.size))
			return err_set(e, ERR_CORRUPT, "Multiboot2 header cut off");
		h->offset = at;
		cursor_init(&tags, c.base + at, length);
		return take_tags(h, &tags, e);
	}
	return err_set(e, ERR_UNSUPPORTED, "no Multiboot2 header in its first 32 KiB");
}

static int load_kernel(struct boot_image *im, uint64_t *entry, struct errmsg *e)
{
	struct header h = {.offset = 0};
	struct elf f;
	int err = find_header(im->in, &h, e);

	if (!err && h.has_address) {
		if (!h.has_entry)
			return err_set(e, ERR_CORRUPT,
			    "Multiboot2 header: an address tag, but no entry address tag");
		err = multiboot_load_flat(im, h.offset, &h.address, e);
	} else if (!err) {
		err = elf_open(&f, im->in->kernel, im->in->kernel_size, e);
		if (!err)
			err = elf_load(&f, im, e);
		if (!err)
			*entry = elf_entry(&f);
	}
	if (h.has_entry)
		*entry = h.entry_addr;
	return err ? err : boot_image_check_entry(im, *entry, e);
}

/* --- boot information --------------------------------------------------------------- */

/* A tag with n bytes behind type and size, which are returned; NULL if it does not fit. */
static uint8_t *put_tag(struct boot_info_page *info, enum multiboot2_tag type, size_t n)
{
	uint8_t *tag = boot_info_take(info, TAG_SIZE + n);

	if (!tag)
		return NULL;
	put_le32(tag, type);
	put_le32(tag + 4, (uint32_t)(TAG_SIZE + n));
	return tag + TAG_SIZE;
}

static void put_text(struct boot_info_page *info, enum multiboot2_tag type, const char *text)
{
	size_t n = strlen(text) + 1;
	uint8_t *p = put_tag(info, type, n);

	if (p)
		memcpy(p, text, n);
}

static void put_module(struct boot_info_page *info, const struct boot_module *m, uint64_t start)
{
	size_t n = strlen(m->string) + 1;
	uint8_t *p = put_tag(info, TAG_MODULE, 8 + n);

	if (!p)
		return;
	put_le32(p, (uint32_t)start);
	put_le32(p + 4, (uint32_t)(start + m->size));
	memcpy(p + 8, m->string, n);
}

static void put_memory(struct boot_info_page *info, const struct boot_input *in)
{
	uint8_t *p = put_tag(info, TAG_BASIC_MEMINFO, 8);
	uint32_t lower, upper;

	boot_basic_memory(in, &lower, &upper);
	if (p) {
		put_le32(p, lower);
		put_le32(p + 4, upper);
	}
	p = put_tag(info, TAG_MMAP, 8 + (size_t)in->map_count * MMAP_ENTRY);
	if (!p)
		return;
	put_le32(p, MMAP_ENTRY); /* entry_version: 0 */
	for (unsigned i = 0; i < in->map_count; i++) {
		uint8_t *entry = p + 8 + (size_t)i * MMAP_ENTRY;

		put_le64(entry, in->map[i].start);
		put_le64(entry + 8, in->map[i].size);
		put_le32(entry + 16, in->map[i].type);
	}
}

/* A copy of what the firmware's tables begin with. */
static void put_rsdp(struct vm *vm, struct boot_info_page *info, uint64_t rsdp)
{
	uint8_t copy[RSDP_SIZE], *p;

	if (!rsdp || gmem_read(vm, gpa(rsdp), copy, sizeof(copy)))
		return;
	p = put_tag(info, TAG_ACPI_NEW, sizeof(copy));
	if (p)
		memcpy(p, copy, sizeof(copy));
}

static void put_info(struct vm *vm, const struct boot_image *im, struct boot_info_page *info)
{
	const struct boot_input *in = im->in;
	uint8_t *head = boot_info_take(info, 8); /* total_size, reserved; the first: cannot fail */

	put_text(info, TAG_CMDLINE, in->cmdline);
	put_text(info, TAG_BOOT_LOADER_NAME, MULTIBOOT_LOADER_NAME);
	for (unsigned i = 0; i < in->module_count; i++)
		put_module(info, &in->modules[i], im->module[i]);
	put_memory(info, in);
	put_rsdp(vm, info, in->rsdp);
	put_tag(info, TAG_END, 0);
	put_le32(head, (uint32_t)info->used);
}

int boot_multiboot2_load(
    struct vm *vm, const struct boot_input *in, struct vcpu_state *bsp, struct errmsg *e)
{
	return boot_image_start_32(
	    vm, in, load_kernel, put_info, MULTIBOOT2_BOOTLOADER_MAGIC, bsp, e);
}
