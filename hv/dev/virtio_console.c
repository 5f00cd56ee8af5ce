/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtio console device (virtio 1.2, section 5.3) on a chardev that has the
 * device's name. It comes in two shapes: without a port name in the
 * configuration it is one console (hvc0 in Linux), with one it is a
 * multiport device with that single, named, generic port
 * (/dev/virtio-ports/NAME), which talks only while the guest holds it open.
 *
 * What the guest sends is read in its own thread, when it notifies. What it is
 * sent comes from elsewhere, so the device's worker puts it into the queue.
 */
#include <string.h>
#include "hv/core/chardev.h"
#include "hv/core/vm.h"
#include "hv/dev/virtio_pci.h"
#include "hv/lib/cursor.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

/* Feature bits, 5.3.3 */
#define VIRTIO_CONSOLE_F_MULTIPORT BIT(1)

/* 5.3.2: queues of port 0, then those for control messages */
enum vcon_queue { RECEIVEQ, TRANSMITQ, CONTROL_RECEIVEQ, CONTROL_TRANSMITQ, VCON_QUEUES };
/* struct virtio_console_config, 5.3.4 */
enum vcon_config {
	VCON_CONFIG_COLS = 0,
	VCON_CONFIG_ROWS = 2,
	VCON_CONFIG_MAX_NR_PORTS = 4,
	VCON_CONFIG_SIZE = 12
};
/* struct virtio_console_control, 5.3.6.2 */
enum vcon_control { CONTROL_ID = 0, CONTROL_EVENT = 4, CONTROL_VALUE = 6, CONTROL_SIZE = 8 };
enum vcon_event {
	EVENT_DEVICE_READY = 0,
	EVENT_DEVICE_ADD = 1,
	EVENT_PORT_READY = 3,
	EVENT_PORT_OPEN = 6,
	EVENT_PORT_NAME = 7,
};

enum {
	VCON_DATA_SIZE = 64,
	VCON_CONTROL_SIZE = 32,
	VCON_COPY = 1024,
	/* More than this in one buffer chain is dropped: it bounds the time for a notify. */
	VCON_MAX_OUTPUT = 256 * 1024,
};

struct vcon_state {
	struct virtio_state virtio;
	struct vring_state queue[VCON_QUEUES];
	uint8_t guest_open;
	uint8_t control_due; /* bit n: event n is to be sent to the driver */
};

struct vcon {
	struct vcon_state st;
	struct virtio_dev v;
	struct chardev chardev;
	bool chardev_made;
	bool multiport;
	char port_name[32];
	uint8_t config[VCON_CONFIG_SIZE];
	uint8_t copy[VCON_COPY]; /* protected by v.lock */
	uint64_t stat_dropped;	 /* bytes; protected by v.lock */
};

static struct vcon *vcon_of(struct virtio_dev *v)
{
	return CONTAINER_OF(v, struct vcon, v);
}

/* --- from the guest ------------------------------------------------------------- */

static int64_t vcon_output(struct virtio_dev *v, unsigned q, struct vring_chain *c)
{
	struct vcon *d = vcon_of(v);
	uint64_t len = MIN(c->read_len, (uint64_t)VCON_MAX_OUTPUT);

	/* what was passed on cannot be taken back */
	if (vring_ready(&v->vq[q], c, VRING_READ, 0, len) == ERR_RETRY)
		return VIRTIO_RETRY;
	d->stat_dropped += c->read_len - len;
	for (uint64_t off = 0, part; off < len; off += part) {
		part = MIN(len - off, (uint64_t)VCON_COPY);
		if (vring_gather(&v->vq[q], c, off, d->copy, part)) {
			v->vq[q].error = "output that is not in RAM";
			return VIRTIO_BROKEN;
		}
		chardev_guest_write(&d->chardev, d->copy, (uint32_t)part);
	}
	return 0;
}

/* The driver's side of the handshake (5.3.6.2). What it asks in vain is ignored. */
static void control_event(struct vcon *d, uint32_t id, uint16_t event, uint16_t value)
{
	if (event == EVENT_DEVICE_READY && value == 1)
		d->st.control_due |= BIT(EVENT_DEVICE_ADD);
	if (id != 0)
		return; /* there is no other port */
	if (event == EVENT_PORT_READY && value == 1)
		d->st.control_due |= BIT(EVENT_PORT_NAME) | BIT(EVENT_PORT_OPEN);
	if (event == EVENT_PORT_OPEN)
		d->st.guest_open = value == 1;
}

static int64_t vcon_control(struct virtio_dev *v, unsigned q, struct vring_chain *c)
{
	uint8_t msg[CONTROL_SIZE];
	int err;

	if (c->read_len < CONTROL_SIZE)
		return 0;
	err = vring_gather(&v->vq[q], c, 0, msg, sizeof(msg));
	if (err) {
		v->vq[q].error = "a control message that is not in RAM";
		return virtio_failed(err);
	}
	control_event(vcon_of(v), get_le32(msg + CONTROL_ID), get_le16(msg + CONTROL_EVENT),
	    get_le16(msg + CONTROL_VALUE));
	return 0;
}

/* --- to the guest --------------------------------------------------------------- */

/* A generic port is sent nothing until the guest has opened it: its driver would throw it away. */
static bool input_wanted(struct virtio_dev *v)
{
	struct vcon *d = vcon_of(v);

	return (!d->multiport || d->st.guest_open) && chardev_guest_pending(&d->chardev);
}

static int64_t vcon_input(struct virtio_dev *v, unsigned q, struct vring_chain *c)
{
	struct vcon *d = vcon_of(v);
	uint64_t off = 0;

	while (off < c->write_len) {
		uint32_t room = (uint32_t)MIN(c->write_len - off, (uint64_t)VCON_COPY), n;

		/* what was read cannot be put back */
		if (vring_ready(&v->vq[q], c, VRING_WRITE, off, room) == ERR_RETRY)
			return off ? (int64_t)off : VIRTIO_RETRY;
		n = chardev_guest_read(&d->chardev, d->copy, room);
		if (n == 0)
			break;
		if (vring_scatter(&v->vq[q], c, off, d->copy, n)) {
			v->vq[q].error = "an input buffer that is not in RAM";
			return VIRTIO_BROKEN;
		}
		off += n;
	}
	return (int64_t)off;
}

static bool control_wanted(struct virtio_dev *v)
{
	return vcon_of(v)->st.control_due != 0;
}

/* The lowest event first: a port is added before it is named and opened. */
static int64_t vcon_send_control(struct virtio_dev *v, unsigned q, struct vring_chain *c)
{
	struct vcon *d = vcon_of(v);
	uint8_t msg[CONTROL_SIZE + sizeof(d->port_name)] = {0};
	uint16_t event = (uint16_t)__builtin_ctz(d->st.control_due);
	uint64_t len = CONTROL_SIZE;
	int err;

	put_le16(msg + CONTROL_EVENT, event);
	put_le16(msg + CONTROL_VALUE, 1);
	if (event == EVENT_PORT_NAME) {
		memcpy(msg + CONTROL_SIZE, d->port_name, strlen(d->port_name));
		len += strlen(d->port_name);
	}
	len = MIN(len, c->write_len);
	err = vring_scatter(&v->vq[q], c, 0, msg, len);
	if (err) {
		v->vq[q].error = "a control buffer that is not in RAM";
		return virtio_failed(err);
	}
	d->st.control_due &= (uint8_t)(d->st.control_due - 1);
	return (int64_t)len;
}

/* --- queues --------------------------------------------------------------------- */

/* All of them in an order in which one makes work for the next. Lock held. */
static void process_all(struct vcon *d)
{
	struct virtio_dev *v = &d->v;

	if (d->multiport) {
		virtio_process(v, CONTROL_TRANSMITQ, NULL, vcon_control);
		virtio_process(v, CONTROL_RECEIVEQ, control_wanted, vcon_send_control);
	}
	virtio_process(v, TRANSMITQ, NULL, vcon_output);
	virtio_process(v, RECEIVEQ, input_wanted, vcon_input);
}

static void vcon_work(struct virtio_dev *v)
{
	mutex_lock(&v->lock);
	process_all(vcon_of(v));
	mutex_unlock(&v->lock);
}

static void vcon_notify(struct virtio_dev *v, unsigned q)
{
	mutex_lock(&v->lock);
	if (q == TRANSMITQ) /* the common case */
		virtio_process(v, TRANSMITQ, NULL, vcon_output);
	else
		process_all(vcon_of(v));
	mutex_unlock(&v->lock);
}

/* Any context. */
static void vcon_input_ready(void *ctx)
{
	virtio_work_later(&((struct vcon *)ctx)->v);
}

static void vcon_driver_reset(struct virtio_dev *v)
{
	struct vcon *d = vcon_of(v);

	d->st.guest_open = 0;
	d->st.control_due = 0;
}

static const struct virtio_ops vcon_ops = {
    .notify = vcon_notify,
    .reset = vcon_driver_reset,
    .work = vcon_work,
};

/* --- the model ------------------------------------------------------------------ */

static int make_chardev(struct vcon *d, struct device *dev)
{
	int err = chardev_init(&d->chardev, dev->name);

	if (err)
		return err;
	d->chardev.input_ready = vcon_input_ready;
	d->chardev.input_ctx = d;
	list_push_back(&dev->vm->chardevs, &d->chardev.link);
	d->chardev_made = true;
	return OK;
}

static int vcon_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	static const uint16_t queue_size[VCON_QUEUES] = {
	    VCON_DATA_SIZE, VCON_DATA_SIZE, VCON_CONTROL_SIZE, VCON_CONTROL_SIZE};
	struct vcon *d = heap_zalloc(sizeof(*d));
	struct virtio_desc desc = {
	    .id = VIRTIO_ID_CONSOLE,
	    .class_code = 0x078000, /* simple communication controller, other */
	    .config_len = VCON_CONFIG_SIZE,
	    .queue_size = queue_size,
	};
	int err;

	dev->priv = d;
	if (!d)
		return err_set(e, ERR_NOMEM, "no memory");
	dev->state = &d->st;
	(void)str_copy(d->port_name, sizeof(d->port_name), cfg->port_name);
	d->multiport = d->port_name[0] != 0;
	put_le32(d->config + VCON_CONFIG_MAX_NR_PORTS, 1);
	desc.config = d->config;
	desc.features = d->multiport ? VIRTIO_CONSOLE_F_MULTIPORT : 0;
	desc.nqueues = d->multiport ? VCON_QUEUES : TRANSMITQ + 1;
	err = virtio_create(&d->v, dev, cfg, &desc, &vcon_ops, &d->st.virtio, d->st.queue, e);
	if (err)
		return err;
	return make_chardev(d, dev) ? err_set(e, ERR_NOMEM, "no memory") : OK;
}

static void vcon_destroy(struct device *dev)
{
	struct vcon *d = dev->priv;

	if (!d)
		return;
	virtio_destroy(&d->v);
	if (d->chardev_made) {
		list_remove(&d->chardev.link);
		chardev_destroy(&d->chardev);
	}
	heap_free(d);
	dev->priv = dev->state = NULL;
}

static void vcon_reset(struct device *dev)
{
	virtio_reset(&((struct vcon *)dev->priv)->v);
}

static void vcon_quiesce(struct device *dev)
{
	virtio_quiesce(&((struct vcon *)dev->priv)->v);
}

static void vcon_resume(struct device *dev)
{
	virtio_resume(&((struct vcon *)dev->priv)->v);
}

/* No chain of this device outlives the processing of its queue. */
static int check_none_in_flight(const struct vcon_state *st, struct errmsg *e)
{
	for (unsigned q = 0; q < VCON_QUEUES; q++)
		if (bitmap_count(st->queue[q].inflight, VRING_MAX_SIZE) &&
		    !(st->virtio.status & VIRTIO_STATUS_NEEDS_RESET))
			return err_set(e, ERR_INVAL, "queue%u-in-flight: not empty", q);
	return OK;
}

static int vcon_check(const struct device *dev, const void *state, struct errmsg *e)
{
	const struct vcon *d = dev->priv;
	const struct vcon_state *st = state;
	const uint8_t events = BIT(EVENT_DEVICE_ADD) | BIT(EVENT_PORT_NAME) | BIT(EVENT_PORT_OPEN);
	int err = virtio_check(&d->v, &st->virtio, st->queue, e);

	if (err)
		return err;
	if (st->control_due & ~(d->multiport ? events : 0))
		return err_set(e, ERR_INVAL, "control-due: 0x%02x", st->control_due);
	return check_none_in_flight(st, e);
}

static void vcon_loaded(struct device *dev)
{
	virtio_loaded(&((struct vcon *)dev->priv)->v);
}

static const struct state_field vcon_fields[] = {
    VIRTIO_STATE_FIELDS(struct vcon_state, virtio),
    VRING_STATE_FIELDS(struct vcon_state, queue[RECEIVEQ], "queue0"),
    VRING_STATE_FIELDS(struct vcon_state, queue[TRANSMITQ], "queue1"),
    VRING_STATE_FIELDS(struct vcon_state, queue[CONTROL_RECEIVEQ], "queue2"),
    VRING_STATE_FIELDS(struct vcon_state, queue[CONTROL_TRANSMITQ], "queue3"),
    STATE_INT(struct vcon_state, guest_open, "guest-open", 1, "the guest holds the port open"),
    STATE_INT(struct vcon_state, control_due, "control-due", 0xff,
	"bit n: control event n is to be sent when the driver gives a buffer"),
    STATE_END,
};

DEVICE_MODEL(vcon_model) = {
    .compatible = "amber,virtio-console",
    .version = 1,
    .class = DEVCLASS_CONFIG,
    .doc = "virtio 1.2 console device: one console, or one named port",
    .state_size = sizeof(struct vcon_state),
    .fields = vcon_fields,
    .create = vcon_create,
    .destroy = vcon_destroy,
    .reset = vcon_reset,
    .quiesce = vcon_quiesce,
    .resume = vcon_resume,
    .check = vcon_check,
    .loaded = vcon_loaded,
};

#include "hv/dev/regs/virtio_console.h"
