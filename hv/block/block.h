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

#define SECTOR_SIZE    512
#define BLK_MAX_SG     64
#define BLK_MAX_BYTES  (1 * MIB) /* per request */

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD };

struct blk_dev;

struct blk_req {
	struct list link; /* owned by the device while in flight */
	enum blk_op op;
	uint64_t sector; /* in units of SECTOR_SIZE, relative to the device */
	uint32_t nsectors; /* equals the sum of the pieces for reads and writes */
	const struct sg *sg;
	unsigned nsg;
	int status; /* OK or an error, when done is called */
	/* Called exactly once, in thread context, possibly before blk_submit returns. */
	void (*done)(struct blk_req *r);
	void *ctx;
	void *drv; /* the driver's */
};

struct blk_ops {
	void (*submit)(struct blk_dev *d, struct blk_req *r);
};

struct blk_dev {
	struct list link;
	char name[32];	  /* "ahci0.0", "vblk0", partitions: "ahci0.0p2" */
	char label[40];	  /* GPT partition name in ASCII; "" for whole disks */
	uint8_t type_guid[16], part_guid[16]; /* as on disk; zero for whole disks */
	uint64_t nsectors;
	uint32_t max_sg, max_sectors; /* per request */
	bool read_only;
	bool has_flush, has_discard;
	const struct blk_ops *ops;
	void *drv;
	uint64_t stat_reads, stat_writes, stat_flushes, stat_errors;
};

/* Makes a device known to blk_find() and the console; reads its GPT and registers its partitions. Thread context. */
int blk_register(struct blk_dev *d) MUST_CHECK;
/* By name, by partition label, or by "guid:XXXXXXXX-..." (partition GUID); NULL if there is none. */
struct blk_dev *blk_find(const char *name);
/* The n-th registered device, or NULL. */
struct blk_dev *blk_get(unsigned n);
/* Checks the range against the device, then hands to its driver. Bad requests complete with ERR_RANGE. */
void blk_submit(struct blk_dev *d, struct blk_req *r);
/* Synchronous helpers on hypervisor memory (heap or frames); may switch. Errors as in status. */
int blk_read(struct blk_dev *d, uint64_t sector, void *buf, uint32_t nsectors) MUST_CHECK;
int blk_write(struct blk_dev *d, uint64_t sector, const void *buf, uint32_t nsectors) MUST_CHECK;
int blk_flush(struct blk_dev *d) MUST_CHECK;

#endif
