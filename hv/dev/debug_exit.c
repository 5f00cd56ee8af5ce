/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port by which a guest ends its own machine and says with what: any write to it is the exit
 * code. It is where test kernels look for QEMU's isa-debug-exit, whose process ends with the status
 * 2 * code + 1. It remembers nothing.
 */
#include "hv/core/device.h"
#include "hv/core/iobus.h"
#include "hv/core/vm.h"
#include "hv/mm/mm.h"

static const struct state_field fields[] = {STATE_END};

struct debug_exit {
	struct io_region region;
};

static void debug_exit_read(void *ctx, uint64_t offset, unsigned len, uint64_t *value)
{
	device_unhandled(ctx); /* there is nothing to be read */
	*value = 0;
}

static void debug_exit_write(void *ctx, uint64_t offset, unsigned len, uint64_t value)
{
	const struct device *dev = ctx;

	vm_debug_exit(dev->vm, (uint32_t)value);
}

static const struct io_handler ports = {debug_exit_read, debug_exit_write};

static int debug_exit_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	struct debug_exit *d = heap_zalloc(sizeof(*d));
	int err;

	if (!d)
		return err_set(e, ERR_NOMEM, "out of memory");
	dev->priv = d;
	dev->state = d; /* of no size */
	d->region = (struct io_region){.name = "debug-exit",
	    .start = cfg->io_base,
	    .size = cfg->io_size,
	    .ops = &ports,
	    .ctx = dev};
	err = iobus_map_port(dev->vm, &d->region);
	return err ? err_set(e, err, "port %#x: %s", cfg->io_base, error_text(err)) : OK;
}

static void debug_exit_destroy(struct device *dev)
{
	struct debug_exit *d = dev->priv;

	if (!d)
		return;
	iobus_unmap_port(dev->vm, &d->region);
	heap_free(d);
}

static void debug_exit_nothing(struct device *dev)
{
}

static int debug_exit_check(const struct device *dev, const void *state, struct errmsg *e)
{
	return OK;
}

DEVICE_MODEL(debug_exit) = {
    .compatible = "amber,debug-exit",
    .version = 1,
    .class = DEVCLASS_CONFIG,
    .doc = "a port that ends the machine with the code written to it",
    .state_size = 0,
    .fields = fields,
    .create = debug_exit_create,
    .destroy = debug_exit_destroy,
    .reset = debug_exit_nothing,
    .quiesce = debug_exit_nothing,
    .resume = debug_exit_nothing,
    .check = debug_exit_check,
    .loaded = debug_exit_nothing,
};

#include "hv/dev/regs/debug_exit.h"
