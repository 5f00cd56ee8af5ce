/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APIC's core: what is pending, accepted and ended, and what arrives
 * (SDM volume 3, 11.5 to 11.8). Registers are in vlapic_regs.c, the timer is in
 * vlapic_timer.c.
 */
#include "hv/core/vlapic_internal.h"

#include <string.h>

/* --- banks of 256 bits ------------------------------------------------------- */

static bool bank_test(const uint32_t *bank, uint8_t vector)
{
	return bank[vector / 32] >> (vector % 32) & 1;
}

static void bank_set(uint32_t *bank, uint8_t *words, uint8_t vector)
{
	bank[vector / 32] |= 1U << (vector % 32);
	/* after the word: vlapic_pending() looks without the lock */
	__atomic_store_n(words, (uint8_t)(*words | 1U << (vector / 32)), __ATOMIC_RELEASE);
}

static void bank_clear(uint32_t *bank, uint8_t *words, uint8_t vector)
{
	bank[vector / 32] &= ~(1U << (vector % 32));
	if (!bank[vector / 32])
		*words &= (uint8_t) ~(1U << (vector / 32));
}

/* The highest set bit, or -1. */
static int bank_highest(const uint32_t *bank, uint8_t words)
{
	while (words) {
		unsigned w = 31U - (unsigned)__builtin_clz(words);
		uint32_t bits = bank[w];

		if (bits)
			return (int)(w * 32 + 31U - (unsigned)__builtin_clz(bits));
		words &= (uint8_t) ~(1U << w);
	}
	return -1;
}

static uint8_t bank_words(const uint32_t *bank)
{
	uint8_t words = 0;

	for (unsigned w = 0; w < APIC_BANK_WORDS; w++)
		words |= (uint8_t)((bank[w] != 0) << w);
	return words;
}

/* --- life cycle ---------------------------------------------------------------- */

void vlapic_init(struct vlapic *l, struct vcpu *v)
{
	*l = (struct vlapic){.vcpu = v};
	spinlock_init(&l->lock, RANK_VLAPIC);
	vtimer_init(&l->timer, v->vm, apic_timer_fired, l);
}

uint32_t apic_x2_ldr(uint32_t id)
{
	return (id >> 4) << 16 | 1U << (id & 15);
}

/* Registers as in SDM volume 3, 11.4.7.1; the ID and LDR follow the mode. */
void apic_reset_locked(struct vlapic *l)
{
	struct vlapic_state *s = apic_state(l);
	uint32_t id = l->vcpu->apic_id;

	memset(s->regs, 0, sizeof(s->regs));
	s->regs[APIC_VERSION] = APIC_VERSION_VALUE;
	s->regs[APIC_DFR] = 0xffffffff;
	s->regs[APIC_SVR] = 0xff;
	for (unsigned r = APIC_LVT_TIMER; r <= APIC_LVT_ERROR; r++)
		s->regs[r] = LVT_MASK;
	s->regs[APIC_LVT_CMCI] = LVT_MASK;
	s->regs[APIC_ID] = apic_x2(l) ? id : id << 24;
	s->ldr_x2apic = apic_x2(l) ? apic_x2_ldr(id) : 0;
	s->regs[APIC_LDR] = (uint32_t)s->ldr_x2apic;
	l->irr_words = 0;
	l->isr_words = 0;
	apic_timer_stop_locked(l);
}

void vlapic_reset(struct vlapic *l, bool init)
{
	struct vlapic_state *s = apic_state(l);
	uint64_t flags = spin_lock(&l->lock);

	if (!init) {
		s->base_msr =
		    APIC_BASE_DEFAULT | APIC_BASE_EN | (l->vcpu->index == 0 ? APIC_BASE_BSP : 0);
		s->sipi_pending = 0;
		s->sipi_vector = 0;
	}
	s->init_pending = 0;
	s->nmi_pending = 0;
	apic_reset_locked(l);
	spin_unlock(&l->lock, flags);
}

void vlapic_resume(struct vlapic *l)
{
	struct vlapic_state *s = apic_state(l);
	uint64_t flags = spin_lock(&l->lock);

	l->irr_words = bank_words(&s->regs[APIC_IRR]);
	l->isr_words = bank_words(&s->regs[APIC_ISR]);
	apic_update_ppr_locked(l);
	apic_timer_arm_locked(l);
	spin_unlock(&l->lock, flags);
	apic_kick(l);
}

void apic_kick(struct vlapic *l)
{
	vcpu_request(l->vcpu, VCPU_REQ_EVENT);
}

/* --- priorities ------------------------------------------------------------------ */

bool vlapic_enabled(const struct vlapic *l)
{
	return apic_hw_enabled(l) && (apic_state(l)->regs[APIC_SVR] & APIC_SVR_ENABLE);
}

uint8_t vlapic_tpr(const struct vlapic *l)
{
	return (uint8_t)apic_state(l)->regs[APIC_TPR];
}

uint8_t vlapic_ppr(const struct vlapic *l)
{
	return (uint8_t)apic_state(l)->regs[APIC_PPR];
}

/* SDM volume 3, 11.8.3.1 */
void apic_update_ppr_locked(struct vlapic *l)
{
	uint32_t *regs = apic_state(l)->regs;
	int isrv = bank_highest(&regs[APIC_ISR], l->isr_words);
	uint32_t tpr = regs[APIC_TPR], class = isrv < 0 ? 0 : (uint32_t)isrv & 0xf0;

	regs[APIC_PPR] = (tpr & 0xf0) >= class ? tpr : class;
}

void vlapic_set_tpr(struct vlapic *l, uint8_t tpr)
{
	uint32_t *regs = apic_state(l)->regs;
	uint64_t flags;
	uint8_t old;

	if (regs[APIC_TPR] == tpr) /* only this vCPU's own thread changes it */
		return;
	flags = spin_lock(&l->lock);
	old = vlapic_ppr(l);
	regs[APIC_TPR] = tpr;
	apic_update_ppr_locked(l);
	spin_unlock(&l->lock, flags);
	if (vlapic_ppr(l) < old && l->irr_words)
		apic_kick(l);
}

/* --- towards the vCPU ------------------------------------------------------------- */

/* SDM volume 3, 11.1: with the APIC disabled LINT0 is the INTR pin itself. */
static bool extint_waits(const struct vlapic *l)
{
	const uint32_t *regs = apic_state(l)->regs;

	if (!apic_hw_enabled(l))
		return __atomic_load_n(&l->extint, __ATOMIC_RELAXED);
	if (regs[APIC_HIDDEN_EXTINT])
		return true;
	return __atomic_load_n(&l->extint, __ATOMIC_RELAXED) &&
	       (regs[APIC_LVT_LINT0] & (LVT_MASK | LVT_MODE)) == DELIVERY_EXTINT << LVT_MODE_SHIFT;
}

/*
 * On the vCPU's own thread: others only add to the IRR, so no lock is needed to
 * look. What is added after the look comes with a kick.
 */
int vlapic_pending(struct vlapic *l)
{
	const uint32_t *regs = apic_state(l)->regs;
	uint8_t words = __atomic_load_n(&l->irr_words, __ATOMIC_ACQUIRE);
	int vector;

	if (LIKELY(!vlapic_maybe_pending(l, apic_state(l))))
		return -1;
	if (extint_waits(l))
		return VLAPIC_EXTINT;
	if (!words || !apic_hw_enabled(l))
		return -1;
	vector = bank_highest(&regs[APIC_IRR], words);
	return vector >= 0 && ((uint32_t)vector & 0xf0) > (regs[APIC_PPR] & 0xf0) ? vector : -1;
}

/* An INTA cycle on the 8259 pair; its lock comes before ours, so ours is not held. */
static uint8_t accept_extint(struct vlapic *l)
{
	struct vm *vm = l->vcpu->vm;
	uint64_t flags = spin_lock(&l->lock);

	apic_state(l)->regs[APIC_HIDDEN_EXTINT] = 0;
	spin_unlock(&l->lock, flags);
	if (vm->pic_ops && vm->pic_ops->pic_ack)
		return vm->pic_ops->pic_ack(vm->pic);
	return (uint8_t)(apic_state(l)->regs[APIC_SVR] & APIC_SVR_VECTOR);
}

uint8_t vlapic_accept(struct vlapic *l, int pending)
{
	uint32_t *regs = apic_state(l)->regs;
	uint8_t vector = (uint8_t)pending;
	uint64_t flags;

	if (pending == VLAPIC_EXTINT)
		return accept_extint(l);
	flags = spin_lock(&l->lock);
	bank_clear(&regs[APIC_IRR], &l->irr_words, vector);
	bank_set(&regs[APIC_ISR], &l->isr_words, vector);
	apic_update_ppr_locked(l);
	spin_unlock(&l->lock, flags);
	return vector;
}

void vlapic_unaccept(struct vlapic *l, uint8_t vector)
{
	uint32_t *regs = apic_state(l)->regs;
	uint64_t flags = spin_lock(&l->lock);

	if (bank_test(&regs[APIC_ISR], vector)) {
		bank_clear(&regs[APIC_ISR], &l->isr_words, vector);
		bank_set(&regs[APIC_IRR], &l->irr_words, vector);
		apic_update_ppr_locked(l);
	}
	spin_unlock(&l->lock, flags);
}

/* SDM volume 3, 11.8.5. The broadcast goes out after our lock is dropped: the I/O APIC's comes
 * first. */
void apic_eoi(struct vlapic *l)
{
	uint32_t *regs = apic_state(l)->regs;
	struct vm *vm = l->vcpu->vm;
	bool broadcast;
	uint64_t flags;
	int vector;

	flags = spin_lock(&l->lock);
	vector = bank_highest(&regs[APIC_ISR], l->isr_words);
	if (vector < 0) {
		spin_unlock(&l->lock, flags);
		return;
	}
	bank_clear(&regs[APIC_ISR], &l->isr_words, (uint8_t)vector);
	apic_update_ppr_locked(l);
	broadcast = bank_test(&regs[APIC_TMR], (uint8_t)vector) &&
		    !(regs[APIC_SVR] & APIC_SVR_NO_EOI_BROADCAST);
	spin_unlock(&l->lock, flags);
	if (broadcast && vm->ioapic_ops && vm->ioapic_ops->ioapic_eoi)
		vm->ioapic_ops->ioapic_eoi(vm->ioapic, (uint8_t)vector);
	if (l->irr_words)
		apic_kick(l);
}

/* --- arrivals ---------------------------------------------------------------------- */

/* False if it was pending already: one more of the same is no news (SDM volume 3, 11.8.4). */
bool apic_set_irr_locked(struct vlapic *l, uint8_t vector, bool level)
{
	uint32_t *regs = apic_state(l)->regs, bit = 1U << (vector % 32);
	bool news = !bank_test(&regs[APIC_IRR], vector);

	if (level)
		regs[APIC_TMR + vector / 32] |= bit;
	else
		regs[APIC_TMR + vector / 32] &= ~bit;
	bank_set(&regs[APIC_IRR], &l->irr_words, vector);
	return news;
}

bool apic_error_locked(struct vlapic *l, uint32_t esr_bit)
{
	uint32_t *regs = apic_state(l)->regs, lvt = regs[APIC_LVT_ERROR];

	regs[APIC_HIDDEN_ESR] |= esr_bit;
	if (lvt & LVT_MASK)
		return false;
	if ((lvt & LVT_VECTOR) < APIC_VECTOR_MIN) {
		regs[APIC_HIDDEN_ESR] |=
		    ESR_RECEIVED_ILLEGAL; /* and no further: it would recurse */
		return false;
	}
	return apic_set_irr_locked(l, lvt & LVT_VECTOR, false);
}

static bool fixed_locked(struct vlapic *l, uint8_t vector, bool level)
{
	if (!vlapic_enabled(l))
		return false;
	if (vector < APIC_VECTOR_MIN)
		return apic_error_locked(l, ESR_RECEIVED_ILLEGAL);
	return apic_set_irr_locked(l, vector, level);
}

/* What an LVT entry and a message have in common. */
static bool event_locked(struct vlapic *l, unsigned mode, uint8_t vector, bool level)
{
	struct vlapic_state *s = apic_state(l);

	switch (mode) {
	case DELIVERY_FIXED:
	case DELIVERY_LOWEST:
		return fixed_locked(l, vector, level);
	case DELIVERY_NMI:
		s->nmi_pending = 1;
		return true;
	case DELIVERY_INIT:
		s->init_pending = 1;
		s->sipi_pending = 0;
		return true;
	case DELIVERY_STARTUP:
		s->sipi_pending = 1;
		s->sipi_vector = vector;
		return true;
	case DELIVERY_EXTINT:
		s->regs[APIC_HIDDEN_EXTINT] = 1;
		return true;
	default: /* SMI: there is no system management mode; 3 is reserved */
		return false;
	}
}

bool apic_fire_lvt_locked(struct vlapic *l, enum apic_reg lvt)
{
	uint32_t value = apic_state(l)->regs[lvt];

	if (value & LVT_MASK)
		return false;
	return event_locked(
	    l, (value & LVT_MODE) >> LVT_MODE_SHIFT, (uint8_t)(value & LVT_VECTOR), false);
}

/*
 * LINT0 carries the 8259's INTR. As ExtINT it is a level that vlapic_pending()
 * looks at; in the other modes its rising edge is the event.
 */
bool vlapic_extint(struct vlapic *l, bool level)
{
	uint32_t mode = apic_state(l)->regs[APIC_LVT_LINT0] & LVT_MODE;
	bool rises = level && !l->extint, kick = false;
	uint64_t flags;

	if (l->extint == level)
		return false; /* the 8259's lock, which its caller holds, keeps calls in order */
	flags = spin_lock(&l->lock);
	__atomic_store_n(&l->extint, level, __ATOMIC_RELEASE);
	if (rises && apic_hw_enabled(l) && mode != DELIVERY_EXTINT << LVT_MODE_SHIFT)
		kick = apic_fire_lvt_locked(l, APIC_LVT_LINT0);
	else if (rises)
		kick = extint_waits(l);
	spin_unlock(&l->lock, flags);
	if (kick)
		apic_kick(l);
	return true;
}

void vlapic_lint1(struct vlapic *l)
{
	uint64_t flags = spin_lock(&l->lock);
	bool kick;

	/* SDM volume 3, 11.1: with the APIC disabled LINT1 is the NMI pin itself. */
	if (apic_hw_enabled(l))
		kick = apic_fire_lvt_locked(l, APIC_LVT_LINT1);
	else
		kick = event_locked(l, DELIVERY_NMI, 0, false);
	spin_unlock(&l->lock, flags);
	if (kick)
		apic_kick(l);
}

void vlapic_deliver(struct vlapic *l, const struct irq_message *m)
{
	uint64_t flags;
	bool kick;

	if (m->mode == DELIVERY_INIT && !m->assert_level)
		return; /* INIT level de-assert only synchronised arbitration on old buses */
	flags = spin_lock(&l->lock);
	kick = event_locked(l, m->mode, m->vector, m->level);
	spin_unlock(&l->lock, flags);
	if (kick)
		apic_kick(l);
}

/* Logical destinations in xAPIC form (SDM volume 3, 11.6.2.2). */
static bool match_logical8(const uint32_t *regs, uint32_t dest)
{
	uint32_t ldr = regs[APIC_LDR] >> 24;

	switch (regs[APIC_DFR] >> 28) {
	case 0xf: /* flat */
		return ldr & dest;
	case 0x0: /* cluster */
		return ldr >> 4 == dest >> 4 && (ldr & dest & 0xf);
	default:
		return false;
	}
}

/*
 * A message in xAPIC form also reaches APICs in x2APIC mode and the other way
 * round, as far as its destination can be expressed (SDM volume 3, 11.12.9.2).
 */
bool vlapic_matches(struct vlapic *l, const struct irq_message *m)
{
	const uint32_t *regs = apic_state(l)->regs;

	if (!apic_hw_enabled(l))
		return false;
	if (m->dest == (m->dest_x2apic ? UINT32_MAX : 0xff))
		return true;
	if (!m->dest_logical)
		return m->dest == l->vcpu->apic_id;
	if (!apic_x2(l))
		return m->dest <= 0xff && match_logical8(regs, m->dest);
	return regs[APIC_LDR] >> 16 == m->dest >> 16 && (regs[APIC_LDR] & m->dest & 0xffff);
}

/* --- interprocessor interrupts -------------------------------------------------------- */

void apic_self_ipi(struct vlapic *l, uint8_t vector)
{
	uint64_t flags = spin_lock(&l->lock);
	bool kick = vector < APIC_VECTOR_MIN ? apic_error_locked(l, ESR_SEND_ILLEGAL)
					     : fixed_locked(l, vector, false);

	spin_unlock(&l->lock, flags);
	if (kick)
		apic_kick(l);
}

static void send_illegal(struct vlapic *l)
{
	uint64_t flags = spin_lock(&l->lock);
	bool kick = apic_error_locked(l, ESR_SEND_ILLEGAL);

	spin_unlock(&l->lock, flags);
	if (kick)
		apic_kick(l);
}

static void send_shorthand(struct vlapic *l, const struct irq_message *m, bool self)
{
	struct vm *vm = l->vcpu->vm;

	for (unsigned i = 0; i < vm->nvcpus; i++) {
		struct vlapic *to = &vm->vcpus[i]->lapic;

		if (apic_hw_enabled(to) && (self || to != l))
			vlapic_deliver(to, m);
	}
}

/* SDM volume 3, 11.6.1. Interprocessor interrupts are edge-triggered whatever the ICR says. */
void apic_send_ipi(struct vlapic *l, uint32_t icr, uint32_t dest)
{
	struct irq_message m = {
	    .dest = dest,
	    .dest_x2apic = apic_x2(l),
	    .dest_logical = icr & ICR_LOGICAL,
	    .assert_level = !(icr & ICR_LEVEL) || (icr & ICR_ASSERT),
	    .vector = icr & ICR_VECTOR,
	    .mode = (icr & ICR_MODE) >> ICR_MODE_SHIFT,
	};

	if (m.mode == DELIVERY_EXTINT)
		return; /* reserved in an ICR */
	if (m.mode <= DELIVERY_LOWEST && m.vector < APIC_VECTOR_MIN) {
		send_illegal(l);
		return;
	}
	switch ((icr & ICR_SHORTHAND) >> ICR_SHORTHAND_SHIFT) {
	case SHORTHAND_NONE:
		irq_deliver(l->vcpu->vm, &m);
		break;
	case SHORTHAND_SELF:
		vlapic_deliver(l, &m);
		break;
	case SHORTHAND_ALL:
		send_shorthand(l, &m, true);
		break;
	case SHORTHAND_OTHERS:
		send_shorthand(l, &m, false);
		break;
	}
}
