/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A PCI IDE controller: where its channels' registers are, how their interrupts
 * arrive. What a channel does is in ide_channel.c.
 *
 * Each channel is in one of two modes (PCI IDE Controller Specification 1.0): in
 * compatibility mode it stands at the ports and interrupt lines that the PC/AT
 * had, in native mode at its BARs, and its interrupt is the PCI function's. The
 * modes stay as the firmware has left them.
 */
#include "hv/arch/x86/io.h"
#include "hv/arch/x86/irq.h"
#include "hv/drv/ide.h"
#include "hv/drv/pci.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

enum {
	IDE_CLASS = 0x010100,
	IDE_CLASS_MASK = 0xffff00,
	PROG_IF_NATIVE = 1 << 0, /* of the first channel; the second: two bits up */
	PROG_IF_MASTER = 1 << 7,
	IDE_BM_BAR = 4,
	IDE_COMMAND_PORTS = 8,
	IDE_CONTROL_PORTS = 4, /* as a BAR; of these, the third is decoded */
};

/* The PC/AT's. */
static const struct {
	uint16_t command, control;
	unsigned irq;
} legacy[IDE_CHANNELS] = {{0x1f0, 0x3f6, 14}, {0x170, 0x376, 15}};

struct ide_controller {
	struct pci_dev *pci;
	unsigned number;
	struct ide_channel *channel[IDE_CHANNELS]; /* those with disks */
	struct pci_irq irq;			   /* native mode, with messages */
};

/* Drivers are probed one after another. */
static unsigned controllers;		 /* found so far */
static bool legacy_in_use[IDE_CHANNELS]; /* one controller only can stand there */

static bool is_native(const struct pci_dev *d, unsigned index)
{
	return d->class_code & (uint32_t)PROG_IF_NATIVE << 2 * index;
}

/* The first port of an I/O BAR; 0 and the reason. */
static uint16_t bar_port(const struct pci_dev *d, unsigned index, unsigned size, struct errmsg *e)
{
	struct pci_bar bar;

	if (pci_bar(d, index, &bar) || !bar.io || bar.size < size || bar.addr == 0 ||
	    bar.addr > UINT16_MAX) {
		err_set(e, ERR_NOENT, "BAR %u has no ports", index);
		return 0;
	}
	return (uint16_t)bar.addr;
}

static int ports_find(
    const struct pci_dev *d, unsigned index, uint16_t bm, struct ide_ports *out, struct errmsg *e)
{
	uint16_t command, control;

	out->bm = (uint16_t)(bm + index * BM_SIZE);
	if (!is_native(d, index)) {
		out->command = legacy[index].command;
		out->control = legacy[index].control;
		if (legacy_in_use[index])
			return err_set(
			    e, ERR_BUSY, "ports %#x: another controller's", out->command);
		legacy_in_use[index] = true;
		return OK;
	}
	command = bar_port(d, 2 * index, IDE_COMMAND_PORTS, e);
	control = command ? bar_port(d, 2 * index + 1, IDE_CONTROL_PORTS, e) : 0;
	if (!control)
		return ERR_NOENT;
	out->command = command;
	out->control = (uint16_t)(control + 2);
	return OK;
}

/* Finds the disks of a channel, if it has any. */
static void channel_probe(struct ide_controller *h, unsigned index, uint16_t bm)
{
	struct ide_channel *c = heap_zalloc(sizeof(*c));
	struct errmsg e = {""};
	int found = ERR_NOMEM;

	err_set(&e, ERR_NOMEM, "no memory for a channel");
	if (c) {
		str_format(c->name, sizeof(c->name), "ide%u/%u", h->number, index);
		found = ports_find(h->pci, index, bm, &c->ports, &e);
	}
	if (found == OK) {
		ide_channel_silence(&c->ports);
		found = ide_channel_create(c, h->number, index, &e);
	}
	if (found < 0)
		log_warn("pci %s: channel %u: %s", h->pci->name, index, e.text);
	if (found > 0)
		h->channel[index] = c;
	else
		heap_free(c);
}

/* Routes a PC/AT line; false: there is no I/O APIC, or no vector. */
static bool legacy_irq(struct ide_channel *c, unsigned irq)
{
	int vector = irq_vector_alloc(ide_channel_interrupt, c, "ide");
	bool level, low;
	unsigned gsi;

	if (vector < 0)
		return false;
	ioapic_isa_gsi(irq, &gsi, &level, &low);
	if (ioapic_route(gsi, (uint8_t)vector, 0, level, low) == OK)
		return true;
	irq_vector_free(vector);
	return false;
}

static void native_interrupt(void *arg)
{
	struct ide_controller *h = arg;

	for (unsigned i = 0; i < IDE_CHANNELS; i++)
		if (h->channel[i] && is_native(h->pci, i))
			ide_channel_interrupt(h->channel[i]);
}

/* Messages for the channels in native mode. Without them they poll: only while commands run. */
static bool native_irq(struct ide_controller *h)
{
	if (!pci_find_cap(h->pci, PCI_CAP_MSI, 0) && !pci_find_cap(h->pci, PCI_CAP_MSIX, 0))
		return false;
	return pci_irq_setup(h->pci, &h->irq, native_interrupt, h, "ide") == OK;
}

static void channels_start(struct ide_controller *h)
{
	bool messages = false, asked = false;

	for (unsigned i = 0; i < IDE_CHANNELS; i++) {
		struct ide_channel *c = h->channel[i];
		struct errmsg e = {""};
		bool polled;

		if (!c)
			continue;
		if (is_native(h->pci, i)) {
			if (!asked)
				messages = native_irq(h);
			asked = true;
			polled = !messages;
		} else {
			polled = !legacy_irq(c, legacy[i].irq);
		}
		if (polled)
			log_info("%s: no interrupt: polled", c->name);
		if (ide_channel_start(c, polled, &e))
			log_warn("%s", e.text);
	}
}

/* Ports and bus mastering on. In compatibility mode some controllers' lines obey the INTx switch.
 */
static void controller_enable(const struct pci_dev *d)
{
	uint16_t command;

	pci_enable(d);
	command = pci_read16(d, PCI_COMMAND) | PCI_COMMAND_IO;
	if (!is_native(d, 0) || !is_native(d, 1))
		command &= (uint16_t)~PCI_COMMAND_INTX_DISABLE;
	pci_write16(d, PCI_COMMAND, command);
}

static int ide_probe(struct pci_dev *d, struct errmsg *e)
{
	struct ide_controller *h;
	bool simplex;
	uint16_t bm;

	if (!(d->class_code & PROG_IF_MASTER))
		return err_set(e, ERR_UNSUPPORTED, "no bus mastering");
	bm = bar_port(d, IDE_BM_BAR, IDE_CHANNELS * BM_SIZE, e);
	if (!bm)
		return ERR_NOENT;
	h = heap_zalloc(sizeof(*h));
	if (!h)
		return err_set(e, ERR_NOMEM, "no memory for a controller");
	h->pci = d;
	h->number = controllers++;
	controller_enable(d);
	simplex = inb((uint16_t)(bm + BM_STATUS)) & BM_SIMPLEX;
	for (unsigned i = 0; i < IDE_CHANNELS; i++) {
		if (i > 0 && simplex && h->channel[0]) {
			log_warn("pci %s: channel %u: not used, the channels exclude each other",
			    d->name, i);
			break;
		}
		channel_probe(h, i, bm);
	}
	channels_start(h);
	return OK;
}

PCI_DRIVER(ide_driver) = {
    .name = "ide",
    .vendor = PCI_ANY,
    .device = PCI_ANY,
    .class_code = IDE_CLASS,
    .class_mask = IDE_CLASS_MASK,
    .probe = ide_probe,
};
