/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio over PCI: registers, status, features, interrupts, the worker. */
#include "hv/dev/virtio_pci.h"

#include <string.h>
#include "hv/core/vm.h"
#include "hv/lib/cursor.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"

/* ISR status, 4.1.4.5 */
enum virtio_isr { ISR_QUEUE = 1, ISR_CONFIG = 2 };
/* cfg_type, 4.1.4 */
enum virtio_cap_type {
	CAP_COMMON_CFG = 1,
	CAP_NOTIFY_CFG = 2,
	CAP_ISR_CFG = 3,
	CAP_DEVICE_CFG = 4,
	CAP_PCI_CFG = 5,
};
/* struct virtio_pci_cap, 4.1.4 */
enum virtio_cap_layout {
	CAP_LEN = 2,
	CAP_TYPE = 3,
	CAP_BAR = 4,
	CAP_OFFSET = 8,
	CAP_LENGTH = 12,
	CAP_SIZE = 16,
	CAP_NOTIFY_MULTIPLIER = 16,
	CAP_PCI_CFG_DATA = 16,
	CAP_SIZE_LONG = 20,
};
enum { BAR_VIRTIO = 0, BAR_MSIX = 1 };

#define RING_FEATURES (VIRTIO_F_RING_INDIRECT_DESC | VIRTIO_F_RING_EVENT_IDX | VIRTIO_F_VERSION_1)
#define STATUS_DRIVER_BITS                                                                         \
	(VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_DRIVER_OK |              \
	    VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_FAILED)

static uint64_t offered(const struct virtio_dev *v)
{
	return v->desc.features | RING_FEATURES;
}

/* --- interrupts ----------------------------------------------------------------- */

static void interrupt(struct virtio_dev *v, enum virtio_isr bit, uint16_t vector)
{
	if (msix_enabled(&v->msix)) {
		if (vector != VRING_NO_VECTOR)
			msix_raise(&v->msix, vector);
		return;
	}
	v->st->isr |= bit;
	pci_intx_set(&v->pci, true);
}

void virtio_signal(struct virtio_dev *v, unsigned q, uint16_t old_used)
{
	bool wanted;
	int err;

	if (!virtio_alive(v))
		return;
	err = vring_wants_interrupt(&v->vq[q], old_used, &wanted);
	if (err && err != ERR_RETRY)
		virtio_broken(v, q);
	else if (err || wanted) /* one too many is legal, one too few is not */
		interrupt(v, ISR_QUEUE, v->vq[q].st->vector);
}

/* --- status and features -------------------------------------------------------- */

bool virtio_alive(const struct virtio_dev *v)
{
	return (v->st->status & (VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_NEEDS_RESET)) ==
	       VIRTIO_STATUS_DRIVER_OK;
}

bool virtio_running(const struct virtio_dev *v, unsigned q)
{
	return virtio_alive(v) && v->vq[q].st->enabled && !v->paused && !v->resetting;
}

void virtio_broken(struct virtio_dev *v, unsigned q)
{
	if (v->st->status & VIRTIO_STATUS_NEEDS_RESET)
		return;
	/* Not a warning: a guest could fill the management console with them. */
	log_info("vm %s: %s: queue %u: %s; the device needs a reset", v->vm->config.name,
	    v->dev->name, q, v->vq[q].error ? v->vq[q].error : "a senseless request");
	v->st->status |= VIRTIO_STATUS_NEEDS_RESET;
	if (v->st->status & VIRTIO_STATUS_DRIVER_OK)
		interrupt(v, ISR_CONFIG, v->st->config_vector);
}

static void apply_features(struct virtio_dev *v)
{
	for (unsigned q = 0; q < v->desc.nqueues; q++) {
		v->vq[q].event_idx = v->st->driver_features & VIRTIO_F_RING_EVENT_IDX;
		v->vq[q].indirect = v->st->driver_features & VIRTIO_F_RING_INDIRECT_DESC;
	}
}

/* Registers and rings to their state after power-on. Lock held. */
static void reset_locked(struct virtio_dev *v)
{
	struct virtio_state *st = v->st;

	st->driver_features = 0;
	st->device_feature_select = st->driver_feature_select = 0;
	st->config_vector = VRING_NO_VECTOR;
	st->queue_select = 0;
	st->status = st->isr = 0;
	for (unsigned q = 0; q < v->desc.nqueues; q++)
		vring_reset(&v->vq[q]);
	apply_features(v);
	pci_intx_set(&v->pci, false);
	if (v->ops->reset)
		v->ops->reset(v);
}

/*
 * The driver's reset. It reads 0 back when the write has returned, and from
 * then on may use the buffers for something else: so it waits for the requests
 * that still use guest memory.
 */
static void driver_reset(struct virtio_dev *v)
{
	mutex_lock(&v->lock);
	v->resetting++;
	mutex_unlock(&v->lock);
	if (v->ops->drain)
		v->ops->drain(v);
	mutex_lock(&v->lock);
	reset_locked(v);
	v->resetting--;
	mutex_unlock(&v->lock);
}

static void notify_all(struct virtio_dev *v)
{
	for (unsigned q = 0; q < v->desc.nqueues; q++)
		v->ops->notify(v, q);
}

/* 3.1.1: bits are only added, and only in an order that makes sense. */
static void write_status(struct virtio_dev *v, uint64_t value)
{
	uint8_t add = (uint8_t)value & STATUS_DRIVER_BITS;
	struct virtio_state *st = v->st;
	bool start;

	if ((uint8_t)value == 0) {
		driver_reset(v);
		return;
	}
	mutex_lock(&v->lock);
	add &= (uint8_t)~st->status;
	if (add & VIRTIO_STATUS_FEATURES_OK &&
	    (st->driver_features & ~offered(v) || !(st->driver_features & VIRTIO_F_VERSION_1)))
		add &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
	if (!((st->status | add) & VIRTIO_STATUS_FEATURES_OK))
		add &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK;
	st->status |= add;
	if (add & VIRTIO_STATUS_FEATURES_OK)
		apply_features(v);
	start = add & VIRTIO_STATUS_DRIVER_OK;
	mutex_unlock(&v->lock);
	/* Buffers made available before count from now on. */
	if (start)
		notify_all(v);
}

/* --- common configuration ------------------------------------------------------- */

static struct vring *selected(struct virtio_dev *v)
{
	return v->st->queue_select < v->desc.nqueues ? &v->vq[v->st->queue_select] : NULL;
}

/* A queue whose set-up the driver may still change. */
static struct vring *selected_idle(struct virtio_dev *v)
{
	struct vring *vr = selected(v);

	return vr && !vr->st->enabled ? vr : NULL;
}

static uint16_t valid_vector(const struct virtio_dev *v, uint64_t vector)
{
	return vector < v->msix.nvec ? (uint16_t)vector : VRING_NO_VECTOR;
}

static void set_device_feature_select(struct virtio_dev *v, uint64_t value)
{
	v->st->device_feature_select = (uint32_t)value;
}

static void set_driver_feature_select(struct virtio_dev *v, uint64_t value)
{
	v->st->driver_feature_select = (uint32_t)value;
}

static void set_driver_feature(struct virtio_dev *v, uint64_t value)
{
	unsigned shift = 32 * v->st->driver_feature_select;

	if (v->st->driver_feature_select > 1 || v->st->status & VIRTIO_STATUS_FEATURES_OK)
		return;
	v->st->driver_features &= ~((uint64_t)UINT32_MAX << shift);
	v->st->driver_features |= (value & UINT32_MAX) << shift;
}

static void set_config_vector(struct virtio_dev *v, uint64_t value)
{
	v->st->config_vector = valid_vector(v, value);
}

static void set_queue_select(struct virtio_dev *v, uint64_t value)
{
	v->st->queue_select = (uint16_t)value;
}

static void set_queue_size(struct virtio_dev *v, uint64_t value)
{
	struct vring *vr = selected_idle(v);

	if (vr && value && value <= vr->max_size && (value & (value - 1)) == 0)
		vr->st->size = (uint16_t)value;
}

static void set_queue_vector(struct virtio_dev *v, uint64_t value)
{
	struct vring *vr = selected(v);

	if (vr)
		vr->st->vector = valid_vector(v, value);
}

static void set_queue_enable(struct virtio_dev *v, uint64_t value)
{
	struct vring *vr = selected_idle(v);

	if (vr && value == 1 && vring_enable(vr))
		log_debug("vm %s: %s: queue %u misplaced, not enabled", v->vm->config.name,
		    v->dev->name, v->st->queue_select);
}

static void set_half(uint64_t *reg, bool high, uint64_t value)
{
	unsigned shift = high ? 32 : 0;

	*reg = (*reg & ~((uint64_t)UINT32_MAX << shift)) | (value & UINT32_MAX) << shift;
}

#define QUEUE_ADDRESS(name, member, high)                                                          \
	static void name(struct virtio_dev *v, uint64_t value)                                     \
	{                                                                                          \
		struct vring *vr = selected_idle(v);                                               \
                                                                                                   \
		if (vr)                                                                            \
			set_half(&vr->st->member, high, value);                                    \
	}
QUEUE_ADDRESS(set_desc_low, desc, false)
QUEUE_ADDRESS(set_desc_high, desc, true)
QUEUE_ADDRESS(set_driver_low, avail, false)
QUEUE_ADDRESS(set_driver_high, avail, true)
QUEUE_ADDRESS(set_device_low, used, false)
QUEUE_ADDRESS(set_device_high, used, true)

/* 4.1.3.1: each field is written with its own width. device_status has its own lock order, see
 * common_write(). */
static const struct common_field {
	uint8_t offset, width;
	void (*set)(struct virtio_dev *v, uint64_t value);
} common_fields[] = {
    {COMMON_DEVICE_FEATURE_SELECT, 4, set_device_feature_select},
    {COMMON_DRIVER_FEATURE_SELECT, 4, set_driver_feature_select},
    {COMMON_DRIVER_FEATURE, 4, set_driver_feature},
    {COMMON_CONFIG_MSIX_VECTOR, 2, set_config_vector},
    {COMMON_QUEUE_SELECT, 2, set_queue_select},
    {COMMON_QUEUE_SIZE, 2, set_queue_size},
    {COMMON_QUEUE_MSIX_VECTOR, 2, set_queue_vector},
    {COMMON_QUEUE_ENABLE, 2, set_queue_enable},
    {COMMON_QUEUE_DESC, 4, set_desc_low},
    {COMMON_QUEUE_DESC + 4, 4, set_desc_high},
    {COMMON_QUEUE_DRIVER, 4, set_driver_low},
    {COMMON_QUEUE_DRIVER + 4, 4, set_driver_high},
    {COMMON_QUEUE_DEVICE, 4, set_device_low},
    {COMMON_QUEUE_DEVICE + 4, 4, set_device_high},
};

static void common_write(struct virtio_dev *v, unsigned offset, unsigned len, uint64_t value)
{
	if (offset == COMMON_DEVICE_STATUS && len == 1) {
		write_status(v, value);
		return;
	}
	if (len == 8) { /* a queue address in one go */
		common_write(v, offset, 4, value & UINT32_MAX);
		common_write(v, offset + 4, 4, value >> 32);
		return;
	}
	for (unsigned i = 0; i < ARRAY_LEN(common_fields); i++) {
		if (common_fields[i].offset != offset || common_fields[i].width != len)
			continue;
		mutex_lock(&v->lock);
		common_fields[i].set(v, value);
		mutex_unlock(&v->lock);
		return;
	}
	device_unhandled(v->dev);
}

static uint32_t feature_word(uint64_t features, uint32_t select)
{
	return select > 1 ? 0 : (uint32_t)(features >> (32 * select));
}

/* The registers as they read now. Lock held. */
static void common_image(struct virtio_dev *v, uint8_t image[COMMON_SIZE])
{
	const struct virtio_state *st = v->st;
	const struct vring *vr = selected(v);

	memset(image, 0, COMMON_SIZE);
	put_le32(image + COMMON_DEVICE_FEATURE_SELECT, st->device_feature_select);
	put_le32(
	    image + COMMON_DEVICE_FEATURE, feature_word(offered(v), st->device_feature_select));
	put_le32(image + COMMON_DRIVER_FEATURE_SELECT, st->driver_feature_select);
	put_le32(image + COMMON_DRIVER_FEATURE,
	    feature_word(st->driver_features, st->driver_feature_select));
	put_le16(image + COMMON_CONFIG_MSIX_VECTOR, st->config_vector);
	put_le16(image + COMMON_NUM_QUEUES, (uint16_t)v->desc.nqueues);
	image[COMMON_DEVICE_STATUS] = st->status;
	image[COMMON_CONFIG_GENERATION] = st->generation;
	put_le16(image + COMMON_QUEUE_SELECT, st->queue_select);
	if (!vr)
		return; /* queue_size 0: there is no such queue */
	put_le16(image + COMMON_QUEUE_SIZE, vr->st->size);
	put_le16(image + COMMON_QUEUE_MSIX_VECTOR, vr->st->vector);
	put_le16(image + COMMON_QUEUE_ENABLE, vr->st->enabled);
	put_le16(image + COMMON_QUEUE_NOTIFY_OFF, st->queue_select);
	put_le64(image + COMMON_QUEUE_DESC, vr->st->desc);
	put_le64(image + COMMON_QUEUE_DRIVER, vr->st->avail);
	put_le64(image + COMMON_QUEUE_DEVICE, vr->st->used);
}

/* --- the base address register -------------------------------------------------- */

/* len bytes of a structure; zeros beyond its end. */
static uint64_t bytes_at(
    struct virtio_dev *v, const void *p, unsigned size, unsigned offset, unsigned len)
{
	uint64_t value = 0;

	if (offset < size)
		memcpy(&value, (const uint8_t *)p + offset, MIN(len, size - offset));
	if (offset + len > size)
		device_unhandled(v->dev);
	return value;
}

/* Reading acknowledges (4.1.4.5). */
static uint8_t isr_read(struct virtio_dev *v)
{
	uint8_t isr;

	mutex_lock(&v->lock);
	isr = v->st->isr;
	v->st->isr = 0;
	pci_intx_set(&v->pci, false);
	mutex_unlock(&v->lock);
	return isr;
}

static void virtio_bar_read(void *ctx, uint64_t offset, unsigned len, uint64_t *value)
{
	struct virtio_dev *v = ctx;
	unsigned reg = offset & 0xfff;
	uint8_t image[COMMON_SIZE];

	*value = 0;
	switch (offset & ~0xfffULL) {
	case VIRTIO_BAR_COMMON:
		mutex_lock(&v->lock);
		common_image(v, image);
		mutex_unlock(&v->lock);
		*value = bytes_at(v, image, sizeof(image), reg, len);
		break;
	case VIRTIO_BAR_ISR:
		if (reg == 0)
			*value = isr_read(v);
		else
			device_unhandled(v->dev);
		break;
	case VIRTIO_BAR_DEVICE:
		*value = bytes_at(v, v->desc.config, v->desc.config_len, reg, len);
		break;
	default: /* notifying is writing */
		device_unhandled(v->dev);
	}
}

static void virtio_bar_write(void *ctx, uint64_t offset, unsigned len, uint64_t value)
{
	struct virtio_dev *v = ctx;
	unsigned reg = offset & 0xfff, q = reg / VIRTIO_NOTIFY_STEP;

	/* The place says which queue; the value says it again (4.1.5.2). */
	if (LIKELY(offset >= VIRTIO_BAR_NOTIFY && q < v->desc.nqueues))
		v->ops->notify(v, q);
	else if (offset < COMMON_SIZE)
		common_write(v, reg, len, value);
	else
		device_unhandled(v->dev);
}

static const struct io_handler virtio_bar_ops = {
    .read = virtio_bar_read, .write = virtio_bar_write};

/* --- the window in configuration space: VIRTIO_PCI_CAP_PCI_CFG, 4.1.4.9 --------- */

/* Where the capability points to, or NULL if that is nowhere or not a legal access. */
static struct io_region *window_target(struct virtio_dev *v, unsigned *offset, unsigned *len)
{
	unsigned cap = v->pci.window - CAP_PCI_CFG_DATA;
	uint64_t bar = pci_config_read(&v->pci, cap + CAP_BAR, 1);

	*offset = (unsigned)pci_config_read(&v->pci, cap + CAP_OFFSET, 4);
	*len = (unsigned)pci_config_read(&v->pci, cap + CAP_LENGTH, 4);
	if (bar >= PCI_BARS || (*len != 1 && *len != 2 && *len != 4) || *offset % *len ||
	    !range_in(*offset, *len, v->pci.bar[bar].size))
		return NULL;
	return &v->pci.bar[bar].region;
}

static void window_read(void *ctx, uint32_t *value)
{
	struct virtio_dev *v = ctx;
	unsigned offset, len;
	struct io_region *r = window_target(v, &offset, &len);
	uint64_t wide = 0;

	if (r)
		r->ops->read(r->ctx, offset, len, &wide);
	*value = (uint32_t)wide;
}

static void window_write(void *ctx, unsigned len, uint32_t value)
{
	struct virtio_dev *v = ctx;
	unsigned offset, target_len;
	struct io_region *r = window_target(v, &offset, &target_len);

	if (r && target_len <= len)
		r->ops->write(
		    r->ctx, offset, target_len, value & (uint32_t)(BIT(8 * target_len) - 1));
}

static void config_written(void *ctx, unsigned off, unsigned len)
{
	struct virtio_dev *v = ctx;

	msix_config_written(&v->msix, off, len);
}

static const struct pci_function_ops virtio_pci_ops = {
    .config_written = config_written, .window_read = window_read, .window_write = window_write};

/* --- queues --------------------------------------------------------------------- */

/* The chain at hand; put back if it cannot be handled now. */
static int handle_one(struct virtio_dev *v, unsigned q,
    int64_t (*handle)(struct virtio_dev *v, unsigned q, struct vring_chain *c))
{
	struct vring *vr = &v->vq[q];
	int64_t written = handle(v, q, &v->chain);
	int err = OK;

	if (written >= 0)
		err = vring_push(vr, v->chain.head, (uint32_t)written);
	else if (written == VIRTIO_BROKEN)
		err = ERR_CORRUPT;
	else if (written == VIRTIO_RETRY)
		err = ERR_RETRY;
	if (err == ERR_RETRY)
		vring_unpop(vr, v->chain.head);
	return err;
}

void virtio_process(struct virtio_dev *v, unsigned q, bool (*wanted)(struct virtio_dev *v),
    int64_t (*handle)(struct virtio_dev *v, unsigned q, struct vring_chain *c))
{
	struct vring *vr = &v->vq[q];
	uint16_t old_used = vr->st->used_idx;
	unsigned budget = 2 * vr->st->size;
	bool more = true;
	int err = OK;

	while (!err && more && virtio_running(v, q) && (!wanted || wanted(v))) {
		if (!budget--) {
			virtio_work_later(v);
			break;
		}
		err = vring_prepare(vr);
		if (!err)
			err = vring_pop(vr, &v->chain);
		if (err == ERR_NOENT)
			err = vring_arm(vr, &more);
		else if (!err)
			err = handle_one(v, q, handle);
	}
	/* After ERR_RETRY the machine is being stopped; resume has the worker look again. */
	if (err && err != ERR_RETRY)
		virtio_broken(v, q);
	virtio_signal(v, q, old_used);
}

/* --- the worker ----------------------------------------------------------------- */

void virtio_work_later(struct virtio_dev *v)
{
	uint64_t flags = spin_lock(&v->work_lock);

	v->work_pending = true;
	waitq_wake_one(&v->work_wait);
	spin_unlock(&v->work_lock, flags);
}

static void worker(void *arg)
{
	struct virtio_dev *v = arg;
	uint64_t flags;

	for (;;) {
		bool stop;

		flags = spin_lock(&v->work_lock);
		while (!v->work_pending && !v->work_stop)
			flags = waitq_wait(&v->work_wait, &v->work_lock, flags);
		v->work_pending = false;
		stop = v->work_stop;
		spin_unlock(&v->work_lock, flags);
		if (stop)
			return;
		v->ops->work(v);
		thread_yield();
	}
}

static int worker_start(struct virtio_dev *v)
{
	char name[VM_NAME_MAX + 40];

	str_format(name, sizeof(name), "%s/%s", v->vm->config.name, v->dev->name);
	v->worker = thread_create(name, worker, v, 0, 128);
	return v->worker ? OK : ERR_NOMEM;
}

static void worker_stop(struct virtio_dev *v)
{
	uint64_t flags;

	if (!v->worker)
		return;
	flags = spin_lock(&v->work_lock);
	v->work_stop = true;
	waitq_wake_all(&v->work_wait);
	spin_unlock(&v->work_lock, flags);
	thread_join(v->worker);
	v->worker = NULL;
}

/* --- life cycle ----------------------------------------------------------------- */

static unsigned add_cap(struct virtio_dev *v, enum virtio_cap_type type, unsigned size,
    unsigned offset, unsigned length, uint32_t tail)
{
	uint8_t cap[CAP_SIZE_LONG] = {0};
	unsigned at;

	cap[CAP_LEN] = (uint8_t)size;
	cap[CAP_TYPE] = (uint8_t)type;
	cap[CAP_BAR] = BAR_VIRTIO;
	put_le32(cap + CAP_OFFSET, offset);
	put_le32(cap + CAP_LENGTH, length);
	put_le32(cap + CAP_SIZE, tail);
	at = pci_function_add_cap(&v->pci, PCI_CAP_VENDOR, cap + 2, size);
	ASSERT(at);
	return at;
}

static void build_function(struct virtio_dev *v)
{
	const struct pci_identity id = {
	    .vendor = 0x1af4,
	    .device = (uint16_t)(0x1040 + v->desc.id),
	    .subsystem_vendor = 0x1af4,
	    .subsystem = (uint16_t)(0x1040 + v->desc.id),
	    .class_code = v->desc.class_code,
	    .revision = 1,
	    .intx = true,
	};
	unsigned window;

	pci_function_init(&v->pci, v->vm, v->dev->name, &v->st->pci, &id, &virtio_pci_ops, v);
	v->pci.dev = v->dev;
	pci_function_add_bar(&v->pci, BAR_VIRTIO, VIRTIO_BAR_SIZE, &virtio_bar_ops, v);
	/* One vector for each queue and one for configuration changes. */
	msix_init(&v->msix, &v->pci, &v->st->msix, v->desc.nqueues + 1, BAR_MSIX);
	add_cap(v, CAP_COMMON_CFG, CAP_SIZE, VIRTIO_BAR_COMMON, COMMON_SIZE, 0);
	add_cap(v, CAP_ISR_CFG, CAP_SIZE, VIRTIO_BAR_ISR, 1, 0);
	add_cap(v, CAP_DEVICE_CFG, CAP_SIZE, VIRTIO_BAR_DEVICE, v->desc.config_len, 0);
	add_cap(v, CAP_NOTIFY_CFG, CAP_SIZE_LONG, VIRTIO_BAR_NOTIFY,
	    VIRTIO_NOTIFY_STEP * v->desc.nqueues, VIRTIO_NOTIFY_STEP);
	window = add_cap(v, CAP_PCI_CFG, CAP_SIZE_LONG, 0, 0, 0);
	v->pci.window = (uint8_t)(window + CAP_PCI_CFG_DATA);
	v->pci.wmask[window + CAP_BAR] = 0xff;
	memset(v->pci.wmask + window + CAP_OFFSET, 0xff, 8); /* offset and length */
}

int virtio_create(struct virtio_dev *v, struct device *dev, const struct config_dev *cfg,
    const struct virtio_desc *desc, const struct virtio_ops *ops, struct virtio_state *st,
    struct vring_state *queues, struct errmsg *e)
{
	int err;

	ASSERT(desc->nqueues <= VIRTIO_MAX_QUEUES && desc->config_len <= PAGE_SIZE);
	v->dev = dev;
	v->vm = dev->vm;
	v->ops = ops;
	v->desc = *desc;
	v->st = st;
	v->paused = true;
	mutex_init(&v->lock, RANK_DEV);
	spinlock_init(&v->work_lock, RANK_DEV_SPIN);
	waitq_init(&v->work_wait);
	for (unsigned q = 0; q < desc->nqueues; q++)
		vring_init(&v->vq[q], v->vm, &queues[q], desc->queue_size[q]);
	build_function(v);
	err = pci_function_register(&v->pci, cfg->pci_slot, e);
	if (err)
		return err;
	if (worker_start(v))
		return err_set(e, ERR_NOMEM, "no memory for the device's thread");
	return OK;
}

void virtio_destroy(struct virtio_dev *v)
{
	if (!v->dev)
		return;
	virtio_quiesce(v);
	if (v->ops->drain)
		v->ops->drain(v);
	worker_stop(v);
	pci_function_unregister(&v->pci);
}

void virtio_reset(struct virtio_dev *v)
{
	driver_reset(v);
	msix_reset(&v->msix);
	v->st->generation = 0;
	pci_function_reset(&v->pci);
}

void virtio_quiesce(struct virtio_dev *v)
{
	mutex_lock(&v->lock);
	v->paused = true;
	mutex_unlock(&v->lock);
}

void virtio_resume(struct virtio_dev *v)
{
	mutex_lock(&v->lock);
	v->paused = false;
	pci_intx_set(&v->pci, v->st->isr != 0);
	mutex_unlock(&v->lock);
	pci_function_resume(&v->pci);
	msix_resume(&v->msix);
	virtio_work_later(v);
}

static int check_status(const struct virtio_dev *v, const struct virtio_state *st, struct errmsg *e)
{
	uint64_t unknown = st->driver_features & ~(offered(v) | v->desc.accepts);

	if (st->status & ~(STATUS_DRIVER_BITS | VIRTIO_STATUS_NEEDS_RESET))
		return err_set(e, ERR_INVAL, "status: unknown bits in 0x%02x", st->status);
	if (st->status & VIRTIO_STATUS_DRIVER_OK && !(st->status & VIRTIO_STATUS_FEATURES_OK))
		return err_set(e, ERR_INVAL, "status: DRIVER_OK without FEATURES_OK");
	if (st->status & VIRTIO_STATUS_FEATURES_OK && unknown)
		return err_set(e, ERR_UNSUPPORTED,
		    "driver-features: 0x%llx are not offered by this version",
		    (unsigned long long)unknown);
	if (st->status & VIRTIO_STATUS_FEATURES_OK && !(st->driver_features & VIRTIO_F_VERSION_1))
		return err_set(e, ERR_INVAL, "driver-features: without VERSION_1");
	return OK;
}

int virtio_check(const struct virtio_dev *v, const struct virtio_state *st,
    const struct vring_state *queues, struct errmsg *e)
{
	int err = pci_function_check(&v->pci, &st->pci, e);

	if (!err)
		err = msix_check(&v->msix, &st->msix, e);
	if (!err)
		err = check_status(v, st, e);
	if (!err && valid_vector(v, st->config_vector) != st->config_vector)
		err = err_set(e, ERR_RANGE, "config-vector: %u", st->config_vector);
	for (unsigned q = 0; q < v->desc.nqueues && !err; q++) {
		char name[16];

		str_format(name, sizeof(name), "queue%u", q);
		if (valid_vector(v, queues[q].vector) != queues[q].vector)
			err = err_set(e, ERR_RANGE, "%s-vector: %u", name, queues[q].vector);
		else
			err = vring_check(&v->vq[q], &queues[q], name, e);
	}
	return err;
}

void virtio_loaded(struct virtio_dev *v)
{
	mutex_lock(&v->lock);
	for (unsigned q = 0; q < v->desc.nqueues; q++)
		vring_loaded(&v->vq[q]);
	apply_features(v);
	mutex_unlock(&v->lock);
	pci_function_loaded(&v->pci);
}

#include "hv/dev/regs/virtio_pci.h"
