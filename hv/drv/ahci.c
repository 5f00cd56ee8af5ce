/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An AHCI controller: taken over from the firmware, reset, its interrupt handed
 * to the ports. What a port does is in ahci_port.c.
 */
#include "hv/arch/x86/io.h"
#include "hv/drv/ahci.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

#define MS 1000000ULL /* ns */

enum { AHCI_BAR = 5, AHCI_CLASS = 0x010601 };

struct ahci_hba {
	const struct pci_dev *pci;
	volatile uint8_t *regs;
	uint32_t cap, ports_implemented;
	unsigned nports; /* whose registers are mapped */
	struct ahci_port
	    *port[AHCI_PORTS]; /* those with a disk; complete before interrupts are on */
	struct pci_irq irq;
};

static unsigned controllers; /* found so far; drivers are probed one after another */

static uint32_t hba_read(const struct ahci_hba *h, enum ahci_reg reg)
{
	return mmio_read32(h->regs + reg);
}

static void hba_write(const struct ahci_hba *h, enum ahci_reg reg, uint32_t v)
{
	mmio_write32(h->regs + reg, v);
}

static volatile uint8_t *port_regs(const struct ahci_hba *h, unsigned n)
{
	return h->regs + AHCI_PORT0 + n * AHCI_PORT_SIZE;
}

static bool hba_wait_clear(
    const struct ahci_hba *h, enum ahci_reg reg, uint32_t mask, uint64_t timeout)
{
	uint64_t deadline = time_now() + timeout;

	while (hba_read(h, reg) & mask) {
		if (time_now() >= deadline)
			return false;
		thread_sleep(MS);
	}
	return true;
}

/* Interrupt context; also called by a timer when the controller has no MSI. */
static void hba_interrupt(void *arg)
{
	struct ahci_hba *h = arg;

	/* one message may stand for several events: until nothing is left, but not for ever */
	for (unsigned round = 0; round < 8; round++) {
		uint32_t is = hba_read(h, AHCI_IS), left = is;

		if (is == 0 || is == ~0u)
			return;
		while (left) {
			unsigned n = (unsigned)__builtin_ctz(left);

			left &= left - 1;
			if (h->port[n])
				ahci_port_interrupt(h->port[n]);
		}
		/* after PxIS, or the bits would come again (section 10.7.2.1) */
		hba_write(h, AHCI_IS, is);
	}
}

/* Asks the firmware to let go (section 10.6.3). */
static void hba_handoff(const struct ahci_hba *h)
{
	if (!(hba_read(h, AHCI_CAP2) & AHCI_CAP2_BOH))
		return;
	hba_write(h, AHCI_BOHC, hba_read(h, AHCI_BOHC) | AHCI_BOHC_OOS);
	hba_wait_clear(h, AHCI_BOHC, AHCI_BOHC_BOS, 25 * MS);
	if (hba_read(h, AHCI_BOHC) & AHCI_BOHC_BB)
		hba_wait_clear(h, AHCI_BOHC, AHCI_BOHC_BB, 2000 * MS);
}

/* Resets the controller (section 10.4.3); what the firmware wrote into PI survives by hand. */
static int hba_reset(struct ahci_hba *h, struct errmsg *e)
{
	uint32_t pi;

	hba_write(h, AHCI_GHC, hba_read(h, AHCI_GHC) | AHCI_GHC_AE);
	pi = hba_read(h, AHCI_PI);
	hba_write(h, AHCI_GHC, AHCI_GHC_AE | AHCI_GHC_HR);
	if (!hba_wait_clear(h, AHCI_GHC, AHCI_GHC_HR, 1000 * MS))
		return err_set(e, ERR_TIMEOUT, "controller does not come out of reset");
	hba_write(h, AHCI_GHC, AHCI_GHC_AE);
	if (hba_read(h, AHCI_PI) == 0)
		hba_write(h, AHCI_PI, pi);
	h->cap = hba_read(h, AHCI_CAP);
	h->ports_implemented = hba_read(h, AHCI_PI) ? hba_read(h, AHCI_PI) : pi;
	if (h->cap == ~0u || h->ports_implemented == 0)
		return err_set(e, ERR_IO, "controller has no ports");
	return OK;
}

/* Maps the registers of as many ports as the BAR has room for. */
static int hba_map(struct ahci_hba *h, struct errmsg *e)
{
	const uint64_t all = AHCI_PORT0 + AHCI_PORTS * AHCI_PORT_SIZE;
	struct pci_bar bar;
	uint64_t size;

	if (pci_bar(h->pci, AHCI_BAR, &bar) || bar.size < AHCI_PORT0 + AHCI_PORT_SIZE)
		return err_set(e, ERR_NOENT, "BAR 5 has no registers");
	size = MIN(bar.size, all);
	h->nports = (unsigned)((size - AHCI_PORT0) / AHCI_PORT_SIZE);
	h->regs = pci_map_bar(h->pci, AHCI_BAR, 0, size, e);
	return h->regs ? OK : ERR_NOMEM;
}

/* Finds the disks. A port that fails is reported and does not stop the others. */
static void hba_find_disks(struct ahci_hba *h, unsigned index)
{
	for (unsigned n = 0; n < h->nports; n++)
		if (h->ports_implemented & 1u << n)
			ahci_port_power_up(port_regs(h, n));
	/* a device shows itself within 10 ms (Serial ATA 3.3, section 8.4.2), all in parallel */
	thread_sleep(50 * MS);
	for (unsigned n = 0; n < h->nports; n++) {
		struct errmsg e = {""};
		char name[32];

		if (!(h->ports_implemented & 1u << n) || !ahci_port_link(port_regs(h, n)))
			continue;
		str_format(name, sizeof(name), "ahci%u.%u", index, n);
		if (ahci_port_create(port_regs(h, n), n, h->cap, name, &h->port[n], &e))
			log_warn("%s", e.text);
	}
}

static int ahci_probe(struct pci_dev *d, struct errmsg *e)
{
	struct ahci_hba *h = heap_zalloc(sizeof(*h));
	int err;

	if (!h)
		return err_set(e, ERR_NOMEM, "no memory for a controller");
	h->pci = d;
	pci_enable(d);
	err = hba_map(h, e);
	if (err == OK) {
		hba_handoff(h);
		err = hba_reset(h, e);
	}
	if (err) {
		pci_disable(d);
		heap_free(h);
		return err;
	}
	hba_find_disks(h, controllers++);
	err = pci_irq_setup(d, &h->irq, hba_interrupt, h, "ahci");
	if (err) {
		/* ports may be running: the controller goes silent, its memory stays taken */
		pci_disable(d);
		return err_set(e, err, "no interrupt vector");
	}
	hba_write(h, AHCI_IS, ~0u);
	hba_write(h, AHCI_GHC, AHCI_GHC_AE | AHCI_GHC_IE);
	for (unsigned n = 0; n < AHCI_PORTS; n++)
		if (h->port[n] && ahci_port_start(h->port[n], e))
			log_warn("%s", e->text);
	return OK;
}

PCI_DRIVER(ahci_driver) = {
    .name = "ahci",
    .vendor = PCI_ANY,
    .device = PCI_ANY,
    .class_code = AHCI_CLASS,
    .class_mask = 0xffffff,
    .probe = ahci_probe,
};
