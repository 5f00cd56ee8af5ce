/* SPDX-License-Identifier: BSD-2-Clause */
/* amber-snap: the snapshots of a disk image, a partition or an exported file, without the
 * hypervisor. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/lib/fmt.h"
#include "tools/amber-snap/call.h"
#include "tools/amber-snap/core.h"
#include "tools/amber-snap/diff.h"
#include "tools/amber-snap/print.h"

struct command {
	const char *name;
	unsigned min_args, max_args;
	enum image_mode mode;
	int (*run)(struct call *c); /* after an error, c->e says why */
	const char *usage, *help;
};

/* --- delete, flatten, format, grow --------------------------------------------------- */

static int run_delete(struct call *c)
{
	int err = snap_delete(c->store, c->args[0], &c->e);

	return err ? err : call_done(c, "deleted %s", c->args[0]);
}

static int run_flatten(struct call *c)
{
	int err = snap_flatten(c->store, c->args[0], call_progress, c, &c->e);

	return err ? err : call_done(c, "%s needs no other snapshot", c->args[0]);
}

static int run_format(struct call *c)
{
	struct store *old;
	uint8_t uuid[16];
	int err = store_open(&c->image.io, false, &old, &c->e);

	store_close(old);
	if (err != ERR_NOENT && !c->yes)
		return err_set(&c->e, ERR_EXIST,
		    "%s: there is a store already; to lose all snapshots in it, say --yes",
		    c->image_path);
	err = call_random_uuid(uuid, &c->e);
	if (!err)
		err = store_format(&c->image.io, uuid, &c->e);
	return err ? err : call_done(c, "%s: formatted", c->image_path);
}

static int run_grow(struct call *c)
{
	struct store_stat st;
	uint64_t added;
	int err = store_grow(c->store, &added, &c->e);

	if (err)
		return err;
	store_stat(c->store, &st);
	if (c->json)
		printf("{\"ok\":true,\"added_bytes\":%llu,\"store_bytes\":%llu}\n",
		    (unsigned long long)added * STORE_BLOCK,
		    (unsigned long long)st.nblocks * STORE_BLOCK);
	else if (added)
		printf("%s: %llu KiB more, %llu MiB now\n", c->image_path,
		    (unsigned long long)(added * STORE_BLOCK / KIB),
		    (unsigned long long)(st.nblocks * STORE_BLOCK / MIB));
	else
		printf("%s: the store has all of its room already\n", c->image_path);
	return OK;
}

/* --- core ---------------------------------------------------------------------------- */

static int run_core(struct call *c)
{
	struct core_result r;
	struct snap *sn;
	int err = snap_open(c->store, c->args[0], &sn, &c->e);

	if (err)
		return err;
	err = core_write(sn, c->args[1], c->paging, call_progress, c, &r, &c->e);
	if (!err && c->json) {
		printf("{\"ok\":true,\"vcpus\":%u,\"memory_bytes\":%llu,\"mappings\":%u,"
		       "\"cut\":%s}\n",
		    r.vcpus, (unsigned long long)snap_info(sn)->memory, r.mappings,
		    r.cut ? "true" : "false");
	} else if (!err) {
		printf("%s: %u vCPUs, %llu MiB", c->args[1], r.vcpus,
		    (unsigned long long)(snap_info(sn)->memory / MIB));
		if (c->paging)
			printf(", %u mappings%s", r.mappings, r.cut ? "; more did not fit" : "");
		putchar('\n');
	}
	snap_close(sn);
	return err;
}

/* --- diff ---------------------------------------------------------------------------- */

static void diff_end(const struct call *c, const struct diff_totals *t, int err)
{
	bool same = !t->registers && !t->properties && !t->pages;

	if (c->json && err) { /* one line with one "ok" all the same */
		printf("],\"ok\":false,\"error\":");
		print_json_string(stdout, c->e.text);
		puts("}");
		exit(1);
	}
	if (c->json)
		printf("],\"pages\":%llu,\"same\":%s,\"ok\":true}\n", (unsigned long long)t->pages,
		    same ? "true" : "false");
	else if (!err && same)
		puts("no difference");
	else if (!err)
		printf("%llu registers, %llu properties, %llu pages in %llu ranges differ\n",
		    (unsigned long long)t->registers, (unsigned long long)t->properties,
		    (unsigned long long)t->pages, (unsigned long long)t->ranges);
}

static int run_diff(struct call *c)
{
	struct snap *a, *b = NULL;
	struct diff_totals t;
	bool begun = false;
	int err = snap_open(c->store, c->args[0], &a, &c->e);

	if (err)
		return err;
	err = snap_open(c->store, c->args[1], &b, &c->e);
	if (!err)
		err = diff_print(stdout, a, b, c->json, &t, &begun, &c->e);
	if (begun)
		diff_end(c, &t, err);
	snap_close(a);
	snap_close(b);
	return err;
}

/* --- the command line ---------------------------------------------------------------- */

static const struct command commands[] = {
    {"list", 0, 0, IMAGE_READ, run_list, "",
	"the snapshots, each below the one that it is based on"},
    {"show", 1, 1, IMAGE_READ, run_show, "NAME [--dtb]",
	"the state tree as dtc would print it; --dtb: as it is"},
    {"verify", 0, 1, IMAGE_READ, run_verify, "[NAME]",
	"reads and checks a snapshot, or all of them"},
    {"export", 2, 2, IMAGE_READ, run_export, "NAME FILE [--compress] [--encrypt]",
	"copies a snapshot and its disks in the store into a new file"},
    {"import", 1, 1, IMAGE_WRITE, run_import, "FILE [--as NAME] [--replace]",
	"copies an exported snapshot into the store"},
    {"keygen", 1, 1, IMAGE_READ, run_keygen, "FILE", "makes a key (without IMAGE)"},
    {"core", 2, 2, IMAGE_READ, run_core, "NAME FILE [--paging]",
	"a core file for gdb and crash; --paging: by virtual address"},
    {"diff", 2, 2, IMAGE_READ, run_diff, "NAME NAME",
	"registers, properties and memory that differ"},
    {"delete", 1, 1, IMAGE_WRITE, run_delete, "NAME", "deletes a snapshot"},
    {"flatten", 1, 1, IMAGE_WRITE, run_flatten, "NAME",
	"makes a snapshot independent of those it is based on"},
    {"check", 0, 0, IMAGE_READ, run_check, "", "checks all records and reference counts"},
    {"grow", 0, 0, IMAGE_WRITE, run_grow, "",
	"lets the store take all of a partition or file that was made larger"},
    {"format", 0, 0, IMAGE_WRITE, run_format, "[--yes] [--bare]",
	"makes an empty store; --bare: in a file without partitions"},
};

static void print_help(FILE *out)
{
	fputs(
	    "Usage: amber-snap [--json] [--offset BYTES] IMAGE COMMAND [ARGUMENT...]\n"
	    "\n"
	    "Works on the snapshots in IMAGE: a disk image or device with a GUID partition table\n"
	    "(the store is found by its partition type), a partition, or an exported file.\n"
	    "\n",
	    out);
	for (unsigned i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(out, "  %-7s %-33s %s\n", commands[i].name, commands[i].usage,
		    commands[i].help);
	fputs("\n"
	      "  --json          one line of JSON with a member \"ok\"\n"
	      "  --offset BYTES  the store begins there (with K, M, G, T)\n"
	      "  --with-base     export: the partitions and files below its disks too\n"
	      "  --key-file FILE, --passphrase-file FILE\n"
	      "                  for export --encrypt, and for import of what it wrote; without\n"
	      "                  either, a passphrase is asked for\n"
	      "  --help          this text\n"
	      "\n"
	      "Status: 0, 1 after an error, 2 if the command line is wrong.\n",
	    out);
}

static NORETURN void usage(const char *text, const char *what)
{
	fprintf(stderr, "error: %s%s\nTry 'amber-snap --help'.\n", text, what);
	exit(2);
}

static void parse_option(struct call *c, char **argv, int *i)
{
	static const struct {
		const char *name;
		size_t offset;
	} flags[] = {
	    {"--json", offsetof(struct call, json)},
	    {"--yes", offsetof(struct call, yes)},
	    {"--bare", offsetof(struct call, bare)},
	    {"--dtb", offsetof(struct call, dtb)},
	    {"--replace", offsetof(struct call, replace)},
	    {"--paging", offsetof(struct call, paging)},
	    {"--compress", offsetof(struct call, compress)},
	    {"--encrypt", offsetof(struct call, encrypt)},
	    {"--with-base", offsetof(struct call, with_base)},
	};
	const char *o = argv[*i];

	for (unsigned k = 0; k < ARRAY_LEN(flags); k++) {
		if (strcmp(o, flags[k].name) == 0) {
			*(bool *)((char *)c + flags[k].offset) = true;
			return;
		}
	}
	if (strcmp(o, "--help") == 0) {
		print_help(stdout);
		exit(0);
	}
	if (strcmp(o, "--as") == 0 && argv[*i + 1]) {
		c->as = argv[++*i];
	} else if (strcmp(o, "--key-file") == 0 && argv[*i + 1]) {
		c->source.key_file = argv[++*i];
	} else if (strcmp(o, "--passphrase-file") == 0 && argv[*i + 1]) {
		c->source.passphrase_file = argv[++*i];
	} else if (strcmp(o, "--offset") == 0 && argv[*i + 1]) {
		if (str_to_u64(argv[++*i], true, &c->offset))
			usage("not a number: ", argv[*i]);
	} else {
		usage("unknown option, or its value is missing: ", o);
	}
}

static const struct command *parse(struct call *c, char **argv)
{
	const struct command *cmd = NULL;

	for (int i = 1; argv[i]; i++) {
		if (strncmp(argv[i], "--", 2) == 0)
			parse_option(c, argv, &i);
		else if (!c->image_path)
			c->image_path = argv[i];
		else if (!c->command)
			c->command = argv[i];
		else if (c->nargs == ARRAY_LEN(c->args))
			usage("too many arguments: ", argv[i]);
		else
			c->args[c->nargs++] = argv[i];
	}
	/* the one command that needs none */
	if (c->command && !c->nargs && strcmp(c->image_path, "keygen") == 0) {
		c->args[c->nargs++] = c->command;
		c->command = c->image_path;
	}
	if (!c->command)
		usage("an image and a command are needed", "");
	for (unsigned i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, c->command) == 0)
			cmd = &commands[i];
	if (!cmd)
		usage("unknown command: ", c->command);
	if (c->nargs < cmd->min_args || c->nargs > cmd->max_args)
		usage("arguments wanted: ", cmd->usage[0] ? cmd->usage : "none");
	if (c->source.key_file && c->source.passphrase_file)
		usage("one of --key-file and --passphrase-file is enough", "");
	if (cmd->run == run_export && (c->source.key_file || c->source.passphrase_file) &&
	    !c->encrypt)
		usage("--key-file and --passphrase-file want --encrypt", "");
	return cmd;
}

static int run(struct call *c, const struct command *cmd)
{
	bool format = cmd->run == run_format;
	int err;

	if (cmd->run == run_keygen)
		return run_keygen(c);
	if (seal_is(c->image_path))
		return err_set(&c->e, ERR_UNSUPPORTED,
		    "%s: a portable file: only 'import' into a store reads it", c->image_path);
	err = image_open(&c->image, c->image_path, cmd->mode, c->offset, format && c->bare, &c->e);
	if (err)
		return err;
	if (!format) {
		err = store_open(&c->image.io, cmd->mode == IMAGE_WRITE, &c->store, &c->e);
		if (err)
			err_prefix(&c->e, err, "%s", c->image_path);
	}
	if (!err)
		err = cmd->run(c);
	store_close(c->store);
	image_close(&c->image);
	if (!err && (fflush(stdout) || ferror(stdout)))
		err = err_set(&c->e, ERR_IO, "output: %s", strerror(errno));
	return err;
}

int main(int argc, char **argv)
{
	static struct call c = {.offset = IMAGE_FIND};
	const struct command *cmd = parse(&c, argv);
	int err = run(&c, cmd);

	if (!err)
		return 0;
	if (c.json) {
		printf("{\"ok\":false,\"error\":");
		print_json_string(stdout, c.e.text);
		puts("}");
	} else {
		fflush(stdout);
		fprintf(stderr, "error: %s\n", c.e.text);
	}
	return 1;
}
