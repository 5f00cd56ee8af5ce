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
enum access {
	ACCESS_READ = 0,
	ACCESS_WRITE = 1,
	ACCESS_USER = 2,
	ACCESS_EXEC = 4,
	ACCESS_IMPLICIT_SUPERVISOR = 8
};

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
	/*
	 * Atomic compare and exchange of 1, 2, 4, 8 or 16 bytes: *old is what is
	 * expected, and receives what was there; OK even if unequal. For device
	 * memory an error other than ERR_RETRY makes the emulator write plainly.
	 */
	int (*cmpxchg)(void *ctx, gpa_t addr, void *old, const void *desired, unsigned len);
	/*
	 * Optional (may be NULL). OK: the range is RAM, and made ready, so that a
	 * read (with write: a write) of it right afterwards will not give ERR_RETRY;
	 * several elements of a string may then be moved in one call. ERR_RETRY as
	 * above. Anything else: not RAM, to be accessed element by element.
	 */
	int (*probe)(void *ctx, gpa_t addr, unsigned len, bool write);
	/*
	 * Optional (NULL: they are there). Brings the guest's vector registers and XCR0
	 * from the CPU to state->xstate and state->xcr0, where the instruction may change
	 * the former; whoever called emulate() takes them back to the CPU.
	 */
	void (*vectors)(void *ctx);
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
 * PAE, four-level; NX, WP, SMEP, SMAP; RFLAGS.AC honoured for SMAP). Protection
 * keys and five levels are not in the CPU model: vcpu_state_check() refuses
 * CR4.PKE and CR4.LA57. The caller has checked that linear is canonical.
 * Sets accessed and dirty bits through ops->cmpxchg; with ops->cmpxchg NULL it
 * changes nothing and asks for no permission bits: the debugger's variant.
 */
enum walk_result guest_walk(const struct vcpu_state *s, const struct emul_ops *ops, void *ctx,
    uint64_t linear, unsigned access, struct walk *out);

enum emul_result {
	/*
	 * Done; RIP, registers and flags in the state are updated. With RFLAGS.TF
	 * set, 'event' is the single-step trap #DB, with DR6.BS in the state.
	 */
	EMUL_OK,
	EMUL_EXCEPTION, /* nothing changed but what the architecture says; inject 'event', CR2 is in
			   'cr2' */
	EMUL_RETRY,	/* nothing changed; run the instruction again later */
	EMUL_UNHANDLED, /* not in the table: the caller reports and injects #UD or stops the guest
			 */
	/* a REP string instruction made progress; RIP still points at it; 'event' as for EMUL_OK */
	EMUL_CONTINUE
};

enum emul_map { MAP_ONE_BYTE, MAP_0F, MAP_0F38, MAP_0F3A, MAP_OTHER /* VEX, EVEX, XOP */ };

struct emul {
	struct vcpu_state *state;
	const struct emul_ops *ops;
	void *ctx;
	/* Bytes that hardware already fetched (SVM decode assist); 0: fetch through ops. */
	uint8_t insn[15];
	uint8_t insn_bytes;
	/* results */
	uint8_t insn_len;
	struct event event; /* EVENT_NONE or an exception */
	uint64_t cr2;
	bool segments_changed; /* a segment register of the state */
	/* The instruction's opcode (its last byte), its map, and its ModRM byte; reg and rm with
	 * REX applied. */
	uint8_t map; /* enum emul_map */
	uint8_t opcode, modrm, reg, rm;
};

/* Decodes and executes the one instruction at CS:RIP. At most 64 iterations of a REP per call. */
enum emul_result emulate(struct emul *e);

/*
 * The same after a nested page fault, which saves the walk for the operand. fault
 * is the guest-physical address and write the kind of access that hardware
 * reported for the instruction's own access to data: not for a fetch, an event's
 * delivery, or a page-table walk (VMX: exit qualification bit 8 set; SVM:
 * EXITINFO1 bit 32 set).
 */
enum emul_result emulate_mmio(struct emul *e, gpa_t fault, bool write);

/* A MOV or MOVZX between a general register, or an immediate, and memory. */
struct emul_mov {
	uint8_t len;  /* of the instruction */
	uint8_t size; /* of the operand in memory: 1, 2, 4, 8 */
	bool write;   /* to memory */
	uint8_t rex, reg, reg_size;
	uint64_t linear; /* of the operand, canonical and naturally aligned */
	uint64_t value;	 /* to be written; only 'size' bytes count */
};

/*
 * Decodes the instruction at RIP if it is one of these and the vCPU, in 64-bit
 * mode, could take no fault in segmentation. Of the state only the general
 * registers and RIP are looked at. False: emulate() or emulate_mmio() must do it.
 */
enum { EMUL_MOV_BYTES = 16 };
bool emul_mov_decode(
    const struct vcpu_state *s, const uint8_t insn[EMUL_MOV_BYTES], struct emul_mov *m);
/* Puts what was read into the register. */
void emul_mov_load(struct vcpu_state *s, const struct emul_mov *m, uint64_t value);

/*
 * Only finds the length of the instruction at CS:RIP, and what it is (map,
 * opcode, modrm, reg, rm): 1..15. 0 if it cannot be fetched or decoded: 'event'
 * is the exception to inject, or EVENT_NONE when fetching has to be tried again.
 */
unsigned emul_insn_length(struct emul *e);

/*
 * Reads the memory operand, len (1, 2, 4, 8) bytes, of the instruction at CS:RIP and
 * executes nothing. EMUL_OK, EMUL_EXCEPTION, EMUL_RETRY; EMUL_UNHANDLED if there is none.
 */
enum emul_result emul_read_operand(struct emul *e, unsigned len, uint64_t *value);

/*
 * IN, OUT, INS, OUTS as reported by an I/O exit whose fields the caller has
 * (port, size); INS and OUTS go through emulate().
 */

#endif
