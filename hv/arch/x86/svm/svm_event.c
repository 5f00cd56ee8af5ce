/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events on SVM: injection (APM volume 2, 15.20), windows, and NMI blocking,
 * which hardware without virtual NMI leaves to software: after an NMI, IRET is
 * intercepted; at IRET one instruction is stepped with TF, since blocking ends
 * only when IRET has completed.
 */
#include "hv/arch/x86/svm/svm_impl.h"

#define VINTR_PENDING (VINTR_IRQ | VINTR_IGNORE_TPR | 15ULL << VINTR_PRIO_SHIFT)

/*
 * The virtual interrupt has two uses, never at once: it is the next interrupt, or,
 * intercepted, a dummy that exits as soon as the guest could take one. An interrupt has
 * precedence: the window for another one opens with the next exit, at the latest when the
 * guest ends the first one or changes its TPR, which exit.
 */
static void set_vintr(struct virt_vcpu *p, bool pending, uint8_t vector, bool intercept)
{
	struct vmcb *c = p->vmcb;
	uint32_t icpt3 = intercept ? c->icpt3 | ICPT_VINTR : c->icpt3 & ~(uint32_t)ICPT_VINTR;

	c->vintr &= ~(VINTR_PENDING | 0xffULL << VINTR_VECTOR_SHIFT);
	if (pending)
		c->vintr |= VINTR_PENDING | (uint64_t)vector << VINTR_VECTOR_SHIFT;
	p->clean &= ~(uint32_t)CLEAN_TPR;
	if (c->icpt3 != icpt3)
		p->clean &= ~(uint32_t)CLEAN_INTERCEPTS;
	c->icpt3 = icpt3;
}

/*
 * An external interrupt goes in as a virtual one (15.21.4), not by EVENTINJ: the core
 * gives it only when the guest can take it, so it is taken before the first instruction,
 * unless a host interrupt comes first (svm_collect_virq). QEMU (7.2) remembers one from
 * EVENTINJ as an exception still to be raised, and raises it again when something asks its
 * CPU to pause.
 */
static void inject_interrupt(struct vcpu *v, uint8_t vector)
{
	struct virt_vcpu *p = v->virt;

	p->virq = true;
	p->virq_rip = v->state.rip;
	set_vintr(p, true, vector, false);
}

/*
 * After an exit: an interrupt that was not taken counts as cut short. So does one that was taken
 * while the guest is still where it was, if some event was being delivered: which one, Bochs (3.0)
 * does not know of a virtual interrupt, and leaves what it said of an earlier event. (A handler
 * that had run and returned would have exited in between, for its EOI.)
 */
void svm_collect_virq(struct vcpu *v)
{
	struct virt_vcpu *p = v->virt;
	struct vmcb *c = p->vmcb;
	uint8_t vector = (uint8_t)(c->vintr >> VINTR_VECTOR_SHIFT);
	/* QEMU keeps there what it has delivered, valid no more: it has delivered nothing */
	bool lost = svm_features.qemu && (uint32_t)c->exit_int_info == 0;

	if ((c->vintr & VINTR_IRQ) || lost)
		v->state.injected = (struct event){EVENT_INTR, vector, 0, 0, 0};
	else if ((c->exit_int_info & VMCB_EVENT_VALID) && v->state.rip == p->virq_rip)
		c->exit_int_info = VMCB_EVENT_VALID | vector; /* type 0: interrupt */
	p->virq = false;
	set_vintr(p, p->irq_window, 0, p->irq_window);
}

void svm_inject(struct vcpu *v, const struct event *ev)
{
	uint64_t inj = VMCB_EVENT_VALID | ev->vector | (uint64_t)ev->type << VMCB_EVENT_TYPE_SHIFT;

	if (ev->type == EVENT_INTR) {
		inject_interrupt(v, ev->vector);
		return;
	}
	/* NMI 2, exception 3, software interrupt 4 in hardware's numbering as in ours */
	if (ev->has_error)
		inj |= VMCB_EVENT_ERROR_VALID | (uint64_t)ev->error_code << 32;
	if (ev->type == EVENT_NMI)
		v->state.nmi_blocked = 1;
	v->virt->vmcb->event_inj = inj;
}

void svm_want_irq_window(struct vcpu *v, bool on)
{
	struct virt_vcpu *p = v->virt;

	if (p->irq_window == on)
		return;
	p->irq_window = on;
	if (!p->virq) /* else it waits for svm_collect_virq() */
		set_vintr(p, on, 0, on);
}

static void begin_step(struct vcpu *v)
{
	v->virt->nmi_step = true;
	v->virt->nmi_step_flags = v->state.rflags & RFLAGS_TF;
	v->state.rflags |= RFLAGS_TF;
}

/* Blocked NMIs are watched for anyway (svm_run); an interrupt shadow is stepped over. */
void svm_want_nmi_window(struct vcpu *v, bool on)
{
	v->virt->nmi_window = on;
	if (on && !v->state.nmi_blocked && !v->virt->nmi_step)
		begin_step(v);
}

/* IRET exit: the handler ends with this instruction. The step begins at the next entry
 * (svm_nmi_arm). */
void svm_nmi_iret(struct vcpu *v)
{
	v->virt->nmi_step_iret = true;
}

/* Before an entry: the step over an IRET, unless NMIs were opened otherwise (INIT, a restore). */
void svm_nmi_arm(struct vcpu *v)
{
	struct virt_vcpu *p = v->virt;

	if (!p->nmi_step_iret || p->nmi_step)
		return;
	if (v->state.nmi_blocked)
		begin_step(v);
	else
		p->nmi_step_iret = false;
}

/*
 * After every exit: stepping ends, whatever the exit was, so that the state is
 * canonical. If it was the step's own #DB, NMIs are open again and nothing else
 * is to be done (true). If IRET did not complete, it will be intercepted again.
 */
bool svm_nmi_stepped(struct vcpu *v)
{
	struct virt_vcpu *p = v->virt;
	bool debug = p->vmcb->exit_code == SVM_EXIT_EXCEPTION + VEC_DB;
	bool iret_done = debug && p->nmi_step_iret;

	if (!p->nmi_step)
		return false;
	p->nmi_step = false;
	p->nmi_step_iret = false;
	if (iret_done)
		v->state.nmi_blocked = 0;
	else if (!p->nmi_step_flags) /* an IRET that completed has loaded the guest's own TF */
		v->state.rflags &= ~(uint64_t)RFLAGS_TF;
	if (!debug || p->nmi_step_flags)
		return false;
	p->vmcb->dr6 &= ~DR6_BS;
	return true;
}

/* EXITINTINFO is valid: an event was being delivered when the exit came (15.7.2). */
void svm_collect_injected(struct vcpu *v)
{
	uint64_t info = v->virt->vmcb->exit_int_info;
	unsigned type = info >> VMCB_EVENT_TYPE_SHIFT & 7;
	struct event *ev = &v->state.injected;
	uint8_t vector = (uint8_t)info;

	/* RIP is still at INT n, INT3 or INTO: running it again delivers it again. */
	if (type == EVENT_SOFT_INT ||
	    (type == EVENT_EXCEPTION && (vector == VEC_BP || vector == VEC_OF)))
		return;
	ev->vector = vector;
	ev->type = type == 0 ? EVENT_INTR : (uint8_t)type;
	if (ev->type == EVENT_EXCEPTION && ev->vector > 31)
		ev->type = EVENT_INTR; /* QEMU's name for a virtual interrupt */
	ev->has_error = (info & VMCB_EVENT_ERROR_VALID) != 0;
	ev->error_code = ev->has_error ? (uint32_t)(info >> 32) : 0;
	ev->insn_len = 0;
}
