/* SPDX-License-Identifier: BSD-2-Clause */
/* What lies below a disk of the store: a partition or a payload file, found and compared. */
#ifndef AMBER_SNAPSHOT_OVERLAY_BASE_H
#define AMBER_SNAPSHOT_OVERLAY_BASE_H

#include "hv/block/block.h"
#include "hv/snapshot/overlay.h"

/* Describes the partition or payload file of that name, as it is now. ERR_NOENT; ERR_BUSY: a
 * machine writes the partition; ERR_INVAL: not one for guests. */
int overlay_base_describe(
    struct store *s, const char *name, struct vdisk_base *out, struct errmsg *e) MUST_CHECK;
/* Finds it again, and checks that it is as it was. ERR_NOENT, ERR_STATE. */
int overlay_base_open(
    struct store *s, const struct vdisk *v, struct overlay_base *out, struct errmsg *e) MUST_CHECK;

#endif
