/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The whole snapshot engine over thousands of steps drawn at random: machines that run, write
 * their memory and their disks while they are saved, restored, cloned, marked, rewound, stopped;
 * snapshots that are deleted and flattened, disks that are flattened, resized, committed; a
 * partition that fills up, fails and loses power. A model knows what every machine's memory and
 * disk, every snapshot and every mark must contain, and compares page for page; the store's own
 * check tells whether its accounts are right.
 *
 * Each seed is walked in a process of its own. AMBER_WALK_SEEDS, AMBER_WALK_STEPS: how many;
 * AMBER_SEED: the first. A failure prints seed, step and the last operations.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <sanitizer/lsan_interface.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/engine_check.h"

enum { SEEDS = 6, STEPS = 400, PART_BYTES = 40 << 20, SMALL_PART_BYTES = 22 << 20 };

/* --- machines ------------------------------------------------------------------------ */

static const char *const vm_names[] = {"a", "b", "c", "d", "e-1", "e-2"};

static struct vm *some_vm(void)
{
	unsigned from = fiber_below(ARRAY_LEN(vm_names));
	struct vm *vm = NULL;

	for (unsigned i = 0; i < ARRAY_LEN(vm_names) && !vm; i++)
		vm = vm_find(vm_names[(from + i) % ARRAY_LEN(vm_names)]);
	return vm;
}

static bool stands(const struct vm *vm)
{
	return vm->run_state == VM_PAUSED || vm->run_state == VM_STOPPED;
}

/* Whoever has the disk and may write it; NULL: nobody. */
static struct vm *user_of(const struct model_disk *d)
{
	for (unsigned i = 0; i < ARRAY_LEN(vm_names); i++) {
		struct vm *vm = vm_find(vm_names[i]);

		if (vm && guest_of(vm)->disk == d &&
		    (vm->run_state == VM_RUNNING || vm->run_state == VM_PAUSED))
			return vm;
	}
	return NULL;
}

static int boot(struct vm *vm, struct errmsg *e)
{
	struct guest *g = guest_of(vm);
	uint8_t buf[256];
	int err = disk_backend_claim(vm, NULL, e);

	for (unsigned i = 0; !err && i < 8; i++) {
		uint64_t at = fiber_below(1 << 20);

		some_bytes(buf, sizeof(buf));
		err = gmem_write(vm, gpa(at), buf, sizeof(buf));
		if (!err)
			image_write(&g->ram, at, buf, sizeof(buf));
	}
	return err;
}

static void run_guests(unsigned slices)
{
	while (slices--)
		thread_yield();
}

/* The first two machines; the others come of snapshots. */
static void step_create(void)
{
	struct vm_config c = {.vcpus = 1,
	    .sockets = 1,
	    .cores = 1,
	    .threads = 1,
	    .memory = WALK_MEMORY,
	    .cpu_model = "x86-64-v1",
	    .ndevs = 1};
	struct config_dev *d = &c.devs[0];
	unsigned i = fiber_below(2);
	struct errmsg e;
	struct vm *vm;
	int err;

	if (vm_find(vm_names[i]))
		return;
	c.vcpus = c.cores = 1 + i;
	*d = (struct config_dev){.kind = CONFIG_VIRTIO_BLK,
	    .name = "disk0",
	    .model = "amber,virtio-blk",
	    .pci_slot = 4,
	    .disk_size = 1 << 20};
	if (i)
		str_copy(d->base, sizeof(d->base), "base");
	str_format(d->backend, sizeof(d->backend), CONFIG_STORE_PREFIX "%s", i ? "based" : "plain");
	if (vm_config_rename(&c, vm_names[i], &e))
		walk_fail("%s", e.text);
	say("create %s", c.name);
	walk_virt.npt = &walk_formats[fiber_below(ARRAY_LEN(walk_formats))];
	err = vm_create(&c, &vm, &e);
	if (!failed(err, &e, ALLOW(ERR_NOSPACE)))
		(void)failed(vm_start(vm, &e), &e, ALLOW(ERR_BUSY));
}

/* Which it is drawn to do; a machine that stands goes on more often than not. */
static int change_power(struct vm *vm, struct errmsg *e)
{
	bool again = fiber_below(4);

	if (fiber_below(12) == 0)
		return vm_destroy(vm), OK;
	if (vm->run_state == VM_PAUSED && again)
		return vm_resume(vm, e);
	if ((vm->run_state == VM_STOPPED || vm->run_state == VM_FROZEN) && again)
		return vm_start(vm, e);
	switch (fiber_below(8)) {
	case 0:
		return vm_poweroff(vm, e);
	case 1:
		return vm_reset(vm, e);
	case 2:
		return vm_start(vm, e);
	case 3:
		return vm_resume(vm, e);
	default:
		return vm_pause(vm, e);
	}
}

static void step_power(void)
{
	struct vm *vm = some_vm();
	struct errmsg e = {""};

	if (!vm)
		return;
	say("power of %s (%s)", vm->config.name, vm_state_text(vm->run_state));
	(void)failed(change_power(vm, &e), &e, ALLOW(ERR_STATE, ERR_BUSY));
}

static void step_run(void)
{
	run_guests(100 + fiber_below(400));
}

/* --- saving -------------------------------------------------------------------------- */

static unsigned cancel_in;

static bool on_progress(void *ctx, uint64_t done, uint64_t total)
{
	run_guests(fiber_below(6));
	return cancel_in == 0 || --cancel_in > 0;
}

/* After an error of the disk: which one is there? */
static void end_errors(void);

static void settle_save(unsigned i)
{
	uint8_t id[16];

	if (!w.shaky)
		return;
	end_errors();
	if (!snap_id(i, id))
		return;
	if (snap[i].used && memcmp(id, snap[i].id, 16) == 0)
		return;
	say("  it is there all the same");
	content_copy(&snap[i].c, &w.instant);
	memcpy(snap[i].id, id, 16);
	snap[i].used = true;
}

static void step_save(void)
{
	static const unsigned kinds[] = {0, 0, 0, 0, 0, SAVE_FULL, SAVE_POWEROFF};
	struct vm *vm = some_vm();
	unsigned i = fiber_below(SNAPS), flags = kinds[fiber_below(ARRAY_LEN(kinds))];
	struct save_result out;
	struct errmsg e;
	int err;

	if (!vm || (vm->run_state != VM_RUNNING && vm->run_state != VM_PAUSED))
		return;
	if (fiber_below(8))
		flags |= SAVE_REPLACE;
	cancel_in = fiber_below(5) ? 0 : 1 + fiber_below(12);
	say("save %s (%s) as %s, flags %x, cancel %u", vm->config.name,
	    vm_state_text(vm->run_state), snap_name(i), flags, cancel_in);
	w.capturing = vm;
	if (vm->run_state == VM_PAUSED)
		capture_instant(guest_of(vm));
	err = engine_save(vm, snap_name(i), flags, 1 + fiber_below(6), on_progress, NULL, &out, &e);
	w.capturing = NULL;
	did.full += err == ERR_NOSPACE;
	if (failed(err, &e, ALLOW(ERR_CANCELLED, ERR_NOSPACE, ERR_EXIST, ERR_STATE))) {
		settle_save(i);
		return;
	}
	did.saves++;
	content_copy(&snap[i].c, &w.instant);
	memcpy(snap[i].id, out.info.id, 16);
	snap[i].used = true;
	if (vm->run_state == VM_FROZEN) /* whose memory is given back */
		image_make(&guest_of(vm)->ram, WALK_MEMORY);
	if (!w.shaky && !fiber_below(3))
		compare_snap(i);
}

static int some_snap(void)
{
	unsigned from = fiber_below(SNAPS);

	for (unsigned i = 0; i < SNAPS; i++)
		if (snap[(from + i) % SNAPS].used)
			return (int)((from + i) % SNAPS);
	return -1;
}

static void step_restore(void)
{
	struct restore_result out;
	const char *as = fiber_below(4) ? NULL : vm_names[fiber_below(4)];
	unsigned flags =
	    (fiber_below(3) ? 0 : RESTORE_EAGER) | (fiber_below(5) ? 0 : RESTORE_PAUSED);
	int i = some_snap(), err;
	struct content c = {NULL};
	struct errmsg e;

	if (i < 0)
		return;
	content_copy(&c, &snap[i].c);
	say("restore %s as %s, flags %x", snap_name((unsigned)i), as ? as : "itself", flags);
	w.from = &c;
	err = engine_restore(snap_name((unsigned)i), as, flags, NULL, NULL, &out, &e);
	w.from = NULL;
	if (!failed(err, &e, ALLOW(ERR_NOSPACE, ERR_BUSY, ERR_NOENT, ERR_RANGE, ERR_STATE))) {
		struct vm *vm = vm_find(out.vm);

		did.restores++;
		guest_settle(guest_of(vm));
		if (fiber_below(2))
			compare_ram(vm, fiber_below(2));
	}
	content_free(&c);
}

/* Disks of clones that came to nothing are gone. */
static void settle_disks(void)
{
	struct errmsg e;
	struct store *s = lock_store(&e);

	if (!s)
		return;
	for (unsigned i = 0; i < MODEL_DISKS; i++) {
		struct vdisk v;

		if (w.disk[i].used && vdisk_get(s, w.disk[i].name, &v, &e) == ERR_NOENT)
			disk_drop(&w.disk[i]);
	}
	engine_unlock();
}

static void step_clone(void)
{
	int i = some_snap(), err;
	unsigned count = 1 + fiber_below(2), made;
	const char *as = count == 2 ? "e" : vm_names[2 + fiber_below(2)];
	struct content c = {NULL};
	struct errmsg e;

	if (i < 0 || strlen(snap[i].c.disk->name) > 8)
		return;
	content_copy(&c, &snap[i].c);
	say("clone %s as %s, %u", snap_name((unsigned)i), as, count);
	w.from = &c;
	w.cloning = true;
	err = engine_clone(
	    snap_name((unsigned)i), as, count, fiber_below(3) ? 0 : RESTORE_PAUSED, &made, &e);
	w.from = NULL;
	w.cloning = false;
	if (failed(err, &e, ALLOW(ERR_NOSPACE, ERR_EXIST, ERR_NOENT, ERR_RANGE, ERR_STATE)))
		settle_disks();
	did.clones += made;
	content_free(&c);
}

/* --- marks --------------------------------------------------------------------------- */

static void step_mark(void)
{
	struct vm *vm = some_vm();
	struct guest *g = vm ? guest_of(vm) : NULL;
	struct errmsg e;
	int err;

	if (!vm)
		return;
	say("mark %s (%s)", vm->config.name, vm_state_text(vm->run_state));
	w.capturing = vm;
	if (vm->run_state == VM_PAUSED)
		capture_instant(g);
	err = vm_mark(vm, &e);
	w.capturing = NULL;
	if (failed(err, &e, ALLOW(ERR_STATE, ERR_NOSPACE, ERR_RANGE)))
		return;
	content_copy(&g->mark, &w.instant);
}

static void step_rewind(void)
{
	struct vm *vm = some_vm();
	struct rewind_result r;
	struct errmsg e;

	if (!vm)
		return;
	if (!vm->mark) {
		step_mark();
		return;
	}
	say("rewind %s (%s)", vm->config.name, vm_state_text(vm->run_state));
	w.rewinding = vm;
	if (!failed(vm_rewind(vm, &r, &e), &e,
		ALLOW(ERR_BUSY, ERR_NOSPACE, ERR_NOENT, ERR_STATE, ERR_CORRUPT)))
		did.rewinds++;
	w.rewinding = NULL;
	if (vm->run_state != VM_RUNNING)
		compare_ram(vm, false);
}

static void step_unmark(void)
{
	struct vm *vm = some_vm();
	struct errmsg e;

	if (!vm)
		return;
	say("unmark %s", vm->config.name);
	(void)failed(vm_unmark(vm, &e), &e, ALLOW(ERR_STATE));
}

/* --- the store ----------------------------------------------------------------------- */

static void step_delete(void)
{
	int i = some_snap(), err;
	struct errmsg e;
	struct store *s;
	uint8_t id[16];

	if (i < 0)
		return;
	say("delete snapshot %s", snap_name((unsigned)i));
	s = lock_store(&e);
	if (!s)
		return;
	err = snap_delete(s, snap_name((unsigned)i), &e);
	engine_unlock();
	did.deletes++;
	if (failed(err, &e, ALLOW(0)))
		end_errors();
	if (!err || !snap_id((unsigned)i, id))
		snap_forget(&snap[i]);
}

static bool flatten_progress(void *ctx, uint64_t done, uint64_t total)
{
	return fiber_below(200) != 0;
}

static void step_flatten(void)
{
	int i = some_snap(), err;
	struct errmsg e;
	struct store *s;

	if (i < 0)
		return;
	say("flatten snapshot %s", snap_name((unsigned)i));
	s = lock_store(&e);
	if (!s)
		return;
	err = snap_flatten(s, snap_name((unsigned)i), flatten_progress, NULL, &e);
	engine_unlock();
	did.flat += !failed(err, &e, ALLOW(ERR_BUSY, ERR_NOSPACE, ERR_CANCELLED));
}

static struct model_disk *some_disk(void)
{
	unsigned from = fiber_below(MODEL_DISKS);

	for (unsigned i = 0; i < MODEL_DISKS; i++)
		if (w.disk[(from + i) % MODEL_DISKS].used)
			return &w.disk[(from + i) % MODEL_DISKS];
	return NULL;
}

static void disk_merge(struct model_disk *d)
{
	struct errmsg e;
	bool done = false;
	int err = OK;

	for (unsigned n = 1 + fiber_below(40); n && !err && !done; n--) {
		struct store *s = lock_store(&e);
		struct blk_dev *b;

		if (!s)
			return;
		err = overlay_blk_open(s, d->name, &b, &e);
		if (!err)
			err = overlay_flatten_step(overlay_blk_disk(b), s, &done, &e);
		engine_unlock();
		thread_yield();
	}
	(void)failed(err, &e, ALLOW(ERR_NOSPACE));
}

static void disk_resize(struct model_disk *d)
{
	uint64_t size = d->now.size == 1 << 20 ? (1 << 20) + 96 * PAGE_SIZE : 1 << 20;
	struct errmsg e;
	struct blk_dev *b;
	struct image old = {.size = 0};
	struct store *s;
	int err;

	if (user_of(d))
		return;
	s = lock_store(&e);
	if (!s)
		return;
	err = overlay_blk_open(s, d->name, &b, &e);
	if (!err)
		err = overlay_resize(overlay_blk_disk(b), s, size, true, &e);
	if (!err)
		overlay_blk_resized(b);
	engine_unlock();
	if (failed(err, &e, ALLOW(ERR_NOSPACE)))
		return;
	image_copy(&old, &d->now);
	image_copy_sized(&d->now, &old, size);
	image_free(&old);
}

static void disk_commit(struct model_disk *d)
{
	struct errmsg e;

	if (!user_of(d))
		(void)failed(overlay_blk_commit(d->name, NULL, NULL, &e), &e,
		    ALLOW(ERR_UNSUPPORTED, ERR_BUSY, ERR_RANGE, ERR_NOSPACE));
}

static void disk_delete(struct model_disk *d)
{
	char name[64];
	struct blk_dev *b;
	struct errmsg e;
	struct store *s;
	int err;

	for (unsigned i = 0; i < ARRAY_LEN(vm_names); i++) {
		struct vm *vm = vm_find(vm_names[i]);

		if (vm && guest_of(vm)->disk == d)
			return;
	}
	for (unsigned i = 0; i < SNAPS; i++)
		if (snap[i].used && snap[i].c.disk == d)
			return; /* a model's simplicity: a disk has one content with its name */
	str_format(name, sizeof(name), CONFIG_STORE_PREFIX "%s", d->name);
	s = lock_store(&e);
	if (!s)
		return;
	b = blk_find(name);
	if (b)
		overlay_blk_forget(b);
	err = vdisk_delete(s, d->name, &e);
	engine_unlock();
	if (failed(err, &e, ALLOW(0)))
		settle_disks();
	else
		disk_drop(d);
}

static void step_disk(void)
{
	static void (*const what[])(struct model_disk * d) = {
	    disk_merge, disk_merge, disk_merge, disk_resize, disk_commit, disk_delete};
	struct model_disk *d = some_disk();
	unsigned i = fiber_below(ARRAY_LEN(what));

	if (!d)
		return;
	say("disk %s: %s", d->name,
	    i < 3    ? "flatten"
	    : i == 3 ? "resize"
	    : i == 4 ? "commit"
		     : "delete");
	what[i](d);
}

/* --- looking at everything ----------------------------------------------------------- */

static void compare_machine(struct vm *vm)
{
	bool ran = vm->run_state == VM_RUNNING;
	struct errmsg e;

	if (vm->run_state == VM_FROZEN || (ran && vm_pause(vm, &e)))
		return;
	compare_ram(vm, fiber_below(4) == 0);
	if (stands(vm) && user_of(guest_of(vm)->disk) == vm)
		compare_disk(guest_of(vm)->disk);
	if (ran)
		(void)failed(vm_resume(vm, &e), &e, ALLOW(ERR_STATE));
}

static void step_look(void)
{
	struct vm *vm = some_vm();
	int i = some_snap();

	if (w.shaky)
		return;
	say("look");
	if (vm)
		compare_machine(vm);
	if (i >= 0)
		compare_snap((unsigned)i);
	check_store(false);
	check_lists();
}

#include "tests/unit/engine_power.h"

/* --- the walk ------------------------------------------------------------------------ */

static void (*const steps[])(void) = {step_create, step_create, step_power, step_power, step_run,
    step_run, step_save, step_save, step_save, step_save, step_restore, step_restore, step_clone,
    step_mark, step_rewind, step_rewind, step_delete, step_flatten, step_disk, step_disk,
    step_look};
static void (*const rare[])(void) = {
    step_unmark, step_mount, step_cut, step_cut, step_errors, step_errors};

static void make_room(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SNAPS; i++)
		n += snap[i].used;
	if (did.full % 3 == 2 && n > 1) {
		did.full++;
		step_delete();
		step_delete();
	}
}

/* Machines that wait for room go on: there may be some. */
static void wake_stalled(void)
{
	struct errmsg e;

	for (unsigned i = 0; i < ARRAY_LEN(vm_names); i++) {
		struct vm *vm = vm_find(vm_names[i]);

		if (vm && vm->run_state == VM_PAUSED && vm->disposition == DISP_NO_SPACE)
			(void)failed(vm_resume(vm, &e), &e, ALLOW(ERR_STATE));
	}
}

/* The store's check in a process of its own, so that the walk is the same with it and without. */
static void check_aside(void)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		check_store(false);
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status))
		walk_fail("the store's check has failed");
}

static void drawn_step(void)
{
	steps[fiber_below(ARRAY_LEN(steps))]();
}

static void one_step(void)
{
	tale.step++;
	if (w.shaky && (part.fail_for == 0 || fiber_below(12) == 0))
		end_errors();
	if (fiber_below(25) == 0)
		rare[w.shaky ? 0 : fiber_below(ARRAY_LEN(rare))]();
	else
		drawn_step();
	run_guests(fiber_below(60));
	make_room();
	wake_stalled();
	if (tale.careful && !w.shaky)
		check_aside();
}

/* Nobody runs: all that waited for its last reader is gone, and so is the memory. */
static void nothing_is_held(void)
{
	uint64_t backed, promised;
	struct errmsg e;
	struct store *s;

	destroy_all();
	s = lock_store(&e);
	for (unsigned i = 0; i < MODEL_DISKS; i++)
		if (w.disk[i].used && overlay_of(&w.disk[i]))
			overlay_flatten_abort(overlay_of(&w.disk[i]), s);
	engine_unlock();
	check_store(true);
	gmem_totals(&backed, &promised);
	if (backed || promised || holders || fake_frames_outstanding())
		walk_fail("%llu bytes backed, %llu promised, %u holders, %u frames",
		    (unsigned long long)backed, (unsigned long long)promised, holders,
		    fake_frames_outstanding());
}

/* Everything goes, and nothing is left. */
static void the_end(void)
{
	struct store_check_result r;
	struct errmsg e;
	struct store *s;
	int err;

	if (w.shaky)
		end_errors();
	for (unsigned i = 0; i < ARRAY_LEN(vm_names); i++)
		if (vm_find(vm_names[i]))
			compare_machine(vm_find(vm_names[i]));
	if (tale.step >= STEPS && (did.saves < 10 || did.restores < 5 || !did.rewinds || !did.cuts))
		walk_fail("hardly anything was done");
	nothing_is_held();
	step_mount();
	for (unsigned i = 0; i < SNAPS; i++)
		if (snap[i].used)
			compare_snap(i);
	for (int i; (i = some_snap()) >= 0;)
		step_delete();
	for (unsigned i = 0; i < MODEL_DISKS; i++)
		if (w.disk[i].used) {
			compare_disk(&w.disk[i]);
			disk_delete(&w.disk[i]);
		}
	s = lock_store(&e);
	err = store_commit(s, &e);
	if (!err)
		err = store_check(s, &r, NULL, NULL, &e);
	engine_unlock();
	if (err)
		walk_fail("%s", e.text);
	if (r.objects || r.data_blocks || r.orphans)
		walk_fail("%llu objects, %llu blocks of data are left",
		    (unsigned long long)r.objects, (unsigned long long)r.data_blocks);
}

static void host_start(void)
{
	struct fake_disk *whole = fake_disk_new("whole", BASE_BYTES / SECTOR);
	static struct blk_dev base = {
	    .name = "base", .part_guid = {7}, .nsectors = BASE_BYTES / SECTOR};

	some_bytes(whole->data, BASE_BYTES);
	w.base = whole->data;
	base.parent = &whole->dev;
	memcpy(base.type_guid, whole->dev.type_guid, 16);
	list_init(&base.link);
	ASSERT(blk_add(&base) == OK);
	ASSERT(vm_manager_start() == OK);
	part_make(tale.seed % 3 ? PART_BYTES : SMALL_PART_BYTES);
	engine_init();
	ASSERT(store);
	vm_boot_hook = boot;
}

static NORETURN void walk(uint64_t seed, unsigned nsteps)
{
	signal(SIGABRT, on_abort);
	__sanitizer_set_death_callback(tell_story);
	tale.seed = seed;
	tale.verbose = getenv("AMBER_WALK_VERBOSE");
	tale.careful = getenv("AMBER_WALK_CAREFUL");
	fibers_start(seed * 7919 + 1);
	host_start();
	while (tale.step < nsteps)
		one_step();
	the_end();
	if (__lsan_do_recoverable_leak_check())
		walk_fail("memory is lost");
	print_message(
	    "seed %llu: %u saves, %u restores, %u clones, %u rewinds, %u deletes, %u "
	    "flattened, %u times full, %u cuts, %u errors; %llu guest operations, %llu of "
	    "disks, %llu again; %llu switches; %u pages compared\n",
	    (unsigned long long)seed, did.saves, did.restores, did.clones, did.rewinds, did.deletes,
	    did.flat, did.full, did.cuts, did.errors, (unsigned long long)w.guest_ops,
	    (unsigned long long)w.disk_ops, (unsigned long long)w.replays,
	    (unsigned long long)fiber_switches, did.compared);
	fflush(stdout);
	_exit(0);
}

/* A store that cannot be read for a while is not taken for a partition that has none. */
static NORETURN void blank_for_a_while(void)
{
	uint8_t head[2 * STORE_BLOCK];
	struct errmsg e;

	signal(SIGABRT, on_abort);
	fibers_start(1);
	host_start();
	ASSERT(engine_lock(&e));
	close_store();
	lost = true;
	mutex_unlock(&lock);
	memcpy(head, part.data, sizeof(head));
	memset(part.data, 0, sizeof(head));
	ASSERT(!engine_lock(&e) && strstr(e.text, "not formatted"));
	for (size_t i = 0; i < sizeof(head); i++)
		ASSERT(!part.data[i]);
	memcpy(part.data, head, sizeof(head));
	ASSERT(engine_lock(&e));
	engine_unlock();
	_exit(0);
}

static void test_blank_for_a_while(void **state)
{
	pid_t child = fork();
	int status;

	if (child == 0)
		blank_for_a_while();
	assert_true(child > 0 && waitpid(child, &status, 0) == child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static unsigned from_env(const char *name, unsigned otherwise)
{
	const char *text = getenv(name);

	return text ? (unsigned)strtoul(text, NULL, 0) : otherwise;
}

static void test_walk(void **state)
{
	unsigned first = from_env("AMBER_SEED", 1), n = from_env("AMBER_WALK_SEEDS", SEEDS);
	unsigned nsteps = from_env("AMBER_WALK_STEPS", STEPS), bad = 0;

	for (unsigned i = 0; i < n; i++) {
		pid_t child = fork();
		int status;

		if (child == 0)
			walk(first + i, nsteps);
		assert_true(child > 0 && waitpid(child, &status, 0) == child);
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			print_error("seed %u failed\n", first + i);
		bad += !WIFEXITED(status) || WEXITSTATUS(status);
	}
	assert_int_equal(bad, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_blank_for_a_while),
	    cmocka_unit_test(test_walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
