/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The CPU's modes below 64-bit mode, which is where each test begins and ends: real mode with
 * segments of 64 KiB and of 4 GiB, protected mode of 16 and of 32 bits, without paging and with
 * each kind of it, compatibility mode. The same is done in all of them: ports, device memory,
 * CPUID, MSRs, control registers, interrupts, faults. Then what each has of its own, and the ways
 * between them, legal and not: SDM volume 3, 4.1, 4.4.1, 5.1, 9.9, 20.1; volume 2, "MOV".
 * With "nopdptes" on the command line PDPTEs are not expected to be registers.
 */
#include "arch.h"

enum {
	BASE = 0x10000,	  /* modes.asm */
	CODE = 0x11000,	  /* where snippets run */
	START16 = 0x1000, /* the same in the segment */
	FROM = 0x19000,
	TO = 0x1a000,
	DEVICE = 0xff000000u, /* the test device's memory */
	WINDOW = 0xc00000,    /* a page, or a large one, of what rights a test wants */
	VECTORS = 64,
	SOFT = 0x30,
	TIMER = 0x31,
	MSR_EFER = 0xc0000080u,
	EFER_LME = 1 << 8,
	EFER_LMA = 1 << 10,
	EFER_NXE = 1 << 11,
	MSR_MTRR_BASE0 = 0x200,
	CR0_PE = 1,
	CR0_TS = 1 << 3,
	CR0_NE = 1 << 5,
	CR0_WP = 1 << 16,
	CR4_PSE = 1 << 4,
	CR4_PAE = 1 << 5,
	CR4_PGE = 1 << 7,
	CR4_PCIDE = 1 << 17,
	P = 1,
	W = 2,
	U = 4,
	A = 1 << 5,
	D = 1 << 6,
	PS = 1 << 7,
};
#define CR0_PG 0x80000000u
#define CR0_NW 0x20000000u
#define NX     (1UL << 63)

/* What modes.asm is told, and tells. */
enum kind { KIND_32, KIND_16, KIND_REAL, KIND_UNREAL, KIND_COMPAT };
static volatile struct desk {
	uint32_t eax, ecx, edx, ebx, esi, edi, ebp;
	uint32_t vector, error, eip, cr2, irqs;
	uint32_t kind, cr0, cr3, cr4, efer;
} *const desk = (volatile struct desk *)(BASE + 0xc00);

void visit(void);
extern const uint8_t modes_low[], modes_low_end[];
extern const uint32_t modes_traps32[VECTORS];
extern const uint16_t modes_traps16[VECTORS];
extern uint64_t modes_idt32[VECTORS];
void *memcpy(void *d, const void *s, size_t n);
void *memset(void *d, int c, size_t n);

static uint32_t dir_4k[1024] __attribute__((aligned(4096)));
static uint32_t dir_4m[1024] __attribute__((aligned(4096)));
static uint32_t tables[5][1024] __attribute__((aligned(4096))); /* 8 MiB, the window, devices */
static uint64_t pdpt[2][4] __attribute__((aligned(4096)));
static uint64_t dir_pae[4][512] __attribute__((aligned(4096)));
static uint64_t table_pae[512] __attribute__((aligned(4096)));

static const struct mode {
	const char *name;
	uint8_t kind;
	uint32_t cr0, cr4;
	const void *cr3;
} modes[] = {
    {"real mode", KIND_REAL, 0, 0, NULL},
    {"unreal mode", KIND_UNREAL, 0, 0, NULL},
    {"16 bits", KIND_16, 0, 0, NULL},
    {"16 bits, pages", KIND_16, CR0_PG | CR0_WP, CR4_PSE, dir_4m},
    {"16 bits, PAE", KIND_16, CR0_PG | CR0_WP, CR4_PAE, pdpt[0]},
    {"32 bits", KIND_32, 0, 0, NULL},
    {"32 bits, 4 KiB pages", KIND_32, CR0_PG | CR0_WP, 0, dir_4k},
    {"32 bits, 4 MiB pages", KIND_32, CR0_PG | CR0_WP, CR4_PSE, dir_4m},
    {"32 bits, PAE", KIND_32, CR0_PG | CR0_WP, CR4_PAE, pdpt[0]},
    {"compatibility mode", KIND_COMPAT, 0, 0, NULL},
};
enum {
	MODES = sizeof(modes) / sizeof(modes[0]),
	REAL = 0,
	UNREAL = 1,
	PLAIN16 = 2,
	PLAIN32 = 5,
	PAGES_4K = 6,
	PAGES_4M = 7,
	PAE = 8,
	COMPAT = 9
};

/* --- snippets ----------------------------------------------------------------------------- */

/* The same text as code of 16 and of 32 bits; sizes of operands and addresses are written out. */
struct snippet {
	const uint8_t *code[2], *end[2];
};
#define SNIPPET(name, text)                                                                        \
	extern const uint8_t name##_16[], name##_32[], name##_16_end[], name##_32_end[];           \
	__asm__(".code16\n" #name "_16: " text "; ret\n" #name "_16_end:\n"                        \
		".code32\n" #name "_32: " text "; ret\n" #name "_32_end:\n.code64\n");             \
	static const struct snippet name = {{name##_16, name##_32}, {name##_16_end, name##_32_end}}

static bool wide(const struct mode *m)
{
	return m->kind == KIND_32 || m->kind == KIND_COMPAT;
}

static bool real(const struct mode *m)
{
	return m->kind == KIND_REAL || m->kind == KIND_UNREAL;
}

/* An address below 1 MiB as that mode's segments have it. */
static uint32_t at(const struct mode *m, uint32_t address)
{
	return m->kind == KIND_REAL ? address - BASE : address;
}

/* Runs it there; the general registers are those of the desk, before and after. */
static uint32_t run(const struct mode *m, const struct snippet *s)
{
	unsigned n = wide(m);

	memcpy((void *)(uintptr_t)CODE, s->code[n], (size_t)(s->end[n] - s->code[n]));
	desk->kind = m->kind;
	desk->cr0 = m->cr0 | CR0_PE | CR0_NE;
	desk->cr3 = (uint32_t)(uintptr_t)m->cr3;
	desk->cr4 = m->cr4;
	desk->efer = EFER_NXE;
	desk->vector = NOTHING;
	desk->error = desk->eip = desk->cr2 = 0;
	desk->irqs = 0;
	caught.vector = NOTHING;
	visit();
	if (m->kind == KIND_COMPAT) { /* there the 64-bit handlers serve */
		desk->vector = (uint32_t)caught.vector;
		desk->error = (uint32_t)caught.error;
		desk->eip = (uint32_t)caught.rip;
		desk->irqs = irqs[0][SOFT] + irqs[0][TIMER];
	}
	return desk->vector;
}

static char name_text[96];

static const char *named(const char *mode, const char *what)
{
	char *p = name_text;

	while (*mode && p < name_text + 60)
		*p++ = *mode++;
	*p++ = ':';
	*p++ = ' ';
	while (*what && p < name_text + sizeof(name_text) - 1)
		*p++ = *what++;
	*p = 0;
	return name_text;
}

/*
 * Checks go in groups, for each line takes its time: a group that is right prints one, and
 * what is wrong in it one each.
 */
static bool all_right = true;

static void expect(const char *mode, const char *what, uint64_t got, uint64_t want)
{
	if (got == want)
		return;
	check_eq(named(mode, what), got, want);
	all_right = false;
}

static void end_of(const char *mode, const char *what)
{
	if (all_right)
		check(named(mode, what), true);
	all_right = true;
}

/* --- what all of them do ---------------------------------------------------------------------- */

SNIPPET(ports, "mov $0xe0, %edx; mov $0x11223344, %eax; outl %eax, %dx; mov $0xaa, %al;"
	       "outb %al, $0xe1; mov $0xbbcc, %ax; outw %ax, $0xe2; inl $0xe0, %eax;"
	       "mov %eax, %ecx; inb $0xe1, %al; mov %eax, %ebx; mov $0xe2, %dx; inw %dx, %ax");

static void test_ports(const struct mode *m)
{
	expect(m->name, "IN and OUT", run(m, &ports), NOTHING);
	expect(m->name, "IN of 32 bits", desk->ecx, 0xbbccaa44);
	expect(m->name, "IN of 8 bits", desk->ebx, 0xbbccaaaa);
	expect(m->name, "IN of 16 bits", desk->eax, 0xbbccbbcc);
	end_of(m->name, "IN and OUT");
}

SNIPPET(port_strings,
    "cld; mov $0xe0, %dx; mov $3, %ecx; rep outsl (%esi), %dx; mov $4, %ecx;"
    "rep insb %dx, %es:(%edi); insl %dx, %es:(%edi); std; outsb (%esi), %dx; cld; inb $0xe0, %al");

static void test_port_strings(const struct mode *m)
{
	uint8_t *from = (uint8_t *)(uintptr_t)FROM, *to = (uint8_t *)(uintptr_t)TO;

	for (unsigned i = 0; i < 16; i++)
		from[i] = (uint8_t)(0x31 * i + 5);
	memset(to, 0, 16);
	desk->esi = at(m, FROM);
	desk->edi = at(m, TO);
	expect(m->name, "INS and OUTS", run(m, &port_strings), NOTHING);
	expect(m->name, "REP INSB", *(volatile uint32_t *)to, from[8] * 0x01010101u);
	expect(m->name, "INSD", ((volatile uint32_t *)to)[1], ((uint32_t *)from)[2]);
	expect(m->name, "OUTSB down", desk->eax & 0xff, from[12]);
	expect(m->name, "pointers of OUTS", desk->esi, at(m, FROM) + 11);
	expect(m->name, "pointers of INS", desk->edi, at(m, TO) + 8);
	expect(m->name, "count of INS", desk->ecx, 0);
	end_of(m->name, "INS and OUTS");
}

SNIPPET(device_moves,
    "movl $0x12345678, (%edi); movb $0x9a, 1(%edi); movw $0xbcde, 4(%edi); mov (%edi), %eax;"
    "movzbl 5(%edi), %ecx; movswl 4(%edi), %edx; addl $1, (%edi); mov (%edi), %ebx;"
    "xchg %ebx, 8(%edi)");

static void test_device_moves(const struct mode *m)
{
	volatile uint32_t *device = (volatile uint32_t *)(uintptr_t)DEVICE;

	device[2] = 0x55667788;
	desk->edi = DEVICE;
	expect(m->name, "device memory", run(m, &device_moves), NOTHING);
	expect(m->name, "device memory: MOV", desk->eax, 0x12349a78);
	expect(m->name, "device memory: MOVZX", desk->ecx, 0xbc);
	expect(m->name, "device memory: MOVSX", desk->edx, 0xffffbcde);
	expect(m->name, "device memory: ADD", device[0], 0x12349a79);
	expect(m->name, "device memory: XCHG, register", desk->ebx, 0x55667788);
	expect(m->name, "device memory: XCHG, memory", device[2], 0x12349a79);
	end_of(m->name, "device memory");
}

/* To the device, from it to EBX's, and both compared. */
SNIPPET(device_strings,
    "cld; mov $5, %ecx; rep movsl (%esi), %es:(%edi); mov $0x125a, %eax; mov $3, %ecx;"
    "rep stosb %al, %es:(%edi); stosw %ax, %es:(%edi); mov %edi, %edx; lea -25(%edi), %esi;"
    "mov %ebx, %edi; mov $25, %ecx; rep movsb (%esi), %es:(%edi); sub $25, %esi;"
    "sub $25, %edi; mov $25, %ecx; repe cmpsb %es:(%edi), (%esi); setne %cl;"
    "lodsb (%esi), %al");

static void test_device_strings(const struct mode *m)
{
	volatile uint8_t *device = (volatile uint8_t *)(uintptr_t)DEVICE;
	uint8_t *from = (uint8_t *)(uintptr_t)FROM, *to = (uint8_t *)(uintptr_t)TO;
	unsigned wrong = 0;

	for (unsigned i = 0; i < 32; i++)
		from[i] = (uint8_t)(0x47 * i + 9);
	memset(to, 0, 32);
	device[25] = 0x77;
	desk->esi = FROM;
	desk->edi = DEVICE;
	desk->ebx = TO;
	expect(m->name, "strings on device memory", run(m, &device_strings), NOTHING);
	for (unsigned i = 0; i < 25; i++) {
		uint8_t want = i < 20 ? from[i] : i < 24 ? 0x5a : 0x12;

		wrong += (device[i] != want) + (to[i] != want);
	}
	expect(m->name, "MOVS and STOS on device memory", wrong, 0);
	expect(m->name, "CMPS with device memory", desk->ecx, 0);
	expect(m->name, "LODS from device memory", desk->eax & 0xff, 0x77);
	expect(m->name, "pointers into device memory", desk->edx, DEVICE + 25);
	expect(m->name, "pointers into RAM", desk->edi, TO + 25);
	end_of(m->name, "strings on device memory");
}

/* EDI: the version's register; the task priority's is 50h beyond */
SNIPPET(local_apic, "movl (%edi), %eax; movl $0x25, 0x50(%edi); mov 0x50(%edi), %ecx;"
		    "movl $0, 0x50(%edi)");

static void test_local_apic(const struct mode *m)
{
	desk->edi = (uint32_t)apic_at + APIC_VERSION;
	expect(m->name, "local APIC", run(m, &local_apic), NOTHING);
	expect(m->name, "local APIC: read", desk->eax, apic_read(APIC_VERSION));
	expect(m->name, "local APIC: written", desk->ecx, 0x25);
	end_of(m->name, "local APIC");
}

SNIPPET(identify, "xor %eax, %eax; cpuid");
SNIPPET(write_msr, "mov $0x200, %ecx; mov $0xff000006, %eax; mov $3, %edx; wrmsr;"
		   "xor %eax, %eax; xor %edx, %edx; rdmsr");
SNIPPET(task_switched, "mov %cr0, %ebx; mov %ebx, %eax; or $8, %al; lmsw %ax; mov %cr0, %eax;"
		       "clts; mov %cr0, %ecx; smsw %edx");

static void test_exits(const struct mode *m)
{
	uint32_t r[4];

	cpuid(0, 0, r);
	expect(m->name, "CPUID", run(m, &identify), NOTHING);
	expect(m->name, "CPUID as in 64-bit mode",
	    desk->eax == r[0] && desk->ebx == r[1] && desk->ecx == r[2] && desk->edx == r[3], 1);
	expect(m->name, "WRMSR and RDMSR", run(m, &write_msr), NOTHING);
	expect(m->name, "an MSR's lower half", desk->eax, 0xff000006);
	expect(m->name, "an MSR's upper half", desk->edx, 3);
	wrmsr(MSR_MTRR_BASE0, 0);
	expect(m->name, "LMSW and CLTS", run(m, &task_switched), NOTHING);
	expect(m->name, "CR0 at first", desk->ebx & ~CR0_WP,
	    m->kind == KIND_COMPAT ? (uint32_t)read_cr0() & ~CR0_WP
				   : ((m->cr0 & CR0_PG) | !real(m) | CR0_NE | 1 << 4));
	expect(m->name, "CR0 after LMSW", desk->eax, desk->ebx | CR0_TS);
	expect(m->name, "CR0 after CLTS", desk->ecx, desk->ebx);
	expect(m->name, "SMSW", (uint16_t)desk->edx, (uint16_t)desk->ebx);
	end_of(m->name, "CPUID, MSRs, CR0");
}

SNIPPET(soft, "mov $7, %eax; int $0x30; inc %eax");
SNIPPET(doze, "xor %eax, %eax; sti; hlt; cli; inc %eax");

static void test_interrupts(const struct mode *m)
{
	forget_irqs();
	expect(m->name, "INT n", run(m, &soft), NOTHING);
	expect(m->name, "INT n comes", desk->irqs, 1);
	expect(m->name, "INT n returns", desk->eax, 8);
	forget_irqs();
	apic_write(APIC_DIVIDE, 0xb);
	apic_write(APIC_TIMER, TIMER);
	apic_write(APIC_INITIAL, 400000);
	expect(m->name, "HLT", run(m, &doze), NOTHING);
	expect(m->name, "a timer ends HLT", desk->irqs, 1);
	expect(m->name, "behind HLT", desk->eax, 1);
	apic_write(APIC_EOI, 0);
	end_of(m->name, "INT n and HLT");
}

SNIPPET(undefined, "nop; ud2");
SNIPPET(divide, "nop; div %ebx");
SNIPPET(no_msr, "nop; rdmsr");
SNIPPET(no_cr, "nop; .byte 0x0f, 0x20, 0xe8");
SNIPPET(store_task, "nop; str %eax");

static void test_faults(const struct mode *m)
{
	const struct {
		const char *name;
		const struct snippet *s;
		uint32_t vector;
	} faults[] = {
	    {"UD2", &undefined, UD},
	    {"division by zero", &divide, DE},
	    {"no such MSR", &no_msr, GP},
	    {"no such control register", &no_cr, UD},
	    {"STR", &store_task, real(m) ? UD : NOTHING},
	};

	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		desk->eax = desk->ebx = desk->edx = 0;
		desk->ecx = 0x12345678;
		expect(m->name, faults[i].name, run(m, faults[i].s), faults[i].vector);
		if (desk->vector == NOTHING)
			continue;
		expect(m->name, faults[i].name, desk->eip, (wide(m) ? CODE : START16) + 1);
		expect(m->name, faults[i].name, desk->error, 0);
	}
	end_of(m->name, "faults");
}

static void test_everywhere(const struct mode *m)
{
	test_ports(m);
	test_port_strings(m);
	if (m->kind != KIND_REAL) { /* whose segments do not reach there */
		test_device_moves(m);
		test_device_strings(m);
		test_local_apic(m);
	}
	test_exits(m);
	test_interrupts(m);
	test_faults(m);
}

/* --- real mode: ends of segments ------------------------------------------------------------- */

SNIPPET(load_word, "nop; mov (%edi), %ax");
SNIPPET(store_dword, "nop; movl %eax, (%edi)");
SNIPPET(load_stack, "nop; mov (%ebp), %ax");
SNIPPET(in_word, "nop; insw %dx, %es:(%edi)");
SNIPPET(out_word, "nop; outsw (%esi), %dx");
/* with the pointers of 16 bits that only code of 16 bits has by itself */
SNIPPET(copy16, ".byte 0xfc, 0xf3, 0xa4");
SNIPPET(in16, ".byte 0xfc, 0xf3, 0x6c");
SNIPPET(out16, ".byte 0xfc, 0xf3, 0x6e");
SNIPPET(in16_word, "nop; .byte 0x6d");
SNIPPET(push_wrap, "mov %sp, %bx; xor %esp, %esp; push %ax; mov %sp, %cx; mov %bx, %sp");
SNIPPET(soft_beyond, "sidt (%edi); movw $0xbf, (%edi); lidt (%edi); movw $0x3ff, (%edi);"
		     "mov $7, %eax; int $0x30");

static void test_segment_ends(void)
{
	static const struct {
		const char *name;
		const struct snippet *s;
		uint32_t offset;
		uint16_t real, unreal; /* vectors */
	} ends[] = {
	    {"last word", &load_word, 0xfffe, NOTHING, NOTHING},
	    {"a word over the end", &load_word, 0xffff, GP, NOTHING},
	    {"a word beyond the end", &load_word, 0x10000, GP, NOTHING},
	    {"last doubleword", &store_dword, 0xfffc, NOTHING, NOTHING},
	    {"a doubleword over the end", &store_dword, 0xfffd, GP, NOTHING},
	    {"last word of the stack", &load_stack, 0xfffe, NOTHING, NOTHING},
	    {"stack: over the end", &load_stack, 0xffff, SS, SS},
	    {"stack: beyond the end", &load_stack, 0x20000, SS, SS},
	    {"INSW to the last word", &in_word, 0xfffe, NOTHING, NOTHING},
	    {"INSW over the end", &in_word, 0xffff, GP, NOTHING},
	    {"OUTSW from the last word", &out_word, 0xfffe, NOTHING, NOTHING},
	    {"OUTSW over the end", &out_word, 0xffff, GP, NOTHING},
	    {"OUTSW from beyond the end", &out_word, 0x18000, GP, NOTHING},
	    {"INSW over the end, 16-bit pointer", &in16_word, 0xffff, GP, NOTHING},
	};

	for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		for (unsigned n = REAL; n <= UNREAL; n++) {
			uint16_t want = n == REAL ? ends[i].real : ends[i].unreal;

			desk->esi = desk->edi = desk->ebp = ends[i].offset;
			desk->edx = 0xe0;
			expect(modes[n].name, ends[i].name, run(&modes[n], ends[i].s), want);
			if (want != NOTHING)
				expect(modes[n].name, ends[i].name, desk->eip, START16 + 1);
			end_of(modes[n].name, ends[i].name);
		}
}

/* Six bytes at the segment's end and, around it, at its beginning. */
static volatile uint8_t *around(unsigned i)
{
	return (volatile uint8_t *)(uintptr_t)(BASE + ((0xfffd + i) & 0xffff));
}

static void test_wrap(void)
{
	const struct mode *m = &modes[REAL];
	uint8_t saved[6], *to = (uint8_t *)(uintptr_t)TO;
	uint16_t last = *(volatile uint16_t *)(uintptr_t)(BASE + 0xfffe);
	unsigned wrong = 0;

	for (unsigned i = 0; i < 6; i++)
		saved[i] = *around(i);
	desk->esi = 0xfffd;
	desk->edi = at(m, TO);
	desk->ecx = 6;
	expect(m->name, "MOVSB around the end", run(m, &copy16), NOTHING);
	for (unsigned i = 0; i < 6; i++)
		wrong += to[i] != saved[i];
	expect(m->name, "MOVSB around the end: data", wrong, 0);
	expect(m->name, "MOVSB around the end: pointer", desk->esi, 3);
	end_of(m->name, "MOVSB around the end");
	outb(0xe0, 0xa7);
	desk->edi = 0x5555fffd;
	desk->ecx = 0x66660003;
	desk->edx = 0xe0;
	expect(m->name, "INSB to the end", run(m, &in16), NOTHING);
	expect(m->name, "INSB to the end: data", *around(0) << 16 | *around(1) << 8 | *around(2),
	    0xa7a7a7);
	expect(m->name, "INSB to the end: pointer", desk->edi, 0x55550000);
	expect(m->name, "INSB to the end: count", desk->ecx, 0x66660000);
	end_of(m->name, "INSB to the end");
	*around(2) = 0x42;
	desk->esi = 0xffff;
	desk->ecx = 1;
	desk->edx = 0xe0;
	expect(m->name, "OUTSB from the end", run(m, &out16), NOTHING);
	expect(m->name, "OUTSB from the end: data", inb(0xe0), 0x42);
	expect(m->name, "OUTSB from the end: pointer", desk->esi, 0);
	end_of(m->name, "OUTSB from the end");
	desk->eax = 0x1234;
	expect(m->name, "PUSH around the end", run(m, &push_wrap), NOTHING);
	expect(m->name, "PUSH around the end: SP", (uint16_t)desk->ecx, 0xfffe);
	expect(m->name, "PUSH around the end: data",
	    *(volatile uint16_t *)(uintptr_t)(BASE + 0xfffe), 0x1234);
	end_of(m->name, "PUSH around the end");
	*(volatile uint16_t *)(uintptr_t)(BASE + 0xfffe) = last;
	for (unsigned i = 0; i < 3; i++)
		*around(i) = saved[i];
	desk->edi = at(m, TO);
	expect(m->name, "INT n beyond the IDT's limit", run(m, &soft_beyond), GP);
	end_of(m->name, "INT n beyond the IDT's limit");
}

/* --- paging ----------------------------------------------------------------------------------- */

enum paging { FOUR_K, FOUR_M, PAE_4K, PAE_2M, PAGINGS };
static const struct {
	const char *name;
	unsigned mode;
} pagings[PAGINGS] = {{"4 KiB page", PAGES_4K}, {"4 MiB page", PAGES_4M}, {"PAE, 4 KiB page", PAE},
    {"PAE, 2 MiB page", PAE}};

/* The entry that maps the window. */
static uint64_t entry_of(enum paging p)
{
	return p == FOUR_K   ? tables[2][0]
	       : p == FOUR_M ? dir_4m[WINDOW >> 22]
	       : p == PAE_4K ? table_pae[0]
			     : dir_pae[0][WINDOW >> 21];
}

static void map_window(enum paging p, uint64_t flags)
{
	tables[2][0] = WINDOW | (uint32_t)flags;
	dir_4k[WINDOW >> 22] = (uint32_t)(uintptr_t)tables[2] | P | W;
	dir_4m[WINDOW >> 22] = WINDOW | (uint32_t)flags | PS;
	table_pae[0] = WINDOW | flags;
	dir_pae[0][WINDOW >> 21] = p == PAE_4K ? (uintptr_t)table_pae | P | W : WINDOW | flags | PS;
}

SNIPPET(load, "mov (%edi), %al");
SNIPPET(store, "mov %al, (%edi)");
SNIPPET(fetch, "push %edi; ret");
SNIPPET(port_load, "mov $0xe0, %dx; mov %edi, %esi; outsb (%esi), %dx");
SNIPPET(port_store, "mov $0xe0, %dx; insb %dx, %es:(%edi)");
SNIPPET(device_store, "mov $0xff000000, %esi; movsb (%esi), %es:(%edi)");

enum { READS = 1, WRITES = 2, FETCHES = 4, NONE = 0x100 };
static const struct access {
	const char *name;
	const struct snippet *s;
	unsigned what;
} accesses[] = {
    {"MOV from it", &load, READS},
    {"MOV to it", &store, WRITES},
    {"OUTS from it", &port_load, READS},
    {"INS to it", &port_store, WRITES},
    {"MOVS from a device to it", &device_store, WRITES},
    {"code in it", &fetch, FETCHES},
};

/* The page fault's error code, or NONE (4.7). */
struct rights {
	const char *name;
	uint64_t flags;
	bool wp;
	uint8_t pagings; /* that it is for: bits by enum paging */
	uint16_t read, write, fetch;
};
static const struct rights rights[] = {
    {"present", P | W, true, 0xf, NONE, NONE, NONE},
    {"user's", P | W | U, true, 0xf, NONE, NONE, NONE},
    {"absent", W, true, 0x3, 0, 2, 0},
    {"absent", W, true, 0xc, 0, 2, 0x10},
    {"read-only", P, true, 0xf, NONE, 3, NONE},
    {"read-only, no WP", P, false, 0xf, NONE, NONE, NONE},
    {"reserved bit", P | W | 1UL << 21, true, 1 << FOUR_M, 9, 11, 9},
    {"reserved bit", P | W | 1UL << 13, true, 1 << PAE_2M, 9, 11, 0x19},
    {"reserved bit", P | W | 1UL << 62, true, 1 << PAE_4K | 1 << PAE_2M, 9, 11, 0x19},
    {"no execution", P | W | NX, true, 1 << PAE_4K | 1 << PAE_2M, NONE, NONE, 0x11},
};

static void try_access(
    const char *name, enum paging p, const struct rights *r, const struct access *a)
{
	struct mode m = modes[pagings[p].mode];
	uint16_t want = a->what == READS ? r->read : a->what == WRITES ? r->write : r->fetch;
	uint64_t left;

	if (!r->wp)
		m.cr0 &= ~(uint32_t)CR0_WP;
	map_window(p, r->flags);
	*(volatile uint8_t *)(uintptr_t)WINDOW = 0xc3; /* RET */
	*(volatile uint8_t *)(uintptr_t)DEVICE = 0xc3;
	outb(0xe0, 0xc3);
	desk->eax = 0xc3;
	desk->edi = WINDOW;
	expect(name, a->name, run(&m, a->s), want == NONE ? NOTHING : PF);
	left = entry_of(p) & (A | D);
	if (want == NONE) {
		expect(name, a->name, left, a->what == WRITES ? A | D : A);
		return;
	}
	expect(name, a->name, desk->error, want);
	expect(name, a->name, desk->cr2, WINDOW);
	expect(name, a->name, left & D, 0);
}

static void test_rights(void)
{
	for (enum paging p = FOUR_K; p < PAGINGS; p++)
		for (unsigned i = 0; i < sizeof(rights) / sizeof(rights[0]); i++) {
			char name[sizeof(name_text)];

			if (!(rights[i].pagings >> p & 1))
				continue;
			memcpy(name, named(pagings[p].name, rights[i].name), sizeof(name));
			for (unsigned n = 0; n < sizeof(accesses) / sizeof(accesses[0]); n++)
				try_access(name, p, &rights[i], &accesses[n]);
			end_of(pagings[p].name, rights[i].name);
		}
	map_window(PAE_2M, P | W);
}

static void make_tables(void)
{
	for (unsigned i = 0; i < 2048; i++)
		tables[i / 1024][i % 1024] = i << 12 | P | W;
	for (unsigned i = 0; i < 1024; i++) {
		dir_4m[i] = i << 22 | P | W | PS;
		tables[3][i] = 0xfec00000 | i << 12 | P | W;
		tables[4][i] = DEVICE | i << 12 | P | W;
	}
	dir_4k[0] = (uint32_t)(uintptr_t)tables[0] | P | W;
	dir_4k[1] = (uint32_t)(uintptr_t)tables[1] | P | W;
	dir_4k[0xfec00000 >> 22] = (uint32_t)(uintptr_t)tables[3] | P | W;
	dir_4k[DEVICE >> 22] = (uint32_t)(uintptr_t)tables[4] | P | W;
	for (uint64_t i = 0; i < 2048; i++)
		dir_pae[i / 512][i % 512] = i << 21 | P | W | PS;
	for (unsigned i = 0; i < 4; i++)
		pdpt[0][i] = pdpt[1][i] = (uintptr_t)dir_pae[i] | P;
	map_window(PAE_2M, P | W);
}

#define SET_CR0(name, change)  SNIPPET(name, "mov %cr0, %eax; " change "; mov %eax, %cr0")
#define SET_CR4(name, change)  SNIPPET(name, "mov %cr4, %eax; " change "; mov %eax, %cr4")
#define SET_EFER(name, change) SNIPPET(name, "mov $0xc0000080, %ecx; rdmsr; " change "; wrmsr")

/* --- PDPTEs (4.4.1) --------------------------------------------------------------------------- */

SET_CR4(set_pae, "or $0x20, %eax");
SNIPPET(load_cr3, "nop; mov %edi, %cr3");
SET_CR0(set_paging, "or $0x80000000, %eax");
/* EBP: an entry in memory; ESI: device memory that it maps; EBX: how far it comes */
SNIPPET(stale_pdpte, "xor %ebx, %ebx; mov (%esi), %eax; andl $~1, (%ebp); invlpg (%esi);"
		     "mov (%esi), %ecx; inc %ebx; lea 8(%esi), %edi; movsb (%esi), %es:(%edi);"
		     "inc %ebx; mov %cr3, %edx; mov %edx, %cr3; mov (%edi), %edx");

static void test_pdptes(void)
{
	enum { ACCESSED = 5 };
	static const uint8_t reserved[] = {1, 2, ACCESSED, 6, 7, 8, 52, 62, 63};
	struct mode m = modes[PAE], off = modes[PLAIN32];

	off.cr4 = CR4_PAE;
	off.cr3 = pdpt[1];
	for (unsigned i = 0; i < sizeof(reserved); i++) {
		if (reserved[i] == ACCESSED && says("nopdptes"))
			continue; /* QEMU's walks set it */
		pdpt[1][2] ^= 1UL << reserved[i];
		expect("PDPTE", "reserved bit at CR0.PG", run(&off, &set_paging), GP);
		desk->edi = (uint32_t)(uintptr_t)pdpt[1];
		if (!says("nopdptes"))
			expect("PDPTE", "reserved bit at MOV CR3", run(&m, &load_cr3), GP);
		pdpt[1][2] &= ~(uint64_t)P;
		expect("PDPTE", "absent, all bits free, CR0.PG", run(&off, &set_paging), NOTHING);
		desk->edi = (uint32_t)(uintptr_t)pdpt[1];
		expect("PDPTE", "absent, all bits free, MOV CR3", run(&m, &load_cr3), NOTHING);
		pdpt[1][2] = pdpt[0][2];
	}
	end_of("PDPTE", "reserved bits");
	/* a directory's entries are no PDPTEs */
	m = modes[PAGES_4M];
	desk->edi = 0;
	expect("PDPTE", "reserved bit at CR4.PAE", run(&m, &set_pae), GP);
	end_of("PDPTE", "reserved bit at CR4.PAE");
	if (says("nopdptes"))
		return;
	m = modes[PAE];
	desk->ebp = (uint32_t)(uintptr_t)&pdpt[0][DEVICE >> 30];
	desk->esi = DEVICE;
	*(volatile uint32_t *)(uintptr_t)DEVICE = 0x600df00d;
	expect("PDPTE", "gone at MOV CR3", run(&m, &stale_pdpte), PF);
	expect("PDPTE", "gone at MOV CR3: error", desk->error, 0);
	expect("PDPTE", "gone at MOV CR3: CR2", desk->cr2, DEVICE + 9);
	expect("PDPTE", "a register until then", desk->ebx, 2);
	expect("PDPTE", "a register until then: data", desk->ecx, 0x600df00d);
	end_of("PDPTE", "registers until MOV CR3");
	pdpt[0][DEVICE >> 30] = pdpt[1][DEVICE >> 30];
}

/* --- the ways between modes ------------------------------------------------------------------- */

SET_CR0(paging_without_pe, "or $0x80000000, %eax; and $~1, %eax");
SET_CR0(nw_without_cd, "or $0x20000000, %eax");
SET_CR0(lower_bit, "or $0x1000, %eax");
SET_CR4(cr4_bit_31, "or $0x80000000, %eax");
SET_CR4(cr4_bit_15, "or $0x8000, %eax");
SET_CR4(set_pcide, "or $0x20000, %eax");
SET_CR4(clear_pae, "and $~0x20, %eax");
SET_EFER(efer_bit_9, "or $0x200, %eax");
SET_EFER(efer_bit_32, "or $1, %edx");
SET_EFER(set_lme, "or $0x100, %eax");
SET_EFER(clear_lme, "and $~0x100, %eax");
SET_EFER(toggle_nxe, "xor $0x800, %eax; wrmsr; xor $0x800, %eax");
SNIPPET(long_without_pae, "mov $0xc0000080, %ecx; rdmsr; or $0x100, %eax; wrmsr;"
			  "mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0");

/* Each is tried in each of the modes that are named by bits. */
enum {
	IN_REAL = 1 << REAL,
	IN_PLAIN = 1 << PLAIN16 | 1 << PLAIN32,
	IN_PAGES = 1 << PAGES_4K | 1 << PAGES_4M | 1 << PAE,
	IN_COMPAT = 1 << COMPAT,
	IN_ALL = (1 << MODES) - 1
};
static const struct {
	const char *name;
	const struct snippet *s;
	uint16_t modes, vector;
} ways[] = {
    {"PG without PE", &paging_without_pe, IN_ALL, GP},
    {"NW without CD", &nw_without_cd, IN_ALL, GP},
    {"reserved bit of CR0's lower half", &lower_bit, IN_ALL, NOTHING},
    {"CR4: bit 31", &cr4_bit_31, IN_ALL, GP},
    {"CR4: bit 15", &cr4_bit_15, IN_ALL, GP},
    {"CR4: PCIDE", &set_pcide, IN_ALL & ~IN_COMPAT, GP},
    {"EFER: bit 9", &efer_bit_9, IN_ALL, GP},
    {"EFER: bit 32", &efer_bit_32, IN_ALL, GP},
    {"EFER: NXE off and on", &toggle_nxe, IN_ALL, NOTHING},
    {"EFER: LME", &set_lme, IN_REAL | IN_PLAIN, NOTHING},
    {"EFER: LME with paging", &set_lme, IN_PAGES, GP},
    {"EFER: LME off with paging", &clear_lme, IN_COMPAT, GP},
    {"PG with LME, without PAE", &long_without_pae, IN_PLAIN, GP},
    {"CR4: PAE off in long mode", &clear_pae, IN_COMPAT, GP},
};

/* EDI: page tables of long mode; EAX, EBX, EDX: EFER without LMA, with it, without it again */
SNIPPET(to_long, "mov %cr4, %eax; or $0x20, %eax; mov %eax, %cr4; mov %edi, %cr3;"
		 "mov $0xc0000080, %ecx; rdmsr; or $0x100, %eax; wrmsr; rdmsr; mov %eax, %esi;"
		 "mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0; rdmsr; mov %eax, %ebx;"
		 "mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0; rdmsr; mov %eax, %edi;"
		 "and $~0x100, %eax; wrmsr; rdmsr");
SNIPPET(lmsw_pe, "smsw %eax; and $~1, %eax; lmsw %ax; smsw %eax");
SNIPPET(lmsw_to_protected, "smsw %eax; or $1, %eax; lmsw %ax; mov %cr0, %ecx; mov %ecx, %eax;"
			   "and $~1, %eax; mov %eax, %cr0; mov %cr0, %eax");

static void test_ways(void)
{
	const struct mode *m = &modes[PLAIN32];

	for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		for (unsigned n = 0; n < MODES; n++)
			if (ways[i].modes >> n & 1)
				expect(modes[n].name, ways[i].name, run(&modes[n], ways[i].s),
				    ways[i].vector);
		end_of("all modes", ways[i].name);
	}
	desk->edi = (uint32_t)(uintptr_t)arch_pml4;
	check_eq("32 bits: to long mode and back", run(m, &to_long), NOTHING);
	check_eq("LME without paging", desk->esi & (EFER_LME | EFER_LMA), EFER_LME);
	check_eq("LME with paging", desk->ebx & (EFER_LME | EFER_LMA), EFER_LME | EFER_LMA);
	check_eq("LME without paging again", desk->edi & (EFER_LME | EFER_LMA), EFER_LME);
	check_eq("LME off", desk->eax & (EFER_LME | EFER_LMA), 0);
	check_eq("32 bits: LMSW", run(m, &lmsw_pe), NOTHING);
	check_eq("LMSW leaves PE set", desk->eax & CR0_PE, CR0_PE);
	m = &modes[REAL];
	check_eq("real mode: LMSW", run(m, &lmsw_to_protected), NOTHING);
	check_eq("LMSW sets PE", desk->ecx & CR0_PE, CR0_PE);
	check_eq("MOV clears PE", desk->eax & CR0_PE, 0);
}

static void make_low(void)
{
	volatile uint32_t *ivt = NULL;

	__asm__("" : "+r"(ivt)); /* address 0, which the compiler takes for a mistake */
	memcpy((void *)(uintptr_t)BASE, modes_low, (size_t)(modes_low_end - modes_low));
	for (unsigned v = 0; v < VECTORS; v++) {
		uint64_t to = modes_traps32[v];

		ivt[v] = (uint32_t)(BASE >> 4) << 16 | modes_traps16[v];
		modes_idt32[v] = (to & 0xffff) | SEL_CODE32 << 16 | 0x8eUL << 40 | (to >> 16) << 48;
	}
	arch_gdt[SEL_OWN / 8] = 0x00009b010000ffff;	/* code, 16 bits, at BASE */
	arch_gdt[SEL_OWN / 8 + 1] = 0x000093010000ffff; /* data there */
}

void arch_main(void)
{
	make_low();
	make_tables();
	for (unsigned i = 0; i < MODES; i++)
		test_everywhere(&modes[i]);
	test_segment_ends();
	test_wrap();
	test_rights();
	test_pdptes();
	test_ways();
}
