/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that does anything to its PCI functions: the input is a program of
 * configuration and register accesses, ring contents, disk completions, pauses
 * and tampered snapshots. Whatever it is, nothing but the guest may suffer:
 * no sanitizer report, no assertion, no DMA left mapped, no wait without end.
 */
#include <stdint.h>
#include <string.h>

#include "hv/dev/lpc.c"
#include "hv/dev/pci_bus.c"
#include "hv/dev/virtio_blk.c"
#include "hv/dev/virtio_console.c"
#include "tests/unit/fake/fake_block.h"
#include "tests/unit/fake/fake_virtio.h"

enum {
	RAM_SIZE = 0x40000,
	RINGS = 0x1000,
	SECTORS = 256,
	DEVICES = 3,
	FIRST_SLOT = 4,
	MAX_STEPS = 400,
};

struct machine {
	struct vm *vm;
	struct fake_disk *disk;
	struct device *dev[DEVICES];
	struct fake_driver drv[DEVICES];
	struct cursor in;
};
static struct machine m;

/* Somebody waits: for the disk, or for the disk's worker. */
static void complete_request(struct waitq *q)
{
	struct vblk *b = m.dev[0]->priv;

	if (fake_disk_complete(m.disk))
		return;
	ASSERT(b->v.work_pending);
	b->v.work_pending = false;
	vblk_work(&b->v);
}

/* The devices' threads, as far as there is something to do for them; each only once, since a
 * driver may keep it busy for ever. */
static void workers(void)
{
	for (unsigned i = 0; i < DEVICES; i++) {
		struct virtio_dev *v =
		    i ? &((struct vcon *)m.dev[i]->priv)->v : &((struct vblk *)m.dev[i]->priv)->v;

		if (v->work_pending) {
			v->work_pending = false;
			v->ops->work(v);
		}
	}
}

static void machine_create(void)
{
	static const struct config_dev cfg[DEVICES] = {
	    {.name = "disk0", .backend = "fuzzdisk", .pci_slot = FIRST_SLOT},
	    {.name = "port0", .port_name = "org.amber.fuzz", .pci_slot = FIRST_SLOT + 1},
	    {.name = "console0", .pci_slot = FIRST_SLOT + 2},
	};
	static const char *const model[DEVICES] = {
	    "amber,virtio-blk", "amber,virtio-console", "amber,virtio-console"};

	m.vm = fake_vm_new(1, RAM_SIZE);
	fake_irq_attach(m.vm);
	fake_lapics_enable(m.vm);
	m.disk = fake_disk_new("fuzzdisk", SECTORS);
	fake_device_create(m.vm, "amber,pci-host", NULL, NULL);
	fake_device_create(m.vm, "amber,lpc", NULL, NULL);
	for (unsigned i = 0; i < DEVICES; i++) {
		m.dev[i] = fake_device_create(m.vm, model[i], &cfg[i], NULL);
		ASSERT(m.dev[i]);
		fake_driver_probe(&m.drv[i], m.vm, FIRST_SLOT + i);
	}
}

/* --- steps ---------------------------------------------------------------------- */

static unsigned pick(void)
{
	return cursor_u8(&m.in) % DEVICES;
}

static unsigned width(void)
{
	return 1u << (cursor_u8(&m.in) & 3);
}

static void config_access(void)
{
	unsigned slot = cursor_u8(&m.in) % PCI_SLOTS, off = cursor_u8(&m.in), len = width();
	uint64_t addr = PCI_ECAM_BASE + (slot << 15) + off;

	if (len & 1)
		fake_mmio_write(m.vm, addr, cursor_u8(&m.in) & 8 ? 8 : 4, cursor_le64(&m.in));
	else
		fake_pci_write(m.vm, slot, off, len > 4 ? 4 : len, cursor_le32(&m.in));
	fake_mmio_read(m.vm, addr, len);
}

static void port_access(void)
{
	uint16_t port = 0xcf8 + cursor_u8(&m.in) % 8;
	unsigned len = MIN(width(), 4u);

	fake_io_write(m.vm, port, len, cursor_le32(&m.in));
	fake_io_read(m.vm, port, len);
}

static void common_access(void)
{
	struct fake_driver *d = &m.drv[pick()];
	unsigned reg = cursor_u8(&m.in) % 64, len = width();

	fake_common_write(d, reg, len, cursor_le64(&m.in));
	fake_common_read(d, reg, len);
}

static void bar_access(void)
{
	struct fake_driver *d = &m.drv[pick()];
	uint64_t base = cursor_u8(&m.in) & 1 ? d->common : d->msix_table;
	uint64_t off = cursor_le16(&m.in) % VIRTIO_BAR_SIZE;
	unsigned len = width();

	fake_mmio_write(m.vm, base + off, len, cursor_le64(&m.in));
	fake_mmio_read(m.vm, base + off, len);
}

static void start_driver(void)
{
	unsigned i = pick();
	uint64_t wanted = cursor_le64(&m.in);

	/* the obedient driver insists that the device answers as it should */
	if (!fake_mmio_claimed(m.vm, m.drv[i].common))
		return;
	fake_driver_start(&m.drv[i], wanted, i == 1 ? 4 : i == 2 ? 2 : 1, RINGS + i * 0x4000);
	if (cursor_u8(&m.in) & 1 && fake_mmio_claimed(m.vm, m.drv[i].msix_table))
		fake_driver_msix(&m.drv[i], 5);
}

static void poke_memory(void)
{
	uint64_t addr = cursor_le16(&m.in) % (RAM_SIZE - 16);
	uint8_t raw[16];

	cursor_bytes(&m.in, raw, cursor_u8(&m.in) % sizeof(raw) + 1);
	ASSERT(gmem_write(m.vm, gpa(addr), raw, sizeof(raw)) == OK);
}

/* A chain of buffers that are mostly in RAM, the first of them a likely header. */
static void add_chain(void)
{
	unsigned i = pick(), n = cursor_u8(&m.in) % 6 + 1;
	unsigned q = cursor_u8(&m.in) % VIRTIO_MAX_QUEUES;
	struct fake_driver *d = &m.drv[i];
	struct fake_buf buf[6];

	if (!d->q[q].size)
		return;
	for (unsigned k = 0; k < n; k++) {
		uint8_t kind = cursor_u8(&m.in);

		buf[k].addr = (uint64_t)cursor_le16(&m.in) << (kind & 3);
		buf[k].len = kind & 4 ? cursor_u8(&m.in) : kind & 8 ? cursor_le16(&m.in) : 512;
		buf[k].device_writes = kind & 16;
	}
	if (i == 0) {
		uint8_t header[16] = {cursor_u8(&m.in) % 16, [8] = cursor_u8(&m.in)};

		buf[0] = (struct fake_buf){0x20000, 16, false};
		ASSERT(gmem_write(m.vm, gpa(0x20000), header, sizeof(header)) == OK);
	}
	fake_driver_add(d, q, buf, n);
	fake_driver_kick(d, q);
}

static void raw_head(void)
{
	struct fake_driver *d = &m.drv[pick()];
	unsigned q = cursor_u8(&m.in) % VIRTIO_MAX_QUEUES;

	if (!d->q[q].size)
		return;
	fake_driver_avail(d, q, cursor_u8(&m.in) % 70);
	fake_driver_kick(d, q);
}

static void console_input(void)
{
	struct vcon *c = m.dev[1 + (cursor_u8(&m.in) & 1)]->priv;
	uint8_t data[64] = {0};

	chardev_write(&c->chardev, data, cursor_u8(&m.in) % sizeof(data));
	vcon_work(&c->v);
	chardev_read(&c->chardev, data, sizeof(data));
}

static void disk_control(void)
{
	uint8_t what = cursor_u8(&m.in);

	m.disk->hold = what & 1;
	m.disk->fail = what & 2 ? ERR_IO : OK;
	m.disk->dev.has_flush = what & 4;
	m.disk->dev.has_discard = what & 8;
	for (unsigned n = what >> 4; n; n--)
		fake_disk_complete(m.disk);
	vblk_work(&((struct vblk *)m.dev[0]->priv)->v);
}

static void roundtrip(void)
{
	struct errmsg e;

	ASSERT(fake_device_roundtrip(m.dev[pick()], &e) == OK);
}

static void drain(struct device *dev)
{
	if (dev->model->drain)
		dev->model->drain(dev);
}

/* A live save: requests end while the machine stands still, which the guest must not see. */
static void live_save(void)
{
	struct device *dev = m.dev[pick()];
	size_t size = dev->model->state_size;
	uint8_t *state = heap_alloc(size);

	dev->model->quiesce(dev);
	memcpy(state, dev->state, size);
	for (unsigned n = cursor_u8(&m.in) % 8; n; n--)
		fake_disk_complete(m.disk);
	ASSERT(dev != m.dev[0] || memcmp(state, dev->state, size) == 0);
	dev->model->resume(dev);
	heap_free(state);
}

/*
 * Bytes of the state, maybe with requests in flight, are changed; if that
 * passes the check, the device has to live with it.
 */
static void tampered_load(void)
{
	struct device *dev = m.dev[pick()];
	size_t size = dev->model->state_size;
	uint8_t *state;
	struct errmsg e;

	dev->model->quiesce(dev);
	state = heap_alloc(size);
	memcpy(state, dev->state, size);
	drain(dev); /* a machine that is restored has none */
	for (unsigned n = cursor_u8(&m.in) % 4; n; n--)
		state[cursor_le16(&m.in) % size] = cursor_u8(&m.in);
	if (fake_device_load(dev, state, &e) != OK)
		dev->model->resume(dev);
	heap_free(state);
}

static void machine_reset(void)
{
	struct device *dev = m.dev[pick()];

	dev->model->quiesce(dev);
	drain(dev);
	dev->model->reset(dev);
	dev->model->resume(dev);
}

static void (*const steps[])(void) = {
    config_access,
    port_access,
    common_access,
    bar_access,
    start_driver,
    poke_memory,
    add_chain,
    add_chain,
    raw_head,
    console_input,
    disk_control,
    roundtrip,
    tampered_load,
    machine_reset,
    live_save,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cursor_init(&m.in, data, size);
	fake_wait_hook = complete_request;
	machine_create();
	for (unsigned n = 0; n < MAX_STEPS && cursor_left(&m.in); n++) {
		steps[cursor_u8(&m.in) % ARRAY_LEN(steps)]();
		workers();
	}
	while (fake_disk_complete(m.disk))
		workers();
	ASSERT(fake_of(m.vm)->dma_outstanding == 0);
	fake_vm_free(m.vm);
	ASSERT(fake_heap_outstanding() == 0);
	return 0;
}
