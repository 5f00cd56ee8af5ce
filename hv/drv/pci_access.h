/* SPDX-License-Identifier: BSD-2-Clause */
/* Reaching PCI configuration space: memory-mapped (ECAM) where MCFG names it, else ports. */
#ifndef AMBER_DRV_PCI_ACCESS_H
#define AMBER_DRV_PCI_ACCESS_H

#include "hv/lib/types.h"

/* A segment and the buses that it may have. */
struct pci_segment {
	uint16_t segment;
	uint8_t bus_first, bus_last;
};
/* The index-th segment; false past the last. There is at least one. */
bool pci_segment(unsigned index, struct pci_segment *out);

/*
 * len is 1, 2 or 4, reg aligned to it, below 256. devfn: slot << 3 | function.
 * A function that is not there reads as all ones. Any context, once
 * pci_access_bus() has been called for the bus.
 */
uint32_t pci_cfg_read(uint16_t segment, uint8_t bus, uint8_t devfn, unsigned reg, unsigned len);
void pci_cfg_write(
    uint16_t segment, uint8_t bus, uint8_t devfn, unsigned reg, unsigned len, uint32_t v);

/* Maps what is needed to reach a bus. Thread context. ERR_NOMEM. */
int pci_access_bus(uint16_t segment, uint8_t bus) MUST_CHECK;
/* True if a device is on the bus; found out through the ports, so for segment 0 only. */
bool pci_bus_answers(uint16_t segment, uint8_t bus);

#endif
