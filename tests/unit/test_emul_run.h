/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of fixed cases for the emulator share: one rig, and running one instruction on it.
 */
#ifndef AMBER_TEST_EMUL_RUN_H
#define AMBER_TEST_EMUL_RUN_H

#include "tests/unit/test_emul.h"

static struct rig rig;

#define CODE(...)                                                                                  \
	do {                                                                                       \
		static const uint8_t code_[] = {__VA_ARGS__};                                      \
		rig_code(&rig, code_, sizeof(code_));                                              \
	} while (0)

static inline uint64_t *gpr(unsigned n)
{
	return &rig.s.gpr[n];
}

static inline enum emul_result run(void)
{
	rig.logged = rig.calls = rig.outside = 0;
	rig.e.insn_bytes = 0;
	return emulate(&rig.e);
}

/* Runs, and expects an exception that changes nothing in the state. */
static inline void expect_exception(unsigned vector, bool has_error, uint32_t error)
{
	static struct vcpu_state before;

	before = rig.s;
	assert_int_equal(run(), EMUL_EXCEPTION);
	assert_int_equal(rig.e.event.type, EVENT_EXCEPTION);
	assert_int_equal(rig.e.event.vector, vector);
	assert_int_equal(rig.e.event.has_error, has_error);
	assert_int_equal(rig.e.event.error_code, error);
	assert_memory_equal(&before, &rig.s, sizeof(before));
}

static inline unsigned count(enum rig_what what)
{
	unsigned n = 0;

	for (unsigned k = 0; k < rig.logged; k++)
		n += rig.log[k].what == what;
	return n;
}

/* The access with this number to the device page, after fetches and walks; NULL if there is none.
 */
static inline const struct rig_log *device_access(unsigned nth)
{
	for (unsigned k = 0; k < rig.logged; k++)
		if (rig.log[k].addr >= RIG_DEVICE && rig.log[k].what <= RIG_CMPXCHG && nth-- == 0)
			return &rig.log[k];
	return NULL;
}

static inline unsigned device_accesses(void)
{
	unsigned n = 0;

	while (device_access(n))
		n++;
	return n;
}

#endif
