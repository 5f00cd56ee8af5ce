/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the walk over the snapshot engine says when it fails, what the snapshots must contain, and
 * comparing everything with the model.
 *
 * Included once by test_engine_walk.c.
 */
#ifndef AMBER_TESTS_ENGINE_CHECK_H
#define AMBER_TESTS_ENGINE_CHECK_H

#include <signal.h>
#include <stdio.h>

#include "tests/unit/engine_guest.h"

enum { SNAPS = 8, LOG_LINES = 60 };

/* --- telling ------------------------------------------------------------------------- */

static struct {
	uint64_t seed;
	unsigned step, steps;
	char line[LOG_LINES][160];
	unsigned lines;
	bool verbose, careful; /* tells each operation; has the store checked after each step */
} tale;

static void tell_story(void)
{
	unsigned from = tale.lines > LOG_LINES ? tale.lines - LOG_LINES : 0;
	const char *log = fake_log_text();
	size_t n = strlen(log);

	fprintf(stderr, "--- seed %llu, step %u; the last operations:\n",
	    (unsigned long long)tale.seed, tale.step);
	for (unsigned i = from; i < tale.lines; i++)
		fprintf(stderr, "%s\n", tale.line[i % LOG_LINES]);
	fprintf(stderr, "--- thread '%s'; the log's end:\n%s---\n", running->t.name,
	    log + (n > 2000 ? n - 2000 : 0));
}

static void walk_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

static void on_abort(int sig)
{
	tell_story();
	signal(sig, SIG_DFL);
}

static void say(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void say(const char *fmt, ...)
{
	char *to = tale.line[tale.lines++ % LOG_LINES];
	int n = snprintf(to, 160, "%u: ", tale.step);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(to + n, (size_t)(160 - n), fmt, ap);
	va_end(ap);
	if (tale.verbose)
		fprintf(stderr, "%s\n", to);
}

/* An error of the engine's that the step may well have: true; none else is allowed. */
static bool failed(int err, const struct errmsg *e, const int *allowed)
{
	if (!err)
		return false;
	say("  -> %s: %s", error_text(err), e->text);
	for (; *allowed; allowed++)
		if (err == *allowed)
			return true;
	if (!w.shaky)
		walk_fail("unexpected: %s", e->text);
	return true;
}
#define ALLOW(...) ((const int[]){__VA_ARGS__, 0})

/* The store, or NULL: it could not be opened again while the partition failed. */
static struct store *lock_store(struct errmsg *e)
{
	struct store *s = engine_lock(e);

	if (!s && !w.shaky)
		walk_fail("no store: %s", e->text);
	return s;
}

/* UBSan's way to say so. */
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void)
{
	return "abort_on_error=1:print_stacktrace=1";
}

/* --- snapshots ----------------------------------------------------------------------- */

struct model_snap {
	bool used;
	uint8_t id[16];
	struct content c;
};

static struct model_snap snap[SNAPS];
static struct {
	unsigned saves, restores, clones, rewinds, deletes, cuts, errors, compared, full, flat;
} did;

static const char *snap_name(unsigned i)
{
	static const char *const name[SNAPS] = {"s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"};

	return name[i];
}

static void snap_forget(struct model_snap *s)
{
	content_free(&s->c);
	s->used = false;
}

static void model_copy(struct model_snap *to, const struct model_snap *from)
{
	content_copy(&to->c, &from->c);
	memcpy(to->id, from->id, 16);
	to->used = from->used;
}

/* Which one is there: its identifier; false: none. */
static bool snap_id(unsigned i, uint8_t id[16])
{
	struct errmsg e;
	struct store *s = lock_store(&e);
	struct snap *sn;
	int err;

	if (!s)
		return false;
	err = snap_open(s, snap_name(i), &sn, &e);
	if (!err)
		memcpy(id, snap_info(sn)->id, 16);
	if (!err)
		snap_close(sn);
	engine_unlock();
	if (err && err != ERR_NOENT && !w.shaky)
		walk_fail("snapshot '%s': %s", snap_name(i), e.text);
	return err == OK;
}

/* --- comparing ----------------------------------------------------------------------- */

static void compare_pages(
    const struct image *m, uint64_t first, const uint8_t *data, uint64_t len, const char *what)
{
	for (uint64_t i = 0; i < len / PAGE_SIZE; i++)
		if (!image_allows(m, first + i, data + i * PAGE_SIZE))
			walk_fail("%s: page %llu differs", what, (unsigned long long)(first + i));
	did.compared += (unsigned)(len / PAGE_SIZE);
}

/* RAM as the hypervisor reads it; all: also what is still in a snapshot. */
static void compare_ram(struct vm *vm, bool all)
{
	struct guest *g = guest_of(vm);
	const struct gmem *m = vm->gmem;
	static uint8_t buf[PAGE_SIZE];

	for (uint64_t i = 0; i < WALK_PAGES; i++) {
		uint64_t chunk = i / GMEM_CHUNK_PAGES, left;
		bool absent = m->pending && bitmap_test(m->pending, chunk);
		const void *p = gmem_peek(vm, gpa(i * PAGE_SIZE), &left);

		if (!p && absent && (!all || gmem_read(vm, gpa(i * PAGE_SIZE), buf, PAGE_SIZE)))
			continue;
		compare_pages(&g->ram, i, p ? p : absent ? buf : zeros, PAGE_SIZE, vm->config.name);
	}
}

/* The machine that may write it stands still. */
static void compare_disk(struct model_disk *d)
{
	struct overlay *o = overlay_of(d);
	uint8_t *buf = heap_alloc(GMEM_CHUNK);
	struct errmsg e;
	struct store *s = lock_store(&e);

	for (uint64_t off = 0; o && s && !o->lost && off < d->now.size; off += GMEM_CHUNK) {
		uint64_t n = MIN((uint64_t)GMEM_CHUNK, d->now.size - off);
		int err = overlay_read(o, s, off, buf, (uint32_t)n, &e);

		if (failed(err, &e, ALLOW(0)))
			break;
		compare_pages(&d->now, off / PAGE_SIZE, buf, n, d->name);
	}
	if (s)
		engine_unlock();
	heap_free(buf);
}

static void compare_snap_ram(struct snap *sn, const struct content *c, const char *name)
{
	static uint8_t seen[WALK_PAGES];
	uint8_t *buf = heap_alloc(GMEM_CHUNK);
	struct errmsg e;
	uint32_t len;
	gpa_t at;
	int err;

	memset(seen, 0, sizeof(seen));
	while ((err = snap_ram_next(sn, &at, buf, &len, &e)) == OK) {
		compare_pages(&c->ram, at.a / PAGE_SIZE, buf, len, name);
		memset(seen + at.a / PAGE_SIZE, 1, len / PAGE_SIZE);
	}
	if (err != ERR_NOENT)
		(void)failed(err, &e, ALLOW(0));
	for (uint64_t i = 0; err == ERR_NOENT && i < WALK_PAGES; i++)
		if (!seen[i])
			compare_pages(&c->ram, i, zeros, PAGE_SIZE, name);
	heap_free(buf);
}

/* What a snapshot has of a disk is read through a disk that is made of it for the moment. */
static int compare_snap_disk(
    struct store *s, struct snap *sn, const struct content *c, const char *name, struct errmsg *e)
{
	struct vdisk v = {.name = "compare", .size = c->on_disk.size};
	struct overlay_base below = {.size = 0};
	struct overlay *o = NULL;
	struct snap_disk rec;
	uint8_t *buf = heap_alloc(GMEM_CHUNK);
	int err = snap_disk(sn, 0, &rec, e);

	if (!err && c->disk->based)
		err = overlay_base_describe(s, "base", &v.base, e);
	if (!err)
		err = overlay_base_open(s, &v, &below, e);
	if (!err)
		err = vdisk_create_over(s, &v, rec.overlay, e);
	if (!err)
		err = overlay_open(s, v.name, &below, 0, &o, e);
	for (uint64_t off = 0; !err && off < v.size; off += GMEM_CHUNK) {
		uint32_t n = (uint32_t)MIN((uint64_t)GMEM_CHUNK, v.size - off);

		err = overlay_read(o, s, off, buf, n, e);
		if (!err)
			compare_pages(&c->on_disk, off / PAGE_SIZE, buf, n, name);
	}
	overlay_close(o);
	if (v.top && vdisk_delete(s, v.name, e))
		err = err ? err : ERR_IO;
	heap_free(buf);
	return err;
}

static void compare_snap(unsigned i)
{
	struct errmsg e;
	struct store *s = lock_store(&e);
	struct snap *sn;
	int err;

	ASSERT(s);
	err = snap_open(s, snap_name(i), &sn, &e);
	if (!failed(err, &e, ALLOW(0))) {
		compare_snap_ram(sn, &snap[i].c, snap_name(i));
		err = compare_snap_disk(s, sn, &snap[i].c, snap_name(i), &e);
		(void)failed(err, &e, ALLOW(ERR_NOSPACE));
		snap_close(sn);
	}
	engine_unlock();
}

/* What is not there that should be, and the other way round; the store's accounts. */
static void check_store(bool alone)
{
	struct store_check_result r;
	struct errmsg e;
	struct store *s = lock_store(&e);
	struct store_stat st;
	int err;

	ASSERT(s);
	store_stat(s, &st);
	err = st.writable ? store_commit(s, &e) : ERR_IO;
	if (!err)
		err = store_check(s, &r, NULL, NULL, &e);
	engine_unlock();
	if (failed(err, &e, ALLOW(0)))
		return;
	if (alone && r.orphans)
		walk_fail("%llu orphans", (unsigned long long)r.orphans);
}

static void check_lists(void)
{
	struct errmsg e;
	struct store *s;
	uint8_t id[16];
	struct vdisk v;
	uint64_t at = 0;
	unsigned n = 0;

	for (unsigned i = 0; i < SNAPS; i++)
		if (snap_id(i, id) != snap[i].used || (snap[i].used && memcmp(id, snap[i].id, 16)))
			walk_fail(
			    "snapshot '%s' is %sthere", snap_name(i), snap[i].used ? "not " : "");
	s = lock_store(&e);
	while (vdisk_next(s, &at, &v, &e) == OK) {
		n++;
		if (!disk_named(v.name))
			walk_fail("disk '%s' is there", v.name);
	}
	engine_unlock();
	for (unsigned i = 0; i < MODEL_DISKS; i++)
		n -= w.disk[i].used;
	if (n)
		walk_fail("%d disks too few", -(int)n);
}

#endif
