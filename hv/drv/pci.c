/* SPDX-License-Identifier: BSD-2-Clause */
/* Enumeration of the host's PCI functions, BARs, capabilities, MSI, and driver matching. */
#include <string.h>

#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/io.h"
#include "hv/arch/x86/irq.h"
#include "hv/drv/pci.h"
#include "hv/drv/pci_access.h"
#include "hv/lib/bitmap.h"
#include "hv/lib/cursor.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

enum {
	PCI_STATUS_CAPABILITIES = 1 << 4,
	PCI_HEADER_MULTI = 0x80,
	PCI_HEADER_BRIDGE = 1,
	PCI_BAR_IO = 1 << 0,
	PCI_BAR_TYPE = 3 << 1,
	PCI_BAR_64 = 2 << 1,
	PCI_BAR_PREFETCH = 1 << 3,
	PCI_BUSES = 256,
};
/* PCI Power Management 1.2, section 3.2.4 */
enum { PM_CONTROL = 4, PM_STATE = 3 };
/* PCI Local Bus 3.0, section 6.8.1 */
enum {
	MSI_CONTROL = 2,
	MSI_ADDRESS = 4,
	MSI_DATA_32 = 8, /* after a 32-bit address */
	MSI_ADDRESS_HIGH = 8,
	MSI_DATA_64 = 12,
	MSI_ENABLE = 1 << 0,
	MSI_MULTIPLE = 7 << 4, /* log2 of the messages allowed */
	MSI_64BIT = 1 << 7,
};
/* section 6.8.2 */
enum {
	MSIX_CONTROL = 2,
	MSIX_TABLE = 4, /* BAR number in bits 0-2, offset above */
	MSIX_SIZE = 0x7ff,
	MSIX_FUNCTION_MASK = 1 << 14,
	MSIX_ENABLE = 1 << 15,
	MSIX_ENTRY = 16, /* bytes: address, upper address, data, control */
	MSIX_ENTRY_MASKED = 1,
};

#define POLL_INTERVAL 1000000 /* ns */

static struct list devices = LIST_INIT(devices);
static unsigned next_cpu; /* interrupts go round; devices are probed one after another */

/* --- registers ------------------------------------------------------------------- */

static uint32_t cfg_read(const struct pci_dev *d, unsigned reg, unsigned len)
{
	return pci_cfg_read(d->segment, d->bus, (uint8_t)(d->slot << 3 | d->function), reg, len);
}

static void cfg_write(const struct pci_dev *d, unsigned reg, unsigned len, uint32_t v)
{
	pci_cfg_write(d->segment, d->bus, (uint8_t)(d->slot << 3 | d->function), reg, len, v);
}

uint8_t pci_read8(const struct pci_dev *d, unsigned reg)
{
	return (uint8_t)cfg_read(d, reg, 1);
}

uint16_t pci_read16(const struct pci_dev *d, unsigned reg)
{
	return (uint16_t)cfg_read(d, reg, 2);
}

uint32_t pci_read32(const struct pci_dev *d, unsigned reg)
{
	return cfg_read(d, reg, 4);
}

void pci_write16(const struct pci_dev *d, unsigned reg, uint16_t v)
{
	cfg_write(d, reg, 2, v);
}

void pci_write32(const struct pci_dev *d, unsigned reg, uint32_t v)
{
	cfg_write(d, reg, 4, v);
}

unsigned pci_find_cap(const struct pci_dev *d, enum pci_cap_id id, unsigned after)
{
	unsigned at;

	if (!(pci_read16(d, PCI_STATUS) & PCI_STATUS_CAPABILITIES))
		return 0;
	at = pci_read8(d, after ? after + 1 : (unsigned)PCI_CAPABILITIES);
	/* a list has at most 48 members of 4 bytes; a broken one may be a ring */
	for (unsigned n = 0; n < 48; n++) {
		at &= 0xfc;
		if (at < 0x40)
			return 0;
		if (pci_read8(d, at) == id)
			return at;
		at = pci_read8(d, at + 1);
	}
	return 0;
}

/* --- BARs -------------------------------------------------------------------------- */

/* The bits of a BAR that can be set, found by writing ones; its value is kept. */
static uint32_t bar_probe(const struct pci_dev *d, unsigned reg, uint32_t *value)
{
	uint32_t mask;

	*value = pci_read32(d, reg);
	pci_write32(d, reg, ~0u);
	mask = pci_read32(d, reg);
	pci_write32(d, reg, *value);
	return mask;
}

int pci_bar(const struct pci_dev *d, unsigned index, struct pci_bar *out)
{
	unsigned nbars = d->header_type == 0		       ? PCI_BARS
			 : d->header_type == PCI_HEADER_BRIDGE ? 2
							       : 0;
	unsigned reg = PCI_BAR0 + 4 * index;
	uint16_t command = pci_read16(d, PCI_COMMAND);
	uint32_t value, high = 0;
	uint64_t mask;

	*out = (struct pci_bar){.size = 0};
	if (index >= nbars)
		return ERR_NOENT;
	/* so that the device does not answer at the address made of ones */
	pci_write16(d, PCI_COMMAND, command & (uint16_t) ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY));
	mask = bar_probe(d, reg, &value);
	out->io = value & PCI_BAR_IO;
	out->is64 = !out->io && (value & PCI_BAR_TYPE) == PCI_BAR_64 && index + 1 < nbars;
	if (out->is64)
		mask |= (uint64_t)bar_probe(d, reg + 4, &high) << 32;
	pci_write16(d, PCI_COMMAND, command);

	if (out->io) {
		out->addr = value & ~3u;
		mask &= ~3u;
	} else {
		out->addr = (uint64_t)high << 32 | (value & ~0xfu);
		out->prefetchable = value & PCI_BAR_PREFETCH;
		mask &= ~0xfULL;
	}
	if (mask == 0)
		return ERR_NOENT;
	/* the bits that the device decodes; those above the register's width count as decoded */
	if (out->io && !(mask >> 16))
		mask |= 0xffff0000u;
	if (!out->is64)
		mask |= ~0xffffffffULL;
	out->size = ~mask + 1;
	return OK;
}

void *pci_map_bar(
    const struct pci_dev *d, unsigned index, uint64_t offset, uint64_t len, struct errmsg *e)
{
	struct pci_bar bar;
	void *p;

	if (pci_bar(d, index, &bar) || bar.io) {
		err_set(e, ERR_NOENT, "BAR %u is no memory", index);
		return NULL;
	}
	if (bar.addr == 0) {
		err_set(e, ERR_NOENT, "BAR %u has no address: not set up by the firmware", index);
		return NULL;
	}
	if (len == 0 || !range_in(offset, len, bar.size)) {
		err_set(e, ERR_RANGE, "BAR %u has %llu bytes, %llu at %llu needed", index,
		    (unsigned long long)bar.size, (unsigned long long)len,
		    (unsigned long long)offset);
		return NULL;
	}
	p = map_device(hpa(bar.addr + offset), len, MAP_UNCACHED);
	if (!p)
		err_set(e, ERR_NOMEM, "no memory to map BAR %u", index);
	return p;
}

void pci_enable(const struct pci_dev *d)
{
	unsigned pm = pci_find_cap(d, PCI_CAP_PM, 0);
	uint16_t command;

	if (pm && (pci_read16(d, pm + PM_CONTROL) & PM_STATE)) {
		uint16_t control = pci_read16(d, pm + PM_CONTROL);

		pci_write16(d, pm + PM_CONTROL, control & (uint16_t)~PM_STATE);
		thread_sleep(10000000); /* D3 to D0: 10 ms (PCI Power Management 1.2, table 5-6) */
	}
	command = pci_read16(d, PCI_COMMAND);
	pci_write16(d, PCI_COMMAND,
	    command | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
}

void pci_disable(const struct pci_dev *d)
{
	pci_write16(d, PCI_COMMAND, pci_read16(d, PCI_COMMAND) & (uint16_t)~PCI_COMMAND_MASTER);
}

/* --- interrupts --------------------------------------------------------------------- */

static bool msix_setup(const struct pci_dev *d, uint64_t address, uint32_t data)
{
	unsigned cap = pci_find_cap(d, PCI_CAP_MSIX, 0);
	struct errmsg e;
	unsigned entries;
	uint16_t control;
	uint32_t table;
	uint8_t *p;

	if (!cap)
		return false;
	control = pci_read16(d, cap + MSIX_CONTROL);
	table = pci_read32(d, cap + MSIX_TABLE);
	entries = (control & MSIX_SIZE) + 1u;
	p = pci_map_bar(d, table & 7, table & ~7u, (uint64_t)entries * MSIX_ENTRY, &e);
	if (!p) {
		log_warn("pci %s: MSI-X table: %s", d->name, e.text);
		return false;
	}
	control |= MSIX_ENABLE | MSIX_FUNCTION_MASK;
	pci_write16(d, cap + MSIX_CONTROL, control);
	for (unsigned i = 1; i < entries; i++)
		mmio_write32(p + i * MSIX_ENTRY + 12, MSIX_ENTRY_MASKED);
	mmio_write32(p, (uint32_t)address);
	mmio_write32(p + 4, (uint32_t)(address >> 32));
	mmio_write32(p + 8, data);
	mmio_write32(p + 12, 0);
	pci_write16(d, cap + MSIX_CONTROL, control & (uint16_t)~MSIX_FUNCTION_MASK);
	return true;
}

static bool msi_setup(const struct pci_dev *d, uint64_t address, uint32_t data)
{
	unsigned cap = pci_find_cap(d, PCI_CAP_MSI, 0);
	uint16_t control;

	if (!cap)
		return false;
	control = pci_read16(d, cap + MSI_CONTROL) & (uint16_t) ~(MSI_ENABLE | MSI_MULTIPLE);
	if (!(control & MSI_64BIT) && address >> 32)
		return false;
	pci_write16(d, cap + MSI_CONTROL, control);
	pci_write32(d, cap + MSI_ADDRESS, (uint32_t)address);
	if (control & MSI_64BIT) {
		pci_write32(d, cap + MSI_ADDRESS_HIGH, (uint32_t)(address >> 32));
		pci_write16(d, cap + MSI_DATA_64, (uint16_t)data);
	} else {
		pci_write16(d, cap + MSI_DATA_32, (uint16_t)data);
	}
	pci_write16(d, cap + MSI_CONTROL, control | MSI_ENABLE);
	return true;
}

static void poll(void *arg)
{
	struct pci_irq *irq = arg;

	irq->fn(irq->arg);
	timer_set(&irq->timer, time_now() + POLL_INTERVAL);
}

int pci_irq_setup(const struct pci_dev *d, struct pci_irq *irq, void (*fn)(void *arg), void *arg,
    const char *name)
{
	uint64_t address;
	uint32_t data;

	irq->fn = fn;
	irq->arg = arg;
	irq->vector = irq_vector_alloc(fn, arg, name);
	if (irq->vector < 0)
		return irq->vector;
	irq_msi_compose(next_cpu++ % cpus_online(), (uint8_t)irq->vector, &address, &data);
	if (msix_setup(d, address, data)) {
		irq->mode = PCI_IRQ_MSIX;
	} else if (msi_setup(d, address, data)) {
		irq->mode = PCI_IRQ_MSI;
	} else {
		irq_vector_free(irq->vector);
		irq->mode = PCI_IRQ_POLLED;
		irq->vector = -1;
		log_info("pci %s: no message-signalled interrupts: polled", d->name);
		timer_init(&irq->timer, poll, irq);
		timer_set(&irq->timer, time_now() + POLL_INTERVAL);
	}
	return OK;
}

/* --- enumeration ----------------------------------------------------------------------- */

/* Buses of one segment: still to be looked at, and looked at. Bounded whatever bridges say. */
struct scan {
	uint64_t todo[BITMAP_WORDS(PCI_BUSES)], done[BITMAP_WORDS(PCI_BUSES)];
};

/* Records a function that is there. */
static struct pci_dev *function_add(uint16_t segment, uint8_t bus, uint8_t slot, uint8_t function)
{
	struct pci_dev *d = heap_zalloc(sizeof(*d));

	if (!d) {
		log_error("pci: no memory for device %02x:%02x.%u", bus, slot, function);
		return NULL;
	}
	d->segment = segment;
	d->bus = bus;
	d->slot = slot;
	d->function = function;
	d->vendor = pci_read16(d, PCI_VENDOR_ID);
	d->device = pci_read16(d, PCI_DEVICE_ID);
	d->revision = pci_read8(d, PCI_REVISION);
	d->class_code = pci_read32(d, PCI_REVISION) >> 8;
	d->header_type = pci_read8(d, PCI_HEADER_TYPE) & (uint8_t)~PCI_HEADER_MULTI;
	str_format(d->name, sizeof(d->name), "%04x:%02x:%02x.%u", segment, bus, slot, function);
	list_push_back(&devices, &d->link);
	return d;
}

static void scan_slot(struct scan *s, uint16_t segment, uint8_t bus, uint8_t slot)
{
	for (uint8_t function = 0; function < 8; function++) {
		uint8_t devfn = (uint8_t)(slot << 3 | function);
		struct pci_dev *d;

		if ((uint16_t)pci_cfg_read(segment, bus, devfn, PCI_VENDOR_ID, 2) == 0xffff) {
			if (function == 0)
				return;
			continue;
		}
		d = function_add(segment, bus, slot, function);
		if (!d)
			return;
		/* secondary bus 0: a bridge that the firmware did not set up */
		if (d->header_type == PCI_HEADER_BRIDGE && pci_read8(d, PCI_SECONDARY_BUS) != 0)
			bitmap_set(s->todo, pci_read8(d, PCI_SECONDARY_BUS));
		if (function == 0 && !(pci_read8(d, PCI_HEADER_TYPE) & PCI_HEADER_MULTI))
			return;
	}
}

static void scan_todo(struct scan *s, const struct pci_segment *seg)
{
	size_t bus;

	while ((bus = bitmap_next_set(s->todo, PCI_BUSES, 0)) < PCI_BUSES) {
		bitmap_clear(s->todo, bus);
		if (bitmap_test(s->done, bus) || bus < seg->bus_first || bus > seg->bus_last)
			continue;
		bitmap_set(s->done, bus);
		if (pci_access_bus(seg->segment, (uint8_t)bus)) {
			log_error("pci: cannot reach bus %04x:%02zx", seg->segment, bus);
			continue;
		}
		for (uint8_t slot = 0; slot < 32; slot++)
			scan_slot(s, seg->segment, (uint8_t)bus, slot);
	}
}

static void scan_segment(const struct pci_segment *seg)
{
	struct scan s = {{0}, {0}};

	bitmap_set(s.todo, seg->bus_first);
	scan_todo(&s, seg);
	/* Root buses other than the first stand only in AML: ask every bus that no bridge leads to.
	 */
	for (unsigned bus = seg->bus_first; bus <= seg->bus_last; bus++) {
		if (bitmap_test(s.done, bus) || !pci_bus_answers(seg->segment, (uint8_t)bus))
			continue;
		bitmap_set(s.todo, bus);
		scan_todo(&s, seg);
	}
}

static bool driver_matches(const struct pci_driver *drv, const struct pci_dev *d)
{
	if (drv->vendor != PCI_ANY && drv->vendor != d->vendor)
		return false;
	if (drv->device != PCI_ANY && drv->device != d->device)
		return false;
	return (d->class_code & drv->class_mask) == drv->class_code;
}

static void probe_drivers(struct pci_dev *d)
{
	for (const struct pci_driver *const *p = __start_host_drivers; p < __stop_host_drivers;
	     p++) {
		if (!driver_matches(*p, d))
			continue;
		d->driver = (*p)->name;
		d->why.text[0] = '\0';
		d->err = (*p)->probe(d, &d->why);
		if (d->err == OK)
			return;
		if (!d->why.text[0])
			err_set(&d->why, d->err, "%s", error_text(d->err));
		log_warn("pci %s: %s: %s", d->name, d->driver, d->why.text);
	}
}

void pci_init(void)
{
	struct pci_segment seg;
	struct list *pos;

	for (unsigned i = 0; pci_segment(i, &seg); i++)
		scan_segment(&seg);
	LIST_FOREACH(pos, &devices)
	probe_drivers(LIST_ENTRY(pos, struct pci_dev, link));
}

void pci_foreach(void (*fn)(const struct pci_dev *d, void *arg), void *arg)
{
	struct list *pos;

	LIST_FOREACH(pos, &devices)
	fn(LIST_ENTRY(pos, struct pci_dev, link), arg);
}
