/* SPDX-License-Identifier: BSD-2-Clause */
/* The I/O APIC against the 82093AA datasheet. */
#include "hv/dev/ioapic.c"

#include "tests/unit/fake/device_test.h"

#define LEVEL	  (1U << 15)
#define MASKED	  (1U << 16)
#define REMOTE	  (1U << 14)
#define MMIO_BASE 0xfec00000ULL

static int start(void **state)
{
	device_test_start(2, "amber,ioapic", NULL);
	fake_lapics_enable(vm);
	return 0;
}

static uint32_t rd(uint8_t reg)
{
	fake_mmio_write(vm, MMIO_BASE, 4, reg);
	return (uint32_t)fake_mmio_read(vm, MMIO_BASE + 0x10, 4);
}

static void wr(uint8_t reg, uint32_t v)
{
	fake_mmio_write(vm, MMIO_BASE, 4, reg);
	fake_mmio_write(vm, MMIO_BASE + 0x10, 4, v);
}

static void set_rte(unsigned pin, uint8_t dest, uint32_t low)
{
	wr((uint8_t)(0x11 + 2 * pin), (uint32_t)dest << 24);
	wr((uint8_t)(0x10 + 2 * pin), low);
}

static uint32_t rte_low(unsigned pin)
{
	return rd((uint8_t)(0x10 + 2 * pin));
}

/* Services an interrupt that must be pending: accept, no EOI. */
static void accept_vector(unsigned cpu, int vector)
{
	struct vlapic *l = &vm->vcpus[cpu]->lapic;

	assert_int_equal(vlapic_pending(l), vector);
	vlapic_accept(l, vector);
}

static void eoi(unsigned cpu)
{
	vlapic_mmio_write(&vm->vcpus[cpu]->lapic, APIC_EOI * 16, 4, 0);
}

static void registers(void **state)
{
	assert_int_equal(rd(1), 0x00170020);
	assert_int_equal(rd(0), 0);
	wr(0, 0xffffffff);
	assert_int_equal(rd(0), 0x0f000000);
	assert_int_equal(rd(2), 0x0f000000); /* arbitration follows the ID */
	wr(1, 0xffffffff);
	assert_int_equal(rd(1), 0x00170020);
	for (unsigned pin = 0; pin < 24; pin++)
		assert_int_equal(rte_low(pin), MASKED);
	assert_int_equal(rd(0x40), 0);
	wr(0x40, 0xffffffff);
	assert_int_equal(fake_mmio_read(vm, MMIO_BASE, 4), 0x40);
	assert_int_equal(fake_mmio_read(vm, MMIO_BASE + 0x20, 4), 0);
}

static void reserved_bits(void **state)
{
	set_rte(23, 0xff, 0xffffffff);
	assert_int_equal(rte_low(23), 0x0001afff);
	assert_int_equal(rd(0x11 + 46), 0xff000000);
}

static void edge_pin(void **state)
{
	set_rte(4, 1, 0x34);
	irq_line_set(vm, 4, true);
	accept_vector(1, 0x34);
	irq_line_set(vm, 4, true); /* no edge */
	eoi(1);
	assert_int_equal(fake_lapic_take(vm, 1), -1);
	irq_line_set(vm, 4, false);
	irq_line_set(vm, 4, true);
	accept_vector(1, 0x34);
	assert_int_equal(rte_low(4), 0x34);
}

static void timer_line_is_pin_2(void **state)
{
	set_rte(2, 0, 0x30);
	irq_line_set(vm, 0, true);
	assert_int_equal(fake_lapic_take(vm, 0), 0x30);
}

/* The 8259's output, on its way to any CPU as ExtINT (82093AA, 3.2.4). */
static void intr_is_pin_0(void **state)
{
	struct ioapic_state s;

	fake_of(vm)->pic_vector = 0x35;
	irq_extint_set(vm, true);
	assert_int_equal(vlapic_pending(&vm->vcpus[1]->lapic), -1); /* masked: the edge is lost */
	irq_extint_set(vm, false);
	set_rte(0, 1, DELIVERY_EXTINT << 8);
	irq_extint_set(vm, true);
	assert_int_equal(vlapic_pending(&vm->vcpus[0]->lapic), -1);
	assert_int_equal(vlapic_pending(&vm->vcpus[1]->lapic), VLAPIC_EXTINT);
	assert_int_equal(vlapic_accept(&vm->vcpus[1]->lapic, VLAPIC_EXTINT), 0x35);
	s = *(struct ioapic_state *)dev->state;
	assert_int_equal(s.lines, 1 << 0);
	irq_extint_set(vm, false);
	assert_int_equal(((struct ioapic_state *)dev->state)->lines, 0);
}

static void masked_edge_is_ignored(void **state)
{
	set_rte(4, 0, MASKED | 0x34);
	irq_line_set(vm, 4, true);
	set_rte(4, 0, 0x34);
	assert_int_equal(fake_lapic_take(vm, 0), -1);
}

static void level_pin_asks_until_it_falls(void **state)
{
	set_rte(9, 0, LEVEL | 0x39);
	irq_line_set(vm, 9, true);
	assert_int_equal(rte_low(9), LEVEL | REMOTE | 0x39);
	accept_vector(0, 0x39);
	irq_line_set(vm, 9, false);
	irq_line_set(vm, 9, true); /* remote IRR holds it back */
	assert_int_equal(fake_lapic_take(vm, 0), -1);
	eoi(0);
	accept_vector(0, 0x39);
	irq_line_set(vm, 9, false);
	eoi(0);
	assert_int_equal(rte_low(9), LEVEL | 0x39);
	assert_int_equal(fake_lapic_take(vm, 0), -1);
}

static void masked_level_waits(void **state)
{
	set_rte(9, 0, MASKED | LEVEL | 0x39);
	irq_line_set(vm, 9, true);
	assert_int_equal(fake_lapic_take(vm, 0), -1);
	set_rte(9, 0, LEVEL | 0x39);
	accept_vector(0, 0x39);
	set_rte(9, 0, MASKED | LEVEL | 0x39); /* masked while in service */
	assert_int_equal(rte_low(9), MASKED | LEVEL | REMOTE | 0x39);
	eoi(0);
	assert_int_equal(rte_low(9), MASKED | LEVEL | 0x39);
	set_rte(9, 0, LEVEL | 0x39);
	accept_vector(0, 0x39);
}

static void eoi_register(void **state)
{
	set_rte(9, 0, LEVEL | 0x39);
	vlapic_mmio_write(&vm->vcpus[0]->lapic, APIC_SVR * 16, 4, 0x11ff); /* no broadcast */
	irq_line_set(vm, 9, true);
	accept_vector(0, 0x39);
	irq_line_set(vm, 9, false);
	eoi(0);
	assert_int_equal(rte_low(9), LEVEL | REMOTE | 0x39);
	fake_mmio_write(vm, MMIO_BASE + 0x40, 4, 0x38); /* another vector's */
	assert_int_equal(rte_low(9), LEVEL | REMOTE | 0x39);
	fake_mmio_write(vm, MMIO_BASE + 0x40, 4, 0x39);
	assert_int_equal(rte_low(9), LEVEL | 0x39);
}

static void edge_mode_clears_remote_irr(void **state)
{
	set_rte(9, 0, LEVEL | 0x39);
	irq_line_set(vm, 9, true);
	set_rte(9, 0, MASKED | 0x39);
	assert_int_equal(rte_low(9), MASKED | 0x39);
}

static void untaken_level_is_not_lost(void **state)
{
	vlapic_mmio_write(&vm->vcpus[1]->lapic, APIC_SVR * 16, 4, 0xff); /* disabled */
	set_rte(9, 1, LEVEL | 0x39);
	irq_line_set(vm, 9, true);
	assert_int_equal(rte_low(9), LEVEL | 0x39); /* nobody took it */
	vlapic_mmio_write(&vm->vcpus[1]->lapic, APIC_SVR * 16, 4, 0x1ff);
	irq_line_set(vm, 9, true);
	accept_vector(1, 0x39);
}

static void shared_vector(void **state)
{
	set_rte(16, 0, LEVEL | 0x50);
	set_rte(17, 0, LEVEL | 0x50);
	irq_line_set(vm, 16, true);
	irq_line_set(vm, 17, true);
	accept_vector(0, 0x50);
	irq_line_set(vm, 16, false);
	eoi(0);
	accept_vector(0, 0x50); /* 17 still asks */
	irq_line_set(vm, 17, false);
	eoi(0);
	assert_int_equal(fake_lapic_take(vm, 0), -1);
}

static void nmi_and_logical(void **state)
{
	set_rte(5, 1, 0x400);
	irq_line_set(vm, 5, true);
	assert_int_equal(vm->vcpus[1]->state.apic.nmi_pending, 1);
	vlapic_mmio_write(&vm->vcpus[1]->lapic, APIC_LDR * 16, 4, 2 << 24);
	set_rte(6, 2, 0x836);
	irq_line_set(vm, 6, true);
	assert_int_equal(fake_lapic_take(vm, 1), 0x36);
}

static void roundtrip(void **state)
{
	set_rte(9, 0, LEVEL | 0x39);
	set_rte(4, 1, 0x34);
	irq_line_set(vm, 9, true);
	irq_line_set(vm, 4, true);
	rd(0x10);
	assert_roundtrip();
	accept_vector(0, 0x39);
	accept_vector(1, 0x34);
	assert_int_equal(fake_lapic_take(vm, 1), -1);
	eoi(0);
	accept_vector(0, 0x39);
}

/* A line that is asserted and not yet sent goes out when the machine runs again. */
static void resume_sends_what_waits(void **state)
{
	struct ioapic_state s;

	set_rte(9, 0, LEVEL | 0x39);
	s = *(struct ioapic_state *)dev->state;
	s.lines = 1 << 9;
	assert_int_equal(fake_device_load(dev, &s, NULL), OK);
	accept_vector(0, 0x39);
}

static void bad_state_is_refused(void **state)
{
	struct ioapic_state good = *(struct ioapic_state *)dev->state, s = good;

	s.redirection[20] |= 1 << 12;
	assert_refused(&s, "redirection entry 20: reserved bits set");
	s = good;
	s.redirection[3] |= REMOTE;
	assert_refused(&s, "remote IRR set on an edge input");
	s = good;
	s.id = 1;
	assert_refused(&s, "id");
	s = good;
	s.lines = 1 << 24;
	assert_refused(&s, "lines");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    DEVICE_TEST(registers),
	    DEVICE_TEST(reserved_bits),
	    DEVICE_TEST(edge_pin),
	    DEVICE_TEST(timer_line_is_pin_2),
	    DEVICE_TEST(intr_is_pin_0),
	    DEVICE_TEST(masked_edge_is_ignored),
	    DEVICE_TEST(level_pin_asks_until_it_falls),
	    DEVICE_TEST(masked_level_waits),
	    DEVICE_TEST(eoi_register),
	    DEVICE_TEST(edge_mode_clears_remote_irr),
	    DEVICE_TEST(untaken_level_is_not_lost),
	    DEVICE_TEST(shared_vector),
	    DEVICE_TEST(nmi_and_logical),
	    DEVICE_TEST(roundtrip),
	    DEVICE_TEST(resume_sends_what_waits),
	    DEVICE_TEST(bad_state_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
