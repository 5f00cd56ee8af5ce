/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Finds the file names in a flattened device tree (Devicetree Specification,
 * chapter 5). A manifest is untrusted (I3): every offset is checked against the
 * size of the file, and each step of the walk consumes at least four bytes.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef void dtb_found_fn(void *arg, const char *name, bool must);
void dtb_names(const void *blob, size_t size, dtb_found_fn *found, void *arg);

enum {
	DTB_MAGIC = 0xd00dfeed,
	DTB_VERSION = 17,

	TOKEN_BEGIN_NODE = 1,
	TOKEN_END_NODE = 2,
	TOKEN_PROP = 3,
	TOKEN_NOP = 4,
	TOKEN_END = 9,
};

/* Offsets in the header. */
enum {
	HDR_MAGIC = 0,
	HDR_TOTALSIZE = 4,
	HDR_OFF_STRUCT = 8,
	HDR_OFF_STRINGS = 12,
	HDR_VERSION = 20,
	HDR_LAST_COMP_VERSION = 24,
	HDR_SIZE_STRINGS = 32,
	HDR_SIZE_STRUCT = 36,
	HDR_SIZE = 40,
};

struct range {
	const uint8_t *at;
	size_t left;
};

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool take32(struct range *r, uint32_t *v)
{
	if (r->left < 4)
		return false;
	*v = be32(r->at);
	r->at += 4;
	r->left -= 4;
	return true;
}

/* Skips n bytes and what pads them to a multiple of four. */
static bool advance(struct range *r, size_t n)
{
	if (n > r->left)
		return false;
	n = (n + 3) & ~(size_t)3;
	if (n > r->left)
		return false;
	r->at += n;
	r->left -= n;
	return true;
}

/* Length of the NUL-terminated string at p, max if no NUL lies within max bytes. */
static size_t text_len(const uint8_t *p, size_t max)
{
	size_t n = 0;

	while (n < max && p[n])
		n++;
	return n;
}

struct file_property {
	const char *name;
	bool must; /* be a file: else it may be something else, such as a partition */
};

/* The property, if its values name files, or NULL. */
static const struct file_property *names_a_file(const uint8_t *strings, size_t size, uint32_t name)
{
	static const struct file_property known[] = {{"kernel", true}, {"initrd", true},
	    {"rom", true}, {"payload", true}, {"file", true}, {"base", false}};

	if (name >= size || text_len(strings + name, size - name) == size - name)
		return NULL;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		const char *a = known[i].name, *b = (const char *)strings + name;

		while (*a && *a == *b)
			a++, b++;
		if (*a == *b)
			return &known[i];
	}
	return NULL;
}

/* The value of one property: NUL-terminated strings, one after the other. */
static void each_string(const uint8_t *value, size_t len, dtb_found_fn *found, bool must, void *arg)
{
	while (len) {
		size_t n = text_len(value, len);

		if (n == len)
			return;
		if (n)
			found(arg, (const char *)value, must);
		value += n + 1;
		len -= n + 1;
	}
}

static void walk(
    struct range r, const uint8_t *strings, size_t nstrings, dtb_found_fn *found, void *arg)
{
	const struct file_property *p;
	uint32_t token, len, name;

	while (take32(&r, &token)) {
		switch (token) {
		case TOKEN_BEGIN_NODE:
			if (!advance(&r, text_len(r.at, r.left) + 1))
				return;
			break;
		case TOKEN_PROP:
			if (!take32(&r, &len) || !take32(&r, &name) || len > r.left)
				return;
			p = names_a_file(strings, nstrings, name);
			if (p)
				each_string(r.at, len, found, p->must, arg);
			if (!advance(&r, len))
				return;
			break;
		case TOKEN_END_NODE:
		case TOKEN_NOP:
			break;
		default: /* TOKEN_END too */
			return;
		}
	}
}

void dtb_names(const void *blob, size_t size, dtb_found_fn *found, void *arg)
{
	const uint8_t *h = blob;

	if (size < HDR_SIZE || be32(h + HDR_MAGIC) != DTB_MAGIC || be32(h + HDR_TOTALSIZE) > size ||
	    be32(h + HDR_VERSION) < DTB_VERSION || be32(h + HDR_LAST_COMP_VERSION) > DTB_VERSION)
		return;
	size = be32(h + HDR_TOTALSIZE);

	size_t at = be32(h + HDR_OFF_STRUCT), len = be32(h + HDR_SIZE_STRUCT);
	size_t strings = be32(h + HDR_OFF_STRINGS), nstrings = be32(h + HDR_SIZE_STRINGS);

	if (at > size || len > size - at || strings > size || nstrings > size - strings)
		return;
	walk((struct range){h + at, len}, h + strings, nstrings, found, arg);
}
