/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands 'snapshot save' and 'snapshot restore'; the others are in cmd_catalog.c. */
#include <string.h>
#include "hv/console/call_vm.h"
#include "hv/console/complete.h"
#include "hv/console/snap_show.h"
#include "hv/lib/fmt.h"
#include "hv/snapshot/engine.h"

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

/* The new snapshot in JSON; where that cannot be read any more, the rest is said all the same. */
static void describe(struct console_call *c, const char *name)
{
	const struct snap_entry *x;
	struct snap_tree t;
	struct errmsg e;
	struct store *s = engine_lock(&e);
	int err;

	if (!s)
		return;
	err = snap_tree_find(s, name, &t, &x, &e);
	engine_unlock();
	if (!err)
		snap_show_json(call_json(c), &t, x);
	snap_tree_free(&t);
}

static int save_run(struct console_call *c)
{
	struct watch w = {.call = c, .what = "saving"};
	const char *name = call_arg(c, "NAME");
	struct vm *vm = call_vm(c, "VM");
	unsigned flags = (call_arg(c, "--poweroff") ? SAVE_POWEROFF : 0) |
			 (call_arg(c, "--replace") ? SAVE_REPLACE : 0) |
			 (call_arg(c, "--full") ? SAVE_FULL : 0);
	uint64_t buffer = call_number(c, "--buffer", 0);
	char id[37], size[32], shared[32];
	struct save_result r;
	struct errmsg e;
	int err;

	if (!vm)
		return ERR_NOENT;
	err = engine_save(
	    vm, name, flags, (unsigned)MIN(buffer, 1ULL << 30) / 64, watch_progress, &w, &r, &e);
	watch_end(&w);
	if (err)
		return call_fail(c, err, "%s", e.text);
	size_text(r.info.shared_bytes, shared, sizeof(shared));
	call_print(c, "saved '%s' of vm '%s': %s%s%s%s, %u %% of %u MiB, paused %llu ms, id %s\n",
	    name, vm->config.name, size_text(r.bytes, size, sizeof(size)),
	    r.info.shared_bytes ? " (" : "", r.info.shared_bytes ? shared : "",
	    r.info.shared_bytes ? " shared)" : "", (unsigned)(r.bytes * 100 / vm->config.memory),
	    (unsigned)(vm->config.memory / MIB), (unsigned long long)(r.pause_ns / 1000000),
	    snap_id_text(r.info.id, id));
	describe(c, name);
	json_number(call_json(c), "memory_bytes", vm->config.memory);
	json_number(call_json(c), "ram_bytes", r.info.ram_bytes);
	json_number(call_json(c), "shared_bytes", r.info.shared_bytes);
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
