/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtio 1.2 as a driver of a block device sees it: PCI capabilities, the common
 * configuration, the split virtqueue, block requests. (The device that a guest
 * sees is in hv/dev.)
 */
#ifndef AMBER_DRV_VIRTIO_BLK_HOST_H
#define AMBER_DRV_VIRTIO_BLK_HOST_H

#include "hv/lib/types.h"

/* PCI transport (section 4.1) */
enum {
	VIRTIO_VENDOR = 0x1af4,
	VIRTIO_BLK_TRANSITIONAL = 0x1001,
	VIRTIO_BLK_MODERN = 0x1042,
};
/* struct virtio_pci_cap (section 4.1.4), offsets within the capability */
enum virtio_cap_field {
	VIRTIO_CAP_TYPE = 3,
	VIRTIO_CAP_BAR = 4,
	VIRTIO_CAP_OFFSET = 8,
	VIRTIO_CAP_LENGTH = 12,
	VIRTIO_CAP_NOTIFY_MULTIPLIER = 16,
};
enum virtio_cap_type {
	VIRTIO_CAP_COMMON = 1,
	VIRTIO_CAP_NOTIFY = 2,
	VIRTIO_CAP_ISR = 3,
	VIRTIO_CAP_DEVICE = 4,
};

/* Common configuration (section 4.1.4.3) */
enum virtio_common_reg {
	VIRTIO_DEVICE_FEATURE_SELECT = 0x00,
	VIRTIO_DEVICE_FEATURE = 0x04,
	VIRTIO_DRIVER_FEATURE_SELECT = 0x08,
	VIRTIO_DRIVER_FEATURE = 0x0c,
	VIRTIO_CONFIG_MSIX = 0x10, /* 16 bits */
	VIRTIO_NUM_QUEUES = 0x12,  /* 16 bits */
	VIRTIO_STATUS = 0x14,	   /* 8 bits */
	VIRTIO_GENERATION = 0x15,  /* 8 bits */
	VIRTIO_QUEUE_SELECT = 0x16,
	VIRTIO_QUEUE_SIZE = 0x18,
	VIRTIO_QUEUE_MSIX = 0x1a,
	VIRTIO_QUEUE_ENABLE = 0x1c,
	VIRTIO_QUEUE_NOTIFY_OFF = 0x1e,
	VIRTIO_QUEUE_DESC = 0x20,   /* 64 bits, written as two halves */
	VIRTIO_QUEUE_DRIVER = 0x28, /* available ring */
	VIRTIO_QUEUE_DEVICE = 0x30, /* used ring */
	VIRTIO_COMMON_SIZE = 0x38,
};
enum { VIRTIO_NO_VECTOR = 0xffff };

/* Device status (section 2.1) */
enum virtio_status {
	VIRTIO_ACKNOWLEDGE = 1,
	VIRTIO_DRIVER = 2,
	VIRTIO_DRIVER_OK = 4,
	VIRTIO_FEATURES_OK = 8,
	VIRTIO_NEEDS_RESET = 64,
	VIRTIO_FAILED = 128,
};

/* Feature bits (sections 5.2.3 and 6) */
enum virtio_feature {
	VIRTIO_BLK_F_SIZE_MAX = 1,
	VIRTIO_BLK_F_SEG_MAX = 2,
	VIRTIO_BLK_F_RO = 5,
	VIRTIO_BLK_F_FLUSH = 9,
	VIRTIO_BLK_F_DISCARD = 13,
	VIRTIO_F_INDIRECT_DESC = 28,
	VIRTIO_F_VERSION_1 = 32,
	VIRTIO_F_ACCESS_PLATFORM = 33,
};

/* Device configuration (section 5.2.4) */
enum virtio_blk_config {
	VIRTIO_BLK_CAPACITY = 0, /* 64 bits, sectors of 512 bytes */
	VIRTIO_BLK_SIZE_MAX = 8,
	VIRTIO_BLK_SEG_MAX = 12,
	VIRTIO_BLK_MAX_DISCARD = 36,
	VIRTIO_BLK_CONFIG_SIZE = 40, /* as far as used here */
};

/* Split virtqueue (section 2.7) */
struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};
enum virtq_desc_flag { VIRTQ_NEXT = 1, VIRTQ_WRITE = 2, VIRTQ_INDIRECT = 4 };
struct virtq_avail {
	uint16_t flags, idx, ring[];
};
struct virtq_used_elem {
	uint32_t id, len;
};
struct virtq_used {
	uint16_t flags, idx;
	struct virtq_used_elem ring[];
};
enum { VIRTQ_USED_NO_NOTIFY = 1 };
_Static_assert(sizeof(struct virtq_desc) == 16, "virtio 1.2, section 2.7.5");
_Static_assert(sizeof(struct virtq_used_elem) == 8, "virtio 1.2, section 2.7.8");

/* Block requests (section 5.2.6) */
enum virtio_blk_type {
	VIRTIO_BLK_T_IN = 0,
	VIRTIO_BLK_T_OUT = 1,
	VIRTIO_BLK_T_FLUSH = 4,
	VIRTIO_BLK_T_DISCARD = 11,
};
enum virtio_blk_result { VIRTIO_BLK_S_OK = 0, VIRTIO_BLK_S_IOERR = 1, VIRTIO_BLK_S_UNSUPP = 2 };
struct virtio_blk_header {
	uint32_t type, reserved;
	uint64_t sector;
};
struct virtio_blk_discard {
	uint64_t sector;
	uint32_t nsectors, flags;
};

#endif
