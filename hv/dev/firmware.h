/* SPDX-License-Identifier: BSD-2-Clause */
/* Which machines start with firmware of their own: it owns low memory, and puts the tables there.
 */
#ifndef AMBER_DEV_FIRMWARE_H
#define AMBER_DEV_FIRMWARE_H

#include "hv/core/vm_config.h"

/* The boot method behind those by which the hypervisor loads a kernel itself. */
#define FIRMWARE_BOOT ((enum boot_method)(BOOT_PVH + 1))

/*
 * True if firmware is the first that runs. Its tables are files of fw_cfg; every other machine has
 * them in memory at power-on.
 */
static inline bool has_firmware(const struct vm_config *c)
{
	return c->boot == FIRMWARE_BOOT;
}

#endif
