/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by the parts of the local APIC; nobody else includes it. */
#ifndef AMBER_CORE_VLAPIC_INTERNAL_H
#define AMBER_CORE_VLAPIC_INTERNAL_H

#include "hv/core/vlapic.h"
#include "hv/core/vm.h"

/* Local vector table (SDM volume 3, figure 11-8). */
enum apic_lvt_bit {
	LVT_VECTOR = 0xff,
	LVT_MODE_SHIFT = 8,
	LVT_MODE = 7 << 8,
	LVT_STATUS = 1 << 12,
	LVT_POLARITY = 1 << 13,
	LVT_REMOTE_IRR = 1 << 14,
	LVT_LEVEL = 1 << 15,
	LVT_MASK = 1 << 16,
	LVT_TIMER_MODE = 3 << 17,
	LVT_TIMER_ONESHOT = 0 << 17,
	LVT_TIMER_PERIODIC = 1 << 17,
	LVT_TIMER_TSC = 2 << 17,
};

/* Error status register (SDM volume 3, figure 11-9). */
enum apic_esr_bit {
	ESR_SEND_ILLEGAL = 1 << 5,
	ESR_RECEIVED_ILLEGAL = 1 << 6,
	ESR_ILLEGAL_REGISTER = 1 << 7,
};

/* Interrupt command register, low half (SDM volume 3, figure 11-12). */
enum apic_icr_bit {
	ICR_VECTOR = 0xff,
	ICR_MODE_SHIFT = 8,
	ICR_MODE = 7 << 8,
	ICR_LOGICAL = 1 << 11,
	ICR_STATUS = 1 << 12,
	ICR_ASSERT = 1 << 14,
	ICR_LEVEL = 1 << 15,
	ICR_SHORTHAND_SHIFT = 18,
	ICR_SHORTHAND = 3 << 18,
};
enum apic_shorthand { SHORTHAND_NONE, SHORTHAND_SELF, SHORTHAND_ALL, SHORTHAND_OTHERS };

enum {
	APIC_VECTOR_MIN = 16, /* vectors below are illegal */
	/* version 0x14, last LVT entry 6 (CMCI), EOI broadcast can be suppressed */
	APIC_VERSION_VALUE = 0x01060014,
	/* the same without CMCI: of machines that were made before it was there */
	APIC_VERSION_NO_CMCI = 0x01050014,
	APIC_BANK_WORDS = 8, /* of ISR, TMR, IRR */
};
#define APIC_BASE_DEFAULT 0xfee00000ULL

static inline struct vlapic_state *apic_state(const struct vlapic *l)
{
	return &l->vcpu->state.apic;
}
static inline bool apic_hw_enabled(const struct vlapic *l)
{
	return apic_state(l)->base_msr & APIC_BASE_EN;
}
static inline bool apic_x2(const struct vlapic *l)
{
	return apic_state(l)->base_msr & APIC_BASE_EXTD;
}

static inline bool apic_has_cmci(const struct vlapic_state *s)
{
	return s->regs[APIC_VERSION] != APIC_VERSION_NO_CMCI;
}

/* "locked": the caller holds l->lock. A true result: kick the vCPU after unlocking. */

/* Makes a vector pending in the IRR. */
bool apic_set_irr_locked(struct vlapic *l, uint8_t vector, bool level);
/* Records an error and raises the error LVT. */
bool apic_error_locked(struct vlapic *l, uint32_t esr_bit);
/* Raises a local interrupt as its LVT entry says. */
bool apic_fire_lvt_locked(struct vlapic *l, enum apic_reg lvt);
void apic_update_ppr_locked(struct vlapic *l);
void apic_reset_locked(struct vlapic *l);
void apic_kick(struct vlapic *l);
void apic_eoi(struct vlapic *l);
/* Sends what an ICR write asks for; dest is 8 bits wide in xAPIC mode. No lock held. */
void apic_send_ipi(struct vlapic *l, uint32_t icr, uint32_t dest);
/* A vector that this vCPU sends to itself. No lock held. */
void apic_self_ipi(struct vlapic *l, uint8_t vector);
uint32_t apic_x2_ldr(uint32_t id);

/* vlapic_timer.c */
void apic_timer_fired(void *l);
void apic_timer_arm_locked(struct vlapic *l);
void apic_timer_stop_locked(struct vlapic *l);
void apic_timer_write_lvt_locked(struct vlapic *l, uint32_t value);
void apic_timer_write_initial_locked(struct vlapic *l, uint32_t value);
void apic_timer_write_divide_locked(struct vlapic *l, uint32_t value);
uint32_t apic_timer_current_locked(const struct vlapic *l);
bool apic_timer_write_deadline_locked(struct vlapic *l, uint64_t value);
/* Fires a deadline that has passed though the host's timer is late. */
bool apic_timer_poll_deadline_locked(struct vlapic *l);

#endif
