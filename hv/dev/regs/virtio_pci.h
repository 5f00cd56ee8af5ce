/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of virtio_pci.c, by which it is included. */
#include "hv/dev/regs/pci_header.h"

/* As the table's test has it: a console without a port name. */
enum {
	ROW_QUEUES = 2,
	ROW_QUEUE_SIZE = 64,
	ROW_CONFIG_LEN = 12,
	ROW_CAP_COMMON = 0x4c, /* behind MSI-X's */
	ROW_CAP_ISR = ROW_CAP_COMMON + CAP_SIZE,
	ROW_CAP_DEVICE = ROW_CAP_ISR + CAP_SIZE,
	ROW_CAP_NOTIFY = ROW_CAP_DEVICE + CAP_SIZE,
	ROW_CAP_PCI_CFG = ROW_CAP_NOTIFY + CAP_SIZE_LONG,
};
#define BAR_ROW(index, size)                                                                       \
	{                                                                                          \
		PCI_REG(PCI_BAR0 + 4 * (index), 4, "BASE_ADDRESS" #index, "6.2.5"),                \
		    .writable = ~((size)-1U), .varies = ~((size)-1U),                              \
		    .test = "identity_and_capabilities"                                            \
	}
#define CAP_REG(at, bytes, nm) REG_AT(REG_CONFIG, at, bytes), .name = (nm), .section = "4.1.4"
#define CAP_FIXED(at, bytes, nm, value)                                                            \
	{                                                                                          \
		CAP_REG(at, bytes, nm), .flags = REG_READ_ONLY, .reset = (value)                   \
	}
/* id, next, length, type; the base address register; offset; length. */
#define CAP_HEAD(at, next, size, type, what)                                                       \
	CAP_FIXED(at, 4, what, PCI_CAP_VENDOR | (next) << 8 | (size) << 16 | (unsigned)(type) << 24)
#define CAP_ROWS(at, next, size, type, what, offset, length)                                       \
	CAP_HEAD(at, next, size, type, what), CAP_FIXED((at) + CAP_BAR, 4, "bar", BAR_VIRTIO),     \
	    CAP_FIXED((at) + CAP_OFFSET, 4, "offset", offset),                                     \
	    CAP_FIXED((at) + CAP_LENGTH, 4, "length", length)
#define COMMON(reg, bytes, nm)                                                                     \
	REG_AT(REG_BAR0, VIRTIO_BAR_COMMON + (reg), bytes), .name = (nm), .section = "4.1.4.3"
#define QUEUE_ADDR(reg, nm)                                                                        \
	{                                                                                          \
		COMMON(reg, 4, nm),                                                                \
		    .count = 2, .stride = 4, .writable = ~0U,                                      \
		    .doc =                                                                         \
			"low and high half; in one go too; read-only once the queue is enabled",   \
		    .test = "queue_registers"                                                      \
	}

static const struct reg_row virtio_pci_rows[] = {
    PCI_IDENTITY_ROWS(0x1af4, 0x1040 + VIRTIO_ID_CONSOLE, 0x078000, 1),
    PCI_COMMAND_ROW(PCI_COMMAND_MEMORY, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
					    PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
					    PCI_COMMAND_INTX_DISABLE),
    PCI_STATUS_ROW(PCI_STATUS_CAPABILITIES),
    PCI_ABSENT_ROWS,
    BAR_ROW(0, VIRTIO_BAR_SIZE),
    BAR_ROW(1, MSIX_BAR_SIZE),
    {PCI_REG(PCI_BAR0 + 8, 4, "BASE_ADDRESSn", "6.2.5"), .count = PCI_BARS - 2, .stride = 4,
	.flags = REG_READ_ONLY},
    PCI_FIXED(PCI_SUBSYSTEM_VENDOR_ID, 2, "SUBSYSTEM_VENDOR_ID", "6.2.4", 0x1af4),
    PCI_FIXED(PCI_SUBSYSTEM_ID, 2, "SUBSYSTEM_ID", "6.2.4", 0x1040 + VIRTIO_ID_CONSOLE),
    PCI_FIXED(PCI_CAP_PTR, 1, "CAP_PTR", "6.7", PCI_CAPS_FIRST),
    {PCI_REG(PCI_INTERRUPT_LINE, 1, "INTERRUPT_LINE", "6.2.4"), .reset = 0xff, .writable = 0xff},
    PCI_FIXED(PCI_INTERRUPT_PIN, 1, "INTERRUPT_PIN", "6.2.4", 1),
    {CAP_REG(PCI_CAPS_FIRST, 4, "MSI-X capability"), .reset = 0x00024c11, .writable = 0xc0000000,
	.doc = "see MSI-X", .test = "identity_and_capabilities"},
    CAP_FIXED(PCI_CAPS_FIRST + 4, 4, "MSI-X table", BAR_MSIX),
    CAP_FIXED(PCI_CAPS_FIRST + 8, 4, "MSI-X pending bits", MSIX_PBA_OFFSET | BAR_MSIX),
    CAP_ROWS(ROW_CAP_COMMON, ROW_CAP_ISR, CAP_SIZE, CAP_COMMON_CFG, "COMMON_CFG capability",
	VIRTIO_BAR_COMMON, COMMON_SIZE),
    CAP_ROWS(ROW_CAP_ISR, ROW_CAP_DEVICE, CAP_SIZE, CAP_ISR_CFG, "ISR_CFG capability",
	VIRTIO_BAR_ISR, 1),
    CAP_ROWS(ROW_CAP_DEVICE, ROW_CAP_NOTIFY, CAP_SIZE, CAP_DEVICE_CFG, "DEVICE_CFG capability",
	VIRTIO_BAR_DEVICE, ROW_CONFIG_LEN),
    CAP_ROWS(ROW_CAP_NOTIFY, ROW_CAP_PCI_CFG, CAP_SIZE_LONG, CAP_NOTIFY_CFG,
	"NOTIFY_CFG capability", VIRTIO_BAR_NOTIFY, ROW_QUEUES *VIRTIO_NOTIFY_STEP),
    CAP_FIXED(
	ROW_CAP_NOTIFY + CAP_NOTIFY_MULTIPLIER, 4, "notify_off_multiplier", VIRTIO_NOTIFY_STEP),
    CAP_HEAD(ROW_CAP_PCI_CFG, 0, CAP_SIZE_LONG, CAP_PCI_CFG, "PCI_CFG capability"),
    {CAP_REG(ROW_CAP_PCI_CFG + CAP_BAR, 1, "bar"), .writable = 0xff,
	.test = "window_in_configuration_space"},
    {CAP_REG(ROW_CAP_PCI_CFG + CAP_OFFSET, 4, "offset"), .writable = ~0U},
    {CAP_REG(ROW_CAP_PCI_CFG + CAP_LENGTH, 4, "length"), .writable = ~0U},
    {CAP_REG(ROW_CAP_PCI_CFG + CAP_PCI_CFG_DATA, 4, "pci_cfg_data"), .flags = REG_SPECIAL,
	.doc = "an access to what bar, offset and length say",
	.test = "window_in_configuration_space"},
    {COMMON(COMMON_DEVICE_FEATURE_SELECT, 4, "device_feature_select"), .writable = ~0U},
    {COMMON(COMMON_DEVICE_FEATURE, 4, "device_feature"), .flags = REG_READ_ONLY,
	.reset = (uint32_t)RING_FEATURES,
	.doc =
	    "and the device's own; second word: VERSION_1. No other feature of ring or transport",
	.bits = REG_BITS({VIRTIO_F_RING_INDIRECT_DESC, "INDIRECT_DESC", NULL},
	    {VIRTIO_F_RING_EVENT_IDX, "EVENT_IDX", NULL})},
    {COMMON(COMMON_DRIVER_FEATURE_SELECT, 4, "driver_feature_select"), .writable = ~0U},
    {COMMON(COMMON_DRIVER_FEATURE, 4, "driver_feature"), .writable = ~0U,
	.doc = "read-only once FEATURES_OK is set", .test = "status_machine"},
    {COMMON(COMMON_CONFIG_MSIX_VECTOR, 2, "config_msix_vector"), .flags = REG_SPECIAL,
	.reset = VRING_NO_VECTOR, .doc = "a vector that is not there becomes FFFFh",
	.test = "queue_registers"},
    {COMMON(COMMON_NUM_QUEUES, 2, "num_queues"), .flags = REG_READ_ONLY, .reset = ROW_QUEUES},
    {COMMON(COMMON_DEVICE_STATUS, 1, "device_status"), .flags = REG_SPECIAL,
	.doc = "bits are only added; 0 resets the device", .test = "status_machine",
	.bits = REG_BITS({VIRTIO_STATUS_ACKNOWLEDGE, "ACKNOWLEDGE", NULL},
	    {VIRTIO_STATUS_DRIVER, "DRIVER", NULL}, {VIRTIO_STATUS_DRIVER_OK, "DRIVER_OK", NULL},
	    {VIRTIO_STATUS_FEATURES_OK, "FEATURES_OK", NULL},
	    {VIRTIO_STATUS_NEEDS_RESET, "DEVICE_NEEDS_RESET", "the device's: a ring is damaged"},
	    {VIRTIO_STATUS_FAILED, "FAILED", NULL})},
    {COMMON(COMMON_CONFIG_GENERATION, 1, "config_generation"), .flags = REG_READ_ONLY},
    {COMMON(COMMON_QUEUE_SELECT, 2, "queue_select"), .writable = 0xffff},
    {COMMON(COMMON_QUEUE_SIZE, 2, "queue_size"), .flags = REG_SPECIAL, .reset = ROW_QUEUE_SIZE,
	.doc = "a power of two up to the value after a reset", .test = "queue_registers"},
    {COMMON(COMMON_QUEUE_MSIX_VECTOR, 2, "queue_msix_vector"), .flags = REG_SPECIAL,
	.reset = VRING_NO_VECTOR, .test = "queue_registers"},
    {COMMON(COMMON_QUEUE_ENABLE, 2, "queue_enable"), .flags = REG_SPECIAL,
	.doc = "1 enables the queue; only a reset disables it", .test = "queue_registers"},
    {COMMON(COMMON_QUEUE_NOTIFY_OFF, 2, "queue_notify_off"), .flags = REG_READ_ONLY,
	.doc = "the queue's number"},
    QUEUE_ADDR(COMMON_QUEUE_DESC, "queue_desc"),
    QUEUE_ADDR(COMMON_QUEUE_DRIVER, "queue_driver"),
    QUEUE_ADDR(COMMON_QUEUE_DEVICE, "queue_device"),
    {REG_AT(REG_BAR0, VIRTIO_BAR_ISR, 1), .name = "ISR status", .section = "4.1.4.5",
	.flags = REG_READ_ONLY, .rc = ISR_QUEUE | ISR_CONFIG, .field = "isr",
	.test = "echoes_with_intx",
	.bits = REG_BITS(
	    {ISR_QUEUE, "queue interrupt", NULL}, {ISR_CONFIG, "configuration interrupt", NULL})},
    {REG_AT(REG_BAR0, VIRTIO_BAR_NOTIFY, 2), .count = ROW_QUEUES, .stride = VIRTIO_NOTIFY_STEP,
	.name = "notify", .section = "4.1.4.4", .flags = REG_WRITE_ONLY,
	.doc = "queue n has new buffers, whatever the value", .test = "echoes_with_intx"},
    {0},
};

DEVICE_REGISTERS(virtio_pci_registers) = {
    .model = "virtio over PCI",
    .host = "amber,virtio-console",
    .title = "what all virtio devices have",
    .sheet = "Virtual I/O Device (VIRTIO) Version 1.2; PCI Local Bus Specification 3.0",
    .doc = "Shown for a console without a port name: two queues, three vectors. queue_notify_data "
	   "and queue_reset are not implemented,\nfor their features are not offered; neither are "
	   "legacy and transitional registers, and the shared memory capability.",
    .tests = "test_virtio_pci.c",
    .ranges = REG_RANGES({REG_CONFIG, 0, PCI_CONFIG_SIZE, 1},
	{REG_BAR0, VIRTIO_BAR_COMMON, VIRTIO_BAR_DEVICE - VIRTIO_BAR_COMMON, 4},
	{REG_BAR0, VIRTIO_BAR_NOTIFY, VIRTIO_BAR_SIZE - VIRTIO_BAR_NOTIFY, 4}),
    .rows = virtio_pci_rows,
};
#undef BAR_ROW
#undef CAP_REG
#undef CAP_FIXED
#undef CAP_HEAD
#undef CAP_ROWS
#undef COMMON
#undef QUEUE_ADDR
