/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The state codec: records of a machine's state into a flattened device tree
 * and, checked, back (hv/lib/state.h).
 *
 * The writer's buffer is a sequence of records, each an eight-byte header
 * (struct rec) followed by the name and the value; it exists in memory only.
 */
#include <string.h>
#include <libfdt.h>

#include "hv/lib/cursor.h"
#include "hv/lib/fmt.h"
#include "hv/lib/state.h"

enum rec_tag { REC_BEGIN = 1, REC_PROP, REC_END };

struct rec {
	uint8_t tag; /* enum rec_tag */
	uint8_t name_len;
	uint16_t zero;
	uint32_t len; /* of the value */
};

/* Where the root's "/" would be noise: "vioapic/0", but "/" for the root itself. */
static const char *shown(const char *path)
{
	if (path[0] == '/' && path[1])
		path++;
	return *path ? path : "/";
}

static bool name_char_ok(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr(",._+-@#?", c));
}

static bool name_ok(const char *name, size_t len)
{
	if (len == 0 || len > STATE_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!name_char_ok(name[i]))
			return false;
	return true;
}

/* --- writing ------------------------------------------------------------------------- */

void sw_init(struct state_writer *w, void *(*grow)(void *, size_t, size_t))
{
	*w = (struct state_writer){.max = STATE_TREE_MAX, .grow = grow};
}

/* Room for n more bytes at the end, or NULL and w->err. */
static uint8_t *sw_room(struct state_writer *w, size_t n)
{
	if (w->err)
		return NULL;
	if (n > w->max || w->len > w->max - n) {
		w->err = ERR_RANGE;
		return NULL;
	}
	if (n > w->cap - w->len) {
		size_t cap = w->cap ? w->cap * 2 : 4096;
		uint8_t *buf;

		while (cap - w->len < n)
			cap *= 2;
		buf = w->grow(w->buf, w->cap, cap);
		if (!buf) {
			w->err = ERR_NOMEM;
			return NULL;
		}
		w->buf = buf;
		w->cap = cap;
	}
	w->len += n;
	return w->buf + w->len - n;
}

/* Appends a record and returns where its value of len bytes goes; NULL after an error. */
static uint8_t *sw_record(struct state_writer *w, enum rec_tag tag, const char *name, size_t len)
{
	size_t name_len = strnlen(name, STATE_NAME_MAX + 1);
	struct rec r = {.tag = (uint8_t)tag, .name_len = (uint8_t)name_len, .len = (uint32_t)len};
	uint8_t *p;

	if (w->err)
		return NULL;
	if (tag != REC_END && !name_ok(name, name_len)) {
		w->err = ERR_INVAL;
		return NULL;
	}
	if (len > w->max) {
		w->err = ERR_RANGE;
		return NULL;
	}
	p = sw_room(w, sizeof(r) + name_len + len);
	if (!p)
		return NULL;
	memcpy(p, &r, sizeof(r));
	memcpy(p + sizeof(r), name, name_len);
	return p + sizeof(r) + name_len;
}

void sw_begin(struct state_writer *w, const char *node)
{
	sw_record(w, REC_BEGIN, node, 0);
}

void sw_end(struct state_writer *w)
{
	sw_record(w, REC_END, "", 0);
}

void sw_u32(struct state_writer *w, const char *name, uint32_t v)
{
	uint8_t *p = sw_record(w, REC_PROP, name, 4);

	if (p)
		put_be32(p, v);
}

void sw_u64(struct state_writer *w, const char *name, uint64_t v)
{
	uint8_t *p = sw_record(w, REC_PROP, name, 8);

	if (p)
		put_be64(p, v);
}

void sw_string(struct state_writer *w, const char *name, const char *s)
{
	sw_bytes(w, name, s, strlen(s) + 1);
}

void sw_bytes(struct state_writer *w, const char *name, const void *data, size_t n)
{
	uint8_t *p = sw_record(w, REC_PROP, name, n);

	if (p && n)
		memcpy(p, data, n);
}

/* An element of a state struct, whatever its width. */
static uint64_t get_native(const uint8_t *p, unsigned width)
{
	uint16_t v16;
	uint32_t v32;
	uint64_t v64;

	switch (width) {
	case 1:
		return *p;
	case 2:
		memcpy(&v16, p, 2);
		return v16;
	case 4:
		memcpy(&v32, p, 4);
		return v32;
	default:
		memcpy(&v64, p, 8);
		return v64;
	}
}

static void put_native(uint8_t *p, unsigned width, uint64_t v)
{
	uint16_t v16 = (uint16_t)v;
	uint32_t v32 = (uint32_t)v;

	switch (width) {
	case 1:
		*p = (uint8_t)v;
		break;
	case 2:
		memcpy(p, &v16, 2);
		break;
	case 4:
		memcpy(p, &v32, 4);
		break;
	default:
		memcpy(p, &v, 8);
	}
}

static void put_be(uint8_t *p, unsigned width, uint64_t v)
{
	for (unsigned i = width; i-- > 0; v >>= 8)
		p[i] = (uint8_t)v;
}

static uint64_t get_be(const uint8_t *p, unsigned width)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < width; i++)
		v = v << 8 | p[i];
	return v;
}

void sw_fields(struct state_writer *w, const struct state_field *fields, const void *state)
{
	for (const struct state_field *f = fields; f->name; f++) {
		const uint8_t *src = (const uint8_t *)state + f->offset;
		uint8_t *p = sw_record(w, REC_PROP, f->name, (size_t)f->width * f->count);

		if (!p)
			return;
		if (f->width == 1) {
			memcpy(p, src, f->count);
			continue;
		}
		for (uint32_t i = 0; i < f->count; i++, p += f->width, src += f->width)
			put_be(p, f->width, get_native(src, f->width));
	}
}

void sw_fdt_subtree(struct state_writer *w, const void *fdt, int node)
{
	int depth = 0, offset = node, next;

	do {
		uint32_t tag = fdt_next_tag(fdt, offset, &next);
		const char *name;
		const void *data;
		int len = 0;

		switch (tag) {
		case FDT_BEGIN_NODE:
			name = fdt_get_name(fdt, offset, NULL);
			if (name && *name) /* the root has no name: its content goes into the
					      current node */
				sw_begin(w, name);
			depth++;
			break;
		case FDT_PROP:
			data = fdt_getprop_by_offset(fdt, offset, &name, &len);
			if (data)
				sw_bytes(w, name, data, (size_t)len);
			else if (!w->err)
				w->err = ERR_CORRUPT;
			break;
		case FDT_END_NODE:
			if (--depth > 0 || node != 0)
				sw_end(w);
			break;
		case FDT_END:
			if (!w->err)
				w->err = ERR_CORRUPT;
			return;
		}
		offset = next;
	} while (depth > 0 && offset >= 0 && !w->err);
	if (depth > 0 && !w->err)
		w->err = ERR_CORRUPT;
}

/* Walks the records; what each means for the nesting is checked here, once for both passes. */
struct rec_walk {
	const struct state_writer *w;
	size_t pos;
	unsigned depth;	   /* open nodes below the root */
	uint32_t has_node; /* bit d: the open node at depth d has a child already */
	struct rec rec;
	char name[STATE_NAME_MAX + 1];
	const uint8_t *data;
};

/* The next record: true, or false at the end or with *err set. */
static bool rec_next(struct rec_walk *k, int *err, struct errmsg *e)
{
	const uint8_t *p = k->w->buf + k->pos;

	if (k->pos == k->w->len) {
		if (k->depth)
			*err = err_set(e, ERR_STATE, "state tree: %u nodes left open", k->depth);
		return false;
	}
	memcpy(&k->rec, p, sizeof(k->rec));
	memcpy(k->name, p + sizeof(k->rec), k->rec.name_len);
	k->name[k->rec.name_len] = '\0';
	k->data = p + sizeof(k->rec) + k->rec.name_len;
	k->pos += sizeof(k->rec) + k->rec.name_len + k->rec.len;

	switch (k->rec.tag) {
	case REC_BEGIN:
		k->has_node |= 1u << k->depth;
		if (++k->depth > STATE_DEPTH_MAX) {
			*err = err_set(e, ERR_RANGE, "state tree: node %s: nested deeper than %d",
			    k->name, STATE_DEPTH_MAX);
			return false;
		}
		k->has_node &= ~(1u << k->depth);
		return true;
	case REC_END:
		if (k->depth == 0) {
			*err = err_set(e, ERR_STATE, "state tree: node closed that is not open");
			return false;
		}
		k->depth--;
		return true;
	default:
		if (k->has_node >> k->depth & 1) { /* device tree specification, section 5.4.2 */
			*err = err_set(
			    e, ERR_STATE, "state tree: property %s follows a node", k->name);
			return false;
		}
		return true;
	}
}

/* An upper bound of the tree's size; 0 and *err if the records do not nest. */
static size_t encoded_bound(const struct state_writer *w, int *err, struct errmsg *e)
{
	struct rec_walk k = {.w = w};
	/* header, reserve map, root's begin and end, end of structure */
	size_t n = sizeof(struct fdt_header) + 8 + 16 + 16;

	while (rec_next(&k, err, e)) {
		size_t name = k.rec.name_len + 1u;

		if (k.rec.tag == REC_BEGIN)
			n += 4 + ALIGN_UP(name, 4);
		else if (k.rec.tag == REC_END)
			n += 4;
		else
			n += 12 + ALIGN_UP((size_t)k.rec.len, 4) + name;
	}
	return *err ? 0 : n;
}

int sw_encode(struct state_writer *w, void **out, size_t *size, struct errmsg *e)
{
	struct rec_walk k = {.w = w};
	int err = OK, fe;
	size_t bound;
	void *fdt;

	*out = NULL;
	if (w->err)
		return err_set(e, w->err, "state tree: %s", error_text(w->err));
	bound = encoded_bound(w, &err, e);
	if (err)
		return err;
	if (bound > 2 * STATE_TREE_MAX)
		return err_set(e, ERR_RANGE, "state tree: larger than 16 MiB");
	fdt = *out = w->grow(NULL, 0, bound);
	if (!fdt)
		return err_set(e, ERR_NOMEM, "state tree: out of memory (%zu bytes)", bound);

	fe = fdt_create(fdt, (int)bound);
	if (!fe)
		fe = fdt_finish_reservemap(fdt);
	if (!fe)
		fe = fdt_begin_node(fdt, "");
	while (!fe && rec_next(&k, &err, e)) {
		if (k.rec.tag == REC_BEGIN)
			fe = fdt_begin_node(fdt, k.name);
		else if (k.rec.tag == REC_END)
			fe = fdt_end_node(fdt);
		else
			fe = fdt_property(fdt, k.name, k.data, (int)k.rec.len);
	}
	if (!fe)
		fe = fdt_end_node(fdt);
	if (!fe)
		fe = fdt_finish(fdt);
	if (fe)
		return err_set(e, ERR_INVAL, "state tree: %s", fdt_strerror(fe));
	*size = fdt_totalsize(fdt);
	if (*size > STATE_TREE_MAX)
		return err_set(e, ERR_RANGE, "state tree: %zu bytes, more than 16 MiB", *size);
	return OK;
}

/* --- checking ------------------------------------------------------------------------ */

/* "vcpus/cpu@0" of a node, for a message. */
static const char *node_path(const void *fdt, int node, char *buf, size_t size)
{
	if (fdt_get_path(fdt, node, buf, (int)size) < 0)
		str_copy(buf, size, "(deep node)");
	return shown(buf);
}

/* Names seen in one node so that a second one of the same name is found. */
struct name_set {
	const char *name[STATE_CHILDREN_MAX];
	unsigned n;
};

static int name_add(struct name_set *s, const char *name, const char *what, const void *fdt,
    int node, struct errmsg *e)
{
	char path[160];

	if (!name || !name_ok(name, strnlen(name, STATE_NAME_MAX + 1)))
		return err_set(e, ERR_CORRUPT, "state tree: node %s: illegal %s name",
		    node_path(fdt, node, path, sizeof(path)), what);
	for (unsigned i = 0; i < s->n; i++)
		if (strcmp(s->name[i], name) == 0)
			return err_set(e, ERR_CORRUPT, "state tree: node %s: duplicate %s %s",
			    node_path(fdt, node, path, sizeof(path)), what, name);
	if (s->n == STATE_CHILDREN_MAX)
		return err_set(e, ERR_CORRUPT, "state tree: node %s: more than %d of %s",
		    node_path(fdt, node, path, sizeof(path)), STATE_CHILDREN_MAX, what);
	s->name[s->n++] = name;
	return OK;
}

/* One node: its properties come before its nodes, and each name occurs once. */
static int check_node(const void *fdt, int node, struct errmsg *e)
{
	struct name_set set = {.n = 0};
	int offset, err;
	const char *name;

	fdt_for_each_property_offset(offset, fdt, node)
	{
		if (!fdt_getprop_by_offset(fdt, offset, &name, NULL))
			name = NULL;
		err = name_add(&set, name, "property", fdt, node, e);
		if (err)
			return err;
	}
	set.n = 0;
	fdt_for_each_subnode(offset, fdt, node)
	{
		err = name_add(&set, fdt_get_name(fdt, offset, NULL), "node", fdt, node, e);
		if (err)
			return err;
	}
	return OK;
}

/* Properties after a subnode would be invisible to libfdt's readers: none may be there. */
static int check_order(const void *fdt, struct errmsg *e)
{
	int offset = 0, next;

	for (uint32_t tag, last = FDT_BEGIN_NODE;; offset = next, last = tag) {
		tag = fdt_next_tag(fdt, offset, &next);
		if (tag == FDT_END)
			return next < 0 ? err_set(e, ERR_CORRUPT, "state tree: ends early") : OK;
		if (tag == FDT_PROP && last == FDT_END_NODE)
			return err_set(e, ERR_CORRUPT, "state tree: property after a node");
		if (tag == FDT_NOP) /* neither dtc nor this codec writes any */
			return err_set(e, ERR_CORRUPT, "state tree: gap in the structure block");
	}
}

int sr_check_tree(const void *fdt, size_t size, struct errmsg *e)
{
	int fe, err, depth = 0;
	const char *root;

	if (size > STATE_TREE_MAX)
		return err_set(e, ERR_RANGE, "state tree: %zu bytes, more than 16 MiB", size);
	if ((uintptr_t)fdt % 8)
		return err_set(e, ERR_INVAL, "state tree: not aligned in memory");
	fe = size < sizeof(struct fdt_header) ? -FDT_ERR_TRUNCATED : fdt_check_header(fdt);
	/* first: below version 16, the full check of libfdt 1.6 follows a null pointer */
	if (!fe && fdt_version(fdt) < 17)
		return err_set(
		    e, ERR_UNSUPPORTED, "state tree: device tree version %u", fdt_version(fdt));
	if (!fe)
		fe = fdt_check_full(fdt, size);
	if (fe)
		return err_set(e, ERR_CORRUPT, "state tree: %s", fdt_strerror(fe));
	root = fdt_get_name(fdt, 0, NULL);
	if (!root || *root)
		return err_set(e, ERR_CORRUPT, "state tree: the root node has a name");
	err = check_order(fdt, e);
	for (int node = 0; !err && node >= 0 && depth >= 0;
	     node = fdt_next_node(fdt, node, &depth)) {
		if (depth > STATE_DEPTH_MAX)
			return err_set(
			    e, ERR_CORRUPT, "state tree: nested deeper than %d", STATE_DEPTH_MAX);
		err = check_node(fdt, node, e);
	}
	return err;
}

/* --- reading ------------------------------------------------------------------------- */

/* The child with exactly this name ("cpu" does not find "cpu@0", as libfdt's lookup would). */
static int find_child(const void *fdt, int parent, const char *name, size_t len)
{
	int node;

	fdt_for_each_subnode(node, fdt, parent)
	{
		int n;
		const char *s = fdt_get_name(fdt, node, &n);

		if (s && (size_t)n == len && memcmp(s, name, len) == 0)
			return node;
	}
	return ERR_NOENT;
}

int sr_find(const void *fdt, const char *path, struct state_node *out)
{
	const char *p = path;
	int node = 0;

	while (*p) {
		const char *slash;
		size_t len;

		if (*p == '/') {
			p++;
			continue;
		}
		slash = strchr(p, '/');
		len = slash ? (size_t)(slash - p) : strlen(p);
		node = find_child(fdt, node, p, len);
		if (node < 0)
			return ERR_NOENT;
		p += len;
	}
	*out = (struct state_node){.fdt = fdt, .node = node, .path = path};
	return OK;
}

/* A property of the exact length wanted (or any, if len is negative). */
static const void *get_prop(
    const struct state_node *n, const char *name, int *len, int *err, struct errmsg *e)
{
	int want = *len;
	const void *p = fdt_getprop(n->fdt, n->node, name, len);

	if (!p)
		*err = err_set(e, ERR_NOENT, "record %s: %s: missing", shown(n->path), name);
	else if (want >= 0 && *len != want)
		*err = err_set(e, ERR_CORRUPT, "record %s: %s: %d bytes instead of %d",
		    shown(n->path), name, *len, want);
	else
		*err = OK;
	return *err ? NULL : p;
}

static int missing_or_wrong(
    const struct state_node *n, const char *name, int want, struct errmsg *e)
{
	int len = want, err = OK;

	(void)get_prop(n, name, &len, &err, e);
	return err;
}

int sr_u32(const struct state_node *n, const char *name, uint32_t *out, struct errmsg *e)
{
	int len = 4, err;
	const void *p = get_prop(n, name, &len, &err, e);

	if (p)
		*out = get_be32(p);
	return err;
}

int sr_u64(const struct state_node *n, const char *name, uint64_t *out, struct errmsg *e)
{
	int len = 8, err;
	const void *p = get_prop(n, name, &len, &err, e);

	if (p)
		*out = get_be64(p);
	return err;
}

int sr_string(const struct state_node *n, const char *name, const char **out, struct errmsg *e)
{
	int len = -1, err;
	const char *p = get_prop(n, name, &len, &err, e);

	if (!p)
		return err;
	if (len < 1 || len > 256 || p[len - 1] != '\0' ||
	    strnlen(p, (size_t)len) != (size_t)len - 1)
		return err_set(e, ERR_CORRUPT,
		    "record %s: %s: not one string of at most 255 characters", shown(n->path),
		    name);
	for (const char *c = p; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			return err_set(e, ERR_CORRUPT, "record %s: %s: unprintable character 0x%x",
			    shown(n->path), name, (unsigned)(uint8_t)*c);
	*out = p;
	return OK;
}

int sr_bytes(
    const struct state_node *n, const char *name, const void **out, size_t *len, struct errmsg *e)
{
	int plen = -1, err;
	const void *p = get_prop(n, name, &plen, &err, e);

	if (p) {
		*out = p;
		*len = (size_t)plen;
	}
	return err;
}

/*
 * A property, looked for first where it is if the tree has the table's order: *at is the offset of
 * the property expected there, negative behind the last one.
 */
static const void *expected_prop(const struct state_node *n, const char *name, int *at, int *len)
{
	const char *here;
	const void *p = *at < 0 ? NULL : fdt_getprop_by_offset(n->fdt, *at, &here, len);

	if (!p || strcmp(here, name) != 0)
		return fdt_getprop(n->fdt, n->node, name, len);
	*at = fdt_next_property_offset(n->fdt, *at);
	return p;
}

/* One field from its property into the struct. */
static int read_field(const struct state_node *n, const struct state_field *f, int *at,
    uint8_t *dst, struct errmsg *e)
{
	int len, want = (int)(f->width * f->count);
	const uint8_t *p = expected_prop(n, f->name, at, &len);

	if (!p && (f->flags & STATE_OPTIONAL))
		return OK;
	if (!p || len != want) /* once more, for the message */
		return missing_or_wrong(n, f->name, want, e);
	for (uint32_t i = 0; i < f->count; i++, p += f->width, dst += f->width) {
		uint64_t v = get_be(p, f->width);

		if (v <= f->max) {
			put_native(dst, f->width, v);
			continue;
		}
		if (f->count > 1)
			return err_set(e, ERR_CORRUPT,
			    "record %s: %s[%u]: value 0x%llx above 0x%llx", shown(n->path), f->name,
			    i, (unsigned long long)v, (unsigned long long)f->max);
		return err_set(e, ERR_CORRUPT, "record %s: %s: value 0x%llx above 0x%llx",
		    shown(n->path), f->name, (unsigned long long)v, (unsigned long long)f->max);
	}
	return OK;
}

/* *next is the field whose name the next property has if the tree has the table's order. */
static bool name_known(const char *name, const struct state_field *fields,
    const struct state_field **next, const char *const also[])
{
	if ((*next)->name && strcmp((*next)->name, name) == 0) {
		(*next)++;
		return true;
	}
	for (const struct state_field *f = fields; f->name; f++)
		if (strcmp(f->name, name) == 0) {
			*next = f + 1;
			return true;
		}
	for (; also && *also; also++)
		if (strcmp(*also, name) == 0)
			return true;
	return false;
}

int sr_fields(const struct state_node *n, const struct state_field *fields,
    const char *const also[], void *state, struct errmsg *e)
{
	int offset, err, at = fdt_first_property_offset(n->fdt, n->node);
	const struct state_field *next = fields;
	const char *name = NULL;

	for (const struct state_field *f = fields; f->name; f++) {
		err = read_field(n, f, &at, (uint8_t *)state + f->offset, e);
		if (err)
			return err;
	}
	fdt_for_each_property_offset(offset, n->fdt, n->node)
	{
		if (!fdt_getprop_by_offset(n->fdt, offset, &name, NULL) ||
		    !name_known(name, fields, &next, also))
			return err_set(e, ERR_CORRUPT, "record %s: unknown property %s",
			    shown(n->path), name ? name : "?");
	}
	return OK;
}
