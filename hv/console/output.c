/* SPDX-License-Identifier: BSD-2-Clause */
/* A command's answer as text or as JSON. */
#include "hv/console/output.h"
#include <string.h>
#include "hv/lib/fmt.h"

void out_begin(struct console_out *o, bool as_json,
    void (*write)(void *ctx, const char *text, size_t len), void *ctx)
{
	*o = (struct console_out){.as_json = as_json, .write = write, .ctx = ctx};
	json_init(&o->json, as_json);
	json_object(&o->json, NULL);
	json_bool(&o->json, "ok", true);
}

void out_write(struct console_out *o, const char *text, size_t len)
{
	if (!o->as_json && len)
		o->write(o->ctx, text, len);
}

void out_print(struct console_out *o, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	int n;

	if (o->as_json)
		return;
	va_start(ap, fmt);
	n = str_vformat(text, sizeof(text), fmt, ap);
	va_end(ap);
	out_write(o, text, MIN((size_t)n, sizeof(text) - 1));
}

int out_fail(struct console_out *o, int err, const char *fmt, ...)
{
	va_list ap;

	if (o->failed)
		return err;
	o->failed = true;
	va_start(ap, fmt);
	str_vformat(o->error.text, sizeof(o->error.text), fmt, ap);
	va_end(ap);
	return err;
}

static void fail_json(struct console_out *o)
{
	json_restart(&o->json);
	json_object(&o->json, NULL);
	json_bool(&o->json, "ok", false);
	json_string(&o->json, "error", o->error.text);
}

/* What can be said when there is not even memory to say it. */
static const char no_memory[] = "{\"ok\":false,\"error\":\"out of memory\"}";

static void end_json(struct console_out *o)
{
	if (o->failed)
		fail_json(o);
	while (o->json.depth)
		json_close(&o->json);
	if (o->json.failed)
		o->write(o->ctx, no_memory, sizeof(no_memory) - 1);
	else
		o->write(o->ctx, o->json.buf, o->json.len);
	o->write(o->ctx, "\n", 1);
	json_free(&o->json);
}

void out_end(struct console_out *o)
{
	if (o->as_json)
		end_json(o);
	else if (o->failed)
		out_print(o, "error: %s\n", o->error.text);
}

const char *size_text(uint64_t bytes, char *buf, size_t size)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	unsigned u = 0;
	uint64_t tenths;

	while (bytes >> (10 * u) >= 1024)
		u++;
	tenths = u ? (bytes >> (10 * (u - 1))) * 10 / 1024 : 0;
	if (u)
		str_format(buf, size, "%lu.%lu %s", tenths / 10, tenths % 10, units[u]);
	else
		str_format(buf, size, "%lu B", bytes);
	return buf;
}
