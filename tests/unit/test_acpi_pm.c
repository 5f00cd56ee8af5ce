/* SPDX-License-Identifier: BSD-2-Clause */
/* ACPI fixed hardware against chapter 4.8 of the specification. */
#include "hv/dev/acpi_pm.c"

#include "tests/unit/fake/device_test.h"

enum { STS = 0x600, EN = 0x602, CNT = 0x604, TMR = 0x608, GPE_STS = 0x620, GPE_EN = 0x628 };

static int start(void **state)
{
	device_test_start(1, "amber,acpi-pm", NULL);
	return 0;
}

static uint16_t in16(uint16_t port)
{
	return (uint16_t)fake_io_read(vm, port, 2);
}

static void out16(uint16_t port, uint16_t v)
{
	fake_io_write(vm, port, 2, v);
}

static bool sci(void)
{
	return fake_of(vm)->ioapic_level[ACPI_SCI_GSI];
}

static void timer_counts(void **state)
{
	assert_int_equal(fake_io_read(vm, TMR, 4), 0);
	fake_time_advance(vm, SEC);
	assert_int_equal(fake_io_read(vm, TMR, 4), 3579545);
	fake_time_advance(vm, 3600 * SEC);
	assert_int_equal(fake_io_read(vm, TMR, 4), (uint32_t)(3601ULL * 3579545));
	assert_int_equal(fake_io_read(vm, TMR + 1, 1), (3601ULL * 3579545) >> 8 & 0xff);
	fake_io_write(vm, TMR, 4, 0); /* read-only */
	assert_int_equal(fake_io_read(vm, TMR, 4), (uint32_t)(3601ULL * 3579545));
}

static void timer_status_when_the_top_bit_changes(void **state)
{
	/* 2^31 counts are just under 600 s */
	fake_time_advance(vm, 599 * SEC);
	assert_int_equal(in16(STS) & 1, 0);
	fake_time_advance(vm, SEC);
	assert_int_equal(in16(STS) & 1, 1);
	assert_false(sci());
	out16(STS, 1);
	assert_int_equal(in16(STS) & 1, 0);
	out16(EN, 1);
	assert_false(sci());
	fake_time_advance(vm, 599 * SEC);
	assert_false(sci());
	fake_time_advance(vm, SEC);
	assert_true(sci());
	out16(STS, 1);
	assert_false(sci());
}

static void power_button(void **state)
{
	acpi_pm_power_button(vm);
	assert_int_equal(in16(STS), 0x100);
	assert_false(sci()); /* not enabled yet */
	out16(EN, 0x100);
	assert_true(sci());
	out16(STS, 0x0ff);
	assert_true(sci());
	out16(STS, 0x100);
	assert_false(sci());
	assert_int_equal(in16(STS), 0);
}

static void enable_register_keeps_what_is_defined(void **state)
{
	out16(EN, 0xffff);
	assert_int_equal(in16(EN), 0x0721);
	out8(EN + 1, 0);
	assert_int_equal(in16(EN), 0x0021);
}

static void sci_enable_is_always_on(void **state)
{
	assert_int_equal(in16(CNT), 1);
	out16(CNT, 0);
	assert_int_equal(in16(CNT), 1);
	out16(CNT, 0xffff & ~(7 << 10));
	assert_int_equal(in16(CNT), 3); /* SLP_EN is write-only */
}

static void soft_off(void **state)
{
	out16(CNT, 1 << 10 | 1 << 13); /* S1 is not offered */
	assert_int_equal(fake_of(vm)->poweroff_requests, 0);
	out16(CNT, 5 << 10); /* type without enable */
	assert_int_equal(fake_of(vm)->poweroff_requests, 0);
	out16(CNT, 5 << 10 | 1 << 13);
	assert_int_equal(fake_of(vm)->poweroff_requests, 1);
	out8(CNT + 1, 0x34); /* the same as a byte */
	assert_int_equal(fake_of(vm)->poweroff_requests, 2);
}

static void general_purpose_events(void **state)
{
	acpi_pm_gpe(vm, 9);
	acpi_pm_gpe(vm, 64); /* there is no such event */
	assert_int_equal(in8(GPE_STS + 1), 0x02);
	assert_false(sci());
	out8(GPE_EN + 1, 0x02);
	assert_true(sci());
	out8(GPE_STS + 1, 0x01);
	assert_true(sci());
	out8(GPE_STS + 1, 0x02);
	assert_false(sci());
	assert_int_equal(in8(GPE_EN + 1), 0x02);
}

static void machine_without_the_device(void **state)
{
	struct vm *other = fake_vm_new(1, 0);

	acpi_pm_power_button(other);
	acpi_pm_gpe(other, 0);
	fake_vm_free(other);
}

static void roundtrip(void **state)
{
	out16(EN, 0x101);
	out8(GPE_EN, 0x80);
	acpi_pm_power_button(vm);
	assert_roundtrip();
	assert_true(sci());
	out16(STS, 0x100);
	assert_roundtrip();
	assert_false(sci());
	fake_time_advance(vm, 601 * SEC);
	assert_true(sci()); /* the timer was armed anew */
}

static void bad_state_is_refused(void **state)
{
	struct acpi_pm_state good = *(struct acpi_pm_state *)dev->state, s = good;

	s.status = 2;
	assert_refused(&s, "status");
	s = good;
	s.enable = 0x10;
	assert_refused(&s, "enable");
	s = good;
	s.control = 1;
	assert_refused(&s, "control");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    DEVICE_TEST(timer_counts),
	    DEVICE_TEST(timer_status_when_the_top_bit_changes),
	    DEVICE_TEST(power_button),
	    DEVICE_TEST(enable_register_keeps_what_is_defined),
	    DEVICE_TEST(sci_enable_is_always_on),
	    DEVICE_TEST(soft_off),
	    DEVICE_TEST(general_purpose_events),
	    DEVICE_TEST(machine_without_the_device),
	    DEVICE_TEST(roundtrip),
	    DEVICE_TEST(bad_state_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
