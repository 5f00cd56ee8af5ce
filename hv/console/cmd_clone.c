/* SPDX-License-Identifier: BSD-2-Clause */
/* The command 'vm clone'. */
#include "hv/console/complete.h"
#include "hv/console/table.h"
#include "hv/snapshot/engine.h"

enum { CLONES_MAX = 256 };

static const struct command_arg clone_args[] = {
    COMMAND_ARG("SNAPSHOT", ARG_REQUIRED, "what they are made of", .complete = complete_snapshot),
    COMMAND_ARG("NAME", ARG_REQUIRED, "the clone's name; of several, what they begin with"),
    COMMAND_ARG("--count", ARG_VALUE, "how many: NAME-1, NAME-2 and so on", .number = true),
    COMMAND_ARG("--paused", ARG_FLAG, "they stay paused"),
    COMMAND_ARGS_END,
};

static int clone_run(struct console_call *c)
{
	const char *name = call_arg(c, "NAME");
	uint64_t count = call_number(c, "--count", 1);
	unsigned made;
	struct errmsg e;
	int err;

	if (count < 1 || count > CLONES_MAX)
		return call_fail(c, ERR_RANGE, "--count: 1 to %d", CLONES_MAX);
	err = engine_clone(call_arg(c, "SNAPSHOT"), name, (unsigned)count,
	    call_arg(c, "--paused") ? RESTORE_PAUSED : 0, &made, &e);
	json_number(call_json(c), "made", made);
	if (err)
		return call_fail(c, err, "%s (%u made)", e.text, made);
	call_print(c, "made %u of '%s'\n", made, call_arg(c, "SNAPSHOT"));
	return OK;
}

CONSOLE_COMMAND(vm_clone) = {
    .words = "vm clone",
    .help = "make running copies of a snapshot, which share its memory",
    .args = clone_args,
    .run = clone_run,
};
