/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands 'version' and 'log'. */
#include <string.h>
#include "hv/console/table.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

static int version_run(struct console_call *c)
{
	json_string(call_json(c), "version", AMBER_VERSION);
	json_string(call_json(c), "commit", AMBER_COMMIT);
	call_print(c, "Amber %s (%s)\n", AMBER_VERSION, AMBER_COMMIT);
	return OK;
}

CONSOLE_COMMAND(version_command) = {
    .words = "version",
    .help = "print the version of Amber",
    .run = version_run,
};

enum { LOG_COPY = 64 * 1024 }; /* all that the ring holds */

/* Where the last n lines of the text begin. */
static size_t last_lines(const char *text, size_t len, uint64_t n)
{
	while (len) {
		if (text[len - 1] == '\n' && n-- == 0)
			return len;
		len--;
	}
	return 0;
}

static void log_json(struct console_call *c, const char *text, size_t len)
{
	json_array(call_json(c), "lines");
	while (len) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) : len;

		json_text(call_json(c), NULL, text, n);
		n += end != NULL;
		text += n;
		len -= n;
	}
	json_close(call_json(c));
}

static int log_run(struct console_call *c)
{
	char *text = heap_alloc(LOG_COPY);
	uint64_t seq = 0;
	size_t len, from;

	if (!text)
		return call_fail(c, ERR_NOMEM, "log: out of memory");
	len = log_read(&seq, text, LOG_COPY);
	from = last_lines(text, len, call_number(c, "LINES", UINT64_MAX));
	log_json(c, text + from, len - from);
	out_write(&c->out, text + from, len - from);
	heap_free(text);
	return OK;
}

static const struct command_arg log_args[] = {
    COMMAND_ARG("LINES", ARG_OPTIONAL, "so many lines, the newest", .number = true),
    COMMAND_ARGS_END,
};

CONSOLE_COMMAND(log_command) = {
    .words = "log",
    .help = "print the hypervisor's log",
    .args = log_args,
    .run = log_run,
};
