/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Nested page tables: the builder that NPT and EPT share. Guest-physical to
 * host-physical, four levels, leaves of 4 KiB, 2 MiB and 1 GiB. The entry bits
 * of the two formats come from a table.
 */
#ifndef AMBER_X86_NPT_H
#define AMBER_X86_NPT_H

#include "hv/lib/error.h"
#include "hv/lib/types.h"

enum npt_perm { NPT_R = 1, NPT_W = 2, NPT_X = 4 };

struct npt_format {
	const char *name;
	uint64_t table;	  /* bits of an entry that points to a table */
	uint64_t leaf;	  /* bits of every leaf (present, memory type) */
	uint64_t large;	  /* added to a leaf above 4 KiB */
	uint64_t write;	  /* added when writable */
	uint64_t exec;	  /* added when executable */
	uint64_t no_exec; /* added when not executable */
	uint64_t present; /* any of these bits set: the entry is in use */
	uint64_t accessed, dirty;
	unsigned max_level; /* of a leaf: 1 = 4 KiB, 2 = 2 MiB, 3 = 1 GiB; set at probe */
};

struct npt {
	const struct npt_format *fmt;
	hpa_t root;
	uint64_t tables; /* frames used by tables */
};

int npt_init(struct npt *n, const struct npt_format *fmt) MUST_CHECK;
void npt_destroy(struct npt *n);

/*
 * Maps [g, g + size) to [h, h + size) with the largest leaves that alignment
 * allows. Everything 4 KiB aligned. ERR_EXIST if anything is mapped there,
 * ERR_NOMEM. The caller flushes: nothing was mapped there before, but hardware
 * may cache a not-present entry's absence nowhere, so no flush is due.
 */
int npt_map(struct npt *n, gpa_t g, hpa_t h, uint64_t size, unsigned perm) MUST_CHECK;
/* Removes all leaves in the range, which must cover them wholly. Every CPU that runs the VM must be
 * flushed. */
void npt_unmap(struct npt *n, gpa_t g, uint64_t size);
/* The leaf that covers g, or false. perm gets enum npt_perm. */
bool npt_lookup(const struct npt *n, gpa_t g, hpa_t *h, unsigned *perm, uint64_t *leaf_size);

#endif
