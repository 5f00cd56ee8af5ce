/* SPDX-License-Identifier: BSD-2-Clause */
/* The command 'vm console'. */
#include <string.h>
#include "hv/console/call_vm.h"
#include "hv/console/complete.h"
#include "hv/console/console.h"
#include "hv/console/table.h"
#include "hv/core/vm.h"

/* The device of that name, or the first one if name is NULL. */
static struct chardev *find_chardev(struct vm *vm, const char *name)
{
	struct list *pos;

	LIST_FOREACH(pos, &vm->chardevs)
	{
		struct chardev *dev = LIST_ENTRY(pos, struct chardev, link);

		if (!name || strcmp(dev->name, name) == 0)
			return dev;
	}
	return NULL;
}

/* Machines go away by commands only, and this one runs until the operator leaves. */
static int attach_run(struct console_call *c)
{
	const char *name = call_arg(c, "NAME"), *device = call_arg(c, "DEVICE");
	struct vm *vm = call_vm(c, "NAME");
	struct chardev *dev;

	if (!vm)
		return ERR_NOENT;
	dev = find_chardev(vm, device);
	if (!dev)
		return call_fail(c, ERR_NOENT, "vm '%s': no serial device%s%s", name,
		    device ? " " : "", device ? device : "");
	if (c->out.as_json)
		return call_fail(c, ERR_UNSUPPORTED, "vm '%s': a console cannot be JSON", name);
	call_print(c, "connected to %s of '%s'; leave with Ctrl-]\n", dev->name, name);
	console_attach(dev);
	call_print(c, "\n");
	return OK;
}

static const struct command_arg attach_args[] = {
    COMMAND_ARG("NAME", ARG_REQUIRED, "the vm", .complete = complete_vm),
    COMMAND_ARG("DEVICE", ARG_OPTIONAL, "its serial device; otherwise the first"),
    COMMAND_ARGS_END,
};

CONSOLE_COMMAND(vm_console) = {
    .words = "vm console",
    .help = "use a guest's serial console; leave it with Ctrl-]",
    .args = attach_args,
    .run = attach_run,
};
