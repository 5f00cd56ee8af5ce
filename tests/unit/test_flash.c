/* SPDX-License-Identifier: BSD-2-Clause */
/* The flash chip: its commands, as firmware gives them; what is on its disk, and when. */
#include "hv/dev/flash.c"

#include "tests/unit/fake/device_test.h"
#include "tests/unit/fake/fake_block.h"

enum { BLOCKS = 8, SIZE = BLOCKS * FLASH_BLOCK };
#define END  (4 * GIB - 256 * KIB) /* the firmware's code begins here */
#define CHIP (END - SIZE)

static const struct config_dev config = {
    .kind = CONFIG_FLASH, .name = "flash0", .model = "amber,flash", .backend = "store:vars"};
static struct fake_disk *disk;
static uint8_t rom[MEMMAP_ROM_SIZE];
static uint64_t nsectors = SIZE / SECTOR_SIZE;

static int open_store(const struct config_dev *cfg, struct blk_dev **out, struct errmsg *e)
{
	assert_string_equal(cfg->backend, "store:vars");
	*out = &disk->dev;
	return OK;
}

static struct flash *chip(void)
{
	return dev->priv;
}

static struct flash_state *st(void)
{
	return &chip()->st;
}

/* The worker's thread, as far as it gets without waiting. */
static void work(void)
{
	while (chip()->wanted && !chip()->held)
		assert_true(work_once(chip()));
}

/* Who waits for the worker. */
static void worker_runs(struct waitq *q)
{
	assert_true(chip()->wanted && !chip()->held);
	assert_true(work_once(chip()));
}

static int start(void **state)
{
	struct errmsg e;

	fake_wait_hook = worker_runs;
	disk = fake_disk_new("vars", nsectors);
	for (unsigned i = 0; i < SIZE; i++)
		disk->data[i] = (uint8_t)(i * 7 | 1);
	disk_backend_open_store = open_store;
	device_test_start(1, "amber,flash", &config);
	memset(rom, 0, sizeof(rom));
	fake_of(vm)->rom = rom;
	assert_int_equal(flash_boot(vm, END, &e), OK);
	return 0;
}

static uint8_t rd(uint64_t off)
{
	return (uint8_t)fake_mmio_read(vm, CHIP + off, 1);
}

static void wr(uint64_t off, uint8_t v)
{
	fake_mmio_write(vm, CHIP + off, 1, v);
}

static uint8_t *at(uint64_t off)
{
	return rom + CHIP - MEMMAP_ROM + off;
}

static bool hidden(void)
{
	return fake_of(vm)->rom_hidden_size == SIZE && fake_of(vm)->rom_hidden_start == CHIP;
}

static void shows_the_disk_at_power_on(void **state)
{
	assert_memory_equal(at(0), disk->data, SIZE);
	assert_int_equal(rd(5), disk->data[5]);
	assert_false(hidden());
	assert_false(fake_mmio_claimed(vm, CHIP - 1));
	assert_false(fake_mmio_claimed(vm, END));
}

/* How OVMF tells flash from RAM and ROM (QemuFlashDetected). */
static void is_detected(void **state)
{
	uint8_t before = rd(0);

	wr(0, CMD_CLEAR_STATUS);
	assert_int_equal(rd(0), before);
	wr(0, CMD_READ_STATUS);
	assert_true(hidden());
	assert_int_equal(rd(0), 0);
	wr(0, CMD_READ_ARRAY);
	assert_false(hidden());
	assert_int_equal(rd(0), before);
}

static void identifies_itself(void **state)
{
	wr(0, CMD_READ_ID);
	assert_int_equal(rd(0), 0x89);
	assert_int_equal(rd(1), 0x17);
	wr(0, CMD_READ_ARRAY);
}

static void programs(void **state)
{
	*at(100) = 0xff;
	*at(101) = 0x0f;
	wr(100, CMD_PROGRAM);
	assert_true(hidden());
	wr(100, 0x55);
	assert_int_equal(rd(100), SR_READY);
	wr(101, CMD_PROGRAM_ALT);
	wr(101, 0xaa);
	assert_int_equal(*at(100), 0x55);
	assert_int_equal(*at(101), 0x0a); /* only clears bits */
	work();
	assert_int_equal(disk->writes, 0); /* it may go on */
	wr(100, CMD_READ_ARRAY);
	work();
	assert_int_equal(disk->writes, 1);
	assert_int_equal(disk->flushes, 1);
	assert_memory_equal(disk->data, at(0), SIZE);
	assert_int_equal(st()->dirty_end, 0);
}

static void erases_one_block(void **state)
{
	wr(FLASH_BLOCK + 77, CMD_ERASE);
	wr(FLASH_BLOCK + 77, CMD_CONFIRM);
	assert_int_equal(rd(0), SR_READY);
	wr(0, CMD_READ_ARRAY);
	for (unsigned i = 0; i < FLASH_BLOCK; i++)
		assert_int_equal(*at(FLASH_BLOCK + i), 0xff);
	assert_int_equal(*at(FLASH_BLOCK - 1), disk->data[FLASH_BLOCK - 1]);
	assert_int_equal(*at(2 * FLASH_BLOCK), disk->data[2 * FLASH_BLOCK]);
	work();
	assert_memory_equal(disk->data, at(0), SIZE);
}

static void says_what_was_wrong(void **state)
{
	uint64_t counted = vm->stat_unhandled_io;

	wr(0, CMD_ERASE);
	wr(0, 0x12); /* no confirmation */
	assert_int_equal(rd(0), SR_READY | SR_ERASE_ERROR | SR_PROGRAM_ERROR);
	assert_int_equal(st()->dirty_end, 0);
	wr(0, CMD_CLEAR_STATUS);
	wr(0, CMD_READ_STATUS);
	wr(0, 0xe8); /* buffered programming, which it does not have */
	assert_int_equal(rd(0) & SR_SEQUENCE_ERROR, SR_SEQUENCE_ERROR);
	assert_int_equal(vm->stat_unhandled_io, counted + 1);
	wr(0, CMD_READ_ARRAY);
}

static void no_host_memory(void **state)
{
	wr(4, CMD_PROGRAM);
	fake_of(vm)->gmem_fail_start = CHIP;
	fake_of(vm)->gmem_fail_len = SIZE;
	fake_of(vm)->gmem_fail_error = ERR_RETRY;
	wr(4, 0);
	fake_of(vm)->gmem_fail_len = 0;
	assert_int_equal(rd(4), SR_READY | SR_PROGRAM_ERROR);
	assert_int_equal(st()->dirty_end, 0);
}

static void change(uint64_t off)
{
	wr(off, CMD_PROGRAM);
	wr(off, 0);
	wr(off, CMD_READ_ARRAY);
}

/* A save: what the disk lacks is in the state, and is written when the machine goes on. */
static void quiesced_with_something_unwritten(void **state)
{
	change(700);
	dev->model->quiesce(dev);
	work();
	assert_int_equal(disk->writes, 0);
	assert_int_equal(st()->dirty_start, 700);
	assert_int_equal(st()->dirty_end, 701);
	assert_roundtrip();
	work();
	assert_int_equal(disk->data[700], 0);
	assert_int_equal(st()->dirty_end, 0);
}

static void drained_before_a_reset(void **state)
{
	change(3);
	dev->model->quiesce(dev);
	assert_int_equal(disk->writes, 0);
	dev->model->drain(dev);
	assert_int_equal(disk->data[3], 0);
	assert_int_equal(st()->dirty_end, 0);
	assert_true(chip()->held);
	dev->model->resume(dev);
}

/* A write that fails is tried again with the next change. */
static void disk_fails(void **state)
{
	disk->fail = ERR_IO;
	change(9);
	work();
	assert_int_equal(st()->dirty_end, 10);
	disk->fail = OK;
	change(2000);
	work();
	assert_int_equal(disk->data[9], 0);
	assert_int_equal(disk->data[2000], 0);
	assert_int_equal(st()->dirty_end, 0);
}

static void states(void **state)
{
	struct flash_state s = *st();

	assert_roundtrip();
	wr(0, CMD_READ_STATUS);
	assert_roundtrip();
	assert_true(hidden());
	s.address = CHIP + 1;
	assert_refused(&s, "address");
	s.address = 4 * GIB - SIZE / 2;
	assert_refused(&s, "address");
	s.address = MEMMAP_ROM - PAGE_SIZE;
	assert_refused(&s, "address");
	s = (struct flash_state){.mode = MODE_STATUS};
	assert_refused(&s, "nowhere");
	s = *st();
	s.dirty_end = SIZE + 1;
	assert_refused(&s, "dirty-end");
	s.dirty_end = 4;
	s.dirty_start = 5;
	assert_refused(&s, "dirty-end");
}

static void does_not_fit(void **state)
{
	struct errmsg e;

	dev->model->reset(dev);
	assert_int_equal(flash_boot(vm, MEMMAP_ROM + SIZE - FLASH_BLOCK, &e), ERR_NOSPACE);
	assert_int_equal(flash_boot(vm, MEMMAP_ROM + SIZE, &e), OK);
	assert_int_equal(st()->address, MEMMAP_ROM);
}

static void odd_disks(void **state)
{
	static const uint64_t sizes[] = {7, MEMMAP_ROM_SIZE / SECTOR_SIZE + 8};
	struct errmsg e;

	disk_backend_open_store = open_store;
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		disk = fake_disk_new("vars", sizes[i]);
		vm = fake_vm_new(1, 0);
		assert_null(fake_device_create(vm, "amber,flash", &config, &e));
		assert_non_null(strstr(e.text, "must be a multiple of 4 KiB, at most 8 MiB"));
		fake_vm_free(vm);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    DEVICE_TEST(shows_the_disk_at_power_on),
	    DEVICE_TEST(is_detected),
	    DEVICE_TEST(identifies_itself),
	    DEVICE_TEST(programs),
	    DEVICE_TEST(erases_one_block),
	    DEVICE_TEST(says_what_was_wrong),
	    DEVICE_TEST(no_host_memory),
	    DEVICE_TEST(quiesced_with_something_unwritten),
	    DEVICE_TEST(drained_before_a_reset),
	    DEVICE_TEST(disk_fails),
	    DEVICE_TEST(states),
	    DEVICE_TEST(does_not_fit),
	    cmocka_unit_test(odd_disks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
