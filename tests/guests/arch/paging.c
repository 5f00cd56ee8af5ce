/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rights of pages in 64-bit mode against SDM volume 3, 4.6 and 4.7: each kind of page, access and
 * privilege with WP, SMEP, SMAP, EFLAGS.AC and NXE as they may be, done by the CPU and, for INS,
 * OUTS and moves from device memory, by the hypervisor. Then accessed and dirty bits (4.8), UMIP,
 * PCIDs and INVPCID (4.10). What the CPU model does not have must be refused. With "norsvd" on the
 * command line the CPU is not asked for the error codes of reserved bits.
 */
#include "arch.h"

enum {
	P = 1,
	W = 2,
	U = 4,
	A = 1 << 5,
	D = 1 << 6,
	LARGE_USER = 0x87,
	CR4_UMIP = 1 << 11,
	CR4_PCIDE = 1 << 17,
	CR4_SMEP = 1 << 20,
	CR4_SMAP = 1 << 21,
	CR0_WP = 1 << 16,
	FLAG_AC = 1 << 18,
	IOPL3 = 3 << 12,
	MSR_EFER = 0xc0000080,
	EFER_NXE = 1 << 11,
	PORT = 0xe0,	  /* the test device's bytes */
	NO_FAULT = 0x100, /* other than any error code */
	RET = 0xc3
};
#define NX (1UL << 63)
#define WINDOW                                                                                     \
	0x40000000UL /* the page whose rights are tried; behind it user code and its stack         \
		      */
#define CODE	    (WINDOW + 0x1000)
#define STACK	    (WINDOW + 0x3000)
#define DEVICE	    0xff000000UL
#define USER_DEVICE (WINDOW + 0x3000) /* the same */

static uint8_t pages[3][4096] __attribute__((aligned(4096)));
static volatile uint64_t table[512] __attribute__((aligned(4096)));
static bool all_right = true;

/* --- accesses: RDI has the address, RSI the device's; they return
 * ---------------------------------------- */

#define ACCESS(name, text)                                                                         \
	extern const uint8_t name[], name##_end[];                                                 \
	__asm__(#name ": " text "; ret\n" #name "_end:\n")
ACCESS(load, "mov (%rdi), %al");
ACCESS(store, "mov %al, (%rdi)");
ACCESS(fetch, "call *%rdi");
ACCESS(port_load, "mov $0xe0, %edx; mov %rdi, %rsi; outsb");
ACCESS(port_store, "mov $0xe0, %edx; insb");
ACCESS(device_store, "movsb");

enum what { READS, WRITES, FETCHES };
static const struct access {
	const char *name;
	const uint8_t *code, *end;
	enum what what;
	bool by_cpu;
} accesses[] = {
    {"MOV from it", load, load_end, READS, true},
    {"MOV to it", store, store_end, WRITES, true},
    {"code in it", fetch, fetch_end, FETCHES, true},
    {"OUTS from it", port_load, port_load_end, READS, false},
    {"INS to it", port_store, port_store_end, WRITES, false},
    {"MOVS from a device to it", device_store, device_store_end, WRITES, false},
};
enum { ACCESSES = sizeof(accesses) / sizeof(accesses[0]) };

/* The error code of the page fault, or NO_FAULT. */
static uint64_t by_supervisor(const struct access *a, uint64_t flags)
{
	uint64_t to = WINDOW, from = DEVICE;
	uint64_t v = TRY("push %3; popfq; call *%2; push $2; popfq",
			 : "+D"(to), "+S"(from)
			 : "r"(a->code), "r"(flags)
			 : "rax", "rcx", "rdx", "memory");

	return v == NOTHING ? NO_FAULT : v == PF ? caught.error : v << 32;
}

/* At CPL 3 it ends with #UD, behind the call. */
static uint64_t by_user(uint64_t flags)
{
	uint64_t to = WINDOW, from = USER_DEVICE, call = CODE + 16;
	uint64_t v =
	    TRY("push %[ss]; push %[sp]; push %[flags]; push %[cs]; push %[ip]; iretq",
		: "+D"(to), "+S"(from), "+a"(call)
		: [ss] "r"((uint64_t)SEL_USER_DATA), [sp] "r"(STACK),
		[flags] "r"(flags | IOPL3 | 2), [cs] "r"((uint64_t)SEL_USER_CODE64), [ip] "r"(CODE)
		: "rdx", "memory");

	return v == UD ? NO_FAULT : v == PF ? caught.error : v << 32;
}

static void map(uint64_t flags)
{
	table[0] = (uint64_t)pages[0] | flags;
	table[1] = (uint64_t)pages[1] | P | W | U;
	table[2] = (uint64_t)pages[2] | P | W | U;
	table[3] = DEVICE | P | W | U;
	flush_tlb();
}

/* The user's code: call RAX, which is the access 16 bytes on, and UD2. */
static void put_user_code(const struct access *a)
{
	static const uint8_t head[] = {0xff, 0xd0, 0x0f, 0x0b};

	for (unsigned i = 0; i < sizeof(head); i++)
		pages[1][i] = head[i];
	for (unsigned i = 0; a->code + i < a->end; i++)
		pages[1][16 + i] = a->code[i];
}

/* --- rights --------------------------------------------------------------------------------- */

/* What governs them; a name is a row's. */
struct regime {
	const char *name;
	bool wp, smep, smap, ac, no_nxe;
};
static const struct regime regimes[] = {
    {"WP", .wp = true},
    {"no WP", .wp = false},
    {"NXE off", .wp = true, .no_nxe = true},
    {"SMEP", .wp = true, .smep = true},
    {"SMEP, NXE off", .wp = true, .smep = true, .no_nxe = true},
    {"SMAP", .wp = true, .smap = true},
    {"SMAP, AC", .wp = true, .smap = true, .ac = true},
    {"SMAP, no WP", .wp = false, .smap = true},
    {"SMAP, AC, no WP", .wp = false, .smap = true, .ac = true},
    {"SMEP, SMAP", .wp = true, .smep = true, .smap = true},
    {"SMEP, SMAP, AC", .wp = true, .smep = true, .smap = true, .ac = true},
};

static bool permitted(const struct regime *r, uint64_t entry, enum what what, bool user)
{
	if (what == FETCHES && (entry & NX))
		return false;
	if (user)
		return (entry & U) && (what != WRITES || (entry & W));
	if (what == FETCHES)
		return !(r->smep && (entry & U));
	if (what == WRITES && r->wp && !(entry & W))
		return false;
	return !(r->smap && (entry & U)) || r->ac;
}

static uint64_t expected(const struct regime *r, uint64_t entry, enum what what, bool user)
{
	uint64_t error = (what == WRITES) << 1 | user << 2;

	if (what == FETCHES && (!r->no_nxe || r->smep))
		error |= 1 << 4;
	if (!(entry & P))
		return error;
	if ((entry & NX) && r->no_nxe)
		return error | 1 | 1 << 3;
	return permitted(r, entry, what, user) ? NO_FAULT : error | 1;
}

/* The page, who accesses it and how, then the regime; all that is wrong says so. */
static void expect(const struct regime *r, uint64_t entry, const struct access *a, bool user,
    const char *what, uint64_t got, uint64_t want)
{
	if (got == want)
		return;
	print("  %s, page%s%s%s%s, %s, %s, %s:\n", r->name, entry & P ? " P" : "",
	    entry & W ? " W" : "", entry & U ? " U" : "", entry & NX ? " NX" : "",
	    user ? "CPL 3" : "CPL 0", a->name, what);
	check_eq(r->name, got, want);
	all_right = false;
}

static void try_page(const struct regime *r, uint64_t entry, const struct access *a, bool user)
{
	uint64_t want = expected(r, entry, a->what, user), flags = r->ac ? FLAG_AC | 2 : 2, got;

	if (r->no_nxe && (entry & P) && (entry & NX) && a->by_cpu && says("norsvd"))
		return;
	pages[0][0] = RET;
	*(volatile uint8_t *)DEVICE = RET;
	outb(PORT, RET);
	map(entry);
	if (user)
		put_user_code(a);
	got = user ? by_user(flags) : by_supervisor(a, flags);
	expect(r, entry, a, user, "error code", got, want);
	if (want == NO_FAULT) {
		expect(r, entry, a, user, "A and D", table[0] & (A | D),
		    a->what == WRITES ? A | D : A);
		return;
	}
	expect(r, entry, a, user, "CR2", caught.cr2, WINDOW);
	expect(r, entry, a, user, "D", table[0] & D, 0);
}

static bool feature(uint32_t leaf, unsigned reg, unsigned bit)
{
	uint32_t r[4];

	cpuid(leaf, 0, r);
	return r[reg] >> bit & 1;
}

static uint64_t to_cr4(uint64_t v)
{
	return TRY("mov %0, %%cr4", : : "r"(v) : "memory");
}

/* Large pages become the supervisor's, so that the kernel may go on under SMEP and SMAP. */
static void mine(bool yes)
{
	for (unsigned i = 0; i < 2048; i++)
		if (&arch_pd[i / 512][i % 512] != &arch_pd[1][0])
			arch_pd[i / 512][i % 512] =
			    (uint64_t)i << 21 | (yes ? LARGE_USER & ~U : LARGE_USER);
	flush_tlb();
}

static void test_regime(const struct regime *r)
{
	uint64_t cr4 = read_cr4(), cr0 = read_cr0(), efer = rdmsr(MSR_EFER);

	mine(true);
	write_cr0(r->wp ? cr0 | CR0_WP : cr0 & ~(uint64_t)CR0_WP);
	write_cr4(cr4 | (r->smep ? CR4_SMEP : 0) | (r->smap ? CR4_SMAP : 0));
	if (r->no_nxe)
		wrmsr(MSR_EFER, efer & ~(uint64_t)EFER_NXE);
	for (unsigned n = 0; n < 16; n++) {
		uint64_t entry = (n & 7) | (n & 8 ? NX : 0);

		for (unsigned i = 0; i < ACCESSES; i++) {
			try_page(r, entry, &accesses[i], false);
			try_page(r, entry, &accesses[i], true);
		}
	}
	wrmsr(MSR_EFER, efer);
	write_cr4(cr4);
	write_cr0(cr0);
	mine(false);
	if (all_right)
		check(r->name, true);
	all_right = true;
}

static void test_rights(void)
{
	bool smep = feature(7, 1, 7), smap = feature(7, 1, 20);

	if (!smep)
		check_eq("SMEP is absent, and refused", to_cr4(read_cr4() | CR4_SMEP), GP);
	if (!smap)
		check_eq("SMAP is absent, and refused", to_cr4(read_cr4() | CR4_SMAP), GP);
	for (unsigned i = 0; i < sizeof(regimes) / sizeof(regimes[0]); i++)
		if ((!regimes[i].smep || smep) && (!regimes[i].smap || smap))
			test_regime(&regimes[i]);
	if (!smap)
		return;
	check_eq("STAC sets AC",
	    TRY("stac; pushfq; pop %%rax; clac; bt $18, %%eax; jc 1f; ud2; 1:",
		:
		:
		: "rax", "cc"),
	    NOTHING);
	check_eq("CLAC clears AC",
	    TRY("stac; clac; pushfq; pop %%rax; bt $18, %%eax; jnc 1f; ud2; 1:",
		:
		:
		: "rax", "cc"),
	    NOTHING);
	TRY_USER(2, "stac");
	check_eq("CPL 3: STAC", caught.vector, UD);
}

/* --- UMIP ------------------------------------------------------------------------------------- */

static void test_umip(void)
{
	bool has = feature(7, 2, 2);

	if (!has) {
		check_eq("UMIP is absent, and refused", to_cr4(read_cr4() | CR4_UMIP), GP);
	} else {
		write_cr4(read_cr4() | CR4_UMIP);
		check_eq("UMIP: SGDT at CPL 0",
		    TRY("sub $16, %%rsp; sgdt (%%rsp); add $16, %%rsp",
			:
			:
			: "memory"),
		    NOTHING);
	}
	for (unsigned on = 0; on <= has; on++) {
		uint64_t want = on ? GP : UD; /* #UD is that of what follows */

		write_cr4(on ? read_cr4() | CR4_UMIP : read_cr4() & ~(uint64_t)CR4_UMIP);
		TRY_USER(2, "sgdt -16(%%rsp)");
		check_eq(on ? "CPL 3, UMIP: SGDT" : "CPL 3: SGDT", caught.vector, want);
		TRY_USER(2, "sidt -16(%%rsp)");
		check_eq(on ? "CPL 3, UMIP: SIDT" : "CPL 3: SIDT", caught.vector, want);
		TRY_USER(2, "sldt %%eax");
		check_eq(on ? "CPL 3, UMIP: SLDT" : "CPL 3: SLDT", caught.vector, want);
		TRY_USER(2, "str %%eax");
		check_eq(on ? "CPL 3, UMIP: STR" : "CPL 3: STR", caught.vector, want);
		TRY_USER(2, "smsw %%eax");
		check_eq(on ? "CPL 3, UMIP: SMSW" : "CPL 3: SMSW", caught.vector, want);
	}
	write_cr4(read_cr4() & ~(uint64_t)CR4_UMIP);
}

/* --- PCIDs ---------------------------------------------------------------------------------------
 */

struct invpcid {
	uint64_t pcid, address;
};

static uint64_t invpcid(uint64_t type, uint64_t pcid, uint64_t address)
{
	struct invpcid d = {pcid, address};

	return TRY("invpcid %1, %0", : : "r"(type), "m"(d) : "memory");
}

static uint64_t to_cr3(uint64_t v)
{
	return TRY("mov %0, %%cr3", : : "r"(v) : "memory");
}

/* Another page comes to the window without a flush; then this is done. */
#define RENEWED(flush)                                                                             \
	({                                                                                         \
		uint8_t seen;                                                                      \
		map(P | W);                                                                        \
		pages[0][0] = 1;                                                                   \
		pages[1][0] = 2;                                                                   \
		seen = *(volatile uint8_t *)WINDOW;                                                \
		table[0] = (uint64_t)pages[1] | P | W;                                             \
		flush;                                                                             \
		seen = (uint8_t)(seen << 4 | *(volatile uint8_t *)WINDOW);                         \
		seen;                                                                              \
	})

static void test_pcid(void)
{
	bool has = feature(1, 2, 17), invalidates = feature(7, 1, 10);
	uint64_t cr4 = read_cr4(), root = (uint64_t)arch_pml4;

	check_eq("INVLPG",
	    RENEWED(__asm__ volatile("invlpg (%0)"
				     :
				     : "r"(WINDOW)
				     : "memory")),
	    0x12);
	check_eq("MOV CR3", RENEWED(flush_tlb()), 0x12);
	if (!has) {
		check_eq("PCIDs are absent, and refused", to_cr4(cr4 | CR4_PCIDE), GP);
		check_eq("CR3: bit 63 without PCIDs", to_cr3(root | NX), GP);
	} else {
		write_cr3(root | 0x18); /* PCD and PWT count as bits of a PCID */
		check_eq("PCIDE with PCID 18h", to_cr4(cr4 | CR4_PCIDE), GP);
		flush_tlb();
		check_eq("PCIDE", to_cr4(cr4 | CR4_PCIDE), NOTHING);
		check_eq("MOV CR3 with PCID 5", to_cr3(root | 5), NOTHING);
		check_eq("MOV CR3, no flush", to_cr3(root | 6 | NX), NOTHING);
		flush_tlb();
		check_eq("MOV CR3 with PCID 0", RENEWED(write_cr3(root)), 0x12);
		check_eq("MOV CR3 with PCIDs there and back",
		    RENEWED((write_cr3(root | 7), write_cr3(root))), 0x12);
	}
	if (!invalidates) {
		check_eq("INVPCID is absent", invpcid(2, 0, 0), UD);
	} else {
		check_eq("INVPCID: address", RENEWED(invpcid(0, 0, WINDOW)), 0x12);
		check_eq("INVPCID: one PCID", RENEWED(invpcid(1, 0, 0)), 0x12);
		check_eq("INVPCID: all", RENEWED(invpcid(2, 0, 0)), 0x12);
		check_eq("INVPCID: all but global", RENEWED(invpcid(3, 0, 0)), 0x12);
		check_eq("INVPCID: type 4", invpcid(4, 0, 0), GP);
		check_eq("INVPCID: reserved bit", invpcid(0, 1UL << 12, WINDOW), GP);
		check_eq("INVPCID: not canonical", invpcid(0, 0, 1UL << 63), GP);
		check_eq("INVPCID: PCID 1", invpcid(0, 1, WINDOW), has ? NOTHING : GP);
	}
	write_cr3(root);
	write_cr4(cr4);
}

void arch_main(void)
{
	static uint8_t stack[4096] __attribute__((aligned(16)));

	arch_tss[0].rsp0 = (uint64_t)stack + sizeof(stack);
	arch_pd[1][0] = (uint64_t)table | P | W | U;
	test_rights();
	test_umip();
	test_pcid();
}
