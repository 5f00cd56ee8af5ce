/* SPDX-License-Identifier: BSD-2-Clause */
/* The PCI bus: both configuration mechanisms, sizing and moving of BARs, INTx sharing, state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/dev/pci_bus.c"
#include "hv/lib/cursor.h"
#include "tests/unit/fake/fake_virtio.h"

/* A function with one register, to look at the bus with. */
struct probe {
	struct pci_state st;
	struct pci_function f;
	uint64_t last_write;
	unsigned written;
};

static void probe_read(void *ctx, uint64_t offset, unsigned len, uint64_t *value)
{
	*value = 0xab00 + offset;
}

static void probe_write(void *ctx, uint64_t offset, unsigned len, uint64_t value)
{
	((struct probe *)ctx)->last_write = value;
}

static void probe_config_written(void *ctx, unsigned off, unsigned len)
{
	((struct probe *)ctx)->written++;
}

static const struct io_handler probe_ops = {.read = probe_read, .write = probe_write};
static const struct pci_function_ops probe_pci_ops = {.config_written = probe_config_written};
static const struct pci_identity probe_id = {
    .vendor = 0x1234, .device = 0x5678, .class_code = 0xff0000, .intx = true};

static struct vm *vm;
static struct device *bus;

static int setup(void **state)
{
	vm = fake_vm_new(1, 0);
	fake_irq_attach(vm);
	bus = fake_device_create(vm, "amber,pci-host", NULL, NULL);
	return bus ? 0 : -1;
}

static int teardown(void **state)
{
	fake_vm_free(vm);
	return fake_heap_outstanding();
}

static void add_probe(struct probe *p, unsigned slot, uint32_t size)
{
	struct errmsg e = {""};

	memset(p, 0, sizeof(*p));
	pci_function_init(&p->f, vm, "probe", &p->st, &probe_id, &probe_pci_ops, p);
	pci_function_add_bar(&p->f, 0, size, &probe_ops, p);
	assert_int_equal(pci_function_register(&p->f, slot, &e), OK);
	pci_function_reset(&p->f);
}

static void mechanism_1(void **state)
{
	/* what Linux does to find out that it exists */
	fake_io_write(vm, 0xcfb, 1, 0x01);
	fake_io_write(vm, 0xcf8, 4, 0x80000000);
	assert_int_equal(fake_io_read(vm, 0xcf8, 4), 0x80000000);
	assert_int_equal(fake_io_read(vm, 0xcfc, 4), 0x29c08086);
	assert_int_equal(fake_io_read(vm, 0xcfc, 2), 0x8086);
	assert_int_equal(fake_io_read(vm, 0xcfe, 2), 0x29c0);
	assert_int_equal(fake_io_read(vm, 0xcff, 1), 0x29);
	assert_int_equal(fake_pci_read(vm, 0, PCI_CLASS_CODE, 1), 0x00);
	assert_int_equal(fake_pci_read(vm, 0, 0x0a, 2), 0x0600);
	/* nobody: another slot, function, bus; or the mechanism is off */
	assert_int_equal(fake_pci_read(vm, 5, 0, 4), 0xffffffff);
	fake_io_write(vm, 0xcf8, 4, 0x80000100);
	assert_int_equal(fake_io_read(vm, 0xcfc, 4), 0xffffffff);
	fake_io_write(vm, 0xcf8, 4, 0x80010000);
	assert_int_equal(fake_io_read(vm, 0xcfc, 4), 0xffffffff);
	fake_io_write(vm, 0xcf8, 4, 0x00000000);
	assert_int_equal(fake_io_read(vm, 0xcfc, 4), 0xffffffff);
	/* reserved bits of the address register are zero */
	fake_io_write(vm, 0xcf8, 4, 0xffffffff);
	assert_int_equal(fake_io_read(vm, 0xcf8, 4), 0x80fffffc);
}

static void ecam(void **state)
{
	assert_int_equal(fake_mmio_read(vm, PCI_ECAM_BASE, 4), 0x29c08086);
	assert_int_equal(fake_mmio_read(vm, PCI_ECAM_BASE + 2, 1), 0xc0);
	assert_true(fake_mmio_read(vm, PCI_ECAM_BASE, 8) >> 32 == 0);
	/* no extended space: so Linux leaves it alone */
	assert_int_equal(fake_mmio_read(vm, PCI_ECAM_BASE + 0x100, 4), 0xffffffff);
	assert_int_equal(fake_mmio_read(vm, PCI_ECAM_BASE + 0xfe, 4), 0xffffffff);
	assert_int_equal(fake_mmio_read(vm, PCI_ECAM_BASE + (1 << 15), 4), 0xffffffff);
	assert_int_equal(fake_mmio_read(vm, PCI_ECAM_BASE + (1 << 12), 4), 0xffffffff);
	fake_mmio_write(vm, PCI_ECAM_BASE, 4, 0);
	fake_mmio_write(vm, PCI_ECAM_BASE + 0xffe, 4, 0);
	assert_int_equal(fake_mmio_read(vm, PCI_ECAM_BASE, 4), 0x29c08086);
	assert_false(fake_mmio_claimed(vm, PCI_ECAM_BASE + PCI_ECAM_SIZE));
}

static void reset_control(void **state)
{
	fake_io_write(vm, 0xcf9, 1, 0x02);
	assert_int_equal(fake_of(vm)->reset_requests, 0);
	fake_io_write(vm, 0xcf9, 1, 0x06);
	assert_int_equal(fake_of(vm)->reset_requests, 1);
	assert_int_equal(fake_io_read(vm, 0xcf9, 1), 0x06);
	fake_io_write(vm, 0xcf9, 1, 0x0e); /* not an edge */
	assert_int_equal(fake_of(vm)->reset_requests, 1);
}

static void bar_is_assigned_sized_and_moved(void **state)
{
	struct probe p;

	add_probe(&p, 3, 0x4000);
	assert_int_equal(fake_pci_read(vm, 3, PCI_BAR0, 4), PCI_HOLE_BASE);
	assert_int_equal(fake_pci_read(vm, 3, PCI_COMMAND, 2), PCI_COMMAND_MEMORY);
	assert_int_equal(fake_mmio_read(vm, PCI_HOLE_BASE + 4, 4), 0xab04);
	/* sizing as Linux does it, decoding switched off */
	fake_pci_write(vm, 3, PCI_COMMAND, 2, 0);
	assert_false(fake_mmio_claimed(vm, PCI_HOLE_BASE));
	fake_pci_write(vm, 3, PCI_BAR0, 4, 0xffffffff);
	assert_int_equal(fake_pci_read(vm, 3, PCI_BAR0, 4), 0xffffc000);
	fake_pci_write(vm, 3, PCI_BAR0 + 4, 4, 0xffffffff);
	assert_int_equal(fake_pci_read(vm, 3, PCI_BAR0 + 4, 4), 0);
	fake_pci_write(vm, 3, PCI_BAR0, 4, 0xd0000000);
	fake_pci_write(vm, 3, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_int_equal(fake_mmio_read(vm, 0xd0000008, 4), 0xab08);
	assert_false(fake_mmio_claimed(vm, PCI_HOLE_BASE));
	/* sizing with decoding left on must not put it over the I/O APIC or beyond */
	fake_pci_write(vm, 3, PCI_BAR0, 4, 0xffffffff);
	assert_false(fake_mmio_claimed(vm, 0xffffc000));
	assert_false(fake_mmio_claimed(vm, 0xd0000000));
	/* byte by byte */
	fake_pci_write(vm, 3, PCI_BAR0 + 3, 1, 0xc8);
	fake_pci_write(vm, 3, PCI_BAR0 + 2, 1, 0);
	fake_pci_write(vm, 3, PCI_BAR0 + 1, 1, 0);
	assert_int_equal(fake_mmio_read(vm, 0xc8000000, 4), 0xab00);
	pci_function_unregister(&p.f);
	assert_false(fake_mmio_claimed(vm, 0xc8000000));
	assert_int_equal(fake_pci_read(vm, 3, 0, 4), 0xffffffff);
}

static void overlapping_bars(void **state)
{
	struct probe a, b;

	add_probe(&a, 3, 0x1000);
	add_probe(&b, 4, 0x10000);
	assert_int_equal(fake_pci_read(vm, 4, PCI_BAR0, 4), PCI_HOLE_BASE + 0x10000);
	fake_mmio_write(vm, PCI_HOLE_BASE, 4, 1);
	fake_pci_write(vm, 4, PCI_BAR0, 4, PCI_HOLE_BASE); /* on top of the first, which stays */
	fake_mmio_write(vm, PCI_HOLE_BASE, 4, 2);
	assert_int_equal(a.last_write, 2);
	fake_pci_write(vm, 3, PCI_BAR0, 4, 0xe0000000); /* out of the way */
	fake_mmio_write(vm, PCI_HOLE_BASE, 4, 3);
	assert_int_equal(b.last_write, 3);
	pci_function_unregister(&a.f);
	pci_function_unregister(&b.f);
}

static void slots(void **state)
{
	struct probe a, b, c;
	struct errmsg e = {""};

	vm->config.ndevs = 1;
	vm->config.devs[0].pci_slot = 5;
	add_probe(&a, 0, 0x1000);
	add_probe(&b, 0, 0x1000);
	assert_int_equal(a.f.slot, 4);
	assert_int_equal(b.f.slot, 6); /* 5 is promised to somebody */
	memset(&c, 0, sizeof(c));
	pci_function_init(&c.f, vm, "c", &c.st, &probe_id, NULL, NULL);
	assert_int_equal(pci_function_register(&c.f, 4, &e), ERR_EXIST);
	assert_string_equal(e.text, "PCI slot 4 is taken by probe");
	assert_int_equal(pci_function_register(&c.f, 32, &e), ERR_FULL);
	pci_function_unregister(&c.f);
	pci_function_add_bar(&c.f, 0, 0x80000000, &probe_ops, NULL);
	assert_int_equal(pci_function_register(&c.f, 9, &e), ERR_FULL);
	pci_function_unregister(&a.f);
	pci_function_unregister(&b.f);
}

static void intx_is_shared(void **state)
{
	struct fake_vm *f = fake_of(vm);
	struct probe a, b;

	add_probe(&a, 3, 0x1000);
	add_probe(&b, 11, 0x1000); /* the same link: slot modulo 8 */
	assert_int_equal(pci_intx_gsi(3, 0), 19);
	assert_int_equal(pci_intx_gsi(11, 0), 19);
	assert_int_equal(pci_intx_gsi(7, 1), 16);
	pci_intx_set(&a.f, true);
	assert_true(f->ioapic_level[19]);
	assert_true(fake_pci_read(vm, 3, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	assert_false(fake_pci_read(vm, 11, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	pci_intx_set(&b.f, true);
	pci_intx_set(&a.f, false);
	pci_intx_set(&a.f, false);
	assert_true(f->ioapic_level[19]);
	/* the disable bit gates the pin and not the status */
	fake_pci_write(vm, 11, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	assert_false(f->ioapic_level[19]);
	assert_true(fake_pci_read(vm, 11, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	fake_pci_write(vm, 11, PCI_COMMAND, 2, 0);
	assert_true(f->ioapic_level[19]);
	pci_function_unregister(&b.f);
	assert_false(f->ioapic_level[19]);
	pci_function_unregister(&a.f);
}

static void line_is_driven_again_on_resume(void **state)
{
	struct fake_vm *f = fake_of(vm);
	struct probe a;

	add_probe(&a, 3, 0x1000);
	pci_intx_set(&a.f, true);
	f->ioapic_level[19] = false; /* the I/O APIC was restored with another idea */
	pci_function_resume(&a.f);
	assert_true(f->ioapic_level[19]);
	f->ioapic_level[19] = false;
	bus->model->resume(bus);
	assert_true(f->ioapic_level[19]);
	pci_function_unregister(&a.f);
}

static void write_masks(void **state)
{
	struct probe a;

	add_probe(&a, 3, 0x1000);
	a.f.w1c[0x50] = 0xf0;
	a.st.config[0x50] = 0xff;
	a.written = 0;
	fake_pci_write(vm, 3, 0x50, 1, 0x1f);
	assert_int_equal(a.st.config[0x50], 0xef);
	assert_int_equal(a.written, 1);
	fake_pci_write(vm, 3, 0x00, 4, 0);
	assert_int_equal(fake_pci_read(vm, 3, 0, 4), 0x56781234);
	fake_pci_write(vm, 3, PCI_INTERRUPT_LINE, 2, 0x0b0b);
	assert_int_equal(fake_pci_read(vm, 3, PCI_INTERRUPT_LINE, 2), 0x010b);
	a.st.config[0x50] = 0;
	pci_function_unregister(&a.f);
}

static void capabilities_end(void **state)
{
	struct probe a;
	uint8_t body[64] = {0};
	unsigned n = 0;

	memset(&a, 0, sizeof(a));
	pci_function_init(&a.f, vm, "a", &a.st, &probe_id, NULL, NULL);
	while (pci_function_add_cap(&a.f, PCI_CAP_VENDOR, body, 40))
		n++;
	assert_int_equal(n, 4); /* 0x40 + 4 * 40 = 0xe0 */
	assert_int_equal(pci_function_add_cap(&a.f, PCI_CAP_VENDOR, body, 1), 0);
	assert_int_equal(pci_function_add_cap(&a.f, PCI_CAP_VENDOR, body, 1000), 0);
	assert_int_equal(a.f.initial[PCI_CAP_PTR], 0x40);
	assert_int_equal(a.f.initial[0x41], 0x68);
}

static void state_roundtrip_and_refusals(void **state)
{
	struct pci_host_state st;
	struct errmsg e = {""};

	fake_io_write(vm, 0xcf8, 4, 0x80001234);
	assert_int_equal(fake_device_roundtrip(bus, &e), OK);
	assert_int_equal(fake_io_read(vm, 0xcf8, 4), 0x80001234);
	st = *(struct pci_host_state *)bus->state;
	st.config_address = 0x7f000000;
	assert_int_not_equal(fake_device_check(bus, &st, &e), OK);
	st = *(struct pci_host_state *)bus->state;
	st.reset_control = 0x80;
	assert_int_not_equal(fake_device_check(bus, &st, &e), OK);
	st = *(struct pci_host_state *)bus->state;
	st.pci.config[PCI_DEVICE_ID] ^= 1;
	assert_int_not_equal(fake_device_check(bus, &st, &e), OK);
	assert_non_null(strstr(e.text, "byte 0x02"));
}

static void function_state(void **state)
{
	struct probe a;
	struct pci_state st;
	struct errmsg e = {""};

	add_probe(&a, 3, 0x1000);
	st = a.st;
	put_le32(st.config + PCI_BAR0, 0xc4560000);
	st.config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	assert_int_equal(pci_function_check(&a.f, &st, &e), OK);
	a.st = st;
	pci_function_loaded(&a.f);
	assert_true(fake_mmio_claimed(vm, 0xc4560000));
	assert_false(fake_mmio_claimed(vm, PCI_HOLE_BASE));
	/* computed, not believed */
	assert_false(fake_pci_read(vm, 3, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	st.config[PCI_BAR0] = 1;
	assert_int_not_equal(pci_function_check(&a.f, &st, &e), OK);
	pci_function_reset(&a.f);
	assert_true(fake_mmio_claimed(vm, PCI_HOLE_BASE));
	pci_function_unregister(&a.f);
}

static void no_bus_no_function(void **state)
{
	struct vm *bare = fake_vm_new(1, 0);
	struct pci_state st;
	struct pci_function f;
	struct errmsg e;

	pci_function_init(&f, bare, "f", &st, &probe_id, NULL, NULL);
	assert_int_equal(pci_function_register(&f, 3, &e), ERR_STATE);
	pci_function_unregister(&f);
	fake_heap_fail_after(0);
	assert_null(fake_device_create(bare, "amber,pci-host", NULL, &e));
	fake_heap_fail_after(-1);
	fake_vm_free(bare);
}

/* A machine that firmware starts has ECAM where PCIEXBAR says. */
static void ecam_moves(void **state)
{
	static const struct {
		uint32_t low, high;
		uint64_t at, size; /* size 0: nowhere */
	} rows[] = {
	    {0xe0000001, 0, 0xe0000000, 256 * MIB},
	    {0xe8000003, 0, 0xe8000000, 128 * MIB},
	    {0xec000005, 0, 0xec000000, 64 * MIB},
	    {0xec000001, 0, 0xe0000000, 256 * MIB},
	    {0xe0000007, 0, 0, 0},
	    {0xe0000000, 0, 0, 0},
	    {0x10000001, 0xf, 0xf10000000, 256 * MIB},
	};
	struct vm *fw = fake_vm_new(1, 0);

	fw->config.boot = BOOT_FIRMWARE;
	assert_non_null(fake_device_create(fw, "amber,pci-host", NULL, NULL));
	assert_false(fake_mmio_claimed(fw, PCI_ECAM_BASE));
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		fake_pci_write(fw, 0, MCH_PCIEXBAR, 4, 0);
		fake_pci_write(fw, 0, MCH_PCIEXBAR + 4, 4, rows[i].high);
		fake_pci_write(fw, 0, MCH_PCIEXBAR, 4, rows[i].low);
		if (!rows[i].size) {
			assert_false(fake_mmio_claimed(fw, 0xe0000000));
			continue;
		}
		assert_int_equal(fake_mmio_read(fw, rows[i].at, 4), 0x29c08086);
		assert_int_equal(fake_mmio_read(fw, rows[i].at + MIB, 4), 0xffffffff);
		assert_true(fake_mmio_claimed(fw, rows[i].at + rows[i].size - 1));
		assert_false(fake_mmio_claimed(fw, rows[i].at + rows[i].size));
	}
	fake_vm_free(fw);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(mechanism_1),
	    T(ecam),
	    T(ecam_moves),
	    T(reset_control),
	    T(bar_is_assigned_sized_and_moved),
	    T(overlapping_bars),
	    T(slots),
	    T(intx_is_shared),
	    T(line_is_driven_again_on_resume),
	    T(write_masks),
	    T(capabilities_end),
	    T(state_roundtrip_and_refusals),
	    T(function_state),
	    T(no_bus_no_function),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
