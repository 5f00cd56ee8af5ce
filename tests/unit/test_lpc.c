/* SPDX-License-Identifier: BSD-2-Clause */
/* The LPC bridge: identity, and the PIRQ router towards the 8259 pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/dev/lpc.c"
#include "hv/dev/pci_bus.c"
#include "tests/unit/fake/fake_virtio.h"

static struct vm *vm;
static struct fake_vm *f;
static struct device *bus, *lpc;
static struct pci_state st[3];
static struct pci_function fn[3]; /* slots 4, 5 and 12: links E, F, E */

static int setup(void **state)
{
	static const unsigned slot[3] = {4, 5, 12};
	static const struct pci_identity id = {.vendor = 1, .device = 2, .intx = true};

	vm = fake_vm_new(1, 0);
	f = fake_of(vm);
	fake_irq_attach(vm);
	bus = fake_device_create(vm, "amber,pci-host", NULL, NULL);
	lpc = fake_device_create(vm, "amber,lpc", NULL, NULL);
	for (unsigned i = 0; i < 3; i++) {
		pci_function_init(&fn[i], vm, "probe", &st[i], &id, NULL, NULL);
		if (pci_function_register(&fn[i], slot[i], NULL))
			return -1;
		pci_function_reset(&fn[i]);
	}
	return bus && lpc ? 0 : -1;
}

static int teardown(void **state)
{
	for (unsigned i = 0; i < 3; i++)
		pci_function_unregister(&fn[i]);
	fake_vm_free(vm);
	return fake_heap_outstanding();
}

static void route(unsigned reg, uint8_t value)
{
	fake_pci_write(vm, PCI_SLOT_LPC, reg, 1, value);
}

static void identity(void **state)
{
	assert_int_equal(fake_pci_read(vm, 31, 0, 4), 0x29188086);
	assert_int_equal(fake_pci_read(vm, 31, 0x08, 4), 0x06010002);
	fake_pci_write(vm, 31, PCI_COMMAND, 2, 0);
	assert_int_equal(fake_pci_read(vm, 31, PCI_COMMAND, 2), 7);
	assert_int_equal(fake_pci_read(vm, 31, 0x60, 4), 0x80808080);
	assert_int_equal(fake_pci_read(vm, 31, 0x68, 4), 0x80808080);
	assert_int_equal(fake_pci_read(vm, 31, 0x44, 1), 0); /* ACPI_CNTL: no PMBASE range */
}

static void not_routed_by_default(void **state)
{
	pci_intx_set(&fn[0], true);
	assert_true(f->ioapic_level[20]);
	for (unsigned i = 0; i < 16; i++)
		assert_false(f->pic_level[i]);
}

static void routed_and_moved(void **state)
{
	route(0x68, 0x0a);
	assert_int_equal(fake_pci_read(vm, 31, 0x68, 1), 0x0a);
	pci_intx_set(&fn[0], true);
	assert_true(f->pic_level[10] && f->ioapic_level[20]);
	route(0x68, 0x0b); /* while asserted */
	assert_false(f->pic_level[10]);
	assert_true(f->pic_level[11]);
	pci_intx_set(&fn[0], false);
	assert_false(f->pic_level[11] || f->ioapic_level[20]);
	route(0x68, 0x8b); /* disabled */
	pci_intx_set(&fn[0], true);
	assert_false(f->pic_level[11]);
	for (unsigned reserved = 0; reserved < 3; reserved++)
		route(0x68, (uint8_t)reserved);
	route(0x68, 8);
	route(0x68, 13);
	for (unsigned i = 0; i < 16; i++)
		assert_false(f->pic_level[i]);
	route(0x68, 0x7f); /* the reserved bits do not stick */
	assert_int_equal(fake_pci_read(vm, 31, 0x68, 1), 0x0f);
	assert_true(f->pic_level[15]);
}

static void two_links_on_one_irq(void **state)
{
	route(0x68, 10);
	route(0x69, 10);
	pci_intx_set(&fn[0], true);
	pci_intx_set(&fn[1], true);
	pci_intx_set(&fn[2], true); /* the same link as the first */
	pci_intx_set(&fn[0], false);
	pci_intx_set(&fn[1], false);
	assert_true(f->pic_level[10]);
	assert_false(f->ioapic_level[21]);
	pci_intx_set(&fn[2], false);
	assert_false(f->pic_level[10]);
}

static void state_keeps_routes(void **state)
{
	struct lpc_state saved, bad;
	struct errmsg e = {""};

	route(0x68, 5);
	pci_intx_set(&fn[0], true);
	assert_int_equal(fake_device_roundtrip(lpc, &e), OK);
	saved = *(struct lpc_state *)lpc->state;
	lpc->model->reset(lpc);
	assert_false(f->pic_level[5]);
	assert_int_equal(fake_device_load(lpc, &saved, &e), OK);
	assert_true(f->pic_level[5]);
	bad = saved;
	bad.pci.config[0x68] = 0x45;
	assert_int_not_equal(fake_device_check(lpc, &bad, &e), OK);
	bad = saved;
	bad.pci.config[PCI_CLASS_CODE + 1] = 2;
	assert_int_not_equal(fake_device_check(lpc, &bad, &e), OK);
}

static void no_memory(void **state)
{
	struct errmsg e = {""};

	fake_heap_fail_after(0);
	assert_null(fake_device_create(vm, "amber,lpc", NULL, &e));
	fake_heap_fail_after(-1);
	/* a second one finds the slot taken */
	assert_null(fake_device_create(vm, "amber,lpc", NULL, &e));
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(identity),
	    T(not_routed_by_default),
	    T(routed_and_moved),
	    T(two_links_on_one_irq),
	    T(state_keeps_routes),
	    T(no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
