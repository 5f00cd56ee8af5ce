/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The console's thread: reads lines from the UART, carries them out, and shares
 * the screen with whatever else has something to say.
 *
 * The screen belongs to whoever holds 'screen'. It is a spinlock below nearly
 * everything, since log lines come from any place: nothing is called under it
 * but the line editor, which does not wait, and the UART.
 */
#include "hv/console/console.h"
#include <string.h>
#include "hv/arch/x86/panic.h"
#include "hv/console/table.h"
#include "hv/core/thread.h"
#include "hv/core/vm.h"
#include "hv/drv/uart.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"

enum {
	CTRL_C = 0x03,
	CTRL_BRACKET = 0x1d, /* Ctrl-]: leaves a guest's console */
	TYPE_AHEAD = 1024,
	DEFERRED = 1024,   /* bytes of notices that wait for the end of a line */
	WRITE_PIECE = 128, /* bytes written with interrupts off: the UART may be slow */
	CONSOLE_WEIGHT = 256,
};

static const char prompt[] = "amber> ";

static struct spinlock screen = SPINLOCK_INIT(RANK_SCREEN);
static struct line line; /* screen */
static bool mid_line; /* screen: a command has written part of a line (an answer, a progress bar) */
static char deferred[DEFERRED]; /* screen: what came meanwhile */
static size_t deferred_len;
static struct mutex commands;
static const char *greeting_text;

/* What woke the thread: input, or output of the guest it is attached to. */
static struct spinlock wake_lock = SPINLOCK_INIT(RANK_CHARDEV);
static struct waitq wake_queue;
static bool woken;

/* Input that a running command came across while it looked for Ctrl-C. */
static uint8_t ahead_buf[TYPE_AHEAD];
static struct byte_ring ahead;
static bool cancel_seen;

/* --- output ----------------------------------------------------------------------- */

/* Text whose lines end in \n, for a terminal that wants \r\n. */
static void put_lines(const char *text, size_t len)
{
	while (len) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) : len;

		uart_write(text, n);
		if (!end)
			return;
		uart_write("\r\n", 2);
		text += n + 1;
		len -= n + 1;
	}
}

/* From the line editor: 'screen' is held, and line ends are complete. */
static void editor_write(void *ctx, const char *text, size_t len)
{
	uart_write(text, len);
}

static void flush_deferred(void)
{
	mid_line = false;
	put_lines(deferred, deferred_len);
	deferred_len = 0;
}

static void command_write(void *ctx, const char *text, size_t len)
{
	while (len) {
		const char *end = memchr(text, '\n', MIN(len, (size_t)WRITE_PIECE));
		size_t n = end ? (size_t)(end - text) + 1 : MIN(len, (size_t)WRITE_PIECE);
		uint64_t flags = spin_lock(&screen);

		put_lines(text, n);
		mid_line = !end;
		if (end)
			flush_deferred();
		spin_unlock(&screen, flags);
		text += n;
		len -= n;
	}
}

/*
 * The log's way to the screen. It does not break a line that a command is
 * writing, which a program may be reading. A panic does not wait for a lock whose holder may be
 * stopped.
 */
static void notice(const char *text, size_t len)
{
	uint64_t flags;

	if (panic_in_progress()) {
		put_lines(text, len);
		return;
	}
	flags = spin_lock(&screen);
	if (mid_line && len <= DEFERRED - deferred_len) {
		memcpy(deferred + deferred_len, text, len);
		deferred_len += len;
	} else if (!mid_line) { /* else: it is in the log */
		line_hide(&line);
		put_lines(text, len);
		line_show(&line);
	}
	spin_unlock(&screen, flags);
}

void console_notice(const char *text)
{
	char buf[256];
	int n = str_format(buf, sizeof(buf), "%s\n", text);

	notice(buf, MIN((size_t)n, sizeof(buf) - 1));
}

static void vm_notice_line(struct vm *vm, const char *text)
{
	char buf[224];

	str_format(buf, sizeof(buf), "vm '%s': %s", vm->config.name, text);
	console_notice(buf);
}

/* --- input ------------------------------------------------------------------------ */

/* UART and guest output both; any context. */
static void wake(void *arg)
{
	uint64_t flags = spin_lock(&wake_lock);

	woken = true;
	spin_unlock(&wake_lock, flags);
	waitq_wake_one(&wake_queue);
}

/* Waits until wake() was called since the last time. */
static void wait_for_wake(void)
{
	uint64_t flags = spin_lock(&wake_lock);

	while (!woken)
		flags = waitq_wait(&wake_queue, &wake_lock, flags);
	woken = false;
	spin_unlock(&wake_lock, flags);
}

/* At once; what was typed ahead comes first. */
static bool take_byte(uint8_t *c)
{
	return byte_ring_get(&ahead, c, 1) || uart_read(c, 1);
}

static int read_byte(void *ctx)
{
	uint8_t c;

	while (!take_byte(&c))
		wait_for_wake();
	return c;
}

/* Looks through what has been typed meanwhile; leaves it in the UART when there is no more room. */
static bool cancelled(void *ctx)
{
	uint8_t c;

	while (!cancel_seen && byte_ring_free(&ahead) && uart_read(&c, 1)) {
		if (c == CTRL_C)
			cancel_seen = true;
		else
			byte_ring_put(&ahead, &c, 1);
	}
	return cancel_seen;
}

static const struct console_io io = {
    .write = command_write, .read = read_byte, .cancelled = cancelled};

/* --- the thread --------------------------------------------------------------------- */

static enum line_event feed(uint8_t c)
{
	uint64_t flags = spin_lock(&screen);
	enum line_event event = line_feed(&line, c);

	spin_unlock(&screen, flags);
	return event;
}

/* Candidates are collected without the lock: that may wait. Only this thread edits the line. */
static void complete(void)
{
	static struct candidates found;
	char before[LINE_SIZE];
	uint64_t flags;

	str_format(before, sizeof(before), "%.*s", (int)line.cursor, line.text);
	candidates_begin(&found, &line);
	console_complete(before, &found);
	flags = spin_lock(&screen);
	line_complete(&line, &found);
	spin_unlock(&screen, flags);
}

/* Edits until a line is finished; false if it was thrown away. */
static bool edit_line(void)
{
	uint64_t flags = spin_lock(&screen);

	flush_deferred();
	line_start(&line, prompt);
	spin_unlock(&screen, flags);
	for (;;) {
		switch (feed((uint8_t)read_byte(NULL))) {
		case LINE_DONE:
			return true;
		case LINE_CANCEL:
			return false;
		case LINE_COMPLETE:
			complete();
			break;
		case LINE_MORE:
			break;
		}
	}
}

static void console_thread(void *arg)
{
	command_write(NULL, greeting_text, strlen(greeting_text));
	for (;;) {
		if (!edit_line())
			continue;
		cancel_seen = false;
		mutex_lock(&commands);
		console_execute(line.text, &io);
		mutex_unlock(&commands);
	}
}

int console_start(const char *greeting)
{
	greeting_text = greeting;
	line_init(&line, editor_write, NULL);
	byte_ring_init(&ahead, ahead_buf, sizeof(ahead_buf));
	waitq_init(&wake_queue);
	mutex_init(&commands, RANK_CONSOLE);
	uart_set_rx_hook(wake, NULL);
	log_console_sink = notice;
	vm_notice = vm_notice_line;
	/* snapshots are compressed in this thread: that library uses vector registers */
	return thread_create("console", console_thread, NULL, THREAD_XSTATE, CONSOLE_WEIGHT)
		   ? OK
		   : ERR_NOMEM;
}

/* --- a guest's console ----------------------------------------------------------------- */

/* What the guest has written, as it is. Returns false if there is nothing. */
static bool show_output(struct chardev *dev)
{
	uint8_t buf[WRITE_PIECE];
	uint32_t n = chardev_read(dev, buf, sizeof(buf));
	uint64_t flags;

	if (!n)
		return false;
	flags = spin_lock(&screen);
	uart_write(buf, n);
	mid_line = buf[n - 1] != '\n'; /* a notice does not break a guest's line either */
	if (!mid_line)
		flush_deferred();
	spin_unlock(&screen, flags);
	return true;
}

/* Sends what was typed; false at Ctrl-]. A guest that does not read loses what it has no room for.
 */
static bool send_input(struct chardev *dev)
{
	uint8_t c;

	while (take_byte(&c)) {
		if (c == CTRL_BRACKET)
			return false;
		chardev_write(dev, &c, 1);
	}
	return true;
}

void console_attach(struct chardev *dev)
{
	chardev_attach(dev, wake, NULL);
	while (send_input(dev))
		if (!show_output(dev))
			wait_for_wake();
	chardev_attach(dev, NULL, NULL);
}
