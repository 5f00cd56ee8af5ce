/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads, sleeping and waking, mutexes, host timers (design brief, section 4).
 * Threads are never preempted inside the hypervisor: they switch only in the
 * functions below that say "may switch". Interrupt handlers run on their own
 * stack, never switch, and only wake.
 */
#ifndef AMBER_CORE_THREAD_H
#define AMBER_CORE_THREAD_H

#include "hv/lib/list.h"
#include "hv/lib/spinlock.h"
#include "hv/lib/types.h"

struct thread;

enum thread_flags {
	THREAD_XSTATE =
	    1 << 0, /* owns an xstate area: may call libraries that use vector registers */
};

/* Creates and starts a thread; weight 1..1024 (128 is normal); NULL when out of memory. */
struct thread *thread_create(
    const char *name, void (*fn)(void *arg), void *arg, unsigned flags, unsigned weight);
struct thread *thread_current(void);
/*
 * Ties a thread to one CPU; -1: any. For the calling thread at once (may switch), for
 * another when it is next woken or yields.
 */
void thread_pin(struct thread *t, int cpu);
/* True if the running thread should call thread_yield() soon. Any context; cheap. */
bool thread_need_resched(void);
/*
 * State of t that the scheduler does not know of: out(arg) is called when t is switched away
 * from, in(arg) before it runs again, both on t's CPU with interrupts off and a spinlock held:
 * they take no lock. By t itself, or before anybody else may see t. NULL: none.
 */
void thread_set_switch_hooks(
    struct thread *t, void (*out)(void *arg), void (*in)(void *arg), void *arg);
NORETURN void thread_exit(void);
/* Waits for a thread to exit and frees it. May switch. */
void thread_join(struct thread *t);
/* Switches if somebody with more right to run is waiting here; cheap otherwise. May switch. */
void thread_yield(void);
/* May switch. */
void thread_sleep(uint64_t ns);

/*
 * Nanoseconds that all CPUs together have spent in threads other than the idle ones, guests
 * included. It stands still while everybody waits; only a difference says something. Not in
 * interrupt context.
 */
uint64_t time_busy(void);

/* For listings. */
struct thread_info {
	char name[32];
	const char *state; /* "running", "ready", "waiting", "exited" */
	unsigned cpu;	   /* where it runs or ran last */
	int pinned;	   /* -1: not */
	unsigned weight;
	uint64_t run_ns; /* time spent running */
	uint64_t switches;
};
/* Calls fn for every thread, idle threads included; fn may wait. From threads only. */
void thread_foreach(void (*fn)(const struct thread_info *info, void *arg), void *arg);

/* Turns the running code into CPU's first thread and starts scheduling here; once per CPU (main.c,
 * smp). */
void sched_init_cpu(void);
/* The idle loop: what a CPU's first thread does for ever. */
NORETURN void sched_idle(void);

/*
 * A place to wait. The condition is the caller's, guarded by the spinlock given:
 *   f = spin_lock(&l); while (!cond) f = waitq_wait(&wq, &l, f); ... spin_unlock(&l, f);
 */
struct waitq {
	struct spinlock lock;
	struct list waiters;
};
void waitq_init(struct waitq *q);
/* Releases l, sleeps until woken, takes l again. May switch. Spurious returns are possible. */
uint64_t waitq_wait(struct waitq *q, struct spinlock *l, uint64_t flags) MUST_CHECK;
/* The same, at most until host time deadline (ns); *timed_out says how it ended. */
uint64_t waitq_wait_until(struct waitq *q, struct spinlock *l, uint64_t flags, uint64_t deadline,
    bool *timed_out) MUST_CHECK;
void waitq_wake_one(struct waitq *q); /* any context */
void waitq_wake_all(struct waitq *q); /* any context */

/* A sleeping lock. May switch. Not in interrupt context, not under a spinlock. */
struct mutex {
	struct spinlock lock;
	struct thread *owner;
	struct waitq waitq;
	enum lock_rank rank;
};
void mutex_init(struct mutex *m, enum lock_rank rank);
void mutex_lock(struct mutex *m);
bool mutex_trylock(struct mutex *m);
void mutex_unlock(struct mutex *m);

/* Host time: nanoseconds since the hypervisor started. Any context. */
uint64_t time_now(void);

/* A one-shot timer on the CPU that arms it; fn runs in interrupt context. */
struct timer {
	struct list link;
	uint64_t deadline; /* host time */
	int cpu;	   /* -1: not armed */
	void (*fn)(void *arg);
	void *arg;
};
void timer_init(struct timer *t, void (*fn)(void *arg), void *arg);
void timer_set(struct timer *t, uint64_t deadline); /* re-arms if armed; any context */
void timer_cancel(struct timer *t);		    /* fn may be running on another CPU still */
/* Cancels, and waits until fn is not running. Not from fn, nor holding a lock that fn takes. */
void timer_cancel_sync(struct timer *t);
/* Once, before sched_init_cpu(): timers fire from then on. */
void timers_init(void);

#endif
