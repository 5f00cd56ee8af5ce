/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a vCPU's code is: the translation of one page of instructions, kept
 * from exit to exit. A hit is exact, not a guess: every paging-structure entry
 * that led to the page is read again and must be what it was. Only for 64-bit
 * mode with four-level paging; elsewhere the emulator walks.
 */
#ifndef AMBER_CORE_CODE_CACHE_H
#define AMBER_CORE_CODE_CACHE_H

#include "hv/lib/types.h"

struct vm;

enum { CODE_LEVELS = 4 };

struct code_cache {
	uint64_t cr3, linear; /* of the page; linear 1: empty */
	const uint8_t *page;  /* host's view of it */
	/* what the walk read, from the root down; of a large page the last comes more than once */
	const volatile uint64_t *entry[CODE_LEVELS];
	uint64_t value[CODE_LEVELS];
};

/* Forgets: at creation, and when the guest's memory may have moved in the host's. */
void code_cache_clear(struct code_cache *c);

/* Walks the guest's tables; false if anything is unusual: the emulator will find out what. */
bool code_cache_fill(struct code_cache *c, struct vm *vm, uint64_t cr3, uint64_t linear);

/* True if c->page is the page of 'linear'. */
static inline bool code_cache_hit(const struct code_cache *c, uint64_t cr3, uint64_t linear)
{
	if (UNLIKELY((linear & ~(PAGE_SIZE - 1)) != c->linear || cr3 != c->cr3))
		return false;
	return !((*c->entry[0] ^ c->value[0]) | (*c->entry[1] ^ c->value[1]) |
		 (*c->entry[2] ^ c->value[2]) | (*c->entry[3] ^ c->value[3]));
}

#endif
