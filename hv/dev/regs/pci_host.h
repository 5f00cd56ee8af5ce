/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of pci_bus.c, by which it is included. */
#include "hv/dev/regs/pci_header.h"

static const struct reg_row pci_host_rows[] = {
    {REG_AT(REG_PORT, PCI_CONFIG_ADDRESS, 4), .name = "CONFIG_ADDRESS", .section = "PCI, 3.2.2.3.2",
	.writable = CONFIG_ADDRESS_WRITABLE, .doc = "takes doublewords only", .test = "mechanism_1",
	.bits = REG_BITS({0xfc, "register number", NULL}, {7 << 8, "function number", NULL},
	    {0x1f << 11, "device number", NULL}, {0xff << 16, "bus number", NULL},
	    {CONFIG_ADDRESS_ENABLE, "enable", NULL})},
    {REG_AT(REG_PORT, PCI_RESET_CONTROL, 1), .name = "RST_CNT", .section = "ICH9, 13.7.5",
	.writable = RST_CNT_WRITABLE, .test = "reset_control",
	.bits = REG_BITS({RST_CNT_SYS_RST, "SYS_RST", "kept: every reset is a hard one"},
	    {RST_CNT_RST_CPU, "RST_CPU", "setting it resets the machine"},
	    {RST_CNT_FULL_RST, "FULL_RST", "kept: no power cycle"})},
    {REG_AT(REG_PORT, PCI_CONFIG_DATA, 4), .name = "CONFIG_DATA", .section = "PCI, 3.2.2.3.2",
	.flags = REG_SPECIAL, .doc = "in any width; without a function: ones",
	.test = "mechanism_1"},
    {REG_AT(REG_MEMORY, PCI_ECAM_BASE, 4), .name = "ECAM", .section = "PCI Express 5.0, 7.2.2",
	.flags = REG_SPECIAL,
	.doc =
	    "1 MiB: configuration spaces of bus 0; not implemented: extended configuration space "
	    "(100h to FFFh), which reads as ones",
	.test = "ecam"},
    PCI_IDENTITY_ROWS(0x8086, 0x29c0, 0x060000, 2),
    PCI_COMMAND_ROW(0, PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR),
    PCI_STATUS_ROW(0),
    PCI_ABSENT_ROWS,
    PCI_BARE_ROWS,
    {0},
};

DEVICE_REGISTERS(pci_host_registers) = {
    .model = "amber,pci-host",
    .title = "PCI host bridge, function 0:0.0, and the way to all configuration spaces",
    .sheet = "PCI Local Bus Specification 3.0; Intel 3 Series Express Chipset Family Datasheet, "
	     "316966 (82G33, as which QEMU's Q35 presents itself); ICH9 datasheet",
    .doc = "Of the chipset's own registers (40h to FFh) none is implemented: the memory map is "
	   "fixed. In the 82G33 memory space and bus\nmaster are hardwired to 1 and there is a "
	   "capability; here the one reads 0, the other can be written, and there is none.",
    .tests = "test_pci_bus.c",
    .ranges = REG_RANGES({REG_CONFIG, 0, PCI_CONFIG_SIZE, 1}),
    .rows = pci_host_rows,
};
