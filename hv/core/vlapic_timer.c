/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APIC's timer (SDM volume 3, 11.5.4): one-shot, periodic and TSC
 * deadline. Counts are derived from VM time, nothing ticks. An expiry moves to
 * the IRR under the APIC's lock, together with the deadline's end, so that it is
 * never in neither place.
 */
#include "hv/core/vlapic_internal.h"

#include "hv/lib/muldiv.h"

#define NS_PER_SECOND 1000000000ULL
/* A guest may ask for a period of a nanosecond; the host is interrupted no oftener than this (I4).
 */
#define MIN_PERIOD_NS 20000ULL
/* Some centuries of VM time: too far to be armed, and near where sums would wrap. */
#define NEVER BIT(63)

static uint32_t mode_of(const struct vlapic *l)
{
	return apic_state(l)->regs[APIC_LVT_TIMER] & LVT_TIMER_MODE;
}

/* Divide configuration register, figure 11-10: bits 3, 1, 0. */
static unsigned divider_shift(uint32_t dcr)
{
	return (((dcr >> 1 & 4) | (dcr & 3)) + 1) & 7;
}

/* --- guest TSC and VM time ------------------------------------------------------- */

static uint64_t vm_tsc_now(const struct vlapic *l)
{
	const struct vm *vm = l->vcpu->vm;

	return muldiv_u64(vm_time(vm), vm->tsc_hz, NS_PER_SECOND);
}

/* True if the deadline is reached; otherwise *when is the VM time at which it will be. */
static bool deadline_due(const struct vlapic *l, uint64_t *when)
{
	uint64_t deadline = apic_state(l)->tsc_deadline, vm_tsc = vm_tsc_now(l), target;
	uint64_t guest_tsc = vm_tsc + l->vcpu->state.tsc_offset;

	if (guest_tsc >= deadline)
		return true;
	*when = UINT64_MAX;
	if (!__builtin_add_overflow(vm_tsc, deadline - guest_tsc, &target))
		*when = muldiv_up_u64(target, NS_PER_SECOND, l->vcpu->vm->tsc_hz);
	return false;
}

/* --- arming and firing -------------------------------------------------------------- */

void apic_timer_stop_locked(struct vlapic *l)
{
	struct vlapic_state *s = apic_state(l);

	s->timer_deadline = 0;
	s->tsc_deadline = 0;
	if (l->timer.armed)
		vtimer_cancel(&l->timer);
}

/* From the state; what is overdue fires as soon as the clock runs. */
void apic_timer_arm_locked(struct vlapic *l)
{
	struct vlapic_state *s = apic_state(l);
	uint64_t when = s->timer_deadline;

	if (s->tsc_deadline && deadline_due(l, &when))
		when = vm_time(l->vcpu->vm);
	if ((s->tsc_deadline || s->timer_deadline) && when < NEVER)
		vtimer_set(&l->timer, when);
	else if (l->timer.armed)
		vtimer_cancel(&l->timer);
}

bool apic_timer_poll_deadline_locked(struct vlapic *l)
{
	struct vlapic_state *s = apic_state(l);
	uint64_t when;

	if (!s->tsc_deadline || !deadline_due(l, &when))
		return false;
	s->tsc_deadline = 0;
	return apic_fire_lvt_locked(l, APIC_LVT_TIMER);
}

/* In nanoseconds, of the count that is set. */
static uint64_t period(const struct vlapic *l)
{
	const uint32_t *regs = apic_state(l)->regs;

	return (uint64_t)regs[APIC_TIMER_INITIAL] << divider_shift(regs[APIC_TIMER_DIVIDE]);
}

/*
 * The next expiry after now, in phase with the last one: late wake-ups neither
 * shift the phase nor are made up for.
 */
static uint64_t next_periodic(uint64_t last, uint64_t length, uint64_t now)
{
	uint64_t behind = now - last, next = last + length;

	if (length < MIN_PERIOD_NS)
		behind += MIN_PERIOD_NS;
	if (behind >= length)
		next = last + (behind / length + 1) * length;
	return next;
}

static bool count_expired_locked(struct vlapic *l)
{
	struct vlapic_state *s = apic_state(l);
	uint64_t now = vm_time(l->vcpu->vm), length = period(l);

	if (!s->timer_deadline || now < s->timer_deadline)
		return false;
	if (mode_of(l) == LVT_TIMER_PERIODIC && length)
		s->timer_deadline = next_periodic(s->timer_deadline, length, now);
	else
		s->timer_deadline = 0;
	return apic_fire_lvt_locked(l, APIC_LVT_TIMER);
}

/* The vtimer's function; harmless when nothing is due. */
void apic_timer_fired(void *arg)
{
	struct vlapic *l = arg;
	uint64_t flags = spin_lock(&l->lock);
	bool kick = apic_timer_poll_deadline_locked(l);

	kick |= count_expired_locked(l);
	apic_timer_arm_locked(l);
	spin_unlock(&l->lock, flags);
	if (kick)
		apic_kick(l);
}

/* --- registers ------------------------------------------------------------------------- */

/* Counts until the next expiry, rounded up: 0 only when the timer stands. */
uint32_t apic_timer_current_locked(const struct vlapic *l)
{
	const struct vlapic_state *s = apic_state(l);
	uint64_t now = vm_time(l->vcpu->vm), length = period(l), left;
	unsigned shift = divider_shift(s->regs[APIC_TIMER_DIVIDE]);

	if (!s->timer_deadline)
		return 0;
	if (now < s->timer_deadline)
		left = s->timer_deadline - now;
	else if (mode_of(l) == LVT_TIMER_PERIODIC && length)
		left = length - (now - s->timer_deadline) % length;
	else
		return 0;
	if (length && left > length) /* a period below the least one, stretched */
		left = (left - 1) % length + 1;
	left = (left + BIT(shift) - 1) >> shift;
	return (uint32_t)MIN(left, (uint64_t)UINT32_MAX);
}

/* A change between TSC deadline mode and the others stops the timer (11.5.4.1). */
void apic_timer_write_lvt_locked(struct vlapic *l, uint32_t value)
{
	uint32_t *regs = apic_state(l)->regs;
	bool was_tsc = mode_of(l) == LVT_TIMER_TSC;

	regs[APIC_LVT_TIMER] = value;
	if (was_tsc != (mode_of(l) == LVT_TIMER_TSC)) {
		regs[APIC_TIMER_INITIAL] = 0;
		apic_timer_stop_locked(l);
	}
}

void apic_timer_write_initial_locked(struct vlapic *l, uint32_t value)
{
	struct vlapic_state *s = apic_state(l);

	if (mode_of(l) == LVT_TIMER_TSC)
		return;
	s->regs[APIC_TIMER_INITIAL] = value;
	s->timer_deadline = value ? vm_time(l->vcpu->vm) + period(l) : 0;
	apic_timer_arm_locked(l);
}

/* A running count goes on from where it is, at the new rate. */
void apic_timer_write_divide_locked(struct vlapic *l, uint32_t value)
{
	struct vlapic_state *s = apic_state(l);
	uint32_t left = apic_timer_current_locked(l);

	s->regs[APIC_TIMER_DIVIDE] = value;
	if (!left)
		return;
	s->timer_deadline = vm_time(l->vcpu->vm) + ((uint64_t)left << divider_shift(value));
	apic_timer_arm_locked(l);
}

/* Ignored outside of TSC deadline mode; what has passed already fires at once. */
bool apic_timer_write_deadline_locked(struct vlapic *l, uint64_t value)
{
	bool kick;

	if (mode_of(l) != LVT_TIMER_TSC)
		return false;
	apic_state(l)->tsc_deadline = value;
	kick = apic_timer_poll_deadline_locked(l);
	apic_timer_arm_locked(l);
	return kick;
}
