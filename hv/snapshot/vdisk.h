/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The disks that live in the store, by name: which layer is written, what lies below the
 * layers, how large the disk is. A list of records and the commits that change it; what is
 * in the layers is of no concern here (overlay.h).
 *
 * As all of the store: the caller serialises (RANK_STORE), everything may sleep in the I/O.
 */
#ifndef AMBER_SNAPSHOT_VDISK_H
#define AMBER_SNAPSHOT_VDISK_H

#include "hv/snapshot/store.h"

enum {
	VDISK_NAME_MAX = 31,
	VDISK_BASE_NAME_MAX = 63,
};

/* Names are for messages; what counts is the GUID and the epoch, or the size and the CRC. */
struct vdisk_base {
	enum vdisk_base_kind kind;
	uint8_t guid[16]; /* of the partition */
	uint64_t epoch;	  /* its write epoch: with another one it is not the same base */
	uint64_t size;	  /* bytes, a multiple of 512; what lies behind is zeros */
	uint32_t crc;	  /* CRC-32C of the payload file */
	char name[VDISK_BASE_NAME_MAX + 1]; /* the payload's, or the partition's label */
};

struct vdisk {
	char name[VDISK_NAME_MAX + 1]; /* [A-Za-z0-9._-], the first a letter or digit */
	uint64_t size;		       /* bytes, a multiple of 512 */
	uint64_t top;		       /* object: the layer that is written */
	struct vdisk_base base;
};

/* OK if the name may be given to a disk; ERR_INVAL with the reason. */
int vdisk_name_check(const char *name, struct errmsg *e) MUST_CHECK;
/* By name. ERR_NOENT; ERR_CORRUPT. */
int vdisk_get(struct store *s, const char *name, struct vdisk *out, struct errmsg *e) MUST_CHECK;
/*
 * Makes an empty disk: v->top is set. ERR_EXIST; ERR_INVAL (name, size); ERR_NOSPACE. On the
 * medium when this returns OK.
 */
int vdisk_create(struct store *s, struct vdisk *v, struct errmsg *e) MUST_CHECK;
/* The same with the content of a frozen layer of a disk with this base and, at most, this size. */
int vdisk_create_over(
    struct store *s, struct vdisk *v, uint64_t frozen, struct errmsg *e) MUST_CHECK;
/* The name goes, and with it every layer that nothing else refers to. */
int vdisk_delete(struct store *s, const char *name, struct errmsg *e) MUST_CHECK;
/* The next disk at or behind *cursor (begin with 0): OK, ERR_NOENT after the last, or an error of
 * one record (e says what; *cursor has moved on all the same). */
int vdisk_next(struct store *s, uint64_t *cursor, struct vdisk *out, struct errmsg *e) MUST_CHECK;
/*
 * The name of a disk whose base is this partition, into out; "" if there is none. While there is
 * one nobody may write the partition.
 */
int vdisk_on_partition(struct store *s, const uint8_t guid[16], char out[VDISK_NAME_MAX + 1],
    struct errmsg *e) MUST_CHECK;

/* --- steps within a transaction of the caller's ------------------------------------- */

/* As vdisk_create_over(), for who has made room for a block and the records of two chunks. */
int vdisk_add_over(struct store *s, struct vdisk *v, uint64_t frozen, struct errmsg *e) MUST_CHECK;
/* Replaces the record of v->name: size, base and top as given; the links are the caller's. */
int vdisk_put(struct store *s, const struct vdisk *v, struct errmsg *e) MUST_CHECK;
/*
 * Freezes the top: it becomes a layer that never changes again, and a new, empty one over it
 * becomes the top (v->top). *frozen is what to name in a snapshot. If nothing was written since
 * the last time, that layer is named again and v stays as it is. Not durable before the next
 * commit; reads no data. ERR_RANGE: too many layers, flatten first; nothing has changed.
 * Any other error after which the store is still open to changes: nothing has changed.
 */
int vdisk_freeze(struct store *s, struct vdisk *v, uint64_t *frozen, struct errmsg *e) MUST_CHECK;
/*
 * The disk's content becomes what the frozen layer shows: a new top over it. frozen == 0: an empty
 * one. Does not commit. *orphan (0: none) is the old top, if nothing else refers to it, to be
 * deleted after the commit. Errors as for vdisk_freeze().
 */
int vdisk_set_content(struct store *s, struct vdisk *v, uint64_t frozen, uint64_t *orphan,
    struct errmsg *e) MUST_CHECK;

#endif
