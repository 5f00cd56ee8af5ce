/* SPDX-License-Identifier: BSD-2-Clause */
/* Frame of a device model's test: a machine with recording interrupt controllers and one device. */
#ifndef AMBER_TESTS_DEVICE_TEST_H
#define AMBER_TESTS_DEVICE_TEST_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/fake/fake.h"

#define SEC  1000000000ULL
#define MSEC 1000000ULL

/* Each test has a fresh machine. The model's .c file is included before this header. */
static struct vm *vm;
static struct device *dev;

static inline uint8_t in8(uint16_t port)
{
	return (uint8_t)fake_io_read(vm, port, 1);
}
static inline void out8(uint16_t port, uint8_t v)
{
	fake_io_write(vm, port, 1, v);
}

/* vcpus local APICs, 16 MiB; cfg may be NULL. */
static inline void device_test_start(
    unsigned vcpus, const char *compatible, const struct config_dev *cfg)
{
	struct errmsg e = {""};

	vm = fake_vm_new(vcpus, 0);
	vm->config.memory = 16 * MIB;
	fake_irq_attach(vm);
	dev = fake_device_create(vm, compatible, cfg, &e);
	if (!dev)
		fail_msg("create: %s", e.text);
}

static inline int device_test_end(void **state)
{
	fake_vm_free(vm);
	vm = NULL;
	assert_int_equal(fake_heap_outstanding(), 0);
	return 0;
}

/* Save, encode, decode, check, load, resume: nothing may have changed. */
static inline void assert_roundtrip(void)
{
	struct errmsg e = {""};

	if (fake_device_roundtrip(dev, &e) != OK)
		fail_msg("round trip: %s", e.text);
}

/* The state at s is refused with a message that contains text. */
static inline void assert_refused(const void *s, const char *text)
{
	struct errmsg e = {""};

	assert_true(fake_device_check(dev, s, &e) < 0);
	if (!strstr(e.text, text))
		fail_msg("message '%s' does not say '%s'", e.text, text);
}

#define DEVICE_TEST(fn) cmocka_unit_test_setup_teardown(fn, start, device_test_end)

#endif
