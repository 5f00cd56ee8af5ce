/* SPDX-License-Identifier: BSD-2-Clause */
/* Parsing, completing and explaining commands by the table. */
#include "hv/console/table.h"
#include <string.h>
#include "hv/lib/fmt.h"

#define FOREACH_COMMAND(p)                                                                         \
	for (const struct console_command *const *p = __start_console_commands;                    \
	     p < __stop_console_commands; p++)

static const struct command_arg no_args[] = {{.name = NULL}};

static const struct command_arg *args_of(const struct console_command *c)
{
	return c->args ? c->args : no_args;
}

/* --- words --------------------------------------------------------------------------- */

struct words {
	char *at[COMMAND_WORDS];
	unsigned count;
};

/* Cuts the line in place. "..." keeps blanks within a word. */
static int split(char *line, struct words *w, struct errmsg *e)
{
	w->count = 0;
	for (char *p = line; *p;) {
		char *out;
		bool quoted = false;

		if (*p == ' ') {
			p++;
			continue;
		}
		if (w->count == COMMAND_WORDS)
			return err_set(e, ERR_INVAL, "more than %d words", COMMAND_WORDS);
		w->at[w->count++] = out = p;
		for (; *p && (quoted || *p != ' '); p++) {
			if (*p == '"')
				quoted = !quoted;
			else
				*out++ = *p;
		}
		if (quoted)
			return err_set(e, ERR_INVAL, "a quotation mark is not closed");
		if (*p)
			p++;
		*out = 0;
	}
	return OK;
}

/*
 * How far the command's words agree with the line's: the number of the command's
 * words if all of them do, minus the number of equal ones if the line ends before
 * that, 0 if they differ.
 */
static int match_words(const struct console_command *c, const struct words *w)
{
	const char *p = c->words;
	int n = 0;

	for (;; n++) {
		size_t len = strcspn(p, " ");

		if ((unsigned)n == w->count)
			return -n;
		if (strlen(w->at[n]) != len || strncmp(w->at[n], p, len) != 0)
			return 0;
		if (!p[len])
			return n + 1;
		p += len + 1;
	}
}

/* The command with the most words in common with the line's beginning, or NULL. */
static const struct console_command *find_command(const struct words *w, unsigned *used)
{
	const struct console_command *best = NULL;

	*used = 0;
	FOREACH_COMMAND(p)
	{
		int n = match_words(*p, w);

		if (n > (int)*used) {
			best = *p;
			*used = (unsigned)n;
		}
	}
	return best;
}

/* The n-th word of a command, into buf; false if it has fewer. */
static bool nth_word(const struct console_command *c, unsigned n, char *buf, size_t size)
{
	const char *p = c->words;

	for (; n; n--) {
		p = strchr(p, ' ');
		if (!p)
			return false;
		p++;
	}
	return str_format(buf, size, "%.*s", (int)strcspn(p, " "), p) > 0;
}

/* Adds the words that may follow the first n of w in any command. */
static void add_next_words(const struct words *w, struct candidates *out)
{
	char word[32];

	FOREACH_COMMAND(p)
	{
		int n = match_words(*p, w);

		if ((n < 0 || !w->count) && nth_word(*p, w->count, word, sizeof(word)))
			candidates_add(out, word);
	}
}

static int unknown_command(const struct words *w, struct errmsg *e)
{
	struct candidates next = {.count = 0};
	struct words first = {.at = {w->at[0]}, .count = 1};

	add_next_words(&first, &next);
	if (!next.count)
		return err_set(e, ERR_NOENT, "no command '%s'; 'help' lists them", w->at[0]);
	if (w->count == 1)
		return err_set(e, ERR_NOENT, "'%s' needs one of: %s", w->at[0], next.list);
	return err_set(
	    e, ERR_NOENT, "no command '%s %s'; there are: %s", w->at[0], w->at[1], next.list);
}

/* --- arguments ------------------------------------------------------------------------ */

static int check_value(const struct command_arg *a, const char *v, struct errmsg *e)
{
	char known[100] = "";
	size_t n = 0;
	uint64_t number;

	if (!*v)
		return err_set(e, ERR_INVAL, "%s: empty", a->name);
	if (a->number && str_to_u64(v, true, &number) != OK)
		return err_set(e, ERR_INVAL, "%s: '%s' is not a number", a->name, v);
	if (!a->choices)
		return OK;
	for (const char *const *c = a->choices; *c; c++) {
		if (strcmp(v, *c) == 0)
			return OK;
		n += (size_t)str_format(known + n, n < sizeof(known) ? sizeof(known) - n : 0,
		    "%s%s", n ? ", " : "", *c);
		n = MIN(n, sizeof(known));
	}
	return err_set(e, ERR_INVAL, "%s: '%s' is not one of: %s", a->name, v, known);
}

/* --name or --name=value. */
static int parse_option(struct console_call *c, char *word, struct errmsg *e)
{
	size_t len = strcspn(word, "=");
	const char *value = word[len] ? word + len + 1 : NULL;

	if (strcmp(word, "--json") == 0)
		return OK; /* seen already */
	if (strcmp(word, "--yes") == 0 && c->command->flags & CMD_ASKS) {
		c->yes = true;
		return OK;
	}
	for (unsigned i = 0; args_of(c->command)[i].name; i++) {
		const struct command_arg *a = &args_of(c->command)[i];

		if (a->kind < ARG_FLAG || strlen(a->name) != len ||
		    strncmp(a->name, word, len) != 0)
			continue;
		if (c->value[i])
			return err_set(e, ERR_INVAL, "%s is given twice", a->name);
		if (a->kind == ARG_FLAG && value)
			return err_set(e, ERR_INVAL, "%s takes no value", a->name);
		if (a->kind == ARG_VALUE && !value)
			return err_set(e, ERR_INVAL, "%s needs a value: %s=...", a->name, a->name);
		c->value[i] = value ? value : "";
		return value ? check_value(a, value, e) : OK;
	}
	return err_set(e, ERR_INVAL, "no option '%.*s' in '%s'", (int)len, word, c->command->words);
}

/* The place in the table of the n-th argument by position; -1: there is none. */
static int positional(const struct console_command *c, unsigned n)
{
	for (int i = 0; args_of(c)[i].name; i++)
		if (args_of(c)[i].kind < ARG_FLAG && n-- == 0)
			return i;
	return -1;
}

static int parse_args(
    struct console_call *c, const struct words *w, unsigned from, struct errmsg *e)
{
	unsigned count = 0;
	int err = OK;

	for (unsigned i = from; i < w->count && !err; i++) {
		int place;

		if (strncmp(w->at[i], "--", 2) == 0) {
			err = parse_option(c, w->at[i], e);
			continue;
		}
		place = positional(c->command, count++);
		if (place < 0)
			return err_set(
			    e, ERR_INVAL, "'%s' does not take '%s'", c->command->words, w->at[i]);
		c->value[place] = w->at[i];
		err = check_value(&args_of(c->command)[place], w->at[i], e);
	}
	for (unsigned i = 0; !err && args_of(c->command)[i].name; i++)
		if (args_of(c->command)[i].kind == ARG_REQUIRED && !c->value[i])
			err = err_set(e, ERR_INVAL, "'%s' needs %s", c->command->words,
			    args_of(c->command)[i].name);
	return err;
}

static int arg_place(const struct console_call *c, const char *name)
{
	for (int i = 0; args_of(c->command)[i].name; i++)
		if (strcmp(args_of(c->command)[i].name, name) == 0)
			return i;
	return -1;
}

const char *call_arg(const struct console_call *c, const char *name)
{
	int i = arg_place(c, name);

	return i < 0 ? NULL : c->value[i];
}

uint64_t call_number(const struct console_call *c, const char *name, uint64_t otherwise)
{
	const char *v = call_arg(c, name);
	uint64_t n;

	return v && str_to_u64(v, true, &n) == OK ? n : otherwise;
}

/* --- carrying out ---------------------------------------------------------------------- */

bool call_cancelled(const struct console_call *c)
{
	return c->io->cancelled && c->io->cancelled(c->io->ctx);
}

/* One line of input, of which only the first letter counts; echoed. */
static char read_answer(struct console_call *c)
{
	char first = 0;

	for (;;) {
		int b = c->io->read(c->io->ctx);
		char echo = (char)b;

		if (b < 0 || b == '\r' || b == '\n' || b == 0x03) { /* Ctrl-C */
			call_print(c, "\n");
			return b < 0 || b == 0x03 ? 0 : first;
		}
		if (b < 0x20 || b > 0x7e)
			continue;
		if (!first)
			first = echo;
		out_write(&c->out, &echo, 1);
	}
}

bool call_confirm(struct console_call *c, const char *fmt, ...)
{
	char what[160], answer;
	va_list ap;

	va_start(ap, fmt);
	str_vformat(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (c->yes)
		return true;
	if (c->out.as_json) {
		call_fail(c, ERR_CANCELLED, "%s: needs --yes", what);
		return false;
	}
	call_print(c, "%s? [y/N] ", what);
	answer = read_answer(c);
	if (answer == 'y' || answer == 'Y')
		return true;
	call_fail(c, ERR_CANCELLED, "%s: not confirmed", what);
	return false;
}

/* The same for a line that could not be cut into words. */
static bool asks_json(const char *line)
{
	for (; *line; line++)
		if (strncmp(line, "--json", 6) == 0)
			return true;
	return false;
}

static bool wants_json(const struct words *w)
{
	for (unsigned i = 0; i < w->count; i++)
		if (strcmp(w->at[i], "--json") == 0)
			return true;
	return false;
}

static int parse_line(struct console_call *c, const struct words *w, struct errmsg *e)
{
	unsigned used;

	c->command = find_command(w, &used);
	return c->command ? parse_args(c, w, used, e) : unknown_command(w, e);
}

int console_execute(const char *line, const struct console_io *io)
{
	struct console_call c = {.io = io};
	struct errmsg e = {""};
	struct words w;
	int err;

	if (!str_copy(c.words_buf, sizeof(c.words_buf), line))
		err = err_set(&e, ERR_RANGE, "line longer than %d characters", LINE_SIZE - 1);
	else
		err = split(c.words_buf, &w, &e);
	if (!err && !w.count)
		return OK;
	out_begin(&c.out, err ? asks_json(line) : wants_json(&w), io->write, io->ctx);
	if (!err)
		err = parse_line(&c, &w, &e);
	if (err) {
		call_fail(&c, err, "%s", e.text);
	} else {
		err = c.command->run(&c);
		if (err) /* a handler that forgot to say why */
			call_fail(&c, err, "%s: %s", c.command->words, error_text(err));
	}
	out_end(&c.out);
	return c.out.failed && !err ? ERR_INVAL : err;
}

/* --- completing --------------------------------------------------------------------------- */

static void complete_choices(
    const struct command_arg *a, const char *before, struct candidates *out)
{
	char text[LINE_SIZE];

	for (const char *const *c = a->choices; c && *c; c++) {
		str_format(text, sizeof(text), "%s%s", before, *c);
		candidates_add(out, text);
	}
}

/* --name, or --name= and, once that is there, its values. */
static void complete_option(const struct command_arg *a, struct candidates *out)
{
	char text[64];

	if (a->kind == ARG_FLAG) {
		candidates_add(out, a->name);
		return;
	}
	str_format(text, sizeof(text), "%s=", a->name);
	if (strncmp(out->prefix, text, strlen(text)) == 0)
		complete_choices(a, text, out);
	else
		candidates_add(out, text);
}

static void complete_args(
    const struct console_command *c, const struct words *w, unsigned used, struct candidates *out)
{
	unsigned before = 0;
	int place;

	if (strncmp(out->prefix, "--", 2) == 0) {
		candidates_add(out, "--json");
		if (c->flags & CMD_ASKS)
			candidates_add(out, "--yes");
		for (const struct command_arg *a = args_of(c); a->name; a++)
			if (a->kind >= ARG_FLAG)
				complete_option(a, out);
		return;
	}
	for (unsigned i = used; i < w->count; i++)
		before += strncmp(w->at[i], "--", 2) != 0;
	place = positional(c, before);
	if (place < 0)
		return;
	complete_choices(&args_of(c)[place], "", out);
	if (args_of(c)[place].complete)
		args_of(c)[place].complete(out);
}

void console_complete(const char *text, struct candidates *out)
{
	const struct console_command *c;
	char before[LINE_SIZE];
	struct errmsg e;
	struct words w;
	unsigned used;
	size_t n = strlen(text);

	while (n && text[n - 1] != ' ')
		n--;
	str_format(before, sizeof(before), "%.*s", (int)n, text);
	if (split(before, &w, &e) != OK)
		return;
	add_next_words(&w, out);
	c = find_command(&w, &used);
	if (c)
		complete_args(c, &w, used, out);
}
