/* SPDX-License-Identifier: BSD-2-Clause */
/* The store over a block device: requests overlap, and errors name the sector. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "hv/mm/mm.h"
#include "hv/snapshot/store_blk.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/fake_block.h"
#include "tests/unit/fake/fake_store.h"

static struct fake_disk *disk;
static unsigned most_held;

/* The disk gets round to its requests only when somebody waits. */
static void complete_one(struct waitq *q)
{
	most_held = MAX(most_held, disk->nheld);
	fake_disk_complete(disk);
}

static void test_over_blk_dev(void **state)
{
	static uint8_t ram[900 << 10];
	struct errmsg e = {.text = ""};
	struct store_io io;
	struct store *s;
	uint64_t digest;
	int err;

	disk = fake_disk_new("store", 1024 * 8 + 7);
	fake_ram_fill(ram, sizeof(ram), 3);
	assert_int_equal(store_blk_io(&disk->dev, &io), OK);
	assert_int_equal(io.nblocks, 1024);
	assert_int_equal(store_format(&io, (const uint8_t *)"on a block dev..", &e), OK);
	assert_int_equal(store_open(&io, true, &s, &e), OK);
	disk->hold = true;
	fake_wait_hook = complete_one;
	assert_int_equal(fake_save(s, "x", 1, ram, sizeof(ram), 0, false, &e), OK);
	assert_true(most_held >= STORE_IO_DEPTH);
	digest = fake_digest(s);
	store_close(s);
	disk->hold = false;
	fake_wait_hook = NULL;

	assert_int_equal(store_open(&io, true, &s, &e), OK);
	assert_true(fake_digest(s) == digest);
	disk->fail = ERR_IO;
	err = fake_save(s, "y", 1, ram, sizeof(ram), 0, false, &e);
	assert_int_equal(err, ERR_IO);
	assert_non_null(strstr(e.text, "(sector "));
	disk->fail = OK;
	store_close(s);
	assert_int_equal(store_open(&io, true, &s, &e), OK);
	assert_true(fake_digest(s) == digest);
	store_close(s);
	store_blk_destroy(&io);
	assert_int_equal(fake_heap_outstanding(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_over_blk_dev),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
