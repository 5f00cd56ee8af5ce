/* SPDX-License-Identifier: BSD-2-Clause */
/* What Tab offers: names of machines and snapshots. */
#ifndef AMBER_CONSOLE_COMPLETE_H
#define AMBER_CONSOLE_COMPLETE_H

#include "hv/console/line.h"

/* For struct command_arg.complete; may wait. */
void complete_vm(struct candidates *c);
void complete_snapshot(struct candidates *c);

#endif
