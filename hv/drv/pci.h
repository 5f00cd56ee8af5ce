/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's PCI bus: what is there, which driver takes it, and what a driver
 * needs: registers, BARs, interrupts. (The guest's PCI bus is in hv/dev.)
 */
#ifndef AMBER_DRV_PCI_H
#define AMBER_DRV_PCI_H

#include "hv/core/thread.h"
#include "hv/lib/error.h"
#include "hv/lib/list.h"
#include "hv/lib/types.h"

/* Configuration registers (PCI Local Bus 3.0, section 6.1; headers of type 0 and 1). */
enum pci_reg {
	PCI_VENDOR_ID = 0x00,
	PCI_DEVICE_ID = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_REVISION = 0x08,
	PCI_CLASS = 0x09, /* programming interface, subclass, class: three bytes */
	PCI_HEADER_TYPE = 0x0e,
	PCI_BAR0 = 0x10,
	PCI_SECONDARY_BUS = 0x19, /* bridges */
	PCI_CAPABILITIES = 0x34,
};

enum pci_command {
	PCI_COMMAND_IO = 1 << 0,
	PCI_COMMAND_MEMORY = 1 << 1,
	PCI_COMMAND_MASTER = 1 << 2,
	PCI_COMMAND_INTX_DISABLE = 1 << 10,
};

enum pci_cap_id {
	PCI_CAP_PM = 0x01,
	PCI_CAP_MSI = 0x05,
	PCI_CAP_VENDOR = 0x09,
	PCI_CAP_MSIX = 0x11,
};

enum { PCI_BARS = 6, PCI_ANY = 0xffff };

struct pci_dev {
	struct list link;
	uint16_t segment;
	uint8_t bus, slot, function;
	uint8_t revision, header_type; /* without the multi-function bit */
	uint16_t vendor, device;
	uint32_t class_code; /* class << 16 | subclass << 8 | programming interface */
	char name[16];	     /* "0000:00:1f.2" */
	const char *driver;  /* the one that runs it, or that gave up; NULL: nobody wants it */
	int err;	     /* OK: the driver runs */
	struct errmsg why;   /* why the driver gave up */
};

/* A base address register. */
struct pci_bar {
	uint64_t addr, size; /* size 0: not there */
	bool io, prefetchable, is64;
};

struct pci_driver {
	const char *name;
	uint16_t vendor, device; /* PCI_ANY: any */
	uint32_t class_code, class_mask;
	/* Takes the device or says why not. Thread context; may wait. */
	int (*probe)(struct pci_dev *d, struct errmsg *e);
};

#define PCI_DRIVER(ident)                                                                          \
	static const struct pci_driver ident;                                                      \
	static const struct pci_driver *const ident##_entry                                        \
	    __attribute__((used, section("host_drivers"))) = &ident;                               \
	static const struct pci_driver ident

extern const struct pci_driver *const __start_host_drivers[], *const __stop_host_drivers[];

/*
 * Finds all devices and offers each to the drivers that match it, in no particular
 * order, until one takes it. A driver that gives up is reported and does not
 * stop the others. Once; thread context, since drivers wait.
 */
void pci_init(void);
/* All functions, in the order found. Any thread, after pci_init(). */
void pci_foreach(void (*fn)(const struct pci_dev *d, void *arg), void *arg);

/* Configuration registers of a device; reg aligned to the width. Any context. */
uint8_t pci_read8(const struct pci_dev *d, unsigned reg);
uint16_t pci_read16(const struct pci_dev *d, unsigned reg);
uint32_t pci_read32(const struct pci_dev *d, unsigned reg);
void pci_write16(const struct pci_dev *d, unsigned reg, uint16_t v);
void pci_write32(const struct pci_dev *d, unsigned reg, uint32_t v);

/* The next capability of a kind behind 'after' (0: the first); 0 if there is none. */
unsigned pci_find_cap(const struct pci_dev *d, enum pci_cap_id id, unsigned after);

/* Finds a BAR's address and size; stops the device's decoding for a moment. ERR_NOENT if it is not
 * there. */
int pci_bar(const struct pci_dev *d, unsigned index, struct pci_bar *out) MUST_CHECK;
/* Maps bytes [offset, offset + len) of a memory BAR, uncached. NULL and a message. */
void *pci_map_bar(
    const struct pci_dev *d, unsigned index, uint64_t offset, uint64_t len, struct errmsg *e);
/* Full power, memory decoding on, bus mastering on, INTx off. */
void pci_enable(const struct pci_dev *d);
/* Bus mastering off: for a driver that gives up. */
void pci_disable(const struct pci_dev *d);

/* How a device's events reach its driver. */
struct pci_irq {
	enum { PCI_IRQ_MSIX, PCI_IRQ_MSI, PCI_IRQ_POLLED } mode;
	void (*fn)(void *arg);
	void *arg;
	int vector;
	struct timer timer; /* PCI_IRQ_POLLED */
};

/*
 * Lets fn(arg) be called in interrupt context for the device's interrupt: by
 * MSI-X entry 0, by MSI, or without either by a timer every millisecond. INTx is
 * never used: how its lines are routed stands only in AML, which is not
 * interpreted here. So fn must bear being called with nothing to do.
 * irq stays in use for ever. ERR_FULL: no vector left.
 */
int pci_irq_setup(const struct pci_dev *d, struct pci_irq *irq, void (*fn)(void *arg), void *arg,
    const char *name) MUST_CHECK;

#endif
