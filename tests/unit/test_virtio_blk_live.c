/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtio block device in a live save (I7): it waits for no disk, what is in
 * flight is recorded, and nothing that the guest sees changes until it goes on.
 */
#include "hv/dev/pci_bus.c"
#include "hv/dev/virtio_blk.c"
#include "tests/unit/fake/virtio_blk_test.h"

enum { VECTOR = 0x41, SAVED_RAM = 4 * MIB };

/* The driver says nothing of the interrupts that it wants: it gets all. */
#define EVERY_INTERRUPT (~VIRTIO_F_RING_EVENT_IDX)

/* A live save takes this from the quiesced machine. */
struct saved {
	struct vblk_state st;
	uint8_t *ram;
};

/* Were it to wait, the fake would panic: no wait hook is set. */
static void hold_still(void)
{
	assert_null(fake_wait_hook);
	dev->model->quiesce(dev);
}

static struct saved save(void)
{
	struct saved s = {.st = blk()->st, .ram = malloc(SAVED_RAM)};

	memcpy(s.ram, at(0), SAVED_RAM);
	return s;
}

/* As on a machine that was just built: nothing under way, memory and state as saved. Not resumed.
 */
static void load(const struct saved *s)
{
	struct errmsg e = {""};

	drain();
	memcpy(at(0), s->ram, SAVED_RAM);
	assert_int_equal(fake_device_check(dev, &s->st, &e), OK);
	blk()->st = s->st;
	dev->model->loaded(dev);
}

static unsigned in_flight(void)
{
	return (unsigned)bitmap_count(blk()->st.queue[0].inflight, VRING_MAX_SIZE);
}

/* --- completions ---------------------------------------------------------------- */

static void before_during_and_after(void **state)
{
	struct request r[3];
	uint8_t *ram;

	fake_driver_start(&drv, EVERY_INTERRUPT, 1, RAM);
	disk->hold = true;
	for (unsigned i = 0; i < 3; i++) {
		r[i] = prepare(VBLK_T_IN, 10 * i, 512);
		submit(&r[i], true);
	}
	assert_true(complete());
	expect_head(0, 513);
	assert_int_equal(fake_lapic_take(vm, 0), VECTOR);
	hold_still();
	assert_int_equal(in_flight(), 2);
	ram = malloc(SAVED_RAM);
	memcpy(ram, at(0), SAVED_RAM);
	assert_true(complete());
	/* the disk's own DMA, and nothing else */
	memcpy(ram + r[1].data, disk->data + 10 * 512, 512);
	assert_memory_equal(ram, at(0), SAVED_RAM);
	free(ram);
	assert_int_equal(in_flight(), 2);
	assert_int_equal(status_of(&r[1]), 0xee);
	assert_int_equal(fake_lapic_take(vm, 0), -1);
	resume();
	expect_head(3, 513);
	expect_nothing_used();
	assert_int_equal(status_of(&r[1]), VBLK_S_OK);
	assert_int_equal(fake_lapic_take(vm, 0), VECTOR);
	assert_int_equal(fake_lapic_take(vm, 0), -1);
	assert_true(complete());
	expect_head(6, 513);
	assert_int_equal(fake_lapic_take(vm, 0), VECTOR);
	assert_memory_equal(at(r[2].data), disk->data + 20 * 512, 512);
	assert_int_equal(in_flight(), 0);
	assert_int_equal(disk->reads, 3);
	assert_int_equal(fake_of(vm)->dma_outstanding, 0);
}

/* Guest memory may have to come from the disk whose thread completes the request, or wait for the
 * thread that resumes: all that touches it is the worker's. */
static void steps_are_the_workers(void **state)
{
	struct request r[2];
	unsigned accesses;

	disk->hold = true;
	for (unsigned i = 0; i < 2; i++) {
		r[i] = prepare(VBLK_T_IN, 64 * i, 64 * KIB + 512);
		r[i].data += 2;
		r[i].len = 64 * KIB;
		submit(&r[i], true);
	}
	accesses = fake_of(vm)->gmem_accesses;
	assert_true(fake_disk_complete(disk));
	assert_int_equal(fake_of(vm)->gmem_accesses, accesses);
	assert_int_equal(disk->nheld, 0);
	assert_true(run_worker());
	assert_true(fake_of(vm)->gmem_accesses > accesses);
	assert_int_equal(disk->nheld, 1);
	/* completed, but not yet gone on with: that is for after the save */
	assert_true(fake_disk_complete(disk));
	hold_still();
	accesses = fake_of(vm)->gmem_accesses;
	assert_true(run_worker());
	assert_int_equal(disk->nheld, 0);
	dev->model->resume(dev);
	assert_int_equal(fake_of(vm)->gmem_accesses, accesses);
	assert_int_equal(disk->nheld, 0);
	assert_true(run_worker());
	assert_true(fake_of(vm)->gmem_accesses > accesses);
	while (complete())
		;
	expect_used(64 * KIB + 1);
	expect_used(64 * KIB + 1);
}

static void line_interrupt_is_neither_early_nor_lost(void **state)
{
	struct request r = prepare(VBLK_T_IN, 0, 512);

	fake_pci_write(vm, SLOT, drv.msix_cap + 2, 2, 0);
	disk->hold = true;
	submit(&r, true);
	hold_still();
	assert_true(complete());
	assert_int_equal(blk()->st.virtio.isr, 0);
	resume();
	assert_int_equal(fake_mmio_read(vm, drv.isr, 1), 1);
	expect_head(0, 513);
}

static void copied_data_waits(void **state)
{
	struct request r[2];

	disk->hold = true;
	for (unsigned i = 0; i < 2; i++) {
		r[i] = prepare(VBLK_T_IN, 64 * i, 64 * KIB + 512);
		r[i].data += 2;
		r[i].len = 64 * KIB;
		memset(at(r[i].data), 0xdd, r[i].len);
		submit(&r[i], true);
	}
	hold_still();
	assert_true(complete());
	assert_int_equal(*at(r[0].data), 0xdd);
	assert_int_equal(disk->nheld, 0); /* no next part either */
	resume();
	assert_memory_equal(at(r[0].data), disk->data, VBLK_BOUNCE_BYTES);
	while (complete())
		;
	for (unsigned i = 0; i < 2; i++) {
		expect_used(64 * KIB + 1);
		assert_memory_equal(at(r[i].data), disk->data + 64 * i * 512, 64 * KIB);
	}
}

static void parts_stop_and_go_on(void **state)
{
	struct request r = prepare(VBLK_T_IN, 0, 3 * MIB);

	disk->hold = true;
	submit(&r, true);
	for (unsigned parts = 1; parts <= 12; parts++) {
		hold_still();
		assert_int_equal(disk->nheld, 1);
		assert_true(complete());
		assert_int_equal(disk->nheld, 0);
		assert_int_equal(disk->reads, parts);
		expect_nothing_used();
		resume();
	}
	expect_head(0, 3 * MIB + 1);
	assert_memory_equal(at(r.data), disk->data, 3 * MIB);
	assert_int_equal(fake_of(vm)->dma_outstanding, 0);
}

static void errors_are_told_later(void **state)
{
	struct request r = prepare(VBLK_T_IN, 0, 512);

	disk->hold = true;
	submit(&r, true);
	hold_still();
	disk->fail = ERR_IO;
	assert_true(complete());
	assert_int_equal(status_of(&r), 0xee);
	assert_int_equal(blk()->stat_errors, 0);
	resume();
	expect_head(0, 1);
	assert_int_equal(status_of(&r), VBLK_S_IOERR);
}

/* What came into the ring before vCPUs were parked and was not seen yet stays there. */
static void new_requests_wait(void **state)
{
	struct request r = prepare(VBLK_T_IN, 0, 512);

	hold_still();
	submit(&r, true);
	assert_int_equal(blk()->st.queue[0].last_avail, 0);
	assert_int_equal(disk->reads, 0);
	resume();
	expect_head(0, 513);
}

static void drained_after_all(void **state)
{
	struct request r[4];

	disk->hold = true;
	for (unsigned i = 0; i < 4; i++) {
		r[i] = prepare(VBLK_T_IN, i, 512);
		submit(&r[i], true);
	}
	hold_still();
	assert_true(complete());
	assert_true(complete());
	assert_int_equal(in_flight(), 4);
	drain();
	assert_int_equal(in_flight(), 0);
	assert_int_equal(disk->nheld, 0);
	for (unsigned i = 0; i < 4; i++)
		expect_head(3 * i, 513);
	assert_int_equal(fake_of(vm)->dma_outstanding, 0);
}

static void reset_while_held(void **state)
{
	struct request r[2];

	disk->hold = true;
	for (unsigned i = 0; i < 2; i++) {
		r[i] = prepare(VBLK_T_IN, i, 512);
		submit(&r[i], true);
	}
	hold_still();
	assert_true(complete());
	fake_wait_hook = complete_one;
	dev->model->reset(dev);
	fake_wait_hook = NULL;
	assert_int_equal(disk->nheld, 0);
	assert_int_equal(blk()->active, 0);
	assert_int_equal(fake_of(vm)->dma_outstanding, 0);
	/* and, in teardown of the next ones, destruction: it must not lose what was kept */
	dev->model->resume(dev);
	fake_driver_probe(&drv, vm, SLOT);
	fake_driver_start(&drv, UINT64_MAX, 1, RAM);
	disk->hold = true;
	r[0] = prepare(VBLK_T_IN, 0, 512);
	submit(&r[0], true);
	hold_still();
	assert_true(complete());
}

/* --- restore -------------------------------------------------------------------- */

/* A request behind one indirect descriptor, so that the ring takes as many as it has entries. */
static struct request submit_indirect(unsigned i, bool write)
{
	struct request r = prepare(write ? VBLK_T_OUT : VBLK_T_IN, 8 * i, 512);
	uint64_t table = fake_driver_alloc(&drv, 48);

	if (write)
		memset(at(r.data), (int)(0x80 + i), 512);
	fake_desc_write(vm, table, 0, r.header, 16, 1, 1);
	fake_desc_write(vm, table, 1, r.data, 512, write ? 1 : 3, 2);
	fake_desc_write(vm, table, 2, r.status, 1, 2, 0);
	fake_desc_write(vm, drv.q[0].desc, i, table, 48, 4, 0);
	fake_driver_avail(&drv, 0, (uint16_t)i);
	kick();
	return r;
}

static bool is_write_nr(unsigned i)
{
	return i % 3 == 1;
}

/* n requests in flight, the first n / 3 of them completed while the machine stands still. */
static void save_and_restore(unsigned n)
{
	struct request r[VBLK_QUEUE_SIZE];
	bool seen[VBLK_QUEUE_SIZE] = {false};
	struct fake_queue rings;
	struct saved s;

	fake_driver_start(&drv, EVERY_INTERRUPT, 1, RAM);
	disk->hold = true;
	for (unsigned i = 0; i < n; i++)
		r[i] = submit_indirect(i, is_write_nr(i));
	hold_still();
	for (unsigned i = 0; i < n / 3; i++)
		assert_true(complete());
	assert_int_equal(in_flight(), n);
	s = save();
	rings = drv.q[0];
	resume();
	while (complete())
		;
	load(&s);
	drv.q[0] = rings;
	for (unsigned i = 0; i < n; i++) {
		memset(is_write_nr(i) ? disk->data + 8 * i * 512 : at(r[i].data), 0x11, 512);
		assert_int_equal(status_of(&r[i]), 0xee);
	}
	assert_int_equal(fake_lapic_take(vm, 0), VECTOR); /* of the machine that went on */
	disk->reads = disk->writes = 0;
	resume();
	assert_int_equal(disk->nheld, n);
	while (complete())
		;
	for (unsigned i = 0; i < n; i++) {
		uint32_t head, len;

		assert_true(fake_driver_used(&drv, 0, &head, &len));
		assert_true(head < n && !seen[head]);
		seen[head] = true;
		assert_int_equal(len, is_write_nr(head) ? 1 : 513);
	}
	expect_nothing_used();
	assert_int_equal(fake_lapic_take(vm, 0), VECTOR);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(status_of(&r[i]), VBLK_S_OK);
		assert_memory_equal(at(r[i].data), disk->data + 8 * i * 512, 512);
		if (is_write_nr(i))
			assert_int_equal(disk->data[8 * i * 512], 0x80 + i);
	}
	assert_int_equal(disk->reads + disk->writes, n);
	assert_int_equal(in_flight(), 0);
	free(s.ram);
}

static void any_number_in_flight(void **state)
{
	for (unsigned n = 1; n <= VBLK_QUEUE_SIZE; n++)
		save_and_restore(n);
}

/* A restored machine that was never resumed is saved: its requests are still to be done. */
static void saved_again_before_it_runs(void **state)
{
	struct request r = prepare(VBLK_T_IN, 5, 512);
	struct saved s, again;

	disk->hold = true;
	submit(&r, true);
	hold_still();
	s = save();
	load(&s);
	again = save();
	assert_memory_equal(&s.st, &again.st, sizeof(s.st));
	load(&again);
	resume();
	while (complete())
		;
	expect_head(0, 513);
	/* only once */
	hold_still();
	disk->reads = 0;
	resume();
	assert_int_equal(disk->reads + disk->nheld, 0);
	free(s.ram);
	free(again.ram);
}

/* The second of three finds no memory: the first is not done twice, none is lost. */
static void done_again_in_two_goes(void **state)
{
	struct request r[3];
	struct saved s;

	disk->hold = true;
	for (unsigned i = 0; i < 3; i++) {
		r[i] = prepare(VBLK_T_IN, i, 512);
		submit(&r[i], true);
	}
	hold_still();
	s = save();
	load(&s);
	disk->reads = 0;
	fake_of(vm)->gmem_fail_start = r[1].header;
	fake_of(vm)->gmem_fail_len = 16;
	fake_of(vm)->gmem_fail_error = ERR_RETRY;
	resume();
	assert_int_equal(disk->nheld, 1);
	fake_of(vm)->gmem_fail_len = 0;
	hold_still();
	assert_int_equal(in_flight(), 3);
	resume();
	while (complete())
		;
	for (unsigned i = 0; i < 3; i++)
		expect_used(513);
	expect_nothing_used();
	assert_int_equal(disk->reads, 3);
	free(s.ram);
}

/* A machine reset before it ran has no requests. */
static void reset_forgets_them(void **state)
{
	struct request r = prepare(VBLK_T_IN, 5, 512);
	struct saved s;

	disk->hold = true;
	submit(&r, true);
	hold_still();
	s = save();
	load(&s);
	disk->reads = 0;
	dev->model->reset(dev);
	resume();
	assert_int_equal(disk->reads + disk->nheld, 0);
	assert_int_equal(in_flight(), 0);
	free(s.ram);
}

static void old_ones_go_first(void **state)
{
	struct request r[3];
	struct saved s;

	disk->hold = true;
	for (unsigned i = 0; i < 2; i++) {
		r[i] = prepare(VBLK_T_IN, i, 512);
		submit(&r[i], true);
	}
	hold_still();
	r[2] = prepare(VBLK_T_IN, 2, 512);
	submit(&r[2], true);
	s = save();
	load(&s);
	resume();
	assert_int_equal(disk->nheld, 3);
	while (complete())
		;
	for (unsigned i = 0; i < 3; i++)
		expect_head(3 * i, 513);
	free(s.ram);
}

static void flush_and_discard_are_done_again(void **state)
{
	struct request flush = prepare(VBLK_T_FLUSH, 0, 0), r = prepare(VBLK_T_DISCARD, 0, 16);
	struct saved s;

	memset(at(r.data), 0, 16);
	*at(r.data) = 100;
	*at(r.data + 8) = 1;
	disk->hold = true;
	submit(&flush, false);
	submit(&r, false);
	hold_still();
	assert_true(complete());
	s = save();
	load(&s);
	disk->flushes = disk->discards = 0;
	memset(disk->data + 100 * 512, 0xff, 512);
	resume();
	while (complete())
		;
	assert_int_equal(disk->flushes, 1);
	assert_int_equal(disk->discards, 1);
	assert_int_equal(disk->data[100 * 512], 0);
	expect_used(1);
	expect_used(1);
	free(s.ram);
}

/* The first of two chains is damaged: the device breaks, the second is left alone. */
static void damaged_chain(void **state)
{
	struct request r[2];
	struct saved s;

	disk->hold = true;
	for (unsigned i = 0; i < 2; i++) {
		r[i] = prepare(VBLK_T_IN, i, 512);
		submit(&r[i], true);
	}
	hold_still();
	s = save();
	load(&s);
	disk->reads = 0;
	fake_desc_write(vm, drv.q[0].desc, 0, RAM, 1, 1, 0);
	resume();
	assert_true(fake_driver_status(&drv) & VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(disk->reads + disk->nheld, 0);
	fake_driver_start(&drv, UINT64_MAX, 1, RAM);
	disk->hold = false;
	assert_int_equal(one(VBLK_T_IN, 0, 512, true), VBLK_S_OK);
	free(s.ram);
}

static void expect_refused(const struct vblk_state *st, const char *text)
{
	struct errmsg e = {""};

	assert_int_not_equal(fake_device_check(dev, st, &e), OK);
	assert_string_equal(e.text, text);
}

static void malformed_lists(void **state)
{
	struct request r = prepare(VBLK_T_IN, 0, 512);
	struct vblk_state good, st;
	struct errmsg e;

	disk->hold = true;
	submit(&r, true);
	hold_still();
	good = st = blk()->st;
	assert_int_equal(fake_device_check(dev, &st, &e), OK);
	bitmap_set(st.queue[0].inflight, 64); /* beyond the queue */
	expect_refused(&st, "queue0-in-flight: descriptor beyond the queue");
	st = good;
	bitmap_set(st.queue[0].inflight, 63); /* one too many */
	expect_refused(&st, "queue0-last-avail: 1 taken and 0 returned do not fit 2 in flight");
	st = good;
	st.queue[0].inflight[0] = 0; /* one too few */
	expect_refused(&st, "queue0-last-avail: 1 taken and 0 returned do not fit 0 in flight");
	st = good;
	st.queue[0].last_avail = 0; /* returned before it was taken */
	st.queue[0].used_idx = 1;
	expect_refused(&st, "queue0-last-avail: 0 taken and 1 returned do not fit 1 in flight");
	st = good;
	st.queue[0].inflight[0] = UINT64_MAX; /* the whole queue, but not more */
	st.queue[0].last_avail = 70;
	st.queue[0].used_idx = 6;
	assert_int_equal(fake_device_check(dev, &st, &e), OK);
	st.queue[0].last_avail = 71;
	expect_refused(&st, "queue0-last-avail: 71 taken and 6 returned do not fit 64 in flight");
	st = good;
	st.queue[0].enabled = 0;
	expect_refused(&st, "queue0: indexes of a queue that is not enabled");
}

/* --- the write epoch ------------------------------------------------------------ */

static unsigned hook_calls;

static int counting_hook(struct vm *which, struct blk_dev *backend)
{
	hook_calls++;
	return OK;
}

static void epoch(void **state)
{
	struct request r[2];
	struct saved s;

	virtio_blk_before_first_write = counting_hook;
	hook_calls = 0;
	disk->hold = true;
	r[0] = prepare(VBLK_T_OUT, 0, 512);
	submit(&r[0], false);
	assert_int_equal(hook_calls, 1);
	assert_int_equal(disk->nheld, 1);
	hold_still();
	s = save();
	resume();
	/* the write under way goes on, the next one is a write after the save */
	assert_true(complete());
	assert_int_equal(hook_calls, 1);
	r[1] = prepare(VBLK_T_OUT, 1, 512);
	submit_only(&r[1], false);
	assert_int_equal(disk->nheld, 0);
	assert_true(run_worker());
	assert_int_equal(hook_calls, 2);
	assert_int_equal(disk->nheld, 1);
	/* one that is done again is a write like any other */
	load(&s);
	dev->model->resume(dev);
	assert_int_equal(hook_calls, 2);
	assert_int_equal(disk->nheld, 0);
	assert_true(run_worker()); /* takes it from the ring */
	assert_int_equal(hook_calls, 2);
	assert_int_equal(disk->nheld, 0);
	assert_true(run_worker());
	assert_int_equal(hook_calls, 3);
	assert_int_equal(disk->nheld, 1);
	free(s.ram);
}

/* Nobody waits for the hook: neither the vCPU that is to be parked nor the device. */
static void epoch_not_yet_raised(void **state)
{
	struct request r = prepare(VBLK_T_OUT, 0, 512);
	struct saved s;

	virtio_blk_before_first_write = counting_hook;
	hook_calls = 0;
	submit_only(&r, false);
	hold_still();
	assert_int_equal(hook_calls, 0);
	assert_int_equal(in_flight(), 1);
	s = save();
	/* raised while the machine stands still: the write comes after that */
	assert_true(run_worker());
	assert_int_equal(hook_calls, 1);
	assert_int_equal(disk->writes, 0);
	assert_int_equal(status_of(&r), 0xee);
	resume();
	assert_int_equal(disk->writes, 1);
	expect_head(0, 1);
	free(s.ram);
}

static int saving_hook(struct vm *which, struct blk_dev *backend)
{
	if (hook_calls++ == 0) {
		hold_still();
		dev->model->resume(dev);
	}
	assert_int_equal(disk->writes, 0);
	return OK;
}

/* Saved while the hook runs: the snapshot may have the new epoch, so that one is not enough. */
static void saved_while_raising(void **state)
{
	virtio_blk_before_first_write = saving_hook;
	hook_calls = 0;
	assert_int_equal(one(VBLK_T_OUT, 0, 512, false), VBLK_S_OK);
	assert_int_equal(hook_calls, 2);
	assert_int_equal(disk->writes, 1);
}

static int failing_hook(struct vm *which, struct blk_dev *backend)
{
	hold_still();
	return ERR_IO;
}

static void failure_is_told_later(void **state)
{
	struct request r = prepare(VBLK_T_OUT, 0, 512);

	virtio_blk_before_first_write = failing_hook;
	submit(&r, false);
	expect_nothing_used();
	assert_int_equal(status_of(&r), 0xee);
	virtio_blk_before_first_write = NULL;
	resume();
	expect_head(0, 1);
	assert_int_equal(status_of(&r), VBLK_S_IOERR);
	assert_int_equal(disk->writes, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(before_during_and_after),
	    T(steps_are_the_workers),
	    T(line_interrupt_is_neither_early_nor_lost),
	    T(copied_data_waits),
	    T(parts_stop_and_go_on),
	    T(errors_are_told_later),
	    T(new_requests_wait),
	    T(drained_after_all),
	    T(reset_while_held),
	    T(any_number_in_flight),
	    T(saved_again_before_it_runs),
	    T(done_again_in_two_goes),
	    T(reset_forgets_them),
	    T(old_ones_go_first),
	    T(flush_and_discard_are_done_again),
	    T(damaged_chain),
	    T(malformed_lists),
	    T(epoch),
	    T(epoch_not_yet_raised),
	    T(saved_while_raising),
	    T(failure_is_told_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
