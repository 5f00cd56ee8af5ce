/* SPDX-License-Identifier: BSD-2-Clause */
/* The port that ends a machine. */
#include "hv/dev/debug_exit.c"

#include "tests/unit/fake/device_test.h"

static const struct config_dev cfg = {.kind = CONFIG_DEBUG_EXIT,
    .name = "exit0",
    .model = "amber,debug-exit",
    .io_base = 0xf4,
    .io_size = 4};

static int start(void **state)
{
	device_test_start(1, "amber,debug-exit", &cfg);
	return 0;
}

static void a_write_of_any_width_ends_the_machine(void **state)
{
	static const struct {
		uint16_t port;
		unsigned len;
		uint32_t value;
	} writes[] = {{0xf4, 1, 0}, {0xf4, 1, 0x2a}, {0xf7, 1, 0xff}, {0xf4, 2, 0x1234},
	    {0xf4, 4, 0x89abcdef}};

	for (unsigned i = 0; i < ARRAY_LEN(writes); i++) {
		vm->exit_code = 0x5555;
		fake_io_write(vm, writes[i].port, writes[i].len, writes[i].value);
		assert_int_equal(fake_of(vm)->fails, i + 1);
		assert_int_equal(fake_of(vm)->fail_disposition, DISP_DEBUG_EXIT);
		assert_int_equal(vm->exit_code, writes[i].value);
	}
}

static void a_read_does_nothing(void **state)
{
	assert_int_equal(fake_io_read(vm, 0xf4, 4), 0);
	assert_int_equal(fake_of(vm)->fails, 0);
}

static void it_has_its_ports_and_no_others(void **state)
{
	assert_false(fake_io_claimed(vm, 0xf3));
	assert_true(fake_io_claimed(vm, 0xf4));
	assert_true(fake_io_claimed(vm, 0xf7));
	assert_false(fake_io_claimed(vm, 0xf8));
}

static void taken_ports_are_refused(void **state)
{
	struct config_dev other = cfg;
	struct errmsg e = {""};

	other.io_base = 0xf6;
	assert_null(fake_device_create(vm, "amber,debug-exit", &other, &e));
	assert_non_null(strstr(e.text, "port 0xf6: exists already"));
}

static void roundtrip(void **state)
{
	assert_roundtrip();
	assert_int_equal(fake_of(vm)->fails, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    DEVICE_TEST(a_write_of_any_width_ends_the_machine),
	    DEVICE_TEST(a_read_does_nothing),
	    DEVICE_TEST(it_has_its_ports_and_no_others),
	    DEVICE_TEST(taken_ports_are_refused),
	    DEVICE_TEST(roundtrip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
