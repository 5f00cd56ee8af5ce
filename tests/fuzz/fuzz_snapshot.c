/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A store that lies. The input is a list of changes to a good store of four snapshots, three of
 * them a chain; its first byte says whether all checksums are made right again afterwards (bit 0),
 * so that the fuzzer gets behind them. Then everything is done with the store that can be done.
 *
 * A change has 12 bytes: block (an index into the blocks in use), kind, offset (2), 8 bytes of
 * value.
 */
#include <stdlib.h>
#include <string.h>

#include "hv/lib/cursor.h"
#include "tests/unit/fake/fake_store.h"

/* The good store, and how much more room its disk has. */
enum { BLOCKS = 512, MORE = 100, EDIT = 12, MAX_EDITS = 64 };
enum edit_kind { SET1, SET2, SET4, SET8, ADD, COPY_BLOCK, TRUNCATE, SHIFT, EDIT_KINDS };

static struct mem_disk disk;
static uint8_t *good;
static uint64_t used[BLOCKS];
static unsigned nused;

static void make_good(void)
{
	static uint8_t ram[60 << 10];
	uint8_t guid[16] = {9}, zero[STORE_BLOCK] = {0};
	struct errmsg e;
	struct store *s;
	uint64_t epoch;

	mem_disk_init(&disk, BLOCKS + MORE, true);
	disk.io.nblocks = BLOCKS;
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
	good = malloc((size_t)BLOCKS * STORE_BLOCK);
	memcpy(good, disk.data, (size_t)BLOCKS * STORE_BLOCK);
	for (uint64_t b = 0; b < BLOCKS; b++)
		if (memcmp(good + b * STORE_BLOCK, zero, STORE_BLOCK))
			used[nused++] = b;
}

static void edit(const uint8_t *in)
{
	uint8_t *block = disk.data + used[in[0] % nused] * STORE_BLOCK;
	uint32_t at = get_le16(in + 2) % STORE_BLOCK, n;

	switch ((enum edit_kind)(in[1] % EDIT_KINDS)) {
	case SET1:
	case SET2:
	case SET4:
	case SET8:
		n = 1u << in[1] % EDIT_KINDS;
		memcpy(block + at / n * n, in + 4, n);
		break;
	case ADD:
		block[at] = (uint8_t)(block[at] + in[4]);
		break;
	case COPY_BLOCK:
		memmove(block, disk.data + used[in[4] % nused] * STORE_BLOCK, STORE_BLOCK);
		break;
	case TRUNCATE:
		disk.io.nblocks = get_le16(in + 4) % (BLOCKS + 1);
		break;
	case SHIFT: /* records move */
		n = MIN(get_le16(in + 4) % 512u, STORE_BLOCK - at);
		memmove(block + at, block + MIN(at, get_le16(in + 6) % (STORE_BLOCK - n)), n);
		break;
	case EDIT_KINDS:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!good)
		make_good();
	if (size < 1)
		return 0;
	memcpy(disk.data, good, (size_t)BLOCKS * STORE_BLOCK);
	memset(disk.data + (size_t)BLOCKS * STORE_BLOCK, 0, (size_t)MORE * STORE_BLOCK);
	disk.io.nblocks = BLOCKS + MORE;
	for (unsigned i = 0; i < MAX_EDITS && 1 + (i + 1) * EDIT <= size; i++)
		edit(data + 1 + i * EDIT);
	if (data[0] & 1)
		fake_reseal(disk.data, BLOCKS);
	fake_use_all(&disk);
	return 0;
}
