/* SPDX-License-Identifier: BSD-2-Clause */
/* Split virtqueues: descriptor chains, available and used ring, event suppression. */
#include "hv/dev/virtio_ring.h"

#include <string.h>
#include "hv/lib/cursor.h"

/* struct virtq_desc, 2.7.5 */
enum desc_layout { DESC_ADDR = 0, DESC_LEN = 8, DESC_FLAGS = 12, DESC_NEXT = 14, DESC_SIZE = 16 };
enum desc_flag { DESC_F_NEXT = 1, DESC_F_WRITE = 2, DESC_F_INDIRECT = 4 };
/* struct virtq_avail, 2.7.6; struct virtq_used, 2.7.8 */
enum avail_layout { AVAIL_FLAGS = 0, AVAIL_IDX = 2, AVAIL_RING = 4 };
enum avail_flag { AVAIL_F_NO_INTERRUPT = 1 };
enum used_layout { USED_IDX = 2, USED_RING = 4, USED_ELEM_SIZE = 8 };

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static int corrupt(struct vring *vr, const char *why)
{
	vr->error = why;
	return ERR_CORRUPT;
}

/* An access to guest memory failed. With ERR_RETRY the driver did nothing wrong. */
static int failed(struct vring *vr, int err, const char *why)
{
	return err == ERR_RETRY ? err : corrupt(vr, why);
}

/* The sizes of the three parts (2.7), event words included. */
static uint64_t desc_bytes(uint16_t size)
{
	return DESC_SIZE * (uint64_t)size;
}
static uint64_t avail_bytes(uint16_t size)
{
	return AVAIL_RING + 2 * (uint64_t)size + 2;
}
static uint64_t used_bytes(uint16_t size)
{
	return USED_RING + USED_ELEM_SIZE * (uint64_t)size + 2;
}

/* --- set-up --------------------------------------------------------------------- */

void vring_init(struct vring *vr, struct vm *vm, struct vring_state *st, uint16_t max_size)
{
	*vr = (struct vring){.vm = vm, .st = st, .max_size = max_size};
	vring_reset(vr);
}

void vring_reset(struct vring *vr)
{
	*vr->st = (struct vring_state){.size = vr->max_size, .vector = VRING_NO_VECTOR};
	vr->avail_idx = 0;
	vr->error = NULL;
}

static bool part_ok(uint64_t addr, uint64_t bytes, uint64_t align)
{
	uint64_t end;

	return addr % align == 0 && add_ok_u64(addr, bytes, &end);
}

static bool layout_ok(const struct vring_state *st)
{
	return part_ok(st->desc, desc_bytes(st->size), 16) &&
	       part_ok(st->avail, avail_bytes(st->size), 2) &&
	       part_ok(st->used, used_bytes(st->size), 4);
}

int vring_enable(struct vring *vr)
{
	if (!layout_ok(vr->st))
		return ERR_INVAL;
	vr->st->enabled = 1;
	return OK;
}

int vring_check(
    const struct vring *vr, const struct vring_state *st, const char *name, struct errmsg *e)
{
	uint16_t taken = (uint16_t)(st->last_avail - st->used_idx);

	if (st->size == 0 || st->size > vr->max_size || (st->size & (st->size - 1)))
		return err_set(e, ERR_INVAL, "%s-size: %u is not a power of two up to %u", name,
		    st->size, vr->max_size);
	if (st->enabled && !layout_ok(st))
		return err_set(e, ERR_INVAL, "%s: misaligned, or its addresses overflow", name);
	if (!st->enabled && (st->last_avail || st->used_idx))
		return err_set(e, ERR_INVAL, "%s: indexes of a queue that is not enabled", name);
	if (bitmap_next_set(st->inflight, VRING_MAX_SIZE, st->size) != VRING_MAX_SIZE)
		return err_set(e, ERR_RANGE, "%s-in-flight: descriptor beyond the queue", name);
	if (bitmap_count(st->inflight, VRING_MAX_SIZE) != taken)
		return err_set(e, ERR_INVAL,
		    "%s-last-avail: %u taken and %u returned do not fit %u in flight", name,
		    st->last_avail, st->used_idx,
		    (unsigned)bitmap_count(st->inflight, VRING_MAX_SIZE));
	return OK;
}

void vring_loaded(struct vring *vr)
{
	vr->avail_idx = vr->st->last_avail;
	vr->error = NULL;
}

/* --- chains --------------------------------------------------------------------- */

static struct desc desc_decode(const uint8_t *p)
{
	return (struct desc){
	    .addr = get_le64(p + DESC_ADDR),
	    .len = get_le32(p + DESC_LEN),
	    .flags = get_le16(p + DESC_FLAGS),
	    .next = get_le16(p + DESC_NEXT),
	};
}

/* Readable buffers come before writable ones (2.7.4.2); the room bounds the chain. */
static int add_seg(struct vring *vr, struct vring_chain *c, const struct desc *d)
{
	bool write = d->flags & DESC_F_WRITE;
	uint64_t end;

	if (d->len == 0)
		return OK;
	if (!add_ok_u64(d->addr, d->len, &end))
		return corrupt(vr, "a buffer whose address overflows");
	if (!write && c->nwrite)
		return corrupt(vr, "a readable buffer after a writable one");
	c->seg[c->nread + c->nwrite] = (struct vring_seg){.addr = gpa(d->addr), .len = d->len};
	if (write) {
		c->nwrite++;
		c->write_len += d->len;
	} else {
		c->nread++;
		c->read_len += d->len;
	}
	return OK;
}

/* A table of descriptors: the queue's own, or an indirect one of n entries. */
struct desc_table {
	uint64_t base;
	uint32_t n;
	bool indirect;
};

static int enter_indirect(struct vring *vr, struct desc_table *t, const struct desc *d)
{
	uint64_t end;

	if (!vr->indirect)
		return corrupt(vr, "an indirect descriptor that was not negotiated");
	if (t->indirect)
		return corrupt(vr, "an indirect table in an indirect table");
	if (d->flags & DESC_F_NEXT)
		return corrupt(vr, "an indirect descriptor with a next one");
	if (d->len == 0 || d->len % DESC_SIZE || !add_ok_u64(d->addr, d->len, &end))
		return corrupt(vr, "an indirect table of impossible size or place");
	*t = (struct desc_table){.base = d->addr, .n = d->len / DESC_SIZE, .indirect = true};
	return OK;
}

int vring_fetch(struct vring *vr, uint16_t head, struct vring_chain *c)
{
	struct desc_table t = {.base = vr->st->desc, .n = vr->st->size};
	uint32_t index = head;

	c->head = head;
	c->nread = c->nwrite = 0;
	c->read_len = c->write_len = 0;
	/* One descriptor each time round; a chain as long as the queue may have one indirect
	 * descriptor besides. */
	for (unsigned count = 0; count <= vr->st->size; count++) {
		uint8_t raw[DESC_SIZE];
		struct desc d;
		int err;

		if (index >= t.n)
			return corrupt(vr, "a descriptor index beyond the table");
		err = gmem_read(vr->vm, gpa(t.base + (uint64_t)index * DESC_SIZE), raw, DESC_SIZE);
		if (err)
			return failed(vr, err, "a descriptor that is not in RAM");
		d = desc_decode(raw);
		if (d.flags & DESC_F_INDIRECT) {
			err = enter_indirect(vr, &t, &d);
			if (err)
				return err;
			index = 0;
			continue;
		}
		if (c->nread + c->nwrite == vr->st->size)
			break;
		err = add_seg(vr, c, &d);
		if (err || !(d.flags & DESC_F_NEXT))
			return err;
		index = d.next;
	}
	return corrupt(vr, "a chain longer than the queue");
}

/* --- available ring ------------------------------------------------------------- */

static int read_avail_idx(struct vring *vr)
{
	uint16_t idx;
	int err = gmem_read_u16(vr->vm, gpa(vr->st->avail + AVAIL_IDX), &idx);

	if (err)
		return failed(vr, err, "an available ring that is not in RAM");
	if ((uint16_t)(idx - vr->st->last_avail) > vr->st->size)
		return corrupt(vr, "an available index ahead by more than the queue's size");
	vr->avail_idx = idx;
	/* What the index announces is read after it. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return OK;
}

int vring_pop(struct vring *vr, struct vring_chain *c)
{
	struct vring_state *st = vr->st;
	uint16_t head, slot = st->last_avail & (st->size - 1);
	int err;

	if (vr->avail_idx == st->last_avail) {
		err = read_avail_idx(vr);
		if (err)
			return err;
		if (vr->avail_idx == st->last_avail)
			return ERR_NOENT;
	}
	err = gmem_read_u16(vr->vm, gpa(st->avail + AVAIL_RING + 2 * (uint64_t)slot), &head);
	if (err)
		return failed(vr, err, "an available ring that is not in RAM");
	if (head >= st->size)
		return corrupt(vr, "a head beyond the descriptor table");
	if (bitmap_test(st->inflight, head))
		return corrupt(vr, "a head made available twice");
	err = vring_fetch(vr, head, c);
	if (err)
		return err;
	bitmap_set(st->inflight, head);
	st->last_avail++;
	return OK;
}

void vring_unpop(struct vring *vr, uint16_t head)
{
	bitmap_clear(vr->st->inflight, head);
	vr->st->last_avail--;
}

int vring_prepare(struct vring *vr)
{
	int err = gmem_prepare(vr->vm, gpa(vr->st->used), used_bytes(vr->st->size), true);

	return err == ERR_RETRY ? err : OK;
}

int vring_arm(struct vring *vr, bool *more)
{
	struct vring_state *st = vr->st;
	uint64_t avail_event = st->used + USED_RING + USED_ELEM_SIZE * (uint64_t)st->size;
	int err = vr->event_idx ? gmem_write_u16(vr->vm, gpa(avail_event), st->last_avail) : OK;

	if (err)
		return failed(vr, err, "a used ring that is not in RAM");
	/* The driver either sees the event index or its buffer is seen here. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	err = read_avail_idx(vr);
	*more = !err && vr->avail_idx != st->last_avail;
	return err;
}

/* --- used ring ------------------------------------------------------------------ */

int vring_push(struct vring *vr, uint16_t head, uint32_t written)
{
	struct vring_state *st = vr->st;
	uint64_t slot = st->used_idx & (st->size - 1);
	uint8_t elem[USED_ELEM_SIZE];
	int err;

	put_le32(elem, head);
	put_le32(elem + 4, written);
	err = gmem_write(
	    vr->vm, gpa(st->used + USED_RING + USED_ELEM_SIZE * slot), elem, sizeof(elem));
	if (err)
		return failed(vr, err, "a used ring that is not in RAM");
	/* The entry is visible before the index that announces it. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	err = gmem_write_u16(vr->vm, gpa(st->used + USED_IDX), (uint16_t)(st->used_idx + 1));
	if (err)
		return failed(vr, err, "a used ring that is not in RAM");
	st->used_idx++;
	bitmap_clear(st->inflight, head);
	return OK;
}

int vring_wants_interrupt(struct vring *vr, uint16_t old_used, bool *wanted)
{
	struct vring_state *st = vr->st;
	uint64_t used_event = st->avail + AVAIL_RING + 2 * (uint64_t)st->size;
	uint16_t v;
	int err;

	*wanted = false;
	if (old_used == st->used_idx)
		return OK;
	/* The index is visible before the driver's wish is read. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	err = gmem_read_u16(vr->vm, gpa(vr->event_idx ? used_event : st->avail + AVAIL_FLAGS), &v);
	if (err)
		return failed(vr, err, "an available ring that is not in RAM");
	/* 2.7.10: the event lies among the entries that were added. */
	*wanted = vr->event_idx
		      ? (uint16_t)(st->used_idx - v - 1) < (uint16_t)(st->used_idx - old_used)
		      : !(v & AVAIL_F_NO_INTERRUPT);
	return OK;
}

/* --- buffers -------------------------------------------------------------------- */

enum direction { TO_GUEST, FROM_GUEST };

static int copy_segs(const struct vring *vr, const struct vring_seg *seg, unsigned n, uint64_t off,
    uint8_t *buf, uint64_t len, enum direction dir)
{
	for (unsigned i = 0; i < n && len; i++) {
		uint64_t part;
		gpa_t addr;
		int err;

		if (off >= seg[i].len) {
			off -= seg[i].len;
			continue;
		}
		part = MIN(len, seg[i].len - off);
		addr = gpa_add(seg[i].addr, off);
		err = dir == TO_GUEST ? gmem_write(vr->vm, addr, buf, part)
				      : gmem_read(vr->vm, addr, buf, part);
		if (err)
			return err;
		buf += part;
		len -= part;
		off = 0;
	}
	return len ? ERR_RANGE : OK;
}

int vring_ready(const struct vring *vr, const struct vring_chain *c, enum vring_use use,
    uint64_t off, uint64_t len)
{
	bool write = use == VRING_WRITE;
	const struct vring_seg *seg = write ? c->seg + c->nread : c->seg;
	unsigned n = write ? c->nwrite : c->nread;
	int err = OK;

	for (unsigned i = 0; i < n && len && !err; i++) {
		uint64_t part;

		if (off >= seg[i].len) {
			off -= seg[i].len;
			continue;
		}
		part = MIN(len, seg[i].len - off);
		err = gmem_prepare(vr->vm, gpa_add(seg[i].addr, off), part, write);
		len -= part;
		off = 0;
	}
	return err;
}

int vring_gather(
    const struct vring *vr, const struct vring_chain *c, uint64_t off, void *buf, uint64_t len)
{
	return copy_segs(vr, c->seg, c->nread, off, buf, len, FROM_GUEST);
}

int vring_scatter(const struct vring *vr, const struct vring_chain *c, uint64_t off,
    const void *buf, uint64_t len)
{
	/* not written to: the direction says so */
	return copy_segs(
	    vr, c->seg + c->nread, c->nwrite, off, (uint8_t *)(uintptr_t)buf, len, TO_GUEST);
}
