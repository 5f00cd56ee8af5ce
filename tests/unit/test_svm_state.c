/* SPDX-License-Identifier: BSD-2-Clause */
/* What of a guest's EFER is in the VMCB. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "hv/arch/x86/svm/svm_impl.h"

static struct vmcb vmcb __attribute__((aligned(4096)));
static struct virt_vcpu half;
static struct vcpu cpu;

static void commit(uint64_t efer)
{
	memset(&vmcb, 0, sizeof(vmcb));
	half = (struct virt_vcpu){.vmcb = &vmcb};
	cpu.virt = &half;
	cpu.state.efer = efer;
	cpu.dirty = VG_CRS;
	svm_commit_dirty(&cpu, &vmcb);
}

/* With it and without CR4.PAE, QEMU's #VMEXIT would leave the host without paging. */
static void lme_without_paging_stays_here(void **state)
{
	commit(EFER_LME | EFER_NXE);
	assert_int_equal(vmcb.efer, EFER_NXE | EFER_SVME);
	svm_fetch(&cpu, VG_CRS);
	assert_int_equal(cpu.state.efer, EFER_LME | EFER_NXE);
}

static void long_mode_is_told(void **state)
{
	commit(EFER_LME | EFER_LMA | EFER_NXE);
	assert_int_equal(vmcb.efer, EFER_LME | EFER_LMA | EFER_NXE | EFER_SVME);
	svm_fetch(&cpu, VG_CRS);
	assert_int_equal(cpu.state.efer, EFER_LME | EFER_LMA | EFER_NXE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lme_without_paging_stays_here),
	    cmocka_unit_test(long_mode_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
