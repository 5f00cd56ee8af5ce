/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's memory map as firmware reports it (ACPI 6.5, 15.1: INT 15h, E820h). */
#ifndef AMBER_CORE_E820_H
#define AMBER_CORE_E820_H

#include "hv/lib/types.h"

/* ACPI 6.5, table 15.4. */
enum e820_type { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3, E820_NVS = 4 };

struct e820_entry {
	uint64_t start, size; /* bytes */
	uint32_t type;	      /* enum e820_type */
};

#define E820_MAX 8

/*
 * The map of a machine with that much memory (bytes, at least 2 MiB), ascending,
 * following hv/core/memmap.h; returns the number of entries.
 */
unsigned e820_build(uint64_t memory, struct e820_entry map[E820_MAX]);

/* True if [start, start + size) lies within one RAM entry. */
bool e820_is_ram(const struct e820_entry *map, unsigned count, uint64_t start, uint64_t size);

#endif
