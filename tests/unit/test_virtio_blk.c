/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtio block device on a RAM disk: transfers of every shape, errors, the write epoch, state.
 */
#include "hv/dev/pci_bus.c"
#include "hv/dev/virtio_blk.c"
#include "tests/unit/fake/virtio_blk_test.h"

/* --- tests ---------------------------------------------------------------------- */

static void configuration(void **state)
{
	assert_int_equal(fake_pci_read(vm, SLOT, 0, 4), 0x10421af4);
	assert_int_equal(fake_mmio_read(vm, drv.device, 8), SECTORS);
	assert_int_equal(fake_mmio_read(vm, drv.device + 8, 4), 1 << 20);
	assert_int_equal(fake_mmio_read(vm, drv.device + 12, 4), 62);
	assert_int_equal(fake_mmio_read(vm, drv.device + 20, 4), 512);
	assert_true(drv.features & VIRTIO_BLK_F_FLUSH);
	assert_true(drv.features & VIRTIO_BLK_F_DISCARD);
	assert_false(drv.features & VIRTIO_BLK_F_RO);
}

static void read_and_write(void **state)
{
	struct request r = prepare(VBLK_T_IN, 7, 4096);

	submit(&r, true);
	expect_used(4097);
	assert_int_equal(status_of(&r), VBLK_S_OK);
	assert_memory_equal(at(r.data), disk->data + 7 * 512, 4096);
	assert_int_equal(fake_lapic_take(vm, 0), 0x41);
	r = prepare(VBLK_T_OUT, 100, 1024);
	memset(at(r.data), 0x5a, 1024);
	submit(&r, false);
	expect_used(1);
	assert_int_equal(status_of(&r), VBLK_S_OK);
	assert_memory_equal(disk->data + 100 * 512, at(r.data), 1024);
	assert_int_equal(disk->data[102 * 512], (uint8_t)102);
	assert_int_equal(fake_of(vm)->dma_outstanding, 0);
}

static void framing_is_free(void **state)
{
	/* header in two parts, the second together with data; status behind the data in one buffer
	 */
	struct request r = prepare(VBLK_T_IN, 3, 512);
	struct fake_buf in[] = {
	    {r.header, 5, false}, {r.header + 5, 11, false}, {r.data, 513, true}};
	uint64_t out_addr = fake_driver_alloc(&drv, 16 + 512);
	struct fake_buf out[] = {
	    {out_addr, 16 + 100, false}, {out_addr + 116, 412, false}, {r.status, 1, true}};

	fake_driver_add(&drv, 0, in, 3);
	kick();
	expect_used(513);
	assert_memory_equal(at(r.data), disk->data + 3 * 512, 512);
	assert_int_equal(*at(r.data + 512), VBLK_S_OK);
	put_le32(at(out_addr), VBLK_T_OUT);
	put_le64(at(out_addr + 8), 50);
	memset(at(out_addr + 16), 0x77, 512);
	fake_driver_add(&drv, 0, out, 3);
	kick();
	expect_used(1);
	assert_int_equal(disk->data[50 * 512], 0x77);
	assert_int_equal(disk->data[50 * 512 + 511], 0x77);
	assert_int_equal(disk->data[51 * 512], (uint8_t)51);
	assert_true(disk->max_pieces == 1); /* bounced as one piece */
}

static void large_requests_are_split(void **state)
{
	struct request r = prepare(VBLK_T_IN, 0, 3 * MIB);

	submit(&r, true);
	expect_used(3 * MIB + 1);
	assert_int_equal(status_of(&r), VBLK_S_OK);
	assert_memory_equal(at(r.data), disk->data, 3 * MIB);
	/* one piece per page: 64 pages at a time */
	assert_int_equal(disk->max_pieces, 64);
	assert_int_equal(disk->reads, 12);
}

static void misaligned_buffers_are_bounced(void **state)
{
	static const uint32_t shift[] = {1, 2, 4, 8, 511};

	for (unsigned i = 0; i < ARRAY_LEN(shift); i++) {
		struct request r = prepare(VBLK_T_IN, i, 256 * KIB + 512);

		r.data += shift[i];
		r.len = 256 * KIB;
		submit(&r, true);
		expect_used(256 * KIB + 1);
		assert_memory_equal(at(r.data), disk->data + i * 512, 256 * KIB);
		r = prepare(VBLK_T_OUT, 2000, 256 * KIB + 512);
		r.data += shift[i];
		r.len = 256 * KIB;
		memset(at(r.data), (int)(0x30 + i), r.len);
		submit(&r, false);
		expect_used(1);
		assert_memory_equal(disk->data + 2000 * 512, at(r.data), 256 * KIB);
	}
	assert_int_equal(disk->max_pieces, 1);
}

static void one_bounce_buffer_serves_all(void **state)
{
	struct request r[5];

	disk->hold = true;
	for (unsigned i = 0; i < 5; i++) {
		r[i] = prepare(VBLK_T_IN, 100 * i, 64 * KIB + 512);
		r[i].data += 2;
		r[i].len = 64 * KIB;
		submit(&r[i], true);
	}
	assert_int_equal(disk->nheld, 1);
	while (complete())
		assert_in_range(disk->nheld, 0, 1);
	for (unsigned i = 0; i < 5; i++) {
		expect_used(64 * KIB + 1);
		assert_memory_equal(at(r[i].data), disk->data + 100 * i * 512, 64 * KIB);
	}
}

static void many_in_flight_and_out_of_order(void **state)
{
	struct request r[20];

	disk->hold = true;
	for (unsigned i = 0; i < 20; i++) {
		r[i] = prepare(VBLK_T_IN, i, 512);
		submit(&r[i], true);
	}
	assert_int_equal(disk->nheld, 20);
	expect_nothing_used();
	/* the newest first */
	while (disk->nheld) {
		struct list *last = disk->held.prev;

		list_remove(last);
		list_push_front(&disk->held, last);
		assert_true(complete());
	}
	for (unsigned i = 0; i < 20; i++) {
		expect_used(513);
		assert_memory_equal(at(r[i].data), disk->data + i * 512, 512);
	}
}

static void flush_id_and_unknown(void **state)
{
	struct request r = prepare(VBLK_T_GET_ID, 0, 20);
	uint8_t id[20] = "AMBER-0001";

	assert_int_equal(one(VBLK_T_FLUSH, 0, 0, false), VBLK_S_OK);
	assert_int_equal(disk->flushes, 1);
	disk->dev.has_flush = false;
	assert_int_equal(one(VBLK_T_FLUSH, 0, 0, false), VBLK_S_OK);
	assert_int_equal(disk->flushes, 1);
	submit(&r, true);
	expect_used(21);
	assert_memory_equal(at(r.data), id, 20);
	assert_int_equal(one(VBLK_T_GET_ID, 0, 10, true), VBLK_S_IOERR);
	assert_int_equal(one(13, 0, 16, false), VBLK_S_UNSUPP); /* WRITE_ZEROES */
	assert_int_equal(one(0x80000001, 0, 512, false), VBLK_S_UNSUPP);
}

static uint8_t discard(uint64_t sector, uint32_t sectors, uint32_t flags, uint32_t len)
{
	struct request r = prepare(VBLK_T_DISCARD, 0, len);
	uint32_t head, used;

	put_le64(at(r.data), sector);
	put_le32(at(r.data) + 8, sectors);
	put_le32(at(r.data) + 12, flags);
	submit(&r, false);
	assert_true(fake_driver_used(&drv, 0, &head, &used));
	return status_of(&r);
}

static void discards(void **state)
{
	assert_int_equal(discard(10, 5, 0, 16), VBLK_S_OK);
	assert_int_equal(disk->discards, 1);
	assert_int_equal(disk->data[10 * 512 + 3], 0);
	assert_int_equal(disk->data[15 * 512 + 3], 18);
	assert_int_equal(discard(SECTORS - 1, 2, 0, 16), VBLK_S_IOERR);
	assert_int_equal(discard(UINT64_MAX, 2, 0, 16), VBLK_S_IOERR);
	assert_int_equal(discard(0, 0, 0, 16), VBLK_S_IOERR);
	assert_int_equal(discard(0, 1, 1, 16), VBLK_S_UNSUPP);
	assert_int_equal(discard(0, 1, 0, 32), VBLK_S_IOERR);
	/* negotiated on another host, impossible on this one: a hint without effect */
	disk->dev.has_discard = false;
	assert_int_equal(discard(20, 5, 0, 16), VBLK_S_OK);
	assert_int_equal(disk->discards, 1);
	/* not negotiated */
	fake_driver_start(&drv, 0, 1, RAM);
	assert_int_equal(discard(20, 5, 0, 16), VBLK_S_UNSUPP);
}

/* Offered where discarded sectors read as zeros, and then done as a discard. */
static void write_zeroes(void **state)
{
	struct request r = prepare(VBLK_T_WRITE_ZEROES, 0, 16);

	fake_device_destroy(dev);
	disk->dev.discard_zeroes = true;
	dev = create(NULL);
	assert_non_null(dev);
	fake_driver_probe(&drv, vm, SLOT);
	fake_driver_msix(&drv, 2);
	fake_driver_start(&drv, UINT64_MAX, 1, RAM);
	put_le64(at(r.data), 10);
	put_le32(at(r.data) + 8, 5);
	put_le32(at(r.data) + 12, DISCARD_FLAG_UNMAP);
	submit(&r, false);
	expect_used(1);
	assert_int_equal(status_of(&r), VBLK_S_OK);
	assert_int_equal(disk->discards, 1);
	r = prepare(VBLK_T_WRITE_ZEROES, 0, 16);
	put_le32(at(r.data) + 8, 5);
	put_le32(at(r.data) + 12, 2);
	submit(&r, false);
	expect_used(1);
	assert_int_equal(status_of(&r), VBLK_S_UNSUPP);
	disk->dev.discard_zeroes = false;
}

/* The host's disk is full: the guest is paused, hears nothing, and nothing is lost. */
static void no_space(void **state)
{
	struct request a = prepare(VBLK_T_OUT, 100, 4096), b = prepare(VBLK_T_OUT, 200, 4096 + 512);
	struct request c = prepare(VBLK_T_OUT, 300, 4096 + 512);

	b.data += 2; /* two that are bounced */
	c.data += 2;
	b.len = c.len = 4096;
	memset(at(a.data), 0xaa, 4096);
	memset(at(b.data), 0xbb, 4096);
	memset(at(c.data), 0xcc, 4096);
	disk->fail = ERR_NOSPACE;
	submit(&a, false);
	submit(&b, false);
	submit(&c, false);
	expect_nothing_used();
	assert_true(fake_of(vm)->holds >= 1);
	assert_int_equal(fake_of(vm)->fail_disposition, DISP_NO_SPACE);
	assert_int_equal(fake_of(vm)->dma_outstanding, 0);
	/* the pause does not wait for them; going on without room pauses again */
	dev->model->quiesce(dev);
	dev->model->drain(dev);
	resume();
	expect_nothing_used();
	assert_true(fake_of(vm)->holds >= 4);
	dev->model->quiesce(dev);
	dev->model->drain(dev);
	disk->fail = OK;
	resume();
	expect_used(1);
	expect_used(1);
	expect_used(1);
	expect_nothing_used();
	assert_int_equal(status_of(&a), VBLK_S_OK);
	assert_memory_equal(disk->data + 100 * 512, at(a.data), 4096);
	assert_memory_equal(disk->data + 200 * 512, at(b.data), 4096);
	assert_memory_equal(disk->data + 300 * 512, at(c.data), 4096);
	/* a reset forgets them */
	disk->fail = ERR_NOSPACE;
	submit(&a, false);
	disk->fail = OK;
	memset(disk->data + 100 * 512, 0, 4096);
	fake_driver_start(&drv, UINT64_MAX, 1, RAM);
	dev->model->quiesce(dev);
	dev->model->drain(dev);
	resume();
	expect_nothing_used();
	assert_int_equal(disk->data[100 * 512], 0);
}

/* Host memory for a part of the guest's is to be had only after a pause. */
static void kick_in_need(uint64_t addr, uint64_t len)
{
	fake_of(vm)->gmem_fail_start = addr;
	fake_of(vm)->gmem_fail_len = len;
	fake_of(vm)->gmem_fail_error = ERR_RETRY;
	kick();
	fake_of(vm)->gmem_fail_len = 0;
	expect_nothing_used();
	assert_int_equal(fake_driver_status(&drv) & VIRTIO_STATUS_NEEDS_RESET, 0);
	assert_int_equal(fake_of(vm)->dma_outstanding, 0);
	assert_int_equal(blk()->stat_errors, 0);
	dev->model->quiesce(dev);
	dev->model->drain(dev);
	resume();
}

enum { PLACES = 6 };

static void one_in_need(unsigned place, uint32_t type, uint32_t shift)
{
	bool read = type != VBLK_T_OUT;
	uint32_t len = type == VBLK_T_GET_ID ? VBLK_ID_BYTES : 64 * KIB;
	struct request r = prepare(type, 16, len + 512);
	struct fake_buf buf[] = {
	    {r.header, 16, false}, {r.data + shift, len, read}, {r.status, 1, true}};
	const struct {
		uint64_t addr, len;
	} where[PLACES] = {{r.header, 16}, {r.data + len / 2, len / 2}, {r.status, 1},
	    {drv.q[0].desc, 16ull * drv.q[0].size}, {drv.q[0].avail, 2ull * drv.q[0].size + 6},
	    {drv.q[0].used, 8ull * drv.q[0].size + 6}};

	memset(at(r.data + shift), (int)(0x40 + place), len);
	fake_driver_add(&drv, 0, buf, 3);
	kick_in_need(where[place].addr, where[place].len);
	expect_used(read ? len + 1 : 1);
	expect_nothing_used();
	assert_int_equal(status_of(&r), VBLK_S_OK);
	if (type != VBLK_T_GET_ID)
		assert_memory_equal(disk->data + 16 * 512, at(r.data + shift), len);
	assert_int_equal(blk()->active + blk()->nstalled, 0);
}

static void memory_to_be_had_later(void **state)
{
	for (unsigned place = 0; place < PLACES; place++) {
		for (uint32_t shift = 0; shift < 3; shift += 2) {
			one_in_need(place, VBLK_T_IN, shift);
			one_in_need(place, VBLK_T_OUT, shift);
			one_in_need(place, VBLK_T_GET_ID, shift);
		}
		fake_driver_start(&drv, UINT64_MAX, 1, RAM);
	}
	assert_int_equal(fake_of(vm)->dma_outstanding, 0);
}

static void bounds(void **state)
{
	assert_int_equal(one(VBLK_T_IN, SECTORS - 1, 512, true), VBLK_S_OK);
	assert_int_equal(one(VBLK_T_IN, SECTORS - 1, 1024, true), VBLK_S_IOERR);
	assert_int_equal(one(VBLK_T_IN, SECTORS, 512, true), VBLK_S_IOERR);
	assert_int_equal(one(VBLK_T_OUT, UINT64_MAX, 512, false), VBLK_S_IOERR);
	assert_int_equal(one(VBLK_T_OUT, 1ull << 55, 1024, false), VBLK_S_IOERR);
	assert_int_equal(one(VBLK_T_IN, 0, 100, true), VBLK_S_IOERR);
	assert_int_equal(one(VBLK_T_IN, 0, 0, true), VBLK_S_IOERR);
	assert_int_equal(disk->reads + disk->writes, 1);
	assert_int_equal(blk()->stat_errors, 6);
}

static void read_only_disk(void **state)
{
	struct errmsg e = {""};

	cfg.read_only = true;
	cfg.pci_slot = 5;
	snprintf(cfg.name, sizeof(cfg.name), "disk1");
	assert_non_null(create(&e));
	fake_driver_probe(&drv, vm, 5);
	fake_driver_start(&drv, UINT64_MAX, 1, RAM);
	assert_true(drv.features & VIRTIO_BLK_F_RO);
	assert_false(drv.features & VIRTIO_BLK_F_DISCARD);
	assert_int_equal(one(VBLK_T_OUT, 0, 512, false), VBLK_S_IOERR);
	assert_int_equal(one(VBLK_T_IN, 0, 512, true), VBLK_S_OK);
	assert_int_equal(disk->writes, 0);
}

static void host_errors(void **state)
{
	struct request r = prepare(VBLK_T_IN, 0, 3 * MIB);
	uint64_t seq = 0;
	char text[4096];

	disk->fail = ERR_IO;
	while (log_read(&seq, text, sizeof(text)))
		;
	submit(&r, true);
	expect_used(1);
	assert_int_equal(status_of(&r), VBLK_S_IOERR);
	assert_int_equal(disk->reads, 1); /* the parts after it are not tried */
	text[log_read(&seq, text, sizeof(text) - 1)] = 0;
	assert_non_null(strstr(text, "disk0: host disk guestdisk: sector 0"));
	assert_int_equal(one(VBLK_T_FLUSH, 0, 0, false), VBLK_S_IOERR);
	disk->fail = OK;
	assert_int_equal(one(VBLK_T_IN, 0, 512, true), VBLK_S_OK);
}

static void buffers_outside_of_ram(void **state)
{
	struct request r = prepare(VBLK_T_IN, 0, 512);
	uint64_t good = r.data;

	r.data = 32 * MIB;
	submit(&r, true);
	expect_used(1);
	assert_int_equal(status_of(&r), VBLK_S_IOERR);
	r.data = 32 * MIB + 1; /* bounced */
	submit(&r, true);
	expect_used(1);
	/* the second of two buffers: what was mapped is unmapped */
	struct fake_buf buf[] = {
	    {r.header, 16, false}, {good, 512, true}, {64 * MIB, 512, true}, {r.status, 1, true}};
	fake_driver_add(&drv, 0, buf, 4);
	kick();
	expect_used(1);
	assert_int_equal(status_of(&r), VBLK_S_IOERR);
	assert_int_equal(fake_of(vm)->dma_outstanding, 0);
	assert_int_equal(disk->reads, 1); /* the bounced one was read, and had nowhere to go */
	assert_int_equal(fake_driver_status(&drv) & VIRTIO_STATUS_NEEDS_RESET, 0);
}

static void malformed(const struct fake_buf *buf, unsigned n)
{
	fake_driver_start(&drv, UINT64_MAX, 1, RAM);
	fake_driver_add(&drv, 0, buf, n);
	kick();
	expect_nothing_used();
	assert_true(fake_driver_status(&drv) & VIRTIO_STATUS_NEEDS_RESET);
}

static void malformed_requests(void **state)
{
	const uint64_t m = 8 * MIB;
	const struct fake_buf no_status[] = {{m, 16, false}};
	const struct fake_buf short_header[] = {{m, 15, false}, {m, 1, true}};
	const struct fake_buf no_header[] = {{m, 600, true}};
	const struct fake_buf lost_header[] = {{64 * MIB, 16, false}, {m, 1, true}};
	const struct fake_buf lost_status[] = {{m, 16, false}, {64 * MIB, 1, true}};

	malformed(no_status, 1);
	malformed(short_header, 2);
	malformed(no_header, 1);
	malformed(lost_header, 2);
	put_le32(at(m), 99);
	malformed(lost_status, 2);
	put_le32(at(m), VBLK_T_FLUSH); /* found out only when it is done */
	malformed(lost_status, 2);
	/* the others were not harmed */
	fake_driver_start(&drv, UINT64_MAX, 1, RAM);
	assert_int_equal(one(VBLK_T_IN, 0, 512, true), VBLK_S_OK);
}

/* --- the write epoch ------------------------------------------------------------ */

static unsigned hook_calls;
static int hook_result;

static int hook(struct vm *which, struct blk_dev *backend)
{
	assert_ptr_equal(which, vm);
	assert_ptr_equal(backend, &disk->dev);
	assert_int_equal(disk->writes, 0); /* before the write */
	assert_null(blk()->v.lock.owner);
	hook_calls++;
	return hook_result;
}

static void epoch_is_raised_once(void **state)
{
	virtio_blk_before_first_write = hook;
	hook_calls = 0;
	hook_result = OK;
	assert_int_equal(one(VBLK_T_IN, 0, 512, true), VBLK_S_OK);
	assert_int_equal(one(VBLK_T_FLUSH, 0, 0, false), VBLK_S_OK);
	assert_int_equal(hook_calls, 0);
	assert_int_equal(one(VBLK_T_OUT, 0, 512, false), VBLK_S_OK);
	assert_int_equal(hook_calls, 1);
	disk->writes = 0;
	assert_int_equal(discard(0, 1, 0, 16), VBLK_S_OK);
	assert_int_equal(one(VBLK_T_OUT, 0, 512, false), VBLK_S_OK);
	assert_int_equal(hook_calls, 1);
	/* a pause arms it again; a discard counts as a write */
	drain();
	resume();
	disk->writes = 0;
	assert_int_equal(discard(0, 1, 0, 16), VBLK_S_OK);
	assert_int_equal(hook_calls, 2);
	dev->model->reset(dev);
	fake_driver_msix(&drv, 2);
	fake_driver_start(&drv, UINT64_MAX, 1, RAM);
	assert_int_equal(one(VBLK_T_OUT, 0, 512, false), VBLK_S_OK);
	assert_int_equal(hook_calls, 3);
}

static void epoch_that_cannot_be_raised(void **state)
{
	virtio_blk_before_first_write = hook;
	hook_calls = 0;
	hook_result = ERR_IO;
	assert_int_equal(one(VBLK_T_OUT, 0, 512, false), VBLK_S_IOERR);
	assert_int_equal(one(VBLK_T_IN, 0, 512, true), VBLK_S_OK);
	assert_int_equal(one(VBLK_T_OUT, 0, 512, false), VBLK_S_IOERR);
	assert_int_equal(hook_calls, 2);
	hook_result = OK;
	assert_int_equal(one(VBLK_T_OUT, 0, 512, false), VBLK_S_OK);
}

static struct request second_write;

/* While the first write's hook waits for the disk, another vCPU submits one more. */
static int slow_hook(struct vm *which, struct blk_dev *backend)
{
	hook_calls++;
	second_write = prepare(VBLK_T_OUT, 1, 512);
	submit(&second_write, false);
	assert_int_equal(disk->writes, 0);
	return OK;
}

static void writes_wait_for_the_epoch(void **state)
{
	struct request r = prepare(VBLK_T_OUT, 0, 512);

	virtio_blk_before_first_write = slow_hook;
	hook_calls = 0;
	submit_only(&r, false);
	assert_int_equal(hook_calls, 0); /* a vCPU does not wait for the disk */
	assert_int_equal(one(VBLK_T_IN, 0, 512, true), VBLK_S_OK);
	assert_int_equal(hook_calls, 1);
	assert_int_equal(disk->writes, 2);
	expect_used(1);
	expect_used(1);
	assert_int_equal(status_of(&second_write), VBLK_S_OK);
}

/* --- pause, reset, state -------------------------------------------------------- */

static void drain_waits(void **state)
{
	struct request r[3];
	struct errmsg e = {""};

	disk->hold = true;
	for (unsigned i = 0; i < 3; i++) {
		r[i] = prepare(VBLK_T_IN, i, 512);
		submit(&r[i], true);
	}
	fake_wait_hook = complete_one;
	assert_int_equal(fake_device_roundtrip(dev, &e), OK);
	assert_int_equal(disk->nheld, 0);
	for (unsigned i = 0; i < 3; i++)
		expect_used(513);
}

static void reset_waits(void **state)
{
	struct request r = prepare(VBLK_T_IN, 0, 512);

	disk->hold = true;
	submit(&r, true);
	fake_wait_hook = complete_one;
	fake_common_write(&drv, COMMON_DEVICE_STATUS, 1, 0);
	assert_int_equal(fake_driver_status(&drv), 0);
	assert_int_equal(disk->nheld, 0);
	assert_int_equal(fake_of(vm)->dma_outstanding, 0);
}

/* A live save does not wait: the state then lists the head, and a restore does the request. */
static void replay_after_restore(void **state)
{
	struct request r = prepare(VBLK_T_IN, 42, 1024);
	struct vblk_state saved;
	struct errmsg e = {""};

	disk->hold = true;
	submit(&r, true);
	saved = blk()->st;
	assert_int_equal(saved.queue[0].inflight[0], 1);
	/* the machine that is restored has no request under way */
	while (complete())
		;
	fake_common_write(&drv, COMMON_DEVICE_STATUS, 1, 0);
	assert_int_equal(gmem_zero(vm, gpa(drv.q[0].used), 64), OK);
	memset(at(r.data), 0, 1024);
	*at(r.status) = 0xee;
	disk->hold = false;
	dev->model->quiesce(dev);
	assert_int_equal(fake_device_load(dev, &saved, &e), OK);
	while (run_worker())
		;
	expect_used(1025);
	assert_int_equal(status_of(&r), VBLK_S_OK);
	assert_memory_equal(at(r.data), disk->data + 42 * 512, 1024);
	assert_int_equal(blk()->st.queue[0].inflight[0], 0);
	/* chains that turn out to be damaged break the device, nothing else */
	dev->model->quiesce(dev);
	saved.queue[0].inflight[0] = 1 << 9;
	fake_desc_write(vm, drv.q[0].desc, 9, RAM, 1, 1, 9);
	assert_int_equal(fake_device_load(dev, &saved, &e), OK);
	assert_true(run_worker());
	assert_true(fake_driver_status(&drv) & VIRTIO_STATUS_NEEDS_RESET);
}

static void state_of_a_smaller_or_larger_disk(void **state)
{
	struct vblk_state st = blk()->st;
	struct errmsg e = {""};

	st.capacity = SECTORS + 1;
	assert_int_not_equal(fake_device_check(dev, &st, &e), OK);
	assert_string_equal(
	    e.text, "capacity: disk 'guestdisk' has 8192 sectors, the guest's has 8193");
	st.capacity = SECTORS / 2;
	dev->model->quiesce(dev);
	assert_int_equal(fake_device_load(dev, &st, &e), OK);
	assert_int_equal(fake_mmio_read(vm, drv.device, 8), SECTORS / 2);
	assert_int_equal(one(VBLK_T_IN, SECTORS / 2, 512, true), VBLK_S_IOERR);
}

static void creation(void **state)
{
	struct errmsg e = {""};

	cfg.pci_slot = 7;
	snprintf(cfg.backend, sizeof(cfg.backend), "nodisk");
	assert_null(create(&e));
	assert_string_equal(e.text, "there is no disk or partition 'nodisk'");
	snprintf(cfg.backend, sizeof(cfg.backend), "guestdisk");
	for (int n = 0; n < 2; n++) {
		fake_heap_fail_after(n);
		assert_null(create(&e));
		fake_heap_fail_after(-1);
	}
	assert_non_null(create(&e));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(configuration),
	    T(read_and_write),
	    T(framing_is_free),
	    T(large_requests_are_split),
	    T(misaligned_buffers_are_bounced),
	    T(one_bounce_buffer_serves_all),
	    T(many_in_flight_and_out_of_order),
	    T(flush_id_and_unknown),
	    T(discards),
	    T(write_zeroes),
	    T(no_space),
	    T(memory_to_be_had_later),
	    T(bounds),
	    T(read_only_disk),
	    T(host_errors),
	    T(buffers_outside_of_ram),
	    T(malformed_requests),
	    T(epoch_is_raised_once),
	    T(epoch_that_cannot_be_raised),
	    T(writes_wait_for_the_epoch),
	    T(drain_waits),
	    T(reset_waits),
	    T(replay_after_restore),
	    T(state_of_a_smaller_or_larger_disk),
	    T(creation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
