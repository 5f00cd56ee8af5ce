/* SPDX-License-Identifier: BSD-2-Clause */
/* The loader finds every file that a manifest names, and survives any manifest. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <libfdt.h>

#include "boot/efi/dtb_names.c"

enum { BLOB = 1024 };

struct names {
	char text[256]; /* each followed by a space, or '?' and a space if it may be no file */
};

static void collect(void *arg, const char *name, bool must)
{
	struct names *n = arg;

	if (strlen(n->text) + strlen(name) + 2 > sizeof(n->text))
		return;
	strcat(n->text, name);
	strcat(n->text, must ? " " : "? ");
}

static size_t make_manifest(uint8_t *blob)
{
	static const char several[] = "a\0\0b";

	assert_int_equal(fdt_create(blob, BLOB), 0);
	assert_int_equal(fdt_finish_reservemap(blob), 0);
	assert_int_equal(fdt_begin_node(blob, ""), 0);
	assert_int_equal(fdt_property_string(blob, "name", "web"), 0);
	assert_int_equal(fdt_begin_node(blob, "boot"), 0);
	assert_int_equal(fdt_property_string(blob, "kernel", "vmlinuz"), 0);
	assert_int_equal(fdt_property_string(blob, "kernel-notes", "not a file"), 0);
	assert_int_equal(fdt_property_string(blob, "initrd", "initrd.gz"), 0);
	assert_int_equal(fdt_property(blob, "payload", several, sizeof(several)), 0);
	assert_int_equal(fdt_property_string(blob, "rom", "OVMF.fd"), 0);
	assert_int_equal(fdt_property_string(blob, "base", "label"), 0);
	assert_int_equal(fdt_begin_node(blob, "modules"), 0);
	assert_int_equal(fdt_begin_node(blob, "exec"), 0);
	assert_int_equal(fdt_property_string(blob, "file", "exec.static"), 0);
	assert_int_equal(fdt_property_string(blob, "command-line", "not-one"), 0);
	assert_int_equal(fdt_end_node(blob), 0);
	assert_int_equal(fdt_end_node(blob), 0);
	assert_int_equal(fdt_end_node(blob), 0);
	assert_int_equal(fdt_end_node(blob), 0);
	assert_int_equal(fdt_finish(blob), 0);
	return fdt_totalsize(blob);
}

static void finds_the_names_in_order(void **state)
{
	uint8_t blob[BLOB];
	struct names n = {""};

	dtb_names(blob, make_manifest(blob), collect, &n);
	assert_string_equal(n.text, "vmlinuz initrd.gz a b OVMF.fd label? exec.static ");
}

/* Under ASan a read past the copy's end ends the test. */
static void stops_where_the_file_is_cut(void **state)
{
	uint8_t blob[BLOB];
	size_t size = make_manifest(blob);

	for (size_t cut = 0; cut < size; cut++) {
		uint8_t *copy = malloc(cut ? cut : 1);
		struct names n = {""};

		assert_non_null(copy);
		memcpy(copy, blob, cut);
		dtb_names(copy, cut, collect, &n);
		assert_string_equal(n.text, "");
		free(copy);
	}
}

static void survives_every_changed_byte(void **state)
{
	static const uint8_t changes[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
	uint8_t blob[BLOB];
	size_t size = make_manifest(blob);

	for (size_t at = 0; at < size; at++)
		for (size_t i = 0; i < sizeof(changes); i++) {
			uint8_t *copy = malloc(size);
			struct names n = {""};

			assert_non_null(copy);
			memcpy(copy, blob, size);
			copy[at] = changes[i];
			dtb_names(copy, size, collect, &n);
			free(copy);
		}
}

static void ignores_a_value_without_its_end(void **state)
{
	uint8_t blob[BLOB];
	struct names n = {""};

	assert_int_equal(fdt_create(blob, BLOB), 0);
	assert_int_equal(fdt_finish_reservemap(blob), 0);
	assert_int_equal(fdt_begin_node(blob, ""), 0);
	assert_int_equal(fdt_property(blob, "kernel", "vmlinuz", 7), 0);
	assert_int_equal(fdt_end_node(blob), 0);
	assert_int_equal(fdt_finish(blob), 0);
	dtb_names(blob, fdt_totalsize(blob), collect, &n);
	assert_string_equal(n.text, "");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(finds_the_names_in_order),
	    cmocka_unit_test(stops_where_the_file_is_cut),
	    cmocka_unit_test(survives_every_changed_byte),
	    cmocka_unit_test(ignores_a_value_without_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
