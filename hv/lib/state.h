/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The state codec: how a device's or a vCPU's state becomes named properties of
 * a flattened device tree and back (design brief, sections 2 and 6; I5, I6, I11).
 *
 * A model keeps everything that a snapshot must carry in one plain struct, and
 * describes it in one table of fields. Save, check, load, the state inspector
 * and the format document all come from that table. In memory the struct may
 * change from version to version; on disk there are only names and values.
 *
 * Encoding of a field on disk: 'count' big-endian integers of 'width' bytes,
 * as device trees have them (a u8 array is raw bytes, zero-padded to a multiple
 * of four is NOT done: property lengths are exact).
 */
#ifndef AMBER_LIB_STATE_H
#define AMBER_LIB_STATE_H

#include "hv/lib/error.h"
#include "hv/lib/types.h"

#define STATE_TREE_MAX	   (16 * MIB) /* bytes of an encoded tree */
#define STATE_NAME_MAX	   31	      /* characters of a node's or property's name */
#define STATE_DEPTH_MAX	   8	      /* nodes below the root */
#define STATE_CHILDREN_MAX 256	      /* properties of one node; nodes in one node */

struct state_field {
	const char *name; /* property name, <= 31 characters, [a-z0-9-] */
	uint32_t offset;  /* in the state struct */
	uint8_t width;	  /* bytes per element: 1, 2, 4 or 8 */
	uint8_t flags;	  /* enum state_field_flag */
	uint32_t count;	  /* elements; 1 for a scalar */
	uint64_t max;	  /* greatest legal value of an element (unsigned) */
	const char *doc;  /* one line for the format document: meaning and unit */
};

enum state_field_flag {
	/* absent: the struct keeps its reset value (fields newer than version 1) */
	STATE_OPTIONAL = 1 << 0,
	/* each value up to max is legal: no check refuses one (vcpu_state_fields says so of each)
	 */
	STATE_FREE = 1 << 1,
};

#define STATE_FIELD_(T, m, nm, cnt, mx, fl, d)                                                     \
	{                                                                                          \
		.name = (nm), .offset = offsetof(T, m), .width = sizeof(((T *)0)->m) / (cnt),      \
		.flags = (fl), .count = (cnt), .max = (mx), .doc = (d)                             \
	}
/* A scalar or, with STATE_ARRAY, an array member of struct T; max bounds every element. */
#define STATE_INT(T, m, nm, mx, d)	       STATE_FIELD_(T, m, nm, 1, mx, 0, d)
#define STATE_ARRAY(T, m, nm, cnt, mx, d)      STATE_FIELD_(T, m, nm, cnt, mx, 0, d)
#define STATE_FREE_ARRAY(T, m, nm, cnt, mx, d) STATE_FIELD_(T, m, nm, cnt, mx, STATE_FREE, d)
#define STATE_END                                                                                  \
	{                                                                                          \
		.name = NULL                                                                       \
	}
#define STATE_ANY UINT64_MAX

/*
 * A tree under construction (the root node is there from the start: it is neither
 * begun nor ended, and what is written outside of any node belongs to it; within a
 * node, properties come before nodes): a compact list of (begin node, property, end node)
 * records in one buffer that grows through the allocator given. Cheap enough to
 * be filled while a guest is paused; turned into a device tree afterwards.
 */
struct state_writer {
	uint8_t *buf;
	size_t len, cap;
	size_t max; /* ERR_RANGE beyond */
	int err;    /* first error; later calls do nothing */
	void *(*grow)(void *old, size_t old_size, size_t new_size); /* NULL on failure, old kept */
};

void sw_init(struct state_writer *w, void *(*grow)(void *, size_t, size_t));
void sw_begin(struct state_writer *w, const char *node);
void sw_end(struct state_writer *w);
void sw_u32(struct state_writer *w, const char *name, uint32_t v);
void sw_u64(struct state_writer *w, const char *name, uint64_t v);
void sw_string(struct state_writer *w, const char *name, const char *s);
void sw_bytes(struct state_writer *w, const char *name, const void *p, size_t n);
/* All fields of the table, from the struct at state. */
void sw_fields(struct state_writer *w, const struct state_field *fields, const void *state);
/* Copies a node of another, already checked, device tree with all below it; of a root, the content
 * only. */
void sw_fdt_subtree(struct state_writer *w, const void *fdt, int node);
/*
 * Encodes all that was written as a flattened device tree (libfdt); *out comes from
 * grow(), and is the caller's to free (also after an error, if not NULL; so is w->buf).
 */
int sw_encode(struct state_writer *w, void **out, size_t *size, struct errmsg *e);

/* A node of a checked tree. */
struct state_node {
	const void *fdt;
	int node;	  /* libfdt node offset */
	const char *path; /* for messages, e.g. "vioapic/0" */
};

/*
 * libfdt's full check, then ours: size <= 16 MiB, no duplicate property or node
 * in one parent, names of at most 31 legal characters, depth <= 8. After this
 * succeeded, the other readers may trust the structure (not the values).
 */
int sr_check_tree(const void *fdt, size_t size, struct errmsg *e);
int sr_find(const void *fdt, const char *path, struct state_node *out); /* OK or ERR_NOENT */
int sr_u32(const struct state_node *n, const char *name, uint32_t *out, struct errmsg *e);
int sr_u64(const struct state_node *n, const char *name, uint64_t *out, struct errmsg *e);
/* A NUL-terminated string inside the tree; checked for termination, length < 256, printable. */
int sr_string(const struct state_node *n, const char *name, const char **out, struct errmsg *e);
int sr_bytes(
    const struct state_node *n, const char *name, const void **out, size_t *len, struct errmsg *e);
/*
 * Decodes all fields of the table into the zeroed struct at state. Refuses a
 * missing property, a wrong length, an element above its maximum, and any
 * property of the node that neither the table nor 'also' (NULL-terminated) names.
 * "record <path>: <name>: value 0x1ff above 0xff"
 */
int sr_fields(const struct state_node *n, const struct state_field *fields,
    const char *const also[], void *state, struct errmsg *e);

#endif
