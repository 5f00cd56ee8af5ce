/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that does to device memory what it does to RAM: each instruction is run on both,
 * from the same contents and registers, and must leave the same in both. It prints "ok NAME"
 * or "BAD NAME", and "emul: N ok, N bad". The device memory is the test device's.
 */
#include "guest.h"

enum {
	START = 0x800, /* of what is used; it goes into the next page */
	BEFORE = 64,
	SIZE = 0x1080,
	CR0_MP = 1 << 1,
	CR0_EM = 1 << 2,
	CR0_TS = 1 << 3,
	CR4_SSE = 3 << 9,
	CR4_OSXSAVE = 1 << 18,
	VEC_NM = 7
};
#define DEVICE ((uint8_t *)0xff000000UL)

/* General registers, then vector registers; before and after. */
struct registers {
	uint64_t rax, rcx, rdx, rbx;
	uint8_t ymm[3][32]; /* 0, 1 and 7 */
} __attribute__((aligned(32)));

static uint8_t ram[SIZE] __attribute__((aligned(4096)));
static unsigned oks, bads;

static void verdict(const char *name, bool ok)
{
	oks += ok;
	bads += !ok;
	print("%s %s\n", ok ? "ok" : "BAD", name);
}

/* --- instructions ------------------------------------------------------------------------- */

/* With the memory at (%rdi), and registers from and to (%rsi). */
typedef void instruction(uint8_t *memory, struct registers *r);

#define CASE_WITH(move, name, text)                                                                \
	instruction case_##name;                                                                   \
	__asm__("case_" #name ":\n"                                                                \
		"	push %rbx; push %rsi\n"                                                          \
		"	mov (%rsi), %rax; mov 8(%rsi), %rcx; mov 16(%rsi), %rdx\n"                       \
		"	mov 24(%rsi), %rbx\n"                                                            \
		"	" move "ps 32(%rsi), %" XMM "0; " move "ps 64(%rsi), %" XMM "1\n"          \
		"	" move "ps 96(%rsi), %" XMM "7\n"                                          \
		"	clc\n"                                                                           \
		"	" text "\n"                                                                \
		"	pop %rsi\n"                                                                      \
		"	mov %rax, (%rsi); mov %rcx, 8(%rsi); mov %rdx, 16(%rsi)\n"                       \
		"	mov %rbx, 24(%rsi)\n"                                                            \
		"	" move "ps %" XMM "0, 32(%rsi); " move "ps %" XMM "1, 64(%rsi)\n"          \
		"	" move "ps %" XMM "7, 96(%rsi)\n"                                          \
		"	pop %rbx; ret\n")
#define XMM		 "xmm"
#define CASE(name, text) CASE_WITH("movu", name, text)

CASE(movups, "movups %xmm0, (%rdi); movups 3(%rdi), %xmm1");
CASE(movaps, "movaps %xmm0, (%rdi); movaps 16(%rdi), %xmm1; movntps %xmm7, 32(%rdi)");
CASE(movdqu, "movdqu %xmm0, 5(%rdi); movdqu 16(%rdi), %xmm1; movntdq %xmm7, 32(%rdi)");
CASE(pages, "movups %xmm0, 0x7f9(%rdi); movups 0x7fe(%rdi), %xmm1; mov %rax, 0x7fd(%rdi)");
CASE(scalars,
    "movss %xmm0, (%rdi); movsd %xmm1, 8(%rdi); movss 16(%rdi), %xmm0; movq 24(%rdi), %xmm1");
CASE(halves,
    "movlps %xmm0, (%rdi); movhps %xmm1, 8(%rdi); movhpd 16(%rdi), %xmm0; movlpd 24(%rdi), %xmm1");
CASE(movd, "movd %xmm0, (%rdi); movd 16(%rdi), %xmm1; movq %xmm7, 24(%rdi); movnti %rax, 8(%rdi)");
CASE(mmx, "movq (%rdi), %mm1; movq %mm1, 16(%rdi); movd %mm1, 28(%rdi); movq %mm1, %rax; emms");
CASE(strings,
    "mov %rdi, %rbx; lea 64(%rdi), %rsi; mov $21, %ecx; rep movsb; mov $9, %ecx;"
    " rep stosw; mov $5, %ecx; rep movsq; sub %rbx, %rdi; mov %rdi, %rdx; xor %ebx, %ebx");
CASE(multiply, "mulq (%rdi); imul 8(%rdi), %rcx; imul $77, 16(%rdi), %ebx");
CASE(divide, "xor %edx, %edx; orb $1, 3(%rdi); divl (%rdi)");
CASE(shifts,
    "shld $5, %eax, (%rdi); rorw $3, 8(%rdi); sarq %cl, 16(%rdi); shrd %cl, %rdx, 24(%rdi)");
CASE(locked, "lock addl $0x1234, (%rdi); lock xadd %rax, 8(%rdi); xchg %cl, 16(%rdi);"
	     " lock btsq $9, 24(%rdi); setc 32(%rdi)");
CASE(cmpxchg, "mov (%rdi), %rax; mov 8(%rdi), %rdx; lock cmpxchg16b (%rdi); setz 32(%rdi);"
	      " lock cmpxchg8b 40(%rdi); setz 33(%rdi); lock cmpxchg %rbx, 48(%rdi)");
CASE(bits, "bsf (%rdi), %rax; bsr 8(%rdi), %rcx; mov $-77, %rdx; btc %rdx, 64(%rdi); setc (%rdi);"
	   " cmovc 16(%rdi), %rdx");
CASE(stack, "pushq (%rdi); popq 8(%rdi); pushw 16(%rdi); popw 24(%rdi)");
CASE(frames, /* the stack is there, too */
    "push %rbp; mov %rsp, %rdx; lea 128(%rdi), %rsp; mov $0x1234, %ebp; enter $24, $0;"
    " mov %rbp, %rcx; sub %rdi, %rcx; mov %rax, (%rsp); mov %rsp, %rax; sub %rdi, %rax; leave;"
    " add %rbp, %rax; lea 1f(%rip), %rbp; push %rbp; ret; ud2; 1: mov %rsp, %rbx;"
    " sub %rdi, %rbx; mov %rdx, %rsp; pop %rbp; xor %edx, %edx");
CASE(branches, "lea 1f(%rip), %rcx; mov %rcx, (%rdi); lea 2f(%rip), %rcx; mov %rcx, 8(%rdi);"
	       " call *(%rdi); jmp *8(%rdi); ud2; 1: add $3, %rax; ret; 2: xor %ecx, %ecx");
CASE(segments,
    "mov %ds, (%rdi); mov (%rdi), %es; mov %ss, 8(%rdi); mov 8(%rdi), %ss; mov %ss, %edx;"
    " movw $0, 16(%rdi); mov 16(%rdi), %es; mov %es, %eax; mov %ss, 24(%rdi);"
    " mov 24(%rdi), %es; lea 1f(%rip), %rcx; mov %ecx, 32(%rdi); mov %cs, 36(%rdi);"
    " ljmp *32(%rdi); ud2; 1: xor %ecx, %ecx");
CASE(system, "smsw (%rdi); str 8(%rdi); sldt 16(%rdi)");

#undef XMM
#define XMM		     "ymm"
#define CASE_AVX(name, text) CASE_WITH("vmovu", name, text)
CASE_AVX(vmovups, "vmovups %ymm0, (%rdi); vmovups 3(%rdi), %ymm1; vmovdqu %xmm7, 64(%rdi)");
CASE_AVX(vmovaps, "vmovaps %ymm0, (%rdi); vmovdqa 32(%rdi), %ymm1; vmovntdq %ymm7, 64(%rdi)");
CASE_AVX(vpages, "vmovups %ymm0, 0x7e9(%rdi); vmovups 0x7f3(%rdi), %ymm1");
CASE_AVX(vparts,
    "vmovhps (%rdi), %xmm7, %xmm1; vbroadcastss 8(%rdi), %ymm0; vmovsd %xmm1, 16(%rdi);"
    " vextractf128 $1, %ymm7, 32(%rdi); vinsertf128 $0, 48(%rdi), %ymm7, %ymm1");

static const struct {
	const char *name;
	instruction *run;
	bool avx;
} cases[] = {{"movups", case_movups, false}, {"movaps", case_movaps, false},
    {"movdqu", case_movdqu, false}, {"pages", case_pages, false}, {"scalars", case_scalars, false},
    {"halves", case_halves, false}, {"movd", case_movd, false}, {"mmx", case_mmx, false},
    {"strings", case_strings, false}, {"multiply", case_multiply, false},
    {"divide", case_divide, false}, {"shifts", case_shifts, false}, {"locked", case_locked, false},
    {"cmpxchg", case_cmpxchg, false}, {"bits", case_bits, false}, {"stack", case_stack, false},
    {"frames", case_frames, false}, {"branches", case_branches, false},
    {"system", case_system, false}, {"segments", case_segments, false},
    {"vmovups", case_vmovups, true}, {"vmovaps", case_vmovaps, true}, {"vpages", case_vpages, true},
    {"vparts", case_vparts, true}};

/* --- comparison --------------------------------------------------------------------------- */

/* By eight bytes. */
static bool same(const void *a, const void *b, unsigned len)
{
	const volatile uint64_t *x = a, *y = b;

	for (unsigned n = 0; n < len / 8; n++)
		if (x[n] != y[n])
			return false;
	return true;
}

/* The same in both, another for each case. */
static void fill(unsigned seed)
{
	volatile uint64_t *a = (uint64_t *)ram, *b = (uint64_t *)DEVICE;
	uint64_t v = seed * 2654435761U + 1;

	for (unsigned n = (START - BEFORE) / 8; n < SIZE / 8; n++) {
		v = v * 6364136223846793005 + 1442695040888963407;
		a[n] = b[n] = v;
	}
}

static void fill_registers(struct registers *r, unsigned seed)
{
	uint8_t *p = (uint8_t *)r;

	for (unsigned n = 0; n < sizeof(*r); n++)
		p[n] = (uint8_t)((n + seed) * 167 + (n >> 3));
}

static void compare(const char *name, instruction *run, unsigned seed)
{
	static struct registers on_ram, on_device;

	fill(seed);
	fill_registers(&on_ram, seed);
	fill_registers(&on_device, seed);
	run(ram + START, &on_ram);
	run(DEVICE + START, &on_device);
	verdict(
	    name, same(&on_ram, &on_device, sizeof(on_ram)) &&
		      same(ram + START - BEFORE, DEVICE + START - BEFORE, SIZE - START + BEFORE));
}

/* --- whoever is not to have the registers now ------------------------------------------------ */

static unsigned traps;

static uint64_t read_cr0(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr0, %0" : "=r"(v));
	return v;
}

static void write_cr0(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr0" : : "r"(v) : "memory");
}

static void on_nm(struct trap_frame *f)
{
	(void)f;
	traps++;
	__asm__ volatile("clts");
}

/* #NM for the device as for RAM, and then it is done. */
static void not_available(void)
{
	static struct registers r;

	fill_registers(&r, 1);
	trap_handler[VEC_NM] = on_nm;
	__asm__ volatile("movups %1, %%xmm0\n"
			 "mov %%cr0, %%rax\n"
			 "or $8, %%rax\n"
			 "mov %%rax, %%cr0\n"
			 "movups %%xmm0, (%0)\n"
			 :
			 : "r"(DEVICE + START), "m"(r.ymm[0])
			 : "rax", "memory");
	verdict("not available", traps == 1 && same(DEVICE + START, r.ymm[0], 16));
}

/* With a memory operand; PE stays. */
static void lmsw(void)
{
	static volatile uint16_t operand = CR0_MP | CR0_TS;
	uint64_t before = read_cr0(), after;

	__asm__ volatile("lmsw %0" : : "m"(operand));
	after = read_cr0();
	write_cr0(before);
	verdict("lmsw", after == ((before & ~(uint64_t)CR0_EM) | CR0_MP | CR0_TS));
}

static bool enable_vectors(void)
{
	uint32_t r[4];
	uint64_t cr4;

	write_cr0((read_cr0() & ~(uint64_t)(CR0_EM | CR0_TS)) | CR0_MP);
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_SSE));
	cpuid(1, 0, r);
	if ((r[2] >> 26 & 5) != 5) /* XSAVE and AVX */
		return false;
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_SSE | CR4_OSXSAVE));
	__asm__ volatile("xsetbv" : : "a"(7), "d"(0), "c"(0));
	return true;
}

void guest_main(const uint8_t *params)
{
	bool avx;

	(void)params;
	traps_init();
	avx = enable_vectors();
	for (unsigned n = 0; n < sizeof(cases) / sizeof(cases[0]); n++)
		if (avx || !cases[n].avx)
			compare(cases[n].name, cases[n].run, n);
	not_available();
	lmsw();
	print("%s AVX\n", avx ? "with" : "without");
	print("emul: %u ok, %u bad\n", oks, bads);
	for (;;) /* or the console would say that it has halted */
		__asm__ volatile("sti; hlt");
}
