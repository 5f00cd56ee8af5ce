/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory of a snapshot, for all machines that are cloned from it: each piece is read from the
 * store once, when the first of them touches it, and stays until the last of them is gone.
 */
#ifndef AMBER_SNAPSHOT_RAM_IMAGE_H
#define AMBER_SNAPSHOT_RAM_IMAGE_H

#include "hv/snapshot/snapshot.h"

struct ram_image;

/*
 * The image of a snapshot, of a machine with ROM or without: the one that clones of it use already,
 * or a new one. Takes sn over, whatever the result. The store locked, as in all of these. One
 * reference. ERR_NOMEM.
 */
int ram_image_open(struct snap *sn, bool rom, struct ram_image **out, struct errmsg *e) MUST_CHECK;
void ram_image_ref(struct ram_image *m);
/* The last one frees all. NULL is allowed. */
void ram_image_unref(struct ram_image *m);
/*
 * The 64 KiB at addr, verified, in a frame that stays the image's; a.a = 0: zeros. ERR_NOMEM, or
 * what snap_ram_read() says.
 */
int ram_image_get(struct ram_image *m, gpa_t addr, hpa_t *frame, struct errmsg *e) MUST_CHECK;
/* snap_set(); none once all is read. */
int ram_image_set(struct ram_image *m, gpa_t *addr, unsigned *n, struct errmsg *e) MUST_CHECK;
/* snap_ram_ahead(); nothing to do for what is there. */
bool ram_image_ahead(struct ram_image *m, gpa_t addr);

#endif
