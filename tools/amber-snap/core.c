/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A snapshot as an ELF core file: registers as notes, guest-physical memory as segments. The
 * layout is that of QEMU's dump-guest-memory, which gdb and crash know.
 */
#include "tools/amber-snap/core.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "hv/core/memmap.h"
#include "hv/lib/cursor.h"
#include "hv/lib/fmt.h"
#include "hv/lib/state.h"
#include "hv/mm/mm.h"
#include "tools/amber-snap/core_notes.h"
#include "tools/amber-snap/ptwalk.h"

/* System V gABI, chapters 4 and 5; <elf.h> has names in common with vcpu_state.h. */
enum elf { ET_CORE = 4, EM_X86_64 = 62, EV_CURRENT = 1, PT_LOAD = 1, PT_NOTE = 4, PF_RWX = 7 };
static const uint8_t elf_ident[] = {
    0x7f, 'E', 'L', 'F', 2 /* 64 bits */, 1 /* little-endian */, EV_CURRENT};

enum {
	EHDR_SIZE = 64,
	PHDR_SIZE = 56,
	RAM_RANGES = 3, /* below 4 GiB and above, and ROM in between */
	VCPUS_MAX = STATE_CHILDREN_MAX,
};

struct ram {
	uint64_t start, len;
	uint64_t offset; /* in the file */
};

struct core {
	struct snap *sn;
	const char *path;
	int fd;
	struct vcpu_state *vcpus;
	unsigned nvcpus;
	struct ram ram[RAM_RANGES];
	unsigned nram;
	uint64_t size; /* of the file */
	bool paging;
	bool rom; /* firmware has started it: there is memory up to 4 GiB */
	struct mappings map;
	struct errmsg *e;
};

/* --- the vCPUs ----------------------------------------------------------------------- */

static int read_vcpus(struct core *c, const void *fdt)
{
	struct state_node n;
	char path[32];
	int err = OK;

	for (;; c->nvcpus++) {
		str_format(path, sizeof(path), "/vcpus/vcpu%u", c->nvcpus);
		if (c->nvcpus == VCPUS_MAX || sr_find(fdt, path, &n))
			break;
	}
	if (c->nvcpus == 0)
		return err_set(c->e, ERR_CORRUPT, "record vcpus/vcpu0 is missing");
	c->vcpus = heap_zalloc(c->nvcpus * sizeof(*c->vcpus));
	if (!c->vcpus)
		return err_set(c->e, ERR_NOMEM, "out of memory");
	for (unsigned i = 0; !err && i < c->nvcpus; i++) {
		str_format(path, sizeof(path), "/vcpus/vcpu%u", i);
		err = sr_find(fdt, path, &n);
		if (!err)
			err = sr_fields(&n, vcpu_state_fields, NULL, &c->vcpus[i], c->e);
	}
	return err;
}

static bool has_firmware(const void *fdt)
{
	struct state_node n;
	const char *method;

	return sr_find(fdt, "/config/boot", &n) == OK &&
	       sr_string(&n, "method", &method, NULL) == OK && strcmp(method, "firmware") == 0;
}

/* --- the RAM ------------------------------------------------------------------------- */

static uint64_t headers_size(const struct core *c)
{
	uint64_t segments = 1 + RAM_RANGES + (c->paging ? PTWALK_MAX : 0);

	return EHDR_SIZE + segments * PHDR_SIZE + (uint64_t)c->nvcpus * core_notes_size();
}

static void place_range(struct core *c, uint64_t start, uint64_t len)
{
	if (!len)
		return;
	c->ram[c->nram++] = (struct ram){.start = start, .len = len, .offset = c->size};
	c->size += len;
}

static void place_ram(struct core *c)
{
	uint64_t memory = ALIGN_UP(snap_info(c->sn)->memory, PAGE_SIZE);
	uint64_t low = MIN(memory, MEMMAP_LOW_RAM_MAX);

	c->size = ALIGN_UP(headers_size(c), PAGE_SIZE);
	place_range(c, 0, low);
	place_range(c, MEMMAP_ROM, c->rom ? MEMMAP_ROM_SIZE : 0);
	place_range(c, MEMMAP_HIGH_RAM, memory - low);
}

static const struct ram *find_ram(const struct core *c, uint64_t pa, uint64_t len)
{
	for (unsigned i = 0; i < c->nram; i++)
		if (pa >= c->ram[i].start && range_in(pa - c->ram[i].start, len, c->ram[i].len))
			return &c->ram[i];
	return NULL;
}

static int check_range(void *ctx, uint64_t addr, uint64_t len, struct errmsg *e)
{
	if (find_ram(ctx, addr, len))
		return OK;
	return err_set(
	    e, ERR_CORRUPT, "chunk 0x%llx: the machine has no RAM there", (unsigned long long)addr);
}

/* --- the file ------------------------------------------------------------------------ */

static int put(struct core *c, uint64_t at, const void *data, size_t n)
{
	const uint8_t *p = data;

	while (n) {
		ssize_t done = pwrite(c->fd, p, n, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return err_set(c->e, errno == ENOSPC ? ERR_NOSPACE : ERR_IO, "%s: %s",
			    c->path, strerror(errno));
		p += done;
		at += (size_t)done;
		n -= (size_t)done;
	}
	return OK;
}

static bool is_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* Where a piece of RAM goes; what is zero in it stays a hole. */
static int put_ram(struct core *c, uint64_t addr, const uint8_t *data, uint32_t len)
{
	const struct ram *r = find_ram(c, addr, len);
	uint32_t n;
	int err = OK;

	if (!r)
		return check_range(c, addr, len, c->e);
	for (uint32_t at = 0; !err && at < len; at += n) {
		n = MIN((uint32_t)(PAGE_SIZE - (addr + at) % PAGE_SIZE), len - at);
		if (!is_zero(data + at, n))
			err = put(c, r->offset + (addr + at - r->start), data + at, n);
	}
	return err;
}

static int write_ram(
    struct core *c, bool (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx)
{
	uint8_t *buf = heap_alloc(STORE_CHUNK);
	uint64_t done = 0, total = snap_info(c->sn)->ram_bytes;
	uint32_t len;
	gpa_t addr;
	int err = buf ? OK : err_set(c->e, ERR_NOMEM, "out of memory");

	while (!err && (err = snap_ram_next(c->sn, &addr, buf, &len, c->e)) == OK) {
		err = put_ram(c, addr.a, buf, len);
		done += len;
		if (!err && progress && !progress(ctx, done, total))
			err = err_set(c->e, ERR_CANCELLED, "cancelled");
	}
	heap_free(buf);
	return err == ERR_NOENT ? OK : err;
}

/* --- the mappings -------------------------------------------------------------------- */

/* The guest's RAM is in the file already, and there it can be read in any order. */
static int read_page(void *ctx, uint64_t pa, void *buf)
{
	const struct core *c = ctx;
	const struct ram *r = find_ram(c, pa, PAGE_SIZE);

	if (!r)
		return ERR_NOENT;
	return pread(c->fd, buf, PAGE_SIZE, (off_t)(r->offset + (pa - r->start))) ==
		       (ssize_t)PAGE_SIZE
		   ? OK
		   : ERR_IO;
}

static bool clip_to_ram(void *ctx, uint64_t *pa, uint64_t *len)
{
	const struct core *c = ctx;

	for (unsigned i = 0; i < c->nram; i++) {
		const struct ram *r = &c->ram[i];
		uint64_t from = MAX(*pa, r->start), to = MIN(*pa + *len, r->start + r->len);

		if (from < to) {
			*pa = from;
			*len = to - from;
			return true;
		}
	}
	return false;
}

static int find_mappings(struct core *c)
{
	const struct ram *last = &c->ram[c->nram - 1];
	struct ptwalk_memory m = {.read = read_page,
	    .clip = clip_to_ram,
	    .pages = (last->start + last->len) >> PAGE_SHIFT,
	    .ctx = c};
	int err = ptwalk(&c->vcpus[0], &m, &c->map, c->e);

	return err ? err_prefix(c->e, err, "vcpu0") : OK;
}

/* --- the headers --------------------------------------------------------------------- */

static void put_ehdr(uint8_t *p, unsigned segments)
{
	memcpy(p, elf_ident, sizeof(elf_ident));
	put_le16(p + 16, ET_CORE);
	put_le16(p + 18, EM_X86_64);
	put_le32(p + 20, EV_CURRENT);
	put_le64(p + 32, EHDR_SIZE); /* segments' headers follow */
	put_le16(p + 52, EHDR_SIZE);
	put_le16(p + 54, PHDR_SIZE);
	put_le16(p + 56, (uint16_t)segments);
}

static uint8_t *put_phdr(
    uint8_t *p, uint32_t type, uint64_t offset, uint64_t va, uint64_t pa, uint64_t size)
{
	put_le32(p, type);
	put_le32(p + 4, type == PT_LOAD ? PF_RWX : 0);
	put_le64(p + 8, offset);
	put_le64(p + 16, va);
	put_le64(p + 24, pa);
	put_le64(p + 32, size);
	put_le64(p + 40, type == PT_LOAD ? size : 0);
	/* no alignment: by that crash tells a dump of this kind from others, which it reads wrongly
	 */
	return p + PHDR_SIZE;
}

static int write_headers(struct core *c)
{
	unsigned segments = 1 + c->nram + c->map.n;
	uint64_t notes = EHDR_SIZE + (uint64_t)segments * PHDR_SIZE;
	size_t notes_size = c->nvcpus * core_notes_size();
	uint8_t *buf = heap_zalloc(notes + notes_size), *p = buf;
	int err;

	if (!buf)
		return err_set(c->e, ERR_NOMEM, "out of memory");
	put_ehdr(p, segments);
	p = put_phdr(p + EHDR_SIZE, PT_NOTE, notes, 0, 0, notes_size);
	/* crash takes the first segment's place for the end of the headers */
	for (unsigned i = 0; i < c->nram; i++) {
		const struct ram *r = &c->ram[i];

		p = put_phdr(p, PT_LOAD, r->offset, c->paging ? CORE_PHYSICAL + r->start : 0,
		    r->start, r->len);
	}
	for (unsigned i = 0; i < c->map.n; i++) {
		const struct mapping *m = &c->map.range[i];
		const struct ram *r = find_ram(c, m->pa, m->len);

		p = put_phdr(p, PT_LOAD, r->offset + (m->pa - r->start), m->va, m->pa, m->len);
	}
	for (unsigned i = 0; i < c->nvcpus; i++, p += core_notes_size())
		core_notes_put(p, i, &c->vcpus[i]);
	err = put(c, 0, buf, (size_t)(p - buf));
	heap_free(buf);
	return err;
}

/* --- all of it ----------------------------------------------------------------------- */

/* What can be found wrong before there is a file. */
static int prepare(struct core *c)
{
	size_t size;
	void *fdt;
	int err = snap_state(c->sn, &fdt, &size, c->e);

	if (err)
		return err;
	err = read_vcpus(c, fdt);
	c->rom = has_firmware(fdt);
	heap_free(fdt);
	if (err)
		return err_prefix(c->e, err, "snapshot '%s'", snap_info(c->sn)->name);
	if (snap_info(c->sn)->memory - 1 >= BIT(52))
		return err_set(c->e, ERR_CORRUPT, "snapshot '%s': %llu bytes of memory",
		    snap_info(c->sn)->name, (unsigned long long)snap_info(c->sn)->memory);
	place_ram(c);
	return snap_ram_check(c->sn, check_range, c, c->e);
}

static int fill(
    struct core *c, bool (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx)
{
	int err = OK;

	if (ftruncate(c->fd, (off_t)c->size))
		err = err_set(c->e, ERR_IO, "%s: %llu bytes: %s", c->path,
		    (unsigned long long)c->size, strerror(errno));
	if (!err)
		err = write_ram(c, progress, ctx);
	if (!err && c->paging)
		err = find_mappings(c);
	return err ? err : write_headers(c);
}

int core_write(struct snap *sn, const char *path, bool paging,
    bool (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx, struct core_result *r,
    struct errmsg *e)
{
	struct core c = {.sn = sn, .path = path, .paging = paging, .e = e};
	int err = prepare(&c);

	if (!err) {
		c.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (c.fd < 0) {
			err = err_set(e, errno == EEXIST ? ERR_EXIST : ERR_IO, "%s: %s", path,
			    strerror(errno));
		} else {
			err = fill(&c, progress, ctx);
			if (close(c.fd) && !err)
				err = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
			if (err)
				unlink(path);
		}
	}
	*r = (struct core_result){.vcpus = c.nvcpus, .mappings = c.map.n, .cut = c.map.cut};
	heap_free(c.map.range);
	heap_free(c.vcpus);
	return err;
}
