/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a boot method is going to put into guest memory, as pieces: each is RAM
 * below 4 GiB and overlaps no other. Nothing is written before all of them are
 * known to fit. And the state in which a 32-bit kernel is entered.
 */
#ifndef AMBER_CORE_BOOT_IMAGE_H
#define AMBER_CORE_BOOT_IMAGE_H

#include "hv/core/boot.h"

enum {
	BOOT_KERNEL_PIECES = 40,
	BOOT_PIECES = BOOT_KERNEL_PIECES + BOOT_MODULES,
	BOOT_INFO_BASE = 3072, /* bytes for what there is but modules; the rest of a page too */
	BOOT_INFO_MODULE = 48, /* for a module, but its string */
	BOOT_INFO_AT = 0x9000, /* or above; kernels do not expect to find it at any one place */
};

struct boot_piece {
	uint64_t start, size; /* guest-physical, bytes; size > 0 */
	const void *data;     /* what it begins with; the rest is zeros */
	uint64_t data_size;
};

struct boot_image {
	const struct boot_input *in;
	struct boot_piece piece[BOOT_PIECES];
	unsigned count;
	uint64_t module[BOOT_MODULES]; /* where they are */
};

/* A piece at an address of its own choice, which must have data_size <= size. Size 0 is nothing.
 * ERR_NOSPACE (not RAM, or taken), ERR_RANGE (too many). */
int boot_image_add(struct boot_image *im, const struct boot_piece *p, struct errmsg *e) MUST_CHECK;
/* The lowest free place at from or above, a multiple of align, a power of 2, for the piece of which
 * size and data are given. ERR_NOSPACE, ERR_RANGE. */
int boot_image_place(struct boot_image *im, uint64_t from, uint64_t align, struct boot_piece *p,
    struct errmsg *e) MUST_CHECK;
/* Is there data at the entry point? ERR_CORRUPT. */
int boot_image_check_entry(
    const struct boot_image *im, uint64_t entry, struct errmsg *e) MUST_CHECK;
/* What a kernel is told, as it is being put together in pages of its own. */
struct boot_info_page {
	uint64_t base; /* guest-physical */
	size_t size, used;
	bool full; /* something did not fit */
	uint8_t data[];
};

/* n bytes of zeros at the next multiple of 8, or NULL and info->full. */
uint8_t *boot_info_take(struct boot_info_page *info, size_t n);
/* The guest-physical address of what boot_info_take() returned; 0 for NULL. */
uint32_t boot_info_addr(const struct boot_info_page *info, const uint8_t *p);
/* A copy of the text; its guest-physical address, or 0. */
uint32_t boot_info_text(struct boot_info_page *info, const char *text);

/* Fills the pages. */
typedef void boot_tell_fn(struct vm *vm, const struct boot_image *im, struct boot_info_page *info);
/* KiB of RAM from 0 on, and from 1 MiB up to the first hole: what BIOS calls told. */
void boot_basic_memory(const struct boot_input *in, uint32_t *lower, uint32_t *upper);

/* Adds what the kernel file has to the image, and says where it begins. */
typedef int boot_parse_fn(struct boot_image *im, uint64_t *entry, struct errmsg *e);
/*
 * A boot method of 32-bit kernels, whole. What parse() adds is written to guest memory, with the
 * modules, each on a page boundary behind the kernel and the one before it and not below 1 MiB, and
 * the pages that tell() fills. *bsp is set to the kernel's entry: 32-bit protected mode, flat
 * segments, no paging, interrupts off, no descriptor tables; eax as given, the pages' address in
 * EBX. Errors as those of boot_load_fn. May wait.
 */
int boot_image_start_32(struct vm *vm, const struct boot_input *in, boot_parse_fn *parse,
    boot_tell_fn *tell, uint32_t eax, struct vcpu_state *bsp, struct errmsg *e) MUST_CHECK;

#endif
