/* SPDX-License-Identifier: BSD-2-Clause */
/* The notes of an ELF core file. */
#include "tools/amber-snap/core_notes.h"

#include <string.h>

#include "hv/lib/cursor.h"

enum note_type { NT_QEMU = 0, NT_PRSTATUS = 1, NT_FPREGSET = 2 };

enum {
	NOTE_HEADER = 12 + 8, /* three numbers, a name of 4 characters with its NUL, padded */
	FPREGS_SIZE = 512,    /* as FXSAVE writes it */
};

/* Linux's struct elf_prstatus on x86-64. */
enum { PR_PID = 32, PR_REGS = 112, PR_SIZE = 336 };

/* QEMU's note, version 1. */
enum {
	QEMU_VERSION = 0,
	QEMU_SIZE_FIELD = 4,
	QEMU_REGS = 8, /* rax rbx rcx rdx rsi rdi rsp rbp r8..r15 rip rflags */
	QEMU_SEGMENTS = QEMU_REGS + 18 * 8,
	QEMU_SEGMENT = 24, /* selector, limit, flags, nothing: 4 bytes each; base */
	QEMU_CR = QEMU_SEGMENTS + 10 * QEMU_SEGMENT,
	QEMU_KERNEL_GS = QEMU_CR + 5 * 8,
	QEMU_SIZE = QEMU_KERNEL_GS + 8,
};

size_t core_notes_size(void)
{
	return 3 * NOTE_HEADER + PR_SIZE + FPREGS_SIZE + QEMU_SIZE;
}

/* Writes a note's header; returns where its content goes, which is zeros so far. */
static uint8_t *note(uint8_t **out, const char *name, uint32_t type, uint32_t size)
{
	uint8_t *p = *out;

	memset(p, 0, NOTE_HEADER + size);
	put_le32(p, (uint32_t)strlen(name) + 1);
	put_le32(p + 4, size);
	put_le32(p + 8, type);
	memcpy(p + 12, name, strlen(name));
	*out = p + NOTE_HEADER + size;
	return p + NOTE_HEADER;
}

static void put_prstatus(uint8_t *p, unsigned i, const struct vcpu_state *s)
{
	const uint64_t *g = s->gpr;
	const struct seg *seg = s->seg;
	/* struct user_regs_struct; "no system call" where it has the number of one */
	const uint64_t regs[] = {g[GPR_R15], g[GPR_R14], g[GPR_R13], g[GPR_R12], g[GPR_RBP],
	    g[GPR_RBX], g[GPR_R11], g[GPR_R10], g[GPR_R9], g[GPR_R8], g[GPR_RAX], g[GPR_RCX],
	    g[GPR_RDX], g[GPR_RSI], g[GPR_RDI], UINT64_MAX, s->rip, seg[SEG_CS].sel, s->rflags,
	    g[GPR_RSP], seg[SEG_SS].sel, seg[SEG_FS].base, seg[SEG_GS].base, seg[SEG_DS].sel,
	    seg[SEG_ES].sel, seg[SEG_FS].sel, seg[SEG_GS].sel};

	put_le32(p + PR_PID, i + 1);
	for (unsigned k = 0; k < ARRAY_LEN(regs); k++)
		put_le64(p + PR_REGS + (size_t)k * 8, regs[k]);
}

/* The attributes where the second word of a descriptor has them. */
static void put_segment(uint8_t *p, const struct seg *s)
{
	put_le32(p, s->sel);
	put_le32(p + 4, s->limit);
	put_le32(p + 8, (s->attr & 0xffU) << 8 | (s->attr & 0xf00U) << 12);
	put_le64(p + 16, s->base);
}

static void put_table(uint8_t *p, const struct desc_table *t)
{
	put_le32(p + 4, t->limit);
	put_le64(p + 16, t->base);
}

static void put_qemu(uint8_t *p, const struct vcpu_state *s)
{
	static const uint8_t order[] = {
	    SEG_CS, SEG_DS, SEG_ES, SEG_FS, SEG_GS, SEG_SS, SEG_LDTR, SEG_TR};
	const uint64_t *g = s->gpr;
	const uint64_t regs[] = {g[GPR_RAX], g[GPR_RBX], g[GPR_RCX], g[GPR_RDX], g[GPR_RSI],
	    g[GPR_RDI], g[GPR_RSP], g[GPR_RBP], g[GPR_R8], g[GPR_R9], g[GPR_R10], g[GPR_R11],
	    g[GPR_R12], g[GPR_R13], g[GPR_R14], g[GPR_R15], s->rip, s->rflags};
	const uint64_t cr[] = {s->cr0, 0, s->cr2, s->cr3, s->cr4};
	uint8_t *at = p + QEMU_SEGMENTS;

	put_le32(p + QEMU_VERSION, 1);
	put_le32(p + QEMU_SIZE_FIELD, QEMU_SIZE);
	for (unsigned k = 0; k < ARRAY_LEN(regs); k++)
		put_le64(p + QEMU_REGS + (size_t)k * 8, regs[k]);
	for (unsigned k = 0; k < ARRAY_LEN(order); k++, at += QEMU_SEGMENT)
		put_segment(at, &s->seg[order[k]]);
	put_table(at, &s->gdtr);
	put_table(at + QEMU_SEGMENT, &s->idtr);
	for (unsigned k = 0; k < ARRAY_LEN(cr); k++)
		put_le64(p + QEMU_CR + (size_t)k * 8, cr[k]);
	put_le64(p + QEMU_KERNEL_GS, s->kernel_gs_base);
}

void core_notes_put(uint8_t *out, unsigned i, const struct vcpu_state *s)
{
	put_prstatus(note(&out, "CORE", NT_PRSTATUS, PR_SIZE), i, s);
	memcpy(note(&out, "CORE", NT_FPREGSET, FPREGS_SIZE), s->xstate, FPREGS_SIZE);
	put_qemu(note(&out, "QEMU", NT_QEMU, QEMU_SIZE), s);
}
