/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's MP table (MultiProcessor Specification 1.4): what ACPI says, for who does not know
 * it. */
#ifndef AMBER_DEV_MP_TABLE_H
#define AMBER_DEV_MP_TABLE_H

#include "hv/lib/error.h"

struct vm;

/*
 * Writes the floating pointer and the table into guest memory at MEMMAP_MPTABLE. Firmware makes one
 * of its own: not for such a machine. The guest is not running. May wait. ERR_NOMEM, ERR_NOSPACE,
 * ERR_FAULT, ERR_RETRY; with a message.
 */
int mp_table_build(struct vm *vm, struct errmsg *e) MUST_CHECK;

#endif
