/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A good store and a list of changes to it, for fuzzers. A change has 12 bytes: block (an index
 * into the blocks in use), kind, offset (2), 8 bytes of value.
 */
#ifndef AMBER_TESTS_FUZZ_STORE_IMAGE_H
#define AMBER_TESTS_FUZZ_STORE_IMAGE_H

#include <stdlib.h>
#include <string.h>

#include "hv/lib/cursor.h"
#include "tests/unit/fake/fake_store.h"

enum { BLOCKS = 512, EDIT = 12, MAX_EDITS = 64 };
enum edit_kind { SET1, SET2, SET4, SET8, ADD, COPY_BLOCK, TRUNCATE, SHIFT, EDIT_KINDS };

static struct mem_disk disk;
static uint8_t *good;
static uint64_t used[BLOCKS];
static unsigned nused;

/* What the disk holds now is the good store. */
static void keep_good(void)
{
	static const uint8_t zero[STORE_BLOCK];

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

/*
 * The good store with the changes in data; if bit 0 of the first byte is set all checksums are made
 * right again afterwards, so that the fuzzer gets behind them. False: there is nothing to do.
 */
static bool damage(const uint8_t *data, size_t size)
{
	if (size < 1)
		return false;
	memcpy(disk.data, good, (size_t)BLOCKS * STORE_BLOCK);
	disk.io.nblocks = BLOCKS;
	for (unsigned i = 0; i < MAX_EDITS && 1 + (i + 1) * EDIT <= size; i++)
		edit(data + 1 + i * EDIT);
	if (data[0] & 1)
		fake_reseal(disk.data, BLOCKS);
	return true;
}

#endif
