/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A line editor for a VT100-like terminal: bytes go in, echo comes out through
 * a callback, and a finished line is reported. It waits for nothing and knows
 * no thread; the caller serialises all calls for one struct line.
 *
 * Text is printable ASCII; all other bytes are either commands or ignored.
 */
#ifndef AMBER_CONSOLE_LINE_H
#define AMBER_CONSOLE_LINE_H

#include "hv/lib/types.h"

enum {
	LINE_SIZE = 512,   /* longest line, with its terminating 0 */
	LINE_HISTORY = 32, /* lines remembered */
	LINE_PROMPT = 32,
	CANDIDATES_SIZE = 1024,
};

/* What a byte led to. */
enum line_event {
	LINE_MORE,     /* nothing yet */
	LINE_DONE,     /* Enter: the line is in text */
	LINE_CANCEL,   /* Ctrl-C: the line was thrown away */
	LINE_COMPLETE, /* Tab: the caller finds candidates and calls line_complete() */
};

struct line {
	char text[LINE_SIZE]; /* 0-terminated */
	size_t len, cursor;
	char prompt[LINE_PROMPT];
	bool editing; /* between line_start() and the event that ends the line */
	void (*write)(void *ctx, const char *text, size_t len);
	void *ctx;
	/* history: the newest is at (next - 1) % LINE_HISTORY */
	char history[LINE_HISTORY][LINE_SIZE];
	unsigned next, count;
	unsigned back;	       /* how far up we are; 0: at the new line */
	char draft[LINE_SIZE]; /* the new line while looking at older ones */
	/* escape sequence under way */
	uint8_t escape; /* enum line_escape */
	uint8_t parameter;
	bool after_cr; /* the line feed of a CR LF pair is swallowed */
};

void line_init(struct line *l, void (*write)(void *ctx, const char *text, size_t len), void *ctx);
/* Shows the prompt and begins an empty line. */
void line_start(struct line *l, const char *prompt);
/* Feeds one byte of input. */
enum line_event line_feed(struct line *l, uint8_t c);
/* Takes the line off the screen, to print something else, and puts it back. */
void line_hide(struct line *l);
void line_show(struct line *l);

/* Words that could stand at the cursor. */
struct candidates {
	char prefix[LINE_SIZE]; /* what is there of the word */
	unsigned count;
	char common[LINE_SIZE];	    /* what all candidates begin with */
	char list[CANDIDATES_SIZE]; /* the candidates, each with a blank behind it */
	size_t list_len;
};
/* Starts an empty set for the word that ends at the cursor. */
void candidates_begin(struct candidates *c, const struct line *l);
/* Adds a word if it begins with the prefix and is not there yet. */
void candidates_add(struct candidates *c, const char *word);
/* Completes the word as far as the candidates agree; lists them where they part. */
void line_complete(struct line *l, const struct candidates *c);

#endif
