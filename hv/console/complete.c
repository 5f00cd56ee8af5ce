/* SPDX-License-Identifier: BSD-2-Clause */
/* Candidates for the Tab key. */
#include "hv/console/complete.h"

#include "hv/core/vm.h"
#include "hv/lib/log.h"
#include "hv/snapshot/engine.h"
#include "hv/snapshot/vdisk.h"

static void add_vm(struct vm *vm, void *arg)
{
	candidates_add(arg, vm->config.name);
}

void complete_vm(struct candidates *c)
{
	vm_foreach(add_vm, c);
}

static void add_snapshot(void *ctx, const struct snap_info *info, const struct errmsg *why)
{
	(void)why;
	if (info)
		candidates_add(ctx, info->name);
}

void complete_snapshot(struct candidates *c)
{
	struct errmsg e;
	struct store *s = engine_lock(&e);

	if (!s)
		return;
	if (snap_list(s, add_snapshot, c, &e) != OK)
		log_debug("completion: %s", e.text);
	engine_unlock();
}

void complete_disk(struct candidates *c)
{
	struct errmsg e;
	struct store *s = engine_lock(&e);
	uint64_t at = 0;
	struct vdisk v;

	if (!s)
		return;
	while (vdisk_next(s, &at, &v, &e) == OK)
		candidates_add(c, v.name);
	engine_unlock();
}
