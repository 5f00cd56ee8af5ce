/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linking ACPI tables: by the hypervisor, or by firmware that carries out the commands given here.
 *
 * What firmware makes of them, where SeaBIOS (src/fw/romfile_loader.c) and OVMF
 * (AcpiPlatformDxe/QemuFwCfgAcpi.c) differ:
 *
 * - SeaBIOS adds to a checksum's byte what is missing, OVMF stores the sum's complement without
 *   regard to it: the byte is 0 before.
 * - OVMF gives every blob whole pages, below 4 GiB only if an address of 4 bytes points into it,
 *   and refuses an alignment of more than a page. SeaBIOS looks at alignment and zone: the root
 *   pointer is where systems look for it.
 * - OVMF copies the tables that addresses point to (FACS, and what has a header whose length and
 *   checksum are right), makes its own RSDT, XSDT and root pointer, and frees the blobs. So every
 *   table has to be pointed to; and what an address points to must not look like a table if it is
 *   none: the generation ID lies so near to the end of its blob that no header has room there.
 */
#include "hv/dev/acpi_link.h"

#include <string.h>
#include "hv/dev/acpi_tables.h"
#include "hv/dev/fw_cfg.h"
#include "hv/dev/vmgenid.h"
#include "hv/lib/cursor.h"
#include "hv/lib/fmt.h"

static struct acpi_link *add(struct acpi_image *m, enum acpi_blob blob, size_t at)
{
	struct acpi_link *l = &m->link[m->nlinks];

	if (m->nlinks == ACPI_LINKS_MAX) {
		m->too_many = true;
		return NULL;
	}
	*l = (struct acpi_link){.blob = blob, .at = (uint32_t)at};
	m->nlinks++;
	return l;
}

void acpi_link_note(
    struct acpi_image *m, enum acpi_blob blob, size_t at, unsigned size, enum acpi_blob target)
{
	struct acpi_link *l = add(m, blob, at);

	if (l) {
		l->size = (uint8_t)size;
		l->target = target;
	}
}

void acpi_link_address(
    struct acpi_image *m, enum acpi_blob blob, unsigned size, enum acpi_blob target, size_t offset)
{
	uint64_t v = offset;

	acpi_link_note(m, blob, m->blob[blob].len, size, target);
	aml_bytes(&m->blob[blob], &v, size);
}

void acpi_link_checksum(
    struct acpi_image *m, enum acpi_blob blob, size_t start, size_t len, size_t at)
{
	struct acpi_link *l = add(m, blob, at);

	if (l) {
		l->start = (uint32_t)start;
		l->len = (uint32_t)len;
	}
}

/* --- at known addresses ----------------------------------------------------------------------- */

static void resolve_address(uint8_t *p, unsigned size, uint64_t base)
{
	if (size == 8)
		put_le64(p, get_le64(p) + base);
	else
		put_le32(p, get_le32(p) + (uint32_t)base);
}

static void resolve_checksum(uint8_t *buf, const struct acpi_link *l)
{
	uint8_t sum = 0;

	for (uint32_t i = 0; i < l->len; i++)
		sum += buf[l->start + i];
	buf[l->at] -= sum;
}

void acpi_link_resolve(struct acpi_image *m, const uint64_t base[ACPI_BLOBS])
{
	for (unsigned i = 0; i < m->nlinks; i++) {
		const struct acpi_link *l = &m->link[i];
		uint8_t *buf = m->blob[l->blob].buf;

		if (l->size)
			resolve_address(buf + l->at, l->size, base[l->target]);
		else
			resolve_checksum(buf, l);
	}
}

/* --- by firmware ------------------------------------------------------------------------------ */

enum command {
	ALLOCATE = 1,
	ADD_POINTER = 2,
	ADD_CHECKSUM = 3,
	WRITE_POINTER = 4,
};

/* Offsets in a command; all integers are little-endian, names have FW_CFG_NAME_SIZE bytes. */
enum layout {
	COMMAND = 0,
	FILE_NAME = 4,
	ALLOCATE_ALIGN = 60,
	ALLOCATE_ZONE = 64,
	POINTER_TARGET = 60, /* the other file's name */
	POINTER_AT = 116,
	ADD_POINTER_SIZE = 120,
	WRITE_POINTER_OFFSET = 120, /* in the target */
	WRITE_POINTER_SIZE = 124,
	CHECKSUM_AT = 60,
	CHECKSUM_START = 64,
	CHECKSUM_LEN = 68,
};
enum zone { ZONE_HIGH = 1, ZONE_FSEG = 2 };

static const struct {
	const char *name;
	uint32_t align; /* a power of two, at most a page */
	uint8_t zone;
} files[] = {
    [ACPI_RSDP] = {ACPI_FILE_RSDP, 16, ZONE_FSEG},
    [ACPI_TABLES] = {ACPI_FILE_TABLES, 64, ZONE_HIGH}, /* the FACS asks for that */
    [ACPI_GENID] = {VMGENID_FILE, 4096, ZONE_HIGH},
};

static void put_name(uint8_t *p, const char *name)
{
	str_copy((char *)p, FW_CFG_NAME_SIZE, name);
}

static void put_allocate(uint8_t *c, unsigned file)
{
	put_le32(c + COMMAND, ALLOCATE);
	put_name(c + FILE_NAME, files[file].name);
	put_le32(c + ALLOCATE_ALIGN, files[file].align);
	c[ALLOCATE_ZONE] = files[file].zone;
}

static void put_link(uint8_t *c, const struct acpi_link *l)
{
	put_name(c + FILE_NAME, files[l->blob].name);
	if (l->size) {
		put_le32(c + COMMAND, ADD_POINTER);
		put_name(c + POINTER_TARGET, files[l->target].name);
		put_le32(c + POINTER_AT, l->at);
		c[ADD_POINTER_SIZE] = l->size;
	} else {
		put_le32(c + COMMAND, ADD_CHECKSUM);
		put_le32(c + CHECKSUM_AT, l->at);
		put_le32(c + CHECKSUM_START, l->start);
		put_le32(c + CHECKSUM_LEN, l->len);
	}
}

/* Tells the hypervisor where the generation ID is. */
static void put_genid(uint8_t *c)
{
	put_le32(c + COMMAND, WRITE_POINTER);
	put_name(c + FILE_NAME, VMGENID_ADDRESS_FILE);
	put_name(c + POINTER_TARGET, files[ACPI_GENID].name);
	put_le32(c + POINTER_AT, 0);
	put_le32(c + WRITE_POINTER_OFFSET, VMGENID_FILE_OFFSET);
	c[WRITE_POINTER_SIZE] = VMGENID_ADDRESS_SIZE;
}

unsigned acpi_link_commands(
    const struct acpi_image *m, uint8_t out[ACPI_COMMANDS_MAX * ACPI_COMMAND_SIZE])
{
	uint8_t *c = out;

	memset(out, 0, (size_t)ACPI_COMMANDS_MAX * ACPI_COMMAND_SIZE);
	for (unsigned i = 0; i < ACPI_BLOBS; i++, c += ACPI_COMMAND_SIZE)
		put_allocate(c, i);
	put_genid(c);
	c += ACPI_COMMAND_SIZE;
	for (unsigned i = 0; i < m->nlinks; i++, c += ACPI_COMMAND_SIZE)
		put_link(c, &m->link[i]);
	return (unsigned)((c - out) / ACPI_COMMAND_SIZE);
}
