/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtual machine generation ID: what tells a guest that its past is not its own alone. */
#ifndef AMBER_DEV_VMGENID_H
#define AMBER_DEV_VMGENID_H

#include "hv/lib/error.h"

struct vm;

/*
 * At power-on, with the ACPI tables: puts the identifier where they say that it is. The guest is
 * not running. May wait. ERR_FAULT, ERR_RETRY: guest memory cannot be written; with a message.
 */
int vmgenid_boot(struct vm *vm, struct errmsg *e) MUST_CHECK;

/*
 * A new identifier for a machine that is loaded and has not run yet: it is in guest memory, and
 * the interrupt that announces it is pending, before the guest's next instruction. A guest whose
 * tables know of no identifier gets none. May wait (the page may lie in a snapshot still); no lock
 * of a device or of the store held. ERR_RETRY: the page cannot be had, and the machine is not to
 * run, with a message.
 */
int vmgenid_renew(struct vm *vm, struct errmsg *e) MUST_CHECK;

#endif
