/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Configuration accesses by both mechanisms: memory (PCI Express Base 3.0,
 * section 7.2.2; one MiB for each bus, mapped when the bus is found) and ports
 * 0xCF8/0xCFC (PCI Local Bus 3.0, section 3.2.2.3.2).
 */
#include "hv/arch/x86/acpi.h"
#include "hv/arch/x86/io.h"
#include "hv/drv/pci_access.h"
#include "hv/lib/error.h"
#include "hv/lib/spinlock.h"
#include "hv/mm/mm.h"

enum { PORT_ADDRESS = 0xcf8, PORT_DATA = 0xcfc };
enum { PCI_BUSES = 256 };
#define ECAM_BUS_SIZE MIB

/* The port pair is one for all. */
static struct spinlock port_lock = SPINLOCK_INIT(RANK_PCI_CONFIG);
/* Per MCFG entry: where each bus is mapped; entries are written once, before the bus is used. */
static volatile uint8_t **ecam[ACPI_MAX_MCFG];

bool pci_segment(unsigned index, struct pci_segment *out)
{
	struct acpi_mcfg m;

	if (acpi_mcfg(index, &m)) {
		*out = (struct pci_segment){m.segment, m.bus_first, m.bus_last};
		return true;
	}
	/* no MCFG: one segment, reached through the ports */
	*out = (struct pci_segment){0, 0, PCI_BUSES - 1};
	return index == 0;
}

/* The MCFG entry of a bus, or -1. */
static int mcfg_find(uint16_t segment, uint8_t bus, struct acpi_mcfg *m)
{
	for (unsigned i = 0; i < ACPI_MAX_MCFG && acpi_mcfg(i, m); i++)
		if (m->segment == segment && bus >= m->bus_first && bus <= m->bus_last)
			return (int)i;
	return -1;
}

int pci_access_bus(uint16_t segment, uint8_t bus)
{
	struct acpi_mcfg m;
	int i = mcfg_find(segment, bus, &m);
	void *p;

	if (i < 0)
		return segment == 0 ? OK : ERR_NOENT;
	if (!ecam[i])
		ecam[i] = heap_zalloc(PCI_BUSES * sizeof(*ecam[i]));
	if (!ecam[i])
		return ERR_NOMEM;
	if (ecam[i][bus])
		return OK;
	/* the base is that of bus 0, whatever the first bus is (PCI Firmware 3.2, 4.1.2) */
	p = map_device(hpa(m.base + bus * ECAM_BUS_SIZE), ECAM_BUS_SIZE, MAP_UNCACHED);
	if (!p)
		return ERR_NOMEM;
	ecam[i][bus] = p;
	return OK;
}

/* The function's registers in memory, or NULL: then through the ports. */
static volatile uint8_t *ecam_find(uint16_t segment, uint8_t bus, uint8_t devfn)
{
	struct acpi_mcfg m;
	int i = mcfg_find(segment, bus, &m);

	if (i < 0 || !ecam[i] || !ecam[i][bus])
		return NULL;
	return ecam[i][bus] + ((uint32_t)devfn << 12);
}

static uint32_t port_address(uint8_t bus, uint8_t devfn, unsigned reg)
{
	return 0x80000000u | (uint32_t)bus << 16 | (uint32_t)devfn << 8 | (reg & 0xfc);
}

static uint32_t port_read(uint8_t bus, uint8_t devfn, unsigned reg, unsigned len)
{
	uint64_t f = spin_lock(&port_lock);
	uint16_t port = (uint16_t)(PORT_DATA + (reg & 3));
	uint32_t v;

	outl(PORT_ADDRESS, port_address(bus, devfn, reg));
	v = len == 1 ? inb(port) : len == 2 ? inw(port) : inl(port);
	spin_unlock(&port_lock, f);
	return v;
}

static void port_write(uint8_t bus, uint8_t devfn, unsigned reg, unsigned len, uint32_t v)
{
	uint64_t f = spin_lock(&port_lock);
	uint16_t port = (uint16_t)(PORT_DATA + (reg & 3));

	outl(PORT_ADDRESS, port_address(bus, devfn, reg));
	if (len == 1)
		outb(port, (uint8_t)v);
	else if (len == 2)
		outw(port, (uint16_t)v);
	else
		outl(port, v);
	spin_unlock(&port_lock, f);
}

uint32_t pci_cfg_read(uint16_t segment, uint8_t bus, uint8_t devfn, unsigned reg, unsigned len)
{
	volatile uint8_t *p = ecam_find(segment, bus, devfn);

	if (!p)
		return segment ? ~0u : port_read(bus, devfn, reg, len);
	p += reg;
	return len == 1 ? mmio_read8(p) : len == 2 ? mmio_read16(p) : mmio_read32(p);
}

void pci_cfg_write(
    uint16_t segment, uint8_t bus, uint8_t devfn, unsigned reg, unsigned len, uint32_t v)
{
	volatile uint8_t *p = ecam_find(segment, bus, devfn);

	if (!p) {
		if (segment == 0)
			port_write(bus, devfn, reg, len, v);
		return;
	}
	p += reg;
	if (len == 1)
		mmio_write8(p, (uint8_t)v);
	else if (len == 2)
		mmio_write16(p, (uint16_t)v);
	else
		mmio_write32(p, v);
}

bool pci_bus_answers(uint16_t segment, uint8_t bus)
{
	if (segment != 0)
		return false;
	for (unsigned slot = 0; slot < 32; slot++)
		if (port_read(bus, (uint8_t)(slot << 3), 0, 2) != 0xffff)
			return true;
	return false;
}
