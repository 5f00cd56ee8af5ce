/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events on VMX: injection (SDM volume 3, 26.6), windows, and deliveries that
 * an exit cut short (27.2.4), and the other controls that come and go. NMI blocking is the CPU's:
 * virtual NMIs.
 */
#include "hv/arch/x86/vmx/vmx_impl.h"

static const uint8_t hardware_type[] = {
    [EVENT_INTR] = INTR_TYPE_EXTERNAL,
    [EVENT_NMI] = INTR_TYPE_NMI,
    [EVENT_EXCEPTION] = INTR_TYPE_HW_EXCEPTION,
    [EVENT_SOFT_INT] = INTR_TYPE_SOFT_INT,
};

void vmx_inject(struct vcpu *v, const struct event *ev)
{
	uint32_t info =
	    INTR_VALID | (uint32_t)hardware_type[ev->type] << INTR_TYPE_SHIFT | ev->vector;

	if (ev->has_error) {
		info |= INTR_ERROR_VALID;
		vmwrite(VMCS_ENTRY_ERROR_CODE, ev->error_code);
	}
	if (ev->type == EVENT_SOFT_INT)
		vmwrite(VMCS_ENTRY_INSN_LEN, ev->insn_len);
	/* delivery blocks further ones; blocked already, the entry would fail (26.3.1.5) */
	if (ev->type == EVENT_NMI)
		v->state.nmi_blocked = 0;
	vmwrite(VMCS_ENTRY_INTR_INFO, info);
}

static void set_proc_ctl(struct virt_vcpu *p, uint32_t bit, bool on)
{
	uint32_t ctls = on ? p->proc_ctls | bit : p->proc_ctls & ~bit;

	if (ctls != p->proc_ctls)
		vmwrite(VMCS_PROC_CTLS, ctls);
	p->proc_ctls = ctls;
}

void vmx_want_rdtsc_exits(struct vcpu *v, bool on)
{
	set_proc_ctl(v->virt, PROC_RDTSC, on);
}

void vmx_want_irq_window(struct vcpu *v, bool on)
{
	set_proc_ctl(v->virt, PROC_IRQ_WINDOW, on);
}

void vmx_want_nmi_window(struct vcpu *v, bool on)
{
	set_proc_ctl(v->virt, PROC_NMI_WINDOW, on);
}

void vmx_collect_injected(struct vcpu *v, uint32_t info)
{
	struct event *ev = &v->state.injected;
	unsigned type = info >> INTR_TYPE_SHIFT & 7;

	switch (type) {
	case INTR_TYPE_EXTERNAL:
		ev->type = EVENT_INTR;
		break;
	case INTR_TYPE_NMI:
		ev->type = EVENT_NMI;
		break;
	case INTR_TYPE_HW_EXCEPTION:
		ev->type = EVENT_EXCEPTION;
		break;
	default: /* RIP is still at INT n, INT3, INTO or INT1: running it again delivers it again */
		return;
	}
	ev->vector = info & INTR_VECTOR;
	ev->has_error = (info & INTR_ERROR_VALID) != 0;
	ev->error_code = ev->has_error ? (uint32_t)vmread(VMCS_IDT_VECTORING_ERROR) : 0;
	ev->insn_len = 0;
}
