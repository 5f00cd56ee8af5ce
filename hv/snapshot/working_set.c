/* SPDX-License-Identifier: BSD-2-Clause */
/* Which RAM a machine is likely to want first: a list in records that a reader may ignore. */
#include "hv/lib/cursor.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/snap_int.h"

/* --- writing ------------------------------------------------------------------------- */

struct encoder {
	struct store *store;
	struct store_key key; /* of the next record */
	uint8_t rec[WS_ENTRIES * WS_ENTRY_BYTES];
	uint32_t len;
};

static int flush(struct encoder *w, struct errmsg *e)
{
	int err = w->len ? tree_insert(w->store, &w->key, w->rec, w->len, e) : OK;

	w->len = 0;
	w->key.offset++;
	return err;
}

static int put_run(struct encoder *w, uint64_t addr, unsigned count, struct errmsg *e)
{
	int err = w->len == sizeof(w->rec) ? flush(w, e) : OK;

	put_le64(w->rec + w->len, addr | count);
	w->len += WS_ENTRY_BYTES;
	return err;
}

int working_set_add(
    struct store *s, uint64_t state_object, const gpa_t *addr, unsigned n, struct errmsg *e)
{
	struct encoder w = {.store = s, .key = {state_object, REC_WORKING_SET, 0}};
	int err = store_may_change(s, false, e);

	if (n > WS_PIECES_MAX)
		return err_set(e, ERR_RANGE, "%u pieces", n);
	for (unsigned i = 0, run; !err && i < n; i += run) {
		if (addr[i].a % STORE_CHUNK)
			return err_set(
			    e, ERR_INVAL, "0x%llx: not aligned", (unsigned long long)addr[i].a);
		for (run = 1; i + run < n && run < UINT16_MAX; run++)
			if (addr[i + run].a != addr[i].a + (uint64_t)run * STORE_CHUNK)
				break;
		err = put_run(&w, addr[i].a, run, e);
	}
	return err ? err : flush(&w, e);
}

/* --- reading ------------------------------------------------------------------------- */

/* One run of the list; NULL, or what is wrong. */
static const char *take_run(uint64_t entry, gpa_t *addr, unsigned *n)
{
	uint64_t at = ALIGN_DOWN(entry, (uint64_t)STORE_CHUNK);
	unsigned count = (unsigned)(entry - at);

	if (count == 0)
		return "empty run";
	if (count > WS_PIECES_MAX - *n)
		return "too many pieces";
	if (at > UINT64_MAX - (uint64_t)count * STORE_CHUNK)
		return "impossible address";
	for (unsigned i = 0; addr && i < count; i++)
		addr[*n + i] = gpa(at + (uint64_t)i * STORE_CHUNK);
	*n += count;
	return NULL;
}

static const char *take_record(
    const uint8_t *p, uint32_t len, bool in_order, gpa_t *addr, unsigned *n)
{
	const char *why = NULL;

	if (!in_order)
		return "out of order";
	if (len == 0 || len % WS_ENTRY_BYTES || len > WS_ENTRIES * WS_ENTRY_BYTES)
		return "record of the wrong length";
	for (uint32_t i = 0; !why && i < len; i += WS_ENTRY_BYTES)
		why = take_run(get_le64(p + i), addr, n);
	return why;
}

int snap_set(struct snap *sn, gpa_t *addr, unsigned *n, struct errmsg *e)
{
	struct store_key key = {sn->info.state_object, REC_WORKING_SET, 0};
	const char *why = NULL;
	const uint8_t *p;
	uint32_t len;
	int err = OK;

	*n = 0;
	/* each record has a piece at least, so it ends */
	for (uint64_t i = 0; !why; i++) {
		key.offset = i;
		cache_trim(sn->store);
		err = tree_seek(sn->store, &key, &p, &len, e);
		if (err || key.object != sn->info.state_object || key.type != REC_WORKING_SET)
			break;
		why = take_record(p, len, key.offset == i, addr, n);
	}
	if (why)
		err = err_set(e, ERR_CORRUPT, "%s", why);
	if (!err || err == ERR_NOENT)
		return OK;
	*n = 0;
	return err_prefix(e, err, "snapshot '%s': working set", sn->info.name);
}

int working_set_copy(struct snap *from, struct store *to, uint64_t state_object, struct errmsg *e)
{
	gpa_t *addr = heap_alloc(SNAP_SET_MAX * sizeof(*addr));
	struct errmsg ignored;
	unsigned n = 0;
	int err = OK;

	/* one that cannot be read, or a lack of memory, costs the copy its list only */
	if (addr && snap_set(from, addr, &n, &ignored) == OK)
		err = working_set_add(to, state_object, addr, n, e);
	heap_free(addr);
	return err;
}
