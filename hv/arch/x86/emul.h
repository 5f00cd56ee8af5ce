/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The instruction emulator and the guest page walker. Pure: they reach memory,
 * ports and registers only through what they are given (design brief, section 1),
 * so both run unchanged on the host in unit tests and fuzzers.
 */
#ifndef AMBER_X86_EMUL_H
#define AMBER_X86_EMUL_H

#include "hv/arch/x86/vcpu_state.h"

/* What an access is for; bits combine. */
enum access { ACCESS_READ = 0, ACCESS_WRITE = 1, ACCESS_USER = 2, ACCESS_EXEC = 4, ACCESS_IMPLICIT_SUPERVISOR = 8 };

/*
 * Memory and ports as the emulator sees them. Each returns OK; ERR_RETRY when
 * the instruction must be abandoned and restarted (nothing was done); any other
 * error counts as a bus error (reads give all ones, writes are dropped).
 * Addresses never cross a page in one call. Lengths 1..64.
 */
struct emul_ops {
	/* RAM or device memory at a guest-physical address */
	int (*read)(void *ctx, gpa_t addr, void *buf, unsigned len);
	int (*write)(void *ctx, gpa_t addr, const void *buf, unsigned len);
	/* Atomic compare and exchange of 1, 2, 4, 8 or 16 bytes; *old receives what was there; OK even if unequal. */
	int (*cmpxchg)(void *ctx, gpa_t addr, void *old, const void *desired, unsigned len);
	int (*io_read)(void *ctx, uint16_t port, unsigned len, uint32_t *value);
	int (*io_write)(void *ctx, uint16_t port, unsigned len, uint32_t value);
};

enum walk_result { WALK_OK, WALK_FAULT, WALK_RETRY };

struct walk {
	gpa_t gpa;	     /* WALK_OK: the translation */
	uint64_t page_size;  /* 4K, 2M, 4M or 1G; offset included in gpa */
	uint32_t error_code; /* WALK_FAULT: #PF error code (enum pf_error) */
};

/*
 * Translates a linear address as the CPU in state s would (no paging, 32-bit,
 * PAE, four-level; NX, WP, SMEP, SMAP, PKU; RFLAGS.AC honoured for SMAP).
 * Sets accessed and dirty bits through ops->cmpxchg; with ops->cmpxchg NULL it
 * changes nothing and asks for no permission bits: the debugger's variant.
 */
enum walk_result guest_walk(const struct vcpu_state *s, const struct emul_ops *ops, void *ctx,
    uint64_t linear, unsigned access, struct walk *out);

enum emul_result {
	EMUL_OK,	/* done; RIP, registers and flags in the state are updated */
	EMUL_EXCEPTION, /* nothing changed but what the architecture says; inject 'event', CR2 is in 'cr2' */
	EMUL_RETRY,	/* nothing changed; run the instruction again later */
	EMUL_UNHANDLED, /* not in the table: the caller reports and injects #UD or stops the guest */
	EMUL_CONTINUE	/* a REP string instruction made progress; RIP still points at it */
};

struct emul {
	struct vcpu_state *state;
	const struct emul_ops *ops;
	void *ctx;
	/* Bytes that hardware already fetched (SVM decode assist); 0: fetch through ops. */
	uint8_t insn[15];
	uint8_t insn_bytes;
	/* results */
	uint8_t insn_len;
	struct event event;
	uint64_t cr2;
};

/* Decodes and executes the one instruction at CS:RIP. At most 64 iterations of a REP per call. */
enum emul_result emulate(struct emul *e);

/* Only finds the length of the instruction at CS:RIP: 1..15, or 0 with 'event' set if it cannot be fetched or decoded. */
unsigned emul_insn_length(struct emul *e);

/*
 * IN, OUT, INS, OUTS as reported by an I/O exit whose fields the caller has
 * (port, size); INS and OUTS go through emulate().
 */

#endif
