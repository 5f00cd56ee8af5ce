/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The real-time clock and its 128 bytes of memory (MC146818A datasheet; ICH9
 * datasheet, 13.6).
 *
 * The time of day is the wall clock plus an offset that the guest sets by
 * writing the time. While the clock is stopped (SET, or the divider in reset)
 * the time stands in the registers. Flags are computed when they are looked at;
 * timers run only for interrupts that are enabled.
 */
#include "hv/core/device.h"
#include "hv/core/iobus.h"
#include "hv/core/irq.h"
#include "hv/core/memmap.h"
#include "hv/core/vm.h"
#include "hv/dev/byte_regs.h"
#include "hv/lib/muldiv.h"
#include "hv/mm/mm.h"

#define NS_PER_SECOND 1000000000ULL
/* Update cycle in progress: from 244 us before to 1984 us after its start (table 5, 32.768 kHz). */
#define UIP_NS 2228000ULL

enum { RTC_GSI = 8, NVRAM_SIZE = 128, SECONDS_PER_DAY = 86400 };

/* Registers, by the index in port 70h. */
enum rtc_reg {
	RTC_SECONDS = 0x00,
	RTC_SECONDS_ALARM = 0x01,
	RTC_MINUTES = 0x02,
	RTC_MINUTES_ALARM = 0x03,
	RTC_HOURS = 0x04,
	RTC_HOURS_ALARM = 0x05,
	RTC_DAY_OF_WEEK = 0x06, /* 1 is Sunday */
	RTC_DAY = 0x07,
	RTC_MONTH = 0x08,
	RTC_YEAR = 0x09,
	RTC_A = 0x0a,
	RTC_B = 0x0b,
	RTC_C = 0x0c,
	RTC_D = 0x0d,
	RTC_CENTURY = 0x32,
};
enum rtc_a {
	A_RATE = 0x0f,
	A_DIVIDER = 0x70,
	A_DIVIDER_32K = 0x20,
	A_DIVIDER_RESET = 0x60, /* 11x */
	A_UIP = 0x80,
};
enum rtc_b {
	B_DSE = 1 << 0,
	B_24H = 1 << 1,
	B_BINARY = 1 << 2,
	B_SQWE = 1 << 3,
	B_UIE = 1 << 4,
	B_AIE = 1 << 5,
	B_PIE = 1 << 6,
	B_SET = 1 << 7,
};
enum rtc_c { C_UF = 1 << 4, C_AF = 1 << 5, C_PF = 1 << 6, C_IRQF = 1 << 7, C_FLAGS = 0x70 };
enum rtc_d { D_VRT = 1 << 7 };
enum { ALARM_ANY = 0xc0, HOUR_PM = 0x80 };

/* Memory that PC firmware fills in and reads. */
enum cmos_reg {
	CMOS_BASE_MEMORY = 0x15,     /* KiB below 640 KiB, two bytes */
	CMOS_EXTENDED_MEMORY = 0x17, /* KiB above 1 MiB, two bytes */
	CMOS_EXTENDED_MEMORY2 = 0x30,
	CMOS_MEMORY_16M = 0x34, /* 64 KiB units above 16 MiB, two bytes */
	CMOS_MEMORY_4G = 0x5b,	/* 64 KiB units above 4 GiB, three bytes */
};

struct mc146818_state {
	uint8_t regs[NVRAM_SIZE]; /* time registers: only while the clock is stopped */
	uint64_t offset;	  /* the RTC's seconds less the wall clock's, two's complement */
	uint64_t update_seen;	  /* RTC second up to which UF and AF are in regs[C] */
	uint64_t periodic_seen;	  /* 32.768 kHz clock up to which PF is in regs[C] */
	uint8_t index;
};

static const struct state_field fields[] = {
    STATE_ARRAY(struct mc146818_state, regs, "regs", NVRAM_SIZE, 0xff, "registers and memory"),
    STATE_INT(struct mc146818_state, offset, "offset", STATE_ANY,
	"seconds by which the clock is ahead of UTC, two's complement"),
    STATE_INT(struct mc146818_state, update_seen, "update-seen", STATE_ANY,
	"second of the clock up to which update and alarm flags are set"),
    STATE_INT(struct mc146818_state, periodic_seen, "periodic-seen", BIT(48),
	"VM time in 1/32768 s up to which the periodic flag is set"),
    STATE_INT(struct mc146818_state, index, "index", 0xff, "port 70h"),
    STATE_END,
};

struct mc146818 {
	struct spinlock lock; /* protects st */
	struct mc146818_state st;
	struct device *dev;
	struct vm *vm;
	struct vtimer timer;
	struct io_region region;
};

/* --- calendar --------------------------------------------------------------------------- */

struct calendar {
	int64_t year; /* 0..9999 */
	unsigned month, day, weekday, hour, minute, second;
};

/* Days from 1970-01-01 to a day of the proleptic Gregorian calendar; years start in March for the
 * count. */
static int64_t days_from_date(int64_t year, unsigned month, unsigned day)
{
	int64_t y = month <= 2 ? year - 1 : year, era, year_of_era, day_of_year;

	era = (y >= 0 ? y : y - 399) / 400;
	year_of_era = y - era * 400;
	day_of_year = (153 * (int64_t)((month + 9) % 12) + 2) / 5 + (int64_t)day - 1;
	return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 +
	       day_of_year - 719468;
}

static void date_from_days(int64_t days, struct calendar *c)
{
	int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t doe = z - era * 146097; /* day of the 400-year era */
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153; /* months since March */

	c->day = (unsigned)(doy - (153 * mp + 2) / 5 + 1);
	c->month = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
	c->year = yoe + era * 400 + (c->month <= 2);
	c->weekday = (unsigned)((days % 7 + 11) % 7); /* 1970-01-01 was a Thursday; 0 is Sunday */
}

static void calendar_from_seconds(int64_t t, struct calendar *c)
{
	int64_t days = (t >= 0 ? t : t - (SECONDS_PER_DAY - 1)) / SECONDS_PER_DAY;
	unsigned rest = (unsigned)(t - days * SECONDS_PER_DAY);

	date_from_days(days, c);
	c->hour = rest / 3600;
	c->minute = rest / 60 % 60;
	c->second = rest % 60;
}

/* --- number formats --------------------------------------------------------------------------- */

static uint8_t encode(const struct mc146818_state *s, unsigned v)
{
	return (uint8_t)(s->regs[RTC_B] & B_BINARY ? v : (v / 10 % 10) << 4 | v % 10);
}

static unsigned decode(const struct mc146818_state *s, uint8_t v)
{
	return s->regs[RTC_B] & B_BINARY ? v : (v >> 4) * 10U + (v & 15);
}

static uint8_t encode_hour(const struct mc146818_state *s, unsigned hour)
{
	if (s->regs[RTC_B] & B_24H)
		return encode(s, hour);
	return encode(s, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(const struct mc146818_state *s, uint8_t v)
{
	if (s->regs[RTC_B] & B_24H)
		return decode(s, v) % 24;
	return decode(s, v & (uint8_t)~HOUR_PM) % 12 + (v & HOUR_PM ? 12 : 0);
}

/* --- the running clock --------------------------------------------------------------------------
 */

static bool stopped(const struct mc146818_state *s)
{
	return (s->regs[RTC_B] & B_SET) || (s->regs[RTC_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
}

static int64_t rtc_now(const struct mc146818_state *s)
{
	return (int64_t)(wall_time() / NS_PER_SECOND + s->offset);
}

static uint64_t clock32k(const struct mc146818 *p)
{
	return muldiv_u64(vm_time(p->vm), 512, 15625000); /* 32768 / 10^9 */
}

/* Puts the time into the registers. */
static void time_to_regs(struct mc146818_state *s, int64_t t)
{
	struct calendar c;

	calendar_from_seconds(t, &c);
	s->regs[RTC_SECONDS] = encode(s, c.second);
	s->regs[RTC_MINUTES] = encode(s, c.minute);
	s->regs[RTC_HOURS] = encode_hour(s, c.hour);
	s->regs[RTC_DAY_OF_WEEK] = encode(s, c.weekday + 1);
	s->regs[RTC_DAY] = encode(s, c.day);
	s->regs[RTC_MONTH] = encode(s, c.month);
	s->regs[RTC_YEAR] = encode(s, (unsigned)(((c.year % 100) + 100) % 100));
	s->regs[RTC_CENTURY] = encode(s, (unsigned)((c.year / 100 % 100 + 100) % 100));
}

/* Takes the time from the registers; nonsense in them gives some time or other. */
static int64_t time_from_regs(const struct mc146818_state *s)
{
	int64_t year =
	    (int64_t)decode(s, s->regs[RTC_CENTURY]) * 100 + decode(s, s->regs[RTC_YEAR]);
	unsigned month = decode(s, s->regs[RTC_MONTH]), day = decode(s, s->regs[RTC_DAY]);

	month = month >= 1 && month <= 12 ? month : 1;
	return days_from_date(year, month, day ? day : 1) * SECONDS_PER_DAY +
	       (int64_t)decode_hour(s, s->regs[RTC_HOURS]) * 3600 +
	       (int64_t)decode(s, s->regs[RTC_MINUTES]) * 60 + decode(s, s->regs[RTC_SECONDS]);
}

static void set_time(struct mc146818_state *s, int64_t t)
{
	s->offset = (uint64_t)t - wall_time() / NS_PER_SECOND;
	s->update_seen = (uint64_t)t;
}

/* --- flags and interrupt
 * ---------------------------------------------------------------------------- */

static bool alarm_field(uint8_t alarm, uint8_t now)
{
	return alarm >= ALARM_ANY || alarm == now;
}

/* True if an alarm lies in (from, to]; a day has them all. */
static bool alarm_between(const struct mc146818_state *s, int64_t from, int64_t to)
{
	from = MAX(from, to - SECONDS_PER_DAY);
	for (int64_t t = from + 1 - ((from + 1) % 60 + 60) % 60; t <= to; t += 60) {
		unsigned minute = (unsigned)((t / 60 % 1440 + 1440) % 1440);

		if (!alarm_field(s->regs[RTC_HOURS_ALARM], encode_hour(s, minute / 60)) ||
		    !alarm_field(s->regs[RTC_MINUTES_ALARM], encode(s, minute % 60)))
			continue;
		for (unsigned second = 0; second < 60; second++) {
			if (t + second > from && t + second <= to &&
			    alarm_field(s->regs[RTC_SECONDS_ALARM], encode(s, second)))
				return true;
		}
	}
	return false;
}

/* The updates since the last look. A clock that was set back starts anew. */
static void update_flags(struct mc146818_state *s)
{
	int64_t now = rtc_now(s), seen = (int64_t)s->update_seen;

	if (stopped(s))
		return;
	s->update_seen = (uint64_t)now;
	if (now <= seen)
		return;
	s->regs[RTC_C] |= C_UF;
	if (!(s->regs[RTC_C] & C_AF) && alarm_between(s, seen, now))
		s->regs[RTC_C] |= C_AF;
}

/* Period of the periodic interrupt in 1/32768 s; 0: none (table 5). */
static uint64_t period(const struct mc146818_state *s)
{
	unsigned rate = s->regs[RTC_A] & A_RATE;

	if (!rate || (s->regs[RTC_A] & A_DIVIDER) != A_DIVIDER_32K)
		return 0;
	return 1ULL << (rate <= 2 ? rate + 6 : rate - 1);
}

static void periodic_flag(struct mc146818 *p)
{
	uint64_t now = clock32k(p), n = period(&p->st);

	if (n && now / n > p->st.periodic_seen / n)
		p->st.regs[RTC_C] |= C_PF;
	p->st.periodic_seen = now;
}

/* VM time of the next event whose interrupt is enabled and whose flag is not yet set, or 0. */
static uint64_t next_event(struct mc146818 *p)
{
	const struct mc146818_state *s = &p->st;
	uint8_t waiting = s->regs[RTC_B] & ~s->regs[RTC_C];
	uint64_t n = period(s), when = 0;

	if ((waiting & B_PIE) && n) {
		uint64_t tick = (clock32k(p) / n + 1) * n;

		when = muldiv_up_u64(tick, 15625000, 512);
	}
	if ((waiting & (B_UIE | B_AIE)) && !stopped(s)) {
		uint64_t update = vm_time(p->vm) + NS_PER_SECOND - wall_time() % NS_PER_SECOND;

		when = when ? MIN(when, update) : update;
	}
	return when;
}

/* The enable bits of B and the flags of C have the same places. */
static void evaluate_locked(struct mc146818 *p)
{
	struct mc146818_state *s = &p->st;
	uint64_t when;

	update_flags(s);
	periodic_flag(p);
	if (s->regs[RTC_B] & s->regs[RTC_C] & C_FLAGS)
		s->regs[RTC_C] |= C_IRQF;
	else
		s->regs[RTC_C] &= (uint8_t)~C_IRQF;
	irq_line_set(p->vm, RTC_GSI, s->regs[RTC_C] & C_IRQF);
	when = next_event(p);
	if (when)
		vtimer_set(&p->timer, when);
	else
		vtimer_cancel(&p->timer);
}

static void timer_fired(void *arg)
{
	struct mc146818 *p = arg;
	uint64_t flags = spin_lock(&p->lock);

	evaluate_locked(p);
	spin_unlock(&p->lock, flags);
}

/* --- registers
 * ------------------------------------------------------------------------------------------- */

static bool is_time_reg(unsigned reg)
{
	return reg == RTC_SECONDS || reg == RTC_MINUTES ||
	       (reg >= RTC_HOURS && reg <= RTC_YEAR && reg != RTC_HOURS_ALARM) ||
	       reg == RTC_CENTURY;
}

static uint8_t read_c(struct mc146818 *p)
{
	uint8_t v;

	evaluate_locked(p);
	v = p->st.regs[RTC_C];
	p->st.regs[RTC_C] = 0;
	evaluate_locked(p);
	return v;
}

static uint8_t read_reg(struct mc146818 *p, unsigned reg)
{
	struct mc146818_state *s = &p->st;

	if (is_time_reg(reg) && !stopped(s))
		time_to_regs(s, rtc_now(s));
	switch (reg) {
	case RTC_A:
		if (!stopped(s) && wall_time() % NS_PER_SECOND >= NS_PER_SECOND - UIP_NS)
			return s->regs[RTC_A] | A_UIP;
		return s->regs[RTC_A];
	case RTC_C:
		return read_c(p);
	case RTC_D:
		return D_VRT;
	default:
		return s->regs[reg];
	}
}

/* A or B: the clock may stop, or go on from what is in the registers, or change its number format.
 */
static void write_control(struct mc146818 *p, unsigned reg, uint8_t v)
{
	struct mc146818_state *s = &p->st;
	bool was_stopped = stopped(s);

	evaluate_locked(p);
	if (!was_stopped)
		time_to_regs(s, rtc_now(s));
	if (reg == RTC_B && (v & B_SET))
		v &= (uint8_t)~B_UIE; /* SET clears the update interrupt enable */
	s->regs[reg] = reg == RTC_A ? v & (uint8_t)~A_UIP : v;
	if (was_stopped && !stopped(s))
		set_time(s, time_from_regs(s));
}

static void write_time(struct mc146818 *p, unsigned reg, uint8_t v)
{
	struct mc146818_state *s = &p->st;

	evaluate_locked(p);
	if (!stopped(s))
		time_to_regs(s, rtc_now(s));
	s->regs[reg] = v;
	if (!stopped(s))
		set_time(s, time_from_regs(s));
}

static void write_reg(struct mc146818 *p, unsigned reg, uint8_t v)
{
	if (is_time_reg(reg))
		write_time(p, reg, v);
	else if (reg == RTC_A || reg == RTC_B)
		write_control(p, reg, v);
	else if (reg != RTC_C && reg != RTC_D)
		p->st.regs[reg] = v;
	else
		device_unhandled(p->dev); /* these are read-only */
	if (reg <= RTC_D)
		evaluate_locked(p);
}

static uint8_t port_read(void *ctx, unsigned port)
{
	struct mc146818 *p = ctx;
	uint64_t flags;
	uint8_t v;

	if (port == 0) {
		device_unhandled(p->dev); /* the index is write-only */
		return 0xff;
	}
	flags = spin_lock(&p->lock);
	v = read_reg(p, p->st.index % NVRAM_SIZE);
	spin_unlock(&p->lock, flags);
	return v;
}

static void port_write(void *ctx, unsigned port, uint8_t v)
{
	struct mc146818 *p = ctx;
	uint64_t flags = spin_lock(&p->lock);

	if (port == 0)
		p->st.index = v; /* bit 7, the NMI mask, is kept and does nothing */
	else
		write_reg(p, p->st.index % NVRAM_SIZE, v);
	spin_unlock(&p->lock, flags);
}

BYTE_PORTS(ports, port_read, port_write);

/* --- the model
 * ---------------------------------------------------------------------------------------------- */

static void put_le(uint8_t *p, unsigned bytes, uint64_t v)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

/* As firmware leaves it: 24-hour BCD, 1024 Hz, and the memory sizes that older software asks for.
 */
static void fill_memory(struct mc146818 *p)
{
	uint8_t *r = p->st.regs;
	uint64_t memory = p->vm->config.memory, low = MIN(memory, (uint64_t)MEMMAP_LOW_RAM_MAX);
	uint64_t extended = low > MIB ? (low - MIB) / KIB : 0;

	r[RTC_A] = A_DIVIDER_32K | 6;
	r[RTC_B] = B_24H;
	put_le(&r[CMOS_BASE_MEMORY], 2, 640);
	put_le(&r[CMOS_EXTENDED_MEMORY], 2, MIN(extended, 0xffffULL));
	put_le(&r[CMOS_EXTENDED_MEMORY2], 2, MIN(extended, 0xffffULL));
	put_le(&r[CMOS_MEMORY_16M], 2, low > 16 * MIB ? (low - 16 * MIB) / (64 * KIB) : 0);
	put_le(&r[CMOS_MEMORY_4G], 3, (memory - low) / (64 * KIB));
	set_time(&p->st, (int64_t)(wall_time() / NS_PER_SECOND));
	p->st.periodic_seen = clock32k(p);
}

static int mc146818_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	struct mc146818 *p = heap_zalloc(sizeof(*p));
	int err;

	if (!p)
		return err_set(e, ERR_NOMEM, "mc146818: out of memory");
	dev->priv = p;
	dev->state = &p->st;
	p->dev = dev;
	p->vm = dev->vm;
	spinlock_init(&p->lock, RANK_DEV_SPIN);
	vtimer_init(&p->timer, dev->vm, timer_fired, p);
	fill_memory(p);
	p->region = (struct io_region){
	    .name = "mc146818", .start = 0x70, .size = 2, .ops = &ports, .ctx = p};
	err = iobus_map_port(dev->vm, &p->region);
	return err == OK ? OK : err_set(e, err, "mc146818: ports: %s", error_text(err));
}

static void mc146818_destroy(struct device *dev)
{
	struct mc146818 *p = dev->priv;

	if (!p)
		return;
	vtimer_cancel(&p->timer);
	iobus_unmap_port(dev->vm, &p->region);
	heap_free(p);
}

/* The battery keeps time and memory; RESET clears interrupt enables and flags. */
static void mc146818_reset(struct device *dev)
{
	struct mc146818 *p = dev->priv;
	uint64_t flags = spin_lock(&p->lock);

	p->st.regs[RTC_B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE | B_SQWE);
	p->st.regs[RTC_C] = 0;
	p->st.index = 0;
	evaluate_locked(p);
	spin_unlock(&p->lock, flags);
}

static void mc146818_quiesce(struct device *dev)
{
	struct mc146818 *p = dev->priv;
	uint64_t flags = spin_lock(&p->lock);

	if (!stopped(&p->st))
		time_to_regs(&p->st, rtc_now(&p->st)); /* for whoever reads the snapshot */
	spin_unlock(&p->lock, flags);
}

static void mc146818_resume(struct device *dev)
{
	timer_fired(dev->priv);
}

static int mc146818_check(const struct device *dev, const void *state, struct errmsg *e)
{
	const struct mc146818_state *s = state;
	uint64_t limit = BIT(40); /* seconds: some 35,000 years */

	if (s->regs[RTC_A] & A_UIP)
		return err_set(e, ERR_INVAL, "register A: update flag set");
	if (s->regs[RTC_C] & ~(C_FLAGS | C_IRQF))
		return err_set(e, ERR_INVAL, "register C: reserved bits set");
	if (s->offset + limit > 2 * limit)
		return err_set(e, ERR_RANGE, "offset: out of range");
	if (s->update_seen + limit > 2 * limit)
		return err_set(e, ERR_RANGE, "update-seen: out of range");
	return OK;
}

static void mc146818_loaded(struct device *dev)
{
}

DEVICE_MODEL(mc146818) = {
    .compatible = "amber,mc146818",
    .version = 1,
    .class = DEVCLASS_PLATFORM,
    .doc = "MC146818 real-time clock with 128 bytes of memory",
    .state_size = sizeof(struct mc146818_state),
    .fields = fields,
    .create = mc146818_create,
    .destroy = mc146818_destroy,
    .reset = mc146818_reset,
    .quiesce = mc146818_quiesce,
    .resume = mc146818_resume,
    .check = mc146818_check,
    .loaded = mc146818_loaded,
};

#include "hv/dev/regs/mc146818.h"
