/* SPDX-License-Identifier: BSD-2-Clause */
/* The line editor. */
#include "hv/console/line.h"
#include <string.h>
#include "hv/lib/fmt.h"

enum line_escape { ESC_NONE, ESC_SEEN, ESC_CSI, ESC_SS3 };

enum control_char {
	CTRL_A = 0x01,
	CTRL_B = 0x02,
	CTRL_C = 0x03,
	CTRL_D = 0x04,
	CTRL_E = 0x05,
	CTRL_F = 0x06,
	CTRL_H = 0x08,
	TAB = 0x09,
	LF = 0x0a,
	CTRL_K = 0x0b,
	CTRL_L = 0x0c,
	CR = 0x0d,
	CTRL_N = 0x0e,
	CTRL_P = 0x10,
	CTRL_U = 0x15,
	CTRL_W = 0x17,
	ESC = 0x1b,
	DEL = 0x7f,
};

/* --- output ----------------------------------------------------------------------- */

static void put(struct line *l, const char *text, size_t n)
{
	if (n)
		l->write(l->ctx, text, n);
}

static void puts_(struct line *l, const char *text)
{
	put(l, text, strlen(text));
}

static void put_left(struct line *l, size_t n)
{
	while (n--)
		put(l, "\b", 1);
}

/* Draws the text from 'from' on, where the screen's cursor stands, and goes to the line's cursor.
 */
static void draw_from(struct line *l, size_t from)
{
	put(l, l->text + from, l->len - from);
	puts_(l, "\x1b[K"); /* erase to the end of the line */
	put_left(l, l->len - l->cursor);
}

static void draw_all(struct line *l)
{
	puts_(l, "\r");
	puts_(l, l->prompt);
	draw_from(l, 0);
}

/* --- moving and editing ------------------------------------------------------------ */

static void move_to(struct line *l, size_t pos)
{
	if (pos < l->cursor)
		put_left(l, l->cursor - pos);
	else
		put(l, l->text + l->cursor, pos - l->cursor);
	l->cursor = pos;
}

static void insert(struct line *l, const char *s, size_t n)
{
	size_t from = l->cursor;

	n = MIN(n, LINE_SIZE - 1 - l->len);
	memmove(l->text + l->cursor + n, l->text + l->cursor, l->len - l->cursor + 1);
	memcpy(l->text + l->cursor, s, n);
	l->len += n;
	l->cursor += n;
	if (l->cursor == l->len)
		put(l, l->text + from, n);
	else
		draw_from(l, from);
}

/* Removes [from, to); the cursor is in it or at one of its ends. */
static void erase(struct line *l, size_t from, size_t to)
{
	if (from == to)
		return;
	move_to(l, from);
	memmove(l->text + from, l->text + to, l->len - to + 1);
	l->len -= to - from;
	draw_from(l, from);
}

static void replace_all(struct line *l, const char *text)
{
	move_to(l, 0);
	str_copy(l->text, sizeof(l->text), text);
	l->len = l->cursor = strlen(l->text);
	draw_from(l, 0);
}

static size_t word_start(const struct line *l)
{
	size_t i = l->cursor;

	while (i && l->text[i - 1] == ' ')
		i--;
	while (i && l->text[i - 1] != ' ')
		i--;
	return i;
}

/* --- history ------------------------------------------------------------------------ */

static const char *history_at(const struct line *l, unsigned back)
{
	return l->history[(l->next - back) % LINE_HISTORY];
}

static void history_move(struct line *l, int step)
{
	unsigned to = l->back + (unsigned)step;

	if (to > l->count) /* also below the newest */
		return;
	if (l->back == 0)
		str_copy(l->draft, sizeof(l->draft), l->text);
	l->back = to;
	replace_all(l, to ? history_at(l, to) : l->draft);
}

static void history_add(struct line *l)
{
	if (!l->len || (l->count && strcmp(history_at(l, 1), l->text) == 0))
		return;
	memcpy(l->history[l->next % LINE_HISTORY], l->text, l->len + 1);
	l->next++;
	l->count = MIN(l->count + 1, (unsigned)LINE_HISTORY);
}

/* --- input -------------------------------------------------------------------------- */

enum key {
	KEY_UP = 'A',
	KEY_DOWN = 'B',
	KEY_RIGHT = 'C',
	KEY_LEFT = 'D',
	KEY_END = 'F',
	KEY_HOME = 'H',
};

static void key(struct line *l, uint8_t k)
{
	switch (k) {
	case KEY_UP:
		history_move(l, 1);
		break;
	case KEY_DOWN:
		history_move(l, -1);
		break;
	case KEY_RIGHT:
		move_to(l, MIN(l->cursor + 1, l->len));
		break;
	case KEY_LEFT:
		move_to(l, l->cursor ? l->cursor - 1 : 0);
		break;
	case KEY_HOME:
		move_to(l, 0);
		break;
	case KEY_END:
		move_to(l, l->len);
		break;
	}
}

/* ESC [ number ~ */
static void numbered_key(struct line *l, unsigned number)
{
	switch (number) {
	case 1:
	case 7:
		key(l, KEY_HOME);
		break;
	case 3: /* Delete */
		erase(l, l->cursor, MIN(l->cursor + 1, l->len));
		break;
	case 4:
	case 8:
		key(l, KEY_END);
		break;
	}
}

/* A byte of an escape sequence; what we do not know ends with its last byte, unheeded. */
static void escape_byte(struct line *l, uint8_t c)
{
	switch (l->escape) {
	case ESC_SEEN:
		l->parameter = 0;
		l->escape = c == '[' ? ESC_CSI : c == 'O' ? ESC_SS3 : ESC_NONE;
		break;
	case ESC_SS3:
		l->escape = ESC_NONE;
		key(l, c);
		break;
	default:
		if (c >= '0' && c <= '9') {
			l->parameter = (uint8_t)(l->parameter * 10 + (c - '0'));
		} else if (c >= 0x40) { /* a final byte (ECMA-48, 5.4) */
			l->escape = ESC_NONE;
			if (c == '~')
				numbered_key(l, l->parameter);
			else
				key(l, c);
		}
	}
}

static void control(struct line *l, uint8_t c)
{
	switch (c) {
	case CTRL_A:
		key(l, KEY_HOME);
		break;
	case CTRL_B:
		key(l, KEY_LEFT);
		break;
	case CTRL_D:
		erase(l, l->cursor, MIN(l->cursor + 1, l->len));
		break;
	case CTRL_E:
		key(l, KEY_END);
		break;
	case CTRL_F:
		key(l, KEY_RIGHT);
		break;
	case CTRL_H:
	case DEL:
		if (l->cursor)
			erase(l, l->cursor - 1, l->cursor);
		break;
	case CTRL_K:
		erase(l, l->cursor, l->len);
		break;
	case CTRL_L:
		puts_(l, "\x1b[H\x1b[2J"); /* home, erase the screen */
		draw_all(l);
		break;
	case CTRL_N:
		key(l, KEY_DOWN);
		break;
	case CTRL_P:
		key(l, KEY_UP);
		break;
	case CTRL_U:
		erase(l, 0, l->cursor);
		break;
	case CTRL_W:
		erase(l, word_start(l), l->cursor);
		break;
	}
}

static enum line_event end_line(struct line *l, enum line_event event)
{
	move_to(l, l->len);
	puts_(l, event == LINE_CANCEL ? "^C\r\n" : "\r\n");
	if (event == LINE_DONE)
		history_add(l);
	l->editing = false;
	return event;
}

enum line_event line_feed(struct line *l, uint8_t c)
{
	bool after_cr = l->after_cr;

	l->after_cr = c == CR;
	if (c == LF && after_cr)
		return LINE_MORE;
	if (l->escape != ESC_NONE && c >= 0x20 && c < 0x7f) {
		escape_byte(l, c);
		return LINE_MORE;
	}
	l->escape = c == ESC ? ESC_SEEN : ESC_NONE;
	switch (c) {
	case CR:
	case LF:
		return end_line(l, LINE_DONE);
	case CTRL_C:
		return end_line(l, LINE_CANCEL);
	case TAB:
		return LINE_COMPLETE;
	}
	if (c >= 0x20 && c < 0x7f)
		insert(l, (const char *)&c, 1);
	else
		control(l, c);
	return LINE_MORE;
}

void line_init(struct line *l, void (*write)(void *ctx, const char *text, size_t len), void *ctx)
{
	memset(l, 0, sizeof(*l));
	l->write = write;
	l->ctx = ctx;
}

void line_start(struct line *l, const char *prompt)
{
	str_copy(l->prompt, sizeof(l->prompt), prompt);
	l->text[0] = 0;
	l->len = l->cursor = 0;
	l->back = 0;
	l->escape = ESC_NONE;
	l->editing = true;
	puts_(l, prompt);
}

void line_hide(struct line *l)
{
	if (l->editing)
		puts_(l, "\r\x1b[K");
}

void line_show(struct line *l)
{
	if (l->editing)
		draw_all(l);
}

/* --- completion ---------------------------------------------------------------------- */

/* The word to complete begins behind the last blank before the cursor. */
static size_t completed_word(const struct line *l)
{
	size_t i = l->cursor;

	while (i && l->text[i - 1] != ' ')
		i--;
	return i;
}

void candidates_begin(struct candidates *c, const struct line *l)
{
	size_t start = completed_word(l), n = l->cursor - start;

	memset(c, 0, sizeof(*c));
	memcpy(c->prefix, l->text + start, n);
}

/* Where the word belongs in the alphabetical list; says whether it is there already. */
static size_t list_place(const struct candidates *c, const char *word, bool *there)
{
	const char *p = c->list;
	size_t n = strlen(word);

	*there = false;
	while (*p) {
		size_t len = strcspn(p, " ");
		int order = strncmp(word, p, MAX(n, len));

		if (len < n && strncmp(word, p, len) == 0)
			order = 1; /* the list has a blank where the word goes on */
		*there = order == 0;
		if (order <= 0)
			break;
		p += len + 1;
	}
	return (size_t)(p - c->list);
}

static void list_insert(struct candidates *c, size_t at, const char *word, size_t n)
{
	if (n + 2 > sizeof(c->list) - c->list_len)
		return; /* counted and considered, only not shown */
	memmove(c->list + at + n + 1, c->list + at, c->list_len - at + 1);
	memcpy(c->list + at, word, n);
	c->list[at + n] = ' ';
	c->list_len += n + 1;
}

void candidates_add(struct candidates *c, const char *word)
{
	size_t n = strlen(word), same = 0, at;
	bool there;

	if (!n || n >= sizeof(c->common) || strncmp(word, c->prefix, strlen(c->prefix)) != 0)
		return;
	at = list_place(c, word, &there);
	if (there)
		return;
	if (c->count++ == 0)
		memcpy(c->common, word, n + 1);
	while (c->common[same] && c->common[same] == word[same])
		same++;
	c->common[same] = 0;
	list_insert(c, at, word, n);
}

void line_complete(struct line *l, const struct candidates *c)
{
	size_t have = strlen(c->prefix), common = strlen(c->common);

	if (!c->count || !l->editing)
		return;
	if (common > have)
		insert(l, c->common + have, common - have);
	if (c->count == 1) {
		if (c->common[common - 1] != '=' && l->text[l->cursor] != ' ')
			insert(l, " ", 1);
	} else if (common == have) {
		puts_(l, "\r\n");
		puts_(l, c->list);
		puts_(l, "\r\n");
		draw_all(l);
	}
}
