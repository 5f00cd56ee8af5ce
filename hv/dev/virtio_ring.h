/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device's side of a split virtqueue (virtio 1.2, section 2.7): pure logic
 * over guest memory. The driver is not trusted: everything is read once into
 * hypervisor memory, every chain has an end, and what contradicts itself makes
 * the caller put the device into DEVICE_NEEDS_RESET.
 *
 * The functions take no lock: the device's mutex protects a queue.
 */
#ifndef AMBER_DEV_VIRTIO_RING_H
#define AMBER_DEV_VIRTIO_RING_H

#include "hv/core/gmem.h"
#include "hv/lib/bitmap.h"
#include "hv/lib/error.h"
#include "hv/lib/state.h"

struct vm;

enum {
	VRING_MAX_SIZE = 256,
	/* The spec bounds a chain by the queue size (2.7.5.3.1); so does the room for it. */
	VRING_MAX_SEGS = VRING_MAX_SIZE,
	VRING_NO_VECTOR = 0xffff,
};

/*
 * What a snapshot carries of a queue. A head is in flight from vring_pop() to
 * vring_push(); so last_avail - used_idx is the number of bits in 'inflight'.
 * After a restore the device fetches the chains of these heads again and does
 * their requests once more: the guest's memory still holds them as they were.
 * They are a set, not a sequence: a driver that needs an order waits for one
 * request before it makes the next one available.
 */
struct vring_state {
	uint64_t desc, avail, used; /* guest-physical */
	uint64_t inflight[BITMAP_WORDS(VRING_MAX_SIZE)];
	uint16_t size;
	uint16_t vector; /* MSI-X vector or VRING_NO_VECTOR */
	uint16_t last_avail;
	uint16_t used_idx;
	uint16_t enabled;
};
#define VRING_STATE_FIELDS(T, m, q)                                                                \
	STATE_INT(T, m.desc, q "-desc", STATE_ANY, "guest-physical address of the descriptors"),   \
	    STATE_INT(T, m.avail, q "-avail", STATE_ANY, "of the available ring"),                 \
	    STATE_INT(T, m.used, q "-used", STATE_ANY, "of the used ring"),                        \
	    STATE_ARRAY(T, m.inflight, q "-in-flight", BITMAP_WORDS(VRING_MAX_SIZE), STATE_ANY,    \
		"bit n: the chain that begins at descriptor n was taken and not yet returned"),    \
	    STATE_INT(T, m.size, q "-size", VRING_MAX_SIZE, "entries, a power of two"),            \
	    STATE_INT(T, m.vector, q "-vector", 0xffff, "MSI-X vector, 0xffff for none"),          \
	    STATE_INT(T, m.last_avail, q "-last-avail", 0xffff, "available entries taken"),        \
	    STATE_INT(T, m.used_idx, q "-used-idx", 0xffff, "used entries written"),               \
	    STATE_INT(T, m.enabled, q "-enabled", 1, "queue_enable")

struct vring {
	struct vm *vm;
	struct vring_state *st;
	uint16_t max_size;	  /* at reset; a power of two */
	uint16_t avail_idx;	  /* as last read; derived */
	bool event_idx, indirect; /* negotiated; derived */
	const char *error;	  /* why the last call returned ERR_CORRUPT */
};

/* One buffer of a chain. */
struct vring_seg {
	gpa_t addr;
	uint32_t len;
};
/* A chain: seg[0..nread) for the device to read, seg[nread..nread + nwrite) for it to write. No
 * empty ones. */
struct vring_chain {
	uint16_t head;
	unsigned nread, nwrite;
	uint64_t read_len, write_len;
	struct vring_seg seg[VRING_MAX_SEGS];
};

void vring_init(struct vring *vr, struct vm *vm, struct vring_state *st, uint16_t max_size);
void vring_reset(struct vring *vr);
/* The driver's queue_enable: ERR_INVAL if a part is misaligned or its address overflows. */
int vring_enable(struct vring *vr) MUST_CHECK;
/* Refuses a saved queue that no driver could have brought about. name is for the message: "queue0".
 */
int vring_check(
    const struct vring *vr, const struct vring_state *st, const char *name, struct errmsg *e);
void vring_loaded(struct vring *vr);

/*
 * Where these return ERR_RETRY, guest memory could not be had: nothing was taken or returned, the
 * machine is being stopped, and the call is to be made again when it goes on.
 */

/*
 * Makes the used ring ready, so that vring_push() needs no retry before the machine is next
 * quiesced. OK or ERR_RETRY.
 */
int vring_prepare(struct vring *vr) MUST_CHECK;
/*
 * Takes the next available chain, which is in flight then. OK, ERR_NOENT if
 * there is none, ERR_CORRUPT (see error) if the ring is damaged or not in RAM, ERR_RETRY.
 */
int vring_pop(struct vring *vr, struct vring_chain *c) MUST_CHECK;
/* Puts back the chain that vring_pop() took last. */
void vring_unpop(struct vring *vr, uint16_t head);
/* Reads the chain of a head that is in flight already: replay after a restore. As vring_pop(). */
int vring_fetch(struct vring *vr, uint16_t head, struct vring_chain *c) MUST_CHECK;
/* Returns a chain of which the device wrote the first 'written' bytes. OK, ERR_CORRUPT, ERR_RETRY.
 */
int vring_push(struct vring *vr, uint16_t head, uint32_t written) MUST_CHECK;
/*
 * After vring_pop() found nothing: asks the driver to tell about the next
 * buffer; *more if one came in between. OK, ERR_CORRUPT, ERR_RETRY.
 */
int vring_arm(struct vring *vr, bool *more) MUST_CHECK;
/* Does the driver want an interrupt for the used entries since old_used? OK, ERR_CORRUPT,
 * ERR_RETRY. */
int vring_wants_interrupt(struct vring *vr, uint16_t old_used, bool *wanted) MUST_CHECK;

/*
 * Makes len bytes at off of what the device may read or write ready: copying them needs no retry
 * before the machine is next quiesced. What the chain has not is left out. OK, ERR_FAULT or
 * ERR_RETRY.
 */
enum vring_use { VRING_READ, VRING_WRITE };
int vring_ready(const struct vring *vr, const struct vring_chain *c, enum vring_use use,
    uint64_t off, uint64_t len) MUST_CHECK;
/* Copies len bytes at off of what the device may read; OK, ERR_RANGE, ERR_FAULT or ERR_RETRY. */
int vring_gather(const struct vring *vr, const struct vring_chain *c, uint64_t off, void *buf,
    uint64_t len) MUST_CHECK;
/* Copies len bytes to off of what the device may write. */
int vring_scatter(const struct vring *vr, const struct vring_chain *c, uint64_t off,
    const void *buf, uint64_t len) MUST_CHECK;

#endif
