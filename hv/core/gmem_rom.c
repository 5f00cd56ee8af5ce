/* SPDX-License-Identifier: BSD-2-Clause */
/* What of the ROM a guest can read. */
#include "hv/core/gmem_rom.h"

#include "hv/core/gmem_impl.h"

/* The part of a chunk that is hidden; size 0: none. */
static struct gmem_range hidden_part(const struct gmem *m, uint64_t chunk)
{
	uint64_t start = gmem_chunk_addr(m, chunk).a, end = start + GMEM_CHUNK;

	start = MAX(start, m->hidden.start);
	end = MIN(end, m->hidden.start + m->hidden.size);
	return (struct gmem_range){start, start < end ? end - start : 0};
}

void gmem_rom_keep_hidden(struct vm *vm, uint64_t chunk)
{
	struct gmem_range r;

	if (!gmem_is_rom(vm->gmem, chunk))
		return;
	r = hidden_part(vm->gmem, chunk);
	if (r.size)
		npt_unmap(&vm->npt, gpa(r.start), r.size);
}

/* Lock held. The tables are there: it was mapped before. */
static void show(struct vm *vm, uint64_t chunk)
{
	struct gmem *m = vm->gmem;
	struct gmem_range r = hidden_part(m, chunk);
	hpa_t h = hpa(m->frame[chunk].a + (r.start & (GMEM_CHUNK - 1)));
	int err = r.size && m->frame[chunk].a
		      ? npt_map(&vm->npt, gpa(r.start), h, r.size, NPT_R | NPT_X)
		      : OK;

	if (err)
		vm_fail(vm, DISP_ERROR, "ROM at 0x%llx: %s", (unsigned long long)r.start,
		    error_text(err));
}

void gmem_rom_hide(struct vm *vm, gpa_t addr, uint64_t size)
{
	struct gmem *m = vm->gmem;
	uint64_t end = m->rom_first + m->rom_count;

	mutex_lock(&m->lock);
	for (uint64_t c = m->rom_first; c < end; c++)
		show(vm, c);
	m->hidden = (struct gmem_range){addr.a, size};
	for (uint64_t c = m->rom_first; c < end; c++)
		gmem_rom_keep_hidden(vm, c);
	mutex_unlock(&m->lock);
	if (size)
		vcpu_flush_all(vm);
}
