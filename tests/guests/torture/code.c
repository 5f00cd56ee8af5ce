/* SPDX-License-Identifier: BSD-2-Clause */
/* Random instructions: at CPL 0 and 3, of 64, 32 and 16 bits, most with addresses that hurt. */
#include "torture.h"

enum { CODE_BYTES = 64, SHARED = 1 << 12 };

/* Opcodes that come to the hypervisor's emulator, and some that belong to nobody. */
static const uint8_t one_byte[] = {0x00, 0x01, 0x02, 0x03, 0x08, 0x09, 0x20, 0x21, 0x28, 0x29, 0x30,
    0x31, 0x38, 0x39, 0x3a, 0x3b, 0x63, 0x69, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x80, 0x81, 0x83, 0x84,
    0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8e, 0x8f, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5,
    0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0xc0, 0xc1, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xcf,
    0xd1, 0xd3, 0xd7, 0xd8, 0xd9, 0xdb, 0xdd, 0xdf, 0xe4, 0xe5, 0xe6, 0xe7, 0xec, 0xed, 0xee, 0xef,
    0xf6, 0xf7, 0xfe, 0xff};
static const uint8_t two_byte[] = {0x00, 0x01, 0x02, 0x03, 0x05, 0x06, 0x08, 0x0b, 0x0d, 0x10, 0x11,
    0x12, 0x16, 0x20, 0x21, 0x22, 0x23, 0x28, 0x29, 0x2b, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x6f,
    0x7f, 0x78, 0x79, 0xa2, 0xa3, 0xa4, 0xa5, 0xaa, 0xab, 0xae, 0xb0, 0xb1, 0xb2, 0xb3, 0xb6, 0xb7,
    0xb8, 0xba, 0xbb, 0xbc, 0xbe, 0xbf, 0xc0, 0xc1, 0xc3, 0xc7, 0xd6, 0xe7, 0xf0, 0xff};
static const uint8_t prefixes[] = {
    0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65};

/* One instruction; returns how many bytes it may have, without immediates. */
static unsigned instruction(struct cpu *c, uint8_t *p)
{
	unsigned n = 0, how = below(c, 16);

	while (once_in(c, 3) && n < 5)
		p[n++] = prefixes[below(c, sizeof(prefixes))];
	if (once_in(c, 3))
		p[n++] = (uint8_t)(0x40 + below(c, 16)); /* REX */
	if (how == 0)
		p[n++] = (uint8_t)rnd(c);
	else if (how < 8)
		p[n++] = one_byte[below(c, sizeof(one_byte))];
	else if (how < 13)
		p[n++] = 0x0f, p[n++] = two_byte[below(c, sizeof(two_byte))];
	else if (how < 14)
		p[n++] = 0x0f, p[n++] = 0x38 + 2 * (uint8_t)below(c, 2), p[n++] = (uint8_t)rnd(c);
	else
		p[n++] = once_in(c, 2)	 ? 0xc5
			 : once_in(c, 2) ? 0xc4
					 : 0x62,
		p[n++] = (uint8_t)rnd(c), p[n++] = (uint8_t)rnd(c);
	/* ModRM: memory, most often by a register alone */
	p[n++] = (uint8_t)(once_in(c, 8) ? rnd(c) : (rnd(c) & 0x3f) | (once_in(c, 2) ? 0x40 : 0));
	p[n++] = (uint8_t)(once_in(c, 2) ? rnd(c) & 0x3f : 0x24);
	return n;
}

/*
 * What would be the end of this guest comes seldom: OUT to some ports, and at CPL 0 the
 * registers and tables that traps need.
 */
static void spare_guest(struct cpu *c, uint8_t *p, bool kernel)
{
	for (unsigned i = 0; i < CODE_BYTES; i++) {
		if ((p[i] & 0xfe) == 0xe6 && port_ends(p[i + 1], 4))
			p[i + 1] = 0x80;
		if (kernel && p[i] == 0x0f && (p[i + 1] <= 1 || p[i + 1] == 0x22) &&
		    !once_in(c, 256))
			p[i + 1] = 0x20;
	}
}

/* What the emulators below the hypervisor do not survive: see main.c. */
static void spare_emulator(uint8_t *p)
{
	for (unsigned i = 0; i < CODE_BYTES; i++) {
		uint8_t b = p[i + 1];

		if (plain & PLAIN_STEPS && (p[i] == 0x9d || p[i] == 0xcf)) /* POPF, IRET */
			p[i] = 0x9c;
		if (plain & PLAIN_STEPS && p[i] == 0x0f && b == 0x23)
			p[i + 1] = 0x21;
		if (!(plain & PLAIN_VECTORS))
			continue;
		if (p[i] == 0xf0) /* LOCK */
			p[i] = 0x3e;
		if (p[i] == 0xc0 || p[i] == 0xc1 || (p[i] & 0xfc) == 0xd0) /* shifts */
			p[i] = 0x8b;
		if (p[i] == 0xc4 || p[i] == 0xc5)
			p[i] = 0x8b;
		if (p[i] == 0x0f &&
		    ((b >= 0x0e && b <= 0x17) || (b >= 0x24 && b <= 0x2f) || (b & 0xf8) == 0x38 ||
			(b & 0xe4) == 0xa0 || b == 0xa4 || b == 0xa5 || b == 0xac || b == 0xad ||
			b == 0xba || b == 0xbb || b == 0xb3 || b == 0xab || b == 0xc7 ||
			(b >= 0x50 && b <= 0x7f) || b == 0xc2 || (b >= 0xc4 && b <= 0xc6) ||
			b >= 0xd0))
			p[i + 1] = 0x1f;
	}
}

static uint64_t program(struct cpu *c, uint64_t at, bool kernel)
{
	uint8_t *p = (uint8_t *)(uintptr_t)at;

	for (unsigned i = 0; i < CODE_BYTES; i++)
		p[i] = !(plain & PLAIN_VECTORS) && once_in(c, 2) ? (uint8_t)rnd(c) : 0x90;
	if ((plain & PLAIN_VECTORS) || !once_in(c, 4))
		for (unsigned n = 0; n < CODE_BYTES - 32;)
			n += instruction(c, p + n) + below(c, 3);
	spare_guest(c, p, kernel);
	if (plain)
		spare_emulator(p);
	p[CODE_BYTES] = 0x0f;
	p[CODE_BYTES + 1] = 0x0b; /* UD2 */
	return at;
}

/* RDX and RCX such that I/O and repetition have some sense. */
static void fill_registers(struct cpu *c, struct entry *e)
{
	for (unsigned i = 0; i < 15; i++)
		e->gpr[i] = once_in(c, 4) ? odd_value(c) : quiet_place(c);
	if (once_in(c, 2)) {
		uint16_t port;

		do {
			port = (uint16_t)rnd(c);
		} while (port_ends(port, 4));
		e->gpr[12] = port;
	}
	e->gpr[13] = below(c, 3) ? below(c, 32) : odd_value(c);
}

static const struct mode {
	uint16_t cs, ss;
	uint8_t weight;
} modes[] = {
    {SEL_USER64, SEL_USER_DATA, 8},
    {SEL_USER32, SEL_USER_DATA, 4},
    {SEL_USER16, SEL_USER16_DATA, 3},
    {SEL_CODE, SEL_DATA, 3},
    {SEL_CODE32, SEL_DATA, 1},
};

static const struct mode *some_mode(struct cpu *c)
{
	unsigned n = below(c, 19);

	for (const struct mode *m = modes;; m++) {
		if (n < m->weight)
			return m;
		n -= m->weight;
	}
}

/* Own code at the end of a page now and then; other CPUs may run it, and write it, meanwhile. */
static void code(struct cpu *c)
{
	const struct mode *m = some_mode(c);
	struct entry e;
	uint64_t base = PLAY + (uint64_t)c->index * PLAY_SIZE, at = once_in(c, 8) ? SHARED : 0;

	if (at)
		base = PLAY;
	at += below(c, 4) * 0x800 + (once_in(c, 4) ? 0x7e0 : 0);
	if (m->cs == SEL_USER16)
		base = PLAY;
	(void)program(c, base + at, m->cs == SEL_CODE || m->cs == SEL_CODE32);
	fill_registers(c, &e);
	e.rip = m->cs == SEL_USER16 ? at : base + at;
	e.cs = m->cs;
	e.ss = m->ss;
	e.rsp = m->cs == SEL_USER16 ? 0xfff0 : play(c);
	e.rflags =
	    2 | (once_in(c, 16) ? 0x3000 : 0) | (once_in(c, 8) ? 0x100 : 0) | (rnd(c) & 0xcd5);
	if (!once_in(c, 8))
		e.rflags |= 0x200;
	if (plain & PLAIN_STEPS)
		e.rflags &= ~0x100UL;
	if (once_in(c, 16))
		e.rflags |= 1 << 18 | (rnd(c) & 0x4000);
	c->steps = below(c, 16);
	if (once_in(c, 4))
		WRITE_REG(cr4, READ_REG(cr4) | 1 << 18);
	enter(&e, cpu_root(c, true));
}

const struct action code_actions[] = {{code, 60, DO_CODE}};
const unsigned code_actions_count = 1;
