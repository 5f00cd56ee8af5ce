/* SPDX-License-Identifier: BSD-2-Clause */
/* XSAVE in standard form, or FXSAVE. */
#include "hv/arch/x86/xstate.h"
#include "hv/arch/x86/cpu.h"
#include "hv/lib/log.h"

/* Offsets in the legacy area (SDM volume 1, 13.4.1) and sizes. */
enum {
	LEGACY_SIZE = 512,
	HEADER_SIZE = 64,
	FCW_OFFSET = 0,
	MXCSR_OFFSET = 24,
	MXCSR_MASK_OFFSET = 28
};
enum { FCW_INIT = 0x37f, MXCSR_INIT = 0x1f80, MXCSR_MASK_DEFAULT = 0xffbf, CPUID_XSTATE = 0xd };

static uint32_t mxcsr_mask;

uint64_t xstate_host_mask(void)
{
	static uint64_t mask;

	if (!host_cpu.xsave)
		return XSTATE_X87 | XSTATE_SSE;
	if (!mask)
		mask = (cpuid(CPUID_XSTATE, 0).eax | (uint64_t)cpuid(CPUID_XSTATE, 0).edx << 32) &
		       XSTATE_KNOWN;
	return mask;
}

uint32_t xstate_size(uint64_t mask)
{
	uint32_t size = LEGACY_SIZE + HEADER_SIZE;

	if (!host_cpu.xsave)
		return LEGACY_SIZE;
	for (uint32_t i = 2; i < 63; i++) {
		struct cpuid_regs r;

		if (!(mask & BIT(i)))
			continue;
		r = cpuid(CPUID_XSTATE, i); /* EAX: size, EBX: offset */
		size = MAX(size, r.ebx + r.eax);
	}
	return size;
}

void xstate_init(void)
{
	static uint8_t area[LEGACY_SIZE] __attribute__((aligned(64)));

	__asm__ volatile("fxsave64 %0" : "=m"(area));
	mxcsr_mask = *(uint32_t *)(area + MXCSR_MASK_OFFSET);
	if (!mxcsr_mask)
		mxcsr_mask = MXCSR_MASK_DEFAULT;
	log_info("xstate: components 0x%lx, %u bytes", xstate_host_mask(),
	    xstate_size(xstate_host_mask()));
}

uint32_t xstate_mxcsr_mask(void)
{
	return mxcsr_mask;
}

void xstate_init_area(void *area)
{
	*(uint16_t *)((uint8_t *)area + FCW_OFFSET) = FCW_INIT;
	*(uint32_t *)((uint8_t *)area + MXCSR_OFFSET) = MXCSR_INIT;
}

void xstate_save(void *area, uint64_t mask)
{
	if (host_cpu.xsave)
		__asm__ volatile("xsave64 (%0)"
				 :
				 : "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32))
				 : "memory");
	else
		__asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

void xstate_restore(const void *area, uint64_t mask)
{
	if (host_cpu.xsave)
		__asm__ volatile("xrstor64 (%0)"
				 :
				 : "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32))
				 : "memory");
	else
		__asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}
