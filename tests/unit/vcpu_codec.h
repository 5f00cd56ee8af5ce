/* SPDX-License-Identifier: BSD-2-Clause */
/* A vCPU's state through the snapshot's device tree and back. For tests that have cmocka. */
#ifndef AMBER_TEST_VCPU_CODEC_H
#define AMBER_TEST_VCPU_CODEC_H

#include <stdlib.h>
#include <string.h>

#include "hv/arch/x86/vcpu_state.h"
#include "hv/lib/state.h"

static void *vcpu_codec_grow(void *old, size_t old_size, size_t new_size)
{
	(void)old_size;
	return realloc(old, new_size);
}

/* in -> device tree -> out; returns sr_fields' result. */
static int vcpu_round_trip(const struct vcpu_state *in, struct vcpu_state *out, struct errmsg *e)
{
	struct state_writer w;
	struct state_node n;
	void *fdt = NULL;
	size_t size;
	int err;

	sw_init(&w, vcpu_codec_grow);
	sw_begin(&w, "vcpu");
	sw_fields(&w, vcpu_state_fields, in);
	sw_end(&w);
	assert_int_equal(sw_encode(&w, &fdt, &size, e), OK);
	assert_int_equal(sr_check_tree(fdt, size, e), OK);
	assert_int_equal(sr_find(fdt, "/vcpu", &n), OK);
	memset(out, 0, sizeof(*out));
	err = sr_fields(&n, vcpu_state_fields, NULL, out, e);
	free(w.buf);
	free(fdt);
	return err;
}

#endif
