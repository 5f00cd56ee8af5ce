/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 8254 interval timer and port 61h (8254 datasheet, order 231164; ICH9
 * datasheet, 13.3 and 13.7).
 *
 * Nothing ticks: a counter is a start time in counts of its 1.193182 MHz clock,
 * from which value and output follow. Only counter 0, whose output is interrupt
 * line 0, has a timer, for its next rising edge. Counts convert to and from VM
 * time exactly, so that periods do not drift.
 *
 * A count written to a running counter in mode 3 takes effect at the end of the
 * full cycle, not of the half cycle.
 */
#include "hv/core/device.h"
#include "hv/core/iobus.h"
#include "hv/core/irq.h"
#include "hv/core/vtimer.h"
#include "hv/dev/byte_regs.h"
#include "hv/lib/muldiv.h"
#include "hv/lib/spinlock.h"
#include "hv/mm/mm.h"

#define PIT_HZ	      1193182ULL
#define NS_PER_SECOND 1000000000ULL
#define TICK_MAX      BIT(56) /* some thousand years */

enum {
	COUNTERS = 3,
	MIN_EDGE_TICKS = 24, /* the host is interrupted at most every 20 us (I4) */
	TIMER_GSI = 0,
	SPEAKER = 2, /* the counter whose gate and output are in port 61h */
};

/* Ports 40h to 43h. */
enum pit_port { PORT_COUNTER0, PORT_COUNTER1, PORT_COUNTER2, PORT_CONTROL };

/* Control word. */
enum control_word {
	CW_BCD = 1 << 0,
	CW_MODE_SHIFT = 1,
	CW_ACCESS_SHIFT = 4,
	CW_COUNTER_SHIFT = 6,
	CW_READ_BACK = 3, /* in the counter field */
	/* read-back command; the first two are active low */
	RB_STATUS = 1 << 4,
	RB_COUNT = 1 << 5,
	RB_COUNTER0 = 1 << 1,
	/* status byte */
	STATUS_NULL = 1 << 6,
	STATUS_OUT = 1 << 7,
};
enum access { ACCESS_LATCH = 0, ACCESS_LSB = 1, ACCESS_MSB = 2, ACCESS_BOTH = 3 };
enum mode {
	MODE_TERMINAL_COUNT = 0,
	MODE_ONE_SHOT = 1,
	MODE_RATE = 2,
	MODE_SQUARE = 3,
	MODE_SOFT_STROBE = 4,
	MODE_HARD_STROBE = 5,
};
/* NMI status and control register. */
enum port61 {
	P61_GATE2 = 1 << 0,
	P61_SPEAKER = 1 << 1,
	P61_WRITABLE = 0x0f,
	P61_REFRESH = 1 << 4,
	P61_OUT2 = 1 << 5,
};
#define REFRESH_TOGGLE_TICKS 18 /* counter 1's traditional 15 us */

enum activity { IDLE, COUNTING, HELD };

/* Elements are counters 0, 1, 2. Times are counts of the 1.193182 MHz clock since VM time 0. */
struct i8254_state {
	uint64_t start[COUNTERS];   /* when the count was loaded */
	uint64_t next_at[COUNTERS]; /* when 'next' takes effect */
	uint64_t held[COUNTERS];    /* elapsed when the gate stopped it */
	uint64_t edge;		    /* counter 0's next rising edge; 0: none */
	uint32_t count[COUNTERS];   /* 1..65536; 0: none yet */
	uint32_t next[COUNTERS];    /* count that waits to be loaded; 0: none */
	uint16_t latch[COUNTERS];
	uint8_t mode[COUNTERS], access[COUNTERS], bcd[COUNTERS];
	uint8_t activity[COUNTERS];
	uint8_t null_count[COUNTERS];
	uint8_t read_msb[COUNTERS], write_msb[COUNTERS], write_lsb[COUNTERS];
	uint8_t latched[COUNTERS], status_latched[COUNTERS], status[COUNTERS];
	uint8_t port61;
	uint8_t line; /* level of interrupt line 0 */
};

#define F(m, nm, mx, d) STATE_ARRAY(struct i8254_state, m, nm, COUNTERS, mx, d)
static const struct state_field fields[] = {
    F(start, "start", TICK_MAX, "when the count was loaded, in counts of 1.193182 MHz"),
    F(next_at, "next-at", TICK_MAX, "when the next count takes effect"),
    F(held, "held", TICK_MAX, "counts elapsed when the gate stopped the counter"),
    STATE_INT(struct i8254_state, edge, "edge", TICK_MAX, "next rising edge of output 0; 0: none"),
    F(count, "count", 65536, "count in use; 0: none"),
    F(next, "next", 65536, "count that waits to be loaded; 0: none"),
    F(latch, "latch", 0xffff, "latched count"),
    F(mode, "mode", MODE_HARD_STROBE, "mode"),
    F(access, "access", ACCESS_BOTH, "bytes read and written: 1 low, 2 high, 3 both"),
    F(bcd, "bcd", 1, "counts in BCD"),
    F(activity, "activity", HELD, "0 idle, 1 counting, 2 stopped by the gate"),
    F(null_count, "null-count", 1, "a count was written and not loaded"),
    F(read_msb, "read-msb", 1, "the next read gives the high byte"),
    F(write_msb, "write-msb", 1, "the next write is the high byte"),
    F(write_lsb, "write-lsb", 0xff, "low byte written"),
    F(latched, "latched", 1, "the count is latched"),
    F(status_latched, "status-latched", 1, "the status is latched"),
    F(status, "status", 0xff, "latched status"),
    STATE_INT(struct i8254_state, port61, "port61", P61_WRITABLE, "writable bits of port 61h"),
    STATE_INT(struct i8254_state, line, "line", 1, "level of interrupt line 0"),
    STATE_END,
};
#undef F

struct i8254 {
	struct spinlock lock; /* protects st */
	struct i8254_state st;
	struct device *dev;
	struct vm *vm;
	struct vtimer timer;
	struct io_region counters, port61;
};

/* --- time --------------------------------------------------------------------------- */

static uint64_t now_ticks(const struct i8254 *p)
{
	return muldiv_u64(vm_time(p->vm), PIT_HZ, NS_PER_SECOND);
}

static bool periodic(const struct i8254_state *s, unsigned c)
{
	return s->mode[c] == MODE_RATE || s->mode[c] == MODE_SQUARE;
}

/* Counts since the load, which happens with the clock after it was asked for. */
static uint64_t elapsed(const struct i8254_state *s, unsigned c, uint64_t now)
{
	if (s->activity[c] == HELD)
		return s->held[c];
	return now > s->start[c] ? now - s->start[c] : 0;
}

/* Loads a waiting count whose moment has come. */
static void reload_if_due(struct i8254_state *s, unsigned c, uint64_t now)
{
	if (!periodic(s, c) || !s->next[c] || s->activity[c] != COUNTING || now < s->next_at[c])
		return;
	s->start[c] = s->next_at[c];
	s->count[c] = s->next[c];
	s->next[c] = 0;
	s->null_count[c] = 0;
}

static bool output(const struct i8254_state *s, unsigned c, uint64_t now)
{
	uint64_t e = elapsed(s, c, now), n = s->count[c];

	switch (s->mode[c]) {
	case MODE_TERMINAL_COUNT:
		return s->activity[c] != IDLE && e >= n;
	case MODE_ONE_SHOT:
		return s->activity[c] == IDLE || e >= n;
	case MODE_RATE:
		return s->activity[c] != COUNTING || e % n != n - 1;
	case MODE_SQUARE:
		return s->activity[c] != COUNTING || e % n < (n + 1) / 2;
	default: /* strobes: low for one clock */
		return s->activity[c] == IDLE || e != n;
	}
}

/* The square wave counts down by two, once per half cycle. */
static uint32_t square_value(uint64_t e, uint64_t n)
{
	uint64_t half = (n + 1) / 2, pos = e % n;

	return (uint32_t)((n & ~1ULL) - 2 * (pos < half ? pos : pos - half));
}

static uint16_t to_bcd(uint32_t v)
{
	return (
	    uint16_t)((v / 1000 % 10) << 12 | (v / 100 % 10) << 8 | (v / 10 % 10) << 4 | v % 10);
}

static uint32_t from_bcd(uint16_t v)
{
	return (v >> 12) * 1000U + (v >> 8 & 15) * 100U + (v >> 4 & 15) * 10U + (v & 15);
}

/* What a read of the counting element gives, in the counter's number format. */
static uint16_t current_value(const struct i8254_state *s, unsigned c, uint64_t now)
{
	uint64_t n = s->count[c], modulus = s->bcd[c] ? 10000 : 65536;
	uint64_t e = s->activity[c] == IDLE ? 0 : elapsed(s, c, now);
	uint32_t v;

	if (!n)
		v = 0;
	else if (s->mode[c] == MODE_SQUARE)
		v = square_value(e, n);
	else if (s->mode[c] == MODE_RATE)
		v = (uint32_t)(n - e % n);
	else
		v = (uint32_t)((n + modulus - e % modulus) % modulus);
	return s->bcd[c] ? to_bcd(v % 10000) : (uint16_t)v;
}

/* --- counter 0's interrupt --------------------------------------------------------------- */

/* The next rising edge of output 0 after now, or 0. Periods keep their phase; edges missed are
 * dropped. */
static uint64_t next_edge(const struct i8254_state *s, uint64_t now)
{
	uint64_t e = elapsed(s, 0, now), n = s->count[0], at;

	if (s->activity[0] != COUNTING)
		return 0;
	if (!periodic(s, 0)) {
		at = s->start[0] + n + (s->mode[0] >= MODE_SOFT_STROBE);
		return at > now ? at : 0;
	}
	if (n < MIN_EDGE_TICKS)
		e += MIN_EDGE_TICKS;
	return s->start[0] + (e / n + 1) * n;
}

static void set_line_locked(struct i8254 *p, bool level)
{
	p->st.line = level;
	irq_line_set(p->vm, TIMER_GSI, level);
}

static void arm_locked(struct i8254 *p)
{
	if (p->st.edge)
		vtimer_set(&p->timer, muldiv_up_u64(p->st.edge, NS_PER_SECOND, PIT_HZ));
	else
		vtimer_cancel(&p->timer);
}

/* After counter 0 was programmed. */
static void counter0_changed_locked(struct i8254 *p, uint64_t now)
{
	p->st.edge = next_edge(&p->st, now);
	set_line_locked(p, output(&p->st, 0, now));
	arm_locked(p);
}

static void timer_fired(void *arg)
{
	struct i8254 *p = arg;
	uint64_t flags = spin_lock(&p->lock), now = now_ticks(p);

	if (p->st.edge && now >= p->st.edge) {
		reload_if_due(&p->st, 0, now);
		if (p->st.line)
			set_line_locked(p, false);
		set_line_locked(p, true);
		p->st.edge = next_edge(&p->st, now);
	}
	arm_locked(p);
	spin_unlock(&p->lock, flags);
}

/* --- programming --------------------------------------------------------------------------- */

static void load(struct i8254_state *s, unsigned c, uint32_t count, uint64_t now, bool gate)
{
	s->count[c] = count;
	s->next[c] = 0;
	s->null_count[c] = 0;
	s->start[c] = now + 1;
	s->held[c] = 0;
	s->activity[c] = gate ? COUNTING : HELD;
}

/* The gates of counters 0 and 1 are always high. */
static bool gate_of(const struct i8254_state *s, unsigned c)
{
	return c != SPEAKER || (s->port61 & P61_GATE2);
}

static void count_written(struct i8254_state *s, unsigned c, uint16_t value, uint64_t now)
{
	uint32_t n = s->bcd[c] ? from_bcd(value) % 10000 : value;

	if (!n)
		n = s->bcd[c] ? 10000 : 65536;
	s->null_count[c] = 1;
	switch (s->mode[c]) {
	case MODE_ONE_SHOT:
	case MODE_HARD_STROBE:
		s->next[c] = n; /* for the next trigger */
		break;
	case MODE_RATE:
	case MODE_SQUARE:
		if (s->activity[c] != COUNTING) {
			load(s, c, n, now, gate_of(s, c));
			break;
		}
		s->next[c] = n;
		s->next_at[c] = s->start[c] + (elapsed(s, c, now) / s->count[c] + 1) * s->count[c];
		break;
	default:
		load(s, c, n, now, gate_of(s, c));
		break;
	}
}

static void write_counter_locked(struct i8254 *p, unsigned c, uint8_t v)
{
	struct i8254_state *s = &p->st;
	uint64_t now = now_ticks(p);

	reload_if_due(s, c, now);
	if (s->access[c] == ACCESS_BOTH && !s->write_msb[c]) {
		s->write_lsb[c] = v;
		s->write_msb[c] = 1;
		if (s->mode[c] == MODE_TERMINAL_COUNT)
			s->activity[c] = IDLE; /* the first byte stops the count */
	} else {
		uint16_t value = s->access[c] == ACCESS_LSB ? v : (uint16_t)(v << 8);

		if (s->access[c] == ACCESS_BOTH)
			value |= s->write_lsb[c];
		s->write_msb[c] = 0;
		count_written(s, c, value, now);
	}
	if (c == 0)
		counter0_changed_locked(p, now);
}

static void latch_count(struct i8254_state *s, unsigned c, uint64_t now)
{
	if (s->latched[c])
		return;
	s->latch[c] = current_value(s, c, now);
	s->latched[c] = 1;
	s->read_msb[c] = 0;
}

static void latch_status(struct i8254_state *s, unsigned c, uint64_t now)
{
	if (s->status_latched[c])
		return;
	s->status[c] =
	    (uint8_t)((output(s, c, now) ? STATUS_OUT : 0) | (s->null_count[c] ? STATUS_NULL : 0) |
		      s->access[c] << CW_ACCESS_SHIFT | s->mode[c] << CW_MODE_SHIFT | s->bcd[c]);
	s->status_latched[c] = 1;
}

static void read_back(struct i8254_state *s, uint8_t v, uint64_t now)
{
	for (unsigned c = 0; c < COUNTERS; c++) {
		if (!(v & RB_COUNTER0 << c))
			continue;
		reload_if_due(s, c, now);
		if (!(v & RB_COUNT))
			latch_count(s, c, now);
		if (!(v & RB_STATUS))
			latch_status(s, c, now);
	}
}

static void set_mode(struct i8254_state *s, unsigned c, uint8_t v)
{
	uint8_t mode = v >> CW_MODE_SHIFT & 7;

	s->mode[c] = mode > MODE_HARD_STROBE ? mode & 3 : mode; /* 6 and 7 are 2 and 3 */
	s->access[c] = v >> CW_ACCESS_SHIFT & 3;
	s->bcd[c] = v & CW_BCD;
	s->activity[c] = IDLE;
	s->count[c] = 0;
	s->next[c] = 0;
	s->null_count[c] = 1;
	s->read_msb[c] = 0;
	s->write_msb[c] = 0;
	s->latched[c] = 0;
	s->status_latched[c] = 0;
}

static void write_control_locked(struct i8254 *p, uint8_t v)
{
	struct i8254_state *s = &p->st;
	unsigned c = v >> CW_COUNTER_SHIFT;
	uint64_t now = now_ticks(p);

	if (c == CW_READ_BACK) {
		read_back(s, v, now);
	} else if ((v >> CW_ACCESS_SHIFT & 3) == ACCESS_LATCH) {
		reload_if_due(s, c, now);
		latch_count(s, c, now);
	} else {
		set_mode(s, c, v);
		if (c == 0)
			counter0_changed_locked(p, now);
	}
}

/* One byte of a count, in turn if both are read; true when the last one was read. */
static bool read_byte(struct i8254_state *s, unsigned c, uint16_t value, uint8_t *byte)
{
	bool high = s->access[c] == ACCESS_MSB || (s->access[c] == ACCESS_BOTH && s->read_msb[c]);

	*byte = (uint8_t)(high ? value >> 8 : value);
	if (s->access[c] != ACCESS_BOTH)
		return true;
	s->read_msb[c] = !high;
	return high;
}

static uint8_t read_counter_locked(struct i8254 *p, unsigned c)
{
	struct i8254_state *s = &p->st;
	uint64_t now = now_ticks(p);
	uint8_t byte;

	if (s->status_latched[c]) {
		s->status_latched[c] = 0;
		return s->status[c];
	}
	reload_if_due(s, c, now);
	if (!s->latched[c])
		read_byte(s, c, current_value(s, c, now), &byte);
	else if (read_byte(s, c, s->latch[c], &byte))
		s->latched[c] = 0;
	return byte;
}

/* --- port 61h ----------------------------------------------------------------------------------
 */

/* A rising gate triggers modes 1 and 5, restarts 2 and 3, and lets 0 and 4 go on. */
static void gate_rises(struct i8254_state *s, unsigned c, uint64_t now)
{
	uint32_t n = s->next[c] ? s->next[c] : s->count[c];

	if (!n)
		return;
	if (s->mode[c] != MODE_TERMINAL_COUNT && s->mode[c] != MODE_SOFT_STROBE) {
		load(s, c, n, now, true);
	} else if (s->activity[c] == HELD) {
		s->start[c] = now > s->held[c] ? now - s->held[c] : 0;
		s->activity[c] = COUNTING;
	}
}

static void gate_falls(struct i8254_state *s, unsigned c, uint64_t now)
{
	if (s->activity[c] != COUNTING || s->mode[c] == MODE_ONE_SHOT ||
	    s->mode[c] == MODE_HARD_STROBE)
		return;
	s->held[c] = elapsed(s, c, now);
	s->activity[c] = HELD;
}

static void port61_write(void *ctx, unsigned reg, uint8_t v)
{
	struct i8254 *p = ctx;
	struct i8254_state *s = &p->st;
	uint64_t flags = spin_lock(&p->lock), now = now_ticks(p);
	uint8_t changed = s->port61 ^ v;

	reload_if_due(s, SPEAKER, now);
	s->port61 = v & P61_WRITABLE;
	if ((changed & P61_GATE2) && (v & P61_GATE2))
		gate_rises(s, SPEAKER, now);
	else if (changed & P61_GATE2)
		gate_falls(s, SPEAKER, now);
	spin_unlock(&p->lock, flags);
}

static uint8_t port61_read(void *ctx, unsigned reg)
{
	struct i8254 *p = ctx;
	struct i8254_state *s = &p->st;
	uint64_t flags = spin_lock(&p->lock), now = now_ticks(p);
	uint8_t v = s->port61;

	reload_if_due(s, SPEAKER, now);
	if (now / REFRESH_TOGGLE_TICKS & 1)
		v |= P61_REFRESH;
	if (output(s, SPEAKER, now))
		v |= P61_OUT2;
	spin_unlock(&p->lock, flags);
	return v;
}

/* --- the model -----------------------------------------------------------------------------------
 */

static void counter_write(void *ctx, unsigned reg, uint8_t v)
{
	struct i8254 *p = ctx;
	uint64_t flags = spin_lock(&p->lock);

	if (reg == PORT_CONTROL)
		write_control_locked(p, v);
	else
		write_counter_locked(p, reg, v);
	spin_unlock(&p->lock, flags);
}

static uint8_t counter_read(void *ctx, unsigned reg)
{
	struct i8254 *p = ctx;
	uint64_t flags;
	uint8_t v;

	if (reg == PORT_CONTROL) {
		device_unhandled(p->dev); /* the control word is write-only */
		return 0xff;
	}
	flags = spin_lock(&p->lock);
	v = read_counter_locked(p, reg);
	spin_unlock(&p->lock, flags);
	return v;
}

BYTE_PORTS(counter_ports, counter_read, counter_write);
BYTE_PORTS(port61_ports, port61_read, port61_write);

static int i8254_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	struct i8254 *p = heap_zalloc(sizeof(*p));
	int err;

	if (!p)
		return err_set(e, ERR_NOMEM, "i8254: out of memory");
	dev->priv = p;
	dev->state = &p->st;
	p->dev = dev;
	p->vm = dev->vm;
	spinlock_init(&p->lock, RANK_DEV_SPIN);
	vtimer_init(&p->timer, dev->vm, timer_fired, p);
	p->counters = (struct io_region){
	    .name = "i8254", .start = 0x40, .size = 4, .ops = &counter_ports, .ctx = p};
	p->port61 = (struct io_region){
	    .name = "port61", .start = 0x61, .size = 1, .ops = &port61_ports, .ctx = p};
	err = iobus_map_port(dev->vm, &p->counters);
	if (err == OK)
		err = iobus_map_port(dev->vm, &p->port61);
	return err == OK ? OK : err_set(e, err, "i8254: ports: %s", error_text(err));
}

static void i8254_destroy(struct device *dev)
{
	struct i8254 *p = dev->priv;

	if (!p)
		return;
	vtimer_cancel(&p->timer);
	iobus_unmap_port(dev->vm, &p->counters);
	iobus_unmap_port(dev->vm, &p->port61);
	heap_free(p);
}

static void i8254_reset(struct device *dev)
{
	struct i8254 *p = dev->priv;
	uint64_t flags = spin_lock(&p->lock);

	p->st = (struct i8254_state){.access = {ACCESS_BOTH, ACCESS_BOTH, ACCESS_BOTH}};
	set_line_locked(p, false);
	arm_locked(p);
	spin_unlock(&p->lock, flags);
}

static void i8254_quiesce(struct device *dev)
{
}

static void i8254_resume(struct device *dev)
{
	struct i8254 *p = dev->priv;
	uint64_t flags = spin_lock(&p->lock);

	set_line_locked(p, p->st.line);
	arm_locked(p);
	spin_unlock(&p->lock, flags);
}

static int i8254_check(const struct device *dev, const void *state, struct errmsg *e)
{
	const struct i8254_state *s = state;

	for (unsigned c = 0; c < COUNTERS; c++) {
		uint32_t max = s->bcd[c] ? 10000 : 65536;

		if (s->access[c] == ACCESS_LATCH)
			return err_set(e, ERR_INVAL, "counter %u: access mode 0", c);
		if (s->count[c] > max || s->next[c] > max)
			return err_set(e, ERR_RANGE, "counter %u: count above %u", c, max);
		if (s->activity[c] != IDLE && !s->count[c])
			return err_set(e, ERR_INVAL, "counter %u: counts without a count", c);
	}
	if (s->edge && s->activity[0] != COUNTING)
		return err_set(e, ERR_INVAL, "edge: counter 0 does not count");
	return OK;
}

static void i8254_loaded(struct device *dev)
{
}

DEVICE_MODEL(i8254) = {
    .compatible = "amber,i8254",
    .version = 1,
    .class = DEVCLASS_PLATFORM,
    .doc = "8254 interval timer and port 61h",
    .state_size = sizeof(struct i8254_state),
    .fields = fields,
    .create = i8254_create,
    .destroy = i8254_destroy,
    .reset = i8254_reset,
    .quiesce = i8254_quiesce,
    .resume = i8254_resume,
    .check = i8254_check,
    .loaded = i8254_loaded,
};

#include "hv/dev/regs/i8254.h"
