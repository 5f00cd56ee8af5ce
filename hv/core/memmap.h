/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest-physical memory map of the PC, in ascending order. */
#ifndef AMBER_CORE_MEMMAP_H
#define AMBER_CORE_MEMMAP_H

enum memmap {
	MEMMAP_EBDA = 0x9fc00,	  /* reserved up to 0xa0000 */
	MEMMAP_BIOS = 0xe0000,	  /* ACPI tables; reserved up to 1 MiB */
	MEMMAP_VMGENID = 0xff100, /* 16 bytes: the generation ID; nothing else is in its page */
	MEMMAP_BIOS_END = 0x100000,
};
#define MEMMAP_LOW_RAM_MAX 0xb0000000ULL /* RAM below 4 GiB ends here at the latest */
#define MEMMAP_ECAM	   0xb0000000ULL /* 1 MiB: bus 0 */
#define MEMMAP_ECAM_SIZE   0x00100000ULL
#define MEMMAP_PCI_HOLE	   0xc0000000ULL /* BARs */
#define MEMMAP_PCI_END	   0xfec00000ULL
#define MEMMAP_IOAPIC	   0xfec00000ULL
#define MEMMAP_HPET	   0xfed00000ULL
#define MEMMAP_LAPIC	   0xfee00000ULL
#define MEMMAP_ROM	   0xff800000ULL /* up to 4 GiB: firmware and its variables */
#define MEMMAP_ROM_SIZE	   0x00800000ULL
#define MEMMAP_HIGH_RAM	   0x100000000ULL /* the rest of RAM */

#endif
