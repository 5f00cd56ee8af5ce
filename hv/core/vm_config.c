/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The manifest's schema (docs/manifest.md) as tables of nodes and properties;
 * parsing and saving both follow them.
 */
#include "hv/core/vm_config_impl.h"
#include <libfdt.h>
#include <string.h>
#include "hv/lib/cursor.h"
#include "hv/lib/fmt.h"
#include "hv/lib/state.h"

enum {
	MEMORY_MIN_MIB = 16,
	MEMORY_MAX_MIB = 1 << 20, /* 1 TiB */
	DISK_MAX_MIB = 1 << 30,	  /* 1 PiB */
	MEMORY_STEP_MIB = 2,	  /* one large page */
	UART_MAX = 3,
	TSC_MIN_KHZ = 100000,	/* 100 MHz */
	TSC_MAX_KHZ = 10000000, /* 10 GHz */
	SLOT_MIN = 1,
};

/* --- the schema ----------------------------------------------------------------- */

enum prop_type {
	PROP_FLAG,   /* no value; bool */
	PROP_NUMBER, /* one cell; an unsigned integer of the destination's size */
	PROP_TEXT,   /* one string; an array of char */
	PROP_WORD,   /* one string out of a list; its place in the list as a uint32_t, or nothing */
	PROP_UUID,   /* one string of the usual form; 16 bytes in the order of the text */
};

/* Characters of a text; the first may be bound closer. */
struct text_rule {
	const char *what; /* "must be ..." */
	bool (*first)(char c), (*rest)(char c);
};

struct prop {
	const char *name;
	enum prop_type type;
	bool required;
	uint32_t offset, size;	      /* destination in the node's struct; size 0: none */
	uint32_t min, max, step;      /* numbers; step 0: any */
	uint64_t unit;		      /* numbers are stored times this; 0: as they are */
	const struct text_rule *rule; /* texts */
	const char *const *words;     /* ends with NULL */
};

static bool is_lower_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_name(char c)
{
	return is_lower_or_digit(c) || c == '_' || c == '-';
}

static bool is_file_first(char c)
{
	return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_file(char c)
{
	return is_file_first(c) || c == '-' || c == '+' || c == '.' || c == '~';
}

static bool is_print(char c)
{
	return c >= 0x20 && c <= 0x7e;
}

static const struct text_rule rule_name = {
    "a name of a-z, 0-9, '_' and '-', not beginning with '_' or '-'", is_lower_or_digit, is_name};
static const struct text_rule rule_file = {
    "a file name of letters, digits, '.', '_', '+', '~' and '-'", is_file_first, is_file};
static const struct text_rule rule_print = {"printable ASCII text", is_print, is_print};

static const char *const words_guest[] = {"amber,guest", NULL};
static const char *const words_boot[] = {
    "none", "linux", "multiboot", "multiboot2", "pvh", "firmware", NULL}; /* as enum boot_method */

#define AT(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)0)->member)
#define CFG(member)	 AT(struct vm_config, member)
#define DEV(member)	 AT(struct config_dev, member)
#define MOD(member)	 AT(struct config_module, member)

/* Not "name": device trees give that property a meaning of their own, and dtc insists on it. */
static const struct prop root_props[] = {
    {"compatible", PROP_WORD, true, .words = words_guest},
    {"vm-name", PROP_TEXT, true, CFG(name), .rule = &rule_name},
    {"uuid", PROP_UUID, false, CFG(uuid)},
    {"autostart", PROP_FLAG, false, CFG(autostart)},
    {"memory-mib", PROP_NUMBER, true, CFG(memory), .min = MEMORY_MIN_MIB, .max = MEMORY_MAX_MIB,
	.step = MEMORY_STEP_MIB, .unit = MIB},
    {"cpu-model", PROP_TEXT, false, CFG(cpu_model), .rule = &rule_name},
    {"tsc-khz", PROP_NUMBER, false, CFG(tsc_khz), .min = TSC_MIN_KHZ, .max = TSC_MAX_KHZ},
};

static const struct prop cpus_props[] = {
    {"count", PROP_NUMBER, true, CFG(vcpus), .min = 1, .max = VM_MAX_VCPUS},
    {"sockets", PROP_NUMBER, false, CFG(sockets), .min = 1, .max = VM_MAX_VCPUS},
    {"cores", PROP_NUMBER, false, CFG(cores), .min = 1, .max = VM_MAX_VCPUS},
    {"threads", PROP_NUMBER, false, CFG(threads), .min = 1, .max = VM_MAX_VCPUS},
};

static const struct prop boot_props[] = {
    {"method", PROP_WORD, true, CFG(boot), .words = words_boot},
    {"kernel", PROP_TEXT, false, CFG(kernel), .rule = &rule_file},
    {"initrd", PROP_TEXT, false, CFG(initrd), .rule = &rule_file},
    {"command-line", PROP_TEXT, false, CFG(cmdline), .rule = &rule_print},
    {"rom", PROP_TEXT, false, CFG(rom), .rule = &rule_file},
};

static const struct prop module_props[] = {
    {"file", PROP_TEXT, true, MOD(file), .rule = &rule_file},
    {"command-line", PROP_TEXT, false, MOD(string), .rule = &rule_print},
};

#define PROP_COMPATIBLE                                                                            \
	{                                                                                          \
		"compatible", PROP_TEXT, true, DEV(model), .rule = &rule_print                     \
	}
#define PROP_SLOT                                                                                  \
	{                                                                                          \
		"slot", PROP_NUMBER, false, DEV(pci_slot), .min = SLOT_MIN, .max = SLOT_MAX        \
	}

static const struct prop uart_props[] = {
    PROP_COMPATIBLE,
    {"index", PROP_NUMBER, true, DEV(uart_index), .max = UART_MAX},
};

static const struct prop blk_props[] = {
    PROP_COMPATIBLE,
    PROP_SLOT,
    {"backend", PROP_TEXT, true, DEV(backend), .rule = &rule_print},
    {"base", PROP_TEXT, false, DEV(base), .rule = &rule_print},
    {"size-mib", PROP_NUMBER, false, DEV(disk_size), .min = 1, .max = DISK_MAX_MIB, .unit = MIB},
    {"serial", PROP_TEXT, false, DEV(serial), .rule = &rule_print},
    {"read-only", PROP_FLAG, false, DEV(read_only)},
};

static const struct prop console_props[] = {
    PROP_COMPATIBLE,
    PROP_SLOT,
    {"port-name", PROP_TEXT, false, DEV(port_name), .rule = &rule_print},
};

static const struct prop debug_exit_props[] = {
    PROP_COMPATIBLE,
    {"io-base", PROP_NUMBER, false, DEV(io_base), .min = 1, .max = 0xffff},
    {"io-size", PROP_NUMBER, false, DEV(io_size), .min = 1, .max = DEBUG_EXIT_PORTS},
};

static const struct prop flash_props[] = {
    PROP_COMPATIBLE,
    {"backend", PROP_TEXT, true, DEV(backend), .rule = &rule_print},
    {"base", PROP_TEXT, false, DEV(base), .rule = &rule_print},
};

/* A device that has nothing to choose, and of which a machine has one at most. */
static const struct prop plain_props[] = {PROP_COMPATIBLE};

/* A table of properties: of a fixed node, or of a kind of device. */
struct prop_list {
	const struct prop *props;
	unsigned count;
};
#define PROPS(table)                                                                               \
	{                                                                                          \
		(table), ARRAY_LEN(table)                                                          \
	}

static const struct prop_list root_list = PROPS(root_props);
static const struct prop_list module_list = PROPS(module_props);

/* A node whose children the manifest's author names, in his order; no properties of its own. */
struct node_list {
	const char *name;
	unsigned limit; /* children */
	int (*parse)(const struct ctx *child, const char *name, struct vm_config *out);
};

static int parse_module(const struct ctx *c, const char *name, struct vm_config *out);
static int parse_device(const struct ctx *c, const char *name, struct vm_config *out);

static const struct node_list modules_node = {"modules", VM_MAX_MODULES, parse_module};
static const struct node_list devices_node = {"devices", VM_MAX_DEVICES, parse_device};

/* Nodes below the root, except "devices". */
static const struct node_row {
	const char *name;
	bool required;
	struct prop_list list;
	const struct node_list *below; /* the one node that it may have; NULL: none */
} node_rows[] = {
    {"cpus", false, PROPS(cpus_props), NULL},
    {"boot", true, PROPS(boot_props), &modules_node},
};
#define NODE_DEVICES ARRAY_LEN(node_rows) /* its bit in the set of nodes seen */

static const struct dev_row {
	const char *compatible;
	enum config_dev_kind kind;
	bool pci;
	struct prop_list list;
} dev_rows[] = {
    {"amber,ns16550", CONFIG_UART, false, PROPS(uart_props)},
    {"amber,virtio-blk", CONFIG_VIRTIO_BLK, true, PROPS(blk_props)},
    {"amber,virtio-console", CONFIG_VIRTIO_CONSOLE, true, PROPS(console_props)},
    {"amber,hpet", CONFIG_HPET, false, PROPS(plain_props)},
    {"amber,fw-cfg", CONFIG_FW_CFG, false, PROPS(plain_props)},
    {"amber,debug-exit", CONFIG_DEBUG_EXIT, false, PROPS(debug_exit_props)},
    {"amber,testdev", CONFIG_TESTDEV, false, PROPS(plain_props)},
    {"amber,flash", CONFIG_FLASH, false, PROPS(flash_props)},
};

static const struct dev_row *dev_row_of(const struct config_dev *d)
{
	for (size_t i = 0; i < ARRAY_LEN(dev_rows); i++)
		if (dev_rows[i].kind == d->kind)
			return &dev_rows[i];
	return NULL;
}

bool config_dev_is_pci(const struct config_dev *d)
{
	return dev_row_of(d)->pci;
}

bool config_dev_is_plain(const struct config_dev *d)
{
	return dev_row_of(d)->list.props == plain_props;
}

const char *config_dev_compatible(const struct config_dev *d)
{
	return dev_row_of(d)->compatible;
}

const char *config_boot_word(enum boot_method method)
{
	return words_boot[method];
}

/* --- one property --------------------------------------------------------------- */

/* The one string that the value must be, or NULL and a message. */
static const char *string_value(const struct ctx *c, const char *name, const char *v, int len)
{
	if (len < 1 || strnlen(v, (size_t)len) != (size_t)len - 1) {
		REFUSE(c, "%s: must be one string", name);
		return NULL;
	}
	return v;
}

static int parse_flag(const struct ctx *c, const struct prop *p, const void *v, int len, void *dst)
{
	if (len != 0)
		return REFUSE(c, "%s: takes no value", p->name);
	*(bool *)dst = true;
	return OK;
}

static int parse_number(
    const struct ctx *c, const struct prop *p, const void *v, int len, void *dst)
{
	uint64_t n;

	if (len != 4)
		return REFUSE(c, "%s: must be one number", p->name);
	n = get_be32(v);
	if (n < p->min || n > p->max)
		return REFUSE(c, "%s: %lu is not in %u to %u", p->name, n, p->min, p->max);
	if (p->step && n % p->step)
		return REFUSE(c, "%s: %lu is not a multiple of %u", p->name, n, p->step);
	if (p->unit)
		n *= p->unit;
	memcpy(dst, &n, p->size); /* little-endian: the low bytes come first */
	return OK;
}

static int parse_text(const struct ctx *c, const struct prop *p, const void *v, int len, void *dst)
{
	const char *s = string_value(c, p->name, v, len);

	if (!s)
		return ERR_INVAL;
	if ((uint32_t)len > p->size)
		return REFUSE(c, "%s: longer than %u characters", p->name, p->size - 1);
	if (!s[0] && !p->required)
		return OK; /* the same as absent */
	if (!p->rule->first(s[0]))
		return REFUSE(c, "%s: must be %s", p->name, p->rule->what);
	for (int i = 1; i < len - 1; i++)
		if (!p->rule->rest(s[i]))
			return REFUSE(c, "%s: must be %s", p->name, p->rule->what);
	memcpy(dst, s, (size_t)len);
	return OK;
}

static int parse_word(const struct ctx *c, const struct prop *p, const void *v, int len, void *dst)
{
	const char *s = string_value(c, p->name, v, len);
	char known[100] = "";
	size_t n = 0;

	if (!s)
		return ERR_INVAL;
	for (uint32_t i = 0; p->words[i]; i++) {
		if (strcmp(s, p->words[i]) == 0) {
			memcpy(dst, &i, p->size);
			return OK;
		}
		n += (size_t)str_format(
		    known + n, sizeof(known) - n, "%s\"%s\"", i ? " or " : "", p->words[i]);
	}
	return REFUSE(c, "%s: must be %s", p->name, known);
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool uuid_parse(const char *s, uint8_t out[16])
{
	for (unsigned i = 0, byte = 0; i < 36;) {
		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (s[i++] != '-')
				return false;
			continue;
		}
		if (hex_value(s[i]) < 0 || hex_value(s[i + 1]) < 0)
			return false;
		out[byte++] = (uint8_t)(hex_value(s[i]) << 4 | hex_value(s[i + 1]));
		i += 2;
	}
	return true;
}

static int parse_uuid(const struct ctx *c, const struct prop *p, const void *v, int len, void *dst)
{
	const char *s = string_value(c, p->name, v, len);

	if (!s)
		return ERR_INVAL;
	if (len != 37 || !uuid_parse(s, dst))
		return REFUSE(
		    c, "%s: must be like \"01234567-89ab-cdef-0123-456789abcdef\"", p->name);
	return OK;
}

static int parse_prop(const struct ctx *c, const struct prop *p, const void *v, int len, void *base)
{
	static int (*const parse[])(
	    const struct ctx *c, const struct prop *p, const void *v, int len, void *dst) = {
	    [PROP_FLAG] = parse_flag,
	    [PROP_NUMBER] = parse_number,
	    [PROP_TEXT] = parse_text,
	    [PROP_WORD] = parse_word,
	    [PROP_UUID] = parse_uuid,
	};

	return parse[p->type](c, p, v, len, (uint8_t *)base + p->offset);
}

/* --- nodes ---------------------------------------------------------------------- */

/* Reads all properties of the node into the struct at base; says by *seen which there were. */
static int parse_props(
    const struct ctx *c, const struct prop_list *list, void *base, uint32_t *seen)
{
	int off;

	*seen = 0;
	fdt_for_each_property_offset(off, c->fdt, c->node)
	{
		const char *name;
		int len, err;
		const void *v = fdt_getprop_by_offset(c->fdt, off, &name, &len);
		unsigned i = 0;

		if (!v)
			return err_set(c->e, ERR_CORRUPT, "%s: damaged property", c->path);
		while (i < list->count && strcmp(name, list->props[i].name) != 0)
			i++;
		if (i == list->count)
			return REFUSE(c, "unknown property '%s'", name);
		if (*seen & 1u << i)
			return REFUSE(c, "%s: given twice", name);
		*seen |= 1u << i;
		err = parse_prop(c, &list->props[i], v, len, base);
		if (err)
			return err;
	}
	for (unsigned i = 0; i < list->count; i++)
		if (list->props[i].required && !(*seen & 1u << i))
			return REFUSE(c, "%s is missing", list->props[i].name);
	return OK;
}

static int refuse_node(const struct ctx *c, int node)
{
	return REFUSE(c, "unknown node '%s'", fdt_get_name(c->fdt, node, NULL));
}

/* A node that has properties only. */
static int parse_leaf(const struct ctx *c, const struct prop_list *list, void *base)
{
	int sub = fdt_first_subnode(c->fdt, c->node);
	uint32_t seen;

	return sub >= 0 ? refuse_node(c, sub) : parse_props(c, list, base, &seen);
}

static int parse_module(const struct ctx *c, const char *name, struct vm_config *out)
{
	struct config_module *m = &out->modules[out->nmodules++];

	str_copy(m->name, sizeof(m->name), name);
	return parse_leaf(c, &module_list, m);
}

static int parse_device(const struct ctx *c, const char *name, struct vm_config *out)
{
	struct config_dev *d = &out->devs[out->ndevs++];
	const char *compatible;
	const struct dev_row *row = dev_rows;
	int len;

	str_copy(d->name, sizeof(d->name), name);
	compatible = fdt_getprop(c->fdt, c->node, "compatible", &len);
	if (!compatible)
		return REFUSE(c, "%s is missing", "compatible");
	compatible = string_value(c, "compatible", compatible, len);
	if (!compatible)
		return ERR_INVAL;
	while (row < dev_rows + ARRAY_LEN(dev_rows) && strcmp(row->compatible, compatible) != 0)
		row++;
	if (row == dev_rows + ARRAY_LEN(dev_rows))
		return REFUSE(c, "compatible: no device model '%.31s'", compatible);
	d->kind = row->kind;
	return parse_leaf(c, &row->list, d);
}

/* A child's name, in the child's context. */
static int check_name(const struct ctx *child, const char *name)
{
	if (strlen(name) > VM_NAME_MAX)
		return REFUSE(child, "name longer than %d characters", VM_NAME_MAX);
	for (const char *p = name; *p; p++)
		if (!(p == name ? is_lower_or_digit(*p) : is_name(*p)))
			return REFUSE(child, "must be %s", rule_name.what);
	return OK;
}

static int parse_list(const struct ctx *c, const struct node_list *list, struct vm_config *out)
{
	int sub, prop = fdt_first_property_offset(c->fdt, c->node);
	unsigned count = 0;
	const char *name;

	if (prop >= 0) {
		fdt_getprop_by_offset(c->fdt, prop, &name, NULL);
		return REFUSE(c, "unknown property '%s'", name);
	}
	fdt_for_each_subnode(sub, c->fdt, c->node)
	{
		struct ctx child;
		int err;

		name = fdt_get_name(c->fdt, sub, NULL);
		ctx_child(&child, c, sub, name);
		err = check_name(&child, name);
		if (err)
			return err;
		if (fdt_subnode_offset(c->fdt, c->node, name) != sub) /* finds the first */
			return REFUSE(c, "node '%s' is given twice", name);
		if (count++ == list->limit)
			return REFUSE(c, "more than %u %s", list->limit, list->name);
		err = list->parse(&child, name, out);
		if (err)
			return err;
	}
	return OK;
}

/* A node below the root, and the one that it may have below itself. */
static int parse_node(const struct ctx *c, const struct node_row *row, struct vm_config *out)
{
	bool given = false;
	uint32_t seen;
	int sub;

	fdt_for_each_subnode(sub, c->fdt, c->node)
	{
		const char *name = fdt_get_name(c->fdt, sub, NULL);
		struct ctx child;
		int err;

		if (!row->below || strcmp(name, row->below->name) != 0)
			return refuse_node(c, sub);
		if (given)
			return REFUSE(c, "node '%s' is given twice", name);
		given = true;
		ctx_child(&child, c, sub, name);
		err = parse_list(&child, row->below, out);
		if (err)
			return err;
	}
	return parse_props(c, &row->list, out, &seen);
}

static int parse_nodes(const struct ctx *root, struct vm_config *out)
{
	uint32_t seen = 0;
	int sub;

	fdt_for_each_subnode(sub, root->fdt, root->node)
	{
		const char *name = fdt_get_name(root->fdt, sub, NULL);
		struct ctx c;
		unsigned i = 0;
		int err;

		while (i < ARRAY_LEN(node_rows) && strcmp(name, node_rows[i].name) != 0)
			i++;
		if (i == NODE_DEVICES && strcmp(name, devices_node.name) != 0)
			return refuse_node(root, sub);
		if (seen & 1u << i)
			return REFUSE(root, "node '%s' is given twice", name);
		seen |= 1u << i;
		ctx_child(&c, root, sub, name);
		err = i == NODE_DEVICES ? parse_list(&c, &devices_node, out)
					: parse_node(&c, &node_rows[i], out);
		if (err)
			return err;
	}
	for (unsigned i = 0; i < ARRAY_LEN(node_rows); i++)
		if (node_rows[i].required && !(seen & 1u << i))
			return REFUSE(root, "node '%s' is missing", node_rows[i].name);
	return OK;
}

/*
 * A UUID that is always the same for a name: two FNV-1a hashes, in the form that
 * RFC 9562 sets apart for private schemes (version 8).
 */
static void uuid_from_name(const char *name, uint8_t uuid[16])
{
	for (unsigned half = 0; half < 2; half++) {
		uint64_t h = 0xcbf29ce484222325ULL + half;

		for (const char *p = name; *p; p++)
			h = (h ^ (uint8_t)*p) * 0x100000001b3ULL;
		put_be64(uuid + 8 * half, h);
	}
	uuid[6] = 0x80 | (uuid[6] & 0x0f);
	uuid[8] = 0x80 | (uuid[8] & 0x3f);
}

/* --- the two entries ------------------------------------------------------------ */

int vm_config_rename(struct vm_config *c, const char *name, struct errmsg *e)
{
	size_t n = strlen(name);
	bool ok = n >= 1 && n <= VM_NAME_MAX && rule_name.first(name[0]);

	for (size_t i = 1; ok && i < n; i++)
		ok = rule_name.rest(name[i]);
	if (!ok)
		return err_set(e, ERR_INVAL, "'%s' is not a name for a vm: it must be %s", name,
		    rule_name.what);
	str_copy(c->name, sizeof(c->name), name);
	uuid_from_name(c->name, c->uuid);
	return OK;
}

#define ROOT_UUID BIT(2) /* place of "uuid" in root_props */

int vm_config_read(const void *fdt, const char *root, struct vm_config *out,
    bool (*payload_exists)(const char *name), struct errmsg *e)
{
	struct ctx c = {.fdt = fdt, .e = e};
	struct state_node n;
	uint32_t seen;
	int err;

	memset(out, 0, sizeof(*out));
	if (sr_find(fdt, root, &n))
		return err_set(e, ERR_NOENT, "node '%s' is missing", root);
	c.node = n.node;
	str_copy(c.path, sizeof(c.path), root);
	str_copy(out->cpu_model, sizeof(out->cpu_model), "x86-64-v2");
	err = parse_props(&c, &root_list, out, &seen);
	if (!err)
		err = parse_nodes(&c, out);
	if (!err)
		err = config_check(&c, out, payload_exists);
	if (!err && !(seen & ROOT_UUID))
		uuid_from_name(out->name, out->uuid);
	return err;
}

int vm_config_parse(const void *blob, size_t size, const char *root, struct vm_config *out,
    bool (*payload_exists)(const char *name), struct errmsg *e)
{
	int err = sr_check_tree(blob, size, e);

	return err ? err : vm_config_read(blob, root, out, payload_exists, e);
}

static void save_number(struct state_writer *w, const struct prop *p, const void *src)
{
	uint64_t n = 0;

	memcpy(&n, src, p->size);
	if (p->unit)
		n /= p->unit;
	if (n || !p->min) /* 0 below the minimum stands for absent */
		sw_u32(w, p->name, (uint32_t)n);
}

static void save_uuid(struct state_writer *w, const struct prop *p, const uint8_t *u)
{
	char text[37];

	str_format(text, sizeof(text),
	    "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1],
	    u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14],
	    u[15]);
	sw_string(w, p->name, text);
}

static void save_prop(struct state_writer *w, const struct prop *p, const void *base)
{
	const void *src = (const uint8_t *)base + p->offset;
	uint32_t word = 0;

	switch (p->type) {
	case PROP_FLAG:
		if (*(const bool *)src)
			sw_bytes(w, p->name, "", 0);
		break;
	case PROP_NUMBER:
		save_number(w, p, src);
		break;
	case PROP_TEXT:
		if (*(const char *)src)
			sw_string(w, p->name, src);
		break;
	case PROP_WORD:
		memcpy(&word, src, p->size);
		sw_string(w, p->name, p->words[word]);
		break;
	case PROP_UUID:
		save_uuid(w, p, src);
		break;
	}
}

static void save_props(struct state_writer *w, const struct prop_list *list, const void *base)
{
	for (unsigned i = 0; i < list->count; i++)
		save_prop(w, &list->props[i], base);
}

static void save_modules(const struct vm_config *c, struct state_writer *w)
{
	if (!c->nmodules)
		return;
	sw_begin(w, modules_node.name);
	for (uint32_t i = 0; i < c->nmodules; i++) {
		sw_begin(w, c->modules[i].name);
		save_props(w, &module_list, &c->modules[i]);
		sw_end(w);
	}
	sw_end(w);
}

void vm_config_save(const struct vm_config *c, struct state_writer *w)
{
	save_props(w, &root_list, c);
	for (size_t i = 0; i < ARRAY_LEN(node_rows); i++) {
		sw_begin(w, node_rows[i].name);
		save_props(w, &node_rows[i].list, c);
		if (node_rows[i].below == &modules_node)
			save_modules(c, w);
		sw_end(w);
	}
	sw_begin(w, devices_node.name);
	for (uint32_t i = 0; i < c->ndevs; i++) {
		sw_begin(w, c->devs[i].name);
		save_props(w, &dev_row_of(&c->devs[i])->list, &c->devs[i]);
		sw_end(w);
	}
	sw_end(w);
}
