/* SPDX-License-Identifier: BSD-2-Clause */
/* Saving and reading one snapshot: the state stream, the RAM stream, and the record over both. */
#include "hv/snapshot/snapshot.h"

#include <string.h>

#include "hv/lib/crc32c.h"
#include "hv/lib/fmt.h"
#include "hv/lib/state.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/disk_object.h"
#include "hv/snapshot/snap_int.h"

/* --- saving -------------------------------------------------------------------------- */

struct snap_writer {
	struct store *store;
	struct snap_info info;
	bool replace, has_state, freezes;
	uint8_t freeze[16]; /* the machine's UUID */
	struct stream_writer state, ram;
};

void snap_writer_abort(struct snap_writer *w)
{
	if (!w)
		return;
	stream_abort(&w->state);
	stream_abort(&w->ram);
	heap_free(w);
}

/* What the new snapshot is based on, if it is: of a machine with as much memory. */
static int find_parent(
    struct store *s, const struct snap_params *p, struct snap_info *parent, struct errmsg *e)
{
	struct store_key key;
	int err;

	*parent = (struct snap_info){.ram_object = 0};
	if (!p->parent_name)
		return OK;
	err = catalog_find(s, p->parent_name, &key, parent, e);
	if (err == ERR_NOENT)
		err_set(e, err, "not found");
	if (!err && parent->memory != p->memory)
		err = err_set(e, ERR_STATE, "is of %llu KiB of memory instead of %llu",
		    (unsigned long long)parent->memory / 1024,
		    (unsigned long long)p->memory / 1024);
	return err ? err_prefix(e, err, "snapshot '%s': parent '%s'", p->name, p->parent_name) : OK;
}

static int check_params(struct store *s, const struct snap_params *p, struct errmsg *e)
{
	struct snap_info old;
	struct store_key key;
	int err = snap_name_check(p->name, e);

	if (err)
		return err;
	if (!p->vm[0] || strnlen(p->vm, STORE_NAME_MAX + 1) > STORE_NAME_MAX)
		return err_set(e, ERR_INVAL, "VM name: 1 to %d characters", STORE_NAME_MAX);
	err = catalog_find(s, p->name, &key, &old, e);
	if (err == OK && !p->replace)
		return err_set(e, ERR_EXIST, "snapshot '%s' exists already", p->name);
	return err == ERR_NOENT ? OK : err;
}

int snap_writer_begin(
    struct store *s, const struct snap_params *p, struct snap_writer **out, struct errmsg *e)
{
	struct snap_info parent;
	struct snap_writer *w;
	int err = check_params(s, p, e);

	*out = NULL;
	if (!err)
		err = find_parent(s, p, &parent, e);
	if (err)
		return err;
	w = heap_zalloc(sizeof(*w));
	if (!w)
		return err_set(e, ERR_NOMEM, "out of memory");
	w->store = s;
	w->replace = p->replace;
	w->freezes = p->freeze != NULL;
	if (p->freeze)
		memcpy(w->freeze, p->freeze, 16);
	w->info =
	    (struct snap_info){.created = p->created, .memory = p->memory, .format = SNAP_FORMAT};
	memcpy(w->info.id, p->id, 16);
	memcpy(w->info.parent, parent.id, 16);
	str_copy(w->info.name, sizeof(w->info.name), p->name);
	str_copy(w->info.vm, sizeof(w->info.vm), p->vm);
	err = stream_begin(&w->state, s, KIND_STATE, 0, e);
	if (!err) {
		err = stream_begin(&w->ram, s, KIND_RAM, parent.ram_object, e);
		if (err && p->parent_name)
			err_prefix(e, err, "snapshot '%s': parent '%s'", p->name, p->parent_name);
	}
	if (err) {
		snap_writer_abort(w);
		return err;
	}
	*out = w;
	return OK;
}

int snap_writer_state(struct snap_writer *w, const void *tree, size_t size, struct errmsg *e)
{
	int err;

	if (w->has_state)
		return err_set(e, ERR_STATE, "snapshot '%s': state written twice", w->info.name);
	if (size == 0 || size > STATE_TREE_MAX)
		return err_set(
		    e, ERR_RANGE, "snapshot '%s': state of %zu bytes", w->info.name, size);
	w->has_state = true;
	w->state.info.content_crc = crc32c(0, tree, size);
	w->info.state_bytes = size;
	err = stream_put(&w->state, 0, tree, size, e);
	if (!err)
		err = stream_finish(&w->state, size, e);
	return err ? err_prefix(e, err, "snapshot '%s': state", w->info.name) : OK;
}

int snap_writer_ram(
    struct snap_writer *w, gpa_t addr, const void *data, uint64_t len, struct errmsg *e)
{
	int err = stream_put(&w->ram, addr.a, data, len, e);

	return err ? err_prefix(e, err, "snapshot '%s': ram", w->info.name) : OK;
}

int snap_writer_disk(struct snap_writer *w, const struct snap_disk *d, struct errmsg *e)
{
	int err;

	if (w->info.ndisks == SNAP_DISKS_MAX)
		return err_set(e, ERR_RANGE, "snapshot '%s': too many disks", w->info.name);
	err = disk_record_add(w->store, w->state.object, w->info.ndisks, d, e);
	if (!err)
		w->info.ndisks++;
	return err ? err_prefix(e, err, "snapshot '%s': disk '%s'", w->info.name, d->name) : OK;
}

int snap_writer_set(struct snap_writer *w, const gpa_t *addr, unsigned n, struct errmsg *e)
{
	int err = working_set_add(w->store, w->state.object, addr, n, e);

	return err ? err_prefix(e, err, "snapshot '%s': working set", w->info.name) : OK;
}

void snap_writer_progress(const struct snap_writer *w, uint64_t *ram_bytes, uint64_t *stored_bytes)
{
	*ram_bytes = w->ram.info.raw;
	*stored_bytes = w->ram.info.blocks * STORE_BLOCK;
}

void snap_set_ram(struct snap_info *info, const struct stream_writer *ram)
{
	info->ram_object = ram->object;
	info->ram_chunks = ram->info.extents;
	info->ram_bytes = ram->info.raw;
	info->stored_bytes = ram->info.blocks * STORE_BLOCK;
	info->shared_bytes = ram->shared * STORE_BLOCK;
	if (!ram->info.parent)
		memset(info->parent, 0, sizeof(info->parent));
}

int snap_writer_commit(struct snap_writer *w, struct snap_info *info, struct errmsg *e)
{
	int err = OK;

	if (!w->has_state)
		err = err_set(e, ERR_STATE, "no state written");
	if (!err)
		err = stream_finish(&w->ram, w->ram.end, e);
	if (!err) {
		w->info.state_object = w->state.object;
		snap_set_ram(&w->info, &w->ram);
		err = catalog_publish(
		    w->store, &w->info, w->replace, w->freezes ? w->freeze : NULL, e);
	}
	if (err) {
		err_prefix(e, err, "snapshot '%s'", w->info.name);
		snap_writer_abort(w);
		return err;
	}
	if (info)
		*info = w->info;
	stream_end(&w->state);
	stream_end(&w->ram);
	heap_free(w);
	return OK;
}

/* --- reading ------------------------------------------------------------------------- */

void snap_close(struct snap *sn)
{
	if (!sn)
		return;
	stream_close(&sn->state);
	stream_close(&sn->ram);
	list_remove(&sn->link);
	orphans_retry(sn->store);
	heap_free(sn);
}

const struct snap_info *snap_info(const struct snap *sn)
{
	return &sn->info;
}

/* What the chain may give out at most: no more than there is memory, if it tells the truth. */
static void sum_levels(struct snap *sn)
{
	uint64_t sum = 0, blocks = 0;

	for (unsigned i = 0; i < sn->ram.nlevels; i++) {
		sum += MIN(sn->ram.level[i].info.raw, sn->info.memory);
		blocks += MIN(sn->ram.level[i].info.blocks, STORE_BLOCKS_MAX);
	}
	sn->info.levels = sn->ram.nlevels;
	sn->info.total_ram_bytes = MIN(sum, sn->info.memory);
	sn->info.total_stored_bytes = blocks * STORE_BLOCK;
}

/* The record and the objects' own records say the same. */
static int check_objects(struct snap *sn, struct errmsg *e)
{
	const struct snap_info *i = &sn->info;

	if (i->format != SNAP_FORMAT)
		return err_set(e, ERR_UNSUPPORTED, "format %u: made by a newer release", i->format);
	if (sn->state.info.size != i->state_bytes || i->state_bytes == 0 ||
	    i->state_bytes > STATE_TREE_MAX)
		return err_set(
		    e, ERR_CORRUPT, "state of %llu bytes", (unsigned long long)sn->state.info.size);
	if (sn->ram.info.extents != i->ram_chunks || sn->ram.info.raw != i->ram_bytes ||
	    sn->ram.info.blocks * STORE_BLOCK != i->stored_bytes)
		return err_set(e, ERR_CORRUPT, "catalog record and RAM disagree");
	return OK;
}

int snap_open(struct store *s, const char *name, struct snap **out, struct errmsg *e)
{
	struct snap *sn = heap_zalloc(sizeof(*sn));
	struct store_key key;
	int err;

	*out = NULL;
	if (!sn)
		return err_set(e, ERR_NOMEM, "out of memory");
	sn->store = s;
	list_init(&sn->link);
	err = catalog_find(s, name, &key, &sn->info, e);
	if (err == ERR_NOENT)
		err_set(e, err, "not found");
	if (!err)
		err = stream_open(&sn->state, s, sn->info.state_object, KIND_STATE, e);
	if (!err)
		err = stream_open(&sn->ram, s, sn->info.ram_object, KIND_RAM, e);
	if (!err)
		err = check_objects(sn, e);
	if (err) {
		snap_close(sn);
		return err_prefix(e, err, "snapshot '%s'", name);
	}
	sum_levels(sn);
	list_push_back(&s->open_snaps, &sn->link);
	*out = sn;
	return OK;
}

/* The whole state stream into a buffer, whose size the record gives. */
static int read_state(struct snap *sn, uint8_t *buf, uint8_t *chunk, struct errmsg *e)
{
	uint64_t addr, size = sn->info.state_bytes;
	uint32_t len;
	int err;

	stream_rewind(&sn->state);
	while ((err = stream_next(&sn->state, &addr, chunk, &len, e)) == OK) {
		if (!range_in(addr, len, size))
			return err_set(e, ERR_CORRUPT, "chunk 0x%llx: behind the end",
			    (unsigned long long)addr);
		memcpy(buf + addr, chunk, len);
	}
	if (err != ERR_NOENT)
		return err;
	if (crc32c(0, buf, size) != sn->state.info.content_crc)
		return err_set(e, ERR_CORRUPT, "checksum wrong");
	return sr_check_tree(buf, size, e);
}

int snap_state(struct snap *sn, void **fdt, size_t *size, struct errmsg *e)
{
	uint8_t *chunk = heap_alloc(STORE_CHUNK), *buf = heap_zalloc(sn->info.state_bytes);
	int err =
	    chunk && buf ? read_state(sn, buf, chunk, e) : err_set(e, ERR_NOMEM, "out of memory");

	heap_free(chunk);
	if (err) {
		heap_free(buf);
		return err_prefix(e, err, "snapshot '%s': state", sn->info.name);
	}
	*fdt = buf;
	*size = sn->info.state_bytes;
	return OK;
}

static int ram_error(struct snap *sn, int err, struct errmsg *e)
{
	return err && err != ERR_NOENT ? err_prefix(e, err, "snapshot '%s': ram", sn->info.name)
				       : err;
}

int snap_full_size(struct snap *sn, uint64_t *bytes, uint64_t *pieces, struct errmsg *e)
{
	return ram_error(sn, stream_flat_size(&sn->ram, bytes, pieces, e), e);
}

int snap_ram_check(struct snap *sn,
    int (*fn)(void *ctx, uint64_t addr, uint64_t len, struct errmsg *e), void *ctx,
    struct errmsg *e)
{
	return ram_error(sn, stream_check_index(&sn->ram, fn, ctx, e), e);
}

int snap_ram_next(struct snap *sn, gpa_t *addr, void *buf, uint32_t *len, struct errmsg *e)
{
	return ram_error(sn, stream_next(&sn->ram, &addr->a, buf, len, e), e);
}

int snap_ram_read(struct snap *sn, gpa_t addr, void *buf, struct errmsg *e)
{
	bool present;

	return ram_error(sn, stream_read_chunk(&sn->ram, addr.a, buf, &present, e), e);
}

bool snap_ram_ahead(struct snap *sn, gpa_t addr)
{
	return stream_ahead(&sn->ram, addr.a);
}

/* A walk through all levels of a chain, one after the other. */
struct verify {
	struct stream_reader r; /* too large for a stack */
	uint8_t buf[STORE_CHUNK];
	bool (*progress)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
	uint64_t done, total;
};

/* What one level holds itself, all of it, also what newer ones hide. */
static int verify_object(struct verify *v, struct store *s, uint64_t object, struct errmsg *e)
{
	uint64_t addr;
	uint32_t len;
	int err = stream_open_alone(&v->r, s, object, KIND_RAM, e);

	while (!err && (err = stream_next(&v->r, &addr, v->buf, &len, e)) == OK) {
		v->done += len;
		if (v->progress && !v->progress(v->ctx, v->done, v->total))
			err = err_set(e, ERR_CANCELLED, "cancelled");
	}
	stream_close(&v->r);
	return err == ERR_NOENT ? OK : err;
}

/* The level at fault by the name of its snapshot, if that still is there. */
static int verify_error(struct snap *sn, unsigned level, int err, struct errmsg *e)
{
	uint64_t object = sn->ram.level[level].object;
	struct snap_info owner;

	if (!level)
		return err;
	if (catalog_find_ram(sn->store, object, &owner) == OK)
		return err_prefix(e, err, "object %llu, of snapshot '%s'",
		    (unsigned long long)object, owner.name);
	return err_prefix(e, err, "object %llu, of a deleted snapshot", (unsigned long long)object);
}

static int verify_ram(
    struct snap *sn, bool (*progress)(void *, uint64_t, uint64_t), void *ctx, struct errmsg *e)
{
	struct verify *v = heap_alloc(sizeof(*v));
	int err = v ? OK : err_set(e, ERR_NOMEM, "out of memory");

	if (v) {
		v->progress = progress;
		v->ctx = ctx;
		v->done = v->total = 0;
	}
	for (unsigned i = 0; v && i < sn->ram.nlevels; i++)
		v->total += sn->ram.level[i].info.raw;
	for (unsigned i = 0; !err && i < sn->ram.nlevels; i++) {
		err = verify_object(v, sn->store, sn->ram.level[i].object, e);
		if (err)
			err = verify_error(sn, i, err, e);
	}
	heap_free(v);
	return ram_error(sn, err, e);
}

int snap_verify(struct snap *sn, bool (*progress)(void *ctx, uint64_t done, uint64_t total),
    void *ctx, struct errmsg *e)
{
	struct snap_disk disk;
	size_t size;
	void *fdt;
	int err;

	cache_drop_clean(sn->store);
	err = snap_state(sn, &fdt, &size, e);
	if (!err)
		heap_free(fdt);
	for (unsigned i = 0; !err && i < sn->info.ndisks; i++) {
		err = snap_disk(sn, i, &disk, e);
		if (!err && disk.overlay && disk_object_verify(sn->store, disk.overlay, e))
			err = err_prefix(
			    e, ERR_CORRUPT, "snapshot '%s': disk '%s'", sn->info.name, disk.name);
	}
	return err ? err : verify_ram(sn, progress, ctx, e);
}
