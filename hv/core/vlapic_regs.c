/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APIC's registers: which exist in xAPIC and x2APIC mode, which bits
 * can be written, and what a write does (SDM volume 3, 11.4 and 11.12).
 */
#include "hv/core/vlapic_internal.h"

enum { PHYS_BITS_MAX = 52 };

enum access { XR = 1, XW = 2, X2R = 4, X2W = 8 };

/*
 * writable: bits that a write changes. ignored: bits that a write may set to no
 * effect in x2APIC mode; all others give #GP there (11.12.1.3) and are ignored
 * in xAPIC mode.
 */
struct reg_desc {
	uint8_t access;
	uint32_t writable, ignored;
	const char *name;
};

#define LVT_RO	   (LVT_STATUS | LVT_REMOTE_IRR)
#define LVT_PIN	   (LVT_VECTOR | LVT_MODE | LVT_POLARITY | LVT_LEVEL | LVT_MASK)
#define LVT_TIMER  (LVT_VECTOR | LVT_MASK | LVT_TIMER_MODE)
#define LVT_SOURCE (LVT_VECTOR | LVT_MODE | LVT_MASK)
#define LVT_ERROR  (LVT_VECTOR | LVT_MASK)
#define SVR_WRITABLE                                                                               \
	(APIC_SVR_VECTOR | APIC_SVR_ENABLE | APIC_SVR_FOCUS | APIC_SVR_NO_EOI_BROADCAST)
#define ICR_WRITABLE (ICR_VECTOR | ICR_MODE | ICR_LOGICAL | ICR_ASSERT | ICR_LEVEL | ICR_SHORTHAND)
#define ALL	     (XR | XW | X2R | X2W)

/* SDM volume 3, tables 11-1 and 11-6. */
static const struct reg_desc table[VLAPIC_REGS] = {
    [APIC_ID] = {XR | X2R, 0, 0, "ID"}, /* fixed, as on current processors */
    [APIC_VERSION] = {XR | X2R, 0, 0, "version"},
    [APIC_TPR] = {ALL, 0xff, 0, "TPR"},
    [APIC_APR] = {XR, 0, 0, "APR"},
    [APIC_PPR] = {XR | X2R, 0, 0, "PPR"},
    [APIC_EOI] = {XW | X2W, 0, 0, "EOI"},
    [APIC_RRD] = {XR, 0, 0, "RRD"},
    [APIC_LDR] = {XR | XW | X2R, 0xff000000, 0, "LDR"},
    [APIC_DFR] = {XR | XW, 0xf0000000, 0, "DFR"},
    [APIC_SVR] = {ALL, SVR_WRITABLE, 0, "SVR"},
    [APIC_ISR... APIC_ISR + 7] = {XR | X2R, 0, 0, "ISR"},
    [APIC_TMR... APIC_TMR + 7] = {XR | X2R, 0, 0, "TMR"},
    [APIC_IRR... APIC_IRR + 7] = {XR | X2R, 0, 0, "IRR"},
    [APIC_ESR] = {ALL, 0, 0, "ESR"},
    [APIC_LVT_CMCI] = {ALL, LVT_SOURCE, LVT_STATUS, "LVT CMCI"},
    [APIC_ICR] = {ALL, ICR_WRITABLE, ICR_STATUS, "ICR"},
    [APIC_ICR2] = {XR | XW, 0xff000000, 0, "ICR high"},
    [APIC_LVT_TIMER] = {ALL, LVT_TIMER, LVT_STATUS, "LVT timer"},
    [APIC_LVT_THERMAL] = {ALL, LVT_SOURCE, LVT_STATUS, "LVT thermal"},
    [APIC_LVT_PMC] = {ALL, LVT_SOURCE, LVT_STATUS, "LVT PMC"},
    [APIC_LVT_LINT0] = {ALL, LVT_PIN, LVT_RO, "LVT LINT0"},
    [APIC_LVT_LINT1] = {ALL, LVT_PIN, LVT_RO, "LVT LINT1"},
    [APIC_LVT_ERROR] = {ALL, LVT_ERROR, LVT_STATUS, "LVT error"},
    [APIC_TIMER_INITIAL] = {ALL, 0xffffffff, 0, "initial count"},
    [APIC_TIMER_CURRENT] = {XR | X2R, 0, 0, "current count"},
    [APIC_TIMER_DIVIDE] = {ALL, 0xb, 0, "divide configuration"},
    [APIC_SELF_IPI] = {X2W, 0xff, 0, "self IPI"},
};

/* What can be done with a register; nothing, if there is no such. */
static uint8_t access_of(const struct vlapic *l, unsigned reg)
{
	if (reg >= VLAPIC_REGS || (reg == APIC_LVT_CMCI && !apic_has_cmci(apic_state(l))))
		return 0;
	return table[reg].access;
}

/* --- reading --------------------------------------------------------------------- */

/* Arbitration priority (11.6.2.4); a relic that nobody arbitrates by. */
static uint32_t arbitration_priority(const struct vlapic *l)
{
	const uint32_t *regs = apic_state(l)->regs;
	uint32_t irrv = 0;

	for (unsigned v = 256; v-- > 0;) {
		if (regs[APIC_IRR + v / 32] >> (v % 32) & 1) {
			irrv = v & 0xf0;
			break;
		}
	}
	return MAX(regs[APIC_PPR] & 0xf0, irrv);
}

/* Single words are read whole without the lock; only the count is put together from several. */
static uint32_t reg_read(struct vlapic *l, unsigned reg)
{
	uint64_t flags;
	uint32_t value;

	if (reg == APIC_APR)
		return arbitration_priority(l);
	if (reg != APIC_TIMER_CURRENT)
		return __atomic_load_n(&apic_state(l)->regs[reg], __ATOMIC_RELAXED);
	flags = spin_lock(&l->lock);
	value = apic_timer_current_locked(l);
	spin_unlock(&l->lock, flags);
	return value;
}

/* --- writing ---------------------------------------------------------------------- */

static void write_lvt_locked(struct vlapic *l, unsigned reg, uint32_t value)
{
	uint32_t *regs = apic_state(l)->regs;

	if (!(regs[APIC_SVR] & APIC_SVR_ENABLE))
		value |= LVT_MASK; /* 11.4.7.2 */
	if (reg == APIC_LVT_TIMER)
		apic_timer_write_lvt_locked(l, value);
	else
		regs[reg] = value;
}

static void write_svr_locked(struct vlapic *l, uint32_t value)
{
	uint32_t *regs = apic_state(l)->regs;

	regs[APIC_SVR] = value;
	if (value & APIC_SVR_ENABLE)
		return;
	for (unsigned r = APIC_LVT_TIMER; r <= APIC_LVT_ERROR; r++)
		regs[r] |= LVT_MASK;
	if (apic_has_cmci(apic_state(l)))
		regs[APIC_LVT_CMCI] |= LVT_MASK;
}

/* A write shows what was gathered since the last one (11.5.3). */
static void latch_esr_locked(struct vlapic *l)
{
	uint32_t *regs = apic_state(l)->regs;

	regs[APIC_ESR] = regs[APIC_HIDDEN_ESR];
	regs[APIC_HIDDEN_ESR] = 0;
}

/* Registers whose write has no effect beyond this APIC's own state. value has writable bits only.
 */
static void reg_write_locked(struct vlapic *l, unsigned reg, uint32_t value)
{
	uint32_t *regs = apic_state(l)->regs;

	switch (reg) {
	case APIC_LDR:
	case APIC_ICR:
	case APIC_ICR2:
		regs[reg] = value;
		break;
	case APIC_DFR:
		regs[reg] = value | 0x0fffffff;
		break;
	case APIC_SVR:
		write_svr_locked(l, value);
		break;
	case APIC_ESR:
		latch_esr_locked(l);
		break;
	case APIC_LVT_CMCI:
	case APIC_LVT_TIMER:
	case APIC_LVT_THERMAL:
	case APIC_LVT_PMC:
	case APIC_LVT_LINT0:
	case APIC_LVT_LINT1:
	case APIC_LVT_ERROR:
		write_lvt_locked(l, reg, value);
		break;
	case APIC_TIMER_INITIAL:
		apic_timer_write_initial_locked(l, value);
		break;
	case APIC_TIMER_DIVIDE:
		apic_timer_write_divide_locked(l, value);
		break;
	}
}

static void reg_write(struct vlapic *l, unsigned reg, uint32_t value)
{
	uint64_t flags;

	switch (reg) {
	case APIC_EOI:
		apic_eoi(l);
		return;
	case APIC_TPR:
		vlapic_set_tpr(l, (uint8_t)value);
		return;
	case APIC_SELF_IPI:
		apic_self_ipi(l, (uint8_t)value);
		return;
	}
	flags = spin_lock(&l->lock);
	reg_write_locked(l, reg, value);
	spin_unlock(&l->lock, flags);
	if (reg == APIC_ICR)
		apic_send_ipi(l, value, apic_state(l)->regs[APIC_ICR2] >> 24);
	else if (reg == APIC_LVT_LINT0 && l->extint)
		apic_kick(l);
}

/* --- xAPIC: memory ------------------------------------------------------------------ */

static bool in_xapic_mode(const struct vlapic *l)
{
	return (apic_state(l)->base_msr & (APIC_BASE_EN | APIC_BASE_EXTD)) == APIC_BASE_EN;
}

/* A register that is not there, or not for that: ignored. */
static COLD void unhandled(struct vlapic *l)
{
	__atomic_fetch_add(&l->vcpu->vm->stat_unhandled_io, 1, __ATOMIC_RELAXED);
}

static void illegal_register(struct vlapic *l)
{
	uint64_t flags = spin_lock(&l->lock);
	bool kick = apic_error_locked(l, ESR_ILLEGAL_REGISTER);

	spin_unlock(&l->lock, flags);
	unhandled(l);
	if (kick)
		apic_kick(l);
}

/*
 * A register is the first four bytes of its sixteen (11.4.1). Narrower reads
 * within them work, as on real parts; the other twelve bytes read as zero.
 */
int vlapic_mmio_read(struct vlapic *l, uint32_t offset, unsigned len, uint64_t *value)
{
	unsigned reg = offset >> 4 & 0xff, byte = offset & 0xf;

	*value = 0;
	if (!in_xapic_mode(l))
		return ERR_INVAL;
	if (!(access_of(l, reg) & (XR | XW)))
		illegal_register(l);
	else if ((table[reg].access & XR) && byte < 4)
		*value = (uint64_t)reg_read(l, reg) >> (8 * byte);
	else
		unhandled(l);
	if (len < 4)
		*value &= BIT(8 * len) - 1;
	return OK;
}

/* Only aligned writes of four bytes or more do anything. */
int vlapic_mmio_write(struct vlapic *l, uint32_t offset, unsigned len, uint64_t value)
{
	unsigned reg = offset >> 4 & 0xff;

	if (!in_xapic_mode(l))
		return ERR_INVAL;
	if (!(access_of(l, reg) & (XR | XW)))
		illegal_register(l);
	else if ((table[reg].access & XW) && (offset & 0xf) == 0 && len >= 4)
		reg_write(l, reg, (uint32_t)value & table[reg].writable);
	else
		unhandled(l);
	return OK;
}

/* --- x2APIC: MSRs -------------------------------------------------------------------- */

static int x2_read(struct vlapic *l, unsigned reg, uint64_t *value)
{
	if (!apic_x2(l) || !(access_of(l, reg) & X2R))
		return ERR_INVAL;
	*value = reg_read(l, reg);
	if (reg == APIC_ICR)
		*value |= (uint64_t)apic_state(l)->regs[APIC_ICR2] << 32;
	return OK;
}

/* The ICR is one 64-bit register here; only this vCPU's thread writes it, so no lock is needed. */
static void x2_write_icr(struct vlapic *l, uint64_t value)
{
	uint32_t *regs = apic_state(l)->regs;

	regs[APIC_ICR] = (uint32_t)value & table[APIC_ICR].writable;
	regs[APIC_ICR2] = (uint32_t)(value >> 32);
	apic_send_ipi(l, regs[APIC_ICR], regs[APIC_ICR2]);
}

static int x2_write(struct vlapic *l, unsigned reg, uint64_t value)
{
	const struct reg_desc *d = &table[reg % VLAPIC_REGS];
	uint64_t legal;

	if (!apic_x2(l) || !(access_of(l, reg) & X2W))
		return ERR_INVAL;
	legal = (uint64_t)(d->writable | d->ignored);
	if (reg == APIC_ICR)
		legal |= 0xffffffff00000000ULL;
	if (value & ~legal)
		return ERR_INVAL;
	if (reg == APIC_ICR)
		x2_write_icr(l, value);
	else
		reg_write(l, reg, (uint32_t)value & d->writable);
	return OK;
}

/* --- IA32_APIC_BASE and IA32_TSC_DEADLINE ---------------------------------------------- */

static uint64_t base_address_mask(const struct vlapic *l)
{
	const struct cpu_model *m = l->vcpu->vm->cpu_model;
	unsigned bits =
	    m && m->phys_bits && m->phys_bits <= PHYS_BITS_MAX ? m->phys_bits : PHYS_BITS_MAX;

	return (BIT(bits) - 1) & ~(PAGE_SIZE - 1);
}

enum apic_mode { MODE_DISABLED, MODE_INVALID, MODE_XAPIC, MODE_X2APIC };

static enum apic_mode mode_of_base(uint64_t base)
{
	return (base & APIC_BASE_EN ? 2 : 0) + (base & APIC_BASE_EXTD ? 1 : 0);
}

/* The transitions of figure 11-27; the others give #GP. */
static bool transition_legal(enum apic_mode from, enum apic_mode to)
{
	if (to == MODE_INVALID)
		return false;
	if (from == MODE_DISABLED)
		return to != MODE_X2APIC;
	if (from == MODE_X2APIC)
		return to != MODE_XAPIC;
	return true;
}

/* Entering x2APIC mode keeps the state but what has another form there (11.12.5.1). */
static void enter_x2apic_locked(struct vlapic *l)
{
	struct vlapic_state *s = apic_state(l);
	uint32_t id = l->vcpu->apic_id;

	s->regs[APIC_ID] = id;
	s->ldr_x2apic = apic_x2_ldr(id);
	s->regs[APIC_LDR] = (uint32_t)s->ldr_x2apic;
	s->regs[APIC_ICR2] = 0;
}

static int write_base(struct vlapic *l, uint64_t value)
{
	struct vlapic_state *s = apic_state(l);
	uint64_t legal = APIC_BASE_BSP | APIC_BASE_EXTD | APIC_BASE_EN | base_address_mask(l);
	enum apic_mode from = mode_of_base(s->base_msr), to = mode_of_base(value);
	uint64_t flags;

	if ((value & ~legal) || !transition_legal(from, to))
		return ERR_INVAL;
	flags = spin_lock(&l->lock);
	s->base_msr = value;
	if (to == MODE_DISABLED && from != MODE_DISABLED)
		apic_reset_locked(l); /* 11.4.3: enabled again, it is in its reset state */
	else if (to == MODE_X2APIC && from != MODE_X2APIC)
		enter_x2apic_locked(l);
	spin_unlock(&l->lock, flags);
	return OK;
}

/*
 * A deadline that has passed is no longer read: its interrupt is made pending
 * first, in case the host's timer is late.
 */
static uint64_t read_deadline(struct vlapic *l)
{
	uint64_t flags = spin_lock(&l->lock), value;
	bool kick = apic_timer_poll_deadline_locked(l);

	value = apic_state(l)->tsc_deadline;
	spin_unlock(&l->lock, flags);
	if (kick)
		apic_kick(l);
	return value;
}

static void write_deadline(struct vlapic *l, uint64_t value)
{
	uint64_t flags = spin_lock(&l->lock);
	bool kick = apic_timer_write_deadline_locked(l, value);

	spin_unlock(&l->lock, flags);
	if (kick)
		apic_kick(l);
}

int vlapic_msr_read(struct vlapic *l, uint32_t msr, uint64_t *value)
{
	if (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST)
		return x2_read(l, msr - MSR_X2APIC_FIRST, value);
	if (msr == MSR_TSC_DEADLINE)
		*value = read_deadline(l);
	else if (msr == MSR_APIC_BASE)
		*value = apic_state(l)->base_msr;
	else
		return ERR_INVAL;
	return OK;
}

int vlapic_msr_write(struct vlapic *l, uint32_t msr, uint64_t value)
{
	if (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST)
		return x2_write(l, msr - MSR_X2APIC_FIRST, value);
	if (msr == MSR_APIC_BASE)
		return write_base(l, value);
	if (msr != MSR_TSC_DEADLINE)
		return ERR_INVAL;
	write_deadline(l, value);
	return OK;
}

/* --- checking a decoded state ------------------------------------------------------------- */

static int check_base(const struct vlapic_state *s, struct errmsg *e)
{
	uint64_t legal = APIC_BASE_BSP | APIC_BASE_EXTD | APIC_BASE_EN |
			 ((BIT(PHYS_BITS_MAX) - 1) & ~(PAGE_SIZE - 1));

	if (s->base_msr & ~legal)
		return err_set(e, ERR_INVAL, "apic: base: reserved bits set in %#llx",
		    (unsigned long long)s->base_msr);
	if (mode_of_base(s->base_msr) == MODE_INVALID)
		return err_set(e, ERR_INVAL, "apic: base: x2APIC mode without the enable bit");
	return OK;
}

/* ID and LDR have a form of their own in each mode. */
static int check_identity(const struct vlapic_state *s, unsigned apic_id, struct errmsg *e)
{
	bool x2 = s->base_msr & APIC_BASE_EXTD;
	uint32_t id = x2 ? apic_id : apic_id << 24;

	if (s->regs[APIC_ID] != id)
		return err_set(e, ERR_INVAL, "apic: ID register is %#x, expected %#x",
		    (unsigned)s->regs[APIC_ID], (unsigned)id);
	if (s->regs[APIC_VERSION] != APIC_VERSION_VALUE &&
	    s->regs[APIC_VERSION] != APIC_VERSION_NO_CMCI)
		return err_set(e, ERR_INVAL, "apic: version register %#x is not known",
		    (unsigned)s->regs[APIC_VERSION]);
	if (x2 ? s->regs[APIC_LDR] != apic_x2_ldr(apic_id) || s->ldr_x2apic != s->regs[APIC_LDR]
	       : s->ldr_x2apic != 0 || (s->regs[APIC_LDR] & ~table[APIC_LDR].writable))
		return err_set(e, ERR_INVAL, "apic: LDR %#x does not fit the ID and mode",
		    (unsigned)s->regs[APIC_LDR]);
	return OK;
}

/* The bits that a register may hold, where its write mask does not say it. */
static uint32_t legal_bits(const struct vlapic_state *s, unsigned reg)
{
	if (reg >= APIC_ISR && reg < APIC_IRR + APIC_BANK_WORDS)
		return reg % APIC_BANK_WORDS ? 0xffffffff : 0xffff0000;
	switch (reg) {
	case APIC_ID:
	case APIC_VERSION:
	case APIC_LDR: /* by check_identity() */
	case APIC_DFR:
		return 0xffffffff;
	case APIC_PPR:
	case APIC_ESR:
	case APIC_HIDDEN_ESR:
		return 0xff;
	case APIC_HIDDEN_EXTINT:
		return 1;
	case APIC_ICR2:
		return s->base_msr & APIC_BASE_EXTD ? 0xffffffff : 0xff000000;
	case APIC_SELF_IPI:
		return 0;
	case APIC_LVT_CMCI:
		return apic_has_cmci(s) ? table[reg].writable : 0;
	default:
		return table[reg].writable;
	}
}

static int check_registers(const struct vlapic_state *s, struct errmsg *e)
{
	for (unsigned r = 0; r < VLAPIC_REGS; r++) {
		if (s->regs[r] & ~legal_bits(s, r))
			return err_set(e, ERR_INVAL, "apic: register %#x (%s): reserved bits set",
			    r * 16, table[r].name ? table[r].name : "unused");
	}
	if ((s->regs[APIC_DFR] & 0x0fffffff) != 0x0fffffff)
		return err_set(e, ERR_INVAL, "apic: DFR: reserved bits clear");
	for (unsigned r = APIC_LVT_TIMER; r <= APIC_LVT_ERROR; r++) {
		if (!(s->regs[APIC_SVR] & APIC_SVR_ENABLE) && !(s->regs[r] & LVT_MASK))
			return err_set(
			    e, ERR_INVAL, "apic: %s: not masked in a disabled APIC", table[r].name);
	}
	if (apic_has_cmci(s) && !(s->regs[APIC_SVR] & APIC_SVR_ENABLE) &&
	    !(s->regs[APIC_LVT_CMCI] & LVT_MASK))
		return err_set(e, ERR_INVAL, "apic: %s: not masked in a disabled APIC",
		    table[APIC_LVT_CMCI].name);
	return OK;
}

static int check_timer(const struct vlapic_state *s, struct errmsg *e)
{
	bool tsc = (s->regs[APIC_LVT_TIMER] & LVT_TIMER_MODE) == LVT_TIMER_TSC;

	if (s->tsc_deadline && !tsc)
		return err_set(e, ERR_INVAL, "apic: TSC deadline set in another timer mode");
	if (s->timer_deadline && tsc)
		return err_set(e, ERR_INVAL, "apic: count running in TSC deadline mode");
	if (s->timer_deadline && !s->regs[APIC_TIMER_INITIAL])
		return err_set(e, ERR_INVAL, "apic: count running without an initial count");
	if (s->timer_deadline >= BIT(63))
		return err_set(e, ERR_RANGE, "apic: timer deadline out of range");
	return OK;
}

int vlapic_check(const struct vlapic_state *s, unsigned apic_id, struct errmsg *e)
{
	int err = check_base(s, e);

	if (err == OK)
		err = check_identity(s, apic_id, e);
	if (err == OK)
		err = check_registers(s, e);
	if (err == OK)
		err = check_timer(s, e);
	if (err == OK && (s->nmi_pending > 1 || s->init_pending > 1 || s->sipi_pending > 1))
		err = err_set(e, ERR_INVAL, "apic: pending flags are neither 0 nor 1");
	return err;
}

#include "hv/core/vlapic_table.h"
