/* SPDX-License-Identifier: BSD-2-Clause */
/* What the machine does with a device: creates, saves, checks, loads and destroys it. */
#include <stdlib.h>
#include <string.h>

#include "hv/mm/mm.h"
#include "tests/unit/fake/fake.h"

/* The section exists also in a test without a model: the core looks for its bounds. */
__asm__(".pushsection device_models, \"aw\"\n.popsection");

struct device *fake_device_create(
    struct vm *vm, const char *compatible, const struct config_dev *cfg, struct errmsg *e)
{
	const struct device_model *m = device_model_find(compatible);
	const char *comma = strchr(compatible, ',');
	struct device *dev;

	if (!m) {
		err_set(e, ERR_NOENT, "model '%s' is not linked", compatible);
		return NULL;
	}
	dev = calloc(1, sizeof(*dev));
	dev->model = m;
	dev->vm = vm;
	snprintf(dev->name, sizeof(dev->name), "%s",
	    cfg	    ? cfg->name
	    : comma ? comma + 1
		    : compatible);
	list_push_back(&vm->devices, &dev->link);
	if (m->create(dev, cfg, e) != OK) {
		fake_device_destroy(dev);
		return NULL;
	}
	if (m->reset)
		m->reset(dev);
	if (m->resume)
		m->resume(dev);
	return dev;
}

void fake_device_destroy(struct device *dev)
{
	dev->model->destroy(dev);
	list_remove(&dev->link);
	free(dev);
}

/* Encodes state as a tree and decodes it into the zeroed scratch struct. */
static int recode(struct device *dev, const void *state, void *scratch, struct errmsg *e)
{
	struct state_writer w;
	struct state_node n;
	char path[40]; /* n points to it */
	void *fdt = NULL;
	size_t size = 0;
	int err;

	sw_init(&w, heap_grow);
	sw_begin(&w, dev->name);
	sw_fields(&w, dev->model->fields, state);
	sw_end(&w);
	err = sw_encode(&w, &fdt, &size, e);
	heap_free(w.buf);
	if (err == OK)
		err = sr_check_tree(fdt, size, e);
	if (err == OK) {
		snprintf(path, sizeof(path), "/%s", dev->name);
		err = sr_find(fdt, path, &n);
		if (err != OK)
			err_set(e, err, "record %s is not in the tree", path);
	}
	if (err == OK)
		err = sr_fields(&n, dev->model->fields, NULL, scratch, e);
	heap_free(fdt);
	return err;
}

/* Padding is shorter than eight bytes; a longer gap is a member that the table forgot. */
static int check_coverage(const struct device_model *m, struct errmsg *e)
{
	uint8_t *covered = calloc(1, m->state_size);
	int err = OK;

	for (const struct state_field *f = m->fields; f->name; f++) {
		size_t len = (size_t)f->width * f->count;

		if (f->offset + len > m->state_size) {
			err = err_set(e, ERR_RANGE, "%s: outside of the state", f->name);
			break;
		}
		memset(covered + f->offset, 1, len);
	}
	for (size_t i = 0, gap = 0; i < m->state_size && err == OK; i++) {
		gap = covered[i] ? 0 : gap + 1;
		if (gap == 8)
			err = err_set(e, ERR_RANGE, "state byte %zu is in no field", i);
	}
	free(covered);
	return err;
}

static int compare(const struct device_model *m, const void *a, const void *b, struct errmsg *e)
{
	for (const struct state_field *f = m->fields; f->name; f++) {
		if (memcmp((const char *)a + f->offset, (const char *)b + f->offset,
			(size_t)f->width * f->count) != 0)
			return err_set(e, ERR_CORRUPT, "%s: changed by encoding", f->name);
	}
	return OK;
}

int fake_device_check(struct device *dev, const void *state, struct errmsg *e)
{
	void *scratch = calloc(1, dev->model->state_size);
	int err = recode(dev, state, scratch, e);

	if (err == OK && dev->model->check)
		err = dev->model->check(dev, scratch, e);
	free(scratch);
	return err;
}

int fake_device_load(struct device *dev, const void *state, struct errmsg *e)
{
	void *scratch = calloc(1, dev->model->state_size);
	int err = recode(dev, state, scratch, e);

	if (err == OK && dev->model->check)
		err = dev->model->check(dev, scratch, e);
	if (err == OK) {
		memcpy(dev->state, scratch, dev->model->state_size);
		if (dev->model->loaded)
			dev->model->loaded(dev);
		if (dev->model->resume)
			dev->model->resume(dev);
	}
	free(scratch);
	return err;
}

int fake_device_roundtrip(struct device *dev, struct errmsg *e)
{
	void *copy, *scratch;
	int err = check_coverage(dev->model, e);

	if (err != OK)
		return err;
	copy = calloc(1, dev->model->state_size);
	scratch = calloc(1, dev->model->state_size);
	if (dev->model->quiesce)
		dev->model->quiesce(dev);
	if (dev->model->drain)
		dev->model->drain(dev);
	memcpy(copy, dev->state, dev->model->state_size);
	err = recode(dev, copy, scratch, e);
	if (err == OK)
		err = compare(dev->model, copy, scratch, e);
	if (err == OK)
		err = fake_device_load(dev, copy, e);
	free(copy);
	free(scratch);
	return err;
}
