/* SPDX-License-Identifier: BSD-2-Clause */
/* VM time and the timers that hang on it. */
#include "hv/core/vclock.h"

#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/tsc.h"
#include "hv/core/virt_ops.h"
#include "hv/core/vm.h"
#include "hv/lib/muldiv.h"

uint64_t vm_time(const struct vm *vm)
{
	return vm->clock_running ? time_now() - vm->time_base : vm->time_stopped;
}

/* With clock_lock held. */
static void arm_host_timer(struct vm *vm)
{
	uint64_t due;

	if (!vm->clock_running || list_empty(&vm->vtimers))
		return;
	due = LIST_ENTRY(vm->vtimers.next, struct vtimer, link)->deadline;
	/* overdue by more than the host has been up is possible: VM time comes from a snapshot */
	timer_set(&vm->host_timer, due <= vm_time(vm) ? time_now() : vm->time_base + due);
}

/* Host timer, interrupt context: runs all that is due, one after the other, without the lock. */
static void expire(void *arg)
{
	struct vm *vm = arg;
	uint64_t flags = spin_lock(&vm->clock_lock);

	while (vm->clock_running && !list_empty(&vm->vtimers)) {
		struct vtimer *t = LIST_ENTRY(vm->vtimers.next, struct vtimer, link);

		if (t->deadline > vm_time(vm))
			break;
		list_remove(&t->link);
		t->armed = false;
		vm->vtimers_running++;
		spin_unlock(&vm->clock_lock, flags);
		t->fn(t->arg);
		flags = spin_lock(&vm->clock_lock);
		vm->vtimers_running--;
	}
	arm_host_timer(vm);
	spin_unlock(&vm->clock_lock, flags);
}

void vtimer_init(struct vtimer *t, struct vm *vm, void (*fn)(void *arg), void *arg)
{
	*t = (struct vtimer){.vm = vm, .fn = fn, .arg = arg};
	list_init(&t->link);
}

void vtimer_set(struct vtimer *t, uint64_t deadline)
{
	struct vm *vm = t->vm;
	uint64_t flags = spin_lock(&vm->clock_lock);
	struct list *pos;

	list_remove(&t->link);
	t->deadline = deadline;
	t->armed = true;
	LIST_FOREACH(pos, &vm->vtimers)
	if (LIST_ENTRY(pos, struct vtimer, link)->deadline > deadline)
		break;
	list_insert_before(pos, &t->link);
	if (vm->vtimers.next == &t->link)
		arm_host_timer(vm);
	spin_unlock(&vm->clock_lock, flags);
}

/* The host timer is left as it is: one early expiry costs less than re-arming at each cancel. */
void vtimer_cancel(struct vtimer *t)
{
	uint64_t flags = spin_lock(&t->vm->clock_lock);

	list_remove(&t->link);
	t->armed = false;
	spin_unlock(&t->vm->clock_lock, flags);
}

void vclock_init(struct vm *vm, uint64_t rate)
{
	spinlock_init(&vm->clock_lock, RANK_VCLOCK);
	list_init(&vm->vtimers);
	timer_init(&vm->host_timer, expire, vm);
	vm->clock_running = false;
	vm->time_stopped = 0;
	vclock_set_rate(vm, rate);
}

void vclock_set_rate(struct vm *vm, uint64_t rate)
{
	uint64_t host = tsc_hz();

	vm->tsc_nominal_hz = rate;
	vm->tsc_exits = false;
	if (tsc_rate_is_near(rate, host)) {
		vm->tsc_hz = host;
		vm->tsc_scale = (struct tsc_scale){1, 0};
		return;
	}
	vm->tsc_hz = rate;
	tsc_scale_init(&vm->tsc_scale, rate, host);
	vm->tsc_exits = !virt->fit_tsc_ratio || !virt->fit_tsc_ratio(&vm->tsc_scale);
}

void vclock_destroy(struct vm *vm)
{
	timer_cancel_sync(&vm->host_timer);
}

void vclock_start(struct vm *vm)
{
	uint64_t flags = spin_lock(&vm->clock_lock);

	/* One reading for time and TSC, and one for all vCPUs (I10). */
	vm->tsc_offset = vclock_tsc_at(vm, vm->time_stopped) - tsc_scale(&vm->tsc_scale, tsc_now());
	vm->time_base = time_now() - vm->time_stopped;
	vm->clock_running = true;
	arm_host_timer(vm);
	spin_unlock(&vm->clock_lock, flags);
}

void vclock_stop(struct vm *vm)
{
	uint64_t flags = spin_lock(&vm->clock_lock);

	if (vm->clock_running)
		vm->time_stopped = vm_time(vm);
	vm->clock_running = false;
	timer_cancel(&vm->host_timer);
	while (vm->vtimers_running) {
		spin_unlock(&vm->clock_lock, flags);
		cpu_pause();
		flags = spin_lock(&vm->clock_lock);
	}
	spin_unlock(&vm->clock_lock, flags);
}

void vclock_set(struct vm *vm, uint64_t time)
{
	vm->time_stopped = time;
}

uint64_t vclock_tsc_at(const struct vm *vm, uint64_t time)
{
	return muldiv_u64(time, vm->tsc_hz, 1000000000ULL);
}

uint64_t vclock_tsc(const struct vm *vm)
{
	return vm->clock_running ? tsc_scale(&vm->tsc_scale, tsc_now()) + vm->tsc_offset
				 : vclock_tsc_at(vm, vm->time_stopped);
}

uint64_t vclock_tsc_offset(const struct vm *vm)
{
	return vm->tsc_offset + tsc_scale_difference(&vm->tsc_scale, this_cpu()->tsc_offset);
}
