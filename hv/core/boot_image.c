/* SPDX-License-Identifier: BSD-2-Clause */
/* The pieces of a boot image: where they may be, and how they get there. */
#include "hv/core/boot_image.h"
#include <string.h>
#include "hv/core/gmem.h"
#include "hv/lib/cursor.h"
#include "hv/mm/mm.h"

enum boot_selector_32 { BOOT_CS_32 = 0x08, BOOT_DS_32 = 0x10 }; /* nothing demands them */

/* The piece that [start, start + size) overlaps, or NULL. Neither wraps. */
static const struct boot_piece *overlapped(
    const struct boot_image *im, uint64_t start, uint64_t size)
{
	for (unsigned i = 0; i < im->count; i++) {
		const struct boot_piece *p = &im->piece[i];

		if (start < p->start + p->size && p->start < start + size)
			return p;
	}
	return NULL;
}

int boot_image_add(struct boot_image *im, const struct boot_piece *p, struct errmsg *e)
{
	const struct boot_input *in = im->in;

	if (!p->size)
		return OK;
	if (!range_in(p->start, p->size, 4 * GIB) ||
	    !e820_is_ram(in->map, in->map_count, p->start, p->size))
		return err_set(e, ERR_NOSPACE, "0x%lx bytes at 0x%lx are not RAM below 4 GiB",
		    p->size, p->start);
	if (overlapped(im, p->start, p->size))
		return err_set(e, ERR_NOSPACE, "0x%lx bytes at 0x%lx overlap another part of it",
		    p->size, p->start);
	if (im->count == BOOT_PIECES)
		return err_set(e, ERR_RANGE, "more than %d parts", BOOT_PIECES);
	im->piece[im->count++] = *p;
	return OK;
}

/* The lowest free place in one entry of the memory map; 0: none. */
static uint64_t place_in(const struct boot_image *im, const struct e820_entry *ram, uint64_t from,
    uint64_t align, uint64_t size)
{
	uint64_t end = MIN(ram->start + ram->size, 4 * GIB);
	uint64_t at = ALIGN_UP(MAX(ram->start, from), align);
	const struct boot_piece *p;

	while (at <= end && size <= end - at) {
		p = overlapped(im, at, size);
		if (!p)
			return at;
		at = ALIGN_UP(p->start + p->size, align);
	}
	return 0;
}

int boot_image_place(
    struct boot_image *im, uint64_t from, uint64_t align, struct boot_piece *p, struct errmsg *e)
{
	const struct boot_input *in = im->in;

	for (unsigned i = 0; i < in->map_count; i++) {
		if (in->map[i].type != E820_RAM)
			continue;
		p->start = place_in(im, &in->map[i], from, align, p->size);
		if (p->start)
			return boot_image_add(im, p, e);
	}
	return err_set(e, ERR_NOSPACE, "%llu KiB do not fit into the memory above 0x%lx",
	    ALIGN_UP(p->size, KIB) / KIB, from);
}

static int place_modules(struct boot_image *im, struct errmsg *e)
{
	const struct boot_input *in = im->in;
	uint64_t from = MIB;

	if (in->module_count > BOOT_MODULES)
		return err_set(e, ERR_RANGE, "more than %d modules", BOOT_MODULES);
	for (unsigned i = 0; i < im->count; i++)
		from = MAX(from, im->piece[i].start + im->piece[i].size);
	for (unsigned i = 0; i < in->module_count; i++) {
		const struct boot_module *m = &in->modules[i];
		struct boot_piece p = {.size = m->size, .data = m->data, .data_size = m->size};
		int err = boot_image_place(im, from, PAGE_SIZE, &p, e);

		if (err)
			return err_prefix(e, err, "module '%s'", m->name);
		im->module[i] = p.start;
		from = p.start + p.size;
	}
	return OK;
}

int boot_image_check_entry(const struct boot_image *im, uint64_t entry, struct errmsg *e)
{
	for (unsigned i = 0; i < im->count; i++) {
		const struct boot_piece *p = &im->piece[i];

		if (entry >= p->start && entry - p->start < p->data_size)
			return OK;
	}
	return err_set(e, ERR_CORRUPT, "entry point 0x%lx is in nothing that it loads", entry);
}

static int write_pieces(struct vm *vm, const struct boot_image *im, struct errmsg *e)
{
	for (unsigned i = 0; i < im->count; i++) {
		const struct boot_piece *p = &im->piece[i];
		int err = p->data_size ? gmem_write(vm, gpa(p->start), p->data, p->data_size) : OK;

		if (err)
			return err_set(e, err, "cannot write guest memory at 0x%lx: %s", p->start,
			    error_text(err));
	}
	return OK;
}

static int place_info(struct boot_image *im, struct boot_info_page *info, struct errmsg *e)
{
	struct boot_piece p = {.size = info->size, .data = info->data, .data_size = info->size};
	int err = boot_image_place(im, BOOT_INFO_AT, PAGE_SIZE, &p, e);

	if (err)
		return err_prefix(e, err, "boot information");
	info->base = p.start;
	return OK;
}

static int put_all(struct vm *vm, struct boot_image *im, boot_tell_fn *tell,
    struct boot_info_page *page, struct errmsg *e)
{
	int err = place_modules(im, e);

	if (!err)
		err = place_info(im, page, e);
	if (err)
		return err;
	tell(vm, im, page);
	if (page->full)
		return err_set(e, ERR_RANGE, "command line: too long");
	return write_pieces(vm, im, e);
}

static size_t info_size(const struct boot_input *in)
{
	size_t n = BOOT_INFO_BASE;

	for (unsigned i = 0; i < in->module_count; i++)
		n += BOOT_INFO_MODULE + strlen(in->modules[i].string);
	return ALIGN_UP(n, PAGE_SIZE);
}

static int put(
    struct vm *vm, struct boot_image *im, boot_tell_fn *tell, uint32_t *info, struct errmsg *e)
{
	size_t size = info_size(im->in);
	struct boot_info_page *page = heap_zalloc(sizeof(*page) + size); /* too much for a stack */
	int err;

	if (!page)
		return err_set(e, ERR_NOMEM, "boot information: out of memory");
	page->size = size;
	err = put_all(vm, im, tell, page, e);
	*info = (uint32_t)page->base;
	heap_free(page);
	return err;
}

uint8_t *boot_info_take(struct boot_info_page *info, size_t n)
{
	size_t at = ALIGN_UP(info->used, 8);

	if (at > info->size || n > info->size - at) {
		info->full = true;
		return NULL;
	}
	info->used = at + n;
	return info->data + at;
}

uint32_t boot_info_addr(const struct boot_info_page *info, const uint8_t *p)
{
	return p ? (uint32_t)(info->base + (uint64_t)(p - info->data)) : 0;
}

uint32_t boot_info_text(struct boot_info_page *info, const char *text)
{
	size_t n = strlen(text) + 1;
	uint8_t *p = boot_info_take(info, n);

	if (p)
		memcpy(p, text, n);
	return boot_info_addr(info, p);
}

void boot_basic_memory(const struct boot_input *in, uint32_t *lower, uint32_t *upper)
{
	*lower = *upper = 0;
	for (unsigned i = 0; i < in->map_count; i++) {
		const struct e820_entry *m = &in->map[i];

		if (m->type != E820_RAM)
			continue;
		if (m->start == 0)
			*lower = (uint32_t)(MIN(m->size, 640 * KIB) / KIB);
		if (m->start == MIB)
			*upper = (uint32_t)(MIN(m->size, 4 * GIB - MIB) / KIB);
	}
}

static void enter_32(struct vcpu_state *s, uint32_t entry, uint32_t eax, uint32_t ebx)
{
	static const struct seg code = {.sel = BOOT_CS_32,
	    .limit = 0xffffffff,
	    .attr = 0xb | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_DB | SEG_ATTR_G};
	static const struct seg data = {.sel = BOOT_DS_32,
	    .limit = 0xffffffff,
	    .attr = 0x3 | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_DB | SEG_ATTR_G};
	static const struct seg tss = {.limit = 0x67, .attr = 0xb | SEG_ATTR_P};

	memset(s->gpr, 0, sizeof(s->gpr));
	s->gpr[GPR_RAX] = eax;
	s->gpr[GPR_RBX] = ebx;
	s->rip = entry;
	s->rflags = RFLAGS_FIXED;
	for (unsigned i = 0; i < SEG_LDTR; i++)
		s->seg[i] = i == SEG_CS ? code : data;
	s->seg[SEG_LDTR] = (struct seg){0};
	s->seg[SEG_TR] = tss;
	s->gdtr = s->idtr = (struct desc_table){0};
	s->cpl = 0;
	s->cr0 = CR0_PE | CR0_ET;
	s->cr3 = s->cr4 = 0;
	s->efer = 0;
	s->activity = ACTIVITY_RUNNING;
}

int boot_image_start_32(struct vm *vm, const struct boot_input *in, boot_parse_fn *parse,
    boot_tell_fn *tell, uint32_t eax, struct vcpu_state *bsp, struct errmsg *e)
{
	struct boot_image im = {.in = in};
	uint32_t info = 0;
	uint64_t entry = 0;
	int err = parse(&im, &entry, e);

	if (err)
		return err_prefix(e, err, "kernel '%s'", in->kernel_name);
	err = put(vm, &im, tell, &info, e);
	if (err)
		return err;
	enter_32(bsp, (uint32_t)entry, eax, info);
	return OK;
}
