/* SPDX-License-Identifier: BSD-2-Clause */
/* Sleeping locks. Unlocking hands over to the first waiter: nobody starves. */
#include "hv/core/thread_internal.h"
#include "hv/lib/log.h"

void mutex_init(struct mutex *m, enum lock_rank rank)
{
	spinlock_init(&m->lock, RANK_MUTEX);
	waitq_init(&m->waitq);
	m->owner = NULL;
	m->rank = rank;
}

void mutex_lock(struct mutex *m)
{
	struct thread *me = thread_current();
	uint64_t flags;

	lockdep_may_wait("mutex_lock()");
	lockdep_mutex_acquire(m);
	flags = spin_lock(&m->lock);
	ASSERT(m->owner != me);
	if (!m->owner)
		m->owner = me;
	while (m->owner != me)
		flags = waitq_wait(&m->waitq, &m->lock, flags);
	spin_unlock(&m->lock, flags);
}

bool mutex_trylock(struct mutex *m)
{
	uint64_t flags = spin_lock(&m->lock);
	bool got = !m->owner;

	if (got)
		m->owner = thread_current();
	spin_unlock(&m->lock, flags);
	if (got)
		lockdep_mutex_acquire(m);
	return got;
}

void mutex_unlock(struct mutex *m)
{
	uint64_t flags = spin_lock(&m->lock);

	ASSERT(m->owner == thread_current());
	m->owner = waitq_wake_first(&m->waitq);
	spin_unlock(&m->lock, flags);
	lockdep_mutex_release(m);
}
