/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The I/O APIC: 24 inputs, version 0x20 with an EOI register
 * (82093AA datasheet, order 290566; ICH9 datasheet, 13.5).
 *
 * Inputs are levels as devices assert them: the polarity bit is kept and does
 * nothing. A message is delivered at once, so the delivery status is always idle.
 */
#include "hv/core/device.h"
#include "hv/core/iobus.h"
#include "hv/core/irq.h"
#include "hv/core/memmap.h"
#include "hv/lib/spinlock.h"
#include "hv/mm/mm.h"

enum { PINS = 24, WINDOW_SIZE = 0x1000 };

/* Memory-mapped registers, offsets. */
enum ioapic_mmio { IOREGSEL = 0x00, IOWIN = 0x10, IOEOI = 0x40 };
/* Behind the window, by the number in IOREGSEL. */
enum ioapic_reg { IOAPICID = 0x00, IOAPICVER = 0x01, IOAPICARB = 0x02, IOREDTBL = 0x10 };

enum redirection {
	RTE_VECTOR = 0xff,
	RTE_MODE_SHIFT = 8,
	RTE_MODE = 7 << 8,
	RTE_LOGICAL = 1 << 11,
	RTE_STATUS = 1 << 12, /* always idle */
	RTE_POLARITY = 1 << 13,
	RTE_REMOTE_IRR = 1 << 14,
	RTE_LEVEL = 1 << 15,
	RTE_MASK = 1 << 16,
	RTE_DEST_SHIFT = 56,
};
#define RTE_WRITABLE                                                                               \
	(0xffULL << RTE_DEST_SHIFT | RTE_MASK | RTE_LEVEL | RTE_POLARITY | RTE_LOGICAL |           \
	    RTE_MODE | RTE_VECTOR)
#define ID_MASK	      0x0f000000U
#define VERSION_VALUE (0x20U | (PINS - 1) << 16)

struct ioapic_state {
	uint64_t redirection[PINS];
	uint32_t id;
	uint32_t lines; /* levels of the inputs */
	uint8_t select; /* IOREGSEL */
};

static const struct state_field fields[] = {
    STATE_ARRAY(struct ioapic_state, redirection, "redirection", PINS,
	RTE_WRITABLE | RTE_REMOTE_IRR, "redirection table"),
    STATE_INT(struct ioapic_state, id, "id", ID_MASK, "IOAPICID"),
    STATE_INT(struct ioapic_state, lines, "lines", BIT(PINS) - 1, "levels of the inputs"),
    STATE_INT(struct ioapic_state, select, "select", 0xff, "IOREGSEL"),
    STATE_END,
};

struct ioapic {
	struct spinlock lock; /* protects st */
	struct ioapic_state st;
	struct device *dev;
	struct vm *vm;
	struct io_region region;
};

/* --- inputs -------------------------------------------------------------------------- */

/* True if some local APIC took it. */
static bool send_locked(struct ioapic *io, uint64_t rte)
{
	struct irq_message m = {
	    .dest = (uint32_t)(rte >> RTE_DEST_SHIFT),
	    .dest_logical = rte & RTE_LOGICAL,
	    .level = rte & RTE_LEVEL,
	    .assert_level = true,
	    .vector = rte & RTE_VECTOR,
	    .mode = (rte & RTE_MODE) >> RTE_MODE_SHIFT,
	};

	return irq_deliver(io->vm, &m) > 0;
}

/*
 * A level input that waits: asserted, not masked, not yet sent. Remote IRR is
 * set only if somebody took the message, so that one that nobody could take
 * goes out again at the next occasion.
 */
static void service_level_locked(struct ioapic *io, unsigned pin)
{
	uint64_t *rte = &io->st.redirection[pin];

	if ((*rte & (RTE_LEVEL | RTE_MASK | RTE_REMOTE_IRR)) != RTE_LEVEL ||
	    !(io->st.lines >> pin & 1))
		return;
	if (send_locked(io, *rte))
		*rte |= RTE_REMOTE_IRR;
}

/* Edges on a masked input are ignored (82093AA, 3.2.4). */
static void ioapic_set(void *ioapic, unsigned pin, bool level)
{
	struct ioapic *io = ioapic;
	uint64_t flags = spin_lock(&io->lock);
	bool rises = level && !(io->st.lines >> pin & 1);
	uint64_t rte = io->st.redirection[pin];

	if (level)
		io->st.lines |= 1U << pin;
	else
		io->st.lines &= ~(1U << pin);
	if (rte & RTE_LEVEL)
		service_level_locked(io, pin);
	else if (rises && !(rte & RTE_MASK))
		send_locked(io, rte);
	spin_unlock(&io->lock, flags);
}

/* An end of interrupt, by broadcast or through the EOI register. */
static void ioapic_eoi(void *ioapic, uint8_t vector)
{
	struct ioapic *io = ioapic;
	uint64_t flags = spin_lock(&io->lock);

	for (unsigned pin = 0; pin < PINS; pin++) {
		uint64_t *rte = &io->st.redirection[pin];

		if (!(*rte & RTE_REMOTE_IRR) || (*rte & RTE_VECTOR) != vector)
			continue;
		*rte &= ~(uint64_t)RTE_REMOTE_IRR;
		service_level_locked(io, pin);
	}
	spin_unlock(&io->lock, flags);
}

static const struct irqchip_ops ioapic_ops = {.ioapic_set = ioapic_set, .ioapic_eoi = ioapic_eoi};

/* --- registers -------------------------------------------------------------------------- */

static uint32_t window_read_locked(const struct ioapic *io)
{
	const struct ioapic_state *s = &io->st;
	unsigned reg = s->select;

	if (reg >= IOREDTBL && reg < IOREDTBL + 2 * PINS)
		return (uint32_t)(s->redirection[(reg - IOREDTBL) / 2] >> (reg & 1 ? 32 : 0));
	switch (reg) {
	case IOAPICID:
	case IOAPICARB: /* loaded with the ID (82093AA, 3.2.3) */
		return s->id;
	case IOAPICVER:
		return VERSION_VALUE;
	default:
		device_unhandled(io->dev);
		return 0;
	}
}

/*
 * Remote IRR belongs to level inputs: making one edge-triggered clears it,
 * which older software uses in place of the EOI register.
 */
static void redirection_write_locked(struct ioapic *io, unsigned pin, unsigned shift, uint32_t v)
{
	uint64_t *rte = &io->st.redirection[pin];
	uint64_t writable = RTE_WRITABLE & 0xffffffffULL << shift;

	*rte = (*rte & ~writable) | ((uint64_t)v << shift & writable);
	if (!(*rte & RTE_LEVEL))
		*rte &= ~(uint64_t)RTE_REMOTE_IRR;
	service_level_locked(io, pin);
}

static void window_write_locked(struct ioapic *io, uint32_t v)
{
	unsigned reg = io->st.select;

	if (reg >= IOREDTBL && reg < IOREDTBL + 2 * PINS)
		redirection_write_locked(io, (reg - IOREDTBL) / 2, reg & 1 ? 32 : 0, v);
	else if (reg == IOAPICID)
		io->st.id = v & ID_MASK;
	else
		device_unhandled(io->dev);
}

static void mmio_read(void *ctx, uint64_t offset, unsigned len, uint64_t *value)
{
	struct ioapic *io = ctx;
	uint64_t flags = spin_lock(&io->lock);

	*value = 0;
	if (offset == IOREGSEL)
		*value = io->st.select;
	else if (offset == IOWIN)
		*value = window_read_locked(io);
	else
		device_unhandled(io->dev);
	spin_unlock(&io->lock, flags);
}

/* Registers are written by their low byte (select, EOI) or as a whole (window). */
static void mmio_write(void *ctx, uint64_t offset, unsigned len, uint64_t value)
{
	struct ioapic *io = ctx;
	uint64_t flags;

	if (offset == IOEOI) {
		ioapic_eoi(io, (uint8_t)value);
		return;
	}
	flags = spin_lock(&io->lock);
	if (offset == IOREGSEL)
		io->st.select = (uint8_t)value;
	else if (offset == IOWIN && len >= 4)
		window_write_locked(io, (uint32_t)value);
	else
		device_unhandled(io->dev);
	spin_unlock(&io->lock, flags);
}

static const struct io_handler handler = {mmio_read, mmio_write};

/* --- the model ----------------------------------------------------------------------------- */

static int ioapic_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	struct ioapic *io = heap_zalloc(sizeof(*io));
	int err;

	if (!io)
		return err_set(e, ERR_NOMEM, "ioapic: out of memory");
	dev->priv = io;
	dev->state = &io->st;
	io->dev = dev;
	io->vm = dev->vm;
	spinlock_init(&io->lock, RANK_IOAPIC);
	io->region = (struct io_region){.name = "ioapic",
	    .start = MEMMAP_IOAPIC,
	    .size = WINDOW_SIZE,
	    .ops = &handler,
	    .ctx = io};
	err = iobus_map_mmio(dev->vm, &io->region);
	if (err != OK)
		return err_set(e, err, "ioapic: registers at %#llx: %s",
		    (unsigned long long)io->region.start, error_text(err));
	irq_register_ioapic(dev->vm, &ioapic_ops, io);
	return OK;
}

static void ioapic_destroy(struct device *dev)
{
	struct ioapic *io = dev->priv;

	if (!io)
		return;
	irq_register_ioapic(dev->vm, NULL, NULL);
	iobus_unmap_mmio(dev->vm, &io->region);
	heap_free(io);
}

static void ioapic_reset(struct device *dev)
{
	struct ioapic *io = dev->priv;
	uint64_t flags = spin_lock(&io->lock);

	io->st = (struct ioapic_state){0};
	for (unsigned pin = 0; pin < PINS; pin++)
		io->st.redirection[pin] = RTE_MASK;
	spin_unlock(&io->lock, flags);
}

static void ioapic_quiesce(struct device *dev)
{
}

static void ioapic_resume(struct device *dev)
{
	struct ioapic *io = dev->priv;
	uint64_t flags = spin_lock(&io->lock);

	for (unsigned pin = 0; pin < PINS; pin++)
		service_level_locked(io, pin);
	spin_unlock(&io->lock, flags);
}

static int ioapic_check(const struct device *dev, const void *state, struct errmsg *e)
{
	const struct ioapic_state *s = state;

	if (s->id & ~ID_MASK)
		return err_set(e, ERR_INVAL, "id: reserved bits set");
	for (unsigned pin = 0; pin < PINS; pin++) {
		uint64_t rte = s->redirection[pin];

		if (rte & ~(RTE_WRITABLE | RTE_REMOTE_IRR))
			return err_set(
			    e, ERR_INVAL, "redirection entry %u: reserved bits set", pin);
		if ((rte & RTE_REMOTE_IRR) && !(rte & RTE_LEVEL))
			return err_set(e, ERR_INVAL,
			    "redirection entry %u: remote IRR set on an edge input", pin);
	}
	return OK;
}

static void ioapic_loaded(struct device *dev)
{
}

DEVICE_MODEL(ioapic) = {
    .compatible = "amber,ioapic",
    .version = 1,
    .class = DEVCLASS_IRQCHIP,
    .doc = "I/O APIC with 24 inputs (82093AA, ICH9)",
    .state_size = sizeof(struct ioapic_state),
    .fields = fields,
    .create = ioapic_create,
    .destroy = ioapic_destroy,
    .reset = ioapic_reset,
    .quiesce = ioapic_quiesce,
    .resume = ioapic_resume,
    .check = ioapic_check,
    .loaded = ioapic_loaded,
};

#include "hv/dev/regs/ioapic.h"
