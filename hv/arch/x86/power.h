/* SPDX-License-Identifier: BSD-2-Clause */
/* Reset and power-off of the machine. */
#ifndef AMBER_X86_POWER_H
#define AMBER_X86_POWER_H

#include "hv/lib/types.h"

/*
 * Stops the other CPUs and resets the machine: runtime services, else the ACPI
 * reset register, port 0xCF9, the keyboard controller. Any context. The caller
 * has flushed what must survive.
 */
NORETURN void power_reboot(void);
/* Stops the other CPUs and switches off by runtime services; halts with a message if that fails. */
NORETURN void power_off(void);

#endif
