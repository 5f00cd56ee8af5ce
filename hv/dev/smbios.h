/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's SMBIOS tables (DSP0134, version 2.8): what machine this is. */
#ifndef AMBER_DEV_SMBIOS_H
#define AMBER_DEV_SMBIOS_H

#include "hv/dev/fw_cfg.h"
#include "hv/lib/error.h"

struct vm;

/* The files of fw_cfg by which firmware gets them. */
#define SMBIOS_FILE_ANCHOR "etc/smbios/smbios-anchor"
#define SMBIOS_FILE_TABLES "etc/smbios/smbios-tables"

/*
 * Writes entry point and structures into guest memory at MEMMAP_SMBIOS, where systems look for
 * them. The guest is not running. May wait. ERR_NOMEM, ERR_NOSPACE, ERR_FAULT, ERR_RETRY; with a
 * message.
 */
int smbios_build(struct vm *vm, struct errmsg *e) MUST_CHECK;

/*
 * Gives both as files for the machine's firmware, which puts them where it likes, and adds the BIOS
 * information (type 0), for that is about itself. May be called while the machine is built, as soon
 * as there is its CPU model. ERR_NOMEM, ERR_NOSPACE, or what 'give' says.
 */
int smbios_give(struct vm *vm, fw_cfg_give_fn *give, void *to, struct errmsg *e) MUST_CHECK;

#endif
