/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The MP table as a kernel without ACPI reads it; and that the tables and CPUID tell of the same
 * CPUs.
 */
#include "hv/dev/mp_table.h"

#include "hv/core/memmap.h"
#include "hv/dev/acpi_tables.h"
#include "hv/dev/pci_bus.h"
#include "hv/dev/smbios.h"
#include "hv/lib/cursor.h"
#include "tests/unit/fake/device_test.h"
#include "tests/unit/fake/model.h"

enum { RAM = 2 * MIB, HEADER = 44 };

static struct errmsg msg;
static const uint8_t *table;

static int start(void **state)
{
	vm = model_vm_new(1, 3, 1, RAM, RAM);
	return 0;
}

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s += *p++;
	return s;
}

static struct cpuid_regs cpuid(unsigned cpu, uint32_t leaf, uint32_t sub)
{
	const struct cpuid_dynamic dyn = {.apic_id = vm->vcpus[cpu]->apic_id};

	return cpu_model_cpuid(vm->cpu_model, leaf, sub, &dyn);
}

/* As Linux looks for it (mpparse.c): in the last KiB of base memory, and from 0xf0000 on. */
static void find(void)
{
	table = NULL;
	for (uint64_t at = 0x9fc00; at < 0x100000; at = at == 0x9fff0 ? 0xf0000 : at + 16) {
		const uint8_t *p = fake_of(vm)->ram + at;

		if (memcmp(p, "_MP_", 4) != 0)
			continue;
		assert_null(table);
		assert_int_equal(p[8], 1);
		assert_int_equal(p[9], 4);
		assert_int_equal(sum(p, 16), 0);
		assert_int_equal(p[11] | p[12], 0);
		table = fake_of(vm)->ram + get_le32(p + 4);
	}
	assert_non_null(table);
	assert_memory_equal(table, "PCMP", 4);
	assert_int_equal(sum(table, get_le16(table + 4)), 0);
}

static void build(void)
{
	assert_int_equal(mp_table_build(vm, &msg), OK);
	find();
}

/* The n-th entry of a type, or NULL; entries are in the order of their types. */
static const uint8_t *get(uint8_t type, unsigned n)
{
	const uint8_t *p = table + HEADER, *end = table + get_le16(table + 4), *found = NULL;
	unsigned entries = 0, last = 0;

	for (; p < end; p += *p ? 8 : 20, entries++) {
		assert_true(*p >= last && *p <= 4);
		last = *p;
		if (*p == type && n-- == 0)
			found = p;
	}
	assert_ptr_equal(p, end);
	assert_int_equal(entries, get_le16(table + 34));
	return found;
}

/* The input of the I/O APIC for an interrupt of a bus; *flags gets polarity and trigger mode. */
static unsigned input_of(unsigned bus, unsigned source, unsigned *flags)
{
	unsigned input = 0xff;

	for (unsigned n = 0; get(3, n); n++) {
		const uint8_t *p = get(3, n);

		if (p[4] != bus || p[5] != source)
			continue;
		assert_int_equal(input, 0xff); /* once */
		assert_int_equal(p[1], 0);
		assert_int_equal(p[6], get(2, 0)[1]);
		input = p[7];
		*flags = get_le16(p + 2);
	}
	return input;
}

static void header(void **state)
{
	build();
	assert_int_equal(table[6], 4);
	assert_memory_equal(table + 8, "AMBER   AMBERVM     ", 20);
	assert_int_equal(get_le32(table + 28), 0);
	assert_int_equal(get_le32(table + 36), 0xfee00000);
	assert_int_equal(get_le32(table + 40), 0);
}

static void processors(void **state)
{
	build();
	for (unsigned i = 0; i < 3; i++) {
		const uint8_t *p = get(0, i);

		assert_int_equal(p[1], i);
		assert_int_equal(p[2], 0x14);
		assert_int_equal(p[3], i == 0 ? 3 : 1);
		assert_int_equal(get_le32(p + 4), cpuid(i, 1, 0).eax);
		assert_true(get_le32(p + 8) & 1 << 9); /* APIC */
	}
	assert_null(get(0, 3));
}

static void buses_and_io_apic(void **state)
{
	build();
	assert_memory_equal(get(1, 0) + 1, "\x00PCI   ", 7);
	assert_memory_equal(get(1, 1) + 1, "\x01ISA   ", 7);
	assert_null(get(1, 2));
	assert_memory_equal(get(2, 0) + 1, "\x00\x20\x01\x00\x00\xc0\xfe", 7);
	assert_null(get(2, 1));
}

static void interrupts(void **state)
{
	unsigned flags = 0;

	build();
	for (unsigned irq = 0; irq < 16; irq++) {
		unsigned want = irq == 0 ? 2 : irq == 2 ? 0xff : irq;

		assert_int_equal(input_of(1, irq, &flags), want);
		if (irq != 2)
			assert_int_equal(flags, irq == 9 ? 0xd : 0);
	}
	for (unsigned slot = 1; slot < PCI_SLOTS; slot++)
		for (unsigned pin = 0; pin < 4; pin++) {
			unsigned input = input_of(0, slot << 2 | pin, &flags);

			assert_int_equal(input, pci_intx_gsi(slot, pin));
			assert_int_equal(flags, 0);
		}
	assert_memory_equal(get(4, 0) + 1, "\x03\x00\x00\x01\x00\x00\x00", 7);
	assert_memory_equal(get(4, 1) + 1, "\x01\x00\x00\x01\x00\xff\x01", 7);
	assert_null(get(4, 2));
}

static void x2apic_has_no_place(void **state)
{
	vm->vcpus[2]->apic_id = 255;
	build();
	assert_non_null(get(0, 1));
	assert_null(get(0, 2));
}

static void largest_machine(void **state)
{
	fake_vm_free(vm);
	vm = model_vm_new(1, VM_MAX_VCPUS, 1, RAM, RAM);
	build();
	assert_int_equal(get(0, VM_MAX_VCPUS - 1)[1], VM_MAX_VCPUS - 1);
}

static void memory_that_cannot_be_had(void **state)
{
	fake_of(vm)->gmem_fail_start = MEMMAP_MPTABLE;
	fake_of(vm)->gmem_fail_len = 1;
	assert_int_equal(mp_table_build(vm, &msg), ERR_FAULT);
	assert_string_equal(msg.text, "MP table: cannot write guest memory: bad guest address");
	fake_heap_fail_after(0);
	assert_int_equal(mp_table_build(vm, &msg), ERR_NOMEM);
	fake_heap_fail_after(-1);
}

/* --- one topology ----------------------------------------------------------------------------- */

/* The processors (type 4) of SMBIOS; cores and threads of each are those. */
static unsigned smbios_sockets(unsigned cores, unsigned threads)
{
	const uint8_t *e = fake_of(vm)->ram + MEMMAP_SMBIOS;
	const uint8_t *s = fake_of(vm)->ram + get_le32(e + 24), *end = s + get_le16(e + 22);
	unsigned n = 0;

	while (s < end) {
		if (s[0] == 4) {
			assert_int_equal(s[0x23], cores);
			assert_int_equal(s[0x24], cores);
			assert_int_equal(s[0x25], cores * threads);
			n++;
		}
		for (s += s[1]; s[0] || s[1]; s++)
			;
		s += 2;
	}
	return n;
}

/* The APIC IDs of the MADT: those of the machine, each once. */
static void assert_madt(uint64_t rsdp)
{
	const uint8_t *ram = fake_of(vm)->ram, *xsdt = ram + get_le64(ram + rsdp + 24);
	const uint8_t *madt = ram + get_le64(xsdt + 44);
	unsigned n = 0;

	assert_memory_equal(madt, "APIC", 4);
	for (uint32_t off = 44; off < get_le32(madt + 4); off += madt[off + 1])
		if (madt[off] == 0) {
			assert_int_equal(madt[off + 2], n);
			assert_int_equal(madt[off + 3], vm->vcpus[n]->apic_id);
			n++;
		}
	assert_int_equal(n, vm->nvcpus);
}

/* What leaves 1 and 0Bh say: package and core of each CPU follow from its APIC ID. */
static void assert_cpuid(unsigned sockets, unsigned cores, unsigned threads)
{
	uint64_t packages = 0, cores_of[128] = {0};
	unsigned in_core[128] = {0}, in_package[128] = {0};

	for (unsigned i = 0; i < vm->nvcpus; i++) {
		struct cpuid_regs smt = cpuid(i, 0xb, 0), core = cpuid(i, 0xb, 1);
		uint32_t id = vm->vcpus[i]->apic_id;

		assert_int_equal(smt.edx, id);
		assert_int_equal(cpuid(i, 1, 0).ebx >> 24, id);
		assert_int_equal(cpuid(i, 1, 0).ebx >> 16 & 0xff, cores * threads);
		assert_int_equal(smt.ebx, threads);
		assert_int_equal(core.ebx, cores * threads);
		assert_in_range(id, 0, ARRAY_LEN(in_core) - 1);
		packages |= 1ULL << (id >> core.eax);
		cores_of[id >> core.eax] |= 1ULL << ((id & (BIT(core.eax) - 1)) >> smt.eax);
		in_core[id >> smt.eax]++;
		in_package[id >> core.eax]++;
		/* AMD's way to say the same (APM volume 3, E.4.7) */
		assert_int_equal(cpuid(i, 0x80000008, 0).ecx >> 12 & 0xf, core.eax);
		assert_int_equal(cpuid(i, 0x80000008, 0).ecx & 0xff, cores * threads - 1);
	}
	assert_int_equal(packages, sockets < 64 ? BIT(sockets) - 1 : UINT64_MAX);
	for (unsigned i = 0; i < ARRAY_LEN(in_core); i++) {
		assert_true(!in_core[i] || in_core[i] == threads);
		assert_true(!in_package[i] || in_package[i] == cores * threads);
		assert_true(!in_package[i] || __builtin_popcountll(cores_of[i]) == (int)cores);
	}
}

static void all_tell_of_the_same_cpus(void **state)
{
	static const unsigned all[][3] = {{1, 1, 1}, {2, 1, 1}, {3, 1, 1}, {1, 3, 1}, {1, 6, 2},
	    {1, 1, 2}, {2, 2, 2}, {4, 4, 2}, {3, 4, 1}, {5, 1, 2}, {1, 64, 1}, {64, 1, 1},
	    {1, 5, 4}, {2, 3, 1}, {2, 3, 3}, {3, 5, 3}, {4, 1, 3}, {21, 3, 1}, {3, 2, 9}};

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		unsigned sockets = all[i][0], cores = all[i][1], threads = all[i][2];
		uint64_t rsdp;

		fake_vm_free(vm);
		vm = model_vm_new(sockets, cores, threads, RAM, RAM);
		build();
		assert_int_equal(acpi_tables_build(vm, &rsdp, &msg), OK);
		assert_int_equal(smbios_build(vm, &msg), OK);
		assert_cpuid(sockets, cores, threads);
		assert_madt(rsdp);
		assert_int_equal(smbios_sockets(cores, threads), sockets);
		for (unsigned n = 0; n < vm->nvcpus; n++)
			assert_int_equal(get(0, n)[1], vm->vcpus[n]->apic_id);
		assert_null(get(0, vm->nvcpus));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    DEVICE_TEST(header),
	    DEVICE_TEST(processors),
	    DEVICE_TEST(buses_and_io_apic),
	    DEVICE_TEST(interrupts),
	    DEVICE_TEST(x2apic_has_no_place),
	    DEVICE_TEST(largest_machine),
	    DEVICE_TEST(memory_that_cannot_be_had),
	    DEVICE_TEST(all_tell_of_the_same_cpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
