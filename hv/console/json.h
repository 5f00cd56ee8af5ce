/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing JSON (RFC 8259) on one line. Text is collected in memory and can be
 * thrown away, so that a command that fails half-way leaves no half object.
 */
#ifndef AMBER_CONSOLE_JSON_H
#define AMBER_CONSOLE_JSON_H

#include "hv/lib/types.h"

enum { JSON_DEPTH = 16, JSON_MAX = 4 << 20 };

struct json {
	bool enabled; /* false: every call does nothing */
	bool failed;  /* out of memory, or nested too deep */
	char *buf;
	size_t len, cap;
	unsigned depth;
	char closer[JSON_DEPTH];
	bool comma; /* before the next value */
};

void json_init(struct json *j, bool enabled);
void json_free(struct json *j);
/* Throws away what was written. */
void json_restart(struct json *j);

/* key is the member's name in an object; NULL for elements of an array and the outermost value. */
void json_object(struct json *j, const char *key);
void json_array(struct json *j, const char *key);
void json_close(struct json *j); /* the innermost object or array */
void json_string(struct json *j, const char *key, const char *value);
/* The same with a length; bytes that are no ASCII appear as U+0080 to U+00FF. */
void json_text(struct json *j, const char *key, const char *value, size_t len);
void json_number(struct json *j, const char *key, uint64_t value);
void json_bool(struct json *j, const char *key, bool value);
void json_null(struct json *j, const char *key);

#endif
