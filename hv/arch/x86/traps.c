/* SPDX-License-Identifier: BSD-2-Clause */
/* Where all gates arrive: interrupts, the fix-up table, NMIs, and reports of the rest. */
#include "hv/arch/x86/traps.h"
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/io.h"
#include "hv/arch/x86/irq.h"
#include "hv/arch/x86/lapic.h"
#include "hv/arch/x86/panic.h"
#include "hv/arch/x86/vcpu_state.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"

enum { EXCEPTIONS = 32, PORT_61 = 0x61, PORT_61_IOCHK = 1 << 6, PORT_61_SERR = 1 << 7 };

void trap_dispatch(struct trap_frame *f); /* traps_entry.asm */

static const char *const exception_names[EXCEPTIONS] = {
    [VEC_DE] = "divide error",
    [VEC_DB] = "debug exception",
    [VEC_NMI] = "NMI",
    [VEC_BP] = "breakpoint",
    [VEC_OF] = "overflow",
    [VEC_BR] = "bound range exceeded",
    [VEC_UD] = "invalid opcode",
    [VEC_NM] = "device not available",
    [VEC_DF] = "double fault",
    [VEC_TS] = "invalid TSS",
    [VEC_NP] = "segment not present",
    [VEC_SS] = "stack-segment fault",
    [VEC_GP] = "general protection",
    [VEC_PF] = "page fault",
    [VEC_MF] = "x87 floating-point error",
    [VEC_AC] = "alignment check",
    [VEC_MC] = "machine check",
    [VEC_XM] = "SIMD floating-point exception",
};

struct fixup {
	uint64_t from, to;
};
extern const struct fixup __start_fault_fixups[], __stop_fault_fixups[];

static uint64_t nmi_count;

uint64_t trap_nmi_count(void)
{
	return __atomic_load_n(&nmi_count, __ATOMIC_RELAXED);
}

static bool fix_up(struct trap_frame *f)
{
	for (const struct fixup *x = __start_fault_fixups; x < __stop_fault_fixups; x++) {
		if (x->from != f->rip)
			continue;
		f->rip = x->to;
		return true;
	}
	return false;
}

static void report_nmi(void *arg)
{
	uint8_t why = inb(PORT_61);

	log_error("NMI: %s%s%s", why & PORT_61_SERR ? "system error (SERR) " : "",
	    why & PORT_61_IOCHK ? "I/O channel check " : "",
	    why & (PORT_61_SERR | PORT_61_IOCHK) ? "" : "for no reason that port 61h knows");
}

/*
 * An NMI may interrupt any code, the log's and the ICR's included: it is only
 * counted here, and reported by an ordinary interrupt to this same CPU.
 */
static void on_nmi(void)
{
	uint64_t before;

	if (panic_stop_requested())
		cpu_halt_forever();
	before = __atomic_fetch_add(&nmi_count, 1, __ATOMIC_RELAXED);
	if (!(before & (before + 1))) /* the first, second, fourth, eighth: no flood */
		lapic_send_self_from_nmi(IRQ_VECTOR_NMI_REPORT);
}

void trap_nmi(void)
{
	on_nmi();
}

/* Machine-check banks with a valid error, on the console (SDM volume 3, 16.3.2). */
static void report_machine_check(char *text, size_t size)
{
	uint64_t cap = 0, status = 0, addr = 0, mcg = 0;
	int n;

	rdmsr_safe(MSR_MCG_CAP, &cap);
	rdmsr_safe(MSR_MCG_STATUS, &mcg);
	n = str_format(text, size, "machine check (MCG_STATUS 0x%lx)", mcg);
	for (uint32_t i = 0; i < (cap & 0xff); i++) {
		if (!rdmsr_safe(MSR_MC0_STATUS + 4 * i, &status) || !(status & BIT(63)))
			continue;
		if (status & BIT(58))
			rdmsr_safe(MSR_MC0_ADDR + 4 * i, &addr);
		str_format(text + n, size - (size_t)n, ", bank %u: status 0x%lx, address 0x%lx", i,
		    status, addr);
		return;
	}
}

static void report_exception(struct trap_frame *f)
{
	const char *name = exception_names[f->vector];
	char text[192];

	switch (f->vector) {
	case VEC_MC:
		report_machine_check(text, sizeof(text));
		break;
	case VEC_PF:
		str_format(text, sizeof(text), "page fault: %s of 0x%lx%s, error 0x%lx",
		    f->error & PF_I   ? "execution"
		    : f->error & PF_W ? "write"
				      : "read",
		    read_cr2(), panic_is_guard_page(read_cr2()) ? " (below a stack: overflow)" : "",
		    f->error);
		break;
	default:
		str_format(
		    text, sizeof(text), "%s, error 0x%lx", name ? name : "exception", f->error);
		break;
	}
	panic_trap(f, text);
}

void trap_dispatch(struct trap_frame *f)
{
	if (f->vector >= EXCEPTIONS)
		irq_dispatch((uint8_t)f->vector);
	else if (f->vector == VEC_NMI)
		on_nmi();
	else if (!fix_up(f))
		report_exception(f);
}

void traps_init(void)
{
	irq_vector_set(IRQ_VECTOR_NMI_REPORT, report_nmi, NULL, "NMI report");
}
