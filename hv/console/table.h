/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command table: each command registers one descriptor, with its arguments,
 * in the linker section "console_commands". Parsing, help, completion, --json
 * and the questions before something is lost are all derived from it (I11).
 */
#ifndef AMBER_CONSOLE_TABLE_H
#define AMBER_CONSOLE_TABLE_H

#include "hv/console/line.h"
#include "hv/console/output.h"
#include "hv/lib/error.h"

enum {
	COMMAND_WORDS = 24, /* most words in a line */
	COMMAND_ARGS = 8,   /* most arguments in a command's table */
};

enum arg_kind {
	ARG_REQUIRED, /* by position */
	ARG_OPTIONAL, /* by position, behind the required ones */
	ARG_FLAG,     /* --name */
	ARG_VALUE,    /* --name=value */
};

/* An argument. With choices, nothing else is accepted. */
struct command_arg {
	const char *name; /* as it appears in the usage line: "NAME"; for options with the dashes:
			     "--poweroff" */
	enum arg_kind kind;
	const char *help;
	bool number;		    /* an unsigned number, with K, M, G or T behind it if need be */
	const char *const *choices; /* ends with NULL; may be NULL */
	void (*complete)(
	    struct candidates *c); /* adds what could stand here; may be NULL; may wait */
};

#define COMMAND_ARG(n, k, h, ...)                                                                  \
	{                                                                                          \
		.name = (n), .kind = (k), .help = (h), ##__VA_ARGS__                               \
	}
#define COMMAND_ARGS_END                                                                           \
	{                                                                                          \
		.name = NULL                                                                       \
	}

struct console_call;

enum command_flag {
	CMD_ASKS = 1 << 0, /* calls call_confirm(); has --yes */
};

struct console_command {
	const char *words;		/* "vm list" */
	const char *help;		/* one line */
	const struct command_arg *args; /* ends with name NULL; NULL: none */
	unsigned flags;			/* enum command_flag */
	/* In the console's thread, with the console mutex held. What went wrong is said by
	 * call_fail(). */
	int (*run)(struct console_call *c);
};

#define CONSOLE_COMMAND(ident)                                                                     \
	static const struct console_command ident;                                                 \
	static const struct console_command *const ident##_entry                                   \
	    __attribute__((used, section("console_commands"))) = &ident;                           \
	static const struct console_command ident

extern const struct console_command *const __start_console_commands[],
    *const __stop_console_commands[];

/* Where a console's bytes come from and go to. */
struct console_io {
	void (*write)(void *ctx, const char *text, size_t len); /* lines end in \n */
	int (*read)(void *ctx); /* the next byte of input, waiting for it; -1: there will be none */
	bool (*cancelled)(void *ctx); /* Ctrl-C came in since the command began */
	void *ctx;
};

/* One command being carried out. */
struct console_call {
	const struct console_command *command;
	const struct console_io *io;
	struct console_out out;
	const char *value[COMMAND_ARGS]; /* by place in the table; flags: ""; NULL: not given */
	bool yes;
	char words_buf[LINE_SIZE];
};

/* The value of an argument, "" for a flag, NULL if it was not given. */
const char *call_arg(const struct console_call *c, const char *name);
/* The value of a numeric argument, or otherwise if it was not given. */
uint64_t call_number(const struct console_call *c, const char *name, uint64_t otherwise);
/* True if Ctrl-C was pressed since the command began: clean up and return ERR_CANCELLED. */
bool call_cancelled(const struct console_call *c);
/*
 * "WHAT? [y/N]": true if the operator agrees or has given --yes. Otherwise false,
 * and the command has failed: with --json at once, since programs are not asked.
 */
bool call_confirm(struct console_call *c, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define call_print(c, ...)     out_print(&(c)->out, __VA_ARGS__)
#define call_fail(c, err, ...) out_fail(&(c)->out, err, __VA_ARGS__)
#define call_json(c)	       (&(c)->out.json)

/*
 * Parses and carries out one line. Everything, failures too, is said through
 * io->write; with --json that is exactly one line. Returns what the command
 * returned. May wait.
 */
int console_execute(const char *line, const struct console_io *io);

/* Adds what could stand where the text, a line up to the cursor, ends. May wait. */
void console_complete(const char *text, struct candidates *out);

#endif
