/* SPDX-License-Identifier: BSD-2-Clause */
/* Text output that other programs read. */
#include "tools/amber-snap/print.h"

#include <libfdt.h>
#include <string.h>

#include "hv/lib/cursor.h"

/* A value that may be shown as text: what dtc takes for one, which knows no types either. */
static bool looks_like_text(const uint8_t *p, int len)
{
	int nuls = 0;

	if (len == 0 || p[len - 1])
		return false;
	for (int i = 0; i < len; i++) {
		if (p[i] == 0)
			nuls++;
		else if ((p[i] < 0x20 || p[i] > 0x7e) && !strchr("\a\b\t\n\v\f\r", p[i]))
			return false;
	}
	return nuls <= len - nuls;
}

static void print_text(FILE *out, const uint8_t *p, int len)
{
	static const char plain[] = "\a\b\t\n\v\f\r\\\"", letter[] = "abtnvfr\\\"";

	fputc('"', out);
	for (int i = 0; i < len - 1; i++) {
		const char *at = p[i] ? strchr(plain, p[i]) : NULL;

		if (at)
			fprintf(out, "\\%c", letter[at - plain]);
		else if (p[i] == 0 && p[i + 1] >= '0' && p[i + 1] <= '7')
			fputs("\\000", out); /* a digit may not join in */
		else if (p[i] == 0)
			fputs("\\0", out);
		else
			fputc(p[i], out);
	}
	fputc('"', out);
}

static void print_value(FILE *out, const uint8_t *p, int len)
{
	if (looks_like_text(p, len)) {
		print_text(out, p, len);
	} else if (len % 4 == 0) {
		for (int i = 0; i < len; i += 4)
			fprintf(out, "%s0x%02x", i ? " " : "<", get_be32(p + i));
		fputc('>', out);
	} else {
		for (int i = 0; i < len; i++)
			fprintf(out, "%s%02x", i ? " " : "[", p[i]);
		fputc(']', out);
	}
}

static void indent(FILE *out, int depth)
{
	while (depth-- > 0)
		fputc('\t', out);
}

static void print_properties(FILE *out, const void *fdt, int node, int depth)
{
	int offset, len;
	const char *name;

	fdt_for_each_property_offset(offset, fdt, node)
	{
		const uint8_t *p = fdt_getprop_by_offset(fdt, offset, &name, &len);

		if (!p)
			continue;
		indent(out, depth);
		fputs(name, out);
		if (len) {
			fputs(" = ", out);
			print_value(out, p, len);
		}
		fputs(";\n", out);
	}
}

/* The tree was checked: its depth is bounded. */
static void print_node(FILE *out, const void *fdt, int node, int depth)
{
	int child;

	indent(out, depth);
	fprintf(out, "%s {\n", depth ? fdt_get_name(fdt, node, NULL) : "/");
	print_properties(out, fdt, node, depth + 1);
	fdt_for_each_subnode(child, fdt, node)
	{
		fputc('\n', out);
		print_node(out, fdt, child, depth + 1);
	}
	indent(out, depth);
	fputs("};\n", out);
}

void print_dts(FILE *out, const void *fdt)
{
	fputs("/dts-v1/;\n\n", out);
	print_node(out, fdt, 0, 0);
}

void print_json_string(FILE *out, const char *s)
{
	fputc('"', out);
	for (; *s; s++) {
		uint8_t c = (uint8_t)*s;

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < 0x20 || c > 0x7e)
			fprintf(out, "\\u%04x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}
