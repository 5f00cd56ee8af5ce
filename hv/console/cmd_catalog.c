/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands 'snapshot list|info|verify|flatten|delete'. */
#include "hv/console/complete.h"
#include "hv/console/snap_show.h"
#include "hv/lib/fmt.h"
#include "hv/snapshot/engine.h"

static void list_one(void *ctx, const struct snap_entry *x, unsigned depth)
{
	const struct snap_info *i = &x->info;
	int indent = 2 * (int)MIN(depth, (unsigned)STORE_CHAIN_MAX);
	struct console_call *c = ctx;
	char when[SNAP_TIME_SIZE], size[32];

	call_print(c, "%*s%-*s %-20s %10s  %s\n", indent, "", MAX(20 - indent, 1), i->name, i->vm,
	    size_text(snap_own_bytes(i), size, sizeof(size)), snap_time_text(i->created, when));
}

/* The list is made with the store locked, and shown without: a serial line is slow. */
static int list_run(struct console_call *c)
{
	struct snap_tree t;
	struct errmsg e;
	struct store *s = engine_lock(&e);
	int err;

	if (!s)
		return call_fail(c, ERR_NOENT, "%s", e.text);
	err = snap_tree_get(s, &t, &e);
	engine_unlock();
	if (!err) {
		call_print(c, "%-20s %-20s %10s  %s\n", "name", "vm", "size", "created");
		snap_tree_walk(&t, list_one, c);
	}
	if (!err && t.ndamaged)
		call_print(c, "(%lu damaged: %s)\n", t.ndamaged, t.damaged.text);
	json_array(call_json(c), "snapshots");
	for (size_t i = 0; !err && i < t.n; i++) {
		json_object(call_json(c), NULL);
		snap_show_json(call_json(c), &t, &t.entry[i]);
		json_close(call_json(c));
	}
	json_close(call_json(c));
	snap_tree_free(&t);
	return err ? call_fail(c, err, "%s", e.text) : OK;
}

CONSOLE_COMMAND(snapshot_list) = {
    .words = "snapshot list",
    .help = "list the snapshots, each below the one that it holds the changes since",
    .run = list_run,
};

static const struct command_arg name_args[] = {
    COMMAND_ARG("NAME", ARG_REQUIRED, "the snapshot", .complete = complete_snapshot),
    COMMAND_ARGS_END,
};

/* Runs fn on the open snapshot that the command names, with the store locked. */
static int with_snapshot(struct console_call *c,
    int (*fn)(struct console_call *c, struct store *s, struct snap *sn, struct errmsg *e))
{
	const char *name = call_arg(c, "NAME");
	struct errmsg e;
	struct store *s = engine_lock(&e);
	struct snap *sn;
	int err;

	if (!s)
		return call_fail(c, ERR_NOENT, "%s", e.text);
	err = snap_name_check(name, &e);
	if (!err)
		err = snap_open(s, name, &sn, &e);
	if (!err) {
		err = fn(c, s, sn, &e);
		snap_close(sn);
	}
	engine_unlock();
	return err ? call_fail(c, err, "%s", e.text) : OK;
}

/* What its memory is read through, and what that takes. */
static void info_chain(struct console_call *c, const struct snap_tree *t,
    const struct snap_entry *x, const struct snap_info *i)
{
	uint64_t total = i->total_stored_bytes + i->state_bytes;
	char size[32], id[37];

	json_number(call_json(c), "levels", i->levels);
	json_number(call_json(c), "total_bytes", total);
	if (x->based && x->parent == SNAP_NO_PARENT)
		call_print(c, "  changes since a snapshot that is gone, id %s\n",
		    snap_id_text(i->parent, id));
	else if (x->based)
		call_print(c, "  changes since '%s'\n", t->entry[x->parent].info.name);
	if (i->levels > 1)
		call_print(c, "  %u levels, %s in the store together\n", i->levels,
		    size_text(total, size, sizeof(size)));
}

static void info_set(struct console_call *c, struct snap *sn)
{
	struct errmsg e;
	char size[32];
	unsigned n;
	int err = snap_set(sn, NULL, &n, &e);

	if (err)
		call_print(c, "  %s\n", e.text);
	else if (n)
		call_print(c, "  a working set of %s\n",
		    size_text((uint64_t)n * STORE_CHUNK, size, sizeof(size)));
	json_number(call_json(c), "working_set_bytes", (uint64_t)n * STORE_CHUNK);
}

static int info_disks(struct console_call *c, struct snap *sn, struct errmsg *e)
{
	struct json *j = call_json(c);

	json_array(j, "disks");
	for (unsigned n = 0; n < snap_info(sn)->ndisks; n++) {
		struct snap_disk d;
		int err = snap_disk(sn, n, &d, e);

		if (err)
			return err;
		if (d.overlay)
			call_print(c, "  disk '%s', in the store\n", d.name);
		else
			call_print(c, "  disk '%s', write epoch %llu\n", d.name,
			    (unsigned long long)d.epoch);
		json_object(j, NULL);
		json_string(j, "name", d.name);
		json_number(j, "epoch", d.epoch);
		json_bool(j, "in_store", d.overlay != 0);
		json_close(j);
	}
	json_close(j);
	return OK;
}

static int info(struct console_call *c, struct store *s, struct snap *sn, struct errmsg *e)
{
	const struct snap_info *i = snap_info(sn);
	const struct snap_entry *x;
	char id[37], when[SNAP_TIME_SIZE], size[32];
	struct snap_tree t;
	int err = snap_tree_find(s, i->name, &t, &x, e);

	if (!err) {
		call_print(
		    c, "%s: vm '%s', saved %s\n", i->name, i->vm, snap_time_text(i->created, when));
		call_print(c, "  id %s, format %u\n", snap_id_text(i->id, id), i->format);
		call_print(c, "  %u MiB of RAM, of which it holds %u MiB; %s in the store\n",
		    (unsigned)(i->memory / MIB), (unsigned)(i->ram_bytes / MIB),
		    size_text(snap_own_bytes(i), size, sizeof(size)));
		snap_show_json(call_json(c), &t, x);
		json_number(call_json(c), "format", i->format);
		json_number(call_json(c), "memory_bytes", i->memory);
		json_number(call_json(c), "ram_bytes", i->ram_bytes);
		info_chain(c, &t, x, i);
		info_set(c, sn);
		err = info_disks(c, sn, e);
	}
	snap_tree_free(&t);
	return err;
}

static int info_run(struct console_call *c)
{
	return with_snapshot(c, info);
}

CONSOLE_COMMAND(snapshot_info) = {
    .words = "snapshot info",
    .help = "show what a snapshot holds",
    .args = name_args,
    .run = info_run,
};

static int verify(struct console_call *c, struct store *s, struct snap *sn, struct errmsg *e)
{
	struct watch w = {.call = c, .what = "verifying"};
	int err = snap_verify(sn, watch_progress, &w, e);

	(void)s;
	watch_end(&w);
	if (!err)
		call_print(c, "snapshot '%s' is sound\n", snap_info(sn)->name);
	return err;
}

static int verify_run(struct console_call *c)
{
	return with_snapshot(c, verify);
}

CONSOLE_COMMAND(snapshot_verify) = {
    .words = "snapshot verify",
    .help = "read a snapshot and check every checksum",
    .args = name_args,
    .run = verify_run,
};

/* Reads and writes what the levels hold; guests that want to write to the store wait meanwhile. */
static int flatten_run(struct console_call *c)
{
	struct watch w = {.call = c, .what = "flattening"};
	const char *name = call_arg(c, "NAME");
	struct errmsg e;
	struct store *s = engine_lock(&e);
	int err;

	if (!s)
		return call_fail(c, ERR_NOENT, "%s", e.text);
	err = snap_name_check(name, &e);
	if (err)
		err = err_prefix(&e, err, "snapshot '%s'", name);
	else
		err = snap_flatten(s, name, watch_progress, &w, &e);
	engine_unlock();
	watch_end(&w);
	if (err)
		return call_fail(c, err, "%s", e.text);
	call_print(c, "snapshot '%s' needs no other\n", name);
	return OK;
}

CONSOLE_COMMAND(snapshot_flatten) = {
    .words = "snapshot flatten",
    .help = "make a snapshot independent of those that it holds the changes since",
    .args = name_args,
    .run = flatten_run,
};

/* A damaged one exists as well: it can be deleted. */
static bool exists(const char *name, struct errmsg *e)
{
	struct store *s = engine_lock(e);
	struct snap *sn;
	int err;

	if (!s)
		return false;
	err = snap_name_check(name, e);
	if (!err)
		err = snap_open(s, name, &sn, e);
	if (!err)
		snap_close(sn);
	engine_unlock();
	return err != ERR_NOENT && err != ERR_INVAL;
}

static int delete_run(struct console_call *c)
{
	const char *name = call_arg(c, "NAME");
	struct errmsg e;
	struct store *s;
	int err;

	if (!exists(name, &e))
		return call_fail(c, ERR_NOENT, "%s", e.text);
	if (!call_confirm(c, "delete snapshot '%s'", name))
		return ERR_CANCELLED;
	s = engine_lock(&e);
	if (!s)
		return call_fail(c, ERR_NOENT, "%s", e.text);
	err = snap_delete(s, name, &e);
	engine_unlock();
	return err ? call_fail(c, err, "%s", e.text) : OK;
}

CONSOLE_COMMAND(snapshot_delete) = {
    .words = "snapshot delete",
    .help = "delete a snapshot",
    .args = name_args,
    .flags = CMD_ASKS,
    .run = delete_run,
};
