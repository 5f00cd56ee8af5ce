/* SPDX-License-Identifier: BSD-2-Clause */
/* ACPI power management registers: where they are, for the tables, and the power button. */
#ifndef AMBER_DEV_ACPI_PM_H
#define AMBER_DEV_ACPI_PM_H

#include "hv/lib/types.h"

struct vm;

/*
 * For the FADT. There is no SMI_CMD (0): ACPI is always enabled, SCI_EN reads 1.
 * The timer is 32 bits wide (TMR_VAL_EXT). The reset register is port 0xCF9 of
 * the PCI host bridge.
 */
enum acpi_pm_layout {
	ACPI_PM1A_EVT = 0x600,
	ACPI_PM1_EVT_LEN = 4,
	ACPI_PM1A_CNT = 0x604,
	ACPI_PM1_CNT_LEN = 2,
	ACPI_PM_TMR = 0x608,
	ACPI_PM_TMR_LEN = 4,
	ACPI_GPE0 = 0x620,
	ACPI_GPE0_LEN = 16, /* eight bytes of status, eight of enable */
	ACPI_SCI_GSI = 9,   /* level-triggered, active high */
	ACPI_S5_SLP_TYP = 5,
};

/* Which general-purpose event says what. */
enum acpi_gpe {
	ACPI_GPE_VMGENID = 0, /* the generation ID has changed */
};

/* Presses the power button: the guest is asked to shut down. Any context. */
void acpi_pm_power_button(struct vm *vm);
/* Raises general-purpose event n (0..63). Any context. */
void acpi_pm_gpe(struct vm *vm, unsigned n);

#endif
