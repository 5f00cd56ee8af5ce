/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reads a file out of a FAT volume (12, 16 or 32 bits), as EFI system partitions are. Nothing on
 * the volume is trusted: each chain of clusters ends, and all that is read is inside the volume.
 */
#ifndef AMBER_SNAP_FAT_H
#define AMBER_SNAP_FAT_H

#include "tools/amber-snap/image.h"

/*
 * The file 'name' in 'folder' of the root, without regard to case (ASCII), of the volume in bytes
 * at to at + bytes - 1 of the image; the caller frees *data with free(). ERR_NOENT: no such file;
 * ERR_CORRUPT: no sound FAT volume; ERR_NOMEM, ERR_IO.
 */
int fat_read(const struct image *im, uint64_t at, uint64_t bytes, const char *folder,
    const char *name, uint8_t **data, uint64_t *size, struct errmsg *e) MUST_CHECK;

#endif
