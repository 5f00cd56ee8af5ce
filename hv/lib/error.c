/* SPDX-License-Identifier: BSD-2-Clause */
/* Texts of the error values, and the message that travels with them. */
#include "hv/lib/error.h"
#include <string.h>
#include "hv/lib/fmt.h"

/* defined for the analyzer only */
#undef err_set
#undef err_prefix

const char *error_text(int err)
{
	static const struct {
		int value;
		const char *text;
	} table[] = {
#define ERROR_ROW(name, value, text) {(value), (text)},
	    ERROR_TABLE(ERROR_ROW)
#undef ERROR_ROW
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (table[i].value == err)
			return table[i].text;
	return "unknown error";
}

int err_set(struct errmsg *e, int err, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return err;
	va_start(ap, fmt);
	str_vformat(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return err;
}

int err_prefix(struct errmsg *e, int err, const char *fmt, ...)
{
	struct errmsg old;
	va_list ap;
	size_t n;

	if (!e)
		return err;
	old = *e;
	va_start(ap, fmt);
	str_vformat(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	n = strlen(e->text);
	str_format(e->text + n, sizeof(e->text) - n, ": %s", old.text);
	return err;
}
