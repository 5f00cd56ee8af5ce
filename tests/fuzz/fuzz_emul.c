/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Promise (I4): no state, instruction, page table or answer of memory makes the
 * emulator crash, loop, or break its contract. The input is a script: first bytes
 * for parts of the state, then what every access is answered with.
 */
#include <stdlib.h>
#include <string.h>
#include "hv/arch/x86/emul.h"
#include "hv/lib/error.h"

struct script {
	const uint8_t *p, *end;
	unsigned calls;
};

/* Calls that one emulate() may make at most: a walk has 8 tries of 8, a repeat 64 elements with two
 * sides. */
enum { MAX_CALLS = 64 * 1024 };

static void take(struct script *s, void *buf, size_t len)
{
	size_t n = (size_t)(s->end - s->p);

	n = n < len ? n : len;
	memset(buf, 0, len);
	memcpy(buf, s->p, n);
	s->p += n;
}

static uint8_t take_byte(struct script *s)
{
	uint8_t b;

	take(s, &b, 1);
	return b;
}

static void require(bool ok)
{
	if (!ok)
		abort();
}

/* Most accesses succeed. */
static int answer(struct script *s, unsigned len)
{
	uint8_t b = take_byte(s);

	require(len >= 1 && len <= 64);
	require(++s->calls < MAX_CALLS);
	if (b == 0xfe)
		return ERR_RETRY;
	return b == 0xfd ? ERR_FAULT : OK;
}

static void check_address(gpa_t addr, unsigned len)
{
	require((addr.a & (PAGE_SIZE - 1)) + len <= PAGE_SIZE);
}

static int fuzz_read(void *ctx, gpa_t addr, void *buf, unsigned len)
{
	int err = answer(ctx, len);

	check_address(addr, len);
	if (err == OK)
		take(ctx, buf, len);
	return err;
}

static int fuzz_write(void *ctx, gpa_t addr, const void *buf, unsigned len)
{
	volatile uint8_t sum = 0;

	check_address(addr, len);
	for (unsigned n = 0; n < len; n++)
		sum = (uint8_t)(sum + ((const uint8_t *)buf)[n]);
	return answer(ctx, len);
}

static int fuzz_cmpxchg(void *ctx, gpa_t addr, void *old, const void *desired, unsigned len)
{
	struct script *s = ctx;
	int err = answer(ctx, len);

	check_address(addr, len);
	require(len <= 16 && !(len & (len - 1)));
	(void)desired;
	if (err == OK && (take_byte(s) & 1))
		take(s, old, len);
	return err;
}

static int fuzz_probe(void *ctx, gpa_t addr, unsigned len, bool write)
{
	(void)write;
	check_address(addr, len);
	return answer(ctx, len);
}

static int fuzz_io_read(void *ctx, uint16_t port, unsigned len, uint32_t *value)
{
	int err = answer(ctx, len);

	(void)port;
	require(len == 1 || len == 2 || len == 4);
	if (err == OK)
		take(ctx, value, 4);
	return err;
}

static int fuzz_io_write(void *ctx, uint16_t port, unsigned len, uint32_t value)
{
	(void)port;
	require(len == 4 || !(value >> (8 * len)));
	return answer(ctx, len);
}

/* The parts of the state that the emulator looks at; others stay zero. */
static void take_state(struct script *in, struct vcpu_state *s)
{
	unsigned shape = take_byte(in);

	take(in, s->gpr, sizeof(s->gpr));
	take(in, &s->rip, sizeof(s->rip));
	take(in, &s->rflags, sizeof(s->rflags));
	take(in, s->seg, sizeof(s->seg));
	take(in, s->pdpte, sizeof(s->pdpte));
	take(in, &s->cr0, sizeof(s->cr0));
	take(in, &s->cr3, sizeof(s->cr3));
	take(in, &s->cr4, sizeof(s->cr4));
	take(in, &s->efer, sizeof(s->efer));
	s->cpl = shape >> 6;
	switch (shape & 7) { /* states that get somewhere */
	case 1:		     /* real mode */
		s->cr0 &= ~(uint64_t)(CR0_PE | CR0_PG);
		s->efer = 0;
		break;
	case 2: /* flat, 32 bits, no paging */
	case 3: /* flat, 64 bits, no translation to speak of */
		s->cr0 = CR0_PE;
		s->efer = (shape & 7) == 3 ? EFER_LMA : 0;
		for (unsigned n = 0; n < SEG_COUNT; n++)
			s->seg[n] = (struct seg){.limit = 0xffffffff,
			    .attr = n == SEG_CS ? ((shape & 7) == 3 ? 0xa9b : 0xc9b) : 0xc93};
		s->rip &= 0x7fffffff;
		break;
	default:
		break;
	}
}

static void check_result(const struct emul *e, const struct vcpu_state *before, enum emul_result r)
{
	require(e->insn_len <= 15);
	switch (r) {
	case EMUL_RETRY:
	case EMUL_UNHANDLED:
		require(!memcmp(before, e->state, sizeof(*before)));
		break;
	case EMUL_EXCEPTION:
		require(e->event.type == EVENT_EXCEPTION && e->event.vector < 32);
		require(e->state->rip == before->rip);
		/* only a repeated instruction leaves something done */
		if (e->state->gpr[GPR_RCX] == before->gpr[GPR_RCX])
			require(!memcmp(before, e->state, sizeof(*before)));
		break;
	case EMUL_OK:
		require(e->insn_len > 0);
		break;
	case EMUL_CONTINUE:
		require(e->state->rip == before->rip);
		require(e->state->gpr[GPR_RCX] != before->gpr[GPR_RCX]);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct emul_ops all = {.read = fuzz_read,
	    .write = fuzz_write,
	    .cmpxchg = fuzz_cmpxchg,
	    .probe = fuzz_probe,
	    .io_read = fuzz_io_read,
	    .io_write = fuzz_io_write};
	static struct vcpu_state s, before;
	struct script in = {data, data + size, 0};
	struct emul_ops ops = all;
	struct emul e;
	struct walk w;
	enum emul_result r;
	unsigned options;

	memset(&s, 0, sizeof(s));
	memset(&e, 0xa5, sizeof(e));
	e.insn_bytes = take_byte(&in);
	take(&in, e.insn, sizeof(e.insn));
	options = take_byte(&in);
	if (options & 1)
		ops.probe = NULL;
	take_state(&in, &s);
	e.state = &s;
	e.ops = &ops;
	e.ctx = &in;
	before = s;
	if (options & 2)
		r = emulate_mmio(&e, gpa(take_byte(&in)), options & 4);
	else
		r = emulate(&e);
	check_result(&e, &before, r);
	in.calls = 0;
	require(emul_insn_length(&e) <= 15);
	guest_walk(&s, &ops, &in, s.gpr[GPR_RAX], take_byte(&in) & 15, &w);
	ops.cmpxchg = NULL;
	guest_walk(&s, &ops, &in, s.gpr[GPR_RCX], ACCESS_READ, &w);
	return 0;
}
