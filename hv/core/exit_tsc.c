/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RDTSC and RDTSCP when they exit: for a guest whose TSC rate is not the host's and
 * which hardware does not scale, and where a CPU model has no RDTSCP. SDM volume 2B
 * "RDTSC", "RDTSCP".
 */
#include "hv/core/vcpu.h"

/* CR4.TSD keeps them from all but CPL 0; in real mode CPL is 0. True: #GP is queued. */
static bool refused(struct vcpu *v)
{
	vcpu_need(v, VG_CODE | VG_CRS);
	if (!(v->state.cr4 & CR4_TSD) || v->state.cpl == 0)
		return false;
	vcpu_gp(v);
	return true;
}

static void put_tsc(struct vcpu *v)
{
	uint64_t tsc = vcpu_tsc(v);

	v->state.gpr[GPR_RAX] = (uint32_t)tsc;
	v->state.gpr[GPR_RDX] = tsc >> 32;
}

void exit_rdtsc(struct vcpu *v, const struct vm_exit *x)
{
	if (refused(v))
		return;
	put_tsc(v);
	vcpu_skip_plain(v, x, INSN_RDTSC);
}

void exit_rdtscp(struct vcpu *v, const struct vm_exit *x)
{
	if (!v->has_rdtscp) { /* #UD comes before #GP */
		vcpu_ud(v);
		return;
	}
	if (refused(v))
		return;
	put_tsc(v);
	v->state.gpr[GPR_RCX] = (uint32_t)v->state.tsc_aux;
	vcpu_skip_plain(v, x, INSN_RDTSCP);
}
