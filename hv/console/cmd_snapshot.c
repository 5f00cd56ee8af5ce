/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands 'snapshot ...'. */
#include <string.h>
#include "hv/console/complete.h"
#include "hv/console/progress.h"
#include "hv/console/table.h"
#include "hv/lib/fmt.h"
#include "hv/snapshot/engine.h"

/* For engine_progress: the bar, and Ctrl-C. */
struct watch {
	struct console_call *call;
	struct progress bar;
	const char *what;
	bool started;
};

static bool watch_progress(void *ctx, uint64_t done, uint64_t total)
{
	struct watch *w = ctx;

	if (!w->started) {
		progress_start(&w->bar, &w->call->out, w->what, total);
		w->started = true;
	}
	progress_update(&w->bar, done);
	return !call_cancelled(w->call);
}

static void watch_end(struct watch *w)
{
	if (w->started)
		progress_end(&w->bar);
}

/* "8f3c...": the 16 bytes in the usual text form. */
static const char *id_text(const uint8_t id[16], char out[37])
{
	char *p = out;

	for (unsigned i = 0; i < 16; i++) {
		str_format(p, 3, "%02x", id[i]);
		p += 2;
		if (i == 3 || i == 5 || i == 7 || i == 9)
			*p++ = '-';
	}
	*p = '\0';
	return out;
}

static uint64_t snapshot_bytes(const struct snap_info *i)
{
	return i->stored_bytes + i->state_bytes;
}

/* Days since 1970-01-01 to a civil date (Howard Hinnant's algorithm "civil_from_days"). */
static const char *time_text(uint64_t ns, char *out, size_t size)
{
	uint64_t s = ns / 1000000000, days = s / 86400 + 719468, era = days / 146097;
	uint64_t doe = days - era * 146097;
	uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	uint64_t mp = (5 * doy + 2) / 153, day = doy - (153 * mp + 2) / 5 + 1;
	uint64_t month = mp < 10 ? mp + 3 : mp - 9, year = yoe + era * 400 + (month <= 2);

	str_format(out, size, "%04u-%02u-%02uT%02u:%02u:%02uZ", (unsigned)year, (unsigned)month,
	    (unsigned)day, (unsigned)(s / 3600 % 24), (unsigned)(s / 60 % 60), (unsigned)(s % 60));
	return out;
}

static void describe_json(struct json *j, const struct snap_info *i)
{
	char id[37], when[32];

	json_string(j, "name", i->name);
	json_string(j, "vm", i->vm);
	json_number(j, "bytes", snapshot_bytes(i));
	json_string(j, "created", time_text(i->created, when, sizeof(when)));
	json_string(j, "id", id_text(i->id, id));
}

/* --- save --------------------------------------------------------------------------- */

static const struct command_arg save_args[] = {
    COMMAND_ARG("VM", ARG_REQUIRED, "the machine", .complete = complete_vm),
    COMMAND_ARG("NAME", ARG_REQUIRED, "the snapshot's name"),
    COMMAND_ARG("--poweroff", ARG_FLAG, "leave the machine frozen: it waits to be restored"),
    COMMAND_ARG("--replace", ARG_FLAG, "a snapshot of that name gives way"),
    COMMAND_ARG("--full", ARG_FLAG, "all of its memory, not only what has changed"),
    COMMAND_ARG("--buffer", ARG_VALUE,
	"KiB of copies that may wait for the disk while it runs on; default 4096", .number = true),
    COMMAND_ARGS_END,
};

static int save_run(struct console_call *c)
{
	struct watch w = {.call = c, .what = "saving"};
	const char *name = call_arg(c, "NAME");
	struct vm *vm = vm_find(call_arg(c, "VM"));
	unsigned flags = (call_arg(c, "--poweroff") ? SAVE_POWEROFF : 0) |
			 (call_arg(c, "--replace") ? SAVE_REPLACE : 0) |
			 (call_arg(c, "--full") ? SAVE_FULL : 0);
	uint64_t buffer = call_number(c, "--buffer", 0);
	char id[37], size[32];
	struct save_result r;
	struct errmsg e;
	int err;

	if (!vm)
		return call_fail(c, ERR_NOENT, "no vm '%s'", call_arg(c, "VM"));
	err = engine_save(vm, name, flags, (unsigned)MIN(buffer, 1ULL << 30) / 64, watch_progress,
	    &w, &r, &e);
	watch_end(&w);
	if (err)
		return call_fail(c, err, "%s", e.text);
	call_print(c, "saved '%s' of vm '%s': %s, %u %% of %u MiB, paused %llu ms, id %s\n", name,
	    vm->config.name, size_text(r.bytes, size, sizeof(size)),
	    (unsigned)(r.bytes * 100 / vm->config.memory), (unsigned)(vm->config.memory / MIB),
	    (unsigned long long)(r.pause_ns / 1000000), id_text(r.info.id, id));
	describe_json(call_json(c), &r.info);
	json_number(call_json(c), "memory_bytes", vm->config.memory);
	json_number(call_json(c), "ram_bytes", r.info.ram_bytes);
	json_number(call_json(c), "pause_ns", r.pause_ns);
	json_number(call_json(c), "busy_ns", r.busy_ns);
	return OK;
}

CONSOLE_COMMAND(snapshot_save) = {
    .words = "snapshot save",
    .help = "save a machine: state, memory, and what its disks were",
    .args = save_args,
    .run = save_run,
};

/* --- restore --------------------------------------------------------------------------- */

static const char *const clock_choices[] = {"freeze", "advance", NULL};

static const struct command_arg restore_args[] = {
    COMMAND_ARG("NAME", ARG_REQUIRED, "the snapshot", .complete = complete_snapshot),
    COMMAND_ARG("--as", ARG_VALUE, "the name of the machine that results"),
    COMMAND_ARG("--paused", ARG_FLAG, "it stays paused"),
    COMMAND_ARG("--eager", ARG_FLAG, "read and check all of its memory before it runs"),
    COMMAND_ARG("--clock", ARG_VALUE, "what its clock does: freeze (default) or advance",
	.choices = clock_choices),
    COMMAND_ARGS_END,
};

/* The machine that a restore would replace, or NULL. */
static struct vm *in_the_way(const char *name, const char *as)
{
	char vm_name[STORE_NAME_MAX + 1] = "";
	struct errmsg e;
	struct store *s;
	struct snap *sn;

	if (as)
		return vm_find(as);
	s = engine_lock(&e);
	if (!s)
		return NULL;
	if (snap_name_check(name, &e) == OK && snap_open(s, name, &sn, &e) == OK) {
		str_copy(vm_name, sizeof(vm_name), snap_info(sn)->vm);
		snap_close(sn);
	}
	engine_unlock();
	return vm_find(vm_name);
}

static int restore_run(struct console_call *c)
{
	struct watch w = {.call = c, .what = "restoring"};
	const char *name = call_arg(c, "NAME"), *as = call_arg(c, "--as");
	const char *clock = call_arg(c, "--clock");
	unsigned flags = (call_arg(c, "--paused") ? RESTORE_PAUSED : 0) |
			 (call_arg(c, "--eager") ? RESTORE_EAGER : 0) |
			 (clock && strcmp(clock, "advance") == 0 ? RESTORE_ADVANCE : 0);
	struct vm *old = in_the_way(name, as);
	struct restore_result r;
	struct errmsg e;
	int err;

	/* Frozen and stopped machines have nothing to lose. */
	if (old && (old->run_state == VM_RUNNING || old->run_state == VM_PAUSED) &&
	    !call_confirm(c, "vm '%s' is %s; put the snapshot in its place", old->config.name,
		vm_state_text(old->run_state)))
		return ERR_CANCELLED;
	err = engine_restore(name, as, flags, watch_progress, &w, &r, &e);
	watch_end(&w);
	if (err)
		return call_fail(c, err, "%s", e.text);
	call_print(c, "restored vm '%s' from '%s'\n", r.vm, name);
	json_string(call_json(c), "vm", r.vm);
	json_string(call_json(c), "snapshot", name);
	json_number(call_json(c), "ram_bytes", r.bytes);
	json_number(call_json(c), "first_insn_ns", r.first_insn_ns);
	json_number(call_json(c), "busy_ns", r.busy_ns);
	return OK;
}

CONSOLE_COMMAND(snapshot_restore) = {
    .words = "snapshot restore",
    .help = "make a machine go on from where it was saved",
    .args = restore_args,
    .flags = CMD_ASKS,
    .run = restore_run,
};

/* --- the catalog ------------------------------------------------------------------------- */

static void list_one(void *ctx, const struct snap_info *i, const struct errmsg *why)
{
	struct console_call *c = ctx;
	char when[32], size[32];

	if (!i) {
		call_print(c, "(damaged: %s)\n", why->text);
		return;
	}
	call_print(c, "%-20s %-20s %10s  %s\n", i->name, i->vm,
	    size_text(snapshot_bytes(i), size, sizeof(size)),
	    time_text(i->created, when, sizeof(when)));
	json_object(call_json(c), NULL);
	describe_json(call_json(c), i);
	json_close(call_json(c));
}

static int list_run(struct console_call *c)
{
	struct errmsg e;
	struct store *s = engine_lock(&e);
	int err;

	if (!s)
		return call_fail(c, ERR_NOENT, "%s", e.text);
	call_print(c, "%-20s %-20s %10s  %s\n", "name", "vm", "size", "created");
	json_array(call_json(c), "snapshots");
	err = snap_list(s, list_one, c, &e);
	json_close(call_json(c));
	engine_unlock();
	return err ? call_fail(c, err, "%s", e.text) : OK;
}

CONSOLE_COMMAND(snapshot_list) = {
    .words = "snapshot list",
    .help = "list the snapshots",
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

static int info(struct console_call *c, struct store *s, struct snap *sn, struct errmsg *e)
{
	const struct snap_info *i = snap_info(sn);
	struct json *j = call_json(c);
	char id[37], when[32], size[32];

	(void)s;
	call_print(c, "%s: vm '%s', saved %s\n", i->name, i->vm,
	    time_text(i->created, when, sizeof(when)));
	call_print(c, "  id %s, format %u\n", id_text(i->id, id), i->format);
	call_print(c, "  %u MiB of RAM, of which %u MiB not zero; %s in the store\n",
	    (unsigned)(i->memory / MIB), (unsigned)(i->ram_bytes / MIB),
	    size_text(snapshot_bytes(i), size, sizeof(size)));
	describe_json(j, i);
	json_number(j, "format", i->format);
	json_number(j, "memory_bytes", i->memory);
	json_number(j, "ram_bytes", i->ram_bytes);
	json_array(j, "disks");
	for (unsigned n = 0; n < i->ndisks; n++) {
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
