/* SPDX-License-Identifier: BSD-2-Clause */
/* Each CPU's GDT and TSS, and the stacks that its gates switch to. */
#include "hv/arch/x86/cpu.h"
#include "hv/mm/mm.h"

/* Descriptors of 64-bit code and data, privilege level 0 (SDM volume 3, 3.4.5). */
#define DESC_CODE64 0x00af9b000000ffffULL
#define DESC_DATA   0x00cf93000000ffffULL
#define DESC_TSS    0x0000890000000000ULL /* available 64-bit TSS, present */

#define IST_STACK_SIZE (8 * KIB)
#define IRQ_STACK_SIZE (16 * KIB) /* timers and devices do their work on it */

/*
 * Until there are guarded stacks, the boot CPU takes its exceptions on this one:
 * enough to report what went wrong.
 */
static uint8_t early_stack[IST_STACK_SIZE] __attribute__((aligned(16)));

void gdt_init(struct cpu *c)
{
	uint64_t base = (uint64_t)&c->tss;

	c->tss = (struct tss){.iomap_base = sizeof(struct tss)};
	for (unsigned i = 0; i < IST_COUNT; i++)
		c->tss.ist[i] = (uint64_t)(early_stack + sizeof(early_stack));
	c->gdt[SEL_NULL / 8] = 0;
	c->gdt[SEL_CODE / 8] = DESC_CODE64;
	c->gdt[SEL_DATA / 8] = DESC_DATA;
	c->gdt[SEL_TSS / 8] = DESC_TSS | (sizeof(struct tss) - 1) | (base & 0xffffff) << 16 |
			      (base >> 24 & 0xff) << 56;
	c->gdt[SEL_TSS / 8 + 1] = base >> 32;
}

void gdt_load(struct cpu *c)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} PACKED gdtr = {sizeof(c->gdt) - 1, (uint64_t)c->gdt};

	/* FS and GS stay null selectors with the bases that were set at entry. */
	__asm__ volatile("lgdt %0\n\t"
			 "pushq %1\n\t"
			 "leaq 1f(%%rip), %%rax\n\t"
			 "pushq %%rax\n\t"
			 "lretq\n"
			 "1:\n\t"
			 "movl %k2, %%ds\n\t"
			 "movl %k2, %%es\n\t"
			 "movl %k2, %%ss\n\t"
			 "ltr %w3"
			 :
			 : "m"(gdtr), "i"(SEL_CODE), "r"((uint32_t)SEL_DATA), "r"((uint16_t)SEL_TSS)
			 : "rax", "memory");
}

int gdt_alloc_ist(struct cpu *c)
{
	for (unsigned i = 0; i < IST_COUNT; i++) {
		void *top = stack_alloc(i + 1 == IST_IRQ ? IRQ_STACK_SIZE : IST_STACK_SIZE);

		if (!top)
			return ERR_NOMEM;
		c->tss.ist[i] = (uint64_t)top;
	}
	return OK;
}
