/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Both back ends on a host: their own code commits a vCPU's state, "runs" it and
 * fetches the state again; VMCS and VMCB are memory, and the guest runs for no time at
 * all. What it was to deliver counts as cut short by an exit.
 */
#ifndef AMBER_TESTS_FAKE_VIRT_H
#define AMBER_TESTS_FAKE_VIRT_H

#include "hv/core/virt_ops.h"
#include "hv/core/vm.h"

/*
 * Commits v->state (and injects v->state.injected, or pending), enters, loses all of the
 * state that the hardware holds, and fetches it. NULL, or which rule of an entry the
 * hardware's structure breaks: SDM volume 3, 26.2 and 26.3, and APM volume 2, 15.5.1, as
 * the tests read them. phys_bits: width of the CPU's physical addresses.
 */
const char *fake_vmx_pass(struct vcpu *v, unsigned phys_bits);
const char *fake_svm_pass(struct vcpu *v, unsigned phys_bits);

#endif
