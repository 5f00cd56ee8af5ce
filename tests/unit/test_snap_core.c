/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * amber-snap core: an ELF file that readelf and gdb read, with the registers and the memory that
 * were saved; page tables of any content end the walk.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hv/arch/x86/vcpu_state.h"
#include "hv/core/memmap.h"
#include "hv/lib/cursor.h"
#include "hv/mm/mm.h"
#include "tests/unit/snap_tool.h"

enum { BLOCKS = 4096, P = 1, PS = 0x80, LOW = 64 << 10, MESS = 4 << 20 };
#define HIGH	    (2 * MIB) /* RAM above 4 GiB */
#define MEMORY	    (MEMMAP_LOW_RAM_MAX + HIGH)
#define KERNEL_RIP  0xffffffff81200123ULL
#define SECOND_RIP  0x1234567890abULL
#define TABLE(p, i) ((p) + (i)*8)

static uint8_t low[LOW], mess[MESS];

enum paging { OFF, LEVELS4, PAE, BITS32 };

static void set_paging(struct vcpu_state *s, enum paging paging)
{
	s->cr0 |= CR0_PE | (paging ? CR0_PG : 0);
	s->cr3 = paging == BITS32 ? 0xd000 : 0x2000;
	s->cr4 = paging == BITS32 ? CR4_PSE : CR4_PAE;
	s->efer = paging == PAE || paging == BITS32 ? 0 : EFER_LME | EFER_LMA;
	s->pdpte[1] = 0xb000; /* not present */
	s->pdpte[3] = 0xb000 | P;
}

static void put_vcpu(struct state_writer *w, const char *name, uint64_t rip, enum paging paging)
{
	struct vcpu_state *s = heap_zalloc(sizeof(*s));

	assert_non_null(s);
	vcpu_state_reset(s, 0, true);
	s->gpr[GPR_RAX] = 0x1122334455667788;
	s->gpr[GPR_R15] = 0x15;
	s->gpr[GPR_RSP] = 0xffffffff81200010;
	s->rip = rip;
	s->cr2 = 0xc2c2;
	set_paging(s, paging);
	s->idtr.base = 0xfffffe0000000000;
	s->seg[SEG_GS].base = 0xffff888000001000;
	sw_begin(w, name);
	sw_fields(w, vcpu_state_fields, s);
	sw_end(w);
	heap_free(s);
}

struct piece {
	uint64_t at;
	const uint8_t *data;
	uint64_t len;
};

static void save(struct store *s, const char *name, uint64_t memory, unsigned vcpus,
    enum paging paging, const struct piece *ram, unsigned n)
{
	struct snap_params p = {.name = name, .vm = "web", .memory = memory};
	struct state_writer w;
	struct snap_writer *sw;
	struct errmsg e;
	size_t size;
	void *fdt;

	sw_init(&w, heap_grow);
	sw_begin(&w, "vcpus");
	if (vcpus > 0)
		put_vcpu(&w, "vcpu0", KERNEL_RIP, paging);
	if (vcpus > 1)
		put_vcpu(&w, "vcpu1", SECOND_RIP, OFF);
	sw_end(&w);
	sw_begin(&w, "config");
	sw_begin(&w, "boot");
	sw_string(&w, "method", strcmp(name, "firmware") == 0 ? "firmware" : "linux");
	sw_end(&w);
	sw_end(&w);
	assert_int_equal(sw_encode(&w, &fdt, &size, NULL), OK);
	heap_free(w.buf);
	assert_int_equal(snap_writer_begin(s, &p, &sw, &e), OK);
	assert_int_equal(snap_writer_state(sw, fdt, size, &e), OK);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(
		    snap_writer_ram(sw, gpa(ram[i].at), ram[i].data, ram[i].len, &e), OK);
	assert_int_equal(snap_writer_commit(sw, NULL, &e), OK);
	heap_free(fdt);
}

/* Four-level tables with every kind of entry that the walk has to get right. */
static void make_tables(void)
{
	uint8_t *pml4 = low + 0x2000, *pdpt = low + 0x3000, *pd = low + 0x4000, *pt = low + 0x5000;

	put_le64(TABLE(pml4, 0), 0x2000 | P);	 /* itself */
	put_le64(TABLE(pml4, 1), 0x3000 | P);	 /* what 511 has: kept there only */
	put_le64(TABLE(pml4, 2), 0xfff0000 | P); /* a table of zeros */
	put_le64(TABLE(pml4, 511), 0x3000 | P);
	put_le64(TABLE(pdpt, 507), 0xd0000000 | P);	  /* a table where there is no RAM */
	put_le64(TABLE(pdpt, 508), 0x100000000 | PS | P); /* 1 GiB, of which 2 MiB are RAM */
	put_le64(TABLE(pdpt, 509), 0x80000000 | PS | P);  /* of which 768 MiB are */
	put_le64(TABLE(pdpt, 510), 0x4000 | P);
	put_le64(TABLE(pdpt, 511), 0xc0000000 | PS | P); /* nothing */
	put_le64(TABLE(pd, 8), 0x200000 | PS | P);
	put_le64(TABLE(pd, 9), 0x5000 | P);
	put_le64(TABLE(pt, 0), 0x6000 | P);
	put_le64(TABLE(pt, 1), 0x7000 | P | BIT(63));
	put_le64(TABLE(pt, 2), 0x9000 | P);
	put_le64(TABLE(pt, 3), 0xa000); /* not present */
	memcpy(low + 0x6010, "guest memory", 13);
}

/* The other two modes: large and small pages, and memory above 4 GiB. */
static void make_old_tables(void)
{
	put_le64(TABLE(low + 0xb000, 0), 0x200000 | PS | P);
	put_le64(TABLE(low + 0xb000, 1), 0x100000000 | PS | P);
	put_le64(TABLE(low + 0xb000, 2), 0xc000 | P);
	put_le64(TABLE(low + 0xc000, 511), 0x6000 | P);
	put_le32(low + 0xd000 + 768 * 4, 0x400000 | PS | P);
	put_le32(low + 0xd000 + 769 * 4, 0xe000 | P);
	put_le32(low + 0xd000 + 770 * 4, BIT(13) | PS | P); /* 4 MiB at 4 GiB: 2 are RAM */
	put_le32(low + 0xe000 + 1023 * 4, 0x6000 | P);
}

/* Every page is a table, full of entries that lead to any other. */
static void make_mess(void)
{
	uint64_t seed = 7;

	for (size_t i = 0; i < MESS; i += 8)
		put_le64(mess + i, (uint64_t)(fake_random(&seed) % (MESS >> 12)) << 12 | P);
}

static int setup(void **state)
{
	static uint8_t high[8192];
	const struct piece ram[] = {{0, low, LOW}, {MEMMAP_HIGH_RAM, high, sizeof(high)}};
	const struct piece mess_ram[] = {{0, mess, MESS}};
	const struct piece rom[] = {{0, low, LOW},
	    {MEMMAP_HIGH_RAM - 4096, (const uint8_t *)"the reset vector", 17},
	    {MEMMAP_HIGH_RAM, high, sizeof(high)}};
	struct mem_disk d;
	struct errmsg e;
	struct store *s;

	if (!mkdtemp(dir))
		return 1;
	make_tables();
	make_old_tables();
	make_mess();
	memcpy(high + 4096, "high memory", 12);
	mem_disk_init(&d, BLOCKS, false);
	assert_int_equal(store_format(&d.io, (const uint8_t *)"store of a tool.", &e), OK);
	assert_int_equal(store_open(&d.io, true, &s, &e), OK);
	save(s, "good", MEMORY, 2, LEVELS4, ram, 2);
	save(s, "mess", MESS, 1, LEVELS4, mess_ram, 1);
	save(s, "off", MEMORY, 2, OFF, ram, 2);
	save(s, "outside", MEMMAP_LOW_RAM_MAX, 1, LEVELS4, ram, 2);
	save(s, "headless", MEMORY, 0, LEVELS4, ram, 2);
	save(s, "firmware", MEMORY, 1, LEVELS4, rom, 3);
	save(s, "rom", MEMORY, 1, LEVELS4, rom, 3); /* of a machine that has none */
	save(s, "pae", MEMORY, 1, PAE, ram, 2);
	save(s, "bits32", MEMORY, 1, BITS32, ram, 2);
	store_close(s);
	write_file("store", d.data, (size_t)BLOCKS * STORE_BLOCK, 0, "w");
	mem_disk_free(&d);
	return 0;
}

static void test_headers(void **state)
{
	expect("amber-snap store core good c", 0, "c: 2 vCPUs, 2818 MiB\n");
	expect("stat -c %a c", 0, "600\n");
	/* 2.75 GiB, of which hardly anything is there */
	expect("(($(stat -c %s c) > 2818 << 20 && $(du -k c | cut -f1) < 256))", 0, "");
	expect("readelf -hW c", 0, "CORE (Core file)");
	assert_non_null(strstr(out, "X86-64"));
	expect("readelf -lW c | awk '$1 == \"LOAD\" {print $3, $4, $5, $6}'", 0,
	    "0x0000000000000000 0x0000000000000000 0xb0000000 0xb0000000\n"
	    "0x0000000000000000 0x0000000100000000 0x200000 0x200000\n");
	expect("readelf -nW c | awk '$1 == \"CORE\" || $1 == \"QEMU\" {print $1, $2, $3}'", 0,
	    "CORE 0x00000150 NT_PRSTATUS\nCORE 0x00000200 NT_FPREGSET\nQEMU 0x000001b8 Unknown\n"
	    "CORE 0x00000150 NT_PRSTATUS\nCORE 0x00000200 NT_FPREGSET\nQEMU 0x000001b8 Unknown\n");
	expect("amber-snap --json store core good j", 0,
	    "{\"ok\":true,\"vcpus\":2,\"memory_bytes\":2954887168,\"mappings\":0,\"cut\":false}\n");
	expect("cmp c j", 0, "");
}

/* A machine that firmware starts has its ROM in it. */
static void test_firmware(void **state)
{
	expect("amber-snap store core firmware f", 0, "f: 1 vCPU");
	expect("readelf -lW f | awk '$1 == \"LOAD\" {print $4, $5}'", 0,
	    "0x0000000000000000 0xb0000000\n0x00000000ff800000 0x800000\n"
	    "0x0000000100000000 0x200000\n");
	expect("grep -c 'the reset vector' f", 0, "1\n");
	expect("amber-snap store core rom y; s=$?; test ! -e y && exit $s", 1,
	    "ram: chunk 0xfffff000: the machine has no RAM there");
}

/* QEMU's note by its offsets: what crash looks for. */
static void test_qemu_note(void **state)
{
	expect(
	    "cat > note.py <<'END'\n"
	    "import struct\n"
	    "f = open('c', 'rb').read(65536)\n"
	    "at = f.index(b'QEMU\\0') + 8\n"
	    "print(struct.unpack_from('<2I', f, at), hex(struct.unpack_from('<Q', f, at + 8)[0]))\n"
	    "cr = [hex(v) for v in struct.unpack_from('<5Q', f, at + 392)]\n"
	    "idt = struct.unpack_from('<4IQ', f, at + 152 + 9 * 24)\n"
	    "gs = struct.unpack_from('<4IQ', f, at + 152 + 4 * 24)\n"
	    "print(cr, hex(idt[4]), hex(gs[4]))\n"
	    "END\n"
	    "python3 note.py",
	    0,
	    "(1, 440) 0x1122334455667788\n"
	    "['0xe0000011', '0x0', '0xc2c2', '0x2000', '0x20'] 0xfffffe0000000000 "
	    "0xffff888000001000\n");
}

static void test_paging(void **state)
{
	expect("amber-snap store core good p --paging", 0, "p: 2 vCPUs, 2818 MiB, 5 mappings\n");
	expect("readelf -lW p | awk '$1 == \"LOAD\" {print $3, $4, $5}'", 0,
	    "0x1000000000000000 0x0000000000000000 0xb0000000\n"
	    "0x1000000100000000 0x0000000100000000 0x200000\n"
	    "0xffffffff00000000 0x0000000100000000 0x200000\n"
	    "0xffffffff40000000 0x0000000080000000 0x30000000\n"
	    "0xffffffff81000000 0x0000000000200000 0x200000\n"
	    "0xffffffff81200000 0x0000000000006000 0x002000\n"
	    "0xffffffff81202000 0x0000000000009000 0x001000\n");
	expect("amber-snap store core pae pp --paging && "
	       "readelf -lW pp | awk '$1 == \"LOAD\" && $3 ~ /^0x0/ {print $3, $4, $5}'",
	    0,
	    "3 mappings\n0x00000000c0000000 0x0000000000200000 0x200000\n"
	    "0x00000000c0200000 0x0000000100000000 0x200000\n"
	    "0x00000000c05ff000 0x0000000000006000 0x001000\n");
	expect("amber-snap store core bits32 p32 --paging && "
	       "readelf -lW p32 | awk '$1 == \"LOAD\" && $3 ~ /^0x0/ {print $3, $4, $5}'",
	    0,
	    "3 mappings\n0x00000000c0000000 0x0000000000400000 0x400000\n"
	    "0x00000000c07ff000 0x0000000000006000 0x001000\n"
	    "0x00000000c0800000 0x0000000100000000 0x200000\n");
	/* a table that was reached once is not read again: it ends, and within the bound */
	expect(
	    "timeout 20 $TOOL store core mess m --paging", 0, "60000 mappings; more did not fit");
	expect("readelf -hW m", 0, "Number of program headers:         60002");
}

static void test_gdb(void **state)
{
	expect("amber-snap store core good g --paging && gdb -nx -batch -ex 'info threads' "
	       "-ex 'p/x $rip' -ex 'p/x $rax' -ex 'p/x $gs_base' -ex 'x/s 0xffffffff81200010' "
	       "-ex 'x/s $rsp' -ex 'x/s 0x1000000100001000' -ex 'thread 2' -ex 'p/x $rip' "
	       "-ex 'p/x $r15' -c g",
	    0, "LWP 2");
	assert_non_null(strstr(out, "$1 = 0xffffffff81200123\n$2 = 0x1122334455667788\n"
				    "$3 = 0xffff888000001000\n"));
	assert_non_null(strstr(out, "0xffffffff81200010:\t\"guest memory\"\n"
				    "0xffffffff81200010:\t\"guest memory\"\n"));
	assert_non_null(strstr(out, "0x1000000100001000:\t\"high memory\"\n"));
	assert_non_null(strstr(out, "$4 = 0x1234567890ab\n$5 = 0x15\n"));
	expect("gdb -nx -batch -ex 'x/s 0x6010' -c c", 0, "0x6010:\t\"guest memory\"\n");
}

static void test_refusals(void **state)
{
	expect(
	    "echo mine > taken; amber-snap store core good taken", 1, "error: taken: File exists");
	expect("cat taken", 0, "mine");
	expect("amber-snap store core off x --paging; s=$?; test ! -e x && exit $s", 1,
	    "error: vcpu0: paging is off");
	expect("amber-snap store core off x", 0, "2 vCPUs");
	expect("amber-snap store core outside y; s=$?; test ! -e y && exit $s", 1,
	    "error: snapshot 'outside': ram: chunk 0x100000000: the machine has no RAM there");
	expect("amber-snap store core headless y; s=$?; test ! -e y && exit $s", 1,
	    "error: snapshot 'headless': record vcpus/vcpu0 is missing");
	expect("amber-snap store core nobody y", 1, "error: snapshot 'nobody': not found");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_headers),
	    cmocka_unit_test(test_firmware),
	    cmocka_unit_test(test_qemu_note),
	    cmocka_unit_test(test_paging),
	    cmocka_unit_test(test_gdb),
	    cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
