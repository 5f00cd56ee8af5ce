/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Three ports without a chip of their own (ICH9 datasheet, 13.7): 80h, where
 * firmware shows its progress and software writes to pass time; EDh, the other
 * delay port; 92h with the fast A20 gate and the fast reset. A20 is recorded and
 * does not gate anything.
 */
#include "hv/core/device.h"
#include "hv/core/iobus.h"
#include "hv/core/vm.h"
#include "hv/dev/byte_regs.h"
#include "hv/mm/mm.h"

enum misc_port { PORT_POST, PORT_FAST, PORT_DELAY, PORT_COUNT };
static const uint16_t port_numbers[PORT_COUNT] = {0x80, 0x92, 0xed};

enum port92 { P92_RESET = 1 << 0, P92_A20 = 1 << 1, P92_WRITABLE = 0x03 };

struct misc_ports_state {
	uint8_t value[PORT_COUNT]; /* 80h, 92h, EDh */
};

static const struct state_field fields[] = {
    STATE_ARRAY(struct misc_ports_state, value, "value", PORT_COUNT, 0xff,
	"last bytes written to ports 80h, 92h, EDh"),
    STATE_END,
};

struct misc_ports {
	struct misc_ports_state st; /* single bytes: no lock */
	struct vm *vm;
	struct port {
		struct misc_ports *all;
		enum misc_port which;
		struct io_region region;
	} port[PORT_COUNT];
};

static uint8_t misc_read(void *ctx, unsigned reg)
{
	const struct port *p = ctx;

	return p->all->st.value[p->which];
}

static void misc_write(void *ctx, unsigned reg, uint8_t v)
{
	struct port *p = ctx;
	uint8_t *value = &p->all->st.value[p->which], old = *value;

	*value = p->which == PORT_FAST ? v & P92_WRITABLE : v;
	if (p->which == PORT_FAST && (~old & v & P92_RESET))
		vm_request_reset(p->all->vm); /* the rising edge */
}

BYTE_PORTS(ports, misc_read, misc_write);

static int misc_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	struct misc_ports *m = heap_zalloc(sizeof(*m));
	int err;

	if (!m)
		return err_set(e, ERR_NOMEM, "misc-ports: out of memory");
	dev->priv = m;
	dev->state = &m->st;
	m->vm = dev->vm;
	for (unsigned i = 0; i < PORT_COUNT; i++) {
		struct port *p = &m->port[i];

		*p = (struct port){.all = m, .which = i};
		p->region = (struct io_region){.name = "misc-ports",
		    .start = port_numbers[i],
		    .size = 1,
		    .ops = &ports,
		    .ctx = p};
		err = iobus_map_port(dev->vm, &p->region);
		if (err != OK)
			return err_set(
			    e, err, "misc-ports: port %#x: %s", port_numbers[i], error_text(err));
	}
	return OK;
}

static void misc_destroy(struct device *dev)
{
	struct misc_ports *m = dev->priv;

	if (!m)
		return;
	for (unsigned i = 0; i < PORT_COUNT; i++)
		iobus_unmap_port(dev->vm, &m->port[i].region);
	heap_free(m);
}

static void misc_reset(struct device *dev)
{
	struct misc_ports *m = dev->priv;

	m->st = (struct misc_ports_state){.value = {[PORT_FAST] = P92_A20}};
}

static void misc_quiesce(struct device *dev)
{
}

static void misc_resume(struct device *dev)
{
}

static int misc_check(const struct device *dev, const void *state, struct errmsg *e)
{
	const struct misc_ports_state *s = state;

	if (s->value[PORT_FAST] & ~P92_WRITABLE)
		return err_set(e, ERR_INVAL, "value: reserved bits set in port 92h");
	return OK;
}

static void misc_loaded(struct device *dev)
{
}

DEVICE_MODEL(misc_ports) = {
    .compatible = "amber,misc-ports",
    .version = 1,
    .class = DEVCLASS_PLATFORM,
    .doc = "ports 80h (progress), 92h (fast A20 and reset) and EDh (delay)",
    .state_size = sizeof(struct misc_ports_state),
    .fields = fields,
    .create = misc_create,
    .destroy = misc_destroy,
    .reset = misc_reset,
    .quiesce = misc_quiesce,
    .resume = misc_resume,
    .check = misc_check,
    .loaded = misc_loaded,
};

#include "hv/dev/regs/misc_ports.h"
