/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * String instructions. Elements are moved in chunks that stay within one page on
 * each side, so that a page is walked once per chunk; what is RAM is moved in
 * one access per chunk, what is not, element by element in the guest's order and
 * width. Registers follow after each chunk: the instruction can stop anywhere.
 */
#include <string.h>
#include "hv/arch/x86/emul_impl.h"

enum { CHUNK_BYTES = 64 };

/* Where elements come from and go to. */
enum string_flag {
	STR_SI = 1 << 0,       /* reads seg:rSI */
	STR_DI_READ = 1 << 1,  /* reads ES:rDI, to compare with */
	STR_DI_WRITE = 1 << 2, /* writes ES:rDI */
	STR_IN = 1 << 3,       /* reads port DX */
	STR_OUT = 1 << 4,      /* writes port DX */
	STR_LOAD = 1 << 5,     /* goes to rAX */
};

/* One side of the movement: memory at rSI or rDI. */
struct side {
	unsigned reg, seg, access;
	bool ram;	  /* a chunk may be moved at once */
	struct span span; /* the first element */
	uint8_t buf[CHUNK_BYTES];
};

struct string {
	struct insn *i;
	unsigned kind; /* enum string_flag */
	unsigned size; /* of an element */
	bool down;     /* RFLAGS.DF */
	bool stop;     /* REPE or REPNE ended by the comparison */
	uint16_t port;
	uint64_t value; /* the element in hand */
	struct side src, dst;
};

static unsigned string_kind(uint8_t opcode)
{
	switch (opcode & 0xfe) {
	case 0x6c:
		return STR_IN | STR_DI_WRITE;
	case 0x6e:
		return STR_SI | STR_OUT;
	case 0xa4:
		return STR_SI | STR_DI_WRITE;
	case 0xa6:
		return STR_SI | STR_DI_READ;
	case 0xaa:
		return STR_DI_WRITE;
	case 0xac:
		return STR_SI | STR_LOAD;
	default: /* 0xae */
		return STR_DI_READ;
	}
}

static uint64_t side_offset(const struct string *t, const struct side *d)
{
	return t->i->s->gpr[d->reg] & size_mask(t->i->addrsize);
}

/* --- a chunk: how many elements, and where -------------------------------------- */

/* Elements from this one on before the page ends or the offset wraps; at least 1. */
static unsigned elements_in_page(const struct string *t, uint64_t offset, uint64_t linear)
{
	uint64_t in_page = linear & (PAGE_SIZE - 1), n, before_wrap;

	if (t->down) {
		n = in_page / t->size + 1;
		before_wrap = offset / t->size + 1;
	} else {
		n = (PAGE_SIZE - in_page) / t->size;
		before_wrap = (size_mask(t->i->addrsize) - offset) / t->size;
	}
	n = MIN(n, before_wrap);
	return n ? (unsigned)MIN(n, (uint64_t)REP_MAX) : 1;
}

/* The offset of the lowest of n elements. */
static uint64_t lowest(const struct string *t, uint64_t offset, unsigned n)
{
	return t->down ? offset - (uint64_t)(n - 1) * t->size : offset;
}

/* Checks and translates one side; lowers *n to what can go in one chunk. */
static enum emul_result side_locate(struct string *t, struct side *d, unsigned *n)
{
	struct insn *i = t->i;
	uint64_t offset = side_offset(t, d), linear, ignored;
	unsigned vector = seg_linear(i, d->seg, offset, t->size, d->access, &linear);

	if (vector)
		return raise(i, vector, 0);
	if (misaligned(i, linear, t->size))
		return raise(i, VEC_AC, 0);
	if ((linear & (PAGE_SIZE - 1)) + t->size > PAGE_SIZE)
		*n = 1;
	*n = MIN(*n, elements_in_page(t, offset, linear));
	/* If the limit cuts the chunk, the fault must come at the right element. */
	if (*n > 1 && seg_linear(i, d->seg, lowest(t, offset, *n), (uint64_t)*n * t->size,
			  d->access, &ignored))
		*n = 1;
	return linear_span(i, linear, t->size, d->access, &d->span);
}

static enum emul_result side_probe(struct string *t, struct side *d, unsigned n)
{
	struct span m = d->span;
	enum emul_result r;

	d->ram = false;
	if (n == 1 && d->access == ACCESS_READ)
		return EMUL_OK; /* nothing to gain */
	if (!m.len[1]) {
		m.gpa[0] = gpa(lowest(t, m.gpa[0].a, n));
		m.len[0] = (uint8_t)(n * t->size);
	}
	r = mem_probe(t->i, &m, d->access == ACCESS_WRITE, &d->ram);
	if (t->down || m.len[1])
		d->ram = false;
	return r;
}

static bool overlap(const struct string *t, unsigned n)
{
	uint64_t a = t->src.span.gpa[0].a, b = t->dst.span.gpa[0].a;

	return (a > b ? a - b : b - a) < (uint64_t)n * t->size;
}

static bool uses_src(const struct string *t)
{
	return t->kind & STR_SI;
}

static bool uses_dst(const struct string *t)
{
	return t->kind & (STR_DI_READ | STR_DI_WRITE);
}

/* Everything that can fault, and finding out what is RAM. On return *n elements may be moved. */
static enum emul_result chunk_prepare(struct string *t, unsigned *n)
{
	enum emul_result r = EMUL_OK;

	*n = MIN(*n, CHUNK_BYTES / t->size);
	if (uses_src(t))
		r = side_locate(t, &t->src, n);
	if (r == EMUL_OK && uses_dst(t))
		r = side_locate(t, &t->dst, n);
	if (r == EMUL_OK && uses_src(t))
		r = side_probe(t, &t->src, *n);
	if (r == EMUL_OK && uses_dst(t))
		r = side_probe(t, &t->dst, *n);
	/* A chunk at once must be as good as one element after the other. */
	if (uses_src(t) && (t->kind & STR_DI_WRITE) && overlap(t, *n))
		t->src.ram = t->dst.ram = false;
	return r;
}

/* --- moving --------------------------------------------------------------------- */

/* Reads or writes a whole chunk of RAM. */
static enum emul_result side_burst(struct string *t, struct side *d, unsigned n)
{
	struct span m = d->span;

	m.len[0] = (uint8_t)(n * t->size);
	return d->access == ACCESS_WRITE ? mem_write(t->i, &m, d->buf) : mem_read(t->i, &m, d->buf);
}

static struct span element_span(const struct string *t, const struct side *d, unsigned k)
{
	struct span m = d->span;
	uint64_t distance = (uint64_t)k * t->size;

	m.gpa[0].a += t->down ? -distance : distance;
	return m;
}

static enum emul_result side_get(struct string *t, struct side *d, unsigned k, uint64_t *value)
{
	struct span m;

	*value = 0;
	if (d->ram) {
		memcpy(value, d->buf + k * t->size, t->size);
		return EMUL_OK;
	}
	m = element_span(t, d, k);
	return mem_read(t->i, &m, value);
}

static enum emul_result side_put(struct string *t, struct side *d, unsigned k, uint64_t value)
{
	struct span m;

	if (d->ram) {
		memcpy(d->buf + k * t->size, &value, t->size);
		return EMUL_OK;
	}
	m = element_span(t, d, k);
	return mem_write(t->i, &m, &value);
}

static enum emul_result compare(struct string *t, unsigned k)
{
	struct insn *i = t->i;
	enum emul_result r;

	i->dst = t->value;
	r = side_get(t, &t->dst, k, &i->src);
	if (r != EMUL_OK)
		return r;
	exec_sub(i);
	if (i->rep)
		t->stop = !(i->rflags & RFLAGS_ZF) == (i->rep == 0xf3);
	return EMUL_OK;
}

static enum emul_result move_element(struct string *t, unsigned k)
{
	enum emul_result r = EMUL_OK;
	uint64_t value = t->value;

	if (t->kind & STR_SI)
		r = side_get(t, &t->src, k, &value);
	else if (t->kind & STR_IN)
		r = port_read(t->i, t->port, t->size, &value);
	if (r != EMUL_OK)
		return r;
	t->value = value;
	if (t->kind & STR_DI_WRITE)
		return side_put(t, &t->dst, k, t->value);
	if (t->kind & STR_DI_READ)
		return compare(t, k);
	if (t->kind & STR_OUT)
		return port_write(t->i, t->port, t->size, t->value);
	return EMUL_OK;
}

static void advance(struct string *t, const struct side *d, unsigned n)
{
	uint64_t distance = (uint64_t)n * t->size, *reg = &t->i->s->gpr[d->reg];

	reg_write(t->i, d->reg, t->i->addrsize, t->down ? *reg - distance : *reg + distance);
}

static void chunk_commit(struct string *t, unsigned n)
{
	struct insn *i = t->i;

	if (uses_src(t))
		advance(t, &t->src, n);
	if (uses_dst(t))
		advance(t, &t->dst, n);
	if (i->rep)
		reg_write(i, GPR_RCX, i->addrsize, i->s->gpr[GPR_RCX] - n);
	if (t->kind & STR_LOAD)
		reg_write(i, GPR_RAX, t->size, t->value);
	i->s->rflags = i->rflags;
}

/* Moves up to *n elements and commits them; *n becomes how many, whatever the result. */
static enum emul_result chunk(struct string *t, unsigned *n)
{
	unsigned want = *n, done = 0;
	enum emul_result r;

	*n = 0;
	r = chunk_prepare(t, &want);
	if (r == EMUL_OK && uses_src(t) && t->src.ram)
		r = side_burst(t, &t->src, want);
	if (r == EMUL_OK && (t->kind & STR_DI_READ) && t->dst.ram)
		r = side_burst(t, &t->dst, want);
	while (r == EMUL_OK && done < want && !t->stop) {
		r = move_element(t, done);
		if (r == EMUL_OK)
			done++;
	}
	if (!done)
		return r;
	if ((t->kind & STR_DI_WRITE) && t->dst.ram && side_burst(t, &t->dst, done) != EMUL_OK)
		return EMUL_RETRY;
	chunk_commit(t, done);
	*n = done;
	return r;
}

/* --- the instruction ------------------------------------------------------------ */

static enum emul_result repeat(struct string *t)
{
	struct insn *i = t->i;
	uint64_t left = i->s->gpr[GPR_RCX] & size_mask(i->addrsize);
	unsigned budget = i->s->rflags & RFLAGS_TF ? 1 : REP_MAX;
	bool progress = false;

	while (left && budget && !t->stop) {
		unsigned n = (unsigned)MIN(left, (uint64_t)budget);
		enum emul_result r = chunk(t, &n);

		left -= n;
		budget -= n;
		progress |= n != 0;
		if (r == EMUL_RETRY && progress)
			return EMUL_CONTINUE;
		if (r != EMUL_OK)
			return r;
	}
	return left && !t->stop ? EMUL_CONTINUE : EMUL_OK;
}

enum emul_result exec_string(struct insn *i)
{
	struct string t;
	unsigned one = 1;

	t.i = i;
	t.kind = string_kind(i->opcode);
	if (t.kind & (STR_IN | STR_OUT))
		i->size = MIN(i->size, (uint8_t)4);
	t.size = i->size;
	t.down = i->s->rflags & RFLAGS_DF;
	t.stop = false;
	t.port = (uint16_t)i->s->gpr[GPR_RDX];
	t.value = i->s->gpr[GPR_RAX] & size_mask(t.size); /* STOS and SCAS */
	t.src.reg = GPR_RSI;
	t.src.seg = i->seg_override != REG_NONE ? i->seg_override : SEG_DS;
	t.src.access = ACCESS_READ;
	t.dst.reg = GPR_RDI;
	t.dst.seg = SEG_ES;
	t.dst.access = t.kind & STR_DI_WRITE ? ACCESS_WRITE : ACCESS_READ;
	if (t.kind & (STR_IN | STR_OUT)) {
		enum emul_result r = io_permission(i, t.port, t.size);

		if (r != EMUL_OK)
			return r;
	}
	return i->rep ? repeat(&t) : chunk(&t, &one);
}
