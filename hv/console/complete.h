/* SPDX-License-Identifier: BSD-2-Clause */
/* What Tab offers: names of machines, snapshots and disks. */
#ifndef AMBER_CONSOLE_COMPLETE_H
#define AMBER_CONSOLE_COMPLETE_H

#include "hv/console/line.h"

/* For struct command_arg.complete; may wait. */
void complete_vm(struct candidates *c);
void complete_snapshot(struct candidates *c);
void complete_disk(struct candidates *c);

#endif
