/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's PCI bus: one root bus, reached through ports 0xCF8/0xCFC and
 * through a memory-mapped configuration window (ECAM), conventional INTx
 * routing, and what every function on it has: configuration space, base address
 * registers, capabilities (PCI Local Bus Specification 3.0, chapter 6).
 *
 * One lock per bus, rank RANK_PCI_BUS, protects all configuration spaces, the
 * mapping of base address registers and the INTx levels. Register accesses of a
 * device never take it.
 */
#ifndef AMBER_DEV_PCI_BUS_H
#define AMBER_DEV_PCI_BUS_H

#include "hv/core/device.h"
#include "hv/core/iobus.h"
#include "hv/core/memmap.h"
#include "hv/lib/spinlock.h"

/* Where the bus is found; for the ACPI tables (MCFG, _CRS, _PRT). */
#define PCI_ECAM_BASE	   MEMMAP_ECAM
#define PCI_ECAM_SIZE	   MEMMAP_ECAM_SIZE /* bus 0 only */
#define PCI_HOLE_BASE	   MEMMAP_PCI_HOLE  /* base address registers are served in here */
#define PCI_HOLE_END	   MEMMAP_PCI_END
#define PCI_CONFIG_ADDRESS 0xcf8
#define PCI_CONFIG_DATA	   0xcfc
#define PCI_RESET_CONTROL  0xcf9

enum {
	PCI_SLOTS = 32,
	PCI_SLOT_HOST = 0,
	PCI_SLOT_FIRST_FREE = 4, /* the first that is given to a device without a slot of its own */
	PCI_SLOT_LPC = 31,
	PCI_CONFIG_SIZE = 256,
	PCI_BARS = 6,
	PCI_INTX_LINKS = 8, /* PIRQA..PIRQH */
	PCI_INTX_GSI = 16,  /* of PIRQA */
};

/* Configuration space header, type 0 (PCI 3.0, figure 6-1). */
enum pci_config_reg {
	PCI_VENDOR_ID = 0x00,
	PCI_DEVICE_ID = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_REVISION_ID = 0x08,
	PCI_CLASS_CODE = 0x09, /* three bytes: interface, subclass, class */
	PCI_HEADER_TYPE = 0x0e,
	PCI_BAR0 = 0x10,
	PCI_SUBSYSTEM_VENDOR_ID = 0x2c,
	PCI_SUBSYSTEM_ID = 0x2e,
	PCI_CAP_PTR = 0x34,
	PCI_INTERRUPT_LINE = 0x3c,
	PCI_INTERRUPT_PIN = 0x3d,
	PCI_CAPS_FIRST = 0x40,
};
enum pci_command {
	PCI_COMMAND_IO = 1 << 0,
	PCI_COMMAND_MEMORY = 1 << 1,
	PCI_COMMAND_MASTER = 1 << 2,
	PCI_COMMAND_PARITY = 1 << 6,
	PCI_COMMAND_SERR = 1 << 8,
	PCI_COMMAND_INTX_DISABLE = 1 << 10,
};
enum pci_status {
	PCI_STATUS_INTERRUPT = 1 << 3,
	PCI_STATUS_CAPABILITIES = 1 << 4,
	PCI_STATUS_DEVSEL_MEDIUM = 1 << 9,
};
enum pci_capability {
	PCI_CAP_VENDOR = 0x09,
	PCI_CAP_MSIX = 0x11,
};

/* What a snapshot carries of a function: the architectural layout itself. */
struct pci_state {
	uint8_t config[PCI_CONFIG_SIZE];
};
#define PCI_STATE_FIELDS(T, m)                                                                     \
	STATE_ARRAY(T, m.config, "pci-config", PCI_CONFIG_SIZE, 0xff,                              \
	    "configuration space, as the PCI specification lays it out")

struct pci_identity {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class_code; /* class, subclass, interface: 0xCCSSII */
	uint8_t revision;
	bool intx; /* has an INTA pin */
};

struct pci_bar {
	uint32_t size;	  /* power of two >= 4 KiB; 0: not implemented */
	uint32_t address; /* at reset */
	struct io_region region;
};

struct pci_function;
struct pci_function_ops {
	/* Bytes [off, off + len) changed (also by reset and load: all of them). Bus lock held. */
	void (*config_written)(void *ctx, unsigned off, unsigned len);
	/* Accesses to the four bytes at f->window, when that is not 0. No lock held. */
	void (*window_read)(void *ctx, uint32_t *value);
	void (*window_write)(void *ctx, unsigned len, uint32_t value);
};

struct pci_function {
	struct vm *vm;
	struct device *dev;  /* whose it is: counts what its functions do not have (msix.c) */
	struct pci_bus *bus; /* NULL until registered */
	const char *name;
	uint8_t slot;
	uint8_t window;	 /* see struct pci_function_ops */
	bool msi_active; /* message-signalled: INTx is never asserted; bus lock */
	bool intx;	 /* the device's wish; bus lock */
	bool asserted;	 /* counted in the bus's link; bus lock */
	uint8_t last_cap, free_cap;
	struct pci_state *st;
	const struct pci_function_ops *ops;
	void *ctx;
	struct pci_bar bar[PCI_BARS];
	uint8_t initial[PCI_CONFIG_SIZE]; /* power-on contents */
	uint8_t wmask[PCI_CONFIG_SIZE];	  /* bits that software can write */
	uint8_t w1c[PCI_CONFIG_SIZE];	  /* bits that writing 1 clears */
};

struct pci_bus;
/* The bus of a machine, or NULL before "amber,pci-host" was created. */
struct pci_bus *pci_bus_of(struct vm *vm);

/*
 * Building a function, at create: init, then capabilities and base address
 * registers, then register. ops may be NULL.
 */
void pci_function_init(struct pci_function *f, struct vm *vm, const char *name,
    struct pci_state *st, const struct pci_identity *id, const struct pci_function_ops *ops,
    void *ctx);
/* A 32-bit memory register; size: power of two, at least 4 KiB. */
void pci_function_add_bar(
    struct pci_function *f, unsigned index, uint32_t size, const struct io_handler *ops, void *ctx);
/*
 * Appends a capability of len bytes, of which body holds those after the two
 * header bytes; all read-only. Returns its offset (0: no room left).
 */
unsigned pci_function_add_cap(struct pci_function *f, uint8_t id, const void *body, unsigned len);
/*
 * Puts it on the bus: slot 1..31, or 0 for the first that is free from 4 on and
 * that the configuration gives to nobody else; assigns the addresses that stand in
 * its base address registers after a reset, as firmware would. ERR_EXIST, ERR_FULL, ERR_STATE.
 */
int pci_function_register(struct pci_function *f, unsigned slot, struct errmsg *e) MUST_CHECK;
/* Takes it off the bus; harmless if it never was on it. */
void pci_function_unregister(struct pci_function *f);

/* For the device's reset, check, loaded and resume. */
void pci_function_reset(struct pci_function *f);
/* Refuses a configuration space whose read-only bits are not this function's. */
int pci_function_check(const struct pci_function *f, const struct pci_state *st, struct errmsg *e);
void pci_function_loaded(struct pci_function *f);
/* Drives the function's interrupt line again, whatever it was. */
void pci_function_resume(struct pci_function *f);

/* Sets the INTA level of a function. Thread context. Takes the bus lock. */
void pci_intx_set(struct pci_function *f, bool level);
/* The same for callers that hold it: called by msix.c when MSI-X is switched on or off. */
void pci_msi_active_set(struct pci_function *f, bool active);

/* The I/O APIC input of a slot's interrupt pin; pin 0..3 is INTA..INTD. Also for _PRT: level,
 * active low. */
static inline unsigned pci_intx_gsi(unsigned slot, unsigned pin)
{
	return PCI_INTX_GSI + ((slot + pin) & (PCI_INTX_LINKS - 1));
}
/* The PIRQ router: link 0..7 also drives the ISA interrupt irq; 0: none. Bus lock held. */
void pci_bus_route_link(struct pci_bus *bus, unsigned link, unsigned irq);

/*
 * Configuration accesses of any width up to 8 bytes; what lies outside of the
 * 256 bytes reads as ones. Thread context, no lock held.
 */
uint64_t pci_config_read(struct pci_function *f, unsigned off, unsigned len);
void pci_config_write(struct pci_function *f, unsigned off, unsigned len, uint64_t value);

/* --- between pci_bus.c and pci_cfg.c ------------------------------------------ */

struct pci_host_state {
	struct pci_state pci;
	uint32_t config_address;
	uint8_t reset_control;
};

struct pci_bus {
	struct device *dev;
	struct vm *vm;
	struct spinlock lock;
	struct pci_function *slot[PCI_SLOTS];
	uint64_t bar_next;		    /* first unassigned address of the hole */
	unsigned asserting[PCI_INTX_LINKS]; /* functions that assert a link */
	uint8_t link_irq[PCI_INTX_LINKS];   /* ISA interrupt of a link; 0: none */
	struct io_region address_ports, data_ports, ecam;
	struct pci_host_state st;
	struct pci_function host; /* 0:0.0 */
};

/* The rest of pci_function_register(): at a slot that is known. */
int pci_bus_add(struct pci_bus *bus, struct pci_function *f, unsigned slot, struct errmsg *e);
/* Changes the level of a function's link. Bus lock held. */
void pci_bus_link_change(struct pci_bus *bus, unsigned link, bool assert);
/* Sets the link's interrupt inputs to what they should be. Bus lock held. */
void pci_bus_link_drive(struct pci_bus *bus, unsigned link);

#endif
