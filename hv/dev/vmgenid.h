/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtual machine generation ID: what tells a guest that its past is not its own alone. */
#ifndef AMBER_DEV_VMGENID_H
#define AMBER_DEV_VMGENID_H

#include "hv/lib/error.h"
#include "hv/lib/types.h"

struct vm;

/*
 * With firmware of its own the identifier is where that puts a file, and it tells the address by
 * writing another one. So near to the end of the file (a page, so that nothing else is in it) that
 * there is no room for the header of an ACPI table: OVMF looks for one wherever a table points to.
 */
#define VMGENID_FILE	     "etc/vmgenid_guid"
#define VMGENID_ADDRESS_FILE "etc/vmgenid_addr"
enum vmgenid_file {
	VMGENID_FILE_SIZE = 4096,
	VMGENID_FILE_OFFSET = VMGENID_FILE_SIZE - 16,
	VMGENID_ADDRESS_SIZE = 8, /* little-endian */
};

/*
 * At power-on, with the ACPI tables: puts the identifier where they say that it is. With
 * firmware of its own the machine is told later, and this does nothing. The guest is not running.
 * May wait. ERR_FAULT, ERR_RETRY: guest memory cannot be written; with a message.
 */
int vmgenid_boot(struct vm *vm, struct errmsg *e) MUST_CHECK;

/*
 * The contents of VMGENID_ADDRESS_FILE, VMGENID_ADDRESS_SIZE bytes for as long as the machine is
 * there; NULL: it has no generation ID. They are 0 after a reset, and the guest may write them.
 */
uint8_t *vmgenid_address_file(struct vm *vm);

/*
 * The guest has written a part of that file: the identifier is in its memory, or if there cannot be
 * one at that address, the file is 0 again. From a vCPU or a worker, under the file's lock. May
 * wait. ERR_RETRY: the page cannot be had; to be called again.
 */
int vmgenid_told(struct vm *vm) MUST_CHECK;

/*
 * A new identifier for a machine that is loaded and has not run yet: it is in guest memory, and
 * the interrupt that announces it is pending, before the guest's next instruction. A guest whose
 * tables know of no identifier gets none. May wait (the page may lie in a snapshot still); no lock
 * of a device or of the store held. ERR_RETRY: the page cannot be had, and the machine is not to
 * run, with a message.
 */
int vmgenid_renew(struct vm *vm, struct errmsg *e) MUST_CHECK;

#endif
