/* SPDX-License-Identifier: BSD-2-Clause */
/* The translation of the page that a vCPU executes. */
#include "hv/core/code_cache.h"

#include "hv/core/gmem.h"
#include "hv/core/vm.h"

/* Paging-structure entries (SDM volume 3, 4.5). */
#define PTE_P	 BIT(0)
#define PTE_PS	 BIT(7)
#define PTE_ADDR 0x000ffffffffff000ULL

enum { NOTHING = 1 };

void code_cache_clear(struct code_cache *c)
{
	c->linear = NOTHING;
}

static const uint8_t *host_page(struct vm *vm, uint64_t addr)
{
	uint64_t left;
	const uint8_t *p = gmem_peek(vm, gpa(addr & ~(PAGE_SIZE - 1)), &left);

	return p && left >= PAGE_SIZE ? p : NULL;
}

bool code_cache_fill(struct code_cache *c, struct vm *vm, uint64_t cr3, uint64_t linear)
{
	uint64_t table = cr3 & PTE_ADDR;
	bool leaf = false;

	c->linear = NOTHING;
	c->page = NULL;
	for (unsigned n = 0; n < CODE_LEVELS; n++) {
		unsigned shift = PAGE_SHIFT + 9 * (CODE_LEVELS - 1 - n);
		const uint8_t *p;

		if (leaf) {
			c->entry[n] = c->entry[n - 1];
			c->value[n] = c->value[n - 1];
			continue;
		}
		p = host_page(vm, table);
		if (!p)
			return false;
		c->entry[n] = (const volatile uint64_t *)(const void *)p + (linear >> shift & 511);
		c->value[n] = *c->entry[n];
		if (!(c->value[n] & PTE_P))
			return false;
		table = c->value[n] & PTE_ADDR;
		leaf = shift == PAGE_SHIFT || (n > 0 && (c->value[n] & PTE_PS));
		if (leaf)
			c->page = host_page(
			    vm, (table & ~(BIT(shift) - 1)) + (linear & (BIT(shift) - 1)));
	}
	if (!c->page)
		return false;
	c->cr3 = cr3;
	c->linear = linear & ~(PAGE_SIZE - 1);
	return true;
}
