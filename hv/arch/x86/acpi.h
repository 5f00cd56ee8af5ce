/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's ACPI tables, as far as they are static. Each table is optional,
 * ACPI as a whole too. Tables are the firmware's: read through the checked
 * cursor, used only with a correct checksum.
 */
#ifndef AMBER_X86_ACPI_H
#define AMBER_X86_ACPI_H

#include "hv/arch/x86/cpu.h"
#include "hv/lib/types.h"

/* Reads the tables from the RSDP given (0: there is none). Once, after mm_init(). */
void acpi_init(uint64_t rsdp);

/*
 * The index-th table with this signature ("MCFG"), mapped, checksum verified;
 * *len is its whole length. NULL if there is none.
 */
const void *acpi_find_table(const char sig[4], unsigned index, size_t *len);

/* A PCI configuration space in memory (MCFG). */
struct acpi_mcfg {
	uint64_t base;
	uint16_t segment;
	uint8_t bus_first, bus_last;
};
enum { ACPI_MAX_MCFG = 8, ACPI_MAX_IOAPIC = 8 };

/* The index-th segment; false past the last. */
bool acpi_mcfg(unsigned index, struct acpi_mcfg *out);

/* MADT: APIC IDs of usable CPUs, the boot CPU among them; 0 of them without a MADT. */
unsigned acpi_cpu_count(void);
uint32_t acpi_cpu_apic_id(unsigned index);

struct acpi_ioapic {
	uint64_t base;
	uint32_t gsi_base;
};
bool acpi_ioapic(unsigned index, struct acpi_ioapic *out);
/* Where ISA line irq (0..15) goes; without an override: the same number, edge, active high. */
void acpi_isa_irq(unsigned irq, unsigned *gsi, bool *level, bool *low);
/* LINTn input that NMI is wired to on a CPU (0 or 1), or -1. */
int acpi_nmi_lint(void);

/* FADT: I/O port of the PM timer, 0: none; *bits is 24 or 32. */
uint16_t acpi_pm_timer_port(unsigned *bits);
/* FADT: reset register; false if there is none. */
bool acpi_reset_register(uint16_t *port, uint8_t *value);
/* HPET base address; 0: none. */
uint64_t acpi_hpet_base(void);

#endif
