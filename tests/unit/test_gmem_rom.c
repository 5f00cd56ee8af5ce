/* SPDX-License-Identifier: BSD-2-Clause */
/* ROM: the guest reads it and cannot write it, watched or not, hidden or not; the rest can. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/core/gmem.c"
#include "hv/core/gmem_back.c"
#include "hv/core/gmem_mark.c"
#include "hv/core/gmem_rom.c"
#include "hv/core/gmem_share.c"
#include "hv/core/gmem_track.c"
#include "hv/core/gmem_used.c"
#include "tests/unit/fake/fake.h"

#define RAM (4 * MIB)
#define AT  (4 * GIB - 0x21000) /* not where a piece begins */

static const struct npt_format npt_format = {
    .name = "NPT",
    .table = 0x67,
    .leaf = 0x5,
    .large = BIT(7),
    .write = BIT(1),
    .no_exec = BIT(63),
    .present = 1,
    .accessed = BIT(5),
    .dirty = BIT(6),
    .may_write = NPT_MAY_WRITE,
    .max_level = 3,
};

static struct vm *vm;

static int setup(void **state)
{
	struct errmsg e;

	vm = fake_vm_new(1, 0);
	assert_int_equal(npt_init(&vm->npt, &npt_format), OK);
	return gmem_create(vm, RAM, true, &e);
}

static int teardown(void **state)
{
	gmem_destroy(vm);
	npt_destroy(&vm->npt);
	fake_vm_free(vm);
	return fake_heap_outstanding();
}

/* What the nested tables let the guest do at addr: enum npt_perm, 0 if nothing is mapped. */
static unsigned allowed(uint64_t addr)
{
	uint64_t size;
	unsigned perm;
	hpa_t h;

	return npt_lookup(&vm->npt, gpa(addr), &h, &perm, &size) ? perm : 0;
}

static void ranges(void **state)
{
	struct gmem_range r[GMEM_MAX_RANGES];
	struct errmsg e;
	uint64_t backed, promised;

	assert_int_equal(gmem_ranges(vm, r), 2);
	assert_int_equal(r[1].start, MEMMAP_ROM);
	assert_int_equal(r[1].size, MEMMAP_ROM_SIZE);
	gmem_stat(vm, &backed, &promised);
	assert_int_equal(promised, RAM + MEMMAP_ROM_SIZE);
	for (uint64_t c = 0; c < vm->gmem->nchunks; c++)
		assert_int_equal(gmem_chunk(vm->gmem, gmem_chunk_addr(vm->gmem, c).a), c);
	gmem_destroy(vm);
	/* with RAM on both sides of it; tables only */
	assert_int_equal(gmem_create(vm, MEMMAP_LOW_RAM_MAX + RAM, true, &e), ERR_NOMEM);
	assert_int_equal(gmem_create(vm, RAM, true, &e), OK);
}

static void chunk_numbers_with_ram_above(void **state)
{
	struct gmem m = {0};

	make_ranges(&m, MEMMAP_LOW_RAM_MAX + RAM, true);
	assert_int_equal(m.nranges, 3);
	assert_int_equal(m.nchunks, (MEMMAP_LOW_RAM_MAX + RAM + MEMMAP_ROM_SIZE) / GMEM_CHUNK);
	for (uint64_t c = 0; c < m.nchunks; c++) {
		uint64_t addr = gmem_chunk_addr(&m, c).a;

		assert_int_equal(gmem_chunk(&m, addr), c);
		assert_int_equal(gmem_is_rom(&m, c), addr >= MEMMAP_ROM && addr < 4 * GIB);
	}
}

static void guests_only_read(void **state)
{
	uint8_t b[4] = {1, 2, 3, 4}, old[16] = {0};
	struct sg sg[2];
	unsigned n;

	assert_int_equal(gmem_rom_write(vm, gpa(AT), b, 4), OK);
	memset(b, 0, 4);
	assert_int_equal(gmem_read(vm, gpa(AT), b, 4), OK);
	assert_int_equal(b[3], 4);
	assert_int_equal(gmem_write(vm, gpa(AT), b, 4), ERR_FAULT);
	assert_int_equal(gmem_zero(vm, gpa(AT), 4), ERR_FAULT);
	assert_int_equal(gmem_write_u16(vm, gpa(AT), 1), ERR_FAULT);
	assert_int_equal(gmem_cmpxchg(vm, gpa(AT), old, b, 4), ERR_FAULT);
	assert_int_equal(gmem_prepare(vm, gpa(AT), 4, true), ERR_FAULT);
	assert_int_equal(gmem_prepare(vm, gpa(AT), 4, false), OK);
	assert_int_equal(gmem_dma_map(vm, gpa(AT), 512, true, sg, 2, &n), ERR_FAULT);
	assert_int_equal(gmem_dma_map(vm, gpa(AT), 512, false, sg, 2, &n), OK);
	gmem_dma_unmap(vm, sg, n, false);
	assert_int_equal(gmem_fault(vm, gpa(AT), true), GMEM_NOT_RAM);
	assert_int_not_equal(gmem_fault(vm, gpa(AT), false), GMEM_NOT_RAM);
	assert_int_equal(allowed(AT), NPT_R | NPT_X);
	assert_int_equal(gmem_fault(vm, gpa(MEMMAP_ROM - 1), false), GMEM_NOT_RAM);
	assert_int_equal(gmem_fault(vm, gpa(4 * GIB), false), GMEM_NOT_RAM);
}

/* Watching and opening give no guest a permission that it never had. */
static void watched(void **state)
{
	uint8_t b = 7;

	assert_int_equal(gmem_rom_write(vm, gpa(AT), &b, 1), OK);
	gmem_watch(vm);
	assert_int_equal(gmem_rom_write(vm, gpa(AT), &b, 1), OK);
	assert_int_equal(
	    gmem_take_pages(vm, gmem_chunk(vm->gmem, AT)), 1 << (AT >> PAGE_SHIFT & 15));
	assert_int_equal(allowed(AT), NPT_R | NPT_X);
	assert_int_equal(gmem_rom_write(vm, gpa(MEMMAP_ROM), &b, 1), OK); /* mapped while watched */
	assert_int_equal(allowed(MEMMAP_ROM), NPT_R | NPT_X);
	assert_int_equal(gmem_fault(vm, gpa(AT), true), GMEM_NOT_RAM);
}

static void hidden(void **state)
{
	uint8_t b = 9;

	assert_int_equal(gmem_rom_write(vm, gpa(AT), &b, 1), OK);
	gmem_rom_hide(vm, gpa(AT), 0x3000);
	assert_int_equal(allowed(AT - 1), NPT_R | NPT_X); /* the rest of its piece */
	for (uint64_t a = AT; a < AT + 0x3000; a += PAGE_SIZE) {
		assert_int_equal(allowed(a), 0);
		assert_int_equal(gmem_fault(vm, gpa(a), false), GMEM_NOT_RAM);
		assert_int_equal(gmem_read(vm, gpa(a), &b, 1), ERR_FAULT);
	}
	assert_int_equal(gmem_rom_read(vm, gpa(AT), &b, 1), OK);
	assert_int_equal(b, 9);
	b = 10;
	assert_int_equal(gmem_rom_write(vm, gpa(AT), &b, 1), OK);
	assert_int_equal(allowed(AT), 0);
	gmem_rom_hide(vm, gpa(0), 0);
	assert_int_equal(allowed(AT), NPT_R | NPT_X);
	assert_int_equal(gmem_read(vm, gpa(AT), &b, 1), OK);
	assert_int_equal(b, 10);
}

/* Host memory comes while it is hidden: the tables do not show it for that. */
static void backed_while_hidden(void **state)
{
	uint8_t b = 5;

	gmem_rom_hide(vm, gpa(AT), 0x1000);
	assert_int_equal(gmem_rom_write(vm, gpa(AT), &b, 1), OK);
	assert_int_equal(allowed(AT), 0);
	assert_int_equal(allowed(AT - 0x1000), NPT_R | NPT_X);
	gmem_rom_hide(vm, gpa(0), 0);
	assert_int_equal(allowed(AT), NPT_R | NPT_X);
}

static void reset_shows_all(void **state)
{
	uint8_t b = 5;

	assert_int_equal(gmem_rom_write(vm, gpa(AT), &b, 1), OK);
	gmem_rom_hide(vm, gpa(AT), 0x1000);
	gmem_reset(vm);
	assert_int_equal(gmem_read(vm, gpa(AT), &b, 1), OK);
	assert_int_equal(b, 0);
	assert_int_equal(allowed(AT), NPT_R | NPT_X);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(ranges, setup, teardown),
	    cmocka_unit_test(chunk_numbers_with_ram_above),
	    cmocka_unit_test_setup_teardown(guests_only_read, setup, teardown),
	    cmocka_unit_test_setup_teardown(watched, setup, teardown),
	    cmocka_unit_test_setup_teardown(hidden, setup, teardown),
	    cmocka_unit_test_setup_teardown(backed_while_hidden, setup, teardown),
	    cmocka_unit_test_setup_teardown(reset_shows_all, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
