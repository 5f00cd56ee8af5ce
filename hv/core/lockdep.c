/* SPDX-License-Identifier: BSD-2-Clause */
/* Debug builds: every acquisition is held against the lock order (I8). */
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/panic.h"
#include "hv/core/thread_internal.h"
#include "hv/lib/log.h"

#ifdef AMBER_DEBUG

enum { MAX_HELD = 16 };

/* The spinlocks that a CPU holds; interrupts are off whenever there is one. */
static struct held {
	const struct spinlock *lock[MAX_HELD];
	unsigned n;
} held[MAX_CPUS];

void lockdep_spin_acquire(const struct spinlock *l)
{
	struct held *h = &held[cpu_id()];

	if (panic_in_progress())
		return;
	if (l->rank < RANK_SPIN_FIRST || l->rank > RANK_UART)
		panic("lock order: spinlock %p has rank %u: not initialized?", (const void *)l,
		    l->rank);
	for (unsigned i = 0; i < h->n; i++)
		if (h->lock[i]->rank >= l->rank)
			panic("lock order: spinlock %p of rank %u taken under %p of rank %u",
			    (const void *)l, l->rank, (const void *)h->lock[i], h->lock[i]->rank);
	if (h->n == MAX_HELD)
		panic("lock order: more than %u spinlocks held", MAX_HELD);
	h->lock[h->n++] = l;
}

void lockdep_spin_release(const struct spinlock *l)
{
	struct held *h = &held[cpu_id()];

	if (panic_in_progress())
		return;
	for (unsigned i = h->n; i-- > 0;) {
		if (h->lock[i] != l)
			continue;
		h->lock[i] = h->lock[--h->n];
		return;
	}
	panic("lock order: spinlock %p released on a CPU that does not hold it", (const void *)l);
}

void lockdep_may_wait(const char *what)
{
	uint64_t flags = irq_save();
	const struct held *h = &held[cpu_id()];

	if (panic_in_progress())
		return;
	if (in_interrupt())
		panic("%s in an interrupt handler", what);
	if (h->n)
		panic("%s under spinlock %p of rank %u", what, (const void *)h->lock[0],
		    h->lock[0]->rank);
	irq_restore(flags);
}

void lockdep_mutex_acquire(const struct mutex *m)
{
	struct thread *t = thread_current();

	if (m->rank < RANK_CONSOLE || m->rank >= RANK_SPIN_FIRST)
		panic(
		    "lock order: mutex %p has rank %u: not initialized?", (const void *)m, m->rank);
	for (unsigned i = 0; i < t->mutexes; i++)
		if (t->mutex_rank[i] >= m->rank)
			panic("lock order: mutex %p of rank %u taken under one of rank %u",
			    (const void *)m, m->rank, t->mutex_rank[i]);
	ASSERT(t->mutexes < THREAD_MUTEX_DEPTH);
	t->mutex_rank[t->mutexes++] = (uint8_t)m->rank;
}

void lockdep_mutex_release(const struct mutex *m)
{
	struct thread *t = thread_current();

	for (unsigned i = t->mutexes; i-- > 0;) {
		if (t->mutex_rank[i] != m->rank)
			continue;
		t->mutex_rank[i] = t->mutex_rank[--t->mutexes];
		return;
	}
	panic("lock order: mutex %p of rank %u released but not held", (const void *)m, m->rank);
}

#endif
