/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of vlapic_regs.c, by which it is included, for docs/devices.md. */
#include "hv/core/device_regs.h"

/* Fields of both modes' registers. */
static const struct reg_bits id_bits[] = {
    {0xffU << 24, "APIC ID", "the vCPU's ID; cannot be changed"}, {0}};
static const struct reg_bits version_bits[] = {{0xff, "Version", NULL},
    {0xff << 16, "Max LVT Entry", NULL}, {1 << 24, "EOI-Broadcast Suppression", NULL}, {0}};
static const struct reg_bits svr_bits[] = {{APIC_SVR_VECTOR, "Spurious Vector", NULL},
    {APIC_SVR_ENABLE, "APIC Software Enable", NULL},
    {APIC_SVR_FOCUS, "Focus Processor Checking", "kept, no effect"},
    {APIC_SVR_NO_EOI_BROADCAST, "EOI-Broadcast Suppression", NULL}, {0}};
static const struct reg_bits esr_bits[] = {{0x0f, "checksum and accept errors", "none happens"},
    {1 << 4, "Redirectable IPI", "not implemented: never set"},
    {ESR_SEND_ILLEGAL, "Send Illegal Vector", NULL},
    {ESR_RECEIVED_ILLEGAL, "Received Illegal Vector", NULL},
    {ESR_ILLEGAL_REGISTER, "Illegal Register Address", NULL}, {0}};
static const struct reg_bits divide_bits[] = {
    {3, "divide value, low", NULL}, {8, "divide value, high", NULL}, {0}};

#define ICR_LOW                                                                                    \
	{ICR_VECTOR, "Vector", NULL}, {ICR_MODE, "Delivery Mode", NULL},                           \
	    {ICR_LOGICAL, "Destination Mode", NULL},                                               \
	    {ICR_STATUS, "Delivery Status", "always idle: an IPI is sent at once"},                \
	    {ICR_ASSERT, "Level", NULL}, {ICR_LEVEL, "Trigger Mode", NULL},                        \
	{                                                                                          \
		ICR_SHORTHAND, "Destination Shorthand", NULL                                       \
	}
#define LVT_COMMON                                                                                 \
	{LVT_VECTOR, "Vector", NULL}, {LVT_STATUS, "Delivery Status", "always idle"},              \
	{                                                                                          \
		LVT_MASK, "Mask", "set in a software-disabled APIC"                                \
	}
static const struct reg_bits icr_low_bits[] = {ICR_LOW, {0}};
static const struct reg_bits icr_bits[] = {
    ICR_LOW, {0xffffffffULL << 32, "Destination", NULL}, {0}};
static const struct reg_bits lvt_timer_bits[] = {
    LVT_COMMON, {LVT_TIMER_MODE, "Timer Mode", "3 is reserved"}, {0}};
static const struct reg_bits lvt_mode_bits[] = {LVT_COMMON, {LVT_MODE, "Delivery Mode", NULL}, {0}};
static const struct reg_bits lvt_pin_bits[] = {LVT_COMMON, {LVT_MODE, "Delivery Mode", NULL},
    {LVT_POLARITY, "Interrupt Input Pin Polarity", "kept, no effect"},
    {LVT_REMOTE_IRR, "Remote IRR", "never set"}, {LVT_LEVEL, "Trigger Mode", NULL}, {0}};
static const struct reg_bits lvt_error_bits[] = {LVT_COMMON, {0}};

/*
 * What both modes have, each through its own X(register, how many, flags, reset, writable,
 * ignored bits, name, section, bits, doc, test).
 */
#define RO REG_READ_ONLY
#define WO REG_WRITE_ONLY
#define COMMON_ROWS(X)                                                                             \
	X(APIC_VERSION, 1, RO, APIC_VERSION_VALUE, 0, 0, "Version", "11.4.8", version_bits, NULL,  \
	    NULL),                                                                                 \
	    X(APIC_TPR, 1, 0, 0, 0xff, 0, "TPR", "11.8.3.1", NULL, NULL, "tpr_holds_back"),        \
	    X(APIC_PPR, 1, RO, 0, 0, 0, "PPR", "11.8.3.1", NULL, NULL, "nested_service"),          \
	    X(APIC_ISR, APIC_BANK_WORDS, RO, 0, 0, 0, "ISR", "11.8.4", NULL, NULL,                 \
		"every_vector_once"),                                                              \
	    X(APIC_TMR, APIC_BANK_WORDS, RO, 0, 0, 0, "TMR", "11.8.4", NULL, NULL,                 \
		"eoi_of_a_level_interrupt_is_broadcast"),                                          \
	    X(APIC_IRR, APIC_BANK_WORDS, RO, 0, 0, 0, "IRR", "11.8.4", NULL, NULL,                 \
		"every_vector_once"),                                                              \
	    X(APIC_SVR, 1, 0, 0xff, SVR_WRITABLE, 0, "SVR", "11.9", svr_bits, NULL,                \
		"software_disable_masks_and_keeps"),                                               \
	    X(APIC_ESR, 1, 0, 0, 0, 0, "ESR", "11.5.3", esr_bits,                                  \
		"writing shows the errors since the last write", "illegal_register_is_an_error"),  \
	    X(APIC_LVT_CMCI, 1, 0, LVT_MASK, LVT_SOURCE, LVT_STATUS, "LVT CMCI", "11.5.1",         \
		lvt_mode_bits, "not implemented: no machine check is ever corrected", NULL),       \
	    X(APIC_LVT_TIMER, 1, 0, LVT_MASK, LVT_TIMER, LVT_STATUS, "LVT Timer", "11.5.1",        \
		lvt_timer_bits, NULL, "mode_change_disarms"),                                      \
	    X(APIC_LVT_THERMAL, 1, 0, LVT_MASK, LVT_SOURCE, LVT_STATUS, "LVT Thermal Monitor",     \
		"11.5.1", lvt_mode_bits, "not implemented: there is no such source", NULL),        \
	    X(APIC_LVT_PMC, 1, 0, LVT_MASK, LVT_SOURCE, LVT_STATUS, "LVT Performance Counter",     \
		"11.5.1", lvt_mode_bits, "not implemented: there is no such source", NULL),        \
	    X(APIC_LVT_LINT0, 1, 0, LVT_MASK, LVT_PIN, LVT_RO, "LVT LINT0", "11.5.1",              \
		lvt_pin_bits, "the 8259 pair, of the boot vCPU", "lint0_modes"),                   \
	    X(APIC_LVT_LINT1, 1, 0, LVT_MASK, LVT_PIN, LVT_RO, "LVT LINT1", "11.5.1",              \
		lvt_pin_bits, "the console's command 'vm nmi', of all vCPUs", "lint1_modes"),      \
	    X(APIC_LVT_ERROR, 1, 0, LVT_MASK, LVT_ERROR, LVT_STATUS, "LVT Error", "11.5.1",        \
		lvt_error_bits, NULL, "illegal_register_is_an_error"),                             \
	    X(APIC_TIMER_INITIAL, 1, 0, 0, 0xffffffff, 0, "Initial Count", "11.5.4", NULL,         \
		"1 GHz before the divider; not kept in TSC-deadline mode", "one_shot"),            \
	    X(APIC_TIMER_CURRENT, 1, RO, 0, 0, 0, "Current Count", "11.5.4", NULL, NULL,           \
		"one_shot"),                                                                       \
	    X(APIC_TIMER_DIVIDE, 1, 0, 0, 0xb, 0, "Divide Configuration", "11.5.4", divide_bits,   \
		NULL, "dividers")

#define XAPIC(reg, n, fl, rst, wr, ign, nm, sect, bit_rows, text, test_name)                       \
	{                                                                                          \
		REG_AT(REG_MEMORY, APIC_BASE_DEFAULT + 16 * (reg), 4),                             \
		    .count = (n), .stride = 16, .flags = (fl), .reset = (rst), .writable = (wr),   \
		    .name = (nm), .section = (sect), .bits = (bit_rows), .doc = (text),            \
		    .test = (test_name)                                                            \
	}
#define X2APIC(reg, n, fl, rst, wr, ign, nm, sect, bit_rows, text, test_name)                      \
	{                                                                                          \
		REG_AT(REG_MSR, MSR_X2APIC_FIRST + (reg), 8),                                      \
		    .count = (n), .stride = 1, .flags = (fl), .reset = (rst), .writable = (wr),    \
		    .ignored = (ign), .name = (nm), .section = (sect), .bits = (bit_rows),         \
		    .doc = (text), .test = (test_name)                                             \
	}

static const struct reg_row xapic_rows[] = {
    XAPIC(APIC_ID, 1, RO, 0, 0, 0, "ID", "11.4.6", id_bits, NULL, "power_on_state"),
    COMMON_ROWS(XAPIC),
    XAPIC(APIC_APR, 1, RO, 0, 0, 0, "APR", "11.6.2.4", NULL, "nobody arbitrates by it", NULL),
    XAPIC(APIC_EOI, 1, WO, 0, 0, 0, "EOI", "11.8.5", NULL, NULL, "nested_service"),
    XAPIC(APIC_RRD, 1, RO, 0, 0, 0, "RRD", "11.4.1", NULL,
	"not implemented, as in all processors of today: no remote reads", NULL),
    XAPIC(APIC_LDR, 1, 0, 0, 0xff000000, 0, "LDR", "11.6.2.2",
	REG_BITS({0xffU << 24, "Logical APIC ID", NULL}), NULL, "logical_flat_and_cluster"),
    XAPIC(APIC_DFR, 1, 0, 0xffffffff, 0xf0000000, 0, "DFR", "11.6.2.2",
	REG_BITS({0xfU << 28, "Model", "Fh flat, 0 cluster"}), NULL, "logical_flat_and_cluster"),
    XAPIC(APIC_ICR, 1, 0, 0, ICR_WRITABLE, 0, "ICR, low", "11.6.1", icr_low_bits, "sends an IPI",
	"icr_destinations"),
    XAPIC(APIC_ICR2, 1, 0, 0, 0xff000000, 0, "ICR, high", "11.6.1",
	REG_BITS({0xffU << 24, "Destination", NULL}), NULL, "icr_destinations"),
    {0},
};

static const struct reg_row x2apic_rows[] = {
    {REG_AT(REG_MSR, MSR_APIC_BASE, 8), .name = "IA32_APIC_BASE", .section = "11.4.4",
	.flags = REG_SPECIAL, .reset = APIC_BASE_DEFAULT | APIC_BASE_EN | APIC_BASE_BSP,
	.test = "base_msr_transitions",
	.bits = REG_BITS({APIC_BASE_BSP, "BSP", NULL}, {APIC_BASE_EXTD, "EXTD", "x2APIC mode"},
	    {APIC_BASE_EN, "EN", "global enable"},
	    {0xffffffffffULL << 12, "APIC Base", "up to the CPU model's physical address bits"})},
    {REG_AT(REG_MSR, MSR_TSC_DEADLINE, 8), .name = "IA32_TSC_DEADLINE", .section = "11.5.4.1",
	.flags = REG_SPECIAL, .doc = "0 but in TSC-deadline mode", .test = "tsc_deadline"},
    X2APIC(APIC_ID, 1, RO, 0, 0, 0, "ID", "11.12.1.2", NULL, "the vCPU's ID", NULL),
    COMMON_ROWS(X2APIC),
    X2APIC(APIC_EOI, 1, WO, 0, 0, 0, "EOI", "11.12.1.2", NULL, "only 0", "x2apic_registers"),
    X2APIC(APIC_LDR, 1, RO, 1, 0, 0, "LDR", "11.12.10.2", NULL, "made from the ID",
	"x2apic_registers"),
    X2APIC(APIC_ICR, 1, 0, 0, ICR_WRITABLE | 0xffffffffULL << 32, ICR_STATUS, "ICR", "11.12.9",
	icr_bits, "sends an IPI", "x2apic_ipis"),
    X2APIC(APIC_SELF_IPI, 1, WO, 0, 0xff, 0, "SELF IPI", "11.12.11", NULL, NULL,
	"x2apic_self_ipi_cycle"),
    {0},
};

DEVICE_REGISTERS(xapic_registers) = {
    .model = "local APIC, xAPIC mode",
    .title = "registers in memory",
    .sheet = "Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3, chapter 11",
    .doc = "Machines from snapshots of before have no LVT CMCI: their version register says "
	   "01050014h. The page moves with IA32_APIC_BASE. Registers are written by "
	   "aligned\naccesses of 4 bytes. A register that "
	   "does not exist is an error of the ESR, and counted.",
    .tests = "test_vlapic.c",
    .ranges = REG_RANGES({REG_MEMORY, APIC_BASE_DEFAULT, PAGE_SIZE, 16}),
    .rows = xapic_rows,
};

DEVICE_REGISTERS(x2apic_registers) = {
    .model = "local APIC, x2APIC mode",
    .title = "registers as MSRs",
    .sheet = "Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3, chapter 11",
    .doc = "A reserved bit, a register that does not exist, a write of what is read-only and a "
	   "read of what is write-only give #GP, and are not counted.",
    .tests = "test_vlapic.c",
    .ranges = REG_RANGES({REG_MSR, MSR_X2APIC_FIRST, MSR_X2APIC_LAST - MSR_X2APIC_FIRST + 1, 1}),
    .rows = x2apic_rows,
};
