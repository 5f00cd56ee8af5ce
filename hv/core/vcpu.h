/* SPDX-License-Identifier: BSD-2-Clause */
/* A vCPU's thread and what exit handlers may do to it. For the files of hv/core only. */
#ifndef AMBER_CORE_VCPU_H
#define AMBER_CORE_VCPU_H

#include <string.h>
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/xstate.h"
#include "hv/core/virt_ops.h"
#include "hv/core/vm.h"

int vcpu_create(struct vm *vm, unsigned index, struct vcpu **out);
/* Starts the thread; it parks at once (VCPU_REQ_PAUSE is set). */
int vcpu_start_thread(struct vcpu *v);
/* The thread leaves its loop and is joined; then frees all. */
void vcpu_destroy(struct vcpu *v);
/* Takes back VCPU_REQ_PAUSE: a parked vCPU goes on. Any context. */
void vcpu_unpark(struct vcpu *v);
/*
 * The guest's vector registers and XCR0 leave the CPU for v->state, where they may be
 * changed, and come back: before the guest runs again. Each does nothing if it is done
 * already. By the vCPU's own thread.
 */
void vcpu_take_vectors(struct vcpu *v);
void vcpu_return_vectors(struct vcpu *v);
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
 * The bytes at RIP and how many follow in the page; NULL if that is not to be
 * had cheaply. The guest may change them at any time: read once (I3). By the
 * vCPU's own thread, right after an exit.
 */
static inline const uint8_t *code_at_rip(struct vcpu *v, unsigned *left)
{
	uint64_t linear = v->state.rip, cr3 = v->code_root;

	if (UNLIKELY(!code_cache_hit(&v->code, cr3, linear)) &&
	    UNLIKELY(cr3 == NO_CODE_ROOT || !code_cache_fill(&v->code, v->vm, cr3, linear)))
		return NULL;
	*left = (unsigned)(PAGE_SIZE - (linear & (PAGE_SIZE - 1)));
	return v->code.page + (linear & (PAGE_SIZE - 1));
}

/*
 * Queues an exception for the next entry. Merged with one that was being
 * delivered: #DF or shutdown (SDM volume 3, table 6-5).
 */
void vcpu_exception(struct vcpu *v, uint8_t vector, bool has_error, uint32_t error_code);
void vcpu_page_fault(struct vcpu *v, uint64_t cr2, uint32_t error_code);
/*
 * Faults leave RF set in the image of RFLAGS, so that the instruction can go on where it has a
 * breakpoint (SDM volume 3, 17.3.1.1). Delivery takes it as it finds it (26.6.1.1).
 */
static inline bool vcpu_is_fault(uint8_t vector)
{
	return vector != VEC_DB && vector != VEC_BP && vector != VEC_OF && vector != VEC_DF &&
	       vector != VEC_MC;
}
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
/* The same when the length, 1..15, is known. The first two are its rare cases. */
void vcpu_wrap_rip(struct vcpu *v);
void vcpu_single_step(struct vcpu *v);
static inline void vcpu_skip_bytes(struct vcpu *v, unsigned len)
{
	struct vcpu_state *s = &v->state;

	s->rip += len;
	if (UNLIKELY((uint32_t)s->rip < len)) /* across a multiple of 4 GiB */
		vcpu_wrap_rip(v);
	s->sti_shadow = s->movss_shadow = 0;
	s->rflags &= ~(uint64_t)RFLAGS_RF;
	if (UNLIKELY(s->rflags & RFLAGS_TF))
		vcpu_single_step(v);
}

/*
 * Instructions without operands, as they mostly are: without prefixes. The bytes
 * as a number, and in bits 31:24 how many there are.
 */
enum plain_insn {
	INSN_CPUID = 0x0200a20f,
	INSN_HLT = 0x010000f4,
	INSN_PAUSE = 0x020090f3,
	INSN_RDMSR = 0x0200320f,
	INSN_WRMSR = 0x0200300f,
	INSN_VMMCALL = 0x03d9010f,
	INSN_XSETBV = 0x03d1010f,
	INSN_WBINVD = 0x0200090f,
	INSN_RDTSC = 0x0200310f,
	INSN_RDTSCP = 0x03f9010f,
};
/* As vcpu_skip() for one of these: its length needs no decoding if it looks that way. */
static inline void vcpu_skip_plain(struct vcpu *v, const struct vm_exit *x, enum plain_insn plain)
{
	unsigned len = plain >> 24, left;
	uint32_t mask = (uint32_t)(BIT(8 * len) - 1), bytes;
	const uint8_t *code;

	if (x->insn_len) {
		vcpu_skip_bytes(v, x->insn_len);
		return;
	}
	code = code_at_rip(v, &left);
	if (LIKELY(code && left >= sizeof(bytes))) {
		memcpy(&bytes, code, sizeof(bytes));
		if (LIKELY((bytes & mask) == (plain & mask))) {
			vcpu_skip_bytes(v, len);
			return;
		}
	}
	vcpu_skip(v, x);
}

/* exits.c: does what the exit asks for. */
void vcpu_handle_exit(struct vcpu *v, const struct vm_exit *x);
/* VMCALL or VMMCALL, of either vendor. */
void exit_hypercall(struct vcpu *v, const struct vm_exit *x);
/* exit_emul.c */
void exit_mmio(struct vcpu *v, const struct vm_exit *x);
void exit_io(struct vcpu *v, const struct vm_exit *x);
struct emul;
/* Decodes the instruction at CS:RIP; its length, or 0 with the fault queued. */
unsigned vcpu_decode_insn(struct vcpu *v, struct emul *e);
unsigned vcpu_insn_length(struct vcpu *v);
/*
 * Reads the memory operand, len (1, 2, 4, 8) bytes, of the instruction at CS:RIP. False: it
 * cannot be read now; what the guest is to be told is queued.
 */
bool vcpu_read_operand(struct vcpu *v, unsigned len, uint64_t *value);
/* Does the instruction at CS:RIP in the guest's place, whatever it touches. */
void vcpu_emulate(struct vcpu *v);
/* Copies up to 15 bytes at CS:RIP; returns how many could be read. */
unsigned vcpu_fetch_insn(struct vcpu *v, uint8_t insn[15]);
/* exit_cr.c */
/*
 * In PAE paging: reads the PDPTEs again where the CPU takes them from memory at each
 * walk, so that nothing tells when the guest has changed them. Thread context.
 */
void vcpu_refresh_pdptes(struct vcpu *v);
/* The PDPTEs that PAE paging loads with CR3; false if one of them has reserved bits. Thread
 * context.
 */
bool vcpu_read_pdptes(struct vcpu *v, uint64_t cr3, uint64_t pdpte[4]);
/* Whether paging, with these values of the registers, has PDPTEs. */
static inline bool vcpu_pae_paging(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}
void exit_cr_read(struct vcpu *v, const struct vm_exit *x);
void exit_cr_write(struct vcpu *v, const struct vm_exit *x);
void exit_dr(struct vcpu *v, const struct vm_exit *x);
void exit_xsetbv(struct vcpu *v, const struct vm_exit *x);
/* exit_task.c */
void exit_task_switch(struct vcpu *v, const struct vm_exit *x);
/* exit_tsc.c */
void exit_rdtsc(struct vcpu *v, const struct vm_exit *x);
void exit_rdtscp(struct vcpu *v, const struct vm_exit *x);
/* exit_db.c: a debug exception that the CPU raised; its bits are in DR6. */
void exit_debug(struct vcpu *v);
/* Breakpoints 0 to 3 of the mask were met by an instruction that was done in the guest's place. */
void vcpu_debug_trap(struct vcpu *v, unsigned hits);
/* After IN or OUT, if any breakpoint is enabled. */
void vcpu_io_breakpoints(struct vcpu *v, uint16_t port, unsigned len);
/* The enabled breakpoints that such an access of memory can meet, as a mask. */
unsigned vcpu_data_breakpoints(const struct vcpu_state *s, bool write);
/* Whether breakpoint n, which is at the address or port AT, covers some of these bytes. */
bool vcpu_breakpoint_covers(
    const struct vcpu_state *s, unsigned n, uint64_t at, uint64_t addr, unsigned len);
/* exit_ud.c: #UD of the guest: another vendor's instruction, or the guest's own fault. */
void exit_ud(struct vcpu *v, const struct vm_exit *x);
/*
 * A guest's #GP: true, and #UD queued, if it was SYSENTER or SYSEXIT in long mode and
 * the CPU model's vendor string says AMD. Only VMX needs it (docs/cpu-state.md).
 */
bool exit_gp_sysenter(struct vcpu *v);
/* msr.c */
void exit_rdmsr(struct vcpu *v, const struct vm_exit *x);
void exit_wrmsr(struct vcpu *v, const struct vm_exit *x);

/*
 * XCR0 as the guest has it. XSETBV exits, but not on QEMU's emulated SVM (7.2),
 * where the guest writes the register itself: what it wrote counts as far as its
 * CPU model goes. By the vCPU's own thread, on a machine with XSAVE.
 */
static inline uint64_t vcpu_xcr0(const struct vcpu *v)
{
	return (xgetbv(0) & v->vm->cpu_model->xcr0_mask) | XSTATE_X87;
}

/* Guest TSC now. By the vCPU's own thread. */
uint64_t vcpu_tsc(struct vcpu *v);
/* Applies the VM's clock, its TSC ratio and state.tsc_offset to the hardware. */
void vcpu_update_tsc(struct vcpu *v);

#endif
