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

struct vcpu;

struct code_cache {
	uint64_t cr3, linear; /* of the page; linear 1: empty */
	const uint8_t *page;  /* host's view of it */
	unsigned levels;
	const volatile uint64_t *entry[4];
	uint64_t value[4];
};

/* Forgets: at creation, and when the guest's memory may have moved in the host's. */
void code_cache_clear(struct code_cache *c);

/*
 * The bytes at RIP and how many follow in the page; NULL if that is not to be
 * had cheaply. The guest may change them at any time: read once (I3). By the
 * vCPU's own thread, right after an exit.
 */
const uint8_t *code_at_rip(struct vcpu *v, unsigned *left);

#endif
