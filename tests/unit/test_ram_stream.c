/* SPDX-License-Identifier: BSD-2-Clause */
/* The stream of chunks: zeros cost nothing, nothing can be missing, moved or changed unseen. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "hv/mm/mm.h"
#include "hv/snapshot/compress.h"
#include "hv/snapshot/ram_stream.h"
#include "hv/snapshot/store_int.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/fake_store.h"

struct env {
	struct mem_disk d;
	struct store *s;
	struct stream_writer w;
	uint64_t object;
};

static struct env env;
static uint8_t data[8 * STORE_CHUNK], back[STORE_CHUNK];

static int setup(void **state)
{
	struct errmsg e;

	mem_disk_init(&env.d, 2048, true);
	return store_format(&env.d.io, (const uint8_t *)"stream under test", &e) ||
	       store_open(&env.d.io, true, &env.s, &e) ||
	       stream_begin(&env.w, env.s, KIND_RAM, 0, &e);
}

static int teardown(void **state)
{
	stream_abort(&env.w);
	store_close(env.s);
	mem_disk_free(&env.d);
	return fake_heap_outstanding();
}

static void finish(void)
{
	struct errmsg e = {.text = ""};

	env.object = env.w.object;
	assert_int_equal(stream_finish(&env.w, 0, &e), OK);
	stream_end(&env.w);
	assert_int_equal(store_commit(env.s, &e), OK);
}

static void random_bytes(uint8_t *p, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)fake_random(&seed);
}

static void test_zeros_cost_nothing(void **state)
{
	struct errmsg e;
	uint64_t writes;

	memset(data, 0, sizeof(data));
	writes = env.d.writes;
	assert_int_equal(stream_put(&env.w, 0, data, sizeof(data), &e), OK);
	assert_int_equal(env.d.writes, writes);
	assert_int_equal(env.w.info.extents, 0);
	data[STORE_CHUNK - 1] = 1; /* one byte makes one chunk */
	assert_int_equal(stream_put(&env.w, sizeof(data), data, sizeof(data), &e), OK);
	assert_int_equal(env.w.info.extents, 1);
	assert_int_equal(env.w.info.blocks, 1);
	finish();
}

static void test_encodings(void **state)
{
	struct store_extent x;
	struct errmsg e;

	memset(data, 'x', STORE_CHUNK);
	random_bytes(data + STORE_CHUNK, STORE_CHUNK, 1);
	random_bytes(data + 2 * STORE_CHUNK, STORE_CHUNK, 2);
	memset(data + 2 * STORE_CHUNK + 1000, 'y', 4000); /* not worth a block */
	assert_int_equal(stream_put(&env.w, 0, data, 3 * STORE_CHUNK, &e), OK);
	env.object = env.w.object;
	assert_int_equal(store_extent_next(env.s, env.object, 0, &x, &e), OK);
	assert_int_equal(x.encoding, ENC_LZ4);
	assert_int_equal(x.nruns, 1);
	assert_int_equal(x.runs[0].count, 1);
	assert_int_equal(store_extent_next(env.s, env.object, 1, &x, &e), OK);
	assert_int_equal(x.encoding, ENC_NONE);
	assert_int_equal(x.offset, STORE_CHUNK);
	assert_int_equal(store_extent_next(env.s, env.object, STORE_CHUNK + 1, &x, &e), OK);
	assert_int_equal(x.encoding, ENC_NONE);
	assert_int_equal(
	    store_extent_next(env.s, env.object, 2 * STORE_CHUNK + 1, &x, &e), ERR_NOENT);
	finish();
}

/* Pieces of any length and place come back, in order and at random; what was not written is zero.
 */
static void test_pieces(void **state)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
	} piece[] = {{0x1000, 0x1000}, {0x2000, 5}, {0x2005, 0x20000}, {0x9fc00, 0x400},
	    {0x100000, 0x30000}, {0xfffff000, 0x2000}, {0xffffffff00000000, 0x1000}};
	uint8_t *image = calloc(1, 0x130000);
	struct stream_reader r;
	struct errmsg e = {.text = ""};
	uint64_t addr, seen = 0;
	uint32_t len;
	bool present;
	int err;

	random_bytes(data, sizeof(data), 3);
	for (unsigned i = 0; i < ARRAY_LEN(piece); i++) {
		err = stream_put(&env.w, piece[i].addr, data + i, piece[i].len, &e);
		assert_int_equal(err, OK);
		seen += piece[i].len;
		if (piece[i].addr < 0x130000)
			memcpy(image + piece[i].addr, data + i, piece[i].len);
	}
	finish();
	assert_int_equal(stream_open(&r, env.s, env.object, KIND_RAM, &e), OK);
	for (unsigned turn = 0; turn < 2; turn++) {
		uint64_t got = 0, last = 0;

		while ((err = stream_next(&r, &addr, back, &len, &e)) == OK) {
			assert_true(addr >= last);
			last = addr + len;
			got += len;
			if (addr < 0x130000)
				assert_memory_equal(back, image + addr, len);
			/* reading at random in between disturbs nothing */
			assert_int_equal(stream_read_chunk(&r, 0x2003, back, &present, &e), OK);
			assert_true(present);
			assert_memory_equal(back, image, STORE_CHUNK);
		}
		assert_int_equal(err, ERR_NOENT);
		assert_int_equal(got, seen);
		assert_int_equal(stream_next(&r, &addr, back, &len, &e), ERR_NOENT);
		stream_rewind(&r);
	}
	assert_int_equal(stream_read_chunk(&r, 0x50000, back, &present, &e), OK);
	assert_false(present);
	assert_true(all_zero(back, STORE_CHUNK));
	assert_true(env.d.max_in_flight > 4);
	stream_close(&r);
	free(image);
}

static void test_order(void **state)
{
	struct errmsg e;

	random_bytes(data, STORE_CHUNK, 1);
	assert_int_equal(stream_put(&env.w, 0x10000, data, 0x1000, &e), OK);
	assert_int_equal(stream_put(&env.w, 0x10fff, data, 0x1000, &e), ERR_INVAL);
	assert_string_equal(e.text, "chunk 0x10fff: written before");
	assert_int_equal(stream_put(&env.w, UINT64_MAX - 10, data, 0x1000, &e), ERR_INVAL);
	finish();
}

static int only_low(void *ctx, uint64_t addr, uint64_t len, struct errmsg *e)
{
	return addr + len <= 0x40000
		   ? OK
		   : err_set(e, ERR_RANGE, "0x%llx: no RAM", (unsigned long long)addr);
}

static void test_check_index(void **state)
{
	struct stream_reader r;
	struct errmsg e;
	uint64_t reads;

	random_bytes(data, sizeof(data), 1);
	assert_int_equal(stream_put(&env.w, 0, data, 0x50000, &e), OK);
	finish();
	assert_int_equal(stream_open(&r, env.s, env.object, KIND_RAM, &e), OK);
	reads = env.d.reads;
	assert_int_equal(stream_check_index(&r, NULL, NULL, &e), OK);
	assert_true(env.d.reads - reads < 3); /* the index, not the data */
	assert_int_equal(stream_check_index(&r, only_low, NULL, &e), ERR_RANGE);
	assert_string_equal(e.text, "0x40000: no RAM");
	stream_close(&r);
	assert_int_equal(stream_open(&r, env.s, env.object, KIND_STATE, &e), ERR_CORRUPT);
	stream_close(&r);
}

/* A chunk dropped, doubled or changed in the index, all checksums being right. */
static void test_index_cannot_lie(void **state)
{
	struct stream_reader r;
	struct store_extent x;
	struct errmsg e;
	uint64_t addr;
	uint32_t len;
	int err;

	random_bytes(data, sizeof(data), 1);
	assert_int_equal(stream_put(&env.w, 0, data, sizeof(data), &e), OK);
	finish();
	for (unsigned kind = 0; kind < 3; kind++) {
		struct store_key k = {env.object, REC_EXTENT, 2 * STORE_CHUNK};

		assert_int_equal(store_extent_next(env.s, env.object, k.offset, &x, &e), OK);
		if (kind != 1)
			assert_int_equal(tree_delete(env.s, &k, &e), OK);
		if (kind == 1)
			x.offset = 100 * STORE_CHUNK;
		if (kind == 2)
			x.raw_len = x.stored_len -= 1;
		if (kind)
			assert_int_equal(store_extent_add(env.s, env.object, &x, &e), OK);
		assert_int_equal(stream_open(&r, env.s, env.object, KIND_RAM, &e), OK);
		assert_int_equal(stream_check_index(&r, NULL, NULL, &e), ERR_CORRUPT);
		while ((err = stream_next(&r, &addr, back, &len, &e)) == OK)
			;
		assert_int_equal(err, ERR_CORRUPT);
		stream_close(&r);
		/* put right again */
		k.offset = x.offset;
		if (kind)
			assert_int_equal(tree_delete(env.s, &k, &e), OK);
		x.offset = 2 * STORE_CHUNK;
		x.raw_len = x.stored_len = STORE_CHUNK;
		if (kind != 1)
			assert_int_equal(store_extent_add(env.s, env.object, &x, &e), OK);
		assert_int_equal(stream_open(&r, env.s, env.object, KIND_RAM, &e), OK);
		assert_int_equal(stream_check_index(&r, NULL, NULL, &e), OK);
		stream_close(&r);
	}
}

static void test_changed_data(void **state)
{
	struct stream_reader r;
	struct store_extent x;
	struct errmsg e;
	uint64_t addr;
	uint32_t len;
	bool present;

	memset(data, 'z', STORE_CHUNK);
	assert_int_equal(stream_put(&env.w, 0x30000, data, STORE_CHUNK, &e), OK);
	finish();
	assert_int_equal(store_extent_next(env.s, env.object, 0, &x, &e), OK);
	env.d.data[x.runs[0].block * STORE_BLOCK + STORE_BLOCK - 1] ^= 1; /* in the padding */
	assert_int_equal(stream_open(&r, env.s, env.object, KIND_RAM, &e), OK);
	assert_int_equal(stream_next(&r, &addr, back, &len, &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "chunk 0x30000: checksum wrong (block "));
	assert_int_equal(stream_read_chunk(&r, 0x30000, back, &present, &e), ERR_CORRUPT);
	stream_close(&r);
}

/* Whoever reads knows nothing of how long the raw data are: only what fits is decoded. */
static void test_lz4_bounds(void **state)
{
	static const uint8_t bomb[] = {0x1f, 'a', 1, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0};
	uint8_t out[64];

	assert_false(decompress_lz4(bomb, sizeof(bomb), out, sizeof(out)));
	for (unsigned n = 0; n < sizeof(bomb); n++)
		assert_false(decompress_lz4(bomb, n, out, sizeof(out)));
}

/* What saves a block is never passed over for its looks. */
static void test_worthwhile(void **state)
{
	static uint8_t buf[STORE_CHUNK];
	uint64_t v = 88172645463325252;

	(void)state;
	for (unsigned round = 0; round < 200; round++) {
		uint32_t len = 16384 + round % 4 * 16384;

		for (size_t i = 0; i < sizeof(buf); i += 8) {
			v ^= v << 13;
			v ^= v >> 7;
			v ^= v << 17;
			memcpy(buf + i, &v, 8);
		}
		assert_false(compress_worthwhile(buf, len));
		switch (round % 5) {
		case 0: /* a page that is zero */
			memset(buf + round % 4 * 4096, 0, 4096);
			break;
		case 1: /* the same page over and over */
			for (size_t i = 4096; i < sizeof(buf); i += 4096)
				memcpy(buf + i, buf, 4096);
			break;
		case 2: /* characters */
			for (size_t i = 0; i < sizeof(buf); i++)
				buf[i] &= 0x3f;
			break;
		case 3: /* numbers of four bytes, all different */
			for (uint32_t i = 0; i < sizeof(buf) / 4; i++)
				memcpy(buf + i * 4, &(uint32_t){i * 77}, 4);
			break;
		default: /* pages that are half empty */
			for (size_t i = 0; i < sizeof(buf); i += 4096)
				memset(buf + i, 0, 2048);
			break;
		}
		assert_true(compress_worthwhile(buf, len));
		assert_true(compress_worthwhile(buf, 8192)); /* too little to tell */
	}
}

static void test_all_zero(void **state)
{
	uint8_t buf[200] __attribute__((aligned(16))) = {0};

	for (unsigned start = 0; start < 10; start++)
		for (unsigned len = 0; len < 180; len++) {
			assert_true(all_zero(buf + start, len));
			for (unsigned i = start; i < start + len; i++) {
				buf[i] = 0x80;
				assert_false(all_zero(buf + start, len));
				buf[i] = 0;
			}
			buf[start + len] = 1;
			assert_true(all_zero(buf + start, len));
			buf[start + len] = 0;
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_zeros_cost_nothing, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_encodings, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pieces, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_order, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_check_index, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_index_cannot_lie, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_changed_data, setup, teardown),
	    cmocka_unit_test(test_lz4_bounds),
	    cmocka_unit_test(test_worthwhile),
	    cmocka_unit_test(test_all_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
