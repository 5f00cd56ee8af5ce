/* SPDX-License-Identifier: BSD-2-Clause */
/* The state tree: capturing a machine, checking and loading one. */
#include "hv/snapshot/vm_tree.h"

#include <libfdt.h>
#include <string.h>
#include "hv/core/device_set.h"
#include "hv/core/vclock.h"
#include "hv/core/vcpu.h"
#include "hv/arch/x86/tsc.h"
#include "hv/arch/x86/xstate.h"
#include "hv/lib/cursor.h"
#include "hv/lib/muldiv.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

/* --- capture ------------------------------------------------------------------ */

static void capture_vcpus(struct vm *vm, struct state_writer *w)
{
	char name[16];

	sw_begin(w, "vcpus");
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		str_format(name, sizeof(name), "vcpu%u", i);
		sw_begin(w, name);
		sw_fields(w, vcpu_state_fields, &vm->vcpus[i]->state);
		sw_end(w);
	}
	sw_end(w);
}

static void capture_devices(struct vm *vm, struct state_writer *w)
{
	struct list *pos;

	sw_begin(w, "devices");
	LIST_FOREACH(pos, &vm->devices)
	{
		const struct device *d = LIST_ENTRY(pos, struct device, link);

		sw_begin(w, d->name);
		sw_string(w, "compatible", d->model->compatible);
		sw_u32(w, "version", d->model->version);
		sw_fields(w, d->model->fields, d->state);
		sw_end(w);
	}
	sw_end(w);
}

void vm_tree_capture(struct vm *vm, struct state_writer *w)
{
	sw_string(w, "format", VM_TREE_FORMAT);
	sw_u32(w, "version", VM_TREE_VERSION);
	sw_begin(w, "config");
	vm_config_save(&vm->config, w);
	sw_end(w);
	sw_begin(w, "clock");
	sw_u64(w, "vm-time-ns", vm_time(vm));
	sw_u64(w, "tsc-hz", vm->tsc_hz);
	sw_u64(w, "tsc-nominal-hz", vm->tsc_nominal_hz);
	sw_end(w);
	sw_begin(w, "cpu-model");
	cpu_model_save(vm->cpu_model, w);
	sw_end(w);
	capture_vcpus(vm, w);
	capture_devices(vm, w);
}

/* --- check ---------------------------------------------------------------------- */

static const char *const top_nodes[] = {
    "config", "clock", "cpu-model", "vcpus", "devices", "disks", "frozen", NULL};

static bool in_list(const char *const list[], const char *name)
{
	for (; *list; list++)
		if (strcmp(*list, name) == 0)
			return true;
	return false;
}

static int check_top(const void *fdt, struct errmsg *e)
{
	struct state_node root = {fdt, 0, "/"};
	const char *format;
	uint32_t version;
	int err, node;

	err = sr_string(&root, "format", &format, e);
	if (!err && strcmp(format, VM_TREE_FORMAT) != 0)
		err = err_set(e, ERR_CORRUPT, "state tree: format '%s' is not known", format);
	if (!err)
		err = sr_u32(&root, "version", &version, e);
	if (!err && (version == 0 || version > VM_TREE_VERSION))
		err = err_set(e, ERR_UNSUPPORTED,
		    "state tree: version %u is newer than this hypervisor's %u", version,
		    VM_TREE_VERSION);
	if (err)
		return err;
	fdt_for_each_subnode(node, fdt, 0)
	{
		const char *name = fdt_get_name(fdt, node, NULL);

		if (!in_list(top_nodes, name))
			return err_set(e, ERR_CORRUPT, "state tree: record %s is not known", name);
	}
	return OK;
}

static int find(const void *fdt, const char *path, struct state_node *n, struct errmsg *e)
{
	int err = sr_find(fdt, path, n);

	return err ? err_set(e, ERR_CORRUPT, "record %s is missing", path + 1) : OK;
}

static int count_subnodes(const struct state_node *n)
{
	int node, count = 0;

	fdt_for_each_subnode(node, n->fdt, n->node) count++;
	return count;
}

static int check_vcpu(struct vm_restore *r, const void *fdt, unsigned i, struct errmsg *e)
{
	struct vcpu_state *s = heap_zalloc(sizeof(*s) + 64);
	struct state_node n;
	char path[32];
	int err;

	r->vcpus[i] = s;
	if (!s)
		return err_set(e, ERR_NOMEM, "out of memory");
	str_format(path, sizeof(path), "/vcpus/vcpu%u", i);
	err = find(fdt, path, &n, e);
	if (err)
		return err;
	err = sr_fields(&n, vcpu_state_fields, NULL, s, e);
	if (err)
		return err;
	err = vcpu_state_check(s, e);
	if (!err)
		err = cpu_model_check_state(r->vm->cpu_model, s, e);
	if (!err && (get_le32(s->xstate + 24) & ~xstate_mxcsr_mask()))
		err =
		    err_set(e, ERR_CORRUPT, "xstate: MXCSR has a bit that this CPU does not know");
	if (!err)
		err = vlapic_check(&s->apic, r->vm->vcpus[i]->apic_id, e);
	return err ? err_prefix(e, err, "record vcpus/vcpu%u", i) : OK;
}

static int check_vcpus(struct vm_restore *r, const void *fdt, struct errmsg *e)
{
	struct state_node n;
	int err = find(fdt, "/vcpus", &n, e);

	if (err)
		return err;
	if (count_subnodes(&n) != (int)r->vm->nvcpus)
		return err_set(e, ERR_CORRUPT, "record vcpus: %d vCPUs, the configuration has %u",
		    count_subnodes(&n), r->vm->nvcpus);
	r->vcpus = heap_zalloc(r->vm->nvcpus * sizeof(*r->vcpus));
	if (!r->vcpus)
		return err_set(e, ERR_NOMEM, "out of memory");
	for (unsigned i = 0; i < r->vm->nvcpus && !err; i++)
		err = check_vcpu(r, fdt, i, e);
	return err;
}

/* What is absent keeps its power-on value: an optional field, an optional record. */
static int power_on_state(const struct device *d, void **state, struct errmsg *e)
{
	*state = heap_zalloc(MAX(d->model->state_size, 1UL));
	if (!*state)
		return err_set(e, ERR_NOMEM, "out of memory");
	memcpy(*state, d->state, d->model->state_size);
	return OK;
}

static int check_device(
    const struct device *d, const void *fdt, int node, void **state, struct errmsg *e)
{
	static const char *const also[] = {"compatible", "version", NULL};
	const struct device_model *m = d->model;
	char path[48];
	struct state_node n = {fdt, node, path};
	const char *compatible;
	uint32_t version;
	int err;

	str_format(path, sizeof(path), "/devices/%s", d->name);
	err = power_on_state(d, state, e);
	if (!err)
		err = sr_string(&n, "compatible", &compatible, e);
	if (!err)
		err = sr_u32(&n, "version", &version, e);
	if (err)
		return err;
	if (strcmp(compatible, m->compatible) != 0)
		return err_set(e, ERR_CORRUPT, "record devices/%s: is a %s, the machine has a %s",
		    d->name, compatible, m->compatible);
	if (version == 0 || version > m->version)
		return err_set(e, ERR_UNSUPPORTED,
		    "record devices/%s: version %u is newer than this hypervisor's %u", d->name,
		    version, m->version);
	err = sr_fields(&n, m->fields, also, *state, e);
	if (err)
		return err;
	err = m->check(d, *state, e);
	return err ? err_prefix(e, err, "record devices/%s", d->name) : OK;
}

/* Where the device is in vm->devices; -1: there is none of that name. */
static int index_of(struct vm *vm, const char *name, const struct device **out)
{
	struct list *pos;
	int i = 0;

	LIST_FOREACH(pos, &vm->devices)
	{
		*out = LIST_ENTRY(pos, struct device, link);
		if (strcmp((*out)->name, name) == 0)
			return i;
		i++;
	}
	return -1;
}

static int check_all_there(const struct vm_restore *r, struct errmsg *e)
{
	struct list *pos;
	unsigned i = 0;
	int err = OK;

	LIST_FOREACH(pos, &r->vm->devices)
	{
		const struct device *d = LIST_ENTRY(pos, struct device, link);

		if (!r->devices[i] && !d->model->optional)
			return err_set(e, ERR_CORRUPT, "record devices/%s is missing", d->name);
		if (!r->devices[i] && !err)
			err = power_on_state(d, &r->devices[i], e);
		i++;
	}
	return err;
}

/* One walk over the records: to look for each would be one walk for each. */
static int check_devices(struct vm_restore *r, const void *fdt, struct errmsg *e)
{
	struct state_node n;
	struct list *pos;
	int err = find(fdt, "/devices", &n, e), node;

	if (err)
		return err;
	LIST_FOREACH(pos, &r->vm->devices)
	r->ndevices++;
	r->devices = heap_zalloc(r->ndevices * sizeof(void *));
	if (!r->devices)
		return err_set(e, ERR_NOMEM, "out of memory");
	fdt_for_each_subnode(node, fdt, n.node)
	{
		const char *name = fdt_get_name(fdt, node, NULL);
		const struct device *d;
		int i = index_of(r->vm, name, &d);

		if (i < 0)
			return err_set(e, ERR_CORRUPT,
			    "record devices/%s: the configuration has no such device", name);
		err = check_device(d, fdt, node, &r->devices[i], e);
		if (err)
			return err;
	}
	return check_all_there(r, e);
}

static int check_rate(const char *name, uint64_t hz, struct errmsg *e)
{
	if (hz < 1000000 || hz > 100000000000ULL)
		return err_set(e, ERR_CORRUPT, "record clock: %s: impossible value %llu", name,
		    (unsigned long long)hz);
	return OK;
}

static int check_clock(struct vm_restore *r, const void *fdt, struct errmsg *e)
{
	struct state_node n;
	int err = find(fdt, "/clock", &n, e);

	if (!err)
		err = sr_u64(&n, "vm-time-ns", &r->vm_time, e);
	if (!err)
		err = sr_u64(&n, "tsc-hz", &r->tsc_hz, e);
	/* snapshots from before there was scaling have the one rate only */
	r->tsc_nominal_hz = r->tsc_hz;
	if (!err && fdt_getprop(fdt, n.node, "tsc-nominal-hz", NULL))
		err = sr_u64(&n, "tsc-nominal-hz", &r->tsc_nominal_hz, e);
	if (!err)
		err = check_rate("tsc-hz", r->tsc_hz, e);
	if (!err)
		err = check_rate("tsc-nominal-hz", r->tsc_nominal_hz, e);
	if (!err && r->vm_time >> 62)
		err = err_set(e, ERR_CORRUPT, "record clock: vm-time-ns: impossible value");
	return err;
}

static int build(
    const void *fdt, const struct vm_tree_as *as, struct vm_restore *r, struct errmsg *e)
{
	struct vm_config *config = heap_zalloc(sizeof(*config));
	struct cpu_model *model = heap_zalloc(sizeof(*model));
	struct state_node n;
	int err;

	if (!config || !model) {
		err = err_set(e, ERR_NOMEM, "out of memory");
		goto out;
	}
	err = vm_config_read(fdt, "/config", config, NULL, e);
	if (!err)
		err = find(fdt, "/cpu-model", &n, e);
	if (!err)
		err = cpu_model_load(model, &n, e);
	if (!err && as->name)
		err = vm_config_rename(config, as->name, e);
	if (!err && as->change)
		err = as->change(config, as->ctx, e);
	if (!err)
		err = vm_build(config, model, &r->vm, e);
out:
	heap_free(config);
	heap_free(model);
	return err;
}

int vm_tree_check(
    const void *fdt, const struct vm_tree_as *as, struct vm_restore *r, struct errmsg *e)
{
	int err = check_top(fdt, e);

	*r = (struct vm_restore){.vm = NULL};
	if (!err)
		err = check_clock(r, fdt, e);
	if (!err)
		err = build(fdt, as, r, e);
	if (!err)
		err = check_vcpus(r, fdt, e);
	if (!err)
		err = check_devices(r, fdt, e);
	if (err)
		vm_tree_done(r, false);
	return err;
}

/* --- load ------------------------------------------------------------------------- */

void vm_tree_load(struct vm_restore *r)
{
	struct vm *vm = r->vm;
	struct list *pos;
	unsigned i = 0;

	/*
	 * The guest's TSC goes on from where it was, at the rate that the machine was
	 * made with, give or take what is too little to be scaled.
	 */
	uint64_t then = muldiv_u64(r->vm_time, r->tsc_hz, 1000000000), jump;

	vclock_set_rate(vm, r->tsc_nominal_hz);
	jump = then - vclock_tsc_at(vm, r->vm_time);
	vclock_set(vm, r->vm_time + r->advance);
	for (unsigned c = 0; c < vm->nvcpus; c++) {
		struct vcpu *v = vm->vcpus[c];

		v->state = *r->vcpus[c];
		v->state.tsc_offset += jump;
		v->valid = v->dirty = VG_ALL;
		vcpu_request(v, VCPU_REQ_TLB | VCPU_REQ_CLOCK | VCPU_REQ_EVENT);
	}
	LIST_FOREACH(pos, &vm->devices)
	{
		struct device *d = LIST_ENTRY(pos, struct device, link);

		memcpy(d->state, r->devices[i++], d->model->state_size);
		d->model->loaded(d);
	}
	vm->run_state = VM_PAUSED;
}

void vm_tree_done(struct vm_restore *r, bool keep_vm)
{
	for (unsigned i = 0; r->vm && r->vcpus && i < r->vm->nvcpus; i++)
		heap_free(r->vcpus[i]);
	for (unsigned i = 0; r->devices && i < r->ndevices; i++)
		heap_free(r->devices[i]);
	heap_free(r->vcpus);
	heap_free(r->devices);
	if (r->vm && !keep_vm)
		vm_discard(r->vm);
	*r = (struct vm_restore){.vm = NULL};
}
