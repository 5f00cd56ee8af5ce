/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest memory as one flat array at guest-physical address 0, with a range that fails on demand. */
#include <string.h>

#include "hv/core/gmem_rom.h"
#include "hv/core/memmap.h"
#include "hv/mm/mm.h"
#include "tests/unit/fake/fake.h"

static void *ram_at(struct vm *vm, gpa_t addr, uint64_t len, bool write)
{
	struct fake_vm *f = fake_of(vm);

	f->gmem_accesses++;
	if (addr.a > f->ram_bytes || len > f->ram_bytes - addr.a)
		return NULL;
	if (f->gmem_fail_len && (write || !f->gmem_fail_writes_only) &&
	    addr.a < f->gmem_fail_start + f->gmem_fail_len && addr.a + len > f->gmem_fail_start)
		return NULL;
	return f->ram + addr.a;
}

/* Why ram_at() found nothing. */
static int failure(struct vm *vm)
{
	struct fake_vm *f = fake_of(vm);

	return f->gmem_fail_len && f->gmem_fail_error ? f->gmem_fail_error : ERR_FAULT;
}

int gmem_read(struct vm *vm, gpa_t addr, void *buf, uint64_t len)
{
	const void *p = ram_at(vm, addr, len, false);

	if (!p)
		return failure(vm);
	memcpy(buf, p, len);
	return OK;
}

int gmem_write(struct vm *vm, gpa_t addr, const void *buf, uint64_t len)
{
	void *p = ram_at(vm, addr, len, true);

	if (!p)
		return failure(vm);
	memcpy(p, buf, len);
	return OK;
}

static void *rom_at(struct vm *vm, gpa_t addr, uint64_t len, bool write)
{
	struct fake_vm *f = fake_of(vm);
	uint64_t off = addr.a - MEMMAP_ROM;

	if (!f->rom || off > MEMMAP_ROM_SIZE || len > MEMMAP_ROM_SIZE - off)
		return ram_at(vm, addr, len, write);
	if (f->gmem_fail_len && addr.a < f->gmem_fail_start + f->gmem_fail_len &&
	    addr.a + len > f->gmem_fail_start)
		return NULL;
	return f->rom + off;
}

int gmem_rom_read(struct vm *vm, gpa_t addr, void *buf, uint64_t len)
{
	const void *p = rom_at(vm, addr, len, false);

	if (!p)
		return failure(vm);
	memcpy(buf, p, len);
	return OK;
}

int gmem_rom_write(struct vm *vm, gpa_t addr, const void *buf, uint64_t len)
{
	void *p = rom_at(vm, addr, len, true);

	if (!p)
		return failure(vm);
	memcpy(p, buf, len);
	return OK;
}

void gmem_rom_hide(struct vm *vm, gpa_t addr, uint64_t size)
{
	fake_of(vm)->rom_hidden_start = addr.a;
	fake_of(vm)->rom_hidden_size = size;
}

int gmem_zero(struct vm *vm, gpa_t addr, uint64_t len)
{
	void *p = ram_at(vm, addr, len, true);

	if (!p)
		return failure(vm);
	memset(p, 0, len);
	return OK;
}

int gmem_prepare(struct vm *vm, gpa_t addr, uint64_t len, bool write)
{
	return ram_at(vm, addr, len, write) ? OK : failure(vm);
}

int gmem_read_u16(struct vm *vm, gpa_t addr, uint16_t *v)
{
	return gmem_read(vm, addr, v, sizeof(*v));
}

int gmem_write_u16(struct vm *vm, gpa_t addr, uint16_t v)
{
	return gmem_write(vm, addr, &v, sizeof(v));
}

int gmem_cmpxchg(struct vm *vm, gpa_t addr, void *old, const void *desired, unsigned len)
{
	uint8_t expected[16];
	void *p = ram_at(vm, addr, len, true);

	if (!p || len > sizeof(expected))
		return failure(vm);
	memcpy(expected, old, len);
	memcpy(old, p, len);
	if (memcmp(expected, p, len) == 0)
		memcpy(p, desired, len);
	return OK;
}

int gmem_dma_map(struct vm *vm, gpa_t addr, uint64_t len, bool device_writes, struct sg *sg,
    unsigned max, unsigned *count)
{
	uint8_t *p = ram_at(vm, addr, len, device_writes);
	unsigned n = 0;

	if (!p)
		return failure(vm);
	/* one piece per page, as scattered backing frames would give */
	for (uint64_t done = 0, step; done < len; done += step, n++) {
		step = MIN(len - done, PAGE_SIZE - ((addr.a + done) & (PAGE_SIZE - 1)));
		if (n == max)
			return ERR_FULL;
		sg[n] = (struct sg){.addr = virt_to_phys(p + done), .len = (uint32_t)step};
	}
	*count = n;
	fake_of(vm)->dma_outstanding++;
	return OK;
}

void gmem_dma_unmap(struct vm *vm, const struct sg *sg, unsigned count, bool device_wrote)
{
	fake_of(vm)->dma_outstanding--;
}

void *fake_sg_ptr(const struct sg *sg)
{
	return phys_to_virt(sg->addr);
}
