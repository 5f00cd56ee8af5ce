/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A store that lies about its disks. The input is a list of changes (store_image.h) to a good store
 * of two disks, one of three layers, and a snapshot that names one of them. Then everything is
 * done with the disks that can be done; and the snapshot is copied to a store that does not lie,
 * and must not begin to.
 */
#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/disk_object.h"
#include "hv/snapshot/overlay.h"
#include "tests/fuzz/store_image.h"

enum { DISK = 1 << 20 };

static uint8_t *buf;

static int base_read(void *ctx, uint64_t off, void *to, uint32_t len)
{
	(void)ctx;
	(void)off;
	memset(to, 0x33, len);
	return OK;
}

static const struct overlay_base base = {.read = base_read, .size = DISK / 2};

static int save(struct store *s, struct overlay *d, struct errmsg *e)
{
	struct snap_params p = {.name = "snap", .vm = "v", .memory = 4096};
	struct snap_disk sd = {.name = "deep", .guid = {7}};
	struct snap_writer *w;
	size_t size;
	void *tree = fake_tree(1, 100, &size);
	int err = snap_writer_begin(s, &p, &w, e);

	if (!err) {
		err = snap_writer_state(w, tree, size, e);
		if (!err)
			err = overlay_freeze(d, s, &sd.overlay, e);
		if (!err)
			err = snap_writer_disk(w, &sd, e);
		if (err)
			snap_writer_abort(w);
		else
			err = snap_writer_commit(w, NULL, e);
	}
	heap_free(tree);
	return err;
}

/* Scattered blocks, so that records are of all lengths. */
static int scribble(struct overlay *d, struct store *s, unsigned step, struct errmsg *e)
{
	uint64_t done;
	int err = OK;

	memset(buf, (int)step, 64 * KIB);
	for (unsigned at = 0; !err && at + 64 * KIB <= DISK; at += step * 20480)
		err = overlay_write(d, s, at, buf, 4096 * step, e);
	return err ? err : overlay_zero(d, s, 8192 * step, 70000 / 512 * 512, &done, e);
}

static void make_good(void)
{
	struct vdisk other = {.name = "other", .size = DISK}, deep;
	struct overlay *d;
	struct errmsg e;
	struct store *s;
	uint64_t frozen;

	buf = heap_alloc(OVERLAY_MAX_BYTES);
	other.base = (struct vdisk_base){
	    .kind = VDISK_BASE_PARTITION, .guid = {7}, .size = DISK / 2, .name = "part"};
	deep = other;
	str_copy(deep.name, sizeof(deep.name), "deep");
	mem_disk_init(&disk, BLOCKS, true);
	if (store_format(&disk.io, (const uint8_t *)"disks that lie!!", &e) ||
	    store_open(&disk.io, true, &s, &e) || vdisk_create(s, &deep, &e) ||
	    vdisk_create(s, &other, &e) || overlay_open(s, "deep", &base, 16, &d, &e) ||
	    scribble(d, s, 1, &e) || overlay_freeze(d, s, &frozen, &e) || scribble(d, s, 2, &e) ||
	    save(s, d, &e) || scribble(d, s, 3, &e) || overlay_flush(d, s, &e))
		abort();
	overlay_close(d);
	store_close(s);
	keep_good();
}

static int take_piece(void *ctx, uint64_t off, const void *data, uint32_t len, struct errmsg *e)
{
	(void)e;
	if (off + len > *(uint64_t *)ctx)
		abort(); /* behind the end of the disk */
	return ((const uint8_t *)data)[0] == 0xff ? ERR_IO : OK;
}

static void use_disk(struct store *s, const char *name)
{
	uint64_t frozen, size, cursor = 0, done;
	struct snap_disk sd;
	struct overlay *d;
	struct errmsg e;
	struct snap *sn;
	bool end = false;

	if (overlay_open(s, name, &base, 16, &d, &e))
		return;
	size = overlay_info(d)->size;
	for (uint64_t at = 0; at < MIN(size, 2ULL * DISK); at += 64 * KIB)
		(void)!overlay_read(d, s, at, buf, (uint32_t)MIN(64 * KIB, size - at), &e);
	(void)!scribble(d, s, 2, &e);
	for (unsigned i = 0; i < 3 && !end; i++)
		if (overlay_each(d, s, &cursor, &end, take_piece, &size, &e))
			break;
	(void)!overlay_freeze(d, s, &frozen, &e);
	(void)!overlay_write(d, s, 512, buf, 512, &e);
	end = false;
	for (unsigned i = 0; i < 4 && !end; i++)
		if (overlay_flatten_step(d, s, &end, &e))
			break;
	(void)!overlay_resize(d, s, DISK / 4, true, &e);
	if (snap_open(s, "snap", &sn, &e) == OK) {
		if (snap_disk(sn, 0, &sd, &e) == OK)
			(void)!overlay_restore(d, s, sd.overlay, &e);
		snap_close(sn);
	}
	(void)!overlay_zero(d, s, 0, 4096, &done, &e);
	(void)!overlay_flush(d, s, &e);
	overlay_close(d);
}

static int open_base(void *ctx, const struct vdisk *v, struct overlay_base *out, struct errmsg *e)
{
	(void)ctx;
	(void)v;
	(void)e;
	*out = base;
	return OK;
}

/* Whatever was copied is sound and can be read, and the other store has it whole or not at all. */
static void use_copy(struct store *to)
{
	struct store_check_result res;
	struct snap_disk sd;
	struct overlay *d;
	struct errmsg e;
	struct snap *sn;

	if (store_check(to, &res, NULL, NULL, &e) || res.orphans)
		abort();
	if (snap_open(to, "copy", &sn, &e)) {
		if (res.objects)
			abort();
		return;
	}
	for (unsigned i = 0; i < snap_info(sn)->ndisks; i++) {
		if (snap_disk(sn, i, &sd, &e))
			abort();
		if (!sd.overlay)
			continue;
		if (overlay_open(to, sd.name, &base, 16, &d, &e) ||
		    overlay_restore(d, to, sd.overlay, &e) || overlay_read(d, to, 0, buf, 512, &e))
			abort();
		overlay_close(d);
		if (disk_object_verify(to, sd.overlay, &e))
			abort();
	}
	(void)!snap_verify(sn, NULL, NULL, &e); /* RAM went as it was */
	snap_close(sn);
}

static void copy_snapshot(struct store *s, bool with_base)
{
	struct snap_bases bases = {.open = open_base};
	struct snap_copy_params p = {.name = "copy", .bases = with_base ? &bases : NULL};
	struct mem_disk other;
	struct errmsg e;
	struct store *to;
	struct snap *sn;
	int err;

	if (snap_open(s, "snap", &sn, &e))
		return;
	mem_disk_init(&other, BLOCKS, true);
	if (store_format(&other.io, (const uint8_t *)"this one is true", &e) ||
	    store_open(&other.io, true, &to, &e))
		abort();
	err = snap_copy(sn, to, &p, &e);
	if (!err || store_commit(to, &e) == OK)
		use_copy(to);
	store_close(to);
	mem_disk_free(&other);
	snap_close(sn);
}

/* hint: what to do of what takes long. */
static void use_all(uint8_t hint)
{
	char names[4][VDISK_NAME_MAX + 1], on[VDISK_NAME_MAX + 1];
	struct store_check_result res;
	const uint8_t guid[16] = {7};
	struct errmsg e;
	struct store *s;
	struct vdisk v;
	uint64_t at = 0;
	unsigned n = 0;

	if (store_open(&disk.io, true, &s, &e))
		return;
	(void)!store_check(s, &res, NULL, NULL, &e);
	for (unsigned i = 0; i < 16 && n < 4; i++) {
		int err = vdisk_next(s, &at, &v, &e);

		if (err == OK)
			str_copy(names[n++], sizeof(names[0]), v.name);
	}
	(void)!vdisk_on_partition(s, guid, on, &e);
	if (hint & 2)
		copy_snapshot(s, hint & 4);
	for (unsigned i = 0; i < n; i++)
		use_disk(s, names[i]);
	(void)!snap_delete(s, "snap", &e);
	(void)!vdisk_delete(s, "deep", &e);
	(void)!vdisk_delete(s, "other", &e);
	(void)!store_commit(s, &e);
	(void)!store_check(s, &res, NULL, NULL, &e);
	store_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!good)
		make_good();
	if (damage(data, size))
		use_all(data[0]);
	return 0;
}
