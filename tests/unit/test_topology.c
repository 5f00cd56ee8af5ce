/* SPDX-License-Identifier: BSD-2-Clause */
/* APIC IDs of every topology that a manifest can ask for: fields, gaps, and the way back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hv/arch/x86/topology.h"
#include "hv/core/vm_config.h"

static uint32_t id_in(const struct cpu_topology *t, unsigned index)
{
	struct apic_ids ids;

	apic_ids_make(&ids, t);
	return apic_id_of(&ids, index);
}

/* SDM volume 3, 9.9.1: three cores leave the fourth number of their field unused. */
static void fields_leave_gaps(void **state)
{
	const struct cpu_topology cores = {2, 3, 1}, threads = {1, 2, 3}, both = {2, 3, 3};

	assert_int_equal(id_in(&cores, 2), 2);
	assert_int_equal(id_in(&cores, 3), 4);
	assert_int_equal(id_in(&cores, 5), 6);
	assert_int_equal(id_in(&threads, 3), 4);
	assert_int_equal(id_in(&both, 8), 0xa);
	assert_int_equal(id_in(&both, 9), 0x10);
}

static void powers_of_two_have_none(void **state)
{
	static const struct cpu_topology all[] = {
	    {1, 64, 1}, {64, 1, 1}, {4, 4, 4}, {1, 5, 1}, {3, 4, 1}, {7, 1, 2}};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		for (unsigned n = 0; n < all[i].sockets * all[i].cores * all[i].threads; n++)
			assert_int_equal(id_in(&all[i], n), n);
}

/* Each ID finds its CPU, what lies between finds none, and none needs more than an xAPIC has. */
static void check(const struct cpu_topology *t)
{
	unsigned count = t->sockets * t->cores * t->threads, found = 0;
	struct apic_ids ids;
	uint64_t index;

	apic_ids_make(&ids, t);
	for (uint32_t id = 0; id <= XAPIC_ID_MAX; id++)
		if (apic_id_index(&ids, id, &index) && index < count) {
			assert_int_equal(index, found);
			assert_int_equal(apic_id_of(&ids, found), id);
			found++;
		}
	assert_int_equal(found, count);
	assert_in_range(apic_id_of(&ids, count - 1), count - 1, 127);
	assert_true(!apic_id_index(&ids, UINT32_MAX, &index) || index >= count);
}

static void every_topology(void **state)
{
	struct cpu_topology t;

	for (t.sockets = 1; t.sockets <= VM_MAX_VCPUS; t.sockets++)
		for (t.cores = 1; t.sockets * t.cores <= VM_MAX_VCPUS; t.cores++)
			for (t.threads = 1; t.sockets * t.cores * t.threads <= VM_MAX_VCPUS;
			     t.threads++)
				check(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(fields_leave_gaps),
	    cmocka_unit_test(powers_of_two_have_none),
	    cmocka_unit_test(every_topology),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
