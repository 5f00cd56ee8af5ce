/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ATA: commands, the two forms that carry one to a device (a frame for SATA, the
 * task file's registers for PATA), and what IDENTIFY DEVICE says. Pure.
 */
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
	ATA_READ_DMA = 0xc8,
	ATA_WRITE_DMA = 0xca,
	ATA_FLUSH_CACHE = 0xe7,
	ATA_FLUSH_CACHE_EXT = 0xea,
	ATA_IDENTIFY_DEVICE = 0xec,
	ATA_SET_FEATURES = 0xef,
};
enum ata_status { ATA_ERR = 1 << 0, ATA_DRQ = 1 << 3, ATA_DF = 1 << 5, ATA_BSY = 1 << 7 };
/* The error register, valid with ATA_ERR (section 6.3). */
enum ata_error { ATA_ERROR_ICRC = 1 << 7 };	       /* interface CRC: the cable's fault */
enum ata_feature { ATA_FEATURE_TRANSFER_MODE = 0x03 }; /* of SET FEATURES */
/* Transfer modes, as in the count of SET FEATURES (section 7.49.3); the mode's number in bits 2:0.
 */
enum ata_mode { ATA_MODE_MWDMA = 0x20, ATA_MODE_UDMA = 0x40 };

enum {
	ATA_TRIM_RANGES = 64,	     /* in one block of DATA SET MANAGEMENT */
	ATA_TRIM_RANGE_MAX = 0xffff, /* sectors */
	ATA_FIS_SIZE = 20,
	ATA_SECTORS_28 = 256, /* of a command without EXT */
};

/* What a driver needs of a disk's IDENTIFY data. */
struct ata_disk {
	char model[41], serial[21]; /* trimmed, printable */
	uint64_t nsectors;
	unsigned queue_depth; /* 0: no native command queuing */
	bool lba48;
	bool flush;	/* has a write cache, and FLUSH CACHE */
	bool flush_ext; /* and FLUSH CACHE EXT */
	bool trim;
	bool dma;	  /* READ DMA and WRITE DMA, with or without EXT */
	uint8_t dma_mode; /* enum ata_mode and number of what is selected; 0: none */
};

/*
 * The registers of a command, in the order in which they stand from the command
 * block's second on (ATA/ATAPI-7, volume 2, section 8).
 */
struct ata_task {
	uint8_t features, count, lba_low, lba_mid, lba_high, device, command;
	bool ext; /* written twice: first these, the upper halves */
	uint8_t count_exp, lba_low_exp, lba_mid_exp, lba_high_exp;
};

/* Decodes the 512 bytes; ERR_UNSUPPORTED and the reason for a disk that cannot be driven. */
int ata_identify_decode(const void *data, struct ata_disk *out, struct errmsg *e) MUST_CHECK;
/* The register host-to-device FIS for a command; a queued one carries its tag. */
void ata_fis(uint8_t fis[ATA_FIS_SIZE], enum ata_command command, uint64_t lba, uint32_t nsectors,
    unsigned tag);
/*
 * The same for a task file. unit: 0 or 1. Commands without EXT reach sectors
 * below 2^28 and take at most ATA_SECTORS_28.
 */
void ata_task(
    struct ata_task *t, enum ata_command command, unsigned unit, uint64_t lba, uint32_t nsectors);
/* The data block of a TRIM command, 512 bytes, for at most 64 x 65535 sectors. */
void ata_trim_ranges(void *block, uint64_t lba, uint32_t nsectors);

#endif
