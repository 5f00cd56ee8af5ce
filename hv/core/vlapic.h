/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtual local APIC, in software, for both vendors. State is
 * vcpu->state.apic. IRR, TMR and pending flags are changed by other CPUs and by
 * interrupt handlers: under the lock below.
 */
#ifndef AMBER_CORE_VLAPIC_H
#define AMBER_CORE_VLAPIC_H

#include "hv/arch/x86/msr.h" /* enum apic_base_bit */
#include "hv/arch/x86/vcpu_state.h"
#include "hv/core/irq.h"
#include "hv/core/vtimer.h"
#include "hv/lib/spinlock.h"

struct vcpu;

/* Runtime part; the architectural part is in vcpu->state.apic. */
struct vlapic {
	struct vcpu *vcpu;
	struct vtimer timer;
	struct spinlock lock; /* protects all of state.apic */
	bool extint;	      /* the 8259's INTR line, boot vCPU only */
	uint8_t irr_words;    /* derived: bit n set if IRR word n is not zero */
	uint8_t isr_words;    /* the same of the ISR */
};

/* Register offsets divided by 16 (SDM volume 3, table 11-1). */
enum apic_reg {
	APIC_ID = 0x02,
	APIC_VERSION = 0x03,
	APIC_TPR = 0x08,
	APIC_APR = 0x09,
	APIC_PPR = 0x0a,
	APIC_EOI = 0x0b,
	APIC_RRD = 0x0c,
	APIC_LDR = 0x0d,
	APIC_DFR = 0x0e,
	APIC_SVR = 0x0f,
	APIC_ISR = 0x10,
	APIC_TMR = 0x18,
	APIC_IRR = 0x20,
	APIC_ESR = 0x28,
	APIC_LVT_CMCI = 0x2f,
	APIC_ICR = 0x30,
	APIC_ICR2 = 0x31,
	APIC_LVT_TIMER = 0x32,
	APIC_LVT_THERMAL = 0x33,
	APIC_LVT_PMC = 0x34,
	APIC_LVT_LINT0 = 0x35,
	APIC_LVT_LINT1 = 0x36,
	APIC_LVT_ERROR = 0x37,
	APIC_TIMER_INITIAL = 0x38,
	APIC_TIMER_CURRENT = 0x39,
	APIC_TIMER_DIVIDE = 0x3e,
	APIC_SELF_IPI = 0x3f,
	/* Unused register numbers that hold what no register shows but a snapshot must carry. */
	APIC_HIDDEN_ESR = 0x29,	   /* errors since the last write to the ESR */
	APIC_HIDDEN_EXTINT = 0x2a, /* 1: an ExtINT message waits for its INTA cycle */
};

/* Spurious-interrupt vector register (SDM volume 3, figure 11-23). */
enum apic_svr_bit {
	APIC_SVR_VECTOR = 0xff,
	APIC_SVR_ENABLE = 1 << 8,
	APIC_SVR_FOCUS = 1 << 9,
	APIC_SVR_NO_EOI_BROADCAST = 1 << 12,
};

/* The frequency of the APIC timer before its divider: 1 count = 1 ns of VM time. */
#define VLAPIC_TIMER_HZ 1000000000ULL

void vlapic_init(struct vlapic *l, struct vcpu *v);
/* Power-on or INIT (INIT keeps the APIC ID and the base address). */
void vlapic_reset(struct vlapic *l, bool init);

/* MMIO page: offset 0..0xfff. OK, or ERR_INVAL in x2APIC or disabled mode (not an APIC access
 * then). */
int vlapic_mmio_read(struct vlapic *l, uint32_t offset, unsigned len, uint64_t *value);
int vlapic_mmio_write(struct vlapic *l, uint32_t offset, unsigned len, uint64_t value);
/* MSRs 0x800..0x8ff, IA32_APIC_BASE, IA32_TSC_DEADLINE. ERR_INVAL: inject #GP(0). */
int vlapic_msr_read(struct vlapic *l, uint32_t msr, uint64_t *value);
int vlapic_msr_write(struct vlapic *l, uint32_t msr, uint64_t value);

uint8_t vlapic_tpr(const struct vlapic *l); /* 0..255 */
uint8_t vlapic_ppr(const struct vlapic *l); /* 0..255 */
/* True if both IA32_APIC_BASE and the SVR enable it: it takes fixed interrupts. */
bool vlapic_enabled(const struct vlapic *l);
void vlapic_set_tpr(struct vlapic *l, uint8_t tpr);

/*
 * The vector that could be delivered now by priority (ExtINT included), or -1.
 * Does not look at RFLAGS.IF or shadows. 256 stands for "ExtINT: acknowledge to learn the vector".
 */
#define VLAPIC_EXTINT 256
int vlapic_pending(struct vlapic *l);
/* False: vlapic_pending() would give -1. What can be told without a call; s is the vCPU's. */
static inline bool vlapic_maybe_pending(const struct vlapic *l, const struct vlapic_state *s)
{
	return __atomic_load_n(&l->irr_words, __ATOMIC_ACQUIRE) | l->extint |
	       s->regs[APIC_HIDDEN_EXTINT];
}
/* Moves the vector from IRR to ISR (or does the 8259's INTA cycle); returns the vector to
 * inject. */
uint8_t vlapic_accept(struct vlapic *l, int pending);
/* Puts a vector back that was accepted but could not be injected after all. */
void vlapic_unaccept(struct vlapic *l, uint8_t vector);

/* From the interrupt core. Each kicks the vCPU where needed. Any context. */
bool vlapic_matches(struct vlapic *l, const struct irq_message *m);
void vlapic_deliver(struct vlapic *l, const struct irq_message *m);
/* INTR's level at LINT0; false: it is no other than before. */
bool vlapic_extint(struct vlapic *l, bool level);
/* An edge at LINT1, to which an NMI button is wired. Any context. */
void vlapic_lint1(struct vlapic *l);

/*
 * After a restore, at resume, and when the guest changed its TSC: recomputes
 * what is derived, re-arms the timer from the state, kicks if something waits.
 */
void vlapic_resume(struct vlapic *l);
/* Architectural check of a decoded state ("record vcpu/0: apic: ..."). */
int vlapic_check(const struct vlapic_state *s, unsigned apic_id, struct errmsg *e);

#endif
