/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * IDE controllers with bus-master DMA (Programming Interface for Bus Master IDE
 * Controller, revision 1.0): registers, the structures in memory, and what the two
 * halves of the driver share: ide.c has the controller, ide_channel.c a channel and
 * its disks.
 */
#ifndef AMBER_DRV_IDE_H
#define AMBER_DRV_IDE_H

#include "hv/block/block.h"
#include "hv/core/thread.h"
#include "hv/drv/ata.h"
#include "hv/lib/types.h"

enum { IDE_CHANNELS = 2, IDE_UNITS = 2 };

/* The command block (ATA/ATAPI-7, volume 2, section 8), from the channel's first port on. */
enum ide_reg {
	IDE_DATA = 0,
	IDE_ERROR = 1,
	IDE_FEATURES = 1,
	IDE_COUNT = 2,
	IDE_LBA_LOW = 3,
	IDE_LBA_MID = 4,
	IDE_LBA_HIGH = 5,
	IDE_DEVICE = 6,
	IDE_STATUS = 7, /* a read also takes the interrupt back */
	IDE_COMMAND = 7,
};
/* The one port of the control block: alternate status when read, device control when written. */
enum ide_control { IDE_CONTROL_NIEN = 1 << 1, IDE_CONTROL_SRST = 1 << 2 };

/* Bus-master registers of a channel (section 2). */
enum bm_reg {
	BM_COMMAND = 0,
	BM_STATUS = 2,
	BM_TABLE = 4, /* physical address of the region descriptors */
	BM_SIZE = 8,
};
enum bm_command { BM_START = 1 << 0, BM_TO_MEMORY = 1 << 3 };
enum bm_status {
	BM_ACTIVE = 1 << 0,
	BM_ERROR = 1 << 1,     /* of the host's bus; write one to clear */
	BM_INTERRUPT = 1 << 2, /* the disk's interrupt line rose; write one to clear */
	BM_UNIT_DMA = 3 << 5,  /* notes of the firmware's, one bit per disk */
	BM_SIMPLEX = 1 << 7,   /* one channel at a time */
};

/* Physical region descriptor (section 1.2). A region does not cross a multiple of 64 KiB. */
struct ide_prd {
	uint32_t base; /* even */
	uint32_t size; /* even, 0 for 64 KiB; IDE_PRD_LAST */
};
_Static_assert(sizeof(struct ide_prd) == 8, "Bus Master IDE 1.0, section 1.2");
#define IDE_PRD_LAST 0x80000000u
enum { IDE_PRD_BYTES = 0x10000 };

/*
 * The most that a request within the block layer's limits can need: each piece
 * may begin and end within a region, and has whole ones between.
 */
enum { IDE_PRDS = 2 * BLK_MAX_SG + BLK_MAX_BYTES / IDE_PRD_BYTES };

/* All memory of a channel that the controller reads: one frame, so no 64 KiB boundary within. */
struct ide_dma {
	struct ide_prd prd[IDE_PRDS];
	uint8_t block[SECTOR_SIZE]; /* data of TRIM */
};
_Static_assert(sizeof(struct ide_dma) <= PAGE_SIZE, "a channel's frame");

struct ide_ports {
	uint16_t command, control, bm;
};

struct ide_disk {
	struct blk_dev dev;
	struct ide_channel *channel;
	struct ata_disk id;
	bool present;

	/* under the channel's lock */
	bool dead;	     /* requests fail at once */
	struct list pending; /* oldest first */
	unsigned timeouts;   /* in a row, with no request completed between them */
};

/* How the command in flight stands, and what the registers said. */
struct ide_result {
	uint8_t status, error, bm;
	bool timed_out;
};

/* Two disks that share their registers: one command at a time. */
struct ide_channel {
	char name[16]; /* "ide0/1" */
	struct ide_ports ports;
	struct ide_disk disk[IDE_UNITS];
	struct ide_dma *dma;

	struct spinlock lock;  /* down to timer */
	bool recovering;       /* the thread has the channel; requests queue up */
	struct ide_disk *busy; /* whose command is in flight; NULL: none */
	struct blk_req *req;
	bool uses_dma; /* the command transfers data */
	bool stuck;    /* it could not even be issued */
	uint64_t deadline;
	unsigned last; /* the unit served last: they take turns */

	/* how the end of a command is noticed */
	bool polled;	      /* there is no interrupt */
	uint32_t irqs;	      /* interrupts seen; atomic */
	uint32_t irqs_before; /* when the command in flight was issued */
	unsigned unnoticed;   /* commands in a row that ended without one */
	bool timer_armed;
	struct timer timer; /* runs only while a command is in flight */

	/* What wakes the thread; taken inside the other lock, and by the interrupt handler. */
	struct spinlock wake_lock;
	bool wake;
	struct waitq wq;
};

/*
 * Finds the disks of a channel, whose ports and names are set and whose other
 * fields are zero, and prepares it for requests. The number of disks, or an
 * error: a disk that cannot be used is reported and does not stop the other.
 * index: that of the channel on the machine, for the disks' names. Thread context; waits.
 */
int ide_channel_create(
    struct ide_channel *c, unsigned controller, unsigned index, struct errmsg *e) MUST_CHECK;
/*
 * Starts the channel's thread and its interrupts, and registers the disks.
 * polled: ide_channel_interrupt() will never be called. Thread context; waits.
 */
int ide_channel_start(struct ide_channel *c, bool polled, struct errmsg *e) MUST_CHECK;
/* Interrupt context; may be called with nothing to do. arg: the channel. */
void ide_channel_interrupt(void *arg);
/* Stops what the firmware may have left running. Any context. */
void ide_channel_silence(const struct ide_ports *ports);

/*
 * Writes the regions of nsg pieces (even addresses and lengths, below 4 GiB, at
 * most BLK_MAX_BYTES together) to prd, IDE_PRDS of them at most; returns how many. Pure.
 */
unsigned ide_prd_build(struct ide_prd *prd, const struct sg *sg, unsigned nsg);

#endif
