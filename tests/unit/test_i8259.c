/* SPDX-License-Identifier: BSD-2-Clause */
/* The 8259 pair against its datasheet. */
#include "hv/dev/i8259.c"

#include "tests/unit/fake/device_test.h"

static int start(void **state)
{
	device_test_start(1, "amber,i8259", NULL);
	fake_lapics_enable(vm);
	vlapic_mmio_write(&vm->vcpus[0]->lapic, APIC_LVT_LINT0 * 16, 4, 0x700); /* virtual wire */
	return 0;
}

/* As PC firmware does it: vectors 08 and 70; icw4 for both. */
static void init_pair(uint8_t icw4)
{
	out8(0x20, 0x11);
	out8(0x21, 0x08);
	out8(0x21, 0x04);
	out8(0x21, icw4);
	out8(0xa0, 0x11);
	out8(0xa1, 0x70);
	out8(0xa1, 0x02);
	out8(0xa1, icw4);
}

static bool intr(void)
{
	return vlapic_pending(&vm->vcpus[0]->lapic) == VLAPIC_EXTINT;
}

static int inta(void)
{
	return vlapic_accept(&vm->vcpus[0]->lapic, VLAPIC_EXTINT);
}

static void raise(unsigned irq)
{
	irq_line_set(vm, irq, true);
}

static void lower(unsigned irq)
{
	irq_line_set(vm, irq, false);
}

static uint8_t isr(uint16_t port)
{
	out8(port, 0x0b);
	return in8(port);
}

static uint8_t irr(uint16_t port)
{
	out8(port, 0x0a);
	return in8(port);
}

/* What waits behind the request that is acknowledged is an edge of its own to the I/O APIC. */
static void intr_falls_at_each_inta(void **state)
{
	const unsigned *edges = &fake_of(vm)->ioapic_edges[0];

	init_pair(0x03); /* automatic EOI: nothing holds the second back */
	raise(4);
	raise(5);
	assert_int_equal(*edges, 1);
	assert_int_equal(inta(), 0x0c);
	assert_int_equal(*edges, 2);
	assert_true(fake_of(vm)->ioapic_level[0]);
	assert_int_equal(inta(), 0x0d);
	assert_int_equal(*edges, 2);
	assert_false(fake_of(vm)->ioapic_level[0]);
}

static void fully_nested(void **state)
{
	init_pair(0x01);
	raise(4);
	assert_true(intr());
	assert_int_equal(inta(), 0x0c);
	assert_int_equal(isr(0x20), 0x10);
	raise(5);
	assert_false(intr()); /* lower than what is in service */
	raise(1);
	assert_true(intr());
	assert_int_equal(inta(), 0x09);
	out8(0x20, 0x20); /* ends 1, the highest */
	assert_int_equal(isr(0x20), 0x10);
	assert_false(intr());
	out8(0x20, 0x20);
	assert_int_equal(inta(), 0x0d);
}

static void mask_register(void **state)
{
	init_pair(0x01);
	out8(0x21, 0x10);
	assert_int_equal(in8(0x21), 0x10);
	raise(4);
	assert_false(intr());
	assert_int_equal(irr(0x20), 0x10); /* it waits */
	out8(0x21, 0x00);
	assert_int_equal(inta(), 0x0c);
}

static void cascade(void **state)
{
	init_pair(0x01);
	raise(8);
	assert_true(intr());
	assert_int_equal(inta(), 0x70);
	assert_int_equal(isr(0x20), 0x04);
	assert_int_equal(isr(0xa0), 0x01);
	raise(1); /* higher than the cascade */
	assert_int_equal(inta(), 0x09);
	out8(0x20, 0x20);
	raise(12); /* the slave again: the master's input is in service */
	assert_false(intr());
	out8(0xa0, 0x20);
	assert_false(intr());
	out8(0x20, 0x20);
	assert_int_equal(inta(), 0x74);
}

static void special_fully_nested(void **state)
{
	init_pair(0x11);
	raise(12);
	assert_int_equal(inta(), 0x74);
	raise(8); /* higher within the slave: gets through */
	assert_true(intr());
	assert_int_equal(inta(), 0x70);
	assert_int_equal(isr(0xa0), 0x11);
}

static void edges_and_levels(void **state)
{
	init_pair(0x01);
	raise(5);
	assert_int_equal(inta(), 0x0d);
	out8(0x20, 0x20);
	assert_false(intr()); /* still high, but an edge is used up */
	lower(5);
	raise(5);
	assert_int_equal(inta(), 0x0d);
	out8(0x20, 0x20);
	lower(5);
	out8(0x4d0, 0xff);
	assert_int_equal(in8(0x4d0), 0xf8);
	out8(0x4d1, 0xff);
	assert_int_equal(in8(0x4d1), 0xde);
	raise(5);
	assert_int_equal(inta(), 0x0d);
	out8(0x20, 0x20);
	assert_int_equal(inta(), 0x0d); /* a level asks until it falls */
	lower(5);
	out8(0x20, 0x20);
	assert_false(intr());
}

static void request_that_goes_away_is_spurious(void **state)
{
	init_pair(0x01);
	raise(3);
	lower(3);
	assert_false(intr());
	assert_int_equal(inta(), 0x0f);
	assert_int_equal(isr(0x20), 0);
}

static void rotation(void **state)
{
	init_pair(0x01);
	out8(0x20, 0xc3); /* input 3 has the lowest priority, 4 the highest */
	raise(0);
	raise(4);
	assert_int_equal(inta(), 0x0c);
	out8(0x20, 0xa0); /* rotate on non-specific EOI: 4 is last now */
	raise(5);
	assert_int_equal(inta(), 0x0d);
	out8(0x20, 0xe5); /* rotate on specific EOI */
	assert_int_equal(inta(), 0x08);
}

static void specific_eoi(void **state)
{
	init_pair(0x01);
	raise(4);
	inta();
	raise(1);
	inta();
	out8(0x20, 0x64);
	assert_int_equal(isr(0x20), 0x02);
}

static void automatic_eoi(void **state)
{
	init_pair(0x03);
	raise(4);
	assert_int_equal(inta(), 0x0c);
	assert_int_equal(isr(0x20), 0);
	out8(0x20, 0x80); /* rotate in automatic EOI */
	raise(0);
	assert_int_equal(inta(), 0x08);
	lower(0);
	raise(0);
	raise(1);
	assert_int_equal(inta(), 0x09); /* 0 went to the end of the row */
}

static void special_mask_mode(void **state)
{
	init_pair(0x01);
	raise(1);
	assert_int_equal(inta(), 0x09);
	raise(6);
	assert_false(intr());
	out8(0x21, 0x02);
	out8(0x20, 0x68); /* set special mask mode */
	assert_int_equal(inta(), 0x0e);
	out8(0x20, 0x20); /* does not end the masked one */
	assert_int_equal(isr(0x20), 0x02);
	out8(0x20, 0x48);
	out8(0x21, 0x00);
	out8(0x20, 0x20);
	assert_int_equal(isr(0x20), 0);
}

static void poll_command(void **state)
{
	init_pair(0x01);
	out8(0x20, 0x0c);
	assert_int_equal(in8(0x20), 0x07);
	raise(3);
	out8(0x20, 0x0c);
	assert_int_equal(in8(0x20), 0x83);
	assert_int_equal(isr(0x20), 0x08);
	assert_false(intr());
}

static void initialization_forgets(void **state)
{
	init_pair(0x01);
	raise(4);
	inta();
	raise(5);
	out8(0x21, 0xff);
	out8(0x20, 0x13); /* single, with ICW4 */
	out8(0x21, 0x40);
	out8(0x21, 0x01);
	assert_int_equal(isr(0x20), 0);
	assert_int_equal(irr(0x20), 0);
	assert_int_equal(in8(0x21), 0);
	lower(4);
	raise(4);
	assert_int_equal(inta(), 0x44);
}

static void wide_access(void **state)
{
	init_pair(0x01);
	fake_io_write(vm, 0x20, 2, 0xab0a); /* OCW3, then the mask */
	assert_int_equal(in8(0x21), 0xab);
	assert_int_equal(fake_io_read(vm, 0x20, 2), 0xab00);
}

static void roundtrip(void **state)
{
	init_pair(0x11);
	out8(0x4d0, 0x20);
	out8(0x21, 0x80);
	raise(12);
	inta();
	raise(1);
	assert_roundtrip();
	assert_true(intr()); /* the output is re-evaluated */
	assert_int_equal(inta(), 0x09);
}

static void reset_is_power_on(void **state)
{
	init_pair(0x11);
	raise(4);
	assert_true(intr());
	dev->model->reset(dev);
	assert_false(intr());
	assert_int_equal(in8(0x21), 0);
}

static void bad_state_is_refused(void **state)
{
	struct i8259_state s = *(struct i8259_state *)dev->state;

	s.base[1] = 3;
	assert_refused(&s, "slave: vector base");
	s.base[1] = 0;
	s.elcr[0] = 1;
	assert_refused(&s, "elcr");
	s.elcr[0] = 0;
	s.lowest[0] = 8;
	assert_refused(&s, "lowest");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    DEVICE_TEST(intr_falls_at_each_inta),
	    DEVICE_TEST(fully_nested),
	    DEVICE_TEST(mask_register),
	    DEVICE_TEST(cascade),
	    DEVICE_TEST(special_fully_nested),
	    DEVICE_TEST(edges_and_levels),
	    DEVICE_TEST(request_that_goes_away_is_spurious),
	    DEVICE_TEST(rotation),
	    DEVICE_TEST(specific_eoi),
	    DEVICE_TEST(automatic_eoi),
	    DEVICE_TEST(special_mask_mode),
	    DEVICE_TEST(poll_command),
	    DEVICE_TEST(initialization_forgets),
	    DEVICE_TEST(wide_access),
	    DEVICE_TEST(roundtrip),
	    DEVICE_TEST(reset_is_power_on),
	    DEVICE_TEST(bad_state_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
