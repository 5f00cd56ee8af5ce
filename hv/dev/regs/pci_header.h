/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows of a configuration space's first 64 bytes, for the tables of PCI functions. */
#ifndef AMBER_DEV_REGS_PCI_HEADER_H
#define AMBER_DEV_REGS_PCI_HEADER_H

#include "hv/core/device_regs.h"
#include "hv/dev/pci_bus.h"

#define PCI_REG(off, bytes, nm, sect)                                                              \
	REG_AT(REG_CONFIG, off, bytes), .name = (nm), .section = "PCI, " sect
#define PCI_FIXED(off, bytes, nm, sect, value)                                                     \
	{                                                                                          \
		PCI_REG(off, bytes, nm, sect), .flags = REG_READ_ONLY, .reset = (value)            \
	}
#define PCI_NONE(off, bytes, nm, sect)                                                             \
	{                                                                                          \
		PCI_REG(off, bytes, nm, sect), .flags = REG_READ_ONLY,                             \
					       .doc = "not implemented: reads 0"                   \
	}

/* Who it is: a struct pci_identity's members. */
#define PCI_IDENTITY_ROWS(vendor_id, device_id, class, revision)                                   \
	PCI_FIXED(PCI_VENDOR_ID, 2, "VENDOR_ID", "6.2.1", vendor_id),                              \
	    PCI_FIXED(PCI_DEVICE_ID, 2, "DEVICE_ID", "6.2.1", device_id),                          \
	    PCI_FIXED(PCI_REVISION_ID, 1, "REVISION_ID", "6.2.1", revision),                       \
	    PCI_FIXED(PCI_CLASS_CODE, 1, "CLASS_CODE, interface", "6.2.1", (class) & 0xff),        \
	    PCI_FIXED(PCI_CLASS_CODE + 1, 2, "CLASS_CODE, class", "6.2.1", (class) >> 8)

#define PCI_COMMAND_ROW(initial, mask)                                                             \
	{                                                                                          \
		PCI_REG(PCI_COMMAND, 2, "COMMAND", "6.2.2"),                                       \
		    .reset = (initial), .writable = (mask),                                        \
		    .bits = REG_BITS({PCI_COMMAND_IO, "I/O space", NULL},                          \
			{PCI_COMMAND_MEMORY, "memory space",                                       \
			    "base address registers are decoded"},                                 \
			{PCI_COMMAND_MASTER, "bus master",                                         \
			    "not implemented: kept, does not stop DMA"},                           \
			{PCI_COMMAND_PARITY, "parity error response",                              \
			    "kept: there are no errors"},                                          \
			{PCI_COMMAND_SERR, "SERR# enable", "kept: there are no errors"},           \
			{PCI_COMMAND_INTX_DISABLE, "interrupt disable", "of INTx"})                \
	}
#define PCI_STATUS_ROW(initial)                                                                    \
	{                                                                                          \
		PCI_REG(PCI_STATUS, 2, "STATUS", "6.2.3"),                                         \
		    .flags = REG_READ_ONLY, .reset = (initial),                                    \
		    .bits =                                                                        \
			REG_BITS({PCI_STATUS_INTERRUPT, "interrupt status", "INTx is asked for"},  \
			    {PCI_STATUS_CAPABILITIES, "capabilities list", NULL},                  \
			    {3 << 9, "DEVSEL timing", "1: medium"},                                \
			    {0x1f << 11, "errors", "none happen"})                                 \
	}
/* What no function here has. */
#define PCI_ABSENT_ROWS                                                                            \
	PCI_NONE(0x0c, 1, "CACHE_LINE_SIZE", "6.2.4"),                                             \
	    PCI_NONE(0x0d, 1, "LATENCY_TIMER", "6.2.4"),                                           \
	    PCI_FIXED(PCI_HEADER_TYPE, 1, "HEADER_TYPE", "6.2.1", 0),                              \
	    PCI_NONE(0x0f, 1, "BIST", "6.2.4"), PCI_NONE(0x28, 4, "CARDBUS_CIS", "6.2.4"),         \
	    PCI_NONE(0x30, 4, "EXPANSION_ROM", "6.2.5.2"), PCI_NONE(0x3e, 1, "MIN_GNT", "6.2.4"),  \
	    PCI_NONE(0x3f, 1, "MAX_LAT", "6.2.4")
/* Of a function without base address registers, capabilities and interrupt. */
#define PCI_BARE_ROWS                                                                              \
	{PCI_REG(PCI_BAR0, 4, "BASE_ADDRESSn", "6.2.5"), .count = PCI_BARS, .stride = 4,           \
	    .flags = REG_READ_ONLY},                                                               \
	    PCI_FIXED(PCI_SUBSYSTEM_VENDOR_ID, 2, "SUBSYSTEM_VENDOR_ID", "6.2.4", 0),              \
	    PCI_FIXED(PCI_SUBSYSTEM_ID, 2, "SUBSYSTEM_ID", "6.2.4", 0),                            \
	    PCI_FIXED(PCI_CAP_PTR, 1, "CAP_PTR", "6.7", 0),                                        \
	    PCI_FIXED(PCI_INTERRUPT_LINE, 1, "INTERRUPT_LINE", "6.2.4", 0),                        \
	    PCI_FIXED(PCI_INTERRUPT_PIN, 1, "INTERRUPT_PIN", "6.2.4", 0)

#endif
