/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of snapshots: its records, and the commits that make one appear or go. */
#include <string.h>

#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/snap_int.h"

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int snap_name_check(const char *name, struct errmsg *e)
{
	size_t len = strnlen(name, STORE_NAME_MAX + 1);

	if (len == 0 || len > STORE_NAME_MAX)
		return err_set(e, ERR_INVAL, "snapshot name: 1 to %d characters", STORE_NAME_MAX);
	for (size_t i = 0; i < len; i++)
		if (!name_char(name[i]) && (i == 0 || !strchr("._-", name[i])))
			return err_set(e, ERR_INVAL,
			    "snapshot name: letters, digits, and (not first) . _ - only");
	return OK;
}

/* FNV-1a, 64 bits; the low byte is left for telling apart what collides. */
static uint64_t name_hash(const char *name)
{
	uint64_t h = 0xcbf29ce484222325ULL;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 0x100000001b3ULL;
	return h & ~0xffULL;
}

/* --- records ------------------------------------------------------------------------- */

static uint32_t catalog_encode(const struct snap_info *i, uint8_t *p)
{
	size_t name = strlen(i->name), vm = strlen(i->vm);

	memset(p, 0, SN_STRINGS);
	put_le16(p + SN_VERSION, 1);
	put_le16(p + SN_NAME_LEN, (uint16_t)name);
	put_le16(p + SN_VM_LEN, (uint16_t)vm);
	put_le16(p + SN_DISKS, (uint16_t)i->ndisks);
	put_le32(p + SN_FORMAT, i->format);
	memcpy(p + SN_ID, i->id, 16);
	memcpy(p + SN_PARENT, i->parent, 16);
	put_le64(p + SN_CREATED, i->created);
	put_le64(p + SN_STATE, i->state_object);
	put_le64(p + SN_RAM, i->ram_object);
	put_le64(p + SN_MEMORY, i->memory);
	put_le64(p + SN_STATE_BYTES, i->state_bytes);
	put_le64(p + SN_RAM_CHUNKS, i->ram_chunks);
	put_le64(p + SN_RAM_RAW, i->ram_bytes);
	put_le64(p + SN_RAM_BLOCKS, i->stored_bytes / STORE_BLOCK);
	memcpy(p + SN_STRINGS, i->name, name);
	memcpy(p + SN_STRINGS + name, i->vm, vm);
	return (uint32_t)(SN_STRINGS + name + vm);
}

int catalog_decode(const uint8_t *p, uint32_t len, struct snap_info *o, struct errmsg *e)
{
	uint32_t name, vm;

	if (len < SN_STRINGS)
		return err_set(e, ERR_CORRUPT, "catalog record: too short");
	name = get_le16(p + SN_NAME_LEN);
	vm = get_le16(p + SN_VM_LEN);
	if (get_le16(p + SN_VERSION) != 1 || get_le32(p + SN_FLAGS))
		return err_set(e, ERR_UNSUPPORTED, "catalog record: version %u, flags 0x%x",
		    get_le16(p + SN_VERSION), get_le32(p + SN_FLAGS));
	if (name > STORE_NAME_MAX || vm == 0 || vm > STORE_NAME_MAX ||
	    len != SN_STRINGS + name + vm)
		return err_set(e, ERR_CORRUPT, "catalog record: impossible lengths");
	*o = (struct snap_info){
	    .format = get_le32(p + SN_FORMAT),
	    .ndisks = get_le16(p + SN_DISKS),
	    .created = get_le64(p + SN_CREATED),
	    .state_object = get_le64(p + SN_STATE),
	    .ram_object = get_le64(p + SN_RAM),
	    .memory = get_le64(p + SN_MEMORY),
	    .state_bytes = get_le64(p + SN_STATE_BYTES),
	    .ram_chunks = get_le64(p + SN_RAM_CHUNKS),
	    .ram_bytes = get_le64(p + SN_RAM_RAW),
	};
	memcpy(o->id, p + SN_ID, 16);
	memcpy(o->parent, p + SN_PARENT, 16);
	memcpy(o->name, p + SN_STRINGS, name);
	memcpy(o->vm, p + SN_STRINGS + name, vm);
	if (snap_name_check(o->name, NULL) || strlen(o->name) != name || strlen(o->vm) != vm)
		return err_set(e, ERR_CORRUPT, "catalog record: impossible name");
	for (const char *c = o->vm; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			return err_set(
			    e, ERR_CORRUPT, "snapshot '%s': impossible VM name", o->name);
	if (o->ndisks > SNAP_DISKS_MAX)
		return err_set(e, ERR_CORRUPT, "snapshot '%s': %u disks", o->name, o->ndisks);
	if (get_le64(p + SN_RAM_BLOCKS) > STORE_BLOCKS_MAX)
		return err_set(e, ERR_CORRUPT, "snapshot '%s': impossible size", o->name);
	o->stored_bytes = get_le64(p + SN_RAM_BLOCKS) * STORE_BLOCK;
	return OK;
}

struct name_search {
	const char *name;
	struct snap_info *info;
};

static int name_match(void *ctx, const uint8_t *data, uint32_t len, struct errmsg *e)
{
	struct name_search *f = ctx;
	int err = catalog_decode(data, len, f->info, e);

	if (err)
		return err;
	return strcmp(f->info->name, f->name) == 0 ? OK : ERR_NOENT;
}

int catalog_find(struct store *s, const char *name, struct store_key *key, struct snap_info *info,
    struct errmsg *e)
{
	struct name_search f = {name, info};

	*key = (struct store_key){OBJ_CATALOG, REC_SNAPSHOT, name_hash(name)};
	cache_trim(s);
	return tree_find_hashed(s, key, name_match, &f, e);
}

int disk_record_add(
    struct store *s, uint64_t state_object, unsigned i, const struct snap_disk *d, struct errmsg *e)
{
	struct store_key key = {state_object, REC_DISK, i};
	uint8_t rec[DK_NAME + STORE_NAME_MAX] = {0};
	size_t name = strnlen(d->name, STORE_NAME_MAX);
	int err = store_may_change(s, false, e);

	if (err)
		return err;
	memcpy(rec + DK_GUID, d->guid, 16);
	put_le64(rec + DK_EPOCH, d->epoch);
	put_le64(rec + DK_OVERLAY, d->overlay);
	put_le16(rec + DK_NAME_LEN, (uint16_t)name);
	memcpy(rec + DK_NAME, d->name, name);
	err = d->overlay ? store_object_link(s, d->overlay, e) : OK;
	if (err)
		return err;
	err = tree_insert(s, &key, rec, (uint32_t)(DK_NAME + name), e);
	if (err && d->overlay) /* its count is one too high now */
		s->dead = true;
	return err;
}

int snap_disk(struct snap *sn, unsigned i, struct snap_disk *out, struct errmsg *e)
{
	struct store_key key = {sn->info.state_object, REC_DISK, i};
	const uint8_t *p;
	uint32_t len, name;
	int err;

	cache_trim(sn->store);
	err = tree_get(sn->store, &key, &p, &len, e);
	if (err == ERR_NOENT)
		return err_set(
		    e, ERR_CORRUPT, "snapshot '%s': disk record %u: missing", sn->info.name, i);
	if (err)
		return err_prefix(e, err, "snapshot '%s': disk record %u", sn->info.name, i);
	name = len >= DK_NAME ? get_le16(p + DK_NAME_LEN) : 0;
	if (len < DK_NAME || name > STORE_NAME_MAX || len != DK_NAME + name ||
	    get_le32(p + DK_FLAGS))
		return err_set(
		    e, ERR_CORRUPT, "snapshot '%s': disk record %u: impossible", sn->info.name, i);
	*out = (struct snap_disk){
	    .epoch = get_le64(p + DK_EPOCH), .overlay = get_le64(p + DK_OVERLAY)};
	memcpy(out->guid, p + DK_GUID, 16);
	memcpy(out->name, p + DK_NAME, name);
	for (const char *c = out->name; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			return err_set(e, ERR_CORRUPT,
			    "snapshot '%s': disk record %u: impossible name", sn->info.name, i);
	return OK;
}

/* --- appearing and going ------------------------------------------------------------- */

bool catalog_is_open(struct store *s, uint64_t state_object)
{
	struct list *l;

	LIST_FOREACH(l, &s->open_snaps)
	if (LIST_ENTRY(l, struct snap, link)->info.state_object == state_object)
		return true;
	return false;
}

/* Takes a record out of the catalog, in the running transaction. */
static int unlink_snapshot(struct store *s, const struct store_key *key,
    const struct snap_info *info, bool orphan[2], struct errmsg *e)
{
	int err = store_object_unlink(s, info->state_object, &orphan[0], e);

	if (!err)
		err = store_object_unlink(s, info->ram_object, &orphan[1], e);
	return err ? err : tree_delete(s, key, e);
}

/*
 * A step of several changes, or its commit, failed: what stands in memory is neither what was
 * nor what is wanted, and nobody may commit it. Such failures are of the disk or of memory.
 */
static int half_done(struct store *s, int err)
{
	if (err)
		s->dead = true;
	return err;
}

bool catalog_reads(struct store *s, uint64_t id)
{
	struct list *l;

	LIST_FOREACH(l, &s->open_snaps)
	{
		const struct snap *sn = LIST_ENTRY(l, struct snap, link);

		if (sn->info.state_object == id)
			return true;
		for (unsigned i = 0; i < sn->ram.nlevels; i++)
			if (sn->ram.level[i].object == id)
				return true;
	}
	return false;
}

/*
 * The objects of a snapshot that has just gone from the catalog. What somebody still reads (a
 * machine that is restored on demand, or a child of it) goes when the last reader is done, or,
 * after a power cut, at the next opening.
 */
static int remove_orphans(
    struct store *s, const struct snap_info *info, const bool orphan[2], struct errmsg *e)
{
	int err = orphan[0] ? store_object_delete(s, info->state_object, e) : OK, other;

	other = orphan[1] ? store_object_delete(s, info->ram_object, err ? NULL : e) : OK;
	return err ? err : other;
}

int catalog_publish(struct store *s, const struct snap_info *info, bool replace,
    const uint8_t *freeze, struct errmsg *e)
{
	uint8_t rec[SN_STRINGS + 2 * STORE_NAME_MAX];
	uint32_t len = catalog_encode(info, rec);
	struct snap_info old = {.ndisks = 0};
	struct store_key key;
	bool orphan[2] = {false, false}, replaces;
	int err = store_may_change(s, false, e);

	if (err)
		return err;
	err = catalog_find(s, info->name, &key, &old, e);
	replaces = err == OK;
	if (err && err != ERR_NOENT)
		return err;
	if (replaces && !replace)
		return err_set(e, ERR_EXIST, "snapshot '%s' exists already", info->name);
	err = replaces ? unlink_snapshot(s, &key, &old, orphan, e) : OK;
	if (!err)
		err = store_object_link(s, info->state_object, e);
	if (!err)
		err = store_object_link(s, info->ram_object, e);
	if (!err)
		err = tree_insert(s, &key, rec, len, e);
	if (!err && freeze)
		err = store_freeze(s, freeze, e);
	if (!err)
		err = store_commit(s, e);
	err = half_done(s, err);
	/* From here on the new one is whole; room that cannot be regained now is at the next
	 * opening. */
	if (!err)
		(void)remove_orphans(s, &old, orphan, NULL);
	return err;
}

int snap_delete(struct store *s, const char *name, struct errmsg *e)
{
	struct snap_info info;
	struct store_key key;
	bool orphan[2];
	int err = store_may_change(s, true, e);

	if (err)
		return err;
	err = catalog_find(s, name, &key, &info, e);
	if (err == ERR_NOENT)
		return err_set(e, err, "snapshot '%s': not found", name);
	if (err)
		return err;
	err = unlink_snapshot(s, &key, &info, orphan, e);
	if (!err)
		err = store_commit(s, e);
	if (half_done(s, err))
		return err_prefix(e, err, "snapshot '%s'", name);
	err = remove_orphans(s, &info, orphan, e);
	return err ? err_prefix(e, err, "snapshot '%s' deleted, but its room is not regained", name)
		   : OK;
}

int catalog_change_ram(
    struct store *s, const struct snap_info *info, uint64_t old, struct errmsg *e)
{
	uint8_t rec[SN_STRINGS + 2 * STORE_NAME_MAX];
	uint32_t len = catalog_encode(info, rec);
	struct snap_info now;
	struct store_key key;
	bool orphan = false;
	int err = store_may_change(s, false, e);

	if (!err)
		err = catalog_find(s, info->name, &key, &now, e);
	if (!err && now.ram_object != old)
		err = err_set(e, ERR_STATE, "has changed meanwhile");
	if (err)
		return err;
	err = store_object_link(s, info->ram_object, e);
	if (!err)
		err = tree_update(s, &key, rec, len, e);
	if (!err)
		err = store_object_unlink(s, old, &orphan, e);
	if (!err)
		err = store_commit(s, e);
	err = half_done(s, err);
	if (!err && orphan) /* room that cannot be regained now is at the next opening */
		(void)store_object_delete(s, old, NULL);
	return err;
}

/* --- listing ------------------------------------------------------------------------- */

struct list_entry {
	uint64_t created, key;
};

static void sort_entries(struct list_entry *a, size_t n)
{
	/* heap sort: no recursion, no memory, no bad case that a damaged store could bring about */
	for (size_t i = n / 2, end = n; end > 1;) {
		size_t root, child;
		struct list_entry x;

		if (i) {
			x = a[--i];
		} else {
			x = a[--end];
			a[end] = a[0];
		}
		for (root = i; (child = 2 * root + 1) < end; root = child) {
			if (child + 1 < end && a[child + 1].created > a[child].created)
				child++;
			if (a[child].created <= x.created)
				break;
			a[root] = a[child];
		}
		a[root] = x;
	}
}

/* The next record of the catalog at or behind *offset. */
static int catalog_next(struct store *s, uint64_t *offset, struct snap_info *info, struct errmsg *e)
{
	struct store_key key = {OBJ_CATALOG, REC_SNAPSHOT, *offset};
	const uint8_t *data;
	uint32_t len;
	int err;

	cache_trim(s);
	err = tree_seek(s, &key, &data, &len, e);
	if (!err && (key.object != OBJ_CATALOG || key.type != REC_SNAPSHOT))
		err = ERR_NOENT;
	if (err)
		return err;
	*offset = key.offset;
	/* the caller goes on after a record that cannot be read */
	return catalog_decode(data, len, info, e) ? ERR_STATE : OK;
}

int catalog_find_ram(struct store *s, uint64_t object, struct snap_info *info)
{
	uint64_t at = 0;
	int err;

	while ((err = catalog_next(s, &at, info, NULL)) == OK || err == ERR_STATE) {
		if (!err && info->ram_object == object)
			return OK;
		if (at++ == UINT64_MAX)
			break;
	}
	return ERR_NOENT;
}

int snap_list(struct store *s,
    void (*fn)(void *ctx, const struct snap_info *info, const struct errmsg *why), void *ctx,
    struct errmsg *e)
{
	struct list_entry *list = NULL;
	size_t n = 0, cap = 0;
	struct snap_info info;
	struct errmsg why;
	uint64_t at = 0;
	int err;

	while ((err = catalog_next(s, &at, &info, &why)) == OK || err == ERR_STATE) {
		if (err == ERR_STATE) {
			fn(ctx, NULL, &why);
		} else {
			if (n == cap) {
				size_t more = cap ? cap * 2 : 64;
				void *p =
				    heap_grow(list, cap * sizeof(*list), more * sizeof(*list));

				if (!p) {
					heap_free(list);
					return err_set(e, ERR_NOMEM, "out of memory");
				}
				list = p;
				cap = more;
			}
			list[n++] = (struct list_entry){info.created, at};
		}
		if (at++ == UINT64_MAX)
			break;
	}
	if (err && err != ERR_NOENT && err != ERR_STATE)
		fn(ctx, NULL, &why);
	sort_entries(list, n);
	for (size_t i = 0; i < n; i++) {
		at = list[i].key;
		err = catalog_next(s, &at, &info, &why);
		if (!err)
			fn(ctx, &info, NULL);
	}
	heap_free(list);
	return OK;
}
