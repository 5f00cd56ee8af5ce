/* SPDX-License-Identifier: BSD-2-Clause */
/* Why the guest stopped, in the core's terms. SDM volume 3, chapter 27 and appendix C. */
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/vmx/vmx_impl.h"

/* Exits that need no more than their name; all are instructions but the windows and interrupts. */
static const uint8_t plain_exit[] = {
    [VMX_EXIT_EXTERNAL_INTERRUPT] = EXIT_INTERRUPT + 1,
    [VMX_EXIT_TRIPLE_FAULT] = EXIT_TRIPLE_FAULT + 1,
    [VMX_EXIT_INIT] = EXIT_INTERRUPT + 1,
    [VMX_EXIT_SIPI] = EXIT_INTERRUPT + 1,
    [VMX_EXIT_IRQ_WINDOW] = EXIT_IRQ_WINDOW + 1,
    [VMX_EXIT_CPUID] = EXIT_CPUID + 1,
    [VMX_EXIT_GETSEC] = EXIT_UNDEFINED + 1,
    [VMX_EXIT_HLT] = EXIT_HLT + 1,
    [VMX_EXIT_INVD] = EXIT_CACHE + 1,
    [VMX_EXIT_RDPMC] = EXIT_RDPMC + 1,
    [VMX_EXIT_RDTSC] = EXIT_RDTSC + 1,
    [VMX_EXIT_RSM] = EXIT_UNDEFINED + 1,
    [VMX_EXIT_VMCALL] = EXIT_HYPERCALL + 1,
    [VMX_EXIT_VMCLEAR... VMX_EXIT_VMXON] = EXIT_UNDEFINED + 1,
    [VMX_EXIT_RDMSR] = EXIT_RDMSR + 1,
    [VMX_EXIT_WRMSR] = EXIT_WRMSR + 1,
    [VMX_EXIT_MWAIT] = EXIT_UNDEFINED + 1,
    [VMX_EXIT_MONITOR] = EXIT_UNDEFINED + 1,
    [VMX_EXIT_PAUSE] = EXIT_PAUSE + 1,
    [VMX_EXIT_INVEPT] = EXIT_UNDEFINED + 1,
    [VMX_EXIT_RDTSCP] = EXIT_RDTSCP + 1,
    [VMX_EXIT_INVVPID] = EXIT_UNDEFINED + 1,
    [VMX_EXIT_WBINVD] = EXIT_CACHE + 1,
    [VMX_EXIT_XSETBV] = EXIT_XSETBV + 1,
    [VMX_EXIT_VMFUNC] = EXIT_UNDEFINED + 1,
};

static void decode_cr(struct vm_exit *x)
{
	uint64_t q = vmread(VMCS_EXIT_QUALIFICATION);
	unsigned type = (q & QUAL_CR_TYPE) >> QUAL_CR_TYPE_SHIFT;

	x->reason = type == QUAL_CR_MOV_FROM ? EXIT_CR_READ : EXIT_CR_WRITE;
	x->cr.write = type != QUAL_CR_MOV_FROM;
	x->cr.reg = q & QUAL_CR_NUMBER;
	x->cr.has_gpr = type <= QUAL_CR_MOV_FROM;
	x->cr.gpr = q >> QUAL_CR_GPR_SHIFT & 0xf;
}

static void decode_dr(struct vm_exit *x)
{
	uint64_t q = vmread(VMCS_EXIT_QUALIFICATION);

	x->reason = EXIT_DR;
	x->cr.write = !(q & QUAL_DR_FROM);
	x->cr.reg = q & QUAL_DR_NUMBER;
	x->cr.has_gpr = true;
	x->cr.gpr = q >> QUAL_DR_GPR_SHIFT & 0xf;
}

static void decode_io(struct vm_exit *x)
{
	uint64_t q = vmread(VMCS_EXIT_QUALIFICATION);

	x->reason = EXIT_IO;
	x->io.port = (uint16_t)(q >> QUAL_IO_PORT_SHIFT);
	x->io.size = (q & QUAL_IO_SIZE) + 1;
	x->io.in = (q & QUAL_IO_IN) != 0;
	x->io.string = (q & QUAL_IO_STRING) != 0;
	x->io.rep = (q & QUAL_IO_REP) != 0;
}

/* Where code is to be looked up, for exits that do not tell the instruction's length. */
static void find_code(struct vcpu *v)
{
	uint64_t cs = vmread(VMCS_GUEST_ES_AR + SEG_CS * VMCS_SEG_STEP);

	v->code_root = v->virt->long_mode && (cs & SEG_ATTR_L << VMCS_AR_HIGH_SHIFT)
			   ? vmread(VMCS_GUEST_CR3)
			   : NO_CODE_ROOT;
}

/* An IRET had opened NMIs before it faulted: it will run again, so they are blocked again (27.2.3).
 */
static void block_nmi_again(struct vcpu *v, bool unblocked)
{
	if (UNLIKELY(unblocked) && v->state.injected.type == EVENT_NONE)
		v->state.nmi_blocked = 1;
}

static void decode_ept_violation(struct vcpu *v, struct vm_exit *x)
{
	uint64_t q = vmread(VMCS_EXIT_QUALIFICATION);

	x->reason = EXIT_MMIO;
	x->insn_len = 0;
	x->mmio.gpa = vmread(VMCS_GUEST_PHYS_ADDR);
	x->mmio.write = (q & QUAL_EPT_WRITE) != 0;
	x->mmio.exec = (q & QUAL_EPT_EXEC) != 0;
	/* a linear address's own translation, not a fetch, and not the delivery of an event */
	x->mmio.data = (q & QUAL_EPT_LINEAR_VALID) && (q & QUAL_EPT_FINAL) && !x->mmio.exec &&
		       !(vmread(VMCS_IDT_VECTORING_INFO) & INTR_VALID);
	block_nmi_again(v, q & QUAL_EPT_NMI_UNBLOCKED);
	find_code(v);
}

/* Debug exceptions do not reach DR6 when they exit: their bits are in the qualification. */
static uint64_t take_debug_bits(struct vcpu *v)
{
	uint64_t q = vmread(VMCS_EXIT_QUALIFICATION), bits = q & (0xf | BIT(13) | BIT(14));

	v->state.dr6 = (v->state.dr6 & ~0xfULL) | bits;
	return v->state.dr6;
}

/*
 * An NMI exit leaves NMIs blocked until an IRET, and a machine check was kept from
 * its handler: the gate serves both, and its IRET opens NMIs again.
 */
static bool serve_host(unsigned type, unsigned vector)
{
	if (type == INTR_TYPE_NMI)
		__asm__ volatile("int %0" : : "i"(VEC_NMI) : "memory");
	else if (vector == VEC_MC)
		__asm__ volatile("int %0" : : "i"(VEC_MC) : "memory");
	else
		return false;
	return true;
}

static void decode_exception(struct vcpu *v, struct vm_exit *x)
{
	uint32_t info = (uint32_t)vmread(VMCS_EXIT_INTR_INFO);
	unsigned type = info >> INTR_TYPE_SHIFT & 7, vector = info & INTR_VECTOR;

	if (serve_host(type, vector)) {
		x->reason = type == INTR_TYPE_NMI ? EXIT_NMI : EXIT_NOTHING;
		return;
	}
	block_nmi_again(v, (info & INTR_NMI_UNBLOCKED) && vector != VEC_DF);
	x->reason = EXIT_EXCEPTION;
	x->insn_len = 0;
	x->exception.vector = (uint8_t)vector;
	x->exception.has_error = (info & INTR_ERROR_VALID) != 0;
	x->exception.error_code =
	    x->exception.has_error ? (uint32_t)vmread(VMCS_EXIT_INTR_ERROR) : 0;
	x->exception.info = vector == VEC_DB ? take_debug_bits(v) : 0;
	find_code(v);
}

/*
 * The CPU has made its checks of the gate, of privilege, and of the new TSS's descriptor, but
 * loaded and stored nothing (25.4.2). Of the events only INT n and its kin have a length.
 */
static void decode_task_switch(struct vm_exit *x)
{
	uint64_t q = vmread(VMCS_EXIT_QUALIFICATION);
	uint32_t info = (uint32_t)vmread(VMCS_IDT_VECTORING_INFO);
	unsigned type = info >> INTR_TYPE_SHIFT & 7;
	bool event = (info & INTR_VALID) != 0;

	x->reason = EXIT_TASK_SWITCH;
	x->insn_len =
	    !event || type >= INTR_TYPE_SOFT_INT ? (uint8_t)vmread(VMCS_EXIT_INSN_LEN) : 0;
	x->task.sel = (uint16_t)q;
	x->task.source = q >> QUAL_TASK_SOURCE_SHIFT & QUAL_TASK_SOURCE;
	x->task.external = event && type != INTR_TYPE_SOFT_INT && type != INTR_TYPE_SOFT_EXCEPTION;
}

/* What the core has no name for, or the CPU did not accept. */
static void decode_rest(uint32_t reason, struct vm_exit *x)
{
	bool refused = (reason & VMX_EXIT_ENTRY_FAILED) || reason == VMX_EXIT_EPT_MISCONFIG;

	x->reason = refused ? EXIT_INVALID_STATE : EXIT_UNKNOWN;
	x->raw[0] = reason;
	x->raw[1] = vmread(VMCS_EXIT_QUALIFICATION);
	x->raw[2] = vmread(VMCS_GUEST_PHYS_ADDR);
}

void vmx_decode_exit(struct vcpu *v, uint32_t reason, struct vm_exit *x)
{
	if (reason < sizeof(plain_exit) && plain_exit[reason]) {
		x->reason = plain_exit[reason] - 1;
		x->insn_len = (uint8_t)vmread(VMCS_EXIT_INSN_LEN);
		return;
	}
	switch (reason) {
	case VMX_EXIT_EPT_VIOLATION:
		decode_ept_violation(v, x);
		return;
	case VMX_EXIT_EXCEPTION:
		decode_exception(v, x);
		return;
	case VMX_EXIT_TASK_SWITCH:
		decode_task_switch(x);
		return;
	case VMX_EXIT_NMI_WINDOW:
		vmx_want_nmi_window(v, false);
		x->reason = EXIT_NMI_WINDOW;
		return;
	default:
		break;
	}
	x->insn_len = (uint8_t)vmread(VMCS_EXIT_INSN_LEN);
	switch (reason) {
	case VMX_EXIT_CR:
		decode_cr(x);
		return;
	case VMX_EXIT_DR:
		decode_dr(x);
		return;
	case VMX_EXIT_IO:
		decode_io(x);
		return;
	default:
		decode_rest(reason, x);
	}
}
