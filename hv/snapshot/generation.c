/* SPDX-License-Identifier: BSD-2-Clause */
/* Which snapshot a machine is frozen in: the node "frozen" of the state tree and the epoch in the
 * store, compared. */
#include "hv/snapshot/generation.h"

#include <libfdt.h>
#include <string.h>

int generation_next(
    struct store *s, const uint8_t machine[16], struct generation *out, struct errmsg *e)
{
	struct store_stat st;
	uint64_t now;
	int err = store_epoch_get(s, machine, &now, e);

	if (err)
		return err;
	store_stat(s, &st);
	*out = (struct generation){.epoch = (now + 1) | 1}; /* odd: frozen */
	memcpy(out->store, st.uuid, sizeof(out->store));
	memcpy(out->machine, machine, sizeof(out->machine));
	return OK;
}

void generation_write(struct state_writer *w, const struct generation *g)
{
	sw_begin(w, "frozen");
	sw_bytes(w, "store", g->store, sizeof(g->store));
	sw_bytes(w, "machine", g->machine, sizeof(g->machine));
	sw_u64(w, "epoch", g->epoch);
	sw_end(w);
}

static int read_uuid(
    const struct state_node *n, const char *name, uint8_t out[16], struct errmsg *e)
{
	const void *p;
	size_t len;
	int err = sr_bytes(n, name, &p, &len, e);

	if (err)
		return err;
	if (len != 16)
		return err_set(
		    e, ERR_CORRUPT, "record frozen: %s: %zu bytes instead of 16", name, len);
	memcpy(out, p, 16);
	return OK;
}

int generation_read(const void *fdt, struct generation *out, struct errmsg *e)
{
	struct state_node n;
	int err;

	*out = (struct generation){.epoch = 0};
	if (sr_find(fdt, "/frozen", &n) == ERR_NOENT)
		return OK;
	err = read_uuid(&n, "store", out->store, e);
	if (!err)
		err = read_uuid(&n, "machine", out->machine, e);
	if (!err)
		err = sr_u64(&n, "epoch", &out->epoch, e);
	if (!err && !(out->epoch & 1))
		err = err_set(e, ERR_CORRUPT, "record frozen: epoch: not that of a frozen machine");
	return err;
}

int generation_current(struct store *s, const struct generation *g, bool *current, struct errmsg *e)
{
	struct store_stat st;
	uint64_t now;
	int err;

	*current = false;
	if (!g->epoch)
		return OK;
	err = store_epoch_get(s, g->machine, &now, e);
	if (err)
		return err;
	store_stat(s, &st);
	*current = now == g->epoch && memcmp(st.uuid, g->store, sizeof(st.uuid)) == 0;
	return OK;
}

int generation_fork(struct store *s, const struct generation *g, struct errmsg *e)
{
	bool current;
	int err = generation_current(s, g, &current, e);

	return err || !current ? err : store_freeze_anew(s, g->machine, e);
}
