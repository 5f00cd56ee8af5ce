/* SPDX-License-Identifier: BSD-2-Clause */
/* What both versions of Multiboot have: a kernel that is no ELF file and says itself where it goes.
 */
#ifndef AMBER_CORE_BOOT_MULTIBOOT_H
#define AMBER_CORE_BOOT_MULTIBOOT_H

#include "hv/core/boot_image.h"

/* The address fields of the header: physical addresses. */
struct multiboot_address {
	uint32_t header_addr, load_addr;
	uint32_t load_end_addr; /* 0: the end of the file */
	uint32_t bss_end_addr;	/* 0: load_end_addr */
};

/* Adds what the fields describe; header is the offset of the Multiboot header in the file.
 * ERR_CORRUPT, ERR_NOSPACE. */
int multiboot_load_flat(struct boot_image *im, uint64_t header, const struct multiboot_address *a,
    struct errmsg *e) MUST_CHECK;

#define MULTIBOOT_LOADER_NAME "Amber"

#endif
