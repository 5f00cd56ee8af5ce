/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The EFI program's own parts, in the order in which main.c uses them. All but
 * memmap.c, quiet.c and enter.asm run while boot services are there.
 */
#ifndef AMBER_BOOT_EFI_LOADER_H
#define AMBER_BOOT_EFI_LOADER_H

#include <efi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/boot_info.h"

#define PAGE_BYTES    4096ULL
#define PAGES(bytes)  (((bytes) + PAGE_BYTES - 1) / PAGE_BYTES)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

extern EFI_SYSTEM_TABLE *st;
extern EFI_BOOT_SERVICES *bs;

/* --- lib.c: text and memory ---------------------------------------------------- */

/* Prints strings, ended by NULL, on the firmware's console. */
void say(const char *first, ...) __attribute__((sentinel));
/* Adds one line of text to bi->complaint; what does not fit is cut off. Prints nothing. */
void complain(struct boot_info *bi, const char *first, ...) __attribute__((sentinel));
/* A few words for a status: "not found", "out of memory". */
const char *status_text(EFI_STATUS s);
bool text_equal(const char *a, const char *b);
bool guid_equal(const EFI_GUID *a, const EFI_GUID *b);
/* Zeroed pages of LoaderData below max (inclusive); 0 if there are none. */
uint64_t pages_alloc(uint64_t bytes, uint64_t max);
void *memcpy(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);

/* --- files.c, dtb_names.c: what the boot volume holds ---------------------------- */

/*
 * Reads \amber\*.dtb and the files that they name from the volume that the program
 * came from into bi->files. Whatever goes wrong becomes a complaint.
 */
void files_load(struct boot_info *bi, EFI_HANDLE image);

/* must: it has to be a file; otherwise it may be something else, if no file has this name. */
typedef void dtb_found_fn(void *arg, const char *name, bool must);
/*
 * Calls found for each name in a property of the flattened tree at blob that names
 * files. Stops silently where the tree is damaged: to say what is
 * wrong with it is the hypervisor's business. The name handed out lies in the blob
 * and is NUL-terminated.
 */
void dtb_names(const void *blob, size_t size, dtb_found_fn *found, void *arg);

/* --- platform.c: what the firmware knows about the machine ------------------------ */

/* Fills in rsdp, smbios, runtime_services, ap_page, uart_port, tsc_hz and fb. */
void platform_query(struct boot_info *bi);

/* --- memmap.c: the firmware's memory map as bi->mem -------------------------------- */

struct efi_map {
	EFI_MEMORY_DESCRIPTOR *desc;
	UINTN capacity, size, desc_size, key; /* bytes, bytes, bytes, - */
	UINT32 desc_version;
};
/* Makes room with slack for what the map grows by meanwhile. */
EFI_STATUS map_prepare(struct efi_map *m);
/* Takes the current map; needs no memory. */
EFI_STATUS map_take(struct efi_map *m);
/* Sorts, merges and stores the map as bi->mem. */
void map_convert(const struct efi_map *m, struct boot_info *bi);

/* --- paging.c: the page tables that the hypervisor is entered with ------------------ */

/*
 * One to one: all below 4 GiB and every range of the map; and the image of size
 * bytes at phys (2 MiB aligned) at HV_IMAGE_BASE. Returns CR3, 0 if out of memory.
 */
uint64_t paging_build(const struct efi_map *m, uint64_t phys, uint64_t size);

/* --- quiet.c: devices that the firmware left running --------------------------------- */

/* Takes USB controllers from the firmware and ends all bus mastering. After ExitBootServices. */
void devices_quiet(void);

/* --- image.asm, enter.asm ------------------------------------------------------------- */

extern const uint8_t hv_blob[], hv_blob_end[];

struct handover {
	uint64_t cr3, stack_top, entry;
	struct boot_info *info;
};
void enter_hypervisor(const struct handover *h) __attribute__((noreturn));

#endif
