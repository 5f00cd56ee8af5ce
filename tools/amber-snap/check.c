/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands verify and check. */
#include <stdio.h>
#include <stdlib.h>

#include "hv/lib/fmt.h"
#include "tools/amber-snap/call.h"
#include "tools/amber-snap/print.h"

static int verify_one(struct call *c, const char *name)
{
	struct snap *sn;
	int err = snap_open(c->store, name, &sn, &c->e);

	if (err)
		return err;
	err = snap_ram_check(sn, NULL, NULL, &c->e);
	if (!err)
		err = snap_verify(sn, call_progress, c, &c->e);
	snap_close(sn);
	return err;
}

/* All of them, also behind one that is damaged; the first damage is the result. */
static int verify_all(struct call *c)
{
	struct names l = {.n = 0};
	struct errmsg first = {.text = ""};
	int err = snap_list(c->store, names_collect, &l, &c->e), result = err;

	for (unsigned i = 0; !err && i < l.n; i++) {
		int one = verify_one(c, l.name[i]);

		if (one && !result) {
			result = one;
			first = c->e;
		}
		if (!c->json)
			printf("%s: %s\n", l.name[i], one ? c->e.text : "good");
	}
	free(l.name);
	if (first.text[0])
		c->e = first;
	if (!result && l.damaged.text[0]) {
		c->e = l.damaged;
		result = ERR_CORRUPT;
	}
	return result;
}

int run_verify(struct call *c)
{
	int err = c->nargs ? verify_one(c, c->args[0]) : verify_all(c);

	if (!err && (c->nargs || c->json))
		call_done(c, "%s: good", c->args[0]);
	return err;
}

int run_check(struct call *c)
{
	struct store_check_result r;
	struct store_stat st;
	int err = store_check(c->store, &r, NULL, NULL, &c->e);

	if (err)
		return err;
	store_stat(c->store, &st);
	if (c->json) {
		printf(
		    "{\"ok\":true,\"generation\":%llu,\"snapshots\":%llu,\"objects\":%llu,"
		    "\"orphans\":%llu,\"extents\":%llu,\"data_blocks\":%llu,\"meta_blocks\":%llu,"
		    "\"shared_blocks\":%llu,\"free_blocks\":%llu,\"blocks\":%llu,\"note\":",
		    (unsigned long long)st.generation, (unsigned long long)r.snapshots,
		    (unsigned long long)r.objects, (unsigned long long)r.orphans,
		    (unsigned long long)r.extents, (unsigned long long)r.data_blocks,
		    (unsigned long long)r.meta_blocks, (unsigned long long)r.shared_blocks,
		    (unsigned long long)r.free_blocks, (unsigned long long)st.nblocks);
		print_json_string(stdout, st.note);
		puts("}");
		return OK;
	}
	printf("store version %u, generation %llu: sound\n", st.version,
	    (unsigned long long)st.generation);
	printf("%llu snapshots, %llu extents, %llu interrupted operations\n",
	    (unsigned long long)r.snapshots, (unsigned long long)r.extents,
	    (unsigned long long)r.orphans);
	printf("%llu MiB: %llu KiB data, %llu KiB records, %llu KiB free, %llu KiB spared by "
	       "sharing\n",
	    (unsigned long long)(st.nblocks * STORE_BLOCK / MIB),
	    (unsigned long long)r.data_blocks * 4, (unsigned long long)r.meta_blocks * 4,
	    (unsigned long long)r.free_blocks * 4, (unsigned long long)r.shared_blocks * 4);
	if (st.note[0])
		printf("note: %s\n", st.note);
	return OK;
}
