/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loaders of ELF kernels (Multiboot, Multiboot2, PVH) on made-up files: what
 * they leave in guest memory and in the registers, and what they say to files
 * cut short or lying about themselves.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include "hv/core/boot.h"
#include "tests/unit/fake/boot_kernel.h"
#include "tests/unit/fake/fake.h"

enum {
	MEMORY = 16 * MIB,
	INITRD_SIZE = 70001,
	RSDP = 0xe0010,
	FLAT_LOAD = 0x200000, /* of a kernel with address fields */
};

static uint8_t kernel[KERNEL_SIZE], initrd[INITRD_SIZE];
static struct boot_module modules[BOOT_MODULES + 1]; /* of which one is given */
static struct boot_input in;
static struct vm *vm;
static struct vcpu_state bsp;
static struct e820_entry map[E820_MAX];
static struct errmsg msg;

static void refill(bool is_64)
{
	kernel_make(kernel, is_64);
	modules[0] = (struct boot_module){initrd, INITRD_SIZE, "module", "module"};
	in = (struct boot_input){.kernel = kernel,
	    .kernel_size = KERNEL_SIZE,
	    .kernel_name = "k.elf",
	    .cmdline = "one two",
	    .modules = modules,
	    .module_count = 1,
	    .rsdp = RSDP,
	    .map = map,
	    .map_count = e820_build(MEMORY, map)};
}

static int setup(void **state)
{
	for (size_t i = 0; i < INITRD_SIZE; i++)
		initrd[i] = (uint8_t)(i * 7);
	refill(true);
	vm = fake_vm_new(1, MEMORY);
	memset(&bsp, 0xff, sizeof(bsp));
	return 0;
}

static int teardown(void **state)
{
	fake_vm_free(vm);
	assert_int_equal(fake_heap_outstanding(), 0);
	return 0;
}

static uint8_t *at(uint64_t addr)
{
	assert_true(addr < MEMORY);
	return fake_of(vm)->ram + addr;
}

static void loads(boot_load_fn *load)
{
	memset(&msg, 0, sizeof(msg));
	if (load(vm, &in, &bsp, &msg) != OK)
		fail_msg("%s", msg.text);
}

static void refused(boot_load_fn *load, int err, const char *text)
{
	memset(&msg, 0, sizeof(msg));
	assert_int_equal(load(vm, &in, &bsp, &msg), err);
	assert_string_equal(msg.text, text);
}

/* The ELF file's two segments are where they belong. */
static void assert_loaded(void)
{
	assert_memory_equal(at(KERNEL_LOAD), kernel + KERNEL_TEXT, KERNEL_TEXT_SIZE);
	assert_int_equal(*at(KERNEL_LOAD + KERNEL_TEXT_SIZE), 0);
	assert_memory_equal(at(KERNEL_LOAD_DATA), kernel + KERNEL_DATA, KERNEL_DATA_SIZE);
	assert_int_equal(*at(KERNEL_LOAD_DATA + KERNEL_DATA_SIZE), 0);
}

static void assert_entered(uint64_t entry, uint32_t eax)
{
	assert_int_equal(bsp.rip, entry);
	assert_int_equal(bsp.gpr[GPR_RAX], eax);
	assert_int_equal(bsp.rflags, 2);
	assert_int_equal(bsp.cr0, CR0_PE | CR0_ET);
	assert_int_equal(bsp.cr4, 0);
	assert_int_equal(bsp.efer, 0);
	assert_int_equal(bsp.seg[SEG_CS].attr, 0xc9b);
	assert_int_equal(bsp.seg[SEG_CS].limit, 0xffffffff);
	for (unsigned i = 0; i < SEG_LDTR; i++)
		if (i != SEG_CS)
			assert_int_equal(bsp.seg[i].attr, 0xc93);
	assert_int_equal(bsp.seg[SEG_TR].attr, 0x8b);
	assert_int_equal(bsp.seg[SEG_TR].limit, 0x67);
	assert_int_equal(bsp.activity, ACTIVITY_RUNNING);
}

/* --- Multiboot ------------------------------------------------------------------------ */

static void assert_multiboot_map(const uint8_t *mbi)
{
	const uint8_t *p = at(get_le32(mbi + 48)), *end = p + get_le32(mbi + 44);

	for (unsigned i = 0; i < in.map_count; i++) {
		assert_true(p < end);
		assert_int_equal(get_le32(p), 20);
		assert_int_equal(get_le64(p + 4), map[i].start);
		assert_int_equal(get_le64(p + 12), map[i].size);
		assert_int_equal(get_le32(p + 20), map[i].type);
		p += get_le32(p) + 4;
	}
	assert_ptr_equal(p, end);
}

static void multiboot_tells_all(bool is_64)
{
	const uint8_t *mbi, *mod;

	refill(is_64);
	loads(boot_multiboot_load);
	assert_loaded();
	assert_entered(KERNEL_ENTRY, 0x2badb002);
	mbi = at(bsp.gpr[GPR_RBX]);
	assert_int_equal(get_le32(mbi), 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9);
	assert_int_equal(get_le32(mbi + 4), 639);
	assert_int_equal(get_le32(mbi + 8), MEMORY / KIB - 1024);
	assert_string_equal((char *)at(get_le32(mbi + 16)), "k.elf one two");
	assert_string_equal((char *)at(get_le32(mbi + 64)), "Amber");
	assert_int_equal(get_le32(mbi + 20), 1);
	mod = at(get_le32(mbi + 24));
	assert_int_equal(get_le32(mod) % PAGE_SIZE, 0);
	assert_true(get_le32(mod) >= KERNEL_LOAD_DATA + KERNEL_BSS);
	assert_int_equal(get_le32(mod + 4) - get_le32(mod), INITRD_SIZE);
	assert_memory_equal(at(get_le32(mod)), initrd, INITRD_SIZE);
	assert_string_equal((char *)at(get_le32(mod + 8)), "module");
	assert_int_equal(get_le32(mod + 12), 0);
	assert_multiboot_map(mbi);
}

static void test_multiboot_64(void **state)
{
	multiboot_tells_all(true);
}

static void test_multiboot_32(void **state)
{
	multiboot_tells_all(false);
}

static void test_multiboot_without_module(void **state)
{
	const uint8_t *mbi;

	in.module_count = 0;
	in.cmdline = "";
	loads(boot_multiboot_load);
	mbi = at(bsp.gpr[GPR_RBX]);
	assert_int_equal(get_le64(mbi + 20), 0);
	assert_string_equal((char *)at(get_le32(mbi + 16)), "k.elf");
}

/* The file's bytes from its beginning lie at FLAT_LOAD. */
static void flat_kernel(uint32_t load_end, uint32_t bss_end)
{
	uint8_t *h = kernel + KERNEL_MB1;

	memset(kernel, 0, 64); /* no ELF file */
	kernel_multiboot1(kernel, 1 << 16 | 3);
	put_le32(h + 12, FLAT_LOAD + KERNEL_MB1);
	put_le32(h + 16, FLAT_LOAD);
	put_le32(h + 20, load_end);
	put_le32(h + 24, bss_end);
	put_le32(h + 28, FLAT_LOAD + KERNEL_TEXT);
}

static void test_multiboot_address_fields(void **state)
{
	flat_kernel(0, 0);
	loads(boot_multiboot_load);
	assert_entered(FLAT_LOAD + KERNEL_TEXT, 0x2badb002);
	assert_memory_equal(at(FLAT_LOAD), kernel, KERNEL_SIZE);
	assert_int_equal(*at(FLAT_LOAD + KERNEL_SIZE), 0);
}

static void test_multiboot_address_fields_of_a_part(void **state)
{
	uint64_t module;

	flat_kernel(FLAT_LOAD + 0x2000, FLAT_LOAD + 0x300000);
	put_le32(kernel + KERNEL_MB1 + 16, FLAT_LOAD + 0x100); /* load_addr: skips 0x100 bytes */
	loads(boot_multiboot_load);
	assert_int_equal(*at(FLAT_LOAD + 0xff), 0);
	assert_memory_equal(at(FLAT_LOAD + 0x100), kernel + 0x100, 0x1f00);
	assert_int_equal(*at(FLAT_LOAD + 0x2000), 0);
	module = get_le32(at(get_le32(at(bsp.gpr[GPR_RBX] + 24))));
	assert_int_equal(module, FLAT_LOAD + 0x300000); /* behind the bss */
}

static void test_flat_lies(void **state)
{
	static const struct {
		uint32_t load, load_end, bss_end, entry;
		int err;
		const char *text;
	} lies[] = {
	    {FLAT_LOAD + 0x1000, 0, 0, FLAT_LOAD, ERR_CORRUPT,
		"kernel 'k.elf': its header at 0x200200 is loaded with the file's beginning at "
		"0x201000"},
	    {FLAT_LOAD - 1, 0, 0, FLAT_LOAD, ERR_CORRUPT,
		"kernel 'k.elf': its header at 0x200200 is loaded with the file's beginning at "
		"0x1fffff"},
	    {FLAT_LOAD, FLAT_LOAD - 1, 0, FLAT_LOAD, ERR_CORRUPT,
		"kernel 'k.elf': it is loaded from 0x200000 to 0x1fffff"},
	    {FLAT_LOAD, FLAT_LOAD + KERNEL_SIZE + 1, 0, FLAT_LOAD, ERR_CORRUPT,
		"kernel 'k.elf': file ends before what its header promises"},
	    {FLAT_LOAD, 0, FLAT_LOAD + KERNEL_SIZE - 1, FLAT_LOAD, ERR_CORRUPT,
		"kernel 'k.elf': its bss ends at 0x203320, before what is loaded"},
	    {FLAT_LOAD, 0, 1, FLAT_LOAD, ERR_CORRUPT,
		"kernel 'k.elf': its bss ends at 0x1, before what is loaded"},
	    {FLAT_LOAD, 0, 0xfffffff0, FLAT_LOAD, ERR_NOSPACE,
		"kernel 'k.elf': 0xffdffff0 bytes at 0x200000 are not RAM below 4 GiB"},
	    {FLAT_LOAD, 0, 0, FLAT_LOAD + KERNEL_SIZE, ERR_CORRUPT,
		"kernel 'k.elf': entry point 0x203321 is in nothing that it loads"},
	};

	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		flat_kernel(lies[i].load_end, lies[i].bss_end);
		put_le32(kernel + KERNEL_MB1 + 16, lies[i].load);
		put_le32(kernel + KERNEL_MB1 + 28, lies[i].entry);
		refused(boot_multiboot_load, lies[i].err, lies[i].text);
	}
}

static void test_multiboot_header(void **state)
{
	kernel_multiboot1(kernel, 1 << 3);
	refused(boot_multiboot_load, ERR_UNSUPPORTED,
	    "kernel 'k.elf': Multiboot header demands what is not known: flags 0x8");
	kernel_multiboot1(kernel, 1 << 2 | 1 << 17); /* video; a flag that may be ignored */
	loads(boot_multiboot_load);
	kernel[KERNEL_MB1 + 8] ^= 1;
	refused(boot_multiboot_load, ERR_UNSUPPORTED,
	    "kernel 'k.elf': no Multiboot header in its first 8 KiB");
	/* the last place, and the one behind it */
	kernel_multiboot1(kernel + 8192 - 12 - KERNEL_MB1, 0);
	loads(boot_multiboot_load);
	memset(kernel + 8192 - 12, 0, 12);
	kernel_multiboot1(kernel + 8192 - 8 - KERNEL_MB1, 0);
	refused(boot_multiboot_load, ERR_UNSUPPORTED,
	    "kernel 'k.elf': no Multiboot header in its first 8 KiB");
}

static void test_multiboot_header_cut_off(void **state)
{
	memset(kernel + KERNEL_MB1, 0, 12);
	kernel_multiboot1(kernel + 8192 - 28 - KERNEL_MB1, 1 << 16);
	refused(boot_multiboot_load, ERR_CORRUPT, "kernel 'k.elf': Multiboot header cut off");
}

/* --- Multiboot2 ----------------------------------------------------------------------- */

/* The tag of that type in the boot information, behind its type and size; NULL: none. */
static const uint8_t *tag(uint32_t type, uint32_t *size)
{
	const uint8_t *info = at(bsp.gpr[GPR_RBX]);
	uint32_t total = get_le32(info);

	assert_int_equal(bsp.gpr[GPR_RBX] % 8, 0);
	for (uint32_t pos = 8;; pos = ALIGN_UP(pos + get_le32(info + pos + 4), 8)) {
		assert_true(pos + 8 <= total);
		*size = get_le32(info + pos + 4) - 8;
		if (get_le32(info + pos) == type)
			return info + pos + 8;
		if (get_le32(info + pos) == 0) {
			assert_int_equal(pos + 8, total);
			return NULL;
		}
	}
}

static void multiboot2_tells_all(bool is_64)
{
	const uint8_t *p;
	uint32_t size;

	refill(is_64);
	memcpy(at(RSDP), "RSD PTR ", 8);
	*at(RSDP + 35) = 0x77;
	loads(boot_multiboot2_load);
	assert_loaded();
	assert_entered(KERNEL_ENTRY, 0x36d76289);
	assert_string_equal((char *)tag(1, &size), "one two");
	assert_int_equal(size, 8);
	assert_string_equal((char *)tag(2, &size), "Amber");
	p = tag(3, &size);
	assert_int_equal(size, 8 + 7);
	assert_string_equal((char *)p + 8, "module");
	assert_int_equal(get_le32(p) % PAGE_SIZE, 0);
	assert_int_equal(get_le32(p + 4) - get_le32(p), INITRD_SIZE);
	assert_memory_equal(at(get_le32(p)), initrd, INITRD_SIZE);
	p = tag(4, &size);
	assert_int_equal(get_le32(p), 639);
	assert_int_equal(get_le32(p + 4), MEMORY / KIB - 1024);
	p = tag(6, &size);
	assert_int_equal(size, 8 + 24 * in.map_count);
	assert_int_equal(get_le64(p), 24);
	for (unsigned i = 0; i < in.map_count; i++) {
		assert_int_equal(get_le64(p + 8 + 24 * i), map[i].start);
		assert_int_equal(get_le64(p + 16 + 24 * i), map[i].size);
		assert_int_equal(get_le64(p + 24 + 24 * i), map[i].type);
	}
	p = tag(15, &size);
	assert_int_equal(size, 36);
	assert_memory_equal(p, at(RSDP), 36);
	assert_null(tag(14, &size));
}

static void test_multiboot2_64(void **state)
{
	multiboot2_tells_all(true);
}

static void test_multiboot2_32(void **state)
{
	multiboot2_tells_all(false);
}

static void test_multiboot2_without_module(void **state)
{
	uint32_t size;

	in.module_count = 0;
	in.rsdp = 0;
	loads(boot_multiboot2_load);
	assert_null(tag(3, &size));
	assert_null(tag(15, &size));
}

/* One header tag of up to four numbers; flags: 1 is optional. */
static uint32_t put_header_tag(
    uint32_t pos, uint16_t type, uint16_t flags, const uint32_t *words, uint32_t n)
{
	uint8_t *p = kernel + KERNEL_MB2 + 16 + pos;

	put_le16(p, type);
	put_le16(p + 2, flags);
	put_le32(p + 4, 8 + 4 * n);
	for (uint32_t i = 0; i < n; i++)
		put_le32(p + 8 + 4 * (size_t)i, words[i]);
	return ALIGN_UP(pos + 8 + 4 * n, 8);
}

static void test_multiboot2_known_tags(void **state)
{
	static const uint32_t entry = KERNEL_LOAD + 0x40, wanted[] = {1, 8, 21};
	uint32_t pos = put_header_tag(0, 1, 0, wanted, 3);

	pos = put_header_tag(pos, 3, 0, &entry, 1);
	pos = put_header_tag(pos, 6, 0, NULL, 0);
	pos = put_header_tag(pos, 7, 0, NULL, 0);
	pos = put_header_tag(pos, 9, 0, &entry, 1);
	pos = put_header_tag(pos, 4, 1, &entry, 1);
	pos = put_header_tag(pos, 999, 1, wanted, 3);
	kernel_multiboot2(kernel, pos);
	loads(boot_multiboot2_load);
	assert_entered(KERNEL_LOAD + 0x40, 0x36d76289);
}

static void multiboot2_flat(uint32_t load_addr)
{
	const uint32_t address[] = {FLAT_LOAD + KERNEL_MB2, load_addr, 0, FLAT_LOAD + 0x10000};
	const uint32_t entry = FLAT_LOAD + KERNEL_TEXT;

	memset(kernel, 0, 64);
	kernel_multiboot2(
	    kernel, put_header_tag(put_header_tag(0, 2, 0, address, 4), 3, 0, &entry, 1));
}

static void test_multiboot2_address_tag(void **state)
{
	static const uint32_t loads_at[] = {FLAT_LOAD, UINT32_MAX}; /* the latter: the whole file */

	for (size_t i = 0; i < ARRAY_LEN(loads_at); i++) {
		multiboot2_flat(loads_at[i]);
		loads(boot_multiboot2_load);
		assert_entered(FLAT_LOAD + KERNEL_TEXT, 0x36d76289);
		assert_memory_equal(at(FLAT_LOAD), kernel, KERNEL_SIZE);
		memset(at(FLAT_LOAD), 0, KERNEL_SIZE);
	}
}

static void test_multiboot2_demands(void **state)
{
	static const struct {
		uint16_t type, flags;
		uint32_t words[4], n;
		int err;
		const char *text;
	} demands[] = {
	    {5, 0, {1024, 768, 32}, 3, ERR_UNSUPPORTED,
		"kernel 'k.elf': Multiboot2 header demands what is not there: tag 5"},
	    {4, 0, {3}, 1, ERR_UNSUPPORTED,
		"kernel 'k.elf': Multiboot2 header demands what is not there: tag 4"},
	    {11, 0, {0}, 0, ERR_UNSUPPORTED,
		"kernel 'k.elf': Multiboot2 header demands what is not there: tag 11"},
	    {1, 0, {6, 22}, 2, ERR_UNSUPPORTED,
		"kernel 'k.elf': Multiboot2 header demands unknown information 22"},
	    {1, 1, {6, 22}, 2, OK, ""},
	    {2, 0, {FLAT_LOAD}, 1, ERR_CORRUPT,
		"kernel 'k.elf': Multiboot2 header: tag 2 too short"},
	    {3, 1, {0}, 0, ERR_CORRUPT, "kernel 'k.elf': Multiboot2 header: tag 3 too short"},
	    {2, 0, {FLAT_LOAD + KERNEL_MB2, FLAT_LOAD}, 4, ERR_CORRUPT,
		"kernel 'k.elf': Multiboot2 header: an address tag, but no entry address tag"},
	    {3, 0, {KERNEL_LOAD - 1}, 1, ERR_CORRUPT,
		"kernel 'k.elf': entry point 0xfffff is in nothing that it loads"},
	};

	for (size_t i = 0; i < ARRAY_LEN(demands); i++) {
		refill(true);
		kernel_multiboot2(kernel, put_header_tag(0, demands[i].type, demands[i].flags,
					      demands[i].words, demands[i].n));
		refused(boot_multiboot2_load, demands[i].err, demands[i].text);
	}
}

/* Of the whole header, without changing what lies in it. */
static void set_header_length(uint32_t length)
{
	put_le32(kernel + KERNEL_MB2 + 8, length);
	put_le32(kernel + KERNEL_MB2 + 12, -(0xe85250d6 + length));
}

static void test_multiboot2_header(void **state)
{
	uint8_t *h = kernel + KERNEL_MB2;

	put_le32(h + 4, 4);
	put_le32(h + 12, get_le32(h + 12) - 4);
	refused(boot_multiboot2_load, ERR_UNSUPPORTED,
	    "kernel 'k.elf': Multiboot2 header for architecture 4");
	kernel_multiboot2(kernel, 0);
	set_header_length(KERNEL_SIZE);
	refused(boot_multiboot2_load, ERR_CORRUPT, "kernel 'k.elf': Multiboot2 header cut off");
	set_header_length(15);
	refused(boot_multiboot2_load, ERR_CORRUPT, "kernel 'k.elf': Multiboot2 header cut off");
	set_header_length(16); /* ends before its end tag */
	refused(boot_multiboot2_load, ERR_CORRUPT,
	    "kernel 'k.elf': Multiboot2 header: damaged tag at its byte 16");
	kernel_multiboot2(kernel, 0);
	put_le16(h + 16, 6);
	put_le32(h + 20, 7); /* shorter than its own head */
	refused(boot_multiboot2_load, ERR_CORRUPT,
	    "kernel 'k.elf': Multiboot2 header: damaged tag at its byte 16");
	put_le32(h + 20, 9); /* longer than the header */
	refused(boot_multiboot2_load, ERR_CORRUPT,
	    "kernel 'k.elf': Multiboot2 header: damaged tag at its byte 16");
	h[12] ^= 1;
	refused(boot_multiboot2_load, ERR_UNSUPPORTED,
	    "kernel 'k.elf': no Multiboot2 header in its first 32 KiB");
}

/* --- PVH ------------------------------------------------------------------------------ */

static void pvh_tells_all(bool is_64)
{
	const uint8_t *info, *p;

	refill(is_64);
	loads(boot_pvh_load);
	assert_loaded();
	assert_entered(KERNEL_ENTRY, 0);
	info = at(bsp.gpr[GPR_RBX]);
	assert_int_equal(get_le32(info), 0x336ec578);
	assert_int_equal(get_le32(info + 4), 1);
	assert_int_equal(get_le32(info + 8), 0);
	assert_int_equal(get_le32(info + 12), 1);
	p = at(get_le64(info + 16));
	assert_int_equal(get_le64(p) % PAGE_SIZE, 0);
	assert_int_equal(get_le64(p + 8), INITRD_SIZE);
	assert_memory_equal(at(get_le64(p)), initrd, INITRD_SIZE);
	assert_string_equal((char *)at(get_le64(p + 16)), "module");
	assert_int_equal(get_le64(p + 24), 0);
	assert_string_equal((char *)at(get_le64(info + 24)), "one two");
	assert_int_equal(get_le64(info + 32), RSDP);
	assert_int_equal(get_le64(info + 48), in.map_count);
	p = at(get_le64(info + 40));
	for (unsigned i = 0; i < in.map_count; i++, p += 24) {
		assert_int_equal(get_le64(p), map[i].start);
		assert_int_equal(get_le64(p + 8), map[i].size);
		assert_int_equal(get_le64(p + 16), map[i].type);
	}
}

static void test_pvh_64(void **state)
{
	pvh_tells_all(true);
}

static void test_pvh_32(void **state)
{
	pvh_tells_all(false);
}

static void test_pvh_without_module(void **state)
{
	in.module_count = 0;
	loads(boot_pvh_load);
	assert_int_equal(get_le32(at(bsp.gpr[GPR_RBX] + 12)), 0);
	assert_int_equal(get_le64(at(bsp.gpr[GPR_RBX] + 16)), 0);
}

static void test_pvh_note(void **state)
{
	uint8_t *note = kernel + KERNEL_NOTE + 36;

	put_le32(note + 16, KERNEL_LOAD + KERNEL_TEXT_SIZE);
	refused(boot_pvh_load, ERR_CORRUPT,
	    "kernel 'k.elf': entry point 0x101234 is in nothing that it loads");
	put_le32(note + 4, 2);
	refused(boot_pvh_load, ERR_CORRUPT, "kernel 'k.elf': PVH entry point of 2 bytes");
	put_le32(note + 4, 5); /* ends behind the segment */
	refused(
	    boot_pvh_load, ERR_UNSUPPORTED, "kernel 'k.elf': no ELF note with a PVH entry point");
	put_le32(note + 4, 0xffffffff);
	refused(
	    boot_pvh_load, ERR_UNSUPPORTED, "kernel 'k.elf': no ELF note with a PVH entry point");
	put_le32(note + 4, 4);
	note[8] = 17;
	refused(
	    boot_pvh_load, ERR_UNSUPPORTED, "kernel 'k.elf': no ELF note with a PVH entry point");
	refill(true);
	put_le32(kernel + KERNEL_NOTE, 0xfffffffd); /* the first one's name runs far */
	refused(
	    boot_pvh_load, ERR_UNSUPPORTED, "kernel 'k.elf': no ELF note with a PVH entry point");
}

static void test_pvh_note_of_eight_bytes(void **state)
{
	kernel_segment(
	    kernel, true, 2, 4, KERNEL_NOTE, 0, KERNEL_NOTE_SIZE + 4, KERNEL_NOTE_SIZE + 4);
	put_le32(kernel + KERNEL_NOTE + 40, 8);
	loads(boot_pvh_load);
	assert_entered(KERNEL_ENTRY, 0);
}

/* --- ELF files ------------------------------------------------------------------------ */

/* A field with a value that cannot be, and the answer; all of a file of 64 bits. */
static const struct {
	size_t offset;
	unsigned bytes;
	uint64_t value;
	int err;
	const char *message;
} lies[] = {
    {0, 1, 0, ERR_UNSUPPORTED, "kernel 'k.elf': not an ELF file"},
    {4, 1, 3, ERR_UNSUPPORTED, "kernel 'k.elf': ELF file of another class, byte order or version"},
    {5, 1, 2, ERR_UNSUPPORTED, "kernel 'k.elf': ELF file of another class, byte order or version"},
    {6, 1, 0, ERR_UNSUPPORTED, "kernel 'k.elf': ELF file of another class, byte order or version"},
    {16, 2, 1, ERR_UNSUPPORTED, "kernel 'k.elf': ELF file of type 1: not an executable"},
    {18, 2, 3, ERR_UNSUPPORTED, "kernel 'k.elf': ELF file for machine 3"},
    {24, 8, KERNEL_LOAD + KERNEL_HIGH + KERNEL_TEXT_SIZE, ERR_CORRUPT,
	"kernel 'k.elf': entry point 0x40101234 is in nothing that it loads"},
    {24, 8, 0, ERR_CORRUPT, "kernel 'k.elf': entry point 0x0 is in nothing that it loads"},
    {32, 8, KERNEL_SIZE, ERR_CORRUPT,
	"kernel 'k.elf': ELF program headers behind the end of the file"},
    {32, 8, UINT64_MAX, ERR_CORRUPT,
	"kernel 'k.elf': ELF program headers behind the end of the file"},
    {54, 2, 32, ERR_CORRUPT, "kernel 'k.elf': 3 ELF program headers of 32 bytes"},
    {56, 2, 0, ERR_CORRUPT, "kernel 'k.elf': 0 ELF program headers of 56 bytes"},
    {56, 2, 65, ERR_CORRUPT, "kernel 'k.elf': 65 ELF program headers of 56 bytes"},
    {64 + 8, 8, KERNEL_SIZE, ERR_CORRUPT, "kernel 'k.elf': segment 0: behind the end of the file"},
    {64 + 8, 8, UINT64_MAX - 7, ERR_CORRUPT,
	"kernel 'k.elf': segment 0: behind the end of the file"},
    {64 + 32, 8, KERNEL_TEXT_SIZE + 1, ERR_CORRUPT,
	"kernel 'k.elf': segment 0: 0x1235 bytes in 0x1234 of memory"},
    {64 + 24, 8, 0x9f000, ERR_NOSPACE,
	"kernel 'k.elf': segment 0: 0x1234 bytes at 0x9f000 are not RAM below 4 GiB"},
    {64 + 24, 8, 0xe0000, ERR_NOSPACE,
	"kernel 'k.elf': segment 0: 0x1234 bytes at 0xe0000 are not RAM below 4 GiB"},
    {64 + 24, 8, MEMORY - 0x1000, ERR_NOSPACE,
	"kernel 'k.elf': segment 0: 0x1234 bytes at 0xfff000 are not RAM below 4 GiB"},
    {64 + 24, 8, UINT64_MAX - 0x100, ERR_NOSPACE,
	"kernel 'k.elf': segment 0: 0x1234 bytes at 0xfffffffffffffeff are not RAM below 4 GiB"},
    {64 + 24, 8, 4 * GIB, ERR_NOSPACE,
	"kernel 'k.elf': segment 0: 0x1234 bytes at 0x100000000 are not RAM below 4 GiB"},
    {120 + 24, 8, KERNEL_LOAD + KERNEL_TEXT_SIZE - 1, ERR_NOSPACE,
	"kernel 'k.elf': segment 1: 0x5000 bytes at 0x101233 overlap another part of it"},
    {120 + 40, 8, UINT64_MAX, ERR_NOSPACE,
	"kernel 'k.elf': segment 1: 0xffffffffffffffff bytes at 0x102000 are not RAM below 4 GiB"},
};

static void test_lies(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		refill(true);
		for (unsigned b = 0; b < lies[i].bytes; b++)
			kernel[lies[i].offset + b] = (uint8_t)(lies[i].value >> (8 * b));
		refused(boot_multiboot_load, lies[i].err, lies[i].message);
		refused(boot_multiboot2_load, lies[i].err, lies[i].message);
		if (lies[i].offset != 24) /* its entry point is elsewhere */
			refused(boot_pvh_load, lies[i].err, lies[i].message);
	}
}

static void test_nothing_to_load(void **state)
{
	kernel_segment(kernel, true, 0, 2, KERNEL_TEXT, KERNEL_LOAD, 1, 1);
	kernel_segment(kernel, true, 1, 1, KERNEL_DATA, KERNEL_LOAD, 0, 0);
	refused(boot_multiboot_load, ERR_CORRUPT, "kernel 'k.elf': no segment to load");
}

/* An entry point that is no virtual address of the file is taken for a physical one. */
static void test_physical_entry(void **state)
{
	put_le64(kernel + 24, KERNEL_LOAD + 8);
	loads(boot_multiboot_load);
	assert_entered(KERNEL_LOAD + 8, 0x2badb002);
}

static boot_load_fn *const all[] = {boot_multiboot_load, boot_multiboot2_load, boot_pvh_load};

/* A file cut at any byte is refused, and nothing has been written. */
static void test_truncated_everywhere(void **state)
{
	for (size_t n = 0; n < KERNEL_SIZE; n += n < KERNEL_TEXT ? 1 : 7) {
		uint8_t *cut = malloc(n ? n : 1); /* exact, so that ASan sees a step beyond */

		memcpy(cut, kernel, n);
		in.kernel = cut;
		in.kernel_size = n;
		for (size_t i = 0; i < ARRAY_LEN(all); i++) {
			msg.text[0] = '\0';
			assert_int_not_equal(all[i](vm, &in, &bsp, &msg), OK);
			assert_true(msg.text[0]);
		}
		free(cut);
	}
	for (size_t i = 0; i < MEMORY; i += 8)
		assert_int_equal(get_le64(at(i)), 0);
}

static void test_no_room(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		refill(true);
		modules[0].size = MEMORY - MIB;
		refused(all[i], ERR_NOSPACE,
		    "module 'module': 15360 KiB do not fit into the memory above 0x107000");
	}
}

/* --- several modules ------------------------------------------------------------------ */

/* What a method tells of the n-th module. */
struct told {
	uint64_t start, end;
	const char *string;
	uint32_t count; /* of all of them */
};

static struct told told_multiboot(unsigned n)
{
	const uint8_t *mbi = at(bsp.gpr[GPR_RBX]), *mod = at(get_le32(mbi + 24) + 16 * n);

	assert_true(get_le32(mbi) & 1 << 3);
	return (struct told){
	    get_le32(mod), get_le32(mod + 4), (char *)at(get_le32(mod + 8)), get_le32(mbi + 20)};
}

static struct told told_multiboot2(unsigned n)
{
	const uint8_t *info = at(bsp.gpr[GPR_RBX]);
	struct told t = {.count = 0};

	for (uint32_t pos = 8; get_le32(info + pos);
	     pos = ALIGN_UP(pos + get_le32(info + pos + 4), 8)) {
		const uint8_t *p = info + pos;

		if (get_le32(p) != 3)
			continue;
		if (t.count++ == n) {
			t.start = get_le32(p + 8);
			t.end = get_le32(p + 12);
			t.string = (char *)p + 16;
			assert_int_equal(get_le32(p + 4), 16 + strlen(t.string) + 1);
		}
	}
	return t;
}

static struct told told_pvh(unsigned n)
{
	const uint8_t *info = at(bsp.gpr[GPR_RBX]), *mod = at(get_le64(info + 16) + 32 * n);

	assert_int_equal(get_le64(mod + 24), 0);
	return (struct told){get_le64(mod), get_le64(mod) + get_le64(mod + 8),
	    (char *)at(get_le64(mod + 16)), get_le32(info + 12)};
}

static const struct {
	boot_load_fn *load;
	struct told (*told)(unsigned n);
} tellers[] = {
    {boot_multiboot_load, told_multiboot},
    {boot_multiboot2_load, told_multiboot2},
    {boot_pvh_load, told_pvh},
};

/* In their order, each with its own string, on page boundaries and apart from all else. */
static void test_several_modules(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(tellers); i++) {
		uint64_t end = KERNEL_LOAD_DATA + KERNEL_BSS;

		refill(true);
		modules[1] = (struct boot_module){initrd + 3, 1, "b", "b one two"};
		modules[2] = (struct boot_module){NULL, 0, "empty", "nothing in it"};
		modules[3] = (struct boot_module){initrd + 5, PAGE_SIZE, "b", "b"};
		in.module_count = 4;
		loads(tellers[i].load);
		assert_loaded();
		for (unsigned n = 0; n < 4; n++) {
			struct told t = tellers[i].told(n);

			assert_int_equal(t.count, 4);
			assert_int_equal(t.start % PAGE_SIZE, 0);
			assert_true(t.start >= end);
			assert_int_equal(t.end - t.start, modules[n].size);
			assert_memory_equal(at(t.start), modules[n].data, modules[n].size);
			assert_string_equal(t.string, modules[n].string);
			end = t.end;
		}
		assert_int_equal(bsp.gpr[GPR_RBX], 0x9000);
	}
}

/* As many as there can be, with strings that are as long as they can be. */
static void test_all_modules(void **state)
{
	char line[2048], string[BOOT_MODULES][512];

	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(tellers); i++) {
		refill(true);
		in.cmdline = line;
		in.module_count = BOOT_MODULES;
		for (unsigned n = 0; n < BOOT_MODULES; n++) {
			memset(string[n], 'a' + (int)n, 511);
			string[n][511] = '\0';
			modules[n] = (struct boot_module){initrd + n, 1 + n, "m", string[n]};
		}
		loads(tellers[i].load);
		assert_int_equal(bsp.gpr[GPR_RBX], 0x9000);
		for (unsigned n = 0; n < BOOT_MODULES; n++) {
			struct told t = tellers[i].told(n);

			assert_int_equal(t.count, BOOT_MODULES);
			assert_string_equal(t.string, string[n]);
			assert_memory_equal(at(t.start), initrd + n, 1 + n);
		}
		modules[BOOT_MODULES] = modules[0];
		in.module_count++;
		refused(tellers[i].load, ERR_RANGE, "more than 33 modules");
	}
}

/* The one that finds no room is named, and nothing has been written. */
static void test_no_room_for_one_module(void **state)
{
	static uint8_t large[MEMORY - 3 * MIB];

	for (size_t i = 0; i < ARRAY_LEN(tellers); i++) {
		refill(true);
		modules[0] = (struct boot_module){large, sizeof(large), "first", "first"};
		modules[1] = (struct boot_module){large, sizeof(large), "second", "other"};
		in.module_count = 2;
		refused(tellers[i].load, ERR_NOSPACE,
		    "module 'second': 13312 KiB do not fit into the memory above 0xe07000");
		assert_int_equal(*at(KERNEL_LOAD), 0);
	}
}

/* What the kernel is told goes where the kernel is not. */
static void test_information_makes_way(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		refill(true);
		loads(all[i]);
		assert_int_equal(bsp.gpr[GPR_RBX], 0x9000);
		kernel_segment(kernel, true, 1, 1, KERNEL_DATA, 0x8000, KERNEL_DATA_SIZE, 0x4801);
		loads(all[i]);
		assert_int_equal(bsp.gpr[GPR_RBX], 0xd000);
		/* all of low memory: it goes behind the module, above 1 MiB */
		kernel_segment(kernel, true, 1, 1, KERNEL_DATA, 0x1000, KERNEL_DATA_SIZE, 0x9e000);
		loads(all[i]);
		assert_int_equal(bsp.gpr[GPR_RBX], 0x102000 + ALIGN_UP(INITRD_SIZE, PAGE_SIZE));
	}
}

static void test_long_command_line(void **state)
{
	char line[5000];

	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\0';
	in.cmdline = line;
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		refused(all[i], ERR_RANGE, "command line: too long");
	line[2047] = '\0'; /* the longest that a manifest can have */
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		loads(all[i]);
}

static void test_memory_fails(void **state)
{
	fake_of(vm)->gmem_fail_start = KERNEL_LOAD_DATA;
	fake_of(vm)->gmem_fail_len = 1;
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		refused(
		    all[i], ERR_FAULT, "cannot write guest memory at 0x102000: bad guest address");
	fake_heap_fail_after(0);
	refused(all[0], ERR_NOMEM, "boot information: out of memory");
}

static void test_memory_of_several_gib(void **state)
{
	in.map_count = e820_build(6 * GIB, map);
	loads(boot_multiboot_load);
	assert_int_equal(get_le32(at(bsp.gpr[GPR_RBX] + 8)), 2816 * 1024 - 1024);
	assert_multiboot_map(at(bsp.gpr[GPR_RBX]));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_multiboot_64),
	    TEST(test_multiboot_32),
	    TEST(test_multiboot_without_module),
	    TEST(test_multiboot_address_fields),
	    TEST(test_multiboot_address_fields_of_a_part),
	    TEST(test_flat_lies),
	    TEST(test_multiboot_header),
	    TEST(test_multiboot_header_cut_off),
	    TEST(test_multiboot2_64),
	    TEST(test_multiboot2_32),
	    TEST(test_multiboot2_without_module),
	    TEST(test_multiboot2_known_tags),
	    TEST(test_multiboot2_address_tag),
	    TEST(test_multiboot2_demands),
	    TEST(test_multiboot2_header),
	    TEST(test_pvh_64),
	    TEST(test_pvh_32),
	    TEST(test_pvh_without_module),
	    TEST(test_pvh_note),
	    TEST(test_pvh_note_of_eight_bytes),
	    TEST(test_lies),
	    TEST(test_nothing_to_load),
	    TEST(test_physical_entry),
	    TEST(test_truncated_everywhere),
	    TEST(test_no_room),
	    TEST(test_several_modules),
	    TEST(test_all_modules),
	    TEST(test_no_room_for_one_module),
	    TEST(test_information_makes_way),
	    TEST(test_long_command_line),
	    TEST(test_memory_fails),
	    TEST(test_memory_of_several_gib),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
