/* SPDX-License-Identifier: BSD-2-Clause */
/* Between the parser of configurations and the checks of what it has read. */
#ifndef AMBER_CORE_VM_CONFIG_IMPL_H
#define AMBER_CORE_VM_CONFIG_IMPL_H

#include <string.h>
#include "hv/core/vm_config.h"
#include "hv/lib/fmt.h"

enum {
	SLOT_MAX = 30,		/* 0 is the host bridge, 31 the LPC bridge */
	SLOT_AUTO = 4,		/* devices without a slot get the free ones from here on */
	DEBUG_EXIT_BASE = 0xf4, /* where test kernels expect it */
	DEBUG_EXIT_PORTS = 4,
};

/* A node being read; path is for messages. */
struct ctx {
	const void *fdt;
	int node;
	char path[96];
	struct errmsg *e;
};

static inline void ctx_child(
    struct ctx *child, const struct ctx *parent, int node, const char *name)
{
	const char *slash = strcmp(parent->path, "/") == 0 ? "" : "/";

	*child = (struct ctx){.fdt = parent->fdt, .node = node, .e = parent->e};
	str_format(child->path, sizeof(child->path), "%s%s%s", parent->path, slash, name);
}

#define REFUSE(c, fmt, ...) err_set((c)->e, ERR_INVAL, "%s: " fmt, (c)->path, __VA_ARGS__)

/* What the schema says of a device, whose kind is set. */
bool config_dev_is_pci(const struct config_dev *d);
/* It has nothing to choose: a machine has one at most. */
bool config_dev_is_plain(const struct config_dev *d);
const char *config_dev_compatible(const struct config_dev *d);
/* A boot method as it stands in a manifest. */
const char *config_boot_word(enum boot_method method);

/*
 * What one property alone does not show: puts in what follows from others, and refuses what cannot
 * be together. ERR_INVAL, ERR_NOENT (no such payload).
 */
int config_check(const struct ctx *root, struct vm_config *v,
    bool (*payload_exists)(const char *name)) MUST_CHECK;

#endif
