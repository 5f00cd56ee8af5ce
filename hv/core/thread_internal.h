/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside the scheduler: the thread object, and what its files ask of each other. */
#ifndef AMBER_CORE_THREAD_INTERNAL_H
#define AMBER_CORE_THREAD_INTERNAL_H

#include "hv/core/thread.h"

/*
 * Who changes a state: RUNNING <-> READY under the run queue's lock; RUNNING ->
 * BLOCKED the thread itself; BLOCKED -> READY whoever's compare-and-swap wins,
 * and that one queues the thread.
 */
enum thread_state { THREAD_READY, THREAD_RUNNING, THREAD_BLOCKED, THREAD_EXITED };

enum { THREAD_MUTEX_DEPTH = 8, THREAD_STACK_SIZE = 16384 };

struct thread {
	struct list run_link; /* in a run queue while ready */
	struct list all_link;
	char name[32];
	void (*fn)(void *arg);
	void *arg;
	void *sp; /* while switched out */
	void *stack_top;
	uint32_t state;	 /* enum thread_state; atomic */
	uint32_t on_cpu; /* atomic; from its choice until its registers are saved again */
	unsigned cpu;	 /* the run queue that vruntime belongs to */
	int pinned;	 /* -1: not */
	unsigned weight, flags;
	uint64_t vruntime; /* ns of run time, scaled by weight; under the run queue's lock */
	uint64_t run_ns, switched_in, switches;
	void *xstate;
	void (*switch_out)(void *arg), (*switch_in)(void *arg);
	void *switch_arg;
	/* end of life */
	struct spinlock exit_lock;
	struct waitq exit_wait;
	bool exited;
	/* debug builds: ranks of the mutexes held */
	uint8_t mutex_rank[THREAD_MUTEX_DEPTH];
	unsigned mutexes;
};

/* sched.c */

/* Declares that the running thread will wait; then comes sched_block(). */
void sched_prepare_block(void);
/* Switches away until somebody calls sched_wake(); at once back if that has happened already. */
void sched_block(void);
/* Makes a blocked thread ready; nothing for one that is not blocked. Any context. */
void sched_wake(struct thread *t);
/* Queues a new thread. */
void sched_start(struct thread *t);
/* The last switch of a thread that has exited. */
NORETURN void sched_exit(void);
/* The first thing that a new thread does: ends the switch that brought it here. */
void sched_first_run(void);

/* thread.c */
void thread_register(struct thread *t);

/* waitq.c: as waitq_wake_one(), telling whom; NULL if nobody waits. */
struct thread *waitq_wake_first(struct waitq *q);

/* lockdep.c: checks of debug builds. */
#ifdef AMBER_DEBUG
/* That waiting is legal here: no spinlock held, not in an interrupt. */
void lockdep_may_wait(const char *what);
void lockdep_mutex_acquire(const struct mutex *m);
void lockdep_mutex_release(const struct mutex *m);
#else
static inline void lockdep_may_wait(const char *what)
{
}
static inline void lockdep_mutex_acquire(const struct mutex *m)
{
}
static inline void lockdep_mutex_release(const struct mutex *m)
{
}
#endif

#endif
