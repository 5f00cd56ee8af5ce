/* SPDX-License-Identifier: BSD-2-Clause */
/* Running a guest on SVM: ASIDs, entry, and telling the core why it stopped. */
#include <string.h>
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/svm/svm_impl.h"
#include "hv/arch/x86/svm/svm_qemu.h"
#include "hv/lib/log.h"

/*
 * ASIDs are given out per CPU; when they run out, all of that CPU's are flushed
 * and numbering starts anew (15.16.1). Taking a new one is the flush of a vCPU.
 */
static void new_asid(struct virt_vcpu *p, struct svm_cpu *cpu)
{
	p->vmcb->tlb_control = TLB_KEEP;
	if (cpu->asid_next >= svm_features.asids) {
		cpu->asid_next = 1;
		cpu->asid_generation++;
		p->vmcb->tlb_control = TLB_FLUSH_ALL;
	}
	p->vmcb->asid = cpu->asid_next++;
	p->asid_generation = cpu->asid_generation;
	p->clean &= ~(uint32_t)CLEAN_ASID;
}

void svm_flush(struct vcpu *v)
{
	v->virt->asid_generation = 0;
}

/* DR0-DR3 are not in the VMCB; all accesses exit, so they matter only with a breakpoint enabled. */
static inline void load_breakpoints(const struct vcpu *v, const struct vmcb *c)
{
	if (LIKELY(!(c->dr7 & 0xff)))
		return;
	write_dr0(v->state.dr[0]);
	write_dr1(v->state.dr[1]);
	write_dr2(v->state.dr[2]);
	write_dr3(v->state.dr[3]);
}

/* Exits with neither fields nor conditions, by code from SVM_EXIT_INTR on. */
static const uint8_t plain_exit[] = {
    [SVM_EXIT_INTR - SVM_EXIT_INTR] = EXIT_INTERRUPT + 1,
    [SVM_EXIT_NMI - SVM_EXIT_INTR] = EXIT_NMI + 1,
    [SVM_EXIT_SMI - SVM_EXIT_INTR] = EXIT_INTERRUPT + 1,
    [SVM_EXIT_INIT - SVM_EXIT_INTR] = EXIT_INTERRUPT + 1,
    [SVM_EXIT_VINTR - SVM_EXIT_INTR] = EXIT_IRQ_WINDOW + 1,
    [SVM_EXIT_RDTSC - SVM_EXIT_INTR] = EXIT_RDTSC + 1,
    [SVM_EXIT_RDPMC - SVM_EXIT_INTR] = EXIT_RDPMC + 1,
    [SVM_EXIT_CPUID - SVM_EXIT_INTR] = EXIT_CPUID + 1,
    [SVM_EXIT_INVD - SVM_EXIT_INTR] = EXIT_CACHE + 1,
    [SVM_EXIT_PAUSE - SVM_EXIT_INTR] = EXIT_PAUSE + 1,
    [SVM_EXIT_HLT - SVM_EXIT_INTR] = EXIT_HLT + 1,
    [SVM_EXIT_INVLPGA - SVM_EXIT_INTR] = EXIT_UNDEFINED + 1,
    [SVM_EXIT_SHUTDOWN - SVM_EXIT_INTR] = EXIT_TRIPLE_FAULT + 1,
    [SVM_EXIT_VMRUN - SVM_EXIT_INTR] = EXIT_UNDEFINED + 1,
    [SVM_EXIT_VMMCALL - SVM_EXIT_INTR] = EXIT_HYPERCALL + 1,
    [SVM_EXIT_VMLOAD - SVM_EXIT_INTR] = EXIT_UNDEFINED + 1,
    [SVM_EXIT_VMSAVE - SVM_EXIT_INTR] = EXIT_UNDEFINED + 1,
    [SVM_EXIT_STGI - SVM_EXIT_INTR] = EXIT_UNDEFINED + 1,
    [SVM_EXIT_CLGI - SVM_EXIT_INTR] = EXIT_UNDEFINED + 1,
    [SVM_EXIT_SKINIT - SVM_EXIT_INTR] = EXIT_UNDEFINED + 1,
    [SVM_EXIT_RDTSCP - SVM_EXIT_INTR] = EXIT_RDTSCP + 1,
    [SVM_EXIT_WBINVD - SVM_EXIT_INTR] = EXIT_CACHE + 1,
    [SVM_EXIT_MONITOR - SVM_EXIT_INTR] = EXIT_UNDEFINED + 1,
    [SVM_EXIT_MWAIT - SVM_EXIT_INTR] = EXIT_UNDEFINED + 1,
    [SVM_EXIT_MWAIT_ARMED - SVM_EXIT_INTR] = EXIT_UNDEFINED + 1,
    [SVM_EXIT_XSETBV - SVM_EXIT_INTR] = EXIT_XSETBV + 1,
    [SVM_EXIT_RDPRU - SVM_EXIT_INTR] = EXIT_UNDEFINED + 1,
};

static void decode_io(const struct vmcb *c, struct vm_exit *x)
{
	uint64_t i = c->exit_info1;

	x->reason = EXIT_IO;
	x->io.port = (uint16_t)(i >> IOIO_PORT_SHIFT);
	x->io.size = i >> IOIO_SIZE_SHIFT & 7;
	x->io.in = i & IOIO_IN;
	x->io.string = (i & IOIO_STRING) != 0;
	x->io.rep = (i & IOIO_REP) != 0;
	x->insn_len = (uint8_t)(c->exit_info2 - c->rip);
}

static void decode_npf(const struct vmcb *c, struct vm_exit *x)
{
	uint64_t i = c->exit_info1;

	x->reason = EXIT_MMIO;
	x->mmio.gpa = c->exit_info2;
	x->mmio.write = (i & NPF_WRITE) != 0;
	x->mmio.exec = (i & NPF_EXEC) != 0;
	/* final translation, not a fetch, and not the delivery of an event */
	x->mmio.data = (i & NPF_FINAL) && !x->mmio.exec && !(c->exit_int_info & VMCB_EVENT_VALID);
}

static void decode_cr(const struct vmcb *c, uint64_t code, struct vm_exit *x)
{
	bool debug = code >= SVM_EXIT_DR_READ;

	x->cr.write = (code & 0x10) != 0;
	x->reason = debug ? EXIT_DR : x->cr.write ? EXIT_CR_WRITE : EXIT_CR_READ;
	x->cr.reg = code & 0xf;
	/* With decode assist bit 63 says "MOV" and 3:0 name the register (15.33.1); for DR always
	 * MOV. */
	x->cr.has_gpr = svm_features.decode_assist && (debug || c->exit_info1 >> 63);
	x->cr.gpr = c->exit_info1 & 0xf;
}

static void decode_exception(const struct vmcb *c, uint64_t code, struct vm_exit *x)
{
	if (code == SVM_EXIT_EXCEPTION + VEC_MC) {
		/* It is the host's: intercepting it kept it from the host's own handler, which
		 * decides. */
		__asm__ volatile("int %0" : : "i"(VEC_MC) : "memory");
		x->reason = EXIT_NOTHING;
		return;
	}
	x->reason = EXIT_EXCEPTION;
	x->exception.vector = (uint8_t)(code - SVM_EXIT_EXCEPTION);
	x->exception.error_code = (uint32_t)c->exit_info1;
	x->exception.has_error = x->exception.vector == VEC_AC;
	x->exception.info = x->exception.vector == VEC_DB ? c->dr6 : c->exit_info2;
}

/* The instruction's length if hardware tells; else where it can be looked up. */
static inline uint8_t instruction_length(struct vcpu *v, const struct vmcb *c)
{
	if (svm_features.next_rip && c->next_rip > c->rip)
		return (uint8_t)(c->next_rip - c->rip);
	v->code_root = (c->efer & EFER_LMA) && (c->cs.attr & SEG_ATTR_L) ? c->cr3 : NO_CODE_ROOT;
	return 0;
}

static inline void decode_exit(struct vcpu *v, const struct vmcb *c, struct vm_exit *x)
{
	uint64_t code = c->exit_code;

	if (code == SVM_EXIT_IOIO) {
		decode_io(c, x);
		return;
	}
	x->insn_len = instruction_length(v, c);
	if (code == SVM_EXIT_NPF) {
		decode_npf(c, x);
		return;
	}
	if (code - SVM_EXIT_INTR < sizeof(plain_exit) && plain_exit[code - SVM_EXIT_INTR]) {
		x->reason = plain_exit[code - SVM_EXIT_INTR] - 1;
		return;
	}
	switch (code) {
	case SVM_EXIT_MSR:
		x->reason = c->exit_info1 & 1 ? EXIT_WRMSR : EXIT_RDMSR;
		return;
	case SVM_EXIT_IRET:
		svm_nmi_iret(v);
		x->reason = EXIT_NOTHING;
		return;
	default:
		break;
	}
	if (code < SVM_EXIT_EXCEPTION) {
		decode_cr(c, code, x);
	} else if (code < SVM_EXIT_EXCEPTION + 32) {
		decode_exception(c, code, x);
	} else {
		x->reason = (uint32_t)code == SVM_EXIT_INVALID ? EXIT_INVALID_STATE : EXIT_UNKNOWN;
		x->raw[0] = code;
		x->raw[1] = c->exit_info1;
		x->raw[2] = c->exit_info2;
	}
}

/*
 * svm_enter() keeps RBP and RSP only. That the vCPU comes back from it spares
 * the compiler from keeping anything else across.
 */
static inline struct vcpu *world_switch(struct vcpu *v)
{
	uint64_t guest_vmcb = v->virt->vmcb_phys.a, host_vmcb = v->virt->cpu->host_vmcb.a;
	uint64_t *gpr = v->state.gpr;

	__asm__ volatile(
	    "call svm_enter"
	    : "=b"(gpr), "+D"(guest_vmcb), "+d"(host_vmcb)
	    : "S"(gpr)
	    : "rax", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc", "memory");
	return CONTAINER_OF(gpr, struct vcpu, state.gpr);
}

/* IRET is watched while an NMI is being handled (svm_event.c). */
static void watch_iret(struct virt_vcpu *p, const struct vcpu_state *s)
{
	if (s->nmi_blocked && !p->nmi_step)
		p->vmcb->icpt3 |= ICPT_IRET;
	else
		p->vmcb->icpt3 &= ~(uint32_t)ICPT_IRET;
}

static inline void before_entry(struct vcpu *v)
{
	struct virt_vcpu *p = v->virt;
	struct vmcb *c = p->vmcb;

	if (UNLIKELY(v->state.nmi_blocked || (c->icpt3 & ICPT_IRET))) {
		svm_nmi_arm(v);
		watch_iret(p, &v->state);
	}
	svm_commit(v, c);
	c->tlb_control = TLB_KEEP;
	if (UNLIKELY(p->asid_generation != p->cpu->asid_generation))
		new_asid(p, p->cpu);
	load_breakpoints(v, c);
	c->clean = p->clean & svm_features.clean_mask;
}

static inline void after_exit(struct vcpu *v)
{
	struct virt_vcpu *p = v->virt;
	struct vmcb *c = p->vmcb;
	struct vcpu_state *s = &v->state;

	p->clean = UINT32_MAX;
	v->valid = VG_GPR;
	s->gpr[GPR_RAX] = c->rax;
	s->gpr[GPR_RSP] = c->rsp;
	s->rip = c->rip;
	s->rflags = c->rflags;
	s->sti_shadow = c->int_shadow & SHADOW_INTERRUPT; /* one bit for both here */
	s->movss_shadow = 0;
	if (UNLIKELY(s->sti_shadow) && !(s->rflags & RFLAGS_IF)) { /* STI has set it */
		s->sti_shadow = 0;
		s->movss_shadow = 1;
	}
	c->event_inj = 0;
	s->injected.type = EVENT_NONE;
	if (UNLIKELY(p->virq))
		svm_collect_virq(v);
	if (UNLIKELY(c->exit_int_info & VMCB_EVENT_VALID))
		svm_collect_injected(v);
}

void svm_run(struct vcpu *v, struct vm_exit *x)
{
	before_entry(v);
	v = world_switch(v);
	svm_qemu_remember_irqs();
	after_exit(v);
	if (UNLIKELY(v->virt->nmi_step) && svm_nmi_stepped(v)) {
		x->reason = EXIT_NOTHING;
		return;
	}
	decode_exit(v, v->virt->vmcb, x);
}

void svm_dump(struct vcpu *v)
{
	const struct vmcb *c = v->virt->vmcb;

	log_error("vmcb: exit 0x%llx info1 0x%llx info2 0x%llx intinfo 0x%llx",
	    (unsigned long long)c->exit_code, (unsigned long long)c->exit_info1,
	    (unsigned long long)c->exit_info2, (unsigned long long)c->exit_int_info);
	log_error("vmcb: rip 0x%llx rsp 0x%llx rflags 0x%llx cpl %u asid %u",
	    (unsigned long long)c->rip, (unsigned long long)c->rsp, (unsigned long long)c->rflags,
	    c->cpl, c->asid);
	log_error("vmcb: cr0 0x%llx cr2 0x%llx cr3 0x%llx cr4 0x%llx efer 0x%llx",
	    (unsigned long long)c->cr0, (unsigned long long)c->cr2, (unsigned long long)c->cr3,
	    (unsigned long long)c->cr4, (unsigned long long)c->efer);
	log_error("vmcb: cs %04x attr %03x base 0x%llx limit 0x%x ss %04x attr %03x", c->cs.sel,
	    c->cs.attr, (unsigned long long)c->cs.base, c->cs.limit, c->ss.sel, c->ss.attr);
	log_error("vmcb: icpt3 0x%x icpt4 0x%x vintr 0x%llx event 0x%llx ncr3 0x%llx", c->icpt3,
	    c->icpt4, (unsigned long long)c->vintr, (unsigned long long)c->event_inj,
	    (unsigned long long)c->nested_cr3);
}
