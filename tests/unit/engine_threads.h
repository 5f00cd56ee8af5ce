/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The threads of hv/core/thread.h as coroutines on the host: one runs at a time, and who is next
 * is drawn at random wherever a thread may switch. The machine has several CPUs: so a thread may
 * also be left in mutex_lock() and behind mutex_unlock(). Host time goes on only here. The order
 * of the mutexes (I8) is checked.
 *
 * Included once by a test, in place of tests/unit/fake/fake_thread.c.
 */
#ifndef AMBER_TESTS_ENGINE_THREADS_H
#define AMBER_TESTS_ENGINE_THREADS_H

#include <sanitizer/common_interface_defs.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/fake_store.h"

enum { FIBERS = 192, FIBER_STACK = 256 << 10, FIBER_MUTEXES = 8, SWITCH_NS = 5000 };

enum fiber_state { FIBER_FREE, FIBER_READY, FIBER_WAITING, FIBER_DONE };

struct fiber {
	struct thread t;
	enum fiber_state state;
	ucontext_t context;
	uint8_t *stack;
	void *fake_stack; /* the sanitizer's */
	struct waitq *waits_on;
	uint64_t since;	   /* it waits: the number of the wait */
	uint64_t deadline; /* UINT64_MAX: none */
	bool timed_out;
	const struct mutex *held[FIBER_MUTEXES];
	unsigned nheld;
};

static struct fiber fibers[FIBERS]; /* the first is the test's own */
static struct fiber *running = &fibers[0];
static uint64_t fiber_seed, fiber_waits, fiber_switches;
static size_t fiber_main_size;
static const void *fiber_main_stack;

static void walk_fail(const char *fmt, ...) PRINTF_LIKE(1, 2) NORETURN;

static uint32_t fiber_below(uint32_t n)
{
	return fake_random(&fiber_seed) % n;
}

/* --- switching ----------------------------------------------------------------------- */

static bool fiber_can_run(struct fiber *f)
{
	if (f->state == FIBER_WAITING && f->deadline <= fake_host_time) {
		f->state = FIBER_READY;
		f->timed_out = true;
		f->waits_on = NULL;
	}
	return f->state == FIBER_READY;
}

static bool fiber_time_passes(void)
{
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < FIBERS; i++)
		if (fibers[i].state == FIBER_WAITING)
			next = MIN(next, fibers[i].deadline);
	fake_host_time = MAX(fake_host_time, next == UINT64_MAX ? 0 : next);
	return next != UINT64_MAX;
}

/* Any that can run; the test's own, which goes through the steps, more often than others. */
static struct fiber *fiber_next(void)
{
	struct fiber *can[FIBERS];
	unsigned n = 0;

	do {
		for (unsigned i = 0; i < FIBERS; i++)
			if (fiber_can_run(&fibers[i]))
				can[n++] = &fibers[i];
	} while (!n && fiber_time_passes());
	if (!n)
		walk_fail("every thread waits for ever");
	return can[0] == &fibers[0] && fiber_below(4) == 0 ? can[0] : can[fiber_below(n)];
}

static void fiber_switch(void)
{
	struct fiber *from = running, *to = fiber_next();

	fake_host_time += SWITCH_NS;
	if (to == from)
		return;
	fiber_switches++;
	running = to;
	__sanitizer_start_switch_fiber(from->state == FIBER_DONE ? NULL : &from->fake_stack,
	    to->stack ? to->stack : fiber_main_stack, to->stack ? FIBER_STACK : fiber_main_size);
	swapcontext(&from->context, &to->context);
	__sanitizer_finish_switch_fiber(running->fake_stack, NULL, NULL);
}

static void fiber_entry(void)
{
	const void *stack;
	size_t size;

	__sanitizer_finish_switch_fiber(NULL, &stack, &size);
	if (!fiber_main_stack) { /* the first is begun by the test's own */
		fiber_main_stack = stack;
		fiber_main_size = size;
	}
	running->t.fn(running->t.arg);
	thread_exit();
}

static void fibers_start(uint64_t seed)
{
	fiber_seed = seed;
	fibers[0].state = FIBER_READY;
	str_copy(fibers[0].t.name, sizeof(fibers[0].t.name), "console");
}

/* Another CPU may be faster here. */
static void fiber_perhaps(void)
{
	if (fiber_below(4) == 0)
		fiber_switch();
}

/* --- thread.h ------------------------------------------------------------------------ */

struct thread *thread_create(
    const char *name, void (*fn)(void *arg), void *arg, unsigned flags, unsigned weight)
{
	struct fiber *f = NULL;

	for (unsigned i = 1; i < FIBERS && !f; i++)
		if (fibers[i].state == FIBER_FREE)
			f = &fibers[i];
	ASSERT(f);
	if (!f->stack)
		f->stack = malloc(FIBER_STACK);
	*f = (struct fiber){.stack = f->stack, .deadline = UINT64_MAX, .state = FIBER_READY};
	f->t = (struct thread){.fn = fn, .arg = arg, .flags = flags, .weight = weight};
	str_copy(f->t.name, sizeof(f->t.name), name);
	getcontext(&f->context);
	f->context.uc_stack.ss_sp = f->stack;
	f->context.uc_stack.ss_size = FIBER_STACK;
	makecontext(&f->context, fiber_entry, 0);
	return &f->t;
}

struct thread *thread_current(void)
{
	return &running->t;
}

static struct fiber *fiber_of(struct thread *t)
{
	return CONTAINER_OF(t, struct fiber, t);
}

void thread_exit(void)
{
	ASSERT(running->nheld == 0);
	running->state = FIBER_DONE;
	for (unsigned i = 0; i < FIBERS; i++) /* who joins it */
		if (fibers[i].state == FIBER_WAITING && fibers[i].waits_on == (void *)running)
			fibers[i].state = FIBER_READY;
	fiber_switch();
	__builtin_unreachable();
}

static void fiber_wait(void *on, uint64_t deadline)
{
	running->state = FIBER_WAITING;
	running->waits_on = on;
	running->deadline = deadline;
	running->since = ++fiber_waits;
	running->timed_out = false;
	fiber_switch();
}

void thread_join(struct thread *t)
{
	while (fiber_of(t)->state != FIBER_DONE)
		fiber_wait(fiber_of(t), UINT64_MAX);
	fiber_of(t)->state = FIBER_FREE;
}

void thread_yield(void)
{
	fiber_switch();
}

void thread_sleep(uint64_t ns)
{
	fiber_wait(NULL, fake_host_time + ns);
}

/* --- waiting ------------------------------------------------------------------------- */

void waitq_init(struct waitq *q)
{
	spinlock_init(&q->lock, RANK_WAIT);
	list_init(&q->waiters);
}

uint64_t waitq_wait(struct waitq *q, struct spinlock *l, uint64_t flags)
{
	spin_unlock(l, flags);
	fiber_wait(q, UINT64_MAX);
	return spin_lock(l);
}

uint64_t waitq_wait_until(
    struct waitq *q, struct spinlock *l, uint64_t flags, uint64_t deadline, bool *timed_out)
{
	spin_unlock(l, flags);
	fiber_wait(q, deadline);
	*timed_out = running->timed_out;
	return spin_lock(l);
}

static struct fiber *wake_first(const struct waitq *q)
{
	struct fiber *first = NULL;

	for (unsigned i = 0; i < FIBERS; i++)
		if (fibers[i].state == FIBER_WAITING && fibers[i].waits_on == q &&
		    (!first || fibers[i].since < first->since))
			first = &fibers[i];
	if (first) {
		first->state = FIBER_READY;
		first->waits_on = NULL;
	}
	return first;
}

void waitq_wake_one(struct waitq *q)
{
	wake_first(q);
}

void waitq_wake_all(struct waitq *q)
{
	while (wake_first(q))
		;
}

void mutex_init(struct mutex *m, enum lock_rank rank)
{
	*m = (struct mutex){.rank = rank};
	waitq_init(&m->waitq);
}

static void note_held(const struct mutex *m)
{
	ASSERT(running->nheld < FIBER_MUTEXES);
	running->held[running->nheld++] = m;
}

void mutex_lock(struct mutex *m)
{
	for (unsigned i = 0; i < running->nheld; i++)
		if (running->held[i]->rank >= m->rank)
			walk_fail("lock order: rank %d is taken under rank %d", m->rank,
			    running->held[i]->rank);
	fiber_perhaps();
	if (!m->owner)
		m->owner = &running->t;
	while (m->owner != &running->t)
		fiber_wait(&m->waitq, UINT64_MAX);
	note_held(m);
}

bool mutex_trylock(struct mutex *m)
{
	if (m->owner)
		return false;
	m->owner = &running->t;
	note_held(m);
	return true;
}

/* The first waiter gets it at once, as in hv/core/mutex.c. */
void mutex_unlock(struct mutex *m)
{
	struct fiber *next = wake_first(&m->waitq);
	unsigned i = 0;

	ASSERT(m->owner == &running->t);
	m->owner = next ? &next->t : NULL;
	while (running->held[i] != m)
		i++;
	running->held[i] = running->held[--running->nheld];
	fiber_perhaps();
}

#endif
