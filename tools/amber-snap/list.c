/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands list and show. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hv/mm/mm.h"
#include "tools/amber-snap/call.h"
#include "tools/amber-snap/print.h"

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
	call_json_id("id", i->id);
	if (memcmp(i->parent, none, sizeof(none))) {
		printf(",");
		call_json_id("parent_id", i->parent);
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

int run_list(struct call *c)
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

int run_show(struct call *c)
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
