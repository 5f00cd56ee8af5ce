/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The Linux loader on a made-up bzImage: what it leaves in guest memory and in
 * the registers, and what it says to files cut short or lying about themselves.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "hv/core/boot.h"
#include "hv/core/memmap.h"
#include "hv/lib/cursor.h"
#include "tests/unit/fake/fake.h"

enum {
	SETUP_SIZE = 5 * 512,
	CODE_SIZE = 0x1230,
	KERNEL_SIZE = SETUP_SIZE + CODE_SIZE,
	LOAD = 0x1000000,
	INIT_SIZE = 0x800000,
	PARAGRAPH = 16,
	INITRD_SIZE = 70001,
	ZERO_PAGE = 0x7000,
	RSDP = 0xe0010,
};

static uint8_t kernel[KERNEL_SIZE], initrd[INITRD_SIZE];
static struct boot_module modules[3];
static struct boot_input payload;
static struct vm *vm;
static struct vcpu_state bsp;
static struct e820_entry map[E820_MAX];
static unsigned map_count;
static struct errmsg msg;

static void make_kernel(void)
{
	for (size_t i = 0; i < KERNEL_SIZE; i++)
		kernel[i] = (uint8_t)(i * 29 + (i >> 8));
	kernel[0x1f1] = 4;			  /* setup_sects */
	put_le32(kernel + 0x1f4, CODE_SIZE / 16); /* syssize */
	put_le16(kernel + 0x1fe, 0xaa55);	  /* boot_flag */
	kernel[0x201] = 0x6a;			  /* jump: the header ends at 0x26c */
	memcpy(kernel + 0x202, "HdrS", 4);
	put_le16(kernel + 0x206, 0x020f);     /* version */
	kernel[0x211] = 1;		      /* loadflags: high */
	put_le32(kernel + 0x22c, 0x7fffffff); /* initrd_addr_max */
	put_le16(kernel + 0x236, 1);	      /* xloadflags: 64-bit entry */
	put_le32(kernel + 0x238, 2047);	      /* cmdline_size */
	put_le64(kernel + 0x258, LOAD);	      /* pref_address */
	put_le32(kernel + 0x260, INIT_SIZE);  /* init_size */
}

static int setup(void **state)
{
	make_kernel();
	for (size_t i = 0; i < INITRD_SIZE; i++)
		initrd[i] = (uint8_t)(i * 7);
	modules[0] = (struct boot_module){initrd, INITRD_SIZE, "initrd", "initrd"};
	vm = fake_vm_new(1, 64 * MIB);
	map_count = e820_build(64 * MIB, map);
	payload = (struct boot_input){.kernel = kernel,
	    .kernel_size = KERNEL_SIZE,
	    .cmdline = "console=ttyS0",
	    .modules = modules,
	    .module_count = 1,
	    .rsdp = RSDP,
	    .map = map,
	    .map_count = map_count};
	memset(&bsp, 0, sizeof(bsp));
	return 0;
}

static int teardown(void **state)
{
	fake_vm_free(vm);
	return 0;
}

static int load(void)
{
	memset(&msg, 0, sizeof(msg));
	return boot_linux_load(vm, &payload, &bsp, &msg);
}

static const uint8_t *at(uint64_t addr)
{
	return fake_of(vm)->ram + addr;
}

static void test_memory(void **state)
{
	uint64_t where;

	assert_int_equal(load(), OK);
	assert_memory_equal(at(LOAD), kernel + SETUP_SIZE, CODE_SIZE);
	assert_memory_equal(at(ZERO_PAGE + 0x202), "HdrS", 4);
	assert_int_equal(at(ZERO_PAGE)[0x210], 0xff);
	assert_int_equal(at(ZERO_PAGE)[0x1ef], 0); /* sentinel */
	assert_int_equal(at(ZERO_PAGE)[0x26b], kernel[0x26b]);
	assert_int_equal(at(ZERO_PAGE)[0x26c], 0); /* behind the header nothing is copied */
	assert_int_equal(get_le32(at(ZERO_PAGE + 0x214)), LOAD);
	assert_int_equal(get_le64(at(ZERO_PAGE + 0x70)), RSDP);
	assert_string_equal((const char *)at(get_le32(at(ZERO_PAGE + 0x228))), "console=ttyS0");
	where = get_le32(at(ZERO_PAGE + 0x218));
	assert_int_equal(get_le32(at(ZERO_PAGE + 0x21c)), INITRD_SIZE);
	assert_memory_equal(at(where), initrd, INITRD_SIZE);
	assert_int_equal(where % PAGE_SIZE, 0);
	assert_true(where + INITRD_SIZE <= 64 * MIB && where + INITRD_SIZE > 64 * MIB - PAGE_SIZE);
}

static void test_e820_in_zero_page(void **state)
{
	assert_int_equal(load(), OK);
	assert_int_equal(at(ZERO_PAGE)[0x1e8], map_count);
	for (unsigned i = 0; i < map_count; i++) {
		const uint8_t *e = at(ZERO_PAGE + 0x2d0 + 20 * i);

		assert_int_equal(get_le64(e), map[i].start);
		assert_int_equal(get_le64(e + 8), map[i].size);
		assert_int_equal(get_le32(e + 16), map[i].type);
	}
}

/* A walk of the guest's page tables, as the CPU would make it. */
static uint64_t translate(uint64_t va)
{
	uint64_t table = bsp.cr3;

	for (int shift = 39;; shift -= 9) {
		uint64_t e = get_le64(at(table + 8 * (va >> shift & 511)));

		assert_int_equal(e & 3, 3);
		table = e & 0xffffffffff000;
		if (e & 0x80 || shift == 12)
			return table + (va & (BIT(shift) - 1));
	}
}

static void test_registers(void **state)
{
	const uint8_t *gdt;

	assert_int_equal(load(), OK);
	assert_int_equal(bsp.rip, LOAD + 0x200);
	assert_int_equal(bsp.gpr[GPR_RSI], ZERO_PAGE);
	assert_int_equal(bsp.rflags, 2);
	assert_true(vcpu_is_64bit(&bsp));
	assert_int_equal(bsp.cr0 & (CR0_PG | CR0_PE), CR0_PG | CR0_PE);
	assert_int_equal(bsp.seg[SEG_CS].sel, 0x10);
	assert_int_equal(bsp.seg[SEG_CS].attr, 0xa9b);
	for (unsigned i = 0; i < SEG_LDTR; i++)
		if (i != SEG_CS) {
			assert_int_equal(bsp.seg[i].sel, 0x18);
			assert_int_equal(bsp.seg[i].attr, 0xc93);
		}
	/* the descriptors in memory say the same */
	gdt = at(bsp.gdtr.base);
	assert_int_equal(get_le16(gdt + 0x15) & 0xf0ff, 0xa09b);
	assert_int_equal(get_le16(gdt + 0x1d) & 0xf0ff, 0xc093);
	for (uint64_t va = 0; va < 4 * GIB; va += 3 * SIZE_2M + 4096)
		assert_int_equal(translate(va), va);
	assert_int_equal(translate(4 * GIB - 1), 4 * GIB - 1);
}

/* A file cut at any byte before its last paragraph is refused, and nothing has been written. */
static void test_truncated_everywhere(void **state)
{
	for (size_t n = 0; n <= KERNEL_SIZE - PARAGRAPH; n++) {
		uint8_t *cut = malloc(n ? n : 1); /* exact, so that ASan sees a step beyond */

		memcpy(cut, kernel, n);
		payload.kernel = cut;
		payload.kernel_size = n;
		assert_int_not_equal(load(), OK);
		assert_true(msg.text[0]);
		free(cut);
	}
	for (size_t i = 0; i < 64 * MIB; i += 64 * KIB)
		assert_int_equal(*at(i), 0);
	assert_int_equal(get_le64(at(ZERO_PAGE + 0x70)), 0);
	assert_int_equal(bsp.rip, 0);
}

/* syssize counts paragraphs, of which the last need not be whole; what lacks is zeros. */
static void test_last_paragraph(void **state)
{
	for (size_t n = KERNEL_SIZE - PARAGRAPH + 1; n < KERNEL_SIZE; n++) {
		uint8_t *cut = malloc(n);

		memset(kernel + n, 0, KERNEL_SIZE - n);
		memcpy(cut, kernel, n);
		payload.kernel = cut;
		payload.kernel_size = n;
		assert_int_equal(load(), OK);
		assert_memory_equal(at(LOAD), kernel + SETUP_SIZE, CODE_SIZE);
		free(cut);
		teardown(state);
		setup(state);
	}
}

/* One field of the header with a value that cannot be, and the answer. */
static const struct {
	unsigned offset, bytes;
	uint64_t value;
	int err;
	const char *message;
} lies[] = {
    {0x1fe, 2, 0, ERR_UNSUPPORTED, "kernel: not a Linux bzImage"},
    {0x202, 4, 0, ERR_UNSUPPORTED, "kernel: not a Linux bzImage"},
    {0x206, 2, 0x020b, ERR_UNSUPPORTED, "kernel: boot protocol 2.11 is older than 2.12"},
    {0x211, 1, 0, ERR_UNSUPPORTED, "kernel: no 64-bit entry point"},
    {0x236, 2, 0x7e, ERR_UNSUPPORTED, "kernel: no 64-bit entry point"},
    {0x201, 1, 0x61, ERR_CORRUPT, "kernel: setup header too short"},
    {0x1f4, 4, 0xffffffff, ERR_CORRUPT,
	"kernel: file ends before the code that its header promises"},
    {0x1f1, 1, 255, ERR_CORRUPT, "kernel: file ends before the code that its header promises"},
    {0x1f4, 4, 0, ERR_CORRUPT, "kernel: 0 bytes of code in 8388608 bytes of memory"},
    {0x260, 4, 0x1000, ERR_CORRUPT, "kernel: 4656 bytes of code in 4096 bytes of memory"},
    {0x260, 4, 0x7000000, ERR_NOSPACE, "kernel: needs 112 MiB of memory at 0x1000000"},
    {0x258, 8, 0, ERR_NOSPACE, "kernel: needs 8 MiB of memory at 0x0"},
    {0x258, 8, UINT64_MAX - 0xfff, ERR_NOSPACE,
	"kernel: needs 8 MiB of memory at 0xfffffffffffff000"},
    {0x258, 8, 0x100000000, ERR_NOSPACE, "kernel: needs 8 MiB of memory at 0x100000000"},
    {0x22c, 4, LOAD, ERR_NOSPACE, "initrd: 68 KiB do not fit into the memory above the kernel"},
    {0x22c, 4, 0, ERR_NOSPACE, "initrd: 68 KiB do not fit into the memory above the kernel"},
    {0x238, 4, 5, ERR_RANGE, "command line: longer than the kernel's 5 characters"},
};

static void test_lies(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		make_kernel();
		for (unsigned b = 0; b < lies[i].bytes; b++)
			kernel[lies[i].offset + b] = (uint8_t)(lies[i].value >> (8 * b));
		assert_int_equal(load(), lies[i].err);
		assert_string_equal(msg.text, lies[i].message);
	}
}

static void test_header_runs_far(void **state)
{
	kernel[0x201] = 0xff;
	assert_int_equal(load(), OK);
	assert_int_equal(at(ZERO_PAGE)[0x28f], kernel[0x28f]);
	assert_int_equal(get_le64(at(ZERO_PAGE + 0x290)), 0);
	assert_int_equal(get_le64(at(ZERO_PAGE + 0x2d0)), 0); /* the map, not the file */
	assert_int_equal(get_le64(at(ZERO_PAGE + 0x2d8)), MEMMAP_EBDA);
}

static void test_no_initrd(void **state)
{
	payload.module_count = 0;
	assert_int_equal(load(), OK);
	assert_int_equal(get_le64(at(ZERO_PAGE + 0x218)), 0);
}

/* One behind the other, each at a multiple of four bytes, with zeros between. */
static void test_initrd_of_several_parts(void **state)
{
	const uint8_t *p;

	modules[1] = (struct boot_module){NULL, 0, "empty", "empty"};
	modules[2] = (struct boot_module){initrd + 9, 1001, "more", "more"};
	payload.module_count = 3;
	assert_int_equal(load(), OK);
	p = at(get_le32(at(ZERO_PAGE + 0x218)));
	assert_int_equal(get_le32(at(ZERO_PAGE + 0x21c)), INITRD_SIZE + 3 + 1001);
	assert_memory_equal(p, initrd, INITRD_SIZE);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(p[INITRD_SIZE + i], 0);
	assert_memory_equal(p + INITRD_SIZE + 3, initrd + 9, 1001);
	assert_int_equal(p[INITRD_SIZE + 3 + 1001], 0);
	put_le32(kernel + 0x22c, LOAD + INIT_SIZE + INITRD_SIZE + 1000);
	assert_int_equal(load(), ERR_NOSPACE);
	assert_string_equal(msg.text, "initrd: 69 KiB do not fit into the memory above the kernel");
}

static void test_initrd_below_its_limit(void **state)
{
	put_le32(kernel + 0x22c, 0x2ffffff);
	assert_int_equal(load(), OK);
	assert_true(get_le32(at(ZERO_PAGE + 0x218)) + INITRD_SIZE <= 0x3000000);
}

static void test_unwritable_memory(void **state)
{
	fake_of(vm)->gmem_fail_start = LOAD;
	fake_of(vm)->gmem_fail_len = 1;
	assert_int_equal(load(), ERR_FAULT);
	assert_string_equal(msg.text, "kernel: cannot write guest memory: bad guest address");
	assert_int_equal(bsp.rip, 0);
}

static void test_memory_maps(void **state)
{
	static const uint64_t sizes[] = {
	    2 * MIB, 256 * MIB, 2816 * MIB, 2818 * MIB, 8 * GIB, 1024 * GIB};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint64_t end = 0, ram = 0;
		unsigned n = e820_build(sizes[i], map);

		for (unsigned k = 0; k < n; k++) {
			assert_true(map[k].start >= end && map[k].size);
			end = map[k].start + map[k].size;
			if (map[k].type == E820_RAM)
				ram += map[k].size;
		}
		/* all of it but 0x9fc00 to 1 MiB */
		assert_int_equal(ram, sizes[i] - (MIB - MEMMAP_EBDA));
		assert_true(e820_is_ram(map, n, MIB, MIN(sizes[i], MEMMAP_LOW_RAM_MAX) - MIB));
		assert_false(e820_is_ram(map, n, MIB, MIN(sizes[i], MEMMAP_LOW_RAM_MAX)));
		assert_false(e820_is_ram(map, n, MEMMAP_ECAM, 1));
		assert_false(e820_is_ram(map, n, UINT64_MAX, 2));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_e820_in_zero_page, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_registers, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_truncated_everywhere, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_last_paragraph, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_lies, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_header_runs_far, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_initrd, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_initrd_of_several_parts, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_initrd_below_its_limit, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_unwritable_memory, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_memory_maps, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
