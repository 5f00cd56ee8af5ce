/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtio console: as one console and as a named port, with the control
 * handshake in the order in which Linux's driver goes through it; both
 * directions; full and short buffers; state.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/dev/pci_bus.c"
#include "hv/dev/virtio_console.c"
#include "tests/unit/fake/fake_virtio.h"

enum { RAM = 0x10000, SLOT = 4 };

static struct vm *vm;
static struct device *dev;
static struct fake_driver drv;
static struct config_dev cfg;

static int create(const char *port_name)
{
	vm = fake_vm_new(1, 16 * MIB);
	fake_irq_attach(vm);
	fake_lapics_enable(vm);
	fake_device_create(vm, "amber,pci-host", NULL, NULL);
	cfg =
	    (struct config_dev){.name = "port0", .model = "amber,virtio-console", .pci_slot = SLOT};
	snprintf(cfg.port_name, sizeof(cfg.port_name), "%s", port_name);
	dev = fake_device_create(vm, "amber,virtio-console", &cfg, NULL);
	if (!dev)
		return -1;
	fake_driver_probe(&drv, vm, SLOT);
	fake_driver_msix(&drv, 5);
	fake_driver_start(&drv, UINT64_MAX, port_name[0] ? 4 : 2, RAM);
	return 0;
}

static int setup_port(void **state)
{
	return create("org.amber.clock");
}

static int setup_console(void **state)
{
	return create("");
}

static int teardown(void **state)
{
	fake_vm_free(vm);
	return fake_heap_outstanding();
}

static struct vcon *con(void)
{
	return dev->priv;
}

static uint8_t *at(uint64_t addr)
{
	return fake_of(vm)->ram + addr;
}

/* What the worker thread would do when it is woken. */
static void worker_runs(void)
{
	assert_true(con()->v.work_pending);
	con()->v.work_pending = false;
	vcon_work(&con()->v);
}

static uint64_t give_buffer(unsigned q, uint32_t len)
{
	uint64_t addr = fake_driver_alloc(&drv, len);
	struct fake_buf buf = {addr, len, true};

	fake_driver_add(&drv, q, &buf, 1);
	fake_driver_kick(&drv, q);
	return addr;
}

static void guest_sends(unsigned q, const void *data, uint32_t len)
{
	uint64_t addr = fake_driver_alloc(&drv, len);
	struct fake_buf buf = {addr, len, false};
	uint32_t head, used;

	memcpy(at(addr), data, len);
	fake_driver_add(&drv, q, &buf, 1);
	fake_driver_kick(&drv, q);
	/* Linux spins for this */
	assert_true(fake_driver_used(&drv, q, &head, &used));
	assert_int_equal(used, 0);
}

static void guest_control(uint32_t id, uint16_t event, uint16_t value)
{
	uint8_t msg[8];

	put_le32(msg, id);
	put_le16(msg + 4, event);
	put_le16(msg + 6, value);
	guest_sends(CONTROL_TRANSMITQ, msg, sizeof(msg));
}

/* The next control message lies in the buffer at addr. */
static void expect_control(uint64_t addr, uint16_t event, const char *name)
{
	uint32_t head, len;

	assert_true(fake_driver_used(&drv, CONTROL_RECEIVEQ, &head, &len));
	assert_int_equal(len, 8 + strlen(name));
	assert_int_equal(get_le32(at(addr)), 0);
	assert_int_equal(get_le16(at(addr) + 4), event);
	assert_int_equal(get_le16(at(addr) + 6), 1);
	assert_memory_equal(at(addr) + 8, name, strlen(name));
}

static void handshake(void)
{
	uint64_t buf[8];

	for (unsigned i = 0; i < 8; i++)
		buf[i] = give_buffer(CONTROL_RECEIVEQ, 4096);
	guest_control(UINT32_MAX, EVENT_DEVICE_READY, 1);
	expect_control(buf[0], EVENT_DEVICE_ADD, "");
	assert_int_equal(fake_lapic_take(vm, 0), 0x44); /* queue 3: the message was taken */
	assert_int_equal(fake_lapic_take(vm, 0), 0x43); /* queue 2 */
	guest_control(0, EVENT_PORT_READY, 1);
	expect_control(buf[1], EVENT_PORT_OPEN, "");
	expect_control(buf[2], EVENT_PORT_NAME, "org.amber.clock");
}

static void port_handshake(void **state)
{
	assert_true(drv.features & VIRTIO_CONSOLE_F_MULTIPORT);
	assert_int_equal(fake_pci_read(vm, SLOT, 0, 4), 0x10431af4);
	assert_int_equal(fake_mmio_read(vm, drv.device + 4, 4), 1);
	handshake();
	assert_int_equal(con()->st.control_due, 0);
	/* what makes no sense changes nothing */
	guest_control(1, EVENT_PORT_READY, 1);
	guest_control(0, EVENT_PORT_READY, 0);
	guest_control(UINT32_MAX, EVENT_DEVICE_READY, 0);
	guest_control(7, EVENT_PORT_OPEN, 1);
	guest_control(0, 999, 1);
	guest_sends(CONTROL_TRANSMITQ, "short", 5);
	assert_int_equal(con()->st.control_due, 0);
	assert_int_equal(con()->st.guest_open, 0);
}

static void messages_wait_for_buffers(void **state)
{
	uint64_t buf;

	guest_control(UINT32_MAX, EVENT_DEVICE_READY, 1);
	assert_int_equal(con()->st.control_due, BIT(EVENT_DEVICE_ADD));
	buf = give_buffer(CONTROL_RECEIVEQ, 64);
	expect_control(buf, EVENT_DEVICE_ADD, "");
	guest_control(0, EVENT_PORT_READY, 1);
	buf = give_buffer(CONTROL_RECEIVEQ, 8);
	expect_control(buf, EVENT_PORT_OPEN, "");
	/* a buffer too short for the name: it is cut */
	give_buffer(CONTROL_RECEIVEQ, 12);
	assert_memory_equal(at(drv.next_free - 64) + 8, "org.", 4);
	assert_int_equal(con()->st.control_due, 0);
}

static void input_waits_for_open(void **state)
{
	uint64_t buf;
	uint32_t head, len;

	handshake();
	buf = give_buffer(RECEIVEQ, 4096);
	assert_int_equal(chardev_write(&con()->chardev, "time 1234\n", 10), 10);
	worker_runs();
	assert_false(fake_driver_used(&drv, RECEIVEQ, &head, &len));
	while (fake_lapic_take(vm, 0) >= 0)
		;
	guest_control(0, EVENT_PORT_OPEN, 1);
	assert_true(fake_driver_used(&drv, RECEIVEQ, &head, &len));
	assert_int_equal(len, 10);
	assert_memory_equal(at(buf), "time 1234\n", 10);
	assert_true(fake_lapic_irr(vm, 0, 0x41));
	/* closed again: kept back again */
	guest_control(0, EVENT_PORT_OPEN, 0);
	give_buffer(RECEIVEQ, 4096);
	chardev_write(&con()->chardev, "x", 1);
	worker_runs();
	assert_false(fake_driver_used(&drv, RECEIVEQ, &head, &len));
}

static void console_input(void **state)
{
	uint32_t head, len;
	uint64_t a, b;
	char big[3000];

	assert_false(drv.features & VIRTIO_CONSOLE_F_MULTIPORT);
	assert_int_equal(fake_common_read(&drv, COMMON_NUM_QUEUES, 2), 2);
	/* nothing to put it into yet */
	chardev_write(&con()->chardev, "ls\n", 3);
	worker_runs();
	a = give_buffer(RECEIVEQ, 2);
	b = give_buffer(RECEIVEQ, 4096);
	assert_true(fake_driver_used(&drv, RECEIVEQ, &head, &len));
	assert_int_equal(len, 2);
	assert_memory_equal(at(a), "ls", 2);
	assert_true(fake_driver_used(&drv, RECEIVEQ, &head, &len));
	assert_int_equal(len, 1);
	assert_memory_equal(at(b), "\n", 1);
	/* longer than the device's own buffer */
	for (unsigned i = 0; i < sizeof(big); i++)
		big[i] = (char)i;
	a = give_buffer(RECEIVEQ, 4096);
	assert_int_equal(chardev_write(&con()->chardev, big, sizeof(big)), sizeof(big));
	worker_runs();
	assert_true(fake_driver_used(&drv, RECEIVEQ, &head, &len));
	assert_int_equal(len, sizeof(big));
	assert_memory_equal(at(a), big, sizeof(big));
}

static void output(void **state)
{
	char text[8192], back[8192];

	guest_sends(TRANSMITQ, "login: ", 7);
	assert_int_equal(chardev_read(&con()->chardev, back, sizeof(back)), 7);
	assert_memory_equal(back, "login: ", 7);
	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 7);
	guest_sends(TRANSMITQ, text, sizeof(text));
	assert_int_equal(chardev_read(&con()->chardev, back, sizeof(back)), sizeof(back));
	assert_memory_equal(back, text, sizeof(text));
}

static void endless_output_is_cut(void **state)
{
	struct fake_buf buf = {MIB, 8 * MIB, false};
	uint32_t head, len;

	fake_driver_add(&drv, TRANSMITQ, &buf, 1);
	fake_driver_kick(&drv, TRANSMITQ);
	assert_true(fake_driver_used(&drv, TRANSMITQ, &head, &len));
	assert_int_equal(con()->chardev.out_count, VCON_MAX_OUTPUT);
	assert_int_equal(con()->stat_dropped, 8 * MIB - VCON_MAX_OUTPUT);
}

static void broken(unsigned q, uint64_t addr, uint32_t len, bool device_writes)
{
	struct fake_buf buf = {addr, len, device_writes};

	fake_driver_start(&drv, UINT64_MAX, con()->multiport ? 4 : 2, RAM);
	fake_driver_add(&drv, q, &buf, 1);
	if (q == RECEIVEQ)
		chardev_write(&con()->chardev, "x", 1);
	if (q == CONTROL_RECEIVEQ)
		con()->st.control_due = BIT(EVENT_DEVICE_ADD);
	fake_driver_kick(&drv, q);
	assert_true(fake_driver_status(&drv) & VIRTIO_STATUS_NEEDS_RESET);
}

static void buffers_outside_of_ram(void **state)
{
	broken(TRANSMITQ, 64 * MIB, 10, false);
	if (con()->multiport) {
		broken(CONTROL_TRANSMITQ, 64 * MIB, 8, false);
		broken(CONTROL_RECEIVEQ, 64 * MIB, 8, true);
	} else {
		broken(RECEIVEQ, 64 * MIB, 10, true);
	}
}

/* A buffer without room for anything is returned, and so is the next. */
static void empty_buffers(void **state)
{
	uint64_t addr = fake_driver_alloc(&drv, 8);
	struct fake_buf readable = {addr, 8, false};
	uint32_t head, len;

	fake_driver_add(&drv, RECEIVEQ, &readable, 1);
	fake_driver_kick(&drv, RECEIVEQ);
	chardev_write(&con()->chardev, "x", 1);
	worker_runs();
	assert_true(fake_driver_used(&drv, RECEIVEQ, &head, &len));
	assert_int_equal(len, 0);
	assert_int_equal(chardev_guest_pending(&con()->chardev), 1);
}

static void state_of_an_open_port(void **state)
{
	struct vcon_state saved;
	struct errmsg e = {""};
	uint64_t buf;
	uint32_t head, len;
	unsigned accesses;

	handshake();
	guest_control(0, EVENT_PORT_OPEN, 1);
	buf = give_buffer(RECEIVEQ, 64);
	assert_int_equal(fake_device_roundtrip(dev, &e), OK);
	/* another machine of the same configuration */
	dev->model->quiesce(dev);
	saved = con()->st;
	dev->model->reset(dev);
	dev->model->resume(dev);
	assert_int_equal(con()->st.guest_open, 0);
	assert_int_equal(fake_driver_status(&drv), 0);
	dev->model->quiesce(dev);
	chardev_write(&con()->chardev, "now", 3);
	con()->v.work_pending = false;
	vcon_work(&con()->v); /* paused: not now */
	assert_int_equal(chardev_guest_pending(&con()->chardev), 3);
	accesses = fake_of(vm)->gmem_accesses;
	assert_int_equal(fake_device_load(dev, &saved, &e), OK);
	assert_int_equal(fake_of(vm)->gmem_accesses, accesses);
	worker_runs();
	assert_true(fake_driver_used(&drv, RECEIVEQ, &head, &len));
	assert_memory_equal(at(buf), "now", 3);
	guest_sends(TRANSMITQ, "ok", 2);
}

static void in_need(uint64_t addr, uint64_t len)
{
	fake_of(vm)->gmem_fail_start = addr;
	fake_of(vm)->gmem_fail_len = len;
	fake_of(vm)->gmem_fail_error = ERR_RETRY;
}

/* The machine was paused, and there is host memory for all of its memory now. */
static void after_pause(void)
{
	fake_of(vm)->gmem_fail_len = 0;
	assert_int_equal(fake_driver_status(&drv) & VIRTIO_STATUS_NEEDS_RESET, 0);
	dev->model->quiesce(dev);
	dev->model->resume(dev);
	worker_runs();
}

/* Neither lost nor said twice. */
static void memory_to_be_had_later(void **state)
{
	uint64_t out, in, places[2];
	uint32_t head, len;
	char text[8];

	handshake();
	guest_control(0, EVENT_PORT_OPEN, 1);
	while (fake_driver_used(&drv, TRANSMITQ, &head, &len))
		;
	out = fake_driver_alloc(&drv, 2 * VCON_COPY);
	places[0] = out + VCON_COPY;
	places[1] = drv.q[TRANSMITQ].used;
	for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
		struct fake_buf buf = {out, VCON_COPY + 4, false};
		uint32_t total = 0, n;

		fake_driver_add(&drv, TRANSMITQ, &buf, 1);
		in_need(places[i], 4);
		fake_driver_kick(&drv, TRANSMITQ);
		after_pause();
		assert_true(fake_driver_used(&drv, TRANSMITQ, &head, &len));
		while ((n = chardev_read(&con()->chardev, text, sizeof(text))) != 0)
			total += n;
		assert_int_equal(total, VCON_COPY + 4);
	}
	in = give_buffer(RECEIVEQ, 64);
	in_need(in, 64);
	chardev_write(&con()->chardev, "word", 4);
	worker_runs();
	assert_int_equal(chardev_guest_pending(&con()->chardev), 4);
	after_pause();
	assert_true(fake_driver_used(&drv, RECEIVEQ, &head, &len));
	assert_int_equal(len, 4);
	assert_memory_equal(at(in), "word", 4);
}

static void bad_states(void **state)
{
	struct vcon_state bad = con()->st;
	struct errmsg e = {""};

	bad.control_due = BIT(2);
	assert_int_not_equal(fake_device_check(dev, &bad, &e), OK);
	bad = con()->st;
	bad.guest_open = 2;
	assert_int_not_equal(fake_device_check(dev, &bad, &e), OK);
	bad = con()->st;
	bad.queue[RECEIVEQ].last_avail = 1;
	bad.queue[RECEIVEQ].inflight[0] = 1;
	assert_int_not_equal(fake_device_check(dev, &bad, &e), OK);
	assert_non_null(strstr(e.text, "queue0-in-flight"));
	bad = con()->st;
	bad.queue[CONTROL_TRANSMITQ].size = 64;
	assert_int_not_equal(fake_device_check(dev, &bad, &e), OK);
}

static void console_roundtrip(void **state)
{
	struct errmsg e = {""};

	assert_int_equal(fake_device_roundtrip(dev, &e), OK);
	guest_sends(TRANSMITQ, "ok", 2);
	/* an event of the other shape */
	struct vcon_state bad = con()->st;
	bad.control_due = BIT(EVENT_PORT_NAME);
	assert_int_not_equal(fake_device_check(dev, &bad, &e), OK);
}

static void chardev_is_registered(void **state)
{
	assert_string_equal(LIST_ENTRY(vm->chardevs.next, struct chardev, link)->name, "port0");
	fake_device_destroy(dev);
	assert_true(list_empty(&vm->chardevs));
	for (int n = 0; n < 2; n++) {
		fake_heap_fail_after(n);
		assert_null(fake_device_create(vm, "amber,virtio-console", &cfg, NULL));
		fake_heap_fail_after(-1);
	}
}

int main(void)
{
#define P(f) cmocka_unit_test_setup_teardown(f, setup_port, teardown)
#define C(f) cmocka_unit_test_setup_teardown(f, setup_console, teardown)
	const struct CMUnitTest tests[] = {
	    P(port_handshake),
	    P(messages_wait_for_buffers),
	    P(input_waits_for_open),
	    C(console_input),
	    C(output),
	    C(endless_output_is_cut),
	    P(buffers_outside_of_ram),
	    C(buffers_outside_of_ram),
	    C(empty_buffers),
	    P(state_of_an_open_port),
	    P(memory_to_be_had_later),
	    P(bad_states),
	    C(console_roundtrip),
	    C(chardev_is_registered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
