/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads as objects: birth, end, listing, sleep. */
#include "hv/arch/x86/context.h"
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/xstate.h"
#include "hv/core/thread_internal.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

static struct spinlock list_lock = SPINLOCK_INIT(RANK_SCHED);
static struct list all = LIST_INIT(all);
static unsigned count;

void thread_register(struct thread *t)
{
	uint64_t flags = spin_lock(&list_lock);

	list_push_back(&all, &t->all_link);
	count++;
	spin_unlock(&list_lock, flags);
}

static void thread_unregister(struct thread *t)
{
	uint64_t flags = spin_lock(&list_lock);

	list_remove(&t->all_link);
	count--;
	spin_unlock(&list_lock, flags);
}

static void thread_start(void)
{
	struct thread *t = thread_current();

	sched_first_run();
	t->fn(t->arg);
	thread_exit();
}

static void thread_free(struct thread *t)
{
	stack_free(t->stack_top, THREAD_STACK_SIZE);
	heap_free(t->xstate);
	heap_free(t);
}

struct thread *thread_create(
    const char *name, void (*fn)(void *arg), void *arg, unsigned flags, unsigned weight)
{
	struct thread *t = heap_zalloc(sizeof(*t));

	if (!t)
		return NULL;
	ASSERT(weight >= 1 && weight <= 1024);
	t->stack_top = stack_alloc(THREAD_STACK_SIZE);
	if (flags & THREAD_XSTATE)
		t->xstate = heap_zalloc(xstate_size(xstate_host_mask()));
	if (!t->stack_top || ((flags & THREAD_XSTATE) && !t->xstate)) {
		thread_free(t);
		return NULL;
	}
	if (t->xstate)
		xstate_init_area(t->xstate);
	str_copy(t->name, sizeof(t->name), name);
	t->fn = fn;
	t->arg = arg;
	t->state = THREAD_READY;
	t->pinned = -1;
	t->weight = weight;
	t->flags = flags;
	t->sp = context_prepare(t->stack_top, thread_start);
	list_init(&t->run_link);
	spinlock_init(&t->exit_lock, RANK_MUTEX);
	waitq_init(&t->exit_wait);
	thread_register(t);
	sched_start(t);
	return t;
}

void thread_exit(void)
{
	struct thread *t = thread_current();
	uint64_t flags = spin_lock(&t->exit_lock);

	t->exited = true;
	waitq_wake_all(&t->exit_wait);
	spin_unlock(&t->exit_lock, flags);
	sched_exit();
}

void thread_join(struct thread *t)
{
	uint64_t flags = spin_lock(&t->exit_lock);

	while (!t->exited)
		flags = waitq_wait(&t->exit_wait, &t->exit_lock, flags);
	spin_unlock(&t->exit_lock, flags);
	/* Its last few instructions still use its stack. */
	while (__atomic_load_n(&t->on_cpu, __ATOMIC_ACQUIRE))
		cpu_pause();
	thread_unregister(t);
	thread_free(t);
}

static void wake_sleeper(void *arg)
{
	sched_wake(arg);
}

void thread_sleep(uint64_t ns)
{
	uint64_t now = time_now(), until = now + ns < now ? UINT64_MAX : now + ns;
	struct timer t;

	lockdep_may_wait("thread_sleep()");
	timer_init(&t, wake_sleeper, thread_current());
	while (time_now() < until) {
		sched_prepare_block();
		timer_set(&t, until);
		sched_block();
		timer_cancel_sync(&t);
	}
}

static const char *state_name(const struct thread *t)
{
	static const char *const names[] = {"ready", "running", "waiting", "exited"};

	return names[__atomic_load_n(&t->state, __ATOMIC_RELAXED)];
}

static void fill_info(struct thread_info *info, const struct thread *t)
{
	uint64_t since = t->switched_in, now = time_now();

	str_copy(info->name, sizeof(info->name), t->name);
	info->state = state_name(t);
	info->cpu = t->cpu;
	info->pinned = t->pinned;
	info->weight = t->weight;
	info->run_ns = t->run_ns;
	if (t->state == THREAD_RUNNING && now > since)
		info->run_ns += now - since;
	info->switches = t->switches;
}

void thread_foreach(void (*fn)(const struct thread_info *info, void *arg), void *arg)
{
	unsigned room = count + 8, n = 0;
	struct thread_info *infos = heap_alloc(room * sizeof(*infos));
	struct list *pos;
	uint64_t flags;

	if (!infos)
		return;
	/* A copy first: fn may wait. */
	flags = spin_lock(&list_lock);
	LIST_FOREACH(pos, &all)
	if (n < room)
		fill_info(&infos[n++], LIST_ENTRY(pos, struct thread, all_link));
	spin_unlock(&list_lock, flags);
	for (unsigned i = 0; i < n; i++)
		fn(&infos[i], arg);
	heap_free(infos);
}
