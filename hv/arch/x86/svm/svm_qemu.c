/* SPDX-License-Identifier: BSD-2-Clause */
/* QEMU's emulated SVM: putting right what it does wrong. */
#include "hv/arch/x86/svm/svm_qemu.h"

#include "hv/arch/x86/emul.h"
#include "hv/core/vcpu.h"

static bool mend_code_segment(struct vcpu *v)
{
	const uint16_t both = SEG_ATTR_L | SEG_ATTR_DB;
	uint16_t *attr = &v->state.seg[SEG_CS].attr;

	if (!(v->state.efer & EFER_LMA) || (*attr & both) != both)
		return false;
	*attr &= (uint16_t)~SEG_ATTR_DB;
	vcpu_changed(v, VG_SEGS);
	return true;
}

/* RIP is still at the instruction, and CR3 as it was before. */
static bool refused_cr3(struct vcpu *v)
{
	enum { OP_MOV_TO_CR = 0x22 }; /* of the 0F map (APM volume 3, table A-3) */
	struct emul e;

	if (!vcpu_is_64bit(&v->state) || v->state.cpl != 0 || !vcpu_decode_insn(v, &e))
		return false;
	if (e.map != MAP_0F || e.opcode != OP_MOV_TO_CR || e.reg != 3 ||
	    !(v->state.gpr[e.rm] >> v->vm->cpu_model->phys_bits))
		return false;
	vcpu_gp(v);
	return true;
}

/*
 * A state that is refused for something else is so again with the fault to be delivered: a
 * triple fault.
 */
bool svm_qemu_mend(struct vcpu *v, bool refused)
{
	if (!svm_features.qemu)
		return false;
	vcpu_need(v, VG_SEGS | VG_CRS);
	return mend_code_segment(v) || (refused && refused_cr3(v));
}
