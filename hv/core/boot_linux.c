/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 64-bit Linux boot protocol. Offsets are those of struct boot_params, the
 * "zero page"; the setup header lies at the same offsets in it and in the file.
 */
#include "hv/core/boot.h"
#include <string.h>
#include "hv/core/gmem.h"
#include "hv/lib/cursor.h"

/* Zero page (Linux, Documentation/arch/x86/zero-page.rst). */
enum boot_params {
	BP_ACPI_RSDP_ADDR = 0x070,
	BP_E820_ENTRIES = 0x1e8,
	BP_SETUP_HEADER = 0x1f1,
	BP_HEADER_END = 0x290, /* the header may grow up to here */
	BP_E820_TABLE = 0x2d0, /* 20 bytes an entry */
	BP_SIZE = 0x1000,
};

/* Setup header (boot.rst, "Details of Header Fields"). */
enum setup_header {
	SETUP_SECTS = 0x1f1,
	SETUP_SYSSIZE = 0x1f4,
	SETUP_BOOT_FLAG = 0x1fe,
	SETUP_JUMP = 0x200, /* the second byte: where the header ends, from 0x202 */
	SETUP_HEADER = 0x202,
	SETUP_VERSION = 0x206,
	SETUP_TYPE_OF_LOADER = 0x210,
	SETUP_LOADFLAGS = 0x211,
	SETUP_CODE32_START = 0x214,
	SETUP_RAMDISK_IMAGE = 0x218,
	SETUP_RAMDISK_SIZE = 0x21c,
	SETUP_CMD_LINE_PTR = 0x228,
	SETUP_INITRD_ADDR_MAX = 0x22c,
	SETUP_XLOADFLAGS = 0x236,
	SETUP_CMDLINE_SIZE = 0x238,
	SETUP_PREF_ADDRESS = 0x258,
	SETUP_INIT_SIZE = 0x260,
	SETUP_MIN_END = 0x264, /* behind the last field that we need */
};
#define MAGIC_BOOT_FLAG	    0xaa55
#define MAGIC_HEADER	    0x53726448 /* "HdrS" */
#define VERSION_XLOADFLAGS  0x020c     /* 2.12, Linux 3.8 */
#define LOADFLAGS_HIGH	    (1 << 0)   /* the kernel lies at 1 MiB or above */
#define XLF_KERNEL_64	    (1 << 0)   /* has a 64-bit entry point */
#define LOADER_UNDEFINED    0xff       /* no number assigned */
#define KERNEL_ENTRY_64	    0x200      /* from where it was loaded */
#define SECTOR		    512
#define PARAGRAPH	    16 /* the unit of syssize */
#define DEFAULT_SETUP_SECTS 4  /* what 0 means, for historical reasons */

/* Where things go in the first 640 KiB. */
enum low_memory {
	LOW_GDT = 0x6000,
	LOW_ZERO_PAGE = 0x7000,
	LOW_PML4 = 0x9000, /* then one page-directory-pointer table and four page directories */
	LOW_PDPT = 0xa000,
	LOW_PD = 0xb000,
	LOW_CMDLINE = 0x20000,
	LOW_CMDLINE_MAX = 0x10000,
};

enum boot_selector { BOOT_CS = 0x10, BOOT_DS = 0x18 }; /* demanded by the protocol */

/* Page-table entry (SDM volume 3, 4.5). */
enum pte { PTE_P = 1 << 0, PTE_W = 1 << 1, PTE_PS = 1 << 7 };

/* What the header says, and where things are going to be. */
struct image {
	uint8_t header[BP_HEADER_END - BP_SETUP_HEADER];
	size_t header_len;
	const uint8_t *code; /* the protected-mode part, in the file */
	uint64_t code_size;
	uint32_t init_size, initrd_addr_max, cmdline_size;
	uint64_t load, initrd; /* guest-physical */
	uint64_t initrd_size;
};

static uint64_t read_at(struct cursor *c, unsigned offset, unsigned bytes)
{
	cursor_seek(c, offset);
	switch (bytes) {
	case 1:
		return cursor_u8(c);
	case 2:
		return cursor_le16(c);
	case 4:
		return cursor_le32(c);
	default:
		return cursor_le64(c);
	}
}

/* Is it a kernel, and one that we can start? */
static int check_header(struct cursor *c, struct errmsg *e)
{
	if (read_at(c, SETUP_BOOT_FLAG, 2) != MAGIC_BOOT_FLAG ||
	    read_at(c, SETUP_HEADER, 4) != MAGIC_HEADER)
		return err_set(e, ERR_UNSUPPORTED, "kernel: not a Linux bzImage");
	if (read_at(c, SETUP_VERSION, 2) < VERSION_XLOADFLAGS)
		return err_set(e, ERR_UNSUPPORTED,
		    "kernel: boot protocol %lu.%02lu is older than 2.12",
		    read_at(c, SETUP_VERSION, 2) >> 8, read_at(c, SETUP_VERSION, 2) & 0xff);
	if (!(read_at(c, SETUP_LOADFLAGS, 1) & LOADFLAGS_HIGH) ||
	    !(read_at(c, SETUP_XLOADFLAGS, 2) & XLF_KERNEL_64))
		return err_set(e, ERR_UNSUPPORTED, "kernel: no 64-bit entry point");
	return OK;
}

/* The end of the setup header, from where the file says; 0 if it is impossible. */
static unsigned header_end(struct cursor *c)
{
	unsigned end = SETUP_HEADER + (unsigned)read_at(c, SETUP_JUMP + 1, 1);

	return end < SETUP_MIN_END ? 0 : MIN(end, (unsigned)BP_HEADER_END);
}

static int read_image(const struct boot_input *p, struct image *im, struct errmsg *e)
{
	uint64_t sects, end;
	struct cursor c;
	int err;

	cursor_init(&c, p->kernel, p->kernel_size);
	err = check_header(&c, e);
	if (err)
		return err;
	end = header_end(&c);
	if (!end)
		return err_set(e, ERR_CORRUPT, "kernel: setup header too short");
	im->header_len = end - BP_SETUP_HEADER;
	cursor_seek(&c, BP_SETUP_HEADER);
	cursor_bytes(&c, im->header, im->header_len);
	im->init_size = (uint32_t)read_at(&c, SETUP_INIT_SIZE, 4);
	im->initrd_addr_max = (uint32_t)read_at(&c, SETUP_INITRD_ADDR_MAX, 4);
	im->cmdline_size = (uint32_t)read_at(&c, SETUP_CMDLINE_SIZE, 4);
	im->load = read_at(&c, SETUP_PREF_ADDRESS, 8);
	sects = read_at(&c, SETUP_SECTS, 1);
	im->code_size = PARAGRAPH * read_at(&c, SETUP_SYSSIZE, 4);
	cursor_seek(&c, ((sects ? sects : DEFAULT_SETUP_SECTS) + 1) * SECTOR);
	/* the last paragraph need not be whole: memtest86+ is not padded */
	if (cursor_left(&c) < im->code_size && im->code_size - cursor_left(&c) < PARAGRAPH)
		im->code_size = cursor_left(&c);
	im->code = cursor_take(&c, im->code_size);
	if (!cursor_ok(&c))
		return err_set(
		    e, ERR_CORRUPT, "kernel: file ends before the code that its header promises");
	if (im->code_size <= KERNEL_ENTRY_64 || im->code_size > im->init_size)
		return err_set(e, ERR_CORRUPT, "kernel: %lu bytes of code in %u bytes of memory",
		    im->code_size, im->init_size);
	return OK;
}

/*
 * Where it likes to be and nowhere else: a relocatable kernel that finds itself
 * lower moves up there, higher there is no more memory. Below 4 GiB: that is
 * what our page tables reach.
 */
static int place_kernel(struct image *im, const struct boot_input *p, struct errmsg *e)
{
	if (im->load < MIB || !range_in(im->load, im->init_size, 4 * GIB) ||
	    !e820_is_ram(p->map, p->map_count, im->load, im->init_size))
		return err_set(e, ERR_NOSPACE, "kernel: needs %llu MiB of memory at 0x%lx",
		    ALIGN_UP((uint64_t)im->init_size, MIB) / MIB, im->load);
	return OK;
}

/* Several archives are one initrd, each at a multiple of four bytes, with zeros between them
 * (Linux, Documentation/driver-api/early-userspace/buffer-format.rst). */
static uint64_t next_part(uint64_t end)
{
	return ALIGN_UP(end, 4);
}

/* As high as it may be, to leave the kernel room to move. */
static int place_initrd(struct image *im, const struct boot_input *p, struct errmsg *e)
{
	uint64_t limit = MIN((uint64_t)im->initrd_addr_max + 1, 4 * GIB);
	uint64_t best = 0;

	for (unsigned i = 0; i < p->module_count; i++)
		im->initrd_size = next_part(im->initrd_size) + p->modules[i].size;
	if (!im->initrd_size)
		return OK;
	for (unsigned i = 0; i < p->map_count; i++) {
		uint64_t end = MIN(p->map[i].start + p->map[i].size, limit);
		uint64_t start;

		if (p->map[i].type != E820_RAM || im->initrd_size > end)
			continue;
		start = ALIGN_DOWN(end - im->initrd_size, PAGE_SIZE);
		if (start >= MAX(p->map[i].start, im->load + im->init_size))
			best = MAX(best, start);
	}
	if (!best)
		return err_set(e, ERR_NOSPACE,
		    "initrd: %zu KiB do not fit into the memory above the kernel",
		    (size_t)(im->initrd_size / KIB));
	im->initrd = best;
	return OK;
}

/* Identity mapping of the first 4 GiB in 2 MiB pages. */
static int write_page_tables(struct vm *vm)
{
	uint8_t table[PAGE_SIZE] = {0};
	int err;

	put_le64(table, LOW_PDPT | PTE_P | PTE_W);
	err = gmem_write(vm, gpa(LOW_PML4), table, sizeof(table));
	for (unsigned i = 0; i < 4; i++)
		put_le64(table + 8 * i, (LOW_PD + i * PAGE_SIZE) | PTE_P | PTE_W);
	if (!err)
		err = gmem_write(vm, gpa(LOW_PDPT), table, sizeof(table));
	for (unsigned i = 0; i < 4 && !err; i++) {
		for (uint64_t k = 0; k < 512; k++)
			put_le64(table + 8 * k, (i * GIB + k * SIZE_2M) | PTE_P | PTE_W | PTE_PS);
		err = gmem_write(vm, gpa(LOW_PD + i * PAGE_SIZE), table, sizeof(table));
	}
	return err;
}

/* Flat segments; the same, as the registers hold them, in set_registers(). */
static int write_gdt(struct vm *vm)
{
	uint8_t gdt[4 * 8] = {0};

	put_le64(gdt + BOOT_CS, 0x00af9b000000ffffULL); /* 64-bit code, accessed */
	put_le64(gdt + BOOT_DS, 0x00cf93000000ffffULL); /* data, accessed */
	return gmem_write(vm, gpa(LOW_GDT), gdt, sizeof(gdt));
}

static int write_zero_page(struct vm *vm, const struct image *im, const struct boot_input *p)
{
	uint8_t zp[BP_SIZE] = {0};

	memcpy(zp + BP_SETUP_HEADER, im->header, im->header_len);
	zp[SETUP_TYPE_OF_LOADER] = LOADER_UNDEFINED;
	put_le32(zp + SETUP_CODE32_START, (uint32_t)im->load);
	put_le32(zp + SETUP_RAMDISK_IMAGE, (uint32_t)im->initrd);
	put_le32(zp + SETUP_RAMDISK_SIZE, (uint32_t)im->initrd_size);
	put_le32(zp + SETUP_CMD_LINE_PTR, LOW_CMDLINE);
	put_le64(zp + BP_ACPI_RSDP_ADDR, p->rsdp);
	zp[BP_E820_ENTRIES] = (uint8_t)p->map_count;
	for (unsigned i = 0; i < p->map_count; i++) {
		uint8_t *entry = zp + BP_E820_TABLE + 20 * i;

		put_le64(entry, p->map[i].start);
		put_le64(entry + 8, p->map[i].size);
		put_le32(entry + 16, p->map[i].type);
	}
	return gmem_write(vm, gpa(LOW_ZERO_PAGE), zp, sizeof(zp));
}

static int write_initrd(struct vm *vm, const struct image *im, const struct boot_input *p)
{
	uint64_t at = im->initrd;

	for (unsigned i = 0; i < p->module_count; i++) {
		const struct boot_module *m = &p->modules[i];
		int err = m->size ? gmem_write(vm, gpa(at), m->data, m->size) : OK;

		if (err)
			return err;
		at = next_part(at + m->size);
	}
	return OK;
}

static int write_all(struct vm *vm, const struct image *im, const struct boot_input *p)
{
	int err = gmem_write(vm, gpa(im->load), im->code, im->code_size);

	if (!err)
		err = write_initrd(vm, im, p);
	if (!err)
		err = gmem_write(vm, gpa(LOW_CMDLINE), p->cmdline, strlen(p->cmdline) + 1);
	if (!err)
		err = write_page_tables(vm);
	if (!err)
		err = write_gdt(vm);
	if (!err)
		err = write_zero_page(vm, im, p);
	return err;
}

static void set_registers(struct vcpu_state *s, uint64_t load)
{
	static const struct seg code = {.sel = BOOT_CS,
	    .limit = 0xffffffff,
	    .attr = 0xb | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_L | SEG_ATTR_G};
	static const struct seg data = {.sel = BOOT_DS,
	    .limit = 0xffffffff,
	    .attr = 0x3 | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_DB | SEG_ATTR_G};
	/* none of either was loaded, but a CPU in long mode has a busy TSS */
	static const struct seg tss = {.limit = 0xffff, .attr = 0xb | SEG_ATTR_P};

	memset(s->gpr, 0, sizeof(s->gpr));
	s->gpr[GPR_RSI] = LOW_ZERO_PAGE;
	s->rip = load + KERNEL_ENTRY_64;
	s->rflags = RFLAGS_FIXED;
	for (unsigned i = 0; i < SEG_LDTR; i++)
		s->seg[i] = i == SEG_CS ? code : data;
	s->seg[SEG_LDTR] = (struct seg){0};
	s->seg[SEG_TR] = tss;
	s->gdtr = (struct desc_table){.base = LOW_GDT, .limit = 4 * 8 - 1};
	s->idtr = (struct desc_table){0};
	s->cpl = 0;
	s->cr0 = CR0_PE | CR0_ET | CR0_PG;
	s->cr3 = LOW_PML4;
	s->cr4 = CR4_PAE;
	s->efer = EFER_LME | EFER_LMA;
	s->activity = ACTIVITY_RUNNING;
}

int boot_linux_load(
    struct vm *vm, const struct boot_input *p, struct vcpu_state *bsp, struct errmsg *e)
{
	struct image im = {0};
	int err = read_image(p, &im, e);

	if (err)
		return err;
	if (strlen(p->cmdline) > MIN(im.cmdline_size, LOW_CMDLINE_MAX - 1U))
		return err_set(e, ERR_RANGE, "command line: longer than the kernel's %u characters",
		    im.cmdline_size);
	if (p->map_count > E820_MAX)
		return err_set(e, ERR_RANGE, "memory map: more than %d entries", E820_MAX);
	err = place_kernel(&im, p, e);
	if (!err)
		err = place_initrd(&im, p, e);
	if (err)
		return err;
	err = write_all(vm, &im, p);
	if (err)
		return err_set(e, err, "kernel: cannot write guest memory: %s", error_text(err));
	set_registers(bsp, im.load);
	return OK;
}
