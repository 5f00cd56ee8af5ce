/* SPDX-License-Identifier: BSD-2-Clause */
/* The translation of the page that a vCPU executes. */
#include "hv/core/code_cache.h"

#include "hv/core/gmem.h"
#include "hv/core/virt_ops.h"
#include "hv/core/vm.h"

/* Paging-structure entries (SDM volume 3, 4.5). */
#define PTE_P	 BIT(0)
#define PTE_PS	 BIT(7)
#define PTE_ADDR 0x000ffffffffff000ULL

enum { LEVELS = 4, NOTHING = 1 };

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

/* Walks the four levels; false if anything is unusual: the emulator will find out what. */
static bool fill(struct code_cache *c, struct vm *vm, uint64_t cr3, uint64_t linear)
{
	uint64_t table = cr3 & PTE_ADDR;
	unsigned n = 0;

	c->linear = NOTHING;
	for (unsigned level = LEVELS; level >= 1; level--) {
		unsigned shift = PAGE_SHIFT + 9 * (level - 1);
		const uint8_t *p = host_page(vm, table);
		uint64_t e;

		if (!p)
			return false;
		c->entry[n] = (const volatile uint64_t *)(const void *)p + (linear >> shift & 511);
		e = c->value[n] = *c->entry[n];
		n++;
		if (!(e & PTE_P))
			return false;
		table = e & PTE_ADDR;
		if (level == 1 || (level < LEVELS && (e & PTE_PS))) {
			uint64_t offset = linear & (BIT(shift) - 1);

			c->page = host_page(vm, (table & ~(BIT(shift) - 1)) + offset);
			break;
		}
	}
	if (!c->page)
		return false;
	c->levels = n;
	c->cr3 = cr3;
	c->linear = linear & ~(PAGE_SIZE - 1);
	return true;
}

const uint8_t *code_at_rip(struct vcpu *v, unsigned *left)
{
	struct code_cache *c = &v->code;
	uint64_t linear, cr3;
	bool hit;

	if (!virt->code_address(v, &linear, &cr3))
		return NULL;
	hit = (linear & ~(PAGE_SIZE - 1)) == c->linear && cr3 == c->cr3;
	for (unsigned i = 0; hit && i < c->levels; i++)
		hit = *c->entry[i] == c->value[i];
	if (UNLIKELY(!hit) && !fill(c, v->vm, cr3, linear))
		return NULL;
	*left = (unsigned)(PAGE_SIZE - (linear & (PAGE_SIZE - 1)));
	return c->page + (linear & (PAGE_SIZE - 1));
}
