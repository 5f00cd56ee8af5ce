/* SPDX-License-Identifier: BSD-2-Clause */
/* What a guest's page tables map, as a list of ranges. */
#ifndef AMBER_SNAP_PTWALK_H
#define AMBER_SNAP_PTWALK_H

#include "hv/arch/x86/vcpu_state.h"
#include "hv/lib/error.h"

enum { PTWALK_MAX = 60000 }; /* ranges; more than an ELF header's 65,534 segments would be no use */

struct mapping {
	uint64_t va, pa, len; /* bytes, multiples of a page */
};

struct mappings {
	struct mapping *range; /* ascending by va, from heap_alloc() */
	unsigned n;
	bool cut; /* there were more than PTWALK_MAX */
};

/* The memory in which the tables lie; a page number is an address / 4096. */
struct ptwalk_memory {
	/* 4 KiB at the guest-physical address pa; ERR_NOENT if there is no RAM */
	int (*read)(void *ctx, uint64_t pa, void *buf);
	/*
	 * The first RAM in [pa, pa + len), cut to where its addresses end: false if there is none.
	 */
	bool (*clip)(void *ctx, uint64_t *pa, uint64_t *len);
	uint64_t pages; /* no RAM at this page number or above */
	void *ctx;
};

/*
 * Walks the tables that s->cr3 names (4-level, PAE or 32-bit paging), the upper half of the
 * addresses first. The guest may have written anything there: each page is read as a table once
 * at most, so that loops and aliases end (what a table maps shows at the first place only), and
 * what maps no RAM is left out. ERR_STATE if paging is off. The caller frees out->range.
 */
int ptwalk(const struct vcpu_state *s, const struct ptwalk_memory *m, struct mappings *out,
    struct errmsg *e) MUST_CHECK;

#endif
