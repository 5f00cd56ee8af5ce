/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands 'vm ...' (vm console is in cmd_attach.c). */
#include "hv/console/call_vm.h"
#include "hv/console/complete.h"
#include "hv/console/table.h"
#include "hv/core/device.h"
#include "hv/core/gmem_track.h"
#include "hv/core/virt_ops.h"
#include "hv/core/vm.h"
#include "hv/dev/acpi_pm.h"
#include "hv/lib/fmt.h"
#include "hv/snapshot/engine.h"

static const struct command_arg name_arg[] = {
    COMMAND_ARG("NAME", ARG_REQUIRED, "the vm", .complete = complete_vm),
    COMMAND_ARGS_END,
};

static void describe(struct console_call *c, const struct vm *vm)
{
	struct json *j = call_json(c);

	json_string(j, "name", vm->config.name);
	json_string(j, "state", vm_state_text(vm->run_state));
	json_string(j, "disposition", vm_disposition_text(vm->disposition));
	if (vm->disposition == DISP_DEBUG_EXIT)
		json_number(j, "exit_code", vm->exit_code);
	json_number(j, "vcpus", vm->nvcpus);
	json_number(j, "memory_mib", vm->config.memory / MIB);
}

static void list_one(struct vm *vm, void *arg)
{
	struct console_call *c = arg;
	char end[32];

	str_format(end, sizeof(end), vm->disposition == DISP_DEBUG_EXIT ? "%s %u" : "%s",
	    vm_disposition_text(vm->disposition), vm->exit_code);
	call_print(c, "%-20s %-9s %-13s %5u %7u MiB\n", vm->config.name,
	    vm_state_text(vm->run_state), end, vm->nvcpus, (unsigned)(vm->config.memory / MIB));
	json_object(call_json(c), NULL);
	describe(c, vm);
	json_close(call_json(c));
}

static int list_run(struct console_call *c)
{
	call_print(
	    c, "%-20s %-9s %-13s %5s %11s\n", "name", "state", "disposition", "vcpus", "memory");
	json_array(call_json(c), "vms");
	vm_foreach(list_one, c);
	json_close(call_json(c));
	return OK;
}

CONSOLE_COMMAND(vm_list) = {
    .words = "vm list",
    .help = "list the machines",
    .run = list_run,
};

static void info_devices(struct console_call *c, const struct vm *vm)
{
	struct json *j = call_json(c);

	json_array(j, "devices");
	for (uint32_t i = 0; i < vm->config.ndevs; i++) {
		const struct config_dev *d = &vm->config.devs[i];

		call_print(c, "  %-12s %-22s %s\n", d->name, d->model, d->backend);
		json_object(j, NULL);
		json_string(j, "name", d->name);
		json_string(j, "model", d->model);
		json_string(j, "backend", d->backend);
		json_close(j);
	}
	json_close(j);
}

static int info_run(struct console_call *c)
{
	struct vm *vm = call_vm(c, "NAME");
	struct json *j = call_json(c);

	if (!vm)
		return ERR_NOENT;
	call_print(c, "%s: %s, disposition %s\n", vm->config.name, vm_state_text(vm->run_state),
	    vm_disposition_text(vm->disposition));
	if (vm->reason[0])
		call_print(c, "  reason: %s\n", vm->reason);
	call_print(c, "  %u vCPUs (%u sockets, %u cores, %u threads), %u MiB, CPU model %s\n",
	    vm->nvcpus, vm->config.sockets, vm->config.cores, vm->config.threads,
	    (unsigned)(vm->config.memory / MIB), vm->config.cpu_model);
	call_print(c, "  time %llu.%03llu s, TSC %llu kHz\n",
	    (unsigned long long)(vm_time(vm) / 1000000000),
	    (unsigned long long)(vm_time(vm) / 1000000 % 1000),
	    (unsigned long long)(vm->tsc_hz / 1000));
	describe(c, vm);
	json_string(j, "reason", vm->reason);
	json_string(j, "cpu_model", vm->config.cpu_model);
	json_number(j, "vm_time_ns", vm_time(vm));
	json_number(j, "tsc_hz", vm->tsc_hz);
	info_devices(c, vm);
	return OK;
}

CONSOLE_COMMAND(vm_info) = {
    .words = "vm info",
    .help = "show a machine's state and configuration",
    .args = name_arg,
    .run = info_run,
};

/* --- life cycle: the commands differ in one call ---------------------------------- */

static int life_cycle(struct console_call *c, int (*op)(struct vm *vm, struct errmsg *e))
{
	struct vm *vm = call_vm(c, "NAME");
	struct errmsg e;
	int err;

	if (!vm)
		return ERR_NOENT;
	err = op(vm, &e);
	if (err)
		return call_fail(c, err, "%s", e.text);
	describe(c, vm);
	return OK;
}

/* A frozen machine that is started anew lives again: its snapshot stays, but it waits no longer. */
static int start(struct vm *vm, struct errmsg *e)
{
	int err = vm_start(vm, e);

	return err ? err : engine_clear_frozen(&vm->config, e);
}

/* As start(): a machine that was frozen and powered off may be reset to life. */
static int reset(struct vm *vm, struct errmsg *e)
{
	int err = vm_reset(vm, e);

	return err ? err : engine_clear_frozen(&vm->config, e);
}

static int start_run(struct console_call *c)
{
	return life_cycle(c, start);
}
/* Waits until the machine's own clock has come so far: tests pause at chosen moments. */
static int wait_until(struct console_call *c, uint64_t at)
{
	struct vm *vm = call_vm(c, "NAME");
	uint64_t now;

	if (!vm)
		return ERR_NOENT;
	now = vm_time(vm);
	while (vm->run_state == VM_RUNNING && now < at) {
		if (call_cancelled(c))
			return call_fail(c, ERR_CANCELLED, "cancelled");
		thread_sleep(MIN(at - now, 100000000ULL));
		now = vm_time(vm);
	}
	return OK;
}

static int pause_run(struct console_call *c)
{
	int err = wait_until(c, call_number(c, "--at", 0));

	return err ? err : life_cycle(c, vm_pause);
}
static int resume_run(struct console_call *c)
{
	return life_cycle(c, vm_resume);
}
static int reset_run(struct console_call *c)
{
	return life_cycle(c, reset);
}
static int poweroff_run(struct console_call *c)
{
	return life_cycle(c, vm_poweroff);
}

static int wants_running(const struct vm *vm, struct errmsg *e)
{
	return vm->run_state == VM_RUNNING ? OK
					   : err_set(e, ERR_STATE, "vm '%s' is %s", vm->config.name,
						 vm_state_text(vm->run_state));
}
static int press(struct vm *vm, struct errmsg *e)
{
	int err = wants_running(vm, e);

	if (!err)
		acpi_pm_power_button(vm);
	return err;
}
static int shutdown_run(struct console_call *c)
{
	return life_cycle(c, press);
}
static int nmi(struct vm *vm, struct errmsg *e)
{
	int err = wants_running(vm, e);

	for (unsigned i = 0; !err && i < vm->nvcpus; i++)
		vlapic_lint1(&vm->vcpus[i]->lapic);
	return err;
}
static int nmi_run(struct console_call *c)
{
	return life_cycle(c, nmi);
}

static const struct command_arg pause_args[] = {
    COMMAND_ARG("NAME", ARG_REQUIRED, "the vm", .complete = complete_vm),
    COMMAND_ARG(
	"--at", ARG_VALUE, "not before its clock shows so many nanoseconds", .number = true),
    COMMAND_ARGS_END,
};

CONSOLE_COMMAND(vm_start_command) = {
    .words = "vm start",
    .help = "power a machine on",
    .args = name_arg,
    .run = start_run,
};
CONSOLE_COMMAND(vm_pause_command) = {
    .words = "vm pause",
    .help = "stop a machine between two instructions; its clock stands still",
    .args = pause_args,
    .run = pause_run,
};
CONSOLE_COMMAND(vm_resume_command) = {
    .words = "vm resume",
    .help = "let a paused machine go on",
    .args = name_arg,
    .run = resume_run,
};
CONSOLE_COMMAND(vm_reset_command) = {
    .words = "vm reset",
    .help = "reset a machine, as its reset button would",
    .args = name_arg,
    .run = reset_run,
};
CONSOLE_COMMAND(vm_shutdown_command) = {
    .words = "vm shutdown",
    .help = "press a machine's power button: its system shuts down, if it heeds that",
    .args = name_arg,
    .run = shutdown_run,
};
CONSOLE_COMMAND(vm_nmi_command) = {
    .words = "vm nmi",
    .help = "send a non-maskable interrupt to all vCPUs of a machine, by LINT1",
    .args = name_arg,
    .run = nmi_run,
};
CONSOLE_COMMAND(vm_poweroff_command) = {
    .words = "vm poweroff",
    .help = "power a machine off at once; its memory is lost",
    .args = name_arg,
    .run = poweroff_run,
};

static int destroy_run(struct console_call *c)
{
	struct vm *vm = call_vm(c, "NAME");

	if (!vm)
		return ERR_NOENT;
	if (!call_confirm(c, "destroy vm '%s'", vm->config.name))
		return ERR_CANCELLED;
	vm_destroy(vm);
	return OK;
}

CONSOLE_COMMAND(vm_destroy_command) = {
    .words = "vm destroy",
    .help = "stop a machine and forget it until the next boot",
    .args = name_arg,
    .flags = CMD_ASKS,
    .run = destroy_run,
};

/* --- statistics ------------------------------------------------------------------------ */

#define EXIT_TEXT(name, text) [name] = (text),
static const char *const exit_text[EXIT_REASON_COUNT] = {VM_EXIT_TABLE(EXIT_TEXT)};
#undef EXIT_TEXT

static void stats_vcpu(struct console_call *c, const struct vcpu *v)
{
	struct json *j = call_json(c);

	call_print(c, "vcpu%u: %llu exits\n", v->index, (unsigned long long)v->stat_exits);
	json_object(j, NULL);
	json_number(j, "exits", v->stat_exits);
	json_object(j, "by_reason");
	for (unsigned r = 0; r < EXIT_REASON_COUNT; r++) {
		if (!v->stat_exit[r])
			continue;
		call_print(c, "  %12llu  %s\n", (unsigned long long)v->stat_exit[r], exit_text[r]);
		json_number(j, exit_text[r], v->stat_exit[r]);
	}
	json_close(j);
	json_close(j);
}

static void stats_memory(struct console_call *c, struct vm *vm)
{
	char has[24], may[24];
	uint64_t backed, promised;
	struct gmem_paging p;

	gmem_stat(vm, &backed, &promised);
	call_print(c, "memory: %s of the host's in use, %s more promised\n",
	    size_text(backed, has, sizeof(has)), size_text(promised, may, sizeof(may)));
	json_number(call_json(c), "backed_bytes", backed);
	json_number(call_json(c), "promised_bytes", promised);
	gmem_paging(vm, &p);
	if (p.waits || p.missing)
		call_print(c,
		    "from its snapshot: %s still to come; waited for %llu times, %llu us\n",
		    size_text(p.missing, has, sizeof(has)), (unsigned long long)p.waits,
		    (unsigned long long)(p.wait_ns / 1000));
	json_number(call_json(c), "missing_bytes", p.missing);
	json_number(call_json(c), "page_waits", p.waits);
	json_number(call_json(c), "page_wait_ns", p.wait_ns);
}

/* By device; elsewhere are addresses that nobody claims, and the local APICs. */
static void stats_unhandled(struct console_call *c, struct vm *vm)
{
	struct json *j = call_json(c);
	uint64_t elsewhere = vm->stat_unhandled_io;
	struct list *pos;

	call_print(c, "not answered: %llu port or device accesses, %llu MSRs, %llu instructions\n",
	    (unsigned long long)vm->stat_unhandled_io, (unsigned long long)vm->stat_unhandled_msr,
	    (unsigned long long)vm->stat_unhandled_insn);
	json_number(j, "unhandled_io", vm->stat_unhandled_io);
	json_number(j, "unhandled_msr", vm->stat_unhandled_msr);
	json_number(j, "unhandled_insn", vm->stat_unhandled_insn);
	json_object(j, "unhandled_by_device");
	LIST_FOREACH(pos, &vm->devices)
	{
		const struct device *d = LIST_ENTRY(pos, struct device, link);
		uint64_t n = __atomic_load_n(&d->unhandled, __ATOMIC_RELAXED);

		if (!n)
			continue;
		elsewhere -= MIN(n, elsewhere); /* the guest may be at it */
		call_print(c, "  %-16s %llu\n", d->name, (unsigned long long)n);
		json_number(j, d->name, n);
	}
	json_close(j);
	if (elsewhere)
		call_print(c, "  %-16s %llu\n", "elsewhere", (unsigned long long)elsewhere);
}

static int stats_run(struct console_call *c)
{
	struct vm *vm = call_vm(c, "NAME");
	struct json *j = call_json(c);

	if (!vm)
		return ERR_NOENT;
	json_array(j, "vcpus");
	for (unsigned i = 0; i < vm->nvcpus; i++)
		stats_vcpu(c, vm->vcpus[i]);
	json_close(j);
	stats_unhandled(c, vm);
	stats_memory(c, vm);
	return OK;
}

CONSOLE_COMMAND(vm_stats) = {
    .words = "vm stats",
    .help = "count a machine's exits by reason, and its memory",
    .args = name_arg,
    .run = stats_run,
};
