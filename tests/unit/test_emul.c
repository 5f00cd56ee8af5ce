/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Promises of the instruction emulator that comparison with another executor
 * does not show: device memory, faults and their order, restarts,
 * segmentation, locked operations against other CPUs, the stack, single steps.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/test_emul_run.h"

/* --- device memory -------------------------------------------------------------- */

static void mov_to_device(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RBX) = RIG_DEVICE;
	*gpr(GPR_RAX) = 0x1122334455667788;
	CODE(0x89, 0x43, 0x10); /* mov %eax, 0x10(%rbx) */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.s.rip, RIG_CODE + 3);
	assert_int_equal(rig.e.insn_len, 3);
	assert_int_equal(rig.e.event.type, EVENT_NONE);
	assert_int_equal(device_accesses(), 1);
	assert_int_equal(device_access(0)->what, RIG_WRITE);
	assert_int_equal(device_access(0)->addr, RIG_DEVICE + 0x10);
	assert_int_equal(device_access(0)->len, 4);
	assert_memory_equal(rig.device + 0x10, "\x88\x77\x66\x55\0", 5);
}

static void mov_from_device(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RBX) = RIG_DEVICE;
	*gpr(GPR_RAX) = ~0ULL;
	memcpy(rig.device, "\x01\x82\x03\x04\x05\x06\x07\x88", 8);
	CODE(0x8b, 0x03); /* 32 bits: zero-extended */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RAX), 0x04038201);
	CODE(0x8a, 0x63, 0x01); /* mov 1(%rbx), %ah */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RAX), 0x04038201);
	CODE(0x48, 0x0f, 0xbe, 0x43, 0x01); /* movsbq */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RAX), 0xffffffffffffff82);
	CODE(0x48, 0x0f, 0x38, 0xf0, 0x03); /* movbe */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RAX), 0x0182030405060788);
	assert_int_equal(device_accesses(), 1);
	assert_int_equal(device_access(0)->len, 8);
}

static void bus_error_reads_ones(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RBX) = 0x100000; /* nothing there */
	CODE(0x66, 0x8b, 0x03);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RAX), 0xffff);
	CODE(0x89, 0x03);
	assert_int_equal(run(), EMUL_OK);
}

static void read_modify_write_device(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RBX) = RIG_DEVICE;
	rig.device[0] = 0x0f;
	CODE(0x80, 0x0b, 0x30); /* orb $0x30, (%rbx) */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.device[0], 0x3f);
	assert_int_equal(device_accesses(), 2);
	CODE(0xf0, 0x80, 0x23, 0x0c); /* lock andb: devices know no locks */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.device[0], 0x0c);
	CODE(0xf6, 0x03, 0x08); /* testb: reads only */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(device_accesses(), 1);
	assert_int_equal(rig.s.rflags & RFLAGS_ZF, 0);
}

static void no_operations(void **state)
{
	static const uint8_t nops[][4] = {
	    {0x0f, 0x1f, 0x03}, {0x0f, 0x18, 0x0b}, {0x0f, 0x0d, 0x0b}, {0x0f, 0xae, 0x3b}};

	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(nops); n++) {
		rig_init(&rig, 64);
		*gpr(GPR_RBX) = RIG_DEVICE;
		rig_code(&rig, nops[n], 4);
		assert_int_equal(run(), EMUL_OK);
		assert_int_equal(rig.s.rip, RIG_CODE + 3);
		assert_int_equal(device_accesses(), 0);
	}
}

static void not_in_the_table(void **state)
{
	static const uint8_t codes[][4] = {
	    {0x0f, 0xa2},	      /* CPUID */
	    {0x0f, 0x58, 0x03},	      /* ADDPS */
	    {0x0f, 0x10, 0xc3},	      /* MOVUPS of a register */
	    {0xc5, 0xf8, 0x58, 0x03}, /* VADDPS */
	    {0x0f, 0x0b},	      /* UD2 */
	    {0x06},		      /* not in 64-bit mode */
	    {0xf2, 0x0f, 0x38, 0xf1}, /* CRC32, not MOVBE */
	};
	static struct vcpu_state before;

	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(codes); n++) {
		rig_init(&rig, 64);
		rig_code(&rig, codes[n], 4);
		before = rig.s;
		assert_int_equal(run(), EMUL_UNHANDLED);
		assert_memory_equal(&before, &rig.s, sizeof(before));
	}
}

/* What hardware has translated is not walked again; what it has not, is. */
static void fault_address_saves_the_walk(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RBX) = 0x7f0000000020; /* not mapped by the tables: only hardware knows */
	*gpr(GPR_RAX) = 0x5a;
	CODE(0x88, 0x43, 0x04);
	rig.e.insn_bytes = 0;
	assert_int_equal(emulate_mmio(&rig.e, gpa(RIG_DEVICE + 0x24), true), EMUL_OK);
	assert_int_equal(rig.device[0x24], 0x5a);
	/* a read was reported: the right to write has to be found out */
	rig.s.rip = RIG_CODE;
	CODE(0x00, 0x43, 0x04);
	assert_int_equal(emulate_mmio(&rig.e, gpa(RIG_DEVICE + 0x24), false), EMUL_EXCEPTION);
	assert_int_equal(rig.e.event.vector, VEC_PF);
	/* another offset in the page: not this access */
	assert_int_equal(emulate_mmio(&rig.e, gpa(RIG_DEVICE + 0x20), true), EMUL_EXCEPTION);
	assert_int_equal(rig.e.cr2, 0x7f0000000024);
}

/* --- fetching ------------------------------------------------------------------- */

static void fetch_across_pages(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	rig.s.rip = RIG_CODE + 0xffe;
	*gpr(GPR_RBX) = RIG_DATA;
	CODE(0xc6, 0x43, 0x01, 0x5a); /* movb $0x5a, 1(%rbx) */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.mem[RIG_DATA + 1], 0x5a);
	assert_int_equal(rig.s.rip, RIG_CODE + 0x1002);
	/* an instruction that ends before the page's end does not touch the next one */
	rig.s.rip = RIG_CODE + 0xffe;
	CODE(0x88, 0x03);
	assert_int_equal(run(), EMUL_OK);
	for (unsigned n = 0; n < rig.logged; n++)
		assert_true(rig.log[n].addr != RIG_CODE + 0x1000);
}

static void fetch_faults(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	rig.s.rip =
	    0x3fffffff; /* the last byte that is mapped reads as FF, which wants a ModRM byte */
	expect_exception(VEC_PF, true, PF_I);
	assert_int_equal(rig.e.cr2, 0x40000000);
}

static void fetch_limits(void **state)
{
	(void)state;
	rig_init(&rig, 32);
	rig.s.seg[SEG_CS].limit = RIG_CODE + 1;
	CODE(0x88, 0x05, 0, 0, 1, 0);
	expect_exception(VEC_GP, true, 0);
	CODE(0x88, 0xc3);
	assert_int_equal(run(), EMUL_OK);
	expect_exception(VEC_GP, true, 0);
	rig_init(&rig, 64);
	rig.s.rip = 0x7fffffffffff;
	rig.s.cr3 = RIG_PML4;
	expect_exception(VEC_PF, true, PF_I);
	rig.s.rip = BIT(47);
	expect_exception(VEC_GP, true, 0);
	/* fifteen bytes and no more */
	rig_init(&rig, 64);
	CODE(0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x88,
	    0xc3);
	assert_int_equal(run(), EMUL_OK);
	rig.s.rip = RIG_CODE;
	CODE(0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
	    0x88, 0xc3);
	expect_exception(VEC_GP, true, 0);
}

static void bytes_from_hardware(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RBX) = RIG_DATA;
	memcpy(rig.e.insn, "\xc6\x03\x77", 3);
	rig.e.insn_bytes = 3;
	rig.logged = 0;
	assert_int_equal(emulate(&rig.e), EMUL_OK);
	assert_int_equal(rig.mem[RIG_DATA], 0x77);
	for (unsigned n = 0; n < rig.logged; n++)
		assert_true(rig.log[n].addr != RIG_CODE);
	/* too few: the rest is fetched */
	rig.s.rip = RIG_CODE;
	CODE(0xc6, 0x03, 0x78);
	rig.e.insn_bytes = 1;
	assert_int_equal(emulate(&rig.e), EMUL_OK);
	assert_int_equal(rig.mem[RIG_DATA], 0x78);
}

/* --- faults and their order ----------------------------------------------------- */

static void page_faults(void **state)
{
	uint64_t entry = 0;

	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RBX) = 0x40000123;
	CODE(0x01, 0x03); /* add: read and write, so the fault is a write's */
	expect_exception(VEC_PF, true, PF_W);
	assert_int_equal(rig.e.cr2, 0x40000123);
	CODE(0x03, 0x03);
	expect_exception(VEC_PF, true, 0);
	/* across pages: the address is the second page's, and nothing was written */
	*gpr(GPR_RBX) = 0x3ffffffe;
	CODE(0x89, 0x03);
	expect_exception(VEC_PF, true, PF_W);
	assert_int_equal(rig.e.cr2, 0x40000000);
	assert_int_equal(count(RIG_WRITE), 0);
	/* at CPL 3 */
	rig.s.cpl = 3;
	entry = 0xe3; /* supervisor page */
	memcpy(rig.mem + RIG_PDPT, &entry, 8);
	rig.e.insn_bytes = 2;
	memcpy(rig.e.insn, "\x89\x03", 2);
	*gpr(GPR_RBX) = RIG_DATA;
	assert_int_equal(emulate(&rig.e), EMUL_EXCEPTION);
	assert_int_equal(rig.e.event.error_code, PF_P | PF_W | PF_U);
}

static void non_canonical(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RBX) = BIT(47);
	*gpr(GPR_RBP) = BIT(47);
	CODE(0x89, 0x03);
	expect_exception(VEC_GP, true, 0);
	CODE(0x89, 0x45, 0x00); /* through rBP: the stack segment */
	expect_exception(VEC_SS, true, 0);
	*gpr(GPR_RBX) = BIT(47) - 2; /* the last byte counts */
	CODE(0x89, 0x03);
	expect_exception(VEC_GP, true, 0);
}

static void alignment_check(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RBX) = RIG_DATA + 1;
	CODE(0x89, 0x03);
	rig.s.cr0 |= CR0_AM;
	rig.s.rflags |= RFLAGS_AC;
	assert_int_equal(run(), EMUL_OK); /* not at CPL 0 */
	rig.s.rip = RIG_CODE;
	rig.s.cpl = 3;
	expect_exception(VEC_AC, true, 0);
	*gpr(GPR_RBX) = 0x40000001; /* before the page fault */
	expect_exception(VEC_AC, true, 0);
	CODE(0x88, 0x03);
	expect_exception(VEC_PF, true, PF_W | PF_U);
}

static void segment_checks(void **state)
{
	struct seg *ds = &rig.s.seg[SEG_DS];

	(void)state;
	rig_init(&rig, 32);
	*gpr(GPR_RBX) = 0x1000;
	CODE(0x89, 0x03);
	*ds = (struct seg){.base = RIG_DATA, .limit = 0x1002, .attr = 0x493};
	expect_exception(VEC_GP, true, 0);
	ds->limit = 0x1003;
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(count(RIG_WRITE), 1);
	rig.s.rip = RIG_CODE;
	ds->attr = 0x491; /* read-only */
	expect_exception(VEC_GP, true, 0);
	ds->attr = 0x49b; /* code */
	expect_exception(VEC_GP, true, 0);
	ds->attr = 0; /* null */
	expect_exception(VEC_GP, true, 0);
	ds->attr = 0x497; /* expand down: what is above the limit */
	ds->limit = 0x1000;
	expect_exception(VEC_GP, true, 0);
	ds->limit = 0xfff;
	assert_int_equal(run(), EMUL_OK);
	rig.s.rip = RIG_CODE;
	ds->attr = 0x97; /* 16-bit: up to FFFF */
	*gpr(GPR_RBX) = 0xfffd;
	expect_exception(VEC_GP, true, 0);
	*gpr(GPR_RBX) = 0xfffc;
	assert_int_equal(run(), EMUL_OK);
	CODE(0x2e, 0x8b, 0x03); /* execute-only code cannot be read */
	rig.s.seg[SEG_CS].attr = 0xc99;
	expect_exception(VEC_GP, true, 0);
}

static void real_mode(void **state)
{
	(void)state;
	rig_init(&rig, 16);
	rig_segment(&rig.s, SEG_DS, RIG_DATA, 0x93);
	*gpr(GPR_RBX) = 0xfff;
	*gpr(GPR_RAX) = 0x1234;
	CODE(0xa3, 0x10, 0x00); /* mov %ax, 0x10 */
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.mem + RIG_DATA + 0x10, "\x34\x12", 2);
	/* across the segment's end: #GP without an error code */
	CODE(0xa3, 0xff, 0xff);
	expect_exception(VEC_GP, false, 0);
	/* writes through CS are fine here */
	CODE(0x2e, 0xa3, 0x10, 0x00);
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.mem + 0x10, "\x34\x12", 2);
}

static void lock_prefix(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RBX) = RIG_DATA;
	CODE(0xf0, 0x89, 0x03); /* MOV takes no LOCK */
	expect_exception(VEC_UD, false, 0);
	CODE(0xf0, 0x01, 0xc3); /* nor a register */
	expect_exception(VEC_UD, false, 0);
	CODE(0xf0, 0x03, 0x03); /* nor a memory source */
	expect_exception(VEC_UD, false, 0);
	CODE(0xf0, 0x39, 0x03); /* nor what is only read */
	expect_exception(VEC_UD, false, 0);
	CODE(0xf0, 0x01, 0x03);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(count(RIG_CMPXCHG), 1);
	assert_int_equal(count(RIG_WRITE), 0);
}

/* --- other CPUs ----------------------------------------------------------------- */

static unsigned races;

static void bump(struct rig *r, uint64_t addr)
{
	if (races && races--)
		r->mem[addr]++;
}

static void locked_operations_lose_nothing(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RBX) = RIG_DATA;
	*gpr(GPR_RAX) = 0x10;
	rig.race = bump;
	races = 3;
	CODE(0xf0, 0x01, 0x03);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.mem[RIG_DATA], 0x13);
	/* XCHG is atomic without being asked; XADD returns what it replaced */
	races = 1;
	CODE(0x87, 0x03);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RAX), 0x14);
	assert_int_equal(rig.mem[RIG_DATA], 0x10);
	races = 2;
	CODE(0xf0, 0x0f, 0xc1, 0x03);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RAX), 0x12);
	assert_int_equal(rig.mem[RIG_DATA], 0x26);
	/* another CPU that never stops does not hold us for ever */
	rig.s.rip = RIG_CODE;
	CODE(0xf0, 0xff, 0x03);
	races = ~0u;
	assert_int_equal(run(), EMUL_RETRY);
	assert_int_equal(rig.s.rip, RIG_CODE);
}

static void compare_exchange(void **state)
{
	static const uint64_t pair[2] = {0x1111111122222222, 0x3333333344444444};

	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RDI) = RIG_DATA;
	memcpy(rig.mem + RIG_DATA, pair, 16);
	CODE(0xf0, 0x48, 0x0f, 0xc7, 0x0f); /* lock cmpxchg16b */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.s.rflags & RFLAGS_ZF, 0);
	assert_int_equal(*gpr(GPR_RAX), pair[0]);
	assert_int_equal(*gpr(GPR_RDX), pair[1]);
	rig.s.rip = RIG_CODE;
	*gpr(GPR_RBX) = 7;
	*gpr(GPR_RCX) = 8;
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.s.rflags & RFLAGS_ZF, RFLAGS_ZF);
	assert_int_equal(rig.mem[RIG_DATA], 7);
	assert_int_equal(rig.mem[RIG_DATA + 8], 8);
	rig.s.rip = RIG_CODE;
	*gpr(GPR_RDI) = RIG_DATA + 8; /* 16 bytes must be aligned */
	expect_exception(VEC_GP, true, 0);
	CODE(0x0f, 0xc7, 0x0f, 0x90, 0x90);
	assert_int_equal(run(), EMUL_OK);
	CODE(0x0f, 0xc7, 0xcf); /* a register: not this instruction */
	assert_int_equal(run(), EMUL_UNHANDLED);
}

/* --- abandoned instructions ----------------------------------------------------- */

/* Whatever access has to wait, the instruction leaves no trace, and the next attempt succeeds. */
static void retry_everywhere(const uint8_t *code, size_t len)
{
	static struct vcpu_state before;
	static uint8_t memory[RIG_MEM];
	enum emul_result r;

	for (int n = 0;; n++) {
		rig_init(&rig, 64);
		rig.s.seg[SEG_TR].limit = 0xffff;
		*gpr(GPR_RBX) = RIG_DATA + 0xffe;
		*gpr(GPR_RSI) = RIG_DATA + 0x100;
		*gpr(GPR_RDI) = RIG_DATA + 0x1000;
		*gpr(GPR_RSP) = RIG_DATA + 0x2000;
		rig_code(&rig, code, len);
		rig.retry_at = n;
		before = rig.s;
		memcpy(memory, rig.mem, RIG_MEM);
		r = run();
		if (r != EMUL_RETRY)
			break;
		assert_memory_equal(&before, &rig.s, sizeof(before));
		rig.retry_at = -1;
		assert_int_equal(run(), EMUL_OK);
	}
	assert_int_equal(r, EMUL_OK);
}

static void retries_leave_no_trace(void **state)
{
	static const uint8_t codes[][8] = {{0x89, 0x03}, {0x8b, 0x03}, {0x01, 0x03},
	    {0xf0, 0x01, 0x03}, {0x87, 0x03}, {0xf0, 0x0f, 0xc1, 0x03}, {0x0f, 0xc7, 0x0e},
	    {0xf0, 0x48, 0x0f, 0xc7, 0x0e}, {0xff, 0x33}, {0x8f, 0x03}, {0x50}, {0x58}, {0xa4},
	    {0xa5}, {0xa6}, {0xaa}, {0xac}, {0xae}, {0x6c}, {0x6d}, {0x6e}, {0xec}, {0xee},
	    {0x0f, 0xab, 0x03}, {0xff, 0x13}, {0xff, 0x23}, {0xd7}, {0x0f, 0x01, 0x23},
	    {0xf7, 0x23}, {0x0f, 0x44, 0x03}, {0x0f, 0x94, 0x03}, {0x0f, 0xa5, 0x03}, {0xc3},
	    {0xc8, 0x10}, {0xc9}};

	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(codes); n++)
		retry_everywhere(codes[n], 8);
}

/* --- the stack ------------------------------------------------------------------ */

static void push_and_pop(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RSP) = RIG_DATA + 0x100;
	*gpr(GPR_RBX) = RIG_DEVICE;
	memcpy(rig.device, "abcdefgh", 8);
	CODE(0xff, 0x33);
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.mem + RIG_DATA + 0xf8, "abcdefgh", 8);
	assert_int_equal(*gpr(GPR_RSP), RIG_DATA + 0xf8);
	CODE(0x8f, 0x43, 0x10);
	assert_int_equal(run(), EMUL_OK);
	assert_memory_equal(rig.device + 0x10, "abcdefgh", 8);
	/* a stack fault comes before the device is read */
	*gpr(GPR_RSP) = 0x40000008;
	CODE(0xff, 0x33);
	expect_exception(VEC_PF, true, PF_W);
	assert_int_equal(device_accesses(), 0);
	/* a 16-bit stack wraps within its segment */
	rig_init(&rig, 32);
	rig.s.seg[SEG_SS].attr = 0x93;
	rig.s.seg[SEG_SS].limit = 0xffff;
	rig.s.seg[SEG_SS].base = RIG_DATA;
	*gpr(GPR_RSP) = 0x12340002;
	CODE(0x66, 0x50, 0x50);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RSP), 0x12340000);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RSP), 0x1234fffc);
}

/* The kernel's stack is a device's memory, as public test kernels try. */
static void frames_in_a_device(void **state)
{
	uint64_t value = RIG_CODE + 0x40;

	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RSP) = RIG_DEVICE + 0x100;
	*gpr(GPR_RBP) = 0x1122334455667788;
	CODE(0xc8, 0x30, 0, 0, 0xc9, 0xc3); /* enter $0x30, $0; leave; ret */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RBP), RIG_DEVICE + 0xf8);
	assert_int_equal(*gpr(GPR_RSP), RIG_DEVICE + 0xc8);
	assert_memory_equal(rig.device + 0xf8, "\x88\x77\x66\x55\x44\x33\x22\x11", 8);
	assert_int_equal(device_accesses(), 1); /* the end of the frame is not touched */
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RBP), 0x1122334455667788);
	assert_int_equal(*gpr(GPR_RSP), RIG_DEVICE + 0x100);
	memcpy(rig.device + 0x100, &value, 8);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.s.rip, value);
	assert_int_equal(*gpr(GPR_RSP), RIG_DEVICE + 0x108);
	/* nowhere to return to, */
	rig.s.rip = RIG_CODE + 5;
	rig.device[0x108 + 6] = 1;
	expect_exception(VEC_GP, true, 0);
	/* no room for the frame, though there is for what is pushed */
	rig.s.rip = RIG_CODE;
	CODE(0xc8, 0xff, 0xff, 0);
	*gpr(GPR_RSP) = 0x5000;
	expect_exception(VEC_PF, true, PF_W);
	assert_int_equal(count(RIG_WRITE), 0);
	/* and RET n counts without a sign */
	rig_init(&rig, 32);
	*gpr(GPR_RSP) = RIG_DEVICE + 0x100;
	memcpy(rig.device + 0x100, &value, 4);
	CODE(0xc2, 0x04, 0x80);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(*gpr(GPR_RSP), RIG_DEVICE + 0x104 + 0x8004);
	/* nesting is for others */
	rig.s.rip = RIG_CODE;
	CODE(0xc8, 0, 0, 1);
	*gpr(GPR_RSP) = RIG_DEVICE + 0x100;
	assert_int_equal(run(), EMUL_UNHANDLED);
}

/* --- bits ----------------------------------------------------------------------- */

static void bit_strings(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RBX) = RIG_DATA + 0x100;
	*gpr(GPR_RAX) = (uint64_t)-9; /* the last word before, its bit 55 */
	CODE(0x48, 0x0f, 0xab, 0x03);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.mem[RIG_DATA + 0xff - 1], 0x80);
	*gpr(GPR_RAX) = 0x805;
	CODE(0x0f, 0xbb, 0x03);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.mem[RIG_DATA + 0x200], 0x20);
	CODE(0x0f, 0xba, 0x33, 0x25); /* an immediate offset is modulo the size */
	rig.mem[RIG_DATA + 0x100] = 0x20;
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.mem[RIG_DATA + 0x100], 0);
	assert_int_equal(rig.s.rflags & RFLAGS_CF, RFLAGS_CF);
}

/* --- single step, shadows ------------------------------------------------------- */

static void single_step(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	*gpr(GPR_RBX) = *gpr(GPR_RDI) = RIG_DATA;
	*gpr(GPR_RCX) = 2;
	rig.s.rflags |= RFLAGS_TF | RFLAGS_RF;
	rig.s.sti_shadow = 1;
	CODE(0x89, 0x03);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.e.event.type, EVENT_EXCEPTION);
	assert_int_equal(rig.e.event.vector, VEC_DB);
	assert_int_equal(rig.e.event.has_error, 0);
	assert_int_equal(rig.s.dr6, BIT(14));
	assert_int_equal(rig.s.rip, RIG_CODE + 2);
	assert_int_equal(rig.s.rflags & RFLAGS_RF, 0);
	assert_int_equal(rig.s.sti_shadow, 0);
	/* a repeated instruction traps after each iteration */
	CODE(0xf3, 0xaa);
	assert_int_equal(run(), EMUL_CONTINUE);
	assert_int_equal(rig.e.event.vector, VEC_DB);
	assert_int_equal(*gpr(GPR_RCX), 1);
	assert_int_equal(run(), EMUL_OK);
	assert_int_equal(rig.e.event.vector, VEC_DB);
	assert_int_equal(*gpr(GPR_RCX), 0);
}

/* --- lengths and what an instruction is ----------------------------------------- */

static void intercepted_lengths(void **state)
{
	static const struct {
		uint8_t code[8];
		unsigned len;
	} cases[] = {
	    {{0x0f, 0xa2}, 2},			       /* CPUID */
	    {{0x0f, 0x32}, 2},			       /* RDMSR */
	    {{0x0f, 0x30}, 2},			       /* WRMSR */
	    {{0xf4}, 1},			       /* HLT */
	    {{0x0f, 0x01, 0xd9}, 3},		       /* VMMCALL */
	    {{0x0f, 0x01, 0xc1}, 3},		       /* VMCALL */
	    {{0x0f, 0x08}, 2},			       /* INVD */
	    {{0x0f, 0x09}, 2},			       /* WBINVD */
	    {{0x0f, 0x01, 0xd1}, 3},		       /* XSETBV */
	    {{0xe4, 0x60}, 2},			       /* IN */
	    {{0x66, 0xed}, 2},			       /* IN */
	    {{0xf3, 0x6c}, 2},			       /* INS */
	    {{0x0f, 0x22, 0xc0}, 3},		       /* MOV CR0 */
	    {{0x0f, 0x22, 0x04}, 3},		       /* MOV CR0: mod means nothing */
	    {{0x44, 0x0f, 0x20, 0xc0}, 4},	       /* MOV from CR8 */
	    {{0x0f, 0x23, 0xf8}, 3},		       /* MOV DR7 */
	    {{0x0f, 0x06}, 2},			       /* CLTS */
	    {{0x0f, 0x01, 0xf0}, 3},		       /* LMSW */
	    {{0x0f, 0x01, 0x73, 0x10}, 4},	       /* LMSW m */
	    {{0x0f, 0x31}, 2},			       /* RDTSC */
	    {{0x0f, 0x01, 0xf9}, 3},		       /* RDTSCP */
	    {{0xf3, 0x90}, 2},			       /* PAUSE */
	    {{0x0f, 0x01, 0xc8}, 3},		       /* MONITOR */
	    {{0x0f, 0x01, 0xdf}, 3},		       /* INVLPGA */
	    {{0x0f, 0x01, 0x38}, 3},		       /* INVLPG */
	    {{0x0f, 0xaa}, 2},			       /* RSM */
	    {{0xcd, 0x80}, 2},			       /* INT n */
	    {{0xcc}, 1},			       /* INT3 */
	    {{0xf1}, 1},			       /* ICEBP */
	    {{0x48, 0xcf}, 2},			       /* IRET */
	    {{0x0f, 0x01, 0x0c, 0x25, 0, 0, 0, 0}, 8}, /* SIDT */
	    {{0x48, 0x0f, 0xc7, 0xf0}, 4},	       /* RDRAND */
	};

	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(cases); n++) {
		rig_init(&rig, 64);
		rig_code(&rig, cases[n].code, 8);
		assert_int_equal(emul_insn_length(&rig.e), cases[n].len);
		assert_int_equal(rig.e.insn_len, cases[n].len);
	}
	/* the registers of MOV CR */
	rig_init(&rig, 64);
	CODE(0x45, 0x0f, 0x22, 0xc3);
	assert_int_equal(emul_insn_length(&rig.e), 4);
	assert_int_equal(rig.e.map, MAP_0F);
	assert_int_equal(rig.e.opcode, 0x22);
	assert_int_equal(rig.e.reg, 8);
	assert_int_equal(rig.e.rm, 11);
}

static void length_failures(void **state)
{
	(void)state;
	rig_init(&rig, 64);
	CODE(0x06);
	assert_int_equal(emul_insn_length(&rig.e), 0);
	assert_int_equal(rig.e.event.vector, VEC_UD);
	rig.s.rip = 0x40000000;
	assert_int_equal(emul_insn_length(&rig.e), 0);
	assert_int_equal(rig.e.event.vector, VEC_PF);
	assert_int_equal(rig.e.cr2, 0x40000000);
	rig_init(&rig, 64);
	rig.retry_at = 0;
	assert_int_equal(emul_insn_length(&rig.e), 0);
	assert_int_equal(rig.e.event.type, EVENT_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(mov_to_device),
	    cmocka_unit_test(mov_from_device),
	    cmocka_unit_test(bus_error_reads_ones),
	    cmocka_unit_test(read_modify_write_device),
	    cmocka_unit_test(no_operations),
	    cmocka_unit_test(not_in_the_table),
	    cmocka_unit_test(fault_address_saves_the_walk),
	    cmocka_unit_test(fetch_across_pages),
	    cmocka_unit_test(fetch_faults),
	    cmocka_unit_test(fetch_limits),
	    cmocka_unit_test(bytes_from_hardware),
	    cmocka_unit_test(page_faults),
	    cmocka_unit_test(non_canonical),
	    cmocka_unit_test(alignment_check),
	    cmocka_unit_test(segment_checks),
	    cmocka_unit_test(real_mode),
	    cmocka_unit_test(lock_prefix),
	    cmocka_unit_test(locked_operations_lose_nothing),
	    cmocka_unit_test(compare_exchange),
	    cmocka_unit_test(retries_leave_no_trace),
	    cmocka_unit_test(push_and_pop),
	    cmocka_unit_test(frames_in_a_device),
	    cmocka_unit_test(bit_strings),
	    cmocka_unit_test(single_step),
	    cmocka_unit_test(intercepted_lengths),
	    cmocka_unit_test(length_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
