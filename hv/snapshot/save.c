/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Saving a machine. It stands still while its state is copied and its memory is armed for copying
 * before the next write; everything is encoded and written after it runs again. The VM's mutex is
 * held throughout; the store's for one step at a time, and not while the machine is being
 * quiesced, since a guest's first write waits for it.
 */
#include <string.h>
#include "hv/block/block.h"
#include "hv/core/gmem_track.h"
#include "hv/core/guest_clock.h"
#include "hv/core/vtimer.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/compress.h"
#include "hv/snapshot/engine_int.h"
#include "hv/snapshot/generation.h"
#include "hv/snapshot/overlay_blk.h"
#include "hv/snapshot/vm_tree.h"

/* How long a machine that is to stand still is watched first, to see what it uses. */
#define OBSERVE_NS 100000000ULL

/* A save under way. */
struct save {
	struct vm *vm;
	unsigned flags, slots;
	engine_progress progress;
	void *ctx;
	bool still; /* the guest stands still until all is written */
	bool full;  /* all of RAM, not only what has changed since the last snapshot */
	struct snap_writer *writer;
	struct state_writer tree;
	struct generation frozen; /* SAVE_POWEROFF */
	uint64_t paused_at, done, total;
	struct snap_disk disks[SNAP_DISKS_MAX];
	struct blk_dev *layered[SNAP_DISKS_MAX]; /* those in the store, else NULL */
	struct overlay_mark *marks;		 /* as many */
	unsigned ndisks;
	uint64_t raised; /* engine_epochs_raised() when the disks were looked up */
};

/* How much of RAM is not zero, in whole chunks; the guest runs meanwhile, so it is an estimate. */
static uint64_t nonzero_bytes(struct vm *vm)
{
	struct gmem_range r[GMEM_MAX_RANGES];
	unsigned n = gmem_ranges(vm, r);
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++) {
		for (uint64_t a = 0, len; a < r[i].size; a += STORE_CHUNK) {
			const void *p = gmem_peek(vm, gpa(r[i].start + a), &len);

			if (p && !all_zero(p, STORE_CHUNK))
				sum += STORE_CHUNK;
			if ((a & (64 * MIB - 1)) == 0)
				thread_yield();
		}
	}
	return sum;
}

/*
 * Refuses before the guest is paused: first by the worst case, then, if need be, by looking. What a
 * guest changes between this look and the pause may still not fit: then the save fails.
 */
static int check_space(struct save *sv, struct store *s, struct errmsg *e)
{
	const uint64_t tree = 4 * MIB;
	uint64_t bytes = sv->full ? sv->vm->config.memory : gmem_save_size(sv->vm);
	/* a piece that has changed may be changed in every other page */
	unsigned runs = sv->full ? 1 : GMEM_CHUNK_PAGES / 2;

	if (store_can_hold_pieces(s, bytes + tree, (bytes + tree) / GMEM_CHUNK * runs, false, e) ==
	    OK)
		return OK;
	if (!sv->full)
		return ERR_NOSPACE;
	bytes = nonzero_bytes(sv->vm) + tree;
	return store_can_hold_pieces(s, bytes, bytes / GMEM_CHUNK, false, e);
}

/* The snapshot that the machine's memory is watched against, if it is still there. */
static bool base_is_there(struct vm *vm, struct store *s)
{
	static const uint8_t none[16];
	struct errmsg ignored;
	struct snap *sn;
	bool same;

	if (!gmem_watched(vm) || memcmp(vm->base_id, none, sizeof(none)) == 0 ||
	    snap_open(s, vm->base_name, &sn, &ignored))
		return false;
	same = memcmp(snap_info(sn)->id, vm->base_id, sizeof(vm->base_id)) == 0;
	snap_close(sn);
	return same;
}

/* Which disks the machine writes; of partitions, what their epochs are now. */
static int look_up_disks(struct save *sv, struct store *s, struct errmsg *e)
{
	const struct vm_config *c = &sv->vm->config;
	static const uint8_t none[16];

	sv->raised = engine_epochs_raised();
	sv->ndisks = 0;
	for (uint32_t i = 0; i < c->ndevs; i++) {
		const struct config_dev *d = &c->devs[i];
		struct snap_disk *disk = &sv->disks[sv->ndisks];
		struct blk_dev *b;
		int err;

		if (!config_writes_disk(d))
			continue;
		if (sv->ndisks == SNAP_DISKS_MAX)
			return err_set(
			    e, ERR_RANGE, "more than %d disks that it writes", SNAP_DISKS_MAX);
		b = blk_find(d->backend);
		sv->layered[sv->ndisks] = b && overlay_blk_is(b) ? b : NULL;
		if (sv->layered[sv->ndisks]) { /* recorded when it is frozen */
			sv->ndisks++;
			continue;
		}
		if (!b || memcmp(b->part_guid, none, sizeof(none)) == 0)
			return err_set(e, ERR_UNSUPPORTED,
			    "disk '%s': '%s' is not a partition with a GUID, so nothing could tell "
			    "whether it changes",
			    d->name, d->backend);
		*disk = (struct snap_disk){.overlay = 0};
		memcpy(disk->guid, b->part_guid, sizeof(disk->guid));
		str_copy(disk->name, sizeof(disk->name), d->backend);
		err = store_epoch_get(s, b->part_guid, &disk->epoch, e);
		if (err)
			return err;
		sv->ndisks++;
	}
	return OK;
}

/* Disks of the store have room for one layer more. Their threads use the store meanwhile. */
static int prepare_disks(struct save *sv, struct errmsg *e)
{
	const struct vm_config *c = &sv->vm->config;
	int err = OK;

	for (uint32_t i = 0; !err && i < c->ndevs; i++) {
		struct blk_dev *b = c->devs[i].backend[0] ? blk_find(c->devs[i].backend) : NULL;

		if (b && overlay_blk_is(b) && !c->devs[i].read_only)
			err = overlay_blk_prepare(b, e);
	}
	return err;
}

/* What can be refused, reserved or looked up while the guest still runs. */
static int begin_in_store(struct save *sv, struct store *s, const char *name, struct errmsg *e)
{
	struct snap_params p = {
	    .name = name,
	    .vm = sv->vm->config.name,
	    .created = wall_time(),
	    .memory = sv->vm->config.memory,
	    .replace = sv->flags & SAVE_REPLACE,
	    .freeze = sv->flags & SAVE_POWEROFF ? sv->vm->config.uuid : NULL,
	};
	int err = snap_name_check(name, e);

	engine_make_id(p.id);
	sv->full = (sv->flags & SAVE_FULL) || !base_is_there(sv->vm, s);
	p.parent_name = sv->full ? NULL : sv->vm->base_name;
	if (!err)
		err = look_up_disks(sv, s, e);
	if (!err && p.freeze)
		err = generation_next(s, p.freeze, &sv->frozen, e);
	if (!err)
		err = check_space(sv, s, e);
	if (!err)
		err = snap_writer_begin(s, &p, &sv->writer, e);
	if (!sv->full &&
	    (err == ERR_RANGE || err == ERR_STATE)) { /* no child to be had of that one */
		sv->full = true;
		p.parent_name = NULL;
		err = check_space(sv, s, e);
		if (!err)
			err = snap_writer_begin(s, &p, &sv->writer, e);
	}
	return err;
}

static int begin(struct save *sv, const char *name, struct errmsg *e)
{
	struct store *s = engine_lock(e);
	int err;

	if (!s)
		return ERR_NOENT;
	err = begin_in_store(sv, s, name, e);
	if (!err) {
		err = gmem_save_begin(sv->vm, sv->full, sv->slots, e);
		if (err)
			snap_writer_abort(sv->writer);
	}
	if (!err)
		engine_hold();
	engine_unlock();
	return err;
}

/* --- the store, for one step at a time: others use it while a machine is being saved --- */

/* Until the disks' threads have come to the marks; the first error. */
static int wait_for_marks(struct save *sv, struct errmsg *e)
{
	struct errmsg ignored;
	int err = OK;

	for (unsigned i = 0; i < sv->ndisks; i++) {
		int one = overlay_blk_marked(&sv->marks[i], &sv->disks[i], err ? &ignored : e);

		if (!err)
			err = one;
	}
	return err;
}

static int record_disks(struct save *sv, struct errmsg *e)
{
	int err = wait_for_marks(sv, e);
	struct store *s;

	if (err)
		return err;
	s = engine_lock(e);
	if (!s)
		return ERR_NOENT;
	for (unsigned i = 0; !err && i < sv->ndisks; i++)
		err = snap_writer_disk(sv->writer, &sv->disks[i], e);
	engine_unlock();
	return err;
}

static int write_tree(struct save *sv, struct errmsg *e)
{
	void *fdt = NULL;
	struct store *s;
	size_t size;
	int err = sw_encode(&sv->tree, &fdt, &size, e);

	if (err)
		return err;
	s = engine_lock(e);
	err = s ? snap_writer_state(sv->writer, fdt, size, e) : ERR_NOENT;
	if (s)
		engine_unlock();
	heap_free(fdt);
	return err;
}

/* Runs of pages that have changed. */
static int write_pages(struct save *sv, const struct gmem_piece *p, struct errmsg *e)
{
	const uint8_t *data = p->data;
	int err = OK;

	for (unsigned i = 0, n; !err && i < GMEM_CHUNK_PAGES; i += n) {
		bool changed = p->pages >> i & 1;

		for (n = 1; i + n < GMEM_CHUNK_PAGES && (p->pages >> (i + n) & 1) == changed; n++)
			;
		if (changed)
			err = snap_writer_ram(sv->writer, gpa_add(p->addr, i * PAGE_SIZE),
			    data + (size_t)i * PAGE_SIZE, (uint64_t)n * PAGE_SIZE, e);
	}
	return err;
}

static int write_piece(struct save *sv, const struct gmem_piece *p, struct errmsg *e)
{
	struct store *s = engine_lock(e);
	int err;

	if (!s)
		return ERR_NOENT;
	err = sv->full ? snap_writer_ram(sv->writer, p->addr, p->data, GMEM_CHUNK, e)
		       : write_pages(sv, p, e);
	engine_unlock();
	return err;
}

static int write_ram(struct save *sv, struct errmsg *e)
{
	struct gmem_piece p;
	int err;

	while ((err = gmem_save_next(sv->vm, &p)) == OK) {
		err = write_piece(sv, &p, e);
		if (err)
			return err;
		sv->done = MIN(sv->done + GMEM_CHUNK, sv->total);
		if (sv->progress && !sv->progress(sv->ctx, sv->done, sv->total))
			return err_set(e, ERR_CANCELLED, "cancelled");
		thread_yield();
	}
	if (err == ERR_NOENT)
		return OK;
	return err_set(
	    e, err, "some of its memory cannot be read from the snapshot that it comes from");
}

/* What it used around the save. Without memory for the list there is none. */
static int write_set(struct save *sv, struct errmsg *e)
{
	gpa_t *addr = heap_alloc(SNAP_SET_MAX * sizeof(*addr));
	unsigned n = addr ? gmem_save_used(sv->vm, addr, SNAP_SET_MAX) : 0;
	struct store *s = engine_lock(e);
	int err = s ? snap_writer_set(sv->writer, addr, n, e) : ERR_NOENT;

	if (s)
		engine_unlock();
	heap_free(addr);
	return err;
}

static int commit(struct save *sv, struct save_result *out, struct errmsg *e)
{
	struct store *s = engine_lock(e);
	int err;

	if (!s)
		return ERR_NOENT;
	err = snap_writer_commit(sv->writer, &out->info, e);
	sv->writer = NULL;
	engine_unlock();
	return err;
}

static void give_up(struct save *sv)
{
	struct errmsg ignored;

	if (sv->writer && engine_lock(&ignored)) {
		snap_writer_abort(sv->writer);
		engine_unlock();
	}
	sv->writer = NULL;
	/* the commit may have reached the disk all the same, and with it that it is frozen */
	if ((sv->flags & SAVE_POWEROFF) && engine_clear_frozen(&sv->vm->config, &ignored))
		log_error("vm '%s': %s", sv->vm->config.name, ignored.text);
}

/* Everything that was captured, into the store. */
static int write_all(struct save *sv, struct save_result *out, struct errmsg *e)
{
	int err = record_disks(sv, e);

	if (!err)
		err = write_tree(sv, e);
	if (!err)
		err = write_ram(sv, e);
	if (!err)
		err = write_set(sv, e);
	if (!err)
		err = commit(sv, out, e);
	out->bytes = out->info.stored_bytes + out->info.state_bytes;
	return err;
}

/* --- the instant ------------------------------------------------------------------------ */

/* The machine is quiesced. Nothing here waits for a disk, but for one rare case. */
static int capture(struct save *sv, struct errmsg *e)
{
	int err = OK;

	if (__atomic_load_n(&sv->vm->action, __ATOMIC_SEQ_CST) != VM_ACTION_NONE)
		return err_set(e, ERR_STATE, "vm '%s' is just resetting or stopping itself",
		    sv->vm->config.name);
	sw_init(&sv->tree, heap_grow);
	vm_tree_capture(sv->vm, &sv->tree);
	if (sv->flags & SAVE_POWEROFF)
		generation_write(&sv->tree, &sv->frozen);
	if (sv->raised != engine_epochs_raised()) { /* a first write came in between */
		struct store *s = engine_lock(e);

		err = s ? look_up_disks(sv, s, e) : ERR_NOENT;
		if (s)
			engine_unlock();
	}
	for (unsigned i = 0; !err && i < sv->ndisks; i++)
		if (sv->layered[i])
			overlay_blk_mark(sv->layered[i], &sv->marks[i]);
	if (!err)
		gmem_save_arm(sv->vm, sv->still);
	return err;
}

/* It goes on at once, and the rest is done behind its back. */
static int save_live(struct save *sv, struct save_result *out, struct errmsg *e)
{
	int err;

	vm_quiesce_live(sv->vm);
	err = capture(sv, e);
	vm_unquiesce(sv->vm);
	out->pause_ns = time_now() - sv->paused_at;
	if (!err)
		err = write_all(sv, out, e);
	if (err)
		give_up(sv);
	return err;
}

/* It stays as it is when all is written, or goes on if that fails. */
static int save_and_freeze(struct save *sv, struct save_result *out, struct errmsg *e)
{
	struct vm *vm = sv->vm;
	int err;

	vm_quiesce(vm);
	err = capture(sv, e);
	if (!err)
		err = write_all(sv, out, e);
	if (!err) {
		vm->run_state = VM_PAUSED; /* quiesced already */
		vm_freeze(vm);
	} else {
		give_up(sv);
		guest_clock_tell(vm);
		vm_unquiesce(vm);
	}
	out->pause_ns = time_now() - sv->paused_at;
	return err;
}

static int save_paused(struct save *sv, struct save_result *out, struct errmsg *e)
{
	int err = capture(sv, e);

	if (!err)
		err = write_all(sv, out, e);
	if (err)
		give_up(sv);
	else if (sv->flags & SAVE_POWEROFF)
		vm_freeze(sv->vm);
	out->pause_ns = time_now() - sv->paused_at;
	return err;
}

static int save_locked(struct save *sv, const char *name, struct save_result *out, struct errmsg *e)
{
	struct vm *vm = sv->vm;
	bool running = vm->run_state == VM_RUNNING;
	struct errmsg ignored;
	int err;

	if (!running && vm->run_state != VM_PAUSED)
		return err_set(
		    e, ERR_STATE, "vm '%s' is %s", vm->config.name, vm_state_text(vm->run_state));
	sv->marks = heap_zalloc(SNAP_DISKS_MAX * sizeof(*sv->marks));
	err = sv->marks ? prepare_disks(sv, e) : err_set(e, ERR_NOMEM, "out of memory");
	if (!err)
		err = begin(sv, name, e);
	if (err) {
		heap_free(sv->marks);
		return err;
	}
	sv->still = !running || (sv->flags & SAVE_POWEROFF);
	if (running && sv->still) {
		gmem_save_observe(vm);
		thread_sleep(OBSERVE_NS);
	}
	/* for the progress bar, before the pause: it takes the longer the more memory there is */
	sv->total = sv->full ? vm->config.memory : gmem_save_size(vm);
	sv->paused_at = time_now();
	if (!running)
		err = save_paused(sv, out, e);
	else
		err = sv->still ? save_and_freeze(sv, out, e) : save_live(sv, out, e);
	gmem_save_end(vm, !err);
	if (!err && vm->run_state != VM_FROZEN) {
		memcpy(vm->base_id, out->info.id, sizeof(vm->base_id));
		str_copy(vm->base_name, sizeof(vm->base_name), out->info.name);
	}
	(void)wait_for_marks(sv, &ignored); /* after an error: nobody may come to them any more */
	engine_release();
	heap_free(sv->marks);
	heap_free(sv->tree.buf);
	return err;
}

int engine_save(struct vm *vm, const char *name, unsigned flags, unsigned slots,
    engine_progress progress, void *ctx, struct save_result *out, struct errmsg *e)
{
	struct save sv = {.vm = vm, .flags = flags, .progress = progress, .ctx = ctx};
	uint64_t busy = time_busy();
	int err;

	sv.slots = slots ? MIN(slots, (unsigned)GMEM_SLOTS_MAX) : SAVE_SLOTS_DEFAULT;
	*out = (struct save_result){.bytes = 0};
	mutex_lock(&vm->lock);
	err = save_locked(&sv, name, out, e);
	mutex_unlock(&vm->lock);
	out->busy_ns = time_busy() - busy;
	return engine_error(name, err, e);
}
