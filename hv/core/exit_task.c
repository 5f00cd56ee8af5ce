/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hardware task switches (SDM volume 3, 7.3; APM volume 2, 12.3), where the CPU leaves them to
 * the hypervisor: on VMX, which has checked gate, privilege and the new TSS's descriptor (25.4.2).
 *
 * The manual's commit point divides the faults: those before it are the old task's and nothing
 * has happened; those behind it (of LDTR, segments, stack) are the new task's. Here all is read,
 * translated and made ready first, also what comes behind the commit point; only then is anything
 * changed. So a switch that has to wait for memory can be made again from the beginning. Two
 * things come early, and do no harm when done twice: the old task's state in its TSS, and
 * accessed bits.
 *
 * Faults come before the commit point in the order of table 7-1; behind it LDTR, CS, SS, the
 * others, the stack for an error code, EIP.
 */
#include <string.h>
#include "hv/arch/x86/emul.h"
#include "hv/core/gmem.h"
#include "hv/core/vcpu.h"

enum { SEL_RPL = 3, SEL_LDT = 4, SEL_ERROR = 0xfffc, ERROR_EXT = 1 };
/* Descriptor types (SDM volume 3, tables 3-1 and 3-2). */
enum {
	TYPE_ACCESSED = 1,
	TYPE_WRITABLE = 2,
	TYPE_READABLE = 2,
	TYPE_CONFORMING = 4,
	TYPE_EXPAND_DOWN = 4,
	TYPE_CODE = 8,
	TSS_AVAILABLE = 1,
	TSS_BUSY = 3,
	TSS_BUSY_BIT = 2,
	TSS_32 = 8,
	LDT = 2
};
enum { TYPE_BYTE = 5 /* of a descriptor: type, S, DPL, P */ };
#define DR6_BT	  BIT(15)
#define DR7_GD	  BIT(13)
#define DR7_LOCAL 0x155ULL /* L0 to L3, LE */
/* What a TSS can put into RFLAGS. */
#define RFLAGS_LOADABLE 0x3f7fd5U

/*
 * A TSS (figures 7-2 and 7-10): from 'start' on words of one width, namely EIP, EFLAGS, eight
 * general registers and the segment registers, both in the order of our enums, then the LDT's
 * selector.
 */
static const struct tss_format {
	uint8_t bytes; /* its least size */
	uint8_t start, width, segments;
} tss16 = {0x2c, 0x0e, 2, 4}, tss32 = {0x68, 0x20, 4, 6};
enum { WORD_EIP = 0, WORD_EFLAGS = 1, WORD_GPR = 2, WORD_SEGMENT = 10 };
enum { TSS_MAX = 0x68, TSS_CR3 = 0x1c, TSS_TRAP = 0x64 };

/* Guest memory after translation: one piece, or two when it crosses a page. */
struct span {
	gpa_t gpa[2];
	uint8_t len[2];
};

/* What the guest's page walks go by. */
struct tables {
	uint64_t cr3, pdpte[4], rflags;
};

struct task {
	struct vcpu *v;
	const struct vm_exit *x;
	uint16_t ext; /* bit 0 of error codes */
	const struct tss_format *from, *to;
	struct span old, link; /* the old task's state; the new TSS's back link */
	gpa_t old_type, new_type;
	/* the new task */
	uint8_t tss[TSS_MAX];
	struct seg seg[SEG_COUNT];
	uint32_t eip, eflags, gpr[8];
	uint8_t cpl;
	struct span stack; /* where the error code goes, if there is one */
	bool has_error;
	struct {
		uint8_t vector; /* 0: none */
		uint32_t error;
		uint64_t cr2;
	} fault;
};

/* --- guest memory -------------------------------------------------------------------- */

static int table_read(void *ctx, gpa_t addr, void *buf, unsigned len)
{
	const struct vcpu *v = ctx;

	return gmem_read(v->vm, addr, buf, len);
}

static int table_cmpxchg(void *ctx, gpa_t addr, void *old, const void *desired, unsigned len)
{
	const struct vcpu *v = ctx;

	return gmem_cmpxchg(v->vm, addr, old, desired, len);
}

static const struct emul_ops walk_ops = {.read = table_read, .cmpxchg = table_cmpxchg};

/* Notes the fault that ends the switch, or follows it. */
static int fault(struct task *t, uint8_t vector, uint32_t error)
{
	t->fault.vector = vector;
	t->fault.error = error;
	return ERR_FAULT;
}

static int selector_fault(struct task *t, uint8_t vector, uint16_t sel)
{
	return fault(t, vector, (sel & SEL_ERROR) | t->ext);
}

/* Translates and makes ready: OK, ERR_RETRY, or ERR_FAULT with the page fault noted. */
static int reach(struct task *t, uint32_t linear, unsigned len, unsigned access, struct span *m)
{
	unsigned room = (unsigned)(PAGE_SIZE - (linear & (PAGE_SIZE - 1)));
	struct walk w;

	m->len[0] = (uint8_t)MIN(len, room);
	m->len[1] = (uint8_t)(len - m->len[0]);
	for (unsigned n = 0; n < 2 && m->len[n]; n++) {
		switch (guest_walk(&t->v->state, &walk_ops, t->v, linear, access, &w)) {
		case WALK_OK:
			break;
		case WALK_RETRY:
			return ERR_RETRY;
		default:
			t->fault.cr2 = linear;
			return fault(t, VEC_PF, w.error_code);
		}
		m->gpa[n] = w.gpa;
		if (gmem_prepare(t->v->vm, w.gpa, m->len[n], access & ACCESS_WRITE) == ERR_RETRY)
			return ERR_RETRY;
		linear += m->len[n];
	}
	return OK;
}

/* What is not RAM reads as ones, and is not written. */
static void span_read(const struct task *t, const struct span *m, void *buf)
{
	uint8_t *out = buf;

	for (unsigned n = 0; n < 2 && m->len[n]; out += m->len[n++])
		if (gmem_read(t->v->vm, m->gpa[n], out, m->len[n]))
			memset(out, 0xff, m->len[n]);
}

static void span_write(const struct task *t, const struct span *m, const void *buf)
{
	const uint8_t *in = buf;

	for (unsigned n = 0; n < 2 && m->len[n]; in += m->len[n++])
		if (gmem_write(t->v->vm, m->gpa[n], in, m->len[n]))
			return;
}

/* Sets and clears bits of a descriptor's type, locked: another CPU may be at it. */
static void change_type(const struct task *t, gpa_t at, uint8_t set, uint8_t clear)
{
	uint8_t seen = 0, was;

	if (gmem_read(t->v->vm, at, &seen, 1))
		return;
	do {
		uint8_t desired = (uint8_t)((seen | set) & ~clear);

		was = seen;
		if (gmem_cmpxchg(t->v->vm, at, &seen, &desired, 1))
			return;
	} while (seen != was);
}

/* --- descriptors ------------------------------------------------------------------------ */

/* A descriptor of the GDT, or of the LDT, if there can be one, and its linear address. What is
 * beyond the table is this fault. */
static int read_descriptor(struct task *t, uint16_t sel, const struct seg *ldt, uint8_t vector,
    struct seg *g, uint32_t *at)
{
	const struct desc_table *gdtr = &t->v->state.gdtr;
	bool local = sel & SEL_LDT;
	uint64_t d = 0;
	struct span m;
	int err;

	if (local ? !ldt || !(ldt->attr & SEG_ATTR_P) || (sel | 7U) > ldt->limit
		  : (sel | 7U) > gdtr->limit)
		return selector_fault(t, vector, sel);
	*at = (uint32_t)((local ? ldt->base : gdtr->base) + (sel & 0xfff8));
	err = reach(t, *at, sizeof(d), ACCESS_READ | ACCESS_IMPLICIT_SUPERVISOR, &m);
	if (err)
		return err;
	span_read(t, &m, &d);
	*g = seg_from_descriptor(sel, d);
	return OK;
}

/* Where the type of the descriptor at 'at' is changed later. */
static int reach_type(struct task *t, uint32_t at, gpa_t *type)
{
	struct span m;
	int err = reach(t, at + TYPE_BYTE, 1, ACCESS_WRITE | ACCESS_IMPLICIT_SUPERVISOR, &m);

	*type = m.gpa[0];
	return err;
}

static unsigned dpl(const struct seg *g)
{
	return (g->attr & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT;
}

static const struct tss_format *format_of(const struct seg *tr)
{
	return tr->attr & TSS_32 ? &tss32 : &tss16;
}

/* --- before the commit point --------------------------------------------------------------- */

/* The new TSS's descriptor: the CPU has looked at it, but others may have changed it meanwhile. */
static int find_new(struct task *t)
{
	bool iret = t->x->task.source == TASK_IRET;
	uint8_t bad = iret ? VEC_TS : VEC_GP;
	struct seg *tr = &t->seg[SEG_TR];
	uint16_t sel = t->x->task.sel;
	uint32_t at;
	int err = sel & ~SEL_RPL ? read_descriptor(t, sel, NULL, bad, tr, &at)
				 : selector_fault(t, bad, sel);

	if (err)
		return err;
	if ((tr->attr & (SEG_ATTR_S | (SEG_ATTR_TYPE & ~TSS_32))) !=
	    (iret ? TSS_BUSY : TSS_AVAILABLE))
		return selector_fault(t, bad, sel);
	if (!(tr->attr & SEG_ATTR_P))
		return selector_fault(t, VEC_NP, sel);
	t->to = format_of(tr);
	if (tr->limit + 1ULL < t->to->bytes)
		return selector_fault(t, VEC_TS, sel);
	tr->attr |= TSS_BUSY_BIT;
	return iret ? OK : reach_type(t, at, &t->new_type);
}

static unsigned saved_bytes(const struct tss_format *f)
{
	return (WORD_SEGMENT + f->segments) * f->width;
}

static int find_old(struct task *t)
{
	const struct vcpu_state *s = &t->v->state;
	const struct seg *tr = &s->seg[SEG_TR];
	bool stays_busy = t->x->task.source == TASK_CALL || t->x->task.source == TASK_GATE;
	int err;

	t->from = format_of(tr);
	if (tr->limit + 1ULL < (unsigned)t->from->start + saved_bytes(t->from))
		return selector_fault(t, VEC_TS, tr->sel);
	err = reach(t, (uint32_t)tr->base + t->from->start, saved_bytes(t->from),
	    ACCESS_WRITE | ACCESS_IMPLICIT_SUPERVISOR, &t->old);
	if (err || stays_busy)
		return err;
	return reach_type(t, (uint32_t)s->gdtr.base + (tr->sel & 0xfff8), &t->old_type);
}

/* The word at the start of a TSS, and the TSS itself, which is read when the old one is saved. */
static int reach_new(struct task *t, struct span *tss)
{
	uint32_t base = (uint32_t)t->seg[SEG_TR].base;
	int err = reach(t, base, t->to->bytes, ACCESS_READ | ACCESS_IMPLICIT_SUPERVISOR, tss);

	if (err || t->x->task.source == TASK_JMP || t->x->task.source == TASK_IRET)
		return err;
	return reach(t, base, 2, ACCESS_WRITE | ACCESS_IMPLICIT_SUPERVISOR, &t->link);
}

/*
 * The old task goes on behind the instruction, or where the event came. Of the selectors' words the
 * upper halves stay as they are.
 */
static void save_old(struct task *t)
{
	const struct vcpu_state *s = &t->v->state;
	const struct tss_format *f = t->from;
	uint32_t eip = (uint32_t)(s->rip + t->x->insn_len), eflags = (uint32_t)s->rflags;
	uint8_t words[64], *p = words;

	if (t->x->insn_len)
		eflags &= ~(uint32_t)RFLAGS_RF;
	else if (s->injected.type == EVENT_EXCEPTION && vcpu_is_fault(s->injected.vector))
		eflags |= RFLAGS_RF;
	if (t->x->task.source == TASK_IRET)
		eflags &= ~(uint32_t)RFLAGS_NT;
	span_read(t, &t->old, words);
	memcpy(p, &eip, f->width);
	memcpy(p + WORD_EFLAGS * f->width, &eflags, f->width);
	for (unsigned n = 0; n < 8; n++)
		memcpy(p + (WORD_GPR + n) * f->width, &s->gpr[n], f->width);
	for (unsigned n = 0; n < f->segments; n++)
		memcpy(p + (WORD_SEGMENT + n) * f->width, &s->seg[n].sel, sizeof(s->seg[n].sel));
	span_write(t, &t->old, words);
}

/* --- behind the commit point: the new task ------------------------------------------------------
 */

static uint32_t tss_word(const struct task *t, unsigned n)
{
	uint32_t value = 0;

	memcpy(&value, t->tss + t->to->start + n * t->to->width, t->to->width);
	return value;
}

static void read_new(struct task *t, const struct span *tss)
{
	unsigned source = t->x->task.source;

	span_read(t, tss, t->tss);
	t->eip = tss_word(t, WORD_EIP);
	t->eflags = (tss_word(t, WORD_EFLAGS) & RFLAGS_LOADABLE) | RFLAGS_FIXED;
	if (source == TASK_CALL || source == TASK_GATE)
		t->eflags |= RFLAGS_NT;
	for (unsigned n = 0; n < 8; n++)
		t->gpr[n] = tss_word(t, WORD_GPR + n);
	/* unusable, until they are loaded; a TSS of 16 bits has neither FS nor GS */
	for (unsigned n = 0; n <= SEG_GS; n++)
		t->seg[n] = (struct seg){
		    .sel = n < t->to->segments ? (uint16_t)tss_word(t, WORD_SEGMENT + n) : 0};
	t->seg[SEG_LDTR] =
	    (struct seg){.sel = (uint16_t)tss_word(t, WORD_SEGMENT + t->to->segments)};
}

/* CR3 is a part of 32-bit TSSs only, and loaded only where there is paging. */
static int load_tables(struct task *t)
{
	struct vcpu_state *s = &t->v->state;
	uint64_t pdpte[4];
	uint32_t cr3;

	memcpy(&cr3, t->tss + TSS_CR3, sizeof(cr3));
	if (t->to != &tss32 || !(s->cr0 & CR0_PG) || cr3 == s->cr3)
		return OK;
	if (vcpu_pae_paging(s->cr0, s->cr4, s->efer)) {
		if (gmem_prepare(t->v->vm, gpa(cr3 & ~31U), sizeof(pdpte), false) == ERR_RETRY)
			return ERR_RETRY;
		if (!vcpu_read_pdptes(t->v, cr3, pdpte))
			return fault(t, VEC_GP, t->ext);
		memcpy(s->pdpte, pdpte, sizeof(pdpte));
	}
	s->cr3 = cr3;
	return OK;
}

static int load_ldtr(struct task *t)
{
	struct seg g = t->seg[SEG_LDTR];
	uint16_t sel = g.sel;
	uint32_t at;
	int err;

	if (!(sel & ~SEL_RPL))
		return OK;
	err = read_descriptor(t, sel, NULL, VEC_TS, &g, &at);
	if (err)
		return err;
	if ((g.attr & (SEG_ATTR_S | SEG_ATTR_TYPE | SEG_ATTR_P)) != (LDT | SEG_ATTR_P))
		return selector_fault(t, VEC_TS, sel);
	t->seg[SEG_LDTR] = g;
	return OK;
}

/* The vector to raise for a segment that is loaded as the one or the other, or 0. */
static uint8_t check_code(const struct seg *g)
{
	unsigned rpl = g->sel & SEL_RPL;

	if ((g->attr & (SEG_ATTR_S | TYPE_CODE)) != (SEG_ATTR_S | TYPE_CODE) ||
	    (g->attr & TYPE_CONFORMING ? dpl(g) > rpl : dpl(g) != rpl))
		return VEC_TS;
	return g->attr & SEG_ATTR_P ? 0 : VEC_NP;
}

static uint8_t check_stack(const struct seg *g, unsigned cpl)
{
	if ((g->attr & (SEG_ATTR_S | TYPE_CODE | TYPE_WRITABLE)) != (SEG_ATTR_S | TYPE_WRITABLE) ||
	    dpl(g) != cpl || (g->sel & SEL_RPL) != cpl)
		return VEC_TS;
	return g->attr & SEG_ATTR_P ? 0 : VEC_SS;
}

static uint8_t check_data(const struct seg *g, unsigned cpl)
{
	unsigned type = g->attr & SEG_ATTR_TYPE;
	bool conforming = (type & TYPE_CODE) && (type & TYPE_CONFORMING);

	if (!(g->attr & SEG_ATTR_S) || (type & (TYPE_CODE | TYPE_READABLE)) == TYPE_CODE ||
	    (!conforming && dpl(g) < MAX(cpl, g->sel & SEL_RPL)))
		return VEC_TS;
	return g->attr & SEG_ATTR_P ? 0 : VEC_NP;
}

static int load_segment(struct task *t, unsigned n)
{
	uint16_t sel = t->seg[n].sel;
	uint8_t vector;
	struct seg g;
	gpa_t type;
	uint32_t at;
	int err;

	if (!(sel & ~SEL_RPL))
		return n == SEG_CS || n == SEG_SS ? selector_fault(t, VEC_TS, sel) : OK;
	err = read_descriptor(t, sel, &t->seg[SEG_LDTR], VEC_TS, &g, &at);
	if (err)
		return err;
	vector = n == SEG_CS   ? check_code(&g)
		 : n == SEG_SS ? check_stack(&g, t->cpl)
			       : check_data(&g, t->cpl);
	if (vector)
		return selector_fault(t, vector, sel);
	if (!(g.attr & TYPE_ACCESSED)) {
		err = reach_type(t, at, &type);
		if (err)
			return err;
		change_type(t, type, TYPE_ACCESSED, 0);
		g.attr |= TYPE_ACCESSED;
	}
	t->seg[n] = g;
	return OK;
}

/* As virtual-8086 mode has them, without descriptors. */
static void load_8086_segments(struct task *t)
{
	for (unsigned n = 0; n <= SEG_GS; n++) {
		t->seg[n].base = (uint32_t)t->seg[n].sel << 4;
		t->seg[n].limit = 0xffff;
		t->seg[n].attr =
		    TYPE_WRITABLE | TYPE_ACCESSED | SEG_ATTR_S | SEG_ATTR_DPL | SEG_ATTR_P;
	}
	t->cpl = 3;
}

static int load_segments(struct task *t)
{
	static const uint8_t order[] = {SEG_CS, SEG_SS, SEG_DS, SEG_ES, SEG_FS, SEG_GS};
	int err = load_ldtr(t);

	if (t->eflags & RFLAGS_VM) {
		load_8086_segments(t);
		return err;
	}
	t->cpl = t->seg[SEG_CS].sel & SEL_RPL;
	for (unsigned i = 0; i < ARRAY_LEN(order) && !err; i++)
		err = load_segment(t, order[i]);
	return err;
}

/* Room for the error code of the exception that has come by a task gate (6.13). */
static int reach_stack(struct task *t)
{
	const struct event *ev = &t->v->state.injected;
	const struct seg *ss = &t->seg[SEG_SS];
	uint32_t top = ss->attr & SEG_ATTR_DB ? UINT32_MAX : UINT16_MAX;
	uint32_t sp = (t->gpr[GPR_RSP] - t->to->width) & top;
	uint64_t last = (uint64_t)sp + t->to->width - 1;
	int err;

	if (ev->type != EVENT_EXCEPTION || !ev->has_error)
		return OK;
	if (ss->attr & TYPE_EXPAND_DOWN ? sp <= ss->limit || last > top : last > ss->limit)
		return fault(t, VEC_SS, t->ext);
	err = reach(t, (uint32_t)ss->base + sp, t->to->width,
	    ACCESS_WRITE | (t->cpl == 3 ? ACCESS_USER : 0), &t->stack);
	if (err)
		return err;
	t->has_error = true;
	t->gpr[GPR_RSP] = (t->gpr[GPR_RSP] & ~top) | sp;
	return OK;
}

/*
 * Up to SS, a fault finds no stack to stay on: CPL 3 makes its handler take that of the new TSS,
 * or a task gate. What CS is then but for its selector nobody will know.
 */
static void without_stack(struct task *t)
{
	uint16_t sel = t->seg[SEG_CS].sel;

	t->cpl = 3;
	t->seg[SEG_CS] = (struct seg){.limit = 0xffff,
	    .sel = sel,
	    .attr = TYPE_CODE | TYPE_READABLE | TYPE_ACCESSED | SEG_ATTR_S | SEG_ATTR_DPL |
		    SEG_ATTR_P | SEG_ATTR_DB};
	t->seg[SEG_SS] = (struct seg){.sel = t->seg[SEG_SS].sel, .attr = SEG_ATTR_DPL};
}

/* The new task as far as it can be loaded. ERR_FAULT: t->fault is to be raised in it. */
static int load_new(struct task *t)
{
	int err = load_tables(t);

	if (!err) {
		t->v->state.rflags = t->eflags; /* AC: of the stack's walk */
		err = load_segments(t);
	}
	if (!err)
		err = reach_stack(t);
	if (!err && t->eip > t->seg[SEG_CS].limit)
		err = fault(t, VEC_GP, t->ext);
	if (err == ERR_FAULT && (t->eflags & RFLAGS_VM))
		load_8086_segments(t);
	else if (err == ERR_FAULT && !(t->seg[SEG_SS].attr & SEG_ATTR_P))
		without_stack(t);
	return err;
}

/* --- the switch ------------------------------------------------------------------------------ */

static struct tables tables_of(const struct vcpu_state *s)
{
	struct tables w = {.cr3 = s->cr3, .rflags = s->rflags};

	memcpy(w.pdpte, s->pdpte, sizeof(w.pdpte));
	return w;
}

static void put_back(struct vcpu_state *s, const struct tables *w)
{
	s->cr3 = w->cr3;
	s->rflags = w->rflags;
	memcpy(s->pdpte, w->pdpte, sizeof(s->pdpte));
}

/* Busy bits, the back link, the error code: memory that is all ready. */
static void commit_memory(const struct task *t)
{
	const struct vcpu_state *s = &t->v->state;
	unsigned source = t->x->task.source;

	if (source == TASK_JMP || source == TASK_IRET)
		change_type(t, t->old_type, 0, TSS_BUSY_BIT);
	else
		span_write(t, &t->link, &s->seg[SEG_TR].sel);
	if (source != TASK_IRET)
		change_type(t, t->new_type, TSS_BUSY_BIT, 0);
	if (t->has_error)
		span_write(t, &t->stack, &s->injected.error_code);
}

/* CR3 and the PDPTEs are loaded already. */
static void commit_state(const struct task *t)
{
	struct vcpu_state *s = &t->v->state;

	s->rip = t->eip;
	s->rflags = t->eflags;
	for (unsigned n = 0; n < 8; n++)
		s->gpr[n] = t->gpr[n];
	memcpy(s->seg, t->seg, sizeof(s->seg));
	s->cpl = t->cpl;
	s->cr0 |= CR0_TS;
	s->dr7 &= ~DR7_LOCAL;
	s->sti_shadow = s->movss_shadow = 0;
	s->pending_dbg = 0;
	vcpu_changed(t->v, VG_SEGS | VG_CRS | VG_DRS);
}

static void raise_fault(const struct task *t)
{
	if (t->fault.vector == VEC_PF)
		vcpu_page_fault(t->v, t->fault.cr2, t->fault.error);
	else
		vcpu_exception(t->v, t->fault.vector, true, t->fault.error);
}

/* The T bit of a 32-bit TSS: a trap before the new task's first instruction (17.3.1.5). */
static void debug_trap(const struct task *t)
{
	struct vcpu_state *s = &t->v->state;

	if (t->to != &tss32 || !(t->tss[TSS_TRAP] & 1))
		return;
	s->dr6 |= DR6_BT;
	s->dr7 &= ~DR7_GD;
	vcpu_exception(t->v, VEC_DB, false, 0);
}

/* OK, or what is to be done instead; ERR_FAULT with *switched: in the new task. */
static int do_switch(struct task *t, bool *switched)
{
	struct vcpu_state *s = &t->v->state;
	struct tables tables = tables_of(s);
	struct span tss;
	int err = find_new(t);

	*switched = false;
	if (!err)
		err = find_old(t);
	if (!err)
		err = reach_new(t, &tss);
	if (err)
		return err;
	save_old(t);
	read_new(t, &tss);
	err = load_new(t);
	if (err == ERR_RETRY) {
		put_back(s, &tables);
		return err;
	}
	*switched = true;
	commit_memory(t);
	commit_state(t);
	if (s->cr3 != tables.cr3)
		virt->flush(t->v);
	return err;
}

/*
 * An event that has brought the switch is delivered by it. Until then it counts as under way: it
 * comes again if the switch has to wait, and makes a double fault of what goes wrong.
 */
void exit_task_switch(struct vcpu *v, const struct vm_exit *x)
{
	struct task t = {.v = v, .x = x, .ext = x->task.external ? ERROR_EXT : 0};
	struct vcpu_state *s = &v->state;
	bool switched;
	int err;

	vcpu_need(v, VG_ALL);
	vcpu_refresh_pdptes(v);
	err = do_switch(&t, &switched);
	if (err == ERR_RETRY)
		return;
	/* A task gate's NMI is blocked like any other; IRET opens NMIs, even if it faults (6.7.1).
	 */
	if (x->task.source == TASK_IRET)
		s->nmi_blocked = 0;
	else if (s->injected.type == EVENT_NMI)
		s->nmi_blocked = 1;
	if (err) {
		raise_fault(&t);
		return;
	}
	s->injected.type = EVENT_NONE;
	debug_trap(&t);
}
