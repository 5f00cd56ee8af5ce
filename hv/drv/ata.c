/* SPDX-License-Identifier: BSD-2-Clause */
/* Encoding of ATA commands and decoding of IDENTIFY DEVICE data. */
#include <string.h>

#include "hv/drv/ata.h"
#include "hv/lib/cursor.h"

/* Words of IDENTIFY DEVICE (ATA Command Set 4, section 7.13.6) */
enum identify_word {
	ID_GENERAL = 0,
	ID_SERIAL = 10,	       /* 10 words */
	ID_MODEL = 27,	       /* 20 words */
	ID_CAPABILITIES = 49,  /* bit 8: DMA, bit 9: LBA */
	ID_VALID = 53,	       /* bit 2: word 88 */
	ID_SECTORS_28 = 60,    /* 2 words */
	ID_MWDMA = 63,	       /* modes: supported in bits 2:0, selected in bits 10:8 */
	ID_QUEUE_DEPTH = 75,   /* bits 4:0, less one */
	ID_SATA = 76,	       /* bit 8: NCQ */
	ID_FEATURES_1 = 82,    /* bit 5: write cache */
	ID_FEATURES_2 = 83,    /* 10: 48-bit addresses, 12: FLUSH CACHE, 13: EXT; 15:14 = 01 */
	ID_UDMA = 88,	       /* modes: supported in bits 6:0, selected in bits 14:8 */
	ID_SECTORS_48 = 100,   /* 4 words */
	ID_SECTOR_SIZES = 106, /* bit 12: words 117-118 are valid; 15:14 = 01 */
	ID_LOGICAL_WORDS = 117,
	ID_DATA_SET = 169, /* bit 0: TRIM */
};
enum { ID_NOT_ATA = 1 << 15 };

/* A field of a FIS for host to device (Serial ATA 3.3, section 10.5.5). */
enum fis_byte {
	FIS_TYPE = 0,
	FIS_FLAGS = 1,
	FIS_COMMAND = 2,
	FIS_FEATURES = 3,
	FIS_LBA_0 = 4,
	FIS_DEVICE = 7,
	FIS_LBA_3 = 8,
	FIS_FEATURES_EXP = 11,
	FIS_COUNT = 12,
	FIS_COUNT_EXP = 13,
};
enum {
	FIS_REGISTER_H2D = 0x27,
	FIS_IS_COMMAND = 0x80,
	FIS_DEVICE_LBA = 0x40,
	FIS_FEATURE_TRIM = 0x01,
	DEVICE_LBA = 0xe0, /* bits 7 and 5 are one for disks before ATA-6 */
	DEVICE_UNIT = 0x10,
};

static uint16_t word(const uint8_t *data, unsigned index)
{
	return get_le16(data + 2 * index);
}

/* ATA strings have the bytes of each word swapped and are padded with blanks. */
static void string_decode(const uint8_t *data, unsigned first, unsigned nwords, char *out)
{
	unsigned n = 2 * nwords;

	for (unsigned i = 0; i < n; i++) {
		uint8_t c = data[2 * first + (i ^ 1)];

		out[i] = c > 0x20 && c < 0x7f ? (char)c : ' ';
	}
	while (n > 0 && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
	for (n = 0; out[n] == ' '; n++)
		;
	memmove(out, out + n, strlen(out + n) + 1);
}

/* The transfer mode in the form that SET FEATURES takes; 0: none. */
static uint8_t mode_selected(const uint8_t *id)
{
	unsigned udma = word(id, ID_VALID) & BIT(2) ? word(id, ID_UDMA) >> 8 & 0x7f : 0;
	unsigned mwdma = word(id, ID_MWDMA) >> 8 & 7;

	if (udma)
		return (uint8_t)(ATA_MODE_UDMA | (31 - __builtin_clz(udma)));
	return mwdma ? (uint8_t)(ATA_MODE_MWDMA | (31 - __builtin_clz(mwdma))) : 0;
}

int ata_identify_decode(const void *data, struct ata_disk *out, struct errmsg *e)
{
	const uint8_t *id = data;
	uint16_t sizes = word(id, ID_SECTOR_SIZES), features = word(id, ID_FEATURES_2);

	*out = (struct ata_disk){.nsectors = 0};
	string_decode(id, ID_SERIAL, 10, out->serial);
	string_decode(id, ID_MODEL, 20, out->model);
	if (word(id, ID_GENERAL) & ID_NOT_ATA)
		return err_set(e, ERR_UNSUPPORTED, "'%s' is no ATA disk", out->model);
	if ((features & 0xc000) != 0x4000)
		features = 0; /* the word means nothing */
	out->lba48 = features & BIT(10);
	if (!out->lba48 && !(word(id, ID_CAPABILITIES) & BIT(9)))
		return err_set(e, ERR_UNSUPPORTED, "disk '%s' knows no sector numbers", out->model);
	if ((sizes & 0xc000) == 0x4000 && (sizes & BIT(12)) &&
	    get_le32(id + 2 * ID_LOGICAL_WORDS) != SECTOR_SIZE / 2)
		return err_set(e, ERR_UNSUPPORTED,
		    "disk '%s' has sectors of %llu bytes, not of 512", out->model,
		    2 * (unsigned long long)get_le32(id + 2 * ID_LOGICAL_WORDS));
	out->nsectors = out->lba48 ? get_le64(id + 2 * ID_SECTORS_48) & (BIT(48) - 1)
				   : get_le32(id + 2 * ID_SECTORS_28) & (BIT(28) - 1);
	if (out->nsectors == 0)
		return err_set(
		    e, ERR_UNSUPPORTED, "disk '%s' says that it has no sectors", out->model);
	/* 0 and 0xffff: the word means nothing */
	if (word(id, ID_SATA) != 0xffff && (word(id, ID_SATA) & BIT(8)))
		out->queue_depth = (word(id, ID_QUEUE_DEPTH) & 0x1fu) + 1;
	if (word(id, ID_FEATURES_1) & BIT(5)) {
		out->flush_ext = features & BIT(13);
		out->flush = out->flush_ext || (features & BIT(12));
	}
	out->trim = out->lba48 && (word(id, ID_DATA_SET) & 1);
	out->dma = word(id, ID_CAPABILITIES) & BIT(8);
	out->dma_mode = mode_selected(id);
	return OK;
}

void ata_fis(uint8_t fis[ATA_FIS_SIZE], enum ata_command command, uint64_t lba, uint32_t nsectors,
    unsigned tag)
{
	bool queued = command == ATA_READ_FPDMA_QUEUED || command == ATA_WRITE_FPDMA_QUEUED;

	memset(fis, 0, ATA_FIS_SIZE);
	fis[FIS_TYPE] = FIS_REGISTER_H2D;
	fis[FIS_FLAGS] = FIS_IS_COMMAND;
	fis[FIS_COMMAND] = (uint8_t)command;
	fis[FIS_DEVICE] = FIS_DEVICE_LBA;
	for (unsigned i = 0; i < 3; i++) {
		fis[FIS_LBA_0 + i] = (uint8_t)(lba >> (8 * i));
		fis[FIS_LBA_3 + i] = (uint8_t)(lba >> (24 + 8 * i));
	}
	if (queued) {
		/* the count is where others have features, and the tag where they have the count */
		fis[FIS_FEATURES] = (uint8_t)nsectors;
		fis[FIS_FEATURES_EXP] = (uint8_t)(nsectors >> 8);
		fis[FIS_COUNT] = (uint8_t)(tag << 3);
	} else {
		fis[FIS_COUNT] = (uint8_t)nsectors;
		fis[FIS_COUNT_EXP] = (uint8_t)(nsectors >> 8);
	}
	if (command == ATA_DATA_SET_MANAGEMENT)
		fis[FIS_FEATURES] = FIS_FEATURE_TRIM;
}

static bool is_ext(enum ata_command command)
{
	return command == ATA_READ_DMA_EXT || command == ATA_WRITE_DMA_EXT ||
	       command == ATA_DATA_SET_MANAGEMENT || command == ATA_FLUSH_CACHE_EXT;
}

void ata_task(
    struct ata_task *t, enum ata_command command, unsigned unit, uint64_t lba, uint32_t nsectors)
{
	*t = (struct ata_task){
	    .count = (uint8_t)nsectors,
	    .lba_low = (uint8_t)lba,
	    .lba_mid = (uint8_t)(lba >> 8),
	    .lba_high = (uint8_t)(lba >> 16),
	    .device = (uint8_t)(DEVICE_LBA | (unit ? DEVICE_UNIT : 0)),
	    .command = (uint8_t)command,
	    .ext = is_ext(command),
	};
	if (t->ext) {
		t->count_exp = (uint8_t)(nsectors >> 8);
		t->lba_low_exp = (uint8_t)(lba >> 24);
		t->lba_mid_exp = (uint8_t)(lba >> 32);
		t->lba_high_exp = (uint8_t)(lba >> 40);
	} else {
		t->device |= (uint8_t)(lba >> 24 & 0x0f);
	}
	if (command == ATA_DATA_SET_MANAGEMENT)
		t->features = FIS_FEATURE_TRIM;
}

void ata_trim_ranges(void *block, uint64_t lba, uint32_t nsectors)
{
	uint8_t *p = block;

	memset(p, 0, SECTOR_SIZE);
	for (unsigned i = 0; i < ATA_TRIM_RANGES && nsectors > 0; i++) {
		uint32_t n = MIN(nsectors, (uint32_t)ATA_TRIM_RANGE_MAX);

		put_le64(p + 8 * i, lba | (uint64_t)n << 48);
		lba += n;
		nsectors -= n;
	}
}
