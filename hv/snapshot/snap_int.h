/* SPDX-License-Identifier: BSD-2-Clause */
/* What the snapshot files share: catalog records. Not for anybody else. */
#ifndef AMBER_SNAPSHOT_SNAP_INT_H
#define AMBER_SNAPSHOT_SNAP_INT_H

#include "hv/snapshot/ram_stream.h"
#include "hv/snapshot/snapshot.h"
#include "hv/snapshot/store_int.h"

struct snap {
	struct list link; /* store->open_snaps */
	struct store *store;
	struct snap_info info;
	struct stream_reader state, ram;
};

/* Takes over the figures of a RAM object that was just finished. */
void snap_set_ram(struct snap_info *info, const struct stream_writer *ram);
/* A catalog record; the values are checked, the objects not looked at. */
int catalog_decode(const uint8_t *data, uint32_t len, struct snap_info *out, struct errmsg *e);
/* The record of a name. ERR_NOENT (no message): *key is where it would go. */
int catalog_find(struct store *s, const char *name, struct store_key *key, struct snap_info *info,
    struct errmsg *e);
/*
 * In one commit: the snapshot with its two complete objects appears, the one that it replaces
 * goes, and the machine of UUID freeze, unless that is NULL, is frozen; then what the old one
 * took is given back.
 */
int catalog_publish(struct store *s, const struct snap_info *info, bool replace,
    const uint8_t *freeze, struct errmsg *e);
/* The snapshot whose RAM that object is; ERR_NOENT if none is found. */
int catalog_find_ram(struct store *s, uint64_t object, struct snap_info *info);
/*
 * In one commit: the snapshot's record, found by its name, has info's RAM instead of the object
 * old; then what only that needed is given back. The name is as long as before.
 */
int catalog_change_ram(
    struct store *s, const struct snap_info *info, uint64_t old, struct errmsg *e);
/* Whether the snapshot with this state is open. */
bool catalog_is_open(struct store *s, uint64_t state_object);
/* One disk record of a state object; takes a link on the layer that it names. */
int disk_record_add(struct store *s, uint64_t state_object, unsigned i, const struct snap_disk *d,
    struct errmsg *e);
/* Records of the working set of a state object; of one that is not read, none. */
int working_set_add(
    struct store *s, uint64_t state_object, const gpa_t *addr, unsigned n, struct errmsg *e);
int working_set_copy(struct snap *from, struct store *to, uint64_t state_object, struct errmsg *e);

#endif
