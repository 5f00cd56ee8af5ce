/* SPDX-License-Identifier: BSD-2-Clause */
/* VM time, wall clock and host time that stand still until a test moves them. */
#include "hv/lib/log.h"
#include "tests/unit/fake/fake.h"

uint64_t fake_host_time;
static uint64_t wall = 1700000000ULL * 1000000000ULL; /* 2023-11-14 22:13:20 UTC */

uint64_t vm_time(const struct vm *vm)
{
	return vm->time_stopped;
}

uint64_t wall_time(void)
{
	return wall;
}

uint64_t time_now(void)
{
	return fake_host_time;
}

void fake_wall_set(uint64_t ns)
{
	wall = ns;
}

void vtimer_init(struct vtimer *t, struct vm *vm, void (*fn)(void *arg), void *arg)
{
	*t = (struct vtimer){.vm = vm, .fn = fn, .arg = arg};
	list_init(&t->link);
}

void vtimer_set(struct vtimer *t, uint64_t deadline)
{
	struct list *pos;

	list_remove(&t->link);
	t->deadline = deadline;
	t->armed = true;
	LIST_FOREACH(pos, &t->vm->vtimers)
	{
		if (LIST_ENTRY(pos, struct vtimer, link)->deadline > deadline)
			break;
	}
	list_insert_before(pos, &t->link);
}

void vtimer_cancel(struct vtimer *t)
{
	list_remove(&t->link);
	t->armed = false;
}

uint64_t fake_time_next(const struct vm *vm)
{
	if (list_empty(&vm->vtimers))
		return UINT64_MAX;
	return LIST_ENTRY(vm->vtimers.next, struct vtimer, link)->deadline;
}

static void clock_to(struct vm *vm, uint64_t ns)
{
	uint64_t delta = ns - vm->time_stopped;

	vm->time_stopped = ns;
	wall += delta;
	fake_host_time += delta;
}

static void fire_first(struct vm *vm)
{
	struct vtimer *t = LIST_ENTRY(vm->vtimers.next, struct vtimer, link);

	vtimer_cancel(t);
	t->fn(t->arg);
}

void fake_time_set(struct vm *vm, uint64_t ns)
{
	ASSERT(ns >= vm->time_stopped);
	for (unsigned n = 0; fake_time_next(vm) <= ns; n++) {
		ASSERT(n < 10000000); /* a timer that re-arms itself in the past */
		if (fake_time_next(vm) > vm->time_stopped)
			clock_to(vm, fake_time_next(vm));
		fire_first(vm);
	}
	clock_to(vm, ns);
}

void fake_time_advance(struct vm *vm, uint64_t ns)
{
	fake_time_set(vm, vm->time_stopped + ns);
}

void fake_time_jump(struct vm *vm, uint64_t ns)
{
	clock_to(vm, vm->time_stopped + ns);
	fake_time_set(vm, vm->time_stopped);
}
