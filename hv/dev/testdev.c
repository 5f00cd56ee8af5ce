/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What test kernels need of a machine and no PC has; its registers are those of QEMU's pc-testdev:
 *   E0h to E3h      four bytes that keep what is written, in any width
 *   E4h to E7h      a page to forget the mapping of; here there is nothing to forget
 *   E8h to EBh      the bytes of E0h to E3h again
 *   2000h to 2017h  a byte for each interrupt line: 0 lowers it, anything else raises it
 *   FF000000h       64 KiB of device memory that keep what is written
 * It does not own the lines: who shares one with another device sees the level set last.
 */
#include <string.h>
#include "hv/core/device.h"
#include "hv/core/iobus.h"
#include "hv/core/irq.h"
#include "hv/core/vm.h"
#include "hv/dev/byte_regs.h"
#include "hv/mm/mm.h"

enum { LATCH_BYTES = 4, MEMORY_SIZE = 64 * 1024 };
#define MEMORY_AT 0xff000000ULL

struct testdev_state {
	uint8_t latch[LATCH_BYTES];
	uint8_t lines[GSI_COUNT]; /* 1: raised */
	uint8_t memory[MEMORY_SIZE];
};

static const struct state_field fields[] = {
    STATE_ARRAY(
	struct testdev_state, latch, "latch", LATCH_BYTES, 0xff, "bytes written to E0h to E3h"),
    STATE_ARRAY(
	struct testdev_state, lines, "lines", GSI_COUNT, 1, "interrupt lines that it raises"),
    STATE_ARRAY(struct testdev_state, memory, "memory", MEMORY_SIZE, 0xff, "its device memory"),
    STATE_END,
};

enum { PORT_LATCH, PORT_FLUSH, PORT_LATCH_BYTES, PORT_LINES, PORT_COUNT };

struct testdev {
	struct testdev_state st; /* bytes, each written at once: no lock */
	struct device *dev;
	struct vm *vm;
	struct io_region port[PORT_COUNT], memory;
};

static uint8_t latch_read(void *ctx, unsigned reg)
{
	const struct testdev *t = ctx;

	return t->st.latch[reg % LATCH_BYTES];
}

static void latch_write(void *ctx, unsigned reg, uint8_t v)
{
	struct testdev *t = ctx;

	t->st.latch[reg % LATCH_BYTES] = v;
}

static uint8_t nothing_read(void *ctx, unsigned reg)
{
	const struct testdev *t = ctx;

	device_unhandled(t->dev);
	return 0xff;
}

static void nothing_write(void *ctx, unsigned reg, uint8_t v)
{
}

static void lines_write(void *ctx, unsigned reg, uint8_t v)
{
	struct testdev *t = ctx;

	t->st.lines[reg] = v != 0;
	irq_line_set(t->vm, reg, v != 0);
}

BYTE_PORTS(latch_ports, latch_read, latch_write);
BYTE_PORTS(flush_ports, nothing_read, nothing_write);
BYTE_PORTS(lines_ports, nothing_read, lines_write);

static const struct {
	uint16_t start, size;
	const struct io_handler *ops;
} ports[PORT_COUNT] = {
    [PORT_LATCH] = {0xe0, 4, &latch_ports},
    [PORT_FLUSH] = {0xe4, 4, &flush_ports},
    [PORT_LATCH_BYTES] = {0xe8, 4, &latch_ports},
    [PORT_LINES] = {0x2000, GSI_COUNT, &lines_ports},
};

static void memory_read(void *ctx, uint64_t offset, unsigned len, uint64_t *value)
{
	const struct testdev *t = ctx;

	*value = 0;
	memcpy(value, t->st.memory + offset, len); /* the bus lets nothing pass the end */
}

static void memory_write(void *ctx, uint64_t offset, unsigned len, uint64_t value)
{
	struct testdev *t = ctx;

	memcpy(t->st.memory + offset, &value, len);
}

static const struct io_handler memory = {memory_read, memory_write};

static int testdev_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	struct testdev *t = heap_zalloc(sizeof(*t));
	int err = OK;

	if (!t)
		return err_set(e, ERR_NOMEM, "out of memory");
	dev->priv = t;
	dev->state = &t->st;
	t->dev = dev;
	t->vm = dev->vm;
	for (unsigned i = 0; i < PORT_COUNT; i++) {
		t->port[i] = (struct io_region){.name = "testdev",
		    .start = ports[i].start,
		    .size = ports[i].size,
		    .ops = ports[i].ops,
		    .ctx = t};
		err = iobus_map_port(dev->vm, &t->port[i]);
		if (err)
			return err_set(e, err, "port %#x: %s", ports[i].start, error_text(err));
	}
	t->memory = (struct io_region){
	    .name = "testdev", .start = MEMORY_AT, .size = MEMORY_SIZE, .ops = &memory, .ctx = t};
	err = iobus_map_mmio(dev->vm, &t->memory);
	return err ? err_set(e, err, "memory at 0x%llx: %s", MEMORY_AT, error_text(err)) : OK;
}

static void testdev_destroy(struct device *dev)
{
	struct testdev *t = dev->priv;

	if (!t)
		return;
	for (unsigned i = 0; i < PORT_COUNT; i++)
		iobus_unmap_port(dev->vm, &t->port[i]);
	iobus_unmap_mmio(dev->vm, &t->memory);
	heap_free(t);
}

static void testdev_reset(struct device *dev)
{
	struct testdev *t = dev->priv;

	for (unsigned i = 0; i < GSI_COUNT; i++)
		if (t->st.lines[i])
			irq_line_set(t->vm, i, false);
	memset(&t->st, 0, sizeof(t->st));
}

static void testdev_quiesce(struct device *dev)
{
}

/* The lines that it does not raise are others' to lower. */
static void testdev_resume(struct device *dev)
{
	const struct testdev *t = dev->priv;

	for (unsigned i = 0; i < GSI_COUNT; i++)
		if (t->st.lines[i])
			irq_line_set(t->vm, i, true);
}

static int testdev_check(const struct device *dev, const void *state, struct errmsg *e)
{
	return OK;
}

static void testdev_loaded(struct device *dev)
{
}

DEVICE_MODEL(testdev) = {
    .compatible = "amber,testdev",
    .version = 1,
    .class = DEVCLASS_CONFIG,
    .doc = "registers and interrupt lines for test kernels, as QEMU's pc-testdev has them",
    .state_size = sizeof(struct testdev_state),
    .fields = fields,
    .create = testdev_create,
    .destroy = testdev_destroy,
    .reset = testdev_reset,
    .quiesce = testdev_quiesce,
    .resume = testdev_resume,
    .check = testdev_check,
    .loaded = testdev_loaded,
};

#include "hv/dev/regs/testdev.h"
