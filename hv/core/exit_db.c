/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Debug exceptions: those that the CPU raised and that exited, and breakpoints on what the
 * hypervisor does in the guest's place, I/O and device memory (SDM volume 3, 17.2 and 17.3;
 * APM volume 2, 13.1).
 */
#include "hv/arch/x86/cpu.h"
#include "hv/core/vcpu.h"

enum { DR6_HITS = 0xf, DR7_GD = 1 << 13 };

/* What a breakpoint is for: DR7's R/W field. */
enum { ON_EXECUTION, ON_WRITE, ON_IO, ON_ACCESS };

static bool enabled(uint64_t dr7, unsigned n)
{
	return dr7 >> 2 * n & 3;
}

static unsigned kind_of(uint64_t dr7, unsigned n)
{
	return dr7 >> (16 + 4 * n) & 3;
}

/* LEN: 1, 2, 8, 4 bytes. */
static unsigned length_of(uint64_t dr7, unsigned n)
{
	static const uint8_t lengths[4] = {1, 2, 8, 4};

	return lengths[dr7 >> (18 + 4 * n) & 3];
}

/*
 * Delivery clears GD, and an instruction breakpoint is a fault, whose image of RFLAGS has
 * RF set. Neither follows from the injection of an event.
 */
void exit_debug(struct vcpu *v)
{
	struct vcpu_state *s = &v->state;

	vcpu_need(v, VG_DRS);
	for (unsigned n = 0; n < 4; n++)
		if ((s->dr6 >> n & 1) && enabled(s->dr7, n) && kind_of(s->dr7, n) == ON_EXECUTION)
			s->rflags |= RFLAGS_RF;
	s->dr7 &= ~(uint64_t)DR7_GD;
	vcpu_changed(v, VG_DRS);
	vcpu_exception(v, VEC_DB, false, 0);
}

unsigned vcpu_data_breakpoints(const struct vcpu_state *s, bool write)
{
	unsigned mask = 0;

	for (unsigned n = 0; n < 4; n++) {
		unsigned kind = kind_of(s->dr7, n);

		if (enabled(s->dr7, n) && (kind == ON_ACCESS || (kind == ON_WRITE && write)))
			mask |= 1U << n;
	}
	return mask;
}

bool vcpu_breakpoint_covers(
    const struct vcpu_state *s, unsigned n, uint64_t at, uint64_t addr, unsigned len)
{
	unsigned covers = length_of(s->dr7, n);
	uint64_t start = at & ~(uint64_t)(covers - 1);

	return addr < start + covers && start < addr + len;
}

COLD void vcpu_debug_trap(struct vcpu *v, unsigned hits)
{
	struct vcpu_state *s = &v->state;
	bool stepped = s->pending.type == EVENT_EXCEPTION && s->pending.vector == VEC_DB;

	/* a fault comes instead of the trap; a single step comes with it */
	if (!hits || (s->pending.type != EVENT_NONE && !stepped))
		return;
	vcpu_need(v, VG_DRS);
	s->dr6 |= hits & DR6_HITS;
	vcpu_changed(v, VG_DRS);
	if (!stepped)
		exit_debug(v);
}

COLD void vcpu_io_breakpoints(struct vcpu *v, uint16_t port, unsigned len)
{
	const struct vcpu_state *s = &v->state;
	unsigned hits = 0;

	vcpu_need(v, VG_DRS | VG_CRS);
	for (unsigned n = 0; n < 4 && (s->cr4 & CR4_DE); n++)
		if (enabled(s->dr7, n) && kind_of(s->dr7, n) == ON_IO &&
		    vcpu_breakpoint_covers(s, n, (uint16_t)s->dr[n], port, len))
			hits |= 1U << n;
	vcpu_debug_trap(v, hits);
}
