/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of ns16550.c, by which it is included. */
#include "hv/core/device_regs.h"

#define COM1	  0x3f8
#define COM(reg)  REG_AT(REG_PORT, COM1 + (reg), 1)
#define WITH_DLAB REG_AFTER(COM1 + UART_LCR, 1, LCR_DLAB)

static const struct reg_row ns16550_rows[] = {
    {COM(UART_RBR_THR), .name = "RBR", .section = "8.0, table II",
	.flags = REG_READ_ONLY | REG_SHARED,
	.doc = "receiver buffer: reading takes the oldest byte of the FIFO",
	.test = "receive_fifo_trigger"},
    {COM(UART_RBR_THR), .name = "THR", .section = "8.0, table II",
	.flags = REG_WRITE_ONLY | REG_SHARED | REG_SPECIAL,
	.doc = "transmitter holding: the byte is sent at once",
	.test = "output_reaches_the_console"},
    {COM(UART_RBR_THR), WITH_DLAB, .name = "DLL", .section = "8.3", .reset = 12, .writable = 0xff,
	.doc = "divisor latch, low byte, with LCR.DLAB set; undefined after a reset by the data "
	       "sheet, here 9600 baud",
	.test = "divisor_latch"},
    {COM(UART_IER), WITH_DLAB, .name = "DLM", .section = "8.3", .writable = 0xff,
	.doc = "divisor latch, high byte, with LCR.DLAB set"},
    {COM(UART_IER), .name = "IER", .section = "8.7", .writable = IER_WRITABLE,
	.test = "thre_interrupt",
	.bits = REG_BITS({IER_RX, "ERBFI", "received data available, and the character timeout"},
	    {IER_THRE, "ETBEI", "transmitter holding register empty"},
	    {IER_LINE, "ELSI", "receiver line status"}, {IER_MODEM, "EDSSI", "modem status"})},
    {COM(UART_IIR_FCR), .name = "IIR", .section = "8.6", .reset = IIR_NONE,
	.flags = REG_READ_ONLY | REG_SHARED,
	.doc = "reading it ends a THRE interrupt that it shows",
	.test = "line_status_interrupt_comes_first",
	.bits = REG_BITS({IIR_NONE, "no interrupt pending", NULL},
	    {0x0e, "interrupt ID", "3 line status, 2 data, 6 timeout, 1 THRE, 0 modem status"},
	    {IIR_FIFOS, "FIFOs enabled", NULL})},
    {COM(UART_IIR_FCR), .name = "FCR", .section = "8.5",
	.flags = REG_WRITE_ONLY | REG_SHARED | REG_SPECIAL, .test = "fifo_clear",
	.bits = REG_BITS({FCR_ENABLE, "FIFO enable", "a change clears the FIFOs"},
	    {FCR_CLEAR_RX, "RCVR FIFO reset", NULL},
	    {1 << 2, "XMIT FIFO reset", "nothing to do: the transmitter is always empty"},
	    {1 << 3, "DMA mode select", "kept; not implemented: there are no RXRDY and TXRDY pins"},
	    {3 << FCR_TRIGGER_SHIFT, "RCVR trigger", "1, 4, 8 or 14 bytes"})},
    {COM(UART_LCR), .name = "LCR", .section = "8.1", .writable = 0xff,
	.doc = "but for DLAB, it only sets the time of a character, by which the character timeout "
	       "goes",
	.test = "character_timeout",
	.bits = REG_BITS({LCR_BITS, "WLS", "word length: 5 to 8 bits"},
	    {LCR_STOP, "STB", "two stop bits"}, {LCR_PARITY, "PEN", "parity enable"},
	    {1 << 4, "EPS", "even parity: kept, no effect"},
	    {1 << 5, "stick parity", "kept, no effect"},
	    {1 << 6, "set break", "not implemented: kept, the line has no break"},
	    {LCR_DLAB, "DLAB", "divisor latch access"})},
    {COM(UART_MCR), .name = "MCR", .section = "8.8", .writable = MCR_WRITABLE, .test = "loop_back",
	.bits = REG_BITS({MCR_DTR, "DTR", NULL}, {MCR_RTS, "RTS", NULL}, {MCR_OUT1, "OUT 1", NULL},
	    {MCR_OUT2, "OUT 2", "does not gate the interrupt"}, {MCR_LOOP, "LOOP", NULL})},
    {COM(UART_LSR), .name = "LSR", .section = "8.4", .reset = LSR_THRE | LSR_TEMT,
	.flags = REG_READ_ONLY, .rc = LSR_ERRORS, .field = "lsr-errors", .test = "loop_back",
	.bits = REG_BITS({LSR_DR, "DR", "data ready"}, {LSR_OE, "OE", "overrun, in loop-back only"},
	    {1 << 2, "PE", "parity error: none happens"},
	    {1 << 3, "FE", "framing error: none happens"}, {1 << 4, "BI", "break: none happens"},
	    {LSR_THRE, "THRE", "always set"}, {LSR_TEMT, "TEMT", "always set"},
	    {1 << 7, "error in RCVR FIFO", "none happens"})},
    {COM(UART_MSR), .name = "MSR", .section = "8.9", .reset = MSR_CONNECTED, .flags = REG_READ_ONLY,
	.rc = MSR_DELTAS, .field = "msr", .doc = "a modem is always connected",
	.test = "modem_status",
	.bits = REG_BITS({MSR_DCTS, "DCTS", NULL}, {MSR_DDSR, "DDSR", NULL},
	    {MSR_TERI, "TERI", NULL}, {MSR_DDCD, "DDCD", NULL}, {MSR_CTS, "CTS", NULL},
	    {MSR_DSR, "DSR", NULL}, {MSR_RI, "RI", NULL}, {MSR_DCD, "DCD", NULL})},
    {COM(UART_SCR), .name = "SCR", .section = "8.10", .writable = 0xff, .doc = "scratch"},
    {0},
};

DEVICE_REGISTERS(ns16550_registers) = {
    .model = "amber,ns16550",
    .title = "16550A serial port, COM1 (COM2 is at 2F8h, COM3 at 3E8h, COM4 at 2E8h)",
    .sheet = "National Semiconductor PC16550D, June 1995",
    .tests = "test_ns16550.c",
    .ranges = REG_RANGES({REG_PORT, COM1, 8, 1}),
    .rows = ns16550_rows,
};
#undef COM
#undef WITH_DLAB
#undef COM1
