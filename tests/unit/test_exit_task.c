/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hardware task switches, hv/core/exit_task.c by its source: what is stored and loaded, by source
 * and by format of the TSS; every fault, and on which side of the commit point; waiting for memory.
 * Every state that comes out has to pass the checks of a VM entry.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hv/arch/x86/vmx/vmx_impl.h"
#include "hv/core/exit_task.c"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/fake_virt.h"

/* --- the rest of the core ---------------------------------------------------------- */

static unsigned flushes;

static void flush(struct vcpu *v)
{
	flushes++;
}

static const struct virt_ops ops = {.flush = flush, .keeps_pdptes = true};
const struct virt_ops *virt = &ops;
static struct {
	int vector; /* -1: none */
	uint32_t error;
	uint64_t cr2;
	unsigned type; /* of the event that was under way */
} raised;
static bool bad_pdptes;

void vcpu_exception(struct vcpu *v, uint8_t vector, bool has_error, uint32_t error_code)
{
	assert_int_equal(raised.vector, -1);
	assert_int_equal(has_error, vector != VEC_DB);
	raised.vector = vector;
	raised.error = error_code;
	raised.type = v->state.injected.type;
	v->state.injected.type = EVENT_NONE;
	v->state.pending = (struct event){EVENT_EXCEPTION, vector, has_error, 0, error_code};
}

void vcpu_page_fault(struct vcpu *v, uint64_t cr2, uint32_t error_code)
{
	vcpu_exception(v, VEC_PF, true, error_code);
	raised.cr2 = cr2;
}

void vcpu_refresh_pdptes(struct vcpu *v)
{
}

bool vcpu_read_pdptes(struct vcpu *v, uint64_t cr3, uint64_t pdpte[4])
{
	return !bad_pdptes && gmem_read(v->vm, gpa(cr3), pdpte, 32) == OK;
}

/* --- a vCPU in a task ------------------------------------------------------------------ */

enum place {
	AT_GDT = 0x1000,
	AT_OLD = 0x2000,
	AT_NEW = 0x3000,
	AT_LDT = 0x4000,
	AT_STACK = 0x6000,
	AT_DIRECTORY = 0x8000,
	AT_TABLE = 0x9000,
	AT_DIRECTORY2 = 0xa000,
	RAM = 0x100000
};
enum sel {
	S_CODE = 0x08,
	S_DATA = 0x10,
	S_OLD = 0x18,
	S_NEW = 0x20,
	S_LDT = 0x28,
	S_USER_CODE = 0x33,
	S_USER_DATA = 0x3b,
	S_NO_CODE = 0x40,
	S_NO_DATA = 0x48,
	S_READ_ONLY = 0x50,
	S_CONFORMING = 0x58,
	S_NO_LDT = 0x60,
	S_DATA16 = 0x68,
	S_DOWN = 0x70,
	S_BEYOND = 0x100
};
enum { OLD_RIP = 0x1234, NEW_EIP = 0x5678, LIMIT_TSS = 0x67, EDX_NEW = 0x102 };
enum { OLD16 = 1, NEW16 = 2 };

static struct vm *vm;
static struct cpu_model model;
static struct vm_exit exit_of;

static uint8_t *ram(void)
{
	return fake_of(vm)->ram;
}

static void put(uint32_t at, unsigned len, uint64_t value)
{
	memcpy(ram() + at, &value, len);
}

static uint32_t get(uint32_t at, unsigned len)
{
	uint32_t value = 0;

	memcpy(&value, ram() + at, len);
	return value;
}

/* flags: G and D in bits 3 and 2 */
static void descriptor(
    uint32_t table, uint16_t sel, uint32_t base, uint32_t limit, uint8_t type, uint8_t flags)
{
	put(table + (sel & 0xfff8), 8,
	    (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)type << 40 |
		(uint64_t)(limit >> 16) << 48 | (uint64_t)flags << 52 |
		(uint64_t)(base >> 24) << 56);
}

static uint8_t type_of(uint16_t sel)
{
	return ram()[AT_GDT + (sel & 0xfff8) + 5];
}

static void put_segment(struct seg *g, uint16_t sel)
{
	uint64_t d;

	memcpy(&d, ram() + AT_GDT + (sel & 0xfff8), 8);
	*g = seg_from_descriptor(sel, d);
}

static void make_new_tss(bool small)
{
	uint16_t start = small ? 0x0e : 0x20, w = small ? 2 : 4;

	memset(ram() + AT_NEW, 0, 0x68);
	put(AT_NEW + start, w, NEW_EIP);
	put(AT_NEW + start + w, w, 2);
	for (unsigned n = 0; n < 8; n++)
		put(AT_NEW + start + (2 + n) * w, w, 0x100 + n);
	put(AT_NEW + start + (2 + GPR_RSP) * w, w, AT_STACK + 0x800);
	for (unsigned n = 0; n < (small ? 4 : 6); n++)
		put(AT_NEW + start + (10 + n) * w, w, n == SEG_CS ? S_CODE : S_DATA);
}

/* In 32-bit protected mode without paging; the exit is that of a CALL. */
static struct vcpu *prepare(unsigned format)
{
	struct vcpu *v = vm->vcpus[0];
	struct vcpu_state *s = &v->state;

	memset(ram(), 0, RAM);
	descriptor(AT_GDT, S_CODE, 0, 0xfffff, 0x9b, 0xc);
	descriptor(AT_GDT, S_DATA, 0, 0xfffff, 0x93, 0xc);
	descriptor(AT_GDT, S_OLD, AT_OLD, LIMIT_TSS, format & OLD16 ? 0x83 : 0x8b, 0);
	descriptor(AT_GDT, S_NEW, AT_NEW, LIMIT_TSS, format & NEW16 ? 0x81 : 0x89, 0);
	descriptor(AT_GDT, S_LDT, AT_LDT, 0x1f, 0x82, 0);
	descriptor(AT_GDT, S_USER_CODE, 0, 0xfffff, 0xfb, 0xc);
	descriptor(AT_GDT, S_USER_DATA, 0, 0xfffff, 0xf3, 0xc);
	descriptor(AT_GDT, S_NO_CODE, 0, 0xfffff, 0x1b, 0xc);
	descriptor(AT_GDT, S_NO_DATA, 0, 0xfffff, 0x13, 0xc);
	descriptor(AT_GDT, S_READ_ONLY, 0, 0xfffff, 0x91, 0xc);
	descriptor(AT_GDT, S_CONFORMING, 0, 0xfffff, 0x9e, 0xc);
	descriptor(AT_GDT, S_NO_LDT, AT_LDT, 0x1f, 0x02, 0);
	descriptor(AT_GDT, S_DATA16, 0, 0x6fff, 0x93, 0);
	descriptor(AT_GDT, S_DOWN, 0, 0x6fff, 0x97, 0x4);
	make_new_tss(format & NEW16);
	memset(ram() + AT_OLD, 0xee, 0x68);

	vcpu_state_reset(s, 0, true);
	s->cr0 = CR0_PE | CR0_ET | CR0_WP;
	s->rip = OLD_RIP;
	s->rflags = RFLAGS_FIXED | RFLAGS_IF | RFLAGS_NT;
	s->gdtr = (struct desc_table){AT_GDT, 0x7f};
	for (unsigned n = 0; n <= SEG_GS; n++)
		put_segment(&s->seg[n], n == SEG_CS ? S_CODE : S_DATA);
	put_segment(&s->seg[SEG_TR], S_OLD);
	for (unsigned n = 0; n < 8; n++)
		s->gpr[n] = 0xaaaa0000 + n;
	s->dr7 = 0x400 | 0x755;
	s->sti_shadow = 1;
	v->valid = VG_ALL;
	v->dirty = 0;
	exit_of = (struct vm_exit){
	    .reason = EXIT_TASK_SWITCH, .insn_len = 7, .task = {.sel = S_NEW, .source = TASK_CALL}};
	raised.vector = -1;
	flushes = 0;
	bad_pdptes = false;
	fake_of(vm)->gmem_fail_len = 0;
	return v;
}

static struct vcpu *prepare_event(unsigned format, struct event ev, bool external)
{
	struct vcpu *v = prepare(format);

	v->state.injected = ev;
	exit_of.insn_len = 0;
	exit_of.task.source = TASK_GATE;
	exit_of.task.external = external;
	return v;
}

/* A CPU takes the state, with the event that waits in it. */
static void assert_enters(struct vcpu *v)
{
	struct errmsg e = {{0}};
	const char *broken;

	if (vcpu_state_check(&v->state, &e))
		fail_msg("state: %s", e.text);
	broken = fake_vmx_pass(v, 39);
	if (broken)
		fail_msg("entry: %s", broken);
}

static void assert_switched(struct vcpu *v)
{
	const struct vcpu_state *s = &v->state;

	assert_int_equal(s->seg[SEG_TR].sel, exit_of.task.sel);
	assert_int_equal(s->seg[SEG_TR].attr & TSS_BUSY, TSS_BUSY);
	assert_true(s->cr0 & CR0_TS);
	assert_int_equal(v->dirty & (VG_SEGS | VG_CRS | VG_DRS), VG_SEGS | VG_CRS | VG_DRS);
	assert_enters(v);
}

/* --- switches ------------------------------------------------------------------------- */

static void each_source_and_format(void **state)
{
	static const struct {
		enum task_source source;
		unsigned len;
		bool old_busy, old_nt, new_nt, link;
	} cases[] = {
	    {TASK_CALL, 7, true, true, true, true}, {TASK_JMP, 7, false, true, false, false},
	    {TASK_IRET, 1, false, false, false, false},
	    {TASK_GATE, 2, true, true, true, true}, /* INT n */
	    {TASK_GATE, 0, true, true, true, true}, /* interrupt */
	};

	for (unsigned i = 0; i < ARRAY_LEN(cases) * 4; i++) {
		unsigned format = i & 3, c = i / 4, w = format & OLD16 ? 2 : 4;
		uint32_t at = AT_OLD + (format & OLD16 ? 0x0e : 0x20);
		struct vcpu *v = prepare(format);
		struct vcpu_state *s = &v->state;

		exit_of.task.source = cases[c].source;
		exit_of.insn_len = (uint8_t)cases[c].len;
		if (cases[c].source == TASK_IRET)
			ram()[AT_GDT + S_NEW + 5] |= TSS_BUSY_BIT;
		exit_task_switch(v, &exit_of);
		assert_int_equal(raised.vector, -1);
		/* the old task */
		assert_int_equal(get(at, w), OLD_RIP + cases[c].len);
		assert_int_equal(
		    get(at + w, w), RFLAGS_FIXED | RFLAGS_IF | (cases[c].old_nt ? RFLAGS_NT : 0));
		assert_int_equal(get(at + (2 + GPR_RBX) * w, w), w == 2 ? 3 : 0xaaaa0003);
		assert_int_equal(get(at + (10 + SEG_CS) * w, 2), S_CODE);
		assert_int_equal(
		    get(at + (10 + SEG_DS) * w, w), w == 2 ? S_DATA : 0xeeee0000 | S_DATA);
		assert_int_equal(get(AT_OLD + (format & OLD16 ? 0x2a : 0x60), 2), 0xeeee);
		assert_int_equal(get(at - 4, 4), 0xeeeeeeee);
		assert_int_equal(type_of(S_OLD) >> 1 & 1, cases[c].old_busy);
		/* the new one */
		assert_int_equal(type_of(S_NEW) & TSS_BUSY, TSS_BUSY);
		assert_int_equal(get(AT_NEW, 2), cases[c].link ? S_OLD : 0);
		assert_int_equal(s->rip, NEW_EIP);
		assert_int_equal(s->rflags, RFLAGS_FIXED | (cases[c].new_nt ? RFLAGS_NT : 0));
		assert_int_equal(s->gpr[GPR_RDX], EDX_NEW);
		assert_int_equal(s->gpr[GPR_RSP], AT_STACK + 0x800);
		assert_int_equal(s->seg[SEG_SS].sel, S_DATA);
		assert_int_equal(s->seg[SEG_GS].sel, format & NEW16 ? 0 : S_DATA);
		assert_int_equal(s->dr7, 0x600);
		assert_int_equal(s->sti_shadow, 0);
		assert_int_equal(flushes, 0);
		assert_switched(v);
	}
}

/* Two descriptors of one TSS: what the old task stores is what the new one loads. */
static void a_task_with_two_descriptors(void **state)
{
	struct vcpu *v = prepare(0);

	descriptor(AT_GDT, S_OLD, AT_NEW, LIMIT_TSS, 0x8b, 0);
	put_segment(&v->state.seg[SEG_TR], S_OLD);
	exit_of.task.source = TASK_JMP;
	exit_task_switch(v, &exit_of);
	assert_int_equal(v->state.rip, OLD_RIP + 7);
	assert_int_equal(v->state.gpr[GPR_RBX], 0xaaaa0003);
	assert_switched(v);
}

static void user_task_with_an_ldt(void **state)
{
	struct vcpu *v = prepare(0);
	struct vcpu_state *s = &v->state;

	descriptor(AT_LDT, 0x0f, 0, 0xfffff, 0xf2, 0xc); /* not accessed yet */
	put(AT_NEW + 0x60, 2, S_LDT);
	put(AT_NEW + 0x4c, 2, S_USER_CODE);
	put(AT_NEW + 0x50, 2, 0x0f);
	put(AT_NEW + 0x48, 2, S_USER_DATA);
	put(AT_NEW + 0x54, 2, S_CONFORMING | 3);
	put(AT_NEW + 0x58, 2, 0);
	put(AT_NEW + 0x5c, 2, 3);
	exit_task_switch(v, &exit_of);
	assert_int_equal(raised.vector, -1);
	assert_int_equal(s->cpl, 3);
	assert_int_equal(s->seg[SEG_LDTR].base, AT_LDT);
	assert_int_equal(s->seg[SEG_SS].attr, 0xcf3);
	assert_int_equal(ram()[AT_LDT + 0xd], 0xf3);
	assert_int_equal(type_of(S_CONFORMING), 0x9f);
	assert_int_equal(s->seg[SEG_GS].attr, 0);
	assert_switched(v);
}

static void virtual_8086_task(void **state)
{
	for (unsigned bad = 0; bad < 2; bad++) {
		struct vcpu *v = prepare(0);
		struct vcpu_state *s = &v->state;

		put(AT_NEW + 0x24, 4, RFLAGS_FIXED | RFLAGS_VM | RFLAGS_IOPL);
		put(AT_NEW + 0x4c, 2, 0x800);
		put(AT_NEW + 0x5c, 2, 0xffff);
		put(AT_NEW + 0x60, 2, bad ? S_DATA : 0);
		exit_task_switch(v, &exit_of);
		assert_int_equal(raised.vector, bad ? VEC_TS : -1);
		assert_int_equal(s->seg[SEG_CS].base, 0x8000);
		assert_int_equal(s->seg[SEG_GS].base, 0xffff0);
		assert_int_equal(s->cpl, 3);
		assert_switched(v);
	}
}

static void trap_bit(void **state)
{
	struct vcpu *v = prepare(0);

	v->state.dr7 |= DR7_GD;
	put(AT_NEW + 0x64, 2, 1);
	exit_task_switch(v, &exit_of);
	assert_int_equal(raised.vector, VEC_DB);
	assert_int_equal(raised.type, EVENT_NONE);
	assert_true(v->state.dr6 & DR6_BT);
	assert_false(v->state.dr7 & DR7_GD);
	assert_switched(v);
	v = prepare(NEW16);
	put(AT_NEW + 0x64, 2, 1);
	exit_task_switch(v, &exit_of);
	assert_int_equal(raised.vector, -1);
}

/* --- events ----------------------------------------------------------------------------- */

static void error_codes_are_pushed(void **state)
{
	static const struct {
		unsigned format;
		uint16_t ss;
		uint32_t esp;
		int vector;
		uint32_t at, len, left;
	} cases[] = {
	    {0, S_DATA, 0x6800, -1, 0x67fc, 4, 0x67fc},
	    {NEW16, S_DATA, 0x6800, -1, 0x67fe, 2, 0x67fe},
	    {0, S_DATA16, 0x56806, -1, 0x6802, 4, 0x56802}, /* SP only */
	    {0, S_DATA16, 0x7000, -1, 0x6ffc, 4, 0x6ffc},
	    {0, S_DATA16, 0x7001, VEC_SS, 0, 0, 0x7001},
	    {0, S_DATA16, 2, VEC_SS, 0, 0, 2},
	    {0, S_DOWN, 0x7003, VEC_SS, 0, 0, 0x7003}, /* its first byte would be at the limit */
	    {0, S_DOWN, 0x7004, -1, 0x7000, 4, 0x7000},
	};

	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		const struct event ev = {EVENT_EXCEPTION, VEC_GP, 1, 0, 0xbcd8};
		struct vcpu *v = prepare_event(cases[i].format, ev, true);
		bool small = cases[i].format & NEW16;

		put(AT_NEW + (small ? 0x1a : 0x38), small ? 2 : 4, cases[i].esp);
		put(AT_NEW + (small ? 0x26 : 0x50), 2, cases[i].ss);
		exit_task_switch(v, &exit_of);
		assert_int_equal(raised.vector, cases[i].vector);
		assert_int_equal(v->state.gpr[GPR_RSP], cases[i].left);
		if (cases[i].vector < 0)
			assert_int_equal(get(cases[i].at, cases[i].len), 0xbcd8);
		else
			assert_int_equal(raised.error, ERROR_EXT);
		assert_switched(v);
	}
}

static void events_end_with_the_switch(void **state)
{
	static const struct {
		struct event ev;
		bool rf, blocked;
	} cases[] = {
	    {{EVENT_INTR, 0x40, 0, 0, 0}, false, false},
	    {{EVENT_NMI, VEC_NMI, 0, 0, 0}, false, true},
	    {{EVENT_EXCEPTION, VEC_UD, 0, 0, 0}, true, false},
	    {{EVENT_EXCEPTION, VEC_DB, 0, 0, 0}, false, false},
	    {{EVENT_EXCEPTION, VEC_DF, 1, 0, 0}, false, false},
	};

	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		struct vcpu *v = prepare_event(0, cases[i].ev, true);

		v->state.nmi_blocked = 0;
		exit_task_switch(v, &exit_of);
		assert_int_equal(raised.vector, -1);
		assert_int_equal(v->state.injected.type, EVENT_NONE);
		assert_int_equal(get(AT_OLD + 0x20, 4), OLD_RIP);
		assert_int_equal((get(AT_OLD + 0x24, 4) & RFLAGS_RF) != 0, cases[i].rf);
		assert_int_equal(v->state.nmi_blocked, cases[i].blocked);
		assert_switched(v);
	}
}

static void iret_opens_nmis(void **state)
{
	for (unsigned bad = 0; bad < 2; bad++) {
		struct vcpu *v = prepare(0);

		v->state.nmi_blocked = 1;
		exit_of.task.source = TASK_IRET;
		if (!bad)
			ram()[AT_GDT + S_NEW + 5] |= TSS_BUSY_BIT;
		exit_task_switch(v, &exit_of);
		assert_int_equal(raised.vector, bad ? VEC_TS : -1);
		assert_int_equal(v->state.nmi_blocked, 0);
	}
}

/* --- faults ------------------------------------------------------------------------------ */

static void faults_before_the_commit_point(void **state)
{
	static const struct {
		enum task_source source;
		uint16_t sel;
		uint8_t type;
		uint8_t limit, old_limit;
		int vector;
		uint16_t error;
	} cases[] = {
	    {TASK_CALL, S_NEW | 4, 0x89, 0x67, 0x67, VEC_GP, S_NEW | 4},
	    {TASK_CALL, 3, 0x89, 0x67, 0x67, VEC_GP, 0},
	    {TASK_JMP, S_BEYOND, 0x89, 0x67, 0x67, VEC_GP, S_BEYOND},
	    {TASK_IRET, S_BEYOND, 0x8b, 0x67, 0x67, VEC_TS, S_BEYOND},
	    {TASK_JMP, S_NEW, 0x8b, 0x67, 0x67, VEC_GP, S_NEW},
	    {TASK_GATE, S_NEW, 0x8b, 0x67, 0x67, VEC_GP, S_NEW | 1},
	    {TASK_IRET, S_NEW, 0x89, 0x67, 0x67, VEC_TS, S_NEW},
	    {TASK_CALL, S_NEW, 0x93, 0x67, 0x67, VEC_GP, S_NEW},
	    {TASK_CALL, S_NEW, 0x8c, 0x67, 0x67, VEC_GP, S_NEW},
	    {TASK_CALL, S_NEW, 0x09, 0x67, 0x67, VEC_NP, S_NEW},
	    {TASK_IRET, S_NEW, 0x0b, 0x67, 0x67, VEC_NP, S_NEW},
	    {TASK_CALL, S_NEW, 0x89, 0x66, 0x67, VEC_TS, S_NEW},
	    {TASK_CALL, S_NEW, 0x81, 0x2a, 0x67, VEC_TS, S_NEW},
	    {TASK_GATE, S_NEW, 0x89, 0x67, 0x5e, VEC_TS, S_OLD | 1},
	};
	static struct vcpu_state before;
	static uint8_t memory[RAM];

	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		struct vcpu *v = prepare_event(
		    0, (struct event){EVENT_INTR, 0x40, 0, 0, 0}, cases[i].source == TASK_GATE);

		exit_of.task.source = cases[i].source;
		exit_of.task.sel = cases[i].sel;
		descriptor(AT_GDT, S_NEW, AT_NEW, cases[i].limit, cases[i].type, 0);
		v->state.seg[SEG_TR].limit = cases[i].old_limit;
		before = v->state;
		memcpy(memory, ram(), RAM);
		exit_task_switch(v, &exit_of);
		assert_int_equal(raised.vector, cases[i].vector);
		assert_int_equal(raised.error, cases[i].error);
		assert_int_equal(raised.type, EVENT_INTR);
		before.injected = v->state.injected;
		before.pending = v->state.pending;
		assert_memory_equal(&before, &v->state, sizeof(before));
		assert_memory_equal(memory, ram(), RAM);
	}
}

static void faults_in_the_new_task(void **state)
{
	static const struct {
		uint16_t at, value;
		uint8_t vector;
		uint16_t error;
		bool stack; /* CS and SS are loaded */
	} cases[] = {
	    {0x60, S_LDT | 4, VEC_TS, S_LDT | 4, false},
	    {0x60, S_BEYOND, VEC_TS, S_BEYOND, false},
	    {0x60, S_DATA, VEC_TS, S_DATA, false},
	    {0x60, S_OLD, VEC_TS, S_OLD, false},
	    {0x60, S_NO_LDT, VEC_TS, S_NO_LDT, false},
	    {0x4c, 0, VEC_TS, 0, false},
	    {0x4c, 3, VEC_TS, 0, false},
	    {0x4c, S_DATA, VEC_TS, S_DATA, false},
	    {0x4c, S_OLD, VEC_TS, S_OLD, false},
	    {0x4c, S_CODE | 3, VEC_TS, S_CODE, false},
	    {0x4c, S_USER_CODE & ~3, VEC_TS, S_USER_CODE & ~3, false},
	    {0x4c, S_NO_CODE, VEC_NP, S_NO_CODE, false},
	    {0x4c, S_BEYOND, VEC_TS, S_BEYOND, false},
	    {0x4c, 4, VEC_TS, 4, false}, /* without an LDT */
	    {0x50, 0, VEC_TS, 0, false},
	    {0x50, S_READ_ONLY, VEC_TS, S_READ_ONLY, false},
	    {0x50, S_CODE, VEC_TS, S_CODE, false},
	    {0x50, S_DATA | 1, VEC_TS, S_DATA, false},
	    {0x50, S_USER_DATA, VEC_TS, S_USER_DATA & ~3, false},
	    {0x50, S_NO_DATA, VEC_SS, S_NO_DATA, false},
	    {0x54, S_OLD, VEC_TS, S_OLD, true},
	    {0x54, S_DATA | 3, VEC_TS, S_DATA, true},
	    {0x48, S_NO_DATA, VEC_NP, S_NO_DATA, true},
	    {0x58, S_BEYOND, VEC_TS, S_BEYOND, true},
	    {0x5c, 0xc, VEC_TS, 0xc, true},
	};

	for (unsigned i = 0; i < ARRAY_LEN(cases) * 2; i++) {
		unsigned c = i / 2, external = i & 1;
		struct vcpu *v = prepare_event(
		    0, (struct event){external ? EVENT_INTR : EVENT_NONE, 0x40, 0, 0, 0}, external);
		struct vcpu_state *s = &v->state;

		put(AT_NEW + cases[c].at, 2, cases[c].value);
		exit_task_switch(v, &exit_of);
		assert_int_equal(raised.vector, cases[c].vector);
		assert_int_equal(raised.error, cases[c].error | external);
		assert_int_equal(s->rip, NEW_EIP);
		assert_int_equal(s->seg[SEG_CS].sel, get(AT_NEW + 0x4c, 2));
		assert_int_equal(s->seg[SEG_GS].sel, get(AT_NEW + 0x5c, 2));
		assert_int_equal(s->cpl, cases[c].stack ? 0 : 3);
		assert_int_equal(s->seg[SEG_SS].attr & SEG_ATTR_P, cases[c].stack ? SEG_ATTR_P : 0);
		assert_int_equal(type_of(S_NEW) & TSS_BUSY, TSS_BUSY);
		assert_int_equal(get(AT_NEW, 2), S_OLD);
		assert_switched(v);
	}
}

static void eip_within_cs(void **state)
{
	struct vcpu *v = prepare(0);

	descriptor(AT_GDT, S_CODE, 0, NEW_EIP - 1, 0x9b, 4);
	exit_task_switch(v, &exit_of);
	assert_int_equal(raised.vector, VEC_GP);
	assert_int_equal(raised.error, 0);
	assert_int_equal(v->state.rip, NEW_EIP);
	assert_switched(v);
}

/* --- paging -------------------------------------------------------------------------------- */

static struct vcpu *prepare_paging(void)
{
	struct vcpu *v = prepare(0);

	for (unsigned n = 0; n < RAM >> 12; n++)
		put(AT_TABLE + 4 * n, 4, n << 12 | 0x63);
	put(AT_DIRECTORY, 4, AT_TABLE | 0x63);
	put(AT_DIRECTORY2, 4, AT_TABLE | 0x63);
	put(AT_NEW + TSS_CR3, 4, AT_DIRECTORY);
	v->state.cr0 |= CR0_PG;
	v->state.cr3 = AT_DIRECTORY;
	return v;
}

static void page_faults(void **state)
{
	static const struct {
		uint32_t page, flags, cr2, error;
		bool late;
	} cases[] = {
	    {AT_OLD, 0, AT_OLD + 0x20, PF_W, false},
	    {AT_OLD, 1, AT_OLD + 0x20, PF_W | PF_P, false},
	    {AT_NEW, 0, AT_NEW, 0, false},
	    {AT_NEW, 1, AT_NEW, PF_W | PF_P, false}, /* the link */
	    {AT_GDT, 0, AT_GDT + S_NEW, 0, false},
	    {AT_GDT, 1, AT_GDT + S_NEW + 5, PF_W | PF_P, false},
	    {AT_LDT, 0, AT_LDT + 8, 0, true},
	    {AT_LDT, 1, AT_LDT + 13, PF_W | PF_P, true}, /* the accessed bit */
	    {AT_STACK, 0, AT_STACK + 0x7fc, PF_W, true},
	};

	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		struct vcpu *v = prepare_paging();

		v->state.injected = (struct event){EVENT_EXCEPTION, VEC_GP, 1, 0, 0};
		exit_of.insn_len = 0;
		exit_of.task.source = TASK_GATE;
		descriptor(AT_LDT, 0x0c, 0, 0xfffff, 0x92, 0xc);
		put(AT_NEW + 0x60, 2, S_LDT);
		put(AT_NEW + 0x58, 2, 0x0c);
		put(AT_TABLE + (cases[i].page >> 10), 4, cases[i].page | 0x60 | cases[i].flags);
		exit_task_switch(v, &exit_of);
		assert_int_equal(raised.vector, VEC_PF);
		assert_int_equal(raised.cr2, cases[i].cr2);
		assert_int_equal(raised.error, cases[i].error);
		assert_int_equal(raised.type, EVENT_EXCEPTION);
		assert_int_equal(v->state.rip, cases[i].late ? NEW_EIP : OLD_RIP);
		assert_int_equal(v->state.seg[SEG_TR].sel, cases[i].late ? S_NEW : S_OLD);
		assert_int_equal(type_of(S_NEW) & TSS_BUSY, cases[i].late ? TSS_BUSY : 1);
		assert_enters(v);
	}
}

static void cr3_and_what_is_in_it(void **state)
{
	struct vcpu *v = prepare_paging();

	exit_task_switch(v, &exit_of);
	assert_int_equal(flushes, 0);
	v = prepare_paging();
	put(AT_NEW + TSS_CR3, 4, AT_DIRECTORY2);
	exit_task_switch(v, &exit_of);
	assert_int_equal(raised.vector, -1);
	assert_int_equal(v->state.cr3, AT_DIRECTORY2);
	assert_int_equal(flushes, 1);
	assert_switched(v);
	/* where the new tables have no GDT, its descriptors are not found */
	v = prepare_paging();
	put(AT_NEW + TSS_CR3, 4, 0xb000);
	exit_task_switch(v, &exit_of);
	assert_int_equal(raised.vector, VEC_PF);
	assert_int_equal(raised.cr2, AT_GDT + S_CODE);
	assert_int_equal(v->state.cr3, 0xb000);
	assert_switched(v);
}

static void pdptes(void **state)
{
	for (unsigned bad = 0; bad < 2; bad++) {
		struct vcpu *v = prepare(0);
		struct vcpu_state *s = &v->state;

		s->cr0 |= CR0_PG;
		s->cr4 |= CR4_PAE;
		s->cr3 = 0xb000;
		s->pdpte[0] = AT_DIRECTORY | 1;
		put(AT_DIRECTORY, 8, 0xe3);
		put(0xb020, 8, AT_DIRECTORY2 | 1);
		put(AT_DIRECTORY2, 8, 0xe3);
		put(AT_NEW + TSS_CR3, 4, 0xb020);
		bad_pdptes = bad;
		exit_task_switch(v, &exit_of);
		assert_int_equal(raised.vector, bad ? VEC_GP : -1);
		assert_int_equal(s->cr3, bad ? 0xb000 : 0xb020);
		assert_int_equal(s->pdpte[0], (bad ? AT_DIRECTORY : AT_DIRECTORY2) | 1);
		assert_int_equal(flushes, !bad);
		assert_switched(v);
	}
}

/* Whatever has to be waited for: the switch, and the event, can be had again. */
static void waiting_changes_nothing(void **state)
{
	static const uint32_t places[] = {AT_OLD, AT_NEW, AT_GDT, AT_LDT, AT_STACK, AT_TABLE};
	static struct vcpu_state before;

	for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
		struct fake_vm *f = fake_of(vm);
		struct vcpu *v = prepare_paging();

		v->state.injected = (struct event){EVENT_EXCEPTION, VEC_GP, 1, 0, 0x77};
		exit_of.insn_len = 0;
		exit_of.task.source = TASK_GATE;
		descriptor(AT_LDT, 0x0c, 0, 0xfffff, 0x92, 0xc);
		put(AT_NEW + 0x60, 2, S_LDT);
		put(AT_NEW + 0x58, 2, 0x0c);
		put(AT_NEW + TSS_CR3, 4, AT_DIRECTORY2);
		before = v->state;
		f->gmem_fail_start = places[i];
		f->gmem_fail_len = 4096;
		f->gmem_fail_error = ERR_RETRY;
		exit_task_switch(v, &exit_of);
		assert_int_equal(raised.vector, -1);
		assert_memory_equal(&before, &v->state, sizeof(before));
		assert_int_equal(type_of(S_NEW) & TSS_BUSY, 1);
		assert_int_equal(get(AT_NEW, 2), 0);
		f->gmem_fail_len = 0;
		exit_task_switch(v, &exit_of);
		assert_int_equal(raised.vector, -1);
		assert_int_equal(get(AT_STACK + 0x7fc, 4), 0x77);
		assert_int_equal(get(AT_OLD + 0x20, 4), OLD_RIP);
		assert_switched(v);
	}
}

/* TSSs where there is no memory: what is stored is lost, what is loaded is ones. */
static void a_tss_in_device_memory(void **state)
{
	struct vcpu *v = prepare(0);

	descriptor(AT_GDT, S_NEW, 0xfee00000, LIMIT_TSS, 0x89, 0);
	exit_task_switch(v, &exit_of);
	assert_int_equal(raised.vector, VEC_TS);
	assert_int_equal(v->state.rip, UINT32_MAX);
	assert_switched(v);
}

/* --- what VMX tells --------------------------------------------------------------------------- */

static void exits_of_vmx(void **state)
{
	static const struct {
		uint32_t source, info;
		unsigned len;
		bool external;
	} cases[] = {
	    {TASK_CALL, 0, 7, false}, {TASK_IRET, 0, 7, false}, {TASK_JMP, 0, 7, false},
	    {TASK_GATE, 0x80000040, 0, true}, {TASK_GATE, 0x80000202, 0, true},
	    {TASK_GATE, 0x80000b0d, 0, true}, {TASK_GATE, 0x80000480, 7, false}, /* INT n */
	    {TASK_GATE, 0x80000501, 7, true},					 /* INT1 */
	    {TASK_GATE, 0x80000603, 7, false},					 /* INT3 */
	};

	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		struct vm_exit x;

		vmwrite(VMCS_EXIT_QUALIFICATION, cases[i].source << 30 | 0xbeef);
		vmwrite(VMCS_IDT_VECTORING_INFO, cases[i].info);
		vmwrite(VMCS_EXIT_INSN_LEN, 7);
		vmx_decode_exit(vm->vcpus[0], VMX_EXIT_TASK_SWITCH, &x);
		assert_int_equal(x.reason, EXIT_TASK_SWITCH);
		assert_int_equal(x.task.source, cases[i].source);
		assert_int_equal(x.task.sel, 0xbeef);
		assert_int_equal(x.insn_len, cases[i].len);
		assert_int_equal(x.task.external, cases[i].external);
	}
}

static int setup(void **state)
{
	vm = fake_vm_new(1, RAM);
	model.phys_bits = 36;
	vm->cpu_model = &model;
	return 0;
}

static int teardown(void **state)
{
	vm->cpu_model = NULL;
	fake_vm_free(vm);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_source_and_format),
	    cmocka_unit_test(a_task_with_two_descriptors),
	    cmocka_unit_test(user_task_with_an_ldt),
	    cmocka_unit_test(virtual_8086_task),
	    cmocka_unit_test(trap_bit),
	    cmocka_unit_test(error_codes_are_pushed),
	    cmocka_unit_test(events_end_with_the_switch),
	    cmocka_unit_test(iret_opens_nmis),
	    cmocka_unit_test(faults_before_the_commit_point),
	    cmocka_unit_test(faults_in_the_new_task),
	    cmocka_unit_test(eip_within_cs),
	    cmocka_unit_test(page_faults),
	    cmocka_unit_test(cr3_and_what_is_in_it),
	    cmocka_unit_test(pdptes),
	    cmocka_unit_test(waiting_changes_nothing),
	    cmocka_unit_test(a_tss_in_device_memory),
	    cmocka_unit_test(exits_of_vmx),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
