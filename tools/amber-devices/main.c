/* SPDX-License-Identifier: BSD-2-Clause */
/* Prints docs/devices.md: every register of every device model, from the models' own tables. */
#include <stdio.h>
#include <string.h>

#include "hv/core/device_regs.h"

enum { MAX_ROWS = 200 };

static const char *const space_names[] = {
    [REG_PORT] = "port",
    [REG_MEMORY] = "memory",
    [REG_BAR0] = "BAR 0",
    [REG_BAR1] = "BAR 1",
    [REG_CONFIG] = "configuration",
    [REG_MSR] = "MSR",
};

static unsigned long long ull(uint64_t v)
{
	return v;
}

static void print_at(const struct reg_row *r)
{
	unsigned count = r->count ? r->count : 1;
	uint64_t first = r->index ? r->select : r->at, last = first + (count - 1) * r->stride;
	bool apart = r->stride > (r->index || r->space == REG_MSR ? 1 : r->width);

	printf("%s ", r->index ? "index" : space_names[r->space]);
	printf(first > 9 ? "%llXh" : "%llX", ull(first));
	if (count > 1)
		printf(" %s %llXh", apart && count == 2 ? "and" : "to", ull(last));
	if (apart && count > 2)
		printf(", every %Xh", r->stride);
}

static const char *access_of(const struct reg_row *r, uint64_t mask)
{
	if (r->flags & REG_WRITE_ONLY)
		return "w";
	if (mask & r->varies & ~r->writable)
		return "*";
	if (mask & r->writable)
		return mask & ~r->writable ? "r, w" : "rw";
	if (mask & r->w1c)
		return "r, 1 clears";
	if (mask & r->rc)
		return "r, clears";
	return r->flags & REG_SPECIAL && !(r->flags & REG_READ_ONLY) ? "rw" : "r";
}

/* False: there is none, or it is not told. */
static bool has_reset(const struct reg_row *r)
{
	return !(r->flags & REG_WRITE_ONLY) && (r->reset || !(r->flags & REG_SPECIAL));
}

static void print_bits(const struct reg_row *r, const struct reg_bits *b)
{
	unsigned low = (unsigned)__builtin_ctzll(b->mask);
	unsigned high = 63 - (unsigned)__builtin_clzll(b->mask);

	printf("| | %s | ", b->name);
	if (high > low)
		printf("%u:%u", high, low);
	else
		printf("%u", low);
	printf(" | %s | ", access_of(r, b->mask));
	if (has_reset(r) && !(b->mask & r->varies))
		printf("%llX", ull((r->reset & b->mask) >> low));
	printf(" | | %s | |\n", b->doc ? b->doc : "");
}

/* The lowest field above last, or NULL. */
static const struct reg_bits *bits_after(const struct reg_row *r, uint64_t last)
{
	const struct reg_bits *best = NULL;

	for (const struct reg_bits *b = r->bits; b && b->mask; b++)
		if (b->mask > last && (!best || b->mask < best->mask))
			best = b;
	return best;
}

static void print_row(const struct reg_row *r)
{
	uint64_t all = r->width < 8 ? BIT(8 * r->width) - 1 : UINT64_MAX;

	printf("| ");
	print_at(r);
	printf(" | **%s** | %u:0 | %s | ", r->name, 8U * r->width - 1,
	    r->bits
		? ""
		: access_of(r,
		      r->writable | r->w1c | r->rc ? all & (r->writable | r->w1c | r->rc) : all));
	if (has_reset(r) && r->varies != all)
		printf("%0*llXh", 2 * r->width, ull(r->reset));
	printf(" | %s | %s%s | %s%s%s |\n", r->section, r->doc ? r->doc : "",
	    r->varies == all && !r->doc ? "varies" : "", r->test ? "`" : "", r->test ? r->test : "",
	    r->test ? "`" : "");
	for (const struct reg_bits *b = bits_after(r, 0); b; b = bits_after(r, b->mask))
		print_bits(r, b);
}

/* In the table's order, but configuration space by offset: it is put together from pieces. */
static void print_rows(const struct reg_row *rows)
{
	const struct reg_row *sorted[MAX_ROWS];
	size_t n = 0;

	for (const struct reg_row *r = rows; r->name && n < MAX_ROWS; r++) {
		size_t i = n++;

		for (; i && r->space == REG_CONFIG && sorted[i - 1]->space == REG_CONFIG &&
		       sorted[i - 1]->at > r->at;
		     i--)
			sorted[i] = sorted[i - 1];
		sorted[i] = r;
	}
	for (size_t i = 0; i < n; i++)
		print_row(sorted[i]);
}

static void print_table(const struct device_registers *d)
{
	const char *quote = strncmp(d->model, "amber,", 6) == 0 ? "`" : "";

	printf("## %s%s%s: %s\n\n", quote, d->model, quote, d->title);
	printf("Data sheet: %s.\n", d->sheet);
	for (const struct reg_range *r = d->ranges; r && r->size; r++)
		printf("%s%s %llXh to %llXh", r == d->ranges ? "Place: " : ", ",
		    space_names[r->space], ull(r->start), ull(r->start + r->size - 1));
	if (d->ranges)
		puts(".");
	if (d->doc)
		printf("\n%s\n", d->doc);
	if (d->tests)
		printf("\nTests of what a table cannot say: `tests/unit/%s`.\n", d->tests);
	if (d->rows->name) {
		puts("\n| place | register | bits | access | reset | section | meaning | test |");
		puts("|---|---|--:|---|--:|---|---|---|");
	}
	print_rows(d->rows);
	putchar('\n');
}

/* The table that follows last by name (NULL: the first), or NULL. */
static const struct device_registers *table_after(const char *last)
{
	const struct device_registers *best = NULL;

	for (const struct device_registers *const *d = __start_device_registers;
	     d < __stop_device_registers; d++)
		if ((!last || strcmp((*d)->model, last) > 0) &&
		    (!best || strcmp((*d)->model, best->model) < 0))
			best = *d;
	return best;
}

int main(void)
{
	const struct device_registers *d = NULL;

	puts("# Registers of the device models\n");
	puts(
	    "Made by `make devices` from the tables of the models (`hv/dev/regs`; the format is in "
	    "`hv/core/device_regs.h`).\nThe unit test `test_device_regs` holds each row against "
	    "the "
	    "live model: the value after a reset; that ones, zeros and\nrandom values read back as "
	    "the masks say; what clears a bit; that everything without a row ignores accesses and "
	    "counts\nthem. What a row cannot say is the work of the test that its last column "
	    "names.\n");
	puts("*place*: a port, an address of device memory, an offset from a base address register "
	     "(BAR) or in PCI configuration\nspace, the number of an MSR, or the number that goes "
	     "into an index register. *access*: `rw` reads back as written;\n`r` is read-only, `w` "
	     "write-only; `r, 1 clears`: writing 1 clears a bit; `r, clears`: reading clears it; "
	     "`r, w`: some\nof the bits can be written; `*`: by a rule of its own. Bits "
	     "without a line are reserved: they keep the value after a reset. Names are the data "
	     "sheet's.\n");
	puts("Not implemented is what has no row, and what a row says so of. Such an access is "
	     "ignored "
	     "(a read gives zeros or ones)\nand counted: `vm stats NAME` shows how often, by "
	     "device. Counted are accesses to a place without a register, in a width\nthat the "
	     "register does not have, reads of write-only and writes of read-only registers, and "
	     "commands and values that the\ndata sheet reserves or that the model leaves out. In "
	     "PCI "
	     "configuration space nothing is counted, for there software\nlooks for what is there "
	     "by trying.\n");
	while ((d = table_after(d ? d->model : NULL)) != NULL)
		print_table(d);
	return 0;
}
