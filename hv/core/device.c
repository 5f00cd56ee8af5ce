/* SPDX-License-Identifier: BSD-2-Clause */
/* The registry of device models, and the devices of a VM as a set. */
#include "hv/core/device.h"

#include <string.h>
#include "hv/core/device_set.h"
#include "hv/core/vm.h"
#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"

const struct device_model *device_model_find(const char *compatible)
{
	const struct device_model *const *m;

	for (m = __start_device_models; m < __stop_device_models; m++)
		if (strcmp((*m)->compatible, compatible) == 0)
			return *m;
	return NULL;
}

struct device *device_find(struct vm *vm, const char *compatible)
{
	struct list *pos;

	LIST_FOREACH(pos, &vm->devices)
	{
		struct device *d = LIST_ENTRY(pos, struct device, link);

		if (strcmp(d->model->compatible, compatible) == 0)
			return d;
	}
	return NULL;
}

COLD void device_unhandled(struct device *dev)
{
	__atomic_fetch_add(&dev->unhandled, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&dev->vm->stat_unhandled_io, 1, __ATOMIC_RELAXED);
}

static int create(struct vm *vm, const struct device_model *m, const char *name,
    const struct config_dev *cfg, struct errmsg *e)
{
	struct device *d = heap_zalloc(sizeof(*d));
	int err;

	if (!d)
		return err_set(e, ERR_NOMEM, "device %s: out of memory", name);
	d->model = m;
	d->vm = vm;
	str_copy(d->name, sizeof(d->name), name);
	list_push_back(&vm->devices, &d->link);
	err = m->create(d, cfg, e);
	return err ? err_prefix(e, err, "device %s", name) : OK;
}

/* "amber,i8254" -> "i8254" */
static const char *short_name(const struct device_model *m)
{
	const char *comma = strchr(m->compatible, ',');

	return comma ? comma + 1 : m->compatible;
}

int devices_create(struct vm *vm, struct errmsg *e)
{
	for (unsigned class = 0; class < DEVCLASS_CONFIG; class ++) {
		const struct device_model *const *m;

		for (m = __start_device_models; m < __stop_device_models; m++) {
			int err;

			if ((*m)->class != class)
				continue;
			err = create(vm, *m, short_name(*m), NULL, e);
			if (err)
				return err;
		}
	}
	for (uint32_t i = 0; i < vm->config.ndevs; i++) {
		const struct config_dev *c = &vm->config.devs[i];
		const struct device_model *m = device_model_find(c->model);
		int err;

		if (!m || m->class != DEVCLASS_CONFIG)
			return err_set(e, ERR_NOENT, "device %s: no model '%s'", c->name, c->model);
		err = create(vm, m, c->name, c, e);
		if (err)
			return err;
	}
	return OK;
}

void devices_destroy(struct vm *vm)
{
	/* the last made first: functions before their bus */
	while (!list_empty(&vm->devices)) {
		struct device *d = LIST_ENTRY(vm->devices.prev, struct device, link);

		list_remove(&d->link);
		d->model->destroy(d);
		heap_free(d);
	}
}

#define FOREACH_DEVICE(vm, d)                                                                      \
	for (struct list *pos_ = (vm)->devices.next;                                               \
	     pos_ != &(vm)->devices && ((d) = LIST_ENTRY(pos_, struct device, link));              \
	     pos_ = pos_->next)

void devices_reset(struct vm *vm)
{
	struct device *d;

	FOREACH_DEVICE(vm, d)
	d->model->reset(d);
}

void devices_quiesce(struct vm *vm)
{
	struct device *d;

	FOREACH_DEVICE(vm, d)
	d->model->quiesce(d);
}

void devices_drain(struct vm *vm)
{
	struct device *d;

	FOREACH_DEVICE(vm, d)
	if (d->model->drain)
		d->model->drain(d);
}

void devices_resume(struct vm *vm)
{
	struct device *d;

	FOREACH_DEVICE(vm, d)
	d->model->resume(d);
}
