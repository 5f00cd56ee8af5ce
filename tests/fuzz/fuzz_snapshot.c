/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A store that lies. The input is a list of changes (store_image.h) to a good store of four
 * snapshots, three of them a chain. Then everything is done with the store that can be done.
 */
#include "tests/fuzz/store_image.h"

static void make_good(void)
{
	static uint8_t ram[60 << 10];
	uint8_t guid[16] = {9};
	struct errmsg e;
	struct store *s;
	uint64_t epoch;

	mem_disk_init(&disk, BLOCKS, true);
	fake_ram_fill(ram, sizeof(ram), 12);
	if (store_format(&disk.io, (const uint8_t *)"store that lies!", &e) ||
	    store_open(&disk.io, true, &s, &e) ||
	    fake_save(s, "first", 1, ram, 9000, 0x100000, false, &e) ||
	    fake_save(s, "second", 300, ram, sizeof(ram), 0, false, &e) ||
	    store_epoch_bump(s, guid, &epoch, &e))
		abort();
	memset(ram + 9000, 0, 12000);
	if (fake_save_child(s, "child", "second", 3, ram, sizeof(ram), false, &e))
		abort();
	memset(ram, 0x55, sizeof(ram) / 2);
	if (fake_save_child(s, "grandchild", "child", 4, ram, sizeof(ram), false, &e))
		abort();
	store_close(s);
	keep_good();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!good)
		make_good();
	if (damage(data, size))
		fake_use_all(&disk);
	return 0;
}
