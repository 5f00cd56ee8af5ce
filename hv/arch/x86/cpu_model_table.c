/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What CPU models are made of: one row per feature, one per policy. What each
 * portable model shows, and why, is told in docs/cpu-state.md.
 * Leaf layouts: SDM volume 2A "CPUID"; APM volume 3, appendix E.
 */
#include <string.h>
#include "hv/arch/x86/cpu_model_table.h"

#define NOSUB CPUID_NO_SUBLEAF

/*
 * A level in a row is a promise for good: snapshots hold the image, and a model
 * of one name must be one image. Portable models have what every CPU of their
 * level has, on either vendor: not PCID and SMAP (Zen has no PCID, Haswell no SMAP),
 * not VME (one emulated host lacks it), neither XSAVEC nor XSAVES, no
 * speculation control (the two vendors' bits and MSRs differ), and not the
 * invariant TSC: a restore may move the rate by up to 250 ppm.
 */
const struct feature cpu_features[] = {
    {0x1, NOSUB, ECX, 0, FROM_HOST, 2, "SSE3"},
    {0x1, NOSUB, ECX, 1, FROM_HOST, 3, "PCLMULQDQ"},
    {0x1, NOSUB, ECX, 9, FROM_HOST, 2, "SSSE3"},
    {0x1, NOSUB, ECX, 12, FROM_HOST, 3, "FMA"},
    {0x1, NOSUB, ECX, 13, FROM_HOST, 2, "CMPXCHG16B"},
    {0x1, NOSUB, ECX, 17, FROM_HOST, 0, "PCID"},
    {0x1, NOSUB, ECX, 19, FROM_HOST, 2, "SSE4.1"},
    {0x1, NOSUB, ECX, 20, HEADLINE, 2, "SSE4.2"},
    {0x1, NOSUB, ECX, 21, ALWAYS, 1, "x2APIC"},
    {0x1, NOSUB, ECX, 22, FROM_HOST, 3, "MOVBE"},
    {0x1, NOSUB, ECX, 23, FROM_HOST, 2, "POPCNT"},
    {0x1, NOSUB, ECX, 24, ALWAYS, 1, "TSC-deadline"},
    {0x1, NOSUB, ECX, 25, FROM_HOST, 3, "AES"},
    {0x1, NOSUB, ECX, 26, FROM_HOST, 3, "XSAVE"},
    {0x1, NOSUB, ECX, 28, FROM_HOST, 3, "AVX"},
    {0x1, NOSUB, ECX, 29, FROM_HOST, 3, "F16C"},
    {0x1, NOSUB, ECX, 30, FROM_HOST, 3, "RDRAND"},
    {0x1, NOSUB, ECX, 31, ALWAYS, 1, "hypervisor"},
    {0x1, NOSUB, EDX, 0, FROM_HOST, 1, "FPU"},
    {0x1, NOSUB, EDX, 1, FROM_HOST, 0, "VME"},
    {0x1, NOSUB, EDX, 2, FROM_HOST, 1, "DE"},
    {0x1, NOSUB, EDX, 3, FROM_HOST, 1, "PSE"},
    {0x1, NOSUB, EDX, 4, FROM_HOST, 1, "TSC"},
    {0x1, NOSUB, EDX, 5, FROM_HOST, 1, "MSR"},
    {0x1, NOSUB, EDX, 6, FROM_HOST, 1, "PAE"},
    {0x1, NOSUB, EDX, 7, ALWAYS, 1, "MCE"},
    {0x1, NOSUB, EDX, 8, FROM_HOST, 1, "CMPXCHG8B"},
    {0x1, NOSUB, EDX, 9, ALWAYS, 1, "APIC"},
    {0x1, NOSUB, EDX, 11, FROM_HOST, 1, "SEP"},
    {0x1, NOSUB, EDX, 12, ALWAYS, 1, "MTRR"},
    {0x1, NOSUB, EDX, 13, FROM_HOST, 1, "PGE"},
    {0x1, NOSUB, EDX, 14, ALWAYS, 1, "MCA"},
    {0x1, NOSUB, EDX, 15, FROM_HOST, 1, "CMOV"},
    {0x1, NOSUB, EDX, 16, FROM_HOST, 1, "PAT"},
    {0x1, NOSUB, EDX, 17, FROM_HOST, 1, "PSE-36"},
    {0x1, NOSUB, EDX, 19, FROM_HOST, 1, "CLFLUSH"},
    {0x1, NOSUB, EDX, 23, FROM_HOST, 1, "MMX"},
    {0x1, NOSUB, EDX, 24, FROM_HOST, 1, "FXSR"},
    {0x1, NOSUB, EDX, 25, FROM_HOST, 1, "SSE"},
    {0x1, NOSUB, EDX, 26, FROM_HOST, 1, "SSE2"},
    {0x7, 0, EBX, 0, FROM_HOST, 3, "FSGSBASE"},
    {0x7, 0, EBX, 1, ALWAYS, 1, "TSC_ADJUST"},
    {0x7, 0, EBX, 3, FROM_HOST, 3, "BMI1"},
    {0x7, 0, EBX, 5, HEADLINE, 3, "AVX2"},
    {0x7, 0, EBX, 7, FROM_HOST, 3, "SMEP"},
    {0x7, 0, EBX, 8, FROM_HOST, 3, "BMI2"},
    {0x7, 0, EBX, 9, FROM_HOST, 0, "ERMS"},
    {0x7, 0, EBX, 10, FROM_HOST, 0, "INVPCID"},
    {0x7, 0, EBX, 18, FROM_HOST, 0, "RDSEED"},
    {0x7, 0, EBX, 19, FROM_HOST, 0, "ADX"},
    {0x7, 0, EBX, 20, FROM_HOST, 0, "SMAP"},
    {0x7, 0, EBX, 23, FROM_HOST, 0, "CLFLUSHOPT"},
    {0x7, 0, EBX, 24, FROM_HOST, 0, "CLWB"},
    {0x7, 0, EBX, 29, FROM_HOST, 0, "SHA"},
    {0x7, 0, ECX, 2, FROM_HOST, 0, "UMIP"},
    {0xd, 1, EAX, 0, FROM_HOST, 3, "XSAVEOPT"},
    {0xd, 1, EAX, 1, FROM_HOST, 0, "XSAVEC"},
    {0xd, 1, EAX, 2, FROM_HOST, 0, "XGETBV with ECX = 1"},
    {0x80000001, NOSUB, ECX, 0, FROM_HOST, 2, "LAHF in 64-bit mode"},
    {0x80000001, NOSUB, ECX, 4, FROM_HOST, 0, "MOV CR8 in 32-bit mode"},
    {0x80000001, NOSUB, ECX, 5, FROM_HOST, 3, "LZCNT"},
    {0x80000001, NOSUB, ECX, 6, FROM_HOST, 0, "SSE4A"},
    {0x80000001, NOSUB, ECX, 8, FROM_HOST, 0, "PREFETCHW"},
    {0x80000001, NOSUB, EDX, 11, FROM_HOST, 1, "SYSCALL"},
    {0x80000001, NOSUB, EDX, 20, FROM_HOST, 1, "NX"},
    {0x80000001, NOSUB, EDX, 22, FROM_HOST, 0, "MMXEXT"},
    {0x80000001, NOSUB, EDX, 26, FROM_HOST, 3, "1 GiB pages"},
    {0x80000001, NOSUB, EDX, 27, FROM_HOST, 2, "RDTSCP"},
    {0x80000001, NOSUB, EDX, 29, FROM_HOST, 1, "long mode"},
    {0x80000007, NOSUB, EDX, 8, FROM_HOST, 0, "invariant TSC"},
    {0x80000008, NOSUB, EBX, 0, FROM_HOST, 0, "CLZERO"},
};

const size_t cpu_features_count = ARRAY_LEN(cpu_features);

/*
 * One vendor string for all portable models. AMD's, since all that an AMD CPU
 * does otherwise than an Intel one can be done on Intel in software (SYSCALL
 * outside 64-bit mode faults there and is emulated), but not the reverse: SYSCALL
 * from compatibility mode cannot be kept from an AMD CPU, and a kernel that takes it
 * for an Intel one leaves CSTAR unset. The signature is that of the first CPU with
 * x86-64-v3, so that kernels use what protects those of its family.
 */
#define PORTABLE(n, bits)                                                                          \
	{                                                                                          \
		.name = "x86-64-v" #n, .level = (n), .phys_bits = (bits), .signature = 0x00800f12, \
		.vendor = "AuthenticAMD", .brand = "Amber virtual CPU, x86-64-v" #n,               \
	}

/* Address bits: those of the least CPUs of the level, Nehalem's and Haswell's. */
static const struct cpu_policy policies[] = {
    {.name = "host"},
    PORTABLE(1, 36),
    PORTABLE(2, 36),
    PORTABLE(3, 39),
};

const struct cpu_policy *cpu_policy_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(policies); i++)
		if (strcmp(policies[i].name, name) == 0)
			return &policies[i];
	return NULL;
}

/* TLBs of 64 entries; 32 KiB of data, 64 KiB of code, lines of 64 bytes (APM volume 3, E.4.4). */
const struct cpuid_regs cpu_portable_l1 = {0xff40ff40, 0xff40ff40, 0x20080140, 0x40040140};
/* TLBs of 1536 and 1024 entries; L2 of 512 KiB, 8-way; L3 of 8 MiB, 16-way (E.4.5). */
const struct cpuid_regs cpu_portable_l2 = {0x66006400, 0x66006400, 0x02006140, 0x00408140};
