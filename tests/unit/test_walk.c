/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Promise: the walker translates and faults as the manual says (SDM volume 3,
 * chapter 4) in every paging mode, and sets accessed and dirty bits only when it may.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/test_emul.h"

enum pte { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80 };
#define NX BIT(63)

enum { ROOT = 0x1000, L3 = 0x2000, L2 = 0x3000, L1 = 0x4000, PAGE = 0x10000 };

static struct rig rig;
static struct walk w;

static void put64(uint64_t addr, uint64_t v)
{
	memcpy(rig.mem + addr, &v, 8);
}

static uint64_t get64(uint64_t addr)
{
	uint64_t v;

	memcpy(&v, rig.mem + addr, 8);
	return v;
}

static void put32(uint64_t addr, uint32_t v)
{
	memcpy(rig.mem + addr, &v, 4);
}

static uint32_t get32(uint64_t addr)
{
	uint32_t v;

	memcpy(&v, rig.mem + addr, 4);
	return v;
}

static enum walk_result walk(uint64_t linear, unsigned access)
{
	memset(&w, 0xee, sizeof(w));
	rig.logged = rig.calls = 0;
	return guest_walk(&rig.s, &rig.ops, &rig, linear, access, &w);
}

static void expect_ok(uint64_t linear, unsigned access, uint64_t to, uint64_t size)
{
	assert_int_equal(walk(linear, access), WALK_OK);
	assert_int_equal(w.gpa.a, to);
	assert_int_equal(w.page_size, size);
}

static void expect_fault(uint64_t linear, unsigned access, uint32_t error)
{
	assert_int_equal(walk(linear, access), WALK_FAULT);
	assert_int_equal(w.error_code, error);
}

/* Four levels that map linear 0x7654321000 + offset to PAGE with the given bits in the leaf. */
#define LINEAR 0x7654321123ULL
static void setup_4level(uint64_t leaf_bits)
{
	rig_init(&rig, 64);
	rig.s.cr3 = ROOT;
	memset(rig.mem, 0, PAGE);
	put64(ROOT + (LINEAR >> 39 & 511) * 8, L3 | P | W | U);
	put64(L3 + (LINEAR >> 30 & 511) * 8, L2 | P | W | U);
	put64(L2 + (LINEAR >> 21 & 511) * 8, L1 | P | W | U);
	put64(L1 + (LINEAR >> 12 & 511) * 8, PAGE | leaf_bits);
}

static uint64_t leaf_4level(void)
{
	return get64(L1 + (LINEAR >> 12 & 511) * 8);
}

static void no_paging(void **state)
{
	(void)state;
	rig_init(&rig, 32);
	expect_ok(0x12345678, ACCESS_WRITE | ACCESS_USER, 0x12345678, PAGE_SIZE);
	expect_ok(0x112345678, ACCESS_READ, 0x12345678, PAGE_SIZE);
}

static void four_level(void **state)
{
	(void)state;
	setup_4level(P | W | U);
	expect_ok(LINEAR, ACCESS_READ, PAGE + 0x123, PAGE_SIZE);
	/* PCID bits in CR3 are no address */
	rig.s.cr4 |= CR4_PCIDE;
	rig.s.cr3 |= 0xabc;
	expect_ok(LINEAR, ACCESS_EXEC | ACCESS_USER, PAGE + 0x123, PAGE_SIZE);
	expect_fault(LINEAR + PAGE_SIZE, ACCESS_READ, 0);
	expect_fault(LINEAR + PAGE_SIZE, ACCESS_WRITE | ACCESS_USER, PF_W | PF_U);
	expect_fault(LINEAR + BIT(39), ACCESS_EXEC, PF_I);
}

static void large_pages(void **state)
{
	(void)state;
	setup_4level(P | W | U);
	put64(L2 + (LINEAR >> 21 & 511) * 8,
	    0x40000000 | P | W | PS | BIT(12)); /* PAT bit is no address */
	expect_ok(LINEAR, ACCESS_READ, 0x40000000 + (LINEAR & (SIZE_2M - 1)), SIZE_2M);
	put64(L2 + (LINEAR >> 21 & 511) * 8, 0x40002000 | P | W | PS);
	expect_fault(LINEAR, ACCESS_READ, PF_P | PF_RSVD);
	put64(L3 + (LINEAR >> 30 & 511) * 8, 0x80000000 | P | W | PS);
	expect_ok(LINEAR, ACCESS_READ, 0x80000000 + (LINEAR & (SIZE_1G - 1)), SIZE_1G);
	put64(L3 + (LINEAR >> 30 & 511) * 8, 0x80200000 | P | W | PS);
	expect_fault(LINEAR, ACCESS_READ, PF_P | PF_RSVD);
	put64(ROOT + (LINEAR >> 39 & 511) * 8, L3 | P | W | U | PS);
	expect_fault(LINEAR, ACCESS_READ, PF_P | PF_RSVD);
}

static void rights(void **state)
{
	(void)state;
	setup_4level(P | U);
	expect_fault(LINEAR, ACCESS_WRITE | ACCESS_USER, PF_P | PF_W | PF_U);
	expect_ok(LINEAR, ACCESS_WRITE, PAGE + 0x123, PAGE_SIZE); /* CR0.WP is clear */
	rig.s.cr0 |= CR0_WP;
	expect_fault(LINEAR, ACCESS_WRITE, PF_P | PF_W);
	setup_4level(P | W);
	expect_fault(LINEAR, ACCESS_USER, PF_P | PF_U);
	expect_ok(LINEAR, ACCESS_WRITE, PAGE + 0x123, PAGE_SIZE);
	/* a right has to be given on every level */
	setup_4level(P | W | U);
	put64(L3 + (LINEAR >> 30 & 511) * 8, L2 | P | U);
	expect_fault(LINEAR, ACCESS_WRITE | ACCESS_USER, PF_P | PF_W | PF_U);
	setup_4level(P | W | U | NX);
	expect_fault(LINEAR, ACCESS_EXEC, PF_P | PF_I);
	expect_ok(LINEAR, ACCESS_READ, PAGE + 0x123, PAGE_SIZE);
	rig.s.efer &= ~(uint64_t)EFER_NXE; /* the bit is reserved then */
	expect_fault(LINEAR, ACCESS_EXEC, PF_P | PF_RSVD);
}

static void smep_and_smap(void **state)
{
	(void)state;
	setup_4level(P | W | U);
	rig.s.cr4 |= CR4_SMEP;
	expect_fault(LINEAR, ACCESS_EXEC, PF_P | PF_I);
	expect_ok(LINEAR, ACCESS_EXEC | ACCESS_USER, PAGE + 0x123, PAGE_SIZE);
	expect_ok(LINEAR, ACCESS_WRITE, PAGE + 0x123, PAGE_SIZE);
	rig.s.cr4 |= CR4_SMAP;
	expect_fault(LINEAR, ACCESS_WRITE, PF_P | PF_W);
	expect_fault(LINEAR, ACCESS_READ, PF_P);
	rig.s.rflags |= RFLAGS_AC;
	expect_ok(LINEAR, ACCESS_READ, PAGE + 0x123, PAGE_SIZE);
	expect_fault(LINEAR, ACCESS_READ | ACCESS_IMPLICIT_SUPERVISOR, PF_P);
	expect_ok(LINEAR, ACCESS_WRITE | ACCESS_USER, PAGE + 0x123, PAGE_SIZE);
}

static void accessed_and_dirty(void **state)
{
	(void)state;
	setup_4level(P | W | U);
	assert_int_equal(walk(LINEAR, ACCESS_READ), WALK_OK);
	assert_int_equal(leaf_4level(), PAGE | P | W | U | A);
	assert_int_equal(get64(ROOT + (LINEAR >> 39 & 511) * 8), L3 | P | W | U | A);
	assert_int_equal(walk(LINEAR, ACCESS_WRITE), WALK_OK);
	assert_int_equal(leaf_4level(), PAGE | P | W | U | A | D);
	assert_int_equal(get64(L2 + (LINEAR >> 21 & 511) * 8), L1 | P | W | U | A);
	/* the second time there is nothing to write */
	assert_int_equal(walk(LINEAR, ACCESS_WRITE), WALK_OK);
	for (unsigned n = 0; n < rig.logged; n++)
		assert_int_equal(rig.log[n].what, RIG_READ);
	/* a fault leaves no trace */
	setup_4level(P | U);
	assert_int_equal(walk(LINEAR, ACCESS_WRITE | ACCESS_USER), WALK_FAULT);
	assert_int_equal(leaf_4level(), PAGE | P | U);
}

static void debugger_variant(void **state)
{
	(void)state;
	setup_4level(P | NX);
	rig.ops.cmpxchg = NULL;
	rig.s.cr0 |= CR0_WP;
	expect_ok(LINEAR, ACCESS_WRITE | ACCESS_USER | ACCESS_EXEC, PAGE + 0x123, PAGE_SIZE);
	assert_int_equal(leaf_4level(), PAGE | P | NX);
	expect_fault(LINEAR + PAGE_SIZE, ACCESS_READ, 0);
}

/* --- another CPU in between ----------------------------------------------------- */

static unsigned races;

static void remap(struct rig *r, uint64_t addr)
{
	(void)r;
	if (races++ == 0)
		put64(addr, 0x20000 | P | W | U | A | D);
}

static void always_remap(struct rig *r, uint64_t addr)
{
	(void)r;
	put64(addr, (get64(addr) ^ BIT(9)));
}

static void concurrent_changes(void **state)
{
	(void)state;
	setup_4level(P | W | U);
	assert_int_equal(walk(LINEAR, ACCESS_READ), WALK_OK); /* upper levels are marked now */
	races = 0;
	rig.race = remap;
	expect_ok(LINEAR, ACCESS_WRITE, 0x20000 + 0x123, PAGE_SIZE);
	/* somebody who never stops gets us no further than a retry */
	setup_4level(P | W | U);
	rig.race = always_remap;
	assert_int_equal(walk(LINEAR, ACCESS_WRITE), WALK_RETRY);
}

static void waiting_and_bus_errors(void **state)
{
	(void)state;
	for (int n = 0; n < 8; n++) { /* four reads, four updates */
		setup_4level(P | W | U);
		rig.retry_at = n;
		assert_int_equal(walk(LINEAR, ACCESS_WRITE), WALK_RETRY);
	}
	setup_4level(P | W | U);
	rig.error_at = 2;
	expect_fault(LINEAR, ACCESS_WRITE, PF_W);
	/* tables beyond memory */
	setup_4level(P | W | U);
	put64(L2 + (LINEAR >> 21 & 511) * 8, 0x7ffffff000 | P | W | U);
	expect_fault(LINEAR, ACCESS_READ | ACCESS_USER, PF_U);
	/* tables that cannot be written: translated all the same */
	setup_4level(P | W | U);
	rig.error_at = 5;
	expect_ok(LINEAR, ACCESS_WRITE, PAGE + 0x123, PAGE_SIZE);
}

/* --- the older modes ------------------------------------------------------------ */

#define LINEAR32 0xc1234567ULL
static void setup_32bit(uint32_t pde, uint32_t pte)
{
	rig_init(&rig, 32);
	rig.s.cr0 |= CR0_PG;
	rig.s.cr3 = ROOT | 0x18; /* PWT, PCD */
	put32(ROOT + (LINEAR32 >> 22) * 4, pde);
	put32(L1 + (LINEAR32 >> 12 & 1023) * 4, pte);
}

static void legacy_paging(void **state)
{
	(void)state;
	setup_32bit(L1 | P | W | U, PAGE | P | W);
	expect_ok(LINEAR32, ACCESS_WRITE, PAGE + 0x567, PAGE_SIZE);
	assert_int_equal(get32(L1 + (LINEAR32 >> 12 & 1023) * 4), PAGE | P | W | A | D);
	assert_int_equal(get32(ROOT + (LINEAR32 >> 22) * 4), L1 | P | W | U | A);
	expect_fault(LINEAR32, ACCESS_READ | ACCESS_USER, PF_P | PF_U);
	expect_ok(LINEAR32 | BIT(40), ACCESS_READ, PAGE + 0x567, PAGE_SIZE);
	/* a fetch is not marked as such, since nothing makes it special */
	expect_fault(0x1000, ACCESS_EXEC, 0);
	/* without CR4.PSE the bit means nothing */
	setup_32bit(L1 | P | W | U | PS, PAGE | P | W);
	expect_ok(LINEAR32, ACCESS_READ, PAGE + 0x567, PAGE_SIZE);
}

static void legacy_large_pages(void **state)
{
	(void)state;
	setup_32bit(0x00800000 | P | W | PS, 0);
	rig.s.cr4 = CR4_PSE;
	expect_ok(LINEAR32, ACCESS_WRITE, 0x00800000 + (LINEAR32 & 0x3fffff), 4 * MIB);
	assert_int_equal(get32(ROOT + (LINEAR32 >> 22) * 4), 0x00800000 | P | W | PS | A | D);
	/* PSE-36: bits 20:13 are address bits 39:32 */
	setup_32bit(0x00800000 | P | W | PS | 0x5a << 13, 0);
	rig.s.cr4 = CR4_PSE;
	expect_ok(LINEAR32, ACCESS_READ, 0x5a00800000 + (LINEAR32 & 0x3fffff), 4 * MIB);
	setup_32bit(0x00800000 | P | W | PS | BIT(21), 0);
	rig.s.cr4 = CR4_PSE;
	expect_fault(LINEAR32, ACCESS_READ, PF_P | PF_RSVD);
}

static void setup_pae(uint64_t pde, uint64_t pte)
{
	rig_init(&rig, 32);
	rig.s.cr0 |= CR0_PG;
	rig.s.cr4 = CR4_PAE;
	rig.s.cr3 = 0x5000; /* not looked at: the registers count */
	rig.s.pdpte[LINEAR32 >> 30] = L2 | P;
	put64(L2 + (LINEAR32 >> 21 & 511) * 8, pde);
	put64(L1 + (LINEAR32 >> 12 & 511) * 8, pte);
}

static void pae_paging(void **state)
{
	(void)state;
	setup_pae(L1 | P | W | U, PAGE | P | W | U);
	expect_ok(LINEAR32, ACCESS_WRITE | ACCESS_USER, PAGE + 0x567, PAGE_SIZE);
	assert_int_equal(get64(L1 + (LINEAR32 >> 12 & 511) * 8), PAGE | P | W | U | A | D);
	expect_fault(0x1000, ACCESS_READ, 0); /* PDPTE not present */
	setup_pae(L1 | P | W | U, PAGE | P | W | U | BIT(52));
	expect_fault(LINEAR32, ACCESS_READ, PF_P | PF_RSVD);
	setup_pae(L1 | P | W | U, PAGE | P | W | U | NX);
	expect_fault(LINEAR32, ACCESS_READ, PF_P | PF_RSVD);
	rig.s.efer = EFER_NXE;
	expect_fault(LINEAR32, ACCESS_EXEC, PF_P | PF_I);
	expect_ok(LINEAR32, ACCESS_READ, PAGE + 0x567, PAGE_SIZE);
	setup_pae(0xa00000 | P | W | U | PS, 0);
	expect_ok(LINEAR32, ACCESS_READ, 0xa00000 + (LINEAR32 & (SIZE_2M - 1)), SIZE_2M);
	setup_pae(0xa04000 | P | W | U | PS, 0);
	expect_fault(LINEAR32, ACCESS_READ, PF_P | PF_RSVD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_paging),
	    cmocka_unit_test(four_level),
	    cmocka_unit_test(large_pages),
	    cmocka_unit_test(rights),
	    cmocka_unit_test(smep_and_smap),
	    cmocka_unit_test(accessed_and_dirty),
	    cmocka_unit_test(debugger_variant),
	    cmocka_unit_test(concurrent_changes),
	    cmocka_unit_test(waiting_and_bus_errors),
	    cmocka_unit_test(legacy_paging),
	    cmocka_unit_test(legacy_large_pages),
	    cmocka_unit_test(pae_paging),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
