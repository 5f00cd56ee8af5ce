/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands export, import and keygen. */
#include <stdlib.h>
#include <unistd.h>

#include "tools/amber-snap/bases.h"
#include "tools/amber-snap/call.h"
#include "tools/amber-snap/scratch.h"

/* What run_export() copies, and how large it is. */
struct export
{
	struct snap *sn;
	const struct snap_bases *bases; /* NULL: they stay where they are */
	uint64_t bytes;
};

/* An exported snapshot is a store of its own, in a file that is as sparse as it has room to spare.
 */
static int export_to(
    struct call *c, const struct export *x, const struct store_io *io, const char *path)
{
	struct snap_copy_params p = {
	    .name = snap_info(x->sn)->name,
	    .bases = x->bases,
	    .progress = call_progress,
	    .ctx = c,
	};
	struct store *to;
	uint8_t uuid[16];
	int err = call_random_uuid(uuid, &c->e);

	if (!err)
		err = store_format(io, uuid, &c->e);
	if (!err)
		err = store_open(io, true, &to, &c->e);
	if (err)
		return err_prefix(&c->e, err, "%s", path);
	err = snap_copy(x->sn, to, &p, &c->e);
	store_close(to);
	return err;
}

/* The same in a portable file; who is asked for a passphrase is asked before the work. */
static int export_sealed(struct call *c, const struct export *x)
{
	struct secret secret = {.passphrase = false};
	struct scratch s;
	int err = seal_init(&c->e);

	if (!err && access(c->args[1], F_OK) == 0)
		err = err_set(&c->e, ERR_EXIST, "%s: exists already", c->args[1]);
	if (!err && c->encrypt)
		err = secret_make(&secret, &c->source, &c->e);
	if (err)
		return err;
	err = scratch_open(&s, x->bytes, &c->e);
	if (!err) {
		err = export_to(c, x, &s.io, "temporary file");
		if (!err)
			err = seal_write(
			    c->args[1], &s.io, c->compress, c->encrypt ? &secret : NULL, &c->e);
		scratch_close(&s);
	}
	secret_forget(&secret);
	return err;
}

static int export_plain(struct call *c, const struct export *x)
{
	struct image out;
	int err = image_create(&out, c->args[1], x->bytes, &c->e);

	if (err)
		return err;
	err = export_to(c, x, &out.io, out.path);
	image_close(&out);
	if (err)
		unlink(c->args[1]);
	return err;
}

int run_export(struct call *c)
{
	struct bases b = {.image = &c->image, .store = c->store};
	struct snap_bases bases = {.open = bases_open, .ctx = &b};
	struct export x = {.bases = c->with_base ? &bases : NULL};
	uint64_t pieces;
	int err = snap_open(c->store, c->args[0], &x.sn, &c->e);

	if (err)
		return err;
	err = snap_copy_size(x.sn, x.bases, &x.bytes, &pieces, &c->e);
	x.bytes += pieces * 64; /* a record each */
	x.bytes = ALIGN_UP(x.bytes + x.bytes / 16 + 8 * MIB, STORE_BLOCK);
	if (!err)
		err = c->compress || c->encrypt ? export_sealed(c, &x) : export_plain(c, &x);
	snap_close(x.sn);
	bases_close(&b);
	return err ? err : call_done(c, "exported to %s", c->args[1]);
}

static int import_from(struct call *c, struct store *from)
{
	struct snap_copy_params p = {.replace = c->replace, .progress = call_progress, .ctx = c};
	struct names l = {.n = 0};
	struct snap *sn;
	int err = snap_list(from, names_collect, &l, &c->e);

	if (!err && l.n != 1)
		err = err_set(&c->e, l.n ? ERR_INVAL : ERR_NOENT, "%s: %u snapshots instead of one",
		    c->args[0], l.n);
	if (!err)
		err = snap_open(from, l.name[0], &sn, &c->e);
	if (!err) {
		p.name = c->as ? c->as : l.name[0];
		err = snap_copy(sn, c->store, &p, &c->e);
		snap_close(sn);
		if (!err)
			call_done(c, "imported as %s", p.name);
	}
	free(l.name);
	return err;
}

static int import_store(struct call *c, const struct store_io *io)
{
	struct store *from;
	int err = store_open(io, false, &from, &c->e);

	if (err)
		return err_prefix(&c->e, err, "%s", c->args[0]);
	err = import_from(c, from);
	store_close(from);
	return err;
}

static int import_sealed(struct call *c)
{
	struct scratch s;
	int err = seal_init(&c->e);

	if (!err)
		err = seal_read(c->args[0], &c->source, &s, &c->e);
	if (err)
		return err;
	err = import_store(c, &s.io);
	scratch_close(&s);
	return err;
}

int run_import(struct call *c)
{
	struct image in;
	int err;

	if (seal_is(c->args[0]))
		return import_sealed(c);
	err = image_open(&in, c->args[0], IMAGE_READ, IMAGE_FIND, false, &c->e);
	if (!err && (c->source.key_file || c->source.passphrase_file))
		err = err_set(
		    &c->e, ERR_INVAL, "%s: is not encrypted: anybody may have made it", c->args[0]);
	if (!err) {
		err = import_store(c, &in.io);
		image_close(&in);
	}
	return err;
}

int run_keygen(struct call *c)
{
	int err = seal_init(&c->e);

	if (!err)
		err = secret_keygen(c->args[0], &c->e);
	return err ? err
		   : call_done(
			 c, "%s: a new key; who has it can read what it encrypts", c->args[0]);
}
