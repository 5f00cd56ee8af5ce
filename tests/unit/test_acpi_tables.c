/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's ACPI tables: pointers, lengths, checksums and contents, the AML
 * writer's encodings, and ACPICA's opinion: each table is decompiled and
 * compiled again with no error and no warning (skipped where iasl is missing).
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "hv/core/memmap.h"
#include "hv/dev/acpi_tables.h"
#include "hv/dev/pci_bus.h"
#include "hv/lib/cursor.h"
#include "tests/unit/fake/fake.h"

static struct vm *vm;
static uint64_t rsdp;
static struct errmsg msg;

static int setup(void **state)
{
	vm = fake_vm_new(2, 2 * MIB);
	vm->config.ndevs = 2;
	vm->config.devs[0] = (struct config_dev){.kind = CONFIG_UART, .uart_index = 0};
	vm->config.devs[1] = (struct config_dev){.kind = CONFIG_UART, .uart_index = 3};
	return 0;
}

static int teardown(void **state)
{
	fake_vm_free(vm);
	return 0;
}

static void build(void)
{
	assert_int_equal(acpi_tables_build(vm, &rsdp, &msg), OK);
}

static const uint8_t *at(uint64_t addr)
{
	assert_true(addr >= MEMMAP_BIOS && addr < MEMMAP_BIOS_END);
	return fake_of(vm)->ram + addr;
}

static void assert_sum(const uint8_t *p, size_t n)
{
	uint8_t sum = 0;

	while (n--)
		sum += *p++;
	assert_int_equal(sum, 0);
}

/* The table with that signature; the XSDT's, the DSDT or the FACS. */
static const uint8_t *table(const char *signature)
{
	const uint8_t *xsdt = at(get_le64(at(rsdp) + 24));

	assert_memory_equal(xsdt, "XSDT", 4);
	if (strcmp(signature, "XSDT") == 0)
		return xsdt;
	if (strcmp(signature, "DSDT") == 0)
		return at(get_le64(table("FACP") + 140));
	if (strcmp(signature, "FACS") == 0)
		return at(get_le32(table("FACP") + 36));
	for (uint32_t off = 36; off < get_le32(xsdt + 4); off += 8) {
		const uint8_t *t = at(get_le64(xsdt + off));

		if (memcmp(t, signature, 4) == 0)
			return t;
	}
	fail_msg("no %s", signature);
	return NULL;
}

static const char *const tables[] = {"XSDT", "FACP", "APIC", "MCFG", "DSDT"};

static void test_root(void **state)
{
	build();
	assert_int_equal(rsdp % 16, 0);
	assert_memory_equal(at(rsdp), "RSD PTR ", 8);
	assert_sum(at(rsdp), 20);
	assert_sum(at(rsdp), 36);
	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		const uint8_t *t = table(tables[i]);

		assert_memory_equal(t, tables[i], 4);
		assert_sum(t, get_le32(t + 4));
	}
}

static void test_fadt(void **state)
{
	const uint8_t *f;

	build();
	f = table("FACP");
	assert_int_equal(get_le32(f + 4), 276); /* revision 6 */
	assert_int_equal(get_le16(f + 46), 9);	/* SCI_INT */
	assert_int_equal(get_le32(f + 48), 0);	/* SMI_CMD */
	assert_int_equal(get_le32(f + 56), 0x600);
	assert_int_equal(get_le32(f + 64), 0x604);
	assert_int_equal(get_le32(f + 76), 0x608);
	assert_int_equal(get_le32(f + 80), 0x620);
	assert_int_equal(f[108], 0x32);		    /* CENTURY */
	assert_int_equal(get_le16(f + 109) & 3, 3); /* legacy devices, 8042 */
	assert_int_equal(get_le64(f + 120), 0xcf9); /* RESET_REG */
	assert_int_equal(f[128], 6);
	assert_int_equal(get_le64(f + 148 + 4), 0x600); /* X_PM1a_EVT_BLK */
	assert_int_equal(get_le64(f + 172 + 4), 0x604);
	assert_int_equal(get_le64(f + 208 + 4), 0x608);
	assert_int_equal(get_le64(f + 220 + 4), 0x620);
	assert_memory_equal(table("FACS"), "FACS", 4);
	assert_int_equal((table("FACS") - at(MEMMAP_BIOS)) % 64, 0);
}

/* The n-th entry of a type in the MADT, or NULL. */
static const uint8_t *madt_entry(uint8_t type, unsigned n)
{
	const uint8_t *m = table("APIC");

	for (uint32_t off = 44; off < get_le32(m + 4); off += m[off + 1]) {
		assert_true(m[off + 1] >= 6);
		if (m[off] == type && n-- == 0)
			return m + off;
	}
	return NULL;
}

static void test_madt(void **state)
{
	build();
	assert_int_equal(madt_entry(0, 1)[2], 1);
	assert_int_equal(madt_entry(0, 1)[3], 1);
	assert_null(madt_entry(0, 2));
	assert_null(madt_entry(9, 0));
	assert_int_equal(get_le32(madt_entry(1, 0) + 4), 0xfec00000);
	assert_int_equal(madt_entry(2, 0)[3], 0);
	assert_int_equal(get_le32(madt_entry(2, 0) + 4), 2);
	assert_int_equal(madt_entry(2, 1)[3], 9);
	assert_int_equal(get_le16(madt_entry(2, 1) + 8), 0xd);
	assert_int_equal(madt_entry(4, 0)[5], 1);
}

static void test_madt_x2apic(void **state)
{
	vm->vcpus[1]->apic_id = 255;
	build();
	assert_null(madt_entry(0, 1));
	assert_int_equal(get_le32(madt_entry(9, 0) + 4), 255);
	assert_int_equal(get_le32(madt_entry(9, 0) + 12), 1);
	assert_non_null(madt_entry(10, 0));
}

static void test_mcfg(void **state)
{
	build();
	assert_int_equal(get_le64(table("MCFG") + 44), 0xb0000000);
	assert_int_equal(table("MCFG")[54], 0);
	assert_int_equal(table("MCFG")[55], 0);
}

static void add_hpet(void)
{
	vm->config.devs[vm->config.ndevs++] = (struct config_dev){.kind = CONFIG_HPET};
}

/* True if the XSDT, or the DSDT, says that there is one. */
static bool says_hpet(const char *signature, const char *text, size_t n)
{
	const uint8_t *t = table(signature);

	for (uint32_t off = 36; off + n <= get_le32(t + 4); off++)
		if (memcmp(t + off, text, n) == 0)
			return true;
	return false;
}

/* IA-PC HPET Specification 1.0a, 3.2.4. */
static void test_hpet(void **state)
{
	static const char device[] = "HPET\x08_HID\x0c\x41\xd0\x01\x03";
	static const char memory[] = "\x86\x09\x00\x01\x00\x00\xd0\xfe\x00\x04\x00\x00";
	const uint8_t *h;
	uint32_t length;

	build();
	length = get_le32(table("XSDT") + 4);
	assert_false(says_hpet("DSDT", device, sizeof(device) - 1));
	add_hpet();
	build();
	assert_int_equal(get_le32(table("XSDT") + 4), length + 8);
	h = table("HPET");
	assert_int_equal(get_le32(h + 4), 56);
	assert_sum(h, 56);
	assert_int_equal(get_le32(h + 36), 0x8086a701); /* as its first register */
	assert_memory_equal(h + 40, "\x00\x40\x00\x00", 4);
	assert_int_equal(get_le64(h + 44), 0xfed00000);
	assert_int_equal(h[52], 0);
	assert_int_equal(get_le16(h + 53), 2000);
	assert_true(says_hpet("DSDT", device, sizeof(device) - 1));
	assert_true(says_hpet("DSDT", memory, sizeof(memory) - 1));
}

/* Where s is in the DSDT; it is there once. */
static const uint8_t *in_dsdt(const char *s, size_t n)
{
	const uint8_t *t = table("DSDT"), *found = NULL;

	for (uint32_t off = 36; off + n <= get_le32(t + 4); off++)
		if (memcmp(t + off, s, n) == 0) {
			assert_null(found);
			found = t + off;
		}
	assert_non_null(found);
	return found;
}
#define IN_DSDT(s) in_dsdt(s, sizeof(s) - 1)

static void test_generation_id(void **state)
{
	const uint8_t *addr, *device;

	build();
	device = IN_DSDT("VGEN"
			 "\x08_HID\x0d");
	/* a package of the low and the high half */
	addr = IN_DSDT("\x08"
		       "ADDR\x12");
	assert_true(addr > device && addr < device + 100);
	assert_memory_equal(addr + 6, "\x08\x02\x0c", 3);
	assert_int_equal(get_le32(addr + 9), MEMMAP_VMGENID);
	assert_int_equal(addr[13], 0);
	IN_DSDT("\x08_CID\x0dVM_Gen_Counter");
	IN_DSDT("\x08_DDN\x0dVM_Gen_Counter");
	/* Notify (\_SB.VGEN, 0x80) */
	IN_DSDT("_GPE\x14\x13_E00\x00\x86\\\x2e_SB_VGEN\x0a\x80");
}

/* Only a machine that has the interface tells of it; every other's tables stay as they were. */
static void test_fw_cfg(void **state)
{
	uint32_t without;
	const uint8_t *device;

	build();
	without = get_le32(table("DSDT") + 4);
	vm->config.ndevs = 3;
	vm->config.devs[2] = (struct config_dev){.kind = CONFIG_FW_CFG};
	build();
	assert_true(get_le32(table("DSDT") + 4) > without);
	device = IN_DSDT("FWCF"
			 "\x08_HID\x0dQEMU0002\x00\x08_STA\x0a\x0b\x08_CRS");
	/* twelve ports at 0x510, all 16 bits decoded */
	assert_in_range(IN_DSDT("\x47\x01\x10\x05\x10\x05\x01\x0c") - device, 30, 50);
}

static void test_no_room(void **state)
{
	fake_of(vm)->gmem_fail_start = MEMMAP_BIOS;
	fake_of(vm)->gmem_fail_len = 1;
	assert_int_equal(acpi_tables_build(vm, &rsdp, &msg), ERR_FAULT);
	assert_string_equal(msg.text, "ACPI tables: cannot write guest memory: bad guest address");
	fake_heap_fail_after(0);
	assert_int_equal(acpi_tables_build(vm, &rsdp, &msg), ERR_NOMEM);
	fake_heap_fail_after(-1);
}

static void assert_aml(struct aml *a, const char *bytes, size_t n)
{
	assert_false(a->overflow);
	assert_int_equal(a->len, n);
	assert_memory_equal(a->buf, bytes, n);
	a->len = 0;
}
#define AML_IS(a, s) assert_aml(a, s, sizeof(s) - 1)

static void test_aml_encodings(void **state)
{
	uint8_t buf[300];
	struct aml a = {.buf = buf, .cap = sizeof(buf)};
	size_t mark;

	aml_integer(&a, 0);
	aml_integer(&a, 1);
	aml_integer(&a, 2);
	aml_integer(&a, 0x100);
	aml_integer(&a, 0x10000);
	aml_integer(&a, 0x100000000);
	AML_IS(&a,
	    "\x00\x01\x0a\x02\x0b\x00\x01\x0c\x00\x00\x01\x00\x0e\x00\x00\x00\x00\x01\x00\x00\x00");
	aml_path(&a, "A");
	aml_path(&a, "\\_SB");
	aml_path(&a, "_SB.PCI0");
	aml_path(&a, "\\A.B.CCCC");
	AML_IS(&a, "A___\\_SB_\x2e_SB_PCI0\\\x2f\x03"
		   "A___B___CCCC");
	aml_eisaid(&a, "PNP0A03");
	AML_IS(&a, "\x0c\x41\xd0\x0a\x03");
	aml_string(&a, "x");
	AML_IS(&a, "\x0dx\0");
	mark = aml_device(&a, "DEV0");
	aml_close(&a, mark);
	AML_IS(&a, "\x5b\x82\x05"
		   "DEV0");
	/* the length of a package, around where its encoding grows */
	for (unsigned n = 55; n < 70; n++) {
		a.len = 0;
		mark = aml_package(&a, 1);
		for (unsigned i = 0; i < n; i++)
			aml_byte(&a, 1);
		aml_close(&a, mark);
		if (n + 2 <= 63) {
			assert_int_equal(buf[1], n + 2);
			assert_int_equal(a.len, n + 3);
		} else {
			assert_int_equal(buf[1], 0x40 | ((n + 3) & 0xf));
			assert_int_equal(buf[2], (n + 3) >> 4);
			assert_int_equal(a.len, n + 4);
		}
	}
}

static void test_aml_overflow(void **state)
{
	for (size_t cap = 0; cap < 60; cap++) {
		uint8_t *buf = malloc(cap ? cap : 1); /* exact, so that ASan sees a step beyond */
		struct aml a = {.buf = buf, .cap = cap};
		size_t outer = aml_scope(&a, "\\_SB"), inner;

		inner = aml_device(&a, "DEV0");
		aml_name_eisaid(&a, "_HID", "PNP0A03");
		aml_name(&a, "BUF0");
		aml_buffer(&a, "0123456789", 10);
		aml_close(&a, inner);
		aml_close(&a, outer);
		assert_int_equal(a.overflow, cap < 43);
		free(buf);
	}
}

/* --- ACPICA ----------------------------------------------------------------------- */

static char dir[] = "/tmp/test_acpi_XXXXXX";

/* Runs the command in dir; its output is shown if it fails. */
static int run(const char *command)
{
	char line[300];

	snprintf(
	    line, sizeof(line), "cd %s && { %s; } >out 2>&1 || { cat out; false; }", dir, command);
	return system(line);
}

static void round_trip(const char *signature)
{
	const uint8_t *t = table(signature);
	char text[200];
	FILE *f;

	snprintf(text, sizeof(text), "%s/%s.aml", dir, signature);
	f = fopen(text, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(t, 1, get_le32(t + 4), f), get_le32(t + 4));
	fclose(f);
	snprintf(text, sizeof(text), "iasl -d %s.aml && ! grep -iE 'warning|error' out", signature);
	assert_int_equal(run(text), 0);
	snprintf(text, sizeof(text), "iasl -we %s.dsl && ! grep -E '[1-9][0-9]* Warnings' out",
	    signature);
	assert_int_equal(run(text), 0);
}

static void test_iasl(void **state)
{
	if (system("command -v iasl >/dev/null 2>&1") != 0)
		skip();
	assert_non_null(mkdtemp(dir));
	vm->config.ndevs = 3;
	vm->config.devs[2] = (struct config_dev){.kind = CONFIG_FW_CFG};
	add_hpet();
	build();
	round_trip("DSDT");
	round_trip("FACP");
	round_trip("APIC");
	round_trip("MCFG");
	round_trip("HPET");
	run(getenv("KEEP") ? "pwd" : "rm -rf $PWD");
}

/* As many processors as there can be. */
static void test_largest_machine(void **state)
{
	fake_vm_free(vm);
	vm = fake_vm_new(VM_MAX_VCPUS, 2 * MIB);
	for (uint32_t i = 0; i < 4; i++)
		vm->config.devs[i] =
		    (struct config_dev){.kind = CONFIG_UART, .uart_index = (uint8_t)i};
	vm->config.ndevs = 4;
	build();
	for (size_t i = 0; i < ARRAY_LEN(tables); i++)
		assert_sum(table(tables[i]), get_le32(table(tables[i]) + 4));
	assert_int_equal(madt_entry(0, VM_MAX_VCPUS - 1)[3], VM_MAX_VCPUS - 1);
}

int main(void)
{
	const struct CMUnitTest list[] = {
	    cmocka_unit_test_setup_teardown(test_root, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_fadt, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_madt, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_madt_x2apic, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_mcfg, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_hpet, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_generation_id, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_fw_cfg, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_room, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_aml_encodings, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_aml_overflow, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_iasl, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_largest_machine, setup, teardown),
	};

	return cmocka_run_group_tests(list, NULL, NULL);
}
