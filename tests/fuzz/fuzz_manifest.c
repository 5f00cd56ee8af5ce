/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any bytes as a manifest: refused with a message, or accepted, saved, and the
 * saved one accepted as the same configuration.
 */
#include <stdlib.h>
#include <string.h>
#include "hv/core/vm_config.h"
#include "hv/lib/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *grow(void *old, size_t old_size, size_t new_size)
{
	return realloc(old, new_size);
}

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void round_trip(const struct vm_config *config)
{
	static struct vm_config back;
	struct state_writer w;
	struct errmsg e;
	size_t size;
	void *blob;

	sw_init(&w, grow);
	vm_config_save(config, &w);
	check(sw_encode(&w, &blob, &size, &e) == OK);
	check(vm_config_parse(blob, size, "/", &back, NULL, &e) == OK);
	check(memcmp(&back, config, sizeof(back)) == 0);
	free(blob);
	free(w.buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vm_config config;
	struct errmsg e = {""};
	void *copy = malloc(size ? size : 1); /* exact, so that ASan sees a step beyond; aligned */
	int err;

	memcpy(copy, data, size);
	err = vm_config_parse(copy, size, "/", &config, NULL, &e);
	check(!err || e.text[0]);
	free(copy);
	if (!err)
		round_trip(&config);
	return 0;
}
