/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the parts of the instruction emulator share; nobody else includes this.
 *
 *   emul.c         the two entry points, operands, commit
 *   emul_decode.c  from bytes to a struct insn
 *   emul_table.c   one row per opcode
 *   emul_alu.c     arithmetic, logic, shifts, bits: values and flags only
 *   emul_exec.c    instructions that access memory or the stack in a way of their own
 *   emul_segment.c loads of segment registers, far JMP
 *   emul_vector.c  SSE, AVX and MMX registers from and to memory
 *   emul_io.c      IN and OUT, port permission
 *   emul_string.c  MOVS, CMPS, STOS, LODS, SCAS, INS, OUTS
 *   emul_mov.c     the short way for MOV
 *   emul_mem.c     segmentation, alignment, paging, guest memory
 *
 * The rule that all obey: whatever can fault or has to be retried comes before
 * the first change of state. References are to volumes of the SDM.
 */
#ifndef AMBER_X86_EMUL_IMPL_H
#define AMBER_X86_EMUL_IMPL_H

#include <string.h>
#include "hv/arch/x86/emul.h"
#include "hv/lib/error.h"

enum {
	INSN_MAX = 15,	   /* bytes of an instruction */
	REP_MAX = 64,	   /* iterations of a repeated instruction per call */
	ATOMIC_TRIES = 16, /* of a locked instruction, before the guest runs it again */
	REG_NONE = 0xff
};

/* Code size; also the greatest address size, in bytes. */
enum insn_mode { MODE_16 = 2, MODE_32 = 4, MODE_64 = 8 };

enum rex_bit { REX_B = 1, REX_X = 2, REX_R = 4, REX_W = 8 };

/* What follows opcode, ModRM, SIB and displacement. */
enum imm_kind {
	IMM_NONE,
	IMM_8, /* sign-extended */
	IMM_16,
	IMM_Z,	   /* 2 or 4 bytes by operand size, sign-extended */
	IMM_OP,	   /* 1 byte if F_BYTE, else as IMM_Z */
	IMM_V,	   /* 2, 4 or 8 bytes by operand size */
	IMM_REL,   /* 2 or 4 bytes; 4 in 64-bit mode */
	IMM_FAR,   /* offset as IMM_Z and a selector */
	IMM_ENTER, /* 2 bytes and 1 byte, which becomes bits 23:16 */
	IMM_MOFFS, /* as many bytes as an address has */
	IMM_8_8	   /* two bytes */
};

enum operand_kind {
	OPD_NONE,
	OPD_RM,	   /* ModRM.rm: register or memory */
	OPD_REG,   /* ModRM.reg */
	OPD_OPREG, /* low three bits of the opcode */
	OPD_ACC,   /* rAX */
	OPD_MOFFS, /* memory at the address in the immediate */
	OPD_IMM,
	OPD_ONE, /* the constant 1 */
	OPD_CL
};

enum opcode_flag {
	F_MODRM = 1 << 0,
	F_UD = 1 << 1,	     /* undefined */
	F_NO64 = 1 << 2,     /* undefined in 64-bit mode */
	F_BYTE = 1 << 3,     /* operands of one byte */
	F_D64 = 1 << 4,	     /* operand size is 64 bits by default in 64-bit mode */
	F_LOCK = 1 << 5,     /* LOCK allowed, if the destination is in memory */
	F_READ = 1 << 6,     /* reads the destination */
	F_WRITE = 1 << 7,    /* writes the destination */
	F_SRC8 = 1 << 8,     /* the source has one byte, */
	F_SRC16 = 1 << 9,    /* two, */
	F_SRC32 = 1 << 10,   /* at most four */
	F_BITOFF = 1 << 11,  /* the source is a bit offset that also moves the memory operand */
	F_MEM = 1 << 12,     /* ModRM.rm is memory; the register form is something else */
	F_ATOMIC = 1 << 13,  /* locked in memory even without LOCK */
	F_REGONLY = 1 << 14, /* ModRM.mod is ignored: always a register */
	F_NOREP = 1 << 15,   /* with F2 or F3 it is something else */
	F_NO66 = 1 << 16,    /* so with 66 */
	F_EXTRQ = 1 << 17,   /* two more bytes follow with 66 or F2 (SSE4a) */
	F_ONLY64 = 1 << 18,  /* something else outside 64-bit mode */
	F_NO16 = 1 << 19,    /* operands of four or eight bytes only */
	F_NEAR =
	    1 << 20, /* a near branch: in 64-bit mode 66 makes no difference, as on Intel's CPUs */
};
#define F_RW (F_READ | F_WRITE)
/* Flags that make more of prefixes and ModRM than sizes and operands. */
#define F_REFINE (F_D64 | F_MEM | F_NOREP | F_NO66 | F_EXTRQ | F_ONLY64 | F_NO16 | F_NEAR)

struct insn;
/*
 * Executes. For rows with operands: computes i->result and i->rflags from
 * i->dst and i->src, and may be called again with another i->dst. For rows
 * without: everything but RIP.
 */
typedef enum emul_result exec_fn(struct insn *i);

/* One opcode. In a group, what a row leaves zero comes from the row that names the group. */
struct opcode {
	uint32_t flags;		    /* enum opcode_flag */
	uint8_t imm;		    /* enum imm_kind */
	uint8_t dst, src;	    /* enum operand_kind */
	const struct opcode *group; /* eight rows, chosen by ModRM.reg */
	exec_fn *exec;		    /* NULL: only the length is known */
};

extern const struct opcode opcodes_one_byte[256];
extern const struct opcode opcodes_0f[256];
const struct opcode *opcode_0f38(uint8_t opcode);
extern const struct opcode opcode_0f3a; /* of the whole map */

/* Guest memory after translation: one piece, or two when it crosses a page. */
struct span {
	gpa_t gpa[2];
	uint8_t len[2]; /* len[1] = 0: one piece */
};

/* One instruction, from its bytes to its result. */
struct insn {
	struct emul *e;
	struct vcpu_state *s;

	/* the instruction bytes */
	uint64_t ip; /* where they begin: RIP or EIP */
	uint8_t bytes[16];
	uint8_t have, pos;

	/* as decoded */
	uint8_t mode; /* enum insn_mode */
	uint8_t seg_override, rep, rex;
	bool lock, op66, addr67;
	uint8_t map, opcode, modrm;
	uint8_t vex_map;	  /* 1: 0F, 2: 0F38, 3: 0F3A; 0: no VEX prefix */
	uint8_t vex_reg;	  /* its third operand, */
	uint8_t vex_pp;		  /* its stand-in for 66, F3 and F2: 1, 2 and 3 */
	bool vex_256;		  /* and its vector length */
	uint8_t opsize, addrsize; /* bytes */
	uint8_t reg, rm;
	bool is_mem;
	bool rip_relative;
	uint8_t seg, base, index, scale;
	uint8_t dst_kind, src_kind, imm_kind;
	uint32_t flags; /* of the row, group included */
	exec_fn *exec;
	int64_t disp;
	uint64_t imm;

	/* where hardware saw the access to memory fault, if it told */
	bool fault_known, fault_write;
	gpa_t fault;

	/* operands */
	uint8_t size, src_size; /* bytes */
	uint64_t ea;		/* offset of the memory operand in its segment */
	struct span span;	/* the memory operand, translated */
	uint64_t dst, src;
	uint64_t result;
	uint64_t rflags; /* becomes RFLAGS at commit */
	uint64_t next;	 /* becomes RIP; a branch changes it */
	bool movss;	 /* the next instruction is in the shadow of a load of SS */
	uint8_t out_reg; /* a second result goes to this register, REG_NONE if none */
	uint64_t out_value;
};

/* --- emul_decode.c -------------------------------------------------------------- */

/* Sets up i for the instruction at CS:RIP. */
void insn_init(struct insn *i, struct emul *e);
/* Decodes; EMUL_UNHANDLED for undefined opcodes. Fills in the results of i->e. */
enum emul_result insn_decode(struct insn *i);

/* --- emul.c --------------------------------------------------------------------- */

/* Records an exception; the error code is used where the vector has one. Returns EMUL_EXCEPTION. */
enum emul_result raise(struct insn *i, unsigned vector, uint32_t error_code);
/* Registers of 1, 2, 4 or 8 bytes; AH..BH without REX; 4-byte writes clear the upper half. */
uint64_t reg_read(const struct insn *i, unsigned reg, unsigned size);
void reg_write(struct insn *i, unsigned reg, unsigned size, uint64_t value);
/* The offset of the memory operand that ModRM names. */
uint64_t effective_address(const struct insn *i);

/* All ones in the low 'size' bytes. */
static inline uint64_t size_mask(unsigned size)
{
	return ~0ULL >> (64 - 8 * size);
}

/* AH, CH, DH, BH: bits 15:8 of the first four registers, if no REX prefix is there. */
static inline bool is_high_byte(uint8_t rex, unsigned reg, unsigned size)
{
	return size == 1 && !rex && reg >= 4 && reg < 8;
}

static inline uint64_t gpr_read(const uint64_t *gpr, uint8_t rex, unsigned reg, unsigned size)
{
	if (is_high_byte(rex, reg, size))
		return gpr[reg & 3] >> 8 & 0xff;
	return gpr[reg] & size_mask(size);
}

static inline void gpr_write(
    uint64_t *gpr, uint8_t rex, unsigned reg, unsigned size, uint64_t value)
{
	uint64_t mask = size_mask(size);

	if (is_high_byte(rex, reg, size))
		gpr[reg & 3] = (gpr[reg & 3] & ~0xff00ULL) | (value & 0xff) << 8;
	else if (size >= 4)
		gpr[reg] = value & mask;
	else
		gpr[reg] = (gpr[reg] & ~mask) | (value & mask);
}

/* Of four-level paging: bits 63:47 are the same (volume 1, 3.3.7.1). */
static inline bool is_canonical(uint64_t linear)
{
	return (uint64_t)((int64_t)(linear << 16) >> 16) == linear;
}

/* Unaligned little-endian loads. */
static inline uint16_t load16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* --- emul_mem.c ----------------------------------------------------------------- */

/*
 * The linear address of len bytes at an offset in a segment. Returns 0, or the
 * vector to raise with error code 0. access is ACCESS_READ or ACCESS_WRITE.
 */
unsigned seg_linear(const struct insn *i, unsigned seg, uint64_t offset, uint64_t len,
    unsigned access, uint64_t *linear);
/*
 * True if an access of 'size' bytes (a power of two) at a linear address is an alignment
 * fault. What is longer than eight bytes has rules of its own (volume 3, 6.15, interrupt 17).
 */
bool misaligned(const struct insn *i, uint64_t linear, unsigned size);
/* Translates len (1..64) bytes at a linear address with every check of paging. */
enum emul_result linear_span(
    struct insn *i, uint64_t linear, unsigned len, unsigned access, struct span *out);
/* All checks for an operand of len bytes in a segment, in the architecture's order. */
enum emul_result mem_span(
    struct insn *i, unsigned seg, uint64_t offset, unsigned len, unsigned access, struct span *out);
/* As mem_span() for the memory operand of an instruction that has just this one access. */
enum emul_result operand_span(struct insn *i, unsigned len, unsigned access);
/* EMUL_OK or EMUL_RETRY. */
enum emul_result mem_read(struct insn *i, const struct span *m, void *buf);
enum emul_result mem_write(struct insn *i, const struct span *m, const void *buf);
/* Makes RAM ready for a read or write; EMUL_RETRY if that has to wait; *ram tells if it is RAM. */
enum emul_result mem_probe(struct insn *i, const struct span *m, bool write, bool *ram);
/* Compare and exchange; *old is updated as by emul_ops.cmpxchg. EMUL_OK or EMUL_RETRY. */
enum emul_result mem_cmpxchg(struct insn *i, const struct span *m, void *old, const void *desired);

/* --- emul_io.c ------------------------------------------------------------------ */

/* OK if the guest may access the ports, else its exception. */
enum emul_result io_permission(struct insn *i, uint16_t port, unsigned size);
enum emul_result port_read(struct insn *i, uint16_t port, unsigned size, uint64_t *value);
enum emul_result port_write(struct insn *i, uint16_t port, unsigned size, uint64_t value);

/* --- handlers ------------------------------------------------------------------- */

exec_fn exec_mov, exec_movsx, exec_movbe, exec_lea, exec_xchg, exec_xadd, exec_cmpxchg;
exec_fn exec_add, exec_or, exec_adc, exec_sbb, exec_and, exec_sub, exec_xor;
exec_fn exec_inc, exec_dec, exec_not, exec_neg, exec_mul, exec_div, exec_imul, exec_imul_imm;
exec_fn exec_rol, exec_ror, exec_rcl, exec_rcr, exec_shl, exec_shr, exec_sar;
exec_fn exec_shld, exec_shrd, exec_setcc, exec_cmovcc;
exec_fn exec_bt, exec_bts, exec_btr, exec_btc, exec_bsf, exec_bsr, exec_popcnt;
exec_fn exec_nop, exec_clflush, exec_mov_from_seg, exec_cmpxchg8b, exec_xlat, exec_store_system;
exec_fn exec_push, exec_push_rm, exec_pop_reg, exec_pop_rm, exec_call_rm, exec_jmp_rm;
exec_fn exec_ret, exec_leave, exec_enter;
exec_fn exec_mov_to_seg, exec_load_pointer, exec_jmp_far, exec_ltr;
exec_fn exec_in, exec_out, exec_string, exec_vector;

#endif
