/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers and interrupt lines for test kernels. */
#include "hv/dev/testdev.c"

#include "tests/unit/fake/device_test.h"

static const struct config_dev cfg = {
    .kind = CONFIG_TESTDEV, .name = "testdev", .model = "amber,testdev"};

static int start(void **state)
{
	device_test_start(1, "amber,testdev", &cfg);
	return 0;
}

static void the_latch_keeps_bytes(void **state)
{
	fake_io_write(vm, 0xe0, 4, 0x12345678);
	assert_int_equal(fake_io_read(vm, 0xe0, 4), 0x12345678);
	assert_int_equal(in8(0xe1), 0x56);
	fake_io_write(vm, 0xe2, 2, 0xaabb);
	assert_int_equal(fake_io_read(vm, 0xe8, 4), 0xaabb5678);
	out8(0xe8, 0x99);
	assert_int_equal(fake_io_read(vm, 0xe0, 4), 0xaabb5699);
	fake_io_write(vm, 0xe4, 4, 0x1000); /* does nothing */
	assert_int_equal(fake_io_read(vm, 0xe0, 4), 0xaabb5699);
}

static void lines_follow_their_bytes(void **state)
{
	out8(0x2005, 1);
	assert_true(fake_of(vm)->pic_level[5]);
	assert_true(fake_of(vm)->ioapic_level[5]);
	out8(0x2005, 0xff); /* raised already */
	assert_int_equal(fake_of(vm)->ioapic_edges[5], 1);
	out8(0x2005, 0);
	assert_false(fake_of(vm)->ioapic_level[5]);
	out8(0x2017, 1);
	assert_true(fake_of(vm)->ioapic_level[23]);
	fake_io_write(vm, 0x2016, 2, 0x0001);
	assert_true(fake_of(vm)->ioapic_level[22]);
	assert_false(fake_of(vm)->ioapic_level[23]);
	assert_false(fake_io_claimed(vm, 0x2018));
}

static void memory_keeps_what_is_written(void **state)
{
	fake_mmio_write(vm, 0xff000000, 8, 0x1122334455667788);
	fake_mmio_write(vm, 0xff000003, 2, 0xabcd);
	assert_int_equal(fake_mmio_read(vm, 0xff000000, 8), 0x112233abcd667788);
	fake_mmio_write(vm, 0xff00ffff, 1, 0x42);
	assert_int_equal(fake_mmio_read(vm, 0xff00ffff, 1), 0x42);
	assert_false(fake_mmio_claimed(vm, 0xff010000));
}

static void roundtrip(void **state)
{
	out8(0xe1, 0x42);
	out8(0x2007, 1);
	fake_mmio_write(vm, 0xff001234, 1, 0x17);
	assert_roundtrip();
	assert_int_equal(in8(0xe1), 0x42);
	assert_int_equal(fake_mmio_read(vm, 0xff001234, 1), 0x17);
	assert_true(fake_of(vm)->ioapic_level[7]);
}

/* After a restore the chips hear of a raised line again. */
static void resume_raises_its_lines(void **state)
{
	out8(0x2007, 1);
	irq_line_set(vm, 7, false);
	dev->model->resume(dev);
	assert_true(fake_of(vm)->ioapic_level[7]);
}

static void reset_lowers_and_clears(void **state)
{
	out8(0xe1, 0x42);
	out8(0x2007, 1);
	fake_mmio_write(vm, 0xff001234, 1, 0x17);
	dev->model->reset(dev);
	assert_false(fake_of(vm)->ioapic_level[7]);
	assert_int_equal(in8(0xe1), 0);
	assert_int_equal(fake_mmio_read(vm, 0xff001234, 1), 0);
	dev->model->resume(dev);
	assert_false(fake_of(vm)->ioapic_level[7]);
}

static void bad_state_is_refused(void **state)
{
	static struct testdev_state s = {.lines = {[3] = 2}};

	assert_refused(&s, "lines");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    DEVICE_TEST(the_latch_keeps_bytes),
	    DEVICE_TEST(lines_follow_their_bytes),
	    DEVICE_TEST(memory_keeps_what_is_written),
	    DEVICE_TEST(roundtrip),
	    DEVICE_TEST(resume_raises_its_lines),
	    DEVICE_TEST(reset_lowers_and_clears),
	    DEVICE_TEST(bad_state_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
