/* SPDX-License-Identifier: BSD-2-Clause */
/* Debug exceptions: hv/core/exit_db.c, by its source. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/core/exit_db.c"
#include "tests/unit/fake/fake.h"

const struct virt_ops *virt; /* never asked: all groups are valid */
static struct vcpu v;
static unsigned raised;

void vcpu_exception(struct vcpu *vcpu, uint8_t vector, bool has_error, uint32_t error_code)
{
	assert_int_equal(vector, VEC_DB);
	assert_false(has_error);
	raised++;
	vcpu->state.pending = (struct event){EVENT_EXCEPTION, vector, 0, 0, 0};
}

static int begin(void **state)
{
	memset(&v, 0, sizeof(v));
	v.valid = VG_ALL;
	v.state.dr6 = 0xffff0ff0;
	v.state.dr7 = 0x400;
	raised = 0;
	return 0;
}

static void gd_ends_and_rf_is_set_for_execution_only(void **state)
{
	v.state.dr7 = 0x400 | DR7_GD | 2 | 2 << 2 | ON_WRITE << 20;
	v.state.dr6 |= 2; /* the write */
	exit_debug(&v);
	assert_int_equal(raised, 1);
	assert_int_equal(v.state.dr7 & DR7_GD, 0);
	assert_int_equal(v.state.rflags & RFLAGS_RF, 0);
	v.state.dr6 |= 1; /* the execution */
	exit_debug(&v);
	assert_int_equal(v.state.rflags & RFLAGS_RF, RFLAGS_RF);
}

static void io_breakpoints_need_de_and_the_port(void **state)
{
	v.state.dr7 = 0x400 | 2 | ON_IO << 16 | 1 << 18; /* two ports */
	v.state.dr[0] = 0xe0;
	vcpu_io_breakpoints(&v, 0xe1, 1);
	assert_int_equal(raised, 0);
	v.state.cr4 = CR4_DE;
	vcpu_io_breakpoints(&v, 0xe2, 1);
	assert_int_equal(raised, 0);
	vcpu_io_breakpoints(&v, 0xdf, 2);
	assert_int_equal(raised, 1);
	assert_int_equal(v.state.dr6, 0xffff0ff1);
}

static void a_step_takes_the_breakpoint_along(void **state)
{
	v.state.pending = (struct event){EVENT_EXCEPTION, VEC_DB, 0, 0, 0};
	vcpu_debug_trap(&v, 4);
	assert_int_equal(raised, 0);
	assert_int_equal(v.state.dr6, 0xffff0ff4);
	v.state.pending.vector = VEC_GP; /* a fault: the instruction did not end */
	vcpu_debug_trap(&v, 1);
	assert_int_equal(raised, 0);
	assert_int_equal(v.state.dr6, 0xffff0ff4);
}

static void data_breakpoints(void **state)
{
	v.state.dr7 = 0x400 | 2 | ON_WRITE << 16 | 3 << 18 | 2 << 4 | ON_ACCESS << 24;
	assert_int_equal(vcpu_data_breakpoints(&v.state, true), 5);
	assert_int_equal(vcpu_data_breakpoints(&v.state, false), 4);
	assert_true(vcpu_breakpoint_covers(&v.state, 0, 0x1000, 0x1003, 1));
	assert_false(vcpu_breakpoint_covers(&v.state, 0, 0x1000, 0x1004, 4));
	assert_true(vcpu_breakpoint_covers(&v.state, 0, 0x1000, 0xffe, 4));
	assert_false(vcpu_breakpoint_covers(&v.state, 2, 0x1000, 0x1001, 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(gd_ends_and_rf_is_set_for_execution_only, begin),
	    cmocka_unit_test_setup(io_breakpoints_need_de_and_the_port, begin),
	    cmocka_unit_test_setup(a_step_takes_the_breakpoint_along, begin),
	    cmocka_unit_test_setup(data_breakpoints, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
