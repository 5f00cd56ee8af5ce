/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The format does not change by itself: stores made of fixed inputs are, byte for byte, those that
 * were recorded for their version and feature bits. Other bytes under the same numbers would be a
 * new format under an old name.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "hv/lib/cursor.h"
#include "hv/lib/state.h"
#include "hv/mm/mm.h"
#include "tests/unit/fake/fake_store.h"

enum { BLOCKS = 2600, RAM = 40 * STORE_CHUNK };

/*
 * What the store says of itself, which records it has that may be ignored (a bit for each type from
 * REC_OPTIONAL on), and the digest of all of its bytes. A row is never changed.
 */
static const struct golden {
	uint32_t version, snap_format;
	uint64_t compat, ro_compat, incompat, optional;
	uint64_t digest;
} recorded[] = {
    {1, 1, 0, 0, 0, 0, 0xa76a9b2f99f7f615},
    {1, 1, 0, 0, SBI_PARENTS, 0, 0x28daa25fa9d74b96},
    {1, 1, 0, 0, SBI_PARENTS, 1 << (REC_WORKING_SET - REC_OPTIONAL), 0x7ee4bbcf43fd41ee},
};

/* FNV-1a, 64 bits, by words. */
static uint64_t digest(const uint8_t *p, size_t n)
{
	uint64_t h = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < n; i += 8)
		h = (h ^ get_le64(p + i)) * 0x100000001b3ULL;
	return h;
}

/*
 * Each kind of chunk: zeros, what does not compress, and a single byte over and over, which any
 * version of the compressor makes the same of.
 */
static void fill(uint8_t *ram, uint64_t seed)
{
	for (size_t at = 0; at < RAM; at += STORE_CHUNK) {
		unsigned kind = at / STORE_CHUNK % 4;

		memset(ram + at, kind == 1 ? (int)seed : 0, STORE_CHUNK);
		for (size_t i = 0; kind >= 2 && i < STORE_CHUNK; i++)
			ram[at + i] = (uint8_t)fake_random(&seed);
	}
}

/* A state tree with a property of each width. */
static void *state_tree(uint32_t mark, size_t *size)
{
	struct state_writer w;
	void *fdt = NULL;

	sw_init(&w, heap_grow);
	sw_u32(&w, "mark", mark);
	sw_string(&w, "text", "digest");
	sw_begin(&w, "vcpus");
	sw_begin(&w, "vcpu0");
	sw_u64(&w, "rip", 0x123456789abcdef0);
	sw_bytes(&w, "xstate", "\1\2\3", 3);
	sw_end(&w);
	sw_end(&w);
	assert_int_equal(sw_encode(&w, &fdt, size, NULL), OK);
	heap_free(w.buf);
	return fdt;
}

static void save(struct store *s, const char *name, const char *parent, uint32_t mark,
    const uint8_t *ram, bool frozen, bool set)
{
	static const gpa_t used[] = {{7 * STORE_CHUNK}, {8 * STORE_CHUNK}, {3 * STORE_CHUNK}};
	static const uint8_t machine[16] = "frozen machine..";
	struct snap_params p = {.name = name,
	    .vm = "golden vm",
	    .id = {1, 2, 3, (uint8_t)mark},
	    .created = 1700000000ULL * 1000000000 + mark,
	    .memory = RAM,
	    .parent_name = parent,
	    .freeze = frozen ? machine : NULL};
	struct snap_disk disk = {.guid = {9, 8, 7}, .epoch = 1, .name = "a disk"};
	struct errmsg e = {.text = ""};
	struct snap_writer *w;
	size_t size;
	void *fdt = state_tree(mark, &size);

	assert_int_equal(snap_writer_begin(s, &p, &w, &e), OK);
	assert_int_equal(snap_writer_state(w, fdt, size, &e), OK);
	assert_int_equal(snap_writer_disk(w, &disk, &e), OK);
	for (size_t at = 0; at < RAM; at += STORE_CHUNK)
		if (!parent || at / STORE_CHUNK % 3 == 0)
			assert_int_equal(
			    snap_writer_ram(w, gpa(at), ram + at, STORE_CHUNK, &e), OK);
	if (set)
		assert_int_equal(snap_writer_set(w, used, ARRAY_LEN(used), &e), OK);
	assert_int_equal(snap_writer_commit(w, NULL, &e), OK);
	heap_free(fdt);
}

static void compare(const struct mem_disk *d, uint64_t optional)
{
	const uint8_t *super = d->data + (get_le64(d->data + SB_GENERATION) <
					     get_le64(d->data + STORE_BLOCK + SB_GENERATION)) *
					     STORE_BLOCK;
	struct golden have = {get_le32(super + SB_VERSION), SNAP_FORMAT,
	    get_le64(super + SB_COMPAT), get_le64(super + SB_RO_COMPAT),
	    get_le64(super + SB_INCOMPAT), optional, digest(d->data, (size_t)BLOCKS * STORE_BLOCK)};

	for (unsigned i = 0; i < ARRAY_LEN(recorded); i++) {
		const struct golden *g = &recorded[i];

		if (memcmp(g, &have, offsetof(struct golden, digest)) != 0)
			continue;
		if (g->digest != have.digest)
			fail_msg(
			    "a store of version %u, state tree %u, features %llx %llx %llx, "
			    "records %llx has other bytes than were recorded: digest 0x%016llx.\n"
			    "If that is a change of the format: raise the version or add a "
			    "feature bit, keep the golden stores that are there, make a new "
			    "one (tests/golden/make), record a row here, and write it down "
			    "in docs/snapshot-format.md.\nIf it is not (another order of "
			    "allocation, say), what older versions wrote is read all the "
			    "same: then this row's digest may be replaced.",
			    have.version, have.snap_format, (unsigned long long)have.compat,
			    (unsigned long long)have.ro_compat, (unsigned long long)have.incompat,
			    (unsigned long long)have.optional, (unsigned long long)have.digest);
		return;
	}
	fail_msg("no row for version %u, state tree %u, features %llx %llx %llx, records "
		 "%llx: make a golden store (tests/golden/make) and record digest 0x%016llx",
	    have.version, have.snap_format, (unsigned long long)have.compat,
	    (unsigned long long)have.ro_compat, (unsigned long long)have.incompat,
	    (unsigned long long)have.optional, (unsigned long long)have.digest);
}

/*
 * Full snapshots, an epoch, one frozen machine, one snapshot deleted; then one with a parent; then
 * one with a working set.
 */
static void test_bytes(void **state)
{
	static uint8_t ram[RAM];
	static const uint8_t guid[16] = {9, 8, 7};
	struct errmsg e = {.text = ""};
	struct mem_disk d;
	struct store *s;
	uint64_t epoch;

	mem_disk_init(&d, BLOCKS, true);
	assert_int_equal(store_format(&d.io, (const uint8_t *)"format, in bytes", &e), OK);
	assert_int_equal(store_open(&d.io, true, &s, &e), OK);
	fill(ram, 1);
	assert_int_equal(store_epoch_bump(s, guid, &epoch, &e), OK);
	save(s, "first", NULL, 1, ram, false, false);
	save(s, "gone", NULL, 2, ram, false, false);
	save(s, "frozen", NULL, 3, ram, true, false);
	assert_int_equal(snap_delete(s, "gone", &e), OK);
	compare(&d, 0);
	fill(ram, 2);
	save(s, "child", "first", 4, ram, false, false);
	save(s, "grandchild", "child", 5, ram, false, false);
	assert_int_equal(snap_flatten(s, "grandchild", NULL, NULL, &e), OK);
	compare(&d, 0);
	save(s, "used", NULL, 6, ram, false, true);
	compare(&d, 1 << (REC_WORKING_SET - REC_OPTIONAL));
	store_close(s);
	mem_disk_free(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
