/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of the emulator and the walker share: a small machine of flat
 * memory, ports and one device page, with everything that happens to it logged.
 */
#ifndef AMBER_TEST_EMUL_H
#define AMBER_TEST_EMUL_H

#include <stdlib.h>
#include <string.h>
#include "hv/arch/x86/emul.h"
#include "hv/lib/error.h"

enum {
	RIG_MEM = 0x40000,
	RIG_DEVICE = 0x80000, /* one page of device registers: an array of bytes */
	RIG_PML4 = 0x1000,
	RIG_PDPT = 0x2000,
	RIG_CODE = 0x8000,
	RIG_DATA = 0x10000,
	RIG_LOG = 1024
};

enum rig_what { RIG_READ, RIG_WRITE, RIG_CMPXCHG, RIG_IN, RIG_OUT };

struct rig_log {
	enum rig_what what;
	uint64_t addr;
	unsigned len;
	uint8_t old[64]; /* RIG_WRITE, RIG_CMPXCHG to memory: what to undo */
};

struct rig {
	uint8_t mem[RIG_MEM];
	uint8_t device[4096];
	struct vcpu_state s;
	struct emul e;
	struct emul_ops ops;
	struct rig_log log[RIG_LOG];
	unsigned logged;
	unsigned outside; /* accesses to nowhere */
	int retry_at;	  /* the access with this number (from 0) gives ERR_RETRY; -1: none */
	int error_at;	  /* likewise ERR_IO */
	unsigned calls;
	uint32_t port_value, port_written;
	void (*race)(struct rig *r, uint64_t addr); /* called before each compare and exchange */
};

static inline int rig_enter(
    struct rig *r, enum rig_what what, uint64_t addr, unsigned len, uint8_t **p)
{
	struct rig_log *l = &r->log[r->logged < RIG_LOG ? r->logged++ : 0];
	int call = (int)r->calls++;

	l->what = what;
	l->addr = addr;
	l->len = len;
	*p = NULL;
	if (call == r->retry_at || call == r->error_at) {
		r->logged--;
		return call == r->retry_at ? ERR_RETRY : ERR_IO;
	}
	if (what >= RIG_IN)
		return OK;
	if (addr < RIG_MEM && len <= RIG_MEM - addr)
		*p = r->mem + addr;
	else if (addr >= RIG_DEVICE && addr - RIG_DEVICE < 4096 &&
		 len <= 4096 - (addr - RIG_DEVICE))
		*p = r->device + (addr - RIG_DEVICE);
	else {
		r->outside++;
		return ERR_FAULT;
	}
	if (len <= sizeof(l->old))
		memcpy(l->old, *p, len);
	return OK;
}

static inline int rig_read(void *ctx, gpa_t addr, void *buf, unsigned len)
{
	uint8_t *p;
	int err = rig_enter(ctx, RIG_READ, addr.a, len, &p);

	if (err == OK)
		memcpy(buf, p, len);
	return err;
}

static inline int rig_write(void *ctx, gpa_t addr, const void *buf, unsigned len)
{
	uint8_t *p;
	int err = rig_enter(ctx, RIG_WRITE, addr.a, len, &p);

	if (err == OK)
		memcpy(p, buf, len);
	return err;
}

static inline int rig_cmpxchg(void *ctx, gpa_t addr, void *old, const void *desired, unsigned len)
{
	struct rig *r = ctx;
	uint8_t *p;
	int err = rig_enter(ctx, RIG_CMPXCHG, addr.a, len, &p);

	if (err != OK)
		return err;
	if (addr.a >= RIG_DEVICE) {
		r->logged--;
		return ERR_UNSUPPORTED;
	}
	if (r->race)
		r->race(r, addr.a);
	if (memcmp(p, old, len))
		memcpy(old, p, len);
	else
		memcpy(p, desired, len);
	return OK;
}

static inline int rig_probe(void *ctx, gpa_t addr, unsigned len, bool write)
{
	(void)ctx;
	(void)write;
	return addr.a < RIG_MEM && len <= RIG_MEM - addr.a ? OK : ERR_FAULT;
}

static inline int rig_io_read(void *ctx, uint16_t port, unsigned len, uint32_t *value)
{
	struct rig *r = ctx;
	uint8_t *p;
	int err = rig_enter(ctx, RIG_IN, port, len, &p);

	if (err == OK)
		*value = r->port_value++;
	return err;
}

static inline int rig_io_write(void *ctx, uint16_t port, unsigned len, uint32_t value)
{
	struct rig *r = ctx;
	uint8_t *p;
	int err = rig_enter(ctx, RIG_OUT, port, len, &p);

	if (err == OK)
		r->port_written = value;
	return err;
}

static inline void rig_segment(struct vcpu_state *s, unsigned seg, uint64_t base, unsigned attr)
{
	bool big = attr & SEG_ATTR_G;

	s->seg[seg] =
	    (struct seg){.base = base, .limit = big ? 0xffffffff : 0xffff, .attr = (uint16_t)attr};
}

/* A flat machine: bits is 16 (real mode), 32 (protected, no paging) or 64 (identity-mapped). CPL 0.
 */
static inline void rig_init(struct rig *r, unsigned bits)
{
	struct vcpu_state *s = &r->s;
	unsigned code = 0x9b, data = 0x93;
	uint64_t entry;

	memset(r, 0, sizeof(*r));
	r->retry_at = r->error_at = -1;
	r->ops = (struct emul_ops){.read = rig_read,
	    .write = rig_write,
	    .cmpxchg = rig_cmpxchg,
	    .probe = rig_probe,
	    .io_read = rig_io_read,
	    .io_write = rig_io_write};
	r->e.state = s;
	r->e.ops = &r->ops;
	r->e.ctx = r;
	s->rflags = RFLAGS_FIXED;
	s->cr0 = CR0_ET | (bits > 16 ? CR0_PE : 0);
	if (bits > 16) {
		code |= SEG_ATTR_G | (bits == 64 ? SEG_ATTR_L : SEG_ATTR_DB);
		data |= SEG_ATTR_G | SEG_ATTR_DB;
	}
	for (unsigned n = SEG_ES; n <= SEG_GS; n++)
		rig_segment(s, n, 0, n == SEG_CS ? code : data);
	rig_segment(s, SEG_LDTR, 0, 0x82);
	rig_segment(s, SEG_TR, 0, 0x8b);
	s->rip = RIG_CODE;
	s->gpr[GPR_RSP] = bits == 16 ? 0xf000 : 0x1f000;
	if (bits < 64)
		return;
	s->cr0 |= CR0_PG;
	s->cr4 = CR4_PAE;
	s->cr3 = RIG_PML4;
	s->efer = EFER_LME | EFER_LMA | EFER_NXE;
	entry = RIG_PDPT | 0x67; /* P, W, U, A, D */
	memcpy(r->mem + RIG_PML4, &entry, 8);
	entry = 0xe7; /* and PS: the first GiB */
	memcpy(r->mem + RIG_PDPT, &entry, 8);
}

static inline void rig_code(struct rig *r, const void *bytes, size_t len)
{
	memcpy(r->mem + (uint32_t)(r->s.seg[SEG_CS].base + r->s.rip) % RIG_MEM, bytes, len);
}

/* Undoes everything since the log was emptied. */
static inline void rig_undo(struct rig *r)
{
	while (r->logged) {
		struct rig_log *l = &r->log[--r->logged];

		if ((l->what == RIG_WRITE || l->what == RIG_CMPXCHG) && l->addr < RIG_MEM)
			memcpy(r->mem + l->addr, l->old, l->len);
	}
}

/* xorshift64*: the same numbers everywhere for the same seed. */
static inline uint64_t rig_random(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * 0x2545f4914f6cdd1dULL;
}

static inline unsigned long rig_cases(unsigned long normal)
{
	const char *env = getenv("AMBER_CASES");

	return env ? strtoul(env, NULL, 0) : normal;
}

#endif
