/* SPDX-License-Identifier: BSD-2-Clause */
/* The records of a machine's devices in a state tree: which may be absent, and which may not. */
#include "hv/snapshot/vm_tree.c"

#include "tests/unit/fake/device_test.h"

/* What of the machine's building is not wanted here. */
uint32_t xstate_mxcsr_mask(void)
{
	return 0xffff;
}

int vm_build(const struct vm_config *config, const struct cpu_model *model, struct vm **out,
    struct errmsg *e)
{
	return err_set(e, ERR_UNSUPPORTED, "not built here");
}

void vm_discard(struct vm *v)
{
}

void vclock_set(struct vm *v, uint64_t ns)
{
}

void vclock_set_rate(struct vm *v, uint64_t hz)
{
}

uint64_t vclock_tsc_at(const struct vm *v, uint64_t ns)
{
	return 0;
}

/* A model that was always there, and one that an older version did not have. */
struct tiny_state {
	uint8_t value;
};
static const struct state_field tiny_fields[] = {
    STATE_INT(struct tiny_state, value, "value", 9, "a number"),
    STATE_END,
};

static int tiny_create(struct device *d, const struct config_dev *cfg, struct errmsg *e)
{
	d->priv = d->state = heap_zalloc(sizeof(struct tiny_state));
	return OK;
}

static void tiny_destroy(struct device *d)
{
	heap_free(d->priv);
}

static void tiny_nothing(struct device *d)
{
}

static void tiny_reset(struct device *d)
{
	((struct tiny_state *)d->state)->value = 5;
}

static int tiny_check(const struct device *d, const void *state, struct errmsg *e)
{
	return OK;
}

#define TINY(ident, name, may_be_absent)                                                           \
	DEVICE_MODEL(ident) = {.compatible = name,                                                 \
	    .version = 1,                                                                          \
	    .class = DEVCLASS_PLATFORM,                                                            \
	    .optional = (may_be_absent),                                                           \
	    .state_size = sizeof(struct tiny_state),                                               \
	    .fields = tiny_fields,                                                                 \
	    .create = tiny_create,                                                                 \
	    .destroy = tiny_destroy,                                                               \
	    .reset = tiny_reset,                                                                   \
	    .quiesce = tiny_nothing,                                                               \
	    .resume = tiny_nothing,                                                                \
	    .check = tiny_check,                                                                   \
	    .loaded = tiny_nothing}
TINY(old_model, "amber,old", false);
TINY(new_model, "amber,new", true);

static struct device *old, *new;
static struct errmsg msg;

static int start(void **state)
{
	vm = fake_vm_new(0, 0);
	old = fake_device_create(vm, "amber,old", NULL, &msg);
	new = fake_device_create(vm, "amber,new", NULL, &msg);
	assert_non_null(old);
	assert_non_null(new);
	return 0;
}

static void record(struct state_writer *w, const char *name, uint32_t version, uint8_t value)
{
	char compatible[16];

	snprintf(compatible, sizeof(compatible), "amber,%s", name);
	sw_begin(w, name);
	sw_string(w, "compatible", compatible);
	sw_u32(w, "version", version);
	sw_bytes(w, "value", &value, 1);
	sw_end(w);
}

/* Checks a tree with these two records, values 0: left out; then loads. */
static int restore(uint8_t old_value, uint32_t new_version, uint8_t new_value)
{
	struct vm_restore r = {.vm = vm};
	struct state_writer w;
	void *fdt = NULL;
	size_t size;
	int err;

	sw_init(&w, heap_grow);
	sw_begin(&w, "devices");
	if (old_value)
		record(&w, "old", 1, old_value);
	if (new_value)
		record(&w, "new", new_version, new_value);
	sw_end(&w);
	assert_int_equal(sw_encode(&w, &fdt, &size, &msg), OK);
	heap_free(w.buf);
	assert_int_equal(sr_check_tree(fdt, size, &msg), OK);
	err = check_devices(&r, fdt, &msg);
	heap_free(fdt);
	if (!err)
		vm_tree_load(&r);
	r.vm = vm;
	vm_tree_done(&r, true);
	return err;
}

static uint8_t value_of(const struct device *d)
{
	return ((const struct tiny_state *)d->state)->value;
}

static void all_records(void **state)
{
	assert_int_equal(restore(1, 1, 2), OK);
	assert_int_equal(value_of(old), 1);
	assert_int_equal(value_of(new), 2);
}

static void newer_device_is_as_after_a_reset(void **state)
{
	assert_int_equal(restore(1, 0, 0), OK);
	assert_int_equal(value_of(old), 1);
	assert_int_equal(value_of(new), 5);
}

static void others_must_be_there(void **state)
{
	assert_int_equal(restore(0, 1, 2), ERR_CORRUPT);
	assert_string_equal(msg.text, "record devices/old is missing");
	assert_int_equal(value_of(new), 5); /* nothing was loaded */
}

static void absent_or_right(void **state)
{
	assert_int_equal(restore(1, 2, 2), ERR_UNSUPPORTED);
	assert_string_equal(
	    msg.text, "record devices/new: version 2 is newer than this hypervisor's 1");
	assert_true(restore(1, 1, 10) < 0);
	assert_non_null(strstr(msg.text, "value"));
	assert_int_equal(value_of(old), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    DEVICE_TEST(all_records),
	    DEVICE_TEST(newer_device_is_as_after_a_reset),
	    DEVICE_TEST(others_must_be_there),
	    DEVICE_TEST(absent_or_right),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
