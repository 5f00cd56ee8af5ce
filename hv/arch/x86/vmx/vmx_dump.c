/* SPDX-License-Identifier: BSD-2-Clause */
/* The VMCS for a person to read, after an exit that should not have been. */
#include "hv/arch/x86/vmx/vmx_impl.h"
#include "hv/lib/log.h"

/* In the order of SDM volume 3, 24.4 to 24.9. */
static const struct {
	uint32_t field;
	const char *name;
} fields[] = {
    {VMCS_GUEST_CR0, "guest cr0"},
    {VMCS_CR0_SHADOW, "cr0 shadow"},
    {VMCS_GUEST_CR3, "guest cr3"},
    {VMCS_GUEST_CR4, "guest cr4"},
    {VMCS_CR4_SHADOW, "cr4 shadow"},
    {VMCS_GUEST_EFER, "guest efer"},
    {VMCS_GUEST_DR7, "guest dr7"},
    {VMCS_GUEST_RSP, "guest rsp"},
    {VMCS_GUEST_RIP, "guest rip"},
    {VMCS_GUEST_RFLAGS, "guest rflags"},
    {VMCS_GUEST_GDTR_BASE, "guest gdtr base"},
    {VMCS_GUEST_GDTR_LIMIT, "guest gdtr limit"},
    {VMCS_GUEST_IDTR_BASE, "guest idtr base"},
    {VMCS_GUEST_IDTR_LIMIT, "guest idtr limit"},
    {VMCS_GUEST_INTERRUPTIBILITY, "interruptibility"},
    {VMCS_GUEST_ACTIVITY, "activity"},
    {VMCS_GUEST_PENDING_DBG, "pending debug"},
    {VMCS_PIN_CTLS, "pin controls"},
    {VMCS_PROC_CTLS, "primary controls"},
    {VMCS_PROC_CTLS2, "secondary controls"},
    {VMCS_EXIT_CTLS, "exit controls"},
    {VMCS_ENTRY_CTLS, "entry controls"},
    {VMCS_EPTP, "ept pointer"},
    {VMCS_ENTRY_INTR_INFO, "entry event"},
    {VMCS_EXIT_REASON, "exit reason"},
    {VMCS_EXIT_QUALIFICATION, "exit qualification"},
    {VMCS_EXIT_INTR_INFO, "exit event"},
    {VMCS_IDT_VECTORING_INFO, "vectoring event"},
    {VMCS_GUEST_PHYS_ADDR, "guest-physical address"},
    {VMCS_GUEST_LINEAR_ADDR, "guest-linear address"},
    {VMCS_INSN_ERROR, "instruction error"},
};

static const char *const seg_names[SEG_COUNT] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};

void vmx_dump(struct vcpu *v)
{
	(void)v; /* its VMCS is current */
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		log_error(
		    "vmcs: %s 0x%llx", fields[i].name, (unsigned long long)vmread(fields[i].field));
	for (uint32_t n = 0; n < SEG_COUNT; n++) {
		uint32_t step = n * VMCS_SEG_STEP;

		log_error("vmcs: guest %s %04x base 0x%llx limit 0x%x rights 0x%x", seg_names[n],
		    (unsigned)vmread(VMCS_GUEST_ES_SEL + step),
		    (unsigned long long)vmread(VMCS_GUEST_ES_BASE + step),
		    (unsigned)vmread(VMCS_GUEST_ES_LIMIT + step),
		    (unsigned)vmread(VMCS_GUEST_ES_AR + step));
	}
}
