/* SPDX-License-Identifier: BSD-2-Clause */
/* The interrupt descriptor table, one for all CPUs. */
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/traps.h"
#include "hv/arch/x86/vcpu_state.h"

enum { VECTORS = 256, STUB_SIZE = 16, GATE_INTERRUPT = 0x8e00 /* present, type 14 */ };

/* 64-bit gate (SDM volume 3, figure 6-8). */
struct gate {
	uint16_t offset_low, selector, attr, offset_mid;
	uint32_t offset_high, reserved;
};
_Static_assert(sizeof(struct gate) == 16, "SDM volume 3, figure 6-8");

extern const uint8_t trap_stubs[VECTORS][STUB_SIZE];
static struct gate idt[VECTORS] __attribute__((aligned(16)));

static unsigned ist_of(unsigned vector)
{
	switch (vector) {
	case VEC_DF:
		return IST_DF;
	case VEC_NMI:
		return IST_NMI;
	case VEC_MC:
		return IST_MC;
	case VEC_DB:
		return IST_DB;
	default:
		return vector < 32 ? IST_EXCEPTION : IST_IRQ;
	}
}

void idt_init(void)
{
	for (unsigned v = 0; v < VECTORS; v++) {
		uint64_t a = (uint64_t)trap_stubs[v];

		idt[v] = (struct gate){
		    .offset_low = (uint16_t)a,
		    .selector = SEL_CODE,
		    .attr = (uint16_t)(GATE_INTERRUPT | ist_of(v)),
		    .offset_mid = (uint16_t)(a >> 16),
		    .offset_high = (uint32_t)(a >> 32),
		};
	}
}

void idt_load(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} PACKED idtr = {sizeof(idt) - 1, (uint64_t)idt};

	__asm__ volatile("lidt %0" : : "m"(idtr));
}
