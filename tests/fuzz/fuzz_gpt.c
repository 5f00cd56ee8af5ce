/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The GPT reader on any disk. The first byte says which CRCs are made right, so
 * that the fuzzer gets behind them: bit 0 primary, bit 1 backup. Whatever is
 * handed out must lie on the disk and not overlap.
 */
#include <stdlib.h>
#include <string.h>

#include "hv/block/block.h"
#include "hv/block/gpt.h"
#include "hv/lib/crc32c.h"
#include "hv/lib/cursor.h"
#include "tests/unit/fake/fake.h"

struct image {
	uint8_t *data;
	uint64_t nsectors;
};

static int read_image(void *ctx, uint64_t lba, void *buf, uint32_t count)
{
	const struct image *m = ctx;

	if (!range_in(lba, count, m->nsectors))
		abort();
	memcpy(buf, m->data + lba * SECTOR_SIZE, (size_t)count * SECTOR_SIZE);
	return OK;
}

static void seal(struct image *m, uint64_t lba)
{
	uint8_t *h = m->data + lba * SECTOR_SIZE;
	uint64_t table = get_le64(h + 72);
	uint64_t size = (uint64_t)get_le32(h + 80) * get_le32(h + 84);
	uint32_t header = get_le32(h + 12);

	memcpy(h, "EFI PART", 8);
	put_le32(h + 8, 0x10000);
	put_le64(h + 24, lba);
	if (table < m->nsectors && size <= (m->nsectors - table) * SECTOR_SIZE)
		put_le32(h + 88, crc32_ieee(0, m->data + table * SECTOR_SIZE, size));
	put_le32(h + 16, 0);
	if (header <= SECTOR_SIZE)
		put_le32(h + 16, crc32_ieee(0, h, header));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image m;
	struct errmsg e;
	struct gpt gpt;

	if (size < 1 + 3 * SECTOR_SIZE)
		return 0;
	m.nsectors = (size - 1) / SECTOR_SIZE;
	m.data = malloc(m.nsectors * SECTOR_SIZE);
	memcpy(m.data, data + 1, m.nsectors * SECTOR_SIZE);
	if (data[0] & 1)
		seal(&m, 1);
	if (data[0] & 2)
		seal(&m, m.nsectors - 1);
	if (gpt_read(read_image, &m, m.nsectors, &gpt, &e) == OK) {
		for (unsigned i = 0; i < gpt.nparts; i++) {
			const struct gpt_part *p = &gpt.parts[i];

			if (p->first > p->last || p->last >= m.nsectors)
				abort();
			for (unsigned k = 0; k < i; k++)
				if (p->first <= gpt.parts[k].last && gpt.parts[k].first <= p->last)
					abort();
			if (strnlen(p->name, sizeof(p->name)) == sizeof(p->name))
				abort();
		}
		gpt_free(&gpt);
	}
	free(m.data);
	if (fake_heap_outstanding())
		abort();
	return 0;
}
