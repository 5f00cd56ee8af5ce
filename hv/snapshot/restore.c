/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Restoring a machine: everything is built and checked aside (I6); only then
 * does the new machine take the old one's place.
 */
#include <string.h>
#include "hv/block/block.h"
#include "hv/core/gmem_rom.h"
#include "hv/core/gmem_track.h"
#include "hv/core/vclock.h"
#include "hv/dev/disk_backend.h"
#include "hv/dev/vmgenid.h"
#include "hv/lib/cursor.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/engine_int.h"
#include "hv/snapshot/generation.h"
#include "hv/snapshot/overlay_blk.h"
#include "hv/snapshot/pager.h"
#include "hv/snapshot/vm_tree.h"

struct restore {
	unsigned flags;
	engine_progress progress;
	void *ctx;
	struct snap *snap;
	struct vm_restore tree;
	struct generation frozen;   /* the freezing that the snapshot is of */
	bool goes_on;		    /* as the machine that was frozen in it */
	char name[VM_NAME_MAX + 1]; /* of the machine that results */
	uint64_t loaded, created;
	uint64_t started, busy;	   /* time_now() and time_busy() then */
	struct snap_disk *layered; /* the snapshot's disks that are in the store */
	unsigned nlayered;
};

/*
 * A partition that was written since is not put under an older memory; a disk of the store is given
 * the content that it had.
 */
static int check_disks(struct restore *r, struct store *s, struct errmsg *e)
{
	for (unsigned i = 0; i < snap_info(r->snap)->ndisks; i++) {
		struct snap_disk d;
		uint64_t now;
		int err = snap_disk(r->snap, i, &d, e);

		if (!err && d.overlay) {
			err = overlay_blk_check(s, &d, e);
			if (!err)
				r->layered[r->nlayered++] = d;
			if (!err)
				continue;
		}
		if (err)
			return err;
		if (!blk_find_guid(d.guid))
			return err_set(e, ERR_NOENT, "disk '%s' is not here", d.name);
		err = store_epoch_get(s, d.guid, &now, e);
		if (err)
			return err;
		if (now != d.epoch)
			return err_set(e, ERR_STATE,
			    "disk '%s' has been written since (epoch %llu, the snapshot has %llu)",
			    d.name, (unsigned long long)now, (unsigned long long)d.epoch);
	}
	return OK;
}

static bool is_disk(const struct snap_disk *d, const struct blk_dev *b)
{
	const size_t prefix = sizeof(CONFIG_STORE_PREFIX) - 1;

	if (d->overlay)
		return overlay_blk_is(b) && strcmp(b->name + prefix, d->name) == 0;
	return memcmp(d->guid, b->part_guid, sizeof(d->guid)) == 0;
}

/* The disks that the new machine would write are those whose epochs were compared. */
static int check_backends(struct restore *r, struct errmsg *e)
{
	const struct vm_config *c = &r->tree.vm->config;

	for (uint32_t i = 0; i < c->ndevs; i++) {
		const struct blk_dev *b;
		bool known = false;

		if (!config_writes_disk(&c->devs[i]))
			continue;
		b = blk_find(c->devs[i].backend);
		for (unsigned n = 0; b && n < snap_info(r->snap)->ndisks; n++) {
			struct snap_disk d;
			int err = snap_disk(r->snap, n, &d, e);

			if (err)
				return err;
			known |= is_disk(&d, b);
		}
		if (!known)
			return err_set(e, ERR_STATE,
			    "device %s: '%s' is not the disk that the snapshot was taken with",
			    c->devs[i].name, c->devs[i].backend);
	}
	return OK;
}

/* For snap_ram_check(): RAM only where the machine has some. */
static int range_is_ram(void *ctx, uint64_t addr, uint64_t len, struct errmsg *e)
{
	struct restore *r = ctx;
	struct gmem_range ranges[GMEM_MAX_RANGES];
	unsigned n = gmem_ranges(r->tree.vm, ranges);

	for (unsigned i = 0; i < n; i++)
		if (addr >= ranges[i].start &&
		    range_in(addr - ranges[i].start, len, ranges[i].size))
			return OK;
	return err_set(
	    e, ERR_CORRUPT, "RAM at 0x%llx, where the machine has none", (unsigned long long)addr);
}

static int load_ram(struct restore *r, struct errmsg *e)
{
	uint64_t total = snap_info(r->snap)->total_ram_bytes;
	void *buf = heap_alloc(STORE_CHUNK);
	uint32_t len;
	gpa_t addr;
	int err;

	if (!buf)
		return err_set(e, ERR_NOMEM, "out of memory");
	while ((err = snap_ram_next(r->snap, &addr, buf, &len, e)) == OK) {
		err = gmem_rom_write(r->tree.vm, addr, buf, len);
		if (err) {
			err_set(e, err, "RAM at 0x%llx, where the machine has none",
			    (unsigned long long)addr.a);
			break;
		}
		r->loaded += len;
		if (r->progress && !r->progress(r->ctx, r->loaded, total)) {
			err = err_set(e, ERR_CANCELLED, "cancelled");
			break;
		}
		thread_yield();
	}
	heap_free(buf);
	return err == ERR_NOENT ? OK : err;
}

static int load_all(struct restore *r, struct errmsg *e)
{
	int err = snap_ram_check(r->snap, range_is_ram, r, e);

	if (!err)
		err = load_ram(r, e);
	if (!err)
		gmem_watch(r->tree.vm);
	return err;
}

/*
 * RAM follows when it is touched. Its index is not walked first: that would take longer the more
 * RAM there is. The tree that holds it carries checksums down to each piece; totals are compared
 * when all has been read.
 */
static int load_later(struct restore *r, struct errmsg *e)
{
	struct snap *sn = r->snap;

	r->snap = NULL; /* the pager's */
	return pager_start(r->tree.vm, sn, e);
}

/* Whether it is the frozen machine itself that lives again, under its own UUID. */
static int find_generation(struct restore *r, struct store *s, const void *fdt, struct errmsg *e)
{
	const uint8_t *uuid = r->tree.vm->config.uuid;
	int err = generation_read(fdt, &r->frozen, e);

	if (!err)
		err = generation_current(s, &r->frozen, &r->goes_on, e);
	r->goes_on &= memcmp(r->frozen.machine, uuid, sizeof(r->frozen.machine)) == 0;
	return err;
}

/* Builds the machine aside from the open snapshot, state and RAM checked and in place. What is
 * built goes with vm_tree_done() after an error too. */
static int build_aside(struct restore *r, struct store *s, const char *as, struct errmsg *e)
{
	struct snap_info info = *snap_info(r->snap);
	void *fdt = NULL;
	size_t size;
	int err = OK;

	r->layered = heap_zalloc(SNAP_DISKS_MAX * sizeof(*r->layered));
	if (!r->layered)
		err = err_set(e, ERR_NOMEM, "out of memory");
	if (!err)
		err = check_disks(r, s, e);
	if (!err)
		err = snap_state(r->snap, &fdt, &size, e);
	if (!err)
		err = vm_tree_check(fdt, &(struct vm_tree_as){.name = as}, &r->tree, e);
	if (!err)
		err = find_generation(r, s, fdt, e);
	heap_free(fdt);
	if (err)
		return err;
	if (strcmp(r->tree.vm->config.name, r->name) != 0)
		err = err_set(e, ERR_CORRUPT, "is of vm '%s', its state tree of '%s'", r->name,
		    r->tree.vm->config.name);
	if (!err)
		err = check_backends(r, e);
	if (!err)
		err = r->flags & RESTORE_EAGER ? load_all(r, e) : load_later(r, e);
	if (err)
		return err;
	memcpy(r->tree.vm->base_id, info.id, sizeof(info.id));
	str_copy(r->tree.vm->base_name, sizeof(r->tree.vm->base_name), info.name);
	return OK;
}

static int open_snapshot(struct restore *r, struct store *s, const char *name, struct errmsg *e)
{
	int err = snap_name_check(name, e);

	return err ? err : snap_open(s, name, &r->snap, e);
}

/* Opens, checks and builds, with the store locked. */
static int prepare(struct restore *r, const char *name, const char *as, struct errmsg *e)
{
	struct store *s = engine_lock(e);
	int err;

	if (!s)
		return ERR_NOENT;
	err = open_snapshot(r, s, name, e);
	if (!err) {
		r->created = snap_info(r->snap)->created;
		err = build_aside(r, s, as, e);
	}
	if (!err && (r->flags & RESTORE_ADVANCE)) {
		uint64_t now = wall_time();

		r->tree.advance = now > r->created ? now - r->created : 0;
	}
	snap_close(r->snap);
	engine_unlock();
	if (err) /* without the lock: a pager that was started wants it to end */
		vm_tree_done(&r->tree, false);
	return err;
}

/* The name of the machine that the snapshot is of. */
static int name_of(const char *name, char out[VM_NAME_MAX + 1], struct errmsg *e)
{
	struct store *s = engine_lock(e);
	struct snap *sn;
	int err;

	if (!s)
		return ERR_NOENT;
	err = snap_name_check(name, e);
	if (!err)
		err = snap_open(s, name, &sn, e);
	if (!err) {
		str_copy(out, VM_NAME_MAX + 1, snap_info(sn)->vm);
		snap_close(sn);
	}
	engine_unlock();
	return err;
}

/* The machine's disks in the store go back. The old machine, if there is one, stands still. */
static int restore_disks(struct restore *r, struct errmsg *e)
{
	struct store *s;
	int err;

	if (!r->nlayered)
		return OK;
	s = engine_lock(e);
	if (!s)
		return ERR_NOENT;
	err = overlay_blk_restore(s, r->layered, r->nlayered, e);
	engine_unlock();
	return err;
}

static int run(struct restore *r, struct vm *vm, struct restore_result *out, struct errmsg *e)
{
	int err = vm_resume(vm, e);
	uint64_t now = time_now(), busy = time_busy() - r->busy;

	if (err)
		return err;
	/* sleeping: a yield gives the CPU away only when this thread's slice is used up */
	while (!__atomic_load_n(&vm->resumed_at, __ATOMIC_ACQUIRE) && vm->run_state == VM_RUNNING)
		thread_sleep(10000);
	out->first_insn_ns = vm->resumed_at ? vm->resumed_at - r->started : 0;
	/* from resuming to its first entry its threads had the CPU; then the guest is at work */
	out->busy_ns = vm->resumed_at ? busy + vm->resumed_at - now : 0;
	return OK;
}

/* The machine that is loaded is not, or not alone, the one that the snapshot was taken of. */
static int begin_generation(struct restore *r, struct errmsg *e)
{
	int err = vmgenid_renew(r->tree.vm, e);
	struct store *s;

	if (err)
		return err;
	s = engine_lock(e);
	if (!s)
		return ERR_NOENT;
	err = generation_fork(s, &r->frozen, e);
	engine_unlock();
	return err;
}

/* *old: the machine in the way; NULL as soon as there is no way back to it. */
static int thaw(struct restore *r, struct vm **old, struct restore_result *out, struct errmsg *e)
{
	struct vm *vm = r->tree.vm, *gone;
	struct errmsg ignored;
	int err;

	vm_tree_load(&r->tree);
	err = r->goes_on ? OK : begin_generation(r, e);
	if (!err)
		err = engine_clear_frozen(&vm->config, e);
	if (!err)
		err = disk_backend_claim(vm, *old, e);
	if (!err)
		err = restore_disks(r, e);
	if (err) {
		vm_tree_done(&r->tree, false);
		if (*old && disk_backend_claim(*old, NULL, &ignored)) /* they are the old one's */
			log_error("vm '%s': %s", (*old)->config.name, ignored.text);
		return err;
	}
	vm_tree_done(&r->tree, true);
	*old = NULL;
	gone = vm_publish(vm);
	if (!(r->flags & RESTORE_PAUSED))
		err = run(r, vm, out, e);
	if (gone) /* only now: it takes the longer the more memory it has */
		vm_destroy(gone);
	return err;
}

int engine_restore(const char *name, const char *as, unsigned flags, engine_progress progress,
    void *ctx, struct restore_result *out, struct errmsg *e)
{
	struct restore r = {.flags = flags, .progress = progress, .ctx = ctx};
	struct errmsg ignored;
	struct vm *old = NULL;
	bool was_running = false;
	int err;

	r.started = time_now();
	r.busy = time_busy();
	err = name_of(name, r.name, e);
	*out = (struct restore_result){.bytes = 0};
	if (!err && as)
		str_copy(r.name, sizeof(r.name), as);
	if (!err) {
		/* It stands still while the disks' epochs are compared, and goes on if they differ.
		 */
		old = vm_find(r.name);
		was_running = old && vm_pause(old, &ignored) == OK;
		err = prepare(&r, name, as, e);
	}
	if (!err) {
		out->bytes = r.loaded;
		str_copy(out->vm, sizeof(out->vm), r.name);
		err = thaw(&r, &old, out, e);
	}
	if (err && old && was_running && vm_resume(old, &ignored))
		log_error("vm '%s': %s", r.name, ignored.text);
	heap_free(r.layered);
	return engine_error(name, err, e);
}
