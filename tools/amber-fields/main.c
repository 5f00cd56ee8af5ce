/* SPDX-License-Identifier: BSD-2-Clause */
/* Prints docs/state-records.md: every record of the state tree, from the tables that save and load
 * it. */
#include <stdio.h>
#include <string.h>

#include "hv/arch/x86/vcpu_state.h"
#include "hv/core/device.h"

static void print_max(uint64_t max)
{
	if (max == STATE_ANY)
		printf("any");
	else if (max < 10)
		printf("%llu", (unsigned long long)max);
	else
		printf("0x%llx", (unsigned long long)max);
}

static void print_fields(const struct state_field *f)
{
	puts("| property | bytes | most | meaning |");
	puts("|---|--:|--:|---|");
	for (; f->name; f++) {
		if (f->count == 1)
			printf("| `%s` | %u | ", f->name, f->width);
		else
			printf("| `%s` | %u × %u | ", f->name, f->count, f->width);
		print_max(f->max);
		printf(" | %s%s |\n", f->doc ? f->doc : "",
		    f->flags & STATE_OPTIONAL ? " (may be absent)" : "");
	}
	putchar('\n');
}

/* The model whose name follows last (NULL: the first), or NULL. */
static const struct device_model *model_after(const char *last)
{
	const struct device_model *best = NULL;

	for (const struct device_model *const *m = __start_device_models; m < __stop_device_models;
	     m++)
		if ((!last || strcmp((*m)->compatible, last) > 0) &&
		    (!best || strcmp((*m)->compatible, best->compatible) < 0))
			best = *m;
	return best;
}

int main(void)
{
	const struct device_model *m = NULL;

	puts("# Records of the state tree\n");
	puts("Made by `build/amber-fields` from the tables that save, check and load the state; "
	     "`docs/snapshot-format.md`\nsays where the tree lies and what else is in it. "
	     "*bytes*: the property's length, as count × width for arrays; all\nnumbers are "
	     "big-endian. *most*: the greatest value that a reader accepts in an element. Where a "
	     "property or a record\nmay be absent, that means the value after a reset.\n");
	puts("## `/vcpus/vcpuN`\n");
	print_fields(vcpu_state_fields);
	while ((m = model_after(m ? m->compatible : NULL)) != NULL) {
		printf("## `%s`, version %u\n\n%s%s\n\n", m->compatible, m->version,
		    m->doc ? m->doc : "",
		    m->optional ? " (the record may be absent: older versions had no such device)"
				: "");
		print_fields(m->fields);
	}
	return 0;
}
