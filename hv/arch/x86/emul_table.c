/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The instruction set, one row per opcode (SDM volume 2, tables ).
 * Every opcode has a row that gives its length; what the emulator executes has
 * operands and a handler besides. To teach it an instruction: fill in its row.
 * SSE, AVX and MMX moves, which differ by mandatory prefix, have rows of their own
 * in emul_vector.c. docs/emulator.md lists what is executed.
 */
#include "hv/arch/x86/emul_impl.h"

/* A row that is executed. */
#define OP(f, im, d, s, fn)                                                                        \
	{                                                                                          \
		.flags = (f), .imm = (im), .dst = (d), .src = (s), .exec = (fn)                    \
	}
/* A row of which only the length is known. */
#define LEN(f, im)                                                                                 \
	{                                                                                          \
		.flags = (f), .imm = (im)                                                          \
	}
/* A row of a group: what it does not say comes from the row that names the group. */
#define GROUP(f, im, d, s, g)                                                                      \
	{                                                                                          \
		.flags = (f), .imm = (im), .dst = (d), .src = (s), .group = (g)                    \
	}
#define UD                                                                                         \
	{                                                                                          \
		.flags = F_UD                                                                      \
	}

#define M  F_MODRM
#define B  F_BYTE
#define RW F_RW

/* clang-format off */

/* --- groups (table A-6) --------------------------------------------------------- */

static const struct opcode group1[8] = { /* 80..83 */
	{.flags = RW | F_LOCK, .exec = exec_add},
	{.flags = RW | F_LOCK, .exec = exec_or},
	{.flags = RW | F_LOCK, .exec = exec_adc},
	{.flags = RW | F_LOCK, .exec = exec_sbb},
	{.flags = RW | F_LOCK, .exec = exec_and},
	{.flags = RW | F_LOCK, .exec = exec_sub},
	{.flags = RW | F_LOCK, .exec = exec_xor},
	{.flags = F_READ,      .exec = exec_sub}, /* CMP */
};
static const struct opcode group1a[8] = { /* 8F */
	{.exec = exec_pop_rm}, UD, UD, UD, UD, UD, UD, UD,
};
static const struct opcode group2[8] = { /* C0, C1, D0..D3 */
	{.flags = RW, .exec = exec_rol},
	{.flags = RW, .exec = exec_ror},
	{.flags = RW, .exec = exec_rcl},
	{.flags = RW, .exec = exec_rcr},
	{.flags = RW, .exec = exec_shl},
	{.flags = RW, .exec = exec_shr},
	{.flags = RW, .exec = exec_shl}, /* SAL, an alias */
	{.flags = RW, .exec = exec_sar},
};
static const struct opcode group3[8] = { /* F6, F7 */
	{.flags = F_READ, .imm = IMM_OP, .src = OPD_IMM, .exec = exec_and}, /* TEST */
	{.flags = F_READ, .imm = IMM_OP, .src = OPD_IMM, .exec = exec_and},
	{.flags = RW | F_LOCK, .exec = exec_not},
	{.flags = RW | F_LOCK, .exec = exec_neg},
	{.flags = F_READ, .exec = exec_mul}, {.flags = F_READ, .exec = exec_mul}, /* MUL, IMUL */
	{.flags = F_READ, .exec = exec_div}, {.flags = F_READ, .exec = exec_div}, /* DIV, IDIV */
};
static const struct opcode group4[8] = { /* FE */
	{.flags = RW | F_LOCK, .exec = exec_inc},
	{.flags = RW | F_LOCK, .exec = exec_dec},
	UD, UD, UD, UD, UD, UD,
};
static const struct opcode group5[8] = { /* FF */
	{.flags = RW | F_LOCK, .dst = OPD_RM, .exec = exec_inc},
	{.flags = RW | F_LOCK, .dst = OPD_RM, .exec = exec_dec},
	{.flags = F_NEAR, .exec = exec_call_rm}, LEN(F_MEM, 0), /* CALLF */
	{.flags = F_NEAR, .src = OPD_RM, .exec = exec_jmp_rm}, {.flags = F_MEM, .exec = exec_jmp_far},
	{.flags = F_D64, .exec = exec_push_rm},
	UD,
};
static const struct opcode group6[8] = { /* 0F 00 */
	{.flags = F_MEM, .exec = exec_store_system}, /* SLDT */
	{.flags = F_MEM, .exec = exec_store_system}, /* STR */
	LEN(0, 0), {.flags = F_MEM, .exec = exec_ltr}, LEN(0, 0), LEN(0, 0), LEN(0, 0), LEN(0, 0),
};
static const struct opcode group7[8] = { /* 0F 01 */
	LEN(0, 0), LEN(0, 0), LEN(0, 0), LEN(0, 0),
	{.exec = exec_store_system}, /* SMSW */
	LEN(0, 0), LEN(0, 0), LEN(0, 0),
};
static const struct opcode group8[8] = { /* 0F BA */
	UD, UD, UD, UD,
	{.flags = F_READ,      .exec = exec_bt},
	{.flags = RW | F_LOCK, .exec = exec_bts},
	{.flags = RW | F_LOCK, .exec = exec_btr},
	{.flags = RW | F_LOCK, .exec = exec_btc},
};
static const struct opcode group9[8] = { /* 0F C7 */
	LEN(0, 0),
	{.flags = F_MEM | F_LOCK, .exec = exec_cmpxchg8b},
	LEN(0, 0), LEN(0, 0), LEN(0, 0), LEN(0, 0), LEN(0, 0), LEN(0, 0),
};
static const struct opcode group11[8] = { /* C6, C7; /7 with a register: XABORT, XBEGIN */
	{.flags = F_WRITE, .exec = exec_mov}, UD, UD, UD, UD, UD, UD, LEN(0, 0),
};
static const struct opcode group15[8] = { /* 0F AE */
	LEN(0, 0), LEN(0, 0), LEN(0, 0), LEN(0, 0), LEN(0, 0),
	{.flags = F_NOREP, .exec = NULL},	 /* XRSTOR, LFENCE */
	{.flags = F_NOREP, .exec = NULL},	 /* XSAVEOPT, CLWB, MFENCE */
	{.flags = F_NOREP, .exec = exec_clflush}, /* CLFLUSH, CLFLUSHOPT, SFENCE */
};

/* --- one byte (table A-2) ------------------------------------------------------- */

/* The six forms of an arithmetic instruction; f is empty for CMP. */
#define ARITH(n, f, fn)                                                                \
	[(n) + 0] = OP(M | B | F_READ | (f), IMM_NONE, OPD_RM, OPD_REG, fn),           \
	[(n) + 1] = OP(M | F_READ | (f), IMM_NONE, OPD_RM, OPD_REG, fn),               \
	[(n) + 2] = OP(M | B | F_READ | (f), IMM_NONE, OPD_REG, OPD_RM, fn),           \
	[(n) + 3] = OP(M | F_READ | (f), IMM_NONE, OPD_REG, OPD_RM, fn),               \
	[(n) + 4] = OP(B | F_READ | (f), IMM_8, OPD_ACC, OPD_IMM, fn),                 \
	[(n) + 5] = OP(F_READ | (f), IMM_Z, OPD_ACC, OPD_IMM, fn)
/* The same row eight or sixteen times. */
#define EIGHT(n, ...)                                                                  \
	[(n) + 0] = __VA_ARGS__, [(n) + 1] = __VA_ARGS__, [(n) + 2] = __VA_ARGS__,     \
	[(n) + 3] = __VA_ARGS__, [(n) + 4] = __VA_ARGS__, [(n) + 5] = __VA_ARGS__,     \
	[(n) + 6] = __VA_ARGS__, [(n) + 7] = __VA_ARGS__
#define SIXTEEN(n, ...) EIGHT(n, __VA_ARGS__), EIGHT((n) + 8, __VA_ARGS__)

#define ROW_INC	     OP(RW | F_NO64, 0, OPD_OPREG, 0, exec_inc)
#define ROW_DEC	     OP(RW | F_NO64, 0, OPD_OPREG, 0, exec_dec)
#define ROW_PUSH     OP(F_D64, 0, 0, OPD_OPREG, exec_push)
#define ROW_POP	     OP(F_D64, 0, 0, 0, exec_pop_reg)
#define ROW_JCC8     LEN(0, IMM_8)
#define ROW_MOV_IMM8 OP(B | F_WRITE, IMM_8, OPD_OPREG, OPD_IMM, exec_mov)
#define ROW_MOV_IMM  OP(F_WRITE, IMM_V, OPD_OPREG, OPD_IMM, exec_mov)
#define ROW_X87	     LEN(M, 0)
#define ROW_LDS(f)   OP(M | F_MEM | (f), 0, 0, 0, exec_load_pointer)

const struct opcode opcodes_one_byte[256] = {
	ARITH(0x00, F_WRITE | F_LOCK, exec_add),
	[0x06] = LEN(F_NO64, 0), [0x07] = LEN(F_NO64, 0), /* PUSH ES, POP ES */
	ARITH(0x08, F_WRITE | F_LOCK, exec_or),
	[0x0e] = LEN(F_NO64, 0), /* PUSH CS; 0F is the escape */
	ARITH(0x10, F_WRITE | F_LOCK, exec_adc),
	[0x16] = LEN(F_NO64, 0), [0x17] = LEN(F_NO64, 0), /* PUSH SS, POP SS */
	ARITH(0x18, F_WRITE | F_LOCK, exec_sbb),
	[0x1e] = LEN(F_NO64, 0), [0x1f] = LEN(F_NO64, 0), /* PUSH DS, POP DS */
	ARITH(0x20, F_WRITE | F_LOCK, exec_and),
	[0x27] = LEN(F_NO64, 0), /* DAA */
	ARITH(0x28, F_WRITE | F_LOCK, exec_sub),
	[0x2f] = LEN(F_NO64, 0), /* DAS */
	ARITH(0x30, F_WRITE | F_LOCK, exec_xor),
	[0x37] = LEN(F_NO64, 0), /* AAA */
	ARITH(0x38, 0, exec_sub), /* CMP */
	[0x3f] = LEN(F_NO64, 0), /* AAS */
	EIGHT(0x40, ROW_INC), EIGHT(0x48, ROW_DEC), /* REX in 64-bit mode */
	EIGHT(0x50, ROW_PUSH), EIGHT(0x58, ROW_POP),
	[0x60] = LEN(F_NO64, 0), [0x61] = LEN(F_NO64, 0), /* PUSHA, POPA */
	[0x62] = LEN(M | F_NO64 | F_MEM, 0), /* BOUND */
	/* MOVSXD; ARPL outside 64-bit mode */
	[0x63] = OP(M | F_WRITE | F_SRC32 | F_ONLY64, 0, OPD_REG, OPD_RM, exec_movsx),
	/* 64..67 are prefixes */
	[0x68] = OP(F_D64, IMM_Z, 0, OPD_IMM, exec_push),
	[0x69] = OP(M | F_WRITE, IMM_Z, OPD_REG, OPD_RM, exec_imul_imm),
	[0x6a] = OP(F_D64, IMM_8, 0, OPD_IMM, exec_push),
	[0x6b] = OP(M | F_WRITE, IMM_8, OPD_REG, OPD_RM, exec_imul_imm),
	[0x6c] = OP(B, 0, 0, 0, exec_string), [0x6d] = OP(0, 0, 0, 0, exec_string), /* INS */
	[0x6e] = OP(B, 0, 0, 0, exec_string), [0x6f] = OP(0, 0, 0, 0, exec_string), /* OUTS */
	SIXTEEN(0x70, ROW_JCC8),
	[0x80] = GROUP(M | B, IMM_8, OPD_RM, OPD_IMM, group1),
	[0x81] = GROUP(M, IMM_Z, OPD_RM, OPD_IMM, group1),
	[0x82] = GROUP(M | B | F_NO64, IMM_8, OPD_RM, OPD_IMM, group1),
	[0x83] = GROUP(M, IMM_8, OPD_RM, OPD_IMM, group1),
	[0x84] = OP(M | B | F_READ, 0, OPD_RM, OPD_REG, exec_and), /* TEST */
	[0x85] = OP(M | F_READ, 0, OPD_RM, OPD_REG, exec_and),
	[0x86] = OP(M | B | RW | F_LOCK | F_ATOMIC, 0, OPD_RM, OPD_REG, exec_xchg),
	[0x87] = OP(M | RW | F_LOCK | F_ATOMIC, 0, OPD_RM, OPD_REG, exec_xchg),
	[0x88] = OP(M | B | F_WRITE, 0, OPD_RM, OPD_REG, exec_mov),
	[0x89] = OP(M | F_WRITE, 0, OPD_RM, OPD_REG, exec_mov),
	[0x8a] = OP(M | B | F_WRITE, 0, OPD_REG, OPD_RM, exec_mov),
	[0x8b] = OP(M | F_WRITE, 0, OPD_REG, OPD_RM, exec_mov),
	[0x8c] = OP(M, 0, 0, 0, exec_mov_from_seg),
	[0x8d] = OP(M | F_WRITE | F_MEM, 0, OPD_REG, 0, exec_lea),
	[0x8e] = OP(M, 0, 0, 0, exec_mov_to_seg),
	[0x8f] = GROUP(M | F_D64, 0, 0, 0, group1a),
	/* 90..9F: XCHG rAX, NOP, PAUSE, CBW, CWD, WAIT, PUSHF, POPF, SAHF, LAHF: one byte */
	[0x9a] = LEN(F_NO64, IMM_FAR), /* CALLF */
	[0xa0] = OP(B | F_WRITE, IMM_MOFFS, OPD_ACC, OPD_MOFFS, exec_mov),
	[0xa1] = OP(F_WRITE, IMM_MOFFS, OPD_ACC, OPD_MOFFS, exec_mov),
	[0xa2] = OP(B | F_WRITE, IMM_MOFFS, OPD_MOFFS, OPD_ACC, exec_mov),
	[0xa3] = OP(F_WRITE, IMM_MOFFS, OPD_MOFFS, OPD_ACC, exec_mov),
	[0xa4] = OP(B, 0, 0, 0, exec_string), [0xa5] = OP(0, 0, 0, 0, exec_string), /* MOVS */
	[0xa6] = OP(B, 0, 0, 0, exec_string), [0xa7] = OP(0, 0, 0, 0, exec_string), /* CMPS */
	[0xa8] = OP(B | F_READ, IMM_8, OPD_ACC, OPD_IMM, exec_and), /* TEST */
	[0xa9] = OP(F_READ, IMM_Z, OPD_ACC, OPD_IMM, exec_and),
	[0xaa] = OP(B, 0, 0, 0, exec_string), [0xab] = OP(0, 0, 0, 0, exec_string), /* STOS */
	[0xac] = OP(B, 0, 0, 0, exec_string), [0xad] = OP(0, 0, 0, 0, exec_string), /* LODS */
	[0xae] = OP(B, 0, 0, 0, exec_string), [0xaf] = OP(0, 0, 0, 0, exec_string), /* SCAS */
	EIGHT(0xb0, ROW_MOV_IMM8), EIGHT(0xb8, ROW_MOV_IMM),
	[0xc0] = GROUP(M | B, IMM_8, OPD_RM, OPD_IMM, group2),
	[0xc1] = GROUP(M, IMM_8, OPD_RM, OPD_IMM, group2),
	[0xc2] = OP(F_NEAR, IMM_16, 0, 0, exec_ret), [0xc3] = OP(F_NEAR, 0, 0, 0, exec_ret),
	[0xc4] = ROW_LDS(F_NO64), [0xc5] = ROW_LDS(F_NO64), /* LES, LDS */
	[0xc6] = GROUP(M | B, IMM_8, OPD_RM, OPD_IMM, group11),
	[0xc7] = GROUP(M, IMM_Z, OPD_RM, OPD_IMM, group11),
	[0xc8] = OP(F_D64, IMM_ENTER, 0, 0, exec_enter), [0xc9] = OP(F_D64, 0, 0, 0, exec_leave),
	[0xca] = LEN(0, IMM_16), /* RETF; CB, CC: INT3 */
	[0xcd] = LEN(0, IMM_8), /* INT */
	[0xce] = LEN(F_NO64, 0), /* INTO; CF: IRET */
	[0xd0] = GROUP(M | B, 0, OPD_RM, OPD_ONE, group2),
	[0xd1] = GROUP(M, 0, OPD_RM, OPD_ONE, group2),
	[0xd2] = GROUP(M | B, 0, OPD_RM, OPD_CL, group2),
	[0xd3] = GROUP(M, 0, OPD_RM, OPD_CL, group2),
	[0xd4] = LEN(F_NO64, IMM_8), [0xd5] = LEN(F_NO64, IMM_8), /* AAM, AAD */
	[0xd6] = LEN(F_NO64, 0), /* SALC */
	[0xd7] = OP(B, 0, 0, 0, exec_xlat),
	EIGHT(0xd8, ROW_X87),
	[0xe0] = LEN(0, IMM_8), [0xe1] = LEN(0, IMM_8), /* LOOPNE, LOOPE */
	[0xe2] = LEN(0, IMM_8), [0xe3] = LEN(0, IMM_8), /* LOOP, JCXZ */
	[0xe4] = OP(B, IMM_8, 0, 0, exec_in), [0xe5] = OP(0, IMM_8, 0, 0, exec_in),
	[0xe6] = OP(B, IMM_8, 0, 0, exec_out), [0xe7] = OP(0, IMM_8, 0, 0, exec_out),
	[0xe8] = LEN(0, IMM_REL), [0xe9] = LEN(0, IMM_REL), /* CALL, JMP */
	[0xea] = LEN(F_NO64, IMM_FAR), /* JMPF */
	[0xeb] = LEN(0, IMM_8), /* JMP */
	[0xec] = OP(B, 0, 0, 0, exec_in), [0xed] = OP(0, 0, 0, 0, exec_in),
	[0xee] = OP(B, 0, 0, 0, exec_out), [0xef] = OP(0, 0, 0, 0, exec_out),
	/* F0, F2, F3: prefixes; F1: ICEBP; F4: HLT; F5: CMC */
	[0xf6] = GROUP(M | B, 0, OPD_RM, 0, group3),
	[0xf7] = GROUP(M, 0, OPD_RM, 0, group3),
	/* F8..FD: CLC, STC, CLI, STI, CLD, STD */
	[0xfe] = GROUP(M | B, 0, OPD_RM, 0, group4),
	[0xff] = GROUP(M, 0, 0, 0, group5),
};

/* --- two bytes, 0F (table A-3) -------------------------------------------------- */

#define ROW_M	   LEN(M, 0)
#define ROW_M_IMM8 LEN(M, IMM_8)
#define ROW_NOP	   OP(M, 0, 0, 0, exec_nop)
#define ROW_MOV_CR LEN(M | F_REGONLY, 0)
#define ROW_JCC	   LEN(0, IMM_REL)
#define ROW_CMOV   OP(M | RW, 0, OPD_REG, OPD_RM, exec_cmovcc)
#define ROW_SET	   OP(M | B | F_WRITE, 0, OPD_RM, 0, exec_setcc)
#define ROW_VEC	   OP(M, 0, 0, 0, exec_vector)

const struct opcode opcodes_0f[256] = {
	/* 00: SLDT.. 01: SGDT, SIDT, LMSW, INVLPG, VMCALL, XSETBV, RDTSCP.. 02: LAR 03: LSL */
	[0x00] = GROUP(M, 0, 0, 0, group6), [0x01] = GROUP(M, 0, 0, 0, group7),
	[0x02] = ROW_M, [0x03] = ROW_M,
	[0x04] = UD, /* 05: SYSCALL 06: CLTS 07: SYSRET 08: INVD 09: WBINVD */
	[0x0a] = UD, /* 0B: UD2 */
	[0x0c] = UD,
	[0x0d] = ROW_NOP, /* PREFETCHW; 0E: FEMMS */
	[0x0f] = ROW_M_IMM8, /* 3DNow! */
	EIGHT(0x10, ROW_VEC),
	[0x18] = ROW_NOP, [0x19] = ROW_NOP, /* PREFETCHh and reserved NOPs */
	[0x1a] = ROW_M, [0x1b] = ROW_M, /* MPX */
	[0x1c] = ROW_NOP, [0x1d] = ROW_NOP, [0x1e] = ROW_NOP, [0x1f] = ROW_NOP,
	[0x20] = ROW_MOV_CR, [0x21] = ROW_MOV_CR, [0x22] = ROW_MOV_CR, [0x23] = ROW_MOV_CR,
	[0x24] = UD, [0x25] = UD, [0x26] = UD, [0x27] = UD,
	[0x28] = ROW_VEC, [0x29] = ROW_VEC, [0x2a] = ROW_M, [0x2b] = ROW_VEC,
	[0x2c] = ROW_M, [0x2d] = ROW_M, [0x2e] = ROW_M, [0x2f] = ROW_M,
	/* 30: WRMSR 31: RDTSC 32: RDMSR 33: RDPMC 34: SYSENTER 35: SYSEXIT */
	[0x36] = UD, /* 37: GETSEC 38: escape */
	[0x39] = UD, /* 3A: escape */
	[0x3b] = UD, [0x3c] = UD, [0x3d] = UD, [0x3e] = UD, [0x3f] = UD,
	SIXTEEN(0x40, ROW_CMOV), SIXTEEN(0x50, ROW_M), EIGHT(0x60, ROW_M),
	[0x68] = ROW_M, [0x69] = ROW_M, [0x6a] = ROW_M, [0x6b] = ROW_M,
	[0x6c] = ROW_M, [0x6d] = ROW_M, [0x6e] = ROW_VEC, [0x6f] = ROW_VEC,
	[0x70] = ROW_M_IMM8, [0x71] = ROW_M_IMM8, [0x72] = ROW_M_IMM8, [0x73] = ROW_M_IMM8,
	[0x74] = ROW_M, [0x75] = ROW_M, [0x76] = ROW_M, /* 77: EMMS */
	[0x78] = LEN(M | F_EXTRQ, 0), [0x79] = ROW_M, /* VMREAD, VMWRITE */
	[0x7a] = UD, [0x7b] = UD,
	[0x7c] = ROW_M, [0x7d] = ROW_M, [0x7e] = ROW_VEC, [0x7f] = ROW_VEC,
	SIXTEEN(0x80, ROW_JCC), SIXTEEN(0x90, ROW_SET),
	/* A0: PUSH FS A1: POP FS A2: CPUID */
	[0xa3] = OP(M | F_READ | F_BITOFF, 0, OPD_RM, OPD_REG, exec_bt),
	[0xa4] = OP(M | RW, IMM_8, OPD_RM, OPD_REG, exec_shld),
	[0xa5] = OP(M | RW, 0, OPD_RM, OPD_REG, exec_shld),
	[0xa6] = ROW_M, [0xa7] = ROW_M,
	/* A8: PUSH GS A9: POP GS AA: RSM */
	[0xab] = OP(M | RW | F_LOCK | F_BITOFF, 0, OPD_RM, OPD_REG, exec_bts),
	[0xac] = OP(M | RW, IMM_8, OPD_RM, OPD_REG, exec_shrd),
	[0xad] = OP(M | RW, 0, OPD_RM, OPD_REG, exec_shrd),
	[0xae] = GROUP(M, 0, 0, 0, group15),
	[0xaf] = OP(M | RW, 0, OPD_REG, OPD_RM, exec_imul),
	[0xb0] = OP(M | B | RW | F_LOCK, 0, OPD_RM, OPD_REG, exec_cmpxchg),
	[0xb1] = OP(M | RW | F_LOCK, 0, OPD_RM, OPD_REG, exec_cmpxchg),
	[0xb2] = ROW_LDS(0), /* LSS */
	[0xb3] = OP(M | RW | F_LOCK | F_BITOFF, 0, OPD_RM, OPD_REG, exec_btr),
	[0xb4] = ROW_LDS(0), [0xb5] = ROW_LDS(0), /* LFS, LGS */
	[0xb6] = OP(M | F_WRITE | F_SRC8, 0, OPD_REG, OPD_RM, exec_mov), /* MOVZX */
	[0xb7] = OP(M | F_WRITE | F_SRC16, 0, OPD_REG, OPD_RM, exec_mov),
	[0xb8] = OP(M | F_WRITE, 0, OPD_REG, OPD_RM, exec_popcnt),
	[0xb9] = ROW_M, /* UD1 */
	[0xba] = GROUP(M, IMM_8, OPD_RM, OPD_IMM, group8),
	[0xbb] = OP(M | RW | F_LOCK | F_BITOFF, 0, OPD_RM, OPD_REG, exec_btc),
	/* BSF and BSR; with F3 TZCNT and LZCNT */
	[0xbc] = OP(M | RW, 0, OPD_REG, OPD_RM, exec_bsf),
	[0xbd] = OP(M | RW, 0, OPD_REG, OPD_RM, exec_bsr),
	[0xbe] = OP(M | F_WRITE | F_SRC8, 0, OPD_REG, OPD_RM, exec_movsx),
	[0xbf] = OP(M | F_WRITE | F_SRC16, 0, OPD_REG, OPD_RM, exec_movsx),
	[0xc0] = OP(M | B | RW | F_LOCK, 0, OPD_RM, OPD_REG, exec_xadd),
	[0xc1] = OP(M | RW | F_LOCK, 0, OPD_RM, OPD_REG, exec_xadd),
	[0xc2] = ROW_M_IMM8,
	/* MOVNTI */
	[0xc3] = OP(M | F_WRITE | F_MEM | F_NOREP | F_NO66 | F_NO16, 0, OPD_RM, OPD_REG, exec_mov),
	[0xc4] = OP(M, IMM_8, 0, 0, exec_vector), /* PINSRW */
	[0xc5] = ROW_M_IMM8, [0xc6] = ROW_M_IMM8,
	[0xc7] = GROUP(M, 0, 0, 0, group9),
	/* C8..CF: BSWAP */
	[0xd0] = ROW_M, [0xd1] = ROW_M, [0xd2] = ROW_M, [0xd3] = ROW_M,
	[0xd4] = ROW_M, [0xd5] = ROW_M, [0xd6] = ROW_VEC, [0xd7] = ROW_M,
	EIGHT(0xd8, ROW_M),
	[0xe0] = ROW_M, [0xe1] = ROW_M, [0xe2] = ROW_M, [0xe3] = ROW_M,
	[0xe4] = ROW_M, [0xe5] = ROW_M, [0xe6] = ROW_M, [0xe7] = ROW_VEC,
	EIGHT(0xe8, ROW_M),
	[0xf0] = ROW_VEC, [0xf1] = ROW_M, [0xf2] = ROW_M, [0xf3] = ROW_M,
	[0xf4] = ROW_M, [0xf5] = ROW_M, [0xf6] = ROW_M, [0xf7] = ROW_M,
	EIGHT(0xf8, ROW_M),
};

/* --- three bytes, 0F 38 (table A-4): all have a ModRM byte and no immediate ----- */

static const struct opcode movbe_load =
	OP(M | F_WRITE | F_MEM | F_NOREP, 0, OPD_REG, OPD_RM, exec_movbe);
static const struct opcode movbe_store =
	OP(M | F_WRITE | F_MEM | F_NOREP, 0, OPD_RM, OPD_REG, exec_movbe);
static const struct opcode other_0f38 = ROW_VEC;

/* --- three bytes, 0F 3A (table A-5): all have ModRM and an immediate of one byte -- */

const struct opcode opcode_0f3a = OP(M, IMM_8, 0, 0, exec_vector);

/* clang-format on */

const struct opcode *opcode_0f38(uint8_t opcode)
{
	switch (opcode) {
	case 0xf0:
		return &movbe_load;
	case 0xf1:
		return &movbe_store;
	default:
		return &other_0f38;
	}
}
