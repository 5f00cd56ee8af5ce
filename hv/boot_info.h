/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the EFI loader hands to the hypervisor: the only header that both
 * include. All addresses are physical; everything pointed to lies in memory of
 * type BOOT_MEM_LOADER, which the hypervisor never reuses.
 */
#ifndef AMBER_BOOT_INFO_H
#define AMBER_BOOT_INFO_H

#include <stdint.h>

#define BOOT_INFO_MAGIC	  0x31524542414d41ULL /* "AMBER1" with two leading zero bytes */
#define BOOT_INFO_VERSION 1

enum boot_mem_type {
	BOOT_MEM_USABLE = 1, /* free for the hypervisor (conventional and boot-services memory) */
	BOOT_MEM_LOADER = 2, /* hypervisor image, this block, payload files, initial page tables */
	BOOT_MEM_RUNTIME_CODE = 3,
	BOOT_MEM_RUNTIME_DATA = 4,
	BOOT_MEM_ACPI = 5, /* ACPI reclaim and NVS: kept, readable */
	BOOT_MEM_MMIO = 6,
	BOOT_MEM_RESERVED = 7, /* anything else: not touched */
};

struct boot_mem {
	uint64_t start, size; /* bytes, multiples of 4096 */
	uint32_t type;	      /* enum boot_mem_type */
	uint32_t attr;	      /* low 32 bits of the EFI attributes */
};

/* A file from the boot volume: a manifest (\amber\NAME.dtb) or a payload that one names. */
struct boot_file {
	char name[64]; /* file name without folder, NUL-terminated */
	uint64_t addr, size;
};

struct boot_framebuffer {
	uint64_t addr, size;
	uint32_t width, height, stride; /* pixels */
	uint32_t format;		/* EFI_GRAPHICS_PIXEL_FORMAT; width 0: none */
};

#define BOOT_MAX_FILES	   64
#define BOOT_MAX_MEM	   512
#define BOOT_MAX_COMPLAINT 1024

struct boot_info {
	uint64_t magic;
	uint32_t version, size;		 /* sizeof(struct boot_info) of the loader */
	uint64_t image_phys, image_size; /* where the hypervisor image was put; 2 MiB aligned */
	uint64_t rsdp;			 /* 0: no ACPI */
	uint64_t smbios;		 /* 0: none */
	uint64_t runtime_services;	 /* EFI_RUNTIME_SERVICES *, physical (identity), 0: none */
	uint64_t ap_page;		 /* one page below 1 MiB for AP start-up, 0: none */
	uint64_t uart_port; /* I/O port of the console UART (0x3f8 unless found otherwise) */
	uint64_t tsc_hz;    /* TSC frequency measured with the firmware's Stall, 0: not measured */
	struct boot_framebuffer fb;
	uint32_t nmem, nfiles;
	struct boot_mem mem[BOOT_MAX_MEM]; /* sorted, not overlapping */
	struct boot_file files[BOOT_MAX_FILES];
	char complaint[BOOT_MAX_COMPLAINT]; /* of the configuration; "" if there is none */
};

/*
 * Entry: long mode, interrupts off, RDI = physical = virtual address of the
 * boot_info. CR3 maps all memory up to 4 GiB and everything in mem[] one to
 * one, and the image at HV_IMAGE_BASE. RSP is 16-byte aligned with at least
 * 16 KiB below it.
 */
#define HV_IMAGE_BASE 0xffffffff80000000ULL

/* At offset 0 of the flat hypervisor image, so that the loader can place it. */
struct hv_image_header {
	uint64_t magic;	   /* BOOT_INFO_MAGIC */
	uint64_t entry;	   /* virtual address */
	uint64_t mem_size; /* bytes to reserve from HV_IMAGE_BASE, BSS included */
	uint64_t file_size;
};

#endif
