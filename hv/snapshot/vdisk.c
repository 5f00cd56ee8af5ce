/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of disks in the store: its records, and the steps that move a disk between layers. */
#include "hv/snapshot/vdisk.h"

#include <string.h>

#include "hv/lib/fmt.h"
#include "hv/snapshot/disk_object.h"
#include "hv/snapshot/snap_int.h"

/* --- names --------------------------------------------------------------------------- */

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int vdisk_name_check(const char *name, struct errmsg *e)
{
	size_t len = strnlen(name, VDISK_NAME_MAX + 1);

	if (len == 0 || len > VDISK_NAME_MAX)
		return err_set(e, ERR_INVAL, "disk name: 1 to %d characters", VDISK_NAME_MAX);
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(name[i]) && (i == 0 || !strchr("._-", name[i])))
			return err_set(
			    e, ERR_INVAL, "disk name: letters, digits, and (not first) . _ - only");
	return OK;
}

static bool printable(const char *p)
{
	for (; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			return false;
	return true;
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

static uint32_t vdisk_encode(const struct vdisk *v, uint8_t *p)
{
	size_t name = strlen(v->name), base = strlen(v->base.name);

	memset(p, 0, VD_STRINGS);
	put_le16(p + VD_VERSION, 1);
	put_le16(p + VD_NAME_LEN, (uint16_t)name);
	put_le16(p + VD_BASE_LEN, (uint16_t)base);
	put_le16(p + VD_BASE_KIND, (uint16_t)v->base.kind);
	put_le64(p + VD_TOP, v->top);
	put_le64(p + VD_SIZE, v->size);
	memcpy(p + VD_BASE_GUID, v->base.guid, 16);
	put_le64(p + VD_BASE_EPOCH, v->base.epoch);
	put_le64(p + VD_BASE_SIZE, v->base.size);
	put_le32(p + VD_BASE_CRC, v->base.crc);
	memcpy(p + VD_STRINGS, v->name, name);
	memcpy(p + VD_STRINGS + name, v->base.name, base);
	return (uint32_t)(VD_STRINGS + name + base);
}

static bool size_ok(uint64_t size)
{
	return size && size % 512 == 0 && size <= DISK_CHUNKS_MAX * STORE_CHUNK;
}

static const char *vdisk_fault(const struct vdisk *v)
{
	if (vdisk_name_check(v->name, NULL) || !printable(v->base.name))
		return "impossible name";
	if (!size_ok(v->size))
		return "impossible size";
	if (v->base.kind > VDISK_BASE_PAYLOAD || (v->base.kind && !size_ok(v->base.size)))
		return "impossible base";
	return NULL;
}

int vdisk_decode(const uint8_t *p, uint32_t len, struct vdisk *v, struct errmsg *e)
{
	uint32_t name, base;
	const char *why = NULL;

	if (len < VD_STRINGS)
		return err_set(e, ERR_CORRUPT, "disk record: too short");
	name = get_le16(p + VD_NAME_LEN);
	base = get_le16(p + VD_BASE_LEN);
	if (get_le16(p + VD_VERSION) != 1 || get_le32(p + VD_FLAGS))
		return err_set(e, ERR_UNSUPPORTED, "disk record: version %u, flags 0x%x",
		    get_le16(p + VD_VERSION), get_le32(p + VD_FLAGS));
	if (name > VDISK_NAME_MAX || base > VDISK_BASE_NAME_MAX || len != VD_STRINGS + name + base)
		return err_set(e, ERR_CORRUPT, "disk record: impossible lengths");
	*v = (struct vdisk){
	    .size = get_le64(p + VD_SIZE),
	    .top = get_le64(p + VD_TOP),
	    .base = {.kind = get_le16(p + VD_BASE_KIND),
		.epoch = get_le64(p + VD_BASE_EPOCH),
		.size = get_le64(p + VD_BASE_SIZE),
		.crc = get_le32(p + VD_BASE_CRC)},
	};
	memcpy(v->base.guid, p + VD_BASE_GUID, 16);
	memcpy(v->name, p + VD_STRINGS, name);
	memcpy(v->base.name, p + VD_STRINGS + name, base);
	if (strlen(v->name) != name || strlen(v->base.name) != base)
		why = "impossible name";
	if (!why)
		why = vdisk_fault(v);
	return why ? err_set(e, ERR_CORRUPT, "disk record: %s", why) : OK;
}

struct disk_search {
	const char *name;
	struct vdisk *out;
};

static int disk_match(void *ctx, const uint8_t *data, uint32_t len, struct errmsg *e)
{
	struct disk_search *f = ctx;
	int err = vdisk_decode(data, len, f->out, e);

	if (err)
		return err;
	return strcmp(f->out->name, f->name) == 0 ? OK : ERR_NOENT;
}

/* The record of a name. ERR_NOENT (no message): *key is where it would go. */
static int disk_find(
    struct store *s, const char *name, struct store_key *key, struct vdisk *out, struct errmsg *e)
{
	struct disk_search f = {name, out};

	*key = (struct store_key){OBJ_DISKS, REC_VDISK, name_hash(name)};
	cache_trim(s);
	return tree_find_hashed(s, key, disk_match, &f, e);
}

int vdisk_get(struct store *s, const char *name, struct vdisk *out, struct errmsg *e)
{
	struct store_key key;
	int err = vdisk_name_check(name, e);

	if (!err)
		err = disk_find(s, name, &key, out, e);
	if (err == ERR_NOENT)
		return err_set(e, err, "disk '%s': not found", name);
	return err ? err_prefix(e, err, "disk '%s'", name) : OK;
}

int vdisk_put(struct store *s, const struct vdisk *v, struct errmsg *e)
{
	uint8_t rec[VD_STRINGS + VDISK_NAME_MAX + VDISK_BASE_NAME_MAX];
	uint32_t len = vdisk_encode(v, rec);
	struct store_key key;
	struct vdisk old;
	int err = store_may_change(s, false, e);

	if (!err)
		err = disk_find(s, v->name, &key, &old, e);
	if (err)
		return err == ERR_NOENT ? err_set(e, err, "disk '%s': not found", v->name) : err;
	if (strlen(old.base.name) == strlen(v->base.name))
		return tree_update(s, &key, rec, len, e);
	err = tree_delete(s, &key, e);
	if (!err)
		err = tree_insert(s, &key, rec, len, e);
	if (err)
		s->dead = true;
	return err;
}

int vdisk_next(struct store *s, uint64_t *cursor, struct vdisk *out, struct errmsg *e)
{
	struct store_key key = {OBJ_DISKS, REC_VDISK, *cursor};
	const uint8_t *data;
	uint32_t len;
	int err;

	cache_trim(s);
	err = tree_seek(s, &key, &data, &len, e);
	if (!err && (key.object != OBJ_DISKS || key.type != REC_VDISK))
		err = ERR_NOENT;
	if (err)
		return err;
	*cursor = key.offset + 1;
	if (key.offset == UINT64_MAX)
		return ERR_NOENT; /* no name has this hash */
	return vdisk_decode(data, len, out, e);
}

int vdisk_on_partition(
    struct store *s, const uint8_t guid[16], char out[VDISK_NAME_MAX + 1], struct errmsg *e)
{
	uint64_t at = 0;
	struct vdisk v;
	int err;

	out[0] = '\0';
	while ((err = vdisk_next(s, &at, &v, e)) == OK) {
		if (v.base.kind == VDISK_BASE_PARTITION && memcmp(v.base.guid, guid, 16) == 0) {
			str_copy(out, VDISK_NAME_MAX + 1, v.name);
			return OK;
		}
	}
	return err == ERR_NOENT ? OK : err;
}

/* --- appearing and going ------------------------------------------------------------- */

/* A step of several changes failed between two of them: nobody may commit what stands in memory. */
static int half_done(struct store *s, int err)
{
	if (err)
		s->dead = true;
	return err;
}

/* What v says is possible, and the layer one that never changes. */
static int check_new(struct store *s, const struct vdisk *v, uint64_t frozen, struct errmsg *e)
{
	struct store_object_info o;
	const char *why;
	int err = vdisk_name_check(v->name, e);

	if (err)
		return err;
	why = vdisk_fault(v);
	if (why)
		return err_set(e, ERR_INVAL, "disk '%s': %s", v->name, why);
	err = frozen ? disk_object_get(s, frozen, &o, e) : OK;
	if (!err && frozen && !(o.flags & OBJ_COMPLETE))
		err =
		    err_set(e, ERR_CORRUPT, "object %llu: not frozen", (unsigned long long)frozen);
	return err ? err_prefix(e, err, "disk '%s'", v->name) : OK;
}

int vdisk_add_over(struct store *s, struct vdisk *v, uint64_t frozen, struct errmsg *e)
{
	uint8_t rec[VD_STRINGS + VDISK_NAME_MAX + VDISK_BASE_NAME_MAX];
	struct store_key key;
	struct vdisk old;
	int err = check_new(s, v, frozen, e);

	if (err)
		return err;
	err = disk_find(s, v->name, &key, &old, e);
	if (err == OK)
		return err_set(e, ERR_EXIST, "disk '%s' exists already", v->name);
	if (err != ERR_NOENT)
		return err_prefix(e, err, "disk '%s'", v->name);
	err = disk_object_create(s, frozen, v->size, &v->top, e);
	if (!err)
		err = store_object_link(s, v->top, e);
	if (!err)
		err = tree_insert(s, &key, rec, vdisk_encode(v, rec), e);
	return half_done(s, err) ? err_prefix(e, err, "disk '%s'", v->name) : OK;
}

int vdisk_create_over(struct store *s, struct vdisk *v, uint64_t frozen, struct errmsg *e)
{
	int err = disk_make_room(s, 1, 2, e);

	if (err)
		return err_prefix(e, err, "disk '%s'", v->name);
	err = vdisk_add_over(s, v, frozen, e);
	if (err)
		return err;
	err = store_commit(s, e);
	return half_done(s, err) ? err_prefix(e, err, "disk '%s'", v->name) : OK;
}

int vdisk_create(struct store *s, struct vdisk *v, struct errmsg *e)
{
	return vdisk_create_over(s, v, 0, e);
}

int vdisk_delete(struct store *s, const char *name, struct errmsg *e)
{
	struct store_key key;
	struct vdisk v;
	bool orphan = false;
	int err = store_may_change(s, true, e);

	if (!err)
		err = disk_find(s, name, &key, &v, e);
	if (err == ERR_NOENT)
		return err_set(e, err, "disk '%s': not found", name);
	if (err)
		return err_prefix(e, err, "disk '%s'", name);
	err = store_object_unlink(s, v.top, &orphan, e);
	if (!err)
		err = tree_delete(s, &key, e);
	if (!err)
		err = store_commit(s, e);
	if (half_done(s, err))
		return err_prefix(e, err, "disk '%s'", name);
	err = orphan ? store_object_delete(s, v.top, e) : OK;
	return err ? err_prefix(e, err, "disk '%s' deleted, but its room is not regained", name)
		   : OK;
}

/* --- layers -------------------------------------------------------------------------- */

/* An empty layer over parent (0: over the base alone) is written from now on, and the disk lets go
 * of the one that was; *last: nobody else refers to that. */
static int new_top(struct store *s, struct vdisk *v, uint64_t parent, bool *last, struct errmsg *e)
{
	uint64_t fresh, old = v->top;
	int err = disk_object_create(s, parent, v->size, &fresh, e); /* takes a link on parent */

	if (!err)
		err = store_object_link(s, fresh, e);
	if (!err)
		err = store_object_unlink(s, old, last, e);
	if (err)
		return err;
	v->top = fresh;
	return vdisk_put(s, v, e);
}

int vdisk_freeze(struct store *s, struct vdisk *v, uint64_t *frozen, struct errmsg *e)
{
	struct store_object_info o;
	uint64_t old = v->top;
	unsigned depth = 0;
	bool orphan = false;
	int err = disk_object_get(s, old, &o, e);

	if (!err && o.extents == 0 && o.parent) {
		*frozen = o.parent;
		return OK;
	}
	if (!err)
		err = store_object_depth(s, old, &depth, e);
	if (!err && depth >= STORE_CHAIN_MAX)
		err = err_set(e, ERR_RANGE, "%u layers, which are the most: flatten it", depth);
	if (!err)
		err = disk_make_room(s, 1, 2, e);
	if (err)
		return err_prefix(e, err, "disk '%s'", v->name);
	o.flags |= OBJ_COMPLETE;
	err = store_object_set(s, old, &o, e);
	if (!err)
		err = new_top(s, v, old, &orphan, e);
	if (half_done(s, err))
		return err_prefix(e, err, "disk '%s'", v->name);
	*frozen = old;
	return OK;
}

int vdisk_set_content(
    struct store *s, struct vdisk *v, uint64_t frozen, uint64_t *orphan, struct errmsg *e)
{
	struct store_object_info o;
	uint64_t old = v->top;
	bool last = false;
	int err = frozen ? disk_object_get(s, frozen, &o, e) : OK;

	*orphan = 0;
	if (!err && frozen && !(o.flags & OBJ_COMPLETE))
		err =
		    err_set(e, ERR_CORRUPT, "object %llu: not frozen", (unsigned long long)frozen);
	if (!err)
		err = disk_make_room(s, 1, 2, e);
	if (err)
		return err_prefix(e, err, "disk '%s'", v->name);
	err = new_top(s, v, frozen, &last, e);
	if (half_done(s, err))
		return err_prefix(e, err, "disk '%s'", v->name);
	*orphan = last ? old : 0;
	return OK;
}
