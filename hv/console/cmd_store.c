/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands 'store check|grow'. */
#include "hv/console/table.h"
#include "hv/snapshot/engine.h"

static bool go_on(void *ctx)
{
	return !call_cancelled(ctx);
}

/* What waits to be committed is, first: the check compares what is on the disk. */
static int check(struct console_call *c, struct store *s, struct store_check_result *r,
    struct store_stat *st, struct errmsg *e)
{
	int err = store_commit(s, e);

	if (!err)
		err = store_check(s, r, go_on, c, e);
	store_stat(s, st);
	return err;
}

static int check_run(struct console_call *c)
{
	struct json *j = call_json(c);
	struct store_check_result r;
	struct store_stat st;
	char size[32], free[32], shared[32];
	struct errmsg e;
	struct store *s = engine_lock(&e);
	int err;

	if (!s)
		return call_fail(c, ERR_NOENT, "%s", e.text);
	err = check(c, s, &r, &st, &e);
	engine_unlock();
	if (err)
		return call_fail(c, err, "%s", e.text);
	call_print(c, "store version %u, generation %llu: sound\n", st.version,
	    (unsigned long long)st.generation);
	call_print(c, "%llu snapshots, %llu extents, %llu interrupted operations\n",
	    (unsigned long long)r.snapshots, (unsigned long long)r.extents,
	    (unsigned long long)r.orphans);
	call_print(c, "%s, %s free, %s spared by sharing\n",
	    size_text(st.nblocks * STORE_BLOCK, size, sizeof(size)),
	    size_text(r.free_blocks * STORE_BLOCK, free, sizeof(free)),
	    size_text(r.shared_blocks * STORE_BLOCK, shared, sizeof(shared)));
	if (st.note[0])
		call_print(c, "note: %s\n", st.note);
	json_number(j, "generation", st.generation);
	json_number(j, "snapshots", r.snapshots);
	json_number(j, "objects", r.objects);
	json_number(j, "orphans", r.orphans);
	json_number(j, "extents", r.extents);
	json_number(j, "data_blocks", r.data_blocks);
	json_number(j, "meta_blocks", r.meta_blocks);
	json_number(j, "shared_blocks", r.shared_blocks);
	json_number(j, "free_blocks", r.free_blocks);
	json_number(j, "blocks", st.nblocks);
	json_string(j, "note", st.note);
	return OK;
}

CONSOLE_COMMAND(store_check_command) = {
    .words = "store check",
    .help = "check all records and reference counts of the snapshot store",
    .run = check_run,
};

static int grow_run(struct console_call *c)
{
	uint64_t added = 0, blocks = 0;
	struct store_stat st;
	char more[32], size[32];
	struct errmsg e;
	struct store *s = engine_lock(&e);
	int err;

	if (!s)
		return call_fail(c, ERR_NOENT, "%s", e.text);
	err = store_grow(s, &added, &e);
	store_stat(s, &st);
	blocks = st.nblocks;
	engine_unlock();
	if (err)
		return call_fail(c, err, "%s", e.text);
	size_text(blocks * STORE_BLOCK, size, sizeof(size));
	if (added)
		call_print(c, "the store has grown by %s to %s\n",
		    size_text(added * STORE_BLOCK, more, sizeof(more)), size);
	else
		call_print(c, "the store has all of its partition already: %s\n", size);
	json_number(call_json(c), "added_bytes", added * STORE_BLOCK);
	json_number(call_json(c), "store_bytes", blocks * STORE_BLOCK);
	return OK;
}

CONSOLE_COMMAND(store_grow_command) = {
    .words = "store grow",
    .help = "let the store take all of a partition that was made larger",
    .run = grow_run,
};
