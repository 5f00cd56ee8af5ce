/* SPDX-License-Identifier: BSD-2-Clause */
/* What CPUID returns. */
#ifndef AMBER_X86_CPUID_REGS_H
#define AMBER_X86_CPUID_REGS_H

#include "hv/lib/types.h"

struct cpuid_regs {
	uint32_t eax, ebx, ecx, edx;
};

#endif
