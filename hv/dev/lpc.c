/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The LPC bridge of an ICH9 (function 0:31.0), as far as a guest misses it: an
 * ISA bridge by class, and the PIRQ router that sends PCI interrupts to the
 * 8259 pair (ICH9 datasheet, 13.1). The power management block is not behind
 * it: it is at ACPI_PM1A_EVT always, which is where firmware for QEMU's Q35 puts
 * it, too; in a machine without firmware ACPI_CNTL reads as disabled.
 */
#include "hv/core/vm.h"
#include "hv/dev/pci_bus.h"
#include "hv/lib/cursor.h"
#include "hv/mm/mm.h"

enum lpc_config_reg {
	LPC_PMBASE = 0x40, /* bit 0 hardwired: an I/O range */
	LPC_ACPI_CNTL = 0x44,
	LPC_PIRQA_ROUT = 0x60, /* to D */
	LPC_PIRQE_ROUT = 0x68, /* to H */
	LPC_RCBA = 0xf0,       /* of chipset configuration registers, of which there are none */
};
/* What firmware programs (13.1.13, 13.1.14, 13.1.39); no other machine has a use for it. */
enum lpc_firmware_bits {
	PMBASE_ADDRESS = 0xff80,
	ACPI_CNTL_WRITABLE = 0x87, /* ACPI_EN, SCI_IRQ_SEL */
	RCBA_WRITABLE = 0xffffc001,
};
enum pirq_rout {
	PIRQ_ROUT_IRQ = 0x0f,
	PIRQ_ROUT_DISABLE = 0x80, /* "IRQEN", active low */
};
/* ISA interrupts that a PIRQ can go to (13.1.18); the others are reserved values. */
#define PIRQ_ROUT_IRQS 0xdef8u

struct lpc_state {
	struct pci_state pci;
};

struct lpc {
	struct lpc_state st;
	struct pci_function pci;
};

static const struct pci_identity lpc_identity = {
    .vendor = 0x8086, .device = 0x2918, .class_code = 0x060100, .revision = 2};

static unsigned pirq_reg(unsigned link)
{
	return link < 4 ? LPC_PIRQA_ROUT + link : LPC_PIRQE_ROUT + link - 4;
}

static void lpc_config_written(void *ctx, unsigned off, unsigned len)
{
	struct lpc *l = ctx;

	for (unsigned link = 0; link < PCI_INTX_LINKS; link++) {
		uint8_t rout = l->st.pci.config[pirq_reg(link)];
		unsigned irq = rout & PIRQ_ROUT_IRQ;

		if (rout & PIRQ_ROUT_DISABLE || !(PIRQ_ROUT_IRQS >> irq & 1))
			irq = 0;
		pci_bus_route_link(l->pci.bus, link, irq);
	}
}

static const struct pci_function_ops lpc_pci_ops = {.config_written = lpc_config_written};

static int lpc_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	struct lpc *l = heap_zalloc(sizeof(*l));

	if (!l)
		return err_set(e, ERR_NOMEM, "no memory");
	dev->priv = l;
	dev->state = &l->st;
	pci_function_init(&l->pci, dev->vm, dev->name, &l->st.pci, &lpc_identity, &lpc_pci_ops, l);
	/* A bridge that always forwards: the enables are hardwired. */
	put_le16(
	    l->pci.initial + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	put_le16(l->pci.initial + PCI_STATUS, PCI_STATUS_DEVSEL_MEDIUM);
	put_le16(l->pci.wmask + PCI_COMMAND, 0);
	put_le32(l->pci.initial + LPC_PMBASE, 1);
	if (vm_config_has_firmware(&dev->vm->config)) {
		put_le32(l->pci.wmask + LPC_PMBASE, PMBASE_ADDRESS);
		l->pci.wmask[LPC_ACPI_CNTL] = ACPI_CNTL_WRITABLE;
		put_le32(l->pci.wmask + LPC_RCBA, RCBA_WRITABLE);
	}
	for (unsigned link = 0; link < PCI_INTX_LINKS; link++) {
		l->pci.initial[pirq_reg(link)] = PIRQ_ROUT_DISABLE;
		l->pci.wmask[pirq_reg(link)] = PIRQ_ROUT_DISABLE | PIRQ_ROUT_IRQ;
	}
	return pci_function_register(&l->pci, PCI_SLOT_LPC, e);
}

static void lpc_destroy(struct device *dev)
{
	struct lpc *l = dev->priv;

	if (!l)
		return;
	pci_function_unregister(&l->pci);
	heap_free(l);
	dev->priv = dev->state = NULL;
}

static void lpc_reset(struct device *dev)
{
	pci_function_reset(&((struct lpc *)dev->priv)->pci);
}

static void lpc_quiesce(struct device *dev)
{
}

static void lpc_resume(struct device *dev)
{
	pci_function_resume(&((struct lpc *)dev->priv)->pci);
}

static int lpc_check(const struct device *dev, const void *state, struct errmsg *e)
{
	const struct lpc *l = dev->priv;
	const struct lpc_state *st = state;

	return pci_function_check(&l->pci, &st->pci, e);
}

static void lpc_loaded(struct device *dev)
{
	pci_function_loaded(&((struct lpc *)dev->priv)->pci);
}

static const struct state_field lpc_fields[] = {
    PCI_STATE_FIELDS(struct lpc_state, pci),
    STATE_END,
};

DEVICE_MODEL(lpc_model) = {
    .compatible = "amber,lpc",
    .version = 1,
    .class = DEVCLASS_BUS,
    .doc = "LPC bridge of an ICH9: ISA bridge function and PIRQ router",
    .state_size = sizeof(struct lpc_state),
    .fields = lpc_fields,
    .create = lpc_create,
    .destroy = lpc_destroy,
    .reset = lpc_reset,
    .quiesce = lpc_quiesce,
    .resume = lpc_resume,
    .check = lpc_check,
    .loaded = lpc_loaded,
};
