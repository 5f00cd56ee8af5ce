/* SPDX-License-Identifier: BSD-2-Clause */
/* The command 'help', out of the command table. */
#include <string.h>
#include "hv/console/table.h"
#include "hv/lib/fmt.h"

enum { USAGE_SIZE = 200, HELP_COLUMN = 46 };

#define APPEND(buf, n, ...)                                                                        \
	((n) +=                                                                                    \
	    (size_t)str_format((buf) + (n), (n) < USAGE_SIZE ? USAGE_SIZE - (n) : 0, __VA_ARGS__))

static size_t append_arg(char *buf, size_t n, const struct command_arg *a)
{
	const char *sep = "=";

	if (a->kind == ARG_REQUIRED) {
		APPEND(buf, n, " %s", a->name);
		return n;
	}
	APPEND(buf, n, " [%s", a->name);
	if (a->kind == ARG_VALUE && !a->choices)
		APPEND(buf, n, "=...");
	for (const char *const *c = a->kind == ARG_VALUE ? a->choices : NULL; c && *c; c++) {
		APPEND(buf, n, "%s%s", sep, *c);
		sep = "|";
	}
	APPEND(buf, n, "]");
	return n;
}

/* "snapshot restore NAME [--clock=freeze|advance] [--yes]" */
static void usage(const struct console_command *c, char buf[USAGE_SIZE])
{
	size_t n = 0;

	APPEND(buf, n, "%s", c->words);
	for (const struct command_arg *a = c->args; a && a->name; a++)
		n = append_arg(buf, n, a);
	if (c->flags & CMD_ASKS)
		APPEND(buf, n, " [--yes]");
}

/* The command that follows 'after' in alphabetical order and begins with 'prefix'; NULL: none. */
static const struct console_command *next_command(const char *after, const char *prefix)
{
	const struct console_command *best = NULL;

	for (const struct console_command *const *p = __start_console_commands;
	     p < __stop_console_commands; p++) {
		const char *words = (*p)->words;
		size_t n = strlen(prefix);

		if (strncmp(words, prefix, n) != 0 || (n && words[n] && words[n] != ' '))
			continue;
		if (strcmp(words, after) > 0 && (!best || strcmp(words, best->words) < 0))
			best = *p;
	}
	return best;
}

static void explain(struct console_call *c, const struct console_command *cmd, bool details)
{
	char text[USAGE_SIZE];

	usage(cmd, text);
	json_object(call_json(c), NULL);
	json_string(call_json(c), "command", cmd->words);
	json_string(call_json(c), "usage", text);
	json_string(call_json(c), "help", cmd->help);
	json_close(call_json(c));
	if (!details && strlen(text) < HELP_COLUMN)
		call_print(c, "  %-*s%s\n", HELP_COLUMN, text, cmd->help);
	else
		call_print(c, "  %s\n  %*s%s\n", text, details ? 4 : HELP_COLUMN, "", cmd->help);
	if (!details)
		return;
	for (const struct command_arg *a = cmd->args; a && a->name; a++)
		call_print(c, "      %-16s%s\n", a->name, a->help);
	if (cmd->flags & CMD_ASKS)
		call_print(c, "      %-16s%s\n", "--yes", "do not ask");
	call_print(c, "      %-16s%s\n", "--json", "answer with one line of JSON");
}

/* The words asked for, with one blank between them: "vm", "vm list". */
static void topic_of(const struct console_call *c, char *buf, size_t size)
{
	const char *first = call_arg(c, "COMMAND"), *second = call_arg(c, "WORD");

	str_format(
	    buf, size, "%s%s%s", first ? first : "", second ? " " : "", second ? second : "");
}

static int help_run(struct console_call *c)
{
	const struct console_command *cmd;
	char topic[64];
	bool details;

	topic_of(c, topic, sizeof(topic));
	cmd = next_command("", topic);
	if (!cmd)
		return call_fail(c, ERR_NOENT, "no command '%s'; 'help' lists them", topic);
	details = strcmp(cmd->words, topic) == 0;
	json_array(call_json(c), "commands");
	for (; cmd; cmd = next_command(cmd->words, topic))
		explain(c, cmd, details);
	json_close(call_json(c));
	if (!*topic)
		call_print(c, "Every command takes --json. 'help COMMAND' says more.\n");
	return OK;
}

static void complete_first_word(struct candidates *out)
{
	console_complete("", out);
}

static const struct command_arg help_args[] = {
    COMMAND_ARG("COMMAND", ARG_OPTIONAL, "a command or the first word of several",
	.complete = complete_first_word),
    COMMAND_ARG("WORD", ARG_OPTIONAL, "the second word of a command"),
    COMMAND_ARGS_END,
};

CONSOLE_COMMAND(help_command) = {
    .words = "help",
    .help = "list the commands, or explain one",
    .args = help_args,
    .run = help_run,
};
