/* SPDX-License-Identifier: BSD-2-Clause */
/* The files that the loader brought from the boot volume: manifests and payloads, by name. */
#ifndef AMBER_CORE_PAYLOAD_H
#define AMBER_CORE_PAYLOAD_H

#include "hv/boot_info.h"
#include "hv/lib/types.h"

struct payload {
	const char *name;
	const void *data;
	uint64_t size;
};

/* Remembers the loader's list; names are made terminated. Once, at start-up. */
void payload_init(const struct boot_info *bi);
/* By exact name; false if there is none. */
bool payload_find(const char *name, struct payload *out);
bool payload_exists(const char *name);
/* The n-th one; false behind the last. */
bool payload_get(unsigned n, struct payload *out);

#endif
