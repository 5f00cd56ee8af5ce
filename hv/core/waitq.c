/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Wait queues. A waiter joins the queue before it lets go of the caller's lock,
 * so that no wake-up falls between the look at the condition and the wait.
 */
#include "hv/core/thread_internal.h"

struct waiter {
	struct list link; /* under the queue's lock */
	struct thread *thread;
	struct waitq *queue;
	bool timed_out;
};

void waitq_init(struct waitq *q)
{
	spinlock_init(&q->lock, RANK_WAIT);
	list_init(&q->waiters);
}

static void join(struct waitq *q, struct waiter *w)
{
	uint64_t flags = spin_lock(&q->lock);

	*w = (struct waiter){.thread = thread_current(), .queue = q};
	list_push_back(&q->waiters, &w->link);
	sched_prepare_block();
	spin_unlock(&q->lock, flags);
}

static void leave(struct waitq *q, struct waiter *w)
{
	uint64_t flags = spin_lock(&q->lock);

	list_remove(&w->link);
	spin_unlock(&q->lock, flags);
}

uint64_t waitq_wait(struct waitq *q, struct spinlock *l, uint64_t flags)
{
	struct waiter w;

	join(q, &w);
	spin_unlock(l, flags);
	sched_block();
	leave(q, &w);
	return spin_lock(l);
}

static void on_timeout(void *arg)
{
	struct waiter *w = arg;
	uint64_t flags = spin_lock(&w->queue->lock);

	/* Out of the queue means woken before. */
	if (!list_empty(&w->link)) {
		list_remove(&w->link);
		w->timed_out = true;
		sched_wake(w->thread);
	}
	spin_unlock(&w->queue->lock, flags);
}

uint64_t waitq_wait_until(
    struct waitq *q, struct spinlock *l, uint64_t flags, uint64_t deadline, bool *timed_out)
{
	struct waiter w;
	struct timer t;

	join(q, &w);
	spin_unlock(l, flags);
	timer_init(&t, on_timeout, &w);
	timer_set(&t, deadline);
	sched_block();
	timer_cancel_sync(&t);
	leave(q, &w);
	*timed_out = w.timed_out;
	return spin_lock(l);
}

struct thread *waitq_wake_first(struct waitq *q)
{
	uint64_t flags = spin_lock(&q->lock);
	struct list *first = list_pop_front(&q->waiters);
	struct thread *t = first ? LIST_ENTRY(first, struct waiter, link)->thread : NULL;

	/* Under the lock: once out of here, the thread may be gone. */
	if (t)
		sched_wake(t);
	spin_unlock(&q->lock, flags);
	return t;
}

void waitq_wake_one(struct waitq *q)
{
	(void)waitq_wake_first(q);
}

void waitq_wake_all(struct waitq *q)
{
	uint64_t flags = spin_lock(&q->lock);
	struct list *n;

	while ((n = list_pop_front(&q->waiters)))
		sched_wake(LIST_ENTRY(n, struct waiter, link)->thread);
	spin_unlock(&q->lock, flags);
}
