/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Between the two halves of the virtio block device: virtio_blk.c takes requests
 * from the ring and is the model, virtio_blk_io.c carries them out.
 *
 * Life of a request: vblk_accept() under the lock -> 'ready', or 'gated' while
 * the write epoch is being raised -> vblk_advance() with nobody else knowing of
 * it, part by part -> its return to the guest under the lock.
 *
 * A step may wait, for guest memory that is fetched from a disk or copied for a
 * save. So none is taken in a thread that others wait for: what the host's disk
 * completes its thread puts into 'todo', and the device's worker goes on with it;
 * what waited for drain or resume is the worker's, too.
 *
 * While the device is held, from quiesce until drain or resume, no request
 * takes a step: what the host completes and what is about to be submitted stays
 * in 'todo' until then. The ring's state lists all of them as in flight.
 */
#ifndef AMBER_DEV_VIRTIO_BLK_IMPL_H
#define AMBER_DEV_VIRTIO_BLK_IMPL_H

#include "hv/block/block.h"
#include "hv/dev/virtio_pci.h"

enum vblk_status { VBLK_S_OK = 0, VBLK_S_IOERR = 1, VBLK_S_UNSUPP = 2 };
enum { VBLK_ID_BYTES = 20, VBLK_CONFIG_SIZE = 60 };

enum {
	VBLK_QUEUE_SIZE = 64,
	/* With header and status a chain just fills the queue; the host takes it in one piece. */
	VBLK_SEG_MAX = VBLK_QUEUE_SIZE - 2,
	VBLK_SIZE_MAX = 1024 * 1024,
	VBLK_BOUNCE_BYTES = 32 * 1024,
};

struct vblk_state {
	struct virtio_state virtio;
	struct vring_state queue[1];
	uint64_t capacity;
};

/* What is to be done next with a request. */
enum vblk_step {
	STEP_SUBMIT,	/* the next part goes to the host's disk */
	STEP_COMPLETED, /* the host's disk is done with a part */
	STEP_FINISH,	/* it goes back to the guest with its status */
};

struct vblk_req {
	struct vblk *b;
	struct list link;
	enum vblk_step step;
	uint16_t head;
	uint8_t status; /* enum vblk_status */
	bool bounced;
	enum blk_op op;
	uint32_t phase; /* enum vblk_phase, atomic */
	gpa_t status_addr;
	uint64_t sector;  /* of the next part */
	uint64_t left;	  /* bytes, this part and those after it */
	uint64_t written; /* bytes that the guest gets on success, without the status */
	/* the guest's buffers, and how far they are used up */
	unsigned nseg, seg_index;
	uint32_t seg_off;
	unsigned part_index; /* both as they were before the part under way */
	uint32_t part_off;
	struct vring_seg seg[VBLK_QUEUE_SIZE];
	/* the part under way */
	struct blk_req blk;
	unsigned nsg, nmaps;
	struct sg sg[BLK_MAX_SG];
	uint8_t map_count[BLK_MAX_SG]; /* pieces of each gmem_dma_map() */
};

/* Who goes on after a part: the submitter, if it completed before blk_submit() returned. */
enum vblk_phase { PHASE_SUBMITTING, PHASE_SUBMITTED, PHASE_DONE };

/* Of the disk's write epoch. */
enum vblk_epoch { EPOCH_ARMED, EPOCH_RAISING, EPOCH_RAISED };

struct vblk {
	struct vblk_state st;
	struct virtio_dev v;
	struct blk_dev *backend;
	bool read_only;
	uint8_t id[VBLK_ID_BYTES];
	uint8_t config[VBLK_CONFIG_SIZE];
	/* protected by v.lock: */
	struct list ready, gated;
	enum vblk_epoch epoch;
	/* in flight in the state that was loaded, and not yet done again */
	uint64_t replay[BITMAP_WORDS(VRING_MAX_SIZE)];
	uint64_t stat_errors;	   /* requests that the guest saw fail */
	uint64_t stat_host_errors; /* atomic: parts that the host's disk failed */
	/* protected by slock, rank RANK_DEV_SPIN: */
	struct spinlock slock;
	unsigned active;  /* requests accepted and not finished */
	unsigned busy;	  /* threads that take a request a step further, or put one into todo */
	bool held;	  /* no further step may begin */
	struct list todo; /* requests whose next step is the worker's, unless it is held */
	/* requests for which the host's disk has no room, or whose guest memory could not be had:
	 * the machine is being paused, and they are tried again when it goes on */
	struct list stalled;
	unsigned nstalled;
	struct waitq idle; /* busy became 0 */
	struct vblk_req *bounce_owner;
	struct list bounce_waiters;
	uint8_t *bounce; /* the owner's */
	struct vblk_req req[VBLK_QUEUE_SIZE];
};

/* Keeps len bytes from off of the n buffers at seg as the request's data. */
void vblk_take_data(
    struct vblk_req *r, const struct vring_seg *seg, unsigned n, uint64_t off, uint64_t len);
/* Counts n (1 or -1) more requests under way. Any lock of lower rank than slock. */
void vblk_active_add(struct vblk *b, int n);
/*
 * Takes a request from r->step as far as it goes without waiting for the host's disk, to its end
 * if that is fast enough; or puts it into todo, if the device is held. Waits for guest memory: in a
 * vCPU's thread or the worker, no lock held.
 */
void vblk_advance(struct vblk_req *r);

#endif
