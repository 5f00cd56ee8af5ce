/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands 'vm mark', 'vm rewind' and 'vm unmark'. */
#include "hv/console/call_vm.h"
#include "hv/console/complete.h"
#include "hv/console/table.h"
#include "hv/core/vm_mark.h"

static const struct command_arg name_arg[] = {
    COMMAND_ARG("NAME", ARG_REQUIRED, "the vm", .complete = complete_vm),
    COMMAND_ARGS_END,
};

static int mark_run(struct console_call *c)
{
	struct vm *vm = call_vm(c, "NAME");
	struct errmsg e;
	int err;

	if (!vm)
		return ERR_NOENT;
	err = vm_mark(vm, &e);
	return err ? call_fail(c, err, "%s", e.text) : OK;
}

static int rewind_run(struct console_call *c)
{
	struct vm *vm = call_vm(c, "NAME");
	struct rewind_result r;
	struct errmsg e;
	int err;

	if (!vm)
		return ERR_NOENT;
	err = vm_rewind(vm, &r, &e);
	if (err)
		return call_fail(c, err, "%s", e.text);
	call_print(c, "vm '%s': %llu pages put back in %llu us\n", vm->config.name,
	    (unsigned long long)r.pages, (unsigned long long)(r.ns / 1000));
	json_number(call_json(c), "pages", r.pages);
	json_number(call_json(c), "ns", r.ns);
	return OK;
}

static int unmark_run(struct console_call *c)
{
	struct vm *vm = call_vm(c, "NAME");
	struct errmsg e;
	int err;

	if (!vm)
		return ERR_NOENT;
	err = vm_unmark(vm, &e);
	return err ? call_fail(c, err, "%s", e.text) : OK;
}

CONSOLE_COMMAND(vm_mark_command) = {
    .words = "vm mark",
    .help = "remember this moment of a machine in RAM, to go back to",
    .args = name_arg,
    .run = mark_run,
};
CONSOLE_COMMAND(vm_rewind_command) = {
    .words = "vm rewind",
    .help = "throw a machine back to its mark",
    .args = name_arg,
    .run = rewind_run,
};
CONSOLE_COMMAND(vm_unmark_command) = {
    .words = "vm unmark",
    .help = "forget a machine's mark and free its memory",
    .args = name_arg,
    .run = unmark_run,
};
