/* SPDX-License-Identifier: BSD-2-Clause */
/* The console UART: a 16550 at an I/O port, 115200 baud, eight bits, no parity. */
#ifndef AMBER_DRV_UART_H
#define AMBER_DRV_UART_H

#include "hv/lib/types.h"

/* Polled output from here on, log_console_sink included. Before everything else; no memory needed.
 */
void uart_init(uint16_t port);
/* Interrupts from here on; polling by timer as long as none arrives. After timers and I/O APIC. */
void uart_start(void);

/*
 * Sends bytes as they are, by interrupt from a buffer of 64 KiB; if that is
 * full, waits for the line. Any context, any lock held; in a panic it polls.
 */
void uart_write(const void *buf, size_t len);
/* Bytes that have come in, 0..len of them; at once. One reader. */
size_t uart_read(void *buf, size_t len);
/* fn runs in interrupt context when bytes have come in: wake the reader. NULL: nobody. */
void uart_set_rx_hook(void (*fn)(void *arg), void *arg);
/* Waits (busy) until all is on the line: before power-off and reset. */
void uart_flush(void);

#endif
