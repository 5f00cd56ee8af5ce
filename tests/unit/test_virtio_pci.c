/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtio transport, seen by a driver through configuration space and the
 * common structure: identity, status, negotiation, queue set-up, interrupts,
 * the window in configuration space, damage and reset. The device is one that
 * answers every chain with what it was sent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/dev/pci_bus.c"
#include "hv/dev/virtio_pci.h"
#include "hv/lib/cursor.h"
#include "tests/unit/fake/fake_virtio.h"

#define OWN_FEATURE BIT(5)
enum { RAM = 0x10000, GSI = 20 /* slot 4 */ };

/* --- the device ----------------------------------------------------------------- */

struct echo_state {
	struct virtio_state virtio;
	struct vring_state queue[2];
};
struct echo {
	struct echo_state st;
	struct virtio_dev v;
	unsigned notified[2], worked, drained, resets;
	bool keep;    /* chains stay in flight */
	bool endless; /* the driver makes each chain available again at once */
	uint16_t kept;
};
static struct echo *echo;
static struct fake_driver drv;

static int64_t echo_handle(struct virtio_dev *v, unsigned q, struct vring_chain *c)
{
	struct echo *d = CONTAINER_OF(v, struct echo, v);
	uint8_t buf[256];
	uint64_t n = MIN(MIN(c->read_len, c->write_len), sizeof(buf));

	if (d->keep) {
		d->kept = c->head;
		return VIRTIO_PENDING;
	}
	if (d->endless)
		fake_driver_avail(&drv, q, c->head);
	if (vring_gather(&v->vq[q], c, 0, buf, n) || vring_scatter(&v->vq[q], c, 0, buf, n))
		return VIRTIO_BROKEN;
	return (int64_t)n;
}

static void echo_notify(struct virtio_dev *v, unsigned q)
{
	struct echo *d = CONTAINER_OF(v, struct echo, v);

	d->notified[q]++;
	mutex_lock(&v->lock);
	virtio_process(v, q, NULL, echo_handle);
	mutex_unlock(&v->lock);
}

static void echo_drain(struct virtio_dev *v)
{
	CONTAINER_OF(v, struct echo, v)->drained++;
}

static void echo_driver_reset(struct virtio_dev *v)
{
	CONTAINER_OF(v, struct echo, v)->resets++;
}

static void echo_work(struct virtio_dev *v)
{
	CONTAINER_OF(v, struct echo, v)->worked++;
	echo_notify(v, 0);
}

static const struct virtio_ops echo_ops = {
    .notify = echo_notify, .drain = echo_drain, .reset = echo_driver_reset, .work = echo_work};

static int echo_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	static const uint16_t sizes[] = {16, 8};
	static const uint8_t config[6] = {1, 2, 3, 4, 5, 6};
	const struct virtio_desc desc = {
	    .id = VIRTIO_ID_CONSOLE,
	    .class_code = 0xff0000,
	    .features = OWN_FEATURE,
	    .accepts = BIT(6),
	    .config = config,
	    .config_len = sizeof(config),
	    .nqueues = 2,
	    .queue_size = sizes,
	};

	echo = heap_zalloc(sizeof(*echo));
	dev->priv = echo;
	if (!echo)
		return ERR_NOMEM;
	dev->state = &echo->st;
	return virtio_create(
	    &echo->v, dev, cfg, &desc, &echo_ops, &echo->st.virtio, echo->st.queue, e);
}

static void echo_destroy(struct device *dev)
{
	if (!dev->priv)
		return;
	virtio_destroy(&echo->v);
	heap_free(echo);
}

static void echo_reset(struct device *dev)
{
	virtio_reset(&echo->v);
}

static void echo_quiesce(struct device *dev)
{
	virtio_quiesce(&echo->v);
}

static void echo_resume(struct device *dev)
{
	virtio_resume(&echo->v);
}

static int echo_check(const struct device *dev, const void *state, struct errmsg *e)
{
	const struct echo_state *st = state;

	return virtio_check(&echo->v, &st->virtio, st->queue, e);
}

static void echo_loaded(struct device *dev)
{
	virtio_loaded(&echo->v);
}

static const struct state_field echo_fields[] = {
    VIRTIO_STATE_FIELDS(struct echo_state, virtio),
    VRING_STATE_FIELDS(struct echo_state, queue[0], "queue0"),
    VRING_STATE_FIELDS(struct echo_state, queue[1], "queue1"),
    STATE_END,
};

DEVICE_MODEL(echo_model) = {
    .compatible = "amber,echo",
    .version = 1,
    .class = DEVCLASS_CONFIG,
    .doc = "echoes",
    .state_size = sizeof(struct echo_state),
    .fields = echo_fields,
    .create = echo_create,
    .destroy = echo_destroy,
    .reset = echo_reset,
    .quiesce = echo_quiesce,
    .resume = echo_resume,
    .check = echo_check,
    .loaded = echo_loaded,
};

/* --- fixture -------------------------------------------------------------------- */

static struct vm *vm;
static struct device *dev;
static const struct config_dev cfg = {.name = "echo0", .model = "amber,echo", .pci_slot = 4};

static int setup(void **state)
{
	vm = fake_vm_new(1, 1 * MIB);
	fake_irq_attach(vm);
	fake_lapics_enable(vm);
	fake_device_create(vm, "amber,pci-host", NULL, NULL);
	dev = fake_device_create(vm, "amber,echo", &cfg, NULL);
	if (!dev)
		return -1;
	fake_driver_probe(&drv, vm, 4);
	return 0;
}

static int teardown(void **state)
{
	fake_vm_free(vm);
	return fake_heap_outstanding();
}

static uint16_t send(unsigned q, const char *text)
{
	uint64_t out = fake_driver_alloc(&drv, 64), in = fake_driver_alloc(&drv, 64);
	struct fake_buf buf[] = {{out, (uint32_t)strlen(text), false}, {in, 64, true}};

	assert_int_equal(gmem_write(vm, gpa(out), text, strlen(text)), OK);
	return fake_driver_add(&drv, q, buf, 2);
}

/* What the worker thread would do when it is woken. */
static void worker_runs(void)
{
	assert_true(echo->v.work_pending);
	echo->v.work_pending = false;
	echo_work(&echo->v);
}

static void expect_used(unsigned q, uint32_t expected)
{
	uint32_t head, len;

	assert_true(fake_driver_used(&drv, q, &head, &len));
	assert_int_equal(len, expected);
}

/* --- tests ---------------------------------------------------------------------- */

static void identity_and_capabilities(void **state)
{
	assert_int_equal(fake_pci_read(vm, 4, 0, 4), 0x10431af4);
	assert_int_equal(fake_pci_read(vm, 4, PCI_REVISION_ID, 1), 1);
	assert_int_equal(fake_pci_read(vm, 4, PCI_SUBSYSTEM_VENDOR_ID, 2), 0x1af4);
	assert_int_equal(fake_pci_read(vm, 4, PCI_INTERRUPT_PIN, 1), 1);
	for (unsigned type = 1; type <= 5; type++)
		assert_int_not_equal(drv.caps[type], 0);
	assert_int_not_equal(drv.msix_cap, 0);
	assert_int_equal(fake_pci_read(vm, 4, drv.caps[1] + 12, 4), COMMON_SIZE);
	assert_int_equal(fake_pci_read(vm, 4, drv.caps[1] + 2, 1), 16);
	assert_int_equal(fake_pci_read(vm, 4, drv.caps[2] + 2, 1), 20);
	assert_int_equal(drv.notify_step, 4);
	assert_int_equal(fake_common_read(&drv, COMMON_NUM_QUEUES, 2), 2);
	assert_int_equal(fake_mmio_read(vm, drv.device, 4), 0x04030201);
	assert_int_equal(fake_mmio_read(vm, drv.device + 4, 8), 0x0605);
	assert_int_equal(fake_mmio_read(vm, drv.device + 64, 4), 0);
}

static void queue_registers(void **state)
{
	assert_int_equal(fake_common_read(&drv, COMMON_QUEUE_SIZE, 2), 16);
	fake_common_write(&drv, COMMON_QUEUE_SELECT, 2, 1);
	assert_int_equal(fake_common_read(&drv, COMMON_QUEUE_SIZE, 2), 8);
	assert_int_equal(fake_common_read(&drv, COMMON_QUEUE_NOTIFY_OFF, 2), 1);
	assert_int_equal(fake_common_read(&drv, COMMON_QUEUE_MSIX_VECTOR, 2), 0xffff);
	/* sizes: only powers of two up to the greatest */
	fake_common_write(&drv, COMMON_QUEUE_SIZE, 2, 4);
	fake_common_write(&drv, COMMON_QUEUE_SIZE, 2, 3);
	fake_common_write(&drv, COMMON_QUEUE_SIZE, 2, 0);
	fake_common_write(&drv, COMMON_QUEUE_SIZE, 2, 16);
	fake_common_write(&drv, COMMON_QUEUE_SIZE, 4, 2); /* not the field's width */
	assert_int_equal(fake_common_read(&drv, COMMON_QUEUE_SIZE, 2), 4);
	/* vectors: a bad one reads back as none */
	fake_common_write(&drv, COMMON_QUEUE_MSIX_VECTOR, 2, 2);
	assert_int_equal(fake_common_read(&drv, COMMON_QUEUE_MSIX_VECTOR, 2), 2);
	fake_common_write(&drv, COMMON_QUEUE_MSIX_VECTOR, 2, 3);
	assert_int_equal(fake_common_read(&drv, COMMON_QUEUE_MSIX_VECTOR, 2), 0xffff);
	fake_common_write(&drv, COMMON_CONFIG_MSIX_VECTOR, 2, 77);
	assert_int_equal(fake_common_read(&drv, COMMON_CONFIG_MSIX_VECTOR, 2), 0xffff);
	/* addresses, also in one go; frozen once enabled */
	fake_common_write(&drv, COMMON_QUEUE_DESC, 8, 0x123456780);
	assert_int_equal(fake_common_read(&drv, COMMON_QUEUE_DESC, 8), 0x123456780);
	fake_common_write(&drv, COMMON_QUEUE_DEVICE, 4, 2); /* misaligned */
	fake_common_write(&drv, COMMON_QUEUE_ENABLE, 2, 1);
	assert_int_equal(fake_common_read(&drv, COMMON_QUEUE_ENABLE, 2), 0);
	fake_common_write(&drv, COMMON_QUEUE_DEVICE, 4, 4);
	fake_common_write(&drv, COMMON_QUEUE_ENABLE, 2, 1);
	assert_int_equal(fake_common_read(&drv, COMMON_QUEUE_ENABLE, 2), 1);
	fake_common_write(&drv, COMMON_QUEUE_ENABLE, 2, 0);
	fake_common_write(&drv, COMMON_QUEUE_DESC, 4, 0);
	fake_common_write(&drv, COMMON_QUEUE_SIZE, 2, 2);
	assert_int_equal(fake_common_read(&drv, COMMON_QUEUE_ENABLE, 2), 1);
	assert_int_equal(fake_common_read(&drv, COMMON_QUEUE_DESC, 8), 0x123456780);
	/* a queue that is not there */
	fake_common_write(&drv, COMMON_QUEUE_SELECT, 2, 2);
	assert_int_equal(fake_common_read(&drv, COMMON_QUEUE_SIZE, 2), 0);
	fake_common_write(&drv, COMMON_QUEUE_ENABLE, 2, 1);
	fake_common_write(&drv, COMMON_QUEUE_MSIX_VECTOR, 2, 1);
	fake_mmio_write(vm, drv.notify + 8, 2, 2);
	fake_mmio_write(vm, drv.notify + 0xffc, 2, 2);
	assert_int_equal(echo->notified[0] + echo->notified[1], 0);
}

static void status_machine(void **state)
{
	/* DRIVER_OK needs FEATURES_OK, which needs a legal choice with VERSION_1 */
	fake_common_write(&drv, COMMON_DEVICE_STATUS, 1, 1 | 2 | 4);
	assert_int_equal(fake_driver_status(&drv), 3);
	fake_common_write(&drv, COMMON_DEVICE_STATUS, 1, 1 | 2 | 8);
	assert_int_equal(fake_driver_status(&drv), 3);
	fake_common_write(&drv, COMMON_DRIVER_FEATURE_SELECT, 4, 1);
	fake_common_write(&drv, COMMON_DRIVER_FEATURE, 4, 1 | 2); /* bit 33 was not offered */
	fake_common_write(&drv, COMMON_DEVICE_STATUS, 1, 1 | 2 | 8);
	assert_int_equal(fake_driver_status(&drv), 3);
	fake_common_write(&drv, COMMON_DRIVER_FEATURE, 4, 1);
	fake_common_write(&drv, COMMON_DEVICE_STATUS, 1, 1 | 2 | 8 | 64); /* 64 is the device's */
	assert_int_equal(fake_driver_status(&drv), 11);
	/* frozen now; bits are not taken back */
	fake_common_write(&drv, COMMON_DRIVER_FEATURE, 4, 0);
	assert_int_equal(fake_common_read(&drv, COMMON_DRIVER_FEATURE, 4), 1);
	fake_common_write(&drv, COMMON_DEVICE_STATUS, 1, 1);
	assert_int_equal(fake_driver_status(&drv), 11);
	fake_common_write(&drv, COMMON_DEVICE_STATUS, 1, 15 | 128);
	assert_int_equal(fake_driver_status(&drv), 15 | 128);
	fake_common_write(&drv, COMMON_DRIVER_FEATURE_SELECT, 4, 7);
	assert_int_equal(fake_common_read(&drv, COMMON_DRIVER_FEATURE, 4), 0);
	fake_common_write(&drv, COMMON_DEVICE_FEATURE_SELECT, 4, 2);
	assert_int_equal(fake_common_read(&drv, COMMON_DEVICE_FEATURE, 4), 0);
	fake_common_write(&drv, COMMON_DEVICE_STATUS, 1, 0);
	assert_int_equal(fake_driver_status(&drv), 0);
	assert_int_equal(fake_common_read(&drv, COMMON_DRIVER_FEATURE_SELECT, 4), 0);
	assert_int_equal(echo->resets, 2);
	assert_int_equal(echo->drained, 2);
}

static void echoes_with_msix(void **state)
{
	uint8_t back[5];

	fake_driver_msix(&drv, 3);
	fake_driver_start(&drv, UINT64_MAX, 2, RAM);
	assert_int_equal(drv.features, OWN_FEATURE | VIRTIO_F_VERSION_1 | VIRTIO_F_RING_EVENT_IDX |
					   VIRTIO_F_RING_INDIRECT_DESC);
	send(1, "hello");
	assert_int_equal(fake_lapic_take(vm, 0), -1);
	fake_driver_kick(&drv, 1);
	expect_used(1, 5);
	assert_int_equal(gmem_read(vm, gpa(drv.next_free - 64), back, 5), OK);
	assert_memory_equal(back, "hello", 5);
	assert_int_equal(fake_lapic_take(vm, 0), 0x42);
	assert_int_equal(fake_lapic_take(vm, 0), -1);
	assert_int_equal(fake_mmio_read(vm, drv.isr, 1), 0); /* not used with MSI-X */
	assert_false(fake_of(vm)->ioapic_level[GSI]);
	/* no vector, no message */
	fake_common_write(&drv, COMMON_QUEUE_SELECT, 2, 1);
	fake_common_write(&drv, COMMON_QUEUE_MSIX_VECTOR, 2, 0xffff);
	send(1, "x");
	fake_driver_kick(&drv, 1);
	expect_used(1, 1);
	assert_int_equal(fake_lapic_take(vm, 0), -1);
}

static void echoes_with_intx(void **state)
{
	fake_driver_start(&drv, 0, 2, RAM);
	send(0, "abc");
	fake_driver_kick(&drv, 0);
	assert_true(fake_of(vm)->ioapic_level[GSI]);
	assert_true(fake_pci_read(vm, 4, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	assert_int_equal(fake_mmio_read(vm, drv.isr, 1), 1);
	assert_false(fake_of(vm)->ioapic_level[GSI]);
	assert_int_equal(fake_mmio_read(vm, drv.isr, 1), 0);
	expect_used(0, 3);
}

static void buffers_before_driver_ok_count(void **state)
{
	fake_driver_start(&drv, 0, 1, RAM);
	fake_common_write(&drv, COMMON_DEVICE_STATUS, 1, 0);
	/* the rings are as they were; set it all up again but for DRIVER_OK */
	send(0, "early");
	fake_common_write(&drv, COMMON_DRIVER_FEATURE_SELECT, 4, 1);
	fake_common_write(&drv, COMMON_DRIVER_FEATURE, 4, 1);
	fake_common_write(&drv, COMMON_DEVICE_STATUS, 1, 11);
	fake_common_write(&drv, COMMON_QUEUE_DESC, 8, drv.q[0].desc);
	fake_common_write(&drv, COMMON_QUEUE_DRIVER, 8, drv.q[0].avail);
	fake_common_write(&drv, COMMON_QUEUE_DEVICE, 8, drv.q[0].used);
	fake_common_write(&drv, COMMON_QUEUE_ENABLE, 2, 1);
	fake_driver_kick(&drv, 0);
	assert_int_equal(drv.q[0].used_seen, 0);
	assert_int_equal(echo->st.queue[0].last_avail, 0);
	fake_common_write(&drv, COMMON_DEVICE_STATUS, 1, 15);
	expect_used(0, 5);
}

static void window_in_configuration_space(void **state)
{
	unsigned cap = drv.caps[5];

	fake_pci_write(vm, 4, cap + 4, 1, 0);
	fake_pci_write(vm, 4, cap + 8, 4, VIRTIO_BAR_DEVICE);
	fake_pci_write(vm, 4, cap + 12, 4, 4);
	assert_int_equal(fake_pci_read(vm, 4, cap + 16, 4), 0x04030201);
	fake_pci_write(vm, 4, cap + 8, 4, COMMON_DEVICE_STATUS);
	fake_pci_write(vm, 4, cap + 12, 4, 1);
	fake_pci_write(vm, 4, cap + 16, 1, 3);
	assert_int_equal(fake_driver_status(&drv), 3);
	assert_int_equal(fake_pci_read(vm, 4, cap + 16, 1), 3);
	/* nowhere, misaligned, beyond the end, odd lengths */
	fake_pci_write(vm, 4, cap + 4, 1, 5);
	assert_int_equal(fake_pci_read(vm, 4, cap + 16, 4), 0);
	fake_pci_write(vm, 4, cap + 4, 1, 200);
	fake_pci_write(vm, 4, cap + 16, 4, 0);
	fake_pci_write(vm, 4, cap + 4, 1, 0);
	fake_pci_write(vm, 4, cap + 12, 4, 2);
	fake_pci_write(vm, 4, cap + 8, 4, 1);
	assert_int_equal(fake_pci_read(vm, 4, cap + 16, 2), 0);
	fake_pci_write(vm, 4, cap + 8, 4, VIRTIO_BAR_SIZE);
	fake_pci_write(vm, 4, cap + 16, 2, 0);
	fake_pci_write(vm, 4, cap + 8, 4, 0xfffffffe);
	assert_int_equal(fake_pci_read(vm, 4, cap + 16, 2), 0);
	fake_pci_write(vm, 4, cap + 12, 4, 3);
	fake_pci_write(vm, 4, cap + 8, 4, 0);
	assert_int_equal(fake_pci_read(vm, 4, cap + 16, 4), 0);
	fake_pci_write(vm, 4, cap + 12, 4, 0);
	assert_int_equal(fake_pci_read(vm, 4, cap + 16, 4), 0);
	assert_int_equal(fake_driver_status(&drv), 3);
	/* notify through it */
	fake_pci_write(vm, 4, cap + 8, 4, VIRTIO_BAR_NOTIFY + 4);
	fake_pci_write(vm, 4, cap + 12, 4, 2);
	unsigned before = echo->notified[1];
	fake_pci_write(vm, 4, cap + 16, 2, 1);
	assert_int_equal(echo->notified[1], before + 1);
}

static void damage_needs_a_reset(void **state)
{
	uint32_t head, len;

	fake_driver_msix(&drv, 3);
	fake_driver_start(&drv, VIRTIO_F_RING_EVENT_IDX, 2, RAM);
	fake_driver_avail(&drv, 0, 999);
	fake_driver_kick(&drv, 0);
	assert_true(fake_driver_status(&drv) & VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(fake_lapic_take(vm, 0), 0x40); /* configuration change */
	/* dead to everything, on the other queue too */
	send(1, "hello");
	fake_driver_kick(&drv, 1);
	fake_driver_kick(&drv, 0);
	assert_false(fake_driver_used(&drv, 1, &head, &len));
	assert_int_equal(fake_lapic_take(vm, 0), -1);
	fake_common_write(&drv, COMMON_DEVICE_STATUS, 1, 15);
	assert_true(fake_driver_status(&drv) & VIRTIO_STATUS_NEEDS_RESET);
	/* and alive again */
	fake_driver_start(&drv, 0, 2, RAM);
	send(1, "hello");
	fake_driver_kick(&drv, 1);
	expect_used(1, 5);
}

static void damage_with_intx(void **state)
{
	fake_driver_start(&drv, 0, 1, RAM);
	fake_of(vm)->gmem_fail_start = drv.q[0].avail;
	fake_of(vm)->gmem_fail_len = 4;
	fake_driver_kick(&drv, 0);
	assert_int_equal(fake_mmio_read(vm, drv.isr, 1), 2);
	fake_of(vm)->gmem_fail_len = 0;
}

/* A driver that keeps the ring full must not keep a vCPU's thread from coming back. */
static void long_runs_go_to_the_worker(void **state)
{
	fake_driver_start(&drv, 0, 1, RAM);
	echo->endless = true;
	send(0, "abc");
	fake_driver_kick(&drv, 0);
	assert_true(echo->v.work_pending);
	assert_int_equal(echo->st.queue[0].last_avail, 32);
	assert_false(fake_driver_status(&drv) & VIRTIO_STATUS_NEEDS_RESET);
	/* the worker does as much again, and leaves when there is no more */
	echo->v.work_pending = false;
	echo_work(&echo->v);
	assert_int_equal(echo->st.queue[0].last_avail, 64);
	assert_true(echo->v.work_pending);
	echo->endless = false;
	echo->v.work_pending = false;
	echo_work(&echo->v);
	assert_int_equal(echo->st.queue[0].last_avail, 65);
	assert_false(echo->v.work_pending);
}

static struct waitq *waited;

static void stop_worker(struct waitq *q)
{
	waited = q;
	echo->v.work_stop = true;
}

static void worker_thread(void **state)
{
	fake_wait_hook = stop_worker;
	virtio_work_later(&echo->v);
	assert_true(fake_thread_run_next());
	fake_wait_hook = NULL;
	assert_int_equal(echo->worked, 1);
	assert_ptr_equal(waited, &echo->v.work_wait);
}

static void paused_device_does_nothing(void **state)
{
	uint32_t head, len;

	fake_driver_start(&drv, 0, 1, RAM);
	dev->model->quiesce(dev);
	send(0, "abc");
	fake_driver_kick(&drv, 0);
	assert_false(fake_driver_used(&drv, 0, &head, &len));
	dev->model->resume(dev);
	worker_runs();
	expect_used(0, 3);
}

/* Whoever lets the machine go on may be the one that an access to guest memory waits for. */
static void resume_leaves_memory_to_the_worker(void **state)
{
	unsigned accesses;
	uint32_t head, len;

	fake_driver_start(&drv, 0, 2, RAM);
	dev->model->quiesce(dev);
	send(0, "abc");
	accesses = fake_of(vm)->gmem_accesses;
	echo->notified[0] = 0;
	dev->model->resume(dev);
	assert_int_equal(fake_of(vm)->gmem_accesses, accesses);
	assert_int_equal(echo->notified[0], 0);
	assert_false(fake_driver_used(&drv, 0, &head, &len));
	fake_wait_hook = stop_worker;
	assert_true(fake_thread_run_next());
	fake_wait_hook = NULL;
	expect_used(0, 3);
}

static void state_roundtrip(void **state)
{
	struct errmsg e = {""};

	fake_driver_msix(&drv, 3);
	fake_driver_start(&drv, VIRTIO_F_RING_EVENT_IDX, 2, RAM);
	fake_pci_write(vm, 4, PCI_BAR0, 4, 0xd0000000);
	fake_driver_probe(&drv, vm, 4);
	fake_driver_start(&drv, VIRTIO_F_RING_EVENT_IDX, 2, RAM);
	send(0, "one");
	fake_driver_kick(&drv, 0);
	expect_used(0, 3);
	assert_int_equal(fake_lapic_take(vm, 0), 0x41);
	send(0, "kick was lost");
	assert_int_equal(fake_device_roundtrip(dev, &e), OK);
	worker_runs();
	expect_used(0, 13);
	assert_int_equal(
	    fake_lapic_take(vm, 0), -1); /* used_event still asks for the first entry */
	send(1, "two");
	fake_driver_kick(&drv, 1);
	expect_used(1, 3);
}

static void asserted_line_survives(void **state)
{
	struct errmsg e = {""};

	fake_driver_start(&drv, 0, 1, RAM);
	send(0, "abc");
	fake_driver_kick(&drv, 0);
	assert_true(fake_of(vm)->ioapic_level[GSI]);
	fake_of(vm)->ioapic_level[GSI] = false;
	assert_int_equal(fake_device_roundtrip(dev, &e), OK);
	assert_true(fake_of(vm)->ioapic_level[GSI]);
	assert_int_equal(fake_mmio_read(vm, drv.isr, 1), 1);
}

static void bad_states_are_refused(void **state)
{
	struct echo_state good, bad;
	struct errmsg e = {""};

	fake_driver_msix(&drv, 3);
	fake_driver_start(&drv, VIRTIO_F_RING_EVENT_IDX, 2, RAM);
	good = echo->st;
	assert_int_equal(fake_device_check(dev, &good, &e), OK);
#define REFUSED(change, why)                                                                       \
	do {                                                                                       \
		bad = good;                                                                        \
		change;                                                                            \
		assert_int_not_equal(fake_device_check(dev, &bad, &e), OK);                        \
		assert_non_null(strstr(e.text, why));                                              \
	} while (0)
	REFUSED(bad.queue[1].size = 12, "queue1-size");
	REFUSED(bad.queue[1].size = 16, "queue1-size");
	REFUSED(bad.queue[0].avail = UINT64_MAX - 1, "queue0");
	REFUSED(bad.queue[0].last_avail = 5, "queue0-last-avail");
	REFUSED(bad.queue[0].vector = 3, "queue0-vector");
	REFUSED(bad.virtio.config_vector = 3, "config-vector");
	REFUSED(bad.virtio.status = 0x1f, "status");
	REFUSED(bad.virtio.status = 7, "DRIVER_OK");
	REFUSED(bad.virtio.driver_features = OWN_FEATURE, "VERSION_1");
	REFUSED(bad.virtio.driver_features |= BIT(7), "not offered");
	REFUSED(bad.virtio.isr = 4, "isr");
	REFUSED(bad.virtio.msix.control[0] = 2, "msix-control");
	REFUSED(bad.virtio.msix.pending = 8, "msix-pending");
	REFUSED(bad.virtio.pci.config[drv.caps[1] + 8] = 1, "pci-config");
	REFUSED(bad.virtio.pci.config[PCI_DEVICE_ID] = 0x42, "pci-config");
	/* what another version of the device offered */
	bad = good;
	bad.virtio.driver_features |= BIT(6);
	assert_int_equal(fake_device_check(dev, &bad, &e), OK);
}

static void in_flight_is_in_the_state(void **state)
{
	struct errmsg e = {""};

	fake_driver_start(&drv, 0, 1, RAM);
	echo->keep = true;
	send(0, "abc");
	fake_driver_kick(&drv, 0);
	assert_int_equal(echo->st.queue[0].inflight[0], BIT(echo->kept));
	assert_int_equal(fake_device_roundtrip(dev, &e), OK);
	assert_int_equal(echo->st.queue[0].inflight[0], BIT(echo->kept));
	mutex_lock(&echo->v.lock);
	assert_int_equal(vring_push(&echo->v.vq[0], echo->kept, 0), OK);
	mutex_unlock(&echo->v.lock);
}

static void creation_fails_cleanly(void **state)
{
	struct config_dev second = cfg;
	struct errmsg e = {""};

	assert_null(fake_device_create(vm, "amber,echo", &second, &e));
	assert_string_equal(e.text, "PCI slot 4 is taken by echo0");
	echo = dev->priv;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(identity_and_capabilities),
	    T(queue_registers),
	    T(status_machine),
	    T(echoes_with_msix),
	    T(echoes_with_intx),
	    T(buffers_before_driver_ok_count),
	    T(window_in_configuration_space),
	    T(damage_needs_a_reset),
	    T(damage_with_intx),
	    T(long_runs_go_to_the_worker),
	    T(worker_thread),
	    T(paused_device_does_nothing),
	    T(resume_leaves_memory_to_the_worker),
	    T(state_roundtrip),
	    T(asserted_line_survives),
	    T(bad_states_are_refused),
	    T(in_flight_is_in_the_state),
	    T(creation_fails_cleanly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
