/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest's virtio driver, small and obedient; a test makes it misbehave by writing to the rings
 * itself. */
#ifndef AMBER_TESTS_FAKE_VIRTIO_H
#define AMBER_TESTS_FAKE_VIRTIO_H

#include "hv/dev/virtio_pci.h"
#include "tests/unit/fake/fake.h"

struct fake_driver {
	struct vm *vm;
	unsigned slot;
	unsigned caps[8]; /* offset of each cfg_type's capability */
	unsigned msix_cap;
	uint64_t common, isr, device, notify, msix_table; /* guest-physical */
	uint32_t notify_step;
	uint64_t features;
	struct fake_queue {
		uint64_t desc, avail, used;
		uint16_t size, avail_idx, used_seen, next_desc;
	} q[VIRTIO_MAX_QUEUES];
	uint64_t next_free; /* guest memory not yet given out */
};

struct fake_buf {
	uint64_t addr;
	uint32_t len;
	bool device_writes;
};

/* Through ports 0xCF8/0xCFC. */
uint32_t fake_pci_read(struct vm *vm, unsigned slot, unsigned off, unsigned len);
void fake_pci_write(struct vm *vm, unsigned slot, unsigned off, unsigned len, uint32_t value);

/* Finds the structures through the capabilities. */
void fake_driver_probe(struct fake_driver *d, struct vm *vm, unsigned slot);
uint64_t fake_common_read(struct fake_driver *d, unsigned reg, unsigned len);
void fake_common_write(struct fake_driver *d, unsigned reg, unsigned len, uint64_t value);
/* MSI-X on, vector v is sent as interrupt vector 0x40 + v to CPU 0, not masked. */
void fake_driver_msix(struct fake_driver *d, unsigned nvec);
/* Reset, negotiate the features wanted among those offered, all queues up, DRIVER_OK; rings from
 * ram on. */
void fake_driver_start(struct fake_driver *d, uint64_t wanted, unsigned nqueues, uint64_t ram);
/* Guest memory for buffers. */
uint64_t fake_driver_alloc(struct fake_driver *d, uint32_t len);
/* Writes descriptor i of a table. */
void fake_desc_write(struct vm *vm, uint64_t table, unsigned i, uint64_t addr, uint32_t len,
    uint16_t flags, uint16_t next);
/* A chain of n buffers is made available; returns its head. */
uint16_t fake_driver_add(struct fake_driver *d, unsigned q, const struct fake_buf *buf, unsigned n);
/* Puts a head into the available ring without further ado. */
void fake_driver_avail(struct fake_driver *d, unsigned q, uint16_t head);
void fake_driver_kick(struct fake_driver *d, unsigned q);
/* The next used entry, if there is one. */
bool fake_driver_used(struct fake_driver *d, unsigned q, uint32_t *head, uint32_t *len);
uint8_t fake_driver_status(struct fake_driver *d);

#endif
