/* SPDX-License-Identifier: BSD-2-Clause */
/* The generation ID: where it is, when it changes, and what announces that. */
#include "hv/dev/vmgenid.c"

#include "hv/core/e820.h"
#include "tests/unit/fake/device_test.h"

enum { STS = 0x600, GPE_STS = 0x620, GPE_EN = 0x628 };

static struct device *pm;
static struct errmsg msg;

static int start(void **state)
{
	struct errmsg e;

	vm = fake_vm_new(1, 2 * MIB);
	fake_irq_attach(vm);
	pm = fake_device_create(vm, "amber,acpi-pm", NULL, &e);
	dev = fake_device_create(vm, "amber,vmgenid", NULL, &e);
	assert_non_null(pm);
	assert_non_null(dev);
	return 0;
}

static const struct vmgenid_state *st(void)
{
	return dev->state;
}

static const uint8_t *memory(void)
{
	return fake_of(vm)->ram + MEMMAP_VMGENID;
}

static bool in_memory(const uint8_t guid[GUID_BYTES])
{
	return memcmp(memory(), guid, GUID_BYTES) == 0;
}

static void boot(void)
{
	assert_int_equal(vmgenid_boot(vm, &msg), OK);
}

static void renew(void)
{
	assert_int_equal(vmgenid_renew(vm, &msg), OK);
}

/* Reserved for every size of memory, alone in its page, aligned. */
static void lies_where_no_guest_puts_anything(void **state)
{
	static const uint64_t sizes[] = {16 * MIB, 3 * 1024 * MIB, 64 * 1024 * MIB};
	struct e820_entry map[E820_MAX];

	assert_int_equal(MEMMAP_VMGENID % 8, 0);
	assert_true(MEMMAP_VMGENID % PAGE_SIZE >= 40); /* a table's header is looked for before */
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		unsigned n = e820_build(sizes[i], map), reserved = 0;

		for (unsigned k = 0; k < n; k++) {
			bool in = MEMMAP_VMGENID >= map[k].start &&
				  range_in(MEMMAP_VMGENID - map[k].start, GUID_BYTES, map[k].size);

			assert_true(!in || map[k].type == E820_RESERVED);
			reserved += in;
		}
		assert_int_equal(reserved, 1);
	}
}

static void put_there_at_power_on(void **state)
{
	static const uint8_t zeros[GUID_BYTES];
	uint8_t first[GUID_BYTES];

	assert_int_equal(st()->address, 0);
	assert_true(in_memory(zeros));
	boot();
	assert_int_equal(st()->address, MEMMAP_VMGENID);
	assert_false(in_memory(zeros));
	assert_true(in_memory(st()->guid));
	memcpy(first, st()->guid, sizeof(first));
	assert_int_equal(in8(GPE_STS), 0);
	/* the guest resets itself: memory is cleared, the machine is the same */
	memset(fake_of(vm)->ram, 0, 2 * MIB);
	dev->model->reset(dev);
	boot();
	assert_true(in_memory(first));
}

static void another_machine_has_another(void **state)
{
	struct vm *other = fake_vm_new(1, 2 * MIB);
	struct device *d = fake_device_create(other, "amber,vmgenid", NULL, &msg);

	assert_non_null(d);
	assert_memory_not_equal(d->state, dev->state, sizeof(struct vmgenid_state));
	fake_vm_free(other);
}

static void renewed_and_announced_once(void **state)
{
	unsigned edges;
	uint8_t first[GUID_BYTES];

	boot();
	out8(GPE_EN, 1 << ACPI_GPE_VMGENID); /* as a guest that has the method */
	edges = fake_of(vm)->ioapic_edges[ACPI_SCI_GSI];
	memcpy(first, memory(), sizeof(first));
	renew();
	assert_false(in_memory(first));
	assert_true(in_memory(st()->guid));
	assert_int_equal(in8(GPE_STS), 1 << ACPI_GPE_VMGENID);
	assert_int_equal(fake_io_read(vm, STS, 2), 0);
	assert_true(fake_of(vm)->ioapic_level[ACPI_SCI_GSI]);
	assert_int_equal(fake_of(vm)->ioapic_edges[ACPI_SCI_GSI], edges + 1);
	out8(GPE_STS, 1 << ACPI_GPE_VMGENID);
	assert_false(fake_of(vm)->ioapic_level[ACPI_SCI_GSI]);
	pm->model->resume(pm);
	dev->model->resume(dev);
	assert_false(fake_of(vm)->ioapic_level[ACPI_SCI_GSI]);
	memcpy(first, memory(), sizeof(first));
	renew();
	assert_false(in_memory(first));
}

/* A snapshot of before there was the device: the power-on state, and tables that do not tell. */
static void not_announced_to_who_does_not_know(void **state)
{
	uint8_t first[GUID_BYTES], *ram = fake_of(vm)->ram;

	memcpy(first, st()->guid, sizeof(first));
	out8(GPE_EN, 0xff);
	renew();
	for (unsigned i = 0; i < 2 * MIB; i++)
		assert_int_equal(ram[i], 0);
	assert_int_equal(in8(GPE_STS), 0);
	assert_memory_not_equal(st()->guid, first, sizeof(first)); /* after a reset it is told */
	boot();
	assert_true(in_memory(st()->guid));
}

static void memory_that_cannot_be_had(void **state)
{
	boot();
	fake_of(vm)->gmem_fail_start = MEMMAP_VMGENID;
	fake_of(vm)->gmem_fail_len = 1;
	assert_int_equal(vmgenid_renew(vm, &msg), ERR_FAULT);
	assert_string_equal(
	    msg.text, "generation ID: cannot write guest memory: bad guest address");
	assert_int_equal(in8(GPE_STS), 0);
	assert_int_equal(vmgenid_boot(vm, &msg), ERR_FAULT);
	fake_heap_fail_after(0);
	assert_null(fake_device_create(vm, "amber,vmgenid", NULL, &msg));
	assert_string_equal(msg.text, "vmgenid: out of memory");
	fake_heap_fail_after(-1);
}

static void machine_without_the_device(void **state)
{
	struct vm *other = fake_vm_new(1, 0);

	assert_int_equal(vmgenid_boot(other, &msg), OK);
	assert_int_equal(vmgenid_renew(other, &msg), OK);
	fake_vm_free(other);
}

static void roundtrip(void **state)
{
	assert_roundtrip();
	boot();
	assert_roundtrip();
	assert_true(in_memory(st()->guid));
}

static void bad_state_is_refused(void **state)
{
	struct vmgenid_state s = *st();

	s.address = MEMMAP_BIOS_END - 16;
	assert_int_equal(fake_device_check(dev, &s, &msg), OK);
	s.address += 8;
	assert_refused(&s, "address: 0xffff8 is not in the reserved memory");
	s.address = MEMMAP_BIOS - 8;
	assert_refused(&s, "address: 0xdfff8 is not in the reserved memory");
	s.address = UINT64_MAX - 7;
	assert_refused(&s, "not in the reserved memory");
	s.address = MEMMAP_VMGENID + 4;
	assert_refused(&s, "address: 0xff104 is not a multiple of 8");
}

/* --- where firmware puts it ----------------------------------------------------------------- */

static void told(uint64_t address)
{
	put_le64(vmgenid_address_file(vm), address);
	assert_int_equal(vmgenid_told(vm), OK);
}

static void start_firmware(void)
{
	vm->config.boot = BOOT_FIRMWARE;
	vm->config.memory = 2 * MIB;
}

static void where_firmware_tells(void **state)
{
	uint8_t first[GUID_BYTES];
	const uint8_t *at = fake_of(vm)->ram + 0x1ffff0;

	start_firmware();
	boot(); /* low memory is firmware's */
	assert_int_equal(st()->address, 0);
	renew();
	assert_int_equal(in8(GPE_STS), 0);
	told(0x1ffff0);
	assert_int_equal(st()->address, 0x1ffff0);
	assert_memory_equal(at, st()->guid, GUID_BYTES);
	assert_int_equal(memory()[0], 0);
	assert_roundtrip();
	memcpy(first, at, GUID_BYTES);
	renew();
	assert_memory_not_equal(at, first, GUID_BYTES);
	assert_memory_equal(at, st()->guid, GUID_BYTES);
	assert_int_equal(in8(GPE_STS), 1 << ACPI_GPE_VMGENID);
	/* taken back; and the guest resets itself */
	told(0);
	assert_int_equal(st()->address, 0);
	told(0x1ffff0);
	dev->model->reset(dev);
	assert_int_equal(get_le64(vmgenid_address_file(vm)), 0);
}

static void nonsense_is_forgotten(void **state)
{
	static const uint64_t at[] = {0x1ffff4, 0x1ffff8, 2 * MIB, 0x9fff0, MEMMAP_VMGENID,
	    0xfee00000, 0x100000000, UINT64_MAX - 7, UINT64_MAX};
	uint8_t *ram = fake_of(vm)->ram;

	start_firmware();
	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		struct vmgenid_state s = *st();

		told(at[i]);
		assert_int_equal(st()->address, 0);
		s.address = at[i];
		assert_refused(&s, "is not in RAM, or not aligned");
	}
	for (unsigned i = 0; i < 2 * MIB; i++)
		assert_int_equal(ram[i], 0);
	/* what is RAM in the map and cannot be written */
	fake_of(vm)->gmem_fail_start = 0x1ffff0;
	fake_of(vm)->gmem_fail_len = 1;
	told(0x1ffff0);
	assert_int_equal(st()->address, 0);
	/* what can be written later */
	fake_of(vm)->gmem_fail_error = ERR_RETRY;
	put_le64(vmgenid_address_file(vm), 0x1ffff0);
	assert_int_equal(vmgenid_told(vm), ERR_RETRY);
	assert_int_equal(st()->address, 0x1ffff0);
	fake_of(vm)->gmem_fail_len = 0;
	assert_int_equal(vmgenid_told(vm), OK);
	assert_memory_equal(ram + 0x1ffff0, st()->guid, GUID_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    DEVICE_TEST(lies_where_no_guest_puts_anything),
	    DEVICE_TEST(put_there_at_power_on),
	    DEVICE_TEST(another_machine_has_another),
	    DEVICE_TEST(renewed_and_announced_once),
	    DEVICE_TEST(not_announced_to_who_does_not_know),
	    DEVICE_TEST(memory_that_cannot_be_had),
	    DEVICE_TEST(machine_without_the_device),
	    DEVICE_TEST(roundtrip),
	    DEVICE_TEST(bad_state_is_refused),
	    DEVICE_TEST(where_firmware_tells),
	    DEVICE_TEST(nonsense_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
