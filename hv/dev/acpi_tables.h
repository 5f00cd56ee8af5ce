/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's ACPI tables (ACPI 6.5), generated for the machine's configuration. */
#ifndef AMBER_DEV_ACPI_TABLES_H
#define AMBER_DEV_ACPI_TABLES_H

#include "hv/dev/aml.h"
#include "hv/lib/error.h"

struct vm;

/*
 * Writes all tables into guest memory from MEMMAP_BIOS on; *rsdp gets the
 * guest-physical address of the root pointer. ERR_NOMEM, ERR_NOSPACE, ERR_FAULT.
 * The guest is not running. May wait.
 */
int acpi_tables_build(struct vm *vm, uint64_t *rsdp, struct errmsg *e) MUST_CHECK;

/* The definition block's contents, behind its header (acpi_dsdt.c). */
void acpi_dsdt_write(struct vm *vm, struct aml *a);

#endif
