/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The high precision event timers (IA-PC HPET Specification 1.0a; section
 * numbers below are its own): a main counter of 64 bits and eight timers, each
 * one-shot or periodic, 32 or 64 bits wide.
 *
 * Nothing ticks. The counter runs at 100 MHz, a tick of which is exactly 10 ns
 * of VM time; what is kept is its value and the moment at which it had that.
 * Looking at the device moves that moment to now: matches in between set status
 * bits and send interrupts, several of one timer as one. One VM timer runs for
 * the earliest match of all that would interrupt.
 *
 * Where the specification leaves room:
 * - A timer matches when the counter counts to the comparator's value. A value
 *   that the counter has, or had, comes again when it wraps: after 2^32 ticks
 *   in 32-bit mode.
 * - In periodic mode every write of the comparator sets the period; one that
 *   "value set" allows sets the accumulator too, and uses the permission up.
 *   So both of the usual sequences work, one write and two.
 * - In 32-bit mode the upper halves of accumulator and period are 0.
 * - The counter is written only while it is halted (2.3.7).
 */
#include "hv/dev/hpet.h"

#include "hv/core/device.h"
#include "hv/core/iobus.h"
#include "hv/core/irq.h"
#include "hv/core/memmap.h"
#include "hv/core/vm.h"
#include "hv/core/vtimer.h"
#include "hv/lib/spinlock.h"
#include "hv/mm/mm.h"

#define TICK_NS	  10ULL
#define PERIOD_FS 10000000ULL /* of the main counter, in femtoseconds: at most 100 ns (2.3.4) */
#define TICK_MAX  BIT(60)     /* some three hundred years */
#define WAIT_MAX  BIT(40)     /* look again after three hours at the latest */
#define NEVER	  UINT64_MAX

enum {
	TIMERS = HPET_TIMERS,
	/*
	 * What the host can be asked for (I4): a timer with a short period is looked at 20 us after
	 * the last look at the earliest, and every look is one at all timers; eight with longer
	 * periods are no worse together.
	 */
	MIN_WAIT = HPET_MIN_PERIOD,
	SHORT_PERIOD = TIMERS * MIN_WAIT,
	LEGACY_TIMERS = 2, /* timers 0 and 1 have a legacy route */
};

/* Registers, by offset (table 2). */
enum hpet_reg {
	HPET_CAPABILITIES = 0x000,
	HPET_CONFIG = 0x010,
	HPET_STATUS = 0x020,
	HPET_COUNTER = 0x0f0,
	HPET_TIMER0 = 0x100,
	HPET_TIMER_STRIDE = 0x020,
	/* of a timer */
	TIMER_CONFIG = 0x00,
	TIMER_COMPARATOR = 0x08,
	TIMER_FSB_ROUTE = 0x10,
};
/* General configuration (2.3.5). */
enum hpet_config {
	ENABLE_CNF = 1 << 0,
	LEG_RT_CNF = 1 << 1,
	CONFIG_WRITABLE = ENABLE_CNF | LEG_RT_CNF,
};
/* Timer configuration and capabilities (2.3.8). */
enum timer_config {
	TN_INT_TYPE_CNF = 1 << 1, /* level-triggered */
	TN_INT_ENB_CNF = 1 << 2,
	TN_TYPE_CNF = 1 << 3, /* periodic */
	TN_PER_INT_CAP = 1 << 4,
	TN_SIZE_CAP = 1 << 5, /* 64 bits */
	TN_VAL_SET_CNF = 1 << 6,
	TN_32MODE_CNF = 1 << 8,
	TN_INT_ROUTE_SHIFT = 9,
	TN_INT_ROUTE_CNF = 0x1f << 9,
	TN_FSB_EN_CNF = 1 << 14,
	TN_FSB_INT_DEL_CAP = 1 << 15,
	TN_INT_ROUTE_CAP_SHIFT = 32,
	TN_KEPT = TN_INT_TYPE_CNF | TN_INT_ENB_CNF | TN_TYPE_CNF | TN_VAL_SET_CNF | TN_32MODE_CNF |
		  TN_INT_ROUTE_CNF | TN_FSB_EN_CNF,
};
/*
 * The inputs that only the I/O APIC has. They are shared with PCI devices; ISA
 * interrupts cannot be, and those of the timers are reached by the legacy route.
 */
#define ROUTES 0x00ff0000U
/* What the legacy route takes from the 8254 and the RTC (2.3.5). */
#define LEGACY_LINES (BIT(0) | BIT(8))

/* Elements are timers. Ticks are 10 ns of VM time. */
struct hpet_state {
	uint64_t counter; /* main counter at 'since' */
	uint64_t since;	  /* tick up to which matches are seen to; only while it runs */
	uint64_t comparator[TIMERS];
	uint64_t period[TIMERS];    /* what was last written to the comparator */
	uint64_t fsb_route[TIMERS]; /* value; address in the upper half */
	uint16_t timer_config[TIMERS];
	uint8_t config;
	uint8_t status; /* of level-triggered timers */
	uint8_t held;	/* edge-triggered timers whose legacy line stays high until the next edge */
};

#define F(m, nm, mx, d) STATE_ARRAY(struct hpet_state, m, nm, TIMERS, mx, d)
static const struct state_field fields[] = {
    STATE_INT(struct hpet_state, counter, "counter", STATE_ANY, "main counter at 'since'"),
    STATE_INT(struct hpet_state, since, "since", TICK_MAX,
	"VM time in 10 ns at which the running counter had that value"),
    F(comparator, "comparator", STATE_ANY, "comparator or accumulator"),
    F(period, "period", STATE_ANY, "value last written to the comparator"),
    F(fsb_route, "fsb-route", STATE_ANY, "FSB interrupt route register"),
    F(timer_config, "timer-config", TN_KEPT, "timer configuration register, writable bits"),
    STATE_INT(struct hpet_state, config, "config", CONFIG_WRITABLE, "general configuration"),
    STATE_INT(struct hpet_state, status, "status", 0xff, "general interrupt status"),
    STATE_INT(struct hpet_state, held, "held", BIT(LEGACY_TIMERS) - 1,
	"timers whose legacy line is high since their last edge"),
    STATE_END,
};
#undef F

struct hpet {
	struct spinlock lock; /* protects st */
	struct hpet_state st;
	struct device *dev;
	struct vm *vm;
	struct vtimer timer;
	struct io_region region;
};

/* --- the timers ---------------------------------------------------------------------- */

static uint64_t now_ticks(const struct hpet *p)
{
	return vm_time(p->vm) / TICK_NS;
}

static bool is_level(const struct hpet_state *s, unsigned n)
{
	return s->timer_config[n] & TN_INT_TYPE_CNF;
}

static bool is_legacy(const struct hpet_state *s, unsigned n)
{
	return n < LEGACY_TIMERS && (s->config & LEG_RT_CNF);
}

/* The legacy route is stronger (2.3.5). */
static bool is_fsb(const struct hpet_state *s, unsigned n)
{
	return (s->timer_config[n] & TN_FSB_EN_CNF) && !is_legacy(s, n);
}

/* A timer's interrupt is enabled, and so are all. */
static bool interrupts(const struct hpet_state *s, unsigned n)
{
	return (s->config & ENABLE_CNF) && (s->timer_config[n] & TN_INT_ENB_CNF);
}

/* The line of a timer that has one, as a bit; a route that is not offered leads nowhere. */
static uint32_t line_of(const struct hpet_state *s, unsigned n)
{
	unsigned route = (s->timer_config[n] & TN_INT_ROUTE_CNF) >> TN_INT_ROUTE_SHIFT;

	if (is_legacy(s, n))
		return n == 0 ? BIT(0) : BIT(8);
	return is_fsb(s, n) ? 0 : (uint32_t)BIT(route) & ROUTES;
}

static uint64_t width_mask(const struct hpet_state *s, unsigned n)
{
	return s->timer_config[n] & TN_32MODE_CNF ? UINT32_MAX : UINT64_MAX;
}

/* Ticks from 'since' to just before the next match: with the one after that the timer matches. */
static uint64_t ticks_before_match(const struct hpet_state *s, unsigned n)
{
	return (s->comparator[n] - s->counter - 1) & width_mask(s, n);
}

/* True if the timer matches within so many ticks from 'since'. Moves the accumulator on. */
static bool match(struct hpet_state *s, unsigned n, uint64_t elapsed)
{
	uint64_t before = ticks_before_match(s, n), matches;

	if (elapsed <= before)
		return false;
	if ((s->timer_config[n] & TN_TYPE_CNF) && s->period[n]) {
		matches = (elapsed - before - 1) / s->period[n] + 1;
		s->comparator[n] = (s->comparator[n] + matches * s->period[n]) & width_mask(s, n);
	}
	return true;
}

/* --- interrupts ---------------------------------------------------------------------- */

static uint32_t levels(const struct hpet_state *s)
{
	uint32_t lines = 0;

	for (unsigned n = 0; n < TIMERS; n++)
		if (interrupts(s, n) && ((s->status | s->held) >> n & 1))
			lines |= line_of(s, n);
	return lines;
}

static uint32_t taken(const struct hpet_state *s)
{
	return s->config & LEG_RT_CNF ? LEGACY_LINES : 0;
}

static void drive_locked(struct hpet *p)
{
	irq_second_set(p->vm, levels(&p->st), taken(&p->st));
}

/*
 * Edges on lines. An I/O APIC needs no more than the edge; an 8259 forgets an
 * input that falls before it is acknowledged, so the legacy lines stay up.
 */
static void send_edges_locked(struct hpet *p, uint32_t edges)
{
	irq_second_set(p->vm, levels(&p->st) & ~edges, taken(&p->st));
	irq_second_set(p->vm, levels(&p->st) | edges, taken(&p->st));
	drive_locked(p);
}

/* Brings all up to now: matches since the last look, their status and interrupts. */
static void evaluate_locked(struct hpet *p)
{
	struct hpet_state *s = &p->st;
	uint64_t now = now_ticks(p), elapsed = now > s->since ? now - s->since : 0;
	uint32_t edges = 0;

	if (!(s->config & ENABLE_CNF) || !elapsed)
		return;
	for (unsigned n = 0; n < TIMERS; n++) {
		if (!match(s, n, elapsed))
			continue;
		if (is_level(s, n))
			s->status |= (uint8_t)(1U << n);
		if (!interrupts(s, n))
			continue;
		if (is_fsb(s, n)) {
			irq_msi(p->vm, s->fsb_route[n] >> 32, (uint32_t)s->fsb_route[n]);
		} else if (!is_level(s, n)) {
			edges |= line_of(s, n);
			if (is_legacy(s, n))
				s->held |= (uint8_t)(1U << n);
		}
	}
	s->counter += elapsed;
	s->since = now;
	if (edges)
		send_edges_locked(p, edges);
	else
		drive_locked(p);
}

/* Ticks from 'since' to when the timer has to be looked at, or NEVER. */
static uint64_t wait_of(const struct hpet_state *s, unsigned n)
{
	uint64_t wait = MIN(ticks_before_match(s, n), WAIT_MAX) + 1;

	if (!interrupts(s, n))
		return NEVER;
	if (is_level(s, n) && !is_fsb(s, n) && (s->status >> n & 1))
		return NEVER; /* it interrupts already */
	if ((s->timer_config[n] & TN_TYPE_CNF) && s->period[n] && s->period[n] < SHORT_PERIOD)
		return MAX(wait, (uint64_t)MIN_WAIT);
	return wait;
}

static void arm_locked(struct hpet *p)
{
	uint64_t wait = NEVER;

	for (unsigned n = 0; n < TIMERS; n++)
		wait = MIN(wait, wait_of(&p->st, n));
	if (wait == NEVER)
		vtimer_cancel(&p->timer);
	else
		vtimer_set(&p->timer, (p->st.since + wait) * TICK_NS);
}

static void timer_fired(void *arg)
{
	struct hpet *p = arg;
	uint64_t flags = spin_lock(&p->lock);

	evaluate_locked(p);
	arm_locked(p);
	spin_unlock(&p->lock, flags);
}

/* --- registers ----------------------------------------------------------------------- */

static uint64_t read_counter_locked(const struct hpet *p)
{
	uint64_t now = now_ticks(p);
	bool runs = (p->st.config & ENABLE_CNF) && now > p->st.since;

	return p->st.counter + (runs ? now - p->st.since : 0);
}

static uint64_t read_timer(const struct hpet_state *s, unsigned n, unsigned reg)
{
	switch (reg) {
	case TIMER_CONFIG: /* "value set" reads as 0 */
		return (s->timer_config[n] & ~TN_VAL_SET_CNF) | TN_PER_INT_CAP | TN_SIZE_CAP |
		       TN_FSB_INT_DEL_CAP | (uint64_t)ROUTES << TN_INT_ROUTE_CAP_SHIFT;
	case TIMER_COMPARATOR:
		return s->comparator[n];
	default:
		return s->fsb_route[n];
	}
}

/* The registers of a timer end before the next one's begin; behind the last there is nothing. */
static bool is_timer_reg(unsigned reg)
{
	return reg >= HPET_TIMER0 && reg < HPET_TIMER0 + TIMERS * HPET_TIMER_STRIDE &&
	       reg % HPET_TIMER_STRIDE <= TIMER_FSB_ROUTE;
}

/* The register at an offset that is a multiple of 8; evaluated up to now. */
static uint64_t read_locked(const struct hpet *p, unsigned reg)
{
	const struct hpet_state *s = &p->st;
	unsigned timer = (reg - HPET_TIMER0) / HPET_TIMER_STRIDE;

	switch (reg) {
	case HPET_CAPABILITIES:
		return PERIOD_FS << 32 | HPET_ID;
	case HPET_CONFIG:
		return s->config;
	case HPET_STATUS:
		return s->status;
	case HPET_COUNTER:
		return read_counter_locked(p);
	}
	if (is_timer_reg(reg))
		return read_timer(s, timer, reg % HPET_TIMER_STRIDE);
	device_unhandled(p->dev);
	return 0;
}

/* Of a register, the bits that an access covers are replaced. */
static uint64_t merge(uint64_t old, uint64_t value, uint64_t covered)
{
	return (old & ~covered) | (value & covered);
}

static void write_timer_config(struct hpet_state *s, unsigned n, uint64_t v)
{
	uint16_t old = s->timer_config[n], config = (uint16_t)v & TN_KEPT;
	unsigned route = (config & TN_INT_ROUTE_CNF) >> TN_INT_ROUTE_SHIFT;

	/* by its reading back otherwise, software knows that a route is not offered (2.3.8) */
	if (!(ROUTES >> route & 1))
		config = (config & (uint16_t)~TN_INT_ROUTE_CNF) | (old & TN_INT_ROUTE_CNF);
	if (!(config & TN_TYPE_CNF))
		config &= (uint16_t)~TN_VAL_SET_CNF;
	s->timer_config[n] = config;
	s->comparator[n] &= width_mask(s, n);
	s->period[n] &= width_mask(s, n);
	if (!(config & TN_INT_TYPE_CNF))
		s->status &= (uint8_t) ~(1U << n);
}

static void write_comparator(struct hpet_state *s, unsigned n, uint64_t v, uint64_t covered)
{
	uint16_t *config = &s->timer_config[n];

	if (!(*config & TN_TYPE_CNF) || (*config & TN_VAL_SET_CNF))
		s->comparator[n] = merge(s->comparator[n], v, covered) & width_mask(s, n);
	s->period[n] = merge(s->period[n], v, covered) & width_mask(s, n);
	*config &= (uint16_t)~TN_VAL_SET_CNF;
}

static void write_timer(
    struct hpet_state *s, unsigned n, unsigned reg, uint64_t v, uint64_t covered)
{
	switch (reg) {
	case TIMER_CONFIG:
		if (covered & UINT32_MAX) /* all of the upper half is read-only */
			write_timer_config(s, n, v);
		break;
	case TIMER_COMPARATOR:
		write_comparator(s, n, v, covered);
		break;
	case TIMER_FSB_ROUTE:
		s->fsb_route[n] = merge(s->fsb_route[n], v, covered);
		break;
	}
}

/* v has no bit that is not covered. */
static void write_locked(struct hpet *p, unsigned reg, uint64_t v, uint64_t covered)
{
	struct hpet_state *s = &p->st;
	unsigned timer = (reg - HPET_TIMER0) / HPET_TIMER_STRIDE;

	switch (reg) {
	case HPET_CONFIG:
		if (!(s->config & ENABLE_CNF))
			s->since = now_ticks(p);
		s->config = (uint8_t)merge(s->config, v, covered) & CONFIG_WRITABLE;
		return;
	case HPET_STATUS:
		s->status &= (uint8_t)~v;
		return;
	case HPET_COUNTER:
		if (!(s->config & ENABLE_CNF))
			s->counter = merge(s->counter, v, covered);
		return;
	}
	if (is_timer_reg(reg))
		write_timer(s, timer, reg % HPET_TIMER_STRIDE, v, covered);
	else
		device_unhandled(p->dev);
}

/* A line stays up for an edge only while it is that timer's. */
static uint8_t may_hold(const struct hpet_state *s)
{
	uint8_t timers = 0;

	for (unsigned n = 0; n < LEGACY_TIMERS; n++)
		if (interrupts(s, n) && is_legacy(s, n) && !is_level(s, n))
			timers |= (uint8_t)(1U << n);
	return timers;
}

/* Registers are accessed by 32 or 64 aligned bits (2.3.1); all else is counted and ignored. */
static bool proper(struct hpet *p, uint64_t offset, unsigned len)
{
	if ((len == 4 || len == 8) && offset % len == 0)
		return true;
	device_unhandled(p->dev);
	return false;
}

static void mmio_read(void *ctx, uint64_t offset, unsigned len, uint64_t *value)
{
	struct hpet *p = ctx;
	uint64_t flags;

	if (!proper(p, offset, len)) {
		*value = UINT64_MAX;
		return;
	}
	flags = spin_lock(&p->lock);
	if (ALIGN_DOWN(offset, 8U) != HPET_COUNTER)
		evaluate_locked(p);
	*value = read_locked(p, (unsigned)ALIGN_DOWN(offset, 8U)) >> (offset % 8 * 8);
	if (ALIGN_DOWN(offset, 8U) != HPET_COUNTER)
		arm_locked(p);
	spin_unlock(&p->lock, flags);
}

static void mmio_write(void *ctx, uint64_t offset, unsigned len, uint64_t value)
{
	struct hpet *p = ctx;
	unsigned shift = (unsigned)(offset % 8 * 8);
	uint64_t flags;

	if (!proper(p, offset, len))
		return;
	flags = spin_lock(&p->lock);
	evaluate_locked(p);
	write_locked(p, (unsigned)ALIGN_DOWN(offset, 8U), value << shift,
	    (len == 8 ? UINT64_MAX : UINT32_MAX) << shift);
	p->st.held &= may_hold(&p->st);
	drive_locked(p);
	arm_locked(p);
	spin_unlock(&p->lock, flags);
}

static const struct io_handler handler = {mmio_read, mmio_write};

/* --- the model ----------------------------------------------------------------------- */

static int hpet_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	struct hpet *p = heap_zalloc(sizeof(*p));
	int err;

	if (!p)
		return err_set(e, ERR_NOMEM, "hpet: out of memory");
	dev->priv = p;
	dev->state = &p->st;
	p->dev = dev;
	p->vm = dev->vm;
	spinlock_init(&p->lock, RANK_DEV_SPIN);
	vtimer_init(&p->timer, dev->vm, timer_fired, p);
	p->region = (struct io_region){
	    .name = "hpet", .start = MEMMAP_HPET, .size = HPET_SIZE, .ops = &handler, .ctx = p};
	err = iobus_map_mmio(dev->vm, &p->region);
	if (err != OK)
		return err_set(e, err, "hpet: registers at %#llx: %s",
		    (unsigned long long)p->region.start, error_text(err));
	irq_second_open(dev->vm);
	return OK;
}

static void hpet_destroy(struct device *dev)
{
	struct hpet *p = dev->priv;

	if (!p)
		return;
	vtimer_cancel(&p->timer);
	if (p->region.mapped)
		irq_second_close(dev->vm);
	iobus_unmap_mmio(dev->vm, &p->region);
	heap_free(p);
}

static void hpet_reset(struct device *dev)
{
	struct hpet *p = dev->priv;
	uint64_t flags = spin_lock(&p->lock);

	p->st = (struct hpet_state){.config = 0};
	for (unsigned n = 0; n < TIMERS; n++)
		p->st.comparator[n] = p->st.period[n] = UINT64_MAX;
	drive_locked(p);
	arm_locked(p);
	spin_unlock(&p->lock, flags);
}

static void hpet_quiesce(struct device *dev)
{
}

static void hpet_resume(struct device *dev)
{
	struct hpet *p = dev->priv;
	uint64_t flags = spin_lock(&p->lock);

	drive_locked(p);
	evaluate_locked(p);
	arm_locked(p);
	spin_unlock(&p->lock, flags);
}

static int check_timer(const struct hpet_state *s, unsigned n, struct errmsg *e)
{
	uint16_t config = s->timer_config[n];
	unsigned route = (config & TN_INT_ROUTE_CNF) >> TN_INT_ROUTE_SHIFT;

	if (config & ~TN_KEPT)
		return err_set(e, ERR_INVAL, "timer %u: reserved bits set", n);
	if (route && !(ROUTES >> route & 1))
		return err_set(e, ERR_INVAL, "timer %u: no route to input %u", n, route);
	if ((config & TN_VAL_SET_CNF) && !(config & TN_TYPE_CNF))
		return err_set(e, ERR_INVAL, "timer %u: value set in one-shot mode", n);
	if ((s->comparator[n] | s->period[n]) & ~width_mask(s, n))
		return err_set(e, ERR_RANGE, "timer %u: more than 32 bits in 32-bit mode", n);
	if ((s->status >> n & 1) && !is_level(s, n))
		return err_set(e, ERR_INVAL, "status: timer %u is edge-triggered", n);
	return OK;
}

static int hpet_check(const struct device *dev, const void *state, struct errmsg *e)
{
	const struct hpet_state *s = state;

	if (s->config & ~CONFIG_WRITABLE)
		return err_set(e, ERR_INVAL, "config: reserved bits set");
	for (unsigned n = 0; n < TIMERS; n++) {
		int err = check_timer(s, n, e);

		if (err != OK)
			return err;
	}
	if (s->held & ~may_hold(s))
		return err_set(e, ERR_INVAL, "held: not an edge-triggered timer's legacy line");
	return OK;
}

/* Before the other devices resume: what they say of their lines may be for nobody's ears. */
static void hpet_loaded(struct device *dev)
{
	struct hpet *p = dev->priv;

	irq_second_load(dev->vm, levels(&p->st), taken(&p->st));
}

DEVICE_MODEL(hpet) = {
    .compatible = "amber,hpet",
    .version = 1,
    .class = DEVCLASS_CONFIG,
    .doc = "IA-PC HPET 1.0a: a 64-bit counter of 100 MHz with eight timers",
    .state_size = sizeof(struct hpet_state),
    .fields = fields,
    .create = hpet_create,
    .destroy = hpet_destroy,
    .reset = hpet_reset,
    .quiesce = hpet_quiesce,
    .resume = hpet_resume,
    .check = hpet_check,
    .loaded = hpet_loaded,
};

#include "hv/dev/regs/hpet.h"
