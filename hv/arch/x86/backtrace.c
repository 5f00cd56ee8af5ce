/* SPDX-License-Identifier: BSD-2-Clause */
/* Return addresses by frame pointers, with names from the table that the second link puts in. */
#include "hv/arch/x86/paging.h"
#include "hv/arch/x86/panic.h"
#include "hv/lib/fmt.h"

/* Layout: tools/gen-symbols. */
struct ksym_head {
	uint32_t count, size;
};
struct ksym {
	uint32_t offset, name;
};
extern const char ksym_table_start[], ksym_table_end[], hv_image_start[];
extern const char hv_text_start[], hv_text_end[];

enum { MAX_FRAMES = 32 };

const char *ksym_lookup(uint64_t addr, uint64_t *offset)
{
	const struct ksym_head *h = (const struct ksym_head *)ksym_table_start;
	const struct ksym *s = (const struct ksym *)(h + 1);
	uint64_t at = addr - (uint64_t)hv_image_start;
	uint32_t low = 0, high;

	if (&ksym_table_start[0] == &ksym_table_end[0] || addr < (uint64_t)hv_text_start ||
	    addr >= (uint64_t)hv_text_end)
		return NULL;
	/* The last entry is the end of the code; find the last one at or below the address. */
	high = h->count - 1;
	while (high - low > 1) {
		uint32_t mid = low + (high - low) / 2;

		if (s[mid].offset <= at)
			low = mid;
		else
			high = mid;
	}
	*offset = at - s[low].offset;
	return ksym_table_start + s[low].name;
}

static void print_line(uint64_t addr, bool is_return, void (*print)(const char *))
{
	char line[128];
	uint64_t offset = 0;
	/* A return address may be the first byte behind a function that does not return. */
	const char *name = ksym_lookup(addr - is_return, &offset);

	if (name)
		str_format(
		    line, sizeof(line), "  %016lx %s+0x%lx\n", addr, name, offset + is_return);
	else
		str_format(line, sizeof(line), "  %016lx ?\n", addr);
	print(line);
}

void backtrace(uint64_t rip, uint64_t rbp, void (*print)(const char *text))
{
	uint64_t pa;

	print_line(rip, false, print);
	for (int i = 0; i < MAX_FRAMES; i++) {
		const uint64_t *frame = (const uint64_t *)rbp;

		/* Stacks are pages of the upper half; frames go upwards, aligned to 8. */
		if (rbp >> 47 != 0x1ffff || rbp % 8 || !paging_lookup(rbp, &pa) ||
		    !paging_lookup(rbp + 8, &pa))
			return;
		if (frame[1] < (uint64_t)hv_text_start || frame[1] >= (uint64_t)hv_text_end)
			return;
		print_line(frame[1], true, print);
		if (frame[0] <= rbp)
			return;
		rbp = frame[0];
	}
}
