/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every byte of a store may lie (I3): a flipped bit in any block that a snapshot depends on is
 * found, and the message names the record; no damage, also with the checksums made right again,
 * makes a reader or a writer crash, hang or take memory out of proportion.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "hv/lib/cursor.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/store_int.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/fake_store.h"

enum { BLOCKS = 512 };

static struct mem_disk disk;
static uint8_t *good; /* the undamaged image */

static int setup(void **state)
{
	static uint8_t ram[30 << 10];
	struct errmsg e;
	struct store *s;
	uint8_t guid[16] = {9};
	uint64_t epoch;
	int err;

	mem_disk_init(&disk, BLOCKS, false);
	fake_ram_fill(ram, sizeof(ram), 12);
	err = store_format(&disk.io, (const uint8_t *)"store that lies!", &e);
	if (!err)
		err = store_open(&disk.io, true, &s, &e);
	if (!err)
		err = fake_save(s, "first", 1, ram, 9000, 0x100000, false, &e);
	if (!err)
		err = fake_save(s, "second", 2, ram, sizeof(ram), 0, false, &e);
	for (unsigned i = 0; i < sizeof(ram); i += 100)
		ram[i] ^= (uint8_t)i;
	if (!err)
		err = fake_save_child(s, "child", "second", 3, ram, sizeof(ram), false, &e);
	memset(ram, 0, sizeof(ram) / 2);
	if (!err)
		err = fake_save_child(s, "grandchild", "child", 4, ram, sizeof(ram), false, &e);
	if (!err)
		err = store_epoch_bump(s, guid, &epoch, &e);
	store_close(s);
	good = malloc((size_t)BLOCKS * STORE_BLOCK);
	memcpy(good, disk.data, (size_t)BLOCKS * STORE_BLOCK);
	return err;
}

static int teardown(void **state)
{
	mem_disk_free(&disk);
	free(good);
	return fake_heap_outstanding();
}

static void undo(void)
{
	memcpy(disk.data, good, (size_t)BLOCKS * STORE_BLOCK);
}

/* Opens and verifies all snapshots: the first error, with its message. */
static int read_all(struct store *s, struct errmsg *e)
{
	static const char *const names[] = {"first", "second", "child", "grandchild"};
	struct snap *sn;
	int err = OK;

	for (unsigned i = 0; !err && i < ARRAY_LEN(names); i++) {
		err = snap_open(s, names[i], &sn, e);
		if (err)
			return err;
		err = snap_ram_check(sn, NULL, NULL, e);
		if (!err)
			err = snap_verify(sn, NULL, NULL, e);
		snap_close(sn);
	}
	return err;
}

enum block_kind { UNUSED_BLOCK, SNAPSHOT_BLOCK, MAP_BLOCK, SUPER_BLOCK };

/* Which blocks belong to the snapshots (tree, data), which to the map, which copies are in use. */
static void classify(uint8_t kind[BLOCKS])
{
	struct errmsg e;
	struct store *s;
	const uint8_t *counts;

	memset(kind, 0, BLOCKS);
	assert_int_equal(store_open(&disk.io, false, &s, &e), OK);
	assert_int_equal(map_group(s, 0, &counts, &e), OK);
	for (uint32_t i = map_group_fixed(0); i < map_group_blocks(s, 0); i++)
		kind[map_group_first(0) + i] =
		    get_le16(counts + 2 * i) ? SNAPSHOT_BLOCK : UNUSED_BLOCK;
	kind[map_group_first(0) + 2 + s->map_root.slot] = MAP_BLOCK;
	kind[map_group_first(0) + cache_find(s, MAP_ID(0, 0))->slot] = MAP_BLOCK;
	kind[s->generation % 2] = SUPER_BLOCK;
	store_close(s);
}

/* In a tree node or in data: the snapshot is named, nothing is delivered. */
static void flipped_in_snapshot(void)
{
	struct errmsg e = {.text = ""};
	struct store *s;

	assert_int_equal(store_open(&disk.io, false, &s, &e), OK);
	assert_int_equal(read_all(s, &e), ERR_CORRUPT);
	assert_int_equal(strncmp(e.text, "snapshot '", 10), 0);
	store_close(s);
}

/* In the reference map: reading goes on, the check finds it, and nothing is written over. */
static void flipped_in_map(void)
{
	struct store_check_result res;
	struct errmsg e = {.text = ""};
	uint8_t guid[16] = {9};
	uint64_t epoch;
	struct store *s;

	assert_int_equal(store_open(&disk.io, true, &s, &e), OK);
	assert_int_equal(read_all(s, &e), OK);
	assert_int_equal(store_check(s, &res, NULL, NULL, &e), ERR_CORRUPT);
	assert_int_equal(store_epoch_bump(s, guid, &epoch, &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "store: reference map at block "));
	store_close(s);
}

/* In the newer superblock: the other one takes over, and that is said. */
static void flipped_in_super(size_t byte)
{
	struct errmsg e = {.text = ""};
	struct store_stat st;
	struct store *s;

	assert_int_equal(store_open(&disk.io, false, &s, &e), OK);
	store_stat(s, &st);
	assert_int_equal(
	    strstr(st.note, "is damaged") != NULL, byte >= SB_VERSION && byte < SB_BYTES);
	assert_int_equal(read_all(s, &e), OK);
	store_close(s);
}

/* All bits of the headers, one bit of every other byte, of each block in use. */
static void test_every_flipped_bit(void **state)
{
	uint8_t kind[BLOCKS];
	unsigned flips = 0, blocks = 0;

	classify(kind);
	for (uint64_t b = 0; b < BLOCKS; b++) {
		blocks += kind[b] != UNUSED_BLOCK;
		for (size_t bit = 0; kind[b] != UNUSED_BLOCK && bit < STORE_BLOCK * 8; flips++) {
			size_t byte = bit / 8;
			uint8_t *p = disk.data + b * STORE_BLOCK + byte;

			*p ^= (uint8_t)(1u << bit % 8);
			if (kind[b] == SNAPSHOT_BLOCK)
				flipped_in_snapshot();
			else if (kind[b] == MAP_BLOCK)
				flipped_in_map();
			else
				flipped_in_super(byte);
			*p ^= (uint8_t)(1u << bit % 8);
			bit = byte < MH_BYTES ? bit + 1 : (byte + 1) * 8 + (byte + 1) % 8;
			if (kind[b] == SUPER_BLOCK && bit / 8 >= SB_BYTES)
				break; /* the rest means nothing */
			if (kind[b] == MAP_BLOCK)
				undo();
		}
	}
	print_message("%u bits in %u blocks\n", flips, blocks);
}

/* A disk that ends early is refused, at every block. */
static void test_truncated(void **state)
{
	struct errmsg e;
	struct store *s;

	for (uint64_t n = 0; n < BLOCKS; n++) {
		struct store_io io = disk.io;

		io.nblocks = disk.nblocks = n;
		assert_int_not_equal(store_open(&io, true, &s, &e), OK);
		if (n >= 2)
			assert_non_null(strstr(e.text, "truncated"));
	}
	disk.nblocks = BLOCKS;
}

static void test_lies_with_right_checksums(void **state)
{
	uint64_t seed = 99;
	uint8_t kind[BLOCKS];
	uint64_t used[BLOCKS];
	unsigned n = 0;

	classify(kind);
	for (uint64_t b = 0; b < BLOCKS; b++)
		if (kind[b])
			used[n++] = b;
	for (unsigned turn = 0; turn < 4000; turn++) {
		unsigned edits = 1 + fake_random(&seed) % 3;
		int held;

		undo();
		while (edits--) {
			uint64_t b = used[fake_random(&seed) % n];
			/* where the fields are */
			uint32_t at =
			    fake_random(&seed) % (fake_random(&seed) % 2 ? 600 : STORE_BLOCK);
			uint32_t how = fake_random(&seed) % 5, len = 1u << fake_random(&seed) % 4;
			uint8_t *p = disk.data + b * STORE_BLOCK;

			if (fake_random(&seed) % 4 == 0)
				at = STORE_BLOCK - 1 - fake_random(&seed) % 600;
			at = at / len * len;
			if (how == 0 || how == 1)
				memset(p + at, how ? 0xff : 0, len);
			else if (how == 2)
				for (uint32_t i = 0; i < len; i++)
					p[at + i] = (uint8_t)fake_random(&seed);
			else
				p[at] = (uint8_t)(how == 3 ? p[at] + 1 : p[at] - 1);
		}
		if (turn % 8)
			fake_reseal(disk.data, BLOCKS);
		held = fake_heap_outstanding();
		fake_use_all(&disk);
		assert_int_equal(fake_heap_outstanding(), held);
	}
	undo();
}

/* Whole blocks swapped, lost (the write never came) or doubled. */
static void test_misdirected_writes(void **state)
{
	uint8_t kind[BLOCKS], *tmp = malloc(STORE_BLOCK);
	struct errmsg e;
	struct store *s;

	classify(kind);
	for (uint64_t a = 0; a < BLOCKS; a++) {
		uint64_t b = a + 1;

		while (b < BLOCKS && kind[b] != SNAPSHOT_BLOCK)
			b++;
		if (kind[a] != SNAPSHOT_BLOCK || b == BLOCKS ||
		    memcmp(good + a * STORE_BLOCK, good + b * STORE_BLOCK, STORE_BLOCK) == 0)
			continue;
		memcpy(disk.data + a * STORE_BLOCK, good + b * STORE_BLOCK, STORE_BLOCK);
		for (unsigned swap = 0; swap < 2; swap++) {
			if (swap)
				memcpy(disk.data + b * STORE_BLOCK, good + a * STORE_BLOCK,
				    STORE_BLOCK);
			assert_int_equal(store_open(&disk.io, false, &s, &e), OK);
			assert_int_equal(read_all(s, &e), ERR_CORRUPT);
			store_close(s);
		}
		undo();
	}
	free(tmp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_every_flipped_bit),
	    cmocka_unit_test(test_truncated),
	    cmocka_unit_test(test_lies_with_right_checksums),
	    cmocka_unit_test(test_misdirected_writes),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
