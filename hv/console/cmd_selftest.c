/* SPDX-License-Identifier: BSD-2-Clause */
/* The command 'selftest', in debug builds only. */
#ifdef AMBER_DEBUG

#include "hv/console/table.h"
#include "hv/core/selftest.h"
#include "hv/lib/fmt.h"

static struct console_call *call; /* one command at a time */

static void say(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void say(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	str_vformat(text, sizeof(text), fmt, ap);
	va_end(ap);
	call_print(call, "%s", text);
}

static int selftest_run(struct console_call *c)
{
	const char *count = call_arg(c, "COUNT");
	char line[80];

	call = c;
	str_format(line, sizeof(line), "selftest %s%s%s", call_arg(c, "NAME"), count ? " " : "",
	    count ? count : "");
	return selftest_command(line, say) ? OK : call_fail(c, ERR_NOENT, "no such test");
}

static const struct command_arg selftest_args[] = {
    COMMAND_ARG("NAME", ARG_REQUIRED, "the test"),
    COMMAND_ARG("COUNT", ARG_OPTIONAL, "how often", .number = true),
    COMMAND_ARGS_END,
};

CONSOLE_COMMAND(selftest) = {
    .words = "selftest",
    .help = "stress threads, timers and memory of this machine",
    .args = selftest_args,
    .run = selftest_run,
};

#endif
