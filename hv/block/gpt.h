/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reads a GUID partition table (UEFI specification 2.10, section 5.3). Pure:
 * the disk is a callback. Nothing on the disk is trusted: both CRCs, every
 * range, and that partitions do not overlap are checked before anything is
 * handed out.
 */
#ifndef AMBER_BLOCK_GPT_H
#define AMBER_BLOCK_GPT_H

#include "hv/lib/error.h"
#include "hv/lib/types.h"

#define GPT_NAME_UNITS	36   /* UTF-16 code units in an entry's name */
#define GPT_MAX_ENTRIES 1024 /* a table with room for more is refused */
#define GPT_MAX_ENTRY	4096 /* bytes; an entry size above is refused */
#define GUID_TEXT_SIZE	37   /* "XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX" and NUL */

struct gpt_part {
	unsigned number; /* place in the table, from 1 */
	uint8_t type[16], guid[16];
	uint64_t first, last; /* sectors, both inclusive */
	uint64_t attr;
	char name[GPT_NAME_UNITS + 1]; /* ASCII; anything else is shown as '?' */
};

struct gpt {
	uint8_t disk_guid[16];
	bool from_backup; /* the primary table is damaged */
	struct errmsg
	    warning; /* what a person should know although the table is usable; "" if nothing */
	unsigned nparts;
	struct gpt_part *parts; /* in the order of the table */
};

/* Reads count sectors at lba into buf; OK or an error. */
typedef int (*gpt_read_fn)(void *ctx, uint64_t lba, void *buf, uint32_t count);

/*
 * Reads the primary table, or the backup if the primary is damaged (then
 * out->warning says so). ERR_NOENT: the disk has no GPT; ERR_CORRUPT: both
 * tables are damaged, with the reason; ERR_NOMEM; the error of the callback if
 * neither can be read. After OK the caller owes gpt_free(). nsectors: the disk's size.
 */
int gpt_read(
    gpt_read_fn read, void *ctx, uint64_t nsectors, struct gpt *out, struct errmsg *e) MUST_CHECK;
void gpt_free(struct gpt *g);

/* A GUID as on disk (first three fields little-endian) to text and back; parse: OK or ERR_INVAL. */
void guid_format(const uint8_t guid[16], char text[GUID_TEXT_SIZE]);
int guid_parse(const char *text, uint8_t guid[16]) MUST_CHECK;

#endif
