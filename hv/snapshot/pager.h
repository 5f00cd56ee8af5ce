/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Restoring on demand: a thread that brings a running machine's RAM in from its snapshot, what
 * somebody waits for first, then the working set that the snapshot names, then the rest in
 * ascending order behind its back.
 */
#ifndef AMBER_SNAPSHOT_PAGER_H
#define AMBER_SNAPSHOT_PAGER_H

#include "hv/core/vm.h"
#include "hv/snapshot/snapshot.h"

/*
 * Takes sn over, whatever the result: it is closed when all is there, or the VM is reset or
 * destroyed. The VM has not run yet and its RAM has not been touched. With the store locked; the
 * pager holds it (engine_hold()). ERR_NOMEM.
 */
int pager_start(struct vm *vm, struct snap *sn, struct errmsg *e) MUST_CHECK;

struct ram_image;
/* The same for a clone, which shares the image's frames; takes a reference of its own. */
int pager_start_shared(struct vm *vm, struct ram_image *image, struct errmsg *e) MUST_CHECK;

#endif
