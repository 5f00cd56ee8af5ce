/* SPDX-License-Identifier: BSD-2-Clause */
/* One thread: locks check their owner, created threads are recorded, sleeping is an error unless
 * hooked. */
#include <stdio.h>
#include <stdlib.h>

#include "hv/lib/log.h"
#include "tests/unit/fake/fake.h"

struct thread fake_threads[FAKE_THREADS];
void (*fake_wait_hook)(struct waitq *q);
static struct thread main_thread = {.name = "test", .used = true};
static struct thread *current = &main_thread;

struct thread *thread_create(
    const char *name, void (*fn)(void *arg), void *arg, unsigned flags, unsigned weight)
{
	for (unsigned i = 0; i < FAKE_THREADS; i++) {
		struct thread *t = &fake_threads[i];

		if (t->used)
			continue;
		*t = (struct thread){
		    .fn = fn, .arg = arg, .flags = flags, .weight = weight, .used = true};
		snprintf(t->name, sizeof(t->name), "%s", name);
		return t;
	}
	return NULL;
}

bool fake_thread_run_next(void)
{
	for (unsigned i = 0; i < FAKE_THREADS; i++) {
		struct thread *t = &fake_threads[i];

		if (!t->used || t->ran)
			continue;
		t->ran = true;
		current = t;
		t->fn(t->arg);
		current = &main_thread;
		return true;
	}
	return false;
}

struct thread *thread_current(void)
{
	return current;
}

void thread_exit(void)
{
	panic("thread_exit in a test: return from the function instead");
}

void thread_join(struct thread *t)
{
	if (!t->ran) {
		t->ran = true;
		current = t;
		t->fn(t->arg);
		current = &main_thread;
	}
	t->used = false;
}

void thread_yield(void)
{
}

void thread_sleep(uint64_t ns)
{
	fake_host_time += ns;
}

void waitq_init(struct waitq *q)
{
	spinlock_init(&q->lock, RANK_WAIT);
	list_init(&q->waiters);
}

uint64_t waitq_wait(struct waitq *q, struct spinlock *l, uint64_t flags)
{
	spin_unlock(l, flags);
	if (!fake_wait_hook)
		panic("waitq_wait would sleep for ever");
	fake_wait_hook(q);
	return spin_lock(l);
}

uint64_t waitq_wait_until(
    struct waitq *q, struct spinlock *l, uint64_t flags, uint64_t deadline, bool *timed_out)
{
	*timed_out = !fake_wait_hook;
	spin_unlock(l, flags);
	if (fake_wait_hook)
		fake_wait_hook(q);
	else
		fake_host_time = MAX(fake_host_time, deadline);
	return spin_lock(l);
}

void waitq_wake_one(struct waitq *q)
{
}

void waitq_wake_all(struct waitq *q)
{
}

void mutex_init(struct mutex *m, enum lock_rank rank)
{
	*m = (struct mutex){.rank = rank};
	spinlock_init(&m->lock, RANK_WAIT);
	waitq_init(&m->waitq);
}

void mutex_lock(struct mutex *m)
{
	ASSERT(!m->owner); /* one thread: it would wait for itself */
	m->owner = current;
}

bool mutex_trylock(struct mutex *m)
{
	if (m->owner)
		return false;
	m->owner = current;
	return true;
}

void mutex_unlock(struct mutex *m)
{
	ASSERT(m->owner == current);
	m->owner = NULL;
}

/* Host timers are recorded in their own fields; a test calls fn itself. */
void timer_init(struct timer *t, void (*fn)(void *arg), void *arg)
{
	*t = (struct timer){.fn = fn, .arg = arg, .cpu = -1};
	list_init(&t->link);
}

void timer_set(struct timer *t, uint64_t deadline)
{
	t->deadline = deadline;
	t->cpu = 0;
}

void timer_cancel(struct timer *t)
{
	t->cpu = -1;
}
