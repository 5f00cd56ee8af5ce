/* SPDX-License-Identifier: BSD-2-Clause */
/* Driver for the 16550 that the management console runs on. */
#include "hv/drv/uart.h"
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/io.h"
#include "hv/arch/x86/irq.h"
#include "hv/arch/x86/panic.h"
#include "hv/core/thread.h"
#include "hv/lib/byte_ring.h"
#include "hv/lib/log.h"
#include "hv/lib/spinlock.h"

/* PC16550D datasheet, 8.0. */
enum uart_reg {
	UART_DATA = 0, /* receive and transmit; divisor low with DLAB */
	UART_IER = 1,  /* divisor high with DLAB */
	UART_IIR = 2,
	UART_FCR = 2,
	UART_LCR = 3,
	UART_MCR = 4,
	UART_LSR = 5,
	UART_MSR = 6,
	UART_SCRATCH = 7,
};
enum {
	IER_RX = 1 << 0,
	IER_TX_EMPTY = 1 << 1,
	IIR_NONE = 1 << 0,
	FCR_ENABLE = 1 << 0,
	FCR_CLEAR = 3 << 1,
	FCR_TRIGGER_8 = 2 << 6,
	LCR_8N1 = 3,
	LCR_DLAB = 1 << 7,
	MCR_DTR_RTS = 3,
	MCR_OUT2 = 1 << 3, /* gates the interrupt line on PCs */
	LSR_DATA = 1 << 0,
	LSR_TX_EMPTY = 1 << 5, /* holding register */
	LSR_TX_IDLE = 1 << 6,  /* shift register too */
};

enum { DIVISOR_115200 = 1, FIFO_SIZE = 16, RX_RING = 4096, TX_RING = 65536, DEFAULT_IRQ = 4 };
enum { FLUSH_POLLS = 1000000, MAX_SERVICE = 256 };
#define POLL_NS 10000000ULL

static uint16_t port; /* 0: none */
static struct spinlock lock = SPINLOCK_INIT(RANK_UART);
static uint8_t rx_buf[RX_RING], tx_buf[TX_RING];
static struct byte_ring rx, tx;
static void (*rx_hook)(void *arg);
static void *rx_hook_arg;
static bool buffered;	   /* uart_start() has been */
static uint32_t irqs_seen; /* atomic */
static struct timer poll_timer;

static uint8_t reg_read(enum uart_reg r)
{
	return inb((uint16_t)(port + r));
}

static void reg_write(enum uart_reg r, unsigned v)
{
	outb((uint16_t)(port + r), (uint8_t)v);
}

/* Waits until the FIFO takes bytes; gives up on a UART that stands still. */
static void wait_tx_empty(void)
{
	for (unsigned i = 0; i < FLUSH_POLLS; i++) {
		if (reg_read(UART_LSR) & LSR_TX_EMPTY)
			return;
		cpu_pause();
	}
}

static void send_polled(const uint8_t *p, size_t len)
{
	while (len) {
		wait_tx_empty();
		for (unsigned i = 0; i < FIFO_SIZE && len; i++, len--)
			reg_write(UART_DATA, *p++);
	}
}

/* Fills the empty FIFO from the ring. Locked, or in a panic. */
static void fill_fifo(void)
{
	uint8_t chunk[FIFO_SIZE];
	uint32_t n = byte_ring_get(&tx, chunk, sizeof(chunk));

	for (uint32_t i = 0; i < n; i++)
		reg_write(UART_DATA, chunk[i]);
}

static void drain_polled(void)
{
	while (byte_ring_used(&tx)) {
		wait_tx_empty();
		fill_fifo();
	}
}

/* The interrupt for an empty transmitter is wanted only while there is something to send. */
static void update_ier(void)
{
	reg_write(UART_IER, IER_RX | (byte_ring_used(&tx) ? IER_TX_EMPTY : 0));
}

static void write_locked(const uint8_t *p, size_t len)
{
	while (len) {
		uint32_t n = byte_ring_put(&tx, p, (uint32_t)MIN(len, (size_t)TX_RING));

		p += n;
		len -= n;
		if (len) { /* full: make room by hand */
			wait_tx_empty();
			fill_fifo();
		}
	}
	if (reg_read(UART_LSR) & LSR_TX_EMPTY)
		fill_fifo();
	update_ier();
}

void uart_write(const void *buf, size_t len)
{
	uint64_t flags;

	if (!port || !len)
		return;
	if (panic_in_progress()) {
		/* Whoever holds the lock has been stopped. */
		drain_polled();
		send_polled(buf, len);
		return;
	}
	flags = spin_lock(&lock);
	if (buffered)
		write_locked(buf, len);
	else
		send_polled(buf, len);
	spin_unlock(&lock, flags);
}

/* Log lines end in a line feed alone; terminals want a carriage return too. */
static void log_sink(const char *text, size_t len)
{
	size_t start = 0;

	for (size_t i = 0; i < len; i++) {
		if (text[i] != '\n')
			continue;
		uart_write(text + start, i - start);
		uart_write("\r\n", 2);
		start = i + 1;
	}
	uart_write(text + start, len - start);
}

/* Moves bytes both ways. Returns true if some came in. Locked. */
static bool service(void)
{
	bool received = false;

	for (unsigned i = 0; i < MAX_SERVICE; i++) {
		uint8_t lsr = reg_read(UART_LSR), c;

		if (lsr & LSR_DATA) {
			c = reg_read(UART_DATA);
			byte_ring_put(&rx, &c, 1); /* full: lost, as on any serial line */
			received = true;
		} else if ((lsr & LSR_TX_EMPTY) && byte_ring_used(&tx)) {
			fill_fifo();
		} else {
			break;
		}
	}
	update_ier();
	return received;
}

static void service_and_notify(void)
{
	uint64_t flags = spin_lock(&lock);
	bool received = service();

	spin_unlock(&lock, flags);
	if (received && rx_hook)
		rx_hook(rx_hook_arg);
}

static void on_irq(void *arg)
{
	__atomic_fetch_add(&irqs_seen, 1, __ATOMIC_RELAXED);
	(void)reg_read(UART_IIR); /* acknowledges the transmitter's interrupt */
	service_and_notify();
}

/* Runs until the first interrupt shows that there is no need for it. */
static void on_poll(void *arg)
{
	if (__atomic_load_n(&irqs_seen, __ATOMIC_RELAXED))
		return;
	service_and_notify();
	timer_set(&poll_timer, time_now() + POLL_NS);
}

/* A register that keeps what is written is not an empty bus. */
static bool present(void)
{
	reg_write(UART_SCRATCH, 0x5a);
	if (reg_read(UART_SCRATCH) != 0x5a)
		return false;
	reg_write(UART_SCRATCH, 0xa5);
	return reg_read(UART_SCRATCH) == 0xa5;
}

void uart_init(uint16_t base)
{
	byte_ring_init(&rx, rx_buf, RX_RING);
	byte_ring_init(&tx, tx_buf, TX_RING);
	port = base;
	if (!port || !present()) {
		port = 0;
		return;
	}
	reg_write(UART_IER, 0);
	reg_write(UART_LCR, LCR_DLAB);
	reg_write(UART_DATA, DIVISOR_115200);
	reg_write(UART_IER, 0);
	reg_write(UART_LCR, LCR_8N1);
	reg_write(UART_FCR, FCR_ENABLE | FCR_CLEAR | FCR_TRIGGER_8);
	reg_write(UART_MCR, MCR_DTR_RTS | MCR_OUT2);
	log_console_sink = log_sink;
}

void uart_start(void)
{
	unsigned gsi;
	bool level, low;
	uint64_t flags;
	int vector;

	if (!port)
		return;
	timer_init(&poll_timer, on_poll, NULL);
	ioapic_isa_gsi(port == 0x2f8 ? DEFAULT_IRQ - 1 : DEFAULT_IRQ, &gsi, &level, &low);
	vector = irq_vector_alloc(on_irq, NULL, "console UART");
	if (vector < 0 || ioapic_route(gsi, (uint8_t)vector, cpu_id(), level, low) != OK)
		log_warn("console UART: no interrupt, polled");
	flags = spin_lock(&lock);
	buffered = true;
	(void)reg_read(UART_IIR);
	/* Provokes an interrupt at once: an empty transmitter. */
	reg_write(UART_IER, IER_RX | IER_TX_EMPTY);
	spin_unlock(&lock, flags);
	timer_set(&poll_timer, time_now() + POLL_NS);
}

size_t uart_read(void *buf, size_t len)
{
	return byte_ring_get(&rx, buf, (uint32_t)MIN(len, (size_t)RX_RING));
}

void uart_set_rx_hook(void (*fn)(void *arg), void *arg)
{
	uint64_t flags = spin_lock(&lock);

	rx_hook_arg = arg;
	rx_hook = fn;
	spin_unlock(&lock, flags);
}

void uart_flush(void)
{
	uint64_t flags;

	if (!port)
		return;
	flags = spin_lock(&lock);
	drain_polled();
	for (unsigned i = 0; i < FLUSH_POLLS && !(reg_read(UART_LSR) & LSR_TX_IDLE); i++)
		cpu_pause();
	spin_unlock(&lock, flags);
}
