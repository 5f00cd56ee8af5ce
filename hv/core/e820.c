/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's memory map out of the amount of its memory. */
#include "hv/core/e820.h"
#include "hv/core/memmap.h"
#include "hv/lib/cursor.h"

unsigned e820_build(uint64_t memory, struct e820_entry map[E820_MAX])
{
	uint64_t low = MIN(memory, MEMMAP_LOW_RAM_MAX);
	const struct e820_entry all[] = {
	    {0, MEMMAP_EBDA, E820_RAM},
	    {MEMMAP_EBDA, 0xa0000 - MEMMAP_EBDA, E820_RESERVED},
	    {MEMMAP_BIOS, MEMMAP_BIOS_END - MEMMAP_BIOS, E820_RESERVED},
	    {MEMMAP_BIOS_END, low - MEMMAP_BIOS_END, E820_RAM},
	    {MEMMAP_ECAM, MEMMAP_ECAM_SIZE, E820_RESERVED}, /* or Linux would not use it */
	    {MEMMAP_HIGH_RAM, memory - low, E820_RAM},
	};
	unsigned n = 0;

	_Static_assert(ARRAY_LEN(all) <= E820_MAX, "E820_MAX");
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (all[i].size)
			map[n++] = all[i];
	return n;
}

bool e820_is_ram(const struct e820_entry *map, unsigned count, uint64_t start, uint64_t size)
{
	for (unsigned i = 0; i < count; i++)
		if (map[i].type == E820_RAM && start >= map[i].start &&
		    range_in(start - map[i].start, size, map[i].size))
			return true;
	return false;
}
