/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The line editor against a small terminal: after each key the screen must show
 * the prompt, the text, and the cursor where the editor believes them to be.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "hv/console/line.h"

/* --- a terminal: rows of text, \r \n \b, ESC [K, ESC [H, ESC [2J ------------------- */

enum { COLUMNS = 700, ROWS = 64 };

static char screen[ROWS][COLUMNS];
static unsigned row, column;
static char seq[8];
static unsigned seq_len;
static struct line l;

static void term_reset(void)
{
	memset(screen, 0, sizeof(screen));
	row = column = seq_len = 0;
}

static void erase_right(void)
{
	memset(&screen[row][column], 0, COLUMNS - column);
}

static void term_escape(char c)
{
	assert_true(seq_len < sizeof(seq));
	seq[seq_len++] = c;
	if (seq_len < 3 || (c >= '0' && c <= '9'))
		return;
	if (c == 'K')
		erase_right();
	else if (c == 'H')
		row = column = 0;
	else if (c == 'J')
		memset(screen, 0, sizeof(screen));
	else
		fail_msg("escape sequence ending in %c", c);
	seq_len = 0;
}

static void term_write(void *ctx, const char *text, size_t len)
{
	for (; len; len--, text++) {
		if (seq_len || *text == 0x1b) {
			term_escape(*text);
			continue;
		}
		switch (*text) {
		case '\r':
			column = 0;
			break;
		case '\n':
			row++;
			assert_true(row < ROWS);
			break;
		case '\b':
			assert_true(column > 0);
			column--;
			break;
		default:
			assert_true(*text >= 0x20 && *text < 0x7f);
			assert_true(column < COLUMNS - 1);
			screen[row][column++] = *text;
		}
	}
}

/* --- driving ------------------------------------------------------------------------ */

static void check_screen(void)
{
	char expect[COLUMNS];

	snprintf(expect, sizeof(expect), "> %s", l.text);
	assert_string_equal(screen[row], expect);
	assert_int_equal(column, 2 + l.cursor);
	assert_int_equal(strlen(l.text), l.len);
}

static enum line_event feed(uint8_t c)
{
	enum line_event event = line_feed(&l, c);

	if (event == LINE_MORE)
		check_screen();
	return event;
}

static enum line_event type_bytes(const char *s, size_t n)
{
	enum line_event event = LINE_MORE;

	while (n--)
		event = feed((uint8_t)*s++);
	return event;
}
#define TYPE(s) type_bytes(s, sizeof(s) - 1)

static void fresh(void)
{
	line_start(&l, "> ");
}

#define IS(expect, at)                                                                             \
	do {                                                                                       \
		assert_string_equal(l.text, expect);                                               \
		assert_int_equal(l.cursor, at);                                                    \
	} while (0)

static int setup(void **state)
{
	term_reset();
	line_init(&l, term_write, NULL);
	fresh();
	return 0;
}

static void test_typing(void **state)
{
	TYPE("vm list");
	IS("vm list", 7);
	assert_int_equal(TYPE("\r"), LINE_DONE);
	assert_string_equal(l.text, "vm list");
	fresh();
	IS("", 0);
}

static void test_line_ends(void **state)
{
	assert_int_equal(TYPE("a\r"), LINE_DONE);
	fresh();
	assert_int_equal(TYPE("\n"), LINE_MORE); /* the second half of CR LF */
	assert_int_equal(TYPE("\n"), LINE_DONE);
	fresh();
	assert_int_equal(TYPE("b\n"), LINE_DONE);
	fresh();
	assert_int_equal(TYPE("\r"), LINE_DONE);
}

static void test_cursor_keys(void **state)
{
	TYPE("hello");
	TYPE("\x1b[D\x1b[D");
	IS("hello", 3);
	TYPE("\x1b[C");
	IS("hello", 4);
	TYPE("\x1b[H");
	IS("hello", 0);
	TYPE("\x1b[D"); /* at the end of the world */
	IS("hello", 0);
	TYPE("\x1b[F\x1b[C");
	IS("hello", 5);
	TYPE("\x1bOH");
	IS("hello", 0);
	TYPE("\x1b[4~");
	IS("hello", 5);
	TYPE("\x1b[1~X");
	IS("Xhello", 1);
	TYPE("\x1b[8~\x1b[7~\x1b[3~");
	IS("hello", 0);
	TYPE("\x05\x02\x02\x06\x01"); /* Ctrl-E, B, B, F, A */
	IS("hello", 0);
}

static void test_erasing(void **state)
{
	TYPE("one two three");
	TYPE("\x7f");
	IS("one two thre", 12);
	TYPE("\x17"); /* Ctrl-W */
	IS("one two ", 8);
	TYPE("\x17");
	IS("one ", 4);
	TYPE("two\x02\x02\x08"); /* Ctrl-H in the middle */
	IS("one wo", 4);
	TYPE("\x0b"); /* Ctrl-K */
	IS("one ", 4);
	TYPE("more\x01\x06\x15"); /* Ctrl-U behind the first character */
	IS("ne more", 0);
	TYPE("\x04"); /* Ctrl-D */
	IS("e more", 0);
	TYPE("\x05\x04\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f");
	IS("", 0);
	TYPE("\x04\x17\x15\x0b");
	IS("", 0);
}

static void test_ctrl_c(void **state)
{
	assert_int_equal(TYPE("abc\x02\x03"), LINE_CANCEL);
	assert_string_equal(screen[0], "> abc^C");
	fresh();
	TYPE("\x1b[A"); /* it is not remembered */
	IS("", 0);
}

static void test_ctrl_l(void **state)
{
	TYPE("a\r");
	fresh();
	TYPE("text\x02\x0c");
	assert_int_equal(row, 0);
	IS("text", 3);
}

static void test_history(void **state)
{
	TYPE("one\r");
	fresh();
	TYPE("two\r");
	fresh();
	TYPE("two\r"); /* once is enough */
	fresh();
	TYPE("\r"); /* nothing is not remembered */
	fresh();
	TYPE("draft\x1b[A");
	IS("two", 3);
	TYPE("\x10");
	IS("one", 3);
	TYPE("\x1b[A");
	IS("one", 3);
	TYPE("X\x1b[B"); /* a changed old line is not kept */
	IS("two", 3);
	TYPE("\x0e");
	IS("draft", 5);
	TYPE("\x1b[B");
	IS("draft", 5);
	TYPE("\x1b[A\x1b[A\r");
	fresh();
	TYPE("\x1b[A");
	IS("one", 3);
}

static void test_history_is_bounded(void **state)
{
	char text[16];

	for (int i = 0; i < LINE_HISTORY + 10; i++) {
		snprintf(text, sizeof(text), "n%d", i);
		type_bytes(text, strlen(text));
		TYPE("\r");
		term_reset();
		fresh();
	}
	for (int i = 0; i < LINE_HISTORY + 5; i++)
		TYPE("\x1b[A");
	assert_string_equal(l.text, "n10");
}

static void test_long_line(void **state)
{
	for (int i = 0; i < LINE_SIZE + 50; i++)
		TYPE("x");
	assert_int_equal(l.len, LINE_SIZE - 1);
	TYPE("\x01y");
	assert_int_equal(l.len, LINE_SIZE - 1);
	assert_int_equal(l.text[0], 'x');
}

/* Bytes that mean nothing change nothing; a broken escape sequence does not eat the rest. */
static void test_noise(void **state)
{
	TYPE("ab\x80\xff\xc3\xa4\x0f\x10\x11\x1f");
	IS("ab", 2);
	TYPE("\x1b[99;5u\x1b[200~\x1bOQ\x1bxy");
	IS("aby", 3);
	assert_int_equal(TYPE("\x1b[1\r"), LINE_DONE);
}

/* Any bytes at all: the screen stays true. */
static void test_random(void **state)
{
	uint32_t seed = 12345;

	for (int i = 0; i < 20000; i++) {
		enum line_event event;

		seed = seed * 1664525 + 1013904223;
		event = feed((uint8_t)(seed >> 24));
		if (event != LINE_MORE) {
			term_reset();
			if (event == LINE_COMPLETE)
				line_show(&l);
			else
				fresh();
		}
		if (row > ROWS / 2) {
			term_reset();
			line_show(&l);
		}
	}
}

static void test_hide_and_show(void **state)
{
	TYPE("typed\x02\x02");
	line_hide(&l);
	assert_string_equal(screen[row], "");
	term_write(NULL, "notice\r\n", 8);
	line_show(&l);
	assert_string_equal(screen[0], "notice");
	check_screen();
	TYPE("\r");
	line_hide(&l); /* no line is being edited: nothing happens */
	line_show(&l);
	assert_string_equal(screen[row], "");
}

static struct candidates c;

static void complete(const char *const *words)
{
	assert_int_equal(TYPE("\t"), LINE_COMPLETE);
	candidates_begin(&c, &l);
	for (; *words; words++)
		candidates_add(&c, *words);
	line_complete(&l, &c);
	check_screen();
}

static void test_completion(void **state)
{
	static const char *const words[] = {
	    "start", "stats", "stop", "start", "reset", "key=", NULL};

	TYPE("vm re");
	complete(words);
	IS("vm reset ", 9);
	TYPE("\x15st");
	complete(words);
	IS("st", 2); /* they part here: listed, each once */
	assert_string_equal(screen[row - 1], "start stats stop ");
	TYPE("a");
	complete(words);
	IS("sta", 3);
	TYPE("r");
	complete(words);
	IS("start ", 6);
	TYPE("zz");
	complete(words);
	IS("start zz", 8);
	TYPE("\x15k");
	complete(words);
	IS("key=", 4);		   /* a value is to follow: no blank */
	TYPE("\x15res x\x02\x02"); /* in the middle of a line */
	complete(words);
	IS("reset x", 5);
}

static void test_completion_overflow(void **state)
{
	char word[40];

	TYPE("n");
	candidates_begin(&c, &l);
	for (int i = 0; i < 1000; i++) {
		snprintf(word, sizeof(word), "n%030d", i);
		candidates_add(&c, word);
	}
	assert_true(c.count >= 1000);
	assert_true(strlen(c.list) < CANDIDATES_SIZE);
	assert_int_equal(strlen(c.common), 1 + 27);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_typing, setup),
	    cmocka_unit_test_setup(test_line_ends, setup),
	    cmocka_unit_test_setup(test_cursor_keys, setup),
	    cmocka_unit_test_setup(test_erasing, setup),
	    cmocka_unit_test_setup(test_ctrl_c, setup),
	    cmocka_unit_test_setup(test_ctrl_l, setup),
	    cmocka_unit_test_setup(test_history, setup),
	    cmocka_unit_test_setup(test_history_is_bounded, setup),
	    cmocka_unit_test_setup(test_long_line, setup),
	    cmocka_unit_test_setup(test_noise, setup),
	    cmocka_unit_test_setup(test_random, setup),
	    cmocka_unit_test_setup(test_hide_and_show, setup),
	    cmocka_unit_test_setup(test_completion, setup),
	    cmocka_unit_test_setup(test_completion_overflow, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
