/* SPDX-License-Identifier: BSD-2-Clause */
/* What is different between two snapshots: first the state trees, then the memory. */
#include "tools/amber-snap/diff.h"

#include <libfdt.h>
#include <string.h>

#include "hv/arch/x86/vcpu_state.h"
#include "hv/lib/cursor.h"
#include "hv/lib/fmt.h"
#include "hv/lib/state.h"
#include "hv/mm/mm.h"
#include "tools/amber-snap/print.h"

enum {
	PLACES_MAX = 16, /* places in one property that are told one by one */
	BYTES_MAX = 16,	 /* of such a place that are printed */
	PATH_SIZE = (STATE_DEPTH_MAX + 2) * (STATE_NAME_MAX + 1),
};

struct diff {
	FILE *out;
	bool json;
	const void *fdt[2];
	bool vcpus; /* the pass over the vCPUs' nodes, or over all others */
	bool comma; /* JSON: something stands before */
	uint64_t *counted;
	struct diff_totals *t;
	struct errmsg *e;
};

struct value {
	const uint8_t *p; /* NULL: there is none */
	int len;
};

/* --- one difference ------------------------------------------------------------------ */

static void json_value(struct diff *d, const char *key, const char *text)
{
	fprintf(d->out, ",\"%s\":", key);
	if (text)
		print_json_string(d->out, text);
	else
		fputs("null", d->out);
}

/* where: of an array, which part; "" for the whole. a, b: NULL for what is not there. */
static void report(struct diff *d, const char *path, const char *name, const char *where,
    const char *a, const char *b)
{
	char full[STATE_NAME_MAX + 64];

	str_format(full, sizeof(full), "%s%s", name, where);
	if (!d->json) {
		fprintf(d->out, "%s%s%s: ", path,
		    !*path || !*full ? ""
		    : d->vcpus	     ? " "
				     : "/",
		    full);
		if (a && b && strcmp(a, b) == 0) /* only how much of it was told */
			fprintf(d->out, "%s differ\n", a);
		else
			fprintf(d->out, "%s -> %s\n", a ? a : "absent", b ? b : "absent");
		return;
	}
	fprintf(d->out, "%s{\"%s\":", d->comma ? "," : "", d->vcpus ? "vcpu" : "node");
	d->comma = true;
	print_json_string(d->out, path);
	json_value(d, "name", full);
	json_value(d, "a", a);
	json_value(d, "b", b);
	fputc('}', d->out);
}

static uint64_t number(const uint8_t *p, unsigned width)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < width; i++)
		v = v << 8 | p[i];
	return v;
}

static void report_numbers(struct diff *d, const char *path, const char *name, const char *where,
    const uint8_t *a, const uint8_t *b, unsigned width)
{
	char x[24], y[24];

	str_format(x, sizeof(x), "0x%llx", (unsigned long long)number(a, width));
	str_format(y, sizeof(y), "0x%llx", (unsigned long long)number(b, width));
	report(d, path, name, where, x, y);
}

static const char *hex(char *out, size_t size, const uint8_t *p, unsigned n)
{
	int at = 0;

	if (n > BYTES_MAX)
		str_format(out, size, "%u bytes", n);
	else
		for (unsigned i = 0; i < n; i++)
			at += str_format(out + at, size - (size_t)at, "%s%02x", i ? " " : "", p[i]);
	return out;
}

/* Elements i to before end, which differ. */
static void report_place(struct diff *d, const char *path, const char *name, const uint8_t *a,
    const uint8_t *b, unsigned width, unsigned i, unsigned end)
{
	char where[40], x[BYTES_MAX * 3 + 1], y[BYTES_MAX * 3 + 1];

	if (end - i == 1) {
		str_format(where, sizeof(where), "[%u]", i);
		report_numbers(
		    d, path, name, where, a + (size_t)i * width, b + (size_t)i * width, width);
		return;
	}
	str_format(where, sizeof(where), "[%u..%u]", i, end - 1);
	report(d, path, name, where, hex(x, sizeof(x), a + i, end - i),
	    hex(y, sizeof(y), b + i, end - i));
}

/* Arrays: bytes that differ in one stretch go together, wider elements one by one. */
static void report_array(struct diff *d, const char *path, const char *name, const uint8_t *a,
    const uint8_t *b, unsigned width, unsigned count)
{
	unsigned places = 0, more = 0;
	char text[40];

	for (unsigned i = 0, end; i < count; i = end) {
		end = i + 1;
		if (memcmp(a + (size_t)i * width, b + (size_t)i * width, width) == 0)
			continue;
		while (width == 1 && end < count && a[end] != b[end])
			end++;
		if (places++ < PLACES_MAX)
			report_place(d, path, name, a, b, width, i, end);
		else
			more += end - i;
	}
	if (more) {
		str_format(text, sizeof(text), "%u more", more);
		report(d, path, name, "", text, text);
	}
}

static bool is_text(struct value v)
{
	for (int i = 0; i < v.len - 1; i++)
		if (v.p[i] < 0x20 || v.p[i] > 0x7e)
			return false;
	return v.len > 1 && v.p[v.len - 1] == 0;
}

/* How wide the elements of a vCPU's property are; 0: not known. */
static unsigned field_width(const char *name, int len)
{
	for (const struct state_field *f = vcpu_state_fields; f->name; f++)
		if (strcmp(f->name, name) == 0 && (int)(f->width * f->count) == len)
			return f->width;
	return 0;
}

static const char *size_text(char *out, size_t size, struct value v)
{
	if (!v.p)
		return NULL;
	str_format(out, size, "%d bytes", v.len);
	return out;
}

static void compare_values(
    struct diff *d, const char *path, const char *name, struct value a, struct value b)
{
	char x[40], y[40];
	unsigned width = 1;

	if (a.p && b.p && a.len == b.len && memcmp(a.p, b.p, (size_t)a.len) == 0)
		return;
	(*d->counted)++;
	if (!a.p || !b.p || (a.len != b.len && !(is_text(a) && is_text(b)))) {
		report(d, path, name, "", size_text(x, sizeof(x), a), size_text(y, sizeof(y), b));
		return;
	}
	if (!d->vcpus && is_text(a) && is_text(b)) {
		report(d, path, name, "", (const char *)a.p, (const char *)b.p);
		return;
	}
	if (d->vcpus)
		width = MAX(field_width(name, a.len), 1U);
	else if (a.len == 2 || a.len == 4 || a.len == 8)
		width = (unsigned)a.len;
	if ((int)width == a.len)
		report_numbers(d, path, name, "", a.p, b.p, width);
	else
		report_array(d, path, name, a.p, b.p, width, (unsigned)a.len / width);
}

/* --- two trees ----------------------------------------------------------------------- */

static struct value get(const void *fdt, int node, const char *name)
{
	struct value v = {.len = 0};

	v.p = fdt_getprop(fdt, node, name, &v.len);
	return v;
}

static void compare_properties(struct diff *d, const int node[2], const char *path)
{
	const char *name;
	int offset;

	fdt_for_each_property_offset(offset, d->fdt[0], node[0])
	{
		struct value v = {.len = 0};

		v.p = fdt_getprop_by_offset(d->fdt[0], offset, &name, &v.len);
		if (v.p)
			compare_values(d, path, name, v, get(d->fdt[1], node[1], name));
	}
	fdt_for_each_property_offset(offset, d->fdt[1], node[1])
	{
		struct value none = {.p = NULL}, v = {.len = 0};

		v.p = fdt_getprop_by_offset(d->fdt[1], offset, &name, &v.len);
		if (v.p && !get(d->fdt[0], node[0], name).p)
			compare_values(d, path, name, none, v);
	}
}

/* By its whole name, which libfdt's own search does not insist on; negative: none. */
static int find_child(const void *fdt, int parent, const char *name)
{
	int node;

	fdt_for_each_subnode(node, fdt, parent)
	{
		const char *s = fdt_get_name(fdt, node, NULL);

		if (s && strcmp(s, name) == 0)
			return node;
	}
	return -1;
}

/* A node that one of them has alone: in its own pass. */
static void report_node(struct diff *d, const char *path, const char *name, bool vcpu, bool in_b)
{
	if (vcpu != d->vcpus)
		return;
	(*d->counted)++;
	report(d, vcpu ? name : path, vcpu ? "" : name, "", in_b ? NULL : "there",
	    in_b ? "there" : NULL);
}

/* The trees were checked: their depth is bounded. */
static void compare_nodes(struct diff *d, const int node[2], const char *path)
{
	bool children_are_vcpus = strcmp(path, "vcpus") == 0;
	char below[PATH_SIZE];
	int child[2] = {0, 0};

	fdt_for_each_subnode(child[0], d->fdt[0], node[0])
	{
		const char *name = fdt_get_name(d->fdt[0], child[0], NULL);

		child[1] = find_child(d->fdt[1], node[1], name);
		if (child[1] < 0) {
			report_node(d, path, name, children_are_vcpus, false);
			continue;
		}
		str_format(below, sizeof(below), "%s%s%s", path, *path ? "/" : "", name);
		if (children_are_vcpus == d->vcpus)
			compare_properties(d, child, children_are_vcpus ? name : below);
		compare_nodes(d, child, below);
	}
	fdt_for_each_subnode(child[1], d->fdt[1], node[1])
	{
		const char *name = fdt_get_name(d->fdt[1], child[1], NULL);

		if (find_child(d->fdt[0], node[0], name) < 0)
			report_node(d, path, name, children_are_vcpus, true);
	}
}

static void compare_trees(struct diff *d)
{
	static const int roots[2] = {0, 0};

	d->vcpus = true;
	d->counted = &d->t->registers;
	if (d->json)
		fputs("{\"registers\":[", d->out);
	compare_nodes(d, roots, "");
	d->vcpus = d->comma = false;
	d->counted = &d->t->properties;
	if (d->json)
		fputs("],\"properties\":[", d->out);
	compare_properties(d, roots, "");
	compare_nodes(d, roots, "");
}

/* --- two memories -------------------------------------------------------------------- */

/* One of the two, chunk by chunk. */
struct side {
	struct snap *sn;
	uint8_t *view;	 /* an aligned chunk, put together of all extents in it */
	uint8_t *extent; /* one that was read and is not yet in a view */
	gpa_t addr;
	uint32_t len; /* 0: there is none left */
};

struct range {
	uint64_t start, end; /* end: not in it */
};

static int side_next(struct side *s, struct errmsg *e)
{
	int err = snap_ram_next(s->sn, &s->addr, s->extent, &s->len, e);

	if (err)
		s->len = 0;
	return err == ERR_NOENT ? OK : err;
}

static int side_begin(struct side *s, struct snap *sn, struct errmsg *e)
{
	s->sn = sn;
	s->view = heap_alloc(STORE_CHUNK);
	s->extent = heap_alloc(STORE_CHUNK);
	if (!s->view || !s->extent)
		return err_set(e, ERR_NOMEM, "out of memory");
	return side_next(s, e);
}

static void side_end(struct side *s)
{
	heap_free(s->view);
	heap_free(s->extent);
}

static uint64_t side_chunk(const struct side *s)
{
	return s->len ? ALIGN_DOWN(s->addr.a, (uint64_t)STORE_CHUNK) : UINT64_MAX;
}

/* What the guest's memory has at chunk; an extent lies within one. */
static int side_view(struct side *s, uint64_t chunk, struct errmsg *e)
{
	int err = OK;

	memset(s->view, 0, STORE_CHUNK);
	while (!err && side_chunk(s) == chunk) {
		memcpy(s->view + (s->addr.a - chunk), s->extent, s->len);
		err = side_next(s, e);
	}
	return err;
}

static void report_range(struct diff *d, const struct range *r)
{
	uint64_t pages = (r->end - r->start) / PAGE_SIZE;

	if (!pages)
		return;
	d->t->ranges++;
	d->t->pages += pages;
	if (d->json)
		fprintf(d->out, "%s{\"start\":%llu,\"end\":%llu,\"pages\":%llu}",
		    d->comma ? "," : "", (unsigned long long)r->start,
		    (unsigned long long)(r->end - 1), (unsigned long long)pages);
	else
		fprintf(d->out, "memory 0x%llx-0x%llx: %llu page%s\n", (unsigned long long)r->start,
		    (unsigned long long)(r->end - 1), (unsigned long long)pages,
		    pages == 1 ? "" : "s");
	d->comma = true;
}

static void compare_chunk(
    struct diff *d, uint64_t chunk, const uint8_t *a, const uint8_t *b, struct range *r)
{
	for (uint64_t at = 0; at < STORE_CHUNK; at += PAGE_SIZE) {
		if (memcmp(a + at, b + at, PAGE_SIZE) == 0)
			continue;
		if (r->end != chunk + at) {
			report_range(d, r);
			r->start = chunk + at;
		}
		r->end = chunk + at + PAGE_SIZE;
	}
}

static int compare_memory(struct diff *d, struct snap *a, struct snap *b)
{
	struct side s[2] = {{.sn = NULL}, {.sn = NULL}};
	struct range r = {0, 0};
	uint64_t chunk;
	int err;

	d->comma = false;
	if (d->json)
		fputs("],\"ranges\":[", d->out);
	err = side_begin(&s[0], a, d->e);
	if (!err)
		err = side_begin(&s[1], b, d->e);
	while (!err) {
		chunk = MIN(side_chunk(&s[0]), side_chunk(&s[1]));
		if (chunk == UINT64_MAX)
			break;
		err = side_view(&s[0], chunk, d->e);
		if (!err)
			err = side_view(&s[1], chunk, d->e);
		if (!err)
			compare_chunk(d, chunk, s[0].view, s[1].view, &r);
	}
	report_range(d, &r);
	side_end(&s[0]);
	side_end(&s[1]);
	return err;
}

int diff_print(FILE *out, struct snap *a, struct snap *b, bool json, struct diff_totals *t,
    bool *begun, struct errmsg *e)
{
	struct diff d = {.out = out, .json = json, .t = t, .e = e};
	void *fdt[2] = {NULL, NULL};
	size_t size;
	int err = snap_state(a, &fdt[0], &size, e);

	*t = (struct diff_totals){.registers = 0};
	*begun = false;
	if (!err)
		err = snap_state(b, &fdt[1], &size, e);
	if (!err) {
		*begun = true;
		d.fdt[0] = fdt[0];
		d.fdt[1] = fdt[1];
		compare_trees(&d);
	}
	heap_free(fdt[0]);
	if (fdt[1])
		heap_free(fdt[1]);
	return err ? err : compare_memory(&d, a, b);
}
