/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames of a snapshot's memory, by address. */
#include "hv/snapshot/ram_image.h"

#include <string.h>

#include "hv/core/gmem.h"
#include "hv/core/memmap.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/compress.h"
#include "hv/snapshot/engine_int.h"

enum { IMAGE_ORDER = 4 }; /* STORE_CHUNK */
#define ZEROS UINT64_MAX

struct ram_image {
	struct ram_image *next;
	uint8_t id[16]; /* the snapshot's */
	struct snap *snap;
	unsigned refs;
	/* pieces below the PCI hole, and of ROM; the others follow in the table */
	uint64_t low, rom;
	uint64_t n, known; /* pieces; of them read or found zero */
	uint64_t *piece;   /* host-physical address; 0: not read yet */
};

/* Those that somebody uses; under the store's lock, as all here. */
static struct ram_image *images;

static struct ram_image *find(const uint8_t *id)
{
	struct ram_image *m = images;

	while (m && memcmp(m->id, id, sizeof(m->id)) != 0)
		m = m->next;
	return m;
}

static void forget(struct ram_image *m)
{
	struct ram_image **at = &images;

	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
}

static int make(struct snap *sn, bool rom, struct ram_image **out, struct errmsg *e)
{
	struct ram_image *m = heap_zalloc(sizeof(*m));
	uint64_t memory = snap_info(sn)->memory;

	if (m) {
		m->low = MIN(memory, (uint64_t)MEMMAP_LOW_RAM_MAX) / STORE_CHUNK;
		m->rom = rom ? MEMMAP_ROM_SIZE / STORE_CHUNK : 0;
		m->n = memory / STORE_CHUNK + m->rom;
		m->piece = heap_zalloc(m->n * sizeof(*m->piece));
	}
	if (!m || !m->piece) {
		heap_free(m);
		snap_close(sn);
		return err_set(e, ERR_NOMEM, "out of memory");
	}
	m->snap = sn;
	m->refs = 1;
	memcpy(m->id, snap_info(sn)->id, sizeof(m->id));
	m->next = images;
	images = m;
	engine_hold(); /* as long as it reads */
	*out = m;
	return OK;
}

int ram_image_open(struct snap *sn, bool rom, struct ram_image **out, struct errmsg *e)
{
	struct ram_image *m = find(snap_info(sn)->id);

	if (!m)
		return make(sn, rom, out, e);
	snap_close(sn);
	m->refs++;
	*out = m;
	return OK;
}

void ram_image_ref(struct ram_image *m)
{
	m->refs++;
}

static void stop_reading(struct ram_image *m)
{
	if (!m->snap)
		return;
	snap_close(m->snap);
	m->snap = NULL;
	engine_let_go();
}

void ram_image_unref(struct ram_image *m)
{
	if (!m || --m->refs)
		return;
	for (uint64_t i = 0; i < m->n; i++)
		if (m->piece[i] && m->piece[i] != ZEROS)
			frames_free(hpa(m->piece[i]), IMAGE_ORDER);
	stop_reading(m);
	forget(m);
	heap_free(m->piece);
	heap_free(m);
}

/* The table's entry for an address, or NULL: neither RAM nor ROM. */
static uint64_t *entry(struct ram_image *m, uint64_t addr)
{
	uint64_t first = m->low + m->rom, i = (addr - MEMMAP_HIGH_RAM) / STORE_CHUNK;

	if (addr < MEMMAP_LOW_RAM_MAX)
		return addr / STORE_CHUNK < m->low ? &m->piece[addr / STORE_CHUNK] : NULL;
	if (addr >= MEMMAP_HIGH_RAM)
		return i < m->n - first ? &m->piece[first + i] : NULL;
	i = (addr - MEMMAP_ROM) / STORE_CHUNK;
	return addr >= MEMMAP_ROM && i < m->rom ? &m->piece[m->low + i] : NULL;
}

static int read_piece(struct ram_image *m, gpa_t addr, uint64_t *to, struct errmsg *e)
{
	hpa_t h = gmem_frame_alloc(false);
	int err;

	if (!h.a)
		return err_set(e, ERR_NOMEM, "no host memory");
	err = snap_ram_read(m->snap, addr, phys_to_virt(h), e);
	if (!err && !all_zero(phys_to_virt(h), STORE_CHUNK)) {
		*to = h.a;
		return OK;
	}
	if (!err)
		*to = ZEROS;
	frames_free(h, IMAGE_ORDER);
	return err;
}

int ram_image_get(struct ram_image *m, gpa_t addr, hpa_t *frame, struct errmsg *e)
{
	uint64_t *p = entry(m, addr.a);
	int err = OK;

	if (!p)
		return err_set(e, ERR_FAULT, "no RAM at 0x%llx", (unsigned long long)addr.a);
	if (!*p) {
		err = read_piece(m, addr, p, e);
		if (!err && ++m->known == m->n)
			stop_reading(m); /* the clones need the store no more */
	}
	*frame = hpa(*p == ZEROS ? 0 : *p);
	return err;
}

bool ram_image_ahead(struct ram_image *m, gpa_t addr)
{
	const uint64_t *p = entry(m, addr.a);

	return !p || *p || !m->snap || snap_ram_ahead(m->snap, addr);
}

int ram_image_set(struct ram_image *m, gpa_t *addr, unsigned *n, struct errmsg *e)
{
	*n = 0;
	return m->snap ? snap_set(m->snap, addr, n, e) : OK;
}
