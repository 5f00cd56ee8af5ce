/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a command says: text for a person or one line of JSON for a program. A
 * handler writes both and need not know which is wanted: the other one vanishes.
 */
#ifndef AMBER_CONSOLE_OUTPUT_H
#define AMBER_CONSOLE_OUTPUT_H

#include "hv/console/json.h"
#include "hv/lib/error.h"

struct console_out {
	bool as_json;
	void (*write)(void *ctx, const char *text, size_t len); /* lines end in \n */
	void *ctx;
	struct json json; /* inside the object that is the answer, after "ok" */
	bool failed;
	struct errmsg error;
};

void out_begin(struct console_out *o, bool as_json,
    void (*write)(void *ctx, const char *text, size_t len), void *ctx);
/* Text, at most 511 characters a call; not in JSON. */
void out_print(struct console_out *o, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Text of any length as it is; not in JSON. */
void out_write(struct console_out *o, const char *text, size_t len);
/* The command has failed: the first message counts. Returns err. */
int out_fail(struct console_out *o, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);
/*
 * Ends the answer: the failure, if there was one ("error: ..." or
 * {"ok":false,"error":"..."}), or the JSON object.
 */
void out_end(struct console_out *o);

/* "17.3 MiB": a size for people. Returns buf. */
const char *size_text(uint64_t bytes, char *buf, size_t size);

#endif
