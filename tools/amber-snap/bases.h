/* SPDX-License-Identifier: BSD-2-Clause */
/* What lies below the disks of a store, for export --with-base: partitions of the same image, and
 * the files that the loader would bring from its EFI system partition. */
#ifndef AMBER_SNAP_BASES_H
#define AMBER_SNAP_BASES_H

#include "hv/snapshot/overlay.h"
#include "tools/amber-snap/image.h"

struct bases {
	const struct image *image;
	struct store *store;
	uint64_t at;   /* of the partition in the image */
	uint8_t *file; /* NULL: none */
};

/*
 * For struct snap_bases, whose ctx is a struct bases. ERR_NOENT: the base is not in the image;
 * ERR_STATE: it has been written since, or is another file now.
 */
int bases_open(
    void *ctx, const struct vdisk *v, struct overlay_base *out, struct errmsg *e) MUST_CHECK;
void bases_close(struct bases *b);

#endif
