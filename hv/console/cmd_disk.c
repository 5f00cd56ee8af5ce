/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands 'disk ...': disks in the store. */
#include <string.h>

#include "hv/console/complete.h"
#include "hv/console/progress.h"
#include "hv/console/table.h"
#include "hv/core/vm.h"
#include "hv/lib/fmt.h"
#include "hv/snapshot/disk_object.h"
#include "hv/snapshot/engine.h"
#include "hv/snapshot/overlay_blk.h"

static const struct command_arg name_args[] = {
    COMMAND_ARG("NAME", ARG_REQUIRED, "the disk", .complete = complete_disk),
    COMMAND_ARGS_END,
};

/* --- who has it ---------------------------------------------------------------------- */

struct user {
	const char *disk;
	bool any; /* a stopped machine counts, too */
	char vm[VM_NAME_MAX + 1];
	enum vm_run_state state;
};

static void look_at(struct vm *vm, void *arg)
{
	struct user *u = arg;
	char backend[sizeof(vm->config.devs[0].backend)];

	str_format(backend, sizeof(backend), CONFIG_STORE_PREFIX "%s", u->disk);
	if (!u->any && vm->run_state != VM_RUNNING && vm->run_state != VM_PAUSED)
		return;
	for (uint32_t i = 0; i < vm->config.ndevs; i++) {
		if (strcmp(vm->config.devs[i].backend, backend) != 0)
			continue;
		str_copy(u->vm, sizeof(u->vm), vm->config.name);
		u->state = vm->run_state;
	}
}

/* Fails the command if a machine has the disk; any: whatever the machine does. */
static int refuse_if_used(struct console_call *c, const char *disk, bool any)
{
	struct user u = {.disk = disk, .any = any};

	vm_foreach(look_at, &u);
	if (!u.vm[0])
		return OK;
	return call_fail(c, ERR_BUSY, "disk '%s' is a disk of vm '%s', which is %s", disk, u.vm,
	    vm_state_text(u.state));
}

/* --- listing ------------------------------------------------------------------------- */

/* What the disk takes in the store, layers shared with snapshots included. */
static int count_layers(
    struct store *s, const struct vdisk *v, unsigned *layers, uint64_t *bytes, struct errmsg *e)
{
	struct store_object_info o, up;
	uint64_t id = v->top;
	int err = disk_object_get(s, id, &o, e);

	*layers = 0;
	*bytes = 0;
	while (!err) {
		++*layers;
		*bytes += o.blocks * STORE_BLOCK;
		err = *layers > STORE_CHAIN_MAX ? ERR_CORRUPT
						: store_object_parent(s, id, &o, &up, e);
		id = o.parent;
		o = up;
	}
	return err == ERR_NOENT && *layers ? OK : err;
}

static int list_one(
    struct console_call *c, struct store *s, const struct vdisk *v, struct errmsg *e)
{
	struct json *j = call_json(c);
	char size[32], used[32];
	uint64_t bytes;
	unsigned layers;
	int err = count_layers(s, v, &layers, &bytes, e);

	if (err)
		return err;
	call_print(c, "%-20s %10s %10s %7u  %s\n", v->name, size_text(v->size, size, sizeof(size)),
	    size_text(bytes, used, sizeof(used)), layers, v->base.kind ? v->base.name : "-");
	json_object(j, NULL);
	json_string(j, "name", v->name);
	json_number(j, "size_bytes", v->size);
	json_number(j, "bytes", bytes);
	json_number(j, "layers", layers);
	json_string(j, "base", v->base.name);
	json_close(j);
	return OK;
}

static int list_run(struct console_call *c)
{
	struct errmsg e;
	struct store *s = engine_lock(&e);
	uint64_t at = 0, before;
	struct vdisk v;
	int err;

	if (!s)
		return call_fail(c, ERR_NOENT, "%s", e.text);
	call_print(c, "%-20s %10s %10s %7s  %s\n", "name", "size", "stored", "layers", "base");
	json_array(call_json(c), "disks");
	for (;;) {
		before = at;
		err = vdisk_next(s, &at, &v, &e);
		if (!err)
			err = list_one(c, s, &v, &e);
		if (err == ERR_NOENT && at == before)
			break;
		if (err)
			call_print(c, "(damaged: %s)\n", e.text);
		if (at == before) /* no way past it */
			break;
	}
	json_close(call_json(c));
	engine_unlock();
	return err == ERR_NOENT ? OK : call_fail(c, err, "%s", e.text);
}

CONSOLE_COMMAND(disk_list) = {
    .words = "disk list",
    .help = "list the disks in the store",
    .run = list_run,
};

/* --- making and deleting ------------------------------------------------------------- */

static const struct command_arg create_args[] = {
    COMMAND_ARG("NAME", ARG_REQUIRED, "the disk"),
    COMMAND_ARG("SIZE", ARG_OPTIONAL, "its size; default: the base's", .number = true),
    COMMAND_ARG("--base", ARG_VALUE, "a partition or payload file whose content it begins with"),
    COMMAND_ARGS_END,
};

static int create_run(struct console_call *c)
{
	const char *name = call_arg(c, "NAME");
	struct errmsg e;
	struct store *s = engine_lock(&e);
	int err;

	if (!s)
		return call_fail(c, ERR_NOENT, "%s", e.text);
	err = overlay_blk_create(s, name, call_arg(c, "--base"), call_number(c, "SIZE", 0), &e);
	engine_unlock();
	return err ? call_fail(c, err, "%s", e.text) : OK;
}

CONSOLE_COMMAND(disk_create) = {
    .words = "disk create",
    .help = "make a disk in the store",
    .args = create_args,
    .run = create_run,
};

static int delete_run(struct console_call *c)
{
	const char *name = call_arg(c, "NAME");
	char device[sizeof(CONFIG_STORE_PREFIX) + VDISK_NAME_MAX];
	struct blk_dev *d;
	struct vdisk v;
	struct errmsg e;
	struct store *s;
	int err = refuse_if_used(c, name, true);

	if (err)
		return err;
	s = engine_lock(&e);
	if (!s)
		return call_fail(c, ERR_NOENT, "%s", e.text);
	err = vdisk_get(s, name, &v, &e); /* a damaged one can be deleted all the same */
	engine_unlock();
	if (err == ERR_NOENT || err == ERR_INVAL)
		return call_fail(c, err, "%s", e.text);
	if (!call_confirm(c, "delete disk '%s'", name))
		return ERR_CANCELLED;
	s = engine_lock(&e);
	if (!s)
		return call_fail(c, ERR_NOENT, "%s", e.text);
	str_format(device, sizeof(device), CONFIG_STORE_PREFIX "%s", name);
	d = blk_find(device);
	if (d && overlay_blk_is(d))
		overlay_blk_forget(d);
	err = vdisk_delete(s, name, &e);
	engine_unlock();
	return err ? call_fail(c, err, "%s", e.text) : OK;
}

CONSOLE_COMMAND(disk_delete) = {
    .words = "disk delete",
    .help = "delete a disk; snapshots keep what they need of it",
    .args = name_args,
    .flags = CMD_ASKS,
    .run = delete_run,
};

/* --- size ---------------------------------------------------------------------------- */

static const struct command_arg resize_args[] = {
    COMMAND_ARG("NAME", ARG_REQUIRED, "the disk", .complete = complete_disk),
    COMMAND_ARG("SIZE", ARG_REQUIRED, "its new size", .number = true),
    COMMAND_ARG("--force", ARG_FLAG, "throw away what lies behind the new end"),
    COMMAND_ARGS_END,
};

static int resize_run(struct console_call *c)
{
	const char *name = call_arg(c, "NAME");
	struct blk_dev *d;
	struct errmsg e;
	struct store *s;
	int err = refuse_if_used(c, name, false);

	if (err)
		return err;
	s = engine_lock(&e);
	if (!s)
		return call_fail(c, ERR_NOENT, "%s", e.text);
	err = overlay_blk_open(s, name, &d, &e);
	if (!err)
		err = overlay_resize(overlay_blk_disk(d), s, call_number(c, "SIZE", 0),
		    call_arg(c, "--force") != NULL, &e);
	if (!err)
		overlay_blk_resized(d);
	engine_unlock();
	return err ? call_fail(c, err, "%s", e.text) : OK;
}

CONSOLE_COMMAND(disk_resize) = {
    .words = "disk resize",
    .help = "make a disk larger, or smaller if nothing is behind the new end",
    .args = resize_args,
    .run = resize_run,
};

/* --- layers -------------------------------------------------------------------------- */

static int flatten_step(struct console_call *c, const char *name, bool *done, struct errmsg *e)
{
	struct store *s = engine_lock(e);
	struct blk_dev *d;
	int err;

	if (!s)
		return ERR_NOENT;
	err = overlay_blk_open(s, name, &d, e);
	if (!err)
		err = overlay_flatten_step(overlay_blk_disk(d), s, done, e);
	engine_unlock();
	if (!err && call_cancelled(c))
		err = err_set(e, ERR_CANCELLED, "cancelled");
	thread_yield();
	return err;
}

static int flatten_run(struct console_call *c)
{
	bool done = false;
	struct errmsg e;
	int err = OK;

	while (!err && !done)
		err = flatten_step(c, call_arg(c, "NAME"), &done, &e);
	return err ? call_fail(c, err, "%s", e.text) : OK;
}

CONSOLE_COMMAND(disk_flatten) = {
    .words = "disk flatten",
    .help = "merge the layers below the one that is written",
    .args = name_args,
    .run = flatten_run,
};

struct watch {
	struct console_call *call;
	struct progress bar;
	bool started;
};

static bool watch_progress(void *ctx, uint64_t done, uint64_t total)
{
	struct watch *w = ctx;

	if (!w->started)
		progress_start(&w->bar, &w->call->out, "writing back", total);
	w->started = true;
	progress_update(&w->bar, done);
	return !call_cancelled(w->call);
}

static int commit_run(struct console_call *c)
{
	const char *name = call_arg(c, "NAME");
	struct watch w = {.call = c};
	struct errmsg e;
	int err = refuse_if_used(c, name, false);

	if (err)
		return err;
	if (!call_confirm(c, "write disk '%s' into its base partition", name))
		return ERR_CANCELLED;
	err = overlay_blk_commit(name, watch_progress, &w, &e);
	if (w.started)
		progress_end(&w.bar);
	return err ? call_fail(c, err, "%s", e.text) : OK;
}

CONSOLE_COMMAND(disk_commit) = {
    .words = "disk commit",
    .help = "write what a disk holds into its base partition",
    .args = name_args,
    .flags = CMD_ASKS,
    .run = commit_run,
};
