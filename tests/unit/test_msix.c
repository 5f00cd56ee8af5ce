/* SPDX-License-Identifier: BSD-2-Clause */
/* MSI-X: capability, table, masking with pending bits, state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/dev/msix.h"
#include "hv/dev/pci_bus.c"
#include "tests/unit/fake/fake_virtio.h"

enum { SLOT = 4, NVEC = 3, ENABLE = 0x8000, FUNCTION_MASK = 0x4000 };

static struct vm *vm;
static struct pci_state pci_st;
static struct msix_state msix_st;
static struct pci_function fn;
static struct msix m;
static unsigned cap;
static uint64_t table;

static void config_written(void *ctx, unsigned off, unsigned len)
{
	msix_config_written(&m, off, len);
}

static struct device *bus;

static int setup(void **state)
{
	static const struct pci_identity id = {.vendor = 1, .device = 2, .intx = true};
	static const struct pci_function_ops ops = {.config_written = config_written};

	vm = fake_vm_new(1, 0);
	fake_irq_attach(vm);
	fake_lapics_enable(vm);
	bus = fake_device_create(vm, "amber,pci-host", NULL, NULL);
	if (!bus)
		return -1;
	pci_function_init(&fn, vm, "probe", &pci_st, &id, &ops, NULL);
	fn.dev = bus; /* somebody has to count */
	msix_init(&m, &fn, &msix_st, NVEC, 1);
	if (pci_function_register(&fn, SLOT, NULL))
		return -1;
	msix_reset(&m);
	pci_function_reset(&fn);
	cap = fake_pci_read(vm, SLOT, PCI_CAP_PTR, 1);
	table = fake_pci_read(vm, SLOT, PCI_BAR0 + 4, 4);
	return 0;
}

static int teardown(void **state)
{
	pci_function_unregister(&fn);
	fake_vm_free(vm);
	return 0;
}

static void control(uint16_t value)
{
	fake_pci_write(vm, SLOT, cap + 2, 2, value);
}

static void vector(unsigned v, uint32_t data, uint32_t ctl)
{
	fake_mmio_write(vm, table + 16 * v, 4, 0xfee00003); /* the low bits do not stick */
	fake_mmio_write(vm, table + 16 * v + 4, 4, 0);
	fake_mmio_write(vm, table + 16 * v + 8, 8, data | (uint64_t)ctl << 32);
}

static uint64_t pending(void)
{
	return fake_mmio_read(vm, table + MSIX_PBA_OFFSET, 8);
}

static void capability(void **state)
{
	assert_int_equal(fake_pci_read(vm, SLOT, cap, 1), PCI_CAP_MSIX);
	assert_int_equal(fake_pci_read(vm, SLOT, cap + 2, 2), NVEC - 1);
	assert_int_equal(fake_pci_read(vm, SLOT, cap + 4, 4), 1);
	assert_int_equal(fake_pci_read(vm, SLOT, cap + 8, 4), MSIX_PBA_OFFSET | 1);
	control(0xffff);
	assert_int_equal(fake_pci_read(vm, SLOT, cap + 2, 2), 0xc000 | (NVEC - 1));
}

static void table_accesses(void **state)
{
	assert_int_equal(fake_mmio_read(vm, table + 12, 4), 1); /* masked after reset */
	vector(1, 0x51, 0xffffffff);
	assert_int_equal(fake_mmio_read(vm, table + 16, 4), 0xfee00000);
	assert_int_equal(fake_mmio_read(vm, table + 24, 8), 0x100000051ull);
	assert_int_equal(fake_mmio_read(vm, table + 24, 2), 0); /* undefined by the spec */
	fake_mmio_write(vm, table + 24, 2, 0x99);
	assert_int_equal(fake_mmio_read(vm, table + 24, 4), 0x51);
	fake_mmio_write(vm, table + 16 * NVEC, 4, 0x123); /* beyond the table */
	assert_int_equal(fake_mmio_read(vm, table + 16 * NVEC, 4), 0);
	fake_mmio_write(vm, table + MSIX_PBA_OFFSET, 4, 7); /* read-only */
	assert_int_equal(pending(), 0);
}

static void delivered(void **state)
{
	vector(0, 0x50, 0);
	control(ENABLE);
	assert_true(msix_enabled(&m));
	msix_raise(&m, 0);
	assert_int_equal(fake_lapic_take(vm, 0), 0x50);
	msix_raise(&m, NVEC);
	msix_raise(&m, 1000);
	assert_int_equal(fake_lapic_take(vm, 0), -1);
	assert_int_equal(pending(), 0);
}

static void masked_vector_stays_pending(void **state)
{
	vector(0, 0x50, 1);
	vector(1, 0x51, 0);
	control(ENABLE);
	msix_raise(&m, 0);
	msix_raise(&m, 1);
	assert_int_equal(pending(), 1);
	assert_int_equal(fake_lapic_take(vm, 0), 0x51);
	assert_int_equal(fake_lapic_take(vm, 0), -1);
	fake_mmio_write(vm, table + 12, 4, 0);
	assert_int_equal(fake_lapic_take(vm, 0), 0x50);
	assert_int_equal(pending(), 0);
}

static void masked_function_stays_pending(void **state)
{
	vector(0, 0x50, 0);
	vector(2, 0x52, 0);
	control(ENABLE | FUNCTION_MASK);
	msix_raise(&m, 0);
	msix_raise(&m, 2);
	assert_int_equal(pending(), 5);
	assert_int_equal(fake_lapic_take(vm, 0), -1);
	control(ENABLE);
	assert_int_equal(fake_lapic_take(vm, 0), 0x52);
	assert_int_equal(fake_lapic_take(vm, 0), 0x50);
}

static void takes_the_place_of_intx(void **state)
{
	pci_intx_set(&fn, true);
	assert_true(fake_of(vm)->ioapic_level[20]);
	control(ENABLE);
	assert_false(fake_of(vm)->ioapic_level[20]);
	assert_false(fake_pci_read(vm, SLOT, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	control(0);
	assert_true(fake_of(vm)->ioapic_level[20]);
	pci_intx_set(&fn, false);
}

static void state_checks(void **state)
{
	struct msix_state st;
	struct errmsg e = {""};

	vector(0, 0x50, 1);
	control(ENABLE);
	msix_raise(&m, 0);
	st = msix_st;
	assert_int_equal(msix_check(&m, &st, &e), OK);
	st.pending = 8;
	assert_int_not_equal(msix_check(&m, &st, &e), OK);
	st.pending = 0;
	st.address[7] = 2;
	assert_int_not_equal(msix_check(&m, &st, &e), OK);
	/* pending and unmasked in a saved state: sent on resume, not lost */
	msix_st.control[0] = 0;
	msix_resume(&m);
	assert_int_equal(fake_lapic_take(vm, 0), 0x50);
	msix_reset(&m);
	assert_int_equal(msix_st.address[0], 0);
	assert_int_equal(msix_st.control[0], 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(capability),
	    T(table_accesses),
	    T(delivered),
	    T(masked_vector_stays_pending),
	    T(masked_function_stays_pending),
	    T(takes_the_place_of_intx),
	    T(state_checks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
