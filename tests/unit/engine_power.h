/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The steps of the walk over the snapshot engine in which the host fares badly: the partition
 * fails, the power fails between two steps or within one, the store is opened again.
 *
 * Included once by test_engine_walk.c, behind its other steps.
 */
#ifndef AMBER_TESTS_ENGINE_POWER_H
#define AMBER_TESTS_ENGINE_POWER_H

static void step_errors(void)
{
	say("errors");
	w.shaky = true;
	part.fail_in = fiber_below(400);
	part.fail_for = 1 + fiber_below(4);
	did.errors++;
}

static void destroy_all(void)
{
	for (unsigned i = 0; i < ARRAY_LEN(vm_names); i++)
		if (vm_find(vm_names[i]))
			vm_destroy(vm_find(vm_names[i]));
}

/* The host begins anew with what is on the partition, and opens the store. */
static void mount_again(const uint8_t *image)
{
	struct errmsg e;

	if (!engine_lock(&e))
		mutex_lock(&lock);
	for (unsigned i = 0; i < MODEL_DISKS; i++) {
		char name[64];
		struct blk_dev *b;

		str_format(name, sizeof(name), CONFIG_STORE_PREFIX "%s", w.disk[i].name);
		b = w.disk[i].used ? blk_find(name) : NULL;
		if (b)
			overlay_blk_forget(b);
	}
	if (holders)
		walk_fail("%u users hold the store, which nobody uses", holders);
	if (store)
		close_store();
	mutex_unlock(&lock);
	if (image)
		part_become(image);
	if (open_store(partition, true, &why_not))
		walk_fail("the store does not open: %s", why_not.text);
	for (unsigned i = 0; i < MODEL_DISKS; i++)
		if (w.disk[i].used) {
			blur_unsafe(&w.disk[i], &w.disk[i].now);
			memset(w.disk[i].written, 0, DISK_MAX / SECTOR * sizeof(uint64_t));
		}
}

/* What the partition has at that moment, and what of the disks may be lost. */
static void part_fails(void)
{
	part.cut = part_cut();
	part.cut_in = 0;
	for (unsigned i = 0; i < MODEL_DISKS; i++)
		if (w.disk[i].used) {
			image_copy(&w.disk[i].cut, &w.disk[i].now);
			blur_unsafe(&w.disk[i], &w.disk[i].cut);
		}
}

/* A disk as the store has it now; what it was given as a whole meanwhile, it may have or not. */
static void settle_cut_disk(const struct vdisk *v, const unsigned *switches)
{
	struct model_disk *d = disk_named(v->name);
	unsigned i;

	if (!d)
		d = disk_make(v->name, v->size, v->base.kind);
	i = (unsigned)(d - w.disk);
	if (d->cut.size == v->size && d->now.size == v->size && d->switches == switches[i])
		image_copy(&d->now, &d->cut);
	else
		image_make(&d->now, v->size), image_blur(&d->now, 0, v->size);
	image_free(&d->cut);
	d->found = true;
}

static void settle_cut_disks(const unsigned *switches)
{
	struct errmsg e;
	struct store *s = lock_store(&e);
	struct vdisk v;
	uint64_t at = 0;

	for (unsigned i = 0; i < MODEL_DISKS; i++)
		w.disk[i].found = false;
	(void)!vdisk_delete(s, "compare", &e); /* a comparison was under way */
	while (vdisk_next(s, &at, &v, &e) == OK)
		settle_cut_disk(&v, switches);
	engine_unlock();
	for (unsigned i = 0; i < MODEL_DISKS; i++)
		if (w.disk[i].used && !w.disk[i].found)
			disk_drop(&w.disk[i]);
}

/* A snapshot is as it was before the step, or as it is behind it, or is not there if it was not. */
static void settle_cut_snap(unsigned i, const struct model_snap *old)
{
	uint8_t id[16];
	bool there = snap_id(i, id);

	if (there && snap[i].used && memcmp(id, snap[i].id, 16) == 0)
		return;
	if (there ? !old->used || memcmp(id, old->id, 16) : old->used && snap[i].used)
		walk_fail(
		    "snapshot '%s' is neither as before the step nor as behind it", snap_name(i));
	model_copy(&snap[i], old);
	snap[i].used = there;
}

static void drawn_step(void);

/* The power fails somewhere in a step. */
static void step_cut(void)
{
	struct model_snap old[SNAPS] = {{.used = false}};
	unsigned switches[MODEL_DISKS];

	say("the power fails in what follows");
	did.cuts++;
	for (unsigned i = 0; i < SNAPS; i++)
		model_copy(&old[i], &snap[i]);
	for (unsigned i = 0; i < MODEL_DISKS; i++)
		switches[i] = w.disk[i].used ? w.disk[i].switches : UINT32_MAX;
	part.cut_in = 1 + fiber_below(300);
	part.cut_at_flush = fiber_below(2);
	drawn_step();
	run_guests(fiber_below(200));
	part.cut_in = 0;
	if (!part.cut)
		part_fails();
	say("it has failed");
	destroy_all();
	mount_again(part.cut);
	free(part.cut);
	part.cut = NULL;
	settle_cut_disks(switches);
	for (unsigned i = 0; i < SNAPS; i++) {
		settle_cut_snap(i, &old[i]);
		content_free(&old[i].c);
	}
	check_store(true);
	check_lists();
}

static void step_mount(void)
{
	say("mount again");
	destroy_all();
	mount_again(NULL);
	check_store(true);
	check_lists();
}

static bool store_is_dead(void)
{
	struct store_stat st = {.writable = false};

	if (store)
		store_stat(store, &st);
	return !st.writable;
}

/* The errors are over: those who were hit are stopped, and start again. */
static void end_errors(void)
{
	struct errmsg e;

	say("errors end");
	part.fail_for = 0;
	run_guests(200);
	for (unsigned i = 0; i < ARRAY_LEN(vm_names); i++) {
		struct vm *vm = vm_find(vm_names[i]);

		if (vm && (vm->run_state == VM_STOPPED || gmem_lost(vm) ||
			      disk_is_lost(guest_of(vm)->disk)))
			vm_destroy(vm);
	}
	if (store_is_dead()) /* a machine's pager keeps it so */
		destroy_all();
	if (lock_store(&e)) /* either opens the store again if it has to */
		engine_unlock();
	if (store_is_dead())
		walk_fail("the store is not opened again");
	for (unsigned i = 0; i < MODEL_DISKS; i++)
		if (w.disk[i].used && disk_is_lost(&w.disk[i]))
			overlay_forget_loss(overlay_of(&w.disk[i]));
	settle_disks();
	w.shaky = false;
}

#endif
