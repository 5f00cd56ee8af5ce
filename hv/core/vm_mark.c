/* SPDX-License-Identifier: BSD-2-Clause */
/* A machine's state but for its RAM (gmem_mark.c): copied aside, and copied back. */
#include "hv/core/vm_mark.h"

#include <string.h>
#include "hv/core/device_set.h"
#include "hv/core/gmem_track.h"
#include "hv/core/vclock.h"
#include "hv/core/vcpu.h"
#include "hv/mm/mm.h"

struct vm_mark {
	struct vcpu_state **vcpus;
	void **devices; /* in the order of vm->devices */
	unsigned ndevices;
	uint64_t vm_time;
	void *disks; /* vm_mark_disks's, NULL: it writes none */
};

const struct vm_mark_disks *vm_mark_disks;

static unsigned count_devices(const struct vm *vm)
{
	const struct list *pos;
	unsigned n = 0;

	LIST_FOREACH(pos, &vm->devices)
	n++;
	return n;
}

void vm_mark_free(struct vm *vm)
{
	struct vm_mark *k = vm->mark;

	if (!k)
		return;
	for (unsigned i = 0; k->vcpus && i < vm->nvcpus; i++)
		heap_free(k->vcpus[i]);
	for (unsigned i = 0; k->devices && i < k->ndevices; i++)
		heap_free(k->devices[i]);
	if (k->disks)
		vm_mark_disks->drop(k->disks);
	heap_free(k->vcpus);
	heap_free(k->devices);
	heap_free(k);
	vm->mark = NULL;
}

/* Room for everything; what to copy comes when the machine is quiesced. */
static int make(struct vm *vm)
{
	struct vm_mark *k = heap_zalloc(sizeof(*k));
	struct list *pos;
	unsigned i = 0;

	vm->mark = k;
	if (!k)
		return ERR_NOMEM;
	k->ndevices = count_devices(vm);
	k->vcpus = heap_zalloc(vm->nvcpus * sizeof(void *));
	k->devices = heap_zalloc(k->ndevices * sizeof(void *));
	if (!k->vcpus || !k->devices)
		return ERR_NOMEM;
	for (unsigned c = 0; c < vm->nvcpus; c++) {
		k->vcpus[c] = heap_alloc(sizeof(struct vcpu_state));
		if (!k->vcpus[c])
			return ERR_NOMEM;
	}
	LIST_FOREACH(pos, &vm->devices)
	{
		size_t size = LIST_ENTRY(pos, struct device, link)->model->state_size;

		k->devices[i] = heap_alloc(MAX(size, (size_t)1));
		if (!k->devices[i++])
			return ERR_NOMEM;
	}
	return OK;
}

static void copy_out(struct vm *vm)
{
	struct vm_mark *k = vm->mark;
	struct list *pos;
	unsigned i = 0;

	k->vm_time = vm_time(vm);
	for (unsigned c = 0; c < vm->nvcpus; c++)
		memcpy(k->vcpus[c], &vm->vcpus[c]->state, sizeof(struct vcpu_state));
	LIST_FOREACH(pos, &vm->devices)
	{
		const struct device *d = LIST_ENTRY(pos, struct device, link);

		memcpy(k->devices[i++], d->state, d->model->state_size);
	}
}

static void copy_back(struct vm *vm)
{
	struct vm_mark *k = vm->mark;
	struct list *pos;
	unsigned i = 0;

	vclock_set(vm, k->vm_time);
	for (unsigned c = 0; c < vm->nvcpus; c++) {
		struct vcpu *v = vm->vcpus[c];

		memcpy(&v->state, k->vcpus[c], sizeof(struct vcpu_state));
		v->valid = v->dirty = VG_ALL;
		vcpu_request(v, VCPU_REQ_CLOCK | VCPU_REQ_EVENT);
	}
	LIST_FOREACH(pos, &vm->devices)
	{
		struct device *d = LIST_ENTRY(pos, struct device, link);

		memcpy(d->state, k->devices[i++], d->model->state_size);
		d->model->loaded(d);
	}
}

/* What is on a disk stays there: a memory that does not know of it must not be put over it. */
static int mark_disks(struct vm *vm, struct errmsg *e)
{
	for (uint32_t i = 0; i < vm->config.ndevs; i++) {
		const struct config_dev *d = &vm->config.devs[i];

		if (!config_writes_disk(d))
			continue;
		if (vm_mark_disks)
			return vm_mark_disks->mark(vm, &vm->mark->disks, e);
		return err_set(e, ERR_UNSUPPORTED, "device %s: writes a disk", d->name);
	}
	return OK;
}

/* The machine is quiesced. */
static int mark_all(struct vm *vm, struct errmsg *e)
{
	int err = mark_disks(vm, e);

	if (!err && gmem_mark(vm))
		err = err_set(e, ERR_NOMEM, "no memory for a mark");
	if (!err)
		copy_out(vm);
	return err;
}

static int mark_locked(struct vm *vm, struct errmsg *e)
{
	bool running = vm->run_state == VM_RUNNING;
	int err;

	if (!running && vm->run_state != VM_PAUSED)
		return err_set(e, ERR_STATE, "is %s", vm_state_text(vm->run_state));
	vm_mark_free(vm);
	gmem_unmark(vm);
	err = make(vm) ? err_set(e, ERR_NOMEM, "no memory for a mark") : OK;
	if (!err) {
		if (running)
			vm_quiesce(vm);
		err = mark_all(vm, e);
		if (running)
			vm_unquiesce(vm);
	}
	if (err)
		vm_mark_free(vm);
	return err;
}

int vm_mark(struct vm *vm, struct errmsg *e)
{
	int err;

	mutex_lock(&vm->lock);
	err = mark_locked(vm, e);
	mutex_unlock(&vm->lock);
	return err ? err_prefix(e, err, "vm '%s'", vm->config.name) : OK;
}

static int rewind_locked(struct vm *vm, struct rewind_result *out, struct errmsg *e)
{
	bool ran = vm->run_state == VM_RUNNING, stays = vm->run_state == VM_PAUSED;
	uint64_t began = time_now();
	int err = OK;

	if (!vm->mark || !gmem_marked(vm))
		return err_set(e, ERR_STATE, "has no mark");
	if (ran)
		vm_quiesce(vm);
	if (vm->mark->disks)
		err = vm_mark_disks->rewind(vm, vm->mark->disks, e);
	if (err) {
		if (ran)
			vm_unquiesce(vm);
		return err;
	}
	out->pages = gmem_rewind(vm);
	copy_back(vm);
	vm_forget_action(vm);
	vm->disposition = DISP_NONE;
	vm->reason[0] = '\0';
	vm->run_state = stays ? VM_PAUSED : VM_RUNNING;
	if (!stays)
		vm_unquiesce(vm);
	out->ns = time_now() - began;
	return OK;
}

int vm_rewind(struct vm *vm, struct rewind_result *out, struct errmsg *e)
{
	int err;

	mutex_lock(&vm->lock);
	err = rewind_locked(vm, out, e);
	mutex_unlock(&vm->lock);
	return err ? err_prefix(e, err, "vm '%s'", vm->config.name) : OK;
}

int vm_unmark(struct vm *vm, struct errmsg *e)
{
	int err = OK;

	mutex_lock(&vm->lock);
	if (!gmem_marked(vm))
		err = err_set(e, ERR_STATE, "vm '%s' has no mark", vm->config.name);
	gmem_unmark(vm);
	vm_mark_free(vm);
	mutex_unlock(&vm->lock);
	return err;
}
