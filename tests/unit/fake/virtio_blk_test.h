/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frame of the virtio block device's tests: a machine with the device on a RAM
 * disk, and its guest's driver, which submits requests one by one.
 */
#ifndef AMBER_TESTS_VIRTIO_BLK_TEST_H
#define AMBER_TESTS_VIRTIO_BLK_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/fake/fake_block.h"
#include "tests/unit/fake/fake_virtio.h"

enum { RAM = 0x10000, SECTORS = 8192, SLOT = 4 };

static struct vm *vm;
static struct device *dev;
static struct fake_disk *disk;
static struct fake_driver drv;
static struct config_dev cfg;

static inline struct device *create(struct errmsg *e)
{
	return fake_device_create(vm, "amber,virtio-blk", &cfg, e);
}

static inline struct vblk *blk(void)
{
	return dev->priv;
}

/* The device's thread, if there is something to do for it. */
static inline bool run_worker(void)
{
	bool pending = blk()->v.work_pending;

	blk()->v.work_pending = false;
	if (pending)
		vblk_work(&blk()->v);
	return pending;
}

static inline int setup(void **state)
{
	vm = fake_vm_new(1, 16 * MIB);
	fake_irq_attach(vm);
	fake_lapics_enable(vm);
	fake_device_create(vm, "amber,pci-host", NULL, NULL);
	disk = fake_disk_new("guestdisk", SECTORS);
	for (unsigned i = 0; i < SECTORS * SECTOR_SIZE; i++)
		disk->data[i] = (uint8_t)(i / SECTOR_SIZE + i);
	cfg = (struct config_dev){.name = "disk0",
	    .model = "amber,virtio-blk",
	    .pci_slot = SLOT,
	    .backend = "guestdisk",
	    .serial = "AMBER-0001"};
	virtio_blk_before_first_write = NULL;
	dev = create(NULL);
	if (!dev)
		return -1;
	assert_true(run_worker()); /* woken by the first resume */
	fake_driver_probe(&drv, vm, SLOT);
	fake_driver_msix(&drv, 2);
	fake_driver_start(&drv, UINT64_MAX, 1, RAM);
	return 0;
}

static inline void kick(void)
{
	fake_driver_kick(&drv, 0);
	while (run_worker())
		;
}

/* The disk completes its oldest request, without touching memory itself, and the worker has its
 * turn. */
static inline bool complete(void)
{
	unsigned accesses = fake_of(vm)->gmem_accesses;
	bool any = fake_disk_complete(disk);

	assert_int_equal(fake_of(vm)->gmem_accesses, accesses);
	while (run_worker())
		;
	return any;
}

/* The machine goes on, and the worker has its turn. */
static inline void resume(void)
{
	unsigned accesses = fake_of(vm)->gmem_accesses;

	dev->model->resume(dev);
	assert_int_equal(fake_of(vm)->gmem_accesses, accesses);
	while (run_worker())
		;
}

/* Somebody waits: the disk completes a request, or the worker has its turn. */
static inline void complete_one(struct waitq *q)
{
	assert_true(fake_disk_complete(disk) || run_worker());
}

static inline int teardown(void **state)
{
	fake_wait_hook = complete_one;
	fake_vm_free(vm);
	fake_wait_hook = NULL;
	return fake_heap_outstanding();
}

static inline void drain(void)
{
	dev->model->quiesce(dev);
	fake_wait_hook = complete_one;
	dev->model->drain(dev);
	fake_wait_hook = NULL;
}

/* --- requests ------------------------------------------------------------------- */

struct request {
	uint64_t header, data, status;
	uint32_t len;
};

static inline struct request prepare(uint32_t type, uint64_t sector, uint32_t len)
{
	struct request r = {.len = len};
	uint8_t header[16];

	put_le32(header, type);
	put_le32(header + 4, 0);
	put_le64(header + 8, sector);
	r.header = fake_driver_alloc(&drv, 16);
	r.status = fake_driver_alloc(&drv, 1);
	drv.next_free = ALIGN_UP(drv.next_free, PAGE_SIZE);
	r.data = fake_driver_alloc(&drv, len);
	assert_int_equal(gmem_write(vm, gpa(r.header), header, 16), OK);
	assert_int_equal(gmem_write(vm, gpa(r.status), "\xee", 1), OK);
	return r;
}

static inline void submit_only(const struct request *r, bool device_writes)
{
	struct fake_buf buf[] = {
	    {r->header, 16, false}, {r->data, r->len, device_writes}, {r->status, 1, true}};
	unsigned n = 3;

	if (!r->len) {
		buf[1] = buf[2];
		n = 2;
	}
	fake_driver_add(&drv, 0, buf, n);
	fake_driver_kick(&drv, 0);
}

static inline void submit(const struct request *r, bool device_writes)
{
	submit_only(r, device_writes);
	kick();
}

static inline uint8_t *at(uint64_t addr)
{
	return fake_of(vm)->ram + addr;
}

static inline uint8_t status_of(const struct request *r)
{
	return *at(r->status);
}

static inline void expect_used(uint32_t written)
{
	uint32_t head, len;

	assert_true(fake_driver_used(&drv, 0, &head, &len));
	assert_int_equal(len, written);
}

static inline void expect_head(uint32_t want, uint32_t written)
{
	uint32_t head, len;

	assert_true(fake_driver_used(&drv, 0, &head, &len));
	assert_int_equal(head, want);
	assert_int_equal(len, written);
}

static inline void expect_nothing_used(void)
{
	uint32_t head, len;

	assert_false(fake_driver_used(&drv, 0, &head, &len));
}

static inline uint8_t one(uint32_t type, uint64_t sector, uint32_t len, bool device_writes)
{
	struct request r = prepare(type, sector, len);
	uint32_t head, used;

	submit(&r, device_writes);
	assert_true(fake_driver_used(&drv, 0, &head, &used));
	return status_of(&r);
}

#endif
