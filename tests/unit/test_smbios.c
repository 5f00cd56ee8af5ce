/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SMBIOS: the entry point as Linux looks for it, the structures as their chain is walked, what they
 * say, and what dmidecode makes of them (skipped where it is missing).
 */
#include "hv/dev/smbios.h"

#include <stdio.h>
#include <unistd.h>
#include "hv/core/memmap.h"
#include "hv/lib/cursor.h"
#include "tests/unit/fake/device_test.h"
#include "tests/unit/fake/model.h"

enum { RAM = 2 * MIB, ENTRY_SIZE = 31 };

static struct errmsg msg;

static void machine(uint32_t sockets, uint32_t cores, uint32_t threads, uint64_t memory)
{
	vm = model_vm_new(sockets, cores, threads, memory, RAM);
	for (unsigned i = 0; i < 16; i++)
		vm->config.uuid[i] = (uint8_t)(0x10 * i + i);
}

static int start(void **state)
{
	machine(2, 2, 2, 4096 * MIB);
	return 0;
}

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s += *p++;
	return s;
}

/* --- a reader --------------------------------------------------------------------------------- */

static const uint8_t *entry, *structures;
static size_t structures_size;

/* As Linux does (dmi_scan.c): at a multiple of 16 from 0xf0000 on. */
static void find(void)
{
	const uint8_t *p = NULL;

	entry = NULL;
	for (uint64_t at = 0xf0000; at < 0x100000 && !entry; at += 16) {
		p = fake_of(vm)->ram + at;
		if (memcmp(p, "_SM_", 4) == 0 && sum(p, p[5]) == 0 &&
		    memcmp(p + 16, "_DMI_", 5) == 0 && sum(p + 16, 15) == 0)
			entry = p;
	}
	assert_non_null(entry);
	structures = fake_of(vm)->ram + get_le32(entry + 24);
	structures_size = get_le16(entry + 22);
}

static void build(void)
{
	assert_int_equal(smbios_build(vm, &msg), OK);
	find();
}

/* The structure behind one, or NULL at the end; its end is checked. */
static const uint8_t *next(const uint8_t *s)
{
	const uint8_t *end = structures + structures_size;

	assert_true(s + 4 <= end && s[1] >= 4 && s + s[1] + 2 <= end);
	s += s[1];
	while (s[0] || s[1]) {
		s++;
		assert_true(s + 2 <= end);
	}
	return s + 2 < end ? s + 2 : NULL;
}

/* The n-th structure of a type, or NULL. */
static const uint8_t *get(uint8_t type, unsigned n)
{
	for (const uint8_t *s = structures; s; s = next(s))
		if (s[0] == type && n-- == 0)
			return s;
	return NULL;
}

static const char *text(const uint8_t *s, unsigned at)
{
	const char *p = (const char *)s + s[1];

	assert_true(at < s[1]);
	if (s[at] == 0)
		return "";
	for (unsigned n = s[at]; --n;)
		p += strlen(p) + 1;
	return p;
}

/* --- tests ------------------------------------------------------------------------------------ */

static void chain(void **state)
{
	static const uint8_t types[] = {0, 1, 3, 4, 4, 16, 17, 19, 19, 32, 127};
	size_t longest = 0;
	unsigned n = 0;
	uint32_t handles = 0;

	build();
	assert_int_equal(entry[5], ENTRY_SIZE);
	assert_int_equal(entry[6], 2);
	assert_int_equal(entry[7], 8);
	assert_int_equal(entry[30], 0x28);
	for (const uint8_t *s = structures; s; n++) {
		const uint8_t *after = next(s);
		size_t size = (size_t)((after ? after : structures + structures_size) - s);

		assert_true(n < ARRAY_LEN(types));
		assert_int_equal(s[0], types[n]);
		longest = size > longest ? size : longest;
		if (n)
			assert_true(get_le16(s + 2) > handles);
		handles = get_le16(s + 2);
		s = after;
	}
	assert_int_equal(n, ARRAY_LEN(types));
	assert_int_equal(get_le16(entry + 28), n);
	assert_int_equal(get_le16(entry + 8), longest);
}

/* The lengths that the specification gives for version 2.8. */
static void lengths(void **state)
{
	static const uint8_t all[][2] = {{0, 0x18}, {1, 0x1b}, {3, 0x16}, {4, 0x2a}, {16, 0x17},
	    {17, 0x28}, {19, 0x1f}, {32, 0x0b}, {127, 4}};

	build();
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		assert_int_equal(get(all[i][0], 0)[1], all[i][1]);
}

static void identity(void **state)
{
	static const uint8_t uuid[] = {0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99,
	    0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
	const uint8_t *s;

	build();
	s = get(1, 0);
	assert_string_equal(text(s, 4), "Amber");
	assert_string_equal(text(s, 5), "Amber virtual machine");
	assert_string_equal(text(s, 7), "");
	assert_memory_equal(s + 8, uuid, 16);
	assert_int_equal(get(0, 0)[0x13], 0x14); /* a virtual machine */
}

static void processors(void **state)
{
	const uint8_t *s;

	build();
	assert_null(get(4, 2));
	for (unsigned i = 0; i < 2; i++) {
		s = get(4, i);
		assert_string_equal(text(s, 4), i ? "CPU 1" : "CPU 0");
		assert_string_equal(text(s, 7), "AuthenticAMD");
		assert_int_equal(s[5], 3);
		assert_int_equal(s[0x18], 0x41);
		assert_int_equal(get_le16(s + 0x14), 2000);
		assert_int_equal(s[0x23], 2); /* cores */
		assert_int_equal(s[0x24], 2);
		assert_int_equal(s[0x25], 4); /* threads */
		assert_int_equal(get_le16(s + 0x26) & 0x1c, 0x1c);
		assert_int_equal(get_le16(s + 0x1a), 0xffff);
	}
}

static void memory(void **state)
{
	static const struct {
		uint64_t mib;
		uint32_t max_kib, extended_mib;
		uint16_t size;
		unsigned ranges;
	} rows[] = {
	    {16, 16 * 1024, 0, 16, 1},
	    {2816, 2816 * 1024, 0, 2816, 1}, /* up to the PCI hole */
	    {2818, 2818 * 1024, 0, 2818, 2},
	    {32766, 32766 * 1024, 0, 32766, 2},
	    {32768, 32768 * 1024, 32768, 0x7fff, 2},
	    {4 * MIB, 0x80000000, 4 * MIB, 0x7fff, 2},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t bytes = rows[i].mib * MIB, total = 0;
		const uint8_t *s;

		fake_vm_free(vm);
		machine(1, 1, 1, bytes);
		build();
		s = get(16, 0);
		assert_int_equal(get_le32(s + 7), rows[i].max_kib);
		assert_int_equal(get_le64(s + 0xf), rows[i].max_kib < 0x80000000 ? 0 : bytes);
		assert_int_equal(get_le16(s + 0xd), 1);
		assert_int_equal(get_le16(get(17, 0) + 4), get_le16(s + 2));
		assert_int_equal(get_le16(get(17, 0) + 0xc), rows[i].size);
		assert_int_equal(get_le32(get(17, 0) + 0x1c), rows[i].extended_mib);
		for (unsigned k = 0; k < rows[i].ranges; k++) {
			const uint8_t *m = get(19, k);
			uint64_t from = get_le32(m + 4) * 1024ULL;
			uint64_t to = get_le32(m + 8) * 1024ULL + 1023;

			if (get_le32(m + 4) == 0xffffffff) {
				from = get_le64(m + 0xf);
				to = get_le64(m + 0x17);
			}
			assert_int_equal(from, k ? MEMMAP_HIGH_RAM : 0);
			assert_int_equal(get_le16(m + 0xc), get_le16(s + 2));
			total += to - from + 1;
		}
		assert_null(get(19, rows[i].ranges));
		assert_int_equal(total, bytes);
	}
}

/* --- with firmware ---------------------------------------------------------------------------- */

struct file {
	const char *name;
	uint8_t data[32 * 1024];
	size_t len;
};
static struct file files[2];
static unsigned nfiles;

static int give(void *to, const char *name, const void *data, size_t len, struct errmsg *e)
{
	assert_true(nfiles < 2 && to == &nfiles);
	files[nfiles].name = name;
	memcpy(files[nfiles].data, data, len);
	files[nfiles++].len = len;
	return OK;
}

static void give_files(void)
{
	nfiles = 0;
	assert_int_equal(smbios_give(vm, give, &nfiles, &msg), OK);
	assert_int_equal(nfiles, 2);
	assert_string_equal(files[0].name, "etc/smbios/smbios-tables");
	assert_string_equal(files[1].name, "etc/smbios/smbios-anchor");
}

/* What OVMF (DetectSmbiosVersion.c) and SeaBIOS (biostables.c) ask of them. */
static void for_firmware(void **state)
{
	const uint8_t *anchor = files[1].data;

	vm->config.boot = BOOT_FIRMWARE;
	give_files();
	assert_int_equal(files[1].len, ENTRY_SIZE);
	assert_memory_equal(anchor, "_SM_", 4);
	assert_memory_equal(anchor + 16, "_DMI_", 5);
	assert_int_equal(anchor[6], 2);
	assert_int_equal(get_le16(anchor + 22), files[0].len);
	assert_int_equal(sum(anchor, ENTRY_SIZE), 0);
	assert_int_equal(sum(anchor + 16, 15), 0);
	structures = files[0].data;
	structures_size = files[0].len;
	assert_null(get(0, 0)); /* firmware's own */
	assert_int_equal(get(1, 0)[1], 0x1b);
	assert_int_equal(get(127, 0)[1], 4);
}

/* --- dmidecode -------------------------------------------------------------------------------- */

static char dir[] = "/tmp/test_smbios_XXXXXX";

/* What dmidecode says to those arguments is that line, or has it. */
static void assert_says(const char *arguments, const char *line)
{
	char command[300];

	snprintf(command, sizeof(command),
	    "cd %s && dmidecode --from-dump dump %s >out 2>&1 && grep -qF -- '%s' out || "
	    "{ cat out; false; }",
	    dir, arguments, line);
	if (system(command) != 0)
		fail_msg("dmidecode %s does not say '%s'", arguments, line);
}

/* A dump has the structures behind the entry point, at offset 32 of the file. */
static void write_dump(void)
{
	uint8_t head[32] = {0};
	char path[64];
	FILE *f;

	memcpy(head, entry, ENTRY_SIZE);
	put_le32(head + 24, sizeof(head));
	head[21] = head[4] = 0;
	head[21] = (uint8_t)-sum(head + 16, 15);
	head[4] = (uint8_t)-sum(head, ENTRY_SIZE);
	snprintf(path, sizeof(path), "%s/dump", dir);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(head, sizeof(head), 1, f), 1);
	assert_int_equal(fwrite(structures, structures_size, 1, f), 1);
	fclose(f);
}

static void dmidecode(void **state)
{
	char command[100];

	if (system("command -v dmidecode >/dev/null 2>&1") != 0)
		skip();
	assert_non_null(mkdtemp(dir));
	build();
	write_dump();
	assert_says("", "SMBIOS 2.8 present.");
	assert_says("-s system-uuid", "00112233-4455-6677-8899-aabbccddeeff");
	assert_says("-s system-manufacturer", "Amber");
	assert_says("-s processor-frequency", "2000 MHz");
	assert_says("-t 4", "Thread Count: 4");
	assert_says("-t 4", "64-bit capable");
	assert_says("-t 16", "Maximum Capacity: 4 GB");
	assert_says("-t 17", "Size: 4 GB");
	assert_says("-t 19", "Ending Address: 0x000AFFFFFFF");
	assert_says("-t 19", "Range Size: 1280 MB");
	assert_says("-t 0", "System is a virtual machine");
	assert_says("-t 32", "Status: No errors detected");
	snprintf(command, sizeof(command), "! grep -iE 'bad|invalid|wrong|trunc' %s/out", dir);
	assert_says("", "End Of Table");
	assert_int_equal(system(command), 0);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

/* --- limits ----------------------------------------------------------------------------------- */

static void as_many_sockets_as_there_can_be(void **state)
{
	fake_vm_free(vm);
	machine(VM_MAX_VCPUS, 1, 1, 64 * 1024 * MIB);
	build();
	assert_non_null(get(4, VM_MAX_VCPUS - 1));
	assert_true(get_le32(entry + 24) + structures_size <= MEMMAP_MPTABLE);
}

static void memory_that_cannot_be_had(void **state)
{
	fake_of(vm)->gmem_fail_start = MEMMAP_SMBIOS;
	fake_of(vm)->gmem_fail_len = 1;
	assert_int_equal(smbios_build(vm, &msg), ERR_FAULT);
	assert_string_equal(
	    msg.text, "SMBIOS tables: cannot write guest memory: bad guest address");
	fake_heap_fail_after(0);
	assert_int_equal(smbios_build(vm, &msg), ERR_NOMEM);
	fake_heap_fail_after(0);
	assert_int_equal(smbios_give(vm, give, &nfiles, &msg), ERR_NOMEM);
	fake_heap_fail_after(-1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    DEVICE_TEST(chain),
	    DEVICE_TEST(lengths),
	    DEVICE_TEST(identity),
	    DEVICE_TEST(processors),
	    DEVICE_TEST(memory),
	    DEVICE_TEST(for_firmware),
	    DEVICE_TEST(dmidecode),
	    DEVICE_TEST(as_many_sockets_as_there_can_be),
	    DEVICE_TEST(memory_that_cannot_be_had),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
