/* SPDX-License-Identifier: BSD-2-Clause */
/* Disks of the store as block devices: requests, bases, who may do what to which, writing back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "hv/core/payload.h"
#include "hv/snapshot/overlay_blk.c"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/fake_block.h"
#include "tests/unit/fake/fake_store.h"

enum { SECTORS = 4096 };

#define OKAY(call)                                                                                 \
	do {                                                                                       \
		int okay_err = (call);                                                             \
                                                                                                   \
		if (okay_err)                                                                      \
			print_error("%s: %s\n", #call, e.text);                                    \
		assert_int_equal(okay_err, OK);                                                    \
	} while (0)

/* --- the engine's part -------------------------------------------------------------------- */

static struct mem_disk medium;
static struct store *store;
static bool locked;

struct store *engine_lock(struct errmsg *e)
{
	assert_false(locked);
	locked = true;
	return store;
}

void engine_unlock(void)
{
	assert_true(locked);
	locked = false;
}

static bool wanted;

bool engine_is_wanted(void)
{
	return wanted;
}

struct store *engine_store_if_mine(void)
{
	return locked ? store : NULL;
}

/* A payload file. */
static uint8_t file[64 * 1024];

bool payload_find(const char *name, struct payload *out)
{
	*out = (struct payload){.name = "image.raw", .data = file, .size = sizeof(file)};
	return strcmp(name, "image.raw") == 0;
}

/* --- helpers ------------------------------------------------------------------------------ */

static struct fake_disk *host;
static struct blk_dev part; /* a partition of it */

static int setup(void **state)
{
	static const uint8_t type[16] = GUID_GUEST_DISK_BYTES;
	struct errmsg e = {.text = ""};

	mem_disk_init(&medium, 4096, true);
	OKAY(store_format(&medium.io, (const uint8_t *)"store under disk", &e));
	OKAY(store_open(&medium.io, true, &store, &e));
	host = fake_disk_new("host", SECTORS + 64);
	for (unsigned i = 0; i < SECTORS * 512; i++)
		host->data[64 * 512 + i] = (uint8_t)(i / 512 * 7 + i);
	if (!part.parent) {
		part = (struct blk_dev){.name = "hostp1",
		    .label = "web-disk",
		    .part_guid = {1, 2, 3},
		    .nsectors = SECTORS,
		    .max_sg = 64,
		    .max_sectors = 2048,
		    .has_flush = true,
		    .parent = &host->dev,
		    .offset = 64};
		memcpy(part.type_guid, type, 16);
		list_init(&part.link);
		OKAY(blk_add(&part));
	}
	part.owner = NULL;
	return 0;
}

static int teardown(void **state)
{
	struct list *pos;

	LIST_FOREACH(pos, &odevs)
	overlay_blk_forget(&LIST_ENTRY(pos, struct odev, link)->dev);
	store_close(store);
	mem_disk_free(&medium);
	return 0;
}

static struct blk_dev *open_disk(const char *name)
{
	struct errmsg e = {.text = ""};
	struct blk_dev *d;

	OKAY(overlay_blk_open(store, name, &d, &e));
	return d;
}

struct waiting {
	struct blk_req req;
	struct sg sg[4];
	bool done;
};

static void set_done(struct blk_req *r)
{
	CONTAINER_OF(r, struct waiting, req)->done = true;
}

/* Submits; two pieces, if there is more than a sector. */
static void submit(
    struct waiting *w, struct blk_dev *d, enum blk_op op, uint64_t sector, void *buf, uint32_t n)
{
	bool data = op == BLK_READ || op == BLK_WRITE;
	unsigned nsg = !data ? 0 : n > 1 ? 2 : 1;

	*w = (struct waiting){
	    .req = {.op = op, .sector = sector, .nsectors = n, .nsg = nsg, .done = set_done}};
	w->req.sg = w->sg;
	list_init(&w->req.link);
	w->sg[0] = (struct sg){.addr = virt_to_phys(buf), .len = n * 512};
	if (nsg == 2) {
		w->sg[0].len = 512;
		w->sg[1] =
		    (struct sg){.addr = virt_to_phys((uint8_t *)buf + 512), .len = (n - 1) * 512};
	}
	blk_submit(d, &w->req);
}

static void serve_all(struct blk_dev *d)
{
	struct odev *o = d->drv;

	while (!list_empty(&o->queue))
		serve(o);
}

static int request(struct blk_dev *d, enum blk_op op, uint64_t sector, void *buf, uint32_t n)
{
	struct waiting w;

	submit(&w, d, op, sector, buf, n);
	serve_all(d);
	assert_true(w.done);
	return w.req.status;
}

/* --- tests -------------------------------------------------------------------------------- */

static void test_requests(void **state)
{
	static uint8_t buf[64 * 512], got[64 * 512];
	struct errmsg e = {.text = ""};
	struct waiting w[40];
	struct blk_dev *d;
	uint64_t flushes, now;

	OKAY(overlay_blk_create(store, "web", "web-disk", 0, &e));
	d = open_disk("web");
	assert_string_equal(d->name, "store:web");
	assert_ptr_equal(blk_find("store:web"), d);
	assert_int_equal(d->nsectors, SECTORS);
	assert_true(overlay_blk_is(d) && !overlay_blk_is(&part));
	assert_int_equal(request(d, BLK_READ, 3, got, 20), OK);
	assert_memory_equal(got, host->data + (64 + 3) * 512, 20 * 512);
	memset(buf, 0x5a, sizeof(buf));
	assert_int_equal(request(d, BLK_WRITE, 5, buf, 9), OK);
	assert_int_equal(request(d, BLK_READ, 3, got, 20), OK);
	assert_memory_equal(got + 2 * 512, buf, 9 * 512);
	assert_memory_equal(got + 11 * 512, host->data + (64 + 14) * 512, 9 * 512);
	assert_int_equal(host->writes, 0);
	assert_int_equal(request(d, BLK_DISCARD, 0, NULL, 64), OK);
	assert_int_equal(request(d, BLK_READ, 0, got, 64), OK);
	memset(buf, 0, sizeof(buf));
	assert_memory_equal(got, buf, sizeof(buf));
	assert_int_equal(request(d, BLK_WRITE, SECTORS, buf, 1), ERR_RANGE);
	/* many at once: one commit for all the flushes of a batch */
	flushes = medium.flushes;
	for (unsigned i = 0; i < 16; i++)
		submit(&w[i], d, i % 4 == 3 ? BLK_FLUSH : BLK_WRITE, i * 8, buf, 8);
	serve_all(d);
	for (unsigned i = 0; i < 16; i++)
		assert_true(w[i].done && w[i].req.status == OK);
	assert_int_equal(medium.flushes, flushes + 2);
	/* others who want the store have their turn before the next batch */
	now = fake_host_time;
	assert_int_equal(request(d, BLK_READ, 0, got, 8), OK);
	assert_true(fake_host_time == now);
	wanted = true;
	assert_int_equal(request(d, BLK_READ, 0, got, 8), OK);
	assert_true(fake_host_time == now + OTHERS_TURN_NS);
	wanted = false;
	assert_false(locked);
}

static void test_bases(void **state)
{
	static uint8_t got[4096];
	struct errmsg e = {.text = ""};
	struct blk_dev *d;
	struct vm vm = {.run_state = VM_RUNNING, .config.name = "web"};
	uint64_t epoch;

	file[1000] = 9;
	OKAY(overlay_blk_create(store, "img", "image.raw", 128 * 1024, &e));
	d = open_disk("img");
	assert_int_equal(d->nsectors, 256);
	assert_int_equal(request(d, BLK_READ, 0, got, 8), OK);
	assert_memory_equal(got, file, 4096);
	overlay_blk_forget(d);
	file[1000] = 8;
	assert_int_equal(overlay_blk_open(store, "img", &d, &e), ERR_STATE);
	assert_string_equal(e.text, "disk 'img': its base, file 'image.raw', is another now");

	assert_int_equal(overlay_blk_create(store, "x", "nowhere", 0, &e), ERR_NOENT);
	assert_int_equal(overlay_blk_create(store, "x", "host", 0, &e), ERR_INVAL);
	assert_int_equal(overlay_blk_create(store, "x", "", 0, &e), ERR_INVAL);
	assert_int_equal(overlay_blk_create(store, "x/y", "", 4096, &e), ERR_INVAL);
	part.owner = &vm;
	assert_int_equal(overlay_blk_create(store, "x", "web-disk", 0, &e), ERR_BUSY);
	part.owner = NULL;
	OKAY(overlay_blk_create(store, "x", "web-disk", 0, &e));
	/* while it is a base, no machine may write it */
	assert_int_equal(claiming(&vm, &part, &e), ERR_BUSY);
	assert_string_equal(
	    e.text, "partition 'web-disk' is the base of disk 'x' and must not change");
	/* a record that came from elsewhere opens no partition that is not for guests */
	part.type_guid[0] ^= 1;
	assert_int_equal(overlay_blk_open(store, "x", &d, &e), ERR_INVAL);
	assert_string_equal(e.text, "disk 'x': its base 'web-disk' is not a partition for guests");
	part.type_guid[0] ^= 1;
	/* somebody did all the same */
	OKAY(store_epoch_bump(store, part.part_guid, &epoch, &e));
	assert_int_equal(overlay_blk_open(store, "x", &d, &e), ERR_STATE);
	assert_non_null(strstr(e.text, "has been written since"));
	OKAY(vdisk_delete(store, "x", &e));
	OKAY(claiming(&vm, &part, &e));
}

static void test_machine_finds_its_disk(void **state)
{
	struct config_dev cfg = {.backend = "store:new"};
	struct errmsg e = {.text = ""};
	struct blk_dev *d, *again;
	struct vm vm = {.run_state = VM_RUNNING};

	assert_int_equal(open_for_machine(&cfg, &d, &e), ERR_NOENT);
	cfg.disk_size = 8 * MIB;
	OKAY(open_for_machine(&cfg, &d, &e));
	assert_int_equal(d->nsectors, 8 * MIB / 512);
	OKAY(open_for_machine(&cfg, &again, &e));
	assert_ptr_equal(d, again);
	locked = true; /* a restore builds machines with the store locked */
	OKAY(open_for_machine(&cfg, &again, &e));
	locked = false;
	OKAY(claiming(&vm, d, &e));
	/* deleted: the device stays, and says so; made again, it is the same device */
	OKAY(vdisk_delete(store, "new", &e));
	overlay_blk_forget(d);
	assert_int_equal(request(d, BLK_READ, 0, (uint8_t[512]){0}, 1), ERR_NOENT);
	assert_int_equal(claiming(&vm, d, &e), ERR_NOENT);
	cfg.disk_size = 4 * MIB;
	OKAY(open_for_machine(&cfg, &again, &e));
	assert_ptr_equal(d, again);
	assert_int_equal(d->nsectors, 4 * MIB / 512);
}

/* Full: the write says so, and goes through when there is room. */
static void test_no_space(void **state)
{
	static uint8_t buf[512 * 512];
	struct errmsg e = {.text = ""};
	struct blk_dev *d;
	uint64_t at = 0;
	int err;

	OKAY(overlay_blk_create(store, "full", NULL, 64 * MIB, &e));
	OKAY(overlay_blk_create(store, "junk", NULL, 64 * MIB, &e));
	d = open_disk("junk");
	assert_int_equal(request(d, BLK_WRITE, 0, buf, 512), OK);
	d = open_disk("full");
	memset(buf, 1, sizeof(buf));
	while ((err = request(d, BLK_WRITE, at, buf, 512)) == OK)
		at += 512;
	assert_int_equal(err, ERR_NOSPACE);
	assert_int_equal(request(d, BLK_FLUSH, 0, NULL, 0), OK);
	OKAY(vdisk_delete(store, "junk", &e));
	overlay_blk_forget(blk_find("store:junk"));
	assert_int_equal(request(d, BLK_WRITE, at, buf, 512), OK);
}

static void test_freeze_and_restore(void **state)
{
	static uint8_t buf[4096], late[4096], got[4096];
	struct overlay_mark mark = {.set = false};
	struct waiting before, after;
	struct errmsg e = {.text = ""};
	struct snap_params p = {.name = "s", .vm = "v", .memory = 4096};
	struct store_check_result res;
	struct snap_disk rec;
	struct snap_writer *w;
	struct blk_dev *d, *twin;
	uint64_t epoch;
	size_t size;
	void *tree = fake_tree(1, 100, &size);

	OKAY(overlay_blk_create(store, "fr", "web-disk", 0, &e));
	d = open_disk("fr");
	OKAY(overlay_blk_marked(&mark, &rec, &e)); /* not set: nothing */
	memset(buf, 9, sizeof(buf));
	assert_int_equal(request(d, BLK_WRITE, 0, buf, 8), OK);
	OKAY(snap_writer_begin(store, &p, &w, &e));
	OKAY(snap_writer_state(w, tree, size, &e));
	heap_free(tree);
	/* what is submitted behind the mark is not in the snapshot, what is in front of it is */
	memset(buf, 1, sizeof(buf));
	submit(&before, d, BLK_WRITE, 0, buf, 8);
	overlay_blk_mark(d, &mark);
	memset(late, 3, sizeof(late));
	submit(&after, d, BLK_WRITE, 0, late, 8);
	assert_false(mark.done);
	serve_all(d);
	assert_true(before.done && after.done);
	OKAY(overlay_blk_marked(&mark, &rec, &e));
	assert_string_equal(rec.name, "fr");
	OKAY(snap_writer_disk(w, &rec, &e));
	OKAY(snap_writer_commit(w, NULL, &e));
	memset(buf, 2, sizeof(buf));
	assert_int_equal(request(d, BLK_WRITE, 0, buf, 8), OK);
	OKAY(overlay_blk_check(store, &rec, &e));
	OKAY(overlay_blk_restore(store, &rec, 1, &e));
	assert_int_equal(request(d, BLK_READ, 0, got, 8), OK);
	assert_int_equal(got[0], 1);
	OKAY(overlay_blk_prepare(d, &e));
	/* a disk of its own with the same content */
	OKAY(overlay_blk_clone(store, &rec, "clone", &e));
	assert_int_equal(overlay_blk_clone(store, &rec, "fr", &e), ERR_EXIST);
	twin = open_disk("clone");
	assert_int_equal(request(twin, BLK_WRITE, 8, buf, 8), OK);
	assert_int_equal(request(twin, BLK_READ, 0, got, 8), OK);
	assert_int_equal(got[0], 1);
	assert_int_equal(request(d, BLK_READ, 8, got, 8), OK);
	assert_memory_equal(got, host->data + (64 + 8) * 512, 4096);
	OKAY(store_commit(store, &e));
	OKAY(store_check(store, &res, NULL, NULL, &e));
	OKAY(vdisk_delete(store, "clone", &e));
	overlay_blk_forget(twin);
	OKAY(store_check(store, &res, NULL, NULL, &e));
	rec.guid[0]++;
	assert_int_equal(overlay_blk_check(store, &rec, &e), ERR_STATE);
	rec.guid[0]--;
	rec.epoch++;
	assert_int_equal(overlay_blk_check(store, &rec, &e), ERR_STATE);
	/* with a snapshot over it the partition stays as it is */
	assert_int_equal(overlay_blk_commit("fr", NULL, NULL, &e), ERR_BUSY);
	assert_string_equal(e.text, "disk 'fr': snapshot 's' has the same base");
	OKAY(store_epoch_get(store, part.part_guid, &epoch, &e));
	assert_int_equal(epoch, 0);
}

static bool stop_at_once(void *ctx, uint64_t done, uint64_t total)
{
	return false;
}

static void test_write_back(void **state)
{
	static uint8_t buf[9 * 512], got[9 * 512], *before;
	struct errmsg e = {.text = ""};
	struct store_check_result r;
	struct blk_dev *d;
	uint64_t epoch;

	before = malloc(SECTORS * 512);
	memcpy(before, host->data + 64 * 512, SECTORS * 512);
	OKAY(overlay_blk_create(store, "wb", "web-disk", 0, &e));
	d = open_disk("wb");
	memset(buf, 0x77, sizeof(buf));
	assert_int_equal(request(d, BLK_WRITE, 1001, buf, 9), OK);
	assert_int_equal(request(d, BLK_DISCARD, 2000, NULL, 100), OK);
	memcpy(before + 1001 * 512, buf, sizeof(buf));
	memset(before + 2000 * 512, 0, 100 * 512);
	/* cut off: the disk is as it was, and can be opened again */
	assert_int_equal(overlay_blk_commit("wb", stop_at_once, NULL, &e), ERR_CANCELLED);
	store_close(store);
	overlay_blk_forget(d);
	OKAY(store_open(&medium.io, true, &store, &e));
	d = open_disk("wb");
	assert_int_equal(request(d, BLK_READ, 1001, got, 9), OK);
	assert_memory_equal(got, buf, sizeof(buf));
	OKAY(overlay_blk_commit("wb", NULL, NULL, &e));
	assert_memory_equal(host->data + 64 * 512, before, SECTORS * 512);
	assert_true(host->flushes > 0);
	OKAY(store_epoch_get(store, part.part_guid, &epoch, &e));
	assert_int_equal(epoch, 2); /* others are told */
	assert_int_equal(overlay_info(overlay_blk_disk(d))->base.epoch, 2);
	assert_int_equal(request(d, BLK_READ, 1001, got, 9), OK);
	assert_memory_equal(got, buf, sizeof(buf));
	OKAY(store_check(store, &r, NULL, NULL, &e));
	assert_int_equal(r.extents, 0); /* nothing is left in the store */
	free(before);
}

/* An error of the store: the machine whose answered writes are lost is stopped. */
static void test_lost_writes(void **state)
{
	static uint8_t buf[512];
	struct vm *vm = fake_vm_new(1, MIB);
	struct errmsg e = {.text = ""};
	struct blk_dev *d;

	OKAY(overlay_blk_create(store, "lw", NULL, MIB, &e));
	d = open_disk("lw");
	d->owner = vm;
	assert_int_equal(request(d, BLK_WRITE, 0, buf, 1), OK);
	store_close(store);
	OKAY(store_open(&medium.io, true, &store, &e));
	overlay_blk_reattach(store);
	assert_int_equal(fake_of(vm)->fails, 1);
	assert_int_equal(fake_of(vm)->fail_disposition, DISP_DISK_ERROR);
	assert_int_equal(request(d, BLK_READ, 0, buf, 1), ERR_IO);
	/* it starts again, as after a power cut */
	OKAY(claiming(vm, d, &e));
	assert_int_equal(request(d, BLK_READ, 0, buf, 1), OK);
	d->owner = NULL;
	fake_vm_free(vm);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_requests),
	    T(test_bases),
	    T(test_machine_finds_its_disk),
	    T(test_no_space),
	    T(test_freeze_and_restore),
	    T(test_write_back),
	    T(test_lost_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
