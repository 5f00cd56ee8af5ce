/* SPDX-License-Identifier: BSD-2-Clause */
/* The store's disk in memory, and small guests to save in it. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "hv/lib/crc32c.h"
#include "hv/lib/fmt.h"
#include "hv/lib/state.h"
#include "hv/mm/mm.h"
#include "tests/unit/fake/fake_store.h"

static bool must_fail(struct mem_disk *d)
{
	if (d->fail_after < 0)
		return false;
	if (d->fail_after == 0)
		return true;
	d->fail_after--;
	return false;
}

static void log_op(struct mem_disk *d, bool flush, uint64_t block, const uint8_t *data)
{
	struct fake_op *op;

	if (!d->record)
		return;
	if (d->nops == d->cap) {
		d->cap = d->cap ? 2 * d->cap : 256;
		d->ops = realloc(d->ops, d->cap * sizeof(*d->ops));
	}
	op = &d->ops[d->nops++];
	*op = (struct fake_op){.flush = flush, .block = block};
	if (data) {
		op->data = malloc(STORE_BLOCK);
		memcpy(op->data, data, STORE_BLOCK);
	}
}

static int disk_read(void *ctx, uint64_t block, void *buf, uint32_t n)
{
	struct mem_disk *d = ctx;

	assert(n && block + n <= d->nblocks);
	d->reads++;
	if (must_fail(d))
		return ERR_IO;
	memcpy(buf, d->data + block * STORE_BLOCK, (size_t)n * STORE_BLOCK);
	return OK;
}

static int disk_write(void *ctx, uint64_t block, const void *buf, uint32_t n)
{
	struct mem_disk *d = ctx;

	assert(n && block + n <= d->nblocks);
	d->writes++;
	if (must_fail(d))
		return ERR_IO;
	for (uint32_t i = 0; i < n; i++)
		log_op(d, false, block + i, (const uint8_t *)buf + (size_t)i * STORE_BLOCK);
	memcpy(d->data + block * STORE_BLOCK, buf, (size_t)n * STORE_BLOCK);
	return OK;
}

static int disk_flush(void *ctx)
{
	struct mem_disk *d = ctx;

	d->flushes++;
	if (must_fail(d))
		return ERR_IO;
	log_op(d, true, 0, NULL);
	return OK;
}

static void disk_submit(void *ctx, struct store_req *r)
{
	struct mem_disk *d = ctx;

	r->io = d;
	if (++d->in_flight > d->max_in_flight)
		d->max_in_flight = d->in_flight;
}

static int disk_wait(void *ctx, struct store_req *r)
{
	struct mem_disk *d = ctx;

	assert(r->io == d); /* submitted, and not waited for yet */
	r->io = NULL;
	d->in_flight--;
	r->status = r->write ? disk_write(d, r->block, r->buf, r->nblocks)
			     : disk_read(d, r->block, r->buf, r->nblocks);
	return r->status;
}

void mem_disk_init(struct mem_disk *d, uint64_t nblocks, bool async)
{
	*d = (struct mem_disk){.nblocks = nblocks, .fail_after = -1};
	d->data = calloc(nblocks, STORE_BLOCK);
	d->io = (struct store_io){.read = disk_read,
	    .write = disk_write,
	    .flush = disk_flush,
	    .nblocks = nblocks,
	    .ctx = d};
	if (async) {
		d->io.submit = disk_submit;
		d->io.wait = disk_wait;
	}
}

void mem_disk_forget(struct mem_disk *d)
{
	for (size_t i = 0; i < d->nops; i++)
		free(d->ops[i].data);
	d->nops = 0;
}

void mem_disk_free(struct mem_disk *d)
{
	mem_disk_forget(d);
	free(d->ops);
	free(d->data);
}

uint32_t fake_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(*seed >> 33);
}

void fake_ram_fill(uint8_t *ram, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i += PAGE_SIZE) {
		unsigned kind = fake_random(&seed) % 4;

		for (size_t k = i; k < MIN(n, i + PAGE_SIZE); k++)
			ram[k] = kind == 0   ? 0
				 : kind == 1 ? (uint8_t)("state of the guest "[k % 19] + seed % 3)
					     : (uint8_t)fake_random(&seed);
	}
}

void *fake_tree(uint32_t mark, size_t bytes, size_t *size)
{
	struct state_writer w;
	uint8_t *blob = malloc(bytes + 1);
	uint64_t seed = mark;
	void *fdt = NULL;
	int err;

	for (size_t i = 0; i < bytes; i++)
		blob[i] = (uint8_t)fake_random(&seed);
	sw_init(&w, heap_grow);
	sw_u32(&w, "mark", mark);
	sw_begin(&w, "vcpu@0");
	sw_bytes(&w, "blob", blob, bytes);
	sw_end(&w);
	err = sw_encode(&w, &fdt, size, NULL);
	assert(!err);
	heap_free(w.buf);
	free(blob);
	return fdt;
}

static int save(struct store *s, const char *name, uint32_t mark, const uint8_t *ram, size_t n,
    uint64_t base, bool replace, const uint8_t *freeze, struct errmsg *e)
{
	struct snap_params p = {.name = name,
	    .vm = "guest",
	    .id = {(uint8_t)mark, 1},
	    .created = 1000 + mark,
	    .memory = n,
	    .replace = replace,
	    .freeze = freeze};
	struct snap_disk disk = {.guid = {9}, .epoch = mark, .name = "disk0"};
	gpa_t set[] = {gpa(ALIGN_UP(base, (uint64_t)STORE_CHUNK)), gpa(0)};
	struct snap_writer *w;
	size_t size;
	void *tree;
	int err = snap_writer_begin(s, &p, &w, e);

	if (err)
		return err;
	tree = fake_tree(mark, 300 + mark % 7000, &size);
	err = snap_writer_state(w, tree, size, e);
	heap_free(tree);
	if (!err)
		err = snap_writer_disk(w, &disk, e);
	if (!err)
		err = snap_writer_set(w, set, ARRAY_LEN(set), e);
	for (size_t at = 0; !err && at < n; at += STORE_CHUNK)
		err = snap_writer_ram(w, gpa(base + at), ram + at, MIN(n - at, STORE_CHUNK), e);
	if (err) {
		snap_writer_abort(w);
		return err;
	}
	return snap_writer_commit(w, NULL, e);
}

int fake_save(struct store *s, const char *name, uint32_t mark, const uint8_t *ram, size_t n,
    uint64_t base, bool replace, struct errmsg *e)
{
	return save(s, name, mark, ram, n, base, replace, NULL, e);
}

int fake_freeze(struct store *s, const char *name, uint32_t mark, const uint8_t *ram, size_t n,
    const uint8_t uuid[16], struct errmsg *e)
{
	return save(s, name, mark, ram, n, 0, false, uuid, e);
}

int fake_save_child(struct store *s, const char *name, const char *parent, uint32_t mark,
    const uint8_t *ram, size_t n, bool replace, struct errmsg *e)
{
	struct snap_params p = {.name = name,
	    .vm = "guest",
	    .id = {(uint8_t)mark, 1},
	    .created = 1000 + mark,
	    .memory = n,
	    .replace = replace,
	    .parent_name = parent};
	struct snap_writer *w;
	size_t size;
	void *tree;
	int err = snap_writer_begin(s, &p, &w, e);

	if (err)
		return err;
	tree = fake_tree(mark, 300, &size);
	err = snap_writer_state(w, tree, size, e);
	heap_free(tree);
	for (size_t at = ALIGN_DOWN(n, (size_t)PAGE_SIZE); !err && at; at -= PAGE_SIZE)
		if ((at / PAGE_SIZE + mark) % 3 == 0)
			err = snap_writer_ram(
			    w, gpa(at - PAGE_SIZE), ram + at - PAGE_SIZE, PAGE_SIZE, e);
	if (err) {
		snap_writer_abort(w);
		return err;
	}
	return snap_writer_commit(w, NULL, e);
}

struct digest {
	struct store *s;
	char names[256][STORE_NAME_MAX + 1];
	unsigned n;
};

static void note_name(void *ctx, const struct snap_info *info, const struct errmsg *why)
{
	struct digest *d = ctx;

	assert(info && d->n < ARRAY_LEN(d->names));
	str_copy(d->names[d->n++], STORE_NAME_MAX + 1, info->name);
}

static uint64_t mix(uint64_t h, const void *data, size_t len)
{
	return (h ^ crc32c((uint32_t)h, data, len)) * 0x100000001b3ULL;
}

static uint64_t digest_snapshot(struct store *s, const char *name, uint64_t h)
{
	static uint8_t buf[STORE_CHUNK];
	static gpa_t set[SNAP_SET_MAX];
	struct snap_disk disk;
	struct snap *sn;
	unsigned n;
	struct errmsg e;
	size_t size;
	void *fdt;
	gpa_t addr;
	uint32_t len;
	int err = snap_open(s, name, &sn, &e);

	assert(!err);
	h = mix(h, name, strlen(name));
	err = snap_state(sn, &fdt, &size, &e);
	assert(!err);
	h = mix(h, fdt, size);
	heap_free(fdt);
	for (unsigned i = 0; i < snap_info(sn)->ndisks; i++) {
		err = snap_disk(sn, i, &disk, &e);
		assert(!err);
		h = mix(h, &disk.epoch, sizeof(disk.epoch));
	}
	err = snap_set(sn, set, &n, &e);
	assert(!err);
	h = mix(h, set, n * sizeof(*set));
	while ((err = snap_ram_next(sn, &addr, buf, &len, &e)) == OK) {
		h = mix(h, &addr.a, sizeof(addr.a));
		h = mix(h, buf, len);
	}
	assert(err == ERR_NOENT);
	snap_close(sn);
	return h;
}

uint64_t fake_digest(struct store *s)
{
	static struct digest d;
	uint64_t h = 1, epoch;
	int err;

	d = (struct digest){.s = s};
	err = snap_list(s, note_name, &d, NULL);
	assert(!err);
	for (unsigned i = 0; i < d.n; i++)
		h = digest_snapshot(s, d.names[i], h);
	for (uint8_t i = 0; i < 2; i++) {
		uint8_t guid[16] = {9, i};

		err = store_epoch_get(s, guid, &epoch, NULL);
		assert(!err);
		h = mix(h, &epoch, sizeof(epoch));
	}
	return h;
}

/* Opens and reads all snapshots there are, as a restore would. */
static void read_snapshot(struct store *s, const char *name)
{
	static uint8_t buf[STORE_CHUNK];
	static gpa_t set[SNAP_SET_MAX];
	struct store_object_info o;
	unsigned n;
	struct snap_disk disk;
	struct errmsg e;
	struct snap *sn;

	if (snap_open(s, name, &sn, &e))
		return;
	for (unsigned i = 0; i < snap_info(sn)->ndisks; i++)
		(void)!snap_disk(sn, i, &disk, &e);
	(void)!store_object_get(s, snap_info(sn)->ram_object, &o, &e);
	(void)!snap_set(sn, set, &n, &e);
	if (n > SNAP_SET_MAX)
		abort();
	(void)!snap_ram_check(sn, NULL, NULL, &e);
	(void)!snap_ram_read(sn, gpa(0x100000), buf, &e);
	(void)!snap_verify(sn, NULL, NULL, &e);
	snap_close(sn);
}

static void gather_name(void *ctx, const struct snap_info *info, const struct errmsg *why)
{
	struct digest *d = ctx;

	if (info && d->n < ARRAY_LEN(d->names))
		str_copy(d->names[d->n++], STORE_NAME_MAX + 1, info->name);
}

void fake_use_all(struct mem_disk *d)
{
	static uint8_t ram[60 << 10], known[60 << 10];
	static struct digest list;
	struct store_check_result res;
	uint8_t guid[16] = {9};
	struct errmsg e;
	struct store *s;
	uint64_t epoch;

	if (store_open(&d->io, true, &s, &e))
		return;
	list = (struct digest){.s = s};
	(void)!snap_list(s, gather_name, &list, &e);
	for (unsigned i = 0; i < list.n; i++)
		read_snapshot(s, list.names[i]);
	(void)!store_check(s, &res, NULL, NULL, &e);
	(void)!store_epoch_get(s, guid, &epoch, &e);
	(void)!store_epoch_bump(s, guid, &epoch, &e);
	(void)!store_can_hold(s, 100000, &e);
	(void)!store_grow(s, &epoch, &e);
	ram[0] = ram[39999] = 1;
	(void)!fake_save(s, "third", 3, ram, 40000, 0, true, &e);
	(void)!fake_save_child(s, "fourth", "child", 5, ram, 60 << 10, true, &e);
	(void)!fake_save(s, "first", 4, ram, 40000, 0, true, &e);
	fake_ram_fill(known, sizeof(known), 12); /* fuzz_snapshot.c: they are there */
	(void)!fake_save(s, "fifth", 6, known, sizeof(known), 0, true, &e);
	(void)!snap_flatten(s, "grandchild", NULL, NULL, &e);
	(void)!snap_delete(s, "second", &e);
	(void)!snap_flatten(s, "child", NULL, NULL, &e);
	read_snapshot(s, "first");
	read_snapshot(s, "fourth");
	read_snapshot(s, "fifth");
	read_snapshot(s, "grandchild");
	(void)!snap_delete(s, "grandchild", &e);
	(void)!store_commit(s, &e);
	(void)!store_check(s, &res, NULL, NULL, &e);
	store_close(s);
}
