/* SPDX-License-Identifier: BSD-2-Clause */
/* One call of amber-snap: what the command line says, and what all commands do alike. */
#ifndef AMBER_SNAP_CALL_H
#define AMBER_SNAP_CALL_H

#include <time.h>

#include "hv/snapshot/snapshot.h"
#include "tools/amber-snap/image.h"
#include "tools/amber-snap/seal.h"

struct call {
	const char *image_path, *command;
	const char *args[2];
	unsigned nargs;
	const char *as;
	uint64_t offset;
	bool json, yes, bare, dtb, replace, paging, compress, encrypt, with_base;
	struct secret_source source;
	struct image image;
	struct store *store;
	struct errmsg e;
	time_t last_progress;
};

/* For the functions that report progress: a line on the terminal. ctx is the call. */
bool call_progress(void *ctx, uint64_t done, uint64_t total);
/* The result of a command that has nothing to say but that it is done: fmt has one %s, arg. OK. */
int call_done(struct call *c, const char *fmt, const char *arg);
/* "key":"8f3c...": an id as a member of an object on the standard output. */
void call_json_id(const char *key, const uint8_t id[16]);
/* A random UUID (RFC 9562, version 4); ERR_IO. */
int call_random_uuid(uint8_t uuid[16], struct errmsg *e);

/* The snapshots' names, the oldest first; the owner frees name. */
struct names {
	char (*name)[STORE_NAME_MAX + 1];
	unsigned n;
	struct errmsg damaged; /* the last record that cannot be read */
};
/* For snap_list(); ctx is a struct names. Without memory for it a name is left out. */
void names_collect(void *ctx, const struct snap_info *info, const struct errmsg *why);

/*
 * The commands, with the store open in c->store as their row of the table in main.c wants it.
 * After an error c->e says why.
 */
int run_list(struct call *c);
int run_show(struct call *c);
int run_verify(struct call *c);
int run_check(struct call *c);
int run_export(struct call *c);
int run_import(struct call *c);
int run_keygen(struct call *c); /* without a store */

#endif
