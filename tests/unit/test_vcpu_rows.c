/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Promise: each row of the table of a vCPU's state survives a snapshot, whichever bit of
 * it is flipped, and has a check, or says that any value is legal: then no check ever
 * refuses one. Made from the table: a new row without either fails here.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "hv/arch/x86/cpu_model.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/vcpu_codec.h"
#include "tests/unit/vcpu_random.h"

enum { BASES = 64 };

static struct vcpu_state bases[BASES], s, out;
static const struct cpu_model model = {
    .cr4_mask = UINT64_MAX,
    .efer_mask = UINT64_MAX,
    .xcr0_mask = 7,
    .xstate_size = 832,
    .phys_bits = 36,
};

/* Valid states of all modes, with a local APIC as it is after power-on and enabled. */
static int make_bases(void **state)
{
	struct vm *vm = fake_vm_new(1, 0);
	struct errmsg e = {""};

	(void)state;
	fake_lapics_enable(vm);
	rnd_seed();
	for (unsigned i = 0; i < BASES; i++) {
		bases[i].apic = vm->vcpus[0]->state.apic;
		rnd_vcpu(&bases[i], 0);
		if (vcpu_state_check(&bases[i], &e) != OK)
			fail_msg("base %u: %s", i, e.text);
	}
	fake_vm_free(vm);
	return 0;
}

/* All that a restore asks about the values of a vCPU, but for its own CPU's MXCSR mask. */
static bool refused(const struct vcpu_state *st)
{
	struct errmsg e;

	return vcpu_state_check(st, &e) != OK || cpu_model_check_state(&model, st, &e) != OK ||
	       vlapic_check(&st->apic, 0, &e) != OK;
}

static uint64_t get(const struct vcpu_state *st, const struct state_field *f, unsigned n)
{
	uint64_t v = 0;

	memcpy(&v, (const uint8_t *)st + f->offset + (size_t)n * f->width, f->width);
	return v;
}

static void put(struct vcpu_state *st, const struct state_field *f, unsigned n, uint64_t v)
{
	memcpy((uint8_t *)st + f->offset + (size_t)n * f->width, &v, f->width);
}

/* Elements of large arrays: the XSAVE header and what is around it, else all. */
static unsigned first_element(const struct state_field *f)
{
	return f->count > 100 ? 500 : 0;
}
static unsigned last_element(const struct state_field *f)
{
	return f->count > 100 ? 600 : f->count;
}

/* True if a flip of some bit of the row, within its maximum, is refused in some state. */
static bool ever_refused(const struct state_field *f, unsigned *flips)
{
	bool any = false;

	for (unsigned i = 0; i < BASES; i++) {
		s = bases[i];
		for (unsigned n = first_element(f); n < last_element(f); n++) {
			uint64_t was = get(&s, f, n);

			for (unsigned b = 0; b < 8u * f->width; b++) {
				if ((was ^ BIT(b)) > f->max)
					continue;
				put(&s, f, n, was ^ BIT(b));
				any |= refused(&s);
				(*flips)++;
			}
			put(&s, f, n, was);
		}
	}
	return any;
}

static void each_row_has_a_check(void **state)
{
	unsigned checked = 0, free_rows = 0, flips = 0;

	(void)state;
	for (unsigned i = 0; i < BASES; i++)
		assert_false(refused(&bases[i]));
	for (const struct state_field *f = vcpu_state_fields; f->name; f++) {
		bool free_row = f->flags & STATE_FREE, any = ever_refused(f, &flips);

		if (!free_row && !any)
			fail_msg("%s: no value is ever refused, and it is not marked STATE_FREE",
			    f->name);
		if (free_row && any)
			fail_msg("%s: marked STATE_FREE, and a value is refused", f->name);
		checked += !free_row;
		free_rows += free_row;
	}
	printf("%u rows checked, %u free, %u flips\n", checked, free_rows, flips);
}

/* One element and one bit of each row at a time, from any base: within the maximum it
 * survives, beyond it is refused by its name. */
static void each_row_survives(void **state)
{
	struct errmsg e;

	(void)state;
	for (const struct state_field *f = vcpu_state_fields; f->name; f++)
		for (unsigned b = 0; b < 8u * f->width; b++) {
			unsigned n = rnd_below(f->count);
			uint64_t v;
			int err;

			s = bases[rnd_below(BASES)];
			v = get(&s, f, n) ^ BIT(b);
			put(&s, f, n, v);
			e.text[0] = 0;
			err = vcpu_round_trip(&s, &out, &e);
			if (v <= f->max && (err || memcmp(&s, &out, sizeof(s))))
				fail_msg(
				    "%s: element %u bit %u is lost (%s)", f->name, n, b, e.text);
			if (v > f->max && (!err || !strstr(e.text, f->name)))
				fail_msg("%s: 0x%llx is accepted (%s)", f->name,
				    (unsigned long long)v, e.text);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_row_has_a_check),
	    cmocka_unit_test(each_row_survives),
	};

	return cmocka_run_group_tests(tests, make_bases, NULL);
}
