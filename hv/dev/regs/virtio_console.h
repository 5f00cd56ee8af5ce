/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of virtio_console.c, by which it is included. */
#include "hv/core/device_regs.h"

#define CONFIG(reg, bytes, nm)                                                                     \
	REG_AT(REG_BAR0, VIRTIO_BAR_DEVICE + (reg), bytes), .name = (nm), .section = "5.3.4",      \
							    .flags = REG_READ_ONLY

static const struct reg_row virtio_console_rows[] = {
    {CONFIG(VCON_CONFIG_COLS, 2, "cols"), .doc = "not implemented: SIZE is not offered"},
    {CONFIG(VCON_CONFIG_ROWS, 2, "rows"), .doc = "not implemented: SIZE is not offered"},
    {CONFIG(VCON_CONFIG_MAX_NR_PORTS, 4, "max_nr_ports"), .reset = 1,
	.doc = "MULTIPORT is offered if the port has a name", .test = "port_handshake"},
    {CONFIG(8, 4, "emerg_wr"), .doc = "not implemented: EMERG_WRITE is not offered"},
    {0},
};

DEVICE_REGISTERS(virtio_console_registers) = {
    .model = "amber,virtio-console",
    .title = "console device",
    .sheet = "Virtual I/O Device (VIRTIO) Version 1.2, 5.3",
    .doc = "Its other registers are under *virtio over PCI*; the device ID is 1043h, the class "
	   "078000h.",
    .tests = "test_virtio_console.c",
    .ranges = REG_RANGES({REG_BAR0, VIRTIO_BAR_DEVICE, VIRTIO_BAR_NOTIFY - VIRTIO_BAR_DEVICE, 4}),
    .rows = virtio_console_rows,
};
#undef CONFIG
