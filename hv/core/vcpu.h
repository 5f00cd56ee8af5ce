/* SPDX-License-Identifier: BSD-2-Clause */
/* A vCPU's thread and what exit handlers may do to it. For the files of hv/core only. */
#ifndef AMBER_CORE_VCPU_H
#define AMBER_CORE_VCPU_H

#include "hv/core/virt_ops.h"
#include "hv/core/vm.h"

int vcpu_create(struct vm *vm, unsigned index, struct vcpu **out);
/* Starts the thread; it parks at once (VCPU_REQ_PAUSE is set). */
int vcpu_start_thread(struct vcpu *v);
/* The thread leaves its loop and is joined; then frees all. */
void vcpu_destroy(struct vcpu *v);
/* Takes back VCPU_REQ_PAUSE: a parked vCPU goes on. Any context. */
void vcpu_unpark(struct vcpu *v);
/* Power-on state. The vCPU is parked. */
void vcpu_reset(struct vcpu *v);

/* Makes groups of v->state valid. By the vCPU's own thread, or while it is parked. */
static inline void vcpu_need(struct vcpu *v, uint32_t groups)
{
	uint32_t missing = groups & ~v->valid;

	if (missing) {
		virt->fetch(v, missing);
		v->valid |= missing;
	}
}
/* State of these (valid) groups was changed and must reach the hardware. */
static inline void vcpu_changed(struct vcpu *v, uint32_t groups)
{
	v->dirty |= groups;
}

/*
 * Queues an exception for the next entry. Merged with one that was being
 * delivered: #DF or shutdown (SDM volume 3, table 6-5).
 */
void vcpu_exception(struct vcpu *v, uint8_t vector, bool has_error, uint32_t error_code);
void vcpu_page_fault(struct vcpu *v, uint64_t cr2, uint32_t error_code);
static inline void vcpu_gp(struct vcpu *v)
{
	vcpu_exception(v, VEC_GP, true, 0);
}
static inline void vcpu_ud(struct vcpu *v)
{
	vcpu_exception(v, VEC_UD, false, 0);
}

/*
 * Goes on behind the instruction that exited: RIP, shadow, single-step trap.
 * Its length is x->insn_len or is decoded; if that fails, the fault is queued.
 */
void vcpu_skip(struct vcpu *v, const struct vm_exit *x);
/* The same when the length, 1..15, is known. */
void vcpu_skip_bytes(struct vcpu *v, unsigned len);

/* exits.c: does what the exit asks for. */
void vcpu_handle_exit(struct vcpu *v, const struct vm_exit *x);
/* exit_emul.c */
void exit_mmio(struct vcpu *v, const struct vm_exit *x);
void exit_io(struct vcpu *v, const struct vm_exit *x);
struct emul;
/* Decodes the instruction at CS:RIP; its length, or 0 with the fault queued. */
unsigned vcpu_decode_insn(struct vcpu *v, struct emul *e);
unsigned vcpu_insn_length(struct vcpu *v);
/* Copies up to 15 bytes at CS:RIP; returns how many could be read. */
unsigned vcpu_fetch_insn(struct vcpu *v, uint8_t insn[15]);
/* exit_cr.c */
void exit_cr_read(struct vcpu *v, const struct vm_exit *x);
void exit_cr_write(struct vcpu *v, const struct vm_exit *x);
void exit_dr(struct vcpu *v, const struct vm_exit *x);
void exit_xsetbv(struct vcpu *v, const struct vm_exit *x);
/* msr.c */
void exit_rdmsr(struct vcpu *v, const struct vm_exit *x);
void exit_wrmsr(struct vcpu *v, const struct vm_exit *x);

/* Guest TSC now. By the vCPU's own thread. */
uint64_t vcpu_tsc(struct vcpu *v);
/* Applies the VM's clock and state.tsc_offset to the hardware. */
void vcpu_update_tsc(struct vcpu *v);

#endif
