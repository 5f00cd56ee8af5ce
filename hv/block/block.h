/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Block devices and requests: host disks, partitions, later overlays; one
 * interface for all. Requests carry scatter lists of host memory; several may
 * be in flight; completion comes in thread context.
 */
#ifndef AMBER_BLOCK_BLOCK_H
#define AMBER_BLOCK_BLOCK_H

#include "hv/core/gmem.h" /* struct sg */
#include "hv/lib/error.h"
#include "hv/lib/list.h"
#include "hv/lib/types.h"

#define SECTOR_SIZE   512
#define BLK_MAX_SG    64
#define BLK_MAX_BYTES (1 * MIB) /* per request */

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD };

struct blk_dev;

struct blk_req {
	struct list link; /* owned by the device while in flight */
	enum blk_op op;
	uint64_t sector;   /* in units of SECTOR_SIZE, relative to the device */
	uint32_t nsectors; /* equals the sum of the pieces for reads and writes */
	const struct sg *sg;
	unsigned nsg;
	int status; /* OK or an error, when done is called */
	/* Called exactly once, in thread context, possibly before blk_submit returns. */
	void (*done)(struct blk_req *r);
	void *ctx;
	void *drv; /* the driver's; NULL when it gets the request */
	/* Set by blk_submit: where the request was submitted, and the sector on the whole
	 * device, which is the one that a driver uses. */
	struct blk_dev *dev;
	uint64_t lba;
};

/*
 * What a driver implements. It may keep any number of requests, may be called
 * from any thread, and finishes each with blk_complete(). It sees requests that
 * lie within the device and keep to the limits in struct blk_dev.
 */
struct blk_ops {
	void (*submit)(struct blk_dev *d, struct blk_req *r);
};

struct blk_dev {
	struct list link;
	char name[40];	/* "ahci0.0", "vblk0", partitions: "ahci0.0p2", of the store: "store:web" */
	char label[40]; /* GPT partition name in ASCII; "" for whole disks */
	uint8_t type_guid[16], part_guid[16]; /* as on disk; zero for whole disks */
	uint64_t nsectors;
	uint32_t max_sg, max_sectors; /* per request */
	bool read_only;
	bool has_flush, has_discard;
	bool discard_zeroes; /* what was discarded reads as zeros */
	const struct blk_ops *ops;
	void *drv;
	const void
	    *owner; /* the machine that may write it; NULL: none. Kept by the device model. */
	uint64_t stat_reads, stat_writes, stat_flushes, stat_errors;
	/* A part of another device: parent's driver gets the requests; ops and drv are unused. */
	struct blk_dev *parent;
	uint64_t offset; /* in sectors, on the parent */
	/* Further limits; 0: none. What does not keep to them is copied or split by blk_submit. */
	uint32_t max_discard; /* sectors per BLK_DISCARD */
	uint32_t dma_align;   /* addresses and lengths of pieces: a power of two */
	uint64_t dma_max;     /* highest address that the device reaches */
};

/* Makes a device known to blk_find() and the console; reads its GPT and registers its partitions.
 * Thread context. */
int blk_register(struct blk_dev *d) MUST_CHECK;
/*
 * The same without looking for partitions: for partitions and overlays.
 * ERR_INVAL, ERR_EXIST (the name is taken). Any thread.
 */
int blk_add(struct blk_dev *d) MUST_CHECK;
/*
 * By name, by partition label, or by "guid:XXXXXXXX-..." (partition GUID), in
 * this order; NULL if there is none or if several partitions match (the log
 * then names them: guessing could write to the wrong disk). Any thread.
 */
struct blk_dev *blk_find(const char *name);
/* The partition with that GUID; NULL if there is none, or if there are several, as above. */
struct blk_dev *blk_find_guid(const uint8_t guid[16]);
/* The n-th registered device, or NULL. */
struct blk_dev *blk_get(unsigned n);
/*
 * Checks the range against the device, splits what exceeds the driver's limits,
 * and hands it to the driver. Bad requests complete with ERR_RANGE (sectors) or
 * ERR_INVAL (pieces do not add up); writes to a read-only device and discards
 * where there are none with ERR_UNSUPPORTED; ERR_NOMEM if there is no memory to
 * split. r and its list belong to the device until done. Thread context; does not wait.
 */
void blk_submit(struct blk_dev *d, struct blk_req *r);
/* For drivers: counts errors, sets the status and calls done. Thread context, no lock held. */
void blk_complete(struct blk_req *r, int status);
/*
 * Synchronous helpers on hypervisor memory (heap or frames, not a stack), any
 * size; may switch. Errors as in status.
 */
int blk_read(struct blk_dev *d, uint64_t sector, void *buf, uint32_t nsectors) MUST_CHECK;
int blk_write(struct blk_dev *d, uint64_t sector, const void *buf, uint32_t nsectors) MUST_CHECK;
int blk_flush(struct blk_dev *d) MUST_CHECK;

#endif
