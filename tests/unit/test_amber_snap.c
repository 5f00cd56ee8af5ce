/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * build/amber-snap as a user runs it, on a store that the library wrote: in a bare file and in a
 * partition; what it shows goes through dtc and back without loss; errors name file and reason.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hv/block/guids.h"
#include "hv/lib/state.h"
#include "hv/mm/mm.h"
#include "tests/unit/snap_tool.h"

enum { MIBS = 4, BLOCKS = MIBS * 256 };

/* A tree with all that a device tree source has to write differently. */
static void *tricky_tree(size_t *size)
{
	static const uint8_t odd[] = {1, 2, 3, 0xff, 0}, nuls[4] = {0};
	struct state_writer w;
	void *fdt;

	sw_init(&w, heap_grow);
	sw_string(&w, "text", "console=ttyS0 \"quoted\" back\\slash\ttab");
	sw_bytes(&w, "two-texts", "one\0two", 8);
	sw_bytes(&w, "digit",
	    "a\0"
	    "1b",
	    5);
	sw_string(&w, "empty-text", "");
	sw_bytes(&w, "nothing", NULL, 0);
	sw_bytes(&w, "odd", odd, sizeof(odd));
	sw_bytes(&w, "nuls", nuls, sizeof(nuls));
	sw_u32(&w, "looks-like-text", 0x61626300);
	sw_u64(&w, "wide", 0x0123456789abcdef);
	sw_begin(&w, "vcpu@0");
	sw_begin(&w, "apic");
	sw_u32(&w, "#cells", 2);
	sw_end(&w);
	sw_end(&w);
	sw_begin(&w, "vcpu@1");
	sw_end(&w);
	assert_int_equal(sw_encode(&w, &fdt, size, NULL), OK);
	heap_free(w.buf);
	return fdt;
}

static void save_tricky(struct store *s)
{
	struct snap_params p = {
	    .name = "tricky", .vm = "web", .created = 1700000000ULL * 1000000000};
	struct snap_writer *w;
	struct errmsg e;
	uint8_t ram[5000] = {1};
	size_t size;
	void *fdt = tricky_tree(&size);

	assert_int_equal(snap_writer_begin(s, &p, &w, &e), OK);
	assert_int_equal(snap_writer_state(w, fdt, size, &e), OK);
	assert_int_equal(snap_writer_ram(w, gpa(0), ram, sizeof(ram), &e), OK);
	assert_int_equal(snap_writer_commit(w, NULL, &e), OK);
	heap_free(fdt);
}

static int setup(void **state)
{
	static uint8_t ram[600 << 10];
	struct mem_disk d;
	struct errmsg e;
	struct store *s;

	if (!mkdtemp(dir))
		return 1;
	mem_disk_init(&d, BLOCKS, false);
	fake_ram_fill(ram, sizeof(ram), 8);
	assert_int_equal(store_format(&d.io, (const uint8_t *)"store of a tool.", &e), OK);
	assert_int_equal(store_open(&d.io, true, &s, &e), OK);
	assert_int_equal(fake_save(s, "big", 1, ram, sizeof(ram), 0, false, &e), OK);
	save_tricky(s);
	store_close(s);
	write_file("bare", d.data, (size_t)BLOCKS * STORE_BLOCK, 0, "w");
	/* the same in the second partition of a disk */
	assert_int_equal(
	    run("truncate -s 8M disk && sgdisk -n 1:2048:+1M -n 2:0:+4M -t 2:" GUID_STORE_TEXT
		" disk"),
	    0);
	write_file("disk", d.data, (size_t)BLOCKS * STORE_BLOCK, 2 << 20, "r+");
	mem_disk_free(&d);
	return 0;
}

/* A file 'chain' with base <- mid <- top, base <- side, and a later copy of base. */
static void make_chain(void)
{
	static uint8_t ram[600 << 10];
	struct mem_disk d;
	struct errmsg e;
	struct store *s;

	mem_disk_init(&d, BLOCKS, false);
	fake_ram_fill(ram, sizeof(ram), 8);
	assert_int_equal(store_format(&d.io, (const uint8_t *)"store of a chain", &e), OK);
	assert_int_equal(store_open(&d.io, true, &s, &e), OK);
	assert_int_equal(fake_save(s, "base", 1, ram, sizeof(ram), 0, false, &e), OK);
	assert_int_equal(
	    fake_save_child(s, "mid", "base", 2, ram + 1, sizeof(ram) - 4096, false, &e),
	    ERR_STATE);
	memset(ram, 'm', 40000);
	assert_int_equal(fake_save_child(s, "mid", "base", 2, ram, sizeof(ram), false, &e), OK);
	memset(ram, 't', 20000);
	assert_int_equal(fake_save_child(s, "top", "mid", 4, ram, sizeof(ram), false, &e), OK);
	memset(ram, 's', 9000);
	assert_int_equal(fake_save_child(s, "side", "base", 3, ram, sizeof(ram), false, &e), OK);
	store_close(s);
	write_file("chain", d.data, (size_t)BLOCKS * STORE_BLOCK, 0, "w");
	mem_disk_free(&d);
}

static void test_chain(void **state)
{
	make_chain();
	expect("amber-snap chain list", 0, "\nbase  ");
	assert_non_null(strstr(out, "\n  mid                    guest"));
	assert_non_null(strstr(out, "\n    top                  guest"));
	assert_non_null(strstr(out, "\n  side                   guest"));
	assert_true(strstr(out, "  side  ") > strstr(out, "    top  "));
	expect("amber-snap --json chain list", 0, "\"name\":\"base\"");
	assert_non_null(strstr(out, "\"id\":\"04010000-0000-0000-0000-000000000000\","
				    "\"parent_id\":\"02010000-0000-0000-0000-000000000000\","
				    "\"parent\":\"mid\","));
	expect("amber-snap chain verify && amber-snap chain check", 0, "top: good\n");
	expect("amber-snap --json chain show top", 0, "\"parent\":\"mid\"");
	/* what is exported is whole */
	expect("amber-snap chain export top top.snap && amber-snap --json top.snap list", 0,
	    "\"name\":\"top\"");
	assert_null(strstr(out, "parent"));
	expect("amber-snap top.snap verify top && amber-snap top.snap check", 0, "1 snapshots");
	/* a second snapshot of the same id does not confuse */
	expect("amber-snap chain export base base.snap && "
	       "amber-snap chain import base.snap --as aaa && amber-snap --json chain list",
	    0, "\"parent\":\"base\"");
	assert_null(strstr(out, "\"parent\":\"aaa\""));
	/* damage in what only base holds is told of all that need it */
	expect(
	    "cp chain bad && amber-snap chain delete mid && amber-snap chain list", 0, "\ntop  ");
	expect("amber-snap --json chain list", 0, "\"parent\":null");
	expect("amber-snap chain delete base && amber-snap chain verify top", 0, "top: good");
	expect("amber-snap --json chain list", 0, "\"parent\":\"aaa\""); /* by its id */
	expect("amber-snap chain flatten top", 0, "top needs no other snapshot");
	expect("amber-snap chain flatten top && amber-snap chain check && amber-snap chain verify",
	    0, "top: good");
	expect("amber-snap --json chain flatten side && amber-snap --json chain list", 0,
	    "{\"ok\":true}\n");
	assert_null(strstr(out, "parent"));
	expect("amber-snap chain flatten nobody", 1, "error: snapshot 'nobody': not found");
	expect("amber-snap chain delete side && amber-snap chain check && amber-snap chain verify",
	    0, "top: good");
	expect("printf X | dd of=bad bs=1 seek=$((90 * 4096)) conv=notrunc status=none; "
	       "amber-snap bad verify",
	    1, "error: snapshot 'aaa': ram: chunk 0x");
	/* what was imported was there already, and shares its blocks */
	assert_non_null(strstr(out, "base: snapshot 'base': ram: chunk 0x"));
	assert_non_null(strstr(out, "mid: snapshot 'mid': ram: object "));
	assert_non_null(strstr(out, ", of snapshot 'base': chunk 0x"));
}

static void test_help_and_usage(void **state)
{
	expect("amber-snap --help", 0, "Usage: amber-snap ");
	assert_non_null(strstr(out, "verify  [NAME]"));
	expect("amber-snap", 2, "an image and a command are needed");
	expect("amber-snap bare frobnicate", 2, "unknown command: frobnicate");
	expect("amber-snap bare show", 2, "arguments wanted: NAME");
	expect("amber-snap --wat bare list", 2, "unknown option");
	expect("amber-snap nowhere list", 1, "error: nowhere: No such file or directory");
	expect("head -c 1M /dev/zero > zeros; amber-snap zeros list", 1, "error: zeros: ");
	expect("amber-snap --json zeros list", 1, "{\"ok\":false,\"error\":\"zeros: ");
}

static void test_list(void **state)
{
	expect("amber-snap bare list", 0, "tricky");
	assert_non_null(strstr(out, "2023-11-14 22:13:20"));
	expect("amber-snap --json bare list", 0,
	    "{\"snapshots\":[{\"name\":\"big\",\"vm\":\"guest\",");
	assert_ptr_equal(strchr(out, '\n'), out + strlen(out) - 1);
	assert_non_null(strstr(out, "\"created\":\"2023-11-14T22:13:20Z\""));
	assert_non_null(strstr(out, "],\"ok\":true}"));
	expect("cmp <(amber-snap --json disk list) <(amber-snap --json bare list)", 0, NULL);
	expect("cmp <(amber-snap --json --offset 2M disk list) <(amber-snap --json bare list)", 0,
	    NULL);
}

static void test_show_through_dtc(void **state)
{
	expect("amber-snap bare show tricky --dtb > t.dtb; amber-snap bare show tricky", 0,
	    "/dts-v1/;\n\n/ {\n\ttext = \"console=ttyS0 \\\"quoted\\\"");
	/* the same values, byte for byte */
	expect(
	    "amber-snap bare show tricky | dtc -q -I dts -O dtb -o w.dtb || exit 1\n"
	    "for p in text two-texts digit empty-text nothing odd nuls looks-like-text wide; do\n"
	    "  cmp <(fdtget -t bx t.dtb / $p) <(fdtget -t bx w.dtb / $p) || exit 1\n"
	    "done; fdtget -t bx w.dtb / digit",
	    0, "61 0 31 62 0");
	/* where dtc's own text is free of loss, it is the same text */
	expect(
	    "amber-snap bare show big --dtb > b.dtb && dtc -q -I dtb -O dts b.dtb > b1.dts && "
	    "amber-snap bare show big > b2.dts && cmp b1.dts b2.dts && "
	    "dtc -q -I dts -O dtb b2.dts -o b2.dtb && dtc -q -I dtb -O dts b2.dtb | cmp - b1.dts",
	    0, NULL);
	expect("amber-snap --json bare show tricky", 0, "\"dts\":\"/dts-v1/;\\u000a");
	expect("amber-snap bare show nobody", 1, "error: snapshot 'nobody': not found");
}

static void test_verify_and_check(void **state)
{
	expect("amber-snap bare verify", 0, "big: good\ntricky: good\n");
	expect("amber-snap bare verify big", 0, "big: good");
	expect("amber-snap --json bare verify", 0, "{\"ok\":true}");
	expect("amber-snap bare check", 0, "sound");
	expect("amber-snap --json bare check", 0, "\"snapshots\":2");
	/* damage: some byte of RAM */
	expect("cp bare bad && printf X | dd of=bad bs=1 seek=$((100 * 4096)) conv=notrunc "
	       "status=none; "
	       "amber-snap bad verify",
	    1, "error: snapshot 'big': ram: chunk 0x");
	assert_non_null(strstr(out, "tricky: good"));
	expect("amber-snap --json bad verify big", 1,
	    "{\"ok\":false,\"error\":\"snapshot 'big': ram: ");
	expect("truncate -s 1M bad; amber-snap bad list", 1,
	    "error: bad: store: truncated: 256 of 1024");
}

static void test_export_import_delete(void **state)
{
	expect("amber-snap bare export big big.snap", 0, "exported to big.snap");
	expect("amber-snap bare export big big.snap", 1, "error: big.snap: File exists");
	expect("amber-snap big.snap list", 0, "big ");
	expect("amber-snap big.snap check", 0, "sound");
	expect("cp disk d && amber-snap d import big.snap", 1, "snapshot 'big' exists already");
	expect("amber-snap d import big.snap --as again", 0, "imported as again");
	expect("amber-snap d import big.snap --as 'a b'", 1, "letters, digits");
	expect("amber-snap d import big.snap --replace", 0, "imported as big");
	expect("amber-snap d verify && amber-snap d check", 0, "3 snapshots");
	expect("amber-snap d show again > x && amber-snap d show big > y && cmp x y", 0, NULL);
	expect("amber-snap d delete big && amber-snap d delete again && amber-snap d check", 0,
	    "1 snapshots");
	expect("amber-snap d delete big", 1, "error: snapshot 'big': not found");
	expect("amber-snap d import bare", 1, "error: bare: 2 snapshots instead of one");
	expect("sgdisk --verify d", 0, "No problems found");
}

static void test_format(void **state)
{
	expect("cp disk f && amber-snap f format", 1, "say --yes");
	expect("amber-snap f format --yes && amber-snap f list", 0, "no snapshots");
	expect("truncate -s 4M g && amber-snap g format", 1, "error: g: ");
	expect("amber-snap g format --bare && amber-snap g check", 0, "sound");
	expect("truncate -s 1M h && amber-snap h format --bare", 1, "are needed");
	expect("amber-snap g import big.snap && amber-snap g verify big", 0, "big: good");
}

/* A file that is a store, and a partition; both were made larger. */
static void test_grow(void **state)
{
	expect("cp bare g1 && amber-snap g1 grow", 0, "g1: the store has all of its room already");
	expect("truncate -s 4100K g1 && amber-snap g1 grow", 0, "g1: 4 KiB more, 4 MiB now");
	expect("truncate -s 1500M g1 && amber-snap --json g1 grow", 0,
	    "{\"ok\":true,\"added_bytes\":1568665600,\"store_bytes\":1572864000}");
	expect("amber-snap g1 check && amber-snap g1 verify", 0, "tricky: good");
	expect("amber-snap --json g1 check", 0, "\"blocks\":384000");
	expect("cp disk g2 && truncate -s 20M g2 && sgdisk -e -d 2 g2 && "
	       "sgdisk -n 2:4096:+12M -t 2:" GUID_STORE_TEXT " g2 && amber-snap g2 grow",
	    0, "g2: 8192 KiB more, 12 MiB now");
	expect(
	    "amber-snap g2 check && amber-snap g2 verify && sgdisk --verify g2", 0, "tricky: good");
	/* cut off again it is refused, not half read */
	expect("truncate -s 6M g1; amber-snap g1 grow", 1,
	    "error: g1: store: truncated: 1536 of 384000");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_help_and_usage),
	    cmocka_unit_test(test_list),
	    cmocka_unit_test(test_show_through_dtc),
	    cmocka_unit_test(test_verify_and_check),
	    cmocka_unit_test(test_export_import_delete),
	    cmocka_unit_test(test_format),
	    cmocka_unit_test(test_grow),
	    cmocka_unit_test(test_chain),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
