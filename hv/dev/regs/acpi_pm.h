/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of acpi_pm.c, by which it is included. */
#include "hv/core/device_regs.h"

static const struct reg_row acpi_pm_rows[] = {
    {REG_AT(REG_PORT, ACPI_PM1A_EVT, 2), .name = "PM1_STS", .section = "4.8.4.1.1",
	.w1c = PM1_STATUSES, .field = "status", .test = "power_button",
	.bits = REG_BITS({PM1_TMR, "TMR_STS", "the timer's highest bit has changed"},
	    {PM1_BM, "BM_STS", "not implemented: never set, there is no C3"},
	    {PM1_GBL, "GBL_STS", "not implemented: never set, there is no SMI"},
	    {PM1_PWRBTN, "PWRBTN_STS", "the console's command 'vm shutdown'"},
	    {PM1_SLPBTN, "SLPBTN_STS", "not implemented: never set, there is no sleep button"},
	    {PM1_RTC, "RTC_STS", "not implemented: never set, the RTC has its own interrupt"},
	    {1 << 14, "PCIEXP_WAKE_STS", "not implemented: reads 0"},
	    {PM1_WAK, "WAK_STS", "not implemented: never set, only S5 is offered"})},
    {REG_AT(REG_PORT, ACPI_PM1A_EVT + 2, 2), .name = "PM1_EN", .section = "4.8.4.1.2",
	.writable = PM1_ENABLES, .test = "timer_status_when_the_top_bit_changes",
	.bits = REG_BITS({PM1_TMR, "TMR_EN", NULL}, {PM1_GBL, "GBL_EN", NULL},
	    {PM1_PWRBTN, "PWRBTN_EN", NULL}, {PM1_SLPBTN, "SLPBTN_EN", NULL},
	    {PM1_RTC, "RTC_EN", NULL}, {1 << 14, "PCIEXP_WAKE_DIS", "not implemented: reads 0"})},
    {REG_AT(REG_PORT, ACPI_PM1A_CNT, 2), .name = "PM1_CNT", .section = "4.8.4.2.1",
	.reset = PM1_SCI_EN, .writable = PM1_CONTROL_KEPT, .varies = PM1_SLP_EN, .test = "soft_off",
	.bits =
	    REG_BITS({PM1_SCI_EN, "SCI_EN", "always set: ACPI is never off, there is no SMI_CMD"},
		{PM1_BM_RLD, "BM_RLD", "kept, no effect"},
		{1 << 2, "GBL_RLS", "not implemented: there is no firmware to tell; reads 0"},
		{PM1_SLP_TYP, "SLP_TYPx", "5 is S5; with another nothing happens"},
		{PM1_SLP_EN, "SLP_EN", "write-only: enters the state of SLP_TYPx"})},
    {REG_AT(REG_PORT, ACPI_PM_TMR, 4), .name = "PM_TMR", .section = "4.8.4.3",
	.flags = REG_READ_ONLY, .varies = 0xffffffff, .test = "timer_counts",
	.doc = "3.579545 MHz, 32 bits (TMR_VAL_EXT), from VM time"},
    {REG_AT(REG_PORT, ACPI_GPE0, 1), .count = GPE_BYTES, .stride = 1, .name = "GPE0_STS",
	.section = "4.8.5.1.1", .w1c = 0xff, .field = "gpe-status", .doc = "event 0: VMGenID",
	.test = "general_purpose_events"},
    {REG_AT(REG_PORT, ACPI_GPE0 + GPE_BYTES, 1), .count = GPE_BYTES, .stride = 1, .name = "GPE0_EN",
	.section = "4.8.5.1.2", .writable = 0xff, .test = "general_purpose_events"},
    {REG_AT(REG_PORT, PM_BASE + SMI_EN, 4), .name = "SMI_EN", .section = "ICH9, 13.8.3.9",
	.flags = REG_READ_ONLY, .reset = SMI_EN_APMC_EN,
	.doc = "not implemented: there are no SMIs",
	.bits = REG_BITS({SMI_EN_APMC_EN, "APMC_EN",
	    "set, by which firmware takes system management mode for set up"})},
    {0},
};

DEVICE_REGISTERS(acpi_pm_registers) = {
    .model = "amber,acpi-pm",
    .title = "ACPI fixed hardware",
    .sheet = "Advanced Configuration and Power Interface Specification 6.4",
    .doc = "The PM1b and PM2 blocks, the processor blocks and the second block of general-purpose "
	   "events are not implemented; the\nFADT says so. The reset register is RST_CNT of the "
	   "PCI host bridge.",
    .tests = "test_acpi_pm.c",
    .ranges = REG_RANGES({REG_PORT, PM_BASE, PM_SIZE, 1}),
    .rows = acpi_pm_rows,
};
