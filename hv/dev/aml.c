/* SPDX-License-Identifier: BSD-2-Clause */
/* The AML writer. */
#include "hv/dev/aml.h"
#include <string.h>
#include "hv/lib/cursor.h"

/* Room for n more bytes at the end, or NULL. */
static uint8_t *room(struct aml *a, size_t n)
{
	uint8_t *p = a->buf + a->len;

	if (a->overflow || n > a->cap - a->len) {
		a->overflow = true;
		return NULL;
	}
	a->len += n;
	return p;
}

void aml_bytes(struct aml *a, const void *p, size_t n)
{
	uint8_t *to = room(a, n);

	if (to)
		memcpy(to, p, n);
}

void aml_byte(struct aml *a, uint8_t v)
{
	aml_bytes(a, &v, 1);
}

static void le16(struct aml *a, uint16_t v)
{
	aml_bytes(a, &v, sizeof(v));
}

static void le32(struct aml *a, uint32_t v)
{
	aml_bytes(a, &v, sizeof(v));
}

/* --- names and constants ---------------------------------------------------------- */

static const char *segment(struct aml *a, const char *path)
{
	uint8_t seg[4] = {'_', '_', '_', '_'};
	unsigned n = 0;

	for (; *path && *path != '.'; path++)
		if (n < sizeof(seg))
			seg[n++] = (uint8_t)*path;
	aml_bytes(a, seg, sizeof(seg));
	return *path ? path + 1 : path;
}

/* 20.2.2: a prefix says how many segments follow, when there is more than one. */
void aml_path(struct aml *a, const char *path)
{
	enum { DUAL_NAME = 0x2e, MULTI_NAME = 0x2f };
	unsigned segments = 1;

	if (*path == '\\')
		aml_byte(a, (uint8_t)*path++);
	for (const char *p = path; *p; p++)
		segments += *p == '.';
	if (!*path) {
		aml_byte(a, AML_ZERO); /* the root alone */
		return;
	}
	if (segments == 2) {
		aml_byte(a, DUAL_NAME);
	} else if (segments > 2) {
		aml_byte(a, MULTI_NAME);
		aml_byte(a, (uint8_t)segments);
	}
	while (*path)
		path = segment(a, path);
}

void aml_integer(struct aml *a, uint64_t v)
{
	if (v <= 1) {
		aml_byte(a, (uint8_t)v); /* ZeroOp and OneOp */
	} else if (v <= 0xff) {
		aml_byte(a, AML_BYTE);
		aml_byte(a, (uint8_t)v);
	} else if (v <= 0xffff) {
		aml_byte(a, AML_WORD);
		le16(a, (uint16_t)v);
	} else if (v <= 0xffffffff) {
		aml_byte(a, AML_DWORD);
		le32(a, (uint32_t)v);
	} else {
		aml_byte(a, AML_QWORD);
		aml_bytes(a, &v, sizeof(v));
	}
}

void aml_string(struct aml *a, const char *s)
{
	aml_byte(a, AML_STRING);
	aml_bytes(a, s, strlen(s) + 1);
}

/* Three letters of five bits and four hexadecimal digits, stored with the high byte first. */
void aml_eisaid(struct aml *a, const char *id)
{
	uint32_t v = 0;
	uint8_t raw[4];

	for (unsigned i = 0; i < 3; i++)
		v = v << 5 | (id[i] & 0x1f);
	for (unsigned i = 3; i < 7; i++)
		v = v << 4 | (uint32_t)(id[i] <= '9' ? id[i] - '0' : id[i] - 'A' + 10);
	put_be32(raw, v);
	aml_byte(a, AML_DWORD);
	aml_bytes(a, raw, sizeof(raw));
}

/* --- blocks ----------------------------------------------------------------------- */

/*
 * 20.2.4: the length counts itself. Up to 63 in one byte; else the low four bits
 * and the number of further bytes in the first, eight bits in each further one.
 */
static unsigned pkg_length(size_t contents, uint8_t out[4])
{
	unsigned extra = 1;
	size_t total;

	if (contents + 1 <= 0x3f) {
		out[0] = (uint8_t)(contents + 1);
		return 1;
	}
	while (contents + 1 + extra > ((size_t)1 << (4 + 8 * extra)) - 1 && extra < 3)
		extra++;
	total = contents + 1 + extra;
	out[0] = (uint8_t)(extra << 6 | (total & 0xf));
	for (unsigned i = 0; i < extra; i++)
		out[1 + i] = (uint8_t)(total >> (4 + 8 * i));
	return 1 + extra;
}

void aml_close(struct aml *a, size_t mark)
{
	size_t contents = a->len - mark;
	uint8_t len[4];
	unsigned n = pkg_length(contents, len);

	if (!room(a, n))
		return;
	memmove(a->buf + mark + n, a->buf + mark, contents);
	memcpy(a->buf + mark, len, n);
	if (a->follow >= mark)
		a->follow += n;
}

size_t aml_scope(struct aml *a, const char *path)
{
	size_t mark;

	aml_byte(a, AML_SCOPE);
	mark = a->len;
	aml_path(a, path);
	return mark;
}

size_t aml_device(struct aml *a, const char *name)
{
	size_t mark;

	aml_byte(a, AML_EXT);
	aml_byte(a, AML_EXT_DEVICE);
	mark = a->len;
	aml_path(a, name);
	return mark;
}

size_t aml_method(struct aml *a, const char *name, uint8_t flags)
{
	size_t mark;

	aml_byte(a, AML_METHOD);
	mark = a->len;
	aml_path(a, name);
	aml_byte(a, flags);
	return mark;
}

size_t aml_package(struct aml *a, uint8_t elements)
{
	size_t mark;

	aml_byte(a, AML_PACKAGE);
	mark = a->len;
	aml_byte(a, elements);
	return mark;
}

size_t aml_if(struct aml *a)
{
	aml_byte(a, AML_IF);
	return a->len;
}

size_t aml_else(struct aml *a)
{
	aml_byte(a, AML_ELSE);
	return a->len;
}

void aml_buffer(struct aml *a, const void *p, size_t n)
{
	size_t mark;

	aml_byte(a, AML_BUFFER);
	mark = a->len;
	aml_integer(a, n);
	aml_bytes(a, p, n);
	aml_close(a, mark);
}

void aml_name(struct aml *a, const char *name)
{
	aml_byte(a, AML_NAME);
	aml_path(a, name);
}

void aml_name_integer(struct aml *a, const char *name, uint64_t v)
{
	aml_name(a, name);
	aml_integer(a, v);
}

void aml_name_eisaid(struct aml *a, const char *name, const char *id)
{
	aml_name(a, name);
	aml_eisaid(a, id);
}

/* --- resource templates ----------------------------------------------------------- */

/* First bytes of the descriptors (6.4.2 and 6.4.3): small ones have their length in it. */
enum res_tag {
	RES_IRQ = 0x22,
	RES_IO = 0x47,
	RES_END = 0x79,
	RES_MEMORY32_FIXED = 0x86,
	RES_DWORD_SPACE = 0x87,
	RES_WORD_SPACE = 0x88,
};
enum space_type { SPACE_MEMORY = 0, SPACE_IO = 1, SPACE_BUS = 2 };
enum space_flags {
	SPACE_MIN_FIXED = 1 << 2,
	SPACE_MAX_FIXED = 1 << 3,
	SPACE_IO_ENTIRE_RANGE = 3,	  /* type-specific */
	SPACE_MEMORY_READ_WRITE = 1 << 0, /* type-specific; not cacheable */
};

void aml_res_init(struct aml_res *r)
{
	r->out = (struct aml){.buf = r->buf, .cap = sizeof(r->buf)};
}

void aml_res_io(struct aml_res *r, uint16_t port, uint8_t len)
{
	aml_byte(&r->out, RES_IO);
	aml_byte(&r->out, 1); /* all 16 bits are decoded */
	le16(&r->out, port);
	le16(&r->out, port);
	aml_byte(&r->out, 1); /* alignment */
	aml_byte(&r->out, len);
}

void aml_res_irq(struct aml_res *r, unsigned irq)
{
	aml_byte(&r->out, RES_IRQ);
	le16(&r->out, (uint16_t)BIT(irq));
}

void aml_res_memory(struct aml_res *r, uint32_t base, uint32_t len)
{
	aml_byte(&r->out, RES_MEMORY32_FIXED);
	le16(&r->out, 9);
	aml_byte(&r->out, 1); /* read and write */
	le32(&r->out, base);
	le32(&r->out, len);
}

static void word_space(
    struct aml_res *r, enum space_type type, uint8_t specific, uint16_t first, uint16_t last)
{
	const uint16_t values[] = {0, first, last, 0, (uint16_t)(last - first + 1)};

	aml_byte(&r->out, RES_WORD_SPACE);
	le16(&r->out, 13);
	aml_byte(&r->out, (uint8_t)type);
	aml_byte(&r->out, SPACE_MIN_FIXED | SPACE_MAX_FIXED);
	aml_byte(&r->out, specific);
	aml_bytes(&r->out, values, sizeof(values));
}

void aml_res_window_bus(struct aml_res *r, uint16_t first, uint16_t last)
{
	word_space(r, SPACE_BUS, 0, first, last);
}

void aml_res_window_io(struct aml_res *r, uint16_t first, uint16_t last)
{
	word_space(r, SPACE_IO, SPACE_IO_ENTIRE_RANGE, first, last);
}

void aml_res_window_memory(struct aml_res *r, uint32_t first, uint32_t last)
{
	const uint32_t values[] = {0, first, last, 0, last - first + 1};

	aml_byte(&r->out, RES_DWORD_SPACE);
	le16(&r->out, 23);
	aml_byte(&r->out, SPACE_MEMORY);
	aml_byte(&r->out, SPACE_MIN_FIXED | SPACE_MAX_FIXED);
	aml_byte(&r->out, SPACE_MEMORY_READ_WRITE);
	aml_bytes(&r->out, values, sizeof(values));
}

void aml_name_crs(struct aml *a, struct aml_res *r)
{
	aml_byte(&r->out, RES_END);
	aml_byte(&r->out, 0); /* no checksum */
	a->overflow |= r->out.overflow;
	aml_name(a, "_CRS");
	aml_buffer(a, r->buf, r->out.len);
}
