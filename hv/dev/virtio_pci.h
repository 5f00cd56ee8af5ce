/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The transport of every virtio device here: PCI, non-transitional (virtio 1.2,
 * section 4.1), with MSI-X and INTx. It owns the status state machine, feature
 * negotiation, the queues' set-up and the interrupts; a device gives it what is
 * its own in struct virtio_ops.
 *
 * Locks: v->lock (a mutex, rank RANK_DEV) protects the whole device. Notifies
 * come in the writing vCPU's thread without it. A device's worker thread does
 * what cannot be done in the context where the need arises.
 */
#ifndef AMBER_DEV_VIRTIO_PCI_H
#define AMBER_DEV_VIRTIO_PCI_H

#include "hv/core/thread.h"
#include "hv/dev/msix.h"
#include "hv/dev/pci_bus.h"
#include "hv/dev/virtio_ring.h"

enum { VIRTIO_MAX_QUEUES = 4 };

enum virtio_device_id { VIRTIO_ID_BLOCK = 2, VIRTIO_ID_CONSOLE = 3 };

/* Device status, 2.1 */
enum virtio_status {
	VIRTIO_STATUS_ACKNOWLEDGE = 1,
	VIRTIO_STATUS_DRIVER = 2,
	VIRTIO_STATUS_DRIVER_OK = 4,
	VIRTIO_STATUS_FEATURES_OK = 8,
	VIRTIO_STATUS_NEEDS_RESET = 64,
	VIRTIO_STATUS_FAILED = 128,
};

/* Reserved feature bits, 6 */
#define VIRTIO_F_RING_INDIRECT_DESC BIT(28)
#define VIRTIO_F_RING_EVENT_IDX	    BIT(29)
#define VIRTIO_F_VERSION_1	    BIT(32)

/* Base address register 0, one page for each structure. */
enum virtio_bar {
	VIRTIO_BAR_COMMON = 0x0000,
	VIRTIO_BAR_ISR = 0x1000,
	VIRTIO_BAR_DEVICE = 0x2000,
	VIRTIO_BAR_NOTIFY = 0x3000,
	VIRTIO_BAR_SIZE = 0x4000,
	VIRTIO_NOTIFY_STEP = 4, /* notify_off_multiplier */
};

/* struct virtio_pci_common_cfg, 4.1.4.3 */
enum virtio_common {
	COMMON_DEVICE_FEATURE_SELECT = 0,
	COMMON_DEVICE_FEATURE = 4,
	COMMON_DRIVER_FEATURE_SELECT = 8,
	COMMON_DRIVER_FEATURE = 12,
	COMMON_CONFIG_MSIX_VECTOR = 16,
	COMMON_NUM_QUEUES = 18,
	COMMON_DEVICE_STATUS = 20,
	COMMON_CONFIG_GENERATION = 21,
	COMMON_QUEUE_SELECT = 22,
	COMMON_QUEUE_SIZE = 24,
	COMMON_QUEUE_MSIX_VECTOR = 26,
	COMMON_QUEUE_ENABLE = 28,
	COMMON_QUEUE_NOTIFY_OFF = 30,
	COMMON_QUEUE_DESC = 32,
	COMMON_QUEUE_DRIVER = 40,
	COMMON_QUEUE_DEVICE = 48,
	COMMON_SIZE = 56,
};

struct virtio_state {
	struct pci_state pci;
	struct msix_state msix;
	uint64_t driver_features;
	uint32_t device_feature_select, driver_feature_select;
	uint16_t config_vector, queue_select;
	uint8_t status, isr, generation;
};
#define VIRTIO_STATE_FIELDS(T, m)                                                                  \
	PCI_STATE_FIELDS(T, m.pci), MSIX_STATE_FIELDS(T, m.msix),                                  \
	    STATE_INT(T, m.driver_features, "driver-features", STATE_ANY,                          \
		"feature bits that the driver accepted"),                                          \
	    STATE_INT(T, m.device_feature_select, "device-feature-select", UINT32_MAX,             \
		"device_feature_select register"),                                                 \
	    STATE_INT(T, m.driver_feature_select, "driver-feature-select", UINT32_MAX,             \
		"driver_feature_select register"),                                                 \
	    STATE_INT(T, m.config_vector, "config-vector", 0xffff,                                 \
		"MSI-X vector of configuration changes, 0xffff for none"),                         \
	    STATE_INT(T, m.queue_select, "queue-select", 0xffff, "queue_select register"),         \
	    STATE_INT(T, m.status, "status", 0xff, "device_status"),                               \
	    STATE_INT(T, m.isr, "isr", 3, "ISR status: bit 0 queue, bit 1 configuration"),         \
	    STATE_INT(T, m.generation, "config-generation", 0xff, "config_generation")

struct virtio_dev;
struct virtio_ops {
	/* Queue q, which is running, may have new buffers. No lock held. */
	void (*notify)(struct virtio_dev *v, unsigned q);
	/* Waits until no request uses guest memory; new ones are not taken meanwhile. No lock held.
	 * Optional. */
	void (*drain)(struct virtio_dev *v);
	/* The device was reset, by the driver or the machine. Lock held. Optional. */
	void (*reset)(struct virtio_dev *v);
	/* In the worker thread, after virtio_work_later(), and when the machine goes on: every
	 * running queue may have new buffers. No lock held. */
	void (*work)(struct virtio_dev *v);
};

/* What a device is. */
struct virtio_desc {
	enum virtio_device_id id;
	uint32_t class_code;
	uint64_t features;  /* its own bits; those of ring and transport are added */
	uint64_t accepts;   /* bits that a restored driver may have negotiated elsewhere */
	const void *config; /* device-specific configuration, config_len bytes */
	unsigned config_len;
	unsigned nqueues;
	const uint16_t *queue_size; /* each a power of two */
};

struct virtio_dev {
	struct device *dev;
	struct vm *vm;
	const struct virtio_ops *ops;
	struct virtio_desc desc;
	struct virtio_state *st;
	struct pci_function pci;
	struct msix msix;
	struct vring vq[VIRTIO_MAX_QUEUES];
	struct mutex lock;
	/* protected by lock: */
	bool paused;		  /* between quiesce and resume */
	unsigned resetting;	  /* resets by the driver under way */
	struct vring_chain chain; /* the one at hand; large, hence not on a stack */
	/* the worker */
	struct thread *worker;
	struct spinlock work_lock; /* rank RANK_DEV_SPIN: protects the next two */
	bool work_pending, work_stop;
	struct waitq work_wait;
};

/* For the model's create and destroy; destroy is harmless after a create that failed half-way. */
int virtio_create(struct virtio_dev *v, struct device *dev, const struct config_dev *cfg,
    const struct virtio_desc *desc, const struct virtio_ops *ops, struct virtio_state *st,
    struct vring_state *queues, struct errmsg *e) MUST_CHECK;
void virtio_destroy(struct virtio_dev *v);
/* For reset, quiesce, resume, check, loaded. */
void virtio_reset(struct virtio_dev *v);
/* From then on the device takes no requests; what it does about those under way is its own affair.
 */
void virtio_quiesce(struct virtio_dev *v);
/*
 * Evaluates interrupts again, and has the worker look after every running queue. It touches no
 * guest memory itself: whoever lets the machine go on may be the one that an access waits for.
 */
void virtio_resume(struct virtio_dev *v);
int virtio_check(const struct virtio_dev *v, const struct virtio_state *st,
    const struct vring_state *queues, struct errmsg *e) MUST_CHECK;
void virtio_loaded(struct virtio_dev *v);

/* May queue q be processed now? Lock held. */
bool virtio_running(const struct virtio_dev *v, unsigned q);
/* The driver is up and the rings are sound: used entries may be written. Lock held. */
bool virtio_alive(const struct virtio_dev *v);
/* Ring q is damaged: DEVICE_NEEDS_RESET until the driver resets (2.1.2). Lock held. */
void virtio_broken(struct virtio_dev *v, unsigned q);
/* Interrupts the driver if it wants to know of the used entries since old_used. Lock held. */
void virtio_signal(struct virtio_dev *v, unsigned q, uint16_t old_used);

/*
 * Takes chains from queue q, as long as there are any and wanted() (NULL: always)
 * says so, then interrupts. handle() returns the number of bytes that it wrote,
 * for a chain that is done; or one of these. After too many chains in a row the
 * rest is left to the worker, so that a vCPU's thread comes back. Lock held.
 */
enum virtio_verdict {
	VIRTIO_PENDING = -1, /* vring_push() follows later */
	VIRTIO_BROKEN = -2,  /* the chain is senseless; vq[q].error says why */
	VIRTIO_RETRY = -3,   /* ERR_RETRY: nothing of it was done, the chain is taken again later */
};
/* What an error of an access to the guest's buffers means. */
static inline int64_t virtio_failed(int err)
{
	return err == ERR_RETRY ? VIRTIO_RETRY : VIRTIO_BROKEN;
}

void virtio_process(struct virtio_dev *v, unsigned q, bool (*wanted)(struct virtio_dev *v),
    int64_t (*handle)(struct virtio_dev *v, unsigned q, struct vring_chain *c));

/* Has the worker call ops->work soon. Any context. */
void virtio_work_later(struct virtio_dev *v);

#endif
