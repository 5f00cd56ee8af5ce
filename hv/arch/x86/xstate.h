/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Vector and floating-point state: XSAVE's standard form (FXSAVE where there is
 * no XSAVE). The hypervisor's own code never touches these registers.
 */
#ifndef AMBER_X86_XSTATE_H
#define AMBER_X86_XSTATE_H

#include "hv/lib/types.h"

/* State components (SDM volume 1, 13.1). */
enum xstate_component {
	XSTATE_X87 = 1 << 0,
	XSTATE_SSE = 1 << 1,
	XSTATE_AVX = 1 << 2,
	XSTATE_OPMASK = 1 << 5,
	XSTATE_ZMM_HI256 = 1 << 6,
	XSTATE_HI16_ZMM = 1 << 7,
	XSTATE_PKRU = 1 << 9,
};
/* The components that the hypervisor handles, if the CPU has them. */
#define XSTATE_KNOWN                                                                               \
	(XSTATE_X87 | XSTATE_SSE | XSTATE_AVX | XSTATE_OPMASK | XSTATE_ZMM_HI256 |                 \
	    XSTATE_HI16_ZMM | XSTATE_PKRU)

/* Where the header begins in an area, with XSTATE_BV (volume 1, 13.4.2). */
enum { XSAVE_HEADER = 512 };
/* Where MXCSR is (volume 1, table 10-2), and the bits of it that there can be. */
enum { XSAVE_MXCSR_AT = 24, MXCSR_BITS = 0xffff };

/* Once, on the boot CPU, after cpu_init_control(). */
void xstate_init(void);
/* XCR0 as the host runs with: all components above that the CPU has. x87 and SSE without XSAVE. */
uint64_t xstate_host_mask(void);
/* Bytes of an area for these components in standard form (512 without XSAVE). mask within the
 * host's. */
uint32_t xstate_size(uint64_t mask);
/* Makes a zeroed area of xstate_size() bytes the initial state (FCW, MXCSR). 64-byte aligned. */
void xstate_init_area(void *area);

/*
 * Saves or loads the components in mask; the area is 64-byte aligned and at
 * least xstate_size(mask) bytes. XCR0 must include mask. The caller guarantees
 * a legal area: contents from outside are checked first (reserved header bits, MXCSR).
 */
void xstate_save(void *area, uint64_t mask);
void xstate_restore(const void *area, uint64_t mask);
/*
 * Of an area that a guest's state was saved in. QEMU's LDMXCSR (7.2) takes reserved bits, which a
 * CPU answers with #GP, and with which none loads the area again.
 */
static inline void xstate_mend(void *area)
{
	*(uint32_t *)(void *)((uint8_t *)area + XSAVE_MXCSR_AT) &= MXCSR_BITS;
}
/* Bits that MXCSR may have set here (FXSAVE's mask). */
uint32_t xstate_mxcsr_mask(void);

#endif
