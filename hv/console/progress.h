/* SPDX-License-Identifier: BSD-2-Clause */
/* A progress bar with percentage, rate and time left, on one line that redraws itself. */
#ifndef AMBER_CONSOLE_PROGRESS_H
#define AMBER_CONSOLE_PROGRESS_H

#include "hv/console/output.h"

struct progress {
	struct console_out *out;
	const char *what;	 /* "saving" */
	uint64_t total, done;	 /* bytes */
	uint64_t started, drawn; /* host time, ns */
	bool shown;
};

/* Nothing is shown in JSON, nor before a tenth of a second has gone by. */
void progress_start(struct progress *p, struct console_out *out, const char *what, uint64_t total);
/* So much is done (bytes, 0..total); draws at most ten times a second. */
void progress_update(struct progress *p, uint64_t done);
/* Takes the bar off the screen. */
void progress_end(struct progress *p);

#endif
