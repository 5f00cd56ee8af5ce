/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What each exit asks for: one table row per reason. An exit that nobody can
 * serve injects the architecturally right fault or stops that guest (I4).
 */
#include "hv/arch/x86/cpu.h"
#include "hv/core/vcpu.h"
#include "hv/lib/log.h"

/* What the instructions look like that exit with no operand, without prefixes. */
static const struct plain_insn {
	uint8_t len, bytes[3];
} plain_insn[EXIT_REASON_COUNT] = {
    [EXIT_CPUID] = {2, {0x0f, 0xa2}},
    [EXIT_HLT] = {1, {0xf4}},
    [EXIT_PAUSE] = {2, {0xf3, 0x90}},
    [EXIT_RDMSR] = {2, {0x0f, 0x32}},
    [EXIT_WRMSR] = {2, {0x0f, 0x30}},
    [EXIT_HYPERCALL] = {3, {0x0f, 0x01, 0xd9}},
    [EXIT_XSETBV] = {3, {0x0f, 0x01, 0xd1}},
    [EXIT_CACHE] = {2, {0x0f, 0x09}},
};

/* The length without decoding, if the instruction is the plain form; 0 otherwise. */
static unsigned plain_length(struct vcpu *v, enum vm_exit_reason reason)
{
	const struct plain_insn *p = &plain_insn[reason];
	unsigned left, i = 0;
	const uint8_t *code = code_at_rip(v, &left);

	if (!code || left < p->len)
		return 0;
	while (i < p->len && code[i] == p->bytes[i])
		i++;
	return i == p->len ? i : 0;
}

void vcpu_skip(struct vcpu *v, const struct vm_exit *x)
{
	unsigned len = x->insn_len;

	if (!len)
		len = plain_length(v, x->reason);
	if (UNLIKELY(!len))
		len = vcpu_insn_length(v);
	/* 0: the bytes changed under the CPU's hands; the fault is queued, or it runs again */
	if (LIKELY(len))
		vcpu_skip_bytes(v, len);
}

void vcpu_skip_bytes(struct vcpu *v, unsigned len)
{
	struct vcpu_state *s = &v->state;

	s->rip += len;
	if (UNLIKELY(s->rip > UINT32_MAX && s->rip - len <= UINT32_MAX)) {
		vcpu_need(v, VG_SEGS | VG_CRS);
		if (!vcpu_is_64bit(s))
			s->rip = (uint32_t)s->rip;
	}
	s->sti_shadow = s->movss_shadow = 0;
	if (UNLIKELY(s->rflags & RFLAGS_TF)) {
		vcpu_need(v, VG_DRS);
		s->dr6 |= BIT(14); /* BS */
		vcpu_changed(v, VG_DRS);
		vcpu_exception(v, VEC_DB, false, 0);
	}
}

static void exit_nothing(struct vcpu *v, const struct vm_exit *x)
{
	(void)v;
	(void)x;
}

/* The window that was asked for: the next entry injects and asks again if need be. */
static void exit_irq_window(struct vcpu *v, const struct vm_exit *x)
{
	(void)x;
	v->irq_window = false;
	virt->want_irq_window(v, false);
}

static void exit_cpuid(struct vcpu *v, const struct vm_exit *x)
{
	struct vcpu_state *s = &v->state;
	struct cpuid_dynamic dyn = {.apic_id = v->apic_id, .xcr0 = s->xcr0};
	struct cpuid_regs r;

	vcpu_need(v, VG_CRS);
	dyn.cr4 = s->cr4;
	r = cpu_model_cpuid(
	    v->vm->cpu_model, (uint32_t)s->gpr[GPR_RAX], (uint32_t)s->gpr[GPR_RCX], &dyn);
	s->gpr[GPR_RAX] = r.eax;
	s->gpr[GPR_RBX] = r.ebx;
	s->gpr[GPR_RCX] = r.ecx;
	s->gpr[GPR_RDX] = r.edx;
	vcpu_skip(v, x);
}

/* A pending interrupt keeps it from halting at all: the loop looks before it sleeps. */
static void exit_hlt(struct vcpu *v, const struct vm_exit *x)
{
	vcpu_skip(v, x);
	v->state.activity = ACTIVITY_HALTED;
}

static void exit_pause(struct vcpu *v, const struct vm_exit *x)
{
	vcpu_skip(v, x);
	thread_yield();
}

/* Caches are coherent and memory is write-back: nothing to do. */
static void exit_skip(struct vcpu *v, const struct vm_exit *x)
{
	vcpu_skip(v, x);
}

static void exit_undefined(struct vcpu *v, const struct vm_exit *x)
{
	(void)x;
	vcpu_ud(v);
}

static void exit_gp(struct vcpu *v, const struct vm_exit *x)
{
	(void)x;
	vcpu_gp(v);
}

/* KVM's convention for a call that does not exist; guests probe with it. */
static void exit_hypercall(struct vcpu *v, const struct vm_exit *x)
{
	vcpu_need(v, VG_SEGS);
	if (v->state.cpl != 0) {
		vcpu_ud(v);
		return;
	}
	v->state.gpr[GPR_RAX] = (uint64_t)-1000; /* -KVM_ENOSYS */
	vcpu_skip(v, x);
}

/* Only #DB and #AC come here; they go straight back in. */
static void exit_exception(struct vcpu *v, const struct vm_exit *x)
{
	vcpu_exception(v, x->exception.vector, x->exception.has_error, x->exception.error_code);
}

static void exit_triple_fault(struct vcpu *v, const struct vm_exit *x)
{
	(void)x;
	vm_fail(v->vm, DISP_TRIPLE_FAULT, "vcpu%u: triple fault at RIP 0x%llx", v->index,
	    (unsigned long long)v->state.rip);
}

static void exit_invalid(struct vcpu *v, const struct vm_exit *x)
{
	virt->dump(v);
	vm_fail(v->vm, DISP_ERROR,
	    "vcpu%u: the CPU refused the guest's state (code 0x%llx) at RIP 0x%llx", v->index,
	    (unsigned long long)x->raw[0], (unsigned long long)v->state.rip);
}

static void exit_unknown(struct vcpu *v, const struct vm_exit *x)
{
	virt->dump(v);
	vm_fail(v->vm, DISP_ERROR, "vcpu%u: unknown exit 0x%llx (0x%llx, 0x%llx) at RIP 0x%llx",
	    v->index, (unsigned long long)x->raw[0], (unsigned long long)x->raw[1],
	    (unsigned long long)x->raw[2], (unsigned long long)v->state.rip);
}

typedef void (*exit_handler)(struct vcpu *v, const struct vm_exit *x);

static const exit_handler handlers[EXIT_REASON_COUNT] = {
    [EXIT_INTERRUPT] = exit_nothing,
    [EXIT_NMI] = exit_nothing,
    [EXIT_IRQ_WINDOW] = exit_irq_window,
    [EXIT_NMI_WINDOW] = exit_nothing,
    [EXIT_CPUID] = exit_cpuid,
    [EXIT_HLT] = exit_hlt,
    [EXIT_PAUSE] = exit_pause,
    [EXIT_IO] = exit_io,
    [EXIT_MMIO] = exit_mmio,
    [EXIT_RDMSR] = exit_rdmsr,
    [EXIT_WRMSR] = exit_wrmsr,
    [EXIT_CR_READ] = exit_cr_read,
    [EXIT_CR_WRITE] = exit_cr_write,
    [EXIT_DR] = exit_dr,
    [EXIT_EXCEPTION] = exit_exception,
    [EXIT_HYPERCALL] = exit_hypercall,
    [EXIT_XSETBV] = exit_xsetbv,
    [EXIT_CACHE] = exit_skip,
    [EXIT_UNDEFINED] = exit_undefined,
    [EXIT_RDPMC] = exit_gp,
    [EXIT_TASK_SWITCH] = exit_unknown,
    [EXIT_TRIPLE_FAULT] = exit_triple_fault,
    [EXIT_NOTHING] = exit_nothing,
    [EXIT_INVALID_STATE] = exit_invalid,
    [EXIT_UNKNOWN] = exit_unknown,
};

void vcpu_handle_exit(struct vcpu *v, const struct vm_exit *x)
{
	handlers[x->reason](v, x);
}
