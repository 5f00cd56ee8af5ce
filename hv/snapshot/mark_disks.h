/* SPDX-License-Identifier: BSD-2-Clause */
/* What marks of machines have to do with their disks in the store (hv/core/vm_mark.h). */
#ifndef AMBER_SNAPSHOT_MARK_DISKS_H
#define AMBER_SNAPSHOT_MARK_DISKS_H

/* Sets vm_mark_disks; once, by engine_init(). */
void mark_disks_init(void);

#endif
