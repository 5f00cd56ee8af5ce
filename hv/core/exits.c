/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What each exit asks for: one table row per reason. An exit that nobody can
 * serve injects the architecturally right fault or stops that guest (I4).
 */
#include <string.h>
#include "hv/arch/x86/cpu.h"
#include "hv/core/vcpu.h"
#include "hv/lib/log.h"

COLD void vcpu_wrap_rip(struct vcpu *v)
{
	vcpu_need(v, VG_CODE | VG_CRS);
	if (!vcpu_is_64bit(&v->state))
		v->state.rip = (uint32_t)v->state.rip;
}

COLD void vcpu_single_step(struct vcpu *v)
{
	vcpu_need(v, VG_DRS);
	/* BS, and what the shadow that has ended with this instruction held back */
	v->state.dr6 |= BIT(14) | (v->state.pending_dbg & 0xf);
	v->state.pending_dbg = 0;
	v->state.dr7 &= ~BIT(13); /* GD ends with any debug exception */
	vcpu_changed(v, VG_DRS);
	vcpu_exception(v, VEC_DB, false, 0);
}

COLD void vcpu_skip(struct vcpu *v, const struct vm_exit *x)
{
	unsigned len = x->insn_len ? x->insn_len : vcpu_insn_length(v);

	/* 0: the bytes changed under the CPU's hands; the fault is queued, or it runs again */
	if (len)
		vcpu_skip_bytes(v, len);
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

/* Leaves that tell of the vCPU's own state, and those that the model does not list. */
static COLD struct cpuid_regs dynamic_cpuid(struct vcpu *v, uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_dynamic dyn = {.apic_id = v->apic_id};

	vcpu_need(v, VG_CRS);
	dyn.cr4 = v->state.cr4;
	dyn.apic_disabled = !(v->state.apic.base_msr & APIC_BASE_EN);
	dyn.xcr0 = v->has_xsave ? vcpu_xcr0(v) : v->state.xcr0;
	return cpu_model_cpuid(v->vm->cpu_model, leaf, subleaf, &dyn);
}

static void exit_cpuid(struct vcpu *v, const struct vm_exit *x)
{
	struct vcpu_state *s = &v->state;
	uint32_t leaf = (uint32_t)s->gpr[GPR_RAX], subleaf = (uint32_t)s->gpr[GPR_RCX];
	const struct cpuid_regs *fixed = cpu_model_fixed(v->vm->cpu_model, leaf);
	struct cpuid_regs r;

	r = fixed ? *fixed : dynamic_cpuid(v, leaf, subleaf);
	s->gpr[GPR_RAX] = r.eax;
	s->gpr[GPR_RBX] = r.ebx;
	s->gpr[GPR_RCX] = r.ecx;
	s->gpr[GPR_RDX] = r.edx;
	vcpu_skip_plain(v, x, INSN_CPUID);
}

/* A pending interrupt keeps it from halting at all: the loop looks before it sleeps. */
static void exit_hlt(struct vcpu *v, const struct vm_exit *x)
{
	vcpu_skip_plain(v, x, INSN_HLT);
	v->state.activity = ACTIVITY_HALTED;
}

static void exit_pause(struct vcpu *v, const struct vm_exit *x)
{
	vcpu_skip_plain(v, x, INSN_PAUSE);
	thread_yield();
}

/* Caches are coherent and memory is write-back: nothing to do. */
static void exit_skip(struct vcpu *v, const struct vm_exit *x)
{
	vcpu_skip_plain(v, x, INSN_WBINVD);
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
void exit_hypercall(struct vcpu *v, const struct vm_exit *x)
{
	vcpu_need(v, VG_CODE);
	if (v->state.cpl != 0) {
		vcpu_ud(v);
		return;
	}
	v->state.gpr[GPR_RAX] = (uint64_t)-1000; /* -KVM_ENOSYS */
	vcpu_skip_plain(v, x, INSN_VMMCALL);
}

/* What is not some instruction of another vendor's goes straight back in. */
static void exit_exception(struct vcpu *v, const struct vm_exit *x)
{
	if (x->exception.vector == VEC_UD) {
		exit_ud(v, x);
		return;
	}
	if (x->exception.vector == VEC_DB) {
		exit_debug(v);
		return;
	}
	if (x->exception.vector == VEC_GP && exit_gp_sysenter(v))
		return;
	vcpu_exception(v, x->exception.vector, x->exception.has_error, x->exception.error_code);
}

/* For whoever has to find out why a guest ended like that. */
static COLD void log_state(const struct vcpu *v)
{
	const struct vcpu_state *s = &v->state;
	const struct {
		const char *name;
		uint64_t value;
	} regs[] = {
	    {"rip", s->rip},
	    {"rsp", s->gpr[GPR_RSP]},
	    {"rflags", s->rflags},
	    {"cr0", s->cr0},
	    {"cr2", s->cr2},
	    {"cr3", s->cr3},
	    {"cr4", s->cr4},
	    {"efer", s->efer},
	    {"gdtr", s->gdtr.base},
	    {"idtr", s->idtr.base},
	    {"tr", s->seg[SEG_TR].base},
	    {"gs", s->seg[SEG_GS].base},
	    {"kernel-gs", s->kernel_gs_base},
	};

	log_error("vm '%s' vcpu%u: cpl %u, cs %04x, tr %04x", v->vm->config.name, v->index, s->cpl,
	    s->seg[SEG_CS].sel, s->seg[SEG_TR].sel);
	for (size_t i = 0; i < ARRAY_LEN(regs); i++)
		log_error("  %s 0x%llx", regs[i].name, (unsigned long long)regs[i].value);
}

static void exit_triple_fault(struct vcpu *v, const struct vm_exit *x)
{
	(void)x;
	vcpu_need(v, VG_ALL);
	log_state(v);
	vm_fail(v->vm, DISP_TRIPLE_FAULT, "vcpu%u: triple fault at RIP 0x%llx", v->index,
	    (unsigned long long)v->state.rip);
}

static void exit_invalid(struct vcpu *v, const struct vm_exit *x)
{
	if (virt->mend && virt->mend(v, true))
		return;
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
    [EXIT_RDTSC] = exit_rdtsc,
    [EXIT_RDTSCP] = exit_rdtscp,
    [EXIT_TASK_SWITCH] = exit_task_switch,
    [EXIT_TRIPLE_FAULT] = exit_triple_fault,
    [EXIT_NOTHING] = exit_nothing,
    [EXIT_INVALID_STATE] = exit_invalid,
    [EXIT_UNKNOWN] = exit_unknown,
};

void vcpu_handle_exit(struct vcpu *v, const struct vm_exit *x)
{
	handlers[x->reason](v, x);
}
