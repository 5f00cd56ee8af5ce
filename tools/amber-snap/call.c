/* SPDX-License-Identifier: BSD-2-Clause */
/* What the commands share. */
#include "tools/amber-snap/call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "hv/lib/fmt.h"

bool call_progress(void *ctx, uint64_t done, uint64_t total)
{
	struct call *c = ctx;
	time_t now = time(NULL);

	if (!c->json && isatty(STDERR_FILENO) && (now != c->last_progress || done == total)) {
		c->last_progress = now;
		fprintf(stderr, "\r%s: %3u%% of %llu MiB%s", c->command,
		    total ? (unsigned)(done * 100 / total) : 100U,
		    (unsigned long long)(total / MIB), done == total ? "\n" : "");
	}
	return true;
}

int call_done(struct call *c, const char *fmt, const char *arg)
{
	if (c->json) {
		puts("{\"ok\":true}");
	} else {
		printf(fmt, arg);
		putchar('\n');
	}
	return OK;
}

void call_json_id(const char *key, const uint8_t id[16])
{
	printf("\"%s\":\"", key);
	for (unsigned i = 0; i < 16; i++)
		printf("%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", id[i]);
	putchar('"');
}

int call_random_uuid(uint8_t uuid[16], struct errmsg *e)
{
	if (getrandom(uuid, 16, 0) != 16)
		return err_set(e, ERR_IO, "random numbers: %s", strerror(errno));
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
	return OK;
}

void names_collect(void *ctx, const struct snap_info *info, const struct errmsg *why)
{
	struct names *l = ctx;
	void *more;

	if (!info) {
		l->damaged = *why;
		return;
	}
	more = realloc(l->name, (l->n + 1) * sizeof(*l->name));
	if (!more)
		return;
	l->name = more;
	str_copy(l->name[l->n++], sizeof(*l->name), info->name);
}
