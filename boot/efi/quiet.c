/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ends all DMA before boot-services memory is given to somebody else: a network
 * card that the firmware started goes on receiving into it. First the USB
 * controllers are taken from the firmware, whose keyboard emulation would otherwise
 * go on using them from system management mode; then the bus-master bit of every
 * function is cleared. Drivers set it again for the devices that they take.
 *
 * Runs after ExitBootServices; through ports 0xCF8 and 0xCFC, which need no table.
 */
#include "boot/efi/loader.h"

enum {
	PORT_ADDRESS = 0xcf8,
	PORT_DATA = 0xcfc,

	PCI_ID = 0x00,
	PCI_COMMAND = 0x04,
	PCI_COMMAND_MEMORY = 1 << 1,
	PCI_COMMAND_MASTER = 1 << 2,
	PCI_CLASS = 0x08, /* bits 31-24 class, 23-16 subclass, 15-8 interface */
	PCI_HEADER = 0x0c,
	PCI_HEADER_TYPE_SHIFT = 16,
	PCI_HEADER_TYPE_MASK = 0x7f,
	PCI_MULTIFUNCTION = 1 << 7,
	PCI_BAR0 = 0x10,

	CLASS_DISPLAY = 0x03,
	CLASS_BRIDGE = 0x06,
	CLASS_USB_UHCI = 0x0c0300,
	CLASS_USB_EHCI = 0x0c0320,
	CLASS_USB_XHCI = 0x0c0330,

	UHCI_LEGSUP =
	    0xc0, /* Intel's chipsets: a byte of status bits (write 1 clears), a byte of enables */
	UHCI_LEGSUP_RELEASE = 0x8f00,

	EHCI_HCCPARAMS = 0x08,
	XHCI_HCCPARAMS1 = 0x10,
	LEGSUP_ID = 1,		     /* both: id of the legacy-support capability, */
	LEGSUP_BIOS_OWNED = 1 << 16, /* its two semaphores */
	LEGSUP_OS_OWNED = 1 << 24,
	LEGSUP_CTLSTS = 4,	      /* and its register of SMI enables, zero disables all */
	XHCI_SMI_EVENTS = 0x7u << 29, /* write 1 clears */

	CAPABILITIES_MAX = 64,
	HANDOFF_SPINS = 1000000, /* about a second of port reads */
};

static void outl(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static uint32_t inl(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

/* A function: bus in bits 15-8, device in 7-3, function in 2-0. */
static uint32_t config_read(uint32_t bdf, uint32_t reg)
{
	outl(PORT_ADDRESS, 0x80000000 | bdf << 8 | (reg & 0xfc));
	return inl(PORT_DATA);
}

static void config_write(uint32_t bdf, uint32_t reg, uint32_t v)
{
	outl(PORT_ADDRESS, 0x80000000 | bdf << 8 | (reg & 0xfc));
	outl(PORT_DATA, v);
}

/* The address of a memory BAR that the page tables reach, NULL otherwise. */
static volatile uint32_t *bar0(uint32_t bdf)
{
	uint64_t at = config_read(bdf, PCI_BAR0);

	if (at & 1 || !(config_read(bdf, PCI_COMMAND) & PCI_COMMAND_MEMORY))
		return NULL;
	if ((at & 6) == 4 && config_read(bdf, PCI_BAR0 + 4))
		return NULL;
	return (volatile uint32_t *)(at & ~15ULL);
}

/* EHCI 1.0, section 5.1: the capability lies in configuration space. */
static void release_ehci(uint32_t bdf)
{
	volatile uint32_t *regs = bar0(bdf);
	uint32_t at;

	if (!regs)
		return;
	at = regs[EHCI_HCCPARAMS / 4] >> 8 & 0xff;
	for (unsigned i = 0; at >= 0x40 && i < CAPABILITIES_MAX; i++) {
		uint32_t cap = config_read(bdf, at);

		if ((cap & 0xff) == LEGSUP_ID) {
			config_write(bdf, at, cap | LEGSUP_OS_OWNED);
			for (unsigned n = 0; n < HANDOFF_SPINS; n++)
				if (!(config_read(bdf, at) & LEGSUP_BIOS_OWNED))
					break;
			config_write(bdf, at + LEGSUP_CTLSTS, 0);
			return;
		}
		at = cap >> 8 & 0xff;
	}
}

/* xHCI 1.2, section 4.22.1: the capability lies behind the registers. */
static void release_xhci(uint32_t bdf)
{
	volatile uint32_t *regs = bar0(bdf);
	uint32_t next;

	if (!regs)
		return;
	next = regs[XHCI_HCCPARAMS1 / 4] >> 16;
	for (unsigned i = 0; next && i < CAPABILITIES_MAX; i++) {
		regs += next;
		if ((*regs & 0xff) == LEGSUP_ID) {
			*regs |= LEGSUP_OS_OWNED;
			for (unsigned n = 0; n < HANDOFF_SPINS && *regs & LEGSUP_BIOS_OWNED; n++)
				inl(PORT_ADDRESS);
			regs[LEGSUP_CTLSTS / 4] = XHCI_SMI_EVENTS;
			return;
		}
		next = *regs >> 8 & 0xff;
	}
}

static void release_usb(uint32_t bdf, uint32_t class)
{
	if (class == CLASS_USB_UHCI && (config_read(bdf, PCI_ID) & 0xffff) == 0x8086)
		config_write(bdf, UHCI_LEGSUP, UHCI_LEGSUP_RELEASE);
	else if (class == CLASS_USB_EHCI)
		release_ehci(bdf);
	else if (class == CLASS_USB_XHCI)
		release_xhci(bdf);
}

/* Bridges pass on their devices' requests; the screen's memory is its own. */
static void quiet_function(uint32_t bdf, uint32_t header)
{
	uint32_t class = config_read(bdf, PCI_CLASS) >> 8;
	uint32_t command;

	if (header >> PCI_HEADER_TYPE_SHIFT & PCI_HEADER_TYPE_MASK)
		return;
	if (class >> 16 == CLASS_BRIDGE || class >> 16 == CLASS_DISPLAY)
		return;
	release_usb(bdf, class);
	/* The upper half is the status register, whose bits are cleared by ones. */
	command = config_read(bdf, PCI_COMMAND) & 0xffff;
	if (command & PCI_COMMAND_MASTER)
		config_write(bdf, PCI_COMMAND, command & ~(uint32_t)PCI_COMMAND_MASTER);
}

void devices_quiet(void)
{
	for (uint32_t bdf = 0; bdf < 0x10000; bdf++) {
		uint32_t header;

		if ((config_read(bdf, PCI_ID) & 0xffff) == 0xffff) {
			if (!(bdf & 7))
				bdf |= 7; /* no function 0: no device */
			continue;
		}
		header = config_read(bdf, PCI_HEADER);
		quiet_function(bdf, header);
		if (!(bdf & 7) && !(header >> PCI_HEADER_TYPE_SHIFT & PCI_MULTIFUNCTION))
			bdf |= 7;
	}
}
