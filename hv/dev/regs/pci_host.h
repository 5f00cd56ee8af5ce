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
	    "1 MiB: configuration spaces of bus 0; where PCIEXBAR says, in a machine that firmware "
	    "starts; not implemented: extended configuration space (100h to FFFh), which reads as "
	    "ones",
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
    .doc = "Of the chipset's own registers (40h to FFh) none is implemented but those that "
	   "firmware needs: the memory map is fixed. In the 82G33 memory space and bus\nmaster are "
	   "hardwired to 1 and there is a "
	   "capability; here the one reads 0, the other can be written, and there is none.",
    .tests = "test_pci_bus.c",
    .ranges = REG_RANGES({REG_CONFIG, 0, PCI_CONFIG_SIZE, 1}),
    .rows = pci_host_rows,
};

static const struct reg_row mch_rows[] = {
    {REG_AT(REG_CONFIG, PCI_SUBSYSTEM_VENDOR_ID, 4), .name = "SVID, SID", .section = "5.1.12",
	.flags = REG_READ_ONLY, .reset = 0x11001af4, .doc = "QEMU's: SeaBIOS looks for them"},
    {REG_AT(REG_CONFIG, MCH_PCIEXBAR, 4), .name = "PCIEXBAR, low", .section = "5.1.17",
	.reset = PCIEXBAR_DEFAULT,
	.writable = PCIEXBAR_EN | PCIEXBAR_LENGTH | PCIEXBAR_ADDRESS | PCIEXBAR_ADDRESS >> 2,
	.test = "ecam_moves",
	.bits = REG_BITS({PCIEXBAR_EN, "PCIEXBAREN", "nothing answers while it is 0"},
	    {PCIEXBAR_LENGTH, "LENGTH", "256, 128, 64 MiB; 3: reserved, as if disabled"},
	    {0xfc000000, "address", "bits 26 and 27 are of no effect with a larger length"})},
    {REG_AT(REG_CONFIG, MCH_PCIEXBAR + 4, 4), .name = "PCIEXBAR, high", .section = "5.1.17",
	.writable = PCIEXBAR_ADDRESS_HIGH, .test = "ecam_moves"},
    {REG_AT(REG_CONFIG, MCH_PAM0, 1), .name = "PAM0", .section = "5.1.20",
	.writable = PAM0_WRITABLE,
	.doc = "kept, and of no effect: shadow memory can always be read and written"},
    {REG_AT(REG_CONFIG, MCH_PAM0 + 1, 1), .count = MCH_PAM6 - MCH_PAM0, .stride = 1,
	.name = "PAM1 to PAM6", .section = "5.1.21", .writable = PAM_WRITABLE, .doc = "likewise"},
    {REG_AT(REG_CONFIG, MCH_SMRAM, 1), .name = "SMRAM", .section = "5.1.28", .reset = SMRAM_DEFAULT,
	.writable = SMRAM_WRITABLE,
	.doc = "kept, and of no effect: there is no system management mode"},
    {0},
};

DEVICE_REGISTERS(mch_registers) = {
    .model = "Host bridge, what firmware sets up",
    .host = "amber,pci-host",
    .firmware = true,
    .title = "the host bridge's own registers, in machines that firmware starts",
    .sheet = "Intel 3 Series Express Chipset Family Datasheet, 316966",
    .tests = "test_pci_bus.c",
    .rows = mch_rows,
};
