/* SPDX-License-Identifier: BSD-2-Clause */
/* The JSON writer. */
#include "hv/console/json.h"
#include <string.h>
#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"

void json_init(struct json *j, bool enabled)
{
	memset(j, 0, sizeof(*j));
	j->enabled = enabled;
}

void json_free(struct json *j)
{
	heap_free(j->buf);
	json_init(j, j->enabled);
}

void json_restart(struct json *j)
{
	j->len = 0;
	j->depth = 0;
	j->comma = false;
	j->failed = false;
}

/* Makes room for n more bytes. */
static bool reserve(struct json *j, size_t n)
{
	size_t cap = j->cap ? j->cap : 512;
	char *buf;

	if (j->failed)
		return false;
	if (n <= j->cap - j->len)
		return true;
	while (cap - j->len < n && cap < JSON_MAX)
		cap *= 2;
	buf = cap - j->len < n ? NULL : heap_grow(j->buf, j->cap, cap);
	if (!buf) {
		j->failed = true;
		return false;
	}
	j->buf = buf;
	j->cap = cap;
	return true;
}

static void put(struct json *j, const char *text, size_t n)
{
	if (!reserve(j, n))
		return;
	memcpy(j->buf + j->len, text, n);
	j->len += n;
}

static void put_char(struct json *j, char c)
{
	put(j, &c, 1);
}

/* RFC 8259, section 7. */
static void put_quoted(struct json *j, const char *s, size_t n)
{
	put_char(j, '"');
	for (; n; n--, s++) {
		uint8_t c = (uint8_t)*s;
		char esc[8];

		if (c == '"' || c == '\\') {
			put_char(j, '\\');
			put_char(j, (char)c);
		} else if (c >= 0x20 && c < 0x7f) {
			put_char(j, (char)c);
		} else {
			str_format(esc, sizeof(esc), "\\u%04x", c);
			put(j, esc, strlen(esc));
		}
	}
	put_char(j, '"');
}

/* What stands before a value: a comma, a name. */
static bool begin_value(struct json *j, const char *key)
{
	if (!j->enabled)
		return false;
	if (j->comma)
		put_char(j, ',');
	j->comma = true;
	if (key) {
		put_quoted(j, key, strlen(key));
		put_char(j, ':');
	}
	return true;
}

static void begin(struct json *j, const char *key, char opener, char closer)
{
	if (!begin_value(j, key))
		return;
	if (j->depth == JSON_DEPTH) {
		j->failed = true;
		return;
	}
	put_char(j, opener);
	j->closer[j->depth++] = closer;
	j->comma = false;
}

void json_object(struct json *j, const char *key)
{
	begin(j, key, '{', '}');
}

void json_array(struct json *j, const char *key)
{
	begin(j, key, '[', ']');
}

void json_close(struct json *j)
{
	if (!j->enabled || !j->depth)
		return;
	put_char(j, j->closer[--j->depth]);
	j->comma = true;
}

void json_text(struct json *j, const char *key, const char *value, size_t len)
{
	if (begin_value(j, key))
		put_quoted(j, value, len);
}

void json_string(struct json *j, const char *key, const char *value)
{
	json_text(j, key, value, strlen(value));
}

void json_number(struct json *j, const char *key, uint64_t value)
{
	char text[24];

	str_format(text, sizeof(text), "%lu", value);
	if (begin_value(j, key))
		put(j, text, strlen(text));
}

void json_bool(struct json *j, const char *key, bool value)
{
	if (begin_value(j, key))
		put(j, value ? "true" : "false", value ? 4 : 5);
}

void json_null(struct json *j, const char *key)
{
	if (begin_value(j, key))
		put(j, "null", 4);
}
