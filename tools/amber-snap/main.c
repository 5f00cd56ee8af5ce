/* SPDX-License-Identifier: BSD-2-Clause */
/* amber-snap: the snapshots of a disk image, a partition or an exported file, without the
 * hypervisor. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/snapshot.h"
#include "tools/amber-snap/core.h"
#include "tools/amber-snap/diff.h"
#include "tools/amber-snap/image.h"
#include "tools/amber-snap/print.h"
#include "tools/amber-snap/seal.h"

struct call {
	const char *image_path, *command;
	const char *args[2];
	unsigned nargs;
	const char *as;
	uint64_t offset;
	bool json, yes, bare, dtb, replace, paging, compress, encrypt;
	struct secret_source source;
	struct image image;
	struct store *store;
	struct errmsg e;
	time_t last_progress;
};

struct command {
	const char *name;
	unsigned min_args, max_args;
	enum image_mode mode;
	int (*run)(struct call *c); /* after an error, c->e says why */
	const char *usage, *help;
};

/* --- progress and results ------------------------------------------------------------ */

static bool show_progress(void *ctx, uint64_t done, uint64_t total)
{
	struct call *c = ctx;
	time_t now = time(NULL);

	if (!c->json && isatty(STDERR_FILENO) && (now != c->last_progress || done == total)) {
		c->last_progress = now;
		fprintf(stderr, "\r%s: %3u%% of %llu MiB%s", c->command,
		    total ? (unsigned)(done * 100 / total) : 100U,
		    (unsigned long long)(total / MIB), done == total ? "\n" : "");
	}
	return true;
}

/* The result of a command that has nothing to say but that it is done. */
static int done(struct call *c, const char *fmt, const char *arg)
{
	if (c->json) {
		puts("{\"ok\":true}");
	} else {
		printf(fmt, arg);
		putchar('\n');
	}
	return OK;
}

static void json_id(const char *key, const uint8_t id[16])
{
	printf("\"%s\":\"", key);
	for (unsigned i = 0; i < 16; i++)
		printf("%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", id[i]);
	putchar('"');
}

/* --- list ---------------------------------------------------------------------------- */

/* A snapshot in the list, and the one that it holds the changes since. */
struct entry {
	struct snap_info info;
	unsigned parent; /* index, or NONE */
	bool printed;
};
#define NONE UINT_MAX

struct listing {
	struct entry *entry; /* the oldest first */
	unsigned n;
	struct errmsg damaged; /* the first that cannot be read */
	bool out_of_memory;
};

static void list_one(void *ctx, const struct snap_info *info, const struct errmsg *why)
{
	struct listing *l = ctx;
	void *more;

	if (!info) {
		if (!l->damaged.text[0])
			l->damaged = *why;
		return;
	}
	more = realloc(l->entry, (l->n + 1) * sizeof(*l->entry));
	if (!more) {
		l->out_of_memory = true;
		return;
	}
	l->entry = more;
	l->entry[l->n++] = (struct entry){.info = *info, .parent = NONE};
}

/*
 * By the RAM that it is based on; if that is of a snapshot which was deleted, flattened or
 * replaced, by the id that was noted, of which there may be copies.
 */
static unsigned find_parent(struct store *s, const struct listing *l, unsigned child)
{
	static const uint8_t none[16];
	const struct snap_info *i = &l->entry[child].info;
	struct store_object_info o = {.parent = 0};
	unsigned found = NONE;
	struct errmsg e;

	if (memcmp(i->parent, none, sizeof(none)) == 0)
		return NONE;
	if (store_object_get(s, i->ram_object, &o, &e))
		o.parent = 0;
	for (unsigned k = l->n; k-- > 0;) {
		const struct snap_info *p = &l->entry[k].info;

		if (k != child && o.parent && p->ram_object == o.parent)
			return k;
		if (k != child && memcmp(p->id, i->parent, 16) == 0)
			found = k;
	}
	return found;
}

/* All snapshots with their parents. After an error too, list_free() is due. */
static int list_get(struct call *c, struct listing *l)
{
	int err;

	*l = (struct listing){.n = 0};
	err = snap_list(c->store, list_one, l, &c->e);
	if (!err && l->out_of_memory)
		err = err_set(&c->e, ERR_NOMEM, "out of memory");
	for (unsigned i = 0; !err && i < l->n; i++)
		l->entry[i].parent = find_parent(c->store, l, i);
	return err;
}

static void list_free(struct listing *l)
{
	free(l->entry);
}

/* UTC, as RFC 3339 or with the separators of the table. */
static const char *time_text(uint64_t ns, const char *format, char *out, size_t size)
{
	time_t t = (time_t)(ns / 1000000000);
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(out, size, format, &tm))
		snprintf(out, size, "?");
	return out;
}

/* The members that the console's 'snapshot list' and 'snapshot info' have are the same here. */
static void list_json(const struct listing *l, unsigned n)
{
	static const uint8_t none[16];
	const struct snap_info *i = &l->entry[n].info;
	char when[32];

	printf("{\"name\":");
	print_json_string(stdout, i->name);
	printf(",\"vm\":");
	print_json_string(stdout, i->vm);
	printf(",\"bytes\":%llu,\"created\":\"%s\",",
	    (unsigned long long)(i->stored_bytes + i->state_bytes),
	    time_text(i->created, "%Y-%m-%dT%H:%M:%SZ", when, sizeof(when)));
	json_id("id", i->id);
	if (memcmp(i->parent, none, sizeof(none))) {
		printf(",");
		json_id("parent_id", i->parent);
		printf(",\"parent\":");
		if (l->entry[n].parent == NONE)
			printf("null"); /* deleted, or made full under another id */
		else
			print_json_string(stdout, l->entry[l->entry[n].parent].info.name);
	}
	printf(",\"format\":%u,\"memory_bytes\":%llu,\"ram_bytes\":%llu,\"ram_chunks\":%llu,"
	       "\"state_bytes\":%llu,\"disk_count\":%u}",
	    i->format, (unsigned long long)i->memory, (unsigned long long)i->ram_bytes,
	    (unsigned long long)i->ram_chunks, (unsigned long long)i->state_bytes, i->ndisks);
}

static void list_text(const struct snap_info *i, int depth)
{
	char when[32];

	printf("%*s%-*s %-16s %9llu MiB %9.1f MiB  %s\n", 2 * depth, "", MAX(24 - 2 * depth, 1),
	    i->name, i->vm, (unsigned long long)(i->memory / MIB),
	    (double)(i->stored_bytes + i->state_bytes) / (double)MIB,
	    time_text(i->created, "%Y-%m-%d %H:%M:%S", when, sizeof(when)));
}

/* A snapshot and, indented, those based on it. They are printed once, whatever the ids say. */
static void list_tree(struct listing *l, unsigned top)
{
	unsigned at = top;
	int depth = 0;

	while (depth >= 0) {
		unsigned child = 0;

		if (!l->entry[at].printed)
			list_text(&l->entry[at].info, depth);
		l->entry[at].printed = true;
		while (child < l->n && (l->entry[child].parent != at || l->entry[child].printed))
			child++;
		if (child < l->n) {
			at = child;
			depth++;
		} else {
			if (depth--)
				at = l->entry[at].parent;
		}
	}
}

static void list_table(struct listing *l)
{
	if (l->n)
		printf("%-24s %-16s %13s %13s  %s\n", "NAME", "VM", "MEMORY", "STORED",
		    "CREATED (UTC)");
	for (unsigned i = 0; i < l->n; i++)
		if (l->entry[i].parent == NONE)
			list_tree(l, i);
	for (unsigned i = 0; i < l->n; i++) /* ids that lead round in a circle */
		if (!l->entry[i].printed)
			list_tree(l, i);
}

static int run_list(struct call *c)
{
	struct listing l;
	int err = list_get(c, &l);

	if (!err && l.damaged.text[0]) {
		c->e = l.damaged;
		err = ERR_CORRUPT;
	}
	if (c->json)
		printf("{\"snapshots\":[");
	for (unsigned i = 0; c->json && i < l.n; i++) {
		printf("%s", i ? "," : "");
		list_json(&l, i);
	}
	if (!c->json)
		list_table(&l);
	if (!c->json && !err && l.n == 0)
		puts("no snapshots");
	list_free(&l);
	if (c->json && err) { /* one line with one "ok" all the same */
		printf("],\"ok\":false,\"error\":");
		print_json_string(stdout, c->e.text);
		puts("}");
		exit(1);
	}
	if (c->json)
		puts("],\"ok\":true}");
	return err;
}

/* --- show ---------------------------------------------------------------------------- */

static int show_json(struct call *c, const void *fdt)
{
	struct listing l;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	int err = list_get(c, &l);

	if (f) {
		print_dts(f, fdt);
		fclose(f);
	}
	for (unsigned i = 0; !err && i < l.n; i++) {
		if (strcmp(l.entry[i].info.name, c->args[0]) != 0)
			continue;
		printf("{\"ok\":true,\"snapshot\":");
		list_json(&l, i);
		printf(",\"dts\":");
		print_json_string(stdout, text ? text : "");
		puts("}");
	}
	list_free(&l);
	free(text);
	return err;
}

static int run_show(struct call *c)
{
	struct snap *sn;
	size_t size;
	void *fdt;
	int err = snap_open(c->store, c->args[0], &sn, &c->e);

	if (err)
		return err;
	err = snap_state(sn, &fdt, &size, &c->e);
	if (!err) {
		if (c->dtb)
			fwrite(fdt, 1, size, stdout);
		else if (c->json)
			err = show_json(c, fdt);
		else
			print_dts(stdout, fdt);
		heap_free(fdt);
	}
	snap_close(sn);
	return err;
}

/* --- verify, check ------------------------------------------------------------------- */

static int verify_one(struct call *c, const char *name)
{
	struct snap *sn;
	int err = snap_open(c->store, name, &sn, &c->e);

	if (err)
		return err;
	err = snap_ram_check(sn, NULL, NULL, &c->e);
	if (!err)
		err = snap_verify(sn, show_progress, c, &c->e);
	snap_close(sn);
	return err;
}

struct names {
	char (*name)[STORE_NAME_MAX + 1];
	unsigned n;
	struct errmsg damaged;
};

static void collect_name(void *ctx, const struct snap_info *info, const struct errmsg *why)
{
	struct names *l = ctx;
	void *more;

	if (!info) {
		l->damaged = *why;
		return;
	}
	more = realloc(l->name, (l->n + 1) * sizeof(*l->name));
	if (!more)
		return;
	l->name = more;
	str_copy(l->name[l->n++], sizeof(*l->name), info->name);
}

/* All of them, also behind one that is damaged; the first damage is the result. */
static int verify_all(struct call *c)
{
	struct names l = {.n = 0};
	struct errmsg first = {.text = ""};
	int err = snap_list(c->store, collect_name, &l, &c->e), result = err;

	for (unsigned i = 0; !err && i < l.n; i++) {
		int one = verify_one(c, l.name[i]);

		if (one && !result) {
			result = one;
			first = c->e;
		}
		if (!c->json)
			printf("%s: %s\n", l.name[i], one ? c->e.text : "good");
	}
	free(l.name);
	if (first.text[0])
		c->e = first;
	if (!result && l.damaged.text[0]) {
		c->e = l.damaged;
		result = ERR_CORRUPT;
	}
	return result;
}

static int run_verify(struct call *c)
{
	int err = c->nargs ? verify_one(c, c->args[0]) : verify_all(c);

	if (!err && (c->nargs || c->json))
		done(c, "%s: good", c->args[0]);
	return err;
}

static int run_check(struct call *c)
{
	struct store_check_result r;
	struct store_stat st;
	int err = store_check(c->store, &r, NULL, NULL, &c->e);

	if (err)
		return err;
	store_stat(c->store, &st);
	if (c->json) {
		printf(
		    "{\"ok\":true,\"generation\":%llu,\"snapshots\":%llu,\"objects\":%llu,"
		    "\"orphans\":%llu,\"extents\":%llu,\"data_blocks\":%llu,\"meta_blocks\":%llu,"
		    "\"free_blocks\":%llu,\"blocks\":%llu,\"note\":",
		    (unsigned long long)st.generation, (unsigned long long)r.snapshots,
		    (unsigned long long)r.objects, (unsigned long long)r.orphans,
		    (unsigned long long)r.extents, (unsigned long long)r.data_blocks,
		    (unsigned long long)r.meta_blocks, (unsigned long long)r.free_blocks,
		    (unsigned long long)st.nblocks);
		print_json_string(stdout, st.note);
		puts("}");
		return OK;
	}
	printf("store version %u, generation %llu: sound\n", st.version,
	    (unsigned long long)st.generation);
	printf("%llu snapshots, %llu extents, %llu interrupted operations\n",
	    (unsigned long long)r.snapshots, (unsigned long long)r.extents,
	    (unsigned long long)r.orphans);
	printf("%llu MiB: %llu KiB data, %llu KiB records, %llu KiB free\n",
	    (unsigned long long)(st.nblocks * STORE_BLOCK / MIB),
	    (unsigned long long)r.data_blocks * 4, (unsigned long long)r.meta_blocks * 4,
	    (unsigned long long)r.free_blocks * 4);
	if (st.note[0])
		printf("note: %s\n", st.note);
	return OK;
}

/* --- export, import, delete, flatten, format ----------------------------------------- */

static int random_uuid(uint8_t uuid[16], struct errmsg *e)
{
	if (getrandom(uuid, 16, 0) != 16)
		return err_set(e, ERR_IO, "random numbers: %s", strerror(errno));
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
	return OK;
}

/* An exported snapshot is a store of its own, in a file that is as sparse as it has room to spare.
 */
static int export_to(struct call *c, struct snap *sn, const struct store_io *io, const char *path)
{
	struct store *to;
	uint8_t uuid[16];
	int err = random_uuid(uuid, &c->e);

	if (!err)
		err = store_format(io, uuid, &c->e);
	if (!err)
		err = store_open(io, true, &to, &c->e);
	if (err)
		return err_prefix(&c->e, err, "%s", path);
	err = snap_copy(sn, to, snap_info(sn)->name, false, show_progress, c, &c->e);
	store_close(to);
	return err;
}

/* The same in a portable file; who is asked for a passphrase is asked before the work. */
static int export_sealed(struct call *c, struct snap *sn, uint64_t size)
{
	struct secret secret = {.passphrase = false};
	struct scratch s;
	int err = seal_init(&c->e);

	if (!err && access(c->args[1], F_OK) == 0)
		err = err_set(&c->e, ERR_EXIST, "%s: exists already", c->args[1]);
	if (!err && c->encrypt)
		err = secret_make(&secret, &c->source, &c->e);
	if (err)
		return err;
	err = scratch_open(&s, size, &c->e);
	if (!err) {
		err = export_to(c, sn, &s.io, "temporary file");
		if (!err)
			err = seal_write(
			    c->args[1], &s.io, c->compress, c->encrypt ? &secret : NULL, &c->e);
		scratch_close(&s);
	}
	secret_forget(&secret);
	return err;
}

static int export_plain(struct call *c, struct snap *sn, uint64_t size)
{
	struct image out;
	int err = image_create(&out, c->args[1], size, &c->e);

	if (err)
		return err;
	err = export_to(c, sn, &out.io, out.path);
	image_close(&out);
	if (err)
		unlink(c->args[1]);
	return err;
}

static int run_export(struct call *c)
{
	struct snap *sn;
	uint64_t data = 0, pieces = 0;
	int err = snap_open(c->store, c->args[0], &sn, &c->e);

	if (err)
		return err;
	err = snap_full_size(sn, &data, &pieces, &c->e);
	data += snap_info(sn)->state_bytes + pieces * 64; /* a record each */
	data = ALIGN_UP(data + data / 16 + 8 * MIB, STORE_BLOCK);
	if (!err)
		err = c->compress || c->encrypt ? export_sealed(c, sn, data)
						: export_plain(c, sn, data);
	snap_close(sn);
	return err ? err : done(c, "exported to %s", c->args[1]);
}

static int import_from(struct call *c, struct store *from)
{
	struct names l = {.n = 0};
	struct snap *sn;
	const char *as;
	int err = snap_list(from, collect_name, &l, &c->e);

	if (!err && l.n != 1)
		err = err_set(&c->e, l.n ? ERR_INVAL : ERR_NOENT, "%s: %u snapshots instead of one",
		    c->args[0], l.n);
	if (!err)
		err = snap_open(from, l.name[0], &sn, &c->e);
	if (!err) {
		as = c->as ? c->as : l.name[0];
		err = snap_copy(sn, c->store, as, c->replace, show_progress, c, &c->e);
		snap_close(sn);
		if (!err)
			done(c, "imported as %s", as);
	}
	free(l.name);
	return err;
}

static int import_store(struct call *c, const struct store_io *io)
{
	struct store *from;
	int err = store_open(io, false, &from, &c->e);

	if (err)
		return err_prefix(&c->e, err, "%s", c->args[0]);
	err = import_from(c, from);
	store_close(from);
	return err;
}

static int import_sealed(struct call *c)
{
	struct scratch s;
	int err = seal_init(&c->e);

	if (!err)
		err = seal_read(c->args[0], &c->source, &s, &c->e);
	if (err)
		return err;
	err = import_store(c, &s.io);
	scratch_close(&s);
	return err;
}

static int run_import(struct call *c)
{
	struct image in;
	int err;

	if (seal_is(c->args[0]))
		return import_sealed(c);
	err = image_open(&in, c->args[0], IMAGE_READ, IMAGE_FIND, false, &c->e);
	if (!err && (c->source.key_file || c->source.passphrase_file))
		err = err_set(
		    &c->e, ERR_INVAL, "%s: is not encrypted: anybody may have made it", c->args[0]);
	if (!err) {
		err = import_store(c, &in.io);
		image_close(&in);
	}
	return err;
}

static int run_keygen(struct call *c)
{
	int err = seal_init(&c->e);

	if (!err)
		err = secret_keygen(c->args[0], &c->e);
	return err ? err
		   : done(c, "%s: a new key; who has it can read what it encrypts", c->args[0]);
}

static int run_delete(struct call *c)
{
	int err = snap_delete(c->store, c->args[0], &c->e);

	return err ? err : done(c, "deleted %s", c->args[0]);
}

static int run_flatten(struct call *c)
{
	int err = snap_flatten(c->store, c->args[0], show_progress, c, &c->e);

	return err ? err : done(c, "%s needs no other snapshot", c->args[0]);
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
	err = random_uuid(uuid, &c->e);
	if (!err)
		err = store_format(&c->image.io, uuid, &c->e);
	return err ? err : done(c, "%s: formatted", c->image_path);
}

/* --- core ---------------------------------------------------------------------------- */

static int run_core(struct call *c)
{
	struct core_result r;
	struct snap *sn;
	int err = snap_open(c->store, c->args[0], &sn, &c->e);

	if (err)
		return err;
	err = core_write(sn, c->args[1], c->paging, show_progress, c, &r, &c->e);
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
	"copies a snapshot into a new file"},
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
