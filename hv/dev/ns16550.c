/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 16550A serial port (PC16550D datasheet), COM1 to COM4.
 *
 * The line is infinitely fast outwards: a byte written is at the console at
 * once, so the transmitter is always empty. Inwards the FIFO is filled from the
 * character device whenever there is room; what does not fit waits outside.
 * The modem's inputs say that somebody is connected. OUT2 does not gate the
 * interrupt.
 */
#include "hv/core/chardev.h"
#include "hv/core/device.h"
#include "hv/core/iobus.h"
#include "hv/core/irq.h"
#include "hv/core/vm.h"
#include "hv/dev/byte_regs.h"
#include "hv/mm/mm.h"

enum { FIFO_SIZE = 16, UARTS = 4 };
#define BAUD_BASE     115200ULL /* 1.8432 MHz / 16 */
#define NS_PER_SECOND 1000000000ULL

/* Registers; with LCR.DLAB set the first two are the divisor latch. */
enum uart_reg {
	UART_RBR_THR,
	UART_IER,
	UART_IIR_FCR,
	UART_LCR,
	UART_MCR,
	UART_LSR,
	UART_MSR,
	UART_SCR
};
enum uart_ier {
	IER_RX = 1 << 0,
	IER_THRE = 1 << 1,
	IER_LINE = 1 << 2,
	IER_MODEM = 1 << 3,
	IER_WRITABLE = 0x0f
};
enum uart_iir {
	IIR_MODEM = 0x00,
	IIR_NONE = 0x01,
	IIR_THRE = 0x02,
	IIR_RX = 0x04,
	IIR_LINE = 0x06,
	IIR_TIMEOUT = 0x0c,
	IIR_FIFOS = 0xc0,
};
enum uart_fcr {
	FCR_ENABLE = 1 << 0,
	FCR_CLEAR_RX = 1 << 1,
	FCR_TRIGGER_SHIFT = 6,
	FCR_KEPT = 0xc9
};
enum uart_lcr { LCR_BITS = 3 << 0, LCR_STOP = 1 << 2, LCR_PARITY = 1 << 3, LCR_DLAB = 1 << 7 };
enum uart_mcr {
	MCR_DTR = 1 << 0,
	MCR_RTS = 1 << 1,
	MCR_OUT1 = 1 << 2,
	MCR_OUT2 = 1 << 3,
	MCR_LOOP = 1 << 4,
	MCR_WRITABLE = 0x1f,
};
enum uart_lsr {
	LSR_DR = 1 << 0,
	LSR_OE = 1 << 1,
	LSR_ERRORS = 0x1e,
	LSR_THRE = 1 << 5,
	LSR_TEMT = 1 << 6,
};
enum uart_msr {
	MSR_DCTS = 1 << 0,
	MSR_DDSR = 1 << 1,
	MSR_TERI = 1 << 2,
	MSR_DDCD = 1 << 3,
	MSR_DELTAS = 0x0f,
	MSR_CTS = 1 << 4,
	MSR_DSR = 1 << 5,
	MSR_RI = 1 << 6,
	MSR_DCD = 1 << 7,
	MSR_CONNECTED = MSR_CTS | MSR_DSR | MSR_DCD,
};

static const struct {
	uint16_t port;
	uint8_t gsi;
} com[UARTS] = {{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}};

struct ns16550_state {
	uint64_t timeout_at; /* VM time of the character timeout; 0: none runs */
	uint16_t divisor;
	uint8_t fifo[FIFO_SIZE]; /* oldest first */
	uint8_t fifo_count;
	uint8_t ier, fcr, lcr, mcr, scr;
	uint8_t lsr_errors; /* error bits of the LSR until it is read */
	uint8_t msr;
	uint8_t thre_pending; /* the transmitter became empty and nobody was told */
	uint8_t timed_out;    /* character timeout pending */
};

static const struct state_field fields[] = {
    STATE_INT(struct ns16550_state, timeout_at, "timeout-at", BIT(63) - 1,
	"VM time in ns of the character timeout; 0: none"),
    STATE_INT(struct ns16550_state, divisor, "divisor", 0xffff, "divisor latch"),
    STATE_ARRAY(struct ns16550_state, fifo, "fifo", FIFO_SIZE, 0xff, "receiver FIFO, oldest first"),
    STATE_INT(struct ns16550_state, fifo_count, "fifo-count", FIFO_SIZE, "bytes in the FIFO"),
    STATE_INT(struct ns16550_state, ier, "ier", IER_WRITABLE, "interrupt enable register"),
    STATE_INT(struct ns16550_state, fcr, "fcr", FCR_KEPT, "FIFO control register"),
    STATE_INT(struct ns16550_state, lcr, "lcr", 0xff, "line control register"),
    STATE_INT(struct ns16550_state, mcr, "mcr", MCR_WRITABLE, "modem control register"),
    STATE_INT(struct ns16550_state, scr, "scr", 0xff, "scratch register"),
    STATE_INT(struct ns16550_state, lsr_errors, "lsr-errors", LSR_ERRORS, "errors in the LSR"),
    STATE_INT(struct ns16550_state, msr, "msr", 0xff, "modem status register"),
    STATE_INT(struct ns16550_state, thre_pending, "thre-pending", 1, "THRE interrupt pending"),
    STATE_INT(struct ns16550_state, timed_out, "timed-out", 1, "character timeout pending"),
    STATE_END,
};

/*
 * COM1 and COM3 share an interrupt line, and so do COM2 and COM4: they also
 * share the lock, under which their levels are combined.
 */
struct shared_line {
	struct spinlock lock; /* protects the state of the ports on the line */
	unsigned users, gsi;
	uint8_t asserting; /* bit per COM port */
	bool level;	   /* as last given to the interrupt core */
};

struct ns16550 {
	struct ns16550_state st;
	struct device *dev;
	struct vm *vm;
	unsigned index;
	struct shared_line *line;
	struct chardev chardev;
	bool chardev_made;
	struct vtimer timer;
	struct io_region region;
};

/* --- interrupt ------------------------------------------------------------------------------ */

static unsigned fifo_capacity(const struct ns16550_state *s)
{
	return s->fcr & FCR_ENABLE ? FIFO_SIZE : 1;
}

static unsigned rx_trigger(const struct ns16550_state *s)
{
	static const uint8_t levels[] = {1, 4, 8, 14};

	return s->fcr & FCR_ENABLE ? levels[s->fcr >> FCR_TRIGGER_SHIFT] : 1;
}

/* The pending interrupt of highest priority (datasheet, table V). */
static uint8_t pending(const struct ns16550_state *s)
{
	if ((s->ier & IER_LINE) && s->lsr_errors)
		return IIR_LINE;
	if ((s->ier & IER_RX) && s->fifo_count >= rx_trigger(s))
		return IIR_RX;
	if ((s->ier & IER_RX) && s->timed_out)
		return IIR_TIMEOUT;
	if ((s->ier & IER_THRE) && s->thre_pending)
		return IIR_THRE;
	if ((s->ier & IER_MODEM) && (s->msr & MSR_DELTAS))
		return IIR_MODEM;
	return IIR_NONE;
}

static void update_line_locked(struct ns16550 *u)
{
	struct shared_line *line = u->line;
	uint8_t bit = (uint8_t)(1U << u->index);

	if (pending(&u->st) != IIR_NONE)
		line->asserting |= bit;
	else
		line->asserting &= (uint8_t)~bit;
	if (line->level != (line->asserting != 0)) {
		line->level = line->asserting != 0;
		irq_line_set(u->vm, line->gsi, line->level);
	}
}

/* --- receiver ----------------------------------------------------------------------------------
 */

/* Time of one character: start, data, parity and stop bits. */
static uint64_t char_ns(const struct ns16550_state *s)
{
	unsigned bits =
	    1 + 5 + (s->lcr & LCR_BITS) + !!(s->lcr & LCR_PARITY) + 1 + !!(s->lcr & LCR_STOP);

	return bits * (s->divisor ? s->divisor : 1) * NS_PER_SECOND / BAUD_BASE;
}

/* Bytes below the trigger level are announced when nothing moved for four character times. */
static void restart_timeout_locked(struct ns16550 *u)
{
	struct ns16550_state *s = &u->st;

	s->timed_out = 0;
	if ((s->fcr & FCR_ENABLE) && s->fifo_count) {
		s->timeout_at = vm_time(u->vm) + 4 * char_ns(s);
		vtimer_set(&u->timer, s->timeout_at);
	} else if (s->timeout_at) {
		s->timeout_at = 0;
		vtimer_cancel(&u->timer);
	}
}

/* Room is filled from the outside, but not in loop-back mode: the input pin is disconnected. */
static void refill_locked(struct ns16550 *u)
{
	struct ns16550_state *s = &u->st;
	unsigned room = fifo_capacity(s) - MIN(fifo_capacity(s), (unsigned)s->fifo_count), n;

	if (!room || (s->mcr & MCR_LOOP))
		return;
	n = chardev_guest_read(&u->chardev, s->fifo + s->fifo_count, room);
	if (!n)
		return;
	s->fifo_count += (uint8_t)n;
	restart_timeout_locked(u);
}

static void loop_back_locked(struct ns16550 *u, uint8_t byte)
{
	struct ns16550_state *s = &u->st;

	if (s->fifo_count >= fifo_capacity(s)) {
		s->lsr_errors |= LSR_OE;
		if (!(s->fcr & FCR_ENABLE))
			s->fifo[0] = byte; /* without FIFOs the new character overwrites */
		return;
	}
	s->fifo[s->fifo_count++] = byte;
	restart_timeout_locked(u);
}

static uint8_t read_rbr_locked(struct ns16550 *u)
{
	struct ns16550_state *s = &u->st;
	uint8_t byte = s->fifo[0];

	if (s->fifo_count) {
		s->fifo_count--;
		for (unsigned i = 0; i < s->fifo_count; i++)
			s->fifo[i] = s->fifo[i + 1];
		restart_timeout_locked(u);
	}
	refill_locked(u);
	return byte;
}

static void input_ready(void *ctx)
{
	struct ns16550 *u = ctx;
	uint64_t flags = spin_lock(&u->line->lock);

	refill_locked(u);
	update_line_locked(u);
	spin_unlock(&u->line->lock, flags);
}

static void timer_fired(void *ctx)
{
	struct ns16550 *u = ctx;
	struct ns16550_state *s = &u->st;
	uint64_t flags = spin_lock(&u->line->lock);

	if (s->timeout_at && vm_time(u->vm) >= s->timeout_at) {
		s->timeout_at = 0;
		s->timed_out = s->fifo_count > 0;
		update_line_locked(u);
	}
	spin_unlock(&u->line->lock, flags);
}

/* --- modem
 * ----------------------------------------------------------------------------------------- */

/* The inputs: a connected modem, or in loop-back mode the outputs. */
static uint8_t modem_inputs(const struct ns16550_state *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_CONNECTED;
	return (s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
	       (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static void update_modem(struct ns16550_state *s)
{
	uint8_t now = modem_inputs(s), before = s->msr & (uint8_t)~MSR_DELTAS,
		changed = now ^ before;
	uint8_t deltas = s->msr & MSR_DELTAS;

	deltas |= (changed & MSR_CTS ? MSR_DCTS : 0) | (changed & MSR_DSR ? MSR_DDSR : 0) |
		  (changed & MSR_DCD ? MSR_DDCD : 0);
	if (before & ~now & MSR_RI)
		deltas |= MSR_TERI; /* ring indicator: the trailing edge only */
	s->msr = now | deltas;
}

/* --- registers
 * ------------------------------------------------------------------------------------------ */

/* Disabling or enabling the FIFOs clears them. */
static void write_fcr_locked(struct ns16550 *u, uint8_t v)
{
	struct ns16550_state *s = &u->st;

	if (((v ^ s->fcr) & FCR_ENABLE) || ((v & FCR_ENABLE) && (v & FCR_CLEAR_RX))) {
		s->fifo_count = 0;
		restart_timeout_locked(u);
	}
	s->fcr = v & FCR_ENABLE ? v & FCR_KEPT : 0;
	refill_locked(u);
}

/* Enabling the THRE interrupt raises it when the transmitter is empty, which it always is. */
static void write_ier(struct ns16550_state *s, uint8_t v)
{
	if ((v & IER_THRE) && !(s->ier & IER_THRE))
		s->thre_pending = 1;
	s->ier = v & IER_WRITABLE;
}

static void write_reg_locked(struct ns16550 *u, unsigned reg, uint8_t v)
{
	struct ns16550_state *s = &u->st;

	if ((s->lcr & LCR_DLAB) && reg <= UART_IER) {
		unsigned shift = reg == UART_IER ? 8 : 0;

		s->divisor = (uint16_t)((s->divisor & ~(0xffU << shift)) | (unsigned)v << shift);
		return;
	}
	switch (reg) {
	case UART_RBR_THR:
		s->thre_pending = 1; /* it is empty again at once */
		if (s->mcr & MCR_LOOP)
			loop_back_locked(u, v);
		break;
	case UART_IER:
		write_ier(s, v);
		break;
	case UART_IIR_FCR:
		write_fcr_locked(u, v);
		break;
	case UART_LCR:
		s->lcr = v;
		break;
	case UART_MCR:
		s->mcr = v & MCR_WRITABLE;
		update_modem(s);
		refill_locked(u);
		break;
	case UART_SCR:
		s->scr = v;
		break;
	default: /* LSR and MSR: writing them is for factory tests */
		device_unhandled(u->dev);
	}
}

static uint8_t read_iir(struct ns16550_state *s)
{
	uint8_t v = pending(s);

	if (v == IIR_THRE)
		s->thre_pending = 0; /* the read that shows it ends it */
	return v | (s->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

static uint8_t read_lsr(struct ns16550_state *s)
{
	uint8_t v = s->lsr_errors | LSR_THRE | LSR_TEMT | (s->fifo_count ? LSR_DR : 0);

	s->lsr_errors = 0;
	return v;
}

static uint8_t read_reg_locked(struct ns16550 *u, unsigned reg)
{
	struct ns16550_state *s = &u->st;
	uint8_t v;

	if ((s->lcr & LCR_DLAB) && reg <= UART_IER)
		return (uint8_t)(s->divisor >> (reg == UART_IER ? 8 : 0));
	switch (reg) {
	case UART_RBR_THR:
		return read_rbr_locked(u);
	case UART_IER:
		return s->ier;
	case UART_IIR_FCR:
		return read_iir(s);
	case UART_LCR:
		return s->lcr;
	case UART_MCR:
		return s->mcr;
	case UART_LSR:
		return read_lsr(s);
	case UART_MSR:
		v = s->msr;
		s->msr &= (uint8_t)~MSR_DELTAS;
		return v;
	default:
		return s->scr;
	}
}

/* The byte goes out without the lock: the console's callback may come back with input. */
static void port_write(void *ctx, unsigned reg, uint8_t v)
{
	struct ns16550 *u = ctx;
	uint64_t flags = spin_lock(&u->line->lock);
	bool out = reg == UART_RBR_THR && !(u->st.lcr & LCR_DLAB) && !(u->st.mcr & MCR_LOOP);

	write_reg_locked(u, reg, v);
	update_line_locked(u);
	spin_unlock(&u->line->lock, flags);
	if (out)
		chardev_guest_write(&u->chardev, &v, 1);
}

static uint8_t port_read(void *ctx, unsigned reg)
{
	struct ns16550 *u = ctx;
	uint64_t flags = spin_lock(&u->line->lock);
	uint8_t v = read_reg_locked(u, reg);

	update_line_locked(u);
	spin_unlock(&u->line->lock, flags);
	return v;
}

BYTE_PORTS(ports, port_read, port_write);

/* --- the model
 * -----------------------------------------------------------------------------------------------
 */

static const struct device_model ns16550;

/* The line that another port of this machine uses already, or a new one. */
static struct shared_line *line_get(struct vm *vm, unsigned gsi)
{
	struct shared_line *line;
	struct list *pos;

	LIST_FOREACH(pos, &vm->devices)
	{
		struct device *d = LIST_ENTRY(pos, struct device, link);
		struct ns16550 *u = d->model == &ns16550 ? d->priv : NULL;

		if (u && u->line && u->line->gsi == gsi) {
			u->line->users++;
			return u->line;
		}
	}
	line = heap_zalloc(sizeof(*line));
	if (line) {
		spinlock_init(&line->lock, RANK_DEV_SPIN);
		line->gsi = gsi;
		line->users = 1;
	}
	return line;
}

static void line_put(struct shared_line *line)
{
	if (line && --line->users == 0)
		heap_free(line);
}

static int ns16550_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	struct ns16550 *u;
	int err;

	if (cfg->uart_index >= UARTS)
		return err_set(e, ERR_RANGE, "there is no COM%u", cfg->uart_index + 1);
	u = heap_zalloc(sizeof(*u));
	if (!u)
		return err_set(e, ERR_NOMEM, "out of memory");
	u->dev = dev;
	u->vm = dev->vm;
	u->index = cfg->uart_index;
	vtimer_init(&u->timer, dev->vm, timer_fired, u);
	u->line = line_get(dev->vm, com[u->index].gsi);
	dev->priv = u;
	dev->state = &u->st;
	if (!u->line || chardev_init(&u->chardev, cfg->name) != OK)
		return err_set(e, ERR_NOMEM, "out of memory");
	u->chardev_made = true;
	list_push_back(&dev->vm->chardevs, &u->chardev.link);
	u->chardev.input_ready = input_ready;
	u->chardev.input_ctx = u;
	u->region = (struct io_region){
	    .name = "ns16550", .start = com[u->index].port, .size = 8, .ops = &ports, .ctx = u};
	err = iobus_map_port(dev->vm, &u->region);
	return err == OK ? OK
			 : err_set(e, err, "COM%u at port %#x: %s", u->index + 1,
			       com[u->index].port, error_text(err));
}

static void ns16550_destroy(struct device *dev)
{
	struct ns16550 *u = dev->priv;

	if (!u)
		return;
	vtimer_cancel(&u->timer);
	iobus_unmap_port(dev->vm, &u->region);
	if (u->chardev_made) {
		list_remove(&u->chardev.link);
		chardev_destroy(&u->chardev);
	}
	line_put(u->line);
	heap_free(u);
}

static void ns16550_reset(struct device *dev)
{
	struct ns16550 *u = dev->priv;
	uint64_t flags = spin_lock(&u->line->lock);

	/* the divisor is undefined after a reset; this one is 9600 baud */
	u->st = (struct ns16550_state){.msr = MSR_CONNECTED, .divisor = 12};
	vtimer_cancel(&u->timer);
	update_line_locked(u);
	spin_unlock(&u->line->lock, flags);
}

static void ns16550_quiesce(struct device *dev)
{
}

static void ns16550_resume(struct device *dev)
{
	struct ns16550 *u = dev->priv;
	uint64_t flags = spin_lock(&u->line->lock);

	if (u->st.timeout_at)
		vtimer_set(&u->timer, u->st.timeout_at);
	refill_locked(u);
	update_line_locked(u);
	irq_line_set(u->vm, u->line->gsi, u->line->level); /* whatever it was before */
	spin_unlock(&u->line->lock, flags);
}

static int ns16550_check(const struct device *dev, const void *state, struct errmsg *e)
{
	const struct ns16550_state *s = state;

	if (s->fcr && !(s->fcr & FCR_ENABLE))
		return err_set(e, ERR_INVAL, "fcr: bits set with the FIFOs disabled");
	if (s->fifo_count > fifo_capacity(s))
		return err_set(
		    e, ERR_RANGE, "fifo-count: %u with the FIFOs disabled", s->fifo_count);
	if ((s->timed_out || s->timeout_at) && !s->fifo_count)
		return err_set(e, ERR_INVAL, "character timeout of an empty FIFO");
	return OK;
}

static void ns16550_loaded(struct device *dev)
{
}

DEVICE_MODEL(ns16550) = {
    .compatible = "amber,ns16550",
    .version = 1,
    .class = DEVCLASS_CONFIG,
    .doc = "16550A serial port (PC16550D)",
    .state_size = sizeof(struct ns16550_state),
    .fields = fields,
    .create = ns16550_create,
    .destroy = ns16550_destroy,
    .reset = ns16550_reset,
    .quiesce = ns16550_quiesce,
    .resume = ns16550_resume,
    .check = ns16550_check,
    .loaded = ns16550_loaded,
};

#include "hv/dev/regs/ns16550.h"
