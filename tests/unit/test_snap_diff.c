/* SPDX-License-Identifier: BSD-2-Clause */
/* amber-snap diff: exactly the differences that were made, in words and in JSON. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hv/arch/x86/vcpu_state.h"
#include "hv/core/memmap.h"
#include "hv/mm/mm.h"
#include "tests/unit/snap_tool.h"

enum { BLOCKS = 4096, LOW = 256 << 10 };

static uint8_t ram[2][LOW];

static void put_vcpu(struct state_writer *w, bool second)
{
	struct vcpu_state *s = heap_zalloc(sizeof(*s));

	assert_non_null(s);
	vcpu_state_reset(s, 0, true);
	s->gpr[GPR_RAX] = 7;
	s->rip = second ? 0xffffffff81000002 : 0xffffffff81000001;
	s->rflags = second ? 0x202 : 0x2;
	s->dr[2] = second ? 0x1234 : 0;
	s->dr[3] = second ? 0 : 0x5678;
	if (second) {
		memset(s->xstate + 100, 0xaa, 3);
		memset(s->xstate + 200, 0xbb, 40);
	}
	sw_fields(w, vcpu_state_fields, s);
	heap_free(s);
}

static void put_devices(struct state_writer *w, bool second)
{
	uint8_t config[256] = {0};

	for (unsigned i = 0; second && i < 100; i += 2)
		config[i] = 1; /* 50 places */
	sw_begin(w, "devices");
	sw_begin(w, "serial0");
	sw_string(w, "compatible", second ? "amber,uart" : "amber,ns16550");
	sw_u32(w, "version", 1);
	sw_bytes(w, "lcr", second ? "\x03" : "\x1b", 1);
	sw_u64(w, "timeout-at", second ? 0x100000000 : 5);
	sw_bytes(w, "fifo", second ? "abcdefgh" : "abXYefgh", 8);
	sw_bytes(w, "odd", second ? "abcXYfg" : "abcdefg", 7);
	sw_bytes(w, "pci-config", config, sizeof(config));
	sw_bytes(w, "grown", "12345", second ? 5 : 3);
	if (second)
		sw_u32(w, "new", 1);
	sw_end(w);
	sw_begin(w, second ? "late" : "early");
	sw_u32(w, "version", 1);
	sw_end(w);
	sw_end(w);
}

static void save(struct store *s, const char *name, bool second, bool same_state)
{
	struct snap_params p = {.name = name, .vm = "web", .memory = 8 * GIB};
	struct state_writer w;
	struct snap_writer *sw;
	struct errmsg e;
	size_t size;
	void *fdt;

	sw_init(&w, heap_grow);
	sw_begin(&w, "vcpus");
	sw_begin(&w, "vcpu0");
	put_vcpu(&w, second && !same_state);
	sw_end(&w);
	if (second && !same_state) {
		sw_begin(&w, "vcpu1");
		put_vcpu(&w, false);
		sw_end(&w);
	}
	sw_end(&w);
	put_devices(&w, second && !same_state);
	assert_int_equal(sw_encode(&w, &fdt, &size, NULL), OK);
	heap_free(w.buf);
	assert_int_equal(snap_writer_begin(s, &p, &sw, &e), OK);
	assert_int_equal(snap_writer_state(sw, fdt, size, &e), OK);
	/* in pieces that the other has not, so that the extents differ where the memory does not */
	if (second) {
		assert_int_equal(snap_writer_ram(sw, gpa(0), ram[1], 5000, &e), OK);
		assert_int_equal(snap_writer_ram(sw, gpa(5000), ram[1] + 5000, LOW - 5000, &e), OK);
	} else {
		assert_int_equal(snap_writer_ram(sw, gpa(0), ram[0], LOW, &e), OK);
	}
	if (second)
		assert_int_equal(
		    snap_writer_ram(sw, gpa(MEMMAP_HIGH_RAM + 0x5000), "x", 1, &e), OK);
	assert_int_equal(snap_writer_commit(sw, NULL, &e), OK);
	heap_free(fdt);
}

static int setup(void **state)
{
	struct mem_disk d;
	struct errmsg e;
	struct store *s;

	if (!mkdtemp(dir))
		return 1;
	fake_ram_fill(ram[0], LOW, 3);
	memcpy(ram[0] + 5000, "a mark in memory", 16);
	memset(ram[0] + 0x20000, 0, 0x10000); /* a chunk that only the second has */
	memcpy(ram[1], ram[0], LOW);
	ram[1][0x1fff] ^= 1; /* a page's last byte */
	ram[1][0xf000] ^= 1; /* over the border of two chunks */
	ram[1][0x10000] ^= 1;
	ram[1][0x11000] ^= 1;
	ram[1][0x21000] = 1;
	memset(ram[1] + 0x30000, 0, 0x10000); /* and one that only the first has */
	mem_disk_init(&d, BLOCKS, false);
	assert_int_equal(store_format(&d.io, (const uint8_t *)"store of a tool.", &e), OK);
	assert_int_equal(store_open(&d.io, true, &s, &e), OK);
	save(s, "a", false, false);
	save(s, "b", true, false);
	save(s, "c", true, true);
	save(s, "again", false, false);
	store_close(s);
	write_file("store", d.data, (size_t)BLOCKS * STORE_BLOCK, 0, "w");
	mem_disk_free(&d);
	return 0;
}

/* No page of the chunk that only the first has is zero: all 16 of them differ. */
static void test_fixture(void **state)
{
	for (unsigned at = 0x30000; at < LOW; at += 4096) {
		unsigned n = 0;

		while (n < 4096 && ram[0][at + n] == 0)
			n++;
		assert_int_not_equal(n, 4096);
	}
}

static void test_words(void **state)
{
	expect("amber-snap store diff a b", 0, NULL);
	assert_string_equal(out, "vcpu0 rip: 0xffffffff81000001 -> 0xffffffff81000002\n"
				 "vcpu0 rflags: 0x2 -> 0x202\n"
				 "vcpu0 dr[2]: 0x0 -> 0x1234\n"
				 "vcpu0 dr[3]: 0x5678 -> 0x0\n"
				 "vcpu0 xstate[100..102]: 00 00 00 -> aa aa aa\n"
				 "vcpu0 xstate[200..239]: 40 bytes differ\n"
				 "vcpu1: absent -> there\n"
				 "devices/serial0/compatible: amber,ns16550 -> amber,uart\n"
				 "devices/serial0/lcr: 0x1b -> 0x3\n"
				 "devices/serial0/timeout-at: 0x5 -> 0x100000000\n"
				 "devices/serial0/fifo: 0x6162585965666768 -> 0x6162636465666768\n"
				 "devices/serial0/odd[3..4]: 64 65 -> 58 59\n"
				 "devices/serial0/pci-config[0]: 0x0 -> 0x1\n"
				 "devices/serial0/pci-config[2]: 0x0 -> 0x1\n"
				 "devices/serial0/pci-config[4]: 0x0 -> 0x1\n"
				 "devices/serial0/pci-config[6]: 0x0 -> 0x1\n"
				 "devices/serial0/pci-config[8]: 0x0 -> 0x1\n"
				 "devices/serial0/pci-config[10]: 0x0 -> 0x1\n"
				 "devices/serial0/pci-config[12]: 0x0 -> 0x1\n"
				 "devices/serial0/pci-config[14]: 0x0 -> 0x1\n"
				 "devices/serial0/pci-config[16]: 0x0 -> 0x1\n"
				 "devices/serial0/pci-config[18]: 0x0 -> 0x1\n"
				 "devices/serial0/pci-config[20]: 0x0 -> 0x1\n"
				 "devices/serial0/pci-config[22]: 0x0 -> 0x1\n"
				 "devices/serial0/pci-config[24]: 0x0 -> 0x1\n"
				 "devices/serial0/pci-config[26]: 0x0 -> 0x1\n"
				 "devices/serial0/pci-config[28]: 0x0 -> 0x1\n"
				 "devices/serial0/pci-config[30]: 0x0 -> 0x1\n"
				 "devices/serial0/pci-config: 34 more differ\n"
				 "devices/serial0/grown: 3 bytes -> 5 bytes\n"
				 "devices/serial0/new: absent -> 4 bytes\n"
				 "devices/early: there -> absent\n"
				 "devices/late: absent -> there\n"
				 "memory 0x1000-0x1fff: 1 page\n"
				 "memory 0xf000-0x11fff: 3 pages\n"
				 "memory 0x21000-0x21fff: 1 page\n"
				 "memory 0x30000-0x3ffff: 16 pages\n"
				 "memory 0x100005000-0x100005fff: 1 page\n"
				 "5 registers, 10 properties, 22 pages in 5 ranges differ\n");
	expect("amber-snap store diff b a | tail -n 1", 0,
	    "5 registers, 10 properties, 22 pages in 5 ranges differ\n");
	expect("amber-snap store diff b a", 0, "vcpu0 rflags: 0x202 -> 0x2\nvcpu0 dr[2]");
	expect("amber-snap store diff a c", 0, "memory 0x1000");
	assert_non_null(strstr(out, "\n0 registers, 0 properties, 22 pages in 5 ranges differ\n"));
	expect("amber-snap store diff a again", 0, "no difference\n");
	expect("amber-snap store diff a a", 0, "no difference\n");
}

static void test_json(void **state)
{
	expect("amber-snap --json store diff a a", 0,
	    "{\"registers\":[],\"properties\":[],\"ranges\":[],\"pages\":0,\"same\":true,"
	    "\"ok\":true}\n");
	expect("cat > j.py <<'END'\n"
	       "import json, sys\n"
	       "text = sys.stdin.read()\n"
	       "j = json.loads(text)\n"
	       "print(text.count('\\n'), j['ok'], j['same'], j['pages'])\n"
	       "print(len(j['registers']), j['registers'][2], j['registers'][6])\n"
	       "print(len(j['properties']), j['properties'][0], j['properties'][-1])\n"
	       "print(len(j['ranges']), j['ranges'][1])\n"
	       "END\n"
	       "amber-snap --json store diff a b | python3 j.py",
	    0, NULL);
	assert_string_equal(out,
	    "1 True False 22\n"
	    "7 {'vcpu': 'vcpu0', 'name': 'dr[2]', 'a': '0x0', 'b': '0x1234'} "
	    "{'vcpu': 'vcpu1', 'name': '', 'a': None, 'b': 'there'}\n"
	    "26 {'node': 'devices/serial0', 'name': 'compatible', 'a': 'amber,ns16550', "
	    "'b': 'amber,uart'} {'node': 'devices', 'name': 'late', 'a': None, 'b': 'there'}\n"
	    "5 {'start': 61440, 'end': 73727, 'pages': 3}\n");
}

static void test_errors(void **state)
{
	expect("amber-snap store diff a", 2, "arguments wanted: NAME NAME");
	expect("amber-snap store diff a nobody", 1, "error: snapshot 'nobody': not found");
	expect("amber-snap --json store diff nobody a", 1, "{\"ok\":false,\"error\":\"snapshot");
	/* damage in the memory: after differences were told, one line with one "ok" all the same */
	expect("cp store bad; at=$(grep -abo 'a mark in memory' bad | head -n 1 | cut -d: -f1)\n"
	       "printf X | dd of=bad bs=1 seek=$at conv=notrunc status=none\n"
	       "amber-snap bad diff a b",
	    1, "error: snapshot 'a': ram: chunk 0x");
	expect("amber-snap --json bad diff a b | python3 -c 'import json, sys; "
	       "j = json.loads(sys.stdin.read()); print(j[\"ok\"], j[\"error\"])'",
	    0, "False snapshot 'a': ram: chunk 0x");
	expect("amber-snap --json bad diff a b", 1, "{\"registers\":[");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_fixture),
	    cmocka_unit_test(test_words),
	    cmocka_unit_test(test_json),
	    cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
