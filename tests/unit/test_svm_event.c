/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which way an event takes into a guest on SVM, and what comes back of it. APM volume 2,
 * 15.20 and 15.21.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "hv/arch/x86/svm/svm_impl.h"

struct svm_features svm_features; /* of svm.c, which is not needed else */
static struct vmcb vmcb __attribute__((aligned(4096)));
static struct virt_vcpu half;
static struct vcpu cpu;

static int set_up(void **state)
{
	svm_features.qemu = false;
	memset(&vmcb, 0, sizeof(vmcb));
	half = (struct virt_vcpu){.vmcb = &vmcb, .clean = UINT32_MAX};
	cpu.virt = &half;
	cpu.state.injected.type = EVENT_NONE;
	return 0;
}

static void inject(uint8_t type, uint8_t vector)
{
	svm_inject(&cpu, &(struct event){.type = type, .vector = vector});
}

static bool window_is_open(void)
{
	return (vmcb.icpt3 & ICPT_VINTR) && (vmcb.vintr & VINTR_IRQ);
}

/* QEMU raises one of EVENTINJ a second time if its CPU is asked to pause. */
static void interrupt_is_virtual(void **state)
{
	inject(EVENT_INTR, 0xec);
	assert_int_equal(vmcb.event_inj, 0);
	assert_int_equal(vmcb.vintr >> VINTR_VECTOR_SHIFT & 0xff, 0xec);
	assert_true(vmcb.vintr & VINTR_IRQ);
	assert_true(vmcb.vintr & VINTR_IGNORE_TPR);
	assert_false(vmcb.icpt3 & ICPT_VINTR);
	assert_false(half.clean & CLEAN_TPR);
}

static void interrupt_taken_is_gone(void **state)
{
	inject(EVENT_INTR, 0xec);
	vmcb.vintr &= ~VINTR_IRQ; /* as hardware does */
	svm_collect_virq(&cpu);
	assert_int_equal(cpu.state.injected.type, EVENT_NONE);
	assert_int_equal(vmcb.vintr, 0);
}

static void interrupt_not_taken_comes_back(void **state)
{
	inject(EVENT_INTR, 0xec);
	svm_collect_virq(&cpu);
	assert_int_equal(cpu.state.injected.type, EVENT_INTR);
	assert_int_equal(cpu.state.injected.vector, 0xec);
	assert_int_equal(vmcb.vintr, 0);
	assert_false(half.virq);
}

/* QEMU may lose V_IRQ on its way in: then it has delivered nothing. */
static void interrupt_forgotten_comes_back(void **state)
{
	svm_features.qemu = true;
	inject(EVENT_INTR, 0xec);
	vmcb.vintr &= ~VINTR_IRQ;
	vmcb.exit_int_info = 0;
	svm_collect_virq(&cpu);
	assert_int_equal(cpu.state.injected.type, EVENT_INTR);
	assert_int_equal(cpu.state.injected.vector, 0xec);

	cpu.state.injected.type = EVENT_NONE;
	inject(EVENT_INTR, 0xec);
	vmcb.vintr &= ~VINTR_IRQ;
	vmcb.exit_int_info = 3 << VMCB_EVENT_TYPE_SHIFT | 0xec; /* delivered: valid no more */
	svm_collect_virq(&cpu);
	assert_int_equal(cpu.state.injected.type, EVENT_NONE);
}

/* One slot for the interrupt and the dummy that makes the window: that waits for an exit. */
static void window_waits_for_the_interrupt(void **state)
{
	inject(EVENT_INTR, 0xec);
	svm_want_irq_window(&cpu, true);
	assert_false(vmcb.icpt3 & ICPT_VINTR);
	assert_int_equal(vmcb.vintr >> VINTR_VECTOR_SHIFT & 0xff, 0xec);
	vmcb.vintr &= ~VINTR_IRQ;
	svm_collect_virq(&cpu);
	assert_int_equal(cpu.state.injected.type, EVENT_NONE);
	assert_true(window_is_open());
}

static void interrupt_takes_the_windows_slot(void **state)
{
	svm_want_irq_window(&cpu, true);
	assert_true(window_is_open());
	inject(EVENT_INTR, 0xec);
	assert_false(vmcb.icpt3 & ICPT_VINTR);
	assert_int_equal(vmcb.vintr >> VINTR_VECTOR_SHIFT & 0xff, 0xec);
	svm_want_irq_window(&cpu, false);
	assert_true(vmcb.vintr & VINTR_IRQ);
	assert_int_equal(vmcb.event_inj, 0);
}

static void window_closes(void **state)
{
	svm_want_irq_window(&cpu, true);
	svm_want_irq_window(&cpu, false);
	assert_int_equal(vmcb.vintr, 0);
	assert_false(vmcb.icpt3 & ICPT_VINTR);
	assert_false(half.clean & CLEAN_INTERCEPTS);
}

static void others_are_injected(void **state)
{
	inject(EVENT_NMI, VEC_NMI);
	assert_int_equal(vmcb.event_inj, VMCB_EVENT_VALID | 2 << VMCB_EVENT_TYPE_SHIFT | VEC_NMI);
	inject(EVENT_EXCEPTION, VEC_UD);
	assert_int_equal(vmcb.event_inj, VMCB_EVENT_VALID | 3 << VMCB_EVENT_TYPE_SHIFT | VEC_UD);
	assert_int_equal(vmcb.vintr, 0);
}

static void collect(unsigned type, uint8_t vector)
{
	vmcb.exit_int_info = VMCB_EVENT_VALID | type << VMCB_EVENT_TYPE_SHIFT | vector;
	svm_collect_injected(&cpu);
}

/* A nested page fault while a virtual interrupt is delivered: QEMU names it an exception. */
static void no_exception_beyond_31(void **state)
{
	collect(3, 0xec);
	assert_int_equal(cpu.state.injected.type, EVENT_INTR);
	assert_int_equal(cpu.state.injected.vector, 0xec);
	collect(3, VEC_UD);
	assert_int_equal(cpu.state.injected.type, EVENT_EXCEPTION);
	collect(0, 0x20);
	assert_int_equal(cpu.state.injected.type, EVENT_INTR);
}

/* The same on Bochs: what EXITINTINFO says is of an earlier event. */
static void interrupt_under_another_name(void **state)
{
	static const uint64_t stale[] = {0, 2 << VMCB_EVENT_TYPE_SHIFT | VEC_NMI,
	    3 << VMCB_EVENT_TYPE_SHIFT | VEC_PF | VMCB_EVENT_ERROR_VALID};

	for (unsigned i = 0; i < ARRAY_LEN(stale); i++) {
		cpu.state.rip = 0x1000;
		inject(EVENT_INTR, 0xec);
		vmcb.vintr &= ~VINTR_IRQ;
		vmcb.exit_int_info = VMCB_EVENT_VALID | stale[i];
		svm_collect_virq(&cpu);
		svm_collect_injected(&cpu);
		assert_int_equal(cpu.state.injected.type, EVENT_INTR);
		assert_int_equal(cpu.state.injected.vector, 0xec);
		assert_false(cpu.state.injected.has_error);
	}
	/* the handler has begun: this is its own exception */
	inject(EVENT_INTR, 0xec);
	vmcb.vintr &= ~VINTR_IRQ;
	cpu.state.rip = 0x2000;
	vmcb.exit_int_info = VMCB_EVENT_VALID | 3 << VMCB_EVENT_TYPE_SHIFT | VEC_UD;
	svm_collect_virq(&cpu);
	svm_collect_injected(&cpu);
	assert_int_equal(cpu.state.injected.type, EVENT_EXCEPTION);
	assert_int_equal(cpu.state.injected.vector, VEC_UD);
}

static void software_interrupts_run_again(void **state)
{
	inject(EVENT_INTR, 0xec);
	svm_collect_virq(&cpu);
	collect(4, 0x80);
	collect(3, VEC_BP);
	assert_int_equal(cpu.state.injected.type, EVENT_INTR);
	assert_int_equal(cpu.state.injected.vector, 0xec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(interrupt_is_virtual, set_up),
	    cmocka_unit_test_setup(interrupt_taken_is_gone, set_up),
	    cmocka_unit_test_setup(interrupt_not_taken_comes_back, set_up),
	    cmocka_unit_test_setup(interrupt_forgotten_comes_back, set_up),
	    cmocka_unit_test_setup(window_waits_for_the_interrupt, set_up),
	    cmocka_unit_test_setup(interrupt_takes_the_windows_slot, set_up),
	    cmocka_unit_test_setup(window_closes, set_up),
	    cmocka_unit_test_setup(others_are_injected, set_up),
	    cmocka_unit_test_setup(no_exception_beyond_31, set_up),
	    cmocka_unit_test_setup(interrupt_under_another_name, set_up),
	    cmocka_unit_test_setup(software_interrupts_run_again, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
