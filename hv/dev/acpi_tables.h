/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's ACPI tables (ACPI 6.5), generated for the machine's configuration. */
#ifndef AMBER_DEV_ACPI_TABLES_H
#define AMBER_DEV_ACPI_TABLES_H

#include "hv/dev/aml.h"
#include "hv/dev/fw_cfg.h"
#include "hv/lib/error.h"

struct acpi_image;
struct vm;

/* The files of fw_cfg by which firmware gets them. */
#define ACPI_FILE_RSDP	 "etc/acpi/rsdp"
#define ACPI_FILE_TABLES "etc/acpi/tables"
#define ACPI_FILE_LOADER "etc/table-loader" /* commands: where which file is put, and its links */

/*
 * Writes all tables into guest memory from MEMMAP_BIOS on; *rsdp gets the
 * guest-physical address of the root pointer. ERR_NOMEM, ERR_NOSPACE, ERR_FAULT.
 * The guest is not running. May wait.
 */
int acpi_tables_build(struct vm *vm, uint64_t *rsdp, struct errmsg *e) MUST_CHECK;

/*
 * Gives the same tables as files for the machine's firmware: ACPI_FILE_RSDP, ACPI_FILE_TABLES,
 * ACPI_FILE_LOADER. It also has to have VMGENID_FILE and VMGENID_ADDRESS_FILE, which the commands
 * name. May be called while the machine is built, as soon as there are its vCPUs. ERR_NOMEM,
 * ERR_NOSPACE, or what 'give' says.
 */
int acpi_tables_give(struct vm *vm, fw_cfg_give_fn *give, void *to, struct errmsg *e) MUST_CHECK;

/* The definition block's contents, behind its header in the tables (acpi_dsdt.c). */
void acpi_dsdt_write(struct vm *vm, struct acpi_image *m);

#endif
