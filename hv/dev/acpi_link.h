/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ACPI tables whose place is not known while they are written: what in them is an address, and what
 * a checksum, is noted. From that one list follow both forms: the bytes at given addresses, and the
 * commands by which firmware that takes them from fw_cfg does the same (the BIOS linker/loader
 * of QEMU, hw/acpi/bios-linker-loader.c).
 */
#ifndef AMBER_DEV_ACPI_LINK_H
#define AMBER_DEV_ACPI_LINK_H

#include "hv/dev/aml.h"

/* What is put somewhere as a whole; addresses point into one of them. */
enum acpi_blob {
	ACPI_RSDP,   /* the root pointer */
	ACPI_TABLES, /* all tables */
	ACPI_GENID,  /* the page with the generation ID: nothing is written into it here */
	ACPI_BLOBS,
};

enum acpi_link_limits {
	ACPI_LINKS_MAX = 48,
	ACPI_COMMAND_SIZE = 128,			     /* of a loader command */
	ACPI_COMMANDS_MAX = ACPI_BLOBS + 1 + ACPI_LINKS_MAX, /* one tells where the ID is */
};

struct acpi_link {
	enum acpi_blob blob;   /* in which it is */
	uint32_t at;	       /* offset of the address or of the checksum */
	uint8_t size;	       /* of an address: 4 or 8 bytes; 0: a checksum of one byte */
	enum acpi_blob target; /* what the address points into; its bytes hold the offset there */
	uint32_t start, len;   /* what the checksum makes sum up to 0; itself is in there */
};

struct acpi_image {
	struct aml blob[ACPI_GENID]; /* those with contents */
	struct acpi_link link[ACPI_LINKS_MAX];
	unsigned nlinks;
	bool too_many; /* links */
};

/* Appends to blob an address of that many bytes (4, 8): offset of the target. */
void acpi_link_address(
    struct acpi_image *m, enum acpi_blob blob, unsigned size, enum acpi_blob target, size_t offset);

/* Notes one that is there already, at that offset of blob. */
void acpi_link_note(
    struct acpi_image *m, enum acpi_blob blob, size_t at, unsigned size, enum acpi_blob target);

/*
 * Makes [start, start + len) of blob sum up to 0 by the byte at 'at', which is 0 and in the range.
 * All addresses in the range have been noted before.
 */
void acpi_link_checksum(
    struct acpi_image *m, enum acpi_blob blob, size_t start, size_t len, size_t at);

/* Writes the addresses and checksums for blobs that begin at those guest-physical addresses. The
 * image has not overflowed. */
void acpi_link_resolve(struct acpi_image *m, const uint64_t base[ACPI_BLOBS]);

/*
 * The same as commands for firmware, ACPI_COMMAND_SIZE bytes each; returns how many. The image has
 * not overflowed, and has not been resolved.
 */
unsigned acpi_link_commands(
    const struct acpi_image *m, uint8_t out[ACPI_COMMANDS_MAX * ACPI_COMMAND_SIZE]);

#endif
