/* SPDX-License-Identifier: BSD-2-Clause */
/* Virtual machines: building, starting, pausing, resetting, taking down. */
#include "hv/core/vm.h"

#include <string.h>
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/tsc.h"
#include "hv/core/device_set.h"
#include "hv/core/gmem.h"
#include "hv/core/guest_clock.h"
#include "hv/core/iobus_dispatch.h"
#include "hv/core/memmap.h"
#include "hv/core/vclock.h"
#include "hv/core/vcpu.h"
#include "hv/core/vm_mark.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

int (*vm_boot_hook)(struct vm *vm, struct errmsg *e);

static struct mutex list_lock; /* protects all_vms */
static struct spinlock
    manager_lock; /* protects action_queue, and each VM's action and action_queued */
static struct list all_vms = LIST_INIT(all_vms);

const char *vm_state_text(enum vm_run_state s)
{
	static const char *const text[] = {
	    [VM_STOPPED] = "stopped",
	    [VM_RUNNING] = "running",
	    [VM_PAUSED] = "paused",
	    [VM_FROZEN] = "frozen",
	};

	return text[s];
}

const char *vm_disposition_text(enum vm_disposition d)
{
	static const char *const text[] = {
	    [DISP_NONE] = "none",
	    [DISP_RESET] = "reset",
	    [DISP_POWEROFF] = "poweroff",
	    [DISP_HALT] = "halt",
	    [DISP_TRIPLE_FAULT] = "triple-fault",
	    [DISP_DEBUG_EXIT] = "debug-exit",
	    [DISP_NO_MEMORY] = "no-memory",
	    [DISP_ERROR] = "error",
	    [DISP_SAVED] = "saved",
	    [DISP_DISK_ERROR] = "disk-error",
	    [DISP_NO_SPACE] = "no-space",
	};

	return text[d];
}

struct vm *vm_find(const char *name)
{
	struct vm *found = NULL;
	struct list *pos;

	mutex_lock(&list_lock);
	LIST_FOREACH(pos, &all_vms)
	{
		struct vm *vm = LIST_ENTRY(pos, struct vm, link);

		if (strcmp(vm->config.name, name) == 0)
			found = vm;
	}
	mutex_unlock(&list_lock);
	return found;
}

void vm_foreach(void (*fn)(struct vm *vm, void *arg), void *arg)
{
	struct list *pos, *tmp;

	mutex_lock(&list_lock);
	LIST_FOREACH_SAFE(pos, tmp, &all_vms)
	fn(LIST_ENTRY(pos, struct vm, link), arg);
	mutex_unlock(&list_lock);
}

struct vcpu *vm_vcpu_by_apic_id(struct vm *vm, uint32_t id)
{
	uint64_t index;

	if (!apic_id_index(&vm->cpu_model->apic_ids, id, &index) || index >= vm->nvcpus)
		return NULL;
	return vm->vcpus[index];
}

/* --- building ------------------------------------------------------------------ */

/* Frees whatever vm_build() made, whole or half. vCPUs are parked or have no thread. */
static void tear_down(struct vm *vm)
{
	devices_destroy(vm);
	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (vm->vcpus[i])
			vcpu_destroy(vm->vcpus[i]);
	vm_mark_free(vm);
	vclock_destroy(vm);
	virt->vm_destroy(vm);
	gmem_destroy(vm);
	npt_destroy(&vm->npt);
	iobus_destroy(vm);
	heap_free(vm->vcpus);
	heap_free(vm->cpu_model);
	heap_free(vm);
}

static int make_cpu_model(struct vm *vm, const struct cpu_model *given, struct errmsg *e)
{
	const struct cpu_topology topo = {vm->config.sockets, vm->config.cores, vm->config.threads};

	vm->cpu_model = heap_zalloc(sizeof(*vm->cpu_model));
	if (!vm->cpu_model)
		return err_set(e, ERR_NOMEM, "out of memory");
	if (given) {
		*vm->cpu_model = *given;
		return cpu_model_check_host(vm->cpu_model, cpuid, e);
	}
	return cpu_model_create(
	    vm->cpu_model, vm->config.cpu_model, cpuid, &topo, vm->tsc_nominal_hz, e);
}

/* RAM above the PCI hole has to stay below the end of the model's addresses. */
static int check_memory(const struct vm *vm, struct errmsg *e)
{
	uint64_t end = vm->config.memory;

	if (end > MEMMAP_LOW_RAM_MAX)
		end += MEMMAP_HIGH_RAM - MEMMAP_LOW_RAM_MAX;
	if (end > BIT(vm->cpu_model->phys_bits))
		return err_set(e, ERR_INVAL,
		    "memory-mib: %llu MiB do not fit into the %u address bits of cpu-model '%s'",
		    (unsigned long long)(vm->config.memory / MIB), vm->cpu_model->phys_bits,
		    vm->cpu_model->name);
	return OK;
}

/* Those of a topology that vm_config allows do; a snapshot may say otherwise. */
static int check_apic_ids(const struct vm *vm, struct errmsg *e)
{
	uint32_t highest = apic_id_of(&vm->cpu_model->apic_ids, vm->config.vcpus - 1);

	if (highest > XAPIC_ID_MAX)
		return err_set(e, ERR_INVAL,
		    "cpus: %u CPUs have APIC IDs up to %u, and an xAPIC's end at %u",
		    vm->config.vcpus, highest, XAPIC_ID_MAX);
	return OK;
}

static int make_vcpus(struct vm *vm, struct errmsg *e)
{
	vm->vcpus = heap_zalloc(vm->config.vcpus * sizeof(struct vcpu *));
	if (!vm->vcpus)
		return err_set(e, ERR_NOMEM, "out of memory");
	vm->nvcpus = vm->config.vcpus;
	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (vcpu_create(vm, i, &vm->vcpus[i]))
			return err_set(e, ERR_NOMEM, "no memory for vcpu%u", i);
	return OK;
}

static void park_all(struct vm *vm);

/* Returns when all threads are parked: their state is the caller's from then on. */
static int start_threads(struct vm *vm, struct errmsg *e)
{
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		vcpu_reset(vm->vcpus[i]);
		if (vcpu_start_thread(vm->vcpus[i]))
			return err_set(e, ERR_NOMEM, "no memory for the thread of vcpu%u", i);
	}
	park_all(vm);
	return OK;
}

int vm_build(const struct vm_config *config, const struct cpu_model *model, struct vm **out,
    struct errmsg *e)
{
	struct vm *vm = heap_zalloc(sizeof(*vm));
	int err;

	if (!vm)
		return err_set(e, ERR_NOMEM, "out of memory");
	vm->config = *config;
	mutex_init(&vm->lock, RANK_VM);
	list_init(&vm->link);
	list_init(&vm->action_link);
	list_init(&vm->devices);
	list_init(&vm->chardevs);
	spinlock_init(&vm->park_lock, RANK_VCPU);
	waitq_init(&vm->park_waitq);
	vclock_init(vm, config->tsc_khz ? config->tsc_khz * 1000ULL : tsc_hz());
	err = make_cpu_model(vm, model, e);
	if (!err)
		err = check_memory(vm, e);
	if (!err)
		err = check_apic_ids(vm, e);
	if (!err && (npt_init(&vm->npt, virt->npt) || iobus_create(vm) || virt->vm_create(vm)))
		err = err_set(e, ERR_NOMEM, "out of memory");
	if (!err)
		err = gmem_create(vm, config->memory, vm_config_has_firmware(config), e);
	if (!err)
		err = make_vcpus(vm, e);
	if (!err)
		err = devices_create(vm, e);
	if (!err) {
		devices_reset(vm);
		err = start_threads(vm, e);
	}
	if (err) {
		tear_down(vm);
		return err;
	}
	*out = vm;
	return OK;
}

struct vm *vm_publish(struct vm *vm)
{
	struct vm *old = vm_find(vm->config.name);

	mutex_lock(&list_lock);
	if (old)
		list_remove(&old->link);
	list_push_back(&all_vms, &vm->link);
	mutex_unlock(&list_lock);
	return old;
}

int vm_create(const struct vm_config *config, struct vm **out, struct errmsg *e)
{
	int err;

	if (vm_find(config->name))
		return err_set(e, ERR_EXIST, "vm '%s' exists already", config->name);
	err = vm_build(config, NULL, out, e);
	if (err)
		return err_prefix(e, err, "vm '%s'", config->name);
	(void)vm_publish(*out);
	return OK;
}

/* --- parking all vCPUs ------------------------------------------------------------ */

static bool all_parked(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (!vm->vcpus[i]->parked)
			return false;
	return true;
}

static void park_all(struct vm *vm)
{
	uint64_t flags;

	for (unsigned i = 0; i < vm->nvcpus; i++)
		vcpu_request(vm->vcpus[i], VCPU_REQ_PAUSE);
	flags = spin_lock(&vm->park_lock);
	while (!all_parked(vm))
		flags = waitq_wait(&vm->park_waitq, &vm->park_lock, flags);
	spin_unlock(&vm->park_lock, flags);
}

/* Not if the guest has asked for something that is still to be carried out: it goes no further. */
static void unpark_all(struct vm *vm)
{
	uint64_t flags = spin_lock(&manager_lock);
	bool waits = vm->action != VM_ACTION_NONE;

	spin_unlock(&manager_lock, flags);
	for (unsigned i = 0; !waits && i < vm->nvcpus; i++)
		vcpu_unpark(vm->vcpus[i]);
}

void vm_quiesce(struct vm *vm)
{
	park_all(vm);
	devices_quiesce(vm);
	devices_drain(vm);
	vclock_stop(vm);
}

void vm_quiesce_live(struct vm *vm)
{
	park_all(vm);
	devices_quiesce(vm);
	vclock_stop(vm);
}

void vm_unquiesce(struct vm *vm)
{
	vm->resumed_at = 0;
	vclock_start(vm);
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		vlapic_resume(&vm->vcpus[i]->lapic);
		vcpu_request(vm->vcpus[i], VCPU_REQ_CLOCK | VCPU_REQ_EVENT);
	}
	devices_resume(vm);
	unpark_all(vm);
}

/* --- life cycle --------------------------------------------------------------------- */

void vm_forget_action(struct vm *vm)
{
	__atomic_store_n(&vm->action, VM_ACTION_NONE, __ATOMIC_SEQ_CST);
	vm->deferred_action = VM_ACTION_NONE;
}

/* Everything at power-on, boot payload loaded. vCPUs are parked, the clock stands. */
static int power_on(struct vm *vm, struct errmsg *e)
{
	gmem_reset(vm);
	memset(vm->base_id, 0, sizeof(vm->base_id)); /* no snapshot is like this memory any more */
	vm_mark_free(vm);
	vm_forget_action(vm);
	for (unsigned i = 0; i < vm->nvcpus; i++)
		vcpu_reset(vm->vcpus[i]);
	devices_reset(vm);
	return vm_boot_hook ? vm_boot_hook(vm, e) : OK;
}

static void request_action(struct vm *vm, enum vm_action a, enum vm_disposition d);

static int wrong_state(const struct vm *vm, struct errmsg *e)
{
	return err_set(
	    e, ERR_STATE, "vm '%s' is %s", vm->config.name, vm_state_text(vm->run_state));
}

static int start_locked(struct vm *vm, struct errmsg *e)
{
	int err;

	if (vm->run_state != VM_STOPPED && vm->run_state != VM_FROZEN)
		return wrong_state(vm, e);
	err = gmem_promise(vm, e); /* a frozen one has given it back */
	if (!err) {
		vclock_set(vm, 0);
		err = power_on(vm, e);
	}
	if (err) {
		if (vm->run_state == VM_FROZEN)
			gmem_unpromise(vm);
		return err_prefix(e, err, "vm '%s'", vm->config.name);
	}
	vm->disposition = DISP_NONE;
	vm->reason[0] = '\0';
	vm->run_state = VM_RUNNING;
	vm_unquiesce(vm);
	return OK;
}

int vm_start(struct vm *vm, struct errmsg *e)
{
	int err;

	mutex_lock(&vm->lock);
	err = start_locked(vm, e);
	mutex_unlock(&vm->lock);
	return err;
}

int vm_pause(struct vm *vm, struct errmsg *e)
{
	int err = OK;

	mutex_lock(&vm->lock);
	if (vm->run_state == VM_RUNNING) {
		vm_quiesce(vm);
		vm->run_state = VM_PAUSED;
	} else {
		err = wrong_state(vm, e);
	}
	mutex_unlock(&vm->lock);
	return err;
}

int vm_resume(struct vm *vm, struct errmsg *e)
{
	int err = OK;

	mutex_lock(&vm->lock);
	if (vm->run_state == VM_PAUSED) {
		vm->run_state = VM_RUNNING;
		if (vm->reason[0]) /* vm_hold()'s; it has been mended, or will be told again */
			vm->disposition = DISP_NONE;
		vm->reason[0] = '\0';
		guest_clock_tell(vm);
		vm_unquiesce(vm);
		if (vm->deferred_action != VM_ACTION_NONE)
			request_action(vm, vm->deferred_action, vm->action_disposition);
		vm->deferred_action = VM_ACTION_NONE;
	} else {
		err = wrong_state(vm, e);
	}
	mutex_unlock(&vm->lock);
	return err;
}

static int reset_locked(struct vm *vm, struct errmsg *e)
{
	int err;

	if (vm->run_state == VM_FROZEN)
		return wrong_state(vm, e);
	if (vm->run_state == VM_RUNNING)
		vm_quiesce(vm);
	vm->run_state = VM_STOPPED;
	err = power_on(vm, e);
	if (err)
		return err_prefix(e, err, "vm '%s'", vm->config.name);
	vm->run_state = VM_RUNNING;
	vm_unquiesce(vm);
	return OK;
}

int vm_reset(struct vm *vm, struct errmsg *e)
{
	int err;

	mutex_lock(&vm->lock);
	err = reset_locked(vm, e);
	if (!err) {
		vm->disposition = DISP_NONE;
		vm->reason[0] = '\0';
	}
	mutex_unlock(&vm->lock);
	return err;
}

static void stop_locked(struct vm *vm, enum vm_run_state state, enum vm_disposition d)
{
	if (vm->run_state == VM_RUNNING)
		vm_quiesce(vm);
	vm->run_state = state;
	vm->disposition = d;
}

int vm_poweroff(struct vm *vm, struct errmsg *e)
{
	int err = OK;

	mutex_lock(&vm->lock);
	if (vm->run_state == VM_STOPPED)
		err = wrong_state(vm, e);
	else
		stop_locked(vm, VM_STOPPED, DISP_POWEROFF);
	mutex_unlock(&vm->lock);
	return err;
}

void vm_freeze(struct vm *vm)
{
	stop_locked(vm, VM_FROZEN, DISP_SAVED);
	vm_mark_free(vm);
	gmem_reset(vm);
	memset(vm->base_id, 0, sizeof(vm->base_id));
	gmem_unpromise(vm);
}

/* --- the manager: what guests ask of their own machine ------------------------------- */

void (*vm_notice)(struct vm *vm, const char *text);

static struct waitq manager_waitq;
static struct list action_queue = LIST_INIT(action_queue);

static void request_action(struct vm *vm, enum vm_action a, enum vm_disposition d)
{
	uint64_t flags = spin_lock(&manager_lock);

	if (a > vm->action && !vm->leaving) {
		/* The guest goes no further. Before the manager can see it: the manager lets it go
		 * again. */
		for (unsigned i = 0; i < vm->nvcpus; i++)
			vcpu_request(vm->vcpus[i], VCPU_REQ_PAUSE);
		vm->action = a;
		vm->action_disposition = d;
		if (!vm->action_queued) {
			vm->action_queued = true;
			list_push_back(&action_queue, &vm->action_link);
			waitq_wake_one(&manager_waitq);
		}
	}
	spin_unlock(&manager_lock, flags);
}

void vm_request_reset(struct vm *vm)
{
	request_action(vm, VM_ACTION_RESET, DISP_RESET);
}

void vm_request_poweroff(struct vm *vm)
{
	request_action(vm, VM_ACTION_POWEROFF, DISP_POWEROFF);
}

void vm_fail(struct vm *vm, enum vm_disposition d, const char *fmt, ...)
{
	va_list ap;

	if (vm->action == VM_ACTION_STOP)
		return; /* the first reason is the one to tell */
	va_start(ap, fmt);
	str_vformat(vm->reason, sizeof(vm->reason), fmt, ap);
	va_end(ap);
	request_action(vm, VM_ACTION_STOP, d);
}

void vm_debug_exit(struct vm *vm, uint32_t code)
{
	if (vm->action != VM_ACTION_STOP) /* as above */
		vm->exit_code = code;
	vm_fail(vm, DISP_DEBUG_EXIT, "the guest ended its machine with exit code %u", code);
}

void vm_hold(struct vm *vm, enum vm_disposition d, const char *fmt, ...)
{
	va_list ap;

	if (vm->action != VM_ACTION_NONE)
		return; /* it does not go on anyway */
	va_start(ap, fmt);
	str_vformat(vm->reason, sizeof(vm->reason), fmt, ap);
	va_end(ap);
	request_action(vm, VM_ACTION_PAUSE, d);
}

static void notice(struct vm *vm, const char *text)
{
	uint64_t now = time_now();

	log_info("vm '%s': %s", vm->config.name, text);
	/* a guest that resets itself in a loop does not flood the console */
	if (vm_notice && now - vm->noticed_at > 1000000000) {
		vm->noticed_at = now;
		vm_notice(vm, text);
	}
}

/* What was asked last; a reset or start of the operator's in between has taken it back. */
static enum vm_action take_action(struct vm *vm, enum vm_disposition *d)
{
	uint64_t flags = spin_lock(&manager_lock);
	enum vm_action a = vm->action;

	*d = vm->action_disposition;
	vm->action = VM_ACTION_NONE;
	spin_unlock(&manager_lock, flags);
	return a;
}

/* With the VM's mutex, which it releases. */
static void carry_out(struct vm *vm)
{
	enum vm_disposition d;
	enum vm_action a = take_action(vm, &d);
	struct errmsg e;

	if (a == VM_ACTION_NONE) {
		mutex_unlock(&vm->lock);
		return;
	}
	if (vm->run_state != VM_RUNNING) {
		/* the operator was faster: a paused machine does it when it goes on */
		vm->deferred_action =
		    vm->run_state == VM_PAUSED && a != VM_ACTION_PAUSE ? a : VM_ACTION_NONE;
		vm->action_disposition = d;
		mutex_unlock(&vm->lock);
		return;
	}
	switch (a) {
	case VM_ACTION_PAUSE:
		stop_locked(vm, VM_PAUSED, d);
		notice(vm, vm->reason);
		break;
	case VM_ACTION_RESET:
		if (reset_locked(vm, &e)) {
			str_copy(vm->reason, sizeof(vm->reason), e.text);
			stop_locked(vm, VM_STOPPED, DISP_ERROR);
			notice(vm, vm->reason);
		} else {
			vm->disposition = d;
			notice(vm, "reset by the guest");
		}
		break;
	case VM_ACTION_POWEROFF:
		stop_locked(vm, VM_STOPPED, d);
		notice(vm, "powered off by the guest");
		break;
	default:
		/* stopped for good, but its state can be looked at: paused would offer to go on */
		stop_locked(vm, VM_STOPPED, d);
		notice(vm, vm->reason);
		break;
	}
	mutex_unlock(&vm->lock);
}

enum { RETRY_NS = 1000000 };

static void manager(void *arg)
{
	(void)arg;
	for (;;) {
		uint64_t flags = spin_lock(&manager_lock);
		struct list *n;
		struct vm *vm;
		bool later;

		while (!(n = list_pop_front(&action_queue)))
			flags = waitq_wait(&manager_waitq, &manager_lock, flags);
		vm = LIST_ENTRY(n, struct vm, action_link);
		vm->action_queued = false;
		vm->action_busy = true;
		spin_unlock(&manager_lock, flags);
		/* one that is being saved has its turn later: others do not wait for it */
		later = !mutex_trylock(&vm->lock);
		if (later)
			thread_sleep(RETRY_NS);
		else
			carry_out(vm);
		flags = spin_lock(&manager_lock);
		vm->action_busy = false;
		if (later && !vm->action_queued && !vm->leaving) {
			vm->action_queued = true;
			list_push_back(&action_queue, &vm->action_link);
		}
		waitq_wake_all(&manager_waitq);
		spin_unlock(&manager_lock, flags);
	}
}

int vm_manager_start(void)
{
	mutex_init(&list_lock, RANK_VM_LIST);
	spinlock_init(&manager_lock, RANK_MANAGER);
	waitq_init(&manager_waitq);
	return thread_create("vm-manager", manager, NULL, 0, 256) ? OK : ERR_NOMEM;
}

/* The manager may hold a pointer: takes the VM off its queue, and waits while it works on it. */
static void leave_manager(struct vm *vm)
{
	uint64_t flags = spin_lock(&manager_lock);

	vm->leaving = true;
	list_remove(&vm->action_link);
	while (vm->action_busy)
		flags = waitq_wait(&manager_waitq, &manager_lock, flags);
	spin_unlock(&manager_lock, flags);
}

void vm_destroy(struct vm *vm)
{
	mutex_lock(&list_lock);
	list_remove(&vm->link);
	mutex_unlock(&list_lock);
	leave_manager(vm);
	mutex_lock(&vm->lock);
	stop_locked(vm, VM_STOPPED, DISP_NONE);
	mutex_unlock(&vm->lock);
	tear_down(vm);
}

void vm_discard(struct vm *vm)
{
	leave_manager(vm);
	tear_down(vm);
}
