/* SPDX-License-Identifier: BSD-2-Clause */
/* Keys of portable files: from a key file, or from a passphrase by Argon2id. */
#ifndef AMBER_SNAP_SECRET_H
#define AMBER_SNAP_SECRET_H

#include "hv/lib/error.h"
#include "hv/lib/types.h"

enum { SECRET_KEY = 32, SECRET_SALT = 16 };

/* What a file may ask of Argon2id: more would be an attack on the one who opens it. */
enum { SECRET_PASSES_MAX = 10, SECRET_KIB_MIN = 8 << 10, SECRET_KIB_MAX = 1 << 20 };

/* What the command line says. Without either: a passphrase, asked for on the terminal. */
struct secret_source {
	const char *key_file, *passphrase_file;
};

struct secret {
	bool passphrase; /* then the next three count */
	uint8_t salt[SECRET_SALT];
	uint32_t passes, kib; /* Argon2id's; of memory, KiB */
	uint8_t key[SECRET_KEY];
};

/* A new file of mode 0600 with a random key; ERR_EXIST if it is there. */
int secret_keygen(const char *path, struct errmsg *e) MUST_CHECK;
/* The secret for a new portable file; a passphrase is asked for twice. */
int secret_make(struct secret *s, const struct secret_source *from, struct errmsg *e) MUST_CHECK;
/*
 * The key of a file that has the members above it. ERR_CORRUPT if Argon2id's are beyond the
 * limits; ERR_INVAL if the source is of the wrong kind.
 */
int secret_find(struct secret *s, const struct secret_source *from, struct errmsg *e) MUST_CHECK;
void secret_forget(struct secret *s);

#endif
