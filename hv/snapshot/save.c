/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Saving a machine. The VM's mutex is held throughout; the store's is not held
 * while the machine is being quiesced, since a guest's first write waits for it.
 */
#include <string.h>
#include "hv/block/block.h"
#include "hv/core/gmem.h"
#include "hv/core/guest_clock.h"
#include "hv/core/vtimer.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/engine_int.h"
#include "hv/snapshot/vm_tree.h"

/* A save under way. */
struct save {
	struct vm *vm;
	unsigned flags;
	engine_progress progress;
	void *ctx;
	struct snap_writer *writer;
	struct state_writer tree;
	uint64_t paused_at;
};

static bool is_zero(const uint64_t *p, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes / 8; i++)
		if (p[i])
			return false;
	return true;
}

/* How much of RAM is not zero, in whole chunks; the guest runs meanwhile, so it is an estimate. */
static uint64_t nonzero_bytes(struct vm *vm)
{
	struct gmem_range r[GMEM_MAX_RANGES];
	unsigned n = gmem_ranges(vm, r);
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++) {
		for (uint64_t a = 0, len; a < r[i].size; a += STORE_CHUNK) {
			if (!is_zero(gmem_peek(vm, gpa(r[i].start + a), &len), STORE_CHUNK))
				sum += STORE_CHUNK;
			if ((a & (64 * MIB - 1)) == 0)
				thread_yield();
		}
	}
	return sum;
}

/* Refuses before the guest is paused: first by the worst case, then, if need be, by looking. */
static int check_space(struct store *s, struct vm *vm, struct errmsg *e)
{
	const uint64_t tree = 4 * MIB;

	if (store_can_hold(s, vm->config.memory + tree, e) == OK)
		return OK;
	return store_can_hold(s, nonzero_bytes(vm) + tree, e);
}

static int begin(struct save *sv, const char *name, struct errmsg *e)
{
	struct snap_params p = {
	    .name = name,
	    .vm = sv->vm->config.name,
	    .created = wall_time(),
	    .memory = sv->vm->config.memory,
	    .replace = sv->flags & SAVE_REPLACE,
	    .freeze = sv->flags & SAVE_POWEROFF ? sv->vm->config.uuid : NULL,
	};
	struct store *s = engine_lock(e);
	int err;

	if (!s)
		return ERR_NOENT;
	engine_make_id(p.id);
	err = snap_name_check(name, e);
	if (!err)
		err = check_space(s, sv->vm, e);
	if (!err)
		err = snap_writer_begin(s, &p, &sv->writer, e);
	engine_unlock();
	return err;
}

/* Which disks the machine writes directly, and what their epochs are now. */
static int record_disks(struct save *sv, struct store *s, struct errmsg *e)
{
	const struct vm_config *c = &sv->vm->config;
	static const uint8_t none[16];

	for (uint32_t i = 0; i < c->ndevs; i++) {
		const struct config_dev *d = &c->devs[i];
		struct snap_disk disk = {.overlay = 0};
		struct blk_dev *b;
		int err;

		if (d->kind != CONFIG_VIRTIO_BLK || d->read_only)
			continue;
		b = blk_find(d->backend);
		if (!b || memcmp(b->part_guid, none, sizeof(none)) == 0)
			return err_set(e, ERR_UNSUPPORTED,
			    "disk '%s': '%s' is not a partition with a GUID, so nothing could tell "
			    "whether it changes",
			    d->name, d->backend);
		memcpy(disk.guid, b->part_guid, sizeof(disk.guid));
		str_copy(disk.name, sizeof(disk.name), d->backend);
		err = store_epoch_get(s, b->part_guid, &disk.epoch, e);
		if (!err)
			err = snap_writer_disk(sv->writer, &disk, e);
		if (err)
			return err;
	}
	return OK;
}

static int write_tree(struct save *sv, struct errmsg *e)
{
	void *fdt = NULL;
	size_t size;
	int err = sw_encode(&sv->tree, &fdt, &size, e);

	if (!err)
		err = snap_writer_state(sv->writer, fdt, size, e);
	heap_free(fdt);
	return err;
}

static int write_range(
    struct save *sv, uint64_t start, uint64_t size, uint64_t before, struct errmsg *e)
{
	for (uint64_t a = 0, len; a < size; a += STORE_CHUNK) {
		const void *p = gmem_peek(sv->vm, gpa(start + a), &len);
		int err;

		err = snap_writer_ram(sv->writer, gpa(start + a), p, STORE_CHUNK, e);
		if (err)
			return err;
		if (sv->progress &&
		    !sv->progress(sv->ctx, before + a + STORE_CHUNK, sv->vm->config.memory))
			return err_set(e, ERR_CANCELLED, "cancelled");
		thread_yield();
	}
	return OK;
}

static int write_ram(struct save *sv, struct errmsg *e)
{
	struct gmem_range r[GMEM_MAX_RANGES];
	unsigned n = gmem_ranges(sv->vm, r);
	uint64_t before = 0;

	for (unsigned i = 0; i < n; i++) {
		int err = write_range(sv, r[i].start, r[i].size, before, e);

		if (err)
			return err;
		before += r[i].size;
	}
	return OK;
}

/*
 * Everything from the quiesced machine into the store. After an error the machine goes on;
 * the commit may have reached the disk all the same, and with it that the machine is frozen.
 */
static int write_all(struct save *sv, struct save_result *out, struct errmsg *e)
{
	struct store *s = engine_lock(e);
	struct errmsg ignored;
	int err;

	if (!s)
		return ERR_NOENT;
	err = record_disks(sv, s, e);
	if (!err)
		err = write_tree(sv, e);
	if (!err)
		err = write_ram(sv, e);
	if (!err) {
		err = snap_writer_commit(sv->writer, &out->info, e);
		sv->writer = NULL;
	}
	if (err) {
		snap_writer_abort(sv->writer);
		sv->writer = NULL;
	}
	out->bytes = out->info.stored_bytes + out->info.state_bytes;
	engine_unlock(); /* opens the store again if that error left it unusable */
	if (err && (sv->flags & SAVE_POWEROFF) && engine_clear_frozen(&sv->vm->config, &ignored))
		log_error("vm '%s': %s", sv->vm->config.name, ignored.text);
	return err;
}

static int save_locked(struct save *sv, const char *name, struct save_result *out, struct errmsg *e)
{
	struct vm *vm = sv->vm;
	bool running = vm->run_state == VM_RUNNING;
	int err;

	if (!running && vm->run_state != VM_PAUSED)
		return err_set(
		    e, ERR_STATE, "vm '%s' is %s", vm->config.name, vm_state_text(vm->run_state));
	err = begin(sv, name, e);
	if (err)
		return err;
	sv->paused_at = time_now();
	if (running && (sv->flags & SAVE_POWEROFF))
		vm_quiesce(vm);
	else if (running)
		vm_quiesce_live(vm);
	sw_init(&sv->tree, heap_grow);
	vm_tree_capture(vm, &sv->tree);
	err = write_all(sv, out, e);
	if (!err && (sv->flags & SAVE_POWEROFF)) {
		vm->run_state = VM_PAUSED; /* quiesced already */
		vm_freeze(vm);
	} else if (running) {
		guest_clock_tell(vm);
		vm_unquiesce(vm);
	}
	out->pause_ns = time_now() - sv->paused_at;
	heap_free(sv->tree.buf);
	return err;
}

int engine_save(struct vm *vm, const char *name, unsigned flags, engine_progress progress,
    void *ctx, struct save_result *out, struct errmsg *e)
{
	struct save sv = {.vm = vm, .flags = flags, .progress = progress, .ctx = ctx};
	int err;

	*out = (struct save_result){.bytes = 0};
	mutex_lock(&vm->lock);
	err = save_locked(&sv, name, out, e);
	mutex_unlock(&vm->lock);
	return engine_error(name, err, e);
}
