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

/* NPT_TRACKED: writable by right, but the first write to it faults, until npt_open(). */
enum npt_perm { NPT_R = 1, NPT_W = 2, NPT_X = 4, NPT_TRACKED = 8 };

/* Bit 52 is the software's in both formats (APM volume 2, 5.4; SDM volume 3, table 29-6). */
#define NPT_MAY_WRITE BIT(52)

struct npt_format {
	const char *name;
	uint64_t table;		  /* bits of an entry that points to a table */
	uint64_t leaf;		  /* bits of every leaf (present, memory type) */
	uint64_t large;		  /* added to a leaf above 4 KiB */
	uint64_t write;		  /* added when writable */
	uint64_t exec;		  /* added when executable */
	uint64_t no_exec;	  /* added when not executable */
	uint64_t present;	  /* any of these bits set: the entry is in use */
	uint64_t accessed, dirty; /* dirty is 0 where hardware does not set it */
	uint64_t may_write;	  /* ignored by hardware: the leaf is writable by right */
	unsigned max_level;	  /* of a leaf: 1 = 4 KiB, 2 = 2 MiB, 3 = 1 GiB; set at probe */
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
/* Removes everything; the root stays. Every CPU that runs the VM must be flushed. */
void npt_clear(struct npt *n);
/* The leaf that covers g, or false. perm gets enum npt_perm: what the tables above it allow too. */
bool npt_lookup(const struct npt *n, gpa_t g, hpa_t *h, unsigned *perm, uint64_t *leaf_size);

/*
 * Watching writes. A bit that hardware ignores keeps what an entry may allow by right, so that
 * write permission can be taken away high in the tree and be pushed down where somebody writes:
 * protecting a machine costs the same whatever its size.
 */

/* No write anywhere from here on. Every CPU that runs the VM must be flushed before it goes on. */
void npt_protect(struct npt *n);
/*
 * Lets writes into [g, g + size), which lies within 2 MiB and is mapped: gives the path to it its
 * permission after taking it from all that hangs beside it, splits a large leaf. Leaves that are
 * not writable by right stay as they are. ERR_NOMEM for a table; then nothing is opened. Nothing
 * needs to be flushed: permissions only grow, and a CPU that still has the smaller one faults
 * again.
 */
int npt_open(struct npt *n, gpa_t g, uint64_t size) MUST_CHECK;
/*
 * Which of the 4 KiB pages from g on, n <= 32, hardware has written since it was asked last: bit i
 * for page i. A large leaf counts for all of its pages, and keeps its bit. All ones if this
 * format has no dirty bits. Meaningful only for what cannot be written at the moment, or where
 * losing a race with a write does no harm; the bits are cleared in memory, the caller flushes if
 * CPUs may hold them.
 */
uint32_t npt_take_dirty(struct npt *n, gpa_t g, unsigned count);
/*
 * Which pieces of 64 KiB of the 2 MiB at g, which is aligned, hardware has reached since it was
 * asked last: bit i for piece i. A leaf of 2 MiB counts for all of its pieces; so does a larger
 * one, which keeps its bit. 0 if this format has no accessed bits. The bits are cleared in memory:
 * a CPU that is not flushed does not set again what it holds. Splitting a leaf forgets its bit.
 */
uint32_t npt_take_accessed(struct npt *n, gpa_t g);

#endif
