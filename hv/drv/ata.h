/* SPDX-License-Identifier: BSD-2-Clause */
/* ATA: commands, the frame that carries one (FIS), and what IDENTIFY DEVICE says. Pure. */
#ifndef AMBER_DRV_ATA_H
#define AMBER_DRV_ATA_H

#include "hv/block/block.h"
#include "hv/lib/error.h"
#include "hv/lib/types.h"

/* ATA Command Set 4, section 7 */
enum ata_command {
	ATA_DATA_SET_MANAGEMENT = 0x06,
	ATA_READ_DMA_EXT = 0x25,
	ATA_WRITE_DMA_EXT = 0x35,
	ATA_READ_FPDMA_QUEUED = 0x60,
	ATA_WRITE_FPDMA_QUEUED = 0x61,
	ATA_FLUSH_CACHE_EXT = 0xea,
	ATA_IDENTIFY_DEVICE = 0xec,
};
enum ata_status { ATA_ERR = 1 << 0, ATA_DRQ = 1 << 3, ATA_DF = 1 << 5, ATA_BSY = 1 << 7 };

enum {
	ATA_TRIM_RANGES = 64,	     /* in one block of DATA SET MANAGEMENT */
	ATA_TRIM_RANGE_MAX = 0xffff, /* sectors */
	ATA_FIS_SIZE = 20,
};

/* What a driver needs of a disk's IDENTIFY data. */
struct ata_disk {
	char model[41], serial[21]; /* trimmed, printable */
	uint64_t nsectors;
	unsigned queue_depth; /* 0: no native command queuing */
	bool flush;	      /* has a write cache, and FLUSH CACHE EXT */
	bool trim;
};

/* Decodes the 512 bytes; ERR_UNSUPPORTED and the reason for a disk that cannot be driven. */
int ata_identify_decode(const void *data, struct ata_disk *out, struct errmsg *e) MUST_CHECK;
/* The register host-to-device FIS for a command; a queued one carries its tag. */
void ata_fis(uint8_t fis[ATA_FIS_SIZE], enum ata_command command, uint64_t lba, uint32_t nsectors,
    unsigned tag);
/* The data block of a TRIM command, 512 bytes, for at most 64 x 65535 sectors. */
void ata_trim_ranges(void *block, uint64_t lba, uint32_t nsectors);

#endif
