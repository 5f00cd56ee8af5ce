/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The scheduler: a run queue per CPU, ordered by weighted run time. Whoever
 * wakes gets a small credit, so that it soon runs before those that only
 * compute. There is no tick: a one-shot timer ends a slice, and only while
 * somebody else waits for the CPU.
 */
#include "hv/arch/x86/context.h"
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/irq.h"
#include "hv/arch/x86/xstate.h"
#include "hv/core/thread_internal.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"

enum { WEIGHT_NORMAL = 128 };
#define SLICE_NS       4000000ULL
#define WAKE_CREDIT_NS 2000000ULL

static struct runq {
	struct spinlock
	    lock;	   /* held across a switch: taken by the old thread, released by the new */
	struct list ready; /* by vruntime */
	unsigned nready;   /* read without the lock as a hint */
	uint64_t min_vruntime;
	struct thread *current, *idle;
	struct thread *previous; /* during a switch: whose registers are being saved */
	int leave_to;		 /* the CPU that it goes on to, -1: none */
	struct timer slice;
	struct thread idle_thread;
} __attribute__((aligned(64))) runqs[MAX_CPUS];

static struct runq *this_runq(void)
{
	return &runqs[cpu_id()];
}

static void set_state(struct thread *t, enum thread_state s)
{
	__atomic_store_n(&t->state, s, __ATOMIC_RELEASE);
}

struct thread *thread_current(void)
{
	return this_cpu()->current;
}

bool thread_need_resched(void)
{
	return __atomic_load_n(&this_cpu()->need_resched, __ATOMIC_RELAXED);
}

/*
 * Weighted run times are compared by their difference, as sequence numbers are: a thread that
 * lags and goes to a CPU that has run nothing yet is below zero.
 */
static bool before(uint64_t a, uint64_t b)
{
	return (int64_t)(a - b) < 0;
}

/* --- run queues: all under the queue's lock ----------------------------------- */

static bool idling(const struct runq *rq)
{
	return rq->current == rq->idle;
}

static void enqueue(struct runq *rq, struct thread *t)
{
	struct list *pos;

	/* From the back: most go there. */
	for (pos = rq->ready.prev; pos != &rq->ready; pos = pos->prev)
		if (!before(t->vruntime, LIST_ENTRY(pos, struct thread, run_link)->vruntime))
			break;
	list_insert_before(pos->next, &t->run_link);
	__atomic_store_n(&rq->nready, rq->nready + 1, __ATOMIC_RELAXED);
}

static void dequeue(struct runq *rq, struct thread *t)
{
	list_remove(&t->run_link);
	__atomic_store_n(&rq->nready, rq->nready - 1, __ATOMIC_RELAXED);
}

static struct thread *first_ready(const struct runq *rq)
{
	return list_empty(&rq->ready) ? NULL : LIST_ENTRY(rq->ready.next, struct thread, run_link);
}

/* Books the time since the last call on the running thread. */
static void account(struct runq *rq)
{
	struct thread *t = rq->current, *first = first_ready(rq);
	uint64_t now = time_now(), ran = now > t->switched_in ? now - t->switched_in : 0, least;

	t->run_ns += ran;
	t->switched_in = now;
	if (idling(rq)) {
		least = first ? first->vruntime : rq->min_vruntime;
	} else {
		t->vruntime += ran * WEIGHT_NORMAL / t->weight;
		least =
		    first && before(first->vruntime, t->vruntime) ? first->vruntime : t->vruntime;
	}
	if (before(rq->min_vruntime, least))
		rq->min_vruntime = least;
}

uint64_t time_busy(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < cpus_online(); i++) {
		struct runq *rq = &runqs[i];
		uint64_t flags = spin_lock(&rq->lock);

		account(rq);
		sum += rq->current->switched_in - rq->idle->run_ns;
		spin_unlock(&rq->lock, flags);
	}
	return sum;
}

/* --- choosing a CPU ------------------------------------------------------------- */

static unsigned load_of(unsigned cpu)
{
	const struct runq *rq = &runqs[cpu];

	return __atomic_load_n(&rq->nready, __ATOMIC_RELAXED) + !idling(rq);
}

/* Its last CPU unless that one has more to do than another. */
static unsigned choose_cpu(const struct thread *t)
{
	unsigned best = t->cpu, least = load_of(best);

	if (t->pinned >= 0)
		return (unsigned)t->pinned;
	for (unsigned i = 0; i < cpus_online() && least; i++) {
		unsigned load = load_of(i);

		if (load < least) {
			best = i;
			least = load;
		}
	}
	return best;
}

/* Puts a ready thread, which is in no queue, on a CPU and has that CPU look. */
static void place(struct thread *t, unsigned cpu, bool woken)
{
	struct runq *rq = &runqs[cpu];
	uint64_t flags, floor;
	bool notify;

	if (t->cpu != cpu) {
		/* Only the lead or lag counts elsewhere; the source may move on meanwhile. */
		t->vruntime += runqs[cpu].min_vruntime - runqs[t->cpu].min_vruntime;
		t->cpu = cpu;
	}
	flags = spin_lock(&rq->lock);
	account(rq);
	if (woken) {
		floor = rq->min_vruntime - WAKE_CREDIT_NS;
		if (before(t->vruntime, floor))
			t->vruntime = floor;
	}
	enqueue(rq, t);
	/* Already told and not yet come: once is enough. */
	notify = !__atomic_exchange_n(&cpu_by_id(cpu)->need_resched, 1, __ATOMIC_SEQ_CST);
	spin_unlock(&rq->lock, flags);
	if (notify && cpu != cpu_id())
		ipi_kick(cpu);
}

void sched_start(struct thread *t)
{
	unsigned cpu;

	t->cpu = cpu_id();
	t->vruntime = this_runq()->min_vruntime;
	cpu = choose_cpu(t);
	place(t, cpu, true);
}

void sched_wake(struct thread *t)
{
	uint32_t blocked = THREAD_BLOCKED;

	if (!__atomic_compare_exchange_n(
		&t->state, &blocked, THREAD_READY, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return;
	/* Until its registers are saved, nobody but its own CPU may run it. */
	if (__atomic_load_n(&t->on_cpu, __ATOMIC_ACQUIRE))
		place(t, t->cpu, true);
	else
		place(t, choose_cpu(t), true);
}

/* --- switching ------------------------------------------------------------------- */

static void save_extra(struct thread *t)
{
	if (t->xstate)
		xstate_save(t->xstate, xstate_host_mask());
	if (t->switch_out)
		t->switch_out(t->switch_arg);
}

static void load_extra(struct thread *t)
{
	if (t->xstate)
		xstate_restore(t->xstate, xstate_host_mask());
	if (t->switch_in)
		t->switch_in(t->switch_arg);
}

/* On the new thread's stack: the old one is now free to go. Queue locked, unlocks it. */
static void finish_switch(uint64_t flags)
{
	struct runq *rq = this_runq();
	struct thread *old = rq->previous;
	int to = rq->leave_to;
	bool more = rq->nready != 0 && !idling(rq);

	rq->previous = NULL;
	rq->leave_to = -1;
	if (old) {
		load_extra(rq->current);
		__atomic_store_n(&old->on_cpu, 0, __ATOMIC_RELEASE);
	}
	/* The queue's lock, but not yet interrupts: what follows is about this CPU. */
	spin_unlock(&rq->lock, 0);
	if (old && to >= 0)
		place(old, (unsigned)to, false);
	if (more)
		timer_set(&rq->slice, time_now() + SLICE_NS);
	irq_restore(flags);
}

void sched_first_run(void)
{
	finish_switch(0);
	irq_enable();
}

/* Gives the CPU to the first in the queue, or keeps it. Queue locked, unlocks it. */
static void switch_locked(struct runq *rq, uint64_t flags)
{
	struct thread *old = rq->current, *new = first_ready(rq);

	__atomic_store_n(&this_cpu()->need_resched, 0, __ATOMIC_SEQ_CST);
	if (!new)
		new = rq->idle;
	else
		dequeue(rq, new);
	set_state(new, THREAD_RUNNING);
	if (new != old) {
		save_extra(old);
		new->on_cpu = 1;
		new->switched_in = old->switched_in;
		new->switches++;
		rq->previous = old;
		rq->current = new;
		this_cpu()->current = new;
		context_switch(&old->sp, new->sp);
	}
	finish_switch(flags);
}

/* The running thread stays ready: back into a queue, here or, after the switch, on another CPU. */
static void requeue_current(struct runq *rq)
{
	struct thread *t = rq->current;
	unsigned cpu;

	set_state(t, THREAD_READY);
	if (idling(rq))
		return;
	cpu = choose_cpu(t);
	/* A move pays only if loads differ by two or more. */
	if (t->pinned < 0 && load_of(cpu) + 2 > load_of(t->cpu))
		cpu = t->cpu;
	if (cpu == t->cpu)
		enqueue(rq, t);
	else
		rq->leave_to = (int)cpu;
}

void thread_yield(void)
{
	struct runq *rq = this_runq();
	struct thread *t = rq->current, *first;
	uint64_t flags;

	lockdep_may_wait("thread_yield()");
	flags = spin_lock(&rq->lock);
	account(rq);
	first = first_ready(rq);
	if (idling(rq) ? first != NULL
		       : (first && before(first->vruntime, t->vruntime)) ||
			     (t->pinned >= 0 && t->pinned != (int)t->cpu)) {
		requeue_current(rq);
		switch_locked(rq, flags);
		return;
	}
	__atomic_store_n(&this_cpu()->need_resched, 0, __ATOMIC_SEQ_CST);
	finish_switch(flags);
}

void sched_prepare_block(void)
{
	struct thread *t = thread_current();

	if (UNLIKELY(t == this_runq()->idle))
		panic("the idle thread must not wait");
	set_state(t, THREAD_BLOCKED);
}

void sched_block(void)
{
	struct runq *rq = this_runq();
	uint64_t flags;

	lockdep_may_wait("waiting");
	flags = spin_lock(&rq->lock);
	account(rq);
	switch_locked(rq, flags);
}

void sched_exit(void)
{
	set_state(thread_current(), THREAD_EXITED);
	sched_block();
	panic("a thread that has exited runs again");
}

void thread_pin(struct thread *t, int cpu)
{
	ASSERT(cpu < (int)cpus_online());
	__atomic_store_n(&t->pinned, cpu, __ATOMIC_RELEASE);
	if (t == thread_current())
		thread_yield();
}

void thread_set_switch_hooks(
    struct thread *t, void (*out)(void *arg), void (*in)(void *arg), void *arg)
{
	uint64_t flags = irq_save(); /* no switch in between */

	t->switch_out = out;
	t->switch_in = in;
	t->switch_arg = arg;
	irq_restore(flags);
}

/* --- idle ------------------------------------------------------------------------- */

static void slice_over(void *arg)
{
	__atomic_store_n(&this_cpu()->need_resched, 1, __ATOMIC_SEQ_CST);
}

void sched_init_cpu(void)
{
	struct runq *rq = this_runq();
	struct thread *t = &rq->idle_thread;

	spinlock_init(&rq->lock, RANK_SCHED);
	list_init(&rq->ready);
	rq->leave_to = -1;
	timer_init(&rq->slice, slice_over, NULL);
	str_format(t->name, sizeof(t->name), "idle/%u", cpu_id());
	list_init(&t->run_link);
	t->state = THREAD_RUNNING;
	t->on_cpu = 1;
	t->cpu = cpu_id();
	t->pinned = (int)cpu_id();
	t->weight = 1;
	t->switched_in = time_now();
	rq->current = rq->idle = t;
	this_cpu()->current = t;
	thread_register(t);
}

/* The last of a busy CPU's queue that may move; NULL if there is none. */
static struct thread *steal_from(struct runq *victim)
{
	struct list *pos;
	struct thread *found = NULL;
	uint64_t flags = spin_lock(&victim->lock);

	for (pos = victim->ready.prev; pos != &victim->ready && !idling(victim); pos = pos->prev) {
		struct thread *t = LIST_ENTRY(pos, struct thread, run_link);

		if (t->pinned >= 0 || __atomic_load_n(&t->on_cpu, __ATOMIC_ACQUIRE))
			continue;
		dequeue(victim, t);
		found = t;
		break;
	}
	spin_unlock(&victim->lock, flags);
	return found;
}

static void steal(unsigned me)
{
	for (unsigned i = 1; i < cpus_online(); i++) {
		unsigned cpu = (me + i) % cpus_online();
		struct thread *t;

		if (!__atomic_load_n(&runqs[cpu].nready, __ATOMIC_RELAXED))
			continue;
		t = steal_from(&runqs[cpu]);
		if (t) {
			place(t, me, false);
			return;
		}
	}
}

void sched_idle(void)
{
	struct runq *rq = this_runq();

	for (;;) {
		irq_disable();
		if (!rq->nready)
			steal(cpu_id());
		/* Who queues something from now on sends an interrupt, which ends the halt. */
		__atomic_store_n(&this_cpu()->need_resched, 0, __ATOMIC_SEQ_CST);
		if (!__atomic_load_n(&rq->nready, __ATOMIC_SEQ_CST))
			irq_enable_and_halt();
		irq_enable();
		if (__atomic_load_n(&rq->nready, __ATOMIC_RELAXED))
			thread_yield();
	}
}
