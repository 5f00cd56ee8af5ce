/* SPDX-License-Identifier: BSD-2-Clause */
/* What the commands about snapshots show alike. */
#include "hv/console/snap_show.h"

#include <string.h>
#include "hv/lib/fmt.h"

bool watch_progress(void *ctx, uint64_t done, uint64_t total)
{
	struct watch *w = ctx;

	if (!w->started) {
		progress_start(&w->bar, &w->call->out, w->what, total);
		w->started = true;
	}
	progress_update(&w->bar, done);
	return !call_cancelled(w->call);
}

void watch_end(struct watch *w)
{
	if (w->started)
		progress_end(&w->bar);
}

const char *snap_id_text(const uint8_t id[16], char out[37])
{
	char *p = out;

	for (unsigned i = 0; i < 16; i++) {
		str_format(p, 3, "%02x", id[i]);
		p += 2;
		if (i == 3 || i == 5 || i == 7 || i == 9)
			*p++ = '-';
	}
	*p = '\0';
	return out;
}

/* Days since 1970-01-01 to a civil date (Howard Hinnant's algorithm "civil_from_days"). */
const char *snap_time_text(uint64_t ns, char out[SNAP_TIME_SIZE])
{
	uint64_t s = ns / 1000000000, days = s / 86400 + 719468, era = days / 146097;
	uint64_t doe = days - era * 146097;
	uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	uint64_t mp = (5 * doy + 2) / 153, day = doy - (153 * mp + 2) / 5 + 1;
	uint64_t month = mp < 10 ? mp + 3 : mp - 9, year = yoe + era * 400 + (month <= 2);

	str_format(out, SNAP_TIME_SIZE, "%04u-%02u-%02uT%02u:%02u:%02uZ", (unsigned)year,
	    (unsigned)month, (unsigned)day, (unsigned)(s / 3600 % 24), (unsigned)(s / 60 % 60),
	    (unsigned)(s % 60));
	return out;
}

uint64_t snap_own_bytes(const struct snap_info *i)
{
	return i->stored_bytes + i->state_bytes;
}

void snap_show_json(struct json *j, const struct snap_tree *t, const struct snap_entry *x)
{
	const struct snap_info *i = &x->info;
	char id[37], when[SNAP_TIME_SIZE];

	json_string(j, "name", i->name);
	json_string(j, "vm", i->vm);
	json_number(j, "bytes", snap_own_bytes(i));
	json_string(j, "created", snap_time_text(i->created, when));
	json_string(j, "id", snap_id_text(i->id, id));
	if (!x->based)
		return;
	json_string(j, "parent_id", snap_id_text(i->parent, id));
	if (x->parent == SNAP_NO_PARENT)
		json_null(j, "parent"); /* deleted, or made full under another id */
	else
		json_string(j, "parent", t->entry[x->parent].info.name);
}

int snap_tree_find(struct store *s, const char *name, struct snap_tree *t,
    const struct snap_entry **x, struct errmsg *e)
{
	int err = snap_tree_get(s, t, e);

	for (size_t i = 0; !err && i < t->n; i++) {
		*x = &t->entry[i];
		if (strcmp((*x)->info.name, name) == 0)
			return OK;
	}
	return err ? err : err_set(e, ERR_NOENT, "snapshot '%s': not found", name);
}
