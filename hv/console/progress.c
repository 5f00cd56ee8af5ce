/* SPDX-License-Identifier: BSD-2-Clause */
/* The progress bar. */
#include "hv/console/progress.h"
#include "hv/core/thread.h"
#include "hv/lib/fmt.h"
#include "hv/lib/muldiv.h"

enum { BAR_WIDTH = 30 };
#define DRAW_INTERVAL 100000000ULL /* ns */
#define SECOND	      1000000000ULL

void progress_start(struct progress *p, struct console_out *out, const char *what, uint64_t total)
{
	uint64_t now = time_now();

	*p = (struct progress){
	    .out = out, .what = what, .total = total, .started = now, .drawn = now};
}

static void draw(struct progress *p, uint64_t now)
{
	uint64_t elapsed = now - p->started,
		 percent = p->total ? muldiv_u64(p->done, 100, p->total) : 100;
	uint64_t rate = elapsed ? muldiv_u64(p->done, SECOND, elapsed) : 0;
	uint64_t left = rate ? (p->total - p->done + rate - 1) / rate : 0;
	char bar[BAR_WIDTH + 1], text[24];

	for (unsigned i = 0; i < BAR_WIDTH; i++)
		bar[i] = i < percent * BAR_WIDTH / 100 ? '#' : '.';
	bar[BAR_WIDTH] = 0;
	out_print(p->out, "\r%s [%s] %3lu%% %s/s", p->what, bar, percent,
	    size_text(rate, text, sizeof(text)));
	if (rate)
		out_print(p->out, ", %lu s left", left);
	out_print(p->out, "\x1b[K");
	p->drawn = now;
	p->shown = true;
}

void progress_update(struct progress *p, uint64_t done)
{
	uint64_t now = time_now();

	p->done = MIN(done, p->total);
	if (!p->out->as_json && now - p->drawn >= DRAW_INTERVAL)
		draw(p, now);
}

void progress_end(struct progress *p)
{
	if (p->shown)
		out_print(p->out, "\r\x1b[K");
	p->shown = false;
}
