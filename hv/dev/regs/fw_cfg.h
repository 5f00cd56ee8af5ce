/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of fw_cfg.c, by which it is included. */
#include "hv/core/device_regs.h"

#define DMA REG_AT(REG_PORT, FW_CFG_PORTS + REG_DMA, 4)

static const struct reg_row fw_cfg_rows[] = {
    {REG_AT(REG_PORT, FW_CFG_PORTS + REG_SELECTOR, 2), .name = "selector",
	.section = "selector (control) register", .reset = 0xffff, .flags = REG_WRITE_ONLY,
	.doc = "key of an item, whose first byte is the next to be read",
	.test = "selecting_starts_anew",
	.bits =
	    REG_BITS({0x3fff, "key", NULL}, {KEY_WRITE, "write", "ignored: no item can be written"},
		{1 << 15, "architecture", "keys of the architecture: no such item is there"})},
    {REG_AT(REG_PORT, FW_CFG_PORTS + REG_DATA, 1), .name = "data", .section = "data register",
	.flags = REG_READ_ONLY | REG_SPECIAL, .doc = "the next byte; 0 behind the end",
	.test = "values"},
    {DMA, .name = "signature", .section = "DMA interface", .reset = 0x554d4551,
	.flags = REG_READ_ONLY | REG_SHARED, .doc = "\"QEMU\"", .test = "dma_signature_is_read"},
    {REG_AT(REG_PORT, FW_CFG_PORTS + REG_DMA + 4, 4), .name = "signature",
	.section = "DMA interface", .reset = 0x47464320, .flags = REG_READ_ONLY | REG_SHARED,
	.doc = "\" CFG\"", .test = "dma_signature_is_read"},
    {DMA, .name = "DMA address, high", .section = "DMA interface",
	.flags = REG_WRITE_ONLY | REG_SHARED | REG_SPECIAL, .doc = "big-endian",
	.test = "register_halves"},
    {REG_AT(REG_PORT, FW_CFG_PORTS + REG_DMA + 4, 4), .name = "DMA address, low",
	.section = "DMA interface", .flags = REG_WRITE_ONLY | REG_SHARED | REG_SPECIAL,
	.doc = "big-endian; starts the transfer. Its control word knows read, skip and select; "
	       "write gives an error",
	.test = "dma_reads"},
    {0},
};

DEVICE_REGISTERS(fw_cfg_registers) = {
    .model = "amber,fw-cfg",
    .title = "firmware configuration interface",
    .sheet = "QEMU, docs/specs/fw_cfg",
    .tests = "test_fw_cfg.c",
    .rows = fw_cfg_rows,
};
#undef DMA
