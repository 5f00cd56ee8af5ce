/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of a CPU that refuses what a CPU refuses: a test that writes a bad value ends. */
#include "hv/arch/x86/cpu.h"
#include "hv/lib/log.h"

enum { MSRS = 16 };

static struct {
	uint32_t msr;
	uint64_t value;
} msrs[MSRS];
static unsigned msr_count;

static uint64_t *slot(uint32_t msr)
{
	unsigned i;

	for (i = 0; i < msr_count; i++)
		if (msrs[i].msr == msr)
			return &msrs[i].value;
	ASSERT(i < MSRS);
	msrs[msr_count++].msr = msr;
	return &msrs[i].value;
}

uint64_t rdmsr(uint32_t msr)
{
	return *slot(msr);
}

/* SDM volume 2, WRMSR: #GP for an address that is not canonical and for reserved bits. */
void wrmsr(uint32_t msr, uint64_t v)
{
	switch (msr) {
	case MSR_LSTAR:
	case MSR_CSTAR:
	case MSR_FS_BASE:
	case MSR_GS_BASE:
	case MSR_KERNEL_GS_BASE:
		ASSERT((uint64_t)((int64_t)(v << 16) >> 16) == v);
		break;
	case MSR_SFMASK:
	case MSR_TSC_AUX:
		ASSERT(v <= UINT32_MAX);
		break;
	default:
		break;
	}
	*slot(msr) = v;
}

#define FAKE_REG(reg)                                                                              \
	static uint64_t reg;                                                                       \
	uint64_t read_##reg(void)                                                                  \
	{                                                                                          \
		return reg;                                                                        \
	}                                                                                          \
	void write_##reg(uint64_t v)                                                               \
	{                                                                                          \
		reg = v;                                                                           \
	}
/* clang-format off */
FAKE_REG(cr2)
FAKE_REG(cr8)
FAKE_REG(dr0)
FAKE_REG(dr1)
FAKE_REG(dr2)
FAKE_REG(dr3)
/* clang-format on */
