/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's virtio driver of the unit tests: set-up in the order that Linux keeps. */
#include "tests/unit/fake/fake_virtio.h"

#include <string.h>

#include "hv/lib/cursor.h"
#include "hv/lib/log.h"

static void select_config(struct vm *vm, unsigned slot, unsigned off)
{
	fake_io_write(vm, PCI_CONFIG_ADDRESS, 4, 0x80000000u | slot << 11 | (off & 0xfc));
}

uint32_t fake_pci_read(struct vm *vm, unsigned slot, unsigned off, unsigned len)
{
	select_config(vm, slot, off);
	return fake_io_read(vm, (uint16_t)(PCI_CONFIG_DATA + (off & 3)), len);
}

void fake_pci_write(struct vm *vm, unsigned slot, unsigned off, unsigned len, uint32_t value)
{
	select_config(vm, slot, off);
	fake_io_write(vm, (uint16_t)(PCI_CONFIG_DATA + (off & 3)), len, value);
}

static uint64_t bar_address(struct fake_driver *d, unsigned bar)
{
	return fake_pci_read(d->vm, d->slot, PCI_BAR0 + 4 * bar, 4) & ~0xfu;
}

static void probe_vendor_cap(struct fake_driver *d, unsigned cap)
{
	unsigned type = fake_pci_read(d->vm, d->slot, cap + 3, 1);
	unsigned bar = fake_pci_read(d->vm, d->slot, cap + 4, 1);
	uint64_t addr = bar_address(d, bar) + fake_pci_read(d->vm, d->slot, cap + 8, 4);

	ASSERT(type < ARRAY_LEN(d->caps));
	d->caps[type] = cap;
	if (type == 1)
		d->common = addr;
	if (type == 2) {
		d->notify = addr;
		d->notify_step = fake_pci_read(d->vm, d->slot, cap + 16, 4);
	}
	if (type == 3)
		d->isr = addr;
	if (type == 4)
		d->device = addr;
}

void fake_driver_probe(struct fake_driver *d, struct vm *vm, unsigned slot)
{
	unsigned cap;

	*d = (struct fake_driver){.vm = vm, .slot = slot};
	for (cap = fake_pci_read(vm, slot, PCI_CAP_PTR, 1); cap;
	     cap = fake_pci_read(vm, slot, cap + 1, 1)) {
		unsigned id = fake_pci_read(vm, slot, cap, 1);

		if (id == PCI_CAP_VENDOR)
			probe_vendor_cap(d, cap);
		if (id == PCI_CAP_MSIX) {
			uint32_t table = fake_pci_read(vm, slot, cap + 4, 4);

			d->msix_cap = cap;
			d->msix_table = bar_address(d, table & 7) + (table & ~7u);
		}
	}
	fake_pci_write(vm, slot, PCI_COMMAND, 2,
	    fake_pci_read(vm, slot, PCI_COMMAND, 2) | PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
}

uint64_t fake_common_read(struct fake_driver *d, unsigned reg, unsigned len)
{
	return fake_mmio_read(d->vm, d->common + reg, len);
}

void fake_common_write(struct fake_driver *d, unsigned reg, unsigned len, uint64_t value)
{
	fake_mmio_write(d->vm, d->common + reg, len, value);
}

uint8_t fake_driver_status(struct fake_driver *d)
{
	return (uint8_t)fake_common_read(d, COMMON_DEVICE_STATUS, 1);
}

void fake_driver_msix(struct fake_driver *d, unsigned nvec)
{
	fake_pci_write(d->vm, d->slot, d->msix_cap + 2, 2, 0x8000);
	for (unsigned v = 0; v < nvec; v++) {
		fake_mmio_write(d->vm, d->msix_table + 16 * v, 4, 0xfee00000);
		fake_mmio_write(d->vm, d->msix_table + 16 * v + 4, 4, 0);
		fake_mmio_write(d->vm, d->msix_table + 16 * v + 8, 4, 0x40 + v);
		fake_mmio_write(d->vm, d->msix_table + 16 * v + 12, 4, 0);
	}
}

static void add_status(struct fake_driver *d, uint8_t bit)
{
	fake_common_write(d, COMMON_DEVICE_STATUS, 1, fake_driver_status(d) | bit);
}

static void negotiate(struct fake_driver *d, uint64_t wanted)
{
	uint64_t offered;

	fake_common_write(d, COMMON_DEVICE_FEATURE_SELECT, 4, 0);
	offered = fake_common_read(d, COMMON_DEVICE_FEATURE, 4);
	fake_common_write(d, COMMON_DEVICE_FEATURE_SELECT, 4, 1);
	offered |= fake_common_read(d, COMMON_DEVICE_FEATURE, 4) << 32;
	d->features = offered & (wanted | VIRTIO_F_VERSION_1);
	fake_common_write(d, COMMON_DRIVER_FEATURE_SELECT, 4, 0);
	fake_common_write(d, COMMON_DRIVER_FEATURE, 4, (uint32_t)d->features);
	fake_common_write(d, COMMON_DRIVER_FEATURE_SELECT, 4, 1);
	fake_common_write(d, COMMON_DRIVER_FEATURE, 4, d->features >> 32);
}

static void setup_queue(struct fake_driver *d, unsigned i)
{
	struct fake_queue *q = &d->q[i];

	*q = (struct fake_queue){0};
	fake_common_write(d, COMMON_QUEUE_SELECT, 2, i);
	q->size = (uint16_t)fake_common_read(d, COMMON_QUEUE_SIZE, 2);
	q->desc = fake_driver_alloc(d, 16u * q->size);
	q->avail = fake_driver_alloc(d, 6u + 2u * q->size);
	q->used = fake_driver_alloc(d, 6u + 8u * q->size);
	ASSERT(gmem_zero(d->vm, gpa(q->desc), d->next_free - q->desc) == OK);
	fake_common_write(d, COMMON_QUEUE_SIZE, 2, q->size);
	fake_common_write(d, COMMON_QUEUE_DESC, 4, (uint32_t)q->desc);
	fake_common_write(d, COMMON_QUEUE_DESC + 4, 4, q->desc >> 32);
	fake_common_write(d, COMMON_QUEUE_DRIVER, 4, (uint32_t)q->avail);
	fake_common_write(d, COMMON_QUEUE_DRIVER + 4, 4, q->avail >> 32);
	fake_common_write(d, COMMON_QUEUE_DEVICE, 4, (uint32_t)q->used);
	fake_common_write(d, COMMON_QUEUE_DEVICE + 4, 4, q->used >> 32);
	fake_common_write(d, COMMON_QUEUE_MSIX_VECTOR, 2, i + 1);
	fake_common_write(d, COMMON_QUEUE_ENABLE, 2, 1);
}

void fake_driver_start(struct fake_driver *d, uint64_t wanted, unsigned nqueues, uint64_t ram)
{
	d->next_free = ram;
	fake_common_write(d, COMMON_DEVICE_STATUS, 1, 0);
	ASSERT(fake_driver_status(d) == 0);
	add_status(d, VIRTIO_STATUS_ACKNOWLEDGE);
	add_status(d, VIRTIO_STATUS_DRIVER);
	negotiate(d, wanted);
	add_status(d, VIRTIO_STATUS_FEATURES_OK);
	ASSERT(fake_driver_status(d) & VIRTIO_STATUS_FEATURES_OK);
	fake_common_write(d, COMMON_CONFIG_MSIX_VECTOR, 2, 0);
	for (unsigned i = 0; i < nqueues; i++)
		setup_queue(d, i);
	add_status(d, VIRTIO_STATUS_DRIVER_OK);
}

uint64_t fake_driver_alloc(struct fake_driver *d, uint32_t len)
{
	uint64_t at = d->next_free;

	d->next_free = ALIGN_UP(at + len, 64);
	return at;
}

void fake_desc_write(struct vm *vm, uint64_t table, unsigned i, uint64_t addr, uint32_t len,
    uint16_t flags, uint16_t next)
{
	uint8_t raw[16];

	put_le64(raw, addr);
	put_le32(raw + 8, len);
	put_le16(raw + 12, flags);
	put_le16(raw + 14, next);
	ASSERT(gmem_write(vm, gpa(table + 16 * i), raw, sizeof(raw)) == OK);
}

void fake_driver_avail(struct fake_driver *d, unsigned i, uint16_t head)
{
	struct fake_queue *q = &d->q[i];

	ASSERT(gmem_write_u16(d->vm, gpa(q->avail + 4 + 2 * (q->avail_idx % q->size)), head) == OK);
	q->avail_idx++;
	ASSERT(gmem_write_u16(d->vm, gpa(q->avail + 2), q->avail_idx) == OK);
}

uint16_t fake_driver_add(struct fake_driver *d, unsigned i, const struct fake_buf *buf, unsigned n)
{
	struct fake_queue *q = &d->q[i];
	uint16_t head = q->next_desc;

	for (unsigned k = 0; k < n; k++) {
		uint16_t at = (uint16_t)((head + k) % q->size);
		uint16_t flags = (uint16_t)((k + 1 < n ? 1 : 0) | (buf[k].device_writes ? 2 : 0));

		fake_desc_write(d->vm, q->desc, at, buf[k].addr, buf[k].len, flags,
		    (uint16_t)((at + 1) % q->size));
	}
	q->next_desc = (uint16_t)((head + n) % q->size);
	fake_driver_avail(d, i, head);
	return head;
}

void fake_driver_kick(struct fake_driver *d, unsigned q)
{
	fake_mmio_write(d->vm, d->notify + d->notify_step * q, 2, q);
}

bool fake_driver_used(struct fake_driver *d, unsigned i, uint32_t *head, uint32_t *len)
{
	struct fake_queue *q = &d->q[i];
	uint8_t raw[8];
	uint16_t idx;

	ASSERT(gmem_read_u16(d->vm, gpa(q->used + 2), &idx) == OK);
	if (idx == q->used_seen)
		return false;
	ASSERT(gmem_read(d->vm, gpa(q->used + 4 + 8 * (q->used_seen % q->size)), raw, 8) == OK);
	q->used_seen++;
	*head = get_le32(raw);
	*len = get_le32(raw + 4);
	return true;
}
