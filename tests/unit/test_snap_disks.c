/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * build/amber-snap export and import of a snapshot with three disks in the store: over nothing,
 * over a partition of the image, over a file on its EFI system partition (FAT of each width). With
 * and without their bases they show the same content elsewhere; what is not as it was is refused.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/stat.h>

#include "hv/block/gpt.h"
#include "hv/block/guids.h"
#include "hv/lib/crc32c.h"
#include "hv/lib/fmt.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/overlay.h"
#include "tests/unit/snap_tool.h"

enum { BLOCKS = 1024, SIZE = 300 * 1024 + 512, BASE = 200 * 1024 + 1536, DISKS = 3 };

#define PART_GUID "11223344-5566-7788-99aa-bbccddeeff00"
#define FILE_NAME "a base with a Long name.img"

static uint8_t base_data[BASE], want[DISKS][SIZE];
static const char *const names[DISKS] = {"bare", "part", "file"};
static uint64_t seed = 5;

static int base_read(void *ctx, uint64_t off, void *buf, uint32_t len)
{
	memcpy(buf, base_data + off, len);
	return OK;
}

static const struct overlay_base base = {.read = base_read, .size = BASE}, nothing = {0};

static void okay(int err, const struct errmsg *e)
{
	if (err)
		print_error("%s\n", e->text);
	assert_int_equal(err, OK);
}

static struct vdisk a_disk(unsigned i)
{
	struct vdisk v = {.size = SIZE, .base = {.kind = (enum vdisk_base_kind)i}};

	str_copy(v.name, sizeof(v.name), names[i]);
	if (i)
		v.base.size = BASE;
	if (i == VDISK_BASE_PARTITION) {
		str_copy(v.base.name, sizeof(v.base.name), "guest-disk");
		assert_int_equal(guid_parse(PART_GUID, v.base.guid), OK);
		v.base.epoch = 1;
	} else if (i == VDISK_BASE_PAYLOAD) {
		str_copy(v.base.name, sizeof(v.base.name), FILE_NAME);
		v.base.crc = crc32c(0, base_data, BASE);
	}
	return v;
}

/* A disk with something in each of two layers, the upper one frozen. */
static struct snap_disk make_disk(struct store *s, unsigned i)
{
	struct vdisk v = a_disk(i);
	struct snap_disk sd = {.epoch = v.base.epoch};
	uint8_t *buf = heap_alloc(64 * KIB);
	uint64_t done;
	struct overlay *d;
	struct errmsg e;

	memcpy(want[i], base_data, i ? BASE : 0);
	okay(vdisk_create(s, &v, &e), &e);
	okay(overlay_open(s, v.name, i ? &base : &nothing, 16, &d, &e), &e);
	for (unsigned n = 0; n < 2; n++) {
		fake_ram_fill(buf, 64 * KIB, ++seed);
		okay(overlay_write(d, s, 20480 + n * 50688, buf, 64 * KIB, &e), &e);
		memcpy(want[i] + 20480 + n * 50688, buf, 64 * KIB);
		okay(overlay_zero(d, s, 4608 + n * 65536, 30000 / 512 * 512, &done, &e), &e);
		memset(want[i] + 4608 + n * 65536, 0, done);
		okay(overlay_freeze(d, s, &sd.overlay, &e), &e);
	}
	/* after the snapshot */
	okay(overlay_write(d, s, 0, buf, 64 * KIB, &e), &e);
	overlay_close(d);
	heap_free(buf);
	memcpy(sd.guid, v.base.guid, 16);
	str_copy(sd.name, sizeof(sd.name), v.name);
	return sd;
}

static void make_store(void)
{
	struct snap_params p = {.name = "snap", .vm = "web", .memory = 4096};
	struct snap_disk sd[DISKS];
	struct mem_disk m;
	struct snap_writer *w;
	struct errmsg e;
	struct store *s;
	uint64_t epoch;
	size_t size;
	void *tree = fake_tree(1, 100, &size);

	mem_disk_init(&m, BLOCKS, false);
	okay(store_format(&m.io, (const uint8_t *)"a store of disks", &e), &e);
	okay(store_open(&m.io, true, &s, &e), &e);
	okay(store_epoch_bump(s, a_disk(1).base.guid, &epoch, &e), &e);
	for (unsigned i = 0; i < DISKS; i++)
		sd[i] = make_disk(s, i);
	okay(snap_writer_begin(s, &p, &w, &e), &e);
	okay(snap_writer_state(w, tree, size, &e), &e);
	for (unsigned i = 0; i < DISKS; i++)
		okay(snap_writer_disk(w, &sd[i], &e), &e);
	okay(snap_writer_commit(w, NULL, &e), &e);
	heap_free(tree);
	store_close(s);
	write_file("store", m.data, (size_t)BLOCKS * STORE_BLOCK, 0, "w");
	mem_disk_free(&m);
}

/* The store, the partition and the file on one disk, as a machine has them. */
static int setup(void **state)
{
	if (!mkdtemp(dir))
		return 1;
	fake_ram_fill(base_data, BASE, 99);
	write_file("base", base_data, BASE, 0, "w");
	make_store();
	expect("truncate -s 16M disk && sgdisk -n 1:2048:+4M -t 1:EF00 -n 2:0:+1M -u 2:" PART_GUID
	       " -t 2:" GUID_GUEST_DISK_TEXT " -n 3:0:+4M -t 3:" GUID_STORE_TEXT " disk && "
	       "dd if=base of=disk bs=1M seek=5 conv=notrunc status=none && "
	       "dd if=store of=disk bs=1M seek=6 conv=notrunc status=none && "
	       "truncate -s 4M esp && mkfs.vfat esp && mmd -i esp ::/AMBER && "
	       "mcopy -i esp base '::/amber/" FILE_NAME "' && "
	       "dd if=esp of=disk bs=1M seek=1 conv=notrunc status=none",
	    0, NULL);
	return 0;
}

/* The disks' content in a file that is a store. */
static void expect_disks(const char *file, bool complete)
{
	uint8_t *buf = heap_alloc(OVERLAY_MAX_BYTES);
	char path[128];
	struct mem_disk m;
	struct overlay *d;
	struct errmsg e;
	struct store *s;
	struct stat st;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	assert_int_equal(stat(path, &st), 0);
	mem_disk_init(&m, (uint64_t)st.st_size / STORE_BLOCK, false);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fread(m.data, STORE_BLOCK, m.nblocks, f), m.nblocks);
	fclose(f);
	okay(store_open(&m.io, true, &s, &e), &e);
	for (unsigned i = 0; i < DISKS; i++) {
		const struct overlay_base *b = i && !complete ? &base : &nothing;

		okay(overlay_open(s, names[i], b, 16, &d, &e), &e);
		assert_int_equal(overlay_depth(d), 2);
		assert_int_equal(overlay_info(d)->base.kind, b->size ? i : VDISK_BASE_NONE);
		assert_int_equal(overlay_info(d)->size, SIZE);
		for (uint32_t at = 0, n; at < SIZE; at += n) {
			n = MIN(SIZE - at, (uint32_t)OVERLAY_MAX_BYTES);
			okay(overlay_read(d, s, at, buf, n, &e), &e);
			assert_memory_equal(buf, want[i] + at, n);
		}
		overlay_close(d);
	}
	store_close(s);
	mem_disk_free(&m);
	heap_free(buf);
}

static void test_without_bases(void **state)
{
	expect("amber-snap disk export snap s.amber", 0, "exported to s.amber");
	expect("amber-snap s.amber check && amber-snap s.amber verify", 0, "snap: good");
	expect("amber-snap --json s.amber list", 0, "\"disk_count\":3");
	expect_disks("s.amber", false);
	expect("truncate -s 4M other && amber-snap other format --bare && "
	       "amber-snap other import s.amber --as one && amber-snap other check",
	    0, "1 snapshots, ");
	expect_disks("other", false);
	/* again, to the disks that are there */
	expect("amber-snap other import s.amber --as two && amber-snap other check && "
	       "amber-snap other verify",
	    0, "two: good");
	expect_disks("other", false);
	expect("amber-snap disk export snap p.amber --compress && "
	       "cp disk same && amber-snap same import p.amber --replace && amber-snap same check",
	    0, "1 snapshots, ");
}

static void test_with_bases(void **state)
{
	expect("amber-snap disk export snap b.amber --with-base", 0, "exported to b.amber");
	expect("amber-snap b.amber check && amber-snap b.amber verify", 0, "snap: good");
	expect_disks("b.amber", true);
	expect(
	    "amber-snap keygen key && "
	    "amber-snap disk export snap b.port --with-base --compress --encrypt --key-file key && "
	    "truncate -s 4M whole && amber-snap whole format --bare && "
	    "amber-snap whole import b.port --key-file key && amber-snap whole verify",
	    0, "snap: good");
	expect_disks("whole", true);
	/* on the way no more is needed: what has none has all */
	expect("amber-snap b.amber export snap c.amber --with-base", 0, NULL);
	expect_disks("c.amber", true);
	expect("cp disk same && amber-snap same import b.amber --as x", 1,
	    "error: snapshot 'snap': disk 'part': exists already, with another base");
	expect("amber-snap same check && amber-snap same list", 0, "1 snapshots, ");
}

static void test_bases_that_changed(void **state)
{
	static const char part[] = "error: snapshot 'snap': disk 'part': its base, partition ",
			  file[] =
			      "error: snapshot 'snap': disk 'file': its base, file '" FILE_NAME;

	expect("amber-snap store export snap no --with-base", 1, part);
	assert_non_null(strstr(out, "'guest-disk', is not in store"));
	expect("test -e no", 1, NULL);
	expect("cp disk d && sgdisk -u 2:R d >/dev/null && amber-snap d export snap no --with-base",
	    1, "'guest-disk', is not in d");
	expect("amber-snap d export snap fine", 0, NULL);
	/* not one for guests: whoever made the record may not have it read */
	expect(
	    "cp disk d && sgdisk -t 2:8300 d >/dev/null && amber-snap d export snap no --with-base",
	    1, "'guest-disk', is not in d");
	/* smaller; other content cannot be known of a partition, but by its epoch */
	expect("cp disk d && sgdisk -d 2 -n 2:10240:+100K -t 2:" GUID_GUEST_DISK_TEXT
	       " -u 2:" PART_GUID " d >/dev/null && "
	       "amber-snap d export snap no --with-base",
	    1, "'guest-disk', is smaller now");
	/* the file: other content, another size, none, no folder, no partition */
	expect("cp esp e && head -c 999936 store > s && mcopy -i e -o s '::/amber/" FILE_NAME
	       "' && cp disk d && "
	       "dd if=e of=d bs=1M seek=1 conv=notrunc status=none && "
	       "amber-snap d export snap no --with-base",
	    1, file);
	assert_non_null(strstr(out, "', is another now"));
	expect("cp esp e && cp base base2 && "
	       "printf X | dd of=base2 conv=notrunc status=none && "
	       "mcopy -i e -o base2 '::/amber/" FILE_NAME "' && cp disk d && "
	       "dd if=e of=d bs=1M seek=1 conv=notrunc status=none && "
	       "amber-snap d export snap no --with-base",
	    1, "', is another now");
	expect("cp esp e && mdel -i e '::/amber/" FILE_NAME "' && cp disk d && "
	       "dd if=e of=d bs=1M seek=1 conv=notrunc status=none && "
	       "amber-snap d export snap no --with-base",
	    1, "in the EFI system partition of d: 'a base with");
	assert_non_null(strstr(out, "' is not there"));
	expect("mrd -i e ::/amber && dd if=e of=d bs=1M seek=1 conv=notrunc status=none && "
	       "amber-snap d export snap no --with-base",
	    1, "of d: 'amber' is not there");
	expect("cp disk d && sgdisk -d 1 d >/dev/null && amber-snap d export snap no --with-base",
	    1, "there is no EFI system partition in d");
	expect("cp disk d && sgdisk -n 4:0:+1M -t 4:EF00 d >/dev/null && "
	       "amber-snap d export snap no --with-base",
	    1, "there is more than one EFI system partition in d");
	expect("test -e no", 1, NULL);
}

/* Each width of the table of clusters; a file in pieces, a folder of several clusters. */
static void test_fat(void **state)
{
	static const char *const make[] = {
	    "4 -F 12 -s 4", "16 -F 16 -s 1", "40 -F 32 -s 1", "16 -F 16 -s 4 -S 1024"};
	char line[1024];

	for (unsigned i = 0; i < ARRAY_LEN(make); i++) {
		snprintf(line, sizeof(line),
		    "set -e; set -- %s; rm -f e f no; truncate -s $1M e; shift; "
		    "mkfs.vfat \"$@\" e >/dev/null; "
		    "mmd -i e ::/amber; for i in $(seq 40); do head -c 5000 base > \"f $i.with a "
		    "name\"; "
		    "done; mcopy -i e f\\ * ::/amber/; mdel -i e '::/amber/f ?.with a name'; "
		    "mcopy -i e base '::/amber/%s'; rm f\\ *; "
		    "truncate -s 64M f; sgdisk -n 1:2048:+40M -t 1:EF00 -n 2:0:+1M -u 2:" PART_GUID
		    " -t 2:" GUID_GUEST_DISK_TEXT " -n 3:0:+4M -t 3:" GUID_STORE_TEXT
		    " f >/dev/null; "
		    "dd if=base of=f bs=1M seek=41 conv=notrunc status=none; "
		    "dd if=store of=f bs=1M seek=42 conv=notrunc status=none; "
		    "dd if=e of=f bs=1M seek=1 conv=notrunc status=none; "
		    "amber-snap f export snap no --with-base",
		    make[i], FILE_NAME);
		expect(line, 0, "exported to no");
		expect_disks("no", true);
	}
	expect("rm -f no", 0, NULL);
}

/* Whatever bytes of the volume's head, table and folders are wrong: an answer, and no crash. */
static void test_fat_that_lies(void **state)
{
	static uint8_t image[16 << 20];
	char path[128];
	unsigned refused = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/disk", dir);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fread(image, 1, sizeof(image), f), sizeof(image));
	fclose(f);
	for (unsigned i = 0; i < 90; i++) {
		uint32_t at = (1 << 20) + fake_random(&seed) % (i % 3 ? 64 : 40000);
		uint8_t was[4];

		memcpy(was, image + at, 4);
		for (unsigned k = 0; k < 1 + i % 4; k++)
			image[at + k] = i % 5 ? (uint8_t)fake_random(&seed) : 0xff;
		write_file("lies", image, sizeof(image), 0, "w");
		memcpy(image + at, was, 4);
		if (run("rm -f no; timeout 20 $TOOL lies export snap no --with-base") == 0) {
			expect_disks("no", true);
			continue;
		}
		if (!strstr(out, "error: snapshot 'snap': disk 'file': its base, file "))
			print_error("%u: %s\n", i, out);
		assert_non_null(
		    strstr(out, "error: snapshot 'snap': disk 'file': its base, file "));
		refused++;
	}
	print_message("%u refused\n", refused);
	assert_true(refused > 10);
	expect("rm -f no", 0, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_without_bases),
	    cmocka_unit_test(test_with_bases),
	    cmocka_unit_test(test_bases_that_changed),
	    cmocka_unit_test(test_fat),
	    cmocka_unit_test(test_fat_that_lies),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
