/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of virtio_blk.c, by which it is included. */
#include "hv/core/device_regs.h"

#define CONFIG(reg, bytes, nm)                                                                     \
	REG_AT(REG_BAR0, VIRTIO_BAR_DEVICE + (reg), bytes), .name = (nm), .section = "5.2.4",      \
							    .flags = REG_READ_ONLY
#define DISK_MODEL 0x1040 + VIRTIO_ID_BLOCK

static const struct reg_row virtio_blk_rows[] = {
    {REG_AT(REG_CONFIG, PCI_DEVICE_ID, 2), .name = "DEVICE_ID", .section = "4.1.2",
	.flags = REG_READ_ONLY, .reset = DISK_MODEL},
    {REG_AT(REG_CONFIG, PCI_CLASS_CODE + 1, 2), .name = "CLASS_CODE, class", .section = "4.1.2",
	.flags = REG_READ_ONLY, .reset = 0x0100},
    {REG_AT(REG_CONFIG, PCI_SUBSYSTEM_ID, 2), .name = "SUBSYSTEM_ID", .section = "4.1.2",
	.flags = REG_READ_ONLY, .reset = DISK_MODEL},
    {REG_AT(REG_BAR0, VIRTIO_BAR_COMMON + COMMON_DEVICE_FEATURE, 4), .name = "device_feature",
	.section = "5.2.3", .flags = REG_READ_ONLY,
	.reset = VIRTIO_BLK_F_SIZE_MAX | VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_BLK_SIZE |
		 VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_DISCARD | VIRTIO_F_RING_INDIRECT_DESC |
		 VIRTIO_F_RING_EVENT_IDX,
	.test = "configuration",
	.bits = REG_BITS({VIRTIO_BLK_F_SIZE_MAX, "SIZE_MAX", NULL},
	    {VIRTIO_BLK_F_SEG_MAX, "SEG_MAX", NULL}, {VIRTIO_BLK_F_RO, "RO", "of a read-only disk"},
	    {VIRTIO_BLK_F_BLK_SIZE, "BLK_SIZE", NULL}, {VIRTIO_BLK_F_FLUSH, "FLUSH", NULL},
	    {VIRTIO_BLK_F_DISCARD, "DISCARD", "of a disk that can discard"},
	    {VIRTIO_BLK_F_WRITE_ZEROES, "WRITE_ZEROES",
		"of a disk whose discarded sectors read as zeros"})},
    {CONFIG(VBLK_CONFIG_CAPACITY, 4, "capacity"), .count = 2, .stride = 4, .varies = ~0U,
	.doc = "sectors of 512 bytes", .test = "configuration"},
    {CONFIG(VBLK_CONFIG_SIZE_MAX, 4, "size_max"), .reset = VBLK_SIZE_MAX},
    {CONFIG(VBLK_CONFIG_SEG_MAX, 4, "seg_max"), .reset = VBLK_SEG_MAX},
    {CONFIG(16, 4, "geometry"), .doc = "not implemented: GEOMETRY is not offered"},
    {CONFIG(VBLK_CONFIG_BLK_SIZE, 4, "blk_size"), .reset = SECTOR_SIZE},
    {CONFIG(24, 4, "topology"), .count = 2, .stride = 4,
	.doc = "not implemented: TOPOLOGY is not offered"},
    {CONFIG(32, 1, "writeback"), .doc = "not implemented: CONFIG_WCE is not offered"},
    {CONFIG(34, 2, "num_queues"), .doc = "not implemented: MQ is not offered"},
    {CONFIG(VBLK_CONFIG_MAX_DISCARD_SECTORS, 4, "max_discard_sectors"), .reset = VBLK_DISCARD_MAX,
	.test = "discards"},
    {CONFIG(VBLK_CONFIG_MAX_DISCARD_SEG, 4, "max_discard_seg"), .reset = 1},
    {CONFIG(VBLK_CONFIG_DISCARD_SECTOR_ALIGNMENT, 4, "discard_sector_alignment"), .reset = 1},
    {CONFIG(VBLK_CONFIG_MAX_WRITE_ZEROES_SECTORS, 4, "max_write_zeroes_sectors"),
	.reset = VBLK_DISCARD_MAX, .test = "write_zeroes"},
    {CONFIG(VBLK_CONFIG_MAX_WRITE_ZEROES_SEG, 4, "max_write_zeroes_seg"), .reset = 1},
    {CONFIG(VBLK_CONFIG_WRITE_ZEROES_MAY_UNMAP, 1, "write_zeroes_may_unmap"), .reset = 1},
    {0},
};

DEVICE_REGISTERS(virtio_blk_registers) = {
    .model = "amber,virtio-blk",
    .title = "block device",
    .sheet = "Virtual I/O Device (VIRTIO) Version 1.2, 5.2",
    .doc = "Its other registers are under *virtio over PCI*. Requests of the types IN, OUT, FLUSH, "
	   "GET_ID, DISCARD and WRITE_ZEROES\nare implemented; others are answered with UNSUPP.",
    .tests = "test_virtio_blk.c",
    .ranges = REG_RANGES({REG_BAR0, VIRTIO_BAR_DEVICE, VIRTIO_BAR_NOTIFY - VIRTIO_BAR_DEVICE, 4}),
    .rows = virtio_blk_rows,
};
#undef CONFIG
#undef DISK_MODEL
