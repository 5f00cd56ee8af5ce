/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands list and show. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hv/mm/mm.h"
#include "hv/snapshot/snap_tree.h"
#include "tools/amber-snap/call.h"
#include "tools/amber-snap/print.h"

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
static void list_json(const struct snap_tree *t, const struct snap_entry *x)
{
	const struct snap_info *i = &x->info;
	char when[32];

	printf("{\"name\":");
	print_json_string(stdout, i->name);
	printf(",\"vm\":");
	print_json_string(stdout, i->vm);
	printf(",\"bytes\":%llu,\"created\":\"%s\",",
	    (unsigned long long)(i->stored_bytes + i->state_bytes),
	    time_text(i->created, "%Y-%m-%dT%H:%M:%SZ", when, sizeof(when)));
	call_json_id("id", i->id);
	if (x->based) {
		printf(",");
		call_json_id("parent_id", i->parent);
		printf(",\"parent\":");
		if (x->parent == SNAP_NO_PARENT)
			printf("null"); /* deleted, or made full under another id */
		else
			print_json_string(stdout, t->entry[x->parent].info.name);
	}
	printf(",\"format\":%u,\"memory_bytes\":%llu,\"ram_bytes\":%llu,\"ram_chunks\":%llu,"
	       "\"state_bytes\":%llu,\"disk_count\":%u}",
	    i->format, (unsigned long long)i->memory, (unsigned long long)i->ram_bytes,
	    (unsigned long long)i->ram_chunks, (unsigned long long)i->state_bytes, i->ndisks);
}

static void list_text(void *ctx, const struct snap_entry *x, unsigned depth)
{
	const struct snap_info *i = &x->info;
	int indent = 2 * (int)depth;
	char when[32];

	printf("%*s%-*s %-16s %9llu MiB %9.1f MiB  %s\n", indent, "", MAX(24 - indent, 1), i->name,
	    i->vm, (unsigned long long)(i->memory / MIB),
	    (double)(i->stored_bytes + i->state_bytes) / (double)MIB,
	    time_text(i->created, "%Y-%m-%d %H:%M:%S", when, sizeof(when)));
}

static void list_table(struct snap_tree *t)
{
	if (t->n)
		printf("%-24s %-16s %13s %13s  %s\n", "NAME", "VM", "MEMORY", "STORED",
		    "CREATED (UTC)");
	snap_tree_walk(t, list_text, NULL);
}

int run_list(struct call *c)
{
	struct snap_tree t;
	int err = snap_tree_get(c->store, &t, &c->e);

	if (!err && t.ndamaged) {
		c->e = t.damaged;
		err = ERR_CORRUPT;
	}
	if (c->json)
		printf("{\"snapshots\":[");
	for (size_t i = 0; c->json && i < t.n; i++) {
		printf("%s", i ? "," : "");
		list_json(&t, &t.entry[i]);
	}
	if (!c->json)
		list_table(&t);
	if (!c->json && !err && t.n == 0)
		puts("no snapshots");
	snap_tree_free(&t);
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

static int show_json(struct call *c, struct snap *sn, const void *fdt)
{
	struct errmsg ignored;
	unsigned set;
	struct snap_tree t;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	int err = snap_tree_get(c->store, &t, &c->e);

	if (f) {
		print_dts(f, fdt);
		fclose(f);
	}
	for (size_t i = 0; !err && i < t.n; i++) {
		if (strcmp(t.entry[i].info.name, c->args[0]) != 0)
			continue;
		printf("{\"ok\":true,\"snapshot\":");
		list_json(&t, &t.entry[i]);
		if (snap_set(sn, NULL, &set, &ignored) == OK)
			printf(
			    ",\"working_set_bytes\":%llu", (unsigned long long)set * STORE_CHUNK);
		printf(",\"dts\":");
		print_json_string(stdout, text ? text : "");
		puts("}");
	}
	snap_tree_free(&t);
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
			err = show_json(c, sn, fdt);
		else
			print_dts(stdout, fdt);
		heap_free(fdt);
	}
	snap_close(sn);
	return err;
}
