/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Control registers, model-specific registers and CPUID against SDM volume 3, 2.5 and 4.1, volume
 * 2, "MOV" and "XSETBV": what faults, what is kept, and that one tells what the others do.
 * With "nocr3" on the command line CR3 is spared what no CPU takes.
 */
#include "arch.h"

enum {
	MSR_EFER = 0xc0000080,
	EFER_SCE = 1,
	EFER_LME = 1 << 8,
	EFER_LMA = 1 << 10,
	MSR_PAT = 0x277,
	MSR_LSTAR = 0xc0000082,
	MSR_FS = 0xc0000100,
	MSR_GS = 0xc0000101,
	MSR_KERNEL_GS = 0xc0000102,
	MSR_MTRRCAP = 0xfe,
	MSR_MTRR_BASE0 = 0x200,
	MSR_MTRR_DEF = 0x2ff,
	MSR_TSC_ADJUST = 0x3b,
	CR4_PAE = 1 << 5,
	CR4_PCIDE = 1 << 17,
	CR4_OSXSAVE = 1 << 18,
	CR4_SMEP = 1 << 20,
	CR4_SMAP = 1 << 21,
	CR4_UMIP = 1 << 11,
	CR4_PKE = 1 << 22,
	CR4_LA57 = 1 << 12,
	CR4_VMXE = 1 << 13,
	CR4_FSGSBASE = 1 << 16,
};
#define NONCANONICAL 0x8000000000000000UL
#define CR0_PE	     1UL
#define CR0_TS	     (1UL << 3)
#define CR0_ET	     (1UL << 4)
#define CR0_NW	     (1UL << 29)
#define CR0_CD	     (1UL << 30)
#define CR0_PG	     (1UL << 31)

static uint64_t to_cr0(uint64_t v)
{
	return TRY("mov %0, %%cr0", : : "r"(v) : "memory");
}

static uint64_t smsw_register(void)
{
	uint64_t v;

	__asm__ volatile("smsw %0" : "=r"(v));
	return v;
}

/* Two bytes, and no more. */
static uint32_t smsw_memory(void)
{
	uint32_t v = 0xaaaaaaaa;

	__asm__ volatile("smsw %0" : "+m"(v));
	return v;
}

static uint64_t to_cr3(uint64_t v)
{
	return TRY("mov %0, %%cr3", : : "r"(v) : "memory");
}

static uint64_t to_cr4(uint64_t v)
{
	return TRY("mov %0, %%cr4", : : "r"(v) : "memory");
}

static bool feature(uint32_t leaf, unsigned reg, unsigned bit)
{
	uint32_t r[4];

	cpuid(leaf, 0, r);
	return r[reg] >> bit & 1;
}

static void test_cr(void)
{
	static const struct {
		const char *name;
		uint32_t cr4, leaf;
		unsigned reg, bit;
	} features[] = {
	    {"CR4.UMIP as CPUID says", CR4_UMIP, 7, 2, 2},
	    {"CR4.FSGSBASE as CPUID says", CR4_FSGSBASE, 7, 1, 0},
	    {"CR4.PCIDE as CPUID says", CR4_PCIDE, 1, 2, 17},
	    {"CR4.OSXSAVE as CPUID says", CR4_OSXSAVE, 1, 2, 26},
	    {"CR4.SMEP as CPUID says", CR4_SMEP, 7, 1, 7},
	    {"CR4.SMAP as CPUID says", CR4_SMAP, 7, 1, 20},
	    {"CR4.PKE as CPUID says", CR4_PKE, 7, 2, 3},
	    {"CR4.LA57 as CPUID says", CR4_LA57, 7, 2, 16},
	    {"CR4.VMXE as CPUID says", CR4_VMXE, 1, 2, 5},
	};
	uint64_t cr0 = read_cr0(), cr4 = read_cr4();

	check_eq("CR0: upper half", to_cr0(cr0 | 1UL << 32), GP);
	check_eq("CR0: NW without CD", to_cr0(cr0 | CR0_NW), GP);
	check_eq("CR0: PG without PE", to_cr0(cr0 & ~CR0_PE), GP);
	check_eq("CR0: no paging in long mode", to_cr0(cr0 & ~CR0_PG), GP);
	check_eq("CR0: reserved bit of the lower half", to_cr0(cr0 | 1UL << 6), NOTHING);
	check_eq("CR0: is not kept", read_cr0(), cr0 | CR0_ET);
	check_eq("CR0: CD", to_cr0(cr0 | CR0_CD), NOTHING);
	check_eq("CR0: CD reads back", read_cr0(), cr0 | CR0_CD | CR0_ET);
	check_eq("CR0: CD and SMSW", smsw_register(), cr0 | CR0_CD | CR0_ET);
	check_eq(
	    "CR0: CD and SMSW of a word", smsw_memory(), 0xaaaa0000UL | (uint16_t)(cr0 | CR0_ET));
	check_eq("CR0: CD and NW", to_cr0(cr0 | CR0_CD | CR0_NW), NOTHING);
	check_eq("CR0: NW reads back", read_cr0(), cr0 | CR0_CD | CR0_NW | CR0_ET);
	check_eq("CR0: TS beside CD", to_cr0(cr0 | CR0_CD | CR0_TS), NOTHING);
	__asm__ volatile("clts");
	check_eq("CR0: CLTS keeps CD", read_cr0(), cr0 | CR0_CD | CR0_ET);
	check_eq("CR0: ET stays", to_cr0(cr0 & ~CR0_ET), NOTHING);
	check_eq("CR0: ET reads back", read_cr0(), cr0 | CR0_ET);
	if (!says("nocr3"))
		check_eq(
		    "CR3: above the physical address", to_cr3((uint64_t)arch_pml4 | 1UL << 52), GP);
	check_eq("CR4: no PAE in long mode", to_cr4(cr4 & ~(uint64_t)CR4_PAE), GP);
	check_eq("CR4: upper half", to_cr4(cr4 | 1UL << 32), GP);
	check_eq("CR4: bit 31", to_cr4(cr4 | 1UL << 31), GP);
	check_eq("CR4: bit 15", to_cr4(cr4 | 1UL << 15), GP);
	for (unsigned i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		bool has = feature(features[i].leaf, features[i].reg, features[i].bit);

		check_eq(features[i].name, to_cr4(cr4 | features[i].cr4), has ? NOTHING : GP);
		check_eq(features[i].name, read_cr4() & features[i].cr4, has ? features[i].cr4 : 0);
		write_cr4(cr4);
	}
	check_eq("CR1", TRY("mov %%cr1, %%rax", : : : "rax"), UD);
	check_eq("CR5", TRY("mov %%cr5, %%rax", : : : "rax"), UD);
	check_eq("CR9", TRY(".byte 0x44, 0x0f, 0x20, 0xc8", : : : "rax"), UD);
}

static void test_msrs(void)
{
	static const struct {
		const char *name;
		uint32_t msr;
		uint64_t value;
	} faults[] = {
	    {"EFER: reserved bit", MSR_EFER, 1UL << 9 | EFER_LME},
	    {"EFER: LME while paging", MSR_EFER, EFER_SCE},
	    {"EFER: upper half", MSR_EFER, 1UL << 32 | EFER_LME},
	    {"PAT: type 2", MSR_PAT, 0x0007040600070402},
	    {"PAT: type 8", MSR_PAT, 0x0807040600070406},
	    {"LSTAR: not canonical", MSR_LSTAR, NONCANONICAL},
	    {"FS base: not canonical", MSR_FS, NONCANONICAL},
	    {"GS base: not canonical", MSR_GS, NONCANONICAL},
	    {"kernel GS base: not canonical", MSR_KERNEL_GS, NONCANONICAL},
	    {"MTRR capabilities are read-only", MSR_MTRRCAP, 0},
	    {"MTRR base: type 2", MSR_MTRR_BASE0, 2},
	    {"MTRR base: reserved bit", MSR_MTRR_BASE0, 0x106},
	    {"MTRR base: above the physical address", MSR_MTRR_BASE0, 1UL << 52},
	    {"MTRR default type: reserved bit", MSR_MTRR_DEF, 0x1000},
	    {"MTRR default type: type 3", MSR_MTRR_DEF, 3},
	    {"no such MSR", 0x12345678, 0},
	    {"no such MSR of AMD's", 0xc0011fff, 0},
	};
	uint64_t v, efer = rdmsr(MSR_EFER), t;

	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		check_eq(faults[i].name, try_wrmsr(faults[i].msr, faults[i].value), GP);
	check_eq("no such MSR to read", try_rdmsr(0x12345678, &v), GP);
	check_eq("EFER after all", rdmsr(MSR_EFER), efer);
	check_eq("EFER: LMA is not written",
	    try_wrmsr(MSR_EFER, efer & ~(uint64_t)EFER_LMA) == NOTHING ? rdmsr(MSR_EFER) : efer,
	    efer);
	wrmsr(MSR_KERNEL_GS, 0xffff800000001234);
	check_eq("kernel GS base reads back", rdmsr(MSR_KERNEL_GS), 0xffff800000001234);
	__asm__ volatile("swapgs");
	check_eq("SWAPGS", rdmsr(MSR_GS), 0xffff800000001234);
	__asm__ volatile("swapgs");
	v = rdmsr(MSR_TSC_ADJUST);
	t = rdtsc();
	wrmsr(0x10, t + (1UL << 40));
	check_in("TSC set", rdtsc() - t, 1UL << 40, (1UL << 40) + (1UL << 36));
	check_in("TSC_ADJUST moves with it", rdmsr(MSR_TSC_ADJUST) - v, (1UL << 40) - (1UL << 36),
	    1UL << 40);
	wrmsr(MSR_TSC_ADJUST, v);
	check_in("TSC moves with TSC_ADJUST", rdtsc() - t, 0, 1UL << 36);
}

static void test_xsave(void)
{
	bool has = feature(1, 2, 26);

	check_eq("XSETBV without OSXSAVE", TRY("xsetbv", : : "c"(0), "a"(1), "d"(0)), UD);
	if (!has)
		return;
	write_cr4(read_cr4() | CR4_OSXSAVE);
	check_eq("OSXSAVE in CPUID", feature(1, 2, 27), 1);
	check_eq("XSETBV: x87", TRY("xsetbv", : : "c"(0), "a"(1), "d"(0)), NOTHING);
	check_eq("XSETBV: x87 and SSE", TRY("xsetbv", : : "c"(0), "a"(3), "d"(0)), NOTHING);
	check_eq("XSETBV: without x87", TRY("xsetbv", : : "c"(0), "a"(2), "d"(0)), GP);
	check_eq("XSETBV: AVX without SSE", TRY("xsetbv", : : "c"(0), "a"(5), "d"(0)), GP);
	check_eq("XSETBV: reserved bit", TRY("xsetbv", : : "c"(0), "a"(3), "d"(1U << 31)), GP);
	check_eq("XSETBV: XCR1", TRY("xsetbv", : : "c"(1), "a"(3), "d"(0)), GP);
}

static void test_cpuid(void)
{
	uint32_t max[4], r[4], top[4];

	cpuid(0, 0, max);
	cpuid(0x80000000, 0, top);
	check_in("CPUID: basic leaves", max[0], 1, 0x40);
	check_in("CPUID: extended leaves", top[0], 0x80000008, 0x80000040);
	check_eq("CPUID: the vendor twice or not at all",
	    top[1] == 0 || (top[1] == max[1] && top[2] == max[2] && top[3] == max[3]), 1);
	cpuid(1, 0, r);
	check_eq("CPUID: APIC ID", r[1] >> 24, apic_read(APIC_ID) >> 24);
	check_eq("CPUID: FPU, TSC, MSR, PAE, APIC", r[3] & 0x271, 0x271);
	cpuid(0x80000001, 0, r);
	check_eq("CPUID: long mode", r[3] >> 29 & 1, 1);
	cpuid(0x80000008, 0, r);
	check_in("CPUID: physical address bits", r[0] & 0xff, 32, 52);
	check_eq("CPUID: linear address bits", r[0] >> 8 & 0xff, 48);
	check_eq("OSXSAVE is CR4's", feature(1, 2, 27), read_cr4() >> 18 & 1);
}

void arch_main(void)
{
	test_cpuid();
	test_cr();
	test_msrs();
	test_xsave();
}
