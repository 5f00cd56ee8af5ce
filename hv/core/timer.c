/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Host timers: a list per CPU in order of deadline, the hardware armed for the
 * first. A timer's cpu says whose list it is in: it changes from -1 by
 * compare-and-swap, and back to -1, only under that list's lock.
 */
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/lapic.h"
#include "hv/arch/x86/tsc.h"
#include "hv/core/thread.h"

static struct queue {
	struct spinlock lock;
	struct list timers;
	const struct timer *running; /* atomic: whose fn runs; its owner may free it meanwhile */
} __attribute__((aligned(64))) queues[MAX_CPUS];

uint64_t time_now(void)
{
	return tsc_to_ns(tsc_now());
}

void timer_init(struct timer *t, void (*fn)(void *arg), void *arg)
{
	*t = (struct timer){.cpu = -1, .fn = fn, .arg = arg};
	list_init(&t->link);
}

static struct timer *first_timer(const struct queue *q)
{
	return list_empty(&q->timers) ? NULL : LIST_ENTRY(q->timers.next, struct timer, link);
}

/* Inserts t into this CPU's queue; false if somebody else armed it just now. */
static bool insert(struct timer *t, uint64_t deadline)
{
	struct queue *q = &queues[cpu_id()];
	uint64_t flags = spin_lock(&q->lock);
	int none = -1;
	bool mine = __atomic_compare_exchange_n(
	    &t->cpu, &none, (int)cpu_id(), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);

	if (mine) {
		struct list *pos;

		t->deadline = deadline;
		LIST_FOREACH(pos, &q->timers)
		if (LIST_ENTRY(pos, struct timer, link)->deadline > deadline)
			break;
		list_insert_before(pos, &t->link);
		if (first_timer(q) == t)
			lapic_timer_arm(deadline);
	}
	spin_unlock(&q->lock, flags);
	return mine;
}

void timer_set(struct timer *t, uint64_t deadline)
{
	do
		timer_cancel(t);
	while (!insert(t, deadline));
}

void timer_cancel(struct timer *t)
{
	int cpu;

	/* It may move while we look: until it is in no list, or we took it out of one. */
	while ((cpu = __atomic_load_n(&t->cpu, __ATOMIC_ACQUIRE)) >= 0) {
		struct queue *q = &queues[cpu];
		uint64_t flags = spin_lock(&q->lock);
		bool there = __atomic_load_n(&t->cpu, __ATOMIC_ACQUIRE) == cpu;

		/* The hardware stays armed: an interrupt with nothing due costs less than this. */
		if (there) {
			list_remove(&t->link);
			__atomic_store_n(&t->cpu, -1, __ATOMIC_RELEASE);
		}
		spin_unlock(&q->lock, flags);
		if (there)
			return;
	}
}

void timer_cancel_sync(struct timer *t)
{
	timer_cancel(t);
	for (unsigned i = 0; i < cpus_online(); i++)
		while (__atomic_load_n(&queues[i].running, __ATOMIC_ACQUIRE) == t)
			cpu_pause();
}

/* Takes the first timer out if it is due; else arms the hardware for it. */
static struct timer *take_due(struct queue *q)
{
	uint64_t flags = spin_lock(&q->lock);
	struct timer *t = first_timer(q);

	if (t && t->deadline > time_now()) {
		lapic_timer_arm(t->deadline);
		t = NULL;
	}
	if (t) {
		list_remove(&t->link);
		__atomic_store_n(&q->running, t, __ATOMIC_RELEASE);
		__atomic_store_n(&t->cpu, -1, __ATOMIC_RELEASE);
	}
	spin_unlock(&q->lock, flags);
	return t;
}

static void on_interrupt(void)
{
	struct queue *q = &queues[cpu_id()];
	struct timer *t;

	while ((t = take_due(q))) {
		t->fn(t->arg);
		__atomic_store_n(&q->running, NULL, __ATOMIC_RELEASE);
	}
}

void timers_init(void)
{
	for (unsigned i = 0; i < MAX_CPUS; i++) {
		spinlock_init(&queues[i].lock, RANK_TIMER);
		list_init(&queues[i].timers);
	}
	lapic_timer_handler(on_interrupt);
}
